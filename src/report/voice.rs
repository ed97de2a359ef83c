//! What is said in place of our own log where drainit stands in for another init.

use std::io;

use crate::signal::Signal;
use crate::status::Status;
use crate::sys::process::Pid;

/// Something that such an init has a sentence for.
#[derive(Debug)]
pub enum Happening<'a> {
    /// Its child was started.
    Started(&'a str, Pid),
    /// Its child can't be executed: what was to be, who tried, and why.
    NotExecuted(&'a str, Pid, &'a io::Error),
    /// A signal came.
    Came(Signal),
    /// This went to its child, or its group.
    PassedOn(Signal),
    /// A process was reaped that isn't its child.
    ReapedOrphan(Pid, Status),
    /// Its child has ended.
    Ended(Pid, Status),
}

/// How it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Voice {
    /// Our own pid, which most sentences begin with.
    pub pid: Pid,
    /// How much it says, as it counts that itself.
    pub level: u8,
    /// An orphan that was reaped is worth a warning.
    pub warns_of_orphans: bool,
    /// Its sentences, whole lines; `None` where it says nothing.
    pub words: fn(&Voice, &Happening) -> Option<String>,
    /// Its exit code where its child can't be executed.
    pub code: fn(&io::Error) -> u8,
}

impl Voice {
    /// What it says of that.
    pub fn say(&self, happening: &Happening) -> Option<String> {
        (self.words)(self, happening)
    }
}

/// As C's strerror(3) has it, without the number.
pub fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}
