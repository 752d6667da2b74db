// SPDX-License-Identifier: Apache-2.0
//! The screen. Only the lines that it has room for are made. It is ASCII but for the names of an image, which are escaped.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::inside::{Contents, Item, ItemBody};
use crate::node::NodeKind;

use super::super::super::escape::one_line;
use super::super::json::type_of;
use super::keys::KEYS;
use super::model::{Focus, Input, Model, Stop};
use super::tree::{Change, Measure};

/// Lines around the lists: title, heads of the columns, the path at the cursor, messages.
const OTHER_LINES: u16 = 4;

/// Maximum share of the tree's width that indentation takes: 1 in this number.
const INDENT_SHARE: usize = 3;

/// Returns how many lines of a list fit on a screen.
pub fn list_height(screen: u16) -> usize {
    screen.saturating_sub(OTHER_LINES).into()
}

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, model: &Model<'_>) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ]);
    let [title, lists, detail, bottom] = rows.areas(frame.area());
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(
        Paragraph::new(padded(&title_text(model), title.width)).style(reversed),
        title,
    );
    if model.help {
        frame.render_widget(Paragraph::new(help_lines()), lists);
    } else {
        let left = (lists.width * 3 / 8).clamp(20, 64).min(lists.width);
        let columns = Layout::horizontal([
            Constraint::Length(left),
            Constraint::Length(2),
            Constraint::Min(1),
        ]);
        let [layers, bar, tree] = columns.areas(lists);
        frame.render_widget(Paragraph::new(layer_lines(model)), layers);
        let bars: Vec<Line<'_>> = (0..bar.height).map(|_| Line::raw(" |")).collect();
        frame.render_widget(Paragraph::new(bars), bar);
        frame.render_widget(Paragraph::new(tree_lines(model, tree.width.into())), tree);
    }
    frame.render_widget(
        Paragraph::new(detail_text(model)).style(Style::new().add_modifier(Modifier::DIM)),
        detail,
    );
    draw_bottom(frame, model, bottom);
}

fn padded(text: &str, width: u16) -> String {
    format!("{text:width$}", width = width.into())
}

/// Returns what is chosen, in words.
fn title_text(model: &Model<'_>) -> String {
    let stop = model.stops[model.stop];
    let image = model.images[stop.point.image];
    let mut out = format!(" {}: {}", one_line(image.word), name_of(model, stop));
    if let (Some(mark), Some(_)) = (model.mark, model.before()) {
        let mark = model.stops[mark];
        let word = one_line(model.images[mark.point.image].word);
        let layer = format!("layer {}", mark.point.layers);
        let marked = match (mark.is_whole, mark.point.image == stop.point.image) {
            (true, _) => word,
            (false, true) => layer,
            (false, false) => format!("{word}: {layer}"),
        };
        let _ = write!(out, ", compared with {marked}");
    }
    if model.only_changes && model.before().is_some() {
        out += ", only changes";
    }
    if let Some(filter) = &model.filter {
        let _ = write!(out, ", filter {}", one_line(&filter.text));
    }
    out
}

fn name_of(model: &Model<'_>, stop: Stop) -> String {
    let count = model.images[stop.point.image].contents.layers.len();
    if stop.is_whole {
        "all layers".to_owned()
    } else {
        format!("layer {} of {count}", stop.point.layers)
    }
}

fn help_lines() -> Vec<Line<'static>> {
    let lines = KEYS.iter().map(|(keys, what)| {
        Line::from(vec![
            Span::styled(
                format!("  {keys:16}  "),
                Style::new().add_modifier(Modifier::BOLD),
            ),
            Span::raw(*what),
        ])
    });
    let mut out = vec![Line::raw("")];
    out.extend(lines);
    out
}

fn head_style() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

/// Returns the list of layers under its head, sizes in one unit.
fn layer_lines(model: &Model<'_>) -> Vec<Line<'static>> {
    let sizes: Vec<u64> = model.stops.iter().map(|stop| stop_size(model, *stop)).collect();
    let (unit, name) = unit_of(sizes.iter().copied().max().unwrap_or_default());
    let mut out = vec![Line::styled(format!("  LAYER {name:>6}  COMMAND"), head_style())];
    let stops = model.stops.iter().enumerate().zip(&sizes);
    for ((number, stop), size) in stops.skip(model.first_stop).take(model.height) {
        let is_here = number == model.stop;
        let label = if stop.is_whole {
            "all".to_owned()
        } else {
            stop.point.layers.to_string()
        };
        let text = format!(
            "{}{} {label:>4} {:>7}  {}",
            if is_here { '>' } else { ' ' },
            if model.mark == Some(number) { '*' } else { ' ' },
            in_unit(*size, unit),
            stop_text(model, *stop),
        );
        out.push(Line::styled(
            text,
            cursor_style(is_here, model.focus == Focus::Layers),
        ));
    }
    out
}

fn cursor_style(is_here: bool, has_focus: bool) -> Style {
    match (is_here, has_focus) {
        (true, true) => Style::new().add_modifier(Modifier::REVERSED),
        (true, false) => Style::new().add_modifier(Modifier::BOLD),
        _ => Style::new(),
    }
}

/// Returns the bytes of a layer, or of all layers of an image.
fn stop_size(model: &Model<'_>, stop: Stop) -> u64 {
    let layers = &model.images[stop.point.image].contents.layers;
    let begin = if stop.is_whole { 0 } else { stop.point.layers - 1 };
    let layers = layers[begin..stop.point.layers].iter();
    let sizes = layers.map(|layer| match model.measure {
        Measure::Tar => layer.tar_size,
        Measure::Packed => layer.descriptor.size,
    });
    sizes.fold(0, u64::saturating_add)
}

/// Returns the word of an image, or the command that made a layer; its digest if none is told.
fn stop_text(model: &Model<'_>, stop: Stop) -> String {
    let image = model.images[stop.point.image];
    if stop.is_whole {
        return one_line(image.word);
    }
    let layer = &image.contents.layers[stop.point.layers - 1];
    let history = layer.history.as_ref();
    match history.map_or("", |step| step.created_by.as_str()) {
        "" => layer.descriptor.digest.to_string(),
        command => {
            let command = command.strip_prefix("/bin/sh -c ").unwrap_or(command);
            one_line(command.strip_prefix("#(nop) ").unwrap_or(command).trim())
        }
    }
}

/// Returns the unit for a column whose largest value is this, with its name.
fn unit_of(largest: u64) -> (u64, &'static str) {
    // The largest has up to four digits before the point, so that small layers are not all zero.
    match largest {
        0..10_000 => (1, "B"),
        10_000..10_000_000 => (1_000, "kB"),
        10_000_000..10_000_000_000 => (1_000_000, "MB"),
        10_000_000_000..10_000_000_000_000 => (1_000_000_000, "GB"),
        _ => (1_000_000_000_000, "TB"),
    }
}

/// Returns a size with one digit behind the point, rounded down; bytes have none.
fn in_unit(size: u64, unit: u64) -> String {
    if unit == 1 {
        size.to_string()
    } else {
        format!("{}.{}", size / unit, size % unit / (unit / 10))
    }
}

/// Returns the rows of the tree that fit, under their head.
fn tree_lines(model: &Model<'_>, width: usize) -> Vec<Line<'static>> {
    let rows = model.rows.iter().enumerate().skip(model.top).take(model.height);
    // The root has the largest size but for deleted files, which are no part of a sum.
    let largest = model.facts.first().map_or(0, |fact| fact.size);
    let visible = rows.clone().map(|(_, row)| model.facts[*row as usize].size);
    let name = match model.measure {
        Measure::Tar => "TAR BYTES",
        Measure::Packed => "COMPRESSED",
    };
    let digits = with_commas(visible.fold(largest, u64::max)).len().max(10);
    let mut out = vec![Line::styled(format!("   {name:>digits$}    PATH"), head_style())];
    for (number, row) in rows {
        out.push(tree_line(model, number, *row, digits, width));
    }
    out
}

fn tree_line(model: &Model<'_>, number: usize, row: u32, digits: usize, width: usize) -> Line<'static> {
    let fact = &model.facts[row as usize];
    let is_here = number == model.cursor;
    let sign = match (model.has_children(row), model.is_open(row)) {
        (false, _) => ' ',
        (true, true) => '-',
        (true, false) => '+',
    };
    let node = &model.paths.nodes[row as usize];
    let indent = (2 * node.depth as usize).min(width / INDENT_SHARE);
    let text = format!(
        "{}{} {:>digits$}  {:indent$}{sign} {}",
        if is_here { '>' } else { ' ' },
        fact.change.map_or(' ', Change::letter),
        with_commas(fact.size),
        "",
        row_name(model, row),
    );
    let style = cursor_style(is_here, model.focus == Focus::Tree);
    Line::styled(text, style.patch(change_style(fact.change)))
}

fn change_style(change: Option<Change>) -> Style {
    match change {
        None => Style::new(),
        Some(Change::Added) => Style::new().fg(Color::Green),
        Some(Change::Modified) => Style::new().fg(Color::Yellow),
        Some(Change::Deleted) => Style::new().fg(Color::Red),
        Some(Change::Type) => Style::new().fg(Color::Magenta),
    }
}

/// Returns the last name of a path, with a slash behind that of a directory and the target behind that of a link.
fn row_name(model: &Model<'_>, row: u32) -> String {
    let name = one_line(&String::from_utf8_lossy(model.paths.nodes[row as usize].name));
    let Some(at) = model.item_at(row) else {
        return name + "/";
    };
    let (contents, item) = model.item(at);
    name + &suffix(contents, item)
}

fn suffix(contents: &Contents, item: &Item) -> String {
    if let ItemBody::Link { target, .. } = &item.body {
        let target = String::from_utf8_lossy(target.as_bytes());
        return format!(" link to /{}", one_line(&target));
    }
    match contents.node_of(item).map(|node| &node.kind) {
        None | Some(NodeKind::Dir) => "/".to_owned(),
        Some(NodeKind::File { .. }) => String::new(),
        Some(NodeKind::Symlink { target }) => {
            format!(" -> {}", one_line(&String::from_utf8_lossy(target)))
        }
        Some(other) => format!(" ({})", other.name()),
    }
}

/// Returns the path at the cursor with its metadata and the layer that brought it.
fn detail_text(model: &Model<'_>) -> String {
    let here = model.here();
    let path = one_line(&String::from_utf8_lossy(&model.paths.path(here)));
    let Some(at) = model.item_at(here) else {
        return format!(" {path}");
    };
    let (contents, item) = model.item(at);
    let node = contents.node_of(item);
    let (mode, uid, gid) = node.map_or((0o755, 0, 0), |node| (node.mode, node.uid, node.gid));
    let gone = if model.facts[here as usize].change == Some(Change::Deleted) {
        ", deleted"
    } else {
        ""
    };
    format!(
        " {} {mode:04o} {uid}:{gid} layer {}{gone}: {path}",
        type_of(contents, item),
        item.layer + 1,
    )
}

/// Draws the line that is typed, the message, or the most useful keys.
fn draw_bottom(frame: &mut Frame<'_>, model: &Model<'_>, area: Rect) {
    let typed = match &model.input {
        Some(Input::Filter(text)) => Some(format!("/{}", one_line(text))),
        Some(Input::Save(_, text)) => Some(format!("save as: {}", one_line(text))),
        None => None,
    };
    if let Some(text) = typed {
        let line = Line::raw(text);
        let column = (line.width() as u16).min(area.width.saturating_sub(1));
        frame.render_widget(Paragraph::new(line), area);
        frame.set_cursor_position(Position::new(area.x + column, area.y));
    } else if model.status.is_empty() {
        let text = " ? help  / filter  [ ] layer  c changes  d compare  Enter show  s save  q quit";
        frame.render_widget(Paragraph::new(text), area);
    } else {
        let text = format!(" {}", one_line(&model.status));
        frame.render_widget(Paragraph::new(text).style(head_style()), area);
    }
}

/// Returns a number with a comma between each three digits.
fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
