//! `OpenMetrics` 1.0.0: the text format of Prometheus, converted, with an exemplar for each bucket.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::instrument::SECONDS;
use crate::telemetry::RequestId;

/// The shortest duration whose request becomes an exemplar without a trace. A hit is shorter, so that it
/// neither copies its id nor locks.
const MIN_EXEMPLAR: Duration = Duration::from_millis(1);

/// Maximum characters in the labels of an exemplar, names included.
const MAX_LABELS: usize = 128;

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The arrival of its head.
    pub began: SystemTime,
    /// The time from then to its end.
    pub took: Duration,
    /// The id of its trace, if that is sampled.
    pub trace: Option<u128>,
    /// Its id in the log.
    pub id: &'a RequestId,
}

/// The last request in each bucket of a histogram, by which its trace or its line in the log is found.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<BTreeMap<usize, Exemplar>>);

#[derive(Debug)]
struct Exemplar {
    began: SystemTime,
    took: Duration,
    /// The trace, or without one the request.
    id: Result<u128, RequestId>,
}

impl Exemplars {
    /// Notes a request that has a trace or is slow; unless another is being noted, rather than wait.
    pub(super) fn note(&self, ended: Ended<'_>) {
        let Ended { began, took, .. } = ended;
        let id = match ended.trace {
            Some(trace) => Ok(trace),
            None if took >= MIN_EXEMPLAR => Err(ended.id.clone()),
            None => return,
        };
        if let Some(mut buckets) = self.0.try_lock() {
            let seconds = took.as_secs_f64();
            let bucket = SECONDS.partition_point(|bound| *bound < seconds);
            buckets.insert(bucket, Exemplar { began, took, id });
        }
    }

    /// The exemplars as text, by the value of their bucket's label `le`.
    pub(super) fn rendered(&self) -> Vec<(String, String)> {
        let buckets = self.0.lock();
        let rendered = buckets.iter().filter_map(|(bucket, exemplar)| {
            let bound = SECONDS.get(*bucket).map(ToString::to_string);
            Some((
                bound.unwrap_or_else(|| "+Inf".to_owned()),
                exemplar.render()?,
            ))
        });
        rendered.collect()
    }
}

impl Exemplar {
    /// `None` if its id is too long.
    fn render(&self) -> Option<String> {
        let (name, id) = match &self.id {
            Ok(trace) => ("trace_id", format!("{trace:032x}")),
            Err(request) => ("request_id", request.to_string()),
        };
        let at = self.began.duration_since(UNIX_EPOCH).unwrap_or_default() + self.took;
        let (took, at) = (self.took.as_secs_f64(), at.as_secs_f64());
        let is_short = name.len() + id.len() <= MAX_LABELS;
        is_short.then(|| format!("# {{{name}=\"{id}\"}} {took} {at:.3}"))
    }
}

/// Converts the text format of Prometheus. The family of a counter is named without `_total`; a label
/// `le` stays as it is, so that the time series of both formats are the same.
pub(super) fn convert(text: &str, exemplars: &HashMap<String, String>) -> String {
    let mut open = String::with_capacity(text.len() + text.len() / 8);
    for line in text.lines() {
        if let Some((keyword, rest)) = line.strip_prefix("# ").and_then(|it| it.split_once(' ')) {
            let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let name = name.strip_suffix("_total").unwrap_or(name);
            let rest = rest.replace('"', "\\\"");
            writeln!(open, "# {keyword} {name} {rest}").expect("a string takes any text");
            let unit = name.rsplit('_').next();
            if let Some(unit @ ("seconds" | "bytes")) = unit.filter(|_| keyword == "TYPE") {
                writeln!(open, "# UNIT {name} {unit}").expect("a string takes any text");
            }
            continue;
        }
        open.push_str(line);
        let series = line.rsplit_once(' ').map(|(series, _)| series);
        if let Some(exemplar) = series.and_then(|series| exemplars.get(series)) {
            open.push(' ');
            open.push_str(exemplar);
        }
        open.push('\n');
    }
    open.push_str("# EOF\n");
    open
}
