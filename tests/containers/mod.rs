//! Containers, and requests to them.
//!
//! Needs Docker and `make dist`, and fails without.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long to wait for what should happen soon. Only a failure takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

// --- Docker -----------------------------------------------------------------

/// The socket of the engine that is asked, where that isn't the machine's own.
pub(crate) static ENGINE: OnceLock<String> = OnceLock::new();

pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(ROOT);
    if let Some(engine) = ENGINE.get() {
        command.env("DOCKER_HOST", engine);
    }
    command
}

/// Runs a command that must succeed, with this standard input; returns what it
/// printed.
#[track_caller]
pub(crate) fn run_with_input(mut command: Command, input: &str) -> String {
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
pub(crate) fn docker(arguments: &[&str]) -> String {
    run_with_input(command("docker", arguments), "")
}

/// The binary of `make dist`.
pub(crate) fn binary() -> PathBuf {
    let path = PathBuf::from(format!(
        "{ROOT}/dist/drainit-{}-linux-musl",
        std::env::consts::ARCH
    ));
    assert!(path.exists(), "{} isn't there: make dist", path.display());
    path
}

/// What was built, by name.
type Built = BTreeMap<String, Arc<OnceLock<()>>>;

/// The tag of the image of this name, which is built when it is first asked for.
pub(crate) fn built(name: &str, build: impl FnOnce(&str)) -> String {
    static BUILT: Mutex<Built> = Mutex::new(BTreeMap::new());
    // Of one name in each run, so that the layer cache finds them, and of
    // another one in each tree, so that two trees can be tested at a time.
    let hash = ROOT.bytes().fold(0_u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    let tag = format!("drainit-test-{hash:08x}-{name}");
    let once = Arc::clone(BUILT.lock().unwrap().entry(name.to_owned()).or_default());
    once.get_or_init(|| build(&tag));
    tag
}

/// Builds that Dockerfile in that directory.
#[track_caller]
pub(crate) fn build(tag: &str, context: &str, more: &[&str], dockerfile: &str) {
    let mut arguments = vec!["build", "--quiet", "--tag", tag, "--file", "-"];
    arguments.extend(more);
    arguments.push(context);
    run_with_input(command("docker", &arguments), dockerfile);
}

/// The image that has the binary and nothing else.
pub(crate) fn binary_image() -> String {
    built("binary", |tag| {
        let binary = binary();
        let file = binary.file_name().unwrap().to_str().unwrap();
        let dockerfile = format!("FROM scratch\nCOPY {file} /drainit\nENTRYPOINT [\"/drainit\"]\n");
        build(tag, "dist", &[], &dockerfile);
    })
}

/// The image of the example in that directory of `docker/`.
pub(crate) fn example(name: &str) -> String {
    let from = binary_image();
    built(&format!("example-{name}"), |tag| {
        build_example(tag, name, &from, &[]);
    })
}

/// The same on Debian trixie, whose PHP is 8.4.
pub(crate) fn example_on_trixie(name: &str) -> String {
    let from = binary_image();
    built(&format!("trixie-{name}"), |tag| {
        build_example(tag, name, &from, &[("bookworm", "trixie"), ("8.2", "8.4")]);
    })
}

fn build_example(tag: &str, name: &str, binary: &str, changes: &[(&str, &str)]) {
    let directory = format!("docker/{name}");
    let path = format!("{ROOT}/{directory}/Dockerfile");
    let mut dockerfile =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let from = format!("--from={binary} ");
    for (old, new) in [("--from=drainit ", from.as_str())].iter().chain(changes) {
        assert!(dockerfile.contains(old), "no {old:?} in {path}");
        dockerfile = dockerfile.replace(old, new);
    }
    let base = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("FROM "));
    let base = base.and_then(|base| base.split(' ').next()).unwrap();
    built(base, |_| {
        run_with_input(command("docker/base-images", &[base]), "");
    });
    build(tag, &directory, &[], &dockerfile);
}

/// Of no other container.
pub(crate) fn new_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("drainit-test-{}-{count}", std::process::id())
}

/// A container, which goes when this does.
pub(crate) struct Container {
    pub(crate) name: String,
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = command("docker", &["rm", "--force", "--volumes", &self.name]).output();
    }
}

/// How a container was stopped.
pub(crate) struct Stopped {
    pub(crate) took: Duration,
    pub(crate) exit_code: i32,
}

impl Container {
    /// `docker run` with these options of an image, and these words.
    #[track_caller]
    pub(crate) fn start(options: &[&str], image: &str, words: &[&str]) -> Self {
        let container = Self { name: new_name() };
        let mut arguments = vec!["run", "--detach", "--name", &container.name];
        arguments.extend(options);
        arguments.push(image);
        arguments.extend(words);
        docker(&arguments);
        container
    }

    #[track_caller]
    pub(crate) fn inspect(&self, what: &str) -> String {
        docker(&["inspect", "--format", what, &self.name])
    }

    #[track_caller]
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        let ip = self.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
        let ip = ip
            .parse()
            .unwrap_or_else(|_| panic!("it has ended: {}", self.printed()));
        SocketAddr::new(ip, port)
    }

    /// Where it answers, once it does.
    #[track_caller]
    pub(crate) fn serving(&self, port: u16) -> SocketAddr {
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
    pub(crate) fn printed(&self) -> String {
        let output = command("docker", &["logs", &self.name]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    pub(crate) fn log(&self) -> Log {
        Log::follow(&self.name)
    }

    #[track_caller]
    pub(crate) fn stop(&self) -> Stopped {
        stop(&self.name)
    }
}

/// `docker stop`, by its default grace period of 10 s.
#[track_caller]
pub(crate) fn stop(name: &str) -> Stopped {
    stop_within(name, 10)
}

/// `docker stop`, by a grace period in seconds.
#[track_caller]
pub(crate) fn stop_within(name: &str, seconds: u32) -> Stopped {
    let start = Instant::now();
    docker(&["stop", "-t", &seconds.to_string(), name]);
    let took = start.elapsed();
    let state = docker(&["inspect", "--format", "{{.State.ExitCode}}", name]);
    Stopped {
        took,
        exit_code: state.parse().unwrap(),
    }
}

/// Waits until that holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a container prints, while it does.
pub(crate) struct Log {
    pub(crate) follower: Child,
    pub(crate) lines: Arc<(Mutex<String>, Condvar)>,
}

impl Drop for Log {
    fn drop(&mut self) {
        // It ends by itself with the container.
        let _ = self.follower.kill();
        let _ = self.follower.wait();
    }
}

impl Log {
    pub(crate) fn follow(name: &str) -> Self {
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

    pub(crate) fn text(&self) -> String {
        self.lines.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.lines.0.lock().unwrap().contains(text)
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        wait_for(&self.lines, text);
    }

    /// Waits until one of these is there.
    #[track_caller]
    pub(crate) fn wait_for_any(&self, texts: &[&str]) {
        wait_for_any(&self.lines, texts);
    }

    /// The report is its last line.
    #[track_caller]
    pub(crate) fn report(&self) -> String {
        self.wait_for("; exit ");
        let text = self.text();
        let report = text.lines().rfind(|line| line.contains("  report  "));
        report.unwrap().to_owned()
    }
}

/// Adds to the text what is read, as it comes or in whole lines.
pub(crate) fn collect(
    reader: impl Read + Send + 'static,
    by: Piece,
    text: &Arc<(Mutex<String>, Condvar)>,
) {
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
pub(crate) enum Piece {
    /// Two streams don't mix within one.
    Line,
    /// A prompt is no whole line.
    Any,
}

#[track_caller]
pub(crate) fn wait_for(lines: &(Mutex<String>, Condvar), text: &str) {
    wait_for_any(lines, &[text]);
}

#[track_caller]
fn wait_for_any(lines: &(Mutex<String>, Condvar), texts: &[&str]) {
    let (lines, changed) = lines;
    let (lines, timeout) = changed
        .wait_timeout_while(lines.lock().unwrap(), PATIENCE, |lines| {
            !texts.iter().any(|text| lines.contains(text))
        })
        .unwrap();
    let printed = lines.clone();
    drop(lines);
    assert!(!timeout.timed_out(), "none of {texts:?} in:\n{printed}");
}

// --- terminals --------------------------------------------------------------

/// A container on a terminal of its own, whose keys a test presses.
pub(crate) struct Terminal {
    pub(crate) container: Container,
    script: Child,
    keys: ChildStdin,
    screen: Arc<(Mutex<String>, Condvar)>,
}

impl Terminal {
    /// `docker run -it` with these options of an image, and these words.
    pub(crate) fn start(options: &[&str], image: &str, words: &[&str]) -> Self {
        let container = Container { name: new_name() };
        let name = container.name.clone();
        let mut line = vec!["docker", "run", "-it", "--name", &name];
        line.extend(options);
        line.push(image);
        line.extend(words);
        // It makes the terminal, and returns the exit code.
        let mut script = command("script", &["-qec", &line.join(" "), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = script.stdin.take().unwrap();
        let screen = Arc::new((Mutex::default(), Condvar::new()));
        collect(script.stdout.take().unwrap(), Piece::Any, &screen);
        Self {
            container,
            script,
            keys,
            screen,
        }
    }

    /// Has bash start a job, and stop it by Ctrl-C. The container ends.
    #[track_caller]
    pub(crate) fn check_job_control(options: &[&str], image: &str, words: &[&str]) {
        let mut terminal = Self::start(options, image, words);
        terminal.wait_for("# ");
        // The sums show that the shell has done it: what is typed is shown, too.
        terminal.press("read -p $((1000 + 1)) word\n");
        terminal.wait_for("1001");
        terminal.press("something\n");
        terminal.press("echo $((1000 + 2)) $word\n");
        terminal.wait_for("1002 something");
        terminal.press("sleep 1000\n");
        wait_until("a sleep runs", || {
            docker(&["top", &terminal.container.name]).contains("sleep 1000")
        });
        terminal.press("\x03");
        terminal.press("echo $((1000 + 3)) status $?\n");
        terminal.wait_for("1003 status 130");
        terminal.press("exit 7\n");
        let exit_code = terminal.exit_code();
        let screen = terminal.text();
        assert!(!screen.contains("job control"), "{screen}");
        assert_eq!(exit_code, Some(7), "{screen}");
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn text(&self) -> String {
        self.screen.0.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        wait_for(&self.screen, text);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.script.try_wait().unwrap().is_some()
    }

    /// Waits for the end of the container.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.script.wait().unwrap().code()
    }
}

// --- requests ---------------------------------------------------------------

/// All that the server sent, or `None` where it can't be connected to.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
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
pub(crate) fn request(
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
pub(crate) struct Upstream {
    pub(crate) port: u16,
    pub(crate) state: Arc<(Mutex<UpstreamState>, Condvar)>,
}

#[derive(Default)]
pub(crate) struct UpstreamState {
    pub(crate) waiting: usize,
    pub(crate) answers: bool,
}

pub(crate) const SLOW_BODY: &str = "slow, but whole\n";

impl Upstream {
    pub(crate) fn listen() -> Self {
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
    pub(crate) fn wait_for(&self, requests: usize) {
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

    /// How many requests have come to it.
    pub(crate) fn asked(&self) -> usize {
        self.state.0.lock().unwrap().waiting
    }

    pub(crate) fn answer(&self) {
        let (state, changed) = &*self.state;
        state.lock().unwrap().answers = true;
        changed.notify_all();
    }
}

/// What to ask for, fast and slow.
pub(crate) struct Pages {
    pub(crate) fast: (SocketAddr, &'static str, &'static str),
    pub(crate) slow: (SocketAddr, &'static str),
}

impl Pages {
    /// Both by PHP.
    #[track_caller]
    pub(crate) fn php(container: &Container, port: u16) -> Self {
        let address = container.serving(port);
        Self {
            fast: (address, "/", "Hello from PHP\n"),
            slow: (address, "/slow.php"),
        }
    }

    /// Both by nginx alone.
    #[track_caller]
    pub(crate) fn without_php(container: &Container) -> Self {
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
pub(crate) fn stop_under_load(container: &Container, pages: &Pages) -> Stopped {
    stop_all_under_load(&[container], pages).remove(0)
}

/// The same of several containers, at once. The first has nginx.
#[track_caller]
pub(crate) fn stop_all_under_load(containers: &[&Container], pages: &Pages) -> Vec<Stopped> {
    let upstream = Upstream::listen();
    let slow = || {
        let (address, path) = pages.slow;
        request(address, format!("{path}?port={}", upstream.port), SLOW_BODY)
    };
    let mut requests: Vec<_> = (0..8).map(|_| slow()).collect();
    upstream.wait_for(requests.len());
    let logs: Vec<Log> = containers.iter().map(|container| container.log()).collect();
    let log = logs.first().unwrap();
    let start = Instant::now();
    let stopping: Vec<_> = containers
        .iter()
        .map(|container| {
            let name = container.name.clone();
            thread::spawn(move || stop(&name))
        })
        .collect();
    let mut after_the_signal = 0;
    // On a busy machine the signal may come late.
    while start.elapsed() < Duration::from_secs(1)
        || after_the_signal < 10 && !stopping.iter().any(JoinHandle::is_finished)
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
    // nginx's, and apache's.
    log.wait_for_any(&["<- SIGQUIT", "<- SIGWINCH"]);
    upstream.answer();
    let count = requests.len();
    let lost: Vec<String> = requests
        .into_iter()
        .filter_map(|request| request.join().unwrap().err())
        .collect();
    let stopped = stopping
        .into_iter()
        .map(|one| one.join().unwrap())
        .collect();
    let some = lost.iter().take(5).fold(String::new(), |mut text, lost| {
        let _ = writeln!(text, "{lost}");
        text
    });
    let log: String = logs.iter().map(Log::text).collect();
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
pub(crate) fn assert_order(log: &str, lines: &[&str]) {
    let mut rest = log;
    for line in lines {
        match rest.split_once(line) {
            Some((_, after)) => rest = after,
            None => panic!("no {line:?} where it should be in:\n{log}"),
        }
    }
}
