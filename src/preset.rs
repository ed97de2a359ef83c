//! What is known about each program: how it is run, stopped, reloaded and
//! recognised. One table; no other module names a program.

use std::path::Path;

use crate::signal::Signal;

/// Which kind of program a preset is; it decides at which turn of a drain the
/// program is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Talks to clients: drains first.
    Web,
    /// Answers web servers, with a master and workers: drains after them.
    Fpm,
}

/// What is known about a program.
#[derive(Debug, PartialEq, Eq)]
pub struct Preset {
    /// The names it goes by: as a service's NAME, as a command's base name.
    names: &'static [&'static str],
    /// Its names in `/proc/PID/comm`, whole: `nginx-prometheus-exporter` is no
    /// nginx, and would die of QUIT.
    comms: &'static [&'static str],
    /// How the title begins that it writes to `/proc/PID/cmdline`.
    titles: &'static [&'static str],
    /// When it drains.
    pub kind: Kind,
    /// Its NAME alone says how it is run; else only a command of its own does.
    pub runs_by_name: bool,
    /// The words that keep it in the foreground: the first is put behind a command
    /// that has none of them.
    pub foreground: &'static [&'static str],
    /// What makes it finish what it has and end.
    pub stop: Signal,
    /// What makes it read its configuration anew; `None` where every signal
    /// for that cuts requests.
    pub reload: Option<Signal>,
    /// What makes it open its log files anew.
    pub reopen: Option<Signal>,
}

/// `nginx` and what descends from it. <https://nginx.org/en/docs/control.html>
static NGINX: Preset = Preset {
    names: &[
        "nginx",
        "nginx-debug",
        "openresty",
        "angie",
        "angie-debug",
        "freenginx",
        "tengine",
    ],
    comms: &[
        "nginx",
        "nginx-debug",
        "openresty",
        "angie",
        "angie-debug",
        "tengine",
    ],
    titles: &[
        "nginx: master process",
        "nginx: worker process",
        "angie: master process",
        "angie: worker process",
    ],
    kind: Kind::Web,
    runs_by_name: true,
    // The NGINX variable does.
    foreground: &[],
    stop: Signal::QUIT,
    reload: Some(Signal::HUP),
    reopen: Some(Signal::USR1),
};

/// php-fpm(8). It has no handler for HUP, and USR2 cuts requests at
/// `process_control_timeout = 0`, the default.
static PHP_FPM: Preset = Preset {
    names: &["php-fpm", "php5-fpm"],
    comms: &["php-fpm", "php5-fpm"],
    titles: &["php-fpm: master process", "php-fpm: pool"],
    kind: Kind::Fpm,
    runs_by_name: true,
    foreground: &["-F", "--nodaemonize"],
    stop: Signal::QUIT,
    reload: None,
    reopen: Some(Signal::USR1),
};

/// SUSE names the file by its way to serve: `httpd-prefork`.
/// <https://httpd.apache.org/docs/2.4/stopping.html>
static APACHE: Preset = Preset {
    names: &[
        "apache",
        "apache2",
        "httpd",
        "httpd-prefork",
        "httpd-worker",
        "httpd-event",
    ],
    comms: &[
        "apache2",
        "httpd",
        "httpd-prefork",
        "httpd-worker",
        "httpd-event",
    ],
    titles: &[],
    kind: Kind::Web,
    runs_by_name: false,
    foreground: &[],
    stop: Signal::WINCH,
    reload: Some(Signal::USR1),
    reopen: None,
};

/// haproxy(1). TERM cuts what it has; of a master (`-W`) as of a lone process. Only a
/// master reloads: a lone process ignores USR2, and at HUP says what it knows of its
/// servers. <https://docs.haproxy.org/2.6/management.html#4>
static HAPROXY: Preset = Preset {
    names: &["haproxy"],
    comms: &["haproxy"],
    titles: &[],
    kind: Kind::Web,
    runs_by_name: false,
    foreground: &[],
    stop: Signal::USR1,
    reload: Some(Signal::USR2),
    reopen: None,
};

/// lighttpd(8). TERM cuts what it has, and so does a second INT. With
/// `server.max-worker` the master hands INT on, and goes before its workers.
/// At USR1 new connections wait until the requests that it has are finished.
static LIGHTTPD: Preset = Preset {
    names: &["lighttpd"],
    comms: &["lighttpd"],
    titles: &[],
    kind: Kind::Web,
    runs_by_name: false,
    foreground: &["-D"],
    stop: Signal::INT,
    reload: Some(Signal::USR1),
    reopen: Some(Signal::HUP),
};

static PRESETS: [&Preset; 5] = [&NGINX, &PHP_FPM, &APACHE, &HAPROXY, &LIGHTTPD];

impl Preset {
    /// By a service's NAME or a command's base name: what it is to be run as.
    /// Distributions put the version behind php-fpm's name: `php-fpm8.4`,
    /// `php-fpm84`.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::find(name, |preset| preset.names)
    }

    /// By `/proc/PID/comm`, without its line end: what a process calls itself.
    pub fn by_comm(comm: &str) -> Option<&'static Self> {
        Self::find(comm, |preset| preset.comms)
    }

    /// By `/proc/PID/cmdline`, whatever its file is called: a package may have
    /// wrapped it under another name. nginx and php-fpm put a title in the place
    /// of their first word.
    pub fn by_title(cmdline: &[u8]) -> Option<&'static Self> {
        PRESETS.into_iter().find(|preset| {
            let mut titles = preset.titles.iter();
            titles.any(|title| cmdline.starts_with(title.as_bytes()))
        })
    }

    fn find(name: &str, names: fn(&Self) -> &'static [&'static str]) -> Option<&'static Self> {
        PRESETS.into_iter().find(|preset| {
            names(preset).contains(&name)
                || preset.kind == Kind::Fpm && php_fpm_rank(name).is_some()
        })
    }

    /// The signal in which it is handed a signal on that came to us, and a remark;
    /// or why it gets none, if that is worth saying. `is_lone` if it is the only
    /// thing that runs, and so may replace itself.
    pub fn handed_on(
        &self,
        signal: Signal,
        is_lone: bool,
    ) -> Result<(Signal, &'static str), &'static str> {
        match signal {
            Signal::HUP => self.reload.map(|signal| (signal, "")).ok_or(
                "not reloaded: SIGHUP would end it; SIGUSR2 reloads it, and cuts its requests \
                 where process_control_timeout is 0",
            ),
            Signal::USR1 => self
                .reopen
                .map(|signal| (signal, ""))
                .ok_or("has no signal for what SIGUSR1 asks"),
            Signal::USR2 if self.kind == Kind::Fpm => Ok((
                signal,
                ": it reloads, and cuts its requests where process_control_timeout is 0",
            )),
            Signal::USR2 if self.is_nginx() && is_lone || self.reload == Some(signal) => {
                Ok((signal, ""))
            }
            Signal::USR2 if self.is_nginx() => {
                Err("gets no SIGUSR2: who follows it would be nobody's")
            }
            Signal::USR2 => Err("has no signal for what SIGUSR2 asks"),
            Signal::WINCH => Err("gets no SIGWINCH, which would end its workers"),
            _ => Err(""),
        }
    }

    /// Whether it is nginx or one of its descendants: they read the marker and
    /// the `NGINX` variable.
    pub fn is_nginx(&self) -> bool {
        self == &NGINX
    }

    /// Whether it is an apache, whose images have SIGWINCH as their `STOPSIGNAL`.
    pub fn is_apache(&self) -> bool {
        self == &APACHE
    }

    /// Whether its workers alone have the listening sockets: haproxy's master closes them.
    pub fn has_listening_workers(&self) -> bool {
        self == &HAPROXY
    }

    /// Whether its master hands the stop signal on, goes, and leaves workers behind that
    /// a second one would have cut what they finish.
    pub fn is_cut_by_second_stop(&self) -> bool {
        self == &LIGHTTPD
    }

    /// Whether it is a haproxy, whose images have SIGUSR1 as their `STOPSIGNAL`.
    pub fn is_haproxy(&self) -> bool {
        self == &HAPROXY
    }
}

/// The variables that, set and empty, keep a program of this name in the
/// foreground whatever its configuration says: it takes them for those by which
/// it hands its sockets to its successor. angie reads its own since 1.10.
/// <https://nginx.org/en/docs/control.html#upgrade>
pub fn foreground_variables(name: &str) -> &'static [&'static str] {
    match Preset::by_name(name) {
        Some(preset) if preset.is_nginx() && name.starts_with("angie") => &["NGINX", "ANGIE"],
        Some(preset) if preset.is_nginx() => &["NGINX"],
        _ => &[],
    }
}

/// Whether a program of this name, by its file or its comm, is one that starts again what
/// we stop, and stops php-fpm before nginx.
pub fn is_supervisord(name: &str) -> bool {
    name == "supervisord"
}

/// Shells pass no signal on: they die of it, or wait for their child.
const SHELLS: [&str; 8] = ["sh", "bash", "rbash", "dash", "ash", "ksh", "mksh", "zsh"];

/// Whether a process is a shell, by `/proc/PID/comm` or `/proc/PID/cmdline`: of
/// a script the one is its file's name and the other begins with the shell that
/// runs it, of a shell that is called otherwise the first still tells.
pub fn is_shell(comm: &str, cmdline: &[u8]) -> bool {
    let mut words = cmdline.split(|byte| *byte == 0);
    let mut base_name = || {
        let word = words.next()?;
        let name = word.rsplit(|byte| *byte == b'/').next()?;
        // A login shell.
        std::str::from_utf8(name.strip_prefix(b"-").unwrap_or(name)).ok()
    };
    let is_shell = |name: &str| SHELLS.contains(&name);
    is_shell(comm)
        || match base_name() {
            Some("busybox") => base_name().is_some_and(is_shell),
            first => first.is_some_and(is_shell),
        }
}

/// Whether this command of an nginx says itself whether it goes to the
/// background: a second `daemon` directive is an error to nginx.
pub fn has_daemon_directive(arguments: &[String]) -> bool {
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        let directives = match argument.strip_prefix("-g") {
            Some("") => arguments.next().unwrap_or_default(),
            Some(directives) => directives,
            None => continue,
        };
        let mut words = directives
            .split(';')
            .filter_map(|d| d.split_whitespace().next());
        if words.any(|word| word == "daemon") {
            return true;
        }
    }
    false
}

/// How new a php-fpm is, by its file's name: `php-fpm` is what the image's
/// maker chose and comes before all, then the highest version; `None` for
/// other programs.
pub fn php_fpm_rank(name: &str) -> Option<(bool, u32, u32)> {
    let version = name.strip_prefix("php-fpm")?;
    if version.is_empty() {
        return Some((true, 0, 0));
    }
    let (major, minor) = match version.split_once('.') {
        Some((major, minor)) => (major.parse().ok()?, minor.parse().ok()?),
        // Alpine and Remi leave the dot out: 84 is 8.4.
        None => (
            version.get(..1)?.parse().ok()?,
            match version.get(1..)? {
                "" => 0,
                minor => minor.parse().ok()?,
            },
        ),
    };
    Some((false, major, minor))
}

/// Lines for nginx: while the marker exists, responses say `Connection: close`,
/// so that clients with idle connections go elsewhere before nginx closes
/// those. Once a request has been in a location with `keepalive_timeout 0`, its
/// connection isn't kept; so it takes the way through one, and back.
///
/// Back in its own location it must not leave again: the file that is asked for
/// then has the URI behind the marker's name, and isn't there. The way begins in
/// the location and not in `server {}`, because nginx lets a rewritten request
/// into `internal` locations, and `last` would skip the server's own rewrites.
pub fn nginx_snippet(marker: &Path) -> String {
    format!(
        "\
# Close idle connections while drainit drains: drainit nginx-snippet
# In server {{}}:
set $drained \"\";
location = /__drain {{ internal; keepalive_timeout 0; rewrite ^ $drained last; }}
# First in each location {{}}, but not in named ones (@):
if (-f {}$drained) {{ set $drained $uri; rewrite ^ /__drain last; }}
",
        marker.display()
    )
}

/// Lines for nginx: a location for load balancers that look for themselves. A text is
/// given with each answer, as nginx would look for an `error_page` else.
pub fn nginx_health(marker: &Path) -> String {
    format!(
        "\
# Tell load balancers that look for themselves: drainit nginx-snippet --health
# In server {{}}:
location = /drainit-health {{
    access_log off;
    default_type text/plain;
    if (-f {}) {{ return 503 \"draining\\n\"; }}
    return 200 \"ok\\n\";
}}
",
        marker.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_shows_the_health_location_as_it_is_printed() {
        let reference = include_str!("../docs/reference.md");
        let printed = nginx_health(Path::new("/dev/shm/drainit.draining"));
        assert!(reference.contains(&printed), "should show:\n{printed}");
    }

    #[test]
    fn programs_are_recognised_by_whole_names() {
        for comm in ["nginx", "nginx-debug", "openresty", "angie", "tengine"] {
            assert!(
                Preset::by_comm(comm).is_some_and(Preset::is_nginx),
                "{comm}"
            );
        }
        for comm in ["php-fpm", "php-fpm8.4", "php-fpm84", "php-fpm7"] {
            assert_eq!(Preset::by_comm(comm), Some(&PHP_FPM), "{comm}");
        }
        assert_eq!(Preset::by_comm("php5-fpm"), Some(&PHP_FPM));
        for comm in ["apache2", "httpd", "httpd-prefork", "httpd-worker"] {
            assert_eq!(Preset::by_comm(comm), Some(&APACHE), "{comm}");
        }
        assert_eq!(Preset::by_comm("haproxy"), Some(&HAPROXY));
        assert_eq!(Preset::by_comm("lighttpd"), Some(&LIGHTTPD));
        for comm in [
            "nginx-prometheu",
            "php-fpm_exporte",
            ".php-fpm-wrappe",
            "php-fpm.",
            "php-fpm-8",
            "php-fpm8.4.",
            "php5-fpm8",
            "httpd-exporter",
            "haproxy_exporte",
            "lighttpd-angel",
            "apache2ctl",
            "apache",
            "freenginx",
            "php",
            "bash",
            "nginx2",
            "",
            "8.4",
        ] {
            assert_eq!(Preset::by_comm(comm), None, "{comm}");
        }
    }

    #[test]
    fn a_name_says_what_to_run_also_where_no_process_is_called_so() {
        for (name, expected) in [
            ("nginx", &NGINX),
            ("freenginx", &NGINX),
            ("php-fpm7.4", &PHP_FPM),
            ("php5-fpm", &PHP_FPM),
            ("apache", &APACHE),
            ("httpd-event", &APACHE),
        ] {
            assert_eq!(Preset::by_name(name), Some(expected), "{name}");
        }
        for name in ["nginx-prometheus-exporter", "apache2ctl", "httpd.conf", ""] {
            assert_eq!(Preset::by_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_title_tells_what_a_process_has_become() {
        for (cmdline, expected) in [
            (
                &b"nginx: master process /usr/sbin/nginx -g daemon off;\0\0"[..],
                &NGINX,
            ),
            (b"nginx: worker process is shutting down\0", &NGINX),
            (b"angie: master process v1.10.0 #1 [angie]\0", &NGINX),
            (b"angie: worker process #1\0", &NGINX),
            (
                b"php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)\0\0",
                &PHP_FPM,
            ),
            (b"php-fpm: pool www\0\0", &PHP_FPM),
        ] {
            assert_eq!(Preset::by_title(cmdline), Some(expected));
        }
        for cmdline in [
            &b"grep\0nginx: master process\0"[..],
            b"sh\0-c\0php-fpm: pool www\0",
            b"nginx\0-g\0daemon off;\0",
            b"nginx-prometheus-exporter\0",
            b"/usr/sbin/php-fpm\0-F\0",
            b" nginx: master process",
            b"",
        ] {
            assert_eq!(Preset::by_title(cmdline), None);
        }
    }

    #[test]
    fn a_shell_is_one_also_as_the_interpreter_of_a_script() {
        for (comm, cmdline) in [
            ("sh", &b"sh\0-c\0php-fpm -D; nginx\0"[..]),
            ("start.sh", b"/bin/bash\0./start.sh\0"),
            ("nginx", b"/bin/sh\0/usr/local/bin/nginx\0"),
            ("bash", b"-bash\0"),
            ("bash", b"web\0-c\0nginx\0"),
            ("bash", b""),
            ("start.sh", b"/bin/busybox\0sh\0/start.sh\0"),
            ("busybox", b"busybox\0ash\0"),
            ("ksh", b"ksh\0"),
        ] {
            assert!(is_shell(comm, cmdline), "{comm}");
        }
        for (comm, cmdline) in [
            ("nginx", &b"nginx: master process nginx\0"[..]),
            ("httpd", b"/bin/busybox\0httpd\0-f\0"),
            ("busybox", b"busybox\0"),
            ("python3", b"python3\0/bin/sh\0"),
            ("start.sh", b"/usr/bin/perl\0/start.sh\0"),
            ("sshd", b"/usr/sbin/sshd\0-D\0"),
            ("bash-completion", b"./bash-completion\0"),
            ("", b""),
        ] {
            assert!(!is_shell(comm, cmdline), "{comm}");
        }
    }

    #[test]
    fn each_program_is_handed_signals_on_in_its_own_way() {
        let sent = |preset: &Preset, signal, is_lone| {
            let sent = preset.handed_on(signal, is_lone);
            sent.ok().map(|(signal, _)| signal)
        };
        for (preset, reload, reopen, stop) in [
            (&NGINX, Some(Signal::HUP), Some(Signal::USR1), Signal::QUIT),
            (&PHP_FPM, None, Some(Signal::USR1), Signal::QUIT),
            (&APACHE, Some(Signal::USR1), None, Signal::WINCH),
            (&HAPROXY, Some(Signal::USR2), None, Signal::USR1),
            (
                &LIGHTTPD,
                Some(Signal::USR1),
                Some(Signal::HUP),
                Signal::INT,
            ),
        ] {
            assert_eq!(sent(preset, Signal::HUP, true), reload, "{preset:?}");
            assert_eq!(sent(preset, Signal::USR1, true), reopen, "{preset:?}");
            assert_eq!(sent(preset, Signal::WINCH, true), None, "{preset:?}");
            assert_eq!(preset.stop, stop);
        }
        // Its successor would be nobody's, unless nginx is all that runs.
        assert_eq!(sent(&NGINX, Signal::USR2, true), Some(Signal::USR2));
        assert_eq!(sent(&NGINX, Signal::USR2, false), None);
        assert_eq!(sent(&PHP_FPM, Signal::USR2, false), Some(Signal::USR2));
        assert_eq!(sent(&APACHE, Signal::USR2, true), None);
        assert_eq!(sent(&HAPROXY, Signal::USR2, false), Some(Signal::USR2));
        assert_eq!(sent(&LIGHTTPD, Signal::USR2, true), None);
    }

    #[test]
    fn only_angie_has_a_variable_of_its_own() {
        for (name, variables) in [
            ("angie", &["NGINX", "ANGIE"][..]),
            ("angie-debug", &["NGINX", "ANGIE"]),
            ("openresty", &["NGINX"]),
            ("angiectl", &[]),
            ("php-fpm", &[]),
        ] {
            assert_eq!(foreground_variables(name), variables, "{name}");
        }
    }

    #[test]
    fn the_newest_php_fpm_ranks_highest_and_the_plain_name_above_all() {
        let mut names = vec![
            "php-fpm7.4",
            "php-fpm8.10",
            "php-fpm84",
            "php-fpm",
            "php-fpm8.2",
        ];
        names.sort_by_key(|name| php_fpm_rank(name));
        assert_eq!(
            names,
            [
                "php-fpm7.4",
                "php-fpm8.2",
                "php-fpm84",
                "php-fpm8.10",
                "php-fpm"
            ]
        );
        assert_eq!(php_fpm_rank("php-fpm-healthcheck"), None);
        assert_eq!(php_fpm_rank("php8.2"), None);
    }

    #[test]
    fn a_daemon_directive_is_seen_wherever_it_stands() {
        let has = |arguments: &[&str]| {
            has_daemon_directive(
                &arguments
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            )
        };
        assert!(has(&["-g", "daemon off;"]));
        assert!(has(&["-gdaemon off;"]));
        assert!(has(&["-g", "pid /run/n.pid; daemon on;"]));
        assert!(!has(&["-c", "daemon.conf"]));
        assert!(!has(&["-g", "error_log daemon;"]));
        assert!(!has(&[]));
    }
}
