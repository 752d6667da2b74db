// SPDX-License-Identifier: Apache-2.0
//! The step of the history that a change makes.

use crate::error::Result;
use crate::progress::Monitor as _;
use crate::spec::History;
use clap::Args;

use super::super::ui::Ui;

/// Time and history of a change: `--history.*` and `--no-history`.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// do not create a history entry
    #[arg(
        long = "no-history",
        help_heading = "history",
        conflicts_with_all = ["history_author", "history_comment", "history_created", "history_created_by"]
    )]
    no_history: bool,
    /// author value for the history entry
    #[arg(long = "history.author", help_heading = "history")]
    history_author: Option<String>,
    /// comment for the history entry
    #[arg(long = "history.comment", help_heading = "history")]
    history_comment: Option<String>,
    /// created time for the history entry (RFC 3339, default: now)
    #[arg(long = "history.created", help_heading = "history")]
    history_created: Option<String>,
    /// created_by value for the history entry
    #[arg(long = "history.created_by", help_heading = "history")]
    history_created_by: Option<String>,
}

impl HistoryArgs {
    /// Returns the history entry that is asked for; `None` with `--no-history`.
    pub fn get(&self, created_by: &str, author: &str) -> Result<Option<History>> {
        self.get_at(created_by, author, None)
    }

    /// As [`HistoryArgs::get`], with this time if no other is asked for, and not the present one.
    pub fn get_at(&self, created_by: &str, author: &str, time: Option<String>) -> Result<Option<History>> {
        if self.no_history {
            return Ok(None);
        }
        // The time is looked up last: SOURCE_DATE_EPOCH may be wrong, and need not be right where it is not used.
        let created = match (&self.history_created, time) {
            (Some(text), _) => {
                crate::image::time::parse(text).map_err(|e| e.context("parsing --history.created"))?
            }
            (None, Some(time)) => time,
            (None, None) => super::super::now()?,
        };
        let own = self.history_created_by.clone();
        Ok(Some(History {
            created: Some(created),
            created_by: own.unwrap_or_else(|| created_by.to_owned()),
            author: self.history_author.clone().unwrap_or_else(|| author.to_owned()),
            comment: self.history_comment.clone().unwrap_or_default(),
            ..Default::default()
        }))
    }

    /// A layer that no history speaks of is worth a word.
    pub fn warn_if_none(&self, ui: &Ui) {
        if self.no_history {
            ui.warn(format_args!(
                "new layer has no history entry -- this will confuse many tools!"
            ));
        }
    }
}
