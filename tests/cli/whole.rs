// SPDX-License-Identifier: Apache-2.0
//! A copy has all that its documents declare, or says what it does not have.

use serde_json::{Value, json};
use umoci::digest::Digest;

use crate::support::Env;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// A room with an empty layout `img`.
fn room() -> Env {
    let env = Env::new();
    env.umoci(["init", "--layout", "img"]).ok();
    env
}

fn digest(descriptor: &Value) -> String {
    descriptor["digest"].as_str().expect("digest").to_owned()
}

/// Puts a document into `img`.
fn document(env: &Env, media_type: &str, value: &Value) -> Value {
    env.put("img", media_type, value.to_string().as_bytes())
}

/// An archive of one file.
fn tar(env: &Env, content: &str) -> Vec<u8> {
    env.write("f", content);
    env.sh("tar --mtime=@0 --owner=0 --group=0 -cf f.tar f");
    std::fs::read(env.path("f.tar")).expect("tar")
}

/// An image for a machine: three blobs.
fn image(env: &Env, machine: &str, types: [&str; 3]) -> Value {
    let layer = tar(env, machine);
    let config = json!({"os": "linux", "architecture": machine,
        "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&layer).to_string()]}});
    let (config, layer) = (document(env, types[1], &config), env.put("img", types[2], &layer));
    let manifest = json!({"schemaVersion": 2, "mediaType": types[0], "config": config, "layers": [layer]});
    let mut entry = document(env, types[0], &manifest);
    entry["platform"] = json!({"os": "linux", "architecture": machine});
    entry
}

fn oci(env: &Env, machine: &str) -> Value {
    image(env, machine, [MANIFEST, CONFIG, LAYER])
}

fn docker(env: &Env, machine: &str) -> Value {
    let (config, layer) = (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar",
    );
    image(env, machine, [DOCKER_MANIFEST, config, layer])
}

fn index(env: &Env, media_type: &str, entries: &[Value]) -> Value {
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
    document(env, media_type, &index)
}

/// An entry for an image that is not there.
fn absent(media_type: &str, machine: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(machine.as_bytes()).to_string(), "size": 500,
        "platform": {"os": "linux", "architecture": machine}})
}

/// Copies the tag `t` of `img` by every way, each to a layout `out`, and calls `look` there with what was said on stderr.
fn each_copy(env: &Env, more: &[&str], look: &dyn Fn(&str, &str)) {
    env.sh("tar -cf in.tar -C img oci-layout index.json blobs");
    let ways: [&[&[&str]]; 5] = [
        &[&["import", "--layout", "out", "img:t"]],
        &[&["import", "--layout", "out", "oci-archive:in.tar:t"]],
        &[&["import", "--layout", "out", "oci-archive:in.tar"]],
        &[&["export", "--layout", "img", "--tag", "t", "out"]],
        &[
            &["export", "--layout", "img", "--tag", "t", "oci-archive:out.tar"],
            &["import", "--layout", "out", "oci-archive:out.tar"],
        ],
    ];
    for way in ways {
        env.sh("rm -rf out out.tar");
        if way[0][0] == "import" || way.len() > 1 {
            env.umoci(["init", "--layout", "out"]).ok();
        }
        let mut said = String::new();
        for (at, words) in way.iter().enumerate() {
            // Options of the program come before the command.
            let (first, more) = match more {
                ["-q"] => (more, &[][..]),
                _ if at > 0 => (&[][..], &[][..]),
                _ => (&[][..], more),
            };
            let ran = env.umoci(first.iter().chain(*words).chain(more));
            said += &ran.stderr;
            ran.ok();
        }
        look(&way[0].join(" "), &said);
    }
}

type Make = fn(&Env) -> (Value, usize);

/// Each kind with how many blobs a copy has.
const KINDS: [(&str, Make); 19] = [
    ("an image", |env| (oci(env, "amd64"), 3)),
    ("an image of Docker's", |env| (docker(env, "amd64"), 3)),
    ("a list of Docker's", |env| {
        let entries = [docker(env, "amd64"), docker(env, "arm64")];
        (index(env, DOCKER_LIST, &entries), 7)
    }),
    ("schema 1", |env| {
        let layers = [env.put("img", LAYER, b"one"), env.put("img", LAYER, b"two")];
        let layers: Vec<Value> = layers.iter().map(|l| json!({"blobSum": l["digest"]})).collect();
        let manifest =
            json!({"schemaVersion": 1, "fsLayers": layers, "history": [{"v1Compatibility": "{}"}]});
        (document(env, SCHEMA1, &manifest), 3)
    }),
    ("schema 1 without a type, in an index", |env| {
        let layer = env.put("img", LAYER, b"one");
        let manifest = json!({"schemaVersion": 1, "fsLayers": [{"blobSum": layer["digest"]}]});
        let entry = document(env, SCHEMA1, &manifest);
        (index(env, INDEX, &[entry]), 3)
    }),
    ("a signature of cosign's", |env| {
        let image = oci(env, "amd64");
        let signed = json!({"critical": {"image": {"docker-manifest-digest": image["digest"]}}});
        let layer = document(env, "application/vnd.dev.cosign.simplesigning.v1+json", &signed);
        let config = document(env, CONFIG, &json!({"rootfs": {"diff_ids": [layer["digest"]]}}));
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        (document(env, MANIFEST, &manifest), 3)
    }),
    ("an artifact of its own kind", |env| {
        let image = oci(env, "amd64");
        let blobs = [env.put("img", "t/a", b"one"), env.put("img", "t/b", b"two")];
        let manifest =
            json!({"mediaType": ARTIFACT, "artifactType": "a/b", "blobs": blobs, "subject": image});
        (document(env, ARTIFACT, &manifest), 3)
    }),
    ("an artifact of ORAS", |env| {
        let image = oci(env, "amd64");
        let kind = "application/vnd.cncf.oras.artifact.manifest.v1+json";
        let blobs = [env.put("img", "t/a", b"one")];
        let manifest = json!({"mediaType": kind, "artifactType": "a/b", "blobs": blobs, "subject": image,
            "annotations": {"of": image["digest"]}});
        (document(env, kind, &manifest), 2)
    }),
    ("an artifact about an image", |env| {
        let image = oci(env, "amd64");
        let empty = env.put("img", EMPTY, b"{}");
        let manifest = json!({"schemaVersion": 2, "artifactType": "a/b", "config": empty, "layers": [empty],
            "subject": image});
        (document(env, MANIFEST, &manifest), 2)
    }),
    ("a chart of Helm", |env| {
        let config = json!({"name": "chart", "sources": [Digest::sha256(b"x").to_string()]});
        let config = document(env, "application/vnd.cncf.helm.config.v1+json", &config);
        let chart = env.put(
            "img",
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            b"chart",
        );
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [chart]});
        (document(env, MANIFEST, &manifest), 3)
    }),
    ("a cache of BuildKit", |env| {
        let layers = [env.put("img", LAYER, b"one"), env.put("img", LAYER, b"two")];
        let other = env.put("img", "t/other", b"behind a record");
        let cache = json!({"layers": [{"blob": layers[0]["digest"], "parent": -1}],
            "records": [{"digest": Digest::sha256(b"a step").to_string(), "blob": other["digest"]}]});
        let cache = document(env, "application/vnd.buildkit.cacheconfig.v0", &cache);
        let entries = [layers[0].clone(), layers[1].clone(), cache];
        (index(env, INDEX, &entries), 5)
    }),
    ("a bundle of CNAB", |env| {
        let config = document(env, "application/vnd.cnab.config.v1+json", &json!({"name": "b"}));
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": []});
        let manifest = document(env, MANIFEST, &manifest);
        (index(env, INDEX, &[manifest, oci(env, "amd64")]), 6)
    }),
    ("an attestation beside its image", |env| {
        let image = oci(env, "amd64");
        let hex = &digest(&image)[7..].to_owned();
        let statement =
            json!({"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": {"sha256": hex}}]});
        let statement = document(env, "application/vnd.in-toto+json", &statement);
        let config = document(
            env,
            CONFIG,
            &json!({"os": "unknown", "architecture": "unknown",
            "rootfs": {"type": "layers", "diff_ids": [statement["digest"]]}}),
        );
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [statement]});
        let mut manifest = document(env, MANIFEST, &manifest);
        manifest["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        (index(env, INDEX, &[image, manifest]), 7)
    }),
    ("a list of digests", |env| {
        let image = oci(env, "amd64");
        let list = format!("[\"{}\"]", digest(&image));
        (env.put("img", "application/x-list+json", list.as_bytes()), 4)
    }),
    ("a document of documents", |env| {
        let inner = document(env, "a/b", &json!({"of": digest(&oci(env, "amd64"))}));
        (
            document(env, "a/c", &json!({"needs": {"of": inner["digest"]}})),
            5,
        )
    }),
    ("a document that is larger than one is read", |env| {
        let blob = env.put("img", "t/a", b"one");
        let text = format!(
            "{{\"x\":\"{}\",\"y\":\"{}\"}}",
            "x".repeat(5 << 20),
            digest(&blob)
        );
        (env.put("img", "a/b", text.as_bytes()), 2)
    }),
    ("a manifest without a type", |env| {
        let mut entry = oci(env, "amd64");
        entry["mediaType"] = "".into();
        (entry, 3)
    }),
    ("lists of nothing", |env| {
        let config = document(
            env,
            CONFIG,
            &json!({"os": "linux", "architecture": "amd64", "rootfs": {}}),
        );
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": null});
        let manifest = document(env, MANIFEST, &manifest);
        let none = document(env, INDEX, &json!({"schemaVersion": 2, "manifests": null}));
        (index(env, INDEX, &[manifest, none, index(env, INDEX, &[])]), 5)
    }),
    ("a manifest that is data", |env| {
        let data = oci(env, "amd64");
        let layer = json!({"mediaType": "application/json", "digest": data["digest"], "size": data["size"]});
        let empty = env.put("img", EMPTY, b"{}");
        let manifest = json!({"schemaVersion": 2, "config": empty, "layers": [layer]});
        (document(env, MANIFEST, &manifest), 5)
    }),
];

#[test]
fn a_copy_of_every_kind_is_whole() {
    for (what, make) in KINDS {
        let env = room();
        let (entry, count) = make(&env);
        env.list("img", entry, Some("t"));
        let skopeo = |layout: &str| {
            env.run(
                "/usr/bin/skopeo",
                ["inspect", "--raw", &format!("oci:{layout}:t")],
            )
            .code
        };
        let wanted = skopeo("img");
        each_copy(&env, &[], &|way, said| {
            assert_eq!(said, "", "{what}: {way}");
            assert_eq!(env.blobs("out"), count, "{what}: {way}");
            let check = env.umoci(["fsck", "--layout", "out"]).ok();
            assert!(check.starts_with("clean: "), "{what}: {way}: {check}");
            env.umoci(["gc", "--layout", "out"]).ok();
            assert_eq!(env.blobs("out"), count, "{what}: {way}: gc");
            assert_eq!(skopeo("out"), wanted, "{what}: {way}");
        });
    }
}

/// What is copied of a sparse index: how many blobs, and what is said to be left out.
#[test]
fn a_sparse_index_is_copied_as_far_as_it_is_there() {
    type Make = fn(&Env) -> (Value, usize, Vec<String>);
    let gone = |media_type: &str| absent(media_type, "arm64");
    let line = |entry: &Value| format!("{} (linux/arm64) is not in the source, and ", digest(entry));
    let cases: [(&str, Make); 6] = [
        ("one image", |env| {
            let gone = absent(MANIFEST, "arm64");
            let entries = [oci(env, "amd64"), gone.clone()];
            (index(env, INDEX, &entries), 4, vec![digest(&gone)])
        }),
        ("an index in it", |env| {
            let gone = absent(INDEX, "arm64");
            (
                index(env, INDEX, &[gone.clone(), oci(env, "amd64")]),
                4,
                vec![digest(&gone)],
            )
        }),
        ("one of an index in it", |env| {
            let gone = absent(MANIFEST, "arm64");
            let inner = index(env, INDEX, &[gone.clone(), oci(env, "amd64")]);
            (index(env, INDEX, &[inner]), 5, vec![digest(&gone)])
        }),
        ("all of an index in it", |env| {
            let gone = absent(MANIFEST, "arm64");
            let inner = index(env, INDEX, std::slice::from_ref(&gone));
            (
                index(env, INDEX, &[inner, oci(env, "amd64")]),
                5,
                vec![digest(&gone)],
            )
        }),
        ("one of a list of Docker's", |env| {
            let gone = absent(DOCKER_MANIFEST, "arm64");
            let entries = [docker(env, "amd64"), gone.clone()];
            (index(env, DOCKER_LIST, &entries), 4, vec![digest(&gone)])
        }),
        ("a layer of a cache", |env| {
            let gone = absent(LAYER, "arm64");
            let cache = document(
                env,
                "application/vnd.buildkit.cacheconfig.v0",
                &json!({"layers": []}),
            );
            (index(env, INDEX, &[gone.clone(), cache]), 2, vec![digest(&gone)])
        }),
    ];
    for (what, make) in cases {
        let env = room();
        let (entry, count, missing) = make(&env);
        env.list("img", entry, Some("t"));
        for more in [&[][..], &["-q"], &["--format", "oci"]] {
            each_copy(&env, more, &|way, said| {
                let stands = said
                    .lines()
                    .filter(|line| line.contains("left out of t: "))
                    .count();
                // A copy in two steps is as sparse after each.
                let times = if way.contains("out.tar") { 2 } else { 1 };
                assert_eq!(stands, missing.len() * times, "{what}: {way} {more:?}: {said}");
                for digest in &missing {
                    assert!(said.contains(digest.as_str()), "{what}: {way}: {said}");
                }
                assert_eq!(env.blobs("out"), count, "{what}: {way} {more:?}");
                env.umoci(["fsck", "--layout", "out"]).ok();
                env.umoci(["gc", "--layout", "out"]).ok();
                assert_eq!(env.blobs("out"), count, "{what}: {way}: gc");
            });
        }
    }
    // The line names the platform.
    let env = room();
    let entries = [oci(&env, "amd64"), gone(MANIFEST)];
    let entry = index(&env, INDEX, &entries);
    env.list("img", entry, Some("t"));
    each_copy(&env, &[], &|way, said| {
        assert!(said.contains(&line(&entries[1])), "{way}: {said}");
        env.run(
            "/usr/bin/skopeo",
            [
                "--insecure-policy",
                "copy",
                "-q",
                "--override-arch",
                "amd64",
                "oci:out:t",
                "dir:s",
            ],
        )
        .ok();
    });
    each_copy(&env, &["--platform", "linux/amd64"], &|way, said| {
        assert_eq!((said, env.blobs("out")), ("", 3), "{way}");
    });
    env.umoci([
        "export",
        "--layout",
        "img",
        "--tag",
        "t",
        "docker-archive:d.tar:t",
    ])
    .ok();
}

#[test]
fn a_copy_that_lacks_a_part_of_an_image_fails_and_names_the_part() {
    type Make = fn(&Env) -> (Value, Value);
    let cases: [(&str, Make); 9] = [
        ("a config", |env| {
            let layer = env.put("img", LAYER, b"one");
            let gone = absent(CONFIG, "x");
            let manifest = json!({"schemaVersion": 2, "config": gone, "layers": [layer]});
            (document(env, MANIFEST, &manifest), gone)
        }),
        ("a layer", |env| {
            let config = document(env, CONFIG, &json!({"os": "linux", "architecture": "amd64"}));
            let gone = absent(LAYER, "x");
            let manifest = json!({"schemaVersion": 2, "config": config, "layers": [gone]});
            (document(env, MANIFEST, &manifest), gone)
        }),
        ("a config beside no layers", |env| {
            let gone = absent(CONFIG, "x");
            let manifest = json!({"schemaVersion": 2, "config": gone, "layers": null});
            (document(env, MANIFEST, &manifest), gone)
        }),
        ("a layer of an image in an index", |env| {
            let config = document(env, CONFIG, &json!({"os": "linux", "architecture": "amd64"}));
            let gone = absent(LAYER, "x");
            let manifest = json!({"schemaVersion": 2, "config": config, "layers": [gone]});
            let manifest = document(env, MANIFEST, &manifest);
            (index(env, INDEX, &[manifest, oci(env, "arm64")]), gone)
        }),
        ("a layer of an image that is called something else", |env| {
            let config = document(env, CONFIG, &json!({"os": "linux", "architecture": "amd64"}));
            let gone = absent(LAYER, "x");
            let manifest = json!({"schemaVersion": 2, "config": config, "layers": [gone]});
            (document(env, "application/x-thing", &manifest), gone)
        }),
        ("a blob of an artifact", |env| {
            let gone = absent("a/b", "x");
            let manifest = json!({"mediaType": ARTIFACT, "artifactType": "a/b", "blobs": [gone]});
            (document(env, ARTIFACT, &manifest), gone)
        }),
        ("the only image of an index", |env| {
            let gone = absent(MANIFEST, "x");
            (index(env, INDEX, std::slice::from_ref(&gone)), gone)
        }),
        ("all that is below an index", |env| {
            let gone = absent(MANIFEST, "x");
            let inner = index(env, INDEX, std::slice::from_ref(&gone));
            (index(env, INDEX, &[inner.clone(), inner]), gone)
        }),
        ("what is named", |env| {
            let entry = absent(INDEX, "x");
            let _ = env;
            (entry.clone(), entry)
        }),
    ];
    for (what, make) in cases {
        let env = room();
        let (entry, gone) = make(&env);
        env.list("img", entry, Some("t"));
        env.sh("tar -cf in.tar -C img oci-layout index.json blobs");
        env.umoci(["init", "--layout", "in"]).ok();
        for words in [
            &["import", "--layout", "in", "img:t"][..],
            &["import", "--layout", "in", "oci-archive:in.tar"],
            &["export", "--layout", "img", "out"],
            &["export", "--layout", "img", "oci-archive:out.tar"],
        ] {
            let why = env.umoci(words).fails();
            assert!(why.contains(&digest(&gone)), "{what}: {words:?}: {why}");
            assert!(
                !env.path("out").exists() && !env.path("out.tar").exists(),
                "{what}"
            );
        }
        assert_eq!(env.umoci(["ls", "--layout", "in"]).ok(), "", "{what}");
        if what != "the only image of an index" && what != "all that is below an index" {
            let check = env.umoci(["fsck", "--layout", "img"]);
            assert_eq!(check.code, Some(2), "{what}: {}", check.stdout);
            assert!(check.stdout.contains(&digest(&gone)), "{what}: {}", check.stdout);
        }
    }
}

/// A blob of another size than its descriptor gives is damage, wherever it stands, and never something to leave out.
#[test]
fn a_copy_with_a_part_of_another_size_fails_and_moves_no_name() {
    const LIST: &str = ".annotations[\"org.opencontainers.image.ref.name\"] == \"t\"";
    let entry = format!(".manifests[] | select({LIST}) | .digest[7:]");
    let blob = |env: &Env, of: &str, query: &str| {
        let found = env.sh(&format!("jq -r '{query}' img/blobs/sha256/{of}"));
        found.trim_end().to_owned()
    };
    for (what, query, below) in [
        ("a layer", ".layers[0].digest[7:]", false),
        ("a config", ".config.digest[7:]", false),
        ("an image of an index", ".manifests[1].digest[7:]", true),
    ] {
        for damage in ["truncate -s -1 FILE", "echo >>FILE", "truncate -s 0 FILE"] {
            let env = room();
            let entry_of = oci(&env, "amd64");
            let root = if below {
                index(&env, INDEX, &[entry_of, oci(&env, "arm64")])
            } else {
                entry_of
            };
            env.list("img", root, Some("t"));
            let root = env
                .sh(&format!("jq -r '{entry}' img/index.json"))
                .trim_end()
                .to_owned();
            let part = blob(&env, &root, query);
            env.sh(&damage.replace("FILE", &format!("img/blobs/sha256/{part}")));
            env.sh("tar -cf in.tar -C img oci-layout index.json blobs");
            env.umoci(["init", "--layout", "in"]).ok();
            env.umoci(["new", "--image", "in:t"]).ok();
            let before = env.read("in/index.json");
            for words in [
                &["import", "--layout", "in", "img:t"][..],
                &["import", "--layout", "in", "oci-archive:in.tar:t"],
                &["export", "--layout", "img", "out"],
                &["export", "--layout", "img", "oci-archive:out.tar"],
            ] {
                let why = env.umoci(words).fails();
                assert!(why.contains(&part), "{what}, {damage}: {words:?}: {why}");
                assert!(
                    !env.path("out").exists() && !env.path("out.tar").exists(),
                    "{what}, {damage}"
                );
            }
            assert_eq!(env.read("in/index.json"), before, "{what}, {damage}");
        }
    }
}

/// A layer that must not be given on may be missing, and the result says so.
#[test]
fn a_layer_that_is_to_be_had_elsewhere_is_named() {
    let env = room();
    let config = document(&env, CONFIG, &json!({"os": "linux", "architecture": "amd64"}));
    let mut layer = json!({"mediaType": FOREIGN, "digest": Digest::sha256(b"x").to_string(), "size": 1});
    layer["urls"] = json!(["https://example.org/layer"]);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = document(&env, MANIFEST, &manifest);
    env.list("img", manifest, Some("t"));
    each_copy(&env, &["-q"], &|way, said| {
        assert!(
            said.contains(&format!("left out of t: {}", digest(&layer))),
            "{way}: {said}"
        );
        assert_eq!(env.blobs("out"), 2, "{way}");
        let _ = env.umoci(["fsck", "--layout", "out"]);
    });
}

/// A document may claim any number of images.
#[test]
fn very_many_absent_images_are_counted() {
    let env = room();
    let mut entries: Vec<Value> = (0..1200).map(|n| absent(MANIFEST, &format!("m{n}"))).collect();
    entries.push(oci(&env, "amd64"));
    let entry = index(&env, INDEX, &entries);
    env.list("img", entry, Some("t"));
    each_copy(&env, &[], &|way, said| {
        let first = said
            .lines()
            .filter(|line| line.contains("left out of t: "))
            .count();
        let times = if way.contains("out.tar") { 2 } else { 1 };
        assert_eq!(first, 20 * times, "{way}: {said}");
        assert!(
            said.contains("left out: 980 or more other blobs that are not in the source"),
            "{way}: {said}"
        );
    });
}

/// A copy of everything says which entries it does not have.
#[test]
fn entries_that_are_left_out_of_a_copy_of_everything_are_named() {
    for (what, make, says) in [
        (
            "an image without a name",
            (|env| env.list("img", oci(env, "arm64"), None)) as fn(&Env),
            "left out 1 image without a name in img",
        ),
        (
            "entries of another kind",
            |env| {
                for content in [b"a", b"b"] {
                    let entry = env.put("img", "application/x-thing", content);
                    env.list("img", entry, None);
                }
            },
            "left out 2 entries of img that have no names and are no images",
        ),
        (
            "an artifact about what is not there",
            |env| {
                let empty = env.put("img", EMPTY, b"{}");
                let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b",
                    "config": empty, "layers": [empty], "subject": absent(MANIFEST, "x")});
                let entry = document(env, MANIFEST, &manifest);
                env.list("img", entry, None);
            },
            "left out 1 artifact attached to images that are not copied",
        ),
        (
            "what is no descriptor",
            |env| env.list("img", json!({"size": "?"}), None),
            "left out: index.json: entry",
        ),
    ] {
        for quiet in [false, true] {
            let env = room();
            let entry = oci(&env, "amd64");
            env.list("img", entry, Some("t"));
            make(&env);
            env.umoci(["init", "--layout", "in"]).ok();
            for words in [
                &["import", "--layout", "in", "img"][..],
                &["export", "--layout", "img", "out"],
                &["export", "--layout", "img", "oci-archive:out.tar"],
            ] {
                let ran = env.umoci(quiet.then_some(&"-q").into_iter().chain(words));
                assert!(ran.stderr.contains(says), "{what}: {words:?}: {}", ran.stderr);
                ran.ok();
                env.sh("rm -rf out");
                let json = env.umoci(words.iter().chain(&["--json"])).ok();
                let json: Value = serde_json::from_str(&json).expect("JSON");
                let told = json["leftOutMessages"][0].as_str().unwrap_or_default();
                assert!(told.contains(says), "{what}: {words:?}: {json}");
            }
            // By name nothing is missed.
            let ran = env.umoci(["import", "--layout", "in", "img:t"]);
            assert_eq!(ran.stderr, "", "{what}");
            ran.ok();
        }
    }
}
