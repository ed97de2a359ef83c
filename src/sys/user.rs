//! Users and groups, from `/etc/passwd` and `/etc/group` as they stand there: a static
//! binary must not ask the C library, which would load shared libraries.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: Uid,
    /// The user's first group, or the one that was asked for; 0 for a number that has
    /// no entry.
    pub gid: Gid,
    /// The supplementary groups, and the first one, as initgroups(3) has it; none for a
    /// number that has no entry.
    pub groups: Vec<Gid>,
    /// The user's name, where it has one.
    pub name: Option<String>,
    /// The user's home directory, where it has one.
    pub home: Option<PathBuf>,
}

/// The user that we run as.
pub fn own() -> Uid {
    Uid::effective()
}

/// The user of this name or number, and with it the group of that name or number. The
/// user may be `USER:GROUP`. A number needs no entry.
pub fn find(user: &str, group: Option<&str>) -> Result<Identity, String> {
    find_in(&read(PASSWD)?, &read(GROUP)?, user, group)
}

/// Images FROM scratch have neither file: then it is as good as empty.
fn read(file: &str) -> Result<String, String> {
    match fs::read(file) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("{file} can't be read: {error}")),
    }
}

/// An entry of passwd(5).
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    fn of_line(line: &'a str) -> Option<Self> {
        let mut fields = fields(line)?;
        Some(Self {
            name: fields.next()?,
            uid: number(fields.nth(1)?)?,
            gid: number(fields.next()?)?,
            home: fields.nth(1).unwrap_or_default(),
        })
    }
}

/// An entry of group(5).
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn of_line(line: &'a str) -> Option<Self> {
        let mut fields = fields(line)?;
        Some(Self {
            name: fields.next()?,
            gid: number(fields.nth(1)?)?,
            members: fields.next().unwrap_or_default(),
        })
    }

    fn has(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member.trim() == user)
    }
}

/// The fields of a line; `None` of a comment, and of those that NIS has.
fn fields(line: &str) -> Option<impl Iterator<Item = &str>> {
    let is_entry = !line.starts_with(['#', '+', '-']);
    is_entry.then(|| line.split(':').map(str::trim))
}

/// -1 is no id: to the kernel it means that nothing is to be changed.
fn number(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number.filter(|number| *number != u32::MAX)
}

fn find_in(
    passwd: &str,
    groups: &str,
    user: &str,
    group: Option<&str>,
) -> Result<Identity, String> {
    let (user, group) = match (user.split_once(':'), group) {
        (Some((_, of_user)), Some(group)) if !of_user.is_empty() => {
            return Err(format!("two groups are given: {of_user} and {group}"));
        }
        (Some((user, of_user)), group) => (user, group.or(Some(of_user))),
        (None, group) => (user, group),
    };
    if user.is_empty() {
        return Err("the user is empty (a name or a number)".to_owned());
    }
    // A name may consist of digits.
    let users = || passwd.lines().filter_map(User::of_line);
    let by_number = number(user);
    let entry = users()
        .find(|it| it.name == user)
        .or_else(|| users().find(|it| Some(it.uid) == by_number));
    let uid = entry.as_ref().map(|it| it.uid).or(by_number);
    let uid = uid.ok_or_else(|| missing("user", user, PASSWD, passwd))?;

    let all = || groups.lines().filter_map(Group::of_line);
    let gid = match group.filter(|group| !group.is_empty()) {
        Some(group) => {
            let named = all().find(|it| it.name == group).map(|it| it.gid);
            let gid = named.or_else(|| number(group));
            gid.ok_or_else(|| missing("group", group, GROUP, groups))?
        }
        None => entry.as_ref().map_or(0, |it| it.gid),
    };
    let mut its_groups = Vec::new();
    if let Some(entry) = &entry {
        let its = all().filter(|it| it.has(entry.name)).map(|it| it.gid);
        its_groups.push(gid);
        its_groups.extend(its.filter(|it| *it != gid));
    }
    let home = entry.as_ref().map(|it| it.home).filter(|it| !it.is_empty());
    Ok(Identity {
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(gid),
        groups: its_groups.into_iter().map(Gid::from_raw).collect(),
        name: entry.as_ref().map(|it| it.name.to_owned()),
        home: home.map(|home| Path::new(home).to_owned()),
    })
}

/// That there is no such entry.
fn missing(what: &str, called: &str, file: &str, text: &str) -> String {
    if text.is_empty() {
        format!("no {what} {called}: there is no {file}; give the {what}'s number")
    } else {
        format!("no {what} {called} in {file}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "\
root:x:0:0:root:/root:/bin/bash

# deploy:x:7:7::/:/bin/sh
+nis:x:8:8::/:/bin/sh
broken
also:broken
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\r
1000:x:2000:2000::/home/digits:/bin/sh
app:x:1001:1001
nobody:x:4294967295:1::/:/bin/sh
";

    const GROUPS: &str = "\
root:x:0:
www-data:x:33:www-data
tty:x:5: app , www-data\r
# video:x:44:www-data
+:::
video:x:44:app,nginx,www-data
docker:x:998
";

    #[track_caller]
    fn check(user: &str, group: Option<&str>, expected: &str) {
        let found = match find_in(USERS, GROUPS, user, group) {
            Ok(it) => {
                let groups: Vec<String> = it.groups.iter().map(ToString::to_string).collect();
                let home = it.home.as_ref().map(|home| home.display().to_string());
                format!(
                    "{}:{} [{}] {} {}",
                    it.uid,
                    it.gid,
                    groups.join(" "),
                    it.name.as_deref().unwrap_or("-"),
                    home.as_deref().unwrap_or("-")
                )
            }
            Err(error) => error,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_user_is_found_by_name_or_number_with_its_groups() {
        check("www-data", None, "33:33 [33 5 44] www-data /var/www");
        check("33", None, "33:33 [33 5 44] www-data /var/www");
        check("root", None, "0:0 [0] root /root");
        // No home, and no group of its own in the file.
        check("app", None, "1001:1001 [1001 5 44] app -");
    }

    #[test]
    fn a_number_without_an_entry_is_a_user_of_group_0() {
        check("12345", None, "12345:0 [] - -");
        check("12345", Some("33"), "12345:33 [] - -");
        check("12345:54321", None, "12345:54321 [] - -");
    }

    #[test]
    fn a_name_of_digits_is_a_name_first() {
        check("1000", None, "2000:2000 [2000] 1000 /home/digits");
    }

    #[test]
    fn a_group_is_given_apart_or_behind_a_colon() {
        let expected = "33:998 [998 5 44] www-data /var/www";
        // www-data stands in its own group as a member, as some images have it.
        let expected = expected.replace("[998 ", "[998 33 ");
        check("www-data", Some("docker"), &expected);
        check("www-data:docker", None, &expected);
        check("33:998", None, &expected);
        check("www-data:", Some("docker"), &expected);
        check("www-data:", None, "33:33 [33 5 44] www-data /var/www");
        check("root", Some("44"), "0:44 [44] root /root");
        check(
            "root:tty",
            Some("docker"),
            "two groups are given: tty and docker",
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        for unknown in ["deploy", "nis", "+nis", "broken", "also", "nobody"] {
            let expected = format!("no user {unknown} in /etc/passwd");
            check(unknown, None, &expected);
        }
        // As the kernel takes it, these aren't ids.
        for unknown in ["-1", "4294967295", "4294967296", "+33"] {
            let expected = format!("no user {unknown} in /etc/passwd");
            check(unknown, None, &expected);
        }
        check("root", Some("wheel"), "no group wheel in /etc/group");
        check(":tty", None, "the user is empty (a name or a number)");
        check("", None, "the user is empty (a name or a number)");
        let found = find_in("", "", "app", None).unwrap_err();
        let expected = "no user app: there is no /etc/passwd; give the user's number";
        assert_eq!(found, expected);
        let found = find_in("", "", "1:app", None).unwrap_err();
        let expected = "no group app: there is no /etc/group; give the group's number";
        assert_eq!(found, expected);
        assert!(find_in("", "", "1:1", None).is_ok());
    }

    #[test]
    fn roots_entry_is_found_in_the_real_files() {
        let root = find("root", None).unwrap();
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        assert_eq!(root.name.as_deref(), Some("root"));
        assert_eq!(root.home.as_deref(), Some(Path::new("/root")));
    }
}
