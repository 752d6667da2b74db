// SPDX-License-Identifier: Apache-2.0
//! Users and their passwords, in a file as `htpasswd -B` writes it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::digest::{Algorithm, Digest};
use crate::error::{Result, ResultExt, lock};

/// Maximum number of right passwords that are remembered: a check takes a tenth of a second by design.
const MAX_KNOWN: usize = 1000;
/// Maximum length of a password in bytes: bcrypt knows no more of it.
const MAX_PASSWORD: usize = 72;

/// The users of a server.
#[derive(Debug)]
pub(super) struct Users {
    file: PathBuf,
    state: Mutex<State>,
    /// Held while a password is checked, so that guesses take one core and no more.
    check: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Names, each with the hash of its password.
    hashes: HashMap<String, String>,
    /// Digests of credentials that were right.
    known: HashSet<Digest>,
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a line that is none of bcrypt.
    pub fn read(file: &Path) -> Result<Self> {
        let hashes = read_hashes(file)?;
        Ok(Self {
            file: file.to_owned(),
            state: Mutex::new(State {
                hashes,
                known: HashSet::new(),
            }),
            check: Mutex::default(),
        })
    }

    /// Reads the file again; what is wrong with it changes nothing.
    ///
    /// # Errors
    /// As [`Users::read`].
    pub fn reload(&self) -> Result<()> {
        let hashes = read_hashes(&self.file)?;
        *lock(&self.state) = State {
            hashes,
            known: HashSet::new(),
        };
        Ok(())
    }

    /// Returns the user who proves to be one by the header `Authorization`.
    pub fn user(&self, authorization: Option<&str>) -> Option<String> {
        let (scheme, encoded) = authorization?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (name, password) = decoded.split_once(':')?;
        self.is_right(name, password).then(|| name.to_owned())
    }

    fn is_right(&self, name: &str, password: &str) -> bool {
        if password.len() > MAX_PASSWORD {
            return false;
        }
        let hash = lock(&self.state).hashes.get(name).cloned();
        // The hash is salted, and another password for the user has another one.
        let credentials = hash
            .as_ref()
            .map(|hash| Digest::of(Algorithm::Blake3, format!("{hash}\0{password}").as_bytes()));
        if credentials.is_some_and(|credentials| lock(&self.state).known.contains(&credentials)) {
            return true;
        }
        let _turn = lock(&self.check);
        // A name that is not there takes as long as a wrong password.
        let is_right = bcrypt::verify(password, hash.as_deref().unwrap_or(NOBODY)).unwrap_or(false);
        let Some(credentials) = credentials.filter(|_| is_right) else {
            return false;
        };
        let mut state = lock(&self.state);
        if state.known.len() >= MAX_KNOWN {
            state.known.clear();
        }
        state.known.insert(credentials);
        true
    }
}

/// A hash of which nobody knows a password.
const NOBODY: &str = "$2y$10$abcdefghijklmnopqrstuuB4yVd7QjkY2pz3bzU1cT1sAUe6wZFUi";

fn read_hashes(file: &Path) -> Result<HashMap<String, String>> {
    let text = fs::read_to_string(file).doing("read", file)?;
    let mut out = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = line.split_once(':').filter(|(name, hash)| {
            !name.is_empty()
                && hash.len() == 60
                && ["$2a$", "$2b$", "$2y$"].iter().any(|mark| hash.starts_with(mark))
        });
        let Some((name, hash)) = entry else {
            fail!(
                Invalid,
                "{}: line {} is no user with a password in bcrypt, as htpasswd -B writes it",
                file.display(),
                number + 1
            );
        };
        out.insert(name.to_owned(), hash.to_owned());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Result<Users> {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("users");
        fs::write(&file, text).expect("write");
        Users::read(&file)
    }

    #[test]
    fn a_user_is_known_by_the_password_alone() {
        let hash = bcrypt::hash("secret", 4).expect("hash");
        let users = users(&format!("# people\n\nme:{hash}\n")).expect("users");
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        // The second look is answered from memory.
        for _ in 0..2 {
            assert_eq!(users.user(Some(&basic("me:secret"))).as_deref(), Some("me"));
            assert_eq!(
                users
                    .user(Some(&basic("me:secret").replace("Basic", "basic")))
                    .as_deref(),
                Some("me")
            );
        }
        for wrong in [
            None,
            Some(""),
            Some("Basic"),
            Some("Basic ????"),
            Some(&*basic("me:wrong")),
            Some(&*basic("me:")),
            Some(&*basic("other:secret")),
            Some(&*basic("me")),
            Some(&*basic("me:secret").replace("Basic", "Bearer")),
            Some(&*basic(&format!("me:{}", "x".repeat(100)))),
        ] {
            assert_eq!(users.user(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_file_of_another_form_is_refused_by_its_line() {
        for text in ["me:plain", "me:$apr1$x$y", "me", ":x", "me:{SHA}x"] {
            let err = users(&format!("# x\n{text}\n")).expect_err(text);
            assert!(err.to_string().contains("line 2"), "{err}");
        }
    }
}
