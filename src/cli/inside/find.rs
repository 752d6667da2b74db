// SPDX-License-Identifier: Apache-2.0
//! `umoci find`

use std::io::Read as _;

use crate::bundle::look_up;
use crate::inside::read_items;

use super::super::prelude::*;
use super::expression::{Facts, is_expression, parse};
use super::json::{self, put_item, put_path};
use super::ls_files::long_line;
use super::quote::quoted;
use super::view_args::{SinceArg, ViewArgs, Viewed, tree_path};

/// Maximum size of a list of users or groups that is read, in bytes.
const MAX_LIST: u64 = 16 << 20;

/// finds files of an image by an expression
///
/// Prints the paths for which an expression of find(1) is true, of all or of those at and below the paths: -name, -iname, -path, -ipath
/// PATTERN; -type f,d,l,c,b,p; -size [+-]N[cwbkMG]; -perm MODE, -MODE (all of the bits), /MODE (any); -user, -group NAME, as the
/// image has it; -uid, -gid, -links, -layer [+-]N; -newer PATH of the image; -newermt DATE; -mtime [+-]DAYS; -mmin [+-]MINUTES; -xattr
/// PATTERN; -sha256 DIGEST; -empty. Operators are ! or -not, -a or nothing, -o, and parentheses, which a shell wants quoted. One dash or
/// two are the same. Links are not followed.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>][~<n>] [<path>...] [<expression>]")]
pub struct Find {
    /// print names as they are, with a NUL behind each
    #[arg(long = "print0", short = 'z')]
    nul: bool,
    /// print type, mode, owner, size, time and layer of each path
    #[arg(long = "ls", short = 'l')]
    long: bool,
    /// print an object of JSON for each path, one a line
    #[arg(long)]
    json: bool,
    /// print paths, as without it
    #[arg(long, hide = true)]
    print: bool,
    #[command(flatten)]
    since: SinceArg,
    #[command(flatten)]
    view: ViewArgs,
}

impl Find {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (viewed, words) = self.view.image(ui)?;
        let since = self.since.layers(&viewed)?;
        let paths = words.iter().position(|word| is_expression(word));
        let (paths, words) = words.split_at(paths.unwrap_or(words.len()));
        let facts = Facts {
            contents: &viewed.contents,
            image: &viewed.word,
            id_of: &|name, is_user| id_of(&viewed, name, is_user, ui),
        };
        let expr = parse(words, &facts)?;
        let contents = &viewed.contents;
        let mut out = Vec::new();
        for item in expr.select(contents, viewed.chosen(paths, since)?) {
            if self.json {
                let mut line = json::line();
                put_path(&mut line, "path", &item.path);
                put_item(&mut line, contents, item);
                json::put_line(&mut out, line);
            } else if self.nul {
                out.extend_from_slice(item.path.as_bytes());
                out.push(0);
            } else {
                let line = if self.long {
                    long_line(contents, item)
                } else {
                    quoted(&item.path)
                };
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
        }
        ui.print(out)?;
        viewed.end()
    }
}

/// Returns the number of a user or group of the image, by its name or as digits.
fn id_of(viewed: &Viewed, name: &str, is_user: bool, ui: &Ui) -> Outcome<i64> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    if is_user {
        let passwd = text_of(viewed, "etc/passwd", ui)?;
        return Ok(look_up(name, &passwd, "")?.user.uid.into());
    }
    let group = text_of(viewed, "etc/group", ui)?;
    Ok(look_up(&format!("0:{name}"), "", &group)?.user.gid.into())
}

/// Returns the text of a file of the image, which is empty if there is none.
fn text_of(viewed: &Viewed, path: &str, ui: &Ui) -> Outcome<String> {
    let contents = &viewed.contents;
    let found = contents.follow(&tree_path(path)?)?;
    let Some(item) = found
        .map(|item| contents.content_of(item))
        .filter(|item| item.digest.is_some())
    else {
        return Ok(String::new());
    };
    // The layer must stay while it is read.
    let _reading = viewed.store.reading();
    let mut text = Vec::new();
    let layer = &contents.layers[item.layer as usize];
    read_items(&viewed.store, layer, vec![item], ui, &mut |_, content| {
        content.take(MAX_LIST).read_to_end(&mut text)?;
        Ok(())
    })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
