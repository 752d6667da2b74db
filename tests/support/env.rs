// SPDX-License-Identifier: Apache-2.0
//! A sealed room for running programs: a directory of its own, and nothing of the environment outside.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory to work in, which is also `HOME`. Programs run there with a clean environment.
pub struct Env {
    dir: tempfile::TempDir,
    vars: Vec<(String, String)>,
}

/// What a program did. Paths of the room are written as `$ENV`.
#[must_use = "look at it, or call ok() or fails()"]
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    what: String,
}

impl Env {
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// A room in memory, if there is such a place: quick to sync, and with every extended attribute and time.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        match rustix::fs::access(memory, rustix::fs::Access::WRITE_OK) {
            Ok(()) => Self::below(memory),
            Err(_) => Self::new(),
        }
    }

    fn below(place: &Path) -> Self {
        // Whoever runs the tests may have another one.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let dir = tempfile::Builder::new()
            .prefix("umoci-test")
            .tempdir_in(place)
            .expect("temporary directory");
        Self {
            dir,
            vars: Vec::new(),
        }
    }

    /// Sets an environment variable for all programs from now on.
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        std::fs::write(path, text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// Runs the program that is tested.
    pub fn umoci<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Output {
        self.run(env!("CARGO_BIN_EXE_umoci"), words)
    }

    /// Runs the packaged umoci, or the one that `UMOCI_PEER` names.
    pub fn peer<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Output {
        let peer = std::env::var("UMOCI_PEER").unwrap_or_else(|_| "/usr/bin/umoci".to_owned());
        self.run(&peer, words)
    }

    pub fn run<S: AsRef<OsStr>>(&self, program: &str, words: impl IntoIterator<Item = S>) -> Output {
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("TZ", "UTC");
        command.envs(self.vars.iter().map(|(k, v)| (k, v)));
        let what = format!("{command:?}");
        let output = command.output().unwrap_or_else(|e| panic!("{what}: {e}"));
        let clean = |bytes: &[u8]| {
            let text =
                String::from_utf8_lossy(bytes).replace(self.dir.path().to_str().expect("utf-8"), "$ENV");
            // Log lines are padded to a column.
            text.lines()
                .map(str::trim_end)
                .fold(String::new(), |out, line| out + line + "\n")
        };
        Output {
            code: output.status.code(),
            stdout: clean(&output.stdout),
            stderr: clean(&output.stderr),
            what,
        }
    }

    /// Runs a shell script, which must succeed; returns what it printed.
    pub fn sh(&self, script: &str) -> String {
        self.run("/bin/bash", ["-euo", "pipefail", "-c", script]).ok()
    }
}

impl Output {
    /// The program succeeded; returns what it printed.
    pub fn ok(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "{}\n{}{}",
            self.what,
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// The program failed in the ordinary way: code 1, nothing on stdout, one line that says why. Returns the line.
    pub fn fails(self) -> String {
        assert_eq!(
            self.code,
            Some(1),
            "{}\n{}{}",
            self.what,
            self.stdout,
            self.stderr
        );
        assert_eq!(self.stdout, "", "{}", self.what);
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{}\n{}", self.what, self.stderr);
        lines[0]
            .trim_start()
            .strip_prefix("⨯ ")
            .unwrap_or(lines[0])
            .to_owned()
    }
}
