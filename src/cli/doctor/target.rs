//! The proxy under examination: requests with either token, and what each must receive.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE};
use http::request::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret as _, SecretString};

use super::{CheckResult, NotPassed};
use crate::cli::admin_client::{AdminClient, bearer, send};
use crate::config;
use crate::outcome::CACHE_NAME;
use crate::units::bytes;
use crate::upstream::Connector;

/// Time to wait for a response, longer than a proxy waits for its origin.
const TIMEOUT: Duration = Duration::from_secs(45);

/// Maximum body size.
const MAX_BODY: usize = 64 << 20;

/// One of the two tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    First,
    Second,
}

pub(super) const BOTH: [Caller; 2] = [Caller::First, Caller::Second];

#[derive(Debug)]
pub(super) struct Target {
    client: legacy::Client<Connector, Full<Bytes>>,
    pub(super) base: String,
    tokens: [SecretString; 2],
    pub(super) admin: AdminClient,
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The replies that each token must get for a call: those that it gets past the cache.
#[derive(Clone, Debug)]
pub(super) struct Baseline([Reply; 2]);

// === impl Caller ===

impl Caller {
    pub(super) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn index(self) -> usize {
        usize::from(self == Self::Second)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::First => "the first token",
            Self::Second => "the second token",
        }
    }
}

// === impl Target ===

impl Target {
    pub(super) fn new(
        base: &Uri,
        ca_file: Option<&Path>,
        tokens: [SecretString; 2],
        admin: AdminClient,
    ) -> anyhow::Result<Self> {
        let scheme = base.scheme().context("--proxy: no scheme")?;
        let mut settings = config::Config::default().upstream;
        settings.ca_file = ca_file.map(Path::to_owned);
        let connector = Connector::new(scheme, &settings).context("--ca-file")?;
        Ok(Self {
            client: legacy::Client::builder(TokioExecutor::new()).build(connector),
            base: base.to_string().trim_end_matches('/').to_owned(),
            tokens,
            admin,
        })
    }

    /// Checks that both tokens get responses from a stuut-cache.
    pub(super) async fn reach(&self, call: &str) -> CheckResult {
        let baseline = self.baseline(call).await?;
        let [first, second] = &baseline.0;
        let ours = |reply: &Reply| reply.cache_status().starts_with(CACHE_NAME);
        if !baseline.0.iter().all(ours) {
            fail!(
                "{} is not a stuut-cache: its responses have no such Cache-Status",
                self.base
            );
        }
        if first.status != StatusCode::OK {
            fail!(
                "the first token gets {} for {call}; name a call that it may see (--call)",
                first.status
            );
        }
        let size = |reply: &Reply| {
            let (status, size) = (reply.status.as_u16(), bytes(reply.body.len() as u64));
            format!("{status} ({size})")
        };
        let (first_size, second_size) = (size(first), size(second));
        Ok(if baseline.differs() {
            format!("{call}: the first token gets {first_size}, the second {second_size}")
        } else {
            format!("both tokens get the same {first_size}: only Cache-Status can show a leak")
        })
    }

    pub(super) async fn get(&self, caller: Caller, target: &str) -> Result<Reply, NotPassed> {
        self.get_with(caller, target, &[]).await
    }

    pub(super) async fn get_with(
        &self,
        caller: Caller,
        target: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Reply, NotPassed> {
        self.send(Some(&self.tokens[caller.index()]), target, fields)
            .await
    }

    /// Sends a PATCH with the first token.
    pub(super) async fn patch(&self, target: &str, body: Bytes) -> Result<Reply, NotPassed> {
        let json = HeaderValue::from_static("application/json");
        let token = Some(&self.tokens[Caller::First.index()]);
        let patch = Request::patch(format!("{}{target}", self.base));
        self.exchange(patch, token, &[(CONTENT_TYPE, json)], body)
            .await
    }

    /// Sends a GET with any token, or without one.
    pub(super) async fn send(
        &self,
        token: Option<&SecretString>,
        target: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Reply, NotPassed> {
        let get = Request::get(format!("{}{target}", self.base));
        self.exchange(get, token, fields, Bytes::new()).await
    }

    pub(super) async fn exchange(
        &self,
        mut request: Builder,
        token: Option<&SecretString>,
        fields: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Reply, NotPassed> {
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, bearer(token));
        }
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::from(body))
            .map_err(|error| NotPassed::Failed(format!("not a request target: {error}")))?;
        let target = request.uri().path().to_owned();
        let sent = tokio::time::timeout(TIMEOUT, send(&self.client, request, MAX_BODY)).await;
        let Ok(response) = sent else {
            fail!("no response to {target} within {TIMEOUT:?}");
        };
        let (head, body) = match response {
            Ok(response) => response.into_parts(),
            Err(reason) => fail!("cannot reach {}: {reason}", self.base),
        };
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// Fetches the current baseline of a call.
    pub(super) async fn baseline(&self, call: &str) -> Result<Baseline, NotPassed> {
        let bypass = HeaderValue::from_static("no-store, no-cache");
        let fields = [(CACHE_CONTROL, bypass)];
        let get = async |caller| {
            self.get_with(caller, &fresh(call, "baseline"), &fields)
                .await
        };
        Ok(Baseline([
            get(Caller::First).await?,
            get(Caller::Second).await?,
        ]))
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(SecretString::expose_secret)
    }

    pub(super) fn is_token_in(&self, text: &[u8]) -> bool {
        self.tokens()
            .any(|token| memchr::memmem::find(text, token.as_bytes()).is_some())
    }
}

// === impl Baseline ===

impl Baseline {
    pub(super) fn of(&self, caller: Caller) -> &Reply {
        &self.0[caller.index()]
    }

    /// Whether the two tokens get different bodies.
    pub(super) fn differs(&self) -> bool {
        self.0[0].body != self.0[1].body
    }

    /// Whether a reply is this token's own. Bodies of replies other than 200 may vary.
    pub(super) fn is_own(&self, caller: Caller, reply: &Reply) -> bool {
        let own = self.of(caller);
        let equal = reply.body == own.body || own.status != StatusCode::OK;
        reply.status == own.status && equal && !self.is_foreign(caller, reply)
    }

    /// Whether a reply is one that only the other token may get.
    pub(super) fn is_foreign(&self, caller: Caller, reply: &Reply) -> bool {
        let foreign = self.of(caller.other());
        self.differs()
            && !reply.body.is_empty()
            && reply.body == foreign.body
            && foreign.status.is_success()
    }
}

// === impl Reply ===

impl Reply {
    pub(super) fn cache_status(&self) -> &str {
        let value = self.headers.get("cache-status");
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(super) fn is_hit(&self) -> bool {
        self.has("hit")
    }

    pub(super) fn is_collapsed(&self) -> bool {
        self.has("collapsed")
    }

    /// Whether it came from the origin, by its own fetch.
    pub(super) fn is_fetched(&self) -> bool {
        self.cache_status().contains("fwd=") && !self.is_collapsed()
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.cache_status().split("; ").any(|part| part == flag)
    }

    /// The cookies because of which it was not stored.
    pub(super) fn forbidding_cookies(&self) -> Option<String> {
        let names = self.headers.get_all(SET_COOKIE).iter().filter_map(|line| {
            let (name, _) = line.to_str().ok()?.split_once('=')?;
            Some(name.trim())
        });
        self.has("detail=set-cookie")
            .then(|| names.collect::<Vec<_>>().join(", "))
    }

    /// Remaining freshness, in seconds.
    pub(super) fn ttl(&self) -> Option<i64> {
        let mut parts = self.cache_status().split("; ");
        parts.find_map(|part| part.strip_prefix("ttl=")?.parse().ok())
    }
}

/// The call with a query that makes its cache key unique, and names the check.
pub(super) fn fresh(call: &str, check: &str) -> String {
    format!("{call}?canary={check}-{}", nonce())
}

pub(super) fn nonce() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("{random:016x}")
}
