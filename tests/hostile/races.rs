// SPDX-License-Identifier: Apache-2.0
//! Somebody who changes the tree while it is written or read.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Room, ways};
use crate::support::Tar;

/// Puts a link to `outside` in the place of `dir` and takes it away again, until told to stop.
fn swap(dir: &Path, outside: &Path, stop: &AtomicBool) -> usize {
    let aside = dir.with_extension("aside");
    let mut swapped = 0;
    while !stop.load(Ordering::Relaxed) {
        if std::fs::rename(dir, &aside).is_ok() {
            swapped += usize::from(symlink(outside, dir).is_ok());
            let _ = std::fs::remove_file(dir);
            let _ = std::fs::rename(&aside, dir);
        }
    }
    swapped
}

/// Runs `work` while `dir` is swapped for a link to what is outside.
fn while_swapped(room: &Room, dir: &str, work: impl FnOnce()) -> usize {
    while_swapped_for(room, dir, &room.env.path("outside/dir"), work)
}

fn while_swapped_for(room: &Room, dir: &str, target: &Path, work: impl FnOnce()) -> usize {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| swap(&room.env.path(dir), target, &stop));
        let running = Stop(&stop);
        work();
        drop(running);
        attacker.join().expect("attacker")
    })
}

#[test]
fn a_directory_that_becomes_a_link_while_it_is_filled_leads_nowhere() {
    let mut tar = Tar::new().list(&["d d"]);
    for n in 0..300 {
        tar = tar.list(&[
            &format!("f d/{n}=x"),
            &format!("d d/s{n}"),
            &format!("f d/s{n}/f=y"),
        ]);
    }
    let tar = tar.end();
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.image(std::slice::from_ref(&tar));
        // It may fail or not; nothing may come out of it.
        let swapped = while_swapped(&room, "work/b/rootfs/d", || drop(room.unpack(&[])));
        room.assert_untouched("race of an unpack");
        assert!(swapped > 0, "nobody attacked");
    }
}

#[test]
fn a_directory_that_becomes_a_link_while_it_is_packed_gives_nothing_away() {
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.env
            .sh("echo betrayed >outside/dir/f1; cp -a outside/dir/f1 outside/dir/f2");
        let room = room.begin_again();
        room.image(&[Tar::new().list(&["d d"]).end()]);
        room.unpack(&[]).ok();
        let swapped = (0..3)
            .map(|n| {
                room.env.sh(&format!(
                    "for i in $(seq 100); do echo {n} >work/b/rootfs/d/f$i; done"
                ));
                while_swapped(&room, "work/b/rootfs/d", || {
                    drop(room.umoci(&["repack", "--image", "img:new", "b"]));
                })
            })
            .sum::<usize>();
        assert!(swapped > 0, "nobody attacked");
        let found = room
            .env
            .sh("for b in work/img/blobs/sha256/*; do zcat -f $b | grep -l betrayed || true; done");
        assert_eq!(found, "", "{who:?}, {resolver}");
        room.assert_untouched("race of a repack");
    }
}

#[test]
fn a_directory_that_becomes_a_link_while_it_is_inserted_gives_nothing_away() {
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.env
            .sh("for i in $(seq 100); do echo betrayed >outside/dir/f$i; done; chmod -R a+rX outside");
        let room = room.begin_again();
        room.image(&[Tar::new().list(&["d d"]).end()]);
        room.env
            .sh("mkdir -p work/src/d work/secret; for i in $(seq 100); do echo mine >work/src/d/f$i; echo betrayed >work/secret/f$i; done");
        // Outside of the source, and of the directory that holds it.
        for (n, target) in [room.env.path("outside/dir"), "../secret".into()]
            .iter()
            .enumerate()
        {
            let swapped = while_swapped_for(&room, "work/src/d", target, || {
                for m in 0..3 {
                    let tag = format!("new{n}{m}");
                    let words = [
                        "insert",
                        "--image",
                        "img",
                        "--tag",
                        &tag,
                        "--rootless",
                        "src",
                        "/src",
                    ];
                    drop(room.umoci(&words));
                }
            });
            assert!(swapped > 0, "nobody attacked");
        }
        let found = room
            .env
            .sh("for b in work/img/blobs/sha256/*; do zcat -f $b | grep -l betrayed || true; done");
        assert_eq!(found, "", "{who:?}, {resolver}");
        room.assert_untouched("race of an insert");
    }
}

#[test]
fn a_directory_that_becomes_a_link_while_users_are_looked_up_names_nobody() {
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.env
            .sh("echo mallory:x:7:7::/:/bin/sh >outside/dir/passwd; chmod -R a+rX outside");
        let room = room.begin_again();
        room.image(&[Tar::new().list(&["d d"]).end()]);
        room.umoci(&["config", "--image", "img", "--config.user", "mallory"])
            .ok();
        room.env
            .sh("mkdir -p work/r/etc; echo root:x:0:0::/:/bin/sh >work/r/etc/passwd");
        let swapped = while_swapped(&room, "work/r/etc", || {
            for _ in 0..20 {
                let words = [
                    "raw",
                    "runtime-config",
                    "--image",
                    "img",
                    "--rootfs",
                    "r",
                    "c.json",
                ];
                let why = room.umoci(&words).fails();
                assert!(why.contains("mallory"), "{who:?}, {resolver}: {why}");
            }
        });
        assert!(swapped > 0, "nobody attacked");
        room.assert_untouched("race of a look at users");
    }
}
