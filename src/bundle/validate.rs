// SPDX-License-Identifier: Apache-2.0
//! A tree compared with any mtree manifest, by all keywords that such manifests have.

use std::io::Read;
use std::path::Path;

use crate::error::{Result, ResultExt};
use crate::fs::Root;
use crate::mtree::{Difference, Keyword, Keywords, Mtree, Text};
use crate::node::{Inode, TreePath};
use crate::rootfs::{Seen, survey};

/// What cannot be read twice is held, up to this many bytes.
const MAX_PIPE: u64 = 4 << 30;

/// A manifest in a file, or in memory where it came through a pipe.
pub type AnyMtree = Mtree<Box<dyn Text>>;

/// Reads the manifest at `path`, a file or a pipe.
pub fn read_mtree(path: &Path) -> Result<AnyMtree> {
    let file = crate::fs::open_file(path)?;
    let is_file = file.metadata().map(|meta| meta.is_file());
    let text: Box<dyn Text> = if is_file.doing("stat", &path)? {
        Box::new(file)
    } else {
        // Opened once: what writes to a pipe would not survive that its only reader goes.
        Box::new(crate::fs::read_to_end(file, path, MAX_PIPE)?)
    };
    Mtree::parse(text).doing("parse", &path)
}

/// How the tree at `root` differs from `recorded` by the keywords `wanted`.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) if the tree does not exist; whatever cannot be read.
pub fn validate(recorded: &AnyMtree, root: &Root, wanted: &Keywords) -> Result<Vec<Difference>> {
    let value = |path: &TreePath, inode: &Inode, keyword: Keyword| value(root, path, inode, keyword);
    let visit = |mut seen: Seen<'_>| {
        seen.inode.node.xattrs = seen.xattrs()?;
        recorded.compare(&seen.path, &seen.inode, wanted, &value)
    };
    let mut out = Vec::new();
    survey(root, visit, |found| {
        out.extend(found);
        Ok(())
    })?;
    recorded.missing(
        |_| false,
        |path| {
            out.push(Difference::missing(path));
            Ok(())
        },
    )?;
    out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

fn value(root: &Root, path: &TreePath, inode: &Inode, keyword: Keyword) -> Result<String> {
    match keyword {
        Keyword::Md5 => digest::<md5::Md5>(root, path),
        Keyword::Sha1 => digest::<sha1::Sha1>(root, path),
        Keyword::Sha256 => digest::<sha2::Sha256>(root, path),
        Keyword::Sha384 => digest::<sha2::Sha384>(root, path),
        Keyword::Sha512 => digest::<sha2::Sha512>(root, path),
        Keyword::Sha512_256 => digest::<sha2::Sha512_256>(root, path),
        Keyword::Ripemd160 => digest::<ripemd::Ripemd160>(root, path),
        Keyword::Cksum => {
            let mut sum = Cksum::default();
            contents(root, path, |bytes| sum.update(bytes))?;
            Ok(sum.finish().to_string())
        }
        Keyword::Uname => Ok(name_of("/etc/passwd", inode.node.uid)),
        Keyword::Gname => Ok(name_of("/etc/group", inode.node.gid)),
        _ => fail!(
            Unsupported,
            "unknown keyword {:?} for file {path}",
            keyword.name()
        ),
    }
}

fn contents(root: &Root, path: &TreePath, mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut file = root.open_file(path)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let n = file.read(&mut buffer).context(|| format!("read {path}"))?;
        if n == 0 {
            return Ok(());
        }
        each(&buffer[..n]);
    }
}

fn digest<D: sha2::Digest>(root: &Root, path: &TreePath) -> Result<String> {
    let mut hasher = D::new();
    contents(root, path, |bytes| hasher.update(bytes))?;
    Ok(crate::digest::hex(&hasher.finalize()))
}

/// The name of an id on this machine; empty if it has none.
fn name_of(file: &str, id: u32) -> String {
    let Ok(bytes) = crate::fs::read_file(Path::new(file), 64 << 20) else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2).is_some_and(|f| *f == id.to_string()));
    found
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .unwrap_or_default()
}

/// The checksum of POSIX `cksum`.
#[derive(Default)]
struct Cksum {
    crc: u32,
    length: u64,
}

impl Cksum {
    fn step(&mut self, byte: u8) {
        self.crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            self.crc = if self.crc & 0x8000_0000 == 0 {
                self.crc << 1
            } else {
                self.crc << 1 ^ 0x04c1_1db7
            };
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        for &byte in bytes {
            self.step(byte);
        }
    }

    fn finish(mut self) -> u32 {
        let mut length = self.length;
        while length > 0 {
            self.step(length as u8);
            length >>= 8;
        }
        !self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_cksum() {
        let mut sum = Cksum::default();
        sum.update(b"123456789");
        assert_eq!(sum.finish(), 930_766_865);
        assert_eq!(Cksum::default().finish(), 4_294_967_295);
    }
}
