//! The protocol: a first byte with its version, then words.

use crate::core::event::Health;

/// The first byte of each request and of each answer.
const VERSION: u8 = 1;

/// The most bytes that a request may have.
pub(super) const REQUEST_AT_MOST: usize = 64;

/// The most bytes that an answer may have.
pub(super) const ANSWER_AT_MOST: usize = 256;

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Whether everything serves, by a health check, which thereby learns of a stop.
    Ready,
    /// Whether everything serves, by somebody who waits for that.
    Started,
}

impl Request {
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Started => "started",
        }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        [&[VERSION], self.word().as_bytes()].concat()
    }

    /// `None` where it is none of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let word = bytes.strip_prefix(&[VERSION])?;
        let mut known = [Self::Ready, Self::Started].into_iter();
        known.find(|request| request.word().as_bytes() == word)
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// How the container is.
    Health(Health),
    /// Who asks is another user, and not root.
    NotHeard,
    /// The request is none that this version knows.
    Unknown,
}

const ANSWERS: [Answer; 7] = [
    Answer::Health(Health::Starting),
    Answer::Health(Health::Ready),
    Answer::Health(Health::Down),
    Answer::Health(Health::Draining),
    Answer::Health(Health::Stopping),
    Answer::NotHeard,
    Answer::Unknown,
];

impl Answer {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Health(Health::Starting) => "starting",
            Self::Health(Health::Ready) => "ready",
            Self::Health(Health::Down) => "down",
            Self::Health(Health::Draining) => "draining",
            Self::Health(Health::Stopping) => "stopping",
            Self::NotHeard => "refused",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        [&[VERSION], self.word().as_bytes()].concat()
    }

    /// What this version doesn't know is [`Answer::Unknown`].
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let word = bytes.strip_prefix(&[VERSION]);
        let mut known = ANSWERS.into_iter();
        let found = known.find(|answer| Some(answer.word().as_bytes()) == word);
        found.unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for request in [Request::Ready, Request::Started] {
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes), Some(request));
            assert!(bytes.len() <= REQUEST_AT_MOST);
        }
        for answer in ANSWERS {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes), answer);
            assert!(bytes.len() <= ANSWER_AT_MOST);
        }
    }

    #[test]
    fn another_version_or_word_is_unknown() {
        for bytes in [&b""[..], b"ready", b"\x02ready", b"\x01read", b"\x01ready "] {
            assert_eq!(Request::decode(bytes), None);
            assert_eq!(Answer::decode(bytes), Answer::Unknown);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (Request::decode(&bytes), Answer::decode(&bytes));
        }
    }
}
