//! drainit as PID 1 of a PID namespace, which needs root: orphans come to it
//! by themselves, the kernel drops a signal that it has no handler for, and
//! nothing outlives it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Running, children, drainit_by, kill, puppet, puppet_line, service, wait_until};
use libc::{SIGABRT, SIGHUP, SIGINT, SIGKILL, SIGPWR, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// Starts drainit as PID 1, and waits for that line.
#[track_caller]
fn start_as_pid_1(starter: &[&str], arguments: &[&str], line: &str) -> Running {
    let mut running = Running::start(&mut drainit_by(starter, arguments));
    running.wait_for_line(line);
    // unshare's child; its exit code is unshare's.
    running.pid = children(running.pid)[0];
    running
}

/// A shell command as the arguments.
#[track_caller]
fn start_shell(options: &[&str], script: &str, line: &str) -> Running {
    let arguments = [options, &["--", "bash", "-c", script]].concat();
    start_as_pid_1(&UNSHARE, &arguments, line)
}

#[test]
fn the_exit_code_passes() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let mut command = drainit_by(&UNSHARE, ["sh", "-c", script]);
        assert_eq!(Running::start(&mut command).wait_exit(), code, "{script}");
    }
    let mut command = drainit_by(&UNSHARE, ["no-such-command"]);
    assert_eq!(Running::start(&mut command).wait_exit(), 127);
}

/// Sent from outside, as a runtime sends them.
#[test]
fn stop_requests_work() {
    for signal in [SIGTERM, SIGQUIT, SIGPWR, 37] {
        let arguments = [&["--"], puppet("p TERM=6").as_slice()].concat();
        let mut running = start_as_pid_1(&UNSHARE, &arguments, "p ready");
        running.signal(signal);
        assert_eq!(running.wait_exit(), 6, "signal {signal}");
        assert_eq!(running.signals_of("p"), ["SIGTERM"], "signal {signal}");
    }
}

#[test]
fn services_stop_by_an_interrupt() {
    let (a, b) = (service("a TERM=0"), service("b TERM=0"));
    let arguments = ["--service", &a, "--service", &b];
    let mut running = start_as_pid_1(&UNSHARE, &arguments, "a ready");
    running.wait_for_line("b ready");
    running.signal(SIGINT);
    assert_eq!(running.wait_exit(), 0);
}

#[test]
fn orphans_are_reaped() {
    let arguments = [&["--"], puppet("p TERM=0 orphans=20").as_slice()].concat();
    let mut running = start_as_pid_1(&UNSHARE, &arguments, "p ready");
    wait_until("the puppet is the only child", || {
        children(running.pid).len() == 1
    });
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    assert!(
        running.report().contains("20 orphans reaped"),
        "{}",
        running.log()
    );
}

/// A script that puts a daemon into the background, twice forked and in a
/// session of its own, and goes on until SIGUSR1.
fn with_daemon(rules: &str) -> String {
    format!(
        "(setsid {} &); trap 'exit 3' USR1; while :; do sleep 0.1; done",
        puppet_line(rules)
    )
}

#[test]
fn a_daemon_left_behind_is_asked_to_end() {
    let mut running = start_shell(&[], &with_daemon("daemon TERM=0"), "daemon ready");
    running.signal(SIGUSR1);
    assert_eq!(running.wait_exit(), 3);
    running.assert_order(&["bash      exited 3", "daemon got SIGTERM"]);
    assert_eq!(running.count("SIGKILL"), 0, "{}", running.log());
}

#[test]
fn a_daemon_that_ignores_it_is_killed_in_the_end() {
    let options = ["--grace-period", "4"];
    let mut running = start_shell(&options, &with_daemon("daemon"), "daemon ready");
    let asked = Instant::now();
    running.signal(SIGUSR1);
    running.wait_for_line("bash      exited 3");
    assert_eq!(running.wait_exit(), 3);
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "{}",
        running.log()
    );
    running.assert_order(&["daemon got SIGTERM", "<- SIGKILL"]);
}

/// The common entrypoint without exec: the shell dies of TERM, and the daemon
/// is drained all the same.
#[test]
fn a_stop_request_reaches_a_daemon_too() {
    let script = format!(
        "(setsid {} &); sleep 600; true",
        puppet_line("daemon TERM=0")
    );
    let mut running = start_shell(&[], &script, "daemon ready");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 128 + SIGTERM);
    running.assert_order(&["bash      killed by SIGTERM", "daemon got SIGTERM"]);
}

/// `docker exec`: not our descendant, so none of our business. The kernel ends
/// it when we exit.
#[test]
fn who_has_entered_the_namespace_is_not_signalled() {
    let mut running = start_shell(
        &["--grace-period", "4"],
        &with_daemon("daemon USR2=0"),
        "daemon ready",
    );
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &running.pid.to_string(), "--pid", "--mount"]);
    let mut guest = enter
        .args(puppet("guest"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("the guest handles its signals", || {
        children(guest.id())
            .first()
            .is_some_and(|inner| handles(*inner, SIGTERM))
    });
    running.signal(SIGUSR1);
    running.wait_for_line("daemon got SIGTERM");
    assert_eq!(running.wait_exit(), 3);
    let status = guest.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut guest.stdout.take().unwrap(), &mut said).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("guest ready"), "{said}");
}

fn handles(pid: u32, signal: i32) -> bool {
    let caught = common::status_field(pid, "SigCgt");
    u64::from_str_radix(&caught, 16).is_ok_and(|caught| caught >> (signal - 1) & 1 == 1)
}

/// To PID 1 the kernel sends only what it blocks or handles; nothing makes it die.
#[test]
fn signals_that_we_leave_alone_do_not_end_us() {
    let arguments = [&["--"], puppet("p TERM=0").as_slice()].concat();
    let mut running = start_as_pid_1(&UNSHARE, &arguments, "p ready");
    for signal in [
        SIGABRT,
        libc::SIGSEGV,
        libc::SIGPIPE,
        libc::SIGSYS,
        libc::SIGTRAP,
        34,
    ] {
        running.deliver(signal);
    }
    for (signal, name) in [(SIGHUP, "HUP"), (SIGUSR2, "USR2")] {
        running.signal(signal);
        running.wait_for_line(&format!("p got SIG{name}"));
    }
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
}

#[test]
fn what_ignores_everything_is_killed_and_we_exit() {
    let script = format!(
        "{} & (setsid {} &); exec {}",
        puppet_line("child"),
        puppet_line("daemon"),
        puppet_line("p")
    );
    let mut running = start_shell(&["--grace-period", "2"], &script, "p ready");
    running.wait_for_line("child ready");
    running.wait_for_line("daemon ready");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 128 + SIGKILL);
}

/// A container need not have a /proc, and a child is still ours to ask.
#[test]
fn without_a_proc_a_service_is_still_asked() {
    let no_proc = r#"umount -l /proc && exec "$@""#;
    let starter = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        no_proc,
        "sh",
    ];
    let options = ["--grace-period", "10", "--delay", "0", "--"];
    let arguments = [&options, puppet("p TERM=6").as_slice()].concat();
    let mut running = start_as_pid_1(&starter, &arguments, "p ready");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 6, "{}", running.log());
}

/// Listens, and once it was asked to stop no more: then it refuses so many that its
/// end is counted by them.
const REFUSES_20: &str = "
    use IO::Socket::INET;
    $SIG{TERM} = sub {
        close $listener;
        IO::Socket::INET->new($address) and die for 1 .. 20;
        exit;
    };
    $listener = IO::Socket::INET->new(Listen => 9, LocalAddr => '127.0.0.1') or die;
    $address = '127.0.0.1:' . $listener->sockport;
    $| = 1;
    print qq(ready\\n);
    sleep 1 while 1;
";

/// What the report and the lines before it say of connections that were refused, where
/// `starter` has run before, and execs drainit.
fn refused(starter: &[&str]) -> Vec<String> {
    let arguments = ["--delay", "0", "--", "perl", "-e", REFUSES_20];
    let mut running = start_as_pid_1(starter, &arguments, "ready");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0, "{}", running.log());
    let log = running.log();
    let lines = log.lines().filter(|line| line.contains("refused"));
    lines.map(str::to_owned).collect()
}

#[test]
fn what_is_refused_is_counted_where_we_alone_listen() {
    // Docker's own listens on the first of these.
    for (other, is_counted) in [
        ("", true),
        ("127.0.0.11", true),
        ("127.0.0.1", false),
        ("0.0.0.0", false),
        // It had a client, and has gone.
        ("127.0.0.1:81", false),
    ] {
        // It lasts as long as the shell, whose place unshare takes.
        let before = format!(
            "ip link set lo up; other={other}; \
             test -z \"$other\" || perl -MIO::Socket::INET -e '\
               $s = IO::Socket::INET->new(Listen => 9, LocalAddr => $ARGV[0]) or die; \
               if ($ARGV[0] =~ /:/) {{ \
                 $c = IO::Socket::INET->new($ARGV[0]) or die; close $s->accept; exit \
               }} \
               fork and exit; close STDOUT; close STDERR; \
               sleep 1 while kill 0, $ARGV[1]' $other $$; exec \"$@\""
        );
        let in_network = ["unshare", "--net", "sh", "-c", &before, "sh"];
        let starter = [&in_network[..], &UNSHARE].concat();
        let lines = refused(&starter);
        if !is_counted {
            assert_eq!(lines, [""; 0], "{other}");
            continue;
        }
        let [advice, report] = &lines[..] else {
            panic!("{other}: {lines:?}");
        };
        assert!(
            advice.contains("warning: 20 connections were refused after perl"),
            "{advice}"
        );
        assert!(
            report.contains(" report ") && report.contains("; 20 refused; perl"),
            "{report}"
        );
    }
}

/// There others are at home, who may listen later.
#[test]
fn in_the_machines_own_namespace_nothing_is_said_of_what_is_refused() {
    assert_eq!(refused(&UNSHARE), [""; 0]);
}

/// All else here rests on this.
#[test]
fn it_is_pid_1_indeed() {
    let mut running = start_shell(&[], "echo parent $PPID; sleep 600", "parent 1");
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid)).unwrap();
    assert!(status.starts_with("Name:\tdrainit\n"), "{status}");
    kill(running.pid, SIGTERM);
    assert_eq!(running.wait_exit(), 128 + SIGTERM);
}
