//! Seals: data in the engine is encrypted and authenticated (AES-256-GCM). It opens only with the same
//! token, name, clear header and key file.

use std::fmt;

use http::HeaderValue;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use secrecy::zeroize::Zeroizing;

use super::names::{Names, Subkey};
use super::{Era, Position, Salt};
use crate::config::{ByteSize, Config};
use crate::request::Scope;
use crate::telemetry::Unsealed;

/// The first byte of all sealed data. It changes with the format of the content, so that replicas of
/// different versions share nothing instead of misreading each other.
pub(super) const FORMAT: u8 = 2;

/// The length of the tag at the end.
pub(super) const TAG: usize = 16;

/// The largest value of [`Header::began`], which has 16 digits.
const LATEST: u64 = 9_999_999_999_999_999;

/// Seals and opens entries and invalidations.
#[derive(Clone, Debug)]
pub struct Sealer {
    /// The names in the engine.
    pub names: Names,
    pub(super) entries: Subkey,
    pub(super) items: Subkey,
    /// Opens items of replicas whose first key is this replica's second key.
    pub(super) second_items: Option<Subkey>,
    /// `shared.max_entry`: a larger entry is not shared.
    pub(super) max_entry: ByteSize,
    /// `cache.max_entry`
    pub(super) max_body: ByteSize,
}

/// The tokens that can open an entry.
#[derive(Clone, Copy)]
pub enum Audience<'a> {
    /// The token of this credential, whose own scope this is.
    Token(Scope, &'a HeaderValue),
    /// The tokens of a named scope: any replica can open it, with the key file alone.
    Named(Scope),
}

/// The clear header of an entry; the scripts of the engine read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How far the fetching replica had applied the log when the fetch began.
    pub position: Position,
    /// When the fetch began, by the engine's clock, in microseconds since 1970.
    pub began: u64,
    /// The random part of the encryption key.
    pub salt: Salt,
}

// === impl Sealer ===

impl Sealer {
    /// Seals with the keys of `scope.key_file`; without one, there is no sealer.
    pub fn new(config: &Config) -> Option<Self> {
        const ITEMS: &str = "stuut-cache shared 2026-11 seal of log items";
        let key = config.scope.key.as_ref()?;
        let second = config.scope.second_key.as_ref();
        Some(Self {
            names: Names::new(key, config),
            entries: Subkey::new(key, "stuut-cache shared 2026-11 seal of entries"),
            items: Subkey::new(key, ITEMS),
            second_items: second.map(|second| Subkey::new(second, ITEMS)),
            max_entry: config.shared.max_entry,
            max_body: config.cache.max_entry,
        })
    }
}

/// A new salt.
pub(super) fn salt() -> Salt {
    let mut salt = Salt::default();
    getrandom::fill(&mut salt).expect("the system has a source of randomness");
    salt
}

/// Encrypts all but the first `clear` bytes, with a key that seals nothing else; appends the tag.
pub(super) fn seal(key: &blake3::Hasher, name: &str, clear: usize, bytes: &mut Vec<u8>) {
    let bound = bound(name, &bytes[..clear]);
    let tag = cipher(key)
        .seal_in_place_separate_tag(nonce(), bound, &mut bytes[clear..])
        .expect("the bytes are fewer than the cipher's limit of 64 GiB");
    bytes.extend_from_slice(tag.as_ref());
}

/// Decrypts in place the output of [`seal`]; returns the content.
pub(super) fn open<'a>(
    key: &blake3::Hasher,
    name: &str,
    clear: usize,
    bytes: &'a mut [u8],
) -> Result<&'a mut [u8], Unsealed> {
    let (header, sealed) = bytes.split_at_mut_checked(clear).ok_or(Unsealed::Format)?;
    cipher(key)
        .open_in_place(nonce(), bound(name, header), sealed)
        .map_err(|_| Unsealed::Tag)
}

fn cipher(key: &blake3::Hasher) -> LessSafeKey {
    let key = Zeroizing::new(*key.finalize().as_bytes());
    let key = UnboundKey::new(&AES_256_GCM, &*key);
    LessSafeKey::new(key.expect("a digest is as long as a key"))
}

/// Constant, because each key seals once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// The additional authenticated data. Unambiguous, because the clear header has a fixed length.
fn bound(name: &str, header: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([header, name.as_bytes()].concat())
}

// === impl Audience ===

impl Audience<'_> {
    /// The scope of the entry.
    pub(super) fn scope(self) -> Scope {
        let (Self::Token(scope, _) | Self::Named(scope)) = self;
        scope
    }

    /// Adds it to a keyed digest.
    pub(super) fn digest_into(self, digest: &mut blake3::Hasher) {
        match self {
            Self::Token(_, credential) => {
                let length = credential.len() as u64;
                digest.update(&[0]).update(&length.to_be_bytes());
                digest.update(credential.as_bytes());
            }
            Self::Named(scope) => {
                digest.update(&[1]).update(scope.bytes());
            }
        }
    }
}

impl fmt::Debug for Audience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(..) => "Token(***)",
            Self::Named(_) => "Named(***)",
        })
    }
}

// === impl Header ===

impl Header {
    /// Its length in bytes.
    pub const LENGTH: usize = 57;

    /// Reads the header of a sealed entry. It is authentic only if the entry opens.
    ///
    /// # Errors
    ///
    /// If the format of the entry is unknown.
    pub fn read(sealed: &[u8]) -> Result<Self, Unsealed> {
        let read = || {
            let (format, rest) = sealed.split_first_chunk()?;
            let (era, rest) = rest.split_first_chunk()?;
            let (id, rest) = rest.split_first_chunk()?;
            let (began, rest) = rest.split_first_chunk::<16>()?;
            let (salt, _) = rest.split_first_chunk()?;
            let is_number = *format == [FORMAT] && began.iter().all(u8::is_ascii_digit);
            let began = std::str::from_utf8(began).ok().filter(|_| is_number)?;
            Some(Self {
                position: Position {
                    era: Era(*era),
                    id: u64::from_be_bytes(*id),
                },
                began: began.parse().ok()?,
                salt: *salt,
            })
        };
        read().ok_or(Unsealed::Format)
    }

    /// The salt of an entry in the format of any version; without it, an unusable entry could not be
    /// replaced.
    pub(super) fn salt(sealed: &[u8]) -> Salt {
        let salt = sealed.get(41..).and_then(|rest| rest.first_chunk());
        salt.copied().unwrap_or_default()
    }

    /// The header as bytes. `began` is in decimal digits of fixed length, so that scripts can compare it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Position { era, id } = self.position;
        let began = format!("{:016}", self.began.min(LATEST));
        [
            &[FORMAT][..],
            &era.0,
            &id.to_be_bytes(),
            began.as_bytes(),
            &self.salt,
        ]
        .concat()
    }
}
