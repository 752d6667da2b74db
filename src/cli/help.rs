// SPDX-License-Identifier: Apache-2.0
//! Help pages, in the layout that users of the command know, from the one clap definition.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

/// The page of the command that `path` leads to, or of the program for an empty path.
pub fn page(program: &Command, path: &[String]) -> String {
    let mut command = program;
    let mut name = String::from("umoci");
    for part in path {
        if let Some(next) = command.find_subcommand(part) {
            command = next;
            let _ = write!(name, " {part}");
        }
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut out = format!("NAME:\n   {name} - {about}\n\nUSAGE:\n   {name} ");
    if command.has_subcommands() {
        let global = if path.is_empty() { "[global options] " } else { "" };
        let _ = write!(out, "{global}command [command options] [arguments...]");
    } else {
        out.push_str("[command options]");
        if let Some(usage) = command.get_override_usage_words() {
            let _ = write!(out, " {usage}");
        }
    }
    out.push('\n');
    if path.is_empty() {
        let _ = write!(out, "\nVERSION:\n   {}\n", env!("CARGO_PKG_VERSION"));
        out.push_str("\nAUTHOR:\n   the umoci authors\n");
    }
    if let Some(long) = command.get_long_about() {
        let text = long.to_string();
        for paragraph in text
            .strip_prefix(&about)
            .unwrap_or(&text)
            .split("\n\n")
            .filter(|p| !p.trim().is_empty())
        {
            out.push('\n');
            wrap(paragraph, &mut out);
        }
    }
    commands(command, path.is_empty(), &mut out);
    if let Some(category) = category(command.get_name()).filter(|_| path.len() == 1) {
        let _ = write!(out, "\nCATEGORY:\n   {category}\n");
    }
    options(command, path.is_empty(), &mut out);
    out
}

/// Writes a paragraph in lines of at most 79 characters.
fn wrap(paragraph: &str, out: &mut String) {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        if column > 0 && column + 1 + word.len() > 79 {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
}

/// The usage words behind the options, kept in clap's `override_usage`.
trait UsageWords {
    fn get_override_usage_words(&self) -> Option<String>;
}

impl UsageWords for Command {
    fn get_override_usage_words(&self) -> Option<String> {
        let text = self.clone().render_usage().to_string();
        text.strip_prefix("Usage: ").map(str::to_owned)
    }
}

fn category(name: &str) -> Option<&'static str> {
    match name {
        "config" | "unpack" | "repack" | "new" | "tag" | "remove" | "stat" | "insert" | "layer"
        | "squash" | "rebase" | "manifest" | "attach" | "detach" | "referrers" => Some("image"),
        "gc" | "init" | "list" | "ref" | "import" | "export" | "blob" | "du" | "fsck" | "index" | "lease"
        | "settings" => Some("layout"),
        _ => None,
    }
}

fn commands(command: &Command, top: bool, out: &mut String) {
    if !command.has_subcommands() {
        return;
    }
    let mut rows: Vec<(Option<&str>, String, String)> = command
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .map(|c| {
            let names = std::iter::once(c.get_name())
                .chain(c.get_visible_aliases())
                .collect::<Vec<_>>()
                .join(", ");
            let about = c.get_about().map(ToString::to_string).unwrap_or_default();
            (if top { category(c.get_name()) } else { None }, names, about)
        })
        .collect();
    rows.push((
        None,
        "help, h".to_owned(),
        "Shows a list of commands or help for one command".to_owned(),
    ));
    rows.sort_by_key(|(category, ..)| *category);
    let width = rows.iter().map(|(_, names, _)| names.len()).max().unwrap_or(0);
    out.push_str("\nCOMMANDS:\n");
    let mut current = None;
    for (category, names, about) in rows {
        if category != current {
            let _ = write!(out, "\n   {}:\n", category.unwrap_or_default());
            current = category;
        }
        let indent = if category.is_some() { "     " } else { "   " };
        let _ = writeln!(out, "{indent}{names:width$}  {about}");
    }
}

fn options(command: &Command, top: bool, out: &mut String) {
    let shown: Vec<&Arg> = command
        .get_arguments()
        .filter(|a| !a.is_hide_set() && a.get_long().is_some())
        .collect();
    let mut rows: Vec<(String, String)> = shown
        .iter()
        .map(|arg| {
            let mut names = format!("--{}", arg.get_long().unwrap_or_default());
            for alias in arg.get_visible_aliases().unwrap_or_default() {
                let _ = write!(names, ", --{alias}");
            }
            for short in arg.get_short_and_visible_aliases().unwrap_or_default() {
                let _ = write!(names, ", -{short}");
            }
            if !matches!(arg.get_action(), ArgAction::SetTrue) {
                let value = arg
                    .get_value_names()
                    .and_then(<[_]>::first)
                    .map_or("value", |v| v.as_str());
                let _ = write!(names, " {value}");
            }
            let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            if let Some(default) = arg.get_default_values().first() {
                let _ = write!(help, " (default: {:?})", default.to_string_lossy());
            }
            (names, help)
        })
        .collect();
    if top {
        rows.push(("--help, -h".to_owned(), "show help".to_owned()));
        rows.push(("--version, -v".to_owned(), "print the version".to_owned()));
    }
    if rows.is_empty() {
        return;
    }
    let width = rows.iter().map(|(names, _)| names.len()).max().unwrap_or(0);
    out.push_str(if top {
        "\nGLOBAL OPTIONS:\n"
    } else {
        "\nOPTIONS:\n"
    });
    for (names, help) in rows {
        let _ = writeln!(out, "   {names:width$}  {help}");
    }
    out.push_str("   \n");
}
