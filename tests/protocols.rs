//! HTTP/2, TLS, gRPC and WebSocket through a whole stop: an nginx under drainit,
//! of either Debian, with real clients. The images are the stages of
//! `tests/protocols/Dockerfile`.
//!
//! Needs Docker and `make dist`, and fails without.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use containers::{
    Container, Log, PATIENCE, ROOT, SLOW_BODY, Upstream, assert_order, build, built, docker,
    example, example_on_trixie,
};

/// The nginx of which Debian.
#[derive(Clone, Copy, Debug)]
enum Debian {
    /// 1.22
    Bookworm,
    /// 1.26
    Trixie,
}

/// Runs a test on each, side by side: most of the time they wait.
fn on_each(test: impl Fn(Debian) + Sync) {
    thread::scope(|scope| {
        for debian in [Debian::Bookworm, Debian::Trixie] {
            let test = &test;
            scope.spawn(move || test(debian));
        }
    });
}

/// That stage of `tests/protocols/Dockerfile`.
fn stage(name: &str, stage: &str, base: &str) -> String {
    let base = format!("BASE={base}");
    built(name, |tag| {
        let arguments = ["--build-arg", &base, "--target", stage];
        let dockerfile = fs::read_to_string(format!("{ROOT}/tests/protocols/Dockerfile")).unwrap();
        build(tag, ".", &arguments, &dockerfile);
    })
}

fn clients() -> String {
    // It makes the base image; and both webs take the certificate from here.
    stage("clients", "clients", &example_on_trixie("nginx-php-fpm"))
}

/// nginx alone, run by drainit with these options.
#[track_caller]
fn start(debian: Debian, options: &[&str], words: &[&str]) -> Container {
    clients();
    let image = match debian {
        Debian::Bookworm => stage("bookworm-web", "web", &example("nginx-php-fpm")),
        Debian::Trixie => stage("trixie-web", "web", &example_on_trixie("nginx-php-fpm")),
    };
    let words = if words.is_empty() {
        &["--service", "nginx"]
    } else {
        words
    };
    let container = Container::start(options, &image, words);
    container.log().wait_for("nginx     ready");
    container
}

/// A program of the clients' image, in the host's network: what answers slow
/// requests is there.
#[track_caller]
fn client(words: &[&str]) -> (Container, Log) {
    let container = Container::start(&["--network=host"], &clients(), words);
    let log = container.log();
    (container, log)
}

/// What nginx asks, and where: gRPC, WebSocket.
#[track_caller]
fn upstream() -> (Container, String, String) {
    let container = Container::start(&[], &clients(), &["python3", "/upstream.py"]);
    container.log().wait_for("ready");
    let (grpc, websocket) = (container.address(8002), container.address(8003));
    (container, grpc.to_string(), websocket.to_string())
}

/// How it ended, once it has.
#[track_caller]
fn exit_code(container: &Container) -> i32 {
    docker(&["wait", &container.name]).parse().unwrap()
}

fn ip(container: &Container) -> String {
    container.address(443).ip().to_string()
}

/// The number before this word.
#[track_caller]
fn number_before(text: &str, word: &str) -> usize {
    let (before, _) = text.split_once(word).unwrap_or_else(|| panic!("{text}"));
    let number = before.rsplit(' ').next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("{text}"))
}

/// Waits until the client has printed this more than so many times.
#[track_caller]
fn wait_for_more(log: &Log, line: &str, count: usize) {
    let start = Instant::now();
    while log.text().matches(line).count() <= count {
        assert!(
            start.elapsed() < PATIENCE,
            "no more {line:?}: {}",
            log.text()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

// --- HTTP/2 -----------------------------------------------------------------

/// Under load until nginx closes the last connection: nginx has answered each
/// stream that it took, and says by GOAWAY which those are.
#[test]
fn http2_streams_are_answered_and_connections_told_to_go() {
    const SLOW: usize = 8;
    on_each(|debian| {
        let web = start(debian, &[], &[]);
        let log = web.log();
        let upstream = Upstream::listen();
        let url = |path: &str| format!("https://{}{path}", ip(&web));

        // nghttp asks once for what is named twice.
        let slow: Vec<String> = (0..SLOW)
            .map(|number| url(&format!("/slow?port={}&{number}", upstream.port)))
            .collect();
        let mut words = vec!["nghttp", "--verbose"];
        words.extend(slow.iter().map(String::as_str));
        let (nghttp, frames) = client(&words);
        upstream.wait_for(SLOW);
        let page = url("/load");
        // It goes when it is told to.
        let (h2load, load) = client(&[
            "h2load",
            "--clients=4",
            "--max-concurrent-streams=4",
            "--rps=50",
            "--requests=100000",
            &page,
        ]);
        log.wait_for("answered \"GET /load HTTP/2.0\" 200");

        let stopped = thread::scope(|scope| {
            let stopping = scope.spawn(|| web.stop());
            log.wait_for("nginx     <- SIGQUIT");
            frames.wait_for("recv GOAWAY frame");
            upstream.answer();
            stopping.join().unwrap()
        });
        assert_eq!(exit_code(&nghttp), 0, "{debian:?}: {}", frames.text());
        assert_eq!(exit_code(&h2load), 0, "{debian:?}: {}", load.text());
        let report = log.report();
        assert_eq!(stopped.exit_code, 0, "{debian:?}: {report}");
        assert!(report.contains("nginx drained "), "{debian:?}: {report}");
        assert!(report.contains(" SIGQUIT exited 0"), "{debian:?}: {report}");

        let frames = frames.text();
        let whole = frames.matches(SLOW_BODY.trim()).count();
        assert_eq!(whole, SLOW, "{debian:?}: {frames}");
        // nghttp's own GOAWAY names stream 0.
        let (_, last) = frames.rsplit_once("send HEADERS frame").unwrap();
        let (_, last) = last.split_once("stream_id=").unwrap();
        let (last, _) = last.split_once('>').unwrap();
        let goaway = format!("(last_stream_id={last}, error_code=NO_ERROR");
        assert!(frames.contains(&goaway), "{debian:?}: {goaway}, {frames}");

        // Neither was any cut, nor did any that wasn't answered do something.
        log.wait_for("  report  ");
        let log = log.text();
        let took = log.matches("answered \"GET /load HTTP/2.0\"").count();
        let answered = number_before(&load.text(), " succeeded");
        assert_eq!(answered, took, "{debian:?}: {}\n{log}", load.text());
        let (_, lame_duck) = log.split_once("lame duck").unwrap();
        assert!(
            lame_duck.contains("\"GET /load HTTP/2.0\" 200"),
            "{debian:?}: {log}"
        );
    });
}

#[test]
fn a_grpc_call_that_runs_over_the_stop_is_answered() {
    const CALLS: usize = 4;
    on_each(|debian| {
        let web = start(debian, &[], &[]);
        let (asked, grpc, _) = upstream();
        let gateway = asked.inspect("{{.NetworkSettings.Gateway}}");
        let slow = Upstream::listen();
        let url = format!("http://{gateway}:{}/", slow.port);
        let calls = CALLS.to_string();
        let (client, answers) = client(&[
            "python3",
            "/grpc_client.py",
            &ip(&web),
            &grpc,
            "slow",
            &url,
            &calls,
        ]);
        slow.wait_for(CALLS);
        let log = web.log();
        let stopped = thread::scope(|scope| {
            let stopping = scope.spawn(|| web.stop());
            log.wait_for("nginx     <- SIGQUIT");
            slow.answer();
            stopping.join().unwrap()
        });
        assert_eq!(exit_code(&client), 0, "{debian:?}: {}", answers.text());
        let whole = format!("answered: {}", SLOW_BODY.trim());
        let count = answers.text().matches(&whole).count();
        assert_eq!(count, CALLS, "{debian:?}: {}", answers.text());
        assert_eq!(stopped.exit_code, 0, "{debian:?}: {}", log.report());
    });
}

// --- what doesn't end by itself ---------------------------------------------

/// A WebSocket and a stream of gRPC, both by TLS, that serve on after nginx was
/// told to stop. Returns how drainit ended, and its report.
#[track_caller]
fn stop_with_endless_clients(debian: Debian, words: &[&str]) -> (i32, String) {
    let web = start(debian, &[], words);
    let (_upstream, grpc, websocket) = upstream();
    let ip = ip(&web);
    let clients = [
        client(&["python3", "/websocket_client.py", &ip, &websocket]),
        client(&["python3", "/grpc_client.py", &ip, &grpc, "endless"]),
    ];
    let says = ["echo ", "message "];
    for ((_, log), line) in clients.iter().zip(says) {
        log.wait_for(line);
    }
    let log = web.log();
    let stopped = thread::scope(|scope| {
        let stopping = scope.spawn(|| web.stop());
        log.wait_for("nginx     <- SIGQUIT");
        for ((_, log), line) in clients.iter().zip(says) {
            // What was under way may be counted; what follows that wasn't.
            wait_for_more(log, line, log.text().matches(line).count() + 2);
        }
        stopping.join().unwrap()
    });
    for ((client, log), line) in clients.iter().zip(["closed: ", "cut: "]) {
        assert_eq!(exit_code(client), 0, "{debian:?}: {}", log.text());
        log.wait_for(line);
    }
    (stopped.exit_code, log.text())
}

/// nginx had nothing else to wait for, so that it was there for its SIGTERM
/// shows that neither was closed before.
#[test]
fn a_websocket_stays_open_until_the_deadline() {
    on_each(|debian| {
        let (exit_code, log) = stop_with_endless_clients(debian, &[]);
        assert_eq!(exit_code, 143, "{debian:?}: {log}");
        assert_order(
            &log,
            &["nginx     <- SIGQUIT", "nginx     <- SIGTERM", "  report  "],
        );
    });
}

#[test]
fn a_websocket_is_closed_by_nginx_after_its_own_timeout() {
    on_each(|debian| {
        let service = "nginx=nginx -g 'worker_shutdown_timeout 2s;'";
        let (exit_code, log) = stop_with_endless_clients(debian, &["--service", service]);
        assert_eq!(exit_code, 0, "{debian:?}: {log}");
        assert!(!log.contains("<- SIGTERM"), "{debian:?}: {log}");
        let (_, report) = log.split_once("; nginx drained ").unwrap();
        let (drained, rest) = report.split_once(" s ").unwrap();
        assert!(rest.starts_with("SIGQUIT exited 0"), "{debian:?}: {log}");
        assert!(drained.parse::<f64>().unwrap() >= 1.9, "{debian:?}: {log}");
    });
}

// --- HTTP/1.1 ---------------------------------------------------------------

#[test]
fn a_tls_connection_is_closed_once_the_stop_has_begun() {
    on_each(|debian| {
        let web = start(debian, &["--env=DRAINIT_DELAY=6"], &[]);
        let log = web.log();
        let (client, said) = client(&["python3", "/tls_client.py", &ip(&web)]);
        said.wait_for("Connection: keep-alive");
        docker(&["kill", "--signal=TERM", &web.name]);
        // Before nginx is told to stop, which makes every nginx say so.
        said.wait_for("Connection: close");
        assert!(!log.has("<- SIGQUIT"), "{debian:?}: {}", log.text());
        assert_eq!(exit_code(&client), 0, "{debian:?}: {}", said.text());
        assert_eq!(exit_code(&web), 0, "{debian:?}: {}", log.text());
    });
}

/// The answer to a request of a client that would keep its connection.
#[track_caller]
fn ask(address: SocketAddr, method: &str, target: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{target} is cut");
        answer.extend(byte);
    }
    let header = String::from_utf8(answer).unwrap();
    let (_, length) = header.split_once("Content-Length: ").unwrap();
    let length = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (header, String::from_utf8(body).unwrap())
}

/// All that the snippet could change, and the one thing that it does.
#[test]
fn the_snippet_changes_what_a_proxy_without_uri_sends_and_nothing_else() {
    // Method, target, body; the answer before the stop and in the lame duck.
    let upload = "x".repeat(20_000);
    let requests = [
        ("GET", "/", "", "seen /\n", "seen /\n"),
        ("GET", "/a%0A", "", "seen /a\n\n", "seen /a\n\n"),
        (
            "GET",
            "/raw/a%20b%3F?c=%2F&d",
            "",
            "GET /raw/a%20b%3F?c=%2F&d 0\n",
            "GET /raw/a%20b%3F?c=%2F&d 0\n",
        ),
        (
            "GET",
            "/raw/a%2Fb//c?d",
            "",
            "GET /raw/a%2Fb//c?d 0\n",
            "GET /raw/a/b/c?d 0\n",
        ),
        (
            "GET",
            "/as-it-came/a%2Fb//c?d=%2F",
            "",
            "GET /as-it-came/a%2Fb//c?d=%2F 0\n",
            "GET /as-it-came/a%2Fb//c?d=%2F 0\n",
        ),
        (
            "POST",
            "/raw/post",
            &upload,
            "POST /raw/post 20000\n",
            "POST /raw/post 20000\n",
        ),
        ("GET", "/accel", "", "open\n", "open\n"),
    ];
    on_each(|debian| {
        let web = start(debian, &["--env=DRAINIT_DELAY=6"], &[]);
        let address = web.address(80);
        let log = web.log();
        let check = |draining: bool| {
            for (method, target, body, before, meanwhile) in requests {
                let (header, answer) = ask(address, method, target, body);
                let expected = if draining { meanwhile } else { before };
                assert_eq!(answer, expected, "{debian:?}: {target}, {header}");
                assert_eq!(
                    header.contains("\r\nConnection: close\r\n"),
                    draining,
                    "{debian:?}: {target}, {header}"
                );
            }
            for target in ["/internal", "/__drain"] {
                let (header, _) = ask(address, "GET", target, "");
                assert!(
                    header.starts_with("HTTP/1.1 404 "),
                    "{debian:?}: {target} is open: {header}"
                );
            }
        };
        check(false);
        docker(&["kill", "--signal=TERM", &web.name]);
        log.wait_for("lame duck");
        check(true);
        assert!(!log.has("<- SIGQUIT"), "{debian:?}: {}", log.text());
        assert_eq!(exit_code(&web), 0, "{debian:?}: {}", log.text());
    });
}
