//! supervisord.conf, turned into a file of ours, and what was wrong in it.
//!
//! Text and environment in, text out: nothing here reads a file. How Supervisor reads
//! its own (`ini`, `text`, `shlex`) is taken from its source, 4.2 and 4.3, and a test
//! compares both on many files.
//!
//! Deliberately absent: what drainit has no word for isn't imitated by a shell around
//! a command; it is refused by name.

mod command;
mod end;
mod glob;
mod ini;
mod known;
mod order;
mod program;
mod reader;
mod remark;
mod shlex;
mod text;
mod write;

pub use glob::matches;

use crate::config::value::alike;

use command::Command;
use ini::Ini;
use program::{Common, Program};
use reader::{Reader, said};
use remark::{Place, Remarks, Word};
use text::{Names, Text, expand};

/// The file to be imported.
pub struct Source<'a> {
    /// As it is to be named.
    pub name: &'a str,
    /// The directory that it is in, from the root.
    pub directory: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// A file's path, and what it holds.
pub type File = (String, Vec<u8>);

/// What the importer asks where it runs.
pub struct Host<'a> {
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The files that a pattern of `[include]` matches, in the order of their names.
    pub files: &'a dyn Fn(&str) -> Vec<File>,
}

/// What became of a file.
pub struct Import {
    /// Our file.
    pub file: String,
    /// `FILE:LINE: kept|changed|dropped|refused|was wrong: …`, each for what isn't
    /// simply kept.
    pub remarks: Vec<String>,
    /// 0 nothing lost, 1 changed or wrong, 2 refused in part.
    pub code: u8,
}

/// Turns a supervisord.conf into a file of ours.
///
/// # Errors
///
/// `FILE:LINE: …` where Supervisor can't read it either.
pub fn import(source: &Source, host: &Host) -> Result<Import, String> {
    let mut remarks = Remarks::default();
    let mut ini = Ini::default();
    read(
        &mut ini,
        source.name,
        source.directory,
        source.bytes,
        &mut remarks,
    )?;
    include(&mut ini, source, host, &mut remarks)?;
    check_words(&ini, &mut remarks);

    let mut names = Names::new(source.directory);
    let mut common = supervisord(&ini, &mut names, &mut remarks);
    // Docker and Kubernetes set it.
    names.set("host_node_name", Text::variable("HOSTNAME"));
    let has_prefix = listeners(&ini, &names, &mut common, &mut remarks);
    refuse_sections(&ini, &mut remarks);
    summarise(&ini, &mut remarks);

    let groups = order::groups(&ini, &names, &mut remarks);
    let mut programs = Vec::new();
    for section in &ini.sections {
        let Some(written) = section.name_of("program") else {
            continue;
        };
        let name = ini::strip(written);
        let group = groups
            .iter()
            .find(|it| it.programs.iter().any(|it| it == name));
        let mut names = names.clone();
        names.set("group_name", group.map_or(name, |it| &it.name).into());
        let mut reader = Reader {
            ini: &ini,
            section,
            names,
            remarks: &mut remarks,
        };
        programs.extend(program::program(name, &mut reader, &common));
    }
    order::order(&mut programs, &groups, &ini, &mut remarks);
    let file = write_file(source.name, has_prefix, &programs, &mut remarks);
    Ok(Import {
        file,
        remarks: remarks.lines(),
        code: remarks.code(),
    })
}

fn read(
    ini: &mut Ini,
    name: &str,
    directory: &str,
    bytes: &[u8],
    remarks: &mut Remarks,
) -> Result<(), String> {
    let file = remarks.files.len();
    remarks.files.push(name.to_owned());
    ini.read(file, bytes, remarks)
        .map_err(|(line, what)| format!("{name}:{line}: {what}"))?;
    for entry in ini.sections.iter().flat_map(|it| &it.entries) {
        if entry.place.file == file && entry.value.contains("%(here)s") {
            let what = format!(
                "{}: %(here)s is {directory}, where the file is now",
                said(entry)
            );
            remarks.say(entry.place, Word::Kept, &what);
        }
    }
    Ok(())
}

/// `[include]`: patterns from the file's own directory. One in an included file is
/// ignored.
fn include(
    ini: &mut Ini,
    source: &Source,
    host: &Host,
    remarks: &mut Remarks,
) -> Result<(), String> {
    let Some(section) = ini.section("include") else {
        return Ok(());
    };
    let Some(entry) = section.get("files").cloned() else {
        let what = "[include]: it has no files; supervisord doesn't start with it";
        remarks.say(section.place, Word::WasWrong, what);
        return Ok(());
    };
    ini.set_here(source.directory);
    let mut names = Names::new(source.directory);
    names.set("host_node_name", Text::variable("HOSTNAME"));
    let files = expand(&entry.value.as_str().into(), &names).and_then(|files| {
        let files = files.resolved(host.variable);
        files.map_err(|name| format!("{name} isn't set here"))
    });
    let files = match files {
        Ok(files) => files,
        Err(what) => {
            remarks.say(
                entry.place,
                Word::Refused,
                &format!("{}: {what}", said(&entry)),
            );
            return Ok(());
        }
    };
    for pattern in files.split(ini::is_space).filter(|it| !it.is_empty()) {
        let pattern = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("{}/{pattern}", source.directory.trim_end_matches('/'))
        };
        let files = (host.files)(&pattern);
        if files.is_empty() {
            let what = format!(
                "{}: no file matches {pattern}; is drainit-import run where supervisord runs?",
                said(&entry)
            );
            remarks.say(entry.place, Word::WasWrong, &what);
        }
        for (path, bytes) in files {
            let directory = match path.rsplit_once('/') {
                Some(("", _)) => "/",
                Some((directory, _)) => directory,
                None => ".",
            };
            read(ini, &path, directory, &bytes, remarks)?;
            ini.set_here(directory);
        }
    }
    Ok(())
}

/// Sections and keys that supervisord doesn't know: it says nothing of them.
fn check_words(ini: &Ini, remarks: &mut Remarks) {
    for section in &ini.sections {
        if !known::is_section(&section.name) {
            let what = format!("[{}]: supervisord knows no such section", section.name);
            remarks.say(section.place, Word::WasWrong, &what);
            continue;
        }
        let Some(keys) = known::keys(&section.name) else {
            continue;
        };
        for entry in &section.entries {
            if keys.contains(&entry.key.as_str()) {
                continue;
            }
            let meant = alike(&entry.key, keys.iter().copied());
            let meant = meant.map_or(String::new(), |it| format!("; did you mean {it}?"));
            let what = format!("{}: supervisord knows no such key{meant}", said(entry));
            remarks.say(entry.place, Word::WasWrong, &what);
        }
    }
}

/// What `[supervisord]` says of every program.
fn supervisord(ini: &Ini, names: &mut Names, remarks: &mut Remarks) -> Common {
    let mut common = Common::default();
    let Some(section) = ini.section("supervisord") else {
        return common;
    };
    let mut reader = Reader {
        ini,
        section,
        names: names.clone(),
        remarks,
    };
    if let Some(value) = reader.value("environment") {
        // Expanded twice, as Supervisor does.
        match expand(&value.text, names) {
            Ok(text) => {
                let value = reader::Value { text, ..value };
                common.environment = reader.environment(&value);
                names.set_variables(&common.environment);
            }
            Err(what) => {
                let what = format!("{what}; supervisord doesn't start with it, and it is left out");
                reader.say_of(&value, Word::WasWrong, &what);
            }
        }
    }
    let is = |value: &reader::Value, names: &[&str]| {
        let literal = value.text.literal();
        literal.is_some_and(|it| names.contains(&it.as_str()))
    };
    let user = reader.value("user");
    if let Some(value) = user.filter(|it| !is(it, &["root", "0"])) {
        let what = "each service has it; HOME, USER and LOGNAME are that user's too";
        reader.say_of(&value, Word::Changed, what);
        common.user = Some(value.text);
    }
    let files = reader.integer("minfds");
    if let Some((files, value)) = files.filter(|it| it.0 > 1024) {
        reader.say_of(&value, Word::Changed, "each service has it, as nofile");
        common.nofile = Some(files);
    }
    let umask = reader.value("umask");
    if let Some(value) = umask.filter(|it| !is(it, &["022", "0022", "22"])) {
        let what = "drainit sets none: sh -c 'umask …; exec …' does";
        reader.say_of(&value, Word::Refused, what);
    }
    if let Some(value) = reader.value("directory") {
        let what = "supervisord goes there only where it goes to the background; a service has a \
                    directory of its own";
        reader.say_of(&value, Word::WasWrong, what);
    }
    common
}

/// The event listeners that drainit has words for. Whether one puts names before
/// lines.
fn listeners(ini: &Ini, names: &Names, common: &mut Common, remarks: &mut Remarks) -> bool {
    let mut has_prefix = false;
    for section in &ini.sections {
        let Some(name) = section.name_of("eventlistener") else {
            continue;
        };
        let mut names = names.clone();
        names.set("program_name", name.into());
        names.set("group_name", name.into());
        names.number = Some(0);
        let mut reader = Reader {
            ini,
            section,
            names,
            remarks,
        };
        let events = reader.value("events").map(|it| it.text.plain(""));
        let events = events.unwrap_or_default().to_uppercase();
        let mut events = events
            .split(',')
            .map(ini::strip)
            .filter(|it| !it.is_empty());
        let command = reader.value("command").map(|it| it.text);
        let words = command
            .and_then(|it| shlex::words(&it).ok())
            .unwrap_or_default();
        let words: Vec<String> = words.iter().map(|it| it.text.plain("V")).collect();
        let is_of = |prefix: &'static str| move |event: &str| event.starts_with(prefix);
        let first = events.clone().next();
        if first.is_some() && events.clone().all(is_of("PROCESS_LOG")) {
            has_prefix = true;
            reader.say_of_all(Word::Changed, "log-prefix = true puts names before lines");
        } else if first.is_some()
            && events.all(is_of("PROCESS_STATE"))
            && !Command::new(&words).tells_people()
        {
            common.ends_with_program = true;
            let what = "essential = true ends the container, with its status, when a service is \
                        given up";
            reader.say_of_all(Word::Changed, what);
        } else {
            reader.say_of_all(Word::Refused, "drainit has no event listeners");
        }
    }
    has_prefix
}

/// Sections of which nothing can be kept.
fn refuse_sections(ini: &Ini, remarks: &mut Remarks) {
    for section in &ini.sections {
        let kind = section.name.split(':').next().unwrap_or_default();
        let what = match kind {
            "fcgi-program" => "drainit opens no socket for a program",
            "inet_http_server" => {
                "drainit has no web page and no HTTP interface; `drainit status` and the like are \
                 its control"
            }
            _ => continue,
        };
        let what = format!("[{}]: {what}", section.name);
        remarks.say(section.place, Word::Refused, &what);
    }
}

/// One line for all that drainit has no need of.
fn summarise(ini: &Ini, remarks: &mut Remarks) {
    let mut dropped: Vec<(Place, String)> = Vec::new();
    let mut drop = |place: Place, what: String| {
        if dropped.iter().all(|(_, known)| *known != what) {
            dropped.push((place, what));
        }
    };
    for section in &ini.sections {
        let kind = section.name.split(':').next().unwrap_or_default();
        if [
            "unix_http_server",
            "supervisorctl",
            "rpcinterface",
            "ctlplugin",
        ]
        .contains(&kind)
        {
            drop(section.place, format!("[{}]", section.name));
        }
        let needless = |key: &str| match kind {
            "supervisord" => {
                !["directory", "environment", "minfds", "umask", "user"].contains(&key)
            }
            "program" => {
                key == "serverurl"
                    || ["_maxbytes", "_backups", "_events_enabled"]
                        .iter()
                        .any(|end| key.ends_with(end))
            }
            _ => false,
        };
        let keys = known::keys(&section.name).unwrap_or_default();
        for entry in &section.entries {
            if keys.contains(&entry.key.as_str()) && needless(&entry.key) {
                drop(entry.place, entry.key.clone());
            }
        }
    }
    let place = dropped.iter().map(|(place, _)| *place).min();
    if let Some(place) = place {
        let words: Vec<String> = dropped.into_iter().map(|(_, what)| what).collect();
        let what = format!("{}: drainit has no need of them", words.join(", "));
        remarks.say(place, Word::Dropped, &what);
    }
}

fn write_file(
    source: &str,
    has_prefix: bool,
    programs: &[Program],
    remarks: &mut Remarks,
) -> String {
    let source = source.replace(char::is_control, " ");
    let mut file = format!("# Made of {source} by drainit-import, which said what differs.\n");
    if has_prefix {
        file.push_str("log-prefix = true\n");
    }
    let mut taken: Vec<String> = Vec::new();
    for program in programs {
        for (written, table) in &program.services {
            let is_safe = |c: char| c.is_alphanumeric() || "_.-".contains(c);
            let mut name = written.replace(|c| !is_safe(c), "-");
            if name.is_empty() {
                name.push_str("service");
            }
            while taken.contains(&name) {
                name.insert(0, '-');
                name.insert_str(0, &program.name.replace(|c| !is_safe(c), "-"));
            }
            if name != *written {
                let what = format!(
                    "[program:{}]: the service {written} is {name}",
                    program.name
                );
                remarks.say(program.place, Word::Changed, &what);
            }
            file.push_str("\n[[service]]\n");
            let mut named = write::Table::default();
            named.set_string("name", &name);
            file.push_str(&named.0);
            file.push_str(&table.0);
            taken.push(name);
        }
    }
    file
}
