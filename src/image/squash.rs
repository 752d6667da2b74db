// SPDX-License-Identifier: Apache-2.0
//! Layers of an image merged to one.

use std::sync::Arc;

use super::{Image, NewLayer};
use crate::error::{Result, ResultExt};
use crate::layer::{LayerReader, LayerTree, LayerWriter, Limits};
use crate::progress::{Monitor, Task};
use crate::spec::Compression;
use crate::store::Txn;

/// Makes one layer of those of `image` from the one at `from` (0 is the lowest) to the topmost; see
/// [`Edit::merge_layers`](super::Edit::merge_layers). All layers are read and verified, those that are merged twice.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) for a damaged layer, [`ErrorKind::Limit`](crate::error::ErrorKind::Limit)
/// for layers that ask for too much.
pub fn squash(
    txn: &mut Txn<'_>,
    image: &Image,
    from: usize,
    compression: Compression,
    limits: &Limits,
    monitor: &dyn Monitor,
) -> Result<NewLayer> {
    let layers = image.layers()?;
    let twice = layers.iter().chain(layers.get(from..).unwrap_or_default());
    let sizes = twice.map(|layer| layer.descriptor.size);
    let total = sizes.fold(0, u64::saturating_add);
    let task: Arc<dyn Task> = Arc::from(monitor.task("merging", Some(total)));
    let store = txn.store();
    let mut merge = LayerTree::new(from, limits.clone());
    // The layers below `from` are read too: what is above may hide or link to their entries.
    for layer in &layers {
        let mut reader = LayerReader::new(layer.open(store, limits, &task)?, limits.clone());
        let read = merge.add_layer(&mut reader).and_then(|()| reader.drain());
        let read = layer.end(reader.into_inner(), read);
        read.context(|| layer.label())?;
    }
    merge.finalize()?;
    NewLayer::write(txn, compression, |out| {
        let mut writer = LayerWriter::new(out, b".");
        merge.write_first(&mut writer)?;
        for (number, layer) in layers.iter().enumerate() {
            // A layer of which nothing is left is not decoded a second time.
            if !merge.needs(number)? {
                continue;
            }
            let stream = layer.open(store, limits, &task)?;
            let (stream, read) = merge.write(number, stream, &mut writer);
            layer.end(stream, read).context(|| layer.label())?;
        }
        merge.finish()?;
        writer.finish().map(|_| ())
    })
}
