//! Requests end and are refused at the same positions for any size of read. Of two faults in one
//! head, either may be reported.
//!
//! The first byte is the size of a piece.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stuut_cache::config::Config;
use stuut_cache::request::{Framing, FramingFault};

/// The reason why a connection stopped.
#[derive(Debug, PartialEq)]
enum Stopped {
    Never { between_requests: bool },
    AtHead,
    InBody,
}

/// The bytes that passed, and why it stopped.
fn follow(bytes: &[u8], piece: usize) -> (usize, Stopped) {
    let mut framing = Framing::in_http1(&Config::default().limits);
    let (mut passed, mut come) = (0, 0);
    while come < bytes.len() {
        come = (come + piece).min(bytes.len());
        match framing.advance(&bytes[passed..come]) {
            Ok(more) => passed += more,
            Err(stop) => {
                let stopped = match stop.fault {
                    FramingFault::Head(_) => Stopped::AtHead,
                    FramingFault::Body(_) => Stopped::InBody,
                };
                return (passed + stop.passed, stopped);
            }
        }
        assert!(passed <= come);
    }
    let between_requests = framing.is_between_requests();
    (passed, Stopped::Never { between_requests })
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else {
        return;
    };
    let whole = follow(bytes, bytes.len().max(1));
    let pieces = follow(bytes, usize::from(*piece).max(1));
    assert_eq!(whole, pieces);
});
