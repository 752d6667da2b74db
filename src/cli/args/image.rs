// SPDX-License-Identifier: Apache-2.0
//! Images as words: in a layout, beside it, for a platform, by a new tag.

use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest, DigestPrefix};
use crate::error::Error;
use crate::image::Target;
use crate::spec::{Platform, RefName};
use crate::store::Store;
use clap::Args;

use super::super::failure::{Failure, Outcome, invalid};
use super::layout::{AlgorithmArg, LockArg};
use super::values::positionals;

/// An image in a layout: `PATH`, `PATH:TAG` or `PATH@DIGEST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// The layout.
    pub layout: PathBuf,
    /// What in it.
    pub target: Target,
}

impl ImageRef {
    /// Reads the words behind `--image`; `what` names the option in messages.
    pub fn parse(text: &str, what: &str) -> Outcome<Self> {
        // Behind a colon all is the tag, which may have a digest in it.
        let behind = text.rsplit_once('@').filter(|(path, _)| !path.contains(':'));
        let digest = behind.and_then(|(path, digest)| Some((path, digest.parse::<Digest>().ok()?)));
        let (path, target) = if let Some((path, digest)) = digest {
            (path, Ok(Target::Digest(digest)))
        } else {
            if let Some(digest) = behind.and_then(|_| cut_digest(text)) {
                refuse!("invalid {what}: {digest:?} is no whole digest (sha256: and 64 hex digits)");
            }
            let (path, tag) = text.split_once(':').unwrap_or((text, "latest"));
            (path, tag.parse())
        };
        if path.is_empty() {
            refuse!("invalid {what}: path is empty");
        }
        let target = target.map_err(invalid::<Error>(what))?;
        Ok(Self {
            layout: path.into(),
            target,
        })
    }

    /// Returns the tag, for commands that write one.
    pub fn tag(&self) -> Outcome<&RefName> {
        match self.old_tag()? {
            name if name.as_digest().is_some() => {
                refuse!("invalid --image: {name} is a digest, and this command changes a tag")
            }
            name => Ok(name),
        }
    }

    /// Returns the tag, also one that may be there and must not be written.
    pub fn old_tag(&self) -> Outcome<&RefName> {
        let what = match &self.target {
            Target::Name(name) => return Ok(name),
            Target::Digest(_) => "a digest",
            Target::Past(..) => "of the past",
        };
        refuse!(
            "invalid --image: {} is {what}, and this command changes a tag",
            self.target
        )
    }
}

/// Text behind an `@` that was meant as a digest and is none; a layout that is called so is not meant.
fn cut_digest(text: &str) -> Option<&str> {
    let (path, digest) = text.rsplit_once('@')?;
    let named = digest.split_once(':').map(|(name, _)| name);
    let meant = match named {
        Some(name) => Algorithm::from_name(name).is_some(),
        None => digest.parse::<DigestPrefix>().is_ok() && Path::new(path).is_dir(),
    };
    let layout = text.len() - named.map_or(0, |name| digest.len() - name.len());
    (meant && !Path::new(&text[..layout]).exists()).then_some(digest)
}

/// An image that a word means, beside the layout of a command.
#[derive(Debug)]
pub enum Near {
    /// One of that layout.
    Own(Target),
    /// One of another layout.
    Other(ImageRef),
}

impl Near {
    /// Reads a tag or digest of `store`, or an image with its layout, which may be the same.
    pub fn parse(word: &str, store: &Store) -> Outcome<Self> {
        let target: Result<Target, _> = word.parse();
        let is_own = match &target {
            // A tag may have colons, and so has a digest; any other word with one names a layout.
            Ok(Target::Name(name)) => {
                !word.contains(':') || name.as_digest().is_some() || !store.lookup(name)?.is_empty()
            }
            _ => !word.contains(':'),
        };
        if is_own {
            return Ok(Self::Own(target?));
        }
        let image = ImageRef::parse(word.strip_prefix("oci:").unwrap_or(word), "image")?;
        let same = |path: &Path| path.canonicalize().ok();
        let there = same(&image.layout);
        Ok(if there.is_some() && there == same(store.layout().path()) {
            Self::Own(image.target)
        } else {
            Self::Other(image)
        })
    }
}

/// The other side of a copy: a layout, and what in it if anything is named.
pub fn source(text: &str, what: &str) -> Outcome<(PathBuf, Option<Target>)> {
    if text.contains([':', '@']) && !Path::new(text).is_dir() {
        let image = ImageRef::parse(text, what)?;
        let named = text.len() > image.layout.as_os_str().len();
        return Ok((image.layout, named.then_some(image.target)));
    }
    Ok((text.into(), None))
}

/// `--image PATH[:TAG]`, and the words behind the options
#[derive(Args, Debug)]
pub struct ImageArg {
    /// OCI image URI of the form 'path[:tag]' or 'path@digest'
    #[arg(long = "image")]
    image: Option<String>,
    #[command(flatten)]
    lock: LockArg,
    /// The words.
    #[arg(hide = true)]
    pub rest: Vec<String>,
}

impl ImageArg {
    /// The image.
    pub fn get(&self) -> Outcome<ImageRef> {
        let text = self.image.as_deref().ok_or(Failure::Missing("--image"))?;
        ImageRef::parse(text, "--image")
    }

    /// Returns as many words as `names`.
    pub fn words<const N: usize>(&self, names: [&str; N]) -> Outcome<[&str; N]> {
        positionals(&self.rest, names)
    }

    /// Opens the layout of the image.
    pub fn open(&self, image: &ImageRef) -> Outcome<Store> {
        self.lock.open(&image.layout)
    }

    /// Opens the layout; returns it with the tag, or with the name in it that stands behind the colon and that no tag may have.
    pub fn open_name(&self) -> Outcome<(Store, String)> {
        let behind = self.image.as_deref().and_then(|text| text.split_once(':'));
        let odd = behind.filter(|(path, name)| !path.is_empty() && name.parse::<RefName>().is_err());
        if let Some((path, name)) = odd
            && let Ok(store) = self.lock.open(Path::new(path))
            && store.names()?.iter().any(|known| known == name)
        {
            return Ok((store, name.to_owned()));
        }
        let image = self.get()?;
        let name = image.old_tag()?.as_str().to_owned();
        Ok((self.open(&image)?, name))
    }

    /// As [`ImageArg::open`], to write blobs.
    pub fn open_with(&self, image: &ImageRef, algorithm: &AlgorithmArg) -> Outcome<Store> {
        self.lock.open_with(&image.layout, algorithm.get())
    }
}

/// An image as the first word, or behind `--image`
#[derive(Args, Debug)]
pub struct ImageWord {
    /// OCI image URI of the form 'path[:tag]' or 'path@digest', in place of the first word
    #[arg(long = "image")]
    image: Option<String>,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl ImageWord {
    /// Returns the image, and the words behind it, as many as `names`.
    pub fn get<const N: usize>(&self, names: [&str; N]) -> Outcome<(ImageRef, [&str; N])> {
        let (image, what, rest) = match (&self.image, self.rest.split_first()) {
            (Some(image), _) => (image, "--image", self.rest.as_slice()),
            (None, Some((image, rest))) if !image.is_empty() => (image, "image", rest),
            _ => return Err(Failure::Missing("the image")),
        };
        Ok((ImageRef::parse(image, what)?, positionals(rest, names)?))
    }
}

/// `--platform OS/ARCH[/VARIANT]`
#[derive(Args, Debug)]
pub struct PlatformArg {
    /// which image to take if the name leads to several, such as linux/arm64 (default: the first for this machine)
    #[arg(long = "platform", value_name = "os/arch[/variant]")]
    platform: Option<String>,
}

impl PlatformArg {
    /// The platform, if one is named.
    pub fn get(&self) -> Outcome<Option<Platform>> {
        let platform = self.platform.as_deref().map(str::parse);
        platform.transpose().map_err(invalid::<Error>("--platform"))
    }
}

/// `--tag NEW`
#[derive(Args, Debug)]
pub struct TagArg {
    /// tag of the new image (default: the tag of the image, which is replaced)
    #[arg(long = "tag")]
    tag: Option<String>,
}

impl TagArg {
    /// The destination of a change to `image`.
    pub fn get(&self, image: &ImageRef) -> Outcome<RefName> {
        match &self.tag {
            Some(text) => RefName::parse_new(text).map_err(invalid("--tag")),
            None => image.tag().cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_digest_of_a_known_algorithm_at_the_end_is_one() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let image = ImageRef::parse(&format!("dir@sha256:{hex}"), "--image").expect("digest");
        assert!(matches!(image.target, Target::Digest(_)) && image.layout.as_os_str() == "dir");
        for (text, path, tag) in [
            ("dir", "dir", "latest"),
            ("dir:v1", "dir", "v1"),
            ("dir:a:b", "dir", "a:b"),
            ("dir:x@md5:00", "dir", "x@md5:00"),
            ("dir:x@sha256:00", "dir", "x@sha256:00"),
            (
                &format!("dir:h/x:v1@sha256:{hex}"),
                "dir",
                &format!("h/x:v1@sha256:{hex}"),
            ),
            ("a@b:v1", "a@b", "v1"),
        ] {
            let image = ImageRef::parse(text, "--image").expect(text);
            assert_eq!(
                (image.layout.to_str(), image.tag().expect("tag").as_str()),
                (Some(path), tag)
            );
        }
        for bad in [
            "",
            ":x",
            "dir:",
            &format!("@sha256:{hex}"),
            "dir:a b",
            "dir:a@{x}",
            "dir:@{1}",
        ] {
            assert!(ImageRef::parse(bad, "--image").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shortened_digest_is_told_from_a_tag() {
        let dir = tempfile::tempdir().expect("dir");
        let dir = dir.path().to_str().expect("utf-8");
        for digest in ["sha256:f0bad32eb0509", "sha512:xyz", "f0bad32eb050"] {
            let Err(Failure::Arguments(why)) = ImageRef::parse(&format!("{dir}@{digest}"), "--image") else {
                panic!("{digest} is taken");
            };
            assert_eq!(
                why,
                format!("invalid --image: {digest:?} is no whole digest (sha256: and 64 hex digits)")
            );
        }
        // A directory may be called so.
        let odd = format!("{dir}/a@f0bad32eb050");
        std::fs::create_dir_all(&odd).expect("dir");
        std::fs::create_dir_all(format!("{dir}/a")).expect("dir");
        let odd_image = ImageRef::parse(&odd, "--image").expect("directory");
        assert_eq!(odd_image.layout.to_str(), Some(odd.as_str()));
    }
}
