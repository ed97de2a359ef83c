//! What JSON has of its own: strings and numbers.

use std::fmt::Write as _;
use std::time::Duration;

/// A string as JSON has it.
pub(crate) fn string(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// `5s` is written `5.000`.
pub(crate) fn seconds(length: Duration) -> String {
    format!("{}.{:03}", length.as_secs(), length.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::string;

    #[test]
    fn strings_are_escaped_for_json() {
        assert_eq!(string("a\"b\\c\nd\u{7f}é"), r#""a\"b\\c\u000ad\u007fé""#);
    }
}
