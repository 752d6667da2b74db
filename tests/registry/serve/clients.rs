// SPDX-License-Identifier: Apache-2.0
//! Good clients: our own, and those of others.

use super::Served;
use crate::support::{Env, Image};

#[test]
fn our_own_client_pushes_pulls_lists_and_removes() {
    let image = Image::new();
    let env = &image.env;
    let served = Served::all(env);
    let name = served.name("team/app");
    let one = format!("{name}:1");
    env.write("sbom.json", "{}");
    env.umoci([
        "attach",
        "--to",
        "img:latest",
        "--artifact-type",
        "text/sbom",
        "sbom.json",
    ])
    .ok();
    env.umoci(["push", "--image", "img:latest", &one]).ok();
    let requests = served.log().lines().count();
    env.umoci(["push", "--image", "img:latest", &one]).ok();
    let again = served.log().lines().count() - requests;
    assert!(again <= 3, "{again}");
    assert_eq!(env.umoci(["list-tags", &name]).ok(), "1\n");
    env.umoci(["pull", "--layout", "back", &one]).ok();
    let listed = |image: &str| {
        env.write("r.json", env.umoci(["referrers", "--json", image]).ok());
        env.sh("jq -r '.manifests[].digest' r.json")
    };
    assert_eq!(listed("img:latest"), listed("back:1"));
    // The registry keeps a list of referrers, so no tag stands in for it.
    assert_eq!(env.umoci(["ls", "--layout", "root/team/app"]).ok(), "1\n");
    let place = format!("docker://{one}");
    env.umoci(["stat", &place]).ok();
    env.umoci(["stat", "--image", "root/team/app:1"]).ok();
    env.umoci(["remove", &place]).ok();
    assert_eq!(env.umoci(["list-tags", &name]).ok(), "");
    let line = env.umoci(["pull", "--layout", "none", &one]).fails();
    assert!(line.contains("no image 1"), "{line}");
    for layout in ["root/team/app", "back"] {
        env.umoci(["fsck", "--layout", layout]).ok();
    }
    // What was removed is garbage once nothing without a tag is kept.
    env.umoci(["gc", "--untagged", "--layout", "root/team/app"]).ok();
    assert_eq!(env.sh("find root/team/app/blobs -type f | wc -l"), "0\n");
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn an_image_of_the_layout_is_served_as_it_is() {
    let image = Image::new();
    let env = &image.env;
    image.add_index();
    // Below the index alone.
    env.umoci(["ref", "remove", "--layout", "img", "arm"]).ok();
    // Names that no registry may have.
    env.umoci(["tag", "--image", "img:latest", "with/slash"]).ok();
    let served = Served::start(env, &["app=img"]);
    let name = served.name("app");
    assert_eq!(env.umoci(["list-tags", &name]).ok(), "both\nlatest\n");
    env.umoci(["pull", "--layout", "back", &format!("{name}:both")])
        .ok();
    env.umoci(["fsck", "--layout", "back"]).ok();
    env.umoci([
        "pull",
        "--layout",
        "arm",
        "--platform",
        "linux/arm64",
        &format!("{name}:both"),
    ])
    .ok();
    // A tag that comes later is served at once.
    env.umoci(["tag", "--image", "img:latest", "new"]).ok();
    env.umoci(["pull", "--layout", "back", &format!("{name}:new")])
        .ok();
}

#[test]
#[ignore = "needs skopeo: run by tests/all.sh"]
fn skopeo_does_all_that_it_can() {
    let image = Image::with_second_layer("gzip");
    let env = &image.env;
    let served = Served::all(env);
    let name = served.name("app");
    env.sh(&format!(
        "skopeo copy -q --dest-tls-verify=false oci:img:latest docker://{name}:oci
         skopeo copy -q --dest-tls-verify=false --format v2s2 oci:img:latest docker://{name}:docker
         skopeo copy -q --src-tls-verify=false --dest-tls-verify=false docker://{name}:oci docker://{}:1
         skopeo copy -q --src-tls-verify=false docker://{name}:oci oci:back:x
         skopeo copy -q --src-tls-verify=false docker://{name}:docker dir:back-docker
         skopeo inspect --tls-verify=false docker://{name}:oci >inspected
         skopeo list-tags --tls-verify=false docker://{name} | jq -c .Tags >tags
         skopeo delete --tls-verify=false docker://{name}:docker",
        served.name("other/app")
    ));
    assert_eq!(env.read("tags"), "[\"docker\",\"oci\"]\n");
    let digest = |layout: &str| env.sh(&format!("jq -r '.manifests[0].digest' {layout}/index.json"));
    assert_eq!(digest("img"), digest("back"));
    assert_eq!(env.umoci(["list-tags", &name]).ok(), "oci\n");
    for layout in ["root/app", "root/other/app"] {
        env.umoci(["fsck", "--layout", layout]).ok();
    }
}

#[test]
#[ignore = "needs buildah: run by tests/all.sh"]
fn buildah_pulls_and_pushes() {
    let image = Image::with_second_layer("gzip");
    let env = &image.env;
    let served = Served::all(env);
    let name = served.name("app");
    env.umoci(["push", "--image", "img:latest", &format!("{name}:1")])
        .ok();
    let buildah = "buildah --root store --runroot run --storage-driver vfs";
    env.sh(&format!(
        "mkdir store run; echo '{{\"default\":[{{\"type\":\"insecureAcceptAnything\"}}]}}' >policy.json
         {buildah} pull --signature-policy policy.json --tls-verify=false -q {name}:1 >/dev/null
         {buildah} push --signature-policy policy.json --tls-verify=false -q {name}:1 docker://{name}:2 >/dev/null
         {buildah} push --signature-policy policy.json --tls-verify=false -q --format docker {name}:1 docker://{name}:3 >/dev/null"
    ));
    assert_eq!(env.umoci(["list-tags", &name]).ok(), "1\n2\n3\n");
    env.umoci(["fsck", "--layout", "root/app"]).ok();
}

/// A containerd of the room's own.
struct Containerd(std::process::Child);

impl Containerd {
    fn start(env: &Env) -> Self {
        let config = format!(
            "version = 2\nroot = \"{0}/state\"\nstate = \"{0}/run\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{0}/containerd.sock\"\n",
            env.path("").display()
        );
        env.write("containerd.toml", config);
        let child = std::process::Command::new("containerd")
            .args(["--config", "containerd.toml", "--log-level", "error"])
            .current_dir(env.path(""))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("containerd");
        env.sh("for i in $(seq 300); do ctr -a containerd.sock version >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1");
        Self(child)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs containerd and root: run by tests/all.sh"]
fn containerd_pulls_and_pushes() {
    let image = Image::with_second_layer("gzip");
    let env = &image.env;
    let served = Served::all(env);
    let _containerd = Containerd::start(env);
    let name = served.name("app");
    env.umoci(["push", "--image", "img:latest", &format!("{name}:1")])
        .ok();
    env.sh(&format!(
        "ctr -a containerd.sock content fetch --plain-http {name}:1 >/dev/null
         ctr -a containerd.sock images tag {name}:1 {name}:2 >/dev/null
         ctr -a containerd.sock images push --plain-http {name}:2 >/dev/null"
    ));
    assert_eq!(env.umoci(["list-tags", &name]).ok(), "1\n2\n");
    env.umoci(["fsck", "--layout", "root/app"]).ok();
}
