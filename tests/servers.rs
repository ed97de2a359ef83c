//! drainit with real servers: nginx and php-fpm, each test on a site of its
//! own. What PHP waits for is released by the test when drainit has said that
//! it is where it could lose a request, so that nothing depends on timing.
//!
//! Needs nginx, php-fpm, haproxy, lighttpd, the user www-data, and root, for other users and for
//! namespaces.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "common/dispositions.rs"]
mod dispositions;
#[path = "servers/http.rs"]
mod http;
#[path = "servers/network.rs"]
mod network;
#[path = "servers/notify.rs"]
mod notify;
#[path = "servers/proxies.rs"]
mod proxies;
#[path = "servers/run.rs"]
mod run;
#[path = "servers/site.rs"]
mod site;

use std::fs;
use std::io::{self, ErrorKind};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use run::{AS_PID_1, Drainit, send, wait_until};
use site::{Listen, Pm, Setup, Site};

/// How a stop of both servers goes on, whatever asked for it.
const DRAIN: [&str; 6] = [
    "nginx <- SIGQUIT",
    "nginx exited 0",
    "php-fpm workers <- SIGQUIT",
    "php-fpm master <- SIGQUIT",
    "php-fpm exited 0",
    "report ",
];

/// More than that many requests are never under way in these tests.
const MANY: usize = 20;

/// Starts both servers and waits until they answer.
fn up(site: &Site) -> Drainit<'_> {
    let drainit = site.drainit().start();
    drainit.wait_for("nginx ready");
    drainit
}

/// The slow requests that are under way survive a stop, and all is well.
fn slow_requests_survive(site: &Site, drainit: Drainit, count: usize) {
    let slow = site.ask_slowly(count);
    drainit.stop();
    site.upstream.release();
    slow.are_whole();
    let outcome = drainit.exit();
    outcome
        .code(0)
        .in_order(&DRAIN)
        .reports(&[
            "report SIGTERM,",
            "; php-fpm drained ",
            "; nginx drained ",
            " SIGQUIT exited 0",
        ])
        .without("<- SIGTERM");
}

/// A stop of both servers with 20 slow requests under way.
fn twenty_survive(listen: Listen, process_control_timeout: u32) {
    for pm in [Pm::Static, Pm::Dynamic, Pm::Ondemand] {
        let site = Site::new(&Setup {
            pm,
            listen,
            process_control_timeout,
            max_children: 20,
            ..Setup::default()
        });
        slow_requests_survive(&site, up(&site), MANY);
    }
}

#[test]
fn slow_requests_survive_on_a_unix_socket_at_timeout_0() {
    twenty_survive(Listen::Unix, 0);
}

#[test]
fn slow_requests_survive_on_a_unix_socket_at_timeout_20() {
    twenty_survive(Listen::Unix, 20);
}

#[test]
fn slow_requests_survive_on_tcp_at_timeout_0() {
    twenty_survive(Listen::Tcp, 0);
}

#[test]
fn slow_requests_survive_on_tcp_at_timeout_20() {
    twenty_survive(Listen::Tcp, 20);
}

#[test]
fn slow_requests_survive_below_pid_1() {
    let site = Site::new(&Setup {
        max_children: 20,
        ..Setup::default()
    });
    let drainit = site.drainit().below(AS_PID_1).start();
    drainit.wait_for("nginx ready");
    slow_requests_survive(&site, drainit, MANY);
}

#[test]
fn requests_that_wait_for_a_worker_survive() {
    let site = Site::new(&Setup {
        max_children: 2,
        ..Setup::default()
    });
    let drainit = up(&site);
    let slow = site.ask_slowly_at_once(MANY);
    for _ in 0..2 {
        site.upstream.wait_for_one_more();
    }
    drainit.stop();
    site.upstream.release();
    slow.are_whole();
    drainit.exit().code(0).in_order(&DRAIN);
}

#[test]
fn work_after_the_response_is_finished() {
    for pm in [Pm::Static, Pm::Dynamic, Pm::Ondemand] {
        let site = Site::new(&Setup {
            pm,
            ..Setup::default()
        });
        let drainit = up(&site);
        let names = ["one", "two"];
        for name in names {
            let response = site.get(&format!("/late.php?{name}")).unwrap();
            assert_eq!(response.body, "early");
            site.upstream.wait_for_one_more();
        }
        drainit.stop();
        // nginx has nothing left to wait for. Now the workers are asked, and
        // then is the moment when the master, if asked, would kill them.
        drainit.wait_for("php-fpm workers <- SIGQUIT");
        site.upstream.release();
        let outcome = drainit.exit();
        for name in names {
            let result = fs::read_to_string(site.path(&format!("results/{name}")));
            assert_eq!(result.unwrap(), format!("answer to /held?{name}"), "{pm:?}");
        }
        outcome.code(0).in_order(&DRAIN);
    }
}

#[test]
fn requests_are_answered_during_the_delay_and_refused_after_it() {
    let site = Site::new(&Setup::default());
    let drainit = site.drainit().delay("2s").start();
    drainit.wait_for("nginx ready");
    let asked = Instant::now();
    drainit.signal(libc::SIGTERM);
    drainit.wait_for("SIGTERM lame duck");
    for _ in 0..MANY {
        assert_eq!(site.get("/hello.php").unwrap().body, "hello from PHP");
        assert_eq!(site.get("/hello.txt").unwrap().body, "hello from a file");
    }
    // Begins during the delay, ends after it, and keeps nginx until then.
    let slow = site.ask_slowly(2);
    drainit.wait_for("nginx <- SIGQUIT");
    assert!(asked.elapsed() >= Duration::from_secs(2));
    wait_until("connections are refused", || {
        site.connect()
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    site.upstream.release();
    slow.are_whole();
    drainit.exit().code(0).in_order(&DRAIN);
}

/// How long the delay of both servers was, while that was done again and again.
fn delay_under(delay: &str, mut request: impl FnMut(&Site) -> io::Result<()>) -> Duration {
    let site = Site::new(&Setup::default());
    let drainit = site.drainit().delay(delay).grace_period("60s").start();
    drainit.wait_for("nginx ready");
    let asked = Instant::now();
    drainit.signal(libc::SIGTERM);
    drainit.wait_for("SIGTERM lame duck");
    while !drainit.has_said("nginx <- SIGQUIT") {
        if request(&site).is_err() {
            // It came too late, or else that is never said.
            drainit.wait_for("nginx <- SIGQUIT");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let length = asked.elapsed();
    drainit.exit().code(0).in_order(&DRAIN);
    length
}

#[test]
fn the_delay_ends_before_its_time_when_nothing_comes() {
    network::alone(|| {
        let length = delay_under("500ms..15s", |_| Ok(()));
        assert!(length >= Duration::from_secs(1), "{length:?}");
        assert!(length < Duration::from_secs(10), "{length:?}");
    });
}

#[test]
fn the_delay_has_all_its_time_while_requests_come() {
    network::alone(|| {
        let length = delay_under("500ms..3s", |site| site.get("/hello.txt").map(drop));
        assert!(length >= Duration::from_secs(3), "{length:?}");
    });
}

/// No connection is new, and yet each request is.
#[test]
fn requests_on_an_open_connection_keep_the_delay_up() {
    network::alone(|| {
        let mut client = None;
        let length = delay_under("500ms..3s", |site| {
            let client = match &mut client {
                Some(client) => client,
                None => client.insert(site.connect()?),
            };
            client.get("/hello.txt").map(drop)
        });
        assert!(length >= Duration::from_secs(3), "{length:?}");
    });
}

#[test]
fn a_stop_during_the_start_is_clean() {
    for below in [&[][..], AS_PID_1] {
        // The first is said before php-fpm is started.
        for line in ["drainit ", "nginx started"] {
            for milliseconds in [0, 1, 2, 5, 10, 20, 35, 50] {
                let site = Site::new(&Setup::default());
                let drainit = site.drainit().below(below).start();
                drainit.wait_for(line);
                // Not to wait for anything: it is what the test is about.
                thread::sleep(Duration::from_millis(milliseconds));
                drainit.signal(libc::SIGTERM);
                drainit.exit().code(0).without("forced");
            }
        }
    }
}

#[test]
fn each_stop_signal_stops() {
    for (number, name) in [
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGPWR, "SIGPWR"),
        (37, "SIGRTMIN+3"),
        (libc::SIGINT, "SIGINT"),
    ] {
        let site = Site::new(&Setup::default());
        let drainit = up(&site);
        let slow = site.ask_slowly(2);
        drainit.signal(number);
        drainit.wait_for("nginx <- SIGQUIT");
        // Runtimes repeat them.
        drainit.signal(libc::SIGTERM);
        drainit.wait_for("SIGTERM stopping already");
        site.upstream.release();
        slow.are_whole();
        drainit
            .exit()
            .code(0)
            .in_order(&DRAIN)
            .reports(&[&format!("report {name},")]);
    }
}

/// nginx alone would wait a minute for what browsers that connected in advance
/// never send. Who has sent a request gets the answer all the same.
#[test]
fn silent_clients_hold_nobody_up() {
    let site = Site::new(&Setup::default());
    let drainit = site.drainit().grace_period("300s").start();
    drainit.wait_for("nginx ready");
    let silent = [(); 3].map(|()| site.connect().unwrap());
    let slow = site.ask_slowly(1);
    drainit.stop();
    drainit.wait_for("nginx <- SIGQUIT");
    // More than the second that silent clients have.
    thread::sleep(Duration::from_millis(1500));
    assert!(!drainit.has_said("nginx <- SIGTERM"));
    site.upstream.release();
    slow.are_whole();
    drainit.exit().code(0).in_order(&[
        "nginx <- SIGQUIT",
        "nginx <- SIGTERM: only",
        "nginx exited 0",
    ]);
    drop(silent);
}

#[test]
fn a_stuck_request_is_cut_when_its_time_is_over() {
    let site = Site::new(&Setup::default());
    let drainit = site.drainit().delay("500ms").grace_period("4s").start();
    drainit.wait_for("nginx ready");
    let slow = site.ask_slowly(1);
    let asked = Instant::now();
    drainit.stop();
    drainit.wait_for("nginx <- SIGTERM, forced");
    // The grace period, less three times its tenth, which leaves php-fpm its
    // own time to drain.
    assert!(asked.elapsed() >= Duration::from_millis(2800));
    slow.are_cut();
    drainit
        .exit()
        .code(143)
        .in_order(&[
            "nginx <- SIGQUIT",
            "nginx <- SIGTERM, forced",
            "nginx exited 0",
            "php-fpm workers <- SIGQUIT",
            "php-fpm <- SIGTERM, forced",
            "php-fpm exited 0",
            "drainit warning: out of time: php-fpm after ",
        ])
        .reports(&["SIGTERM exited 0", "out of time"])
        .without("SIGKILL");
}

#[test]
fn workers_whose_master_was_killed_finish_what_they_have() {
    const LINES: [&str; 6] = [
        "php-fpm killed by SIGKILL",
        "php-fpm ended unasked",
        "nginx <- SIGQUIT",
        "nginx exited 0",
        "php-fpm master <- SIGQUIT",
        "report ended unasked,",
    ];
    let site = Site::new(&Setup::default());
    let drainit = up(&site);
    let slow = site.ask_slowly(2);
    send(drainit.pid_of("php-fpm"), libc::SIGKILL);
    drainit.wait_for("nginx <- SIGQUIT");
    site.upstream.release();
    slow.are_whole();
    let outcome = drainit.exit();
    outcome.code(137).in_order(&LINES).without("forced");

    let site = Site::new(&Setup::default());
    let drainit = up(&site);
    assert_eq!(site.get("/late.php?late").unwrap().body, "early");
    site.upstream.wait_for_one_more();
    send(drainit.pid_of("php-fpm"), libc::SIGKILL);
    // What is left of it: to the orphans it is as to workers.
    drainit.wait_for("php-fpm master <- SIGQUIT");
    site.upstream.release();
    let outcome = drainit.exit();
    assert!(fs::exists(site.path("results/late")).unwrap());
    outcome.code(137).in_order(&LINES).without("forced");
}

#[test]
fn a_wrong_configuration_stops_what_was_started() {
    let site = Site::new(&Setup::default());
    site.write("nginx.conf", "nonsense;");
    site.drainit()
        .start()
        .exit()
        .code(1)
        .in_order(&[
            "php-fpm ready",
            "nginx started",
            "nginx exited 1",
            "nginx ended after",
            "php-fpm workers <- SIGQUIT",
            "php-fpm exited 0",
        ])
        .without("SIGTERM");

    let site = Site::new(&Setup::default());
    site.write("php-fpm.conf", "nonsense");
    site.drainit()
        .start()
        .exit()
        .code(1)
        .in_order(&["php-fpm exited 78", "php-fpm ended after", "report "])
        .without("nginx started");
}

#[test]
fn the_health_location_fails_from_the_stop_request_on_and_logs_nothing() {
    let site = Site::new(&Setup::default());
    let output = Command::new(env!("CARGO_BIN_EXE_drainit"))
        .args(["--marker", &site.marker(), "nginx-snippet", "--health"])
        .output()
        .unwrap();
    let health = String::from_utf8(output.stdout).unwrap();
    site.configure(&Setup {
        // It would be looked for where an answer has no text.
        in_server: &format!("error_page 503 /hello.txt;\n{health}"),
        ..Setup::default()
    });
    let drainit = site.drainit().delay("2s").start();
    drainit.wait_for("nginx ready");
    let get = |path| {
        let response = site.get(path).unwrap();
        (response.status, response.body)
    };
    assert_eq!(get("/drainit-health"), (200, "ok\n".to_owned()));
    drainit.signal(libc::SIGTERM);
    drainit.wait_for("SIGTERM lame duck");
    assert_eq!(get("/drainit-health"), (503, "draining\n".to_owned()));
    assert_eq!(get("/hello.txt").0, 200);
    drainit.exit().code(0);
    let log = fs::read_to_string(site.path("access.log")).unwrap();
    assert!(
        log.contains("/hello.txt") && !log.contains("health"),
        "{log}"
    );
}

/// What drainit prints for nginx's `server {}`, and for each `location {}`.
fn snippet(marker: &str) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_drainit"))
        .args(["--marker", marker, "nginx-snippet"])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (in_server, in_location) = printed.split_once("# First in each location").unwrap();
    (in_server.to_owned(), format!("#{in_location}"))
}

#[test]
fn the_snippet_closes_connections_during_the_delay() {
    let site = Site::new(&Setup::default());
    let (in_server, in_location) = snippet(&site.marker());
    site.configure(&Setup {
        in_server: &in_server,
        in_location: &in_location,
        ..Setup::default()
    });
    // An earlier run was killed.
    site.write("draining", "");
    let drainit = site.drainit().delay("2s").start();
    drainit.wait_for("nginx ready");
    let pages = [
        ("/hello.php", "hello from PHP"),
        ("/hello.txt", "hello from a file"),
        ("/proxied/a?b=c", "answer to /proxied/a?b=c"),
    ];
    let mut clients = pages.map(|_| site.connect().unwrap());
    for (client, (path, body)) in clients.iter_mut().zip(pages) {
        for _ in 0..3 {
            let response = client.get(path).unwrap();
            assert_eq!((response.status, response.closes), (200, false), "{path}");
            assert_eq!(response.body, body);
        }
    }
    drainit.signal(libc::SIGTERM);
    drainit.wait_for("SIGTERM lame duck");
    for _ in 0..MANY {
        for (client, (path, body)) in clients.iter_mut().zip(pages) {
            let response = client.get(path).unwrap();
            assert_eq!((response.status, response.closes), (200, true), "{path}");
            assert_eq!(response.body, body);
            assert!(client.is_closed());
        }
        clients = pages.map(|_| site.connect().unwrap());
    }
    // nginx would wait for what these have to say.
    drop(clients);
    assert!(!drainit.has_said("nginx <- SIGQUIT"));
    drainit.exit().code(0).in_order(&DRAIN);
}

#[test]
fn a_wrapper_around_nginx_loses_nothing() {
    let scripts = [
        // A shell that waits for its child sees QUIT last of all.
        "NGINX\necho over\n",
        "trap '' QUIT TERM\nNGINX\necho over\n",
        "trap 'kill -TERM $pid' TERM QUIT\nNGINX & pid=$!\nwait $pid\n",
        "trap 'echo trapped' TERM\nNGINX & wait\n",
    ];
    for script in scripts {
        let site = Site::new(&Setup::default());
        let start = site.script(
            "start.sh",
            &format!(
                "#!/bin/bash\n{}",
                script.replace(
                    "NGINX",
                    &format!("{} -g 'daemon off;'", site.nginx_command())
                )
            ),
        );
        let drainit = site
            .drainit()
            .services(&[("php-fpm", &site.php_fpm_command()), ("nginx", &start)])
            .start();
        drainit.wait_for("nginx ready");
        let slow = site.ask_slowly(4);
        drainit.stop();
        site.upstream.release();
        slow.are_whole();
        let outcome = drainit.exit();
        // The script goes by itself once nginx has, or by the SIGTERM that it
        // gets then, whichever is first.
        let ends = ["nginx exited ", "nginx killed by SIGTERM"];
        let end = ends.into_iter().find(|end| outcome.says(end));
        outcome
            .code(0)
            .in_order(&[
                "nginx <- SIGQUIT",
                end.unwrap_or("nginx exited "),
                "php-fpm workers <- SIGQUIT",
                "php-fpm master <- SIGQUIT",
                "php-fpm exited 0",
            ])
            .without("forced");
    }
}

#[test]
fn a_queue_worker_holds_nobody_up() {
    let workers = [
        "sh -c 'while :; do read line; done < /dev/zero'",
        "php -r 'while (true) { fread(fopen(\"/dev/zero\", \"r\"), 1000000); }'",
    ];
    for worker in workers {
        let site = Site::new(&Setup::default());
        let drainit = site
            .drainit()
            .delay("1s")
            .services(&[
                ("php-fpm", &site.php_fpm_command()),
                ("nginx", &site.nginx_command()),
                ("queue", worker),
            ])
            .start();
        drainit.wait_for("queue started");
        let slow = site.ask_slowly(2);
        drainit.stop();
        site.upstream.release();
        slow.are_whole();
        let outcome = drainit.exit();
        outcome.code(0).in_order(&[
            "SIGTERM lame duck",
            "queue <- SIGTERM",
            "queue killed by SIGTERM",
            "nginx <- SIGQUIT",
        ]);
        outcome.in_order(&DRAIN);
    }
}

#[test]
fn a_script_that_starts_daemons_loses_nothing() {
    for below in [&[][..], AS_PID_1] {
        // The second has a shell that stays, the first may have one that becomes
        // its last command.
        for script in [
            "PHP-FPM -D; NGINX -g 'daemon off;'",
            "PHP-FPM -D; NGINX -g 'daemon off;'; true",
            "NGINX; PHP-FPM -F",
            "NGINX; PHP-FPM -F; true",
        ] {
            let site = Site::new(&Setup::default());
            let script = script
                .replace("NGINX", &site.nginx_command())
                .replace("PHP-FPM", &site.php_fpm_command());
            let drainit = site
                .drainit()
                .below(below)
                .command(&["sh", "-c", &script])
                .start();
            wait_until("the site answers", || {
                site.get("/hello.php").is_ok_and(|page| page.status == 200)
            });
            let slow = site.ask_slowly(2);
            assert_eq!(site.get("/late.php?late").unwrap().body, "early");
            site.upstream.wait_for_one_more();
            drainit.signal(libc::SIGTERM);
            drainit.wait_for("sh <- SIGQUIT");
            site.upstream.release();
            slow.are_whole();
            let outcome = drainit.exit();
            assert!(fs::exists(site.path("results/late")).unwrap(), "{script}");
            outcome
                .code(0)
                .in_order(&[
                    "sh <- SIGQUIT",
                    "sh workers <- SIGQUIT",
                    "sh master <- SIGQUIT",
                    "report SIGTERM,",
                ])
                .without("forced");
        }
    }
}

#[test]
fn an_entrypoint_that_becomes_nginx_is_stopped_as_nginx() {
    let commands = [
        &["sh", "-c", "exec NGINX -c CONF -g 'daemon off;'"][..],
        &["DIR/entrypoint", "NGINX", "-c", "CONF", "-g", "daemon off;"],
        // Stays in the foreground all the same.
        &["NGINX", "-c", "CONF"],
    ];
    for command in commands {
        let site = Site::new(&Setup::default());
        site.script("entrypoint", "#!/bin/sh\nexec \"$@\"\n");
        let command: Vec<String> = command
            .iter()
            .map(|word| {
                word.replace("NGINX", &site::nginx())
                    .replace("CONF", &site.path("nginx.conf"))
                    .replace("DIR", &site.path(""))
            })
            .collect();
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let name = words[0].rsplit('/').next().unwrap();
        let drainit = site.drainit().command(&words).start();
        wait_until("the site answers", || site.get("/hello.txt").is_ok());
        thread::scope(|scope| {
            let held = scope.spawn(|| site.get("/proxied/held"));
            site.upstream.wait_for_one_more();
            drainit.signal(libc::SIGTERM);
            drainit.wait_for(&format!("{name} <- SIGQUIT"));
            site.upstream.release();
            let body = held.join().unwrap().unwrap().body;
            assert_eq!(body, "answer to /proxied/held");
        });
        drainit
            .exit()
            .code(0)
            .in_order(&[
                &format!("{name} <- SIGQUIT"),
                &format!("{name} exited 0"),
                "report SIGTERM,",
            ])
            .without("<- SIGTERM");
    }
}

#[test]
fn hangup_reloads_nginx_and_leaves_php_fpm_alone() {
    let setup = |in_server| Setup {
        in_server,
        ..Setup::default()
    };
    let site = Site::new(&setup("location = /version { return 200 one; }"));
    let version = || site.get("/version").unwrap().body;
    let drainit = up(&site);
    assert_eq!(version(), "one");
    let slow = site.ask_slowly(2);

    site.configure(&setup("location = /version { return 200 two; }"));
    drainit.signal(libc::SIGHUP);
    drainit.wait_for("nginx <- SIGHUP");
    drainit.wait_for("php-fpm not reloaded");
    // The old workers accept for a moment yet.
    wait_until("the new configuration serves", || version() == "two");
    assert_eq!(site.get("/hello.php").unwrap().body, "hello from PHP");
    site.upstream.release();
    slow.are_whole();

    drainit.stop();
    drainit
        .exit()
        .code(0)
        .in_order(&DRAIN)
        .without("php-fpm <- SIGHUP");
}

#[test]
fn usr1_reopens_log_files() {
    let site = Site::new(&Setup::default());
    let drainit = up(&site);
    let logs = ["access.log", "php-fpm.log"].map(|log| site.path(log));
    for log in &logs {
        fs::rename(log, format!("{log}.1")).unwrap();
    }
    drainit.signal(libc::SIGUSR1);
    drainit.wait_for("nginx <- SIGUSR1");
    drainit.wait_for("php-fpm <- SIGUSR1");
    for log in logs {
        wait_until("the log is there anew", || fs::exists(&log).unwrap());
    }
    slow_requests_survive(&site, drainit, 2);
}

#[test]
fn without_arguments_what_is_installed_runs() {
    let site = Site::new(&Setup::default());
    // Where each looks for its configuration, as far as it says so.
    let word = |text: &str, before: &str| {
        let (_, text) = text.split_once(before).expect(before);
        text.split_whitespace().next().unwrap().to_owned()
    };
    let nginx = word(&site::says(&site::nginx(), "-V"), "--conf-path=");
    let php_fpm = word(&site::says(&site::php_fpm(), "-t"), "configuration file ");
    let script = format!(
        "mount --bind {} {nginx} && mount --bind {} {php_fpm} && exec \"$@\"",
        site.path("nginx.conf"),
        site.path("php-fpm.conf"),
    );
    let below = [AS_PID_1, &["unshare", "--mount", "sh", "-c", &script, "sh"]].concat();
    let drainit = site.drainit().zero_config().below(&below).start();
    drainit.wait_for("nginx ready");
    let slow = site.ask_slowly(2);
    drainit.stop();
    site.upstream.release();
    slow.are_whole();
    let outcome = drainit.exit();
    outcome
        .code(0)
        .in_order(&["php-fpm started", "php-fpm ready", "nginx started"]);
    outcome.in_order(&DRAIN);
}

#[test]
fn all_may_run_as_another_user() {
    let site = Site::new(&Setup::default());
    // The original may be where only its owner comes.
    let binary = site.path("drainit");
    fs::copy(env!("CARGO_BIN_EXE_drainit"), &binary).unwrap();
    let chown = Command::new("chown")
        .args(["-R", "www-data:www-data", &site.path("")])
        .status();
    assert!(chown.unwrap().success());
    let drainit = site
        .drainit()
        .binary(binary)
        .below(&[
            "setpriv",
            "--reuid=www-data",
            "--regid=www-data",
            "--clear-groups",
        ])
        .start();
    drainit.wait_for("nginx ready");
    slow_requests_survive(&site, drainit, 4);
}

#[test]
fn nginx_starts_when_php_fpm_listens() {
    let site = Site::new(&Setup::default());
    let gate = site.path("gate");
    assert!(
        Command::new("mkfifo")
            .arg(&gate)
            .status()
            .unwrap()
            .success()
    );
    let php_fpm = site.php_fpm_command();
    let drainit = site
        .drainit()
        .services(&[
            (
                "php-fpm",
                &format!("sh -c 'read go < {gate}; exec {php_fpm} -F'"),
            ),
            ("nginx", &site.nginx_command()),
        ])
        .start();
    drainit.wait_for("php-fpm started");
    // Returns when the script has come to read.
    let write = fs::OpenOptions::new().write(true).open(&gate).unwrap();
    drainit.note("the test opens the gate");
    drop(write);
    drainit.wait_for("nginx ready");
    assert_eq!(site.get("/hello.php").unwrap().body, "hello from PHP");
    drainit.stop();
    let outcome = drainit.exit();
    outcome.code(0).in_order(&[
        "php-fpm started",
        "the test opens the gate",
        "php-fpm ready",
        "nginx started",
        "nginx ready",
    ]);
    outcome.in_order(&DRAIN);
}
