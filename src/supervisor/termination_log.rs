//! The file in which a runtime looks for what a container has to say of its end.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use log::debug;

use crate::report::logger::OURSELVES;

/// Writes a message to it. It costs nothing if that can't be done.
pub(super) fn write(path: &Path, message: &str) {
    if let Err(error) = try_to_write(path, message) {
        debug!(target: OURSELVES, "no message in {}: {error}", path.display());
    }
}

/// Only the runtime makes that file. Never waits, whatever there is in its place, and
/// follows no link.
fn try_to_write(path: &Path, message: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    file.write_all(message.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_file_that_is_there_is_written_and_its_old_text_goes() {
        let directory = std::env::temp_dir().join(format!("drainit-end-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let [file, none, link, fifo] =
            ["file", "none", "link", "fifo"].map(|it| directory.join(it));
        fs::write(&file, "longer than what comes").unwrap();
        write(&file, "message");
        assert_eq!(fs::read_to_string(&file).unwrap(), "message");

        symlink(&file, &link).unwrap();
        let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        for path in [&none, &link, &fifo, &directory] {
            assert!(try_to_write(path, "x").is_err(), "{}", path.display());
            write(path, "x");
        }
        assert!(!none.exists());
        assert_eq!(fs::read_to_string(&file).unwrap(), "message");
        fs::remove_dir_all(&directory).unwrap();
    }
}
