// SPDX-License-Identifier: Apache-2.0
//! All that a person sees: log lines on stderr, progress bars on a terminal, data on stdout.

use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::{Error, lock};
use crate::progress::{Monitor, Task};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::escape;
use super::failure::{Failure, Outcome};

/// Levels of the log on stderr, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Debug)]
pub enum Level {
    /// Only what ends the run.
    Fatal,
    /// Errors.
    Error,
    /// Surprises.
    #[value(alias = "warning")]
    Warn,
    /// Each step.
    Info,
    /// All.
    Debug,
}

/// The way to the person who runs the command.
#[derive(Debug)]
pub struct Ui {
    level: Level,
    color: bool,
    bars: bool,
    /// The step of the job that is under way, by the words of the log; empty between two steps.
    step: Mutex<String>,
    left_out: Mutex<Vec<String>>,
}

impl Ui {
    /// Makes a way that says what `level` allows, and draws progress bars on a terminal if there are to be `bars`.
    pub fn new(level: Level, bars: bool) -> Self {
        // Escapes mean nothing to such a terminal, and NO_COLOR is the wish of a person (no-color.org).
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() && !dumb;
        let bars = bars && io::stderr().is_terminal() && !dumb;
        Self {
            level,
            color,
            bars,
            step: Mutex::default(),
            left_out: Mutex::default(),
        }
    }

    /// Returns all that a copy has said it left out, a line each, for a result that a program reads.
    pub fn left_out_lines(&self) -> Vec<String> {
        lock(&self.left_out).clone()
    }

    /// Returns the step that the job is at.
    pub fn step(&self) -> String {
        lock(&self.step).clone()
    }

    fn set_step(&self, step: &str) {
        step.clone_into(&mut lock(&self.step));
    }

    /// Writes one log line if the level allows it. A fatal one is always written.
    pub fn log(&self, level: Level, message: &str) {
        if level <= self.level {
            self.line(level, message);
        }
    }

    /// Writes one line in the look of a level.
    fn line(&self, level: Level, message: &str) {
        // Colors are those of the Go tool, by their numbers in the SGR sequence.
        let (symbol, color) = match level {
            Level::Debug => ("•", 37),
            Level::Info => ("•", 34),
            Level::Warn => ("•", 33),
            Level::Error | Level::Fatal => ("⨯", 31),
        };
        let message = escape::one_line(message);
        // The form is that of the Go tool's logger, which pads a message to 25 columns for fields behind it.
        let text = if self.color {
            format!("\x1b[{color}m\x1b[1m{symbol:>4}\x1b[0m \x1b[{color}m{message:<25}\x1b[0m\n")
        } else {
            format!("{symbol:>4} {message:<25}\n")
        };
        // Nothing is left to tell when stderr itself fails.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Says in one line what was done to a person at a terminal; elsewhere it is a step like others.
    pub fn done(&self, message: fmt::Arguments<'_>) {
        let level = if self.has_person() {
            Level::Warn
        } else {
            Level::Info
        };
        self.log(level, &message.to_string());
    }

    /// Returns whether a server tells of each request.
    pub fn says_requests(&self) -> bool {
        self.level >= Level::Warn
    }

    /// Returns whether a person at a terminal wants to hear what was done, and not each step.
    pub fn has_person(&self) -> bool {
        self.level == Level::Warn && io::stderr().is_terminal()
    }

    /// Returns the columns of the terminal that stdout is; `None` if it is none.
    #[allow(clippy::unused_self, reason = "whoever prints has a way to the person")]
    pub fn width(&self) -> Option<usize> {
        columns().map(|columns| if columns == 0 { 80 } else { columns })
    }

    /// Returns text that steps back on a terminal with colors.
    pub fn faint(&self, text: &str) -> String {
        if self.color {
            format!("\x1b[2m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Writes data to stdout.
    #[allow(clippy::unused_self, reason = "whoever prints has a way to the person")]
    pub fn print(&self, text: impl AsRef<[u8]>) -> Outcome {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_ref()).and_then(|()| out.flush());
        written.map_err(Failure::stdout)
    }

    /// Writes all that `data` gives to stdout; a terminal takes text alone.
    ///
    /// # Errors
    /// At the first part that is no text, before it is written, if stdout is a terminal.
    #[allow(clippy::unused_self, reason = "whoever prints has a way to the person")]
    pub fn print_all(&self, data: &mut dyn Read) -> Outcome {
        let mut out = io::stdout().lock();
        let is_terminal = out.is_terminal();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match data.read(&mut buffer).map_err(Error::from)? {
                0 => return out.flush().map_err(Failure::stdout),
                n if is_terminal && !is_text(&buffer[..n]) => {
                    refuse!("this is no text, and not for a terminal: redirect stdout")
                }
                n => out.write_all(&buffer[..n]).map_err(Failure::stdout)?,
            }
        }
    }

    /// Writes a result to stdout: as JSON if that is asked for, else as text.
    pub fn show(&self, json: bool, value: &impl Serialize, text: impl fmt::Display) -> Outcome {
        if json {
            return self.print_json(value);
        }
        self.print(text.to_string())
    }

    /// Writes `value` as one line of JSON to stdout.
    pub fn print_json(&self, value: &impl Serialize) -> Outcome {
        self.print(escape::json(&crate::spec::json::to_bytes(value)?))
    }
}

/// Returns whether a terminal shows these bytes and obeys none of them.
fn is_text(bytes: &[u8]) -> bool {
    // UTF-8 writes the second set of control characters, which terminals obey like ESC sequences, with this first byte.
    let mut pairs = bytes.windows(2);
    let has_second_set = pairs.any(|pair| matches!(pair, [0xc2, 0x80..0xa0]));
    let mut bytes = bytes.iter();
    let has_first_set = bytes.any(|b| b.is_ascii_control() && !b"\t\n\r".contains(b));
    !has_first_set && !has_second_set
}

/// Returns how many columns stdout shows, if it is a terminal: what `COLUMNS` says, else what the terminal says.
pub fn terminal_width() -> Option<usize> {
    let shown = columns()?;
    let set = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    Some(set.unwrap_or(shown)).filter(|columns| *columns > 0)
}

/// Returns how many columns the terminal has that stdout is, or 0 if it does not say; `None` if it is none.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col.into())
}

impl Monitor for Ui {
    fn task(&self, name: &str, total: Option<u64>) -> Box<dyn Task> {
        self.set_step(name);
        if !self.bars {
            return Box::new(crate::progress::Silent);
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = if total.is_some() {
            "{msg:30!} {wide_bar} {bytes:>10}/{total_bytes:<10} {eta:>4}"
        } else {
            "{msg:30!} {spinner} {bytes:>10} {elapsed:>4}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        // The bar is hidden until it has something to tell: most tasks end within a second.
        Box::new(Bar {
            bar,
            since: Instant::now(),
        })
    }

    fn warn(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Warn, &message.to_string());
    }

    fn left_out(&self, message: fmt::Arguments<'_>) {
        // Nobody should take a copy for whole that is not, so this is said where warnings are not.
        if self.level >= Level::Error {
            self.line(Level::Warn, &message.to_string());
        }
        lock(&self.left_out).push(message.to_string());
    }

    fn info(&self, message: fmt::Arguments<'_>) {
        let message = message.to_string();
        self.log(Level::Info, &message);
        // The end of a step is told like a step, and begins none.
        let step = message.trim_end_matches(" ...");
        self.set_step(if step == "... done" { "" } else { step });
    }
}

/// A bar that shows itself only when its task takes longer than a second.
struct Bar {
    bar: ProgressBar,
    since: Instant,
}

impl Task for Bar {
    fn advance(&self, n: u64) {
        if self.bar.is_hidden() && self.since.elapsed() > Duration::from_secs(1) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
        self.bar.inc(n);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
