//! Text with the container's variables in it, and Supervisor's `%(…)s`.

use std::fmt::Write as _;
use std::rc::Rc;

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// As it stands there.
    Char(char),
    /// What the container's variable of this name holds when it starts.
    Variable(Rc<str>),
}

/// A value after `%(…)s` was expanded as far as the file itself tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) Vec<Symbol>);

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.chars().map(Symbol::Char).collect())
    }
}

impl Text {
    pub(super) fn variable(name: &str) -> Self {
        Self(vec![Symbol::Variable(name.into())])
    }

    /// The whole, where no variable is in it.
    pub(super) fn literal(&self) -> Option<String> {
        let chars = self.0.iter().map(|symbol| match symbol {
            Symbol::Char(c) => Some(*c),
            Symbol::Variable(_) => None,
        });
        chars.collect()
    }

    /// With each variable's value in its place; `Err` is the name of one that isn't
    /// set.
    pub(super) fn resolved(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, &str> {
        let mut text = String::new();
        for symbol in &self.0 {
            match symbol {
                Symbol::Char(c) => text.push(*c),
                Symbol::Variable(name) => text.push_str(&value(name).ok_or(&**name)?),
            }
        }
        Ok(text)
    }

    /// With `word` in the place of each variable.
    pub(super) fn plain(&self, word: &str) -> String {
        self.resolved(|_| Some(word.to_owned())).unwrap_or_default()
    }

    /// As a string of our file has it: `${NAME}` for a variable, `$$` for a dollar.
    pub(super) fn in_file(&self) -> String {
        let mut text = String::new();
        for symbol in &self.0 {
            match symbol {
                Symbol::Char('$') => text.push_str("$$"),
                Symbol::Char(c) => text.push(*c),
                Symbol::Variable(name) => {
                    let _ = write!(text, "${{{name}}}");
                }
            }
        }
        text
    }
}

/// What `%(NAME)s` stands for at one place of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Those that are known here; the last of a name holds.
    known: Vec<(String, Text)>,
    /// `process_num`, which alone is a number also to `%(…)d`.
    pub(super) number: Option<i64>,
}

impl Names {
    /// The names that hold everywhere.
    pub(super) fn new(here: &str) -> Self {
        let mut names = Self::default();
        names.set("here", here.into());
        names
    }

    pub(super) fn set(&mut self, name: &str, value: Text) {
        self.known.push((name.to_owned(), value));
    }

    /// `KEY` of an `environment` is `%(ENV_KEY)s` in what follows.
    pub(super) fn set_variables(&mut self, environment: &[(String, Text)]) {
        for (key, value) in environment {
            self.set(&format!("ENV_{key}"), value.clone());
        }
    }

    fn get(&self, name: &str) -> Option<Text> {
        let mut known = self.known.iter().rev();
        if let Some((_, value)) = known.find(|(known, _)| known == name) {
            return Some(value.clone());
        }
        let name = name.strip_prefix("ENV_")?;
        let starts_well = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
        let is_name = starts_well && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
        is_name.then(|| Text::variable(name))
    }
}

/// Python's `text % names`, for what stands in such files: `%%`, `%(name)s`, and
/// `%(process_num)02d`.
pub(super) fn expand(text: &Text, names: &Names) -> Result<Text, String> {
    let mut expanded = Vec::new();
    let mut symbols = text.0.iter();
    while let Some(symbol) = symbols.next() {
        if *symbol != Symbol::Char('%') {
            expanded.push(symbol.clone());
            continue;
        }
        let mut next = || match symbols.next() {
            Some(Symbol::Char(c)) => Some(*c),
            _ => None,
        };
        match next() {
            Some('%') => expanded.push(Symbol::Char('%')),
            Some('(') => {
                let name = name(&mut next).ok_or("a %( has no end")?;
                expanded.extend(formatted(&name, &mut next, names)?.0);
            }
            _ => return Err("a % stands alone; supervisord wants %%".to_owned()),
        }
    }
    Ok(Text(expanded))
}

/// As far as its closing bracket; Python counts those in between.
fn name(next: &mut impl FnMut() -> Option<char>) -> Option<String> {
    let mut name = String::new();
    let mut open = 1;
    loop {
        let c = next()?;
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(name);
        }
        name.push(c);
    }
}

fn formatted(
    name: &str,
    next: &mut impl FnMut() -> Option<char>,
    names: &Names,
) -> Result<Text, String> {
    let unknown = || format!("%({name})s is unknown here");
    let mut c = next();
    let (mut zeros, mut left) = (false, false);
    while let Some(flag @ ('0' | '-')) = c {
        zeros |= flag == '0';
        left |= flag == '-';
        c = next();
    }
    let mut width = 0;
    while let Some(digit) = c.and_then(|c| c.to_digit(10)) {
        width = width * 10 + digit;
        if width > 255 {
            return Err(format!("%({name}) is given a width beyond 255"));
        }
        c = next();
    }
    let number = (name == "process_num").then_some(names.number).flatten();
    let value = match (c, number) {
        (Some('s'), Some(number)) => {
            zeros = false;
            Text::from(number.to_string().as_str())
        }
        (Some('d' | 'i' | 'u'), Some(number)) => Text::from(number.to_string().as_str()),
        // How many there are may be a variable's, and Python has a number then.
        (Some('d' | 'i' | 'u'), None) if name == "numprocs" => {
            names.get(name).ok_or_else(unknown)?
        }
        (Some('s'), None) => {
            zeros = false;
            names.get(name).ok_or_else(unknown)?
        }
        (Some('%'), _) => return Ok("%".into()),
        (Some(c), _) => {
            return Err(format!(
                "%({name}){c}: drainit-import knows s, and d for numbers"
            ));
        }
        (None, _) => return Err(format!("%({name}) has no s behind it")),
    };
    let missing = (width as usize).saturating_sub(value.0.len());
    if missing == 0 {
        return Ok(value);
    }
    let Some(literal) = value.literal() else {
        return Err(format!(
            "%({name}) has a width, and is a variable of the container"
        ));
    };
    let pad = |c: char| std::iter::repeat_n(c, missing).collect::<String>();
    let padded = match literal.strip_prefix('-') {
        _ if left => literal + &pad(' '),
        Some(digits) if zeros => format!("-{}{digits}", pad('0')),
        None if zeros => pad('0') + &literal,
        _ => pad(' ') + &literal,
    };
    Ok(padded.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::new("/etc/s");
        names.set("program_name", "queue".into());
        names.set("numprocs", Text::variable("WORKERS"));
        names.set_variables(&[("OWN".to_owned(), "mine".into())]);
        names.number = Some(7);
        names
    }

    #[test]
    fn names_are_expanded_as_python_does() {
        for (text, expected) in [
            ("a", "a"),
            ("100%%", "100%"),
            ("%(here)s/x", "/etc/s/x"),
            ("%(program_name)s_%(process_num)02d", "queue_07"),
            (
                "%(process_num)s %(process_num)3d|%(process_num)-3d|",
                "7   7|7  |",
            ),
            ("%(process_num)03s|%(program_name)07s", "  7|  queue"),
            ("%(ENV_HOME)s $1", "${HOME} $$1"),
            ("%(ENV_OWN)s", "mine"),
            ("%(numprocs)d", "${WORKERS}"),
        ] {
            let expanded = expand(&text.into(), &names()).unwrap();
            assert_eq!(expanded.in_file(), expected, "{text}");
        }
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for (text, part) in [
            ("date +%Y", "stands alone"),
            ("50%", "stands alone"),
            ("%(x)s", "%(x)s is unknown"),
            ("%(here", "no end"),
            ("%(here)", "no s behind"),
            ("%(here)d", "knows s"),
            ("%(ENV_A-B)s", "unknown"),
            ("%(process_num)9999d", "width beyond"),
            ("%(ENV_A)9s", "has a width"),
        ] {
            let error = expand(&text.into(), &names()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
