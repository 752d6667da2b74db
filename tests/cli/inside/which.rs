// SPDX-License-Identifier: Apache-2.0
//! `umoci which` and `umoci du --contents`: answers about all images of a layout.

use super::{add_image, lose_layer};
use crate::support::Env;

/// Three images, of which two share a layer, and an artifact.
fn store() -> Env {
    let env = Env::new();
    let base: &[&str] = &[
        "d usr",
        "d usr/bin",
        "l bin=usr/bin",
        "f usr/bin/sh=shell",
        "h usr/bin/ash=usr/bin/sh",
    ];
    add_image(&env, "base", &[base]);
    add_image(&env, "removed", &[base, &["w usr/bin/sh"]]);
    add_image(&env, "linked", &[base, &["f bin/tool=tool"]]);
    add_image(&env, "other", &[&["f opt/tool=tool", "f opt/copy=shell"]]);
    env.write("sbom", "{}");
    env.umoci([
        "attach",
        "sbom:application/json",
        "--to",
        "img:base",
        "--artifact-type",
        "application/json",
    ])
    .ok();
    env
}

fn which(env: &Env, words: &[&str]) -> Vec<String> {
    let out = env.umoci([&["which", "--layout", "img"], words].concat()).ok();
    let short = |line: &str| {
        let mut cells: Vec<&str> = line.split('\t').collect();
        if cells.len() > 2 {
            cells.remove(2);
        }
        cells.join(" ")
    };
    out.lines().map(short).collect()
}

#[test]
fn a_path_is_found_where_it_is_in_the_end() {
    let env = store();
    for (path, want) in [
        ("usr/bin/sh", &["base 1 usr/bin/sh", "linked 1 usr/bin/sh"][..]),
        ("/bin/sh", &["base 1 usr/bin/sh", "linked 1 usr/bin/sh"]),
        (
            "usr/bin/ash",
            &[
                "base 1 usr/bin/ash",
                "removed 1 usr/bin/ash",
                "linked 1 usr/bin/ash",
            ],
        ),
        ("usr/bin/tool", &["linked 2 usr/bin/tool"]),
        ("bin", &["base 1 bin", "removed 1 bin", "linked 1 bin"]),
        // A directory without an entry of its own.
        ("opt", &["other 1 opt"]),
    ] {
        assert_eq!(which(&env, &[path]), want, "{path}");
    }
    assert_eq!(which(&env, &["usr/bin/sh", "--absent"]), ["removed", "other"]);
    let out = env.umoci(["which", "--layout", "img", "gone"]);
    assert_eq!(
        (out.code, out.stdout.as_str(), out.stderr.as_str()),
        (Some(1), "", "")
    );
}

#[test]
fn a_content_is_found_under_any_name() {
    let env = store();
    env.sh("printf shell >file");
    let digest = env.sh("sha256sum file | cut -c1-64");
    let digest = format!("sha256:{}", digest.trim());
    let want = [
        "base 1 usr/bin/ash",
        "base 1 usr/bin/sh",
        "removed 1 usr/bin/ash",
        "linked 1 usr/bin/ash",
        "linked 1 usr/bin/sh",
        "other 1 opt/copy",
    ];
    assert_eq!(which(&env, &["@file"]), want);
    assert_eq!(which(&env, &[&digest]), want);
    // Layers without a table are read.
    env.sh("rm -rf img/.umoci/toc");
    assert_eq!(which(&env, &[&digest]), want);
    let json = env.umoci(["which", "--layout", "img", "--json", &digest]).ok();
    assert!(
        json.contains(r#""size":5,"layer":1,"blob":"sha256:"#) && json.contains(&digest),
        "{json}"
    );
    for (word, want) in [("@gone", "open gone"), ("sha256:00", "invalid digest")] {
        let message = env.umoci(["which", "--layout", "img", word]).fails();
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn layers_that_are_gone_are_named() {
    let env = store();
    let digest = lose_layer(&env, "img:other", 1);
    for words in [&["which", "usr/bin/sh"][..], &["du", "--contents"]] {
        let out = env.umoci([words, &["--layout", "img"]].concat());
        assert_eq!(out.code, Some(1), "{words:?}");
        assert!(
            !out.stdout.is_empty()
                && out
                    .stderr
                    .contains(&format!("the answer is without layer {digest}")),
            "{}",
            out.stderr
        );
    }
}

#[test]
fn equal_contents_are_counted_over_layers() {
    let env = store();
    let json = env.umoci(["du", "--layout", "img", "--contents", "--json"]).ok();
    let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for (key, want) in [
        ("images", 4),
        ("layersOfImages", 6),
        ("layers", 4),
        ("files", 4),
        ("bytes", 18),
        ("contents", 2),
        ("distinct", 9),
        ("copiesWithin", 0),
        ("across", 9),
        ("copiesAcross", 2),
    ] {
        assert_eq!(found[key], want, "{key} of {found}");
    }
    assert_eq!(found["largest"][0]["path"], "usr/bin/sh");
    let text = env.umoci(["du", "--layout", "img", "--contents"]).ok();
    assert!(text.contains("copies in layers that share nothing"), "{text}");
}
