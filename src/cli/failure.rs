// SPDX-License-Identifier: Apache-2.0
//! How a run ends when it does not succeed: exit codes, wording and hints, all in one place.

use std::error::Error as _;
use std::fmt::Display;
use std::io;
use std::num::ParseIntError;
use std::path::Path;

use crate::error::{Error, ErrorKind, Fact};
use crate::layer::Limits;
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapError};

use super::escape::one_line;

/// The call of a command, as far as hints depend on it.
#[derive(Debug, Default)]
pub struct Call {
    /// The names of the command.
    pub path: Vec<String>,
    /// Whether the command has the option `--rootless`.
    pub has_rootless: bool,
    /// Its operands.
    pub words: Vec<String>,
}

impl Call {
    /// Returns whether the first name of the command is `name`.
    fn is(&self, name: &str) -> bool {
        self.path.first().is_some_and(|first| first == name)
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The library refused or failed.
    Error(Error),
    /// The arguments are wrong in a way that clap cannot see; nothing is printed on stdout.
    Arguments(String),
    /// A mandatory option or operand of this name is missing.
    Missing(String),
    /// The words do not fit; the help of a command of the Go tool is printed as well.
    Usage(String),
    /// There is no option of this name; the help of a command of the Go tool is printed as well.
    UnknownOption(String),
    /// There is no such command or help topic; perhaps another one was meant.
    UnknownTopic(String, Option<String>),
    /// A check found something, which was printed; the code says what.
    Found(u8),
    /// The reader of our output went away, which is not worth a word.
    BrokenPipe,
}

/// The result of a subcommand.
pub type Outcome<T = ()> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        Self::Error(err)
    }
}

impl From<clap::Error> for Failure {
    /// Says in one line what clap says in several.
    fn from(err: clap::Error) -> Self {
        let option = named(&err, ContextKind::InvalidArg);
        match (err.kind(), option, named(&err, ContextKind::InvalidValue)) {
            (ClapError::MissingRequiredArgument, Some(option), _) => Self::Missing(name_of(option)),
            (ClapError::ArgumentConflict, Some(option), _) => {
                let other = named(&err, ContextKind::PriorArg).unwrap_or_default();
                let mut both = [option, other].map(name_of);
                // The one that excludes the other comes first: --no-history.
                both.sort_by_key(|name| !name.starts_with("--no-"));
                Self::Arguments(both.join(" and ") + " may not be specified together")
            }
            (_, Some(option), Some(value)) => invalid_value(&err, &name_of(option), value),
            _ => {
                let text = err.to_string();
                let line = text.lines().next().unwrap_or_default();
                Self::Usage(line.strip_prefix("error: ").unwrap_or(line).to_owned())
            }
        }
    }
}

/// Returns the first text that clap tells of a `kind`.
fn named(err: &clap::Error, kind: ContextKind) -> Option<&str> {
    match err.get(kind)? {
        ContextValue::String(text) => Some(text),
        ContextValue::Strings(texts) => texts.first().map(String::as_str),
        _ => None,
    }
}

/// Returns the name of an option without its value: clap tells `--lock-timeout <seconds>` and `--porcelain[=<version>]`.
fn name_of(option: &str) -> String {
    option.split([' ', '[']).next().unwrap_or_default().to_owned()
}

fn invalid_value(err: &clap::Error, option: &str, value: &str) -> Failure {
    if let Some(ContextValue::Strings(words)) = err.get(ContextKind::ValidValue)
        && let Some((last, others)) = words.split_last()
    {
        // Clap counts nothing as a value where it may be left out.
        let others: Vec<&str> = others
            .iter()
            .map(String::as_str)
            .filter(|word| !word.is_empty())
            .collect();
        let want = if others.is_empty() {
            last.clone()
        } else {
            format!("{} or {last}", others.join(", "))
        };
        return Failure::Arguments(format!("invalid {option}: {value:?} (want {want})"));
    }
    match err.source() {
        // The Go tool takes a number that is none for a misuse of the words, and prints its help.
        Some(why) if why.is::<ParseIntError>() => {
            Failure::Usage(format!("invalid {option}: {value:?}: {why}"))
        }
        // Our own parsers name the value themselves.
        Some(why) => Failure::Arguments(format!("invalid {option}: {why}")),
        None => Failure::Arguments(format!("invalid {option}: {value:?}")),
    }
}

/// Makes the failure of an option or operand, called `what`, whose value cannot be read.
pub fn invalid<E: Display>(what: &str) -> impl Fn(E) -> Failure {
    move |why| Failure::Arguments(format!("invalid {what}: {why}"))
}

impl Failure {
    /// Returns a failure to write to stdout.
    pub fn stdout(err: io::Error) -> Self {
        if err.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::Error(Error::from(err).context("write to stdout"))
        }
    }

    /// Returns the one line on stderr, if any.
    pub fn message(&self, call: &Call) -> Option<String> {
        let (text, remedy) = match self {
            Failure::Error(err) => {
                let subject = err.subject();
                let remedy = err.fact().and_then(|fact| remedy(fact, subject, call));
                (err.to_string(), remedy.or_else(|| bare_name(err, call)))
            }
            Failure::Missing(name) => (
                format!("missing mandatory argument: {name}"),
                misplaced(name, call),
            ),
            Failure::Arguments(text) | Failure::Usage(text) => (text.clone(), None),
            Failure::UnknownOption(name) => (unknown_option(name), option_elsewhere(name, call)),
            Failure::UnknownTopic(..) | Failure::Found(_) | Failure::BrokenPipe => return None,
        };
        let remedy = remedy.map(|remedy| format!("; {remedy}"));
        Some(one_line(&(text + &remedy.unwrap_or_default())))
    }

    /// Returns what does not fit in the words, after which the Go tool prints its help.
    pub fn misuse(&self) -> Option<String> {
        match self {
            Failure::Usage(text) => Some(text.clone()),
            Failure::UnknownOption(name) => Some(unknown_option(name)),
            _ => None,
        }
    }

    /// Returns a hint at the way out, where that is known.
    pub fn hint(&self, call: &Call) -> Option<&'static str> {
        let Failure::Error(err) = self else { return None };
        // Root of a user namespace may do less than root of the machine.
        let is_limited = !rustix::process::geteuid().is_root() || crate::fs::in_user_namespace();
        (err.kind() == ErrorKind::Denied && call.has_rootless && is_limited)
            .then_some("umoci encountered a permission error: maybe --rootless will help?")
    }

    /// Returns the exit code: 1 for every ordinary failure, 0 where nobody is left to be told.
    pub fn code(&self) -> u8 {
        match self {
            Failure::BrokenPipe => 0,
            Failure::Found(code) => *code,
            Failure::UnknownTopic(..) => UNKNOWN_TOPIC,
            _ => 1,
        }
    }
}

fn unknown_option(name: &str) -> String {
    format!("flag provided but not defined: -{name}")
}

/// Returns what umoci has in place of an option that skopeo or podman has.
fn option_elsewhere(name: &str, call: &Call) -> Option<String> {
    let commands = [
        "pull",
        "push",
        "copy",
        "import",
        "export",
        "list-tags",
        "login",
        "stat",
        "remove",
    ];
    if !commands.iter().any(|command| call.is(command)) {
        return None;
    }
    let text = match name {
        "tls-verify" | "src-tls-verify" | "dest-tls-verify" => {
            "a certificate is trusted by certs.d/HOST/ca.crt, or a host without one by insecure in registries.conf; --plain-http speaks HTTP"
        }
        "creds" | "src-creds" | "dest-creds" | "password" | "p" | "src-username" | "dest-username" => {
            "umoci login HOST --username NAME --password-stdin logs in"
        }
        "src-authfile" | "dest-authfile" => "--authfile is for both sides",
        "cert-dir" | "src-cert-dir" | "dest-cert-dir" => "certificates lie in certs.d/HOST/",
        "a" | "all" | "multi-arch" => "all platforms are copied unless --platform takes one",
        "override-arch" | "override-os" | "override-variant" | "arch" | "os" => {
            "--platform takes one, as linux/arm64"
        }
        "retry-times" | "retry-delay" => "requests that may succeed later are repeated anyway",
        "preserve-digests" => "digests are kept anyway",
        "insecure-policy" | "policy" => "umoci has no policy of signatures",
        "f" | "dest-oci-accept-uncompressed-layers" | "dest-compress" | "dest-compress-format" => {
            "layers and manifests are copied as they are; --format oci turns Docker's media types into OCI's"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// Returns the command in place of one that skopeo, crane or podman has.
pub fn command_elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "inspect" | "manifest-inspect" | "digest" => "stat docker://NAME",
        "cp" | "sync" | "mirror" => "copy",
        "delete" | "rmi" => "remove docker://NAME",
        "images" => "list --layout DIR",
        "catalog" | "search" => "list-tags NAME",
        "load" => "import docker-archive:FILE --layout DIR",
        "save" => "export docker-archive:FILE --layout DIR --tag TAG",
        "auth" => "login HOST",
        _ => return None,
    })
}

fn is_layout(path: &str) -> bool {
    Path::new(path).join("oci-layout").exists()
}

/// Splits the first operand that is a layout with a tag behind a colon.
fn layout_and_tag(call: &Call) -> Option<(&str, &str)> {
    let mut pairs = call.words.iter().filter_map(|word| word.split_once(':'));
    pairs.find(|(path, _)| is_layout(path))
}

/// Returns the option before the operand that was meant as its value.
fn misplaced(option: &str, call: &Call) -> Option<String> {
    let word = call.words.first()?;
    let (path, tag) = word.split_once(':').unwrap_or((word, ""));
    match option {
        "--image" if !tag.is_empty() || is_layout(path) => Some(format!("write --image {word}")),
        "--layout" if is_layout(word) => Some(format!("write --layout {word}")),
        // The first operand of an import is another layout.
        "--layout" if !call.is("import") => {
            let (path, tag) = layout_and_tag(call)?;
            let rest = match call.path.first()?.as_str() {
                "ref" => format!(" {tag}"),
                "export" => format!(" --tag {tag}"),
                _ => String::new(),
            };
            Some(format!("write --layout {path}{rest}"))
        }
        _ => None,
    }
}

/// Returns the name that was meant by an operand which has the layout before it.
fn bare_name(err: &Error, call: &Call) -> Option<String> {
    let takes_name = matches!(call.path.get(1)?.as_str(), "log" | "remove" | "restore") && call.is("ref");
    let (_, tag) = layout_and_tag(call).filter(|_| takes_name && err.kind() == ErrorKind::NotFound)?;
    Some(format!("write {tag} without its layout"))
}

/// Returns the option or command that helps against a failure, as the end of its message.
fn remedy(fact: Fact, subject: Option<&str>, call: &Call) -> Option<String> {
    let host = subject.unwrap_or("HOST");
    let text = match fact {
        Fact::Limit(name) => {
            let (name, unit) = Limits::NAMES.iter().find(|(known, _)| *known == name)?;
            return Some(format!("--limit {name}={unit} raises it"));
        }
        Fact::NoLayout => "umoci init --layout DIR makes a layout",
        Fact::SeveralImages => "--platform takes one of them, and so does the path with @DIGEST",
        Fact::SeveralOfPlatform if call.is("export") => "--tag DIGEST takes one of them",
        Fact::SeveralOfPlatform => "the path with @DIGEST takes one of them",
        Fact::LockTimeout => "--lock-timeout waits longer",
        Fact::MediaTypeUnclear => "--media-type says what it is",
        Fact::TagExists => "--force replaces it",
        Fact::TagMoved => "give another tag, or --force to replace what is there",
        Fact::NoImages => "umoci new --image LAYOUT:TAG --from FILE makes an image of an archive of files",
        Fact::TornIndex => "umoci fsck --repair makes it anew",
        Fact::EmptyEntry => "umoci fsck --repair drops it",
        Fact::NeededByTag => "umoci rm removes the tag",
        Fact::LoginNeeded | Fact::LoginRefused if call.is("login") => "is it the right user and password?",
        Fact::LoginNeeded => return Some(format!("umoci login {host} logs in")),
        Fact::LoginRefused => return Some(format!("umoci login {host} logs in as another user")),
        Fact::ChangesRefused => return Some(format!("{host} may be read-only")),
        Fact::UntrustedCertificate => {
            return Some(format!("its authority belongs into certs.d/{host}/ca.crt"));
        }
        Fact::SpeaksPlainHttp => "--plain-http speaks it",
        Fact::Unreachable => return Some(format!("is {host} the right host and port, and does it run?")),
        Fact::NoLatest => {
            return Some(format!(
                "umoci list-tags {host} lists the tags: give one as {host}:TAG"
            ));
        }
        Fact::WouldSpeakPlainHttp => {
            "--tls-cert and --tls-key give it a certificate, --insecure goes without"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// Exit code of `fsck` when something is wrong and was not mended.
pub const DAMAGED: u8 = 2;

/// Exit code of `cache get` when there is no entry.
pub const MISS: u8 = 2;

/// Exit code of `fsck` when all that was wrong is mended.
pub const REPAIRED: u8 = 4;

/// Exit code for a command or help topic that does not exist.
const UNKNOWN_TOPIC: u8 = 3;
