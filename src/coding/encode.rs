//! Compresses a body: once for many clients, at levels that are worth their time.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Coding;

/// Levels at which a call of 40 KB takes about a millisecond; higher ones take several times as long
/// and save only a few bytes.
const ZSTD_LEVEL: i32 = 3;
const BROTLI_LEVEL: u32 = 5;
const GZIP_LEVEL: u32 = 6;

/// The window of brotli, as a power of two: 1 MiB.
const BROTLI_WINDOW: u32 = 20;

/// The buffer size of brotli, in bytes.
const PIECE: usize = 4 << 10;

/// Compresses a body; `None` if that saves less than 10 %.
pub fn encode(coding: Coding, body: &[u8]) -> Option<Bytes> {
    let mut coded = match coding {
        Coding::Zstd => zstd(body),
        Coding::Brotli => brotli(body),
        Coding::Gzip => gzip(body),
    };
    // Stored until the uncompressed body is evicted: keep no spare capacity.
    coded.shrink_to_fit();
    (coded.len() <= body.len() - body.len() / 10).then(|| coded.into())
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(body, ZSTD_LEVEL).expect("the buffer is large enough for the worst case")
}

fn brotli(body: &[u8]) -> Vec<u8> {
    let mut writer = brotli::CompressorWriter::new(Vec::new(), PIECE, BROTLI_LEVEL, BROTLI_WINDOW);
    writer
        .write_all(body)
        .expect("writing to a vector cannot fail");
    writer.into_inner()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
    let written = writer.write_all(body).and_then(|()| writer.finish());
    written.expect("writing to a vector cannot fail")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;
    use crate::label::Label as _;

    fn decode(coding: Coding, coded: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        match coding {
            Coding::Zstd => body = zstd::stream::decode_all(coded).expect("zstd"),
            Coding::Brotli => {
                let mut reader = brotli::Decompressor::new(coded, PIECE);
                reader.read_to_end(&mut body).expect("brotli");
            }
            Coding::Gzip => {
                let mut reader = flate2::read::GzDecoder::new(coded);
                reader.read_to_end(&mut body).expect("gzip");
            }
        }
        body
    }

    proptest! {
        #[test]
        fn an_encoded_body_decodes_to_itself(seed in "[a-f]{1,40}", times in 30..3_000_usize) {
            let body = seed.repeat(times).into_bytes();
            for &coding in Coding::ALL {
                if let Some(coded) = encode(coding, &body) {
                    prop_assert!(coded.len() < body.len());
                    prop_assert_eq!(decode(coding, &coded), &body[..]);
                }
            }
        }
    }

    #[test]
    fn a_body_that_does_not_shrink_is_not_encoded() {
        let mut noise = 1_u64;
        let body: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (noise >> 56) as u8
        })
        .take(10_000)
        .collect();
        for &coding in Coding::ALL {
            assert_eq!(encode(coding, &body), None, "{coding:?}");
            assert_eq!(encode(coding, b""), None, "{coding:?}");
        }
    }
}
