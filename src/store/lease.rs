// SPDX-License-Identifier: Apache-2.0
//! Leases: blobs that garbage collection spares for a time, though no ref leads to them.
//!
//! A lease is a file in our own directory and not a row of the database, because it cannot be derived: it survives a
//! database that is made anew.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Store;
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};
use crate::layout::MAX_OWN;
use crate::spec::mentions::each_digest;
use crate::spec::{RefName, json};

const DIR: &str = "leases";

/// Blobs that are kept, with all that they need, until a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lease {
    /// Its name, of the grammar of tags without a slash.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: Timestamp,
    /// When it ends, RFC 3339; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Digests of the blobs that it keeps.
    pub digests: Vec<Digest>,
}

impl Lease {
    fn endless(name: &str, digests: Vec<Digest>) -> Self {
        Self {
            name: name.to_owned(),
            created: Timestamp::now(),
            expires: None,
            digests,
        }
    }

    /// Returns whether it still holds.
    pub fn is_valid(&self) -> bool {
        self.expires.is_none_or(|end| Timestamp::now() < end)
    }
}

fn file(name: &str) -> Result<String> {
    let parsed: RefName = name.parse().context(|| "name of a lease")?;
    if parsed.as_str().contains('/') {
        fail!(Invalid, "name of a lease contains invalid characters: {name:?}");
    }
    Ok(format!("{DIR}/{name}.json"))
}

impl Store {
    /// Keeps `digests` for `time` (for ever if `None`) under `name`; an older lease of that name is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if a blob is not there, [`ErrorKind::Invalid`] for a name that cannot be one.
    pub(crate) fn create_lease(
        &self,
        name: &str,
        digests: &[Digest],
        time: Option<Duration>,
    ) -> Result<Lease> {
        // No collection comes between the look and the lease.
        let _lock = self.begin("lease")?;
        self.write_lease(name, digests, time)
    }

    /// As [`Store::create_lease`], by a caller that holds the lock of the layout.
    fn write_lease(&self, name: &str, digests: &[Digest], time: Option<Duration>) -> Result<Lease> {
        let path = file(name)?;
        digests.iter().try_for_each(|digest| self.require_blob(digest))?;
        let mut lease = Lease::endless(name, digests.to_vec());
        lease.expires = time.map(|time| {
            // A time beyond the calendar is as good as its last day.
            let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
            lease.created.saturating_add(time).unwrap_or(Timestamp::MAX)
        });
        let bytes = json::to_bytes(&lease)?;
        if bytes.len() as u64 > MAX_OWN {
            // It could not be read again, and nothing be collected.
            let text = format!("lease {name}: too many digests for one lease; make several");
            fail!(Limit, "{text}");
        }
        self.layout.private_dir().put(&path, &bytes)?;
        Ok(lease)
    }

    /// Returns all leases, also those that have ended, by name.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for one that cannot be read: what it keeps is not known.
    pub(crate) fn leases(&self) -> Result<Vec<Lease>> {
        let mut out = Vec::new();
        for (path, lease) in self.lease_files()? {
            let path = self.layout.private_dir().join(&path);
            out.push(lease.context(|| format!("parse {}, mend the file or remove it", path.display()))?);
        }
        out.sort_by(|a: &Lease, b: &Lease| a.name.cmp(&b.name));
        Ok(out)
    }

    /// Returns the digests that leases keep now, each with the name of a lease.
    ///
    /// # Errors
    /// As [`Store::leases`].
    pub(super) fn leased(&self) -> Result<HashMap<Digest, String>> {
        let mut out = HashMap::new();
        for lease in self.leases()?.into_iter().filter(Lease::is_valid).rev() {
            let Lease { name, digests, .. } = lease;
            out.extend(digests.into_iter().map(|digest| (digest, name.clone())));
        }
        Ok(out)
    }

    /// Returns the files of leases that cannot be read, each with what is wrong.
    pub(super) fn broken_leases(&self) -> Result<Vec<(String, Error)>> {
        let files = self.lease_files()?.into_iter();
        Ok(files
            .filter_map(|(path, lease)| Some((path, lease.err()?)))
            .collect())
    }

    /// Returns the files of leases in our own directory, each with what stands in it.
    fn lease_files(&self) -> Result<Vec<(String, Result<Lease>)>> {
        let dir = self.layout.private_dir();
        let mut out = Vec::new();
        for entry in dir.list(DIR)? {
            let path = format!("{DIR}/{entry}");
            let lease = match dir.read(&path) {
                Ok(Some(bytes)) => json::parse(&bytes),
                // Another process may have removed it.
                Ok(None) => continue,
                Err(err) => Err(err),
            };
            out.push((path, lease));
        }
        Ok(out)
    }

    /// Keeps the file of a lease that cannot be read aside, and puts a lease without an end in its place, of the digests that
    /// stand in it; `None` if there are none, and no lease is left.
    pub(super) fn mend_lease(&self, path: &str) -> Result<Option<usize>> {
        let dir = self.layout.private_dir();
        let bytes = dir.read(path).ok().flatten().unwrap_or_default();
        let mut digests = Vec::new();
        each_digest(bytes.as_slice(), |digest| {
            digests.push(digest);
            Ok(())
        })?;
        let name = path.strip_prefix("leases/");
        let name = name.and_then(|name| name.strip_suffix(".json"));
        // A file with a name that no lease may have could never be removed by a command.
        let Some(name) = name.filter(|name| !digests.is_empty() && file(name).is_ok()) else {
            dir.mend(path, None)?;
            return Ok(None);
        };
        let lease = Lease::endless(name, digests);
        dir.mend(path, Some(&json::to_bytes(&lease)?))?;
        Ok(Some(lease.digests.len()))
    }

    /// Ends a lease; `false` if there was none of that name.
    pub(crate) fn remove_lease(&self, name: &str) -> Result<bool> {
        self.layout.private_dir().remove(&file(name)?)
    }
}

impl super::Txn<'_> {
    /// As `Store::create_lease`, for blobs that this transaction has written: no collection comes before the lease.
    pub fn lease(&mut self, name: &str, digests: &[Digest], time: Option<Duration>) -> Result<Lease> {
        self.publish()?;
        self.store().write_lease(name, digests, time)
    }
}
