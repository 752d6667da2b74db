// SPDX-License-Identifier: Apache-2.0
//! `umoci attach`, `umoci detach`, and where what is attached goes.

use serde_json::{Value, json};

use crate::support::{Env, Image};

fn json_of(env: &Env, words: &[&str]) -> Value {
    serde_json::from_str(&env.umoci(words).ok()).expect("JSON")
}

fn attach(env: &Env, to: &str, kind: &str, more: &[&str]) -> String {
    let words = [&["attach", "--to", to, "--artifact-type", kind], more].concat();
    env.umoci(words).ok().trim().to_owned()
}

fn referrers(env: &Env, image: &str) -> Vec<String> {
    let found = json_of(env, &["referrers", "--json", image]);
    let found = found["manifests"].as_array().expect("list").iter();
    found
        .map(|one| one["digest"].as_str().expect("digest").to_owned())
        .collect()
}

#[test]
fn an_artifact_is_about_an_image_and_listed_by_type() {
    let image = Image::new();
    let env = &image.env;
    env.write("sbom.json", "{\"packages\":[]}");
    env.write("sig", "signature");
    let signature = attach(env, "img", "example/signature", &["sig", "--annotation", "by=me"]);
    let sbom = attach(
        env,
        "img",
        "application/spdx+json",
        &["sbom.json:application/spdx+json", "sig"],
    );
    let empty = attach(env, "img", "example/empty", &[]);
    assert_eq!(referrers(env, "img"), [sbom.as_str(), &empty, &signature]);
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    let blob = |digest: &str| {
        serde_json::from_str::<Value>(&env.read(&format!("img/blobs/sha256/{}", &digest[7..]))).expect("JSON")
    };
    let manifest = blob(&sbom);
    assert_eq!(
        manifest["config"],
        json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "size": 2, "data": "e30="})
    );
    assert_eq!(manifest["subject"]["digest"], digest.as_str());
    assert_eq!(manifest["layers"][0]["mediaType"], "application/spdx+json");
    assert_eq!(
        manifest["layers"][0]["annotations"]["org.opencontainers.image.title"],
        "sbom.json"
    );
    assert_eq!(manifest["layers"][1]["mediaType"], "application/octet-stream");
    assert_eq!(blob(&empty)["layers"], json!([manifest["config"]]));
    // Other programs find it in index.json, without a name.
    let index: Value = serde_json::from_str(&env.read("img/index.json")).expect("JSON");
    let entry = &index["manifests"][1];
    assert_eq!(entry["digest"], signature.as_str());
    assert_eq!(entry["artifactType"], "example/signature");
    assert_eq!(
        entry["annotations"],
        json!({"by": "me", "org.opencontainers.image.created": "2023-11-14T22:13:20Z"})
    );
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "latest\n");
    // It is what a person sees too, and stat shows it.
    let table = env
        .umoci(["referrers", "img", "--artifact-type", "example/empty"])
        .ok();
    assert!(table.contains(&empty) && !table.contains(&sbom), "{table}");
    let stat = env.umoci(["stat", "--image", &format!("img@{sbom}")]).ok();
    assert!(
        stat.contains("Artifact Type: application/spdx+json") && stat.contains("Subject:"),
        "{stat}"
    );
    // An artifact may be about an artifact, or an index; of an index, about one image.
    let above = attach(env, &format!("img@{sbom}"), "example/signature", &["sig"]);
    assert_eq!(referrers(env, &format!("img@{sbom}")), [above]);
    env.umoci(["manifest", "create", "img:index", "latest"]).ok();
    let of_index = attach(env, "img:index", "example/signature", &["sig"]);
    assert_eq!(referrers(env, "img:index"), [of_index]);
    let host = json_of(env, &["stat", "--image", "img", "--json"])["config"]["blob"].clone();
    let platform = format!(
        "{}/{}",
        host["os"].as_str().expect("os"),
        host["architecture"].as_str().expect("arch")
    );
    assert_eq!(
        attach(env, "img:index", "example/empty", &["--platform", &platform]),
        empty
    );
    env.umoci(["fsck", "--layout", "img", "--deep"]).ok();
}

#[test]
fn it_lives_as_long_as_its_image_and_goes_when_it_is_detached() {
    let image = Image::new();
    let env = &image.env;
    env.write("file", "content");
    env.umoci(["config", "--image", "img", "--tag", "other", "--author", "x"])
        .ok();
    let one = attach(env, "img", "example/a", &["file"]);
    let two = attach(env, "img", "example/b", &["file"]);
    let above = attach(env, &format!("img@{one}"), "example/c", &[]);
    let blobs = || {
        env.sh("ls img/blobs/sha256 | wc -l")
            .trim()
            .parse::<u32>()
            .expect("count")
    };
    let before = blobs();
    env.umoci(["gc", "--layout", "img"]).ok();
    assert_eq!(blobs(), before);
    assert_eq!(
        env.umoci(["detach", "img", "--artifact-type", "example/b"]).ok(),
        format!("{two}\n")
    );
    assert_eq!(referrers(env, "img"), [one.as_str()]);
    assert_eq!(blobs(), before - 1);
    env.umoci(["gc", "--layout", "img"]).ok();
    // The image goes, and with it what is about it, listed or not.
    env.umoci(["rm", "--image", "img"]).ok();
    let plan = env.umoci(["gc", "--dry-run", "--layout", "img"]).ok();
    assert!(
        [&one, &above].iter().all(|digest| plan.contains(digest.as_str())),
        "{plan}"
    );
    env.umoci(["gc", "--layout", "img"]).ok();
    let index: Value = serde_json::from_str(&env.read("img/index.json")).expect("JSON");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
    assert!(!env.read("img/index.json").contains(&one));
    env.umoci(["fsck", "--layout", "img", "--deep"]).ok();
    // What is about something that was never here stays.
    let far = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="}},"layers":[],"subject":{{"mediaType":"x/y","digest":"sha256:{}","size":9}}}}"#,
        "a".repeat(64)
    );
    env.write("far", &far);
    let digest = env.umoci(["blob", "add", "--layout", "img", "far"]).ok();
    let entry = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.trim(), "size": far.len()});
    let index = env
        .read("img/index.json")
        .replace("\"manifests\":[", &format!("\"manifests\":[{entry},"));
    env.write("img/index.json", index);
    env.umoci(["gc", "--layout", "img"]).ok();
    assert!(env.read("img/index.json").contains(digest.trim()));
    for (words, want) in [
        (
            &["detach", "img:other"][..],
            "give an image, and digests, --artifact-type or --all",
        ),
        (
            &["detach", "img:other", "--all", "1234567"],
            "give only one of digests, --artifact-type and --all",
        ),
        (
            &["detach", "img:other", "1234567"],
            "nothing attached to other begins with 1234567",
        ),
        (
            &["attach", "--to", "img:other"],
            "missing mandatory argument: --artifact-type",
        ),
        (
            &["attach", "--artifact-type", "a/b"],
            "missing mandatory argument: --to",
        ),
        (
            &["attach", "--to", "img:other", "--artifact-type", "sbom"],
            "invalid --artifact-type: \"sbom\" is no media type, such as application/spdx+json",
        ),
        (
            &["attach", "--to", "img:other", "--artifact-type", "a/b", "file:/"],
            "invalid media type of file: \"/\" is no media type, such as application/spdx+json",
        ),
        (
            &["attach", "--to", "img:other", "--artifact-type", "a/b", "-:a/b c"],
            "invalid media type of -: \"a/b c\" is no media type, such as application/spdx+json",
        ),
        (
            &[
                "attach",
                "--to",
                "img:other",
                "--artifact-type",
                "a/b",
                "-",
                "-:a/b",
            ],
            "stdin (-) can be attached once only",
        ),
        (
            &["attach", "--to", "img:other", "--artifact-type", "a/b", "none"],
            "open none: no such file or directory",
        ),
        (
            &["attach", "--to", "img:none", "--artifact-type", "a/b"],
            "tag not found: none",
        ),
    ] {
        assert_eq!(env.umoci(words).fails(), want, "{words:?}");
    }
    assert_eq!(env.umoci(["detach", "img:other", "--all"]).ok(), "");
}

#[test]
fn what_comes_from_stdin_has_no_title() {
    let image = Image::new();
    let env = &image.env;
    let program = env!("CARGO_BIN_EXE_umoci");
    for (word, media_type) in [
        ("-", "application/octet-stream"),
        ("-:example/b+json", "example/b+json"),
    ] {
        let script = format!("printf content | {program} attach {word} --to img --artifact-type example/a");
        let digest = env.sh(&script);
        let manifest = env.read(&format!("img/blobs/sha256/{}", &digest.trim()[7..]));
        let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
        let content = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
        assert_eq!(
            manifest["layers"],
            json!([{"mediaType": media_type, "digest": content, "size": 7}])
        );
    }
}

#[test]
fn a_failure_to_write_is_told_as_what_it_is() {
    let image = Image::new();
    let env = &image.env;
    env.sh("rm -rf img/.umoci/tmp; touch img/.umoci/tmp");
    let why = env
        .umoci(["attach", "--to", "img", "--artifact-type", "example/a"])
        .fails();
    assert!(
        why.contains("img/.umoci/tmp") && !why.contains("artifact-type"),
        "{why}"
    );
}

#[test]
fn what_somebody_needs_is_not_detached() {
    let image = Image::new();
    let env = &image.env;
    let one = attach(env, "img", "example/a", &[]);
    env.umoci(["lease", "create", "--layout", "img", "mine", &one])
        .ok();
    assert_eq!(
        env.umoci(["detach", "img", &one]).fails(),
        format!("{one} is needed by the lease mine")
    );
    env.umoci(["lease", "remove", "--layout", "img", "mine"]).ok();
    env.umoci(["ref", "create", "--layout", "img", "named", "--digest", &one])
        .ok();
    let why = env.umoci(["detach", "img", &one[7..17]]).fails();
    assert_eq!(
        why,
        format!("{one} is needed by the tag named; umoci rm removes the tag")
    );
    env.umoci(["rm", "--image", "img:named"]).ok();
    env.umoci(["detach", "img", &one[7..17]]).ok();
    assert!(referrers(env, "img").is_empty());
}

#[test]
fn it_travels_with_its_image_unless_told_not_to() {
    let image = Image::new();
    let env = &image.env;
    env.write("file", "content");
    let one = attach(env, "img", "example/a", &["file"]);
    let above = attach(env, &format!("img@{one}"), "example/b", &[]);
    let other = {
        env.umoci(["config", "--image", "img", "--tag", "other", "--author", "x"])
            .ok();
        attach(env, "img:other", "example/a", &[])
    };
    env.umoci([
        "export",
        "--layout",
        "img",
        "--tag",
        "latest",
        "oci-archive:a.tar",
    ])
    .ok();
    env.umoci([
        "export",
        "--layout",
        "img",
        "--tag",
        "latest",
        "oci-archive:bare.tar",
        "--referrers=no",
    ])
    .ok();
    env.umoci(["export", "--layout", "img", "--tag", "latest", "dir"])
        .ok();
    for (from, want) in [
        ("oci-archive:a.tar", vec![one.clone()]),
        ("oci-archive:bare.tar", vec![]),
        ("oci:dir", vec![one.clone()]),
    ] {
        env.umoci(["init", "--layout", "in"]).ok();
        env.umoci(["import", "--layout", "in", from]).ok();
        assert_eq!(referrers(env, "in"), want, "{from}");
        if !want.is_empty() {
            assert_eq!(referrers(env, &format!("in@{one}")), std::slice::from_ref(&above));
        }
        assert!(!env.read("in/index.json").contains(&other));
        env.umoci(["fsck", "--layout", "in", "--deep"]).ok();
        env.sh("rm -r in");
    }
    let why = env
        .umoci(["export", "--layout", "img", "--referrers", "maybe", "x"])
        .fails();
    assert_eq!(why, "invalid --referrers: \"maybe\" (want yes or no)");
}

#[test]
fn what_no_entry_lists_travels_too() {
    let image = Image::new();
    let env = &image.env;
    env.write("file", "content");
    let one = attach(env, "img", "example/a", &["file"]);
    let above = attach(env, &format!("img@{one}"), "example/b", &[]);
    // As an image that somebody names too, it travels under its name, when that is asked for.
    let named = attach(env, "img", "example/c", &[]);
    let words = ["ref", "create", "--layout", "img", "named", "--digest", &named];
    env.umoci(words).ok();
    // What lacks something is not worth a failure.
    let torn = attach(env, "img", "example/d", &["file:example/other"]);
    env.write("lost", "lost");
    env.sh("jq -c '.manifests |= map(select(.annotations[\"org.opencontainers.image.ref.name\"]))' img/index.json >i && mv i img/index.json");
    env.sh(&format!(
        "jq -c '.layers[0].digest = \"sha256:{}\"' img/blobs/sha256/{1} >t; mv t img/blobs/sha256/$(sha256sum t | cut -d' ' -f1); rm img/blobs/sha256/{1}",
        "a".repeat(64),
        &torn[7..]
    ));
    assert_eq!(referrers(env, "img").len(), 3);
    for database in [true, false] {
        if !database {
            env.sh("rm -r img/.umoci");
        }
        env.umoci(["init", "--layout", "into"]).ok();
        env.umoci(["import", "oci:img:latest", "--layout", "into"]).ok();
        assert_eq!(env.path("img/.umoci/index.redb").exists(), database);
        env.umoci(["export", "--layout", "img", "--tag", "latest", "out"])
            .ok();
        env.umoci([
            "export",
            "--layout",
            "img",
            "--tag",
            "latest",
            "oci-archive:a.tar",
        ])
        .ok();
        env.sh("mkdir archive; tar -C archive -xf a.tar");
        for copy in ["into", "out", "archive"] {
            assert_eq!(referrers(env, copy), std::slice::from_ref(&one), "{copy}");
            assert_eq!(
                referrers(env, &format!("{copy}@{one}")),
                std::slice::from_ref(&above)
            );
            let listed = env.sh(&format!(
                "jq -r '.manifests[] | select(.artifactType) | .digest, .artifactType' {copy}/index.json"
            ));
            assert_eq!(
                listed,
                format!("{one}\nexample/a\n{above}\nexample/b\n"),
                "{copy}"
            );
            env.umoci(["fsck", "--layout", copy, "--deep"]).ok();
        }
        env.sh("rm -r into out archive a.tar");
    }
}

#[test]
fn what_cannot_be_understood_is_listed_without_a_type() {
    let image = Image::new();
    let env = &image.env;
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    let add = |text: &str| {
        env.write("document", text);
        let words = ["blob", "add", "--layout", "img", "document"];
        env.umoci(words).ok().trim().to_owned()
    };
    let artifact = add(&format!(
        r#"{{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"example/a","blobs":[],"subject":{{"digest":"{digest}","size":1}}}}"#
    ));
    let odd = add(&format!(
        r#"{{"schemaVersion":2,"config":7,"layers":[],"artifactType":[],"annotations":{{"a":1}},"subject":{{"digest":"{digest}","size":1}}}}"#
    ));
    let text = add("no JSON at all");
    let damaged = add(r#"{"schemaVersion":2,"artifactType":"example/b"}"#);
    let entry = |digest: &str| format!(r#"{{"mediaType":"x/y","digest":"{digest}","size":7}}"#);
    let entries = [&artifact, &odd, &text, &damaged].map(|digest| entry(digest));
    let index = add(&format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{},{{}},7,{{"digest":"md5:1"}}]}}"#,
        entries.join(",")
    ));
    let name = format!("sha256-{}", &digest[7..]);
    env.umoci(["ref", "create", "--layout", "img", &name, "--digest", &index])
        .ok();
    env.write(&format!("img/blobs/sha256/{}", &damaged[7..]), "{}");
    let found = json_of(env, &["referrers", "--json", "img"]);
    let mut found: Vec<String> = found["manifests"]
        .as_array()
        .expect("list")
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}",
                text("digest"),
                text("mediaType"),
                text("artifactType"),
                one["size"]
            )
        })
        .collect();
    found.sort();
    let size = |digest: &str| {
        std::fs::metadata(env.path("img/blobs/sha256").join(&digest[7..]))
            .expect("blob")
            .len()
    };
    let mut want: Vec<String> = [
        (
            &artifact,
            "application/vnd.oci.artifact.manifest.v1+json example/a",
        ),
        (&odd, "application/vnd.oci.image.manifest.v1+json -"),
        (&text, "application/octet-stream -"),
        (&damaged, "application/octet-stream -"),
    ]
    .iter()
    .map(|(digest, what)| format!("{digest} {what} {}", size(digest)))
    .collect();
    want.sort();
    assert_eq!(found, want);
    env.umoci(["referrers", "img"]).ok();
    // It is the index that lists them, so they go when that went.
    let why = env.umoci(["detach", "img", "--all"]).fails();
    assert!(
        why.contains(&format!("is needed by the index {index}")) || why.contains("is damaged"),
        "{why}"
    );
    env.umoci(["rm", "--image", &format!("img:{name}")]).ok();
    env.umoci(["gc", "--layout", "img"]).ok();
    // Both have a subject, which stays.
    let mut about = [format!("{odd}\n"), format!("{artifact}\n")];
    about.sort();
    let mut gone: Vec<String> = env
        .umoci(["detach", "img", "--all"])
        .ok()
        .lines()
        .map(|l| format!("{l}\n"))
        .collect();
    gone.sort();
    assert_eq!(gone, about);
}

#[test]
fn what_is_attached_to_what_is_detached_goes_too_unless_it_is_needed() {
    let image = Image::new();
    let env = &image.env;
    let one = attach(env, "img", "example/a", &[]);
    let above = attach(env, &format!("img@{one}"), "example/b", &[]);
    let top = attach(env, &format!("img@{above}"), "example/c", &[]);
    let kept = attach(env, &format!("img@{one}"), "example/d", &[]);
    let words = ["ref", "create", "--layout", "img", "kept", "--digest", &kept];
    env.umoci(words).ok();
    let two = attach(env, "img", "example/e", &[]);
    let words = ["ref", "create", "--layout", "img", "two", "--digest", &two];
    env.umoci(words).ok();
    let blobs = || env.sh("ls img/blobs/sha256");
    let before = (blobs(), env.read("img/index.json"));
    // One of them is needed, so none goes.
    assert_eq!(
        env.umoci(["detach", "img", "--all"]).fails(),
        format!("{two} is needed by the tag two; umoci rm removes the tag")
    );
    assert_eq!((blobs(), env.read("img/index.json")), before);
    let why = env
        .umoci(["detach", "img", "--artifact-type", "example/typo"])
        .fails();
    assert_eq!(
        why,
        "nothing of the type example/typo is attached to latest; what is, is of the types example/a, example/e"
    );
    assert_eq!(
        env.umoci(["detach", "img", "--artifact-type", "example/a"]).ok(),
        format!("{one}\n{above}\n{top}\n")
    );
    let left = format!("{}{}", blobs(), env.read("img/index.json"));
    for digest in [&one, &above, &top] {
        assert!(!left.contains(&digest[7..]), "{digest}");
    }
    for digest in [&kept, &two] {
        assert!(left.contains(&digest[7..]), "{digest}");
    }
    env.umoci(["rm", "--image", "img:two"]).ok();
    assert_eq!(
        env.umoci(["detach", "img", &two[7..17], &two[7..20]]).ok(),
        format!("{two}\n")
    );
    assert_eq!(env.umoci(["detach", "img", "--all"]).ok(), "");
    let why = env
        .umoci(["detach", "img", "--artifact-type", "example/a"])
        .fails();
    assert_eq!(why, "nothing is attached to latest");
    env.umoci(["fsck", "--layout", "img"]).ok();
}

#[test]
fn nothing_is_detached_while_a_document_is_damaged_of_which_nobody_knows_what_it_needs() {
    let image = Image::new();
    let env = &image.env;
    let one = attach(env, "img", "example/a", &[]);
    let two = attach(env, "img", "example/b", &[]);
    // An index that needs the artifact, and cannot be read.
    env.umoci(["manifest", "create", "img:index", "latest"]).ok();
    let index = env.sh("jq -r '.manifests[-1].digest' img/index.json");
    let path = format!("img/blobs/sha256/{}", &index.trim()[7..]);
    let good = env.read(&path);
    let bad = good.replacen("schema", "SCHEMA", 1);
    env.write(&path, bad);
    env.sh("rm -r img/.umoci");
    let why = env.umoci(["detach", "img", &one]).fails();
    assert!(
        why.contains(&format!(
            "blob {} is damaged, so what it needs is not known",
            index.trim()
        )),
        "{why}"
    );
    assert!(env.path(format!("img/blobs/sha256/{}", &one[7..])).exists());
    assert!(env.read("img/index.json").contains(&one));
    env.write(&path, good);
    env.umoci(["detach", "img", &one]).ok();
    // One that is damaged itself can go.
    env.write(&format!("img/blobs/sha256/{}", &two[7..]), "{}");
    assert_eq!(env.umoci(["detach", "img", "--all"]).ok(), format!("{two}\n"));
}

#[test]
fn the_conventions_of_other_programs_are_read() {
    let image = Image::new();
    let env = &image.env;
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    let artifact = |text: &str| {
        let document = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"{text}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="}},"layers":[]}}"#
        );
        env.write("document", &document);
        (
            env.umoci(["blob", "add", "--layout", "img", "document"])
                .ok()
                .trim()
                .to_owned(),
            document.len(),
        )
    };
    env.write("empty", "{}");
    env.umoci(["blob", "add", "--layout", "img", "empty"]).ok();
    // An index where a registry would have its referrers tag, and cosign's names.
    let (listed, size) = artifact("example/listed");
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": listed, "size": size},
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", "b".repeat(64)), "size": 1},
    ]});
    env.write("index", index.to_string());
    let index = env.umoci(["blob", "add", "--layout", "img", "index"]).ok();
    let name = format!("sha256-{}", &digest[7..]);
    env.umoci([
        "ref",
        "create",
        "--layout",
        "img",
        &name,
        "--digest",
        index.trim(),
    ])
    .ok();
    let (signature, _) = artifact("example/signature");
    env.umoci([
        "ref",
        "create",
        "--layout",
        "img",
        &format!("{name}.sig"),
        "--digest",
        &signature,
    ])
    .ok();
    assert_eq!(referrers(env, "img"), [listed.clone(), signature.clone()]);
    // They travel as well, by their names; what the index names and nobody has is said to be left out.
    let ran = env.umoci(["export", "--layout", "img", "--tag", "latest", "out"]);
    assert!(ran.stderr.contains(&"b".repeat(64)), "{}", ran.stderr);
    ran.ok();
    assert_eq!(referrers(env, "out"), [listed, signature.clone()]);
    env.umoci(["rm", "--image", &format!("img:{name}")]).ok();
    env.umoci(["export", "--layout", "img", "--tag", "latest", "new"])
        .ok();
    assert_eq!(referrers(env, "new"), [signature]);
}

#[test]
fn a_docker_archive_says_what_it_leaves_out() {
    let image = Image::new();
    let env = &image.env;
    let export =
        |more: &[&str]| env.umoci([&["export", "--layout", "img", "docker-archive:d.tar"], more].concat());
    let out = export(&[]);
    assert!(!out.stderr.contains("left out"), "{}", out.stderr);
    attach(env, "img", "example/a", &[]);
    attach(env, "img", "example/b", &[]);
    let out = export(&[]);
    assert!(
        out.stderr
            .contains("left out 2 artifacts attached to the images: a Docker archive holds no referrers"),
        "{}",
        out.stderr
    );
    out.ok();
    let out = export(&["--referrers", "no"]);
    assert!(!out.stderr.contains("left out"), "{}", out.stderr);
    out.ok();
    assert_eq!(
        export(&["--referrers", "yes"]).fails(),
        "a Docker archive holds no referrers: use oci-archive:, or --referrers no"
    );
}
