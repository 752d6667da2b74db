// SPDX-License-Identifier: Apache-2.0
//! What can be odd about an entry of an archive: each has a subject and a value, and is made alone or with others.

use super::entry::Entry;
use super::{extended, headers, sparse, together};

/// One way for an entry to be odd.
pub struct Oddity {
    pub subject: &'static str,
    pub value: String,
    pub apply: Box<dyn Fn(&mut Entry) + Send + Sync>,
}

impl Oddity {
    /// Whether it changes the type or the content of an entry.
    pub fn says_what_it_is(&self) -> bool {
        let mut entry = Entry::new(b"a");
        (self.apply)(&mut entry);
        entry.is_told()
    }
}

pub fn odd(
    subject: &'static str,
    value: impl Into<String>,
    apply: impl Fn(&mut Entry) + Send + Sync + 'static,
) -> Oddity {
    Oddity {
        subject,
        value: value.into(),
        apply: Box::new(apply),
    }
}

/// All of them.
pub fn all() -> Vec<Oddity> {
    let mut out = Vec::new();
    headers::add(&mut out);
    extended::add(&mut out);
    sparse::add(&mut out);
    together::add(&mut out);
    out
}
