// SPDX-License-Identifier: Apache-2.0
//! Credentials of users: the files of Docker and of the containers tools, and the helpers that they name.
//!
//! Files: containers-auth.json(5), and Docker's `config.json`. The first file that has credentials for a repository wins; in a
//! file a helper of the host comes before the default helper, and that before what stands in the file. The longest key that
//! is the repository or a path above it wins.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::reference::{HUB, HUB_NAMES, RepositoryName};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::{PendingFile, lock_file, remove_file};

/// Key of Docker Hub in the files, and its name for helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Maximum size of a file of credentials and of a helper's answer in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Time that a helper has to answer.
const HELPER_TIME: Duration = Duration::from_secs(60);
/// Maximum time to wait for another process that changes the file; its helper may take long.
const LOCK_TIME: Duration = Duration::from_secs(90);
/// Answer of a helper that has none.
const NOT_FOUND: &str = "credentials not found";
/// User name by which a helper hands out an identity token.
const TOKEN_USER: &str = "<token>";

/// A proof of who a user is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password.
    Password {
        /// Name of the user.
        user: String,
        /// Password, or a token in its place.
        password: String,
    },
    /// A token that the token service exchanges for others.
    IdentityToken(String),
}

/// Leaves the secrets out: no log has them.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { user, .. } => f
                .debug_struct("Password")
                .field("user", user)
                .finish_non_exhaustive(),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

impl Credentials {
    /// Returns the value of the header `Authorization` for a registry that takes passwords.
    pub(super) fn basic(&self) -> String {
        let pair = match self {
            Self::Password { user, password } => format!("{user}:{password}"),
            Self::IdentityToken(token) => format!("{TOKEN_USER}:{token}"),
        };
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn of_user(user: String, password: String) -> Self {
        if user == TOKEN_USER {
            return Self::IdentityToken(password);
        }
        Self::Password { user, password }
    }
}

/// Files of credentials, the first that has some for a repository counts.
#[derive(Clone, Debug, Default)]
pub struct CredentialFiles {
    files: Vec<PathBuf>,
    /// True if a missing file is an error, because a person named it.
    is_named: bool,
    /// Credentials that count in place of those of all files.
    fixed: Option<Credentials>,
}

impl CredentialFiles {
    /// Returns one file, which must be there when it is read.
    pub fn named(file: PathBuf) -> Self {
        Self {
            is_named: true,
            ..Self::optional(file)
        }
    }

    /// Returns one file, which need not be there.
    pub fn optional(file: PathBuf) -> Self {
        Self {
            files: vec![file],
            ..Self::default()
        }
    }

    /// Returns credentials for every repository, without a file.
    pub fn fixed(credentials: Credentials) -> Self {
        Self {
            fixed: Some(credentials),
            ..Self::default()
        }
    }

    /// Returns the files that the containers tools and Docker look at, in their order; `var` reads an environment variable.
    pub fn default_of(var: &dyn Fn(&str) -> Option<PathBuf>) -> Self {
        if let Some(file) = var("REGISTRY_AUTH_FILE") {
            return Self::named(file);
        }
        if let Some(dir) = var("DOCKER_CONFIG") {
            return Self::optional(dir.join("config.json"));
        }
        let uid = rustix::process::getuid().as_raw();
        // A directory that is set and not there belongs to a session which has ended.
        let run = match var("XDG_RUNTIME_DIR") {
            Some(dir) => dir.is_dir().then_some(dir),
            None => Some(format!("/run/containers/{uid}").into()),
        };
        let home = var("HOME").unwrap_or_else(|| "/".into());
        let config = var("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let mut files: Vec<PathBuf> = run
            .map(|run: PathBuf| run.join("containers/auth.json"))
            .into_iter()
            .collect();
        files.extend([
            config.join("containers/auth.json"),
            home.join(".docker/config.json"),
            home.join(".dockercfg"),
        ]);
        Self {
            files,
            ..Self::default()
        }
    }

    /// Returns the credentials for a repository, if a file or a helper has some.
    ///
    /// # Errors
    /// `ErrorKind::Corrupt` for a file that cannot be read as one; [`ErrorKind::Busy`] for a helper that does not answer.
    pub fn find(&self, repository: &RepositoryName) -> Result<Option<Credentials>> {
        if self.fixed.is_some() {
            return Ok(self.fixed.clone());
        }
        for path in &self.files {
            let Some(file) = AuthFile::read(path, self.is_named)? else {
                continue;
            };
            let found = file.find(repository);
            let found =
                found.context(|| format!("credentials for {} of {}", repository.host(), path.display()))?;
            if let Some(found) = found {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Writes credentials for a host, or for a repository if `key` has a path, to the first file or to its helper.
    ///
    /// # Errors
    /// Those of the file and of the helper.
    pub fn store(&self, key: &str, credentials: &Credentials) -> Result<PathBuf> {
        let (path, mut file, _lock) = self.to_change()?;
        if let Some(helper) = file.helper(key_host(key)) {
            store_in_helper(&helper, key, credentials)?;
            file.set(key, Value::Object(Map::new()))?;
        } else {
            let entry = match credentials {
                Credentials::Password { user, password } => {
                    serde_json::json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
                }
                Credentials::IdentityToken(token) => serde_json::json!({ "identitytoken": token }),
            };
            file.set(key, entry)?;
        }
        file.write(&path)?;
        Ok(path)
    }

    /// Removes the credentials for a key from the first file or from its helper. Returns whether there were some.
    ///
    /// # Errors
    /// Those of the file and of the helper.
    pub fn erase(&self, key: &str) -> Result<bool> {
        // Where there is nothing to remove, nothing is made either, such as a directory for the lock.
        if !self.has_first() {
            return Ok(false);
        }
        let (path, mut file, _lock) = self.to_change()?;
        Self::erase_in(&path, &mut file, key)
    }

    fn has_first(&self) -> bool {
        self.files.first().is_some_and(|path| path.exists())
    }

    fn erase_in(path: &Path, file: &mut AuthFile, key: &str) -> Result<bool> {
        let mut found = false;
        if let Some(helper) = file.helper(key_host(key)) {
            found = match run_helper(&helper, "erase", helper_key(key).as_bytes()) {
                Ok(_) => true,
                Err(err) if err.kind() == ErrorKind::NotFound => false,
                Err(err) => return Err(err),
            };
        }
        if file.remove(key) {
            file.write(path)?;
            found = true;
        }
        Ok(found)
    }

    /// Removes the credentials of all hosts from the first file. Returns the count.
    ///
    /// # Errors
    /// Those of the file and of the helpers.
    pub fn erase_all(&self) -> Result<usize> {
        if !self.has_first() {
            return Ok(0);
        }
        let (path, mut file, _lock) = self.to_change()?;
        let keys: Vec<String> = file
            .auths()
            .map(|auths| auths.keys().cloned().collect())
            .unwrap_or_default();
        let mut count = 0;
        for key in keys {
            count += usize::from(Self::erase_in(&path, &mut file, &key)?);
        }
        Ok(count)
    }

    /// Returns the first file, and its content, which nobody else changes as long as the lock is held.
    fn to_change(&self) -> Result<(PathBuf, AuthFile, FileLock)> {
        let Some(path) = self.files.first() else {
            fail!(NotFound, "no file for credentials is known");
        };
        // A link stays one: what it leads to is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        let lock = FileLock::take(&path)?;
        let file = AuthFile::read(&path, false)?.unwrap_or_default();
        Ok((path, file, lock))
    }
}

/// A lock of those who change a file of credentials, which is a file beside it: two logins at once would lose one.
struct FileLock {
    path: PathBuf,
    _file: File,
}

impl FileLock {
    fn take(file: &Path) -> Result<Self> {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let path = file.with_file_name(name);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).doing("create", dir)?;
        }
        let end = Instant::now() + LOCK_TIME;
        loop {
            match lock_file(&path) {
                Ok(file) => return Ok(Self { path, _file: file }),
                Err(err) if err.kind() == ErrorKind::Busy && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(err) => return Err(err),
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Removed while it is held: whoever waits sees that the file is another one by then.
        remove_file(&self.path);
    }
}

/// A file of credentials: an object, of which members that are not known here are kept.
#[derive(Default)]
struct AuthFile(Map<String, Value>);

impl AuthFile {
    fn read(path: &Path, must_exist: bool) -> Result<Option<Self>> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => file
                .take(MAX_FILE)
                .read_to_end(&mut text)
                .doing("read credentials", path)?,
            Err(err) if is_absent(&err) && !must_exist => return Ok(None),
            Err(err) => return Err(err).doing("read credentials", path),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let parsed: Map<String, Value> = serde_json::from_slice(&text)
            .map_err(|err| Error::new(ErrorKind::Corrupt, err.to_string()))
            .doing("read credentials", path)?;
        // The old `.dockercfg` is what the member `auths` became later.
        if path.ends_with(".dockercfg") && !parsed.contains_key("auths") {
            let auths = Value::Object(parsed);
            return Ok(Some(Self(Map::from_iter([("auths".to_owned(), auths)]))));
        }
        Ok(Some(Self(parsed)))
    }

    fn auths(&self) -> Option<&Map<String, Value>> {
        self.0.get("auths")?.as_object()
    }

    /// Returns the helper for a host: its own, else the default one.
    fn helper(&self, host: &str) -> Option<String> {
        let own = self.0.get("credHelpers").and_then(Value::as_object);
        let own = own.and_then(|helpers| names_of(host).into_iter().find_map(|name| helpers.get(name)));
        let found = own.or_else(|| self.0.get("credsStore"))?.as_str()?;
        (!found.is_empty()).then(|| found.to_owned())
    }

    fn find(&self, repository: &RepositoryName) -> Result<Option<Credentials>> {
        if let Some(helper) = self.helper(repository.host())
            && let Some(found) = ask_helper(&helper, repository.host())?
        {
            return Ok(Some(found));
        }
        let Some(auths) = self.auths() else {
            return Ok(None);
        };
        for key in keys_of(repository) {
            if let Some(found) = auths.get(&key).map(read_entry).transpose()?.flatten() {
                return Ok(Some(found));
            }
        }
        // Docker writes URLs, whose path says the version of the protocol.
        let by_url = auths.iter().find(|(key, _)| is_url_of(key, repository.host()));
        Ok(by_url.map(|(_, entry)| read_entry(entry)).transpose()?.flatten())
    }

    fn set(&mut self, key: &str, entry: Value) -> Result<()> {
        let auths = self.0.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        let Some(auths) = auths.as_object_mut() else {
            fail!(Corrupt, "the member auths of the credentials is no object");
        };
        auths.insert(key.to_owned(), entry);
        Ok(())
    }

    fn remove(&mut self, key: &str) -> bool {
        let auths = self.0.get_mut("auths").and_then(Value::as_object_mut);
        let Some(auths) = auths else { return false };
        let before = auths.len();
        auths.retain(|known, _| known != key && !is_url_of(known, key));
        auths.len() < before
    }

    /// Writes the file whole, for its owner alone.
    fn write(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).doing("write credentials", path)?;
        }
        let mut text = serde_json::to_vec_pretty(&self.0).map_err(std::io::Error::from)?;
        text.push(b'\n');
        let mut file = PendingFile::private(path).doing("write credentials", path)?;
        file.write_all(&text)?;
        file.commit()
    }
}

/// Returns whether there is no such file, be it that a directory above is none.
fn is_absent(err: &std::io::Error) -> bool {
    matches!(
        err.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// Returns the keys for a repository, the longest first.
fn keys_of(repository: &RepositoryName) -> Vec<String> {
    let mut out = Vec::new();
    for host in names_of(repository.host()) {
        let mut path = Some(repository.path());
        while let Some(above) = path {
            out.push(format!("{host}/{above}"));
            path = above.rsplit_once('/').map(|(above, _)| above);
        }
    }
    out.extend(names_of(repository.host()).into_iter().map(str::to_owned));
    out
}

/// Returns the names of a host; Docker Hub has several.
fn names_of(host: &str) -> Vec<&str> {
    if host == HUB {
        let mut names = HUB_NAMES.to_vec();
        names.push(HUB_KEY);
        return names;
    }
    vec![host]
}

fn is_url_of(key: &str, host: &str) -> bool {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let Some(rest) = rest else { return false };
    let (found, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_version = matches!(path.trim_end_matches('/'), "" | "v1" | "v2");
    is_version && names_of(host).contains(&found)
}

fn key_host(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

/// Returns what a helper knows a key by: Docker writes the URL of its own registry.
fn helper_key(key: &str) -> &str {
    if HUB_NAMES.contains(&key) { HUB_KEY } else { key }
}

/// Returns a member of an entry that is a text, unless it is empty.
fn member<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    entry
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// Reads an entry of `auths`; `None` for an empty one, which says that a helper has the credentials.
fn read_entry(entry: &Value) -> Result<Option<Credentials>> {
    if let Some(token) = member(entry, "identitytoken") {
        return Ok(Some(Credentials::IdentityToken(token.to_owned())));
    }
    let Some(auth) = member(entry, "auth") else {
        return Ok(member(entry, "username").map(|user| {
            let password = member(entry, "password").unwrap_or_default().to_owned();
            Credentials::of_user(user.to_owned(), password)
        }));
    };
    let decoded = STANDARD
        .decode(auth)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().map(|text| text.trim_end_matches('\0'));
    let Some((user, password)) = pair.and_then(|pair| pair.split_once(':')) else {
        fail!(Corrupt, "the member auth is not base64 of USER:PASSWORD");
    };
    Ok(Some(Credentials::of_user(user.to_owned(), password.to_owned())))
}

/// Asks a helper for the credentials of a host. Docker's own registry has two names there.
fn ask_helper(helper: &str, host: &str) -> Result<Option<Credentials>> {
    let names = if host == HUB {
        vec![HUB_KEY, HUB]
    } else {
        vec![host]
    };
    for name in names {
        let answer = match run_helper(helper, "get", name.as_bytes()) {
            Err(err) if err.kind() == ErrorKind::NotFound => continue,
            answer => answer?,
        };
        let answer: BTreeMap<String, String> = serde_json::from_slice(&answer).map_err(|_| {
            Error::new(
                ErrorKind::Corrupt,
                format!("docker-credential-{helper}: no JSON came"),
            )
        })?;
        let [user, secret] = ["Username", "Secret"].map(|name| answer.get(name).cloned().unwrap_or_default());
        if !secret.is_empty() {
            return Ok(Some(Credentials::of_user(user, secret)));
        }
    }
    Ok(None)
}

fn store_in_helper(helper: &str, key: &str, credentials: &Credentials) -> Result<()> {
    let (user, secret) = match credentials {
        Credentials::Password { user, password } => (user.as_str(), password),
        Credentials::IdentityToken(token) => (TOKEN_USER, token),
    };
    let request = serde_json::json!({ "ServerURL": helper_key(key), "Username": user, "Secret": secret });
    run_helper(helper, "store", request.to_string().as_bytes()).map(drop)
}

/// Runs `docker-credential-<helper> <verb>` with `input`, and returns what it prints.
///
/// # Errors
/// [`ErrorKind::NotFound`] if it has no credentials, [`ErrorKind::Busy`] if it does not end in time; its words otherwise.
fn run_helper(helper: &str, verb: &str, input: &[u8]) -> Result<Vec<u8>> {
    let program = format!("docker-credential-{helper}");
    // The name is part of a path of the user's choice, and must not lead out of it.
    if helper.contains('/') {
        fail!(Invalid, "invalid name of a credential helper: {helper:?}");
    }
    let spawned = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            fail!(Unsupported, "credential helper {program} is not installed");
        }
        spawned => spawned.context(|| program.clone())?,
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input has an answer all the same.
        let _ = stdin.write_all(input);
    }
    let (sender, receiver) = mpsc::channel();
    let stdout = child.stdout.take();
    // Its output is read beside it, or a long one would never end; a process that it left behind may hold it open.
    std::thread::spawn(move || {
        let mut out = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MAX_FILE).read_to_end(&mut out));
        // Nobody waits any more after the time is over.
        let _ = sender.send(read.transpose().map(|_| out));
    });
    let end = Instant::now() + HELPER_TIME;
    let is_success = wait(&mut child, &program, end)?;
    let left = end.saturating_duration_since(Instant::now());
    let Ok(out) = receiver.recv_timeout(left) else {
        fail!(
            Busy,
            "{program} did not end its output within {} s",
            HELPER_TIME.as_secs()
        );
    };
    let out = out.context(|| program.clone())?;
    if is_success {
        return Ok(out);
    }
    let said = String::from_utf8_lossy(&out);
    let said = said.trim();
    if said.contains(NOT_FOUND) {
        fail!(NotFound, "{program}: {NOT_FOUND}");
    }
    let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
    fail!(Denied, "{program} {verb}: {said}")
}

/// Waits for a helper, and kills one that takes too long. Returns whether it succeeded.
fn wait(child: &mut Child, program: &str, end: Instant) -> Result<bool> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().context(|| program.to_owned())? {
            return Ok(status.success());
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            fail!(
                Busy,
                "{program} did not answer within {} s",
                HELPER_TIME.as_secs()
            );
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
