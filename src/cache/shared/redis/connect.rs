//! Opens connections to the engine: to one server, to the primary that Sentinels report, or to a cluster.

use std::path::Path;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::cluster_async::ClusterConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult,
    TlsCertificates, Value, cmd,
};
use futures_util::future::select_ok;
use secrecy::ExposeSecret as _;
use thiserror::Error;

use crate::config;

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    /// One to each node.
    Cluster(ClusterConnection),
}

/// Connects to the engine that the settings name.
#[derive(Clone, Debug)]
pub(super) enum Connector {
    Single(Client),
    Sentinels {
        /// With the credentials of the engine, and without.
        sentinels: Vec<[Client; 2]>,
        name: String,
        server: Server,
    },
    Cluster(Box<ClusterClient>),
}

/// Login and certificates, the same for all servers of the engine.
#[derive(Clone, Debug)]
pub(super) struct Server {
    login: RedisConnectionInfo,
    /// If the connections use TLS.
    certificates: Option<TlsCertificates>,
}

/// The client of the engine cannot be set up.
#[derive(Debug, Error)]
pub enum SetupError {
    /// A file that cannot be read.
    #[error("{0}: {1}")]
    File(&'static str, std::io::Error),
    /// A certificate or key that cannot be used.
    #[error("shared.url, shared.ca_file, shared.cert or shared.key cannot be used: {0}")]
    Client(#[from] RedisError),
}

impl Connector {
    /// `limit` bounds an attempt to connect; in a cluster, `answer` bounds each request to a node.
    pub(super) fn new(
        settings: &config::Shared,
        [limit, answer]: [Duration; 2],
    ) -> Result<Self, SetupError> {
        let server = Server::new(settings)?;
        if let Some(name) = &settings.sentinel {
            let sentinels = settings.url.iter().map(|url| {
                let client = |login| server.client(url.host(), url.port(), login);
                Ok([client(true)?, client(false)?])
            });
            return Ok(Self::Sentinels {
                sentinels: sentinels.collect::<RedisResult<_>>()?,
                name: name.clone(),
                server: server.clone(),
            });
        }
        if let [url] = &settings.url[..] {
            return Ok(Self::Single(server.client(url.host(), url.port(), true)?));
        }
        let nodes = settings.url.iter();
        let nodes = nodes.map(|url| server.info(url.host(), url.port(), true));
        let mut cluster = ClusterClientBuilder::new(nodes.collect::<RedisResult<Vec<_>>>()?)
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(TcpSettings::default().set_nodelay(true))
            .retries(1)
            .min_retry_wait(5)
            .max_retry_wait(20)
            // Two connections may be opened one after the other.
            .connection_timeout(limit / 4)
            .response_timeout(answer)
            .overall_response_timeout(None);
        if let Some(certificates) = server.certificates {
            cluster = cluster.certs(certificates);
        }
        Ok(Self::Cluster(Box::new(cluster.build()?)))
    }

    /// Opens a connection, without a time limit.
    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        match self {
            Self::Single(client) => open(client).await,
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
            Self::Sentinels {
                sentinels,
                name,
                server,
            } => {
                // The first answer counts: other Sentinels may be unreachable.
                let asked = sentinels
                    .iter()
                    .map(|clients| Box::pin(primary(clients, name)));
                let ((host, port), _) = select_ok(asked).await?;
                open(&server.client(&host, port, true)?).await
            }
        }
    }
}

pub(super) async fn open(client: &Client) -> RedisResult<Connection> {
    // The limits are those of the callers.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    connection.await.map(Connection::Single)
}

/// The address of the primary, from a Sentinel. A Sentinel may require a password, so both are tried.
async fn primary(sentinel: &[Client; 2], name: &str) -> RedisResult<(String, u16)> {
    let mut request = cmd("SENTINEL");
    request.arg("get-master-addr-by-name").arg(name);
    let [with_login, without] = sentinel;
    let mut connection = match open(with_login).await {
        Err(error) if !error.is_io_error() => open(without).await?,
        opened => opened?,
    };
    let found: Option<(String, u16)> = ::redis::from_redis_value(connection.send(&request).await?)?;
    found.ok_or_else(|| {
        let message = "no primary of the name shared.sentinel";
        (ErrorKind::MasterNameNotFoundBySentinel, message).into()
    })
}

impl Connection {
    pub(super) async fn send(&mut self, request: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => request.query_async(connection).await,
            Self::Cluster(connection) => request.query_async(connection).await,
        }
    }
}

impl Server {
    pub(super) fn new(settings: &config::Shared) -> Result<Self, SetupError> {
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(name) = &settings.username {
            login = login.set_username(name);
        }
        if let Some(password) = &settings.password {
            login = login.set_password(password.0.expose_secret());
        }
        let is_tls = settings.url.iter().any(config::EngineUrl::is_tls);
        let certificates = is_tls.then(|| certificates(settings)).transpose()?;
        if is_tls {
            // The library uses the provider of the process; one may be installed already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(Self {
            login,
            certificates,
        })
    }

    /// A server's address, with or without the login.
    fn info(&self, host: &str, port: u16, has_login: bool) -> RedisResult<ConnectionInfo> {
        let host = host.to_owned();
        let address = match self.certificates {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        let login = if has_login {
            self.login.clone()
        } else {
            RedisConnectionInfo::default()
                .set_protocol(ProtocolVersion::RESP3)
                .set_skip_set_lib_name()
        };
        let info = address.into_connection_info()?;
        Ok(info
            .set_redis_settings(login)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }

    pub(super) fn client(&self, host: &str, port: u16, has_login: bool) -> RedisResult<Client> {
        let info = self.info(host, port, has_login)?;
        match &self.certificates {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        }
    }
}

fn certificates(settings: &config::Shared) -> Result<TlsCertificates, SetupError> {
    let read = |key, path: &Path| std::fs::read(path).map_err(|error| SetupError::File(key, error));
    let client_tls = match (&settings.cert, &settings.key) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: read("shared.cert", certificate)?,
            client_key: read("shared.key", key)?,
        }),
        _ => None,
    };
    let ca_file = settings.ca_file.as_deref();
    let root_cert = ca_file
        .map(|path| read("shared.ca_file", path))
        .transpose()?;
    Ok(TlsCertificates {
        client_tls,
        root_cert,
    })
}
