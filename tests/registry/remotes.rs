// SPDX-License-Identifier: Apache-2.0
//! Repositories that a layout has names for.

use super::fake::Fake;
use super::shelf::Shelf;
use crate::support::{Env, Image};

fn room() -> (Image, Fake, String) {
    let image = Image::new();
    let (_, fake) = Shelf::default().serve();
    let place = format!("docker://{}/team/app", fake.address);
    image
        .env
        .umoci(["settings", "--layout", "img", "remote.origin", &place])
        .ok();
    (image, fake, place)
}

#[test]
fn every_command_takes_the_name_of_a_remote() {
    let (image, fake, place) = room();
    let env = &image.env;
    env.sh("mkdir auth");
    for words in [
        "push --image img:latest origin::1",
        "push --layout img --all-tags origin::",
        "export --layout img --tag latest origin::2",
        "copy img:latest origin::3",
        "copy origin::3 img:4",
        "copy --layout img origin::3 origin::5",
        "pull --layout img origin::1",
        "import --layout img --tag 6 origin::1",
        "stat --layout img origin::1",
        "stat --layout img --raw origin::1",
    ] {
        env.umoci(words.split(' ')).ok();
    }
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "latest\n4\n1\n6\n");
    assert!(
        fake.asked()
            .iter()
            .all(|asked| asked.path == "/v2/" || asked.path.starts_with("/v2/team/app/"))
    );
    // The digest, and the directory of the command.
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    env.umoci([
        "pull",
        "--layout",
        "img",
        "--tag",
        "7",
        &format!("origin::@{digest}"),
    ])
    .ok();
    env.sh(&format!(
        "cd img && {} stat origin::1 >/dev/null",
        env!("CARGO_BIN_EXE_umoci")
    ));
    env.sh(&format!(
        "echo pw | {} login --layout img --authfile auth/a.json --username u --password-stdin origin:: || true",
        env!("CARGO_BIN_EXE_umoci")
    ));
    let asked = fake.lines();
    assert!(asked.iter().any(|line| line == "GET /v2/"), "{asked:?}");
    assert_eq!(
        env.umoci(["settings", "--layout", "img", "remote.origin"]).ok(),
        place + "\n"
    );
}

#[test]
fn a_remote_that_is_not_there_is_an_error_with_those_that_are() {
    let (image, _fake, _) = room();
    let env = &image.env;
    let line = env
        .umoci(["push", "--image", "img:latest", "upstream::1"])
        .fails();
    assert!(
        line.ends_with("no remote upstream in img: there are origin"),
        "{line}"
    );
    env.umoci(["settings", "--layout", "img", "--unset", "remote.origin"])
        .ok();
    let line = env.umoci(["push", "--image", "img:latest", "origin::1"]).fails();
    assert!(
        line.contains("umoci settings --layout img remote.origin docker://HOST/PATH"),
        "{line}"
    );
    let line = env.umoci(["list-tags", "origin::"]).fails();
    assert!(line.contains("look for the remote origin"), "{line}");
    // An address in brackets is none.
    let line = env.umoci(["list-tags", "[::1]:1/x"]).fails();
    assert!(!line.contains("remote"), "{line}");
}

#[test]
fn settings_are_read_set_and_removed_by_their_names() {
    let env = Env::new();
    env.umoci(["init", "--layout", "L"]).ok();
    let settings = |words: &[&str]| env.umoci([&["settings", "--layout", "L"], words].concat());
    settings(&["gc.grace", "90m"]).ok();
    assert_eq!(settings(&["gc.grace"]).ok(), "1h30m\n");
    settings(&["--unset", "gc.grace"]).ok();
    assert_eq!(settings(&["gc.grace"]).ok(), "0\n");
    settings(&["remote.hub", "debian"]).ok();
    assert_eq!(
        settings(&["remote.hub"]).ok(),
        "docker://docker.io/library/debian\n"
    );
    assert!(
        settings(&["--json"])
            .ok()
            .contains("\"remote.hub\":\"docker://docker.io/library/debian\"")
    );
    for (words, want) in [
        (&["gc.grace", "soon"][..], "not a duration"),
        (&["gc.nothing"], "invalid key"),
        (&["remote.a b", "x"], "invalid key"),
        (&["remote.", "x"], "invalid key"),
        (&["remote.a", "x:1"], "is one image"),
        (&["remote.a", "h.example/UPPER"], "lower case"),
        (&["remote.none"], "is not set"),
        (&["--unset", "remote.none"], "is not set"),
        (&["--gc-grace", "1d", "reflog.keep"], "one of both"),
        (&["a", "b", "c"], "want a key"),
    ] {
        let line = settings(words).fails();
        assert!(line.contains(want), "{words:?}: {line}");
    }
}

#[test]
fn settings_that_are_changed_at_once_are_all_kept() {
    let env = Env::new();
    env.umoci(["init", "--layout", "L"]).ok();
    let umoci = env!("CARGO_BIN_EXE_umoci");
    env.sh(&format!(
        "pids=(); for n in $(seq 12); do {umoci} settings --layout L remote.r$n h.example/$n & pids+=($!); done
         for pid in \"${{pids[@]}}\"; do wait $pid; done"
    ));
    let all = env.umoci(["settings", "--layout", "L"]).ok();
    assert_eq!(all.matches("remote.r").count(), 12, "{all}");
}
