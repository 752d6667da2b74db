// SPDX-License-Identifier: Apache-2.0
//! Images as words: in a layout, beside it, for a platform, by a new tag.

use std::path::{Path, PathBuf};

use crate::bundle::UnpackOptions;
use crate::digest::{Algorithm, DigestPrefix};
use crate::error::Error;
use crate::image::{Image, Target};
use crate::registry::Reference;
use crate::spec::{Platform, RefName};
use crate::store::Store;
use clap::Args;

use super::super::failure::{Failure, Outcome, invalid};
use super::super::result::{ResultArgs, Results};
use super::super::ui::Ui;
use super::layers::{IdMapArgs, LimitArgs};
use super::layout::{AlgorithmArg, LockArg};
use super::registry::RemotesArg;
use super::values::positionals;

/// An image in a layout: `PATH`, `PATH:TAG` or `PATH@DIGEST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// The layout.
    pub layout: PathBuf,
    /// The image in it.
    pub target: Target,
    /// Which one of those that it leads to, if that is said.
    pub platform: Option<Platform>,
}

impl ImageRef {
    /// Reads the words of a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("docker://") {
            return Err(format!(
                "{text:?} is in a registry, and an image in a layout is wanted: umoci pull --layout DIR {name} brings it"
            ));
        }
        // Behind a colon all is the tag, which may have a digest in it.
        let behind = text.rsplit_once('@').filter(|(path, _)| !path.contains(':'));
        let digest = behind.and_then(|(_, digest)| digest.parse().ok());
        if let (Some((path, cut)), None) = (behind, digest)
            && is_cut_digest(path, cut)
        {
            return Err(format!("{cut:?} is no whole digest (sha256: and 64 hex digits)"));
        }
        let split = behind.filter(|_| digest.is_some()).or(text.split_once(':'));
        let (path, tag) = split.unwrap_or((text, "latest"));
        if path.is_empty() {
            return Err("path is empty".to_owned());
        }
        let target = match digest {
            Some(digest) => Target::Digest(digest),
            None => tag.parse().map_err(|e: Error| e.to_string())?,
        };
        Ok(Self {
            layout: path.into(),
            target,
            platform: None,
        })
    }

    /// Loads the image of its layout, which is open.
    pub fn find(&self, store: &Store) -> Outcome<Image> {
        Ok(Image::find(store, &self.target, self.platform.as_ref())?)
    }

    /// Returns the tag, for commands that write one.
    pub fn tag(&self) -> Outcome<&RefName> {
        // Such a name may be there, written by another program, but no command writes one: it would hide the blob.
        let name = self.old_tag()?;
        if name.as_digest().is_some() {
            refuse!("invalid --image: {name} is a digest, and this command changes a tag");
        }
        Ok(name)
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

/// Returns whether the text behind an `@` was meant as a digest and is none.
fn is_cut_digest(path: &str, digest: &str) -> bool {
    let (name, is_meant) = match digest.split_once(':') {
        Some((name, _)) => (name, Algorithm::from_name(name).is_some()),
        None => (
            digest,
            digest.parse::<DigestPrefix>().is_ok() && Path::new(path).is_dir(),
        ),
    };
    // A layout may be called so: as a digest or, before its tag, as an algorithm.
    is_meant && !Path::new(&format!("{path}@{name}")).exists()
}

/// An image that a word means, beside the layout of a command.
#[derive(Debug)]
pub enum Near {
    /// One of that layout.
    Own(Target),
    /// One of another layout.
    Other(Box<ImageRef>),
}

impl Near {
    /// Reads a tag or digest of `store`, or an image with its layout, which may be the same.
    pub fn parse(word: &str, store: &Store) -> Outcome<Self> {
        let target: Result<Target, _> = word.parse();
        // A tag may have colons, and so has a digest; any other word with one names a layout.
        let is_own = match &target {
            _ if !word.contains(':') => true,
            Ok(Target::Name(name)) => name.as_digest().is_some() || !store.lookup(name)?.is_empty(),
            _ => false,
        };
        if is_own {
            return Ok(Self::Own(target?));
        }
        let image = ImageRef::parse(word.strip_prefix("oci:").unwrap_or(word)).map_err(invalid("image"))?;
        // The same layout by another path, or through a link, is not copied onto itself.
        let paths = [image.layout.as_path(), store.layout().path()].map(Path::canonicalize);
        Ok(match paths {
            [Ok(other), Ok(own)] if other == own => Self::Own(image.target),
            _ => Self::Other(Box::new(image)),
        })
    }
}

/// `--image PATH[:TAG]`, which image of those that it leads to, and the words behind the options
#[derive(Args, Debug)]
pub struct ImageArgs {
    /// OCI image URI of the form 'path[:tag]' or 'path@digest'
    #[arg(long = "image", value_parser = ImageRef::parse)]
    image: Option<ImageRef>,
    #[command(flatten)]
    platform: PlatformArg,
    #[command(flatten)]
    lock: LockArg,
    /// The words.
    #[arg(hide = true)]
    pub rest: Vec<String>,
}

impl ImageArgs {
    /// Returns the image that `--image` names.
    pub fn get(&self) -> Outcome<ImageRef> {
        let Some(image) = &self.image else {
            return Err(Failure::Missing("--image".to_owned()));
        };
        Ok(self.platform.of(image.clone()))
    }

    /// Returns the image that `--image` or else the first word names, and the words behind it, as many as `names`.
    pub fn get_word<const N: usize>(&self, names: [&str; N]) -> Outcome<(ImageRef, [&str; N])> {
        let (image, rest) = match (&self.image, self.rest.split_first()) {
            // With --image all words are those of the command.
            (Some(image), _) => (self.platform.of(image.clone()), self.rest.as_slice()),
            (None, Some((image, rest))) if !image.is_empty() => (self.platform.of_word(image)?, rest),
            _ => return Err(Failure::Missing("the image".to_owned())),
        };
        Ok((image, positionals(rest, names)?))
    }

    /// Returns as many words as `names`.
    pub fn words<const N: usize>(&self, names: [&str; N]) -> Outcome<[&str; N]> {
        positionals(&self.rest, names)
    }

    /// Returns the image of a registry that the only word names in place of `--image`, and the platform that is asked for.
    pub fn remote(&self, remotes: &RemotesArg, ui: &Ui) -> Outcome<Option<(Reference, Option<&Platform>)>> {
        match (&self.image, self.rest.as_slice()) {
            (None, [word]) => Ok(remotes.image(word, ui)?.map(|image| (image, self.platform.get()))),
            _ => Ok(None),
        }
    }

    /// Opens the layout of the image.
    pub fn open(&self, image: &ImageRef) -> Outcome<Store> {
        self.lock.open(&image.layout)
    }
}

/// An image that is unpacked, and how
#[derive(Args, Debug)]
pub struct UnpackArgs {
    #[command(flatten)]
    pub image: ImageArgs,
    #[command(flatten)]
    id_map: IdMapArgs,
    /// keep symlinks to directories where a layer has a directory
    #[arg(long = "keep-dirlinks")]
    keep_dirlinks: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

impl UnpackArgs {
    /// Returns the options of the library.
    pub fn options(&self) -> Outcome<UnpackOptions> {
        Ok(UnpackOptions {
            id_map: self.id_map.get()?,
            keep_dirlinks: self.keep_dirlinks,
            limits: self.limits.get()?,
            layer: None,
            header: super::super::mtree_header(),
        })
    }
}

/// An image from which another one is made, and what the result goes to.
#[derive(Args, Debug)]
pub struct ChangeArgs {
    #[command(flatten)]
    pub image: ImageArgs,
    #[command(flatten)]
    algorithm: AlgorithmArg,
    #[command(flatten)]
    result: ResultArgs,
}

impl ChangeArgs {
    /// Opens the layout of the image, to write blobs, and what the result goes to, which `tag` is to lead to.
    pub fn open(&self, image: &ImageRef, tag: &RefName) -> Outcome<(Store, Results)> {
        let store = self.algorithm.open(&self.image.lock, &image.layout)?;
        let result = self.result.open_for(&store, tag)?;
        Ok((store, result))
    }
}

/// `--platform OS/ARCH[/VARIANT]`
#[derive(Args, Debug)]
pub struct PlatformArg {
    /// which image to take if the name leads to several, such as linux/arm64 (default: the first for this machine)
    #[arg(long = "platform", value_name = "os/arch[/variant]")]
    platform: Option<Platform>,
}

impl PlatformArg {
    /// Returns the platform, if one is named.
    pub fn get(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// Returns the image with this platform.
    pub fn of(&self, image: ImageRef) -> ImageRef {
        let platform = self.platform.clone();
        ImageRef { platform, ..image }
    }

    /// Returns the image that a word names, with this platform.
    pub fn of_word(&self, word: &str) -> Outcome<ImageRef> {
        Ok(self.of(ImageRef::parse(word).map_err(invalid("image"))?))
    }
}

/// `--tag NEW`
#[derive(Args, Debug)]
pub struct TagArg {
    /// tag of the new image (default: the tag of the image, which is replaced)
    #[arg(long = "tag", value_parser = RefName::parse_new)]
    tag: Option<RefName>,
}

impl TagArg {
    /// Returns the destination of a change to `image`.
    pub fn get(&self, image: &ImageRef) -> Outcome<RefName> {
        match &self.tag {
            Some(tag) => Ok(tag.clone()),
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
        let image = ImageRef::parse(&format!("dir@sha256:{hex}")).expect("digest");
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
            let image = ImageRef::parse(text).expect(text);
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
            assert!(ImageRef::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shortened_digest_is_told_from_a_tag() {
        let dir = tempfile::tempdir().expect("dir");
        let dir = dir.path().to_str().expect("utf-8");
        for digest in ["sha256:f0bad32eb0509", "sha512:xyz", "f0bad32eb050"] {
            let why = ImageRef::parse(&format!("{dir}@{digest}")).expect_err(digest);
            assert_eq!(
                why,
                format!("{digest:?} is no whole digest (sha256: and 64 hex digits)")
            );
        }
        // A directory may be called so.
        let odd = format!("{dir}/a@f0bad32eb050");
        std::fs::create_dir_all(&odd).expect("dir");
        std::fs::create_dir_all(format!("{dir}/a")).expect("dir");
        let odd_image = ImageRef::parse(&odd).expect("directory");
        assert_eq!(odd_image.layout.to_str(), Some(odd.as_str()));
    }
}
