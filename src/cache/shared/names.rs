//! The names of the shared level in the engine, and the keys from which names and seals are made.

use std::fmt;

use secrecy::zeroize::Zeroizing;

use super::engine::{Era, MemberId};
use crate::cache::Invalidation;
use crate::config::{Config, ScopeKey};
use crate::request::{CacheKey, Scope};

/// A key for one purpose, derived from a key of `scope.key_file`. It reveals neither that key nor the
/// other subkeys.
#[derive(Clone)]
pub(super) struct Subkey(Zeroizing<[u8; 32]>);

/// The names of the group's keys in the engine. They reveal neither tokens nor targets: only replicas
/// with the same key file can compute them.
///
/// In a cluster, the part in braces selects the slot: the keys of one entry share a slot.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
    entries: Subkey,
    scopes: Subkey,
}

impl Subkey {
    /// The key for the purpose that this context names.
    pub(super) fn new(key: &ScopeKey, context: &str) -> Self {
        Self(Zeroizing::new(blake3::derive_key(context, key.bytes())))
    }

    /// A hasher with this key.
    pub(super) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
    }
}

impl fmt::Debug for Subkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subkey(***)")
    }
}

impl Names {
    /// The names made with this key.
    pub fn new(key: &ScopeKey, config: &Config) -> Self {
        let entries = Subkey::new(key, "stuut-cache shared 2026-11 names of entries");
        // Replicas with different origins, or that forward different fields, share no entries.
        let requests = (&config.upstream.url, &config.upstream.forward_headers);
        let mut digest = entries.hasher();
        digest.update(format!("{requests:?}").as_bytes());
        Self {
            prefix: config.shared.prefix.clone(),
            entries: Subkey(Zeroizing::new(*digest.finalize().as_bytes())),
            scopes: Subkey::new(key, "stuut-cache shared 2026-11 names of scopes"),
        }
    }

    /// The state of the group, a hash.
    pub fn group(&self) -> String {
        format!("{}:{{c}}:group", self.prefix)
    }

    /// The log, a stream.
    pub fn log(&self) -> String {
        format!("{}:{{c}}:log", self.prefix)
    }

    /// The report of a replica on itself.
    pub(super) fn report(&self, member: MemberId) -> String {
        format!("{}:{{c}}:report:{member}", self.prefix)
    }

    /// How many responses a replica had stored of what a purge concerns.
    pub(super) fn count(&self, purge: &Invalidation, era: Era, member: MemberId) -> String {
        let content =
            postcard::to_extend(purge, era.0.to_vec()).expect("plain data has a serial form");
        let digest = self.scopes.hasher().update(&content).finalize();
        let digits = digest.to_hex();
        format!("{}:{{c}}:count:{}:{member}", self.prefix, &digits[..32])
    }

    /// A digest of the key, by which operators compare the keys of replicas.
    pub(super) fn key_digest(&self) -> String {
        let digest = self.scopes.hasher().update(b"key").finalize();
        digest.to_hex()[..8].to_owned()
    }

    /// The entry of a cache key.
    pub fn entry(&self, key: &CacheKey) -> String {
        let mut digest = self.entries.hasher();
        key.digest_into(&mut digest);
        self.of(&digest, 'e')
    }

    /// The record of an accepted scope.
    pub fn scope(&self, scope: &Scope) -> String {
        let mut digest = self.scopes.hasher();
        digest.update(scope.bytes());
        self.of(&digest, 's')
    }

    /// A name from 128 bits of a digest, which make a collision impossible in practice.
    fn of(&self, digest: &blake3::Hasher, kind: char) -> String {
        let digits = digest.finalize().to_hex();
        format!("{}:{{{}}}:{kind}", self.prefix, &digits[..32])
    }
}
