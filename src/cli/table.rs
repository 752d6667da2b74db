// SPDX-License-Identifier: Apache-2.0
//! Tables and sizes for people.

use std::fmt;

/// Rows of cells under a head; each column as wide as its widest cell, and one space between.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head and no rows.
    pub fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&h| h.to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        // A column is at least four wide with its space, as tables of this tool always were.
        let width = |c: usize| {
            self.rows
                .iter()
                .map(|r| r[c].chars().count() + 1)
                .max()
                .unwrap_or(0)
                .max(4)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (at, cell) in row.iter().enumerate() {
                if at + 1 == columns {
                    writeln!(f, "{cell}")?;
                } else {
                    write!(f, "{cell:width$}", width = widths[at])?;
                }
            }
        }
        Ok(())
    }
}

/// A count with its noun, such as `1 blob` and `2 blobs`.
pub fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A size with a decimal unit and four significant digits, such as `38.82MB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    #[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 1000.0 {
        0
    } else if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_digits() {
        for (bytes, want) in [
            (0, "0B"),
            (135, "135B"),
            (1107, "1.107kB"),
            (38_820_000, "38.82MB"),
            (999_999, "1000kB"),
            (1000, "1kB"),
        ] {
            assert_eq!(human_size(bytes), want);
        }
    }

    #[test]
    fn the_last_column_is_not_padded() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["long".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "A    B\nlong \n");
    }
}
