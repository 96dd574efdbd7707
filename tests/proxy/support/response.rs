//! A received response and assertions on it. A failed assertion prints the whole response.

use bytes::Bytes;
use http::response::Parts;

#[derive(Debug)]
pub struct Response {
    request: String,
    head: Parts,
    body: Result<Bytes, hyper::Error>,
}

impl Response {
    pub(super) fn new(request: String, head: Parts, body: Result<Bytes, hyper::Error>) -> Self {
        Self {
            request,
            head,
            body,
        }
    }

    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// The names of all fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.head.headers.keys().map(http::HeaderName::as_str)
    }

    /// The value of a field; several lines are joined by commas.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self
            .head
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    #[track_caller]
    pub fn body(&self) -> Bytes {
        match &self.body {
            Ok(body) => body.clone(),
            Err(error) => panic!("the body is truncated ({error}): {self}"),
        }
    }

    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8(self.body().to_vec()).expect("the body is UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body())
            .unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    pub fn cache_status(&self) -> String {
        self.header("cache-status").unwrap_or_default()
    }

    #[track_caller]
    pub fn assert_status(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "{self}");
        self
    }

    #[track_caller]
    pub fn assert_hit(self) -> Self {
        assert!(
            self.cache_status().starts_with("stuut-cache; hit; ttl="),
            "expected a hit: {self}"
        );
        self
    }

    /// Asserts a stale hit with this reason.
    #[track_caller]
    pub fn assert_stale(self, reason: &str) -> Self {
        let status = self.cache_status();
        let stale = status.starts_with("stuut-cache; hit; ttl=-")
            || status.starts_with("stuut-cache; hit; ttl=0");
        assert!(
            stale && status.ends_with(&format!("detail={reason}")),
            "expected a stale hit ({reason}): {self}"
        );
        self
    }

    #[track_caller]
    pub fn assert_miss(self) -> Self {
        assert!(
            self.cache_status().starts_with("stuut-cache; fwd=miss"),
            "expected a miss: {self}"
        );
        self
    }

    /// Asserts that the request was forwarded to the origin for this reason.
    #[track_caller]
    pub fn assert_forwarded(self, reason: &str) -> Self {
        let expected = format!("stuut-cache; fwd={reason};");
        assert!(
            self.cache_status().starts_with(&expected),
            "expected {expected} {self}"
        );
        self
    }

    #[track_caller]
    pub fn assert_cache_status(self, expected: &str) -> Self {
        assert_eq!(self.cache_status(), expected, "{self}");
        self
    }

    #[track_caller]
    pub fn assert_header(self, name: &str, value: &str) -> Self {
        assert_eq!(
            self.header(name).as_deref(),
            Some(value),
            "{name} of {self}"
        );
        self
    }

    #[track_caller]
    pub fn assert_no_header(self, name: &str) -> Self {
        assert_eq!(self.header(name), None, "{name} of {self}");
        self
    }

    #[track_caller]
    pub fn assert_body(self, expected: impl AsRef<[u8]>) -> Self {
        let expected = expected.as_ref();
        assert!(
            self.body() == expected,
            "expected the body {:?}: {self}",
            String::from_utf8_lossy(expected)
        );
        self
    }

    /// Asserts that the body ended early and the client noticed.
    #[track_caller]
    pub fn assert_truncated(self) -> Self {
        assert!(self.body.is_err(), "expected a truncated body: {self}");
        self
    }

    /// Asserts a problem document of this type.
    #[track_caller]
    pub fn assert_problem(self, status: u16, slug: &str) -> Self {
        let this = self
            .assert_status(status)
            .assert_header("content-type", "application/problem+json");
        assert_eq!(
            this.json()["type"],
            format!("urn:stuut-cache:{slug}"),
            "{this}"
        );
        this
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "\n{}\n{:?} {}",
            self.request, self.head.version, self.head.status
        )?;
        for (name, value) in &self.head.headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        match &self.body {
            Ok(body) => writeln!(
                f,
                "\n{}",
                String::from_utf8_lossy(&body[..body.len().min(2_000)])
            ),
            Err(error) => writeln!(f, "\n(truncated: {error})"),
        }
    }
}
