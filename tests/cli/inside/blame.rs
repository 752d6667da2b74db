// SPDX-License-Identifier: Apache-2.0
//! `umoci blame`

use super::{images_of, run};
use crate::support::{Env, Tar};

fn history() -> Env {
    let first = Tar::new().list(&[
        "d d",
        "f d/a=one\ntwo\n",
        "f d/b=gone\n",
        "l link=d",
        "d e",
        "f e/f=1\n",
    ]);
    let second = Tar::new().entry(b"d/a", b'0', b"one\ntwo\n", |header| {
        header[100..107].copy_from_slice(b"0000600")
    });
    let third = Tar::new().list(&["f d/a=one\nTWO\nthree\n", "w d/b", "w e"]);
    let fourth = Tar::new().entry(b"d/a", b'0', b"one\nTWO\nthree\n", |header| {
        header[100..107].copy_from_slice(b"0000600")
    });
    images_of(vec![first, second, third, fourth])
}

/// Lines without digests and days.
fn lines(env: &Env, words: &str) -> Vec<String> {
    let (out, _) = run(env, &format!("blame {words}"));
    let short = |line: &str| {
        let words = line
            .split(' ')
            .filter(|word| !word.is_empty() && word.len() != 12 && *word != "2023-11-14");
        words.collect::<Vec<_>>().join(" ")
    };
    out.lines().map(short).collect()
}

#[test]
fn a_path_is_told_from_its_bytes_to_its_end() {
    let env = history();
    for (words, want) in [
        ("img:2 d/a", &["1 content step 1", "2 mode step 2"][..]),
        ("img:4 d/a", &["3 content step 3", "4 mode step 4"]),
        // Links on the way are followed.
        ("img:4 link/a", &["3 content step 3", "4 mode step 4"]),
        ("img:4 d/b", &["1 content step 1", "3 removed by whiteout step 3"]),
        ("img:4 e/f", &["1 content step 1", "3 removed with e step 3"]),
        ("img:4 link", &["1 content step 1"]),
        ("img:4 .", &["4 d", "1 link"]),
        ("img:3 d", &["3 d/a"]),
        ("-p img:4 d/a", &["1 1) one", "3 2) TWO", "3 3) three"]),
        ("-p img:4 d/b", &["1 1) gone"]),
    ] {
        assert_eq!(lines(&env, words), want, "{words}");
    }
}

#[test]
fn programs_read_json() {
    let env = history();
    let (out, _) = run(&env, "blame --json img:4 e/f");
    let last: serde_json::Value = serde_json::from_str(out.lines().last().expect("line")).expect("JSON");
    for (key, want) in [
        ("status", "D"),
        ("path", "e/f"),
        ("removed_by", "e"),
        ("created_by", "step 3"),
    ] {
        assert_eq!(last[key], want, "{key}");
    }
    assert_eq!(last["layer"], 3);
    let (out, _) = run(&env, "blame --json -p img:4 d/a");
    assert!(
        out.starts_with(r#"{"schema":1,"line":1,"text":"one","layer":1,"digest":"sha256:"#),
        "{out}"
    );
    let raw = env.umoci(["blame", "-z", "img:4", "."]).ok();
    assert_eq!(raw.trim_end(), "4\0d\u{0}1\0link\0");
}
