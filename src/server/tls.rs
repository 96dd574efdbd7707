//! TLS with clients: certificate, key and authorities from files, read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::config;

/// HTTP/2 first: whoever can, does.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How clients are spoken with in TLS. Connections keep what they began with.
pub struct Tls {
    paths: config::Tls,
    current: ArcSwap<ServerConfig>,
    /// The files as they were when they were read last, good or not.
    seen: Mutex<Vec<Option<Stamp>>>,
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
        Ok(server_config(paths)?.map(|config| Self {
            paths: paths.clone(),
            current: ArcSwap::from_pointee(config),
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
        if let Some(config) = server_config(&self.paths)? {
            self.current.store(Arc::new(config));
        }
        Ok(())
    }

    /// Whether a file is another than at the last reading.
    pub fn has_changed(&self) -> bool {
        let now = stamps(&self.paths);
        *self.seen() != now
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Option<Stamp>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Greets a client.
    pub(super) fn accept(&self, socket: TcpStream) -> Accept<TcpStream> {
        TlsAcceptor::from(self.current.load_full()).accept(socket)
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
fn server_config(paths: &config::Tls) -> Result<Option<ServerConfig>, TlsFault> {
    let (Some(cert), Some(key)) = (&paths.cert, &paths.key) else {
        return Ok(None);
    };
    let chain = certificates("server.tls.cert", cert)?;
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
    Ok(Some(config))
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
