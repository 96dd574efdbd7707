//! Opens, adopts and closes listening sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};

/// Maximum length of the accept queue (listen(2)).
const BACKLOG: u16 = 4_096;

/// Unsent bytes that the kernel accepts for a connection. A client that does not read a large response
/// would hold a copy of it there, up to 4 MiB (`tcp_wmem`); the proxy itself sends from the store. The
/// smallest of 128, 256 and 512 KiB, with which a response of 400 KB costs the same processor time.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 << 10;

/// The proxy cannot listen on an address.
#[derive(Debug, Error)]
#[error("cannot listen on {address} ({key}): {}", reason(source, *address))]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

fn reason(error: &io::Error, address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has this port; choose another, or {ip}:0 to let the system choose"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "{ip} is not an address of this machine; 127.0.0.1 is, and 0.0.0.0 is all of them"
            )
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Listens on `address`, the value of the configuration key `key`.
///
/// # Errors
///
/// The address is in use, not of this machine, or not permitted.
pub fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    bind(address).map_err(|source| ListenError {
        key,
        address,
        source,
    })
}

/// Adopts a listening socket that another process has opened (socket activation).
///
/// # Errors
///
/// The system cannot make the socket non-blocking, or tokio cannot register it.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    // Accepted connections inherit it, which saves a system call for each.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Closes a listener; returns the connections in its backlog, which the kernel would reset.
pub(super) fn close(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    // Accepts without tokio, which may not have been notified of all waiting connections.
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    std::iter::repeat_with(|| listener.accept())
        // Others may wait behind a client that has disconnected.
        .take_while(|accepted| match accepted {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionAborted,
        })
        .flatten()
        .take(BACKLOG.into())
        .filter_map(|(socket, peer)| {
            socket.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(socket).ok()?, peer))
        })
        .collect()
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Lets a restart bind while connections of the previous process are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    adopt(socket.into())
}
