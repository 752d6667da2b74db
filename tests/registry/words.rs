// SPDX-License-Identifier: Apache-2.0
//! Messages that lead on, and the words of other programs.

use std::collections::BTreeMap;

use super::fake::{Answer, Content, Fake};
use super::serve::{INDEX, MANIFEST};
use super::shelf::{Shelf, read};
use super::{Registry, free_address, pull, requests};
use crate::support::{Env, Image};
use umoci::digest::Digest;

#[test]
fn a_refusal_names_the_host_to_log_in_to() {
    for (status, want) in [
        (401, "umoci login ADDRESS logs in"),
        (403, "umoci login ADDRESS logs in as another user"),
    ] {
        let fake = Fake::start(move |_| Answer::new(status, ""));
        let line = pull(&Env::new(), &fake).fails();
        assert!(line.ends_with(&want.replace("ADDRESS", &fake.address)), "{line}");
    }
}

#[test]
fn a_host_that_does_not_answer_is_asked_after() {
    let address = free_address();
    let env = Env::new();
    let line = env
        .umoci(["pull", "--layout", "L", &format!("{address}/a:1")])
        .fails();
    assert!(line.contains("connection refused"), "{line}");
    assert!(
        line.ends_with(&format!("is {address} the right host and port, and does it run?")),
        "{line}"
    );
    assert_eq!(line.matches("refused").count(), 1, "{line}");
}

fn descriptor(digest: Digest) -> String {
    format!(r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":7}}"#)
}

#[test]
fn a_referrer_that_is_removed_and_still_listed_is_told() {
    let subject = Digest::sha256(b"subject");
    let referrer = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{0},"layers":[{0}],"subject":{0}}}"#,
        descriptor(subject)
    );
    let digest = Digest::sha256(referrer.as_bytes());
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        descriptor(digest)
    );
    let tag = subject.to_string().replace(':', "-");
    let manifests = [(digest.to_string(), referrer.into()), (tag, list.into())].into();
    let fake = Fake::start(move |asked| match asked.method.as_str() {
        "DELETE" => Answer::new(202, ""),
        "PUT" => Answer::new(403, ""),
        _ => read(asked, &BTreeMap::new(), &manifests),
    });
    let name = format!("docker://{}/a@{digest}", fake.address);
    let line = Env::new().umoci(["remove", &name]).fails();
    let told = format!("{digest} is removed, and still listed as a referrer of {subject}: ");
    assert!(line.contains(&told), "{line}");
}

#[test]
fn a_referrer_that_is_listed_and_gone_is_left_out() {
    let content = Content::new(10);
    let [subject, gone] = [content.manifest.as_slice(), b"gone"].map(Digest::sha256);
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        descriptor(gone)
    );
    let manifests = [(subject.to_string().replace(':', "-"), list.into())].into();
    let fake = Fake::start(move |asked| match content.answer(asked) {
        Answer { status: 404, .. } => read(asked, &BTreeMap::new(), &manifests),
        found => found,
    });
    let env = Env::new();
    let name = format!("{}/a/b:1", fake.address);
    let told = env.umoci(["pull", "--layout", "L", &name]);
    assert!(
        told.stderr.contains(&format!(
            "left out {gone}, which is listed as a referrer of {subject}"
        )),
        "{}",
        told.stderr
    );
    assert_eq!(env.umoci(["ls", "--layout", "L"]).ok(), "1\n");
    env.umoci(["fsck", "--layout", "L"]).ok();
}

#[test]
fn a_repository_without_latest_leads_to_its_tags() {
    let content = Content::new(10);
    let fake = Fake::start(move |asked| content.answer(asked));
    let env = Env::new();
    let name = format!("{}/a/b", fake.address);
    let hint = format!("umoci list-tags {name} lists the tags: give one as {name}:TAG");
    assert!(
        env.umoci(["pull", "--layout", "L", &name])
            .fails()
            .ends_with(&hint)
    );
    // A tag that was given is no guess.
    let line = env.umoci(["pull", "--layout", "L", &format!("{name}:2")]).fails();
    assert!(line.ends_with("/a/b"), "{line}");
}

#[test]
fn options_and_commands_of_other_programs_lead_to_ours() {
    let env = Env::new();
    for (words, want) in [
        ("pull --tls-verify=false x", "--plain-http"),
        ("copy --src-tls-verify=false x y", "--plain-http"),
        ("copy --src-creds a:b x y", "umoci login"),
        ("push --creds a:b x", "umoci login"),
        ("copy --all x y", "--platform takes one"),
        ("copy --retry-times 3 x y", "anyway"),
        ("copy --insecure-policy x y", "no policy"),
    ] {
        let line = env.umoci(words.split(' ')).fails();
        assert!(
            line.contains("not defined") && line.contains(want),
            "{words}: {line}"
        );
    }
    // The Go tool has no such hints, and prints its help.
    let out = env.umoci(["unpack", "--creds", "x"]);
    assert!(
        out.stdout
            .contains("Incorrect Usage: flag provided but not defined: -creds"),
        "{}",
        out.stdout
    );
    for (word, want) in [
        ("inspect", "stat docker://NAME"),
        ("sync", "copy"),
        ("delete", "remove docker://NAME"),
    ] {
        let out = env.umoci([word, "x"]);
        assert!(
            out.stderr.contains(&format!("Did you mean '{want}'?")),
            "{}",
            out.stderr
        );
    }
}

#[test]
fn an_image_in_a_registry_is_no_layout() {
    let env = Env::new();
    for words in [
        "stat --image docker://h.example/a:1",
        "unpack --image docker://h.example/a:1 b",
        "layer list docker://h.example/a:1",
        "config --image docker://h.example/a:1 --author x",
    ] {
        let line = env.umoci(words.split(' ')).fails();
        assert!(
            line.contains("is in a registry") && line.contains("umoci pull --layout DIR h.example/a:1"),
            "{line}"
        );
    }
    let line = env.umoci(["ls", "--layout", "docker://h.example/a"]).fails();
    assert!(line.contains("is in a registry"), "{line}");
}

#[test]
fn a_tag_that_no_registry_takes_keeps_no_other_from_it() {
    let image = Image::new();
    let env = &image.env;
    for tag in ["v1", "odd:tag", "v2"] {
        env.umoci(["tag", "--image", "img:latest", tag]).ok();
    }
    let (shelf, fake) = Shelf::default().serve();
    let name = format!("{}/a", fake.address);
    let out = env.umoci([
        "push",
        "--referrers",
        "no",
        "--layout",
        "img",
        "--all-tags",
        &name,
    ]);
    assert!(
        out.stderr
            .contains("left out: invalid tag for a registry: \"odd:tag\""),
        "{}",
        out.stderr
    );
    out.ok();
    let manifests = shelf.manifests.lock().expect("manifests");
    assert!(
        ["latest", "v1", "v2"]
            .iter()
            .all(|tag| manifests.contains_key(*tag))
    );
    // One that is asked for alone is an error.
    env.umoci(["push", "--image", "img:odd:tag", &name]).fails();
}

#[test]
fn many_logins_at_once_are_all_kept() {
    let fakes: Vec<Fake> = (0..12).map(|_| Fake::start(|_| Answer::new(200, "{}"))).collect();
    let env = Env::new();
    let logins = fakes.iter().map(|fake| {
        format!("(echo pw | umoci login --username u --password-stdin --authfile dir/auth.json {}) & pids+=($!)\n", fake.address)
    });
    let script = format!(
        "umoci() {{ {} \"$@\"; }}\npids=()\n{}for pid in \"${{pids[@]}}\"; do wait \"$pid\"; done",
        env!("CARGO_BIN_EXE_umoci"),
        logins.collect::<String>()
    );
    env.sh(&script);
    assert_eq!(
        env.sh("jq '.auths | length' dir/auth.json; ls dir"),
        "12\nauth.json\n"
    );
}

#[test]
fn a_logout_makes_nothing() {
    let env = Env::new();
    env.umoci(["logout", "--authfile", "dir/auth.json", "h.example"])
        .ok();
    assert!(!env.path("dir").exists());
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn signatures_by_name_come_along_where_that_costs_little_or_is_asked_for() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let name = registry.name("app");
    env.umoci(["push", "--image", "img:latest", &format!("{name}:1")])
        .ok();
    let digest = image.entry()["digest"]
        .as_str()
        .expect("digest")
        .replace(':', "-");
    let signature = format!("{digest}.sig");
    env.umoci(["init", "--layout", "sig"]).ok();
    env.umoci(["new", "--image", "sig:x"]).ok();
    env.umoci(["push", "--image", "sig:x", &format!("{name}:{signature}")])
        .ok();
    let has = |layout: &str| env.umoci(["ls", "--layout", layout]).ok().contains(&signature);
    requests(env);
    env.umoci(["pull", "--layout", "plain", &format!("{name}:1")])
        .ok();
    assert!(!has("plain") && requests(env).iter().all(|line| !line.contains(".sig")));
    env.umoci([
        "pull",
        "--layout",
        "asked",
        "--referrers",
        "yes",
        &format!("{name}:1"),
    ])
    .ok();
    env.umoci(["pull", "--layout", "all", "--all-tags", &name]).ok();
    assert!(has("asked") && has("all"));
    env.umoci([
        "copy",
        "--referrers",
        "yes",
        &format!("docker://{name}:1"),
        &format!("docker://{}:1", registry.name("other")),
    ])
    .ok();
    assert!(
        env.umoci(["list-tags", &registry.name("other")])
            .ok()
            .contains(&signature)
    );
}
