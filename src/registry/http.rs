// SPDX-License-Identifier: Apache-2.0
//! One exchange with a host, without proof of who asks: connections, time limits, repetition and redirects.
//!
//! Invariant: the header `Authorization` goes to the host that a request is for, never to one that it is redirected to; and no
//! redirect leads from HTTPS to plain HTTP.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Read as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::CertificateError;
use ureq::http::{self, HeaderMap, Method, Uri};
use ureq::{Agent, SendBody};

use super::options::{RegistryOptions, Timeouts};
use crate::error::{Error, ErrorKind, Fact, Result, lock};
use crate::transfer::Body;

/// An answer, of any status.
pub(super) type Response = http::Response<ureq::Body>;

/// Times that a request is sent at most.
const MAX_TRIES: u32 = 5;
/// Maximum number of redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Maximum size of the headers of an answer in bytes.
const MAX_HEADERS: usize = 64 << 10;
/// Minimum rate of a body in bytes per second, over the window of [`Timeouts`].
pub(super) const MIN_RATE: u64 = 1024;
/// Time in which a small body may come at any rate.
const MAX_DRIP: Duration = Duration::from_secs(60);
/// Connections that are kept open to a host.
const MAX_IDLE: usize = 8;

/// A request.
pub(super) struct Call<'a> {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Payload<'a>,
    /// True if the request may be sent again when its answer does not come.
    pub is_repeatable: bool,
}

/// The body of a request, which can be sent again.
pub(super) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    Stream { size: u64, body: &'a dyn Body },
}

impl<'a> Call<'a> {
    /// Returns a request without a body, which may be repeated.
    pub fn new(method: Method, url: String) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Payload::None,
            is_repeatable: true,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: Payload<'a>) -> Self {
        self.body = body;
        self
    }

    /// Lets the request be sent once only.
    pub fn once(mut self) -> Self {
        self.is_repeatable = false;
        self
    }
}

/// Returns an agent for hosts that share settings of TLS and a proxy.
pub(super) fn agent(tls: ureq::tls::TlsConfig, proxy: Option<&str>, timeouts: &Timeouts) -> Result<Agent> {
    let proxy = match proxy {
        Some(url) => Some(ureq::Proxy::new(url).map_err(|_| {
            Error::new(
                ErrorKind::Invalid,
                "invalid URL of a proxy in HTTP_PROXY or HTTPS_PROXY",
            )
        })?),
        None => None,
    };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        .tls_config(tls)
        .user_agent(concat!("umoci/", env!("CARGO_PKG_VERSION")))
        .accept("*/*")
        // A body that a proxy compresses on the way has neither the size nor the digest that are known.
        .accept_encoding("identity")
        .max_response_header_size(MAX_HEADERS)
        .max_idle_connections(4 * MAX_IDLE)
        .max_idle_connections_per_host(MAX_IDLE)
        .timeout_resolve(Some(timeouts.connect))
        .timeout_connect(Some(timeouts.connect))
        .timeout_recv_response(Some(timeouts.answer))
        .timeout_per_read(Some(timeouts.idle.max(timeouts.answer)))
        .timeout_per_write(Some(timeouts.idle))
        .build();
    Ok(config.new_agent())
}

/// The pause that a host has asked for, which all threads keep.
#[derive(Debug, Default)]
pub(super) struct Pause(Mutex<Option<Instant>>);

impl Pause {
    fn keep(&self) {
        let until = *lock(&self.0);
        if let Some(left) = until.and_then(|until| until.checked_duration_since(Instant::now())) {
            std::thread::sleep(left);
        }
    }

    fn begin(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut known = lock(&self.0);
        *known = Some(known.map_or(until, |known| known.max(until)));
    }
}

/// Sends a request until an answer comes that a repetition would not change, and follows redirects of reads.
///
/// # Errors
/// [`ErrorKind::Io`] if no answer comes, [`ErrorKind::Denied`] for a certificate that is not trusted.
pub(super) fn exchange(
    own: &Agent,
    foreign: &dyn Fn(&str) -> Result<Agent>,
    options: &RegistryOptions,
    pause: &Pause,
    call: &Call<'_>,
    authorization: Option<&str>,
) -> Result<Response> {
    let mut tries = 0;
    loop {
        pause.keep();
        tries += 1;
        let is_last = tries >= MAX_TRIES || !call.is_repeatable;
        let wait = match follow(own, foreign, call, authorization, options.timeouts.idle) {
            Ok(answer) if !is_passing(answer.status().as_u16()) => return Ok(answer),
            // A request that came too early was not looked at: it may be sent again, whatever it is.
            Ok(answer) if is_last && (tries >= MAX_TRIES || answer.status() != 429) => return Ok(answer),
            Ok(answer) => match retry_after(answer.headers()) {
                // A limit that lasts for hours is told to the user, who can wait better than this process.
                Some(wait) if wait > options.timeouts.max_pause => return Ok(answer),
                Some(wait) => wait,
                None => backoff(options.timeouts.pause, tries),
            },
            Err(err) if is_last || !is_transient(&err) => return Err(err),
            Err(_) => backoff(options.timeouts.pause, tries),
        };
        pause.begin(wait);
    }
}

/// Returns whether a status may be another one soon.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

fn is_transient(err: &Error) -> bool {
    err.kind() == ErrorKind::Io && err.fact() != Some(Fact::SpeaksPlainHttp)
}

/// Returns a pause of a random part of what doubles with each try, so that many clients do not come back at once.
fn backoff(first: Duration, tries: u32) -> Duration {
    let most = first * 2u32.saturating_pow(tries.min(6));
    let random = RandomState::new().build_hasher().finish() as u32 % 1024;
    (most * random / 1024).max(first / 4)
}

/// Returns the pause of the header `Retry-After`: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let left = date.timestamp().as_second() - jiff::Timestamp::now().as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

/// Sends a request once, and those that redirects of a read lead to.
fn follow(
    own: &Agent,
    foreign: &dyn Fn(&str) -> Result<Agent>,
    call: &Call<'_>,
    authorization: Option<&str>,
    idle: Duration,
) -> Result<Response> {
    let mut answer = send(own, call, &call.url, authorization, idle)?;
    let is_read = [Method::GET, Method::HEAD].contains(&call.method);
    let mut url = call.url.clone();
    for _ in 0..MAX_REDIRECTS {
        let status = answer.status().as_u16();
        let location = answer
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok());
        let (true, true, Some(location)) = (is_read, matches!(status, 301 | 302 | 303 | 307 | 308), location)
        else {
            return Ok(answer);
        };
        let next = resolve(&url, location)?;
        answer = if authority(&next) == authority(&call.url) {
            send(own, call, &next, authorization, idle)?
        } else {
            send(&foreign(&next)?, call, &next, None, idle)?
        };
        url = next;
    }
    fail!(Corrupt, "more than {MAX_REDIRECTS} redirects, the last to {url}")
}

fn send(
    agent: &Agent,
    call: &Call<'_>,
    url: &str,
    authorization: Option<&str>,
    idle: Duration,
) -> Result<Response> {
    let mut request = http::Request::builder().method(call.method.clone()).uri(url);
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let sent = match &call.body {
        Payload::None => {
            let request = request.body(()).map_err(ureq::Error::from)?;
            // Nothing has to be stored before the answer, so a host that is silent for long is gone.
            let quick = agent.configure_request(request);
            let quick = quick
                .timeout_recv_response(Some(idle))
                .timeout_per_read(Some(idle));
            agent.run(quick.build())
        }
        Payload::Bytes(bytes) => agent.run(request.body(*bytes).map_err(ureq::Error::from)?),
        Payload::Stream { size, body } => {
            let mut body = body.open()?;
            let request = request.header("content-length", size.to_string());
            agent.run(
                request
                    .body(SendBody::from_reader(&mut body))
                    .map_err(ureq::Error::from)?,
            )
        }
    };
    Ok(sent?)
}

impl From<ureq::Error> for Error {
    /// Names the cause in words, and with the facts that hints hang on.
    fn from(err: ureq::Error) -> Self {
        match err {
            ureq::Error::Io(err) => of_io(err),
            ureq::Error::Rustls(err) => of_tls(&err),
            ureq::Error::Timeout(which) => Error::new(ErrorKind::Io, format!("no answer in time ({which})")),
            ureq::Error::HostNotFound => {
                Error::new(ErrorKind::Io, "no such host").with_fact(Fact::Unreachable)
            }
            ureq::Error::ConnectionFailed => {
                Error::new(ErrorKind::Io, "no connection").with_fact(Fact::Unreachable)
            }
            ureq::Error::ConnectProxyFailed(text) => {
                Error::new(ErrorKind::Denied, format!("the proxy refused: {text}"))
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Error::new(ErrorKind::Corrupt, format!("invalid URL or header: {err}"))
            }
            other => Error::new(ErrorKind::Io, other.to_string()),
        }
    }
}

fn of_io(err: std::io::Error) -> Error {
    // Errors of TLS, and our own, travel in those of `io`.
    let err = match err.downcast::<ureq::Error>() {
        Ok(own) => return own.into(),
        Err(other) => other,
    };
    if let Some(tls) = err
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return of_tls(tls);
    }
    let is_refused = err.kind() == std::io::ErrorKind::ConnectionRefused;
    let text = match err.kind() {
        std::io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        _ => Error::from(err).to_string(),
    };
    let out = Error::new(ErrorKind::Io, text);
    if is_refused {
        return out.with_fact(Fact::Unreachable);
    }
    out
}

fn of_tls(err: &rustls::Error) -> Error {
    match err {
        rustls::Error::InvalidCertificate(why) => {
            let text = match why {
                // Among them is an authority's own certificate in the place of a server's.
                CertificateError::Other(_) => {
                    "the certificate is not one for a server: let its authority sign another".to_owned()
                }
                why => format!("the certificate is not trusted: {why}"),
            };
            Error::new(ErrorKind::Denied, text).with_fact(Fact::UntrustedCertificate)
        }
        rustls::Error::InvalidMessage(_) => {
            Error::new(ErrorKind::Io, "the server does not speak TLS").with_fact(Fact::SpeaksPlainHttp)
        }
        other => Error::new(ErrorKind::Denied, format!("TLS failed: {other}")),
    }
}

/// Characters that stand for themselves in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Returns a text as it stands in a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// Returns a URL with one more parameter in its query.
pub(super) fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{name}={}", encoded(value))
}

/// Returns whether a URL is of HTTPS, its host, and its port unless that is the scheme's own.
pub(super) fn authority(url: &str) -> Option<(bool, String)> {
    let uri: Uri = url.parse().ok()?;
    let is_https = uri.scheme_str()? == "https";
    let named = uri.authority()?.as_str().to_ascii_lowercase();
    let port = if is_https { ":443" } else { ":80" };
    let host = named.strip_suffix(port).unwrap_or(&named);
    Some((is_https, host.to_owned()))
}

/// Returns the URL that a `Location` means, seen from the URL of the request.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it is none of HTTP or HTTPS, [`ErrorKind::Denied`] if it leaves HTTPS.
pub(super) fn resolve(base: &str, location: &str) -> Result<String> {
    let invalid = || Error::new(ErrorKind::Corrupt, format!("invalid Location: {location:?}"));
    let base: Uri = base.parse().map_err(|_| invalid())?;
    let (scheme, host) = base.scheme_str().zip(base.authority()).ok_or_else(invalid)?;
    let begins_with_scheme = location.split_once("://").is_some_and(|(scheme, _)| {
        scheme
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
    });
    let url = if begins_with_scheme {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{host}{}{location}", base.path())
    } else {
        let dir = base.path().rsplit_once('/').map_or("", |(dir, _)| dir);
        format!("{scheme}://{host}{dir}/{location}")
    };
    let parsed: Uri = url.parse().map_err(|_| invalid())?;
    let is_web = matches!(parsed.scheme_str(), Some("http" | "https"));
    // A name and password in a URL would be sent to it.
    let has_user = parsed
        .authority()
        .is_none_or(|authority| authority.as_str().contains('@'));
    if !is_web || has_user {
        return Err(invalid());
    }
    if scheme == "https" && parsed.scheme_str() != Some("https") {
        fail!(Denied, "{url} leaves HTTPS");
    }
    Ok(url)
}

/// Reads a body of at most `limit` bytes, of which some may be left.
///
/// # Errors
/// [`ErrorKind::Denied`] if it comes too slowly to end in a reasonable time.
pub(super) fn read_small(answer: &mut Response, limit: u64) -> Result<Vec<u8>> {
    let begin = Instant::now();
    let mut body = answer.body_mut().as_reader().take(limit);
    let mut out = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let n = body.read(&mut chunk).map_err(ureq::Error::from)?;
        if n == 0 {
            return Ok(out);
        }
        out.extend_from_slice(&chunk[..n]);
        let due = MAX_DRIP + Duration::from_secs(out.len() as u64 / MIN_RATE);
        if begin.elapsed() > due {
            fail!(
                Denied,
                "only {} bytes of the answer came in {} s",
                out.len(),
                due.as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_seen_from_its_request() {
        let base = "https://h:5000/v2/a/blobs/uploads/?x=1";
        for (location, want) in [
            ("/v2/y?z", Some("https://h:5000/v2/y?z")),
            ("https://o/p", Some("https://o/p")),
            ("//o/p", Some("https://o/p")),
            ("id", Some("https://h:5000/v2/a/blobs/uploads/id")),
            ("?y=2", Some("https://h:5000/v2/a/blobs/uploads/?y=2")),
            ("/up?state=http://x/y", Some("https://h:5000/up?state=http://x/y")),
            ("http://h:5000/v2/", None),
            ("file:///etc/passwd", None),
            ("https://user:secret@o/p", None),
            ("https://", None),
            ("/a b", None),
        ] {
            assert_eq!(resolve(base, location).ok().as_deref(), want, "{location}");
        }
    }

    #[test]
    fn a_pause_is_in_seconds_or_until_a_date() {
        let pause = |text: &str| {
            let headers =
                HeaderMap::from_iter([("retry-after".parse().expect("name"), text.parse().expect("value"))]);
            retry_after(&headers).map(|pause| pause.as_secs())
        };
        assert_eq!(pause("7"), Some(7));
        assert_eq!(pause("Fri, 31 Dec 1999 23:59:59 GMT"), Some(0));
        assert!(pause("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|pause| pause > 1_000_000));
        assert_eq!(pause("soon"), None);
    }
}
