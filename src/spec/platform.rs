// SPDX-License-Identifier: Apache-2.0
//! Platforms: names, spelling, and which image runs where. Spec: image-spec, image-index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// Operating system and processor that an image is for, in Go's names (`linux`, `amd64`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// Processor.
    pub architecture: String,
    /// Operating system.
    pub os: String,
    /// Version of the operating system.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Features of the operating system that the image needs.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the processor, such as `v7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Platform {
    /// Returns the platform that this program was built for.
    pub fn host() -> Self {
        // Go has names of its own for these processors, and the image-spec takes Go's.
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "mips64" if cfg!(target_endian = "little") => "mips64le",
            "loongarch64" => "loong64",
            other => other,
        };
        let named = Self {
            architecture: architecture.to_owned(),
            os: std::env::consts::OS.to_owned(),
            ..Self::default()
        };
        named.spelled()
    }

    /// Returns the same platform in the names that the image-spec has: `x86_64` is `amd64`, `aarch64` is `arm64` `v8`, `armhf`
    /// is `arm` `v7`, `macos` is `darwin`; case does not count, and a variant may lack its `v`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let mut os = self.os.to_ascii_lowercase();
        if os == "macos" {
            "darwin".clone_into(&mut os);
        }
        let architecture = self.architecture.to_ascii_lowercase();
        let (architecture, first_variant) = match architecture.as_str() {
            // The package containerd/platforms, which Docker uses, normalizes by the same table.
            "x86_64" | "x86-64" | "amd64" => ("amd64", "v1"),
            "aarch64" | "arm64" => ("arm64", "v8"),
            "armhf" | "arm" => ("arm", "v7"),
            "armel" => ("arm", "v6"),
            "i386" | "i486" | "i586" | "i686" => ("386", ""),
            other => (other, ""),
        };
        let mut variant = self.variant.to_ascii_lowercase();
        if variant.is_empty() {
            first_variant.clone_into(&mut variant);
        } else if variant.starts_with(|c: char| c.is_ascii_digit()) {
            variant.insert(0, 'v');
        }
        Self {
            architecture: architecture.to_owned(),
            os,
            variant,
            ..self.clone()
        }
    }

    /// Returns the same platform as the config of a new image spells it: names as in [`Platform::normalized`], and a variant
    /// where it was given or, as in [`Platform::host`], where the processor is an ARM.
    #[must_use]
    pub fn spelled(&self) -> Self {
        let mut out = self.normalized();
        if self.variant.is_empty() && !out.architecture.starts_with("arm") {
            out.variant.clear();
        }
        out
    }

    /// Returns whether this is of no machine: entries of an index that say something of another entry (BuildKit's attestations)
    /// have `unknown/unknown`.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }

    /// Returns whether `other` is this platform in all that this one says; a variant must be the same.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        let (own, other) = (self.normalized(), other.normalized());
        (&own.os, &own.architecture, &own.variant) == (&other.os, &other.architecture, &other.variant)
            && (own.os_version.is_empty() || own.os_version == other.os_version)
            && (own.os_features.is_empty() || own.os_features == other.os_features)
    }

    /// Returns whether an image of the platform `image` runs on this one.
    ///
    /// Operating system and processor must be the same. A processor runs what was made for its own variant and for the
    /// earlier ones (`arm` `v7` runs `v6`, `amd64` `v3` runs `v2`); of processors whose variants have no such order the
    /// variant must be the same, if both have one. A version of the operating system that is asked for must be the
    /// image's, or begin it at a dot (`10.0.17763` takes `10.0.17763.1`). Features that the image needs must be here.
    pub fn runs(&self, image: &Self) -> bool {
        self.rank(image).is_some()
    }

    /// Ranks an image of the platform `image` by how well it fits to this one, less is better; `None` if it does not run.
    ///
    /// The variant tells: the same one is best, then the nearest of the earlier ones.
    pub fn rank(&self, image: &Self) -> Option<(bool, std::cmp::Reverse<(u32, u32)>)> {
        if image.is_unknown() {
            return None;
        }
        let (host, image) = (self.normalized(), image.normalized());
        let runs = host.os == image.os
            && host.architecture == image.architecture
            && runs_variant(&host, &image)
            && runs_version(&host.os_version, &image.os_version)
            && image.os_features.iter().all(|f| host.os_features.contains(f));
        // All variants that are left run here, so the latest of them is the nearest.
        let variant = variant_number(&image.variant).unwrap_or_default();
        runs.then_some((host.variant != image.variant, std::cmp::Reverse(variant)))
    }
}

/// Processors that images are made for, in Go's names.
const ARCHITECTURES: [&str; 14] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x", "wasm",
];

/// Returns whether `name`, in any spelling, is that of a processor.
fn is_architecture(name: &str) -> bool {
    let named = Platform {
        architecture: name.to_owned(),
        ..Platform::default()
    };
    ARCHITECTURES.contains(&named.normalized().architecture.as_str())
}

fn is_name(part: &str) -> bool {
    !part.is_empty()
        && part
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
}

/// Reads a variant as a number: `v7` is 7.0, `v8.5` is 8.5.
fn variant_number(text: &str) -> Option<(u32, u32)> {
    let text = text.strip_prefix('v')?;
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Returns whether an image of one version is of a version that is asked for, in parts between dots.
fn runs_version(wanted: &str, image: &str) -> bool {
    image
        .strip_prefix(wanted)
        .is_some_and(|rest| wanted.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

fn runs_variant(host: &Platform, image: &Platform) -> bool {
    if host.variant == image.variant {
        return true;
    }
    match host.architecture.as_str() {
        // Each variant of these runs what was made for the earlier ones, and `None` is the least.
        "arm" | "arm64" | "amd64" => {
            let made_for = variant_number(&image.variant);
            made_for.is_some() && made_for <= variant_number(&host.variant)
        }
        _ => host.variant.is_empty() || image.variant.is_empty(),
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `OS/ARCH[/VARIANT]`; the version of the operating system and its features may stand behind it, as in
    /// `windows(10.0.17763+win32k)/amd64`. The operating system is `linux` where a known processor comes first, as in
    /// `arm64` and `arm/v7`.
    fn from_str(text: &str) -> Result<Self> {
        read_platform(text).ok_or_else(|| {
            let text = format!("invalid platform {text:?}: write OS/ARCH[/VARIANT], such as linux/arm64");
            Error::new(ErrorKind::Invalid, text)
        })
    }
}

fn read_platform(text: &str) -> Option<Platform> {
    // No operating system has the name of a processor, so the first word tells which of both it is.
    let is_bare = is_architecture(text.split('/').next()?);
    let mut parts = is_bare.then_some("linux").into_iter().chain(text.split('/'));
    let (os, architecture, variant) = (parts.next()?, parts.next()?, parts.next());
    let (os, inner) = match os.split_once('(') {
        Some((os, inner)) => (os, inner.strip_suffix(')')?),
        None => (os, ""),
    };
    let mut inner = inner.split('+');
    // A variant may be left out, but not be empty.
    let names = [os, architecture, variant.unwrap_or("v1")];
    (parts.next().is_none() && names.into_iter().all(is_name)).then(|| Platform {
        architecture: architecture.to_owned(),
        os: os.to_owned(),
        os_version: inner.next().unwrap_or_default().to_owned(),
        os_features: inner.map(str::to_owned).collect(),
        variant: variant.unwrap_or_default().to_owned(),
        ..Platform::default()
    })
}

impl fmt::Display for Platform {
    /// Writes `os[(version[+feature]...)]/architecture[/variant]`, as it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if !self.os_version.is_empty() || !self.os_features.is_empty() {
            write!(f, "({}", self.os_version)?;
            for feature in &self.os_features {
                write!(f, "+{feature}")?;
            }
            f.write_str(")")?;
        }
        write!(f, "/{}", self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect("platform")
    }

    #[test]
    fn an_image_runs_where_its_names_variant_version_and_features_fit() {
        for (host, image, runs) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/x86_64", "Linux/AMD64", true),
            ("macos/aarch64", "darwin/arm64", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/amd64", "linux/amd64/v1", true),
            ("linux/amd64", "linux/amd64/v2", false),
            ("linux/amd64/v3", "linux/amd64/v2", true),
            ("linux/amd64/3", "linux/amd64", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm64/v8", "linux/arm64/v8.1", false),
            ("linux/arm64/v9", "linux/arm64/v8.5", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm/v7", "linux/arm/v6", true),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/armhf", "linux/arm/v7", true),
            ("linux/armel", "linux/arm", false),
            ("linux/i686", "linux/386", true),
            ("linux/mips64le/hardfloat", "linux/mips64le", true),
            ("linux/mips64le/hardfloat", "linux/mips64le/softfloat", false),
            ("unknown/unknown", "unknown/unknown", false),
            ("windows/amd64", "windows(10.0.17763.1)/amd64", true),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763.1)/amd64", true),
            ("windows(10.0.1776)/amd64", "windows(10.0.17763.1)/amd64", false),
            ("windows(10.0.17763)/amd64", "windows/amd64", false),
            ("windows/amd64", "windows(10+win32k)/amd64", false),
            ("windows(10+win32k)/amd64", "windows(10+win32k)/amd64", true),
            ("windows(+win32k)/amd64", "windows/amd64", true),
        ] {
            assert_eq!(platform(host).runs(&platform(image)), runs, "{host} runs {image}");
        }
    }

    #[test]
    fn the_nearest_variant_fits_best() {
        for (host, images, best) in [
            (
                "linux/arm/v7",
                &["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"][..],
                1,
            ),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"], 1),
            ("linux/arm", &["linux/arm/v6", "linux/arm"], 1),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"], 1),
            ("linux/arm64", &["linux/arm64/v8", "linux/arm64"], 0),
            (
                "linux/mips64le/hardfloat",
                &["linux/mips64le", "linux/mips64le/hardfloat"],
                1,
            ),
        ] {
            let rank = |at: &usize| platform(host).rank(&platform(images[*at]));
            let fits = (0..images.len()).filter(|at| rank(at).is_some());
            assert_eq!(fits.min_by_key(rank), Some(best), "{host}");
        }
    }

    #[test]
    fn a_platform_is_written_as_it_is_read() {
        for text in [
            "linux/amd64",
            "linux/arm/v7",
            "windows(10.0.17763.1)/amd64",
            "windows(10.0.17763.1+win32k+x)/amd64/v2",
            "windows(+win32k)/amd64",
        ] {
            assert_eq!(platform(text).to_string(), text);
        }
    }

    #[test]
    fn a_processor_alone_is_one_of_linux() {
        for (text, want) in [
            ("arm64", "linux/arm64"),
            ("arm/v7", "linux/arm/v7"),
            ("x86_64", "linux/x86_64"),
            ("AMD64/v3", "linux/AMD64/v3"),
            ("386", "linux/386"),
        ] {
            assert_eq!(platform(text).to_string(), want);
        }
        assert_eq!(
            platform("aarch64").normalized(),
            platform("linux/arm64").normalized()
        );
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "a/b/c/d",
            "a(b/c",
            "a b/c",
            "linux/amd64/",
        ] {
            let err = text.parse::<Platform>().expect_err(text);
            assert!(err.to_string().contains("write OS/ARCH[/VARIANT]"), "{err}");
        }
    }
}
