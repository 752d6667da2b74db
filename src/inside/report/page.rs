// SPDX-License-Identifier: Apache-2.0
//! The page of a report: markup, style and script in one text, with the data in it.

use std::fmt::Write as _;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Report, ReportImage};
use crate::digest::Digest;
use crate::error::Result;
use crate::inside::contents::Item;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = concat!(include_str!("page/base.css"), include_str!("page/views.css"));
const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("page/text.js"),
    include_str!("page/data.js"),
    include_str!("page/model.js"),
    include_str!("page/state.js"),
    include_str!("page/board.js"),
    include_str!("page/table.js"),
    include_str!("page/treemap.js"),
    include_str!("page/views.js"),
    include_str!("page/store.js"),
    include_str!("page/app.js"),
    "})();\n",
);

/// Maximum number of paths in the table that stands in the markup.
const MAX_LARGEST: usize = 100;

/// Writes the page with `data`, which is compressed.
pub fn write(report: &Report<'_>, data: &[u8], out: &mut dyn Write) -> Result<()> {
    let mut rest = PAGE;
    while let Some((before, found)) = rest.split_once("<!--@") {
        out.write_all(before.as_bytes())?;
        let (name, after) = found.split_once("-->").unwrap_or((found, ""));
        let text = match name {
            "policy" => policy(),
            "title" => title(report),
            "style" => STYLE.to_owned(),
            "largest" => largest(report),
            "data" => STANDARD.encode(data),
            _ => SCRIPT.to_owned(),
        };
        out.write_all(text.as_bytes())?;
        rest = after;
    }
    out.write_all(rest.as_bytes())?;
    Ok(())
}

/// Returns the rule by which a browser runs this script, applies this style and makes no request.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Digest::sha256(text.as_bytes()).as_bytes());
    format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
         img-src data:; base-uri 'none'; form-action 'none'\">",
        hash(SCRIPT),
        hash(STYLE)
    )
}

fn title(report: &Report<'_>) -> String {
    let names: Vec<String> = report
        .images
        .iter()
        .take(3)
        .map(|image| escape(image.name.as_bytes()))
        .collect();
    match report.images.len() {
        0 => "Layers of a layout".to_owned(),
        1..=3 => names.join(", "),
        count => format!("{} and {} other images", names[0], count - 1),
    }
}

/// Returns the table of the largest paths, which is there without scripts and on paper.
fn largest(report: &Report<'_>) -> String {
    let mut paths: Vec<(u64, &ReportImage<'_>, &Item)> = Vec::new();
    for image in &report.images {
        let sized = image
            .contents
            .tree()
            .map(|item| (image.contents.size_of(item), image, item));
        paths.extend(sized.filter(|(size, ..)| *size > 0));
        paths.sort_by(|a, b| (b.0, &a.1.name, &a.2.path).cmp(&(a.0, &b.1.name, &b.2.path)));
        paths.truncate(MAX_LARGEST);
    }
    let mut out = String::new();
    for (size, image, item) in paths {
        let (packed, layer) = (image.contents.packed(item), item.layer + 1);
        let (name, path) = (escape(image.name.as_bytes()), escape(item.path.as_bytes()));
        let _ = writeln!(
            out,
            "<tr><td><bdi>{path}</bdi><td class=n>{size}<td class=n>{packed}<td class=n>{layer}<td><bdi>{name}</bdi>"
        );
    }
    out
}

/// Returns text that is safe between tags and in quotes: characters of markup as entities, control characters and those that turn the
/// direction of text as `\u{…}`, bytes that are no UTF-8 as `\x…`.
pub fn escape(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                c if is_hidden(c) => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Returns whether a character has no shape of its own, or changes the direction of the text around it. The page has the same list.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}
