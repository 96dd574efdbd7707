//! The simulated Stuut API over real sockets: the behaviour that a proxy in front of it relies on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use stuut_simulator::{Options, Outcome, Simulator, demo, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The second of the epoch at which simulators begin.
const BEGAN: u64 = 1_790_000_000;

/// A simulator on its own port, with a clock that the test advances.
struct Origin {
    simulator: Simulator,
    /// Seconds since the epoch.
    clock: Arc<AtomicU64>,
    address: std::net::SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

/// A response, received completely.
#[derive(Debug)]
struct Received {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
}

// === impl Origin ===

impl Origin {
    async fn start() -> Self {
        Self::with(Options::default(), false).await
    }

    async fn with(options: Options, http2: bool) -> Self {
        let clock = Arc::new(AtomicU64::new(BEGAN));
        let now = clock.clone();
        let simulator = Simulator::new(options, move || {
            UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed))
        });
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(listener, simulator.clone(), shutdown.clone()));
        Self {
            simulator,
            clock,
            address,
            client: Client::builder(TokioExecutor::new())
                .http2_only(http2)
                .build_http(),
            shutdown,
            served,
        }
    }

    async fn send(&self, method: Method, path: &str, token: &str, body: &str) -> Received {
        let request = self.request(method, path, token, body);
        self.exchange(request)
            .await
            .expect("the response is complete")
    }

    fn request(&self, method: Method, path: &str, token: &str, body: &str) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .expect("a test's request is well formed")
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Received> {
        let (head, body) = self.client.request(request).await?.into_parts();
        Ok(Received {
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    async fn get(&self, id: &str) -> Received {
        self.send(Method::GET, &format!("/v1/calls/{id}"), demo::TOKEN, "")
            .await
    }

    fn wait(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }
}

// === impl Received ===

impl Received {
    #[track_caller]
    fn assert_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    #[track_caller]
    fn field(&self, name: &str) -> &str {
        let field = self.headers.get(name).and_then(|field| field.to_str().ok());
        field.unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

#[tokio::test]
async fn only_tokens_of_the_organisation_have_access_to_a_call() {
    let origin = Origin::start().await;
    let path = format!("/v1/calls/{}", demo::CALL);

    let own = origin.send(Method::GET, &path, demo::TOKEN, "").await;
    let same = origin
        .send(Method::GET, &path, demo::SECOND_TOKEN, "")
        .await;
    let foreign = origin
        .send(Method::GET, &path, demo::FOREIGN_TOKEN, "")
        .await;
    let unknown = origin.send(Method::GET, &path, "nobody", "").await;
    let missing = origin.send(Method::GET, &path, "", "").await;

    assert_eq!(own.assert_status(200).body, same.assert_status(200).body);
    foreign.assert_status(404);
    for refused in [unknown, missing] {
        let refused = refused.assert_status(401);
        assert_eq!(refused.field("www-authenticate"), "Bearer");
        assert!(refused.json()["detail"].is_string());
    }
    assert_eq!(origin.simulator.requests().to(&path), 5);
    let refused = Outcome::Answered(StatusCode::UNAUTHORIZED);
    assert_eq!(origin.simulator.requests().of(refused), 2);
}

#[tokio::test]
async fn a_live_call_advances_from_the_queue_to_its_summary() {
    let origin = Origin::start().await;
    let mut observed = Vec::new();
    for wait in [0, 3, 1, 1, 5, 20, 10, 10] {
        origin.wait(wait);
        let call = origin.get(demo::LIVE_CALL).await.assert_status(200).json();
        let known = ["transcript_str", "summary", "sentiment"].map(|name| !call[name].is_null());
        observed.push((call["status"].as_str().map(str::to_owned), known));
    }
    let expected = [
        ("queued", [false, false, false]),
        ("registered", [false, false, false]),
        ("initiated", [false, false, false]),
        ("ringing", [false, false, false]),
        ("in_progress", [false, false, false]),
        ("completed", [false, false, false]),
        ("completed", [true, false, false]),
        ("completed", [true, true, true]),
    ]
    .map(|(status, known)| (Some(status.to_owned()), known));
    assert_eq!(observed, expected);
}

#[tokio::test]
async fn a_pending_call_enters_the_queue_when_it_is_approved() {
    let origin = Origin::start().await;
    let path = format!("/v1/calls/{}/approve", demo::PENDING_CALL);
    let before = origin.get(demo::PENDING_CALL).await.json();
    assert_eq!(before["status"], "pending_approval");

    let approved = origin.send(Method::POST, &path, demo::TOKEN, "").await;
    assert_eq!(approved.assert_status(200).json()["status"], "queued");
    let again = origin.send(Method::POST, &path, demo::TOKEN, "").await;
    again.assert_status(409);
    origin.wait(30);
    let after = origin.get(demo::PENDING_CALL).await.json();
    assert_eq!(after["status"], "completed");
}

#[tokio::test]
async fn an_edit_changes_modified_at_and_the_etag() {
    let origin = Origin::start().await;
    let path = format!("/v1/calls/{}", demo::CALL);
    let before = origin.get(demo::CALL).await;

    let modified = |received: &Received| -> jiff::Timestamp {
        let call = received.json();
        let date = call["modified_at"]
            .as_str()
            .and_then(|date| date.parse().ok());
        date.expect("the call has been modified")
    };
    let edits = [r#"{"summary":"Paid."}"#, r#"{"call_reason":null}"#];
    let mut dates = vec![modified(&before)];
    for edit in edits {
        let edited = origin
            .send(Method::PATCH, &path, demo::SECOND_TOKEN, edit)
            .await;
        dates.push(modified(&edited.assert_status(200)));
    }

    let after = origin.get(demo::CALL).await;
    assert_ne!(before.field("etag"), after.field("etag"));
    assert_eq!(after.json()["summary"], "Paid.");
    assert_eq!(after.json()["call_reason"], Value::Null);
    assert!(dates.is_sorted_by(|one, two| one < two), "{dates:?}");
    for (body, status) in [
        ("{", 400),
        (r#"{"id":"x"}"#, 400),
        (&" ".repeat(70_000), 413),
    ] {
        let refused = origin.send(Method::PATCH, &path, demo::TOKEN, body).await;
        refused.assert_status(status);
    }
    let foreign = origin
        .send(Method::PATCH, &path, demo::FOREIGN_TOKEN, "{}")
        .await;
    foreign.assert_status(404);
}

#[tokio::test]
async fn a_pre_signed_url_is_replaced_before_it_expires() {
    let origin = Origin::start().await;
    let attachment = async || {
        let call = origin.get(demo::CALL).await.json();
        call["invoices"][0]["emails"][0]["attachments"][0].clone()
    };
    let first = attachment().await;
    let expires: jiff::Timestamp = first["presigned_url_expires_at"]
        .as_str()
        .and_then(|date| date.parse().ok())
        .expect("the expiry is a date");
    let signed = expires - Duration::from_mins(15);
    let began = jiff::Timestamp::try_from(UNIX_EPOCH + Duration::from_secs(BEGAN));
    assert_eq!(Some(signed), began.ok());
    let url = first["presigned_url"]
        .as_str()
        .expect("the URL is a string");
    let stamp = signed.strftime("%Y%m%dT%H%M%SZ");
    let signed = format!("X-Amz-Date={stamp}&X-Amz-Expires=900");
    assert!(url.contains(&signed), "{url}");

    origin.wait(299);
    assert_eq!(attachment().await, first);
    origin.wait(1);
    assert_ne!(attachment().await["presigned_url"], first["presigned_url"]);
}

#[tokio::test]
async fn two_simulators_at_the_same_time_give_the_same_bytes() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    for id in [
        demo::CALL,
        demo::SMALL_CALL,
        demo::LARGE_CALL,
        "call_acme_0023",
    ] {
        let (one, two) = (one.get(id).await, two.get(id).await);
        assert_eq!(
            one.assert_status(200).body,
            two.assert_status(200).body,
            "{id}"
        );
    }
}

#[tokio::test]
async fn a_matching_if_none_match_gets_304() {
    let origin = Origin::start().await;
    let path = format!("/v1/calls/{}", demo::CALL);
    let whole = origin.get(demo::CALL).await;
    for (tags, status) in [
        (whole.field("etag").to_owned(), 304),
        (format!("\"other\", W/{}", whole.field("etag")), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
    ] {
        let mut request = origin.request(Method::GET, &path, demo::TOKEN, "");
        let tags = tags.parse().expect("a tag is ASCII");
        request.headers_mut().insert("if-none-match", tags);
        let response = origin.exchange(request).await.expect("a response");
        assert_eq!(response.field("etag"), whole.field("etag"));
        assert_eq!(response.body.is_empty(), status == 304);
        response.assert_status(status);
    }
    let head = origin.send(Method::HEAD, &path, demo::TOKEN, "").await;
    assert_eq!(head.field("content-length"), whole.body.len().to_string());
    assert!(head.assert_status(200).body.is_empty());
}

#[tokio::test]
async fn the_list_is_read_page_by_page() {
    let origin = Origin::start().await;
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/calls?limit=7{cursor}");
        let page = origin.send(Method::GET, &path, demo::TOKEN, "").await;
        let page = page.assert_status(200).json();
        let calls = page["data"].as_array().expect("a page has calls");
        ids.extend(calls.iter().map(|call| call["id"].to_string()));
        let Some(next) = page["next_cursor"].as_str() else {
            assert_eq!(page["has_more"], json!(false));
            break;
        };
        cursor = format!("&cursor={next}");
    }
    // The calls whose number ends in 8 are not created yet.
    assert_eq!(ids.len(), 45);
    assert!(ids.is_sorted());
    for query in ["limit=0", "limit=101", "limit=x", "cursor=call_globex_0001"] {
        let path = format!("/v1/calls?{query}");
        let refused = origin.send(Method::GET, &path, demo::TOKEN, "").await;
        refused.assert_status(400);
    }
}

#[tokio::test]
async fn a_call_that_is_not_created_yet_is_not_found() {
    let origin = Origin::start().await;
    origin.get("call_acme_0008").await.assert_status(404);
    origin.wait(600);
    origin.get("call_acme_0008").await.assert_status(200);
}

#[tokio::test]
async fn fault_ids_inject_their_fault() {
    let origin = Origin::start().await;
    origin
        .get("call_fault_500_acme_0001")
        .await
        .assert_status(500);
    let throttled = origin.get("call_fault_429_acme_0001").await;
    assert_eq!(throttled.assert_status(429).field("retry-after"), "1");

    let path = "/v1/calls/call_fault_reset_acme_0001";
    let request = origin.request(Method::GET, path, demo::TOKEN, "");
    let (head, mut body) = origin
        .client
        .request(request)
        .await
        .expect("the head arrives")
        .into_parts();
    let mut received = 0;
    let fault = loop {
        match body.frame().await {
            Some(Ok(frame)) => received += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(fault)) => break Some(fault),
            None => break None,
        }
    };
    let declared: usize = head.headers["content-length"]
        .to_str()
        .ok()
        .and_then(|length| length.parse().ok())
        .expect("the length is declared");
    assert!(fault.is_some(), "the body ends without an error");
    assert_eq!(received, declared / 2);
    assert_eq!(origin.simulator.requests().of(Outcome::Torn), 1);
}

#[tokio::test]
async fn the_same_port_speaks_http_2() {
    let origin = Origin::with(Options::default(), true).await;
    let call = origin.get(demo::CALL).await.assert_status(200);
    assert_eq!(call.version, Version::HTTP_2);
    assert_eq!(call.json()["id"], demo::CALL);
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_shutdown() {
    let options = Options {
        latency: Duration::from_millis(150),
        ..Options::default()
    };
    let origin = Origin::with(options, false).await;
    let answer = async {
        let response = origin.get(demo::CALL);
        let stop = async {
            while origin.simulator.requests().total() == 0 {
                tokio::task::yield_now().await;
            }
            origin.shutdown.cancel();
        };
        tokio::join!(response, stop).0
    };
    answer.await.assert_status(200);
    tokio::time::timeout(Duration::from_secs(5), origin.served)
        .await
        .expect("the simulator ends")
        .expect("the simulator did not panic");
}
