// SPDX-License-Identifier: Apache-2.0
//! `umoci view`: the state is `model.rs`, what keys do to it `keys.rs`, its looks `draw.rs`. This file alone, with `screen.rs`,
//! touches the terminal, other programs and files.

mod draw;
mod filter;
mod keys;
mod model;
mod screen;
#[cfg(test)]
mod tests;
mod tree;

use std::fs::File;
use std::io::{self, IsTerminal, Seek, Write};
use std::process::{Command, Stdio};

use ratatui::crossterm::event::{self, Event};

use crate::inside::read_items;

use self::keys::{Effect, press};
use self::model::{Model, Shown};
use self::screen::{Screen, give_back_on_panic, ignoring_interrupts};
use self::tree::ItemAt;
use super::super::prelude::*;
use super::view_args::{ViewArgs, Viewed};

/// shows images in the terminal
///
/// Shows the layers of an image on the left, and the tree of files, sorted by size, on the right. A layer shows the tree that it and those
/// below it give, with A, M, D and T at what it added, modified, deleted or made another type of; the key c leaves out the rest. With a
/// second image the differences of that one from the first are shown. Enter shows a file in $PAGER (less), s saves it; its bytes are
/// checked before. The key ? shows all keys.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>][~<n>] [<image-path>[:<tag>][~<n>]]")]
pub struct View {
    #[command(flatten)]
    view: ViewArgs,
}

impl View {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            refuse!("view needs a terminal: umoci ls-files prints what is in an image");
        }
        let (first, rest) = self.view.image(ui)?;
        let mut viewed = vec![first];
        match rest {
            [] => {}
            [word] => viewed.push(self.view.open(word, ui)?),
            [_, more, ..] => refuse!("unexpected argument: {more:?} (view shows one or two images)"),
        }
        let images = viewed.iter().map(|viewed| Shown {
            word: &viewed.word,
            contents: &viewed.contents,
        });
        let mut model = Model::new(images.collect());
        // A layer that is missing is told on the screen too, as the failure at the end comes late.
        if let Some(failure) = viewed.iter().find_map(|viewed| viewed.end().err()) {
            model.status = text_of(&failure);
        }
        show(&mut model, &viewed, ui)?;
        viewed.iter().try_for_each(Viewed::end)
    }
}

/// Draws the screen and obeys keys until one ends it.
fn show(model: &mut Model<'_>, viewed: &[Viewed], ui: &Ui) -> Outcome {
    give_back_on_panic();
    let mut screen = Screen::open().map_err(terminal)?;
    loop {
        screen.draw(model).map_err(terminal)?;
        let Event::Key(key) = event::read().map_err(terminal)? else {
            continue;
        };
        let done = match press(model, key) {
            Effect::Stay => continue,
            Effect::Quit => return Ok(()),
            Effect::Page(item) => {
                // Bars of progress and the pager have the terminal for themselves.
                screen.close();
                page(&viewed[item.image], item, ui).map(|()| String::new())
            }
            Effect::Save(item, name) => {
                screen.close();
                save(&viewed[item.image], item, &name, ui).map(|()| format!("saved {name}"))
            }
        };
        model.status = done.unwrap_or_else(|failure| text_of(&failure));
        screen = Screen::open().map_err(terminal)?;
    }
}

fn terminal(err: io::Error) -> Failure {
    Error::from(err).context("use the terminal").into()
}

fn text_of(failure: &Failure) -> String {
    failure
        .message(&super::super::failure::Call::default())
        .unwrap_or_default()
}

/// Writes the content of an item to `out`; all of it was checked once this has succeeded.
fn copy_content(viewed: &Viewed, at: ItemAt, out: &mut File, ui: &Ui) -> Outcome {
    // Only for now: a screen that stays open must not keep collections from their work.
    let _reading = viewed.store.reading();
    let item = &viewed.contents.items[at.number];
    let layer = &viewed.contents.layers[item.layer as usize];
    read_items(&viewed.store, layer, vec![item], ui, &mut |_, content| {
        io::copy(content, out)?;
        Ok(())
    })?;
    Ok(())
}

/// Shows the content of an item in the pager, from a file without a name: nobody sees bytes that turn out to be wrong at their end.
fn page(viewed: &Viewed, item: ItemAt, ui: &Ui) -> Outcome {
    let mut file = tempfile::tempfile().context(|| "make a temporary file".to_owned())?;
    copy_content(viewed, item, &mut file, ui)?;
    file.rewind().context(|| "read a temporary file".to_owned())?;
    let pager = std::env::var("PAGER").unwrap_or_default();
    let pager = if pager.trim().is_empty() { "less" } else { &pager };
    // A pager may have options, so a shell reads it, as that of git and man.
    let status = ignoring_interrupts(|| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", pager]).stdin(Stdio::from(file)).status()
    });
    let status = status.context(|| format!("run {pager}"))?;
    match status.code() {
        // A shell that does not find it.
        Some(code @ (126 | 127)) => refuse!("run {pager}: exit code {code} (PAGER names the pager)"),
        _ => Ok(()),
    }
}

/// Writes the content of an item to a new file, which has no name before all of it was checked.
fn save(viewed: &Viewed, item: ItemAt, name: &str, ui: &Ui) -> Outcome {
    let path = Path::new(name);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let mut new = new_file(parent).context(|| format!("save {name}"))?;
    copy_content(viewed, item, new.as_file_mut(), ui)?;
    new.as_file_mut().flush().context(|| format!("save {name}"))?;
    let named = new.persist_noclobber(path).map_err(|err| err.error);
    named.context(|| format!("save {name}"))?;
    Ok(())
}

/// Makes a temporary file with the mode that the umask leaves.
fn new_file(dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o666);
    tempfile::Builder::new().permissions(mode).tempfile_in(dir)
}
