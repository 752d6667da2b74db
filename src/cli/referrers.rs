// SPDX-License-Identifier: Apache-2.0
//! `umoci referrers`

use crate::spec::MediaType;
use serde_json::json;

use super::args::{ImageRef, LayoutArg, PlatformArg, WholeArg, blob, positionals};
use super::attach::subject;
use super::failure::Outcome;
use super::table::{Table, human_size, or_dash};
use super::ui::Ui;

/// lists what is about an image: signatures, SBOMs and the like
///
/// Prints the manifests whose subject is an image or image index, or the blob with <digest>, which may be cut to 7 or more hex
/// digits, by type. With --json the list is an image index, as a registry answers.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "<image-path>[:<tag>] | --layout <image-path> <digest>",
    mut_arg("platform", |arg| arg.help("image of an index that they are about, such as linux/arm64 (default: the index itself)")),
)]
pub struct Referrers {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    platform: PlatformArg,
    /// only those of this artifact type
    #[arg(long = "artifact-type", value_name = "type")]
    artifact_type: Option<String>,
    /// print an image index
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whole: WholeArg,
}

impl Referrers {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let platform = self.platform.get()?;
        let [word] = positionals(&self.layout.rest, ["image"])?;
        let (store, digest) = if self.layout.is_given() {
            let store = self.layout.open()?;
            // The subject of a referrer need not be there.
            let digest = word.parse().or_else(|_| blob(&store, word))?;
            (store, digest)
        } else {
            let image = ImageRef::parse(word, "image")?;
            let store = self.layout.open_at(&image.layout)?;
            let digest = subject(&store, &image, platform.as_ref())?.digest;
            (store, digest)
        };
        let mut found = store.referrers(&digest)?;
        if let Some(wanted) = &self.artifact_type {
            found.retain(|d| d.artifact_type.as_ref() == Some(wanted));
        }
        let mut table = Table::new(&["DIGEST", "SIZE", "ARTIFACT TYPE"]);
        for descriptor in &found {
            table.row([
                descriptor.digest.to_string(),
                human_size(descriptor.size),
                or_dash(descriptor.artifact_type.as_ref()),
            ]);
        }
        let json = json!({ "schemaVersion": 2, "mediaType": MediaType::INDEX, "manifests": found });
        ui.show(self.json, &json, self.whole.fit(table, ui))
    }
}
