//! What JSON has of its own: strings and numbers.

use std::fmt::Write as _;
use std::time::Duration;

/// A string as JSON has it.
pub(crate) fn string(text: &str) -> String {
    let mut json = String::from("\"");
    escape(text, &mut json);
    json.push('"');
    json
}

/// Appends what stands between a string's quotes.
fn escape(text: &str, json: &mut String) {
    let is_special = |c: char| matches!(c, '"' | '\\') || c.is_control();
    for part in text.split_inclusive(is_special) {
        let plain = part.trim_end_matches(is_special);
        json.push_str(plain);
        match part.chars().next_back() {
            Some(c @ ('"' | '\\')) => json.extend(['\\', c]),
            Some(c) if c.is_control() => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            _ => {}
        }
    }
}

/// Appends what stands between a string's quotes, of text that may be any bytes: what
/// isn't UTF-8, which JSON's strings are, becomes U+FFFD.
pub(crate) fn escape_bytes(text: &[u8], json: &mut String) {
    // By far the most.
    if let Ok(text) = std::str::from_utf8(text) {
        return escape(text, json);
    }
    for chunk in text.utf8_chunks() {
        escape(chunk.valid(), json);
        if !chunk.invalid().is_empty() {
            json.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// `5s` is written `5.000`.
pub(crate) fn seconds(length: Duration) -> String {
    format!("{}.{:03}", length.as_secs(), length.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::{escape_bytes, string};

    #[test]
    fn strings_are_escaped_for_json() {
        assert_eq!(string("a\"b\\c\nd\u{7f}é"), r#""a\"b\\c\u000ad\u007fé""#);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut json = String::new();
        escape_bytes(b"a\"\xff\xe2\x82b\xe2\x82\xac\0", &mut json);
        assert_eq!(json, "a\\\"\u{fffd}\u{fffd}b\u{20ac}\\u0000");
    }
}
