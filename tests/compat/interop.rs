// SPDX-License-Identifier: Apache-2.0
//! What we write, as skopeo, buildah and containerd read it, and back.

use std::process::{Child, Command, Stdio};

use crate::support::{Env, Image, Tree};

/// An image with all that a configuration can have. Docker's formats of this age know no zstd.
fn image() -> Image {
    let image = Image::with_second_layer("gzip");
    image
        .env
        .umoci([
            "config",
            "--image",
            "img",
            "--config.user",
            "root",
            "--config.env",
            "A=b",
            "--config.label",
            "k=<v>",
            "--config.cmd",
            "/bin/true",
            "--config.exposedports",
            "80/tcp",
            "--config.volume",
            "/v",
            "--author",
            "somebody",
        ])
        .ok();
    image
}

fn diff_ids(env: &Env, at: &str) -> String {
    env.sh(&format!(
        "skopeo inspect --config {at} | jq -c '[.rootfs.diff_ids, .config.Labels, .config.Env, .author]'"
    ))
}

#[test]
#[ignore = "needs skopeo: run by tests/all.sh"]
fn skopeo_copies_to_a_docker_archive_and_back() {
    let image = image();
    let env = &image.env;
    env.sh("skopeo copy --quiet oci:img:latest docker-archive:a.tar:x:y && skopeo copy --quiet docker-archive:a.tar oci:back:latest");
    assert_eq!(diff_ids(env, "oci:img:latest"), diff_ids(env, "oci:back:latest"));
    env.umoci(["unpack", "--image", "img", "one"]).ok();
    env.umoci(["unpack", "--image", "back", "two"]).ok();
    Tree::read(&env.path("one/rootfs")).assert_same(&Tree::read(&env.path("two/rootfs")), "there and back");
}

#[test]
#[ignore = "needs skopeo: run by tests/all.sh"]
fn dockers_own_media_types_are_read_and_kept() {
    let image = image();
    let env = &image.env;
    // skopeo writes them to a plain directory; a layout of them is put together here.
    env.sh("skopeo copy --quiet --format v2s2 oci:img:latest dir:d");
    env.umoci(["init", "--layout", "docker"]).ok();
    env.sh(
        "for f in d/*; do h=$(sha256sum <$f | cut -d' ' -f1); cp $f docker/blobs/sha256/$h; done
         rm docker/blobs/sha256/$(sha256sum <d/version | cut -d' ' -f1)",
    );
    let manifest = env.sh("sha256sum <d/manifest.json | cut -d' ' -f1");
    env.umoci([
        "ref",
        "create",
        "--layout",
        "docker",
        "latest",
        "--digest",
        manifest.trim(),
    ])
    .ok();
    assert!(
        env.umoci(["ref", "list", "--layout", "docker"])
            .ok()
            .contains("application/vnd.docker.distribution.manifest.v2+json")
    );
    env.umoci(["gc", "--layout", "docker"]).ok();
    env.umoci(["unpack", "--image", "docker", "one"]).ok();
    env.umoci(["unpack", "--image", "img", "two"]).ok();
    Tree::read(&env.path("one/rootfs")).assert_same(&Tree::read(&env.path("two/rootfs")), "docker and oci");
    // An edit makes an OCI image of it, which skopeo reads.
    env.umoci(["config", "--image", "docker", "--config.user", "x"])
        .ok();
    assert_eq!(
        diff_ids(env, "oci:docker:latest"),
        diff_ids(env, "oci:img:latest")
    );
}

#[test]
#[ignore = "needs buildah and root: run by tests/all.sh"]
fn buildah_builds_on_our_images_and_we_on_its() {
    let image = image();
    let env = &image.env;
    let buildah = "buildah --storage-driver vfs --root $PWD/storage --runroot $PWD/run";
    env.sh(&format!(
        "{buildah} from --name work oci:img:latest >/dev/null; echo built >built; {buildah} copy -q work built /built >/dev/null
         {buildah} config --label by=buildah work; {buildah} commit -q --format oci work oci:out:latest >/dev/null"
    ));
    env.umoci(["unpack", "--image", "out", "b"]).ok();
    assert_eq!(env.sh("cat b/rootfs/built b/rootfs/etc/file"), "built\ndata\n");
    env.sh("echo more >b/rootfs/more");
    env.umoci(["repack", "--image", "out:again", "b"]).ok();
    env.sh(&format!(
        "{buildah} from --name again oci:out:again >/dev/null; {buildah} inspect again >/dev/null"
    ));
}

/// A containerd of our own, with all that it has in one room.
struct Containerd<'a> {
    env: &'a Env,
    child: Child,
}

impl<'a> Containerd<'a> {
    fn start(env: &'a Env) -> Self {
        let at = |name: &str| env.path(name).display().to_string();
        env.write(
            "containerd.toml",
            format!(
                "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
                 [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
                at("root"),
                at("state"),
                at("socket"),
                at("ttrpc"),
            ),
        );
        let log = std::fs::File::create(env.path("log")).expect("log");
        let child = Command::new("containerd")
            .args(["--config", &at("containerd.toml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd");
        let mut containerd = Self { env, child };
        // Each question takes its time, so this is some seconds at most.
        let answers = (0..300).any(|_| {
            let ended = containerd.child.try_wait().expect("state").is_some();
            assert!(!ended, "containerd ended: {}", env.read("log"));
            containerd.ctr("version").code == Some(0)
        });
        assert!(answers, "containerd does not answer: {}", env.read("log"));
        containerd
    }

    fn ctr(&self, words: &str) -> crate::support::Output {
        self.env
            .run("ctr", ["--address", "socket"].into_iter().chain(words.split(' ')))
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs containerd and root: run by tests/all.sh"]
fn containerd_imports_unpacks_and_exports_our_images() {
    // gzip and zstd, and a layer without compression on top.
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir src; echo x >src/f; chown 12:34 src/f; chmod 4750 src/f; ln src/f src/link; mkdir src/d");
    env.umoci(["insert", "--image", "img", "--compress", "none", "src", "/opt"])
        .ok();
    env.umoci(["config", "--image", "img", "--config.cmd", "/bin/true"])
        .ok();
    env.umoci(["gc", "--layout", "img"]).ok();
    env.sh("tar -C img -cf img.tar oci-layout index.json blobs");

    let containerd = Containerd::start(env);
    containerd
        .ctr("images import --base-name ours --digests --snapshotter native img.tar")
        .ok();
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    let list = containerd.ctr("images list").ok();
    let line = list.lines().find(|l| l.starts_with("ours:latest "));
    assert!(line.is_some_and(|l| l.contains(&digest)), "{list}");
    let check = containerd.ctr("images check --snapshotter native").ok();
    let line = check.lines().find(|l| l.starts_with("ours:latest "));
    assert!(
        line.is_some_and(|l| l.contains("complete (4/4)") && l.ends_with("true")),
        "{check}"
    );

    // What it unpacked is what we unpack.
    env.umoci(["raw", "unpack", "--image", "img", "tree"]).ok();
    env.sh("mkdir mounted");
    let target = env.path("mounted").display().to_string();
    containerd
        .ctr(&format!("images mount --snapshotter native ours:latest {target}"))
        .ok();
    let theirs = std::panic::catch_unwind(|| Tree::read(&env.path("mounted")));
    containerd.ctr(&format!("images unmount {target}")).ok();
    let mut theirs = theirs.expect("tree");
    let mut ours = Tree::read(&env.path("tree"));
    // containerd leaves directories with the time at which it put something into them.
    for entry in ours.0.values_mut().chain(theirs.0.values_mut()) {
        if entry.kind == "dir" {
            entry.mtime = 0;
        }
    }
    ours.assert_same(&theirs, "unpacked by containerd");

    // And back again, the same bytes.
    containerd.ctr("images export back.tar ours:latest").ok();
    env.sh("mkdir back; tar -C back -xf back.tar; for f in img/blobs/sha256/*; do cmp $f back/blobs/sha256/${f##*/}; done");
}

#[test]
#[ignore = "needs skopeo and buildah: run by tests/all.sh"]
fn archives_are_exchanged_with_skopeo_and_buildah() {
    let image = image();
    let env = &image.env;
    let tree = |image: &str, to: &str| {
        env.umoci(["raw", "unpack", "--image", image, to]).ok();
        Tree::read(&env.path(to))
    };
    let want = tree("img", "want");
    env.umoci(["init", "--layout", "in"]).ok();
    // Theirs, read by us.
    env.sh("skopeo copy --quiet oci:img:latest oci-archive:s.oci:tag; skopeo copy --quiet oci:img:latest docker-archive:s.docker:app:1");
    env.sh(
        "export XDG_RUNTIME_DIR=$PWD STORAGE_DRIVER=vfs; root=\"--root $PWD/root --runroot $PWD/run\"
        buildah $root pull -q oci:img:latest >id
        buildah $root push -q $(cat id) docker-archive:b.docker:built:1; buildah $root push -q $(cat id) oci-archive:b.oci:built",
    );
    for (from, name) in [
        ("oci-archive:s.oci", "tag"),
        ("docker-archive:s.docker", "docker.io/library/app:1"),
        ("docker-archive:s.docker:app:1", "docker.io/library/app:1"),
        ("docker-archive:b.docker", "docker.io/library/built:1"),
        ("oci-archive:b.oci", "built"),
    ] {
        env.umoci(["import", "--layout", "in", from]).ok();
        tree(&format!("in:{name}"), &format!("tree.{from}")).assert_same(&want, from);
        env.umoci(["rm", "--image", &format!("in:{name}")]).ok();
    }
    // Ours, read by them.
    for (to, from) in [
        ("oci-archive:ours.oci", "oci-archive:ours.oci:latest"),
        (
            "docker-archive:ours.docker",
            "docker-archive:ours.docker:img:latest",
        ),
    ] {
        env.umoci(["export", "--layout", "img", to]).ok();
        env.sh(&format!("skopeo copy --quiet {from} oci:back:latest"));
        assert_eq!(
            diff_ids(env, "oci:img:latest"),
            diff_ids(env, "oci:back:latest"),
            "{to}"
        );
        env.sh(&format!(
            "buildah --root $PWD/root --runroot $PWD/run --storage-driver vfs pull -q {from} >pulled"
        ));
    }
    tree("back", "back.tree").assert_same(&want, "by skopeo");
}

#[test]
#[ignore = "needs skopeo and buildah: run by tests/all.sh"]
fn indexes_are_what_skopeo_and_buildah_take_them_for() {
    let image = image();
    let env = &image.env;
    for (tag, arch) in [("amd", "amd64"), ("arm", "arm64"), ("ibm", "s390x")] {
        env.umoci([
            "config",
            "--image",
            "img",
            "--tag",
            tag,
            "--platform.os",
            "linux",
            "--platform.arch",
            arch,
        ])
        .ok();
    }
    env.umoci([
        "manifest",
        "create",
        "img:all",
        "amd",
        "arm",
        "--annotation",
        "a=b",
    ])
    .ok();
    env.umoci(["manifest", "add", "img:all", "ibm", "--annotation", "of=ibm"])
        .ok();
    let raw = |name: &str, arch: &str| {
        env.sh(&format!(
            "skopeo --override-arch {arch} inspect --raw oci:img:{name}"
        ))
    };
    let config = |layout: &str, arch: &str| {
        env.sh(&format!("skopeo --override-os linux --override-arch {arch} inspect --config oci:{layout}:all | jq -r .architecture"))
    };
    assert_eq!(
        env.umoci(["manifest", "show", "--json", "img:all"]).ok(),
        raw("all", "amd64")
    );
    for arch in ["amd64", "arm64", "s390x"] {
        assert_eq!(config("img", arch), format!("{arch}\n"));
    }
    // An edit of one leaves the others as they are, to the byte.
    let entry = |at: usize| {
        env.sh(&format!(
            "skopeo inspect --raw oci:img:all | jq -c '.manifests[{at}]'"
        ))
    };
    let blob = |at: usize| {
        env.sh(&format!("cat img/blobs/sha256/$(skopeo inspect --raw oci:img:all | jq -r '.manifests[{at}].digest' | cut -c8-)"))
    };
    let before = [0, 2].map(|at| (entry(at), blob(at)));
    env.umoci([
        "config",
        "--image",
        "img:all",
        "--platform",
        "linux/arm64",
        "--author",
        "x",
    ])
    .ok();
    assert_eq!([0, 2].map(|at| (entry(at), blob(at))), before);
    // All of it travels, and arrives the same.
    env.sh("skopeo copy --quiet --all oci:img:all oci:there:all; skopeo copy --quiet --all oci:there:all oci-archive:a.tar:all");
    env.umoci([
        "import",
        "--layout",
        "img",
        "--tag",
        "back",
        "oci-archive:a.tar:all",
    ])
    .ok();
    assert_eq!(raw("back", "amd64"), raw("all", "amd64"));
    env.sh("skopeo --override-os linux --override-arch s390x copy --quiet oci:img:all oci:one:all");
    assert_eq!(config("one", "amd64"), "s390x\n");
    // buildah reads the list, and makes one that we read.
    let inspected = env.sh(
        "export XDG_RUNTIME_DIR=$PWD; b=\"buildah --root $PWD/root --runroot $PWD/run --storage-driver vfs\"
        $b manifest create list >/dev/null; $b manifest add --all list oci:img:all >/dev/null
        $b manifest inspect list | jq -c '[.manifests[] | [.digest, .platform.architecture]]'
        $b manifest push -q --all list oci:pushed:list",
    );
    let ours = env.umoci(["manifest", "show", "--json", "img:all"]).ok();
    let ours: serde_json::Value = serde_json::from_str(&ours).expect("JSON");
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
    for (at, found) in inspected.as_array().expect("list").iter().enumerate() {
        assert_eq!(found[0], ours["manifests"][at]["digest"]);
        assert_eq!(found[1], ours["manifests"][at]["platform"]["architecture"]);
    }
    assert_eq!(inspected.as_array().map(Vec::len), Some(3));
    let pushed = env.umoci(["manifest", "show", "pushed:list"]).ok();
    assert_eq!(pushed.lines().count(), 4, "{pushed}");
}
