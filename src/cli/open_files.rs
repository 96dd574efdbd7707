//! The limit on open files; each connection is one, to a client or to the origin.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files other than connections: listeners, the runtime, the log, the admin listener's connections.
const OTHER_FILES: u64 = 128;

/// Raises the soft limit to the hard limit, and warns if that is too low for the configuration. The
/// soft limit of a shell is often far below the hard limit.
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
             LimitNOFILE=), or lower server.max_connections and the pools of [limits]"
        );
    }
}

fn needed(config: &Config) -> u64 {
    let limits = &config.limits;
    // The pool of connections keeps as many idle ones as there are slots for fetches.
    let to_origin = 2 * limits.in_flight + limits.streams + limits.uploads;
    let connections = config.server.max_connections + to_origin;
    u64::try_from(connections).map_or(u64::MAX, |connections| connections + OTHER_FILES)
}
