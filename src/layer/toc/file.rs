// SPDX-License-Identifier: Apache-2.0
//! The file of a table of contents: a head, then three sections: columns compressed by zstd, the first eight bytes of each digest of
//! a file, and the other bytes. A reader that needs one section reads no other. See docs/format.md.

use std::io::{Read, Seek, SeekFrom};

use super::columns::{Columns, Reader, damaged, put, put_bytes, take, take_bytes};
use super::{FileDigest, Toc, TocEntry};
use crate::digest::{Algorithm, Digest};
use crate::error::Result;

const MAGIC: &[u8; 8] = b"umociTOC";

/// Version of the format; files of another are made anew.
const VERSION: u64 = 1;

/// Level at which columns are compressed.
const ZSTD_LEVEL: i32 = 3;

/// Bytes that the head takes, filled up with zeros.
const HEAD: usize = 384;

/// Bytes of the sum at the end of the head, and of that of a section.
const SUM: usize = 32;

/// Bytes of a digest that stand in the second section; the others are in the third.
const PREFIX: usize = 8;

/// Maximum size of the columns in bytes: some 20 million entries of usual names.
const MAX_COLUMNS: u64 = 1 << 30;

/// The beginning of the file.
struct Head {
    diff_id: Digest,
    tar_size: u64,
    entries: u64,
    files: u64,
    /// Size of the columns before they were compressed.
    columns: u64,
    /// Sizes and sums of the sections.
    sections: [(u64, [u8; SUM]); 3],
}

impl Head {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put(&mut out, VERSION);
        put_bytes(&mut out, self.diff_id.to_string().as_bytes());
        for number in [self.tar_size, self.entries, self.files, self.columns] {
            put(&mut out, number);
        }
        for (size, sum) in &self.sections {
            put(&mut out, *size);
            out.extend_from_slice(sum);
        }
        out.resize(HEAD - SUM, 0);
        out.extend_from_slice(&sum(&out));
        out
    }

    /// Reads the head of a table about `diff_id`.
    fn read(bytes: &[u8], diff_id: &Digest) -> Result<Self> {
        let (told, its_sum) = bytes.split_at_checked(HEAD - SUM).ok_or_else(damaged)?;
        // The sum comes first: a version of the future may look like damage, which is the same to us.
        if its_sum.get(..SUM) != Some(&sum(told)) {
            return Err(damaged());
        }
        let mut rest = told.strip_prefix(MAGIC).ok_or_else(damaged)?;
        if take(&mut rest)? != VERSION || take_bytes(&mut rest, HEAD)? != diff_id.to_string().as_bytes() {
            return Err(damaged());
        }
        let [tar_size, entries, files, columns] = [(); 4].map(|()| take(&mut rest));
        let mut sections = [(0, [0; SUM]); 3];
        for section in &mut sections {
            let size = take(&mut rest)?;
            let (sum, more) = rest.split_first_chunk().ok_or_else(damaged)?;
            rest = more;
            *section = (size, *sum);
        }
        let head = Self {
            diff_id: *diff_id,
            tar_size: tar_size?,
            entries: entries?,
            files: files?,
            columns: columns?,
            sections,
        };
        let digests = [PREFIX, 32 - PREFIX].map(|part| head.files.checked_mul(part as u64));
        let told = [head.sections[1].0, head.sections[2].0].map(Some);
        if head.columns > MAX_COLUMNS || head.entries > head.columns || digests != told {
            return Err(damaged());
        }
        Ok(head)
    }
}

fn sum(bytes: &[u8]) -> [u8; SUM] {
    let digest = Digest::of(Algorithm::Blake3, bytes);
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

pub(super) fn encode(
    diff_id: &Digest,
    tar_size: u64,
    columns: &Columns,
    digests: &[FileDigest],
) -> Result<Vec<u8>> {
    let plain = columns.to_bytes();
    let parts = [
        zstd::bulk::compress(&plain, ZSTD_LEVEL)?,
        digests
            .iter()
            .flat_map(|digest| &digest[..PREFIX])
            .copied()
            .collect(),
        digests
            .iter()
            .flat_map(|digest| &digest[PREFIX..])
            .copied()
            .collect(),
    ];
    let head = Head {
        diff_id: *diff_id,
        tar_size,
        entries: columns.count,
        files: digests.len() as u64,
        columns: plain.len() as u64,
        sections: parts
            .each_ref()
            .map(|part: &Vec<u8>| (part.len() as u64, sum(part))),
    };
    let mut out = head.to_bytes();
    for part in &parts {
        out.extend_from_slice(part);
    }
    Ok(out)
}

pub(super) fn decode(bytes: &[u8], diff_id: &Digest) -> Result<Toc> {
    let head = Head::read(bytes, diff_id)?;
    let mut rest = &bytes[HEAD..];
    let mut parts = [&b""[..]; 3];
    for (part, (size, its_sum)) in parts.iter_mut().zip(&head.sections) {
        let size = usize::try_from(*size).map_err(|_| damaged())?;
        (*part, rest) = rest.split_at_checked(size).ok_or_else(damaged)?;
        if sum(part) != *its_sum {
            return Err(damaged());
        }
    }
    let plain = zstd::bulk::decompress(parts[0], head.columns as usize)?;
    let mut reader = Reader::new(&plain)?;
    let (prefixes, _) = parts[1].as_chunks::<PREFIX>();
    let (others, _) = parts[2].as_chunks::<{ 32 - PREFIX }>();
    let mut digests = prefixes.iter().zip(others);
    let mut entries = Vec::new();
    let mut start: u64 = 0;
    while let Some((entry, span, is_file)) = reader.next()? {
        let digest = is_file
            .then(|| digests.next().map(joined).ok_or_else(damaged))
            .transpose()?;
        let end = start.checked_add(span).filter(|end| *end <= head.tar_size);
        entries.push(TocEntry {
            entry,
            digest,
            start,
            span,
        });
        start = end.ok_or_else(damaged)?;
    }
    if entries.len() as u64 != head.entries || digests.next().is_some() {
        return Err(damaged());
    }
    Ok(Toc {
        diff_id: head.diff_id,
        tar_size: head.tar_size,
        entries,
    })
}

fn joined((prefix, rest): (&[u8; PREFIX], &[u8; 32 - PREFIX])) -> FileDigest {
    let mut out = [0; 32];
    out[..PREFIX].copy_from_slice(prefix);
    out[PREFIX..].copy_from_slice(rest);
    out
}

pub(super) fn has_head(file: &mut impl Read, size: u64, diff_id: &Digest) -> bool {
    let mut bytes = [0; HEAD];
    let read = file.read_exact(&mut bytes);
    let head = read
        .map_err(Into::into)
        .and_then(|()| Head::read(&bytes, diff_id));
    head.is_ok_and(|head| {
        let sections = head.sections.iter().map(|(size, _)| *size);
        sections.fold(HEAD as u64, u64::saturating_add) == size
    })
}

pub(super) fn prefixes(file: &mut (impl Read + Seek), diff_id: &Digest) -> Result<Vec<[u8; PREFIX]>> {
    let mut bytes = [0; HEAD];
    file.read_exact(&mut bytes)?;
    let head = Head::read(&bytes, diff_id)?;
    let [(columns, _), (size, its_sum), _] = head.sections;
    file.seek(SeekFrom::Start((HEAD as u64).saturating_add(columns)))?;
    let mut part = Vec::new();
    file.take(size).read_to_end(&mut part)?;
    if sum(&part) != its_sum {
        return Err(damaged());
    }
    Ok(part.as_chunks().0.to_vec())
}
