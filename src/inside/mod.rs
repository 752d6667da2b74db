// SPDX-License-Identifier: Apache-2.0
//! Answers about the contents of images, from the tables of contents of their layers: data alone, no text.
//!
//! Invariants: a layer that cannot be seen is named, and never taken for an empty one in silence; bytes of a file are checked against
//! the digest in the table, and the table was made by a pass that checked the diff_id; nothing here decides over blobs.

mod changes;
mod check;
mod compare;
mod contents;
mod delta;
mod documents;
mod duplicates;
mod find;
mod grep;
mod pathspec;
mod read;
mod report;
mod side;
mod take_out;
mod text;
mod view;
mod waste;
mod which;
mod whole;

pub use changes::{Counts, Event, Step, changes, events, last_changes, real_path, steps, versions};
pub use check::{Culprit, Rule, Verdict};
pub use compare::{CompareOptions, Paths, compare, hash_undecided};
pub use contents::{ContentLayer, Contents, End, Item, ItemBody, make_tables};
pub use delta::{Delta, Fields, Spot, SpotKind, Status};
pub use documents::{LayerDelta, ValueDelta, config_deltas, layer_deltas};
pub use duplicates::{Duplicate, Duplicates};
pub use find::{Expr, Number, Perm};
pub use grep::{Hits, Search, grep};
pub use pathspec::{Pathspec, Pathspecs, glob, glob_with};
pub use read::{read_items, sha256};
pub use report::{OtherImage, Report, ReportImage};
pub use side::{Side, read_numbers};
pub use take_out::{Selected, extract, write_tar};
pub use text::{Texts, origins, unified};
pub use view::layers_of_base;
pub use waste::{Bytes, Class, Copies, Finding, Suggestion, Sums, Waste, copies, suggestions};
pub use which::{Found, Wanted};
pub use whole::{StoredImage, Whole};
