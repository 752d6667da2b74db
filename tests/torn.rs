// SPDX-License-Identifier: Apache-2.0
//! `index.json` is torn, by programs that write it in place, after each of a sequence of commands: whatever is left of it, of the
//! index database and of the reflog, a repair puts every name where the last command put it, or says what it lost.
//!
//! `UMOCI_LONG=1` cuts the file at every tenth byte.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use umoci::progress::Silent;
use umoci::store::{Finding, Severity, Store, StoreOptions};

use crate::support::{Env, Image};

const NAME: &str = "org.opencontainers.image.ref.name";

/// Digests under each name; without one under the empty name.
type Refs = BTreeMap<String, BTreeSet<String>>;

/// The commands; `umoci` is the program, and the layout is called `img`.
const COMMANDS: [&str; 34] = [
    "umoci new --image img:blank",
    "umoci config --image img:latest --tag user --config.user u1",
    "umoci tag --image img:user copy",
    "umoci insert --image img:latest src /opt",
    "echo changed >b/rootfs/etc/file; umoci repack --image img:packed b",
    "umoci rm --image img:user",
    "umoci ref restore --layout img user",
    "umoci config --image img:latest --config.user u2",
    "umoci import --layout img other",
    // Other programs write what we do not know of, and then something of ours is written.
    "skopeo --insecure-policy copy oci:more:one oci:img:foreign",
    "umoci tag --image img:foreign foreign2",
    "skopeo --insecure-policy copy oci:more:two oci:img:foreign",
    "umoci gc --layout img",
    "skopeo --insecure-policy copy oci:more:three oci:img:foreign",
    "umoci config --image img:packed --tag packed2 --config.user u3",
    "umoci attach src/file --to img:latest --artifact-type a/b",
    "umoci rm --image img:foreign2",
    // No name has moved for longer than the reflog keeps.
    "sed -i 's/\"time\":\"20[0-9]*/\"time\":\"2001/' img/.umoci/reflog; umoci gc --layout img",
    "umoci config --image img:latest --config.user u4",
    "umoci manifest create img:all latest blank",
    "umoci ref create --layout img named --digest $(jq -r .manifests[0].digest img/index.json)",
    "tar -cf layer.tar src; umoci raw add-layer --image img:latest layer.tar",
    "umoci ref restore --layout img 'latest@{1}'",
    "umoci detach img:latest --all",
    "umoci squash img:packed",
    "umoci rm --image img:packed2",
    "sed -i 's/\"time\":\"20[0-9]*/\"time\":\"2001/' img/.umoci/reflog; umoci gc --layout img",
    // A name for several platforms, and an entry without one, as other programs write them.
    "jq -c '.manifests += [(.manifests[0,1] | .annotations[\"org.opencontainers.image.ref.name\"] = \"multi\")]' \
        img/index.json >t; cat t >img/index.json; umoci tag --image img:copy copy2",
    "umoci tag --image img:multi multi2",
    "jq -c '.manifests += [.manifests[0] | del(.annotations)]' img/index.json >t; cat t >img/index.json; umoci du --layout img",
    "umoci rm --image img:multi",
    "umoci config --image img:named --config.user u5",
    "umoci gc --layout img --untagged",
    "umoci ref remove --layout img copy",
];

/// The room, with the layout after each command as `0`, `1`, …
fn room() -> Env {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.sh("mkdir src; echo inserted >src/file; cp -a img other; cp -a img more; rm -r more/.umoci");
    for (layout, tag) in [
        ("other", "latest2"),
        ("other", "x"),
        ("more", "one"),
        ("more", "two"),
        ("more", "three"),
    ] {
        env.umoci(["config", "--image", layout, "--tag", tag, "--config.user", tag])
            .ok();
    }
    env.umoci(["rm", "--image", "other:latest"]).ok();
    let out = Env::in_memory();
    let status = Command::new("cp")
        .args(["-a", "img", "other", "more", "src", "b"])
        .arg(out.path(""))
        .current_dir(env.path(""))
        .status();
    assert!(status.expect("cp").success());
    for (at, command) in COMMANDS.iter().enumerate() {
        let umoci = env!("CARGO_BIN_EXE_umoci");
        out.sh(&format!(
            "umoci() {{ {umoci} \"$@\"; }}; {command}; cp -a img {at}"
        ));
    }
    out
}

fn refs(layout: &Path) -> Refs {
    let bytes = std::fs::read(layout.join("index.json")).expect("index.json");
    let index: Value = serde_json::from_slice(&bytes).expect("JSON");
    let mut out = Refs::new();
    for entry in index["manifests"].as_array().expect("manifests") {
        let name = entry["annotations"][NAME].as_str().unwrap_or_default();
        let digest = entry["digest"].as_str().expect("digest").to_owned();
        out.entry(name.to_owned()).or_default().insert(digest);
    }
    out
}

/// What is left of the database.
const EVIDENCE: [&str; 4] = [
    "the database",
    "no database",
    "an older database",
    "an old database",
];

/// A layout in which a command was done, damaged.
struct Case {
    after: usize,
    evidence: usize,
    /// What is left of `index.json`.
    bytes: Vec<u8>,
}

/// Makes a copy of the layout after a command; blobs are shared.
fn prepare(room: &Env, case: &Case, to: &Path) {
    let from = room.path(case.after.to_string());
    let copied = Command::new("cp").arg("-a").arg("-l").arg(&from).arg(to).status();
    assert!(copied.expect("cp").success());
    // What is written in place must not be shared.
    let own = |name: &str, from: &Path| {
        let path = to.join(".umoci").join(name);
        let _ = std::fs::remove_file(&path);
        if let Ok(bytes) = std::fs::read(from.join(".umoci").join(name)) {
            std::fs::write(path, bytes).expect("write");
        }
    };
    own("reflog", &from);
    match case.evidence {
        0 => own("index.redb", &from),
        1 => drop(std::fs::remove_file(to.join(".umoci/index.redb"))),
        2 => own("index.redb", &room.path(case.after.saturating_sub(3).to_string())),
        _ => own("index.redb", &room.path((case.after / 2).to_string())),
    }
    std::fs::remove_file(to.join("index.json")).expect("remove");
    std::fs::write(to.join("index.json"), &case.bytes).expect("write");
}

/// Fails unless every name is where it was before, or what it pointed at is named as lost; all that had an entry has one, and
/// nothing else has a name. Whether something is lost.
fn judge(what: &str, before: &Refs, after: &Refs, lost: &BTreeSet<String>) -> bool {
    let entries: BTreeSet<&String> = after.values().flatten().collect();
    for (name, digests) in before {
        assert!(
            digests.iter().all(|digest| entries.contains(digest)),
            "{what}: {name:?} is not kept"
        );
        let found = after.get(name).cloned().unwrap_or_default();
        let is_said = digests.difference(&found).any(|digest| lost.contains(digest));
        assert!(
            name.is_empty() || found == *digests || is_said,
            "{what}: {name:?} was {digests:?}, is {found:?}, and nothing is said of it: {lost:?}"
        );
    }
    for name in after.keys() {
        assert!(
            name.is_empty() || before.contains_key(name),
            "{what}: {name:?} came back"
        );
    }
    !lost.is_empty()
}

fn lost(findings: &[Finding]) -> BTreeSet<String> {
    let left = findings
        .iter()
        .filter(|f| f.severity == Severity::Error && !f.repaired);
    left.map(|f| f.subject.clone()).collect()
}

fn damages(whole: &[u8], at: usize, is_long: bool) -> Vec<Vec<u8>> {
    let cut = |n: usize| whole[..n.min(whole.len())].to_vec();
    if is_long {
        let mut out: Vec<Vec<u8>> = (0..whole.len().saturating_sub(2)).step_by(10).map(cut).collect();
        out.push(vec![0; whole.len()]);
        return out;
    }
    // Each command has two of them, and all together have many.
    let places = [
        0,
        1,
        whole.len() / 4,
        whole.len() / 2,
        whole.len() * 3 / 4,
        whole.len() - 3,
    ];
    let zeros = {
        let mut bytes = whole.to_vec();
        bytes[whole.len() / 3..].fill(0);
        bytes
    };
    match at % 4 {
        0 => vec![cut(0), cut(places[at / 4 % 6])],
        1 => vec![vec![0; whole.len()], cut(places[at / 4 % 6])],
        2 => vec![zeros, cut(places[(at / 4 + 2) % 6])],
        _ => vec![cut(places[(at / 4 + 1) % 6]), cut(places[(at / 4 + 4) % 6])],
    }
}

#[test]
fn every_name_is_where_the_last_command_put_it_or_is_named_as_lost() {
    let is_long = std::env::var_os("UMOCI_LONG").is_some();
    let room = room();
    let mut cases = Vec::new();
    for after in 0..COMMANDS.len() {
        let whole = std::fs::read(room.path(after.to_string()).join("index.json")).expect("read");
        for bytes in damages(&whole, after, is_long) {
            for evidence in 0..EVIDENCE.len() {
                let bytes = bytes.clone();
                cases.push(Case {
                    after,
                    evidence,
                    bytes,
                });
            }
        }
    }
    let before: Vec<Refs> = (0..COMMANDS.len())
        .map(|at| refs(&room.path(at.to_string())))
        .collect();
    let (next, losses) = (
        AtomicUsize::new(0),
        Mutex::new(BTreeMap::<(usize, usize), usize>::new()),
    );
    let run = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
            let dir = tempfile::tempdir_in(room.path("")).expect("dir");
            let path = dir.path().join("img");
            prepare(&room, case, &path);
            let what = format!(
                "after {:?}, with {} bytes of index.json and {}",
                COMMANDS[case.after],
                case.bytes.len(),
                EVIDENCE[case.evidence]
            );
            let found = Store::check_frame(&path, StoreOptions::default(), true, &Silent);
            let found = found.unwrap_or_else(|err| panic!("{what}: {err}"));
            let mut lost = lost(&found);
            // One so old may have seen a line that the reflog has dropped since, and then nobody knows which of them is newer.
            if case.evidence > 1 {
                lost.remove(".umoci/reflog");
            }
            if judge(&what, &before[case.after], &refs(&path), &lost) {
                let mut losses = losses.lock().expect("losses");
                *losses.entry((case.after, case.evidence)).or_default() += 1;
            }
            let aside = std::fs::read(path.join(".umoci/quarantine/index.json")).expect("kept aside");
            assert_eq!(aside, case.bytes, "{what}");
            let again = Store::check_frame(&path, StoreOptions::default(), true, &Silent).expect("again");
            assert!(again.is_empty(), "{what}: {again:?}");
        }
    };
    // They wait for others to end their writing, most of the time.
    std::thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(run))));
    let losses = losses.into_inner().expect("losses");
    println!(
        "{} repairs, {} of them with a loss: {losses:?}",
        cases.len(),
        losses.values().sum::<usize>()
    );
    // Only what another program did last, and nobody has looked at since, can be lost.
    for (after, _) in losses.keys() {
        assert!(
            COMMANDS[*after].starts_with("skopeo"),
            "after {:?}",
            COMMANDS[*after]
        );
    }
    assert!(!losses.is_empty(), "what skopeo wrote is not known to anybody");
}

#[test]
fn a_repair_that_is_killed_anywhere_is_taken_up_by_the_next() {
    let room = room();
    for after in [8, 13, 24] {
        let before = refs(&room.path(after.to_string()));
        let is_done = Mutex::new(false);
        crate::crash::in_parallel(|step| {
            let dir = tempfile::tempdir_in(room.path("")).expect("dir");
            let path = dir.path().join("img");
            let case = Case {
                after,
                evidence: step % 2,
                bytes: vec![0; 100],
            };
            prepare(&room, &case, &path);
            let fsck = |fault: Option<usize>| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_umoci"));
                command.args(["fsck", "--repair", "--json", "--layout", "img"]);
                command.current_dir(dir.path()).env_clear();
                command.envs(fault.map(|step| ("UMOCI_FAULT", step.to_string())));
                command.output().expect("umoci")
            };
            let killed = fsck(Some(step)).status.code().is_none_or(|code| code > 4);
            let output = fsck(None);
            let what = format!("after {:?}, killed at step {step}", COMMANDS[after]);
            let report: Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{what}: {e}"));
            let findings = report["findings"].as_array().expect("findings").iter();
            let lost: BTreeSet<String> = findings
                .filter(|f| f["severity"] == "error" && f["repaired"] == false)
                .map(|f| f["subject"].as_str().expect("subject").to_owned())
                .collect();
            // Once it has taken effect, the loss was told, or was cut off before it could be.
            let was_done = output.status.code() == Some(0);
            let after = refs(&path);
            let kept: BTreeSet<String> = after.get("").cloned().unwrap_or_default();
            judge(&what, &before, &after, if was_done { &kept } else { &lost });
            if !killed {
                *is_done.lock().expect("lock") = true;
            }
            !*is_done.lock().expect("lock")
        });
    }
}

#[test]
fn commands_remove_nothing_while_it_is_torn_and_tell_what_helps() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["config", "--image", "img", "--config.user", "five"])
        .ok();
    env.umoci(["rm", "--image", "img:latest"]).ok();
    let before = env.sh("ls img/blobs/sha256");
    let log = env.umoci(["ref", "log", "--layout", "img", "latest"]).ok();
    for damage in ["", "{\"schemaVersion\":2,\"manif", "\0\0\0\0"] {
        env.write("img/index.json", damage);
        for words in [
            "gc --layout img",
            "gc --layout img --full",
            "gc --layout img --untagged",
            "rm --image img:latest",
            "ref restore --layout img latest",
            "tag --image img:latest other",
            "detach img:latest --all",
        ] {
            let err = env.umoci(words.split(' ')).fails();
            assert!(
                err.contains("index.json") && err.contains("fsck --repair"),
                "{words}: {err}"
            );
        }
        assert_eq!(env.sh("ls img/blobs/sha256"), before);
        assert_eq!(env.read("img/index.json"), damage);
        // The reflog tells what there was.
        assert_eq!(env.umoci(["ref", "log", "--layout", "img", "latest"]).ok(), log);
    }
    assert_eq!(env.umoci(["fsck", "--repair", "--layout", "img"]).code, Some(4));
    env.umoci(["ref", "restore", "--layout", "img", "latest"]).ok();
}

#[test]
fn an_emptied_index_json_is_as_a_torn_one_while_images_of_the_reflog_are_there() {
    for damage in [
        "{}",
        "null",
        "{\"manifests\":null}",
        "{\"schemaVersion\":2,\"manifests\":[]}",
    ] {
        let image = Image::new();
        let env = &image.env;
        env.umoci(["tag", "--image", "img:latest", "copy"]).ok();
        let (blobs, refs_before) = (env.sh("ls img/blobs/sha256"), refs(&env.path("img")));
        env.write("img/index.json", damage);
        for words in [
            "gc --layout img",
            "gc --layout img --dry-run",
            "gc --layout img --full",
            "gc --layout img --untagged",
            "rm --image img:latest",
            "ref restore --layout img latest",
        ] {
            let err = env.umoci(words.split(' ')).fails();
            assert!(
                err.contains("img/index.json has no entries")
                    && err.contains("copy, latest; umoci fsck --repair"),
                "{words}: {err}"
            );
        }
        assert_eq!(env.sh("ls img/blobs/sha256"), blobs);
        // The database has looked, and saw nothing.
        env.umoci(["du", "--layout", "img"]).ok();
        let out = env.umoci(["fsck", "--layout", "img"]);
        assert_eq!(out.code, Some(2), "{damage}: {out:?}");
        assert!(
            out.stdout.contains("error: index.json cannot be used"),
            "{damage}: {out:?}"
        );
        let out = env.umoci(["fsck", "--layout", "img", "--repair"]);
        assert_eq!(out.code, Some(4), "{damage}: {out:?}");
        assert_eq!(refs(&env.path("img")), refs_before, "{damage}");
        // Tags that umoci removes are gone, and so are those whose images another program removed with them.
        env.umoci(["ref", "rm", "--layout", "img", "*"]).ok();
        assert_eq!(env.umoci(["fsck", "--layout", "img"]).code, Some(0), "{damage}");
        env.umoci(["ref", "restore", "--layout", "img", "latest"]).ok();
        env.write("img/index.json", damage);
        env.sh("rm img/blobs/sha256/*");
        env.umoci(["gc", "--layout", "img"]).ok();
        assert_eq!(env.umoci(["fsck", "--layout", "img"]).code, Some(0), "{damage}");
    }
}

#[test]
fn what_the_witnesses_of_a_torn_file_lack_is_named_as_uncertain() {
    let moved_back = "digest=$(jq -r '.manifests[0].digest' old.json); \
        touch -d '1 minute' img/blobs/sha256/${digest#sha256:}; cp old.json img/index.json; $umoci ls --layout img";
    let moved_on = "cp -r img other; $umoci config --image other --config.user six; \
        cp other/blobs/sha256/* img/blobs/sha256; touch -d '1 minute' img/blobs/sha256/*; cp other/index.json img/index.json";
    for (damage, want) in [
        // The line that names `copy` is cut off, or gone.
        (
            "truncate -s -20 img/.umoci/reflog",
            "1 lines of the reflog cannot be read",
        ),
        (
            "sed -i '$d' img/.umoci/reflog",
            "lacks the last line that the index database has seen",
        ),
        (
            "rm img/.umoci/reflog",
            "lacks the last line that the index database has seen",
        ),
        (
            ">img/.umoci/reflog",
            "lacks the last line that the index database has seen",
        ),
        // Another program gave a tag the image that it had before, which nothing else names.
        (
            moved_back,
            "a tag may have pointed at it that now points at an older image",
        ),
        // Another program gave a tag a new image.
        (
            moved_on,
            "a tag may have pointed at it that now points at an older image",
        ),
    ] {
        let image = Image::new();
        let env = &image.env;
        env.sh("cp img/index.json old.json");
        env.umoci(["config", "--image", "img", "--config.user", "five"])
            .ok();
        env.umoci(["tag", "--image", "img:latest", "copy"]).ok();
        if damage.contains("reflog") {
            env.umoci(["du", "--layout", "img"]).ok();
        }
        if damage.starts_with("truncate") {
            env.sh("rm img/.umoci/index.redb");
        }
        env.sh(&format!(
            "umoci={}; {damage}; >img/index.json",
            env!("CARGO_BIN_EXE_umoci")
        ));
        let out = env.umoci(["fsck", "--repair", "--layout", "img"]);
        assert_eq!(out.code, Some(2), "{damage}: {out:?}");
        assert!(out.stdout.contains(want), "{damage}: {out:?}");
    }
}

#[test]
fn what_only_the_blobs_tell_is_found() {
    let image = Image::new();
    let env = &image.env;
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    // A manifest that says its own name, in a layout that only other programs have used.
    image.edit_manifest(|m| m["annotations"] = serde_json::json!({ NAME: "own" }));
    let named = image.entry()["digest"].as_str().expect("digest").to_owned();
    env.sh("rm -r img/.umoci; >img/index.json");
    let out = env.umoci(["fsck", "--repair", "--layout", "img"]);
    assert_eq!(out.code, Some(2), "{out:?}");
    // No tag is known that could be older than it was.
    let told = format!(
        "{digest} lost its name, if it had one, and nothing tells it: it has an entry without a name now\n"
    );
    assert!(out.stdout.contains(&told), "{out:?}");
    assert!(
        out.stdout.contains(&format!("{named} has the name own again")),
        "{out:?}"
    );
    let refs = refs(&env.path("img"));
    assert_eq!(refs["own"], BTreeSet::from([named]));
    assert_eq!(refs[""], BTreeSet::from([digest.clone()]));
    // What it was is for the user to say, and nothing is collected until then.
    env.umoci(["gc", "--layout", "img"]).ok();
    env.umoci(["ref", "create", "--layout", "img", "latest", "--digest", &digest])
        .ok();
    assert_eq!(env.umoci(["fsck", "--layout", "img"]).code, Some(0));
}

#[test]
fn a_reflog_that_is_damaged_too_is_not_believed_in_silence() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["config", "--image", "img", "--config.user", "five"])
        .ok();
    env.sh("rm img/.umoci/index.redb; sed -i '$s/^..../????/' img/.umoci/reflog; >img/index.json");
    let out = env.umoci(["fsck", "--repair", "--layout", "img"]);
    assert_eq!(out.code, Some(2), "{out:?}");
    assert!(
        out.stdout.contains("1 lines of the reflog cannot be read"),
        "{out:?}"
    );
    assert!(
        env.path("img/.umoci/quarantine/reflog")
            .metadata()
            .expect("kept")
            .size()
            > 0
    );
}

#[test]
fn members_that_stand_whole_in_a_torn_file_stay_and_one_that_is_cut_is_named() {
    let image = Image::new();
    let env = &image.env;
    env.sh(r#"jq -c '{before: [1]} + . + {annotations: {a: "b"}, after: 12}' img/index.json >new; cat new >img/index.json"#);
    env.umoci(["du", "--layout", "img"]).ok();
    let whole = env.read("img/index.json");
    let named = |name: &str| format!("lost its member {name:?}, which could not be taken from the torn file");
    let cut = |text: &str, add: usize| whole[..whole.find(text).expect("there") + add].to_owned();
    for (torn, lost, left) in [
        (cut("}\n", 0), Some("after"), &["before", "annotations"][..]),
        (cut("\"b\"", 1), Some("annotations"), &["before"]),
        (cut(",\"annotations", 0), None, &["before"]),
        (cut("sha256", 0), None, &["before"]),
        (cut("[1]", 1), Some("before"), &[]),
        (String::new(), None, &[]),
        (cut("}\n", 0) + ",", None, &["before", "annotations", "after"]),
        // Emptied, and then whole.
        (
            r#"{"manifests":[],"annotations":{"a":"b"}}"#.to_owned(),
            None,
            &["annotations"],
        ),
    ] {
        env.write("img/index.json", &torn);
        let out = env.umoci(["fsck", "--repair", "--layout", "img"]);
        assert_eq!(
            out.code,
            Some(if lost.is_some() { 2 } else { 4 }),
            "{torn}: {out:?}"
        );
        for name in ["before", "annotations", "after", "manifests"] {
            assert_eq!(
                out.stdout.contains(&named(name)),
                lost == Some(name),
                "{torn}: {out:?}"
            );
        }
        let index: Value = serde_json::from_str(&env.read("img/index.json")).expect("JSON");
        let was: Value = serde_json::from_str(&whole).expect("JSON");
        for name in ["before", "annotations", "after"] {
            let is_left = left.contains(&name);
            assert_eq!(
                index.get(name),
                was.get(name).filter(|_| is_left),
                "{torn}: {index}"
            );
        }
        assert_eq!(index["manifests"], was["manifests"], "{torn}");
    }
}
