// SPDX-License-Identifier: Apache-2.0
//! `umoci raw unpack`

use crate::support::Image;

#[test]
fn raw_unpack_goes_over_what_is_there_and_never_removes_it() {
    let image = Image::new();
    let env = &image.env;
    env.write("r/mine", "kept");
    let out = env.umoci(["raw", "unpack", "--image", "img", "r"]);
    assert!(out.stderr.contains("unpacked image rootfs: r"), "{}", out.stderr);
    out.ok();
    assert_eq!(env.sh("cat r/mine r/etc/file"), "keptdata\n");
    std::fs::remove_file(image.blob("layer1")).expect("rm");
    assert_ne!(env.umoci(["raw", "unpack", "--image", "img", "r"]).code, Some(0));
    assert_eq!(env.read("r/mine"), "kept");
    assert_ne!(
        env.umoci(["raw", "unpack", "--image", "img", "fresh"]).code,
        Some(0)
    );
    assert!(!env.path("fresh").exists());
}
