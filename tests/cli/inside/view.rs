// SPDX-License-Identifier: Apache-2.0
//! `view` in a terminal: keys in, and what becomes of the terminal. The screens are tested beside their code.

use crate::support::{Env, Image};

/// Escape sequences that open and close the screen of a program.
const OPEN: &str = "\u{1b}[?1049h";
const CLOSE: &str = "\u{1b}[?1049l";

/// Runs a line of a shell in a terminal of 80x24, where `keys` are typed; returns the exit code and all that was written to the terminal, with
/// its settings before and after as lines.
fn view(env: &Env, words: &str, keys: &str) -> (i32, String) {
    let line = format!("stty rows 24 cols 80 -echo; stty -g; {words}; code=$?; echo; stty -g; exit $code");
    env.typing_on_terminal(&line, keys)
}

fn layer_digest(image: &Image) -> String {
    let manifest = image.manifest();
    let digest = manifest["layers"][0]["digest"].as_str().expect("digest");
    digest.trim_start_matches("sha256:").to_owned()
}

#[test]
fn the_terminal_is_given_back() {
    let image = Image::new();
    let (code, shown) = view(&image.env, "umoci view img", "jjq");
    assert_eq!(code, 0, "{shown:?}");
    assert!(
        shown.contains("img: all layers") && shown.contains("TAR BYTES"),
        "{shown:?}"
    );
    let (before, rest) = shown.split_once(OPEN).expect("screen");
    let (_, after) = rest.rsplit_once(CLOSE).expect("end of the screen");
    let settings = before.lines().last().expect("settings").trim_start_matches("jjq");
    assert!(settings.contains(':') && after.contains(settings), "{shown:?}");
}

#[test]
fn a_file_goes_to_the_pager_and_to_a_file() {
    let image = Image::new();
    let env = &image.env;
    env.sh(&format!(
        "echo content of motd >motd; {} insert --rootless --image img motd /etc/motd",
        env!("CARGO_BIN_EXE_umoci")
    ));
    let find = "/motd\\rG";
    let line = |pager: &str| format!("env PAGER=\"{pager}\" umoci view img");
    let paged = "sed s/^/paged:/";
    let (code, shown) = view(env, &line(paged), &format!("{find}\\rs.saved\\rq"));
    assert_eq!(code, 0, "{shown:?}");
    // The pager has the terminal for itself.
    let at = shown.find("paged:content of motd").expect("paged");
    assert!(shown[..at].rfind(CLOSE) > shown[..at].rfind(OPEN), "{shown:?}");
    assert_eq!(env.read("motd.saved"), "content of motd\n");
    // A file that is there is not written over.
    env.write("motd.saved", "mine");
    let (_, shown) = view(env, &line(paged), &format!("{find}s.saved\\rq"));
    assert!(shown.contains("save motd.saved: "), "{shown:?}");
    assert_eq!(env.read("motd.saved"), "mine");
    let (code, shown) = view(env, &line("no-such-pager"), &format!("{find}\\rq"));
    assert!(
        code == 0 && shown.contains("run no-such-pager: exit code 127"),
        "{shown:?}"
    );
}

#[test]
fn a_layer_that_is_missing_is_told() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["ls-files", "img"]).ok();
    let digest = layer_digest(&image);
    env.sh(&format!("rm img/blobs/sha256/{digest}"));
    // The table tells what was in the layer.
    let (code, shown) = view(env, "env PAGER=cat umoci view img", "/passwd\\rG\\rq");
    assert_eq!(code, 0, "{shown:?}");
    // Cells of the screen that stay as they are are not written again, so the line has gaps.
    let is_told = shown.contains(&digest[20..40]);
    assert!(is_told && !shown.contains("root:x"), "{shown:?}");
    env.sh("rm -r img/.umoci/toc");
    let (code, shown) = view(env, "umoci view img", "q");
    assert!(
        code == 1 && shown.contains("the answer is without layer"),
        "{shown:?}"
    );
}

#[test]
fn words_and_places_that_do_not_fit_are_told_in_one_line() {
    let image = Image::new();
    let env = &image.env;
    let line = env.umoci(["view", "img"]).fails();
    assert_eq!(
        line,
        "view needs a terminal: umoci ls-files prints what is in an image"
    );
    for (words, want) in [
        ("", "missing mandatory argument: the image"),
        ("img img img", "unexpected argument: \"img\""),
        ("img:none", "none"),
        ("img~9", "none is left without 9 of them"),
    ] {
        let (code, shown) = view(env, &format!("umoci view {words}"), "");
        assert!(
            code == 1 && shown.contains(want) && !shown.contains(OPEN),
            "{words}: {shown:?}"
        );
    }
}
