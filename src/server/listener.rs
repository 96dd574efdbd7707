//! Listening sockets.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};

/// Connections that wait to be accepted.
const BACKLOG: u16 = 4_096;

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address} ({key}); is it in use, or not an address of this machine?")]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// Listens on `address`, which `key` has set.
///
/// # Errors
///
/// When the address is in use, not of this machine, or not ours to take.
pub fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    bind(address).map_err(|source| ListenError {
        key,
        address,
        source,
    })
}

/// Takes over a socket that somebody else has bound and listens on.
///
/// # Errors
///
/// When it is no socket that can be waited on.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Closes a listener; hands back the connections that waited in its backlog, which the system
/// would reset.
pub(super) fn close(listener: TcpListener) -> Vec<TcpStream> {
    // Asked of the system itself: tokio may not have heard yet that somebody waits.
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    let mut accepted = Vec::new();
    while accepted.len() < usize::from(BACKLOG) {
        match listener.accept() {
            Ok((socket, _)) => accepted.push(socket),
            // One that has gone in the meantime; others may wait behind it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => break,
        }
    }
    let adopted = accepted.into_iter().filter_map(|socket| {
        socket.set_nonblocking(true).ok()?;
        TcpStream::from_std(socket).ok()
    });
    adopted.collect()
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart may bind while connections of the last run linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    TcpListener::from_std(socket.into())
}
