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
            "give an image, and digests, --artifact-type or --all",
        ),
        (
            &["detach", "img:other", "1234567"],
            "0 of what is attached to other begin with 1234567",
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
        format!("{one} is needed by the tag named, which umoci rm removes")
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
    assert_eq!(referrers(env, "img"), [listed, signature.clone()]);
    // They travel as well, by their names; what the index names and nobody has stops a copy.
    let why = env
        .umoci(["export", "--layout", "img", "--tag", "latest", "out"])
        .fails();
    assert!(why.contains(&"b".repeat(64)), "{why}");
    env.umoci(["rm", "--image", &format!("img:{name}")]).ok();
    env.umoci(["export", "--layout", "img", "--tag", "latest", "new"])
        .ok();
    assert_eq!(referrers(env, "new"), [signature]);
}
