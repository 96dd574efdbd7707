//! Writes the lines of both logs, in order, to standard output on a thread of its own.
//!
//! Logging is a push under a short lock; the writer is woken once per batch. If standard output is
//! too slow or fails, lines are dropped and counted; requests never wait.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

use super::busiest::Busiest;
use super::callers::{Caller, Callers};
use super::line::{AccessTexts, LineBuffer, LogLine, Style};
use super::tail::Tail;

/// Maximum memory of the queued lines.
const MAX_QUEUED_BYTES: usize = 16 << 20;

/// How long the writer lets a batch grow.
const BATCH_TIME: Duration = Duration::from_millis(20);

/// Formatted bytes after which the writer writes.
const CHUNK: usize = 64 << 10;

/// How long the end of the process waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The writer of the log. Dropping it writes the queued lines, within `FLUSH_TIMEOUT`.
#[derive(Debug)]
pub struct LogWriter {
    queue: Arc<Queue>,
    pub(super) style: Style,
}

/// The queued lines, the signals between producers and the writer, and what is derived from the lines.
#[derive(Debug, Default)]
pub struct Queue {
    pending: Mutex<Pending>,
    /// Notified when the queue stops being empty, and when the log ends.
    changed: Condvar,
    /// Notified when everything is written.
    done: Condvar,
    settings: OnceLock<LogSettings>,
    /// The busiest scopes and paths.
    pub busiest: Busiest,
    /// The callers with names.
    pub callers: Callers,
    /// The subscribers to lines.
    pub tail: Tail,
}

/// The settings of a process: its log begins before they are known.
#[derive(Debug)]
pub struct LogSettings {
    /// Counts lost lines.
    pub dropped: IntCounter,
    /// Counts the lines that a subscriber was too slow for.
    pub tail_dropped: IntCounter,
    /// Whether requests are logged (`log.access`).
    pub access: bool,
}

#[derive(Debug, Default)]
struct Pending {
    batch: Batch,
    /// Bytes of memory that the batch uses.
    bytes: usize,
    ended: bool,
    done: bool,
}

/// Lines, in their order of arrival.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<(LogLine, Lengths)>,
    /// The texts of all lines, concatenated: one string per line would be an allocation freed by
    /// another thread, which costs a hit as much as its line.
    texts: Vec<u8>,
}

/// The lengths of the texts of a line.
type Lengths = [u16; 5];

// === impl LogWriter ===

impl LogWriter {
    /// Starts the writer.
    ///
    /// # Errors
    ///
    /// The system cannot start a thread.
    pub fn start(out: impl Write + Send + 'static, style: Style) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        // Never joined: it may block in a write to a pipe that is not read.
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_to(out, style))?;
        Ok(Self { queue, style })
    }

    /// Applies these settings from now on; a second call is ignored.
    pub fn set(&self, settings: LogSettings) {
        let _ = self.queue.settings.set(settings);
    }

    /// Its queue.
    pub fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let mut pending = self.queue.pending.lock();
        pending.ended = true;
        self.queue.changed.notify_one();
        let unfinished = |pending: &mut Pending| !pending.done;
        let done = &self.queue.done;
        done.wait_while_for(&mut pending, unfinished, FLUSH_TIMEOUT);
    }
}

// === impl Batch ===

impl Batch {
    /// A batch with capacity for about as much as the last one.
    fn after(last: &Self) -> Self {
        Self {
            lines: Vec::with_capacity(last.lines.len().min(1 << 10)),
            texts: Vec::with_capacity(last.texts.len().min(1 << 16)),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&LogLine, AccessTexts<'_>)> {
        let mut rest = self.texts.as_slice();
        self.lines.iter().map(move |(line, lengths)| {
            let texts = lengths.map(|length| {
                let (text, others) = rest.split_at(length.into());
                rest = others;
                text
            });
            (line, texts)
        })
    }
}

// === impl Queue ===

impl Queue {
    /// Adds a line, and the texts of a request.
    pub(super) fn push_line(&self, line: LogLine, texts: AccessTexts<'_>) {
        let lengths =
            texts.map(|text| u16::try_from(text.len()).expect("long texts were truncated"));
        let texts_bytes: usize = texts.iter().map(|text| text.len()).sum();
        let bytes = size_of::<(LogLine, Lengths)>() + line.heap_bytes() + texts_bytes;
        let mut pending = self.pending.lock();
        if pending.ended || pending.bytes + bytes > MAX_QUEUED_BYTES {
            self.lost(1);
            return;
        }
        pending.batch.lines.push((line, lengths));
        for text in texts {
            pending.batch.texts.extend_from_slice(text);
        }
        pending.bytes += bytes;
        if pending.batch.lines.len() == 1 {
            self.changed.notify_one();
        }
    }

    fn write_to(&self, mut out: impl Write, style: Style) {
        let mut lines = LineBuffer::new(style);
        let mut unwritten = 0;
        let mut write = |lines: &mut LineBuffer, unwritten: &mut u64| {
            let written = out.write_all(&lines.bytes).and_then(|()| out.flush());
            if written.is_err() {
                // The disk is full, or the pipe is closed: there is nowhere to report it.
                self.lost(*unwritten);
            }
            lines.bytes.clear();
            *unwritten = 0;
        };
        while let Some(batch) = self.next_batch() {
            for (line, texts) in batch.iter() {
                let caller = self.caller(line);
                if !self.observe(line, texts, caller.as_deref()) {
                    continue;
                }
                lines.push(line, texts, caller.as_ref().map(|caller| &*caller.name));
                unwritten += 1;
                if lines.bytes.len() >= CHUNK {
                    write(&mut lines, &mut unwritten);
                }
            }
            write(&mut lines, &mut unwritten);
        }
        self.pending.lock().done = true;
        self.done.notify_one();
    }

    /// The caller of a request, if it has a name.
    fn caller(&self, line: &LogLine) -> Option<Arc<Caller>> {
        match line {
            LogLine::Request(record) => self.callers.of(record.scope?),
            LogLine::Event(_) => None,
        }
    }

    /// Counts a request, and sends it to the subscribers; returns whether the line is logged.
    fn observe(&self, line: &LogLine, texts: AccessTexts<'_>, caller: Option<&Caller>) -> bool {
        let LogLine::Request(record) = line else {
            return true;
        };
        let settings = self.settings.get();
        let [path, _, _, view, _] = texts;
        self.busiest.record(record, path, view);
        if let Some(caller) = caller {
            caller.record(record);
        }
        self.tail.send(
            line,
            texts,
            caller.map(|caller| &*caller.name),
            settings.map(|settings| &settings.tail_dropped),
        );
        settings.is_none_or(|settings| settings.access)
    }

    fn lost(&self, lines: u64) {
        if let Some(settings) = self.settings.get() {
            settings.dropped.inc_by(lines);
        }
    }

    /// The next lines to write; `None` when the log has ended and all are written.
    fn next_batch(&self) -> Option<Batch> {
        let idle = |pending: &mut Pending| pending.batch.lines.is_empty() && !pending.ended;
        let mut pending = self.pending.lock();
        self.changed.wait_while(&mut pending, idle);
        // Let the batch grow, but return at once when the log ends.
        let growing = |pending: &mut Pending| !pending.ended;
        self.changed
            .wait_while_for(&mut pending, growing, BATCH_TIME);
        pending.bytes = 0;
        let next = Batch::after(&pending.batch);
        let batch = std::mem::replace(&mut pending.batch, next);
        (!batch.lines.is_empty()).then_some(batch)
    }
}

/// tracing writes each event with one call.
impl Write for &Queue {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.push_line(LogLine::Event(event.into()), AccessTexts::default());
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

    /// Accepts one write per message.
    struct Slow(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without a sender it no longer blocks.
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A full disk, or a closed pipe.
    struct FullDisk;

    impl Write for FullDisk {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn settings(dropped: &IntCounter) -> LogSettings {
        LogSettings {
            dropped: dropped.clone(),
            tail_dropped: dropped.clone(),
            access: true,
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let writer = LogWriter::start(FullDisk, Style::Json).expect("a thread");
        let dropped = IntCounter::new("dropped", "dropped").expect("a valid name");
        writer.set(settings(&dropped));
        for _ in 0..3 {
            (&*writer.queue())
                .write_all(b"a line\n")
                .expect("events are accepted");
        }
        drop(writer);
        assert_eq!(dropped.get(), 3);
    }

    #[test]
    fn queued_lines_use_bounded_memory_and_dropped_ones_are_counted() {
        let (go, going) = channel();
        let (out, written) = channel();
        let writer = LogWriter::start(Slow(going, out), Style::Json).expect("a thread");
        let dropped = IntCounter::new("dropped", "dropped").expect("a valid name");
        writer.set(settings(&dropped));
        let event = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            (&*writer.queue())
                .write_all(&event)
                .expect("events are accepted");
        }
        assert!(dropped.get() >= 64 - 2 * 16, "{}", dropped.get());
        drop(go);
        drop(writer);
        let written = written.iter().map(|piece| piece.len()).sum::<usize>();
        let kept = 64 - usize::try_from(dropped.get()).expect("not negative");
        assert_eq!(written, kept << 20);
    }
}
