//! One run: the groups, the installed programs, and how servers take turns.

use crate::Result;
use crate::process::Server;
use crate::setup::{Column, Setup};
use crate::table::{Samples, Table, Unit};

/// Groups of rows, in the order of the table.
pub(crate) const GROUPS: [&str; 8] = [
    "hits", "coded", "h2c", "misses", "latency", "collapse", "memory", "start",
];

/// The note of most empty cells.
const NO_COMPARISON: &str = "there is nothing of that kind to stand beside";

/// A run.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) rounds: usize,
    pub(crate) table: Table,
    /// Programs that are not installed, with the note for their cells.
    absent: Vec<(Column, String)>,
    present: Vec<String>,
}

/// A participant of a row: a server, and its work in a round, which returns the number of
/// requests.
pub(crate) struct Entrant<'a> {
    pub(crate) column: Column,
    pub(crate) server: &'a Server,
    pub(crate) work: Box<dyn Fn() -> Result<usize> + 'a>,
}

// === impl Session ===

impl Session {
    pub(crate) fn begin(rounds: usize) -> Self {
        let (mut absent, mut present) = (Vec::new(), Vec::new());
        for column in Column::CACHES {
            match column.version() {
                Ok(version) => present.push(version),
                Err(why) => {
                    eprintln!("{why}; its column stays empty");
                    absent.push((column, why));
                }
            }
        }
        Self {
            rounds,
            table: Table::begin(),
            absent,
            present,
        }
    }

    /// The columns whose program is installed.
    pub(crate) fn there(&self, columns: &[Column]) -> Vec<Column> {
        let is_there = |column: &&Column| !self.absent.iter().any(|(absent, _)| absent == *column);
        columns.iter().filter(is_there).copied().collect()
    }

    /// stuut-cache, and the other caches that are installed.
    pub(crate) fn caches(&self) -> Vec<Column> {
        [vec![Column::StuutCache], self.there(&Column::CACHES)].concat()
    }

    /// Starts all of [`Self::caches`].
    pub(crate) fn start_caches(&self, setup: &Setup) -> Result<Vec<Server>> {
        let columns = self.caches().into_iter();
        columns.map(|column| Server::start(setup, column)).collect()
    }

    /// A row of the table. `empty` says why a column has no figure although its program is
    /// installed.
    pub(crate) fn row(
        &mut self,
        work: &str,
        unit: Unit,
        samples: &Samples,
        empty: &[(Column, &str)],
    ) {
        let absent = &self.absent;
        self.table.row(work, unit, samples, &|column| {
            if let Some((_, why)) = absent.iter().find(|(absent, _)| *absent == column) {
                return why.clone();
            }
            let why = empty.iter().find(|(empty, _)| *empty == column);
            why.map_or(NO_COMPARISON, |(_, why)| *why).to_owned()
        });
    }

    pub(crate) fn end(self) {
        let mut remarks = vec![
            format!(
                "Medians of {} rounds in which the servers take turns, after one that does not \
                 count; ratios are medians of the ratios of a round. Memory but that at rest, \
                 added times and instructions are measured once.",
                self.rounds
            ),
            "stuut-cache writes its access log and counts its metrics; the others write no log."
                .to_owned(),
        ];
        remarks.extend(
            self.there(&Column::CACHES)
                .into_iter()
                .filter_map(Column::remark)
                .map(str::to_owned),
        );
        if !self.present.is_empty() {
            remarks.push(format!("Beside {}.", self.present.join(", ")));
        }
        self.table.end(&remarks);
    }

    /// Processor time of the servers a request, in microseconds.
    pub(crate) fn take_turns(&self, entrants: &[Entrant<'_>]) -> Result<Samples> {
        let mut samples = Samples::new();
        for round in 0..=self.rounds {
            // Another server begins each round, so that the order differs.
            for turn in 0..entrants.len() {
                let entrant = &entrants[(round + turn) % entrants.len()];
                let before = entrant.server.spent()?;
                let requests = (entrant.work)().map_err(|error| {
                    let (who, said) = (entrant.column.name(), entrant.server.messages());
                    format!("{who}: {error}\n{said}")
                })?;
                let spent = entrant.server.spent()?.since(&before);
                if round > 0 {
                    let each = spent.as_secs_f64() * 1e6 / real(requests);
                    samples.entry(entrant.column).or_default().push(each);
                }
            }
        }
        Ok(samples)
    }
}

/// A count as a figure.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and bytes here are far below 2^52"
)]
pub(crate) fn real(count: usize) -> f64 {
    count as f64
}

/// Bytes as a figure.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and bytes here are far below 2^52"
)]
pub(crate) fn real_bytes(bytes: u64) -> f64 {
    bytes as f64
}
