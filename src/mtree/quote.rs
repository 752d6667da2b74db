// SPDX-License-Identifier: Apache-2.0
//! Text as Go's `%q` prints it.

use std::fmt::Write as _;

/// Characters that Go writes as a backslash and a letter.
const ESCAPED: &str = "\x07\x08\x0c\n\r\t\x0b\\\"";

/// Letters of [`ESCAPED`], in the same order.
const LETTERS: &str = "abfnrtv\\\"";

/// Returns a text in double quotes: what cannot be shown is escaped, bytes that are no UTF-8 as `\xHH`.
pub fn quoted(text: &[u8]) -> String {
    let mut out = "\"".to_owned();
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut letters = ESCAPED.chars().zip(LETTERS.chars());
            let letter = letters.find(|(escaped, _)| *escaped == c);
            let _ = match (letter, u32::from(c)) {
                (Some((_, letter)), _) => write!(out, "\\{letter}"),
                _ if is_printable(c) => write!(out, "{c}"),
                (_, c @ ..0x80) => write!(out, "\\x{c:02x}"),
                (_, c @ ..0x1_0000) => write!(out, "\\u{c:04x}"),
                (_, c) => write!(out, "\\U{c:08x}"),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out + "\""
}

/// Returns whether Go prints a character as it is, close enough for documents: no control, format or private characters.
fn is_printable(c: char) -> bool {
    !(c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(u32::from(c), 0xad | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe000..=0xf8ff | 0xfff0..=0xfffb | 0xe0000..))
}
