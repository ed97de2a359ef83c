//! What a service manager is told: systemd, or podman, which hands it on. By datagrams
//! to the socket that `NOTIFY_SOCKET` names: `sd_notify(3)`. Only once all that is to
//! serve does it learn that we are ready, so no service sees the variable: php-fpm
//! would say that it is, before nginx was started.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use log::warn;

use crate::control::status::state_word;
use crate::core::event::{Health, State, Timestamp};
use crate::report::logger::OURSELVES;
use crate::sys::datagram;

/// The variable that names the socket.
pub(super) const VARIABLE: &str = "NOTIFY_SOCKET";

/// A lone command that is to listen is looked at again after this part of the time for
/// which it hasn't: so much later is it said that it is ready, and if it never is, looks
/// get rare.
const LOOK_PART: u32 = 8;

/// The time between two such looks.
const LOOK_AFTER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));

/// What was told.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: OsString,
    is_ready_told: bool,
    is_stop_told: bool,
    status: String,
    is_failure_said: bool,
}

impl Notifier {
    /// Of that variable, unless it is empty.
    pub(super) fn new(socket: Option<OsString>) -> Option<Self> {
        let socket = socket.filter(|socket| !socket.is_empty())?;
        Some(Self {
            socket,
            is_ready_told: false,
            is_stop_told: false,
            status: String::new(),
            is_failure_said: false,
        })
    }

    /// Whether it was told that we are ready.
    pub(super) fn is_ready_told(&self) -> bool {
        self.is_ready_told
    }

    /// After how long it is looked again whether a lone command listens.
    pub(super) fn look_after(&self, now: Timestamp) -> Option<Duration> {
        let (least, most) = LOOK_AFTER;
        let is_awaited = !self.is_ready_told && !self.is_stop_told;
        is_awaited.then(|| (now.0 / LOOK_PART).clamp(least, most))
    }

    /// Tells what has changed. It never waits.
    pub(super) fn tell(&mut self, health: Health, status: String) {
        if let Some(message) = self.message(health, status) {
            let sent = datagram::send_to(&self.socket, message.as_bytes());
            if let (Err(error), false) = (sent, self.is_failure_said) {
                self.is_failure_said = true;
                let socket = Path::new(&self.socket).display();
                warn!(target: OURSELVES, "{VARIABLE}={socket} isn't told all: {error}");
            }
        }
    }

    fn message(&mut self, health: Health, status: String) -> Option<String> {
        let is_stopping = matches!(health, Health::Draining | Health::Stopping);
        let mut message = String::new();
        if health == Health::Ready && !self.is_ready_told {
            self.is_ready_told = true;
            message.push_str("READY=1\n");
        }
        if is_stopping && !self.is_stop_told {
            self.is_stop_told = true;
            message.push_str("STOPPING=1\n");
        }
        if status != self.status {
            // One line, whatever a service is called.
            message.push_str("STATUS=");
            message.push_str(&status.replace(char::is_control, " "));
            self.status = status;
        }
        (!message.is_empty()).then_some(message)
    }
}

/// The sentence: that all stops, behind which is said how far each service is.
pub(super) fn status(stop: Option<String>, services: &[(&str, State)]) -> String {
    let mut text = stop.unwrap_or_default();
    for state in [
        State::Serving,
        State::Draining,
        State::Starting,
        State::Waiting,
        State::Restarting,
        State::Stopped,
        State::Ended,
    ] {
        let word = format!("{}: ", state_word(state));
        let mut between = word.as_str();
        for (name, _) in services.iter().filter(|(_, its)| *its == state) {
            if between == word && !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(between);
            text.push_str(name);
            between = ", ";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier() -> Notifier {
        Notifier::new(Some("/x".into())).unwrap()
    }

    #[test]
    fn without_a_socket_nobody_is_told() {
        assert!(Notifier::new(None).is_none());
        assert!(Notifier::new(Some(OsString::new())).is_none());
    }

    #[test]
    fn ready_and_stopping_are_told_once_and_the_status_when_it_changes() {
        let mut it = notifier();
        let mut told = |health, status: &str| it.message(health, status.to_owned());
        assert_eq!(told(Health::Starting, "a").unwrap(), "STATUS=a");
        assert_eq!(told(Health::Starting, "a"), None);
        assert_eq!(told(Health::Ready, "a").unwrap(), "READY=1\n");
        // One was away.
        assert_eq!(told(Health::Starting, "b\nc").unwrap(), "STATUS=b c");
        assert_eq!(told(Health::Ready, "a").unwrap(), "STATUS=a");
        assert_eq!(told(Health::Draining, "d").unwrap(), "STOPPING=1\nSTATUS=d");
        assert_eq!(told(Health::Stopping, "d"), None);
    }

    #[test]
    fn looks_get_rare_and_end_when_it_is_told() {
        let mut it = notifier();
        let after = |it: &Notifier, seconds| {
            let now = Timestamp(Duration::from_secs(seconds));
            it.look_after(now).map(|after| after.as_millis())
        };
        assert_eq!(after(&it, 0), Some(10));
        assert_eq!(after(&it, 8), Some(1_000));
        assert_eq!(after(&it, 3_600), Some(10_000));
        let _ = it.message(Health::Ready, String::new());
        assert_eq!(after(&it, 8), None);
        let mut it = notifier();
        let _ = it.message(Health::Stopping, String::new());
        assert_eq!(after(&it, 8), None);
    }

    #[test]
    fn the_status_says_how_far_each_service_is() {
        let services = [
            ("php-fpm", State::Serving),
            ("queue", State::Restarting),
            ("nginx", State::Serving),
            ("once", State::Ended),
        ];
        assert_eq!(
            status(None, &services),
            "serving: php-fpm, nginx; restarting: queue; ended: once"
        );
        let services = [("php-fpm", State::Serving), ("nginx", State::Draining)];
        assert_eq!(
            status(Some("stopping by SIGTERM".to_owned()), &services),
            "stopping by SIGTERM; serving: php-fpm; draining: nginx"
        );
        assert_eq!(status(Some("stopping".to_owned()), &[]), "stopping");
    }
}
