// SPDX-License-Identifier: Apache-2.0
//! What we write, as skopeo and buildah read it, and back.

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
    let why = env
        .umoci(["config", "--image", "docker", "--config.user", "x"])
        .fails();
    assert_eq!(
        why,
        "create mutator for manifest: unsupported source type: application/vnd.docker.distribution.manifest.v2+json"
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
