// SPDX-License-Identifier: Apache-2.0
//! Settings of the access to registries: files, proxies, and time limits.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::config::RegistriesConf;
use super::credentials::CredentialFiles;

/// Settings of the access to registries. The default has no credentials, no mirrors and no proxy.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// Files of credentials.
    pub credentials: CredentialFiles,
    /// Mirrors and other settings of hosts.
    pub conf: RegistriesConf,
    /// Directories that have a directory of certificates for each host.
    pub cert_dirs: Vec<PathBuf>,
    /// Proxies.
    pub proxies: Proxies,
    /// True if plain HTTP is spoken to every registry.
    pub plain_http: bool,
    /// Time limits.
    pub timeouts: Timeouts,
}

impl RegistryOptions {
    /// Returns the settings that the containers tools have by the files of this user and machine; `var` reads an environment
    /// variable.
    ///
    /// # Errors
    /// `ErrorKind::Corrupt` for a file of settings that cannot be read as one.
    pub fn default_of(var: &dyn Fn(&str) -> Option<PathBuf>) -> crate::error::Result<Self> {
        let home = var("HOME").unwrap_or_else(|| "/".into());
        let config = var("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        Ok(Self {
            credentials: CredentialFiles::default_of(var),
            conf: RegistriesConf::default_of(var)?,
            cert_dirs: vec![
                config.join("containers/certs.d"),
                "/etc/containers/certs.d".into(),
                "/etc/docker/certs.d".into(),
            ],
            proxies: Proxies::default_of(var),
            plain_http: false,
            timeouts: Timeouts::default(),
        })
    }
}

/// Proxies by the scheme of a URL, and the hosts that are reached without one.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<String>,
    https: Option<String>,
    /// Hosts and domains.
    except: Vec<String>,
}

impl Proxies {
    /// Returns the proxies of the usual environment variables, in either case.
    pub fn default_of(var: &dyn Fn(&str) -> Option<PathBuf>) -> Self {
        let except = text_of(var, "NO_PROXY").unwrap_or_default();
        Self {
            http: text_of(var, "HTTP_PROXY"),
            https: text_of(var, "HTTPS_PROXY"),
            except: except
                .split(',')
                .map(|host| host.trim().to_ascii_lowercase())
                .collect(),
        }
    }

    /// Returns the proxy to a host, which may have a port. As in Go, this machine is reached without one.
    pub(super) fn of(&self, is_https: bool, authority: &str) -> Option<&str> {
        let proxy = if is_https { &self.https } else { &self.http };
        let authority = authority.to_ascii_lowercase();
        let host = host_of(&authority);
        let is_excepted = is_loopback(host) || self.except.iter().any(|name| covers(name, host, &authority));
        proxy.as_deref().filter(|_| !is_excepted)
    }
}

/// Returns an environment variable that is set to a text, by its name in either case.
fn text_of(var: &dyn Fn(&str) -> Option<PathBuf>, name: &str) -> Option<String> {
    let found = var(name).or_else(|| var(&name.to_ascii_lowercase()))?;
    found.to_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Returns whether an entry of `NO_PROXY` means a host: the host, a domain above it, or all.
fn covers(entry: &str, host: &str, authority: &str) -> bool {
    if entry == "*" || entry == host || entry == authority {
        return true;
    }
    let domain = entry.trim_start_matches('*').trim_start_matches('.');
    let above = host.strip_suffix(domain);
    !domain.is_empty() && above.is_some_and(|above| above.ends_with('.'))
}

/// Returns the host of `host[:port]`, without the brackets of an IPv6 address.
pub(super) fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// Returns whether a host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Time limits. None concerns a whole body, which may be of any size.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// Time to find a host's address and to connect to it.
    pub connect: Duration,
    /// Time to the beginning of an answer. A registry may hash a large upload before it answers.
    pub answer: Duration,
    /// Time in which some bytes must pass.
    pub idle: Duration,
    /// Time over which the rate of a body is measured: less than 1 KiB/s is too slow.
    pub window: Duration,
    /// First pause before a request is repeated; later ones are longer.
    pub pause: Duration,
    /// Maximum pause that a registry may ask for.
    pub max_pause: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(300),
            idle: Duration::from_secs(60),
            window: Duration::from_secs(60),
            pause: Duration::from_millis(250),
            max_pause: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_left_out_for_hosts_that_are_excepted() {
        let var = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://proxy:3128".into()),
            "no_proxy" => Some("a.example,.b.example,*.c.example,d.example:5000".into()),
            _ => None,
        };
        let proxies = Proxies::default_of(&var);
        for (host, is_direct) in [
            ("a.example", true),
            ("A.example:443", true),
            ("x.a.example", true),
            ("xa.example", false),
            ("b.example", false),
            ("x.b.example", true),
            ("x.c.example", true),
            ("d.example:5000", true),
            ("d.example", false),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("[::1]:5000", true),
            ("other", false),
        ] {
            assert_eq!(proxies.of(true, host).is_none(), is_direct, "{host}");
            assert!(proxies.of(false, host).is_none(), "{host}");
        }
    }
}
