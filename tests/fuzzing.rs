// SPDX-License-Identifier: Apache-2.0
//! The targets of the fuzzer on stored inputs, and on the same few changes of each: quick, and the same everywhere.
//! `tests/fuzz/run.sh` searches for new ones.

use std::collections::{HashMap, HashSet};
use std::panic::catch_unwind;
use std::path::Path;

use umoci::digest::Digest;
use umoci::progress::Silent;
use umoci::spec::{Descriptor, MediaType};
use umoci::store::{GcOptions, Store, StoreOptions};

#[path = "fuzz/targets.rs"]
mod targets;

/// Changes of each seed that are tried.
const CHANGES: u64 = 500;

/// Changes `bytes` in one to four places.
fn change(bytes: &mut Vec<u8>, seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for _ in 0..=random(4) {
        let at = random(bytes.len());
        match random(7) {
            _ if bytes.is_empty() => bytes.push(random(256) as u8),
            0 => bytes[at] ^= 1 << random(8),
            1 => bytes[at] = random(256) as u8,
            2 => bytes[at] = [0, b'0', b'/', b'.', 0xff, b'\n', b' ', b'9'][random(8)],
            3 => bytes.truncate(at),
            4 => drop(bytes.remove(at)),
            5 => bytes.insert(at, random(256) as u8),
            // A piece of it comes twice: an entry, a line, a member.
            _ => {
                let end = (at + 1 + random(1024)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
}

#[test]
fn stored_inputs_and_changes_of_them_break_no_promise() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    for (name, body) in targets::ALL {
        let mut seeds = Vec::new();
        for folder in ["corpus", "regressions"] {
            let Ok(entries) = std::fs::read_dir(top.join(folder).join(name)) else {
                continue;
            };
            seeds.extend(entries.map(|e| e.expect("entry").path()));
        }
        assert!(seeds.len() > 1, "{name} has no stored inputs");
        seeds.sort();
        for path in seeds {
            let seed = std::fs::read(&path).expect("seed");
            for n in 0..=CHANGES {
                let mut bytes = seed.clone();
                if n > 0 {
                    change(&mut bytes, n);
                }
                if catch_unwind(|| body(&bytes)).is_err() {
                    let kept = std::env::temp_dir().join(format!("umoci-{name}-{n}"));
                    let _ = std::fs::write(&kept, &bytes);
                    panic!(
                        "{name}: change {n} of {} breaks it; kept as {}",
                        path.display(),
                        kept.display()
                    );
                }
            }
        }
    }
}

/// Documents that are put together at random of all that tells their kind. `UMOCI_TEST_DOCUMENTS` says how many.
#[test]
fn documents_of_every_make_keep_what_they_declare() {
    let asked = std::env::var("UMOCI_TEST_DOCUMENTS").ok();
    let count = asked.and_then(|count| count.parse().ok()).unwrap_or(5000_u64);
    for seed in 0..count {
        let text = Made::new(seed).document();
        let kept = catch_unwind(|| targets::documents(text.as_bytes()));
        assert!(kept.is_ok(), "document {seed} breaks a promise: {text}");
    }
}

/// Layouts of documents that name one another at random: `gc` removes nothing that version 0.1.0 kept.
#[test]
fn a_collection_keeps_what_0_1_0_kept() {
    let mut options = GcOptions::default();
    options.grace = Some(std::time::Duration::ZERO);
    let mut removed = 0;
    for seed in 0..150 {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
        let mut made = Made::new(seed);
        made.names = vec![Digest::sha256(b"layer")];
        std::fs::write(store.layout().blob_path(&made.names[0]), "layer").expect("write");
        let mut edges = HashMap::new();
        let mut roots = Vec::new();
        for number in 0..14 {
            let text = made.document();
            let digest = Digest::sha256(text.as_bytes());
            std::fs::write(store.layout().blob_path(&digest), &text).expect("write");
            edges.insert(digest, targets::edges::edges_of_0_1_0(text.as_bytes()));
            made.names.push(digest);
            if made.below(5) == 0 {
                let descriptor = Descriptor::new(MediaType::MANIFEST, digest, text.len() as u64);
                let name = format!("t{number}").parse().expect("name");
                store.create_ref(&name, descriptor).expect("ref");
                roots.push(digest);
            }
        }
        let kept = reachable(&edges, roots);
        let plan = store.plan_gc(&options, &Silent).expect("plan");
        for digest in plan.remove().keys() {
            assert!(!kept.contains(digest), "layout {seed}: {digest}");
        }
        removed += plan.remove().len();
    }
    assert!(removed > 300, "only {removed} blobs were garbage");
}

/// Returns the blobs that are needed by roots, and those that are about one of them, with all that they need.
fn reachable(edges: &HashMap<Digest, Vec<(bool, Digest)>>, roots: Vec<Digest>) -> HashSet<Digest> {
    let mut kept = HashSet::new();
    let mut stack = roots;
    while let Some(digest) = stack.pop() {
        if !kept.insert(digest) {
            continue;
        }
        let needed = edges.get(&digest).into_iter().flatten();
        stack.extend(
            needed
                .filter(|(is_subject, _)| !is_subject)
                .map(|(_, needed)| *needed),
        );
        let is_about = |found: &&(bool, Digest)| **found == (true, digest);
        let about = edges
            .iter()
            .filter(|(_, named)| named.iter().any(|named| is_about(&named)));
        stack.extend(about.map(|(referrer, _)| *referrer));
    }
    kept
}

/// Makes JSON at random.
struct Made {
    state: u64,
    /// The digests that stand in it.
    names: Vec<Digest>,
}

impl Made {
    const NAMES: [&'static str; 22] = [
        "config",
        "layers",
        "manifests",
        "blobs",
        "subject",
        "rootfs",
        "os",
        "architecture",
        "fsLayers",
        "artifactType",
        "mediaType",
        "annotations",
        "digest",
        "size",
        "urls",
        "x",
        "Layers",
        "CONFIG",
        "manife\\u017fts",
        "Digest",
        "mediatype",
        "\\u0064igest",
    ];

    fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            names: (0..64).map(|byte| Digest::sha256(&[byte])).collect(),
        }
    }

    fn below(&mut self, count: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((self.state >> 11) % count as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn digest(&mut self) -> String {
        let at = self.below(self.names.len());
        let digest = self.names[at].to_string();
        match self.below(12) {
            0 => digest.replace(':', "\\u003a"),
            1 => digest.to_uppercase(),
            2 => format!("x={digest}"),
            _ => digest,
        }
    }

    /// A descriptor, most often a good one.
    fn descriptor(&mut self) -> String {
        let digest = self.digest();
        match self.below(16) {
            0 => format!("{digest:?}"),
            1 => "null".to_owned(),
            2 => format!(r#"{{"digest":"{digest}"}}"#),
            3 => format!(r#"{{"digest":"{digest}","size":1,"x":{}}}"#, self.descriptor()),
            4 => format!(r#"{{"digest":"{digest}","size":1,"digest":"{}"}}"#, self.digest()),
            5 => format!(r#"{{"Digest":"{digest}","size":1}}"#),
            _ => format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1}}"#),
        }
    }

    fn list(&mut self) -> String {
        let items: Vec<String> = (0..self.below(4)).map(|_| self.descriptor()).collect();
        format!("[{}]", items.join(","))
    }

    fn value(&mut self, depth: usize) -> String {
        match self.below(8) {
            0 => self
                .one(&["null", "7", "true", "\"text\"", "[]", "{}", "-1.5e3"])
                .to_owned(),
            1 | 2 => self.list(),
            3 if depth > 0 => self.object(depth - 1),
            4 => format!("\"{}\"", self.digest()),
            _ => self.descriptor(),
        }
    }

    fn object(&mut self, depth: usize) -> String {
        let mut members = Vec::new();
        for _ in 0..self.below(7) {
            let name = self.one(&Self::NAMES);
            members.push(format!("\"{name}\":{}", self.value(depth)));
        }
        format!("{{{}}}", members.join(","))
    }

    fn document(&mut self) -> String {
        let more = |text: String, member: String| match text.strip_suffix('}') {
            Some("{") => format!("{{{member}}}"),
            Some(start) => format!("{start},{member}}}"),
            None => text,
        };
        let text = self.object(2);
        let text = match self.below(8) {
            0 => {
                let member = format!("\"config\":{},\"layers\":{}", self.descriptor(), self.list());
                more(text, member)
            }
            1 => {
                let member = format!("\"manifests\":{}", self.list());
                more(text, member)
            }
            2 => {
                let member = format!("\"artifactType\":\"a/b\",\"blobs\":{}", self.list());
                more(text, member)
            }
            3 => more(text, "\"os\":\"linux\",\"rootfs\":{}".to_owned()),
            4 => {
                let document = [
                    format!("\"config\":{}", self.descriptor()),
                    format!("\"layers\":{}", self.list()),
                    format!("\"subject\":{}", self.descriptor()),
                ];
                format!("{{{}}}", document.join(","))
            }
            _ => text,
        };
        match self.below(16) {
            0 => format!("{text}{}", self.one(&["x", ",", "}", "\0"])),
            1 => text[..self.below(text.len())].to_owned(),
            2 => format!("[{text}]"),
            3 => format!("  \n{text}"),
            4 => format!("\u{feff}{text}"),
            _ => text,
        }
    }
}

/// Every target has a file that the fuzzer runs, and every file is a target.
#[test]
fn no_target_is_forgotten() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let stems = |folder: &str| {
        let entries = std::fs::read_dir(top.join(folder)).expect(folder);
        let stem = |p: std::path::PathBuf| p.file_stem().expect("name").to_str().expect("utf-8").to_owned();
        let mut out: Vec<String> = entries.map(|e| stem(e.expect("entry").path())).collect();
        out.sort();
        out
    };
    let mut names = targets::ALL.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(
        (stems("fuzz_targets"), stems("corpus")),
        (
            names.map(str::to_owned).to_vec(),
            names.map(str::to_owned).to_vec()
        )
    );
}
