//! The load over TLS: HTTP/1.1 with the same version, cipher suite, key exchange and certificate for
//! every server.

use std::fs;
use std::io::{Read, Result as IoResult, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Result;
use crate::load::{self, Connection, Get};

/// The cipher suite. stuut-cache takes the client's, and the client offers no other.
pub(crate) const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

/// The name in the certificate.
const NAME: &str = "bench";

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::new().expect("a certificate"));

/// The certificate of all servers of a run, and the settings of clients that trust it.
struct Identity {
    /// The certificate and its key.
    pem: String,
    client: Arc<ClientConfig>,
}

/// A client's side of a connection.
#[derive(Debug)]
struct TlsSocket(StreamOwned<ClientConnection, TcpStream>);

/// Writes the certificate and its key to one file, which all servers can read; returns its path.
pub(crate) fn write(folder: &Path) -> Result<PathBuf> {
    let file = folder.join("certificate.pem");
    fs::write(&file, &IDENTITY.pem)?;
    Ok(file)
}

/// Opens a connection; the handshake, a full one, takes place with the first request.
pub(crate) fn open(address: SocketAddr) -> Result<Connection> {
    let name = ServerName::try_from(NAME)?;
    let session = ClientConnection::new(Arc::clone(&IDENTITY.client), name)?;
    let socket = StreamOwned::new(session, load::connect(address)?);
    Ok(Connection::on(TlsSocket(socket)))
}

/// Sends the requests of a round over all connections, whose handshakes are part of the round;
/// returns the number of responses, all of them 200.
pub(crate) fn spread(address: SocketAddr, requests: usize, get: &Get) -> Result<usize> {
    let request = get.bytes();
    load::share(requests, &|numbers| {
        let mut connection = open(address)?;
        for _ in numbers {
            connection.exchange(&request)?;
        }
        Ok(())
    })
}

/// The same, but each request on a new connection.
pub(crate) fn handshakes(address: SocketAddr, requests: usize, get: &Get) -> Result<usize> {
    let request = get.bytes();
    load::share(requests, &|numbers| {
        for _ in numbers {
            open(address)?.exchange(&request)?;
        }
        Ok(())
    })
}

// === impl Identity ===

impl Identity {
    fn new() -> Result<Self> {
        let own = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone())?;
        let mut provider = ring::default_provider();
        provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![ring::kx_group::X25519];
        let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            pem: own.cert.pem() + &own.signing_key.serialize_pem(),
            client: Arc::new(client),
        })
    }
}

// === impl TlsSocket ===

impl Read for TlsSocket {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsSocket {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> IoResult<()> {
        self.0.flush()
    }
}

impl Drop for TlsSocket {
    /// Sends `close_notify`, as clients do.
    fn drop(&mut self) {
        self.0.conn.send_close_notify();
        // The server may have closed the connection.
        let _ = self.0.conn.write_tls(&mut self.0.sock);
    }
}
