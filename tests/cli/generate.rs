// SPDX-License-Identifier: Apache-2.0
//! `umoci completions` and `umoci man`

use crate::support::Image;

#[test]
fn completions_and_manual_pages_are_made_from_the_definition() {
    let image = Image::new();
    let env = &image.env;
    for (shell, want) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef umoci"),
        ("fish", "complete -c umoci"),
    ] {
        assert!(env.umoci(["completions", shell]).ok().contains(want), "{shell}");
    }
    env.umoci(["man", "pages"]).ok();
    for page in ["umoci", "umoci-unpack", "umoci-raw-add-layer", "umoci-ref-create"] {
        assert!(env.read(&format!("pages/{page}.1")).contains(".TH"), "{page}");
    }
}
