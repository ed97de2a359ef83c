//! The file as Supervisor reads it: Python's `configparser`, with inline comments.

use super::known;
use super::remark::{Place, Remarks, Word};

/// A key and what stands behind it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// In small letters, as `configparser` keeps it.
    pub(super) key: String,
    /// Its lines, without comments.
    pub(super) value: String,
    pub(super) place: Place,
    /// A comment was cut off one of its lines.
    pub(super) has_comment: bool,
}

/// All sections of one name.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) entries: Vec<Entry>,
}

impl Section {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// What comes behind the colon, where it is a section of that kind.
    pub(super) fn name_of(&self, kind: &str) -> Option<&str> {
        self.name.strip_prefix(kind)?.strip_prefix(':')
    }
}

/// The sections of all files that were read, in their order.
#[derive(Debug, Default)]
pub(super) struct Ini {
    pub(super) sections: Vec<Section>,
}

/// Its keys hold in each section that doesn't have them.
const DEFAULTS: &str = "DEFAULT";

impl Ini {
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// A key of that section, or of the defaults.
    pub(super) fn get<'a>(&'a self, section: &'a Section, key: &str) -> Option<&'a Entry> {
        let default = || self.section(DEFAULTS)?.get(key);
        section.get(key).or_else(default)
    }

    /// Adds what a file says; sections of one name are merged. `Err` is the line that
    /// makes it unreadable, and why.
    pub(super) fn read(
        &mut self,
        file: usize,
        bytes: &[u8],
        remarks: &mut Remarks,
    ) -> Result<(), (usize, String)> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        // Nothing can be told a NUL.
        let text = text.replace('\0', "\u{fffd}");
        let first = Place { file, line: 1 };
        let text = match text.strip_prefix('\u{feff}') {
            Some(text) => {
                let what = "a byte order mark stands first; supervisord can't read such a file";
                remarks.say(first, Word::WasWrong, what);
                text
            }
            None => &text,
        };
        if std::str::from_utf8(bytes).is_err() || bytes.contains(&0) {
            let line = text.lines().position(|line| line.contains('\u{fffd}'));
            let line = line.map_or(1, |at| at + 1);
            let what = "this isn't text in UTF-8; supervisord can't read such a file";
            remarks.say(Place { file, line }, Word::WasWrong, what);
        }
        let mut bad = None;
        let mut reading = Reading::default();
        for (number, line) in text.split_terminator('\n').enumerate() {
            let place = Place {
                file,
                line: number + 1,
            };
            match self.read_line(line, place, &mut reading, remarks) {
                Ok(()) => {}
                // configparser goes on behind such a line, and tells of all at the end.
                Err(Wrong::Line) => {
                    bad.get_or_insert((place.line, format!("'{}' is no KEY=VALUE", strip(line))));
                }
                Err(Wrong::NoSection) => {
                    return Err((place.line, "no [section] stands before it".to_owned()));
                }
            }
        }
        for entry in self.sections.iter_mut().flat_map(|it| &mut it.entries) {
            let length = entry.value.trim_end_matches(is_space).len();
            entry.value.truncate(length);
        }
        bad.map_or(Ok(()), Err)
    }

    fn read_line(
        &mut self,
        line: &str,
        place: Place,
        reading: &mut Reading,
        remarks: &mut Remarks,
    ) -> Result<(), Wrong> {
        let comment = comment(line);
        let value = strip(line.get(..comment.unwrap_or(line.len())).unwrap_or(line));
        let section = reading.section.and_then(|at| self.sections.get_mut(at));
        if value.is_empty() {
            let section = section.filter(|_| comment.is_none());
            if let Some(entry) = section.and_then(|it| it.entries.get_mut(reading.entry?)) {
                entry.value.push('\n');
            }
            return Ok(());
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        if let Some(section) = section {
            if let Some(at) = reading.entry.filter(|_| indent > reading.indent) {
                if let Some(entry) = section.entries.get_mut(at) {
                    entry.value.extend(["\n", value]);
                    entry.has_comment |= comment.is_some();
                    if let Some(key) = option(value).map(|it| it.0).filter(|it| known::is_key(it)) {
                        let what = format!(
                            "{key} stands further to the right than {}, and so belongs to its value",
                            entry.key
                        );
                        remarks.say(place, Word::WasWrong, &what);
                    }
                }
                return Ok(());
            }
        }
        reading.indent = indent;
        if let Some(name) = header(value) {
            reading.entry = None;
            let known = self.sections.iter().position(|it| it.name == name);
            reading.section = known.or_else(|| {
                self.sections.push(Section {
                    name: name.to_owned(),
                    place,
                    entries: Vec::new(),
                });
                Some(self.sections.len() - 1)
            });
            return Ok(());
        }
        let section = reading.section.and_then(|at| self.sections.get_mut(at));
        let section = section.ok_or(Wrong::NoSection)?;
        let (key, value) = option(value).ok_or(Wrong::Line)?;
        let entry = Entry {
            key,
            value: value.to_owned(),
            place,
            has_comment: comment.is_some(),
        };
        let known = section.entries.iter().position(|it| it.key == entry.key);
        let at = known.unwrap_or(section.entries.len());
        reading.entry = Some(at);
        let Some(known) = section.entries.get_mut(at) else {
            section.entries.push(entry);
            return Ok(());
        };
        if known.place.file == place.file {
            let line = place.line;
            let what = format!("{} stands again in line {line}, which holds", entry.key);
            remarks.say(known.place, Word::WasWrong, &what);
        }
        *known = entry;
        Ok(())
    }

    /// Supervisor puts a file's own directory in the place of `%(here)s` as soon as it
    /// has read it, where files are included.
    pub(super) fn set_here(&mut self, directory: &str) {
        for entry in self.sections.iter_mut().flat_map(|it| &mut it.entries) {
            entry.value = entry.value.replace("%(here)s", directory);
        }
    }
}

/// Where in a file we are.
#[derive(Default)]
struct Reading {
    section: Option<usize>,
    /// The one that a line which is indented further belongs to.
    entry: Option<usize>,
    indent: usize,
}

enum Wrong {
    Line,
    NoSection,
}

/// Where a line's comment begins: anywhere for a line that is all comment, else at a
/// `;` or `#` behind a space. Python looks for the first of each, then for the second
/// of each and so on, and takes what it finds first.
fn comment(line: &str) -> Option<usize> {
    if strip(line).starts_with(['#', ';']) {
        return Some(0);
    }
    let begins = |at: &usize| {
        let before = line.get(..*at).unwrap_or_default().chars().next_back();
        before.is_none_or(is_space)
    };
    let mut semicolons = line.match_indices(';').map(|it| it.0);
    let mut hashes = line.match_indices('#').map(|it| it.0);
    loop {
        let (semicolon, hash) = (semicolons.next(), hashes.next());
        if semicolon.is_none() && hash.is_none() {
            return None;
        }
        let found = semicolon.into_iter().chain(hash).filter(begins).min();
        if found.is_some() {
            return found;
        }
    }
}

/// `[NAME]`, as far as the last bracket; what is behind it is ignored.
fn header(value: &str) -> Option<&str> {
    let rest = value.strip_prefix('[')?;
    let end = rest.rfind(']').filter(|end| *end > 0)?;
    rest.get(..end)
}

/// `KEY=VALUE` or `KEY: VALUE`.
fn option(value: &str) -> Option<(String, &str)> {
    let (key, value) = value.split_once(['=', ':'])?;
    let key = strip(key);
    (!key.is_empty()).then(|| (key.to_lowercase(), strip(value)))
}

/// What Python's `str.isspace` says.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Ini {
        let mut ini = Ini::default();
        ini.read(0, text.as_bytes(), &mut Remarks::default())
            .unwrap();
        ini
    }

    #[track_caller]
    fn assert_value(text: &str, expected: &str) {
        let ini = read(&format!("[s]\n{text}"));
        assert_eq!(
            ini.sections[0].get("k").unwrap().value,
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn values_are_read_as_configparser_reads_them() {
        for (text, expected) in [
            ("k=v", "v"),
            ("K : v ", "v"),
            ("k = a=b:c", "a=b:c"),
            ("k=a ;b", "a"),
            ("k=a\t#b", "a"),
            ("k=a;b#c", "a;b#c"),
            // The first of each, then the second of each.
            ("k=a;b ;c #d", "a;b ;c"),
            ("k=a\n b\n\n  # no\n  c ;no\n\n", "a\nb\n\nc"),
            ("k=a\n#no\n b", "a\nb"),
            ("k=a\r\n b\rx=1", "a\nb"),
            (" k=a\n b=1", "a"),
            ("k=", ""),
            ("k=1\nk=2", "2"),
        ] {
            assert_value(text, expected);
        }
    }

    #[test]
    fn sections_are_merged() {
        let ini = read("[DEFAULT]\na=0\n[x]\na=1\n[y] z\nb=1\n[x]\nb=2");
        let names: Vec<&str> = ini.sections.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["DEFAULT", "x", "y"]);
        let [_, x, y] = &ini.sections[..] else {
            panic!()
        };
        assert_eq!(ini.get(x, "b").unwrap().place.line, 8);
        assert_eq!(ini.get(y, "a").unwrap().value, "0");
    }

    #[test]
    fn what_configparser_cant_read_is_an_error() {
        for (text, line) in [("a=1", 1), ("[s]\n\nnothing\n[t]", 3), ("[s]\n=1", 2)] {
            let mut ini = Ini::default();
            let result = ini.read(0, text.as_bytes(), &mut Remarks::default());
            assert_eq!(result.unwrap_err().0, line, "{text}");
        }
    }
}
