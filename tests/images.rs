//! The examples of `docker/`, as they are, under load: each user that a
//! container may have, both Debians, and all the ways in which their headers
//! say to run them. What scripts the load needs is mounted.
//!
//! Needs Docker and `make dist`, and fails without.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};

use containers::{
    Container, Log, PATIENCE, Pages, ROOT, Stopped, Upstream, assert_order, build, built, docker,
    example, example_on_trixie, get, request, stop_all_under_load, wait_until,
};

/// All that may run here with less than Docker's defaults.
const LOCKED_DOWN: [&str; 4] = [
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
];

/// `docker run` with these options, and the load's scripts beside those of the
/// image.
#[track_caller]
fn start(options: &[&str], image: &str, words: &[&str]) -> Container {
    let mount = |file: &str, target: &str| format!("--volume={ROOT}/{file}:{target}:ro");
    let volumes = [
        mount("docker/load/slow.php", "/var/www/html/slow.php"),
        mount("tests/images/finish.php", "/var/www/html/finish.php"),
        mount(
            "tests/docker/upstream.conf",
            "/etc/nginx/conf.d/upstream.conf",
        ),
    ];
    let volumes: Vec<&str> = volumes.iter().map(String::as_str).collect();
    Container::start(&[options, &volumes].concat(), image, words)
}

/// As the example that has it.
fn rootless() -> String {
    // Both begin with the same packages, so that these are installed once.
    example("nginx-php-fpm");
    example("nginx-php-fpm-rootless")
}

fn upgrade() -> String {
    // As above.
    example("nginx");
    example("upgrade")
}

/// The rootless example with root and gosu.
fn gosu() -> String {
    let base = format!("BASE={}", rootless());
    built("gosu", |tag| {
        let dockerfile = fs::read_to_string(format!("{ROOT}/tests/images/Dockerfile")).unwrap();
        build(tag, ".", &["--build-arg", &base], &dockerfile);
    })
}

/// What a server says about this connection once the stop has begun: that is
/// what the marker changes.
fn connection_in_the_lame_duck(log: Log, address: SocketAddr) -> JoinHandle<String> {
    thread::spawn(move || {
        log.wait_for("lame duck");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let header = answer.lines().find(|line| line.starts_with("Connection"));
        header.unwrap_or(&answer).to_owned()
    })
}

#[track_caller]
fn assert_no_warnings(log: &str) {
    let is_warning = |line: &&str| line.starts_with("drainit: ") && line.contains("warning: ");
    let warnings: Vec<&str> = log.lines().filter(is_warning).collect();
    assert!(warnings.is_empty(), "{warnings:?} in:\n{log}");
}

/// Stops a container that has nginx and php-fpm. Each request is answered, the
/// marker does its work, and so does a worker that is busy after its response,
/// though php-fpm's own `process_control_timeout` is 0: it is left alone until
/// it has done what it does, and that begins only after it was asked to go.
#[track_caller]
fn stop(container: &Container, port: u16) -> String {
    let pages = Pages::php(container, port);
    let log = stop_pages(&[container], container, &pages);
    assert_order(
        &log,
        &[
            "SIGTERM   lame duck",
            "<- SIGQUIT",
            "workers <- SIGQUIT",
            "  report    SIGTERM, took ",
            "exit 0\n",
        ],
    );
    log
}

/// The first of them has nginx; php-fpm is in this one. Returns what all
/// logged, in this order.
#[track_caller]
fn stop_pages(containers: &[&Container], php_fpm: &Container, pages: &Pages) -> String {
    let address = pages.fast.0;
    let upstream = Upstream::listen();
    let path = format!("/finish.php?port={}", upstream.port);
    request(address, path, "finished\n")
        .join()
        .unwrap()
        .unwrap();
    upstream.wait_for(1);
    let log = php_fpm.log();
    let upstream = thread::spawn(move || {
        log.wait_for("workers <- SIGQUIT");
        upstream.answer();
        upstream
    });
    let nginx = containers.first().unwrap();
    let connection = connection_in_the_lame_duck(nginx.log(), address);

    let stopped = stop_all_under_load(containers, pages);
    let logs: Vec<String> = containers.iter().map(|one| one.printed()).collect();
    assert_clean(&stopped, &logs);
    assert_eq!(connection.join().unwrap(), "Connection: close", "{logs:?}");
    // It has asked again.
    upstream.join().unwrap().wait_for(2);
    logs.concat()
}

#[track_caller]
fn assert_clean(stopped: &[Stopped], logs: &[String]) {
    for (stopped, log) in stopped.iter().zip(logs) {
        assert_eq!(stopped.exit_code, 0, "{log}");
        let report = log.lines().last().unwrap();
        assert!(report.contains("  report  "), "{log}");
        assert!(report.contains(" SIGQUIT exited 0; "), "{log}");
        assert!(report.ends_with(" orphans reaped; exit 0"), "{log}");
    }
}

// --- users ------------------------------------------------------------------

/// Its workers change user, and their descriptors can't be looked into.
#[test]
fn root_whose_php_fpm_changes_user() {
    let container = start(&[], &example("nginx-php-fpm"), &[]);
    let log = stop(&container, 80);
    assert_no_warnings(&log);
}

#[test]
fn www_data_on_a_read_only_root_without_capabilities() {
    let container = start(&LOCKED_DOWN, &rootless(), &[]);
    assert_eq!(docker(&["exec", &container.name, "id", "-u"]), "33");
    let log = stop(&container, 8080);
    assert_no_warnings(&log);
}

/// As `OpenShift` has it: a user that /etc/passwd doesn't know, in root's group.
#[test]
fn an_arbitrary_user_on_a_read_only_root_without_capabilities() {
    let options = [&LOCKED_DOWN[..], &["--user=1000680000:0"]].concat();
    let container = start(&options, &rootless(), &[]);
    let log = stop(&container, 8080);
    assert_no_warnings(&log);
}

/// drainit is root, and what it runs becomes somebody else: what those have
/// open can't be looked into, and where they listen can.
#[test]
fn services_by_gosu() {
    let services = [
        "--service=php-fpm=/gosu.sh php-fpm8.2 -F",
        "--service=nginx=/gosu.sh nginx",
    ];
    let container = start(&[], &gosu(), &services);
    let log = stop(&container, 8080);
    assert_no_warnings(&log);
}

/// Recognised by what it has become, and what it left behind by what that is.
#[test]
fn an_entrypoint_with_gosu_and_a_script_behind_it() {
    let script = "php-fpm8.2 -D && exec nginx -g 'daemon off;'";
    let container = start(&[], &gosu(), &["--", "/gosu.sh", "sh", "-c", script]);
    let log = stop(&container, 8080);
    assert_no_warnings(&log);
}

// --- distributions ----------------------------------------------------------

#[test]
fn debian_trixie() {
    let container = start(&[], &example_on_trixie("nginx-php-fpm"), &[]);
    let version = |words: &[&str]| docker(&[&["exec", &container.name], words].concat());
    assert!(version(&["php-fpm8.4", "-v"]).starts_with("PHP 8.4."));
    assert!(version(&["sh", "-c", "nginx -v 2>&1"]).contains("/1.26."));
    let log = stop(&container, 80);
    assert_no_warnings(&log);
}

// --- the other examples -----------------------------------------------------

/// On a read-only root, as the headers say.
#[test]
fn a_pod_of_two() {
    let (nginx, php_fpm) = (example("nginx"), example("php-fpm"));
    let pod = Container::start(&[], "debian:bookworm-slim", &["sleep", "infinity"]);
    let network = format!("--network=container:{}", pod.name);
    let php_fpm = start(
        &[&network, "--read-only", "--tmpfs=/run/php", "--tmpfs=/tmp"],
        &php_fpm,
        &[],
    );
    php_fpm.log().wait_for("ready");
    let nginx = start(
        &[
            &network,
            "--read-only",
            "--tmpfs=/run",
            "--tmpfs=/var/lib/nginx",
        ],
        &nginx,
        &[],
    );
    let pages = Pages::php(&pod, 80);
    let log = stop_pages(&[&nginx, &php_fpm], &php_fpm, &pages);
    assert_no_warnings(&log);
    assert_order(
        &log,
        &[
            "; nginx drained ",
            "php-fpm   waits until",
            "; php-fpm waited ",
        ],
    );
}

fn stops_the_upgraded(options: &[&str], signal: &str) {
    let container = start(options, &upgrade(), &[]);
    let (address, proxy) = (container.serving(80), container.serving(8081));
    let pages = Pages {
        fast: (address, "/", include_str!("../docker/upgrade/index.html")),
        slow: (proxy, "/"),
    };
    let connection = connection_in_the_lame_duck(container.log(), address);
    let stopped = stop_all_under_load(&[&container], &pages);
    let log = container.printed();
    assert_clean(&stopped, std::slice::from_ref(&log));
    assert_eq!(connection.join().unwrap(), "Connection: close", "{log}");
    assert_no_warnings(&log);
    let lame_duck = format!("{signal}   lame duck");
    let report = format!("{signal}, took ");
    assert_order(&log, &[&lame_duck, "<- SIGQUIT", &report]);
}

#[test]
fn an_upgraded_image_with_its_inherited_stop_signal() {
    stops_the_upgraded(&[], "SIGQUIT");
}

#[test]
fn an_upgraded_image_by_term() {
    stops_the_upgraded(&["--stop-signal=SIGTERM"], "SIGTERM");
}

// --- who is told by Docker ----------------------------------------------------

/// Whether the health check of an image, done once in a container, is passed.
fn passes_the_check(container: &Container) -> bool {
    let words = container.inspect("{{range .Config.Healthcheck.Test}}{{println .}}{{end}}");
    let (how, words) = words.split_once('\n').unwrap();
    assert_eq!(how, "CMD");
    let arguments = [
        &["exec", &container.name],
        &words.lines().collect::<Vec<_>>()[..],
    ]
    .concat();
    let output = containers::command("docker", &arguments).output().unwrap();
    output.status.success()
}

#[track_caller]
fn assert_health_says_whether_to_send(image: &str, port: u16) {
    let idle = Container::start(&["--entrypoint=sleep"], image, &["600"]);
    assert!(!passes_the_check(&idle), "nobody listens");
    drop(idle);

    // Much longer than a check takes on a busy machine.
    let options = ["--env=DRAINIT_DELAY=40s", "--env=DRAINIT_GRACE_PERIOD=80s"];
    let container = Container::start(&options, image, &[]);
    let is = |status: &str| container.inspect("{{.State.Health.Status}}") == status;
    wait_until("it is healthy", || is("healthy"));
    let log = container.log();
    docker(&["kill", "--signal=TERM", &container.name]);
    wait_until("it is unhealthy", || is("unhealthy"));
    let answer = get(container.address(port), "/");
    assert!(
        answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 ")),
        "it serves no more: {}",
        container.printed()
    );
    assert!(!log.has("<- SIGQUIT"), "{}", container.printed());
    assert!(!passes_the_check(&container), "it drains");
}

/// Traefik's provider, and others that Docker tells of nothing else.
#[test]
fn the_health_status_tells_of_a_start_and_of_a_stop() {
    for (image, port) in [
        (example("nginx-php-fpm"), 80),
        (rootless(), 8080),
        (example("nginx"), 80),
        (upgrade(), 80),
    ] {
        assert_health_says_whether_to_send(&image, port);
    }
}

/// What `drainit nginx-snippet` prints.
fn printed_snippet(options: &[&str]) -> String {
    let binary = containers::binary_image();
    docker(&[&["run", "--rm", &binary, "nginx-snippet"], options].concat())
}

/// That a site has each line of it; returns its lines, and its text.
#[track_caller]
fn assert_has_lines_of(site: &str, snippet: &str) -> (Vec<String>, String) {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| !line.starts_with('#')).collect()
    };
    let text = fs::read_to_string(format!("{ROOT}/{site}")).unwrap();
    let its = lines(&text);
    for line in lines(snippet) {
        assert!(its.contains(&line), "no {line:?} in {text}");
    }
    (its, text)
}

#[test]
fn the_lab_asks_for_health_as_it_is_printed() {
    assert_has_lines_of(
        "docker/lab/site/nginx.conf",
        &printed_snippet(&["--health"]),
    );
}

#[test]
fn each_nginx_has_the_snippet_as_it_is_printed() {
    let snippet = printed_snippet(&[]);
    for site in [
        "docker/laravel-like/nginx.conf",
        "docker/nginx/nginx.conf",
        "docker/nginx-php-fpm/nginx.conf",
        "docker/nginx-php-fpm-rootless/nginx.conf",
        "docker/upgrade/nginx.conf",
        "tests/protocols/nginx.conf",
    ] {
        let (lines, text) = assert_has_lines_of(site, &snippet);
        let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
        // Not in that of the snippet itself; the tests' site says where else not.
        if site.starts_with("docker/") {
            assert_eq!(count("if (-f "), count("location ") - 1, "{text}");
        }
    }
}
