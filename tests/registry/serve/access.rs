// SPDX-License-Identifier: Apache-2.0
//! Who is answered: passwords, certificates, addresses.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Served;
use crate::support::Env;

/// The password `secret` of a user `me`.
const ME: &str = "me:$2y$04$DVUKD3lGPeAJbV2llWF/UueGNI05NtTqmr7rJxvv4b2fvXrWoWHie";
/// `me:secret` and `me:wrong`.
const RIGHT: &str = "Basic bWU6c2VjcmV0";
const WRONG: &str = "Basic bWU6d3Jvbmc=";

#[test]
fn only_users_are_answered() {
    let env = Env::in_memory();
    env.write("users", format!("# people\n{ME}\n"));
    std::fs::create_dir(env.path("root")).expect("root");
    let served = Served::start(&env, &["--root", "root", "--write", "--htpasswd", "users"]);
    for path in ["/v2/", "/v2/app/tags/list", "/metrics", "/nothing"] {
        for headers in [
            &[][..],
            &[("authorization", WRONG)],
            &[("authorization", "Bearer x")],
        ] {
            let told = served.ask("GET", path, headers, b"").refuses(401, "UNAUTHORIZED");
            assert!(told.header("www-authenticate").starts_with("Basic "));
        }
    }
    served
        .ask("GET", "/v2/", &[("authorization", RIGHT)], b"")
        .is(200);
    served.get("/healthz").is(200);
    // A refusal does not wait for the body, and asks for none.
    let head = "POST /v2/app/blobs/uploads/ HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000000\r\n\r\n";
    let answer = served.raw(head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(served.log().contains(" me GET /v2/ 200 "), "{}", served.log());
    // A user who is added counts from the signal on; a file that is broken changes nothing.
    env.write("users", "nonsense\n");
    served.signal(Signal::HUP);
    let end = Instant::now() + Duration::from_secs(20);
    while !served.log().contains("line 1 is no user") {
        assert!(Instant::now() < end, "{}", served.log());
    }
    served
        .ask("GET", "/v2/", &[("authorization", RIGHT)], b"")
        .is(200);
    env.write("users", ME.replace("me:", "other:"));
    served.signal(Signal::HUP);
    while served.ask("GET", "/v2/", &[("authorization", RIGHT)], b"").status == 200 {
        assert!(Instant::now() < end, "the old user is still known");
    }
    // Our own client with the credentials.
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img:v1"]).ok();
    let name = served.name("app:1");
    let line = env.umoci(["push", "--image", "img:v1", &name]).fails();
    assert!(line.contains("umoci login"), "{line}");
    let login = format!(
        "echo secret | {} login --authfile auth.json -u other --password-stdin {}",
        env!("CARGO_BIN_EXE_umoci"),
        served.address
    );
    env.sh(&login);
    env.umoci(["push", "--authfile", "auth.json", "--image", "img:v1", &name])
        .ok();
}

#[test]
fn the_server_does_not_begin_with_what_it_cannot_keep() {
    let env = Env::in_memory();
    env.umoci(["init", "--layout", "img"]).ok();
    env.write("users", "me:plain\n");
    env.write("empty.pem", "");
    env.write("file", "");
    for (words, says) in [
        (&[][..], "nothing to serve"),
        (&["--root", ".", "img"], "mutually exclusive"),
        (&["--root", "none"], "is no directory"),
        (&["none"], "none"),
        (&["a=img", "a=img"], "two layouts"),
        (&["IMG=img"], "invalid name of a repository: \"IMG\""),
        (&["../x=img"], "invalid name of a repository"),
        (&["--listen", "nonsense", "img"], "invalid --listen"),
        (&["--listen", "0.0.0.0:0", "img"], "--insecure goes without"),
        (&["--listen", "[::]:0", "img"], "--insecure goes without"),
        (&["--htpasswd", "users", "img"], "line 1 is no user"),
        (&["--htpasswd", "none", "img"], "read none"),
        (&["--tls-cert", "empty.pem", "img"], "--tls-key"),
        (
            &["--tls-cert", "empty.pem", "--tls-key", "empty.pem", "img"],
            "no certificate is in it",
        ),
        (&["--max-blob", "x", "img"], "invalid --max-blob"),
    ] {
        let words = [&["serve"][..], words].concat();
        let line = env.umoci(&words).fails();
        assert!(line.contains(says), "{words:?}: {line}");
    }
    let served = Served::start(&env, &["img"]);
    let line = env.umoci(["serve", "--listen", &served.address, "img"]).fails();
    assert!(line.contains("address already in use"), "{line}");
    let open = Served::start(&env, &["--listen", "0.0.0.0:0", "--insecure", "img"]);
    assert!(open.address.starts_with("0.0.0.0:"), "{}", open.address);
}

#[test]
#[ignore = "needs openssl: run by tests/all.sh"]
fn the_server_speaks_tls() {
    let env = Env::new();
    super::super::access::certificates(&env);
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img:v1"]).ok();
    std::fs::create_dir(env.path("root")).expect("root");
    let tls = ["--tls-cert", "leaf.crt", "--tls-key", "leaf.key"];
    let served = Served::start(&env, &[&["--root", "root", "--write"][..], &tls].concat());
    let name = served.name("app:1");
    let line = env.umoci(["push", "--image", "img:v1", &name]).fails();
    assert!(line.contains("certs.d"), "{line}");
    let dir = format!(".config/containers/certs.d/{}", served.address);
    env.sh(&format!("mkdir -p {dir}; cp ca.crt {dir}/ca.crt"));
    env.umoci(["push", "--image", "img:v1", &name]).ok();
    env.umoci(["pull", "--layout", "back", &name]).ok();
    // Plain HTTP gets no answer.
    assert!(
        !served
            .raw(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
            .contains("200")
    );
    served.signal(Signal::HUP);
    env.umoci(["pull", "--layout", "again", &name]).ok();
    let key = ["serve", "--tls-cert", "leaf.crt", "--tls-key", "ca.key", "img"];
    let line = env.umoci(key).fails();
    assert!(line.contains("use leaf.crt"), "{line}");
}
