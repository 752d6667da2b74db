// SPDX-License-Identifier: Apache-2.0
//! Notes which compiler builds the program, for `umoci --version`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = env::var_os("RUSTC").and_then(|rustc| {
        let output = Command::new(rustc).arg("--version").output().ok()?;
        // `rustc 1.90.0 (1159e78c4 2025-09-14)`
        let text = String::from_utf8(output.stdout).ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["rustc", version, ..] => Some((*version).to_owned()),
            _ => None,
        }
    });
    // Without an answer, the oldest one that can have built it.
    let version = version
        .or_else(|| env::var("CARGO_PKG_RUST_VERSION").ok())
        .unwrap_or_default();
    println!("cargo::rustc-env=UMOCI_RUSTC={version}");
}
