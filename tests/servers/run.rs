//! A drainit that runs: its log, its signals, and what it leaves behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::dispositions;
use crate::site::Site;

/// How long anything may take that is waited for, before the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What drainit is below where it is to be PID 1.
pub(crate) const AS_PID_1: &[&str] = &[
    "unshare",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
    "--",
];

/// Waits until it holds; fails with `what` otherwise.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How a drainit is to be started.
pub(crate) struct Launch<'a> {
    site: &'a Site,
    binary: String,
    below: Vec<String>,
    delay: &'a str,
    grace_period: &'a str,
    what: Vec<String>,
}

impl<'a> Launch<'a> {
    /// The site's php-fpm and nginx, without a delay.
    pub(crate) fn new(site: &'a Site) -> Self {
        Self {
            site,
            binary: env!("CARGO_BIN_EXE_drainit").to_owned(),
            below: Vec::new(),
            delay: "0s",
            // Less than the patience: what doesn't drain is to be seen in the
            // report.
            grace_period: "15s",
            what: Vec::new(),
        }
        .services(&[
            ("php-fpm", &site.php_fpm_command()),
            ("nginx", &site.nginx_command()),
        ])
    }

    /// A copy of the binary instead, where a user can't reach the original.
    pub(crate) fn binary(self, binary: String) -> Self {
        Self { binary, ..self }
    }

    /// Words in front of the command line.
    pub(crate) fn below(self, words: &[&str]) -> Self {
        let below = words.iter().map(ToString::to_string).collect();
        Self { below, ..self }
    }

    pub(crate) fn delay(self, delay: &'a str) -> Self {
        Self { delay, ..self }
    }

    pub(crate) fn grace_period(self, grace_period: &'a str) -> Self {
        Self {
            grace_period,
            ..self
        }
    }

    /// Nothing: what is installed.
    pub(crate) fn zero_config(self) -> Self {
        Self {
            what: Vec::new(),
            ..self
        }
    }

    /// These services instead, in this order.
    pub(crate) fn services(self, services: &[(&str, &str)]) -> Self {
        let what = services
            .iter()
            .flat_map(|(name, command)| ["--service".to_owned(), format!("{name}={command}")]);
        Self {
            what: what.collect(),
            ..self
        }
    }

    /// This one command instead.
    pub(crate) fn command(self, words: &[&str]) -> Self {
        let what = std::iter::once("--").chain(words.iter().copied());
        Self {
            what: what.map(ToString::to_string).collect(),
            ..self
        }
    }

    /// Starts it; when this returns it handles signals.
    pub(crate) fn start(self) -> Drainit<'a> {
        // What it leaves behind becomes ours, and can be seen.
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let marker = self.site.marker();
        let mut words = self.below;
        words.push(self.binary);
        words.extend(["--marker".to_owned(), marker]);
        words.extend(["--delay", self.delay, "--grace-period", self.grace_period].map(Into::into));
        words.extend(self.what);
        let mut command = Command::new(&words[0]);
        dispositions::reset(&mut command);
        let mut child = command
            .args(&words[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(&self.site.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::<Log>::default();
        let reader = thread::spawn({
            let (log, stderr) = (Arc::clone(&log), child.stderr.take().unwrap());
            move || log.read(stderr)
        });
        let mut drainit = Drainit {
            site: self.site,
            pid: 0,
            child,
            log,
            reader: Some(reader),
        };
        drainit.pid = drainit.find();
        drainit
    }
}

/// A drainit that was started.
pub(crate) struct Drainit<'a> {
    site: &'a Site,
    child: Child,
    /// Of drainit itself: the child may be what it is below.
    pid: i32,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

/// The lines so far, from `WHO WHAT` on and with single blanks; those of other
/// programs as they are.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Log {
    fn read(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            self.note(match line.strip_prefix("drainit: ") {
                Some(line) => line
                    .split_whitespace()
                    .skip(2)
                    .collect::<Vec<_>>()
                    .join(" "),
                None => line.into_owned(),
            });
        }
    }

    fn note(&self, line: String) {
        self.lines.lock().unwrap().push(line);
        self.changed.notify_all();
    }
}

impl Drainit<'_> {
    /// The pid of drainit itself, once it handles signals.
    fn find(&self) -> i32 {
        let own = i32::try_from(self.child.id()).unwrap();
        let mut found = None;
        wait_until("drainit takes signals", || {
            found = processes().find(|process| {
                (process.pid == own || process.parent == own)
                    && process.comm == "drainit"
                    && blocks(process.pid, Signal::SIGTERM)
            });
            found.is_some()
        });
        found.unwrap().pid
    }

    /// Waits for a line that begins so.
    pub(crate) fn wait_for(&self, start: &str) {
        let lines = self.log.lines.lock().unwrap();
        let is_there = |lines: &Vec<String>| lines.iter().any(|line| line.starts_with(start));
        let (lines, _) = self
            .log
            .changed
            .wait_timeout_while(lines, PATIENCE, |lines| !is_there(lines))
            .unwrap();
        let came = is_there(&lines);
        drop(lines);
        assert!(came, "no line in time that begins with: {start}");
    }

    /// Whether there is a line that begins so.
    pub(crate) fn has_said(&self, start: &str) -> bool {
        let lines = self.log.lines.lock().unwrap();
        lines.iter().any(|line| line.starts_with(start))
    }

    /// Puts a line of the test's own into the log.
    pub(crate) fn note(&self, line: &str) {
        self.log.note(line.to_owned());
    }

    /// The number behind `WHO started, pid`.
    pub(crate) fn pid_of(&self, who: &str) -> i32 {
        let start = format!("{who} started, pid ");
        self.wait_for(&start);
        let lines = self.log.lines.lock().unwrap();
        let pid = lines.iter().find_map(|line| line.strip_prefix(&start));
        pid.unwrap().parse().unwrap()
    }

    /// The process groups of all services that it has started: each leads one.
    fn groups(&self) -> Vec<i32> {
        let lines = self.log.lines.lock().unwrap();
        let pids = lines.iter().filter_map(|line| {
            let (_, pid) = line.split_once(" started, pid ")?;
            pid.parse().ok()
        });
        pids.collect()
    }

    pub(crate) fn signal(&self, number: i32) {
        send(self.pid, number);
    }

    /// Waits until it has done all that there was to do.
    pub(crate) fn wait_until_asleep(&self) {
        let stat = format!("/proc/{}/stat", self.pid);
        wait_until("drainit sleeps", || {
            let stat = fs::read_to_string(&stat).unwrap();
            stat.contains(") S ")
        });
    }

    /// Whether something that it has started has a handler for that signal.
    pub(crate) fn is_caught(&self, signal: Signal) -> bool {
        let mut its = processes().filter(|process| process.is_in(&self.site.dir));
        its.any(|process| has(process.pid, "SigCgt:", signal))
    }

    /// Sends SIGTERM and waits until nginx has been asked.
    pub(crate) fn stop(&self) {
        self.signal(libc::SIGTERM);
        self.wait_for("nginx <- SIGQUIT");
    }

    /// Waits until it has exited, having left nothing behind.
    pub(crate) fn exit(mut self) -> Outcome {
        let mut status = None;
        wait_until("drainit exits", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let groups = self.groups();
        let left: Vec<Process> = processes()
            // Zombies are in no directory; what it hasn't reaped is ours now.
            .filter(|process| {
                process.is_in(&self.site.dir)
                    || process.parent == own_pid() && groups.contains(&process.group)
            })
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        // All who held the other end have gone.
        self.reader.take().unwrap().join().unwrap();
        let status = status.unwrap();
        let lines = self.log.lines.lock().unwrap().clone();
        Outcome {
            code: status
                .code()
                .or(status.signal().map(|signal| -signal))
                .unwrap(),
            lines,
        }
    }
}

impl Drop for Drainit<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let lines = self.log.lines.lock().unwrap().join("\n");
            eprintln!("--- drainit\n{lines}");
            // Nobody else ends and reaps them, and they may be forking.
            let left = || processes().find(|process| process.is_in(&self.site.dir));
            while let Some(process) = left() {
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
            let _ = self.child.wait();
            let groups = self.groups();
            for process in processes().filter(|process| groups.contains(&process.group)) {
                let _ = waitpid(Pid::from_raw(process.pid), None);
            }
        }
    }
}

/// How a drainit ended.
pub(crate) struct Outcome {
    /// Its exit code, or, negative, the signal that killed it.
    code: i32,
    lines: Vec<String>,
}

impl Outcome {
    /// Whether a line begins so.
    pub(crate) fn says(&self, start: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with(start))
    }

    fn first(&self, start: &str) -> usize {
        self.lines
            .iter()
            .position(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no line begins with {start:?}:\n{}", self.lines.join("\n")))
    }

    /// Each of these begins a line, and the first that it begins comes behind
    /// the first of the one before.
    pub(crate) fn in_order(&self, starts: &[&str]) -> &Self {
        assert!(
            starts.is_sorted_by(|a, b| self.first(a) < self.first(b)),
            "not in this order: {starts:?}:\n{}",
            self.lines.join("\n")
        );
        self
    }

    /// No line has this in it.
    pub(crate) fn without(&self, part: &str) -> &Self {
        assert!(
            !self.lines.iter().any(|line| line.contains(part)),
            "a line has {part:?} in it:\n{}",
            self.lines.join("\n")
        );
        self
    }

    /// The exit code, and the report, which says the same.
    pub(crate) fn code(&self, code: i32) -> &Self {
        let lines = self.lines.join("\n");
        assert_eq!(self.code, code, "{lines}");
        let report = &self.lines[self.first("report ")];
        assert!(report.contains(&format!("; exit {code}")), "{lines}");
        self
    }

    /// The report has all of these in it, in any order.
    pub(crate) fn reports(&self, parts: &[&str]) -> &Self {
        let report = &self.lines[self.first("report ")];
        for part in parts {
            assert!(report.contains(part), "no {part:?} in: {report}");
        }
        self
    }
}

/// A process, as `proc_pid_stat(5)` has it.
#[derive(Debug)]
struct Process {
    pid: i32,
    comm: String,
    parent: i32,
    group: i32,
}

impl Process {
    /// Whether its working directory is there: that of whatever a site's
    /// drainit has started is.
    fn is_in(&self, dir: &Path) -> bool {
        let cwd = fs::read_link(format!("/proc/{}/cwd", self.pid));
        cwd.is_ok_and(|cwd| cwd.starts_with(dir))
    }
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

/// All there are, zombies too.
fn processes() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (comm, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace().skip(1);
        Some(Process {
            pid,
            comm: comm.to_owned(),
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    })
}

/// Whether a process has that signal blocked, as drainit has: it reads it.
fn blocks(pid: i32, signal: Signal) -> bool {
    has(pid, "SigBlk:", signal)
}

fn has(pid: i32, set: &str, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let signals = status
        .lines()
        .find_map(|line| line.strip_prefix(set))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    signals.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

/// Sends a signal by its number: 37 has no name in nix.
pub(crate) fn send(pid: i32, number: i32) {
    // SAFETY: takes and keeps no memory of ours.
    let sent = unsafe { libc::kill(pid, number) };
    assert_eq!(sent, 0, "signal {number} to {pid}");
}
