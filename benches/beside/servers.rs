//! Who stands beside whom, and how each is started.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::Result;
use crate::load::{Answer, Wire};
use crate::others;
use crate::process::{Server, folder, free_address};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    StuutCache,
    Bare,
    Nginx,
    Varnish,
    HaProxy,
    /// stuut-cache's own hit of an answer of the same length, with nothing special about it.
    PlainHit,
}

/// How the servers of a row are set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) origin: SocketAddr,
    /// What a store may hold, in MiB.
    pub(crate) capacity: u32,
    /// Answers are compressed where the client takes it.
    pub(crate) gzip: bool,
    /// nginx keeps the files of its store open.
    pub(crate) keep_open: bool,
    pub(crate) wire: Wire,
    /// The bare server has one answer and looks nothing up.
    pub(crate) plain: bool,
    /// Words before the command: a valgrind.
    pub(crate) under: Vec<String>,
}

// === impl Column ===

impl Column {
    /// Those that stuut-cache stands beside.
    pub(crate) const BESIDE: [Self; 5] = [
        Self::Bare,
        Self::Nginx,
        Self::Varnish,
        Self::HaProxy,
        Self::PlainHit,
    ];

    /// Those of them that are caching proxies.
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

    /// Whether an answer says of itself that it came from the store.
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

    /// What there is to know of how it was set up.
    pub(crate) fn remark(self) -> Option<&'static str> {
        match self {
            Self::Nginx => Some(
                "nginx: proxy_cache in memory (tmpfs), one worker, access_log off; it keeps its \
                 files open (open_file_cache) where all are hits, and compresses at every hit.",
            ),
            Self::Varnish => Some(
                "Varnish: one pool of threads, malloc store; it compresses once, when it fetches.",
            ),
            Self::HaProxy => Some(
                "HAProxy: its cache answers no request with Authorization, so the credential is \
                 moved to Host while it looks; it takes the memory of its whole store when it \
                 starts.",
            ),
            Self::StuutCache | Self::Bare | Self::PlainHit => None,
        }
    }

    /// The program and its version, or the words that say what is missing.
    pub(crate) fn version(self) -> std::result::Result<String, String> {
        let (program, flag, package) = match self {
            Self::Nginx => ("nginx", "-v", "nginx-light"),
            Self::Varnish => ("varnishd", "-V", "varnish"),
            Self::HaProxy => ("haproxy", "-v", "haproxy"),
            Self::StuutCache | Self::Bare | Self::PlainHit => return Ok(self.name().to_owned()),
        };
        let output = Command::new(others::program(program))
            .arg(flag)
            .stdin(Stdio::null())
            .output()
            .map_err(|_| format!("{program} is not installed (package {package})"))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        Ok(said.lines().next().unwrap_or(program).to_owned())
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
            under: Vec::new(),
        }
    }

    /// Starts a server, and waits until it accepts connections.
    pub(crate) fn start(&self, column: Column) -> Result<Server> {
        let mut server = self.spawn(column)?;
        server.await_listening()?;
        Ok(server)
    }

    /// Starts a server.
    pub(crate) fn spawn(&self, column: Column) -> Result<Server> {
        let (address, folder) = (free_address()?, folder()?);
        let mut variables = Vec::new();
        let mut words = self.under.clone();
        match column {
            Column::StuutCache | Column::PlainHit => {
                words.extend([
                    env!("CARGO_BIN_EXE_stuut-cache").to_owned(),
                    "--listen".to_owned(),
                    address.to_string(),
                    "--admin-listen".to_owned(),
                    "127.0.0.1:0".to_owned(),
                    "--upstream".to_owned(),
                    format!("http://{}", self.origin),
                ]);
                variables.push(("STUUT_CACHE__SERVER__WORKERS", "1".to_owned()));
                let capacity = format!("{}MiB", self.capacity);
                variables.push(("STUUT_CACHE__CACHE__CAPACITY", capacity));
                if self.gzip {
                    // The one row whose bodies show live parts and go on for longer than their
                    // minute.
                    for part in [
                        "STUUT_CACHE__FRESHNESS__LIVE__APPROVER",
                        "STUUT_CACHE__FRESHNESS__LIVE__CLASSIFICATIONS",
                        "STUUT_CACHE__FRESHNESS__LIVE__INVOICES",
                        "STUUT_CACHE__FRESHNESS__LIVE__PARTNER",
                        "STUUT_CACHE__FRESHNESS__LIVE__WORKFLOW",
                    ] {
                        variables.push((part, "off".to_owned()));
                    }
                }
            }
            Column::Bare => {
                let mode = if self.plain { "plain" } else { "lookup" };
                let program = std::env::current_exe()?.to_string_lossy().into_owned();
                words.extend([program, "bare".into(), mode.into(), address.to_string()]);
            }
            Column::Nginx => words.extend(others::nginx(self, address, folder.path())?),
            Column::Varnish => words.extend(others::varnish(self, address, folder.path())?),
            Column::HaProxy => words.extend(others::haproxy(self, address, folder.path())?),
        }
        Server::spawn(column, address, &words, &variables, folder)
    }
}
