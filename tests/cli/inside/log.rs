// SPDX-License-Identifier: Apache-2.0
//! `umoci log`

use serde_json::Value;

use super::{images, run};
use crate::support::Env;

fn history() -> Env {
    let env = images(&[
        &["d d", "f d/a=one", "f d/b=two"],
        &["f d/a=uno!", "w d/b", "f e=1"],
        // An entry that its own layer replaces was never there.
        &["o d", "f e=first", "f e=1"],
    ]);
    env.umoci([
        "config",
        "--image",
        "img:3",
        "--config.user",
        "u",
        "--history.created_by",
        "a\nuser",
    ])
    .ok();
    env
}

#[test]
fn each_layer_tells_what_it_changed() {
    let env = history();
    let (out, _) = run(&env, "log --oneline img:3");
    let lines: Vec<String> = out
        .lines()
        .map(|line| {
            line.split(' ')
                .filter(|word| !word.is_empty() && word.len() != 12)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        lines,
        [
            "- (no layer) a\\nuser",
            "3 +0 ~0 -1 (-4B) step 3",
            "2 +1 ~1 -1 (-1B) step 2",
            "1 +3 ~0 -0 (+6B) step 1"
        ]
    );
    let (out, _) = run(&env, "log img:2");
    assert!(
        out.contains(
            "\nChanges: +1 ~1 -1 (-1B)\nDate:    2023-11-14T22:13:20Z\n\n    step 2\n\nlayer 1 sha256:"
        ),
        "{out}"
    );
}

#[test]
fn a_path_selects_the_layers_that_touch_it() {
    let env = history();
    for (words, want) in [
        ("img:3 d/a", &["3 D\td/a", "2 M\td/a", "1 A\td/a"][..]),
        ("img:3~1 d/b", &["2 D\td/b", "1 A\td/b"]),
        ("img:3 e", &["2 A\te"]),
        ("img:3 none", &[]),
    ] {
        let (out, _) = run(&env, &format!("log --oneline --name-status {words}"));
        let lines: Vec<&str> = out.lines().collect();
        let pairs = lines.chunks(2).map(|pair| {
            format!(
                "{} {}",
                pair[0].trim().split(' ').next().expect("number"),
                pair[1]
            )
        });
        assert_eq!(pairs.collect::<Vec<_>>(), want, "{words}");
    }
}

#[test]
fn programs_read_json_or_names_that_end_with_a_nul() {
    let env = history();
    let (out, _) = run(&env, "log --json --name-status img:3");
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        (&lines[0]["layer"], &lines[0]["created_by"]),
        (&Value::Null, &"a\nuser".into())
    );
    let second = &lines[2];
    for (key, want) in [
        ("layer", 2),
        ("added", 1),
        ("modified", 1),
        ("removed", 1),
        ("growth", -1),
        ("schema", 1),
    ] {
        assert_eq!(second[key], want, "{key}");
    }
    assert_eq!(second["changes"][0]["status"], "M");
    assert_eq!(
        second["changes"][0]["fields"],
        serde_json::json!(["size", "content"])
    );
    assert_eq!(second["changes"][1]["path"], "d/b");
    let raw = env.umoci(["log", "-z", "--name-only", "img:3", "e"]).ok();
    let names: Vec<&str> = raw.trim_end_matches('\n').split('\0').collect();
    assert_eq!((names[0].len(), &names[1..]), (71, &["e", "", ""][..]));
}
