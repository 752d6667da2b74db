// SPDX-License-Identifier: Apache-2.0
//! `umoci init` and `umoci new`

use crate::support::Env;

#[test]
fn a_new_layout_and_a_blank_image_have_known_bytes() {
    let env = Env::new().var("SOURCE_DATE_EPOCH", "0");
    env.umoci(["init", "--layout", "deep/img"]).ok();
    assert_eq!(
        env.umoci(["init", "--layout", "deep/img"]).fails(),
        "image layout creation: path already exists: deep/img"
    );
    env.umoci(["new", "--image", "deep/img:blank"]).ok();
    let config = env.sh("cat deep/img/blobs/sha256/$(cat deep/img/blobs/sha256/$(jq -r .manifests[0].digest deep/img/index.json | cut -d: -f2) | jq -r .config.digest | cut -d: -f2)");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(
            config,
            "{\"created\":\"1970-01-01T00:00:00Z\",\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}\n"
        );
    }
    let modes = env.sh("stat -c '%a %n' deep/img/index.json deep/img/oci-layout deep/img/blobs/sha256/*");
    assert!(
        modes.lines().all(|l| l.starts_with("644 ")),
        "others may read it: {modes}"
    );
}
