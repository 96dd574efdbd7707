//! A running `stuut-cache demo`, and the metrics that it exports.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// `stuut-cache demo`, after its tour; killed when dropped.
pub(crate) struct Demo {
    child: Child,
    pub(crate) proxy: String,
    pub(crate) admin: String,
}

impl Demo {
    pub(crate) async fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stuut-cache"))
            .args([
                "demo",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = child.stdout.take().expect("it is piped");
        let read = move || {
            let (mut addresses, mut lines) = (None, BufReader::new(out).lines());
            while let Some(Ok(line)) = lines.next() {
                if let Some(rest) = line.strip_prefix("stuut-cache on http://") {
                    let (proxy, admin) = rest.split_once(", dashboard on http://").expect("both");
                    let admin = admin.trim_end_matches('/');
                    addresses = Some((proxy.to_owned(), admin.to_owned()));
                }
                // The last line of the tour.
                if line.contains("requests reached the origin") {
                    break;
                }
            }
            // Read the rest, so that a full pipe does not block it.
            std::thread::spawn(move || lines.for_each(drop));
            addresses
        };
        let addresses = tokio::task::spawn_blocking(read).await;
        let (proxy, admin) = addresses
            .expect("no panic")
            .expect("it prints its addresses");
        Self {
            child,
            proxy,
            admin,
        }
    }

    /// Gets a page of the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> String {
        get(&format!("http://{}{path}", self.admin)).await
    }

    /// The samples of `/metrics`.
    pub(crate) async fn samples(&self) -> Samples {
        Samples::read(&self.admin("/metrics").await)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its responses that are revalidated in the background gave a warning for ever.
#[tokio::test]
async fn a_healthy_demo_needs_no_attention() {
    let demo = Demo::start().await;
    let served =
        |samples: &str| !samples.contains("stale_total{reason=\"stale-while-revalidate\"} 0");
    wait_for("a stale response", async || {
        served(&demo.admin("/metrics").await).then_some(())
    })
    .await;
    let status: serde_json::Value = demo.admin("/status").await.parse().expect("JSON");
    let notes = &status["notes"];
    assert_eq!(notes[0]["severity"], "good", "{notes}");
    assert_eq!(notes[0]["title"], "All is well", "{notes}");
}

/// Gets a page, which must exist.
pub(crate) async fn get(url: &str) -> String {
    let (status, text) = fetch(url, None).await;
    assert_eq!(status, StatusCode::OK, "{url}: {text}");
    text
}

/// Sends a GET, with this token if any; returns the status and the body.
pub(crate) async fn fetch(url: &str, token: Option<&str>) -> (StatusCode, String) {
    let mut request = Request::get(url);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.request(request).await.expect("a response");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a whole body");
    (
        status,
        String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    )
}

/// Polls until there is a value; panics after a minute.
pub(crate) async fn wait_for<T>(what: &str, poll: impl AsyncFn() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(value) = poll().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let value = tokio::time::timeout(Duration::from_mins(1), polling).await;
    value.unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

/// The values of one label.
type Values = Vec<String>;

/// The metric names of a page, and the labels of each with their values.
#[derive(Debug)]
pub(crate) struct Samples(BTreeMap<String, BTreeMap<String, Values>>);

impl Samples {
    fn read(page: &str) -> Self {
        let mut samples = BTreeMap::<_, BTreeMap<_, Values>>::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let end = line.find(['{', ' ']).expect("the end of a name");
            let labels = samples.entry(line[..end].to_owned()).or_default();
            let Some((inside, _)) = line[end..]
                .strip_prefix('{')
                .and_then(|l| l.rsplit_once('}'))
            else {
                continue;
            };
            for label in inside.split("\",") {
                let (name, value) = label.split_once("=\"").expect("name=\"value\"");
                let value = value.trim_end_matches('"').to_owned();
                labels.entry(name.to_owned()).or_default().push(value);
            }
        }
        Self(samples)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The values of a label, if the metric has it.
    pub(crate) fn values(&self, name: &str, label: &str) -> Option<&[String]> {
        Some(self.0.get(name)?.get(label)?.as_slice())
    }
}
