//! The one place that decides our own exit code.

use super::record::{Record, ServiceRecord};
use crate::core::event::{Force, StopRequest};
use crate::core::plan::ServiceId;
use crate::signal::Signal;
use crate::status::Status;

/// Our own exit code, by the first rule that applies.
pub fn code(record: &Record) -> u8 {
    let services = &record.services;
    if let Some(failure) = services.iter().find_map(ServiceRecord::failure) {
        return failure.code();
    }
    let forced = services
        .iter()
        .filter_map(|service| service.forced)
        .chain(record.rest_forced)
        .max();
    match forced {
        Some(Force::Kill) => return 128 + 9,
        Some(Force::Term) => return 128 + 15,
        None => {}
    }
    if let Some((id, unasked)) = record.first_unasked {
        return code_of(record, id, unasked);
    }
    match &**services {
        // As with tini, its status is ours.
        [only] if !only.is_preset => {
            let outcome = only.outcome();
            outcome.map_or(0, |status| code_of(record, ServiceId(0), status))
        }
        _ => services
            .each()
            .map(|(id, service)| failed_with(record, id, service))
            .find(|code| *code != 0)
            .unwrap_or(0),
    }
}

/// A status as an exit code, 0 where that is to be taken for success.
fn code_of(record: &Record, id: ServiceId, status: Status) -> u8 {
    let code = status.code();
    let success = record.success.get(id);
    if success.is_some_and(|success| success.contains(&code)) {
        0
    } else {
        code
    }
}

/// The code of a service that was asked to stop, 0 if it ended as asked: a
/// preset by itself, another one with 0, and each by a signal of ours, or by the
/// runtime's own, which some send to all processes at once.
fn failed_with(record: &Record, id: ServiceId, service: &ServiceRecord) -> u8 {
    let Some(status) = service.outcome() else {
        return 0;
    };
    let is_asked_preset = service.is_preset && !service.took().is_empty();
    let is_as_asked = match status {
        Status::Exited(_) if service.is_preset => true,
        // Apache ends its whole group by SIGTERM, the script around it too.
        status if is_asked_preset && status.is_by(Signal::TERM) => true,
        status => {
            let requested_by = record.requested_by.and_then(StopRequest::signal);
            let mut ours = service.took().iter().copied().chain(requested_by);
            ours.any(|signal| status.is_by(signal))
        }
    };
    if is_as_asked {
        0
    } else {
        code_of(record, id, status)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_ended_as_asked_has_not_failed() {
        const NONE: &[Signal] = &[];
        const STOP: &[Signal] = &[Signal::QUIT];
        const WINCH: &[Signal] = &[Signal::WINCH];
        let killed = Status::Killed;
        for (is_preset, sent, status, expected) in [
            // A preset ends by itself, and by what it was sent.
            (true, STOP, Status::Exited(3), 0),
            (true, NONE, Status::Exited(3), 0),
            (true, STOP, killed(Signal::QUIT), 0),
            (true, STOP, killed(Signal::USR2), 140),
            // Apache's own SIGTERM is one of a stop only once it was asked.
            (true, WINCH, killed(Signal::TERM), 0),
            (true, NONE, killed(Signal::TERM), 143),
            // Others with 0, and by what they or all were sent.
            (false, STOP, Status::Exited(0), 0),
            (false, STOP, Status::Exited(3), 3),
            (false, STOP, Status::Exited(131), 0),
            (false, STOP, killed(Signal::QUIT), 0),
            (false, STOP, killed(Signal::PWR), 0),
            (false, STOP, killed(Signal::TERM), 143),
            (false, NONE, killed(Signal::QUIT), 131),
        ] {
            let services = [("first", true), ("second", is_preset)];
            let mut record = Record::new(services, Duration::from_secs(1), vec![]);
            record.requested_by = Some(StopRequest::Signal(Signal::PWR));
            let second = &mut record.services[1];
            second.sent = sent.to_vec();
            second.status = Some(status);
            let case = format!("{is_preset} {sent:?} {status}");
            assert_eq!(code(&record), expected, "{case}");
        }
    }
}
