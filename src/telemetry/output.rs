//! Standard output: the lines of both logs, in one order, written by a thread of its own.
//!
//! To say something is a push under a short lock. The writer is woken once for a batch. When
//! standard output does not keep up, or takes nothing, lines are dropped and counted; requests
//! never wait.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

use super::access::{AccessLog, Lines, Record};
use crate::config::LogFormat;

/// Memory of the lines that wait for the writer, at most.
const QUEUE: usize = 16 << 20;

/// How long the writer lets a batch grow.
const BATCH: Duration = Duration::from_millis(20);

/// Bytes that are written at once.
const PIECE: usize = 64 << 10;

/// How long the end of the process waits for its last lines to be written.
const FAREWELL: Duration = Duration::from_secs(2);

/// Standard output. Dropping it writes what is left, and gives up when nobody reads it.
#[derive(Debug)]
pub struct Output(Arc<Queue>);

/// What is to be written.
#[derive(Debug)]
pub(super) enum Line {
    /// An event, as it is written.
    Event(Box<[u8]>),
    /// A request, which the writer puts into words.
    Request(LogFormat, Record),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Told when the queue stops being empty, and when the output ends.
    changed: Condvar,
    /// Told when everything is written.
    done: Condvar,
    dropped: OnceLock<IntCounter>,
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    /// Its memory.
    bytes: usize,
    ended: bool,
    done: bool,
}

/// Lines, in the order they came in.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<(Line, PathLength)>,
    /// The paths of all of them, one behind the other: a string of its own for each would be an
    /// allocation that another thread frees, which costs a hit as much as its line.
    paths: String,
}

type PathLength = u16;

/// Where log events go.
#[derive(Clone, Debug)]
pub(super) struct Events(Arc<Queue>);

// === impl Output ===

impl Output {
    /// Starts the writer.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        // It is never joined: it may be stuck in a write that nobody reads.
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_to(out))?;
        Ok(Self(queue))
    }

    /// The access log, with lines of this form.
    #[must_use]
    pub fn access(&self, format: LogFormat) -> AccessLog {
        AccessLog::new(Arc::clone(&self.0), format)
    }

    /// Counts with this what is dropped from now on; the first one called with stays.
    pub fn count_dropped(&self, counter: &IntCounter) {
        let _ = self.0.dropped.set(counter.clone());
    }

    pub(super) fn events(&self) -> Events {
        Events(Arc::clone(&self.0))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.ended = true;
        self.0.changed.notify_one();
        let unfinished = |waiting: &mut Waiting| !waiting.done;
        let _ = self
            .0
            .done
            .wait_timeout_while(waiting, FAREWELL, unfinished);
    }
}

// === impl Line ===

impl Line {
    fn bytes(&self) -> usize {
        size_of::<(Self, PathLength)>()
            + match self {
                Self::Event(text) => text.len(),
                Self::Request(_, record) => record.id.heap_bytes(),
            }
    }
}

// === impl Batch ===

impl Batch {
    /// Room for about as much as there was before.
    fn after(last: &Self) -> Self {
        Self {
            lines: Vec::with_capacity(last.lines.len().min(1 << 10)),
            paths: String::with_capacity(last.paths.len().min(1 << 16)),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&Line, &str)> {
        let mut rest = self.paths.as_str();
        self.lines.iter().map(move |(line, length)| {
            let (path, others) = rest.split_at(usize::from(*length));
            rest = others;
            (line, path)
        })
    }
}

// === impl Queue ===

impl Queue {
    /// Takes a line, and the path if it is one of a request.
    pub(super) fn push(&self, line: Line, path: &str) {
        let bytes = line.bytes() + path.len();
        let length = PathLength::try_from(path.len()).expect("a long path is cut before");
        let mut waiting = self.lock();
        if waiting.ended || waiting.bytes + bytes > QUEUE {
            self.lost(1);
            return;
        }
        waiting.batch.lines.push((line, length));
        waiting.batch.paths.push_str(path);
        waiting.bytes += bytes;
        if waiting.batch.lines.len() == 1 {
            self.changed.notify_one();
        }
    }

    fn write_to(&self, mut out: impl Write) {
        let mut lines = Lines::default();
        let mut unwritten = 0;
        let mut write = |lines: &mut Lines, unwritten: &mut u64| {
            let written = out.write_all(lines.bytes()).and_then(|()| out.flush());
            if written.is_err() {
                // Where would it be said? The disk behind it is full, or its reader is gone.
                self.lost(*unwritten);
            }
            lines.clear();
            *unwritten = 0;
        };
        while let Some(batch) = self.next_batch() {
            for (line, path) in batch.iter() {
                lines.push(line, path);
                unwritten += 1;
                if lines.bytes().len() >= PIECE {
                    write(&mut lines, &mut unwritten);
                }
            }
            write(&mut lines, &mut unwritten);
        }
        self.lock().done = true;
        self.done.notify_one();
    }

    fn lost(&self, lines: u64) {
        if let Some(dropped) = self.dropped.get() {
            dropped.inc_by(lines);
        }
    }

    /// The next lines to write; `None` when the output has ended and all are written.
    fn next_batch(&self) -> Option<Batch> {
        let idle = |waiting: &mut Waiting| waiting.batch.lines.is_empty() && !waiting.ended;
        let waiting = self
            .changed
            .wait_while(self.lock(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        // Let the batch grow, but end at once when the output does.
        let growing = |waiting: &mut Waiting| !waiting.ended;
        let (mut waiting, _) = self
            .changed
            .wait_timeout_while(waiting, BATCH, growing)
            .unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        let room = Batch::after(&waiting.batch);
        let batch = std::mem::replace(&mut waiting.batch, room);
        (!batch.lines.is_empty()).then_some(batch)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Events ===

impl<'a> MakeWriter<'a> for Events {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// An event comes in one piece.
impl Write for &Events {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.push(Line::Event(event.into()), "");
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes a piece when it is told to.
    struct Slow(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // When nobody is left to tell, it is stuck no longer.
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A full disk, or a pipe whose reader is gone.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_the_output_does_not_take_are_counted() {
        let output = Output::start(Full).expect("a thread");
        let dropped = IntCounter::new("dropped", "dropped").expect("a valid name");
        output.count_dropped(&dropped);
        for _ in 0..3 {
            (&output.events())
                .write_all(b"a line\n")
                .expect("it takes events");
        }
        drop(output);
        assert_eq!(dropped.get(), 3);
    }

    #[test]
    fn an_output_that_nobody_reads_takes_bounded_memory_and_drops_are_counted() {
        let (go, going) = channel();
        let (out, written) = channel();
        let output = Output::start(Slow(going, out)).expect("a thread");
        let dropped = IntCounter::new("dropped", "dropped").expect("a valid name");
        output.count_dropped(&dropped);
        let event = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            (&output.events())
                .write_all(&event)
                .expect("it takes events");
        }
        assert!(dropped.get() >= 64 - 2 * 16, "{}", dropped.get());
        drop(go);
        drop(output);
        let written = written.iter().map(|piece| piece.len()).sum::<usize>();
        let kept = 64 - usize::try_from(dropped.get()).expect("no less than nothing");
        assert_eq!(written, kept << 20);
    }
}
