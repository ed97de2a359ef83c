//! How Supervisor splits: Python's `shlex`, in both of its ways.

use super::text::{Symbol, Text};

/// A word of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// Without its quotes.
    pub(super) text: Text,
    /// A variable stands in it outside quotes: Supervisor, which expands first, splits
    /// its value.
    pub(super) splits: bool,
    /// A variable stands in it within quotes.
    pub(super) keeps: bool,
}

/// `shlex.split`: the words of `command`.
pub(super) fn words(line: &Text) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote: Option<char> = None;
    let mut symbols = line.0.iter();
    while let Some(symbol) = symbols.next() {
        match (symbol, quote) {
            (Symbol::Char(c), Some(open)) if *c == open => quote = None,
            (Symbol::Char('\\'), Some('"')) => {
                let escaped = symbols.next().ok_or("a \\ has nothing behind it")?;
                let text = &mut word.get_or_insert_default().text.0;
                if !matches!(escaped, Symbol::Char('\\' | '"')) {
                    text.push(symbol.clone());
                }
                text.push(escaped.clone());
            }
            (Symbol::Char(' ' | '\t' | '\r' | '\n'), None) => words.extend(word.take()),
            (Symbol::Char('\\'), None) => {
                let escaped = symbols.next().ok_or("a \\ has nothing behind it")?;
                word.get_or_insert_default().text.0.push(escaped.clone());
            }
            (Symbol::Char(c @ ('\'' | '"')), None) => {
                word.get_or_insert_default();
                quote = Some(*c);
            }
            (symbol, quote) => {
                let word = word.get_or_insert_default();
                if matches!(symbol, Symbol::Variable(_)) {
                    word.splits |= quote.is_none();
                    word.keeps |= quote.is_some();
                }
                word.text.0.push(symbol.clone());
            }
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} has no end"));
    }
    words.extend(word);
    if words.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(words)
}

/// `environment`: `KEY=value,KEY="a value"`. A token is a quoted string, or of the
/// characters that Supervisor lets into a word, or one character. Every fourth is
/// taken for the comma, whatever it is.
pub(super) fn pairs(text: &Text) -> Result<Vec<(Text, Text)>, String> {
    let tokens = tokens(text)?;
    let mut pairs: Vec<(Text, Text)> = Vec::new();
    for four in tokens.chunks(4) {
        let [key, equals, value, ..] = four else {
            return Err("it ends within KEY=value".to_owned());
        };
        if *equals != "=".into() {
            return Err(format!(
                "'{}' isn't followed by a =; a value with other characters than letters, digits \
                 and _/.+-(): needs quotes",
                key.plain("…")
            ));
        }
        let value = unquoted(value);
        match pairs.iter_mut().find(|(known, _)| known == key) {
            Some(pair) => pair.1 = value,
            None => pairs.push((key.clone(), value)),
        }
    }
    Ok(pairs)
}

fn unquoted(value: &Text) -> Text {
    let is_quote = |symbol: &Symbol| matches!(symbol, Symbol::Char('\'' | '"'));
    let start = value.0.iter().take_while(|it| is_quote(it)).count();
    let rest = value.0.get(start..).unwrap_or_default();
    let end = rest.iter().rev().take_while(|it| is_quote(it)).count();
    let inner = rest.get(..rest.len().saturating_sub(end));
    Text(inner.unwrap_or_default().to_vec())
}

fn tokens(text: &Text) -> Result<Vec<Text>, String> {
    let is_word = |symbol: &Symbol| match symbol {
        Symbol::Variable(_) => true,
        Symbol::Char(c) => c.is_ascii_alphanumeric() || "_/.+-():".contains(*c),
    };
    let mut tokens = Vec::new();
    let mut symbols = text.0.iter().peekable();
    while let Some(symbol) = symbols.next() {
        let mut token = vec![symbol.clone()];
        match symbol {
            Symbol::Char(' ' | '\t' | '\r' | '\n') => continue,
            Symbol::Char('#') => {
                symbols.by_ref().find(|it| **it == Symbol::Char('\n'));
                continue;
            }
            Symbol::Char(quote @ ('\'' | '"')) => loop {
                let next = symbols.next().ok_or(format!("a {quote} has no end"))?;
                token.push(next.clone());
                if next == symbol {
                    break;
                }
            },
            symbol if is_word(symbol) => {
                // A quote within a word is a character like others; a comment in it doesn't
                // end it.
                while let Some(next) = symbols.peek() {
                    match next {
                        Symbol::Char('#') => {
                            symbols.by_ref().find(|it| **it == Symbol::Char('\n'));
                        }
                        next if is_word(next) || matches!(next, Symbol::Char('\'' | '"')) => {
                            token.extend(symbols.next().cloned());
                        }
                        _ => break,
                    }
                }
            }
            Symbol::Char(_) | Symbol::Variable(_) => {}
        }
        tokens.push(Text(token));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_shlex_splits_them() {
        for (line, expected) in [
            ("a b", &["a", "b"][..]),
            ("nginx -g 'daemon off;'", &["nginx", "-g", "daemon off;"]),
            (
                r#"sh -c "echo \"a\" \$b \\ ""#,
                &["sh", "-c", r#"echo "a" \$b \ "#],
            ),
            (r"a\ b 'c\' ''", &["a b", r"c\", ""]),
            ("a|b $X *;", &["a|b", "$X", "*;"]),
            ("a\u{a0}b #c", &["a\u{a0}b", "#c"]),
        ] {
            let words = words(&line.into()).unwrap();
            let words: Vec<String> = words.iter().map(|it| it.text.plain("V")).collect();
            assert_eq!(words, expected, "{line}");
        }
        for line in ["", " ", "'a", "\"a", "a\\", "\"a\\"] {
            assert!(words(&line.into()).is_err(), "{line}");
        }
    }

    #[test]
    fn an_environment_has_its_own_quoting() {
        for (text, expected) in [
            ("", &[][..]),
            ("A=1", &[("A", "1")]),
            (
                "A=1,B=\"x,y\",C='z'",
                &[("A", "1"), ("B", "x,y"), ("C", "z")],
            ),
            ("A=1,\nB=/a-b.c:(d)+", &[("A", "1"), ("B", "/a-b.c:(d)+")]),
            ("A=1,A=2,", &[("A", "2")]),
            ("A=\"\",B=''", &[("A", ""), ("B", "")]),
            ("A=1 # more\n,B=2", &[("A", "1"), ("B", "2")]),
            ("A=1# more\n2,B=2", &[("A", "12"), ("B", "2")]),
            // It looks at no comma.
            ("A=1;B=2", &[("A", "1"), ("B", "2")]),
            ("A=x y B=2", &[("A", "x"), ("B", "2")]),
            ("A=x'y", &[("A", "x'y")]),
        ] {
            let pairs = pairs(&text.into()).unwrap();
            let pairs: Vec<(String, String)> = pairs
                .iter()
                .map(|(key, value)| (key.plain("V"), value.plain("V")))
                .collect();
            let expected: Vec<(String, String)> = expected
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(pairs, expected, "{text}");
        }
        for text in ["A", "A=", "A=1,B", "A='x", "A=a@b,B=1"] {
            assert!(pairs(&text.into()).is_err(), "{text}");
        }
    }
}
