// SPDX-License-Identifier: Apache-2.0
//! Tables of contents as bytes and back.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::layer::{LayerWriter, Limits};
use crate::node::{Node, Time, TreePath, Xattrs};

fn nodes() -> impl Strategy<Value = EntryBody> {
    let kind = prop_oneof![
        any::<u64>().prop_map(|size| NodeKind::File { size: size >> 20 }),
        Just(NodeKind::Dir),
        proptest::collection::vec(1_u8.., 0..20).prop_map(|target| NodeKind::Symlink { target }),
        any::<(u32, u32)>().prop_map(|(major, minor)| NodeKind::Char { major, minor }),
        any::<(u32, u32)>().prop_map(|(major, minor)| NodeKind::Block { major, minor }),
        Just(NodeKind::Fifo),
    ];
    let xattrs = proptest::collection::btree_map(any::<Vec<u8>>(), any::<Vec<u8>>(), 0..3);
    let times = (any::<i64>(), prop_oneof![Just(0), 0..1_000_000_000_u32]);
    let node = (
        kind,
        0..0o10000_u32,
        any::<(u32, u32)>(),
        times,
        xattrs,
        any::<Option<(i64, bool)>>(),
    );
    let node = node.prop_map(|(kind, mode, (uid, gid), (sec, nsec), xattrs, atime)| Node {
        kind,
        mode,
        uid,
        gid,
        mtime: Time { sec, nsec },
        atime: atime.map(|(sec, half)| Time {
            sec,
            nsec: 500_000_000 * u32::from(half),
        }),
        xattrs,
    });
    prop_oneof![
        8 => node.prop_map(EntryBody::Node),
        1 => paths().prop_map(|target| EntryBody::HardLink { target }),
        1 => Just(EntryBody::Whiteout),
        1 => Just(EntryBody::Opaque),
    ]
}

fn paths() -> impl Strategy<Value = TreePath> {
    let path = proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'a'), 1_u8..], 0..40);
    path.prop_map(|bytes| TreePath::clean(&bytes).expect("path"))
}

fn entries() -> impl Strategy<Value = Vec<(Entry, u64, FileDigest)>> {
    let entry = (paths(), nodes(), 0..1_u64 << 40, any::<FileDigest>());
    let entry = entry.prop_map(|(path, body, span, digest)| (Entry { path, body }, span, digest));
    proptest::collection::vec(entry, 0..40)
}

proptest! {
    #[test]
    fn entries_come_back_as_they_were(entries in entries()) {
        let diff_id = Digest::sha256(b"tar");
        let mut builder = TocBuilder::default();
        let (mut want, mut at) = (Vec::new(), 0);
        for (entry, span, digest) in entries {
            let number = builder.add(&entry, at + span);
            if let Some(number) = number {
                builder.set_digest(number, digest);
            }
            want.push(TocEntry { digest: number.map(|_| digest), entry, start: at, span });
            at += span;
        }
        let bytes = builder.finish(&diff_id, at).expect("encode");
        let toc = Toc::decode(&bytes, &diff_id).expect("decode");
        prop_assert_eq!(&toc.entries, &want);
        let prefixes = digest_prefixes(&mut std::io::Cursor::new(&bytes), &diff_id).expect("prefixes");
        prop_assert!(toc.digests().map(|(_, digest)| &digest[..8]).eq(prefixes.iter().map(|prefix| &prefix[..])));
    }
}

proptest! {
    /// Columns with right sums, of which a forger made any bytes.
    #[test]
    fn forged_columns_end_in_entries_or_an_error(
        entries in entries(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut columns = Columns::default();
        for (entry, span, _) in &entries {
            columns.add(entry, *span);
        }
        let mut bytes = columns.to_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(mut reader) = columns::Reader::new(&bytes) {
            while let Ok(Some((entry, ..))) = reader.next() {
                prop_assert!(TreePath::clean(entry.path.as_bytes()).expect("path") == entry.path);
            }
        }
    }
}

fn sample() -> (Vec<u8>, Digest) {
    let mut tar = LayerWriter::new(Vec::new(), b".");
    for n in 0..200_u32 {
        let node = Node {
            kind: NodeKind::File { size: 4 },
            xattrs: Xattrs::new(),
            ..Node::dir(0o644)
        };
        let path = TreePath::clean(format!("usr/share/{n}").as_bytes()).expect("path");
        tar.node(&path, &node, &mut &n.to_le_bytes()[..]).expect("node");
    }
    let tar = tar.finish().expect("tar");
    let mut builder = TocBuilder::default();
    builder
        .add_all(&mut LayerReader::new(&tar[..], Limits::default()))
        .expect("read");
    let diff_id = Digest::sha256(&tar);
    (
        builder.finish(&diff_id, tar.len() as u64).expect("encode"),
        diff_id,
    )
}

#[test]
fn a_file_that_is_cut_or_altered_is_an_error() {
    let (bytes, diff_id) = sample();
    let toc = Toc::decode(&bytes, &diff_id).expect("whole");
    assert_eq!(toc.entries.len(), 200);
    assert_eq!(
        toc.entries[7].digest,
        Some(file_digest(&Digest::sha256(&7_u32.to_le_bytes())))
    );
    assert_eq!(toc.entries[7].start, 7 * 1024);
    assert!(Toc::decode(&bytes, &Digest::sha256(b"another")).is_err());
    for at in 0..bytes.len() {
        assert!(Toc::decode(&bytes[..at], &diff_id).is_err(), "cut at {at}");
        let mut altered = bytes.clone();
        altered[at] ^= 0x10;
        let err = Toc::decode(&altered, &diff_id).expect_err("altered");
        assert_eq!(err.kind(), ErrorKind::Corrupt, "altered at {at}: {err}");
    }
}

#[test]
fn a_table_is_small() {
    let (bytes, _) = sample();
    assert!(
        bytes.len() < 200 * 36 + 384 + 200,
        "{} bytes for 200 entries",
        bytes.len()
    );
}
