// SPDX-License-Identifier: Apache-2.0
//! When each name was last used: the time of an empty file, which costs one system call. It may be lost, or not be had at
//! all, and no command is slower or fails for it; who asks gets the last change of the name then.

use std::collections::HashSet;

use super::Store;
use crate::digest::Digest;
use crate::spec::RefName;

const DIR: &str = "used";

/// The file of a name. Names may be longer than those of files, and have slashes.
fn file(name: &str) -> String {
    Digest::sha256(name.as_bytes()).encoded().clone()
}

impl Store {
    /// Notes that somebody read what `name` points at. A layout that has no directory of ours, or takes no writes, stays as it is.
    pub(crate) fn note_use(&self, name: &RefName) {
        if self.opts.index {
            self.layout.private_dir().touch(DIR, &file(name.as_str()));
        }
    }

    /// When `name` was last used, in seconds since 1970; `None` if that is not known.
    pub(crate) fn last_use(&self, name: &RefName) -> Option<i64> {
        let path = format!("{DIR}/{}", file(name.as_str()));
        let stamp = self.layout.private_dir().stamp(&path);
        stamp.map(|stamp| stamp.mtime.0)
    }

    /// Forgets the use of names that are gone.
    pub(super) fn forget_uses(&self) {
        let files = self.layout.private_dir().list(DIR).unwrap_or_default();
        // Most layouts have none.
        if files.is_empty() {
            return;
        }
        let Ok(names) = self.names() else { return };
        let live: HashSet<String> = names.iter().map(|name| file(name)).collect();
        for gone in files.iter().filter(|name| !live.contains(*name)) {
            self.layout.private_dir().discard(&format!("{DIR}/{gone}"));
        }
    }

    /// As [`Store::forget_uses`], of one name.
    pub(super) fn forget_use(&self, name: &str) {
        let path = format!("{DIR}/{}", file(name));
        self.layout.private_dir().discard(&path);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn a_use_is_noted_where_there_is_a_place_for_it_and_goes_with_its_name() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
        let name: RefName = format!("a/{}", "b".repeat(300)).parse().expect("name");
        std::fs::remove_dir_all(store.layout().private_dir()).expect("remove");
        store.note_use(&name);
        assert_eq!(store.last_use(&name), None, "a layout that only others work on");
        let mut txn = store.begin("test").expect("begin");
        let blob = txn.put(b"x", "x/y").expect("put");
        txn.set_ref(&name, blob);
        txn.commit().expect("commit");
        store.note_use(&name);
        let path = store.layout().private_dir().join(DIR).join(file(name.as_str()));
        let old = SystemTime::now() - Duration::from_secs(3600);
        let open = std::fs::File::options().append(true).open(&path).expect("open");
        open.set_modified(old).expect("touch");
        let before = store.last_use(&name).expect("known");
        store.note_use(&name);
        assert!(store.last_use(&name).expect("known") >= before + 3600);
        store.forget_uses();
        assert!(store.last_use(&name).is_some(), "it is there");
        store.remove_ref(name.as_str()).expect("remove");
        assert!(!path.exists());
        // One that another program removed.
        store.note_use(&name);
        assert!(path.exists());
        store.forget_uses();
        assert!(!path.exists());
    }
}
