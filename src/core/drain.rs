//! The drain of a scope: layer by layer, until nothing is left. It knows nothing of
//! other scopes. Like the container's stop, which drives it, it answers four
//! questions: what a fact changes (`record_…`), what is due (`decide`), what is to be
//! looked for (`awaits`), and when to come back (`deadline`).

use std::time::Duration;

use super::event::{
    Action, Attendance, Condition, Force, Layer, Notice, Order, Remains, Scope, Timestamp,
};
use super::service::Main;

/// Where the sockets don't tell whether php-fpm is idle: a first round of its
/// workers that was over within this time found none of them busy, as an idle one
/// is gone some ten milliseconds after QUIT.
const IDLE_ROUND: Duration = Duration::from_millis(100);

/// How often that time doubles, round by round: where the machine is slow even
/// idle workers take long, and there must be an end of asking.
const IDLE_ROUND_DOUBLINGS: u8 = 5;

/// How long after QUIT silent clients are waited for: who has just connected is
/// about to send.
const SILENCE_HEEDED: Duration = Duration::from_secs(1);

/// The least time that is left to a php-fpm that waited to be sent nothing.
const QUIETED_AT_LEAST: Duration = Duration::from_secs(1);

/// How long php-fpm's masters are held while none of the workers that were asked
/// goes: meanwhile they empty no pipe, and a worker that has much to say waits.
const HELD_AT_MOST: Duration = Duration::from_secs(1);

/// How far the drain of a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Drain {
    pub(super) step: Step,
    /// `None` until asking was no longer enough.
    pub(super) force: Option<Force>,
    /// When it gets SIGTERM.
    pub(super) term_at: Timestamp,
    /// When it gets SIGKILL.
    pub(super) kill_at: Timestamp,
    /// How many rounds its workers were asked in.
    pub(super) rounds: u8,
    /// A php-fpm alone has waited to be sent nothing.
    pub(super) quieted: bool,
    /// Presets ran in it: a supervisor that is its main process may start them
    /// anew.
    pub(super) had_presets: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Those asked last, if any, have gone: what is left?
    Looking { asked: Option<Layer> },
    /// A php-fpm alone is waiting until nobody sends to it any more.
    Quieting {
        /// Then it has been quiet for long enough.
        quiet_at: Timestamp,
        /// Then it is asked all the same.
        until: Timestamp,
    },
    /// Requests wait at php-fpm's sockets: its workers take them first.
    Queued,
    /// [`Layer::Web`] was asked.
    Web(Silence),
    /// [`Layer::Workers`] was asked.
    Workers {
        round: Round,
        /// Their masters are held, and go on by then.
        held_until: Option<Timestamp>,
    },
    /// [`Layer::Masters`] was asked.
    Masters,
    /// [`Layer::Main`] was asked, and what is left gets no further question.
    Main,
}

/// How silent clients of a web server are treated that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Silence {
    /// They are waited for: who has just connected is about to send.
    Heeded { until: Timestamp },
    /// They don't keep it.
    Unheeded,
    /// Only they were left, and it got SIGTERM.
    Dismissed,
}

/// What is known of php-fpm at the beginning of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Round {
    /// Nobody was at its sockets: who follows those that were asked has nothing
    /// to do, and this is the last round.
    Idle,
    /// Somebody was connected, and may have been followed by another.
    Busy,
    /// The sockets didn't tell: one that is over by then found none busy.
    Unknown { idle_until: Timestamp },
}

impl Drain {
    pub(super) const NOT_BEGUN: Self = Self {
        step: Step::Looking { asked: None },
        force: None,
        term_at: Timestamp(Duration::ZERO),
        kill_at: Timestamp(Duration::ZERO),
        rounds: 0,
        quieted: false,
        had_presets: false,
    };

    /// The facts that matter now.
    pub(super) fn awaits(&self, scope: Scope, main: Main) -> Vec<Condition> {
        match self.step {
            // It is our child: its exit is an event of its own.
            Step::Main if main == Main::Running && !self.had_presets => vec![],
            Step::Main | Step::Looking { .. } | Step::Queued => vec![Condition::Remains(scope)],
            Step::Quieting { .. } => match scope {
                Scope::Service(id) => vec![Condition::Quiet(id)],
                Scope::Rest => vec![],
            },
            Step::Web(Silence::Unheeded) => {
                vec![Condition::AskedGone(scope), Condition::Silent(scope)]
            }
            Step::Web(_) | Step::Workers { .. } | Step::Masters => {
                vec![Condition::AskedGone(scope)]
            }
        }
    }

    fn ask(&mut self, scope: Scope, step: Step, layer: Layer, actions: &mut Vec<Action>) {
        self.step = step;
        actions.push(Order::Ask(scope, layer).into());
    }

    /// Some of those that were asked last have gone.
    pub(super) fn record_asked_fewer(&mut self, now: Timestamp) {
        if let Step::Workers {
            held_until: Some(until),
            ..
        } = &mut self.step
        {
            *until = now + HELD_AT_MOST;
        }
    }

    /// Somebody sends to a php-fpm alone, or may: it is to be quiet from now on for
    /// so long.
    pub(super) fn record_busy(&mut self, now: Timestamp, quiet: Duration) {
        if let Step::Quieting { quiet_at, .. } = &mut self.step {
            *quiet_at = now + quiet;
        }
    }

    /// None of the workers may be signalled.
    pub(super) fn record_refused(&mut self, scope: Scope, actions: &mut Vec<Action>) {
        if let Step::Workers { .. } = self.step {
            self.ask(scope, Step::Masters, Layer::Masters, actions);
        }
    }

    /// Those that were asked last have gone.
    pub(super) fn record_asked_gone(
        &mut self,
        now: Timestamp,
        scope: Scope,
        actions: &mut Vec<Action>,
    ) {
        let asked = match self.step {
            Step::Workers { round, .. } => {
                // A master replaces the workers that went; one that was busy may
                // have been followed by another busy one.
                let is_last = match round {
                    Round::Idle => true,
                    Round::Busy => false,
                    Round::Unknown { idle_until } => now <= idle_until,
                };
                if is_last {
                    return self.ask(scope, Step::Masters, Layer::Masters, actions);
                }
                Layer::Workers
            }
            Step::Web(_) => Layer::Web,
            Step::Masters => Layer::Masters,
            Step::Looking { .. } | Step::Quieting { .. } | Step::Queued | Step::Main => return,
        };
        self.step = Step::Looking { asked: Some(asked) };
    }

    /// Something is left: who is asked next?
    ///
    /// `quiet` is given to a php-fpm whose web server is in another container of the
    /// pod: for how long nobody may have sent to it.
    pub(super) fn record_remains(
        &mut self,
        now: Timestamp,
        scope: Scope,
        main: Main,
        remains: Remains,
        quiet: Option<Duration>,
        actions: &mut Vec<Action>,
    ) {
        self.had_presets |= remains.web || remains.workers || remains.masters;
        let asked = match self.step {
            Step::Looking { asked } => asked,
            Step::Queued => Some(Layer::Web),
            // A supervisor has started it anew.
            Step::Main if remains.web => {
                return actions.push(Order::Ask(scope, Layer::Web).into());
            }
            Step::Main if remains.masters => {
                return actions.push(Order::Ask(scope, Layer::Masters).into());
            }
            Step::Main if main != Main::Running && remains.other => {
                return actions.push(Order::Ask(scope, Layer::Main).into());
            }
            Step::Main
            | Step::Quieting { .. }
            | Step::Web(_)
            | Step::Workers { .. }
            | Step::Masters => return,
        };
        // Only forward: a script that starts a new nginx whenever one has gone
        // would keep us at it for ever. But workers in rounds.
        let is_fpm_due = (remains.workers || remains.masters) && asked <= Some(Layer::Workers);
        if remains.web && asked.is_none() {
            let until = now + SILENCE_HEEDED;
            let step = Step::Web(Silence::Heeded { until });
            self.ask(scope, step, Layer::Web, actions);
        } else if is_fpm_due {
            let may_wait = !self.quieted && asked.is_none();
            if let (Some(quiet), true, Scope::Service(id)) = (quiet, may_wait, scope) {
                self.quieted = true;
                let time = self.term_at.since(now);
                let until = now + time.saturating_sub(QUIETED_AT_LEAST.max(time / 4));
                if now < until {
                    let quiet_at = now + quiet;
                    self.step = Step::Quieting { quiet_at, until };
                    return actions.push(Notice::AwaitsQuiet(id).into());
                }
            }
            self.ask_fpm(scope, remains, now, actions);
        } else if main == Main::Running || remains.other {
            self.ask(scope, Step::Main, Layer::Main, actions);
        } else {
            // All that is left was asked.
            self.step = Step::Main;
        }
    }

    /// Asks php-fpm's workers that are there now. Where it is idle its masters are
    /// held: they would start as many new ones, only to end them.
    fn ask_fpm(
        &mut self,
        scope: Scope,
        remains: Remains,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let (round, held_until) = match remains.attendance {
            Attendance::Queued => {
                self.step = Step::Queued;
                return;
            }
            _ if !remains.workers => {
                return self.ask(scope, Step::Masters, Layer::Masters, actions);
            }
            // Who was told to end at once is not to be stopped.
            Attendance::Nobody if self.force.is_some() => (Round::Idle, None),
            Attendance::Nobody => (Round::Idle, Some(now + HELD_AT_MOST)),
            Attendance::Connected => (Round::Busy, None),
            Attendance::Unknown => {
                let idle_until = now + IDLE_ROUND * (1 << self.rounds);
                self.rounds = IDLE_ROUND_DOUBLINGS.min(self.rounds + 1);
                (Round::Unknown { idle_until }, None)
            }
        };
        if held_until.is_some() {
            actions.push(Order::Hold(scope).into());
        }
        let step = Step::Workers { round, held_until };
        self.ask(scope, step, Layer::Workers, actions);
    }

    /// When something is due, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let force_at = match self.force {
            // Nobody was asked: first the question that is open.
            _ if self.is_to_be_looked_at() => None,
            None => Some(self.term_at.min(self.kill_at)),
            Some(Force::Term) => Some(self.kill_at),
            Some(Force::Kill) => None,
        };
        let step_until = match self.step {
            Step::Quieting { quiet_at, until } => Some(quiet_at.min(until)),
            Step::Web(Silence::Heeded { until }) => Some(until),
            Step::Workers { held_until, .. } => held_until,
            Step::Looking { .. }
            | Step::Queued
            | Step::Web(Silence::Unheeded | Silence::Dismissed)
            | Step::Masters
            | Step::Main => None,
        };
        force_at.into_iter().chain(step_until).min()
    }

    /// Nobody was asked since it began, or since the main process was reaped.
    fn is_to_be_looked_at(&self) -> bool {
        self.step == Step::Looking { asked: None }
    }

    /// Lets masters go on that are held.
    pub(super) fn release(&mut self, scope: Scope, actions: &mut Vec<Action>) {
        if let Step::Workers { held_until, .. } = &mut self.step {
            if held_until.take().is_some() {
                actions.push(Order::Release(scope).into());
            }
        }
    }

    /// Only silent clients are left: SIGTERM cuts nothing.
    pub(super) fn record_silent(&mut self, scope: Scope, actions: &mut Vec<Action>) {
        if self.step == Step::Web(Silence::Unheeded) && self.force.is_none() {
            self.step = Step::Web(Silence::Dismissed);
            actions.push(Order::Dismiss(scope).into());
        }
    }

    /// Orders what is due. `hurried` is what somebody at the keyboard has come to.
    pub(super) fn decide(
        &mut self,
        now: Timestamp,
        scope: Scope,
        hurried: Option<Force>,
        actions: &mut Vec<Action>,
    ) {
        if self.is_to_be_looked_at() {
            return;
        }
        match self.step {
            Step::Web(Silence::Heeded { until }) if now >= until => {
                self.step = Step::Web(Silence::Unheeded);
            }
            Step::Workers {
                held_until: Some(until),
                ..
            } if now >= until => self.release(scope, actions),
            Step::Looking { .. }
            | Step::Quieting { .. }
            | Step::Queued
            | Step::Web(_)
            | Step::Workers { .. }
            | Step::Masters
            | Step::Main => {}
        }
        if self.force.is_none() && (now >= self.term_at || hurried.is_some()) {
            self.force_by(scope, Force::Term, actions);
        }
        let kill = now >= self.kill_at || hurried == Some(Force::Kill);
        if kill && self.force != Some(Force::Kill) {
            self.force_by(scope, Force::Kill, actions);
        }
    }

    fn force_by(&mut self, scope: Scope, force: Force, actions: &mut Vec<Action>) {
        self.force = Some(force);
        // Whom it is sent to goes on, too.
        if let Step::Workers { held_until, .. } = &mut self.step {
            *held_until = None;
        }
        actions.push(Order::Force(scope, force).into());
    }

    /// All stops meanwhile: others are to have time after it.
    pub(super) fn hasten(&mut self, term_at: Timestamp) {
        self.term_at = self.term_at.min(term_at);
    }

    /// SIGKILL, after SIGTERM, unless it was sent.
    pub(super) fn end(&mut self, scope: Scope, actions: &mut Vec<Action>) {
        for force in [Force::Term, Force::Kill] {
            if self.force < Some(force) {
                self.force_by(scope, force, actions);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::ServiceId;

    const SCOPE: Scope = Scope::Service(ServiceId(0));

    /// What is left if it is that alone.
    fn only(what: impl FnOnce(&mut Remains)) -> Remains {
        let mut remains = Remains {
            any: true,
            attendance: Attendance::Connected,
            ..Remains::NOTHING
        };
        what(&mut remains);
        remains
    }

    #[test]
    fn below_a_running_main_process_only_presets_are_looked_for() {
        let look = [Condition::Remains(SCOPE)];
        for (remains, main, expected) in [
            (only(|it| it.other = true), Main::Running, &[][..]),
            (only(|it| it.other = true), Main::Reaped, &look),
            (only(|it| it.web = true), Main::Running, &look),
            (only(|it| it.workers = true), Main::Running, &look),
            (only(|it| it.masters = true), Main::Running, &look),
        ] {
            let mut drain = Drain {
                step: Step::Main,
                ..Drain::NOT_BEGUN
            };
            let now = Timestamp::default();
            drain.record_remains(now, SCOPE, main, remains, None, &mut vec![]);
            assert_eq!(drain.awaits(SCOPE, main), expected, "{remains:?}");
        }
    }

    #[test]
    fn a_php_fpm_is_asked_at_once_if_no_time_is_left_and_by_what_it_has() {
        for (remains, layer) in [
            // Its master was killed.
            (only(|it| it.workers = true), Layer::Workers),
            // It starts them on demand.
            (only(|it| it.masters = true), Layer::Masters),
        ] {
            let now = Timestamp::default();
            let mut drain = Drain {
                term_at: now + QUIETED_AT_LEAST,
                ..Drain::NOT_BEGUN
            };
            let mut actions = vec![];
            let quiet = Some(Duration::from_secs(1));
            drain.record_remains(now, SCOPE, Main::Running, remains, quiet, &mut actions);
            assert_eq!(actions, [Order::Ask(SCOPE, layer).into()]);
        }
    }
}
