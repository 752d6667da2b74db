// SPDX-License-Identifier: Apache-2.0
//! `umoci status`

use serde_json::Value;

use crate::support::{Env, Image};

const UMOCI: &str = env!("CARGO_BIN_EXE_umoci");

/// An image and its bundle `b`, rootless, so that no test needs privileges.
fn bundle() -> Image {
    let image = Image::new();
    image
        .env
        .umoci(["unpack", "--rootless", "--image", "img", "b"])
        .ok();
    image
}

fn porcelain(env: &Env) -> String {
    env.umoci(["status", "--porcelain", "b"]).ok()
}

#[test]
fn each_change_has_its_letter_and_what_differs() {
    let image = bundle();
    let env = &image.env;
    assert_eq!(env.umoci(["status", "b"]).ok(), "nothing changed\n");
    for (change, undo, want) in [
        (
            "chmod 600 etc/passwd",
            "chmod 644 etc/passwd",
            "M etc/passwd (mode)",
        ),
        (
            "cp -a etc/file ../keep; echo DATA >etc/file; touch -r ../keep etc/file",
            "cp -a ../keep etc/file",
            "M etc/file (sha256digest)",
        ),
        (
            "cp -a etc/file ../keep; echo longer >etc/file; touch -r ../keep etc/file",
            "cp -a ../keep etc/file",
            "M etc/file (size sha256digest)",
        ),
        (
            "setfattr -n user.a -v 1 etc/file",
            "setfattr -x user.a etc/file",
            "M etc/file (xattr.user.a)",
        ),
        (
            "touch -d @1 bin/more",
            "touch -d @1700000000 bin/more",
            "M bin/more (tar_time)",
        ),
        (
            "mv bin/more ../keep; ln -s x bin/more; touch -d @1700000000 bin",
            "rm bin/more; mv ../keep bin/more; touch -d @1700000000 bin",
            "M bin/more (type)",
        ),
        (
            "touch -r bin ../bin; mv bin/more ../keep; touch -r ../bin bin",
            "mv ../keep bin/more; touch -r ../bin bin",
            "D bin/more",
        ),
        (
            "echo new >etc/new; touch -d @1700000000 etc",
            "rm etc/new; touch -d @1700000000 etc",
            "A etc/new",
        ),
    ] {
        env.sh(&format!("cd b/rootfs; {change}"));
        let found = env.umoci(["status", "b"]).ok();
        let lines: Vec<&str> = found
            .lines()
            .filter(|line| !line.ends_with(" etc (tar_time)"))
            .collect();
        assert_eq!(lines[0], want, "{change}: {found}");
        env.sh(&format!("cd b/rootfs; {undo}"));
    }
}

#[test]
fn the_lines_are_the_entries_of_the_layer_of_a_repack() {
    let image = bundle();
    let env = &image.env;
    env.sh("cd b/rootfs; mkdir -p new/deep; echo a >new/deep/a; ln new/deep/a new/b; rm -r etc; echo file >etc; rm bin/more");
    let found = porcelain(env);
    env.umoci(["repack", "--image", "img:next", "b"]).ok();
    let entries = env.sh(&format!(
        "{UMOCI} layer cat img:next 3 | tar -t | sed 's,^\\./,,; s,/$,,; s,^$,.,; s,\\.wh\\.,,'"
    ));
    let paths: Vec<&str> = found.lines().map(|line| &line[2..]).collect();
    assert_eq!(paths, entries.lines().collect::<Vec<_>>());
    assert!(
        found.contains("M etc\n") && !found.contains("etc/passwd"),
        "{found}"
    );
}

#[test]
fn masks_and_volumes_are_those_of_a_repack_and_the_layout_is_not_needed() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["config", "--image", "img", "--config.volume", "/vol"])
        .ok();
    env.umoci(["unpack", "--rootless", "--image", "img", "b"]).ok();
    env.sh("mv img gone; cd b/rootfs; mkdir vol tmp; touch vol/x tmp/y");
    for (words, want) in [
        (&["--mask-path", "/"][..], ""),
        (&["--mask-path", "/tmp"], "M .\n"),
        (&[], "M .\nA tmp\nA tmp/y\n"),
        (&["--no-mask-volumes"], "M .\nA tmp\nA tmp/y\nA vol\nA vol/x\n"),
    ] {
        let words = [&["status", "--porcelain=v1", "b"], words].concat();
        assert_eq!(env.umoci(words.clone()).ok(), want, "{words:?}");
    }
    env.sh("rm b/config.json");
    let why = env.umoci(["status", "b"]).fails();
    assert!(
        why.starts_with("read volumes of the image from b/config.json: "),
        "{why}"
    );
    env.umoci(["status", "--no-mask-volumes", "b"]).ok();
}

#[test]
fn every_form_has_its_lines_and_its_sum() {
    let image = bundle();
    let env = &image.env;
    env.sh("cd b/rootfs; printf 12345 >$'etc/a\\n\"\\x1b\\xff'; ln $'etc/a\\n\"\\x1b\\xff' etc/b; touch -d @1700000000 etc");
    let text = env.umoci(["status", "--mask-path", "bin", "b"]).ok();
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(last, "2 paths to pack, with 5 bytes of content");
    let short = "A \"etc/a\\n\\\"\\033\\377\"\nA etc/b\n";
    for form in ["-s", "--porcelain"] {
        let found = env.umoci(["status", form, "b"]).ok();
        assert_eq!(found.replace("M .\n", ""), short, "{form}");
    }
    let raw = env.sh(&format!("{UMOCI} status -z b | od -An -c | tr -d ' \\n'"));
    assert!(raw.contains("Aetc/a\\n\"033377\\0Aetc/b\\0"), "{raw}");
    let json = env.umoci(["status", "--json", "b"]).ok();
    let lines: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    let new = lines.iter().find(|line| line["path"] == "etc/b").expect("line");
    assert_eq!(
        (&new["schema"], &new["status"], &new["type"], &new["size"]),
        (&1.into(), &"A".into(), &"file".into(), &5.into())
    );
    assert!(
        lines.iter().any(|line| line["path_b64"] == "ZXRjL2EKIhv/"),
        "{json}"
    );
}

#[test]
fn the_exit_code_tells_changes_only_where_it_is_asked_for() {
    let image = bundle();
    let env = &image.env;
    env.umoci(["status", "--exit-code", "b"]).ok();
    env.sh("touch b/rootfs/new");
    env.umoci(["status", "b"]).ok();
    assert_eq!(env.umoci(["status", "--exit-code", "b"]).code, Some(1));
    for (words, want) in [
        (
            &["status"][..],
            "invalid number of positional arguments: expected <bundle>",
        ),
        (
            &["status", "--porcelain=v2", "b"],
            "invalid --porcelain: \"v2\" (want v1)",
        ),
    ] {
        assert_eq!(env.umoci(words).fails(), want);
    }
    let why = env.umoci(["status", "none"]).fails();
    assert!(why.contains("none/umoci.json"), "{why}");
    env.sh("rm b/*.mtree");
    assert!(env.umoci(["status", "b"]).fails().contains(".mtree"));
}

#[test]
fn nothing_is_written_but_the_stat_cache() {
    let image = bundle();
    let env = &image.env;
    env.sh("echo new >b/rootfs/new");
    let state = "find b ! -name '.*.stat' -printf '%p %T@ %C@ %s\\n' | grep -v '^b [0-9]' | sort; ls -A b";
    let before = env.sh(state);
    porcelain(env);
    assert_eq!(env.sh(state), before);
}
