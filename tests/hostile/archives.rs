// SPDX-License-Identifier: Apache-2.0
//! Archives of images that attack whoever imports them, and indexes that lie.

use umoci::digest::Digest;

use super::{Room, Who, ways};
use crate::support::Tar;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn file(tar: Tar, name: &str, content: &[u8]) -> Tar {
    tar.entry(name.as_bytes(), b'0', content, |_| ())
}

fn link(tar: Tar, name: &str, target: &str) -> Tar {
    tar.any(name.as_bytes(), b'2', b"", target.as_bytes())
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::sha256(bytes).encoded())
}

/// The parts of an OCI archive of a tiny image: config, manifest and index.
fn parts() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[]}}"#,
        Digest::sha256(&config),
        config.len()
    );
    let index = index(&manifest, manifest.len());
    (config, manifest.into_bytes(), index)
}

fn index(manifest: &str, size: usize) -> Vec<u8> {
    let digest = Digest::sha256(manifest.as_bytes());
    format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{size},"annotations":{{"org.opencontainers.image.ref.name":"latest"}}}}]}}"#
    )
    .into_bytes()
}

/// An archive that is in order but for what `change` does to its last parts.
fn oci(change: impl FnOnce(Tar, &[u8], &[u8], &[u8]) -> Tar) -> Vec<u8> {
    let (config, manifest, index) = parts();
    change(
        file(Tar::new(), "oci-layout", VERSION),
        &config,
        &manifest,
        &index,
    )
    .end()
}

fn docker(items: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = file(Tar::new(), "manifest.json", items.as_bytes());
    for (name, content) in files {
        tar = file(tar, name, content);
    }
    tar.end()
}

#[test]
fn archives_that_lie_are_refused_and_reach_nothing_outside() {
    let (config, manifest, index_json) = parts();
    let whole = |tar: Tar| file(file(tar, &blob(&config), &config), &blob(&manifest), &manifest);
    let with_index = |index: &[u8]| {
        file(
            whole(file(Tar::new(), "oci-layout", VERSION)),
            "index.json",
            index,
        )
        .end()
    };
    let layered = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"]}}"#;
    let one = r#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]"#;
    let cases: Vec<(&str, &str, Vec<u8>, &str)> = vec![
        (
            "no index",
            "oci",
            oci(|tar, _, _, _| tar),
            "the archive has no index.json",
        ),
        (
            "a doubled index",
            "oci",
            oci(|tar, _, _, index| file(file(whole(tar), "index.json", index), "./index.json", index)),
            "the archive has index.json more than once",
        ),
        (
            "a doubled blob",
            "oci",
            oci(|tar, _, manifest, index| {
                file(file(whole(tar), &blob(manifest), b"other"), "index.json", index)
            }),
            "more than once",
        ),
        (
            "a blob by a name that climbs",
            "oci",
            oci(|tar, config, manifest, index| {
                let tar = file(tar, &format!("../../outside/{}", blob(config)), config);
                file(file(tar, &blob(manifest), manifest), "index.json", index)
            }),
            "the archive has no blobs/sha256/",
        ),
        (
            "an index that is a link to a file of the host",
            "oci",
            oci(|tar, _, _, _| link(whole(tar), "index.json", "/etc/passwd")),
            "index.json is a link that leads out of the archive",
        ),
        (
            "a blob that is a link that climbs",
            "oci",
            oci(|tar, config, manifest, index| {
                let tar = link(tar, &blob(config), "../../../outside/secret");
                file(file(tar, &blob(manifest), manifest), "index.json", index)
            }),
            "is a link that leads out of the archive",
        ),
        (
            "links in a circle",
            "oci",
            oci(|tar, _, _, _| link(link(whole(tar), "index.json", "other"), "other", "index.json")),
            "too many links on the way to index.json",
        ),
        (
            "a directory that is a link, and a blob in it",
            "oci",
            oci(|tar, config, manifest, index| {
                let tar = link(tar, "blobs", "/tmp");
                let tar = file(tar, "x", config);
                file(file(tar, &blob(manifest), manifest), "index.json", index)
            }),
            "the archive has no blobs/sha256/",
        ),
        (
            "a blob that is not what its name says",
            "oci",
            oci(|tar, config, manifest, index| {
                let mut other = config.to_vec();
                other[0] = b' ';
                let tar = file(file(tar, &blob(config), &other), &blob(manifest), manifest);
                file(tar, "index.json", index)
            }),
            "digest mismatch",
        ),
        (
            "an entry whose size lies",
            "oci",
            with_index(&index(
                std::str::from_utf8(&manifest).expect("utf-8"),
                manifest.len() + 1,
            )),
            "size mismatch",
        ),
        (
            "an entry whose size is smaller than the blob",
            "oci",
            with_index(&index(
                std::str::from_utf8(&manifest).expect("utf-8"),
                manifest.len() - 1,
            )),
            "mismatch",
        ),
        (
            "another version",
            "oci",
            file(Tar::new(), "oci-layout", br#"{"imageLayoutVersion":"2"}"#).end(),
            "layout version is not supported",
        ),
        (
            "an index that is a file of terabytes",
            "oci",
            file(Tar::new(), "oci-layout", VERSION)
                .entry(b"index.json", b'0', b"", |header| {
                    header[124..135].copy_from_slice(b"77777777777");
                })
                .end(),
            "the archive ends inside of index.json",
        ),
        (
            "no manifest.json",
            "docker",
            file(Tar::new(), "x", b"").end(),
            "the archive has no manifest.json",
        ),
        (
            "a doubled manifest.json",
            "docker",
            docker("[]", &[("manifest.json", b"[]")]),
            "the archive has manifest.json more than once",
        ),
        (
            "a config of the host",
            "docker",
            docker(&one.replace("c.json", "/etc/passwd"), &[]),
            "the archive has no etc/passwd",
        ),
        (
            "a config that climbs",
            "docker",
            docker(&one.replace("c.json", "../../outside/secret"), &[]),
            "the archive has no outside/secret",
        ),
        (
            "more layers than diff_ids",
            "docker",
            docker(one, &[("c.json", &config), ("l.tar", b"")]),
            "1 layers in manifest.json, but 0 diff_ids in c.json",
        ),
        (
            "a layer that is not there",
            "docker",
            docker(one, &[("c.json", layered)]),
            "layer l.tar: the archive has no l.tar",
        ),
        (
            "a layer of another diff_id",
            "docker",
            docker(one, &[("c.json", layered), ("l.tar", b"xx")]),
            "digest mismatch",
        ),
        (
            "a compressed layer of another diff_id",
            "docker",
            docker(
                one,
                &[
                    ("c.json", layered),
                    ("l.tar", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0"),
                ],
            ),
            "diffid mismatch",
        ),
        (
            "a config whose name is not its digest",
            "docker",
            docker(
                &one.replace('c', &"0".repeat(64)),
                &[(&format!("{}.json", "0".repeat(64)), layered)],
            ),
            "is not what its name says",
        ),
        (
            "a document that is no JSON",
            "docker",
            docker("\u{1b}[31m", &[]),
            "expected value",
        ),
        (
            "a compressed stream of garbage",
            "oci",
            b"\x1f\x8b\x08\0garbage".to_vec(),
            "a.tar",
        ),
    ];
    assert_eq!(
        with_index(&index_json),
        oci(|tar, _, _, index| file(whole(tar), "index.json", index))
    );
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.env.write("work/a.tar", with_index(&index_json));
        room.umoci(&["init", "--layout", "img"]).ok();
        room.umoci(&["import", "--layout", "img", "oci-archive:a.tar"])
            .ok();
        room.umoci(&["rm", "--image", "img"]).ok();
        room.umoci(&["gc", "--layout", "img"]).ok();
        for (what, transport, bytes, words) in &cases {
            room.env.write("work/a.tar", bytes);
            let from = format!("{transport}-archive:a.tar");
            let line = room
                .umoci(&["import", "--layout", "img", "--tag", "x", &from])
                .fails();
            assert!(line.contains(words), "{what}: {line}");
            assert!(!line.chars().any(char::is_control), "{what}: {line:?}");
            assert_eq!(room.umoci(&["ls", "--layout", "img"]).ok(), "", "{what}");
            room.assert_untouched(what);
        }
        // What was copied before the damage was met is garbage, and nothing else is left.
        room.umoci(&["gc", "--layout", "img"]).ok();
        assert_eq!(
            room.env
                .sh("find work/img/blobs work/img/.umoci/tmp -type f | wc -l"),
            "0\n"
        );
    }
}

#[test]
fn an_archive_of_names_without_end_takes_limited_memory() {
    let room = Room::new(Who::Plain, "openat2");
    let mut tar = file(Tar::new(), "oci-layout", VERSION);
    for n in 0..3000 {
        let name = format!("{n}/{}", "x".repeat(30_000));
        tar = tar.any(name.as_bytes(), b'0', b"", b"");
    }
    room.env.write("work/a.tar", tar.end());
    room.umoci(&["init", "--layout", "img"]).ok();
    let line = room
        .umoci(&["import", "--layout", "img", "oci-archive:a.tar"])
        .fails();
    assert!(
        line.contains("is over the limit") && line.contains("(limit directories)"),
        "{line}"
    );
    room.assert_untouched("names");
}

#[test]
fn a_bomb_in_an_archive_ends_at_a_limit() {
    let room = Room::new(Who::Plain, "openat2");
    room.env
        .sh("head -c 300000000 /dev/zero | gzip -1 >work/a.tar.gz");
    room.umoci(&["init", "--layout", "img"]).ok();
    let line = room
        .umoci(&[
            "import",
            "--layout",
            "img",
            "--limit",
            "layer=1000000",
            "oci-archive:a.tar.gz",
        ])
        .fails();
    assert!(
        line.contains("archive of 1000001 bytes is over the limit of 1000000 bytes (limit layer)"),
        "{line}"
    );
    room.assert_untouched("bomb");
}

/// A map of holes costs what it is long, and what it leaves out has a limit.
#[test]
fn sparse_members_that_lie_are_refused() {
    let sparse = |real: &str, map: &str, stored: &[u8]| {
        oci(|tar, config, manifest, index| {
            let tar = file(file(tar, &blob(config), config), "index.json", index);
            let name = blob(manifest);
            let pieces = (map.split(',').count() / 2).to_string();
            let records: [(&str, &[u8]); 4] = [
                ("GNU.sparse.size", real.as_bytes()),
                ("GNU.sparse.numblocks", pieces.as_bytes()),
                ("GNU.sparse.map", map.as_bytes()),
                ("GNU.sparse.name", name.as_bytes()),
            ];
            file(tar.pax(&records), "GNUSparseFile.0/x", stored)
        })
    };
    let many: Vec<String> = (0..100_000).map(|n| format!("{n},0")).collect();
    for (what, tar, limit, words) in [
        (
            "a hole of 2^62 bytes",
            sparse("4611686018427387904", "0,1", b"x"),
            "",
            "limit sparse",
        ),
        ("a map beyond the end", sparse("5", "0,9", b"x"), "", "sparse map"),
        (
            "zeros that are no manifest",
            sparse("9", "0,1", b"x"),
            "",
            "sha256:",
        ),
        (
            "a map of many pieces",
            sparse("100000", &many.join(","), b""),
            "directories=1000000",
            "limit directories",
        ),
    ] {
        for (who, resolver) in ways() {
            let room = Room::new(who, resolver);
            room.env.write("work/a.tar", &tar);
            room.umoci(&["init", "--layout", "l"]).ok();
            let limit: &[&str] = if limit.is_empty() {
                &[]
            } else {
                &["--limit", limit]
            };
            let line = room
                .umoci(&[&["import", "--layout", "l", "oci-archive:a.tar"], limit].concat())
                .fails();
            assert!(line.contains(words), "{what}: {line}");
            room.assert_untouched(what);
        }
    }
}

#[test]
fn of_two_entries_for_one_platform_the_first_is_taken() {
    let room = Room::new(Who::Plain, "openat2");
    let (config, manifest, _) = parts();
    room.put(&config);
    let good = room.put(&manifest);
    let entry = |digest: &Digest, size: usize| {
        format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"amd64"}}}}"#
        )
    };
    let other = Digest::sha256(b"not there");
    let index =
        |first: &str, second: &str| format!(r#"{{"schemaVersion":2,"manifests":[{first},{second}]}}"#);
    let (first, second) = (entry(&good, manifest.len()), entry(&other, 9));
    room.tag(INDEX, index(&first, &second).as_bytes());
    let pick = [
        "raw",
        "runtime-config",
        "--image",
        "img",
        "--platform",
        "linux/amd64",
        "c.json",
    ];
    room.umoci(&pick).ok();
    room.env.sh("rm work/c.json");
    // It is taken even if it is damaged: what a document says must not depend on what is on the disk.
    room.tag(INDEX, index(&second, &first).as_bytes());
    let line = room.umoci(&pick).fails();
    assert!(line.contains(&other.to_string()), "{line}");
    room.tag(INDEX, index(&entry(&good, 3), &first).as_bytes());
    let line = room.umoci(&pick).fails();
    assert!(line.contains("mismatch"), "{line}");
}
