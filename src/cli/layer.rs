// SPDX-License-Identifier: Apache-2.0
//! `umoci layer`: the layers of an image, one by one.

use std::io::Read;
use std::sync::Arc;

use crate::error::Fact;
use crate::progress::{Monitor, Task};
use crate::spec::History;

use super::prelude::*;

commands! {
    /// shows the layers of an image one by one
    Layer {
        #[command(visible_alias = "ls")]
        List(List),
        Cat(Cat),
    }
}

/// lists the layers of an image
///
/// Prints the layers from the lowest, which has number 1: digest, size as stored, digest of the uncompressed tar, and the
/// step of the history that made it.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>]")]
pub struct List {
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: TableArgs,
}

#[derive(Serialize)]
struct Row<'a> {
    number: usize,
    descriptor: &'a Descriptor,
    diff_id: Option<&'a Digest>,
    history: Option<&'a History>,
}

impl List {
    fn run(self, ui: &Ui) -> Outcome {
        let (image, []) = self.image.get_word([])?;
        let image = image.find(&self.image.open(&image)?)?;
        let config = &image.config.value;
        // Steps that made no layer have none to stand beside.
        let mut steps = config.history.iter().filter(|step| !step.empty_layer);
        let mut rows = Vec::new();
        let mut table = Table::new(&["LAYER", "DIGEST", "SIZE", "DIFF ID", "CREATED BY"]);
        for (at, descriptor) in image.manifest.value.layers.iter().enumerate() {
            let row = Row {
                number: at + 1,
                descriptor,
                diff_id: config.rootfs.diff_ids.get(at),
                history: steps.next(),
            };
            table.row([
                row.number.to_string(),
                row.descriptor.digest.to_string(),
                human_size(row.descriptor.size),
                or_dash(row.diff_id),
                or_dash(row.history.map(|step| &step.created_by)),
            ]);
            rows.push(row);
        }
        self.output.show(&rows, table, ui)
    }
}

/// writes a layer to stdout
///
/// Writes the tar of a layer, which is checked against its digests; --compressed writes it as it is stored. Of the limits that
/// of layers and that of zstd windows hold here.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>] <number>|<digest>")]
pub struct Cat {
    #[command(flatten)]
    image: ImageArgs,
    /// write the layer as it is stored
    #[arg(long)]
    compressed: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

impl Cat {
    fn run(self, ui: &Ui) -> Outcome {
        let (image, [layer]) = self.image.get_word(["layer"])?;
        let name: LayerName = layer.parse()?;
        let limits = self.limits.get()?;
        let store = self.image.open(&image)?;
        let _reading = store.reading();
        let image = image.find(&store)?;
        let at = name.find(&image)?;
        let descriptor = &image.manifest.value.layers[at];
        // The store verifies stored bytes by their digest; of the tar below the diff_id is verified as well.
        if self.compressed {
            return ui.print_all(&mut store.open_blob(descriptor)?);
        }
        let digest = descriptor.digest;
        let layers = image.layers()?;
        let task: Arc<dyn Task> = Arc::from(ui.task("reading", Some(descriptor.size)));
        let mut stream = layers[at].open(&store, &limits, &task)?;
        let most = limits.layer_bytes.unwrap_or(u64::MAX);
        // One byte more than the limit tells a layer that is too large from one that just fits.
        ui.print_all(&mut stream.by_ref().take(most))?;
        if stream.read(&mut [0]).map_err(Error::from)? > 0 {
            let text = format!("layer {digest} is over the limit of {most} bytes (limit layer)");
            let err = Error::new(ErrorKind::Limit, text);
            return Err(err.with_fact(Fact::Limit("layer")).into());
        }
        let finished = layers[at].finish(stream);
        finished.context(|| format!("layer {digest}"))?;
        Ok(())
    }
}
