//! Scopes: which tokens may share a stored response. A scope is one bearer token, or the tokens of
//! an entry of `scope.named`.
//!
//! A token's own scope is a keyed digest of it; the credential itself is stored nowhere. The scope
//! does not depend on the spelling of the scheme, so that all access of a token can be revoked at
//! once. Responses are not shared between spellings: the cache key has scope and [`Spelling`], which
//! together identify the whole credential.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::credential::{Spelling, token};
use crate::config::{self, ScopeKey, ScopeMode, TokenDigest};

/// The tokens that may share a stored response, identified by a keyed digest.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope([u8; 32]);

/// The mapping from credentials to scopes.
#[derive(Clone, Debug)]
pub struct Scopes {
    key: ScopeKey,
    /// Empty unless `scope.mode` is `named`.
    named: HashMap<TokenDigest, Scope>,
}

/// The first bytes of a scope's digest: enough for logs and purges, too short for a cache key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScopeId(u32);

impl ScopeKey {
    /// The scope of a bearer token, from its credential.
    #[must_use]
    pub fn scope(&self, credential: &HeaderValue) -> Scope {
        let credential = credential.as_bytes();
        if Spelling::of(credential) == Spelling::USUAL {
            return Scope(*blake3::keyed_hash(self.bytes(), credential).as_bytes());
        }
        let mut digest = blake3::Hasher::new_keyed(self.bytes());
        digest.update(b"Bearer ").update(token(credential));
        Scope(*digest.finalize().as_bytes())
    }

    /// The scope of a name. It differs from that of any credential, which has no line break.
    fn shared(&self, name: &str) -> Scope {
        let text = format!("\nscope.named\n{name}");
        Scope(*blake3::keyed_hash(self.bytes(), text.as_bytes()).as_bytes())
    }
}

impl Scopes {
    /// The scopes of this configuration, with its key; without one, with a new random key.
    #[must_use]
    pub fn new(settings: &config::Scope) -> Self {
        let key = settings.key.clone().unwrap_or_else(ScopeKey::random);
        Self::with_key(key, settings)
    }

    /// The named scopes of another configuration, with the same key.
    #[must_use]
    pub fn reloaded(&self, settings: &config::Scope) -> Self {
        Self::with_key(self.key.clone(), settings)
    }

    fn with_key(key: ScopeKey, settings: &config::Scope) -> Self {
        let mut named = HashMap::new();
        if settings.mode == ScopeMode::Named {
            for scope in &settings.named {
                let shared = key.shared(&scope.name);
                named.extend(scope.tokens.iter().map(|token| (*token, shared)));
            }
        }
        Self { key, named }
    }

    /// The scope of this token alone.
    #[must_use]
    pub fn own(&self, credential: &HeaderValue) -> Scope {
        self.key.scope(credential)
    }

    /// The named scope that this token shares with others, if any.
    #[must_use]
    pub fn shared(&self, credential: &HeaderValue) -> Option<Scope> {
        if self.named.is_empty() {
            return None;
        }
        let token = TokenDigest::of(token(credential.as_bytes()));
        self.named.get(&token).copied()
    }
}

impl Scope {
    /// The scope's name in logs.
    #[must_use]
    pub fn id(&self) -> ScopeId {
        let [a, b, c, d, ..] = self.0;
        ScopeId(u32::from_be_bytes([a, b, c, d]))
    }

    /// The whole digest: for other keyed digests, and for replicas with the same key.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first bytes of the digest, to hash cache keys by.
    pub(super) fn prefix(&self) -> u64 {
        let (head, _) = self
            .0
            .split_first_chunk()
            .expect("a digest is longer than eight bytes");
        u64::from_be_bytes(*head)
    }
}

/// By a part of the digest, which clients cannot compute.
impl Hash for Scope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.prefix());
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.id())
    }
}

impl ScopeId {
    /// Parses the first eight digits of a hexadecimal string.
    #[must_use]
    pub fn parse(written: &str) -> Option<Self> {
        let hex = written.bytes().all(|b| b.is_ascii_hexdigit());
        let head = written.get(..8).filter(|_| hex)?;
        u32::from_str_radix(head, 16).ok().map(Self)
    }

    /// The id as a number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Eight hex digits.
impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tokens_of_a_named_scope_share_it() {
        let digests = |tokens: &[&str]| {
            tokens
                .iter()
                .map(|token| TokenDigest::of(token.as_bytes()))
                .collect()
        };
        let named = |name: &str, tokens| config::NamedScope {
            name: name.to_owned(),
            tokens: digests(tokens),
        };
        let mut settings = config::Scope {
            mode: ScopeMode::Named,
            named: vec![named("billing", &["a", "b"]), named("support", &["c", "d"])],
            ..config::Config::default().scope
        };
        let scopes = Scopes::new(&settings);
        let shared = |credential| scopes.shared(&HeaderValue::from_static(credential));
        assert!(shared("Bearer a").is_some());
        assert_eq!(
            shared("Bearer a"),
            shared("bearer  b"),
            "the spelling of the scheme does not matter"
        );
        assert_ne!(shared("Bearer a"), shared("Bearer c"));
        assert_eq!(shared("Bearer e"), None);
        assert_ne!(
            scopes.own(&HeaderValue::from_static("Bearer a")),
            shared("Bearer a").expect("shared")
        );

        settings.mode = ScopeMode::Token;
        let scopes = Scopes::new(&settings);
        assert_eq!(scopes.shared(&HeaderValue::from_static("Bearer a")), None);
    }

    #[test]
    fn a_formatted_id_parses_to_itself() {
        let id = ScopeKey::random()
            .scope(&HeaderValue::from_static("Bearer a"))
            .id();
        assert_eq!(ScopeId::parse(&id.to_string()), Some(id));
        assert_eq!(ScopeId::parse("123"), None);
        assert_eq!(ScopeId::parse("123456é"), None);
    }

    #[test]
    fn scopes_differ_by_credential_and_by_key() {
        let (a, b) = (
            HeaderValue::from_static("Bearer a"),
            HeaderValue::from_static("Bearer b"),
        );
        let key = ScopeKey::random();
        assert_eq!(key.scope(&a), key.scope(&a));
        assert_ne!(key.scope(&a), key.scope(&b));
        assert_ne!(key.scope(&a), ScopeKey::random().scope(&a));
    }

    #[test]
    fn debug_shows_neither_the_key_nor_the_whole_digest() {
        let key = ScopeKey::random();
        let scope = key.scope(&HeaderValue::from_static("Bearer a"));
        assert_eq!(format!("{key:?}"), "ScopeKey(***)");
        assert_eq!(format!("{scope:?}"), format!("Scope({})", scope.id()));
        assert_eq!(scope.id().to_string().len(), 8);
    }
}
