//! Core dumps: off while serving. A dump would contain tokens and stored responses.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// The variable that keeps core dumps, debuggers and profilers of the same user possible, with the
/// value 1.
const VARIABLE: &str = "STUUT_CACHE_DUMPABLE";

/// Forbids core dumps, and other processes of this user to read the memory of this one.
pub(super) fn forbid() {
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "1") {
        tracing::warn!("{VARIABLE}=1: core dumps and debuggers can read tokens");
        return;
    }
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Two locks: a dump to a pipe (core_pattern) ignores the limit, and `execve` resets the flag.
    let limited = setrlimit(Resource::Core, none);
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = limited.and(hidden) {
        tracing::warn!("cannot forbid core dumps: {error}");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn a_process_that_forbids_dumps_has_none() {
        forbid();
        let behavior = dumpable_behavior().expect("Linux");
        assert_eq!(behavior, DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
