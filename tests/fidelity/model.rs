// SPDX-License-Identifier: Apache-2.0
//! Random trees and random edits of them: what is repacked and unpacked elsewhere is the same tree, and what was not
//! changed makes no layer.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev};
use umoci::bundle::{Bundle, RepackOptions, UnpackOptions, repack, unpack};
use umoci::image::{Edit, Image, Target};
use umoci::progress::Silent;
use umoci::spec::{Compression, RefName};
use umoci::store::{Store, StoreOptions};

use crate::support::{Env, Tree};

/// What to do, to which of the paths that are there, under which name, and how.
type Op = (u8, u16, u8, u16);

const NAMES: [&[u8]; 8] = [
    b"a",
    b"b",
    b"c",
    b"-r",
    b"\xff\xfe",
    b"new\nline",
    b"back\\",
    b" #=*",
];

const TARGETS: [&str; 5] = ["a", "../b", "/c/../a", "no\\such\n", "."];

/// A tree that is edited.
struct Edits {
    root: PathBuf,
    /// Every file that is made or written gets a content and a time of its own, so that no two can be mistaken.
    count: i64,
}

impl Edits {
    fn paths(&self) -> Vec<PathBuf> {
        let mut out = vec![self.root.clone()];
        let mut at = 0;
        while at < out.len() {
            if fs::symlink_metadata(&out[at]).expect("stat").is_dir() {
                let entries = fs::read_dir(&out[at]).expect("directory");
                let mut below: Vec<PathBuf> = entries.map(|e| e.expect("entry").path()).collect();
                below.sort();
                out.extend(below);
            }
            at += 1;
        }
        out
    }

    fn stamp(&mut self, path: &Path) {
        self.count += 1;
        set_mtime(path, 1_000_000_000 + self.count, 0);
    }

    fn content(&self, how: u16) -> Vec<u8> {
        let size = match how % 50 {
            0 => 300_000,
            n => usize::from(n) * 7,
        };
        format!("{} ", self.count).bytes().cycle().take(size).collect()
    }

    fn apply(&mut self, (op, which, name, how): Op) {
        let paths = self.paths();
        let pick = |wanted: &dyn Fn(&fs::Metadata) -> bool| -> Option<PathBuf> {
            let fits = |p: &&PathBuf| wanted(&fs::symlink_metadata(p).expect("stat"));
            let all: Vec<&PathBuf> = paths.iter().filter(fits).collect();
            all.get(usize::from(which) % all.len().max(1))
                .map(|p| (*p).clone())
        };
        let parent = pick(&fs::Metadata::is_dir).expect("the root");
        let new = parent.join(std::ffi::OsStr::from_bytes(
            NAMES[usize::from(name) % NAMES.len()],
        ));
        let deep = new.components().count() > self.root.components().count() + 4;
        let there = fs::symlink_metadata(&new);
        match op {
            0..=6 if deep => {}
            0 | 1 if !there.as_ref().is_ok_and(fs::Metadata::is_dir) => {
                let _ = fs::remove_file(&new);
                fs::write(&new, self.content(how)).expect("write");
                self.stamp(&new);
            }
            2 if there.is_err() => {
                fs::create_dir(&new).expect("mkdir");
                self.stamp(&new);
            }
            3 if there.is_err() => {
                std::os::unix::fs::symlink(TARGETS[usize::from(how) % TARGETS.len()], &new).expect("symlink");
                self.stamp(&new);
            }
            4 if there.is_err() => {
                if let Some(from) = pick(&|m| !m.is_dir()) {
                    fs::hard_link(from, &new).expect("link");
                }
            }
            5 if there.is_err() => {
                let kind =
                    [FileType::Fifo, FileType::CharacterDevice, FileType::BlockDevice][usize::from(how) % 3];
                let device = makedev(u32::from(how) % 5, u32::from(how) % 300);
                let device = if kind == FileType::Fifo { 0 } else { device };
                rustix::fs::mknodat(CWD, &new, kind, Mode::from_raw_mode(0o640), device).expect("mknod");
                self.stamp(&new);
            }
            6 => {
                // Whatever is there gives way to something of another type.
                match there {
                    Ok(m) if m.is_dir() => {
                        fs::remove_dir_all(&new).expect("remove");
                        fs::write(&new, self.content(how)).expect("write");
                    }
                    Ok(_) => {
                        fs::remove_file(&new).expect("remove");
                        fs::create_dir(&new).expect("mkdir");
                        fs::write(new.join("inside"), self.content(how)).expect("write");
                    }
                    Err(_) => return,
                }
                self.stamp(&new);
            }
            _ => self.change((op, which, name, how), &paths, &new),
        }
    }

    /// Changes something that is there.
    fn change(&mut self, (op, which, _, how): Op, paths: &[PathBuf], new: &Path) {
        let at = &paths[usize::from(which) % paths.len()];
        let Ok(meta) = fs::symlink_metadata(at) else {
            return;
        };
        match op {
            7 | 8 if *at != self.root => {
                if meta.is_dir() {
                    fs::remove_dir_all(at).expect("remove");
                } else {
                    fs::remove_file(at).expect("remove");
                }
            }
            9 if *at != self.root && fs::symlink_metadata(new).is_err() && !new.starts_with(at) => {
                fs::rename(at, new).expect("rename");
            }
            10 if !meta.is_symlink() => {
                fs::set_permissions(at, fs::Permissions::from_mode(u32::from(how) & 0o7777)).expect("chmod");
            }
            11 => {
                std::os::unix::fs::lchown(at, Some(u32::from(how % 3)), Some(u32::from(how % 5)))
                    .expect("chown");
            }
            12 if meta.is_file() || meta.is_dir() => {
                let name = ["user.a", "user.b", "user.c"][usize::from(how) % 3];
                let value = vec![how as u8; 1 + usize::from(how) % 300];
                rustix::fs::lsetxattr(at, name, &value, XattrFlags::empty()).expect("set attribute");
            }
            13 if meta.is_file() || meta.is_dir() => {
                let name = ["user.a", "user.b", "user.c"][usize::from(how) % 3];
                let _ = rustix::fs::lremovexattr(at, name);
            }
            14 if meta.is_file() => {
                use std::io::Write as _;
                let mut file = fs::OpenOptions::new().append(true).open(at).expect("open");
                file.write_all(&self.content(how)).expect("append");
            }
            15 => {
                let sec = [-5, 0, 1 << 31, 1 << 33, i64::from(how)][usize::from(how) % 5];
                set_mtime(at, sec, i64::from(how));
            }
            // Written in place, with the size and the time of before.
            16 if meta.is_file() && meta.len() > 0 => {
                let mut bytes = fs::read(at).expect("read");
                bytes[usize::from(how) % meta.len() as usize] ^= 1;
                fs::write(at, bytes).expect("write");
                set_mtime(at, meta.mtime(), meta.mtime_nsec());
            }
            _ => {}
        }
    }
}

fn set_mtime(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("times");
}

struct Room {
    env: Env,
    store: Store,
    tag: RefName,
}

impl Room {
    fn new() -> Self {
        let env = Env::in_memory();
        let store = Store::create(&env.path("img"), StoreOptions::default()).expect("store");
        let tag: RefName = "a".parse().expect("tag");
        let mut txn = store.begin("test").expect("begin");
        Edit::blank("2026-01-02T03:04:05Z".to_owned())
            .apply(&mut txn, &tag)
            .expect("blank image");
        txn.commit().expect("commit");
        Self { env, store, tag }
    }

    fn unpack(&self, name: &str) -> Bundle {
        let image = Image::find(&self.store, &Target::Name(self.tag.clone()), None).expect("image");
        unpack(
            &self.store,
            &image,
            &self.env.path(name),
            &UnpackOptions::default(),
            &Silent,
        )
        .expect("unpack")
    }

    /// Whether there was something to make a layer of.
    fn repack(&self, bundle: &Bundle) -> bool {
        let options = RepackOptions {
            refresh: true,
            compression: Some(Compression::None),
            ..RepackOptions::default()
        };
        repack(&self.store, bundle, &self.tag, |_| Ok(None), &options, &Silent)
            .expect("repack")
            .changed
    }
}

/// How many random cases to try.
pub(super) fn cases(default: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(default)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(200), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_edit_of_any_tree_survives(
        rounds in prop::collection::vec(
            prop::collection::vec((0..17_u8, any::<u16>(), 0..8_u8, any::<u16>()), 1..25),
            1..4,
        ),
    ) {
        if rustix::process::geteuid().is_root() {
            let room = Room::new();
            let mut bundle = room.unpack("b");
            let mut edits = Edits { root: bundle.rootfs(), count: 0 };
            for (n, ops) in rounds.into_iter().enumerate() {
                for op in ops {
                    edits.apply(op);
                }
                let edited = Tree::read(&bundle.rootfs());
                room.repack(&bundle);
                prop_assert!(!room.repack(&bundle), "round {n}: a tree that was just packed has changed");
                let next = room.unpack(&format!("b{n}"));
                let unpacked = Tree::read(&next.rootfs());
                prop_assert!(unpacked == edited, "round {n}: {}", edited.differences(&unpacked));
                prop_assert!(!room.repack(&next), "round {n}: a tree that was just unpacked has changed");
                // The next round is on the tree that was changed, or on the one that came out of the image.
                if n % 2 == 0 {
                    edits.root = next.rootfs();
                    bundle = next;
                }
            }
        }
    }
}
