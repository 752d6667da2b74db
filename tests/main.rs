// SPDX-License-Identifier: Apache-2.0
//! All integration tests, in one binary. Tests that need root, a real image or other programs are ignored here and
//! run by `tests/all.sh`.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod architecture;
mod cli;
mod compat;
mod support;

/// A test file that no module names would be silently left out.
#[test]
fn no_test_file_is_forgotten() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut sources = Vec::new();
    support::sources(&top, &mut sources);
    let text: String = sources
        .iter()
        .map(|p| std::fs::read_to_string(p).expect("source"))
        .collect();
    for path in sources {
        let stem = path.file_stem().expect("name").to_str().expect("utf-8");
        let name = if stem == "mod" {
            path.parent()
                .and_then(|p| p.file_name())
                .expect("name")
                .to_str()
                .expect("utf-8")
        } else {
            stem
        };
        let known = name == "main" || text.contains(&format!("mod {name};"));
        assert!(known, "{} is in no module", path.display());
    }
}
