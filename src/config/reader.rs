//! Values by their names, and where each came from: a flag wins over its variable, this
//! over the file, and that over a default. What was found is remembered, to be shown.

use std::cell::RefCell;
use std::fmt;

use super::cli::{Flags, OPTIONS};
use super::expand::expand;
use super::file::{Entry, Place};
use super::value::{Error, usage};
use super::{Host, words};

/// The option that names a service.
pub(super) const SERVICE: &str = "service";

/// The option that names the file.
pub(super) const CONFIG: &str = "config";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The flag of this option.
    Flag(&'static str),
    /// The variable of this option.
    Variable(&'static str),
    /// A key of the file, and the value's place.
    File(&'static str, Place),
    /// The command that is to run alone.
    Command,
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    /// As an error begins with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(&variable(name)),
            Self::File(key, place) => write!(f, "{place}: {key}"),
            Self::Command => f.write_str("the command"),
            Self::Default => f.write_str("the default"),
        }
    }
}

impl Origin {
    /// This value is wrong. Never inlined: each key has its own copy of what calls it.
    #[inline(never)]
    pub(super) fn error(&self, what: &str) -> Error {
        usage(format!("{self}: {what}"))
    }
}

/// A value, and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) origin: Origin,
    /// In a table; else empty.
    pub(super) name: String,
    pub(super) text: String,
    /// It stood in a list of the file.
    pub(super) is_listed: bool,
}

impl Given {
    pub(super) fn new(origin: Origin, text: &str) -> Self {
        Self {
            origin,
            name: String::new(),
            text: text.to_owned(),
            is_listed: false,
        }
    }

    #[inline(never)]
    pub(super) fn parse<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Error> {
        parse(&self.text).map_err(|what| self.origin.error(&what))
    }
}

/// What was found of a name.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) name: &'static str,
    /// Of all its values.
    pub(super) origin: Origin,
    pub(super) values: Vec<Given>,
}

/// The variable of an option. That of the services says that it holds several.
pub(super) fn variable(option: &str) -> String {
    if option == SERVICE {
        return "DRAINIT_SERVICES".to_owned();
    }
    let name = option.to_ascii_uppercase().replace('-', "_");
    format!("DRAINIT_{name}")
}

/// Finds what was given of a name.
pub(super) struct Reader<'a> {
    host: &'a Host<'a>,
    /// Of the whole, not of a service alone: flags, and with them variables.
    flags: Option<&'a Flags>,
    /// Of the file.
    entries: &'a [Entry],
    held: RefCell<Vec<Held>>,
}

impl<'a> Reader<'a> {
    /// Of the options.
    pub(super) fn of_options(flags: &'a Flags, entries: &'a [Entry], host: &'a Host) -> Self {
        Self {
            host,
            flags: Some(flags),
            entries,
            held: RefCell::default(),
        }
    }

    /// Of a service's keys.
    pub(super) fn of_service(entries: &'a [Entry], host: &'a Host) -> Self {
        Self {
            host,
            flags: None,
            entries,
            held: RefCell::default(),
        }
    }

    /// All that was given of one, else its defaults.
    #[inline(never)]
    pub(super) fn all(&self, name: &'static str, defaults: &[&str]) -> Result<Vec<Given>, Error> {
        let mut values = self.typed(name)?;
        if values.is_empty() {
            values = self.in_file(name)?;
        }
        if values.is_empty() && !self.is_in_file(name) {
            let default = |text: &&str| Given::new(Origin::Default, text);
            values = defaults.iter().map(default).collect();
        }
        let first = values.first().map(|given| given.origin.clone());
        let origin = first.or_else(|| self.place_of(name));
        self.hold(name, origin.unwrap_or(Origin::Default), values.clone());
        Ok(values)
    }

    /// What was found is not what holds, but this.
    pub(super) fn hold(&self, name: &'static str, origin: Origin, values: Vec<Given>) {
        let mut held = self.held.borrow_mut();
        held.retain(|it| it.name != name);
        held.push(Held {
            name,
            origin,
            values,
        });
    }

    /// What was found, in the order of looking.
    pub(super) fn into_held(self) -> Vec<Held> {
        self.held.into_inner()
    }

    /// Whether the file has this key, with an empty list perhaps.
    pub(super) fn is_in_file(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name)
    }

    /// Where the file has this key.
    pub(super) fn place_of(&self, name: &'static str) -> Option<Origin> {
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(Origin::File(name, entry.place.clone()))
    }

    fn typed(&self, name: &'static str) -> Result<Vec<Given>, Error> {
        let Some(flags) = self.flags else {
            return Ok(Vec::new());
        };
        let flag = |text| Given::new(Origin::Flag(name), text);
        let found: Vec<Given> = flags.all(name).map(flag).collect();
        let option = OPTIONS.iter().find(|option| option.name == name);
        let (true, Some(option)) = (found.is_empty(), option) else {
            return Ok(found);
        };
        let Some(text) = self.host.value(&variable(name)) else {
            return Ok(found);
        };
        let origin = Origin::Variable(name);
        let text = text
            .into_string()
            .map_err(|_| origin.error("is not UTF-8"))?;
        Ok(if option.repeats {
            let entries = words::entries(&text).into_iter();
            entries.map(|it| Given::new(origin.clone(), it)).collect()
        } else {
            vec![Given::new(origin, &text)]
        })
    }

    fn in_file(&self, name: &'static str) -> Result<Vec<Given>, Error> {
        let entries = self.entries.iter().filter(|entry| entry.key == name);
        let values = entries.flat_map(|entry| &entry.values);
        let given = |value: &super::file::Value| {
            let given = Given {
                origin: Origin::File(name, value.place.clone()),
                name: value.name.clone(),
                text: value.text.clone(),
                is_listed: value.is_listed,
            };
            if !value.is_string {
                return Ok(given);
            }
            let text = given.parse(|text| expand(text, self.host.variable))?;
            Ok(Given { text, ..given })
        };
        values.map(given).collect()
    }

    /// What was given of one, else its default.
    pub(super) fn given(&self, name: &'static str, default: &str) -> Result<Given, Error> {
        let last = self.all(name, &[default])?.pop();
        Ok(last.unwrap_or_else(|| Given::new(Origin::Default, default)))
    }

    /// The value of one, else its default's.
    #[inline(never)]
    pub(super) fn value<T>(
        &self,
        name: &'static str,
        default: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<T, Error> {
        self.given(name, default)?.parse(parse)
    }

    /// The value of one that has no default.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let given = self.all(name, &[])?.pop();
        given.map(|given| given.parse(parse)).transpose()
    }

    /// The values of one that may have several.
    pub(super) fn values<T>(
        &self,
        name: &'static str,
        defaults: &[&str],
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Error> {
        let all = self.all(name, defaults)?;
        all.iter().map(|it| it.parse(parse)).collect()
    }
}

impl Host<'_> {
    /// Whether a variable asks for drainit where it was called by another init's name.
    /// That of the services doesn't: there is a command, which it gives way to.
    pub fn is_drainit_asked_for(&self) -> bool {
        let mut options = OPTIONS.iter().filter(|option| option.name != SERVICE);
        options.any(|option| self.value(&variable(option.name)).is_some())
    }
}
