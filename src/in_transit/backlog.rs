//! The backlog of a connection: bytes that it holds, and for how long. Pure.

use std::time::Duration;

/// Bytes that are held, and since when, as if all of them had arrived at once.
///
/// A body is held whole until the client has read all of it.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) bytes: usize,
    unread: usize,
    since: Duration,
}

impl Backlog {
    pub(super) fn add(&mut self, bytes: usize, now: impl FnOnce() -> Duration) {
        if self.bytes == 0 && bytes > 0 {
            self.since = now();
        }
        self.bytes += bytes;
        self.unread += bytes;
    }

    /// Records that the client has read bytes. The rest becomes younger by the same share: the backlog
    /// of a busy connection is as old as it takes to read, and that of a client that reads a byte a
    /// second grows old.
    pub(super) fn read(&mut self, bytes: usize, now: impl FnOnce() -> Duration) {
        let left = self.unread.saturating_sub(bytes);
        if left > 0 && bytes > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
            let share = bytes as f64 / self.unread as f64;
            self.since += self.age(now()).mul_f64(share);
        }
        self.unread = left;
    }

    /// Gives bytes back, of which `unread` were not read.
    pub(super) fn release(&mut self, bytes: usize, unread: usize, now: impl FnOnce() -> Duration) {
        self.read(unread, now);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }
}

/// How much these bytes weigh after this time. A fresh backlog weighs by its bytes.
pub(super) fn score(bytes: usize, age: Duration) -> u128 {
    bytes as u128 * (age.as_millis() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The age of a backlog of 8 MiB after a minute of reading at this rate, and its bytes.
    fn after_a_minute(per_second: usize) -> (Duration, usize) {
        let mut backlog = Backlog::default();
        backlog.add(8 * MIB, || at(0));
        for second in 1..=60 {
            backlog.read(per_second, || at(second));
        }
        (backlog.age(at(60)), backlog.unread)
    }

    #[test]
    fn a_body_is_held_to_its_last_byte() {
        let mut backlog = Backlog::default();
        backlog.add(4 * MIB, || at(0));
        backlog.read(4 * MIB - 1, || at(0));
        assert_eq!((backlog.bytes, backlog.age(at(60))), (4 * MIB, at(60)));
        backlog.release(4 * MIB, 1, || panic!("nothing is left"));
        assert_eq!((backlog.bytes, backlog.unread), (0, 0));
    }

    #[test]
    fn a_client_that_trickles_grows_old_and_one_that_reads_stays_young() {
        let (stalled, all) = after_a_minute(0);
        assert_eq!((stalled, all), (at(60), 8 * MIB));
        let (trickling, most) = after_a_minute(1);
        assert!(trickling > at(59) && most > 7 * MIB);
        let (reading, rest) = after_a_minute(128 << 10);
        assert!(reading < at(15), "{reading:?}");
        assert!(score(rest, reading) < score(most, trickling) / 30);
    }

    #[test]
    fn the_age_counts_from_the_end_of_the_last_backlog() {
        let mut backlog = Backlog::default();
        backlog.add(1, || at(5));
        backlog.add(1, || panic!("the clock is not read again"));
        backlog.release(2, 2, || panic!("nor when nothing is left"));
        backlog.add(3, || at(9));
        assert_eq!((backlog.age(at(10)), backlog.bytes), (at(1), 3));
    }

    #[test]
    fn much_weighs_more_than_little_and_old_more_than_new() {
        assert!(score(2, at(0)) > score(1, at(0)));
        assert!(score(1_000, at(10)) > score(5_000, at(1)));
        assert!(score(5_000, at(3)) > score(1_000, at(10)));
    }
}
