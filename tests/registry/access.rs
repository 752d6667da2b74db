// SPDX-License-Identifier: Apache-2.0
//! Proof of who asks: files, helpers, tokens, certificates.

use super::fake::{Answer, Asked, Content, Fake};
use super::pull;
use crate::support::Env;

/// A registry that wants the user `user` with the password `secret`.
fn with_password() -> Fake {
    let content = Content::new(10);
    Fake::start(move |asked| {
        // user:secret
        if asked
            .headers
            .get("authorization")
            .is_none_or(|auth| auth != "Basic dXNlcjpzZWNyZXQ=")
        {
            return Answer::new(401, "").header("www-authenticate", "Basic realm=\"x\"");
        }
        if asked.path == "/v2/" {
            return Answer::new(200, "{}");
        }
        content.answer(asked)
    })
}

#[test]
fn credentials_come_from_the_first_file_that_has_some() {
    let auth = |key: &str, secret: &str| {
        let pair = if secret == "secret" {
            "dXNlcjpzZWNyZXQ="
        } else {
            "dXNlcjp3cm9uZw=="
        };
        format!(r#"{{"auths":{{"{key}":{{"auth":"{pair}"}}}}}}"#)
    };
    let fake = with_password();
    let host = fake.address.as_str();
    let repository = format!("{host}/a/b");
    let url = format!("http://{host}/v2/");
    for (files, is_good) in [
        (vec![], false),
        (vec![(".docker/config.json", auth(host, "secret"))], true),
        (vec![(".docker/config.json", auth(&url, "secret"))], true),
        (vec![(".docker/config.json", auth(&repository, "secret"))], true),
        (vec![(".docker/config.json", auth("other", "secret"))], false),
        (
            vec![
                (".config/containers/auth.json", auth(host, "secret")),
                (".docker/config.json", auth(host, "wrong")),
            ],
            true,
        ),
        (
            vec![
                (".config/containers/auth.json", auth(host, "wrong")),
                (".docker/config.json", auth(host, "secret")),
            ],
            false,
        ),
        (
            vec![(
                ".docker/config.json",
                format!(
                    r#"{{"auths":{{"{host}":{{"auth":"dXNlcjp3cm9uZw=="}},"{repository}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#
                ),
            )],
            true,
        ),
    ] {
        let env = Env::new().var("XDG_RUNTIME_DIR", "/nowhere");
        for (name, text) in &files {
            env.write(name, text);
        }
        let output = pull(&env, &fake);
        if is_good {
            output.ok();
        } else {
            let line = output.fails();
            assert!(
                line.contains("401") && line.contains("umoci login"),
                "{files:?}: {line}"
            );
        }
    }
}

#[test]
fn a_login_is_checked_before_it_is_written() {
    let fake = with_password();
    let env = Env::new().var("XDG_RUNTIME_DIR", "/nowhere");
    let login = |password: &str| {
        let call = format!(
            "echo {password} | {} login --authfile auth.json -u user --password-stdin {}",
            env!("CARGO_BIN_EXE_umoci"),
            fake.address
        );
        env.run("/bin/sh", ["-c", &call])
    };
    let line = env.umoci(["login", "--username", "user", &fake.address]).fails();
    assert!(line.contains("no terminal"), "{line}");
    let line = login("wrong").fails();
    assert!(line.contains("log in to") && line.contains("401"), "{line}");
    assert!(!env.path("auth.json").exists());
    login("secret").ok();
    let mode = env.sh("stat -c %a auth.json");
    assert_eq!(mode, "600\n");
    let image = format!("{}/a/b:1", fake.address);
    let call = [
        "pull",
        "--authfile",
        "auth.json",
        "--referrers",
        "no",
        "--layout",
        "L",
        &image,
    ];
    env.umoci(call).ok();
    env.umoci(["logout", "--authfile", "auth.json", &fake.address])
        .ok();
    assert!(!env.read("auth.json").contains("dXNlcjpzZWNyZXQ="));
    env.umoci(["logout", "--authfile", "auth.json", &fake.address])
        .ok();
    login("secret").ok();
    env.umoci(["logout", "--authfile", "auth.json", "--all"]).ok();
    assert!(!env.read("auth.json").contains("dXNlcjpzZWNyZXQ="));
}

#[test]
fn a_helper_is_asked_for_its_host() {
    let fake = with_password();
    let dir = Env::new();
    dir.write(
        "docker-credential-good",
        "#!/bin/sh\ncat >&2\necho '{\"Username\":\"user\",\"Secret\":\"secret\"}'\n",
    );
    dir.write(
        "docker-credential-none",
        "#!/bin/sh\necho credentials not found in native keychain; exit 1\n",
    );
    dir.write("docker-credential-bad", "#!/bin/sh\necho locked; exit 1\n");
    dir.sh("chmod +x docker-credential-*");
    let path = format!("{}:/usr/bin:/bin", dir.path("").display());
    for (config, says) in [
        (
            format!(r#"{{"credHelpers":{{"{}":"good"}}}}"#, fake.address),
            None,
        ),
        (r#"{"credsStore":"good"}"#.to_owned(), None),
        (
            format!(
                r#"{{"credHelpers":{{"{}":"none"}},"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#,
                fake.address, fake.address
            ),
            None,
        ),
        (r#"{"credsStore":"none"}"#.to_owned(), Some("401")),
        (
            r#"{"credsStore":"bad"}"#.to_owned(),
            Some("docker-credential-bad get: locked"),
        ),
        (
            r#"{"credsStore":"missing"}"#.to_owned(),
            Some("docker-credential-missing is not installed"),
        ),
        (
            r#"{"credsStore":"../x"}"#.to_owned(),
            Some("invalid name of a credential helper"),
        ),
    ] {
        let env = Env::new().var("XDG_RUNTIME_DIR", "/nowhere").var("PATH", &path);
        env.write(".docker/config.json", &config);
        let output = pull(&env, &fake);
        match says {
            None => drop(output.ok()),
            Some(says) => {
                let stderr = output.stderr.clone();
                assert!(
                    stderr.contains(says) && output.code == Some(1),
                    "{config}: {stderr}"
                );
            }
        }
    }
}

/// A registry that wants a token of the service at `realm`.
fn with_token(realm: String) -> Fake {
    let content = Content::new(10);
    Fake::start(move |asked: &Asked| {
        if asked
            .headers
            .get("authorization")
            .is_none_or(|auth| auth != "Bearer good")
        {
            let challenge = format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:a/b:pull\"");
            return Answer::new(401, "").header("www-authenticate", challenge);
        }
        content.answer(asked)
    })
}

#[test]
fn a_token_is_fetched_once() {
    let service = Fake::start(|_| Answer::new(200, r#"{"token":"good","expires_in":300}"#));
    let fake = with_token(format!("http://{}/token", service.address));
    pull(&Env::new(), &fake).ok();
    assert_eq!(
        service.lines(),
        ["GET /token?service=s&scope=repository%3Aa%2Fb%3Apull"]
    );
    assert_eq!(fake.lines().len(), 4);
}

#[test]
fn credentials_are_exchanged_for_a_token() {
    for (auth, want) in [
        (
            r#""auth":"dXNlcjpzZWNyZXQ=""#,
            "GET Some(\"Basic dXNlcjpzZWNyZXQ=\") ",
        ),
        (
            r#""identitytoken":"a/b""#,
            "POST None grant_type=refresh_token&refresh_token=a%2Fb&service=s&scope=repository%3Aa%2Fb%3Apull&client_id=umoci",
        ),
    ] {
        let service = Fake::start(|_| Answer::new(200, r#"{"access_token":"good"}"#));
        let fake = with_token(format!("http://{}/token", service.address));
        let env = Env::new().var("XDG_RUNTIME_DIR", "/nowhere");
        env.write(
            ".docker/config.json",
            format!(r#"{{"auths":{{"{}":{{{auth}}}}}}}"#, fake.address),
        );
        pull(&env, &fake).ok();
        let asked = service.asked();
        let [one] = asked.as_slice() else {
            panic!("{asked:?}")
        };
        let body = String::from_utf8_lossy(&one.body);
        assert_eq!(
            format!("{} {:?} {body}", one.method, one.headers.get("authorization")),
            want
        );
    }
}

#[test]
fn a_token_that_ended_is_renewed() {
    let content = Content::new(10);
    let service = Fake::start(|_| Answer::new(200, r#"{"token":"good"}"#));
    let realm = format!("http://{}/token", service.address);
    let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let fake = Fake::start(move |asked: &Asked| {
        // The first request of each path is refused, whatever it brings.
        let is_new = seen.lock().expect("seen").insert(asked.path.clone());
        if is_new || !asked.headers.contains_key("authorization") {
            return Answer::new(401, "").header("www-authenticate", format!("Bearer realm=\"{realm}\""));
        }
        content.answer(asked)
    });
    let env = Env::new();
    env.umoci([
        "pull",
        "--referrers",
        "no",
        "--layout",
        "L",
        &format!("{}/a/b:1", fake.address),
    ])
    .ok();
}

/// Makes an authority and a certificate for this machine, as `ca.crt`, `leaf.crt` and `leaf.key`.
pub fn certificates(env: &Env) {
    env.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.crt \
             -subj /CN=authority -addext basicConstraints=critical,CA:TRUE 2>/dev/null
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf 2>/dev/null
         printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >leaf.ext
         openssl x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out leaf.crt 2>/dev/null",
    );
}

#[test]
#[ignore = "needs docker-registry and openssl: run by tests/all.sh"]
fn a_certificate_counts_by_its_authority_and_its_name() {
    let image = crate::support::Image::new();
    let env = &image.env;
    certificates(env);
    let (certificate, key) = (env.path("leaf.crt"), env.path("leaf.key"));
    let settings = format!(
        "  tls: {{certificate: {}, key: {}}}",
        certificate.display(),
        key.display()
    );
    let registry = super::Registry::start(env, &settings);
    let name = registry.name("app:1");
    let push = || env.umoci(["push", "--image", "img:latest", &name]);
    let line = push().fails();
    assert!(
        line.contains("certificate is not trusted") && line.contains("certs.d"),
        "{line}"
    );
    env.sh(&format!(
        "mkdir -p .config/containers/certs.d/{0} && cp ca.crt .config/containers/certs.d/{0}/",
        registry.address
    ));
    push().ok();
    // The same server by a name that its certificate does not have.
    let other = name.replace("127.0.0.1", "127.0.0.2");
    env.sh(&format!(
        "cp -r .config/containers/certs.d/{} .config/containers/certs.d/{}",
        registry.address,
        registry.address.replace("127.0.0.1", "127.0.0.2")
    ));
    let line = env.umoci(["pull", "--layout", "back", &other]).fails();
    assert!(line.contains("127.0.0.2"), "{line}");
}

#[test]
#[ignore = "needs docker-registry and htpasswd: run by tests/all.sh"]
fn a_push_needs_the_password() {
    let image = crate::support::Image::new();
    let env = image.env.var("XDG_RUNTIME_DIR", "/nowhere");
    env.sh("htpasswd -Bbn user secret >passwords");
    let settings = format!(
        "auth: {{htpasswd: {{realm: test, path: {}}}}}",
        env.path("passwords").display()
    );
    let registry = super::Registry::start(&env, &settings);
    let name = registry.name("app:1");
    let line = env.umoci(["push", "--image", "img:latest", &name]).fails();
    assert!(line.contains("401") && line.contains(&registry.address), "{line}");
    env.sh(&format!(
        "echo secret | {} login -u user --password-stdin {}",
        env!("CARGO_BIN_EXE_umoci"),
        registry.address
    ));
    env.umoci(["push", "--image", "img:latest", &name]).ok();
    env.umoci(["pull", "--layout", "back", &name]).ok();
}
