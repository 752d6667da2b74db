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
    let Some(stored) = stored_form(text) else {
        fail!(Invalid, "not a time of RFC 3339: {text:?}");
    };
    Ok(stored)
}

fn stored_form(text: &str) -> Option<String> {
    let (time, rest) = text.split_at_checked(19)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    let has_shape = shape(time) == "0000-00-00T00:00:00"
        && !fraction.is_empty()
        && (zone == "Z" || matches!(shape(zone).as_str(), "+00:00" | "-00:00"));
    if !has_shape || zone != "Z" && (&zone[1..3] > "23" || &zone[4..] > "59") {
        return None;
    }
    // The shape has any digits: jiff says whether a calendar has such a day, and a clock such an hour.
    let parsed = BrokenDownTime::parse("%Y-%m-%dT%H:%M:%S", time);
    parsed.and_then(|time| time.to_datetime()).ok()?;
    // A stored time counts nanoseconds.
    let fraction = fraction[..fraction.len().min(9)].trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let zone = match zone {
        "+00:00" | "-00:00" => "Z",
        other => other,
    };
    Some(format!("{time}{dot}{fraction}{zone}"))
}

/// Returns a text with a zero for each digit.
fn shape(text: &str) -> String {
    text.replace(|c: char| c.is_ascii_digit(), "0")
}

/// Returns the time `seconds` after 1970, in UTC.
///
/// # Errors
/// [`ErrorKind::Invalid`] if no calendar has it.
pub fn from_seconds(seconds: i64) -> Result<String> {
    let time = Timestamp::from_second(seconds)
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("time out of range: {seconds}")))?;
    Ok(format(time, Offset::UTC))
}

/// Returns a time in the zone of this machine.
pub fn local(time: Timestamp) -> String {
    let offset = TimeZone::system().to_offset(time);
    format(time, offset)
}

/// Returns a time as `ctime(3)` writes it, in the zone of this machine: `Mon Nov 23 17:48:01 2026`.
pub fn ctime(time: Timestamp) -> String {
    let time = TimeZone::system().to_datetime(time);
    time.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

fn format(time: Timestamp, offset: Offset) -> String {
    let text = time.display_with_offset(offset).to_string();
    // Go writes Z for UTC, and the same time is to have the same bytes.
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
