//! Values: where one came from, and how each is read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use crate::core::plan::{Delay, StopAfter};
use crate::report::logger::LogFormat;
use crate::status::Failure;

/// The drain marker's default place: a writable tmpfs in a default container,
/// also on a read-only root and for other users, and fresh after a restart.
pub const DEFAULT_MARKER: &str = "/dev/shm/drainit.draining";

/// The shortest such time: it takes two looks to see that something was new.
const QUIET_AT_LEAST: Duration = Duration::from_millis(200);

/// Whether and where there is a drain marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Nowhere.
    None,
    /// At its default place, if an nginx runs.
    Default,
    /// There.
    At(PathBuf),
}

impl Marker {
    /// Where it is to be, if there is to be one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::Default => Some(Path::new(DEFAULT_MARKER)),
            Self::At(path) => Some(path),
        }
    }
}

/// What is wrong, in one line, and the exit code for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    /// The exit code.
    pub failure: Failure,
    /// What, where, and what would be right.
    pub message: String,
}

pub(super) fn usage(message: String) -> Error {
    Error {
        failure: Failure::Usage,
        message,
    }
}

/// The name that somebody meant who wrote this one: that from which the fewest letters
/// differ, unless it is another word altogether.
pub(super) fn alike<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (letters, name) = names
        .map(|name| (differing(given, name), name))
        .min_by_key(|(letters, _)| *letters)?;
    (letters <= given.len().max(name.len() + 1) / 3).then_some(name)
}

/// How many letters are missing, too many, or wrong.
fn differing(one: &str, other: &str) -> usize {
    // Of what there was of `one`, to each beginning of `other`.
    let mut last: Vec<usize> = (0..=other.chars().count()).collect();
    for letter in one.chars() {
        let mut left = last.first().map_or(0, |all| all + 1);
        let mut this = vec![left];
        for (its, pair) in other.chars().zip(last.windows(2)) {
            let [diagonal, above] = pair else { break };
            left = (diagonal + usize::from(its != letter)).min(left.min(*above) + 1);
            this.push(left);
        }
        last = this;
    }
    last.last().copied().unwrap_or_default()
}

/// As people write them: `5s`, `500ms`, `1m30s`, or bare seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    bare_seconds(text)
        .or_else(|| humantime::parse_duration(text).ok())
        .ok_or_else(|| format!("'{text}' is no duration (5s, 500ms, 1m30s, or seconds)"))
}

/// `2` or `2.5`. Floating point numbers would add 20 kB to the binary.
fn bare_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}");
    let nanoseconds = nanoseconds.get(..9)?.parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanoseconds))
}

/// `5s`, or `5s..15s`.
pub(super) fn delay_for(text: &str) -> Result<Delay, String> {
    let Some((min, max)) = text.split_once("..") else {
        return duration(text).map(Delay::fixed);
    };
    let (Ok(min), Ok(max)) = (duration(min), duration(max)) else {
        return Err(format!(
            "'{text}' is neither a duration nor two, as in 5s..15s: at least, and at most"
        ));
    };
    if max < min {
        return Err(format!(
            "'{text}' begins with the longer time; right would be {}..{}",
            humantime::format_duration(max),
            humantime::format_duration(min),
        ));
    }
    Ok(Delay { min, max })
}

/// As a sentence has it: `5s`, or `5s to 15s`.
pub fn delay_text(delay: Delay) -> String {
    let min = humantime::format_duration(delay.min);
    if delay.is_fixed() {
        min.to_string()
    } else {
        format!("{min} to {}", humantime::format_duration(delay.max))
    }
}

pub(super) fn grace_period_for(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    if period < Duration::from_millis(100) {
        return Err("a stop takes 100ms at least".to_owned());
    }
    Ok(period)
}

pub(super) fn quiet_for(text: &str) -> Result<Duration, String> {
    let quiet = duration(text)?;
    if quiet < QUIET_AT_LEAST {
        return Err(format!(
            "'{text}' is too short to see anything in: 200ms at least (--stop-after none: no wait)"
        ));
    }
    Ok(quiet)
}

pub(super) fn start_timeout_for(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout.is_zero() {
        return Err(format!(
            "'{text}' leaves no time to start in; without it there is no limit"
        ));
    }
    Ok(timeout)
}

pub(super) fn stop_after_what(text: &str) -> Result<StopAfter, String> {
    if text == "none" {
        return Ok(StopAfter::None);
    }
    let port = |part: &str| part.trim().strip_prefix("tcp:")?.parse().ok();
    text.split(',')
        .map(|part| port(part).filter(|port| *port != 0))
        .collect::<Option<_>>()
        .map(StopAfter::Ports)
        .ok_or_else(|| format!("'{text}' is neither tcp:PORT,… nor none"))
}

pub(super) fn marker_place(text: &str) -> Result<Marker, String> {
    place(text).map(|path| path.map_or(Marker::None, Marker::At))
}

/// Of a file, or nowhere.
pub(super) fn place(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "none" => Ok(None),
        path if path.starts_with('/') => Ok(Some(PathBuf::from(path))),
        _ => Err(format!("'{text}' is neither an absolute path nor none")),
    }
}

pub(super) fn no_control(text: &str) -> Result<(), String> {
    match text {
        "none" => Ok(()),
        _ => Err(format!("'{text}' is not none")),
    }
}

pub(super) fn is_group(text: &str) -> Result<bool, String> {
    match text {
        "group" => Ok(true),
        "main" => Ok(false),
        _ => Err(format!("'{text}' is neither main nor group")),
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is neither true nor false"))
}

pub(super) fn exit_code(text: &str) -> Result<u8, String> {
    let code = text.trim().parse();
    code.map_err(|_| format!("'{text}' is no exit code (0 to 255)"))
}

pub(super) fn format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("'{text}' is neither text nor json")),
    }
}

pub(super) fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is none of off, error, warn, info, debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_taken_for_one_that_is_alike() {
        let names = ["delay", "stop-timeout", "start-timeout", "restart", "user"];
        for (given, meant) in [
            ("dealy", Some("delay")),
            ("dely", Some("delay")),
            ("stop_timeout", Some("stop-timeout")),
            ("stoptimeout", Some("stop-timeout")),
            ("users", Some("user")),
            ("esru", None),
            ("restarts", Some("restart")),
            ("autostart", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(alike(given, names.into_iter()), meant, "{given}");
        }
    }

    #[test]
    fn letters_that_differ_are_counted() {
        for (one, other, count) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "acb", 2),
            ("kitten", "sitting", 3),
            ("\u{e9}t\u{e9}", "ete", 2),
        ] {
            assert_eq!(differing(one, other), count, "{one} {other}");
        }
    }
}
