//! The command line and the environment as users get them wrong: each mistake
//! is one line that names the thing, and an exit code as a shell has it,
//! before anything was started. And what is printed on request.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use common::{Scratch, drainit};

/// Runs it to its end: exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// It ends with this code and one line on standard error, with these in it.
#[track_caller]
fn assert_refused(command: &mut Command, code: i32, parts: &[&str]) {
    let (got, stdout, stderr) = run(command);
    assert_eq!(got, code, "{command:?}: {stderr}");
    assert_eq!(stdout, "", "{command:?}");
    assert!(
        stderr.starts_with("drainit: ") && stderr.ends_with('\n') && stderr.lines().count() == 1,
        "{command:?}: not one line of ours: {stderr:?}"
    );
    for part in parts {
        assert!(stderr.contains(part), "{command:?}: no {part:?}: {stderr}");
    }
}

#[test]
fn bad_arguments_are_refused_in_one_line() {
    for (arguments, parts) in [
        (&["--dealy", "5", "true"][..], &["--dealy", "--delay"][..]),
        (&["--delay"], &["--delay", "value is required"]),
        (
            &["--delay", "soon", "true"],
            &["--delay", "'soon'", "500ms"],
        ),
        (&["--delay", "-1", "true"], &["-1"]),
        (&["--delay", "inf", "true"], &["--delay", "'inf'"]),
        (&["--delay", "5ss", "true"], &["--delay", "'5ss'"]),
        (&["--delay", "1", "--delay", "2", "true"], &["--delay"]),
        (
            &["--grace-period", "10ms", "true"],
            &["--grace-period", "100ms"],
        ),
        (
            &["--grace-period", "long", "true"],
            &["--grace-period", "'long'"],
        ),
        (
            &["--start-timeout", "never", "true"],
            &["--start-timeout", "'never'"],
        ),
        (
            &["--start-timeout", "0s", "true"],
            &["--start-timeout", "'0s'", "no limit"],
        ),
        (
            &["--stop-signal", "TREM", "true"],
            &["--stop-signal", "'TREM'"],
        ),
        (&["--stop-signal", "65", "true"], &["--stop-signal", "'65'"]),
        (
            &["--rewrite", "HUP", "true"],
            &["--rewrite", "'HUP'", "FROM=TO"],
        ),
        (&["--rewrite", "HUP=NIX", "true"], &["--rewrite", "'NIX'"]),
        (&["--marker", "here", "true"], &["--marker", "'here'"]),
        (&["--log-format", "xml", "true"], &["--log-format", "'xml'"]),
        (
            &["--log-prefix", "perhaps", "true"],
            &["--log-prefix", "'perhaps'", "true nor false"],
        ),
        (&["--log-level", "loud", "true"], &["--log-level", "'loud'"]),
        (&[""], &["empty"]),
        (&["nginx-snippet", "more"], &["'more'"]),
    ] {
        assert_refused(&mut drainit(arguments), 2, parts);
    }
}

#[test]
fn bad_services_are_refused_in_one_line() {
    for (arguments, parts) in [
        (
            &["--service", "queue"][..],
            &["queue", "--service 'queue=COMMAND'"][..],
        ),
        (&["--service", "apache2"], &["apache2", "COMMAND"]),
        (&["--service", "=true"], &["=true", "name is empty"]),
        (&["--service", "queue="], &["queue=", "empty"]),
        (&["--service", "queue='  "], &["queue=", "'"]),
        (
            &["--service", "a=true", "--service", "a=false"],
            &["a=false", "two services of the name a"],
        ),
        (
            &["--service", "a=true", "echo", "hi"],
            &["--service", "echo hi", "DRAINIT_SERVICES"],
        ),
        (
            &[
                "--stop-signal",
                "INT",
                "--service",
                "a=true",
                "--service",
                "b=true",
            ],
            &["--stop-signal", "SIGINT", "2 services"],
        ),
    ] {
        assert_refused(&mut drainit(arguments), 2, parts);
    }
}

#[test]
fn what_needs_a_shell_is_refused_and_says_so() {
    for line in [
        "a | b",
        "a && b",
        "a; b",
        "a > b",
        "a < b",
        "echo $HOME",
        "ls *",
        "\"$HOME\"",
        "`a`",
    ] {
        let service = format!("queue={line}");
        assert_refused(&mut drainit(["--service", &service]), 2, &[line, "sh -c"]);
    }
}

#[test]
fn a_delay_that_leaves_no_time_names_what_would_help() {
    // Docker's 10 s, of which the last two are for SIGTERM and SIGKILL.
    let parts = [
        "--delay",
        "30s",
        "below 8s",
        "Docker's 10s",
        "DRAINIT_GRACE_PERIOD",
    ];
    assert_refused(&mut drainit(["--delay", "30", "true"]), 2, &parts);
    assert_refused(
        &mut drainit(["--delay", "8", "true"]),
        2,
        &["8s", "DRAINIT_GRACE_PERIOD"],
    );
    assert_eq!(run(&mut drainit(["--delay", "7.9", "true"])).0, 0);
    assert_eq!(
        run(&mut drainit([
            "--delay",
            "30",
            "--grace-period",
            "40",
            "true"
        ]))
        .0,
        0
    );
    let parts = ["DRAINIT_DELAY", "30s", "Kubernetes's 30s"];
    let mut command = drainit(["true"]);
    command
        .env("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        .env("DRAINIT_DELAY", "30");
    assert_refused(&mut command, 2, &parts);
    // Who has given a grace period knows of it.
    let mut command = drainit(["--grace-period", "20", "--delay", "19", "true"]);
    assert_refused(&mut command, 2, &["--delay", "19s", "below 18s", "20s"]);
}

#[test]
fn bad_variables_are_refused_by_their_names() {
    for (name, value, part) in [
        ("DRAINIT_DELAY", "soon", "'soon'"),
        ("DRAINIT_GRACE_PERIOD", "0", "100ms"),
        ("DRAINIT_START_TIMEOUT", "soon", "'soon'"),
        ("DRAINIT_STOP_SIGNAL", "TREM", "'TREM'"),
        ("DRAINIT_REWRITE", "HUP=TERM\nUSR1", "'USR1'"),
        ("DRAINIT_MARKER", "here", "'here'"),
        ("DRAINIT_LOG_FORMAT", "xml", "'xml'"),
        ("DRAINIT_LOG_LEVEL", "loud", "'loud'"),
        ("DRAINIT_LOG_PREFIX", "perhaps", "'perhaps'"),
    ] {
        assert_refused(drainit(["true"]).env(name, value), 2, &[name, part]);
        assert_refused(
            drainit(["true"]).env(name, OsStr::from_bytes(b"\xff")),
            2,
            &[name, "UTF-8"],
        );
    }
    let services = "a=true\n\n  a=false\n";
    assert_refused(
        drainit::<&str>([]).env("DRAINIT_SERVICES", services),
        2,
        &["DRAINIT_SERVICES", "a=false", "two services"],
    );
}

/// A YAML block hands over line ends that nobody sees.
#[test]
fn a_value_with_a_line_end_makes_no_second_line() {
    for (arguments, code, parts) in [
        (&["--delay", "5\nx", "true"][..], 2, &["--delay", "5"][..]),
        (&["--service", "a=b |\nc"], 2, &["a=b", "sh -c"]),
        (&["--dealy\n", "true"], 2, &["--dealy"]),
        (&["no-such\ncommand"], 127, &["no-such"]),
    ] {
        assert_refused(&mut drainit(arguments), code, parts);
    }
}

/// A name is what a file is called, and that may be anything.
#[test]
fn a_name_with_a_line_end_writes_no_line_of_its_own() {
    let scratch = Scratch::new();
    let script = scratch.program("a\n\u{1b}[2Jdrainit:   0.0 s  b", "#!/bin/sh\nexit 3\n");
    for format in ["text", "json"] {
        let (code, _, stderr) = run(drainit([&script]).env("DRAINIT_LOG_FORMAT", format));
        assert_eq!(code, 3, "{stderr}");
        let is_ours = |line: &str| line.starts_with(['d', '{']);
        assert!(stderr.lines().all(is_ours), "{stderr}");
        assert!(!stderr.contains('\u{1b}'), "{stderr:?}");
        assert!(stderr.contains("[2Jdrainit"), "{stderr}");
    }
}

#[test]
fn a_flag_wins_over_its_variable_and_an_empty_one_is_unset() {
    let mut command = drainit(["--delay", "1", "true"]);
    let (code, _, stderr) = run(command.env("DRAINIT_DELAY", "3"));
    assert_eq!(code, 0);
    assert!(stderr.contains("delay 1s"), "{stderr}");
    let mut command = drainit(["true"]);
    let (code, _, stderr) = run(command.env("DRAINIT_DELAY", "3"));
    assert_eq!(code, 0);
    assert!(stderr.contains("delay 3s"), "{stderr}");
    let mut command = drainit(["true"]);
    for name in [
        "DRAINIT_DELAY",
        "DRAINIT_GRACE_PERIOD",
        "DRAINIT_START_TIMEOUT",
        "DRAINIT_STOP_SIGNAL",
        "DRAINIT_REWRITE",
        "DRAINIT_MARKER",
        "DRAINIT_LOG_FORMAT",
        "DRAINIT_LOG_LEVEL",
        "DRAINIT_LOG_PREFIX",
        "DRAINIT_SERVICES",
        "KUBERNETES_SERVICE_HOST",
    ] {
        command.env(name, "");
    }
    let (code, _, stderr) = run(&mut command);
    assert_eq!(code, 0);
    assert!(
        stderr.contains("grace period 10s, delay 2s to 5s "),
        "{stderr}"
    );
    assert!(stderr.contains("Docker"), "{stderr}");
}

/// A file of this text, and drainit that reads it.
fn with_file(scratch: &Scratch, text: &str) -> Command {
    let file = scratch.path("drainit.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = drainit::<&str>([]);
    command.arg("--config").arg(file);
    command
}

#[test]
fn a_mistake_in_the_file_has_its_place_and_nothing_is_started() {
    let scratch = Scratch::new();
    let started = "[[service]]\nname = \"a\"\ncommand = \"sh -c 'echo started'\"\n";
    for (text, code, parts) in [
        ("delay = \n", 2, &["drainit.toml:1:9: "][..]),
        ("delay = \"5x\"\n", 2, &["drainit.toml:1:9: delay: '5x'"]),
        ("dealy = 5\n", 2, &["drainit.toml:1:1: ", "'delay'"]),
        (
            "[[service]]\nname = \"x\"\ncommand = \"no-such-command\"\n",
            127,
            &["drainit.toml:3:11: command: no-such-command: command not found"],
        ),
        (
            "[[service]]\nname = \"x\"\ncommand = \"/\"\n",
            126,
            &["drainit.toml:3:11: command: /: not executable"],
        ),
        (
            "[[service]]\nname = \"x\"\ncommand = \"${NONE}\"\n",
            2,
            &["drainit.toml:3:11: command: ", "NONE is not set"],
        ),
    ] {
        let text = format!("{text}{started}");
        assert_refused(&mut with_file(&scratch, &text), code, parts);
        assert_refused(with_file(&scratch, &text).arg("config"), code, parts);
    }
    let none = scratch.path("none.toml");
    let none = none.to_str().unwrap();
    let missing = [none, "can't be read"];
    assert_refused(&mut drainit(["--config", none]), 2, &missing);
    assert_refused(drainit::<&str>([]).env("DRAINIT_CONFIG", none), 2, &missing);
    assert_refused(&mut drainit(["config", "--config", none]), 2, &missing);
}

#[test]
fn what_holds_is_printed_and_can_be_read_again() {
    let scratch = Scratch::new();
    let text = "[[service]]\nname = \"a\"\ncommand = \"sh -c 'exit 5'\"\n";
    let (code, printed, stderr) = run(with_file(&scratch, text).arg("config"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let line = printed.lines().find(|line| line.starts_with("command"));
    assert!(
        line.is_some_and(|line| line.ends_with("/drainit.toml:3")),
        "{printed}"
    );
    let (code, _, stderr) = run(&mut with_file(&scratch, &printed));
    assert_eq!(code, 5, "{stderr}");
}

#[test]
fn a_command_runs_alone_whatever_services_the_file_has() {
    let scratch = Scratch::new();
    let text = "delay = \"3s\"\n[[service]]\nname = \"a\"\ncommand = \"no-such\"\n";
    let (code, stdout, stderr) = run(with_file(&scratch, text).args(["echo", "c"]));
    assert_eq!((code, stdout.as_str()), (0, "c\n"), "{stderr}");
    assert!(
        stderr.contains("delay 3s") && stderr.contains("don't run"),
        "{stderr}"
    );
}

/// Kubernetes makes such variables for a Service called drainit.
#[test]
fn unknown_variables_of_our_prefix_are_ignored() {
    let mut command = drainit(["true"]);
    command
        .env("DRAINIT_PORT", "tcp://10.0.0.1:80")
        .env("DRAINIT_SERVICE_HOST", "10.0.0.1")
        .env("DRAINIT_SERVICE_PORT", "80");
    let (code, _, stderr) = run(&mut command);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stderr.contains("warning"), "{stderr}");
}

#[test]
fn services_may_come_from_the_environment_and_flags_win() {
    // Who ends beside another one is started again: so this one stops all.
    let b = "b=sh -c 'echo b; kill -INT $PPID; sleep 9'";
    let variable = format!("\n a=sh -c 'echo a; sleep 9' \n\n{b}\n");
    let (code, stdout, stderr) = run(drainit::<&str>([]).env("DRAINIT_SERVICES", &variable));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("b\n"), "{stdout}");
    assert!(stderr.contains("a         started"), "{stderr}");
    // As a Dockerfile's ENV has it, which has no line ends.
    let in_one_line = format!("a=sh -c 'echo a; sleep 9'; {b}");
    let (code, stdout, stderr) = run(drainit::<&str>([]).env("DRAINIT_SERVICES", in_one_line));
    assert_eq!(code, 0);
    assert!(stdout.contains("b\n"), "{stdout}");
    assert!(stderr.contains("a         started"), "{stderr}");
    // docker run IMAGE COMMAND
    let (code, stdout, _) = run(drainit(["echo", "c"]).env("DRAINIT_SERVICES", &variable));
    assert_eq!((code, stdout.as_str()), (0, "c\n"));
    let mut command = drainit(["--service", "c=sh -c 'exit 5'"]);
    let (code, stdout, _) = run(command.env("DRAINIT_SERVICES", variable));
    assert_eq!((code, stdout.as_str()), (5, ""));
}

#[test]
fn a_command_that_isnt_there_is_127() {
    for command in ["no-such-command", "/no/such/command", "./no-such-command"] {
        assert_refused(&mut drainit([command]), 127, &[command, "not found"]);
        let service = format!("queue={command}");
        assert_refused(
            &mut drainit(["--service", &service]),
            127,
            &[command, "not found"],
        );
    }
}

#[test]
fn a_command_that_cant_be_executed_is_126() {
    let scratch = Scratch::new();
    let file = scratch.path("plain");
    std::fs::write(&file, "text").unwrap();
    let file = file.to_str().unwrap();
    assert_refused(&mut drainit([file]), 126, &[file, "not executable"]);
    assert_refused(&mut drainit(["/"]), 126, &["/", "not executable"]);
}

/// Only the kernel knows this one, once it has tried.
#[test]
fn a_program_whose_interpreter_is_missing_is_127() {
    let scratch = Scratch::new();
    let script = scratch.program("script", "#!/no/such/interpreter\n");
    let (code, _, stderr) = run(&mut drainit([&script]));
    assert_eq!(code, 127, "{stderr}");
    assert!(stderr.contains(script.to_str().unwrap()), "{stderr}");
}

#[test]
fn the_help_and_the_version_are_printed() {
    let (code, stdout, stderr) = run(&mut drainit(["--help"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    for part in [
        "Usage: drainit",
        "--service",
        "--delay",
        "--grace-period",
        "DRAINIT_",
    ] {
        assert!(stdout.contains(part), "no {part}: {stdout}");
    }
    let (code, stdout, stderr) = run(&mut drainit(["--version"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, concat!("drainit ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn what_follows_a_command_is_the_commands() {
    for arguments in [
        &["echo", "--help", "--delay"][..],
        &["--", "echo", "--help", "--delay"],
        &["--log-level", "off", "--", "echo", "--help", "--delay"],
    ] {
        let (code, stdout, _) = run(&mut drainit(arguments));
        assert_eq!(
            (code, stdout.as_str()),
            (0, "--help --delay\n"),
            "{arguments:?}"
        );
    }
    // Words that a shell would have made something of.
    let (_, stdout, _) = run(&mut drainit(["--", "echo", "$HOME", "a b", "", "|"]));
    assert_eq!(stdout, "$HOME a b  |\n");
    let (_, stdout, _) = run(&mut drainit([
        OsStr::new("echo"),
        OsStr::new("--"),
        OsStr::new("x"),
    ]));
    assert_eq!(stdout, "-- x\n");
}

#[test]
fn words_that_are_no_text_reach_the_command_as_they_are() {
    let output = drainit([OsStr::new("echo"), OsStr::from_bytes(b"\xff\xfe")])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"\xff\xfe\n");
}

#[test]
fn the_nginx_snippet_names_the_marker() {
    let (code, stdout, stderr) = run(&mut drainit(["nginx-snippet"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(
        stdout.contains("if (-f /dev/shm/drainit.draining$drained)"),
        "{stdout}"
    );
    assert!(stdout.contains("keepalive_timeout 0"), "{stdout}");

    let (_, with_flag, _) = run(&mut drainit(["--marker", "/run/x", "nginx-snippet"]));
    let (_, with_variable, _) = run(drainit(["nginx-snippet"]).env("DRAINIT_MARKER", "/run/x"));
    assert_eq!(
        with_flag,
        stdout.replace("/dev/shm/drainit.draining", "/run/x")
    );
    assert_eq!(with_variable, with_flag);

    let (code, stdout, _) = run(&mut drainit(["--marker", "none", "nginx-snippet"]));
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_refused(
        &mut drainit(["--marker", "x", "nginx-snippet"]),
        2,
        &["--marker", "'x'"],
    );
}

#[test]
fn the_health_snippet_names_the_marker_and_nothing_else_is_printed() {
    let (code, stdout, stderr) = run(&mut drainit([
        "nginx-snippet",
        "--health",
        "--marker",
        "/run/x",
    ]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(
        stdout.contains("location = /drainit-health {") && stdout.contains("if (-f /run/x) {"),
        "{stdout}"
    );
    assert!(!stdout.contains("__drain"), "{stdout}");
    let none = ["--marker", "none", "nginx-snippet", "--health"];
    assert_eq!(run(&mut drainit(none)), (0, String::new(), String::new()));
}

/// As it is typed at least as often.
#[test]
fn the_nginx_snippet_takes_the_marker_behind_it_too() {
    let (code, stdout, stderr) = run(&mut drainit(["nginx-snippet", "--marker", "/run/x"]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("if (-f /run/x$drained)"), "{stdout}");
}
