//! Items of the log: an [`Invalidation`] as sealed bytes.

use bytes::Bytes;

use super::Salt;
use super::names::Subkey;
use super::sealed::{self, FORMAT, Sealer, TAG};
use crate::cache::Invalidation;
use crate::telemetry::Unsealed;

/// The largest item. A larger invalidation is sealed as [`Invalidation::All`]: a write or a purge
/// concerns a few paths.
pub const MAX_ITEM: usize = 16 << 10;

/// The format and the salt.
const CLEAR: usize = 1 + size_of::<Salt>();

/// The content of the largest item, decompressed.
const MAX_CONTENT: usize = 1 << 20;

/// Fast, for content that is mostly repetition.
const ZSTD_LEVEL: i32 = 1;

impl Sealer {
    /// Seals an invalidation for the log of the group.
    pub fn seal_item(&self, item: &Invalidation) -> Bytes {
        let salt = sealed::salt();
        let content = postcard::to_extend(item, Vec::new()).expect("plain data has a serial form");
        // The ancestors of a long path repeat it.
        let content = zstd::bulk::compress(&content, ZSTD_LEVEL).expect("memory is enough");
        let mut bytes = [&[FORMAT][..], &salt, &content].concat();
        if bytes.len() + TAG > MAX_ITEM {
            return self.seal_item(&Invalidation::All);
        }
        sealed::seal(
            &key(&self.items, &salt),
            &self.names.log(),
            CLEAR,
            &mut bytes,
        );
        bytes.into()
    }

    /// Opens an item of the log, also one that was sealed with the second key.
    ///
    /// # Errors
    ///
    /// If it cannot be opened; it must then be treated as concerning everything.
    pub fn open_item(&self, sealed: &[u8]) -> Result<Invalidation, Unsealed> {
        if sealed.len() > MAX_ITEM {
            return Err(Unsealed::Size);
        }
        let opened = self.open_item_with(&self.items, sealed);
        match &self.second_items {
            Some(second) if opened == Err(Unsealed::Tag) => {
                Ok(without_digests(self.open_item_with(second, sealed)?))
            }
            _ => opened,
        }
    }

    fn open_item_with(&self, items: &Subkey, sealed: &[u8]) -> Result<Invalidation, Unsealed> {
        let [FORMAT, rest @ ..] = sealed else {
            return Err(Unsealed::Format);
        };
        let (salt, _) = rest.split_first_chunk().ok_or(Unsealed::Format)?;
        let (key, mut bytes) = (key(items, salt), sealed.to_vec());
        let compressed = sealed::open(&key, &self.names.log(), CLEAR, &mut bytes)?;
        let content = zstd::bulk::decompress(compressed, MAX_CONTENT);
        read_item(&content.map_err(|_| Unsealed::Codec)?)
    }
}

/// Reads the content of an item.
///
/// # Errors
///
/// If it is not exactly one item.
pub fn read_item(content: &[u8]) -> Result<Invalidation, Unsealed> {
    match postcard::take_from_bytes(content) {
        Ok((item, [])) => Ok(item),
        _ => Err(Unsealed::Codec),
    }
}

fn key(items: &Subkey, salt: &Salt) -> blake3::Hasher {
    let mut key = items.hasher();
    key.update(salt);
    key
}

/// The same invalidation for a replica whose scopes have other digests: of the paths, or of everything.
fn without_digests(item: Invalidation) -> Invalidation {
    match item {
        Invalidation::Paths { paths, pending, .. } => Invalidation::Paths {
            paths,
            writer: None,
            pending,
        },
        _ => Invalidation::All,
    }
}
