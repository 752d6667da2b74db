// SPDX-License-Identifier: Apache-2.0
//! Odd archives, read by us as others read them.
//!
//! Where GNU tar, bsdtar and the Go tool agree, we agree. Where they do not, an archive is read as the Go tool reads it, and where
//! that refuses, as GNU tar does. [`table::rows`] lists what they do not agree on, and what we do otherwise.
//!
//! `UMOCI_ODD_SHOW=1` shows how each oddity is read, for a new row; `UMOCI_ODD_ARCHIVES` and `UMOCI_ODD_BEGIN` say how many archives the
//! generator makes, and from which number on.

mod ends;
mod entry;
mod extended;
mod headers;
mod oddities;
mod readers;
mod sparse;
mod table;
mod together;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ends::End;
use entry::Entry;
use oddities::Oddity;
use readers::{Reading, Readings};
use table::Row;

/// A generator of numbers that are the same on every machine.
struct Random(u64);

impl Random {
    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % n as u64) as usize
    }
}

/// Something odd: its subject and value.
type Odd = (String, String);

/// An archive, and what is odd about it.
struct Archive {
    bytes: Vec<u8>,
    odd: Vec<Odd>,
}

impl Archive {
    /// A file `first`, these entries, a file `last`, and this end.
    fn of(entries: &[Entry], end: &End) -> Vec<u8> {
        let mut bytes = Vec::new();
        Entry::new(b"first").write(&mut bytes);
        for entry in entries {
            entry.write(&mut bytes);
        }
        Entry::new(b"last").write(&mut bytes);
        (end.apply)(&mut bytes);
        bytes
    }

    /// What is odd about an entry with this value of a subject, some of which depend on what the entry is.
    fn chosen(entry: &Entry, subject: &str, value: &str) -> Vec<Odd> {
        let has_no_owner = matches!(entry.flag, b'1' | b'V') || entry.name.starts_with(b".wh.");
        let is_size = subject.starts_with("size") && subject != "size without content";
        let also = match (subject, entry.flag) {
            // A header before it may give it another name.
            ("type of a whiteout", _) => Some("type"),
            (_, b'1') if is_size => Some("size of a link"),
            (_, b'2') if is_size => Some("size of a symlink"),
            (_, b'5') if is_size => Some("size of a directory"),
            (_, b'6') if is_size => Some("size of a fifo"),
            ("size of an empty file", _) => Some("size"),
            _ if is_size && entry.content.is_empty() => Some("size of an empty file"),
            ("uid" | "gid", _) if has_no_owner => Some("uid of a link"),
            ("PAX uid" | "PAX gid", _) if has_no_owner => Some("PAX uid of a link"),
            ("major of a file", b'3' | b'4') => Some("major"),
            ("major" | "minor", b'3' | b'4') => None,
            ("major" | "minor", _) => Some("major of a file"),
            _ => None,
        };
        let subjects = std::iter::once(subject).chain(also);
        subjects.map(|s| (s.to_owned(), value.to_owned())).collect()
    }

    /// The archive with this number: one or two entries, each odd in one or two ways, and an end that may be odd; or one entry with
    /// some other byte in a field.
    fn numbered(number: usize, oddities: &[Oddity], ends: &[End]) -> Self {
        let mut random = Random(number as u64);
        if random.below(8) == 0 {
            let (subject, at) = &FIELDS[random.below(FIELDS.len())];
            let byte = b"\0 017895-+ax/\x80\xff"[random.below(15)];
            let mut entry = Entry::new(b"a");
            entry.fields.push((at.start + random.below(at.len()), vec![byte]));
            let odd = vec![((*subject).to_owned(), "another byte".to_owned())];
            return Self {
                bytes: Self::of(&[entry], &ends[0]),
                odd,
            };
        }
        let mut odd: Vec<Odd> = Vec::new();
        let mut entries = Vec::new();
        for name in [b"a", b"b"].into_iter().take(1 + random.below(2)) {
            let mut entry = Entry::new(name);
            let mut all_chosen = Vec::new();
            for _ in 0..=random.below(2) {
                // By subject first: some have very many values.
                let subject = oddities[random.below(oddities.len())].subject;
                let of_it: Vec<&Oddity> = oddities.iter().filter(|o| o.subject == subject).collect();
                let chosen = of_it[random.below(of_it.len())];
                // An entry has one type and one content; what says another would undo what is odd about the first.
                if chosen.says_what_it_is() && entry.is_told() {
                    continue;
                }
                (chosen.apply)(&mut entry);
                all_chosen.push(chosen);
            }
            for chosen in all_chosen {
                odd.extend(Self::chosen(&entry, chosen.subject, &chosen.value));
            }
            entries.push(entry);
        }
        odd.extend(together::found(&entries, &odd));
        let mut end = &ends[0];
        if random.below(4) == 0 {
            end = &ends[random.below(ends.len())];
            odd.push(("end".to_owned(), end.value.to_owned()));
        }
        Self {
            bytes: Self::of(&entries, end),
            odd,
        }
    }
}

/// Fields of a header, by subject.
const FIELDS: [(&str, std::ops::Range<usize>); 9] = [
    ("name", 1..100),
    ("mode", 100..108),
    ("uid", 108..116),
    ("gid", 116..124),
    ("size", 124..136),
    ("mtime", 136..148),
    ("type", 156..157),
    ("magic", 257..265),
    ("prefix", 345..500),
];

/// Applies `job` to the numbers below `count`, on two threads.
fn each(count: usize, job: impl Fn(usize, &Path) + Sync) {
    let room = crate::support::Env::in_memory();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    job(number, &room.path("."));
                }
            });
        }
    });
}

/// Rows that speak of something odd about an archive.
fn rows(odd: &[Odd]) -> impl Iterator<Item = &'static Row> + '_ {
    table::rows().filter(|row| {
        let speaks = |(subject, value): &Odd| {
            row.speaks_of(subject, value)
                || (value == "another byte" && row.subjects.contains(&subject.as_str()))
        };
        odd.iter().any(speaks)
    })
}

/// What is wrong with how an archive is read: a difference that no row speaks of.
fn wrong(readings: &Readings, odd: &[Odd]) -> Option<&'static str> {
    let signs = readings.signs();
    let others_agree = signs[..3].chars().all(|c| signs.starts_with(c));
    if !others_agree && rows(odd).next().is_none() {
        return Some("others disagree, and no row says so");
    }
    if readings.ours_is_right() {
        return None;
    }
    // Each oddity has its own rule, so the whole may be read as neither does; then a row says so of the Go tool, and where that
    // refuses, another of GNU tar.
    let is_told = |reading: &Reading, program| {
        *reading == readings.ours || rows(odd).any(|row| row.parts_us_from(program, readings.ours.is_none()))
    };
    let all_told = is_told(&readings.go, 0) && (readings.go.is_some() || is_told(&readings.gnu, 1));
    (!all_told).then_some("not as Go, or GNU tar where Go refuses")
}

/// All that is odd in one way alone.
fn alone() -> Vec<Archive> {
    let ends = ends::ends();
    let mut out: Vec<Archive> = oddities::all()
        .iter()
        .map(|oddity| {
            let mut entry = Entry::new(b"a");
            (oddity.apply)(&mut entry);
            let odd = vec![(oddity.subject.to_owned(), oddity.value.clone())];
            Archive {
                bytes: Archive::of(&[entry], &ends[0]),
                odd,
            }
        })
        .collect();
    out.extend(ends.iter().map(|end| Archive {
        bytes: Archive::of(&[], end),
        odd: vec![("end".to_owned(), end.value.to_owned())],
    }));
    out
}

#[test]
#[ignore = "needs root, the packaged umoci and bsdtar: run by tests/all.sh"]
fn the_table_says_how_each_oddity_is_read() {
    let archives = alone();
    let report = Mutex::new(vec![String::new(); archives.len()]);
    each(archives.len(), |at, room| {
        let archive = &archives[at];
        let (subject, value) = &archive.odd[0];
        let readings = Readings::of(&archive.bytes, room);
        let signs = readings.signs();
        let row = table::rows().find(|row| row.speaks_of(subject, value));
        let agree = signs[..3].chars().all(|c| signs.starts_with(c)) && readings.ours_is_right();
        let expected = row.map_or(agree, |row| row.signs == signs);
        if !expected || std::env::var_os("UMOCI_ODD_SHOW").is_some() {
            let said = row.map_or("no row", |row| row.signs);
            let right = if readings.ours_is_right() { "" } else { " WRONG" };
            report.lock().expect("report")[at] = format!(
                "{subject} | {value} | {signs} ({said}){right}\n{}",
                show(&readings)
            );
        }
    });
    let report = report.into_inner().expect("report").concat();
    assert!(report.is_empty(), "{report}");
}

#[test]
fn every_row_speaks_of_something() {
    let archives = alone();
    for row in table::rows() {
        for subject in row.subjects {
            for value in row.values {
                let found = archives
                    .iter()
                    .any(|a| a.odd[0].0 == *subject && a.odd[0].1 == *value);
                assert!(found, "{subject}: {value}");
            }
        }
        assert!(row.signs.len() == 4 && !row.why.is_empty(), "{:?}", row.subjects);
    }
}

#[test]
#[ignore = "needs root, the packaged umoci and bsdtar: run by tests/all.sh; UMOCI_ODD_ARCHIVES says how many"]
fn odd_archives_are_read_as_others_read_them() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<usize>().ok());
    let count = number("UMOCI_ODD_ARCHIVES").unwrap_or(300);
    let begin = number("UMOCI_ODD_BEGIN").unwrap_or(0);
    let (oddities, ends) = (oddities::all(), ends::ends());
    let report = Mutex::new(String::new());
    let wrongs = AtomicUsize::new(0);
    each(count, |at, room| {
        let archive = Archive::numbered(begin + at, &oddities, &ends);
        let readings = Readings::of(&archive.bytes, room);
        if let Some(why) = wrong(&readings, &archive.odd)
            && wrongs.fetch_add(1, Ordering::Relaxed) < 40
        {
            let mut report = report.lock().expect("report");
            let odd: Vec<String> = archive.odd.iter().map(|(s, v)| format!("{s}: {v}")).collect();
            write!(
                report,
                "archive {}: {why}: {}\n  {}\n{}",
                begin + at,
                readings.signs(),
                odd.join("\n  "),
                show(&readings)
            )
            .expect("report");
        }
    });
    let wrongs = wrongs.into_inner();
    let report = report.into_inner().expect("report");
    assert!(wrongs == 0, "{wrongs} of {count} archives\n{report}");
}

/// What each made of an archive.
fn show(readings: &Readings) -> String {
    let mut out = String::new();
    for (who, reading) in [
        ("Go", &readings.go),
        ("GNU", &readings.gnu),
        ("bsdtar", &readings.bsd),
        ("ours", &readings.ours),
    ] {
        let text = match reading {
            None if who == "ours" => format!("refused: {}", readings.refusal),
            None => "refused".to_owned(),
            Some(tree) => {
                let paths = tree
                    .iter()
                    .filter(|(name, _)| *name != "first" && *name != "last");
                let mut lines: Vec<String> = paths.map(|(name, what)| format!("{name}: {what}")).collect();
                let ends = ["first", "last"].map(|name| tree.get(name).map_or("no", |_| ""));
                lines.push(format!("[{} {}]", ends[0], ends[1]));
                lines.join("; ")
            }
        };
        writeln!(out, "    {who:<7}{text}").expect("text");
    }
    out
}
