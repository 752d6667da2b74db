// SPDX-License-Identifier: Apache-2.0
//! Images that attack whoever unpacks them. Each case says what must happen, and shows that what lies outside of the
//! tree is as it was. They run with `openat2` and with the walk by components, as root and as a plain user.

mod archives;
mod bombs;
mod catalogs;
mod documents;
mod labels;
mod races;
mod repeats;
mod trees;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use umoci::digest::Digest;

use crate::support::{Env, Output};

const PLAIN: &str = "65534";

/// Who unpacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    Root,
    Plain,
}

/// All ways to run a case. A plain user alone has only one.
pub fn ways() -> Vec<(Who, &'static str)> {
    let who: &[Who] = if rustix::process::geteuid().is_root() {
        &[Who::Root, Who::Plain]
    } else {
        &[Who::Plain]
    };
    let ways = |who| ["openat2", "walk"].map(|resolver| (who, resolver));
    who.iter().copied().flat_map(ways).collect()
}

/// A room with something outside of the tree that must stay as it is.
pub struct Room {
    pub env: Env,
    who: Who,
    before: BTreeMap<PathBuf, String>,
}

impl Room {
    pub fn new(who: Who, resolver: &str) -> Self {
        let env = Env::new().var("UMOCI_RESOLVER", resolver);
        env.sh("mkdir -p work outside/dir; echo untouched >outside/secret; echo mallory:x:0:0::/:/bin/sh >outside/passwd
                ln -s secret outside/link; chmod 600 outside/secret; touch -d 2001-02-03 outside/secret outside/dir outside");
        if who == Who::Plain && rustix::process::geteuid().is_root() {
            env.sh(&format!("chown -hR {PLAIN}:{PLAIN} work outside"));
            chown(env.path("."), Some(65534), Some(65534)).expect("chown");
        }
        let before = state(&env.path("outside"));
        Self { env, who, before }
    }

    /// The same room; what is outside now is what must stay.
    pub fn begin_again(mut self) -> Self {
        self.before = state(&self.env.path("outside"));
        self
    }

    /// Path of what is outside, as an attacker may know it.
    pub fn outside(&self) -> String {
        self.env.path("outside").to_str().expect("utf-8").to_owned()
    }

    /// Writes the image `work/img:latest` with these layers, uncompressed tars.
    pub fn image(&self, layers: &[Vec<u8>]) {
        let layers: Vec<Layer> = layers
            .iter()
            .map(|tar| Layer {
                media_type: "application/vnd.oci.image.layer.v1.tar",
                blob: tar.clone(),
                diff_id: Digest::sha256(tar),
            })
            .collect();
        self.image_of(&layers);
    }

    pub fn image_of(&self, layers: &[Layer]) {
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|l| format!("{:?}", l.diff_id.to_string()))
            .collect();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        let descriptor = |media_type: &str, bytes: &[u8]| {
            let digest = self.put(bytes);
            let size = bytes.len();
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
        };
        let layers: Vec<String> = layers.iter().map(|l| descriptor(l.media_type, &l.blob)).collect();
        let config = descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes());
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{config},"layers":[{}]}}"#,
            layers.join(",")
        );
        self.tag("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    }

    /// Writes a blob as it is; returns its digest.
    pub fn put(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        self.env
            .write(&format!("work/img/blobs/sha256/{}", digest.encoded()), bytes);
        digest
    }

    /// Makes these bytes what `work/img:latest` leads to.
    pub fn tag(&self, media_type: &str, bytes: &[u8]) {
        let digest = self.put(bytes);
        self.env
            .write("work/img/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        let size = bytes.len();
        self.env.write(
            "work/img/index.json",
            format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{media_type}","digest":"{digest}","size":{size},"annotations":{{"org.opencontainers.image.ref.name":"latest"}}}}]}}"#
            ),
        );
    }

    /// Runs the program in `work`, as whoever it is, with no more than 200 MB of data, and for no more than two minutes.
    pub fn umoci(&self, words: &[&str]) -> Output {
        let limit = [
            "timeout",
            "120",
            "prlimit",
            "--data=200000000",
            "env",
            "-C",
            "work",
        ];
        if self.who == Who::Root || !rustix::process::geteuid().is_root() {
            let program = [env!("CARGO_BIN_EXE_umoci")];
            return self.env.run("env", [limit.as_slice(), &program, words].concat());
        }
        // Somebody may be changing it.
        self.env
            .sh(&format!("chown -hR {PLAIN}:{PLAIN} work 2>/dev/null || true"));
        let user = ["--reuid", PLAIN, "--regid", PLAIN, "--clear-groups"];
        let words = [user.as_slice(), &limit, &[program()], words].concat();
        self.env.run("setpriv", words)
    }

    /// Unpacks `work/img` to `work/b`.
    pub fn unpack(&self, more: &[&str]) -> Output {
        let rootless: &[&str] = if self.who == Who::Plain {
            &["--rootless"]
        } else {
            &[]
        };
        self.umoci(&[&["unpack", "--image", "img"], rootless, more, &["b"]].concat())
    }

    /// Shows that nothing outside was written, changed, or even looked at with a new time.
    pub fn assert_untouched(&self, what: &str) {
        assert_eq!(state(&self.env.path("outside")), self.before, "{what}");
        let known = ["work", "outside"];
        for entry in std::fs::read_dir(self.env.path(".")).expect("room") {
            let name = entry.expect("entry").file_name();
            assert!(
                known.iter().any(|k| name == *k),
                "{what}: {} is new",
                name.display()
            );
        }
    }

    /// Shows that a failed unpack left nothing.
    pub fn assert_cleaned(&self, what: &str) {
        let mut names: Vec<_> = std::fs::read_dir(self.env.path("work"))
            .expect("work")
            .map(|e| e.expect("entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["img"], "{what}");
    }
}

/// A copy of the program that everybody can run, wherever it was built.
fn program() -> &'static str {
    static COPY: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    let make = || {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("umoci");
        std::fs::copy(env!("CARGO_BIN_EXE_umoci"), &path).expect("copy");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
        let path = path.to_str().expect("utf-8").to_owned();
        (dir, path)
    };
    &COPY.get_or_init(make).1
}

/// A layer as it is stored.
pub struct Layer {
    pub media_type: &'static str,
    pub blob: Vec<u8>,
    pub diff_id: Digest,
}

/// All that can be seen of a tree, its inodes and the times of their last change included.
fn state(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    let mut stack = vec![dir.to_owned()];
    while let Some(path) = stack.pop() {
        let meta = std::fs::symlink_metadata(&path).expect("stat");
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).expect("directory");
            stack.extend(entries.map(|e| e.expect("entry").path()));
        }
        let content = if meta.is_file() {
            std::fs::read(&path).expect("file")
        } else {
            Vec::new()
        };
        let (ctime, mtime) = (
            (meta.ctime(), meta.ctime_nsec()),
            (meta.mtime(), meta.mtime_nsec()),
        );
        let text = format!(
            "{} {:o} {}:{} {} {ctime:?} {mtime:?} {content:?}",
            meta.ino(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink()
        );
        out.insert(path, text);
    }
    out
}
