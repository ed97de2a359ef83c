//! Signals by name and number, and what a received one means.
//!
//! This module decides what a signal *asks for*; what is done about it is the
//! core's affair (`core`). How they come in is in `sys`.

use std::fmt;
use std::str::FromStr;

/// A signal, by its number on this machine: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

/// The named signals, as signal(7) lists them.
const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The first real-time signal as users, systemd and glibc count them. Musl
/// counts from 35, so its own constant would make RTMIN+3 another signal.
const RTMIN: i32 = 34;

/// The last real-time signal.
const RTMAX: i32 = 64;

impl Signal {
    /// SIGHUP: reload.
    pub const HUP: Self = Self(libc::SIGHUP);
    /// SIGINT: Ctrl-C; what lighttpd takes as "finish, then stop".
    pub const INT: Self = Self(libc::SIGINT);
    /// SIGQUIT: what nginx and php-fpm take as "finish, then stop".
    pub const QUIT: Self = Self(libc::SIGQUIT);
    /// SIGKILL.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// SIGUSR1: reopen the log files; what haproxy takes as "finish, then stop".
    pub const USR1: Self = Self(libc::SIGUSR1);
    /// SIGUSR2: php-fpm and haproxy reload at it.
    pub const USR2: Self = Self(libc::SIGUSR2);
    /// SIGTERM.
    pub const TERM: Self = Self(libc::SIGTERM);
    /// SIGCHLD: a child changed its state.
    pub const CHLD: Self = Self(libc::SIGCHLD);
    /// SIGSTOP.
    pub const STOP: Self = Self(libc::SIGSTOP);
    /// SIGCONT: go on after SIGSTOP.
    pub const CONT: Self = Self(libc::SIGCONT);
    /// SIGTSTP: Ctrl-Z.
    pub const TSTP: Self = Self(libc::SIGTSTP);
    /// SIGTTIN: a background process reads from the terminal.
    pub const TTIN: Self = Self(libc::SIGTTIN);
    /// SIGTTOU: a background process writes to the terminal.
    pub const TTOU: Self = Self(libc::SIGTTOU);
    /// SIGWINCH: what apache takes as "finish, then stop".
    pub const WINCH: Self = Self(libc::SIGWINCH);
    /// SIGPWR: the stop signal of LXC.
    pub const PWR: Self = Self(libc::SIGPWR);
    /// RTMIN+3: the stop signal for a systemd, sent by `podman run --systemd`.
    pub const RTMIN_3: Self = Self(RTMIN + 3);

    /// The signal of that number, if there is one.
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=RTMAX).contains(&number).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => write!(f, "SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl FromStr for Signal {
    type Err = String;

    /// `TERM`, `SIGTERM`, `15`, `RTMIN+3`, in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(*number));
        }
        let number = match name {
            "RTMIN" => Some(RTMIN),
            "RTMAX" => Some(RTMAX),
            _ => {
                if let Some(offset) = name.strip_prefix("RTMIN+") {
                    offset.parse().ok().and_then(|n: i32| RTMIN.checked_add(n))
                } else if let Some(offset) = name.strip_prefix("RTMAX-") {
                    offset.parse().ok().and_then(|n: i32| RTMAX.checked_sub(n))
                } else {
                    name.parse().ok()
                }
            }
        };
        number
            .and_then(Self::from_number)
            .ok_or_else(|| format!("'{text}' is no signal (TERM, SIGTERM, 15, RTMIN+3)"))
    }
}

/// What a received signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Stop as the runtime asks it.
    Stop,
    /// Stop as somebody at the keyboard asks it.
    Interrupt,
    /// Read the configuration anew.
    Reload,
    /// Open the log files anew.
    Reopen,
    /// Nothing to us: it is for the services that know what to do with it.
    Forward,
}

/// What a signal's meaning depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// The platform's own stop signal is SIGINT (Fly).
    pub interrupt_stops: bool,
    /// There is one command, and it is no preset: as with tini, SIGINT is its.
    pub plain_command: bool,
    /// A server runs whose images have this signal as their stop signal: SIGWINCH is
    /// apache's, unless a terminal has changed its size, and SIGUSR1 haproxy's.
    pub image_stops: bool,
}

/// What a signal means.
pub fn meaning(signal: Signal, surroundings: Surroundings) -> Meaning {
    match signal {
        Signal::TERM | Signal::QUIT | Signal::PWR | Signal::RTMIN_3 => Meaning::Stop,
        Signal::INT if surroundings.interrupt_stops => Meaning::Stop,
        Signal::INT if !surroundings.plain_command => Meaning::Interrupt,
        Signal::WINCH | Signal::USR1 if surroundings.image_stops => Meaning::Stop,
        Signal::HUP => Meaning::Reload,
        Signal::USR1 => Meaning::Reopen,
        _ => Meaning::Forward,
    }
}

/// `--rewrite FROM=TO`: a signal taken for another one, or (`None`) dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// As it came.
    pub from: Signal,
    /// As it is taken; `None` drops it.
    pub to: Option<Signal>,
}

impl FromStr for Rewrite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once('=').ok_or_else(|| {
            format!("'{text}' is no rewrite (FROM=TO, as in HUP=QUIT or USR2=none)")
        })?;
        let to = if to.eq_ignore_ascii_case("none") {
            None
        } else {
            Some(to.parse()?)
        };
        Ok(Self {
            from: from.parse()?,
            to,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_and_written() {
        for (text, number, name) in [
            ("TERM", 15, "SIGTERM"),
            ("sigquit", 3, "SIGQUIT"),
            ("9", 9, "SIGKILL"),
            ("RTMIN+3", 37, "SIGRTMIN+3"),
            ("SIGRTMAX-27", 37, "SIGRTMIN+3"),
            ("37", 37, "SIGRTMIN+3"),
        ] {
            let signal: Signal = text.parse().unwrap();
            assert_eq!(
                (signal.number(), signal.to_string().as_str()),
                (number, name)
            );
        }
        for text in ["", "0", "65", "-1", "TREM", "RTMIN+31", "RTMIN+2147483647"] {
            assert!(
                text.parse::<Signal>().unwrap_err().contains("is no signal"),
                "{text}"
            );
        }
    }

    #[test]
    fn rewrites_are_read() {
        let rewrite: Rewrite = "15=3".parse().unwrap();
        assert_eq!(
            (rewrite.from, rewrite.to),
            (Signal::TERM, Some(Signal::QUIT))
        );
        assert_eq!("HUP=none".parse::<Rewrite>().unwrap().to, None);
        assert!("HUP".parse::<Rewrite>().is_err());
        assert!("HUP=NIX".parse::<Rewrite>().is_err());
    }

    #[test]
    fn stop_requests_mean_the_same_and_the_rest_depends_on_who_is_there() {
        let services = Surroundings::default();
        for signal in [Signal::TERM, Signal::QUIT, Signal::PWR, Signal::RTMIN_3] {
            assert_eq!(meaning(signal, services), Meaning::Stop);
        }
        assert_eq!(meaning(Signal::INT, services), Meaning::Interrupt);
        assert_eq!(meaning(Signal::WINCH, services), Meaning::Forward);
        let fly = Surroundings {
            interrupt_stops: true,
            ..services
        };
        assert_eq!(meaning(Signal::INT, fly), Meaning::Stop);
        let plain = Surroundings {
            plain_command: true,
            ..services
        };
        assert_eq!(meaning(Signal::INT, plain), Meaning::Forward);
        assert_eq!(meaning(Signal::USR1, services), Meaning::Reopen);
        let image = Surroundings {
            image_stops: true,
            ..services
        };
        assert_eq!(meaning(Signal::WINCH, image), Meaning::Stop);
        assert_eq!(meaning(Signal::USR1, image), Meaning::Stop);
        assert_eq!(meaning(Signal::HUP, image), Meaning::Reload);
    }
}
