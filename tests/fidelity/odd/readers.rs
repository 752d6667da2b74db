// SPDX-License-Identifier: Apache-2.0
//! One archive as four programs read it: the packaged Go tool, GNU tar, bsdtar, and this library.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use umoci::digest::Digest;
use umoci::internals::Root;
use umoci::internals::{ExtractOptions, Extractor};
use umoci::internals::{LayerReader, Limits};
use umoci::progress::Silent;

/// What a program made of an archive: what is at each path; `None` if it refused it.
pub type Reading = Option<BTreeMap<String, String>>;

/// How four programs read an archive.
#[derive(Debug)]
pub struct Readings {
    pub go: Reading,
    pub gnu: Reading,
    pub bsd: Reading,
    pub ours: Reading,
    /// What we said where we refused.
    pub refusal: String,
}

impl Readings {
    /// Reads `tar` with all of them, in a directory of its own below `room`.
    pub fn of(tar: &[u8], room: &Path) -> Self {
        let dir = tempfile::tempdir_in(room).expect("directory");
        let dir = dir.path();
        std::fs::write(dir.join("tar"), tar).expect("archive");
        image(&dir.join("image"), tar);
        let run = |words: &[&str], tree: &str| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).current_dir(dir).env_clear();
            command.env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let status = command.status().unwrap_or_else(|e| panic!("{}: {e}", words[0]));
            status.success().then(|| tree_at(&dir.join(tree)))
        };
        for tree in ["gnu", "bsd", "ours"] {
            std::fs::create_dir(dir.join(tree)).expect("directory");
        }
        let gnu = "tar -xpf tar --numeric-owner --same-owner --xattrs --xattrs-include=* -C gnu";
        let bsd = "bsdtar -xpf tar --numeric-owner -C bsd";
        let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
        let ours = extract(tar, &dir.join("ours"));
        Self {
            go: run(
                &["/usr/bin/umoci", "raw", "unpack", "--image", "image:a", "go"],
                "go",
            ),
            gnu: run(&words(gnu), "gnu"),
            bsd: run(&words(bsd), "bsd"),
            refusal: ours.as_ref().err().map(ToString::to_string).unwrap_or_default(),
            ours: ours.ok().map(|()| tree_at(&dir.join("ours"))),
        }
    }

    /// The readings of Go, GNU, bsdtar and ours, in this order: `-` for refused, the same letter for the same tree.
    pub fn signs(&self) -> String {
        let mut trees = Vec::new();
        let mut sign = |reading: &Reading| {
            let Some(tree) = reading else { return '-' };
            let at = trees.iter().position(|known| known == tree).unwrap_or_else(|| {
                trees.push(tree.clone());
                trees.len() - 1
            });
            ['A', 'B', 'C', 'D'][at]
        };
        [&self.go, &self.gnu, &self.bsd, &self.ours]
            .map(&mut sign)
            .iter()
            .collect()
    }

    /// Whether ours is what it should be: as the Go tool's, where that refuses as GNU tar's.
    pub fn ours_is_right(&self) -> bool {
        self.ours == *self.go.as_ref().map_or(&self.gnu, |_| &self.go)
    }
}

/// Writes the layout of an image `a` with one layer.
fn image(path: &Path, layer: &[u8]) {
    let blobs = path.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("layout");
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        std::fs::write(blobs.join(digest.encoded()), bytes).expect("blob");
        format!(
            r#""mediaType":"application/vnd.oci.image.{media_type}","digest":"{digest}","size":{}"#,
            bytes.len()
        )
    };
    let diff_id = Digest::sha256(layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let layer = put("layer.v1.tar", layer);
    let config = put("config.v1+json", config.as_bytes());
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{{config}}},"layers":[{{{layer}}}]}}"#);
    let manifest = put("manifest.v1+json", manifest.as_bytes());
    let name = r#""annotations":{"org.opencontainers.image.ref.name":"a"}"#;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{{manifest},{name}}}]}}"#);
    std::fs::write(path.join("index.json"), index).expect("index.json");
    std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("oci-layout");
}

/// Extracts `tar` as a layer of an image.
fn extract(tar: &[u8], to: &Path) -> umoci::error::Result<()> {
    let root = Root::open(to)?;
    let mut extractor = Extractor::new(&root, ExtractOptions::default(), &Silent);
    extractor.prepare()?;
    let mut reader = LayerReader::new(tar, Limits::default());
    extractor.apply_layer(&mut reader)?;
    reader.drain()
}

/// What is at each path, in the words of `ls -l`. Whiteouts are left out: tar knows none, and there is nothing to hide.
fn tree_at(root: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    let mut paths = Vec::new();
    let mut stack = vec![root.to_owned()];
    while let Some(dir) = stack.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let entry = entry.expect("entry");
            if entry.file_name().as_bytes().starts_with(b".wh.") {
                continue;
            }
            if entry.file_type().expect("type").is_dir() {
                stack.push(entry.path());
            }
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        let name = path
            .strip_prefix(root)
            .expect("below")
            .as_os_str()
            .as_bytes()
            .escape_ascii()
            .to_string();
        let text = describe(&path, &name, &mut names);
        out.insert(name, text);
    }
    out
}

fn describe(path: &Path, name: &str, names: &mut BTreeMap<u64, String>) -> String {
    let meta = std::fs::symlink_metadata(path).expect("stat");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("clock")
        .as_secs() as i64;
    let is_new = meta.mtime() > now - 1000;
    if meta.is_dir() && (is_new || meta.mtime() == 0) {
        return "a directory of which no entry speaks".to_owned();
    }
    let time = if is_new {
        "now".to_owned()
    } else {
        format!("{}.{}", meta.mtime(), meta.mtime_nsec())
    };
    let kind = meta.file_type();
    let what = if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_symlink() {
        let target = std::fs::read_link(path).expect("link");
        format!("link to {}", target.as_os_str().as_bytes().escape_ascii())
    } else if kind.is_file() {
        let first = names.entry(meta.ino()).or_insert_with(|| name.to_owned());
        let first = if first == name {
            String::new()
        } else {
            format!(", the same as {first}")
        };
        format!("{} bytes {}{first}", meta.len(), begin(path))
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        format!("device {}", meta.rdev())
    };
    let mode = if kind.is_symlink() {
        0
    } else {
        meta.mode() & 0o7777
    };
    format!(
        "{what}, {mode:o} {}:{} {time}{}",
        meta.uid(),
        meta.gid(),
        xattrs(path)
    )
}

/// What a file begins with, or the digest of its first megabyte if it is not short.
fn begin(path: &Path) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).expect("file");
    file.take(1 << 20).read_to_end(&mut bytes).expect("file");
    if bytes.len() <= 16 {
        return format!("{:?}", bytes.escape_ascii().to_string());
    }
    Digest::sha256(&bytes).encoded()[..8].to_owned()
}

fn xattrs(path: &Path) -> String {
    let mut names = [0; 4096];
    let n = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut out = String::new();
    for name in names[..n].split(|&c| c == 0).filter(|name| !name.is_empty()) {
        let mut value = [0; 4096];
        let n = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("value");
        let value = value[..n].escape_ascii().to_string();
        write!(out, ", {}={value:?}", name.escape_ascii()).expect("text");
    }
    out
}
