//! What a child does upon a signal, apart from how the tests were started.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Gives the child the default disposition of every signal. Below nohup, or in
/// the background of a script, SIGHUP, SIGINT and SIGQUIT are ignored, and what
/// is ignored stays so through fork and exec.
pub(crate) fn reset(command: &mut Command) {
    let reset = || {
        for signal in 1..=64 {
            // SAFETY: async-signal-safe, and installs no handler. It fails for
            // signals that can't be ignored either, or are the C library's.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: signal(2) alone is called between fork and exec.
    unsafe { command.pre_exec(reset) };
}
