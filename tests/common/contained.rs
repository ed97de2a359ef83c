//! drainit as PID 1 of namespaces of its own, as in a container; which needs root.

use std::process::{Command, Stdio};

use super::{DRAINIT, Running, children, drainit_by};

pub(crate) const UNSHARE: [&str; 5] =
    ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// Starts drainit as PID 1 of a container, and waits for that line.
#[track_caller]
pub(crate) fn start(arguments: &[&str], line: &str) -> Running {
    start_by(&UNSHARE, arguments, line)
}

/// By a command that makes the container, as [`UNSHARE`] does.
#[track_caller]
pub(crate) fn start_by(starter: &[&str], arguments: &[&str], line: &str) -> Running {
    // The kernel gives a mount namespace the number of one that has just gone, at times
    // before it has closed the socket whose name had that number.
    let is_unheard = |running: &Running| running.log().contains("will get no answer");
    let mut tries = (0..10).map(|_| {
        let mut running = Running::start(&mut drainit_by(starter, arguments));
        running.wait_for_line(line);
        running
    });
    let mut running = tries.find(|running| !is_unheard(running)).unwrap();
    // unshare's child.
    running.pid = children(running.pid)[0];
    running
}

/// A command in that container.
pub(crate) fn inside(running: &Running, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args([
            "--target",
            &running.pid.to_string(),
            "--mount",
            "--pid",
            "--",
        ])
        .args(words)
        .stdin(Stdio::null())
        // What a test that fails shows.
        .stderr(Stdio::inherit());
    command
}

/// What a command in that container prints, and its exit code.
#[track_caller]
pub(crate) fn printed(running: &Running, words: &[&str]) -> (String, i32) {
    let output = inside(running, words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (text, output.status.code().unwrap())
}

/// Begins a command that is to run as that user.
pub(crate) fn as_user(user: &str) -> [&str; 4] {
    ["setpriv", "--reuid", user, "--clear-groups"]
}

/// What a subcommand prints, and its exit code.
#[track_caller]
pub(crate) fn drainit(running: &Running, words: &[&str]) -> (String, i32) {
    printed(running, &[&[DRAINIT], words].concat())
}

/// The words of that service's line.
#[track_caller]
pub(crate) fn status_of(running: &Running, service: &str) -> Vec<String> {
    let (table, code) = drainit(running, &["status"]);
    assert_eq!(code, 0, "{table}");
    let mut lines = table.lines().map(|line| {
        let words = line.split_whitespace().map(str::to_owned);
        words.collect::<Vec<String>>()
    });
    lines.find(|words| words[0] == service).unwrap()
}
