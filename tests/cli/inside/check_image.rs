// SPDX-License-Identifier: Apache-2.0
//! `umoci check-image`

use serde_json::Value;

use super::{images, lose_layer};
use crate::support::{Env, Tar};

/// `img:1` with a key and a program, `img:2` without the key and with a replaced file, `img:3` with setuid.
fn room() -> Env {
    let env = images(&[
        &[
            "f etc/a=1",
            "f etc/key.pem=secret",
            "d bin",
            "f bin/sh=sh",
            "l sh=/bin/sh",
        ],
        &["w etc/key.pem", "f etc/a=22"],
        &["f bin/su=su"],
    ]);
    let setuid = Tar::new().entry(b"bin/passwd", b'0', b"1", |header| {
        header[100..108].copy_from_slice(b"0004755\0")
    });
    env.write("setuid.tar", setuid.end());
    env.umoci(["raw", "add-layer", "--image", "img:3", "--tag", "4", "setuid.tar"])
        .ok();
    env
}

/// The exit code, and the first line.
fn check(env: &Env, words: &str) -> (i32, String) {
    let out = env.umoci(["check-image"].into_iter().chain(words.split(' ')));
    let text = if out.stdout.is_empty() {
        out.stderr
    } else {
        out.stdout
    };
    (
        out.code.expect("code"),
        text.lines().next().unwrap_or_default().trim().to_owned(),
    )
}

#[test]
fn each_rule_is_kept_or_broken() {
    let env = room();
    for (words, code, want) in [
        (
            "img:1 --max-waste 0%",
            0,
            "ok     max-waste 0.0%, the image has 0.0%",
        ),
        (
            "img:2 --max-waste 57%",
            0,
            "ok     max-waste 57.0%, the image has 45.4%",
        ),
        (
            "img:2 --max-waste 0.05",
            1,
            "broken max-waste 5.0%, the image has 45.4%",
        ),
        (
            "img:2 --max-waste-bytes 2560",
            0,
            "ok     max-waste-bytes 2.56kB, the image has 2.56kB",
        ),
        (
            "img:2 --max-waste-bytes 2559",
            1,
            "broken max-waste-bytes 2.559kB, the image has 2.56kB",
        ),
        (
            "img:2 --min-efficiency 0.5",
            0,
            "ok     min-efficiency 50.0%, the image has 54.5%",
        ),
        (
            "img:2 --min-efficiency 95%",
            1,
            "broken min-efficiency 95.0%, the image has 54.5%",
        ),
        ("img:2 --max-layers 2", 0, "ok     max-layers 2, the image has 2"),
        ("img:3 --max-layers 2", 1, "broken max-layers 2, the image has 3"),
        ("img:1 --max-size 1GB", 0, "ok     max-size 1GB, the image has "),
        ("img:1 --max-size 10", 1, "broken max-size 10B, the image has "),
        ("img:3 --forbid *.zip", 0, "ok     forbid *.zip"),
        ("img:3 --forbid *.pem", 1, "broken forbid *.pem: 1 path"),
        ("img:3 --forbid /etc/*.pem", 1, "broken forbid /etc/*.pem: 1 path"),
        ("img:3 --forbid usr/*.pem", 0, "ok     forbid usr/*.pem"),
        ("img:3 --since img:1 --forbid *.pem", 0, "ok     forbid *.pem"),
        (
            "img:4 --forbid-setuid-since img:3",
            1,
            "broken forbid-setuid-since img:3: 1 path",
        ),
        (
            "img:4 --forbid-setuid-since img:4",
            0,
            "ok     forbid-setuid-since img:4",
        ),
        ("img:1 --require sh", 0, "ok     require sh"),
        (
            "img:2 --require etc/key.pem",
            1,
            "broken require etc/key.pem: it is not there",
        ),
    ] {
        let (found, line) = check(&env, words);
        assert_eq!(found, code, "{words}: {line}");
        assert!(line.starts_with(want), "{words}: {line}");
    }
}

#[test]
fn findings_name_path_layer_and_step() {
    let env = room();
    let out = env.umoci([
        "check-image",
        "img:2",
        "--forbid",
        "*.pem",
        "--max-waste-bytes",
        "0",
    ]);
    for want in [
        "etc/key.pem, layer 1 (step 1), hidden by layer 2 (step 2)",
        "etc/a, 1.024kB, layer 1 (step 1), hidden by layer 2 (step 2)",
    ] {
        assert!(out.stdout.contains(want), "{}", out.stdout);
    }
}

#[test]
fn rules_come_from_a_file_and_options_count_more() {
    let env = room();
    env.write(".dive-ci", "rules:\n  highestUserWastedPercent: 0.1 # of all\n");
    assert_eq!(check(&env, "img:2").0, 1);
    assert_eq!(check(&env, "img:2 --max-waste 50%").0, 0);
    let rules = r#"{"max-layers": 3, "max-waste": "90%", "max-size": 1000000, "forbid": ["*.pem"], "require": ["bin/sh"]}"#;
    env.write(".umoci-check.json", rules);
    let lines = env.umoci(["check-image", "img:2", "--format", "json"]).stdout;
    let rules: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    let names: Vec<(&str, bool)> = rules
        .iter()
        .map(|rule| (rule["rule"].as_str().expect("rule"), rule["broken"] == true))
        .collect();
    let want = [
        ("max-waste", false),
        ("max-size", false),
        ("max-layers", false),
        ("forbid", true),
        ("require", false),
    ];
    assert_eq!(names, want);
    assert_eq!(rules[3]["findings"][0]["path"], "etc/key.pem");
    assert_eq!(rules[3]["findings"][0]["hidden_by_command"], "step 2");
    assert_eq!(check(&env, "img:1 --rules .dive-ci").0, 0);
    for (rules, want) in [
        ("{\"max-wast\": 1}", "unknown field `max-wast`"),
        (
            "{\"max-waste\": \"x\"}",
            "\"x\" (write a part of 1, as 0.05 or 5%)",
        ),
        ("rules:\n  worst: 1", "line 2: unknown rule \"worst\""),
        ("{", "EOF"),
    ] {
        env.write("rules", rules);
        let (code, line) = check(&env, "img:1 --rules rules");
        assert!(code == 1 && line.contains(want), "{line}");
    }
}

#[test]
fn no_rules_or_wrong_ones_are_no_success() {
    let env = room();
    for (words, want) in [
        ("img:1", "no rules: give options such as --max-waste 5%"),
        ("img:1 --rules none", "none"),
        ("img:1 --forbid [", "invalid pattern"),
        ("img:1 --max-waste 7", "\"7\" (write a part of 1, as 0.05 or 5%)"),
        (
            "img:1 --forbid-setuid-since img:3",
            "--forbid-setuid-since img:3: the image does not stand on this base",
        ),
    ] {
        let (code, line) = check(&env, words);
        assert!(code == 1 && line.contains(want), "{words}: {line}");
    }
}

#[test]
fn other_programs_get_their_form_also_with_hostile_names() {
    let env = images(&[&["f \u{1b}<b>\"&%\n=1"]]);
    let words = |format| ["check-image", "--forbid", "*<b>*", "--format", format, "img:1"];
    let out = env.umoci(words("junit"));
    assert_eq!(out.code, Some(1));
    env.write("junit.xml", &out.stdout);
    let found = env.sh("python3 -c 'import xml.etree.ElementTree as e; s=e.parse(\"junit.xml\").getroot()[0]; print(s.get(\"tests\"), s.get(\"failures\"), s[0].get(\"name\"), s[0][0].text.strip())'");
    assert_eq!(
        found,
        "1 1 forbid *<b>* \"\\033<b>\\\"&%\\n\", layer 1 (step 1)\n"
    );
    let out = env.umoci(words("github"));
    let want =
        "::error title=umoci forbid::forbid *<b>*: 1 path%0A\"\\033<b>\\\"&%25\\n\", layer 1 (step 1)\n";
    assert_eq!(out.stdout, want);
}

#[test]
fn a_layer_that_cannot_be_seen_breaks_the_check() {
    let env = room();
    let digest = lose_layer(&env, "img:3", 1);
    for format in ["text", "json", "junit", "github"] {
        let out = env.umoci(["check-image", "img:3", "--max-layers", "9", "--format", format]);
        assert_eq!(out.code, Some(1), "{format}");
        assert!(
            out.stderr
                .contains(&format!("the answer is without layer {digest}")),
            "{}",
            out.stderr
        );
        assert!(format != "junit" || out.stdout.contains("errors=\"1\""));
    }
}
