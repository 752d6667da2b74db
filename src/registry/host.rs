// SPDX-License-Identifier: Apache-2.0
//! A registry's host: its address, and proof of who asks.
//!
//! The answer to a challenge is kept: later requests bring it along. Spec: distribution, "Token Authentication Specification"
//! and "OAuth2 Token Authentication".

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::Agent;
use ureq::http::Method;

use super::challenge::{Bearer, Challenge};
use super::credentials::Credentials;
use super::http::{self, Call, Pause, Payload, Response, encoded, with_parameter};
use super::options::{RegistryOptions, host_of, is_loopback};
use super::reference::{HUB, RepositoryName};
use super::tls;
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt, lock};

/// Host of the API of Docker Hub.
const HUB_API: &str = "registry-1.docker.io";
/// Maximum size of the answer of a token service in bytes.
const MAX_TOKEN: u64 = 1 << 20;
/// Maximum length of a warning in bytes. Spec: distribution-spec, "Warnings".
const MAX_WARNING: usize = 4096;
/// Maximum number of warnings of a host that are kept.
const MAX_WARNINGS: usize = 100;
/// Maximum number of other hosts to which connections are kept.
const MAX_OTHERS: usize = 32;
/// Time that a token is valid if its service does not say, and at least.
const MIN_VALID: Duration = Duration::from_secs(60);
/// Time before the end of a token at which another is asked for.
const MARGIN: Duration = Duration::from_secs(10);

/// The host of a registry.
pub(super) struct Host {
    name: String,
    options: Arc<RegistryOptions>,
    is_insecure: bool,
    /// Its base URL and the connections to it, once it is known how it speaks.
    reached: OnceLock<(String, Agent)>,
    /// Agents to hosts that redirects and uploads lead to, by authority.
    others: Mutex<HashMap<(bool, String), Agent>>,
    pause: Pause,
    challenge: Mutex<Option<Challenge>>,
    /// Tokens by their scopes.
    tokens: Mutex<HashMap<String, Token>>,
    /// Warnings of the registry, each once, and the number of those that were taken.
    warnings: Mutex<(Vec<String>, usize)>,
}

struct Token {
    value: String,
    until: Instant,
}

/// The answer of a token service.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Host").field(&self.name).finish()
    }
}

impl Host {
    pub fn new(name: &str, is_insecure: bool, options: Arc<RegistryOptions>) -> Self {
        Self {
            name: name.to_owned(),
            options,
            is_insecure,
            reached: OnceLock::new(),
            others: Mutex::default(),
            pause: Pause::default(),
            challenge: Mutex::new(None),
            tokens: Mutex::new(HashMap::new()),
            warnings: Mutex::default(),
        }
    }

    /// Returns the settings.
    pub fn options(&self) -> &RegistryOptions {
        &self.options
    }

    /// Returns the warnings of the registry that were not returned before.
    pub fn take_warnings(&self) -> Vec<String> {
        let mut warnings = lock(&self.warnings);
        let (all, taken) = &mut *warnings;
        let new = all
            .iter()
            .skip(*taken)
            .map(|text| format!("{} says: {text}", self.name));
        let new = new.collect();
        *taken = all.len();
        new
    }

    /// Returns the URL of a path of the API.
    ///
    /// # Errors
    /// As [`Host::send`].
    pub fn url(&self, path: &str) -> Result<String> {
        Ok(format!("{}{path}", self.reach()?.0))
    }

    /// Sends a request for a repository with the proof that the host wants for `scopes`, and returns the answer of any status.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the host does not answer, [`ErrorKind::Denied`] if it is not whom it says or gives no token.
    pub fn send(&self, call: &Call<'_>, repository: &RepositoryName, scopes: &[String]) -> Result<Response> {
        self.exchange_proved(call, repository, scopes)
            .map_err(|err| err.about(self.name.as_str()))
    }

    fn exchange_proved(
        &self,
        call: &Call<'_>,
        repository: &RepositoryName,
        scopes: &[String],
    ) -> Result<Response> {
        let own = http::authority(&call.url) == http::authority(&self.reach()?.0);
        if !own {
            // A registry may have its uploads go elsewhere, which is no reason to prove or to trust anything there.
            let foreign = |url: &str| self.agent_to(url);
            let agent = self.agent_to(&call.url)?;
            return http::exchange(&agent, &foreign, &self.options, &Pause::default(), call, None);
        }
        let mut authorization = self.authorization(repository, scopes)?;
        let mut answer = self.exchange(call, authorization.as_deref())?;
        let is_stale = authorization.is_some();
        if answer.status() == 401 && self.is_challenged(&answer, repository, scopes, is_stale)? {
            authorization = self.authorization(repository, scopes)?;
            if authorization.is_some() {
                drain(&mut answer);
                answer = self.exchange(call, authorization.as_deref())?;
            }
        }
        self.keep_warnings(&answer);
        Ok(answer)
    }

    fn exchange(&self, call: &Call<'_>, authorization: Option<&str>) -> Result<Response> {
        let foreign = |url: &str| self.agent_to(url);
        let agent = &self.reach()?.1;
        http::exchange(agent, &foreign, &self.options, &self.pause, call, authorization)
    }

    /// Returns an agent for another host than this one, to which a redirect leads.
    fn agent_to(&self, url: &str) -> Result<Agent> {
        let Some(key) = http::authority(url) else {
            fail!(Corrupt, "invalid URL: {url:?}");
        };
        let mut others = lock(&self.others);
        // Blobs mostly come from one storage host, whose connections are used again.
        if let Some(known) = others.get(&key) {
            return Ok(known.clone());
        }
        let (is_https, authority) = &key;
        let tls = tls::config(authority, &self.options.cert_dirs, true)?;
        let proxy = self.options.proxies.of(*is_https, authority);
        let agent = http::agent(tls, proxy, &self.options.timeouts)?;
        // A registry may redirect to any number of hosts.
        if others.len() < MAX_OTHERS {
            others.insert(key, agent.clone());
        }
        Ok(agent)
    }

    /// Returns the base URL of the host and the agent to it. Whether it speaks TLS is found out by the first call.
    fn reach(&self) -> Result<&(String, Agent)> {
        if let Some(reached) = self.reached.get() {
            return Ok(reached);
        }
        let found = self
            .find_scheme()
            .map_err(|err| err.context(self.name.as_str()).about(self.name.as_str()))?;
        Ok(self.reached.get_or_init(|| found))
    }

    fn find_scheme(&self) -> Result<(String, Agent)> {
        let api = if self.name == HUB { HUB_API } else { &self.name };
        if self.options.plain_http {
            return Ok((format!("http://{api}"), self.agent(false, api)?));
        }
        let secure = (format!("https://{api}"), self.agent(true, api)?);
        if !self.is_insecure && !is_loopback(host_of(api)) {
            return Ok(secure);
        }
        // Plain HTTP is for a host that speaks no TLS, not for one with a certificate that is not trusted.
        let probe = Call::new(Method::HEAD, format!("{}/v2/", secure.0)).once();
        let foreign = |url: &str| self.agent_to(url);
        match http::exchange(&secure.1, &foreign, &self.options, &self.pause, &probe, None) {
            Err(err) if err.kind() == ErrorKind::Io => Ok((format!("http://{api}"), self.agent(false, api)?)),
            Err(err) => Err(err),
            Ok(_) => Ok(secure),
        }
    }

    fn agent(&self, is_https: bool, api: &str) -> Result<Agent> {
        let tls = tls::config(&self.name, &self.options.cert_dirs, !self.is_insecure)?;
        http::agent(
            tls,
            self.options.proxies.of(is_https, api),
            &self.options.timeouts,
        )
    }

    /// Notes the challenge of a 401. Returns whether it is worth another try.
    fn is_challenged(
        &self,
        answer: &Response,
        repository: &RepositoryName,
        scopes: &[String],
        is_stale: bool,
    ) -> Result<bool> {
        let mut challenge = Challenge::read(header_lines(answer, "www-authenticate"));
        if challenge.is_none() {
            // Some registries challenge nowhere but here.
            let ping = self.exchange(&Call::new(Method::GET, self.url("/v2/")?), None)?;
            challenge = Challenge::read(header_lines(&ping, "www-authenticate"));
        }
        let Some(challenge) = challenge else {
            return Ok(false);
        };
        let mut known = lock(&self.challenge);
        let is_same_password = is_stale && challenge == Challenge::Basic && *known == Some(Challenge::Basic);
        *known = Some(challenge);
        drop(known);
        // A token that was refused may just have ended.
        let key = token_key(repository, scopes);
        lock(&self.tokens).remove(&key);
        Ok(!is_same_password)
    }

    /// Returns the value of the header `Authorization` for requests of a repository, if the host wants one.
    fn authorization(&self, repository: &RepositoryName, scopes: &[String]) -> Result<Option<String>> {
        let challenge = lock(&self.challenge).clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(self
                .options
                .credentials
                .find(repository)?
                .map(|found| found.basic())),
            Some(Challenge::Bearer(bearer)) => {
                let key = token_key(repository, scopes);
                // The lock is held while a token is fetched: threads that want the same one wait for it.
                let mut tokens = lock(&self.tokens);
                let known = tokens.get(&key).filter(|token| token.until > Instant::now());
                if let Some(token) = known {
                    return Ok(Some(format!("Bearer {}", token.value)));
                }
                let credentials = self.options.credentials.find(repository)?;
                let token = self
                    .fetch_token(&bearer, credentials, scopes)
                    .context(|| format!("get a token for {repository}"))?;
                let value = format!("Bearer {}", token.value);
                tokens.insert(key, token);
                Ok(Some(value))
            }
        }
    }

    fn fetch_token(
        &self,
        bearer: &Bearer,
        credentials: Option<Credentials>,
        scopes: &[String],
    ) -> Result<Token> {
        let base = self.reach()?.0.clone();
        let realm = http::resolve(&base, &bearer.realm)?;
        if base.starts_with("https:") && !realm.starts_with("https:") && credentials.is_some() {
            fail!(
                Denied,
                "{realm} is no place to send credentials to: it has no TLS"
            );
        }
        let agent = if http::authority(&realm) == http::authority(&base) {
            self.reach()?.1.clone()
        } else {
            self.agent_to(&realm)?
        };
        let scopes: Vec<&str> = match scopes {
            [] => bearer
                .scope
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .collect(),
            scopes => scopes.iter().map(String::as_str).collect(),
        };
        let form;
        let call = match &credentials {
            Some(Credentials::IdentityToken(token)) => {
                form = format!(
                    "grant_type=refresh_token&refresh_token={}&service={}&scope={}&client_id=umoci",
                    encoded(token),
                    encoded(&bearer.service),
                    encoded(&scopes.join(" "))
                );
                Call::new(Method::POST, realm.clone())
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(Payload::Bytes(form.as_bytes()))
            }
            _ => Call::new(
                Method::GET,
                token_url(&realm, bearer, credentials.as_ref(), &scopes),
            ),
        };
        let basic = match &credentials {
            Some(found @ Credentials::Password { .. }) => Some(found.basic()),
            _ => None,
        };
        let answer = http::exchange(
            &agent,
            &refuse_redirect,
            &self.options,
            &self.pause,
            &call,
            basic.as_deref(),
        )
        .context(|| realm.clone())?;
        read_token(answer).context(|| realm.clone())
    }

    /// Keeps the warnings of an answer, each once.
    fn keep_warnings(&self, answer: &Response) {
        for line in header_lines(answer, "warning") {
            let Some(text) = line
                .strip_prefix("299 - \"")
                .and_then(|rest| rest.strip_suffix('"'))
            else {
                continue;
            };
            let text: String = text.replace("\\\"", "\"").replace("\\\\", "\\");
            if text.len() > MAX_WARNING || text.contains(char::is_control) {
                continue;
            }
            let mut warnings = lock(&self.warnings);
            if warnings.0.len() < MAX_WARNINGS && !warnings.0.contains(&text) {
                warnings.0.push(text);
            }
        }
    }
}

/// Refuses a redirect of a token service: credentials go no further than to it.
fn refuse_redirect(url: &str) -> Result<Agent> {
    fail!(Denied, "the token service redirects to {url}")
}

/// Returns the key of a token: a user may have others for another repository.
fn token_key(repository: &RepositoryName, scopes: &[String]) -> String {
    format!("{repository} {}", scopes.join(" "))
}

fn token_url(realm: &str, bearer: &Bearer, credentials: Option<&Credentials>, scopes: &[&str]) -> String {
    let mut parameters = Vec::new();
    if !bearer.service.is_empty() {
        parameters.push(("service", bearer.service.as_str()));
    }
    parameters.extend(scopes.iter().map(|scope| ("scope", *scope)));
    if let Some(Credentials::Password { user, .. }) = credentials {
        parameters.push(("account", user));
    }
    let mut url = realm.to_owned();
    for (name, value) in parameters {
        url = with_parameter(&url, name, value);
    }
    url
}

fn read_token(mut answer: Response) -> Result<Token> {
    let status = answer.status().as_u16();
    let text = http::read_small(&mut answer, MAX_TOKEN)?;
    if status != 200 {
        let err = Error::new(
            ErrorKind::Denied,
            format!("{status} {}", super::errors::said(&text)),
        );
        return Err(if status == 401 || status == 403 {
            err.with_fact(Fact::LoginRefused)
        } else {
            err
        });
    }
    let answer: TokenAnswer = serde_json::from_slice(&text)
        .map_err(|_| Error::new(ErrorKind::Corrupt, "the token service sent no token"))?;
    let given = [answer.token, answer.access_token].into_iter().flatten();
    let Some(value) = given.into_iter().find(|token| !token.is_empty()) else {
        fail!(Corrupt, "the token service sent no token");
    };
    if !value.bytes().all(|c| c.is_ascii_graphic()) {
        fail!(Corrupt, "the token service sent a token that no header can have");
    }
    let valid =
        Duration::from_secs(answer.expires_in.unwrap_or(0)).clamp(MIN_VALID, Duration::from_secs(86_400));
    Ok(Token {
        value,
        until: Instant::now() + valid.saturating_sub(MARGIN),
    })
}

/// Returns the values of a header that may stand several times.
fn header_lines<'r>(answer: &'r Response, name: &str) -> impl Iterator<Item = &'r str> {
    let lines = answer.headers().get_all(name).into_iter();
    lines.filter_map(|line| line.to_str().ok())
}

/// Reads a small body to its end, so that its connection can be used again.
pub(super) fn drain(answer: &mut Response) {
    let mut rest = answer.body_mut().as_reader().take(64 << 10);
    // A connection that breaks here is not used again.
    let _ = std::io::copy(&mut rest, &mut std::io::sink());
}
