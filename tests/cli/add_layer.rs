// SPDX-License-Identifier: Apache-2.0
//! `umoci raw add-layer`

use crate::support::Image;

#[test]
fn a_finished_archive_is_added_byte_for_byte() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir t; echo x >t/added; tar --owner=0 --group=0 -C t -cf layer.tar added; : >empty.tar");
    env.umoci(["raw", "add-layer", "--image", "img", "layer.tar"])
        .ok();
    env.umoci([
        "raw",
        "add-layer",
        "--image",
        "img",
        "--compress=none",
        "empty.tar",
    ])
    .ok();
    let ids = image.config()["rootfs"]["diff_ids"].clone();
    assert_eq!(
        ids[2],
        format!("sha256:{}", env.sh("sha256sum <layer.tar | cut -d' ' -f1").trim())
    );
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    assert_eq!(env.read("b/rootfs/added"), "x\n");
    for (words, want) in [
        (&["t"][..], "new layer archive is a directory: t"),
        (
            &["none"],
            "open new layer archive: open none: no such file or directory",
        ),
        (&[""], "<new-layer.tar> path cannot be empty"),
        (
            &[],
            "invalid number of positional arguments: expected <newlayer.tar>",
        ),
    ] {
        assert_eq!(
            env.umoci([&["raw", "add-layer", "--image", "img"], words].concat())
                .fails(),
            want,
            "{words:?}"
        );
    }
}
