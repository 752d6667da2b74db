// SPDX-License-Identifier: Apache-2.0
//! What is left of a store when the power goes after any step.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::layout::{BlobName, Layout, Loss, Volatile, scratch};
use crate::progress::Silent;
use crate::spec::{Descriptor, Manifest, MediaType, json};
use crate::store::{GcOptions, Store, StoreOptions};

/// A command that is asked for: what it does, and what is sure once it has returned.
#[derive(Clone, Copy, Debug)]
enum Job {
    /// An image with this content gets this tag.
    Write(&'static str, &'static str),
    /// As `Write`, with digests of another algorithm, whose directory has to be made.
    WriteAs(Algorithm, &'static str, &'static str),
    /// As `Write`, with so many blobs that they are made durable together.
    Stage(&'static str, &'static str),
    Remove(&'static str),
    Gc,
}

fn run(store: &Store, job: Job) -> Result<()> {
    match job {
        Job::Write(tag, content) => write(store, Algorithm::Sha256, tag, content),
        Job::WriteAs(algorithm, tag, content) => write(store, algorithm, tag, content),
        Job::Stage(tag, content) => stage(store, tag, content),
        Job::Remove(tag) => store.remove_ref(tag).map(|_| ()),
        Job::Gc => gc(store).map(|_| ()),
    }
}

fn write(store: &Store, algorithm: Algorithm, tag: &str, content: &str) -> Result<()> {
    let mut txn = store.begin("test")?;
    let mut put = |bytes: &[u8], media_type: &str| -> Result<Descriptor> {
        use std::io::Write as _;
        let digest = Digest::of(algorithm, bytes);
        if store.layout().blob_size(&digest)?.is_some() {
            // As an import does it.
            let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
            txn.add(&descriptor);
            return Ok(descriptor);
        }
        let mut writer = txn.write_blob_as(algorithm)?;
        writer.write_all(bytes)?;
        let stored = writer.finish()?;
        let descriptor = Descriptor::new(media_type, stored.digest, stored.size);
        txn.add(&descriptor);
        Ok(descriptor)
    };
    // Larger than a sector, so that it can be torn.
    let layer = put(content.repeat(500).as_bytes(), MediaType::LAYER)?;
    let config = put(b"{\"os\":\"linux\",\"rootfs\":{}}", MediaType::CONFIG)?;
    let manifest = json::to_bytes(&Manifest::new(config, vec![layer]))?;
    let manifest = put(&manifest, MediaType::MANIFEST)?;
    txn.set_ref(&tag.parse()?, manifest);
    txn.commit()
}

fn stage(store: &Store, tag: &str, content: &str) -> Result<()> {
    let mut txn = store.begin("test")?;
    let mut stage = |bytes: &[u8], media_type: &str| {
        use std::io::Write as _;
        let descriptor = Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64);
        let mut writer = txn.write_blob()?;
        writer.write_all(bytes)?;
        txn.stage(writer.stage_as(&descriptor)?).map(|()| descriptor)
    };
    let config = stage(b"{\"os\":\"linux\",\"rootfs\":{}}", MediaType::CONFIG)?;
    let mut layers = vec![stage(content.repeat(500).as_bytes(), MediaType::LAYER)?];
    for n in 0..10 {
        layers.push(stage(format!("{content} {n}").as_bytes(), MediaType::LAYER)?);
    }
    let manifest = json::to_bytes(&Manifest::new(config, layers))?;
    let manifest = stage(&manifest, MediaType::MANIFEST)?;
    txn.set_ref(&tag.parse()?, manifest);
    txn.commit()
}

fn gc(store: &Store) -> Result<u64> {
    let plan = store.plan_gc(&GcOptions::default(), &Silent)?;
    Ok(store.collect(plan, &Silent)?.blobs)
}

/// Every tag with its content, if all of its blobs are there and whole.
fn contents(store: &Store) -> Result<BTreeSet<(String, String)>> {
    let mut out = BTreeSet::new();
    for entry in store.refs()? {
        let manifest: Manifest = json::parse(&store.read(&entry.descriptor()?)?)?;
        store.read(&manifest.config)?;
        for more in &manifest.layers {
            store.read(more)?;
        }
        let layer = String::from_utf8(store.read(&manifest.layers[0])?).expect("utf-8");
        let content = layer[..layer.len() / 500].to_owned();
        out.insert((entry.ref_name.expect("a tag"), content));
    }
    Ok(out)
}

/// The blobs that refs lead to.
fn needed(store: &Store) -> BTreeSet<Digest> {
    let mut out = BTreeSet::new();
    for entry in store.refs().expect("refs") {
        let descriptor = entry.descriptor().expect("descriptor");
        let manifest: Manifest = json::parse(&store.read(&descriptor).expect("manifest")).expect("JSON");
        out.extend([descriptor.digest, manifest.config.digest]);
        out.extend(manifest.layers.iter().map(|layer| layer.digest));
    }
    out
}

fn present(store: &Store) -> BTreeSet<Digest> {
    let all = Algorithm::ALL
        .into_iter()
        .flat_map(|a| store.layout().blobs(a).expect("list"));
    let digest = |name: Result<BlobName>| match name.expect("name") {
        BlobName::Digest(digest) => digest,
        BlobName::Stray(name) => panic!("stray {}", name.display()),
    };
    all.map(digest).collect()
}

fn on(path: &Path, volatile: &Volatile) -> Store {
    Store {
        layout: Layout::open_on(path, Box::new(volatile.clone())).expect("open"),
        opts: StoreOptions::default(),
    }
}

const SCRIPT: [Job; 8] = [
    Job::Write("new", "n"),
    Job::Write("old", "changed"),
    Job::Remove("gone"),
    Job::Gc,
    Job::Write("new", "again"),
    Job::WriteAs(Algorithm::Sha512, "other", "o"),
    Job::Stage("many", "m"),
    Job::Gc,
];

/// What each tag may hold after the first `finished` jobs of the script, while the next one may be under way.
fn allowed(before: &BTreeSet<(String, String)>, finished: usize) -> [BTreeSet<(String, String)>; 2] {
    let after = |jobs: &[Job]| {
        let mut tags = before.clone();
        for job in jobs {
            let (Job::Write(tag, _) | Job::WriteAs(_, tag, _) | Job::Stage(tag, _) | Job::Remove(tag)) = job
            else {
                continue;
            };
            tags.retain(|(t, _)| t != tag);
            if let Job::Write(tag, content) | Job::WriteAs(_, tag, content) | Job::Stage(tag, content) = job {
                tags.insert(((*tag).to_owned(), (*content).to_owned()));
            }
        }
        tags
    };
    [
        after(&SCRIPT[..finished]),
        after(&SCRIPT[..SCRIPT.len().min(finished + 1)]),
    ]
}

/// Changes of a tag that the reflog knows.
fn logged(store: &Store, tag: &str) -> usize {
    let log = store.reflog(tag).expect("reflog");
    log.iter().filter(|change| !change.command.is_empty()).count()
}

fn base(path: &Path) -> BTreeSet<(String, String)> {
    let store = Store::create(path, StoreOptions::default()).expect("create");
    for job in [
        Job::Write("old", "old"),
        Job::Write("gone", "gone"),
        Job::Gc,
        Job::Write("garbage", "garbage"),
        Job::Remove("garbage"),
    ] {
        run(&store, job).expect("base");
    }
    // So that the first line is among what is cut.
    std::fs::remove_file(store.layout().private_dir().join("reflog")).expect("rm");
    contents(&store).expect("base")
}

/// Checks the remains of the disk at `path`, of which the first `finished` jobs were reported as done.
fn check(path: &Path, before: &BTreeSet<(String, String)>, finished: usize, what: &str) {
    let store = Store::open(path, StoreOptions::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let tags = contents(&store).unwrap_or_else(|e| panic!("{what}: {e}"));
    let allowed = allowed(before, finished);
    assert!(allowed.contains(&tags), "{what}: {tags:?}, allowed {allowed:?}");
    for job in &SCRIPT[..finished] {
        let (Job::Write(tag, _) | Job::WriteAs(_, tag, _) | Job::Stage(tag, _) | Job::Remove(tag)) = job
        else {
            continue;
        };
        assert!(logged(&store, tag) > 0, "{what}: the reflog knows of {tag}");
    }
    gc(&store).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(
        present(&store),
        needed(&store),
        "{what}: gc leaves what is needed"
    );
    assert_eq!(contents(&store).expect("refs"), tags, "{what}: gc changes no tag");
    for job in &SCRIPT[finished.min(SCRIPT.len() - 1)..] {
        run(&store, *job).unwrap_or_else(|e| panic!("{what}: rerun: {e}"));
    }
    let tags = contents(&store).unwrap_or_else(|e| panic!("{what}: rerun: {e}"));
    assert_eq!(tags, self::allowed(before, SCRIPT.len())[0], "{what}: rerun");
    assert_eq!(present(&store), needed(&store), "{what}: rerun");
}

/// Cuts the power after every step of the script, and checks what is left, `parts` times with a part of what was
/// pending.
fn cut_everywhere(parts: u64) -> usize {
    let dir = scratch();
    let path = dir.path().join("img");
    let before = base(&path);
    let volatile = Volatile::new(&path);
    let store = on(&path, &volatile);
    let mut ends = Vec::new();
    for job in SCRIPT {
        run(&store, job).expect("job");
        ends.push(volatile.steps());
    }
    let mut seen = HashSet::new();
    for (at, instant) in volatile.instants().iter().enumerate() {
        let finished = ends.iter().filter(|&&end| end <= at + 1).count();
        let seeds = (0..parts).map(|n| Loss::Some(at as u64 * 1000 + n));
        for loss in [Loss::Everything, Loss::Writes].into_iter().chain(seeds) {
            let remains = instant.lose(loss);
            if seen.insert((finished, remains.fingerprint())) {
                let into = dir.path().join("remains");
                remains.put(&into);
                let what = format!(
                    "power lost after {}, {finished} jobs done, {loss:?}",
                    instant.after
                );
                check(&into, &before, finished, &what);
                std::fs::remove_dir_all(&into).expect("rm");
            }
        }
    }
    seen.len()
}

#[test]
fn a_power_loss_after_any_step_loses_nothing_that_was_reported() {
    let cuts = cut_everywhere(1);
    assert!(cuts > 100, "{cuts} different remains");
}

/// Kills `job` after so many steps, then lets it run again, or names its manifest by its digest if that is there.
/// Then the power goes, and what was reported must be there. Returns whether there was a step to kill it at.
fn kill_rerun_lose(job: Job, steps: usize, by_digest: bool) -> bool {
    let dir = scratch();
    let path = dir.path().join("img");
    let mut want = base(&path);
    let volatile = Volatile::new(&path);
    volatile.stop_after(steps);
    let killed = run(&on(&path, &volatile), job).is_err();
    volatile.stop_after(usize::MAX);
    let store = on(&path, &volatile);
    let what = format!("{job:?} killed after {steps} steps, by digest {by_digest}");
    // The manifest is the last blob that is written: once it is there, it can be named.
    let complete = |digest: &Digest| {
        let size = store.layout().blob_size(digest).expect("stat")?;
        let descriptor = Descriptor::new(MediaType::MANIFEST, *digest, size);
        let manifest = json::parse::<Manifest>(&store.read(&descriptor).ok()?).ok()?;
        let content = store.read(manifest.layers.first()?).ok()?;
        (content == b"n".repeat(500)).then_some(descriptor)
    };
    if by_digest {
        let Some(manifest) = present(&store).iter().find_map(complete) else {
            return killed;
        };
        want.insert(("by-digest".to_owned(), "n".to_owned()));
        store.set_ref(&"by-digest".parse().expect("name"), manifest)
    } else {
        match job {
            Job::Remove(gone) => want.retain(|(tag, _)| tag != gone),
            _ => drop(want.insert(("new".to_owned(), "n".to_owned()))),
        }
        run(&store, job)
    }
    .unwrap_or_else(|e| panic!("{what}: {e}"));
    for loss in [Loss::Everything, Loss::Writes] {
        let into = dir.path().join("remains");
        let instants = volatile.instants();
        instants.last().expect("steps").lose(loss).put(&into);
        let remains = Store::open(&into, StoreOptions::default()).expect("open");
        let tags = contents(&remains).unwrap_or_else(|e| panic!("{what}, {loss:?}: {e}"));
        let more = tags.difference(&want).all(|(tag, _)| tag == "new");
        assert!(tags.is_superset(&want) && more, "{what}, {loss:?}: {tags:?}");
        let tag = match job {
            Job::Remove(gone) => gone,
            _ if by_digest => "by-digest",
            _ => "new",
        };
        assert!(
            logged(&remains, tag) > 0,
            "{what}, {loss:?}: the reflog knows of it"
        );
        std::fs::remove_dir_all(&into).expect("rm");
    }
    killed
}

/// Whoever names blobs makes them durable, whoever wrote them.
#[test]
fn a_rerun_makes_durable_what_a_killed_process_left() {
    for job in [
        Job::WriteAs(Algorithm::Sha512, "new", "n"),
        Job::Stage("new", "n"),
        Job::Remove("gone"),
    ] {
        for by_digest in [false, true] {
            let steps = (0..).take_while(|&steps| kill_rerun_lose(job, steps, by_digest));
            assert!(steps.count() > 3, "some steps were cut");
        }
    }
}

#[test]
#[ignore = "takes half a minute: run by tests/all.sh"]
fn a_power_loss_after_any_step_keeps_any_part_of_what_was_pending() {
    let cuts = cut_everywhere(12);
    assert!(cuts > 1000, "{cuts} different remains");
}
