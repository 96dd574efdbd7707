//! Requests as the proxy's modules pass them on. They are parsed in `crate::request`.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONNECTION, IF_MODIFIED_SINCE, IF_NONE_MATCH, PRAGMA};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;

use super::body::{Body, Report};
use super::error::Error;
use crate::config::ClientDirectives;
use crate::in_transit::Account;
use crate::outcome::Outcome;
use crate::policy::{Moment, RequestDirectives};
use crate::request::Call;
use crate::telemetry::RequestId;
use crate::upstream::headers;
use crate::view::View;

/// Bytes of a request that waits, in addition to its head: its state, and a part of the fetch.
const WAITING_BYTES: usize = 6 << 10;

/// Bytes of a field, in addition to its name and value: in the client's request, and in that to the origin.
const FIELD_BYTES: usize = 256;

/// Fields that are read after a wait, in addition to those of a fetch.
const READ_LATE: [HeaderName; 5] = [
    CACHE_CONTROL,
    CONNECTION,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    PRAGMA,
];

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
    /// The account of its connection.
    pub account: Arc<Account>,
}

/// A cacheable request: its call, head, cache directives and id.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientRequest<'a> {
    pub(super) call: &'a Call,
    pub(super) head: &'a Parts,
    pub(super) directives: RequestDirectives,
    pub(super) id: &'a RequestId,
    pub(super) account: &'a Arc<Account>,
}

impl<B> Arrived<B> {
    /// Reduces the head to copies of what is still needed after a wait: values are slices of the
    /// connection's read buffer, which they would keep alive. Of a field that a fetch leaves out, only the
    /// name is needed.
    pub(super) fn compact(&mut self, forward_headers: &[HeaderName]) {
        let (mut kept, ()) = Request::new(()).into_parts();
        kept.version = self.head.version;
        kept.extensions = std::mem::take(&mut self.head.extensions);
        for (name, value) in &self.head.headers {
            let is_read = headers::is_allowed(name, forward_headers) || READ_LATE.contains(name);
            let needed = if is_read { value.as_bytes() } else { b"" };
            let mut copy = HeaderValue::from_bytes(needed).expect("a field value");
            copy.set_sensitive(value.is_sensitive());
            kept.headers.append(name, copy);
        }
        self.head = kept;
    }
}

impl<'a> ClientRequest<'a> {
    pub(super) fn new(
        call: &'a Call,
        head: &'a Parts,
        id: &'a RequestId,
        account: &'a Arc<Account>,
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
            account,
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

    /// Bytes that it holds while it waits.
    pub(super) fn size(&self) -> usize {
        let fields = self.head.headers.iter();
        let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
        WAITING_BYTES + fields.sum::<usize>() + 2 * self.call.key.heap_bytes()
    }

    pub(super) fn fail(&self, error: Error) -> Response<Body> {
        let scope = self.call.key.scope().id();
        let mut response = error.into_response(self.id, Some(self.call.route), Some(scope));
        response.body_mut().report.view.clone_from(&self.call.view);
        response
    }

    pub(super) fn report(&self, outcome: Outcome) -> Report {
        Report {
            route: Some(self.call.route),
            scope: Some(self.call.key.scope().id()),
            view: self.call.view.clone(),
            ..outcome.into()
        }
    }
}
