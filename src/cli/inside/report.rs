// SPDX-License-Identifier: Apache-2.0
//! `umoci report`

use std::io::Write as _;

use crate::fs::PendingFile;
use crate::inside::{OtherImage, Report, ReportImage};

use super::super::prelude::*;
use super::view_args::{ViewArgs, end_of};

/// writes a page that shows images
///
/// Writes one file of HTML that a browser opens without a server and that makes no request: the tree as a picture of sizes, the
/// layers, the bytes that later layers hide, the difference of two images, and the layers that images share; each also as a table,
/// and all of it by the keyboard (the key ? tells how). With --layout the page shows besides which layers all images of a layout
/// share. The same images give the same bytes.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>][~<n>]... [--layout <image-path>] -o <file>")]
pub struct ReportPage {
    /// file to write, '-' for stdout
    #[arg(long = "output", short = 'o', value_name = "file")]
    output: String,
    /// path to an OCI layout, whose images are shown by the layers that they share
    #[arg(long = "layout", value_parser = layout_path)]
    layout: Option<PathBuf>,
    #[command(flatten)]
    view: ViewArgs,
}

impl ReportPage {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        if self.view.rest.is_empty() && self.layout.is_none() {
            return Err(Failure::Missing("the image".to_owned()));
        }
        let mut opened = Vec::new();
        for word in &self.view.rest {
            opened.push((word, self.view.open_image(word, ui)?));
        }
        let mut report = Report::default();
        for (word, (store, image, contents)) in &opened {
            report.images.push(ReportImage {
                name: (*word).clone(),
                digest: image.descriptor().digest,
                platform: store
                    .platform(image.descriptor())
                    .map_or_else(String::new, |platform| platform.to_string()),
                contents,
            });
        }
        let mut unseen = None;
        if let Some(layout) = &self.layout {
            let store = self.view.lock.open(layout)?;
            let _reading = store.reading();
            // An image without upper layers stands beside the whole one.
            let whole = opened.iter().filter(|(_, (_, image, contents))| {
                contents.layers.len() == image.manifest.value.layers.len()
            });
            let shown: Vec<Digest> = whole
                .map(|(_, (_, image, _))| image.descriptor().digest)
                .collect();
            let (others, failed) = OtherImage::all(&store, &shown)?;
            (report.others, unseen) = (others, failed);
        }
        if self.output == "-" {
            let mut page = Vec::new();
            report.write(&mut page)?;
            ui.print(page)?;
        } else {
            let mut file = PendingFile::output(Path::new(&self.output))?;
            report.write(&mut file)?;
            file.flush().map_err(Error::from)?;
            file.commit()?;
        }
        for (_, (_, _, contents)) in &opened {
            end_of(contents)?;
        }
        unseen.map_or(Ok(()), |(name, err)| {
            let what = format!("the answer is without {}", one_line(&name));
            Err(err.context(what).into())
        })
    }
}
