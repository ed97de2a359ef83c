//! The configuration as validated: services in order, times, and what is left
//! of each when the worst comes. Flags win over `DRAINIT_*` variables, these
//! over the platform's defaults.
//!
//! What has to be looked up on the machine comes through [`Host`], so that all
//! of this can be tested without one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use crate::cli::Cli;
use crate::exit::Failure;
use crate::machine::ServiceId;
use crate::preset::{Kind, Preset, foreground_variables, has_daemon_directive, php_fpm_rank};
use crate::signal::{Rewrite, Signal};
use crate::words;

/// The drain marker's default place: a writable tmpfs in a default container,
/// also on a read-only root and for other users, and fresh after a restart.
pub const DEFAULT_MARKER: &str = "/dev/shm/drainit.draining";

/// For how long nothing new may come to a php-fpm alone before it is drained:
/// between a client's connecting to the web server and the request that comes
/// of it there is seldom more.
const QUIET: Duration = Duration::from_secs(1);

/// The shortest such time: it takes two looks to see that something was new.
const QUIET_AT_LEAST: Duration = Duration::from_millis(200);

/// What drainit is to do.
#[derive(Debug)]
pub struct Config {
    /// In the order of starting.
    pub services: Vec<ServiceConfig>,
    /// How long to serve on after the stop request.
    pub delay: Duration,
    /// From the stop request to the runtime's SIGKILL.
    pub grace_period: Duration,
    /// Where the defaults come from.
    pub platform: &'static Platform,
    /// For how long nothing may have come to a php-fpm alone.
    pub quiet: Duration,
    /// What else a php-fpm alone waits for.
    pub stop_after: StopAfter,
    /// What takes the place of a signal when it comes in.
    pub rewrites: Vec<Rewrite>,
    /// The drain marker.
    pub marker: Marker,
    /// How to write the log.
    pub log_format: LogFormat,
    /// How much to write.
    pub log_level: LevelFilter,
    /// What is to be said at the start, a line each: what is right, but perhaps
    /// not meant.
    pub notes: Vec<String>,
}

/// A service as configured.
#[derive(Debug)]
pub struct ServiceConfig {
    /// What it is called.
    pub name: String,
    /// The file to execute, looked up.
    pub program: PathBuf,
    /// The command's words; the first is as it was given.
    pub command: Vec<OsString>,
    /// By the service's name or by its command's base name.
    pub preset: Option<&'static Preset>,
    /// What its own main process gets: a preset's signal only if that process
    /// is the preset, not a wrapper around it.
    pub stop: Signal,
    /// `stop` was given: it goes to the main process, whatever that is.
    pub stop_is_given: bool,
    /// Starts when these are ready, and stops before them.
    pub after: Vec<ServiceId>,
    /// When it is ready.
    pub ready: Readiness,
    /// How long that may take, at most; `None` where it may take for ever: a
    /// migration in an entrypoint must not be killed, and the runtime has
    /// probes.
    pub start_timeout: Option<Duration>,
    /// The variables to set, empty, so that an nginx stays in the foreground
    /// whatever its configuration says.
    pub variables: &'static [&'static str],
    /// A word of its command is a preset's name, as in `/docker-entrypoint.sh
    /// nginx`: it may become one.
    pub names_preset: bool,
}

impl ServiceConfig {
    /// What its command itself is, not a wrapper around it.
    pub fn own_preset(&self) -> Option<&'static Preset> {
        self.preset.filter(|preset| self.stop == preset.stop)
    }

    /// What its main process gets that isn't recognised as a preset, which has no
    /// handler for a preset's signal then.
    pub fn main_stop(&self) -> Signal {
        if self.stop_is_given {
            self.stop
        } else {
            Signal::TERM
        }
    }

    /// Whether it is a web server, as far as its name and its command tell.
    pub fn is_web(&self) -> bool {
        self.preset.is_some_and(|preset| preset.kind == Kind::Web)
    }
}

/// When a service counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// As soon as it was started.
    None,
    /// When it listens.
    Listen,
}

/// Whether and where there is a drain marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Nowhere.
    None,
    /// At its default place, if an nginx runs.
    Default,
    /// There.
    At(PathBuf),
}

/// What a php-fpm waits for before it is drained, if its web server is in
/// another container of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopAfter {
    /// Nothing: nor does it wait for quiet.
    None,
    /// That nobody outside is connected to what others listened on.
    Clients,
    /// That nobody listens on these TCP ports, or is connected to them.
    Ports(Vec<u16>),
}

/// How to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// An object a line.
    Json,
}

/// Where we run, as far as it decides the defaults.
#[derive(Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its name.
    pub name: &'static str,
    /// The variable that tells it.
    variable: &'static str,
    grace_period: Duration,
    delay: Duration,
    /// Its stop signal is SIGINT.
    pub interrupt_stops: bool,
}

const fn platform(name: &'static str, variable: &'static str, grace: u64, delay: u64) -> Platform {
    Platform {
        name,
        variable,
        grace_period: Duration::from_secs(grace),
        delay: Duration::from_secs(delay),
        interrupt_stops: false,
    }
}

/// In the order of asking: Cloud Run is made of Kubernetes' parts.
static PLATFORMS: [Platform; 5] = [
    platform("Cloud Run", "K_SERVICE", 10, 0),
    platform("Kubernetes", "KUBERNETES_SERVICE_HOST", 30, 5),
    platform("ECS", "ECS_CONTAINER_METADATA_URI_V4", 30, 5),
    platform("Nomad", "NOMAD_ALLOC_ID", 5, 1),
    Platform {
        interrupt_stops: true,
        ..platform("Fly", "FLY_APP_NAME", 5, 1)
    },
];

/// Docker, Podman, and all else.
static DOCKER: Platform = platform("Docker", "", 10, 2);

impl Platform {
    /// Docker, Podman, and all else.
    pub fn docker() -> &'static Self {
        &DOCKER
    }
}

/// What has to be looked up on the machine.
pub struct Host<'a> {
    /// An environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The file that a command's first word names: as a path, or in `PATH`,
    /// or, if asked so, in the system's `sbin` directories.
    pub find: &'a dyn Fn(&OsStr, SearchSbin) -> Result<PathBuf, Failure>,
    /// The names of all files in `PATH` and the `sbin` directories that begin
    /// with `php-fpm`.
    pub php_fpms: &'a dyn Fn() -> Vec<String>,
}

/// Whether the `sbin` directories are searched, too: for presets, which live
/// there, but not for a command, which is found as a shell finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchSbin {
    /// They are.
    Yes,
    /// They aren't.
    No,
}

impl Host<'_> {
    /// A variable of ours; an empty one is unset.
    fn given(&self, name: &'static str) -> Result<Option<Given>, Error> {
        let value = (self.variable)(name).filter(|value| !value.is_empty());
        value
            .map(|value| match value.into_string() {
                Ok(text) => Ok(Given { from: name, text }),
                Err(_) => Err(usage(format!("{name}: is not UTF-8"))),
            })
            .transpose()
    }

    /// A flag, or its variable.
    fn option(
        &self,
        from: &'static str,
        flag: Option<String>,
        name: &'static str,
    ) -> Result<Option<Given>, Error> {
        match flag {
            Some(text) => Ok(Some(Given { from, text })),
            None => self.given(name),
        }
    }
}

impl Marker {
    /// By the flag or its variable.
    pub fn resolve(flag: Option<String>, host: &Host) -> Result<Self, Error> {
        match host.option("--marker", flag, "DRAINIT_MARKER")? {
            Some(given) => given.parse(marker_place),
            None => Ok(Self::Default),
        }
    }

    /// Where it is to be, if there is to be one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::Default => Some(Path::new(DEFAULT_MARKER)),
            Self::At(path) => Some(path),
        }
    }
}

/// What is wrong, in one line, and the exit code for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    /// The exit code.
    pub failure: Failure,
    /// What, where, and what would be right.
    pub message: String,
}

fn usage(message: String) -> Error {
    Error {
        failure: Failure::Usage,
        message,
    }
}

/// A value, and where it came from.
struct Given {
    from: &'static str,
    text: String,
}

impl Given {
    fn parse<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Error> {
        parse(&self.text).map_err(|what| usage(format!("{}: {what}", self.from)))
    }
}

impl Config {
    /// Makes sense of the command line and the environment.
    pub fn resolve(cli: Cli, host: &Host) -> Result<Self, Error> {
        let platform = PLATFORMS
            .iter()
            .find(|platform| (host.variable)(platform.variable).is_some_and(|v| !v.is_empty()))
            .unwrap_or(&DOCKER);
        let grace_period =
            host.option("--grace-period", cli.grace_period, "DRAINIT_GRACE_PERIOD")?;
        let delay = host.option("--delay", cli.delay, "DRAINIT_DELAY")?;
        let start_timeout = host.option(
            "--start-timeout",
            cli.start_timeout,
            "DRAINIT_START_TIMEOUT",
        )?;
        let stop_signal = host.option("--stop-signal", cli.stop_signal, "DRAINIT_STOP_SIGNAL")?;
        let quiet = host.option("--quiet", cli.quiet, "DRAINIT_QUIET")?;
        let stop_after = host.option("--stop-after", cli.stop_after, "DRAINIT_STOP_AFTER")?;
        let log_format = host.option("--log-format", cli.log_format, "DRAINIT_LOG_FORMAT")?;
        let log_level = host.option("--log-level", cli.log_level, "DRAINIT_LOG_LEVEL")?;
        let listed = |from: &'static str, flags: Vec<String>, name: &'static str| {
            if !flags.is_empty() {
                return Ok(flags
                    .into_iter()
                    .map(|text| Given { from, text })
                    .collect::<Vec<_>>());
            }
            let text = host
                .given(name)?
                .map_or_else(String::new, |given| given.text);
            let given = words::entries(&text).into_iter().map(|entry| Given {
                from: name,
                text: entry.to_owned(),
            });
            Ok(given.collect())
        };
        let rewrites = listed("--rewrite", cli.rewrite, "DRAINIT_REWRITE")?
            .iter()
            .map(|given| given.parse(str::parse))
            .collect::<Result<_, _>>()?;

        let mut notes = Vec::new();
        let services = if cli.command.is_empty() {
            let services = listed("--service", cli.services, "DRAINIT_SERVICES")?;
            if services.is_empty() {
                notes.extend(skipped_entrypoint(host));
                installed(host)?
            } else {
                named(&services, host)?
            }
        } else if cli.services.is_empty() {
            vec![single(cli.command, host)?]
        } else {
            return Err(usage(format!(
                "there are a --service and a command, {}: give one or the other \
                 (DRAINIT_SERVICES in ENV, unlike flags, gives way to a command, as in \
                 docker run IMAGE php -v)",
                Path::new(&cli.command.join(OsStr::new(" "))).display()
            )));
        };

        let mut config = Self {
            services,
            delay: Duration::ZERO,
            grace_period: match &grace_period {
                Some(given) => given.parse(duration)?,
                None => platform.grace_period,
            },
            platform,
            quiet: quiet.map_or(Ok(QUIET), |given| given.parse(quiet_for))?,
            stop_after: stop_after
                .map_or(Ok(StopAfter::Clients), |given| given.parse(stop_after_what))?,
            rewrites,
            marker: Marker::resolve(cli.marker, host)?,
            log_format: log_format.map_or(Ok(LogFormat::Text), |given| given.parse(format))?,
            log_level: log_level.map_or(Ok(LevelFilter::Info), |given| given.parse(level))?,
            notes,
        };
        if config.grace_period < Duration::from_millis(100) {
            let from = grace_period.map_or("", |given| given.from);
            return Err(usage(format!("{from}: a stop takes 100ms at least")));
        }
        if let Some(given) = stop_signal {
            config.stop_by(&given)?;
        }
        if let Some(given) = start_timeout {
            let timeout = given.parse(start_timeout_for)?;
            for service in &mut config.services {
                service.start_timeout = Some(timeout);
            }
        }
        config.delay = match &delay {
            None => platform.delay.min(config.grace_period / 3),
            Some(given) => {
                let delay = given.parse(duration)?;
                config.check_delay(delay, given.from, grace_period.is_none())?;
                delay
            }
        };
        Ok(config)
    }

    fn stop_by(&mut self, given: &Given) -> Result<(), Error> {
        let signal = given.parse(str::parse)?;
        match self.services.as_mut_slice() {
            [only] => {
                only.stop = signal;
                only.stop_is_given = true;
                Ok(())
            }
            services => Err(usage(format!(
                "{}: {signal} is meant for which of {} services? It goes with one alone",
                given.from,
                services.len()
            ))),
        }
    }

    fn check_delay(
        &self,
        delay: Duration,
        from: &str,
        grace_period_is_default: bool,
    ) -> Result<(), Error> {
        let earliest = self.term_at().into_iter().min();
        let earliest = earliest.unwrap_or_else(|| self.last_term_at());
        if delay < earliest {
            return Ok(());
        }
        let grace = if grace_period_is_default {
            format!(
                "{}'s {}; DRAINIT_GRACE_PERIOD says if yours is longer",
                self.platform.name,
                humantime::format_duration(self.grace_period)
            )
        } else {
            humantime::format_duration(self.grace_period).to_string()
        };
        Err(usage(format!(
            "{from}: {} leaves no time to drain: it must be below {}, the grace period being {grace}",
            humantime::format_duration(delay),
            humantime::format_duration(earliest),
        )))
    }

    /// What is kept between our last steps and the runtime's SIGKILL.
    pub fn margin(&self) -> Duration {
        Duration::from_secs(1).min(self.grace_period / 10)
    }

    /// When what still runs of each service gets SIGTERM, after the stop request.
    /// Each service that others outlive has its own time before theirs, so that
    /// a stuck nginx leaves php-fpm time to drain.
    pub fn term_at(&self) -> Vec<Duration> {
        let outlived_by = count_outliving(&self.services);
        let step = match outlived_by.iter().max() {
            None | Some(0) => Duration::ZERO,
            Some(steps) => self.margin().min(self.grace_period / 4 / *steps),
        };
        let last = self.last_term_at();
        outlived_by
            .into_iter()
            .map(|steps| last.saturating_sub(step * steps))
            .collect()
    }

    /// When the last service gets SIGTERM.
    pub fn last_term_at(&self) -> Duration {
        self.grace_period.saturating_sub(2 * self.margin())
    }

    /// When what still runs gets SIGKILL.
    pub fn kill_at(&self) -> Duration {
        self.grace_period.saturating_sub(self.margin())
    }

    /// When we exit, reaped or not.
    pub fn exit_at(&self) -> Duration {
        self.grace_period.saturating_sub(self.margin() / 2)
    }
}

/// No argument: php-fpm and nginx, whichever are installed.
fn installed(host: &Host) -> Result<Vec<ServiceConfig>, Error> {
    let mut services = Vec::new();
    for name in ["php-fpm", "nginx"] {
        match by_name(name, host) {
            Ok(service) => services.push(service),
            Err(error) if error.failure == Failure::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if services.is_empty() {
        return Err(usage(
            "nothing to run: neither php-fpm (php-fpm, php-fpm8.4, php-fpm84, …) nor nginx is in \
             PATH or an sbin directory; give a command, or --service NAME=COMMAND"
                .to_owned(),
        ));
    }
    Ok(in_order(services))
}

/// Where images have the script that prepares them.
const ENTRYPOINTS: [&str; 3] = [
    "/docker-entrypoint.sh",
    "/usr/local/bin/docker-entrypoint.sh",
    "/entrypoint.sh",
];

/// What the shells that run such a script set in what they exec, and runtimes
/// don't.
const SET_BY_SHELLS: [&str; 2] = ["PWD", "SHLVL"];

/// That the image has a script that prepares it, and nobody runs that: with
/// `ENTRYPOINT ["drainit"]` alone templates aren't rendered, and nothing listens.
/// Who names services, or a command, has decided what runs, and isn't told.
fn skipped_entrypoint(host: &Host) -> Option<String> {
    if SET_BY_SHELLS
        .iter()
        .any(|name| (host.variable)(name).is_some())
    {
        return None;
    }
    let is_there = |path: &&&str| (host.find)(OsStr::new(path), SearchSbin::No).is_ok();
    let path = ENTRYPOINTS.iter().find(is_there)?;
    Some(format!(
        "{path} is there, and nobody runs it; ENTRYPOINT [\"drainit\", \"--\", \"{path}\"] \
         would, with the image's CMD behind it"
    ))
}

fn named(given: &[Given], host: &Host) -> Result<Vec<ServiceConfig>, Error> {
    let mut services: Vec<ServiceConfig> = Vec::new();
    for given in given {
        let wrong = |what: String| usage(format!("{} {}: {what}", given.from, given.text));
        let (name, command) = match given.text.split_once('=') {
            Some((name, command)) => (name, Some(command)),
            None => (given.text.as_str(), None),
        };
        if name.is_empty() {
            return Err(wrong("the name is empty (NAME or NAME=COMMAND)".to_owned()));
        }
        if services.iter().any(|service| service.name == name) {
            return Err(wrong(format!("there are two services of the name {name}")));
        }
        services.push(match command {
            Some(line) => {
                let words = words::split(line).map_err(wrong)?;
                let command = words.into_iter().map(OsString::from).collect();
                by_command(name, command, SearchSbin::No, host)?
            }
            None => match Preset::by_name(name) {
                Some(preset) if preset.arguments.is_some() => by_name(name, host)?,
                _ => {
                    return Err(wrong(format!(
                        "{name} is known only by a command: --service '{name}=COMMAND'"
                    )));
                }
            },
        });
    }
    Ok(in_order(services))
}

/// One command, as with tini.
fn single(command: Vec<OsString>, host: &Host) -> Result<ServiceConfig, Error> {
    let name = command
        .first()
        .map(|word| base_name(word))
        .unwrap_or_default();
    let service = by_command(&name, command, SearchSbin::No, host)?;
    // Nobody waits for it, and `nginx -t` never listens.
    Ok(ServiceConfig {
        ready: Readiness::None,
        ..service
    })
}

/// Each after all before it.
fn in_order(mut services: Vec<ServiceConfig>) -> Vec<ServiceConfig> {
    for (index, service) in services.iter_mut().enumerate() {
        service.after = (0..index).map(ServiceId).collect();
    }
    services
}

/// How many services, at most, stop one after the other once this one has, for
/// each of those that are after none but earlier ones. Web servers stop first.
fn count_outliving(services: &[ServiceConfig]) -> Vec<u32> {
    let mut counts = vec![0; services.len()];
    let mut most = None;
    for is_web in [false, true] {
        let first = most.map_or(0, |most: u32| most + 1);
        for (index, service) in services.iter().enumerate() {
            if service.is_web() != is_web {
                continue;
            }
            let is_alike = |id: &&ServiceId| {
                services
                    .get(id.0)
                    .is_some_and(|service| service.is_web() == is_web)
            };
            let before = service.after.iter().filter(is_alike);
            let after_those = before
                .filter_map(|id| Some(counts.get(id.0)? + 1))
                .max()
                .unwrap_or(0);
            if let Some(count) = counts.get_mut(index) {
                *count = first.max(after_those);
                most = most.max(Some(*count));
            }
        }
    }
    counts
}

/// A preset by its name alone.
fn by_name(name: &str, host: &Host) -> Result<ServiceConfig, Error> {
    let preset = Preset::by_name(name);
    let mut program = name.to_owned();
    if name == "php-fpm" {
        let newest = (host.php_fpms)()
            .into_iter()
            .filter_map(|file| Some((php_fpm_rank(&file)?, file)))
            .max();
        program = newest.map_or(program, |(_, file)| file);
    }
    let arguments = preset
        .and_then(|preset| preset.arguments)
        .unwrap_or_default();
    let words = std::iter::once(program.as_str()).chain(arguments.iter().copied());
    by_command(
        name,
        words.map(OsString::from).collect(),
        SearchSbin::Yes,
        host,
    )
}

fn by_command(
    name: &str,
    mut command: Vec<OsString>,
    sbin: SearchSbin,
    host: &Host,
) -> Result<ServiceConfig, Error> {
    let Some(first) = command.first().filter(|word| !word.is_empty()) else {
        return Err(usage(format!("{name}: the command is empty")));
    };
    let program = (host.find)(first, sbin).map_err(|failure| Error {
        failure,
        message: match failure {
            Failure::NotExecutable => format!("{}: not executable", Path::new(first).display()),
            _ => format!("{}: command not found", Path::new(first).display()),
        },
    })?;
    let program_name = base_name(first);
    let by_program = Preset::by_name(&program_name);
    let preset = by_program.or_else(|| Preset::by_name(name));
    let arguments: Vec<String> = command
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let names_preset = command.iter().any(|word| is_preset_named(word, host));
    if by_program.is_some_and(|preset| preset.kind == Kind::Fpm) && !stays_in_foreground(&arguments)
    {
        command.push("-F".into());
    }
    Ok(ServiceConfig {
        name: name.to_owned(),
        program,
        command,
        preset,
        stop: by_program.map_or(Signal::TERM, |preset| preset.stop),
        stop_is_given: false,
        after: Vec::new(),
        ready: if preset.is_some() {
            Readiness::Listen
        } else {
            Readiness::None
        },
        start_timeout: None,
        variables: if preset.is_some_and(Preset::is_nginx) && !has_daemon_directive(&arguments) {
            unset(&[name, &program_name], host)
        } else {
            &[]
        },
        names_preset,
    })
}

/// The variables that keep a program of these names in the foreground; none
/// where one is set: then it holds inherited sockets, which also keep it there.
fn unset(names: &[&str], host: &Host) -> &'static [&'static str] {
    let variables = names.iter().map(|name| foreground_variables(name));
    let variables = variables.max_by_key(|variables| variables.len());
    let has_value = |name: &&str| (host.variable)(name).is_some_and(|value| !value.is_empty());
    variables
        .filter(|variables| !variables.iter().any(has_value))
        .unwrap_or_default()
}

/// Whether a preset is named in a word, by itself or, for `sh -c`, with others.
fn is_preset_named(word: &OsStr, host: &Host) -> bool {
    let is_between = |byte: &u8| b" \t\n;&|()'\"".contains(byte);
    let mut parts = word.as_bytes().split(is_between).map(OsStr::from_bytes);
    parts.any(|part| {
        // /etc/nginx is a directory.
        Preset::by_name(&base_name(part)).is_some()
            && (!part.as_bytes().contains(&b'/') || (host.find)(part, SearchSbin::No).is_ok())
    })
}

fn base_name(word: &OsStr) -> String {
    Path::new(word)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// php-fpm(8): `-F`, or `--nodaemonize`.
fn stays_in_foreground(arguments: &[String]) -> bool {
    arguments
        .iter()
        .any(|argument| argument == "-F" || argument == "--nodaemonize")
}

/// As people write them: `5s`, `500ms`, `1m30s`, or bare seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    bare_seconds(text)
        .or_else(|| humantime::parse_duration(text).ok())
        .ok_or_else(|| format!("'{text}' is no duration (5s, 500ms, 1m30s, or seconds)"))
}

/// `2` or `2.5`. Floating point numbers would add 20 kB to the binary.
fn bare_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}");
    let nanoseconds = nanoseconds.get(..9)?.parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanoseconds))
}

fn quiet_for(text: &str) -> Result<Duration, String> {
    let quiet = duration(text)?;
    if quiet < QUIET_AT_LEAST {
        return Err(format!(
            "'{text}' is too short to see anything in: 200ms at least (--stop-after none: no wait)"
        ));
    }
    Ok(quiet)
}

fn start_timeout_for(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout.is_zero() {
        return Err(format!(
            "'{text}' leaves no time to start in; without it there is no limit"
        ));
    }
    Ok(timeout)
}

fn stop_after_what(text: &str) -> Result<StopAfter, String> {
    if text == "none" {
        return Ok(StopAfter::None);
    }
    let port = |part: &str| part.trim().strip_prefix("tcp:")?.parse().ok();
    text.split(',')
        .map(|part| port(part).filter(|port| *port != 0))
        .collect::<Option<_>>()
        .map(StopAfter::Ports)
        .ok_or_else(|| format!("'{text}' is neither tcp:PORT,… nor none"))
}

fn marker_place(text: &str) -> Result<Marker, String> {
    match text {
        "none" => Ok(Marker::None),
        path if path.starts_with('/') => Ok(Marker::At(PathBuf::from(path))),
        _ => Err(format!("'{text}' is neither an absolute path nor none")),
    }
}

fn format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("'{text}' is neither text nor json")),
    }
}

fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is none of off, error, warn, info, debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            },
        )
    }

    fn services(services: &[&str]) -> Cli {
        Cli {
            services: services.iter().map(ToString::to_string).collect(),
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
        let [php_fpm, nginx] = config.services.as_slice() else {
            panic!("{config:?}")
        };
        assert_eq!(
            (php_fpm.name.as_str(), nginx.name.as_str()),
            ("php-fpm", "nginx")
        );
        assert_eq!(php_fpm.command, ["php-fpm8.4", "-F"]);
        assert_eq!(
            (nginx.after.as_slice(), nginx.ready),
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
    fn commands_are_known_by_their_base_name() {
        let programs = ["/usr/sbin/php-fpm8.2", "nginx", "/start.sh", "node"];
        let only = |cli| resolve(&programs, &[], cli).unwrap().services.remove(0);

        let php_fpm = only(command(&["/usr/sbin/php-fpm8.2", "-y", "x"]));
        assert_eq!(php_fpm.command, ["/usr/sbin/php-fpm8.2", "-y", "x", "-F"]);
        assert_eq!(php_fpm.stop, Signal::QUIT);

        let nginx = only(command(&["nginx", "-g", "daemon off;"]));
        assert!(
            nginx.variables.is_empty(),
            "a second daemon directive is an error"
        );

        // A script that is called nginx is stopped as one, but itself by TERM.
        let wrapper = only(services(&["nginx=/start.sh"]));
        assert!(wrapper.preset.is_some_and(Preset::is_nginx));
        assert_eq!(
            (wrapper.stop, wrapper.ready),
            (Signal::TERM, Readiness::Listen)
        );

        let plain = only(command(&["node", "a.js"]));
        assert_eq!(
            (plain.stop, plain.ready, plain.preset),
            (Signal::TERM, Readiness::None, None)
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
            (config.delay.as_secs(), config.grace_period.as_secs()),
            (7, 30)
        );
        let cli = Cli {
            delay: Some("1m30s".into()),
            grace_period: Some("2m".into()),
            ..Cli::default()
        };
        let config = resolve(&["nginx"], &kubernetes, cli).unwrap();
        assert_eq!(
            (config.delay.as_secs(), config.grace_period.as_secs()),
            (90, 120)
        );
        assert_eq!(
            (config.quiet.as_secs(), config.stop_after),
            (1, StopAfter::Clients)
        );
        for (given, meant) in [
            ("none", StopAfter::None),
            ("tcp:80, tcp:443", StopAfter::Ports(vec![80, 443])),
        ] {
            let variables = [("DRAINIT_STOP_AFTER", given), ("DRAINIT_QUIET", "500ms")];
            let config = resolve(&["php-fpm"], &variables, Cli::default()).unwrap();
            assert_eq!((config.quiet.as_millis(), config.stop_after), (500, meant));
        }
        let of = |services: &[ServiceConfig]| services.first().unwrap().start_timeout;
        assert_eq!(of(&config.services), None);
        let variables = [("DRAINIT_START_TIMEOUT", "90")];
        let config = resolve(&["nginx"], &variables, Cli::default()).unwrap();
        assert_eq!(of(&config.services), Some(Duration::from_secs(90)));
        // Cloud Run is asked first, and an empty variable is unset.
        let both = [
            ("K_SERVICE", "x"),
            ("KUBERNETES_SERVICE_HOST", "x"),
            ("DRAINIT_DELAY", ""),
        ];
        let config = resolve(&["nginx"], &both, Cli::default()).unwrap();
        assert_eq!(
            (config.delay.as_secs(), config.grace_period.as_secs()),
            (0, 10)
        );
    }

    #[test]
    fn a_default_delay_is_cut_and_a_given_one_refused_where_no_time_is_left() {
        let with = |delay: &str, grace: &str| {
            let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let cli = Cli {
                delay: given(delay),
                grace_period: given(grace),
                ..Cli::default()
            };
            resolve(&["nginx", "php-fpm"], &[], cli)
        };
        assert_eq!(with("", "3").unwrap().delay, Duration::from_secs(1));
        assert!(with("6999ms", "").is_ok());
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
    fn deadlines_leave_each_service_time() {
        let cli = Cli {
            grace_period: Some("30".into()),
            ..services(&["php-fpm", "nginx"])
        };
        let config = resolve(&["nginx", "php-fpm"], &[], cli).unwrap();
        let at = |id: usize| config.term_at()[id].as_secs_f64();
        assert_eq!((at(1), at(0)), (27.0, 28.0));
        assert_eq!(
            (
                config.kill_at().as_secs_f64(),
                config.exit_at().as_secs_f64()
            ),
            (29.0, 29.5)
        );
        // Many services share a quarter of the grace period.
        let many: Vec<String> = (0..201).map(|n| format!("s{n}=nginx")).collect();
        let cli = services(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let config = resolve(&["nginx"], &[], cli).unwrap();
        let earliest = config.term_at()[200];
        assert_eq!(earliest, Duration::from_millis(5500));
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
            (
                Cli {
                    delay: Some("5x".into()),
                    ..Cli::default()
                },
                &["--delay", "'5x'", "500ms"],
            ),
            (
                Cli {
                    stop_signal: Some("TREM".into()),
                    ..command(&["php"])
                },
                &["--stop-signal", "TREM"],
            ),
            (
                Cli {
                    stop_signal: Some("INT".into()),
                    ..Cli::default()
                },
                &["--stop-signal", "2 services"],
            ),
            (
                Cli {
                    rewrite: vec!["HUP".into()],
                    ..Cli::default()
                },
                &["--rewrite", "FROM=TO"],
            ),
            (
                Cli {
                    marker: Some("x".into()),
                    ..Cli::default()
                },
                &["--marker", "absolute"],
            ),
            (
                Cli {
                    quiet: Some("50ms".into()),
                    ..Cli::default()
                },
                &["--quiet", "200ms", "--stop-after none"],
            ),
            (
                Cli {
                    stop_after: Some("tcp:80,tcp:x".into()),
                    ..Cli::default()
                },
                &["--stop-after", "tcp:PORT"],
            ),
            (
                Cli {
                    log_format: Some("xml".into()),
                    ..Cli::default()
                },
                &["--log-format", "json"],
            ),
            (
                Cli {
                    log_level: Some("loud".into()),
                    ..Cli::default()
                },
                &["--log-level", "debug"],
            ),
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
}
