//! The columns of the table, and the settings of their servers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::load::{Answer, Wire};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    StuutCache,
    Bare,
    Nginx,
    Varnish,
    HaProxy,
    /// stuut-cache's own plain hit of a response of the same length.
    PlainHit,
}

/// Settings of the servers of a row.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) origin: SocketAddr,
    /// Capacity of the cache, in MiB.
    pub(crate) capacity: u32,
    /// Responses are compressed if the client accepts it.
    pub(crate) gzip: bool,
    /// nginx keeps its cache files open.
    pub(crate) keep_open: bool,
    pub(crate) wire: Wire,
    /// The bare server has one response for all targets, without a lookup.
    pub(crate) plain: bool,
    /// Number of worker threads, or processes.
    pub(crate) workers: usize,
    /// A command that runs the server, such as valgrind.
    pub(crate) under: Vec<String>,
}

// === impl Column ===

impl Column {
    /// The columns that stuut-cache is compared with.
    pub(crate) const OTHERS: [Self; 5] = [
        Self::Bare,
        Self::Nginx,
        Self::Varnish,
        Self::HaProxy,
        Self::PlainHit,
    ];

    /// The caching proxies among them.
    pub(crate) const CACHES: [Self; 3] = [Self::Nginx, Self::Varnish, Self::HaProxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StuutCache => "stuut-cache",
            Self::Bare => "bare hyper",
            Self::Nginx => "nginx",
            Self::Varnish => "Varnish",
            Self::HaProxy => "HAProxy",
            Self::PlainHit => "own plain hit",
        }
    }

    /// Whether the fields of a response show that it is a hit.
    pub(crate) fn is_hit(self, answer: &Answer) -> bool {
        match self {
            Self::StuutCache | Self::PlainHit => {
                answer.field("cache-status").contains("stuut-cache; hit")
            }
            Self::Bare => true,
            Self::Nginx | Self::HaProxy => answer.field("x-cache-status") == "HIT",
            // The second number is that of the request that fetched it.
            Self::Varnish => answer.field("x-varnish").split(' ').count() == 2,
        }
    }

    /// A remark on its settings, printed below the table.
    pub(crate) fn remark(self) -> Option<&'static str> {
        match self {
            Self::Nginx => Some(
                "nginx: proxy_cache on tmpfs, one worker, access_log off; it keeps its files open \
                 (open_file_cache) where all requests are hits, and compresses on every hit.",
            ),
            Self::Varnish => Some(
                "Varnish: one thread pool, malloc storage; it compresses once, when it fetches.",
            ),
            Self::HaProxy => Some(
                "HAProxy: its cache does not serve requests with Authorization, so the token is \
                 moved to Host during the lookup; it allocates its whole cache when it starts.",
            ),
            Self::StuutCache | Self::Bare | Self::PlainHit => None,
        }
    }

    /// The program and its version, or an error that names the missing package.
    pub(crate) fn version(self) -> std::result::Result<String, String> {
        let (program, flag, package) = match self {
            Self::Nginx => ("nginx", "-v", "nginx-light"),
            Self::Varnish => ("varnishd", "-V", "varnish"),
            Self::HaProxy => ("haproxy", "-v", "haproxy"),
            Self::StuutCache | Self::Bare | Self::PlainHit => return Ok(self.name().to_owned()),
        };
        let output = Command::new(program_path(program))
            .arg(flag)
            .stdin(Stdio::null())
            .output()
            .map_err(|_| format!("{program} is not installed (package {package})"))?;
        let output = [output.stdout, output.stderr].concat();
        let output = String::from_utf8_lossy(&output);
        Ok(output.lines().next().unwrap_or(program).to_owned())
    }
}

// === impl Setup ===

impl Setup {
    pub(crate) fn new(origin: SocketAddr) -> Self {
        Self {
            origin,
            capacity: 512,
            gzip: false,
            keep_open: false,
            wire: Wire::H1,
            plain: false,
            workers: 1,
            under: Vec::new(),
        }
    }
}

/// The path of a program, also in `/usr/sbin`, which is only in root's `PATH`.
pub(crate) fn program_path(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() { path } else { name.into() }
}
