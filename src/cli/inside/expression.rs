// SPDX-License-Identifier: Apache-2.0
//! The words of find(1) read as an expression.

use crate::inside::{Contents, Expr, Number, Perm, glob_with};
use crate::layer::file_digest;
use crate::node::{Time, TreePath};

use super::super::prelude::*;
use super::view_args::{no_path, tree_path};

/// Maximum depth of parentheses and negations.
const MAX_DEPTH: usize = 100;

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// Facts of an image that words of an expression refer to.
pub struct Facts<'a> {
    pub contents: &'a Contents,
    /// The word that named it.
    pub image: &'a str,
    /// The number of a user (`true`) or group by its name in the image.
    pub id_of: &'a dyn Fn(&str, bool) -> Outcome<i64>,
}

/// Returns whether a word begins an expression.
pub fn is_expression(word: &str) -> bool {
    matches!(word, "(" | ")" | "!") || (word.starts_with('-') && word.len() > 1)
}

/// Reads an expression: tests, `!` or `-not`, `-a` or nothing between two, `-o`, parentheses; of no words it is always true.
///
/// # Errors
/// For a word that is none of find(1), or a value that cannot be read.
pub fn parse(words: &[String], facts: &Facts<'_>) -> Outcome<Expr> {
    let mut parser = Parser { words, at: 0, facts };
    if words.is_empty() {
        return Ok(Expr::All(Vec::new()));
    }
    let expr = parser.any(0)?;
    match parser.words.get(parser.at) {
        None => Ok(expr),
        Some(word) if word == ")" => refuse!("invalid expression: no ( before )"),
        Some(word) => refuse!("paths must precede expression: {word:?}"),
    }
}

struct Parser<'a> {
    words: &'a [String],
    at: usize,
    facts: &'a Facts<'a>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn any(&mut self, depth: usize) -> Outcome<Expr> {
        let mut any = vec![self.all(depth)?];
        while matches!(self.peek(), Some("-o" | "--o" | "-or" | "--or")) {
            self.at += 1;
            any.push(self.all(depth)?);
        }
        Ok(if any.len() > 1 {
            Expr::Any(any)
        } else {
            any.remove(0)
        })
    }

    fn all(&mut self, depth: usize) -> Outcome<Expr> {
        let mut all = vec![self.not(depth)?];
        loop {
            match self.peek() {
                Some("-a" | "--a" | "-and" | "--and") => self.at += 1,
                None | Some(")" | "-o" | "--o" | "-or" | "--or") => break,
                Some(word) if !is_expression(word) => break,
                Some(_) => {}
            }
            all.push(self.not(depth)?);
        }
        Ok(if all.len() > 1 {
            Expr::All(all)
        } else {
            all.remove(0)
        })
    }

    fn not(&mut self, depth: usize) -> Outcome<Expr> {
        if depth > MAX_DEPTH {
            refuse!("invalid expression: nested deeper than {MAX_DEPTH} levels");
        }
        let Some(word) = self.words.get(self.at) else {
            refuse!("invalid expression: a test is missing at the end");
        };
        self.at += 1;
        match word.as_str() {
            "!" | "-not" | "--not" => Ok(Expr::Not(Box::new(self.not(depth + 1)?))),
            "(" => {
                let expr = self.any(depth + 1)?;
                if self.peek() != Some(")") {
                    refuse!("invalid expression: no ) behind (");
                }
                self.at += 1;
                Ok(expr)
            }
            word => self.test(word),
        }
    }

    fn test(&mut self, word: &str) -> Outcome<Expr> {
        // One dash or two, and the value behind an equals sign, as options are written.
        let bare = word.strip_prefix("--").or(word.strip_prefix('-'));
        let Some(bare) = bare else {
            refuse!("invalid expression: a test is missing before {word:?}")
        };
        let (name, inline) = bare
            .split_once('=')
            .map_or((bare, None), |(name, value)| (name, Some(value)));
        if name == "empty" && inline.is_none() {
            return Ok(Expr::Empty);
        }
        if !TESTS.contains(&name) {
            return Err(Failure::UnknownOption(name.to_owned()));
        }
        let value = if let Some(value) = inline {
            value
        } else {
            let Some(value) = self.words.get(self.at) else {
                refuse!("missing argument to -{name}")
            };
            self.at += 1;
            value
        };
        self.with_value(name, value).map_err(|failure| match failure {
            Failure::Arguments(why) => Failure::Arguments(format!("invalid -{name}: {why}")),
            other => other,
        })
    }

    fn with_value(&self, name: &str, value: &str) -> Outcome<Expr> {
        Ok(match name {
            "name" => Expr::Name(glob_with(value, false)?),
            "iname" => Expr::Name(glob_with(value, true)?),
            "path" | "wholename" => Expr::Path(glob_with(
                value.trim_start_matches("./").trim_matches('/'),
                false,
            )?),
            "ipath" | "iwholename" => {
                Expr::Path(glob_with(value.trim_start_matches("./").trim_matches('/'), true)?)
            }
            "xattr" => Expr::Xattr(glob_with(value, false)?),
            "type" => Expr::Type(types(value)?),
            "size" => {
                let (number, unit) = size(value)?;
                Expr::Size(number, unit)
            }
            "perm" => Expr::Perm(perm(value)?),
            "uid" => Expr::Uid(number(value)?),
            "gid" => Expr::Gid(number(value)?),
            "user" => Expr::Uid(Number::Exactly((self.facts.id_of)(value, true)?)),
            "group" => Expr::Gid(Number::Exactly((self.facts.id_of)(value, false)?)),
            "links" => Expr::Links(number(value)?),
            "layer" => Expr::Layer(number(value)?),
            "newer" => Expr::Newer(self.time_of(&tree_path(value)?)?),
            "newermt" => Expr::Newer(Time {
                sec: instant(value)?,
                nsec: 0,
            }),
            "mtime" => Expr::Age(number(value)?, DAY, now()),
            "mmin" => Expr::Age(number(value)?, 60, now()),
            _ => Expr::Sha256(sha256(value)?),
        })
    }

    fn time_of(&self, path: &TreePath) -> Outcome<Time> {
        let contents = self.facts.contents;
        let found = contents.follow(path)?.and_then(|item| contents.node_of(item));
        found
            .map(|node| node.mtime)
            .ok_or_else(|| no_path(path, self.facts.image))
    }
}

/// Names of the tests that take a value.
const TESTS: [&str; 21] = [
    "name",
    "iname",
    "path",
    "wholename",
    "ipath",
    "iwholename",
    "xattr",
    "type",
    "size",
    "perm",
    "uid",
    "gid",
    "user",
    "group",
    "links",
    "layer",
    "newer",
    "newermt",
    "mtime",
    "mmin",
    "sha256",
];

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Reads a time: RFC 3339, a date, or `@` and seconds since 1970.
fn instant(value: &str) -> Outcome<i64> {
    if let Some(seconds) = value.strip_prefix('@')
        && let Ok(seconds) = seconds.parse()
    {
        return Ok(seconds);
    }
    let whole = if value.contains('T') {
        value.to_owned()
    } else {
        format!("{value}T00:00:00Z")
    };
    match whole.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(time.as_second()),
        Err(_) => refuse!("{value:?} (want 2024-01-31, 2024-01-31T12:00:00Z or @SECONDS)"),
    }
}

fn number(value: &str) -> Outcome<Number> {
    let (of, digits): (fn(i64) -> Number, &str) = match value.as_bytes().first() {
        Some(b'+') => (Number::MoreThan, &value[1..]),
        Some(b'-') => (Number::LessThan, &value[1..]),
        _ => (Number::Exactly, value),
    };
    match digits.parse() {
        Ok(count) if digits.starts_with(|c: char| c.is_ascii_digit()) => Ok(of(count)),
        _ => refuse!("{value:?} (want a number, with + for more or - for less)"),
    }
}

/// Reads a size: without a letter it is in blocks of 512 bytes, as for find(1).
fn size(value: &str) -> Outcome<(Number, u64)> {
    let unit = match value.chars().last() {
        Some('c') => 1,
        Some('w') => 2,
        Some('k') => 1 << 10,
        Some('M') => 1 << 20,
        Some('G') => 1 << 30,
        _ => return Ok((number(value.strip_suffix('b').unwrap_or(value))?, 512)),
    };
    Ok((number(&value[..value.len() - 1])?, unit))
}

fn types(value: &str) -> Outcome<Vec<u8>> {
    let letters: Vec<&str> = value.split(',').collect();
    if letters
        .iter()
        .any(|letter| !["f", "d", "l", "c", "b", "p"].contains(letter))
    {
        refuse!("{value:?} (want f, d, l, c, b or p, or several with commas)");
    }
    Ok(letters
        .iter()
        .filter_map(|letter| letter.bytes().next())
        .collect())
}

fn perm(value: &str) -> Outcome<Perm> {
    let (of, digits): (fn(u32) -> Perm, &str) = match value.as_bytes().first() {
        Some(b'-') => (Perm::AllOf, &value[1..]),
        Some(b'/') => (Perm::AnyOf, &value[1..]),
        _ => (Perm::Exactly, value),
    };
    match u32::from_str_radix(digits, 8) {
        Ok(bits) if bits <= 0o7777 && !digits.starts_with('+') => Ok(of(bits)),
        _ => refuse!("{value:?} (want octal digits, with - for all of the bits or / for any)"),
    }
}

fn sha256(value: &str) -> Outcome<[u8; 32]> {
    let whole = if value.contains(':') {
        value.to_owned()
    } else {
        format!("sha256:{value}")
    };
    match whole.parse::<Digest>() {
        Ok(digest) if digest.algorithm() == crate::digest::Algorithm::Sha256 => Ok(file_digest(&digest)),
        _ => refuse!("{value:?} (want sha256: and 64 hex digits)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let contents = Contents::of_tocs(Vec::new(), Vec::new()).expect("no layers");
        let facts = Facts {
            contents: &contents,
            image: "img",
            id_of: &|_, _| Ok(7),
        };
        match parse(&words, &facts) {
            Ok(expr) => Ok(format!("{expr:?}")),
            Err(failure) => Err(failure
                .message(&super::super::super::failure::Call::default())
                .unwrap_or_default()),
        }
    }

    #[test]
    fn operators_bind_as_in_find() {
        for (text, want) in [
            ("", "All([])"),
            ("-empty", "Empty"),
            ("--layer=2 -empty", "All([Layer(Exactly(2)), Empty])"),
            (
                "-empty -o -uid 1 -a -gid +2",
                "Any([Empty, All([Uid(Exactly(1)), Gid(MoreThan(2))])])",
            ),
            (
                "( -empty -o -uid -1 ) ! -links 2",
                "All([Any([Empty, Uid(LessThan(1))]), Not(Links(Exactly(2)))])",
            ),
            ("-not ! -empty", "Not(Not(Empty))"),
            ("-perm -0022", "Perm(AllOf(18))"),
            ("-perm /6000", "Perm(AnyOf(3072))"),
            ("-perm 644", "Perm(Exactly(420))"),
            ("-size +1M", "Size(MoreThan(1), 1048576)"),
            ("-size 3", "Size(Exactly(3), 512)"),
            ("-size -5c", "Size(LessThan(5), 1)"),
            ("-type f,l", "Type([102, 108])"),
            ("-user root", "Uid(Exactly(7))"),
            ("-newermt @5", "Newer(Time { sec: 5, nsec: 0 })"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn odd_expressions_are_refused_with_a_reason() {
        let deep = "! ".repeat(200) + "-empty";
        for (text, want) in [
            ("-nmae x", "flag provided but not defined: -nmae"),
            ("-name", "missing argument to -name"),
            ("( -empty", "no ) behind ("),
            ("-empty )", "no ( before )"),
            ("-empty -o", "a test is missing at the end"),
            ("-o -empty", "flag provided but not defined: -o"),
            ("-empty etc", "paths must precede expression: \"etc\""),
            ("-type x", "invalid -type: \"x\""),
            ("-size +", "invalid -size: \"+\""),
            ("-size 1T", "invalid -size: \"1T\""),
            ("-size ++1", "invalid -size"),
            ("-perm 999", "invalid -perm: \"999\""),
            ("-perm 10000", "invalid -perm"),
            ("-sha256 00", "invalid -sha256: \"00\""),
            ("-name [", "invalid pattern"),
            ("-newer gone", "img has no gone"),
            ("-newermt soon", "invalid -newermt: \"soon\""),
            (&deep, "nested deeper than 100 levels"),
        ] {
            let message = read(text).expect_err(text);
            assert!(message.contains(want), "{text}: {message}");
        }
    }
}
