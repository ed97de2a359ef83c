//! What services write, with their names before each line: whole lines, whoever else
//! writes and however slow the reader is, and nothing is left behind.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{
    PATIENCE, Running, Scratch, children, drainit, drainit_by, kill, service, status_field,
    wait_for_process, wait_until,
};
use libc::{SIGKILL, SIGTERM};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// drainit with prefixes.
fn prefixed(options: &[&str]) -> Command {
    let mut command = drainit(["--log-prefix", "true"]);
    command.args(options);
    command
}

#[track_caller]
fn wait_within_patience(child: &mut Child) -> i32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        assert!(Instant::now() < deadline, "no exit");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn forwarders(pid: u32) -> Vec<u32> {
    let is_one = |child: &u32| status_field(*child, "Name") == "drainit-log";
    children(pid).into_iter().filter(is_one).collect()
}

#[test]
fn each_line_has_the_services_name_and_keeps_its_stream() {
    let script = "echo out; echo err >&2; printf 'no end'";
    let output = prefixed(&["--log-level", "off", "sh", "-c", script]).output();
    let output = output.unwrap();
    assert_eq!(output.stdout, b"sh: out\nsh: no end\n");
    assert_eq!(output.stderr, b"sh: err\n");
    assert_eq!(output.status.code(), Some(0));

    let json = prefixed(&[
        "--log-format",
        "json",
        "--log-level",
        "off",
        "sh",
        "-c",
        script,
    ]);
    let output = { json }.output().unwrap();
    let expected = "{\"source\":\"sh\",\"stream\":\"stdout\",\"message\":\"out\"}\n\
                    {\"source\":\"sh\",\"stream\":\"stdout\",\"message\":\"no end\"}\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let expected = "{\"source\":\"sh\",\"stream\":\"stderr\",\"message\":\"err\"}\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
}

#[test]
fn without_being_asked_for_there_is_no_prefix_and_no_forwarder() {
    let mut running = Running::start(&mut drainit(["--service", &service("p TERM=0")]));
    let pid = running.wait_for_puppet("p");
    assert_eq!(children(running.pid), [pid]);
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(running.count("p: "), 0);
}

/// Longer lines than a pipe takes at once, by several services at a time, and a reader
/// that is often late.
#[test]
fn lines_of_several_services_do_not_mix() {
    let mut command = prefixed(&["--log-level", "off"]);
    for name in ["a", "b", "c"] {
        let script = format!(
            "for (map {{ $_ * 97 % 16384 + 1 }} 1..400) {{ $l = q({name}) x $_; \
             print STDOUT qq($l\\n); print STDERR qq($l\\n) }} $| = 1; sleep 1000"
        );
        command.args(["--service", &format!("{name}=perl -e '{script}'")]);
    }
    let (reader, writer) = pipe();
    let mut child = command
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut counts = [0; 3];
    let mut reader = BufReader::with_capacity(1000, reader);
    let mut line = String::new();
    while counts.iter().sum::<usize>() < 3 * 800 {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "{counts:?}");
        let text = line.strip_suffix('\n').unwrap();
        let (name, text) = text.split_once(": ").unwrap();
        let is_its = text.bytes().all(|byte| byte == name.as_bytes()[0]);
        assert!(name.len() == 1 && is_its, "{line}");
        let its = usize::from(name.as_bytes()[0] - b'a');
        counts[its] += 1;
        assert!(text.len() <= 16384);
    }
    assert_eq!(counts, [800; 3]);
    kill(child.id(), SIGTERM);
    wait_within_patience(&mut child);
}

fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    (reader.into(), writer)
}

/// drainit, whose output nobody reads; what it has for readers.
fn stalled(command: &mut Command) -> (Child, File) {
    let (reader, writer) = pipe();
    let child = command
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    command.stdout(Stdio::null());
    (child, reader)
}

#[test]
fn a_reader_that_never_reads_slows_the_service_and_not_the_stop() {
    let mut command = prefixed(&["--grace-period", "60", "--", "sh", "-c"]);
    let (mut child, reader) = stalled(command.arg("exec yes"));
    let yes = wait_for_process(child.id(), "yes");
    let written = || {
        let io = fs::read_to_string(format!("/proc/{yes}/io")).unwrap();
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        written.unwrap().parse::<u64>().unwrap()
    };
    let mut before = u64::MAX;
    wait_until("yes waits for the reader", || {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, written()) == written()
            && status_field(yes, "State").starts_with('S')
    });
    kill(child.id(), SIGTERM);
    let code = wait_within_patience(&mut child);
    assert_eq!(code, 128 + SIGTERM);
    // Since drainit has gone nobody holds what it wrote but the forwarder.
    drop(reader);
}

/// The service writes more than fits anywhere, and ends; what is read then is whole.
#[test]
fn drainit_waits_until_the_last_lines_are_read() {
    let script = "$| = 1; print qq(line $_\\n) for 1..20000; print q(last)";
    let mut command = prefixed(&["--grace-period", "60", "--", "perl", "-e", script]);
    let (mut child, reader) = stalled(&mut command);
    let forwarder = wait_for_process(child.id(), "drainit-log");
    wait_until("it waits", || {
        status_field(forwarder, "State").starts_with('S')
    });
    let mut lines = BufReader::new(reader).lines();
    for number in 1..=20000 {
        let line = lines.next().unwrap().unwrap();
        assert_eq!(line, format!("perl: line {number}"));
    }
    assert_eq!(lines.next().unwrap().unwrap(), "perl: last");
    assert!(lines.next().is_none());
    assert_eq!(wait_within_patience(&mut child), 0);
}

#[test]
fn the_last_lines_are_before_the_report() {
    let script = "$| = 1; print qq(line $_\\n) for 1..20000; print q(last)";
    let mut running = Running::start(&mut prefixed(&["--", "perl", "-e", script]));
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(running.count("perl: line "), 20000);
    running.assert_order(&["perl: line 20000", "perl: last", " report "]);
}

/// stderr goes on while nobody reads stdout.
#[test]
fn the_streams_do_not_wait_for_each_other() {
    let script = "yes & while :; do echo alive >&2; sleep 0.1; done";
    let (reader, writer) = pipe();
    let mut command = prefixed(&["--log-level", "off", "--", "sh", "-c", script]);
    let mut child = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    command.stdout(Stdio::null());
    let yes = wait_for_process(child.id(), "yes");
    wait_until("yes waits for the reader", || {
        let call = fs::read_to_string(format!("/proc/{yes}/wchan")).unwrap();
        call.contains("pipe") || status_field(yes, "State").starts_with('S')
    });
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    for _ in 0..20 {
        assert_eq!(lines.next().unwrap().unwrap(), "sh: alive");
    }
    drop(reader);
    kill(child.id(), SIGTERM);
    wait_within_patience(&mut child);
}

/// As without a forwarder: `drainit … | head` ends.
#[test]
fn who_writes_learns_that_the_reader_has_gone() {
    let (mut child, mut reader) = stalled(&mut prefixed(&["yes"]));
    let mut line = [0; 7];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"yes: y\n");
    drop(reader);
    assert_eq!(wait_within_patience(&mut child), 128 + libc::SIGPIPE);
}

#[test]
fn a_forwarder_heeds_no_signal_and_is_no_process_of_a_service() {
    let options = ["--service", &service("p TERM=0 HUP=3")];
    let mut running = Running::start(&mut prefixed(&options));
    let pid = running.wait_for_puppet("p: p");
    let [forwarder] = forwarders(running.pid)[..] else {
        panic!("{:?}", children(running.pid))
    };
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGPIPE,
        libc::SIGUSR1,
    ] {
        kill(forwarder, signal);
    }
    kill(pid, libc::SIGUSR2);
    running.wait_for_line("p: p got SIGUSR2");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    assert!(running.report().contains("0 orphans reaped"));
    running.assert_order(&["p: p got SIGTERM", "p         exited 0", "report"]);
}

/// A SIGURG that tells of its end stays ours, and it is reaped at once. Killed, it costs
/// the service its output, and no more.
#[test]
fn the_end_of_a_forwarder_is_none_of_a_services() {
    let scratch = Scratch::new();
    let (log, ready) = (scratch.path("log"), scratch.path("ready"));
    let script = format!(
        "exec 2>/dev/null; trap 'echo urg >>{log}' URG; trap 'echo term >>{log}; exit 4' TERM; \
         >{ready}; while :; do sleep 0.01; done",
        log = log.display(),
        ready = ready.display()
    );
    let mut running = Running::start(&mut prefixed(&["--", "sh", "-c", &script]));
    wait_until("it is ready", || ready.exists());
    let forwarder = wait_for_process(running.pid, "drainit-log");
    kill(forwarder, SIGKILL);
    wait_until("it is reaped", || forwarders(running.pid).is_empty());
    assert!(!fs::exists(format!("/proc/{forwarder}")).unwrap());
    running.wait_for_line("which writes the lines of a service, was killed");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 4);
    assert_eq!(fs::read_to_string(&log).unwrap(), "term\n");
}

/// A process that somebody else started, and that holds what a service had.
#[test]
fn who_holds_a_services_output_for_ever_does_not_hold_the_stop() {
    let options = ["--grace-period", "60", "--service", &service("p TERM=0")];
    let mut running = Running::start(&mut prefixed(&options));
    let pid = running.wait_for_puppet("p: p");
    let output = File::options()
        .write(true)
        .open(format!("/proc/{pid}/fd/1"))
        .unwrap();
    running.signal(SIGTERM);
    running.wait_for_line("report");
    drop(output);
    assert_eq!(running.wait_exit(), 0);
}

#[test]
fn crashes_and_restarts_leave_nothing_behind() {
    let mut command = prefixed(&["--log-level", "off"]);
    command.args(["--service", "crash=sh -c 'echo a line; exit 1'"]);
    command.args(["--service", &service("p TERM=0")]);
    let mut running = Running::start(&mut command);
    running.wait_for_puppet("p: p");
    let ours = |pid: u32| children(pid).len();
    // It is started again after 1 s, 2 s, …
    running.wait_for_line("crash: a line");
    wait_until("the first has gone", || ours(running.pid) == 2);
    let before = descriptors(running.pid);
    for _ in 0..2 {
        running.wait_for_line("crash: a line");
        wait_until("it has gone", || ours(running.pid) == 2);
        wait_until("so have its descriptors", || {
            descriptors(running.pid) == before
        });
    }
    running.signal(SIGTERM);
    running.wait_exit();
}

/// Who has no descriptor or process to spare has no prefixes, and runs.
#[test]
fn where_no_forwarder_can_be_had_the_service_runs_without() {
    let mut running = Running::start(&mut drainit(["sleep", "1000"]));
    running.wait_for_line("started");
    running.wait_until_asleep();
    let is_free = |number: &u32| !fs::exists(format!("/proc/{}/fd/{number}", running.pid)).unwrap();
    // Two are enough for the pipe that tells of the exec, and three not for two pipes.
    let fourth = (0..).filter(is_free).nth(3).unwrap();
    running.signal(SIGTERM);
    running.wait_exit();
    let limit = format!("ulimit -n {fourth}; exec \"$@\"");
    let starter = ["sh", "-c", &limit, "sh"];
    let words = ["--log-prefix", "true", "--", "sh", "-c", "echo out"];
    let mut running = Running::start(&mut drainit_by(&starter, words));
    assert_eq!(running.wait_exit(), 0);
    let said = running.count("come without its name");
    assert_eq!(said, 1, "{limit}:\n{}", running.log());
    assert!(
        running.lines().any(|line| line == "out"),
        "{}",
        running.log()
    );
}
