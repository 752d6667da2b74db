// SPDX-License-Identifier: Apache-2.0
//! What is other on a terminal.

use crate::support::Image;

#[test]
fn what_is_no_text_is_not_for_a_terminal() {
    let image = Image::new();
    let env = &image.env;
    let digest = |path: &str| image.manifest()[path][0]["digest"].as_str().map(str::to_owned);
    let layer = digest("layers").expect("layer");
    env.put("img", "x/y", b"plain \xc3\xa9\n");
    env.put("img", "x/y", b"turns \x1b[31m red\n");
    env.put("img", "x/y", b"turns \xc2\x9b31m red\n");
    let blob = |text: &[u8]| umoci::digest::Digest::sha256(text).to_string();
    for (line, is_shown) in [
        ("umoci layer cat img 1".to_owned(), false),
        ("umoci layer cat --compressed img 1".to_owned(), false),
        (format!("umoci blob cat --layout img {layer}"), false),
        (
            format!("umoci blob cat --layout img {}", blob(b"turns \x1b[31m red\n")),
            false,
        ),
        (
            format!("umoci blob cat --layout img {}", blob(b"turns \xc2\x9b31m red\n")),
            false,
        ),
        (
            format!("umoci blob cat --layout img {}", blob(b"plain \xc3\xa9\n")),
            true,
        ),
        (
            format!(
                "umoci blob cat --layout img {}",
                image.entry()["digest"].as_str().expect("digest")
            ),
            true,
        ),
    ] {
        let (code, shown) = env.on_terminal(&line);
        let refused = shown.trim() == "⨯ this is no text, and not for a terminal: redirect stdout";
        assert_eq!((code == 0, refused), (is_shown, !is_shown), "{line}: {shown:?}");
        // Into a file all goes.
        env.sh(&line.replace("umoci ", &format!("{} ", env!("CARGO_BIN_EXE_umoci"))));
    }
}
