// SPDX-License-Identifier: Apache-2.0
//! Rules of the code base that can be checked: who may know whom, where `std::fs` is, how a file begins.

use std::path::{Path, PathBuf};

use crate::support::sources;

/// A module may use those of a lower rank only. See docs/architecture.md.
const RANKS: [(&str, u32); 19] = [
    ("error", 0),
    ("progress", 0),
    ("digest", 0),
    ("spec", 1),
    ("node", 1),
    ("fs", 2),
    ("layout", 2),
    ("layer", 2),
    ("mtree", 2),
    ("rootfs", 3),
    ("index", 3),
    ("store", 4),
    ("image", 5),
    ("bundle", 6),
    ("transfer", 6),
    ("inside", 7),
    ("registry", 7),
    ("serve", 8),
    ("cli", 9),
];

/// `digest` returns errors of the crate, though both have rank 0.
const EXCEPTIONS: [(&str, &str); 1] = [("digest", "error")];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn rank(module: &str) -> Option<u32> {
    RANKS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, rank)| *rank)
}

/// Each source with its name below `src/` and its text.
fn files() -> Vec<(String, String)> {
    let src = top().join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    let name = |path: &PathBuf| {
        path.strip_prefix(&src)
            .expect("below src")
            .to_str()
            .expect("utf-8")
            .to_owned()
    };
    paths
        .iter()
        .map(|p| (name(p), std::fs::read_to_string(p).expect("source")))
        .collect()
}

/// Each source that is part of the product, as [`files`] has it: folders called `tests` are left out.
fn product_files() -> Vec<(String, String)> {
    let mut files = files();
    files.retain(|(name, _)| {
        !name
            .split('/')
            .any(|part| part.trim_end_matches(".rs") == "tests")
    });
    files
}

/// The text before the tests at the end of a file.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or(text)
        .split("#[cfg(test)]\npub(super) mod tests")
        .next()
        .unwrap_or(text)
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for (name, text) in product_files() {
        let module = name.split(['/', '.']).next().expect("module").to_owned();
        let Some(own) = rank(&module) else { continue };
        for (at, _) in code(&text).match_indices("crate::") {
            let rest = &code(&text)[at + "crate::".len()..];
            let used: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let allowed = used == module || EXCEPTIONS.contains(&(module.as_str(), used.as_str()));
            match rank(&used) {
                Some(other) if other >= own && !allowed => {
                    wrong.push(format!("{name}: `{module}` uses `{used}`"))
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The other tests look for `crate::module` and `std::fs`; a group or a `super` that reaches the crate's root would
/// slip past them.
#[test]
fn imports_are_spelled_so_that_they_can_be_checked() {
    for (name, text) in product_files() {
        let code = code(&text);
        for group in ["crate::{", "std::{"] {
            assert!(
                !code.contains(group),
                "{name}: write one `use` for each module, not `{group}`"
            );
        }
        let depth = name.split('/').count() - usize::from(name.ends_with("/mod.rs"));
        let root = "super::".repeat(depth);
        assert!(!code.contains(&root), "{name}: write `crate::`, not `{root}`");
    }
}

#[test]
fn every_module_has_a_rank() {
    let lib = std::fs::read_to_string(top().join("src/lib.rs")).expect("lib.rs");
    for line in lib.lines() {
        let name = line
            .trim_start_matches("pub ")
            .strip_prefix("mod ")
            .and_then(|n| n.strip_suffix(';'));
        if let Some(name) = name {
            assert!(rank(name).is_some(), "module {name} has no rank");
        }
    }
}

#[test]
fn paths_of_the_host_are_used_in_two_places() {
    let allowed = [
        "layout/disk.rs",
        "layout/lock.rs",
        "layout/mod.rs",
        "layout/blob.rs",
        "layout/temp.rs",
        "layout/partial.rs",
        "fs/pending.rs",
        "fs/sys.rs",
        "fs/mod.rs",
        // Files of the user's own: credentials, certificates, settings of hosts.
        "registry/config.rs",
        "registry/credentials.rs",
        "registry/tls.rs",
        "serve/auth.rs",
    ];
    for (name, text) in product_files() {
        // Examples in comments may do as they like.
        let lines = code(&text).lines().filter(|l| !l.trim_start().starts_with("//"));
        // Handles to open files are fine anywhere; opening one by a path is not.
        let code = lines
            .collect::<Vec<_>>()
            .join("\n")
            .replace("std::fs::File;", "")
            .replace("std::fs::TryLockError", "");
        let uses = code.contains("std::fs");
        assert!(
            !uses || name.starts_with("cli/") || allowed.contains(&name.as_str()),
            "{name} uses std::fs"
        );
        if !["layout/disk.rs", "fs/pending.rs", "fs/sys.rs"].contains(&name.as_str())
            && !name.starts_with("cli/")
            && !name.starts_with("registry/")
            && name != "serve/auth.rs"
        {
            assert!(
                !code.contains(" fs::read")
                    && !code.contains("File::open(")
                    && !code.contains("File::create("),
                "{name} opens a file by its path"
            );
        }
    }
}

#[test]
fn files_begin_alike_and_stay_readable() {
    for (name, text) in files() {
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("// SPDX-License-Identifier: Apache-2.0"),
            "{name}"
        );
        assert!(
            lines.next().is_some_and(|l| l.starts_with("//! ")),
            "{name} does not say what it is"
        );
        let length = code(&text).lines().count();
        assert!(length <= 800, "{name} has {length} lines");
        let stem = Path::new(&name)
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        assert!(
            !["utils", "util", "common", "helpers", "types", "manager"].contains(&stem),
            "{name} says nothing"
        );
    }
}
