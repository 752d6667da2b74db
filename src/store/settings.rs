// SPDX-License-Identifier: Apache-2.0
//! Settings of one layout: a file in our own directory, since they cannot be derived from the layout.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Lock, LockMode};
use crate::spec::json;

const FILE: &str = "settings.json";
/// Prefix of the settings that name repositories in registries.
pub(crate) const REMOTE: &str = "remote.";

/// Settings of a layout. A setting that is absent has its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// `gc` spares blobs younger than this; default 0.
    pub gc_grace: Duration,
    /// The old values in the reflog keep their blobs for so long after they were replaced; default 0.
    pub reflog_keep: Duration,
    /// `gc` drops entries of the reflog that are older; default 90 days.
    pub reflog_expire: Duration,
    /// Maximum size in bytes of the tables of contents and checkpoints of layers together, beyond which `gc` drops those that were
    /// used least recently; default 2 GiB.
    pub toc_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gc_grace: Duration::ZERO,
            reflog_keep: Duration::ZERO,
            reflog_expire: Duration::from_secs(90 * 86_400),
            toc_max: 2 << 30,
        }
    }
}

/// The value of a setting, by its type.
#[derive(Debug)]
pub(crate) enum Field<'a> {
    Duration(&'a mut Duration),
    /// Bytes.
    Size(&'a mut u64),
}

impl Field<'_> {
    /// Sets the value to what people write.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the text.
    pub(crate) fn set(&mut self, text: &str) -> Result<()> {
        match self {
            Field::Duration(value) => **value = parse_duration(text)?,
            Field::Size(value) => **value = parse_size(text)?,
        }
        Ok(())
    }

    /// Returns the form that [`Field::set`] reads.
    pub(crate) fn text(&self) -> String {
        match self {
            Field::Duration(value) => format_duration(**value),
            Field::Size(value) => format_size(**value),
        }
    }
}

impl Settings {
    /// Returns the settings with their names in the file.
    pub(crate) fn fields(&mut self) -> [(&'static str, Field<'_>); 4] {
        [
            ("gc.grace", Field::Duration(&mut self.gc_grace)),
            ("reflog.keep", Field::Duration(&mut self.reflog_keep)),
            ("reflog.expire", Field::Duration(&mut self.reflog_expire)),
            ("toc.max", Field::Size(&mut self.toc_max)),
        ]
    }
}

impl Store {
    /// Returns the settings of the layout.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] or [`ErrorKind::Corrupt`] if the file cannot be understood: a setting that protects blobs
    /// must not be passed over.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut out = Settings::default();
        let file = self.read_settings()?;
        for (name, mut value) in out.fields() {
            if let Some(text) = file.get(name) {
                let set = value.set(text.as_str().unwrap_or_default());
                set.map_err(|err| self.broken_settings(&format!("{name}: {err}"), &err))?;
            }
        }
        Ok(out)
    }

    /// Changes the settings of the layout; what this program does not know stays in the file.
    pub(crate) fn set_settings(&self, mut settings: Settings) -> Result<()> {
        self.change_settings(|file| {
            for (name, value) in settings.fields() {
                file.insert(name.to_owned(), value.text().into());
            }
        })
    }

    /// Returns the repositories in registries that have a name here, by that.
    ///
    /// # Errors
    /// As [`Store::settings`].
    pub(crate) fn remotes(&self) -> Result<BTreeMap<String, String>> {
        let mut out = BTreeMap::new();
        for (key, value) in &self.read_settings()? {
            let Some(name) = key.strip_prefix(REMOTE) else {
                continue;
            };
            let Some(place) = value.as_str() else {
                let err = Error::new(ErrorKind::Invalid, "not a text");
                return Err(self.broken_settings(&format!("{key}: {err}"), &err));
            };
            out.insert(name.to_owned(), place.to_owned());
        }
        Ok(out)
    }

    /// Sets one setting by its name in the file, or removes it. Returns whether it was there.
    ///
    /// # Errors
    /// As [`Store::settings`].
    pub(crate) fn put_setting(&self, key: &str, value: Option<&str>) -> Result<bool> {
        self.change_settings(|file| match value {
            Some(value) => file.insert(key.to_owned(), value.into()).is_some(),
            None => file.shift_remove(key).is_some(),
        })
    }

    /// Changes the file, of which a newer release may have written more than this one knows.
    fn change_settings<T>(&self, change: impl FnOnce(&mut Map<String, Value>) -> T) -> Result<T> {
        // Two changes at once would lose one.
        let timeout = self.opts.lock_timeout;
        let _lock = self.layout.take_lock(Lock::Refs, LockMode::Exclusive, timeout)?;
        let mut file = self.read_settings()?;
        let out = change(&mut file);
        self.layout.private_dir().put(FILE, &json::to_bytes(&file)?)?;
        Ok(out)
    }

    /// Drops the settings that cannot be understood, so that they have their defaults; returns their names. The file is kept aside.
    pub(super) fn mend_settings(&self) -> Result<Vec<String>> {
        let (mut file, mut lost) = (Map::new(), vec!["all settings".to_owned()]);
        if let Ok(found) = self.read_settings() {
            (file, lost) = (found, Vec::new());
        }
        // A file that is JSON loses no more than the values that cannot be read.
        for (name, mut value) in Settings::default().fields() {
            let text = file.get(name).map(|value| value.as_str().unwrap_or_default());
            if text.is_some_and(|text| value.set(text).is_err()) {
                file.shift_remove(name);
                lost.push(name.to_owned());
            }
        }
        let odd = file
            .iter()
            .filter(|(key, value)| key.starts_with(REMOTE) && !value.is_string());
        let odd: Vec<String> = odd.map(|(key, _)| key.clone()).collect();
        for key in odd {
            file.shift_remove(&key);
            lost.push(key);
        }
        let bytes = json::to_bytes(&file)?;
        let rest = (!file.is_empty()).then_some(bytes.as_slice());
        self.layout.private_dir().mend(FILE, rest)?;
        Ok(lost)
    }

    fn read_settings(&self) -> Result<Map<String, Value>> {
        match self.layout.private_dir().read(FILE)? {
            Some(bytes) => json::parse(&bytes).map_err(|err| self.broken_settings(&err.to_string(), &err)),
            None => Ok(Map::new()),
        }
    }

    fn broken_settings(&self, why: &str, err: &Error) -> Error {
        let path = self.layout.private_dir().join(FILE);
        let text = format!("{}: {why}; mend the file or remove it", path.display());
        Error::new(err.kind(), text)
    }
}

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// A duration as people write it: `90d`, `1h30m`, `0`.
///
/// # Errors
/// [`ErrorKind::Invalid`], naming the text.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let seconds = if text == "0" { Some(0) } else { parse_parts(text) };
    let Some(seconds) = seconds else {
        let text = format!("not a duration: {text:?} (write 45s, 30m, 24h, 7d, 2w, or several as 1h30m)");
        fail!(Invalid, "{text}");
    };
    Ok(Duration::from_secs(seconds))
}

/// Returns the seconds in a duration of one part or several, each a number and a unit.
fn parse_parts(text: &str) -> Option<u64> {
    let (mut rest, mut seconds) = (text, 0_u64);
    while !rest.is_empty() {
        let (count, next) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, size) = UNITS.iter().find(|(unit, _)| next.starts_with(*unit))?;
        let part = count.parse::<u64>().ok()?.checked_mul(*size)?;
        seconds = seconds.checked_add(part)?;
        rest = next.strip_prefix(*unit)?;
    }
    // No part at all is a slip, and no zero.
    (!text.is_empty()).then_some(seconds)
}

/// Reads a size in bytes, perhaps with a unit as sizes are printed (`20GB`) or one of 1024 (`20GiB`).
///
/// # Errors
/// [`ErrorKind::Invalid`], naming the text.
pub fn parse_size(text: &str) -> Result<u64> {
    let Some(size) = bytes(text) else {
        fail!(Invalid, "{text:?} (write bytes, or as 500MB, 20GB, 20GiB)");
    };
    Ok(size)
}

fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.to_ascii_uppercase();
    // `KiB` counts by 1024, `KB` and `K` by 1000, as sizes are printed.
    let (step, unit) = match unit.strip_suffix("IB") {
        Some(unit) => (1024_u64, unit),
        None => (1000, unit.strip_suffix('B').unwrap_or(&unit)),
    };
    let mut powers = ["", "K", "M", "G", "T"].into_iter().zip(0..);
    let (_, power) = powers.find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(step.pow(power))
}

/// The form that [`parse_size`] reads, to the byte.
fn format_size(size: u64) -> String {
    let mut units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)].into_iter();
    let whole = units.find(|(_, unit)| size > 0 && size.is_multiple_of(*unit));
    whole.map_or_else(
        || size.to_string(),
        |(name, unit)| format!("{}{name}", size / unit),
    )
}

/// The form that [`parse_duration`] reads, to the second.
pub fn format_duration(duration: Duration) -> String {
    let mut seconds = duration.as_secs();
    let mut out = String::new();
    // Weeks are left out: nobody expects to read back 12w6d.
    for (unit, size) in &UNITS[1..] {
        if seconds >= *size {
            let _ = write!(out, "{}{unit}", seconds / size);
            seconds %= size;
        }
    }
    if out.is_empty() { "0".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds, back) in [
            ("0", 0, "0"),
            ("0s", 0, "0"),
            ("90d", 7_776_000, "90d"),
            ("1h30m", 5400, "1h30m"),
            ("2w", 1_209_600, "14d"),
            ("3661s", 3661, "1h1m1s"),
        ] {
            let duration = parse_duration(text).expect(text);
            assert_eq!(duration.as_secs(), seconds, "{text}");
            assert_eq!(format_duration(duration), back);
        }
        for bad in ["", "1", "d", "-1d", "1y", "1.5h", "99999999999999999999d", "1d "] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, back) in [
            ("0", 0, "0"),
            ("1000", 1000, "1000"),
            ("20GB", 20_000_000_000, "19531250KiB"),
            ("2048kib", 2 << 20, "2MiB"),
            ("2GiB", 2 << 30, "2GiB"),
        ] {
            assert_eq!(parse_size(text).expect(text), bytes, "{text}");
            assert_eq!(format_size(bytes), back);
            assert_eq!(parse_size(back).expect(back), bytes);
        }
        for bad in ["", "x", "1.5GB", "-1", "99999999999999999999", "1 GB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_known_stays_and_what_is_not_understood_is_an_error() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
        assert_eq!(store.settings().expect("default"), Settings::default());
        let path = store.layout().private_dir().join(FILE);
        std::fs::create_dir_all(store.layout().private_dir()).expect("mkdir");
        std::fs::write(&path, r#"{"new.one":[1],"gc.grace":"1d"}"#).expect("write");
        let mut settings = store.settings().expect("settings");
        assert_eq!(settings.gc_grace.as_secs(), 86_400);
        settings.reflog_keep = Duration::from_secs(60);
        store.set_settings(settings).expect("set");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(
            text,
            "{\"new.one\":[1],\"gc.grace\":\"1d\",\"reflog.keep\":\"1m\",\"reflog.expire\":\"90d\",\"toc.max\":\"2GiB\"}\n"
        );
        for bad in ["{", r#"{"gc.grace":"soon"}"#, r#"{"gc.grace":7}"#] {
            std::fs::write(&path, bad).expect("write");
            let err = store.settings().expect_err(bad).to_string();
            let name = format!("{}: ", path.display());
            assert!(
                err.starts_with(&name) && err.ends_with("; mend the file or remove it"),
                "{err}"
            );
        }
    }
}
