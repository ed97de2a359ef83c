//! `drainit-import` beside Supervisor itself: what its own parser reads in a file is
//! what the importer has to make of it.
//!
//! Needs Debian's supervisor, which brings a Python that reads TOML, and fails without.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use drainit::import::{Host, Import, Source, import};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

const IMPORTER: &str = env!("CARGO_BIN_EXE_drainit-import");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The environment that both read.
const VARIABLES: [(&str, &str); 16] = [
    ("MEMORY", "128"),
    ("OCTANE_OPTIONS", "--workers=4"),
    ("PORT", "8000"),
    ("APP_FILE", "/app/my server.js"),
    ("LANG", "C.UTF-8"),
    ("PATH", "/usr/bin:/bin"),
    ("PATIENCE", "9"),
    ("QUEUE", "default"),
    ("QUEUE_OPTIONS", "--sleep=3  --tries=3"),
    ("RETRIES", "7"),
    ("RUN_AS", "www-data"),
    ("SIGNAL", "QUIT"),
    ("STAGE", "production"),
    ("WHERE", "/tmp"),
    ("WITH_QUEUE", "true"),
    ("WITHOUT_WEB", "0"),
];

fn command(program: &str) -> Command {
    let name = nix::sys::utsname::uname().unwrap();
    let mut command = Command::new(program);
    command.env_clear().envs(VARIABLES).env("WORKERS", "2");
    command.env("HOSTNAME", name.nodename());
    command.stdin(Stdio::null());
    command
}

/// A directory of its own below the tests' scratch, empty.
fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("import")
        .join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Imports a file by the program, as users do.
fn run(file: &Path) -> Output {
    command(IMPORTER).arg(file).output().unwrap()
}

/// What the importer makes of a text, without a file.
fn imported(bytes: &[u8]) -> Result<Import, String> {
    let source = Source {
        name: "supervisord.conf",
        directory: "/etc",
        bytes,
    };
    let host = Host {
        variable: &|_| None,
        files: &|_| Vec::new(),
    };
    import(&source, &host)
}

/// All `.conf` below the corpus that aren't included by another.
fn corpus() -> Vec<PathBuf> {
    let directory = Path::new(ROOT).join("tests/import/corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            if path.is_dir() {
                path.join("supervisord.conf")
            } else {
                path
            }
        })
        .collect();
    files.sort();
    files
}

/// Has the oracle compare each of these lines.
#[track_caller]
fn assert_like_supervisor(lines: &str) {
    let mut oracle = command("/usr/bin/python3")
        .arg(Path::new(ROOT).join("tests/import/oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = oracle.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    let output = oracle.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let count = lines.lines().count();
    assert!(
        said.contains(&format!("{count} compared, 0 differences")),
        "{said}"
    );
}

#[test]
fn files_as_people_write_them_are_read_as_supervisor_reads_them() {
    let scratch = scratch("corpus");
    let mut lines = String::new();
    let files = corpus();
    assert!(files.len() > 12, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        let output = run(file);
        let code = output.status.code().unwrap();
        let remarks = scratch.join(format!("{number}.txt"));
        let toml = scratch.join(format!("{number}.toml"));
        assert!(code < 3, "{}: {output:?}", file.display());
        fs::write(&toml, output.stdout).unwrap();
        fs::write(&remarks, output.stderr).unwrap();
        writeln!(
            lines,
            "{}\t{}\t{}",
            file.display(),
            toml.display(),
            remarks.display()
        )
        .unwrap();
    }
    assert_like_supervisor(&lines);
}

/// drainit itself reads each file that the importer makes. What they run isn't installed.
#[test]
fn what_is_imported_is_read() {
    let scratch = scratch("read");
    for (number, file) in corpus().iter().enumerate() {
        let output = run(file);
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("enabled = "));
        let text: Vec<&str> = lines.collect();
        let text = text.join("\n");
        let count = text.matches("[[service]]").count();
        let text = text.replace("[[service]]", "[[service]]\nenabled = false");
        let toml = scratch.join(format!("{number}.toml"));
        fs::write(&toml, &text).unwrap();
        let output = command(env!("CARGO_BIN_EXE_drainit"))
            .arg("config")
            .arg("--config")
            .arg(&toml)
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}: {said}\n{text}",
            file.display()
        );
        assert!(count > 0, "{}", file.display());
        assert_eq!(shown.matches("[[service]]").count(), count, "{shown}");
    }
}

#[test]
fn a_signal_without_a_name_is_written_by_its_number() {
    let text = b"[program:x]\ncommand=/srv/a\nstopsignal=33\n";
    let file = imported(text).unwrap().file;
    assert!(file.contains("stop-signal = \"33\"\n"), "{file}");
}

/// Writes what became of a text where the oracle finds it: its line.
fn written(directory: &Path, number: usize, text: &str) -> String {
    let path = |end: &str| directory.join(format!("{number}.{end}"));
    fs::write(path("conf"), text).unwrap();
    if let Ok(Import { file, remarks, .. }) = imported(text.as_bytes()) {
        fs::write(path("toml"), file).unwrap();
        fs::write(path("txt"), remarks.join("\n")).unwrap();
    }
    let [conf, toml, remarks] = ["conf", "toml", "txt"].map(|end| path(end).display().to_string());
    format!("{conf}\t{toml}\t{remarks}\n")
}

/// As many values as this, always the same.
fn samples<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    let sample = |_| strategy.new_tree(&mut runner).unwrap().current();
    (0..count).map(sample).collect()
}

/// Several of these, one behind the other.
fn pieces(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(select(pieces), 1..most).prop_map(|pieces| pieces.concat())
}

#[test]
fn any_quoting_and_any_comment_is_read_as_supervisor_reads_it() {
    let scratch = scratch("quoting");
    let command = pieces(
        &[
            "a",
            "b ",
            "'",
            "\"",
            "\\",
            " ",
            ";",
            "#",
            " ;",
            " #",
            "%%",
            "%(ENV_STAGE)s",
            "$",
            "=",
            "%(program_name)s",
            "ü",
            "|",
            "\n ",
            "\n\n  ",
            "%",
            "'x y'",
            "\t",
            "\"c  d\" ",
            "'e;'",
        ],
        9,
    );
    let environment = pieces(
        &[
            "A=",
            "B=",
            "1",
            "x/y",
            "'",
            "\"",
            ",",
            ",C=",
            " ",
            "'a,b'",
            "\"c d\"",
            "\n ",
            "#",
            "%%",
            "ü",
            "%(ENV_STAGE)s",
            ";",
            "$A",
            "@",
            ":",
            "A=\"1\",",
            "B='2',",
        ],
        8,
    );
    let values = samples((command, environment, any::<bool>()), 1500);
    let texts = values.into_iter().map(|(command, environment, has)| {
        let environment = if has {
            format!("environment={environment}\n")
        } else {
            String::new()
        };
        format!("[supervisord]\nnodaemon=true\n[program:x]\ncommand=x {command}\n{environment}")
    });
    let lines = texts.enumerate();
    let lines = lines.map(|(number, text)| written(&scratch, number, &text));
    assert_like_supervisor(&lines.collect::<String>());
}

/// What a program may say, one of each.
const KEYS: [&[&str]; 14] = [
    &[
        "autorestart=true",
        "autorestart=false",
        "autorestart=unexpected",
        "autorestart=Off",
        "",
    ],
    &["startsecs=0", "startsecs=1", "startsecs=5", ""],
    &["startretries=0", "startretries=3", "startretries=10", ""],
    &[
        "exitcodes=0",
        "exitcodes=0,2",
        "exitcodes=",
        "exitcodes=256",
        "",
    ],
    &["autostart=false", "autostart=1", "autostart=maybe", ""],
    &[
        "stopsignal=QUIT",
        "stopsignal=sigint",
        "stopsignal=9",
        "stopsignal=TREM",
        "",
    ],
    &["stopwaitsecs=5", "stopwaitsecs=0", "stopwaitsecs=3600", ""],
    &["user=daemon", "user=0", "user=root", ""],
    &[
        "numprocs=2\nprocess_name=n%(process_num)02d",
        "numprocs=0",
        "process_name=y",
        "",
    ],
    &[
        "stdout_logfile=/dev/stdout",
        "stdout_logfile=NONE",
        "stdout_logfile=/tmp/x",
        "",
    ],
    &[
        "redirect_stderr=true",
        "stderr_logfile=/dev/fd/2",
        "stderr_syslog=true",
        "",
    ],
    &[
        "umask=022",
        "directory=/tmp",
        "directory=/tmp/%(process_num)d",
        "directory=tmp",
        "",
    ],
    &[
        "priority=1",
        "priority=-5",
        "killasgroup=true",
        "stopasgroup=1",
        "stopasgroup=1\nkillasgroup=0",
        "",
    ],
    &["environment=N=\"%(process_num)d\"", "environment=A=1", ""],
];

fn any_program() -> impl Strategy<Value = String> {
    let name = select(&["nginx", "php-fpm", "x", "queue"][..]);
    let command = select(
        &[
            "nginx",
            "php-fpm -F",
            "/srv/x",
            "php artisan queue:work",
            "echo %(numprocs)d",
        ][..],
    );
    let lines: Vec<_> = KEYS.iter().map(|it| select(*it)).collect();
    (name, command, lines).prop_map(|(name, command, lines)| {
        let lines = lines.join("\n");
        format!("[program:{name}]\ncommand={command}\n{lines}\n")
    })
}

#[test]
fn any_combination_of_keys_is_read_as_supervisor_reads_it() {
    let scratch = scratch("keys");
    let texts = samples(proptest::collection::vec(any_program(), 1..4), 1500);
    let lines = texts.iter().enumerate().map(|(number, programs)| {
        let text = format!("[supervisord]\nnodaemon=true\n{}", programs.concat());
        written(&scratch, number, &text)
    });
    assert_like_supervisor(&lines.collect::<String>());
}

/// Bytes that get further than the first line.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 31] = [
        "\n[program:x]\n",
        "\n[program:%]\n",
        "[group:g]\nprograms=x,y\n",
        "[include]\nfiles=",
        "\ncommand=",
        "\nenvironment=",
        "numprocs=999999999999\n",
        "%(process_num)99d",
        "\r",
        "=",
        "%(ENV_A)s",
        "\nprocess_name=",
        "\nautostart=",
        "startsecs=%(ENV_B)s\n",
        "\u{feff}",
        ":",
        "[eventlistener:x]\nevents=PROCESS_LOG\n",
        "[supervisord]\n",
        "\nstopsignal=",
        "\0",
        "'",
        "\nexitcodes=,",
        "[DEFAULT]\n",
        "\nuser=",
        "\"",
        "\\",
        "$",
        "${",
        "\n ",
        "numprocs=2\n",
        "command=x %(process_num)d\n",
    ];
    let text = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..12),
            "\\PC{0,12}".prop_map(String::into_bytes),
            select(&PIECES[..]).prop_map(|text| text.as_bytes().to_vec()),
        ]
    };
    let line = (
        select(KEYS.concat()),
        proptest::collection::vec(text(), 1..3),
    );
    let line = line.prop_map(|(key, texts)| {
        let key = key.split('=').next().unwrap().as_bytes().to_vec();
        let mut value = texts.concat();
        value.retain(|byte| !b"\r\n".contains(byte));
        [b"\n", &key[..], b"=", &value[..], b"\n"].concat()
    });
    let section =
        "[a-z:]{0,9}".prop_map(|name| format!("[program:x{name}]\ncommand=x").into_bytes());
    let piece = prop_oneof![1 => text(), 9 => line, 3 => section];
    proptest::collection::vec(piece, 0..30)
        .prop_map(|pieces| [b"[supervisord]\n".to_vec(), pieces.concat()].concat())
}

proptest! {
    #[test]
    fn any_bytes_are_imported_or_refused(bytes in any_file()) {
        match imported(&bytes) {
            Ok(import) => {
                prop_assert!(import.code <= 2);
                prop_assert!(import.remarks.iter().all(|line| !line.contains('\n')));
            }
            Err(line) => prop_assert!(!line.contains('\n')),
        }
    }
}

#[test]
fn whatever_is_written_is_toml() {
    let scratch = scratch("bytes");
    let mut lines = String::new();
    for (number, bytes) in samples(any_file(), 1500).iter().enumerate() {
        let Ok(Import { file, .. }) = imported(bytes) else {
            continue;
        };
        let toml = scratch.join(format!("{number}.toml"));
        fs::write(&toml, file).unwrap();
        writeln!(lines, "\t{}\t", toml.display()).unwrap();
    }
    assert!(lines.lines().count() > 100);
    assert_like_supervisor(&lines);
}

/// What is said of these lines, which begin with the second of the file.
fn said(lines: &str) -> (u8, String) {
    let import = imported(format!("[supervisord]\n{lines}").as_bytes()).unwrap();
    (import.code, import.remarks.join("\n"))
}

#[test]
fn what_isnt_simply_kept_is_said_by_its_line() {
    let program = |lines: &str| {
        format!(
            "[program:x]\ncommand=/srv/x\nstdout_logfile=/dev/stdout\nstderr_logfile=/dev/stderr\n\
             exitcodes=0\n{lines}\n"
        )
    };
    let line = |number: usize, word: &str, rest: &str| {
        format!("supervisord.conf:{number}: {word}: {rest}")
    };
    for (lines, code, expected) in [
        (
            "nodaemon=true\npidfile=/x\n".to_owned(),
            0,
            line(2, "dropped", "nodaemon, pidfile: "),
        ),
        (
            "[unix_http_server]\nfile=/x\n[rpcinterface:y]\na=b\n".to_owned(),
            0,
            line(2, "dropped", "[unix_http_server], [rpcinterface:y]: "),
        ),
        ("umask=022\n".to_owned(), 0, String::new()),
        (
            "umask=002\n".to_owned(),
            2,
            line(2, "refused", "umask=002: "),
        ),
        (
            "minfds=65536\n".to_owned(),
            1,
            line(2, "changed", "minfds=65536: each service has it, as nofile"),
        ),
        (
            "nodeamon=true\n".to_owned(),
            1,
            line(
                2,
                "was wrong",
                "nodeamon=true: supervisord knows no such key; did you mean nodaemon?",
            ),
        ),
        (
            "[inet_http_server]\nport=9001\n".to_owned(),
            2,
            line(2, "refused", "[inet_http_server]: "),
        ),
        (
            "[fcgi-program:x]\ncommand=x\n".to_owned(),
            2,
            line(2, "refused", "[fcgi-program:x]: "),
        ),
        (
            "[programme:x]\ncommand=x\n".to_owned(),
            1,
            line(
                2,
                "was wrong",
                "[programme:x]: supervisord knows no such section",
            ),
        ),
        (
            "[include]\nfiles=/nowhere/*.conf\n".to_owned(),
            1,
            line(
                3,
                "was wrong",
                "files=/nowhere/*.conf: no file matches /nowhere/*.conf",
            ),
        ),
        (
            "[include]\nfiles=%(ENV_NOWHERE)s\n".to_owned(),
            2,
            line(
                3,
                "refused",
                "files=%(ENV_NOWHERE)s: NOWHERE isn't set here",
            ),
        ),
        (
            "[eventlistener:x]\ncommand=crashmail -m a@b\nevents=PROCESS_STATE\n".to_owned(),
            2,
            line(
                2,
                "refused",
                "[eventlistener:x]: drainit has no event listeners",
            ),
        ),
        (
            "[eventlistener:x]\ncommand=kill.py\nevents=PROCESS_STATE_FATAL\n".to_owned(),
            1,
            line(2, "changed", "[eventlistener:x]: essential = true"),
        ),
        (
            "[eventlistener:x]\ncommand=x\nevents=PROCESS_LOG\n".to_owned(),
            1,
            line(2, "changed", "[eventlistener:x]: log-prefix = true"),
        ),
        (
            program("autorestart=true"),
            1,
            line(7, "was wrong", "autorestart=true: it hides a crash loop"),
        ),
        (
            program("autorestart=true\nstartsecs=0"),
            1,
            line(
                8,
                "was wrong",
                "startsecs=0: with autorestart it is started again at once and for ever",
            ),
        ),
        (
            program("autorestart=false\nstartsecs=0"),
            1,
            line(
                7,
                "changed",
                "autorestart=false: with startsecs=0 it runs once: oneshot = true",
            ),
        ),
        (
            program("autorestart=false"),
            1,
            line(
                7,
                "was wrong",
                "autorestart=false: restart = \"no\"; supervisord did start it again where it ended within startsecs",
            ),
        ),
        (
            program(""),
            1,
            line(
                2,
                "was wrong",
                "[program:x]: nobody notices when it is dead",
            ),
        ),
        (
            program("stopwaitsecs=3600"),
            1,
            line(
                7,
                "was wrong",
                "stopwaitsecs=3600: the runtime kills all before",
            ),
        ),
        (
            program("autostart=false"),
            1,
            line(7, "kept", "autostart=false: enabled = false"),
        ),
        (
            program("autostart=%(ENV_X)s"),
            1,
            line(
                7,
                "kept",
                "autostart=%(ENV_X)s: enabled is what that variable says",
            ),
        ),
        (
            program("user=www-data"),
            1,
            line(7, "changed", "user=www-data: HOME, USER and LOGNAME"),
        ),
        (program("umask=077"), 2, line(7, "refused", "umask=077: ")),
        (
            program("stdout_syslog=true"),
            2,
            line(
                7,
                "refused",
                "stdout_syslog=true: drainit writes to no syslog",
            ),
        ),
        (
            program("stopasgroup=true"),
            1,
            line(7, "changed", "stopasgroup=true: "),
        ),
        (
            program("priority=1"),
            1,
            line(7, "kept", "priority: supervisord's order was x"),
        ),
        (
            program("command=x\n  stopsignal=INT"),
            1,
            line(
                8,
                "was wrong",
                "stopsignal stands further to the right than command",
            ),
        ),
        (
            program("command=%(here)s/x"),
            1,
            line(7, "kept", "command=%(here)s/x: %(here)s is /etc"),
        ),
        (
            program("command=x"),
            1,
            line(
                3,
                "was wrong",
                "command stands again in line 7, which holds",
            ),
        ),
        (
            program("command=sh -c 'php x'"),
            1,
            line(
                7,
                "was wrong",
                "command=sh -c 'php x': the shell stays, and passes no signal on",
            ),
        ),
        (
            program("command=sh -c \"a ; b\""),
            2,
            line(
                7,
                "refused",
                "command=sh -c \"a: a \" has no end: a ; or # behind a space begins a comment",
            ),
        ),
        (
            program("command=date +%Y"),
            2,
            line(7, "refused", "command=date +%Y: a % stands alone"),
        ),
        (
            program("command=pidproxy /x y"),
            2,
            line(7, "refused", "command=pidproxy /x y: pidproxy"),
        ),
        (
            program("command=cron"),
            2,
            line(
                7,
                "refused",
                "command=cron: it goes to the background, where nobody sees its end: add -f",
            ),
        ),
        (
            program("command=echo $HOME"),
            1,
            line(
                7,
                "was wrong",
                "command=echo $HOME: supervisord leaves a $ as it is",
            ),
        ),
        (
            program("command=supervisorctl restart y"),
            1,
            line(
                7,
                "was wrong",
                "command=supervisorctl restart y: no supervisord",
            ),
        ),
        (
            program("command=nginx"),
            1,
            line(
                2,
                "was wrong",
                "[program:x]: supervisord stopped it by TERM",
            ),
        ),
        (
            program("command=nginx\nstopsignal=TERM"),
            1,
            line(8, "was wrong", "stopsignal=TERM: TERM cuts its requests"),
        ),
        (
            program("numprocs=2\nprocess_name=a%(process_num)d"),
            1,
            line(
                7,
                "changed",
                "numprocs=2: the instances are called x-1, x-2",
            ),
        ),
        (
            program(
                "numprocs=%(ENV_N)s\nprocess_name=a%(process_num)d\nenvironment=N=\"%(process_num)d\"",
            ),
            2,
            line(2, "refused", "[program:x]: each process has its number"),
        ),
        (
            program("directory=app"),
            2,
            line(
                7,
                "refused",
                "directory=app: drainit wants a path from the root",
            ),
        ),
        (
            program("numprocs=101\nprocess_name=a%(process_num)d"),
            2,
            line(
                7,
                "refused",
                "numprocs=101: drainit has at most 100 instances",
            ),
        ),
        (
            "[include]\n".to_owned(),
            1,
            line(2, "was wrong", "[include]: it has no files"),
        ),
        (
            "[program:x]\nautostart=true\n".to_owned(),
            2,
            line(2, "refused", "[program:x]: it has no command"),
        ),
        (
            "[group:g]\nprograms=none\n".to_owned(),
            1,
            line(2, "was wrong", "[group:g]: there is no program none"),
        ),
    ] {
        let (got, remarks) = said(&lines);
        let found = remarks.lines().any(|it| it.starts_with(&expected));
        assert!(
            found || expected.is_empty() && remarks.is_empty(),
            "{lines}\n{expected}\n{remarks}"
        );
        assert_eq!(got, code, "{lines}\n{remarks}");
    }
}

#[test]
fn what_stood_before_a_web_server_was_stopped_too_early() {
    let both = "[program:nginx]\ncommand=nginx\n[program:php-fpm]\ncommand=php-fpm\n";
    for (rest, expected) in [
        (
            "",
            "[program:php-fpm]: supervisord stopped it before nginx, as equal priorities go by name",
        ),
        (
            "priority=1000\n",
            "[program:php-fpm]: supervisord stopped it before nginx: each stop",
        ),
        (
            "[group:g]\nprograms=php-fpm,nginx\n",
            "[program:php-fpm]: supervisord stopped it together with nginx",
        ),
        ("priority=1\n", ""),
    ] {
        let import = imported(format!("{both}{rest}").as_bytes()).unwrap();
        let order = import
            .file
            .match_indices("name = ")
            .map(|(at, _)| import.file[at + 7..].lines().next().unwrap());
        assert_eq!(
            order.collect::<Vec<_>>(),
            ["\"php-fpm\"", "\"nginx\""],
            "{rest}"
        );
        let remarks = import.remarks.join("\n");
        let is_said =
            remarks.contains("supervisord stopped it before") || remarks.contains("together");
        assert_eq!(is_said, !expected.is_empty(), "{remarks}");
        assert!(remarks.contains(expected), "{remarks}");
    }
}

#[test]
fn marks_and_line_ends_of_windows_are_read() {
    let text = "\u{feff}[program:x]\r\ncommand=/srv/\u{e4}\r\nautorestart=true\r\n";
    let import = imported(text.as_bytes()).unwrap();
    assert!(
        import
            .file
            .contains("command = \"/srv/\u{e4}\"\nrestart = \"always\"\n"),
        "{}",
        import.file
    );
    assert!(
        import.remarks[0].starts_with("supervisord.conf:1: was wrong: a byte order mark"),
        "{:?}",
        import.remarks
    );
    let import = imported(b"[program:x]\ncommand=/srv/x\n; \xe4\n").unwrap();
    assert!(
        import
            .remarks
            .iter()
            .any(|it| it.starts_with("supervisord.conf:3: was wrong: this isn't text in UTF-8"))
    );
}

#[test]
fn the_program_reads_standard_input_and_ends_with_what_it_found() {
    let import = |arguments: &[&str], input: &str| {
        let mut child = command(IMPORTER)
            .args(arguments)
            .current_dir(scratch("program"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, file, said) = import(&["-"], "[supervisord]\nnodaemon=true\n");
    assert_eq!((code, file.lines().count()), (0, 1), "{said}");
    assert_eq!(
        said,
        "-:2: dropped: nodaemon: drainit has no need of them\n"
    );
    for (arguments, input, expected, part) in [
        (
            &["-"][..],
            "[program:x]\ncommand=x\n",
            1,
            "-:1: was wrong: ",
        ),
        (
            &["-"],
            "[program:x]\ncommand=cron\n",
            2,
            "-:2: refused: command=cron: ",
        ),
        (
            &["-"],
            "command=x\n",
            3,
            "drainit-import: -:1: no [section] stands before it\n",
        ),
        (
            &["-"],
            "[program:x]\n\ncommand\n",
            3,
            "drainit-import: -:3: 'command' is no KEY=VALUE\n",
        ),
        (
            &["nothing.conf"],
            "",
            3,
            "drainit-import: nothing.conf: No such file",
        ),
        (
            &["--delay"],
            "",
            3,
            "drainit-import: one FILE, or - for standard input",
        ),
        (
            &["a", "b"],
            "",
            3,
            "drainit-import: one FILE, or - for standard input",
        ),
    ] {
        let (code, _, said) = import(arguments, input);
        assert_eq!(code, expected, "{said}");
        assert!(said.contains(part), "{said}");
    }
    let (code, help, _) = import(&["--help"], "");
    assert_eq!(code, 0);
    assert!(
        help.contains("FILE:LINE: kept|changed|dropped|refused|was wrong"),
        "{help}"
    );
}

/// The blocks of `docs/moving-from-supervisord.md` in that language.
fn blocks(language: &str) -> Vec<String> {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/moving-from-supervisord.md")).unwrap();
    let fence = format!("```{language}\n");
    let mut parts = page.split(&fence);
    parts.next();
    parts
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_page_says_what_the_importer_says() {
    let (files, tomls, said) = (blocks("ini"), blocks("toml"), blocks("text"));
    assert_eq!((files.len(), tomls.len(), said.len()), (3, 3, 3));
    for ((file, toml), said) in files.iter().zip(tomls).zip(said) {
        let import = imported(file.as_bytes()).unwrap();
        assert_eq!(import.file, toml);
        assert_eq!(import.remarks.join("\n") + "\n", said);
    }
    let directory = scratch("page");
    let lines = files.iter().enumerate();
    let lines = lines.map(|(number, file)| written(&directory, number, file));
    assert_like_supervisor(&lines.collect::<String>());
}
