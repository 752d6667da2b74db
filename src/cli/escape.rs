// SPDX-License-Identifier: Apache-2.0
//! Texts of images and layouts on their way to a terminal, which must not obey them.

use std::fmt::Write as _;

/// Maximum length of a line, in characters. Longer ones are cut in the middle: an image may have paths of any length.
const MAX_LINE: usize = 4096;

/// Returns whether a character drives a terminal, or changes the direction of the text around it and so hides what is written.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes what would break the line or drive a terminal, and cuts what no screen holds.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(2 * MAX_LINE));
    for c in text.chars() {
        if is_harmful(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
    }
    let count = out.chars().count();
    if count <= MAX_LINE {
        return out;
    }
    let start = out.chars().take(MAX_LINE / 2);
    let end = out.chars().skip(count - MAX_LINE / 2);
    start.chain(" … ".chars()).chain(end).collect()
}

/// Returns the same JSON with escapes for what drives a terminal or hides text.
pub fn json(document: &[u8]) -> String {
    let mut out = String::with_capacity(document.len());
    // JSON is UTF-8, so nothing is lost here.
    for c in String::from_utf8_lossy(document).chars() {
        // JSON itself escapes the first 32 characters in strings; those that are left are white space between values.
        if c >= ' ' && is_harmful(c) {
            // All of them are one unit of UTF-16, so one escape is enough.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_line_or_turns_its_text_is_escaped() {
        assert_eq!(
            one_line("a\nb\x1b[1m \u{202e}gnp.exe \u{2066} \u{e9}"),
            "a\\nb\\u{1b}[1m \\u{202e}gnp.exe \\u{2066} \u{e9}"
        );
    }
}
