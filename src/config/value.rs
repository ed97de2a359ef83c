//! Values: where one came from, and how each is read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use super::service::ReadyAt;
use crate::core::plan::{Delay, Readiness, Restart, StopAfter};
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
pub(crate) fn alike<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
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
    two_times(delay, " to ")
}

/// As it is given.
pub(super) fn range_text(delay: Delay) -> String {
    two_times(delay, "..")
}

fn two_times(delay: Delay, between: &str) -> String {
    let min = humantime::format_duration(delay.min);
    if delay.is_fixed() {
        min.to_string()
    } else {
        format!("{min}{between}{}", humantime::format_duration(delay.max))
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

/// `none` is no limit.
pub(super) fn timeout(text: &str) -> Result<Option<Duration>, String> {
    if text == "none" {
        return Ok(None);
    }
    let timeout = duration(text)?;
    if timeout.is_zero() {
        return Err(format!("'{text}' leaves no time; none is no limit"));
    }
    Ok(Some(timeout))
}

pub(super) fn stop_after_what(text: &str) -> Result<StopAfter, String> {
    if text == "none" {
        return Ok(StopAfter::None);
    }
    if text == "clients" {
        return Ok(StopAfter::Clients);
    }
    text.split(',')
        .map(tcp_port)
        .collect::<Option<_>>()
        .map(StopAfter::Ports)
        .ok_or_else(|| format!("'{text}' is none of tcp:PORT,…, clients and none"))
}

fn tcp_port(text: &str) -> Option<u16> {
    let port = text.trim().strip_prefix("tcp:")?.parse().ok();
    port.filter(|port| *port != 0)
}

/// When a service is ready, and where somebody is to listen for that, if it matters.
pub(super) fn ready_when(text: &str) -> Result<(Readiness, Option<ReadyAt>), String> {
    let path = text.strip_prefix("unix:");
    let path = path.filter(|path| path.starts_with(['/', '@']));
    match (text, tcp_port(text), path) {
        ("none", ..) => Ok((Readiness::None, None)),
        ("listen", ..) => Ok((Readiness::Listen, None)),
        (_, Some(port), _) => Ok((Readiness::Listen, Some(ReadyAt::Tcp(port)))),
        (_, _, Some(path)) => Ok((Readiness::Listen, Some(ReadyAt::Unix(path.to_owned())))),
        _ => Err(format!(
            "'{text}' is none of listen, none, tcp:PORT, unix:/PATH and unix:@NAME"
        )),
    }
}

pub(super) fn restart_when(text: &str) -> Result<Restart, String> {
    match text {
        "no" => Ok(Restart::No),
        "on-failure" => Ok(Restart::OnFailure),
        "always" => Ok(Restart::Always),
        _ => Err(format!("'{text}' is none of no, on-failure and always")),
    }
}

/// As people, and variables, have it.
pub(super) fn is_so(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

pub(super) fn instances(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=100).contains(count));
    count.ok_or_else(|| {
        format!("'{text}' is no number from 1 to 100; `enabled = false` is for none")
    })
}

/// `0` is no limit.
pub(super) fn limit(text: &str) -> Result<u32, String> {
    let limit = text.parse();
    limit.map_err(|_| format!("'{text}' is no number; 0 is no limit"))
}

pub(super) fn count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("'{text}' is no number from 1 on"))
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') {
        Ok(PathBuf::from(text))
    } else {
        Err(format!("'{text}' is no absolute path"))
    }
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
    fn truth_is_written_in_many_ways() {
        for text in ["true", "True", "yes", "on", "ON", "1"] {
            assert_eq!(is_so(text), Ok(true), "{text}");
        }
        for text in ["false", "no", "off", "Off", "0"] {
            assert_eq!(is_so(text), Ok(false), "{text}");
        }
        for text in ["", "2", "offf", "none", "ja"] {
            assert!(is_so(text).is_err(), "{text}");
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
