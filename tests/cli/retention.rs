// SPDX-License-Identifier: Apache-2.0
//! Which tags `umoci gc` gives up: `--keep`, `--keep-last`, `--max-size`.

use serde_json::Value;
use umoci::digest::Digest;

use crate::support::Env;

/// A layout with an image of 100 kB for each tag, the first changed first, a day apart; and what all share.
fn layout(tags: &[&str]) -> Env {
    let env = Env::in_memory().var("SOURCE_DATE_EPOCH", "1700000000");
    env.umoci(["init", "--layout", "img"]).ok();
    for (day, tag) in tags.iter().enumerate() {
        env.umoci(["new", "--image", &format!("img:{tag}")]).ok();
        env.sh(&format!("head -c 100000 /dev/zero | tr '\\0' '{day}' >file"));
        let image = format!("img:{tag}");
        let words = ["insert", "--compress", "none", "--image", &image, "file", "/file"];
        env.umoci(words).ok();
    }
    // Before the times are set: a collection lets old lines of the reflog go.
    env.umoci(["gc", "--layout", "img"]).ok();
    for (day, tag) in tags.iter().enumerate() {
        changed(&env, tag, day + 2);
    }
    // Making them was a use.
    env.sh("rm -r img/.umoci/used");
    env
}

/// Sets the day on which a tag was changed in the reflog.
fn changed(env: &Env, tag: &str, day: usize) {
    env.sh(&format!(
        r#"jq -c 'if .ref == "{tag}" then .time = "2001-01-{day:02}T00:00:00Z" else . end' img/.umoci/reflog >r && mv r img/.umoci/reflog"#
    ));
}

/// Sets the day on which a tag was used, after one use.
fn used(env: &Env, tag: &str, day: usize) {
    env.umoci(["stat", "--image", &format!("img:{tag}")]).ok();
    let file = Digest::sha256(tag.as_bytes());
    env.sh(&format!(
        "touch -d 2001-01-{day:02} img/.umoci/used/{}",
        file.encoded()
    ));
}

fn gc(env: &Env, words: &[&str]) -> Value {
    let words = [&["gc", "--layout", "img", "--json"], words].concat();
    serde_json::from_str(&env.umoci(words).ok()).expect("JSON")
}

/// The tags that would go.
fn would_go(env: &Env, words: &[&str]) -> String {
    let report = gc(env, &[words, &["--dry-run"]].concat());
    let tags = report["tags"].as_array().expect("tags");
    let tags: Vec<&str> = tags.iter().map(|tag| tag.as_str().expect("name")).collect();
    tags.join(" ")
}

#[test]
fn rules_keep_and_the_rest_of_what_they_speak_of_goes() {
    let env = layout(&["n-1", "r-1", "n-2", "n-3", "other"]);
    for (words, goes) in [
        (&["--keep-last", "2"][..], "n-1 r-1 n-2"),
        (&["--keep-last", "n-*=1"], "n-1 n-2"),
        (&["--keep-last", "n-*=9"], ""),
        (&["--keep-last", "none-*=1"], ""),
        (&["--keep-last", "n-*=1", "--keep-last", "r-*=1"], "n-1 n-2"),
        (&["--keep-last", "n-*=1", "--keep", "n-1"], "r-1 n-2 other"),
        (&["--keep-last", "1", "--keep", "r-*"], "n-1 n-2 n-3"),
        (&["--keep-last", "1", "--keep", "30d", "--keep", "n-?"], "r-1"),
    ] {
        assert_eq!(would_go(&env, words), goes, "{words:?}");
    }
    let shape = "neither a count";
    for (wrong, says) in [
        ("", shape),
        ("0", "\"0\" keeps nothing: the count is 1 or more"),
        ("n-*=0", "\"n-*=0\" keeps nothing"),
        ("n-*=", shape),
        ("=3", shape),
        ("x", shape),
        ("a[=1", shape),
        ("-1", shape),
    ] {
        let why = env
            .umoci(["gc", "--layout", "img", &format!("--keep-last={wrong}")])
            .fails();
        assert!(why.starts_with(&format!("invalid --keep-last: {says}")), "{why}");
    }
    for (words, told) in [
        (&["--keep-last", "none-*=1"][..], "• no tag matches \"none-*\""),
        (&["--keep-last", "n-*=9"], ""),
        (
            &["--keep-last", "n-*=1"],
            "• removed tag: n-1\n   • removed tag: n-2",
        ),
        (&["-q", "--keep-last", "r-*=1", "--keep", "[!o]*"], ""),
    ] {
        let (global, words) = words.split_at(usize::from(words[0] == "-q"));
        let ran = env.umoci([global, &["gc", "--layout", "img"], words].concat());
        assert_eq!((ran.code, ran.stderr.trim()), (Some(0), told), "{words:?}");
    }
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "r-1\nn-3\n");
}

#[test]
fn tags_used_least_recently_go_until_the_rest_fits() {
    let env = layout(&["a", "b", "c", "d"]);
    for (words, goes) in [
        (&["--max-size", "1MB"][..], ""),
        (&["--max-size", "420kB"], ""),
        (&["--max-size", "350KB"], "a"),
        (&["--max-size", "250000"], "a b"),
        (&["--max-size", "110KiB"], "a b c"),
        // What rules keep is left out.
        (&["--max-size", "250kB", "--keep", "[ac]"], "b d"),
        (&["--max-size", "250kB", "--keep-last", "1", "--keep", "a"], "b c"),
        (&["--max-size", "350kB", "--keep-last", "[ab]=1"], "a"),
    ] {
        assert_eq!(would_go(&env, words), goes, "{words:?}");
    }
    // A read is a use; a look at the list is none.
    used(&env, "a", 20);
    used(&env, "c", 2);
    env.umoci(["ref", "list", "--layout", "img"]).ok();
    assert_eq!(would_go(&env, &["--max-size", "150kB"]), "b c d");
    env.umoci(["unpack", "--image", "img:b", "bundle"]).ok();
    assert_eq!(would_go(&env, &["--max-size", "250kB"]), "c d");
    gc(&env, &["--max-size", "250kB"]);
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "a\nb\n");
    assert_eq!(
        env.sh("ls img/.umoci/used | wc -l"),
        "2\n",
        "uses go with their names"
    );
    env.umoci(["fsck", "--layout", "img"]).ok();
}

#[test]
fn tags_of_which_nothing_is_recorded_go_in_the_order_of_index_json() {
    let env = layout(&["z", "m", "a"]);
    env.sh("rm -r img/.umoci");
    assert_eq!(would_go(&env, &["--max-size", "250kB"]), "z");
    assert_eq!(would_go(&env, &["--max-size", "150kB"]), "z m");
}

#[test]
fn a_tag_that_frees_nothing_stays_and_what_cannot_be_reached_is_said() {
    let env = layout(&["a", "b", "c"]);
    // Another name for the newest, and it was not used for longest.
    env.umoci(["tag", "--image", "img:c", "alias"]).ok();
    changed(&env, "alias", 1);
    used(&env, "c", 30);
    assert_eq!(would_go(&env, &["--max-size", "250kB"]), "a");
    let limited = |words: &[&str]| {
        let words = [&["gc", "--layout", "img", "--max-size"], words].concat();
        env.umoci(words).fails()
    };
    let why = limited(&["10"]);
    assert_eq!(
        why,
        "of 4 tags none would stay within 10 bytes; nothing is removed"
    );
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok().lines().count(), 4);
    // What a lease holds is not freed, so its tag stays; the others go.
    let digest = env.sh("jq -r '.manifests[] | select(.annotations[\"org.opencontainers.image.ref.name\"] == \"a\").digest' img/index.json");
    env.umoci(["lease", "create", "--layout", "img", "l", digest.trim()])
        .ok();
    // A plan that does not reach it ends as the collection would.
    let short = |size: &str| -> Value {
        let ran = env.umoci(["gc", "--layout", "img", "--json", "--dry-run", "--max-size", size]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).expect("JSON")
    };
    let report = short("10");
    assert_eq!(report["tags"], serde_json::json!(["alias", "b", "c"]));
    assert!(report["excess"].as_u64().expect("excess") > 100_000, "{report}");
    let ran = env.umoci(["gc", "--layout", "img", "--max-size", "10", "--keep", "c"]);
    assert_eq!(ran.code, Some(1));
    let why = ran.stderr;
    assert!(why.contains("removed tag: b\n"), "{why}");
    assert!(
        why.contains("stay, more than --max-size: tags that are kept, entries that are no tags, leases, a grace or the reflog"),
        "{why}"
    );
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "a\nc\nalias\n");
    // The reflog would hold all that goes, and so nothing goes.
    env.umoci(["settings", "--layout", "img", "--reflog-keep", "1h"])
        .ok();
    let report = short("150kB");
    assert_eq!(
        (&report["tags"], &report["blobs"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    for wrong in [
        "",
        "x",
        "1.5GB",
        "-1",
        "1EB",
        "99999999999999999999",
        "20000000TB",
    ] {
        let why = env
            .umoci(["gc", "--layout", "img", &format!("--max-size={wrong}")])
            .fails();
        assert!(why.starts_with("invalid --max-size: "), "{why}");
    }
}

#[test]
fn a_name_with_several_entries_goes_whole_and_counts_once() {
    let env = layout(&["a", "b", "c"]);
    let entry = |tag: &str| -> Value {
        let index: Value = serde_json::from_str(&env.read("img/index.json")).expect("JSON");
        let is = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
        index["manifests"]
            .as_array()
            .expect("entries")
            .iter()
            .find(is)
            .expect("tag")
            .clone()
    };
    env.list("img", entry("a"), Some("b"));
    assert_eq!(would_go(&env, &["--keep-last", "2"]), "a");
    assert_eq!(would_go(&env, &["--keep-last", "[bc]=1"]), "b");
    gc(&env, &["--keep", "[bc]"]);
    // The second entry came behind our back: the collection has noted that change as of now.
    changed(&env, "b", 3);
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "b\nc\nb\n");
    assert_eq!(would_go(&env, &["--max-size", "150kB"]), "b");
    gc(&env, &["--max-size", "150kB"]);
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "c\n");
}

#[test]
fn a_use_is_noted_only_where_it_costs_nothing() {
    let env = layout(&["a"]);
    env.sh("rm -r img/.umoci; find img | sort >before");
    env.umoci(["unpack", "--image", "img:a", "b"]).ok();
    env.sh("find img | sort | cmp - before");
    // What is no directory harms nothing.
    env.umoci(["tag", "--image", "img:a", "b"]).ok();
    env.sh("rm -rf img/.umoci/used; echo x >img/.umoci/used");
    env.umoci(["stat", "--image", "img:a"]).ok();
    env.umoci(["rm", "--image", "img:b"]).ok();
    env.umoci(["gc", "--layout", "img", "--max-size", "1GB"]).ok();
    assert_eq!(env.read("img/.umoci/used"), "x\n");
}
