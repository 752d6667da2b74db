// SPDX-License-Identifier: Apache-2.0
//! Bodies that break off, and what is asked for.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake::{Answer, Asked, Content, Fake, ranged};
use super::pull;
use crate::support::Env;
use umoci::digest::Digest;

/// Returns whether a request is for a blob.
fn is_for(asked: &Asked, blob: &[u8]) -> bool {
    asked.path.ends_with(&format!("blobs/{}", Digest::sha256(blob)))
}

#[test]
fn a_pull_asks_for_each_part_once_and_again_for_nothing() {
    let content = Content::new(100_000);
    let fake = Fake::start(move |asked| content.answer(asked));
    let env = Env::new();
    pull(&env, &fake).ok();
    let first = fake.lines();
    assert_eq!(first.len(), 3, "{first:?}");
    pull(&env, &fake).ok();
    assert_eq!(fake.lines()[3..], ["HEAD /v2/a/b/manifests/1"]);
    env.umoci(["fsck", "--layout", "L"]).ok();
}

#[test]
fn a_body_that_breaks_off_goes_on_where_it_stopped() {
    // The way in which the server serves the second request: by a range, or from the start.
    for has_ranges in [true, false] {
        for cut in [0, 1, 4096, 99_999] {
            let content = Content::new(100_000);
            let tries = AtomicUsize::new(0);
            let fake = Fake::start(move |asked| {
                if !is_for(asked, &content.layer) {
                    return content.answer(asked);
                }
                if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                    return Answer::new(200, content.layer.clone()).cut(cut);
                }
                if has_ranges {
                    ranged(asked, &content.layer)
                } else {
                    Answer::new(200, content.layer.clone())
                }
            });
            let env = Env::new();
            pull(&env, &fake).ok();
            env.umoci(["fsck", "--layout", "L"]).ok();
            let asked = fake.asked();
            let ranges: Vec<_> = asked
                .iter()
                .filter_map(|asked| asked.headers.get("range"))
                .collect();
            let want = format!("bytes={cut}-99999");
            assert_eq!(ranges, if cut == 0 { vec![] } else { vec![&want] });
        }
    }
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    for (status, header) in [
        (429, Some(("retry-after", "0"))),
        (503, None),
        (500, None),
        (502, Some(("retry-after", "0"))),
    ] {
        let content = Content::new(10);
        let tries = AtomicUsize::new(0);
        let fake = Fake::start(move |asked| {
            if tries.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                let answer = Answer::new(status, "later");
                return match header {
                    Some((name, value)) => answer.header(name, value),
                    None => answer,
                };
            }
            content.answer(asked)
        });
        pull(&Env::new(), &fake).ok();
    }
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    let fake = Fake::start(|_| Answer::new(429, "slow down").header("retry-after", "3600"));
    let line = pull(&Env::new(), &fake).fails();
    assert!(
        line.contains("429") && line.contains("try again in 3600 s"),
        "{line}"
    );
    assert_eq!(fake.lines().len(), 1);
    let fake = Fake::start(|_| Answer::new(503, ""));
    assert!(pull(&Env::new(), &fake).fails().contains("503"));
    assert_eq!(fake.lines().len(), 5);
}

#[test]
fn a_redirect_takes_no_credentials_along() {
    let content = std::sync::Arc::new(Content::new(1000));
    let (elsewhere, there) = (std::sync::Arc::clone(&content), std::sync::Arc::clone(&content));
    let storage = Fake::start(move |asked| {
        let answer = if asked.path == "/layer" {
            elsewhere.layer.clone()
        } else {
            Vec::new()
        };
        Answer::new(200, answer)
    });
    let url = format!("http://{}/layer", storage.address);
    let fake = Fake::start(move |asked| {
        if !asked.headers.contains_key("authorization") {
            return Answer::new(401, "").header("www-authenticate", "Basic realm=\"x\"");
        }
        if is_for(asked, &there.layer) {
            return Answer::new(307, "").header("location", url.clone());
        }
        there.answer(asked)
    });
    let env = Env::new();
    // user:password
    let auth = format!(
        r#"{{"auths":{{"{}":{{"auth":"dXNlcjpwYXNzd29yZA=="}}}}}}"#,
        fake.address
    );
    env.write(".docker/config.json", auth);
    pull(&env, &fake).ok();
    let asked = storage.asked();
    let to_layer: Vec<_> = asked.iter().filter(|asked| asked.path == "/layer").collect();
    assert_eq!(to_layer.len(), 1);
    assert!(!to_layer[0].headers.contains_key("authorization"));
}

#[test]
fn a_warning_of_the_registry_is_shown_once() {
    let content = Content::new(10);
    let fake = Fake::start(move |asked| {
        content
            .answer(asked)
            .header("warning", "299 - \"going \\\"away\\\"\"")
    });
    let output = pull(&Env::new(), &fake);
    assert_eq!(
        output.stderr.matches("says: going \"away\"").count(),
        1,
        "{}",
        output.stderr
    );
    output.ok();
}
