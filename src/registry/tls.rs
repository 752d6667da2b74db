// SPDX-License-Identifier: Apache-2.0
//! Certificates: the authorities that are trusted for a host, and the one that this side shows.
//!
//! Directories: containers-certs.d(5).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Returns the settings for a host: the authorities of this machine and those of the host's directories.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for a file of certificates that cannot be read as one, `ErrorKind::NotFound` for a certificate
/// without its key.
pub(super) fn config(host: &str, dirs: &[PathBuf], is_verified: bool) -> Result<TlsConfig> {
    let mut roots: Vec<Certificate<'static>> = system_roots().to_vec();
    let mut client = None;
    for dir in dirs {
        for path in files_in(&dir.join(host)) {
            match path.extension().and_then(|end| end.to_str()) {
                Some("crt") => roots.extend(certificates(&path)?),
                Some("cert") => {
                    let chain = certificates(&path)?;
                    let key = private_key(&path.with_extension("key"))?;
                    client = Some(ClientCert::new_with_certs(&chain, key));
                }
                _ => {}
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .disable_verification(!is_verified)
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

/// Returns the settings of a server that shows the certificate in one file, with its chain, and has the key in another.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for a file that has none, or where one does not belong to the other.
#[cfg(feature = "serve")]
pub(crate) fn server(certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = certificates(certificate)?;
    let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec()));
    let secret = private_key(key)?;
    let secret = PrivateKeyDer::try_from(secret.der().to_vec());
    let secret =
        secret.map_err(|err| Error::new(ErrorKind::Corrupt, format!("read {}: {err}", key.display())))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain.collect(), secret)
        });
    let mut config = config.map_err(|err| {
        Error::new(
            ErrorKind::Corrupt,
            format!("use {}: {err}", certificate.display()),
        )
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Returns the authorities that this machine trusts, read once. Files that cannot be read are left out: the certificate of a
/// registry then fails by its name.
fn system_roots() -> &'static [Certificate<'static>] {
    static ROOTS: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs().certs;
        found
            .iter()
            .map(|root| Certificate::from_der(root).to_owned())
            .collect()
    })
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut out: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    out.sort();
    out
}

fn items(path: &Path) -> Result<Vec<PemItem<'static>>> {
    let text = fs::read(path).doing("read", path)?;
    let items: std::result::Result<Vec<_>, _> = parse_pem(&text).collect();
    items.map_err(|err| Error::new(ErrorKind::Corrupt, format!("read {}: {err}", path.display())))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let mut out = Vec::new();
    for item in items(path)? {
        if let PemItem::Certificate(certificate) = item {
            out.push(certificate);
        }
    }
    if out.is_empty() {
        fail!(Corrupt, "read {}: no certificate is in it", path.display());
    }
    Ok(out)
}

fn private_key(path: &Path) -> Result<PrivateKey<'static>> {
    for item in items(path)? {
        if let PemItem::PrivateKey(key) = item {
            return Ok(key);
        }
    }
    fail!(Corrupt, "read {}: no private key is in it", path.display())
}
