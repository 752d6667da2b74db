// SPDX-License-Identifier: Apache-2.0
//! Paths of images in lines: as git writes them, so that programs that read its lines read ours.

use std::fmt::Write as _;

use crate::node::TreePath;

/// Returns a path without a slash at either end, `.` for the root; in double quotes with the escapes of C if it has control characters,
/// quotes, backslashes or bytes above ASCII (git's `core.quotePath`).
pub fn quoted(path: &TreePath) -> String {
    if path.is_root() {
        return ".".to_owned();
    }
    quoted_bytes(path.as_bytes())
}

/// As [`quoted`], of any bytes.
pub fn quoted_bytes(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| matches!(byte, 0x20..0x7f) && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(is_plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut out = String::from('"');
    for byte in bytes {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            7 => out.push_str("\\a"),
            8 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            11 => out.push_str("\\v"),
            12 => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            0x20..0x7f => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_as_git_does() {
        for (path, want) in [
            ("usr/bin/a b", "usr/bin/a b"),
            ("a\nb", r#""a\nb""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("\u{e9}", r#""\303\251""#),
            ("\u{1b}[1m", r#""\033[1m""#),
        ] {
            let path = TreePath::clean(path.as_bytes()).expect("path");
            assert_eq!(quoted(&path), want);
        }
        assert_eq!(quoted(&TreePath::root()), ".");
    }
}
