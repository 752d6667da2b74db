// SPDX-License-Identifier: Apache-2.0
//! `umoci raw mtree-validate`

use crate::support::Image;

#[test]
fn a_tree_is_checked_against_its_manifest() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    let manifest = env.sh("ls b/*.mtree").trim().to_owned();
    let validate = |more: &[&str]| {
        env.umoci(
            [
                &[
                    "raw",
                    "mtree-validate",
                    "--manifest",
                    &manifest,
                    "--path",
                    "b/rootfs",
                ],
                more,
            ]
            .concat(),
        )
    };
    assert_eq!(validate(&[]).ok(), "");
    // A named pipe, whose writer has one reader.
    let umoci = env!("CARGO_BIN_EXE_umoci");
    env.sh(&format!(
        "mkfifo pipe; cat {manifest} >pipe & {umoci} raw mtree-validate -f pipe -p b/rootfs && wait $!"
    ));
    assert_eq!(
        validate(&["--umoci-keywords", "-K", "sha256,cksum uname"]).code,
        Some(1)
    );
    assert_eq!(
        env.umoci(["raw", "mtree-validate", "-f", &manifest, "-p", ""])
            .fails(),
        "--path must be a valid path"
    );
    let out = env.umoci(["raw", "mtree-validate"]);
    assert!(
        out.stderr.contains("Required flags \"file, path\" not set"),
        "{}",
        out.stderr
    );
    let out = validate(&["--add-keywords", "sha1"]);
    assert_eq!(out.code, Some(1));
    assert!(
        out.stdout
            .contains("\"etc/file\": keyword \"sha1digest\": expected ; got "),
        "{}",
        out.stdout
    );
    env.sh("rm b/rootfs/etc/file; touch b/rootfs/new");
    let out = validate(&["--use-keywords", "type"]);
    assert_eq!(
        out.stdout,
        "\"etc/file\": missing path\n\"new\": unexpected path\n"
    );
    assert!(
        out.stderr.contains("validation failed: 2 differences found"),
        "{}",
        out.stderr
    );
    assert_eq!(validate(&["-k", "bogus"]).fails(), "unknown keyword \"bogus\"");
}
