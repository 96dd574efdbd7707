//! Request parsing: done once, from the head alone; later code relies on the types.
//!
//! [`Parser::parse`] returns a [`Parsed::Call`], which may be served from the cache; a
//! [`Parsed::Bypass`], which is forwarded, with the reason; or a [`Refusal`].

mod credential;
mod fields;
mod framing;
mod key;
mod peer;
mod refusal;
mod route;
mod scope;
mod target;
mod via;
mod wait;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header};

use crate::coding::{self, Coding};
use crate::config::{AddressRange, CacheMode, Config, Limits};
use crate::label::labels;
use crate::view::{self, View};

use fields::{FieldLines, HeadFields};
use wait::WaitOptions;

pub use crate::config::ScopeKey;
pub use credential::{Spelling, hide_credentials};
pub use framing::{Framing, FramingFault, HTTP2_PREFACE, Stop};
pub use key::{CacheKey, Prehashed};
pub use peer::Peer;
pub use refusal::{Refusal, Refused, is_rejection, rejection};
pub use route::{RouteId, Routes};
pub use scope::{Scope, ScopeId, Scopes};
pub use target::{is_chunked_or_uncoded, max_forwards};
pub use via::{CACHE_NAME, pseudonym};
pub use wait::{Until, Wait};

/// Parses request heads by the configured mode, routes, scopes, view options and limits.
#[derive(Clone, Debug)]
pub struct Parser {
    mode: CacheMode,
    routes: Routes,
    scopes: Scopes,
    views: view::Options,
    waits: WaitOptions,
    limits: Limits,
    trusted_proxies: Arc<[AddressRange]>,
}

/// A parsed request.
#[derive(Debug)]
pub enum Parsed {
    /// A request that may be served from the cache.
    Call(Call),
    /// A request that is forwarded to the origin, unchanged except for its view options.
    Bypass(Bypassed),
}

/// A request that bypasses the cache.
#[derive(Debug)]
pub struct Bypassed {
    /// Why it does.
    pub reason: Bypass,
    /// Its target without view options, if it has some.
    pub without_options: Option<PathAndQuery>,
}

/// A cacheable request.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each saves a hit the lookup of fields that it does not have"
)]
pub struct Call {
    /// The route that it matched.
    pub route: RouteId,
    /// The key under which its response is stored.
    pub key: CacheKey,
    /// The token's own scope: the same as the key's, unless the token shares a named one.
    pub token: Scope,
    /// The view of the response that the client wants; `None` for the whole.
    pub view: Option<View>,
    /// The state that it waits for, if it does. Boxed: few requests wait.
    pub wait: Option<Box<Wait>>,
    /// The content coding that the client prefers; `None` for identity.
    pub coding: Option<Coding>,
    /// Whether the method is HEAD.
    pub head_only: bool,
    /// Whether it has a condition that may turn a stored response into a 304.
    pub conditional: bool,
    /// Whether it prefers some stored responses to others.
    pub negotiates: bool,
    /// Whether it has cache directives.
    pub has_directives: bool,
}

impl Call {
    /// Whether the token shares the scope of the key with others.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.token != *self.key.scope()
    }

    /// The key under which requests are coalesced. Tokens that share a stored response do not share
    /// a fetch: a token that the origin refuses must not fail the requests of the others.
    #[must_use]
    pub fn coalescing_key(&self) -> Cow<'_, CacheKey> {
        if self.is_shared() {
            Cow::Owned(CacheKey::new(self.token, self.key.target().clone()))
        } else {
            Cow::Borrowed(&self.key)
        }
    }
}

labels! {
    /// Why a request bypasses the cache.
    pub enum Bypass {
        Off => "off": "`cache.mode` is \"off\"",
        Method => "method": "Neither GET nor HEAD",
        Route => "route": "The path matches none of `cache.routes`",
        Credential => "credential": "No single valid bearer token, so no scope",
        Body => "body": "The request has a body",
        Range => "range": "The request has a `Range`, and no view",
        Condition => "condition": "A condition that only the origin can evaluate (RFC 9111 §4.3.2)",
    }
}

impl From<Bypass> for Bypassed {
    fn from(reason: Bypass) -> Self {
        let without_options = None;
        Self {
            reason,
            without_options,
        }
    }
}

impl Parser {
    /// Creates a parser for this configuration, with its scope key or a new random one.
    ///
    /// # Errors
    ///
    /// The configured views with invalid lists.
    pub fn new(config: &Config) -> Result<Self, Vec<view::OptionsFault>> {
        Ok(Self {
            mode: config.cache.mode,
            routes: Routes::new(&config.cache.routes),
            scopes: Scopes::new(&config.scope),
            views: view::Options::new(&config.views)?,
            waits: WaitOptions::new(&config.views, &config.limits),
            limits: config.limits.clone(),
            trusted_proxies: config.server.trusted_proxies.as_slice().into(),
        })
    }

    /// Creates a parser with the mode, scopes, views and trusted proxies of another configuration. The scope key stays, and
    /// with it the scope of each token.
    ///
    /// # Errors
    ///
    /// The configured views with invalid lists.
    pub fn reloaded(&self, config: &Config) -> Result<Self, Vec<view::OptionsFault>> {
        Ok(Self {
            mode: config.cache.mode,
            routes: self.routes.clone(),
            scopes: self.scopes.reloaded(&config.scope),
            views: view::Options::new(&config.views)?,
            waits: WaitOptions::new(&config.views, &self.limits),
            limits: self.limits.clone(),
            trusted_proxies: config.server.trusted_proxies.as_slice().into(),
        })
    }

    /// The other side of a new connection.
    #[must_use]
    pub fn peer(&self, address: IpAddr) -> Peer {
        Peer::new(address, &self.trusted_proxies)
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
    /// If the request is malformed or exceeds a limit.
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
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        if !is_read && let Some(refusal) = refusal::rejected(head) {
            return Err(refusal.into());
        }
        let path = head.uri.path();
        let Some(route) = self.routes.find(path) else {
            let reason = self.bypasses_all(is_read).unwrap_or(Bypass::Route);
            return Ok(Parsed::Bypass(reason.into()));
        };
        // First, for every method and credential: the origin must never get an option of ours.
        let (query, wait) = self.waits.read(head.uri.query(), &head.headers)?;
        let query = view::read_query(query.as_deref(), &self.views).map_err(|fault| Refused {
            why: Refusal::View,
            sentence: fault.to_string(),
        })?;
        let remaining = query.remaining.as_deref();
        let has_options = query.has_options || wait.is_some();
        let without_options = has_options.then(|| target::of(path, remaining));
        let reason = match credential {
            _ if let Some(reason) = self.bypasses_all(is_read) => Err(reason),
            None => Err(Bypass::Credential),
            Some(_) if has_body => Err(Bypass::Body),
            // A view is not the representation that the range is of.
            Some(_) if fields.range && query.view.is_none() => Err(Bypass::Range),
            Some(_) if fields.origin_condition => Err(Bypass::Condition),
            Some(credential) => Ok(credential),
        };
        let credential = match reason {
            Ok(credential) => credential,
            Err(reason) => {
                return Ok(Parsed::Bypass(Bypassed {
                    reason,
                    without_options,
                }));
            }
        };
        let token = self.scopes.own(credential);
        let shared = self.scopes.shared(credential);
        let scope = shared.unwrap_or(token);
        let target = without_options.or_else(|| head.uri.path_and_query().cloned());
        let mut key = CacheKey::new(scope, target.expect("it has a path"));
        if shared.is_none() {
            key = key.with_spelling(Spelling::of(credential.as_bytes()));
        }
        Ok(Parsed::Call(Call {
            route,
            key,
            token,
            view: query.view,
            wait,
            coding: coding(fields.accept_encoding, &head.headers),
            head_only: head.method == Method::HEAD,
            conditional: fields.conditional,
            negotiates: fields.negotiates,
            has_directives: fields.directives,
        }))
    }

    /// Why no request of this kind may be served from the cache.
    fn bypasses_all(&self, is_read: bool) -> Option<Bypass> {
        match self.mode {
            CacheMode::Off => Some(Bypass::Off),
            CacheMode::On => (!is_read).then_some(Bypass::Method),
        }
    }

    /// The token's own scope, which is invalidated if the origin refuses the token; `None` without a
    /// single valid bearer token.
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

/// The preferred coding, without a second lookup for the single line that nearly all clients send.
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
