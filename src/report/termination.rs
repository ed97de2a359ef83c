//! The termination message: what a runtime shows of a container that has ended
//! otherwise than asked.

use std::time::Duration;

use super::exit;
use super::record::{Record, ServiceRecord};
use crate::core::event::Timestamp;
use crate::status::Failure;

/// The kubelet takes no more of it.
/// <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>
const LENGTH_AT_MOST: usize = 4096;

impl Record {
    /// A sentence that says what went wrong, and the report; `None` where nothing did.
    pub fn termination_message(&self, now: Timestamp, grace_period: Duration) -> Option<String> {
        let sentence = self.what_went_wrong(grace_period)?;
        Some(cut(format!("{sentence}\n{}\n", self.text(now))))
    }

    /// By the same rules as the exit code.
    fn what_went_wrong(&self, grace_period: Duration) -> Option<String> {
        let mut services = self.services.iter();
        if let Some(said) = services.find_map(why_not_started) {
            return Some(said);
        }
        if self.is_forced() {
            let hurried = || "stopped by the keyboard before the drain was over".to_owned();
            return Some(self.out_of_time(grace_period).unwrap_or_else(hurried));
        }
        let code = exit::code(self);
        if let Some((id, status)) = self.first_unasked {
            // A command may end when it likes.
            let is_command = matches!(&*self.services, [only] if !only.is_preset);
            return (code != 0 || !is_command)
                .then(|| format!("{} ended unasked: {status}", self.name(id)));
        }
        if code == 0 {
            return None;
        }
        let failed = |it: &&ServiceRecord| it.outcome().is_some_and(|status| status.code() == code);
        let failed = self.services.iter().find(failed)?;
        let status = failed.status?;
        Some(format!("{} failed: {status}", failed.name))
    }
}

fn why_not_started(service: &ServiceRecord) -> Option<String> {
    let what = match (service.failure()?, service.status) {
        (Failure::NotFound, _) => "can't be executed: it isn't there".to_owned(),
        (Failure::NotExecutable | Failure::Usage | Failure::Theirs(_), _) => {
            "can't be executed".to_owned()
        }
        (Failure::NotReady, Some(status)) if service.drained().is_none() => {
            format!("ended before it was ready: {status}")
        }
        (Failure::NotReady, _) if service.started => "was not ready in time".to_owned(),
        (Failure::NotReady, _) => "can't be started: no process or memory is to be had".to_owned(),
    };
    Some(format!("{} {what}", service.name))
}

/// To what the kubelet takes, between two characters.
fn cut(mut message: String) -> String {
    let mut length = message.len().min(LENGTH_AT_MOST);
    while !message.is_char_boundary(length) {
        length -= 1;
    }
    message.truncate(length);
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::event::{Event, Force, Layer, Notice, Order, Scope, StopRequest};
    use crate::core::plan::ServiceId;
    use crate::report::record::HeldUp;
    use crate::signal::Signal;
    use crate::status::Status;

    const FIRST: ServiceId = ServiceId(0);

    fn at(seconds: u64) -> Timestamp {
        Timestamp(Duration::from_secs(seconds))
    }

    fn message(record: &Record) -> Option<String> {
        record.termination_message(at(20), Duration::from_secs(30))
    }

    #[track_caller]
    fn assert_says(record: &Record, sentence: &str) {
        let message = message(record).unwrap_or_else(|| panic!("nothing, not {sentence:?}"));
        let (first, rest) = message.split_once('\n').unwrap();
        assert_eq!(first, sentence);
        assert_eq!(rest.trim_end(), record.text(at(20)), "the report");
    }

    /// Of services that run.
    fn running(services: &[(&str, bool)]) -> Record {
        let mut record = Record::new(services.iter().copied(), Duration::from_secs(1), Vec::new());
        for (index, _) in services.iter().enumerate() {
            let _ = record.order(at(0), Order::Spawn(ServiceId(index)));
        }
        record
    }

    fn ends(record: &mut Record, status: Status) {
        let _ = record.event(at(11), &Event::Exited(FIRST, status));
    }

    fn ends_unasked(record: &mut Record, status: Status) {
        ends(record, status);
        let _ = record.notice(at(11), Notice::EndedUnasked(FIRST));
    }

    fn stops(record: &mut Record) {
        let _ = record.event(
            at(10),
            &Event::StopRequested(StopRequest::Signal(Signal::TERM)),
        );
        let _ = record.notice(at(10), Notice::StopBegins);
        let _ = record.order(at(10), Order::Ask(Scope::Service(FIRST), Layer::Main));
        record.sent(Scope::Service(FIRST), Signal::TERM);
    }

    #[test]
    fn of_a_stop_as_asked_there_is_no_message() {
        for (services, status) in [
            (&[("nginx", true)][..], Status::Exited(0)),
            (
                &[("queue", false), ("b", false)],
                Status::Killed(Signal::TERM),
            ),
            (&[("job", false)], Status::Exited(0)),
        ] {
            let mut record = running(services);
            stops(&mut record);
            ends(&mut record, status);
            assert_eq!(message(&record), None, "{services:?}");
        }
    }

    #[test]
    fn a_command_may_end_when_it_likes_but_not_fail() {
        let mut record = running(&[("job", false)]);
        ends_unasked(&mut record, Status::Exited(0));
        assert_eq!(message(&record), None);
        let mut record = running(&[("job", false)]);
        ends_unasked(&mut record, Status::Exited(3));
        assert_says(&record, "job ended unasked: exited 3");
    }

    #[test]
    fn a_service_that_ends_unasked_is_named_whatever_its_exit_code() {
        let mut record = running(&[("nginx", true)]);
        ends_unasked(&mut record, Status::Exited(0));
        assert_says(&record, "nginx ended unasked: exited 0");
        let mut record = running(&[("a", false), ("b", false)]);
        ends_unasked(&mut record, Status::Killed(Signal::KILL));
        assert_says(&record, "a ended unasked: killed by SIGKILL");
    }

    #[test]
    fn a_start_that_failed_is_told_by_its_cause() {
        let failed = |failure| {
            let mut record = running(&[("nginx", true)]);
            record.start_failed(FIRST, failure);
            let _ = record.event(at(0), &Event::SpawnFailed(FIRST));
            let _ = record.notice(at(0), Notice::StartFailed(FIRST));
            record
        };
        assert_says(
            &failed(Failure::NotFound),
            "nginx can't be executed: it isn't there",
        );
        assert_says(&failed(Failure::NotExecutable), "nginx can't be executed");

        let mut ended = running(&[("nginx", true)]);
        ends(&mut ended, Status::Exited(1));
        let _ = ended.notice(at(11), Notice::StartFailed(FIRST));
        assert_says(&ended, "nginx ended before it was ready: exited 1");

        let mut slow = running(&[("nginx", true)]);
        let _ = slow.notice(at(9), Notice::StartFailed(FIRST));
        let _ = slow.order(at(9), Order::Ask(Scope::Service(FIRST), Layer::Main));
        ends(&mut slow, Status::Exited(0));
        assert_says(&slow, "nginx was not ready in time");

        let mut refused = running(&[("nginx", true)]);
        let _ = refused.event(at(0), &Event::SpawnRefused(FIRST));
        let _ = refused.notice(at(9), Notice::StartFailed(FIRST));
        assert_says(
            &refused,
            "nginx can't be started: no process or memory is to be had",
        );
    }

    #[test]
    fn a_drain_that_was_cut_says_what_to_raise() {
        let mut record = running(&[("nginx", true)]);
        stops(&mut record);
        let clients = HeldUp::Clients(1, Duration::from_secs(2));
        record.forced(at(21), Scope::Service(FIRST), Force::Term, Some(clients));
        ends(&mut record, Status::Exited(0));
        assert_says(
            &record,
            "out of time: nginx after 11.0 s (1 connection left, silent for 2.0 s); the grace \
             period is taken to be 30.0 s: if requests were cut, raise the runtime's and \
             DRAINIT_GRACE_PERIOD with it",
        );
    }

    #[test]
    fn a_drain_that_the_keyboard_has_cut_says_so() {
        let mut record = running(&[("nginx", true)]);
        let _ = record.event(at(10), &Event::Interrupted);
        let _ = record.notice(at(10), Notice::StopBegins);
        let _ = record.event(at(11), &Event::Interrupted);
        record.forced(at(21), Scope::Service(FIRST), Force::Term, None);
        assert_says(&record, "stopped by the keyboard before the drain was over");
    }

    #[test]
    fn a_service_that_fails_when_it_is_asked_is_named() {
        let mut record = running(&[("queue", false), ("b", false)]);
        stops(&mut record);
        ends(&mut record, Status::Exited(7));
        assert_says(&record, "queue failed: exited 7");
    }

    proptest! {
        #[test]
        fn no_message_is_longer_than_the_kubelet_takes(name in "[aé€😀]{0,3000}") {
            let mut record = running(&[(&name, true)]);
            ends_unasked(&mut record, Status::Exited(1));
            let message = message(&record).unwrap();
            prop_assert!(message.len() <= LENGTH_AT_MOST);
            let whole = format!("{name} ended unasked: exited 1\n{}\n", record.text(at(20)));
            prop_assert!(whole.starts_with(&message));
            prop_assert!(message.len() + 3 >= whole.len().min(LENGTH_AT_MOST));
        }
    }
}
