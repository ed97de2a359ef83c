//! The example of `docker/laravel-like`, as it is: its start, its processes killed one by
//! one, its stop under load, and what `drainit status` says meanwhile.
//!
//! Needs Docker and `make dist`, and fails without.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use containers::{
    Container, Pages, ROOT, SLOW_BODY, Upstream, assert_order, command, docker, example, request,
    stop_under_load, wait_until,
};

/// The example, with these files of ours in their places.
#[track_caller]
fn start(options: &[&str], files: &[(&str, &str)]) -> Container {
    let mount = |(file, place): &(&str, &str)| format!("--volume={ROOT}/{file}:{place}:ro");
    let volumes: Vec<String> = files.iter().map(mount).collect();
    let volumes: Vec<&str> = volumes.iter().map(String::as_str).collect();
    let image = example("laravel-like");
    Container::start(&[options, &volumes].concat(), &image, &[])
}

/// The same, once everything serves, and takes its signals.
#[track_caller]
fn serving(files: &[(&str, &str)]) -> Container {
    let container = start(&[], files);
    let log = container.log();
    log.wait_for("queue-1: Processing jobs.");
    log.wait_for("queue-2: Processing jobs.");
    log.wait_for("scheduler: Running");
    assert_eq!(phase(&container), SERVING);
    container
}

const SLOW_PAGE: (&str, &str) = ("docker/load/slow.php", "/app/public/slow.php");
const JOB: (&str, &str) = ("tests/laravel/wait.php", "/job.php");
const SLOW_MIGRATION: (&str, &str) = (
    "tests/laravel/wait.php",
    "/app/database/migrations/slow.php",
);
const BAD_MIGRATION: (&str, &str) = ("tests/laravel/fail.php", "/app/database/migrations/bad.php");

/// What `drainit` prints in the container for that user, and its exit code.
fn drainit(container: &Container, user: &str, words: &[&str]) -> (String, i32) {
    let exec = ["exec", "--user", user, &container.name, "drainit"];
    let output = command("docker", &[&exec, words].concat())
        .output()
        .unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (printed, output.status.code().unwrap())
}

/// A line of `drainit status`.
#[derive(Clone, Debug, PartialEq)]
struct Service {
    name: String,
    state: String,
    pid: String,
    restarts: String,
}

/// How the container is, in a word, and each of its services.
#[track_caller]
fn status(container: &Container) -> (String, Vec<Service>) {
    let (printed, code) = drainit(container, "root", &["status"]);
    assert_eq!(code, 0, "{printed}");
    let (first, table) = printed.split_once('\n').unwrap();
    let (word, _) = first.split_once(',').unwrap_or((first, ""));
    let services = table.lines().skip(1).map(|line| {
        let mut cells = line.split_ascii_whitespace().map(str::to_owned);
        let mut cell = || cells.next().unwrap();
        let (name, state, pid, _up, restarts) = (cell(), cell(), cell(), cell(), cell());
        Service {
            name,
            state,
            pid,
            restarts,
        }
    });
    (word.to_owned(), services.collect())
}

#[track_caller]
fn service(container: &Container, name: &str) -> Service {
    let (_, services) = status(container);
    services.into_iter().find(|it| it.name == name).unwrap()
}

/// The word, and how far each service is.
#[track_caller]
fn phase(container: &Container) -> Vec<String> {
    let (word, services) = status(container);
    let states = services
        .iter()
        .map(|it| format!("{} {}", it.name, it.state));
    [word].into_iter().chain(states).collect()
}

const SERVING: [&str; 7] = [
    "ready",
    "migrate ended",
    "php-fpm serving",
    "nginx serving",
    "queue-1 serving",
    "queue-2 serving",
    "scheduler serving",
];

/// Gives the workers a job, which lasts until [`finish`]; returns who took it.
#[track_caller]
fn begin_job(container: &Container) -> String {
    let push = ["ln", "-s", "/job.php", "storage/queue/1.php"];
    docker(&[&["exec", &container.name], &push[..]].concat());
    let log = container.log();
    log.wait_for("storage/queue/1.php");
    let text = log.text();
    let (before, _) = text.split_once(": storage/queue/1.php").unwrap();
    before.lines().last().unwrap().to_owned()
}

/// Ends what `tests/laravel/wait.php` waits for, under that name.
#[track_caller]
fn finish(container: &Container, name: &str) {
    docker(&["exec", &container.name, "touch", &format!("/tmp/{name}")]);
}

#[track_caller]
fn kill(container: &Container, pids: &str) {
    let kill = format!("kill -9 {pids}");
    docker(&["exec", &container.name, "sh", "-c", &kill]);
}

/// How the container ended, once it has.
#[track_caller]
fn exit_code(container: &Container) -> String {
    wait_until("it ends", || {
        container.inspect("{{.State.Running}}") == "false"
    });
    container.inspect("{{.State.ExitCode}}")
}

/// From the migration to the last request, each phase held until it was looked at.
#[test]
fn each_phase_is_seen() {
    let options = [
        "--env=DRAINIT_DELAY=1s..60s",
        "--env=DRAINIT_GRACE_PERIOD=180s",
    ];
    let container = start(&options, &[SLOW_MIGRATION, SLOW_PAGE, JOB]);
    let log = container.log();
    let is = |health: &str| container.inspect("{{.State.Health.Status}}") == health;

    log.wait_for("slow.php RUNNING");
    assert!(is("starting"), "{}", log.text());
    assert_eq!(
        phase(&container),
        [
            "starting",
            "migrate starting",
            "php-fpm waiting",
            "nginx waiting",
            "queue-1 waiting",
            "queue-2 waiting",
            "scheduler waiting",
        ]
    );

    finish(&container, "slow");
    wait_until("it is healthy", || is("healthy"));
    assert_eq!(phase(&container), SERVING);
    assert_order(
        &log.text(),
        &[
            "migrate   started",
            "migrate   exited 0",
            "php-fpm   started",
            "php-fpm   ready",
            "nginx     started",
            "nginx     ready",
            "queue-1   started",
            "queue-2   started",
            "scheduler started",
        ],
    );

    let worker = begin_job(&container);
    let address = container.address(80);
    let upstream = Upstream::listen();
    let path = format!("/slow.php?port={}", upstream.port);
    let slow = request(address, path, SLOW_BODY);
    upstream.wait_for(1);
    // As long as requests come, it serves on. They end with the sender.
    let (come, ended) = mpsc::channel::<()>();
    let requests = thread::spawn(move || {
        let rate = Duration::from_millis(50);
        while ended.recv_timeout(rate) == Err(RecvTimeoutError::Timeout) {
            request(address, "/".to_owned(), "Hello from PHP\n")
                .join()
                .unwrap()
                .unwrap();
        }
    });
    docker(&["kill", "--signal=TERM", &container.name]);
    let of_worker = |name: &str| if name == worker { "draining" } else { "ended" };
    let lame_duck = [
        "draining",
        "migrate ended",
        "php-fpm serving",
        "nginx serving",
        &format!("queue-1 {}", of_worker("queue-1")),
        &format!("queue-2 {}", of_worker("queue-2")),
        "scheduler ended",
    ];
    wait_until("it is a lame duck", || phase(&container) == lame_duck);
    wait_until("it is unhealthy", || is("unhealthy"));
    assert_eq!(phase(&container), lame_duck, "{}", log.text());
    drop(come);
    requests.join().unwrap();

    log.wait_for("nginx     <- SIGQUIT");
    finish(&container, "job");
    let draining = [
        "draining",
        "migrate ended",
        "php-fpm serving",
        "nginx draining",
        "queue-1 ended",
        "queue-2 ended",
        "scheduler ended",
    ];
    log.wait_for(&format!("{worker}   exited 0"));
    assert_eq!(phase(&container), draining, "{}", log.text());
    upstream.answer();
    slow.join().unwrap().unwrap();
    assert_eq!(exit_code(&container), "0", "{}", log.report());
}

#[test]
fn docker_stop_loses_no_request_and_no_job() {
    let container = serving(&[SLOW_PAGE, JOB]);
    let pages = Pages::php(&container, 80);
    let worker = begin_job(&container);
    let log = container.log();
    let stopped = thread::scope(|scope| {
        scope.spawn(|| {
            log.wait_for("nginx     <- SIGQUIT");
            finish(&container, "job");
        });
        stop_under_load(&container, &pages)
    });
    let report = log.report();
    assert_eq!(stopped.exit_code, 0, "{report}");
    let text = log.text();
    for name in ["queue-1  ", "queue-2  ", "scheduler"] {
        assert_order(
            &text,
            &[&format!("{name} <- SIGTERM"), "nginx     <- SIGQUIT"],
        );
    }
    let exited = format!("{worker}   exited 0");
    assert_order(&text, &["nginx     <- SIGQUIT", &exited]);
    let is_done = |line: &str| line.starts_with(&worker) && line.ends_with(" DONE");
    assert!(text.lines().any(is_done), "{text}");
}

#[test]
fn a_worker_that_is_killed_comes_back_and_touches_nobody() {
    let container = serving(&[]);
    let (_, mut expected) = status(&container);
    for name in ["queue-1", "queue-2", "scheduler"] {
        let killed = service(&container, name);
        kill(&container, &killed.pid);
        wait_until("it is back", || {
            let now = service(&container, name);
            now.state == "serving" && now.pid != killed.pid
        });
        let its = expected.iter_mut().find(|it| it.name == name).unwrap();
        its.pid = service(&container, name).pid;
        its.restarts = "1".to_owned();
        let log = container.printed();
        assert_eq!(
            status(&container),
            ("ready".to_owned(), expected.clone()),
            "{log}"
        );
    }
}

/// The servers start their own workers again.
#[test]
fn a_servers_worker_that_is_killed_touches_nobody_either() {
    let container = serving(&[]);
    let before = status(&container);
    for name in ["php-fpm", "nginx"] {
        let pid = service(&container, name).pid;
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = || docker(&["exec", &container.name, "cat", &children]);
        let killed = children();
        assert!(!killed.is_empty(), "{name} has none");
        kill(&container, &killed);
        wait_until("others are there", || {
            let there = children();
            let is_new = |pid: &str| !killed.split(' ').any(|it| it == pid);
            !there.is_empty() && there.split(' ').all(is_new)
        });
    }
    assert_eq!(status(&container), before, "{}", container.printed());
    request(container.address(80), "/".to_owned(), "Hello from PHP\n")
        .join()
        .unwrap()
        .unwrap();
}

#[test]
fn a_server_that_is_killed_ends_the_container_and_the_others_are_drained() {
    for (name, other) in [("php-fpm", "nginx"), ("nginx", "php-fpm")] {
        let container = serving(&[]);
        kill(&container, &service(&container, name).pid);
        assert_eq!(exit_code(&container), "137", "{}", container.printed());
        let report = container.log().report();
        let drained: Vec<&str> = report.split("; ").collect();
        let has = |name: &str, end: &str| {
            let mut its = drained.iter().filter(|it| it.starts_with(name));
            its.any(|it| it.ends_with(end))
        };
        assert!(has(name, " killed by SIGKILL"), "{report}");
        assert!(has(other, " SIGQUIT exited 0"), "{report}");
        assert!(has("queue-1", " SIGTERM exited 0"), "{report}");
        assert!(has("queue-2", " SIGTERM exited 0"), "{report}");
        assert!(has("scheduler", " killed by SIGTERM"), "{report}");
    }
}

#[test]
fn a_migration_that_fails_ends_the_container_with_its_status() {
    let container = start(&[], &[BAD_MIGRATION]);
    assert_eq!(exit_code(&container), "3", "{}", container.printed());
    let log = container.printed();
    assert!(log.contains("migrate   exited 3\n"), "{log}");
    let started = log.lines().filter(|line| line.contains(" started, pid"));
    assert_eq!(started.count(), 1, "{log}");
}

#[test]
fn the_services_user_is_refused_where_drainit_is_root() {
    let container = serving(&[]);
    let (_, before) = status(&container);
    for words in [
        &["ready"][..],
        &["status"],
        &["restart", "queue"],
        &["drain"],
    ] {
        let (printed, code) = drainit(&container, "33", words);
        assert_eq!(code, 1, "{words:?}: {printed}");
        let why = "drainit answers its own user and root\n";
        assert!(printed.ends_with(why), "{words:?}: {printed}");
    }
    assert_eq!(status(&container), ("ready".to_owned(), before));
    let (printed, code) = drainit(&container, "0", &["restart", "queue"]);
    assert_eq!(code, 0, "{printed}");
    assert_eq!(phase(&container), SERVING);
}

#[test]
fn its_own_user_and_root_are_heard_where_drainit_is_not_root() {
    let container = Container::start(&[], &example("nginx-php-fpm-rootless"), &[]);
    container.log().wait_for("nginx     ready");
    for (user, expected) in [("33", 0), ("0", 0), ("34", 1)] {
        let (printed, code) = drainit(&container, user, &["status"]);
        assert_eq!(code, expected, "{user}: {printed}");
    }
}
