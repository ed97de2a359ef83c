//! The side that asks: `drainit ready`.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use super::protocol::{ANSWER_AT_MOST, Answer, Request};
use crate::core::event::Health;
use crate::sys::datagram;

/// How long an answer may take: on a busy machine PID 1 waits for its turn, too.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// How soon who waits for a start asks again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What became of a question.
#[derive(Debug)]
pub enum Outcome {
    /// It was answered.
    Answered(Answer),
    /// Why it was not.
    Unanswered(String),
}

impl Outcome {
    /// Whether everything serves.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Answered(Answer::Health(Health::Ready)))
    }

    /// Whether that may change before long.
    fn may_become_ready(&self) -> bool {
        match self {
            Self::Answered(answer) => *answer == Answer::Health(Health::Starting),
            // It may not have been started yet, or not have come that far.
            Self::Unanswered(_) => true,
        }
    }
}

/// Asks, as a health check does, whether everything serves.
pub fn is_ready() -> Outcome {
    ask(Request::Ready)
}

/// Waits until everything serves, or will not, at most for that long.
pub fn wait_until_ready(at_most: Duration) -> Outcome {
    let start = Instant::now();
    loop {
        let outcome = ask(Request::Started);
        let left = at_most.saturating_sub(start.elapsed());
        if outcome.is_ready() || left.is_zero() || !outcome.may_become_ready() {
            return outcome;
        }
        thread::sleep(ASK_AGAIN.min(left));
    }
}

fn ask(request: Request) -> Outcome {
    let mut buffer = [0; ANSWER_AT_MOST];
    let asked = super::socket_name()
        .and_then(|name| datagram::ask(&name, &request.encode(), &mut buffer, ANSWERED_WITHIN));
    match asked {
        Ok(received) if received.sender.and_then(|it| it.pid).is_none() => {
            Outcome::Unanswered("who answers is not in our PID namespace".to_owned())
        }
        Ok(received) => {
            let answer = buffer.get(..received.length).unwrap_or_default();
            Outcome::Answered(Answer::decode(answer))
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Outcome::Unanswered(
            "no drainit runs in this container, or it has --control none".to_owned(),
        ),
        Err(error) => Outcome::Unanswered(error.to_string()),
    }
}
