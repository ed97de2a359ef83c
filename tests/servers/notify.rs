//! What systemd would be told of real servers.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::run::PATIENCE;
use crate::site::{self, Setup, Site};

/// In the place of systemd.
struct Manager {
    socket: UnixDatagram,
    variable: String,
}

impl Manager {
    fn of(site: &Site) -> Self {
        let path = site.path("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let variable = format!("NOTIFY_SOCKET={path}");
        Self { socket, variable }
    }

    /// What it is told, until that is in it.
    #[track_caller]
    fn told_until(&self, part: &str) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        while !told.last().is_some_and(|last| last.contains(part)) {
            let mut buffer = [0; 1000];
            let length = self.socket.recv(&mut buffer);
            let length = length.unwrap_or_else(|error| panic!("no {part:?}: {error}, {told:?}"));
            told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        told
    }
}

/// A file whose reader waits until it is opened for writing.
fn gate(site: &Site) -> String {
    let gate = site.path("gate");
    let made = Command::new("mkfifo").arg(&gate).status();
    assert!(made.unwrap().success());
    gate
}

/// Returns when somebody has come to read, who then goes on.
fn open(gate: &str) {
    drop(fs::OpenOptions::new().write(true).open(gate).unwrap());
}

/// Debian's php-fpm tells it, too, and MAINPID, if it can.
#[test]
fn it_is_ready_when_the_last_one_is() {
    let site = Site::new(&Setup::default());
    let (manager, gate) = (Manager::of(&site), gate(&site));
    let nginx = format!("sh -c 'read go < {gate}; exec {}'", site.nginx_command());
    let drainit = site
        .drainit()
        .below(&["env", &manager.variable])
        .services(&[("php-fpm", &site.php_fpm_command()), ("nginx", &nginx)])
        .start();
    let mut told = manager.told_until("STATUS=serving: php-fpm; starting: nginx");
    assert_eq!(
        site.connect().map(drop).map_err(|it| it.kind()),
        Err(std::io::ErrorKind::ConnectionRefused)
    );
    open(&gate);
    told.extend(manager.told_until("serving: php-fpm, nginx"));
    assert_eq!(site.get("/hello.php").unwrap().body, "hello from PHP");
    drainit.stop();
    told.extend(manager.told_until("STOPPING=1\nSTATUS=stopping by SIGTERM; "));
    told.extend(manager.told_until("; ended: php-fpm, nginx"));
    drainit.exit().code(0);
    let ready: Vec<&String> = told.iter().filter(|it| it.contains("READY")).collect();
    assert_eq!(
        ready,
        ["READY=1\nSTATUS=serving: php-fpm, nginx"],
        "{told:?}"
    );
    assert!(!told.concat().contains("MAINPID"), "{told:?}");
}

#[test]
fn a_command_that_becomes_nginx_is_ready_when_that_listens() {
    let site = Site::new(&Setup::default());
    let (manager, gate) = (Manager::of(&site), gate(&site));
    let script = format!("#!/bin/sh\nread go < {gate}\nexec \"$@\"\n");
    let entrypoint = site.script("entrypoint", &script);
    let config = site.path("nginx.conf");
    let drainit = site
        .drainit()
        .below(&["env", &manager.variable])
        .command(&[
            &entrypoint,
            &site::nginx(),
            "-c",
            &config,
            "-g",
            "daemon off;",
        ])
        .start();
    let told = manager.told_until("STATUS=serving: entrypoint");
    assert!(!told.concat().contains("READY"), "{told:?}");
    open(&gate);
    manager.told_until("READY=1\n");
    assert!(site.get("/hello.txt").is_ok());
    drainit.signal(libc::SIGTERM);
    drainit.exit().code(0);
}
