//! Which purge has invalidated a stored response: purges are counted apart from each other, and from writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Generation, Generations};
use crate::cache::Invalidation;
use crate::cache::counters::Snapshot;
use crate::policy::canonical_path;

/// A purge, and the number of stored responses that it has invalidated.
#[derive(Debug)]
pub struct Purged {
    /// The counters of what it concerns, as they were before it.
    before: Vec<Snapshot>,
    /// That of everything, if it concerns everything.
    all: Option<u64>,
    pub(in crate::cache) found: AtomicUsize,
    pub(in crate::cache) is_carried_out: AtomicBool,
    pub(in crate::cache) is_counted: AtomicBool,
}

impl Generations {
    /// A purge that is about to be carried out.
    pub(in crate::cache) fn purged(&self, purge: &Invalidation) -> Purged {
        let counters = match purge {
            Invalidation::Paths { paths, .. } => {
                let keys = paths
                    .iter()
                    .map(|(path, reach)| self.counter_key(&canonical_path(path), *reach));
                keys.filter_map(|key| self.paths.find(&key)).collect()
            }
            Invalidation::ScopeId(id) => self.scopes.find_all(|scope| scope.id() == *id),
            // Refusals are not counted.
            Invalidation::Resource { .. } | Invalidation::Scope(_) | Invalidation::All => vec![],
        };
        let before: Vec<_> = counters.into_iter().map(Snapshot::of).collect();
        let all = (*purge == Invalidation::All).then(|| self.all.load(Ordering::SeqCst));
        Purged {
            is_counted: (before.is_empty() && all.is_none()).into(),
            before,
            all,
            found: AtomicUsize::default(),
            is_carried_out: AtomicBool::default(),
        }
    }

    /// The index of the first of these purges that has invalidated this generation; `None` if none has, or
    /// something else has, too.
    pub(in crate::cache) fn purged_by(
        &self,
        generation: &Generation,
        purges: &[Arc<Purged>],
    ) -> Option<usize> {
        let Generation {
            all,
            scope,
            path,
            ancestors,
            resource,
            token,
            ..
        } = generation;
        let resource = token.is_none().then_some(resource);
        let counters = [scope, path].into_iter().chain(ancestors).chain(resource);
        let advanced = counters.filter(|counter| !counter.is_current());
        let first = |is_by: &dyn Fn(&Purged) -> bool| purges.iter().position(|purge| is_by(purge));
        let by = advanced.map(|now| first(&|purge| purge.before.iter().any(|it| it.is_same(now))));
        let by_all = (self.all.load(Ordering::SeqCst) != *all)
            .then(|| first(&|purge| purge.all == Some(*all)));
        let by: Option<Vec<usize>> = by.chain(by_all).collect();
        by?.into_iter().min()
    }
}

impl Purged {
    pub(in crate::cache) fn is_uncounted(&self) -> bool {
        !self.is_counted.load(Ordering::SeqCst)
    }
}
