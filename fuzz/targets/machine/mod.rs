//! A machine with few variables and files, and with programs of any name.

use std::path::{Path, PathBuf};

use drainit::config::cli::Cli;
use drainit::config::{self, Host};
use drainit::sys::user::Identity;
use nix::unistd::{Gid, Uid};

/// A variable.
pub fn value(name: &str) -> Option<&'static str> {
    match name {
        "A" => Some("a b"),
        "N" => Some("3"),
        "E" => Some(""),
        "Q" => Some("\"'$#\\"),
        _ => None,
    }
}

fn find_user(user: &str, group: Option<&str>) -> Result<Identity, String> {
    match user {
        "nobody" => Err("no user nobody".to_owned()),
        _ => Ok(Identity {
            uid: Uid::from_raw(33),
            gid: Gid::from_raw(if group.is_some() { 44 } else { 33 }),
            groups: Vec::new(),
            name: Some(user.to_owned()),
            home: None,
        }),
    }
}

/// What `drainit config` says of a file.
pub fn shown(bytes: &[u8]) -> Result<String, String> {
    let host = Host {
        variable: &|name| value(name).map(Into::into),
        find: &|word, _| Ok(PathBuf::from("/bin").join(word)),
        php_fpms: &|| vec!["php-fpm8.4".to_owned()],
        read: &|path| match path {
            path if path == Path::new("/etc/drainit.toml") => Ok(bytes.to_owned()),
            // A file of variables.
            _ => Ok(b"A=1\nexport B='2\n3'\n".to_vec()),
        },
        find_user: &find_user,
        user: Uid::from_raw(0),
    };
    config::show(Cli::default(), &host).map_err(|error| error.message)
}
