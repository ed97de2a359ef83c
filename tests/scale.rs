//! A stop where there are many services, or many processes. It says what it
//! measures: `cargo test --test scale -- --nocapture`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::{Running, drainit, service};
use libc::SIGTERM;

/// One after the other: each would have the others measure it.
static ALONE: Mutex<()> = Mutex::new(());

/// Many processes that do nothing, in the same /proc as all.
#[derive(Debug)]
struct Herd(Child);

impl Herd {
    fn start(number: u32) -> Self {
        let script = r#"
            for (1 .. $ARGV[0]) {
                my $pid = fork // die "fork: $!";
                if (!$pid) { sleep 600 while 1 }
            }
            $| = 1; print "ready\n"; sleep 600 while 1
        "#;
        // Whoever is in the namespace ends with its first process.
        let mut perl = Command::new("unshare");
        perl.args(["--pid", "--fork", "--kill-child", "perl", "-e", script]);
        perl.arg(number.to_string()).stdout(Stdio::piped());
        let mut perl = perl.spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(perl.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(perl)
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// It took 10.2 s, which is Docker's SIGKILL and no report.
#[test]
fn four_hundred_services_stop_in_time() {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = drainit(["--delay", "0", "--grace-period", "60"]);
    for number in 1..=400 {
        command.args(["--service", &format!("s{number}=sleep 600")]);
    }
    let mut running = Running::start(&mut command);
    running.wait_for_line("s400      started");
    running.wait_until_asleep();
    let asked = Instant::now();
    running.signal(SIGTERM);
    assert_eq!(running.wait_exit(), 0);
    let took = asked.elapsed();
    println!("400 services: stopped in {took:.2?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(
        running.count("killed by SIGTERM") >= 400,
        "{}",
        running.log()
    );
    drop(alone);
}

/// The last was asked after 2.3 s.
#[test]
fn services_beside_thousands_of_processes_are_asked_at_once() {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let herd = Herd::start(10_000);
    let names: Vec<String> = (1..=9).map(|number| format!("s{number}")).collect();
    let mut command = drainit(["--delay", "0", "--grace-period", "60"]);
    for name in &names {
        command.args(["--service", &service(&format!("{name} TERM=0"))]);
    }
    let mut running = Running::start(&mut command);
    for name in &names {
        running.wait_for_puppet(name);
    }
    running.wait_until_asleep();
    let asked = Instant::now();
    running.signal(SIGTERM);
    for name in &names {
        running.wait_for_line(&format!("{name} got SIGTERM"));
    }
    let took = asked.elapsed();
    assert_eq!(running.wait_exit(), 0);
    println!("9 services beside 10,000 processes: the last was asked after {took:.2?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    drop(herd);
    drop(alone);
}
