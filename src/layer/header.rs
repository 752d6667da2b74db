// SPDX-License-Identifier: Apache-2.0
//! Fields of a header block: v7, ustar, GNU and star.

use tar::Header;

use super::bad;
use crate::error::Result;

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&c| c == 0).unwrap_or(field.len())]
}

/// The name, with its prefix where the dialect has one.
pub(super) fn name(header: &Header) -> Vec<u8> {
    let name = until_nul(&header.as_old().name);
    let block = header.as_bytes();
    // Not all writers fill in the version behind the magic; star has times where the prefix ends.
    let prefix = match &block[257..263] {
        b"ustar\0" if block[508..] == *b"tar\0" => until_nul(&block[345..476]),
        b"ustar\0" => until_nul(&block[345..500]),
        _ => b"",
    };
    if prefix.is_empty() {
        name.to_vec()
    } else {
        [prefix, b"/", name].concat()
    }
}

/// The field of the time of last access, in the dialects that have one; GNU leaves it empty mostly.
pub(super) fn atime(header: &Header) -> Option<&[u8]> {
    let block = header.as_bytes();
    match &block[257..265] {
        b"ustar  \0" => Some(&block[345..357]).filter(|field| field[0] != 0),
        magic if magic.starts_with(b"ustar\0") && block[508..] == *b"tar\0" => Some(&block[476..488]),
        _ => None,
    }
}

/// A number of a header: octal with spaces and NULs around it, or base 256 with its sign. An empty field is 0.
pub(super) fn number(field: &[u8], what: &str) -> Result<i64> {
    let invalid = || bad(format!("invalid {what} in a tar header"));
    if field[0] & 0x80 != 0 {
        let first = i128::from(field[0] & 0x7f) - if field[0] & 0x40 == 0 { 0 } else { 0x80 };
        let mut value = first;
        for &byte in &field[1..] {
            value = value
                .checked_mul(256)
                .and_then(|v| v.checked_add(i128::from(byte)))
                .ok_or_else(invalid)?;
        }
        return i64::try_from(value).map_err(|_| invalid());
    }
    let digits = field
        .iter()
        .position(|c| !matches!(c, b' ' | 0))
        .map_or(&b""[..], |at| &field[at..]);
    let digits = &digits[..digits
        .iter()
        .position(|c| matches!(c, b' ' | 0))
        .unwrap_or(digits.len())];
    digits.iter().try_fold(0_i64, |value, &c| match c {
        b'0'..=b'7' => value
            .checked_mul(8)
            .and_then(|v| v.checked_add(i64::from(c - b'0')))
            .ok_or_else(invalid),
        _ => Err(invalid()),
    })
}

/// As [`number`], for what cannot be negative.
pub(super) fn unsigned(field: &[u8], what: &str) -> Result<u64> {
    u64::try_from(number(field, what)?).map_err(|_| bad(format!("negative {what} in a tar header")))
}

/// Refuses a block whose checksum is neither that of its bytes nor that of them as signed numbers, which old writers add up.
pub(super) fn check_sum(header: &Header) -> Result<()> {
    let sum = number(&header.as_old().cksum, "checksum")?;
    let bytes = header
        .as_bytes()
        .iter()
        .enumerate()
        .map(|(at, &c)| if (148..156).contains(&at) { b' ' } else { c });
    let (unsigned, signed) = bytes.fold((0, 0), |(u, s), c| {
        (u + i64::from(c), s + i64::from(c.cast_signed()))
    });
    if sum != unsigned && sum != signed {
        return Err(bad("invalid tar header: wrong checksum"));
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
}
