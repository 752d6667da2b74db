// SPDX-License-Identifier: Apache-2.0
//! `umoci report`; the page itself is tested in `tests/report/`.

use crate::support::Image;

#[test]
fn a_page_is_written_as_a_whole_and_always_the_same() {
    let image = Image::with_second_layer("gzip");
    let env = &image.env;
    env.umoci(["report", "img~1", "img", "-o", "one.html"]).ok();
    env.umoci(["report", "img~1", "img", "--output", "two.html"]).ok();
    let page = env.read("one.html");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert_eq!(page, env.read("two.html"));
    assert_eq!(page, env.umoci(["report", "img~1", "img", "-o", "-"]).ok());
}

#[test]
fn a_layout_alone_is_shown_by_its_layers() {
    let image = Image::with_second_layer("gzip");
    let env = &image.env;
    env.umoci(["tag", "--image", "img", "other"]).ok();
    env.umoci(["report", "--layout", "img", "-o", "store.html"]).ok();
    assert!(env.read("store.html").contains("<title>Layers of a layout"));
}

#[test]
fn words_that_are_missing_are_named() {
    let image = Image::new();
    let env = &image.env;
    for (words, wrong) in [
        (vec!["report", "-o", "x.html"], "image"),
        (vec!["report", "img"], "output"),
        (vec!["report", "none", "-o", "x.html"], "none"),
    ] {
        let text = env.umoci(&words).fails();
        assert!(text.contains(wrong), "{words:?}: {text}");
        assert!(!env.path("x.html").exists());
    }
}

#[test]
fn a_layer_that_cannot_be_read_is_named_in_the_page_and_by_the_command() {
    let image = Image::with_second_layer("gzip");
    let env = &image.env;
    env.sh("rm -rf img/.umoci/toc");
    std::fs::write(image.blob("layer0"), "damaged").expect("blob");
    let text = env.umoci(["report", "img", "-o", "x.html"]).fails();
    assert!(text.contains("the answer is without layer sha256:"), "{text}");
    assert!(env.path("x.html").exists());
}
