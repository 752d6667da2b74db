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
