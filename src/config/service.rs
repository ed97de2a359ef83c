//! Services: what is to be executed for each, and what is known of it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::reader::Given;
use super::value::{Error, usage};
use super::{Host, words};
use crate::preset::{
    Kind, Preset, foreground_variables, has_daemon_directive, is_supervisord, php_fpm_rank,
};
use crate::signal::Signal;
use crate::status::Failure;
use crate::sys::path::SearchSbin;
use crate::sys::user::Identity;

/// A service as configured.
#[derive(Debug)]
pub struct ServiceConfig {
    /// What it is called.
    pub name: String,
    /// What it is called together with the other instances, if it has such.
    pub instance_of: Option<String>,
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
    /// The variables to set, empty, so that an nginx stays in the foreground
    /// whatever its configuration says.
    pub variables: &'static [&'static str],
    /// A word of its command is a preset's name, as in `/docker-entrypoint.sh
    /// nginx`: it may become one.
    pub names_preset: bool,
    /// A word of its command is supervisord's, by itself or in a line for a shell.
    pub names_supervisord: bool,
    /// What its processes are to have that is not as it is with us.
    pub setting: Setting,
    /// It is ready once somebody listens there; `None` if once it listens itself.
    pub ready_at: Option<ReadyAt>,
}

/// Where somebody is to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyAt {
    /// On this TCP port, at any address.
    Tcp(u16),
    /// On the unix socket of this path; with an `@` in front, of this abstract name.
    Unix(String),
}

/// What a service's processes are to have that is not as it is with us.
#[derive(Debug, Default)]
pub struct Setting {
    /// The user that they run as; ours if `None`.
    pub identity: Option<Identity>,
    /// The directory that they start in; ours if `None`.
    pub directory: Option<PathBuf>,
    /// Variables to set besides those that we were given; the last one of a name holds.
    pub environment: Vec<(OsString, OsString)>,
    /// How many descriptors each may have open (`RLIMIT_NOFILE`, soft and hard).
    pub nofile: Option<u64>,
    /// The service's name stands before each line that they write.
    pub has_prefix: bool,
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

/// No argument: php-fpm and nginx, whichever are installed.
pub(super) fn installed(host: &Host) -> Result<Vec<ServiceConfig>, Error> {
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
    Ok(services)
}

/// Where images have the script that prepares them.
pub(super) const ENTRYPOINTS: [&str; 3] = [
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
pub(super) fn skipped_entrypoint(host: &Host) -> Option<String> {
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

pub(super) fn named(given: &[Given], host: &Host) -> Result<Vec<ServiceConfig>, Error> {
    let mut services: Vec<ServiceConfig> = Vec::new();
    for given in given {
        let wrong = |what: String| usage(format!("{} {}: {what}", given.origin, given.text));
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
            None => known(name, host).unwrap_or_else(|| {
                Err(wrong(format!(
                    "{name} is known only by a command: --service '{name}=COMMAND'"
                )))
            })?,
        });
    }
    Ok(services)
}

/// One command, as with tini.
pub(super) fn single(command: Vec<OsString>, host: &Host) -> Result<ServiceConfig, Error> {
    let name = command
        .first()
        .map(|word| base_name(word))
        .unwrap_or_default();
    by_command(&name, command, SearchSbin::No, host)
}

/// A preset that needs no command, if it is one.
pub(super) fn known(name: &str, host: &Host) -> Option<Result<ServiceConfig, Error>> {
    let preset = Preset::by_name(name)?;
    preset.runs_by_name.then(|| by_name(name, host))
}

/// A preset by its name alone.
fn by_name(name: &str, host: &Host) -> Result<ServiceConfig, Error> {
    let mut program = name.to_owned();
    if name == "php-fpm" {
        let newest = (host.php_fpms)()
            .into_iter()
            .filter_map(|file| Some((php_fpm_rank(&file)?, file)))
            .max();
        program = newest.map_or(program, |(_, file)| file);
    }
    by_command(name, vec![program.into()], SearchSbin::Yes, host)
}

pub(super) fn by_command(
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
    let is_supervisord = |part| is_supervisord(&base_name(part));
    let names_supervisord = command.iter().flat_map(|it| parts(it)).any(is_supervisord);
    let foreground = by_program.map_or(&[][..], |preset| preset.foreground);
    if let Some(word) = foreground.first() {
        if !arguments.iter().any(|it| foreground.contains(&it.as_str())) {
            command.push(word.into());
        }
    }
    Ok(ServiceConfig {
        name: name.to_owned(),
        instance_of: None,
        program,
        command,
        preset,
        stop: by_program.map_or(Signal::TERM, |preset| preset.stop),
        stop_is_given: false,
        variables: if preset.is_some_and(Preset::is_nginx) && !has_daemon_directive(&arguments) {
            unset(&[name, &program_name], host)
        } else {
            &[]
        },
        names_preset,
        names_supervisord,
        setting: Setting::default(),
        ready_at: None,
    })
}

/// The variables that keep a program of these names in the foreground; none
/// where one is set: then it holds inherited sockets, which also keep it there.
fn unset(names: &[&str], host: &Host) -> &'static [&'static str] {
    let variables = names.iter().map(|name| foreground_variables(name));
    let variables = variables.max_by_key(|variables| variables.len());
    let has_value = |name: &&str| host.value(name).is_some();
    variables
        .filter(|variables| !variables.iter().any(has_value))
        .unwrap_or_default()
}

/// A word's own words where it is a line for `sh -c`, else itself.
fn parts(word: &OsStr) -> impl Iterator<Item = &OsStr> {
    let is_between = |byte: &u8| b" \t\n;&|()'\"".contains(byte);
    let parts = word.as_bytes().split(is_between);
    parts.map(OsStr::from_bytes)
}

/// Whether a preset is named in a word, by itself or, for `sh -c`, with others.
fn is_preset_named(word: &OsStr, host: &Host) -> bool {
    parts(word).any(|part| {
        // /etc/nginx is a directory.
        Preset::by_name(&base_name(part)).is_some()
            && (!part.as_bytes().contains(&b'/') || (host.find)(part, SearchSbin::No).is_ok())
    })
}

pub(super) fn base_name(word: &OsStr) -> String {
    Path::new(word)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
