// SPDX-License-Identifier: Apache-2.0
//! `umoci config`

use crate::error::Result;
use crate::image::{Edit, change, time};
use crate::spec::{Annotations, ImageConfig, json};
use serde_json::{Map, Value};

use super::escape;
use super::prelude::*;

/// Word of --clear for the annotations of a layer.
const LAYER_ANNOTATIONS: &str = "layer.annotations";

/// A template larger than this is refused, in bytes.
const MAX_TEMPLATE: u64 = 4 << 20;

/// modifies the image configuration of an OCI image
///
/// Changes the configuration of an image and tags the result, with --tag as a new image, else in place of the old one.
/// What is not named stays as it is, fields that umoci does not know included. --clear is applied before all else.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] [--tag <new-tag>]")]
pub struct Config {
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    tag: TagArg,
    #[command(flatten)]
    history: HistoryArgs,
    /// user (and group) of the process
    #[arg(long = "config.user", help_heading = "container")]
    user: Option<String>,
    /// port that the container offers, such as 80/tcp; may be given more than once
    #[arg(long = "config.exposedports", help_heading = "container")]
    exposed_ports: Vec<String>,
    /// environment variable NAME=VALUE; may be given more than once
    #[arg(long = "config.env", help_heading = "container")]
    env: Vec<String>,
    /// word of the entrypoint; may be given more than once
    #[arg(long = "config.entrypoint", help_heading = "container")]
    entrypoint: Vec<String>,
    /// word of the command; may be given more than once
    #[arg(long = "config.cmd", help_heading = "container")]
    cmd: Vec<String>,
    /// path of a volume; may be given more than once
    #[arg(long = "config.volume", help_heading = "container")]
    volume: Vec<String>,
    /// label NAME=VALUE; may be given more than once
    #[arg(long = "config.label", help_heading = "container")]
    label: Vec<String>,
    /// working directory of the process
    #[arg(long = "config.workingdir", help_heading = "container")]
    workingdir: Option<String>,
    /// signal that stops the container
    #[arg(long = "config.stopsignal", help_heading = "container")]
    stopsignal: Option<String>,
    /// when the image was made (RFC 3339)
    #[arg(long = "created", help_heading = "image")]
    created: Option<String>,
    /// who made the image
    #[arg(long = "author", help_heading = "image")]
    author: Option<String>,
    /// operating system of the image
    #[arg(long = "platform.os", visible_alias = "os", help_heading = "image")]
    os: Option<String>,
    /// processor of the image
    #[arg(
        long = "platform.arch",
        visible_alias = "architecture",
        help_heading = "image"
    )]
    arch: Option<String>,
    /// variant of the processor
    #[arg(long = "platform.variant", help_heading = "image")]
    variant: Option<String>,
    /// annotation NAME=VALUE of the manifest; may be given more than once
    #[arg(long = "manifest.annotation", help_heading = "annotations")]
    annotation: Vec<String>,
    /// annotation NAME=VALUE of a layer, the topmost unless --layer says which; may be given more than once
    #[arg(long = "layer.annotation", help_heading = "annotations")]
    layer_annotation: Vec<String>,
    /// layer that --layer.annotation is about: its number from 1, the lowest, or its digest
    #[arg(long, value_name = "number|digest", help_heading = "annotations")]
    layer: Option<LayerName>,
    /// field to empty first: config.labels, manifest.annotations, layer.annotations, config.exposedports, config.env,
    /// config.volume, config.cmd, config.entrypoint; may be given more than once
    #[arg(long = "clear")]
    clear: Vec<String>,
    /// configuration document to start from, '-' for stdin; layers and history stay those of the image
    #[arg(long = "from-file", value_name = "file")]
    from_file: Option<String>,
    /// print the new configuration and write nothing
    #[arg(long = "dry-run")]
    dry_run: bool,
}

impl Config {
    /// Runs the command.
    pub fn run(mut self, ui: &Ui) -> Outcome {
        let image = self.change.image.get()?;
        let tag = self.tag.get(&image)?;
        let [] = self.change.image.words([])?;
        let template = self.from_file.as_deref().map(template).transpose()?;
        if let Some(created) = &mut self.created {
            *created = time::parse(created).context(|| "parse --created")?;
        }
        // All words are checked by now, and stdin is read: the edit is made again if another process changes the tag meanwhile.
        let (store, result) = self.change.open(&image, &tag)?;
        if self.dry_run {
            let base = image.find(&store)?;
            let config = self.edit(&base, template.as_ref())?.config;
            return ui.print(escape::json(&json::to_pretty(&config)?));
        }
        let mut txn = store.begin("config")?;
        let platform = image.platform.as_ref();
        let template = template.as_ref();
        let walk = change(&mut txn, &image.target, platform, &tag, |_, base| {
            self.edit(base, template)
        })?;
        if let (Some(first), Some(last)) = (walk.first(), walk.last()) {
            let (first, last) = (&first.digest, &last.digest);
            ui.info(format_args!("new image manifest created: {first}->{last}"));
            ui.info(format_args!("created new tag for image manifest: {tag}"));
        }
        result.say_walk(&walk, ui)
    }

    /// Returns the image as the options change it.
    fn edit(&self, base: &Image, template: Option<&Map<String, Value>>) -> Outcome<Edit> {
        let mut edit = Edit::new(base);
        if let Some(template) = template {
            edit.config = apply_template(template.clone(), &edit.config)?;
            self.check_platform(&edit.config)?;
        }
        let layer = self.layer(base)?;
        // In this order one call can empty a list and fill it anew.
        self.clear(&mut edit, layer)?;
        self.set(&mut edit, layer)?;
        let history = self.history.get("umoci config", &edit.config.author)?;
        edit.manifest.media_type = MediaType::MANIFEST.into();
        edit.add_empty_history(history);
        Ok(edit)
    }

    /// Returns where the layer is that --layer names, else the topmost; `None` if there is no layer.
    fn layer(&self, base: &Image) -> Outcome<Option<usize>> {
        let is_cleared = self.clear.iter().any(|word| word == LAYER_ANNOTATIONS);
        let is_used = is_cleared || !self.layer_annotation.is_empty();
        match &self.layer {
            Some(_) if !is_used => {
                refuse!("--layer goes with --layer.annotation or --clear=layer.annotations")
            }
            Some(name) => Ok(Some(name.find(base)?)),
            None => Ok(base.manifest.value.layers.len().checked_sub(1)),
        }
    }

    /// Refuses a document that names no platform, unless options name it: it is no configuration of an image.
    fn check_platform(&self, config: &ImageConfig) -> Outcome {
        for (field, value, option) in [
            ("os", &config.os, &self.os),
            ("architecture", &config.architecture, &self.arch),
        ] {
            if value.is_empty() && option.is_none() {
                let file = self.from_file.as_deref().unwrap_or_default();
                refuse!(
                    "--from-file {file}: the document has no {field:?}: add it, or give --platform.os and --platform.arch"
                );
            }
        }
        Ok(())
    }

    /// Empties the fields that --clear names.
    fn clear(&self, edit: &mut Edit, layer: Option<usize>) -> Outcome {
        let config = &mut edit.config.config;
        let layer = layer.and_then(|at| edit.manifest.layers.get_mut(at));
        let mut of_layer = layer.map(|layer| &mut layer.annotations);
        for key in slice(&self.clear) {
            match key.as_str() {
                "config.labels" => config.labels.clear(),
                LAYER_ANNOTATIONS => of_layer.iter_mut().for_each(|all| all.clear()),
                "manifest.annotations" => edit.manifest.annotations.clear(),
                "config.exposedports" => config.exposed_ports.clear(),
                "config.env" => config.env.clear(),
                "config.volume" => config.volumes.clear(),
                "config.cmd" => config.cmd.clear(),
                "config.entrypoint" => config.entrypoint.clear(),
                // The Go tool knows this word, and refuses it in the same way.
                "rootfs.diffids" => refuse!("--clear=rootfs.diffids is not safe"),
                other => refuse!("unknown key to --clear: {other}"),
            }
        }
        Ok(())
    }

    /// Sets all that options give a value.
    fn set(&self, edit: &mut Edit, layer: Option<usize>) -> Outcome {
        let image = &mut edit.config;
        replace([
            (&mut image.config.user, &self.user),
            (&mut image.config.working_dir, &self.workingdir),
            (&mut image.config.stop_signal, &self.stopsignal),
            (&mut image.author, &self.author),
            (&mut image.os, &self.os),
            (&mut image.architecture, &self.arch),
            (&mut image.variant, &self.variant),
        ]);
        if self.created.is_some() {
            image.created.clone_from(&self.created);
        }
        for (set, names) in [
            (&mut image.config.exposed_ports, &self.exposed_ports),
            (&mut image.config.volumes, &self.volume),
        ] {
            for name in slice(names) {
                set.entry(name).or_default();
            }
        }
        for (list, words) in [
            (&mut image.config.entrypoint, &self.entrypoint),
            (&mut image.config.cmd, &self.cmd),
        ] {
            // A command is replaced as a whole: single words of it mean nothing.
            if !words.is_empty() {
                *list = slice(words);
            }
        }
        for entry in slice(&self.env) {
            let (name, _) = pair("config.env", &entry, true)?;
            let prefix = format!("{name}=");
            // A variable that is there keeps its place, so that nothing else in the document moves.
            match image.config.env.iter_mut().find(|old| old.starts_with(&prefix)) {
                Some(old) => old.clone_from(&entry),
                None => image.config.env.push(entry),
            }
        }
        insert_pairs(&mut image.config.labels, "config.label", &self.label, true)?;
        let annotations = &mut edit.manifest.annotations;
        insert_pairs(annotations, "manifest.annotation", &self.annotation, false)?;
        match layer.and_then(|at| edit.manifest.layers.get_mut(at)) {
            Some(layer) => {
                let annotations = &mut layer.annotations;
                insert_pairs(annotations, "layer.annotation", &self.layer_annotation, true)
            }
            None if self.layer_annotation.is_empty() => Ok(()),
            None => refuse!("the image has no layer"),
        }
    }
}

/// Returns the words of an option that may be repeated. As ever, the first empty word is dropped unless it is the only one.
fn slice(words: &[String]) -> Vec<String> {
    let mut out = words.to_vec();
    if out.len() > 1
        && let Some(at) = out.iter().position(String::is_empty)
    {
        out.remove(at);
    }
    out
}

/// Sets the entries of a map for which an option has words.
fn insert_pairs(map: &mut Annotations, option: &str, words: &[String], named: bool) -> Outcome {
    for entry in slice(words) {
        let (name, value) = pair(option, &entry, named)?;
        map.insert(name.to_owned(), value.to_owned());
    }
    Ok(())
}

/// Splits `NAME=VALUE`, where only some options take an empty name.
fn pair<'a>(option: &str, entry: &'a str, named: bool) -> Outcome<(&'a str, &'a str)> {
    match entry.split_once('=') {
        None => refuse!("{option}: must contain '=': {entry}"),
        Some(("", _)) if named => refuse!("{option}: must have non-empty name: {entry}"),
        Some(pair) => Ok(pair),
    }
}

/// Reads the document that --from-file names.
fn template(file: &str) -> Result<Map<String, Value>> {
    let bytes = match file {
        "-" => crate::fs::read_to_end(std::io::stdin(), file.as_ref(), MAX_TEMPLATE)?,
        path => crate::fs::read_file(path.as_ref(), MAX_TEMPLATE)?,
    };
    json::parse(&bytes).context(|| format!("--from-file {file}"))
}

/// Returns the template, with the layers and the history of the image.
fn apply_template(mut template: Map<String, Value>, image: &ImageConfig) -> Result<ImageConfig> {
    // Layers and history belong together, and are facts of the image.
    template.remove("history");
    template.remove("rootfs");
    let mut config: ImageConfig = json::parse(&json::to_bytes(&template)?).context(|| "--from-file")?;
    config.rootfs.clone_from(&image.rootfs);
    config.history.clone_from(&image.history);
    Ok(config)
}
