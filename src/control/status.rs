//! How each service is: as it is sent, and as people and programs read it.

use std::fmt::Write as _;
use std::time::Duration;

use super::protocol::{health_of, health_word, milliseconds};
use crate::core::event::{Health, State};
use crate::json;
use crate::sys::process::Pid;

/// How the container is, and each of its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The container.
    pub health: Health,
    /// Where it stops: in how long drainit exits, at the latest.
    pub left: Option<Duration>,
    /// In the order of starting.
    pub services: Vec<ServiceStatus>,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub state: State,
    /// Its main process.
    pub pid: Option<Pid>,
    /// Since when that runs.
    pub up: Option<Duration>,
    /// How often it was started again.
    pub restarts: u32,
    /// How its main process ended last; empty if none has.
    pub last: String,
    /// Where it listens, such as `tcp:80`.
    pub listening: Vec<String>,
}

const STATES: [State; 7] = [
    State::Waiting,
    State::Starting,
    State::Serving,
    State::Draining,
    State::Restarting,
    State::Stopped,
    State::Ended,
];

/// The word for how far a service is.
pub fn state_word(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Starting => "starting",
        State::Serving => "serving",
        State::Draining => "draining",
        State::Restarting => "restarting",
        State::Stopped => "stopped",
        State::Ended => "ended",
    }
}

impl Status {
    /// A line for the container, and one for each service, of fields with tabs between.
    pub(super) fn encode(&self) -> String {
        let left = self.left.map(milliseconds).unwrap_or_default();
        let mut text = format!("{}\t{left}", health_word(self.health));
        for service in &self.services {
            let listening: Vec<String> = service.listening.iter().map(|it| plain(it)).collect();
            let _ = write!(
                text,
                "\n{}\t{}\t{}\t{}\t{}\t{}\t{}",
                plain(&service.name),
                state_word(service.state),
                service.pid.map(|pid| pid.to_string()).unwrap_or_default(),
                service.up.map(milliseconds).unwrap_or_default(),
                service.restarts,
                plain(&service.last),
                listening.join(",")
            );
        }
        text
    }

    /// A last line that was cut is left out.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (health, left) = lines.next()?.split_once('\t')?;
        Some(Self {
            health: health_of(health)?,
            left: length(left),
            services: lines.map_while(ServiceStatus::decode).collect(),
        })
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&ServiceStatus> {
        self.services.iter().find(|service| service.name == name)
    }

    /// For people: it fits 80 columns where names and addresses are short.
    pub fn table(&self) -> String {
        let mut text = health_word(self.health).to_owned();
        if let Some(left) = self.left {
            let _ = write!(text, ", {} s left", left.as_secs());
        }
        text.push('\n');
        let names = self.services.iter().map(|it| it.name.chars().count());
        let width = names.max().unwrap_or_default().max("SERVICE".len());
        let mut line = |cells: [&str; 7]| {
            let [name, state, pid, up, restarts, last, listening] = cells;
            let row = format!(
                "{name:<width$}  {state:<10}  {pid:>7}  {up:>6}  {restarts:>8}  {last:<10}  {listening}"
            );
            text.push_str(row.trim_end());
            text.push('\n');
        };
        line([
            "SERVICE",
            "STATE",
            "PID",
            "UP",
            "RESTARTS",
            "LAST",
            "LISTENING",
        ]);
        for it in &self.services {
            line([
                &it.name,
                state_word(it.state),
                &it.pid.map_or("-".to_owned(), |pid| pid.to_string()),
                &it.up.map_or("-".to_owned(), short),
                &it.restarts.to_string(),
                if it.last.is_empty() { "-" } else { &it.last },
                &it.listening.join(" "),
            ]);
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> String {
        let number = |length: Option<Duration>| length.map_or("null".to_owned(), json::seconds);
        let services: Vec<String> = self
            .services
            .iter()
            .map(|it| {
                let listening: Vec<String> =
                    it.listening.iter().map(|at| json::string(at)).collect();
                format!(
                    r#"{{"name":{},"state":"{}","pid":{},"uptime_s":{},"restarts":{},"last":{},"listening":[{}]}}"#,
                    json::string(&it.name),
                    state_word(it.state),
                    it.pid.map_or("null".to_owned(), |pid| pid.to_string()),
                    number(it.up),
                    it.restarts,
                    if it.last.is_empty() {
                        "null".to_owned()
                    } else {
                        json::string(&it.last)
                    },
                    listening.join(",")
                )
            })
            .collect();
        format!(
            "{{\"health\":\"{}\",\"left_s\":{},\"services\":[{}]}}\n",
            health_word(self.health),
            number(self.left),
            services.join(",")
        )
    }
}

impl ServiceStatus {
    fn decode(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let name = next()?.to_owned();
        let state = next()?;
        Some(Self {
            name,
            state: STATES
                .into_iter()
                .find(|known| state_word(*known) == state)?,
            pid: next()?.parse().ok().and_then(Pid::new),
            up: length(next()?),
            restarts: next()?.parse().ok()?,
            last: next()?.to_owned(),
            listening: {
                let listening = next()?.split(',').filter(|it| !it.is_empty());
                listening.map(str::to_owned).collect()
            },
        })
    }

    /// Whether it has ended with success, as a oneshot does.
    pub fn has_succeeded(&self) -> bool {
        self.state == State::Ended && self.last == "exited 0"
    }
}

/// Without what parts fields.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control() || c == ',', "?")
}

fn length(milliseconds: &str) -> Option<Duration> {
    milliseconds.parse().ok().map(Duration::from_millis)
}

/// In its largest unit that is whole, as `12s`, `5m`, `3h`, `40d`.
fn short(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let service = |name: &str, state, pid: Option<Pid>| ServiceStatus {
            name: name.to_owned(),
            state,
            pid,
            up: pid.map(|_| Duration::from_millis(4_300_500)),
            restarts: 0,
            last: String::new(),
            listening: Vec::new(),
        };
        Status {
            health: Health::Starting,
            left: None,
            services: vec![
                ServiceStatus {
                    listening: vec!["unix:/run/php-fpm.sock".to_owned()],
                    ..service("php-fpm", State::Serving, Pid::new(7))
                },
                ServiceStatus {
                    restarts: 3,
                    last: "killed by SIGKILL".to_owned(),
                    ..service("queue", State::Restarting, None)
                },
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut status = status();
        assert_eq!(Status::decode(&status.encode()), Some(status.clone()));
        status.left = Some(Duration::from_millis(1_234));
        status.health = Health::Draining;
        assert_eq!(Status::decode(&status.encode()), Some(status));
    }

    #[test]
    fn what_parts_fields_is_in_none() {
        let mut status = status();
        status.services[0].name = "a\tb\nc".to_owned();
        let decoded = Status::decode(&status.encode()).unwrap();
        assert_eq!(decoded.services.len(), 2);
        assert_eq!(decoded.services[0].name, "a?b?c");
    }

    #[test]
    fn a_line_that_was_cut_is_left_out() {
        let text = status().encode();
        let cut = text.get(..text.len() - 20).unwrap();
        assert_eq!(Status::decode(cut).unwrap().services.len(), 1);
    }

    #[test]
    fn the_table_is_aligned() {
        let expected = "\
starting
SERVICE  STATE           PID      UP  RESTARTS  LAST        LISTENING
php-fpm  serving           7     71m         0  -           unix:/run/php-fpm.sock
queue    restarting        -       -         3  killed by SIGKILL
";
        assert_eq!(status().table(), expected);
    }

    #[test]
    fn json_has_all_of_it() {
        let expected = r#"{"health":"starting","left_s":null,"services":[{"name":"php-fpm","state":"serving","pid":7,"uptime_s":4300.500,"restarts":0,"last":null,"listening":["unix:/run/php-fpm.sock"]},{"name":"queue","state":"restarting","pid":null,"uptime_s":null,"restarts":3,"last":"killed by SIGKILL","listening":[]}]}"#;
        assert_eq!(status().json().trim_end(), expected);
    }

    #[test]
    fn lengths_are_short() {
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_199, "119m"),
            (7_200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), expected);
        }
    }
}
