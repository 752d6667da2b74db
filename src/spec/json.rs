// SPDX-License-Identifier: Apache-2.0
//! JSON in and out: lenient when reading, one byte form when writing.
//!
//! The written form is compact, in field order, with `<`, `>`, `&`, U+2028 and U+2029 escaped, and a newline at the
//! end, since digests of existing tools depend on it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use serde_json::value::RawValue;

use super::lenient::Lenient;
use crate::error::{Error, ErrorKind, Result};

/// Maximum number of JSON values of a document: a value takes a byte or two, and a hundred times that in memory. A list of
/// images as large as a document may be, 4 MiB, has fewer.
pub const MAX_VALUES: usize = 300_000;

/// Parses the first JSON value of `bytes`, a document, as Go's reader takes it: `null` is the empty value of any field. Bytes after
/// the value are left alone, as other tools do.
///
/// # Errors
/// [`ErrorKind::Corrupt`], with the field, as `rootfs.diff_ids[0]`, and the place in the text; [`ErrorKind::Limit`] for more
/// than [`MAX_VALUES`].
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    check_values(bytes)?;
    parse_large(bytes)
}

/// Refuses a document of more than [`MAX_VALUES`] values.
///
/// # Errors
/// [`ErrorKind::Limit`].
pub(crate) fn check_values(bytes: &[u8]) -> Result<()> {
    // Each takes a byte or more.
    if bytes.len() >= MAX_VALUES && values(bytes) > MAX_VALUES {
        fail!(Limit, "JSON of more than {MAX_VALUES} values");
    }
    Ok(())
}

/// Parses as [`parse`] does, for what holds its parts as text and may have any number of them.
pub(crate) fn parse_large<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    let parsed = T::deserialize(Lenient(&mut serde_json::Deserializer::from_slice(bytes)));
    // To follow the path of fields costs more than the parse, and only an error needs it.
    parsed.or_else(|_| parse_with_path(bytes))
}

/// Parses what failed once more, for an error that names the field.
fn parse_with_path<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(Lenient(&mut reader)).map_err(|err| {
        // An error of syntax has a line and a column in its text; only one of a type needs the path of the field.
        let field = err.path().to_string();
        let err = err.into_inner();
        let text = if err.classify() == Category::Data && field != "." {
            format!("field {field:?}: {err}")
        } else {
            format!("invalid JSON: {err}")
        };
        Error::new(ErrorKind::Corrupt, text)
    })
}

/// Maximum number of members that are held of an object: an object of [`MAX_VALUES`] values has fewer.
const MAX_MEMBERS: usize = MAX_VALUES / 2;

/// A JSON object with its members as text.
pub(crate) struct Object<'a> {
    members: Vec<(String, &'a RawValue)>,
    /// A member that stands twice, of which some readers take the first and others the last.
    pub doubled: Option<String>,
    /// Whether all members are held, and only white space follows the object.
    pub is_whole: bool,
}

impl<'a> Object<'a> {
    /// Reads the object that `bytes` begin with.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if they do not begin with a JSON object.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        // A visitor sees members that stand twice. A map type would keep one of them and hide the other.
        let parsed = reader.deserialize_map(Members);
        let mut object =
            parsed.map_err(|err| Error::new(ErrorKind::Corrupt, format!("invalid JSON: {err}")))?;
        object.is_whole &= reader.end().is_ok();
        let mut names = HashSet::new();
        let doubled = object
            .members
            .iter()
            .find(|(name, _)| !names.insert(name.as_str()));
        object.doubled = doubled.map(|(name, _)| name.clone());
        Ok(object)
    }

    /// Returns the members in the order of the text.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Returns the value of a member as text.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.members().find(|(member, _)| *member == name);
        found.map(|(_, value)| value.get())
    }

    /// Returns whether a member stands here and is not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "null")
    }

    /// Returns the object in a member, if it is one.
    pub(crate) fn object(&self, name: &str) -> Option<Object<'a>> {
        Object::parse(self.get(name)?.as_bytes()).ok()
    }

    /// Returns the value of a member, unless that is null or not of the wanted type.
    pub(crate) fn read<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        let value = self.get(name).filter(|value| *value != "null")?;
        parse(value.as_bytes()).ok()
    }
}

/// Reads the members of an [`Object`].
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        let mut is_whole = true;
        while let Some(member) = map.next_entry()? {
            // Members beyond the limit are parsed all the same: text that is no JSON must fail.
            if members.len() < MAX_MEMBERS {
                members.push(member);
            } else {
                is_whole = false;
            }
        }
        Ok(Object {
            members,
            doubled: None,
            is_whole,
        })
    }
}

/// Returns whether a reader that does not care for case, as that of Go, takes `name` for the member `plain`; two letters beyond
/// ASCII are to it an `s` and a `k`.
pub(crate) fn eq_ignore_case(name: &str, plain: &str) -> bool {
    name.chars().map(folded).eq(plain.chars().map(folded))
}

fn folded(c: char) -> char {
    match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

/// Returns whether such a reader takes `name` for one of `members`.
pub(super) fn matches_any(name: &str, members: &[&str]) -> bool {
    members.iter().any(|member| eq_ignore_case(name, member))
}

/// Returns whether `name` is another spelling of one of `members` to such a reader.
pub(crate) fn is_case_variant(name: &str, members: &[&str]) -> bool {
    matches_any(name, members) && !members.contains(&name)
}

/// Returns the maximum number of values in a document, told by the marks outside of strings.
pub(crate) fn values(bytes: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (1, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            // Each value but the first stands behind one of these, so the count is never too small.
            b'[' | b'{' | b',' | b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Writes `value` on one line with a newline at the end: the form of blobs, `index.json` and `umoci.json`.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    write(value, CompactFormatter)
}

/// Writes `value` indented by tabs, with a newline at the end: the form of a bundle's `config.json`.
pub fn to_pretty<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    write(value, PrettyFormatter::with_indent(b"\t"))
}

fn write<T: Serialize + ?Sized, F: Formatter>(value: &T, formatter: F) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut plain, formatter))
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("write JSON: {e}")))?;
    let mut out = String::from_utf8_lossy(&plain).into_owned();
    // Go escapes these for HTML and JavaScript. JSON has them in strings alone, so the whole text can be searched.
    for c in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        // Few texts have any, and each replacement copies the whole text.
        if out.contains(c) {
            out = out.replace(c, &format!("\\u{:04x}", u32::from(c)));
        }
    }
    out.push('\n');
    Ok(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_for_html_and_control_characters() {
        let text = "<a> & \u{2028}\u{2029} \"\\\u{8}\u{c}\n\r\t\u{b}\u{7f} é";
        let got = String::from_utf8(to_bytes(text).expect("json")).expect("utf-8");
        let want = "\"\\u003ca\\u003e \\u0026 \\u2028\\u2029 \\\"\\\\\\b\\f\\n\\r\\t\\u000b\u{7f} é\"\n";
        assert_eq!(got, want);
    }

    #[test]
    fn a_document_of_too_many_values_is_refused_and_text_is_none() {
        for (document, count) in [
            (r#""[,:{\\\"[,""#, 1),
            ("7", 1),
            ("[0,0,0]", 4),
            (r#"[{"a":0},[]]"#, 6),
        ] {
            assert_eq!(values(document.as_bytes()), count, "{document}");
        }
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        let err = parse::<serde_json::Value>(many.as_bytes()).expect_err("many");
        assert_eq!(err.kind(), ErrorKind::Limit);
        assert_eq!(err.to_string(), "JSON of more than 300000 values");
        assert!(parse_large::<serde::de::IgnoredAny>(many.as_bytes()).is_ok());
        let text = format!("[{:?}]", ",".repeat(2 * MAX_VALUES));
        assert!(parse::<serde_json::Value>(text.as_bytes()).is_ok());
    }

    #[test]
    fn what_follows_the_value_is_not_read() {
        assert_eq!(parse::<u32>(b"7\n\0trailing").expect("number"), 7);
        assert!(
            parse::<u32>(b"{")
                .expect_err("object")
                .to_string()
                .starts_with("invalid JSON: ")
        );
    }
}
