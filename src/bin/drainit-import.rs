//! `drainit-import`: supervisord.conf on the way in, drainit.toml on the way out. See
//! `drainit::import`.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use drainit::import::{File, Host, Source, import, matches};

/// Where supervisord looks, in its order.
const PLACES: [&str; 4] = [
    "supervisord.conf",
    "etc/supervisord.conf",
    "/etc/supervisord.conf",
    "/etc/supervisor/supervisord.conf",
];

const HELP: &str = "\
Turn a supervisord.conf into a drainit.toml

Usage: drainit-import [FILE|-]

Without FILE it is looked for where supervisord does: supervisord.conf and
etc/supervisord.conf below the working directory, /etc/supervisord.conf, and
/etc/supervisor/supervisord.conf. Run it where supervisord would run, so that the
files of [include] are there.

The new file goes to standard output. What isn't simply kept is said on standard
error, a line each: FILE:LINE: kept|changed|dropped|refused|was wrong: …

Exit codes: 0 nothing is lost; 1 something was changed, or was wrong; 2 something
was refused; 3 the file can't be read.
";

/// Nothing was imported.
const UNREADABLE: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let result = match arguments.as_slice() {
        [] => found().and_then(|path| run(Some(&path))),
        [word] if word == "-h" || word == "--help" => print(HELP),
        [word] if word == "-" => run(None),
        [word] if !word.as_encoded_bytes().starts_with(b"-") => run(Some(Path::new(word))),
        _ => Err("one FILE, or - for standard input; see drainit-import --help".to_owned()),
    };
    result.unwrap_or_else(|what| {
        say(&format!("drainit-import: {what}"));
        ExitCode::from(UNREADABLE)
    })
}

fn found() -> Result<PathBuf, String> {
    let mut places = PLACES.iter().map(PathBuf::from);
    let found = places.find(|path| path.exists());
    found.ok_or_else(|| {
        format!(
            "no FILE was given, and none of these is there: {}",
            PLACES.join(", ")
        )
    })
}

/// Imports that file, or what comes by standard input.
fn run(path: Option<&Path>) -> Result<ExitCode, String> {
    let name = path.map_or("-".into(), Path::to_string_lossy);
    let bytes = path.map_or_else(standard_input, fs::read);
    let bytes = bytes.map_err(|error| format!("{name}: {error}"))?;
    let absolute = std::path::absolute(path.unwrap_or(Path::new("-")));
    let absolute = absolute.map_err(|error| format!("{name}: {error}"))?;
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    let source = Source {
        name: &name,
        directory: &directory.to_string_lossy(),
        bytes: &bytes,
    };
    let host = Host {
        variable: &|name| std::env::var(name).ok(),
        files: &files,
    };
    let imported = import(&source, &host)?;
    for remark in &imported.remarks {
        say(remark);
    }
    print(&imported.file)?;
    Ok(ExitCode::from(imported.code))
}

fn standard_input() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files that a pattern matches, as Python's `glob` finds them, by name. What
/// can't be read is left out, as supervisord does.
fn files(pattern: &str) -> Vec<File> {
    let mut paths = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if part.contains(['*', '?', '[']) {
            paths = paths.iter().flat_map(|path| entries(path, part)).collect();
        } else {
            paths = paths.iter().map(|path| path.join(part)).collect();
        }
    }
    paths.sort();
    let files = paths.into_iter().filter_map(|path| {
        let bytes = fs::read(&path).ok()?;
        Some((path.to_string_lossy().into_owned(), bytes))
    });
    files.collect()
}

/// What a directory has that matches.
fn entries(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let matching = entries.filter(|it| matches(pattern, &it.file_name().to_string_lossy()));
    matching.map(|entry| entry.path()).collect()
}

fn print(text: &str) -> Result<ExitCode, String> {
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| format!("standard output: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn say(line: &str) {
    // Nobody is left to tell if that fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}
