// SPDX-License-Identifier: Apache-2.0
//! Collections of small layouts.

use super::*;
use crate::digest::Algorithm;
use crate::error::ResultExt;
use crate::index::Tables;
use crate::progress::Silent;
use crate::progress::tests::Recorder;
use crate::spec::{Descriptor, MediaType, RefName};
use crate::store::StoreOptions;

struct Fixture {
    _dir: tempfile::TempDir,
    store: Store,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("dir");
    let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
    Fixture { _dir: dir, store }
}

impl Fixture {
    /// Writes a blob as another program would: no lock, no index.
    fn blob(&self, text: &str) -> Digest {
        let digest = Digest::sha256(text.as_bytes());
        std::fs::write(self.store.layout().blob_path(&digest), text).expect("write");
        digest
    }

    fn manifest(&self, n: u32, more: &str) -> (Digest, [Digest; 2]) {
        let config = self.blob(&format!("{{\"os\":\"linux\",\"rootfs\":{{\"n\":{n}}}}}"));
        let layer = self.blob(&format!("layer {n}"));
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{config}","size":1}},"layers":[{{"mediaType":"{}","digest":"{layer}","size":1}}]{more}}}"#,
            MediaType::CONFIG,
            MediaType::LAYER
        );
        (self.blob(&text), [config, layer])
    }

    fn tag(&self, name: &str, media_type: &str, digest: Digest) {
        let size = self
            .store
            .layout()
            .blob_size(&digest)
            .expect("stat")
            .expect("blob");
        let name: RefName = name.parse().expect("name");
        self.store
            .set_ref(&name, Descriptor::new(media_type, digest, size))
            .expect("tag");
    }

    fn gc(&self) -> Result<u64> {
        let plan = self.store.plan_gc(&GcOptions::default(), &Silent)?;
        Ok(self.store.collect(plan, &Silent)?.blobs)
    }

    fn there(&self, digests: &[Digest]) -> bool {
        digests
            .iter()
            .all(|d| self.store.layout().blob_size(d).expect("stat").is_some())
    }

    fn count(&self) -> usize {
        self.store
            .layout()
            .blobs(Algorithm::Sha256)
            .expect("list")
            .count()
    }
}

#[test]
fn only_what_refs_lead_to_stays_with_and_without_the_database() {
    for delete in [false, true] {
        let f = fixture();
        let step = || {
            if delete {
                std::fs::remove_dir_all(f.store.layout().private_dir()).expect("rm");
            }
        };
        let (keep, kept) = f.manifest(1, "");
        let (drop, dropped) = f.manifest(2, "");
        f.tag("keep", MediaType::MANIFEST, keep);
        f.tag("drop", MediaType::MANIFEST, drop);
        step();
        assert_eq!(f.gc().expect("gc"), 0);
        step();
        f.store.remove_ref("drop").expect("remove");
        f.blob("a stray blob of another program");
        step();
        assert_eq!(f.gc().expect("gc"), 4);
        step();
        assert!(f.there(&[keep]) && f.there(&kept) && !f.there(&[drop]) && !f.there(&dropped[..1]));
        assert_eq!(f.gc().expect("second"), 0);
        f.store.remove_ref("keep").expect("remove");
        assert_eq!(f.gc().expect("last"), 3);
        assert_eq!(f.count(), 0);
    }
}

#[test]
fn docker_images_unknown_documents_and_nested_indexes_keep_what_they_need() {
    let f = fixture();
    let (docker, a) = f.manifest(1, "");
    let (inner, b) = f.manifest(2, "");
    let index = f.blob(&format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{inner}","size":1}}]}}"#
    ));
    let outer = f.blob(&format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{index}","size":1}}]}}"#
    ));
    let needed = f.blob("needed");
    let unknown = f.blob(&format!(r#"{{"what":{{"where":["{needed}"]}}}}"#));
    f.tag("docker", MediaType::DOCKER_MANIFEST, docker);
    f.tag("nested", MediaType::INDEX, outer);
    f.tag("unknown", "application/x", unknown);
    assert_eq!(f.gc().expect("gc"), 0);
    assert!(f.there(&a) && f.there(&b) && f.there(&[needed, index]));
}

#[test]
fn referrers_follow_their_subject_and_cycles_end() {
    let f = fixture();
    let (image, _) = f.manifest(1, "");
    let subject = format!(r#","subject":{{"digest":"{image}","size":1}}"#);
    let (about, parts) = f.manifest(2, &subject);
    let (again, _) = f.manifest(3, &format!(r#","subject":{{"digest":"{about}","size":1}}"#));
    let cycle = f.blob(&format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{image}","size":1}}]{subject}}}"#
    ));
    f.tag("image", MediaType::MANIFEST, image);
    assert_eq!(f.gc().expect("gc"), 0);
    assert!(f.there(&[about, again, cycle]) && f.there(&parts));
    f.store.remove_ref("image").expect("remove");
    f.gc().expect("gc");
    assert_eq!(f.count(), 0, "nothing refers to any of them");
}

#[test]
fn a_change_of_index_json_behind_our_back_is_seen() {
    let f = fixture();
    let (one, _) = f.manifest(1, "");
    let (two, parts) = f.manifest(2, "");
    f.tag("t", MediaType::MANIFEST, one);
    f.gc().expect("gc");
    let (two_again, _) = f.manifest(2, "");
    assert_eq!(two, two_again);
    let index =
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x/y","digest":"{two}","size":1}}]}}"#);
    std::fs::write(f.store.layout().path().join("index.json"), index).expect("write in place");
    f.gc().expect("gc");
    assert!(f.there(&[two]) && f.there(&parts) && !f.there(&[one]));
}

#[test]
fn damage_stops_it_and_what_is_missing_does_not() {
    let f = fixture();
    let (image, parts) = f.manifest(1, "");
    f.tag("t", MediaType::MANIFEST, image);
    let garbage = f.blob("garbage");
    let path = f.store.layout().blob_path(&image);
    let good = std::fs::read(&path).expect("read");
    // Also what a loss of power leaves, whether or not the database knew of it, and below an index.
    let entry = format!(
        r#"{{"mediaType":"{}","digest":"{image}","size":1}}"#,
        MediaType::MANIFEST
    );
    let index = f.blob(&format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#));
    for (media_type, root) in [(MediaType::MANIFEST, image), (MediaType::INDEX, index)] {
        f.tag("t", media_type, root);
        for damage in [
            "{}".into(),
            Vec::new(),
            vec![0; good.len()],
            good[..20].to_vec(),
            vec![b'x'; 99],
        ] {
            std::fs::write(&path, &damage).expect("damage");
            let _ = std::fs::remove_dir_all(f.store.layout().private_dir());
            // And once more with what the database learned then.
            for _ in 0..2 {
                let err = f.gc().context(|| "gc").expect_err("damaged");
                assert!(
                    err.kind() == ErrorKind::Corrupt && err.to_string().contains(&image.to_string()),
                    "{err}"
                );
                assert!(f.there(&[garbage]) && f.there(&parts));
            }
        }
    }
    f.tag("t", MediaType::MANIFEST, image);
    std::fs::remove_file(&path).expect("remove");
    let monitor = Recorder::default();
    let plan = f
        .store
        .plan_gc(&GcOptions::default(), &monitor)
        .expect("a sparse layout is valid");
    f.store.collect(plan, &monitor).expect("collect");
    let warnings = monitor.warnings().join("\n");
    assert!(
        warnings.contains(&format!("t leads to {image}, which is missing")),
        "{warnings}"
    );
    assert!(!f.there(&[garbage]));
    std::fs::write(&path, good).expect("restore");
    f.gc().expect("gc");
}

#[test]
fn a_damaged_row_costs_no_blob() {
    type Damage = fn(&mut Tables<'_>, &Digest) -> crate::error::Result<()>;
    let damages: [(&str, Damage); 2] = [
        ("a row that is gone", |tables, digest| tables.lose_row(digest)),
        ("a count that is too low", |tables, digest| {
            tables.miscount(digest, -1)
        }),
    ];
    for (what, damage) in damages {
        for of_parent in [true, false] {
            let f = fixture();
            let (image, parts) = f.manifest(1, "");
            f.tag("t", MediaType::MANIFEST, image);
            f.gc().expect("gc");
            let victim = if of_parent { image } else { parts[0] };
            let mut index = f.store.index(&Silent);
            index.write(|tables| damage(tables, &victim)).expect("damage");
            drop(index);
            let garbage = f.blob("garbage");
            let monitor = Recorder::default();
            let plan = f.store.plan_gc(&GcOptions::default(), &monitor).expect("plan");
            f.store.collect(plan, &monitor).expect("collect");
            assert!(
                f.there(&[image]) && f.there(&parts) && !f.there(&[garbage]),
                "{what}"
            );
            let warnings = monitor.warnings().join("\n");
            assert!(warnings.contains(&victim.to_string()), "{what}: {warnings}");
        }
    }
}

#[test]
fn strays_are_reported_and_left() {
    let f = fixture();
    let blobs = f.store.layout().path().join("blobs");
    std::fs::write(blobs.join("sha256/file.tmp"), "x").expect("write");
    std::fs::create_dir(blobs.join("md5")).expect("mkdir");
    let monitor = Recorder::default();
    let plan = f.store.plan_gc(&GcOptions::default(), &monitor).expect("plan");
    f.store.collect(plan, &monitor).expect("collect");
    let warnings = monitor.warnings().join("\n");
    assert!(
        warnings.contains("file.tmp") && warnings.contains("md5"),
        "{warnings}"
    );
    assert!(blobs.join("sha256/file.tmp").exists() && blobs.join("md5").exists());
}

#[test]
fn leases_the_reflog_and_a_grace_protect_what_no_ref_leads_to() {
    type Protect = fn(&Fixture, Digest);
    type End = fn(&Fixture);
    let cases: [(Protect, End); 3] = [
        (
            |f, image| drop(f.store.create_lease("l", &[image], None).expect("lease")),
            |f| assert!(f.store.remove_lease("l").expect("remove")),
        ),
        (
            |f, _| {
                let mut settings = f.store.settings().expect("settings");
                settings.reflog_keep = Duration::from_secs(3600);
                f.store.set_settings(settings).expect("set");
            },
            |f| {
                let path = f.store.layout().private_dir().join("reflog");
                std::fs::remove_file(path).expect("remove");
            },
        ),
        (
            |f, _| {
                let mut settings = f.store.settings().expect("settings");
                settings.gc_grace = Duration::from_secs(3600);
                f.store.set_settings(settings).expect("set");
            },
            |f| {
                f.store
                    .set_settings(crate::store::settings::Settings::default())
                    .expect("set")
            },
        ),
    ];
    for (protect, end) in cases {
        let f = fixture();
        let (image, parts) = f.manifest(1, "");
        let about = format!(r#","subject":{{"digest":"{image}","size":1}}"#);
        let (referrer, more) = f.manifest(2, &about);
        f.tag("t", MediaType::MANIFEST, image);
        protect(&f, image);
        f.store.remove_ref("t").expect("remove");
        assert_eq!(f.gc().expect("gc"), 0);
        assert!(f.there(&[image, referrer]) && f.there(&parts) && f.there(&more));
        end(&f);
        assert_eq!(f.gc().expect("gc"), 6);
        assert_eq!(f.count(), 0);
    }
}

#[test]
fn a_lease_that_has_ended_protects_nothing_and_goes() {
    let f = fixture();
    let (image, _) = f.manifest(1, "");
    f.store
        .create_lease("l", &[image], Some(Duration::ZERO))
        .expect("lease");
    assert_eq!(f.gc().expect("gc"), 3);
    assert!(f.store.leases().expect("leases").is_empty());
    let err = f.store.create_lease("l", &[image], None).expect_err("gone");
    assert_eq!(err.kind(), ErrorKind::NotFound);
    for bad in ["", "a/b", "..", "a b"] {
        assert!(f.store.create_lease(bad, &[], None).is_err(), "{bad}");
    }
}

#[test]
fn tags_that_nothing_keeps_and_entries_without_one_are_given_up() {
    let f = fixture();
    let images: Vec<Digest> = (0..4).map(|n| f.manifest(n, "").0).collect();
    for (name, image) in [
        ("release-1", images[0]),
        ("nightly", images[1]),
        ("old", images[2]),
    ] {
        f.tag(name, MediaType::MANIFEST, image);
    }
    f.store
        .layout()
        .update_index(Duration::ZERO, |index| {
            let text = String::from_utf8(index.to_bytes()).expect("utf-8");
            let entry = format!(
                r#"[{{"mediaType":"{}","digest":"{}","size":1}},"#,
                MediaType::MANIFEST,
                images[3]
            );
            let text = text.replacen('[', &entry, 1);
            std::fs::write(f.store.layout().path().join("index.json"), text).expect("write");
            Ok(())
        })
        .expect("untagged");
    let run = |opts: GcOptions, dry: bool| {
        let plan = f.store.plan_gc(&opts, &Silent).expect("plan");
        let tags: Vec<String> = plan.tags().iter().map(ToString::to_string).collect();
        let out = (tags.join(" "), plan.untagged().len(), plan.remove().len());
        if !dry {
            f.store.collect(plan, &Silent).expect("collect");
        }
        out
    };
    let pattern = |text: &str| Keep::Pattern(glob::Pattern::new(text).expect("pattern"));
    let hour = Keep::Newer(Duration::from_secs(3600));
    let keep = |keep: &[Keep]| GcOptions {
        keep: keep.to_vec(),
        ..GcOptions::default()
    };
    let untagged = GcOptions {
        untagged: true,
        ..GcOptions::default()
    };
    assert_eq!(run(GcOptions::default(), true), (String::new(), 0, 0));
    assert_eq!(
        run(keep(&[pattern("release-*"), hour]), true),
        (String::new(), 0, 0)
    );
    assert_eq!(
        run(keep(&[pattern("release-*")]), true),
        ("nightly old".to_owned(), 0, 6)
    );
    assert_eq!(run(untagged.clone(), true), (String::new(), 1, 3));
    assert_eq!(f.store.refs().expect("refs").len(), 4, "plans change nothing");
    assert_eq!(
        run(keep(&[pattern("release-*"), pattern("n?ghtly")]), false).0,
        "old"
    );
    assert_eq!(run(untagged, false).1, 1);
    assert_eq!(f.store.names().expect("names"), ["release-1", "nightly"]);
    assert_eq!((f.store.refs().expect("refs").len(), f.count()), (2, 6));
    let log = f.store.reflog("old").expect("log");
    assert_eq!(log[0].command, "gc");
}

#[test]
fn a_full_collection_believes_no_count() {
    let f = fixture();
    let (image, parts) = f.manifest(1, "");
    let (garbage, _) = f.manifest(2, "");
    f.tag("t", MediaType::MANIFEST, image);
    f.gc().expect("gc");
    let (again, _) = f.manifest(2, "");
    assert_eq!(garbage, again);
    let mut index = f.store.index(&Silent);
    // Counts that are wrong in both directions: one that would keep garbage, one that would remove what is needed.
    index
        .write(|tables| {
            tables.sync(f.store.layout(), &Silent)?;
            tables.miscount(&garbage, 1)?;
            tables.miscount(&parts[0], -1)
        })
        .expect("miscount");
    drop(index);
    let opts = GcOptions {
        full: true,
        ..GcOptions::default()
    };
    let plan = f.store.plan_gc(&opts, &Silent).expect("plan");
    let told = plan.differences().join("\n");
    assert!(
        told.contains(&garbage.to_string()) && told.contains(&parts[0].to_string()),
        "{told}"
    );
    assert_eq!(f.store.collect(plan, &Silent).expect("collect").blobs, 3);
    assert!(f.there(&parts) && f.there(&[image]) && !f.there(&[garbage]));
    let plan = f.store.plan_gc(&opts, &Silent).expect("plan");
    assert!(plan.differences().is_empty(), "the counts were mended");
}

#[test]
fn a_damaged_database_is_made_anew() {
    let f = fixture();
    let (image, parts) = f.manifest(1, "");
    f.tag("t", MediaType::MANIFEST, image);
    f.gc().expect("gc");
    let path = f.store.layout().private_dir().join("index.redb");
    for bytes in [
        &b""[..],
        b"not a database at all, but long enough to be looked at",
        &[0; 10_000],
    ] {
        std::fs::write(&path, bytes).expect("damage");
        f.blob("garbage");
        assert_eq!(f.gc().expect("gc"), 1);
        assert!(f.there(&[image]) && f.there(&parts));
    }
}

#[test]
fn writers_beside_a_collector_lose_nothing() {
    let f = fixture();
    let path = f.store.layout().path().to_owned();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let path = path.clone();
            scope.spawn(move || {
                let store = Store::open(&path, StoreOptions::default()).expect("open");
                for n in 0..8 {
                    let mut txn = store.begin("test").expect("begin");
                    let layer = txn
                        .put(format!("{thread} {n}").as_bytes(), MediaType::LAYER)
                        .expect("put");
                    let config = txn
                        .put(b"{\"os\":\"linux\",\"rootfs\":{}}", MediaType::CONFIG)
                        .expect("put");
                    let manifest = crate::spec::Manifest::new(config, vec![layer]);
                    let bytes = crate::spec::json::to_bytes(&manifest).expect("json");
                    let manifest = txn.put(&bytes, MediaType::MANIFEST).expect("put");
                    txn.set_ref(&format!("t{thread}-{n}").parse().expect("name"), manifest);
                    txn.commit().expect("commit");
                }
            });
        }
        for _ in 0..10 {
            f.gc().expect("gc");
        }
    });
    let refs = f.store.refs().expect("refs");
    assert_eq!(refs.len(), 32);
    for entry in refs {
        let manifest = f
            .store
            .read(&entry.descriptor().expect("descriptor"))
            .expect("manifest");
        let manifest: crate::spec::Manifest = crate::spec::json::parse(&manifest).expect("json");
        assert!(f.there(&[manifest.config.digest, manifest.layers[0].digest]));
    }
}
