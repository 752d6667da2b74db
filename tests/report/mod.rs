// SPDX-License-Identifier: Apache-2.0
//! The page of `umoci report`: its bytes, and its behaviour in a browser.

use std::path::Path;
use std::process::Command;

use umoci::bundle::TreePath;
use umoci::digest::Digest;
use umoci::inside::{ContentLayer, Contents, OtherImage, Report, ReportImage};
use umoci::internals::{Entry, EntryBody, Node, NodeKind, Toc, TocEntry};
use umoci::spec::{Compression, Descriptor, MediaType};

use crate::fidelity::contents::contents;
use crate::support::Tar;

/// Names that would be markup, drive a terminal, turn the text around them, or are no text.
const HOSTILE: [&[u8]; 10] = [
    b"</script><script>window.pwned=1</script>",
    b"<img src=x onerror=window.pwned=1>",
    b"\"'&amp;<!--@script-->",
    b"line\nbreak\ttab\x1b[31m",
    "\u{202e}gnp.exe".as_bytes(),
    "\u{2067}\u{5d0}\u{5d1}\u{200b}".as_bytes(),
    b"no \xff\xfe utf-8",
    b"__proto__",
    "\u{202a}\u{7f}\u{85}".as_bytes(),
    b"javascript:alert(1)#view=waste&path=%2e%2e",
];

/// The page of images, by name, and of other images.
fn page(images: &[(&str, &Contents)], others: Vec<OtherImage>) -> Vec<u8> {
    let images = images.iter().map(|(name, contents)| ReportImage {
        name: (*name).to_owned(),
        digest: Digest::sha256(name.as_bytes()),
        platform: "linux/amd64".to_owned(),
        contents,
    });
    let report = Report {
        images: images.collect(),
        others,
    };
    let mut out = Vec::new();
    report.write(&mut out).expect("page");
    out
}

/// Three layers, of which the upper ones replace, repeat and remove; and the same without the top, with another one.
fn small() -> [Contents; 2] {
    let base = Tar::new().list(&[
        "d etc",
        "f etc/motd=hello",
        "f etc/old=gone",
        "d usr",
        "d usr/bin",
        "f usr/bin/app=app app app",
        "l usr/bin/sh=app",
        "d var",
        "f var/log=log",
        "h var/copy=usr/bin/app",
    ]);
    let base = base
        .any(b"usr/big", b'0', &[7; 5000], b"")
        .any(b"usr/lib/deep/er/file", b'0', &[1; 900], b"")
        .end();
    let middle = Tar::new()
        .list(&["f etc/motd=changed", "f var/log=log", "w etc/old"])
        .end();
    let one = Tar::new().list(&["f usr/bin/new=new", "w var/copy"]).end();
    let other = Tar::new().list(&["l usr/big=bin/app", "f etc/motd=other"]);
    let other = other
        .entry(b"var/log", b'0', b"log", |header| {
            header[100..107].copy_from_slice(b"0000600")
        })
        .end();
    [
        contents(&[base.clone(), middle.clone(), one]),
        contents(&[base, middle, other]),
    ]
}

fn hostile() -> Contents {
    let mut tar = Tar::new();
    for (number, name) in HOSTILE.iter().enumerate() {
        tar = tar.any(name, b'5', b"", b"");
        tar = tar.any(
            &[name, b"/".as_slice(), name].concat(),
            b'0',
            &vec![1; 600 * (number + 1)],
            b"",
        );
    }
    let mut out = contents(&[
        tar.end(),
        Tar::new().any(HOSTILE[0], b'0', b"a file now", b"").end(),
    ]);
    let text: String = HOSTILE.iter().map(|name| String::from_utf8_lossy(name)).collect();
    out.layers[0].history =
        Some(serde_json::from_value(serde_json::json!({ "created_by": text })).expect("history"));
    out
}

/// An image of `count` files and the directories above them, with names as package managers give them.
fn large(count: u64) -> Contents {
    let diff_id = Digest::sha256(b"large");
    let mut entries = Vec::new();
    let mut start = 0;
    for number in 0..count {
        let (package, dir) = (number / 40, number / 8 % 5);
        let path = format!(
            "opt/modules/package-{package}/lib/part{dir}/{}-{}.js",
            number % 8,
            number * 7919 % 1000
        );
        let size = number * 2_654_435_761 % 60_000;
        let node = Node {
            kind: NodeKind::File { size },
            ..Node::dir(0o644)
        };
        let span = 512 + size.next_multiple_of(512);
        entries.push(TocEntry {
            entry: Entry {
                path: TreePath::clean(path.as_bytes()).expect("path"),
                body: EntryBody::Node(node),
            },
            digest: Some([0; 32]),
            start,
            span,
        });
        start += span;
    }
    let toc = Toc {
        diff_id,
        tar_size: start,
        entries,
    };
    let layer = ContentLayer {
        descriptor: Descriptor::new(MediaType::layer(Compression::Gzip), diff_id, start / 3),
        diff_id,
        compression: Compression::Gzip,
        tar_size: 0,
        history: None,
        items: 0..0,
    };
    Contents::of_tocs(vec![layer], vec![Ok(toc)]).expect("contents")
}

/// Images by their layers: a base that all have, one of ten above it, and one of their own.
fn shelf(count: usize) -> Vec<OtherImage> {
    let layer = |name: String, size| (Digest::sha256(name.as_bytes()), size);
    let images = (0..count).map(|number| OtherImage {
        name: format!("image-{number:05}"),
        layers: vec![
            layer("base".to_owned(), 40_000_000),
            layer(format!("middle {}", number % 10), 9_000_000),
            layer(format!("own {number}"), 1_000_000 + number as u64),
        ],
    });
    images.collect()
}

#[test]
fn the_same_images_give_the_same_bytes() {
    let [one, other] = small();
    let first = page(&[("one", &one), ("other", &other)], shelf(3));
    let again = page(&[("one", &one), ("other", &other)], shelf(3));
    assert!(first == again);
}

#[test]
fn names_are_no_markup() {
    let page = String::from_utf8(page(&[("</title><script>", &hostile())], shelf(2))).expect("utf-8");
    for (text, count) in [
        ("<script", 2),
        ("</script>", 2),
        ("<img", 0),
        ("\u{202e}", 0),
        ("\x1b", 0),
    ] {
        let found = page.matches(text).count();
        assert_eq!(found, count, "{text:?}");
    }
    assert!(page.contains("onerror=window"), "the name is there, as text");
    assert!(page.contains("\\u{202e}gnp.exe") && page.contains("no \\xff\\xfe utf-8"));
}

#[test]
fn without_scripts_the_largest_paths_are_there() {
    let page = String::from_utf8(page(&[("large", &large(3000))], Vec::new())).expect("utf-8");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("<tr><td>")).collect();
    assert_eq!(rows.len(), 100);
    let size = |row: &&str| {
        row.split("class=n>")
            .nth(1)
            .and_then(|rest| rest.split('<').next())
            .and_then(|size| size.parse::<u64>().ok())
    };
    assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(size(row))));
}

#[test]
fn a_path_costs_less_than_ten_bytes() {
    let contents = large(45_000);
    let length = page(&[("large", &contents)], Vec::new()).len();
    assert!(length < 10 * contents.tree().len(), "{length} bytes");
}

#[test]
#[ignore = "needs node, npm and chromium"]
fn the_page_works_in_a_browser() {
    let dir = tempfile::tempdir().expect("directory");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report");
    for file in ["package.json", "package-lock.json", "browser.mjs", "contrast.mjs"] {
        std::fs::copy(here.join(file), dir.path().join(file)).expect("copy");
    }
    let [one, other] = small();
    let pages = [
        (
            "small",
            page(&[("app:one", &one), ("app:other", &other)], shelf(3)),
        ),
        (
            "hostile",
            page(&[("</title><script>\u{202e}x", &hostile())], shelf(2)),
        ),
        ("large", page(&[("large", &large(500_000))], Vec::new())),
        ("shelf", page(&[], shelf(400))),
    ];
    for (name, page) in pages {
        std::fs::write(dir.path().join(format!("{name}.html")), page).expect("page");
    }
    run(
        dir.path(),
        "npm",
        &["ci", "--no-audit", "--no-fund", "--ignore-scripts"],
    );
    run(dir.path(), "node", &["browser.mjs"]);
}

fn run(dir: &Path, program: &str, words: &[&str]) {
    let out = Command::new(program)
        .args(words)
        .current_dir(dir)
        .output()
        .expect(program);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    println!("{}", text(&out.stdout));
    assert!(
        out.status.success(),
        "{program}: {}{}",
        text(&out.stdout),
        text(&out.stderr)
    );
}
