//! Files by name: where a command is found.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{self, AccessFlags};

use crate::status::Failure;

/// Whether the `sbin` directories are searched, too: for presets, which live
/// there, but not for a command, which is found as a shell finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchSbin {
    /// They are.
    Yes,
    /// They aren't.
    No,
}

/// The file that a command's first word names, as execvp(3) looks it up.
pub fn find(word: &OsStr, sbin: SearchSbin) -> Result<PathBuf, Failure> {
    let named = Path::new(word);
    let candidates: Vec<PathBuf> = if word.as_encoded_bytes().contains(&b'/') {
        vec![named.to_owned()]
    } else {
        search_path(sbin)
            .into_iter()
            .map(|directory| directory.join(named))
            .collect()
    };
    let mut failure = Failure::NotFound;
    for file in candidates {
        if !file.metadata().is_ok_and(|file| !file.is_dir()) {
            continue;
        }
        if unistd::access(&file, AccessFlags::X_OK).is_ok() {
            return Ok(file);
        }
        failure = Failure::NotExecutable;
    }
    if named.is_dir() && word.as_encoded_bytes().contains(&b'/') {
        failure = Failure::NotExecutable;
    }
    Err(failure)
}

/// Whether files may be made in this directory.
pub fn may_write(directory: &Path) -> io::Result<()> {
    Ok(unistd::access(
        directory,
        AccessFlags::W_OK | AccessFlags::X_OK,
    )?)
}

fn search_path(sbin: SearchSbin) -> Vec<PathBuf> {
    // What a shell searches where there is no PATH.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if sbin == SearchSbin::Yes {
        directories.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    }
    directories
}

/// The names of all files that a preset's search can find and that begin so.
pub fn programs_beginning_with(start: &str) -> Vec<String> {
    search_path(SearchSbin::Yes)
        .into_iter()
        .filter_map(|directory| directory.read_dir().ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(start))
        .collect()
}
