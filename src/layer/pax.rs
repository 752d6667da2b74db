// SPDX-License-Identifier: Apache-2.0
//! PAX extended header records: `LENGTH KEY=VALUE\n`, read and written.

use crate::error::{Error, ErrorKind, Result};

/// The records of one extended header, in order.
pub(super) type Records = Vec<(Vec<u8>, Vec<u8>)>;

fn bad(why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("invalid PAX header: {why}"))
}

/// Parses the content of an extended header.
pub(super) fn parse(mut data: &[u8]) -> Result<Records> {
    let mut out = Records::new();
    while !data.is_empty() {
        // Some writers pad with NUL bytes.
        if data.iter().all(|&c| c == 0) {
            break;
        }
        let space = data
            .iter()
            .position(|&c| c == b' ')
            .ok_or_else(|| bad("no length"))?;
        let length = std::str::from_utf8(&data[..space])
            .ok()
            .and_then(|t| t.parse::<usize>().ok());
        let length = length
            .filter(|&n| n > space + 2 && n <= data.len())
            .ok_or_else(|| bad("wrong length"))?;
        let record = &data[space + 1..length];
        let record = record
            .strip_suffix(b"\n")
            .ok_or_else(|| bad("record without newline"))?;
        let equals = record
            .iter()
            .position(|&c| c == b'=')
            .ok_or_else(|| bad("record without '='"))?;
        out.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        data = &data[length..];
    }
    Ok(out)
}

/// Appends one record to `out`.
pub(super) fn write(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    if rest + digits(length) != length {
        length = rest + digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(n: usize) -> usize {
    n.to_string().len()
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
