//! TLS with clients: certificate, key and authorities from files, read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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

/// HTTP/2 first: whoever can, does.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How clients are spoken with in TLS. Connections keep what they began with.
pub struct Tls {
    paths: config::Tls,
    current: ArcSwap<Current>,
    /// The files as they were when they were read last, good or not.
    seen: Mutex<Vec<Option<Stamp>>>,
}

/// What new connections get.
struct Current {
    acceptor: TlsAcceptor,
    /// When the certificate expires, since the epoch.
    expiry: Duration,
}

/// A file of `[server.tls]` that cannot be used.
#[derive(Debug, Error)]
#[error("{key} {}: {reason}", path.display())]
pub struct TlsFault {
    /// The key that names it.
    pub key: &'static str,
    path: PathBuf,
    /// What is wrong, and what to write.
    pub reason: String,
}

/// What changes when a file does: a renewal may keep its length, or its time.
type Stamp = (SystemTime, u64, PathBuf);

impl Tls {
    /// Reads the files that `[server.tls]` names; `None` where it names no certificate.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used.
    pub fn load(paths: &config::Tls) -> Result<Option<Self>, TlsFault> {
        // Looked at before they are read: a change in between is seen by the next look.
        let seen = stamps(paths);
        Ok(read(paths)?.map(|current| Self {
            paths: paths.clone(),
            current: ArcSwap::from_pointee(current),
            seen: Mutex::new(seen),
        }))
    }

    /// Reads the files again; new connections get what they hold now.
    ///
    /// # Errors
    ///
    /// The first file that cannot be used; everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsFault> {
        *self.seen() = stamps(&self.paths);
        if let Some(current) = read(&self.paths)? {
            self.current.store(Arc::new(current));
        }
        Ok(())
    }

    /// Whether a file is another than at the last reading.
    pub fn has_changed(&self) -> bool {
        let now = stamps(&self.paths);
        *self.seen() != now
    }

    /// When the certificate that new connections get expires, since the epoch.
    pub fn expiry(&self) -> Duration {
        self.current.load().expiry
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Option<Stamp>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Greets a client.
    pub(super) fn accept(&self, socket: TcpStream) -> Accept<TcpStream> {
        self.current.load().acceptor.accept(socket)
    }
}

/// A private key is in it.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

fn stamps(paths: &config::Tls) -> Vec<Option<Stamp>> {
    let files = [&paths.cert, &paths.key, &paths.client_ca];
    let stamp = |path: &PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        // Secrets of Kubernetes are changed by pointing a link elsewhere.
        Some((meta.modified().ok()?, meta.len(), path.canonicalize().ok()?))
    };
    files
        .into_iter()
        .map(|path| path.as_ref().and_then(stamp))
        .collect()
}

/// TLS 1.2 and 1.3 with the suites of ring: all with forward secrecy.
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
    // Passed explicitly: a process-wide default could be somebody else's choice.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for both versions");
    let builder = match &paths.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let unusable = |error: &dyn fmt::Display| {
                fault(
                    "server.tls.client_ca",
                    path,
                    format!("cannot be used: {error}"),
                )
            };
            let mut roots = RootCertStore::empty();
            for authority in certificates("server.tls.client_ca", path)? {
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
/// rustls shows no field of a certificate. But it looks at the dates before it looks for who
/// vouches for them, and on the last of all days says when the certificate was valid last.
fn expiry(certificate: &CertificateDer<'_>) -> Result<Duration, rustls::Error> {
    let last_day = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let certificate = ParsedCertificate::try_from(certificate)?;
    let nobody = RootCertStore::empty();
    let refused =
        verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &[], last_day, &[])
            .expect_err("nobody vouches for it");
    match refused {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after, ..
        }) => Ok(Duration::from_secs(not_after.as_secs())),
        error => Err(error),
    }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let read: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match read {
        Ok(chain) if chain.is_empty() => Err(fault(
            key,
            path,
            unread(&pem::Error::NoItemsFound, "certificate"),
        )),
        Ok(chain) => Ok(chain),
        Err(error) => Err(fault(key, path, unread(&error, "certificate"))),
    }
}

/// Never what stands in the file: somebody may have named the wrong one.
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

    /// What else may be wrong with it comes second.
    #[test]
    fn every_certificate_tells_when_it_expires() {
        let until = |year| {
            move |params: &mut CertificateParams| {
                params.not_after = date_time_ymd(year, 1, 2);
            }
        };
        assert_eq!(expiry_of(until(2030)), Some(1_893_542_400));
        // Written with two digits of the year, and with four.
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
    fn one_that_is_never_valid_is_refused() {
        let never = expiry_of(|params| {
            params.not_before = date_time_ymd(2030, 1, 2);
            params.not_after = date_time_ymd(2030, 1, 1);
        });
        assert_eq!(never, None);
    }
}
