//! The metrics of the process, named as in Prometheus' clients of all languages. On Linux only.
//!
//! The feature `process` of `prometheus` would count whole seconds, and bring five crates for two files.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Registry};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// The gauges, in the order of their values.
const GAUGES: [(&str, &str); 6] = [
    ("process_open_fds", "Open file descriptors."),
    ("process_max_fds", "Limit of open file descriptors."),
    ("process_virtual_memory_bytes", "Size of virtual memory."),
    ("process_resident_memory_bytes", "Size of resident memory."),
    (
        "process_start_time_seconds",
        "Start of the process, as a Unix time.",
    ),
    ("process_threads", "Threads."),
];

#[derive(Debug)]
struct Process {
    cpu: Counter,
    gauges: [Gauge; GAUGES.len()],
}

/// Processor time in seconds, and the values of the gauges.
type Values = (f64, [f64; GAUGES.len()]);

/// Adds the metrics of the process.
pub(super) fn register(registry: &Registry) {
    let valid = "the name is valid";
    let cpu = "Processor time, of the process and of the kernel for it.";
    let process = Process {
        cpu: Counter::new("process_cpu_seconds_total", cpu).expect(valid),
        gauges: GAUGES.map(|(name, help)| Gauge::new(name, help).expect(valid)),
    };
    let added = registry.register(Box::new(process));
    added.expect("an empty registry accepts any family");
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = self.gauges.iter().flat_map(Collector::desc);
        gauges.chain(self.cpu.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some((cpu, values)) = read() {
            self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
            for (gauge, value) in self.gauges.iter().zip(values) {
                gauge.set(value);
            }
        }
        let gauges = self.gauges.iter().flat_map(Collector::collect);
        gauges.chain(self.cpu.collect()).collect()
    }
}

fn read() -> Option<Values> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    values(&stat, &boot, [files as u64, limit])
}

/// Parses `/proc/self/stat` and `/proc/stat`, see `proc_pid_stat(5)`. The name of the process, in
/// parentheses, may have spaces.
fn values(stat: &str, boot: &str, files: [u64; 2]) -> Option<Values> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    // The first field after the name is number 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let ticks = float(clock_ticks_per_second());
    let mut lines = boot.lines();
    let booted = lines.find_map(|line| line.strip_prefix("btime ")?.parse::<f64>().ok());
    let gauges = [
        float(files[0]),
        float(files[1]),
        field(23)?,
        field(24)? * float(page_size() as u64),
        booted.unwrap_or(0.0) + field(22)? / ticks,
        field(20)?,
    ];
    Some(((field(14)? + field(15)?) / ticks, gauges))
}

#[expect(clippy::cast_precision_loss, reason = "values stay below 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_has_spaces() {
        let stat = "7 (a b) c) S 4 5 6 7 8 9 10 11 12 13 150 50 16 17 18 19 9 21 200 4096000 3 25";
        let (ticks, page) = (float(clock_ticks_per_second()), float(page_size() as u64));
        let gauges = [
            12.0,
            64.0,
            4_096_000.0,
            3.0 * page,
            1_000.0 + 200.0 / ticks,
            9.0,
        ];
        let read = values(stat, "cpu 1\nbtime 1000\n", [12, 64]);
        assert_eq!(read, Some((200.0 / ticks, gauges)));
        assert_eq!(values("7 (a) S 1", "", [0, 0]), None);
    }
}
