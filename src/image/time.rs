// SPDX-License-Identifier: Apache-2.0
//! Times as documents write them: RFC 3339, to the nanosecond, with their own offset.

use jiff::Timestamp;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};

use crate::error::{Error, ErrorKind, Result};

/// Checks `YYYY-MM-DDThh:mm:ss[.frac](Z|±hh:mm)` and returns it in the form that is stored: without trailing zeros in
/// the fraction, `Z` for a zero offset, any other offset kept.
///
/// # Errors
/// [`ErrorKind::Invalid`], naming the text.
pub fn parse(text: &str) -> Result<String> {
    let invalid = || Error::new(ErrorKind::Invalid, format!("not a time of RFC 3339: {text:?}"));
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 20
        && bytes.iter().enumerate().take(19).all(|(at, c)| match at {
            4 | 7 => *c == b'-',
            10 => *c == b'T',
            13 | 16 => *c == b':',
            _ => c.is_ascii_digit(),
        });
    if !shape {
        return Err(invalid());
    }
    let (fraction, zone) = match text[19..].strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
            if end == 0 {
                return Err(invalid());
            }
            (&rest[..end.min(9)], &rest[end..])
        }
        None => ("", &text[19..]),
    };
    let zone_shape = zone == "Z"
        || (zone.len() == 6
            && zone.starts_with(['+', '-'])
            && zone
                .bytes()
                .skip(1)
                .enumerate()
                .all(|(at, c)| if at == 2 { c == b':' } else { c.is_ascii_digit() }));
    if !zone_shape {
        return Err(invalid());
    }
    BrokenDownTime::parse("%Y-%m-%dT%H:%M:%S", &text[..19])
        .and_then(|t| t.to_datetime())
        .map_err(|_| invalid())?;
    if zone != "Z" && (&zone[1..3] > "23" || &zone[4..6] > "59") {
        return Err(invalid());
    }
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let zone = if zone == "+00:00" || zone == "-00:00" {
        "Z"
    } else {
        zone
    };
    Ok(format!("{}{dot}{fraction}{zone}", &text[..19]))
}

/// The time `seconds` after 1970, in UTC.
///
/// # Errors
/// [`ErrorKind::Invalid`] if no calendar has it.
pub fn from_seconds(seconds: i64) -> Result<String> {
    let time = Timestamp::from_second(seconds)
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("time out of range: {seconds}")))?;
    Ok(format(time, Offset::UTC))
}

/// `nanoseconds` after 1970, in the zone of this machine.
pub fn local(nanoseconds: i128) -> String {
    let time = Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let offset = TimeZone::system().to_offset(time);
    format(time, offset)
}

/// `nanoseconds` after 1970 as `ctime(3)` writes it, in the zone of this machine: `Mon Nov 23 17:48:01 2026`.
pub fn ctime(nanoseconds: i128) -> String {
    let time = Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    TimeZone::system()
        .to_datetime(time)
        .strftime("%a %b %e %H:%M:%S %Y")
        .to_string()
}

fn format(time: Timestamp, offset: Offset) -> String {
    let text = time.display_with_offset(offset).to_string();
    text.strip_suffix("+00:00")
        .map_or_else(|| text.clone(), |t| format!("{t}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_keeps_the_offset_and_drops_zeros() {
        for (text, want) in [
            (
                "2025-09-05T13:05:10.12345+10:00",
                "2025-09-05T13:05:10.12345+10:00",
            ),
            ("1997-03-25T13:40:00+00:00", "1997-03-25T13:40:00Z"),
            ("1997-03-25T13:40:00.500Z", "1997-03-25T13:40:00.5Z"),
            ("1997-03-25T13:40:00.000Z", "1997-03-25T13:40:00Z"),
            (
                "1997-03-25T13:40:00.1234567891Z",
                "1997-03-25T13:40:00.123456789Z",
            ),
        ] {
            assert_eq!(parse(text).expect(text), want);
        }
        for bad in [
            "",
            "now",
            "1997-03-25",
            "1997-03-25 13:40:00Z",
            "1997-13-25T13:40:00Z",
            "1997-03-25T13:40:00",
            "1997-03-25T13:40:00.Z",
            "1997-02-30T00:00:00Z",
            "1997-03-25T13:40:00+1:00",
            "1997-03-25T13:40:00é",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds_become_utc() {
        assert_eq!(from_seconds(0).expect("epoch"), "1970-01-01T00:00:00Z");
        assert_eq!(from_seconds(-1).expect("before"), "1969-12-31T23:59:59Z");
        assert!(from_seconds(i64::MAX).is_err());
    }
}
