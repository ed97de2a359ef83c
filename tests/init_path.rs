//! The binary that users get, as what `docker run --init` runs: a second engine, by
//! `dockerd --init-path`, has it for its `docker-init`.
//!
//! Needs root, Docker and `make dist`, and fails without.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod containers;

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use containers::{
    Container, ENGINE, Terminal, assert_order, binary, command, docker, example, wait_until,
};

/// An engine of its own, which goes when this does, with all that it has made.
struct Engine {
    /// The process that made its namespaces. When it ends, so does dockerd.
    unshare: Child,
    /// What dockerd says, until it has ended; `None` once that was read.
    log: Option<JoinHandle<io::Result<String>>>,
    /// All its files.
    directory: PathBuf,
}

impl Engine {
    /// Starts one whose init is a copy of that file. Its bridge, its mounts and its
    /// processes are in namespaces that end with it: the machine's engine sees nothing of
    /// them, and they are gone however it ends.
    #[track_caller]
    fn start(init: &Path) -> Self {
        // On the file system that the machine's engine is on, its storage driver works.
        let asked = docker(&["info", "--format", "{{.Driver}} {{.DockerRootDir}}"]);
        let (driver, root) = asked.split_once(' ').unwrap();
        let name = format!("drainit-test-init-path-{}", std::process::id());
        let directory = Path::new(root).with_file_name(name);
        fs::create_dir(&directory).unwrap();
        let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        fs::copy(init, file("docker-init")).unwrap();
        // The machine's own file may set what we set, which would be an error.
        fs::write(file("daemon.json"), "{}").unwrap();
        let socket = format!("unix://{}", file("socket"));
        let unshare = command("unshare", &["--net", "--mount", "--pid", "--mount-proc"])
            .args(["--fork", "--kill-child=TERM", "dockerd"])
            .args(["--host", &socket, "--config-file", &file("daemon.json")])
            .args(["--data-root", &file("data"), "--exec-root", &file("exec")])
            .args(["--pidfile", &file("pid"), "--storage-driver", driver])
            .args(["--init-path", &file("docker-init")])
            .args([
                "--log-level=error",
                "--iptables=false",
                "--ip-masq=false",
                "--ip-forward=false",
            ])
            // Where containerd is a service of the machine, both engines use it.
            .args(["--containerd-namespace=drainit-test"])
            .args(["--containerd-plugins-namespace=drainit-test-plugins"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut unshare = unshare.unwrap();
        let mut stderr = unshare.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let mut engine = Self {
            unshare,
            log: Some(log),
            directory,
        };
        wait_until("the engine answers", || {
            assert!(engine.unshare.try_wait().unwrap().is_none(), "it has ended");
            let asked = command("docker", &["--host", &socket, "info"]).output();
            asked.unwrap().status.success()
        });
        ENGINE.set(socket).unwrap();
        engine
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The kernel tells dockerd to end, and its namespaces' end is that of the pipe.
        self.unshare.kill().unwrap();
        self.unshare.wait().unwrap();
        let log = self.log.take().unwrap().join().unwrap();
        if thread::panicking() {
            eprintln!("dockerd said:\n{}", log.unwrap());
        }
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// All in one, as they share the engine, which a test's end ends.
#[test]
fn docker_runs_it_as_its_own_init() {
    let image = example("nginx");
    // The machine's engine is the one that is asked, until the other one is there.
    let mut saved = command("docker", &["save", &image])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _engine = Engine::start(&binary());
    let loaded = command("docker", &["load", "--quiet"])
        .stdin(saved.stdout.take().unwrap())
        .status();
    assert!(loaded.unwrap().success());
    assert!(saved.wait().unwrap().success());

    the_engine_reads_its_version();
    exit_codes_are_the_commands(&image);
    orphans_are_reaped(&image);
    a_stop_is_the_commands(&image);
    Terminal::check_job_control(&PLAIN, &image, &["--norc"]);
    a_variable_delays_a_stop(&image);
}

/// A shell below the engine's init, without the image's own drainit.
const PLAIN: [&str; 3] = ["--init", "--no-healthcheck", "--entrypoint=bash"];

fn the_engine_reads_its_version() {
    let component = "{{range .Server.Components}}{{.Name}} {{.Version}}\n{{end}}";
    let versions = docker(&["version", "--format", component]);
    assert!(versions.contains("\ndocker-init 0.19.0"), "{versions}");
    // It would be N/A.
    let commit = docker(&["info", "--format", "{{.InitCommit.ID}}"]);
    assert_eq!(commit, "");
}

fn exit_codes_are_the_commands(image: &str) {
    for (script, code, said) in [
        ("exit 7", 7, ""),
        ("kill -KILL $$", 128 + 9, ""),
        ("exec no-such-command", 127, "no-such-command"),
    ] {
        let run = [&["run", "--rm"][..], &PLAIN, &[image, "-c", script]].concat();
        let output = command("docker", &run).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{script}: {errors}");
        assert!(errors.contains(said), "{errors}");
    }
    // Here it is the init that says so, not the shell.
    let run = ["run", "--rm", "--init", "--entrypoint=no-such", image];
    let output = command("docker", &run).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(127), "{errors}");
    assert_order(
        &errors,
        &["[FATAL tini (", "exec no-such failed: No such file"],
    );
}

fn orphans_are_reaped(image: &str) {
    let script = "for i in {1..100}; do (sleep 0 &); done
        while grep -q '^State:.Z' /proc/[0-9]*/status; do sleep 0.1; done 2>/dev/null
        echo none is left; exec sleep 1000";
    let container = Container::start(&PLAIN, image, &["-c", script]);
    container.log().wait_for("none is left");
}

fn a_stop_is_the_commands(image: &str) {
    let script = "trap 'echo terminated; exit 3' TERM; sleep 1000 & echo ready; wait";
    let container = Container::start(&PLAIN, image, &["-c", script]);
    let log = container.log();
    log.wait_for("ready");
    assert_eq!(container.stop().exit_code, 3);
    log.wait_for("terminated");
    // Nothing of ours.
    assert_eq!(log.text(), "ready\nterminated\n");
}

fn a_variable_delays_a_stop(image: &str) {
    let options = ["--init", "--env=DRAINIT_DELAY=2s", "--entrypoint=nginx"];
    let container = Container::start(&options, image, &["-g", "daemon off;"]);
    docker(&["exec", &container.name, "drainit", "ready", "--wait=60s"]);
    let log = container.log();
    let stopped = container.stop();
    let report = log.report();
    let lines = [
        "SIGTERM   lame duck",
        "nginx     <- SIGQUIT",
        "nginx     exited 0",
        "  report  ",
    ];
    assert_order(&log.text(), &lines);
    assert_eq!(stopped.exit_code, 0, "{report}");
    assert!(stopped.took >= Duration::from_secs(2), "{report}");
}
