//! Services as given, by flags or by the file: their order, and what each key means.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::env_file;
use super::file::{File, Place, Section};
use super::reader::{Given, Held, Origin, Reader};
use super::service::{self, ServiceConfig};
use super::value::{self, Error, alike};
use super::{Host, words};
use crate::core::plan::{Binding, ByService, Readiness, ServiceId, ServicePlan};
use crate::preset::Kind;
use crate::sys::path::SearchSbin;

/// What holds for all services that have no own.
pub(super) struct Common<'a> {
    pub(super) start_timeout: Vec<Given>,
    /// Exit codes.
    pub(super) success: Vec<Given>,
    pub(super) log_prefix: Vec<Given>,
    /// A lone command: nobody waits for it.
    pub(super) is_command: bool,
    /// Where the file's relative paths begin.
    pub(super) directory: PathBuf,
    pub(super) host: &'a Host<'a>,
}

/// A service, and the keys that are still to be read.
pub(super) struct Draft<'a> {
    /// Its name without an instance's number: what others are after.
    base: String,
    /// Where it was named.
    origin: Origin,
    config: ServiceConfig,
    read: Reader<'a>,
}

impl<'a> Draft<'a> {
    /// Without keys of the file.
    pub(super) fn plain(origin: Origin, config: ServiceConfig, host: &'a Host) -> Self {
        Self {
            base: config.name.clone(),
            origin,
            config,
            read: Reader::of_service(&[], host),
        }
    }

    /// Holds what it is called and what it runs, as resolved.
    fn hold(&self) {
        let name = Given::new(self.origin.clone(), &self.base);
        self.read.hold("name", self.origin.clone(), vec![name]);
        let command = self.config.command.iter().skip(1);
        let command = command.map(|word| word.to_string_lossy().into_owned());
        let program = self.config.program.to_string_lossy().into_owned();
        let words = std::iter::once(program).chain(command);
        let origin = self.read.place_of("command");
        let origin = origin.unwrap_or_else(|| self.origin.clone());
        let given = |word: String| Given::new(origin.clone(), &word);
        let words = words.map(given).collect();
        self.read.hold("command", origin.clone(), words);
    }
}

/// All services, resolved.
pub(super) struct Services {
    pub(super) configs: ByService<ServiceConfig>,
    pub(super) plans: ByService<ServicePlan>,
    /// What was found of each, in the order of the file.
    pub(super) held: Vec<Vec<Held>>,
    /// That is right, but perhaps not meant.
    pub(super) notes: Vec<String>,
}

/// The services of a file, with what each executes.
pub(super) fn drafts<'a>(file: &'a File, host: &'a Host) -> Result<Vec<Draft<'a>>, Error> {
    let mut drafts: Vec<Draft> = Vec::new();
    for section in &file.services {
        let read = || Reader::of_service(&section.entries, host);
        let first = read();
        let name = first.all("name", &[])?.pop();
        let Some(name) = name.filter(|name| !name.text.is_empty()) else {
            return Err(section.place.error("this [[service]] has no name"));
        };
        let instances = first.optional("instances", value::instances)?;
        let new = match instances {
            None => vec![draft(&name.text, None, section, first, host)?],
            Some(count) => std::iter::once(first)
                .chain(std::iter::repeat_with(read))
                .zip(1..=count)
                .map(|(read, number)| draft(&name.text, Some(number), section, read, host))
                .collect::<Result<_, _>>()?,
        };
        let of = |draft: &Draft| [draft.base.clone(), draft.config.name.clone()];
        let taken: Vec<String> = drafts.iter().flat_map(of).collect();
        if let Some(name) = new.iter().flat_map(of).find(|name| taken.contains(name)) {
            let what = format!("there are two services of the name {name}");
            let origin = new.first().map(|draft| draft.origin.clone());
            return Err(origin.unwrap_or(Origin::Default).error(&what));
        }
        drafts.extend(new);
    }
    Ok(drafts)
}

fn draft<'a>(
    base: &str,
    number: Option<u32>,
    section: &Section,
    read: Reader<'a>,
    host: &Host,
) -> Result<Draft<'a>, Error> {
    let name = number.map_or_else(|| base.to_owned(), |number| format!("{base}-{number}"));
    let is_enabled = read.value("enabled", "true", value::is_so)?;
    let directory = read.optional("directory", value::directory)?;
    let host = &Host {
        find: &|word, sbin| {
            // It starts there. What is absolute stays so.
            let path = match &directory {
                Some(directory) if word.as_bytes().contains(&b'/') => directory.join(word),
                _ => PathBuf::from(word),
            };
            match (host.find)(path.as_os_str(), sbin) {
                // What is not to run need not be installed.
                Err(_) if !is_enabled => Ok(path),
                found => found,
            }
        },
        ..*host
    };
    let command = read.all("command", &[])?;
    let (origin, result) = match &*command {
        [] if read.is_in_file("command") => {
            let what = format!("{name}: the command is empty");
            return Err(section.place.error(&what));
        }
        [] => (
            section.place.to_string(),
            service::known(base, host).ok_or_else(|| {
                let what = format!("{name} has no command; php-fpm and nginx alone need none");
                section.place.error(&what)
            })?,
        ),
        [first, ..] => {
            let words = if first.is_listed {
                command.iter().map(|word| word.text.clone()).collect()
            } else {
                first.parse(words::split)?
            };
            let words = words.into_iter().map(OsString::from).collect();
            let config = service::by_command(base, words, SearchSbin::No, host);
            (first.origin.to_string(), config)
        }
    };
    let config = result.map_err(|error| Error {
        message: format!("{origin}: {}", error.message),
        ..error
    })?;
    Ok(Draft {
        base: base.to_owned(),
        origin: read.place_of("name").unwrap_or(Origin::Default),
        config: ServiceConfig {
            name,
            instance_of: number.map(|_| base.to_owned()),
            ..config
        },
        read,
    })
}

/// Reads what is left of their keys, and puts them in order.
pub(super) fn resolve(mut drafts: Vec<Draft>, common: &Common) -> Result<Services, Error> {
    let groups = groups(&drafts)?;
    let order = order(&groups)?;
    let place = |draft: &Draft| {
        let is_its = |at: &usize| groups.get(*at).is_some_and(|it| it.name == draft.base);
        order.iter().position(is_its)
    };
    drafts.sort_by_key(place);
    let (mut configs, mut plans, mut held) = (Vec::new(), Vec::new(), Vec::new());
    let bases: Vec<String> = drafts.iter().map(|draft| draft.base.clone()).collect();
    let mut as_ourselves = Vec::new();
    for draft in drafts {
        draft.hold();
        let Draft {
            base,
            mut config,
            read,
            ..
        } = draft;
        let group = groups.iter().find(|group| group.name == base);
        let is_before = |other: &String| {
            let mut after = group.iter().flat_map(|group| &group.after);
            after.any(|at| groups.get(*at).is_some_and(|it| it.name == *other))
        };
        let origin = group.and_then(|group| group.given.as_ref());
        let after = bases.iter().enumerate().filter(|(_, it)| is_before(it));
        let after = after.map(|(at, _)| ServiceId(at)).collect();
        if setting(&read, &mut config, common)? == User::Ourselves {
            as_ourselves.push(config.name.clone());
        }
        let plan = plan(&read, &mut config, common, bases.len() == 1)?;
        let binding = match origin {
            Some(_) => Binding::Always,
            None => Binding::Listening,
        };
        plans.push(ServicePlan {
            after,
            binding,
            ..plan
        });
        // Of instances one is enough.
        if bases.iter().position(|it| *it == base) == Some(configs.len()) {
            held.push(read.into_held());
        }
        configs.push(config);
    }
    let mut notes = Vec::new();
    if !as_ourselves.is_empty() {
        notes.push(format!(
            "we aren't root: {} will run as we do, and not as another user",
            as_ourselves.join(", ")
        ));
    }
    Ok(Services {
        configs: configs.into_iter().collect(),
        plans: plans.into_iter().collect(),
        held,
        notes,
    })
}

/// Services of one name: instances, or one alone.
struct Group {
    name: String,
    /// Places in the list of groups.
    after: Vec<usize>,
    /// Where that was given.
    given: Option<Origin>,
}

fn groups(drafts: &[Draft]) -> Result<Vec<Group>, Error> {
    let mut first: Vec<&Draft> = drafts.iter().collect();
    first.dedup_by_key(|draft| &draft.base);
    let position = |given: &Given| {
        let at = first.iter().position(|draft| draft.base == given.text);
        at.ok_or_else(|| {
            let names = first.iter().map(|draft| draft.base.as_str());
            let meant = alike(&given.text, names);
            let meant = meant.map_or(String::new(), |it| format!("; did you mean '{it}'?"));
            let what = format!("there is no service '{}'{meant}", given.text);
            given.origin.error(&what)
        })
    };
    let group = |(at, draft): (usize, &&Draft)| {
        let before: Vec<&str> = first.iter().take(at).map(|it| it.base.as_str()).collect();
        let after = draft.read.all("after", &before)?;
        Ok(Group {
            name: draft.base.clone(),
            after: after.iter().map(position).collect::<Result<_, _>>()?,
            given: draft.read.place_of("after"),
        })
    };
    first.iter().enumerate().map(group).collect()
}

/// The groups so that each stands behind those that it is after, and else as given.
fn order(groups: &[Group]) -> Result<Vec<usize>, Error> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < groups.len() {
        let is_next = |(at, group): &(usize, &Group)| {
            !order.contains(at) && group.after.iter().all(|before| order.contains(before))
        };
        match groups.iter().enumerate().find(is_next) {
            Some((at, _)) => order.push(at),
            None => return Err(circle(groups, &order)),
        }
    }
    Ok(order)
}

/// Names those that wait for each other; each that is left waits for one that is left.
fn circle(groups: &[Group], order: &[usize]) -> Error {
    let next = |at: usize| {
        let after = groups.get(at).map(|group| &group.after);
        let mut left = after.into_iter().flatten();
        left.find(|at| !order.contains(at)).copied()
    };
    let mut path: Vec<usize> = Vec::new();
    let mut at = (0..groups.len()).find(|at| !order.contains(at));
    let start = loop {
        let Some(this) = at else { break 0 };
        if let Some(start) = path.iter().position(|seen| *seen == this) {
            path.push(this);
            break start;
        }
        path.push(this);
        at = next(this);
    };
    let circle = path.into_iter().skip(start);
    let circle: Vec<&Group> = circle.filter_map(|at| groups.get(at)).collect();
    let names: Vec<&str> = circle.iter().map(|group| group.name.as_str()).collect();
    let by_default = circle.iter().find(|group| group.given.is_none());
    let advice = by_default.map_or(String::new(), |group| {
        format!(
            "; {} is after all before it unless it has an `after`",
            group.name
        )
    });
    let what = format!(
        "these wait for each other: {}{advice}",
        names.join(" \u{2192} ")
    );
    match circle.iter().find_map(|group| group.given.as_ref()) {
        Some(origin) => origin.error(&what),
        None => value::usage(what),
    }
}

#[derive(PartialEq, Eq)]
enum User {
    AsGiven,
    /// We may not become another one.
    Ourselves,
}

/// Reads what its processes are to have.
fn setting(read: &Reader, config: &mut ServiceConfig, common: &Common) -> Result<User, Error> {
    let host = common.host;
    let (user, group) = (read.all("user", &[])?.pop(), read.all("group", &[])?.pop());
    let mut becomes = User::AsGiven;
    if let Some(given) = user.as_ref().or(group.as_ref()) {
        let own = host.user.to_string();
        let name = user.as_ref().map_or(own.as_str(), |user| &user.text);
        let group = group.as_ref().map(|group| group.text.as_str());
        let identity = given.parse(|_| (host.find_user)(name, group))?;
        let is_ours = identity.uid == host.user && group.is_none();
        if host.user.is_root() {
            config.setting.identity = Some(identity);
        } else if !is_ours {
            becomes = User::Ourselves;
        }
    }
    config.setting.directory = read.optional("directory", value::directory)?;
    config.setting.environment = environment(read, common)?;
    config.setting.nofile = read.optional("nofile", value::count)?;
    let log_prefix = own_or(read, "log-prefix", &common.log_prefix)?;
    config.setting.has_prefix = last(&log_prefix, value::is_so)? == Some(true);
    Ok(becomes)
}

/// The last one of a name holds: what stands in a file gives way to what stands here.
fn environment(read: &Reader, common: &Common) -> Result<Vec<(OsString, OsString)>, Error> {
    let mut environment: Vec<(String, String)> = Vec::new();
    let mut paths = read.all("env-file", &[])?;
    for given in &mut paths {
        let path = common.directory.join(&given.text);
        given.text = path.to_string_lossy().into_owned();
        let bytes = (common.host.read)(&path)
            .map_err(|error| given.origin.error(&format!("{}: {error}", given.text)))?;
        let file = given.text.as_str().into();
        let wrong = |at: usize, what: &str| Place::of(&file, &bytes, at).error(what);
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| wrong(error.valid_up_to(), "this is not UTF-8"))?;
        let its = env_file::variables(text, common.host.variable);
        environment.extend(its.map_err(|(at, what)| wrong(at, &what))?);
    }
    if let [first, ..] = &*paths {
        read.hold("env-file", first.origin.clone(), paths.clone());
    }
    for given in read.all("environment", &[])? {
        if given.name.is_empty() || given.name.contains('=') {
            let what = format!("'{}' is no variable's name", given.name);
            return Err(given.origin.error(&what));
        }
        environment.push((given.name, given.text));
    }
    let environment = environment.into_iter();
    Ok(environment
        .map(|(name, value)| (name.into(), value.into()))
        .collect())
}

/// What it has of this, else what all have.
fn own_or(read: &Reader, name: &'static str, common: &[Given]) -> Result<Vec<Given>, Error> {
    if read.is_in_file(name) {
        return read.all(name, &[]);
    }
    let origin = common.last().map(|given| given.origin.clone());
    read.hold(name, origin.unwrap_or(Origin::Default), common.to_vec());
    Ok(common.to_vec())
}

fn last<T>(given: &[Given], parse: fn(&str) -> Result<T, String>) -> Result<Option<T>, Error> {
    given.last().map(|given| given.parse(parse)).transpose()
}

/// Reads how it starts, restarts and stops.
fn plan(
    read: &Reader,
    config: &mut ServiceConfig,
    common: &Common,
    is_single: bool,
) -> Result<ServicePlan, Error> {
    let is_oneshot = read.value("oneshot", "false", value::is_so)?;
    let is_enabled = read.value("enabled", "true", value::is_so)?;
    // Nobody waits for a lone command, and `nginx -t` never listens.
    let listens = config.preset.is_some() && !common.is_command;
    let ready = if is_oneshot {
        if let [given, ..] = &*read.all("ready", &[])? {
            return Err(given.origin.error("a oneshot is ready when it has ended"));
        }
        Readiness::Success
    } else {
        let default = if listens { "listen" } else { "none" };
        let (ready, ready_at) = read.value("ready", default, value::ready_when)?;
        config.ready_at = ready_at;
        ready
    };
    // A lone command ends when it likes, and the runtime starts its container again;
    // nor do we stand in for a web server: who watches the container is to see it.
    let is_left = is_single || is_oneshot || config.preset.is_some() || config.names_preset;
    let default = if is_left { "no" } else { "always" };
    let restart = read.given("restart", default)?;
    if is_oneshot && restart.text == "always" {
        let what = "a oneshot ends: no, or on-failure, is right";
        return Err(restart.origin.error(what));
    }
    if let Some(signal) = read.optional("stop-signal", str::parse)? {
        config.stop = signal;
        config.stop_is_given = true;
    }
    let start_timeout = own_or(read, "start-timeout", &common.start_timeout)?;
    let success = own_or(read, "success", &common.success)?;
    let success = success.iter().map(|code| code.parse(value::exit_code));
    Ok(ServicePlan {
        ready,
        start_timeout: last(&start_timeout, value::timeout)?.flatten(),
        is_web: config.preset.is_some_and(|it| it.kind == Kind::Web) && !is_oneshot,
        restart: restart.parse(value::restart_when)?,
        restart_delay: read.value("restart-delay", "1s..30s", value::delay_for)?,
        restart_limit: read.value("restart-limit", "5", value::limit)?,
        success: success.collect::<Result<_, _>>()?,
        // Who starts one by hand that isn't there shall not end all by that.
        essential: read.value(
            "essential",
            if is_enabled { "true" } else { "false" },
            value::is_so,
        )?,
        is_enabled,
        stop_timeout: read.value("stop-timeout", "none", value::timeout)?,
        ..ServicePlan::default()
    })
}
