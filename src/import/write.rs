//! Our file, as TOML.

use super::shlex::Word;
use super::text::Text;
use crate::config::words;
use crate::json;

/// The keys of a table, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table(pub(super) String);

impl Table {
    /// A value that is no string.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.0.extend([key, " = ", value, "\n"]);
    }

    pub(super) fn set_string(&mut self, key: &str, value: &str) {
        self.set(key, &string(value));
    }

    pub(super) fn set_text(&mut self, key: &str, value: &Text) {
        self.set_string(key, &value.in_file());
    }

    pub(super) fn set_pairs(&mut self, key: &str, pairs: &[(String, Text)]) {
        let pairs = pairs.iter().map(|(name, value)| {
            let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let name = if !name.is_empty() && name.chars().all(is_bare) {
                name.clone()
            } else {
                json::string(name)
            };
            name + " = " + &string(&value.in_file())
        });
        let pairs: Vec<String> = pairs.collect();
        self.set(key, &format!("{{ {} }}", pairs.join(", ")));
    }
}

/// A string; between ' where that spares the backslashes.
fn string(text: &str) -> String {
    let is_literal = !text.contains(|c: char| c == '\'' || c.is_control());
    if is_literal && text.contains(['"', '\\']) {
        format!("'{text}'")
    } else {
        json::string(text)
    }
}

/// A command: as it was written where drainit splits it into the same words, else as
/// an array. And whether a variable's value that Supervisor split is one word now.
pub(super) fn command(line: &Text, split: &[Word]) -> (String, bool) {
    let splits = split.iter().any(|word| word.splits);
    let keeps = split.iter().any(|word| word.keeps);
    let plain = line.plain("V");
    let same = words::split(&plain).is_ok_and(|ours| {
        let theirs = split.iter().map(|word| word.text.plain("V"));
        ours.into_iter().eq(theirs)
    });
    if same && !keeps && !plain.contains(char::is_control) {
        return (string(&line.in_file()), false);
    }
    let array: Vec<String> = split
        .iter()
        .map(|word| string(&word.text.in_file()))
        .collect();
    // One line after the other, and no quotes: nothing is to be kept together.
    let is_simple = |word: &Word| {
        let plain = word.text.plain("V");
        let is_safe = |c: char| c.is_alphanumeric() || "_./:=,@%+-".contains(c);
        !plain.is_empty() && plain.chars().all(is_safe)
    };
    if !keeps && split.iter().all(is_simple) {
        let words: Vec<String> = split.iter().map(|word| word.text.in_file()).collect();
        return (string(&words.join(" ")), false);
    }
    (format!("[{}]", array.join(", ")), splits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::shlex;
    use crate::import::text::{Names, expand};

    #[track_caller]
    fn assert_command(line: &str, expected: &str, is_changed: bool) {
        let line = expand(&line.into(), &Names::default()).unwrap();
        let words = shlex::words(&line).unwrap();
        let (written, changed) = command(&line, &words);
        assert_eq!(written, expected);
        assert_eq!(changed, is_changed, "{expected}");
    }

    #[test]
    fn a_command_is_a_string_where_we_split_it_alike() {
        assert_command(
            "nginx -g 'daemon off;'",
            r#""nginx -g 'daemon off;'""#,
            false,
        );
        assert_command(r#"sh -c "a; b""#, r#"'sh -c "a; b"'"#, false);
        assert_command("php\n  artisan", r#""php artisan""#, false);
        assert_command("a 'b\nc'", r#"["a", "b\u000ac"]"#, false);
        assert_command("a > b", r#"["a", ">", "b"]"#, false);
        assert_command(r#"sh -c "echo $A""#, r#"["sh", "-c", "echo $$A"]"#, false);
        assert_command("sh -c 'echo $A'", r#""sh -c 'echo $$A'""#, false);
        assert_command("php %(ENV_OPTS)s", r#""php ${OPTS}""#, false);
        assert_command("php '%(ENV_FILE)s'", r#"["php", "${FILE}"]"#, false);
        assert_command("php %(ENV_A)s;", r#"["php", "${A};"]"#, true);
    }
}
