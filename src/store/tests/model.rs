// SPDX-License-Identifier: Apache-2.0
//! A store against a model of it: random sequences of all that can be done to one, by us and by other programs.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::digest::{Algorithm, Digest};
use crate::index::{Index, Place, Rows};
use crate::layout::BlobName;
use crate::progress::Silent;
use crate::spec::{Descriptor, MediaType, RefName};
use crate::store::{CheckOptions, GcOptions, Severity, Store, StoreOptions};

/// A document, the blobs that come with it, and all that it names.
struct Object {
    media_type: &'static str,
    text: String,
    parts: Vec<String>,
    needs: Vec<Digest>,
    subject: Option<Digest>,
}

impl Object {
    fn digest(&self) -> Digest {
        Digest::sha256(self.text.as_bytes())
    }
}

fn image(n: usize, media_type: &'static str, config_type: &str, subject: Option<Digest>) -> Object {
    let parts = vec![
        format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{0}","{0}"]}},"n":{n}}}"#,
            Digest::sha256(b"")
        ),
        "a layer that all share".to_owned(),
        format!("layer {n}"),
    ];
    let needs: Vec<Digest> = parts.iter().map(|p| Digest::sha256(p.as_bytes())).collect();
    let descriptor = |at: usize, media_type: &str| {
        format!(
            r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#,
            needs[at],
            parts[at].len()
        )
    };
    let about = subject.map_or_else(String::new, |s| {
        format!(
            r#","subject":{{"mediaType":"{}","digest":"{s}","size":1}}"#,
            MediaType::MANIFEST
        )
    });
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{},"layers":[{},{}]{about}}}"#,
        descriptor(0, config_type),
        descriptor(1, MediaType::LAYER),
        descriptor(2, MediaType::LAYER)
    );
    Object {
        media_type,
        text,
        parts,
        needs,
        subject,
    }
}

fn index(of: &[&Object]) -> Object {
    let child = |o: &&Object| {
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
            o.media_type,
            o.digest(),
            o.text.len()
        )
    };
    let list: Vec<String> = of.iter().map(child).collect();
    Object {
        media_type: MediaType::INDEX,
        text: format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
            MediaType::INDEX,
            list.join(",")
        ),
        parts: Vec::new(),
        needs: of.iter().map(|o| o.digest()).collect(),
        subject: None,
    }
}

/// Images, indexes of indexes, what is about an image, Docker's types, and what nobody knows.
fn objects() -> Vec<Object> {
    let mut out: Vec<Object> = (0..3)
        .map(|n| image(n, MediaType::MANIFEST, MediaType::CONFIG, None))
        .collect();
    out.push(index(&[&out[0], &out[1]]));
    out.push(index(&[&out[3], &out[2]]));
    out.push(image(
        5,
        MediaType::MANIFEST,
        MediaType::CONFIG,
        Some(out[0].digest()),
    ));
    out.push(image(
        6,
        MediaType::MANIFEST,
        MediaType::CONFIG,
        Some(out[5].digest()),
    ));
    out.push(image(
        7,
        MediaType::DOCKER_MANIFEST,
        MediaType::DOCKER_CONFIG,
        None,
    ));
    let wanted = out[2].needs[2];
    out.push(Object {
        media_type: "application/x-unknown",
        text: format!(r#"{{"where":{{"is":["{wanted}"]}}}}"#),
        parts: Vec::new(),
        needs: vec![wanted],
        subject: None,
    });
    out
}

struct Model {
    _dir: tempfile::TempDir,
    store: Store,
    objects: Vec<Object>,
    present: BTreeSet<Digest>,
    refs: BTreeMap<String, usize>,
    leases: BTreeMap<String, usize>,
    /// Something was deleted by hand.
    harmed: bool,
}

impl Model {
    fn new() -> Self {
        let dir = crate::layout::scratch();
        let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
        Self {
            _dir: dir,
            store,
            objects: objects(),
            present: BTreeSet::new(),
            refs: BTreeMap::new(),
            leases: BTreeMap::new(),
            harmed: false,
        }
    }

    fn has(&self, object: usize) -> bool {
        self.present.contains(&self.objects[object].digest())
    }

    fn descriptor(&self, object: usize) -> Descriptor {
        let object = &self.objects[object];
        Descriptor::new(object.media_type, object.digest(), object.text.len() as u64)
    }

    /// All that refs and leases keep.
    fn kept(&self) -> BTreeSet<Digest> {
        let mut stack: Vec<Digest> = self
            .refs
            .values()
            .chain(self.leases.values())
            .map(|&o| self.objects[o].digest())
            .collect();
        let mut kept = BTreeSet::new();
        loop {
            while let Some(digest) = stack.pop() {
                // What is not there keeps nothing.
                if self.present.contains(&digest) && kept.insert(digest) {
                    let object = self.objects.iter().find(|o| o.digest() == digest);
                    stack.extend(object.into_iter().flat_map(|o| o.needs.iter().copied()));
                }
            }
            let about =
                |o: &&Object| o.subject.is_some_and(|s| kept.contains(&s)) && !kept.contains(&o.digest());
            stack = self
                .objects
                .iter()
                .filter(about)
                .map(Object::digest)
                .filter(|digest| self.present.contains(digest))
                .collect();
            if stack.is_empty() {
                return kept;
            }
        }
    }

    fn run(&mut self, op: u8, object: usize, name: u8) {
        let tag = format!("t{name}");
        let parsed: RefName = tag.parse().expect("name");
        let layout = self.store.layout().clone();
        match op {
            // Written by us, or by a program that knows no index.
            0 | 1 => {
                let mut txn = (op == 0).then(|| self.store.begin("test").expect("begin"));
                let o = &self.objects[object];
                for (at, text) in o.parts.iter().chain([&o.text]).enumerate() {
                    let digest = Digest::sha256(text.as_bytes());
                    match &mut txn {
                        Some(txn) => {
                            let types = [MediaType::CONFIG, MediaType::LAYER, MediaType::LAYER];
                            let media_type = types
                                .get(at)
                                .filter(|_| at < o.parts.len())
                                .unwrap_or(&o.media_type);
                            txn.put(text.as_bytes(), *media_type).expect("put");
                        }
                        None => std::fs::write(layout.blob_path(&digest), text).expect("write"),
                    }
                    self.present.insert(digest);
                }
                if let Some(txn) = txn {
                    txn.commit().expect("commit");
                }
            }
            2 | 3 if self.has(object) => {
                let descriptor = self.descriptor(object);
                if op == 2 {
                    self.store.set_ref(&parsed, descriptor).expect("tag");
                } else {
                    let mut index = layout.read_index().expect("index");
                    index.set_ref(&parsed, descriptor).expect("set");
                    std::fs::write(layout.path().join("index.json"), index.to_bytes())
                        .expect("write in place");
                }
                self.refs.insert(tag, object);
            }
            4 => {
                let there = self.refs.remove(&tag).is_some();
                assert_eq!(self.store.remove_ref(&tag).expect("remove"), there);
            }
            5 if self.has(object) => {
                let digest = self.objects[object].digest();
                self.store.create_lease(&tag, &[digest], None).expect("lease");
                self.leases.insert(tag, object);
            }
            6 => {
                let there = self.leases.remove(&tag).is_some();
                assert_eq!(self.store.remove_lease(&tag).expect("remove"), there);
            }
            7 | 8 => {
                let opts = GcOptions {
                    full: op == 8,
                    ..GcOptions::default()
                };
                let plan = self.store.plan_gc(&opts, &Silent).expect("plan");
                assert!(plan.differences().is_empty(), "{:?}", plan.differences());
                self.store.collect(plan, &Silent).expect("collect");
                self.present = self.kept();
            }
            9 => {
                std::fs::remove_dir_all(layout.private_dir()).expect("remove");
                self.leases.clear();
            }
            10 => assert!(self.store.rebuild_index(&Silent).expect("rebuild").is_empty()),
            11 if self.has(object) => {
                let digest = self.objects[object].digest();
                std::fs::remove_file(layout.blob_path(&digest)).expect("remove");
                self.present.remove(&digest);
                self.harmed = true;
            }
            _ => {}
        }
    }

    /// The index counts as one that knows nothing would, and the layout holds what the model says.
    fn compare(&self) {
        let dump = |mut index: Index<'_>| index.read(Rows::dump).expect("dump");
        let kept = dump(self.store.index(&Silent));
        let memory = Index::new(self.store.layout(), Place::Memory, &Silent);
        assert_eq!(kept, dump(memory));
        let blobs = self.store.layout().blobs(Algorithm::Sha256).expect("list");
        let found: BTreeSet<Digest> = blobs
            .map(|name| match name.expect("name") {
                BlobName::Digest(digest) => digest,
                BlobName::Stray(name) => panic!("{}", name.display()),
            })
            .collect();
        assert_eq!(found, self.present);
        let names: BTreeSet<String> = self.store.names().expect("names").into_iter().collect();
        assert_eq!(names, self.refs.keys().cloned().collect());
        let usage = self.store.usage(&Silent).expect("usage");
        assert_eq!(
            usage.total,
            usage.alone + usage.shared + usage.garbage + usage.spared
        );
        assert_eq!(usage.alone, usage.images.iter().map(|i| i.alone).sum::<u64>());
        if !self.harmed {
            let report = self
                .store
                .check(&CheckOptions::default(), &Silent)
                .expect("check");
            let errors: Vec<_> = report
                .findings
                .iter()
                .filter(|f| f.severity == Severity::Error)
                .collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_does_what_its_model_says(ops in prop::collection::vec((0..12_u8, 0..9_usize, 0..3_u8), 1..30)) {
        let mut model = Model::new();
        for (op, object, name) in ops {
            model.run(op, object, name);
            model.compare();
        }
    }
}
