// SPDX-License-Identifier: Apache-2.0
//! Owners inside and outside of a container: id maps, and the extended attribute that stands for an owner where
//! nobody may change one.

use serde::{Deserialize, Serialize, Serializer};

use crate::error::Result;
use crate::spec::runtime::IdMapping;

/// Extended attribute that holds the owner of a file of a rootless tree, as other rootless tools know it.
pub const ROOTLESS_XATTR: &[u8] = b"user.rootlesscontainers";

/// In that attribute: this part of the owner is not changed.
const NO_CHANGE: u32 = u32::MAX;

/// The side of an id map that an id is translated to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Host,
    Container,
}

/// Ids in the container and on the host; as JSON the `map_options` of a bundle.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct IdMap {
    /// Maps of user ids; none means that ids are the same.
    #[serde(rename = "uid_mappings", default, serialize_with = "or_null")]
    pub uids: Vec<IdMapping>,
    /// Maps of group ids; none means that ids are the same.
    #[serde(rename = "gid_mappings", default, serialize_with = "or_null")]
    pub gids: Vec<IdMapping>,
    /// Work without privileges: nothing is owned by anybody else, owners are kept in `ROOTLESS_XATTR`.
    #[serde(default)]
    pub rootless: bool,
}

fn or_null<S: Serializer>(maps: &[IdMapping], s: S) -> std::result::Result<S::Ok, S::Error> {
    // umoci in Go writes `null` for no maps.
    Some(maps).filter(|maps| !maps.is_empty()).serialize(s)
}

impl IdMap {
    /// Returns the map for the user who runs this process and has no privileges: root of the container is this user, and the owners of
    /// the files are kept in `ROOTLESS_XATTR`.
    pub fn of_this_user() -> Self {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let [uids, gids] = [user.as_raw(), group.as_raw()].map(|id| {
            vec![IdMapping {
                container_id: 0,
                host_id: id,
                size: 1,
            }]
        });
        Self {
            uids,
            gids,
            rootless: true,
        }
    }

    /// Parses `CONTAINER:HOST[:SIZE]`; the size is 1 if it is left out.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid), naming the part that is wrong.
    pub fn parse_mapping(text: &str) -> Result<IdMapping> {
        let fields: Vec<&str> = text.split(':').collect();
        let (container, host, size) = match fields[..] {
            [container, host] => (container, host, "1"),
            [container, host, size] => (container, host, size),
            _ => fail!(
                Invalid,
                "invalid number of fields in mapping {text:?}: {}",
                fields.len()
            ),
        };
        Ok(IdMapping {
            container_id: field(text, "containerID", container)?,
            host_id: field(text, "hostID", host)?,
            size: field(text, "size", size)?,
        })
    }

    /// Returns the owner on the host of what is owned by `uid:gid` in the container.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if the maps leave one of them out.
    pub fn to_host(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        Ok((self.uid(Side::Host, uid)?, self.gid(Side::Host, gid)?))
    }

    /// Returns the owner in the container of what is owned by `uid:gid` on the host.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if the maps leave one of them out.
    pub fn to_container(&self, uid: u32, gid: u32) -> Result<(u32, u32)> {
        Ok((self.uid(Side::Container, uid)?, self.gid(Side::Container, gid)?))
    }

    /// Returns a user id of the other side as it is called on side `to`.
    pub(super) fn uid(&self, to: Side, id: u32) -> Result<u32> {
        translate(&self.uids, "uid", to, id)
    }

    /// Returns a group id of the other side as it is called on side `to`.
    pub(super) fn gid(&self, to: Side, id: u32) -> Result<u32> {
        translate(&self.gids, "gid", to, id)
    }
}

fn field(mapping: &str, name: &str, text: &str) -> Result<u32> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => fail!(Invalid, "invalid {name} in mapping {mapping:?}: {text:?}"),
    }
}

/// Translates an id by the first map that holds it.
fn translate(maps: &[IdMapping], kind: &str, to: Side, id: u32) -> Result<u32> {
    let found = match maps {
        [] => Some(id),
        maps => maps.iter().find_map(|map| {
            let (from, into) = match to {
                Side::Host => (map.container_id, map.host_id),
                Side::Container => (map.host_id, map.container_id),
            };
            let offset = id.checked_sub(from).filter(|offset| *offset < map.size)?;
            into.checked_add(offset)
        }),
    };
    let (from, to) = match (to, found) {
        // chown(2) takes this id for "no change": the file would stay with whoever runs this process.
        (Side::Host, Some(u32::MAX) | None) => ("container", "host"),
        (Side::Container, None) => ("host", "container"),
        (_, Some(id)) => return Ok(id),
    };
    let text = format!("map {kind} to {to}: {from} id {id} cannot be mapped to a {to} id");
    fail!(Invalid, "{text}")
}

/// Returns the value of `ROOTLESS_XATTR` for an owner; `None` for 0:0, which needs none.
pub fn encode_rootless(uid: u32, gid: u32) -> Option<Vec<u8>> {
    if (uid, gid) == (0, 0) {
        return None;
    }
    let mut out = Vec::new();
    for (tag, id) in [(0x08, uid), (0x10, gid)] {
        out.push(tag);
        let mut id = if id == 0 { NO_CHANGE } else { id };
        while id >= 0x80 {
            out.push((id as u8 & 0x7f) | 0x80);
            id >>= 7;
        }
        out.push(id as u8);
    }
    Some(out)
}

/// Returns the owner in a value of `ROOTLESS_XATTR`.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) for what is no such value.
pub fn decode_rootless(value: &[u8]) -> Result<(u32, u32)> {
    // proto3 leaves out what is 0, so an absent field is root's.
    let mut owner = (0, 0);
    let mut rest = value;
    while !rest.is_empty() {
        let tag = read_varint(&mut rest);
        let id = read_varint(&mut rest).and_then(|id| u32::try_from(id).ok());
        let id = id.map(|id| if id == NO_CHANGE { 0 } else { id });
        match (tag, id) {
            (Some(0x08), Some(id)) => owner.0 = id,
            (Some(0x10), Some(id)) => owner.1 = id,
            _ => fail!(Corrupt, "invalid value of user.rootlesscontainers"),
        }
    }
    Ok(owner)
}

/// Takes a number off `bytes`: seven bits in each byte, the lowest first, and the high bit in all but the last.
fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut out = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        out |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(out);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> IdMapping {
        IdMap::parse_mapping(text).expect(text)
    }

    #[test]
    fn nobody_is_owned_by_the_id_that_means_no_change() {
        let whole = IdMap {
            uids: vec![map("0:100000:4294867296")],
            ..IdMap::default()
        };
        for (maps, uid) in [(IdMap::default(), u32::MAX), (whole, 4_294_867_295)] {
            let err = maps.to_host(uid, 0).expect_err("no owner");
            assert!(err.to_string().contains("cannot be mapped"), "{err}");
        }
    }

    #[test]
    fn maps_are_parsed_and_the_first_one_decides() {
        let maps = IdMap {
            uids: vec![map("0:1000"), map("1:100000:10")],
            gids: vec![],
            rootless: false,
        };
        for (inside, outside) in [
            ((0, 7), (1000, 7)),
            ((1, 0), (100_000, 0)),
            ((10, 0), (100_009, 0)),
        ] {
            assert_eq!(maps.to_host(inside.0, inside.1).expect("mapped"), outside);
            assert_eq!(maps.to_container(outside.0, outside.1).expect("mapped"), inside);
        }
        let err = maps.to_host(11, 0).expect_err("unmapped").to_string();
        assert_eq!(
            err,
            "map uid to host: container id 11 cannot be mapped to a host id"
        );
        let err = maps.to_container(5, 0).expect_err("unmapped").to_string();
        assert_eq!(
            err,
            "map uid to container: host id 5 cannot be mapped to a container id"
        );
        for (bad, want) in [
            ("1", "invalid number of fields in mapping \"1\": 1"),
            ("1:2:3:4", "invalid number of fields in mapping \"1:2:3:4\": 4"),
            ("x:2", "invalid containerID in mapping \"x:2\": \"x\""),
            ("1:-2", "invalid hostID in mapping \"1:-2\": \"-2\""),
            ("1:2:", "invalid size in mapping \"1:2:\": \"\""),
        ] {
            assert_eq!(IdMap::parse_mapping(bad).expect_err(bad).to_string(), want);
        }
    }

    #[test]
    fn rootless_owners_are_the_known_bytes() {
        for (owner, hex) in [
            ((992, 123), "08e007107b"),
            ((0, 456), "08ffffffff0f10c803"),
            ((98, 0), "086210ffffffff0f"),
            ((492, 218), "08ec0310da01"),
            ((123, 456), "087b10c803"),
        ] {
            let value = encode_rootless(owner.0, owner.1).expect("owner");
            assert_eq!(crate::digest::hex(&value), hex);
            assert_eq!(decode_rootless(&value).expect("own value"), owner);
        }
        assert_eq!(encode_rootless(0, 0), None);
        assert_eq!(decode_rootless(b"").expect("absent fields"), (0, 0));
        assert!(decode_rootless(b"\x08").is_err() && decode_rootless(b"\x18\x01").is_err());
    }
}
