//! `sys::proc::Glance`, in a process that has no other children.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use drainit::sys::proc::Glance;
use drainit::sys::process::Pid;

#[test]
fn a_glance_sees_whether_a_child_is_alone_and_what_it_has_become() {
    let script = "echo; read x; sleep 100 & echo; read x; kill $!; wait $!; exec \"$@\"";
    let thread = "import threading\nthreading.Thread(target=input).start()\nprint()\ninput()";
    let words = ["-c", script, "sh", "python3", "-c", thread];
    let mut command = Command::new("sh");
    let command = command.args(words).stderr(Stdio::null());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut input = child.stdin.take().unwrap();
    let pid = Pid::new(child.id().try_into().unwrap()).unwrap();
    let glance = Glance::at(pid).unwrap();

    lines.next().unwrap().unwrap();
    assert!(glance.is_lone(|comm| comm == "sh"));
    let mut other = Command::new("true").spawn().unwrap();
    assert!(!glance.is_lone(|_| true), "another child of ours");
    other.wait().unwrap();
    assert!(glance.is_lone(|comm| comm == "sh"));
    writeln!(input).unwrap();
    lines.next().unwrap().unwrap();
    assert!(!glance.is_lone(|_| true), "a child of its own");
    writeln!(input).unwrap();
    lines.next().unwrap().unwrap();
    assert!(!glance.is_lone(|_| true), "another thread");
    writeln!(input).unwrap();
    let start = Instant::now();
    while !glance.is_lone(|comm| comm.starts_with("python3")) {
        assert!(start.elapsed().as_secs() < 20);
        thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!glance.is_lone(|_| true), "it was reaped");
}
