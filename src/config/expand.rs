//! Variables in strings: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar.

use std::ffi::OsString;

/// Gives the value of a variable.
pub(super) type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Puts the values of variables in the place of their names.
pub(super) fn expand(text: &str, variable: Variable) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let (value, after) = braced(inner, variable)?;
            expanded.push_str(&value);
            rest = after;
        } else {
            let end = after.find(|c: char| !is_of_name(c)).unwrap_or(after.len());
            let (name, _) = after.split_at(end);
            return Err(match name {
                "" => "a '$' stands alone: a dollar is written $$".to_owned(),
                name => format!("'${name}' is no variable here: ${{{name}}} is, and $$ a dollar"),
            });
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Reads what stands behind `${`; returns the value, and what stands behind the `}`.
pub(super) fn braced<'a>(inner: &'a str, variable: Variable) -> Result<(String, &'a str), String> {
    let Some((inner, rest)) = inner.split_once('}') else {
        return Err(format!("'${{{inner}' has no end: a }} is missing"));
    };
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) || default.is_some_and(|default| default.contains('$')) {
        return Err(format!(
            "'${{{inner}}}' is neither ${{NAME}} nor ${{NAME:-default}}"
        ));
    }
    let value = match variable(name) {
        Some(value) => match value.into_string() {
            Ok(value) => Some(value),
            Err(_) => return Err(format!("the variable {name} is not UTF-8")),
        },
        None => None,
    };
    let value = value.filter(|value| default.is_none() || !value.is_empty());
    match value.or_else(|| default.map(str::to_owned)) {
        Some(value) => Ok((value, rest)),
        None => Err(format!(
            "the variable {name} is not set; ${{{name}:-}} is empty then"
        )),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(is_of_name)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand(text, &|name| match name {
            "A" => Some("a b".into()),
            "EMPTY" => Some("".into()),
            "DOLLAR" => Some("${A}$".into()),
            "BYTES" => Some(std::os::unix::ffi::OsStringExt::from_vec(vec![0xff])),
            _ => None,
        })
    }

    #[test]
    fn variables_are_put_in_the_place_of_their_names() {
        for (text, expected) in [
            ("", ""),
            ("x", "x"),
            ("${A}", "a b"),
            ("x${A}y${A}z", "xa bya bz"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${A:-x}", "a b"),
            ("$$", "$"),
            ("$${A}", "${A}"),
            ("$$$${A}", "$${A}"),
            ("${DOLLAR}", "${A}$"),
            ("\u{fc}${A}\u{df}", "\u{fc}a b\u{df}"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_is_named_with_what_would_be_right() {
        for (text, part) in [
            ("$A", "'$A' is no variable here: ${A} is, and $$ a dollar"),
            ("$", "a dollar is written $$"),
            ("a$ b", "a dollar is written $$"),
            ("$1", "${1}"),
            ("${A", "'${A' has no end"),
            ("${", "has no end"),
            ("${}", "'${}' is neither"),
            ("${1}", "'${1}' is neither"),
            ("${A-b}", "'${A-b}' is neither"),
            ("${A:?b}", "is neither"),
            ("${A:-${B}}", "is neither"),
            (
                "${NONE}",
                "the variable NONE is not set; ${NONE:-} is empty",
            ),
            ("${BYTES}", "BYTES is not UTF-8"),
        ] {
            let message = expanded(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
