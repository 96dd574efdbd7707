//! A server process and its children: started on its own CPU, measured, stopped.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::commands::command;
use crate::setup::{Column, Setup};

/// The CPUs of a server with one worker, and of one with two, which shares the second with the load.
const SERVER_CPUS: [&str; 2] = ["0", "0,1"];

/// Timeout of a start; valgrind makes it fifty times slower.
const START: Duration = Duration::from_mins(1);

/// Timeout of a graceful stop, before SIGKILL.
const END: Duration = Duration::from_secs(20);

/// Number of lines of a server's messages that are shown: enough for callgrind's total.
const LAST_LINES: usize = 8;

/// A server; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) column: Column,
    pub(crate) address: SocketAddr,
    pub(crate) spawned: Instant,
    child: Child,
    /// Its configuration, its messages, and nginx's cache files.
    folder: TempDir,
}

/// CPU time so far, by thread.
#[derive(Debug)]
pub(crate) struct Spent(HashMap<u32, Times>);

/// CPU time of a thread, and its parts in user space and in the kernel, in ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    nanos: u64,
    user: u64,
    kernel: u64,
}

/// A folder on tmpfs if possible, so that cache files count as memory.
fn folder() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let above = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    Ok(tempfile::Builder::new()
        .prefix("stuut-cache-beside-")
        .tempdir_in(above)?)
}

/// A free loopback address. It stays free, because clients connect from `127.0.0.1`.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.2:0")?.local_addr()?)
}

// === impl Server ===

impl Server {
    /// Starts a server, and waits until it accepts connections.
    pub(crate) fn start(setup: &Setup, column: Column) -> Result<Self> {
        let mut server = Self::spawn(setup, column)?;
        server.await_listening()?;
        Ok(server)
    }

    /// Starts a server. It need not listen yet.
    pub(crate) fn spawn(setup: &Setup, column: Column) -> Result<Self> {
        let (address, folder) = (free_address()?, folder()?);
        let (arguments, variables) = command(setup, column, address, folder.path())?;
        let mut command = Command::new("setpriv");
        command
            // The servers are killed with the load generator.
            .args(["--pdeathsig", "TERM", "taskset", "-c"])
            .arg(SERVER_CPUS[setup.workers - 1])
            .args(arguments)
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("messages"))?);
        let spawned = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|error| format!("setpriv, taskset (package util-linux): {error}"))?;
        // The access log is on, so the pipe must be read.
        let mut output = child.stdout.take().ok_or("no output")?;
        thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Self {
            column,
            address,
            spawned,
            child,
            folder,
        })
    }

    /// Waits until it accepts connections.
    fn await_listening(&mut self) -> Result<()> {
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let (who, messages) = (self.column.name(), self.messages());
                return Err(format!("{who} exited with {status}: {messages}").into());
            }
            if self.spawned.elapsed() > START {
                let (who, messages) = (self.column.name(), self.messages());
                return Err(format!("{who} is not listening after {START:?}: {messages}").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The last lines of its standard error.
    pub(crate) fn messages(&self) -> String {
        let all = fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
        let lines: Vec<_> = all.lines().rev().take(LAST_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// User and system time of all threads of all its processes so far.
    pub(crate) fn spent(&self) -> Result<Spent> {
        let mut spent = HashMap::new();
        for process in self.processes() {
            for task in fs::read_dir(format!("/proc/{process}/task"))? {
                let task = task?;
                // The thread has just ended.
                let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                    continue;
                };
                let nanos = text.split(' ').next().ok_or("an empty schedstat")?;
                let id = task.file_name().to_string_lossy().parse()?;
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                let (user, kernel) = ticks(&stat).unwrap_or_default();
                let nanos = nanos.parse()?;
                spent.insert(
                    id,
                    Times {
                        nanos,
                        user,
                        kernel,
                    },
                );
            }
        }
        Ok(Spent(spent))
    }

    /// Resident bytes of all its processes; shared pages are counted once.
    pub(crate) fn resident(&self) -> Result<u64> {
        let processes = self.processes();
        let mut bytes = 0;
        for process in &processes {
            bytes += if processes.len() == 1 {
                kilobytes(&format!("/proc/{process}/status"), "VmRSS:")?
            } else {
                kilobytes(&format!("/proc/{process}/smaps_rollup"), "Pss:")?
            } << 10;
        }
        Ok(bytes)
    }

    /// Resident bytes, including those of its files on tmpfs.
    pub(crate) fn held(&self) -> Result<u64> {
        Ok(self.resident()? + on_disk(&self.folder.path().join("store")))
    }

    /// [`Self::held`], once it is stable.
    pub(crate) fn held_at_rest(&self) -> Result<u64> {
        let began = Instant::now();
        let mut held = self.held()?;
        let mut stable = 0;
        while stable < 3 && began.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(200));
            let now = self.held()?;
            stable = if now.abs_diff(held) < 64 << 10 {
                stable + 1
            } else {
                0
            };
            held = now;
        }
        Ok(held)
    }

    /// Stops it, and returns its standard error.
    pub(crate) fn stop(mut self) -> Result<String> {
        self.end()?;
        Ok(self.messages())
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // SIGTERM, which the standard library cannot send; SIGKILL would leave nginx's workers.
        Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.child.id())])
            .status()?;
        let began = Instant::now();
        while began.elapsed() < END {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The process and its descendants.
    fn processes(&self) -> Vec<u32> {
        let mut processes = vec![self.child.id()];
        let mut next = 0;
        while let Some(&process) = processes.get(next) {
            next += 1;
            let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
                continue;
            };
            for task in tasks.flatten() {
                let children = fs::read_to_string(task.path().join("children"));
                processes.extend(
                    children
                        .unwrap_or_default()
                        .split_whitespace()
                        .filter_map(|id| id.parse::<u32>().ok()),
                );
            }
        }
        processes
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // `drop` cannot return an error.
        let _ = self.end();
    }
}

// === impl Spent ===

impl Spent {
    /// CPU time since `before` of the threads that still exist, and its part in user space: that has only
    /// the resolution of a tick.
    pub(crate) fn since(&self, before: &Self) -> (Duration, Duration) {
        let mut sum = Times::default();
        for (thread, now) in &self.0 {
            let then = before.0.get(thread).copied().unwrap_or_default();
            sum.nanos += now.nanos.saturating_sub(then.nanos);
            sum.user += now.user.saturating_sub(then.user);
            sum.kernel += now.kernel.saturating_sub(then.kernel);
        }
        let ticks = (sum.user + sum.kernel).max(1);
        let user = u128::from(sum.nanos) * u128::from(sum.user) / u128::from(ticks);
        let user = u64::try_from(user).expect("a part of the whole");
        (Duration::from_nanos(sum.nanos), Duration::from_nanos(user))
    }
}

/// The ticks in user space and in the kernel, from `/proc/…/stat`.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    // The name of a thread may contain spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    Some((times.next()?.parse().ok()?, times.next()?.parse().ok()?))
}

fn kilobytes(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next());
    Ok(value
        .ok_or_else(|| format!("{file} has no {name}"))?
        .parse()?)
}

/// Size of a folder's files, in whole blocks.
fn on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;

    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(file) if file.is_dir() => on_disk(&entry.path()),
        Ok(file) => file.blocks() * 512,
        // Evicted in the meantime.
        Err(_) => 0,
    });
    sizes.sum()
}
