//! The configuration as validated: services in order, times, and what is left
//! of each when the worst comes. Flags win over `DRAINIT_*` variables, these
//! over the file, and the file over the platform's defaults.
//!
//! What has to be looked up on the machine comes through [`Host`], so that all
//! of this can be tested without one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use log::LevelFilter;
use nix::unistd::Uid;

use crate::core::plan::{ByService, Leftovers, Plan, ServicePlan};
use crate::report::logger::LogFormat;
use crate::signal::{Rewrite, Signal};
use crate::status::Failure;
use crate::sys::path::SearchSbin;
use crate::sys::user::Identity;

use cli::{Cli, Flags};
use file::File;
use platform::Platform;
use reader::{Given, Held, Origin, Reader};
use service::ServiceConfig;
use services::{Common, Draft};
use stand_in::StandIn;
use value::{Error, Marker, usage};

pub use show::show;

pub mod cli;
mod env_file;
mod expand;
mod file;
pub mod platform;
mod reader;
pub mod service;
mod services;
mod show;
pub mod stand_in;
pub mod value;
pub(crate) mod words;

/// What drainit is to do.
#[derive(Debug)]
pub struct Config {
    /// What the core is to know of it.
    pub plan: Plan,
    /// What is to be executed, by [`ServiceId`].
    pub services: ByService<ServiceConfig>,
    /// Where the defaults come from.
    pub platform: &'static Platform,
    /// What takes the place of a signal when it comes in.
    pub rewrites: Vec<Rewrite>,
    /// What is passed on, and the stop signal, go to a command's whole process group.
    pub to_group: bool,
    /// The signal that the kernel is to send us when our parent ends.
    pub parent_death_signal: Option<Signal>,
    /// The drain marker.
    pub marker: Marker,
    /// Whether `drainit ready` may ask.
    pub control: bool,
    /// Where the runtime looks for what we have to say of our end, if it does.
    pub termination_log: Option<PathBuf>,
    /// How to write the log.
    pub log_format: LogFormat,
    /// How much to write.
    pub log_level: LevelFilter,
    /// What is to be said at the start, a line each: what is right, but perhaps
    /// not meant.
    pub notes: Vec<String>,
    /// We do what another init does, and no more.
    pub stand_in: Option<StandIn>,
}

impl Config {
    /// Makes sense of the command line, the environment and the file.
    pub fn resolve(cli: Cli, host: &Host) -> Result<Self, Error> {
        resolve(cli, host).map(|resolved| resolved.config)
    }

    fn stop_by(&mut self, given: &Given) -> Result<(), Error> {
        let signal = given.parse(str::parse)?;
        match &mut *self.services {
            [only] => {
                only.stop = signal;
                only.stop_is_given = true;
                Ok(())
            }
            services => Err(usage(format!(
                "{}: {signal} is meant for which of {} services? It goes with one alone",
                given.origin,
                services.len()
            ))),
        }
    }

    fn check_delay(&self, from: &Origin, grace_period_is_default: bool) -> Result<(), Error> {
        let longest = self.plan.delay.max;
        let earliest = self.plan.term_at().iter().copied().min();
        let earliest = earliest.unwrap_or_else(|| self.plan.last_term_at());
        if longest < earliest {
            return Ok(());
        }
        let grace = humantime::format_duration(self.plan.grace_period);
        let grace = if grace_period_is_default {
            format!(
                "{}'s {grace}; DRAINIT_GRACE_PERIOD says if yours is longer",
                self.platform.name
            )
        } else {
            grace.to_string()
        };
        Err(from.error(&format!(
            "{} leaves no time to drain: it must be below {}, the grace period being {grace}",
            humantime::format_duration(longest),
            humantime::format_duration(earliest),
        )))
    }
}

/// What holds, and where it came from.
struct Resolved {
    config: Config,
    options: Vec<Held>,
    services: Vec<Vec<Held>>,
}

fn resolve(cli: Cli, host: &Host) -> Result<Resolved, Error> {
    let Cli { flags, command, .. } = cli;
    let is_command = !command.is_empty();
    let file = open_file(&flags, host)?;
    let entries = file.as_ref().map(|file| file.options.entries.as_slice());
    let read = Reader::of_options(&flags, entries.unwrap_or_default(), host);
    let platform = Platform::find(|name| host.value(name).is_some());
    let grace_period = humantime::format_duration(platform.grace_period).to_string();
    let grace_given = read.given("grace-period", &grace_period)?;
    let grace_period = grace_given.parse(value::grace_period_for)?;
    let delay = value::range_text(platform.delay_within(grace_period));
    let delay_given = read.given("delay", &delay)?;

    let mut notes = Vec::new();
    let drafts = drafts(&read, command, file.as_ref(), host, &mut notes)?;
    let common = Common {
        start_timeout: read.all("start-timeout", &["none"])?,
        success: successes(&read)?,
        log_prefix: read.all("log-prefix", &["false"])?,
        is_command,
        directory: file.as_ref().map(File::directory).unwrap_or_default(),
        host,
    };
    let services = services::resolve(drafts, &common)?;
    notes.extend(services.notes);
    let log_to = platform.termination_log.unwrap_or("none");
    let mut config = Config {
        plan: Plan {
            services: services.plans,
            delay: delay_given.parse(value::delay_for)?,
            grace_period,
            quiet: read.value("quiet", "1s", value::quiet_for)?,
            stop_after: read.value("stop-after", "clients", value::stop_after_what)?,
            leftovers: Leftovers::Drained,
        },
        services: services.configs,
        platform,
        rewrites: read.values("rewrite", &[], str::parse)?,
        to_group: read.value("forward-to", "main", value::is_group)?,
        parent_death_signal: read.optional("parent-death-signal", str::parse)?,
        marker: marker_of(&read)?,
        control: read.optional("control", value::no_control)?.is_none(),
        termination_log: read.value("termination-log", log_to, value::place)?,
        log_format: read.value("log-format", "text", value::format)?,
        log_level: read.value("log-level", "info", value::level)?,
        notes,
        stand_in: None,
    };
    if let Some(given) = read.all("stop-signal", &[])?.pop() {
        config.stop_by(&given)?;
    }
    let is_longer = |plan: &ServicePlan| plan.stop_timeout > Some(grace_period);
    let longer = config.plan.services.each().filter(|(_, it)| is_longer(it));
    let longer = longer.filter_map(|(id, _)| config.services.get(id));
    config.notes.extend(longer.map(|service| {
        format!(
            "{}: its stop-timeout is longer than the grace period, which goes before it",
            service.name
        )
    }));
    if delay_given.origin != Origin::Default {
        let is_default = grace_given.origin == Origin::Default;
        config.check_delay(&delay_given.origin, is_default)?;
    }
    Ok(Resolved {
        config,
        options: read.into_held(),
        services: services.held,
    })
}

/// The file that was named, or that of the default place if it is there.
fn open_file(flags: &Flags, host: &Host) -> Result<Option<File>, Error> {
    let read = Reader::of_options(flags, &[], host);
    let named = read.all(reader::CONFIG, &[])?.pop();
    let path = named.as_ref().map_or(file::DEFAULT_PLACE, |it| &it.text);
    match (host.read)(Path::new(path)) {
        Ok(bytes) => File::parse(Path::new(path), &bytes).map(Some),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let origin = named.as_ref();
            let origin = origin.map_or(String::new(), |given| format!("{}: ", given.origin));
            Err(usage(format!("{origin}{path} can't be read: {error}")))
        }
    }
}

/// What is to run: a command alone, else the services of flags, of a variable, of the
/// file, or what is installed.
fn drafts<'a>(
    read: &Reader,
    command: Vec<OsString>,
    file: Option<&'a File>,
    host: &'a Host,
    notes: &mut Vec<String>,
) -> Result<Vec<Draft<'a>>, Error> {
    let typed = read.all(reader::SERVICE, &[])?;
    let in_file = file.filter(|file| !file.services.is_empty());
    let mut are_left_out = |by: &str| {
        notes.extend(in_file.map(|file| {
            format!(
                "the services of {} don't run: {by} goes before them",
                file.path
            )
        }));
    };
    let plain = |origin: &Origin, config| Draft::plain(origin.clone(), config, host);
    if let [first, ..] = &*command {
        if let Some(Origin::Flag(_)) = typed.first().map(|given| &given.origin) {
            return Err(usage(format!(
                "there are a --service and a command, {}: give one or the other \
                 (DRAINIT_SERVICES in ENV, unlike flags, gives way to a command, as in \
                 docker run IMAGE php -v)",
                Path::new(&command.join(OsStr::new(" "))).display()
            )));
        }
        are_left_out(&format!("the command {}", Path::new(first).display()));
        return Ok(vec![plain(
            &Origin::Command,
            service::single(command, host)?,
        )]);
    }
    if let [first, ..] = &*typed {
        are_left_out(&first.origin.to_string());
        let services = service::named(&typed, host)?.into_iter().zip(&typed);
        return Ok(services
            .map(|(it, given)| plain(&given.origin, it))
            .collect());
    }
    if let Some(file) = in_file {
        return services::drafts(file, host);
    }
    notes.extend(service::skipped_entrypoint(host));
    let services = service::installed(host)?.into_iter();
    Ok(services.map(|it| plain(&Origin::Default, it)).collect())
}

/// Zero is one, whatever else is given for all.
fn successes(read: &Reader) -> Result<Vec<Given>, Error> {
    let mut all = vec![Given::new(Origin::Default, "0")];
    all.extend(read.all("success", &[])?);
    Ok(all)
}

fn marker_of(read: &Reader) -> Result<Marker, Error> {
    let marker = read.optional("marker", value::marker_place)?;
    Ok(marker.unwrap_or(Marker::Default))
}

/// Where the drain marker is to be.
pub fn marker(flags: &Flags, host: &Host) -> Result<Marker, Error> {
    let file = open_file(flags, host)?;
    let entries = file.as_ref().map(|file| file.options.entries.as_slice());
    marker_of(&Reader::of_options(
        flags,
        entries.unwrap_or_default(),
        host,
    ))
}

/// Looks up a user, and a group.
type FindUser<'a> = &'a dyn Fn(&str, Option<&str>) -> Result<Identity, String>;

/// What has to be looked up on the machine.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// An environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The file that a command's first word names: as a path, or in `PATH`,
    /// or, if asked so, in the system's `sbin` directories.
    pub find: &'a dyn Fn(&OsStr, SearchSbin) -> Result<PathBuf, Failure>,
    /// The names of all files in `PATH` and the `sbin` directories that begin
    /// with `php-fpm`.
    pub php_fpms: &'a dyn Fn() -> Vec<String>,
    /// What a file holds.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// A user, and the group of this name or number, else the user's own.
    pub find_user: FindUser<'a>,
    /// The user that we run as.
    pub user: Uid,
}

impl Host<'_> {
    /// A machine that has nothing, for tests.
    #[cfg(test)]
    pub(crate) fn bare() -> Self {
        Self {
            variable: &|_| None,
            find: &|_, _| Err(crate::status::Failure::NotFound),
            php_fpms: &Vec::new,
            read: &|_| Err(io::ErrorKind::NotFound.into()),
            find_user: &|user, _| Err(format!("there is no user {user}")),
            user: Uid::from_raw(0),
        }
    }

    /// A variable; an empty one is unset.
    fn value(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
#[path = "tests/file.rs"]
mod file_tests;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::service::ENTRYPOINTS;
    use super::*;
    use crate::core::plan::{Delay, Readiness, Restart, ServiceId, StopAfter};
    use crate::preset::Preset;
    use crate::signal::Signal;

    /// Resolves on a machine that has these programs and variables.
    fn resolve(programs: &[&str], variables: &[(&str, &str)], cli: Cli) -> Result<Config, Error> {
        let known = |word: &OsStr| programs.iter().any(|program| OsStr::new(program) == word);
        Config::resolve(
            cli,
            &Host {
                variable: &|name| {
                    let variable = variables.iter().find(|(known, _)| *known == name);
                    variable.map(|(_, value)| OsString::from(value))
                },
                find: &|word, _| {
                    if word == "locked" {
                        Err(Failure::NotExecutable)
                    } else if known(word) {
                        Ok(Path::new("/bin").join(word))
                    } else {
                        Err(Failure::NotFound)
                    }
                },
                php_fpms: &|| programs.iter().map(ToString::to_string).collect(),
                ..Host::bare()
            },
        )
    }

    /// With these options.
    fn options<const N: usize>(given: [(&'static str, &str); N]) -> Cli {
        Cli {
            flags: Flags::of(given.map(|(name, text)| (name, text.to_owned()))),
            ..Cli::default()
        }
    }

    fn services(services: &[&str]) -> Cli {
        let service = |text: &&str| ("service", (*text).to_owned());
        Cli {
            flags: Flags::of(services.iter().map(service)),
            ..Cli::default()
        }
    }

    fn command(words: &[&str]) -> Cli {
        Cli {
            command: words.iter().map(OsString::from).collect(),
            ..Cli::default()
        }
    }

    fn message(result: Result<Config, Error>) -> String {
        let message = result.unwrap_err().message;
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn without_arguments_what_is_installed_runs_php_fpm_first() {
        let config = resolve(&["nginx", "php-fpm8.2", "php-fpm8.4"], &[], Cli::default()).unwrap();
        let [php_fpm, nginx] = &*config.services else {
            panic!("{config:?}")
        };
        assert_eq!(
            (php_fpm.name.as_str(), nginx.name.as_str()),
            ("php-fpm", "nginx")
        );
        assert_eq!(php_fpm.command, ["php-fpm8.4", "-F"]);
        assert_eq!(
            (
                config.plan.services[1].after.as_slice(),
                config.plan.services[1].ready
            ),
            (&[ServiceId(0)][..], Readiness::Listen)
        );
        assert_eq!(nginx.variables, ["NGINX"]);
        assert!(php_fpm.variables.is_empty());

        let config = resolve(&["nginx"], &[], Cli::default()).unwrap();
        assert_eq!(config.services.len(), 1);
        let error = resolve(&["php"], &[], Cli::default()).unwrap_err();
        assert_eq!(error.failure, Failure::Usage);
        assert!(error.message.contains("php-fpm8.4") && error.message.contains("nginx"));
    }

    #[test]
    fn what_is_installed_and_can_not_be_executed_is_not_left_out() {
        let locked = Host {
            variable: &|_| None,
            find: &|_, _| Err(Failure::NotExecutable),
            ..Host::bare()
        };
        let error = Config::resolve(Cli::default(), &locked).unwrap_err();
        assert_eq!(error.failure, Failure::NotExecutable);
    }

    #[test]
    fn the_plan_says_who_is_a_web_server_and_who_is_waited_for_until_it_listens() {
        let (listen, none) = (Readiness::Listen, Readiness::None);
        let programs = ["nginx", "php-fpm", "node"];
        for (cli, is_web, ready) in [
            (services(&["nginx"]), true, listen),
            (services(&["php-fpm"]), false, listen),
            (services(&["app=node"]), false, none),
            (command(&["node"]), false, none),
            // `nginx -t` never listens.
            (command(&["nginx"]), true, none),
        ] {
            let config = resolve(&programs, &[], cli).unwrap();
            let plan = &config.plan.services[0];
            assert_eq!((plan.is_web, plan.ready), (is_web, ready), "{config:?}");
        }
    }

    #[test]
    fn commands_are_known_by_their_base_name() {
        let programs = ["/usr/sbin/php-fpm8.2", "nginx", "/start.sh", "node"];
        let only = |cli| resolve(&programs, &[], cli).unwrap();

        let config = only(command(&["/usr/sbin/php-fpm8.2", "-y", "x"]));
        let php_fpm = &config.services[0];
        assert_eq!(php_fpm.command, ["/usr/sbin/php-fpm8.2", "-y", "x", "-F"]);
        assert_eq!(php_fpm.stop, Signal::QUIT);

        let config = only(command(&["nginx", "-g", "daemon off;"]));
        let nginx = &config.services[0];
        assert!(
            nginx.variables.is_empty(),
            "a second daemon directive is an error"
        );

        let config = only(command(&["node", "lighttpd", "-f", "x"]));
        assert_eq!(config.services[0].command.len(), 4);
        for (words, expected) in [
            (
                &["lighttpd", "-f", "x"][..],
                &["lighttpd", "-f", "x", "-D"][..],
            ),
            (
                &["lighttpd", "-D", "-f", "x"],
                &["lighttpd", "-D", "-f", "x"],
            ),
            (&["haproxy", "-f", "x"], &["haproxy", "-f", "x"]),
        ] {
            let config = resolve(&["lighttpd", "haproxy"], &[], command(words)).unwrap();
            assert_eq!(config.services[0].command, expected);
        }
        let unnamed = message(resolve(&["haproxy"], &[], services(&["haproxy"])));
        assert!(unnamed.contains("known only by a command"), "{unnamed}");

        for (words, expected) in [
            (&["/start.sh", "/usr/bin/supervisord", "-n"][..], true),
            (&["/start.sh", "-c", "a; exec supervisord -n"], true),
            (&["/start.sh", "/etc/supervisord.conf"], false),
        ] {
            let named = only(command(words)).services[0].names_supervisord;
            assert_eq!(named, expected, "{words:?}");
        }

        // A script that is called nginx is stopped as one, but itself by TERM.
        let config = only(services(&["nginx=/start.sh"]));
        let (wrapper, ready) = (&config.services[0], config.plan.services[0].ready);
        assert!(wrapper.preset.is_some_and(Preset::is_nginx));
        assert_eq!((wrapper.stop, ready), (Signal::TERM, Readiness::Listen));

        let config = only(command(&["node", "a.js"]));
        let (plain, ready) = (&config.services[0], config.plan.services[0].ready);
        assert_eq!(
            (plain.stop, ready, plain.preset),
            (Signal::TERM, Readiness::None, None)
        );
    }

    #[test]
    fn what_stands_beside_servers_is_started_again() {
        let restarts = |cli| -> Vec<Restart> {
            let config = resolve(&["php-fpm", "nginx", "php", "/start.sh"], &[], cli).unwrap();
            config.plan.services.iter().map(|it| it.restart).collect()
        };
        let (no, always) = (Restart::No, Restart::Always);
        let several = ["php-fpm", "nginx", "queue=php work", "web=/start.sh nginx"];
        assert_eq!(restarts(services(&several)), [no, no, always, no]);
        // Alone each is the container.
        assert_eq!(restarts(services(&["queue=php work"])), [no]);
        assert_eq!(restarts(command(&["php", "work"])), [no]);

        let config = resolve(&["php", "nginx"], &[], services(&["nginx", "queue=php"])).unwrap();
        let queue = &config.plan.services[1];
        let seconds = [queue.restart_delay.min, queue.restart_delay.max].map(|it| it.as_secs());
        assert_eq!((seconds, queue.restart_limit), ([1, 30], 5));
        assert_eq!(
            (queue.success.as_slice(), queue.essential),
            (&[0][..], true)
        );
    }

    #[test]
    fn variables_keep_an_nginx_in_the_foreground_unless_they_hold_its_sockets() {
        let programs = ["nginx", "/usr/sbin/angie", "/start.sh", "node", "php-fpm"];
        let variables = |given: &[(&str, &str)], cli| {
            resolve(&programs, given, cli).unwrap().services[0].variables
        };
        for (cli, expected) in [
            (services(&["nginx"]), &["NGINX"][..]),
            (services(&["web=/usr/sbin/angie"]), &["NGINX", "ANGIE"]),
            (services(&["angie=/start.sh"]), &["NGINX", "ANGIE"]),
            (services(&["web=/usr/sbin/angie -g 'daemon off;'"]), &[]),
            (services(&["nginx=/start.sh nginx -g 'daemon off;'"]), &[]),
            (services(&["web=node nginx"]), &[]),
            // Known by its program, whatever its NAME.
            (services(&["nginx=php-fpm"]), &[]),
        ] {
            assert_eq!(variables(&[], cli), expected);
        }
        let empty = [("NGINX", ""), ("ANGIE", "")];
        assert_eq!(variables(&empty, services(&["nginx"])), ["NGINX"]);
        // An empty one of angie's own would hide the sockets in nginx's.
        for sockets in [[("NGINX", "3;")], [("ANGIE", "3;")]] {
            let set = variables(&sockets, services(&["web=/usr/sbin/angie"]));
            assert!(set.is_empty(), "{set:?}");
        }
        assert!(variables(&[("NGINX", "3;")], services(&["nginx"])).is_empty());
        assert_eq!(
            variables(&[("ANGIE", "3;")], services(&["nginx"])),
            ["NGINX"]
        );
    }

    #[test]
    fn a_command_that_names_a_preset_is_known_to() {
        let programs = ["/e.sh", "sh", "vim", "nginx", "/usr/sbin/nginx"];
        for (words, expected) in [
            (&["nginx"][..], true),
            (&["/e.sh", "nginx", "-g", "daemon off;"], true),
            (&["/e.sh", "/usr/sbin/nginx"], true),
            (&["/e.sh", "php-fpm8.4"], true),
            (&["sh", "-c", "php-fpm -D;nginx"], true),
            (&["/e.sh"], false),
            (&["vim", "/etc/nginx"], false),
            (&["vim", "nginx.conf"], false),
            (&["sh", "-c", "echo nginx-prometheus-exporter"], false),
        ] {
            let config = resolve(&programs, &[], command(words)).unwrap();
            assert_eq!(config.services[0].names_preset, expected, "{words:?}");
        }
    }

    #[test]
    fn an_entrypoint_that_nobody_runs_is_worth_a_note() {
        let notes = |programs: &[&str], variables: &[(&str, &str)], cli| {
            resolve(programs, variables, cli).unwrap().notes
        };
        for path in ENTRYPOINTS {
            let programs = ["nginx", path];
            let [note] = &notes(&programs, &[], Cli::default())[..] else {
                panic!("not one note of {path}")
            };
            let entrypoint = format!(r#"ENTRYPOINT ["drainit", "--", "{path}"]"#);
            assert!(
                note.starts_with(path) && note.contains(&entrypoint),
                "{note}"
            );
        }
        let programs = ["nginx", "/docker-entrypoint.sh"];
        for (variables, cli) in [
            (&[][..], command(&["/docker-entrypoint.sh", "nginx"])),
            (&[], command(&["nginx"])),
            (&[], services(&["nginx"])),
            (&[("DRAINIT_SERVICES", "nginx")], Cli::default()),
            // It is what runs us.
            (&[("PWD", "/")], Cli::default()),
        ] {
            assert_eq!(notes(&programs, variables, cli), [""; 0]);
        }
        assert_eq!(notes(&["nginx"], &[], Cli::default()), [""; 0]);
    }

    #[test]
    fn flags_win_over_variables_and_these_over_the_platform() {
        let kubernetes = [
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("DRAINIT_DELAY", "7"),
        ];
        let config = resolve(&["nginx"], &kubernetes, Cli::default()).unwrap();
        assert_eq!(
            (config.plan.delay, config.plan.grace_period.as_secs()),
            (Delay::fixed(Duration::from_secs(7)), 30)
        );
        let cli = options([("delay", "1m30s"), ("grace-period", "2m")]);
        let config = resolve(&["nginx"], &kubernetes, cli).unwrap();
        assert_eq!(
            (config.plan.delay, config.plan.grace_period.as_secs()),
            (Delay::fixed(Duration::from_secs(90)), 120)
        );
        assert_eq!(
            (config.plan.quiet.as_secs(), config.plan.stop_after.clone()),
            (1, StopAfter::Clients)
        );
        for (given, meant) in [
            ("none", StopAfter::None),
            ("tcp:80, tcp:443", StopAfter::Ports(vec![80, 443])),
        ] {
            let variables = [("DRAINIT_STOP_AFTER", given), ("DRAINIT_QUIET", "500ms")];
            let config = resolve(&["php-fpm"], &variables, Cli::default()).unwrap();
            assert_eq!(
                (config.plan.quiet.as_millis(), config.plan.stop_after),
                (500, meant)
            );
        }
        let of = |config: &Config| config.plan.services[0].start_timeout;
        assert_eq!(of(&config), None);
        let variables = [("DRAINIT_START_TIMEOUT", "90")];
        let config = resolve(&["nginx"], &variables, Cli::default()).unwrap();
        assert_eq!(of(&config), Some(Duration::from_secs(90)));
        // Cloud Run is asked first, and an empty variable is unset.
        let both = [
            ("K_SERVICE", "x"),
            ("KUBERNETES_SERVICE_HOST", "x"),
            ("DRAINIT_DELAY", ""),
        ];
        let config = resolve(&["nginx"], &both, Cli::default()).unwrap();
        assert_eq!(
            (config.plan.delay, config.plan.grace_period.as_secs()),
            (Delay::fixed(Duration::from_secs(0)), 10)
        );
    }

    #[test]
    fn the_kubelet_looks_for_a_message_and_nobody_else_unless_told_where() {
        let kubernetes = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        let given = |value| ("DRAINIT_TERMINATION_LOG", value);
        for (variables, expected) in [
            (&[][..], None),
            (&[kubernetes], Some("/dev/termination-log")),
            (&[("K_SERVICE", "x"), kubernetes], None),
            (&[kubernetes, given("none")], None),
            (&[kubernetes, given("/run/end")], Some("/run/end")),
            (&[given("/run/end")], Some("/run/end")),
        ] {
            let config = resolve(&["nginx"], variables, Cli::default()).unwrap();
            let path = config.termination_log.as_deref();
            assert_eq!(path, expected.map(Path::new), "{variables:?}");
        }
        let message = message(resolve(&["nginx"], &[given("x")], Cli::default()));
        assert!(
            message.starts_with("DRAINIT_TERMINATION_LOG: 'x'") && message.contains("absolute"),
            "{message}"
        );
    }

    #[test]
    fn a_default_delay_is_cut_and_a_given_one_refused_where_no_time_is_left() {
        let with = |delay: &str, grace: &str| {
            let given = [("delay", delay), ("grace-period", grace)];
            let given = given.into_iter().filter(|(_, text)| !text.is_empty());
            let cli = Cli {
                flags: Flags::of(given.map(|(name, text)| (name, text.to_owned()))),
                ..Cli::default()
            };
            resolve(&["nginx", "php-fpm"], &[], cli)
        };
        let default = |grace: &str| {
            let Delay { min, max } = with("", grace).unwrap().plan.delay;
            (min.as_millis(), max.as_millis())
        };
        assert_eq!(default(""), (2000, 5000));
        assert_eq!(default("60"), (2000, 5000));
        assert_eq!(default("8"), (2000, 4000));
        assert_eq!(default("3"), (1000, 1500));
        assert!(with("6999ms", "").is_ok() && with("0..6999ms", "").is_ok());
        assert!(message(with("1s..7s", "")).contains("--delay: 7s leaves no time"));
        let message = message(with("7s", ""));
        assert!(
            message.contains("--delay: 7s") && message.contains("below 7s"),
            "{message}"
        );
        assert!(message.contains("DRAINIT_GRACE_PERIOD"), "{message}");
        assert!(with("7s", "20s").is_ok());
        assert!(with("1s", "0").is_err() && with("1s", "x").is_err() && with("-1", "").is_err());
    }

    #[test]
    fn a_delay_is_one_time_or_two() {
        let delay = |text: &str| {
            let variables = [("DRAINIT_DELAY", text), ("DRAINIT_GRACE_PERIOD", "100")];
            let config = resolve(&["nginx"], &variables, Cli::default());
            config.map(|config| value::delay_text(config.plan.delay))
        };
        for (given, meant) in [
            ("5", "5s"),
            ("5s..15s", "5s to 15s"),
            ("0..2.5", "0s to 2s 500ms"),
            ("1.5..3", "1s 500ms to 3s"),
            (" 1m .. 70s ", "1m to 1m 10s"),
            ("2s..2", "2s"),
        ] {
            assert_eq!(delay(given).unwrap(), meant);
        }
        for (given, part) in [
            ("15s..5s", "right would be 5s..15s"),
            ("5s..", "5s..15s: at least, and at most"),
            ("..5s", "5s..15s"),
            ("5s...15s", "5s..15s"),
            ("5s-15s", "no duration"),
            ("+5", "no duration"),
            ("5.", "no duration"),
            (".5", "no duration"),
        ] {
            let message = delay(given).unwrap_err().message;
            let begin = format!("DRAINIT_DELAY: '{given}'");
            assert!(
                message.starts_with(&begin) && message.contains(part),
                "{message}"
            );
        }
    }

    #[test]
    fn each_platform_has_its_delay() {
        for (variable, meant) in [
            ("K_SERVICE", "0s"),
            ("KUBERNETES_SERVICE_HOST", "5s to 15s"),
            ("ECS_CONTAINER_METADATA_URI_V4", "5s to 15s"),
            ("NOMAD_ALLOC_ID", "1s"),
            ("FLY_APP_NAME", "1s"),
            ("NONE", "2s to 5s"),
        ] {
            let config = resolve(&["nginx"], &[(variable, "x")], Cli::default()).unwrap();
            assert_eq!(value::delay_text(config.plan.delay), meant, "{variable}");
        }
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right() {
        let programs = ["nginx", "php-fpm", "php"];
        for (cli, parts) in [
            (
                services(&["queue"]),
                &["queue", "--service 'queue=COMMAND'"][..],
            ),
            (services(&["apache2"]), &["apache2=COMMAND"]),
            (services(&["a=php", "a=php"]), &["two services", "a"]),
            (services(&["a="]), &["a=", "empty"]),
            (services(&["=php"]), &["name is empty"]),
            (services(&["a=php | php"]), &["'|'", "sh -c"]),
            (services(&["a=nosuch"]), &["nosuch: command not found"]),
            (command(&["locked"]), &["locked: not executable"]),
            (command(&[""]), &["the command is empty"]),
            (options([("delay", "5x")]), &["--delay", "'5x'", "500ms"]),
            (
                Cli {
                    command: vec!["php".into()],
                    ..options([("stop-signal", "TREM")])
                },
                &["--stop-signal", "TREM"],
            ),
            (
                options([("stop-signal", "INT")]),
                &["--stop-signal", "2 services"],
            ),
            (options([("rewrite", "HUP")]), &["--rewrite", "FROM=TO"]),
            (options([("marker", "x")]), &["--marker", "absolute"]),
            (
                options([("quiet", "50ms")]),
                &["--quiet", "200ms", "--stop-after none"],
            ),
            (
                options([("stop-after", "tcp:80,tcp:x")]),
                &["--stop-after", "tcp:PORT"],
            ),
            (options([("log-format", "xml")]), &["--log-format", "json"]),
            (options([("log-level", "loud")]), &["--log-level", "debug"]),
            (
                Cli {
                    command: vec!["php".into()],
                    ..services(&["nginx"])
                },
                &["--service", "command", "DRAINIT_SERVICES"],
            ),
        ] {
            let message = message(resolve(&programs, &[], cli));
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        let message = message(resolve(
            &programs,
            &[("DRAINIT_GRACE_PERIOD", "10x")],
            Cli::default(),
        ));
        assert!(
            message.starts_with("DRAINIT_GRACE_PERIOD: '10x'"),
            "{message}"
        );
    }

    #[test]
    fn what_is_left_at_its_default_can_be_given() {
        let with = |name, value| resolve(&["nginx"], &[(name, value)], Cli::default());
        for (given, marker, path) in [
            ("", Marker::Default, Some(value::DEFAULT_MARKER)),
            ("none", Marker::None, None),
            ("/run/x", Marker::At("/run/x".into()), Some("/run/x")),
        ] {
            let config = with("DRAINIT_MARKER", given).unwrap();
            assert_eq!(config.marker, marker);
            assert_eq!(marker.path(), path.map(Path::new));
        }
        for (given, control) in [("", true), ("none", false)] {
            let config = with("DRAINIT_CONTROL", given).unwrap();
            assert_eq!(config.control, control);
        }
        for (given, format) in [
            ("", LogFormat::Text),
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
        ] {
            let config = with("DRAINIT_LOG_FORMAT", given).unwrap();
            assert_eq!(config.log_format, format);
        }
        for (given, level) in [("", LevelFilter::Info), ("debug", LevelFilter::Debug)] {
            let config = with("DRAINIT_LOG_LEVEL", given).unwrap();
            assert_eq!(config.log_level, level);
        }
        for (name, least, less) in [
            ("DRAINIT_QUIET", "200ms", "199ms"),
            ("DRAINIT_START_TIMEOUT", "1ns", "0"),
            ("DRAINIT_GRACE_PERIOD", "100ms", "99ms"),
            ("DRAINIT_STOP_AFTER", "tcp:1", "tcp:0"),
            ("DRAINIT_CONTROL", "none", "/x"),
        ] {
            assert!(with(name, least).is_ok(), "{name}");
            assert!(message(with(name, less)).starts_with(name));
        }
    }

    #[test]
    fn a_stop_signal_that_is_given_goes_to_the_main_process_whatever_that_is() {
        let main = |given: Option<&str>, words: &[&str]| {
            let given = given.map(|signal| ("stop-signal", signal.to_owned()));
            let cli = Cli {
                flags: Flags::of(given),
                ..command(words)
            };
            let config = resolve(&["/start.sh", "nginx"], &[], cli).unwrap();
            let main = &config.services[0];
            let own = main.own_preset().is_some();
            (main.stop, main.main_stop(), own, main.is_web())
        };
        let (term, quit, int) = (Signal::TERM, Signal::QUIT, Signal::INT);
        assert_eq!(main(None, &["/start.sh"]), (term, term, false, false));
        assert_eq!(main(Some("INT"), &["/start.sh"]), (int, int, false, false));
        assert_eq!(main(None, &["nginx"]), (quit, term, true, true));
    }

    #[test]
    fn services_and_rewrites_come_from_variables_which_give_way_to_a_command() {
        for variables in [
            [
                ("DRAINIT_SERVICES", "nginx\n queue=php a ';'\n"),
                ("DRAINIT_REWRITE", "HUP=none\n1=2"),
            ],
            [
                ("DRAINIT_SERVICES", "nginx; queue=php a ';'"),
                ("DRAINIT_REWRITE", "HUP=none; 1=2"),
            ],
        ] {
            let config = resolve(&["nginx", "php"], &variables, Cli::default()).unwrap();
            assert_eq!(config.services.len(), 2);
            assert_eq!(config.services[1].command, ["php", "a", ";"]);
            assert_eq!(config.rewrites.len(), 2);
            let config = resolve(&["nginx", "php"], &variables, command(&["php"])).unwrap();
            assert_eq!(config.services.len(), 1);
        }
        // A flag is one entry.
        let flag = services(&["a=php; b=php"]);
        assert!(message(resolve(&["php"], &[], flag)).contains("';'"));
    }

    #[test]
    fn the_variable_of_each_option_is_read_and_asks_for_drainit() {
        let programs = ["php"];
        for option in &cli::OPTIONS {
            let name = reader::variable(option.name);
            let variables = [(name.as_str(), "\u{1}")];
            let host_has = |asked: &str| (asked == name).then(|| OsString::from("x"));
            let host = Host {
                variable: &host_has,
                find: &|_, _| Err(Failure::NotFound),
                ..Host::bare()
            };
            let is_services = option.name == reader::SERVICE;
            assert_eq!(host.is_drainit_asked_for(), !is_services, "{name}");
            assert_eq!(name == "DRAINIT_SERVICES", is_services);
            let cli = if is_services {
                Cli::default()
            } else {
                command(&["php"])
            };
            assert!(message(resolve(&programs, &variables, cli)).starts_with(&name));
        }
    }

    #[test]
    fn signals_and_exit_codes_are_taken_otherwise_where_that_is_asked() {
        let variables = [
            ("DRAINIT_FORWARD_TO", "group"),
            ("DRAINIT_PARENT_DEATH_SIGNAL", "TERM"),
            ("DRAINIT_SUCCESS", "143; 7"),
        ];
        let config = resolve(&["node"], &variables, command(&["node"])).unwrap();
        assert!(config.to_group);
        assert_eq!(config.parent_death_signal, Some(Signal::TERM));
        assert_eq!(config.plan.services[0].success, [0, 143, 7]);
        for (name, value) in [
            ("DRAINIT_FORWARD_TO", "all"),
            ("DRAINIT_PARENT_DEATH_SIGNAL", "0"),
            ("DRAINIT_SUCCESS", "256"),
        ] {
            let result = resolve(&["node"], &[(name, value)], command(&["node"]));
            assert!(message(result).starts_with(name), "{name}");
        }
    }
}
