// SPDX-License-Identifier: Apache-2.0
//! JSON as Go's reader takes it: `null` is the empty value of whatever is wanted, and an object is never spelled as an array.
//!
//! [`Lenient`] stands between a deserializer and the types, so that no type has to say it of its fields. Values of any shape
//! ([`serde_json::Value`], [`serde_json::value::RawValue`]) pass through it as they are: a `null` in a field that we do not know
//! stays one.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Reads through a deserializer; as a seed or an access, gives what is inside a list or object the same treatment.
pub(super) struct Lenient<T>(pub T);

/// Gives `wanted` what it wants, or what `null` means to it.
struct OrEmpty<V> {
    wanted: V,
    kind: Kind,
}

/// Kinds of values that `null` is an empty one of.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Number,
    Text,
    List,
    Object,
    Optional,
}

macro_rules! null_is {
    ($($kind:ident: $($method:ident)+;)*) => {
        $($(fn $method<V: Visitor<'de>>(self, wanted: V) -> Result<V::Value, D::Error> {
            self.0.deserialize_option(OrEmpty { wanted, kind: Kind::$kind })
        })+)*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lenient<D> {
    type Error = D::Error;

    null_is! {
        Bool: deserialize_bool;
        Number: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64;
        Number: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64;
        Text: deserialize_str deserialize_string;
        List: deserialize_seq;
        Object: deserialize_map;
        Optional: deserialize_option;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_map(visitor)
    }

    // serde_json's RawValue asks for its text by a newtype struct of a private name.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, visitor)
    }

    // No field of any document has one of these types, so `null` needs no meaning for them.
    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OrEmpty<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wanted.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        // The items of an empty list are never asked for, so any type of item will do.
        let nothing = std::iter::empty();
        match self.kind {
            Kind::Bool => self.wanted.visit_bool(false),
            Kind::Number => self.wanted.visit_u64(0),
            Kind::Text => self.wanted.visit_borrowed_str(""),
            Kind::List => self
                .wanted
                .visit_seq(SeqDeserializer::<_, E>::new(nothing.map(|()| ""))),
            Kind::Object => self
                .wanted
                .visit_map(MapDeserializer::<_, E>::new(nothing.map(|()| ("", "")))),
            Kind::Optional => self.wanted.visit_none(),
        }
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let wanted = self.wanted;
        match self.kind {
            Kind::Bool => inner.deserialize_bool(wanted),
            // serde_json reads a number of any width by this call, and the visitor checks its range.
            Kind::Number => inner.deserialize_i64(wanted),
            Kind::Text => inner.deserialize_str(wanted),
            Kind::List => inner.deserialize_seq(Lenient(wanted)),
            Kind::Object => inner.deserialize_map(Lenient(wanted)),
            Kind::Optional => wanted.visit_some(Lenient(inner)),
        }
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Lenient<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Lenient(inner))
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Lenient(inner))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Lenient<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        wanted: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Lenient(wanted))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Lenient<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, wanted: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(wanted)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, wanted: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Lenient(wanted))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Lenient<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Lenient(inner))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::super::{Descriptor, ImageConfig, ImageIndex, Manifest, json as spec};

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor() -> Value {
        json!({
            "mediaType": "a/b", "digest": DIGEST, "size": 1, "urls": ["u"], "annotations": {"k": "v"}, "data": "eA==",
            "platform": {"architecture": "amd64", "os": "linux", "os.version": "1", "os.features": ["f"], "variant": "v1"},
            "artifactType": "x/y",
        })
    }

    fn config() -> Value {
        json!({
            "created": "2020-01-01T00:00:00Z", "author": "a", "architecture": "amd64", "os": "linux", "os.version": "1",
            "os.features": ["f"], "variant": "v1",
            "config": {
                "User": "u", "ExposedPorts": {"80/tcp": {}}, "Env": ["A=b"], "Entrypoint": ["e"], "Cmd": ["c"],
                "Volumes": {"/v": {}}, "WorkingDir": "/w", "Labels": {"k": "v"}, "StopSignal": "TERM", "ArgsEscaped": true,
            },
            "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
            "history": [{
                "created": "2020-01-01T00:00:00Z", "created_by": "c", "author": "a", "comment": "c", "empty_layer": true,
            }],
        })
    }

    /// Returns the places of all values in a document, as JSON pointers and as errors call them.
    fn places(value: &Value, pointer: &str, field: &str, out: &mut Vec<(String, String)>) {
        let below: Vec<(String, String, &Value)> = match value {
            Value::Object(members) => {
                let dot = if field.is_empty() { "" } else { "." };
                let name = |(k, v)| {
                    let key: &String = k;
                    let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    (pointer, format!("{field}{dot}{key}"), v)
                };
                members.iter().map(name).collect()
            }
            Value::Array(elements) => {
                let name = |(n, v)| (format!("{pointer}/{n}"), format!("{field}[{n}]"), v);
                elements.iter().enumerate().map(name).collect()
            }
            _ => Vec::new(),
        };
        for (pointer, field, value) in below {
            places(value, &pointer, &field, out);
            out.push((pointer, field));
        }
    }

    fn without(document: &Value, pointer: &str) -> Value {
        let mut out = document.clone();
        let (above, last) = pointer.rsplit_once('/').expect("pointer");
        match out.pointer_mut(above).expect("above") {
            Value::Object(members) => {
                members.remove(&last.replace("~1", "/"));
            }
            Value::Array(elements) => {
                elements.remove(last.parse().expect("number"));
            }
            _ => panic!("{pointer}"),
        }
        out
    }

    fn with(document: &Value, pointer: &str, value: Value) -> Value {
        let mut out = document.clone();
        *out.pointer_mut(pointer).expect("place") = value;
        out
    }

    fn parse<T: DeserializeOwned>(document: &Value) -> Result<T, String> {
        spec::parse(document.to_string().as_bytes()).map_err(|err| err.to_string())
    }

    /// Each field of a document as `null`, missing, and of a wrong type: only a digest must be there.
    fn check<T: DeserializeOwned>(document: &Value) {
        parse::<T>(document).expect("whole document");
        let mut all = Vec::new();
        places(document, "", "", &mut all);
        assert!(all.len() > 10);
        for (pointer, field) in all {
            let value = document.pointer(&pointer).expect("value");
            // A descriptor without a digest is none, and so is a list that has one of those.
            let is_needed = value == DIGEST || value.get("digest").is_some();
            let is_null = parse::<T>(&with(document, &pointer, Value::Null));
            assert_eq!(
                is_null.is_err(),
                is_needed && !is_optional(&pointer),
                "{field}: null"
            );
            let is_missing = parse::<T>(&without(document, &pointer));
            let may_go = !is_needed || is_optional(&pointer) || pointer.ends_with("/0");
            assert_eq!(is_missing.is_err(), !may_go, "{field}: missing");
            for wrong in [json!(7), json!("w"), json!([[]]), json!({"x": [1]})] {
                let fits = match (value, &wrong) {
                    (Value::Number(_), Value::Number(_)) | (Value::Object(_), Value::Object(_)) => true,
                    (Value::String(text), Value::String(_)) => text != DIGEST,
                    _ => false,
                };
                let got = parse::<T>(&with(document, &pointer, wrong.clone())).map(|_| ());
                let Err(why) = got else {
                    assert!(fits, "{field}: {wrong} was taken");
                    continue;
                };
                let named = format!("field \"{field}");
                assert!(why.starts_with(&named), "{field}: {wrong}: {why}");
            }
        }
    }

    fn is_optional(pointer: &str) -> bool {
        pointer == "/subject"
    }

    #[test]
    fn each_field_may_be_null_or_missing_and_an_error_names_it() {
        check::<Descriptor>(&descriptor());
        check::<ImageConfig>(&config());
        check::<Manifest>(&json!({
            "schemaVersion": 2, "mediaType": "a/b", "artifactType": "x/y", "config": descriptor(), "layers": [descriptor()],
            "subject": descriptor(), "annotations": {"k": "v"},
        }));
        check::<ImageIndex>(&json!({
            "schemaVersion": 2, "mediaType": "a/b", "artifactType": "x/y", "manifests": [descriptor()],
            "subject": descriptor(), "annotations": {"k": "v"},
        }));
    }

    #[test]
    fn what_was_null_is_written_as_the_empty_value() {
        let text = r#"{"author":null,"config":{"Cmd":["sh",null],"Labels":{"a":null},"Volumes":{"/v":null},"Env":null},"rootfs":{"type":"layers","diff_ids":null},"history":[null],"x":null}"#;
        let config: ImageConfig = spec::parse(text.as_bytes()).expect("config");
        let out = String::from_utf8(spec::to_bytes(&config).expect("JSON")).expect("utf-8");
        let want = r#"{"architecture":"","os":"","config":{"Cmd":["sh",""],"Volumes":{"/v":{}},"Labels":{"a":""}},"rootfs":{"type":"layers","diff_ids":[]},"history":[{}],"x":null}"#;
        assert_eq!(out.trim_end(), want);
    }

    #[test]
    fn a_config_without_rootfs_says_nothing_of_layers() {
        for text in [
            "{}",
            r#"{"rootfs":null}"#,
            r#"{"rootfs":{}}"#,
            r#"{"rootfs":{"diff_ids":null}}"#,
        ] {
            let config: ImageConfig = spec::parse(text.as_bytes()).expect(text);
            assert!(config.rootfs.is_unsaid(), "{text}");
        }
    }

    #[test]
    fn an_object_is_not_spelled_as_an_array_and_texts_are_passed_on() {
        let why = spec::parse::<ImageConfig>(br#"{"config":["root"]}"#)
            .expect_err("array")
            .to_string();
        assert!(
            why.starts_with("field \"config\": invalid type: sequence"),
            "{why}"
        );
        let object = spec::Object::parse(br#"{"a": null, "b": [ null ]}"#).expect("object");
        assert_eq!(
            (object.get("a").expect("a"), object.get("b").expect("b")),
            ("null", "[ null ]")
        );
        let value: Value = spec::parse(br#"{"a":[null,{"b":null}]}"#).expect("value");
        assert_eq!(value, json!({"a": [null, {"b": null}]}));
    }
}
