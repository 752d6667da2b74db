// SPDX-License-Identifier: Apache-2.0
//! The targets of the fuzzer on stored inputs, and on the same few changes of each: quick, and the same everywhere.
//! `tests/fuzz/run.sh` searches for new ones.

use std::panic::catch_unwind;
use std::path::Path;

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
