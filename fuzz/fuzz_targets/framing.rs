//! Requests are cut at the same places, and refused for the same reason, in whatever pieces they
//! come.
//!
//! The first byte is the size of a piece.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stuut_cache::config::Config;
use stuut_cache::request::{Framing, FramingFault};

/// How much went on in all, what stopped it, and whether a request was left unfinished.
fn follow(bytes: &[u8], piece: usize) -> (usize, Option<FramingFault>, bool) {
    let mut framing = Framing::in_http1(&Config::default().limits);
    let (mut passed, mut come) = (0, 0);
    while come < bytes.len() {
        come = (come + piece).min(bytes.len());
        match framing.advance(&bytes[passed..come]) {
            Ok(more) => passed += more,
            Err(stop) => return (passed + stop.passed, Some(stop.fault), true),
        }
        assert!(passed <= come);
    }
    (passed, None, framing.is_between_requests())
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else {
        return;
    };
    let whole = follow(bytes, bytes.len().max(1));
    let pieces = follow(bytes, usize::from(*piece).max(1));
    assert_eq!(whole, pieces);
});
