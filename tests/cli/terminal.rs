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

/// A layout with long names, and what stands about its images.
fn crowded() -> Image {
    let image = Image::new();
    let env = &image.env;
    let long = "a-rather-long-name/of-an-image-".repeat(3);
    env.umoci(["tag", "--image", "img", &format!("{long}1")]).ok();
    env.umoci(["manifest", "create", "img:index", "latest"]).ok();
    let comment = "words ".repeat(50);
    env.umoci(["config", "--image", "img", "--history.created_by", &comment])
        .ok();
    env.umoci([
        "attach",
        "--to",
        "img",
        "--artifact-type",
        "application/vnd.example.long+json",
    ])
    .ok();
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    env.umoci(["lease", "create", "--layout", "img", "l", &digest])
        .ok();
    image
}

/// Returns the lines of a table, in which an age is 0s: seconds may pass between two runs of a command.
fn lines_without_age(table: &str) -> Vec<String> {
    let mut table = table.to_owned();
    for seconds in 1..10 {
        table = table.replace(&format!(" {seconds}s "), " 0s ");
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn tables_fit_and_are_whole_elsewhere_or_when_asked() {
    let image = crowded();
    let env = &image.env;
    for line in [
        "umoci ref list --layout img",
        "umoci ref log --layout img latest",
        "umoci layer list img",
        "umoci blob list --layout img",
        "umoci referrers img",
        "umoci lease list --layout img",
        "umoci manifest show img:index",
        "umoci du --layout img",
    ] {
        let whole = env.sh(&line.replace("umoci ", &format!("{} ", env!("CARGO_BIN_EXE_umoci"))));
        assert!(!whole.contains('…'), "{line}: {whole}");
        let (code, shown) = env.on_terminal(line);
        assert_eq!(code, 0, "{line}: {shown}");
        let longest = shown.lines().map(|text| text.trim_end().chars().count()).max();
        assert!(longest.is_some_and(|n| n <= 80 && n > 10), "{line}:\n{shown}");
        assert!(!shown.contains("sha256:"), "{line}:\n{shown}");
        assert_eq!(shown.lines().count(), whole.lines().count(), "{line}");
        let option = "--no-trunc";
        let (_, asked) = env.on_terminal(&format!("{line} {option}"));
        assert_eq!(lines_without_age(&asked), lines_without_age(&whole), "{line}");
    }
    // Media types give way to all else.
    let (_, shown) = env.on_terminal("umoci ref list --layout img");
    let row = shown.lines().nth(1).expect("long name");
    assert!(
        row.starts_with("a-rather-long-name/of-an-image") && row.contains(" manife… "),
        "{shown}"
    );
    // The cut digest is one that commands take.
    let (_, shown) = env.on_terminal("umoci layer list img");
    let digest = shown
        .lines()
        .nth(1)
        .and_then(|row| row.split_whitespace().nth(1))
        .expect("digest");
    env.umoci(["blob", "show", "--layout", "img", digest]).ok();
}

#[test]
fn what_was_done_is_told_in_one_line() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["init", "--layout", "in"]).ok();
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.umoci(["tag", "--image", "img", "base"]).ok();
    env.umoci(["tag", "--image", "img", "base2"]).ok();
    for (line, want) in [
        (
            "umoci import --layout in img:latest",
            "• imported 1 image: 4 blobs copied (",
        ),
        (
            "umoci export --layout img out",
            "• exported 3 images: 4 blobs copied (",
        ),
        (
            "umoci export --layout img oci-archive:a.tar",
            "• exported 3 images: 4 blobs copied (",
        ),
        (
            "umoci export --layout img docker-archive:d.tar --tag latest",
            "• exported 1 image",
        ),
        (
            "umoci repack --image img b",
            "• no new layer, since nothing changed in the tree; replaced tag latest: sha256:",
        ),
        ("umoci squash img --tag s", "• created tag s: sha256:"),
        ("umoci new --image img:n", "• created tag n: sha256:"),
        ("umoci tag --image img n", "• replaced tag n: sha256:"),
        ("umoci tag --image img n", "• kept tag n: sha256:"),
        ("umoci ref restore --layout img n", "• replaced tag n: sha256:"),
        (
            "umoci insert --image img b/config.json /x",
            "• replaced tag latest: sha256:",
        ),
        ("umoci ref remove --layout img s", "• removed ref: s"),
        ("umoci gc --layout img", "• removed "),
    ] {
        let (code, shown) = env.on_terminal(line);
        assert_eq!(code, 0, "{line}: {shown}");
        assert!(
            shown.trim().starts_with(want) && shown.lines().count() == 1,
            "{line}: {shown}"
        );
        let (_, quiet) = env.on_terminal(
            &line
                .replace("umoci ", "umoci -q ")
                .replace("remove --layout img s", "remove --layout img base2"),
        );
        assert_eq!(quiet, "", "{line}");
    }
    // A rebase that is done already says so.
    let (code, shown) = env.on_terminal("umoci rebase img --old base --new base --tag x; umoci new --image img:empty >/dev/null 2>&1; umoci rebase img --old empty --new base");
    assert!(
        code == 0 && shown.contains("the image stands on the new base already: nothing to do"),
        "{shown}"
    );
}
