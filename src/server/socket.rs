//! What a connection's bytes come and go by.

/// A client's socket.
pub(super) type Socket = tokio::net::TcpStream;
