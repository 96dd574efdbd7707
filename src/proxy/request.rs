//! Requests as the proxy's modules pass them on. They are parsed in `crate::request`.

use http::request::Parts;
use http::{HeaderMap, HeaderName, Response};
use hyper::body::Incoming;

use super::body::{Body, Report};
use super::error::Error;
use crate::config::ClientDirectives;
use crate::outcome::Outcome;
use crate::policy::{Moment, RequestDirectives};
use crate::request::Call;
use crate::telemetry::RequestId;
use crate::upstream::headers;
use crate::view::View;

/// A request whose head is complete.
#[derive(Debug)]
pub struct Arrived<B = Incoming> {
    /// Its head, as parsed by hyper.
    pub head: Parts,
    /// Its body, not read yet.
    pub body: B,
    /// Its id.
    pub id: RequestId,
    /// When its head was complete.
    pub at: Moment,
}

/// A cacheable request: its call, head, cache directives and id.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientRequest<'a> {
    pub(super) call: &'a Call,
    pub(super) head: &'a Parts,
    pub(super) directives: RequestDirectives,
    pub(super) id: &'a RequestId,
}

impl<'a> ClientRequest<'a> {
    pub(super) fn new(
        call: &'a Call,
        head: &'a Parts,
        id: &'a RequestId,
        rule: ClientDirectives,
    ) -> Self {
        let directives = if call.has_directives {
            RequestDirectives::read(&head.headers, rule)
        } else {
            RequestDirectives::default()
        };
        Self {
            call,
            head,
            directives,
            id,
        }
    }

    /// The requested view; `None` is the whole.
    pub(super) fn view(&self) -> Option<&'a View> {
        self.call.view.as_ref()
    }

    /// The fields of a request to the origin on behalf of this one.
    pub(super) fn sent(&self, forward_headers: &[HeaderName]) -> HeaderMap {
        let client = &self.head.headers;
        let mut sent = headers::for_fetch(client, self.head.version, forward_headers);
        self.directives.forward(client, &mut sent);
        sent
    }

    pub(super) fn fail(&self, error: Error) -> Response<Body> {
        let scope = self.call.key.scope().id();
        error.into_response(self.id, Some(self.call.route), Some(scope))
    }

    pub(super) fn report(&self, outcome: Outcome) -> Report {
        Report {
            outcome,
            route: Some(self.call.route),
            scope: Some(self.call.key.scope().id()),
        }
    }
}
