//! Options as glibc's getopt(3) reads them, with its messages: a script's words must
//! mean to us what they mean to the init that it was written for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// The options that a program has.
#[derive(Debug)]
pub(super) struct Known {
    /// Each by its letter; those that take a value have a colon behind it.
    pub(super) short: &'static str,
    /// Long names, and the letter that each stands for.
    pub(super) long: &'static [(&'static str, char)],
    /// Whether options may also stand behind the first word that is none.
    pub(super) permutes: bool,
}

impl Known {
    /// `None` where there is no such option, else whether it takes a value.
    fn takes_value(&self, letter: char) -> Option<bool> {
        let at = self.short.find(letter).filter(|_| letter != ':')?;
        Some(self.short.get(at + 1..)?.starts_with(':'))
    }

    fn long_named(&self, name: &str) -> Result<char, String> {
        if let Some((_, letter)) = self.long.iter().find(|(known, _)| *known == name) {
            return Ok(*letter);
        }
        let meant: Vec<&(&str, char)> = self
            .long
            .iter()
            .filter(|(known, _)| known.starts_with(name))
            .collect();
        match &*meant {
            [] => Err(format!("unrecognized option '--{name}'")),
            [(_, letter)] => Ok(*letter),
            several => {
                let names = several.iter().map(|(known, _)| format!(" '--{known}'"));
                let names: String = names.collect();
                Err(format!(
                    "option '--{name}' is ambiguous; possibilities:{names}"
                ))
            }
        }
    }
}

/// Goes through the words of a command line; each item is an option and its value, or
/// what is wrong.
#[derive(Debug)]
pub(super) struct Options<'a> {
    known: &'a Known,
    words: std::vec::IntoIter<OsString>,
    /// What is left of a word such as `-gvv`.
    letters: Vec<u8>,
    operands: Vec<OsString>,
}

impl<'a> Options<'a> {
    pub(super) fn new(known: &'a Known, words: Vec<OsString>) -> Self {
        Self {
            known,
            words: words.into_iter(),
            letters: Vec::new(),
            operands: Vec::new(),
        }
    }

    /// The words that are no options, once those are through.
    pub(super) fn operands(self) -> Vec<OsString> {
        self.operands.into_iter().chain(self.words).collect()
    }

    fn short(&mut self) -> Result<(char, OsString), String> {
        let letter = char::from(self.letters.remove(0));
        match self.known.takes_value(letter) {
            None => Err(format!("invalid option -- '{letter}'")),
            Some(false) => Ok((letter, OsString::new())),
            Some(true) if self.letters.is_empty() => match self.words.next() {
                Some(value) => Ok((letter, value)),
                None => Err(format!("option requires an argument -- '{letter}'")),
            },
            Some(true) => Ok((
                letter,
                OsString::from_vec(std::mem::take(&mut self.letters)),
            )),
        }
    }

    fn long(&mut self, word: &[u8]) -> Result<(char, OsString), String> {
        let mut parts = word.splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
        let value = parts
            .next()
            .map(|value| OsStr::from_bytes(value).to_owned());
        let letter = self.known.long_named(&name)?;
        let full = self.known.long.iter().find(|(_, its)| *its == letter);
        let full = full.map_or("", |(name, _)| name);
        match (self.known.takes_value(letter), value) {
            (Some(true), Some(value)) => Ok((letter, value)),
            (Some(true), None) => match self.words.next() {
                Some(value) => Ok((letter, value)),
                None => Err(format!("option '--{full}' requires an argument")),
            },
            (_, Some(_)) => Err(format!("option '--{full}' doesn't allow an argument")),
            (_, None) => Ok((letter, OsString::new())),
        }
    }
}

impl Iterator for Options<'_> {
    type Item = Result<(char, OsString), String>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.letters.is_empty() {
            let word = self.words.next()?;
            match word.as_bytes() {
                b"--" => {
                    // All that follows is what it is.
                    self.operands.extend(self.words.by_ref());
                    return None;
                }
                [b'-', b'-', long @ ..] if !self.known.long.is_empty() => {
                    return Some(self.long(long));
                }
                [b'-', letters @ ..] if !letters.is_empty() => {
                    letters.clone_into(&mut self.letters);
                }
                _ => {
                    self.operands.push(word);
                    if !self.known.permutes {
                        return None;
                    }
                }
            }
        }
        Some(self.short())
    }
}

/// As C's `atoi` reads a number: what it can of the text's beginning.
pub(super) fn leading_number(text: &str) -> Option<(i32, &str)> {
    let text = text.trim_start();
    let digits = text.trim_start_matches(['+', '-']);
    if text.len() - digits.len() > 1 {
        return None;
    }
    let end = digits.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = digits.split_at(end.unwrap_or(digits.len()));
    let number: i32 = digits.parse().ok()?;
    let number = if text.starts_with('-') {
        -number
    } else {
        number
    };
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known {
        short: "ghp:v",
        long: &[("version", 'v'), ("verbose", 'g'), ("place", 'p')],
        permutes: true,
    };

    /// Options, then operands, or what is wrong.
    fn read(known: &Known, line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        let mut options = Options::new(known, words);
        let mut texts = Vec::new();
        for option in options.by_ref() {
            match option {
                Ok((letter, value)) => texts.push(format!("{letter}={} ", value.to_string_lossy())),
                Err(what) => return what,
            }
        }
        let operands = options.operands();
        texts.extend(
            operands
                .iter()
                .map(|it| format!("[{}]", it.to_string_lossy())),
        );
        texts.concat()
    }

    #[test]
    fn words_are_read_as_by_getopt() {
        for (line, expected) in [
            ("-gv -p x a b", "g= v= p=x [a][b]"),
            ("-gpx a -v", "g= p=x v= [a]"),
            ("a -- -v - b", "[a][-v][-][b]"),
            ("- -v", "v= [-]"),
            ("--pl=y --place x --vers", "p=y p=x v= "),
            ("-gx a", "invalid option -- 'x'"),
            ("-p", "option requires an argument -- 'p'"),
            ("--place", "option '--place' requires an argument"),
            (
                "--version=1",
                "option '--version' doesn't allow an argument",
            ),
            ("--x", "unrecognized option '--x'"),
            (
                "--ver",
                "option '--ver' is ambiguous; possibilities: '--version' '--verbose'",
            ),
        ] {
            assert_eq!(read(&KNOWN, line), expected, "{line}");
        }
        let in_order = Known {
            permutes: false,
            long: &[],
            ..KNOWN
        };
        assert_eq!(read(&in_order, "-g a -v b"), "g= [a][-v][b]");
        assert_eq!(read(&in_order, "--place"), "invalid option -- '-'");
    }

    #[test]
    fn numbers_are_read_as_by_atoi() {
        for (text, expected) in [
            (" +15:3", Some((15, ":3"))),
            ("-2", Some((-2, ""))),
            ("x", None),
            ("--2", None),
            ("", None),
        ] {
            assert_eq!(leading_number(text), expected, "{text}");
        }
    }
}
