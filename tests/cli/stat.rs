// SPDX-License-Identifier: Apache-2.0
//! `umoci stat`

use crate::support::{Env, Image};

/// Puts a blob into `img`.
fn put(env: &Env, text: &str) -> String {
    let digest = umoci::digest::Digest::sha256(text.as_bytes());
    env.write(&format!("img/blobs/sha256/{}", digest.encoded()), text);
    digest.to_string()
}

const CONFIG: &str = include_str!("../fixtures/stat-config.json");
const MANIFEST: &str = include_str!("../fixtures/stat-manifest.json");

#[test]
fn the_text_is_the_known_one() {
    let env = Env::new();
    env.umoci(["init", "--layout", "img"]).ok();
    assert_eq!(
        put(&env, CONFIG),
        "sha256:01a6fc95c8afce1ebfaca585848ff2c42fe89ea0f5913c8e8fd6a0f8b691cd39"
    );
    let manifest = put(&env, MANIFEST);
    assert_eq!(
        manifest,
        "sha256:58fa9705ecfc0ec7d1e8631a729c6cbab46206233d58e46fc55346ca9d25ed43"
    );
    env.umoci([
        "ref", "create", "--layout", "img", "latest", "--digest", &manifest,
    ])
    .ok();
    // The descriptor as the packaged umoci would have written it.
    env.sh("jq -c 'del(.manifests[0].platform)' img/index.json >i && mv i img/index.json");
    assert_eq!(
        env.umoci(["stat", "--image", "img"]).ok(),
        include_str!("../fixtures/stat.txt")
    );
    let json: serde_json::Value =
        serde_json::from_str(&env.umoci(["stat", "--image", "img", "--json"]).ok()).expect("JSON");
    assert_eq!(
        json["config"]["blob"],
        serde_json::from_str::<serde_json::Value>(CONFIG).expect("JSON")
    );
    assert_eq!(
        json["history"][0]["diff_id"],
        "sha256:fed175d40baef89fc092180d169b2ba5865d41e757fd003376b6c6cff950cab7"
    );
    assert_eq!(
        (&json["history"][2]["layer"], &json["history"][2]["empty_layer"]),
        (&serde_json::Value::Null, &true.into())
    );
}

#[test]
fn a_bare_digest_and_an_index_are_shown_too() {
    let image = Image::new();
    let env = &image.env;
    let entry = image.entry();
    let digest = entry["digest"].as_str().expect("digest");
    let by_digest = env.umoci(["stat", "--image", &format!("img@{digest}")]).ok();
    assert_eq!(by_digest, env.umoci(["stat", "--image", "img"]).ok());
    let child = |arch: &str, digest: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},"platform":{{"os":"linux","architecture":"{arch}"}}}}"#,
            entry["size"]
        )
    };
    let other = put(env, "gone");
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        child("amd64", digest),
        child("arm64", &other)
    );
    let index = put(env, &index);
    env.umoci(["ref", "create", "--layout", "img", "multi", "--digest", &index])
        .ok();
    let text = env.umoci(["stat", "--image", "img:multi"]).ok();
    assert!(
        text.starts_with("== INDEX ==") && text.contains("linux/amd64") && text.contains("linux/arm64"),
        "{text}"
    );
    let why = env
        .umoci(["unpack", "--image", "img:multi", "--platform", "linux/386", "b"])
        .fails();
    assert_eq!(
        why,
        "no image for linux/386 at multi: it leads to linux/amd64, linux/arm64"
    );
}
