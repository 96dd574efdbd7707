//! Memory and file descriptors of a process, sampled every second, and their growth.

use std::fs;

use crate::Result;

/// Resident memory and open files of a process.
#[derive(Debug)]
pub(crate) struct Watch {
    process: u32,
    resident: Vec<f64>,
    files: Vec<f64>,
}

impl Watch {
    pub(crate) fn of(process: u32) -> Self {
        Self {
            process,
            resident: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Takes a sample, once a second.
    pub(crate) fn sample(&mut self) -> Result<()> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: f64 = kib.ok_or("VmRSS is missing")?.parse()?;
        self.resident.push(kib / 1024.0);
        let files = fs::read_dir(format!("/proc/{}/fd", self.process))?.count();
        self.files.push(f64::from(u32::try_from(files)?));
        Ok(())
    }

    pub(crate) fn report(&self) {
        line("resident, MiB", &self.resident);
        line("open files", &self.files);
    }
}

fn line(name: &str, samples: &[f64]) {
    let most = samples.iter().copied().fold(0.0, f64::max);
    let last = samples.last().copied().unwrap_or_default();
    // The cache is still filled during the first half.
    let slope = slope(&samples[samples.len() / 2..]) * 60.0;
    println!("{name:<15} {last:>10.1} at the end, {most:.1} at most, {slope:+.3} per minute");
}

/// The slope per sample, by linear regression.
fn slope(samples: &[f64]) -> f64 {
    let index = |at: usize| f64::from(u32::try_from(at).unwrap_or(u32::MAX));
    let count = index(samples.len());
    let (middle, mean) = ((count - 1.0) / 2.0, samples.iter().sum::<f64>() / count);
    let (mut up, mut across) = (0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let from_middle = index(at) - middle;
        up += from_middle * (sample - mean);
        across += from_middle * from_middle;
    }
    if across > 0.0 { up / across } else { 0.0 }
}
