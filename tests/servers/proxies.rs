//! haproxy and lighttpd, which are known as nginx is, each in front of a site's
//! upstream.
//!
//! Needs haproxy and lighttpd.

use std::fs;
use std::io::ErrorKind;
use std::thread;

use nix::sys::signal::Signal;

use crate::run::{AS_PID_1, Drainit, send, wait_until};
use crate::site::{NGINX_PORT, Setup, Site, UPSTREAM_PORT};

/// Requests that are under way at a stop.
const SOME: usize = 4;

/// A server, and how it is run and stopped.
#[derive(Clone, Copy, Debug)]
enum Proxy {
    /// One process.
    Haproxy,
    /// A master and its worker.
    HaproxyMaster,
    Lighttpd,
    /// A master that goes before its workers.
    LighttpdWorkers,
}

use Proxy::{Haproxy, HaproxyMaster, Lighttpd, LighttpdWorkers};

const ALL: [Proxy; 4] = [Haproxy, HaproxyMaster, Lighttpd, LighttpdWorkers];

impl Proxy {
    /// The line that says that it was asked to stop.
    fn asked(self) -> &'static str {
        match self {
            Haproxy | HaproxyMaster => "web <- SIGUSR1",
            Lighttpd | LighttpdWorkers => "web <- SIGINT",
        }
    }

    fn command(self, site: &Site) -> String {
        let file = site.path("proxy.conf");
        match self {
            Haproxy => format!("/usr/sbin/haproxy -db -f {file}"),
            HaproxyMaster => format!("/usr/sbin/haproxy -W -db -f {file}"),
            // It would go to the background.
            Lighttpd => format!("/usr/sbin/lighttpd -f {file}"),
            LighttpdWorkers => format!("/usr/sbin/lighttpd -D -f {file}"),
        }
    }

    /// Writes its configuration, by which it answers `/version` so and has the upstream
    /// answer everything else.
    fn configure(self, site: &Site, version: &str) {
        let (ip, dir) = (site.ip, site.dir.display());
        let workers = match self {
            Haproxy | HaproxyMaster => {
                return site.write(
                    "proxy.conf",
                    &format!(
                        "\
defaults
    mode http
    timeout connect 20s
    timeout client 120s
    timeout server 120s
frontend site
    bind {ip}:{NGINX_PORT}
    http-request return status 200 content-type text/plain string {version} if {{ path /version }}
    default_backend upstream
backend upstream
    server upstream {ip}:{UPSTREAM_PORT}
"
                    ),
                );
            }
            LighttpdWorkers => 2,
            Lighttpd => 0,
        };
        fs::create_dir_all(site.path(version)).unwrap();
        site.write(&format!("{version}/version"), version);
        site.write(
            "proxy.conf",
            &format!(
                r#"
server.modules = ("mod_accesslog", "mod_proxy")
server.document-root = "{dir}/{version}"
server.bind = "{ip}"
server.port = {NGINX_PORT}
server.max-worker = {workers}
server.errorlog = "{dir}/lighttpd.log"
accesslog.filename = "{dir}/access.log"
$HTTP["url"] != "/version" {{
    proxy.server = ("" => (("host" => "{ip}", "port" => {UPSTREAM_PORT})))
}}
"#
            ),
        );
    }

    /// Its site, and what it answers with.
    fn site(self) -> Site {
        let site = Site::new(&Setup::default());
        self.configure(&site, "one");
        site
    }

    fn start(self, site: &Site) -> Drainit<'_> {
        self.start_below(site, &[], "15s")
    }

    fn start_below<'a>(self, site: &'a Site, below: &[&str], grace_period: &'a str) -> Drainit<'a> {
        let drainit = site
            .drainit()
            .below(below)
            .grace_period(grace_period)
            .services(&[("web", &self.command(site))])
            .start();
        drainit.wait_for("web ready");
        if let HaproxyMaster = self {
            // Its worker serves already when it executes itself once more.
            wait_until("it takes signals", || drainit.is_caught(Signal::SIGUSR2));
        }
        drainit
    }

    /// Requests that are under way when this stop signal comes are answered.
    #[track_caller]
    fn loses_nothing(self, below: &[&str], number: i32) {
        let site = self.site();
        let drainit = self.start_below(&site, below, "15s");
        thread::scope(|scope| {
            let held = [(); SOME].map(|()| {
                let held = scope.spawn(|| site.get("/held"));
                site.upstream.wait_for_one_more();
                held
            });
            drainit.signal(number);
            drainit.wait_for(self.asked());
            wait_until("connections are refused", || {
                site.connect()
                    .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            });
            if let LighttpdWorkers = self {
                // Now its workers could be asked once more.
                drainit.wait_for("web exited 0");
                drainit.wait_until_asleep();
            }
            site.upstream.release();
            for held in held {
                assert_eq!(held.join().unwrap().unwrap().body, "answer to /held");
            }
        });
        drainit
            .exit()
            .code(0)
            .in_order(&[self.asked(), "web exited 0", "report "])
            // A master that executed itself just then is asked last, when its worker,
            // who was asked in its place, has gone.
            .without("forced");
    }
}

#[test]
fn requests_that_are_under_way_are_answered() {
    for proxy in ALL {
        proxy.loses_nothing(&[], libc::SIGTERM);
        proxy.loses_nothing(AS_PID_1, libc::SIGTERM);
    }
}

/// Its images have that as their `STOPSIGNAL`.
#[test]
fn usr1_stops_where_a_haproxy_runs() {
    for proxy in [Haproxy, HaproxyMaster] {
        proxy.loses_nothing(&[], libc::SIGUSR1);
    }
}

/// The client would keep haproxy for two minutes, and lighttpd for 8 s.
#[test]
fn silent_clients_hold_neither_up() {
    for proxy in [Haproxy, HaproxyMaster, Lighttpd] {
        let site = proxy.site();
        let drainit = proxy.start_below(&site, &[], "300s");
        let silent = site.connect().unwrap();
        // Accepted after the silent one.
        assert_eq!(site.get("/version").unwrap().body, "one");
        drainit.signal(libc::SIGTERM);
        drainit
            .exit()
            .code(0)
            .in_order(&[proxy.asked(), "web <- SIGTERM: only"]);
        drop(silent);
    }
}

#[test]
fn hangup_reloads_what_can_reload() {
    for (proxy, line) in [
        (Haproxy, "web gets no SIGUSR2, which it has no handler for"),
        (HaproxyMaster, "web <- SIGUSR2"),
        (Lighttpd, "web <- SIGUSR1"),
        (LighttpdWorkers, "web <- SIGUSR1"),
    ] {
        let site = proxy.site();
        let version = || site.get("/version").map(|page| page.body);
        let drainit = proxy.start(&site);
        assert_eq!(version().unwrap(), "one");
        proxy.configure(&site, "two");
        drainit.signal(libc::SIGHUP);
        drainit.wait_for(line);
        if let Haproxy = proxy {
            assert_eq!(version().unwrap(), "one");
        } else {
            wait_until("the new configuration serves", || {
                version().is_ok_and(|version| version == "two")
            });
        }
        drainit.signal(libc::SIGTERM);
        drainit.exit().code(0);
    }
}

#[test]
fn usr1_has_lighttpd_open_its_log_files_anew() {
    for proxy in [Lighttpd, LighttpdWorkers] {
        let site = proxy.site();
        let drainit = proxy.start(&site);
        let log = site.path("access.log");
        fs::rename(&log, format!("{log}.1")).unwrap();
        wait_until("the log is there anew", || {
            // A lighttpd that is about to wait for its workers misses one.
            drainit.signal(libc::SIGUSR1);
            fs::exists(&log).unwrap()
        });
        drainit.wait_for("web <- SIGHUP");
        drainit.signal(libc::SIGTERM);
        drainit.exit().code(0).without("killed by");
    }
}

/// The workers go on without their master, and each is asked once.
#[test]
fn workers_of_a_lighttpd_whose_master_was_killed_finish_what_they_have() {
    let site = LighttpdWorkers.site();
    let drainit = LighttpdWorkers.start(&site);
    thread::scope(|scope| {
        let held = scope.spawn(|| site.get("/held"));
        site.upstream.wait_for_one_more();
        send(drainit.pid_of("web"), libc::SIGKILL);
        drainit.wait_for("web <- SIGINT");
        site.upstream.release();
        assert_eq!(held.join().unwrap().unwrap().body, "answer to /held");
    });
    drainit.exit().code(137).without("forced");
}
