//! What is known about each program: how it is run, stopped, reloaded and
//! recognised. One table; no other module names a program.

use std::path::Path;

use crate::signal::Signal;

/// Which kind of program a preset is; it decides at which turn of a drain the
/// program is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// When it drains.
    pub kind: Kind,
    /// The words behind the program where its NAME alone is given; `None`
    /// where it runs only by a command of its own.
    pub arguments: Option<&'static [&'static str]>,
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
    kind: Kind::Web,
    // The NGINX variable keeps it in the foreground.
    arguments: Some(&[]),
    stop: Signal::QUIT,
    reload: Some(Signal::HUP),
    reopen: Some(Signal::USR1),
};

/// php-fpm(8). It has no handler for HUP, and USR2 cuts requests at
/// `process_control_timeout = 0`, the default.
static PHP_FPM: Preset = Preset {
    names: &["php-fpm"],
    comms: &["php-fpm"],
    kind: Kind::Fpm,
    arguments: Some(&["-F"]),
    stop: Signal::QUIT,
    reload: None,
    reopen: Some(Signal::USR1),
};

/// <https://httpd.apache.org/docs/2.4/stopping.html>
static APACHE: Preset = Preset {
    names: &["apache2", "httpd"],
    comms: &["apache2", "httpd"],
    kind: Kind::Web,
    arguments: None,
    stop: Signal::WINCH,
    reload: Some(Signal::USR1),
    reopen: None,
};

static PRESETS: [&Preset; 3] = [&NGINX, &PHP_FPM, &APACHE];

impl Preset {
    /// By a service's NAME or a command's base name. Distributions put the
    /// version behind php-fpm's name: `php-fpm8.4`, `php-fpm84`.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::find(name, |preset| preset.names)
    }

    /// By `/proc/PID/comm`.
    pub fn by_comm(comm: &str) -> Option<&'static Self> {
        Self::find(comm, |preset| preset.comms)
    }

    fn find(name: &str, names: fn(&Self) -> &'static [&'static str]) -> Option<&'static Self> {
        let versioned = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        PRESETS.into_iter().find(|preset| {
            names(preset).contains(&name)
                || preset.kind == Kind::Fpm && names(preset).contains(&versioned)
        })
    }

    /// Whether it is nginx or one of its descendants: they read the marker and
    /// the `NGINX` variable.
    pub fn is_nginx(&self) -> bool {
        self == &NGINX
    }

    /// Whether it is an apache.
    pub fn is_apache(&self) -> bool {
        self == &APACHE
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(Preset::by_comm("apache2"), Some(&APACHE));
        for comm in [
            "nginx-prometheu",
            "php-fpm_exporte",
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
