// SPDX-License-Identifier: Apache-2.0
//! Keywords of a manifest, and the spelling of their values.

use base64::Engine as _;

use super::vis;
use crate::error::Result;
use crate::node::{HOST_XATTRS, Inode, NodeKind};

/// Declares the keywords, each with the name that is written and its other names.
macro_rules! keywords {
    ($($keyword:ident: $name:literal $(or $other:literal)*;)*) => {
        /// A fact about a file that a manifest can hold, in the order in which facts are written.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs, reason = "named as in the file")]
        pub enum Keyword {
            $($keyword,)*
        }

        /// In the order of the keywords; the first name of each is written.
        const NAMES: &[(Keyword, &[&str])] = &[$((Keyword::$keyword, &[$name $(, $other)*]),)*];
    };
}

keywords! {
    Size: "size";
    Type: "type";
    Uid: "uid";
    Gid: "gid";
    Mode: "mode";
    Link: "link";
    Nlink: "nlink";
    TarTime: "tar_time";
    Time: "time";
    Sha256: "sha256digest" or "sha256";
    Xattr: "xattr" or "xattrs";
    Uname: "uname";
    Gname: "gname";
    Cksum: "cksum";
    Flags: "flags";
    Md5: "md5digest" or "md5";
    Sha1: "sha1digest" or "sha1";
    Sha384: "sha384digest" or "sha384";
    Sha512: "sha512digest" or "sha512";
    Sha512_256: "sha512256digest" or "sha512256";
    Ripemd160: "ripemd160digest" or "rmd160" or "rmd160digest";
}

use Keyword::{
    Cksum, Gid, Link, Md5, Mode, Nlink, Ripemd160, Sha1, Sha256, Sha384, Sha512, Sha512_256, Size, TarTime,
    Time, Type, Uid, Xattr,
};

impl Keyword {
    /// Looks a keyword up by any of its names.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let mut known = NAMES.iter();
        let found = known.find(|(_, names)| names.iter().any(|own| own.as_bytes() == name));
        found.map(|(keyword, _)| *keyword)
    }

    /// Returns the name that is written.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1[0]
    }

    /// Returns whether its value is in the content of the file.
    pub fn needs_content(self) -> bool {
        matches!(
            self,
            Sha256 | Cksum | Md5 | Sha1 | Sha384 | Sha512 | Sha512_256 | Ripemd160
        )
    }

    /// Returns the value for `inode`; `None` if files of its type have none, or if it is not in the metadata. For
    /// [`Keyword::Xattr`] see [`xattr_words`].
    pub(super) fn value(self, inode: &Inode) -> Option<Vec<u8>> {
        let node = &inode.node;
        let text = match self {
            Size => inode.size.to_string(),
            Type => node.kind.name().to_owned(),
            Uid => node.uid.to_string(),
            Gid => node.gid.to_string(),
            // Go prints modes with `%#o`, which has one zero for 0.
            Mode if node.mode == 0 => "0".to_owned(),
            Mode => format!("0{:o}", node.mode),
            Link => match &node.kind {
                NodeKind::Symlink { target } => return Some(vis::encode(target)),
                _ => return None,
            },
            Nlink => inode.nlink.to_string(),
            // A ustar header has whole seconds; the fraction of a file system is lost in a layer, and is no difference.
            TarTime => format!("{}.000000000", node.mtime.sec),
            Time => format!("{}.{:09}", node.mtime.sec, node.mtime.nsec),
            // Names of owners and digests of contents are no metadata of an inode: the caller has them.
            _ => return None,
        };
        Some(text.into_bytes())
    }
}

/// Returns whether `word`, a name that begins with `xattr.`, speaks of an attribute of the host.
pub(super) fn is_host_xattr(word: &[u8]) -> bool {
    word.strip_prefix(b"xattr.")
        .is_some_and(|name| HOST_XATTRS.contains(&name))
}

/// Returns `xattr.NAME` and value for each extended attribute of a file or directory.
pub(super) fn xattr_words(inode: &Inode) -> Vec<(Vec<u8>, Vec<u8>)> {
    if !matches!(inode.node.kind, NodeKind::File { .. } | NodeKind::Dir) {
        return Vec::new();
    }
    let mut words = Vec::new();
    for (name, value) in &inode.node.xattrs {
        // The policy of SELinux and the server of NFS set these, so they differ from host to host.
        if !HOST_XATTRS.contains(&name.as_slice()) {
            let value = base64::engine::general_purpose::STANDARD.encode(value);
            words.push(([b"xattr.", &*vis::encode(name)].concat(), value.into_bytes()));
        }
    }
    words
}

/// An ordered set of keywords.
#[derive(Clone, PartialEq, Eq, Debug, Default, derive_more::Deref)]
pub struct Keywords(#[deref(forward)] Vec<Keyword>);

impl Keywords {
    /// Returns those that bundles use, in the order in which they are written.
    pub fn umoci() -> Self {
        Self(vec![
            Size, Type, Uid, Gid, Mode, Link, Nlink, TarTime, Sha256, Xattr,
        ])
    }

    /// Reads names separated by commas or spaces.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid), naming the word that is no keyword.
    pub fn parse(text: &str) -> Result<Self> {
        let mut out = Self::default();
        for name in text.split([',', ' ']).filter(|n| !n.is_empty()) {
            let Some(keyword) = Keyword::from_name(name.as_bytes()) else {
                fail!(Invalid, "unknown keyword {name:?}");
            };
            out.add(keyword);
        }
        Ok(out)
    }

    /// Adds a keyword at the end unless it is there.
    pub fn add(&mut self, keyword: Keyword) {
        if !self.0.contains(&keyword) {
            self.0.push(keyword);
        }
    }
}
