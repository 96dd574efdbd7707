//! Opens the TCP connection to the origin: directly, or as a tunnel through a forward proxy (CONNECT,
//! RFC 9110 §9.3.6). With TLS to the origin inside the tunnel, the proxy sees only the origin's name.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::uri::{Authority, Scheme};
use http::{StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret as _;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use crate::config::{self, Secret};

/// Maximum bytes of the proxy's response to CONNECT.
const MAX_HEAD: u64 = 8 << 10;

/// Opens TCP connections to the origin.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    tcp: HttpConnector,
    proxy: Option<Authority>,
    credentials: Option<Secret>,
}

/// The proxy's response to CONNECT is not 2xx.
#[derive(Debug, Error)]
#[error("the proxy answers CONNECT with status {}", .0.as_u16())]
pub(super) struct TunnelRefused(StatusCode);

impl Transport {
    /// Connects by `tcp`, through the proxy of these settings if they have one.
    pub(super) fn new(tcp: HttpConnector, settings: &config::Upstream) -> Self {
        Self {
            tcp,
            proxy: settings.forward_proxy().cloned(),
            credentials: settings.proxy_credentials.clone(),
        }
    }

    /// Makes a connection to the proxy a tunnel to `origin`. Not by hyper-util's `Tunnel`: its errors
    /// are not exported and have no status.
    async fn open_tunnel(&self, socket: &mut TcpStream, origin: &Uri) -> Result<(), BoxError> {
        let is_http = origin.scheme() == Some(&Scheme::HTTP);
        let port = origin.port_u16().unwrap_or(if is_http { 80 } else { 443 });
        let target = format!("{}:{port}", origin.host().unwrap_or_default());
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(Secret(basic)) = &self.credentials {
            request.extend(["Proxy-Authorization: ", basic.expose_secret(), "\r\n"]);
        }
        request += "\r\n";
        socket.write_all(request.as_bytes()).await?;
        let invalid = || io::Error::other("the response to CONNECT is not valid HTTP");
        let mut response = BufReader::new(socket.take(MAX_HEAD));
        let mut is_open = false;
        while !is_open {
            let status = status_of(&read_line(&mut response).await?).ok_or_else(invalid)?;
            is_open = status.is_success();
            // Interim responses may come first (RFC 9110 §15.2).
            if !is_open && !status.is_informational() {
                return Err(TunnelRefused(status).into());
            }
            while !matches!(&read_line(&mut response).await?[..], b"\r\n" | b"\n") {}
        }
        // In HTTP and TLS, the client sends first.
        if !response.buffer().is_empty() {
            return Err(invalid().into());
        }
        Ok(())
    }
}

/// The status in a status line (RFC 9112 §4).
fn status_of(line: &[u8]) -> Option<StatusCode> {
    let rest = line.strip_prefix(b"HTTP/1.")?.get(1..)?;
    let (code, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let is_whole = rest.first().is_some_and(u8::is_ascii_whitespace);
    StatusCode::from_bytes(code).ok().filter(|_| is_whole)
}

async fn read_line(response: &mut BufReader<Take<&mut TcpStream>>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    response.read_until(b'\n', &mut line).await?;
    if line.ends_with(b"\n") {
        Ok(line)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

impl Service<Uri> for Transport {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let mut this = self.clone();
        Box::pin(async move {
            let Some(proxy) = &this.proxy else {
                return Ok(this.tcp.call(origin).await?);
            };
            let proxy = Uri::try_from(format!("http://{proxy}"))?;
            let mut socket = this.tcp.call(proxy).await?.into_inner();
            this.open_tunnel(&mut socket, &origin).await?;
            Ok(TokioIo::new(socket))
        })
    }
}
