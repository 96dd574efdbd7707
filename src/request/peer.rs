//! The address of a client: its connection's, or the one that trusted proxies report for it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::config::AddressRange;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other side of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    address: IpAddr,
    /// `server.trusted_proxies`, if this is one.
    trusted: Option<Arc<[AddressRange]>>,
}

impl Peer {
    /// The peer at this address. Whether it is trusted is decided once for each connection.
    #[must_use]
    pub fn new(address: IpAddr, trusted: &Arc<[AddressRange]>) -> Self {
        let address = address.to_canonical();
        let is_trusted = trusted.iter().any(|range| range.contains(address));
        Self {
            address,
            trusted: is_trusted.then(|| Arc::clone(trusted)),
        }
    }

    /// The client of a request with these fields: each proxy appends the address that it has received the
    /// request from, so it is the last one that is not a trusted proxy's.
    #[must_use]
    pub fn client(&self, fields: &HeaderMap) -> IpAddr {
        let mut client = self.address;
        let Some(trusted) = &self.trusted else {
            return client;
        };
        let lines = fields.get_all(X_FORWARDED_FOR).iter().rev();
        for hop in lines.flat_map(|line| line.as_bytes().rsplit(|&b| b == b',')) {
            match std::str::from_utf8(hop).ok().and_then(address) {
                Some(address) => client = address,
                None => break,
            }
            if !trusted.iter().any(|range| range.contains(client)) {
                break;
            }
        }
        client
    }
}

/// An address, which some proxies write with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    let address = text.parse().or_else(|_| with_port()).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_trusted_proxies_report_the_client() {
        let trusted =
            ["10.0.0.0/8", "fd00::/16"].map(|range| AddressRange::parse(range).expect("a range"));
        let trusted: Arc<[_]> = trusted.into();
        let cases: [(&str, &[&'static str], &str); 10] = [
            ("192.0.2.1", &["203.0.113.7"], "192.0.2.1"),
            ("::ffff:192.0.2.1", &[], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7"], "203.0.113.7"),
            ("::ffff:10.0.0.1", &["203.0.113.7:4711"], "203.0.113.7"),
            ("fd00::1", &["[2001:db8::7]:80"], "2001:db8::7"),
            // The client has written the first one.
            (
                "10.0.0.1",
                &["127.0.0.1, 203.0.113.7, 10.2.3.4"],
                "203.0.113.7",
            ),
            (
                "10.0.0.1",
                &["127.0.0.1", "203.0.113.7", "10.2.3.4"],
                "203.0.113.7",
            ),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ];
        for (peer, lines, client) in cases {
            let mut fields = HeaderMap::new();
            for line in lines {
                fields.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
            }
            let peer = Peer::new(peer.parse().expect("an address"), &trusted);
            assert_eq!(
                peer.client(&fields).to_string(),
                client,
                "{peer:?} {lines:?}"
            );
        }
    }
}
