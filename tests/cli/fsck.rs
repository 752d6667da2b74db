// SPDX-License-Identifier: Apache-2.0
//! `umoci fsck`

use serde_json::Value;

use crate::support::{Env, Image};

/// Exit code, result, and the findings as `severity problem`, with refs where there are some.
fn fsck(env: &Env, words: &str) -> (i32, String, Vec<String>) {
    let words = format!("fsck --layout img --json {words}");
    let out = env.umoci(words.split_whitespace());
    let code = out.code.expect("code");
    let report: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let finding = |f: &Value| {
        let refs: Vec<String> = f["refs"].as_array().into_iter().flatten().map(text).collect();
        let mended = if f["repaired"] == true { " mended" } else { "" };
        let line = format!(
            "{} {}{mended} {}",
            text(&f["severity"]),
            text(&f["problem"]),
            refs.join(" ")
        );
        line.trim_end().to_owned()
    };
    let findings = report["findings"].as_array().expect("findings");
    (
        code,
        text(&report["result"]),
        findings.iter().map(finding).collect(),
    )
}

#[test]
fn a_whole_layout_is_clean_in_every_mode() {
    let image = Image::new();
    for words in ["", "--fast", "--deep", "--repair"] {
        assert_eq!(
            fsck(&image.env, words),
            (0, "clean".to_owned(), vec![]),
            "{words}"
        );
    }
    let out = image.env.umoci(["fsck", "--layout", "img"]).ok();
    assert!(out.starts_with("clean: 4 blobs, 4 of them read, "), "{out}");
    let out = image.env.umoci(["fsck", "--fast", "--layout", "img"]).ok();
    assert_eq!(out, "clean: 4 blobs, 0 of them read, 0B\n");
}

#[test]
fn every_kind_of_damage_is_found_with_the_tag_that_it_concerns() {
    type Damage = fn(&Image);
    let cases: [(Damage, &str, i32, &[&str]); 22] = [
        (
            |i| std::fs::write(i.blob("layer0"), "other bytes").expect("write"),
            "",
            2,
            &["error size latest", "error damaged latest"],
        ),
        (
            |i| {
                i.env
                    .sh("printf x | dd of=$0 bs=1 conv=notrunc status=none"
                        .replace("$0", i.blob("layer1").to_str().expect("utf-8"))
                        .as_str())
                    .clear()
            },
            "",
            2,
            &["error damaged latest"],
        ),
        (
            |i| {
                i.env.sh("rm -r img/.umoci");
                let path = i.blob("manifest");
                let text = std::fs::read_to_string(&path)
                    .expect("read")
                    .replacen("schema", "SCHEMA", 1);
                std::fs::write(path, text).expect("write");
            },
            "",
            2,
            &["error damaged latest"],
        ),
        (
            |i| {
                let path = i.blob("layer0");
                std::fs::remove_file(&path).expect("remove");
                std::fs::create_dir(path).expect("mkdir");
            },
            "",
            2,
            &["error missing latest", "error unreadable latest"],
        ),
        (
            |i| std::fs::remove_file(i.blob("config")).expect("remove"),
            "",
            2,
            &["error missing latest"],
        ),
        (
            |i| std::fs::remove_file(i.blob("manifest")).expect("remove"),
            "",
            2,
            &["error missing latest"],
        ),
        (
            |i| {
                // One that stands elsewhere need not be here.
                std::fs::remove_file(i.blob("layer0")).expect("remove");
                i.edit_manifest(|m| {
                    m["layers"][0]["urls"] = serde_json::json!(["https://example.org/layer"])
                });
                i.env.umoci(["gc", "--layout", "img"]).ok();
            },
            "",
            0,
            &["info missing latest"],
        ),
        (
            |i| {
                let many = vec![0; 300_000];
                i.edit_manifest(|m| m["many"] = many.into());
            },
            "",
            2,
            &["error type latest"],
        ),
        (
            |i| i.edit_manifest(|m| m["layers"][0]["size"] = 7.into()),
            "",
            2,
            &["error size latest"],
        ),
        (
            |i| i.edit_manifest(|m| m["mediaType"] = "application/vnd.oci.image.index.v1+json".into()),
            "",
            2,
            &["error type latest", "error document latest"],
        ),
        (
            |i| i.edit_entry(|e| e["platform"] = serde_json::json!({"os": "plan9", "architecture": "mips"})),
            "",
            0,
            &["warning platform latest"],
        ),
        (
            |i| i.edit_config(|c| drop(c["rootfs"]["diff_ids"].as_array_mut().expect("list").pop())),
            "",
            2,
            &["error diff-id latest"],
        ),
        (
            |i| {
                i.edit_config(|c| {
                    let ids = c["rootfs"]["diff_ids"].as_array_mut().expect("list");
                    ids.reverse();
                });
            },
            "--deep",
            2,
            &["error diff-id latest", "error diff-id latest"],
        ),
        (
            |i| i.edit_config(|c| drop(c["history"].as_array_mut().expect("list").pop())),
            "",
            0,
            &["warning history latest"],
        ),
        (
            |i| i.edit_entry(|e| e["digest"] = "sha256:short".into()),
            "",
            2,
            &["error ref"],
        ),
        (
            |i| i.edit_entry(|e| e["annotations"]["org.opencontainers.image.ref.name"] = "no tag".into()),
            "",
            0,
            &["info ref"],
        ),
        (
            |i| {
                i.env
                    .sh("touch img/blobs/sha256/odd; mkdir img/blobs/md5")
                    .clear()
            },
            "",
            0,
            &["info stray", "info stray"],
        ),
        (
            |i| i.env.sh("mkdir img/.umoci-1 img/.umoci/tmp/1-0").clear(),
            "",
            0,
            &["info temporary", "info temporary"],
        ),
        (
            |i| i.env.sh("chmod 600 img/blobs/sha256/*").clear(),
            "",
            0,
            &[
                "info permissions latest",
                "info permissions latest",
                "info permissions latest",
                "info permissions latest",
            ],
        ),
        (
            |i| i.env.sh(">img/.umoci/reflog").clear(),
            "",
            2,
            &["error own-file"],
        ),
        (|i| i.env.sh("rm img/oci-layout").clear(), "", 2, &["error frame"]),
        (
            |i| i.env.write("img/index.json", "{\"manif"),
            "",
            2,
            &["error frame"],
        ),
    ];
    for (at, (damage, words, code, want)) in cases.into_iter().enumerate() {
        let image = Image::new();
        image.env.umoci(["gc", "--layout", "img"]).ok();
        damage(&image);
        // What an edit of the test left behind is garbage, which is no finding.
        let (found, result, mut findings) = fsck(&image.env, words);
        findings.sort();
        let mut want: Vec<&str> = want.to_vec();
        want.sort_unstable();
        assert_eq!(findings, want, "case {at}");
        assert_eq!(found, code, "case {at}");
        assert_eq!(result, if code == 0 { "clean" } else { "damaged" }, "case {at}");
    }
}

#[test]
fn damage_that_no_tag_leads_to_harms_nobody() {
    let image = Image::new();
    std::fs::remove_file(image.blob("layer0")).expect("remove");
    std::fs::write(image.blob("layer1"), "x").expect("write");
    image.env.umoci(["rm", "--image", "img"]).ok();
    let (code, _, findings) = fsck(&image.env, "");
    assert_eq!(code, 0, "{findings:?}");
    assert!(findings.iter().all(|f| f.starts_with("warning")), "{findings:?}");
}

#[test]
fn findings_about_entries_come_in_the_order_of_these() {
    let image = Image::new();
    for _ in 0..11 {
        image.env.list("img", serde_json::json!({}), None);
    }
    let out = image.env.umoci(["fsck", "--layout", "img"]);
    let entries = out.stdout.lines().filter(|line| line.contains(": entry "));
    let numbers = entries.filter_map(|line| line.split(' ').nth(3)?.parse::<usize>().ok());
    assert!(numbers.eq(1..=11), "{out:?}");
}

#[test]
fn a_repair_mends_without_loss_and_says_so() {
    let image = Image::new();
    let env = &image.env;
    env.sh("cp -a img good; rm -r good/.umoci");
    env.sh("chmod 600 img/blobs/sha256/*; mkdir img/.umoci/tmp/1-0; rm img/oci-layout");
    let layer = image.blob("layer0");
    std::fs::write(&layer, "bad").expect("write");
    std::fs::remove_file(image.blob("layer1")).expect("remove");
    std::fs::remove_file(image.blob("config")).expect("remove");
    let (code, result, findings) = fsck(env, "--repair");
    assert_eq!(
        (code, result.as_str()),
        (2, "damaged"),
        "nowhere to take blobs from: {findings:?}"
    );
    assert!(!layer.exists());
    let aside = layer
        .file_name()
        .expect("name")
        .to_str()
        .expect("utf-8")
        .to_owned();
    assert_eq!(env.read(&format!("img/.umoci/quarantine/sha256-{aside}")), "bad");
    let (code, result, findings) = fsck(env, "--repair --from good");
    assert_eq!((code, result.as_str()), (4, "repaired"), "{findings:?}");
    assert!(findings.iter().all(|f| f.contains(" mended")), "{findings:?}");
    assert_eq!(fsck(env, "--deep"), (0, "clean".to_owned(), vec![]));
    env.sh("diff -r img/blobs good/blobs; diff img/index.json good/index.json; diff img/oci-layout good/oci-layout");
}

#[test]
fn a_blob_that_may_only_not_be_read_is_left_where_it_is() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let image = Image::new();
    let env = &image.env;
    env.sh(&format!(
        "cp {} program; chmod 755 . program; chown -R 1001 img; rm -r img/.umoci; chmod 600 {2}; chown 0 {2} {1}; chmod 600 {1}",
        env!("CARGO_BIN_EXE_umoci"),
        image.blob("manifest").display(),
        image.blob("layer0").display()
    ));
    let words = "--reuid 1001 --clear-groups ./program fsck --repair --layout img";
    let out = env.run("setpriv", words.split(' '));
    assert_eq!(out.code, Some(2), "{out:?}");
    assert!(
        out.stdout.contains("cannot be read: open img/blobs/sha256/"),
        "{out:?}"
    );
    assert!(image.blob("manifest").exists() && image.blob("layer0").exists());
    assert!(!env.path("img/.umoci/quarantine").exists());
}

#[test]
fn an_index_json_that_was_torn_is_made_from_what_the_database_remembers() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["tag", "--image", "img", "second"]).ok();
    env.umoci(["gc", "--layout", "img"]).ok();
    let before = env.umoci(["ref", "list", "--layout", "img", "--json"]).ok();
    env.sh("head -c 100 img/index.json >t; cat t >img/index.json");
    let (code, _, findings) = fsck(env, "--repair");
    assert_eq!((code, findings), (4, vec!["error frame mended".to_owned()]));
    assert_eq!(
        env.umoci(["ref", "list", "--layout", "img", "--json"]).ok(),
        before
    );
    assert_eq!(env.read("img/.umoci/quarantine/index.json").len(), 100);
    env.sh("rm img/index.json; rm -r img/.umoci");
    assert_eq!(fsck(env, "--repair").0, 2, "nobody remembers");
}

#[test]
fn our_own_files_are_checked_and_mended_without_loss() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let lease = format!(r#"{{"name":"l","digests":["{digest}","sha256:cut"#);
    // The file, what stands in it, the finding, and what stands in it when it is mended.
    let cases = [
        ("settings.json", "{", "error own-file", None),
        (
            "settings.json",
            r#"{"x":1,"gc.grace":"soon"}"#,
            "error own-file",
            Some(r#"{"x":1}"#),
        ),
        ("settings.json", "\0\0\0", "error own-file", None),
        (
            "leases/l.json",
            lease.as_str(),
            "error own-file",
            Some(digest.as_str()),
        ),
        ("leases/l.json", "", "error own-file", None),
        ("leases/odd name.json", "[]", "error own-file", None),
        (
            "reflog",
            "????\n{\"ref\":\"a\"}\n",
            "error own-file",
            Some("{\"ref\":\"a\"}\n"),
        ),
        (
            "reflog",
            "{\"ref\":\"a\"}\n{\"ref",
            "info own-file",
            Some("{\"ref\":\"a\"}\n"),
        ),
        // What stands in index.json is recorded then.
        (
            "reflog",
            "\0\0\0",
            "error own-file",
            Some(r#""ref":"latest","old":null"#),
        ),
    ];
    for (name, text, finding, mended) in cases {
        let image = Image::new();
        let env = &image.env;
        let path = format!("img/.umoci/{name}");
        env.write(&path, text);
        let (code, _, findings) = fsck(env, "");
        assert_eq!(findings, [finding], "{name}: {text}");
        assert_eq!(
            code,
            if finding.starts_with("error") { 2 } else { 0 },
            "{name}: {text}"
        );
        assert_eq!(
            fsck(env, "--repair"),
            (4, "repaired".to_owned(), vec![format!("{finding} mended")])
        );
        assert_eq!(
            env.read(&format!("img/.umoci/quarantine/{}", name.replace('/', "-"))),
            text
        );
        match mended {
            Some(want) => assert!(
                env.read(&path).contains(want) && env.read(&path) != text,
                "{name}: {text}"
            ),
            None => assert!(!env.path(&path).exists(), "{name}: {text}"),
        }
        assert_eq!(fsck(env, ""), (0, "clean".to_owned(), vec![]), "{name}: {text}");
        env.umoci(["gc", "--layout", "img"]).ok();
    }
}

#[test]
fn how_many_names_a_damage_concerns_is_told() {
    let image = Image::new();
    let env = &image.env;
    for n in 0..11 {
        env.umoci(["tag", "--image", "img", &format!("t{n:02}")]).ok();
    }
    std::fs::write(image.blob("layer0"), "bad").expect("write");
    let out = env.umoci(["fsck", "--layout", "img"]);
    assert!(
        out.stdout
            .contains(" [latest t00 t01 t02 t03 t04 t05 t06 and 4 more]"),
        "{out:?}"
    );
    let out = env.umoci(["fsck", "--layout", "img", "--json"]);
    let report: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!(report["findings"][0]["moreRefs"], 4);
}

#[test]
fn a_fast_check_sees_what_changed_and_not_what_was_verified() {
    let image = Image::new();
    let env = &image.env;
    assert_eq!(fsck(env, "").0, 0);
    // Another inode: compared by the second checksum, not by the digest.
    env.sh("cp -r img/blobs copy; rm -r img/blobs; mv copy img/blobs");
    let out = env.umoci(["fsck", "--fast", "--layout", "img"]).ok();
    assert!(out.starts_with("clean: 4 blobs, 4 of them read, "), "{out}");
    let layer = image.blob("layer0");
    let mut bytes = std::fs::read(&layer).expect("read");
    bytes[10] ^= 1;
    std::fs::write(&layer, bytes).expect("write");
    assert_eq!(
        fsck(env, "--fast"),
        (2, "damaged".to_owned(), vec!["error damaged latest".to_owned()])
    );
}

#[test]
fn what_an_import_finds_there_counts_as_verified_only_if_it_is_and_else_is_replaced() {
    // Small ones are always read; of large ones the database may know, which may be gone.
    for (size, database) in [
        (1000, true),
        (300_000, true),
        (3_000_000, true),
        (3_000_000, false),
    ] {
        let env = Env::new();
        env.umoci(["init", "--layout", "from"]).ok();
        env.umoci(["new", "--image", "from"]).ok();
        env.sh(&format!("mkdir tree; head -c {size} /dev/urandom >tree/file"));
        env.umoci(["insert", "--image", "from", "tree", "/tree"]).ok();
        env.umoci(["init", "--layout", "img"]).ok();
        env.umoci(["import", "oci:from:latest", "--layout", "img"]).ok();
        // The files may be shared with those of the other layout, which stay as they are.
        env.sh("cp -r img/blobs copy; rm -r img/blobs; mv copy img/blobs");
        assert_eq!(fsck(&env, "").0, 0);
        let layer = env.sh("ls -S img/blobs/sha256 | head -1");
        let layer = env.path("img/blobs/sha256").join(layer.trim());
        let good = std::fs::read(&layer).expect("read");
        let mut bytes = good.clone();
        bytes[size / 2] ^= 1;
        std::fs::write(&layer, bytes).expect("write");
        if !database {
            env.sh("rm -r img/.umoci");
        }
        let import = ["import", "oci:from:latest", "--layout", "img", "--tag", "again"];
        env.umoci(import).ok();
        assert!(std::fs::read(&layer).expect("read") == good, "{size} bytes");
        for words in ["--fast", ""] {
            assert_eq!(fsck(&env, words), (0, "clean".to_owned(), vec![]), "{size} bytes");
        }
        // What is known to be right is neither read nor copied.
        let inode = || env.sh(&format!("stat -c %i {}", layer.display()));
        let before = inode();
        env.umoci(import).ok();
        assert_eq!(inode(), before);
        let out = env.umoci(["fsck", "--fast", "--layout", "img"]).ok();
        assert!(out.contains(", 0 of them read, "), "{out}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    let image = Image::new();
    for (words, want) in [
        (&["fsck"][..], "missing mandatory argument: --layout"),
        (
            &["fsck", "--layout", "img", "--fast", "--deep"],
            "--fast and --deep may not be specified together",
        ),
        (
            &["fsck", "--layout", "img", "--from", "img"],
            "--from goes with --repair only",
        ),
        (
            &["fsck", "--layout", "img", "--repair", "--from", "none"],
            "open none: no such file or directory",
        ),
        (
            &["fsck", "--layout", "none"],
            "validate: read oci-layout: none/oci-layout does not exist: invalid image detected; umoci init --layout DIR makes a layout",
        ),
    ] {
        assert_eq!(image.env.umoci(words).fails(), want, "{words:?}");
    }
}

#[test]
fn a_reflog_that_was_lost_is_begun_anew() {
    for damage in [">img/.umoci/reflog", "rm img/.umoci/reflog"] {
        let image = Image::new();
        let env = &image.env;
        env.umoci(["gc", "--layout", "img"]).ok();
        env.sh(damage);
        let (code, result, findings) = fsck(env, "--repair");
        assert_eq!((code, result.as_str()), (4, "repaired"), "{damage}: {findings:?}");
        assert_eq!(findings, ["error own-file mended"], "{damage}");
        assert_eq!(fsck(env, "").0, 0, "{damage}");
        // What stands there is known again.
        env.sh("rm img/.umoci/index.redb; >img/index.json");
        assert_eq!(fsck(env, "--repair").0, 4, "{damage}");
        assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "latest\n", "{damage}");
    }
}
