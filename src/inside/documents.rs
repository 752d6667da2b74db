// SPDX-License-Identifier: Apache-2.0
//! Configs, annotations and layers of two images beside each other.

use serde_json::{Map, Value};

use super::contents::ContentLayer;
use crate::digest::Digest;
use crate::error::Result;
use crate::image::Image;
use crate::spec::json;

/// A value of two documents that is not the same.
#[derive(Clone, PartialEq, Debug)]
pub struct ValueDelta {
    /// Way to it, such as `config.Env[1]` and `annotations.author`.
    pub name: String,
    /// `None` where there is none.
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// Members of a config that say when and how an image was made, and not what it is.
const MAKING: [&str; 2] = ["created", "history"];

/// Annotations that do so.
const MAKING_ANNOTATIONS: [&str; 2] = [
    "org.opencontainers.image.created",
    "org.opencontainers.image.ref.name",
];

/// Returns how configs and annotations of two images differ; without times, history and names if only the meaning counts.
///
/// # Errors
/// If one cannot be parsed.
pub fn config_deltas(old: &Image, new: &Image, semantic: bool) -> Result<Vec<ValueDelta>> {
    let [old, new] = [document(old, semantic)?, document(new, semantic)?];
    let mut out = Vec::new();
    compare("", Some(&old), Some(&new), &mut out);
    Ok(out)
}

/// Returns the config and the annotations of an image as one document. The layers are told elsewhere.
fn document(image: &Image, semantic: bool) -> Result<Value> {
    let mut out: Map<String, Value> = json::parse(&image.config.bytes)?;
    out.remove("rootfs");
    let manifest: Map<String, Value> = json::parse(&image.manifest.bytes)?;
    let annotations = manifest.get("annotations").and_then(Value::as_object);
    let mut annotations = annotations.cloned().unwrap_or_default();
    if semantic {
        out.retain(|name, _| !MAKING.contains(&name.as_str()));
        annotations.retain(|name, _| !MAKING_ANNOTATIONS.contains(&name.as_str()));
    }
    if !annotations.is_empty() {
        out.insert("annotations".to_owned(), annotations.into());
    }
    Ok(out.into())
}

/// Adds how two values called `name` differ. Members are compared one by one, of arrays those of equal length.
fn compare(name: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<ValueDelta>) {
    if old == new {
        return;
    }
    let none = Map::new();
    match (old, new) {
        // All members of an object that is not on the other side came or went.
        (None, Some(Value::Object(members))) if !members.is_empty() => {
            compare_members(name, &none, members, out);
        }
        (Some(Value::Object(members)), None) if !members.is_empty() => {
            compare_members(name, members, &none, out);
        }
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            compare_members(name, old, new, out);
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{name}[{at}]"), Some(old), Some(new), out);
            }
        }
        _ => out.push(ValueDelta {
            name: name.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

fn compare_members(
    name: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    out: &mut Vec<ValueDelta>,
) {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let name = if name.is_empty() {
            key.clone()
        } else {
            format!("{name}.{key}")
        };
        compare(&name, old.get(key), new.get(key), out);
    }
}

/// A layer of two images.
#[derive(Debug)]
pub struct LayerDelta<'a> {
    pub old: Option<&'a ContentLayer>,
    pub new: Option<&'a ContentLayer>,
}

impl LayerDelta<'_> {
    /// Returns the digests of the blobs of both sides, which differ also where the same tar is compressed in two ways.
    pub fn digests(&self) -> [Option<Digest>; 2] {
        [self.old, self.new].map(|layer| layer.map(|layer| layer.descriptor.digest))
    }
}

/// Returns the layers of two images, the lowest first: those that both have below, then those of the old one, then those of the new
/// one. Layers are the same if their tars are, also where they are compressed otherwise.
pub fn layer_deltas<'a>(old: &'a [ContentLayer], new: &'a [ContentLayer]) -> Vec<LayerDelta<'a>> {
    let both = old.iter().zip(new);
    let both = both.take_while(|(old, new)| old.diff_id == new.diff_id);
    let mut out: Vec<LayerDelta<'_>> = both
        .map(|(old, new)| LayerDelta {
            old: Some(old),
            new: Some(new),
        })
        .collect();
    let shared = out.len();
    out.extend(old[shared..].iter().map(|old| LayerDelta {
        old: Some(old),
        new: None,
    }));
    out.extend(new[shared..].iter().map(|new| LayerDelta {
        old: None,
        new: Some(new),
    }));
    out
}
