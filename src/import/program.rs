//! A `[program:x]`, as services of ours.

use super::command::Command;
use super::end;
use super::reader::{Reader, Value, said};
use super::remark::{Place, Word};
use super::shlex;
use super::text::{Symbol, Text, expand};
use super::write::{self, Table};
use crate::preset::{Kind, Preset};
use crate::signal::Signal;

/// What `[supervisord]` and the listeners say of every program.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) environment: Vec<(String, Text)>,
    pub(super) user: Option<Text>,
    pub(super) nofile: Option<i64>,
    /// A listener ends the container when a program is given up.
    pub(super) ends_with_program: bool,
}

/// What one `[program:x]` becomes.
#[derive(Debug)]
pub(super) struct Program {
    /// Its name in Supervisor.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) priority: i64,
    /// What it is, or runs.
    pub(super) kind: Option<Kind>,
    /// In their order; several where each process has its number in what it runs.
    pub(super) services: Vec<(String, Table)>,
}

/// `numprocs`.
struct Count {
    text: Text,
    /// `None`: a variable says it.
    number: Option<i64>,
    value: Option<Value>,
}

/// A process of a program: what may differ with its number.
struct Process {
    /// In Supervisor.
    name: String,
    command: String,
    words: Vec<String>,
    directory: Option<Text>,
    environment: Vec<(String, Text)>,
}

/// As many as drainit takes.
const MOST_INSTANCES: i64 = 100;

/// What becomes of a program; `None` where nothing of it is in our file, which was
/// said.
pub(super) fn program(name: &str, reader: &mut Reader, common: &Common) -> Option<Program> {
    let priority = reader.integer("priority").map_or(999, |it| it.0);
    reader.names.set("program_name", name.into());
    let first = reader.integer("numprocs_start").map_or(0, |it| it.0);
    let count = count(reader);
    reader.names.set("numprocs", count.text.clone());
    let mut processes = vec![process(name, first, reader, common)?];
    let mut instances = Some(&count).filter(|count| count.number != Some(1));
    if count.number.is_none_or(|number| number > 1) {
        let written = reader.entry("process_name").map(|it| it.value.as_str());
        if !written.is_some_and(|it| it.contains("%(process_num)")) {
            let what = "supervisord doesn't start with it: process_name needs a %(process_num)d";
            say_of_count(&count, Word::WasWrong, what, reader);
        }
        if count.number.is_some_and(|number| number > MOST_INSTANCES) {
            say_of_count(
                &count,
                Word::Refused,
                "drainit has at most 100 instances",
                reader,
            );
            return None;
        }
        let second = process(name, first.saturating_add(1), reader, common)?;
        if processes.iter().any(|it| it.differs_from(&second)) {
            instances = None;
            let Some(number) = count.number else {
                let what = "each process has its number in what it runs, and drainit's instances \
                            run the same: write a service for each";
                reader.say_of_all(Word::Refused, what);
                return None;
            };
            let rest = (1..number).map(|at| first.saturating_add(at));
            processes.extend(rest.filter_map(|number| process(name, number, reader, common)));
            let what = "each process has its number in what it runs, so each is a service";
            say_of_count(&count, Word::Changed, what, reader);
        } else {
            let what = format!(
                "the instances are called {name}-1, {name}-2 and so on, and {name} is all of them"
            );
            say_of_count(&count, Word::Changed, &what, reader);
        }
    }
    let several = processes.len() > 1;
    let words = processes.first().map(|it| it.words.as_slice());
    let preset = Command::new(words.unwrap_or_default()).preset();
    let kind = preset.or_else(|| Preset::by_name(name)).map(|it| it.kind);
    let is_renamed = count.number == Some(1) && processes.iter().any(|it| it.name != name);
    if let Some(value) = reader.entry("process_name").filter(|_| is_renamed) {
        let what = format!("{}: it is called {name}", said(value));
        reader.remarks.say(value.place, Word::Changed, &what);
    }
    let services = processes.into_iter().map(|process| {
        let table = table(name, &process, instances, reader, common);
        let name = if several {
            process.name
        } else {
            name.to_owned()
        };
        (name, table)
    });
    let services = services.collect();
    output(reader);
    groups(reader);
    Some(Program {
        name: name.to_owned(),
        place: reader.section.place,
        priority,
        kind,
        services,
    })
}

fn count(reader: &mut Reader) -> Count {
    match reader.number_text("numprocs") {
        Some((text, value)) => Count {
            number: text.literal().and_then(|it| it.parse().ok()),
            text,
            value: Some(value),
        },
        None => Count {
            text: "1".into(),
            number: Some(1),
            value: None,
        },
    }
}

fn say_of_count(count: &Count, word: Word, what: &str, reader: &mut Reader) {
    if let Some(value) = &count.value {
        reader.say_of(value, word, what);
    }
}

impl Process {
    /// Whether it runs something else; their names always differ.
    fn differs_from(&self, other: &Self) -> bool {
        (&self.command, &self.directory, &self.environment)
            != (&other.command, &other.directory, &other.environment)
    }
}

/// The process of that number.
fn process(program: &str, number: i64, reader: &mut Reader, common: &Common) -> Option<Process> {
    let outer = reader.names.clone();
    reader.names.number = Some(number);
    let mut environment = common.environment.clone();
    if let Some(value) = reader.value("environment") {
        let own = reader.environment(&value);
        reader.names.set_variables(&own);
        environment.retain(|(key, _)| own.iter().all(|(own, _)| own != key));
        environment.extend(own);
    }
    let directory = directory(reader);
    let name = reader
        .value("process_name")
        .and_then(|it| it.text.literal());
    let command = command(reader);
    reader.names = outer;
    let (command, words) = command?;
    Some(Process {
        name: name.unwrap_or_else(|| program.to_owned()),
        command,
        words,
        directory,
        environment,
    })
}

/// Where it runs; `None` as well where that is a path from wherever supervisord was.
fn directory(reader: &mut Reader) -> Option<Text> {
    let value = reader.value("directory")?;
    let is_absolute = |first: &Symbol| matches!(first, Symbol::Char('/') | Symbol::Variable(_));
    if !value.text.0.first().is_some_and(is_absolute) {
        let what = "drainit wants a path from the root";
        reader.say_of(&value, Word::Refused, what);
        return None;
    }
    Some(value.text)
}

/// A command as our file has it, and its words; `None` where it can't be there, which
/// was said.
fn command(reader: &mut Reader) -> Option<(String, Vec<String>)> {
    let Some(entry) = reader.entry("command") else {
        reader.say_of_all(Word::Refused, "it has no command");
        return None;
    };
    let said = said(entry);
    let mut refuse = |what: &str| {
        let what = format!("{said}: {what}");
        reader.remarks.say(entry.place, Word::Refused, &what);
        None
    };
    let line = match expand(&entry.value.as_str().into(), &reader.names) {
        Ok(line) => line,
        Err(what) => return refuse(&format!("{what}; supervisord doesn't start with it")),
    };
    let words = match shlex::words(&line) {
        Ok(words) => words,
        Err(what) if entry.has_comment => {
            return refuse(&format!(
                "{what}: a ; or # behind a space begins a comment, also within quotes; \
                 supervisord never ran it"
            ));
        }
        Err(what) => return refuse(&format!("{what}; supervisord never ran it")),
    };
    let plain: Vec<String> = words.iter().map(|it| it.text.plain("V")).collect();
    let is = Command::new(&plain);
    if is.is_pidproxy() {
        return refuse(
            "pidproxy: drainit watches a program that goes to the background only where it is a \
             preset; run it in the foreground",
        );
    }
    if let Some(fix) = is.goes_to_background() {
        return refuse(&format!(
            "it goes to the background, where nobody sees its end: {fix}"
        ));
    }
    let (written, is_one_word) = write::command(&line, &words);
    let mut say = |word, what: &str| {
        reader
            .remarks
            .say(entry.place, word, &format!("{said}: {what}"));
    };
    if is_one_word {
        say(
            Word::Changed,
            "a variable that supervisord split into words is one word",
        );
    }
    if is.is_shell_without_exec() {
        say(
            Word::WasWrong,
            "the shell stays, and passes no signal on; drainit also asks what runs below it; \
             leave the shell out, or write exec",
        );
    }
    if is.asks_supervisor() {
        say(Word::WasWrong, "no supervisord will be there for it to ask");
    }
    if is.script().is_none() && plain.iter().any(|word| word.contains('$')) {
        say(
            Word::WasWrong,
            "supervisord leaves a $ as it is, and so does drainit",
        );
    }
    Some((written, plain))
}

fn table(
    name: &str,
    process: &Process,
    instances: Option<&Count>,
    reader: &mut Reader,
    common: &Common,
) -> Table {
    let command = Command::new(&process.words);
    let preset = command.preset().or_else(|| Preset::by_name(name));
    let end = end::decide(&command, preset, reader, common.ends_with_program);
    let mut table = Table::default();
    table.set("command", &process.command);
    if end.is_oneshot {
        table.set("oneshot", "true");
    }
    enabled(instances, reader, &mut table);
    match instances {
        Some(Count {
            number: None, text, ..
        }) => table.set_text("instances", text),
        Some(Count {
            number: Some(number @ 2..),
            ..
        }) => {
            table.set("instances", &number.to_string());
        }
        _ => {}
    }
    user(reader, common, &mut table);
    if let Some(directory) = &process.directory {
        table.set_text("directory", directory);
    }
    if !process.environment.is_empty() {
        table.set_pairs("environment", &process.environment);
    }
    if let Some(nofile) = common.nofile {
        table.set("nofile", &nofile.to_string());
    }
    stop(preset, reader, &mut table);
    end.write(&mut table);
    if let Some(value) = reader.value("umask") {
        let what = "drainit sets none: sh -c 'umask …; exec …' does";
        reader.say_of(&value, Word::Refused, what);
    }
    table
}

/// `autostart`.
fn enabled(instances: Option<&Count>, reader: &mut Reader, table: &mut Table) {
    let variable = reader.value("autostart");
    let variable = variable.filter(|value| value.text.literal().is_none());
    let is_false = match &variable {
        Some(_) => None,
        None => reader.boolean("autostart").filter(|it| !it.0),
    };
    if let Some(count) = instances.filter(|count| count.number.is_some_and(|it| it < 1)) {
        table.set("enabled", "false");
        let what = "none is started: enabled = false";
        say_of_count(count, Word::Kept, what, reader);
    } else if let Some(value) = variable {
        table.set_text("enabled", &value.text);
        reader.say_of(&value, Word::Kept, "enabled is what that variable says");
    } else if let Some((_, value)) = is_false {
        table.set("enabled", "false");
        reader.say_of(&value, Word::Kept, "enabled = false: it isn't started");
    }
}

fn user(reader: &mut Reader, common: &Common, table: &mut Table) {
    let is_root = |user: &Text| matches!(user.literal().as_deref(), Some("root" | "0"));
    let own = reader.value("user");
    if let Some(value) = own.as_ref().filter(|it| !is_root(&it.text)) {
        let what = "HOME, USER and LOGNAME are that user's too, which supervisord doesn't set";
        reader.say_of(value, Word::Changed, what);
    }
    let user = own.map(|it| it.text).or_else(|| common.user.clone());
    if let Some(user) = user.filter(|user| !is_root(user)) {
        table.set_text("user", &user);
    }
}

/// The stop signal, and for how long it is waited.
fn stop(preset: Option<&'static Preset>, reader: &mut Reader, table: &mut Table) {
    let given = reader.value("stopsignal");
    let signal = given.as_ref().and_then(|it| it.text.literal());
    let signal = signal.and_then(|it| it.trim().parse::<Signal>().ok());
    let bare = |signal: Signal| {
        let name = signal.to_string();
        let number = signal.number().to_string();
        name.strip_prefix("SIG").map_or(number, str::to_owned)
    };
    match (&given, signal, preset) {
        (None, _, Some(preset)) => {
            let what = format!(
                "supervisord stopped it by TERM, which cuts its requests; drainit by {}, and lets \
                 them finish",
                bare(preset.stop)
            );
            reader.say_of_all(Word::WasWrong, &what);
        }
        (Some(value), Some(signal @ (Signal::TERM | Signal::INT)), Some(preset)) => {
            let what = format!(
                "{} cuts its requests; drainit stops it by {}",
                bare(signal),
                bare(preset.stop)
            );
            reader.say_of(value, Word::WasWrong, &what);
        }
        (Some(_), Some(signal), Some(preset)) if signal == preset.stop => {}
        (None, _, None) | (Some(_), Some(Signal::TERM), None) => {}
        (Some(_), Some(signal), _) => table.set_string("stop-signal", &bare(signal)),
        (Some(value), None, _) if value.text.literal().is_none() => {
            table.set_text("stop-signal", &value.text);
        }
        (Some(value), None, _) => {
            let what = "it is no signal; supervisord doesn't start with it, and it is left out";
            reader.say_of(value, Word::WasWrong, what);
        }
    }
    let Some((mut seconds, value)) = reader.number_text("stopwaitsecs") else {
        return;
    };
    match seconds.literal().and_then(|it| it.parse::<i64>().ok()) {
        Some(..=0) => {
            reader.say_of(&value, Word::Changed, "stop-timeout is 1 s at least");
            seconds = "1".into();
        }
        Some(10..) => {
            let what = "the runtime kills all before: Docker after 10 s, Kubernetes after 30 s; \
                        where it is to wait, say so to the runtime, and to drainit by grace-period";
            reader.say_of(&value, Word::WasWrong, what);
        }
        _ => {}
    }
    table.set_string("stop-timeout", &(seconds.in_file() + "s"));
}

/// Where its output goes, which in our place is always ours.
fn output(reader: &mut Reader) {
    const OURS: [[&str; 4]; 2] = [
        [
            "/dev/stdout",
            "/dev/fd/1",
            "/proc/self/fd/1",
            "/proc/1/fd/1",
        ],
        [
            "/dev/stderr",
            "/dev/fd/2",
            "/proc/self/fd/2",
            "/proc/1/fd/2",
        ],
    ];
    let redirected = reader.boolean("redirect_stderr").filter(|it| it.0);
    let streams = [("stdout", "standard output"), ("stderr", "standard error")];
    let mut without_file = Vec::new();
    for ((key, ours), paths) in streams.into_iter().zip(OURS) {
        if let Some((true, value)) = reader.boolean(&format!("{key}_syslog")) {
            let what = "drainit writes to no syslog; it goes to our standard output";
            reader.say_of(&value, Word::Refused, what);
        }
        if let Some((_, value)) = redirected.as_ref().filter(|_| key == "stderr") {
            let what = "standard error goes to ours, which is in the container's log too";
            reader.say_of(value, Word::Changed, what);
            continue;
        }
        let Some(value) = reader.value(&format!("{key}_logfile")) else {
            without_file.push(ours);
            continue;
        };
        let literal = value.text.literal().unwrap_or_default();
        if literal.to_lowercase() == "syslog" {
            let what = format!("drainit writes to no syslog; it goes to our {ours}");
            reader.say_of(&value, Word::Refused, &what);
        } else if !paths.contains(&literal.as_str()) {
            let what = format!("it goes to our {ours}");
            reader.say_of(&value, Word::Changed, &what);
        }
    }
    if !without_file.is_empty() {
        let what = format!(
            "its {} went to a file of supervisord's; now to ours",
            without_file.join(" and its ")
        );
        reader.say_of_all(Word::Changed, &what);
    }
}

/// `stopasgroup` and `killasgroup`.
fn groups(reader: &mut Reader) {
    let stops = reader.boolean("stopasgroup").filter(|it| it.0);
    if let Some((_, value)) = &stops {
        let what = "the stop signal goes to the program, and below a shell to what runs there; at \
                    its deadline all that it left is forced";
        reader.say_of(value, Word::Changed, what);
    }
    if let Some((is_true, value)) = reader.boolean("killasgroup") {
        if stops.is_some() && !is_true {
            let what = "supervisord doesn't start with it, where stopasgroup is true";
            reader.say_of(&value, Word::WasWrong, what);
        }
        let what = "at its deadline all that it left is killed";
        let word = if is_true { Word::Kept } else { Word::Changed };
        reader.say_of(&value, word, what);
    }
}
