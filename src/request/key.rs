//! The cache key: the scope and the target of a request.

use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use http::uri::PathAndQuery;

use super::credential::Spelling;
use super::scope::Scope;

/// Random per process, so that clients cannot choose colliding paths.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The primary cache key (RFC 9111 §2): scope, path and remaining query, byte for byte as sent; and
/// the spelling of the credential, since the origin has authorised exactly that spelling.
///
/// The only constructor needs a [`Scope`]: there is no key without one. The hash is computed once,
/// for the store and for request coalescing.
#[derive(Debug)]
pub struct CacheKey {
    hash: u64,
    scope: Scope,
    spelling: Spelling,
    /// `/x` and `/x?` are two targets to the origin, so two keys.
    target: PathAndQuery,
}

impl CacheKey {
    /// Creates the key of a target in a scope, with the usual spelling.
    #[must_use]
    pub fn new(scope: Scope, target: PathAndQuery) -> Self {
        let mut hash = SEED.build_hasher();
        // A part of the scope's digest suffices: clients cannot compute it.
        hash.write_u64(scope.prefix());
        hash.write(target.as_str().as_bytes());
        let hash = hash.finish();
        Self {
            hash,
            scope,
            spelling: Spelling::USUAL,
            target,
        }
    }

    /// Replaces the spelling. The hash leaves it out: few tokens have more than one.
    #[must_use]
    pub fn with_spelling(self, spelling: Spelling) -> Self {
        Self { spelling, ..self }
    }

    /// The scope: which tokens may share the response.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The path, as sent.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The request target, as sent except for view options.
    #[must_use]
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// Adds it to a keyed digest; two keys add the same bytes only if they are equal.
    pub fn digest_into(&self, digest: &mut blake3::Hasher) {
        let path = self.path().as_bytes();
        digest.update(self.scope.bytes());
        digest.update(&self.spelling.bytes());
        digest
            .update(&(path.len() as u64).to_be_bytes())
            .update(path);
        if let Some(query) = self.target.query() {
            digest.update(b"?").update(query.as_bytes());
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.target.as_str().len()
    }
}

/// A clone is a copy: the target of a request is a slice of its connection's read buffer, which no stored
/// key may keep alive.
impl Clone for CacheKey {
    fn clone(&self) -> Self {
        let target = PathAndQuery::try_from(self.target.as_str());
        Self {
            target: target.expect("a target"),
            ..*self
        }
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.scope == other.scope
            && self.spelling == other.spelling
            && self.target == other.target
    }
}

impl Eq for CacheKey {}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A hasher that returns the precomputed hash of a [`CacheKey`], or a part of a digest.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

/// Builds hashers that return the precomputed hash of a [`CacheKey`], or a part of a digest.
pub type Prehashed = BuildHasherDefault<KeyHasher>;

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a key or a digest writes one u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::request::ScopeKey;

    proptest! {
        /// Small alphabets, so that equal and nearly equal pairs are frequent.
        #[test]
        fn keys_are_equal_exactly_when_credential_and_target_are(
            a in ("[Bb]earer {1,2}[ab]{1,2}", "/[ab/%?]{0,5}"),
            b in ("[Bb]earer {1,2}[ab]{1,2}", "/[ab/%?]{0,5}"),
        ) {
            static SCOPES: LazyLock<ScopeKey> = LazyLock::new(ScopeKey::random);
            let key = |(credential, target): &(String, String)| {
                let credential = HeaderValue::try_from(credential).expect("a field value");
                let target = target.parse().expect("a target");
                CacheKey::new(SCOPES.scope(&credential), target)
                    .with_spelling(Spelling::of(credential.as_bytes()))
            };
            prop_assert_eq!(key(&a) == key(&b), a == b);
            if a == b {
                prop_assert_eq!(Prehashed::default().hash_one(key(&a)), Prehashed::default().hash_one(key(&b)));
            }
        }
    }
}
