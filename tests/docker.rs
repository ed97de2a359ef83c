//! The binary that users get, as PID 1 of Docker containers. The images are
//! the example of `docker/nginx-php-fpm` and the stages of
//! `tests/docker/Dockerfile`.
//!
//! Needs Docker and `make dist`, and fails without.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

use containers::{
    Container, PATIENCE, Pages, ROOT, SLOW_BODY, Terminal, Upstream, assert_order, binary,
    binary_image, build, built, command, docker, example, new_name, request, stop, stop_under_load,
    stop_within, wait_until,
};

/// The image of that stage of `tests/docker/Dockerfile`.
fn stage(name: &str) -> String {
    let base = format!("BASE={}", example("nginx-php-fpm"));
    let binary = format!("BINARY={}", binary_image());
    built(name, |tag| {
        let arguments = [
            "--build-arg",
            &base,
            "--build-arg",
            &binary,
            "--target",
            name,
        ];
        let dockerfile = fs::read_to_string(format!("{ROOT}/tests/docker/Dockerfile")).unwrap();
        build(tag, ".", &arguments, &dockerfile);
    })
}

#[test]
fn without_arguments_php_fpm_and_nginx_run_and_no_request_is_lost() {
    let container = Container::start(&[], &stage("web"), &[]);
    let pages = Pages::php(&container, 80);
    let stopped = stop_under_load(&container, &pages);
    let log = container.log();
    let report = log.report();
    assert_order(
        &log.text(),
        &[
            "php-fpm   started",
            "php-fpm   ready",
            "nginx     started",
            "SIGTERM   lame duck",
            "nginx     <- SIGQUIT",
            "nginx     exited 0",
            "php-fpm   workers <- SIGQUIT",
            "php-fpm   master <- SIGQUIT",
            "php-fpm   exited 0",
            "  report  ",
        ],
    );
    assert_eq!(stopped.exit_code, 0, "{report}");
    assert!(stopped.took >= Duration::from_secs(2), "{report}");
}

#[test]
fn with_prefixes_no_request_is_lost_either() {
    let options = ["--env", "DRAINIT_LOG_PREFIX=true"];
    let container = Container::start(&options, &stage("web"), &[]);
    let pages = Pages::php(&container, 80);
    let stopped = stop_under_load(&container, &pages);
    let log = container.log();
    let report = log.report();
    // The last one's last line is before ours.
    assert_order(&log.text(), &["php-fpm: ", "bye-bye!", "  report  "]);
    assert_eq!(stopped.exit_code, 0, "{report}");
}

/// It has nothing that could be executed but drainit, nor /etc/passwd.
#[test]
fn an_image_from_scratch_has_prefixes() {
    let image = binary_image();
    let command = ["--log-prefix", "true", "--", "/drainit", "--version"];
    let printed = docker(&[&["run", "--rm", &image][..], &command].concat());
    assert!(printed.starts_with("drainit: drainit "), "{printed}");
}

#[test]
fn without_arguments_and_php_fpm_nginx_runs_alone() {
    let container = Container::start(&[], &stage("nginx-only"), &[]);
    let pages = Pages::without_php(&container);
    let stopped = stop_under_load(&container, &pages);
    let log = container.log();
    let report = log.report();
    assert!(!log.text().contains("php-fpm"), "{}", log.text());
    assert_eq!(stopped.exit_code, 0, "{report}");
    assert!(stopped.took >= Duration::from_secs(2), "{report}");
}

#[test]
fn an_image_whose_stop_signal_is_quit_is_stopped_the_same_way() {
    let container = Container::start(&[], &stage("sigquit"), &[]);
    let stopped = stop_under_load(&container, &Pages::php(&container, 80));
    let report = container.log().report();
    assert!(report.contains("SIGQUIT, took"), "{report}");
    assert_eq!(stopped.exit_code, 0, "{report}");
    assert!(stopped.took >= Duration::from_secs(2), "{report}");
}

#[test]
fn an_entrypoint_script_that_execs_is_stopped_as_nginx() {
    let container = Container::start(&[], &stage("exec-entrypoint"), &[]);
    let stopped = stop_under_load(&container, &Pages::without_php(&container));
    assert_eq!(stopped.exit_code, 0, "{}", container.log().report());
    assert!(stopped.took >= Duration::from_secs(2));
}

#[test]
fn an_entrypoint_script_without_exec_is_stopped_as_nginx() {
    let container = Container::start(&[], &stage("no-exec-entrypoint"), &[]);
    let stopped = stop_under_load(&container, &Pages::without_php(&container));
    assert_eq!(stopped.exit_code, 0, "{}", container.log().report());
    assert!(stopped.took >= Duration::from_secs(2));
}

#[test]
fn a_shell_that_forks_both_loses_nothing() {
    let script = "php-fpm8.2 -D; nginx -g 'daemon off;'";
    let container = Container::start(&[], &stage("web"), &["sh", "-c", script]);
    let stopped = stop_under_load(&container, &Pages::php(&container, 80));
    assert_eq!(stopped.exit_code, 0, "{}", container.log().report());
}

#[test]
fn responses_close_their_connection_once_the_stop_has_begun() {
    let container = Container::start(&["--env=DRAINIT_DELAY=5"], &example("nginx-php-fpm"), &[]);
    let address = container.serving(80);
    let header = |stream: &mut TcpStream| {
        write!(stream, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut connection = String::new();
        let mut line = String::new();
        // The empty chunk is the answer's end.
        while line != "0\r\n" {
            line.clear();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0, "cut");
            if line.starts_with("Connection: ") {
                connection = line.trim().to_owned();
            }
        }
        reader.read_line(&mut line).unwrap();
        connection
    };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(header(&mut stream), "Connection: keep-alive");
    let log = container.log();
    docker(&["kill", "--signal=TERM", &container.name]);
    log.wait_for("lame duck");
    assert_eq!(header(&mut stream), "Connection: close");
}

/// The kernel has the whole answer and nginx has gone long before this client
/// has it, but with PID 1 the container's interface goes.
#[test]
fn a_slow_reader_gets_the_whole_answer() {
    const LENGTH: usize = 150_000;
    let container = Container::start(&["--env=DRAINIT_DELAY=0"], &stage("web"), &[]);
    let SocketAddr::V4(address) = container.serving(80) else {
        panic!("an IPv6 address");
    };
    let mut stream = connect_with_small_buffer(address);
    write!(stream, "GET /big HTTP/1.0\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = vec![0; 200];
    stream.read_exact(&mut answer).unwrap();

    let log = container.log();
    let name = container.name.clone();
    let stopping = thread::spawn(move || stop(&name));
    let mut had_when_nginx_went = None;
    let mut part = [0; 2048];
    let cut = loop {
        if had_when_nginx_went.is_none() && log.has("nginx     exited 0") {
            had_when_nginx_went = Some(answer.len());
        }
        match stream.read(&mut part) {
            Ok(0) => break None,
            Ok(length) => answer.extend_from_slice(part.get(..length).unwrap()),
            Err(error) => break Some(error),
        }
        // This is how slowly it reads.
        thread::sleep(Duration::from_millis(25));
    };
    let stopped = stopping.join().unwrap();
    let report = log.report();
    let header = answer
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .unwrap()
        + 4;
    assert_eq!(
        answer.len() - header,
        LENGTH,
        "cut short ({cut:?}):\n{}",
        log.text()
    );
    assert!(
        had_when_nginx_went.is_some_and(|had| had < LENGTH - 20_000),
        "nginx itself waited for the client, so this shows nothing: {had_when_nginx_went:?}"
    );
    assert_eq!(stopped.exit_code, 0, "{report}");
}

fn connect_with_small_buffer(address: SocketAddrV4) -> TcpStream {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    // Before it connects: the window's scale is settled then.
    setsockopt(&socket, sockopt::RcvBuf, &4096).unwrap();
    let name = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&name)).unwrap();
    // SAFETY: the descriptor is open, and `name` is a `sockaddr_in` of `length`
    // bytes that lives longer than the call.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const name).cast(), length) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let stream = TcpStream::from(socket);
    // Also tells when the container's interface has gone: nothing comes then.
    stream
        .set_read_timeout(Some(Duration::from_secs(15)))
        .unwrap();
    stream
}

/// `docker stop` would kill after 10 s; that it isn't needed is what the exit
/// code shows.
#[test]
fn a_stuck_request_is_cut_before_docker_kills() {
    let container = Container::start(&[], &stage("web"), &[]);
    let address = container.serving(80);
    let upstream = Upstream::listen();
    let stuck = request(
        address,
        format!("/slow.php?port={}", upstream.port),
        SLOW_BODY,
    );
    upstream.wait_for(1);
    let stopped = container.stop();
    let log = container.log();
    let report = log.report();
    assert_eq!(stopped.exit_code, 143, "{report}");
    assert!(report.contains("SIGTERM"), "{report}");
    assert_order(
        &log.text(),
        &[
            "nginx     exited",
            "php-fpm   exited",
            "warning: out of time: php-fpm after ",
            ", nginx after ",
            " (1 connection left, ",
            "DRAINIT_GRACE_PERIOD",
            "; out of time",
        ],
    );
    assert!(stuck.join().unwrap().is_err());
}

#[test]
fn a_restarted_container_serves_again() {
    // On the root file system, which `docker restart` keeps, unlike /dev/shm.
    let marker = "/var/tmp/marker";
    let option = format!("--env=DRAINIT_MARKER={marker}");
    let container = Container::start(&[&option, "--env=DRAINIT_DELAY=1"], &stage("web"), &[]);
    container.serving(80);
    docker(&["restart", &container.name]);
    let address = container.serving(80);
    request(address, "/".to_owned(), "Hello from PHP\n")
        .join()
        .unwrap()
        .unwrap();
    docker(&["exec", &container.name, "test", "!", "-e", marker]);
    let stopped = container.stop();
    assert_eq!(stopped.exit_code, 0);
}

#[test]
fn a_shell_on_a_terminal_is_usable() {
    Terminal::check_job_control(&[], &stage("web"), &["bash", "--norc"]);
}

#[test]
fn the_image_has_the_binary_alone_and_it_runs() {
    let version = concat!("drainit ", env!("CARGO_PKG_VERSION"));
    // As `make dist` made it, and as these tests did.
    for image in ["drainit", &binary_image()] {
        assert_eq!(docker(&["run", "--rm", image, "--version"]), version);
    }
}

#[test]
fn it_needs_nothing_of_the_image() {
    let image = stage("bare");
    let run = |words: &[&str]| {
        let mut arguments = vec!["run", "--rm", &image];
        arguments.extend(words);
        command("docker", &arguments).output().unwrap()
    };
    let output = run(&["/bin/busybox", "sh", "-c", "echo hello; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"hello\n", "{output:?}");
    // musl's execvp leaves such a script to us.
    let output = run(&["/no-shebang.sh", "words"]);
    assert_eq!(
        output.stdout, b"run by no-shebang.sh with words\n",
        "{output:?}"
    );
    let output = run(&["nothing"]);
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    // Neither nginx nor php-fpm.
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn without_a_libc_orphans_are_reaped_and_a_stop_is_passed_on() {
    let script = "trap 'exit 7' TERM
        for each in $(/bin/busybox seq 50); do (/bin/busybox true &); done
        echo ready
        while :; do /bin/busybox sleep 0.1; done";
    let container = Container::start(&[], &stage("bare"), &["/bin/busybox", "sh", "-c", script]);
    let log = container.log();
    log.wait_for("ready\n");
    let start = Instant::now();
    let ps = ["exec", &container.name, "/bin/busybox", "ps", "-o", "stat"];
    while docker(&ps).contains('Z') {
        assert!(start.elapsed() < PATIENCE, "zombies: {}", log.text());
        thread::sleep(Duration::from_millis(20));
    }
    let stopped = container.stop();
    let report = log.report();
    assert_eq!(stopped.exit_code, 7, "{report}");
    assert!(report.contains("; 50 orphans reaped; exit 7"), "{report}");
}

#[test]
fn the_binary_is_small_and_static() {
    const PT_LOAD: usize = 1;
    const PT_INTERP: usize = 3;
    let binary = fs::read(binary()).unwrap();
    assert!(binary.len() <= 600_000, "{} bytes", binary.len());
    // elf(5): a 64-bit header, whose program headers name the interpreter.
    let number = |offset: usize, length: usize| {
        let bytes = binary.get(offset..offset + length).unwrap();
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!(binary.get(..5).unwrap(), b"\x7fELF\x02");
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let types: Vec<usize> = (0..count)
        .map(|index| number(first + index * size, 4))
        .collect();
    assert!(types.contains(&PT_LOAD), "{types:?}");
    assert!(!types.contains(&PT_INTERP), "{types:?}");
}

/// A network of Docker's, which goes when this does, and where Docker's own resolver
/// listens in each container.
struct Network(String);

impl Network {
    fn new() -> Self {
        let network = Self(new_name());
        docker(&["network", "create", &network.0]);
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = command("docker", &["network", "rm", &self.0]).output();
    }
}

/// Waits until nobody listens on port 80 there. A try to connect would be refused, and
/// counted.
#[track_caller]
fn wait_until_closed(container: &Container) {
    let cat = [
        "exec",
        &container.name,
        "cat",
        "/proc/net/tcp",
        "/proc/net/tcp6",
    ];
    wait_until("port 80 is closed", || {
        let sockets = docker(&cat);
        let mut fields = sockets.lines().map(|line| line.split_ascii_whitespace());
        !fields.any(|mut it| {
            it.nth(1).is_some_and(|local| local.ends_with(":0050")) && it.nth(1) == Some("0A")
        })
    });
}

/// Stops a container that drains a slow request until 20 connections have been refused,
/// and meanwhile the other one, if
/// there is one.
#[track_caller]
fn stop_and_be_refused(nginx: &Container, other: Option<&Container>) {
    let pages = Pages::without_php(nginx);
    let upstream = Upstream::listen();
    let (address, path) = pages.slow;
    let slow = request(address, format!("{path}?port={}", upstream.port), SLOW_BODY);
    upstream.wait_for(1);
    let name = nginx.name.clone();
    let stopping = thread::spawn(move || stop_within(&name, 60));
    wait_until_closed(nginx);
    if let Some(other) = other {
        assert_eq!(other.stop().exit_code, 0);
    }
    for _ in 0..20 {
        let refused = TcpStream::connect(pages.fast.0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    upstream.answer();
    slow.join().unwrap().unwrap();
    let stopped = stopping.join().unwrap();
    assert_eq!(stopped.exit_code, 0, "{}", nginx.log().text());
}

/// A slow request lasts as long as it takes to be refused. The image's health check
/// would be refused, too: without a delay there is no marker.
const PATIENT: [&str; 3] = [
    "--env=DRAINIT_DELAY=0",
    "--env=DRAINIT_GRACE_PERIOD=60",
    "--no-healthcheck",
];

#[test]
fn the_report_says_how_many_connections_were_refused() {
    for network in [None, Some(Network::new())] {
        let network = network.map(|it| (format!("--network={}", it.0), it));
        let mut options = PATIENT.to_vec();
        options.extend(network.as_ref().map(|(option, _)| option.as_str()));
        let nginx = Container::start(&options, &stage("nginx-only"), &[]);
        stop_and_be_refused(&nginx, None);
        let log = nginx.log();
        let report = log.report();
        assert!(report.contains("; 20 refused; nginx drained"), "{report}");
        let advice = "warning: 20 connections were refused after nginx had stopped listening";
        assert!(log.has(advice), "{}", log.text());
    }
}

#[test]
fn the_containers_of_a_pod_say_nothing_of_what_others_may_have_refused() {
    let nginx = Container::start(&PATIENT, &stage("nginx-only"), &[]);
    nginx.serving(80);
    let network = format!("--network=container:{}", nginx.name);
    let options = [&PATIENT[..], &[&network]].concat();
    let listens = "use IO::Socket::INET; $SIG{TERM} = sub { exit }; $s = IO::Socket::INET->new(LocalPort => 6379, \
                   Listen => 9) or die; $| = 1; print qq(listens\\n); sleep 1 while 1";
    let other = Container::start(&options, &stage("pod"), &["perl", "-e", listens]);
    let other_log = other.log();
    other_log.wait_for("listens");
    stop_and_be_refused(&nginx, Some(&other));
    for log in [nginx.log(), other_log] {
        log.report();
        assert!(!log.text().contains("refused"), "{}", log.text());
    }
}

/// Who of a pod is told first, and how long before the other.
#[derive(Clone, Copy, Debug)]
enum First {
    PhpFpm(Duration),
    Nginx(Duration),
}

/// Stops a pod of two containers, that share their network with a third one,
/// under load: new requests until a second after nginx was told, an upload that
/// isn't all there by then, and a slow request. A stop that waits for its
/// deadline says so and fails.
#[track_caller]
fn stop_pod(port: u16, first: First) {
    // It listens, keeps who connects, and stops for nobody.
    let third = Container::start(
        &["--entrypoint=perl"],
        &stage("pod"),
        &[
            "-MIO::Socket::INET",
            "-e",
            "my $s = IO::Socket::INET->new(LocalPort => 6379, Listen => 64) or die; \
             while (my $c = $s->accept) { push @kept, $c }",
        ],
    );
    let network = format!("--network=container:{}", third.name);
    let address = third.address(port);
    let php_fpm = Container::start(
        &[&network, "--volume=/run", "--env=DRAINIT_GRACE_PERIOD=30"],
        &stage("pod"),
        &["--service", "php-fpm"],
    );
    let volumes = format!("--volumes-from={}", php_fpm.name);
    let nginx = Container::start(
        &[&network, &volumes, "--env=DRAINIT_GRACE_PERIOD=30"],
        &stage("pod"),
        &["--service", "nginx"],
    );
    let (php_fpm_log, nginx_log) = (php_fpm.log(), nginx.log());
    php_fpm_log.wait_for("ready");
    nginx_log.wait_for("ready");

    let upstream = Upstream::listen();
    let mut requests = vec![request(
        address,
        format!("/slow.php?port={}", upstream.port),
        SLOW_BODY,
    )];
    upstream.wait_for(1);
    let mut upload = TcpStream::connect(address).unwrap();
    upload.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /pod.php HTTP/1.0\r\nHost: test\r\nContent-Length: 6\r\n\r\nabc";
    upload.write_all(head.as_bytes()).unwrap();

    let (names, gap) = match first {
        First::PhpFpm(gap) => ([&php_fpm.name, &nginx.name], gap),
        First::Nginx(gap) => ([&nginx.name, &php_fpm.name], gap),
    };
    let nginx_comes_at = match first {
        First::PhpFpm(gap) => gap,
        First::Nginx(_) => Duration::ZERO,
    };
    let start = Instant::now();
    let stops = [Duration::ZERO, gap]
        .into_iter()
        .zip(names.map(Clone::clone));
    let stops: Vec<_> = stops
        .map(|(wait, name)| {
            thread::spawn(move || {
                thread::sleep(wait);
                stop_within(&name, 30)
            })
        })
        .collect();
    while start.elapsed() < nginx_comes_at + Duration::from_secs(1) {
        requests.push(request(address, "/pod.php".to_owned(), "0\n"));
        // The rate of requests.
        thread::sleep(Duration::from_millis(50));
    }
    nginx_log.wait_for("<- SIGQUIT");
    php_fpm_log.wait_for("lame duck");
    // The lame duck is over, so that only the wait keeps php-fpm now.
    php_fpm_log.wait_for("waits until nobody sends to it");
    upstream.answer();
    let rest = requests.into_iter();
    let mut lost: Vec<String> = rest.filter_map(|one| one.join().unwrap().err()).collect();
    // A slow client: by now nobody has sent anything for longer than `quiet`.
    thread::sleep(Duration::from_secs(2));
    upload.write_all(b"def").unwrap();
    let mut answer = String::new();
    let read = upload.read_to_string(&mut answer);
    if read.is_err() || !answer.ends_with("\r\n\r\n6\n") {
        lost.push(format!("the upload: {read:?} {answer}"));
    }
    let logs = || format!("{}\n{}", nginx_log.text(), php_fpm_log.text());
    assert!(lost.is_empty(), "{first:?} {port}: {lost:?}\n{}", logs());
    for stop in stops {
        assert_eq!(stop.join().unwrap().exit_code, 0, "{}", logs());
    }
    let report = php_fpm_log.report();
    assert!(report.contains("php-fpm waited "), "{report}");
    assert!(!logs().contains("no time is left"), "{}", logs());
}

/// Apart by up to three seconds, either first.
fn stop_pods(port: u16) {
    thread::scope(|scope| {
        for gap in [0, 3] {
            let gap = Duration::from_secs(gap);
            for first in [First::PhpFpm(gap), First::Nginx(gap)] {
                scope.spawn(move || stop_pod(port, first));
            }
        }
    });
}

#[test]
fn a_pod_whose_php_fpm_is_asked_by_a_unix_socket_loses_nothing() {
    stop_pods(8001);
}

#[test]
fn a_pod_whose_php_fpm_is_asked_by_tcp_loses_nothing() {
    stop_pods(8002);
}

/// A connection to such a port may be one of php-fpm's own, to a database, unless
/// somebody listened there when the stop began.
#[test]
fn a_pod_whose_port_is_one_that_connections_get_loses_nothing() {
    stop_pod(40002, First::Nginx(Duration::ZERO));
}

#[test]
fn a_pod_with_kept_connections_by_a_unix_socket_loses_nothing() {
    stop_pods(8003);
}

#[test]
fn a_pod_with_kept_connections_by_tcp_loses_nothing() {
    stop_pods(8004);
}

#[test]
fn a_php_fpm_waits_for_the_listener_that_it_was_told_of() {
    let nginx = Container::start(&[], &stage("pod"), &["--service", "nginx"]);
    nginx.log().wait_for("ready");
    let network = format!("--network=container:{}", nginx.name);
    let php_fpm = Container::start(
        &[&network, "--env=DRAINIT_STOP_AFTER=tcp:8001"],
        &stage("pod"),
        &["--service", "php-fpm"],
    );
    let log = php_fpm.log();
    log.wait_for("ready");
    // This nginx stays: only time ends the wait, which is no failure.
    assert_eq!(php_fpm.stop().exit_code, 0, "{}", log.report());
    assert_order(
        &log.text(),
        &[
            "php-fpm   waits until nobody sends to it",
            "php-fpm   somebody still listens on port 8001: no time is left",
            "php-fpm   workers <- SIGQUIT",
            "php-fpm   exited 0",
        ],
    );
}

// --- drainit ready -------------------------------------------------------------

/// A service that never listens, though it bears a preset's name: it waits until
/// drainit is ready, and there is nothing else in that image.
const NEVER_READY: &str = "php-fpm=/drainit ready --wait 1h";

/// What that drainit says, and whether the exit code is 0.
fn ready(container: &Container, drainit: &str) -> (String, bool) {
    let output = command("docker", &["exec", &container.name, drainit, "ready"])
        .output()
        .unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        output.status.success(),
    )
}

#[test]
fn it_says_whether_it_is_ready_in_any_container() {
    let starting = ("starting\n".to_owned(), false);
    for options in [
        &["--read-only"][..],
        &[
            "--read-only",
            "--user=12345:12345",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
        ],
        &["--network=host"],
        &["--network=none", "--pid=host"],
    ] {
        let words = ["--service", NEVER_READY];
        let container = Container::start(options, &binary_image(), &words);
        container.log().wait_for("php-fpm   started");
        assert_eq!(ready(&container, "/drainit"), starting, "{options:?}");
        docker(&["rm", "--force", &container.name]);
    }
}

/// They share the network and the process ids.
#[test]
fn each_container_of_a_pod_has_its_own_drainit_asked() {
    let first = Container::start(&[], &stage("pod"), &["--", "sleep", "600"]);
    first.log().wait_for("started");
    let of_first = format!("container:{}", first.name);
    let shared = ["--network", &of_first, "--pid", &of_first];
    let second = Container::start(&shared, &stage("pod"), &["--service", "php-fpm=sleep 600"]);
    second.log().wait_for("php-fpm   started");
    for _ in 0..2 {
        assert_eq!(ready(&first, "drainit"), ("ready\n".to_owned(), true));
        assert_eq!(ready(&second, "drainit"), ("starting\n".to_owned(), false));
    }
}

#[test]
fn the_importer_needs_nothing_beside_it() {
    let image = built("importer", |tag| {
        let name = format!("drainit-import-{}-linux-musl", std::env::consts::ARCH);
        let path = format!("{ROOT}/dist/{name}");
        assert!(fs::exists(&path).unwrap(), "{path} isn't there: make dist");
        let dockerfile = format!("FROM scratch\nCOPY {name} /drainit-import\n");
        build(tag, "dist", &[], &dockerfile);
    });
    let run = ["run", "--rm", "-i", "--entrypoint", "/drainit-import"];
    let mut child = command("docker", &run)
        .args([&image, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"[program:x]\ncommand=/x\nautorestart=true\n")
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("-:3: was wrong: autorestart=true: "),
        "{said}"
    );
    let file = String::from_utf8(output.stdout).unwrap();
    assert!(
        file.ends_with("[[service]]\nname = \"x\"\ncommand = \"/x\"\nrestart = \"always\"\n"),
        "{file}"
    );
}
