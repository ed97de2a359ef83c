//! `drainit ready`, and whoever else asks, in namespaces of their own, as in a
//! container; which needs root.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod common;

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::contained::{UNSHARE, as_user, drainit, inside, printed, start, status_of};
use common::{
    DRAINIT, PATIENCE, Running, Scratch, children, drainit_by, puppet_line, puppet_program,
    service, wait_until,
};
use libc::{SIGINT, SIGTERM, SIGUSR2};

#[track_caller]
fn assert_ready(running: &Running, word: &str, code: i32) {
    assert_ready_by("0", running, word, code);
}

/// What that user is told.
#[track_caller]
fn assert_ready_by(user: &str, running: &Running, word: &str, code: i32) {
    let words = [&as_user(user)[..], &[DRAINIT, "ready"]].concat();
    assert_eq!(printed(running, &words), (format!("{word}\n"), code));
}

/// A named pipe: who opens it to read waits for [`open_gate`].
fn gate(scratch: &Scratch) -> PathBuf {
    let gate = scratch.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    gate
}

fn open_gate(gate: &PathBuf) {
    fs::write(gate, "").unwrap();
}

#[test]
fn it_follows_the_services_from_their_start_to_their_end() {
    let scratch = Scratch::new();
    let gate = gate(&scratch);
    // Its name says that it has to listen.
    let puppet = puppet_line("php-fpm TERM=0 listen");
    let php_fpm = format!("php-fpm=sh -c '< {}; exec {puppet}'", gate.display());
    let queue = service("queue TERM=0");
    let arguments = ["--delay", "6", "--service", &php_fpm, "--service", &queue];
    let mut running = start(&arguments, "php-fpm   started");
    assert_ready(&running, "starting", 1);
    let waiting = inside(&running, &[DRAINIT, "ready", "--wait", "1m"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    open_gate(&gate);
    let waited = waiting.wait_with_output().unwrap();
    assert_eq!(
        (waited.status.code(), &*waited.stdout),
        (Some(0), &b"ready\n"[..])
    );
    assert_ready(&running, "ready", 0);
    running.signal(SIGTERM);
    running.wait_for_line("lame duck");
    assert_ready(&running, "draining", 1);
    // Who waits for a start waits no more.
    let waited = printed(&running, &[DRAINIT, "ready", "--wait", "1h"]);
    assert_eq!(waited, ("draining\n".to_owned(), 1));
    running.signal(SIGINT);
    assert_eq!(running.wait_exit(), 0);
}

#[test]
fn a_stop_that_no_runtime_asked_for_is_told_apart() {
    let web = format!("nginx={}", puppet_line("web USR2=3 listen"));
    let mut running = start(
        &["--service", &web, "--service", &service("other")],
        "other ready",
    );
    let web = children(running.pid)[0];
    common::kill(web, SIGUSR2);
    running.wait_for_line("other got SIGTERM");
    assert_ready(&running, "stopping", 1);
}

/// Only the worker is away, but not all serve.
#[test]
fn nobody_is_ready_while_a_worker_is_started_again() {
    let (a, queue) = (service("a TERM=0"), service("queue USR2=3 TERM=0"));
    let mut running = start(&["--service", &a, "--service", &queue], "queue ready");
    assert_ready(&running, "ready", 0);
    let queue = children(running.pid)[1];
    common::kill(queue, SIGUSR2);
    running.wait_for_line("queue     starts again in 1.0 s");
    assert_ready(&running, "starting", 1);
    let (waited, _) = printed(&running, &[DRAINIT, "ready", "--wait", "1m"]);
    assert_eq!(waited, "ready\n");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
}

/// The core waits for no listener of a lone command.
#[test]
fn a_command_that_is_to_become_an_nginx_is_ready_when_it_listens() {
    let scratch = Scratch::new();
    let gate = gate(&scratch);
    let nginx = puppet_program(&scratch, "nginx");
    let script = format!(
        "< {}; exec {} web TERM=0 listen",
        gate.display(),
        nginx.display()
    );
    let running = start(&["--", "sh", "-c", &script], "sh        started");
    assert_ready(&running, "starting", 1);
    open_gate(&gate);
    let (waited, _) = printed(&running, &[DRAINIT, "ready", "--wait", "1m"]);
    assert_eq!(waited, "ready\n");
}

#[test]
fn any_other_command_is_ready_once_it_was_started() {
    let running = start(&["--", "sleep", "1000"], "started");
    assert_ready(&running, "ready", 0);
}

#[test]
fn nobody_answers_where_there_is_no_drainit_or_it_is_not_to() {
    let none = start(&["--control", "none", "--", "sleep", "1000"], "started");
    assert_ready(&none, "unanswered", 1);
    let waited = printed(&none, &[DRAINIT, "ready", "--wait", "10ms"]);
    assert_eq!(waited, ("unanswered\n".to_owned(), 1));
    let output = Command::new("unshare")
        .args(["--mount", DRAINIT, "ready"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no drainit runs in this container"), "{said}");
}

#[test]
fn a_drainit_below_a_drainit_leaves_the_answers_to_it() {
    let below = format!("{DRAINIT} --log-level=debug --service 'b=sleep 1000'");
    let script = format!("below=sh -c {:?}", format!("{below}; exit"));
    let mut running = start(&["--service", &script], "another drainit answers");
    running.wait_for_line("b         started");
    assert_ready(&running, "ready", 0);
    assert_eq!(running.count("warning"), 0, "{}", running.log());
}

// --- status, and what somebody has services do -------------------------------

#[test]
fn the_status_tells_how_each_service_is() {
    let scratch = Scratch::new();
    let gate = gate(&scratch);
    let puppet = puppet_line("web TERM=0 listen");
    let web = format!("nginx=sh -c '< {}; exec {puppet}'", gate.display());
    let (app, queue) = (service("app TERM=0"), service("queue TERM=3"));
    let arguments = ["--delay", "5", "--service", &app, "--service", &web];
    let arguments = [&arguments[..], &["--service", &queue]].concat();
    let mut running = start(&arguments, "nginx     started");
    assert_eq!(status_of(&running, "app")[1], "serving");
    assert_eq!(status_of(&running, "nginx")[1], "starting");
    assert_eq!(status_of(&running, "queue")[1..3], ["waiting", "-"]);
    open_gate(&gate);
    running.wait_for_line("queue ready");
    let nginx = status_of(&running, "nginx");
    let (pid, place) = (children(running.pid)[1], nginx.last().unwrap());
    assert_eq!(nginx[1], "serving");
    assert!(place.starts_with("tcp:"), "{place}");
    let (json, _) = drainit(&running, &["status", "--json"]);
    let place = format!(r#""listening":["{place}"]"#);
    for part in [
        r#"{"health":"ready","left_s":null"#,
        r#""restarts":0"#,
        &place,
    ] {
        assert!(json.contains(part), "{json}");
    }
    // Its pid is the one of its own namespace.
    assert!(!nginx[2].is_empty() && nginx[2] != pid.to_string());
    running.signal(SIGTERM);
    running.wait_for_line("queue     exited 3");
    let (table, _) = drainit(&running, &["status"]);
    assert!(table.starts_with("draining, "), "{table}");
    assert_eq!(status_of(&running, "nginx")[1], "serving");
    assert_eq!(status_of(&running, "queue")[1..3], ["ended", "-"]);
    running.signal(SIGINT);
    assert_eq!(running.wait_exit(), 3);
}

/// As at the end: nginx first. Both come back in the order of starting.
#[test]
fn a_restart_drains_what_can_not_do_without_it_first() {
    let fpm = format!("php-fpm={}", puppet_line("fpm TERM=0 listen"));
    let web = format!("nginx={}", puppet_line("web TERM=0 listen"));
    let queue = service("queue TERM=0");
    let arguments = ["--service", &fpm, "--service", &web, "--service", &queue];
    let mut running = start(&arguments, "queue ready");
    let queue = status_of(&running, "queue");
    let (said, code) = drainit(&running, &["restart", "php-fpm"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.ends_with("php-fpm serving\n"), "{said}");
    let waited = drainit(&running, &["ready", "--wait", "1m"]);
    assert_eq!(waited, ("ready\n".to_owned(), 0));
    assert_eq!(status_of(&running, "queue")[2], queue[2]);
    assert_eq!(status_of(&running, "nginx")[4], "1");
    running.signal(SIGINT);
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&[
        "drainit restart",
        "web got SIGTERM",
        "nginx     exited 0",
        "fpm got SIGTERM",
        "php-fpm   exited 0",
        "php-fpm   started",
        "nginx     started",
    ]);
}

#[test]
fn a_service_that_was_stopped_stays_away_until_it_is_started() {
    let web = format!("nginx={}", puppet_line("web TERM=0 listen"));
    let queue = service("queue TERM=7");
    let mut running = start(&["--service", &web, "--service", &queue], "queue ready");
    let (said, code) = drainit(&running, &["stop", "queue"]);
    assert_eq!(
        (code, said.lines().last()),
        (0, Some("queue stopped")),
        "{}",
        running.log()
    );
    assert_eq!(status_of(&running, "queue")[1], "stopped");
    // A queue worker takes no requests.
    assert_ready(&running, "ready", 0);
    assert_eq!(drainit(&running, &["stop", "nginx"]).1, 0);
    assert_ready(&running, "down", 1);
    let (said, code) = drainit(&running, &["start", "nginx", "queue"]);
    assert_eq!(code, 0, "{said}");
    assert_ready(&running, "ready", 0);
    let refused = inside(&running, &[DRAINIT, "stop", "nosuch"])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(
        (refused.status.code(), said.as_str()),
        (
            Some(1),
            "drainit: there is no service nosuch; there are nginx, queue\n"
        )
    );
    assert_eq!(drainit(&running, &["stop", "queue"]).1, 0);
    running.signal(SIGINT);
    // That it ended with 7 then is no failure now.
    assert_eq!(running.wait_exit(), 0);
}

#[test]
fn who_does_not_come_up_is_said() {
    let scratch = Scratch::new();
    let broken = scratch.path("broken");
    let line = format!(
        "b=sh -c 'test -e {} && exit 3; exec sleep 1000'",
        broken.display()
    );
    let mut running = start(
        &["--service", &service("a"), "--service", &line],
        "b         started",
    );
    fs::write(&broken, "").unwrap();
    let child = inside(&running, &[DRAINIT, "restart", "b"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    running.wait_for_line("b         starts again in");
    fs::remove_file(&broken).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(status_of(&running, "b")[1], "serving");
}

#[test]
fn reload_and_reopen_reach_one_service_by_its_own_signal() {
    let (a, b) = (service("a"), service("b"));
    let mut running = start(&["--service", &a, "--service", &b], "b ready");
    assert_eq!(drainit(&running, &["reload", "b"]).1, 0);
    running.wait_for_line("b got SIGHUP");
    assert_eq!(drainit(&running, &["reopen", "b"]).1, 0);
    running.wait_for_line("b got SIGUSR1");
    assert_eq!(running.count("a got"), 0, "{}", running.log());
}

#[test]
fn drain_is_the_whole_stop() {
    let web = format!("nginx={}", puppet_line("web TERM=0 listen"));
    let mut running = start(&["--delay", "1", "--service", &web], "nginx     ready");
    assert_eq!(drainit(&running, &["drain"]), (String::new(), 0));
    // All are to go.
    assert_eq!(drainit(&running, &["start", "nginx"]).1, 1);
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&[
        "lame duck",
        "web got SIGTERM",
        "report    drainit drain, took",
    ]);
}

#[test]
fn another_user_has_nothing_done_and_is_told_nothing() {
    let running = start(
        &["--service", &service("a"), "--service", &service("b")],
        "b ready",
    );
    for words in [&["status"][..], &["stop", "a"], &["drain"]] {
        let words = [&as_user("33")[..], &[DRAINIT], words].concat();
        assert_eq!(printed(&running, &words), (String::new(), 1));
    }
    assert_eq!(running.count("drainit stop"), 0);
    assert_ready(&running, "ready", 0);
}

// --- who may not ask, and who asks what isn't known --------------------------

/// The name of its socket, which is one of our network namespace, too.
fn socket(running: &Running) -> SocketAddr {
    let namespace = fs::metadata(format!("/proc/{}/ns/mnt", running.pid)).unwrap();
    SocketAddr::from_abstract_name(format!("drainit.{}", namespace.ino())).unwrap()
}

/// As another container of a pod has it, which shares the network alone.
#[test]
fn who_is_of_another_container_is_refused() {
    let running = start(&["--", "sleep", "1000"], "started");
    let name = format!("drainit test {}", running.pid);
    let client = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .send_to_addr(b"\x01ready", &socket(&running))
        .unwrap();
    let mut answer = [0; 100];
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"\x01not heard");
}

#[test]
fn another_user_is_refused_and_its_own_and_root_are_not() {
    let running = start(&["--", "sleep", "1000"], "started");
    assert_ready_by("33", &running, "refused", 1);
    assert_ready_by("0", &running, "ready", 0);
    let starter = [&UNSHARE[..], &as_user("33")].concat();
    let mut running = Running::start(&mut drainit_by(&starter, ["--", "sleep", "1000"]));
    running.wait_for_line("started");
    running.pid = children(running.pid)[0];
    assert_ready_by("33", &running, "ready", 0);
    assert_ready_by("0", &running, "ready", 0);
    assert_ready_by("34", &running, "refused", 1);
}

/// In each phase: while it serves, and while it drains.
#[test]
fn a_hundred_at_once_are_answered_and_leave_nothing_behind() {
    let web = service("web QUIT=0 TERM=0 listen");
    let queue = service("queue USR2=0");
    let services = ["--service", &web, "--service", &queue];
    let arguments = [&["--grace-period", "200", "--delay", "150"], &services[..]].concat();
    let mut running = start(&arguments, "queue ready");
    running.wait_for_listening_puppet("web");
    let descriptors = |running: &Running| {
        let directory = format!("/proc/{}/fd", running.pid);
        fs::read_dir(directory).unwrap().count()
    };
    let all = format!("for i in $(seq 100); do {DRAINIT} ready & done; wait");
    for word in ["ready", "draining"] {
        let before = descriptors(&running);
        let (answers, _) = printed(&running, &["sh", "-c", &all]);
        let right = answers.lines().filter(|line| *line == word).count();
        assert_eq!(right, 100, "{answers}");
        // While it drains it opens tables for a moment.
        wait_until("all descriptors are closed", || {
            descriptors(&running) <= before
        });
        if word == "ready" {
            running.signal(SIGTERM);
            // It has a layer that was asked, and one that wasn't.
            running.wait_for_line("queue got SIGTERM");
            // It has opened what tells of the queue's end.
            running.wait_until_asleep();
        }
    }
}

/// Who says nothing, too much, or what isn't known, never reads, and sends without
/// end.
#[test]
fn who_sends_without_end_holds_up_no_signal_and_no_end() {
    let mut running = start(&["--service", &service("a USR1=0 TERM=0")], "a ready");
    let to = socket(&running);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for bytes in [
            &b""[..],
            b"\x01",
            b"\x01ready",
            b"\x02status",
            &[b'x'; 1000],
        ] {
            let (to, over) = (&to, &over);
            scope.spawn(move || {
                // By a name they could be answered to, and never read.
                let name = format!("drainit test {} {}", bytes.len(), std::process::id());
                let name = SocketAddr::from_abstract_name(name).unwrap();
                let client = UnixDatagram::bind_addr(&name).unwrap();
                while !over.load(Ordering::Relaxed) {
                    // It has an end when drainit has.
                    let _ = client.send_to_addr(bytes, to);
                }
            });
        }
        let flood = "use Socket; socket S, AF_UNIX, SOCK_DGRAM, 0; my $to = pack 'Sxa*', AF_UNIX, \
                     $ARGV[0]; while (1) { send S, \"x\" x ($_++ % 99), 0, $to; \
                     send S, \"\\x01status\", 0, $to; send S, \"\\x01stop\\nb\", 0, $to }";
        let name = String::from_utf8(to.as_abstract_name().unwrap().to_vec()).unwrap();
        let mut unnamed = inside(&running, &["perl", "-e", flood, &name])
            .spawn()
            .unwrap();
        assert_ready(&running, "ready", 0);
        running.signal(SIGTERM);
        running.wait_for_line("a got SIGTERM");
        assert_eq!(running.wait_exit(), 0);
        over.store(true, Ordering::Relaxed);
        unnamed.kill().unwrap();
        unnamed.wait().unwrap();
    });
}

#[test]
fn no_question_leaves_no_memory_or_descriptor_and_no_wake_up() {
    let running = start(&["--", "sleep", "1000"], "started");
    let ask = format!("for i in $(seq 50); do {DRAINIT} ready; done");
    printed(&running, &["sh", "-c", &ask]);
    let state = |field| common::status_field(running.pid, field);
    let memory = state("VmData");
    for _ in 0..4 {
        printed(&running, &["sh", "-c", &ask]);
    }
    assert_eq!(state("VmData"), memory);
    running.wait_until_asleep();
    let switches = state("voluntary_ctxt_switches");
    // It sleeps until somebody asks again: the time is nothing to wait for.
    wait_until("somebody else was asked", || {
        let other = start(&["--", "sleep", "1000"], "started");
        assert_ready(&other, "ready", 0);
        true
    });
    assert_eq!(state("voluntary_ctxt_switches"), switches);
}
