// SPDX-License-Identifier: Apache-2.0
//! `umoci import` and `umoci export`

use crate::support::Image;

#[test]
fn images_travel_between_layouts() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["tag", "--image", "img", "other"]).ok();
    env.umoci(["init", "--layout", "into"]).ok();
    env.umoci(["import", "img:other", "--layout", "into", "--tag", "renamed"])
        .ok();
    assert_eq!(env.umoci(["ls", "--layout", "into"]).ok(), "renamed\n");
    env.umoci(["import", "img", "--layout", "into"]).ok();
    assert_eq!(
        env.umoci(["ls", "--layout", "into"]).ok(),
        "renamed\nlatest\nother\n"
    );
    env.umoci(["export", "out:only", "--layout", "into", "--tag", "renamed"])
        .ok();
    assert_eq!(
        env.sh("ls -A out; ls out/blobs/sha256 | wc -l"),
        "blobs\nindex.json\noci-layout\n4\n"
    );
    assert_eq!(env.umoci(["ls", "--layout", "out"]).ok(), "only\n");
    env.umoci(["export", "out", "--layout", "into"]).ok();
    assert_eq!(
        env.umoci(["ls", "--layout", "out"]).ok(),
        "only\nrenamed\nlatest\nother\n"
    );
    for (words, want) in [
        (
            &["import", "img:nope", "--layout", "into"][..],
            "tag not found: nope",
        ),
        (
            &["import", "img", "--layout", "into", "--tag", "x"],
            "--tag names one image, and img has 2: say which, as img:TAG",
        ),
        (
            &["import", "none", "--layout", "into"],
            "open none: validate: read oci-layout: none/oci-layout does not exist: invalid image detected",
        ),
        (
            &["export", "new:x", "--layout", "into"],
            "\"new:x\" names one image, and there are 3: say which with --tag",
        ),
    ] {
        assert_eq!(env.umoci(words).fails(), want, "{words:?}");
    }
    assert!(!env.path("new").exists());
}
