//! `GET /tail[?path=…&status=…&outcome=…&scope=…&slow=…&style=…]`: access lines as requests end, until the
//! client disconnects.

use bytes::Bytes;
use futures_util::stream::poll_fn;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, StreamBody};

use super::query::{is_literal, parameters};
use super::{Admin, AdminResponse, purge, text, typed};
use crate::label::Label as _;
use crate::outcome::OutcomeLabel;
use crate::request::ScopeId;
use crate::telemetry::{LogStyle, MAX_SUBSCRIBERS, TailFilter};

impl Admin {
    /// Paths may be sensitive, so the client must be one that may purge.
    pub(super) fn tail<B>(&self, request: &Request<B>) -> AdminResponse {
        if !self.may_purge(request.headers()) {
            return purge::refusal();
        }
        let (filter, style) = match parse(request.uri().query()) {
            Ok(parsed) => parsed,
            Err(fault) => return text(StatusCode::BAD_REQUEST, fault + "\n"),
        };
        let lines = self
            .log
            .as_ref()
            .map(|log| log.tail.subscribe(filter, style));
        match lines {
            Some(Some(mut lines)) => {
                let media = match style {
                    LogStyle::Json => "application/x-ndjson",
                    LogStyle::Text { .. } => "text/plain; charset=utf-8",
                };
                let frames = poll_fn(move |cx| {
                    let line = lines.poll_recv(cx);
                    line.map(|line| line.map(|line| Ok(Frame::data(line))))
                });
                let body = StreamBody::new(frames).boxed_unsync();
                typed(StatusCode::OK, media, Bytes::new()).map(|_| Either::Right(body))
            }
            Some(None) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{MAX_SUBSCRIBERS} clients read /tail already; close one\n"),
            ),
            None => text(StatusCode::NOT_FOUND, "this process has no log\n"),
        }
    }
}

fn parse(query: Option<&str>) -> Result<(TailFilter, LogStyle), String> {
    let (mut filter, mut style) = (TailFilter::default(), LogStyle::Json);
    let Some(query) = query else {
        return Ok((filter, style));
    };
    let names = ["path", "status", "outcome", "scope", "slow", "style"];
    let usage = || format!("specify any of {}, each with a value", names.join(", "));
    let values = parameters(query, names).ok_or_else(usage)?;
    for (name, value) in names.into_iter().zip(values) {
        let Some(value) = value else { continue };
        match (name, value) {
            ("style", "json") => style = LogStyle::Json,
            ("style", "text") => style = LogStyle::Text { coloured: false },
            ("style", "coloured") => style = LogStyle::Text { coloured: true },
            ("style", _) => return Err("style: write json, text or coloured".to_owned()),
            _ => select(&mut filter, name, value).map_err(|hint| format!("{name}: {hint}"))?,
        }
    }
    Ok((filter, style))
}

/// Sets one condition of the filter: the parameter of this name, or the option of the command.
///
/// # Errors
///
/// If the value is invalid: what to write.
pub(crate) fn select(filter: &mut TailFilter, name: &str, value: &str) -> Result<(), &'static str> {
    match name {
        "path" if is_literal(value) => filter.path = Some(value.to_owned()),
        "path" => return Err("write the beginning of a path: no query, no *"),
        "status" => {
            let hint = "write a status such as 404, or a class such as 5xx";
            filter.status = Some(statuses(value).ok_or(hint)?);
        }
        "outcome" => {
            let known = OutcomeLabel::ALL.iter();
            let hint = "write an outcome as in the access log, such as miss or failed";
            let found = known.copied().find(|known| known.as_str() == value);
            filter.outcome = Some(found.ok_or(hint)?);
        }
        "scope" => {
            let hint = "write at least 8 hex digits: the scope in the access log";
            filter.scope = Some(ScopeId::parse(value).ok_or(hint)?);
        }
        _ => {
            let hint = "write a duration such as 100ms";
            filter.slow = humantime::parse_duration(value).map_err(|_| hint)?;
        }
    }
    Ok(())
}

/// The least and the greatest status.
fn statuses(value: &str) -> Option<(u16, u16)> {
    let Some(class) = value.strip_suffix("xx") else {
        return value.parse().map(|status| (status, status)).ok();
    };
    let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
    Some((class * 100, class * 100 + 99))
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
        assert!(parse(None).is_ok_and(|(_, style)| style == LogStyle::Json));
        assert_eq!(
            parse(Some("status=404")).map(|(filter, _)| filter.status),
            Ok(Some((404, 404)))
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
            assert!(parse(Some(faulty)).is_err(), "{faulty}");
        }
    }
}
