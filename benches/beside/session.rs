//! One run: its groups, the installed programs, and the rounds in which servers take turns.

use crate::Result;
use crate::process::Server;
use crate::setup::{Column, Setup};
use crate::table::{Samples, Table, Unit};
use crate::tls;

/// Groups of rows, in the order of the table.
pub(crate) const GROUPS: [&str; 10] = [
    "hits", "coded", "h2c", "tls", "misses", "latency", "paced", "collapse", "memory", "start",
];

/// The note of most empty cells.
const NO_COMPARISON: &str = "it has nothing comparable";

/// A run.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) rounds: usize,
    pub(crate) table: Table,
    /// Programs that are not installed, with the note for their cells.
    absent: Vec<(Column, String)>,
    present: Vec<String>,
}

/// CPU times per request in microseconds, and their parts in user space.
#[derive(Debug, Default)]
pub(crate) struct CpuTimes {
    all: Samples,
    user: Samples,
}

/// A server of a row, and its work in a round, which returns the number of requests.
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
                    eprintln!("{why}; its column is empty");
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
    pub(crate) fn installed(&self, columns: &[Column]) -> Vec<Column> {
        let is_installed =
            |column: &&Column| !self.absent.iter().any(|(absent, _)| absent == *column);
        columns.iter().filter(is_installed).copied().collect()
    }

    /// stuut-cache, and the other caches if installed.
    pub(crate) fn caches(&self) -> Vec<Column> {
        [vec![Column::StuutCache], self.installed(&Column::CACHES)].concat()
    }

    /// Starts all of [`Self::caches`].
    pub(crate) fn start_caches(&self, setup: &Setup) -> Result<Vec<Server>> {
        let columns = self.caches().into_iter();
        columns.map(|column| Server::start(setup, column)).collect()
    }

    /// Adds a row to the table. `empty` has the reasons why columns of installed programs have no
    /// figure.
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

    /// Adds a row of CPU times, and one of their parts in user space.
    pub(crate) fn cpu_rows(&mut self, work: &str, times: &CpuTimes, empty: &[(Column, &str)]) {
        self.row(work, Unit::Microseconds, &times.all, empty);
        let user = format!("{work}: in user space");
        self.row(&user, Unit::Microseconds, &times.user, empty);
    }

    pub(crate) fn end(self) {
        let mut remarks = vec![
            format!(
                "Medians of {} rounds in which the servers take turns, after a warm-up round; \
                 ratios are medians of the ratios of a round. Memory (except at rest), added \
                 latency and instructions are measured once.",
                self.rounds
            ),
            "stuut-cache writes its access log and updates its metrics; the others write no log."
                .to_owned(),
            format!(
                "TLS: version 1.3, {}, X25519, the same P-256 certificate; no session is resumed.",
                tls::CIPHER
            ),
        ];
        remarks.extend(
            self.installed(&Column::CACHES)
                .into_iter()
                .filter_map(Column::remark)
                .map(str::to_owned),
        );
        if !self.present.is_empty() {
            remarks.push(format!("Compared with {}.", self.present.join(", ")));
        }
        self.table.end(&remarks);
    }

    /// CPU time of the servers per request.
    pub(crate) fn take_turns(&self, entrants: &[Entrant<'_>]) -> Result<CpuTimes> {
        let mut times = CpuTimes::default();
        for round in 0..=self.rounds {
            // Each round starts with another server, so that the order differs.
            for turn in 0..entrants.len() {
                let entrant = &entrants[(round + turn) % entrants.len()];
                let before = entrant.server.spent()?;
                let requests = (entrant.work)().map_err(|error| {
                    let (who, messages) = (entrant.column.name(), entrant.server.messages());
                    format!("{who}: {error}\n{messages}")
                })?;
                let (all, user) = entrant.server.spent()?.since(&before);
                for (samples, spent) in [(&mut times.all, all), (&mut times.user, user)] {
                    if round > 0 {
                        let each = spent.as_secs_f64() * 1e6 / real(requests);
                        samples.entry(entrant.column).or_default().push(each);
                    }
                }
            }
        }
        Ok(times)
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
