// SPDX-License-Identifier: Apache-2.0
//! PAX extended header records, `LENGTH KEY=VALUE\n`, read and written, and what their values say.

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;

use super::bad;
use super::header::until_nul;
use crate::error::{Error, Result};
use crate::node::{Time, Xattrs};

/// The records of one extended header, in order.
pub(super) type Records = Vec<(Vec<u8>, Vec<u8>)>;

fn invalid(why: &str) -> Error {
    bad(format!("invalid PAX header: {why}"))
}

/// Parses the content of an extended header.
pub(super) fn parse(mut data: &[u8]) -> Result<Records> {
    let mut out = Records::new();
    // Some writers pad with NUL bytes.
    while data.first().is_some_and(|&c| c != 0) {
        let blanks = data.iter().take_while(|&&c| is_blank(c)).count();
        let digits = data[blanks..].iter().position(|&c| is_blank(c));
        let space = blanks + digits.ok_or_else(|| invalid("no length"))?;
        let length = decimal(&data[blanks..space]).filter(|&n| n > space + 2 && n <= data.len());
        let length = length.ok_or_else(|| invalid("wrong length"))?;
        let record = data[space + 1..length].strip_suffix(b"\n");
        let record = record.ok_or_else(|| invalid("record without newline"))?;
        let equals = record.iter().position(|&c| c == b'=');
        let equals = equals.ok_or_else(|| invalid("record without '='"))?;
        if record[..equals].contains(&0) {
            return Err(invalid("keyword with a NUL byte"));
        }
        out.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        data = &data[length..];
    }
    Ok(out)
}

/// Reads a decimal number.
pub(super) fn decimal<N: FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t')
}

/// Appends one record to `out`.
pub(super) fn write(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    // The length counts its own digits, which may make it one digit longer.
    if rest + digits(length) != length {
        length = rest + digits(length);
    }
    out.extend_from_slice(&[format!("{length} ").as_bytes(), key, b"=", value, b"\n"].concat());
}

fn digits(n: usize) -> usize {
    n.to_string().len()
}

/// Content of the headers before the header proper.
#[derive(Default)]
pub(super) struct Extended {
    /// Records of the last header of type `x`; earlier ones do not count, and are not looked at.
    pub records: Records,
    /// Records of the last header of type `g` of the archive.
    pub global: Arc<Records>,
    /// Size in the archive, in bytes.
    pub bytes: u64,
}

/// Keywords that count in a global header.
const GLOBAL: [&[u8]; 7] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime"];

impl Extended {
    /// Returns the last value of `key`; an empty one takes back those before it.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        // Records are few, so that a search from the end costs less than a map.
        let mut values = self.records.iter().rev().chain(self.global_records().rev());
        let last = values.find(|(k, _)| k == key);
        last.map(|(_, v)| v.as_slice()).filter(|v| !v.is_empty())
    }

    /// Returns the records of the global header that apply to files.
    fn global_records(&self) -> impl DoubleEndedIterator<Item = &(Vec<u8>, Vec<u8>)> {
        let records = self.global.iter();
        records.filter(|(key, _)| GLOBAL.contains(&key.as_slice()))
    }

    /// Returns all records as one header of type `x` has them; a global header is left out if it says nothing of files.
    pub fn into_records(self) -> Records {
        let mut out: Records = self.global_records().cloned().collect();
        out.extend(self.records);
        out
    }

    /// Returns whether a global header speaks of files.
    pub fn has_global(&self) -> bool {
        self.global_records().next().is_some()
    }

    /// Refuses values that cannot be read, also those that say nothing of this entry.
    pub fn check(&self) -> Result<()> {
        for key in ["size", "uid", "gid"] {
            self.number(key)?;
        }
        for key in ["mtime", "atime", "ctime"] {
            self.time(key)?;
        }
        Ok(())
    }

    pub fn number(&self, key: &str) -> Result<Option<i64>> {
        let Some(value) = self.get(key.as_bytes()) else {
            return Ok(None);
        };
        // As GNU tar reads it, whose texts end there.
        let digits = until_nul(value);
        let number = decimal(digits).filter(|_| digits.len() == value.len() || !digits.starts_with(b"+"));
        number.map(Some).ok_or_else(|| invalid_value(key, value))
    }

    /// Reads a time, in seconds with a fraction.
    pub fn time(&self, key: &str) -> Result<Option<Time>> {
        let text = self.get(key.as_bytes());
        text.map(|text| time(text).ok_or_else(|| invalid_value(key, text)))
            .transpose()
    }

    /// Returns the attributes, as star and libarchive write them; star has them as they are, and counts where both are there.
    pub fn xattrs(&self) -> Result<Xattrs> {
        let mut out = Xattrs::new();
        for (key, value) in &self.records {
            if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                let digits = value.strip_suffix(b"==").or(value.strip_suffix(b"="));
                let decoded =
                    base64::engine::general_purpose::STANDARD_NO_PAD.decode(digits.unwrap_or(value));
                // Others do not look at these, so one that is broken is no reason to refuse.
                if let Ok(value) = decoded {
                    out.insert(percent_encoding::percent_decode(name).collect(), value);
                }
            }
        }
        for (key, value) in &self.records {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                out.insert(name.to_vec(), value.clone());
            }
        }
        if out.keys().any(|name| name.is_empty() || name.contains(&0)) {
            fail!(Corrupt, "extended attribute without a valid name");
        }
        Ok(out)
    }
}

fn invalid_value(key: &str, value: &[u8]) -> Error {
    bad(format!("invalid PAX {key}: {:?}", String::from_utf8_lossy(value)))
}

/// Reads `[-]seconds[.fraction]`; a fraction counts away from zero, so a negative one borrows a second. GNU tar reads as much as
/// is a number, and so do we.
fn time(text: &[u8]) -> Option<Time> {
    let signs = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let (whole, rest) = text.split_at(signs + count_digits(&text[signs..]));
    let fraction = rest.strip_prefix(b".").unwrap_or_default();
    let (fraction, behind) = fraction.split_at(count_digits(fraction));
    let is_all = rest.is_empty() || (rest[0] == b'.' && behind.is_empty());
    if !is_all && whole.starts_with(b"+") {
        return None;
    }
    let sec: i64 = decimal(whole)?;
    let digits: Vec<u8> = fraction.iter().chain(b"000000000").take(9).copied().collect();
    match decimal(&digits)? {
        nsec @ 1.. if whole.starts_with(b"-") => Some(Time {
            sec: sec.checked_sub(1)?,
            nsec: 1_000_000_000 - nsec,
        }),
        nsec => Some(Time { sec, nsec }),
    }
}

fn count_digits(text: &[u8]) -> usize {
    text.iter().take_while(|c| c.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_counts_its_own_digits() {
        for n in [0, 1, 90, 91, 92, 93, 94, 990, 991, 992, 993] {
            let mut out = Vec::new();
            write(&mut out, b"path", &vec![b'x'; n]);
            let length: usize = String::from_utf8_lossy(&out)
                .split(' ')
                .next()
                .expect("word")
                .parse()
                .expect("number");
            assert_eq!(length, out.len());
            assert_eq!(
                parse(&out).expect("own record"),
                [(b"path".to_vec(), vec![b'x'; n])]
            );
        }
    }

    #[test]
    fn broken_records_are_refused() {
        for bad in [
            &b"5 a=b"[..],
            b"x a=b\n",
            b"99 a=b\n",
            b"6 ab\n\n",
            b"1 a=b\n",
            b"18446744073709551616 a=b\n",
        ] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(parse(b"6 a=b\n\0\0").expect("padded").len(), 1);
    }
}
