// SPDX-License-Identifier: Apache-2.0
//! `umoci raw runtime-config`

use std::path::Path;

use crate::bundle::{RuntimeOptions, resolv_conf, runtime_config};
use crate::fs::Root;
use crate::image::Image;
use crate::spec::json;

use super::super::args::{IdMapArgs, ImageArg, PlatformArg};
use super::super::failure::Outcome;
use super::super::ui::Ui;

/// generates an OCI runtime configuration for an image
///
/// Writes to <config> the configuration that umoci unpack would write. Names of users and groups need --rootfs.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] [--rootfs <rootfs>] <config>")]
pub struct RuntimeConfig {
    #[command(flatten)]
    image: ImageArg,
    #[command(flatten)]
    platform: PlatformArg,
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
        let platform = self.platform.get()?;
        let [file] = self.image.words(["config"])?;
        let id_map = self.id_map.get()?;
        let store = self.image.open(&image)?;
        let loaded = Image::find(&store, &image.target, platform.as_ref())?;
        let root = self
            .rootfs
            .as_ref()
            .map(|path| Root::open(path.as_ref()))
            .transpose()?;
        let root = root.map(|root| root.rootless(id_map.rootless));
        let name = self
            .rootfs
            .as_deref()
            .map(|path| match Path::new(path).file_name() {
                Some(name) => name.to_string_lossy().into_owned(),
                None => "/".to_owned(),
            });
        let options = RuntimeOptions {
            rootfs: root.as_ref(),
            root_path: name.unwrap_or_else(|| ".".to_owned()),
            id_map: &id_map,
            resolv_conf: resolv_conf(&id_map)?,
        };
        let digest = &loaded.manifest.value.config.digest;
        let config = runtime_config(&loaded.config.value, &options, ui)
            .map_err(|e| e.context(format!("generate config: config {digest}")))?;
        Ok(crate::fs::write_output(
            file.as_ref(),
            &json::to_pretty(&config)?,
        )?)
    }
}
