// SPDX-License-Identifier: Apache-2.0
//! What `fsck` says of one document: whether its descriptors are true, and its config fits its layers.

use std::fmt;

use serde_json::Value;

use super::check::{Finding, Problem, Severity};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::layer::{LayerStream, Limits};
use crate::layout::Layout;
use crate::spec::{Descriptor, ImageConfig, ImageIndex, Manifest, MediaClass, Platform, json};

/// Checks the manifest or index in `bytes`; any other document has nothing to check.
pub(super) fn check(layout: &Layout, digest: &Digest, bytes: &[u8], deep: bool) -> Result<Vec<Finding>> {
    let mut out = Vec::new();
    let Ok(document) = json::parse::<Value>(bytes) else {
        return Ok(out);
    };
    let has = |name: &str| document.get(name).is_some_and(|v| !v.is_null());
    if has("config") && has("layers") {
        match json::parse::<Manifest>(bytes).and_then(|m| m.check().map(|()| m)) {
            Ok(manifest) => check_manifest(layout, digest, &manifest, deep, &mut out)?,
            Err(err) => out.push(Finding::of(digest, Problem::Document, err.to_string())),
        }
    } else if has("manifests") {
        match json::parse::<ImageIndex>(bytes).and_then(|i| i.check().map(|()| i)) {
            Ok(index) => check_index(layout, digest, &index, &mut out)?,
            Err(err) => out.push(Finding::of(digest, Problem::Document, err.to_string())),
        }
    }
    Ok(out)
}

fn check_manifest(
    layout: &Layout,
    digest: &Digest,
    manifest: &Manifest,
    deep: bool,
    out: &mut Vec<Finding>,
) -> Result<()> {
    for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
        // A layer that stands elsewhere need not be here.
        let elsewhere = descriptor.extra.contains_key("urls");
        check_child(layout, digest, descriptor, elsewhere, out)?;
    }
    if manifest.config.media_type.class() != MediaClass::Config {
        return Ok(());
    }
    // What cannot be read was reported as a blob.
    let Ok(bytes) = layout.read_blob(&manifest.config, super::MAX_DOCUMENT) else {
        return Ok(());
    };
    let config: ImageConfig = match json::parse(&bytes) {
        Ok(config) => config,
        Err(err) => {
            let text = format!("config {}: {err}", manifest.config.digest);
            out.push(Finding::of(digest, Problem::Document, text));
            return Ok(());
        }
    };
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        let text = format!("{layers} layers, but its config has {diff_ids} diff_ids");
        out.push(Finding::of(digest, Problem::DiffId, text));
        return Ok(());
    }
    let steps = config.history.iter().filter(|h| !h.empty_layer).count();
    if !config.history.is_empty() && steps != layers {
        let text = format!("{layers} layers, but its history speaks of {steps}");
        out.push(Finding::of(digest, Problem::History, text).warning());
    }
    if deep {
        for (layer, want) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            check_diff_id(layout, digest, layer, want, out)?;
        }
    }
    Ok(())
}

fn check_diff_id(
    layout: &Layout,
    digest: &Digest,
    layer: &Descriptor,
    want: &Digest,
    out: &mut Vec<Finding>,
) -> Result<()> {
    let MediaClass::Layer(compression) = layer.media_type.class() else {
        return Ok(());
    };
    let decoded = layout.open_blob(layer).and_then(|blob| {
        LayerStream::open(blob, compression, want.algorithm(), &Limits::default())?.finish()
    });
    match decoded {
        Ok((found, _)) if found == *want => {}
        Ok((found, _)) => {
            let text = format!(
                "layer {} has diff_id {found}, its config says {want}",
                layer.digest
            );
            out.push(Finding::of(digest, Problem::DiffId, text));
        }
        // Reported as a blob.
        Err(err) if err.kind() == ErrorKind::NotFound => {}
        Err(err) if matches!(err.kind(), ErrorKind::Corrupt | ErrorKind::Limit) => {
            let text = format!("layer {} cannot be decompressed: {err}", layer.digest);
            out.push(Finding::of(digest, Problem::DiffId, text));
        }
        Err(err) => return Err(err),
    }
    Ok(())
}

fn check_index(layout: &Layout, digest: &Digest, index: &ImageIndex, out: &mut Vec<Finding>) -> Result<()> {
    for descriptor in &index.manifests {
        // An index may name platforms that are not here.
        check_child(layout, digest, descriptor, true, out)?;
        check_platform(layout, digest, descriptor, out);
    }
    Ok(())
}

/// Compares what a descriptor says of a blob with the blob.
pub(super) fn check_child(
    layout: &Layout,
    parent: &dyn fmt::Display,
    descriptor: &Descriptor,
    may_miss: bool,
    out: &mut Vec<Finding>,
) -> Result<()> {
    let child = descriptor.digest;
    match layout.blob_size(&child)? {
        None if descriptor.data.is_some() => {}
        None => {
            let text = format!("is not there, and {parent} names it");
            let finding = Finding::of(&child, Problem::Missing, text).wanted(descriptor);
            out.push(if may_miss { finding.info() } else { finding });
        }
        Some(size) if size != descriptor.size => {
            let text = format!(
                "is {size} bytes, its descriptor in {parent} says {}",
                descriptor.size
            );
            out.push(Finding::of(&child, Problem::Size, text));
        }
        Some(_) => check_type(layout, parent, descriptor, out),
    }
    Ok(())
}

/// Whether a document is of the type that its descriptor gives it.
fn check_type(layout: &Layout, parent: &dyn fmt::Display, descriptor: &Descriptor, out: &mut Vec<Finding>) {
    if !matches!(
        descriptor.media_type.class(),
        MediaClass::Manifest | MediaClass::Index
    ) {
        return;
    }
    let Ok(bytes) = layout.read_blob(descriptor, super::MAX_DOCUMENT) else {
        return;
    };
    let document: Option<Value> = json::parse(&bytes).ok();
    let own = document
        .as_ref()
        .and_then(|d| d.get("mediaType"))
        .and_then(Value::as_str);
    match (document.as_ref(), own) {
        (None, _) => {
            let text = format!("is no JSON, but {parent} names it as {}", descriptor.media_type);
            out.push(Finding::of(&descriptor.digest, Problem::Type, text));
        }
        (_, Some(own)) if own != descriptor.media_type.as_str() => {
            let text = format!(
                "says that it is {own}, but {parent} names it as {}",
                descriptor.media_type
            );
            out.push(Finding::of(&descriptor.digest, Problem::Type, text));
        }
        _ => {}
    }
}

/// Compares the platform of a descriptor with that of the image's config.
pub(super) fn check_platform(
    layout: &Layout,
    parent: &dyn fmt::Display,
    descriptor: &Descriptor,
    out: &mut Vec<Finding>,
) {
    let Some(said) = &descriptor.platform else { return };
    if descriptor.media_type.class() != MediaClass::Manifest {
        return;
    }
    let read = |d: &Descriptor| layout.read_blob(d, super::MAX_DOCUMENT).ok();
    let config: Option<ImageConfig> = read(descriptor)
        .and_then(|bytes| json::parse::<Manifest>(&bytes).ok())
        .filter(|m| m.config.media_type.class() == MediaClass::Config)
        .and_then(|m| read(&m.config))
        .and_then(|bytes| json::parse(&bytes).ok());
    let Some(found) = config.map(|c| c.platform()) else {
        return;
    };
    let differs = |a: &Platform, b: &Platform| a.os != b.os || a.architecture != b.architecture;
    if differs(said, &found) {
        let text = format!("is for {found}, but {parent} names it as for {said}");
        out.push(Finding::of(&descriptor.digest, Problem::Platform, text).warning());
    }
}

impl Finding {
    /// What would have to stand there.
    fn wanted(mut self, descriptor: &Descriptor) -> Self {
        self.wanted = Some(descriptor.clone());
        self
    }

    fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    pub(super) fn info(mut self) -> Self {
        self.severity = Severity::Info;
        self
    }
}
