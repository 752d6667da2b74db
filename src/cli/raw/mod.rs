// SPDX-License-Identifier: Apache-2.0
//! `umoci raw`: parts of the other commands by themselves.

mod add_layer;
mod mtree_validate;
mod runtime_config;
mod unpack;

use super::failure::Outcome;
use super::ui::Ui;

/// advanced internal image tooling
#[derive(clap::Subcommand, Debug)]
pub enum Raw {
    AddLayer(add_layer::AddLayer),
    #[command(visible_alias = "config")]
    RuntimeConfig(runtime_config::RuntimeConfig),
    Unpack(unpack::Unpack),
    #[command(hide = true)]
    MtreeValidate(mtree_validate::MtreeValidate),
}

impl Raw {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        match self {
            Raw::AddLayer(command) => command.run(ui),
            Raw::RuntimeConfig(command) => command.run(ui),
            Raw::Unpack(command) => command.run(ui),
            Raw::MtreeValidate(command) => command.run(ui),
        }
    }
}
