// SPDX-License-Identifier: Apache-2.0
//! How odd archives are read.

mod extended;
mod headers;
mod sparse;
mod together;

/// How some values of something odd are read.
pub struct Row {
    /// What is odd: a field, a record, an order.
    pub subjects: &'static [&'static str],
    /// Its values.
    pub values: &'static [&'static str],
    /// How the Go tool, GNU tar, bsdtar and we read it, in this order: `-` for refused, the same letter for the same tree.
    pub signs: &'static str,
    /// What the letters mean, and why ours is what it is.
    pub why: &'static str,
}

impl Row {
    /// Whether the row is about this value of this subject.
    pub fn speaks_of(&self, subject: &str, value: &str) -> bool {
        self.subjects.contains(&subject) && self.values.contains(&value)
    }

    /// Whether we refuse it, or read it, otherwise than a program: 0 is the Go tool, 1 GNU tar.
    pub fn parts_us_from(&self, program: usize, refuses: bool) -> bool {
        let signs = self.signs.as_bytes();
        signs[program] != signs[3] && refuses == (signs[3] == b'-')
    }
}

/// All that others do not agree on, and all that we do otherwise.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    let all = [headers::ROWS, extended::ROWS, sparse::ROWS, together::ROWS];
    all.into_iter().flatten()
}
