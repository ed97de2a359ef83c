//! The log: `env_logger` with our format and our standard error.
//!
//! A record's target says who it is about: a service, a signal, or drainit
//! itself. The time in front counts from the start, and from the stop request
//! once there was one: that is what a stop is read by.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

use super::text::Line;
use crate::json;
use crate::sys::stderr::Stderr;

/// How to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// An object a line.
    Json,
}

/// Who a record is about that is about no service.
pub const OURSELVES: &str = "drainit";

/// The target of the report, whose text is JSON where the log is.
pub const REPORT: &str = "report";

/// Where the log's time is counted from, in microseconds after the start.
static ZERO: AtomicU64 = AtomicU64::new(0);

/// Writes the log from now on. `start` is when our own time began.
pub fn init(format: LogFormat, level: LevelFilter, start: Instant) {
    Builder::new()
        .filter_level(level)
        .target(Target::Pipe(Box::new(Stderr::open())))
        .format(move |buffer, record| {
            let zero = Duration::from_micros(ZERO.load(Ordering::Relaxed));
            let elapsed = start.elapsed().saturating_sub(zero);
            let what = match record.level() {
                Level::Error => format!("error: {}", record.args()),
                Level::Warn => format!("warning: {}", record.args()),
                Level::Info | Level::Debug | Level::Trace => record.args().to_string(),
            };
            match format {
                LogFormat::Text => {
                    writeln!(
                        buffer,
                        "drainit: {}",
                        Line::render(elapsed, &visible(record.target()), &visible(&what))
                    )
                }
                LogFormat::Json => {
                    let (key, value) = if record.target() == REPORT {
                        ("report", what)
                    } else {
                        ("message", json::string(&record.args().to_string()))
                    };
                    writeln!(
                        buffer,
                        r#"{{"level":"{}","elapsed_s":{},"source":{},"{key}":{value}}}"#,
                        record.level().as_str().to_ascii_lowercase(),
                        json::seconds(elapsed),
                        json::string(record.target()),
                    )
                }
            }
        })
        .init();
}

/// With a `?` for each control character, as ls(1) has it: a process may be
/// called whatever it likes, and must not write lines of its own by that, or move
/// the cursor.
pub(super) fn visible(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// Counts the log's time from here on.
pub fn count_from(since_start: Duration) {
    ZERO.store(
        u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX),
        Ordering::Relaxed,
    );
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn control_characters_are_replaced_and_nothing_else() {
        for (text, expected) in [
            ("php-fpm", "php-fpm"),
            ("a\nb\r\tc", "a?b??c"),
            ("\u{1b}[2J\u{9b}ü\\ '", "?[2J?ü\\ '"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }
}
