// SPDX-License-Identifier: Apache-2.0
//! `umoci which`

use std::collections::HashSet;

use crate::digest::{Algorithm, DigestWriter};
use crate::inside::{Found, Wanted, Whole};
use crate::layer::file_digest;

use super::super::prelude::*;
use super::json::{self, put_path};
use super::quote::quoted;
use super::view_args::tree_path;

/// shows which images of a layout have a path or a content
///
/// Prints for each tag that has it: the tag, the number of the layer that brought it, the digest of the content, and the path, with a tab
/// between. The operand is a path of images, the digest of a content (sha256:…), or a file of the host behind @, which is hashed. Layers
/// without a table of contents are read first, and the table is kept. The code is 1 if nothing has it.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<path>|<digest>|@<file> --layout <directory>")]
pub struct Which {
    #[command(flatten)]
    layout: LayoutArg,
    /// print the tags of the images that do not have it, one a line
    #[arg(long)]
    absent: bool,
    /// print an object of JSON for each place, one a line
    #[arg(long)]
    json: bool,
}

impl Which {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (store, [word]) = self.layout.open_words(["the path, digest or @file"])?;
        let wanted = wanted(word)?;
        let _reading = store.reading();
        let mut whole = Whole::of(&store)?;
        let found = whole.which(&store, &wanted, ui)?;
        let mut out = Vec::new();
        if self.absent {
            let have: HashSet<usize> = found.iter().map(|place| place.image).collect();
            let absent = whole
                .images
                .iter()
                .enumerate()
                .filter(|(at, _)| !have.contains(at));
            for (image, name) in
                absent.flat_map(|(_, image)| image.names.iter().map(move |name| (image, name)))
            {
                if self.json {
                    let mut line = json::line();
                    line.insert("image".to_owned(), name.as_str().into());
                    line.insert("manifest".to_owned(), image.digest.to_string().into());
                    json::put_line(&mut out, line);
                } else {
                    out.extend_from_slice(format!("{}\n", one_line(name)).as_bytes());
                }
            }
        } else {
            for place in &found {
                self.put(&mut out, &whole, place);
            }
        }
        let is_found = !out.is_empty();
        ui.print(out)?;
        if let Some((name, err)) = whole.unseen.first() {
            let more = whole.unseen.len() - 1;
            let others = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let text = format!("the answer is without {}{others}: {err}", one_line(name));
            return Err(Error::new(err.kind(), text).into());
        }
        if is_found { Ok(()) } else { Err(Failure::Found(1)) }
    }

    fn put(&self, out: &mut Vec<u8>, whole: &Whole, place: &Found) {
        let image = &whole.images[place.image];
        let digest = place.digest.as_ref().and_then(json::digest);
        for name in &image.names {
            if self.json {
                let mut line = json::line();
                line.insert("image".to_owned(), name.as_str().into());
                line.insert("manifest".to_owned(), image.digest.to_string().into());
                put_path(&mut line, "path", &place.path);
                line.insert("type".to_owned(), place.kind.into());
                line.insert("size".to_owned(), place.size.into());
                line.insert("layer".to_owned(), (place.layer + 1).into());
                line.insert("blob".to_owned(), place.blob.to_string().into());
                if let Some(digest) = &digest {
                    line.insert("digest".to_owned(), digest.as_str().into());
                }
                json::put_line(out, line);
            } else {
                let (layer, content) = (place.layer + 1, digest.as_deref().unwrap_or(place.kind));
                let line = format!(
                    "{}\t{layer}\t{content}\t{}\n",
                    one_line(name),
                    quoted(&place.path)
                );
                out.extend_from_slice(line.as_bytes());
            }
        }
    }
}

/// Reads the operand.
fn wanted(word: &str) -> Outcome<Wanted> {
    if let Some(file) = word.strip_prefix('@') {
        let mut content =
            std::fs::File::open(file).map_err(|err| Error::from(err).context(format!("open {file}")))?;
        let mut hashed = DigestWriter::new(std::io::sink(), Algorithm::Sha256);
        std::io::copy(&mut content, &mut hashed)
            .map_err(|err| Error::from(err).context(format!("read {file}")))?;
        return Ok(Wanted::Content(file_digest(&hashed.finish().1)));
    }
    match word.parse::<Digest>() {
        Ok(digest) if digest.algorithm() == Algorithm::Sha256 => Ok(Wanted::Content(file_digest(&digest))),
        Ok(_) => refuse!("invalid digest: {word}: contents are known by their sha256 alone"),
        Err(why) if word.starts_with("sha256:") => Err(invalid("digest")(why)),
        Err(_) => Ok(Wanted::Path(tree_path(word)?)),
    }
}
