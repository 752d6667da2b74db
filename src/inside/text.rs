// SPDX-License-Identifier: Apache-2.0
//! Texts of files, told from binary ones: the differences of two line by line, and the version that each line is from.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};

use imara_diff::{Algorithm, Diff, Hunk, InternedInput};

use super::side::Side;
use crate::error::{Result, ResultExt};
use crate::progress::Monitor;

/// Maximum size of a text that is compared line by line, in bytes: a larger file counts as binary.
pub const MAX_TEXT: u64 = 8 << 20;

/// Number of bytes at the beginning of a file among which a NUL tells that it is binary, as git has it.
pub const SNIFFED: usize = 8000;

/// Number of lines around a change.
const CONTEXT: u32 = 3;

/// Contents of files of one side, in a temporary file: they come in the order of the archives, and are asked for in that of paths.
#[derive(Debug)]
pub struct Texts {
    file: File,
    /// Offset and length of each; `None` for one that is binary.
    known: HashMap<u32, Option<(u64, usize)>>,
}

impl Texts {
    /// Reads the contents of files by their numbers.
    ///
    /// # Errors
    /// Those of [`Side::read`], and of the temporary file.
    pub fn of_side(side: &Side, files: &[u32], monitor: &dyn Monitor) -> Result<Self> {
        Self::read(|each| side.read(files, monitor, each))
    }

    /// Keeps all that `read` gives.
    ///
    /// # Errors
    /// Those of `read`, and of the temporary file.
    pub fn read(
        read: impl FnOnce(&mut dyn FnMut(u32, &mut dyn Read) -> Result<()>) -> Result<()>,
    ) -> Result<Self> {
        let file = tempfile::tempfile().context(|| "create temporary file")?;
        let mut out = Self {
            file,
            known: HashMap::new(),
        };
        let mut at = 0;
        read(&mut |number, content| {
            let text = read_text(content)?;
            if let Some(text) = &text {
                out.file.write_all(text).context(|| "write temporary file")?;
            }
            let place = text.map(|text| (at, text.len()));
            at += place.map_or(0, |(_, length)| length as u64);
            out.known.insert(number, place);
            Ok(())
        })?;
        Ok(out)
    }

    /// Returns the text of a file; `None` if it is binary.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub fn get(&mut self, number: u32) -> Result<Option<Vec<u8>>> {
        let Some((at, length)) = self.known.get(&number).copied().flatten() else {
            return Ok(None);
        };
        let mut out = vec![0; length];
        let read = self.file.seek(SeekFrom::Start(at));
        read.and_then(|_| self.file.read_exact(&mut out))
            .context(|| "read temporary file")?;
        Ok(Some(out))
    }
}

/// Returns the whole of a text; `None` for a binary file, of which no more is read than tells it.
fn read_text(content: &mut dyn Read) -> Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    content.take(SNIFFED as u64).read_to_end(&mut out)?;
    if out.contains(&0) {
        return Ok(None);
    }
    content.take(MAX_TEXT).read_to_end(&mut out)?;
    Ok(Some(out).filter(|text| text.len() as u64 <= MAX_TEXT))
}

/// Returns how `new` differs from `old`, as the hunks of a unified diff; empty if they are the same.
pub fn unified(old: &[u8], new: &[u8]) -> Vec<u8> {
    let input = InternedInput::new(old, new);
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let hunks: Vec<Hunk> = diff.hunks().collect();
    let mut out = Vec::new();
    // Hunks whose lines of context touch are one.
    for group in hunks.chunk_by(|a, b| b.before.start - a.before.end <= 2 * CONTEXT) {
        put_group(&mut out, &input, group);
    }
    out
}

fn put_group(out: &mut Vec<u8>, input: &InternedInput<&[u8]>, group: &[Hunk]) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return;
    };
    let lead = first.before.start.min(CONTEXT);
    let tail = (input.before.len() as u32 - last.before.end).min(CONTEXT);
    let before = first.before.start - lead..last.before.end + tail;
    let after = first.after.start - lead..last.after.end + tail;
    let head = format!("@@ -{} +{} @@\n", range(&before), range(&after));
    out.extend_from_slice(head.as_bytes());
    let mut at = before.start;
    for hunk in group {
        put_lines(
            out,
            input,
            b' ',
            &input.before[at as usize..hunk.before.start as usize],
        );
        put_lines(
            out,
            input,
            b'-',
            &input.before[hunk.before.start as usize..hunk.before.end as usize],
        );
        put_lines(
            out,
            input,
            b'+',
            &input.after[hunk.after.start as usize..hunk.after.end as usize],
        );
        at = hunk.before.end;
    }
    put_lines(out, input, b' ', &input.before[at as usize..before.end as usize]);
}

/// Returns a range of lines as a head has it: the first line and their number, which is left out if it is one.
fn range(lines: &std::ops::Range<u32>) -> String {
    match lines.end - lines.start {
        // Of no lines, the line before them is told.
        0 => format!("{},0", lines.start),
        1 => (lines.start + 1).to_string(),
        count => format!("{},{count}", lines.start + 1),
    }
}

fn put_lines(out: &mut Vec<u8>, input: &InternedInput<&[u8]>, mark: u8, lines: &[imara_diff::Token]) {
    for line in lines {
        let line = input.interner[*line];
        out.push(mark);
        out.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            out.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

/// Returns for each line of the last of `versions` the number of the version that brought it.
pub fn origins(versions: &[Vec<u8>]) -> Vec<usize> {
    let mut out: Vec<usize> = Vec::new();
    let mut old: &[u8] = b"";
    for (version, new) in versions.iter().enumerate() {
        let input = InternedInput::new(old, new.as_slice());
        let mut diff = Diff::compute(Algorithm::Histogram, &input);
        diff.postprocess_lines(&input);
        let mut of_new = Vec::with_capacity(input.after.len());
        let mut at = 0;
        for hunk in diff.hunks() {
            of_new.extend_from_slice(&out[at..hunk.before.start as usize]);
            of_new.extend(hunk.after.clone().map(|_| version));
            at = hunk.before.end as usize;
        }
        of_new.extend_from_slice(&out[at..]);
        out = of_new;
        old = new;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_are_those_of_diff() {
        let lines =
            |range: std::ops::Range<u32>| range.fold(String::new(), |out, n| out + &n.to_string() + "\n");
        for (old, new, want) in [
            (String::new(), "a\n".to_owned(), "@@ -0,0 +1 @@\n+a\n"),
            ("a\n".to_owned(), String::new(), "@@ -1 +0,0 @@\n-a\n"),
            (
                "a".to_owned(),
                "a\n".to_owned(),
                "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n",
            ),
            ("same\n".to_owned(), "same\n".to_owned(), ""),
            (
                lines(0..20),
                lines(0..20).replace("\n2\n", "\nx\n").replace("\n15\n", "\n"),
                "@@ -1,6 +1,6 @@\n 0\n 1\n-2\n+x\n 3\n 4\n 5\n@@ -13,7 +13,6 @@\n 12\n 13\n 14\n-15\n 16\n 17\n 18\n",
            ),
        ] {
            let out = unified(old.as_bytes(), new.as_bytes());
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }

    #[test]
    fn each_line_has_the_version_that_brought_it() {
        let versions = ["a\nb\nc\n", "a\nx\nc\n", "new\na\nx\nc\nend"];
        let versions = versions.map(|text| text.as_bytes().to_vec());
        assert_eq!(origins(&versions), [2, 0, 1, 0, 2]);
        assert_eq!(origins(&versions[..1]), [0, 0, 0]);
        assert!(origins(&[]).is_empty());
    }

    #[test]
    fn binary_files_are_no_texts() {
        let long = vec![b'a'; MAX_TEXT as usize + 1];
        for (content, want) in [
            (&b"a\xff\n"[..], true),
            (b"a\0", false),
            (&long, false),
            (&long[1..], true),
        ] {
            let read = read_text(&mut &content[..]).expect("read");
            assert_eq!(read.is_some(), want);
        }
    }
}
