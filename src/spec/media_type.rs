// SPDX-License-Identifier: Apache-2.0
//! Media types, and what each of them means to us. Docker's types and their OCI twins are told apart here only.

use std::borrow::Cow;

use derive_more::Display;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A media type as written in a document; any string, since unknown types must survive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Display, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

/// Compression of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip, one member or several.
    Gzip,
    /// zstd, one frame or several.
    Zstd,
}

impl Compression {
    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }

    /// Tells a compression by the first bytes: RFC 1952, section 2.3.1; RFC 8878, section 3.1, by which a zstd stream may begin
    /// with a frame to be skipped, as pzstd writes it.
    pub(crate) fn of_magic(bytes: &[u8]) -> Self {
        match bytes {
            // The third byte is the method: gzip has no other than deflate.
            [0x1f, 0x8b, 8, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// Class of blob that a media type stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediaClass {
    /// An image index or a Docker manifest list.
    Index,
    /// An image manifest.
    Manifest,
    /// An image config.
    Config,
    /// A layer that we can read.
    Layer(Compression),
    /// A layer with a compression that we do not know.
    UnknownLayer,
    /// A descriptor document.
    Descriptor,
    /// The empty JSON document `{}`.
    Empty,
    /// Anything else.
    Other,
}

impl MediaType {
    /// OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed; `+gzip` and `+zstd` follow it.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer that must not be pushed; deprecated, read only.
    pub const LAYER_NONDISTRIBUTABLE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// The empty JSON document.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// A descriptor as a document.
    pub const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";
    /// Docker's twin of the index.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's twin of the manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's twin of the config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer; `.gzip` and `.zstd` follow it.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker's layer that must not be pushed.
    pub const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

    /// Reads a media type as one is written. Spec: RFC 6838, section 4.2.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Invalid`] if the text is none.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once('/') {
            Some((kind, name)) if is_name(kind) && is_name(name) => Ok(text.into()),
            _ => fail!(
                Invalid,
                "{text:?} is no media type, such as application/spdx+json"
            ),
        }
    }

    /// Returns the OCI layer type for `compression`.
    pub fn layer(compression: Compression) -> Self {
        Self(match compression {
            Compression::None => Self::LAYER.to_owned(),
            other => format!("{}+{}", Self::LAYER, other.name()),
        })
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether it is the type of a manifest or an index.
    pub fn is_image(&self) -> bool {
        matches!(self.class(), MediaClass::Manifest | MediaClass::Index)
    }

    /// Returns whether it is one of Docker's types rather than OCI's.
    pub fn is_docker(&self) -> bool {
        self.0.starts_with("application/vnd.docker.")
    }

    /// Returns whether it is a layer that must not be given on, and may be missing therefore.
    pub fn is_nondistributable(&self) -> bool {
        self.oci_text().starts_with(Self::LAYER_NONDISTRIBUTABLE)
    }

    /// Returns the OCI twin of one of Docker's types; any other type as it is.
    pub fn to_oci(&self) -> Self {
        Self(self.oci_text().into_owned())
    }

    fn oci_text(&self) -> Cow<'_, str> {
        let text = self.0.as_str();
        for (docker, oci) in [
            (Self::DOCKER_LIST, Self::INDEX),
            (Self::DOCKER_MANIFEST, Self::MANIFEST),
            (Self::DOCKER_CONFIG, Self::CONFIG),
            (Self::DOCKER_LAYER, Self::LAYER),
            (Self::DOCKER_FOREIGN_LAYER, Self::LAYER_NONDISTRIBUTABLE),
        ] {
            if text == docker {
                return oci.into();
            }
            // Docker writes the compression of a layer behind a dot, and OCI behind a plus sign.
            if let Some(compression) = text.strip_prefix(docker).and_then(|rest| rest.strip_prefix('.'))
                && matches!(oci, Self::LAYER | Self::LAYER_NONDISTRIBUTABLE)
            {
                return format!("{oci}+{compression}").into();
            }
        }
        text.into()
    }

    /// Returns the meaning of the type.
    pub fn class(&self) -> MediaClass {
        let text = self.oci_text();
        match &*text {
            Self::INDEX => MediaClass::Index,
            Self::MANIFEST => MediaClass::Manifest,
            Self::CONFIG => MediaClass::Config,
            Self::EMPTY => MediaClass::Empty,
            Self::DESCRIPTOR => MediaClass::Descriptor,
            _ => match [Self::LAYER, Self::LAYER_NONDISTRIBUTABLE]
                .iter()
                .find_map(|base| text.strip_prefix(base))
            {
                Some("") => MediaClass::Layer(Compression::None),
                Some("+gzip") => MediaClass::Layer(Compression::Gzip),
                Some("+zstd") => MediaClass::Layer(Compression::Zstd),
                // A suffix behind a plus sign names a compression; any other text makes another type of it.
                Some(rest) if rest.starts_with('+') => MediaClass::UnknownLayer,
                _ => MediaClass::Other,
            },
        }
    }
}

fn is_name(part: &str) -> bool {
    // RFC 6838 allows 127 characters on each side of the slash.
    (1..=127).contains(&part.len())
        && part.starts_with(|c: char| c.is_ascii_alphanumeric())
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
}

impl<T: Into<String>> From<T> for MediaType {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl PartialEq<&str> for MediaType {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_of_both_families_are_told_by_their_compression() {
        for (text, class) in [
            (MediaType::LAYER, MediaClass::Layer(Compression::None)),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                MediaClass::Layer(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
                MediaClass::Layer(Compression::Zstd),
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                MediaClass::Layer(Compression::Gzip),
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+xz",
                MediaClass::UnknownLayer,
            ),
            ("application/vnd.oci.image.layer.v1.tarball", MediaClass::Other),
            ("text/plain", MediaClass::Other),
        ] {
            assert_eq!(MediaType::from(text).class(), class, "{text}");
        }
    }
    #[test]
    fn the_twin_of_a_type_means_the_same() {
        for (docker, oci) in [
            (MediaType::DOCKER_LIST, MediaType::INDEX),
            (MediaType::DOCKER_MANIFEST, MediaType::MANIFEST),
            (MediaType::DOCKER_CONFIG, MediaType::CONFIG),
            (MediaType::DOCKER_LAYER, MediaType::LAYER),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "application/vnd.oci.image.layer.v1.tar+gzip",
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.zstd",
                "application/vnd.oci.image.layer.v1.tar+zstd",
            ),
        ] {
            let twin = MediaType::from(docker).to_oci();
            assert_eq!(twin, oci);
            assert_eq!(twin.class(), MediaType::from(docker).class(), "{docker}");
        }
        for other in [
            "",
            "text/plain",
            MediaType::LAYER,
            "application/vnd.docker.image.rootfs.diff.tarball",
        ] {
            assert_eq!(MediaType::from(other).to_oci(), other);
        }
    }
}
