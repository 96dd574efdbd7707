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
pub mod headers;
mod room;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::coding;
use crate::config::{self, Config};
use crate::outcome::Fault;
use crate::telemetry::{Metrics, seconds};
use body::{Outbound, Ticket, Upload, UploadError};
use coded::Received;
use connector::Connector;
use room::{Filling, Room};

pub use body::ResponseStream;
pub use error::{FetchError, SetupError};

/// How long an idle connection to the origin is kept. Below the 60 s after which most servers
/// close theirs, so that a request seldom meets a connection that is just going away.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// Idle connections that are kept.
const POOL_SIZE: usize = 128;

/// Bytes of a response head; more is a protocol error.
const MAX_HEAD: usize = 256 << 10;

/// The origin server.
#[derive(Debug)]
pub struct Upstream {
    client: Client<Connector, Outbound>,
    settings: config::Upstream,
    max_body: u64,
    filling: Filling,
    max_upload: u64,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// The origin's answer to a fetch: its head, before anything of its body is read.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields, as received.
    pub head: response::Parts,
    /// The body, for [`Upstream::read`].
    pub body: Unread,
}

/// A body that is still to be read.
#[derive(Debug)]
pub struct Unread {
    body: Received,
    /// Whether the body says where it ends.
    delimited: bool,
    ticket: Ticket,
    deadline: Instant,
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// All of it: the length was reached, the last chunk seen, or the stream ended.
    Whole(Bytes),
    /// Larger than `cache.max_entry`, or than what others leave of `cache.max_filling`: what was
    /// read, and the rest as it comes.
    TooLarge(ResponseStream),
    /// Ends where the connection does, so nobody can say whether it is whole.
    CloseDelimited(ResponseStream),
}

impl Upstream {
    /// A client for the configured origin.
    ///
    /// # Errors
    ///
    /// When the trust store or `upstream.ca_file` cannot be used.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Result<Self, SetupError> {
        let connector = Connector::new(&config.upstream)?;
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .http1_max_buf_size(MAX_HEAD)
            // One HTTP/2 connection carries all requests. When the way to the origin goes dead
            // without a word, no reset tells of it, and each request would wait in vain: a ping
            // that stays unanswered for as long as a connection may take ends it.
            .http2_keep_alive_interval(config.upstream.response_timeout)
            .http2_keep_alive_timeout(config.upstream.connect_timeout)
            .http2_keep_alive_while_idle(true)
            .build(connector);
        Ok(Self {
            client,
            settings: config.upstream.clone(),
            max_body: config.cache.max_entry.0,
            filling: Filling::new(config.cache.max_filling.0),
            max_upload: config.limits.request_body.0,
            places: Arc::new(Semaphore::new(config.limits.in_flight)),
            metrics,
        })
    }

    /// Gets the head of `target`. Asks once more where the connection ends before the head does.
    ///
    /// # Errors
    ///
    /// When the origin cannot be reached, is late, breaks off or does not speak HTTP.
    pub async fn fetch(
        &self,
        target: &PathAndQuery,
        headers: HeaderMap,
    ) -> Result<Answer, FetchError> {
        let deadline = Instant::now() + self.settings.total_timeout;
        // Held until the body is in, or turns into a stream.
        let ticket = self.ticket()?;
        let head_deadline = deadline
            .min(Instant::now() + self.settings.connect_timeout + self.settings.response_timeout);
        let ask = |headers| {
            let mut request = Request::new(Outbound::Empty);
            *request.uri_mut() = self.uri(target);
            *request.headers_mut() = headers;
            self.send(request, |answer| async move {
                timeout_at(head_deadline, answer)
                    .await
                    .map_err(|_| FetchError::no_head(&self.settings))?
            })
        };
        let response = match ask(headers.clone()).await {
            // A pooled connection may go away just as it is used. hyper asks again only what it
            // has not begun to write; a GET may be asked twice (RFC 9110 §9.2.2).
            Err(error) if error.fault() == Fault::Terminated => ask(headers).await,
            answered => answered,
        };
        let (mut head, body) = response?.into_parts();
        let delimited = head.version == Version::HTTP_2
            || body.size_hint().exact().is_some()
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

    /// Reads the body of an answer, up to `cache.max_entry` and as far as `cache.max_filling` has
    /// room, within `upstream.total_timeout` of the beginning of its fetch.
    ///
    /// # Errors
    ///
    /// When the origin is late, breaks off or does not speak HTTP.
    pub async fn read(&self, unread: Unread) -> Result<AnswerBody, FetchError> {
        let Unread {
            body,
            delimited,
            deadline,
            // Held while the body comes in; what is streamed on gives its place away.
            ticket: _ticket,
        } = unread;
        match timeout_at(deadline, self.collect(delimited, body)).await {
            Ok(body) => self.counted(body),
            Err(_) => Err(self.failed(FetchError::no_end(&self.settings))),
        }
    }

    /// Sends a request on as it is, its body as it comes, and hands back the answer the same way.
    ///
    /// # Errors
    ///
    /// When the origin cannot be reached, is late or does not speak HTTP, or the client's body
    /// breaks off or is beyond `limits.request_body`.
    pub async fn forward(
        &self,
        method: Method,
        target: &PathAndQuery,
        headers: HeaderMap,
        body: Incoming,
    ) -> Result<Response<ResponseStream>, FetchError> {
        let ticket = Arc::new(self.ticket()?);
        let (outbound, upload) = if body.is_end_stream() {
            (Outbound::Empty, Upload::none())
        } else {
            Outbound::upload(body, self.max_upload, Arc::clone(&ticket))
        };
        let mut request = Request::new(outbound);
        *request.method_mut() = method;
        *request.uri_mut() = self.uri(target);
        *request.headers_mut() = headers;
        if request.body().size_hint().exact().is_none() {
            // hyper takes a GET or HEAD of unknown length for one without a body. HTTP/2 drops
            // the field.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }

        let response = self
            .send(request, |answer| async move {
                let mut answer = std::pin::pin!(answer);
                loop {
                    // While the client still uploads, silence is bounded; then the wait for the head.
                    let deadline = upload.deadline(&self.settings);
                    match timeout_at(deadline, &mut answer).await {
                        Ok(answer) => break answer.map_err(|error| upload.blame(error)),
                        Err(_) if upload.deadline(&self.settings) > deadline => {}
                        Err(_) if upload.has_ended() => {
                            break Err(FetchError::no_head(&self.settings));
                        }
                        Err(_) => break Err(FetchError::from_upload(&UploadError::Slow)),
                    }
                }
            })
            .await?;
        let bytes = self.metrics.upstream_bytes.clone();
        Ok(response.map(|body| self.stream(None, Received::plain(body, bytes))))
    }

    /// Sends, waits by `wait`, and counts how it went.
    ///
    /// A departure from RFC 9110 §15.2: interim answers are read and end here. hyper's client could
    /// hand them on, its server has no way to send one.
    async fn send<F>(
        &self,
        request: Request<Outbound>,
        wait: impl FnOnce(PendingAnswer) -> F,
    ) -> Result<Response<Incoming>, FetchError>
    where
        F: Future<Output = Result<Response<Incoming>, FetchError>>,
    {
        let asked = Instant::now();
        let answer = self.client.request(request);
        let answer: PendingAnswer =
            Box::pin(async move { answer.await.map_err(FetchError::from_client) });
        let response = wait(answer).await.map_err(|error| self.failed(error))?;
        self.metrics
            .upstream_duration
            .observe(seconds(asked.elapsed()));
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

    async fn collect(&self, delimited: bool, mut body: Received) -> Result<AnswerBody, FetchError> {
        let declared = body.size_hint().exact();
        if !delimited {
            return Ok(AnswerBody::CloseDelimited(self.stream(None, body)));
        }
        if declared.is_some_and(|length| length > self.max_body) {
            return Ok(AnswerBody::TooLarge(self.stream(None, body)));
        }
        let mut room = self.filling.room();
        if !room.grow_to(declared.unwrap_or(0)) {
            return Ok(self.unstored(None, body));
        }
        // The body gets an allocation of its own size: what hyper hands out are slices of read
        // buffers, and a stored one would hold on to the whole buffer.
        let expected = declared.and_then(|length| usize::try_from(length).ok());
        let mut whole = BytesMut::with_capacity(expected.unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            whole.extend_from_slice(&data);
            if whole.len() as u64 > self.max_body {
                let read = (whole.freeze(), room);
                return Ok(AnswerBody::TooLarge(self.stream(Some(read), body)));
            }
            if !room.grow_to(whole.capacity() as u64) {
                return Ok(self.unstored(Some((whole.freeze(), room)), body));
            }
        }
        let whole = if expected == Some(whole.len()) {
            whole.freeze()
        } else {
            Bytes::copy_from_slice(&whole)
        };
        Ok(AnswerBody::Whole(whole))
    }

    /// There is no room for it: its client gets it as it comes.
    fn unstored(&self, read: Option<(Bytes, Room)>, rest: Received) -> AnswerBody {
        self.metrics.fills_streamed.inc();
        AnswerBody::TooLarge(self.stream(read, rest))
    }

    fn stream(&self, read: Option<(Bytes, Room)>, rest: Received) -> ResponseStream {
        let read = read.map_or((Bytes::new(), None), |(read, room)| (read, Some(room)));
        ResponseStream::new(read, rest, self.settings.total_timeout)
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

    /// A place among the requests that wait for the origin.
    fn ticket(&self) -> Result<Ticket, FetchError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| self.failed(FetchError::overload()))?;
        Ok(Ticket::new(place, self.metrics.upstream_in_flight.clone()))
    }

    fn counted<T>(&self, result: Result<T, FetchError>) -> Result<T, FetchError> {
        result.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: FetchError) -> FetchError {
        self.metrics.upstream_requests.failed(error.fault());
        error
    }
}

/// Boxed, so that waiting for it can be done in a loop without pinning the caller.
type PendingAnswer =
    std::pin::Pin<Box<dyn Future<Output = Result<Response<Incoming>, FetchError>> + Send>>;

/// Whether the body is in a coding that the origin forbids to undo (RFC 9110 §7.7): a client that
/// does not accept it could not be served from it.
#[must_use]
pub fn is_locked(head: &HeaderMap) -> bool {
    coding::is_gzip(head) && coding::forbids_transforming(head)
}

/// Whether this failure happened before the origin can have acted on the request.
#[must_use]
pub fn never_sent(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Dns
            | Fault::Refused
            | Fault::ConnectTimeout
            | Fault::Tls
            | Fault::Certificate
            | Fault::Overload
    )
}
