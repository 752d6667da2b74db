// SPDX-License-Identifier: Apache-2.0
//! The program is killed at any step, and at any instant: nothing that was there or was reported is lost, and
//! everything goes on at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use umoci::digest::Digest;
use umoci::progress::Silent;
use umoci::store::{CheckOptions, Problem, Store, StoreOptions};

use crate::support::Image;

/// What each tag points at.
pub type Tags = BTreeMap<String, String>;

/// What the commands need, in a directory of its own, and the digest of an image in `img`.
///
/// `img` is the layout under test: `latest`, `base`, `second` and some garbage, with an index that knows them; `other`
/// has two images; `b` is a changed bundle; `src` has files.
fn room() -> (tempfile::TempDir, String) {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.sh("cp -a img other; echo changed >b/rootfs/etc/file; mkdir src; echo inserted >src/file");
    let config = |layout: &str, tag: &str| {
        env.umoci(["config", "--image", layout, "--tag", tag, "--config.user", tag])
            .ok()
    };
    config("other", "latest");
    config("other", "more");
    config("img", "second");
    config("img", "garbage");
    // What the bundle was made from stays, whatever happens to the other tags.
    env.umoci(["tag", "--image", "img", "base"]).ok();
    env.umoci(["gc", "--layout", "img"]).ok();
    env.umoci(["rm", "--image", "img:garbage"]).ok();
    // Nothing of this needs to survive the machine, and memory is quicker to sync.
    let memory = Path::new("/dev/shm");
    let quick = rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok();
    let dir = if quick {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .expect("dir");
    copy_parts(&env.path(""), dir.path());
    (dir, image.entry()["digest"].as_str().expect("digest").to_owned())
}

fn copy_parts(from: &Path, to: &Path) {
    for part in ["img", "other", "b", "src"] {
        copy(&from.join(part), &to.join(part));
    }
}

/// A layout whose index has the first schema.
const OLD_LAYOUT: &str = concat!(
    "rm -r img; tar -xzf '",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/layout-schema-1.tar.gz'; mv layout img"
);

/// A layout whose index has the schema of version 0.1.0, and of which another program took a tag away since.
const LAYOUT_OF_0_1_0: &str = concat!(
    "rm -r img; tar -xzf '",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/layout-schema-4.tar.gz'; mv layout img; ",
    "jq -c '.manifests |= .[:1]' img/index.json >less; mv less img/index.json"
);

/// Commands on `img`, and before each a script that makes the room for it.
const JOBS: [(&str, &str, &str); 24] = [
    ("import", "", "import --layout img other"),
    (
        "import into a new layout",
        "rm -r img; umoci init --layout img",
        "import --layout img other",
    ),
    ("repack", "", "repack --image img:repacked b"),
    ("repack over its own tag", "", "repack --image img:latest b"),
    ("tag", "", "tag --image img:latest tagged"),
    (
        "ref create --digest",
        "",
        "ref create --layout img --force named --digest DIGEST",
    ),
    ("rm", "", "rm --image img:second"),
    ("gc", "", "gc --layout img"),
    ("gc with a new index", "rm -r img/.umoci", "gc --layout img"),
    (
        "gc with a damaged index",
        "head -c 9000 /dev/zero >img/.umoci/index.redb",
        "gc --layout img",
    ),
    (
        "gc with an index of the first schema",
        OLD_LAYOUT,
        "gc --layout img",
    ),
    (
        "gc with an index of version 0.1.0",
        LAYOUT_OF_0_1_0,
        "gc --layout img",
    ),
    (
        "config with an index of the first schema",
        OLD_LAYOUT,
        "config --image img:a --config.user five",
    ),
    ("config", "", "config --image img --config.user five"),
    ("insert", "", "insert --image img src /opt"),
    ("new", "", "new --image img:blank"),
    (
        "raw add-layer",
        "tar -cf layer.tar src",
        "raw add-layer --image img layer.tar",
    ),
    ("squash", "", "squash img"),
    (
        "rebase",
        "umoci insert --image img:base --tag newbase src /new",
        "rebase img --old base --new newbase",
    ),
    ("manifest create", "", "manifest create img:all latest --force"),
    (
        "config below an index",
        "umoci manifest create img:all latest",
        "config --image img:all --config.user five",
    ),
    ("attach", "", "attach src/file --to img --artifact-type a/b"),
    (
        "detach",
        "umoci attach src/file --to img --artifact-type a/b",
        "detach img --all",
    ),
    (
        "import of an archive",
        "umoci attach src/file --to other --artifact-type a/b; umoci export --layout other oci-archive:a.tar",
        "import --layout img oci-archive:a.tar",
    ),
];

/// Runs the program in `dir`; `fault` is the step before which it dies.
fn umoci(dir: &Path, words: &str, fault: Option<u64>) -> (Option<i32>, String) {
    let output = command(dir, words, fault).output().expect("umoci");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn command(dir: &Path, words: &str, fault: Option<u64>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umoci"));
    command
        .args(words.split(' '))
        .current_dir(dir)
        .env_clear()
        .env("TZ", "UTC")
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some(step) = fault {
        command.env("UMOCI_FAULT", step.to_string());
    }
    command
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

/// Follows all refs, and fails unless all they lead to is there and whole. Returns the tags and the blobs.
fn walk(layout: &Path, what: &str) -> (Tags, BTreeSet<String>) {
    let json =
        |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("{what}: {value}"))
            .to_owned()
    };
    let index =
        std::fs::read(layout.join("index.json")).unwrap_or_else(|e| panic!("{what}: index.json: {e}"));
    let mut tags = Tags::new();
    let mut stack = Vec::new();
    for entry in json(&index)["manifests"].as_array().expect("manifests") {
        let name = match &entry["annotations"]["org.opencontainers.image.ref.name"] {
            // What is attached to an image has no name.
            Value::Null => format!("about {}", text(&entry["artifactType"])),
            name => text(name),
        };
        assert!(
            tags.insert(name.clone(), text(&entry["digest"])).is_none(),
            "{what}: {name} twice"
        );
        stack.push((text(&entry["digest"]), entry["size"].as_u64()));
    }
    let mut blobs = BTreeSet::new();
    loop {
        let Some((digest, size)) = stack.pop() else {
            // What is about something that is there belongs to it, listed or not.
            let is_about = |digest: &String| {
                let bytes = std::fs::read(blob(layout, digest)).expect("blob");
                let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let subject = document["subject"]["digest"].as_str()?;
                blobs
                    .contains(subject)
                    .then(|| (digest.clone(), Some(bytes.len() as u64)))
            };
            let more = present(layout);
            stack.extend(more.difference(&blobs).filter_map(is_about));
            if stack.is_empty() {
                break;
            }
            continue;
        };
        if !blobs.insert(digest.clone()) {
            continue;
        }
        let bytes = std::fs::read(blob(layout, &digest)).unwrap_or_else(|e| panic!("{what}: {digest}: {e}"));
        assert_eq!(
            (Digest::sha256(&bytes).to_string(), Some(bytes.len() as u64)),
            (digest, size),
            "{what}"
        );
        if bytes.starts_with(b"{") {
            let document = json(&bytes);
            let list = |field: &str| document[field].as_array().into_iter().flatten();
            let children = list("layers")
                .chain(list("manifests"))
                .chain(document.get("config").filter(|c| c["digest"].is_string()));
            stack.extend(children.map(|c| (text(&c["digest"]), c["size"].as_u64())));
        }
    }
    (tags, blobs)
}

/// Names below `blobs/`, as digests.
fn present(layout: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(layout.join("blobs/sha256")).expect("blobs");
    let digest = |name: &str| format!("sha256:{name}");
    names
        .map(|n| digest(n.expect("entry").file_name().to_str().expect("utf-8")))
        .collect()
}

/// What must hold after a kill, before anything else is done.
pub fn check(dir: &Path, what: &str) -> Tags {
    let layout = dir.join("img");
    let (tags, blobs) = walk(&layout, what);
    assert!(blobs.is_subset(&present(&layout)), "{what}");
    tags
}

/// Our own check finds nothing but temporary files, and the index counted right.
pub fn fsck(dir: &Path, what: &str) {
    let store = Store::open(&dir.join("img"), StoreOptions::default()).expect(what);
    let report = store.check(&CheckOptions::default(), &Silent).expect(what);
    let mut worse = report.findings.iter().filter(|f| f.problem != Problem::Temporary);
    assert!(worse.next().is_none(), "{what}: {:?}", report.findings);
}

/// A garbage collection leaves exactly what refs lead to, and no temporary file.
pub fn collect(dir: &Path, what: &str) {
    let (code, errors) = umoci(dir, "gc --layout img", None);
    assert_eq!(code, Some(0), "{what}: gc: {errors}");
    let layout = dir.join("img");
    assert_eq!(walk(&layout, what).1, present(&layout), "{what}: after gc");
    let temporary = std::fs::read_dir(layout.join(".umoci/tmp")).map_or(0, Iterator::count);
    assert_eq!(temporary, 0, "{what}: temporary directories after gc");
    fsck(dir, what);
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp");
    assert!(status.success());
}

/// Runs `job` on several threads until it says that there is nothing left.
pub fn in_parallel(job: impl Fn(usize) -> bool + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| while job(next.fetch_add(1, Ordering::SeqCst)) {});
        }
    });
}

/// Kills each command before every `stride`th of its steps, and calls `also` with the directory and what was done.
/// Returns the count of kills.
fn kill_at_steps(stride: usize, also: impl Fn(&Path, &str) + Sync) -> usize {
    let (room, digest) = room();
    let total = AtomicUsize::new(0);
    for (at, (name, prepare, words)) in JOBS.iter().enumerate() {
        let words = words.replace("DIGEST", &digest);
        let before = room.path().join("before");
        std::fs::create_dir(&before).expect("mkdir");
        copy_parts(room.path(), &before);
        let script = format!("umoci() {{ {} \"$@\"; }}; {prepare}", env!("CARGO_BIN_EXE_umoci"));
        let mut shell = Command::new("/bin/sh");
        let status = shell.args(["-ec", &script]).current_dir(&before).status();
        assert!(status.expect("sh").success(), "{name}");
        let old = walk(&before.join("img"), name).0;
        let after = room.path().join("after");
        copy(&before, &after);
        assert_eq!(umoci(&after, &words, None).0, Some(0), "{name}");
        let new = walk(&after.join("img"), name).0;
        std::fs::remove_dir_all(&after).expect("rm");
        let kills = AtomicUsize::new(0);
        in_parallel(|n| {
            // Each job begins elsewhere, so that a stride leaves no kind of step out everywhere.
            let step = (n * stride + at % stride + 1) as u64;
            let what = format!("{name}: killed before step {step}");
            let dir = room.path().join(format!("{at}-{step}"));
            copy(&before, &dir);
            let (code, errors) = umoci(&dir, &words, Some(step));
            assert!(code.is_none() || code == Some(0), "{what}: {errors}");
            let seen = check(&dir, &what);
            fsck(&dir, &what);
            also(&dir, &what);
            // What the index then is may differ, so every other time a garbage collection comes first.
            if n % 2 == 0 {
                collect(&dir, &what);
                assert_eq!(walk(&dir.join("img"), &what).0, seen, "{what}: gc changes no tag");
            }
            let (again, errors) = umoci(&dir, &words, None);
            assert_eq!(again, Some(0), "{what}: rerun: {errors}");
            assert!(
                seen == new || (seen == old && code.is_none()),
                "{what}: {seen:?}\nis neither {old:?}\nnor {new:?}"
            );
            assert!(new.keys().eq(check(&dir, &what).keys()), "{what}: rerun");
            collect(&dir, &what);
            std::fs::remove_dir_all(&dir).expect("rm");
            kills.fetch_add(usize::from(code.is_none()), Ordering::SeqCst);
            code.is_none()
        });
        std::fs::remove_dir_all(&before).expect("rm");
        let kills = kills.into_inner();
        assert!(kills * stride >= 8, "{name}: {kills} kills");
        total.fetch_add(kills, Ordering::SeqCst);
    }
    total.into_inner()
}

#[test]
fn a_kill_at_a_step_leaves_at_worst_garbage() {
    let kills = kill_at_steps(5, |_, _| {});
    assert!(kills > 100, "{kills} kills");
}

#[test]
#[ignore = "takes a minute and needs skopeo and umoci: run by tests/all.sh"]
fn a_kill_at_any_step_leaves_what_other_tools_read() {
    let count = AtomicUsize::new(0);
    let kills = kill_at_steps(1, |dir, what| {
        if !count.fetch_add(1, Ordering::SeqCst).is_multiple_of(16) {
            return;
        }
        let tags = walk(&dir.join("img"), what).0;
        for tag in tags.keys().filter(|tag| !tag.starts_with("about ")) {
            let run = |program: &str, words: &[&str]| {
                let output = Command::new(program)
                    .args(words)
                    .current_dir(dir)
                    .output()
                    .expect(program);
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{what}: {program} {words:?}: {errors}");
            };
            run("skopeo", &["inspect", "--raw", &format!("oci:img:{tag}")]);
            run("skopeo", &["inspect", "--config", &format!("oci:img:{tag}")]);
            run("/usr/bin/umoci", &["stat", "--image", &format!("img:{tag}")]);
        }
    });
    assert!(kills > 500, "{kills} kills");
}

/// What was changed a moment ago is looked at again, so an index that is believed needs layouts that were left alone.
#[test]
#[ignore = "waits until an index is believed: run by tests/all.sh"]
fn a_collection_that_believes_its_index_is_killed_at_any_step() {
    const MOST: usize = 150;
    let (room, _) = room();
    let layout = |n: usize| room.path().join(n.to_string());
    for n in 0..MOST {
        std::fs::create_dir(layout(n)).expect("mkdir");
        copy(&room.path().join("img"), &layout(n).join("img"));
    }
    std::thread::sleep(Duration::from_millis(3100));
    let ends = AtomicUsize::new(0);
    in_parallel(|n| {
        if n >= MOST {
            return false;
        }
        let dir = layout(n);
        for words in ["gc --layout img --dry-run", "rm --image img:second"] {
            assert_eq!(umoci(&dir, words, None).0, Some(0));
        }
        let what = format!("gc: killed before step {}", n + 1);
        let (code, _) = umoci(&dir, "gc --layout img", Some(n as u64 + 1));
        ends.fetch_add(usize::from(code == Some(0)), Ordering::SeqCst);
        check(&dir, &what);
        collect(&dir, &what);
        true
    });
    assert!((1..MOST - 20).contains(&ends.into_inner()));
}

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // The generator known as xorshift64*.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % end
    }
}

/// How a program in the middle of its work is ended.
#[derive(Clone, Copy, Debug)]
enum Kill {
    Step,
    Instant,
}

/// Commands at random on one layout that is never made anew, each killed or not; what was reported must hold.
/// Returns the count of kills.
fn kill_at_random(how: Kill, seed: u64, commands: usize) -> usize {
    let (room, _) = room();
    let dir = room.path();
    let mut random = Random(seed);
    let mut known = check(dir, "the room");
    let mut kills = 0;
    let mut times: BTreeMap<u64, Duration> = BTreeMap::new();
    for at in 0..commands {
        let kind = random.below(10);
        let tag = ["latest", "a", "b", "c"][random.below(4) as usize];
        let words = match kind {
            0 => "import --layout img other".to_owned(),
            1 => format!("import --layout img --tag {tag} other:more"),
            // The others move its tag.
            2 => format!("repack --force --image img:{tag} b"),
            3 | 4 => format!("tag --image img:latest {tag}"),
            5 if tag != "latest" => format!("rm --image img:{tag}"),
            6 => format!(
                "config --image img --tag {tag} --config.user u{}",
                random.below(50)
            ),
            7 => format!("insert --image img --tag {tag} src /{}", random.below(50)),
            _ => "gc --layout img".to_owned(),
        };
        let what = format!("seed {seed}, {how:?}, command {at}: {words}");
        let killed = match how {
            Kill::Step => {
                let most = [20, 150][random.below(2) as usize];
                let step = 1 + random.below(most);
                let (code, errors) = umoci(dir, &words, Some(step));
                assert!(code.is_none() || code == Some(0), "{what}, step {step}: {errors}");
                code.is_none()
            }
            Kill::Instant => {
                let begin = Instant::now();
                let mut child = command(dir, &words, None)
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("umoci");
                if let Some(longest) = times.get(&kind) {
                    std::thread::sleep(*longest * random.below(1000) as u32 / 1000);
                    child.kill().expect("kill");
                    child.wait().expect("wait").code().is_none()
                } else {
                    assert!(child.wait().expect("wait").success(), "{what}");
                    times.insert(kind, begin.elapsed());
                    false
                }
            }
        };
        kills += usize::from(killed);
        let seen = check(dir, &what);
        if killed {
            // Whatever was not to be changed is as it was.
            let rest = |tags: &Tags| -> Tags {
                let other = |t: &str| !words.contains(&format!(":{t}")) && !words.contains(&format!(" {t}"));
                let all = kind == 0;
                tags.iter()
                    .filter(|(t, _)| !all && other(t))
                    .map(|(t, d)| (t.clone(), d.clone()))
                    .collect()
            };
            assert_eq!(rest(&seen), rest(&known), "{what}");
            if random.below(2) == 0 {
                let (code, errors) = umoci(dir, &words, None);
                assert_eq!(code, Some(0), "{what}: rerun: {errors}");
            }
        } else if (1..=7).contains(&kind) && words != "gc --layout img" {
            assert_eq!(
                seen.contains_key(tag),
                kind != 5,
                "{what}: what was reported is there"
            );
        }
        known = check(dir, &what);
        if at % 20 == 19 {
            collect(dir, &what);
        }
    }
    collect(dir, &format!("seed {seed}, {how:?}, at the end"));
    kills
}

/// A seed that no run before had.
fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_nanos() as u64 | 1
}

#[test]
fn kills_at_random_steps_and_instants_lose_nothing() {
    assert!(kill_at_random(Kill::Step, 7, 60) > 20);
    kill_at_random(Kill::Instant, fresh_seed(), 60);
}

#[test]
#[ignore = "takes a minute: run by tests/all.sh"]
fn thousands_of_kills_lose_nothing() {
    let kills = AtomicUsize::new(0);
    in_parallel(|n| {
        let how = if n % 2 == 0 { Kill::Step } else { Kill::Instant };
        kills.fetch_add(kill_at_random(how, fresh_seed(), 400), Ordering::SeqCst);
        n + 1 < 10
    });
    let kills = kills.into_inner();
    assert!(kills > 800, "{kills} kills");
}
