//! Users and groups.

use std::path::PathBuf;

use nix::unistd::{Gid, Uid};

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: Uid,
    /// The user's first group, or the one that was asked for.
    pub gid: Gid,
    /// The supplementary groups.
    pub groups: Vec<Gid>,
    /// The user's name, where it has one.
    pub name: Option<String>,
    /// The user's home directory, where it has one.
    pub home: Option<PathBuf>,
}
