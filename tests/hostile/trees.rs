// SPDX-License-Identifier: Apache-2.0
//! Entries that try to leave the tree, or to confuse whoever makes it.

use super::{Room, Who, ways};
use crate::support::Tar;

/// What must come of a case.
enum Want {
    /// These names are in the tree: `path=content`, `path->target`, `path/` or `path` for any other type.
    Tree(&'static [&'static str]),
    /// It fails with a message that has these words.
    Fails(&'static str),
}
use Want::{Fails, Tree};

/// An entry with a name, link target or PAX records that [`Tar::list`] cannot say.
fn odd(name: &[u8], flag: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    Tar::new().pax(records).entry(name, flag, b"", |_| ()).end()
}

/// The cases: what is tried, layers as lists of entries (`@` is the path of what is outside), what must happen.
const CASES: &[(&str, &[&[&str]], Want)] = &[
    (
        "dots in a name",
        &[&["f ../../../outside/secret=x"]],
        Tree(&["outside/secret=x"]),
    ),
    (
        "an absolute name",
        &[&["f @/secret=x", "f /etc/passwd=y"]],
        Tree(&["@/secret=x", "etc/passwd=y"]),
    ),
    (
        "a link above, then a file behind it",
        &[&["l up=../../../outside", "f up/secret=x"]],
        Tree(&["outside/secret=x"]),
    ),
    (
        "an absolute link, then a file behind it",
        &[&["l up=@", "f up/secret=x"]],
        Tree(&["@/secret=x"]),
    ),
    (
        "a link of a lower layer, then a file, a directory and a whiteout behind it",
        &[
            &["l up=../../../outside"],
            &["f up/secret=x", "d up/dir", "w up/link", "o up"],
        ],
        Tree(&["outside/secret=x", "up->../../../outside"]),
    ),
    (
        "a whiteout of a link, and of what it leads to",
        &[&["l up=@", "l file=@/secret"], &["w up", "w file", "w up/secret"]],
        Tree(&[]),
    ),
    (
        "a directory that becomes a link in the same layer",
        &[&["d dir", "f dir/f=1", "l dir=@", "f dir/secret=x"]],
        Tree(&["@/secret=x"]),
    ),
    (
        "a directory that becomes a link in a later layer",
        &[
            &["d dir", "f dir/secret=1"],
            &["l dir=@", "f dir/secret=x", "w dir/passwd"],
        ],
        Tree(&["@/secret=x"]),
    ),
    (
        "links through links",
        &[&["d a", "l a/up=..", "l b=a/up/../../..", "f b/outside/secret=x"]],
        Tree(&["outside/secret=x"]),
    ),
    (
        "a link to a file, then the file",
        &[&["l f=@/secret", "f f=x"]],
        Tree(&["f=x"]),
    ),
    (
        "a link to a file in a lower layer, then the file",
        &[&["l f=@/secret"], &["f f=x"]],
        Tree(&["f=x"]),
    ),
    (
        "a link to a directory, then the directory",
        &[&["l d=@", "d d", "f d/secret=x"]],
        Tree(&["d/", "d/secret=x"]),
    ),
    (
        "a hard link above",
        &[&["h mine=../../../outside/secret"]],
        Fails("hard link to outside/secret, which does not exist"),
    ),
    (
        "an absolute hard link",
        &[&["h mine=@/secret"]],
        Fails("which does not exist"),
    ),
    (
        "a hard link behind a link",
        &[&["l up=@", "h mine=up/secret"]],
        Fails("which does not exist"),
    ),
    (
        "a hard link to a link, then a file in its place",
        &[&["l s=@/secret", "h mine=s", "f mine=x"]],
        Tree(&["mine=x", "s->@/secret"]),
    ),
    (
        "a file in place of one of two names",
        &[&["f a=1", "h b=a"], &["f b=2"]],
        Tree(&["a=1", "b=2"]),
    ),
    (
        "a hard link to a directory",
        &[&["d d", "h x=d"]],
        Fails("hard link to the directory d"),
    ),
    (
        "a whiteout of what is above",
        &[&["f a=1", "f .wh...=x"]],
        Fails("whiteout"),
    ),
    (
        "a whiteout of the directory itself",
        &[&["f .wh..=x"]],
        Fails("whiteout"),
    ),
    (
        "a link in place of the root",
        &[&["l .=@"]],
        Fails("refusing to change type of root directory"),
    ),
    (
        "a file in place of the root",
        &[&["f .=x"]],
        Fails("refusing to change type of root directory"),
    ),
    (
        "a file in place of the root, with a slash",
        &[&["f ./=x"]],
        Fails("refusing to change type of root directory"),
    ),
    (
        "a hard link in place of the root",
        &[&["f a=1", "h .=a"]],
        Fails("refusing to change type of root directory"),
    ),
    (
        "a loop of links",
        &[&["l a=b", "l b=a", "f a/x=1"]],
        Fails("too many levels of symbolic links"),
    ),
    (
        "a fifo on the way",
        &[&["p f", "f f/x=1"]],
        Tree(&["f/", "f/x=1"]),
    ),
    ("a fifo, then a file", &[&["p f"], &["f f=1"]], Tree(&["f=1"])),
    (
        "a file on the way",
        &[&["f a=1"], &["f a/b/c=2"]],
        Tree(&["a/b/c=2"]),
    ),
];

fn check(room: &Room, what: &str, outside: &str, want: &Want) {
    let output = room.unpack(&[]);
    match want {
        Fails(words) => {
            let line = output.fails();
            assert!(line.contains(words), "{what}: {line}");
            room.assert_cleaned(what);
        }
        Tree(names) => {
            output.ok();
            for name in *names {
                let name = name.replace('@', outside.trim_start_matches('/'));
                let below = |path: &str| room.env.path("work/b/rootfs").join(path);
                if let Some((path, target)) = name.split_once("->") {
                    let found = std::fs::read_link(below(path)).expect(what);
                    assert!(found.ends_with(target), "{what}: {name}");
                } else if let Some((path, content)) = name.split_once('=') {
                    let meta = std::fs::symlink_metadata(below(path))
                        .unwrap_or_else(|e| panic!("{what}: {path}: {e}"));
                    assert!(meta.is_file(), "{what}: {path}");
                    assert_eq!(
                        std::fs::read_to_string(below(path)).expect(what),
                        content,
                        "{what}: {path}"
                    );
                } else {
                    assert!(below(&name).is_dir(), "{what}: {name}");
                }
            }
        }
    }
    room.assert_untouched(what);
}

#[test]
fn no_entry_leads_out_of_the_tree() {
    for (who, resolver) in ways() {
        for (what, layers, want) in CASES {
            let room = Room::new(who, resolver);
            let outside = room.outside();
            let tar = |specs: &&[&str]| {
                let specs: Vec<String> = specs.iter().map(|s| s.replace('@', &outside)).collect();
                Tar::new()
                    .list(&specs.iter().map(String::as_str).collect::<Vec<_>>())
                    .end()
            };
            room.image(&layers.iter().map(tar).collect::<Vec<_>>());
            check(&room, &format!("{what}, {who:?}, {resolver}"), &outside, want);
        }
    }
}

#[test]
fn headers_that_lie_are_refused() {
    let field = |at: usize, bytes: &'static [u8]| {
        Tar::new()
            .entry(b"f", b'0', b"", move |b| {
                b[at..at + bytes.len()].copy_from_slice(bytes)
            })
            .end()
    };
    let many_links = {
        let mut tar = Tar::new();
        for n in 0..300 {
            tar = tar.any(
                format!("l{n}").as_bytes(),
                b'2',
                b"",
                format!("l{}", n + 1).as_bytes(),
            );
        }
        tar.list(&["f l0/x=1"]).end()
    };
    let cases: Vec<(&str, Vec<u8>, Want)> = vec![
        (
            "a size of 2^63",
            field(124, b"\x80\0\0\0\x80\0\0\0\0\0\0\0"),
            Fails("size"),
        ),
        ("a negative size", field(124, &[0xff; 12]), Fails("negative size")),
        (
            "a size beyond the archive",
            field(124, b"00000777777\0"),
            Fails("unexpected end of layer"),
        ),
        (
            "a huge owner",
            field(108, b"\x80\0\0\x01\0\0\0\0"),
            Fails("uid out of range"),
        ),
        (
            "a negative owner",
            field(108, &[0xff; 8]),
            Fails("uid out of range"),
        ),
        (
            "a NUL in a name",
            odd(b"f", b'0', &[("path", b"a\0b")]),
            Fails("NUL"),
        ),
        (
            "a NUL in a link",
            odd(b"l", b'2', &[("linkpath", b"a\0b")]),
            Fails("NUL"),
        ),
        (
            "a link to nothing",
            Tar::new().any(b"l", b'2', b"", b"").end(),
            Fails("l"),
        ),
        (
            "a name without end",
            odd(b"f", b'0', &[("path", &[b'a'; 300])]),
            Fails("name too long"),
        ),
        (
            "a path over the limit",
            odd(b"f", b'0', &[("path", &[b'/'; 70_000])]),
            Fails("over the limit"),
        ),
        (
            "a file that begins in another archive",
            odd(b"f", b'M', &[]),
            Fails("another archive"),
        ),
        (
            "a chain of 300 links",
            many_links,
            Fails("too many levels of symbolic links"),
        ),
        (
            "a user attribute on a link",
            odd(b"l", b'2', &[("linkpath", b"x"), ("SCHILY.xattr.user.a", b"v")]),
            Fails("user.a"),
        ),
        (
            "an attribute without a name",
            odd(b"f", b'0', &[("SCHILY.xattr.", b"v")]),
            Fails("without a valid name"),
        ),
        (
            "a time without number",
            odd(b"f", b'0', &[("mtime", b"soon")]),
            Fails("invalid PAX mtime"),
        ),
    ];
    for (who, resolver) in ways() {
        for (what, tar, want) in &cases {
            // What is no permission for a plain user is a warning there.
            if who == Who::Plain && what.contains("on a link") {
                continue;
            }
            let room = Room::new(who, resolver);
            room.image(std::slice::from_ref(tar));
            check(&room, &format!("{what}, {who:?}, {resolver}"), "", want);
        }
    }
}

/// The kernel would cut the numbers, and make another device.
#[test]
fn device_numbers_that_the_kernel_cannot_hold_are_refused() {
    let Some((who, resolver)) = ways().into_iter().find(|(who, _)| *who == Who::Root) else {
        return;
    };
    for (flag, major, minor, fits) in [
        (b'3', 4095, 0xf_ffff, true),
        (b'4', 4095, 0xf_ffff, true),
        (b'3', 4096, 1, false),
        (b'4', 4096, 1, false),
        (b'4', 1, 0x10_0000, false),
        (b'3', 0xffff_ffff, 1, false),
        (b'3', 1 << 32, 1, false),
    ] {
        let number = |n: u64| [&[0x80], &n.to_be_bytes()[1..]].concat();
        let device = Tar::new().entry(b"dev", flag, b"", |b| {
            b[329..337].copy_from_slice(&number(major));
            b[337..345].copy_from_slice(&number(minor));
        });
        let room = Room::new(who, resolver);
        room.image(&[device.end()]);
        let unpacked = room.unpack(&[]);
        if fits {
            unpacked.ok();
            assert_eq!(
                room.env.sh("stat -c %Hr,%Lr work/b/rootfs/dev"),
                format!("{major},{minor}\n")
            );
        } else {
            let line = unpacked.fails();
            assert!(line.contains("dev") && line.contains("device"), "{line}");
            room.assert_cleaned("device");
        }
    }
}

#[test]
fn devices_and_set_id_files_are_nothing_special_to_a_plain_user() {
    let device = |b: &mut [u8]| {
        b[329..336].copy_from_slice(b"0000001");
        b[337..344].copy_from_slice(b"0000003");
    };
    let set_id = |b: &mut [u8]| b[100..107].copy_from_slice(b"0006755");
    let tar = Tar::new()
        .entry(b"null", b'3', b"", device)
        .entry(b"su", b'0', b"x", set_id)
        .end();
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.image(std::slice::from_ref(&tar));
        room.unpack(&[]).ok();
        let kind = room.env.sh("stat -c %F work/b/rootfs/null");
        let owner = room.env.sh("stat -c '%u %a' work/b/rootfs/su");
        match who {
            Who::Root => assert_eq!((kind.trim(), owner.trim()), ("character special file", "0 6755")),
            Who::Plain => {
                assert_eq!(kind.trim(), "regular empty file");
                assert!(!owner.starts_with("0 "), "{owner}");
            }
        }
        room.assert_untouched("device");
    }
}

#[test]
fn a_link_that_is_kept_is_followed_inside() {
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        let tar = Tar::new()
            .list(&["d outside", "l d=../../../outside", "d d", "f d/secret=x"])
            .end();
        room.image(&[tar]);
        room.unpack(&["--keep-dirlinks"]).ok();
        assert_eq!(room.env.read("work/b/rootfs/outside/secret"), "x");
        room.assert_untouched("keep-dirlinks");
    }
}

#[test]
fn a_failure_removes_what_was_made_and_nothing_else() {
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.image(&[Tar::new()
            .list(&["d a", "l a/up=../../../../outside", "f a/b=1", "h x=none"])
            .end()]);
        room.env.write("work/b/keep", "mine");
        room.unpack(&[]).fails();
        assert_eq!(room.env.sh("ls -A work/b; cat work/b/keep"), "keep\nmine\n");
        room.assert_untouched("cleaning");
        room.env.sh("mkdir work/b/rootfs; echo mine >work/b/rootfs/file");
        let line = room.unpack(&[]).fails();
        assert!(line.contains("already exists"), "{line}");
        assert_eq!(room.env.sh("cat work/b/rootfs/file"), "mine\n");
    }
}

/// Names of users are looked up inside of the tree, whatever its `/etc` is.
#[test]
fn the_passwd_file_of_the_host_is_never_read() {
    for (who, resolver) in ways() {
        for specs in [
            &["d etc", "l etc/passwd=@/passwd"][..],
            &["l etc=@"],
            &["l etc=../../../outside"],
            &["d etc", "l etc/passwd=../../../../../outside/passwd"],
        ] {
            let room = Room::new(who, resolver);
            let specs: Vec<String> = specs.iter().map(|s| s.replace('@', &room.outside())).collect();
            let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
            room.image(&[Tar::new().list(&specs).end()]);
            room.umoci(&["config", "--image", "img", "--config.user", "mallory"])
                .ok();
            let line = room.unpack(&[]).fails();
            assert!(line.contains("mallory"), "{specs:?}: {line}");
            room.assert_untouched("passwd");
        }
    }
}

/// What is inserted is what stands there, never what a link leads to.
#[test]
fn an_insert_stores_links_and_follows_none_below_its_source() {
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.image(&[Tar::new().list(&["d d"]).end()]);
        let outside = room.outside();
        room.env.sh(&format!(
            "mkdir -p work/src/d; ln -s {outside}/secret work/src/file; ln -s {outside} work/src/dir; ln -s ../../../outside work/src/d/up
             ln -s {outside} work/link"
        ));
        room.umoci(&["insert", "--image", "img", "--rootless", "src", "/new"])
            .ok();
        room.umoci(&["insert", "--image", "img", "--rootless", "link", "/alone"])
            .ok();
        room.unpack(&[]).ok();
        let found = room
            .env
            .sh("cd work/b/rootfs; find . -type f; readlink new/file new/dir new/d/up alone");
        assert_eq!(
            found, "$ENV/outside/secret\n$ENV/outside\n../../../outside\n$ENV/outside\n",
            "{who:?}"
        );
        room.assert_untouched("insert");
    }
}

/// A finished archive is stored as it is; what is in it can do no more than in any other layer.
#[test]
fn an_archive_that_is_added_leads_nowhere() {
    for (who, resolver) in ways() {
        for (specs, words) in [
            (&["l up=@", "f up/secret=x"][..], None),
            (&["h mine=../../../outside/secret"], Some("which does not exist")),
            (&["l .=@"], Some("refusing to change type of root directory")),
        ] {
            let room = Room::new(who, resolver);
            room.image(&[Tar::new().list(&["d d"]).end()]);
            let specs: Vec<String> = specs.iter().map(|s| s.replace('@', &room.outside())).collect();
            let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
            room.env.write("work/layer.tar", Tar::new().list(&specs).end());
            room.umoci(&["raw", "add-layer", "--image", "img", "layer.tar"])
                .ok();
            let output = room.unpack(&[]);
            match words {
                None => drop(output.ok()),
                Some(words) => assert!(output.fails().contains(words), "{specs:?}"),
            }
            room.assert_untouched("raw add-layer");
        }
        let room = Room::new(who, resolver);
        room.image(&[Tar::new().list(&["d d"]).end()]);
        room.env.sh("mkdir work/dir");
        for name in ["dir", "none"] {
            let line = room.umoci(&["raw", "add-layer", "--image", "img", name]).fails();
            assert!(line.contains(name), "{line}");
        }
        room.assert_untouched("raw add-layer");
    }
}

/// Writes the cases as files for `tests/compat/extractors.sh`, which shows them to other programs.
#[test]
#[ignore = "run by tests/compat/extractors.sh"]
fn the_corpus_is_written_out() {
    let Ok(dir) = std::env::var("UMOCI_CORPUS") else {
        return;
    };
    for (n, (what, layers, _)) in CASES.iter().enumerate() {
        let case = std::path::Path::new(&dir).join(format!("{n:02}"));
        let outside = case.join("outside").to_str().expect("utf-8").to_owned();
        let room = Room::new(Who::Root, "openat2");
        let tars: Vec<Vec<u8>> = layers
            .iter()
            .map(|specs| {
                let specs: Vec<String> = specs.iter().map(|s| s.replace('@', &outside)).collect();
                let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
                Tar::new().list(&specs).end()
            })
            .collect();
        room.image(&tars);
        std::fs::create_dir_all(case.join("work")).expect("directory");
        std::fs::write(case.join("what"), what).expect("name");
        for (at, tar) in tars.iter().enumerate() {
            std::fs::write(case.join(format!("work/{at}.tar")), tar).expect("tar");
        }
        let (from, to) = (room.env.path("work/img"), case.join("work/img"));
        room.env.sh(&format!("cp -a {} {}", from.display(), to.display()));
    }
}
