// SPDX-License-Identifier: Apache-2.0
//! The parts of a layout (`oci-layout`, `index.json`, `blobs/`): made, opened, mended. Spec: image-spec, image-layout.

use std::path::Path;
use std::time::Duration;

use super::disk::{self, Disk, OsDisk};
use super::{IndexJson, Layout, LockMode, MAX_INDEX, state_of};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt};

/// The file `oci-layout`.
pub(crate) const OCI_LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}\n";

/// An `index.json` without entries.
const EMPTY_INDEX: &[u8] =
    b"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}\n";

/// The version of the layouts that are understood.
const VERSION: &str = "1.0.0";

/// Maximum size of the file `oci-layout`, in bytes.
const MAX_OCI_LAYOUT: u64 = 1 << 20;

/// Returns the version in a file `oci-layout`.
pub(crate) fn layout_version(bytes: &[u8]) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Version {
        #[serde(rename = "imageLayoutVersion", default)]
        version: String,
    }
    let found: Version = crate::spec::json::parse(bytes)?;
    Ok(found.version)
}

/// Content that may be in the directory that becomes a layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// There may be no directory.
    New,
    /// Nothing.
    Empty,
    /// Directories of other layouts, but none with the name of a part.
    Shared,
}

impl Layout {
    /// Makes an empty layout at `path`, where nothing may be. Directories above it are made as needed.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if something is there.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_on(path, Box::new(OsDisk), Room::New)
    }

    /// As [`Layout::create`], but an empty directory may be there.
    ///
    /// # Errors
    /// As [`Layout::create`].
    pub(crate) fn create_in(path: &Path) -> Result<Self> {
        Self::create_on(path, Box::new(OsDisk), Room::Empty)
    }

    /// As [`Layout::create`], but a directory may be there that has other layouts below it.
    ///
    /// # Errors
    /// As [`Layout::create`].
    pub(crate) fn create_among(path: &Path) -> Result<Self> {
        Self::create_on(path, Box::new(OsDisk), Room::Shared)
    }

    pub(crate) fn create_on(path: &Path, disk: Box<dyn Disk>, room: Room) -> Result<Self> {
        let above = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(above) = above {
            disk::make_dirs(above)?;
        }
        let made = disk::make_dir(path)?;
        let has_room = match room {
            Room::New => false,
            Room::Empty => disk::is_real_dir(path) && disk::list(path)?.is_empty(),
            Room::Shared => disk::is_real_dir(path) && parts_in(path)?.is_empty(),
        };
        // A layout that a killed process left half made is completed.
        if !made && !has_room && !is_unfinished(path, room)? {
            fail!(Exists, "path already exists: {}", path.display());
        }
        match disk.sync_dir(above.unwrap_or(Path::new("."))) {
            // A directory that may be written to but not read cannot be synced.
            Err(err) if err.kind() == ErrorKind::Denied => {}
            result => result?,
        }
        let layout = Self::at(path, disk)?;
        let lock = layout.lock(LockMode::Exclusive, Duration::ZERO, "init");
        if !made && (lock.is_err() || !is_unfinished(path, room)?) {
            // Another process is about to make it, or has just done so.
            fail!(Exists, "path already exists: {}", path.display());
        }
        lock.and_then(|_held| layout.fill()).inspect_err(|_| {
            // Half a layout would only be in the way of the next attempt; layouts below it are not.
            if made {
                let _ = disk::remove_all(path);
            } else {
                for part in PARTS {
                    let _ = disk::remove_all(&path.join(part));
                }
            }
        })?;
        Ok(layout)
    }

    /// Returns the state of the `index.json` of a new layout; see [`Layout::update_index_logged`].
    pub(crate) fn state_when_new() -> Digest {
        state_of(EMPTY_INDEX)
    }

    /// Writes what the spec wants in an empty layout.
    fn fill(&self) -> Result<()> {
        self.mend_part("blobs")?;
        self.replace("index.json", EMPTY_INDEX)?;
        // Written last: what has no `oci-layout` is no layout yet.
        self.mend_part("oci-layout")
    }

    /// Returns a directory that has some of the parts of a layout; `None` if it has none. Only for repairs.
    pub(crate) fn open_broken(path: &Path) -> Result<Option<Self>> {
        let mut found = 0;
        for part in ["blobs", "index.json", "oci-layout"] {
            found += usize::from(disk::lstat(&path.join(part))?.is_some());
        }
        if found < 2 {
            return Ok(None);
        }
        Self::at(path, Box::new(OsDisk)).map(Some)
    }

    /// Returns the parts of a layout, but for `index.json`, that are missing or cannot be understood, each with what is wrong.
    pub(crate) fn broken_parts(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        if !disk::stat(&self.blobs_dir()).is_ok_and(|found| found.is_some_and(|f| f.is_dir())) {
            out.push(("blobs", "is no directory".to_owned()));
        }
        let read = disk::read(&self.0.root.join("oci-layout"), MAX_OCI_LAYOUT);
        match read.and_then(|(bytes, _)| layout_version(&bytes)) {
            Ok(version) if version == VERSION => {}
            Ok(_) => out.push(("oci-layout", "does not say version 1.0.0".to_owned())),
            Err(err) => out.push(("oci-layout", format!("cannot be read: {err}"))),
        }
        out
    }

    /// Writes a part of a layout of which there is only one form.
    pub(crate) fn mend_part(&self, name: &str) -> Result<()> {
        if name == "oci-layout" {
            return self.replace(name, OCI_LAYOUT);
        }
        self.access().make_dir(&self.blobs_dir())?;
        self.access().make_dir(&self.algorithm_dir(Algorithm::Sha256))?;
        self.disk().sync_dir(&self.blobs_dir())
    }

    /// Keeps `index.json` aside, which is about to be replaced.
    pub(crate) fn keep_index_aside(&self) -> Result<()> {
        self.private_dir().keep_aside(&self.index_path(), "index.json")
    }

    /// Makes `index.json` anew where it cannot be read or no entry names anything, and keeps what stands there aside. `make` gives
    /// the new one, from the bytes that are there; `log` is told what comes, and its state, right before that takes effect. Returns
    /// `None` if the file has such entries now.
    ///
    /// # Errors
    /// Those of `make` and `log`, and [`ErrorKind::Busy`] if a lock is not had within `timeout`.
    pub(crate) fn rebuild_index<T>(
        &self,
        timeout: Duration,
        make: impl FnOnce(&[u8]) -> Result<(IndexJson, T)>,
        log: impl FnOnce(&IndexJson, &Digest) -> Result<()>,
    ) -> Result<Option<T>> {
        let _locks = self.lock_index(timeout)?;
        // An unreadable file counts as empty, and is kept as well.
        let torn = disk::read(&self.index_path(), MAX_INDEX).map_or_else(|_| Vec::new(), |(bytes, _)| bytes);
        if IndexJson::parse(&torn).is_ok_and(|index| !index.is_emptied()) {
            return Ok(None);
        }
        let (index, out) = make(&torn)?;
        let bytes = index.to_bytes();
        self.keep_index_aside()?;
        log(&index, &state_of(&bytes))?;
        self.replace("index.json", &bytes)?;
        Ok(Some(out))
    }

    /// Opens the layout at `path`. Nothing is created, so a read-only one will do.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Corrupt`] if it is none, [`ErrorKind::Unsupported`] for a version other
    /// than 1.0.0.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_on(path, Box::new(OsDisk))
    }

    pub(crate) fn open_on(path: &Path, disk: Box<dyn Disk>) -> Result<Self> {
        let file = path.join("oci-layout");
        let read = disk::read(&file, MAX_OCI_LAYOUT).context(|| "validate: read oci-layout");
        let Some((bytes, _)) = read.if_there()? else {
            let why = format!("read oci-layout: {} does not exist", file.display());
            return Err(invalid(path, ErrorKind::NotFound, &why));
        };
        let file = file.display();
        let version = layout_version(&bytes)
            .map_err(|err| invalid(path, ErrorKind::Corrupt, &format!("parse {file}: {err}")))?;
        if version != VERSION {
            let text = format!("layout version is not supported: {version:?} in {file}");
            return Err(invalid(path, ErrorKind::Unsupported, &text));
        }
        for (name, is_dir) in [("blobs", true), ("index.json", false)] {
            let part = path.join(name);
            let (kind, why) = match disk::stat(&part)? {
                None => (ErrorKind::NotFound, "does not exist"),
                Some(found) if found.is_dir() == is_dir => continue,
                Some(_) if is_dir => (ErrorKind::Corrupt, "is no directory"),
                Some(_) => (ErrorKind::Corrupt, "is a directory"),
            };
            return Err(invalid(path, kind, &format!("{} {why}", part.display())));
        }
        Self::at(path, disk)
    }
}

/// Returns why there is no layout at `path` that can be opened, and whether a repair may help.
fn invalid(path: &Path, kind: ErrorKind, why: &str) -> Error {
    let err = Error::new(kind, format!("validate: {why}: invalid image detected"));
    match kind {
        ErrorKind::Unsupported => err,
        _ if matches!(Layout::open_broken(path), Ok(Some(_))) => err.with_fact(Fact::TornIndex),
        ErrorKind::NotFound => err.with_fact(Fact::NoLayout),
        _ => err,
    }
}

/// Names in the directory of a layout that are parts of it.
pub(crate) const PARTS: [&str; 4] = ["oci-layout", "index.json", "blobs", ".umoci"];

/// Returns the names of the parts of a layout that stand in a directory.
fn parts_in(path: &Path) -> Result<Vec<std::ffi::OsString>> {
    let mut names = disk::list(path)?;
    names.retain(|name| PARTS.iter().any(|part| name == part));
    Ok(names)
}

/// Returns the directories below `top`, and `top` itself, that have the file `oci-layout`, at most `limit` of them, in order. No link
/// is followed, and nothing is looked for in the parts of a layout.
pub(crate) fn layouts_below(top: &Path, limit: usize) -> Result<Vec<std::path::PathBuf>> {
    let (mut out, mut waiting) = (Vec::new(), vec![top.to_owned()]);
    while let Some(dir) = waiting.pop() {
        if disk::lstat(&dir.join("oci-layout"))?.is_some() {
            out.push(dir.clone());
        }
        let mut names = disk::list(&dir)?;
        names.retain(|name| !PARTS.iter().any(|part| name == part));
        // The last that is put there is looked at first.
        names.sort_unstable_by(|a, b| b.cmp(a));
        let below = names.into_iter().map(|name| dir.join(name));
        waiting.extend(below.filter(|path| disk::is_real_dir(path)));
        if out.len() >= limit || waiting.len() > limit {
            break;
        }
    }
    out.truncate(limit);
    out.sort_unstable();
    Ok(out)
}

/// Returns whether at `path` stands a layout that was begun and not finished: only our own parts, no blob, and not yet
/// `oci-layout`, which comes last.
fn is_unfinished(path: &Path, room: Room) -> Result<bool> {
    if !disk::is_real_dir(&path.join(".umoci")) {
        return Ok(false);
    }
    let blobs = path.join("blobs");
    let mut others = match room {
        Room::Shared => parts_in(path)?,
        Room::New | Room::Empty => disk::list(path)?,
    };
    others.retain(|name| {
        ![".umoci", "blobs", "index.json"]
            .iter()
            .any(|known| name == known)
    });
    Ok(others.is_empty()
        && disk::list(&blobs)?.iter().all(|name| name == "sha256")
        && disk::list(&blobs.join("sha256"))?.is_empty())
}
