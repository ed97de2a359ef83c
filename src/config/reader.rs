//! Values by their names, and where each came from: a flag wins over its variable.

use std::fmt;

use super::cli::{Flags, OPTIONS, Opt};
use super::value::{Error, usage};
use super::{Host, words};

/// The option that names a service.
pub(super) const SERVICE: &str = "service";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The flag of this option.
    Flag(&'static str),
    /// A variable.
    Variable(String),
}

impl fmt::Display for Origin {
    /// As an error begins with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// A value, and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) origin: Origin,
    pub(super) text: String,
}

impl Given {
    pub(super) fn parse<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Error> {
        parse(&self.text).map_err(|what| usage(format!("{}: {what}", self.origin)))
    }
}

/// The variable of an option. That of the services says that it holds several.
pub(super) fn variable(option: &Opt) -> String {
    if option.name == SERVICE {
        return "DRAINIT_SERVICES".to_owned();
    }
    let name = option.name.to_ascii_uppercase().replace('-', "_");
    format!("DRAINIT_{name}")
}

/// Finds what was given of an option.
pub(super) struct Reader<'a> {
    pub(super) flags: Flags,
    pub(super) host: &'a Host<'a>,
}

impl Reader<'_> {
    /// What was given of one, if it was.
    pub(super) fn given(&self, name: &'static str) -> Result<Option<Given>, Error> {
        Ok(self.all(name)?.pop())
    }

    /// All that was given of one that may be given several times.
    pub(super) fn all(&self, name: &'static str) -> Result<Vec<Given>, Error> {
        let given = |origin: &Origin, text: &str| Given {
            origin: origin.clone(),
            text: text.to_owned(),
        };
        let flag = Origin::Flag(name);
        let flags: Vec<Given> = self.flags.all(name).map(|it| given(&flag, it)).collect();
        if !flags.is_empty() {
            return Ok(flags);
        }
        let Some(option) = OPTIONS.iter().find(|option| option.name == name) else {
            return Ok(Vec::new());
        };
        let name = variable(option);
        let Some(text) = self.host.value(&name) else {
            return Ok(Vec::new());
        };
        let Ok(text) = text.into_string() else {
            return Err(usage(format!("{name}: is not UTF-8")));
        };
        let origin = Origin::Variable(name);
        Ok(if option.repeats {
            let entries = words::entries(&text).into_iter();
            entries.map(|it| given(&origin, it)).collect()
        } else {
            vec![given(&origin, &text)]
        })
    }

    /// The value of one, if it was given.
    pub(super) fn value<T>(
        &self,
        name: &'static str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let given = self.given(name)?;
        given.map(|given| given.parse(parse)).transpose()
    }

    /// The values of one that may be given several times.
    pub(super) fn values<T>(
        &self,
        name: &'static str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Error> {
        self.all(name)?.iter().map(|it| it.parse(parse)).collect()
    }
}

impl Host<'_> {
    /// Whether a variable asks for drainit where it was called by another init's name.
    /// That of the services doesn't: there is a command, which it gives way to.
    pub fn is_drainit_asked_for(&self) -> bool {
        let mut options = OPTIONS.iter().filter(|option| option.name != SERVICE);
        options.any(|option| self.value(&variable(option)).is_some())
    }
}
