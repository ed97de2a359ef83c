//! The process table, as /proc shows it: `proc_pid_stat(5)`.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use crate::sys::process::Pid;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its parent's; `None` where that is outside our namespace.
    pub parent: Option<Pid>,
    /// Its process group's.
    pub group: Option<Pid>,
    /// What it has become: the name of its program, 15 characters at most.
    pub comm: String,
    /// When it started, in clock ticks since boot: with the pid it tells a
    /// process from a later one that has the same pid.
    pub started: u64,
    /// Whether it has ended and only waits to be reaped.
    pub is_zombie: bool,
}

impl Process {
    /// The process that has this pid now.
    pub fn read(pid: Pid) -> Option<Self> {
        Self::parse(&Self::stat(pid).ok()?)
    }

    /// By one read, where `fs::read` makes six.
    fn stat(pid: Pid) -> io::Result<Vec<u8>> {
        let mut stat = vec![0; 1024];
        let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut stat)?;
        stat.truncate(length);
        Ok(stat)
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The name may hold anything, also blanks and parentheses.
        let open = stat.iter().position(|byte| *byte == b'(')?;
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let number = std::str::from_utf8(stat.get(..open)?)
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let mut fields = std::str::from_utf8(stat.get(close + 1..)?)
            .ok()?
            .split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Self {
            pid: Pid::new(number)?,
            parent: Pid::new(parent),
            group: Pid::new(group),
            comm: String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned(),
            // Field 22 of the file.
            started: fields.nth(16)?.parse().ok()?,
            is_zombie: matches!(state, "Z" | "X"),
        })
    }

    /// A child of ours that /proc doesn't show; it leads its own group.
    pub fn unseen(pid: Pid, own_pid: Pid) -> Self {
        Self {
            pid,
            parent: Some(own_pid),
            group: Some(pid),
            comm: String::new(),
            started: 0,
            is_zombie: false,
        }
    }

    /// Whether this process is still there, and no zombie.
    pub fn runs(&self) -> bool {
        match Self::stat(self.pid) {
            Ok(stat) => Self::parse(&stat)
                .is_some_and(|process| process.started == self.started && !process.is_zombie),
            // Other errors, for want of descriptors, say nothing of it.
            Err(error) => {
                let gone = [Some(libc::ENOENT), Some(libc::ESRCH)];
                !gone.contains(&error.raw_os_error())
            }
        }
    }
}

/// A look at a child of ours that may be all that runs below us. It takes a
/// tenth of what going through /proc takes, as its files stay open; it is for
/// each signal that is passed on.
#[derive(Debug)]
pub struct Glance {
    /// Our children.
    ours: File,
    /// Those of the child's first thread.
    children: File,
    /// The directory of its threads.
    threads: File,
    /// What it has become.
    comm: File,
    /// What the list of our children says if it is the only one.
    alone: String,
}

impl Glance {
    /// At this child, which wasn't reaped. `None` where the kernel lists no
    /// children (`CONFIG_PROC_CHILDREN`).
    pub fn at(pid: Pid) -> Option<Self> {
        let open = |path: &str| File::open(format!("/proc/{path}")).ok();
        shows_us(Pid::own()).then_some(())?;
        Some(Self {
            ours: open("thread-self/children")?,
            children: open(&format!("{pid}/task/{pid}/children"))?,
            threads: open(&format!("{pid}/task"))?,
            comm: open(&format!("{pid}/comm"))?,
            alone: format!("{pid} "),
        })
    }

    /// Whether nothing but the child runs below us, with one thread, and what
    /// it has become will do. Each thread has children of its own.
    pub fn is_lone(&self, will_do: impl FnOnce(&str) -> bool) -> bool {
        let mut buffer = [0; 32];
        read_anew(&self.ours, &mut buffer) == Some(self.alone.as_bytes())
            && read_anew(&self.children, &mut buffer) == Some(b"")
            // A directory has a link more for each directory in it.
            && self.threads.metadata().is_ok_and(|threads| threads.nlink() == 3)
            && read_anew(&self.comm, &mut buffer)
                .and_then(|comm| std::str::from_utf8(comm.strip_suffix(b"\n")?).ok())
                .is_some_and(will_do)
    }
}

/// What a short file of /proc says now.
fn read_anew<'a>(file: &File, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let length = file.read_at(buffer, 0).ok()?;
    buffer.get(..length)
}

/// The effective user of a process.
pub fn user(pid: Pid) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// How often a process went to sleep of its own accord: once for each request,
/// at least, if it serves any.
pub fn voluntary_switches(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let key = "voluntary_ctxt_switches:";
    let count = status.lines().find_map(|line| line.strip_prefix(key))?;
    count.trim().parse().ok()
}

/// Whether /proc is our namespace's, and so its pids are ours.
fn shows_us(own_pid: Pid) -> bool {
    let own = fs::read_link("/proc/self").unwrap_or_default();
    own.as_os_str() == own_pid.to_string().as_str()
}

/// Every process below `ancestor`, which is us, zombies left out.
pub fn below(ancestor: Pid) -> Vec<Process> {
    if !shows_us(ancestor) {
        return Vec::new();
    }
    let all = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Process::read(Pid::new(pid)?)
        });
    descendants(&all.collect::<Vec<_>>(), &[ancestor])
        .into_iter()
        .filter(|process| !process.is_zombie)
        .collect()
}

/// Those of `processes` that descend from `ancestors`.
pub fn descendants(processes: &[Process], ancestors: &[Pid]) -> Vec<Process> {
    let mut known = ancestors.to_vec();
    let mut found = Vec::new();
    let mut rest: Vec<&Process> = processes.iter().collect();
    loop {
        let (children, others): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|process| process.parent.is_some_and(|parent| known.contains(&parent)));
        if children.is_empty() {
            return found;
        }
        known = children.iter().map(|process| process.pid).collect();
        found.extend(children.into_iter().cloned());
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"7 (a) (b c) S 1 5 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let process = Process::parse(stat).unwrap();
        assert_eq!(process.comm, "a) (b c");
        assert_eq!(
            (process.pid, process.parent, process.group),
            (pid(7), Some(pid(1)), Some(pid(5)))
        );
        assert_eq!((process.started, process.is_zombie), (4711, false));
        assert_eq!(Process::parse(b"7 (a"), None);
    }

    #[test]
    fn our_own_process_is_found_and_what_has_gone_is_not() {
        let own = Process::read(Pid::own()).unwrap();
        assert!(own.runs());
        assert!(user(Pid::own()).is_some());
        assert!(
            !Process {
                started: own.started + 1,
                ..own
            }
            .runs()
        );
    }

    #[test]
    fn descendants_are_those_of_any_depth() {
        let process = |number, parent| Process {
            pid: pid(number),
            parent: Pid::new(parent),
            group: None,
            comm: String::new(),
            started: 0,
            is_zombie: false,
        };
        let all = [
            process(1, 0),
            process(9, 3),
            process(3, 2),
            process(2, 1),
            process(4, 1),
        ];
        let found: Vec<Pid> = descendants(&all, &[pid(2)])
            .into_iter()
            .map(|process| process.pid)
            .collect();
        assert_eq!(found, [pid(3), pid(9)]);
    }

    fn pid(number: i32) -> Pid {
        Pid::new(number).unwrap()
    }
}
