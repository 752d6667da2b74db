// SPDX-License-Identifier: Apache-2.0
//! The distribution-spec 1.1, and what of 1.2 is served, restated as tables: a row is a name, requests, and what is to be answered.
//!
//! `blobs` and `manifests` hold the rows of a server. Each is run against `umoci serve`, which has to pass it, and against Debian's
//! docker-registry, whose known deviations are a column. `client` holds the requests of our own client.
//! Rules of the spec that need more than one request and its answer are tested elsewhere:
//!
//! | rule | tests |
//! |---|---|
//! | 401, challenges, tokens, credentials; a server with users | `access`, `serve::access` |
//! | a body that breaks off goes on with a closed range | `transfers::a_body_that_breaks_off_goes_on_where_it_stopped` |
//! | 429 and `Retry-After` | `transfers::a_server_that_is_busy_is_asked_again` |
//! | no `Authorization` to the host of a redirect | `transfers::a_redirect_takes_no_credentials_along` |
//! | `Warning` | `transfers::a_warning_of_the_registry_is_shown_once` |
//! | `Link` in a circle, or to another host | `hostile::a_list_without_end_is_given_up` |
//! | digests, media types and lengths that are not what they should be | `hostile::a_lie_leaves_nothing_under_a_name` |
//! | a mount or a blob that the registry only claims to have | `copies` |
//! | names, paths and methods that a server refuses | `serve::hostile`, `serve::protocol` |
//! | pushes beside collections, kills and one another | `serve::together` |

#![allow(clippy::needless_update, reason = "a row that says all ends as the others do")]

mod blobs;
mod client;
mod content;
mod manifests;

use content::Content;

use super::Registry;
use super::serve::{Served, Told, ask};
use crate::support::Env;

/// A check.
///
/// A request is `METHOD PATH | HEADER: VALUE … < BODY`, its path below the repository unless it begins with `/` or is `{location}`,
/// the last `Location` that was answered. An answer is `STATUS | …`, followed by any of `HEADER: VALUE` (`*` for any, `-` for none),
/// `/JSON/POINTER = VALUE`, and the code of an error; and `> BODY`. A body is the name of an object, or a part of it: `blob[0..10]`.
struct Row {
    name: &'static str,
    /// Values of `{each}`, with each of which the row is run.
    each: &'static [&'static str],
    /// Objects that are pushed before, with all that they need; of one with `below` before it only what it needs.
    given: &'static [&'static str],
    /// Requests, and their answers.
    steps: &'static [(&'static str, &'static str)],
    /// What Debian's registry (2.8) does otherwise, by the value of `{each}` or for all (`""`): `METHOD STATUS`, which ends the row,
    /// or `METHOD` and what differs.
    debian: &'static [(&'static str, &'static str)],
}

/// A row without anything.
const ROW: Row = Row {
    name: "",
    each: &[""],
    given: &[],
    steps: &[],
    debian: &[],
};

impl Row {
    /// Runs it with one value of `{each}` in repositories of its own. Returns the differences from the table, if they are not
    /// those that are known.
    fn run(&self, mut room: Room<'_>, known: &str) -> Option<String> {
        for name in self.given {
            let name = name.replace("{each}", room.each);
            match name.strip_prefix("below ") {
                Some(name) => room.push_below(name),
                None => room.push(&name),
            }
        }
        let mut differences = Vec::new();
        for (request, answer) in self.steps {
            let (method, told) = room.ask(request);
            let wanted = room.filled(answer);
            let status = wanted.split(' ').next().unwrap_or_default();
            if told.status.to_string() != status {
                differences.push(format!("{method} {}", told.status));
                break;
            }
            let found = room.differences(&told, &wanted);
            differences.extend(found.iter().map(|difference| format!("{method} {difference}")));
        }
        let differences = differences.join(", ");
        let is_known = differences == room.filled(known);
        (!is_known).then(|| format!("{}, {}: {differences:?}", self.name, room.each))
    }

    /// Returns the deviations of Debian's registry.
    fn of_debian(&self, each: &str) -> &'static str {
        let own = self.debian.iter().find(|(value, _)| *value == each);
        let row = own.or_else(|| self.debian.iter().find(|(value, _)| value.is_empty()));
        row.map_or("", |(_, difference)| difference)
    }
}

/// The state of a row that runs.
struct Room<'a> {
    address: &'a str,
    content: &'a Content,
    repository: String,
    each: &'a str,
    location: String,
}

impl Room<'_> {
    /// Puts values in the place of `{…}`.
    fn filled(&self, text: &str) -> String {
        let mut out = text
            .replace("{each}", self.each)
            .replace("{repo}", &self.repository);
        // Braces of JSON have no such name in them.
        while let Some((begin, kind, name)) = placeholder(&out, self.content) {
            let object = &self.content[name];
            let value = match kind {
                "size" => object.bytes.len().to_string(),
                "type" => object.media_type.clone(),
                "fallback" => object.digest("sha256").replace(':', "-"),
                algorithm => object.digest(algorithm),
            };
            let end = begin + kind.len() + name.len() + 3;
            out.replace_range(begin..end, &value);
        }
        out
    }

    /// Sends the request of a step. Returns its method and the answer.
    fn ask(&mut self, request: &str) -> (String, Told) {
        let request = self.filled(request);
        let (head, body) = request.split_once(" < ").unwrap_or((&request, ""));
        let mut parts = head.split(" | ");
        let (method, path) = parts
            .next()
            .and_then(|line| line.split_once(' '))
            .expect("request");
        let headers: Vec<_> = parts
            .map(|header| header.split_once(": ").expect("header"))
            .collect();
        let path = match path.strip_prefix("{location}") {
            Some(query) if self.location.contains('?') => self.location.clone() + &query.replace('?', "&"),
            Some(query) => self.location.clone() + query,
            None if path.starts_with('/') => path.to_owned(),
            None => format!("/v2/{}/{path}", self.repository),
        };
        let mut told = ask(self.address, method, &path, &headers, &self.bytes(body));
        // A location may be a whole URL, and a media type may have parameters.
        if let Some(location) = told.headers.get_mut("location") {
            location.drain(..location.find("/v2/").expect("location"));
            location.clone_into(&mut self.location);
        }
        if let Some(media_type) = told.headers.get_mut("content-type") {
            media_type.truncate(media_type.find(';').unwrap_or(media_type.len()));
        }
        (method.to_owned(), told)
    }

    /// Returns the bytes of an object, or of a part of it.
    fn bytes(&self, name: &str) -> Vec<u8> {
        let Some((name, part)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) else {
            return if name.is_empty() {
                Vec::new()
            } else {
                self.content[name].bytes.clone()
            };
        };
        let (begin, end) = part.split_once("..").expect("part");
        let bytes = &self.content[name].bytes;
        bytes[begin.parse().unwrap_or(0)..end.parse().unwrap_or(bytes.len())].to_vec()
    }

    fn differences(&self, told: &Told, wanted: &str) -> Vec<String> {
        let (head, body) = wanted
            .split_once(" > ")
            .map_or((wanted, None), |(head, body)| (head, Some(body)));
        let mut out = Vec::new();
        for part in head.split(" | ").skip(1) {
            let found = if let Some((pointer, value)) = part.split_once(" = ") {
                let found = told.json().pointer(pointer).map(ToString::to_string);
                let found = found.unwrap_or_else(|| "nothing".to_owned());
                (found != value).then(|| format!("{pointer} = {found}"))
            } else if let Some((name, value)) = part.split_once(": ") {
                let found = told.headers.get(name).map_or("-", String::as_str);
                let is_meant = if value == "*" {
                    found != "-"
                } else {
                    found == value
                };
                (!is_meant).then(|| format!("{name}: {found}"))
            } else {
                let found = told.json()["errors"][0]["code"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                (found != part).then_some(found)
            };
            out.extend(found);
        }
        if body.is_some_and(|body| told.body != self.bytes(body)) {
            out.push("another body".to_owned());
        }
        out
    }

    /// Pushes an object, after all that it needs.
    fn push(&mut self, name: &str) {
        self.push_below(name);
        let media_type = &self.content[name].media_type;
        let put = if media_type.is_empty() {
            self.ask("POST blobs/uploads/");
            format!("PUT {{location}}?digest={{sha256:{name}}} < {name}")
        } else {
            format!("PUT manifests/{{sha256:{name}}} | content-type: {media_type} < {name}")
        };
        self.ask(&put).1.is(201);
    }

    /// Pushes all that an object needs.
    fn push_below(&mut self, name: &str) {
        for below in &self.content[name].needs {
            self.push(below);
        }
    }
}

/// Returns where the first `{KIND:NAME}` of an object is, its kind, and its name.
fn placeholder<'a>(text: &'a str, content: &Content) -> Option<(usize, &'a str, &'a str)> {
    text.match_indices('{').find_map(|(begin, _)| {
        let (kind, rest) = text[begin + 1..].split_once(':')?;
        let (name, _) = rest.split_once('}')?;
        let is_meant = !kind.contains('{') && content.contains_key(name);
        is_meant.then_some((begin, kind, name))
    })
}

/// Runs all rows. Returns the differences from the table that `known` does not have for a row and a value of `{each}`.
fn run(address: &str, known: fn(&Row, &str) -> &'static str) -> Vec<String> {
    let content = content::content();
    let mut out = Vec::new();
    for (number, row) in blobs::ROWS.iter().chain(manifests::ROWS).enumerate() {
        for (each_number, each) in row.each.iter().enumerate() {
            let room = Room {
                address,
                content: &content,
                repository: format!("conformance/row{number}/with{each_number}"),
                each,
                location: String::new(),
            };
            out.extend(row.run(room, known(row, each)));
        }
    }
    out
}

#[test]
fn our_server_does_what_the_spec_says() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let differences = run(&served.address, |_, _| "");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    for layout in env.sh("find root -name index.json -printf '%h\\n'").lines() {
        env.umoci(["fsck", "--fast", "--layout", layout]).ok();
    }
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn the_deviations_of_debians_registry_are_those_that_are_known() {
    let env = Env::in_memory();
    let registry = Registry::start(&env, "");
    let differences = run(&registry.address, Row::of_debian);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
