// SPDX-License-Identifier: Apache-2.0
//! Panics of the index database, which are no faults of the program.

use std::cell::Cell;
use std::panic;

use super::ui::{Level, Ui};

thread_local! {
    static HAS_PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Makes panics of the index database silent: the library catches them, and says what became of the file.
pub fn install() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|at| at.file().contains("/redb-")) {
            default(info);
        } else if HAS_PANICKED.replace(true) {
            // A second panic of the same thread may have met the first, while that dropped its values. Then nobody catches it, and
            // the process ends with this line.
            let text = "the index database is damaged: if this command ends here, run it again";
            Ui::new(Level::Fatal, false).log(Level::Fatal, text);
        }
    }));
}
