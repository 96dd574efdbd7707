//! The limit on open files: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Listeners, the runtime's own, the log, and the admin listener's connections.
const OTHERS: u64 = 128;

/// Lets the process open as many files as it may, and says where that is too few for what the
/// configuration allows. The limit that a shell gives is often far below the one it could give.
pub(super) fn raise_limit(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let needed = needed(config);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "{limit} files may be open, and {needed} may be needed: raise the limit (ulimit -n, \
             LimitNOFILE=), or lower server.max_connections"
        );
    }
}

fn needed(config: &Config) -> u64 {
    let connections = config.server.max_connections + config.limits.in_flight;
    u64::try_from(connections).map_or(u64::MAX, |connections| connections + OTHERS)
}
