// SPDX-License-Identifier: Apache-2.0
//! Groups of options that several commands share, from the words as typed to checked values.

mod copy;
mod history;
mod image;
mod layers;
mod layout;
mod registry;
mod values;

pub use copy::{CopyArgs, TocArg};
pub use history::HistoryArgs;
pub use image::{ChangeArgs, ImageArgs, ImageRef, Near, PlatformArg, TagArg, UnpackArgs};
pub use layers::{CompressArg, IdMapArgs, LayerName, LimitArgs};
pub use layout::{AlgorithmArg, LayoutArg, LockArg, blob, layout_path, write_blob};
pub use registry::{
    RegistryArgs, RemotesArg, TagsArgs, expand, is_remote_name, repository, spool_dir, variable,
};
pub use values::{TableArgs, annotation, pattern, positionals, replace};
