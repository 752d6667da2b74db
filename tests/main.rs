// SPDX-License-Identifier: Apache-2.0
//! All integration tests, in one binary. Tests that need root, a real image or other programs are ignored here and
//! run by `tests/all.sh`.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod architecture;
mod cli;
mod compat;
mod crash;
mod docs;
mod fidelity;
mod fuzzing;
mod hostile;
mod processes;
mod registry;
mod report;
mod support;
mod torn;

/// A test file that no module names would be silently left out.
#[test]
fn no_test_file_is_forgotten() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut sources = Vec::new();
    support::sources(&top, &mut sources);
    for path in sources {
        let stem = path.file_stem().and_then(|s| s.to_str()).expect("utf-8");
        let (name, folder) = match stem {
            "mod" => {
                let own = path.parent().expect("folder");
                let name = own.file_name().and_then(|n| n.to_str()).expect("utf-8");
                (name, own.parent().expect("folder"))
            }
            _ => (stem, path.parent().expect("folder")),
        };
        let list = folder.join(if folder == top { "main.rs" } else { "mod.rs" });
        let text = std::fs::read_to_string(&list).expect("list of modules");
        let known = path == list
            || text
                .lines()
                .any(|l| l.trim_start_matches("pub ") == format!("mod {name};"));
        assert!(
            known,
            "{} names no module {name}, so {} does not run",
            list.display(),
            path.display()
        );
    }
}
