// SPDX-License-Identifier: Apache-2.0
//! The rules of the image-spec's JSON schemas, and every document that we write held against them.

use serde_json::{Value, json};

use crate::support::Env;

/// What is wrong with a document, and where in it.
type Verdict = Result<(), String>;

fn need(holds: bool, what: &str, value: &Value) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(format!("{what}: {value}"))
    }
}

/// A field that may be missing.
fn optional(object: &Value, field: &str, check: impl Fn(&Value) -> Verdict) -> Verdict {
    match object.get(field) {
        Some(value) => check(value).map_err(|e| format!("{field}: {e}")),
        None => Ok(()),
    }
}

/// A field that must be there.
fn required(object: &Value, field: &str, check: impl Fn(&Value) -> Verdict) -> Verdict {
    need(object.get(field).is_some(), &format!("no {field}"), object)?;
    optional(object, field, check)
}

fn string(value: &Value) -> Verdict {
    need(value.is_string(), "no string", value)
}

fn boolean(value: &Value) -> Verdict {
    need(value.is_boolean(), "no boolean", value)
}

fn list(item: impl Fn(&Value) -> Verdict) -> impl Fn(&Value) -> Verdict {
    move |value| {
        let items = value.as_array().ok_or_else(|| format!("no list: {value}"))?;
        items.iter().try_for_each(&item)
    }
}

fn or_null(check: impl Fn(&Value) -> Verdict) -> impl Fn(&Value) -> Verdict {
    move |value| if value.is_null() { Ok(()) } else { check(value) }
}

fn map(key: impl Fn(&str) -> bool, item: impl Fn(&Value) -> Verdict) -> impl Fn(&Value) -> Verdict {
    move |value| {
        let fields = value.as_object().ok_or_else(|| format!("no object: {value}"))?;
        fields.iter().try_for_each(|(name, value)| {
            need(key(name), "key", &json!(name))?;
            item(value)
        })
    }
}

fn object(value: &Value) -> Verdict {
    need(value.is_object(), "no object", value)
}

fn strings(value: &Value) -> Verdict {
    map(|_| true, string)(value)
}

fn digest(value: &Value) -> Verdict {
    let holds = value
        .as_str()
        .and_then(|d| d.split_once(':'))
        .is_some_and(|(algorithm, encoded)| {
            let lower = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
            let parts = algorithm.split(['+', '.', '_', '-']);
            let hex = match algorithm {
                "sha256" => Some(64),
                "sha512" => Some(128),
                _ => None,
            };
            parts.into_iter().all(|p| !p.is_empty() && p.bytes().all(lower))
                && !encoded.is_empty()
                && encoded
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"=_-".contains(&c))
                && hex.is_none_or(|n| {
                    encoded.len() == n
                        && encoded
                            .bytes()
                            .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
                })
        });
    need(holds, "no digest", value)
}

fn media_type(value: &Value) -> Verdict {
    let name = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|c| c.is_ascii_alphanumeric())
            && bytes.all(|c| c.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&c))
            && part.len() <= 127
    };
    let holds = value
        .as_str()
        .and_then(|t| t.split_once('/'))
        .is_some_and(|(kind, sub)| name(kind) && name(sub));
    need(holds, "no media type", value)
}

fn size(value: &Value) -> Verdict {
    need(value.as_i64().is_some_and(|n| n >= 0), "no size", value)
}

fn base64(value: &Value) -> Verdict {
    let holds = value.as_str().is_some_and(|text| {
        let end = text.trim_end_matches('=');
        text.len() % 4 == 0
            && text.len() - end.len() <= 2
            && end
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"+/".contains(&c))
    });
    need(holds, "no base64", value)
}

/// `date-time` of RFC 3339.
fn time(value: &Value) -> Verdict {
    let holds = value.as_str().is_some_and(|text| {
        let (head, rest) = text.split_at_checked(19).unwrap_or_default();
        let shape: String = head
            .chars()
            .map(|c| if c.is_ascii_digit() { '9' } else { c })
            .collect();
        let fraction = rest
            .strip_prefix('.')
            .map(|r| r.trim_start_matches(|c: char| c.is_ascii_digit()));
        let zone = fraction.unwrap_or(rest);
        let zone: String = zone
            .chars()
            .map(|c| if c.is_ascii_digit() { '9' } else { c })
            .collect();
        shape == "9999-99-99T99:99:99"
            && fraction.is_none_or(|f| f.len() + 1 < rest.len())
            && ["Z", "+99:99", "-99:99"].contains(&zone.as_str())
    });
    need(holds, "no time of RFC 3339", value)
}

fn platform(value: &Value) -> Verdict {
    required(value, "architecture", string)?;
    required(value, "os", string)?;
    optional(value, "os.version", string)?;
    optional(value, "os.features", list(string))?;
    optional(value, "variant", string)
}

fn descriptor(value: &Value) -> Verdict {
    required(value, "mediaType", media_type)?;
    required(value, "digest", digest)?;
    required(value, "size", size)?;
    optional(value, "urls", list(string))?;
    optional(value, "annotations", strings)?;
    optional(value, "data", base64)?;
    optional(value, "artifactType", media_type)?;
    optional(value, "platform", platform)
}

fn version_2(value: &Value) -> Verdict {
    need(*value == 2, "not 2", value)
}

fn index(value: &Value) -> Verdict {
    required(value, "schemaVersion", version_2)?;
    optional(value, "mediaType", |t| {
        need(
            *t == "application/vnd.oci.image.index.v1+json",
            "of another type",
            t,
        )
    })?;
    optional(value, "artifactType", media_type)?;
    required(value, "manifests", list(descriptor))?;
    optional(value, "subject", descriptor)?;
    optional(value, "annotations", strings)
}

fn manifest(value: &Value) -> Verdict {
    required(value, "schemaVersion", version_2)?;
    optional(value, "mediaType", |t| {
        need(
            *t == "application/vnd.oci.image.manifest.v1+json",
            "of another type",
            t,
        )
    })?;
    optional(value, "artifactType", media_type)?;
    required(value, "config", descriptor)?;
    // The schema wants a layer at least; a blank image has none, and its bytes are what other tools expect.
    required(value, "layers", list(descriptor))?;
    optional(value, "subject", descriptor)?;
    optional(value, "annotations", strings)
}

/// `80`, `80/tcp` or `80/udp`.
fn port(name: &str) -> bool {
    let (number, protocol) = name.split_once('/').unwrap_or((name, "tcp"));
    number.parse::<u16>().is_ok() && ["tcp", "udp"].contains(&protocol)
}

fn container(value: &Value) -> Verdict {
    for field in ["User", "WorkingDir", "StopSignal"] {
        optional(value, field, string)?;
    }
    let variable = |v: &Value| {
        let named = v
            .as_str()
            .and_then(|v| v.split_once('='))
            .is_some_and(|(name, _)| !name.is_empty());
        need(named, "no NAME=VALUE", v)
    };
    optional(value, "ExposedPorts", or_null(map(port, object)))?;
    optional(value, "Env", list(variable))?;
    optional(value, "Entrypoint", or_null(list(string)))?;
    optional(value, "Cmd", or_null(list(string)))?;
    optional(value, "Volumes", or_null(map(|path| !path.is_empty(), object)))?;
    optional(value, "Labels", or_null(strings))?;
    optional(value, "ArgsEscaped", boolean)
}

fn step(value: &Value) -> Verdict {
    optional(value, "created", time)?;
    for field in ["author", "created_by", "comment"] {
        optional(value, field, string)?;
    }
    optional(value, "empty_layer", boolean)
}

fn config(value: &Value) -> Verdict {
    optional(value, "created", time)?;
    optional(value, "author", string)?;
    platform(value)?;
    optional(value, "config", container)?;
    required(value, "rootfs", |rootfs| {
        required(rootfs, "type", |t| need(*t == "layers", "not layers", t))?;
        required(rootfs, "diff_ids", list(digest))
    })?;
    optional(value, "history", list(step))
}

/// A document with the place of one field in it, and a value there that its schema refuses.
type Broken = (fn(&Value) -> Verdict, fn() -> Value, &'static str, Value);

#[test]
fn the_rules_refuse_what_the_schemas_refuse() {
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    fn entry() -> Value {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": DIGEST, "size": 0, "data": "aGk=",
               "annotations": {"a": "b"}, "platform": {"architecture": "arm64", "os": "linux", "os.features": ["x"]}})
    }
    fn an_index() -> Value {
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry()]})
    }
    fn a_manifest() -> Value {
        json!({"schemaVersion": 2, "config": entry(), "layers": [entry()], "subject": entry(), "annotations": {}})
    }
    fn a_config() -> Value {
        json!({"created": "2026-01-02T03:04:05.678+09:00", "architecture": "", "os": "linux",
               "config": {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "9": {}}, "Env": ["A="], "Cmd": null, "Volumes": {"/v": {}}},
               "rootfs": {"type": "layers", "diff_ids": [DIGEST]}, "history": [{"created": "2026-01-02T03:04:05Z", "empty_layer": true}]})
    }
    for (check, good) in [
        (index as fn(&Value) -> Verdict, an_index()),
        (manifest, a_manifest()),
        (config, a_config()),
        (descriptor, entry()),
    ] {
        assert_eq!(check(&good), Ok(()));
    }
    let broken: &[Broken] = &[
        (descriptor, entry, "/digest", json!("sha256:00")),
        (descriptor, entry, "/digest", json!(DIGEST.to_uppercase())),
        (descriptor, entry, "/digest", json!("e3b0c442")),
        (descriptor, entry, "/mediaType", json!("text")),
        (descriptor, entry, "/mediaType", json!("text/ plain")),
        (
            descriptor,
            entry,
            "/mediaType",
            json!(format!("a/{}", "b".repeat(128))),
        ),
        (descriptor, entry, "/size", json!(-1)),
        (descriptor, entry, "/size", json!("1")),
        (descriptor, entry, "/size", json!(1.5)),
        (descriptor, entry, "/data", json!("aGk")),
        (descriptor, entry, "/annotations/a", json!(1)),
        (descriptor, entry, "/platform/os", json!(null)),
        (descriptor, entry, "/platform/architecture", json!(["arm64"])),
        (descriptor, entry, "/platform/os.features", json!("x")),
        (index, an_index, "/schemaVersion", json!(1)),
        (
            index,
            an_index,
            "/mediaType",
            json!("application/vnd.oci.image.manifest.v1+json"),
        ),
        (index, an_index, "/manifests", json!(null)),
        (index, an_index, "/manifests/0/size", json!(-5)),
        (manifest, a_manifest, "/schemaVersion", json!("2")),
        (manifest, a_manifest, "/config", json!({})),
        (manifest, a_manifest, "/layers", json!(null)),
        (manifest, a_manifest, "/layers/0/digest", json!("")),
        (manifest, a_manifest, "/subject/size", json!(null)),
        (manifest, a_manifest, "/annotations", json!({"a": null})),
        (config, a_config, "/created", json!("2026-01-02")),
        (config, a_config, "/created", json!("2026-01-02T03:04:05")),
        (config, a_config, "/created", json!("2026-01-02T03:04:05.Z")),
        (config, a_config, "/architecture", json!(null)),
        (config, a_config, "/os", json!(1)),
        (config, a_config, "/rootfs/type", json!("layer")),
        (config, a_config, "/rootfs/diff_ids", json!(null)),
        (config, a_config, "/rootfs/diff_ids/0", json!("sha256:x")),
        (config, a_config, "/config/ExposedPorts", json!({"http": {}})),
        (config, a_config, "/config/ExposedPorts", json!({"80/sctp/x": {}})),
        (config, a_config, "/config/ExposedPorts/80~1tcp", json!(true)),
        (config, a_config, "/config/Env/0", json!("=x")),
        (config, a_config, "/config/Cmd", json!("sh -c")),
        (config, a_config, "/config/Volumes", json!(["/v"])),
        (config, a_config, "/history/0/created", json!("yesterday")),
        (config, a_config, "/history/0/empty_layer", json!("true")),
    ];
    for (check, good, place, value) in broken {
        let mut document = good();
        *document.pointer_mut(place).expect(place) = value.clone();
        assert!(check(&document).is_err(), "{place}: {value}");
    }
    for (check, good, field) in [
        (
            descriptor as fn(&Value) -> Verdict,
            entry as fn() -> Value,
            "size",
        ),
        (index, an_index, "manifests"),
        (manifest, a_manifest, "config"),
        (config, a_config, "rootfs"),
        (config, a_config, "os"),
    ] {
        let mut document = good();
        document.as_object_mut().expect("object").remove(field);
        assert!(check(&document).is_err(), "without {field}");
    }
}

/// Holds all documents of `img` against the schemas, and the parts of each image against one another. Returns how many
/// images there are.
pub fn check_layout(env: &Env) -> usize {
    let layout: Value = serde_json::from_str(&env.read("img/oci-layout")).expect("oci-layout");
    assert_eq!(layout, json!({"imageLayoutVersion": "1.0.0"}));
    let top: Value = serde_json::from_str(&env.read("img/index.json")).expect("index.json");
    assert_eq!(index(&top), Ok(()));
    // A blob is what its descriptor says; returns the bytes.
    let blob = |descriptor: &Value| {
        let name = descriptor["digest"].as_str().expect("digest").replace(':', "/");
        let bytes = std::fs::read(env.path("img/blobs").join(&name)).expect("blob");
        let digest = umoci::digest::Digest::sha256(&bytes).to_string();
        assert_eq!(digest.replace(':', "/"), name);
        assert_eq!(descriptor["size"], bytes.len(), "{name}");
        bytes
    };
    let document = |descriptor: &Value| serde_json::from_slice::<Value>(&blob(descriptor)).expect("JSON");
    let mut waiting: Vec<Value> = top["manifests"].as_array().expect("manifests").clone();
    let mut images = 0;
    while let Some(entry) = waiting.pop() {
        let value = document(&entry);
        if entry["mediaType"] == "application/vnd.oci.image.index.v1+json" {
            assert_eq!(index(&value), Ok(()));
            waiting.extend(value["manifests"].as_array().expect("manifests").clone());
            continue;
        }
        assert_eq!(entry["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(manifest(&value), Ok(()), "{value}");
        assert_eq!(
            value["config"]["mediaType"],
            "application/vnd.oci.image.config.v1+json"
        );
        let settings = document(&value["config"]);
        assert_eq!(config(&settings), Ok(()), "{settings}");
        let layers = value["layers"].as_array().expect("layers");
        for layer in layers {
            blob(layer);
        }
        assert_eq!(
            settings["rootfs"]["diff_ids"].as_array().expect("ids").len(),
            layers.len()
        );
        if let Some(steps) = settings["history"].as_array() {
            let made = steps.iter().filter(|step| step["empty_layer"] != true).count();
            assert_eq!(made, layers.len(), "steps that made a layer: {settings}");
        }
        images += 1;
    }
    images
}

#[test]
fn every_document_that_a_command_writes_follows_them() {
    let env = Env::new();
    env.sh("mkdir -p src/sub; echo x >src/sub/file; tar -cf layer.tar src");
    // As whoever runs this: root or not.
    let steps: &[(&[&str], usize)] = &[
        (&["init", "--layout", "img"], 0),
        (&["new", "--image", "img:a"], 1),
        (
            &[
                "config",
                "--image",
                "img:a",
                "--tag",
                "b",
                "--author",
                "me & <you>",
                "--created",
                "2026-01-02T03:04:05.6+09:00",
                "--config.user",
                "0:0",
                "--config.env",
                "A=b=c",
                "--config.env",
                "E=",
                "--config.label",
                "k=<v>",
                "--config.cmd",
                "",
                "--config.entrypoint",
                "/bin/true",
                "--config.exposedports",
                "80/tcp",
                "--config.exposedports",
                "53/udp",
                "--config.volume",
                "/v",
                "--config.workingdir",
                "/w",
                "--config.stopsignal",
                "SIGTERM",
                "--os",
                "linux",
                "--architecture",
                "arm64",
                "--platform.variant",
                "v8",
                "--manifest.annotation",
                "x.y=z",
                "--history.author",
                "h",
                "--history.comment",
                "c",
            ],
            2,
        ),
        (
            &[
                "insert",
                "--image",
                "img:b",
                "--tag",
                "c",
                "--rootless",
                "src",
                "/opt",
            ],
            3,
        ),
        (
            &[
                "insert",
                "--image",
                "img:c",
                "--compress",
                "zstd",
                "--opaque",
                "--rootless",
                "src",
                "/opt",
            ],
            3,
        ),
        (
            &[
                "insert",
                "--image",
                "img:c",
                "--compress",
                "none",
                "--whiteout",
                "/opt/sub",
            ],
            3,
        ),
        (
            &["raw", "add-layer", "--image", "img:c", "--tag", "d", "layer.tar"],
            4,
        ),
        (&["unpack", "--rootless", "--image", "img:d", "bundle"], 4),
        (&["repack", "--image", "img:same", "bundle"], 5),
        (
            &[
                "raw",
                "unpack",
                "--rootless",
                "--image",
                "img:d",
                "bundle/rootfs/again",
            ],
            5,
        ),
        (&["repack", "--image", "img:e", "--refresh-bundle", "bundle"], 6),
        (
            &[
                "config",
                "--image",
                "img:e",
                "--clear",
                "config.env",
                "--clear",
                "config.labels",
            ],
            6,
        ),
        (&["tag", "--image", "img:e", "f"], 7),
        (&["rm", "--image", "img:a"], 6),
        (&["gc", "--layout", "img"], 6),
    ];
    for (words, images) in steps {
        env.umoci(*words).ok();
        assert_eq!(check_layout(&env), *images, "{words:?}");
    }
}

#[test]
fn an_edit_below_an_index_keeps_all_documents_right() {
    let env = Env::new();
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img:a"]).ok();
    // The tag leads to an index of one image now.
    let top: Value = serde_json::from_str(&env.read("img/index.json")).expect("index.json");
    let mut child = top["manifests"][0].clone();
    child.as_object_mut().expect("object").remove("annotations");
    child["platform"] = json!({"architecture": "amd64", "os": "linux", "os.version": "1"});
    let nested = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [child]}).to_string();
    let digest = umoci::digest::Digest::sha256(nested.as_bytes()).to_string();
    env.write(&format!("img/blobs/{}", digest.replace(':', "/")), &nested);
    let entry = json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": nested.len(),
                       "annotations": {"org.opencontainers.image.ref.name": "n"}});
    env.write(
        "img/index.json",
        json!({"schemaVersion": 2, "manifests": [entry]}).to_string(),
    );
    assert_eq!(check_layout(&env), 1);
    env.umoci(["insert", "--image", "img:n", "--whiteout", "/x"]).ok();
    env.umoci(["config", "--image", "img:n", "--tag", "m", "--config.cmd", "x"])
        .ok();
    assert_eq!(check_layout(&env), 2);
}
