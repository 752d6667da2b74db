// SPDX-License-Identifier: Apache-2.0
//! `umoci list`

use crate::support::{Env, Image};

#[test]
fn names_come_in_the_order_of_index_json_as_often_as_they_stand_there() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["tag", "--image", "img", "a"]).ok();
    env.sh("jq -c '.manifests += [.manifests[0], (.manifests[0] | del(.annotations)), (.manifests[0] | .annotations[\"org.opencontainers.image.ref.name\"] = \"odd\\u001b[2J name\")]' img/index.json >i && mv i img/index.json");
    assert_eq!(
        env.umoci(["ls", "--layout", "img"]).ok(),
        "latest\na\nlatest\nodd\\u{1b}[2J name\n"
    );
    assert_eq!(
        env.umoci(["list", "--layout=img", "--json"]).ok(),
        "[\"latest\",\"a\",\"latest\",\"odd\\u001b[2J name\"]\n"
    );
}

#[test]
fn an_empty_layout_prints_nothing_and_wrong_arguments_are_named() {
    let env = Env::new();
    env.umoci(["init", "--layout", "img"]).ok();
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "");
    for (words, want) in [
        (&["ls"][..], "missing mandatory argument: --layout"),
        (&["ls", "--layout", ""], "invalid --layout: path is empty"),
        (
            &["ls", "--layout", "img", "x"],
            "invalid number of positional arguments: expected none",
        ),
    ] {
        assert_eq!(env.umoci(words).fails(), want, "{words:?}");
    }
}

#[test]
fn a_layout_that_lacks_a_part_is_refused_with_the_way_to_mend_it() {
    for part in ["index.json", "blobs", "oci-layout"] {
        let image = Image::new();
        image.env.sh(&format!("mv img/{part} part"));
        let why = image.env.umoci(["ls", "--layout", "img"]).fails();
        assert!(
            why.ends_with("invalid image detected; umoci fsck --repair makes it anew"),
            "{why}"
        );
        let out = image.env.umoci(["fsck", "--layout", "img"]);
        let last = out.stdout.lines().last().unwrap_or_default();
        assert_eq!(last, "damaged: blobs are looked at once it is a layout again");
    }
}
