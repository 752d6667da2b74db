// SPDX-License-Identifier: Apache-2.0
//! `umoci settings`: what a layout is set to.

use crate::store::{Field, REMOTE, parse_duration, parse_size};

use super::args::repository;
use super::prelude::*;

/// shows and changes the settings of a layout
///
/// Prints all settings of a layout, after a change if one is asked for, or the one that is named; with a value it is set.
/// They stand in .umoci/settings.json, and hold for everybody who uses the layout with umoci. Durations are written as
/// 45s, 30m, 24h, 7d, 2w; 0 is none. Sizes are bytes, or as 500MB, 20GiB.
///
/// remote.NAME is a repository in a registry, docker://HOST/PATH: where an image in a registry is named, NAME::TAG means its
/// tag then.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> [<key> [<value>]]")]
pub struct Settings {
    #[command(flatten)]
    layout: LayoutArg,
    /// umoci gc spares blobs that came within this time
    #[arg(long = "gc-grace", value_name = "duration", value_parser = parse_duration)]
    gc_grace: Option<Duration>,
    /// earlier values of names keep their blobs for so long
    #[arg(long = "reflog-keep", value_name = "duration", value_parser = parse_duration)]
    reflog_keep: Option<Duration>,
    /// umoci gc forgets changes of names that are older
    #[arg(long = "reflog-expire", value_name = "duration", value_parser = parse_duration)]
    reflog_expire: Option<Duration>,
    /// umoci gc drops the least used tables of contents of layers beyond so many bytes
    #[arg(long = "toc-max", value_name = "bytes", value_parser = parse_size)]
    toc_max: Option<u64>,
    /// remove a setting, which then has its default
    #[arg(long, value_name = "key")]
    unset: Option<String>,
    /// print a JSON object
    #[arg(long)]
    json: bool,
}

impl Settings {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let store = self.layout.open()?;
        let given = [self.gc_grace, self.reflog_keep, self.reflog_expire];
        let is_one = self.unset.is_some() || !self.layout.rest.is_empty();
        if is_one && (given.iter().any(Option::is_some) || self.toc_max.is_some()) {
            refuse!("give a setting by its name or by its option, one of both");
        }
        match (&self.unset, self.layout.rest.as_slice()) {
            (None, []) => self.all(&store, given, ui),
            (None, [key]) => self.one(&store, key, ui),
            (None, [key, value]) => {
                let value = checked(key, value)?;
                store.put_setting(key, Some(&value))?;
                Ok(())
            }
            (Some(key), []) => {
                check_key(key)?;
                if !store.put_setting(key, None)? {
                    fail!(
                        NotFound,
                        "{key} is not set in {}",
                        store.layout().path().display()
                    );
                }
                Ok(())
            }
            _ => refuse!("want a key and perhaps a value, or --unset with a key"),
        }
    }

    fn all(&self, store: &Store, given: [Option<Duration>; 3], ui: &Ui) -> Outcome {
        let mut settings = store.settings()?;
        let before = settings;
        for ((_, field), given) in settings.fields().into_iter().zip(given) {
            if let (Field::Duration(value), Some(given)) = (field, given) {
                *value = given;
            }
        }
        settings.toc_max = self.toc_max.unwrap_or(settings.toc_max);
        // A layout that is only asked may be one that this user cannot write.
        if settings != before {
            store.set_settings(settings)?;
        }
        let mut table = Table::new(&["SETTING", "VALUE"]);
        let mut map = serde_json::Map::new();
        for (name, value) in values(store)? {
            map.insert(name.clone(), value.as_str().into());
            table.row([name, value]);
        }
        ui.show(self.json, &map, table)
    }

    fn one(&self, store: &Store, key: &str, ui: &Ui) -> Outcome {
        check_key(key)?;
        let found = values(store)?.into_iter().find(|(name, _)| name == key);
        let Some((_, value)) = found else {
            fail!(
                NotFound,
                "{key} is not set in {}",
                store.layout().path().display()
            );
        };
        ui.show(self.json, &value, line_each([&value]))
    }
}

/// Returns all settings by their names.
fn values(store: &Store) -> Outcome<Vec<(String, String)>> {
    let mut settings = store.settings()?;
    let fields = settings.fields().into_iter();
    let mut out: Vec<_> = fields
        .map(|(name, field)| (name.to_owned(), field.text()))
        .collect();
    let remotes = store.remotes()?.into_iter();
    out.extend(remotes.map(|(name, place)| (format!("{REMOTE}{name}"), place)));
    Ok(out)
}

/// Refuses a name that no setting has.
fn check_key(key: &str) -> Outcome {
    let mut defaults = crate::store::Settings::default();
    let mut known = defaults.fields().into_iter().map(|(name, _)| name);
    let is_remote = key.strip_prefix(REMOTE).is_some_and(is_remote_name);
    if is_remote || known.any(|name| name == key) {
        return Ok(());
    }
    refuse!("invalid key: {key:?} (want gc.grace, reflog.keep, reflog.expire, toc.max, or remote.NAME)")
}

/// Returns the value of a setting as it is kept.
fn checked(key: &str, value: &str) -> Outcome<String> {
    check_key(key)?;
    let mut defaults = crate::store::Settings::default();
    let mut fields = defaults.fields().into_iter();
    if let Some((_, mut field)) = fields.find(|(name, _)| *name == key) {
        field.set(value).map_err(invalid::<Error>(key))?;
        return Ok(field.text());
    }
    Ok(format!("docker://{}", repository(value, key)?))
}
