// SPDX-License-Identifier: Apache-2.0
//! Groups of options that several commands share, from the words as typed to checked values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use umoci::digest::{Algorithm, Digest, DigestPrefix};
use umoci::image::Target;
use umoci::progress::Monitor as _;
use umoci::spec::{Annotations, Platform, RefName};
use umoci::store::{Store, StoreOptions, parse_duration};

use super::failure::{Failure, Outcome};
use super::table::Table;
use super::ui::Ui;

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
        let invalid = |why: String| Failure::Arguments(format!("invalid {what}: {why}"));
        // Behind a colon all is the tag, which may have a digest in it.
        let behind = text.rsplit_once('@').filter(|(path, _)| !path.contains(':'));
        let digest = behind.and_then(|(path, digest)| Some((path, digest.parse::<Digest>().ok()?)));
        let (path, target) = if let Some((path, digest)) = digest {
            (path, Target::Digest(digest))
        } else {
            if let Some(digest) = behind.and_then(|_| cut_digest(text)) {
                let text = format!("{digest:?} is no whole digest (sha256: and 64 hex digits)");
                return Err(invalid(text));
            }
            let (path, tag) = text.split_once(':').unwrap_or((text, "latest"));
            if path.is_empty() {
                return Err(invalid("path is empty".to_owned()));
            }
            (
                path,
                tag.parse()
                    .map_err(|e: umoci::error::Error| invalid(e.to_string()))?,
            )
        };
        if path.is_empty() {
            return Err(invalid("path is empty".to_owned()));
        }
        Ok(Self {
            layout: path.into(),
            target,
        })
    }

    /// The tag, for commands that write one.
    pub fn tag(&self) -> Outcome<&RefName> {
        let name = self.old_tag()?;
        if name.as_digest().is_some() {
            return Err(Failure::Arguments(format!(
                "invalid --image: {name} is a digest, and this command changes a tag"
            )));
        }
        Ok(name)
    }

    /// The tag, also one that may be there and must not be written.
    pub fn old_tag(&self) -> Outcome<&RefName> {
        match &self.target {
            Target::Name(name) => Ok(name),
            Target::Digest(digest) => Err(Failure::Arguments(format!(
                "invalid --image: {digest} is a digest, and this command changes a tag"
            ))),
            past @ Target::Past(..) => Err(Failure::Arguments(format!(
                "invalid --image: {past} is of the past, and this command changes a tag"
            ))),
        }
    }
}

/// What stands behind an `@` and was meant as a digest, but is none; a layout that is called so is not meant.
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
    if text.contains([':', '@']) && !std::path::Path::new(text).is_dir() {
        let image = ImageRef::parse(text, what)?;
        let named = text.len() > image.layout.as_os_str().len();
        return Ok((image.layout, named.then_some(image.target)));
    }
    Ok((text.into(), None))
}

/// `--image PATH[:TAG]`
#[derive(Args, Debug)]
pub struct ImageArg {
    /// OCI image URI of the form 'path[:tag]' or 'path@digest'
    #[arg(long = "image", value_name = "value")]
    image: Option<String>,
    #[command(flatten)]
    lock: LockArg,
}

impl ImageArg {
    /// The image.
    pub fn get(&self) -> Outcome<ImageRef> {
        let text = self.image.as_deref().ok_or(Failure::Missing("--image"))?;
        ImageRef::parse(text, "--image")
    }

    /// Opens the layout of the image.
    pub fn open(&self, image: &ImageRef) -> Outcome<Store> {
        self.lock.open(&image.layout)
    }

    /// As [`ImageArg::open`], to write blobs.
    pub fn open_with(&self, image: &ImageRef, algorithm: &AlgorithmArg) -> Outcome<Store> {
        self.lock.open_with(&image.layout, algorithm.get()?)
    }
}

/// An image as the first word, or behind `--image`.
#[derive(Args, Debug)]
pub struct ImageWord {
    /// OCI image URI of the form 'path[:tag]' or 'path@digest', in place of the first word
    #[arg(long = "image", value_name = "value")]
    image: Option<String>,
}

impl ImageWord {
    /// The image, and the words behind it, as many as `names`.
    pub fn get<'a, const N: usize>(
        &self,
        words: &'a [String],
        names: [&str; N],
    ) -> Outcome<(ImageRef, [&'a str; N])> {
        if let Some(image) = &self.image {
            return Ok((ImageRef::parse(image, "--image")?, positionals(words, names)?));
        }
        let Some((image, rest)) = words.split_first().filter(|(image, _)| !image.is_empty()) else {
            return Err(Failure::Missing("the image"));
        };
        Ok((ImageRef::parse(image, "image")?, positionals(rest, names)?))
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
        let invalid = |e: umoci::error::Error| Failure::Arguments(format!("invalid --platform: {e}"));
        self.platform
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(invalid)
    }
}

/// `--referrers`
#[derive(Args, Debug)]
pub struct ReferrersArg {
    /// copy what is attached to the images too: yes or no (default: "yes")
    #[arg(long, value_name = "yes|no")]
    referrers: Option<String>,
}

impl ReferrersArg {
    /// Whether they are copied.
    pub fn get(&self) -> Outcome<bool> {
        match self.referrers.as_deref() {
            None | Some("yes") => Ok(true),
            Some("no") => Ok(false),
            Some(other) => {
                let text = format!("invalid --referrers: {other:?} (want yes or no)");
                Err(Failure::Arguments(text))
            }
        }
    }

    /// Whether they must be copied, and not only where there is a place for them.
    pub fn is_asked_for(&self) -> bool {
        self.referrers.as_deref() == Some("yes")
    }
}

/// `--format`
#[derive(Args, Debug)]
pub struct FormatArg {
    /// media types of the images: keep (as they are) or oci (Docker's become OCI's)
    #[arg(long, value_name = "format", default_value = "keep")]
    format: String,
}

impl FormatArg {
    /// Whether Docker's media types become OCI's.
    pub fn is_oci(&self) -> Outcome<bool> {
        match self.format.as_str() {
            "keep" => Ok(false),
            "oci" => Ok(true),
            other => {
                let text = format!("invalid --format: {other:?} (want keep or oci)");
                Err(Failure::Arguments(text))
            }
        }
    }
}

/// `--tag NEW`
#[derive(Args, Debug)]
pub struct TagArg {
    /// tag of the new image (default: the tag of the image, which is replaced)
    #[arg(long = "tag", value_name = "value")]
    tag: Option<String>,
}

impl TagArg {
    /// The destination of a change to `image`.
    pub fn get(&self, image: &ImageRef) -> Outcome<RefName> {
        match &self.tag {
            Some(text) => {
                let invalid = |e: umoci::error::Error| Failure::Arguments(format!("invalid --tag: {e}"));
                RefName::parse_new(text).map_err(invalid)
            }
            None => image.tag().cloned(),
        }
    }
}

/// `--layout PATH`
#[derive(Args, Debug)]
pub struct LayoutArg {
    /// path to an OCI layout
    #[arg(long = "layout", value_name = "value")]
    layout: Option<String>,
    #[command(flatten)]
    lock: LockArg,
}

impl LayoutArg {
    /// The path.
    pub fn get(&self) -> Outcome<PathBuf> {
        let text = self.layout.as_deref().ok_or(Failure::Missing("--layout"))?;
        if text.contains(':') {
            return Err(Failure::Arguments(format!(
                "invalid --layout: path contains ':' character: {text:?}"
            )));
        }
        if text.is_empty() {
            return Err(Failure::Arguments("invalid --layout: path is empty".to_owned()));
        }
        Ok(text.into())
    }

    /// Whether it is given.
    pub fn is_given(&self) -> bool {
        self.layout.is_some()
    }

    /// Opens the layout.
    pub fn open(&self) -> Outcome<Store> {
        self.lock.open(&self.get()?)
    }

    /// Opens another layout instead.
    pub fn open_at(&self, path: &std::path::Path) -> Outcome<Store> {
        self.lock.open(path)
    }

    /// As [`LayoutArg::open`], to write blobs.
    pub fn open_with(&self, algorithm: &AlgorithmArg) -> Outcome<Store> {
        self.lock.open_with(&self.get()?, algorithm.get()?)
    }
}

/// `--lock-timeout`
#[derive(Args, Debug)]
pub struct LockArg {
    /// how long to wait for other processes that use the layout, in seconds
    #[arg(long = "lock-timeout", value_name = "seconds", default_value_t = 60)]
    lock_timeout: u64,
}

/// `--digest-algorithm`
#[derive(Args, Debug)]
pub struct AlgorithmArg {
    /// digest algorithm of new blobs: sha256, sha512 or blake3
    #[arg(long = "digest-algorithm", value_name = "algorithm", default_value = "sha256")]
    digest_algorithm: String,
}

impl AlgorithmArg {
    /// The algorithm.
    pub fn get(&self) -> Outcome<Algorithm> {
        Algorithm::from_name(&self.digest_algorithm).ok_or_else(|| {
            Failure::Arguments(format!(
                "invalid --digest-algorithm: {:?} (want sha256, sha512 or blake3)",
                self.digest_algorithm
            ))
        })
    }
}

/// `--no-trunc`
#[derive(Args, Debug)]
pub struct WholeArg {
    /// print digests and texts whole on a terminal too
    #[arg(long = "no-trunc")]
    no_trunc: bool,
}

impl WholeArg {
    /// Returns whether tables are cut to a terminal: there is one, and `--no-trunc` was not given.
    pub fn is_cut(&self, ui: &Ui) -> bool {
        !self.no_trunc && ui.width().is_some()
    }

    /// The table as the place has room for it: cut on a terminal, whole elsewhere.
    pub fn fit(&self, table: Table, ui: &Ui) -> Table {
        match ui.width().filter(|_| !self.no_trunc) {
            Some(width) => table.fit(width),
            None => table,
        }
    }
}

/// A pattern of names as typed; `what` names the option in messages.
pub fn pattern(text: &str, what: &str) -> Outcome<glob::Pattern> {
    glob::Pattern::new(text)
        .map_err(|e| Failure::Arguments(format!("invalid {what}: no pattern: {text:?}: {}", e.msg)))
}

/// A duration as typed; `what` names the option in messages.
pub fn duration(text: &str, what: &str) -> Outcome<Duration> {
    parse_duration(text).map_err(|e| Failure::Arguments(format!("invalid {what}: {e}")))
}

/// A size in bytes as typed, perhaps with a unit as sizes are printed (`20GB`) or one of 1024 (`20GiB`); `what` names the option in messages.
pub fn size(text: &str, what: &str) -> Outcome<u64> {
    let invalid = || {
        Failure::Arguments(format!(
            "invalid {what}: {text:?} (write bytes, or as 500MB, 20GB, 20GiB)"
        ))
    };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.to_ascii_uppercase();
    let (step, unit) = match unit.strip_suffix("IB") {
        Some(unit) => (1024_u64, unit),
        None => (1000, unit.strip_suffix('B').unwrap_or(&unit)),
    };
    let power = match unit {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(invalid()),
    };
    let number: u64 = number.parse().map_err(|_| invalid())?;
    number.checked_mul(step.pow(power)).ok_or_else(invalid)
}

/// The blob that a digest, or the beginning of one, stands for.
pub fn blob(store: &Store, text: &str) -> Outcome<Digest> {
    Ok(store.find(&text.parse::<DigestPrefix>()?)?)
}

impl LockArg {
    /// Opens the layout at `path`.
    pub fn open(&self, path: &std::path::Path) -> Outcome<Store> {
        self.open_with(path, Algorithm::default())
    }

    /// As [`LockArg::open`], to write blobs of another algorithm.
    pub fn open_with(&self, path: &std::path::Path, algorithm: Algorithm) -> Outcome<Store> {
        let options = StoreOptions {
            lock_timeout: Duration::from_secs(self.lock_timeout),
            algorithm,
            ..StoreOptions::default()
        };
        Ok(Store::open(path, options).map_err(|e| e.context("open CAS"))?)
    }
}

/// `NAME=VALUE` words to annotations.
pub fn annotations(words: &[String]) -> Outcome<Annotations> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::Arguments(format!(
            "invalid annotation {word:?}: write NAME=VALUE"
        ))),
    };
    words.iter().map(pair).collect()
}

/// Checks the count of arguments, and that none is empty.
pub fn positionals<'a, const N: usize>(words: &'a [String], names: [&str; N]) -> Outcome<[&'a str; N]> {
    let expected = if N == 0 {
        "none".to_owned()
    } else {
        names
            .iter()
            .map(|n| format!("<{n}>"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let fail = || {
        Failure::Arguments(format!(
            "invalid number of positional arguments: expected {expected}"
        ))
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words: [&str; N] = words.try_into().map_err(|_| fail())?;
    match words.iter().position(|w| w.is_empty()) {
        Some(at) => Err(Failure::Arguments(format!("{} cannot be empty", names[at]))),
        None => Ok(words),
    }
}

/// Time and history of a change: `--history.*` and `--no-history`.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// do not create a history entry
    #[arg(long = "no-history", help_heading = "history")]
    no_history: bool,
    /// author value for the history entry
    #[arg(
        id = "history.author",
        long = "history.author",
        value_name = "value",
        help_heading = "history"
    )]
    author: Option<String>,
    /// comment for the history entry
    #[arg(
        id = "history.comment",
        long = "history.comment",
        value_name = "value",
        help_heading = "history"
    )]
    comment: Option<String>,
    /// created time for the history entry (RFC 3339, default: now)
    #[arg(
        id = "history.created",
        long = "history.created",
        value_name = "value",
        help_heading = "history"
    )]
    created: Option<String>,
    /// created_by value for the history entry
    #[arg(
        id = "history.created_by",
        long = "history.created_by",
        value_name = "value",
        help_heading = "history"
    )]
    created_by: Option<String>,
}

impl HistoryArgs {
    /// The history entry that is asked for; `None` with `--no-history`.
    pub fn get(&self, created_by: &str, author: &str) -> Outcome<Option<umoci::spec::History>> {
        self.get_at(created_by, author, None)
    }

    /// As [`HistoryArgs::get`], with this time if no other is asked for, and not the present one.
    pub fn get_at(
        &self,
        created_by: &str,
        author: &str,
        time: Option<String>,
    ) -> Outcome<Option<umoci::spec::History>> {
        if self.no_history {
            return Ok(None);
        }
        let created = match (&self.created, time) {
            (Some(text), _) => {
                umoci::image::time::parse(text).map_err(|e| e.context("parsing --history.created"))?
            }
            (None, Some(time)) => time,
            (None, None) => super::now()?,
        };
        Ok(Some(umoci::spec::History {
            created: Some(created),
            created_by: self.created_by.clone().unwrap_or_else(|| created_by.to_owned()),
            author: self.author.clone().unwrap_or_else(|| author.to_owned()),
            comment: self.comment.clone().unwrap_or_default(),
            ..Default::default()
        }))
    }

    /// A layer that no history speaks of is worth a word.
    pub fn warn_if_none(&self, ui: &Ui) {
        if self.no_history {
            ui.warn(format_args!(
                "new layer has no history entry -- this will confuse many tools!"
            ));
        }
    }

    /// Refuses options that contradict each other, before any file is looked at.
    pub fn check(&self) -> Outcome {
        for (name, value) in [
            ("author", &self.author),
            ("comment", &self.comment),
            ("created", &self.created),
            ("created_by", &self.created_by),
        ] {
            if self.no_history && value.is_some() {
                let text = format!("--no-history and --history.{name} may not be specified together");
                return Err(Failure::Arguments(text));
            }
        }
        Ok(())
    }
}

/// `--compress ALGO`
#[derive(Args, Debug)]
pub struct CompressArg {
    /// compression of the new layer: none, gzip, zstd or auto (as the image's topmost layer)
    #[arg(long = "compress", value_name = "value", default_value = "auto")]
    compress: String,
}

impl CompressArg {
    /// The algorithm; `None` for `auto`.
    pub fn get(&self) -> Outcome<Option<umoci::spec::Compression>> {
        use umoci::spec::Compression;
        match self.compress.as_str() {
            "auto" => Ok(None),
            "none" | "" => Ok(Some(Compression::None)),
            "gzip" => Ok(Some(Compression::Gzip)),
            "zstd" => Ok(Some(Compression::Zstd)),
            other => Err(Failure::Arguments(format!(
                "invalid --compress: unknown layer compression type {other:?}"
            ))),
        }
    }
}

/// `--limit`
#[derive(Args, Debug)]
pub struct LimitArgs {
    /// change what a layer may ask for: header, path, sparse (8 GiB of holes unless changed), directories or
    /// layer=BYTES, entries=COUNT, zstd-window=LOG2
    #[arg(long = "limit", value_name = "name=number")]
    limit: Vec<String>,
}

impl LimitArgs {
    /// The limits.
    pub fn get(&self) -> Outcome<umoci::layer::Limits> {
        let mut out = umoci::layer::Limits::default();
        for word in &self.limit {
            let number = word
                .split_once('=')
                .and_then(|(name, n)| Some((name, n.parse().ok()?)));
            let Some((name, number)) = number else {
                let text =
                    format!("--limit {word}: a name, = and a number are wanted, as in layer=1000000000");
                return Err(Failure::Arguments(text));
            };
            out.set(name, number).map_err(|e| e.context("--limit"))?;
        }
        Ok(out)
    }
}

/// `--uid-map`, `--gid-map`, `--rootless`
#[derive(Args, Debug)]
pub struct IdMapArgs {
    /// map of user ids, container:host[:size]; may be given more than once
    #[arg(long = "uid-map", value_name = "value", help_heading = "owners")]
    uid_map: Vec<String>,
    /// map of group ids, container:host[:size]; may be given more than once
    #[arg(long = "gid-map", value_name = "value", help_heading = "owners")]
    gid_map: Vec<String>,
    /// work without privileges: owners are kept in an extended attribute
    #[arg(long = "rootless", help_heading = "owners")]
    rootless: bool,
}

impl IdMapArgs {
    /// The maps.
    pub fn get(&self) -> Outcome<umoci::fs::IdMap> {
        let parse = |option: &str, words: &[String]| {
            words
                .iter()
                .map(|w| {
                    umoci::fs::IdMap::parse_mapping(w)
                        .map_err(|e| e.context(format!("failure parsing {option} {w}")))
                })
                .collect::<umoci::error::Result<Vec<_>>>()
        };
        let mut map = if self.rootless {
            umoci::fs::IdMap::of_this_user()
        } else {
            umoci::fs::IdMap::default()
        };
        for (option, given, ids) in [
            ("--uid-map", &self.uid_map, &mut map.uids),
            ("--gid-map", &self.gid_map, &mut map.gids),
        ] {
            if !given.is_empty() {
                *ids = parse(option, given)?;
            }
        }
        Ok(map)
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
