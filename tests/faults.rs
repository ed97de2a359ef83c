//! The faults that real containers found, as far as real processes show them
//! without Docker: each test is a fault that somebody ran into.
//! `server_faults.rs` has those that take nginx and php-fpm, `scale.rs` those
//! that take many services or processes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod common;

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    DRAINIT, Running, Scratch, children, drainit, drainit_by, kill, puppet, puppet_line,
    puppet_program, service, status_field, wait_for_process, wait_until,
};
use libc::{SIGHUP, SIGPIPE, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};

/// How long a server here takes to stop. What a shell left behind used to be
/// killed after a second.
const WHILE: Duration = Duration::from_secs(2);

const DELAY: Duration = Duration::from_secs(2);

/// Docker's root has no `CAP_SYS_PTRACE`, so that it can't look into what
/// belongs to another user.
const WITHOUT_PTRACE: [&str; 2] = ["setpriv", "--bounding-set=-sys_ptrace"];

/// A PID namespace whose /proc is still that of the one around it.
const FOREIGN_PROC: [&str; 4] = ["unshare", "--pid", "--fork", "--kill-child"];

/// drainit with these words, running, once it has started these puppets.
#[track_caller]
fn start<const N: usize>(words: &[&str], puppets: [&str; N]) -> (Running, [u32; N]) {
    let mut running = Running::start(&mut drainit(words));
    let pids = puppets.map(|name| running.wait_for_puppet(name));
    (running, pids)
}

fn request(port: u16) -> String {
    let mut response = String::new();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.read_to_string(&mut response).unwrap();
    response
}

/// A puppet that was asked, and by SIGTERM alone, takes its time to end, which
/// nobody cuts short.
#[track_caller]
fn takes_its_time(running: &mut Running, name: &str, pid: u32) {
    running.wait_for_line(&format!("{name} got SIGTERM"));
    // Not to wait for anything: it is what the test is about.
    thread::sleep(WHILE);
    kill(pid, SIGUSR1);
    running.wait_for_line(&format!("{name} got SIGUSR1"));
    assert_eq!(running.signals_of(name), ["SIGTERM", "SIGUSR1"]);
}

/// Nobody had to be made to end, and no advice is given.
#[track_caller]
fn nobody_was_forced(running: &Running) {
    for part in ["forced", "SIGKILL", "DRAINIT_GRACE_PERIOD"] {
        assert_eq!(running.count(part), 0, "{part:?} in:\n{}", running.log());
    }
}

/// A listening puppet serves on through the delay and is asked by SIGTERM then.
#[track_caller]
fn serves_on_through_the_delay(running: &mut Running, name: &str, port: u16) {
    let asked = Instant::now();
    running.signal(SIGTERM);
    thread::sleep(DELAY / 2);
    let serves = TcpStream::connect(("127.0.0.1", port)).is_ok();
    running.wait_for_line(&format!("{name} got SIGTERM"));
    assert!(serves, "not in the delay:\n{}", running.log());
    assert!(asked.elapsed() >= DELAY, "{}", running.log());
}

// What a shell runs. The shell passes no signal on: it dies and leaves its
// child, or waits for it.

#[test]
fn what_a_shell_runs_is_asked_at_once_and_has_the_whole_grace_period() {
    let server = puppet_line("server USR1=0");
    for shell in ["bash", "sh"] {
        for script in [
            format!("{server}; true"),
            // A shell below a shell.
            format!("({server}; true); true"),
            format!("{server} & wait"),
        ] {
            let (mut running, [pid]) =
                start(&["--grace-period", "10", shell, "-c", &script], ["server"]);
            running.signal(SIGTERM);
            takes_its_time(&mut running, "server", pid);
            // The shell's own: it has no handler.
            assert_eq!(running.wait_exit(), 128 + SIGTERM, "{shell}: {script}");
            nobody_was_forced(&running);
        }
    }
}

#[test]
fn what_a_shell_runs_beside_a_service_is_waited_for_by_the_next() {
    let front = format!(
        "front=bash -c '{}; true'",
        puppet_line("server USR1=0 listen")
    );
    let mut command = drainit(["--delay", "0", "--grace-period", "30"]);
    command.args(["--service", &service("back TERM=0 listen")]);
    command.args(["--service", &front]);
    let mut running = Running::start(&mut command);
    let back = running.wait_for_listening_puppet("back");
    let server = running.wait_for_puppet("server");
    running.signal(SIGTERM);
    takes_its_time(&mut running, "server", server);
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&[
        "server got SIGTERM",
        "server got SIGUSR1",
        "back got SIGTERM",
    ]);
    nobody_was_forced(&running);
    // Until the server had gone, the back was needed.
    assert!(TcpStream::connect(("127.0.0.1", back)).is_err());
}

/// bash runs a trap only when its foreground command has ended.
#[test]
fn what_a_shell_with_a_trap_waits_for_is_asked() {
    for trap in ["exit 4", "echo trapped"] {
        let script = format!(
            "trap '{trap}' TERM; {}; exit 4",
            puppet_line("server TERM=0")
        );
        let (mut running, _) = start(&["--grace-period", "10", "bash", "-c", &script], ["server"]);
        running.signal(SIGTERM);
        assert_eq!(running.wait_exit(), 4, "{}", running.log());
        assert_eq!(running.signals_of("server"), ["SIGTERM"]);
        nobody_was_forced(&running);
    }
}

/// As Docker's documentation has it for several services in a container.
#[test]
fn what_a_shell_runs_in_the_background_is_asked_at_once() {
    let scratch = Scratch::new();
    let script = scratch.program(
        "start.sh",
        &format!(
            "#!/bin/bash\n{} &\n{} &\nwait -n\nexit $?\n",
            puppet_line("a USR1=0"),
            puppet_line("b USR1=0")
        ),
    );
    let (mut running, [a, b]) = start(
        &["--grace-period", "10", script.to_str().unwrap()],
        ["a", "b"],
    );
    running.signal(SIGTERM);
    takes_its_time(&mut running, "a", a);
    takes_its_time(&mut running, "b", b);
    assert_eq!(running.wait_exit(), 128 + SIGTERM);
    nobody_was_forced(&running);
}

// How a service ended that was asked.

/// As a JVM does that handles the signal.
#[test]
fn a_service_that_exits_as_if_by_our_signal_has_not_failed() {
    // 130 would be by SIGINT, which it didn't get.
    for (rules, code) in [("a TERM=143", 0), ("a TERM=130", 130)] {
        let (a, b) = (service(rules), service("b TERM=0"));
        let (mut running, _) = start(&["--service", &a, "--service", &b], ["a", "b"]);
        running.signal(SIGTERM);
        assert_eq!(running.wait_exit(), code, "{rules}");
        nobody_was_forced(&running);
    }
}

// A name is a claim.

/// What is called so may be another program: busybox's httpd has no handler.
#[test]
fn what_has_a_presets_name_and_no_handler_gets_term() {
    let scratch = Scratch::new();
    for name in ["httpd", "apache2", "nginx", "php-fpm"] {
        let program = puppet_program(&scratch, name);
        let mut command = drainit(["--grace-period", "15", "--delay", "0", "--"]);
        command
            .arg(program)
            .args(["server", "TERM=0", "handles=TERM", "listen"]);
        let mut running = Running::start(&mut command);
        running.wait_for_puppet("server");
        running.signal(SIGTERM);
        assert_eq!(running.wait_exit(), 0, "{name}: {}", running.log());
        assert_eq!(running.signals_of("server"), ["SIGTERM"], "{name}");
        nobody_was_forced(&running);
    }
}

/// So may one that handles nothing at all, or doesn't listen.
#[test]
fn what_has_a_presets_name_and_handles_nothing_is_ended_by_term() {
    let scratch = Scratch::new();
    let sleep = Path::new("/bin/sleep");
    // Not php-fpm: it is given an option, which sleep would refuse.
    for name in ["httpd", "apache2", "nginx"] {
        let program = scratch.copy(sleep, name);
        let words = ["--grace-period", "15", program.to_str().unwrap(), "600"];
        let mut running = Running::start(&mut drainit(words));
        running.wait_for_line("started, pid");
        let pid = wait_for_process(running.pid, name);
        running.signal(SIGTERM);
        // Either it is called a preset, which may end by our signal, or not.
        let code = running.wait_exit();
        assert!([0, 128 + SIGTERM].contains(&code), "{name}: {code}");
        running.assert_order(&["<- SIGTERM", "killed by SIGTERM"]);
        nobody_was_forced(&running);
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    }
}

/// A script's `comm` is its file's name.
#[test]
fn a_script_that_is_called_as_a_preset_is_a_shell() {
    let scratch = Scratch::new();
    for name in ["nginx", "php-fpm", "httpd"] {
        let server = puppet_line("server TERM=0 listen");
        let script = scratch.program(name, &format!("#!/bin/bash\n{server}\necho over\n"));
        let behind = service("behind TERM=0");
        let mut command = drainit(["--delay", "2", "--grace-period", "10"]);
        command.args(["--service", &format!("{name}={}", script.display())]);
        command.args(["--service", &behind]);
        let mut running = Running::start(&mut command);
        let port = running.wait_for_listening_puppet("server");
        // It is started when the script's server is ready.
        running.wait_for_puppet("behind");
        serves_on_through_the_delay(&mut running, "server", port);
        assert_eq!(running.wait_exit(), 0, "{name}: {}", running.log());
        assert_eq!(running.signals_of("server"), ["SIGTERM"], "{name}");
        nobody_was_forced(&running);
    }
}

// Who runs.

/// Its main thread, and with it its process, is then a zombie in /proc.
const MAIN_THREAD_ENDS: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static void stop(int signal) {
    (void)!write(1, "got SIGTERM\n", 12);
    _exit(6);
}

static void *serve(void *unused) {
    for (;;) pause();
}

int main(void) {
    pthread_t thread;
    signal(SIGTERM, stop);
    pthread_create(&thread, NULL, serve, NULL);
    pthread_exit(NULL);
}
"#;

#[test]
fn a_program_whose_main_thread_has_ended_is_still_asked() {
    let scratch = Scratch::new();
    let source = scratch.path("threads.c");
    fs::write(&source, MAIN_THREAD_ENDS).unwrap();
    let program = scratch.path("threads");
    let mut compile = Command::new("cc");
    compile.arg("-pthread").arg("-o").args([&program, &source]);
    assert!(compile.status().unwrap().success());
    let words = ["--grace-period", "10", program.to_str().unwrap()];
    let mut running = Running::start(&mut drainit(words));
    let pid = wait_for_process(running.pid, "threads");
    wait_until("its main thread has ended", || {
        status_field(pid, "State").starts_with('Z') && status_field(pid, "Threads") == "2"
    });
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 6, "{}", running.log());
    running.assert_order(&["got SIGTERM"]);
    nobody_was_forced(&running);
}

// What can't be seen counts as there.

#[test]
fn a_listener_below_a_foreign_proc_serves_on_through_the_delay() {
    let words = [
        &["--delay", "2", "--"],
        puppet("p TERM=6 listen").as_slice(),
    ]
    .concat();
    let mut running = Running::start(&mut drainit_by(&FOREIGN_PROC, words));
    let port = running.wait_for_listening_puppet("p");
    running.pid = wait_for_process(running.pid, "drainit");
    serves_on_through_the_delay(&mut running, "p", port);
    assert_eq!(running.wait_exit(), 6);
    nobody_was_forced(&running);
}

/// In it our child's pid is somebody else's, here that of an nginx.
#[test]
fn a_foreign_proc_says_nothing_of_our_child() {
    let script = r#"
        perl -e '$0 = "nginx"; $SIG{QUIT} = sub {}; $| = 1;
            print "decoy, pid $$\n"; sleep 1 while 1' &
        unshare --pid --fork --kill-child "$@"
        exit $?
    "#;
    let starter = [
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "bash",
        "-c",
        script,
        "bash",
    ];
    let words = ["--delay", "0", "--"];
    let words = [&words, puppet("p TERM=6 QUIT=7").as_slice()].concat();
    let mut running = Running::start(&mut drainit_by(&starter, words));
    // Those are pids of different namespaces.
    running.wait_for_line("decoy, pid 2");
    running.wait_for_line("p ready, pid 2");
    running.pid = wait_for_process(running.pid, "drainit");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 6, "{}", running.log());
    assert_eq!(running.signals_of("p"), ["SIGTERM"]);
    nobody_was_forced(&running);
}

#[test]
fn a_listener_without_a_proc_serves_on_through_the_delay() {
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
    let words = [
        &["--delay", "2", "--"],
        puppet("p TERM=6 listen").as_slice(),
    ]
    .concat();
    let mut running = Running::start(&mut drainit_by(&starter, words));
    let port = running.wait_for_listening_puppet("p");
    running.pid = wait_for_process(running.pid, "drainit");
    serves_on_through_the_delay(&mut running, "p", port);
    assert_eq!(running.wait_exit(), 6);
    nobody_was_forced(&running);
}

/// From now on no look at anything works: each ends with EMFILE.
fn take_all_descriptors(pid: u32) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--nofile=1:1", "--pid", &pid.to_string()]);
    assert!(prlimit.status().unwrap().success());
}

#[test]
fn a_listener_serves_on_through_the_delay_where_no_descriptor_is_left() {
    let words = [
        &["--delay", "2", "--"],
        puppet("p TERM=6 listen").as_slice(),
    ]
    .concat();
    let mut running = Running::start(&mut drainit(words));
    let port = running.wait_for_listening_puppet("p");
    take_all_descriptors(running.pid);
    serves_on_through_the_delay(&mut running, "p", port);
    assert_eq!(running.wait_exit(), 6);
    nobody_was_forced(&running);
}

#[test]
fn services_are_asked_in_order_where_no_descriptor_is_left() {
    let mut command = drainit(["--delay", "0", "--grace-period", "10"]);
    command.args(["--service", &service("back TERM=0 listen")]);
    command.args(["--service", &service("front TERM=0 listen")]);
    let mut running = Running::start(&mut command);
    running.wait_for_puppet("back");
    running.wait_for_puppet("front");
    take_all_descriptors(running.pid);
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0, "{}", running.log());
    running.assert_order(&[
        "front got SIGTERM",
        "front     exited 0",
        "back got SIGTERM",
    ]);
    nobody_was_forced(&running);
}

/// As haproxy, squid and lighttpd do: the socket is root's, and the process,
/// whose descriptors can't be looked into, is another user's.
#[test]
fn a_listener_that_has_changed_its_user_serves_on_through_the_delay() {
    let listener = r#"
        use IO::Socket::INET; use POSIX; $| = 1;
        my $listener = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1") or die;
        POSIX::setgid(47002); POSIX::setuid(47002) or die "setuid: $!";
        $SIG{TERM} = sub { print "p got SIGTERM\n"; exit 6 };
        print "p ready, pid $$, port ", $listener->sockport, "\n";
        while (1) {
            my $connection = $listener->accept or next;
            print $connection "served\n";
        }
    "#;
    let words = ["--delay", "2", "--", "perl", "-e", listener];
    let mut running = Running::start(&mut drainit_by(&WITHOUT_PTRACE, words));
    let port = running.wait_for_listening_puppet("p");
    serves_on_through_the_delay(&mut running, "p", port);
    assert_eq!(running.wait_exit(), 6);
    nobody_was_forced(&running);
}

// Signals that kill.

/// A file that a script waits for before it becomes something else.
#[derive(Debug)]
struct Gate<'a>(&'a Scratch);

impl Gate<'_> {
    /// A command that becomes that one once the gate is open.
    fn before(&self, command: &str) -> String {
        let gate = self.0.path("gate");
        let gate = gate.display();
        format!("sh -c 'echo waiting; until [ -e {gate} ]; do sleep 0.05; done; exec {command}'")
    }

    fn open(&self) {
        fs::write(self.0.path("gate"), "").unwrap();
    }
}

/// Starts an nginx that a script becomes once the gate is open, and behind it a
/// service that is started when the nginx is ready.
fn start_behind_a_gate(scratch: &Scratch, gate: &Gate) -> Running {
    let nginx = puppet_program(scratch, "nginx");
    let command = gate.before(&format!("{} web QUIT=0 listen", nginx.display()));
    let mut drainit = drainit(["--delay", "0", "--marker", "none"]);
    drainit.args(["--service", &format!("nginx={command}")]);
    drainit.args(["--service", &service("behind TERM=0")]);
    let mut running = Running::start(&mut drainit);
    running.wait_for_line("waiting");
    running
}

/// The gate is opened: all is as if nothing had been.
#[track_caller]
fn starts_and_stops(running: &mut Running, gate: &Gate) {
    gate.open();
    running.wait_for_puppet("web");
    running.wait_for_puppet("behind");
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0, "{}", running.log());
    running.assert_order(&["nginx     ready", "web got SIGQUIT", "nginx     exited 0"]);
    nobody_was_forced(running);
}

/// A script that is to become nginx would die of them.
#[test]
fn signals_during_a_start_leave_the_script_alone() {
    for signal in [SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH] {
        let scratch = Scratch::new();
        let gate = Gate(&scratch);
        let mut running = start_behind_a_gate(&scratch, &gate);
        running.deliver(signal);
        starts_and_stops(&mut running, &gate);
    }
}

/// A worker as Laravel's is, beside a web server: without a handler HUP and
/// USR1 would end it, and with it the container.
#[test]
fn a_signal_for_others_does_not_end_a_service_without_a_handler() {
    for (signal, name) in [(SIGHUP, "SIGHUP"), (SIGUSR1, "SIGUSR1")] {
        let web = service("web TERM=0");
        let queue = service("queue TERM=0 handles=TERM,QUIT,USR2,CONT");
        let words = ["--service", &web, "--service", &queue];
        let (mut running, [_, queue]) = start(&words, ["web", "queue"]);
        running.deliver(signal);
        running.wait_for_line(&format!("web got {name}"));
        // A signal that ends it would have ended it before this.
        kill(queue, SIGUSR2);
        running.wait_for_line("queue got SIGUSR2");
        running.signal(SIGTERM);
        assert_eq!(running.wait_exit(), 0, "{name}: {}", running.log());
        assert_eq!(running.signals_of("queue"), ["SIGUSR2", "SIGTERM"]);
        assert_eq!(running.signals_of("web"), [name, "SIGTERM"]);
    }
}

/// Sidekiq's quiet signal is TSTP.
#[test]
fn a_plain_command_gets_what_would_stop_or_end_others() {
    for (signal, name) in [(SIGPIPE, "SIGPIPE"), (SIGTSTP, "SIGTSTP")] {
        let words = [&["--"], puppet("p TERM=6").as_slice()].concat();
        let (mut running, _) = start(&words, ["p"]);
        running.signal(signal);
        running.wait_for_line(&format!("p got {name}"));
        running.signal(SIGTERM);
        assert_eq!(running.wait_exit(), 6);
        assert_eq!(running.signals_of("p"), [name, "SIGTERM"]);
    }
}

// Starts that take their time.

/// A migration in an entrypoint.
#[test]
fn a_start_may_take_longer_than_half_a_minute() {
    let scratch = Scratch::new();
    let gate = Gate(&scratch);
    let mut running = start_behind_a_gate(&scratch, &gate);
    // Not to wait for anything: that long a start used to have.
    thread::sleep(Duration::from_secs(32));
    starts_and_stops(&mut running, &gate);
}

#[test]
fn a_given_start_timeout_ends_a_start_and_the_log_says_after_how_long() {
    let scratch = Scratch::new();
    let web = format!("nginx={}", Gate(&scratch).before("true"));
    let mut command = drainit(["--start-timeout", "1500ms", "--marker", "none"]);
    for service in [service("first TERM=0"), web, service("behind")] {
        command.args(["--service", &service]);
    }
    let mut running = Running::start(&mut command);
    running.wait_for_puppet("first");
    assert_eq!(running.wait_exit(), 1, "{}", running.log());
    // Behind the name, which is behind the time that each line begins with.
    let says_how_long = |line: &str| {
        let what = line.split_once("nginx ").map(|(_, what)| what);
        line.starts_with("drainit: ") && what.is_some_and(|what| what.contains("1.5 s"))
    };
    assert!(running.lines().any(says_how_long), "{}", running.log());
    assert_eq!(running.signals_of("first"), ["SIGTERM"]);
}

/// Holds a write lease on a file: whoever opens or executes that file waits
/// until it is given back, as for a file system that hangs.
#[derive(Debug)]
struct Lease {
    holder: Child,
    give_back: Option<ChildStdin>,
}

impl Lease {
    fn take(path: &Path) -> Self {
        // 1024 is F_SETLEASE. Who waits makes the kernel send SIGIO.
        let script = r#"
            use Fcntl; $| = 1;
            open my $file, "+<", $ARGV[0] or die "open: $!";
            $SIG{IO} = sub { print "somebody waits\n" };
            fcntl($file, 1024, F_WRLCK) or die "lease: $!";
            print "taken\n";
            # Not readline, which a signal would have begin anew before its handler.
            1 until defined sysread STDIN, my $end, 1;
        "#;
        let mut perl = Command::new("perl");
        perl.args(["-e", script]).arg(path);
        perl.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = perl.spawn().unwrap();
        let give_back = holder.stdin.take();
        let mut lease = Self { holder, give_back };
        lease.wait_for("taken\n");
        lease
    }

    fn wait_for_somebody(&mut self) {
        self.wait_for("somebody waits\n");
    }

    fn wait_for(&mut self, line: &str) {
        let mut said = vec![0; line.len()];
        let output = self.holder.stdout.as_mut().unwrap();
        output.read_exact(&mut said).unwrap();
        assert_eq!(String::from_utf8_lossy(&said), line);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back = None;
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_stop_request_is_answered_while_an_exec_waits() {
    let scratch = Scratch::new();
    let sleep = scratch.copy(Path::new("/bin/sleep"), "hangs");
    let mut lease = Lease::take(&sleep);
    let first = service("first TERM=0");
    let hangs = format!("hangs={} 600", sleep.display());
    let words = [
        "--grace-period",
        "5",
        "--service",
        &first,
        "--service",
        &hangs,
    ];
    let (mut running, _) = start(&words, ["first"]);
    lease.wait_for_somebody();
    running.signal(SIGTERM);
    running.wait_for_line("first got SIGTERM");
    assert_eq!(running.wait_exit(), 0, "{}", running.log());
    drop(lease);
}

#[test]
fn other_services_are_served_while_an_exec_waits() {
    let scratch = Scratch::new();
    let sleep = scratch.copy(Path::new("/bin/sleep"), "hangs");
    let mut lease = Lease::take(&sleep);
    let first = service("first TERM=0");
    let hangs = format!("hangs={} 600", sleep.display());
    let words = ["--service", &first, "--service", &hangs];
    let (mut running, _) = start(&words, ["first"]);
    lease.wait_for_somebody();
    running.signal(SIGHUP);
    running.wait_for_line("first got SIGHUP");
    // What was waited for comes: it is started as ever.
    drop(lease);
    wait_until("it runs", || {
        children(running.pid)
            .into_iter()
            .any(|pid| status_field(pid, "Name") == "hangs")
    });
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0, "{}", running.log());
    running.assert_order(&["hangs     killed by SIGTERM"]);
}

// Order.

/// A log daemon that stands before what listens is there to the end.
#[test]
fn what_does_not_listen_goes_at_its_turn_where_a_listener_is_behind_it() {
    let mut command = drainit(["--delay", "2", "--grace-period", "20"]);
    for rules in ["log TERM=0", "web USR1=0 listen", "queue TERM=0"] {
        command.args(["--service", &service(rules)]);
    }
    let mut running = Running::start(&mut command);
    running.wait_for_puppet("log");
    let line = running.wait_for_line("web ready, pid ");
    let (_, pid) = line.split_once("pid ").unwrap();
    let (pid, port) = pid.split_once(", port ").unwrap();
    running.wait_for_puppet("queue");
    let asked = Instant::now();
    running.signal(SIGTERM);
    running.wait_for_line("queue     exited 0");
    assert_eq!(request(port.parse().unwrap()), "served\n");
    running.wait_for_line("web got SIGTERM");
    assert!(asked.elapsed() >= DELAY, "{}", running.log());
    kill(pid.parse().unwrap(), SIGUSR1);
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&[
        "queue got SIGTERM",
        "web got SIGTERM",
        "web got SIGUSR1",
        "web       exited 0",
        "log got SIGTERM",
        "log       exited 0",
    ]);
}

// A delay for nobody.

/// Some runtimes signal all processes of a container.
#[test]
fn the_delay_is_over_when_everything_has_ended_by_itself() {
    const LONG: Duration = Duration::from_secs(15);
    let scratch = Scratch::new();
    let [nginx, php_fpm] = ["nginx", "php-fpm"].map(|name| {
        let program = puppet_program(&scratch, name);
        format!("{name}={} {name} USR1=0 USR2=0 listen", program.display())
    });
    let (web, other) = (service("web USR1=0 listen"), service("other USR1=0 listen"));
    for (words, names) in [
        (
            [&["--"], puppet("web USR1=0 listen").as_slice()].concat(),
            &["web"][..],
        ),
        (
            vec!["--service", &web, "--service", &other],
            &["web", "other"],
        ),
        (
            vec!["--service", &php_fpm, "--service", &nginx],
            &["php-fpm", "nginx"],
        ),
    ] {
        let options = ["--delay", "15", "--grace-period", "40", "--marker", "none"];
        let mut running = Running::start(&mut drainit([&options, words.as_slice()].concat()));
        let pids: Vec<u32> = names
            .iter()
            .map(|name| running.wait_for_puppet(name))
            .collect();
        running.wait_until_asleep();
        let asked = Instant::now();
        running.signal(SIGTERM);
        running.wait_for_line("lame duck");
        for pid in pids {
            kill(pid, SIGUSR1);
        }
        assert_eq!(running.wait_exit(), 0);
        assert!(asked.elapsed() < LONG / 2, "{}", running.log());
        for name in names {
            assert_eq!(running.signals_of(name), ["SIGUSR1"]);
        }
    }
}

// Small ones.

/// A Dockerfile's ENV has no line ends.
#[test]
fn services_in_the_environment_may_be_parted_by_semicolons() {
    for between in [";", "; ", " ;\n", "\n"] {
        let services = [
            service("a TERM=0"),
            // This one is the shell's.
            r#"quoted=sh -c "echo 'one; two'; exec sleep 600""#.to_owned(),
            service("b TERM=0"),
        ];
        let mut command = drainit(&[] as &[&str]);
        command.env("DRAINIT_SERVICES", services.join(between));
        let mut running = Running::start(&mut command);
        running.wait_for_puppet("a");
        running.wait_for_line("one; two");
        running.wait_for_puppet("b");
        running.signal(SIGTERM);
        assert_eq!(running.wait_exit(), 0, "{between:?}");
    }
}

/// What a line of the log begins with is ours to say.
#[test]
fn a_name_with_a_line_end_makes_no_line_of_its_own() {
    let scratch = Scratch::new();
    let program = scratch.program("name\nforged", "#!/bin/sh\nexit 6\n");
    let mut running = Running::start(&mut drainit([program.to_str().unwrap()]));
    assert_eq!(running.wait_exit(), 6);
    no_line_is_forged(&running);
}

/// One that we may not signal is named in a line.
#[test]
fn a_process_with_a_line_end_in_its_name_makes_no_line_of_its_own() {
    // Whatever can't be ended ends with the namespace.
    let starter = [
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "setpriv",
        "--bounding-set=-kill",
    ];
    let left = r#"$0 = "name\nforged"; $SIG{TERM} = sub { exit 0 }; $| = 1;
        $< = $> = 47003; print "left ready\n"; sleep 1 while 1"#;
    let script = r#"perl -e "$1" & exec sleep 600"#;
    let words = ["--grace-period", "3", "--", "sh", "-c", script, "sh", left];
    let mut running = Running::start(&mut drainit_by(&starter, words));
    running.wait_for_line("left ready");
    running.pid = wait_for_process(running.pid, "drainit");
    running.signal(SIGTERM);
    running.wait_exit();
    no_line_is_forged(&running);
}

#[track_caller]
fn no_line_is_forged(running: &Running) {
    let forged = running.lines().find(|line| line.starts_with("forged"));
    assert_eq!(forged, None, "{}", running.log());
}

/// A shell pipeline's programs end by it, and who ignores it wants to go on.
#[test]
fn a_broken_pipe_is_to_a_child_what_it_was_to_us() {
    for (before, is_ignored) in [("trap '' PIPE;", true), ("", false)] {
        let script = format!(r#"{before} exec "$@""#);
        let mut command = Command::new("bash");
        command.args([
            "-c",
            &script,
            "bash",
            DRAINIT,
            "--",
            "cat",
            "/proc/self/status",
        ]);
        let output = command.stderr(Stdio::null()).output().unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        let ignored = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:\t"));
        let ignored = u64::from_str_radix(ignored.unwrap(), 16).unwrap();
        assert_eq!(ignored >> (SIGPIPE - 1) & 1 == 1, is_ignored, "{before:?}");
    }
}
