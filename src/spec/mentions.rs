// SPDX-License-Identifier: Apache-2.0
//! Digests in the text of a document of which the kind is not known.

use std::io::{BufRead, BufReader, Read};

use crate::digest::Digest;
use crate::error::Result;

/// Maximum length of a digest as text, in bytes.
const MAX_WORD: usize = 160;

/// Calls `each` for every digest that stands by itself in a text, its characters escaped as in JSON or not.
///
/// # Errors
/// Those of reading, and those of `each`.
pub(crate) fn each_digest(file: impl Read, mut each: impl FnMut(Digest) -> Result<()>) -> Result<()> {
    let mut file = BufReader::with_capacity(64 * 1024, file);
    let mut word = Vec::new();
    // Bytes of an escaped character that were read so far.
    let mut escape: Option<Vec<u8>> = None;
    loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            return end_word(&mut word).map_or(Ok(()), each);
        }
        let length = piece.len();
        for &read in piece {
            let byte = match &mut escape {
                None if read == b'\\' => {
                    escape = Some(Vec::new());
                    continue;
                }
                None => read,
                Some(digits) => {
                    digits.push(read);
                    if digits.len() < 5 && digits[0] == b'u' {
                        continue;
                    }
                    let digits = std::str::from_utf8(&digits[1..]).unwrap_or_default();
                    // No digest has a character beyond ASCII: a zero ends the word as any such does.
                    let byte = u8::from_str_radix(digits, 16).unwrap_or(0);
                    escape = None;
                    byte
                }
            };
            if !byte.is_ascii_alphanumeric() && byte != b':' {
                end_word(&mut word).map_or(Ok(()), &mut each)?;
            } else if word.len() <= MAX_WORD {
                word.push(byte);
            }
        }
        file.consume(length);
    }
}

/// Returns the digest that a word is, and empties the word.
fn end_word(word: &mut Vec<u8>) -> Option<Digest> {
    let digest = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
    word.clear();
    digest
}

/// Returns whether a text begins like a JSON object or list, and passes over the white space before it. A byte order mark may
/// stand before it as well: some readers leave that out of account.
pub(crate) fn begins_like_json(reader: &mut impl BufRead) -> Result<bool> {
    loop {
        let piece = reader.fill_buf()?;
        let length = piece.len();
        let spaces = piece.iter().take_while(|c| c.is_ascii_whitespace()).count();
        return Ok(match piece.get(spaces..) {
            None | Some([]) if length > 0 => {
                reader.consume(length);
                continue;
            }
            Some([b'{', ..]) => true,
            // The name at the start of a tar archive may begin so, and ends with a zero.
            Some([b'[', ..] | [0xef, 0xbb, 0xbf, ..]) => !piece.contains(&0),
            _ => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_however_they_are_written() {
        let (a, b) = (
            Digest::sha256(b"a"),
            Digest::of(crate::digest::Algorithm::Sha512, b"b"),
        );
        for (text, want) in [
            (format!("{{\"{a}\"\u{e9}"), vec![a]),
            (format!("{a}"), vec![a]),
            (format!("x={a},\t{b}\\"), vec![a, b]),
            (format!("\"\\u0073{}\"", &a.to_string()[1..]), vec![a]),
            (format!("\"{}\"", a.to_string().replace(':', "\\u003A")), vec![a]),
            (format!("\\n{a}\\\"{b}"), vec![a, b]),
            (format!("\\u00e9{a}\\u12"), vec![a]),
            (format!("x{a} {a}0 {}", "a".repeat(1000)), vec![]),
            (format!("{} {b}", "sha256:".repeat(1000)), vec![b]),
        ] {
            let mut found = Vec::new();
            let each = |digest| {
                found.push(digest);
                Ok(())
            };
            // Pieces of every length.
            let file = BufReader::with_capacity(7, text.as_bytes());
            each_digest(file, each).expect("read");
            assert_eq!(found, want, "{text}");
        }
    }
}
