// SPDX-License-Identifier: Apache-2.0
//! Edits of an image: a value that collects changes and writes them as new documents, up to the tag.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Image, NewLayer, ReadDocument as _, check_count, reading};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::json::{self, Object};
use crate::spec::{
    Compression, Descriptor, History, ImageConfig, ImageIndex, Manifest, MediaClass, MediaType, Platform,
    REF_NAME, RefName, settle_history,
};
use crate::store::{Store, Txn};

/// Annotations for the manifest that an image was built on. Spec: image-spec, annotations.
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// Changes to one image, not yet written.
///
/// Begins as a copy of an image's documents ([`Edit::new`]) or with none ([`Edit::blank`]); all fields of `manifest` and
/// `config` may be changed, those that this crate does not know (`extra`) are kept. [`Edit::apply`] writes the result as
/// new blobs: the image that it began with stays as it is. See [the example](crate::image).
#[derive(Clone, Debug)]
pub struct Edit {
    /// The descriptors from a tag to the manifest whose place the result takes.
    pub walk: Vec<Descriptor>,
    /// The manifest as it will be; digest and size of its `config` are filled in when it is written. Layers are added
    /// with [`Edit::add_layer`], which keeps the config in step.
    pub manifest: Manifest,
    /// The config as it will be.
    pub config: ImageConfig,
    /// The platform as it was: where it changes, the entries that name the image change too.
    platform: Platform,
}

impl Edit {
    /// Starts from an image. One of Docker's media types becomes an OCI image, with the same layers.
    pub fn new(image: &Image) -> Self {
        let mut manifest = image.manifest.value.clone();
        if image.descriptor().media_type.is_docker() || manifest.config.media_type.is_docker() {
            manifest.rename_to_oci();
            manifest.media_type = MediaType::MANIFEST.into();
        }
        Self {
            walk: image.walk.clone(),
            manifest,
            platform: image.config.value.platform(),
            config: image.config.value.clone(),
        }
    }

    /// Returns a new image for this machine's platform, without layers and without history.
    ///
    /// `created` is a time as RFC 3339 writes it; `crate::image::time` makes and checks such.
    pub fn blank(created: String) -> Self {
        Self::blank_for(Platform::host(), created)
    }

    /// As [`Edit::blank`], for another platform.
    pub fn blank_for(platform: Platform, created: String) -> Self {
        let mut config = ImageConfig::for_platform(platform);
        config.created = Some(created);
        let nothing = Digest::sha256(b"");
        Self {
            walk: vec![Descriptor::new(MediaType::MANIFEST, nothing, 0)],
            manifest: Manifest::new(Descriptor::new(MediaType::CONFIG, nothing, 0), Vec::new()),
            platform: config.platform(),
            config,
        }
    }

    /// Appends a layer, with its history entry if there is one.
    ///
    /// With an entry, the history of what is below is made to agree with the layers first; see
    /// [`Edit::add_empty_history`].
    pub fn add_layer(&mut self, layer: NewLayer, history: Option<History>) {
        self.add_history(history, false);
        let rootfs = &mut self.config.rootfs;
        // The config may have been that of an artifact, which says nothing of layers.
        if rootfs.kind.is_empty() {
            "layers".clone_into(&mut rootfs.kind);
        }
        rootfs.diff_ids.push(layer.diff_id);
        self.manifest.layers.push(layer.descriptor);
    }

    /// Notes a change that makes no layer.
    ///
    /// As many steps as there are layers have made one: layers that no step speaks of get an entry each, behind the steps
    /// that are there, and steps for which no layer is left (the last ones, as `stat`) has it) have made
    /// none. `None` leaves the history as it is.
    pub fn add_empty_history(&mut self, history: Option<History>) {
        self.add_history(history, true);
    }

    fn add_history(&mut self, history: Option<History>, empty_layer: bool) {
        if let Some(history) = history {
            settle_history(&mut self.config.history, self.manifest.layers.len());
            self.config.history.push(History {
                empty_layer,
                ..history
            });
        }
    }

    /// Replaces the layers from the one at `from` (0 is the lowest) to the topmost by one that holds the same.
    ///
    /// The steps that made them go; those among them that made no layer stay. With `history` the new layer gets a step in
    /// the place of the last of them, whose comment goes on with what made the layers that it replaces.
    pub fn merge_layers(&mut self, from: usize, layer: NewLayer, history: Option<History>) {
        settle_history(&mut self.config.history, self.manifest.layers.len());
        let mut comments = Vec::new();
        let mut steps = Vec::new();
        let mut place = 0;
        let mut made = 0;
        for step in std::mem::take(&mut self.config.history) {
            made += usize::from(!step.empty_layer);
            if step.empty_layer || made <= from {
                steps.push(step);
            } else {
                comments.push(step.created_by);
                place = steps.len();
            }
        }
        if let Some(mut step) = history {
            comments.insert(0, step.comment);
            comments.retain(|text| !text.is_empty());
            step.comment = comments.join("; ");
            step.empty_layer = false;
            steps.insert(place, step);
        }
        self.config.history = steps;
        self.manifest.layers.truncate(from);
        self.config.rootfs.diff_ids.truncate(from);
        self.add_layer(layer, None);
    }

    /// Replaces the layers of the image `old`, which must be the lowest ones, by those of `new`, with their steps; what is
    /// above stays. `false` if the image stands on `new` already; nothing is changed then.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the lowest layers are not those of `old`, [`ErrorKind::Invalid`] if `new` is for another
    /// platform.
    pub fn rebase(&mut self, old: &Image, new: &Image) -> Result<bool> {
        let (before, after) = (&old.config.value, &new.config.value);
        let own = &self.config.rootfs.diff_ids;
        let count = old.layers().context(|| "old base")?.len();
        let layers = new.layers().context(|| "new base")?;
        check_count(&self.manifest, &self.config.rootfs)?;
        // A base that the image stands on already, also if it is no longer on the old one, has nothing to replace.
        let is_on_old = own.starts_with(&before.rootfs.diff_ids[..count]);
        let is_on_new = own.starts_with(&after.rootfs.diff_ids);
        if is_on_new && (!is_on_old || layers.len() > count) {
            return Ok(false);
        }
        if !is_on_old {
            let why = difference(own, &before.rootfs.diff_ids[..count]);
            fail!(Conflict, "the image does not stand on the old base: {why}");
        }
        let (ours, theirs) = (self.config.platform(), after.platform());
        if !theirs.runs(&ours) && !ours.runs(&theirs) {
            fail!(Invalid, "the image is for {ours}, and the new base for {theirs}");
        }
        settle_history(&mut self.config.history, self.manifest.layers.len());
        let above = if self.config.history.starts_with(&before.history) {
            before.history.len()
        } else {
            // The steps up to the one that made the topmost layer of the base.
            let steps = self.config.history.iter().enumerate();
            let made = steps.filter(|(_, step)| !step.empty_layer);
            made.take(count).last().map_or(0, |(at, _)| at + 1)
        };
        let mut steps = after.history.clone();
        settle_history(&mut steps, layers.len());
        self.config.history.splice(..above, steps);
        let diff_ids = layers.iter().map(|layer| layer.diff_id);
        self.config.rootfs.diff_ids.splice(..count, diff_ids);
        let descriptors = layers.iter().map(|layer| Descriptor {
            media_type: layer.descriptor.media_type.to_oci(),
            ..layer.descriptor.clone()
        });
        self.manifest.layers.splice(..count, descriptors);
        if let Some(base) = self.manifest.annotations.get_mut(BASE_DIGEST) {
            *base = new.descriptor().digest.to_string();
            // The name of the new one, elsewhere, is not known here.
            self.manifest.annotations.remove(BASE_NAME);
        }
        Ok(true)
    }

    /// The compression for a new layer when none is asked for: that of the topmost compressed layer, else gzip.
    pub fn auto_compression(&self) -> Compression {
        for layer in self.manifest.layers.iter().rev() {
            match layer.media_type.class() {
                MediaClass::Layer(compression) if compression != Compression::None => return compression,
                _ => {}
            }
        }
        Compression::Gzip
    }

    /// Writes config, manifest and the indexes above it, and points `tag` at the result.
    ///
    /// If the image was found by the name `tag` itself, the result takes the place of the entry that led to it; other
    /// entries of that name, for other platforms, stay. Any other tag becomes this alone.
    ///
    /// Returns the new way from the tag to the manifest. Nothing is tagged before the transaction is committed, which fails
    /// with [`ErrorKind::Conflict`] if that entry is not there any more, and another one is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Corrupt`] if an index above the manifest is gone or damaged,
    /// [`ErrorKind::Exists`] if the platform is another now, and one beside it has it, and what keeps blobs from being written.
    pub fn apply(self, txn: &mut Txn<'_>, tag: &RefName) -> Result<Vec<Descriptor>> {
        let Edit {
            mut walk,
            mut manifest,
            config,
            platform,
        } = self;
        let now = config.platform();
        // An edit that goes back to its own name leaves the other entries of the name alone.
        let own = walk.first().filter(|root| root.ref_name() == Some(tag.as_str()));
        let own = own.cloned();
        // A changed platform must change in each entry that gives it, or clients would choose by the old one.
        let mut changed = (platform != now).then_some(&now);
        if changed.is_some() {
            refuse_second(txn.store(), &walk, own.is_some().then_some(tag), &now)?;
        }
        let config_type = manifest.config.media_type.clone();
        manifest.config = txn.put(&json::to_bytes(&config)?, config_type)?;
        let [.., last] = walk.as_slice() else {
            fail!(Invalid, "empty descriptor path");
        };
        let mut new = txn.put(&json::to_bytes(&manifest)?, last.media_type.to_oci())?;
        // From the manifest up: each index names the document below it by its new digest, and becomes another itself.
        for at in (0..walk.len()).rev() {
            let mut entry = walk[at].pointing_at(&new);
            if let (Some(own), Some(changed)) = (&mut entry.platform, changed) {
                *own = Platform {
                    extra: std::mem::take(&mut own.extra),
                    ..changed.clone()
                };
            }
            let before = std::mem::replace(&mut walk[at], entry);
            if at == 0 {
                break;
            }
            let parent = &walk[at - 1];
            let bytes = txn.store().read(parent).context(reading("image index", parent))?;
            let bytes = replace_child(&bytes, &before, &new, changed)
                .context(|| format!("change image index {}", parent.digest))?;
            // The parent names the index, which is for no one platform.
            changed = None;
            new = txn.put(&bytes, parent.media_type.to_oci())?;
        }
        let name = tag.as_str().to_owned();
        walk[0].annotations.insert(REF_NAME.to_owned(), name);
        match own {
            Some(own) => txn.replace_entry(tag, own, walk[0].clone()),
            None => txn.set_ref(tag, walk[0].clone()),
        }
        Ok(walk)
    }
}

/// Returns in words the first difference between the layers of an image and those of a base.
fn difference(own: &[Digest], base: &[Digest]) -> String {
    let (count, all) = (own.len(), base.len());
    match own.iter().zip(base).position(|(own, base)| own != base) {
        Some(at) => {
            let (number, own, base) = (at + 1, own[at], base[at]);
            format!("layer {number} of the image is {own}, and of the old base {base}")
        }
        None => format!("the image has {count} layers, and the old base {all}"),
    }
}

/// Refuses a new platform of the last of `walk` if another image has it: of the index above, or of the name `own`.
fn refuse_second(
    store: &Store,
    walk: &[Descriptor],
    own: Option<&RefName>,
    platform: &Platform,
) -> Result<()> {
    let (beside, last, label) = match (walk, own) {
        ([only], Some(own)) => (store.lookup(own)?.into_iter().collect(), only, own.to_string()),
        ([.., parent, last], _) => {
            let index = store.read_index(parent)?;
            (index.manifests, last, format!("image index {}", parent.digest))
        }
        _ => return Ok(()),
    };
    let wanted = platform.to_string();
    for other in beside.iter().filter(|other| !other.is_same_entry(last)) {
        let has = store.platform(other).map(|has| has.to_string());
        if has.as_ref() == Some(&wanted) {
            let text = format!("{label} has an image for {wanted} already: {}", other.digest);
            return Err(Error::new(ErrorKind::Exists, text));
        }
    }
    Ok(())
}

/// Returns the bytes of an image index in which the entry `old` names `new` instead, and has its platform if that is given; all
/// else stays byte for byte. A list of Docker's becomes an image index.
fn replace_child(
    index: &[u8],
    old: &Descriptor,
    new: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Vec<u8>> {
    let known = ImageIndex::parse(index)?.manifests;
    let parts = Object::parse(index)?;
    let mut out = Vec::with_capacity(index.len() + 64);
    let mut done = 0;
    let list = format!("{:?}", MediaType::DOCKER_LIST);
    let mut changes: Vec<(&str, Vec<u8>)> = Vec::new();
    if let Some(text) = parts.get("mediaType").filter(|text| *text == list) {
        changes.push((text, format!("{:?}", MediaType::INDEX).into_bytes()));
    }
    let entries: Vec<&RawValue> = parts.read("manifests").unwrap_or_default();
    for (raw, entry) in entries.into_iter().zip(known) {
        if entry.is_same_entry(old) {
            changes.push((raw.get(), renamed(raw, new, platform)?));
        }
    }
    // The media type may stand behind the entries.
    changes.sort_by_key(|(part, _)| part.as_ptr() as usize);
    for (part, text) in changes {
        let at = part.as_ptr() as usize - index.as_ptr() as usize;
        out.extend_from_slice(&index[done..at]);
        out.extend_from_slice(&text);
        done = at + part.len();
    }
    out.extend_from_slice(&index[done..]);
    Ok(out)
}

/// An entry of an index as it is when it names `new`; fields that we do not know stay.
fn renamed(entry: &RawValue, new: &Descriptor, platform: Option<&Platform>) -> Result<Vec<u8>> {
    let mut entry: Map<String, Value> = json::parse(entry.get().as_bytes())?;
    entry.insert("digest".to_owned(), new.digest.to_string().into());
    entry.insert("size".to_owned(), new.size.into());
    if let Some(kind) = entry.get_mut("mediaType") {
        *kind = new.media_type.as_str().into();
    }
    entry.shift_remove("data");
    if let (Some(Value::Object(fields)), Some(platform)) = (entry.get_mut("platform"), platform) {
        for name in ["architecture", "os", "os.version", "os.features", "variant"] {
            fields.shift_remove(name);
        }
        let known: Map<String, Value> = json::parse(&json::to_bytes(platform)?)?;
        fields.extend(known);
    }
    let mut text = json::to_bytes(&entry)?;
    // The newline is that of a whole document.
    text.pop();
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_entry_of_the_changed_child_stays_byte_for_byte() {
        let (old, other) = (Digest::sha256(b"old"), Digest::sha256(b"other"));
        let new = Descriptor::new(MediaType::MANIFEST, Digest::sha256(b"new"), 7);
        let arm: Platform = "linux/arm/v7".parse().expect("platform");
        let entry = Descriptor {
            platform: Some("linux/arm/v6".parse().expect("platform")),
            ..Descriptor::new(MediaType::MANIFEST, old, 3)
        };
        let index = |changed: &str, kind: &str| {
            format!(
                r#"{{ "x" : 1e2,
  "manifests": [ {{"digest":"{other}","size":1,"y":[ 2 ]}},
    {changed},
    {{"digest": "{old}", "size": 3, "platform": {{"os":"linux", "architecture":"386"}} }} ], "mediaType": {kind} }}  "#
            )
        };
        let before = format!(
            r#"{{"size": 3, "digest":"{old}", "data":"AA==","platform":{{"os":"linux","w":0,"architecture":"arm","variant":"v6"}},"z":0}}"#
        );
        let text = index(
            &before,
            r#""application/vnd.docker.distribution.manifest.list.v2+json""#,
        );
        let entry = Descriptor {
            platform: Some(Platform {
                extra: json::parse(br#"{"w":0}"#).expect("extra"),
                ..entry.platform.expect("platform")
            }),
            ..Descriptor::new(MediaType::MANIFEST, old, 3)
        };
        let got = replace_child(text.as_bytes(), &entry, &new, Some(&arm)).expect("index");
        let after = format!(
            r#"{{"size":7,"digest":"{}","platform":{{"w":0,"architecture":"arm","os":"linux","variant":"v7"}},"z":0}}"#,
            new.digest
        );
        assert_eq!(
            String::from_utf8(got).expect("utf-8"),
            index(&after, r#""application/vnd.oci.image.index.v1+json""#)
        );
    }
}
