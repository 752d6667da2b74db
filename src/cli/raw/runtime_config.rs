// SPDX-License-Identifier: Apache-2.0
//! `umoci raw runtime-config`

use crate::bundle::runtime_config;
use crate::fs::Root;
use crate::spec::json;

use super::super::prelude::*;

/// generates an OCI runtime configuration for an image
///
/// Writes to <config> the configuration that umoci unpack would write. Names of users and groups need --rootfs.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] [--rootfs <rootfs>] <config>")]
pub struct RuntimeConfig {
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    id_map: IdMapArgs,
    /// root file system whose /etc/passwd and /etc/group are read
    #[arg(long)]
    rootfs: Option<String>,
}

impl RuntimeConfig {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let [file] = self.image.words(["config"])?;
        let id_map = self.id_map.get()?;
        let store = self.image.open(&image)?;
        let loaded = image.find(&store)?;
        let path = self.rootfs.as_deref().map(Path::new);
        let root = path.map(|path| Ok::<_, Error>(Root::open(path)?.rootless(id_map.rootless)));
        let root = root.transpose()?;
        // The path in a configuration is relative to the bundle, of which only the last part is known here.
        let root_path = path.map_or(".".as_ref(), |path| path.file_name().unwrap_or("/".as_ref()));
        let root_path = root_path.to_string_lossy();
        let digest = &loaded.manifest.value.config.digest;
        let config = runtime_config(&loaded.config.value, root.as_ref(), &root_path, &id_map, ui)
            .context(|| format!("generate config: config {digest}"))?;
        let text = json::to_pretty(&config)?;
        Ok(crate::fs::write_output(file.as_ref(), &text)?)
    }
}
