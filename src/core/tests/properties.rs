//! The rules of `explore.rs` for what can't be searched exhaustively: odd
//! times, many services, and long, arbitrary stories.

use proptest::prelude::*;

use super::explore::{Arrangement, POLICIES, Policy, SORTS, Sort, Telling, World};
use super::*;

/// A story: which of the events that may come is told, and how much later.
fn stories() -> impl Strategy<Value = Vec<(prop::sample::Index, u64)>> {
    let pauses = prop_oneof![4 => Just(0), 3 => 0..2_000u64, 1 => 0..100_000u64];
    prop::collection::vec((any::<prop::sample::Index>(), pauses), 1..120)
}

fn services() -> impl Strategy<Value = Vec<(Sort, Policy)>> {
    let sort = prop::sample::select(SORTS.to_vec());
    let policy = prop::sample::select(POLICIES.to_vec());
    prop::collection::vec((sort, policy), 1..9)
}

fn orders() -> impl Strategy<Value = Arrangement> {
    prop::sample::select(vec![Arrangement::Chain, Arrangement::Free])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Every rule holds for any number of services and any times. `World`
    /// panics where one is broken.
    #[test]
    fn the_rules_hold(
        services in services(),
        order in orders(),
        grace in 100..40_000u64,
        delays in (0..100u32, 0..100u32),
        story in stories(),
    ) {
        let grace = Duration::from_millis(grace);
        // At most what a configuration may ask for: below the first term-at.
        let percent = |percent: u32| grace / 2 * percent / 100;
        let (min, max) = (percent(delays.0.min(delays.1)), percent(delays.0.max(delays.1)));
        let delay = Delay { min, max };
        let (sorts, policies): (Vec<_>, Vec<_>) = services.into_iter().unzip();
        let mut world = World::new(&sorts, &policies, order, delay, grace);
        for (choice, pause) in story {
            if world.machine.is_over() {
                break;
            }
            let mut at = world.now + Duration::from_millis(pause);
            // The shell never comes later than a deadline, but for a pause of
            // the whole machine.
            if pause < 50_000 {
                at = world.machine.deadline().map_or(at, |deadline| at.min(deadline));
            }
            world = world.after(at, Event::Tick, &sorts);
            let events = world.events(&sorts, Telling::Anything);
            if !world.machine.is_over() {
                world = world.after(world.now, *choice.get(&events), &sorts);
            }
        }
    }

    /// When the machine was started makes no difference, and neither do ticks
    /// that come too early.
    #[test]
    fn time_shifts_and_spurious_ticks_change_nothing(
        services in services(),
        order in orders(),
        shift in 0..10_000_000u64,
        story in stories(),
    ) {
        let (min, max) = (Duration::from_secs(2), Duration::from_secs(5));
        let (delay, grace) = (Delay { min, max }, Duration::from_secs(10));
        let (sorts, policies): (Vec<_>, Vec<_>) = services.into_iter().unzip();
        let mut world = World::new(&sorts, &policies, order, delay, grace);
        let mut shifted = world.machine.clone();
        let shift = Duration::from_millis(shift);
        let mut fresh = Machine::new(world.machine.rules.plan.clone());
        fresh.handle(Timestamp(shift), Event::Tick, &mut Vec::new());
        std::mem::swap(&mut shifted, &mut fresh);
        for (choice, pause) in story {
            let events = world.events(&sorts, Telling::Anything);
            let event = *choice.get(&events);
            let at = world.now + Duration::from_millis(pause);
            let early = world.now;
            for machine in [&mut world.machine, &mut shifted] {
                prop_assert!(machine.deadline().is_none_or(|deadline| deadline > early) || machine.is_over());
            }
            let mut spurious = Vec::new();
            shifted.handle(early + shift, Event::Tick, &mut spurious);
            prop_assert_eq!(spurious, vec![]);
            let (mut expected, mut actions) = (Vec::new(), Vec::new());
            world.machine.handle(at, event, &mut expected);
            shifted.handle(at + shift, event, &mut actions);
            prop_assert_eq!(actions, expected);
            world.now = at;
            if world.machine.is_over() {
                break;
            }
        }
    }
}
