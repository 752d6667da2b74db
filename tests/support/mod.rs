// SPDX-License-Identifier: Apache-2.0
//! What tests share.

mod env;
mod image;
mod layout;
mod tar;
mod terminal;
mod tree;

use std::path::{Path, PathBuf};

pub use env::{Env, Output};
pub use image::Image;
pub use tar::Tar;
pub use tree::{Tree, TreeEntry};

/// Every Rust source below `dir`.
pub fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "fuzz" && n != "target") {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out.sort();
}
