//! The binary that users get, as PID 1 of Docker containers. The images are
//! the example of `docker/nginx-php-fpm` and the stages of
//! `tests/docker/Dockerfile`.
//!
//! Needs Docker and `make dist`, and fails without.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

/// How long to wait for what should happen soon. Only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

// --- Docker -----------------------------------------------------------------

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(ROOT);
    command
}

/// Runs a command that must succeed, with this standard input; returns what it
/// printed.
#[track_caller]
fn run_with_input(mut command: Command, input: &str) -> String {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; these tests need Docker"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[track_caller]
fn docker(arguments: &[&str]) -> String {
    run_with_input(command("docker", arguments), "")
}

/// The binary of `make dist`.
fn binary() -> PathBuf {
    let path = PathBuf::from(format!(
        "{ROOT}/dist/drainit-{}-linux-musl",
        std::env::consts::ARCH
    ));
    assert!(path.exists(), "{} isn't there: make dist", path.display());
    path
}

/// The image of that stage of `tests/docker/Dockerfile`, or `binary` or
/// `example`. The first call builds them all.
fn image(stage: &str) -> String {
    static PREFIX: OnceLock<String> = OnceLock::new();
    let prefix = PREFIX.get_or_init(|| {
        // Of one name in each run, so that the layer cache finds them, and of
        // another one in each tree, so that two trees can be tested at a time.
        let hash = ROOT.bytes().fold(0_u32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        });
        let prefix = format!("drainit-test-{hash:08x}");
        build_images(&prefix);
        prefix
    });
    format!("{prefix}-{stage}")
}

fn build_images(prefix: &str) {
    run_with_input(command("docker/base-images", &["debian:bookworm-slim"]), "");
    let binary = binary();
    let file = binary.file_name().unwrap().to_str().unwrap();
    let build = |tag: &str, context: &str, more: &[&str], dockerfile: &str| {
        let tag = format!("{prefix}-{tag}");
        let mut arguments = vec!["build", "--quiet", "--tag", &tag, "--file", "-"];
        arguments.extend(more);
        arguments.push(context);
        run_with_input(command("docker", &arguments), dockerfile);
    };
    build(
        "binary",
        "dist",
        &[],
        &format!("FROM scratch\nCOPY {file} /drainit\nENTRYPOINT [\"/drainit\"]\n"),
    );
    let example = fs::read_to_string(format!("{ROOT}/docker/nginx-php-fpm/Dockerfile")).unwrap();
    let ours = example.replace("--from=drainit ", &format!("--from={prefix}-binary "));
    assert_ne!(ours, example);
    build("example", "docker/nginx-php-fpm", &[], &ours);
    let stages = fs::read_to_string(format!("{ROOT}/tests/docker/Dockerfile")).unwrap();
    for stage in [
        "web",
        "sigquit",
        "nginx-only",
        "exec-entrypoint",
        "no-exec-entrypoint",
        "unprivileged",
        "pod",
        "bare",
    ] {
        let base = format!("BASE={prefix}-example");
        let binary = format!("BINARY={prefix}-binary");
        let more = [
            "--target",
            stage,
            "--build-arg",
            &base,
            "--build-arg",
            &binary,
        ];
        build(stage, ".", &more, &stages);
    }
}

/// Of no other container.
fn new_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("drainit-test-{}-{count}", std::process::id())
}

/// A container, which goes when this does.
struct Container {
    name: String,
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = command("docker", &["rm", "--force", "--volumes", &self.name]).output();
    }
}

/// How a container was stopped.
struct Stopped {
    took: Duration,
    exit_code: i32,
}

impl Container {
    /// `docker run` with these options of an image, and the command's words.
    #[track_caller]
    fn start(options: &[&str], stage: &str, words: &[&str]) -> Self {
        let image = image(stage);
        let container = Self { name: new_name() };
        let mut arguments = vec!["run", "--detach", "--name", &container.name];
        arguments.extend(options);
        arguments.push(&image);
        arguments.extend(words);
        docker(&arguments);
        container
    }

    #[track_caller]
    fn inspect(&self, what: &str) -> String {
        docker(&["inspect", "--format", what, &self.name])
    }

    #[track_caller]
    fn address(&self, port: u16) -> SocketAddr {
        let ip = self.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
        let ip = ip
            .parse()
            .unwrap_or_else(|_| panic!("it has ended: {}", self.printed()));
        SocketAddr::new(ip, port)
    }

    /// Where it answers, once it does.
    #[track_caller]
    fn serving(&self, port: u16) -> SocketAddr {
        let address = self.address(port);
        let start = Instant::now();
        // An empty answer is none; what it says doesn't matter here.
        while get(address, "/robots.txt").is_none_or(|answer| answer.contains(" 502 ")) {
            assert!(
                start.elapsed() < PATIENCE,
                "doesn't serve: {}",
                self.printed()
            );
            thread::sleep(Duration::from_millis(20));
        }
        address
    }

    /// What it has printed so far.
    fn printed(&self) -> String {
        let output = command("docker", &["logs", &self.name]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn log(&self) -> Log {
        Log::follow(&self.name)
    }

    #[track_caller]
    fn stop(&self) -> Stopped {
        stop(&self.name)
    }
}

/// `docker stop`, by its default grace period of 10 s.
#[track_caller]
fn stop(name: &str) -> Stopped {
    stop_within(name, 10)
}

/// `docker stop`, by a grace period in seconds.
#[track_caller]
fn stop_within(name: &str, seconds: u32) -> Stopped {
    let start = Instant::now();
    docker(&["stop", "--time", &seconds.to_string(), name]);
    let took = start.elapsed();
    let state = docker(&["inspect", "--format", "{{.State.ExitCode}}", name]);
    Stopped {
        took,
        exit_code: state.parse().unwrap(),
    }
}

/// What a container prints, while it does.
struct Log {
    follower: Child,
    lines: Arc<(Mutex<String>, Condvar)>,
}

impl Drop for Log {
    fn drop(&mut self) {
        // It ends by itself with the container.
        let _ = self.follower.kill();
        let _ = self.follower.wait();
    }
}

impl Log {
    fn follow(name: &str) -> Self {
        let mut follower = command("docker", &["logs", "--follow", name])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new((Mutex::default(), Condvar::new()));
        collect(follower.stdout.take().unwrap(), Piece::Line, &lines);
        collect(follower.stderr.take().unwrap(), Piece::Line, &lines);
        Self { follower, lines }
    }

    fn text(&self) -> String {
        self.lines.0.lock().unwrap().clone()
    }

    fn has(&self, text: &str) -> bool {
        self.lines.0.lock().unwrap().contains(text)
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_for(&self.lines, text);
    }

    /// The report is its last line.
    #[track_caller]
    fn report(&self) -> String {
        self.wait_for("; exit ");
        let text = self.text();
        let report = text.lines().rfind(|line| line.contains("  report  "));
        report.unwrap().to_owned()
    }
}

/// Adds to the text what is read, as it comes or in whole lines.
fn collect(reader: impl Read + Send + 'static, by: Piece, text: &Arc<(Mutex<String>, Condvar)>) {
    let text = Arc::clone(text);
    let mut reader = BufReader::new(reader);
    thread::spawn(move || {
        let mut piece = Vec::new();
        loop {
            match by {
                Piece::Line => {
                    reader.read_until(b'\n', &mut piece).unwrap();
                }
                Piece::Any => {
                    // A terminal whose other end has gone can't be read.
                    piece.extend_from_slice(reader.fill_buf().unwrap_or_default());
                    reader.consume(piece.len());
                }
            }
            if piece.is_empty() {
                return;
            }
            let (text, changed) = &*text;
            text.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&piece));
            changed.notify_all();
            piece.clear();
        }
    });
}

#[derive(Clone, Copy)]
enum Piece {
    /// Two streams don't mix within one.
    Line,
    /// A prompt is no whole line.
    Any,
}

#[track_caller]
fn wait_for(lines: &(Mutex<String>, Condvar), text: &str) {
    let (lines, changed) = lines;
    let (lines, timeout) = changed
        .wait_timeout_while(lines.lock().unwrap(), PATIENCE, |lines| {
            !lines.contains(text)
        })
        .unwrap();
    let printed = lines.clone();
    drop(lines);
    assert!(!timeout.timed_out(), "no {text:?} in:\n{printed}");
}

// --- requests ---------------------------------------------------------------

/// All that the server sent, or `None` where it can't be connected to.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // HTTP/1.0: the answer ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let _ = write!(answer, "\n[then: {error}]");
    }
    (!answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
}

/// A request that must be answered by exactly this body.
fn request(
    address: SocketAddr,
    path: String,
    body: &'static str,
) -> JoinHandle<Result<(), String>> {
    thread::spawn(move || match get(address, &path) {
        Some(answer)
            if answer.starts_with("HTTP/1.1 200 ")
                && answer.split_once("\r\n\r\n").map(|(_, body)| body) == Some(body) =>
        {
            Ok(())
        }
        Some(answer) => Err(format!("{path}: {answer}")),
        None => Err(format!("{path}: refused or cut")),
    })
}

/// What slow requests wait for: it answers when the test says so.
struct Upstream {
    port: u16,
    state: Arc<(Mutex<UpstreamState>, Condvar)>,
}

#[derive(Default)]
struct UpstreamState {
    waiting: usize,
    answers: bool,
}

const SLOW_BODY: &str = "slow, but whole\n";

impl Upstream {
    fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<(Mutex<UpstreamState>, Condvar)>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    let mut line = String::new();
                    while stream.read_line(&mut line).unwrap_or(0) > 2 {
                        line.clear();
                    }
                    let (state, changed) = &*state;
                    let mut state = state.lock().unwrap();
                    state.waiting += 1;
                    changed.notify_all();
                    drop(changed.wait_while(state, |state| !state.answers).unwrap());
                    // Whoever asked may have gone.
                    let _ = write!(stream.get_mut(), "HTTP/1.0 200 OK\r\n\r\n{SLOW_BODY}");
                });
            }
        });
        Self { port, state }
    }

    #[track_caller]
    fn wait_for(&self, requests: usize) {
        let (state, changed) = &*self.state;
        let (state, timeout) = changed
            .wait_timeout_while(state.lock().unwrap(), PATIENCE, |state| {
                state.waiting < requests
            })
            .unwrap();
        let waiting = state.waiting;
        drop(state);
        assert!(
            !timeout.timed_out(),
            "{waiting} of {requests} requests came to the upstream"
        );
    }

    fn answer(&self) {
        let (state, changed) = &*self.state;
        state.lock().unwrap().answers = true;
        changed.notify_all();
    }
}

/// What to ask for, fast and slow.
struct Pages {
    fast: (SocketAddr, &'static str, &'static str),
    slow: (SocketAddr, &'static str),
}

impl Pages {
    /// Both by PHP.
    #[track_caller]
    fn php(container: &Container, port: u16) -> Self {
        let address = container.serving(port);
        Self {
            fast: (address, "/", "Hello from PHP\n"),
            slow: (address, "/slow.php"),
        }
    }

    /// Both by nginx alone.
    #[track_caller]
    fn without_php(container: &Container) -> Self {
        let (address, proxy) = (container.serving(80), container.serving(8081));
        Self {
            fast: (address, "/robots.txt", "Disallow:\n"),
            slow: (proxy, "/"),
        }
    }
}

/// Stops a container while slow requests run and fast ones come, which go on
/// coming for a second: that is how late a load balancer learns of it. None may
/// be lost. The slow ones are answered only when nginx was told to stop.
#[track_caller]
fn stop_under_load(container: &Container, pages: &Pages) -> Stopped {
    let upstream = Upstream::listen();
    let slow = || {
        let (address, path) = pages.slow;
        request(address, format!("{path}?port={}", upstream.port), SLOW_BODY)
    };
    let mut requests: Vec<_> = (0..8).map(|_| slow()).collect();
    upstream.wait_for(requests.len());
    let log = container.log();
    let name = container.name.clone();
    let start = Instant::now();
    let stopping = thread::spawn(move || stop(&name));
    let mut after_the_signal = 0;
    // On a busy machine the signal may come late.
    while start.elapsed() < Duration::from_secs(1)
        || after_the_signal < 10 && !stopping.is_finished()
    {
        let (address, path, body) = pages.fast;
        requests.push(request(address, path.to_owned(), body));
        if log.has("lame duck") {
            after_the_signal += 1;
            if after_the_signal % 20 == 0 {
                requests.push(slow());
            }
        }
        // The rate of requests.
        thread::sleep(Duration::from_millis(10));
    }
    log.wait_for("<- SIGQUIT");
    upstream.answer();
    let count = requests.len();
    let lost: Vec<String> = requests
        .into_iter()
        .filter_map(|request| request.join().unwrap().err())
        .collect();
    let stopped = stopping.join().unwrap();
    let some = lost.iter().take(5).fold(String::new(), |mut text, lost| {
        let _ = writeln!(text, "{lost}");
        text
    });
    let log = log.text();
    assert!(
        lost.is_empty(),
        "{} of {count} requests lost, such as\n{some}\n{log}",
        lost.len()
    );
    assert!(
        after_the_signal > 0,
        "none was sent after the signal:\n{log}"
    );
    stopped
}

/// That these lines are in the log, in this order.
#[track_caller]
fn assert_order(log: &str, lines: &[&str]) {
    let mut rest = log;
    for line in lines {
        match rest.split_once(line) {
            Some((_, after)) => rest = after,
            None => panic!("no {line:?} where it should be in:\n{log}"),
        }
    }
}

// --- tests ------------------------------------------------------------------

#[test]
fn without_arguments_php_fpm_and_nginx_run_and_no_request_is_lost() {
    let container = Container::start(&[], "web", &[]);
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
fn without_arguments_and_php_fpm_nginx_runs_alone() {
    let container = Container::start(&[], "nginx-only", &[]);
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
    let container = Container::start(&[], "sigquit", &[]);
    let stopped = stop_under_load(&container, &Pages::php(&container, 80));
    let report = container.log().report();
    assert!(report.contains("SIGQUIT, took"), "{report}");
    assert_eq!(stopped.exit_code, 0, "{report}");
    assert!(stopped.took >= Duration::from_secs(2), "{report}");
}

#[test]
fn an_entrypoint_script_that_execs_is_stopped_as_nginx() {
    let container = Container::start(&[], "exec-entrypoint", &[]);
    let stopped = stop_under_load(&container, &Pages::without_php(&container));
    assert_eq!(stopped.exit_code, 0, "{}", container.log().report());
    assert!(stopped.took >= Duration::from_secs(2));
}

#[test]
fn an_entrypoint_script_without_exec_is_stopped_as_nginx() {
    let container = Container::start(&[], "no-exec-entrypoint", &[]);
    let stopped = stop_under_load(&container, &Pages::without_php(&container));
    assert_eq!(stopped.exit_code, 0, "{}", container.log().report());
    assert!(stopped.took >= Duration::from_secs(2));
}

#[test]
fn a_shell_that_forks_both_loses_nothing() {
    let script = "php-fpm8.2 -D; nginx -g 'daemon off;'";
    let container = Container::start(&[], "web", &["sh", "-c", script]);
    let stopped = stop_under_load(&container, &Pages::php(&container, 80));
    assert_eq!(stopped.exit_code, 0, "{}", container.log().report());
}

#[test]
fn another_user_on_a_read_only_root_is_served_and_stopped() {
    let container = Container::start(
        &[
            "--user=33:33",
            "--read-only",
            "--cap-drop=ALL",
            "--tmpfs=/tmp",
            // The runtime gives it the mode of the image's directory.
            "--tmpfs=/run:uid=33,gid=33",
            "--tmpfs=/var/lib/nginx:uid=33,gid=33",
        ],
        "unprivileged",
        &[],
    );
    let stopped = stop_under_load(&container, &Pages::php(&container, 8080));
    let log = container.log();
    let report = log.report();
    assert_eq!(stopped.exit_code, 0, "{report}");
    // It saw what it needs to: sockets, children, and where to put the marker.
    assert!(
        !log.text()
            .lines()
            .any(|line| line.starts_with("drainit: ") && line.contains("warning")),
        "{}",
        log.text()
    );
}

#[test]
fn responses_close_their_connection_once_the_stop_has_begun() {
    let container = Container::start(&["--env=DRAINIT_DELAY=5"], "example", &[]);
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
    let container = Container::start(&["--env=DRAINIT_DELAY=0"], "web", &[]);
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
    let container = Container::start(&[], "web", &[]);
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
    assert!(report.contains("grace period"), "{report}");
    assert_order(&log.text(), &["nginx     exited", "php-fpm   exited"]);
    assert!(stuck.join().unwrap().is_err());
}

#[test]
fn a_restarted_container_serves_again() {
    // On the root file system, which `docker restart` keeps, unlike /dev/shm.
    let marker = "/var/tmp/marker";
    let option = format!("--env=DRAINIT_MARKER={marker}");
    let container = Container::start(&[&option, "--env=DRAINIT_DELAY=1"], "web", &[]);
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
    let container = Container { name: new_name() };
    let line = format!(
        "docker run -it --rm --name {} {} bash --norc",
        container.name,
        image("web")
    );
    // It makes the terminal, and returns the exit code.
    let mut script = command("script", &["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = script.stdin.take().unwrap();
    let screen = Arc::new((Mutex::default(), Condvar::new()));
    collect(script.stdout.take().unwrap(), Piece::Any, &screen);
    let mut type_in = |text: &str| keys.write_all(text.as_bytes()).unwrap();

    wait_for(&screen, "# ");
    // The sums show that the shell has done it: what is typed is shown, too.
    type_in("read -p $((1000 + 1)) word\n");
    wait_for(&screen, "1001");
    type_in("something\n");
    type_in("echo $((1000 + 2)) $word\n");
    wait_for(&screen, "1002 something");
    type_in("sleep 1000\n");
    let start = Instant::now();
    while !docker(&["top", &container.name]).contains("sleep 1000") {
        assert!(start.elapsed() < PATIENCE, "no sleep runs");
        thread::sleep(Duration::from_millis(20));
    }
    type_in("\x03");
    type_in("echo $((1000 + 3)) status $?\n");
    wait_for(&screen, "1003 status 130");
    type_in("exit 7\n");
    let status = script.wait().unwrap();
    let screen = screen.0.lock().unwrap().clone();
    assert!(!screen.contains("job control"), "{screen}");
    assert_eq!(status.code(), Some(7), "{screen}");
}

#[test]
fn the_image_has_the_binary_alone_and_it_runs() {
    let version = concat!("drainit ", env!("CARGO_PKG_VERSION"));
    // As `make dist` made it, and as these tests did.
    for image in ["drainit", &image("binary")] {
        assert_eq!(docker(&["run", "--rm", image, "--version"]), version);
    }
}

#[test]
fn it_needs_nothing_of_the_image() {
    let image = image("bare");
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

#[test]
fn the_example_has_the_snippet_as_it_is_printed() {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let snippet = docker(&["run", "--rm", &image("binary"), "nginx-snippet"]);
    let site = fs::read_to_string(format!("{ROOT}/docker/nginx-php-fpm/nginx.conf")).unwrap();
    assert!(squeeze(&site).contains(&squeeze(&snippet)), "{site}");
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
        "pod",
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
        "pod",
        &["--service", "php-fpm"],
    );
    let volumes = format!("--volumes-from={}", php_fpm.name);
    let nginx = Container::start(
        &[&network, &volumes, "--env=DRAINIT_GRACE_PERIOD=30"],
        "pod",
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
    let nginx = Container::start(&[], "pod", &["--service", "nginx"]);
    nginx.log().wait_for("ready");
    let network = format!("--network=container:{}", nginx.name);
    let php_fpm = Container::start(
        &[&network, "--env=DRAINIT_STOP_AFTER=tcp:8001"],
        "pod",
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
