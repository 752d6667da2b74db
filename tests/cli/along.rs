// SPDX-License-Identifier: Apache-2.0
//! What comes along with images that are copied, and what it meets at the destination.

use serde_json::{Value, json};

use crate::support::{Env, Image};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Writes an artifact; returns its descriptor.
fn artifact(env: &Env, layout: &str, kind: &str) -> Value {
    let empty = env.put(layout, "application/vnd.oci.empty.v1+json", b"{}");
    let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": empty, "layers": []});
    env.put(layout, MANIFEST, document.to_string().as_bytes())
}

/// Lists artifacts by the name that an index of them has, with a field that nobody knows.
fn index(env: &Env, layout: &str, name: &str, artifacts: &[&Value]) {
    let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": artifacts, "own": layout});
    let entry = env.put(layout, INDEX, document.to_string().as_bytes());
    env.list(layout, entry, Some(name));
}

fn referrers(env: &Env, layout: &str) -> Vec<String> {
    let found = env.umoci(["referrers", "--json", layout]).ok();
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let mut kinds: Vec<String> = found["manifests"]
        .as_array()
        .expect("list")
        .iter()
        .map(|one| one["artifactType"].as_str().expect("type").to_owned())
        .collect();
    kinds.sort();
    kinds
}

#[test]
fn what_is_attached_at_the_destination_stays() {
    let image = Image::new();
    let env = &image.env;
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    let name = digest.replace(':', "-");
    env.sh("cp -r img in; cp -r img copy");
    for (layout, kinds) in [("img", ["x/new", "x/both"]), ("in", ["x/own", "x/both"])] {
        let found = kinds.map(|kind| artifact(env, layout, kind));
        index(env, layout, &name, &[&found[0], &found[1]]);
        let kind = format!("x/signature-{layout}");
        let signature = artifact(env, layout, &kind);
        env.list(layout, signature, Some(&format!("{name}.sig")));
    }
    let only = artifact(env, "img", "x/sbom");
    env.list("img", only, Some(&format!("{name}.sbom")));
    env.sh("tar -cf a.tar -C img oci-layout index.json blobs; cp -r in before");
    let all = ["x/both", "x/new", "x/own", "x/sbom", "x/signature-in"];
    for words in [
        &["import", "--layout", "in", "img:latest"][..],
        &["import", "--layout", "in", "img"],
        &["import", "--layout", "in", "oci-archive:a.tar"],
        &["export", "--layout", "img", "--tag", "latest", "in"],
        &["export", "--layout", "img", "in"],
    ] {
        let ran = env.umoci(words);
        assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.stderr);
        let want = format!("left out what is attached as {name}.sig: another one is there");
        assert!(ran.stderr.contains(&want), "{words:?}: {}", ran.stderr);
        env.umoci(["gc", "--layout", "in"]).ok();
        assert_eq!(referrers(env, "in"), all, "{words:?}");
        env.umoci(["fsck", "--layout", "in"]).ok();
        let joined = env.umoci(["manifest", "show", &format!("in:{name}")]).ok();
        // Again there is nothing to join.
        env.umoci(words).ok();
        assert_eq!(
            env.umoci(["manifest", "show", &format!("in:{name}")]).ok(),
            joined
        );
        env.sh("rm -r in; cp -r before in");
    }
    // Asked for by its name it takes the place of the other.
    env.umoci(["import", "--layout", "in", &format!("img:{name}.sig")])
        .ok();
    env.umoci(["import", "--layout", "in", &format!("img:{name}")])
        .ok();
    assert_eq!(referrers(env, "in"), ["x/both", "x/new", "x/signature-img"]);
    // Without what is attached, none of it comes.
    env.sh("rm -r in; cp -r copy in");
    env.umoci(["import", "--layout", "in", "--referrers=no", "img"])
        .ok();
    assert_eq!(env.umoci(["ls", "--layout", "in"]).ok(), "latest\n");
}

#[test]
fn what_is_about_an_image_that_is_converted_stays_behind() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["config", "--image", "img", "--tag", "docker", "--author", "x"])
        .ok();
    env.umoci([
        "export",
        "--layout",
        "img",
        "--tag",
        "docker",
        "docker-archive:d.tar:a:1",
    ])
    .ok();
    env.umoci([
        "import",
        "--layout",
        "img",
        "--tag",
        "docker",
        "docker-archive:d.tar",
    ])
    .ok();
    env.umoci(["manifest", "create", "img:mixed", "latest", "docker"])
        .ok();
    for to in ["img:docker", "img:latest", "img:mixed"] {
        env.umoci([
            "attach",
            "--to",
            to,
            "--artifact-type",
            "x/y",
            "--annotation",
            &format!("to={to}"),
        ])
        .ok();
    }
    let [entry, ..] = image.of("docker");
    let name = entry["digest"].as_str().expect("digest").replace(':', "-");
    let signature = artifact(env, "img", "x/signature");
    env.list("img", signature, Some(&format!("{name}.sig")));
    for (tags, about, bare) in [
        (&["docker"][..], 0, Some(1)),
        (&["latest"], 1, None),
        (&["mixed"], 1, Some(2)),
        (&["docker", "latest", "mixed"], 1, Some(2)),
        (&[], 1, Some(2)),
    ] {
        let tags: Vec<&str> = tags.iter().flat_map(|tag| ["--tag", tag]).collect();
        let words = [
            &["export", "--layout", "img", "--format", "oci"],
            &tags[..],
            &["out"],
        ]
        .concat();
        let ran = env.umoci(&words);
        assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.stderr);
        let said = bare.map(|n| {
            format!("left out what is attached to {n} images that are converted: it is about others")
        });
        match said {
            Some(said) => assert!(ran.stderr.contains(&said), "{words:?}: {}", ran.stderr),
            None => assert_eq!(ran.stderr, ""),
        }
        let index = env.read("out/index.json");
        assert_eq!(index.matches("x/y").count(), about, "{words:?}: {index}");
        assert!(!index.contains(&name), "{index}");
        env.umoci(["fsck", "--layout", "out"]).ok();
        env.sh("rm -r out");
    }
    // As they are, all of it comes.
    env.umoci(["export", "--layout", "img", "out"]).ok();
    assert_eq!(env.read("out/index.json").matches("x/y").count(), 3);
}
