//! The faults that real containers found, as far as they take real servers:
//! nginx and php-fpm. What it needs and how it goes is said in `servers.rs`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "common/dispositions.rs"]
mod dispositions;
#[path = "servers/http.rs"]
#[allow(dead_code, reason = "servers.rs uses the rest")]
mod http;
#[path = "servers/run.rs"]
#[allow(dead_code, reason = "servers.rs uses the rest")]
mod run;
#[path = "servers/site.rs"]
#[allow(dead_code, reason = "servers.rs uses the rest")]
mod site;

use std::fs;
use std::process::Command;

use run::{AS_PID_1, wait_until};
use site::{Pm, Setup, Site};

/// Root without `CAP_KILL`, as after `cap_drop: ALL`, may not signal www-data's
/// workers: a child that has become www-data may.
#[test]
fn without_the_right_to_signal_workers_php_fpm_is_drained_all_the_same() {
    let without_kill = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"];
    for pm in [Pm::Static, Pm::Ondemand] {
        let site = Site::new(&Setup {
            pm,
            ..Setup::default()
        });
        let drainit = site
            .drainit()
            .below(&[AS_PID_1, &without_kill].concat())
            .start();
        drainit.wait_for("nginx ready");
        let slow = site.ask_slowly(2);
        assert_eq!(site.get("/late.php?late").unwrap().body, "early");
        site.upstream.wait_for_one_more();
        drainit.stop();
        site.upstream.release();
        slow.are_whole();
        let outcome = drainit.exit();
        assert!(fs::exists(site.path("results/late")).unwrap());
        outcome
            .code(0)
            .in_order(&[
                "nginx exited 0",
                "php-fpm workers <- SIGQUIT",
                "php-fpm master <- SIGQUIT",
                "php-fpm exited 0",
            ])
            .without("forced");
    }
}

/// A web server drains first: a websocket server that takes its time must not
/// eat nginx's, and may be what nginx proxies to.
#[test]
fn nginx_drains_before_what_listens_behind_it_in_the_list() {
    let site = Site::new(&Setup::default());
    let listener = "use IO::Socket::INET;
        my $listener = IO::Socket::INET->new(Listen => 9, LocalAddr => q(127.0.0.1)) or die;
        $SIG{TERM} = sub { exit 0 }; sleep 1 while 1";
    let drainit = site
        .drainit()
        .services(&[
            ("php-fpm", &site.php_fpm_command()),
            ("nginx", &site.nginx_command()),
            ("websocket", &format!("perl -e '{listener}'")),
        ])
        .start();
    drainit.wait_for("websocket started");
    // It does so once it listens.
    wait_until("the websocket server handles SIGTERM", || {
        handles_term(drainit.pid_of("websocket"))
    });
    let slow = site.ask_slowly(2);
    drainit.stop();
    site.upstream.release();
    slow.are_whole();
    drainit
        .exit()
        .code(0)
        .in_order(&[
            "nginx <- SIGQUIT",
            "nginx exited 0",
            "websocket <- SIGTERM",
            "websocket exited 0",
            "php-fpm workers <- SIGQUIT",
            "php-fpm master <- SIGQUIT",
            "php-fpm exited 0",
        ])
        .without("forced");
}

fn handles_term(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask >> (libc::SIGTERM - 1) & 1 == 1)
}

/// A script's `comm` is its file's name, so these look like the servers, which
/// run below them.
#[test]
fn scripts_that_are_called_as_the_servers_lose_nothing() {
    let site = Site::new(&Setup::default());
    let wrapper =
        |name, command: &str| site.script(name, &format!("#!/bin/bash\n{command}\necho over\n"));
    let php_fpm = wrapper("php-fpm", &format!("{} -F", site.php_fpm_command()));
    fs::create_dir(site.path("bin")).unwrap();
    let nginx = wrapper(
        "bin/nginx",
        &format!("{} -g 'daemon off;'", site.nginx_command()),
    );
    let drainit = site
        .drainit()
        .services(&[("php-fpm", &php_fpm), ("nginx", &nginx)])
        .start();
    drainit.wait_for("nginx ready");
    let slow = site.ask_slowly(2);
    assert_eq!(site.get("/late.php?late").unwrap().body, "early");
    site.upstream.wait_for_one_more();
    drainit.stop();
    site.upstream.release();
    slow.are_whole();
    let outcome = drainit.exit();
    assert!(fs::exists(site.path("results/late")).unwrap());
    outcome
        .code(0)
        .in_order(&[
            "nginx <- SIGQUIT",
            "php-fpm workers <- SIGQUIT",
            "php-fpm master <- SIGQUIT",
        ])
        .without("forced");
}

/// As nixpkgs wraps it, whose `comm` is `.php-fpm-wrappe`: its title says what
/// it is.
#[test]
fn a_php_fpm_under_another_name_finishes_its_work() {
    let site = Site::new(&Setup::default());
    let command = site.php_fpm_command();
    let (program, arguments) = command.split_once(' ').unwrap();
    let wrapped = site.path(".php-fpm-wrapped");
    let mut install = Command::new("install");
    install.args(["-m", "755", program, &wrapped]);
    assert!(install.status().unwrap().success());
    let drainit = site
        .drainit()
        .services(&[
            ("fpm", &format!("{wrapped} -F {arguments}")),
            ("nginx", &site.nginx_command()),
        ])
        .start();
    drainit.wait_for("nginx ready");
    wait_until("the site answers", || {
        site.get("/hello.php").is_ok_and(|page| page.status == 200)
    });
    assert_eq!(site.get("/late.php?late").unwrap().body, "early");
    site.upstream.wait_for_one_more();
    drainit.stop();
    // nginx has nothing to wait for: the work is php-fpm's alone.
    drainit.wait_for("fpm workers <- SIGQUIT");
    site.upstream.release();
    let outcome = drainit.exit();
    assert!(fs::exists(site.path("results/late")).unwrap());
    outcome
        .code(0)
        .in_order(&[
            "nginx exited 0",
            "fpm workers <- SIGQUIT",
            "fpm master <- SIGQUIT",
            "fpm exited 0",
        ])
        .without("fpm <- SIGTERM");
}
