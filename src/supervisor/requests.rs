//! What other processes of the container ask, and the answers.

use super::Supervisor;
use super::look::held_by;
use crate::control::protocol::{Answer, Request};
use crate::control::server::{Asked, Server};
use crate::control::status::{ServiceStatus, Status};
use crate::core::event::{Command, Event, Scope, State, StopRequest};
use crate::core::plan::ServiceId;
use crate::sys::sockets;

impl Supervisor {
    /// Answers those that have asked.
    pub(super) fn answer_requests(&mut self) {
        let requests = self.control.as_ref().map(Server::requests);
        let asked: Vec<Asked> = requests.into_iter().flatten().collect();
        // Looked up once, however many ask.
        let mut status = None;
        for asked in asked {
            let answer = match &asked.request {
                Request::Ready => {
                    self.tell(Event::HealthAsked);
                    Answer::Health(self.health())
                }
                Request::Started => Answer::Health(self.health()),
                Request::Status => {
                    Answer::Status(status.get_or_insert_with(|| self.status()).clone())
                }
                Request::Drain => {
                    status = None;
                    self.tell(Event::StopRequested(StopRequest::Command));
                    Answer::Begun {
                        names: Vec::new(),
                        said: String::new(),
                    }
                }
                Request::Command(command, name) => {
                    status = None;
                    self.command(*command, name)
                }
            };
            if let Some(server) = &self.control {
                server.answer(&asked, &answer);
            }
        }
    }

    /// Has the services of that name do this.
    fn command(&mut self, command: Command, name: &str) -> Answer {
        let services = self.config.services.each();
        let named: Vec<(ServiceId, String)> = services
            .filter(|(_, it)| it.name == name || it.instance_of.as_deref() == Some(name))
            .map(|(id, service)| (id, service.name.clone()))
            .collect();
        if named.is_empty() {
            let known = self.config.services.iter();
            let known: Vec<&str> = known.map(|service| service.name.as_str()).collect();
            return Answer::Refused(format!(
                "there is no service {name}; there are {}",
                known.join(", ")
            ));
        }
        if self.machine.stopping_since().is_some() {
            return Answer::Refused("all stops".to_owned());
        }
        let is_for_running = matches!(command, Command::Reload | Command::Reopen);
        let runs = |(id, _): &(ServiceId, String)| self.machine.state(*id) == State::Serving;
        if is_for_running && !named.iter().any(runs) {
            return Answer::Refused(format!("{name} isn't ready"));
        }
        self.overheard = Some(Vec::new());
        for (id, _) in &named {
            self.tell(Event::Commanded(*id, command));
        }
        Answer::Begun {
            names: named.into_iter().map(|(_, name)| name).collect(),
            said: self.overheard.take().unwrap_or_default().join("\n"),
        }
    }

    /// How each service is.
    fn status(&mut self) -> Status {
        let now = self.now();
        let left = self.machine.stops_until().map(|until| until.since(now));
        let ids: Vec<ServiceId> = self.config.services.ids().collect();
        Status {
            health: self.health(),
            left,
            services: ids.into_iter().map(|id| self.service_status(id)).collect(),
        }
    }

    fn service_status(&mut self, id: ServiceId) -> ServiceStatus {
        let main = self.mains.get(id);
        let pid = main.and_then(|main| main.ids.pid);
        let started_at = main.map(|main| main.started_at);
        let up = started_at.filter(|_| pid.is_some());
        let record = self.record.services.get(id);
        ServiceStatus {
            name: self.name(id),
            state: self.machine.state(id),
            pid,
            up: up.map(|at| self.now().since(at)),
            restarts: record.map_or(0, |record| record.restarts),
            last: record
                .and_then(|record| record.last)
                .map_or_else(String::new, |status| status.to_string()),
            listening: self.listening(id),
        }
    }

    /// Where it listens, as far as that can be seen.
    fn listening(&mut self, id: ServiceId) -> Vec<String> {
        let table = self.table();
        let its = table.of(Scope::Service(id));
        let mut inodes = held_by(&table, &its).inodes;
        if let Some(main) = self.mains.get(id) {
            // Of who can't be looked into this was found by other means.
            inodes.extend(&main.seen.listeners);
        }
        sockets::places(&inodes).unwrap_or_default()
    }
}
