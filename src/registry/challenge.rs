// SPDX-License-Identifier: Apache-2.0
//! The header `WWW-Authenticate`. Spec: RFC 9110, section 11.6.1; distribution, "Token Authentication Specification".

/// A way to prove who asks, as a registry wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token of a token service.
    Bearer(Bearer),
}

/// Parameters of a token challenge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bearer {
    /// URL of the token service.
    pub realm: String,
    /// Name of the registry to that service.
    pub service: String,
    /// Rights that the refused request needs, separated by spaces.
    pub scope: String,
}

impl Challenge {
    /// Returns the challenge to answer among those of the header lines: a token before a password.
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for line in lines {
            for (scheme, parameters) in split(line) {
                if scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                } else if scheme.eq_ignore_ascii_case("bearer") {
                    let bearer = Bearer::of(&parameters);
                    if !bearer.realm.is_empty() {
                        return Some(Self::Bearer(bearer));
                    }
                }
            }
        }
        basic
    }
}

impl Bearer {
    fn of(parameters: &[(String, String)]) -> Self {
        let mut out = Self::default();
        for (name, value) in parameters {
            match name.to_ascii_lowercase().as_str() {
                "realm" => out.realm.clone_from(value),
                "service" => out.service.clone_from(value),
                "scope" => out.scope.clone_from(value),
                _ => {}
            }
        }
        out
    }
}

/// Splits a header line into challenges: the scheme, and its parameters in order.
fn split(line: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut out: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (token, after) = take_token(rest);
        if token.is_empty() {
            // A comma, or a character that no token has.
            let mut chars = rest.chars();
            chars.next();
            rest = chars.as_str().trim_start();
            continue;
        }
        let after = after.trim_start();
        match (after.strip_prefix('='), out.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let (value, after) = take_value(value.trim_start());
                parameters.push((token.to_owned(), value));
                rest = after.trim_start();
            }
            // A parameter of no scheme says nothing.
            (Some(value), None) => rest = take_value(value.trim_start()).1.trim_start(),
            (None, _) => {
                out.push((token.to_owned(), Vec::new()));
                rest = after;
            }
        }
    }
    out
}

fn take_token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_whitespace() || "=,\"".contains(c));
    text.split_at(end.unwrap_or(text.len()))
}

/// Takes a token or a quoted string, with its escapes resolved.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = take_token(text);
        return (token.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            _ => value.push(c),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.to_owned(),
            service: service.to_owned(),
            scope: scope.to_owned(),
        })
    }

    #[test]
    fn challenges_are_read_in_every_form() {
        let scope = "repository:a/b:pull,push";
        for (lines, want) in [
            (vec![r#"Basic realm="x""#], Some(Challenge::Basic)),
            (vec!["basic"], Some(Challenge::Basic)),
            (
                vec![r#"Bearer realm="https://t/x",service="s",scope="repository:a/b:pull,push""#],
                Some(bearer("https://t/x", "s", scope)),
            ),
            (
                vec![r#"Basic realm="a, b", bearer  realm = "https://t" , error="insufficient_scope""#],
                Some(bearer("https://t", "", "")),
            ),
            (
                vec![r#"Bearer realm="a\"b",service=s"#],
                Some(bearer("a\"b", "s", "")),
            ),
            (
                vec![r#"Basic realm="x""#, r#"Bearer realm="https://t""#],
                Some(bearer("https://t", "", "")),
            ),
            (vec![r#"Bearer service="s""#], None),
            (vec!["Negotiate abc=="], None),
            (vec![""], None),
            (vec![",,=\"", "=x"], None),
            (
                vec![r#"Bearer realm="never ends"#],
                Some(bearer("never ends", "", "")),
            ),
        ] {
            assert_eq!(Challenge::read(lines.iter().copied()), want, "{lines:?}");
        }
    }
}
