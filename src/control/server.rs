//! The side that is asked: PID 1's. Nothing here waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::protocol::{Answer, REQUEST_AT_MOST, Request};
use crate::sys::datagram::{Named, ReturnAddress, Sender};

/// How many are taken at a time, so that signals and children have their turn.
const AT_ONCE: usize = 16;

/// Where requests come in.
#[derive(Debug)]
pub struct Server(Named);

/// A request that may be answered.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    from: Option<ReturnAddress>,
}

impl Server {
    /// An error of the kind `AddrInUse` where another drainit of this container is
    /// asked.
    pub fn open() -> io::Result<Self> {
        Named::bind(&super::socket_name()?).map(Self)
    }

    /// The requests that have come. What is none of ours, or comes from somebody who
    /// may not ask, is answered here.
    pub fn requests(&self) -> impl Iterator<Item = Asked> {
        (0..AT_ONCE)
            .map_while(|_| {
                let mut buffer = [0; REQUEST_AT_MOST];
                let received = self.0.receive(&mut buffer).ok()?;
                Some((received, buffer))
            })
            .filter_map(|(received, buffer)| {
                let from = received.answer_to;
                let wrong = if !received.sender.is_some_and(Sender::may_ask) {
                    Answer::NotHeard
                } else if let Some(request) =
                    buffer.get(..received.length).and_then(Request::decode)
                {
                    return Some(Asked { request, from });
                } else {
                    Answer::Unknown
                };
                self.send(from.as_ref(), &wrong);
                None
            })
    }

    /// Answers a request.
    pub fn answer(&self, asked: &Asked, answer: &Answer) {
        self.send(asked.from.as_ref(), answer);
    }

    fn send(&self, to: Option<&ReturnAddress>, answer: &Answer) {
        if let Some(to) = to {
            // Who doesn't read, or has gone, needs no answer.
            let _ = self.0.answer(to, &answer.encode());
        }
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
