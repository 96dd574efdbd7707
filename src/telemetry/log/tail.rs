//! Live access lines for operators: each subscriber gets those that its filter selects, formatted by the log's
//! thread. Without subscribers nothing is formatted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::line::{AccessRecord, AccessTexts, LineBuffer, LogLine, Style};
use crate::outcome::OutcomeLabel;
use crate::request::ScopeId;

/// Maximum number of subscribers; a further one is refused.
pub const MAX_SUBSCRIBERS: usize = 8;

/// Lines that wait for a subscriber; further ones are dropped for it, and counted.
const MAX_WAITING: usize = 1_024;

/// The subscribers to access lines.
#[derive(Debug, Default)]
pub struct Tail {
    /// The number of subscribers, so that a line costs a load without any.
    count: AtomicUsize,
    subscribers: Mutex<Vec<Subscriber>>,
}

/// The lines that a subscriber wants; the default is all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The beginning of the path.
    pub path: Option<String>,
    /// The least and the greatest status.
    pub status: Option<(u16, u16)>,
    /// The outcome.
    pub outcome: Option<OutcomeLabel>,
    /// The scope.
    pub scope: Option<ScopeId>,
    /// The least duration.
    pub slow: Duration,
}

#[derive(Debug)]
struct Subscriber {
    filter: Filter,
    lines: LineBuffer,
    sender: mpsc::Sender<Bytes>,
    /// Lines dropped since the last one that was sent.
    dropped: u64,
}

impl Tail {
    /// The lines that a filter selects, from now on; `None` if there are too many subscribers.
    pub fn subscribe(&self, filter: Filter, style: Style) -> Option<mpsc::Receiver<Bytes>> {
        let mut subscribers = self.subscribers.lock();
        self.remove_closed(&mut subscribers);
        if subscribers.len() >= MAX_SUBSCRIBERS {
            return None;
        }
        let (sender, lines) = mpsc::channel(MAX_WAITING);
        subscribers.push(Subscriber {
            filter,
            lines: LineBuffer::new(style),
            sender,
            dropped: 0,
        });
        self.count.store(subscribers.len(), Ordering::Relaxed);
        Some(lines)
    }

    /// Sends a line to the subscribers that want it, and counts those that it is dropped for.
    pub(super) fn send(
        &self,
        line: &LogLine,
        texts: AccessTexts<'_>,
        caller: Option<&str>,
        dropped: Option<&IntCounter>,
    ) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let LogLine::Request(record) = line else {
            return;
        };
        let mut subscribers = self.subscribers.lock();
        for subscriber in &mut *subscribers {
            if subscriber.filter.selects(record, texts[0]) && !subscriber.send(line, texts, caller)
            {
                dropped.inspect(|counter| counter.inc());
            }
        }
        self.remove_closed(&mut subscribers);
    }

    fn remove_closed(&self, subscribers: &mut Vec<Subscriber>) {
        subscribers.retain(|subscriber| !subscriber.sender.is_closed());
        self.count.store(subscribers.len(), Ordering::Relaxed);
    }
}

impl Filter {
    fn selects(&self, record: &AccessRecord, path: &[u8]) -> bool {
        let status = record.status.map_or(0, |status| status.as_u16());
        self.path
            .as_ref()
            .is_none_or(|begin| path.starts_with(begin.as_bytes()))
            && self
                .status
                .is_none_or(|(least, most)| (least..=most).contains(&status))
            && self
                .outcome
                .is_none_or(|outcome| outcome == record.outcome.label())
            && self.scope.is_none_or(|scope| record.scope == Some(scope))
            && record.took >= self.slow
    }
}

impl Subscriber {
    /// Returns false if the line is dropped, because the subscriber is too slow.
    fn send(&mut self, line: &LogLine, texts: AccessTexts<'_>, caller: Option<&str>) -> bool {
        if self.dropped > 0 {
            self.lines.dropped(self.dropped);
        }
        self.lines.push(line, texts, caller);
        let sent = self
            .sender
            .try_send(Bytes::copy_from_slice(&self.lines.bytes));
        self.lines.bytes.clear();
        let is_full = matches!(sent, Err(TrySendError::Full(_)));
        self.dropped = if is_full { self.dropped + 1 } else { 0 };
        !is_full
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode, Version};

    use super::*;
    use crate::outcome::{Level, Outcome};
    use crate::telemetry::RequestId;

    fn request(status: StatusCode, took: Duration) -> LogLine {
        LogLine::Request(AccessRecord {
            at: std::time::SystemTime::UNIX_EPOCH,
            took,
            id: RequestId::Made(1),
            client: [127, 0, 0, 1].into(),
            method: Method::GET,
            version: Version::HTTP_11,
            status: Some(status),
            outcome: Outcome::Hit {
                ttl: 1,
                level: Level::Memory,
            },
            upstream: None,
            bytes: 0,
            complete: true,
            scope: ScopeId::parse("01020304"),
        })
    }

    fn path(path: &str) -> AccessTexts<'_> {
        [path.as_bytes(), b"", b"", b"", b""]
    }

    #[test]
    fn a_subscriber_gets_the_lines_that_its_filter_selects() {
        let all = Filter {
            path: Some("/v1/calls/".to_owned()),
            status: Some((500, 599)),
            outcome: Some(OutcomeLabel::Hit),
            scope: ScopeId::parse("01020304"),
            slow: Duration::from_millis(100),
        };
        let others = [
            Filter {
                path: Some("/v2".to_owned()),
                ..all.clone()
            },
            Filter {
                status: Some((502, 502)),
                ..all.clone()
            },
            Filter {
                outcome: Some(OutcomeLabel::Miss),
                ..all.clone()
            },
            Filter {
                scope: ScopeId::parse("01020305"),
                ..all.clone()
            },
            Filter {
                slow: Duration::from_millis(101),
                ..all.clone()
            },
        ];
        let tail = Tail::default();
        let line = request(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(100));
        let style = Style::Text { coloured: false };
        let mut lines = tail.subscribe(all, style).expect("a subscriber");
        let rest = others.map(|filter| tail.subscribe(filter, style).expect("a subscriber"));
        tail.send(&line, path("/v1/calls/c1"), None, None);
        let sent = lines.try_recv().expect("a line");
        assert!(
            sent.starts_with(b"00:00:00 GET 504 hit") && sent.ends_with(b"\n"),
            "{sent:?}"
        );
        for mut other in rest {
            assert!(other.try_recv().is_err());
        }
    }

    #[test]
    fn subscribers_and_their_lines_are_bounded() {
        let tail = Tail::default();
        let subscribe = || tail.subscribe(Filter::default(), Style::Json);
        let mut all: Vec<_> = (0..MAX_SUBSCRIBERS)
            .map(|_| subscribe().expect("a place"))
            .collect();
        assert!(subscribe().is_none());
        let mut slow = all.pop().expect("a subscriber");
        drop(all);
        let dropped = IntCounter::new("dropped", "dropped").expect("a valid name");
        let line = request(StatusCode::OK, Duration::ZERO);
        for _ in 0..MAX_WAITING + 5 {
            tail.send(&line, path("/"), None, Some(&dropped));
        }
        assert_eq!(dropped.get(), 5);
        assert_eq!(tail.subscribers.lock().len(), 1);
        while slow.try_recv().is_ok() {}
        tail.send(&line, path("/"), None, Some(&dropped));
        let next = slow.try_recv().expect("a line");
        assert!(
            next.starts_with(b"{\"dropped\":5,\"target\":\"tail\"}\n{\"timestamp\""),
            "{next:?}"
        );
        drop(slow);
        tail.send(&line, path("/"), None, Some(&dropped));
        assert_eq!(tail.count.load(Ordering::Relaxed), 0);
    }
}
