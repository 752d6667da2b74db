// SPDX-License-Identifier: Apache-2.0
//! Values of a manifest that are not in the metadata of a file: digests of its content, and names of its owners.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crc::{CRC_32_CKSUM, Crc};

use super::passwd::records;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Result, ResultExt};
use crate::fs::Root;
use crate::mtree::Keyword;
use crate::node::{Inode, TreePath};
use crate::progress::Task;

/// Returns the value of `keyword` for the file at `path` of a tree, as a manifest spells it.
pub(super) fn value(root: &Root, path: &TreePath, inode: &Inode, keyword: Keyword) -> Result<String> {
    match keyword {
        Keyword::Md5 => digest::<md5::Md5>(root, path),
        Keyword::Sha1 => digest::<sha1::Sha1>(root, path),
        Keyword::Sha256 => digest::<sha2::Sha256>(root, path),
        Keyword::Sha384 => digest::<sha2::Sha384>(root, path),
        Keyword::Sha512 => digest::<sha2::Sha512>(root, path),
        Keyword::Sha512_256 => digest::<sha2::Sha512_256>(root, path),
        Keyword::Ripemd160 => digest::<ripemd::Ripemd160>(root, path),
        Keyword::Cksum => {
            let (mut hashed, mut length) = (CKSUM.digest(), 0);
            read(root, path, |bytes| {
                hashed.update(bytes);
                length += bytes.len() as u64;
            })?;
            Ok(cksum(hashed, length).to_string())
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

fn digest<D: sha2::Digest>(root: &Root, path: &TreePath) -> Result<String> {
    let mut hasher = D::new();
    read(root, path, |bytes| hasher.update(bytes))?;
    Ok(crate::digest::hex(&hasher.finalize()))
}

/// Returns the SHA-256 of the file at `path` of a tree.
pub(super) fn sha256(root: &Root, path: &TreePath, task: &dyn Task) -> Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    read(root, path, |bytes| {
        hasher.update(bytes);
        task.advance(bytes.len() as u64);
    })?;
    Ok(hasher.finish())
}

/// Returns the BLAKE3 digest of the file at `path` of the host.
pub(super) fn blake3(path: &Path) -> Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Blake3);
    read_pieces(crate::fs::open_regular(path)?, |bytes| hasher.update(bytes)).doing("read", path)?;
    Ok(hasher.finish())
}

fn read(root: &Root, path: &TreePath, each: impl FnMut(&[u8])) -> Result<()> {
    read_pieces(root.open_file(path)?, each).context(|| format!("read {path}"))
}

fn read_pieces(mut file: File, mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            n => each(&buffer[..n]),
        }
    }
}

/// Returns the name of an id on this machine; empty if it has none.
fn name_of(file: &str, id: u32) -> String {
    // A machine without the file knows no names: that is no failure of the comparison.
    let Ok(bytes) = crate::fs::read_file(Path::new(file), 64 << 20) else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let found = records(&text).find(|record| record.text(2) == id.to_string());
    found.map_or_else(String::new, |record| record.text(0).to_owned())
}

/// The polynomial of POSIX `cksum`.
static CKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_CKSUM);

/// Returns what POSIX `cksum` says of so many bytes that were hashed.
fn cksum(mut hashed: crc::Digest<'_, u32>, length: u64) -> u32 {
    // The length is hashed behind the bytes, its lowest byte first, and without leading zeros.
    let used = 8 - length.leading_zeros() / 8;
    hashed.update(&length.to_le_bytes()[..used as usize]);
    hashed.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_cksum() {
        let mut hashed = CKSUM.digest();
        assert_eq!(cksum(hashed.clone(), 0), 4_294_967_295);
        hashed.update(b"123456789");
        assert_eq!(cksum(hashed, 9), 930_766_865);
        let mut hashed = CKSUM.digest();
        hashed.update(&[b'a'; 256]);
        assert_eq!(cksum(hashed, 256), 3_916_537_103);
    }
}
