//! The `OpenAPI` document describes the proxy: real responses are validated against it.

use http::Method;
use jsonschema::Validator;
use serde_json::{Value, json};
use stuut_cache::config::{CacheMode, Route, RoutePattern};

use crate::support::{Origin, Proxy, Reply, Response};

const CALL: &str = "/v1/calls/c1";
const BODY: &str = r#"{"id":"c1","status":"completed","invoices":[{"id":"i1","total":12}]}"#;

/// The `OpenAPI` document of a running proxy.
struct Document(Value);

impl Document {
    async fn of(proxy: &Proxy) -> Self {
        let answer = proxy.admin(Method::GET, "/openapi.json").await;
        let answer = answer
            .assert_status(200)
            .assert_header("content-type", "application/json");
        Self(answer.json())
    }

    fn operation(&self, path: &str) -> &Value {
        &self.0["paths"][path]["get"]
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut whole = schema.clone();
        // The targets of its references.
        whole["components"] = self.0["components"].clone();
        jsonschema::validator_for(&whole).expect("a schema")
    }

    /// The document describes every field and the body of this response.
    #[track_caller]
    fn assert_describes(&self, answer: &Response) {
        let responses = &self.operation("/v1/calls/{call_id}")["responses"];
        let response = &responses[answer.status().to_string()];
        assert!(
            response.is_object(),
            "the document lacks this status: {answer}"
        );
        let documented = response["headers"].as_object().expect("fields");
        for name in answer.fields().filter(|name| *name != "content-type") {
            let known = documented
                .keys()
                .any(|known| known.eq_ignore_ascii_case(name));
            assert!(known, "the document lacks {name}: {answer}");
        }
        let Some(kind) = answer.header("content-type") else {
            assert!(answer.body().is_empty(), "{answer}");
            return;
        };
        let schema = &response["content"][&kind]["schema"];
        assert!(schema.is_object(), "the document lacks {kind}: {answer}");
        let body = answer.json();
        if let Err(error) = self.validator(schema).validate(&body) {
            panic!("{error}: {answer}");
        }
    }
}

#[tokio::test]
async fn responses_match_the_openapi_document() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let document = Document::of(&proxy).await;
    let reply = Reply::json(BODY)
        .header("etag", "\"1\"")
        .header("last-modified", "Fri, 15 Jan 2027 07:00:00 GMT")
        .header("cache-control", "max-age=10, stale-while-revalidate=5")
        .header("vary", "accept-language");
    origin.reply(CALL, reply);
    origin.reply(
        "/v1/calls/page",
        Reply::new(200)
            .header("content-type", "application/json")
            .body("<html>"),
    );
    let get = |target: &str| proxy.get(target).bearer("a").header("x-request-id", "r1");

    let miss = get(CALL).await.assert_miss();
    let tag = miss.header("etag").expect("a tag");
    let mut responses = vec![
        miss,
        get(CALL).await.assert_hit(),
        get(CALL)
            .header("if-none-match", &tag)
            .await
            .assert_status(304),
        get("/v1/calls/c1?strip=invoices").await.assert_hit(),
        get("/v1/calls/c1?view=light").await.assert_hit(),
        get("/v1/calls/c1?wait=status:completed")
            .header("prefer", "wait=5")
            .await
            .assert_hit(),
        get("/v1/calls/c1?wait=done")
            .await
            .assert_problem(400, "wait"),
        get("/v1/calls/c1?fields=id&strip=")
            .await
            .assert_status(400),
        get("/v1/calls/c1?view=nobody")
            .await
            .assert_problem(400, "view"),
        get("/v1/calls/c2")
            .header("cache-control", "only-if-cached")
            .await
            .assert_problem(504, "only-if-cached"),
        get(&format!("/v1/calls/{}", "x".repeat(9_000)))
            .await
            .assert_problem(414, "uri-too-long"),
        get(CALL)
            .header("authorization", "Bearer b")
            .await
            .assert_problem(400, "authorization-repeated"),
        get(CALL)
            .header("x-large", &"x".repeat(70_000))
            .await
            .assert_problem(431, "head-too-large"),
    ];
    for target in [CALL, "/v1/calls/c3"] {
        origin.reply(target, Reply::reset());
    }
    responses.push(
        get("/v1/calls/c3")
            .await
            .assert_problem(502, "connection_terminated"),
    );
    proxy.advance_seconds(11);
    responses.push(get(CALL).await.assert_stale("stale-while-revalidate"));
    for answer in &responses {
        document.assert_describes(answer);
    }
}

#[tokio::test]
async fn the_document_is_at_its_path_on_the_proxys_port_without_a_token() {
    let origin = Origin::start().await;
    origin.reply("/openapi.json", Reply::json(BODY));
    let path = Some(RoutePattern::parse("/openapi.json").expect("a path"));
    let mut proxy = Proxy::with(&origin, |config| config.server.openapi_path = path).await;
    let document = Document::of(&proxy).await;
    for mode in [CacheMode::On, CacheMode::Off] {
        proxy
            .reload(|config| config.cache.mode = mode)
            .expect("valid");
        let served = proxy.get("/openapi.json?x").await.assert_status(200);
        let served = served
            .assert_header("content-type", "application/json")
            .assert_header("cache-control", "no-store")
            .assert_header("cache-status", "stuut-cache; detail=openapi");
        assert_eq!(served.json(), document.0);
    }
    let head = proxy
        .request(Method::HEAD, "/openapi.json")
        .bearer("a")
        .await;
    head.assert_status(200).assert_body("");
    origin.assert_requests(0);
    let post = proxy
        .request(Method::POST, "/openapi.json")
        .bearer("a")
        .await;
    post.assert_body(BODY);
    origin.assert_requests(1);
    let of = |method| {
        format!(
            r#"stuut_cache_requests_total{{method="{method}",outcome="bypass",route="other",status="200"}}"#
        )
    };
    proxy.wait_for_metric(&of("GET"), 2).await;
    proxy.wait_for_metric(&of("HEAD"), 1).await;
}

#[tokio::test]
async fn without_a_path_the_origin_answers_for_its_own_document() {
    let origin = Origin::start().await;
    origin.reply("/openapi.json", Reply::json(BODY));
    let proxy = Proxy::start(&origin).await;
    proxy.get("/openapi.json").await.assert_body(BODY);
}

#[tokio::test]
async fn the_problem_schema_accepts_only_documented_types_at_their_status() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let document = Document::of(&proxy).await;
    let responses = &document.operation("/v1/calls/{call_id}")["responses"];
    let schema = &responses["400"]["content"]["application/problem+json"]["schema"];
    // Beside it, errors of the API itself are valid.
    let validator = document.validator(&schema["anyOf"][0]);
    let problem = |kind: &str, status: u16| {
        json!({
            "type": format!("urn:stuut-cache:{kind}"), "title": "", "status": status,
            "detail": "", "request_id": "",
        })
    };
    assert!(validator.is_valid(&problem("view", 400)));
    assert!(!validator.is_valid(&problem("view", 502)));
    assert!(!validator.is_valid(&problem("connection_refused", 400)));
    assert!(!validator.is_valid(&problem("no-such-thing", 400)));
    let mut more = problem("view", 400);
    more["more"] = json!(1);
    assert!(!validator.is_valid(&more));
}

#[tokio::test]
async fn the_document_has_the_configured_routes_and_options() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&origin, |config| {
        let patterns = ["/v2/{org}/calls/{id}", "/x/{*rest}"];
        let routes = patterns.map(|pattern| Route {
            path: RoutePattern::parse(pattern).expect("a pattern"),
            ttl: None,
        });
        config.cache.routes = routes.to_vec();
        "without".clone_into(&mut config.views.strip_option);
        "until".clone_into(&mut config.views.wait_option);
    })
    .await;
    let document = Document::of(&proxy).await;
    let paths: Vec<_> = document.0["paths"]
        .as_object()
        .expect("paths")
        .keys()
        .collect();
    assert_eq!(paths, ["/v2/{org}/calls/{id}", "/x/{rest}"]);
    let parameters = &document.operation("/v2/{org}/calls/{id}")["parameters"];
    let names = |place: &str| -> Vec<_> {
        let all = parameters.as_array().expect("parameters").iter();
        all.filter(|parameter| parameter["in"] == place)
            .map(|parameter| parameter["name"].as_str().expect("a name"))
            .collect()
    };
    assert_eq!(names("path"), ["org", "id"]);
    let options = ["fields", "without", "view", "until", "wait_timeout"];
    assert_eq!(names("query"), options);
}

#[tokio::test]
async fn generators_can_use_the_document() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let document = Document::of(&proxy).await;
    let [get, head] =
        ["get", "head"].map(|method| &document.0["paths"]["/v1/calls/{call_id}"][method]);
    assert_eq!(get["operationId"], "get_v1_calls_by_call_id");
    assert_eq!(head["operationId"], "head_v1_calls_by_call_id");
    for (status, response) in head["responses"].as_object().expect("responses") {
        assert!(
            response.get("content").is_none(),
            "a HEAD has no body: {status}"
        );
    }
    for (status, response) in get["responses"].as_object().expect("responses") {
        let content = response["content"].as_object();
        for (kind, content) in content.into_iter().flatten() {
            let own = json!({ "error": { "code": 7 }, "status": "a new one" });
            let validator = document.validator(&content["schema"]);
            assert!(
                validator.is_valid(&own),
                "of the API itself: {status} {kind}"
            );
        }
    }
    // The lengths that are valid are those that the proxy accepts.
    let parameters = get["parameters"].as_array().expect("parameters");
    let strip = parameters.iter().find(|one| one["name"] == "strip");
    let strip = document.validator(&strip.expect("the option")["schema"]);
    origin.reply(CALL, Reply::json(BODY));
    for list in [
        String::new(),
        "a".repeat(256),
        "a,".repeat(1_025),
        "é".repeat(128),
        "é,".repeat(700),
    ] {
        let answer = proxy
            .get(&format!("{CALL}?strip={}", list.replace('é', "%C3%A9")))
            .bearer("a")
            .await;
        let is_valid = strip.is_valid(&json!(list));
        assert_eq!(answer.status() == 200, is_valid, "{list}: {answer}");
    }
}

#[tokio::test]
async fn after_a_reload_the_document_has_the_options_in_force() {
    let origin = Origin::start().await;
    origin.reply(CALL, Reply::json(BODY));
    let mut proxy = Proxy::start(&origin).await;
    proxy
        .reload(|config| {
            "without".clone_into(&mut config.views.strip_option);
            // This needs a restart.
            config.cache.routes = Vec::new();
        })
        .expect("a valid configuration");
    let document = Document::of(&proxy).await;
    let parameters = &document.operation("/v1/calls/{call_id}")["parameters"];
    let parameters = parameters.as_array().expect("parameters");
    let has = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
    assert!(has("without") && !has("strip"), "{parameters:?}");
    let answer = proxy
        .get("/v1/calls/c1?without=invoices")
        .bearer("a")
        .await
        .assert_miss();
    answer.assert_body(r#"{"id":"c1","status":"completed"}"#);
}

#[tokio::test]
async fn the_document_has_429_and_503_for_retry_after_backoff() {
    for status in [429, 503] {
        let origin = Origin::start().await;
        let proxy = Proxy::start(&origin).await;
        let document = Document::of(&proxy).await;
        origin.reply(CALL, Reply::new(status).header("retry-after", "9"));
        proxy.get(CALL).bearer("a").await.assert_status(status);
        let answer = proxy.get(CALL).bearer("a").await;
        let answer = answer.assert_problem(status, "http_request_denied");
        document.assert_describes(&answer);
    }
}
