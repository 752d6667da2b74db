// SPDX-License-Identifier: Apache-2.0
//! Users and groups of an image: `/etc/passwd` and `/etc/group` as text, and `user[:group]` looked up in them.

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::runtime::User;

/// Maximum id of a user or group.
const MAX_ID: u32 = 2_147_483_647;

/// Ids and home directory of `user[:group]` in an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Login {
    /// The ids.
    pub user: User,
    /// Home directory, if the user has an entry.
    pub home: Option<String>,
}

/// Looks `spec` up. Lines that cannot be parsed count as the existing tools count them: a bad number is 0.
///
/// # Errors
/// [`ErrorKind::NotFound`] for a name without an entry, [`ErrorKind::Invalid`] for a number out of range.
pub fn look_up(spec: &str, passwd: &str, group: &str) -> Result<Login> {
    let mut parts = spec.split(':');
    let (user, of_group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    find(user, of_group, passwd, group).context(|| format!("cannot parse user spec: {spec:?}"))
}

fn find(user: &str, of_group: &str, passwd: &str, group: &str) -> Result<Login> {
    let mut login = Login::default();
    let number = id(user, "user")?;
    let entry = records(passwd).find(|entry| match number {
        Some(uid) => entry.number(2) == uid,
        None if user.is_empty() => entry.number(2) == 0,
        None => entry.text(0) == user,
    });
    // A number needs no entry: images made from nothing have no such file.
    match (&entry, number) {
        (Some(entry), _) => {
            login.user.uid = in_range(entry.number(2), "user")?;
            login.user.gid = in_range(entry.number(3), "group")?;
            login.home = Some(entry.text(5).to_owned());
        }
        (None, Some(uid)) => login.user.uid = uid,
        (None, None) if user.is_empty() => {}
        (None, None) => return Err(unknown("user", user, "passwd")),
    }
    let mut groups = records(group).filter(|group| !group.text(0).starts_with('#'));
    if !of_group.is_empty() {
        let number = id(of_group, "group")?;
        let found = groups.find(|group| match number {
            Some(gid) => group.number(2) == gid,
            None => group.text(0) == of_group,
        });
        login.user.gid = match (found, number) {
            (Some(group), _) => in_range(group.number(2), "group")?,
            (None, Some(gid)) => gid,
            (None, None) => return Err(unknown("group", of_group, "group")),
        };
    } else if let Some(entry) = entry {
        let name = entry.text(0);
        let of_user = groups.filter(|group| group.text(3).split(',').any(|member| member == name));
        // No process can have a group beyond.
        let gids = of_user.map(|group| group.number(2)).filter(|gid| *gid <= MAX_ID);
        login.user.additional_gids = gids.collect();
    }
    Ok(login)
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    let text = format!("unable to find {what} {name}: no matching entries in {file} file");
    Error::new(ErrorKind::NotFound, text)
}

/// Returns a number if `text` is one.
fn id(text: &str, what: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) => in_range(id, what).map(Some),
        Err(_) => fail!(Invalid, "{what} id is out of range: {text}"),
    }
}

/// Refuses an id that runtimes give to no process.
fn in_range(id: u32, what: &str) -> Result<u32> {
    if id > MAX_ID {
        fail!(Invalid, "{what} id is out of range: {id}");
    }
    Ok(id)
}

/// A line of either file. The fields of a user are name, password, uid, gid, comment, home and shell; those of a group name,
/// password, gid and members.
pub(super) struct Record<'a>(Vec<&'a str>);

impl<'a> Record<'a> {
    /// Returns a field, counted from 0; empty if there is none.
    pub(super) fn text(&self, field: usize) -> &'a str {
        self.0.get(field).copied().unwrap_or_default()
    }

    fn number(&self, field: usize) -> u32 {
        self.text(field).parse().unwrap_or(0)
    }
}

/// Returns the lines of either file.
pub(super) fn records(text: &str) -> impl Iterator<Item = Record<'_>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| Record(line.splitn(7, ':').collect()))
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
