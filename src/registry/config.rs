// SPDX-License-Identifier: Apache-2.0
//! `registries.conf`: other places of repositories, and hosts that are not trusted to be who they say.
//!
//! Spec: containers-registries.conf(5), version 2.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::reference::RepositoryName;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// The settings of `registries.conf` and of the files beside it.
#[derive(Clone, Debug, Default)]
pub struct RegistriesConf(Vec<Table>);

#[derive(Deserialize, Default)]
struct File {
    #[serde(default)]
    registry: Vec<Table>,
}

/// Settings of the repositories below a prefix.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Table {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    #[serde(rename = "pull-from-mirror")]
    serves: Option<String>,
}

/// A place where a repository is to be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Its name there.
    pub name: RepositoryName,
    /// True if plain HTTP and certificates of unknown authorities are taken.
    pub is_insecure: bool,
    /// True for requests by digest, and for those by tag, that it is asked for.
    pub serves: (bool, bool),
}

impl RegistriesConf {
    /// Reads the file of this user or else of this machine, and those of the directories `registries.conf.d`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a file that does not follow the format.
    pub fn default_of(var: &dyn Fn(&str) -> Option<PathBuf>) -> Result<Self> {
        if let Some(file) = var("CONTAINERS_REGISTRIES_CONF") {
            return Self::read(&[file]);
        }
        let home = var("HOME").unwrap_or_else(|| "/".into());
        let own = var("XDG_CONFIG_HOME")
            .unwrap_or_else(|| home.join(".config"))
            .join("containers");
        let system = Path::new("/etc/containers");
        let main = [&own, system].map(|dir| dir.join("registries.conf"));
        let mut files: Vec<PathBuf> = main.into_iter().find(|file| file.exists()).into_iter().collect();
        for dir in [system, &own] {
            files.extend(files_in(&dir.join("registries.conf.d")));
        }
        Self::read(&files)
    }

    /// Reads files; a later one replaces the settings of a prefix.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a file that does not follow the format.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut tables: Vec<Table> = Vec::new();
        for path in files {
            let text = fs::read_to_string(path).doing("read", path)?;
            let file: File = toml::from_str(&text)
                .map_err(|err| Error::new(ErrorKind::Corrupt, err.message().replace('\n', " ")))
                .doing("read", path)?;
            for table in file.registry {
                tables.retain(|known| known.prefix() != table.prefix());
                tables.push(table);
            }
        }
        Ok(Self(tables))
    }

    /// Returns the places of a repository to read from, in order; the last is its own.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if it is blocked, `ErrorKind::Invalid` if a place has no valid name.
    pub(super) fn places(&self, name: &RepositoryName) -> Result<Vec<Place>> {
        let text = name.to_string();
        let fitting = self.0.iter().filter(|table| table.is_above(&text));
        let Some(table) = fitting.max_by_key(|table| table.prefix().len()) else {
            return Ok(vec![Place::own(name.clone(), false)]);
        };
        if table.blocked {
            fail!(Denied, "{name} is blocked by registries.conf");
        }
        let mut out = Vec::new();
        for mirror in &table.mirror {
            let serves = match mirror.serves.as_deref() {
                Some("digest-only") => (true, false),
                Some("tag-only") => (false, true),
                _ => (true, !table.mirror_by_digest_only),
            };
            out.push(Place {
                name: table.rewritten(&text, &mirror.location)?,
                is_insecure: mirror.insecure,
                serves,
            });
        }
        let own = match &table.location {
            Some(location) => table.rewritten(&text, location)?,
            None => name.clone(),
        };
        out.push(Place::own(own, table.insecure));
        Ok(out)
    }
}

impl Place {
    pub(super) fn own(name: RepositoryName, is_insecure: bool) -> Self {
        Self {
            name,
            is_insecure,
            serves: (true, true),
        }
    }
}

impl Table {
    fn prefix(&self) -> &str {
        self.prefix
            .as_deref()
            .or(self.location.as_deref())
            .unwrap_or_default()
    }

    /// Returns whether its prefix ends at a boundary of this name; `*.domain` means hosts below a domain.
    fn is_above(&self, name: &str) -> bool {
        let prefix = self.prefix();
        if let Some(domain) = prefix.strip_prefix('*') {
            let host = name.split(['/', ':']).next().unwrap_or_default();
            return domain.starts_with('.') && host.ends_with(domain);
        }
        let rest = name.strip_prefix(prefix);
        !prefix.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the name with `location` in place of the prefix.
    fn rewritten(&self, name: &str, location: &str) -> Result<RepositoryName> {
        if self.prefix().starts_with('*') {
            let path = name.split_once('/').map_or("", |(_, path)| path);
            return format!("{location}/{path}").parse();
        }
        let rest = name.strip_prefix(self.prefix()).unwrap_or_default();
        format!("{location}{rest}").parse()
    }
}

/// Returns the files of settings in a directory, by name; none if it is not there.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut out: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    out.retain(|path| path.extension().is_some_and(|end| end == "conf"));
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "mirror.example/hub"
[[registry.mirror]]
location = "127.0.0.1:5000"
insecure = true
pull-from-mirror = "digest-only"
[[registry]]
prefix = "*.corp.example"
location = "all.corp.example"
insecure = true
[[registry]]
location = "bad.example"
blocked = true
[[registry]]
location = "q.io/a"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.io/b"
"#;

    fn places(name: &str) -> Result<Vec<String>> {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("registries.conf");
        fs::write(&file, CONF).expect("write");
        let conf = RegistriesConf::read(&[file]).expect("read");
        let places = conf.places(&name.parse().expect("name"))?;
        let show = |place: &Place| {
            let marks = [
                (place.is_insecure, "!"),
                (!place.serves.0, " no digests"),
                (!place.serves.1, " no tags"),
            ];
            let marks: String = marks.iter().filter(|mark| mark.0).map(|mark| mark.1).collect();
            format!("{}{marks}", place.name)
        };
        Ok(places.iter().map(show).collect())
    }

    #[test]
    fn a_repository_is_looked_for_at_its_mirrors_first() {
        for (name, want) in [
            (
                "debian",
                &[
                    "mirror.example/hub/library/debian",
                    "127.0.0.1:5000/library/debian! no tags",
                    "docker.io/library/debian",
                ][..],
            ),
            ("x.corp.example/y/z", &["all.corp.example/y/z!"]),
            ("corp.example/y", &["corp.example/y"]),
            ("q.io/a/x", &["m.io/b/x no tags", "q.io/a/x"]),
            ("q.io/ab", &["q.io/ab"]),
        ] {
            assert_eq!(places(name).expect(name), want, "{name}");
        }
        assert_eq!(
            places("bad.example/x").expect_err("blocked").kind(),
            ErrorKind::Denied
        );
    }
}
