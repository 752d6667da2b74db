// SPDX-License-Identifier: Apache-2.0
//! State of the view: the tree that is chosen, the rows that are open, and where the cursor stands.

use std::cmp::Reverse;

use crate::inside::{Contents, Item};

use super::filter::Filter;
use super::tree::{Choice, Fact, ItemAt, Measure, Paths, Point, ROOT};

/// An image on the screen.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The word that named it.
    pub word: &'a str,
    pub contents: &'a Contents,
}

/// A line of the list of layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stop {
    pub point: Point,
    /// True for the image with all of its layers, false for a layer.
    pub is_whole: bool,
}

/// The side of the screen that keys go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Focus {
    Layers,
    Tree,
}

/// A line that is being typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    Filter(String),
    /// The name of the file that gets the content of an item.
    Save(ItemAt, String),
}

/// The whole state.
#[derive(Debug)]
pub struct Model<'a> {
    pub images: Vec<Shown<'a>>,
    pub paths: Paths<'a>,
    pub stops: Vec<Stop>,
    /// Number of the chosen stop.
    pub stop: usize,
    /// Number of the stop that others are compared with.
    pub mark: Option<usize>,
    pub focus: Focus,
    pub measure: Measure,
    pub only_changes: bool,
    pub filter: Option<Filter>,
    pub input: Option<Input>,
    pub help: bool,
    /// A message, until the next key.
    pub status: String,
    pub facts: Vec<Fact>,
    /// Paths whose children are rows.
    open: Vec<bool>,
    /// Numbers of the paths that are rows, from the top.
    pub rows: Vec<u32>,
    /// Number of the row at the cursor.
    pub cursor: usize,
    /// Number of the first row on the screen.
    pub top: usize,
    /// Number of the first stop on the screen.
    pub first_stop: usize,
    /// Number of rows that the screen has room for.
    pub height: usize,
}

impl<'a> Model<'a> {
    /// Returns the first screen of one image, or of the differences of the second from the first.
    pub fn new(images: Vec<Shown<'a>>) -> Self {
        let contents: Vec<&Contents> = images.iter().map(|image| image.contents).collect();
        let paths = Paths::of(&contents);
        let mut stops = Vec::new();
        for (image, contents) in contents.iter().enumerate() {
            let count = contents.layers.len();
            stops.push(Stop {
                point: Point { image, layers: count },
                is_whole: true,
            });
            stops.extend((1..=count).map(|layers| Stop {
                point: Point { image, layers },
                is_whole: false,
            }));
        }
        let last = images.len() - 1;
        let whole = stops.iter().position(|stop| stop.point.image == last);
        let mut open = vec![false; paths.nodes.len()];
        open[ROOT as usize] = true;
        let mut model = Self {
            stop: whole.unwrap_or_default(),
            mark: (last > 0).then_some(0),
            images,
            paths,
            stops,
            focus: Focus::Tree,
            measure: Measure::Tar,
            only_changes: last > 0,
            filter: None,
            input: None,
            help: false,
            status: String::new(),
            facts: Vec::new(),
            open,
            rows: Vec::new(),
            cursor: 0,
            top: 0,
            first_stop: 0,
            height: 1,
        };
        model.refresh();
        model
    }

    /// Returns the tree that the chosen one is compared with: the marked one, else that of the layers below a layer.
    pub fn before(&self) -> Option<Point> {
        let stop = self.stops[self.stop];
        match self.mark {
            Some(mark) => (mark != self.stop).then(|| self.stops[mark].point),
            None => (!stop.is_whole).then(|| Point {
                layers: stop.point.layers - 1,
                ..stop.point
            }),
        }
    }

    /// Finds out anew what is shown; the cursor stays at its path, or goes to the next one above that is left.
    pub fn refresh(&mut self) {
        let contents: Vec<&Contents> = self.images.iter().map(|image| image.contents).collect();
        let before = self.before();
        let choice = Choice {
            now: self.stops[self.stop].point,
            before,
            measure: self.measure,
            only_changes: self.only_changes && before.is_some(),
            passes: self.filter.as_ref().map(|filter| filter.passes.as_slice()),
        };
        self.facts = self.paths.facts(&contents, choice);
        self.lay_out();
    }

    /// Makes the rows of what is open.
    fn lay_out(&mut self) {
        let mut at = self.rows.get(self.cursor).copied().unwrap_or(ROOT);
        self.rows.clear();
        let mut waiting = vec![ROOT];
        while let Some(number) = waiting.pop() {
            self.rows.push(number);
            if self.open[number as usize] {
                let mut children = self.shown_children(number);
                // The last one is taken first: the largest, and of equal ones the first by name.
                children.sort_by_key(|child| {
                    let child = *child as usize;
                    (self.facts[child].size, Reverse(self.paths.nodes[child].name))
                });
                waiting.append(&mut children);
            }
        }
        while at != ROOT && !self.is_row(at) {
            at = self.paths.nodes[at as usize].parent;
        }
        self.cursor = self.rows.iter().position(|row| *row == at).unwrap_or_default();
        self.scroll();
    }

    /// Returns whether a path is shown and all above it are open.
    fn is_row(&self, number: u32) -> bool {
        let mut at = number;
        let mut is_row = self.facts[at as usize].shown;
        while is_row && at != ROOT {
            at = self.paths.nodes[at as usize].parent;
            is_row = self.open[at as usize];
        }
        is_row
    }

    fn shown_children(&self, number: u32) -> Vec<u32> {
        let children = self.paths.nodes[number as usize].children.iter().copied();
        children
            .filter(|child| self.facts[*child as usize].shown)
            .collect()
    }

    /// Returns whether anything is shown below a path.
    pub fn has_children(&self, number: u32) -> bool {
        let mut children = self.paths.nodes[number as usize].children.iter();
        children.any(|child| self.facts[*child as usize].shown)
    }

    /// Returns whether the children of a path are rows.
    pub fn is_open(&self, number: u32) -> bool {
        self.open[number as usize]
    }

    /// Returns the path at the cursor.
    pub fn here(&self) -> u32 {
        self.rows.get(self.cursor).copied().unwrap_or(ROOT)
    }

    /// Returns the item that a path shows: the deleted one where none is left.
    pub fn item_at(&self, number: u32) -> Option<ItemAt> {
        let fact = &self.facts[number as usize];
        fact.now.or(fact.before)
    }

    /// Returns the contents and the item.
    pub fn item(&self, at: ItemAt) -> (&'a Contents, &'a Item) {
        let contents = self.images[at.image].contents;
        (contents, &contents.items[at.number])
    }

    /// Opens or closes the path at the cursor.
    pub fn set_open(&mut self, open: bool) {
        let here = self.here() as usize;
        self.open[here] = open;
        self.lay_out();
    }

    /// Puts the cursor on the parent of the path at the cursor.
    pub fn go_up(&mut self) {
        let parent = self.paths.nodes[self.here() as usize].parent;
        let above = self.rows[..self.cursor].iter().rposition(|row| *row == parent);
        self.cursor = above.unwrap_or_default();
        self.scroll();
    }

    /// Moves the cursor, or the choice of the layer, by a number of lines.
    pub fn go(&mut self, by: isize) {
        match self.focus {
            Focus::Tree => {
                let last = self.rows.len().saturating_sub(1);
                self.cursor = self.cursor.saturating_add_signed(by).min(last);
                self.scroll();
            }
            Focus::Layers => self.choose(by),
        }
    }

    /// Chooses another layer.
    pub fn choose(&mut self, by: isize) {
        let last = self.stops.len() - 1;
        let stop = self.stop.saturating_add_signed(by).min(last);
        if stop != self.stop {
            self.stop = stop;
            self.refresh();
        }
    }

    /// Takes another filter, or none; what it finds is opened.
    pub fn set_filter(&mut self, filter: Option<Filter>) {
        self.filter = filter;
        self.refresh();
        let Some(filter) = &self.filter else {
            return;
        };
        for hit in &filter.hits {
            if !self.facts[*hit as usize].shown {
                continue;
            }
            let mut at = *hit;
            while at != ROOT {
                at = self.paths.nodes[at as usize].parent;
                // All above an open one was opened with it, by this loop or by hand.
                self.open[at as usize] = true;
            }
        }
        self.lay_out();
    }

    /// Shows a message until the next key.
    pub fn say(&mut self, text: &str) {
        text.clone_into(&mut self.status);
    }

    /// Takes the height of the lists on the screen.
    pub fn set_height(&mut self, height: usize) {
        self.height = height.max(1);
        self.scroll();
    }

    /// Moves the lists as far as is needed to have the cursor and the chosen layer on the screen.
    fn scroll(&mut self) {
        self.top = first_line(self.top, self.cursor, self.rows.len(), self.height);
        self.first_stop = first_line(self.first_stop, self.stop, self.stops.len(), self.height);
    }
}

/// Returns the line of `count` ones with which a list of `height` lines begins: as near to `top` as can be with the line `at` in sight,
/// and no lines left empty.
fn first_line(top: usize, at: usize, count: usize, height: usize) -> usize {
    let top = top.min(count.saturating_sub(height));
    top.min(at).max((at + 1).saturating_sub(height))
}
