//! The drain marker: a file that exists while we drain.
//!
//! The containers of a pod share /dev/shm, and so the marker. Whoever drains holds
//! a shared lock on it: the last one removes it, and one that starts removes only
//! what nobody holds, left by a drainit that was killed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use log::{debug, warn};
use nix::fcntl::{Flock, FlockArg};

use crate::report::logger::OURSELVES;
use crate::sys::path;

/// How often it is tried to make it: a neighbour may remove it just then.
const ATTEMPTS: usize = 3;

/// The marker, and our hold on it.
#[derive(Debug)]
pub(super) struct DrainMarker {
    path: Option<PathBuf>,
    held: Option<Flock<File>>,
}

impl DrainMarker {
    /// One that isn't made.
    pub(super) fn new(path: Option<&Path>) -> Self {
        Self {
            path: path.map(Path::to_owned),
            held: None,
        }
    }

    /// At the start: what an earlier run left would have every response close its
    /// connection. Says so if it won't work, where it is wanted.
    pub(super) fn clear(&self, is_wanted: bool) {
        let Some(path) = &self.path else { return };
        let directory = path.parent().unwrap_or(path);
        let cleared = remove_stale(path).and_then(|()| path::may_write(directory));
        if let (Err(error), true) = (cleared, is_wanted) {
            warn!(target: OURSELVES, "the marker {} can't be made: {error}", path.display());
        }
    }

    /// Makes it, or joins those that have.
    pub(super) fn make(&mut self) {
        let Some(path) = &self.path else { return };
        for _ in 0..ATTEMPTS {
            match make_or_join(path) {
                Ok(Some(held)) => {
                    self.held = Some(held);
                    return;
                }
                Ok(None) => {}
                Err(error) => {
                    debug!(target: OURSELVES, "no marker {}: {error}", path.display());
                    return;
                }
            }
        }
    }

    /// At our end: removes it, unless a neighbour drains.
    pub(super) fn remove(&mut self) {
        if let (Some(path), Some(held)) = (&self.path, self.held.take()) {
            if held.relock(FlockArg::LockExclusiveNonblock).is_ok() {
                // If it can't be removed, the next start says so.
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Never waits, whatever there is in its place, and follows no link.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let is_held = match options().open(path) {
        Ok(file) => Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A link, or a file that isn't ours to read: no drainit made it.
        Err(_) => false,
    };
    if is_held {
        Ok(())
    } else {
        fs::remove_file(path)
    }
}

/// `None` if it was removed meanwhile.
fn make_or_join(path: &Path) -> io::Result<Option<Flock<File>>> {
    let made = options()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path);
    let file = match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match options().open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        },
        file => file?,
    };
    let Ok(held) = Flock::lock(file, FlockArg::LockSharedNonblock) else {
        return Ok(None);
    };
    let is_there = fs::symlink_metadata(path).is_ok_and(|it| {
        held.metadata()
            .is_ok_and(|own| (own.dev(), own.ino()) == (it.dev(), it.ino()))
    });
    Ok(is_there.then_some(held))
}
