//! Addresses and ranges of addresses.

use std::fmt;
use std::net::IpAddr;

/// A range of addresses; one alone has the longest prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix: u32,
}

impl AddressRange {
    /// Reads an address, or a range as an address and the length of its prefix (CIDR).
    ///
    /// # Errors
    ///
    /// A message with the fault and its remedy.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not an address or a range; write one such as \"10.0.0.0/8\" or \"::1\""
            )
        };
        let (first, prefix) = text
            .split_once('/')
            .map_or((text, None), |(first, prefix)| (first, Some(prefix)));
        let first = first.parse().map_err(|_| wrong())?;
        let longest = if IpAddr::is_ipv4(&first) { 32 } else { 128 };
        let prefix = prefix
            .map_or(Ok(longest), str::parse)
            .map_err(|_| wrong())?;
        if prefix > longest {
            return Err(wrong());
        }
        Ok(Self { first, prefix })
    }

    /// Whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(other)) => {
                u128::from(first.to_bits() ^ other.to_bits()) << 96
            }
            (IpAddr::V6(first), IpAddr::V6(other)) => first.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        differing.leading_zeros() >= self.prefix
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.first.is_ipv4() { 32 } else { 128 };
        match self.prefix {
            prefix if prefix == longest => write!(f, "{}", self.first),
            prefix => write!(f, "{}/{prefix}", self.first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_prefix() {
        let contains = |range: &str, address: &str| {
            let address = address.parse().expect("an address");
            AddressRange::parse(range).map(|range| range.contains(address))
        };
        for (range, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("fd00::/16", "fd00:1::1", true),
            ("fd00::/16", "fd01::", false),
            ("::/0", "::1", true),
        ] {
            assert_eq!(contains(range, address), Ok(expected), "{range} {address}");
        }
        for faulty in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10/8",
            "proxy",
            "10.0.0.1/-1",
        ] {
            assert!(AddressRange::parse(faulty).is_err(), "{faulty}");
        }
    }
}
