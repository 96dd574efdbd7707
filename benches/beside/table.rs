//! The table: prints each row when it is measured, and at the end why cells are empty.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::setup::Column;

/// The unit of a row's figures.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    KiB,
    MiB,
    /// A ratio or a count.
    Number,
    Instructions,
}

/// The figures of a row, by column, in the order of the rounds.
pub(crate) type Samples = BTreeMap<Column, Vec<f64>>;

/// The notes of a table whose rows are already printed.
#[derive(Debug, Default)]
pub(crate) struct Table {
    notes: Vec<String>,
}

// === impl Unit ===

impl Unit {
    fn show(self, value: f64) -> String {
        let digits = match value.abs() {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        let name = match self {
            Self::Microseconds => " µs",
            Self::Milliseconds => " ms",
            Self::KiB => " KiB",
            Self::MiB => " MiB",
            Self::Number => "",
            Self::Instructions => " instructions",
        };
        format!("{value:.digits$}{name}")
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn begin() -> Self {
        let mut head = "| work | stuut-cache |".to_owned();
        let mut line = "|---|---|".to_owned();
        for column in Column::OTHERS {
            let _ = write!(head, " ÷ {} |", column.name());
            line.push_str("---|");
        }
        println!("{head}\n{line}");
        Self::default()
    }

    /// Prints a row: stuut-cache's figure, and for each other column the ratio of it to theirs, with
    /// theirs in parentheses.
    pub(crate) fn row(
        &mut self,
        work: &str,
        unit: Unit,
        samples: &Samples,
        empty: &dyn Fn(Column) -> String,
    ) {
        let Some(ours) = samples.get(&Column::StuutCache) else {
            return self.empty(work, &empty(Column::StuutCache));
        };
        let mut row = format!("| {work} | {} |", unit.show(median(ours.clone())));
        for column in Column::OTHERS {
            if let Some(theirs) = samples.get(&column) {
                let ratios = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
                let (ratio, figure) = (median(ratios), unit.show(median(theirs.clone())));
                let _ = write!(row, " {ratio:.2} ({figure}) |");
            } else {
                let _ = write!(row, " – {} |", self.note(empty(column)));
            }
        }
        println!("{row}");
    }

    /// Prints a row that could not be measured.
    pub(crate) fn empty(&mut self, work: &str, why: &str) {
        let note = self.note(why.to_owned());
        let rest = " – |".repeat(Column::OTHERS.len());
        println!("| {work} | – {note} |{rest}");
    }

    /// Prints the notes and the remarks below the table.
    pub(crate) fn end(self, remarks: &[String]) {
        println!();
        for (number, note) in self.notes.iter().enumerate() {
            println!("[{}] {note}", number + 1);
        }
        for remark in remarks {
            println!("- {remark}");
        }
    }

    fn note(&mut self, why: String) -> String {
        let known = self.notes.iter().position(|note| *note == why);
        let number = known.unwrap_or_else(|| {
            self.notes.push(why);
            self.notes.len() - 1
        });
        format!("[{}]", number + 1)
    }
}

/// The median, which ignores disturbances of single rounds.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
