// SPDX-License-Identifier: Apache-2.0
//! JSON without what is too long to hold in memory.

use std::io::{self, BufRead, Read};

/// Strings and numbers of more bytes than this are neither digests nor media types, and not held.
const MAX_TOKEN: usize = 4096;

/// JSON with an empty text for every very long one, and a zero for every very long number.
pub(super) struct Shortened<R> {
    from: R,
    state: State,
    /// What was read of a token.
    token: Vec<u8>,
    ready: Vec<u8>,
    /// So much of it was taken.
    taken: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Word,
    Text { escaped: bool },
}

impl<R: BufRead> Shortened<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            state: State::Between,
            token: Vec::new(),
            ready: Vec::new(),
            taken: 0,
        }
    }

    fn take(&mut self, byte: u8) {
        let is_word = byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        self.state = match self.state {
            State::Word if !is_word => {
                self.give(b"0");
                State::Between
            }
            state => state,
        };
        if self.state == State::Between && byte != b'"' && !is_word {
            self.ready.push(byte);
            return;
        }
        if self.token.len() <= MAX_TOKEN {
            self.token.push(byte);
        }
        self.state = match self.state {
            State::Between if byte == b'"' => State::Text { escaped: false },
            State::Between | State::Word => State::Word,
            State::Text { escaped: false } if byte == b'"' => {
                self.give(b"\"\"");
                State::Between
            }
            State::Text { escaped } => State::Text {
                escaped: !escaped && byte == b'\\',
            },
        };
    }

    /// A token is whole.
    fn give(&mut self, if_long: &[u8]) {
        let is_long = self.token.len() > MAX_TOKEN;
        self.ready.extend(if is_long { if_long } else { &self.token });
        self.token.clear();
    }
}

impl<R: BufRead> Read for Shortened<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
            let piece = self.from.fill_buf()?;
            if piece.is_empty() {
                // Not the end of a document.
                self.ready.append(&mut self.token);
                break;
            }
            let piece = piece.to_vec();
            for &byte in &piece {
                self.take(byte);
            }
            self.from.consume(piece.len());
        }
        let count = (&self.ready[self.taken..]).read(buf)?;
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn what_is_too_long_to_matter_is_not_held_and_all_else_read_as_it_stands() {
        let short = |json: &str| {
            let mut out = String::new();
            // Pieces of every length.
            let from = BufReader::with_capacity(7, json.as_bytes());
            Shortened::new(from).read_to_string(&mut out).expect("read");
            out
        };
        for json in [
            r#"{"a\"b\\":[1,-2.5e+3,true,null],"":"","c":"\u00e9é\\\""}"#.to_owned(),
            format!(r#"{{"{}":1}}"#, "x".repeat(MAX_TOKEN - 2)),
            r#"{"no end"#.to_owned(),
            r#"{"no":1234"#.to_owned(),
            String::new(),
        ] {
            assert_eq!(short(&json), json);
        }
        let long = |piece: &str| piece.repeat(MAX_TOKEN);
        for (json, want) in [
            (format!(r#"{{"a":"{}","b":1}}"#, long("x")), r#"{"a":"","b":1}"#),
            (format!(r#"{{"{}":"a"}}"#, long(r#"\""#)), r#"{"":"a"}"#),
            (format!(r#"["{}\\","a"]"#, long("é")), r#"["","a"]"#),
            (format!("[{},2]", long("12")), "[0,2]"),
        ] {
            assert_eq!(short(&json), want);
        }
    }
}
