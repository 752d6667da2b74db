// SPDX-License-Identifier: Apache-2.0
//! The `vis(3)` spelling of names: printable ASCII without spaces, whatever the bytes.

/// Spells `raw`.
pub(super) fn encode(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    for &c in raw {
        match c {
            b'\\' => out.extend_from_slice(b"\\\\"),
            // Patterns of shells and comments of mtree begin with these, as VIS_GLOB says.
            b'*' | b'?' | b'[' | b'#' => octal(&mut out, c),
            0x21..=0x7e => out.push(c),
            _ => octal(&mut out, c),
        }
    }
    out
}

fn octal(out: &mut Vec<u8>, c: u8) {
    out.extend_from_slice(format!("\\{c:03o}").as_bytes());
}

/// Reads a spelled name; `None` for an escape that is none.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(c) = rest.next() {
        if c != b'\\' {
            out.push(c);
            continue;
        }
        out.push(match rest.next()? {
            c @ (b'\\' | b'"' | b'\'') => c,
            b'n' => b'\n',
            b'r' => b'\r',
            b'b' => 8,
            b'a' => 7,
            b'v' => 11,
            b't' => b'\t',
            b'f' => 12,
            b's' => b' ',
            b'E' => 27,
            // VIS_CSTYLE shortens a NUL where no other digit follows.
            b'0' if rest.peek().is_none_or(|c| digit(*c, 8).is_none()) => 0,
            c @ b'0'..=b'7' => {
                let (b, a) = (digit(rest.next()?, 8)?, digit(rest.next()?, 8)?);
                u8::try_from(u32::from(c - b'0') * 64 + b * 8 + a).ok()?
            }
            b'x' => u8::try_from(digit(rest.next()?, 16)? * 16 + digit(rest.next()?, 16)?).ok()?,
            b'^' => control(rest.next()?),
            b'M' => match rest.next()? {
                b'-' => rest.next()? | 0x80,
                b'^' => control(rest.next()?) | 0x80,
                _ => return None,
            },
            _ => return None,
        });
    }
    Some(out)
}

fn digit(c: u8, base: u32) -> Option<u32> {
    char::from(c).to_digit(base)
}

fn control(c: u8) -> u8 {
    if c == b'?' { 0x7f } else { c & 0x1f }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_round_trips() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(&all);
        assert!(text.iter().all(|c| (0x21..=0x7e).contains(c)));
        assert_eq!(decode(&text).expect("own text"), all);
        assert_eq!(encode("a b\\é#".as_bytes()), b"a\\040b\\\\\\303\\251\\043");
    }

    #[test]
    fn foreign_escapes_are_read() {
        for (text, want) in [
            (
                &b"\\s\\n\\x41\\^A\\M-a\\M^A\\\""[..],
                Some(&b" \nA\x01\xe1\x81\""[..]),
            ),
            (b"\\", None),
            (b"\\q", None),
            (b"\\777", None),
            (b"\\1", None),
            (b"\\0x", Some(b"\0x")),
        ] {
            assert_eq!(decode(text).as_deref(), want, "{}", String::from_utf8_lossy(text));
        }
    }
}
