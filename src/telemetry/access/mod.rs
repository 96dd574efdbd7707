//! The access log: one line a request, written off the path by a thread of its own.
//!
//! Recording a request is a push under a short lock. The writer is woken once for a batch. When
//! standard output does not keep up, lines are dropped and counted; requests never wait.

mod line;

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use prometheus::IntCounter;

use super::RequestId;
use crate::config::LogFormat;
use crate::outcome::Outcome;
use crate::request::Scope;
use line::Lines;

/// Lines that wait for the writer at most.
const QUEUE: usize = 1 << 16;

/// How long the writer lets a batch grow.
const BATCH: Duration = Duration::from_millis(20);

/// What is remembered of one request. The query is left out: it is the client's own business.
#[derive(Debug)]
pub struct Record {
    /// When the request came in.
    pub at: SystemTime,
    /// From its head to the end of the response body.
    pub took: Duration,
    /// Its id.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// Its target.
    pub target: Option<PathAndQuery>,
    /// The status it was answered with.
    pub status: StatusCode,
    /// How it was answered.
    pub outcome: Outcome,
    /// Body bytes sent.
    pub bytes: u64,
    /// Whether the response went out whole.
    pub complete: bool,
    /// Whose stored responses it may see.
    pub scope: Option<Scope>,
}

/// Takes records; writes lines. Dropping it writes what is left.
#[derive(Debug)]
pub struct AccessLog {
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Told when the queue stops being empty, and when the log ends.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    ended: bool,
}

impl AccessLog {
    /// Starts the writer.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        format: LogFormat,
        mut out: impl Write + Send + 'static,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        let write = move || {
            let mut lines = Lines::new(format);
            while let Some(batch) = shared.next_batch() {
                lines.clear();
                for record in &batch {
                    lines.push(record);
                }
                // Nobody is left to tell when standard output is gone.
                let _ = out.write_all(lines.bytes()).and_then(|()| out.flush());
            }
        };
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(write)?;
        Ok(Self {
            queue,
            writer: Some(writer),
            dropped,
        })
    }

    /// Records one request.
    pub fn push(&self, record: Record) {
        let mut waiting = self
            .queue
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.records.len() >= QUEUE {
            self.dropped.inc();
            return;
        }
        waiting.records.push(record);
        if waiting.records.len() == 1 {
            self.queue.changed.notify_one();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.queue
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended = true;
        self.queue.changed.notify_one();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so itself.
            let _ = writer.join();
        }
    }
}

impl Queue {
    /// The next records to write; `None` when the log has ended and all are written.
    fn next_batch(&self) -> Option<Vec<Record>> {
        let idle = |waiting: &mut Waiting| waiting.records.is_empty() && !waiting.ended;
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self
            .changed
            .wait_while(waiting, idle)
            .unwrap_or_else(PoisonError::into_inner);
        // Let the batch grow, but end at once when the log does.
        let growing = |waiting: &mut Waiting| !waiting.ended;
        let (mut waiting, _) = self
            .changed
            .wait_timeout_while(waiting, BATCH, growing)
            .unwrap_or_else(PoisonError::into_inner);
        let room = Vec::with_capacity(waiting.records.len().min(1 << 10));
        let batch = std::mem::replace(&mut waiting.records, room);
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no test panics here")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record(target: &'static str) -> Record {
        Record {
            at: SystemTime::UNIX_EPOCH,
            took: Duration::from_micros(1_500),
            id: RequestId::Made(1),
            method: Method::GET,
            target: Some(PathAndQuery::from_static(target)),
            status: StatusCode::OK,
            outcome: Outcome::Hit { ttl: 3 },
            bytes: 42,
            complete: true,
            scope: None,
        }
    }

    fn written(format: LogFormat, records: Vec<Record>) -> String {
        let page = Page::default();
        let dropped = IntCounter::new("dropped", "dropped").expect("a valid name");
        let log = AccessLog::start(format, page.clone(), dropped).expect("a thread");
        for record in records {
            log.push(record);
        }
        drop(log);
        let bytes = page.0.lock().expect("no test panics here").clone();
        String::from_utf8(bytes).expect("lines are text")
    }

    #[test]
    fn a_json_line_can_be_parsed_and_leaves_the_query_out() {
        let line = written(LogFormat::Json, vec![record("/v1/calls/a%22b?secret=1")]);
        let value: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
        assert_eq!(value["path"], "/v1/calls/a%22b");
        assert_eq!(value["outcome"], "hit");
        assert_eq!(value["response_bytes"], 42);
        assert!(!line.contains("secret"));
    }

    #[test]
    fn a_text_line_reads_on_its_own() {
        let line = written(LogFormat::Text, vec![record("/v1/calls/c1")]);
        assert_eq!(
            line,
            "1970-01-01T00:00:00.000000Z  INFO access: GET /v1/calls/c1 200 hit duration_seconds=0.001500 \
             response_bytes=42 complete=true request_id=0000000000000001\n"
        );
    }

    #[test]
    fn dropping_the_log_writes_what_is_left() {
        let lines = written(LogFormat::Text, (0..1_000).map(|_| record("/x")).collect());
        assert_eq!(lines.lines().count(), 1_000);
    }
}
