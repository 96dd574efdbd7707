//! The scope: who may share a stored response. The holder of one bearer token, or, where
//! `scope.named` says so, the holders of several.
//!
//! A token's own scope is a keyed digest of the credential; the credential itself is kept nowhere.
//! However the scheme is spelt, it is the same token, so that all that it may see ends at once. An
//! answer to one spelling is still none to another: the cache key has the [`Spelling`] beside the
//! scope, and both together stand for the whole credential.

use std::collections::HashMap;
use std::fmt;

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue};

use crate::config::{self, ScopeMode, TokenDigest};

/// Longest credential that is cached for; a longer one is forwarded without being stored.
const MAX_CREDENTIAL: usize = 8 << 10;

/// The key that turns credentials into scopes. Random per process, so that a digest seen in a
/// log says nothing about a token and cannot be computed elsewhere.
#[derive(Clone)]
pub struct ScopeKey([u8; 32]);

/// Who may share a stored response.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope([u8; 32]);

/// Which scopes there are, and whose.
#[derive(Clone, Debug)]
pub struct Scopes {
    key: ScopeKey,
    /// Empty unless `scope.mode` is `named`.
    named: HashMap<TokenDigest, Scope>,
}

/// The beginning of a scope's digest: enough to name it in a log and to purge it, too little to
/// stand for it in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeId(u32);

/// How a client writes what stands before its token: the case of each letter of `Bearer`, and how
/// many blanks follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// A bit for each letter that is one.
    capitals: u8,
    blanks: u16,
}

/// What the `Authorization` fields of a request amount to.
#[derive(PartialEq, Eq)]
pub enum Credential<'a> {
    /// One bearer token of RFC 6750 form.
    Bearer(&'a HeaderValue),
    /// None, another scheme, or a form that RFC 6750 does not know: the origin's to judge.
    Other,
    /// More than one field line: two readers could pick different ones.
    Repeated,
}

impl ScopeKey {
    /// A new random key.
    ///
    /// # Panics
    ///
    /// When the system has no randomness, without which tokens could not be told apart safely.
    #[must_use]
    pub fn random() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system has a source of randomness");
        Self(key)
    }

    /// The scope of a bearer token's credential.
    #[must_use]
    pub fn scope(&self, credential: &HeaderValue) -> Scope {
        let credential = credential.as_bytes();
        if Spelling::of(credential) == Spelling::USUAL {
            return Scope(*blake3::keyed_hash(&self.0, credential).as_bytes());
        }
        let mut digest = blake3::Hasher::new_keyed(&self.0);
        digest.update(b"Bearer ").update(token(credential));
        Scope(*digest.finalize().as_bytes())
    }

    /// The scope of a name. No credential has it: a line break cannot stand in one.
    fn shared(&self, name: &str) -> Scope {
        let text = format!("\nscope.named\n{name}");
        Scope(*blake3::keyed_hash(&self.0, text.as_bytes()).as_bytes())
    }
}

impl Scopes {
    /// The scopes of this configuration, under a new random key.
    #[must_use]
    pub fn new(settings: &config::Scope) -> Self {
        Self::under(ScopeKey::random(), settings)
    }

    /// Other groups, under the same key.
    #[must_use]
    pub fn renewed(&self, settings: &config::Scope) -> Self {
        Self::under(self.key.clone(), settings)
    }

    fn under(key: ScopeKey, settings: &config::Scope) -> Self {
        let mut named = HashMap::new();
        if settings.mode == ScopeMode::Named {
            for scope in &settings.named {
                let shared = key.shared(&scope.name);
                named.extend(scope.tokens.iter().map(|token| (*token, shared)));
            }
        }
        Self { key, named }
    }

    /// A credential's own scope: what its holder alone may see.
    #[must_use]
    pub fn own(&self, credential: &HeaderValue) -> Scope {
        self.key.scope(credential)
    }

    /// The scope that a credential shares with others, if it shares one.
    #[must_use]
    pub fn shared(&self, credential: &HeaderValue) -> Option<Scope> {
        if self.named.is_empty() {
            return None;
        }
        let token = TokenDigest::of(token(credential.as_bytes()));
        self.named.get(&token).copied()
    }
}

impl<'a> Credential<'a> {
    /// Reads the `Authorization` field.
    #[must_use]
    pub fn read(headers: &'a HeaderMap) -> Self {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        match (lines.next(), lines.next()) {
            (Some(_), Some(_)) => Self::Repeated,
            (Some(value), None) if is_bearer(value.as_bytes()) => Self::Bearer(value),
            (Some(_) | None, _) => Self::Other,
        }
    }

    /// Marks whatever may be a credential, so that no `Debug` shows it and HTTP/2 keeps it in no
    /// table of compression (RFC 7541 §7.1.3).
    pub fn hide(headers: &mut HeaderMap) {
        // A pass over the few fields there are: three look-ups by name cost a hit more.
        for (name, value) in headers {
            if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) {
                value.set_sensitive(true);
            }
        }
    }
}

impl Spelling {
    /// `Bearer`, and one blank.
    pub const USUAL: Self = Self {
        capitals: 1,
        blanks: 1,
    };

    /// How this credential is spelt.
    #[must_use]
    pub fn of(credential: &[u8]) -> Self {
        if credential.starts_with(b"Bearer ") && credential.get(SCHEME.len()) != Some(&b' ') {
            return Self::USUAL;
        }
        let (scheme, rest) = credential.split_at(credential.len().min(SCHEME.len() - 1));
        let capitals = scheme.iter().enumerate().fold(0, |capitals, (at, letter)| {
            capitals | u8::from(letter.is_ascii_uppercase()) << at
        });
        let blanks = rest.iter().take_while(|&&b| b == b' ').count();
        Self {
            capitals,
            blanks: u16::try_from(blanks).unwrap_or(u16::MAX), // MAX_CREDENTIAL is less
        }
    }
}

const SCHEME: &[u8] = b"bearer ";

/// What stands behind the last blank.
fn token(credential: &[u8]) -> &[u8] {
    let start = credential.iter().rposition(|&b| b == b' ');
    start.map_or(credential, |blank| &credential[blank + 1..])
}

/// `Bearer` 1*SP b64token (RFC 6750 §2.1); the scheme in any case (RFC 9110 §11.1).
pub(super) fn is_bearer(credential: &[u8]) -> bool {
    if credential.len() > MAX_CREDENTIAL || credential.len() < SCHEME.len() {
        return false;
    }
    let (scheme, rest) = credential.split_at(SCHEME.len());
    scheme.eq_ignore_ascii_case(SCHEME) && is_b64token(after_blanks(rest))
}

/// `1*SP`: blanks alone, no tab.
fn after_blanks(rest: &[u8]) -> &[u8] {
    let blanks = rest.iter().take_while(|&&b| b == b' ').count();
    &rest[blanks..]
}

/// Whether this is a token of RFC 6750 §2.1:
/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
#[must_use]
pub fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&b| b == b'=').count();
    let (body, _) = token.split_at(token.len() - padding);
    // A token that is signed has a thousand bytes, and every request brings it: no early end, so
    // that many are looked at at once.
    !body.is_empty() && body.iter().fold(true, |all, &b| all & is_token(b))
}

fn is_token(b: u8) -> bool {
    // A hyphen, a full stop, a slash and the digits stand in a row.
    let in_a_row = (b'-'..=b'9').contains(&b);
    b.is_ascii_alphabetic() || in_a_row || b == b'+' || b == b'_' || b == b'~'
}

impl Scope {
    /// What logs call it.
    #[must_use]
    pub fn id(&self) -> ScopeId {
        let (head, _) = self
            .0
            .split_first_chunk()
            .expect("a digest is longer than four bytes");
        ScopeId(u32::from_be_bytes(*head))
    }

    /// A part of the digest, to hash keys by.
    pub(super) fn word(&self) -> u64 {
        let (head, _) = self
            .0
            .split_first_chunk()
            .expect("a digest is longer than eight bytes");
        u64::from_be_bytes(*head)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.id())
    }
}

impl ScopeId {
    /// Reads the first eight of what must be hex digits.
    #[must_use]
    pub fn parse(written: &str) -> Option<Self> {
        let hex = written.bytes().all(|b| b.is_ascii_hexdigit());
        let head = written.get(..8).filter(|_| hex)?;
        u32::from_str_radix(head, 16).ok().map(Self)
    }

    /// The same as a number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Which kind, not which one.
impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bearer(_) => "Bearer(***)",
            Self::Other => "Other",
            Self::Repeated => "Repeated",
        })
    }
}

/// Eight hex digits.
impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for ScopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScopeKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(lines: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                AUTHORIZATION,
                HeaderValue::from_bytes(line.as_bytes()).expect("a field value"),
            );
        }
        match Credential::read(&headers) {
            Credential::Bearer(_) => "bearer",
            Credential::Other => "other",
            Credential::Repeated => "repeated",
        }
    }

    #[test]
    fn only_one_line_with_one_token_of_rfc_6750_form_is_a_bearer_credential() {
        let long = format!("Bearer {}", "a".repeat(16 << 10));
        let cases: &[(&[&str], &str)] = &[
            (&["Bearer abc"], "bearer"),
            (&["bearer abc"], "bearer"),
            (&["BEARER   abc=="], "bearer"),
            (&["Bearer a-._~+/1"], "bearer"),
            (&[], "other"),
            (&[""], "other"),
            (&["Bearer"], "other"),
            (&["Bearer "], "other"),
            (&["Bearer =="], "other"),
            (&["Bearer a=b"], "other"),
            (&["Bearer a b"], "other"),
            (&["Bearer a, Bearer b"], "other"),
            (&["Bearer a,b"], "other"),
            (&["Bearer\tabc"], "other"),
            (&["Bearer \tabc"], "other"),
            (&["Bearer zażółć"], "other"),
            (&["Basic dXNlcjpwYXNz"], "other"),
            (&["Bearerabc"], "other"),
            (&[&long], "other"),
            (&["Bearer a", "Bearer a"], "repeated"),
            (&["Bearer a", "Basic b"], "repeated"),
        ];
        for (lines, expected) in cases {
            assert_eq!(credential(lines), *expected, "{lines:?}");
        }
    }

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
            "whatever the scheme is written like"
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
    fn an_id_is_read_as_it_is_written() {
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
    fn debug_shows_neither_key_nor_whole_digest() {
        let key = ScopeKey([7; 32]);
        let scope = key.scope(&HeaderValue::from_static("Bearer a"));
        assert_eq!(format!("{key:?}"), "ScopeKey(***)");
        assert_eq!(format!("{scope:?}"), format!("Scope({})", scope.id()));
        assert_eq!(scope.id().to_string().len(), 8);
    }
}
