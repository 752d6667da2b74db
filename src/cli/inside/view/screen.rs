// SPDX-License-Identifier: Apache-2.0
//! The terminal: taken for a screen, and given back on every way out.

use std::io;
use std::panic;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use ratatui::{DefaultTerminal, Terminal};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::draw::{draw, list_height};
use super::model::Model;

/// A terminal that shows the screen; it is given back when this is dropped, and before a panic is told.
#[derive(Debug)]
pub struct Screen {
    terminal: Option<DefaultTerminal>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Those of the terminal, which is given back.
    pub fn open() -> io::Result<Self> {
        let taken = take().inspect_err(|_| ratatui::restore());
        taken.map(|terminal| Self {
            terminal: Some(terminal),
        })
    }

    /// Draws a state, at the size that the terminal has now.
    pub fn draw(&mut self, model: &mut Model<'_>) -> io::Result<()> {
        let Some(terminal) = &mut self.terminal else {
            return Ok(());
        };
        terminal.autoresize()?;
        model.set_height(list_height(terminal.size()?.height));
        terminal.draw(|frame| draw(frame, model))?;
        Ok(())
    }

    /// Gives the terminal back.
    pub fn close(&mut self) {
        if self.terminal.take().is_some() {
            ratatui::restore();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

fn take() -> io::Result<DefaultTerminal> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// Has a panic give the terminal back first: its message would go with the screen.
pub fn give_back_on_panic() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        ratatui::restore();
        default(info);
    }));
}

/// Runs `work`, which waits for another program at the terminal, so that ^C is a key for that program and no end of this one.
pub fn ignoring_interrupts<T>(work: impl FnOnce() -> T) -> T {
    let stdin = io::stdin();
    let Ok(before) = tcgetattr(&stdin) else {
        return work();
    };
    let mut without = before.clone();
    without.local_modes.remove(LocalModes::ISIG);
    // Without it ^C ends both, which is a smaller harm than no pager.
    let _ = tcsetattr(&stdin, OptionalActions::Now, &without);
    let out = work();
    let _ = tcsetattr(&stdin, OptionalActions::Now, &before);
    out
}
