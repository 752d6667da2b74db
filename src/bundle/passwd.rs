// SPDX-License-Identifier: Apache-2.0
//! Users and groups of an image: `/etc/passwd` and `/etc/group` as text, and `user[:group]` looked up in them.

use crate::error::{Error, ErrorKind, Result};
use crate::spec::runtime::User;

/// Maximum id of a user or group.
const MAX_ID: u32 = 2_147_483_647;

/// What `user[:group]` means in an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Login {
    /// The ids.
    pub user: User,
    /// Home directory, if the user has an entry.
    pub home: Option<String>,
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Looks `spec` up. Lines that cannot be parsed count as the existing tools count them: a bad number is 0.
///
/// # Errors
/// [`ErrorKind::NotFound`] for a name without an entry, [`ErrorKind::Invalid`] for a number out of range.
pub fn look_up(spec: &str, passwd: &str, group: &str) -> Result<Login> {
    let context = |e: Error| e.context(format!("cannot parse user spec: {spec:?}"));
    let mut parts = spec.split(':');
    let user = parts.next().unwrap_or_default();
    let wanted_group = parts.next().unwrap_or_default();

    let number = id(user, "user").map_err(context)?;
    let entry = passwd_lines(passwd).find(|line| match number {
        Some(uid) => line.uid == uid,
        None if user.is_empty() => line.uid == 0,
        None => line.name == user,
    });
    if let Some(line) = &entry {
        in_range(line.uid, "user").map_err(context)?;
        in_range(line.gid, "group").map_err(context)?;
    }
    let mut login = match (&entry, number) {
        (Some(line), _) => Login {
            user: User {
                uid: line.uid,
                gid: line.gid,
                additional_gids: Vec::new(),
            },
            home: Some(line.home.to_owned()),
        },
        (None, Some(uid)) => Login {
            user: User {
                uid,
                ..User::default()
            },
            home: None,
        },
        (None, None) if user.is_empty() => Login::default(),
        (None, None) => return Err(context(unknown("user", user, "passwd"))),
    };
    if !wanted_group.is_empty() {
        let number = id(wanted_group, "group").map_err(context)?;
        let entry = group_lines(group).find(|line| match number {
            Some(gid) => line.gid == gid,
            None => line.name == wanted_group,
        });
        login.user.gid = match (entry, number) {
            (Some(line), _) => in_range(line.gid, "group").map_err(context)?,
            (None, Some(gid)) => gid,
            (None, None) => return Err(context(unknown("group", wanted_group, "group"))),
        };
    } else if let Some(entry) = entry {
        let of_user = group_lines(group).filter(|line| line.members.split(',').any(|m| m == entry.name));
        // No process can have a group beyond.
        let gids = of_user.map(|line| line.gid).filter(|gid| *gid <= MAX_ID);
        login.user.additional_gids = gids.collect();
    }
    Ok(login)
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    let text = format!("unable to find {what} {name}: no matching entries in {file} file");
    Error::new(ErrorKind::NotFound, text)
}

/// A number if `text` is one.
fn id(text: &str, what: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) => in_range(id, what).map(Some),
        Err(_) => Err(out_of_range(what, text)),
    }
}

/// Refuses an id that runtimes give to no process.
fn in_range(id: u32, what: &str) -> Result<u32> {
    if id > MAX_ID {
        return Err(out_of_range(what, &id.to_string()));
    }
    Ok(id)
}

fn out_of_range(what: &str, id: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what} id is out of range: {id}"))
}

fn passwd_lines(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().unwrap_or_default();
            let mut number = |skip| fields.nth(skip).and_then(|f| f.parse().ok()).unwrap_or(0);
            let (uid, gid) = (number(1), number(0));
            PasswdLine {
                name,
                uid,
                gid,
                home: fields.nth(1).unwrap_or_default(),
            }
        })
}

fn group_lines(text: &str) -> impl Iterator<Item = GroupLine<'_>> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let gid = fields.nth(1).and_then(|f| f.parse().ok()).unwrap_or(0);
        GroupLine {
            name,
            gid,
            members: fields.next().unwrap_or_default(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbad:x:no:7::/bad:\n";
    const GROUP: &str = "root:x:0:\n#no:x:9:daemon\nadm:x:4:root,daemon\nusers:x:100:daemon\n";

    fn login(uid: u32, gid: u32, additional: &[u32], home: Option<&str>) -> Login {
        let user = User {
            uid,
            gid,
            additional_gids: additional.to_vec(),
        };
        Login {
            user,
            home: home.map(str::to_owned),
        }
    }

    #[test]
    fn names_and_numbers_are_looked_up_as_the_contract_says() {
        for (spec, want) in [
            ("", login(0, 0, &[4], Some("/root"))),
            ("root", login(0, 0, &[4], Some("/root"))),
            ("daemon", login(1, 1, &[4, 100], Some("/usr/sbin"))),
            ("1", login(1, 1, &[4, 100], Some("/usr/sbin"))),
            ("daemon:adm", login(1, 4, &[], Some("/usr/sbin"))),
            ("daemon:77", login(1, 77, &[], Some("/usr/sbin"))),
            ("1000", login(1000, 0, &[], None)),
            ("1000:100:ignored", login(1000, 100, &[], None)),
            ("bad", login(0, 7, &[], Some("/bad"))),
        ] {
            assert_eq!(look_up(spec, PASSWD, GROUP).expect(spec), want, "{spec:?}");
        }
        assert_eq!(look_up("", "", "").expect("no files"), Login::default());
    }

    #[test]
    fn unknown_names_and_wild_numbers_are_errors() {
        for (spec, want) in [
            (
                "nobody",
                "unable to find user nobody: no matching entries in passwd file",
            ),
            (
                "root:wheel",
                "unable to find group wheel: no matching entries in group file",
            ),
            ("4294967295", "user id is out of range: 4294967295"),
        ] {
            let err = look_up(spec, PASSWD, GROUP).expect_err(spec).to_string();
            assert!(
                err.starts_with("cannot parse user spec: ") && err.ends_with(want),
                "{err}"
            );
        }
    }
}
