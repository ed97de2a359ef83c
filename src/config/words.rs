//! A command line in one string, split into words as a shell would, without a
//! shell, and several of them in one variable. What only a shell could carry out is refused rather than taken
//! literally, which is why no splitting library serves: none tells what was
//! quoted.

/// Splits `line` into words. Quotes and backslashes mean what they mean to
/// sh(1).
pub(crate) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a ' has no end".to_owned()),
                    }
                }
            }
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("a \\ has nothing behind it".to_owned()),
            },
            '|' | '&' | ';' | '<' | '>' | '$' | '*' | '`' | '(' | ')' => {
                return Err(needs_shell(c));
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() {
        return Err("the command is empty".to_owned());
    }
    Ok(words)
}

/// The entries of a variable that holds several: one a line, or with a `;`
/// between them, as a Dockerfile's ENV has no line ends. A quoted `;` belongs
/// to its entry; a line end always separates.
pub(crate) fn entries(text: &str) -> Vec<&str> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut start = 0;
        let mut quote = None;
        let mut bytes = line.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match (quote, byte) {
                (None, b';') => {
                    entries.extend(line.get(start..at));
                    start = at + 1;
                }
                (None, b'\'' | b'"') => quote = Some(byte),
                (None | Some(b'"'), b'\\') => {
                    bytes.next();
                }
                (Some(open), _) if open == byte => quote = None,
                _ => {}
            }
        }
        entries.extend(line.get(start..));
    }
    let trimmed = entries.into_iter().map(str::trim);
    trimmed.filter(|entry| !entry.is_empty()).collect()
}

fn double_quoted(chars: &mut std::str::Chars, word: &mut String) -> Result<(), String> {
    loop {
        match chars.next() {
            Some('"') => return Ok(()),
            Some('\\') => match chars.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => break,
            },
            Some(c @ ('$' | '`')) => return Err(needs_shell(c)),
            Some(c) => word.push(c),
            None => break,
        }
    }
    Err("a \" has no end".to_owned())
}

fn needs_shell(c: char) -> String {
    format!("'{c}' needs a shell: use sh -c '…', or quote it")
}

#[cfg(test)]
mod tests {
    use super::{entries, split};

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        for (line, words) in [
            (
                "php artisan queue:work",
                vec!["php", "artisan", "queue:work"],
            ),
            ("  a\t'b c'  \"d e\" ", vec!["a", "b c", "d e"]),
            (
                r#"a\ b "\"\\" '$HOME|' "" x"y"'z'"#,
                vec!["a b", "\"\\", "$HOME|", "", "xyz"],
            ),
            (r#""a\b""#, vec![r"a\b"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn entries_are_separated_by_line_ends_and_by_unquoted_semicolons() {
        for (text, expected) in [
            ("", vec![]),
            (" ;\n; ", vec![]),
            (" a=b c ;d\n\n e;", vec!["a=b c", "d", "e"]),
            ("q=sh -c 'a; b';c", vec!["q=sh -c 'a; b'", "c"]),
            (r#"q=sh -c "a \"; b";c"#, vec![r#"q=sh -c "a \"; b""#, "c"]),
            (r"q=a \; b;c", vec![r"q=a \; b", "c"]),
            (r"q='a\';c", vec![r"q='a\'", "c"]),
            (r#"q='";';c"#, vec![r#"q='";'"#, "c"]),
            ("q='a\nb;c", vec!["q='a", "b", "c"]),
            ("ü;ß", vec!["ü", "ß"]),
        ] {
            assert_eq!(entries(text), expected, "{text}");
        }
    }

    #[test]
    fn what_needs_a_shell_is_refused() {
        for line in [
            "a | b",
            "a && b",
            "a; b",
            "a > b",
            "echo $HOME",
            "\"$HOME\"",
            "ls *",
            "`a`",
        ] {
            assert!(split(line).unwrap_err().contains("needs a shell"), "{line}");
        }
        for line in ["", "  ", "'a", "\"a", "a\\"] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
