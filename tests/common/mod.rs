//! drainit as a real process, and a puppet for it to run.
//!
//! Nothing here sleeps to let something happen: a test waits for a line or for
//! a condition, and [`PATIENCE`] is how long until that is a failure.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod contained;
mod dispositions;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

/// Longer than anything here takes on the busiest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program under test.
pub(crate) const DRAINIT: &str = env!("CARGO_BIN_EXE_drainit");

/// drainit with these arguments and nothing but PATH in its environment.
pub(crate) fn drainit<S: AsRef<OsStr>>(arguments: impl AsRef<[S]>) -> Command {
    let mut command = clean(DRAINIT);
    command.args(arguments.as_ref());
    command
}

/// drainit as the last words of another command, which is to exec it.
pub(crate) fn drainit_by<S: AsRef<OsStr>>(starter: &[&str], arguments: impl AsRef<[S]>) -> Command {
    let mut command = clean(starter[0]);
    command.args(&starter[1..]).arg(DRAINIT);
    command.args(arguments.as_ref());
    command
}

fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    command.env_clear().env("PATH", path).stdin(Stdio::null());
    dispositions::reset(&mut command);
    command
}

const PUPPET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/puppet.pl");

/// The words of a puppet's command. It says `NAME ready, pid PID`, then
/// `NAME got SIG…` for each signal, and no signal ends it but those that the
/// rules give an exit code: `puppet("web TERM=0 listen")`.
pub(crate) fn puppet(rules: &str) -> Vec<&str> {
    ["perl", PUPPET]
        .into_iter()
        .chain(rules.split(' '))
        .collect()
}

/// A program of that name, in that directory, which is a puppet; its arguments
/// are NAME and the rules. A script's `comm` is its file's name.
pub(crate) fn puppet_program(scratch: &Scratch, name: &str) -> PathBuf {
    let text = fs::read_to_string(PUPPET).unwrap();
    scratch.program(name, &format!("#!/usr/bin/perl\n{text}"))
}

/// A puppet's command as a shell reads it, also in single quotes.
pub(crate) fn puppet_line(rules: &str) -> String {
    format!(r#"perl "{PUPPET}" {rules}"#)
}

/// The value of a `--service` that runs the puppet of that name.
pub(crate) fn service(rules: &str) -> String {
    let name = rules.split(' ').next().unwrap_or_default();
    format!("{name}={}", puppet_line(rules))
}

/// drainit, running. It and all below it are killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Of drainit itself, whoever has started it.
    pub(crate) pid: u32,
    lines: Receiver<String>,
    seen: Vec<Seen>,
}

/// A line that was written.
#[derive(Debug)]
struct Seen {
    line: String,
    /// Somebody has waited for it.
    is_taken: bool,
}

impl Running {
    /// Standard output and error are one pipe: the order of the lines is the
    /// order of the writes, whoever writes them.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, None)
    }

    /// Standard error goes there.
    #[track_caller]
    pub(crate) fn start_with_stderr(command: &mut Command, stderr: OwnedFd) -> Self {
        Self::start_with(command, Some(stderr))
    }

    #[track_caller]
    fn start_with(command: &mut Command, stderr: Option<OwnedFd>) -> Self {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let stderr = stderr.unwrap_or_else(|| writer.try_clone().unwrap());
        let child = command.stdout(writer).stderr(stderr).spawn().unwrap();
        // The pipe ends only when nobody holds its other end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(File::from(reader)).split(b'\n') {
                let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            pid: child.id(),
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a line with this in it and returns it. Each line is taken
    /// once: who waits twice for `ready` waits for two lines.
    #[track_caller]
    pub(crate) fn wait_for_line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let matching = |seen: &&mut Seen| !seen.is_taken && seen.line.contains(part);
            if let Some(seen) = self.seen.iter_mut().find(matching) {
                seen.is_taken = true;
                return seen.line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.see(line),
                Err(error) => panic!("no line with {part:?} ({error}), but:\n{}", self.log()),
            }
        }
    }

    /// Waits until a puppet is ready; returns its pid.
    #[track_caller]
    pub(crate) fn wait_for_puppet(&mut self, name: &str) -> u32 {
        number_behind("pid ", &self.wait_for_line(&format!("{name} ready")))
    }

    /// Waits until a puppet listens; returns its port.
    #[track_caller]
    pub(crate) fn wait_for_listening_puppet(&mut self, name: &str) -> u16 {
        let port = number_behind("port ", &self.wait_for_line(&format!("{name} ready")));
        port.try_into().unwrap()
    }

    /// Sends drainit a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: i32) {
        kill(self.pid, signal);
    }

    /// Sends drainit a signal, and waits until it has done what it does upon it.
    #[track_caller]
    pub(crate) fn deliver(&self, signal: i32) {
        self.signal(signal);
        self.wait_until_asleep();
    }

    /// Waits until drainit has done all that there was to do: a signal, or the
    /// end of what it waited for, has it running before anybody else learns of
    /// it, and it sleeps only when nothing is left. If it has ended, which may be
    /// what it shouldn't have done, whoever waits for a line next says so.
    #[track_caller]
    pub(crate) fn wait_until_asleep(&self) {
        wait_until("drainit sleeps", || {
            status_field(self.pid, "State").starts_with(['S', 'Z'])
        });
    }

    /// Waits until drainit has exited and nobody is left who could write;
    /// returns the exit code.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            // Reads on meanwhile, so that nobody waits for us to read.
            match self.lines.recv_timeout(Duration::from_millis(5)) {
                Ok(line) => self.see(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            assert!(Instant::now() < deadline, "no exit, but:\n{}", self.log());
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.see(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("something outlives drainit:\n{}", self.log())
                }
            }
        }
        status
            .code()
            .unwrap_or_else(|| panic!("drainit died: {status}\n{}", self.log()))
    }

    fn see(&mut self, line: String) {
        self.seen.push(Seen {
            line,
            is_taken: false,
        });
    }

    /// The report, once drainit has exited.
    #[track_caller]
    pub(crate) fn report(&self) -> &str {
        let report = self.lines().find(|line| line.contains(" report "));
        report.unwrap_or_else(|| panic!("no report:\n{}", self.log()))
    }

    /// The signals that a puppet got so far, in order; SIGCONT left out, which
    /// follows each stop signal and may come too late to be seen.
    pub(crate) fn signals_of(&self, puppet: &str) -> Vec<&str> {
        let begin = format!("{puppet} got ");
        let signals = self.lines().filter_map(|line| line.strip_prefix(&begin));
        signals.filter(|signal| *signal != "SIGCONT").collect()
    }

    /// Lines with this in them, among those seen so far: after
    /// [`wait_exit`](Self::wait_exit) all.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.lines().filter(|line| line.contains(part)).count()
    }

    /// Each of these is in a line of its own, in this order.
    #[track_caller]
    pub(crate) fn assert_order(&self, parts: &[&str]) {
        let mut lines = self.lines();
        for part in parts {
            assert!(
                lines.any(|line| line.contains(part)),
                "{part:?} isn't there, or out of order:\n{}",
                self.log()
            );
        }
    }

    /// What was written so far.
    pub(crate) fn log(&self) -> String {
        self.lines().collect::<Vec<_>>().join("\n")
    }

    /// The lines that were written so far.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.seen.iter().map(|seen| seen.line.as_str())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Stopped, it starts and reaps nothing while we go through the tree.
            kill(self.child.id(), libc::SIGSTOP);
            kill_below(self.child.id());
            kill(self.child.id(), libc::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

fn kill_below(pid: u32) {
    for child in children(pid) {
        kill(child, libc::SIGSTOP);
        kill_below(child);
        kill(child, libc::SIGKILL);
    }
}

/// Sends a signal. The process may have gone.
pub(crate) fn kill(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).unwrap();
    assert!(pid > 1, "that would be a kill of many");
    // SAFETY: takes and keeps no memory of ours.
    unsafe { libc::kill(pid, signal) };
}

/// The children of a process, zombies among them.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// A field of /proc/PID/status; empty once the process has gone.
pub(crate) fn status_field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Waits until there is such a process below that one; returns its pid.
#[track_caller]
pub(crate) fn wait_for_process(above: u32, comm: &str) -> u32 {
    let mut found = None;
    wait_until(&format!("there is a {comm}"), || {
        found = find_below(above, comm);
        found.is_some()
    });
    found.unwrap()
}

fn find_below(above: u32, comm: &str) -> Option<u32> {
    children(above).into_iter().find_map(|child| {
        let is_it = status_field(child, "Name") == comm;
        is_it.then_some(child).or_else(|| find_below(child, comm))
    })
}

/// Waits until that holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn number_behind(word: &str, line: &str) -> u32 {
    let (_, rest) = line.split_once(word).unwrap();
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().unwrap()
}

/// A directory that everybody may read, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("drainit-test-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a file that may be executed.
    pub(crate) fn program(&self, name: &str, text: &str) -> PathBuf {
        let source = self.path(&format!("{name}.source"));
        fs::write(&source, text).unwrap();
        self.copy(&source, name)
    }

    /// Makes an executable copy. Another process writes it: a process that is
    /// forked while we have it open for writing would hold it open, and the
    /// kernel executes no such file.
    pub(crate) fn copy(&self, source: &Path, name: &str) -> PathBuf {
        let target = self.path(name);
        let mut install = Command::new("install");
        let status = install.args(["-m", "755"]).args([source, &target]).status();
        assert!(status.unwrap().success());
        target
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
