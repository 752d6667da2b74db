// SPDX-License-Identifier: Apache-2.0
//! The command line: one file a subcommand, all of it on top of the library's public API.

mod args;
mod argv;
mod attach;
mod blob;
mod choice;
mod complete;
mod config;
mod du;
mod examples;
mod export;
mod failure;
mod fsck;
mod gc;
mod generate;
mod help;
mod import;
mod index;
mod init;
mod insert;
mod layer;
mod lease;
mod list;
mod manifest;
mod manual;
mod new;
mod place;
mod profile;
mod raw;
mod ref_list;
mod reference;
mod referrers;
mod refs;
mod remove;
mod repack;
mod result;
mod settings;
mod squash;
mod stat;
mod table;
mod tag;
mod ui;
mod unpack;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use umoci::error::{Error, ErrorKind};

use failure::{Call, Failure, Outcome};
use ui::{Level, Progress, Ui};

/// umoci modifies Open Container images
#[derive(Parser, Debug)]
#[command(
    name = "umoci",
    disable_help_flag = true,
    disable_help_subcommand = true,
    disable_version_flag = true
)]
#[command(args_override_self = true)]
struct Cli {
    /// alias for --log=info
    #[arg(long)]
    verbose: bool,
    /// set the log level (debug, info, warn, error, fatal)
    #[arg(long, value_name = "value")]
    log: Option<String>,
    /// say nothing but errors
    #[arg(long, short = 'q')]
    quiet: bool,
    /// when to draw progress bars (auto, never)
    #[arg(long, value_name = "value", default_value = "auto")]
    progress: Progress,
    /// write where CPU time went to a file that 'go tool pprof' reads
    #[arg(long, value_name = "file", hide = true)]
    cpu_profile: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Config(Box<config::Config>),
    Init(init::Init),
    New(new::New),
    Unpack(unpack::Unpack),
    Repack(repack::Repack),
    Stat(stat::Stat),
    Tag(tag::Tag),
    #[command(visible_alias = "rm")]
    Remove(remove::Remove),
    #[command(visible_alias = "ls")]
    List(list::List),
    Insert(insert::Insert),
    #[command(subcommand)]
    Raw(raw::Raw),
    Gc(gc::Gc),
    #[command(subcommand)]
    Ref(refs::Ref),
    #[command(subcommand)]
    Manifest(manifest::Manifest),
    Import(import::Import),
    Export(export::Export),
    #[command(subcommand)]
    Blob(blob::Blob),
    Attach(attach::Attach),
    Detach(attach::Detach),
    Referrers(referrers::Referrers),
    Du(du::Du),
    Fsck(fsck::Fsck),
    #[command(subcommand)]
    Index(index::Index),
    #[command(subcommand)]
    Layer(layer::Layer),
    Squash(squash::Squash),
    Rebase(squash::Rebase),
    #[command(subcommand)]
    Lease(lease::Lease),
    Settings(settings::Settings),
    Completions(generate::Completions),
    Man(generate::Man),
}

/// The definition of the whole command line.
fn definition() -> clap::Command {
    fn settle(command: clap::Command) -> clap::Command {
        command
            .args_override_self(true)
            .disable_help_flag(true)
            .disable_help_subcommand(true)
            .mut_subcommands(settle)
    }
    settle(Cli::command())
}

/// Runs the program on its words, its name first.
pub fn main(words: Vec<OsString>) -> ExitCode {
    // Tests of crashes choose where the program dies.
    #[cfg(debug_assertions)]
    if let Some(step) = std::env::var("UMOCI_FAULT").ok().and_then(|n| n.parse().ok()) {
        umoci::layout::die_before_step(step);
    }
    #[cfg(debug_assertions)]
    if std::env::var("UMOCI_RESOLVER").is_ok_and(|name| name == "walk") {
        umoci::fs::always_walk();
    }
    let program = definition();
    let words = words.get(1..).unwrap_or_default();
    let quiet = Ui::new(Level::Warn, Progress::Never);
    failure::hook_panics();
    if let Some((_, typed)) = words.split_first().filter(|(word, _)| *word == complete::ASK) {
        let typed: Vec<String> = typed
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let answer = complete::answer(&program, &typed);
        return finish(&quiet, quiet.print(answer.as_bytes()), &Call::default());
    }
    let request = argv::read(&program, words);
    match request {
        argv::Request::Help(path) => {
            let page = help::page(&program, &path, ui::terminal_width());
            finish(&quiet, quiet.print(page.as_bytes()), &Call::default())
        }
        argv::Request::Version => finish(&quiet, quiet.print(version().as_bytes()), &Call::default()),
        argv::Request::UnknownTopic(name) => {
            eprintln!("No help topic for '{}'", failure::one_line(&name));
            ExitCode::from(failure::UNKNOWN_TOPIC)
        }
        argv::Request::Usage { path, error } => usage(&quiet, &program, &path, &error),
        argv::Request::Run { path, words } => {
            let matches = program.clone().try_get_matches_from(words);
            let cli = matches.and_then(|matches| {
                let call = call(&program, &matches);
                Ok((Cli::from_arg_matches(&matches)?, call))
            });
            match cli {
                Ok((cli, call)) => cli.run(&call),
                Err(err) => match misuse(&err) {
                    Misuse::Plain(text) => finish(&quiet, Err(Failure::Arguments(text)), &Call::default()),
                    Misuse::Wrong(text) => usage(&quiet, &program, &path, &text),
                },
            }
        }
    }
}

/// What clap finds wrong.
enum Misuse {
    /// An option is missing, or has none of the words that it may have; one line tells all.
    Plain(String),
    /// An option has a value that it cannot have, or another mistake.
    Wrong(String),
}

/// Says in one line what clap says in several.
fn misuse(err: &clap::Error) -> Misuse {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    use std::error::Error as _;
    let named = |kind| match err.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    // `--lock-timeout <seconds>`
    let option = named(ContextKind::InvalidArg).and_then(|text| text.split(' ').next());
    match (err.kind(), option, named(ContextKind::InvalidValue)) {
        (ErrorKind::MissingRequiredArgument, Some(option), _) => {
            Misuse::Plain(format!("missing mandatory argument: {option}"))
        }
        (_, Some(option), Some(value)) => {
            if let Some(ContextValue::Strings(words)) = err.get(ContextKind::ValidValue)
                && let Some((last, others)) = words.split_last()
            {
                let others = others.join(", ");
                return Misuse::Plain(format!("invalid {option}: {value:?} (want {others} or {last})"));
            }
            let why = err.source().map(|why| format!(": {why}")).unwrap_or_default();
            Misuse::Wrong(format!("invalid {option}: {value:?}{why}"))
        }
        _ => {
            let text = err.to_string();
            let line = text.lines().next().unwrap_or_default();
            Misuse::Wrong(line.strip_prefix("error: ").unwrap_or(line).to_owned())
        }
    }
}

/// Ends a run whose words do not fit. Commands of the Go tool print their help as that does; of others one line is enough.
fn usage(ui: &Ui, program: &clap::Command, path: &[String], error: &str) -> ExitCode {
    if reference::Topic::find(program, path).is_of_the_go_tool() {
        let colon = if path.is_empty() { '.' } else { ':' };
        let text = format!(
            "Incorrect Usage{colon} {}\n\n{}",
            failure::one_line(error),
            help::page(program, path, ui::terminal_width())
        );
        if ui.print(text.as_bytes()).is_err() {
            return ExitCode::from(1);
        }
    }
    ui.log(Level::Fatal, error);
    ExitCode::from(1)
}

/// Returns what hints need to know of the command that was called.
fn call(program: &clap::Command, matches: &clap::ArgMatches) -> Call {
    let (mut command, mut matches) = (program, matches);
    while let Some((called, below)) = matches.subcommand() {
        let Some(next) = command.find_subcommand(called) else {
            break;
        };
        (command, matches) = (next, below);
    }
    let words = matches.try_get_many("rest").ok().flatten();
    Call {
        has_rootless: command
            .get_arguments()
            .any(|arg| arg.get_long() == Some("rootless")),
        words: words.map(|words| words.cloned().collect()).unwrap_or_default(),
    }
}

fn finish(ui: &Ui, outcome: Outcome, call: &Call) -> ExitCode {
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    if let Some(hint) = failure.hint(call) {
        ui.log(Level::Warn, hint);
    }
    if let Some(message) = failure.message(call) {
        ui.log(Level::Fatal, &message);
    }
    ExitCode::from(failure.code())
}

fn version() -> String {
    format!(
        "umoci version {}\nimage spec: {}\nruntime spec: {}\nrust: {}\n",
        env!("CARGO_PKG_VERSION"),
        umoci::spec::IMAGE_SPEC_VERSION,
        umoci::spec::runtime::VERSION,
        env!("UMOCI_RUSTC"),
    )
}

impl Cli {
    /// Runs the command.
    fn run(self, call: &Call) -> ExitCode {
        let fallback = Ui::new(Level::Warn, Progress::Never);
        let (level, progress) = match self.settings() {
            Ok(settings) => settings,
            Err(failure) => return finish(&fallback, Err(failure), call),
        };
        let ui = Ui::new(level, progress);
        let profile = match &self.cpu_profile {
            Some(path) if !path.is_empty() => match profile::Profile::start(path, ui.step()) {
                Ok(profile) => Some(profile),
                Err(failure) => return finish(&ui, Err(failure), call),
            },
            _ => None,
        };
        let outcome = match self.command {
            Command::Config(command) => command.run(&ui),
            Command::Insert(command) => command.run(&ui),
            Command::Raw(command) => command.run(&ui),
            Command::Completions(command) => command.run(&ui),
            Command::Man(command) => command.run(&ui),
            Command::Init(command) => command.run(&ui),
            Command::New(command) => command.run(&ui),
            Command::Unpack(command) => command.run(&ui),
            Command::Repack(command) => command.run(&ui),
            Command::Stat(command) => command.run(&ui),
            Command::Tag(command) => command.run(&ui),
            Command::Remove(command) => command.run(&ui),
            Command::List(command) => command.run(&ui),
            Command::Gc(command) => command.run(&ui),
            Command::Ref(command) => command.run(&ui),
            Command::Manifest(command) => command.run(&ui),
            Command::Import(command) => command.run(&ui),
            Command::Export(command) => command.run(&ui),
            Command::Blob(command) => command.run(&ui),
            Command::Attach(command) => command.run(&ui),
            Command::Detach(command) => command.run(&ui),
            Command::Referrers(command) => command.run(&ui),
            Command::Du(command) => command.run(&ui),
            Command::Fsck(command) => command.run(&ui),
            Command::Index(command) => command.run(&ui),
            Command::Squash(command) => command.run(&ui),
            Command::Rebase(command) => command.run(&ui),
            Command::Layer(command) => command.run(&ui),
            Command::Lease(command) => command.run(&ui),
            Command::Settings(command) => command.run(&ui),
        };
        // A run that failed has its profile too, but its own error counts.
        let profiled = profile.map_or(Ok(()), profile::Profile::finish);
        match outcome.and(profiled) {
            Err(Failure::Usage(path, text)) => {
                let path: Vec<String> = path.iter().map(|&p| p.to_owned()).collect();
                usage(&ui, &definition(), &path, &text)
            }
            outcome => finish(&ui, outcome, call),
        }
    }

    fn settings(&self) -> Outcome<(Level, Progress)> {
        let level = match (&self.log, self.verbose, self.quiet) {
            (Some(_), true, _) => {
                return Err(Failure::Arguments(
                    "--log=* and --verbose are mutually exclusive".to_owned(),
                ));
            }
            (Some(text), ..) => Level::parse(text)
                .ok_or_else(|| Failure::Arguments("parsing log level: invalid level".to_owned()))?,
            (None, true, _) => Level::Info,
            (None, false, true) => Level::Error,
            (None, false, false) => Level::Warn,
        };
        let progress = if self.quiet {
            Progress::Never
        } else {
            self.progress
        };
        Ok((level, progress))
    }
}

/// `SOURCE_DATE_EPOCH`, in seconds, if it is set.
fn source_date_epoch() -> Outcome<Option<i64>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|t| t.parse::<i64>().ok()).ok_or_else(|| {
        let text = format!(
            "parse SOURCE_DATE_EPOCH={:?}: not a whole number of seconds",
            text.to_string_lossy()
        );
        Error::new(ErrorKind::Invalid, text)
    })?;
    Ok(Some(seconds))
}

/// The time that new documents carry: `SOURCE_DATE_EPOCH`, else now with the local offset.
fn now() -> Outcome<String> {
    if let Some(seconds) = source_date_epoch()? {
        let time = umoci::image::time::from_seconds(seconds);
        return Ok(time.map_err(|e| e.context(format!("parse SOURCE_DATE_EPOCH=\"{seconds}\"")))?);
    }
    Ok(umoci::image::time::local(clock()))
}

/// Nanoseconds since 1970.
fn clock() -> i128 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

/// What the head of an mtree file says of where it was made.
fn mtree_header() -> umoci::mtree::Header {
    let uname = rustix::system::uname();
    umoci::mtree::Header {
        user: std::env::var("USER").ok().filter(|u| !u.is_empty()),
        machine: uname.nodename().to_str().ok().map(str::to_owned),
        date: Some(umoci::image::time::ctime(clock())),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_holds_together() {
        super::definition().debug_assert();
    }
}
