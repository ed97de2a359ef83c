//! The last resort: what a panic, which should be impossible, leads to.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::report::logger::OURSELVES;
use crate::signal::Signal;
use crate::sys::process::{self, Pid, Reaped};

/// How long it sleeps between two looks for children that have ended.
const PAUSE: Duration = Duration::from_millis(10);

/// The main processes, each with its stop signal.
static MAINS: Mutex<Vec<(Pid, Signal)>> = Mutex::new(Vec::new());

pub(super) fn remember_main(pid: Pid, stop: Signal) {
    if let Ok(mut mains) = MAINS.lock() {
        mains.push((pid, stop));
    }
}

pub(super) fn forget_main(pid: Pid) {
    if let Ok(mut mains) = MAINS.lock() {
        mains.retain(|(main, _)| *main != pid);
    }
}

/// A panic should be impossible. If one happens all the same, the services are
/// asked to stop, and killed when their time is over.
pub(super) fn end_in_hook(patience: Duration) {
    let own_pid = Pid::own();
    std::panic::set_hook(Box::new(move |panic| {
        // The services are none of a forwarder's.
        if Pid::own() != own_pid {
            std::process::exit(101);
        }
        // The panic may have come while it was held.
        let mains = MAINS
            .try_lock()
            .map(|mains| mains.clone())
            .unwrap_or_default();
        last_resort(&mains, patience, || {
            log::error!(target: OURSELVES, "{panic}; stopping all services");
        });
        std::process::exit(101);
    }));
}

/// `say` says so, which may fail: after what has to be done at once.
fn last_resort(mains: &[(Pid, Signal)], patience: Duration, say: impl FnOnce()) {
    for (pid, stop) in mains {
        // It may have gone, or be stopped.
        let _ = process::kill(*pid, *stop);
        let _ = process::kill(*pid, Signal::CONT);
    }
    say();
    let start = Instant::now();
    while start.elapsed() < patience {
        match process::reap() {
            Reaped::NoChildren => return,
            Reaped::Child(..) => {}
            Reaped::Nothing => thread::sleep(PAUSE),
        }
    }
    for (pid, _) in mains {
        let _ = process::kill_group(*pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command, Output, Stdio};

    use super::*;

    /// A child that has set this trap for SIGTERM.
    fn child(trap: &str) -> (Child, Pid) {
        let script = format!("trap '{trap}' TERM; echo ready; while :; do :; done");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        let pid = Pid::new(child.id().try_into().unwrap()).unwrap();
        (child, pid)
    }

    /// Has a test run in a process of its own; returns what that printed. `None` if
    /// we are that process.
    fn alone(test: &str) -> Option<Output> {
        const ALONE: &str = "DRAINIT_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return None;
        }
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", &format!("{module}::{test}")]);
        Some(alone.env(ALONE, "1").output().unwrap())
    }

    /// Alone, as the hook is everybody's.
    #[test]
    fn a_panic_asks_the_services_and_ends_with_101() {
        if let Some(output) = alone("a_panic_asks_the_services_and_ends_with_101") {
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(101), "{said}");
            assert!(!said.contains("test result"), "it went on: {said}");
            return;
        }
        let (child, pid) = child("exit 7");
        remember_main(pid, Signal::TERM);
        end_in_hook(Duration::from_secs(20));
        panic!("on purpose, with {child:?}");
    }

    /// Alone, and one test: the last resort reaps whatever child there is, other
    /// tests' too.
    #[test]
    fn the_last_resort_asks_and_then_kills() {
        if let Some(output) = alone("the_last_resort_asks_and_then_kills") {
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        let (mut polite, pid) = child("exit 7");
        last_resort(&[(pid, Signal::TERM)], Duration::from_secs(20), || {});
        assert!(polite.wait().is_err(), "it was not reaped");

        let (mut stubborn, pid) = child("");
        last_resort(&[(pid, Signal::TERM)], Duration::ZERO, || {});
        assert_eq!(stubborn.wait().unwrap().signal(), Some(9));
    }
}
