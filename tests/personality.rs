//! drainit under the names of tini, dumb-init and catatonit beside those themselves:
//! what a script of theirs prints and exits with must be the same below either. What
//! differs on purpose is in `docs/moving-from-tini.md`. Needs root.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod common;

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use common::{DRAINIT, Scratch, drainit_by};

/// Begins a script: its own PID namespace, of which the next word is PID 1.
const NS: &str = "unshare --pid --fork --mount-proc --kill-child";

/// Where the originals are.
const INITS: [(&str, &str); 4] = [
    ("tini", "/usr/bin/tini"),
    ("docker-init", "/usr/bin/tini-static"),
    ("dumb-init", "/usr/bin/dumb-init"),
    ("catatonit", "/usr/bin/catatonit"),
];

/// The originals in one directory, drainit by their names in another.
struct Pair {
    original: Scratch,
    ours: Scratch,
}

/// What a script prints, without what is by chance, and its exit code.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    output: String,
    errors: String,
    code: Option<i32>,
}

impl Pair {
    fn new() -> Self {
        let (original, ours) = (Scratch::new(), Scratch::new());
        for (name, path) in INITS {
            symlink(path, original.path(name)).unwrap();
            symlink(DRAINIT, ours.path(name)).unwrap();
        }
        Self { original, ours }
    }

    /// Runs a shell script that finds them by their names.
    fn run(inits: &Scratch, script: &str) -> Outcome {
        let directory = inits.path("");
        let directory = directory.to_str().unwrap().trim_end_matches('/');
        let starter = ["env", "--chdir=/usr", "sh", "-c", script];
        let mut command = drainit_by(&starter, [""; 0]);
        let path = format!("{directory}:/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command
            .env("PATH", path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).replace(directory, "DIR");
            without_pids(&text)
        };
        Outcome {
            output: text(&output.stdout),
            errors: text(&output.stderr),
            code: output.status.code(),
        }
    }

    /// Returns what both did.
    #[track_caller]
    fn same(&self, script: &str) -> Outcome {
        let original = Self::run(&self.original, script);
        let ours = Self::run(&self.ours, script);
        assert_eq!(ours, original, "ours, and the original: {script}");
        ours
    }
}

/// With an N for what stands for a pid in their messages.
fn without_pids(text: &str) -> String {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, start, after)) = ["tini (", "catatonit:", "pid="]
        .iter()
        .filter_map(|start| Some((text_before(rest, start)?, *start)))
        .min_by_key(|(before, _)| before.len())
        .map(|(before, start)| (before, start, rest.split_once(start).unwrap().1))
    {
        parts.extend([before, start, "N"]);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    parts.push(rest);
    parts.concat()
}

fn text_before<'a>(text: &'a str, part: &str) -> Option<&'a str> {
    let (before, after) = text.split_once(part)?;
    after
        .starts_with(|c: char| c.is_ascii_digit())
        .then_some(before)
}

/// Of each init, what may stand behind its name.
const COMMAND_LINES: [(&str, &[&str]); 4] = [
    (
        "tini",
        &[
            "",
            "-h",
            "-sh -- true",
            "--version",
            "--version x",
            "--foo true",
            "-x",
            "-p",
            "-p FOO true",
            "-p TERM true",
            "-e 300 true",
            "-e 0x1 true",
            "-e true",
            "-- true",
            "-s true",
            "-sw -- true",
            "-gs -pSIGKILL true",
            "ls -s -- -d /usr",
            "-- nope",
            "-s -- nope",
            "-s -- ''",
            "-s /etc/passwd",
            "-s /etc",
            "-s ./nope/x",
            "-s /etc/passwd/x",
            "-s -e 3 -- sh -c 'exit 3'",
            "-s -e 3 -- sh -c 'exit 4'",
            "-s -e 143 -e 7 -- sh -c 'kill -TERM $$'",
        ],
    ),
    (
        "docker-init",
        &["--version", "-h", "-s -- true", "-x", "-- true"],
    ),
    (
        "dumb-init",
        &[
            "",
            "-h",
            "--help",
            "--he",
            "-V",
            "--version",
            "--ver",
            "-x",
            "--foo",
            "-r",
            "--rewrite",
            "-r 1 true",
            "-r 1:32 true",
            "-r 0:1 true",
            "-r 15:3x true",
            "-r TERM:QUIT true",
            "--rewrite=' +15: -0' true",
            "--single-child=1 true",
            "-c true",
            "true -x",
            "-- ls -d /usr",
            "ls -d /usr",
            "nope",
            "''",
            "/etc",
            "/etc/passwd",
            "./nope/x",
            "-c nope",
            "sh -c 'exit 3'",
            "sh -c 'kill -9 $$'",
        ],
    ),
    (
        "catatonit",
        &[
            "",
            "-h",
            "-V",
            "-gV",
            "--version",
            "--vers",
            "-x",
            "--foo",
            "true -h",
            "-P -h",
            "true",
            "-g true",
            "-- ls -d /usr",
            "-- nope",
            "nope",
            "/etc",
            "/etc/passwd",
            "-- sh -c 'exit 3'",
            "-- sh -c 'kill -9 $$'",
        ],
    ),
];

#[test]
fn command_lines_mean_the_same() {
    let pair = Pair::new();
    for (init, lines) in COMMAND_LINES {
        for line in lines {
            pair.same(&format!("{init} {line}"));
        }
    }
}

#[test]
fn variables_mean_the_same() {
    let pair = Pair::new();
    for script in [
        "TINI_SUBREAPER= tini true",
        "TINI_VERBOSITY=0 tini true",
        "TINI_VERBOSITY=x tini -vv true",
        "TINI_VERBOSITY=0 tini nope",
        "TINI_KILL_PROCESS_GROUP=1 tini -s true",
        "POSIXLY_CORRECT=1 tini ls -d /usr",
        "POSIXLY_CORRECT=1 catatonit ls -d /usr",
        "DUMB_INIT_SETSID=1 dumb-init true",
        "CATATONIT_LOG=x catatonit true",
        "env -i PATH=\"$PATH\" A=1 tini -s env",
        "env -i PATH=\"$PATH\" A=1 dumb-init env",
        "env -i PATH=\"$PATH\" A=1 catatonit env",
        // They name nobody here.
        "LISTEN_PID=1 catatonit -- sh -c 'echo $LISTEN_PID'",
        "LISTEN_PID=$$ exec catatonit -- sh -c 'test $LISTEN_PID = $$ && echo its'",
    ] {
        pair.same(script);
    }
}

#[test]
fn all_exit_codes_pass() {
    let pair = Pair::new();
    for init in ["tini -s --", "dumb-init", "dumb-init -c", "catatonit --"] {
        let outcome = pair.same(&format!(
            "for code in $(seq 0 255); do {init} sh -c \"exit $code\"; echo -n \" $?\"; done; \
             for signal in $(seq 1 15); do {init} sh -c \"kill -$signal \\$\\$\"; echo -n \" $?\"; done"
        ));
        assert!(outcome.output.starts_with(" 0 1 2 3 "), "{outcome:?}");
        assert!(outcome.output.contains(" 255 129 130 "), "{outcome:?}");
    }
    let outcome = pair.same(
        "for code in $(seq 0 255); do tini -s -e $code -- sh -c \"exit $code\" || echo no; done",
    );
    assert_eq!(outcome.output, "");
}

const SIGNALS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/personality/signals.py");
const TERMINAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/personality/terminal.py");

#[test]
fn every_signal_is_passed_on_as_by_the_original() {
    let pair = Pair::new();
    for init in [
        "tini",
        "tini -g",
        "dumb-init",
        "dumb-init -c",
        "dumb-init -r 1:0 -r 10:12 -r 20:20 -r 15:15",
        "catatonit",
        "catatonit -g",
    ] {
        let outcome = pair.same(&format!("python3 {SIGNALS} {init}"));
        assert!(outcome.output.contains("exit 7"), "{outcome:?}");
    }
}

#[test]
fn a_terminal_is_the_childs() {
    let pair = Pair::new();
    for init in ["tini -s", "dumb-init", "dumb-init -c"] {
        let outcome = pair.same(&format!("python3 {TERMINAL} {init}"));
        assert!(outcome.output.contains("exit 4"), "{outcome:?}");
    }
    // The original blocks SIGTSTP for its child: there Ctrl-Z does nothing.
    let ours = Pair::run(&pair.ours, &format!("python3 {TERMINAL} catatonit"));
    assert!(ours.output.contains("exit 4"), "{ours:?}");
}

/// Each is run by `sh -c` as PID 1's child, or as it stands.
#[test]
fn a_container_lives_and_ends_the_same() {
    let pair = Pair::new();
    let inits = [
        "tini --",
        "tini -g --",
        "dumb-init",
        "dumb-init -c",
        "catatonit --",
    ];
    for script in [
        // Its group, its session, its descriptors, its directory.
        "read -r pid _ _ parent group session _ < /proc/self/stat; echo $pid $parent $group $session",
        "exec 7</dev/null; ls /proc/self/fd",
        "pwd; sleep 0.3; readlink /proc/1/cwd",
        // 100 orphans, of which none stays a zombie.
        "for i in $(seq 100); do (: &); done; sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status",
        // Shells in the background.
        "sleep 100 & exit 3",
        "trap '' TERM; (sleep 100; echo never) & exit 0",
        "(setsid sleep 100 &); sh -c 'sleep 100 & exit 5'",
        // A child that is stopped goes on.
        "(sleep 0.3; kill -CONT $$) & kill -STOP $$; echo on",
        "exec tini -s -- dumb-init catatonit -- sh -c 'exit 9'",
        "exec dumb-init tini -- sh -c 'kill -KILL $$'",
        "exec 0<&- 1<&- 2<&-; exit 8",
    ] {
        for init in inits {
            let script = script.replace('\'', "'\\''");
            pair.same(&format!("timeout -s KILL 15 {NS} {init} sh -c '{script}'"));
        }
    }
}

#[test]
fn a_signal_reaches_the_group_where_the_original_sends_it_there() {
    let pair = Pair::new();
    let script = "trap \"wait; exit 6\" TERM; \
        (trap \"echo below; exit\" TERM; while :; do sleep 0.1; done) & \
        sleep 0.3; kill -TERM 1; wait";
    for init in ["tini -g --", "dumb-init", "catatonit -g --"] {
        let run = format!("timeout -s KILL 15 {NS} {init} sh -c '{script}'");
        assert_eq!(pair.same(&run).output, "below\n", "{init}");
    }
}

#[test]
fn how_it_was_started_is_how_the_child_is() {
    let pair = Pair::new();
    let fields = "grep -E '^Sig(Ign|Blk)' /proc/self/status";
    for init in ["tini -s --", "catatonit --"] {
        let all = "trap '' HUP INT USR1 PIPE CHLD TERM";
        pair.same(&format!("{all}; exec {init} grep SigIgn /proc/self/status"));
    }
    let block = "perl -MPOSIX -e 'sigprocmask(SIG_BLOCK, POSIX::SigSet->new(10, 17, 13)); \
                 exec @ARGV'";
    pair.same(&format!("{block} tini -s -- {fields}"));
    pair.same("tini -s -p SIGKILL -- true");
    for init in ["tini", "catatonit", "dumb-init"] {
        // No reader is left: nothing is lost but the message.
        pair.same(&format!("{init} nope 2>&1 | true"));
    }
}

#[test]
fn what_tini_says_of_orphans_is_the_same() {
    let pair = Pair::new();
    let orphans = "for i in $(seq 20); do (sleep 0.1 &); done; sleep 0.5";
    let outcome = pair.same(&format!("{NS} tini -w -- sh -c '{orphans}'"));
    assert_eq!(
        outcome.errors.matches("Reaped zombie").count(),
        20,
        "{outcome:?}"
    );
    let outcome = pair.same(&format!("{NS} tini -- sh -c '{orphans}'"));
    assert_eq!(outcome.errors, "");
}

/// It isn't PID 1 here, which the kernel would spare; nor in a group without a parent
/// in its session, as the tests' own may be, which it would spare, too.
#[test]
fn dumb_init_stops_with_its_children_and_goes_on_with_them() {
    let pair = Pair::new();
    for option in ["", "-c"] {
        for signal in ["TSTP", "TTIN", "TTOU"] {
            let outcome = pair.same(&format!(
                "perl -e 'setpgrp; exec @ARGV' dumb-init {option} sleep 100 &
                 states() {{ ps -o stat= -p $! --ppid $! | cut -c1 | tr -d '\\n'; }}
                 become() {{
                     n=0
                     until [ \"$(states)\" = $1 ] || [ $((n += 1)) = 200 ]; do sleep 0.05; done
                     states; echo
                 }}
                 become SS; kill -{signal} $!; become TT; kill -CONT $!; become SS
                 kill -TERM $!; wait $!; echo $?"
            ));
            assert_eq!(outcome.output, "SS\nTT\nSS\n143\n", "{option} {signal}");
        }
    }
}

#[test]
fn a_pause_ends_by_the_same_signals() {
    let pair = Pair::new();
    for signal in ["TERM", "INT"] {
        let outcome = pair.same(&format!(
            "catatonit -P & sleep 0.2; kill -HUP $!; kill -QUIT $!; sleep 0.2; kill -0 $! && \
             echo there; kill -{signal} $!; wait $!; echo $?"
        ));
        assert_eq!(outcome.output, "there\n0\n", "{signal}");
    }
}

/// What one moves for.
#[test]
fn a_variable_of_ours_asks_for_drainit() {
    let pair = Pair::new();
    let listener = "perl -MIO::Socket::INET -e '$SIG{TERM} = sub { exit 0 }; \
        IO::Socket::INET->new(Listen => 9, LocalAddr => q(127.0.0.1)) or die; \
        my $l = IO::Socket::INET->new(Listen => 9, LocalAddr => q(127.0.0.1)); \
        kill TERM, 1; sleep 100; sleep 100'";
    for init in ["tini -g --", "dumb-init", "catatonit --"] {
        let ours = Pair::run(
            &pair.ours,
            &format!("DRAINIT_DELAY=0.3s {NS} {init} {listener}"),
        );
        assert_eq!(ours.code, Some(0), "{ours:?}");
        for part in [
            "SIGTERM   lame duck: what listens serves on for 0.3 s",
            " report ",
        ] {
            assert!(ours.errors.contains(part), "{ours:?}");
        }
    }
    let wrong = Pair::run(&pair.ours, "DRAINIT_DELAY=x tini true");
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    // Kubernetes makes such a variable for a Service called drainit.
    let foreign = Pair::run(&pair.ours, "DRAINIT_PORT=tcp://10.0.0.1:80 tini -s true");
    assert_eq!((foreign.code, &*foreign.errors), (Some(0), ""));
}

/// What drainit does better, as the documentation has it.
#[test]
fn a_closed_standard_input_is_no_failure() {
    let pair = Pair::new();
    for init in ["tini -s --", "dumb-init", "catatonit --"] {
        let ours = Pair::run(&pair.ours, &format!("{init} sh -c 'exit 5' <&- >&-"));
        assert_eq!(ours.code, Some(5), "{ours:?}");
    }
    let listen_pid = "LISTEN_PID=$$ exec tini -s -- sh -c 'test $LISTEN_PID = $$'";
    assert_eq!(Pair::run(&pair.ours, listen_pid).code, Some(0));
}

/// All else here rests on this.
#[test]
fn pids_are_taken_out_of_messages() {
    let text = "[WARN  tini (31)] x pid=7\nERROR (catatonit:12): tini (tini version 0.19.0)";
    let expected = "[WARN  tini (N)] x pid=N\nERROR (catatonit:N): tini (tini version 0.19.0)";
    assert_eq!(without_pids(text), expected);
    let installed = INITS.map(|(_, path)| Command::new(path).arg("--version").output().is_ok());
    assert_eq!(installed, [true; 4]);
}
