// SPDX-License-Identifier: Apache-2.0
//! The command line: one file for each command or group of commands, all of it on top of the library.
//!
//! `argv` reads words in Go's grammar, clap checks them, `failure` words errors and hints, `ui` and `escape` write to terminals.
//! `Command` lists the commands; `reference` has the facts of their help, manual pages and completion.

#[macro_use]
mod macros;

mod args;
mod argv;
mod attach;
mod blob;
mod complete;
mod config;
mod copy;
mod destination;
mod du;
mod escape;
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
mod inside;
mod layer;
mod lease;
mod list;
mod location;
mod manifest;
mod manual;
mod new;
mod panic_hook;
mod prelude;
mod profile;
mod raw;
mod ref_list;
mod reference;
mod referrers;
mod refs;
mod registry;
mod remove;
mod repack;
mod result;
mod selection;
mod serve;
mod settings;
mod squash;
mod stat;
mod table;
mod tag;
mod ui;
mod unpack;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::{Result, ResultExt as _};
use crate::image::time;
use crate::node::Time;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum as _};
use failure::{Call, Failure, Outcome};
use jiff::Timestamp;
use ui::{Level, Ui};

/// umoci modifies Open Container images
#[derive(Parser, Debug)]
// Words are read by argv.rs in Go's grammar, and pages are made by help.rs. Both know the help option, clap does not.
#[command(
    name = "umoci",
    args_override_self = true,
    disable_version_flag = true,
    disable_help_flag = true,
    disable_help_subcommand = true
)]
struct Cli {
    /// alias for --log=info
    #[arg(long)]
    verbose: bool,
    /// set the log level (debug, info, warn, error, fatal)
    #[arg(long)]
    log: Option<String>,
    /// say nothing but errors
    #[arg(long, short = 'q')]
    quiet: bool,
    /// when to draw progress bars (auto, never)
    #[arg(long, default_value = "auto", value_parser = ["auto", "never"])]
    progress: String,
    /// write where CPU time went to a file that 'go tool pprof' reads
    #[arg(long, value_name = "file", hide = true)]
    cpu_profile: Option<String>,
    #[command(subcommand)]
    command: Command,
}

commands! {
    Command {
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
        Copy(Box<copy::Copy>),
        Pull(registry::pull::Pull),
        Push(registry::push::Push),
        ListTags(registry::list_tags::ListTags),
        #[command(subcommand)]
        Cache(registry::cache::Cache),
        Login(registry::login::Login),
        Logout(registry::login::Logout),
        Serve(Box<serve::Serve>),
        #[command(subcommand)]
        Blob(blob::Blob),
        Attach(attach::Attach),
        Detach(attach::Detach),
        Referrers(referrers::Referrers),
        LsFiles(inside::ls_files::LsFiles),
        Cat(inside::cat::Cat),
        Diff(Box<inside::diff::Diff>),
        Log(inside::log::Log),
        Blame(inside::blame::Blame),
        #[command(mut_arg("rest", |rest| rest.allow_hyphen_values(true)))]
        Find(inside::find::Find),
        Grep(inside::grep::Grep),
        Which(inside::which::Which),
        Report(inside::report::ReportPage),
        View(inside::view::View),
        Status(inside::status::Status),
        Waste(inside::waste::WasteCommand),
        CheckImage(Box<inside::check_image::CheckImage>),
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
}

/// Returns the definition of the whole command line.
fn definition() -> clap::Command {
    Cli::command()
}

/// Runs the program on its words, its name first.
pub fn main(words: Vec<OsString>) -> ExitCode {
    // Tests of crashes choose where the program dies.
    #[cfg(debug_assertions)]
    if let Some(step) = std::env::var("UMOCI_FAULT").ok().and_then(|n| n.parse().ok()) {
        crate::layout::die_before_step(step);
    }
    #[cfg(debug_assertions)]
    if std::env::var("UMOCI_RESOLVER").is_ok_and(|name| name == "walk") {
        crate::fs::always_walk();
    }
    // Failures before the words are understood are told in the default way.
    let mut ui = Ui::new(Level::Warn, false);
    let mut call = Call::default();
    panic_hook::install();
    let outcome = dispatch(words.get(1..).unwrap_or_default(), &mut ui, &mut call);
    finish(outcome, &ui, &call)
}

/// Does what the words ask for. `ui` and `call` become those of the command, once it is known.
fn dispatch(words: &[OsString], ui: &mut Ui, call: &mut Call) -> Outcome {
    let program = definition();
    // A shell asks for completions with a line that is not finished, and may fit nothing.
    if let Some((_, typed)) = words.split_first().filter(|(word, _)| *word == complete::ASK) {
        return ui.print(complete::answer(&program, typed));
    }
    match argv::read(&program, words) {
        argv::Request::Help(path) => ui.print(help::page(&program, &path, ui::terminal_width())),
        argv::Request::Version => ui.print(version()),
        argv::Request::UnknownTopic(name, near) => Err(Failure::UnknownTopic(name, near)),
        argv::Request::UnknownOption { path, name } => {
            call.path = path;
            Err(Failure::UnknownOption(name))
        }
        argv::Request::Usage { path, error } => {
            call.path = path;
            Err(Failure::Usage(error))
        }
        argv::Request::Run { path, words } => {
            let command = reference::Topic::find(&program, &path).command;
            call.has_rootless = command
                .get_arguments()
                .any(|arg| arg.get_long() == Some("rootless"));
            call.path = path;
            // The grammar has put all options first, and the operands behind one `--`.
            let operands = words.split(|word| word == "--").nth(1).unwrap_or_default();
            let operands = operands.iter().map(|word| word.to_string_lossy().into_owned());
            call.words = operands.collect();
            let matches = program.try_get_matches_from(words)?;
            Cli::from_arg_matches(&matches)?.run(ui)
        }
    }
}

/// Ends a run: says why it failed if it did, with the help of a command of the Go tool whose words do not fit.
fn finish(outcome: Outcome, ui: &Ui, call: &Call) -> ExitCode {
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    // It is made once more: that of a run that goes well is given to its parser, and a copy would cost every run.
    let program = definition();
    // The Go tool prints this page to stdout; scripts look for it there.
    let is_of_the_go_tool = reference::Topic::find(&program, &call.path).is_of_the_go_tool();
    if let Some(error) = failure.misuse().filter(|_| is_of_the_go_tool) {
        let colon = if call.path.is_empty() { '.' } else { ':' };
        let error = escape::one_line(&error);
        let page = help::page(&program, &call.path, ui::terminal_width());
        let text = format!("Incorrect Usage{colon} {error}\n\n{page}");
        if ui.print(text).is_err() {
            return ExitCode::from(1);
        }
    }
    if let Failure::UnknownTopic(name, near) = &failure {
        eprintln!("No help topic for '{}'", escape::one_line(name));
        if let Some(near) = near {
            eprintln!("Did you mean '{near}'?");
        }
    }
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
        crate::spec::IMAGE_SPEC_VERSION,
        crate::spec::runtime::VERSION,
        env!("UMOCI_RUSTC"),
    )
}

impl Cli {
    /// Runs the command, with as much said on stderr as the options ask for.
    fn run(self, ui: &mut Ui) -> Outcome {
        let level = match (&self.log, self.verbose, self.quiet) {
            (Some(_), true, _) => refuse!("--log=* and --verbose are mutually exclusive"),
            (Some(text), ..) => Level::from_str(text, true)
                .map_err(|_| Failure::Arguments("parsing log level: invalid level".to_owned()))?,
            (None, true, _) => Level::Info,
            (None, false, true) => Level::Error,
            (None, false, false) => Level::Warn,
        };
        // Errors of the command itself are told at the level that was asked for.
        *ui = Ui::new(level, !self.quiet && self.progress == "auto");
        match self.cpu_profile.as_deref() {
            None | Some("") => self.command.run(ui),
            Some(file) => profile::record(file, ui, || self.command.run(ui)),
        }
    }
}

/// Returns `SOURCE_DATE_EPOCH`, in seconds, if it is set.
fn source_date_epoch() -> Result<Option<i64>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    match text.parse() {
        Ok(seconds) => Ok(Some(seconds)),
        Err(_) => fail!(
            Invalid,
            "parse SOURCE_DATE_EPOCH={text:?}: not a whole number of seconds"
        ),
    }
}

/// Returns the latest time that files in new layers have: `SOURCE_DATE_EPOCH`, if it is set.
fn clamp_mtime() -> Result<Option<Time>> {
    Ok(source_date_epoch()?.map(|sec| Time { sec, nsec: 0 }))
}

/// Returns the time that new documents carry: `SOURCE_DATE_EPOCH`, else now with the local offset.
fn now() -> Result<String> {
    match source_date_epoch()? {
        Some(seconds) => {
            time::from_seconds(seconds).context(|| format!("parse SOURCE_DATE_EPOCH=\"{seconds}\""))
        }
        None => Ok(time::local(Timestamp::now())),
    }
}

/// Returns the head of an mtree file, which names the place and the time at which it was made.
fn mtree_header() -> crate::mtree::Header {
    let uname = rustix::system::uname();
    crate::mtree::Header {
        user: std::env::var("USER").ok().filter(|u| !u.is_empty()),
        machine: uname.nodename().to_str().ok().map(str::to_owned),
        date: Some(time::ctime(Timestamp::now())),
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
