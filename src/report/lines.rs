//! A service's lines, with its name before each, cut out of what it writes.

use std::io::BufRead as _;

use crate::json;

use super::logger::{LogFormat, visible};

/// The longest line that stays whole, in bytes.
const LINE: usize = 16 * 1024;

/// So much a pipe takes whole or not at all: lines of several services don't mix.
const PIPE_BUF: usize = 4096;

/// Cuts what one stream of a service brings into lines.
#[derive(Debug)]
pub struct Lines {
    /// What stands before each line.
    before: String,
    format: LogFormat,
    /// The next bytes belong to a line whose beginning was too long.
    is_continued: bool,
    /// Empty between two lines; kept for its memory.
    message: String,
}

/// A line, or a part of one that is too long.
struct Piece<'a> {
    text: &'a [u8],
    /// With what ends it.
    length: usize,
    /// Its line does.
    goes_on: bool,
}

impl Lines {
    /// For what that service writes to the stream of that name.
    pub fn new(service: &str, stream: &str, format: LogFormat) -> Self {
        let before = match format {
            LogFormat::Text => format!("{}: ", visible(service)),
            LogFormat::Json => {
                let service = json::string(service);
                format!(r#"{{"source":{service},"stream":"{stream}","message":""#)
            }
        };
        Self {
            before,
            format,
            is_continued: false,
            message: String::new(),
        }
    }

    /// Appends lines to `output`, as many as one write takes whole, and if there is a line
    /// at least that; returns how many bytes of `input` they are. Nothing comes behind
    /// `input` if it `is_all`: then what has no end is a line, too.
    pub fn take(&mut self, input: &[u8], is_all: bool, output: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        while let Some(piece) = next_piece(input.get(taken..).unwrap_or_default(), is_all) {
            let before = output.len();
            self.render(&piece, output);
            if output.len() > PIPE_BUF && before > 0 {
                output.truncate(before);
                break;
            }
            taken += piece.length;
            self.is_continued = piece.goes_on;
        }
        taken
    }

    fn render(&mut self, piece: &Piece, output: &mut Vec<u8>) {
        output.extend_from_slice(self.before.as_bytes());
        let (begin, end) = match self.format {
            LogFormat::Text => {
                if self.is_continued {
                    output.extend_from_slice(b"[continued] ");
                }
                output.extend_from_slice(piece.text);
                ("", if piece.goes_on { " [continues]" } else { "" })
            }
            LogFormat::Json => {
                self.message.clear();
                json::escape_bytes(piece.text, &mut self.message);
                output.extend_from_slice(self.message.as_bytes());
                match (self.is_continued, piece.goes_on) {
                    (false, false) => ("\"", "}"),
                    (false, true) => ("\"", r#","continues":true}"#),
                    (true, false) => ("\"", r#","continued":true}"#),
                    (true, true) => ("\"", r#","continued":true,"continues":true}"#),
                }
            }
        };
        for part in [begin, end, "\n"] {
            output.extend_from_slice(part.as_bytes());
        }
    }
}

/// The first line; the first part of it if it is too long; `None` if its end is still
/// to come.
fn next_piece(input: &[u8], is_all: bool) -> Option<Piece<'_>> {
    let (longest, is_longer) = match input.get(..=LINE) {
        Some(longest) => (longest, true),
        None => (input, false),
    };
    // As fast as the C library finds it.
    let length = { longest }.skip_until(b'\n').unwrap_or_default();
    let line = longest
        .get(..length)
        .and_then(|line| line.strip_suffix(b"\n"));
    let (end, length, goes_on) = match line {
        Some(line) => (line.len(), length, false),
        None if is_longer => {
            let end = cut_at(longest);
            (end, end, true)
        }
        None if is_all && !input.is_empty() => (input.len(), input.len(), false),
        None => return None,
    };
    Some(Piece {
        text: input.get(..end)?,
        length,
        goes_on,
    })
}

/// Where a line is to be cut that is longer: not within a character of UTF-8, which has
/// up to three bytes behind its first one.
fn cut_at(longest: &[u8]) -> usize {
    let is_first = |at: &usize| longest.get(*at).is_some_and(|byte| byte >> 6 != 0b10);
    (LINE - 3..=LINE).rev().find(is_first).unwrap_or(LINE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of these parts, offered one after the other as a forwarder does.
    fn written(format: LogFormat, parts: &[&[u8]]) -> Vec<u8> {
        let mut lines = Lines::new("web\n", "stdout", format);
        let (mut input, mut written) = (Vec::new(), Vec::new());
        let ends = parts.iter().map(|part| (*part, false));
        for (part, is_all) in ends.chain([(&b""[..], true)]) {
            input.extend_from_slice(part);
            loop {
                let mut output = Vec::new();
                let taken = lines.take(&input, is_all, &mut output);
                assert_eq!(taken == 0, output.is_empty());
                if taken == 0 {
                    break;
                }
                // Whole lines; several only if one write takes them.
                assert_eq!(output.last(), Some(&b'\n'));
                let is_one =
                    output.iter().position(|byte| *byte == b'\n') == Some(output.len() - 1);
                assert!(is_one || output.len() <= PIPE_BUF);
                written.extend(output);
                input.drain(..taken);
            }
        }
        assert!(input.is_empty());
        written
    }

    #[track_caller]
    fn check(format: LogFormat, parts: &[&[u8]], expected: &str) {
        let written = written(format, parts);
        assert_eq!(String::from_utf8_lossy(&written), expected);
    }

    #[test]
    fn each_line_has_the_name_in_front() {
        check(LogFormat::Text, &[], "");
        check(
            LogFormat::Text,
            &[b"a\n\nb\r\n"],
            "web?: a\nweb?: \nweb?: b\r\n",
        );
        check(
            LogFormat::Text,
            &[b"a", b"b", b"\nc"],
            "web?: ab\nweb?: c\n",
        );
        let expected = r#"{"source":"web\u000a","stream":"stdout","message":"a\"b"}
{"source":"web\u000a","stream":"stdout","message":"�"}
"#;
        check(LogFormat::Json, &[b"a\"b\n\xff"], expected);
    }

    #[test]
    fn a_line_of_16_kb_is_whole_and_a_longer_one_says_that_it_is_cut() {
        let longest = "x".repeat(LINE);
        let whole = format!("web?: {longest}\n");
        check(LogFormat::Text, &[longest.as_bytes()], &whole);
        check(LogFormat::Text, &[longest.as_bytes(), b"\n"], &whole);
        let cut = format!("web?: {longest} [continues]\nweb?: [continued] yz\nweb?: a\n");
        check(LogFormat::Text, &[longest.as_bytes(), b"yz\na"], &cut);
        let twice = format!(
            "web?: {longest} [continues]\n\
             web?: [continued] {longest} [continues]\n\
             web?: [continued] z\n"
        );
        let parts = [longest.as_bytes(), longest.as_bytes(), b"z"];
        check(LogFormat::Text, &parts, &twice);

        let before = r#"{"source":"web\u000a","stream":"stdout","message":""#;
        let cut = format!(
            "{before}{longest}\",\"continues\":true}}\n\
             {before}{longest}\",\"continued\":true,\"continues\":true}}\n\
             {before}z\",\"continued\":true}}\n\
             {before}a\"}}\n"
        );
        let parts = [longest.as_bytes(), longest.as_bytes(), b"z\na"];
        check(LogFormat::Json, &parts, &cut);
    }

    #[test]
    fn no_character_is_cut() {
        for (character, at) in [("é", LINE - 1), ("€", LINE - 2), ("😀", LINE - 3)] {
            let line = format!("{}{character}yyyy", "x".repeat(at));
            let written = written(LogFormat::Text, &[line.as_bytes()]);
            let first = written.split(|byte| *byte == b'\n').next().unwrap();
            let expected = format!("web?: {} [continues]", "x".repeat(at));
            assert_eq!(first, expected.as_bytes());
        }
        // No text at all.
        let written = written(LogFormat::Text, &[&vec![0x80; LINE + 1]]);
        let first = written.split(|byte| *byte == b'\n').next().unwrap();
        assert_eq!(first.len(), "web?: ".len() + LINE + " [continues]".len());
    }

    /// What was written without all that was added.
    fn undone(written: &[u8]) -> Vec<u8> {
        let mut undone = Vec::new();
        for line in written.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap();
            let line = line.strip_prefix(b"web?: ").unwrap();
            let line = line.strip_prefix(b"[continued] ").unwrap_or(line);
            let part = line.strip_suffix(b" [continues]");
            undone.extend_from_slice(part.unwrap_or(line));
            if part.is_none() {
                undone.push(b'\n');
            }
        }
        undone
    }

    fn runs() -> impl Strategy<Value = Vec<(u8, usize)>> {
        let byte = prop_oneof![Just(b'\n'), Just(0x80), any::<u8>()];
        let length = prop_oneof![Just(1_usize), 1..100_usize, LINE - 4..LINE + 4];
        prop::collection::vec((byte, length), 0..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_byte_is_lost(runs in runs(), read in 1_usize..40_000) {
            let text: Vec<u8> = runs.iter().flat_map(|(byte, times)| {
                // Lines of nothing are short: many of them say nothing more.
                vec![*byte; if *byte == b'\n' { times % 3 } else { *times }]
            }).collect();
            let parts: Vec<&[u8]> = text.chunks(read).collect();
            let written = written(LogFormat::Text, &parts);
            let mut expected = text.clone();
            if !expected.is_empty() && !expected.ends_with(b"\n") {
                expected.push(b'\n');
            }
            prop_assert!(undone(&written) == expected);
            let longest = written.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
            prop_assert!(longest.unwrap_or(0) <= LINE + "web?: [continued]  [continues]".len());
        }
    }
}
