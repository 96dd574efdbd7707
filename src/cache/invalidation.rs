//! An invalidation as a value: what it concerns, for this store and for the other replicas.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::canonical_path;
use crate::request::{Scope, ScopeId};

/// The responses that an invalidation concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The responses for a token under a path, with every query: the origin has refused it (403).
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

/// The paths that an invalidation includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reach {
    /// The path itself.
    Here,
    /// Paths below it.
    Below,
}

impl Invalidation {
    /// These paths and all paths below them, in every scope and with every query.
    pub fn of_paths(paths: impl Iterator<Item: AsRef<str>>) -> Self {
        let both = paths.flat_map(|path| {
            let path = canonical_path(path.as_ref()).into_owned();
            [(path.clone(), Reach::Here), (path, Reach::Below)]
        });
        Self::Paths {
            paths: both.collect(),
            writer: None,
            pending: Duration::ZERO,
        }
    }

    /// Whether it may be a purge: each replica counts what it had stored.
    pub fn is_purge(&self) -> bool {
        match self {
            Self::Paths {
                writer, pending, ..
            } => writer.is_none() && pending.is_zero(),
            Self::ScopeId(_) | Self::All => true,
            Self::Resource { .. } | Self::Scope(_) => false,
        }
    }

    /// The responses for this token under this path.
    pub fn of_resource(token: &Scope, path: &str) -> Self {
        Self::Resource {
            token: *token,
            path: canonical_path(path).into_owned(),
        }
    }
}
