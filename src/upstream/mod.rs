//! The origin server, as the proxy sees it: asked over pooled connections, within deadlines.
//!
//! Two ways to ask. [`Upstream::fetch`] is for the cache: the head, so that it can be judged, then
//! by [`Upstream::read`] the whole body, within a cap and one deadline. [`Upstream::forward`] is
//! for everything else: it streams both ways, and bounds silence rather than time. Nothing here
//! knows of stored responses.

mod body;
mod coded;
mod connector;
mod error;
mod gate;
pub mod headers;
mod line;
mod patience;
mod read;
mod retry;
mod room;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::clock::{Clock, Deadline};
use crate::coding;
use crate::config::{self, Config};
use crate::outcome::Fault;
use crate::policy;
use crate::request::Scope;
use crate::telemetry::{Metrics, seconds};
use body::{Outbound, Upload};
use coded::Received;
use gate::{Gate, Ticket};
use patience::{Patience, PendingAnswer};
use retry::Retries;
use room::{Filling, Room};

pub use body::ResponseStream;
pub use connector::Connector;
pub use error::{FetchError, SetupError};
pub use read::{Answer, AnswerBody, Unread};

/// How long an idle connection to the origin is kept. Below the 60 s after which most servers
/// close theirs, so that a request seldom meets a connection that is just going away.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// Bytes of a response head; more is a protocol error.
const MAX_HEAD: usize = 256 << 10;

/// The origin server.
#[derive(Debug)]
pub struct Upstream {
    client: Client<Connector, Outbound>,
    /// Each of its requests has a connection of its own.
    fresh: Client<Connector, Outbound>,
    retries: Retries,
    settings: config::Upstream,
    max_body: u64,
    filling: Filling,
    max_upload: u64,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Upstream {
    /// A client for the configured origin.
    ///
    /// # Errors
    ///
    /// When `upstream.ca_file` cannot be used, or for https the system's trust store.
    pub fn new(config: &Config, metrics: Arc<Metrics>, clock: Clock) -> Result<Self, SetupError> {
        // Each request that waits for the origin has a connection of its own.
        let connections = config.limits.in_flight;
        let retries = Retries::new(config.upstream.retries, connections, Arc::clone(&metrics));
        let scheme = config.upstream.url.scheme();
        let gate = Gate::new(config, Arc::clone(&metrics), clock.clone());
        let connector = Connector::new(scheme, &config.upstream)?
            .for_upstream(retries.clone(), Arc::clone(&gate));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(connections)
            .http1_max_buf_size(MAX_HEAD);
        Ok(Self {
            client: builder.build(connector.clone()),
            fresh: builder.pool_max_idle_per_host(0).build(connector),
            retries,
            settings: config.upstream.clone(),
            max_body: config.cache.max_entry.0,
            filling: Filling::new(config.cache.max_filling.0),
            max_upload: config.limits.request_body.0,
            gate,
            metrics,
            clock,
        })
    }

    /// When a fetch that begins now has to be over (`upstream.total_timeout`).
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.clock.deadline(self.settings.total_timeout)
    }

    /// Gets the head of `target`, within `upstream.connect_timeout` and
    /// `upstream.response_timeout`, and all of it by `deadline`.
    ///
    /// # Errors
    ///
    /// When the origin cannot be reached, is late, breaks off or does not speak HTTP; or is not
    /// to be asked now.
    pub async fn fetch(
        &self,
        holder: &Scope,
        target: &PathAndQuery,
        headers: &HeaderMap,
        deadline: Deadline,
    ) -> Result<Answer, FetchError> {
        // Held until the body is in, or turns into a stream.
        let ticket = self.counted(self.gate.admit_fetch(holder, target))?;
        let mut request = Request::new(Outbound::Empty);
        *request.uri_mut() = self.uri(target);
        headers.clone_into(request.headers_mut());
        let limit = self.settings.connect_timeout + self.settings.response_timeout;
        let head_deadline = deadline.min(self.clock.deadline(limit));
        let response = self.send_safe(&ticket, request, head_deadline).await;
        let response = response.map_err(|error| match error.fault() {
            Fault::ResponseTimeout if self.clock.is_over(deadline) => {
                FetchError::no_end(&self.settings)
            }
            _ => error,
        })?;
        let (mut head, body) = response.into_parts();
        let wall = self.clock.now().wall;
        if let Some(wait) = policy::asked_to_wait(head.status, &head.headers, wall) {
            let status = head.status;
            self.gate.honour_retry_after(holder, target, status, wait);
        }
        let delimited = body.size_hint().exact().is_some()
            || head.headers.contains_key(CONTENT_LENGTH)
            || head.headers.contains_key(TRANSFER_ENCODING);
        let bytes = self.metrics.upstream_bytes.clone();
        let body = if coding::is_gzip(&head.headers) && !is_locked(&head.headers) {
            headers::decoded(&mut head);
            Received::gzip(body, bytes)
        } else {
            Received::plain(body, bytes)
        };
        let body = Unread {
            body,
            delimited,
            ticket,
            deadline,
        };
        Ok(Answer { head, body })
    }

    /// Sends a request on as it is, its body as it comes, and hands back the answer the same way.
    /// `version` is that of the client's connection.
    ///
    /// # Errors
    ///
    /// When the origin cannot be reached, is late or does not speak HTTP, or the client's body
    /// breaks off or is beyond `limits.request_body`.
    pub async fn forward(
        &self,
        holder: Option<&Scope>,
        method: Method,
        target: &PathAndQuery,
        headers: HeaderMap,
        body: Incoming,
        version: Version,
    ) -> Result<Response<ResponseStream>, FetchError> {
        let ticket = Arc::new(self.counted(self.gate.admit(holder))?);
        // Over HTTP/2 the end of nothing may come in a frame of its own; hyper's client does not look
        // for it, and nobody would hear that the upload is over.
        let is_empty = body.is_end_stream() || body.size_hint().exact() == Some(0);
        let (outbound, upload) = if is_empty {
            (Outbound::Empty, Upload::none(&self.clock))
        } else {
            Outbound::upload(
                body,
                version,
                self.max_upload,
                Arc::clone(&ticket),
                &self.clock,
                self.settings.total_timeout,
            )
        };
        let is_bare = matches!(outbound, Outbound::Empty);
        let mut request = Request::new(outbound);
        *request.method_mut() = method;
        *request.uri_mut() = self.uri(target);
        *request.headers_mut() = headers;
        if request.body().size_hint().exact().is_none() {
            // hyper takes a GET or HEAD of unknown length for one without a body.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }

        let is_safe = is_bare && matches!(*request.method(), Method::GET | Method::HEAD);
        let response = if is_safe {
            let deadline = upload.deadline(&self.settings);
            self.send_safe(&ticket, request, deadline).await
        } else {
            self.retries.asked();
            let patience = Patience::While(upload.clone());
            self.send(self.client(&ticket), request, &patience).await
        }?;
        let bytes = self.metrics.upstream_bytes.clone();
        Ok(response.map(|body| self.stream(None, Received::plain(body, bytes))))
    }

    /// Sends a request that may be repeated; once more where it was lost.
    async fn send_safe(
        &self,
        ticket: &Ticket,
        request: Request<Outbound>,
        deadline: Deadline,
    ) -> Result<Response<Incoming>, FetchError> {
        self.retries.asked();
        let patience = Patience::Until(deadline);
        let (spare, body) = request.into_parts();
        let request = Request::from_parts(spare.clone(), body);
        let error = match self.send(self.client(ticket), request, &patience).await {
            Ok(answered) => return Ok(answered),
            Err(error) => error,
        };
        let Some((why, pause)) = error.how_lost().map(retry::of_request) else {
            return Err(error);
        };
        if !self.retries.may_ask_again(why, self.clock.mono()) {
            return Err(error);
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let again = Request::from_parts(spare, Outbound::Empty);
        self.send(&self.fresh, again, &patience).await
    }

    /// Sends, waits with `patience`, and counts how it went.
    ///
    /// A departure from RFC 9110 §15.2: interim answers are read and end here. hyper's client could
    /// hand them on, its server has no way to send one.
    async fn send(
        &self,
        client: &Client<Connector, Outbound>,
        mut request: Request<Outbound>,
        patience: &Patience,
    ) -> Result<Response<Incoming>, FetchError> {
        let asked = self.clock.mono();
        let connection = capture_connection(&mut request);
        let answer = client.request(request);
        let answer: PendingAnswer =
            Box::pin(async move { answer.await.map_err(FetchError::from_client) });
        let settings = &self.settings;
        let response = patience
            .wait(answer, connection, settings, &self.clock)
            .await;
        let response = response.map_err(|error| self.failed(error))?;
        self.metrics
            .upstream_duration
            .observe(seconds(self.clock.mono().saturating_sub(asked)));
        if response.status().is_informational() {
            // A 101 that nobody asked for: hyper passes it on as if it were an answer.
            return Err(self.failed(FetchError::protocol(
                "an interim status instead of a final one",
            )));
        }
        if !crate::request::is_plainly_coded(response.headers()) {
            // hyper leaves the coding to its reader, and reads what does not end in chunks to
            // the end of the connection.
            return Err(self.failed(FetchError::protocol(
                "a transfer coding that nobody asked for",
            )));
        }
        self.metrics.upstream_requests.answered(response.status());
        Ok(response)
    }

    fn stream(&self, read: Option<(Bytes, Room)>, rest: Received) -> ResponseStream {
        let read = read.map_or((Bytes::new(), None), |(read, room)| (read, Some(room)));
        ResponseStream::new(read, rest, self.settings.total_timeout, self.clock.clone())
    }

    /// The configured origin.
    #[must_use]
    pub fn origin(&self) -> &config::OriginUrl {
        &self.settings.url
    }

    fn uri(&self, target: &PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.settings.url.scheme().clone());
        parts.authority = Some(self.settings.url.authority().clone());
        parts.path_and_query = Some(target.clone());
        Uri::from_parts(parts).expect("scheme, authority and target make a URI")
    }

    fn client(&self, ticket: &Ticket) -> &Client<Connector, Outbound> {
        if ticket.is_probe() {
            &self.fresh
        } else {
            &self.client
        }
    }

    fn counted<T>(&self, result: Result<T, FetchError>) -> Result<T, FetchError> {
        result.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: FetchError) -> FetchError {
        self.metrics.upstream_requests.failed(error.fault());
        error
    }
}

/// Whether the body is in a coding that the origin forbids to undo (RFC 9110 §7.7): a client that
/// does not accept it could not be served from it.
#[must_use]
pub fn is_locked(head: &HeaderMap) -> bool {
    coding::is_gzip(head) && coding::forbids_transforming(head)
}

/// Whether this failure happened before the origin can have acted on the request.
#[must_use]
pub fn never_sent(fault: Fault) -> bool {
    let never_connected = matches!(
        fault,
        Fault::Dns | Fault::Refused | Fault::ConnectTimeout | Fault::Tls | Fault::Certificate
    );
    never_connected || fault.is_shed()
}
