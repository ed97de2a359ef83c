//! A section's values, each read as Supervisor reads it. What Supervisor itself would
//! refuse to start with is said, and its default taken.

use super::ini::{Entry, Ini, Section};
use super::remark::{Place, Remarks, Word};
use super::shlex;
use super::text::{Names, Text, expand};

pub(super) struct Reader<'a> {
    pub(super) ini: &'a Ini,
    pub(super) section: &'a Section,
    pub(super) names: Names,
    pub(super) remarks: &'a mut Remarks,
}

/// A value, expanded.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) text: Text,
    pub(super) place: Place,
    /// `KEY=VALUE`, to be named.
    pub(super) said: String,
}

impl<'a> Reader<'a> {
    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.ini.get(self.section, key)
    }

    /// Of the section as a whole.
    pub(super) fn say_of_all(&mut self, word: Word, what: &str) {
        let what = format!("[{}]: {what}", self.section.name);
        self.remarks.say(self.section.place, word, &what);
    }

    pub(super) fn say_of(&mut self, value: &Value, word: Word, what: &str) {
        let what = format!("{}: {what}", value.said);
        self.remarks.say(value.place, word, &what);
    }

    fn bad(&mut self, value: &Value, what: &str) {
        let what = format!("{what}; supervisord doesn't start with it, and it is left out");
        self.say_of(value, Word::WasWrong, &what);
    }

    pub(super) fn value(&mut self, key: &str) -> Option<Value> {
        let entry = self.entry(key)?;
        let mut value = Value {
            text: entry.value.as_str().into(),
            place: entry.place,
            said: said(entry),
        };
        match expand(&value.text, &self.names) {
            Ok(text) => {
                value.text = text;
                Some(value)
            }
            Err(what) => {
                self.bad(&value, &what);
                None
            }
        }
    }

    /// A value that can't hold a variable in our file.
    fn literal(&mut self, key: &str) -> Option<(String, Value)> {
        let value = self.value(key)?;
        let literal = value.text.literal();
        if literal.is_none() {
            let what = "a variable can't say that in drainit's file; it is left out";
            self.say_of(&value, Word::Changed, what);
        }
        Some((literal?, value))
    }

    pub(super) fn integer(&mut self, key: &str) -> Option<(i64, Value)> {
        let (literal, value) = self.literal(key)?;
        let number = integer(&literal);
        if number.is_none() {
            self.bad(&value, "it is no number");
        }
        Some((number?, value))
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<(bool, Value)> {
        let (literal, value) = self.literal(key)?;
        let is_true = boolean(&literal);
        if is_true.is_none() {
            self.bad(&value, "it is neither true nor false");
        }
        Some((is_true?, value))
    }

    /// A number, or what a variable will say.
    pub(super) fn number_text(&mut self, key: &str) -> Option<(Text, Value)> {
        match self.value(key)? {
            value if value.text.literal().is_none() => Some((value.text.clone(), value)),
            _ => {
                let (number, value) = self.integer(key)?;
                Some((number.to_string().as_str().into(), value))
            }
        }
    }

    pub(super) fn environment(&mut self, value: &Value) -> Vec<(String, Text)> {
        let pairs = shlex::pairs(&value.text).unwrap_or_else(|what| {
            self.bad(value, &what);
            Vec::new()
        });
        let name = |key: Text| key.literal().filter(|key| !key.contains('='));
        let named = pairs
            .into_iter()
            .map(|(key, text)| Some((name(key)?, text)));
        named.collect::<Option<_>>().unwrap_or_else(|| {
            let what = "what stands before a = is no name of a variable";
            self.say_of(value, Word::Refused, what);
            Vec::new()
        })
    }

    /// Exit codes; `None` where it is the default.
    pub(super) fn exit_codes(&mut self) -> Option<Vec<i64>> {
        let (literal, value) = self.literal("exitcodes")?;
        let code = |text: &str| integer(text).filter(|code| (0..256).contains(code));
        let codes: Option<Vec<i64>> = match literal.as_str() {
            "" => Some(Vec::new()),
            literal => literal.split(',').map(code).collect(),
        };
        if codes.is_none() {
            self.bad(&value, "these are no exit codes");
        }
        codes.filter(|codes| *codes != [0])
    }
}

/// A key and its value as they are named in a remark: not longer than a line.
pub(super) fn said(entry: &Entry) -> String {
    let mut value: String = entry.value.chars().take(60).collect();
    if value.len() < entry.value.len() {
        value.push('…');
    }
    format!("{}={value}", entry.key)
}

/// Python's `int()`.
pub(super) fn integer(text: &str) -> Option<i64> {
    let text = super::ini::strip(text);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = digits.split('_');
    if !parts.all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit())) {
        return None;
    }
    let most = if text.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    };
    Some(text.replace('_', "").parse().unwrap_or(most))
}

/// What Supervisor takes for true and for false.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Some(true),
        "no" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}
