//! Real processes, with drainit as their subreaper: exit codes, signals on
//! their way through, stops and how they escalate, what children inherit, and
//! that nothing makes drainit itself die, hang or spin.
//! `namespace.rs` has what only a PID 1 sees, `servers.rs` the real servers.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{
    DRAINIT, PATIENCE, Running, Scratch, children, drainit, drainit_by, kill, puppet, puppet_line,
    puppet_program, service, status_field, wait_until,
};
use libc::{
    SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPWR, SIGQUIT, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::pipe2;

/// As podman's systemd mode sends it: RTMIN+3 as glibc counts.
const RTMIN_3: i32 = 37;

/// Two SIGINTs closer than this are one key press.
const INTERRUPT_APART: Duration = Duration::from_millis(300);

/// A single puppet, ready.
#[track_caller]
fn start_puppet(options: &[&str], rules: &str) -> (Running, u32) {
    let mut command = drainit(options);
    let mut running = Running::start(command.arg("--").args(puppet(rules)));
    let pid = running.wait_for_puppet(rules.split(' ').next().unwrap());
    (running, pid)
}

/// These puppets as services, ready; with their pids.
#[track_caller]
fn start_services<const N: usize>(options: &[&str], rules: [&str; N]) -> (Running, [u32; N]) {
    let mut command = drainit(options);
    for rules in rules {
        command.args(["--service", &service(rules)]);
    }
    let mut running = Running::start(&mut command);
    let pids =
        rules.map(|rules| running.wait_for_puppet(rules.split(' ').next().unwrap_or_default()));
    (running, pids)
}

// Exit codes of a single command.

#[test]
fn a_commands_status_is_ours() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", 128 + 9),
        ("kill -TERM $$", 128 + 15),
        ("kill -USR1 $$", 128 + 10),
    ] {
        let mut running = Running::start(&mut drainit(["sh", "-c", script]));
        assert_eq!(running.wait_exit(), code, "{script}");
    }
}

/// As with tini: 143 is what `docker stop` of such a command has always given.
#[test]
fn a_command_without_a_handler_dies_of_the_stop_signal() {
    let mut running = Running::start(&mut drainit(["sh", "-c", "echo ready; exec sleep 600"]));
    running.wait_for_line("ready");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 128 + SIGTERM);
}

#[test]
fn a_command_that_handles_the_stop_signal_decides_its_code() {
    for code in [0, 5] {
        let (mut running, _) = start_puppet(&[], &format!("p TERM={code}"));
        running.signal(SIGTERM);
        assert_eq!(running.wait_exit(), code);
    }
}

#[test]
fn a_script_without_a_shebang_is_the_shells() {
    let scratch = Scratch::new();
    let script = scratch.program("script", "echo \"I got $1\"\nexit 3\n");
    let mut running = Running::start(&mut drainit([script.to_str().unwrap(), "a word"]));
    running.wait_for_line("I got a word");
    assert_eq!(running.wait_exit(), 3);
}

// The file.

/// One is ready when somebody listens where its key says; the next one waits for that.
#[test]
fn a_file_runs_its_services_in_their_order() {
    let scratch = Scratch::new();
    let (file, socket, go) = (
        scratch.path("d.toml"),
        scratch.path("s"),
        scratch.path("go"),
    );
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let perl = "IO::Socket::UNIX->new(Local => shift, Listen => 1) or die $!; sleep 600";
    let db = format!(
        "echo db waits; read x < {}; exec perl -MIO::Socket::UNIX -e '$s = {perl}' {}",
        go.display(),
        socket.display()
    );
    let service = |name: &str, script: &str, keys: &str| {
        let script = script.replace('$', "$$");
        format!(
            "[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n{keys}\n"
        )
    };
    let text = [
        service("db", &db, &format!("ready = \"unix:{}\"", socket.display())),
        service("app", "echo app runs; exec sleep 600", ""),
        service(
            "side",
            "echo side runs; exec sleep 600",
            "after = []\nstop-signal = \"USR1\"",
        ),
    ];
    fs::write(&file, text.concat()).unwrap();
    let mut running = Running::start(&mut drainit(["--config", file.to_str().unwrap()]));
    running.wait_for_line("side runs");
    running.wait_for_line("db waits");
    assert_eq!(running.count("app runs"), 0);
    fs::write(&go, "\n").unwrap();
    running.wait_for_line("app runs");
    running.assert_order(&["db waits", "ready", "app runs"]);
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    assert!(running.log().contains("<- SIGUSR1"), "{}", running.log());
}

// Signals on their way.

#[test]
fn each_stop_request_stops_a_plain_command_by_term() {
    for signal in [SIGTERM, SIGQUIT, SIGPWR, RTMIN_3] {
        let (mut running, _) = start_puppet(&[], "p TERM=6");
        running.signal(signal);
        assert_eq!(running.wait_exit(), 6, "signal {signal}");
        assert_eq!(running.signals_of("p"), ["SIGTERM"], "signal {signal}");
    }
}

#[test]
fn a_repeated_stop_request_changes_nothing() {
    let (mut running, pid) = start_puppet(&["--grace-period", "60"], "p USR1=0");
    running.signal(SIGTERM);
    running.wait_for_line("p got SIGTERM");
    for signal in [SIGTERM, SIGQUIT, SIGPWR, SIGTERM] {
        running.deliver(signal);
    }
    kill(pid, SIGUSR1);
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(running.signals_of("p"), ["SIGTERM", "SIGUSR1"]);
    assert!(running.report().contains("SIGTERM, took"));
}

#[test]
fn an_interrupt_reaches_a_plain_command_as_it_came() {
    let (mut running, _) = start_puppet(&[], "p TERM=0");
    for _ in 0..3 {
        running.signal(SIGINT);
        running.wait_for_line("p got SIGINT");
    }
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(
        running.signals_of("p"),
        ["SIGINT", "SIGINT", "SIGINT", "SIGTERM"]
    );

    let mut running = Running::start(&mut drainit(["sh", "-c", "echo ready; exec sleep 600"]));
    running.wait_for_line("ready");
    running.signal(SIGINT);
    assert_eq!(running.wait_exit(), 128 + SIGINT);
}

#[test]
fn other_signals_reach_a_plain_command_as_they_came() {
    let (mut running, _) = start_puppet(&[], "p TERM=0");
    for (signal, name) in [
        (SIGHUP, "SIGHUP"),
        (SIGUSR1, "SIGUSR1"),
        (SIGUSR2, "SIGUSR2"),
        (SIGWINCH, "SIGWINCH"),
        (libc::SIGALRM, "SIGALRM"),
        (SIGCONT, "SIGCONT"),
        (40, "SIGNUM40"),
        (64, "SIGRTMAX"),
    ] {
        running.signal(signal);
        running.wait_for_line(&format!("p got {name}"));
    }
    assert_eq!(
        running.signals_of("p"),
        [
            "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGALRM", "SIGNUM40", "SIGRTMAX"
        ]
    );
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
}

#[test]
fn signals_reach_each_of_several_services() {
    let (mut running, _) = start_services(&[], ["a TERM=0", "b TERM=0"]);
    for (signal, name) in [(SIGHUP, "HUP"), (SIGUSR1, "USR1"), (SIGUSR2, "USR2")] {
        running.signal(signal);
        running.wait_for_line(&format!("a got SIG{name}"));
        running.wait_for_line(&format!("b got SIG{name}"));
    }
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
}

#[test]
fn a_rewritten_signal_is_taken_for_the_other() {
    let rewrites = [
        "--rewrite",
        "HUP=none",
        "--rewrite",
        "QUIT=USR1",
        "--rewrite",
        "usr2=15",
    ];
    let (mut running, _) = start_puppet(&rewrites, "p TERM=0");
    running.signal(SIGHUP);
    running.signal(SIGQUIT);
    running.wait_for_line("p got SIGUSR1");
    // HUP was sent before, so it would have come before this.
    running.signal(SIGWINCH);
    running.wait_for_line("p got SIGWINCH");
    running.signal(SIGUSR2);
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(running.signals_of("p"), ["SIGUSR1", "SIGWINCH", "SIGTERM"]);

    let mut command = drainit(["--"]);
    command
        .env("DRAINIT_REWRITE", "TERM=none\nINT=TERM")
        .args(puppet("p TERM=4"));
    let mut running = Running::start(&mut command);
    running.wait_for_puppet("p");
    running.signal(SIGTERM);
    running.signal(SIGUSR2);
    running.wait_for_line("p got SIGUSR2");
    running.signal(SIGINT);
    assert_eq!(running.wait_exit(), 4);
    assert_eq!(running.signals_of("p"), ["SIGUSR2", "SIGTERM"]);
}

#[test]
fn a_given_stop_signal_is_sent_instead_of_term() {
    let (mut running, _) = start_puppet(&["--stop-signal", "USR2"], "p USR2=4");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 4);
    assert_eq!(running.signals_of("p"), ["SIGUSR2"]);

    let (mut running, _) = start_puppet(&["--stop-signal", "RTMIN+3"], "p NUM37=4");
    running.signal(SIGQUIT);
    assert_eq!(running.wait_exit(), 4);
    assert_eq!(running.signals_of("p"), ["SIGNUM37"]);
}

// Several services.

#[test]
fn services_start_in_the_order_given_and_all_are_stopped() {
    let (mut running, _) = start_services(&[], ["a TERM=0", "b TERM=0", "c TERM=0"]);
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&[
        "a         started",
        "b         started",
        "c         started",
    ]);
    for name in ["a", "b", "c"] {
        assert_eq!(running.signals_of(name), ["SIGTERM"]);
    }
}

/// A queue worker without handlers dies of TERM, and that is no failure.
#[test]
fn death_by_our_own_stop_signal_is_no_failure_of_a_service() {
    let sleeper = "sleeper=sh -c 'echo sleeping; exec sleep 600'";
    let mut command = drainit(["--service", sleeper, "--service", &service("p TERM=0")]);
    let mut running = Running::start(&mut command);
    running.wait_for_line("sleeping");
    running.wait_for_puppet("p");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&["sleeper   killed by SIGTERM"]);
}

#[test]
fn the_first_service_that_fails_its_stop_is_the_exit_code() {
    let (mut running, _) = start_services(&[], ["a TERM=0", "b TERM=3", "c TERM=4"]);
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 3);
}

/// Asked by TERM, it gets none when its time is over, so there is no 143.
#[test]
fn a_service_that_takes_its_time_over_term_is_not_143() {
    let (mut running, pids) = start_services(&["--grace-period", "60"], ["a USR1=0", "b TERM=0"]);
    running.signal(SIGINT);
    running.wait_for_line("a got SIGTERM");
    running.wait_for_line("b         exited 0");
    std::thread::sleep(INTERRUPT_APART);
    running.deliver(SIGINT);
    kill(pids[0], SIGUSR1);
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(running.signals_of("a"), ["SIGTERM", "SIGUSR1"]);
}

/// A web server isn't started again: who watches the container is to see that.
#[test]
fn a_web_server_that_ends_unasked_stops_the_others_and_is_the_exit_code() {
    for (signal, code) in [
        (SIGKILL, 137),
        (SIGUSR2, 3),
        // Also where it hasn't failed.
        (SIGUSR1, 0),
    ] {
        let web = puppet_line("web USR2=3 USR1=0 listen");
        let mut running = Running::start(&mut drainit([
            "--delay",
            "5",
            "--service",
            &format!("nginx={web}"),
            "--service",
            &service("b TERM=9"),
        ]));
        let web = running.wait_for_puppet("web");
        running.wait_for_puppet("b");
        kill(web, signal);
        assert_eq!(running.wait_exit(), code);
        running.assert_order(&["nginx     ended unasked", "b got SIGTERM"]);
        assert!(running.report().contains("ended unasked"));
    }
}

#[test]
fn a_worker_that_ends_is_started_again_and_the_others_are_not_touched() {
    let (mut running, pids) = start_services(&[], ["a TERM=0", "queue USR2=3 TERM=0"]);
    kill(pids[1], SIGUSR2);
    running.wait_for_line("queue     starts again in 1.0 s");
    let again = running.wait_for_puppet("queue");
    assert_ne!(again, pids[1]);
    // It is the new one that gets signals, and ends.
    running.signal(SIGHUP);
    running.wait_for_line("queue got SIGHUP");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(
        running.signals_of("queue"),
        ["SIGUSR2", "SIGHUP", "SIGTERM"]
    );
    assert_eq!(running.signals_of("a"), ["SIGHUP", "SIGTERM"]);
    let report = running.report();
    assert!(report.contains("queue restarted once"), "{report}");
}

/// By then it has been started five times more, after 1, 2, 4, 8 and 16 s, and nothing
/// is left of that.
#[test]
fn a_worker_that_fails_always_is_given_up_and_its_status_is_ours() {
    let failing = "queue=sh -c 'exit 7'";
    let mut running = Running::start(&mut drainit([
        "--service",
        &service("a TERM=0"),
        "--service",
        failing,
    ]));
    let start = Instant::now();
    running.wait_for_line("queue     starts again in 16.0 s");
    running
        .wait_for_line("queue     given up: ended 6 times in a row, at last exited 7 after 0.0 s");
    assert!(start.elapsed() >= Duration::from_secs(24));
    assert_eq!(running.wait_exit(), 7);
    running.assert_order(&["given up", "a got SIGTERM", "queue restarted 5 times"]);
}

/// As one would be that hangs on to the port.
#[test]
fn what_a_worker_left_behind_has_gone_before_it_is_started_again() {
    let scratch = Scratch::new();
    let below = puppet_line("below USR2=0");
    let script = scratch.program("queue", &format!("#!/bin/sh\n{below} &\nwait\n"));
    let mut running = Running::start(&mut drainit([
        "--service",
        &service("a TERM=0"),
        "--service",
        &format!("queue={}", script.display()),
    ]));
    let below = running.wait_for_puppet("below");
    let main: u32 = status_field(below, "PPid").parse().unwrap();
    kill(main, SIGKILL);
    running.wait_for_line("queue     what it left behind <- SIGTERM");
    running.wait_for_line("below got SIGTERM");
    kill(below, SIGUSR2);
    running.wait_for_puppet("below");
    running.assert_order(&["below got SIGUSR2", "queue     starts again in 1.0 s"]);
    running.signal(SIGTERM);
    running.wait_for_line("a         exited 0");
}

#[test]
fn a_stop_request_while_a_worker_waits_to_be_started_again_ends_all_at_once() {
    let (mut running, pids) = start_services(&[], ["a TERM=0", "queue USR2=3 TERM=0"]);
    kill(pids[1], SIGUSR2);
    running.wait_for_line("queue     starts again in 1.0 s");
    running.signal(SIGTERM);
    // What it failed with before is no failure of the stop.
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(running.signals_of("queue"), ["SIGUSR2"]);
    let report = running.report();
    assert!(report.contains("queue exited 3"), "{report}");
}

/// What a service listens for may still be sent to it; a queue worker waits
/// for no load balancer.
#[test]
fn what_listens_serves_on_through_the_delay_and_what_does_not_is_stopped_at_once() {
    let mut running = Running::start(&mut drainit([
        "--delay",
        "3",
        "--grace-period",
        "30",
        "--service",
        &service("web TERM=0 listen"),
        "--service",
        &service("queue TERM=0"),
    ]));
    let port = running.wait_for_listening_puppet("web");
    running.wait_for_puppet("queue");
    let asked = Instant::now();
    running.signal(SIGTERM);
    running.wait_for_line("queue     exited 0");
    assert_eq!(request(port), "served\n");
    running.wait_for_line("web got SIGTERM");
    assert!(
        asked.elapsed() >= Duration::from_secs(3),
        "{}",
        running.log()
    );
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&["queue got SIGTERM", "queue     exited 0", "web got SIGTERM"]);
}

fn request(port: u16) -> String {
    let mut response = String::new();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn what_listens_stops_in_reverse_order() {
    let mut command = drainit(["--delay", "0", "--grace-period", "60"]);
    command.args(["--service", &service("back TERM=0 listen")]);
    command.args(["--service", &service("front USR1=0 listen")]);
    let mut running = Running::start(&mut command);
    let back = running.wait_for_listening_puppet("back");
    let front = running.wait_for_puppet("front");
    running.signal(SIGTERM);
    running.wait_for_line("front got SIGTERM");
    // As long as the front is there, the back is needed.
    assert_eq!(request(back), "served\n");
    kill(front, SIGUSR1);
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&[
        "front got SIGUSR1",
        "front     exited 0",
        "back got SIGTERM",
    ]);
}

#[test]
fn an_interrupt_stops_services_without_the_delay() {
    for interrupted_later in [false, true] {
        let mut command = drainit(["--delay", "100", "--grace-period", "200"]);
        command.args(["--service", &service("web TERM=0 listen")]);
        command.args(["--service", &service("queue USR1=0")]);
        let mut running = Running::start(&mut command);
        let port = running.wait_for_listening_puppet("web");
        let queue = running.wait_for_puppet("queue");
        if interrupted_later {
            running.signal(SIGTERM);
            running.wait_for_line("queue got SIGTERM");
            assert_eq!(request(port), "served\n");
        }
        running.signal(SIGINT);
        running.wait_for_line("web got SIGTERM");
        running.wait_for_line("web       exited 0");
        kill(queue, SIGUSR1);
        assert_eq!(running.wait_exit(), 0);
    }
}

// When asking isn't enough.

#[test]
fn what_ignores_everything_is_killed_within_the_grace_period() {
    let (mut running, _) = start_puppet(&["--grace-period", "2"], "p");
    let asked = Instant::now();
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 128 + SIGKILL);
    assert!(
        asked.elapsed() >= Duration::from_millis(1800),
        "{}",
        running.log()
    );
    // A second TERM often means "at once".
    assert_eq!(running.signals_of("p"), ["SIGTERM"]);
    running.assert_order(&["p got SIGTERM", "<- SIGKILL", "DRAINIT_GRACE_PERIOD"]);
}

#[test]
fn the_whole_group_is_killed() {
    let both = format!("{} & exec {}", puppet_line("child"), puppet_line("p"));
    let mut running = Running::start(&mut drainit(["--grace-period", "2", "sh", "-c", &both]));
    running.wait_for_puppet("child");
    running.wait_for_puppet("p");
    running.signal(SIGTERM);
    running.wait_for_line("p got SIGTERM");
    // wait_exit finds that the child has gone too: it holds our pipe.
    assert_eq!(running.wait_exit(), 128 + SIGKILL);
    // That it ends its child is the main process's business, until time is over.
    running.assert_order(&["<- SIGTERM, forced", "<- SIGKILL, forced"]);
    assert_eq!(running.signals_of("child"), ["SIGTERM"]);
    assert_eq!(running.signals_of("p"), ["SIGTERM"]);
}

#[test]
fn a_stop_signal_that_is_ignored_is_followed_by_term() {
    let options = ["--grace-period", "3", "--stop-signal", "USR2"];
    let (mut running, _) = start_puppet(&options, "p TERM=0");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 128 + SIGTERM);
    running.assert_order(&["p got SIGUSR2", "p got SIGTERM"]);
}

#[test]
fn one_stuck_service_among_several_is_137_and_the_others_still_stop() {
    let (mut running, _) = start_services(
        &["--grace-period", "2"],
        ["a TERM=0 listen", "b", "c TERM=0"],
    );
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 128 + SIGKILL);
    for line in [
        "a         exited 0",
        "b         killed by SIGKILL",
        "c         exited 0",
    ] {
        running.assert_order(&[line]);
    }
}

#[test]
fn further_interrupts_hurry_to_sigkill() {
    let (mut running, pids) = start_services(&["--grace-period", "600"], ["a", "b"]);
    running.signal(SIGINT);
    running.wait_for_line("a got SIGTERM");
    running.wait_for_line("b got SIGTERM");
    // One key press may come twice, by the terminal and by who runs us.
    running.deliver(SIGINT);
    std::thread::sleep(INTERRUPT_APART);
    running.deliver(SIGINT);
    // Both are still there, having got their TERM.
    for (pid, name) in pids.into_iter().zip(["a", "b"]) {
        kill(pid, SIGUSR2);
        running.wait_for_line(&format!("{name} got SIGUSR2"));
    }
    std::thread::sleep(INTERRUPT_APART);
    running.signal(SIGINT);
    assert_eq!(running.wait_exit(), 128 + SIGKILL);
    for name in ["a", "b"] {
        assert_eq!(running.signals_of(name), ["SIGTERM", "SIGUSR2"]);
    }
}

/// A stopped process would see TERM only when somebody continues it.
#[test]
fn a_stopped_service_is_continued_to_stop() {
    let (mut running, pid) = start_puppet(&["--grace-period", "60"], "p TERM=0");
    kill(pid, SIGSTOP);
    wait_until("the puppet stands still", || {
        status_field(pid, "State").starts_with('T')
    });
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
}

// Orphans, and what is left behind.

#[test]
fn orphans_are_reaped_while_serving_and_counted() {
    let (mut running, pid) = start_puppet(&[], "p TERM=0 orphans=20");
    wait_until("the puppet is the only child", || {
        children(running.pid) == [pid]
    });
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    assert!(
        running.report().contains("20 orphans reaped"),
        "{}",
        running.log()
    );
}

#[test]
fn what_a_main_process_left_behind_is_asked_to_end() {
    for starter in ["", "setsid "] {
        let script = format!(
            "{starter}{} & trap 'exit 5' USR1; while :; do wait; done",
            puppet_line("left TERM=0")
        );
        let mut running = Running::start(&mut drainit(["bash", "-c", &script]));
        running.wait_for_puppet("left");
        running.signal(SIGUSR1);
        assert_eq!(running.wait_exit(), 5, "{starter:?}");
        running.assert_order(&["bash      exited 5", "left got SIGTERM", "report"]);
    }
}

/// It may belong to none of the services, so it is swept when all have gone.
#[test]
fn a_daemon_that_left_its_service_is_swept_last() {
    let script = format!(
        "daemon=bash -c 'setsid {} & exec {}'",
        puppet_line("left TERM=0"),
        puppet_line("starter USR1=0 TERM=0")
    );
    let mut command = drainit(["--service", &script, "--service", &service("other USR2=0")]);
    let mut running = Running::start(command.args(["--grace-period", "60"]));
    running.wait_for_puppet("left");
    running.wait_for_puppet("starter");
    let other = running.wait_for_puppet("other");
    running.signal(SIGTERM);
    running.wait_for_line("other got SIGTERM");
    running.wait_for_line("daemon    exited 0");
    kill(other, SIGUSR2);
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&["other     exited 0", "left got SIGTERM"]);
    assert_eq!(running.signals_of("left"), ["SIGTERM"]);
}

#[test]
fn what_is_left_behind_and_ignores_term_is_killed_in_the_end() {
    let script = format!(
        "setsid {} & trap 'exit 0' USR1; while :; do wait; done",
        puppet_line("left")
    );
    let mut running = Running::start(&mut drainit(["--grace-period", "4", "bash", "-c", &script]));
    running.wait_for_puppet("left");
    let asked = Instant::now();
    running.signal(SIGUSR1);
    running.wait_for_line("bash      exited 0");
    // It cut nothing that was being drained: the command's code stays.
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&["left got SIGTERM", "<- SIGKILL"]);
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "{}",
        running.log()
    );
}

// What a child inherits.

/// The lines of /proc/PID/status about signals, as this command prints them.
fn signals_of(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| {
            ["SigBlk", "SigIgn", "SigCgt"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_child_has_the_signals_that_we_were_started_with() {
    let ignoring = |rest: &[&str]| {
        let mut command = Command::new("bash");
        command
            .args(["-c", r#"trap '' INT QUIT HUP USR2; exec "$@""#, "bash"])
            .args(rest);
        command
    };
    let cat = ["cat", "/proc/self/status"];
    let mut blocked = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGUSR1] {
        blocked.add(signal);
    }
    // A command inherits the mask of the thread that starts it.
    blocked.thread_block().unwrap();
    let by_us = signals_of(&mut ignoring(&[DRAINIT, "--", cat[0], cat[1]]));
    let alone = signals_of(&mut ignoring(&cat));
    blocked.thread_unblock().unwrap();
    assert_eq!(by_us, alone);

    // Whoever runs the tests may have blocked or ignored others, too.
    for (index, signals) in [&[SIGTERM, SIGUSR1][..], &[SIGINT, SIGQUIT, SIGHUP, SIGUSR2]]
        .into_iter()
        .enumerate()
    {
        let (_, mask) = by_us[index].split_once('\t').unwrap();
        let mask = u64::from_str_radix(mask, 16).unwrap();
        assert!(
            signals.iter().all(|signal| mask >> (signal - 1) & 1 == 1),
            "{by_us:?}"
        );
    }
}

/// A shell starts what it puts into the background with INT and QUIT ignored.
#[test]
fn we_handle_signals_that_were_ignored_when_we_were_started() {
    for signal in [SIGINT, SIGQUIT, SIGTERM] {
        let ignoring = r#"trap '' INT QUIT TERM HUP; exec "$@""#;
        let mut command = drainit_by(
            &["bash", "-c", ignoring, "bash"],
            [
                "--service",
                &service("a TERM=0"),
                "--service",
                &service("b TERM=0"),
            ],
        );
        let mut running = Running::start(&mut command);
        running.wait_for_puppet("a");
        running.wait_for_puppet("b");
        running.signal(signal);
        assert_eq!(running.wait_exit(), 0, "signal {signal}");
    }
}

#[test]
fn what_ended_before_we_were_started_is_reaped() {
    let script = r"$| = 1; my $child = fork // die; exit if !$child; print qq(child $child\n);
        my $stat = q(); local $/;
        until ($stat =~ /\) Z /) { open my $file, '<', qq(/proc/$child/stat); $stat = <$file> }
        exec @ARGV";
    let mut running = Running::start(&mut drainit_by(&["perl", "-e", script, "--"], puppet("p")));
    let line = running.wait_for_line("child ");
    running.wait_for_puppet("p");
    let child = line.rsplit(' ').next().unwrap();
    wait_until("it is reaped", || {
        !fs::exists(format!("/proc/{child}")).unwrap()
    });
}

/// A parent that ignores SIGCHLD has its children reaped by the kernel, unasked.
#[test]
fn we_reap_where_sigchld_was_ignored_when_we_were_started() {
    let ignoring = "$SIG{CHLD} = 'IGNORE'; exec @ARGV";
    let mut command = drainit_by(&["perl", "-e", ignoring, "--"], ["sh", "-c", "exit 3"]);
    assert_eq!(Running::start(&mut command).wait_exit(), 3);
}

#[test]
fn we_handle_signals_that_were_blocked_when_we_were_started() {
    for signal in [SIGINT, SIGQUIT, SIGTERM] {
        SigSet::all().thread_block().unwrap();
        let mut command = drainit(["--grace-period", "2"]);
        command.args(["--service", "a=sleep 600", "--service", "b=sleep 600"]);
        let mut running = Running::start(&mut command);
        SigSet::all().thread_unblock().unwrap();
        running.wait_for_line("b         started");
        running.signal(signal);
        // The services inherit the mask, so that TERM doesn't reach them.
        assert_eq!(running.wait_exit(), 128 + SIGKILL, "signal {signal}");
    }
}

#[test]
fn a_child_has_no_descriptor_of_ours() {
    let list = |command: &mut Command| {
        let output = command.stderr(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let by_us = list(&mut drainit(["ls", "/proc/self/fd"]));
    assert_eq!(by_us, list(Command::new("ls").arg("/proc/self/fd")));
    // Of this name it isn't started again.
    let listing = "nginx=ls /proc/self/fd";
    let services = ["--service", "a=sleep 600", "--service", listing];
    assert_eq!(list(&mut drainit(services)), by_us);
}

#[test]
fn each_service_leads_a_process_group_of_its_own() {
    let (mut running, pids) = start_services(&[], ["a TERM=0", "b TERM=0"]);
    for pid in pids {
        let pid = i32::try_from(pid).unwrap();
        let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid)));
        assert_eq!(group.unwrap().as_raw(), pid);
    }
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
}

/// A drainit below this one must not delay again.
#[test]
fn a_child_has_our_environment_and_no_delay() {
    let mut command = drainit(["--delay", "3", "--log-level", "off", "env"]);
    let output = command
        .env("DRAINIT_DELAY", "4")
        .env("MINE", "x y")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("PATH="))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["DRAINIT_DELAY=0", "MINE=x y"]);
}

// Nothing is fatal once something was started.

#[test]
fn a_closed_standard_error_is_no_matter() {
    for closed in ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"] {
        let script = format!("exec \"$@\" {closed}");
        let mut command = drainit_by(&["bash", "-c", &script, "bash"], ["sh", "-c", "exit 6"]);
        assert_eq!(Running::start(&mut command).wait_exit(), 6, "{closed}");
    }
}

#[test]
fn a_full_disk_behind_standard_error_is_no_matter() {
    let full = ["bash", "-c", "exec \"$@\" 2>/dev/full", "bash"];
    let mut command = drainit_by(&full, ["sh", "-c", "exit 6"]);
    assert_eq!(Running::start(&mut command).wait_exit(), 6);
}

#[test]
fn a_reader_that_has_gone_is_no_matter() {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    drop(reader);
    let mut command = drainit(["sh", "-c", "exit 6"]);
    assert_eq!(command.stderr(writer).status().unwrap().code(), Some(6));
}

/// Fills a pipe or a socket to the brim; returns with how many bytes.
fn fill(descriptor: &OwnedFd) -> usize {
    fcntl(descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut file = File::from(descriptor.try_clone().unwrap());
    let mut filled = 0;
    // In the end byte by byte: there may be room for less than a block.
    for block in [&[b'x'; 4096][..], b"x"] {
        while let Ok(written) = file.write(block) {
            filled += written;
        }
    }
    fcntl(descriptor, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    filled
}

/// The exit code, while nobody reads what is written.
#[track_caller]
fn exit_code_unread(command: &mut Command) -> i32 {
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("it waits for its log to be read");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_full_pipe_that_nobody_reads_is_no_matter() {
    let (_reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    fill(&writer);
    let mut command = drainit(["sh", "-c", "exit 6"]);
    assert_eq!(
        exit_code_unread(command.stderr(writer.try_clone().unwrap())),
        6
    );
    // The file is the children's, too: their writes must wait as before.
    let flags = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));
}

/// Another user may not open root's pipe anew.
#[test]
fn a_full_pipe_of_another_user_is_no_matter() {
    let scratch = Scratch::new();
    let ours = scratch.copy(DRAINIT.as_ref(), "drainit");
    let by_another = || {
        let mut command = Command::new("setpriv");
        command
            .args(ANOTHER_USER)
            .arg(&ours)
            .args(["sh", "-c", "exit 6"]);
        command
    };
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    for is_full in [false, true] {
        if is_full {
            fill(&writer);
        }
        let code = exit_code_unread(by_another().stderr(writer.try_clone().unwrap()));
        assert_eq!(code, 6, "full: {is_full}");
    }
    drop(writer);
    // Before it was full it was written to.
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).unwrap();
    assert_eq!(text.matches(" report ").count(), 1, "{text}");
}

const ANOTHER_USER: [&str; 5] = ["--reuid", "47001", "--regid", "47001", "--clear-groups"];

#[test]
fn lines_that_could_not_be_written_are_counted_once_there_is_room() {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let mut reader = File::from(reader);
    let filled = fill(&writer);
    let mut command = drainit(["--"]);
    command.args(puppet("p TERM=6"));
    let mut running = Running::start_with_stderr(&mut command, writer);
    running.wait_for_puppet("p");
    // By now it has tried to say what it is and that the puppet was started.
    running.wait_until_asleep();
    reader.read_exact(&mut vec![0; filled]).unwrap();
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 6);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("drainit: 2 lines could not be written"),
        "{text}"
    );
    assert!(text.contains(" report "), "{text}");
}

#[test]
fn a_socket_is_written_to_and_a_full_one_is_no_matter() {
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let writer = OwnedFd::from(writer);
    let mut command = drainit(["sh", "-c", "exit 6"]);
    assert_eq!(
        exit_code_unread(command.stderr(writer.try_clone().unwrap())),
        6
    );
    fill(&writer);
    assert_eq!(exit_code_unread(command.stderr(writer)), 6);
    drop(command);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches(" report ").count(), 1, "{text}");
}

#[test]
fn a_regular_file_keeps_what_it_has_and_the_order() {
    let scratch = Scratch::new();
    let path = scratch.path("log");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    let mut command = drainit(["sh", "-c", "echo child >&2; exit 6"]);
    assert_eq!(
        command
            .stderr(file.try_clone().unwrap())
            .status()
            .unwrap()
            .code(),
        Some(6)
    );
    file.write_all(b"after\n").unwrap();
    let text = fs::read_to_string(&path).unwrap();
    // The child may be faster than the line that says it was started.
    assert_eq!(text.matches("child\n").count(), 1, "{text}");
    let mut rest = text.as_str();
    for part in [
        "before\n",
        "grace period",
        "started, pid",
        "exited 6",
        " report ",
        "after\n",
    ] {
        let (_, behind) = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("{part}: {text}"));
        rest = behind;
    }
    assert_eq!(rest, "");
}

/// As root there is no such limit, so it runs as somebody else.
#[test]
fn a_start_is_tried_again_when_there_are_too_many_processes() {
    let scratch = Scratch::new();
    let ours = scratch.copy(DRAINIT.as_ref(), "drainit");
    let limited = r#"ulimit -S -u 1; exec "$@""#;
    let start = || {
        let mut command = Command::new("setpriv");
        command
            .args(ANOTHER_USER)
            .args(["bash", "-c", limited, "bash"])
            .arg(&ours);
        let mut running = Running::start(command.args(["sh", "-c", "exit 6"]));
        running.wait_for_line("can't be started now");
        running.wait_for_line("can't be started now");
        running
    };
    let mut running = start();
    let mut raise = Command::new("setpriv");
    raise
        .args(ANOTHER_USER)
        .args(["prlimit", "--nproc=64:", "--pid", &running.pid.to_string()]);
    assert!(raise.status().unwrap().success());
    assert_eq!(running.wait_exit(), 6);

    // Nor does it keep us from stopping.
    let mut running = start();
    running.signal(SIGTERM);
    running.wait_exit();
    assert!(running.report().contains("not started"));
}

/// Sends signals as fast as can be: so many in turn, or (0) until there is no
/// such process.
fn barrage(pid: u32, number: u32, signals: &[&str]) -> Child {
    let script = "my ($pid, $number, @signals) = @ARGV; my $i = 0;
        do { kill $signals[$i % @signals], $pid or exit } while ++$i != $number";
    let mut perl = Command::new("perl");
    perl.args(["-e", script, &pid.to_string(), &number.to_string()])
        .args(signals);
    perl.spawn().unwrap()
}

#[test]
fn a_hundred_thousand_signals_are_survived() {
    let (mut running, _) = start_puppet(&["--grace-period", "60"], "p TERM=0");
    let signals = [
        "HUP", "USR1", "USR2", "WINCH", "CHLD", "CONT", "INT", "ALRM", "IO", "NUM50",
    ];
    let mut barrage = barrage(running.pid, 100_000, &signals);
    wait_until("the barrage is over", || {
        barrage.try_wait().unwrap().is_some()
    });
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(running.count("p got SIGTERM"), 1);
}

#[test]
fn signals_without_end_do_not_hold_up_the_stop() {
    let (mut running, _) = start_services(&["--grace-period", "60"], ["a TERM=0", "b TERM=0"]);
    let mut barrage = barrage(
        running.pid,
        0,
        &["USR1", "TERM", "CHLD", "QUIT", "USR2", "PWR", "NUM50"],
    );
    // A service may get USR1 before it is asked, and print; no more than that.
    let code = running.wait_exit();
    barrage.kill().unwrap();
    barrage.wait().unwrap();
    assert_eq!(code, 0);
    for name in ["a", "b"] {
        assert_eq!(running.count(&format!("{name} got SIGTERM")), 1);
    }
}

/// How often it was woken, and how many ticks of processor time it took.
fn activity(pid: u32) -> (u64, u64) {
    let number = |name| status_field(pid, name).parse::<u64>().unwrap();
    let wakes = number("voluntary_ctxt_switches") + number("nonvoluntary_ctxt_switches");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    // Fields 14 and 15 of the file, utime and stime; `fields` begins with 3.
    let ticks = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap());
    (wakes, ticks.sum())
}

#[test]
fn while_serving_we_sleep() {
    let (mut running, _) = start_services(&[], ["a TERM=0 listen", "b TERM=0"]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = activity(running.pid);
        std::thread::sleep(Duration::from_secs(1));
        if activity(running.pid) == before {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "never a second without a wake-up"
        );
    }
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
}

/// A php-fpm as far as `comm`, a listening socket and workers make one. QUIT
/// ends its master and its idle worker; a busy one goes on until SIGUSR2.
const PHP_FPM: &str = r#"#!/usr/bin/perl
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(Listen => 9, LocalAddr => '127.0.0.1') or die;
$| = 1;
sub stay { select(undef, undef, undef, 0.2) while 1 }
$SIG{CHLD} = 'IGNORE';
$SIG{QUIT} = sub { exit 0 };
stay unless fork;
if (!fork) {
    $SIG{QUIT} = sub { print "worker finishes\n" };
    $SIG{USR2} = sub { exit 0 };
    print "worker ready, pid $$\n";
    stay;
}
stay;
"#;

/// Some workers are gone at once, and another one takes its time.
#[test]
fn while_a_drain_goes_on_we_do_not_spin() {
    let scratch = Scratch::new();
    let php_fpm = scratch.program("php-fpm", PHP_FPM);
    let mut command = drainit(["--delay=0", "--grace-period=60", "--stop-after=none"]);
    let mut running = Running::start(command.arg(php_fpm));
    let worker = running.wait_for_puppet("worker");
    running.signal(SIGTERM);
    running.wait_for_line("worker finishes");
    wait_until("the idle worker has gone", || {
        let master = children(running.pid);
        master.len() == 1 && children(master[0]) == [worker]
    });
    // Who spins never sleeps, however little of a processor it gets.
    let samples = 100;
    let asleep = (0..samples).filter(|_| {
        std::thread::sleep(Duration::from_millis(10));
        status_field(running.pid, "State").starts_with('S')
    });
    let asleep = asleep.count();
    assert!(asleep > samples / 2, "asleep {asleep} times of {samples}");
    kill(worker, SIGUSR2);
    assert_eq!(running.wait_exit(), 0);
}

// The termination message.

#[test]
fn a_failure_is_told_where_the_runtime_looks_for_it() {
    let scratch = Scratch::new();
    let path = scratch.path("message");
    let run = |script: &str| {
        fs::write(&path, "what was there").unwrap();
        let mut command = drainit(["--", "sh", "-c", script]);
        let mut running = Running::start(command.env("DRAINIT_TERMINATION_LOG", &path));
        let code = running.wait_exit();
        let report = running.report();
        let report = report.split_once(" report ").unwrap().1.trim().to_owned();
        (code, report, fs::read_to_string(&path).unwrap())
    };
    let (code, report, message) = run("exit 3");
    assert_eq!(code, 3);
    assert_eq!(message, format!("sh ended unasked: exited 3\n{report}\n"));
    let (code, _, message) = run("exit 0");
    assert_eq!((code, message.as_str()), (0, "what was there"));
}

#[test]
fn a_message_that_nobody_looks_for_costs_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path("message");
    let mut command = drainit(["--log-level", "debug", "--termination-log"]);
    command.arg(&path).args(["sh", "-c", "exit 3"]);
    let mut running = Running::start(&mut command);
    assert_eq!(running.wait_exit(), 3);
    assert_eq!(running.count("no message in "), 1, "{}", running.log());
    assert_eq!(running.count("warning"), 0, "{}", running.log());
    assert!(!path.exists());
}

// The log.

#[test]
fn each_line_of_the_json_log_is_an_object() {
    // The name has to be escaped; whoever runs is asked to stop by the second. The
    // shell says of its own that what it runs was ended.
    let quoted = r#"q"\=sh -c 'exec 2>&-; trap "exit 0" TERM; while :; do sleep 0.1; done'"#;
    let asks = "asks=sh -c '(true &); sleep 0.2; kill -TERM $PPID; exec sleep 600'";
    let mut command = drainit([
        "--log-format",
        "json",
        "--service",
        quoted,
        "--service",
        asks,
    ]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));

    let check = r#"
import json, sys
lines = [json.loads(line) for line in sys.stdin]
for line in lines:
    assert line["level"] in ("info", "warn"), line
    assert isinstance(line["elapsed_s"], float), line
    assert isinstance(line["source"], str), line
assert all(isinstance(line["message"], str) for line in lines[:-1])
report = lines[-1]["report"]
assert isinstance(report["took_s"], float), report
assert report["delay_s"] is None, report
print(report["requested_by"], report["exit"], report["orphans"])
for service in report["services"]:
    assert isinstance(service["drained_s"], float), service
    print(service["name"], service["sent"], service["status"], service["exit"])
"#;
    let mut python = Command::new("python3");
    python
        .args(["-c", check])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(&output.stderr)
        .unwrap();
    let checked = python.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(checked.status.success(), "{log}");
    let text = String::from_utf8(checked.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("SIGTERM 0 "), "{text}");
    assert_eq!(lines[1], r#"q"\ ['SIGTERM'] exited 0 0"#);
    assert_eq!(lines[2], "asks ['SIGTERM'] killed by SIGTERM 143");
}

#[test]
fn the_log_says_as_much_as_was_asked_for() {
    for (level, is_told, is_warned) in [
        ("off", false, false),
        ("error", false, false),
        ("warn", false, true),
        ("info", true, true),
    ] {
        // A directory that isn't there is worth a warning.
        let mut command = drainit(["--log-level", level, "--marker", "/no/such/marker"]);
        let output = command.args(["sh", "-c", "exit 6"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{text}");
        assert_eq!(text.contains("exited 6"), is_told, "{level}: {text}");
        assert_eq!(text.contains("warning: "), is_warned, "{level}: {text}");
        assert_eq!(
            text.is_empty(),
            level == "off" || level == "error",
            "{level}: {text}"
        );
    }
}

/// Docker's root has no `CAP_SYS_PTRACE`: it may list another user's descriptors,
/// and not see what they are.
#[test]
fn a_listener_that_can_not_be_looked_into_serves_on_through_the_delay() {
    let listener = r#"
        use IO::Socket::INET; $| = 1;
        my $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die;
        $SIG{TERM} = sub { print "got SIGTERM\n"; exit 0 };
        print "ready\n";
        sleep 1 while 1;
    "#;
    let mut drainit = drainit_by(
        &["setpriv", "--bounding-set=-sys_ptrace"],
        ["--delay", "2", "--", "setpriv"],
    );
    drainit.args(ANOTHER_USER).args(["perl", "-e", listener]);
    let mut running = Running::start(&mut drainit);
    running.wait_for_line("ready");
    let asked = Instant::now();
    running.signal(SIGTERM);
    running.wait_for_line("got SIGTERM");
    assert!(
        asked.elapsed() >= Duration::from_secs(2),
        "{}",
        running.log()
    );
    assert_eq!(running.wait_exit(), 0);
}

/// A second signal may have its own meaning to who was asked to stop.
#[test]
fn a_plain_command_gets_other_signals_while_it_stops_too() {
    let (mut running, _) = start_puppet(&[], "p INT=4");
    running.signal(SIGTERM);
    running.wait_for_line("p got SIGTERM");
    running.signal(SIGINT);
    running.wait_for_line("p got SIGINT");
    assert_eq!(running.wait_exit(), 4);
}

/// php-fpm may have more workers than we have descriptors.
#[test]
fn who_is_asked_may_be_more_than_there_are_descriptors() {
    let master = r#"
        $0 = "php-fpm"; $| = 1;
        for (1 .. 40) {
            next if fork;
            $SIG{QUIT} = sub { exit 0 };
            sleep 1 while 1;
        }
        $SIG{QUIT} = sub { exit 0 };
        print "ready\n";
        while (1) { sleep 1; 1 while waitpid(-1, 1) > 0 }
    "#;
    let mut drainit = drainit_by(
        &["prlimit", "--nofile=24:24"],
        ["--delay", "0", "--", "perl", "-e", master],
    );
    let mut running = Running::start(&mut drainit);
    running.wait_for_line("ready");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0, "{}", running.log());
}

/// Rust's runtime ignores SIGPIPE before `main`, and a service would inherit that.
#[test]
fn sigpipe_is_inherited_as_it_was() {
    for (trap, ignored) in [("", false), ("trap '' PIPE;", true)] {
        let starter = format!(r#"{trap} exec "$@""#);
        let command = ["grep", "SigIgn:", "/proc/self/status"];
        let mut running = Running::start(&mut drainit_by(&["sh", "-c", &starter, "sh"], command));
        running.wait_for_line("SigIgn:");
        assert_eq!(running.wait_exit(), 0);
        let log = running.log();
        let (_, set) = log.split_once("SigIgn:").unwrap();
        let set = set.lines().next().unwrap().trim();
        let set = u64::from_str_radix(set, 16).unwrap();
        assert_eq!(set >> (libc::SIGPIPE - 1) & 1 == 1, ignored, "{trap}");
    }
}

/// Sidekiq's quiet signal is TSTP.
#[test]
fn job_control_and_sigpipe_reach_a_single_command() {
    let arguments = [&["--"], puppet("p TERM=0").as_slice()].concat();
    let mut running = Running::start(&mut drainit(arguments));
    running.wait_for_line("p ready");
    for (signal, name) in [
        (libc::SIGTSTP, "TSTP"),
        (libc::SIGTTIN, "TTIN"),
        (libc::SIGTTOU, "TTOU"),
        (libc::SIGPIPE, "PIPE"),
    ] {
        running.signal(signal);
        running.wait_for_line(&format!("p got SIG{name}"));
    }
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait_exit(), 0);
}

// What other inits have options for.

#[test]
fn an_exit_code_is_taken_for_success_where_that_is_asked() {
    for (script, code) in [("exit 7", 0), ("exit 8", 8), ("kill -TERM $$", 0)] {
        let options = [
            "--success",
            "7",
            "--success",
            "143",
            "--",
            "sh",
            "-c",
            script,
        ];
        let mut running = Running::start(&mut drainit(options));
        assert_eq!(running.wait_exit(), code, "{script}");
    }
}

#[test]
fn the_whole_group_is_signalled_where_that_is_asked() {
    let script = format!(
        "{} & exec {}",
        puppet_line("below INT=0"),
        puppet_line("p INT=0")
    );
    let options = [
        "--forward-to=group",
        "--stop-signal=INT",
        "--",
        "bash",
        "-c",
        &script,
    ];
    let mut running = Running::start(&mut drainit(options));
    running.wait_for_puppet("p");
    running.wait_for_puppet("below");
    running.signal(SIGUSR2);
    running.wait_for_line("p got SIGUSR2");
    running.wait_for_line("below got SIGUSR2");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0, "{}", running.log());
    assert_eq!(running.signals_of("below"), ["SIGUSR2", "SIGINT"]);
    assert_eq!(running.signals_of("p"), ["SIGUSR2", "SIGINT"]);
}

#[test]
fn we_stop_when_our_parent_ends_where_that_is_asked() {
    let before = "\"$@\" & read -r line; kill -KILL $$";
    let starter = ["bash", "-c", before, "bash"];
    let arguments = [
        &["--parent-death-signal=TERM", "--"],
        puppet("p TERM=0").as_slice(),
    ]
    .concat();
    let mut command = drainit_by(&starter, arguments);
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    command.stdin(reader);
    let mut running = Running::start(&mut command);
    running.wait_for_puppet("p");
    drop(writer);
    running.wait_for_line("p got SIGTERM");
    running.wait_for_line(" report ");
}

#[test]
fn sockets_that_we_are_handed_are_the_childs() {
    let starter = ["sh", "-c", "export LISTEN_PID=$$; exec \"$@\"", "sh"];
    for (before, code) in [("", 0), ("LISTEN_PID=1; ", 1)] {
        let script = format!("{before}test $LISTEN_PID = $$");
        let mut command = drainit_by(&starter, ["sh", "-c", &script]);
        assert_eq!(Running::start(&mut command).wait_exit(), code, "{before}");
    }
}

/// In the place of systemd: a socket of an abstract name, and its variable.
fn service_manager(test: &str) -> (UnixDatagram, String) {
    let name = format!("drainit test {test} {}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, format!("@{name}"))
}

#[track_caller]
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1000];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn a_service_manager_is_told_and_the_services_do_not_see_its_socket() {
    let (socket, variable) = service_manager("told");
    let script = r#"echo "socket [$NOTIFY_SOCKET]"; exec "$@""#;
    let mut command = drainit(["--", "sh", "-c", script, "sh"]);
    command
        .args(puppet("web TERM=0"))
        .env("NOTIFY_SOCKET", variable);
    let mut running = Running::start(&mut command);
    running.wait_for_line("socket []");
    running.wait_for_puppet("web");
    let mut all = vec![told(&socket)];
    while !all.concat().contains("READY") {
        all.push(told(&socket));
    }
    assert_eq!(all.pop().unwrap(), "READY=1\nSTATUS=serving: sh", "{all:?}");
    running.signal(libc::SIGTERM);
    assert!(told(&socket).starts_with("STOPPING=1\nSTATUS=stopping by SIGTERM; "));
    assert_eq!(running.wait_exit(), 0);
}

#[test]
fn another_init_leaves_the_socket_to_its_child() {
    let (socket, variable) = service_manager("left");
    let scratch = Scratch::new();
    let tini = scratch.copy(DRAINIT.as_ref(), "tini");
    let mut command = Command::new(tini);
    command.args(["--", "sh", "-c", r#"echo "socket [$NOTIFY_SOCKET]""#]);
    command.env("NOTIFY_SOCKET", &variable);
    let output = command.output().unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    assert_eq!(seen, format!("socket [{variable}]\n"));
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0]).is_err());
}

#[test]
fn a_service_manager_that_is_not_there_is_no_matter() {
    let mut command = drainit(["--"]);
    command
        .args(puppet("web TERM=0"))
        .env("NOTIFY_SOCKET", "/no/such/socket");
    let mut running = Running::start(&mut command);
    running.wait_for_puppet("web");
    running.signal(libc::SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    assert_eq!(
        running.count("NOTIFY_SOCKET=/no/such/socket isn't told all"),
        1
    );
}

#[test]
fn a_supervisord_below_is_warned_of_once() {
    const WARNING: &str = "supervisord runs below drainit";
    let scratch = Scratch::new();
    let supervisord = puppet_program(&scratch, "supervisord");
    let supervisord = supervisord.to_str().unwrap();
    // Of who isn't named it is known once all processes were looked at.
    let script = format!("#!/bin/sh\n{supervisord} web TERM=0 HUP=\ntrue\n");
    let script = scratch.program("start.sh", &script);
    let script = script.to_str().unwrap();
    for (words, is_named) in [
        (&[supervisord, "web", "TERM=0", "HUP="][..], true),
        (&[script], false),
    ] {
        let mut running = Running::start(drainit(["--"]).args(words));
        running.wait_for_puppet("web");
        if is_named {
            running.wait_for_line(WARNING);
        }
        running.signal(libc::SIGTERM);
        running.wait_exit();
        assert_eq!(running.count(WARNING), 1, "{}", running.log());
    }
}
