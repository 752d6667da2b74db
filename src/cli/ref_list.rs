// SPDX-License-Identifier: Apache-2.0
//! `umoci ref list`

use std::cmp::Reverse;

use crate::store::Summaries;
use clap::ValueEnum;
use jiff::Timestamp;

use super::prelude::*;
use super::table::human_age;

/// lists names with what they point at
///
/// Prints every entry of index.json: name, digest, media type, platform, the time since the name was last changed, and the size of the
/// image: all that it needs, each blob once. On a terminal digests and texts are cut to its width.
#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    layout: LayoutArg,
    /// print only names that match a pattern such as 'release-*'; may be given more than once
    #[arg(long, value_name = "pattern", value_parser = pattern)]
    filter: Vec<glob::Pattern>,
    /// order: name, age (the newest first), size (the largest first) or used (the last used first); default: that of index.json
    #[arg(long, value_name = "name|age|size|used")]
    sort: Option<Order>,
    #[command(flatten)]
    output: TableArgs,
}

#[derive(Serialize)]
struct Row {
    name: Option<String>,
    digest: Digest,
    #[serde(rename = "mediaType")]
    media_type: MediaType,
    platform: Option<Platform>,
    /// Bytes of all that it needs; null if that is too much to count.
    size: Option<u64>,
    changed: Option<Timestamp>,
    used: Option<Timestamp>,
}

/// The order of rows.
#[derive(Clone, Copy, ValueEnum, Debug)]
enum Order {
    Name,
    Age,
    Size,
    Used,
}

impl List {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [] = self.layout.words([])?;
        let mut rows = self.rows(ui)?;
        match self.sort {
            None => {}
            Some(Order::Name) => rows.sort_by(|a, b| a.name.cmp(&b.name)),
            Some(Order::Age) => rows.sort_by_key(|row| Reverse(row.changed)),
            Some(Order::Size) => rows.sort_by_key(|row| Reverse(row.size)),
            // A name that was never read is as old as its last change.
            Some(Order::Used) => rows.sort_by_key(|row| Reverse(row.used.max(row.changed))),
        }
        let mut table = Table::new(&["NAME", "DIGEST", "MEDIA TYPE", "PLATFORM", "AGE", "SIZE"]);
        let now = Timestamp::now().as_second();
        for row in &rows {
            table.row([
                row.name.as_deref().map_or_else(|| "<none>".to_owned(), one_line),
                row.digest.to_string(),
                one_line(row.media_type.as_str()),
                or_dash(row.platform.as_ref()),
                or_dash(row.changed.map(|time| human_age(now - time.as_second()))),
                or_dash(row.size.map(human_size)),
            ]);
        }
        self.output.show(&rows, table, ui)
    }

    /// Returns whether the filters let an entry pass.
    fn is_wanted(&self, name: Option<&str>) -> bool {
        // An entry without a name matches no pattern.
        let mut filter = self.filter.iter();
        self.filter.is_empty() || filter.any(|pattern| name.is_some_and(|name| pattern.matches(name)))
    }

    fn rows(&self, ui: &Ui) -> Outcome<Vec<Row>> {
        let store = self.layout.open()?;
        let times = store.tag_times()?;
        // Images share documents; the summaries keep each that was read.
        let mut summaries = Summaries::in_store(&store);
        let mut rows = Vec::new();
        for entry in store.refs()? {
            if !self.is_wanted(entry.ref_name.as_deref()) {
                continue;
            }
            let times = entry.ref_name.as_ref().and_then(|name| times.get(name));
            match entry.descriptor() {
                Ok(descriptor) => rows.push(Row {
                    digest: descriptor.digest,
                    platform: summaries.platform(&descriptor),
                    size: summaries.total(&descriptor),
                    changed: times.and_then(|times| Timestamp::from_second(times.changed).ok()),
                    used: times.and_then(|times| Timestamp::from_second(times.used?).ok()),
                    media_type: descriptor.media_type,
                    name: entry.ref_name,
                }),
                Err(err) => ui.warn(format_args!(
                    "entry {:?} of index.json: {err}",
                    entry.ref_name.unwrap_or_default()
                )),
            }
        }
        Ok(rows)
    }
}
