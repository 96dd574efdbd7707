//! The client of the origin server: pooled HTTP/1.1 connections, admission, retries, deadlines.
//!
//! [`Upstream::fetch`] is for the cache: it returns the head, and [`Upstream::read`] then reads the
//! body, within a size limit and one deadline. [`Upstream::forward`] is for all other requests: it
//! streams both ways, with an idle timeout instead of a deadline for the bodies. Nothing is stored here.

mod admission;
mod connector;
mod error;
mod head_timeout;
pub mod headers;
mod location;
mod origin_body;
mod read;
mod retry;
mod stream;
mod timer;
mod traffic;
mod transport;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, request};
use http_body::Body as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::oneshot;

use crate::clock::{Clock, Deadline};
use crate::coding;
use crate::config::{self, Config};
use crate::in_transit::Ledger;
use crate::policy;
use crate::request::{Routes, Scope};
use crate::telemetry::{Metrics, Pool};
use admission::{AdmissionControl, Permit};
use head_timeout::HeadDeadline;
use origin_body::OriginBody;
use retry::Retries;
use traffic::{Exchange, Traffic};
use upload::{Drain, Outbound, Upload};

pub use admission::{AdmissionState, BreakerState};
pub use connector::Connector;
pub use error::{FetchError, SetupError, not_sent};
pub use read::{BodyRead, PendingBody};
pub use stream::ResponseStream;
pub use upload::UploadEnd;

/// The idle timeout of pooled connections: less than the 60 s after which most servers close theirs,
/// so that a request is seldom sent on a connection that the origin is closing.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Maximum bytes that hyper reads at once, and of a response head; a larger one is a protocol error.
const READ_BUFFER: usize = 64 << 10;

/// The client of the origin server.
#[derive(Debug)]
pub struct Upstream {
    client: Client<Connector, Outbound>,
    /// Opens a new connection for each request.
    unpooled: Client<Connector, Outbound>,
    retries: Retries,
    settings: config::Upstream,
    /// The field of each request.
    host: HeaderValue,
    max_upload: u64,
    max_body: u64,
    /// For the metrics by route.
    routes: Routes,
    ledger: Arc<Ledger>,
    admission: Arc<AdmissionControl>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Upstream {
    /// A client for the configured origin.
    ///
    /// # Errors
    ///
    /// If `upstream.ca_file` or, for https, the system's trust store cannot be used.
    pub fn new(config: &Config, metrics: Arc<Metrics>, clock: Clock) -> Result<Self, SetupError> {
        let settings = config.upstream.clone();
        // HTTP/1.1: one connection per request in flight.
        let connections = config.limits.in_flight;
        let retries = Retries::new(settings.retries, connections, Arc::clone(&metrics));
        let ledger = Ledger::new(config.limits.in_transit, &metrics, clock.clone());
        let admission = AdmissionControl::new(config, Arc::clone(&metrics), clock.clone());
        let connector = Connector::new(settings.url.scheme(), &settings)?.for_upstream(
            retries.clone(),
            Arc::clone(&admission),
            clock.clone(),
        );
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(connections)
            .http1_max_buf_size(READ_BUFFER);
        Ok(Self {
            client: builder.build(connector.clone()),
            unpooled: builder.pool_max_idle_per_host(0).build(connector),
            retries,
            host: host_of(&settings.url),
            settings,
            max_upload: config.limits.request_body.0,
            max_body: config.cache.max_entry.0,
            routes: Routes::new(&config.cache.routes),
            ledger,
            admission,
            metrics,
            clock,
        })
    }

    /// The deadline of a fetch that begins now (`upstream.total_timeout`).
    pub fn deadline(&self) -> Deadline {
        self.clock.deadline(self.settings.total_timeout)
    }

    /// Sends a GET of `target` and returns the head of the response, within
    /// `upstream.connect_timeout` and `upstream.response_timeout`; `deadline` includes the body.
    /// `is_accepted`: the origin has lately accepted the token.
    ///
    /// # Errors
    ///
    /// If the request is not admitted, or the origin cannot be reached, times out, closes the
    /// connection or sends invalid HTTP.
    pub async fn fetch(
        &self,
        token: &Scope,
        is_accepted: bool,
        target: &PathAndQuery,
        headers: &HeaderMap,
        deadline: Deadline,
    ) -> Result<Response<PendingBody>, FetchError> {
        let holder = is_accepted.then_some(token);
        let call = Some((token, target));
        let permit = self.admission.admit(Pool::Fetches, holder, call);
        let permit = self.count_failure(permit)?;
        let (mut request, ()) = Request::new(()).into_parts();
        request.uri = self.uri(target);
        let head_limit = self.settings.connect_timeout + self.settings.response_timeout;
        let head_deadline = HeadDeadline::Fetch(deadline.min(self.clock.deadline(head_limit)));
        let response = self.send_safe(&permit, request, headers, &head_deadline);
        let response = response.await.map_err(|error| match error {
            FetchError::HeadTimeout(_) if self.clock.has_passed(deadline) => {
                FetchError::TotalTimeout(self.settings.total_timeout)
            }
            error => error,
        })?;
        let (mut head, body) = response.into_parts();
        let wall = self.clock.now().wall;
        if let Some(wait) = policy::retry_after(head.status, &head.headers, wall) {
            let admission = &self.admission;
            admission.honour_retry_after(token, target, head.status, wait);
        }
        let is_close_delimited = body.size_hint().exact().is_none()
            && !head.headers.contains_key(CONTENT_LENGTH)
            && !head.headers.contains_key(TRANSFER_ENCODING);
        self.localise(&mut head.headers);
        coding::drop_identity(&mut head.headers);
        let decode = coding::is_gzip(&head.headers) && !forbids_decoding(&head.headers);
        if decode {
            headers::adapt_decoded(&mut head);
        }
        let bytes = self.metrics.upstream_bytes.clone();
        let body = PendingBody {
            body: OriginBody::new(body, decode, bytes, Exchange::of(&head.extensions)),
            is_close_delimited,
            permit,
            deadline,
        };
        Ok(Response::from_parts(head, body))
    }

    /// Forwards a request, streaming its body, and returns the response as a stream. `accepted` is
    /// its token, if the origin has lately accepted that.
    ///
    /// # Errors
    ///
    /// If the request is not admitted; if the origin cannot be reached, times out or sends invalid
    /// HTTP; if the client's body is incomplete, too slow or larger than `limits.request_body`.
    pub async fn forward(
        &self,
        accepted: Option<&Scope>,
        target: &PathAndQuery,
        head: request::Parts,
        body: Incoming,
    ) -> Result<Response<ResponseStream>, FetchError> {
        let pool = if body.is_end_stream() {
            Pool::Streams
        } else {
            Pool::Uploads
        };
        let permit = self.count_failure(self.admission.admit(pool, accepted, None))?;
        let permit = Arc::new(permit);
        // Dropped when the response has ended.
        let (responding, responded) = oneshot::channel();
        let body = self.outbound(body, head.version, &permit, responded).await;
        let (outbound, deadline) = self.count_failure(body)?;
        let mut request = Request::new(outbound);
        *request.method_mut() = head.method;
        *request.uri_mut() = self.uri(target);
        *request.headers_mut() = head.headers;
        let held_back = upload::await_continue(&mut request);
        if request.body().size_hint().exact().is_none() {
            // hyper assumes that a GET or HEAD of unknown length has no body.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
        let response = if is_safe && matches!(deadline, HeadDeadline::Forward(_)) {
            let (mut head, _) = request.into_parts();
            let fields = std::mem::take(&mut head.headers);
            self.send_safe(&permit, head, &fields, &deadline).await
        } else {
            self.retries.first_attempt();
            let client = self.client(&permit, request.headers());
            self.send(client, request, &deadline).await
        }?;
        let bytes = self.metrics.upstream_bytes.clone();
        // An error is final. Otherwise the origin may respond to what it is still receiving. A body that
        // the client holds back is not sent after an error, but breaking it off ends the response, too.
        let is_success = response.status().is_success();
        let was_held_back = held_back.is_some_and(|body| upload::settle(&body, is_success));
        let responding = (is_success || was_held_back).then_some(responding);
        let upload = match deadline {
            HeadDeadline::Upload(progress) => UploadEnd::of(progress),
            HeadDeadline::Fetch(_) | HeadDeadline::Forward(_) => None,
        };
        let exchange = Exchange::of(response.extensions());
        Ok(response.map(|body| {
            let body = OriginBody::new(body, false, bytes, exchange);
            let mut stream = self.stream(None, body);
            stream.hold(permit, responding);
            stream.upload = upload;
            stream
        }))
    }

    /// The body to send, and the deadline of the response head.
    async fn outbound(
        &self,
        mut body: Incoming,
        version: Version,
        permit: &Arc<Permit>,
        responded: upload::Responded,
    ) -> Result<(Outbound, HeadDeadline), FetchError> {
        if !body.is_end_stream() && body.size_hint().exact() == Some(0) {
            // hyper does not poll a body of length 0, but over HTTP/2 the client may send its end in
            // a separate frame, or data in violation of its length.
            let deadline = self.clock.deadline(self.settings.total_timeout);
            let end = upload::read_empty(&mut body);
            let end = self.clock.timeout_at(deadline, end).await;
            end.unwrap_or(Err(FetchError::UploadSlow))?;
        } else if !body.is_end_stream() {
            let idle = self.settings.total_timeout;
            let cut = self.metrics.uploads_cut.clone();
            let drain = Drain::new(responded, cut, self.clock.clone());
            let (upload, progress) =
                Upload::new(body, version, self.max_upload, permit, idle, drain);
            return Ok((Outbound::Left(upload), HeadDeadline::Upload(progress)));
        }
        let deadline = self.clock.deadline(self.settings.forward_timeout);
        Ok((
            Outbound::Right(Empty::new()),
            HeadDeadline::Forward(deadline),
        ))
    }

    /// Sends a safe request without a body, with these fields, and retries it once if it was unanswered.
    async fn send_safe(
        &self,
        permit: &Permit,
        head: request::Parts,
        fields: &HeaderMap,
        deadline: &HeadDeadline,
    ) -> Result<Response<Incoming>, FetchError> {
        self.retries.first_attempt();
        let request = |mut head: request::Parts| {
            head.headers.clone_from(fields);
            Request::from_parts(head, Outbound::Right(Empty::new()))
        };
        let first = request(head.clone());
        let client = self.client(permit, fields);
        let error = match self.send(client, first, deadline).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let FetchError::Terminated {
            unanswered: Some(unanswered),
            ..
        } = error
        else {
            return Err(error);
        };
        let now = self.clock.mono();
        let Some(pause) = self.retries.pause_to_resend(unanswered, now) else {
            return Err(error);
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.send(&self.unpooled, request(head), deadline).await
    }

    /// Sends a request, waits for the head of the response, and counts the result.
    ///
    /// A departure from RFC 9110 §15.2: interim responses are not forwarded. hyper's client can
    /// receive them, but its server cannot send them.
    async fn send(
        &self,
        client: &Client<Connector, Outbound>,
        mut request: Request<Outbound>,
        deadline: &HeadDeadline,
    ) -> Result<Response<Incoming>, FetchError> {
        let sent = self.clock.mono();
        let route = self.routes.find(request.uri().path());
        // hyper would format one for each request.
        request.headers_mut().insert(HOST, self.host.clone());
        let connection = capture_connection(&mut request);
        let response = client.request(request);
        let response = deadline
            .wait(response, connection.clone(), &self.settings, &self.clock)
            .await;
        let response = self.count_failure(response)?;
        let now = self.clock.now();
        let traffic = response.extensions().get::<Traffic>();
        if traffic.is_some_and(|traffic| traffic.has_expired(now.mono))
            && let Some(connected) = &*connection.connection_metadata()
        {
            connected.poison();
        }
        let took = now.mono.saturating_sub(sent);
        let durations = self.metrics.upstream_duration.of(route);
        durations.observe(took.as_secs_f64());
        if response.status().is_informational() {
            // An unsolicited 101: hyper returns it as if it were final.
            let error = FetchError::Protocol("an interim (1xx) response as the final one");
            return self.count_failure(Err(error));
        }
        if !crate::request::is_chunked_or_uncoded(response.headers()) {
            // hyper leaves other transfer codings to its caller, and reads a body whose last coding is
            // not chunked until the connection closes.
            let error = FetchError::Protocol("an unsupported transfer coding");
            return self.count_failure(Err(error));
        }
        self.metrics.origin_responded(response.status(), now.wall);
        Ok(response)
    }

    /// The circuit breaker, and the waits after a `Retry-After`.
    pub fn admission(&self) -> AdmissionState {
        self.admission.state()
    }

    /// The bytes in transit.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Makes the targets in the fields of a response relative, where they name the origin.
    pub fn localise(&self, fields: &mut HeaderMap) {
        location::localise(fields, &self.settings.url);
    }

    /// The configured origin.
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

    /// A client that opens a new connection for a probe, and for credentials that the origin binds to
    /// the connection: on a pooled one, they would answer for the next request (RFC 4559 §6).
    fn client(&self, permit: &Permit, fields: &HeaderMap) -> &Client<Connector, Outbound> {
        let is_bound = |credential: &HeaderValue| {
            let scheme = credential.as_bytes().split(|byte| *byte == b' ').next();
            let schemes: [&[u8]; 2] = [b"negotiate", b"ntlm"];
            schemes
                .iter()
                .any(|bound| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(bound)))
        };
        if permit.is_probe || fields.get_all(AUTHORIZATION).iter().any(is_bound) {
            &self.unpooled
        } else {
            &self.client
        }
    }

    fn count_failure<T>(&self, result: Result<T, FetchError>) -> Result<T, FetchError> {
        result.inspect_err(|error| {
            self.metrics
                .origin_failed(error.fault(), self.clock.now().wall);
            if matches!(error, FetchError::Proxy { .. }) {
                self.metrics.upstream_proxy_failures.inc();
            }
        })
    }
}

/// The value of `Host`: without the default port.
fn host_of(url: &config::OriginUrl) -> HeaderValue {
    let authority = url.authority();
    let default = if *url.scheme() == Scheme::HTTPS {
        443
    } else {
        80
    };
    let text = match authority.port_u16() {
        Some(port) if port != default => authority.as_str(),
        _ => authority.host(),
    };
    HeaderValue::from_str(text).expect("an authority is a field value")
}

/// Whether the origin forbids decoding the body (RFC 9110 §7.7), so that it could not be served to
/// clients that do not accept gzip.
pub fn forbids_decoding(head: &HeaderMap) -> bool {
    coding::is_gzip(head) && coding::forbids_transforming(head)
}
