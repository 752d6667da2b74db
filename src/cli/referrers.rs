// SPDX-License-Identifier: Apache-2.0
//! `umoci referrers`

use super::attach::subject;
use super::prelude::*;

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
    /// path to an OCI layout
    #[arg(long, value_parser = layout_path)]
    layout: Option<PathBuf>,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    platform: PlatformArg,
    /// only those of this artifact type
    #[arg(long = "artifact-type", value_name = "type")]
    artifact_type: Option<String>,
    #[command(flatten)]
    output: TableArgs,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Referrers {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [word] = positionals(&self.rest, ["image"])?;
        let (store, digest) = if let Some(path) = &self.layout {
            let store = self.lock.open(path)?;
            // The subject of a referrer need not be there.
            let digest = word.parse().or_else(|_| blob(&store, word))?;
            (store, digest)
        } else {
            let image = self.platform.of_word(word)?;
            let store = self.lock.open(&image.layout)?;
            let digest = subject(&store, &image)?.digest;
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
        // A registry answers with the same document (distribution-spec, referrers), so one reader serves both.
        let json = json!({ "schemaVersion": 2, "mediaType": MediaType::INDEX, "manifests": found });
        self.output.show(&json, table, ui)
    }
}
