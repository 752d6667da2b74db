// SPDX-License-Identifier: Apache-2.0
//! A tree with everything that a tree can have, to an image and back, by every kind of user.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, makedev};

use crate::support::{Env, Tar, Tree, TreeEntry};

const PLAIN: u32 = 65534;

/// Seconds of times that are hard: before 1970, with a sign bit in 32 bits, beyond 33 bits of octal digits.
const TIMES: [i64; 8] = [
    -1,
    -2_000_000_000,
    0,
    0o17_777_777_777,
    1 << 31,
    1 << 32,
    0o77_777_777_777,
    1 << 33,
];

/// Something to make at one path.
struct Thing {
    path: Vec<u8>,
    kind: FileType,
    /// Content, target of a link, or path of a file to be linked.
    data: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    time: Timespec,
    device: (u32, u32),
    xattrs: Vec<(&'static str, Vec<u8>)>,
    hard: bool,
}

fn thing(path: impl AsRef<[u8]>, kind: FileType, data: impl AsRef<[u8]>, mode: u32) -> Thing {
    Thing {
        path: path.as_ref().to_vec(),
        kind,
        data: data.as_ref().to_vec(),
        mode,
        owner: (0, 0),
        time: Timespec {
            tv_sec: 1_000_000_000,
            tv_nsec: 0,
        },
        device: (0, 0),
        xattrs: Vec::new(),
        hard: false,
    }
}

fn file(path: impl AsRef<[u8]>, data: impl AsRef<[u8]>, mode: u32) -> Thing {
    thing(path, FileType::RegularFile, data, mode)
}

fn dir(path: impl AsRef<[u8]>, mode: u32) -> Thing {
    thing(path, FileType::Directory, b"", mode)
}

fn link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Thing {
    thing(path, FileType::Symlink, target, 0o777)
}

fn hard(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Thing {
    Thing {
        hard: true,
        ..file(path, target, 0)
    }
}

fn device(path: &str, kind: FileType, major: u32, minor: u32, mode: u32) -> Thing {
    Thing {
        device: (major, minor),
        ..thing(path, kind, b"", mode)
    }
}

impl Thing {
    fn owned(self, uid: u32, gid: u32) -> Self {
        Self {
            owner: (uid, gid),
            ..self
        }
    }

    fn at(self, tv_sec: i64, tv_nsec: i64) -> Self {
        Self {
            time: Timespec { tv_sec, tv_nsec },
            ..self
        }
    }

    fn xattr(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.xattrs.push((name, value.as_ref().to_vec()));
        self
    }
}

/// An access control list: owner, one user, group, mask, others.
fn acl(user: u32, mask: u16) -> Vec<u8> {
    let mut out = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [
        (0x01_u16, 6_u16, u32::MAX),
        (0x02, 7, user),
        (0x04, 4, u32::MAX),
        (0x10, mask, u32::MAX),
        (0x20, 4, u32::MAX),
    ] {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

/// `cap_net_bind_service=ep`, as the kernel stores it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Everything, a directory before what is in it.
fn zoo() -> Vec<Thing> {
    let mut out = vec![
        dir("kinds", 0o755).at(1_500_000_000, 999_999_999),
        file("kinds/regular", "content", 0o644),
        file("kinds/empty", "", 0o600).at(5, 1),
        file("kinds/large", vec![7; 300_000], 0o644),
        file("kinds/zeros", vec![0; 1_000_000], 0o644),
        file("kinds/hole", [&[0; 700_000][..], b"end"].concat(), 0o644),
        file(
            "kinds/zeros behind",
            [&b"begin"[..], &[0; 700_000]].concat(),
            0o644,
        ),
        thing("kinds/fifo", FileType::Fifo, b"", 0o640).owned(7, 8),
        device("kinds/null", FileType::CharacterDevice, 1, 3, 0o666),
        device("kinds/wide", FileType::CharacterDevice, 259, 1_000_000, 0o600).owned(3, 4),
        device("kinds/disk", FileType::BlockDevice, 8, 1, 0o660).owned(0, 6),
        dir("links", 0o755),
        link("links/dangling", "no/such/file").owned(5, 6),
        link("links/absolute", "/kinds/regular"),
        link("links/above", "../../../kinds/../kinds/regular"),
        link("links/long", vec![b't'; 4095]),
        link("links/bytes", b"\xff \n\\"),
        link("links/self", "self"),
        dir("hard", 0o755),
        file("hard/b", "hard", 0o640).owned(10, 20),
        hard("hard/a", "hard/b"),
        hard("kinds/z", "hard/b"),
        link("hard/soft", "b"),
        hard("hard/soft too", "hard/soft"),
        thing("hard/fifo", FileType::Fifo, b"", 0o600),
        hard("hard/fifo too", "hard/fifo"),
        dir("xattrs", 0o700)
            .xattr("user.on a directory", b"d\0d")
            .xattr("trusted.d", b"t"),
        file("xattrs/user", "x", 0o444)
            .owned(992, 123)
            .xattr("user.nul", b"\0a\0")
            .xattr("user.sp ace", b"v\n"),
        file("xattrs/capability", "x", 0o755)
            .owned(1, 1)
            .xattr("security.capability", CAPABILITY),
        file("xattrs/acl", "x", 0o664).xattr("system.posix_acl_access", acl(1234, 6)),
        dir("xattrs/default acl", 0o775)
            .xattr("system.posix_acl_default", acl(7, 7))
            .xattr("system.posix_acl_access", acl(7, 7)),
        file("xattrs/default acl/inherits nothing", "x", 0o600),
        dir("xattrs/default acl/dir", 0o700),
        file("xattrs/overlay", "x", 0o644).xattr("trusted.overlay.opaque", b"y"),
        link("xattrs/link", "user").xattr("trusted.on a link", b"l"),
        file("xattrs/locked", "x", 0o000)
            .owned(4, 5)
            .xattr("user.x", b"y"),
        file("xattrs/write only", "x", 0o200).owned(4, 5),
        dir("modes", 0o755),
        dir("names", 0o755),
        dir("times", 0o755),
    ];
    for mode in [0, 0o111, 0o444, 0o777, 0o4755, 0o2755, 0o1644, 0o7777, 0o6000] {
        out.push(file(format!("modes/f{mode:o}"), "m", mode).owned(11, 12));
        out.push(dir(format!("modes/d{mode:o}"), mode).owned(0, 12));
        out.push(file(format!("modes/d{mode:o}/inside"), "m", mode));
    }
    for (n, sec) in TIMES.into_iter().enumerate() {
        out.push(file(format!("times/f{n}"), "t", 0o644).at(sec, 123_456_789));
        out.push(dir(format!("times/d{n}"), 0o755).at(sec, 999_999_999));
        out.push(link(format!("times/l{n}"), "t").at(sec, 1));
        out.push(file(format!("times/d{n}/inside"), "t", 0o644));
    }
    for name in [
        &b"\xff\xfe not utf-8 \x80"[..],
        &[b'n'; 255],
        b"new\nline",
        b"back\\slash",
        b"end\\",
        b"-rf",
        b" lead and trail ",
        b"tab\t\x1b[31m",
        b"#hash",
        b"a=b",
        b"*?[]",
        b"...",
        b"wh.",
        "\u{e9}t\u{e9}".as_bytes(),
        b"type=dir",
    ] {
        out.push(file([b"names/", name].concat(), "n", 0o644));
        out.push(dir([b"names/d", &name[..name.len().min(254)]].concat(), 0o755));
    }
    let mut deep = b"names".to_vec();
    while deep.len() < 4200 {
        deep = [deep.as_slice(), b"/", &[b'd'; 250]].concat();
        out.push(dir(&deep, 0o755).owned(1, 2));
    }
    out.push(file([deep.as_slice(), b"/f"].concat(), "deep", 0o644).owned(3, 4));
    out
}

/// The directory that holds `path`, opened step by step since the whole may be too long for one call, and the name.
fn open_parent(root: &Path, path: &[u8]) -> (OwnedFd, Vec<u8>) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(root, flags, Mode::empty()).expect("root");
    let (above, name) = match path.iter().rposition(|&c| c == b'/') {
        Some(cut) => (&path[..cut], &path[cut + 1..]),
        None => (&b""[..], path),
    };
    for part in above.split(|&c| c == b'/').filter(|p| !p.is_empty()) {
        at = rustix::fs::openat(&at, part, flags, Mode::empty()).expect("directory");
    }
    (at, name.to_vec())
}

fn proc_path(dir: &OwnedFd, name: &[u8]) -> PathBuf {
    use std::os::fd::AsRawFd;
    Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(OsStr::from_bytes(name))
}

/// Makes all of it below `root`.
fn build(root: &Path, things: &[Thing]) {
    std::fs::create_dir(root).expect("root");
    for t in things {
        let what = String::from_utf8_lossy(&t.path);
        let (parent, name) = open_parent(root, &t.path);
        let name = name.as_slice();
        if t.hard {
            let (from, from_name) = open_parent(root, &t.data);
            rustix::fs::linkat(&from, from_name.as_slice(), &parent, name, AtFlags::empty()).expect(&what);
            continue;
        }
        let mode = Mode::from_raw_mode(0o700);
        match t.kind {
            FileType::Directory => rustix::fs::mkdirat(&parent, name, mode),
            FileType::Symlink => rustix::fs::symlinkat(t.data.as_slice(), &parent, name),
            FileType::RegularFile => {
                std::fs::write(proc_path(&parent, name), &t.data).expect(&what);
                Ok(())
            }
            kind => rustix::fs::mknodat(&parent, name, kind, mode, makedev(t.device.0, t.device.1)),
        }
        .expect(&what);
        let owner = (
            rustix::fs::Uid::from_raw(t.owner.0),
            rustix::fs::Gid::from_raw(t.owner.1),
        );
        rustix::fs::chownat(
            &parent,
            name,
            Some(owner.0),
            Some(owner.1),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .expect(&what);
        let path = proc_path(&parent, name);
        // Directories get theirs when all is in them.
        for (attribute, value) in &t.xattrs {
            if t.kind != FileType::Directory {
                rustix::fs::lsetxattr(&path, *attribute, value, XattrFlags::empty()).expect(attribute);
            }
        }
        if t.kind != FileType::Symlink {
            rustix::fs::chmod(&path, Mode::from_raw_mode(t.mode)).expect(&what);
        }
    }
    for t in things.iter().rev().filter(|t| !t.hard) {
        let (parent, name) = open_parent(root, &t.path);
        let path = proc_path(&parent, &name);
        if t.kind == FileType::Directory {
            for (attribute, value) in &t.xattrs {
                rustix::fs::lsetxattr(&path, *attribute, value, XattrFlags::empty()).expect(attribute);
            }
            rustix::fs::chmod(&path, Mode::from_raw_mode(t.mode)).expect("chmod");
        }
        let times = Timestamps {
            last_access: t.time,
            last_modification: t.time,
        };
        rustix::fs::utimensat(&parent, name.as_slice(), &times, AtFlags::SYMLINK_NOFOLLOW).expect("times");
    }
    let now = Timespec {
        tv_sec: 1_234_567_890,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    rustix::fs::utimensat(rustix::fs::CWD, root, &times, AtFlags::SYMLINK_NOFOLLOW).expect("times");
}

/// A room in memory, which has all extended attributes and times, with `tree` and `img:latest` made from it.
fn room() -> Option<Env> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let env = Env::in_memory();
    build(&env.path("tree"), &zoo());
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img"]).ok();
    env.umoci(["insert", "--image", "img", "tree", "/"]).ok();
    Some(env)
}

/// The tree with `change` made to each entry; an entry that it drops is gone.
fn changed(tree: &Tree, change: impl Fn(&Path, &mut TreeEntry)) -> Tree {
    let mut out = BTreeMap::new();
    for (path, entry) in &tree.0 {
        let mut entry = entry.clone();
        change(path, &mut entry);
        out.insert(path.clone(), entry);
    }
    Tree(out)
}

/// Whether the last step of an image made no layer.
fn was_empty(env: &Env, tag: &str) -> bool {
    let out = env
        .umoci(["stat", "--json", "--image", &format!("img:{tag}")])
        .ok();
    let stat: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    stat["history"].as_array().expect("history").last().expect("step")["empty_layer"] == true
}

#[test]
fn root_gets_everything_back() {
    let Some(env) = room() else { return };
    let tree = Tree::read(&env.path("tree"));
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    Tree::read(&env.path("b/rootfs")).assert_same(&tree, "unpacked");
    env.umoci(["repack", "--image", "img:same", "b"]).ok();
    assert!(was_empty(&env, "same"), "nothing changed");
    // All again in one layer over the old one, through the packing of changes: every mode and time differs once.
    env.umoci(["new", "--image", "img:blank"]).ok();
    env.umoci(["unpack", "--image", "img:blank", "c"]).ok();
    env.sh("rmdir c/rootfs");
    build(&env.path("c/rootfs"), &zoo());
    env.umoci(["repack", "--image", "img:again", "c"]).ok();
    env.umoci(["raw", "unpack", "--image", "img:again", "r"]).ok();
    Tree::read(&env.path("r")).assert_same(&tree, "repacked");
}

#[test]
fn a_map_of_owners_moves_all_users_and_nothing_else() {
    let Some(env) = room() else { return };
    let tree = Tree::read(&env.path("tree"));
    let maps = ["--uid-map", "0:100000:65536", "--gid-map", "0:200000:65536"];
    env.umoci([&["unpack", "--image", "img"][..], &maps, &["b"]].concat())
        .ok();
    let mapped = changed(&tree, |_, e| {
        e.owner = (e.owner.0 + 100_000, e.owner.1 + 200_000);
        for (name, value) in &mut e.xattrs {
            if name.starts_with("system.posix_acl") {
                // The second entry is of a user.
                let id = u32::from_le_bytes(value[16..20].try_into().expect("id"));
                value[16..20].copy_from_slice(&(id + 100_000).to_le_bytes());
            } else if name == "security.capability" {
                value[3] = 3;
                value.extend_from_slice(&100_000_u32.to_le_bytes());
            }
        }
    });
    Tree::read(&env.path("b/rootfs")).assert_same(&mapped, "mapped");
    env.umoci(["repack", "--image", "img:same", "b"]).ok();
    assert!(was_empty(&env, "same"), "nothing changed");
    env.umoci([&["insert", "--image", "img:new"][..], &maps, &["b/rootfs", "/"]].concat())
        .fails();
    env.umoci(["new", "--image", "img:new"]).ok();
    env.umoci([&["insert", "--image", "img:new"][..], &maps, &["b/rootfs", "/"]].concat())
        .ok();
    env.umoci(["raw", "unpack", "--image", "img:new", "r"]).ok();
    Tree::read(&env.path("r")).assert_same(&tree, "mapped back");
}

/// What a tree is like that somebody unpacked who may not give files away: owners in an attribute, empty files for
/// devices.
fn rootless(tree: &Tree, (uid, gid): (u32, u32), privileged: bool) -> Tree {
    changed(tree, |_, e| {
        if e.owner != (0, 0) && matches!(e.kind.as_str(), "file" | "dir" | "device") {
            let value = umoci::internals::encode_rootless(e.owner.0, e.owner.1).expect("not root's");
            e.xattrs.insert("user.rootlesscontainers".to_owned(), value);
        }
        if e.kind == "device" {
            "file".clone_into(&mut e.kind);
            e.content = umoci::digest::Digest::sha256(b"").to_string();
        }
        e.owner = (uid, gid);
        if !privileged {
            e.xattrs
                .retain(|name, _| !name.starts_with("trusted.") && !name.starts_with("security."));
        }
    })
}

/// What becomes of it when it is packed again: owners are back, but for links and pipes.
fn from_rootless(tree: &Tree, privileged: bool) -> Tree {
    changed(tree, |_, e| {
        if e.kind == "device" {
            "file".clone_into(&mut e.kind);
            e.content = umoci::digest::Digest::sha256(b"").to_string();
        }
        if matches!(e.kind.as_str(), "link" | "fifo") {
            e.owner = (0, 0);
        }
        if !privileged {
            e.xattrs
                .retain(|name, _| !name.starts_with("trusted.") && !name.starts_with("security."));
        }
    })
}

#[test]
fn rootless_as_root_keeps_owners_in_an_attribute() {
    let Some(env) = room() else { return };
    let tree = Tree::read(&env.path("tree"));
    env.umoci(["unpack", "--rootless", "--image", "img", "b"]).ok();
    Tree::read(&env.path("b/rootfs")).assert_same(&rootless(&tree, (0, 0), true), "unpacked");
    env.umoci(["repack", "--image", "img:same", "b"]).ok();
    assert!(was_empty(&env, "same"), "nothing changed");
    env.umoci(["new", "--image", "img:new"]).ok();
    env.umoci(["insert", "--rootless", "--image", "img:new", "b/rootfs", "/"])
        .ok();
    env.umoci(["raw", "unpack", "--image", "img:new", "r"]).ok();
    Tree::read(&env.path("r")).assert_same(&from_rootless(&tree, true), "packed");
}

#[test]
fn a_plain_user_keeps_all_but_what_only_root_may_set() {
    let Some(env) = room() else { return };
    let tree = Tree::read(&env.path("tree"));
    hand_over(&env);
    let plain = |words: &str| plain(&env, words);
    plain("unpack --rootless --image img b");
    let mine = (PLAIN, PLAIN);
    Tree::read(&env.path("b/rootfs")).assert_same(&rootless(&tree, mine, false), "unpacked");
    plain("repack --image img:same b");
    assert!(was_empty(&env, "same"), "nothing changed");
    Tree::read(&env.path("b/rootfs")).assert_same(&rootless(&tree, mine, false), "looked at");
    // The same layer once more over what is there, read-only and locked directories included.
    plain("raw unpack --rootless --image img again");
    plain("raw unpack --rootless --image img again");
    Tree::read(&env.path("again")).assert_same(&rootless(&tree, mine, false), "unpacked over itself");
    plain("new --image img:new");
    plain("insert --rootless --image img:new b/rootfs /");
    Tree::read(&env.path("b/rootfs")).assert_same(&rootless(&tree, mine, false), "packed, and as it was");
    env.umoci(["raw", "unpack", "--image", "img:new", "r"]).ok();
    Tree::read(&env.path("r")).assert_same(&from_rootless(&tree, false), "packed");
}

/// Runs the program, which is `./program`, as the plain user.
fn plain(env: &Env, words: &str) -> String {
    let user = PLAIN.to_string();
    let mut all = vec!["--reuid", &user, "--regid", &user, "--clear-groups", "./program"];
    all.extend(words.split(' '));
    env.run("setpriv", all).ok()
}

/// Gives the room to the plain user, and the program.
fn hand_over(env: &Env) {
    let program = env!("CARGO_BIN_EXE_umoci");
    env.sh(&format!(
        "cp {program} program; chown -R {PLAIN}:{PLAIN} img program; chown {PLAIN}:{PLAIN} ."
    ));
}

#[test]
fn a_plain_user_changes_read_only_directories_as_later_layers_say() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let env = Env::in_memory();
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img"]).ok();
    let dir = |tar: Tar, name: &[u8], mode: &[u8; 7], xattrs: &[(&str, &[u8])]| {
        let tar = if xattrs.is_empty() { tar } else { tar.pax(xattrs) };
        tar.entry(name, b'5', b"", |b| {
            b[100..107].copy_from_slice(mode);
            b[108..115].copy_from_slice(b"0000007");
        })
    };
    let old: (&str, &[u8]) = ("SCHILY.xattr.user.old", b"1");
    let new: (&str, &[u8]) = ("SCHILY.xattr.user.new", b"2");
    let mut lower = Tar::new();
    for name in [&b"wider"[..], b"narrower", b"other"] {
        lower = dir(lower, name, b"0000555", &[old]).list(&["f wider/f=1"]);
    }
    let upper = dir(Tar::new(), b"wider", b"0000755", &[new]);
    let upper = dir(upper, b"narrower", b"0000000", &[new]);
    let upper = dir(upper, b"other", b"0000511", &[]).list(&["f other/f=1"]);
    for (name, tar) in [("lower", lower), ("upper", upper)] {
        env.write(name, tar.end());
        env.umoci(["raw", "add-layer", "--image", "img", name]).ok();
    }
    hand_over(&env);
    plain(&env, "unpack --rootless --image img b");
    let tree = Tree::read(&env.path("b/rootfs"));
    let owner = (
        "user.rootlesscontainers".to_owned(),
        umoci::internals::encode_rootless(7, 0).expect("xattr"),
    );
    for (name, mode, xattr) in [
        ("wider", 0o755, true),
        ("narrower", 0, true),
        ("other", 0o511, false),
    ] {
        let entry = &tree.0[Path::new(name)];
        let mut want = BTreeMap::from([owner.clone()]);
        if xattr {
            want.insert("user.new".to_owned(), b"2".to_vec());
        }
        assert_eq!((entry.mode, &entry.xattrs), (mode, &want), "{name}");
    }
}

/// Adds `tar` to `img:latest` as it is.
fn add_layer(env: &Env, tar: Tar) {
    env.write("layer.tar", tar.end());
    env.umoci(["raw", "add-layer", "--image", "img", "layer.tar"])
        .ok();
}

fn blank() -> Option<Env> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let env = Env::in_memory();
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img"]).ok();
    Some(env)
}

#[test]
fn times_of_a_layer_are_kept_to_the_nanosecond_whatever_is_made_later() {
    let Some(env) = blank() else { return };
    let mut tar = Tar::new();
    let records: [(&str, &[u8]); 2] = [("mtime", b"-5.000000001"), ("atime", b"8589934592.999999999")];
    for (name, flag) in [
        (&b"."[..], b'5'),
        (b"d", b'5'),
        (b"d/f", b'0'),
        (b"d/e", b'5'),
        (b"l", b'2'),
        (b"p", b'6'),
        (b"c", b'3'),
    ] {
        tar = tar
            .pax(&records)
            .entry(name, flag, b"", |b| b[157..162].copy_from_slice(b"to/no"));
    }
    let large = vec![b'x'; 400_000];
    tar = tar.pax(&records).entry(b"large", b'0', &large, |_| ());
    add_layer(&env, tar);
    // Children that come and go later leave the time of a directory alone.
    add_layer(
        &env,
        Tar::new().list(&["f d/later=1", "w d/f", "h d/e/link=large", "o d/e", "f top=1"]),
    );
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.umoci(["raw", "unpack", "--image", "img", "r"]).ok();
    for tree in ["b/rootfs", "r"] {
        for name in [".", "d", "d/e", "l", "p", "c", "large"] {
            let meta = std::fs::symlink_metadata(env.path(tree).join(name)).expect(name);
            assert_eq!(
                (meta.mtime(), meta.mtime_nsec()),
                (-6, 999_999_999),
                "{tree}/{name}"
            );
            if matches!(name, "p" | "c" | "large") {
                let atime = (meta.atime(), meta.atime_nsec());
                assert_eq!(atime, (8_589_934_592, 999_999_999), "{tree}/{name}");
            }
        }
    }
}

#[test]
fn what_a_layer_says_of_extended_attributes_is_done_but_for_those_of_the_host() {
    let Some(env) = blank() else { return };
    let big = vec![0xa5; 65_536];
    let records: [(&str, &[u8]); 6] = [
        ("SCHILY.xattr.security.selinux", b"image_t"),
        ("SCHILY.xattr.system.nfs4_acl", b"x"),
        ("SCHILY.xattr.user.big", &big),
        ("SCHILY.xattr.user.empty", b""),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("LIBARCHIVE.xattr.user.lib", b"AA=="),
    ];
    let tar = Tar::new().pax(&records).entry(b"f", b'0', b"x", |_| ());
    add_layer(&env, tar.pax(&records).entry(b"d", b'5', b"", |_| ()));
    let out = env.umoci(["unpack", "--image", "img", "b"]);
    for name in ["security.selinux", "system.nfs4_acl"] {
        assert!(
            out.stderr
                .contains(&format!("xattr{{f}} ignoring forbidden xattr \"{name}\"")),
            "{}",
            out.stderr
        );
    }
    out.ok();
    let tree = Tree::read(&env.path("b/rootfs"));
    for name in ["f", "d"] {
        let xattrs = &tree.0[Path::new(name)].xattrs;
        let names: Vec<&str> = xattrs.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["trusted.overlay.opaque", "user.big", "user.empty", "user.lib"],
            "{name}"
        );
        assert!(xattrs["user.big"] == big && xattrs["user.lib"] == [0] && xattrs["user.empty"].is_empty());
    }
    env.umoci(["repack", "--image", "img:same", "b"]).ok();
    assert!(was_empty(&env, "same"));
    // A layer cannot hold an empty value.
    env.sh("touch b/rootfs/f b/rootfs/d");
    let out = env.umoci(["repack", "--image", "img:new", "b"]);
    assert!(
        out.stderr
            .contains("a layer cannot hold the empty value of \"user.empty\""),
        "{}",
        out.stderr
    );
    out.ok();
    env.umoci(["raw", "unpack", "--image", "img:new", "r"]).ok();
    let packed = changed(&Tree::read(&env.path("b/rootfs")), |_, e| {
        e.xattrs.remove("user.empty");
    });
    Tree::read(&env.path("r")).assert_same(&packed, "packed");
    // A user's attribute on a link is what the kernel refuses everybody.
    let tar = Tar::new().pax(&[("SCHILY.xattr.user.x", b"y")]);
    add_layer(&env, tar.entry(b"l", b'2', b"", |b| b[157] = b't'));
    let out = env.umoci(["unpack", "--image", "img", "c"]);
    assert_eq!(out.code, Some(1));
    let why = "unpack entry l: set extended attribute \"user.x\": operation not permitted";
    assert!(out.stderr.contains(why), "{}", out.stderr);
}

#[test]
fn an_edit_of_one_name_of_a_file_leaves_all_names_one_file() {
    let Some(env) = blank() else { return };
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.sh("cd b/rootfs; mkdir d z; echo 1 >d/m; ln d/m a; ln d/m z/z; ln -s to s; ln s d/s; find . -exec touch -hd @5 {} +");
    env.umoci(["repack", "--refresh-bundle", "--image", "img", "b"])
        .ok();
    for (what, script) in [
        ("written in place", "echo 2 >d/m"),
        ("appended to by its last name", "echo 3 >>z/z"),
        ("another mode", "chmod 4711 a"),
        ("another owner", "chown 7:8 z/z"),
        ("another time", "touch -d @77 d/m"),
        ("an attribute", "setfattr -n user.x -v y a"),
        ("no attribute", "setfattr -x user.x z/z"),
        ("the time of a link", "touch -hd @78 d/s"),
        ("one name less", "rm d/m"),
        ("one name more", "ln a d/n"),
        ("a name moved", "mv a z/a"),
        ("a name replaced by a copy", "cp -p z/a c; mv c z/a"),
        ("and linked again", "ln -f z/z z/a"),
        (
            "all names replaced",
            "echo 9 >n; ln -f n z/a; ln -f n z/z; ln -f n d/n; rm n",
        ),
    ] {
        env.sh(&format!("cd b/rootfs; {script}"));
        env.umoci(["repack", "--refresh-bundle", "--image", "img", "b"])
            .ok();
        env.umoci(["raw", "unpack", "--image", "img", "r"]).ok();
        Tree::read(&env.path("r")).assert_same(&Tree::read(&env.path("b/rootfs")), what);
        env.sh("rm -r r");
    }
}

#[test]
#[ignore = "hashes 9 GiB several times: run by tests/all.sh"]
fn a_file_of_more_than_eight_gibibytes_keeps_its_size_and_its_holes() {
    let Some(env) = blank() else { return };
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.sh("cd b/rootfs; echo begin >huge; truncate -s 9G huge; echo end >>huge; touch -d @5 huge");
    env.umoci(["repack", "--compress", "zstd", "--image", "img:new", "b"])
        .ok();
    env.umoci(["raw", "unpack", "--image", "img:new", "r"]).ok();
    let meta = std::fs::metadata(env.path("r/huge")).expect("huge");
    assert_eq!((meta.len(), meta.mtime()), ((9 << 30) + 4, 5));
    assert!(meta.blocks() * 512 < 2 << 20, "{} blocks", meta.blocks());
    assert_eq!(env.sh("head -n 1 r/huge; tail -c 4 r/huge"), "begin\nend\n");
    // The same as old GNU tar would store it.
    env.sh("cd r; tar --format=gnu --sparse -cf ../sparse.tar huge");
    env.umoci(["raw", "add-layer", "--image", "img", "sparse.tar"])
        .ok();
    let why = env.umoci(["-q", "raw", "unpack", "--image", "img", "s"]).fails();
    assert!(why.ends_with("--limit sparse=BYTES raises it"), "{why}");
    let limit = format!("sparse={}", 10_u64 << 30);
    env.umoci(["raw", "unpack", "--image", "img", "--limit", &limit, "s"])
        .ok();
    env.sh("cmp r/huge s/huge");
    let meta = std::fs::metadata(env.path("s/huge")).expect("huge");
    assert_eq!((meta.len(), meta.mtime()), ((9 << 30) + 4, 5));
    assert!(meta.blocks() * 512 < 2 << 20, "{} blocks", meta.blocks());
}
