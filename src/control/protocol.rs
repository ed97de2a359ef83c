//! The protocol: a first byte with its version, then a word, and what belongs to it.

use std::time::Duration;

use super::status::Status;
use crate::core::event::{Command, Health};

/// The first byte of each request and of each answer.
const VERSION: u8 = 1;

/// The most bytes that a request may have.
pub(super) const REQUEST_AT_MOST: usize = 512;

/// The most bytes that an answer may have; what is longer is cut.
pub(super) const ANSWER_AT_MOST: usize = 64 * 1024;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Whether everything serves, by a health check, which thereby learns of a stop.
    Ready,
    /// Whether everything serves, by somebody who waits for that.
    Started,
    /// How each service is.
    Status,
    /// The whole stop, as the runtime asks for it.
    Drain,
    /// That a service of this name, or those that are its instances, do this.
    Command(Command, String),
}

const COMMANDS: [Command; 5] = [
    Command::Start,
    Command::Stop,
    Command::Restart,
    Command::Reload,
    Command::Reopen,
];

impl Request {
    fn word(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Started => "started",
            Self::Status => "status",
            Self::Drain => "drain",
            Self::Command(command, _) => command.word(),
        }
    }

    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = self.word().to_owned();
        if let Self::Command(_, name) = self {
            text.push('\n');
            text.push_str(name);
        }
        encode(&text)
    }

    /// What was sent; `None` where it is none of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = decode(bytes)?;
        if let Some((word, name)) = text.split_once('\n') {
            let command = COMMANDS.into_iter().find(|known| known.word() == word)?;
            return Some(Self::Command(command, name.to_owned()));
        }
        let known = [Self::Ready, Self::Started, Self::Status, Self::Drain];
        known.into_iter().find(|request| request.word() == text)
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// How the container is.
    Health(Health),
    /// How each service is.
    Status(Status),
    /// It was begun.
    Begun {
        /// For these services.
        names: Vec<String>,
        /// What was said of it, a line each.
        said: String,
    },
    /// Why it was not.
    Refused(String),
    /// Who asks is another user, and not root.
    NotHeard,
    /// The request is none that this version knows.
    Unknown,
}

const HEALTHS: [Health; 5] = [
    Health::Starting,
    Health::Ready,
    Health::Down,
    Health::Draining,
    Health::Stopping,
];

/// The word for how the container is.
pub fn health_word(health: Health) -> &'static str {
    match health {
        Health::Starting => "starting",
        Health::Ready => "ready",
        Health::Down => "down",
        Health::Draining => "draining",
        Health::Stopping => "stopping",
    }
}

pub(super) fn health_of(word: &str) -> Option<Health> {
    HEALTHS.into_iter().find(|it| health_word(*it) == word)
}

impl Answer {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = match self {
            Self::Health(health) => health_word(*health).to_owned(),
            Self::Status(status) => format!("status\n{}", status.encode()),
            Self::Begun { names, said } => format!("begun\n{}\n{said}", names.join("\t")),
            Self::Refused(why) => format!("refused\n{why}"),
            Self::NotHeard => "not heard".to_owned(),
            Self::Unknown => "unknown".to_owned(),
        };
        let mut room = text.len().min(ANSWER_AT_MOST - 1);
        while !text.is_char_boundary(room) {
            room -= 1;
        }
        text.truncate(room);
        encode(&text)
    }

    /// What was sent. What this version doesn't know is [`Answer::Unknown`].
    pub fn decode(bytes: &[u8]) -> Self {
        let Some(text) = decode(bytes) else {
            return Self::Unknown;
        };
        match text.split_once('\n') {
            Some(("status", status)) => Status::decode(status).map_or(Self::Unknown, Self::Status),
            Some(("begun", rest)) => {
                let (names, said) = rest.split_once('\n').unwrap_or((rest, ""));
                let names = names.split('\t').filter(|name| !name.is_empty());
                Self::Begun {
                    names: names.map(str::to_owned).collect(),
                    said: said.to_owned(),
                }
            }
            Some(("refused", why)) => Self::Refused(why.to_owned()),
            Some(_) => Self::Unknown,
            None if text == "not heard" => Self::NotHeard,
            None => health_of(text).map_or(Self::Unknown, Self::Health),
        }
    }
}

fn encode(text: &str) -> Vec<u8> {
    [&[VERSION], text.as_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.strip_prefix(&[VERSION])?).ok()
}

/// Whole milliseconds.
pub(super) fn milliseconds(length: Duration) -> String {
    length.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let on = |command| Request::Command(command, "queue-1".to_owned());
        let simple = [
            Request::Ready,
            Request::Started,
            Request::Status,
            Request::Drain,
        ];
        for request in simple.into_iter().chain(COMMANDS.map(on)) {
            let bytes = request.encode();
            assert!(bytes.len() <= REQUEST_AT_MOST);
            assert_eq!(Request::decode(&bytes), Some(request));
        }
        let others = [
            Answer::Begun {
                names: vec!["queue-1".to_owned(), "queue-2".to_owned()],
                said: "queue-1 <- SIGHUP\nand more".to_owned(),
            },
            Answer::Begun {
                names: Vec::new(),
                said: String::new(),
            },
            Answer::Refused("no".to_owned()),
            Answer::NotHeard,
            Answer::Unknown,
        ];
        for answer in HEALTHS.map(Answer::Health).into_iter().chain(others) {
            let bytes = answer.encode();
            assert!(bytes.len() <= ANSWER_AT_MOST);
            assert_eq!(Answer::decode(&bytes), answer);
        }
    }

    #[test]
    fn another_version_or_word_is_unknown() {
        for bytes in [
            &b""[..],
            b"ready",
            b"\x02ready",
            b"\x01read",
            b"\x01ready ",
            b"\x01halt\nnginx",
            b"\x01\xff",
        ] {
            assert_eq!(Request::decode(bytes), None);
            assert_eq!(Answer::decode(bytes), Answer::Unknown);
        }
    }

    #[test]
    fn an_answer_is_cut_where_a_character_ends() {
        let bytes = Answer::Refused("é".repeat(ANSWER_AT_MOST)).encode();
        assert!(bytes.len() <= ANSWER_AT_MOST && bytes.len() > ANSWER_AT_MOST - 2);
        assert!(matches!(Answer::decode(&bytes), Answer::Refused(_)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (Request::decode(&bytes), Answer::decode(&bytes));
        }

        #[test]
        fn no_status_panics(text in "status\n([a-z0-9:,.\t\n-]{0,200})") {
            let _ = Answer::decode(&encode(&text));
        }
    }
}
