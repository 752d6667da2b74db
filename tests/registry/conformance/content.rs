// SPDX-License-Identifier: Apache-2.0
//! The objects that the rows push and ask for.

use std::collections::BTreeMap;
use std::slice;

use serde_json::{Value, json};
use umoci::digest::{Algorithm, Digest};

/// Objects by their names.
pub type Content = BTreeMap<&'static str, Object>;

/// A blob or a manifest.
pub struct Object {
    pub bytes: Vec<u8>,
    /// Media type of a manifest; empty for a blob.
    pub media_type: String,
    /// Objects that have to be there before it.
    pub needs: Vec<&'static str>,
}

impl Object {
    pub fn digest(&self, algorithm: &str) -> String {
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => panic!("{other}"),
        };
        Digest::of(algorithm, &self.bytes).to_string()
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// Content of a layer that is had elsewhere.
const FOREIGN_LAYER: &[u8] = b"layer of others";
/// Size of a manifest that every registry has to take.
const LARGE: usize = 4 << 20;

/// Adds a blob.
fn blob(content: &mut Content, name: &'static str, bytes: impl Into<Vec<u8>>) {
    let object = Object {
        bytes: bytes.into(),
        media_type: String::new(),
        needs: Vec::new(),
    };
    content.insert(name, object);
}

/// Adds a document.
fn document(content: &mut Content, name: &'static str, document: &Value, needs: &[&'static str]) {
    let object = Object {
        bytes: document.to_string().into_bytes(),
        media_type: document["mediaType"].as_str().expect("type").to_owned(),
        needs: needs.to_vec(),
    };
    content.insert(name, object);
}

/// Returns the descriptor of an object.
fn descriptor(content: &Content, name: &str, media_type: &str) -> Value {
    let object = &content[name];
    json!({ "mediaType": media_type, "digest": object.digest("sha256"), "size": object.bytes.len() })
}

/// Returns a manifest, of which `more` replaces or adds members.
fn manifest(config: &Value, layers: &[Value], more: Value) -> Value {
    let mut out = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
    merge(&mut out, more);
    out
}

/// Returns an index of manifests, of which `more` replaces or adds members.
fn index(manifests: &[Value], more: Value) -> Value {
    let mut out = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    merge(&mut out, more);
    out
}

fn merge(document: &mut Value, more: Value) {
    let (Value::Object(document), Value::Object(more)) = (document, more) else {
        panic!("no objects");
    };
    document.extend(more);
}

/// Makes all objects.
pub fn content() -> Content {
    let mut all = Content::new();
    blobs(&mut all);
    images(&mut all);
    indexes(&mut all);
    attached(&mut all);
    broken(&mut all);
    all
}

fn blobs(all: &mut Content) {
    blob(
        all,
        "blob",
        (0..1000_u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>(),
    );
    blob(all, "other", "other");
    blob(all, "missing", "missing");
    blob(all, "nothing", "");
    blob(all, "layer", [0; 1024]);
    blob(all, "arm-layer", [0; 2048]);
    blob(all, "large-layer", vec![0; LARGE + 1]);
    blob(all, "empty-object", "{}");
    let diff_id = all["layer"].digest("sha256");
    let arm = all["arm-layer"].digest("sha256");
    let large = all["large-layer"].digest("sha256");
    let foreign = Digest::sha256(FOREIGN_LAYER).to_string();
    for (name, architecture, diff_ids) in [
        ("config", "amd64", &[&diff_id][..]),
        ("arm-config", "arm64", &[&arm]),
        ("large-config", "amd64", &[&large]),
        ("config-without-layers", "amd64", &[]),
        ("config-with-foreign-layer", "amd64", &[&diff_id, &foreign]),
    ] {
        let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
        let config = json!({ "architecture": architecture, "os": "linux", "rootfs": rootfs });
        blob(all, name, config.to_string());
    }
}

/// Adds images of all kinds.
fn images(all: &mut Content) {
    let (config, layer) = (descriptor(all, "config", CONFIG), descriptor(all, "layer", LAYER));
    let needs = &["config", "layer"];
    let image = manifest(&config, slice::from_ref(&layer), json!({}));
    document(all, "image", &image, needs);
    let arm = [
        descriptor(all, "arm-config", CONFIG),
        descriptor(all, "arm-layer", LAYER),
    ];
    document(
        all,
        "arm",
        &manifest(&arm[0], &arm[1..], json!({})),
        &["arm-config", "arm-layer"],
    );
    let large = [
        descriptor(all, "large-config", CONFIG),
        descriptor(all, "large-layer", LAYER),
    ];
    let needs_large = &["large-config", "large-layer"];
    document(
        all,
        "large-image",
        &manifest(&large[0], &large[1..], json!({})),
        needs_large,
    );
    let mut data = config.clone();
    merge(&mut data, json!({ "data": base64(&all["config"].bytes) }));
    document(
        all,
        "image-with-data",
        &manifest(&data, slice::from_ref(&layer), json!({})),
        needs,
    );
    let custom = json!({ "org.example.custom": { "b": [1, null], "a": 1.0 } });
    document(
        all,
        "image-with-custom-fields",
        &manifest(&config, slice::from_ref(&layer), custom),
        needs,
    );
    let foreign = json!({
        "mediaType": FOREIGN, "size": 5, "urls": ["https://example.org/layer"],
        "digest": Digest::sha256(FOREIGN_LAYER),
    });
    document(
        all,
        "image-with-foreign-layer",
        &manifest(
            &descriptor(all, "config-with-foreign-layer", CONFIG),
            &[layer.clone(), foreign],
            json!({}),
        ),
        &["config-with-foreign-layer", "layer"],
    );
    document(
        all,
        "image-without-layers",
        &manifest(&descriptor(all, "config-without-layers", CONFIG), &[], json!({})),
        &["config-without-layers"],
    );
    let small = manifest(
        &config,
        slice::from_ref(&layer),
        json!({ "annotations": { "x": "" } }),
    );
    let most = "x".repeat(LARGE - small.to_string().len());
    let large = manifest(&config, &[layer], json!({ "annotations": { "x": most } }));
    document(all, "image-of-4-MiB", &large, needs);
    let docker = [
        descriptor(all, "config", DOCKER_CONFIG),
        descriptor(all, "layer", DOCKER_LAYER),
    ];
    let docker = manifest(&docker[0], &docker[1..], json!({ "mediaType": DOCKER_MANIFEST }));
    document(all, "docker-image", &docker, needs);
}

/// Adds indexes of all kinds.
fn indexes(all: &mut Content) {
    let mut both = [
        descriptor(all, "image", MANIFEST),
        descriptor(all, "arm", MANIFEST),
    ];
    for (entry, architecture) in both.iter_mut().zip(["amd64", "arm64"]) {
        merge(
            entry,
            json!({ "platform": { "os": "linux", "architecture": architecture } }),
        );
    }
    let needs = &["image", "arm"];
    document(all, "index", &index(&both, json!({})), needs);
    document(all, "empty-index", &index(&[], json!({})), &[]);
    let nested = [
        descriptor(all, "index", INDEX),
        descriptor(all, "image", MANIFEST),
    ];
    document(
        all,
        "nested-index",
        &index(&nested, json!({})),
        &["index", "image"],
    );
    let mut entry = descriptor(all, "docker-image", DOCKER_MANIFEST);
    merge(
        &mut entry,
        json!({ "platform": { "os": "linux", "architecture": "amd64" } }),
    );
    let list = index(&[entry], json!({ "mediaType": DOCKER_LIST }));
    document(all, "docker-list", &list, &["docker-image"]);
}

/// Adds artifacts, and referrers of images.
fn attached(all: &mut Content) {
    let empty = descriptor(all, "empty-object", EMPTY);
    let kind = json!({ "artifactType": "text/a+x" });
    let file = descriptor(all, "other", "text/plain");
    document(
        all,
        "artifact",
        &manifest(&empty, &[file], kind.clone()),
        &["empty-object", "other"],
    );
    let without = manifest(&empty, slice::from_ref(&empty), kind.clone());
    document(all, "artifact-without-content", &without, &["empty-object"]);
    let of_artifact = [descriptor(all, "artifact", MANIFEST)];
    document(all, "artifact-index", &index(&of_artifact, kind), &["artifact"]);
    let image = descriptor(all, "image", MANIFEST);
    let referrer = |kind: &str, subject: &Value| json!({ "artifactType": kind, "annotations": { "of": kind }, "subject": subject });
    let empties = [empty.clone()];
    document(
        all,
        "referrer",
        &manifest(&empty, &empties, referrer("text/a+x", &image)),
        &["empty-object", "image"],
    );
    document(
        all,
        "other-referrer",
        &manifest(&empty, &empties, referrer("text/b", &image)),
        &["empty-object", "image"],
    );
    let config = descriptor(all, "empty-object", "text/config");
    let by_config = manifest(&config, &empties, json!({ "subject": image }));
    document(all, "referrer-by-config", &by_config, &["empty-object", "image"]);
    document(
        all,
        "index-referrer",
        &index(&[], referrer("text/index", &image)),
        &["image"],
    );
    let missing = json!({ "mediaType": MANIFEST, "digest": Digest::sha256(b"missing"), "size": 7 });
    document(
        all,
        "referrer-of-nothing",
        &manifest(&empty, &empties, referrer("text/a+x", &missing)),
        &["empty-object"],
    );
    let listed = referrer("text/a+x", &image);
    let mut entry = descriptor(all, "referrer", MANIFEST);
    merge(
        &mut entry,
        json!({ "artifactType": listed["artifactType"], "annotations": listed["annotations"] }),
    );
    document(all, "referrers", &index(&[entry], json!({})), &["referrer"]);
}

/// Adds what is no good manifest.
fn broken(all: &mut Content) {
    let config = descriptor(all, "config", CONFIG);
    let missing = json!({ "mediaType": LAYER, "digest": Digest::sha256(b"missing"), "size": 7 });
    document(
        all,
        "image-without-its-layer",
        &manifest(&config, &[missing], json!({})),
        &["config"],
    );
    let missing = json!({ "mediaType": MANIFEST, "digest": Digest::sha256(b"missing"), "size": 7 });
    document(all, "index-without-its-image", &index(&[missing], json!({})), &[]);
    let text = String::from_utf8(all["image"].bytes.clone()).expect("text");
    blob(all, "half-an-image", &text[..text.len() / 2]);
    blob(all, "too-large", vec![b' '; LARGE + 1]);
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
