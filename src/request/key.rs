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
#[derive(Clone, Debug)]
pub struct CacheKey {
    hash: u64,
    scope: Scope,
    spelling: Spelling,
    path: Box<str>,
    /// `None` for `/x`, `Some("")` for `/x?`: two targets to the origin, so two keys.
    query: Option<Box<str>>,
}

impl CacheKey {
    /// Creates the key of a target in a scope, with the usual spelling.
    #[must_use]
    pub fn new(scope: Scope, path: &str, query: Option<&str>) -> Self {
        let mut hash = SEED.build_hasher();
        // A part of the scope's digest suffices: clients cannot compute it.
        hash.write_u64(scope.prefix());
        hash.write(path.as_bytes());
        if let Some(query) = query {
            // A path contains no `?`.
            hash.write_u8(b'?');
            hash.write(query.as_bytes());
        }
        let hash = hash.finish();
        Self {
            hash,
            scope,
            spelling: Spelling::USUAL,
            path: path.into(),
            query: query.map(Into::into),
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
        &self.path
    }

    /// The query without view options, as sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The request target.
    #[must_use]
    pub fn target(&self) -> PathAndQuery {
        super::target::of(self.path(), self.query())
    }

    /// Adds it to a keyed digest; two keys add the same bytes only if they are equal.
    pub fn digest_into(&self, digest: &mut blake3::Hasher) {
        let path = self.path.as_bytes();
        digest.update(self.scope.bytes());
        digest.update(&self.spelling.bytes());
        digest
            .update(&(path.len() as u64).to_be_bytes())
            .update(path);
        if let Some(query) = self.query() {
            digest.update(b"?").update(query.as_bytes());
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.path.len() + self.query().map_or(0, str::len)
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.scope == other.scope
            && self.spelling == other.spelling
            && self.path == other.path
            && self.query == other.query
    }
}

impl Eq for CacheKey {}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A hasher that returns the precomputed hash of a [`CacheKey`].
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

/// Builds hashers that return the precomputed hash of a [`CacheKey`].
pub type Prehashed = BuildHasherDefault<KeyHasher>;

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a cache key writes one u64");
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
        /// Small alphabets, so that equal and nearly equal triples are frequent.
        #[test]
        fn keys_are_equal_exactly_when_credential_path_and_query_are(
            a in ("[Bb]earer {1,2}[ab]{1,2}", "/[ab/%?]{0,3}", proptest::option::of("[ab&=]{0,2}")),
            b in ("[Bb]earer {1,2}[ab]{1,2}", "/[ab/%?]{0,3}", proptest::option::of("[ab&=]{0,2}")),
        ) {
            static SCOPES: LazyLock<ScopeKey> = LazyLock::new(ScopeKey::random);
            let key = |(credential, path, query): &(String, String, Option<String>)| {
                let credential = HeaderValue::try_from(credential).expect("a field value");
                CacheKey::new(SCOPES.scope(&credential), path, query.as_deref())
                    .with_spelling(Spelling::of(credential.as_bytes()))
            };
            prop_assert_eq!(key(&a) == key(&b), a == b);
            if a == b {
                prop_assert_eq!(Prehashed::default().hash_one(key(&a)), Prehashed::default().hash_one(key(&b)));
            }
        }
    }
}
