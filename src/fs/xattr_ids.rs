// SPDX-License-Identifier: Apache-2.0
//! Extended attributes that name users: file capabilities (`capabilities(7)`, "File capability extended attribute
//! versioning") and POSIX ACLs (`acl(5)`). The kernel takes the ids in them for those of the host.
//!
//! A program that is privileged in its container must be so for the root of that container alone: in the form that
//! images have, without a user, the privileges would be those of the host's root.

use std::borrow::Cow;

use super::IdMap;
use super::owner::Side;
use crate::error::{Result, ResultExt};

const CAPABILITY: &[u8] = b"security.capability";
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Numbers of four bytes, little endian: revision and flags, then four of sets; the user whose root is meant follows
/// in revision 3, and is 0 in revision 2.
const REVISION: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const SETS_END: usize = 20;

/// The version, then entries of tag (2 bytes), permissions (2 bytes) and id (4 bytes), little endian.
const ACL_VERSION: [u8; 4] = [2, 0, 0, 0];
const ACL_USER: u16 = 2;
const ACL_GROUP: u16 = 8;

impl IdMap {
    /// Returns the value on the host of an extended attribute of a layer. A value that the kernel does not understand stays as it
    /// is, and so does all of a rootless tree, whose files nobody else owns.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if the maps leave out an id in it.
    pub fn xattr_to_host<'a>(&self, name: &[u8], value: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        self.xattr(name, value, Side::Host)
    }

    /// Returns the value in a layer of an extended attribute of the host; the reverse of [`Self::xattr_to_host`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if the maps leave out an id in it.
    pub fn xattr_to_container<'a>(&self, name: &[u8], value: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        self.xattr(name, value, Side::Container)
    }

    fn xattr<'a>(&self, name: &[u8], value: &'a [u8], to: Side) -> Result<Cow<'a, [u8]>> {
        if self.rootless || (self.uids.is_empty() && self.gids.is_empty()) {
            return Ok(Cow::Borrowed(value));
        }
        let mapped = if name == CAPABILITY {
            self.capability(value, to)
        } else if ACLS.contains(&name) {
            self.acl(value, to)
        } else {
            return Ok(Cow::Borrowed(value));
        };
        let mapped = mapped.context(|| format!("xattr {}", String::from_utf8_lossy(name)))?;
        Ok(mapped.map_or(Cow::Borrowed(value), Cow::Owned))
    }

    /// Returns capabilities that name the same root on the other side; `None` for what are none.
    fn capability(&self, value: &[u8], to: Side) -> Result<Option<Vec<u8>>> {
        let Some((sets, root)) = value.split_at_checked(SETS_END) else {
            return Ok(None);
        };
        let (head, sets) = sets.split_at(4);
        let head = u32::from_le_bytes(head.try_into().unwrap_or_default());
        let root = match (head & REVISION, root.try_into()) {
            (REVISION_2, _) if root.is_empty() => 0,
            (REVISION_3, Ok(root)) => u32::from_le_bytes(root),
            _ => return Ok(None),
        };
        let root = match self.uid(to, root) {
            // No container can have set these: root of the host did, and meant the root of whatever container has the file.
            Err(_) if root == 0 && to == Side::Container => 0,
            mapped => mapped?,
        };
        let (revision, root) = match root {
            0 => (REVISION_2, vec![]),
            root => (REVISION_3, root.to_le_bytes().to_vec()),
        };
        let head = head & !REVISION | revision;
        Ok(Some([&head.to_le_bytes(), sets, &root].concat()))
    }

    /// Returns an ACL for other users and groups; `None` for what is none.
    fn acl(&self, value: &[u8], to: Side) -> Result<Option<Vec<u8>>> {
        let Some(entries) = value.strip_prefix(&ACL_VERSION) else {
            return Ok(None);
        };
        let mut out = ACL_VERSION.to_vec();
        let mut entries = entries.chunks_exact(8);
        for entry in &mut entries {
            let (head, id) = entry.split_at(4);
            let id = u32::from_le_bytes(id.try_into().unwrap_or_default());
            let id = match u16::from_le_bytes([head[0], head[1]]) {
                ACL_USER => self.uid(to, id)?,
                ACL_GROUP => self.gid(to, id)?,
                _ => id,
            };
            out.extend_from_slice(head);
            out.extend_from_slice(&id.to_le_bytes());
        }
        Ok(entries.remainder().is_empty().then_some(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [u32; 4] = [0x2000, 1, 0, 0];

    fn map(root: u32) -> IdMap {
        let map = |host: u32| vec![IdMap::parse_mapping(&format!("0:{host}:1000")).expect("map")];
        IdMap {
            uids: map(root),
            gids: map(root + 50_000),
            rootless: false,
        }
    }

    fn capability(revision: u32, root: &[u32]) -> Vec<u8> {
        let numbers = [&[revision << 24 | 1], &SETS[..], root].concat();
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    fn acl(uid: u32, gid: u32) -> Vec<u8> {
        let mut out = ACL_VERSION.to_vec();
        for (tag, id) in [
            (1_u16, u32::MAX),
            (ACL_USER, uid),
            (4, u32::MAX),
            (ACL_GROUP, gid),
            (0x10, u32::MAX),
            (0x20, u32::MAX),
        ] {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&6_u16.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        }
        out
    }

    #[test]
    fn capabilities_are_those_of_the_root_of_the_container_and_users_of_acls_are_mapped() {
        let plain = capability(2, &[]);
        for (map, name, inside, outside) in [
            (map(100_000), CAPABILITY, plain.clone(), capability(3, &[100_000])),
            (
                map(100_000),
                CAPABILITY,
                capability(3, &[7]),
                capability(3, &[100_007]),
            ),
            (map(0), CAPABILITY, plain.clone(), plain.clone()),
            (IdMap::default(), CAPABILITY, plain.clone(), plain.clone()),
            (map(100_000), ACLS[0], acl(0, 7), acl(100_000, 150_007)),
            (map(100_000), ACLS[1], acl(999, 0), acl(100_999, 150_000)),
            (IdMap::default(), ACLS[0], acl(1, 2), acl(1, 2)),
            // The kernel refuses what these are.
            (map(100_000), CAPABILITY, capability(1, &[]), capability(1, &[])),
            (map(100_000), CAPABILITY, capability(2, &[0]), capability(2, &[0])),
            (map(100_000), CAPABILITY, capability(3, &[]), capability(3, &[])),
            (
                map(100_000),
                ACLS[0],
                acl(1, 2)[..9].to_vec(),
                acl(1, 2)[..9].to_vec(),
            ),
            (map(100_000), b"user.acl", acl(1, 2), acl(1, 2)),
        ] {
            assert_eq!(map.xattr_to_host(name, &inside).expect("mapped"), outside);
            assert_eq!(map.xattr_to_container(name, &outside).expect("mapped"), inside);
        }
        let rootless = IdMap {
            rootless: true,
            ..map(1000)
        };
        assert_eq!(
            rootless.xattr_to_host(ACLS[0], &acl(1, 2)).expect("kept"),
            acl(1, 2)
        );
    }

    #[test]
    fn ids_that_no_map_names_are_refused() {
        for (name, value) in [
            (CAPABILITY, capability(3, &[1000])),
            (ACLS[0], acl(1000, 0)),
            (ACLS[0], acl(0, 1000)),
        ] {
            let err = map(100_000).xattr_to_host(name, &value).expect_err("outside");
            let name = String::from_utf8_lossy(name);
            assert!(
                err.to_string().starts_with(&format!("xattr {name}: map ")),
                "{err}"
            );
            assert!(map(100_000).xattr_to_container(name.as_bytes(), &value).is_err());
        }
        // Set on the host, by its root.
        let plain = capability(2, &[]);
        assert_eq!(
            map(100_000).xattr_to_container(CAPABILITY, &plain).expect("kept"),
            plain
        );
    }
}
