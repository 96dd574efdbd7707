//! TLS with clients: certificate, key and CA bundle from files, reloaded when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::config;

/// ALPN protocols, in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS settings of the listener. An open connection keeps those it started with.
pub struct Tls {
    paths: config::Tls,
    current: ArcSwap<Current>,
    /// The files as they were when last read, usable or not.
    seen: ArcSwap<[Option<Stamp>; 3]>,
}

/// The settings of new connections.
struct Current {
    acceptor: TlsAcceptor,
    /// When the certificate expires, since the epoch.
    expiry: Duration,
}

/// A file of `[server.tls]` that cannot be used.
#[derive(Debug, Error)]
#[error("{key} {}: {reason}", path.display())]
pub struct TlsFault {
    /// The configuration key of the file.
    pub key: &'static str,
    path: PathBuf,
    /// The fault, and its remedy.
    pub reason: String,
}

/// A file's time of modification, length and resolved path. Any difference means that it has changed:
/// a renewal may keep the length, or the time.
type Stamp = (SystemTime, u64, PathBuf);

impl Tls {
    /// Reads the files that `[server.tls]` names; `None` where it names no certificate.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used.
    pub fn load(paths: &config::Tls) -> Result<Option<Self>, TlsFault> {
        // Taken before the files are read, so that the next comparison notices a change in between.
        let seen = stamps(paths);
        Ok(read(paths)?.map(|current| Self {
            paths: paths.clone(),
            current: ArcSwap::from_pointee(current),
            seen: ArcSwap::from_pointee(seen),
        }))
    }

    /// Reads the files again, for new connections.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used; nothing changes then.
    pub fn reload(&self) -> Result<(), TlsFault> {
        self.seen.store(Arc::new(stamps(&self.paths)));
        if let Some(current) = read(&self.paths)? {
            self.current.store(Arc::new(current));
        }
        Ok(())
    }

    /// Whether a file has changed since it was read last.
    pub fn has_changed(&self) -> bool {
        **self.seen.load() != stamps(&self.paths)
    }

    /// When the certificate that new connections get expires, since the epoch.
    pub fn expiry(&self) -> Duration {
        self.current.load().expiry
    }

    /// Begins the handshake with a client.
    pub(super) fn accept(&self, socket: TcpStream) -> Accept<TcpStream> {
        self.current.load().acceptor.accept(socket)
    }
}

/// Omits the private key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

fn stamps(paths: &config::Tls) -> [Option<Stamp>; 3] {
    let files = [&paths.cert, &paths.key, &paths.client_ca];
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        // Kubernetes changes a secret by pointing a symbolic link elsewhere.
        Some((meta.modified().ok()?, meta.len(), path.canonicalize().ok()?))
    };
    files.map(|path| path.as_ref().and_then(stamp))
}

/// Reads the files. TLS 1.2 and 1.3 with the cipher suites of ring: all with forward secrecy.
fn read(paths: &config::Tls) -> Result<Option<Current>, TlsFault> {
    let (Some(cert), Some(key)) = (&paths.cert, &paths.key) else {
        return Ok(None);
    };
    let chain = certificates("server.tls.cert", cert)?;
    let expiry = expiry(&chain[0]).map_err(|error| {
        let reason = format!("no client can accept it: {error}");
        fault("server.tls.cert", cert, reason)
    })?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| fault("server.tls.key", key, unread(&error, "private key")))?;
    // Passed explicitly: another library could set the process default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for both versions");
    let builder = match &paths.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let key = "server.tls.client_ca";
            let unusable =
                |error: &dyn fmt::Display| fault(key, path, format!("cannot be used: {error}"));
            let mut roots = RootCertStore::empty();
            for authority in certificates(key, path)? {
                roots.add(authority).map_err(|error| unusable(&error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| unusable(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, secret).map_err(|error| {
        let reason = format!(
            "does not go with server.tls.cert {}: {error}",
            cert.display()
        );
        fault("server.tls.key", key, reason)
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Some(Current {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        expiry,
    }))
}

/// When a certificate expires, since the epoch.
///
/// rustls exposes no field of a certificate. But it checks the dates before the issuer, and at the
/// maximum time, its error contains the expiry.
fn expiry(certificate: &CertificateDer<'_>) -> Result<Duration, rustls::Error> {
    let maximum = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let certificate = ParsedCertificate::try_from(certificate)?;
    let no_roots = RootCertStore::empty();
    let refused =
        verify_server_cert_signed_by_trust_anchor(&certificate, &no_roots, &[], maximum, &[])
            .expect_err("no root is trusted");
    match refused {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after, ..
        }) => Ok(Duration::from_secs(not_after.as_secs())),
        error => Err(error),
    }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| match chain[..] {
            [] => Err(pem::Error::NoItemsFound),
            _ => Ok(chain),
        })
        .map_err(|error| fault(key, path, unread(&error, "certificate")))
}

/// The message never quotes the file: the path may name the wrong one, with a secret in it.
fn unread(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::Io(error) => format!("the file cannot be read: {error}"),
        _ => format!("the file holds no {wanted}; write PEM, with -----BEGIN"),
    }
}

fn fault(key: &'static str, path: &Path, reason: String) -> TlsFault {
    TlsFault {
        key,
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    fn expiry_of(change: impl FnOnce(&mut CertificateParams)) -> Option<u64> {
        let mut params = CertificateParams::default();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        expiry(certificate.der())
            .ok()
            .map(|expiry| expiry.as_secs())
    }

    /// Even if the certificate is invalid for another reason.
    #[test]
    fn the_expiry_of_any_certificate_is_known() {
        let until = |year| {
            move |params: &mut CertificateParams| {
                params.not_after = date_time_ymd(year, 1, 2);
            }
        };
        assert_eq!(expiry_of(until(2030)), Some(1_893_542_400));
        // Encoded with a year of two digits, and of four.
        assert_eq!(expiry_of(until(1999)), Some(915_235_200));
        assert_eq!(expiry_of(until(2050)), Some(2_524_694_400));
        assert_eq!(expiry_of(until(9999)), Some(253_370_851_200));
        let an_authority = expiry_of(|params| {
            until(2030)(params);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        });
        assert_eq!(an_authority, Some(1_893_542_400));
        let for_clients = expiry_of(|params| {
            until(2030)(params);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        assert_eq!(for_clients, Some(1_893_542_400));
    }

    #[test]
    fn a_certificate_that_is_never_valid_is_refused() {
        let never = expiry_of(|params| {
            params.not_before = date_time_ymd(2030, 1, 2);
            params.not_after = date_time_ymd(2030, 1, 1);
        });
        assert_eq!(never, None);
    }
}
