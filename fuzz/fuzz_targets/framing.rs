//! Requests end, and are refused, at the same positions for any size of reads. Of two faults in one
//! head, either may be reported.
//!
//! The first byte of the input is the size of reads.

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

/// The number of accepted bytes, and why it stopped.
fn parse(bytes: &[u8], read_size: usize) -> (usize, Stopped) {
    let mut framing = Framing::in_http1(&Config::default().limits);
    let (mut passed, mut received) = (0, 0);
    while received < bytes.len() {
        received = (received + read_size).min(bytes.len());
        match framing.advance(&bytes[passed..received]) {
            Ok(more) => passed += more,
            Err(stop) => {
                let stopped = match stop.fault {
                    FramingFault::Head(_) => Stopped::AtHead,
                    FramingFault::Body(_) => Stopped::InBody,
                };
                return (passed + stop.passed, stopped);
            }
        }
        assert!(passed <= received);
    }
    let between_requests = framing.is_between_requests();
    (passed, Stopped::Never { between_requests })
}

fuzz_target!(|input: &[u8]| {
    let Some((read_size, bytes)) = input.split_first() else {
        return;
    };
    let whole = parse(bytes, bytes.len().max(1));
    let split = parse(bytes, usize::from(*read_size).max(1));
    assert_eq!(whole, split);
});
