// SPDX-License-Identifier: Apache-2.0
//! Screens as text, at the start and after keys.

use std::fmt::Write as _;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::draw::{draw, list_height};
use super::keys::{Effect, press};
use super::model::{Model, Shown};
use super::tree::ItemAt;
use crate::digest::Digest;
use crate::inside::{ContentLayer, Contents};
use crate::layer::{Entry, EntryBody, Toc, TocEntry};
use crate::node::{Node, NodeKind, TreePath};
use crate::spec::{Compression, Descriptor, History, MediaType};

/// Makes an entry of words: `dir`, `file SIZE`, `link TARGET`, `hard TARGET`, `gone`.
fn entry(path: &[u8], words: &str) -> TocEntry {
    let path = TreePath::clean(path).expect("path");
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    let node = |kind| {
        EntryBody::Node(Node {
            kind,
            ..Node::dir(0o755)
        })
    };
    let size: u64 = rest.parse().unwrap_or_default();
    let body = match word {
        "dir" => node(NodeKind::Dir),
        "file" => node(NodeKind::File { size }),
        "link" => node(NodeKind::Symlink {
            target: rest.as_bytes().to_vec(),
        }),
        "hard" => EntryBody::HardLink {
            target: TreePath::clean(rest.as_bytes()).expect("path"),
        },
        _ => EntryBody::Whiteout,
    };
    TocEntry {
        digest: (word == "file").then_some([size as u8; 32]),
        entry: Entry { path, body },
        start: 0,
        span: 512 + size.next_multiple_of(512),
    }
}

/// Makes an image of layers, each with its command; the compressed layers have half of the bytes.
fn image(layers: Vec<(&str, Vec<TocEntry>)>) -> Contents {
    let mut tocs = Vec::new();
    let mut described = Vec::new();
    for (command, mut entries) in layers {
        let mut size = 0;
        for entry in &mut entries {
            entry.start = size;
            size += entry.span;
        }
        let diff_id = Digest::sha256(command.as_bytes());
        described.push(ContentLayer {
            descriptor: Descriptor::new(MediaType::layer(Compression::Gzip), diff_id, size / 2),
            diff_id,
            compression: Compression::Gzip,
            tar_size: 0,
            history: Some(History {
                created_by: command.to_owned(),
                ..History::default()
            }),
            items: 0..0,
        });
        tocs.push(Ok(Toc {
            diff_id,
            tar_size: size,
            entries,
        }));
    }
    Contents::of_tocs(described, tocs).expect("layers that can be applied")
}

fn list(entries: &[(&str, &str)]) -> Vec<TocEntry> {
    let entries = entries.iter();
    entries
        .map(|(path, words)| entry(path.as_bytes(), words))
        .collect()
}

/// An image of three layers: the upper ones alter, add and remove.
fn app() -> Contents {
    image(vec![
        (
            "/bin/sh -c #(nop) ADD file:1234 in / ",
            list(&[
                ("etc", "dir"),
                ("etc/motd", "file 20"),
                ("etc/passwd", "file 900"),
                ("tmp", "dir"),
                ("tmp/cache.bin", "file 5000000"),
                ("usr/bin/app", "file 120000"),
                ("usr/bin/sh", "link app"),
            ]),
        ),
        (
            "/bin/sh -c make install",
            list(&[
                ("etc", "dir"),
                ("etc/motd", "file 21"),
                ("opt/new.txt", "file 70000"),
                ("usr/bin/again", "hard usr/bin/app"),
                ("usr/bin/sh", "file 3000"),
            ]),
        ),
        (
            "RUN rm /tmp/cache.bin # buildkit",
            list(&[("tmp/cache.bin", "gone")]),
        ),
    ])
}

fn model<'a>(images: &[(&'a str, &'a Contents)]) -> Model<'a> {
    let images = images.iter();
    Model::new(images.map(|(word, contents)| Shown { word, contents }).collect())
}

/// Presses keys: a character each, or `<Name>`.
fn keys(model: &mut Model<'_>, keys: &str) -> Effect {
    let mut rest = keys;
    let mut effect = Effect::Stay;
    while let Some(first) = rest.chars().next() {
        let mut modifiers = KeyModifiers::NONE;
        let named = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let code = match named {
            None => KeyCode::Char(first),
            Some(("Enter", _)) => KeyCode::Enter,
            Some(("Esc", _)) => KeyCode::Esc,
            Some(("Tab", _)) => KeyCode::Tab,
            Some(("BS", _)) => KeyCode::Backspace,
            Some((name, _)) => {
                modifiers = KeyModifiers::CONTROL;
                KeyCode::Char(name.chars().last().expect("key"))
            }
        };
        rest = named.map_or(&rest[first.len_utf8()..], |(_, rest)| rest);
        assert_eq!(effect, Effect::Stay, "a key before the last one has an effect");
        effect = press(model, KeyEvent::new(code, modifiers));
    }
    effect
}

/// Returns the screen without spaces at the ends of lines, and without empty lines.
fn screen(model: &mut Model<'_>, width: u16, height: u16) -> String {
    model.set_height(list_height(height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("terminal");
    terminal.draw(|frame| draw(frame, model)).expect("screen");
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(width.max(1).into()).map(|cells| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    let lines = lines.filter(|line| !line.trim_matches(['|', ' ']).is_empty());
    lines.fold(String::new(), |out, line| out + &line + "\n")
}

/// An image with another one in its place.
fn other() -> Contents {
    image(vec![(
        "FROM other",
        list(&[
            ("etc/motd", "dir"),
            ("etc/passwd", "file 901"),
            ("usr/bin/app", "file 120000"),
            ("usr/bin/sh", "file 3000"),
        ]),
    )])
}

/// An image of names that drive a terminal, hide text, are wide, long or no text.
fn hostile() -> Contents {
    image(vec![(
        "RUN \u{1b}[2J evil\nline",
        vec![
            entry("turn\u{202e}gnp.exe".as_bytes(), "file 9000"),
            entry(b"esc\x1b[2Jx", "file 8000"),
            entry(b"new\nline", "file 7000"),
            entry(b"no\xff\xfeutf8", "file 6000"),
            entry("\u{65e5}\u{672c}".as_bytes(), "file 5000"),
            entry("n".repeat(200).as_bytes(), "file 3000"),
            entry(b"link", "link \x1b]0;x\x07"),
        ],
    )])
}

/// Each section of the file begins with `== IMAGES WIDTHxHEIGHT KEYS`, where IMAGES are `app`, `hostile` or `two`. A wide character has
/// two cells, the second of which is a space here.
#[test]
fn screens_are_those_of_the_file() {
    let (app, other, hostile) = (app(), other(), hostile());
    let want = include_str!("screens.txt");
    let mut got = String::new();
    for line in want.lines() {
        if line.starts_with('#') {
            let _ = write!(got, "\n{line}\n");
        }
        let Some(head) = line.strip_prefix("== ") else {
            continue;
        };
        let words: Vec<&str> = head.splitn(3, ' ').collect();
        let mut model = match words[0] {
            "app" => model(&[("store:app", &app)]),
            "hostile" => model(&[("store:\u{1b}[1m", &hostile)]),
            _ => model(&[("store:app", &app), ("store:other", &other)]),
        };
        let (width, height) = words[1].split_once('x').expect("size");
        let (width, height) = (width.parse().expect("width"), height.parse().expect("height"));
        model.set_height(list_height(height));
        let effect = keys(&mut model, words.get(2).unwrap_or(&""));
        assert_eq!(effect, Effect::Stay, "{head}");
        let _ = write!(got, "{line}\n{}", screen(&mut model, width, height));
    }
    assert!(got.trim() == want.trim(), "the screens are:\n{got}");
}

#[test]
fn a_file_is_shown_or_saved_as_the_layer_has_it() {
    let app = app();
    let number = |layer: u32, path: &[u8]| {
        let at = |item: &crate::inside::Item| item.layer == layer && item.path.as_bytes() == path;
        let number = app.items.iter().position(at).expect("item");
        ItemAt { image: 0, number }
    };
    for (typed, want) in [
        ("/motd<Enter>G<Enter>", Effect::Page(number(1, b"etc/motd"))),
        ("]/motd<Enter>G<Enter>", Effect::Page(number(0, b"etc/motd"))),
        // Another name of a file has the content of that.
        ("/again<Enter>G<Enter>", Effect::Page(number(0, b"usr/bin/app"))),
        // A deleted file is still in its layer.
        (
            "]]]c/cache<Enter>G<Enter>",
            Effect::Page(number(0, b"tmp/cache.bin")),
        ),
        (
            "/motd<Enter>Gs<Enter>",
            Effect::Save(number(1, b"etc/motd"), "motd".to_owned()),
        ),
        (
            "/motd<Enter>Gs<BS><BS>x/y<Enter>",
            Effect::Save(number(1, b"etc/motd"), "mox/y".to_owned()),
        ),
        ("/motd<Enter>Gs<Esc>", Effect::Stay),
        ("/motd<Enter>Gs<^u><Enter>", Effect::Stay),
        ("s", Effect::Stay),
        ("/motd<^j>G<^j>", Effect::Page(number(1, b"etc/motd"))),
        ("q", Effect::Quit),
        ("/q<^c>", Effect::Quit),
    ] {
        let mut model = model(&[("img", &app)]);
        assert_eq!(keys(&mut model, typed), want, "{typed}");
    }
}

#[test]
fn the_cursor_stays_at_its_path_or_goes_to_the_next_above() {
    let app = app();
    let mut model = model(&[("img", &app)]);
    for (typed, want) in [
        ("]]/new<Enter>G", "/opt/new.txt"),
        ("<Esc>c", "/opt/new.txt"),
        ("]", "/"),
        ("[", "/"),
        ("[cl", "/tmp"),
        ("lj", "/tmp/cache.bin"),
        ("]]", "/tmp/cache.bin"),
        ("[[[", "/tmp"),
        ("h", "/"),
    ] {
        keys(&mut model, typed);
        let path = model.paths.path(model.here());
        assert_eq!(String::from_utf8_lossy(&path), want, "{typed}");
    }
}

#[test]
fn any_size_of_the_screen_and_any_depth_will_do() {
    let deep = format!("{}x", "d/".repeat(500));
    let many: Vec<String> = (0..2000)
        .map(|n| format!("d{}/{n}", n % 7))
        .chain([deep])
        .collect();
    let many: Vec<TocEntry> = many.iter().map(|path| entry(path.as_bytes(), "file 1")).collect();
    let contents = image(vec![("many", many)]);
    let mut model = model(&[("img", &contents)]);
    keys(&mut model, "/*<Enter>G/x<Enter>G");
    for (width, height) in [(0, 0), (1, 1), (9, 3), (20, 5), (80, 24), (300, 100)] {
        for typed in ["k", "<^b>", "G", "?", "?", "g"] {
            keys(&mut model, typed);
            screen(&mut model, width, height);
        }
    }
}
