// SPDX-License-Identifier: Apache-2.0
//! `umoci stat`: an image's manifest, config and history as text or JSON.

use std::fmt::Write as _;

use crate::image::{ImageStat, IndexStat, Stat as Found, stat};
use crate::mtree::quoted;
use crate::spec::{ImageConfig, Manifest};
use base64::Engine as _;

use super::prelude::*;
use super::registry::remote as in_registry;

/// displays status information of an image manifest
///
/// Prints manifest, configuration and history of an image with the size and digest of each layer, or the platforms of
/// an image index. No layer is read. --image takes a digest as well: path@sha256:... An image that stays in its registry is
/// docker://<name> in place of --image.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--image <image-path>[:<tag>]",
    mut_arg("platform", |arg| arg.help("only the image of an index for this platform, such as linux/arm64 (default: all)")),
)]
pub struct Stat {
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    output: TableArgs,
    /// print the manifest of an image in a registry, byte for byte
    #[arg(long, help_heading = "registry")]
    raw: bool,
    #[command(flatten)]
    remotes: RemotesArg,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Stat {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let found = match self.image.remote(&self.remotes, ui)? {
            Some((image, platform)) if self.raw => {
                return in_registry::print_raw(&image, platform, &self.registry, ui);
            }
            Some((image, platform)) => in_registry::describe(&image, platform, &self.registry, ui)?,
            None if self.raw => refuse!("--raw is for an image in a registry: docker://<name>"),
            None => self.find()?,
        };
        let (page, table) = match &found {
            Found::Image(image) => image_text(image),
            Found::Index(index) => index_text(index),
        };
        // The table alone is cut to the terminal: lines of the text are whole, since people copy digests from them.
        let table = table.map(|table| self.output.fit(table, ui).to_string());
        ui.show(self.output.json, &found, page.text + &table.unwrap_or_default())
    }

    /// Looks at an image of a layout.
    fn find(&self) -> Outcome<Found> {
        let image = self.image.get()?;
        let [] = self.image.words([])?;
        let store = self.image.open(&image)?;
        Ok(stat(&store, &image.target, image.platform.as_ref())?)
    }
}

/// Text that grows line by line, each indented by tabs.
#[derive(Default)]
struct Page {
    text: String,
    depth: usize,
}

impl Page {
    fn line(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.text, "{:\t<depth$}{}", "", text.as_ref(), depth = self.depth);
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.line(format!("{key}: {}", quote(value, true)));
    }

    fn pair_if_any(&mut self, key: &str, value: impl AsRef<str>) {
        if !value.as_ref().is_empty() {
            self.pair(key, value.as_ref());
        }
    }

    /// Writes values in one line, if there are any.
    fn joined<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a String>) {
        let values: Vec<String> = values.map(|value| quote(value, true)).collect();
        if !values.is_empty() {
            self.line(format!("{key}: {}", values.join(", ")));
        }
    }

    fn block(&mut self, key: &str, body: impl FnOnce(&mut Self)) {
        self.line(format!("{key}:"));
        self.indented(body);
    }

    fn indented(&mut self, body: impl FnOnce(&mut Self)) {
        self.depth += 1;
        body(self);
        self.depth -= 1;
    }

    /// Writes values one a line, if there are any.
    fn list(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let mut values = values.peekable();
        if values.peek().is_some() {
            self.block(key, |page| values.for_each(|value| page.line(value)));
        }
    }

    fn words(&mut self, key: &str, words: &[String]) {
        self.list(key, words.iter().map(|word| quote(word, false)));
    }

    fn map<'a>(&mut self, key: &str, map: impl IntoIterator<Item = (&'a String, &'a String)>) {
        let pairs = map.into_iter();
        let lines = pairs.map(|(name, value)| format!("{}: {}", quote(name, false), quote(value, false)));
        self.list(key, lines);
    }
}

/// Returns a value in the quotes of Go if it needs them; with `commas`, for a line of several values, also if it has one.
fn quote(text: &str, commas: bool) -> String {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || commas && c == ',') {
        return quoted(text.as_bytes());
    }
    cell(text)
}

/// Returns the text of an image, and the table behind it.
fn image_text(stat: &ImageStat) -> (Page, Option<Table>) {
    let mut page = Page::default();
    page.line("== MANIFEST ==");
    manifest_text(&mut page, &stat.parsed_manifest);
    descriptor_text(&mut page, &stat.manifest.descriptor);
    if let Some(config) = &stat.config {
        page.line("\n== CONFIG ==");
        if let Some(parsed) = &stat.parsed_config {
            config_text(&mut page, parsed);
        }
        descriptor_text(&mut page, &config.descriptor);
    }
    let Some(history) = &stat.history else {
        return (page, None);
    };
    page.line("\n== HISTORY ==");
    let mut table = Table::new(&["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    for step in history {
        let layer = step.layer.as_ref();
        table.row([
            layer.map_or("<none>".to_owned(), |l| l.digest.to_string()),
            cell(step.entry.created.as_deref().unwrap_or_default()),
            cell(&step.entry.created_by),
            layer.map_or("<none>".to_owned(), |l| human_size(l.size)),
            cell(&step.entry.comment),
        ]);
    }
    (page, Some(table))
}

/// Returns a text as a table has it: quoted where it may not be printed as it is.
fn cell(text: &str) -> String {
    let quoted = quoted(text.as_bytes());
    // Each escape is longer than its character.
    if quoted.len() == text.len() + 2 {
        return text.to_owned();
    }
    quoted
}

fn manifest_text(page: &mut Page, manifest: &Manifest) {
    page.line(format!("Schema Version: {}", manifest.schema_version));
    page.pair("Media Type", manifest.media_type.as_str());
    page.pair_if_any("Artifact Type", manifest.artifact_type.as_deref().unwrap_or(""));
    page.block("Config", |page| descriptor_text(page, &manifest.config));
    if !manifest.layers.is_empty() {
        page.block("Layers", |page| {
            let layers = manifest.layers.iter();
            layers.for_each(|layer| descriptor_text(page, layer));
        });
    }
    if let Some(subject) = &manifest.subject {
        page.block("Subject", |page| descriptor_text(page, subject));
    }
    page.map("Annotations", &manifest.annotations);
}

fn descriptor_text(page: &mut Page, descriptor: &Descriptor) {
    page.block("Descriptor", |page| {
        page.pair("Media Type", descriptor.media_type.as_str());
        page.pair_if_any("Artifact Type", descriptor.artifact_type.as_deref().unwrap_or(""));
        page.line(format!("Digest: {}", descriptor.digest));
        page.line(format!("Size: {}", human_size(descriptor.size)));
        if let Some(platform) = &descriptor.platform {
            platform_text(page, platform);
        }
        page.words("URLs", &descriptor.urls);
        page.map("Annotations", &descriptor.annotations);
        if let Some(data) = &descriptor.data {
            // The data is a claim of the document; the blob itself may differ, and is not asked here.
            match base64::engine::general_purpose::STANDARD.decode(data) {
                Ok(bytes) => {
                    page.line(format!("Data: ({} bytes)", bytes.len()));
                    page.indented(|page| hex_dump(page, &bytes));
                }
                Err(_) => page.line("Data: (not base64)"),
            }
        }
    });
}

/// Writes the first 256 bytes in hex and as text.
fn hex_dump(page: &mut Page, bytes: &[u8]) {
    const SHOWN: usize = 256;
    for (at, line) in bytes[..bytes.len().min(SHOWN)].chunks(16).enumerate() {
        let groups: Vec<String> = line.chunks(2).map(crate::digest::hex).collect();
        // Go prints a byte as the character of Latin-1; 0xad is the soft hyphen there, which has no width.
        let shown = line.iter().map(|&byte| match byte {
            0x20..=0x7e | 0xa1..=0xac | 0xae.. => char::from(byte),
            _ => '.',
        });
        let text: String = shown.collect();
        page.line(format!("{:04x}: {:39}  {text}", at * 16, groups.join(" ")));
    }
    if bytes.len() > SHOWN {
        page.line(format!("....  (extra {} bytes omitted)", bytes.len() - SHOWN));
    }
}

fn platform_text(page: &mut Page, platform: &Platform) {
    page.block("Platform", |page| {
        page.pair("OS", &platform.os);
        page.pair_if_any("OS Version", &platform.os_version);
        page.joined("OS Features", platform.os_features.iter());
        let architecture = quote(&platform.architecture, true);
        let mut line = format!("Architecture: {architecture}");
        if !platform.variant.is_empty() {
            let _ = write!(line, " ({})", quote(&platform.variant, true));
        }
        page.line(line);
    });
}

fn config_text(page: &mut Page, image: &ImageConfig) {
    if let Some(created) = &image.created {
        page.pair("Created", created);
    }
    page.pair("Author", &image.author);
    platform_text(page, &image.platform());
    let config = &image.config;
    let escaped = if config.args_escaped { " (escaped)" } else { "" };
    page.block("Image Config", |page| {
        page.pair("User", &config.user);
        page.words(&format!("Entrypoint{escaped}"), &config.entrypoint);
        // The Go tool tells of an empty command, and of no other list that is empty.
        if config.cmd.is_empty() {
            page.line(format!("Command{escaped}: (empty)"));
        }
        page.words(&format!("Command{escaped}"), &config.cmd);
        page.pair_if_any("Working Directory", &config.working_dir);
        page.words("Environment", &config.env);
        page.pair_if_any("Stop Signal", &config.stop_signal);
        page.joined("Exposed Ports", config.exposed_ports.keys());
        page.joined("Volumes", config.volumes.keys());
        page.map("Labels", &config.labels);
    });
}

fn index_text(stat: &IndexStat) -> (Page, Option<Table>) {
    let mut page = Page::default();
    if let Some(index) = &stat.index {
        page.line("== INDEX ==");
        descriptor_text(&mut page, &index.descriptor);
        page.line("");
    }
    page.line("== MANIFESTS ==");
    let mut table = Table::new(&["DIGEST", "MEDIA TYPE", "PLATFORM", "SIZE"]);
    for entry in &stat.manifests {
        table.row([
            entry.digest.to_string(),
            one_line(&entry.media_type),
            or_dash(entry.platform.as_ref()),
            entry.size.map_or_else(|| "<missing>".to_owned(), human_size),
        ]);
    }
    (page, Some(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_go_quotes_them() {
        for (text, want) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("ESCAPED=a\tb\nc\u{b}d\re", "\"ESCAPED=a\\tb\\nc\\vd\\re\""),
            ("a,b", "\"a,b\""),
            ("\u{1}é\u{200b}", "\"\\x01é\\u200b\""),
        ] {
            assert_eq!(quote(text, true), want);
        }
        assert_eq!(quote("a,b", false), "a,b");
    }

    #[test]
    fn embedded_data_is_dumped_in_hex() {
        let mut page = Page::default();
        hex_dump(&mut page, b"{}\n");
        assert_eq!(page.text, "0000: 7b7d 0a                                  {}.\n");
    }
}
