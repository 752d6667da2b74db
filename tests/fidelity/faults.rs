// SPDX-License-Identifier: Apache-2.0
//! Every system call that changes something fails in turn, whoever made it: the command says what could not be done
//! where, or does without; the layout stays whole, and the same command succeeds afterwards.
//!
//! strace makes the calls fail. It counts them by thread, so in each run the Nth call of one kind fails in every
//! thread that gets so far.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::crash::{Tags, check, collect, fsck, in_parallel};
use crate::support::{Env, Tree};

const CALLS: &str = "write,pwrite64,fsync,fdatasync,syncfs,rename,renameat,renameat2,mkdir,mkdirat,link,linkat,\
    symlink,symlinkat,setxattr,lsetxattr,fsetxattr,mknodat,unlink,unlinkat,rmdir,ftruncate,chmod,fchmod,fchmodat,\
    chown,fchown,fchownat,lchown,utimensat,openat";

const ERRORS: [(&str, &str); 4] = [
    ("ENOSPC", "no space left on device"),
    ("EIO", "input/output error"),
    ("EPERM", "operation not permitted"),
    ("EINTR", "interrupted system call"),
];

/// Commands, what is made ready for them in a copy of the room, and the tree that they write.
const JOBS: [(&str, &str, Option<&str>); 7] = [
    ("unpack --image img b2", "", Some("b2/rootfs")),
    ("raw unpack --image img r", "", Some("r")),
    ("raw unpack --image img r", "cp -a old r", Some("r")),
    ("repack --refresh-bundle --image img:new b", "", None),
    ("tag --image img other", "", None),
    ("rm --image img:second", "", None),
    ("gc --layout img", "", None),
];

/// A layout with a tree of every kind of file in two layers, garbage, a changed bundle, and an older tree.
fn room() -> Env {
    let env = Env::in_memory().var("SOURCE_DATE_EPOCH", "1700000000");
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img"]).ok();
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.sh(
        "cd b/rootfs; mkdir -p d/e gone; echo small >d/small; head -c 400000 /dev/urandom >d/large; ln d/small d/e/hard
         ln -s small d/soft; mkfifo d/fifo; mknod d/null c 1 3; setfattr -n user.x -v y d/small; setfattr -n user.y -v z d/e
         touch gone/file replaced; chmod 555 d/e; find . -exec touch -hd @1600000000 {} +",
    );
    env.umoci(["repack", "--refresh-bundle", "--image", "img", "b"])
        .ok();
    env.umoci(["raw", "unpack", "--image", "img", "old"]).ok();
    env.sh("cd b/rootfs; rm -r gone replaced; mkdir replaced; echo new >replaced/file; echo more >>d/e/hard");
    env.umoci(["repack", "--refresh-bundle", "--image", "img", "b"])
        .ok();
    for tag in ["second", "garbage"] {
        env.umoci(["config", "--image", "img", "--tag", tag, "--config.user", tag])
            .ok();
    }
    env.umoci(["rm", "--image", "img:garbage"]).ok();
    env.sh("cd b/rootfs; echo 7 >d/small; rm d/soft; mkdir n; head -c 300000 /dev/urandom >n/big; ln n/big n/again");
    env
}

/// The calls that a command makes, with how often the busiest thread makes each; of `openat` only those that make a
/// file count, by their place among all.
fn count(log: &str) -> Vec<(String, usize)> {
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut out: Vec<(String, usize)> = Vec::new();
    for line in log.lines() {
        let (thread, call) = line.split_once(' ').unwrap_or_default();
        let Some((name, _)) = call.trim_start().split_once('(') else {
            continue;
        };
        let n = seen.entry((thread, name)).or_default();
        *n += 1;
        let step = (name.to_owned(), *n);
        if (name != "openat" || call.contains("O_CREAT")) && !out.contains(&step) {
            out.push(step);
        }
    }
    out.sort();
    out
}

/// The calls that were made to fail; one that another thread's line has cut in two is the line that names the path and
/// the line that says so.
fn injected(log: &str) -> Vec<&str> {
    let thread = |line: &str| line.split(' ').next().map(str::to_owned);
    let mut begun: BTreeMap<Option<String>, &str> = BTreeMap::new();
    let mut out = Vec::new();
    for line in log.lines() {
        if line.ends_with("<unfinished ...>") {
            begun.insert(thread(line), line);
        } else if line.contains("(INJECTED)") {
            out.extend(begun.remove(&thread(line)).filter(|_| line.contains(" resumed>")));
            out.push(line);
        }
    }
    out
}

/// Whether `said`, one line of an error, says `text` of one of the paths in the calls that were made to fail.
fn names_a_path(said: &str, text: &str, injected: &str) -> bool {
    // What is reached through a descriptor, or has no name yet, has none in the call; and stderr itself may have failed.
    if ["/proc/self/fd/", "/#", "write(2<"]
        .iter()
        .any(|mark| injected.contains(mark))
    {
        return true;
    }
    // A layout that cannot be written to is said to be one.
    if !said.contains(text) {
        return said.contains("it is not writable");
    }
    let words = injected
        .split(['"', '<', '>'])
        .filter(|w| w.contains('/') || !w.contains([' ', '(']));
    let names = words.filter_map(|w| Path::new(w).file_name()?.to_str());
    names
        .filter(|n| n.len() > 1 || n.starts_with(|c: char| c.is_alphabetic()))
        .any(|name| said.contains(name))
}

/// What `words` ends with in `dir`: code, and lines of stderr.
fn run(
    env: &Env,
    dir: &str,
    words: &str,
    inject: Option<(&str, usize, &str)>,
) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_umoci");
    let fault = inject.map_or_else(String::new, |(call, n, error)| {
        format!("-e inject={call}:error={error}:when={n}")
    });
    let script = format!(
        "cd {dir}; exec strace -f -qq -y --seccomp-bpf -o ../{dir}.log -e trace={CALLS} {fault} {program} {words}"
    );
    let out = env.run("/bin/bash", ["-c", &script]);
    let log = std::fs::read(env.path(format!("{dir}.log"))).expect("log");
    (out.code, out.stderr, String::from_utf8_lossy(&log).into_owned())
}

/// A command in a room, and what it comes to when nothing fails.
struct Job<'a> {
    env: &'a Env,
    words: &'a str,
    prepare: &'a str,
    tree: Option<&'a str>,
    tags: Tags,
    want: Option<Tree>,
    steps: Vec<(String, usize)>,
}

impl<'a> Job<'a> {
    fn new(env: &'a Env, (words, prepare, tree): (&'a str, &'a str, Option<&'a str>)) -> Self {
        let mut job = Job {
            env,
            words,
            prepare,
            tree,
            tags: Tags::new(),
            want: None,
            steps: Vec::new(),
        };
        let after = job.fresh("after");
        let (code, errors, log) = run(env, "after", words, None);
        assert_eq!(code, Some(0), "{words}: {errors}");
        job.tags = check(&after, words);
        job.want = tree.map(|t| Tree::read(&after.join(t)));
        job.steps = count(&log);
        env.sh("rm -r after");
        job
    }

    fn fresh(&self, dir: &str) -> PathBuf {
        let prepare = self.prepare;
        self.env.sh(&format!(
            "mkdir {dir}; cp -a img b old {dir}; cd {dir}; {prepare}"
        ));
        self.env.path(dir)
    }

    /// Makes one call fail; says whether any did.
    fn fail(&self, at: usize, name: &str) -> bool {
        let (call, nth) = &self.steps[at / ERRORS.len()];
        let (error, text) = ERRORS[at % ERRORS.len()];
        let dir = self.fresh(name);
        let (code, errors, log) = run(self.env, name, self.words, Some((call, *nth, error)));
        let injected = injected(&log).join("\n");
        let what = format!(
            "{}: {error}, {at} of {}\n{injected}\n{errors}code {code:?}",
            self.words,
            self.steps.len() * ERRORS.len()
        );
        if std::env::var_os("UMOCI_TEST_SHOW").is_some() {
            eprintln!("{what}\n");
        }
        // Zero: it was done without, or tried again.
        assert!(matches!(code, Some(0 | 1)), "{what}");
        let last = errors.lines().last().unwrap_or_default();
        assert!(
            code == Some(0) || names_a_path(last, text, &injected),
            "{what}: not named"
        );
        let tags = check(&dir, &what);
        fsck(&dir, &what);
        if code == Some(0) {
            assert!(tags.keys().eq(self.tags.keys()), "{what}: {tags:?}");
        } else {
            let left = dir.join("b2").exists() && self.words.contains("b2");
            assert!(
                !left || errors.contains("cannot remove"),
                "{what}: something is left"
            );
            if errors.contains("cannot remove") {
                self.env.sh(&format!("rm -rf {name}/b2 {name}/r"));
            }
            let (again, errors, _) = run(self.env, name, self.words, None);
            assert_eq!(again, Some(0), "{what}\nrerun: {errors}");
            assert!(check(&dir, &what).keys().eq(self.tags.keys()), "{what}: rerun");
        }
        if let (Some(tree), Some(want)) = (self.tree, &self.want) {
            Tree::read(&dir.join(tree)).assert_same(want, &what);
        }
        collect(&dir, &what);
        self.env.sh(&format!("rm -r {name} {name}.log"));
        !injected.is_empty()
    }
}

/// Makes every `stride`th call fail; returns how many did.
fn fail_in_turn(stride: usize) -> usize {
    let env = room();
    let failed = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    for (number, job) in JOBS.into_iter().enumerate() {
        let job = Job::new(&env, job);
        in_parallel(|n| {
            // Each job begins elsewhere, so that a stride leaves no kind of call out everywhere.
            let at = n * stride + number % stride;
            if at >= job.steps.len() * ERRORS.len() {
                return false;
            }
            match catch_unwind(AssertUnwindSafe(|| job.fail(at, &format!("{number}-{at}")))) {
                Ok(hit) => failed.fetch_add(usize::from(hit), Ordering::SeqCst),
                Err(why) => {
                    let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
                    wrong.lock().unwrap_or_else(PoisonError::into_inner).push(why);
                    0
                }
            };
            true
        });
    }
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(
        wrong.is_empty(),
        "{} are wrong, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n\n")
    );
    failed.into_inner()
}

fn possible() -> bool {
    let traced = std::process::Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .status();
    let possible = rustix::process::geteuid().is_root() && traced.is_ok_and(|status| status.success());
    assert!(
        possible || std::env::var_os("UMOCI_TEST_IMAGE").is_none(),
        "strace cannot trace here, and this test needs it"
    );
    if !possible {
        eprintln!("skipped: needs root, and strace that can trace");
    }
    possible
}

#[test]
fn a_call_that_fails_is_named_and_harms_nothing() {
    if possible() {
        let failed = fail_in_turn(19);
        assert!(failed > 60, "{failed} calls failed");
    }
}

#[test]
#[ignore = "takes minutes: run by tests/all.sh"]
fn any_call_that_fails_is_named_and_harms_nothing() {
    if possible() {
        let failed = fail_in_turn(1);
        assert!(failed > 1000, "{failed} calls failed");
    }
}
