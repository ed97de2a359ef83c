//! Acting: who is signalled, and who of them was reached. Only that is recorded
//! and said.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::mem;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use log::{debug, info, warn};

use super::members::{Member, Table};
use super::{Exec, Supervisor, notify, panic};
use crate::config::service::{ServiceConfig, Setting};
use crate::core::event::{Event, Force, Layer, Order, Scope, State, Timestamp};
use crate::core::plan::ServiceId;
use crate::preset::{Kind, Preset};
use crate::report::logger::OURSELVES;
use crate::report::text::{self, Line, Whom};
use crate::report::voice::Happening;
use crate::signal::Signal;
use crate::status::{Failure, Status};
use crate::sys::pidfd::PidFd;
use crate::sys::proc::{self, Glance, Handling, Process};
use crate::sys::process::{self, Pid, Program, SpawnError, Spawned, Step, Target, Terminal};
use crate::sys::sockets;
use crate::sys::user::Identity;

/// How many pidfds are held at a time: descriptors are limited. More processes
/// are looked at in /proc instead.
const PIDFDS_AT_MOST: usize = 256;

/// A script that ends so soon has had nothing to run.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What was done to the processes of a scope since its drain began.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Those whom the last order asked, and who hadn't gone at the last look.
    pub(super) awaited: Vec<Asked>,
    /// All that were signalled, sorted.
    signalled: Vec<Signalled>,
    /// The masters that were stopped for a while.
    held: Vec<Process>,
}

/// A process, and what it was sent.
#[derive(Clone, Copy, Debug)]
struct Signalled {
    pid: Pid,
    started: u64,
    had_term: bool,
}

/// A process that was asked to end.
#[derive(Debug)]
pub(super) struct Asked {
    process: Process,
    /// `None` on a kernel without pidfds, or beside hundreds.
    pidfd: Option<PidFd>,
}

impl Asked {
    pub(super) fn has_gone(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => pidfd.has_ended(),
            None => !self.process.runs(),
        }
    }

    /// Whether its end wakes us.
    pub(super) fn has_descriptor(&self) -> bool {
        self.pidfd.is_some()
    }
}

impl Told {
    fn find(&self, process: &Process) -> Result<usize, usize> {
        let key = (process.pid, process.started);
        self.signalled
            .binary_search_by_key(&key, |it| (it.pid, it.started))
    }

    fn was_asked(&self, process: &Process) -> bool {
        self.find(process).is_ok()
    }

    fn had_term(&self, process: &Process) -> bool {
        let found = self.find(process).ok();
        found
            .and_then(|at| self.signalled.get(at))
            .is_some_and(|it| it.had_term)
    }

    fn remember(&mut self, process: &Process, signal: Signal) {
        let is_term = signal == Signal::TERM;
        match self.find(process) {
            Ok(at) => {
                if let Some(signalled) = self.signalled.get_mut(at) {
                    signalled.had_term |= is_term;
                }
            }
            Err(at) => self.signalled.insert(
                at,
                Signalled {
                    pid: process.pid,
                    started: process.started,
                    had_term: is_term,
                },
            ),
        }
    }
}

/// Processes, each with the signal that it is to get.
type Targets = Vec<(Process, Signal)>;

/// Those that got it, and those that may not be signalled.
#[derive(Default)]
struct Outcome {
    reached: Vec<(Asked, Signal)>,
    refused: Targets,
}

/// What became of a signal.
enum Sent {
    /// The process has it; with its pidfd, where one was opened.
    Reached(Option<PidFd>),
    /// The process had gone: that is what the signal was for.
    Gone,
    /// It may not be signalled.
    Refused(io::Error),
}

impl Supervisor {
    pub(super) fn told(&self, scope: Scope) -> Option<&Told> {
        let found = self.told.iter().find(|(of, _)| *of == scope);
        found.map(|(_, told)| told)
    }

    pub(super) fn told_mut(&mut self, scope: Scope) -> &mut Told {
        let at = self.told.iter().position(|(of, _)| *of == scope);
        let at = at.unwrap_or_else(|| {
            self.told.push((scope, Told::default()));
            self.told.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found, or pushed just now")]
        &mut self.told[at].1
    }

    pub(super) fn was_asked(&self, scope: Scope, process: &Process) -> bool {
        self.told(scope).is_some_and(|told| told.was_asked(process))
    }

    /// Carries out an order. What comes of it at once is put behind `events`,
    /// what is worth saying behind `lines`.
    pub(super) fn perform(
        &mut self,
        order: Order,
        events: &mut VecDeque<Event>,
        lines: &mut Vec<Line>,
    ) {
        match order {
            Order::Spawn(id) => self.spawn(id, events),
            Order::Reload(id) => self.pass_on(id, Signal::HUP, lines),
            Order::Reopen(id) => self.pass_on(id, Signal::USR1, lines),
            Order::Forward(id, signal) => self.pass_on(id, signal, lines),
            Order::MakeMarker => {
                if self.needs_marker() {
                    self.marker.make();
                }
            }
            Order::Hold(scope) => self.hold(scope),
            Order::Release(scope) => self.release(scope),
            Order::Ask(scope, layer) => {
                // Whom we ask before, its master has left behind.
                if self.machine.stopping_since().is_some() {
                    self.count_refused_from(scope);
                }
                self.ask(scope, layer, events, lines);
            }
            Order::Dismiss(scope) => self.dismiss(scope),
            Order::Force(scope, force) => self.force(scope, force, lines),
            Order::Exit => {}
        }
    }

    fn spawn(&mut self, id: ServiceId, events: &mut VecDeque<Event>) {
        let config = Rc::clone(&self.config);
        let (Some(service), Some(main)) = (config.services.get(id), self.mains.get_mut(id)) else {
            return;
        };
        let is_alone = config.services.len() == 1;
        // Nothing of ours is to be seen where we stand in for another.
        let of_ours = config.stand_in.is_none();
        let hidden = if of_ours {
            &[notify::VARIABLE][..]
        } else {
            &[]
        };
        let of_ours = of_ours.then_some((OsStr::new("DRAINIT_DELAY"), OsStr::new("0")));
        let empty = service.variables.iter();
        let empty = empty.map(|name| (OsStr::new(*name), OsStr::new("")));
        let of_user = service.setting.identity.as_ref().map(variables_of);
        let of_user = of_user.iter().flatten();
        let of_user = of_user.map(|(name, value)| (OsStr::new(*name), value.as_os_str()));
        let given = service.setting.environment.iter();
        let given = given.map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let variables = of_ours.into_iter().chain(empty).chain(of_user).chain(given);
        let variables: Vec<(&OsStr, &OsStr)> = variables.collect();
        // What is known of the processes that it had before, if it is started again.
        self.told.retain(|(of, _)| *of != Scope::Service(id));
        main.seen = main.seen.of_a_new_start();
        if service.preset.is_some() || !is_alone {
            let listeners = sockets::listeners().ok();
            let inodes = |all: Vec<_>| all.iter().map(|it: &sockets::Listener| it.inode).collect();
            main.seen.before = listeners.map(inodes);
        }
        let may_have_terminal = is_alone && service.preset.is_none() && !service.names_preset;
        let outputs = self.forwarders.start(service, config.log_format);
        let program = Program {
            file: &service.program,
            command: &service.command,
            variables: &variables,
            hidden,
            terminal: if let Some(terminal) = config.stand_in.as_ref().and_then(|it| it.terminal) {
                terminal
            } else if may_have_terminal && process::owns_terminal() {
                Terminal::Foreground
            } else if may_have_terminal {
                Terminal::OwnGroup
            } else {
                Terminal::OwnSession
            },
            identity: service.setting.identity.as_ref(),
            directory: service.setting.directory.as_deref(),
            nofile: service.setting.nofile,
            outputs: outputs.as_ref(),
        };
        self.table = None;
        match process::spawn(&program, &self.wakes.inherited) {
            Ok(Spawned { pid, exec }) => {
                self.childless = false;
                main.ids.pid = Some(pid);
                main.ids.group = program.terminal.is_group_led().then_some(pid);
                panic::remember_main(pid, service.main_stop());
                main.started_at = Timestamp(self.start.elapsed());
                main.exec = Exec::Awaited {
                    wakes_us: self.wakes.add(&exec).is_ok(),
                    pipe: exec,
                };
                self.say(&Happening::Started(&service.name, pid));
            }
            Err(SpawnError::Refused(error) | SpawnError::Failed(_, _, error)) => {
                warn!(target: &service.name, "can't be started now: {error}");
                events.push_back(Event::SpawnRefused(id));
            }
        }
    }

    /// How a service's exec went, if that is known by now.
    pub(super) fn look_at_exec(&mut self, id: ServiceId) -> Option<Event> {
        let config = Rc::clone(&self.config);
        let (service, main) = (config.services.get(id)?, self.mains.get_mut(id)?);
        let Exec::Awaited { pipe, .. } = &main.exec else {
            return None;
        };
        let outcome = pipe.outcome()?;
        main.exec = Exec::Known;
        let (pid, who) = (main.ids.pid?, &service.name);
        Some(match outcome {
            Ok(()) => {
                if config
                    .stand_in
                    .as_ref()
                    .is_some_and(|it| it.leaves_directory)
                {
                    // Nothing of ours depends on it.
                    let _ = std::env::set_current_dir("/");
                }
                info!(target: who, "started, pid {pid}");
                Event::Executed(id)
            }
            Err(error) => {
                // What is left of it is an orphan without a name.
                panic::forget_main(pid);
                main.ids.pid = None;
                match error {
                    SpawnError::Refused(error) => {
                        warn!(target: who, "can't be started now: {error}");
                        Event::SpawnRefused(id)
                    }
                    SpawnError::Failed(step, failure, error) => {
                        warn!(target: who, "{}: {error}", what_failed(service, step));
                        let voice = config.stand_in.as_ref().map(|stand_in| stand_in.voice);
                        let failure = match voice {
                            Some(voice) => Failure::Theirs((voice.code)(&error)),
                            None => failure,
                        };
                        let word = service.command.first().map(|word| word.to_string_lossy());
                        let word = word.unwrap_or_default();
                        self.say(&Happening::NotExecuted(&word, pid, &error));
                        self.record.start_failed(id, failure);
                        Event::SpawnFailed(id)
                    }
                }
            }
        })
    }

    /// Signals a process whose pid may be another's by now, unless it is our
    /// child: a pid that we haven't reaped stays what it is.
    fn signal(&self, process: &Process, signal: Signal) -> Sent {
        let result = if process.parent == Some(self.own_pid) {
            process::kill(process.pid, signal).map(|()| None)
        } else {
            match PidFd::open(process.pid) {
                Ok(pidfd) if process.runs() => pidfd.send(signal).map(|()| Some(pidfd)),
                // A kernel without pidfds, or a filter that denies them; a
                // moment's risk is left.
                Err(_) if process.runs() => process::kill(process.pid, signal).map(|()| None),
                Ok(_) | Err(_) => return Sent::Gone,
            }
        };
        match result {
            Ok(pidfd) => Sent::Reached(pidfd),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Sent::Gone,
            Err(error) => Sent::Refused(error),
        }
    }

    /// Signals processes of a scope; those that may not be signalled, as their own
    /// users.
    fn send(&mut self, scope: Scope, targets: &[(Process, Signal)]) -> Outcome {
        let mut reached = Vec::new();
        let mut refused = Vec::new();
        for (process, signal) in targets {
            match self.signal(process, *signal) {
                Sent::Reached(pidfd) => {
                    let process = *process;
                    reached.push((Asked { process, pidfd }, *signal));
                }
                Sent::Gone => {}
                Sent::Refused(error) => {
                    debug!(target: OURSELVES, "pid {}, {signal}: {error}", process.pid);
                    refused.push((*process, *signal));
                }
            }
        }
        let as_users = send_as_users(refused);
        reached.extend(as_users.reached);
        self.is_table_old = true;
        let told = self.told_mut(scope);
        for (asked, signal) in &reached {
            told.remember(&asked.process, *signal);
        }
        for (asked, signal) in &reached {
            self.record.sent(scope, *signal);
            // A stopped process would see the signal only when somebody continues it.
            let _ = self.signal(&asked.process, Signal::CONT);
        }
        Outcome {
            reached,
            refused: as_users.refused,
        }
    }

    /// Has the last order's processes awaited: as few descriptors as need be.
    fn await_end_of(&mut self, scope: Scope, asked: Vec<Asked>) {
        let is_few = asked.len() <= PIDFDS_AT_MOST;
        let mut awaited: Vec<Asked> = asked
            .into_iter()
            .map(|Asked { process, pidfd }| {
                let pidfd = pidfd
                    .or_else(|| PidFd::open(process.pid).ok())
                    .filter(|pidfd| is_few && self.wakes.add(pidfd).is_ok());
                Asked { process, pidfd }
            })
            .collect();
        // Where not all can have one, none has: /proc needs descriptors, too.
        if awaited.iter().any(|asked| asked.pidfd.is_none()) {
            for asked in &mut awaited {
                asked.pidfd = None;
            }
        }
        self.told_mut(scope).awaited = awaited;
    }

    /// The php-fpm masters that can be stopped without harm: whoever started one
    /// may watch it, as sudo does, or bash with job control; we don't.
    fn hold(&mut self, scope: Scope) {
        let table = self.table();
        let its = table.of(scope);
        for index in table.masters(&its, Kind::Fpm) {
            let Some(member) = table.get(index) else {
                continue;
            };
            let is_ours = member.process.parent == Some(self.own_pid);
            if is_ours && matches!(self.signal(&member.process, Signal::STOP), Sent::Reached(_)) {
                self.told_mut(scope).held.push(member.process);
            }
        }
        // They may have started a worker since that table was read.
        self.table = None;
    }

    fn release(&mut self, scope: Scope) {
        for process in mem::take(&mut self.told_mut(scope).held) {
            // It may have been reaped since.
            if process.runs() {
                let _ = self.signal(&process, Signal::CONT);
            }
        }
    }

    fn ask(
        &mut self,
        scope: Scope,
        layer: Layer,
        events: &mut VecDeque<Event>,
        lines: &mut Vec<Line>,
    ) {
        let table = self.table();
        let its = table.of(scope);
        let by_preset = |indices: Vec<usize>| -> Targets {
            let members = indices.into_iter().filter_map(|index| table.get(index));
            members
                .filter_map(|it| Some((it.process, it.preset?.stop)))
                .collect()
        };
        let groups = match layer {
            Layer::Web => vec![(
                Whom::Layer(layer),
                by_preset(table.masters(&its, Kind::Web)),
            )],
            Layer::Masters => vec![(
                Whom::Layer(layer),
                by_preset(table.masters(&its, Kind::Fpm)),
            )],
            Layer::Workers => vec![(
                Whom::Layer(layer),
                by_preset(table.workers(&its, Kind::Fpm)),
            )],
            Layer::Main => self.last_targets(scope, &table, &its),
        };
        let mut asked = Vec::new();
        for (whom, mut targets) in groups {
            // Workers are asked again in each round.
            if layer != Layer::Workers {
                targets.retain(|(process, _)| !self.was_asked(scope, process));
            }
            let Outcome { reached, refused } = self.send(scope, &targets);
            let who = self.who(scope, reached.first().map(|(asked, _)| &asked.process));
            let mut signals: Vec<Signal> = reached.iter().map(|(_, signal)| *signal).collect();
            signals.dedup();
            lines.extend(signals.into_iter().map(|signal| Line {
                who: who.clone(),
                what: text::asked(whom, signal),
            }));
            if layer == Layer::Workers && reached.is_empty() && !refused.is_empty() {
                events.push_back(Event::AskRefused(scope));
            } else if layer != Layer::Workers {
                self.ask_wrappers(scope, &table, &refused, lines);
            }
            asked.extend(reached.into_iter().map(|(asked, _)| asked));
            let refused = refused.into_iter().map(|(process, _)| Asked {
                process,
                pidfd: None,
            });
            if layer == Layer::Web || layer == Layer::Masters {
                asked.extend(refused);
            }
        }
        if layer == Layer::Web && !asked.is_empty() {
            self.remember_handed_on(scope, &table, &its);
        }
        self.await_end_of(scope, asked);
    }

    /// Their masters tell these workers, who are not to be asked as orphans once more.
    fn remember_handed_on(&mut self, scope: Scope, table: &Table, its: &[usize]) {
        let told = self.told_mut(scope);
        let workers = table.workers(its, Kind::Web).into_iter();
        for member in workers.filter_map(|index| table.get(index)) {
            if let Some(preset) = member.preset.filter(|it| it.is_cut_by_second_stop()) {
                told.remember(&member.process, preset.stop);
            }
        }
    }

    /// Whom the last layer means: the main process, and if that is a shell, what it
    /// runs; once it was reaped, all that is left.
    fn last_targets(&self, scope: Scope, table: &Table, its: &[usize]) -> Vec<(Whom, Targets)> {
        let process = |index: usize| table.get(index).map(|member| member.process);
        let others = table.others(its);
        let main = match scope {
            Scope::Service(id) => self.mains.get(id).and_then(|main| main.ids.pid),
            Scope::Rest => None,
        };
        let Some(main) = main else {
            let whom = match scope {
                Scope::Service(_) => Whom::Leftovers,
                Scope::Rest => Whom::Layer(Layer::Main),
            };
            let targets = others.into_iter().filter_map(process);
            return vec![(whom, targets.map(|it| (it, Signal::TERM)).collect())];
        };
        let signal = match scope {
            Scope::Service(id) => self.config.services.get(id).map(ServiceConfig::main_stop),
            Scope::Rest => None,
        };
        let signal = signal.unwrap_or(Signal::TERM);
        let main = table.find(main);
        let its_own = main.and_then(process);
        let run = main.map_or_else(Vec::new, |main| table.run_by_shell(main));
        let is_in_group = |index: usize| {
            let group = its_own.and_then(|main| main.group);
            let is_asked_as_group = self.config.to_group && Some(index) != main;
            is_asked_as_group && process(index).is_some_and(|it| it.group == group)
        };
        let (in_group, run): (Vec<usize>, Vec<usize>) = others
            .into_iter()
            .filter(|index| is_in_group(*index) || run.contains(index))
            .partition(|index| is_in_group(*index));
        let below = in_group.into_iter().map(|index| (index, signal));
        let below = below.chain(run.into_iter().map(|index| (index, Signal::TERM)));
        vec![
            (
                Whom::Layer(Layer::Main),
                its_own.map(|it| (it, signal)).into_iter().collect(),
            ),
            (
                Whom::Below,
                below
                    .filter_map(|(index, signal)| Some((process(index)?, signal)))
                    .collect(),
            ),
        ]
    }

    /// A preset that may not be signalled runs below something that may: sudo
    /// hands on what it gets.
    fn ask_wrappers(
        &mut self,
        scope: Scope,
        table: &Table,
        refused: &[(Process, Signal)],
        lines: &mut Vec<Line>,
    ) {
        for (process, signal) in refused {
            let wrapper = table
                .find(process.pid)
                .and_then(|index| table.get(table.wrapper(index, *signal)?))
                .map(|member| (member.process, *signal));
            let Outcome { reached, .. } = self.send(scope, wrapper.as_slice());
            let who = self.who(scope, Some(process));
            match reached.first() {
                Some((asked, _)) => lines.push(Line {
                    who,
                    what: format!("{} <- {signal}, to hand it on", asked.process.comm),
                }),
                None => warn!(
                    target: &who,
                    "{} (pid {}) may not be sent {signal}: CAP_KILL is missing, or the same user",
                    process.comm, process.pid
                ),
            }
        }
    }

    fn who(&self, scope: Scope, first: Option<&Process>) -> String {
        match (scope, first) {
            (Scope::Service(id), _) => self.name(id),
            (Scope::Rest, Some(first)) => first.comm.to_string(),
            (Scope::Rest, None) => OURSELVES.to_owned(),
        }
    }

    fn dismiss(&mut self, scope: Scope) {
        let table = self.table();
        let its = table.of(scope);
        let masters = table.masters(&its, Kind::Web);
        let masters = masters.into_iter().filter_map(|index| table.get(index));
        let targets: Targets = masters
            .map(|member| (member.process, Signal::TERM))
            .collect();
        self.send(scope, &targets);
    }

    fn force(&mut self, scope: Scope, force: Force, lines: &mut Vec<Line>) {
        let held_up = self.held_up(scope);
        let table = self.table();
        let signal = match force {
            Force::Term => Signal::TERM,
            Force::Kill => Signal::KILL,
        };
        let group = match scope {
            Scope::Service(id) => self.mains.get(id).and_then(|main| main.ids.group),
            Scope::Rest => None,
        };
        let had_term = |process: &Process| {
            force == Force::Term && self.told(scope).is_some_and(|told| told.had_term(process))
        };
        let mut targets: Targets = table
            .of(scope)
            .into_iter()
            .filter_map(|index| table.get(index))
            .filter(|member| !had_term(&member.process))
            .map(|member| (member.process, signal))
            .collect();
        let mut reached_unseen = false;
        let is_group_its =
            |group: &Pid| !table.is_whole || targets.iter().any(|(it, _)| it.group == Some(*group));
        if force == Force::Kill || !table.is_whole {
            // The group first: a process may fork while we go through them.
            if let Some(group) = group.filter(is_group_its) {
                reached_unseen = process::kill_group(group, signal).is_ok();
            }
        }
        // php-fpm's master would start new workers.
        targets.sort_by_key(|(process, _)| {
            table
                .find(process.pid)
                .is_some_and(|index| table.is_worker(index))
        });
        let Outcome { reached, .. } = self.send(scope, &targets);
        if reached.is_empty() && !reached_unseen {
            return;
        }
        self.record.sent(scope, signal);
        self.record.forced(self.now(), scope, force, held_up);
        lines.push(Line {
            who: self.who(scope, None),
            what: text::forced(force, held_up),
        });
    }

    /// Whether the only service is a single process, and no preset: then a signal
    /// is its own, and doesn't have to wait for a look at all of /proc.
    pub(super) fn is_plain(&mut self) -> bool {
        let ([main], [service]) = (&mut *self.mains, &*self.config.services) else {
            return false;
        };
        let Some(pid) = main.ids.pid.filter(|_| service.preset.is_none()) else {
            return false;
        };
        if let Some(is_plain) = self.was_plain {
            return is_plain;
        }
        main.glance = main.glance.take().or_else(|| Glance::at(pid));
        let glance = main.glance.as_ref();
        let is_plain =
            glance.is_some_and(|glance| glance.is_lone(|comm| Preset::by_comm(comm).is_none()));
        self.was_plain = Some(is_plain);
        is_plain
    }

    /// Hands a signal on to a service: to its presets in their own way, else to its
    /// main process.
    fn pass_on(&mut self, id: ServiceId, signal: Signal, lines: &mut Vec<Line>) {
        let is_only = self.mains.len() == 1;
        if self.is_plain() {
            return self.signal_main(id, signal);
        }
        let table = self.table();
        let its = table.of(Scope::Service(id));
        let mut presets = table.masters(&its, Kind::Web);
        presets.extend(table.masters(&its, Kind::Fpm));
        let who = self.name(id);
        let mut say = |what: String| {
            lines.push(Line {
                who: who.clone(),
                what,
            });
        };
        for (member, preset) in presets
            .iter()
            .filter_map(|index| table.get(*index))
            .filter_map(|member| Some((member, member.preset?)))
        {
            let is_main =
                self.mains.get(id).and_then(|main| main.ids.pid) == Some(member.process.pid);
            match preset.handed_on(signal, is_only && is_main) {
                // A haproxy without a master can't reload.
                Ok((signal, _)) if !member.process.handling(signal).may_be_caught() => {
                    say(format!("gets no {signal}, which it has no handler for"));
                }
                Ok((signal, remark)) => {
                    if let Sent::Refused(error) = self.signal(&member.process, signal) {
                        say(format!("can't be sent {signal}: {error}"));
                    } else {
                        say(format!("<- {signal}{remark}"));
                    }
                }
                Err("") => {}
                Err(why) => say(why.to_owned()),
            }
        }
        if !presets.is_empty() {
            return;
        }
        let names_preset = self
            .config
            .services
            .get(id)
            .is_some_and(|it| it.names_preset);
        if is_only && !names_preset || self.main_catches(id, signal) {
            return self.signal_main(id, signal);
        }
        let main = self.mains.get_mut(id);
        if main.is_some_and(|main| !mem::replace(&mut main.is_said_left_out, true)) {
            say(format!("gets no {signal}, which it has no handler for"));
        }
    }

    fn main_catches(&self, id: ServiceId, signal: Signal) -> bool {
        let pid = self.mains.get(id).and_then(|main| main.ids.pid);
        let handling = pid.map(|pid| proc::handling(pid, signal));
        handling.is_some_and(Handling::may_be_caught)
    }

    pub(super) fn signal_main(&self, id: ServiceId, signal: Signal) {
        let Some(ids) = self.mains.get(id).map(|main| main.ids) else {
            return;
        };
        let Some(pid) = ids.pid else {
            return;
        };
        let group = ids.group.filter(|_| self.config.to_group);
        let sent = match group.map(|group| process::kill_group(group, signal)) {
            Some(Ok(())) => Ok(()),
            // It may not lead its group yet.
            Some(Err(_)) | None => process::kill(pid, signal),
        };
        if let Err(error) = sent {
            let who = self.name(id);
            warn!(target: &who, "can't be sent {signal}: {error}");
        }
        self.say(&Happening::PassedOn(signal));
    }

    /// A preset that goes to the background all the same is watched there: returns
    /// whether the process that took the place of the main process was found.
    pub(super) fn follow_to_background(&mut self, id: ServiceId, status: Status) -> bool {
        let config = Rc::clone(&self.config);
        let preset = config.services.get(id).and_then(|it| it.preset);
        // Who was asked to stop hasn't gone there.
        let serves = matches!(self.machine.state(id), State::Starting | State::Serving)
            && self.machine.stopping_since().is_none();
        let (Some(preset), Status::Exited(0), true) = (preset, status, serves) else {
            return false;
        };
        let table = self.table();
        let its = table.of(Scope::Service(id));
        let is_it = |member: &&Member| {
            member.preset == Some(preset) && member.process.parent == Some(self.own_pid)
        };
        let masters = table.masters(&its, preset.kind);
        let mut masters = masters.into_iter().filter_map(|index| table.get(index));
        let Some(pid) = masters.find(is_it).map(|member| member.process.pid) else {
            return false;
        };
        let Some(main) = self.mains.get_mut(id) else {
            return false;
        };
        main.ids.pid = Some(pid);
        panic::remember_main(pid, preset.stop);
        info!(target: &self.name(id), "went to the background, where it is watched: pid {pid}");
        true
    }

    /// A lone command that ends at once, or leaves a daemon behind, was hardly
    /// meant to.
    pub(super) fn say_what_was_forgotten(&mut self, id: ServiceId) {
        let config = Rc::clone(&self.config);
        let ([service], true) = (&*config.services, self.record.requested_by().is_none()) else {
            return;
        };
        let who = self.name(id);
        let table = self.table();
        if let Some(member) = table.all().first() {
            let comm = member.process.comm;
            warn!(target: &who, "has left {comm} behind, which is stopped now: a container lasts \
                  as long as its command, which has to stay in the foreground");
        } else if service.command.len() == 1
            && self
                .mains
                .first()
                .is_some_and(|it| self.now().since(it.started_at) < AT_ONCE)
            && is_script(&service.program)
        {
            warn!(target: &who, "is a script that had nothing to run: was the CMD forgotten? \
                  ENTRYPOINT resets an inherited one");
        }
    }
}

/// Without `CAP_KILL` root may not signal another user, but may become that user.
fn send_as_users(mut targets: Targets) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some((first, signal)) = targets.first().copied() {
        let user = proc::user(first.pid);
        let (alike, others): (Targets, Targets) = targets
            .into_iter()
            .partition(|(process, its)| *its == signal && proc::user(process.pid) == user);
        targets = others;
        let asked: Vec<Asked> = alike
            .iter()
            .map(|(process, _)| Asked {
                process: *process,
                pidfd: PidFd::open(process.pid).ok(),
            })
            .collect();
        let receivers: Vec<Target> = asked
            .iter()
            .filter(|asked| asked.process.runs())
            .map(|asked| match &asked.pidfd {
                Some(pidfd) => Target::PidFd(pidfd),
                None => Target::Pid(asked.process.pid),
            })
            .collect();
        let sent = user.map(|user| process::signal_as(user, &receivers, signal));
        if let Some(Ok(())) = sent {
            outcome
                .reached
                .extend(asked.into_iter().map(|asked| (asked, signal)));
        } else {
            outcome.refused.extend(alike);
        }
    }
    outcome
}

/// What login(1) sets for a user. A number without an entry is its own name.
fn variables_of(identity: &Identity) -> [(&'static str, OsString); 3] {
    let home = identity.home.clone();
    let home = home.map_or_else(|| "/".into(), OsString::from);
    let name = OsString::from(name_of(identity));
    [("HOME", home), ("USER", name.clone()), ("LOGNAME", name)]
}

fn name_of(identity: &Identity) -> String {
    let name = identity.name.clone();
    name.unwrap_or_else(|| identity.uid.to_string())
}

/// What can't be done that the service is to have.
fn what_failed(service: &ServiceConfig, step: Step) -> String {
    let Setting {
        identity,
        directory,
        nofile,
        ..
    } = &service.setting;
    match (step, identity, directory, nofile) {
        (Step::User, Some(identity), ..) => {
            let name = name_of(identity);
            format!("can't run as user {name}, which takes root with CAP_SETUID and CAP_SETGID")
        }
        (Step::Directory, _, Some(directory), _) => {
            format!("can't start in the directory {}", directory.display())
        }
        (Step::Limit, .., Some(nofile)) => {
            format!("can't have {nofile} descriptors (nofile), which takes CAP_SYS_RESOURCE")
        }
        _ => format!("{} can't be executed", service.program.display()),
    }
}

fn is_script(file: &Path) -> bool {
    let mut start = [0; 2];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *b"#!"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_an_entry_is_called_by_its_number_and_at_home_in_the_root() {
        let mut identity = Identity {
            uid: 12345.into(),
            gid: 0.into(),
            groups: Vec::new(),
            name: None,
            home: None,
        };
        let variables = |identity: &Identity| {
            variables_of(identity)
                .map(|(name, value)| format!("{name}={}", value.to_string_lossy()))
        };
        let expected = ["HOME=/", "USER=12345", "LOGNAME=12345"];
        assert_eq!(variables(&identity), expected);
        identity.name = Some("app".to_owned());
        identity.home = Some("/home/app".into());
        let expected = ["HOME=/home/app", "USER=app", "LOGNAME=app"];
        assert_eq!(variables(&identity), expected);
    }
}
