//! `GET /tail[?path=…&status=…&outcome=…&scope=…&slow=…&style=…]`: access lines as requests end, until the
//! client disconnects.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::Either;
use tokio::sync::mpsc;

use super::query::{is_literal, parameters};
use super::{Admin, AdminResponse, purge, text, typed};
use crate::label::Label as _;
use crate::outcome::OutcomeLabel;
use crate::request::ScopeId;
use crate::telemetry::{LogStyle, TailFilter};

/// Lines as they are sent.
#[derive(Debug)]
pub(super) struct Lines(mpsc::Receiver<Bytes>);

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = self.0.poll_recv(cx);
        line.map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

impl Admin {
    /// Paths may be sensitive, so the client must be one that may purge.
    pub(super) fn tail<B>(&self, request: &Request<B>) -> AdminResponse {
        if !self.may_purge(request.headers()) {
            return purge::refusal();
        }
        let Some((filter, style)) = parse(request.uri().query()) else {
            return text(
                StatusCode::BAD_REQUEST,
                "specify any of path=/v1/calls (the beginning), status=404 or 5xx, outcome=miss, scope=DIGEST, slow=100ms and style=json, text or coloured\n",
            );
        };
        let lines = self
            .log
            .as_ref()
            .map(|log| log.tail().subscribe(filter, style));
        match lines {
            Some(Some(lines)) => {
                let media = match style {
                    LogStyle::Json => "application/x-ndjson",
                    LogStyle::Text { .. } => "text/plain; charset=utf-8",
                };
                typed(StatusCode::OK, media, Bytes::new()).map(|_| Either::Right(Lines(lines)))
            }
            Some(None) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "there are 8 of these already; close one\n",
            ),
            None => text(StatusCode::NOT_FOUND, "this process has no log\n"),
        }
    }
}

fn parse(query: Option<&str>) -> Option<(TailFilter, LogStyle)> {
    let (mut filter, mut style) = (TailFilter::default(), LogStyle::Json);
    let Some(query) = query else {
        return Some((filter, style));
    };
    let names = ["path", "status", "outcome", "scope", "slow", "style"];
    let [path, status, outcome, scope, slow, given] = parameters(query, names)?;
    if let Some(path) = path {
        filter.path = Some(path.to_owned()).filter(|path| is_literal(path));
        filter.path.as_ref()?;
    }
    if let Some(status) = status {
        filter.status = Some(match status.strip_suffix("xx") {
            Some(class) => {
                let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
                (class * 100, class * 100 + 99)
            }
            None => status.parse().map(|status| (status, status)).ok()?,
        });
    }
    if let Some(outcome) = outcome {
        let known = OutcomeLabel::ALL
            .iter()
            .find(|known| known.as_str() == outcome);
        filter.outcome = Some(*known?);
    }
    if let Some(scope) = scope {
        filter.scope = Some(ScopeId::parse(scope)?);
    }
    if let Some(slow) = slow {
        filter.slow = humantime::parse_duration(slow).ok()?;
    }
    if let Some(given) = given {
        style = match given {
            "json" => LogStyle::Json,
            "text" => LogStyle::Text { coloured: false },
            "coloured" => LogStyle::Text { coloured: true },
            _ => return None,
        };
    }
    Some((filter, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_parsed_or_refused() {
        let (filter, style) = parse(Some(
            "path=/v1/calls&status=5xx&outcome=miss&scope=01020304&slow=100ms&style=text",
        ))
        .expect("a filter");
        assert_eq!(filter.path.as_deref(), Some("/v1/calls"));
        assert_eq!(filter.status, Some((500, 599)));
        assert_eq!(filter.outcome, Some(OutcomeLabel::Miss));
        assert_eq!(filter.scope, ScopeId::parse("01020304"));
        assert_eq!(filter.slow.as_millis(), 100);
        assert_eq!(style, LogStyle::Text { coloured: false });
        assert!(parse(None).is_some_and(|(_, style)| style == LogStyle::Json));
        assert_eq!(
            parse(Some("status=404")).and_then(|(filter, _)| filter.status),
            Some((404, 404))
        );
        for faulty in [
            "",
            "status=6xx",
            "status=x",
            "outcome=hot",
            "scope=1",
            "slow=1",
            "style=x",
            "path=/*",
            "x=1",
        ] {
            assert!(parse(Some(faulty)).is_none(), "{faulty}");
        }
    }
}
