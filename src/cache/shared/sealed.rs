//! Seals: what is written to the engine is encrypted (AES-256-GCM). It opens only for the same token,
//! under the same name, with the same clear header, and for replicas with the same key file.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use secrecy::zeroize::Zeroizing;

use super::Salt;
use super::names::{Names, Subkey};
use crate::config::Config;
use crate::label::labels;

/// The first byte of everything that is sealed. Another one for another form of the content: replicas
/// of two versions then share nothing, instead of misreading each other.
pub(super) const FORMAT: u8 = 1;

labels! {
    /// Why something in the engine does not open, or its content cannot be used.
    pub enum Unsealed {
        Format => "format": "It is too short, or in the form of another version",
        Tag => "tag": "It was sealed with another key, for another token or under another name, or was changed",
        Codec => "codec": "The content is invalid",
        Size => "size": "It is larger than anything that replicas write",
    }
}

/// Seals and opens entries and invalidations.
#[derive(Clone, Debug)]
pub struct Sealer {
    /// The names in the engine.
    pub names: Names,
    pub(super) items: Subkey,
    /// Opens the items of replicas whose first key is the second key here.
    pub(super) second_items: Option<Subkey>,
}

// === impl Sealer ===

impl Sealer {
    /// Seals with the keys of `scope.key_file`; without one, there is no sealer.
    #[must_use]
    pub fn new(config: &Config, prefix: &str) -> Option<Self> {
        const ITEMS: &str = "stuut-cache shared 2026-11 seal of log items";
        let key = config.scope.key.as_ref()?;
        let second = config.scope.second_key.as_ref();
        Some(Self {
            names: Names::new(key, prefix, config),
            items: Subkey::new(key, ITEMS),
            second_items: second.map(|second| Subkey::new(second, ITEMS)),
        })
    }
}

/// A new salt.
pub(super) fn salt() -> Salt {
    let mut salt = Salt::default();
    getrandom::fill(&mut salt).expect("the system has a source of randomness");
    salt
}

/// Encrypts the bytes after the first `clear`, with a key that seals nothing else; appends the tag.
pub(super) fn seal(key: &blake3::Hasher, name: &str, clear: usize, bytes: &mut Vec<u8>) {
    let bound = bound(name, &bytes[..clear]);
    let tag = cipher(key)
        .seal_in_place_separate_tag(nonce(), bound, &mut bytes[clear..])
        .expect("the bytes are fewer than the cipher's limit of 64 GiB");
    bytes.extend_from_slice(tag.as_ref());
}

/// Decrypts in place what [`seal`] has encrypted; returns the content.
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

/// Always the same, as each key seals once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// The additional data: it must be the same at opening. The clear header has a fixed length.
fn bound(name: &str, header: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([header, name.as_bytes()].concat())
}
