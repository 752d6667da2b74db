// SPDX-License-Identifier: Apache-2.0
//! The history of an image after each kind of edit: as many steps that made a layer as there are layers, whatever the
//! history was before.

use serde_json::{Value, json};

use crate::compat::schema::check_layout;
use crate::support::Image;

/// What an edit does, and how many layers it adds to the two that are there.
const EDITS: [(&str, usize); 6] = [
    ("umoci config --image img --config.user 1", 0),
    ("umoci insert --image img --rootless src /s", 1),
    ("umoci insert --image img --whiteout /etc", 1),
    ("umoci raw add-layer --image img layer.tar", 1),
    (
        "umoci unpack --rootless --image img b; umoci repack --image img b",
        0,
    ),
    (
        "umoci unpack --rootless --image img b; echo x >b/rootfs/x; umoci repack --image img b",
        1,
    ),
];

/// An image to begin with again and again.
fn image() -> Image {
    let image = Image::new();
    image.env.sh("mkdir src; tar -cf layer.tar src; mv img base");
    image
}

/// The image as it was at first, with another history; `None` for no such field.
fn restart(image: &Image, history: Option<&Value>) {
    image.env.sh("rm -rf img b; cp -a base img");
    image.edit_config(|config| {
        let fields = config.as_object_mut().expect("object");
        match history {
            Some(history) => fields.insert("history".to_owned(), history.clone()),
            None => fields.remove("history"),
        };
    });
}

fn edit(image: &Image, script: &str) {
    image
        .env
        .sh(&script.replace("umoci ", &format!("{} ", env!("CARGO_BIN_EXE_umoci"))));
}

/// The steps of a history in a short form: `L` for one that made a layer, `e` for one that made none, `?` for one that
/// stands for a layer of which nothing is known; with the words of `created_by`.
fn short(history: &Value) -> Vec<String> {
    let step = |step: &Value| {
        let by = step["created_by"].as_str().unwrap_or_default();
        let kind = match (
            step["empty_layer"] == true,
            step["comment"] == "no history of this layer",
        ) {
            (false, true) => "?",
            (false, false) => "L",
            (true, _) => "e",
        };
        format!("{kind} {by}").trim_end().to_owned()
    };
    history
        .as_array()
        .map(|h| h.iter().map(step).collect())
        .unwrap_or_default()
}

#[test]
fn steps_and_layers_agree_after_every_edit() {
    let made = |by: &str| json!({"created_by": by, "created": "2020-01-02T03:04:05Z", "x": 1});
    let empty = |by: &str| json!({"created_by": by, "empty_layer": true});
    // The history before, of an image with two layers, and what becomes of it.
    let cases: [(&str, Option<Value>, &[&str]); 8] = [
        ("whole", Some(json!([made("a"), made("b")])), &["L a", "L b"]),
        (
            "whole, with steps that made no layer",
            Some(json!([empty("x"), made("a"), empty("y"), made("b"), empty("z")])),
            &["e x", "L a", "e y", "L b", "e z"],
        ),
        ("no field", None, &["?", "?"]),
        ("null", Some(Value::Null), &["?", "?"]),
        ("empty", Some(json!([])), &["?", "?"]),
        ("short", Some(json!([made("a")])), &["L a", "?"]),
        (
            "no step made a layer",
            Some(json!([empty("x")])),
            &["e x", "?", "?"],
        ),
        (
            "more steps than layers",
            Some(json!([made("a"), empty("x"), made("b"), made("c")])),
            &["L a", "e x", "L b", "e c"],
        ),
    ];
    let image = image();
    for (what, history, want) in cases {
        for (script, added) in EDITS {
            restart(&image, history.as_ref());
            edit(&image, script);
            check_layout(&image.env);
            let config = image.config();
            let got = short(&config["history"]);
            let (last, before) = got.split_last().expect("history");
            assert_eq!(before, want, "{what}: {script}");
            assert!(
                last.starts_with(if added == 1 { "L umoci" } else { "e umoci" }),
                "{what}: {script}: {last}"
            );
            let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("ids").len();
            assert_eq!(diff_ids, 2 + added, "{what}: {script}");
            // Fields of a step that we do not know stay.
            if what == "whole" {
                assert_eq!(config["history"][0]["x"], 1);
            }
        }
    }
}

#[test]
fn without_an_entry_the_history_stays_as_it_is() {
    let image = image();
    for (script, added) in EDITS {
        restart(&image, Some(&json!([{"created_by": "a"}])));
        let script = script
            .replace("config --image", "config --no-history --image")
            .replace("insert --image", "insert --no-history --image")
            .replace("add-layer --image", "add-layer --no-history --image")
            .replace("repack --image", "repack --no-history --image");
        edit(&image, &script);
        let config = image.config();
        assert_eq!(config["history"], json!([{"created_by": "a"}]), "{script}");
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("ids").len();
        assert_eq!(
            (
                diff_ids,
                image.manifest()["layers"].as_array().expect("layers").len()
            ),
            (2 + added, 2 + added)
        );
        // The next edit with an entry puts it right.
        image.env.umoci(["config", "--image", "img"]).ok();
        check_layout(&image.env);
    }
}

#[test]
fn a_damaged_history_can_be_looked_at() {
    let image = Image::new();
    for history in [
        json!([]),
        json!([{}]),
        json!([{"created_by": "a"}, {"created_by": "b"}, {"created_by": "c"}]),
    ] {
        image.edit_config(|config| config["history"] = history.clone());
        let text = image.env.umoci(["stat", "--image", "img"]).ok();
        assert!(text.contains("== HISTORY =="), "{text}");
        let json: Value =
            serde_json::from_str(&image.env.umoci(["stat", "--image", "img", "--json"]).ok()).expect("JSON");
        assert_eq!(
            json["history"].as_array().map(Vec::len),
            history.as_array().map(Vec::len)
        );
    }
}
