// SPDX-License-Identifier: Apache-2.0
//! Groups of options that several commands share, from the words as typed to checked values.

mod copy;
mod history;
mod image;
mod layers;
mod layout;
mod values;

pub use copy::{FormatArg, ReferrersArg};
pub use history::HistoryArgs;
pub use image::{ImageArg, ImageRef, ImageWord, Near, PlatformArg, TagArg, source};
pub use layers::{CompressArg, IdMapArgs, LayerName, LimitArgs};
pub use layout::{AlgorithmArg, LayoutArg, LockArg, blob, write_blob};
pub use values::{WholeArg, annotations, duration, one_of, optional, pattern, positionals, size};
