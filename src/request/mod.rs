//! Parsing of requests: from the head alone, and once, so that afterwards the type is the proof.
//!
//! [`Parser::parse`] answers with a [`Parsed::Call`], which the cache may answer; a
//! [`Parsed::Bypass`], which is forwarded untouched, with the reason; or a [`Refusal`].

mod credential;
mod fields;
mod framing;
mod key;
mod refusal;
mod route;
mod scope;
mod target;

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};

use crate::coding::{self, Coding};
use crate::config::{Config, Limits};
use crate::label::labels;
use crate::view::{self, View};

use fields::{FieldLines, HeadFields};

pub use credential::{Spelling, hide_credentials};
pub use framing::{Framing, FramingFault, HTTP2_PREFACE, Stop};
pub use key::{CacheKey, Prehashed};
pub use refusal::{Refusal, Refused, is_rejection, rejection};
pub use route::{RouteId, Routes};
pub use scope::{Scope, ScopeId, ScopeKey, Scopes};
pub use target::{is_plainly_coded, max_forwards};

/// Reads request heads by the configured routes, view options and limits.
#[derive(Clone, Debug)]
pub struct Parser {
    routes: Routes,
    scopes: Scopes,
    views: view::Options,
    limits: Limits,
}

/// A parsed request.
#[derive(Debug)]
pub enum Parsed {
    /// One that the cache may answer.
    Call(Call),
    /// One that goes to the origin as it is.
    Bypass(Bypass),
}

/// A cacheable request.
#[derive(Debug)]
pub struct Call {
    /// Which of `cache.routes` it matched.
    pub route: RouteId,
    /// Where its response is stored.
    pub key: CacheKey,
    /// The token's own scope: the key's, unless the token shares one.
    pub holder: Scope,
    /// The part of the response the client wants; `None` is the whole.
    pub view: Option<View>,
    /// The content coding it would rather have than none.
    pub coding: Option<Coding>,
    /// Whether only the head is wanted (HEAD).
    pub head_only: bool,
    /// Whether it has a condition that the stored response may answer with 304.
    pub conditional: bool,
    /// Whether it has cache directives.
    pub directed: bool,
}

impl Call {
    /// Whether the token shares the scope of the key with others.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.holder != *self.key.scope()
    }

    /// The key under which fetches are coalesced. Tokens that share a stored response do not share
    /// a fetch: the refusal of one must not reach another.
    #[must_use]
    pub fn flight(&self) -> Cow<'_, CacheKey> {
        if self.is_shared() {
            Cow::Owned(CacheKey::new(
                self.holder,
                self.key.path(),
                self.key.query(),
            ))
        } else {
            Cow::Borrowed(&self.key)
        }
    }
}

labels! {
    /// Why a request is forwarded without the cache.
    pub enum Bypass {
        /// Neither GET nor HEAD.
        Method => "method",
        /// The path matches none of `cache.routes`.
        Route => "route",
        /// No single bearer token, so no scope to store under.
        Credential => "credential",
        /// The request has a body.
        Body => "body",
        /// A part of the bytes is asked for.
        Range => "range",
        /// Another protocol is asked for.
        Upgrade => "upgrade",
        /// A condition that only the origin can judge (RFC 9111 §4.3.2).
        Condition => "condition",
    }
}

impl Parser {
    /// A parser for this configuration, with a scope key of its own.
    ///
    /// # Errors
    ///
    /// The configured views whose lists cannot be read.
    pub fn new(config: &Config) -> Result<Self, Vec<view::OptionsFault>> {
        Ok(Self {
            routes: Routes::new(&config.cache.routes),
            scopes: Scopes::new(&config.scope),
            views: view::Options::new(&config.views)?,
            limits: config.limits.clone(),
        })
    }

    /// A parser by other scopes and views. Tokens keep their scopes: its key is the same.
    ///
    /// # Errors
    ///
    /// The configured views whose lists cannot be read.
    pub fn reloaded(&self, config: &Config) -> Result<Self, Vec<view::OptionsFault>> {
        Ok(Self {
            routes: self.routes.clone(),
            scopes: self.scopes.reloaded(&config.scope),
            views: view::Options::new(&config.views)?,
            limits: self.limits.clone(),
        })
    }

    /// The compiled routes.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Parses a request head.
    ///
    /// # Errors
    ///
    /// When it is malformed or beyond a limit.
    pub fn parse(&self, head: &Parts, has_body: bool) -> Result<Parsed, Refused> {
        let fields = HeadFields::read(&head.headers);
        target::check(head, &fields, &self.limits)?;
        let credential = match fields.authorization {
            FieldLines::Several => return Err(Refusal::AuthorizationRepeated.into()),
            FieldLines::One(value) => {
                Some(value).filter(|value| credential::is_bearer(value.as_bytes()))
            }
            FieldLines::Absent => None,
        };
        let bypass = |reason| Ok(Parsed::Bypass(reason));
        if !matches!(head.method, Method::GET | Method::HEAD) {
            if let Some(refusal) = refusal::rejected(head) {
                return Err(refusal.into());
            }
            return bypass(Bypass::Method);
        }
        let path = head.uri.path();
        let Some(route) = self.routes.find(path) else {
            return bypass(Bypass::Route);
        };
        let Some(credential) = credential else {
            return bypass(Bypass::Credential);
        };
        if has_body {
            return bypass(Bypass::Body);
        }
        if fields.ranged {
            return bypass(Bypass::Range);
        }
        if fields.upgrading {
            return bypass(Bypass::Upgrade);
        }
        if fields.for_the_origin {
            return bypass(Bypass::Condition);
        }
        let asked = view::read_query(head.uri.query(), &self.views).map_err(|fault| Refused {
            why: Refusal::View,
            sentence: fault.to_string(),
        })?;
        let holder = self.scopes.own(credential);
        let shared = self.scopes.shared(credential);
        let scope = shared.unwrap_or(holder);
        let mut key = CacheKey::new(scope, path, asked.remaining.as_deref());
        if shared.is_none() {
            key = key.spelt(Spelling::of(credential.as_bytes()));
        }
        Ok(Parsed::Call(Call {
            route,
            key,
            holder,
            view: asked.view,
            coding: coding(fields.accept_encoding, &head.headers),
            head_only: head.method == Method::HEAD,
            conditional: fields.conditional,
            directed: fields.directed,
        }))
    }

    /// The own scope of the token, which a refusal by the origin shuts out.
    #[must_use]
    pub fn scope(&self, headers: &HeaderMap) -> Option<Scope> {
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        match (lines.next(), lines.next()) {
            (Some(value), None) if credential::is_bearer(value.as_bytes()) => {
                Some(self.scopes.own(value))
            }
            _ => None,
        }
    }
}

/// The preferred coding; the one line that nearly all clients send needs no second look-up.
fn coding(accepted: FieldLines<'_>, headers: &HeaderMap) -> Option<Coding> {
    match accepted {
        FieldLines::Absent => None,
        FieldLines::One(line) => coding::preferred([line.as_bytes()]),
        FieldLines::Several => {
            let lines = headers.get_all(header::ACCEPT_ENCODING);
            coding::preferred(lines.iter().map(HeaderValue::as_bytes))
        }
    }
}
