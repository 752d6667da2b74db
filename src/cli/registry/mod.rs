// SPDX-License-Identifier: Apache-2.0
//! Commands that speak to registries, and what they have in common.

pub mod cache;
pub mod list_tags;
pub mod login;
pub mod pull;
pub mod push;
pub mod remote;
pub mod wanted;

use crate::registry::Registry;

use super::prelude::*;

/// Shows what registries had to say.
pub fn show_warnings(registry: &Registry, ui: &Ui) {
    for warning in registry.take_warnings() {
        ui.warn(format_args!("{warning}"));
    }
}

/// Opens the layout that images come to; `None` if there is none yet.
fn open_if_there(path: &Path, lock: &LockArg) -> Outcome<Option<Store>> {
    // A directory that is no layout is empty, or what a pull left that was killed as it made it: else it is refused later.
    crate::fs::exists(&path.join("oci-layout"))?
        .then(|| lock.open(path))
        .transpose()
}

/// Makes a layout for what comes, and opens it.
fn make_layout(path: &Path, lock: &LockArg) -> Outcome<Store> {
    let made = Store::create_in(path, StoreOptions::default());
    // Another process may have been faster.
    if !matches!(&made, Err(err) if err.kind() == ErrorKind::Exists) {
        made?;
    }
    lock.open(path)
}
