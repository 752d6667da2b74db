// SPDX-License-Identifier: Apache-2.0
//! `umoci raw`: parts of the other commands by themselves.

mod add_layer;
mod mtree_validate;
mod runtime_config;
mod unpack;

commands! {
    /// advanced internal image tooling
    Raw {
        AddLayer(add_layer::AddLayer),
        #[command(visible_alias = "config")]
        RuntimeConfig(runtime_config::RuntimeConfig),
        Unpack(unpack::Unpack),
        #[command(hide = true)]
        MtreeValidate(mtree_validate::MtreeValidate),
    }
}
