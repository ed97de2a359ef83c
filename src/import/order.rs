//! The order of the services, and what Supervisor's own was.

use super::ini::{self, Ini, Section};
use super::program::Program;
use super::reader::Reader;
use super::remark::{Remarks, Word};
use super::text::Names;
use crate::preset::Kind;

/// A `[group:x]`.
pub(super) struct Group {
    pub(super) name: String,
    priority: i64,
    pub(super) programs: Vec<String>,
}

pub(super) fn groups(ini: &Ini, names: &Names, remarks: &mut Remarks) -> Vec<Group> {
    let mut groups = Vec::new();
    for section in &ini.sections {
        let Some(name) = section.name_of("group") else {
            continue;
        };
        let mut reader = Reader {
            ini,
            section,
            names: names.clone(),
            remarks,
        };
        let priority = reader.integer("priority").map_or(999, |it| it.0);
        let programs = reader.value("programs").map(|it| it.text.plain(""));
        let programs = programs.unwrap_or_default();
        let programs = programs.split(',').map(|it| ini::strip(it).to_owned());
        reader.say_of_all(
            Word::Changed,
            "drainit has no groups: a command takes the names of several services",
        );
        groups.push(Group {
            name: ini::strip(name).to_owned(),
            priority,
            programs: programs.filter(|it| !it.is_empty()).collect(),
        });
        for program in groups.last().into_iter().flat_map(|it| &it.programs) {
            let is_there = ["program", "fcgi-program"]
                .iter()
                .any(|kind| ini.section(&format!("{kind}:{program}")).is_some());
            if !is_there {
                let what = format!(
                    "[{}]: there is no program {program}; supervisord doesn't start with it",
                    section.name
                );
                remarks.say(section.place, Word::WasWrong, &what);
            }
        }
    }
    groups
}

/// Puts the programs in our order: by priority as they were, then as they stand in the
/// file, and php-fpm before the web servers that ask it.
pub(super) fn order(
    programs: &mut Vec<Program>,
    groups: &[Group],
    ini: &Ini,
    remarks: &mut Remarks,
) {
    // Supervisor starts groups by priority, then by name, and those of a group as it
    // lists them; it stops them in reverse.
    let group = |program: &Program| {
        let of = |group: &&Group| group.programs.contains(&program.name);
        groups.iter().find(of)
    };
    let theirs = |program: &Program| match group(program) {
        Some(group) => {
            let at = group.programs.iter().position(|it| *it == program.name);
            (group.priority, group.name.clone(), at)
        }
        None => (program.priority, program.name.clone(), None),
    };
    let mut original: Vec<&Program> = programs.iter().collect();
    original.sort_by_key(|program| theirs(program));
    let first = |kind: Kind| {
        let mut numbered = original.iter().enumerate();
        numbered.find(|(_, it)| it.kind == Some(kind))
    };
    if let (Some((first_web, web)), Some((first_fpm, fpm))) = (first(Kind::Web), first(Kind::Fpm)) {
        // Supervisor stops one group after the other, and all of a group at once.
        let in_one_group = group(web).is_some_and(|it| it.programs.contains(&fpm.name));
        let when = if in_one_group {
            Some(("together with", ""))
        } else if first_web < first_fpm && theirs(web).0 == theirs(fpm).0 {
            Some(("before", ", as equal priorities go by name"))
        } else if first_web < first_fpm {
            Some(("before", ""))
        } else {
            None
        };
        if let Some((when, why)) = when {
            let what = format!(
                "[program:{}]: supervisord stopped it {when} {}{why}: each stop cost requests \
                 (502); now it starts first and stops last",
                fpm.name, web.name
            );
            remarks.say(fpm.place, Word::WasWrong, &what);
        }
    }
    let names: Vec<String> = original.iter().map(|it| it.name.clone()).collect();

    programs.sort_by_key(|it| {
        (
            group(it).map_or(it.priority, |group| group.priority),
            it.priority,
        )
    });
    let last_fpm = programs.iter().rposition(|it| it.kind == Some(Kind::Fpm));
    if let Some(last) = last_fpm {
        let rest = programs.split_off(last + 1);
        let (web, mut before): (Vec<_>, Vec<_>) = std::mem::take(programs)
            .into_iter()
            .partition(|it| it.kind == Some(Kind::Web));
        before.extend(web);
        before.extend(rest);
        *programs = before;
    }

    let with_priority =
        |it: &&Section| it.name_of("program").is_some() || it.name_of("group").is_some();
    let mut entries = ini.sections.iter().filter(with_priority);
    let first = entries.find_map(|section| ini.get(section, "priority"));
    if let Some(entry) = first {
        let ours = programs.iter().map(|it| it.name.clone());
        let ours: Vec<String> = ours.collect();
        let (word, now) = if ours == names {
            (Word::Kept, String::new())
        } else {
            (Word::Changed, format!("; now {}", ours.join(", ")))
        };
        let what = format!(
            "priority: supervisord's order was {}{now}",
            names.join(", ")
        );
        remarks.say(entry.place, word, &what);
    }
}
