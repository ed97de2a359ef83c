//! What happens when a program ends unasked: `autorestart`, `startsecs`, `startretries`
//! and `exitcodes` are one decision.

use super::command::Command;
use super::reader::{Reader, Value, boolean};
use super::remark::Word;
use super::text::Text;
use super::write::Table;
use crate::preset::Preset;

/// What our file says of it.
pub(super) struct End {
    pub(super) is_oneshot: bool,
    restart: &'static str,
    /// At once and for ever.
    is_loop: bool,
    limit: Option<Text>,
    success: Option<Vec<i64>>,
    essential: Option<bool>,
}

impl End {
    pub(super) fn write(&self, table: &mut Table) {
        if !self.is_oneshot {
            table.set_string("restart", self.restart);
        }
        if self.is_loop {
            table.set_string("restart-delay", "1s");
        }
        if let Some(limit) = &self.limit {
            match limit.literal() {
                Some(number) => table.set("restart-limit", &number),
                None => table.set_text("restart-limit", limit),
            }
        }
        if let Some(success) = &self.success {
            let codes: Vec<String> = success.iter().map(i64::to_string).collect();
            table.set("success", &format!("[{}]", codes.join(", ")));
        }
        if let Some(essential) = self.essential {
            table.set("essential", if essential { "true" } else { "false" });
        }
    }
}

/// `autorestart`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Always,
    Unexpected,
    Never,
}

/// Supervisor looks at `autorestart` only once a program has lived for `startsecs`, and
/// until then starts anything again, `startretries` times.
///
/// `ends_container`: a listener ends it when a program is given up.
pub(super) fn decide(
    command: &Command,
    preset: Option<&'static Preset>,
    reader: &mut Reader,
    ends_container: bool,
) -> End {
    let (again, autorestart) = autorestart(reader);
    let least = reader.number_text("startsecs");
    let is_at_once = |text: &Text| text.literal().as_deref() == Some("0");
    let is_at_once = least.as_ref().is_some_and(|(text, _)| is_at_once(text));
    let retries = reader.number_text("startretries");
    let mut end = End {
        is_oneshot: false,
        restart: match again {
            Again::Always => "always",
            Again::Unexpected => "on-failure",
            Again::Never => "no",
        },
        is_loop: false,
        limit: None,
        success: reader.exit_codes(),
        essential: ends_container.then_some(true),
    };
    match (again, is_at_once) {
        (Again::Never, true) if !command.stays() && preset.is_none() => {
            end.is_oneshot = true;
            end.essential = None;
            let what = "with startsecs=0 it runs once: oneshot = true, so what stands behind it \
                        waits for it, and its failure ends the start";
            say_of_either(autorestart.as_ref(), Word::Changed, what, reader);
        }
        (Again::Never, _) => {
            if preset.is_none() {
                end.essential = Some(false);
            }
            let has_retries = retries
                .as_ref()
                .is_none_or(|(text, _)| text.literal().as_deref() != Some("0"));
            let what = if preset.is_some() {
                "restart = \"no\"; nobody noticed when it was dead; now the container ends, with \
                 its status"
            } else if is_at_once || !has_retries {
                "restart = \"no\": it is never started again, and nobody notices when it is dead; \
                 kept by essential = false"
            } else {
                "restart = \"no\"; supervisord did start it again where it ended within startsecs, \
                 whatever its exit code; for what is to run once there is oneshot = true"
            };
            say_of_either(autorestart.as_ref(), Word::WasWrong, what, reader);
        }
        (Again::Always, true) => {
            end.is_loop = true;
            end.limit = Some("0".into());
            let what = "with autorestart it is started again at once and for ever, however fast it \
                        ends; kept with 1 s between: restart-limit says when to give up";
            say_of_either(least.as_ref().map(|it| &it.1), Word::WasWrong, what, reader);
        }
        (Again::Always, false) => {
            let limit = retries
                .as_ref()
                .map_or("5".into(), |(text, _)| text.in_file());
            let what = format!(
                "it hides a crash loop: what lived for startsecs was started again at once, for \
                 ever; now after 1 s to 30 s, and after {limit} in a row (restart-limit) the \
                 container ends"
            );
            say_of_either(autorestart.as_ref(), Word::WasWrong, &what, reader);
        }
        (Again::Unexpected, _) if preset.is_some() || ends_container => {
            let what = "nobody noticed when it was dead; now the container ends, with its status";
            reader.say_of_all(Word::WasWrong, what);
        }
        (Again::Unexpected, _) => {
            end.essential = Some(false);
            let what = "nobody notices when it is dead: it isn't started again after exit code 0; \
                        kept by essential = false";
            reader.say_of_all(Word::WasWrong, what);
        }
    }
    if is_at_once && again == Again::Unexpected {
        let what = "a failure was started again at once and for ever; now restart-limit ends that; \
                    for what is to run once there is oneshot = true";
        say_of_either(least.as_ref().map(|it| &it.1), Word::WasWrong, what, reader);
    } else if let Some((_, value)) = least.as_ref().filter(|_| !is_at_once) {
        let what = "drainit counts restarts in a row, and anew after a minute";
        reader.say_of(value, Word::Changed, what);
    }
    let counts = again != Again::Never && !end.is_loop;
    if let Some((text, value)) = retries.filter(|_| counts) {
        end.limit = Some(limit(&text, &value, reader));
    }
    end
}

fn say_of_either(value: Option<&Value>, word: Word, what: &str, reader: &mut Reader) {
    match value {
        Some(value) => reader.say_of(value, word, what),
        None => reader.say_of_all(word, what),
    }
}

fn autorestart(reader: &mut Reader) -> (Again, Option<Value>) {
    let Some(value) = reader.value("autorestart") else {
        return (Again::Unexpected, None);
    };
    let Some(literal) = value.text.literal() else {
        let what = "restart has other words than autorestart; \"always\" is taken";
        reader.say_of(&value, Word::Changed, what);
        return (Again::Always, Some(value));
    };
    let again = match boolean(&literal) {
        Some(true) => Again::Always,
        Some(false) => Again::Never,
        None => {
            if literal.to_lowercase() != "unexpected" {
                let what = "it is neither true, false nor unexpected; supervisord doesn't start \
                            with it, and it is left out";
                reader.say_of(&value, Word::WasWrong, what);
            }
            Again::Unexpected
        }
    };
    (again, Some(value))
}

/// `startretries`, as `restart-limit`, whose 0 is no end.
fn limit(text: &Text, value: &Value, reader: &mut Reader) -> Text {
    let Some(literal) = text.literal() else {
        return text.clone();
    };
    match literal.parse::<i64>() {
        Ok(..=0) => {
            reader.say_of(
                value,
                Word::Changed,
                "once, as restart-limit = 0 has no end",
            );
            "1".into()
        }
        Ok(number @ 1..=1_000_000) => number.to_string().as_str().into(),
        Ok(_) | Err(_) => "0".into(),
    }
}
