// SPDX-License-Identifier: Apache-2.0
//! `umoci raw runtime-config`

use std::path::Path;

use umoci::bundle::{RuntimeOptions, resolv_conf, runtime_config};
use umoci::fs::Root;
use umoci::image::Image;
use umoci::spec::json;

use super::super::args::{IdMapArgs, ImageArg, PlatformArg, positionals};
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
    #[arg(long, value_name = "value")]
    rootfs: Option<String>,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl RuntimeConfig {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let platform = self.platform.get()?;
        let [file] = positionals(&self.rest, ["config"])?;
        let id_map = self.id_map.get()?;
        let store = self.image.open(&image)?;
        let loaded = Image::find(&store, &image.target, platform.as_ref())?;
        let root = match &self.rootfs {
            Some(path) => Some(Root::open(path.as_ref())?.rootless(id_map.rootless)),
            None => None,
        };
        let name = self.rootfs.as_deref().map(|p| {
            Path::new(p)
                .file_name()
                .map_or("/".into(), |n| n.to_string_lossy())
        });
        let options = RuntimeOptions {
            rootfs: root.as_ref(),
            root_path: name.map_or_else(|| ".".to_owned(), std::borrow::Cow::into_owned),
            id_map: &id_map,
            resolv_conf: if id_map.rootless { resolv_conf()? } else { None },
        };
        let digest = &loaded.manifest.value.config.digest;
        let config = runtime_config(&loaded.config.value, &options, ui)
            .map_err(|e| e.context(format!("generate config: config {digest}")))?;
        umoci::fs::write_file(file.as_ref(), &json::to_pretty(&config)?)?;
        Ok(())
    }
}
