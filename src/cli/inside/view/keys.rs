// SPDX-License-Identifier: Apache-2.0
//! Keys: those of ncdu and of vim.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::inside::ItemBody;
use crate::node::NodeKind;

use super::filter::Filter;
use super::model::{Focus, Input, Model};
use super::tree::{ItemAt, Measure, ROOT};

/// Work that a key asks of the program, beyond another state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    Stay,
    Quit,
    /// Show the content of a file in the pager.
    Page(ItemAt),
    /// Write the content of a file to another one, of this name.
    Save(ItemAt, String),
}

/// The keys, each with its meaning, for the page of help.
pub const KEYS: [(&str, &str); 15] = [
    ("j k Down Up", "next, previous line"),
    ("PgDn PgUp ^F ^B", "a page down, up; ^D ^U half a page"),
    ("g G Home End", "first, last line"),
    ("l Right Enter", "open a directory"),
    ("h Left", "close it, go to the one above; from / to the layers"),
    ("Space", "open or close"),
    ("[ ]", "previous, next layer"),
    ("Enter", "show the file in $PAGER"),
    ("s", "save the file"),
    ("/", "filter: part of a name, or a glob; with / of the whole path"),
    ("Esc", "drop the filter"),
    ("c", "only what the layer changed: A M D T"),
    ("d", "compare others with this layer or image; again: no more"),
    ("Tab", "bytes in the tar, bytes in the compressed layer"),
    ("?  q ^C", "this page; quit"),
];

/// Changes the state as a key asks.
pub fn press(model: &mut Model<'_>, key: KeyEvent) -> Effect {
    if key.kind == KeyEventKind::Release {
        return Effect::Stay;
    }
    let mut key = key;
    let mut with_ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    // The end of a line that was typed before the terminal was ours, as the terminal has made it.
    if with_ctrl && key.code == KeyCode::Char('j') {
        key.code = KeyCode::Enter;
        with_ctrl = false;
    }
    if with_ctrl && key.code == KeyCode::Char('c') {
        return Effect::Quit;
    }
    model.status.clear();
    if model.help {
        model.help = false;
        return Effect::Stay;
    }
    if let Some(input) = model.input.take() {
        return type_key(model, input, key.code, with_ctrl);
    }
    if with_ctrl {
        move_by_page(model, key.code);
        return Effect::Stay;
    }
    match key.code {
        KeyCode::Char('q') => return Effect::Quit,
        KeyCode::Char('?') => model.help = true,
        KeyCode::Char('j') | KeyCode::Down => model.go(1),
        KeyCode::Char('k') | KeyCode::Up => model.go(-1),
        KeyCode::Char('g') | KeyCode::Home => model.go(isize::MIN),
        KeyCode::Char('G') | KeyCode::End => model.go(isize::MAX),
        KeyCode::PageDown => model.go(model.height as isize),
        KeyCode::PageUp => model.go(-(model.height as isize)),
        KeyCode::Char(']') => model.choose(1),
        KeyCode::Char('[') => model.choose(-1),
        KeyCode::Char('h') | KeyCode::Left => go_left(model),
        KeyCode::Char('l') | KeyCode::Right => go_right(model),
        KeyCode::Enter if model.focus == Focus::Layers => go_right(model),
        KeyCode::Enter => return enter(model),
        KeyCode::Char(' ') if model.focus == Focus::Tree && model.has_children(model.here()) => {
            model.set_open(!model.is_open(model.here()));
        }
        KeyCode::Char('/') => {
            let text = model.filter.as_ref().map(|filter| filter.text.clone());
            model.input = Some(Input::Filter(text.unwrap_or_default()));
        }
        KeyCode::Esc if model.filter.is_some() => model.set_filter(None),
        KeyCode::Char('c') => toggle_changes(model),
        KeyCode::Char('d') => toggle_mark(model),
        KeyCode::Tab => {
            model.measure = match model.measure {
                Measure::Tar => Measure::Packed,
                Measure::Packed => Measure::Tar,
            };
            model.refresh();
        }
        KeyCode::Char('s') => ask_for_name(model),
        _ => {}
    }
    Effect::Stay
}

fn move_by_page(model: &mut Model<'_>, code: KeyCode) {
    let page = model.height as isize;
    match code {
        KeyCode::Char('f') => model.go(page),
        KeyCode::Char('b') => model.go(-page),
        KeyCode::Char('d') => model.go(page / 2),
        KeyCode::Char('u') => model.go(-page / 2),
        _ => {}
    }
}

/// Closes what is open at the cursor, else goes up, at last to the layers.
fn go_left(model: &mut Model<'_>) {
    let here = model.here();
    if model.focus == Focus::Layers || here == ROOT {
        model.focus = Focus::Layers;
    } else if model.is_open(here) && model.has_children(here) {
        model.set_open(false);
    } else {
        model.go_up();
    }
}

/// Goes to the tree, opens what is at the cursor, then goes into it.
fn go_right(model: &mut Model<'_>) {
    let here = model.here();
    if model.focus == Focus::Layers {
        model.focus = Focus::Tree;
    } else if model.has_children(here) && model.is_open(here) {
        model.go(1);
    } else if model.has_children(here) {
        model.set_open(true);
    }
}

/// Opens a directory, or shows a file.
fn enter(model: &mut Model<'_>) -> Effect {
    let here = model.here();
    if model.has_children(here) {
        model.set_open(!model.is_open(here));
        return Effect::Stay;
    }
    file_at_cursor(model).map_or(Effect::Stay, Effect::Page)
}

/// Returns the item whose content is that of the file at the cursor; says so if it is none.
fn file_at_cursor(model: &mut Model<'_>) -> Option<ItemAt> {
    let at = model.item_at(model.here())?;
    let (contents, item) = model.item(at);
    let kind = contents.node_of(item).map(|node| &node.kind);
    let Some(NodeKind::File { .. }) = kind else {
        let name = kind.map_or("directory", |kind| match kind {
            NodeKind::Dir => "directory",
            NodeKind::Symlink { .. } => "symbolic link",
            other => other.name(),
        });
        model.status = format!("this is no regular file, but a {name}");
        return None;
    };
    let number = match item.body {
        ItemBody::Link {
            content: Some(number),
            ..
        } => number as usize,
        _ => at.number,
    };
    Some(ItemAt { number, ..at })
}

fn ask_for_name(model: &mut Model<'_>) {
    if model.focus == Focus::Tree
        && let Some(item) = file_at_cursor(model)
    {
        let name = model.paths.nodes[model.here() as usize].name;
        // A name of an image is only proposed, and in the form in which the screen shows it.
        let name = super::super::super::escape::one_line(&String::from_utf8_lossy(name));
        model.input = Some(Input::Save(item, name));
    }
}

fn toggle_changes(model: &mut Model<'_>) {
    model.only_changes = !model.only_changes;
    if model.before().is_none() {
        model.say("[ and ] choose a layer; d marks one to compare others with");
    }
    model.refresh();
}

fn toggle_mark(model: &mut Model<'_>) {
    model.mark = (model.mark != Some(model.stop)).then_some(model.stop);
    let text = if model.mark.is_some() {
        "marked: choose what to compare with it"
    } else {
        "layers are compared with the layer below"
    };
    model.say(text);
    model.refresh();
}

/// Adds a key to a line that is being typed.
fn type_key(model: &mut Model<'_>, mut input: Input, code: KeyCode, with_ctrl: bool) -> Effect {
    let (Input::Filter(text) | Input::Save(_, text)) = &mut input;
    match code {
        KeyCode::Esc => return Effect::Stay,
        KeyCode::Enter => return take(model, input),
        KeyCode::Backspace => {
            text.pop();
        }
        KeyCode::Char('u') if with_ctrl => text.clear(),
        KeyCode::Char(c) if !with_ctrl => text.push(c),
        _ => {}
    }
    model.input = Some(input);
    Effect::Stay
}

/// Does what a typed line asks for.
fn take(model: &mut Model<'_>, input: Input) -> Effect {
    match input {
        Input::Filter(text) if text.is_empty() => model.set_filter(None),
        Input::Filter(text) => match Filter::new(text, &model.paths) {
            Ok(filter) => {
                if filter.hits.is_empty() {
                    model.say("no path fits the filter");
                }
                model.set_filter(Some(filter));
            }
            Err(why) => model.status = format!("invalid filter: {why}"),
        },
        Input::Save(_, name) if name.is_empty() => {}
        Input::Save(item, name) => return Effect::Save(item, name),
    }
    Effect::Stay
}
