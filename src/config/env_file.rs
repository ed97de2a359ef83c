//! A file of variables, as Docker Compose reads one (python-dotenv's grammar): `NAME=value`
//! a line, or `export NAME=value`; `#` begins a comment; in double quotes a backslash
//! escapes, and in single quotes all is as it stands; either may hold line ends.

use super::expand::{Variable, braced};

/// A mistake: at which byte, and what.
pub(super) type Mistake = (usize, String);

/// The variables of a file. A name without a value is that of our own environment, which
/// is handed on anyway.
pub(super) fn variables(text: &str, variable: Variable) -> Result<Vec<(String, String)>, Mistake> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start_matches(['\u{feff}']).trim_start();
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let wrong = |what: String| (at, what);
        if rest.starts_with('#') {
            rest = next_line(rest);
            continue;
        }
        let line = rest.strip_prefix("export").map_or(rest, |exported| {
            let name = exported.trim_start_matches(is_blank);
            if name.len() < exported.len() {
                name
            } else {
                rest
            }
        });
        let is_end = |c: char| c == '=' || c == '#' || c.is_whitespace();
        let (name, behind) = line.split_at(line.find(is_end).unwrap_or(line.len()));
        let name = name.trim_matches('\'');
        let behind = behind.trim_start_matches(is_blank);
        let Some(value) = behind.strip_prefix('=') else {
            if name.is_empty() || !is_over(behind) {
                return Err(wrong("is no NAME=value".to_owned()));
            }
            rest = next_line(behind);
            continue;
        };
        if name.is_empty() {
            return Err(wrong("the name before '=' is missing".to_owned()));
        }
        // What stands above goes before what we were given.
        let known = |name: &str| {
            let mut above = found.iter().rev();
            let above = above.find(|(its, _)| its == name);
            above.map_or_else(|| variable(name), |(_, value)| Some(value.into()))
        };
        let value = value.trim_start_matches(is_blank);
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, behind) = if let Some(quote) = quote {
            let value = value.get(1..).unwrap_or_default();
            let (value, behind) = quoted(value, quote)
                .ok_or_else(|| wrong(format!("{name}: the {quote} before its value has no end")))?;
            if !is_over(behind) {
                return Err(wrong(format!(
                    "{name}: something stands behind the {quote} that ends its value"
                )));
            }
            (value, behind)
        } else {
            let end = value.find(['\r', '\n']).unwrap_or(value.len());
            let (line, behind) = value.split_at(end);
            (unquoted(line).to_owned(), behind)
        };
        let value = match quote {
            Some('\'') => value,
            _ => expand(&value, &known).map_err(wrong)?,
        };
        found.push((name.to_owned(), value));
        rest = next_line(behind);
    }
    Ok(found)
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() && !matches!(c, '\r' | '\n')
}

/// Whether nothing but a comment is left of the line.
fn is_over(rest: &str) -> bool {
    let rest = rest.trim_start_matches(is_blank);
    rest.is_empty() || rest.starts_with(['#', '\r', '\n'])
}

/// From the first of the next lines on that isn't empty.
fn next_line(rest: &str) -> &str {
    let (_, rest) = rest.split_at(rest.find(['\r', '\n']).unwrap_or(rest.len()));
    rest.trim_start()
}

/// A `#` begins a comment only behind a space.
fn unquoted(line: &str) -> &str {
    let mut comments = line.match_indices('#').map(|(at, _)| line.split_at(at).0);
    let before = comments.find(|before| before.ends_with(is_blank));
    before.unwrap_or(line).trim_end()
}

/// What stands up to the quote that ends it, and what stands behind that.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '\\' => match chars.next()? {
                c @ ('\\' | '\'') => value.push(c),
                c if quote == '\'' => value.extend(['\\', c]),
                '"' => value.push('"'),
                'a' => value.push('\u{7}'),
                'b' => value.push('\u{8}'),
                'f' => value.push('\u{c}'),
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                'v' => value.push('\u{b}'),
                c => value.extend(['\\', c]),
            },
            c if c == quote => return Some((value, chars.as_str())),
            c => value.push(c),
        }
    }
}

/// Only what stands in braces is a variable: passwords have dollars.
fn expand(text: &str, variable: Variable) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, inner)) = rest.split_once("${") {
        expanded.push_str(before);
        let (value, after) = braced(inner, variable)?;
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, Mistake> {
        variables(text, &|name| (name == "HOST").then(|| "h".into()))
    }

    /// As docker-compose 1.29.2 gives them to a container, but that single quotes keep a
    /// `${A}` as it is, as its successors have it.
    #[test]
    fn variables_are_read_as_compose_reads_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("\n \r\n# comment\n  # another", &[]),
            ("A=1\nB=2", &[("A", "1"), ("B", "2")]),
            ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
            ("\u{feff}A=1", &[("A", "1")]),
            ("export A=two words # comment", &[("A", "two words")]),
            ("exported=1", &[("exported", "1")]),
            ("  A =  spaced  ", &[("A", "spaced")]),
            ("A=un#no", &[("A", "un#no")]),
            ("A=# no value", &[("A", "# no value")]),
            ("A=\nB=", &[("A", ""), ("B", "")]),
            ("A\nB=1", &[("B", "1")]),
            ("A=it's", &[("A", "it's")]),
            (r"A=a\nb", &[("A", r"a\nb")]),
            (r#"A="dq # no \n \"q\"" # c"#, &[("A", "dq # no \n \"q\"")]),
            (r#"A="a\tb\\c\$d""#, &[("A", "a\tb\\c\\$d")]),
            (r"A='sq # no \n \'q\'' # c", &[("A", r"sq # no \n 'q'")]),
            (
                "A=\"multi\nline\"\nB=1",
                &[("A", "multi\nline"), ("B", "1")],
            ),
            ("'A'=1", &[("A", "1")]),
            ("A=$$x $y", &[("A", "$$x $y")]),
            (
                "A=1\nB=${A}-${NO:-def}-$A\nC=\"${B}\"\nD='${A}'\nE=${HOST}",
                &[
                    ("A", "1"),
                    ("B", "1-def-$A"),
                    ("C", "1-def-$A"),
                    ("D", "${A}"),
                    ("E", "h"),
                ],
            ),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect();
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, at, part) in [
            ("A=1\nB='x", 4, "B: the ' before its value has no end"),
            ("A=\"x\" y", 0, "something stands behind the \""),
            ("A=1\n  two words", 6, "is no NAME=value"),
            ("=1", 0, "the name before '=' is missing"),
            ("\n\nA=${NO}", 2, "the variable NO is not set"),
        ] {
            let (place, message) = read(text).unwrap_err();
            assert!(
                place == at && message.contains(part),
                "{text}: {place}: {message}"
            );
        }
    }
}
