// SPDX-License-Identifier: Apache-2.0
//! Fields of a header block: v7, ustar, GNU and star. Values that the Go tool reads are read as it does; those that it refuses, as
//! GNU tar does.

use tar::Header;

use super::bad;
use crate::error::Result;

/// Meaning of the fields behind the name of the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// Nothing: the oldest kind, or an unknown one.
    V7,
    Ustar,
    /// As ustar, with times where the prefix of the name ends.
    Star,
    /// With times, or a sparse map, where ustar has the prefix of the name.
    Gnu,
}

impl Format {
    pub fn of(header: &Header) -> Self {
        let block = header.as_bytes();
        // Not all writers fill in the version behind the magic of ustar.
        match &block[257..265] {
            b"ustar  \0" => Self::Gnu,
            magic if !magic.starts_with(b"ustar\0") => Self::V7,
            _ if block[508..] == *b"tar\0" => Self::Star,
            _ => Self::Ustar,
        }
    }
}

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&c| c == 0).unwrap_or(field.len())]
}

/// Returns the times of a GNU header as fields, of access and of change.
fn gnu_times(block: &[u8; 512]) -> [&[u8]; 2] {
    [&block[345..357], &block[357..369]]
}

/// Returns the name, with its prefix where the format has one.
pub(super) fn name(header: &Header) -> Vec<u8> {
    let name = until_nul(&header.as_old().name);
    let block = header.as_bytes();
    let prefix = match Format::of(header) {
        Format::V7 => b"",
        Format::Ustar => until_nul(&block[345..500]),
        Format::Star => until_nul(&block[345..476]),
        Format::Gnu => {
            // Old versions of Go wrote a prefix over the times of a GNU header; text of a path is no number.
            let prefix = until_nul(&block[345..500]);
            let has_prefix = gnu_times(block).into_iter().any(is_no_time) && prefix.is_ascii();
            if has_prefix { prefix } else { b"" }
        }
    };
    if prefix.is_empty() {
        name.to_vec()
    } else {
        [prefix, b"/", name].concat()
    }
}

/// Returns the time of last access, where the format has one; GNU leaves it empty mostly, and some writers left something
/// else there.
pub(super) fn atime(header: &Header) -> Option<i64> {
    let block = header.as_bytes();
    match Format::of(header) {
        Format::V7 | Format::Ustar => None,
        Format::Star => go_number(&block[476..488]),
        Format::Gnu => {
            let [atime, ctime] = gnu_times(block);
            go_number(atime).filter(|_| !is_no_time(ctime) && atime[0] != 0)
        }
    }
}

/// Returns whether a time of a GNU header is neither empty nor a number.
fn is_no_time(field: &[u8]) -> bool {
    field[0] != 0 && go_number(field).is_none()
}

/// Reads a device number, as far as the format has one.
pub(super) fn device(header: &Header) -> Result<(u32, u32)> {
    if Format::of(header) == Format::V7 {
        return Ok((0, 0));
    }
    let block = header.as_bytes();
    let major = device_number(&block[329..337], "major number")?;
    Ok((major, device_number(&block[337..345], "minor number")?))
}

fn device_number(field: &[u8], what: &str) -> Result<u32> {
    u32::try_from(number(field, what)?).map_err(|_| bad(format!("{what} of a device out of range")))
}

/// Reads a number of a header: octal with spaces and NULs around it, or base 256 with its sign. An empty field is 0.
pub(super) fn number(field: &[u8], what: &str) -> Result<i64> {
    let read = go_number(field).or_else(|| gnu_number(field));
    read.ok_or_else(|| bad(format!("invalid {what} in a tar header")))
}

/// Reads as [`number`] does, for a size or owner. Of these GNU tar reads none below zero, and the Go tool reads them where they
/// do not matter.
pub(super) fn count(field: &[u8], what: &str) -> Result<i64> {
    match go_number(field) {
        Some(n) => Ok(n),
        None => Ok(unsigned(field, what)? as i64),
    }
}

/// Reads as [`number`] does, for what cannot be negative.
pub(super) fn unsigned(field: &[u8], what: &str) -> Result<u64> {
    u64::try_from(number(field, what)?).map_err(|_| bad(format!("negative {what} in a tar header")))
}

/// Reads a number as the Go tool reads it.
fn go_number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        return base_256(field);
    }
    // Go trims both ends before it cuts at a NUL, so a blank inside of the field is an error to it.
    let Some(first) = field.iter().position(|c| !is_fill(*c)) else {
        return Some(0);
    };
    let last = field.iter().rposition(|c| !is_fill(*c)).unwrap_or(first);
    octal(until_nul(&field[first..=last]))
}

fn is_fill(c: u8) -> bool {
    matches!(c, b' ' | 0)
}

/// Reads a number as GNU tar does, if the Go tool reads none: whatever white space begins or ends it, and the base 64 of the
/// years in which it had no base 256.
fn gnu_number(field: &[u8]) -> Option<i64> {
    let text = until_nul(field.strip_prefix(b"\0").unwrap_or(field)).trim_ascii_start();
    let text = text.split(u8::is_ascii_whitespace).next()?;
    match text.split_first()? {
        (b'+', digits) => base_64(digits),
        (b'-', digits) => base_64(digits).map(|n| -n),
        _ => octal(text),
    }
}

fn octal(digits: &[u8]) -> Option<i64> {
    add_digits(0, digits, 8, |c| char::from(c).to_digit(8).map(i64::from))
}

fn base_64(digits: &[u8]) -> Option<i64> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    add_digits(0, digits, 64, |c| {
        Some(ALPHABET.iter().position(|known| *known == c)? as i64)
    })
}

fn base_256(field: &[u8]) -> Option<i64> {
    // The top bit marks the format; the one below it is the sign of a number in two's complement.
    let sign = if field[0] & 0x40 == 0 { 0 } else { 0x80 };
    let first = i64::from(field[0] & 0x7f) - sign;
    add_digits(first, &field[1..], 256, |c| Some(i64::from(c)))
}

/// Returns the number that has `digits` behind `first`; `None` if it has no room, or for a byte that is no digit.
fn add_digits(first: i64, digits: &[u8], base: i64, digit: impl Fn(u8) -> Option<i64>) -> Option<i64> {
    digits
        .iter()
        .try_fold(first, |value, &c| value.checked_mul(base)?.checked_add(digit(c)?))
}

/// Refuses a block whose checksum is neither that of its bytes nor that of them as signed numbers, which old writers add up.
pub(super) fn check_sum(header: &Header) -> Result<()> {
    let field = &header.as_old().cksum;
    let bytes = header.as_bytes().iter().enumerate();
    let bytes = bytes.map(|(at, &c)| if (148..156).contains(&at) { b' ' } else { c });
    let (unsigned, signed) = bytes.fold((0, 0), |(u, s), c| {
        (u + i64::from(c), s + i64::from(c.cast_signed()))
    });
    let sum = number(field, "checksum")?;
    // Base 256 is for numbers that need it.
    if field[0] & 0x80 != 0 || (sum != unsigned && sum != signed) {
        fail!(Corrupt, "invalid tar header: wrong checksum");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_base_256_keep_their_sign() {
        assert_eq!(number(&[0xff; 12], "n").expect("minus one"), -1);
        assert_eq!(
            number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], "n").expect("256"),
            256
        );
        assert_eq!(number(b" 17 \0\0\0\0", "n").expect("octal"), 15);
        assert!(number(b"12x4567\0", "n").is_err() && number(b"0000009\0", "n").is_err());
    }

    #[test]
    fn what_go_refuses_is_read_as_gnu_does() {
        for (field, want) in [
            (&b"\t17\0\0\0\0"[..], Some(15)),
            (b"17\n\0\0\0\0\0", Some(15)),
            (b"17 99999", Some(15)),
            (b"+BA\0\0\0\0\0", Some(64)),
            (b"-BA\0\0\0\0\0", Some(-64)),
            (b"+\xff\0\0\0\0\0\0", None),
            (b"x17\0\0\0\0\0", None),
            (b"17x\0\0\0\0\0", None),
            (b"0x17\0\0\0\0", None),
        ] {
            assert_eq!(number(field, "n").ok(), want, "{}", field.escape_ascii());
        }
    }
}
