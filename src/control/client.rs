//! The side that asks: `drainit ready`, `status`, `stop` and the others.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use super::protocol::{ANSWER_AT_MOST, Answer, Request};
use crate::core::event::{Command, Health, State};
use crate::sys::datagram;

/// How long an answer may take: on a busy machine PID 1 waits for its turn, too.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// How soon who waits for something asks again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What became of a question: its answer, or why there is none.
pub type Outcome = Result<Answer, String>;

/// Whether everything serves.
pub fn is_ready(outcome: &Outcome) -> bool {
    matches!(outcome, Ok(Answer::Health(Health::Ready)))
}

/// Whether that may change before long.
fn may_become_ready(outcome: &Outcome) -> bool {
    match outcome {
        Ok(answer) => *answer == Answer::Health(Health::Starting),
        // It may not have been started yet, or not have come that far.
        Err(_) => true,
    }
}

/// Waits until everything serves, or will not, at most for that long.
pub fn wait_until_ready(at_most: Duration) -> Outcome {
    let start = Instant::now();
    loop {
        let outcome = ask(&Request::Started);
        let left = at_most.saturating_sub(start.elapsed());
        if is_ready(&outcome) || left.is_zero() || !may_become_ready(&outcome) {
            return outcome;
        }
        thread::sleep(ASK_AGAIN.min(left));
    }
}

/// Waits until a command that was begun has come to its end with that service: as
/// long as the service takes. Returns how it is then, or why that can't be said.
pub fn wait_for(command: Command, name: &str) -> Result<State, String> {
    loop {
        let status = match ask(&Request::Status)? {
            Answer::Status(status) => status,
            other => return Err(why_not(&other)),
        };
        let Some(service) = status.service(name) else {
            return Err(format!("there is no service {name} any more"));
        };
        let is_over = match (command, service.state) {
            _ if status.left.is_some() => return Err("all stops".to_owned()),
            (_, State::Ended | State::Stopped) => true,
            (Command::Stop, _) => false,
            (_, state) => state == State::Serving,
        };
        let is_as_asked = match command {
            Command::Stop => true,
            _ => service.state == State::Serving || service.has_succeeded(),
        };
        if is_over && is_as_asked {
            return Ok(service.state);
        }
        if is_over && service.last.is_empty() {
            return Err(format!("{name} can't be started; the log says why"));
        }
        if is_over {
            return Err(format!("{name} didn't stay up: {}", service.last));
        }
        thread::sleep(ASK_AGAIN);
    }
}

/// Why an answer is none to what was asked.
pub fn why_not(answer: &Answer) -> String {
    match answer {
        Answer::NotHeard => "drainit answers its own user and root".to_owned(),
        Answer::Refused(why) => why.clone(),
        Answer::Unknown => "the drainit that runs here is of another version".to_owned(),
        Answer::Health(_) | Answer::Status(_) | Answer::Begun { .. } => {
            "the answer is to another question".to_owned()
        }
    }
}

/// Asks the drainit of this container.
pub fn ask(request: &Request) -> Outcome {
    let mut buffer = vec![0; ANSWER_AT_MOST];
    let asked = super::socket_name()
        .and_then(|name| datagram::ask(&name, &request.encode(), &mut buffer, ANSWERED_WITHIN));
    match asked {
        Ok(received) if received.sender.and_then(|it| it.pid).is_none() => {
            Err("who answers is not in our PID namespace".to_owned())
        }
        Ok(received) => {
            let answer = buffer.get(..received.length).unwrap_or_default();
            Ok(Answer::decode(answer))
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Err("no drainit runs in this container, or it has --control none".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}
