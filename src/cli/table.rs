// SPDX-License-Identifier: Apache-2.0
//! Tables and sizes for people.

use std::fmt::{self, Write as _};

use crate::digest::Digest;

use super::escape::one_line;

/// Columns are not cut to fewer characters than this, the space behind them included.
const MIN_WIDTH: usize = 8;

/// Heads of the columns that tell least, and are cut before others.
const LEAST: [&str; 2] = ["MEDIA TYPE", "COMMAND"];

/// Beginnings of media types that a table leaves out where it is cut.
const MEDIA_TYPES: [&str; 2] = ["application/vnd.oci.image.", "application/vnd."];

/// Rows of cells under a head; each column as wide as its widest cell, and one space between.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns a table with a head and no rows.
    pub fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&h| h.to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Returns the same in lines of at most `width` characters: digests are cut to as many digits as tell blobs apart. If that is
    /// not enough, the columns [`LEAST`] are cut first, then the widest.
    pub fn fit(mut self, width: usize) -> Self {
        for cell in self.rows.iter_mut().skip(1).flatten() {
            let digests: Result<Vec<Digest>, _> = cell.split(',').map(str::parse).collect();
            if let Ok(digests) = digests {
                *cell = digests.iter().map(short).collect::<Vec<_>>().join(",");
            } else if let Some(rest) = MEDIA_TYPES.iter().find_map(|prefix| cell.strip_prefix(prefix)) {
                *cell = rest.to_owned();
            }
        }
        let mut widths = self.widths();
        // The last column is not padded, so the space behind it needs no room.
        while widths.iter().sum::<usize>() > width + 1 {
            let columns = widths.iter_mut().zip(&self.rows[0]);
            let long = columns.filter(|(column, _)| **column > MIN_WIDTH);
            let Some((column, _)) =
                long.max_by_key(|(column, head)| (LEAST.contains(&head.as_str()), **column))
            else {
                break;
            };
            *column -= 1;
        }
        for row in &mut self.rows {
            for (cell, width) in row.iter_mut().zip(&widths) {
                if cell.chars().count() + 1 > *width {
                    *cell = cell.chars().take(width.saturating_sub(2)).chain(['…']).collect();
                }
            }
        }
        self
    }

    /// Returns the columns' widths with the space behind them.
    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.first().map_or(0, Vec::len);
        // A column is at least four wide with its space, as tables of this tool always were.
        let mut widths = vec![4; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count() + 1);
            }
        }
        widths
    }
}

/// Returns the first digits of a digest, by which commands find it.
pub fn short(digest: &Digest) -> String {
    digest.encoded().chars().take(12).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (at, cell) in self.rows.iter().flat_map(|row| row.iter().enumerate()) {
            match widths[at] {
                _ if at + 1 == widths.len() => writeln!(f, "{cell}")?,
                width => write!(f, "{cell:width$}")?,
            }
        }
        Ok(())
    }
}

/// Returns a value in a cell of its own, and a dash for none.
pub fn or_dash(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| one_line(&value.to_string()))
}

/// Returns a line for each of `items`.
pub fn line_each(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let mut out = String::new();
    for item in items {
        let _ = writeln!(out, "{item}");
    }
    out
}

/// Returns values as texts for a terminal.
pub fn texts<T: fmt::Display>(values: &[T]) -> Vec<String> {
    values.iter().map(|value| one_line(&value.to_string())).collect()
}

/// Returns lines of names and values, the name only once where it has several.
pub fn lines(rows: impl IntoIterator<Item = (&'static str, Vec<String>)>) -> String {
    let mut out = String::new();
    for (name, values) in rows {
        for (at, value) in values.iter().enumerate() {
            let _ = writeln!(out, "{:11} {value}", if at == 0 { name } else { "" });
        }
    }
    out
}

/// Returns a count with its noun, such as `1 blob` and `2 blobs`.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Returns a time in its largest whole unit, such as `5m` and `3d`.
pub fn human_age(seconds: i64) -> String {
    const DAY: i64 = 86_400;
    let (size, unit) = match seconds.max(0) {
        0..60 => (1, "s"),
        60..3600 => (60, "m"),
        3600..DAY => (3600, "h"),
        // Less than two weeks are still days that one counts.
        DAY..1_209_600 => (DAY, "d"),
        1_209_600..31_536_000 => (7 * DAY, "w"),
        _ => (365 * DAY, "y"),
    };
    format!("{}{unit}", seconds.max(0) / size)
}

/// Returns a size with a decimal unit and four significant digits, such as `38.82MB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    #[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    // The Go tool prints four significant digits, without zeros at the end.
    let digits = [10.0, 100.0, 1000.0].iter().filter(|step| value < **step).count();
    let mut text = format!("{value:.digits$}");
    if digits > 0 {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
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
    fn an_age_has_one_unit() {
        for (seconds, want) in [
            (-5, "0s"),
            (59, "59s"),
            (3599, "59m"),
            (86_399, "23h"),
            (13 * 86_400, "13d"),
            (15 * 86_400, "2w"),
            (800 * 86_400, "2y"),
        ] {
            assert_eq!(human_age(seconds), want);
        }
    }

    #[test]
    fn a_table_fits_where_it_can() {
        let mut table = Table::new(&["NAME", "DIGEST", "TEXT"]);
        let digest = Digest::sha256(b"");
        table.row(["a".to_owned(), digest.to_string(), "é".repeat(100)]);
        let text = table.fit(40).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(
            text.contains(" e3b0c44298fc éé") && text.ends_with("…\n"),
            "{text}"
        );
        let mut several = Table::new(&["NAME", "MEDIA TYPE", "FROM"]);
        let oci = "application/vnd.oci.image.manifest.v1+json";
        several.row(["n".repeat(20), oci.to_owned(), format!("{digest},{digest}")]);
        for (width, want) in [
            (80, "manifest.v1+json e3b0c44298fc,e3b0c44298fc"),
            (54, "nnn manife… e3b0c44298fc,e3b0c44298fc"),
            (50, "nnn manife… e3b0c44298fc,e3b0c44…"),
        ] {
            let mut table = Table::new(&[]);
            table.rows.clone_from(&several.rows);
            let text = table.fit(width).to_string();
            assert!(text.ends_with(&format!("{want}\n")), "{width}: {text}");
        }
        let mut narrow = Table::new(&["A"]);
        narrow.row(["long and longer".to_owned()]);
        assert_eq!(narrow.fit(1).to_string(), "A\nlong a…\n");
    }

    #[test]
    fn the_last_column_is_not_padded() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["long".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "A    B\nlong \n");
    }
}
