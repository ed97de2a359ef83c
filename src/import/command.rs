//! What a command is, as far as its words tell.

use crate::preset::{Kind, Preset};

/// The last part of a path.
pub(super) fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// What is known about a command.
pub(super) struct Command<'a> {
    words: &'a [String],
    /// The program's file's name.
    program: &'a str,
}

/// What runs until it is stopped.
const STAY: [&str; 10] = [
    "cron",
    "crond",
    "horizon",
    "octane:start",
    "queue:listen",
    "queue:work",
    "reverb:start",
    "schedule:work",
    "supercronic",
    "websockets:serve",
];

impl<'a> Command<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        let program = words.first().map_or("", |word| base_name(word));
        Self { words, program }
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|it| it == word)
    }

    /// Whether one of these letters is among its short options.
    fn has_option(&self, letters: &[char]) -> bool {
        let mut options = self.words.iter().filter(|it| !it.starts_with("--"));
        options.any(|it| it.strip_prefix('-').is_some_and(|it| it.contains(letters)))
    }

    /// What a shell is to run: `sh -c SCRIPT`.
    pub(super) fn script(&self) -> Option<&'a str> {
        let is_shell = ["sh", "bash", "dash", "ash", "ksh", "zsh"].contains(&self.program);
        let [_, options, script, ..] = self.words else {
            return None;
        };
        let runs = options.starts_with('-') && options.ends_with('c');
        (is_shell && runs).then_some(script)
    }

    /// That a shell stays between us and what its script runs: `sh -c 'php x'`.
    pub(super) fn is_shell_without_exec(&self) -> bool {
        self.script().is_some_and(|script| {
            let mut words = script.split_whitespace();
            !words.any(|word| ["exec", "while", "for", "until"].contains(&word))
        })
    }

    /// The preset that it is, or that one of its words names as a program to run, also
    /// within a script.
    pub(super) fn preset(&self) -> Option<&'static Preset> {
        if self.asks_supervisor() {
            return None;
        }
        let words = self.words.iter().flat_map(|word| word.split_whitespace());
        let words = words.map(|word| word.trim_matches(['"', '\'', ';']));
        let mut programs = words.filter(|word| match word.rsplit_once('/') {
            Some((directory, _)) => directory.ends_with("bin"),
            None => true,
        });
        let named = || programs.find_map(|word| Preset::by_name(base_name(word)));
        Preset::by_name(self.program).or_else(named)
    }

    /// Whether it is known to run until it is stopped.
    pub(super) fn stays(&self) -> bool {
        let is_loop = |script: &str| script.contains("while ") || script.contains("until ");
        let ends = self.has("--once") || self.has("--stop-when-empty");
        self.preset().is_some()
            || self.script().is_some_and(is_loop)
            || !ends && self.words.iter().any(|it| STAY.contains(&base_name(it)))
    }

    /// How it goes to the background, if it does: nobody would see its end. nginx
    /// doesn't, as drainit keeps it from that.
    pub(super) fn goes_to_background(&self) -> Option<&'static str> {
        let preset = Preset::by_name(self.program);
        if preset.is_some_and(|preset| preset.kind == Kind::Fpm) {
            let daemonizes = self.has("-D") || self.has("--daemonize");
            return daemonizes.then_some("leave out -D");
        }
        if preset.is_some_and(Preset::is_nginx) {
            let daemonizes = self.words.iter().any(|it| it.contains("daemon on"));
            return daemonizes.then_some("leave out 'daemon on'");
        }
        let in_foreground = || self.words.iter().any(|it| it.ends_with("FOREGROUND"));
        let is_apache = preset.is_some_and(Preset::is_apache);
        match self.program {
            "apachectl" | "apache2ctl" if !in_foreground() => Some("add -D FOREGROUND"),
            _ if is_apache && !in_foreground() && !self.has("-X") => Some("add -D FOREGROUND"),
            "service" | "systemctl" | "rc-service" | "invoke-rc.d" => {
                Some("name the program itself, in the foreground")
            }
            _ if self
                .words
                .first()
                .is_some_and(|it| it.starts_with("/etc/init.d/")) =>
            {
                Some("name the program itself, in the foreground")
            }
            "cron" if !self.has_option(&['f']) => Some("add -f"),
            "crond" if !self.has_option(&['f', 'n', 'd']) => Some("add -f"),
            "sshd" if !self.has_option(&['D', 'd']) => Some("add -D"),
            "rsyslogd" if !self.has_option(&['n']) => Some("add -n"),
            "memcached" | "haproxy" if self.has("-d") || self.has("-D") => {
                Some("leave out what makes it a daemon")
            }
            "redis-server" | "mysqld" | "mariadbd" => {
                let mut pairs = self.words.windows(2);
                let daemonizes = pairs.any(|it| it == ["--daemonize", "yes"]);
                (daemonizes || self.program != "redis-server" && self.has("--daemonize"))
                    .then_some("leave out --daemonize")
            }
            "postfix" if self.has("start") => Some("use start-fg"),
            _ => {
                let script = self.script()?.trim_end();
                let ends = script.ends_with('&') && !script.ends_with("&&");
                ends.then_some("leave out the & at its end")
            }
        }
    }

    /// Supervisor's own stand-in for what goes to the background.
    pub(super) fn is_pidproxy(&self) -> bool {
        self.program == "pidproxy"
    }

    /// Whether it tells people, as crashmail does.
    pub(super) fn tells_people(&self) -> bool {
        let tellers = [
            "crashmail",
            "crashsms",
            "mail",
            "slack",
            "notif",
            "alert",
            "hook",
        ];
        let mut words = self.words.iter();
        words.any(|word| tellers.iter().any(|it| word.to_lowercase().contains(it)))
    }

    /// Whether what Supervisor sets for its programs stands in it.
    pub(super) fn asks_supervisor(&self) -> bool {
        let mut words = self.words.iter();
        words.any(|word| word.contains("supervisorctl") || word.contains("SUPERVISOR_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        crate::config::words::split(line).unwrap()
    }

    #[test]
    fn what_goes_to_the_background_is_known() {
        for line in [
            "php-fpm8.2 -D",
            "service cron start",
            "/etc/init.d/ssh start",
            "cron",
            "crond -l 2",
            "/usr/sbin/apache2ctl start",
            "apache2 -k start",
            "redis-server --daemonize yes",
            "sh -c 'php x.php &'",
            "nginx -g 'daemon on;'",
        ] {
            let words = words(line);
            assert!(
                Command::new(&words).goes_to_background().is_some(),
                "{line}"
            );
        }
        for line in [
            "nginx",
            "php-fpm -F",
            "cron -f",
            "crond -fl 8",
            "apache2-foreground",
            "apache2ctl -D FOREGROUND",
            "httpd -DFOREGROUND",
            "redis-server /etc/redis.conf",
            "sh -c 'a && b'",
            "/usr/sbin/sshd -De",
        ] {
            let words = words(line);
            assert_eq!(Command::new(&words).goes_to_background(), None, "{line}");
        }
    }

    #[test]
    fn scripts_and_presets_are_seen_through_shells() {
        for (line, preset, without_exec, stays) in [
            ("nginx -g 'daemon off;'", true, false, true),
            ("bash -c \"exec php-fpm8.2 -F\"", true, false, true),
            ("sh -c 'php artisan migrate; true'", false, true, false),
            (
                "sh -c 'while true; do php a; sleep 60; done'",
                false,
                false,
                true,
            ),
            ("php artisan queue:work", false, false, true),
            ("php artisan queue:work --once", false, false, false),
            ("/start-nginx.sh", false, false, false),
            ("gosu web /usr/sbin/nginx", true, false, true),
            ("tail -F /var/log/nginx", false, false, false),
            ("supervisorctl restart nginx", false, false, false),
        ] {
            let words = words(line);
            let command = Command::new(&words);
            assert_eq!(command.preset().is_some(), preset, "{line}");
            assert_eq!(command.is_shell_without_exec(), without_exec, "{line}");
            assert_eq!(command.stays(), stays, "{line}");
        }
    }
}
