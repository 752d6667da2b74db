// SPDX-License-Identifier: Apache-2.0
//! `umoci tag`

use crate::support::Image;

#[test]
fn a_second_name_has_the_same_target_and_annotations() {
    let image = Image::new();
    let env = &image.env;
    image.edit_entry(|e| e["annotations"]["org.example.kept"] = "yes".into());
    env.umoci(["tag", "--image", "img:latest", "second"]).ok();
    env.umoci(["tag", "--image", "img:latest", "second"]).ok();
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "latest\nsecond\n");
    let kept = env.sh("jq -r '.manifests[1].annotations[\"org.example.kept\"], (.manifests[0].digest == .manifests[1].digest)' img/index.json");
    assert_eq!(kept, "yes\ntrue\n");
}

#[test]
fn a_tag_with_the_name_of_the_layout_is_made_and_told() {
    let image = Image::new();
    for (from, tag, is_told) in [
        ("img:latest", "img:v1", true),
        // Names of Docker are like that.
        ("img:img:v1", "img:v2", false),
        ("img:latest", "other:v1", false),
    ] {
        let ran = image.env.umoci(["tag", "--image", from, tag]);
        assert_eq!((ran.code, !ran.stderr.is_empty()), (Some(0), is_told), "{tag}");
        let said = ran.stderr.contains("the new tag is called img:v1");
        assert_eq!(said, is_told, "{}", ran.stderr);
    }
    let names = image.env.umoci(["ls", "--layout", "img"]).ok();
    assert_eq!(names, "latest\nimg:v1\nimg:v2\nother:v1\n");
}

#[test]
fn wrong_arguments_are_named() {
    let image = Image::new();
    for (words, want) in [
        (
            &["tag", "--image", "img"][..],
            "invalid number of positional arguments: expected <new tag>",
        ),
        (&["tag", "--image", "img", ""], "new tag cannot be empty"),
        (
            &["tag", "--image", "img", ".AZ94n18s"],
            "new tag is an invalid reference: tag contains invalid characters: \".AZ94n18s\"",
        ),
        (&["tag", "--image", "img:no", "x"], "tag not found: no"),
        (&["tag", "x"], "missing mandatory argument: --image"),
    ] {
        assert_eq!(image.env.umoci(words).fails(), want, "{words:?}");
    }
}
