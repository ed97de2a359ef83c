//! What each key of the file does with real processes. As root, who alone can have
//! services run as others.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::contained::{UNSHARE, inside, printed, start, start_by, status_of};
use common::{
    DRAINIT, Running, Scratch, children, drainit, drainit_by, kill, puppet_program, status_field,
    wait_for_process, wait_until,
};
use libc::{SIGKILL, SIGTERM, SIGUSR1};

/// A file, and the directory that it is in.
struct Setup {
    scratch: Scratch,
    file: PathBuf,
    text: String,
}

impl Setup {
    /// Keys of the whole.
    fn with(text: &str) -> Self {
        let scratch = Scratch::new();
        // Where every user may read it.
        puppet_program(&scratch, "puppet");
        Self {
            file: scratch.path("drainit.toml"),
            scratch,
            text: format!("{text}\n"),
        }
    }

    fn new() -> Self {
        Self::with("")
    }

    /// Adds a service of that command.
    fn command(mut self, name: &str, command: &str, keys: &str) -> Self {
        let text = format!("[[service]]\nname = \"{name}\"\ncommand = {command}\n{keys}\n");
        self.text += &text;
        self
    }

    /// Adds a service that is a script.
    fn script(self, name: &str, script: &str, keys: &str) -> Self {
        let script = script.replace('$', "$$");
        self.command(name, &format!("[\"sh\", \"-c\", {script:?}]"), keys)
    }

    /// Adds a service that is a puppet of its name.
    fn puppet(self, name: &str, rules: &str, keys: &str) -> Self {
        let program = self.path("puppet");
        let command = format!("\"{} {name} {rules}\"", program.display());
        self.command(name, &command, keys)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    fn words(&self) -> [&str; 2] {
        fs::write(&self.file, &self.text).unwrap();
        ["--config", self.file.to_str().unwrap()]
    }

    #[track_caller]
    fn start(&self) -> Running {
        Running::start(&mut drainit(self.words()))
    }

    #[track_caller]
    fn start_by(&self, starter: &[&str]) -> Running {
        Running::start(&mut drainit_by(starter, self.words()))
    }

    /// As PID 1, which commands can reach.
    #[track_caller]
    fn start_contained(&self, line: &str) -> Running {
        start(&self.words(), line)
    }
}

/// What `drainit` says of a command that fails, and its exit code.
#[track_caller]
fn refused(running: &Running, words: &[&str]) -> (String, i32) {
    let words = [&[DRAINIT], words].concat();
    let output = inside(running, &words).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (said, output.status.code().unwrap())
}

#[track_caller]
fn stop(running: &mut Running) {
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0, "{}", running.log());
}

// Whom it runs as, where, and with what.

const USERS: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1234:2345::/home/app:/bin/sh\n";
const GROUPS: &str = "root:x:0:\napp:x:2345:\nvideo:x:44:app\nextra:x:55:app,other\n";

#[test]
fn a_service_is_its_users_with_its_groups_and_its_home() {
    let script = |name| {
        format!("echo {name}: $(id -u) $(id -g) $(id -G) $HOME $USER $LOGNAME; exec sleep 1000")
    };
    let mut setup = Setup::new();
    let expected = [
        (
            "name",
            "user = 'app'",
            "1234 2345 2345 44 55 /home/app app app",
        ),
        (
            "number",
            "user = 1234",
            "1234 2345 2345 44 55 /home/app app app",
        ),
        (
            "group",
            "user = 'app'\ngroup = 'extra'",
            "1234 55 55 44 /home/app app app",
        ),
        (
            "gid",
            "user = 'app'\ngroup = 4343",
            "1234 4343 4343 44 55 /home/app app app",
        ),
        ("stranger", "user = 4242", "4242 0 0 / 4242 4242"),
        ("group-alone", "group = 'video'", "0 44 44 /root root root"),
        (
            "own",
            "user = 'app'\nenvironment = { HOME = '/x' }",
            "1234 2345 2345 44 55 /x app app",
        ),
    ];
    for (name, keys, _) in expected {
        setup = setup.script(name, &script(name), keys);
    }
    let (passwd, group) = (setup.path("passwd"), setup.path("group"));
    fs::write(&passwd, USERS).unwrap();
    fs::write(&group, GROUPS).unwrap();
    let mount = format!(
        "mount --bind {} /etc/passwd; mount --bind {} /etc/group; exec \"$@\"",
        passwd.display(),
        group.display()
    );
    let starter = [&UNSHARE[..], &["sh", "-c", &mount, "sh"]].concat();
    let mut running = start_by(&starter, &setup.words(), "own       started");
    for (name, _, expected) in expected {
        let line = running.wait_for_line(&format!("{name}: "));
        assert_eq!(line, format!("{name}: {expected}"));
    }
    stop(&mut running);
}

/// It is told to drain, and not only left to die; also where root lacks the right to
/// signal others.
#[test]
fn a_service_of_another_user_stops_as_any_other() {
    let setup = Setup::new()
        .puppet("one", "TERM=0", "user = 'www-data'")
        .puppet("two", "TERM=0", "user = 'games'");
    let without_kill = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"];
    for mut running in [setup.start(), setup.start_by(&without_kill)] {
        let pids = ["one", "two"].map(|name| running.wait_for_puppet(name));
        for (pid, uid) in pids.into_iter().zip(["33\t33\t33\t33", "5\t5\t5\t5"]) {
            assert_eq!(status_field(pid, "Uid"), uid);
        }
        stop(&mut running);
        assert_eq!(running.signals_of("one"), ["SIGTERM"]);
        assert_eq!(running.signals_of("two"), ["SIGTERM"]);
    }
}

#[test]
fn a_service_starts_in_its_directory_with_its_variables_and_limits() {
    let setup = Setup::new();
    setup
        .scratch
        .program("here", "#!/bin/sh\necho here: $(pwd) $0\nexec sleep 1000\n");
    fs::write(
        setup.path("env"),
        "A=file\nB='file b'\n# C=no\nexport D=file\n",
    )
    .unwrap();
    let directory = setup.scratch.path("");
    let directory = directory.to_str().unwrap().trim_end_matches('/').to_owned();
    let keys = format!("directory = '{directory}'");
    let setup = setup.command("here", "'./here'", &keys).script(
        "all",
        "echo all: $(pwd) $A/$B/${C-none}/$D $(ulimit -n) $(ulimit -Hn); exec sleep 1000",
        "directory = '/usr'\nenv-file = 'env'\nenvironment = { A = 'own' }\nnofile = 321",
    );
    let mut running = setup.start();
    let here = running.wait_for_line("here: ");
    let all = running.wait_for_line("all: ");
    assert_eq!(here, format!("here: {directory} {directory}/./here"));
    assert_eq!(all, "all: /usr own/file b/none/file 321 321");
    stop(&mut running);
}

#[test]
fn a_directory_that_is_not_there_is_said_in_one_line() {
    let setup = Setup::new().command("a", "'sleep 1000'", "").command(
        "b",
        "'sleep 1000'",
        "directory = '/nosuch/place'",
    );
    let mut running = setup.start();
    let code = running.wait_exit();
    assert_eq!(code, 126, "{}", running.log());
    assert_eq!(running.count("/nosuch/place"), 1, "{}", running.log());
    running.wait_for_line("can't start in the directory /nosuch/place: No such file");
}

// How they start.

#[test]
fn a_oneshot_has_ended_before_what_is_after_it_starts() {
    let setup = Setup::new()
        .script(
            "migrate",
            "echo migrates; sleep 0.2; echo has migrated",
            "oneshot = true",
        )
        .script("app", "echo app runs; exec sleep 1000", "");
    let mut running = setup.start();
    running.wait_for_line("app runs");
    running.assert_order(&["migrates", "has migrated", "migrate   exited 0", "app runs"]);
    stop(&mut running);
}

#[test]
fn a_oneshot_that_fails_stops_the_start_with_its_status() {
    let setup = Setup::new()
        .script("side", "echo side runs; exec sleep 1000", "after = []")
        .script("migrate", "exit 42", "oneshot = true")
        .script("app", "echo app runs", "");
    let mut running = setup.start();
    assert_eq!(running.wait_exit(), 42, "{}", running.log());
    assert_eq!(running.count("app runs"), 0);
}

/// In a namespace of its own, where nobody else has the port.
#[test]
fn a_service_is_ready_once_somebody_listens_on_its_port() {
    let setup = Setup::new();
    let gate = setup.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let db = format!(
        "read x < {}; exec perl -MIO::Socket::INET -e \
         '$s = IO::Socket::INET->new(LocalPort => 6379, Listen => 1) or die $!; sleep 1000'",
        gate.display()
    );
    let setup = setup.script("db", &db, "ready = 'tcp:6379'").script(
        "app",
        "echo app runs; exec sleep 1000",
        "",
    );
    let mut running = setup.start_by(&["unshare", "--net"]);
    running.wait_for_line("db        started");
    running.wait_until_asleep();
    assert_eq!(children(running.pid).len(), 1, "{}", running.log());
    fs::write(&gate, "\n").unwrap();
    running.wait_for_line("app runs");
    running.assert_order(&["db        ready", "app runs"]);
    stop(&mut running);
}

#[test]
fn who_is_disabled_starts_when_somebody_says_so() {
    let setup = Setup::new()
        .puppet("a", "TERM=0", "")
        .puppet("later", "TERM=0", "enabled = false")
        .command(
            "absent",
            "'/nosuch/program'",
            "enabled = 'off'\nrestart = 'no'",
        );
    let mut running = setup.start_contained("a ready");
    assert_eq!(
        printed(&running, &[DRAINIT, "ready"]),
        ("ready\n".to_owned(), 0)
    );
    assert_eq!(status_of(&running, "later")[1..3], ["stopped", "-"]);
    assert_eq!(running.count("later ready"), 0);
    let (said, code) = printed(&running, &[DRAINIT, "start", "later"]);
    assert_eq!((said.lines().last(), code), (Some("later serving"), 0));
    running.wait_for_line("later ready");
    for command in ["start", "restart"] {
        let expected = "drainit: absent can't be started; the log says why\n";
        let refused = refused(&running, &[command, "absent"]);
        assert_eq!(refused, (expected.to_owned(), 1));
    }
    // That costs nobody else anything.
    assert_eq!(status_of(&running, "a")[1], "serving", "{}", running.log());
    assert_eq!(status_of(&running, "later")[1], "serving");
    stop(&mut running);
}

// How they end.

#[test]
fn a_name_is_that_of_all_its_instances() {
    let setup =
        Setup::new()
            .puppet("other", "TERM=0", "")
            .puppet("queue", "TERM=0", "instances = 3");
    let mut running = setup.start_contained("queue-3   started");
    for _ in 0..3 {
        running.wait_for_line("queue ready");
    }
    let pid = |name: &str| status_of(&running, name)[2].clone();
    let names = ["other", "queue-1", "queue-2", "queue-3"];
    let before = names.map(pid);
    let (said, code) = printed(&running, &[DRAINIT, "restart", "queue"]);
    assert_eq!(code, 0, "{said}");
    for name in ["queue-1", "queue-2", "queue-3"] {
        assert!(said.contains(&format!("{name} serving\n")), "{said}");
    }
    let after = names.map(pid);
    assert_eq!(before[0], after[0]);
    assert!((1..4).all(|at| before[at] != after[at]), "{after:?}");
    stop(&mut running);
    // Each once by the command, and once at the end.
    assert_eq!(running.signals_of("queue").len(), 6);
}

/// Without it a service that doesn't listen is stopped at once.
#[test]
fn an_after_that_was_given_holds_at_the_stop() {
    let setup = Setup::with("grace-period = 60")
        .puppet("db", "TERM=0", "")
        .puppet("app", "USR1=0", "after = ['db']");
    let mut running = setup.start();
    running.wait_for_puppet("db");
    let pid = running.wait_for_puppet("app");
    running.signal(SIGTERM);
    running.wait_for_line("app got SIGTERM");
    running.wait_until_asleep();
    kill(pid, SIGUSR1);
    assert_eq!(running.wait_exit(), 0);
    running.assert_order(&["app       exited 0", "db got SIGTERM", "db        exited 0"]);
}

#[test]
fn a_stop_takes_no_longer_than_the_services_own_time() {
    let setup = Setup::with("grace-period = 600")
        .puppet("stubborn", "HUP=0", "stop-timeout = '500ms'")
        .puppet("other", "TERM=0", "");
    let mut running = setup.start();
    running.wait_for_puppet("stubborn");
    running.wait_for_puppet("other");
    running.signal(SIGTERM);
    let code = running.wait_exit();
    assert_eq!(code, 128 + SIGKILL, "{}", running.log());
    assert!(running.signals_of("stubborn").starts_with(&["SIGTERM"]));
}

#[test]
fn the_others_go_on_without_one_that_is_not_essential() {
    let setup = Setup::new()
        .script(
            "extra",
            "exit 3",
            "restart = 'no'\nessential = false\nafter = []",
        )
        .puppet("app", "TERM=0 USR1=5", "restart = 'no'");
    let mut running = setup.start();
    let pid = running.wait_for_puppet("app");
    running.wait_for_line("extra     exited 3");
    running.wait_until_asleep();
    assert_eq!(children(running.pid), [pid], "{}", running.log());
    // Without the other one nothing goes on.
    kill(pid, SIGUSR1);
    assert_eq!(running.wait_exit(), 5, "{}", running.log());
}

// A thousand crashes.

/// What drainit holds.
#[derive(Debug, PartialEq)]
struct Held {
    descriptors: usize,
    children: usize,
    data: String,
}

/// Has the service stay up, and tells what drainit holds then.
#[track_caller]
fn held_while_up(running: &Running, pause: &Path) -> (Held, u32) {
    fs::write(pause, "").unwrap();
    let up = wait_for_process(running.pid, "sleep");
    let has_gone = |child: &u32| status_field(*child, "State").starts_with('Z');
    wait_until("all is reaped", || {
        running.wait_until_asleep();
        !children(running.pid).iter().any(has_gone)
    });
    let held = Held {
        descriptors: fs::read_dir(format!("/proc/{}/fd", running.pid))
            .unwrap()
            .count(),
        children: children(running.pid).len(),
        data: status_field(running.pid, "VmData"),
    };
    (held, up)
}

#[track_caller]
fn crash_a_thousand_times(keys: &str) {
    let setup = Setup::with(&format!("{keys}\nlog-level = 'info'"));
    let pause = setup.path("pause");
    let script = format!(
        "test -e {} && exec sleep 1000; echo a line; exit 1",
        pause.display()
    );
    let keys = "restart-delay = '0s'\nrestart-limit = 0";
    let setup = setup
        .script("crash", &script, keys)
        .puppet("p", "TERM=0", "");
    let mut running = setup.start();
    for _ in 0..100 {
        running.wait_for_line("a line");
    }
    let (before, up) = held_while_up(&running, &pause);
    fs::remove_file(&pause).unwrap();
    kill(up, SIGKILL);
    for _ in 0..1000 {
        running.wait_for_line("a line");
    }
    let (after, _) = held_while_up(&running, &pause);
    assert_eq!(before, after);
    stop(&mut running);
}

#[test]
fn a_thousand_crashes_leave_nothing_behind() {
    crash_a_thousand_times("");
}

#[test]
fn a_thousand_crashes_with_prefixes_leave_nothing_behind() {
    crash_a_thousand_times("log-prefix = true");
}
