// SPDX-License-Identifier: Apache-2.0
//! Files of our own that grow by lines, such as the reflog: appended to in place, and read from either end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;

use super::disk;
use super::private::PrivateDir;
use crate::error::{Result, ResultExt};

/// Maximum length of a line in a file of our own, in bytes.
const MAX_LINE: u64 = 16 << 20;

impl PrivateDir {
    /// Gives `each` the lines of a file, without their ends, each with what the file has from its
    /// beginning on, in bytes; until it says `false`.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] for a line that is longer than any that we write; those of `each`.
    pub(crate) fn read_lines(
        &self,
        name: &str,
        mut each: impl FnMut(&[u8], u64) -> Result<bool>,
    ) -> Result<()> {
        let path = self.join(name);
        let Some((file, found)) = disk::open(&path).if_there()? else {
            return Ok(());
        };
        let mut text = BufReader::with_capacity(64 * 1024, file);
        let (mut line, mut at) = (Vec::new(), 0_u64);
        for number in 1_u64.. {
            line.clear();
            let mut limited = (&mut text).take(MAX_LINE + 1);
            let n = limited.read_until(b'\n', &mut line).doing("read", &path)?;
            if n as u64 > MAX_LINE {
                fail!(
                    Limit,
                    "{}: line {number} is longer than {MAX_LINE} bytes; remove the line or the file",
                    path.display()
                );
            }
            let rest = found.len().saturating_sub(at);
            at += n as u64;
            if n == 0 || !each(line.strip_suffix(b"\n").unwrap_or(&line), rest)? {
                break;
            }
        }
        Ok(())
    }

    /// Returns the last line of a file, with its end if it has one; `None` if there is none, or it is longer than any
    /// that we write.
    pub(crate) fn last_line(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.join(name);
        let Some((file, found)) = disk::open(&path).if_there()? else {
            return Ok(None);
        };
        let mut length = found.len().min(4096);
        while length > 0 {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut bytes, found.len() - length)
                .doing("read", &path)?;
            let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let start = body.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            if start.is_some() || length == found.len() {
                return Ok(Some(bytes.split_off(start.unwrap_or(0))));
            }
            if length > MAX_LINE {
                return Ok(None);
            }
            length = found.len().min(length * 16);
        }
        Ok(None)
    }

    /// Appends whole lines to a file, durably. A line that was cut off before is closed.
    pub(crate) fn append(&self, name: &str, lines: &[u8]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        // One line that cannot be read would hide all others.
        let longest = lines.split(|c| *c == b'\n').map(<[u8]>::len).max().unwrap_or(0);
        if longest as u64 > MAX_LINE {
            let text = format!("write {name}: a line of {longest} bytes, at most {MAX_LINE} are read");
            fail!(Limit, "{text}");
        }
        let own = self.open_to_change(name)?;
        let end = own.len()?;
        let mut last = [b'\n'];
        if end == 0 {
            // Before the first line, so that a file with lines has a name that is durable.
            own.give()?;
            self.disk.sync_dir(self.as_ref())?;
        } else {
            own.file().read_exact_at(&mut last, end - 1)?;
        }
        // A crash may have cut the last line off: without its end the next one would be lost with it.
        let ending: &[u8] = if last == *b"\n" { b"" } else { b"\n" };
        own.write_at(end, &[ending, lines].concat())?;
        own.sync_data()
    }
}
