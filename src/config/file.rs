//! The file: TOML, as the values of known keys, each with its place. What a value means
//! is not asked here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::cli::OPTIONS;
use super::reader::{CONFIG, SERVICE};
use super::value::{Error, alike, usage};

/// Where it is looked for.
pub(super) const DEFAULT_PLACE: &str = "/etc/drainit.toml";

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    /// Several, or one.
    List,
    /// Names with values.
    Table,
}

/// The keys of a `[[service]]`. What reads the value of each is in [`super::services`].
pub(super) static SERVICE_KEYS: [(&str, Shape); 22] = [
    ("name", Shape::One),
    ("command", Shape::List),
    ("oneshot", Shape::One),
    ("after", Shape::List),
    ("enabled", Shape::One),
    ("instances", Shape::One),
    ("user", Shape::One),
    ("group", Shape::One),
    ("directory", Shape::One),
    ("environment", Shape::Table),
    ("env-file", Shape::List),
    ("nofile", Shape::One),
    ("log-prefix", Shape::One),
    ("ready", Shape::One),
    ("start-timeout", Shape::One),
    ("stop-signal", Shape::One),
    ("stop-timeout", Shape::One),
    ("restart", Shape::One),
    ("restart-delay", Shape::One),
    ("restart-limit", Shape::One),
    ("success", Shape::List),
    ("essential", Shape::One),
];

/// A place in a file, as `FILE:LINE:COLUMN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Rc<str>,
    pub(super) line: usize,
    column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Place {
    /// Of this byte of a text; both count from 1.
    pub(super) fn of(file: &Rc<str>, text: &[u8], at: usize) -> Self {
        let (before, _) = text.split_at(at.min(text.len()));
        let start = before.iter().rposition(|byte| *byte == b'\n');
        let (_, line) = before.split_at(start.map_or(0, |start| start + 1));
        Self {
            file: Rc::clone(file),
            line: before.split(|byte| *byte == b'\n').count(),
            column: String::from_utf8_lossy(line).chars().count() + 1,
        }
    }

    pub(super) fn error(&self, what: &str) -> Error {
        usage(format!("{self}: {what}"))
    }
}

/// A value of a key: of a list there are several, or none.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// In a table.
    pub(super) name: String,
    /// As it was written, without quotes.
    pub(super) text: String,
    /// It was in quotes: there may be variables in it.
    pub(super) is_string: bool,
    /// It stood in a list.
    pub(super) is_listed: bool,
    pub(super) place: Place,
}

/// A key, with its values.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: &'static str,
    pub(super) place: Place,
    pub(super) values: Vec<Value>,
}

/// The keys of one table.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) place: Place,
    pub(super) entries: Vec<Entry>,
}

/// The file, as far as it is known what it says.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: Rc<str>,
    /// Those of the whole file.
    pub(super) options: Section,
    pub(super) services: Vec<Section>,
}

impl File {
    /// Reads a file's text.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let path: Rc<str> = path.to_string_lossy().into();
        let text = std::str::from_utf8(bytes).map_err(|error| {
            Place::of(&path, bytes, error.valid_up_to()).error("this is not UTF-8")
        })?;
        let source = Source { path: &path, text };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            source.error(at, error.message())
        })?;
        let mut services = Vec::new();
        let mut others = Vec::new();
        for (key, value) in table.get_ref() {
            if key.get_ref() != SERVICE {
                others.push((key, value));
                continue;
            }
            let wrong = || {
                let at = value.span().start;
                source.error(at, "each service is written under its own [[service]]")
            };
            let DeValue::Array(tables) = value.get_ref() else {
                return Err(wrong());
            };
            for table in tables {
                let DeValue::Table(keys) = table.get_ref() else {
                    return Err(wrong());
                };
                let at = table.span().start;
                services.push(source.section(at, keys.iter().collect(), service_key)?);
            }
        }
        let options = source.section(0, others, option)?;
        Ok(Self {
            path: Rc::clone(&path),
            options,
            services,
        })
    }

    /// Where relative paths in it begin.
    pub(super) fn directory(&self) -> PathBuf {
        let parent = Path::new(&*self.path).parent();
        parent.unwrap_or(Path::new("")).to_owned()
    }
}

fn service_key(name: &str) -> Option<(&'static str, Shape)> {
    SERVICE_KEYS.iter().find(|(key, _)| *key == name).copied()
}

/// The key of the whole file that an option is.
pub(super) fn option(name: &str) -> Option<(&'static str, Shape)> {
    let option = OPTIONS.iter().find(|option| option.name == name)?;
    let shape = if option.repeats {
        Shape::List
    } else {
        Shape::One
    };
    let is_key = ![SERVICE, CONFIG].contains(&option.name);
    is_key.then_some((option.name, shape))
}

type Keys<'a> = Vec<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)>;

struct Source<'a> {
    path: &'a Rc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, at: usize) -> Place {
        Place::of(self.path, self.text.as_bytes(), at)
    }

    fn error(&self, at: usize, what: &str) -> Error {
        self.place(at).error(what)
    }

    fn section(
        &self,
        at: usize,
        mut keys: Keys,
        find: fn(&str) -> Option<(&'static str, Shape)>,
    ) -> Result<Section, Error> {
        // So that of several mistakes the first is told.
        keys.sort_by_key(|(key, _)| key.span().start);
        let mut entries = Vec::new();
        for (key, value) in keys {
            let known = find(key.get_ref());
            let (known, shape) = known.ok_or_else(|| self.unknown(key, find))?;
            entries.push(Entry {
                key: known,
                place: self.place(key.span().start),
                values: self.values(known, shape, value)?,
            });
        }
        Ok(Section {
            place: self.place(at),
            entries,
        })
    }

    fn unknown(
        &self,
        key: &Spanned<DeString>,
        find: fn(&str) -> Option<(&'static str, Shape)>,
    ) -> Error {
        let name = key.get_ref();
        let all = OPTIONS.iter().map(|option| option.name);
        let all = all.chain(SERVICE_KEYS.iter().map(|(key, _)| *key));
        let advice = match alike(name, all.filter(|key| find(key).is_some())) {
            _ if option(name).is_some() => "it stands before the first [[service]]".to_owned(),
            _ if service_key(name).is_some() => "it stands in a [[service]]".to_owned(),
            Some(meant) => format!("did you mean '{meant}'?"),
            None => "docs/configuration.md has all keys".to_owned(),
        };
        let at = key.span().start;
        self.error(at, &format!("there is no key '{name}' here; {advice}"))
    }

    fn values(
        &self,
        key: &str,
        shape: Shape,
        value: &Spanned<DeValue>,
    ) -> Result<Vec<Value>, Error> {
        let wrong = |what: &str| self.error(value.span().start, &format!("{key}: {what}"));
        match (shape, value.get_ref()) {
            (Shape::List, DeValue::Array(all)) => {
                let one = |it| -> Result<Value, Error> {
                    let value = self.value(key, "", it)?;
                    Ok(Value {
                        is_listed: true,
                        ..value
                    })
                };
                all.iter().map(one).collect()
            }
            (_, DeValue::Array(_)) => Err(wrong("takes no list: write its value without [ ]")),
            (Shape::Table, DeValue::Table(all)) => {
                let all = all.iter();
                all.map(|(name, it)| self.value(key, name.get_ref(), it))
                    .collect()
            }
            (Shape::Table, _) => Err(wrong("takes a table, as in { NAME = \"value\" }")),
            (Shape::One | Shape::List, _) => Ok(vec![self.value(key, "", value)?]),
        }
    }

    fn value(&self, key: &str, name: &str, value: &Spanned<DeValue>) -> Result<Value, Error> {
        let at = value.span().start;
        let wrong = |what: &str| self.error(at, &format!("{key}: {what}"));
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(is) => is.to_string(),
            DeValue::Integer(_) => return Err(wrong("takes no number that isn't decimal")),
            DeValue::Datetime(_) => return Err(wrong("takes no date: quotes make a string of it")),
            DeValue::Array(_) | DeValue::Table(_) => {
                return Err(wrong("takes no list or table in here: a string is right"));
            }
        };
        if text.contains('\0') || name.contains('\0') {
            return Err(wrong("a NUL can't be handed to a program"));
        }
        Ok(Value {
            name: name.to_owned(),
            text,
            is_string: matches!(value.get_ref(), DeValue::String(_)),
            is_listed: false,
            place: self.place(at),
        })
    }
}
