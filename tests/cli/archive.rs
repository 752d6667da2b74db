// SPDX-License-Identifier: Apache-2.0
//! `umoci import` and `umoci export` with archives.

use crate::support::Image;

const OURS: &str = env!("CARGO_BIN_EXE_umoci");

/// Digest of the manifest that a name has in a layout.
fn digest(image: &Image, layout: &str, name: &str) -> String {
    let list = image.env.umoci(["ref", "list", "--layout", layout]).ok();
    let row = list.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let found = row
        .into_iter()
        .find(|row| row[0] == name)
        .unwrap_or_else(|| panic!("{name} in {list}"));
    found[1].to_owned()
}

/// Tar programs store a file with holes as a sparse member, some without being asked.
#[test]
fn sparse_members_of_an_archive_of_images_are_read() {
    let image = Image::new();
    let env = &image.env;
    env.sh(
        "mkdir t; truncate -s 4M t/zeros; echo x >>t/zeros; truncate -s 9M t/zeros; tar cf layer.tar -C t .",
    );
    env.umoci([
        "raw",
        "add-layer",
        "--compress",
        "none",
        "--image",
        "img",
        "layer.tar",
    ])
    .ok();
    env.umoci(["export", "--layout", "img", "docker-archive:docker.tar"])
        .ok();
    env.sh("for f in img/blobs/sha256/*; do fallocate -d $f; done; mkdir d; tar xf docker.tar -C d; find d -type f -exec fallocate -d {} ';'");
    let archivers = [
        ("old GNU", "tar --format=gnu -S"),
        ("0.0", "tar --format=pax --sparse-version=0.0 -S"),
        ("0.1", "tar --format=pax --sparse-version=0.1 -S"),
        ("1.0", "tar --format=pax --sparse-version=1.0 -S"),
        ("as bsdtar does", "bsdtar"),
    ];
    for (what, archiver) in archivers {
        if archiver == "bsdtar" && env.run("which", ["bsdtar"]).code != Some(0) {
            continue;
        }
        env.sh(&format!(
            "{archiver} -cf oci.tar -C img blobs index.json oci-layout; {archiver} -cf docker.tar -C d ."
        ));
        for (archive, layout) in [
            ("oci-archive:oci.tar", "oci"),
            ("docker-archive:docker.tar", "docker"),
        ] {
            env.umoci(["init", "--layout", layout]).ok();
            env.umoci(["import", "--layout", layout, archive]).ok();
            env.umoci(["fsck", "--layout", layout, "--deep"]).ok();
            let name = env.umoci(["list", "--layout", layout]).ok();
            let at = format!("{layout}:{}", name.trim());
            env.umoci(["raw", "unpack", "--rootless", "--image", &at, "r"])
                .ok();
            env.sh("cmp t/zeros r/zeros; chmod -R u+w r; rm -r r");
            env.sh(&format!("rm -r {layout}"));
        }
        assert!(
            env.sh("stat -c %s oci.tar").trim().parse::<u64>().expect("size") < 4 << 20,
            "{what}"
        );
    }
}

#[test]
fn an_oci_archive_travels_there_and_back_in_every_compression() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["config", "--image", "img", "--tag", "v1", "--author", "a"])
        .ok();
    env.umoci(["manifest", "create", "img:index", "latest", "v1"])
        .ok();
    env.umoci(["init", "--layout", "in"]).ok();
    for (compress, magic) in [("none", "6f63"), ("gzip", "1f8b"), ("zstd", "28b5")] {
        env.umoci([
            "export",
            "--layout",
            "img",
            "--compress",
            compress,
            "oci-archive:all",
        ])
        .ok();
        assert_eq!(
            env.sh("head -c 2 all | od -An -tx1").replace([' ', '\n'], ""),
            magic
        );
        // The same images give the same bytes.
        env.umoci([
            "export",
            "--layout",
            "img",
            "--compress",
            compress,
            "oci-archive:again",
        ])
        .ok();
        env.sh("cmp all again");
        env.umoci(["import", "--layout", "in", "oci-archive:all"]).ok();
        for name in ["latest", "v1", "index"] {
            assert_eq!(digest(&image, "in", name), digest(&image, "img", name));
        }
        env.umoci(["fsck", "--layout", "in", "--deep"]).ok();
        env.sh("rm -r in");
        env.umoci(["init", "--layout", "in"]).ok();
    }
    // A frame to be skipped comes first, as pzstd writes it.
    env.sh(r"(printf '\120\052\115\030\004\000\000\000skip'; cat all) > skipped");
    env.umoci(["import", "--layout", "in", "oci-archive:skipped"])
        .ok();
    assert_eq!(digest(&image, "in", "v1"), digest(&image, "img", "v1"));
    env.sh("rm -r in");
    env.umoci(["init", "--layout", "in"]).ok();
    // Through pipes, one image, by another name.
    env.sh(&format!(
        "{OURS} export --layout img --tag v1 --compress zstd oci-archive:- | {OURS} import --layout in --tag piped oci-archive:-"
    ));
    assert_eq!(env.umoci(["ls", "--layout", "in"]).ok(), "piped\n");
    assert_eq!(digest(&image, "in", "piped"), digest(&image, "img", "v1"));
    env.umoci([
        "export",
        "--layout",
        "img",
        "--tag",
        "v1",
        "oci-archive:one:renamed",
    ])
    .ok();
    env.umoci(["import", "--layout", "in", "oci-archive:one:renamed"])
        .ok();
    env.umoci(["import", "--layout", "in", "oci:img:index"]).ok();
    assert_eq!(
        env.umoci(["ls", "--layout", "in"]).ok(),
        "piped\nrenamed\nindex\n"
    );
    assert_eq!(
        env.sh("tar -tf one | sed -n 1,3p"),
        "oci-layout\nblobs/\nblobs/sha256/\n"
    );
}

#[test]
fn a_docker_archive_holds_several_images_with_layers_shared() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["config", "--image", "img", "--tag", "v1", "--author", "a"])
        .ok();
    env.umoci(["tag", "--image", "img:v1", "example.com/app:2"]).ok();
    env.umoci(["export", "--layout", "img", "docker-archive:all.tar"])
        .ok();
    env.umoci(["export", "--layout", "img", "docker-archive:again.tar"])
        .ok();
    env.sh("cmp all.tar again.tar");
    let manifest: serde_json::Value =
        serde_json::from_str(&env.sh("tar -xOf all.tar manifest.json")).expect("JSON");
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["img:latest"]));
    assert_eq!(
        manifest[1]["RepoTags"],
        serde_json::json!(["img:v1", "example.com/app:2"])
    );
    assert_eq!(manifest[0]["Layers"], manifest[1]["Layers"]);
    assert_eq!(env.sh("tar -tf all.tar | wc -l"), "5\n");
    env.umoci(["init", "--layout", "in"]).ok();
    env.umoci(["import", "--layout", "in", "docker-archive:all.tar"])
        .ok();
    assert_eq!(
        env.umoci(["ls", "--layout", "in"]).ok(),
        "img:latest\nimg:v1\nexample.com/app:2\n"
    );
    // The media types are Docker's unless OCI's are wanted; the tree is the same.
    let types = |name: &str| {
        let found = env
            .umoci(["stat", "--json", "--image", &format!("in:{name}")])
            .ok();
        let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
        let manifest = &found["manifest"]["blob"];
        ["mediaType", "config", "layers"].map(|field| match field {
            "layers" => manifest[field][0]["mediaType"].clone(),
            "config" => manifest[field]["mediaType"].clone(),
            _ => manifest[field].clone(),
        })
    };
    assert_eq!(
        types("img:v1"),
        [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar"
        ]
    );
    for (name, tag) in [("img:v1", "oci"), ("app:2", "oci2"), ("@0", "first")] {
        let name = name.replace("app", "example.com/app");
        let from = format!("docker-archive:all.tar:{name}");
        env.umoci(["import", "--layout", "in", "--format", "oci", "--tag", tag, &from])
            .ok();
    }
    assert_eq!(digest(&image, "in", "oci"), digest(&image, "in", "oci2"));
    assert_eq!(
        types("oci"),
        [
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar"
        ]
    );
    for name in ["img:latest", "first"] {
        env.umoci([
            "raw",
            "unpack",
            "--image",
            &format!("in:{name}"),
            &format!("t.{name}"),
        ])
        .ok();
    }
    env.umoci(["raw", "unpack", "--image", "img:latest", "t"]).ok();
    env.sh("diff -r t t.first; diff -r t t.img:latest");
    env.umoci(["fsck", "--layout", "in", "--deep"]).ok();
    // Converted on the way out as well, an index included.
    env.umoci(["manifest", "create", "in:list", "in:img:v1"]).ok();
    env.umoci([
        "export",
        "--layout",
        "in",
        "--tag",
        "list",
        "--format",
        "oci",
        "oci-archive:list.tar",
    ])
    .ok();
    env.umoci(["import", "--layout", "in", "--tag", "new", "oci-archive:list.tar"])
        .ok();
    let entry = env.umoci(["manifest", "show", "in:new"]).ok();
    assert!(entry.contains(&digest(&image, "in", "oci")), "{entry}");
    env.umoci([
        "export", "--layout", "in", "--tag", "img:v1", "--format", "oci", "out:oci",
    ])
    .ok();
    assert_eq!(digest(&image, "out", "oci"), digest(&image, "in", "oci"));
}

#[test]
#[ignore = "needs jq and zstd: run by tests/all.sh"]
fn the_layouts_of_docker_save_are_read() {
    let image = Image::new();
    let env = &image.env;
    env.umoci([
        "export",
        "--layout",
        "img",
        "--tag",
        "latest",
        "docker-archive:new.tar:app:1",
    ])
    .ok();
    // The one before, with a directory for each layer, of which one is a link to another; compressed layers; the one of
    // today, which is an OCI layout too.
    env.sh(
        r#"mkdir n o; tar -xf new.tar -C n
        set -- $(jq -r '.[0].Layers[]' n/manifest.json); config=$(jq -r '.[0].Config' n/manifest.json)
        mkdir o/one o/two o/three; cp n/$1 o/one/layer.tar; ln -s ../two/real.tar o/two/layer.tar; cp n/$2 o/two/real.tar
        echo 1.0 >o/one/VERSION; echo '{}' >o/repositories; cp n/$config o/
        jq -c --arg c $config '.[0].Config=$c|.[0].Layers=["one/layer.tar","two/layer.tar"]' n/manifest.json >o/manifest.json
        tar -cf old.tar -C o .
        gzip o/one/layer.tar; mv o/one/layer.tar.gz o/one/layer.tar
        zstd -q --rm o/two/real.tar; mv o/two/real.tar.zst o/two/real.tar
        tar -czf compressed.tar -C o .
        mkdir -p t/blobs/sha256; for file in $1 $2 $config; do cp n/$file t/blobs/sha256/$(sha256sum n/$file | cut -c-64); done
        jq -c '.[0].Config|=("blobs/sha256/"+rtrimstr(".json"))|.[0].Layers|=map("blobs/sha256/"+rtrimstr(".tar"))' n/manifest.json >t/manifest.json
        echo '{"imageLayoutVersion":"1.0.0"}' >t/oci-layout; echo '{"schemaVersion":2,"manifests":[]}' >t/index.json
        tar -cf today.tar -C t ."#,
    );
    env.umoci(["raw", "unpack", "--image", "img", "want"]).ok();
    for file in ["old.tar", "compressed.tar", "today.tar"] {
        env.umoci(["init", "--layout", &format!("in.{file}")]).ok();
        let (layout, from) = (format!("in.{file}"), format!("docker-archive:{file}"));
        env.umoci(["import", "--layout", &layout, "--tag", "x", &from])
            .ok();
        env.umoci([
            "raw",
            "unpack",
            "--image",
            &format!("{layout}:x"),
            &format!("tree.{file}"),
        ])
        .ok();
        env.sh(&format!("diff -r want tree.{file}"));
        env.umoci(["fsck", "--layout", &layout, "--deep"]).ok();
    }
}

#[test]
fn what_cannot_be_copied_is_named() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["export", "--layout", "img", "oci-archive:good.tar"])
        .ok();
    env.umoci(["export", "--layout", "img", "docker-archive:docker.tar"])
        .ok();
    env.umoci(["tag", "--image", "img", "other"]).ok();
    env.umoci(["init", "--layout", "empty"]).ok();
    env.write("text", "no archive at all");
    env.write("long", "no archive at all\n".repeat(100));
    env.write("x.tar.xz", b"\xfd7zXZ\0...");
    env.write("x.tar.bz2", "BZh91AY");
    env.sh("head -c 2600 good.tar >cut.tar; : >nothing");
    for (words, want) in [
        (
            &["import", "oci-archive:"][..],
            "invalid source: \"oci-archive:\" (want a file, and perhaps a name behind a colon)",
        ),
        (
            &["import", "oci-archive:none.tar"],
            "open none.tar: no such file or directory",
        ),
        (
            &["import", "oci-archive:docker.tar"],
            "docker.tar: not an OCI archive: the archive has no oci-layout",
        ),
        (
            &["import", "docker-archive:good.tar"],
            "good.tar: not a Docker archive: the archive has no manifest.json",
        ),
        (
            &["import", "oci-archive:good.tar:nope"],
            "no image \"nope\" in good.tar, which has latest",
        ),
        (
            &["import", "docker-archive:docker.tar:@1"],
            "no image @1 in docker.tar, which has img:latest",
        ),
        (&["import", "oci-archive:text"], "text: not a tar archive"),
        (&["import", "docker-archive:long"], "long: not a tar archive"),
        (
            &["import", "containers-storage:localhost/x:1"],
            "invalid source: \"containers-storage:localhost/x:1\" is no layout, archive or registry, and umoci knows no other place: \
             run skopeo copy containers-storage:localhost/x:1 oci:DIR:TAG first, and take DIR:TAG",
        ),
        (
            &["import", "docker-daemon:x:1"],
            "invalid source: \"docker-daemon:x:1\" is no layout, archive or registry, and umoci knows no other place: \
             run skopeo copy docker-daemon:x:1 oci:DIR:TAG first, and take DIR:TAG",
        ),
        (
            &["import", "dir:there"],
            "invalid source: \"dir:there\" is no layout, archive or registry, and umoci knows no other place: \
             run skopeo copy dir:there oci:DIR:TAG first, and take DIR:TAG",
        ),
        (
            &["export", "containers-storage:x"],
            "invalid destination: \"containers-storage:x\" is no layout, archive or registry, and umoci knows no other place: \
             export to a layout, then run skopeo copy oci:DIR:TAG containers-storage:x",
        ),
        (
            &["import", "oci-archive:nothing"],
            "nothing: not a tar archive, or an empty one",
        ),
        (
            &["import", "oci-archive:x.tar.xz"],
            "x.tar.xz: compressed with xz, which is not handled: decompress it first",
        ),
        (
            &["import", "oci-archive:x.tar.bz2"],
            "x.tar.bz2: compressed with bzip2, which is not handled: decompress it first",
        ),
        (
            &["import", "--format", "docker", "oci-archive:good.tar"],
            "invalid --format: \"docker\" (want keep or oci)",
        ),
        (
            &["import", "oci-archive:good.tar", "--limit", "entries=2"],
            "good.tar: archive of 3 entries is over the limit of 2 entries (limit entries); --limit entries=COUNT raises it",
        ),
        (
            &["export", "oci-archive:x:y"],
            "\"oci-archive:x:y\" names one image, and there are 2: say which with --tag",
        ),
        (
            &["export", "--compress", "gzip", "dir"],
            "--compress is for an archive, and the destination is none",
        ),
        (
            &["export", "--compress", "xz", "oci-archive:x"],
            "invalid --compress: \"xz\" (want none, gzip or zstd)",
        ),
        (
            &["export", "oci-archive:none/x"],
            "create none/x: no such file or directory",
        ),
    ] {
        let words: Vec<&str> = words.iter().copied().chain(["--layout", "img"]).collect();
        let said = env.umoci(&words).fails();
        assert_eq!(said, want, "{words:?}");
    }
    let said = env
        .umoci(["export", "--layout", "empty", "oci-archive:x"])
        .fails();
    assert_eq!(said, "there is no image in empty");
    let said = env
        .umoci(["import", "--layout", "empty", "oci-archive:cut.tar"])
        .fails();
    assert!(
        said.starts_with("cut.tar: the archive ends inside of blobs/sha256/"),
        "{said}"
    );
    // A layout may have the name of a place.
    env.sh("cp -r img dir");
    env.umoci(["import", "--layout", "empty", "dir:latest"]).ok();
    env.umoci(["rm", "--image", "empty:latest"]).ok();
    // An export that fails leaves the archive that was there.
    std::fs::remove_file(image.blob("layer1")).expect("remove");
    env.sh("cp good.tar before.tar");
    env.umoci(["export", "--layout", "img", "oci-archive:good.tar"])
        .fails();
    env.sh("cmp good.tar before.tar; test $(ls | grep -c tmp) = 0");
    assert_eq!(env.umoci(["ls", "--layout", "empty"]).ok(), "");
}

#[test]
fn names_in_a_docker_archive_are_those_that_docker_takes() {
    let image = Image::new();
    let env = &image.env;
    env.sh("for dir in img_ 'my image' Über MyApp; do cp -r img \"$dir\"; done");
    let refused = |name: &str, to: &str, tag: &str| {
        format!(
            "{name:?} is no name that Docker takes: name it, as docker-archive:{to}:NAME[:TAG] with --tag {tag}"
        )
    };
    for (layout, tag, to, want) in [
        ("img", "latest", "x", Ok("img:latest")),
        ("img", "foo/bar", "x", Ok("foo/bar:latest")),
        ("img", "host:5000/foo", "x", Ok("host:5000/foo:latest")),
        ("img", "Example.com/app:2", "x", Ok("Example.com/app:2")),
        ("MyApp", "v1", "x", Ok("myapp:v1")),
        ("img_", "foo:1", "x", Ok("foo:1")),
        ("img_", "v1", "x:foo", Ok("foo:latest")),
        ("my image", "1.0+b", "x:foo__bar:_1", Ok("foo__bar:_1")),
        ("img", "1.0+b", "x", Err(refused("img:1.0+b", "x", "1.0+b"))),
        ("img", "a@b", "x", Err(refused("img:a@b", "x", "a@b"))),
        ("img", "a:b:c", "x", Err(refused("a:b:c", "x", "a:b:c"))),
        (
            "img",
            "Foo/bar:1",
            "x",
            Err(refused("Foo/bar:1", "x", "Foo/bar:1")),
        ),
        ("my image", "v1", "x", Err(refused("my image:v1", "x", "v1"))),
        ("img_", "v1", "x", Err(refused("img_:v1", "x", "v1"))),
        ("Über", "v1", "x", Err(refused("Über:v1", "x", "v1"))),
        (
            "img",
            "v1",
            "x:Foo:1",
            Err("invalid destination: \"Foo:1\" is no name that Docker takes".to_owned()),
        ),
    ] {
        env.umoci(["tag", "--image", &format!("{layout}:latest"), tag])
            .ok();
        let to = format!("docker-archive:{to}");
        let ran = env.umoci(["export", "--layout", layout, "--tag", tag, &to]);
        match want {
            Ok(want) => {
                ran.ok();
                let items: serde_json::Value =
                    serde_json::from_str(&env.sh("tar -xOf x manifest.json; rm x")).expect("JSON");
                assert_eq!(items[0]["RepoTags"], serde_json::json!([want]), "{layout} {tag}");
            }
            Err(want) => {
                assert_eq!(ran.fails(), want, "{layout} {tag}");
                assert!(!env.path("x").exists(), "{layout} {tag}");
            }
        }
    }
    // One name is one image.
    let image = Image::new();
    let env = &image.env;
    env.umoci(["config", "--image", "img", "--tag", "img:v1", "--author", "a"])
        .ok();
    env.umoci(["tag", "--image", "img", "v1"]).ok();
    let said = env
        .umoci(["export", "--layout", "img", "docker-archive:x"])
        .fails();
    assert_eq!(said, "both img:v1 and v1 would be img:v1: say which with --tag");
}

#[test]
fn ten_thousand_names_travel_as_one_does() {
    let image = Image::new();
    let env = &image.env;
    env.sh("jq -c '.manifests[0] as $m | .manifests = [range(10000) | tostring as $n | $m | .annotations[\"org.opencontainers.image.ref.name\"] = $n]' img/index.json >i; mv i img/index.json");
    env.write("file", "content");
    env.umoci(["attach", "file", "--to", "img:1", "--artifact-type", "a/b"])
        .ok();
    for to in ["oci-archive:a.tar", "out"] {
        env.umoci(["export", "--layout", "img", to]).ok();
        env.umoci(["init", "--layout", "in"]).ok();
        env.umoci(["import", "--layout", "in", to]).ok();
        assert_eq!(
            env.umoci(["ls", "--layout", "in"]).ok().lines().count(),
            10_000,
            "{to}"
        );
        assert_eq!(
            env.umoci(["referrers", "in:9999"]).ok().lines().count(),
            2,
            "{to}"
        );
        env.sh("rm -r in");
    }
}
