// SPDX-License-Identifier: Apache-2.0
//! `umoci waste`

use serde_json::Value;

use super::{images, layer_digest};
use crate::support::Env;

/// As [`images`], with the last one as `img:latest`.
fn image(layers: &[&[&str]]) -> Env {
    let env = images(layers);
    let last = format!("img:{}", layers.len());
    env.umoci(["tag", "--image", &last, "latest"]).ok();
    env
}

/// The lines of JSON, of one kind.
fn lines(env: &Env, kind: &str, words: &[&str]) -> Vec<Value> {
    let words = [&["waste", "--json"], words].concat();
    let json = env.umoci(words).ok();
    let lines = json.lines().map(|line| serde_json::from_str(line).expect("json"));
    lines.filter(|line: &Value| line["kind"] == kind).collect()
}

#[test]
fn each_hidden_entry_has_its_class_and_the_layers_that_made_and_hid_it() {
    for (layers, want) in [
        (&[&["f a=1"][..], &["f a=2"]][..], "a replaced 1 2"),
        (&[&["f a=1"], &["f a=1"]], "a same 1 2"),
        (
            &[&["f a=1"], &["f b=1"], &["w a"]],
            "a removed 1 3, a removed 3 3",
        ),
        (&[&["f d/a=1"], &["o d"]], "d removed 2 2, d/a removed 1 2"),
        (
            &[&["d d", "f d/a=1"], &["f d=1"]],
            "d replaced 1 2, d/a removed 1 2",
        ),
        (&[&["l a=x"], &["l a=x"]], "a same 1 2"),
        (&[&["l a=x"], &["l a=y"]], "a replaced 1 2"),
        (&[&["d a"], &["d a"]], "a same 1 2"),
        (&[&["f a=1", "h b=a"], &["h b=a"]], "b same 1 2"),
        (&[&["f a=1"], &["f b=1"]], ""),
    ] {
        let env = image(layers);
        let mut found: Vec<String> = lines(&env, "path", &["img"])
            .iter()
            .map(|line| {
                let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                assert_eq!(line["command"], format!("step {}", line["hidden_by"]));
                format!(
                    "{} {} {} {}",
                    text("path"),
                    text("class"),
                    line["layer"],
                    line["hidden_by"]
                )
            })
            .collect();
        found.sort();
        assert_eq!(found.join(", "), want, "{layers:?}");
    }
}

#[test]
fn the_sums_are_the_sizes_of_the_layers_and_a_base_stands_apart() {
    let env = image(&[&["f a=1", "f b=1"], &["f a=2"], &["w a", "f c=3"]]);
    let sizes = lines(&env, "layer", &["img"]);
    for line in &sizes {
        let sum = ["live", "replaced", "same", "removed", "archive"].map(|class| {
            let [tar, packed] = ["tar", "packed"].map(|key| line[class][key].as_u64().expect("number"));
            [tar, packed]
        });
        for (at, key) in ["tar", "packed"].into_iter().enumerate() {
            let total: u64 = sum.iter().map(|bytes| bytes[at]).sum();
            assert_eq!(line[key], total, "{line}");
        }
    }
    assert_eq!(lines(&env, "path", &["img"]).len(), 3);
    let above = lines(&env, "path", &["--since", "1", "img"]);
    let layers: Vec<&Value> = above.iter().map(|line| &line["layer"]).collect();
    assert_eq!(layers, [2, 3]);
    let base = &lines(&env, "base", &["--since", "1", "img"])[0];
    assert_eq!(base["tar"], sizes[0]["tar"]);
    let why = env.umoci(["waste", "--since", "img:3", "img:1"]).fails();
    assert!(why.contains("does not stand on this base"), "{why}");
}

#[test]
fn people_see_tables_of_layers_paths_directories_copies_and_advice() {
    let env = image(&[
        &["f usr/a=12345", "f usr/b=12345", "f usr/c=12345", "f var/log/x=1"],
        &["w usr/a", "f \u{1b}[1m=1", "f \u{1b}[1m=2"],
    ]);
    env.umoci(["tag", "--image", "img", "other"]).ok();
    let text = env.umoci(["waste", "img:2"]).ok();
    for want in [
        "efficiency 61.5%",
        "2      5B    usr/b",
        "removed  1    2      usr/a",
        "\"\\033[1m\"",
        "remove them in the step that writes them",
        "step 2",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
    let short = env.umoci(["waste", "--top", "0", "img"]).ok();
    assert!(!short.contains("usr/a"), "{short}");
    let all = env.umoci(["waste", "--all", "img"]).ok();
    assert_eq!(all.lines().count(), 4, "{all}");
    assert!(all.contains(" 2, latest, other\n"), "{all}");
    assert_eq!(lines(&env, "image", &["--all", "img"]).len(), 3);
}

#[test]
fn a_layer_that_cannot_be_seen_is_named_and_the_rest_is_told() {
    for harm in ["rm $blob", "printf x >>$blob"] {
        let env = image(&[&["f a=1"], &["f a=2"]]);
        let digest = layer_digest(&env, "img", 1);
        env.sh(&format!(
            "rm -rf img/.umoci/toc; blob=img/blobs/sha256/{}; chmod u+w $blob; {harm}",
            &digest[7..]
        ));
        for words in [
            &["waste", "img"][..],
            &["waste", "--json", "img"],
            &["waste", "--all", "img"],
        ] {
            let out = env.umoci(words);
            assert_eq!(out.code, Some(1), "{harm} {words:?}");
            assert!(
                out.stderr
                    .contains(&format!("the answer is without layer {digest}")),
                "{}",
                out.stderr
            );
            assert!(!out.stdout.is_empty());
        }
    }
}

/// Checks a document by the fields that dive's readers know.
fn check_dive(document: &Value) {
    let is_number = |value: &Value| value.is_u64();
    for layer in document["layer"].as_array().expect("layers") {
        assert!(
            ["id", "digestId", "command"]
                .iter()
                .all(|key| layer[key].is_string()),
            "{layer}"
        );
        assert!(
            ["index", "sizeBytes"].iter().all(|key| is_number(&layer[key])),
            "{layer}"
        );
        for file in layer["fileList"].as_array().expect("files") {
            let numbers = ["typeFlag", "size", "fileMode", "uid", "gid"];
            assert!(numbers.iter().all(|key| is_number(&file[key])), "{file}");
            assert!(file["path"].is_string() && file["linkName"].is_string() && file["isDir"].is_boolean());
        }
    }
    let image = &document["image"];
    assert!(is_number(&image["sizeBytes"]) && is_number(&image["inefficientBytes"]));
    let score = image["efficiencyScore"].as_f64().expect("score");
    assert!((0.0..=1.0).contains(&score));
    for file in image["fileReference"].as_array().expect("files") {
        assert!(is_number(&file["count"]) && is_number(&file["sizeBytes"]) && file["file"].is_string());
    }
}

#[test]
fn the_document_of_dive_has_its_fields() {
    let env = image(&[&["d d", "f d/a=123", "l s=d", "h h=d/a"], &["w d/a", "o d"]]);
    let document = env.umoci(["waste", "--format", "dive", "img"]).ok();
    let document: Value = serde_json::from_str(&document).expect("json");
    check_dive(&document);
    let files = &document["layer"][0]["fileList"];
    let shape = |at: usize| {
        let file = &files[at];
        (
            file["path"].as_str(),
            file["typeFlag"].as_u64(),
            file["fileMode"].as_u64().map(|mode| mode >> 20),
        )
    };
    assert_eq!(shape(0), (Some("d"), Some(53), Some(1 << 11)));
    assert_eq!(shape(1), (Some("d/a"), Some(48), Some(0)));
    assert_eq!(shape(2), (Some("s"), Some(50), Some(1 << 7)));
    assert_eq!(
        (shape(3).1, files[3]["linkName"].as_str()),
        (Some(49), Some("d/a"))
    );
    assert_eq!(document["layer"][1]["fileList"][0]["path"], "d/.wh.a");
    assert_eq!(document["layer"][1]["fileList"][1]["path"], "d/.wh..wh..opq");
    assert_eq!(document["image"]["fileReference"][0]["file"], "/d/a");
}
