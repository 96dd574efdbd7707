//! The proxy that is examined: asking it with one token or the other, and what each should get.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;

use super::token::Token;
use super::{Finding, Trouble};
use crate::cli::ask::Admin;
use crate::cli::figures::bytes;
use crate::config;
use crate::outcome::CACHE_NAME;
use crate::upstream::Connector;

/// For an answer: longer than a proxy gives its origin.
const PATIENCE: Duration = Duration::from_secs(45);

/// Of a body.
const MOST: usize = 64 << 20;

/// Which of the two tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    First,
    Second,
}

pub(super) const BOTH: [Who; 2] = [Who::First, Who::Second];

#[derive(Debug)]
pub(super) struct Patient {
    client: legacy::Client<Connector, Empty<Bytes>>,
    base: String,
    tokens: [Token; 2],
    pub(super) admin: Admin,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What each token should get of one call, as it gets it past the cache.
#[derive(Clone, Debug)]
pub(super) struct Truth(pub(super) [Answer; 2]);

// === impl Who ===

impl Who {
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

// === impl Patient ===

impl Patient {
    pub(super) fn new(
        base: &Uri,
        settings: &config::Upstream,
        tokens: [Token; 2],
        admin: Admin,
    ) -> anyhow::Result<Self> {
        let scheme = base.scheme().context("--proxy: no scheme")?;
        let connector = Connector::new(scheme, settings).context("--ca-file")?;
        Ok(Self {
            client: legacy::Client::builder(TokioExecutor::new()).build(connector),
            base: base.to_string().trim_end_matches('/').to_owned(),
            tokens,
            admin,
        })
    }

    /// Whether both are answered, and by what we know.
    pub(super) async fn meet(&self, call: &str) -> Finding {
        let truth = self.truth(call).await?;
        let [first, second] = &truth.0;
        let ours = |answer: &Answer| answer.cache_status().starts_with(CACHE_NAME);
        if !truth.0.iter().all(ours) {
            return ill(format!(
                "{} is no stuut-cache: no Cache-Status of it",
                self.base
            ));
        }
        if first.status != StatusCode::OK {
            return ill(format!(
                "the first token gets {} for {call}; name a call that it may see (--call)",
                first.status
            ));
        }
        let size = |answer: &Answer| {
            format!(
                "{} ({})",
                answer.status.as_u16(),
                bytes(answer.body.len() as u64)
            )
        };
        Ok(if first.body == second.body {
            format!(
                "both tokens get the same {}: that nothing crosses is told by Cache-Status alone",
                size(first)
            )
        } else {
            format!(
                "{call}: the first token gets {}, the second {}",
                size(first),
                size(second)
            )
        })
    }

    pub(super) async fn get(&self, who: Who, target: &str) -> Result<Answer, Trouble> {
        self.ask(Some(&self.tokens[who.index()]), target, &[]).await
    }

    pub(super) async fn get_with(
        &self,
        who: Who,
        target: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, Trouble> {
        self.ask(Some(&self.tokens[who.index()]), target, fields)
            .await
    }

    /// With some other token, or none.
    pub(super) async fn ask(
        &self,
        token: Option<&Token>,
        target: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, Trouble> {
        let mut request = Request::get(format!("{}{target}", self.base));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.to_field());
        }
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| Trouble::Ill(format!("{target} is no request target: {error}")))?;
        match tokio::time::timeout(PATIENCE, self.send(request)).await {
            Ok(answer) => answer,
            Err(_) => ill(format!("no answer to {target} within {PATIENCE:?}")),
        }
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> Result<Answer, Trouble> {
        let failed = |error: &dyn std::error::Error| {
            let mut deepest = error;
            while let Some(source) = deepest.source() {
                deepest = source;
            }
            Trouble::Ill(format!("{} does not answer: {deepest}", self.base))
        };
        let answer = self.client.request(request).await;
        let (head, body) = answer.map_err(|error| failed(&error))?.into_parts();
        let body = Limited::new(body, MOST).collect().await;
        let body = body.map_err(|error| failed(&*error))?.to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// What each should get of a call now.
    pub(super) async fn truth(&self, call: &str) -> Result<Truth, Trouble> {
        let fields = [(
            CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-cache"),
        )];
        let target = fresh(call, "truth");
        let first = self.get_with(Who::First, &target, &fields).await?;
        let target = fresh(call, "truth");
        let second = self.get_with(Who::Second, &target, &fields).await?;
        Ok(Truth([first, second]))
    }

    pub(super) fn is_token_in(&self, text: &[u8]) -> bool {
        self.tokens.iter().any(|token| token.is_in(text))
    }
}

// === impl Truth ===

impl Truth {
    pub(super) fn of(&self, who: Who) -> &Answer {
        &self.0[who.index()]
    }

    /// Whether the two may be told apart by their bytes.
    pub(super) fn differs(&self) -> bool {
        self.0[0].body != self.0[1].body
    }

    /// Whether an answer is this token's own. Answers that are not 200 may differ in words.
    pub(super) fn is_own(&self, who: Who, answer: &Answer) -> bool {
        let own = self.of(who);
        let equal = answer.body == own.body || own.status != StatusCode::OK;
        answer.status == own.status && equal && !self.is_foreign(who, answer)
    }

    /// Whether an answer holds what only the other one may see.
    pub(super) fn is_foreign(&self, who: Who, answer: &Answer) -> bool {
        let foreign = self.of(who.other());
        self.differs()
            && !answer.body.is_empty()
            && answer.body == foreign.body
            && foreign.status.is_success()
    }
}

// === impl Answer ===

impl Answer {
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

    pub(super) fn is_stored(&self) -> bool {
        self.has("stored")
    }

    /// Whether it came from the origin, on a fetch of its own.
    pub(super) fn is_fetched(&self) -> bool {
        self.cache_status().contains("fwd=") && !self.is_collapsed()
    }

    fn has(&self, flag: &str) -> bool {
        self.cache_status().split("; ").any(|part| part == flag)
    }

    /// Seconds of freshness left.
    pub(super) fn ttl(&self) -> Option<i64> {
        let mut parts = self.cache_status().split("; ");
        parts.find_map(|part| part.strip_prefix("ttl=")?.parse().ok())
    }

    pub(super) fn etag(&self) -> Option<HeaderValue> {
        self.headers.get(ETAG).cloned()
    }
}

pub(super) fn ill<T>(text: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Ill(text.into()))
}

pub(super) fn skipped<T>(text: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Skipped(text.into()))
}

/// The call under a key that nobody has asked under, named for a check.
pub(super) fn fresh(call: &str, check: &str) -> String {
    format!("{call}?canary={check}-{}", nonce())
}

pub(super) fn nonce() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("{random:016x}")
}
