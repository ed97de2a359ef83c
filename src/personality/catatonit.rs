//! catatonit 0.1.7, and podman's own init, which is one.

use super::getopt::{Known, Options};
use super::{Call, LICENSE, Said, Task, dropped};
use crate::config::stand_in::StandIn;
use crate::report::voice::{Happening, Voice, strerror};
use crate::signal::Signal;
use crate::sys::process::Pid;

/// podman and dockerd read this as tini's.
const VERSION: &str = "tini version 0.1.7_catatonit\n";

const USAGE: &str = "usage: catatonit [-ghLPV] [--] <progname> [<arguments>...]\n";

const HELP: &str = "
options:
  -g              Forward signals to pid1's process group.
  -h              Print this help page.
  -L              Print license information.
  -P              Run in pause mode (no program is run and quit on SIGINT).
  -V, --version   Print version information.

The source code can be found at <https://github.com/openSUSE/catatonit/>.
For bug reporting instructions, please see: <https://bugs.opensuse.org/>.
";

pub(super) fn read(call: &mut Call) -> Result<Task, Said> {
    if call.variable("CATATONIT_LOG").is_some() {
        let what = "CATATONIT_LOG is reserved for future use";
        return Err(Said::failed(line("ERROR", call.pid, what)));
    }
    let known = Known {
        short: "ghLPV",
        long: &[("version", 'V')],
        permutes: !call.is_posix(),
    };
    let mut to_group = false;
    let mut is_pause = false;
    let mut options = Options::new(&known, std::mem::take(&mut call.words));
    for option in options.by_ref() {
        let (letter, _) =
            option.map_err(|what| Said::failed(format!("{}: {what}\n{USAGE}", call.name)))?;
        match letter {
            'g' => to_group = true,
            'P' => is_pause = true,
            'h' => return Err(Said::told(format!("{USAGE}{HELP}"))),
            'L' => return Err(Said::printed(LICENSE.to_owned())),
            _ => return Err(Said::printed(VERSION.to_owned())),
        }
    }
    let command = options.operands();
    if command.is_empty() && !is_pause {
        let what = line("ERROR", call.pid, "missing program name");
        return Err(Said::failed(what + USAGE));
    }
    Ok(Task {
        command: (!is_pause).then_some(command),
        rewrites: Vec::new(),
        own_rewrites: if is_pause {
            // What ends a pause; both are a stop to us.
            let ends = |signal: &Signal| [Signal::TERM, Signal::INT].contains(signal);
            let all = (1..).map_while(Signal::from_number);
            dropped(all.filter(|signal| !ends(signal)))
        } else {
            dropped([Signal::TSTP, Signal::TTOU, Signal::TTIN])
        },
        to_group,
        parent_death_signal: None,
        success: Vec::new(),
        warning: None,
        stand_in: StandIn {
            is_subreaper: true,
            ..StandIn::plain(Voice {
                pid: call.pid,
                level: call.variable("CATATONIT_DEBUG").is_some().into(),
                warns_of_orphans: false,
                words,
                code: |_| 1,
            })
        },
    })
}

fn line(level: &str, pid: Pid, what: &str) -> String {
    format!("{level} (catatonit:{pid}): {what}\n")
}

fn words(voice: &Voice, happening: &Happening) -> Option<String> {
    let what = match happening {
        Happening::NotExecuted(_, child, error) => {
            let what = format!("failed to exec pid1: {}", strerror(error));
            return Some(line("ERROR", *child, &what));
        }
        _ if voice.level == 0 => return None,
        Happening::Started(what, pid) => format!("pid1 ({pid}) spawned: {what}"),
        Happening::ReapedOrphan(pid, status) => format!("child process {pid} {status}"),
        Happening::Came(_) | Happening::PassedOn(_) | Happening::Ended(..) => return None,
    };
    Some(line("DEBUG", voice.pid, &what))
}
