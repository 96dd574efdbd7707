//! An invalidation as a value: what it concerns, for this store and for the other replicas.

use std::time::Duration;

use super::Reach;
use crate::request::{Scope, ScopeId};

/// What an invalidation concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Paths in their [canonical form](crate::policy::canonical_path), in every scope and with every
    /// query.
    Paths {
        /// Each path, and whether it or what is below it is meant.
        paths: Vec<(String, Reach)>,
        /// The token that has written to them, if it is accepted: the bound on pending writes counts
        /// by token.
        writer: Option<Scope>,
        /// For how long no response to a fetch that begins is stored; zero after a purge.
        pending: Duration,
    },
    /// What is stored for a token under a path, with every query: the origin has refused it (403).
    Resource {
        /// The refused token.
        token: Scope,
        /// The path, in its canonical form.
        path: String,
    },
    /// Everything that is stored for a token: the origin has refused it (401).
    Scope(Scope),
    /// Every scope with this id.
    ScopeId(ScopeId),
    /// Everything.
    All,
}
