//! One row per fault: the text, and every line that is reported.

use super::{all, file, problems_of};
use crate::config::read;

const FAULTS: &[(&str, &str)] = &[
    (
        "scope.names.1A2B3C4D = \"billing\"",
        r#"proxy.toml:1:24: scope.names.1A2B3C4D: "1A2B3C4D" is not a scope; write the 8 hex digits, in lower case, that the access log shows as "scope""#,
    ),
    (
        "scope.names.1a2b3c4d = \"the billing\"",
        r#"proxy.toml:1:24: scope.names.1a2b3c4d: "the billing" is not the name of a caller; write up to 64 letters, digits, - or _"#,
    ),
    // The value may be a token, so it is not repeated.
    (
        "[scope.named]\nbilling = [\"my-secret-token\", \"0101010101010101010101010101010101010101010101010101010101010101\"]",
        "proxy.toml:2:12: scope.named.billing[0]: this is not the digest of a token; write the 64 hex digits that \"stuut-cache digest\" prints",
    ),
    (
        "[scope.named]\nbilling = [\"0101010101010101010101010101010101010101010101010101010101010101\"]",
        "proxy.toml:2:11: scope.named.billing: a scope is for tokens that share; write the digests of two or more",
    ),
    (
        "[scope.named]\na = [\"0101010101010101010101010101010101010101010101010101010101010101\", \"0202020202020202020202020202020202020202020202020202020202020202\"]\nb = [\"0303030303030303030303030303030303030303030303030303030303030303\", \"0101010101010101010101010101010101010101010101010101010101010101\"]",
        "proxy.toml:3:5: scope.named.b: one of these tokens is listed in \"a\" already; a token has one scope",
    ),
    // Invalid values, and values of the wrong type.
    (
        r#"[cache]
capacity = "64M""#,
        r#"proxy.toml:2:12: cache.capacity: "64M" is not a size; write a number with B, KiB, MiB or GiB, e.g. "64MiB""#,
    ),
    (
        "[cache]\ncapacity = 64",
        r#"proxy.toml:2:12: cache.capacity: expected a size such as "64MiB", found integer 64"#,
    ),
    (
        r#"[cache]
capacity = "99999999EiB""#,
        r#"proxy.toml:2:12: cache.capacity: "99999999EiB" is too large; write at most 1EiB"#,
    ),
    (
        r#"[cache]
capacity = "1024""#,
        r#"proxy.toml:2:12: cache.capacity: "1024" is not a size; write a number with B, KiB, MiB or GiB, e.g. "64MiB""#,
    ),
    (
        "server.idle_timeout = 10",
        r#"proxy.toml:1:23: server.idle_timeout: expected a duration such as "10s", found integer 10"#,
    ),
    (
        r#"server.idle_timeout = "10""#,
        r#"proxy.toml:1:23: server.idle_timeout: "10" is not a duration; write numbers with ms, s, m, h or d, e.g. "10s""#,
    ),
    (
        r#"server.idle_timeout = "0s""#,
        r#"proxy.toml:1:23: server.idle_timeout: "0s" leaves no time at all; write a longer duration"#,
    ),
    (
        r#"server.idle_timeout = "2y""#,
        r#"proxy.toml:1:23: server.idle_timeout: "2y" is longer than a year; write at most "365d""#,
    ),
    (
        r#"server.workers = "four""#,
        r#"proxy.toml:1:18: server.workers: expected a whole number such as 100, found string "four""#,
    ),
    (
        "server.workers = -1",
        "proxy.toml:1:18: server.workers: expected a whole number such as 100, found integer -1",
    ),
    (
        "server.workers = 1.5",
        "proxy.toml:1:18: server.workers: expected a whole number such as 100, found float 1.5",
    ),
    (
        "server.workers = 5000",
        "proxy.toml:1:18: server.workers: 5000 is out of range; write a number from 0 to 1024",
    ),
    (
        r#"server.listen = "example.com:8080""#,
        r#"proxy.toml:1:17: server.listen: "example.com:8080" is not an address; write an IP address and a port, e.g. "127.0.0.1:8080", or ":8080" for every IPv4 interface"#,
    ),
    (
        "server.listen = 8080",
        r#"proxy.toml:1:17: server.listen: expected an address such as "127.0.0.1:8080", found integer 8080"#,
    ),
    (
        r#"upstream.url = "https://api.stuut.ai/v1""#,
        r#"proxy.toml:1:16: upstream.url: "https://api.stuut.ai/v1" is not an origin; write https://host or http://host:port, without a path"#,
    ),
    (
        r#"upstream.url = "api.stuut.ai""#,
        r#"proxy.toml:1:16: upstream.url: "api.stuut.ai" is not an origin; write https://host or http://host:port, without a path"#,
    ),
    (
        r#"upstream.url = "https://me:secret@api.stuut.ai""#,
        "proxy.toml:1:16: upstream.url: an origin has no user name or password; write https://host or http://host:port",
    ),
    (
        r#"upstream.url = "https://h:99999""#,
        r#"proxy.toml:1:16: upstream.url: "https://h:99999" is not an origin; write https://host or http://host:port, without a path"#,
    ),
    (
        r#"upstream.url = "https://h:""#,
        r#"proxy.toml:1:16: upstream.url: "https://h:" is not an origin; write https://host or http://host:port, without a path"#,
    ),
    (
        r#"upstream.url = "http://h:0""#,
        r#"proxy.toml:1:16: upstream.url: "http://h:0" is not an origin; write https://host or http://host:port, without a path"#,
    ),
    (
        r#"upstream.url = "https://h#/v1""#,
        r#"proxy.toml:1:16: upstream.url: "https://h#/v1" is not an origin; write https://host or http://host:port, without a path"#,
    ),
    (
        r#"upstream.url = "ftp://h""#,
        r#"proxy.toml:1:16: upstream.url: "ftp://h" is not an origin; write https://host or http://host:port, without a path"#,
    ),
    (
        r#"upstream.forward_headers = ["x tenant", "Host", "If-None-Match", 3, "x-ok"]"#,
        r#"proxy.toml:1:29: upstream.forward_headers[0]: "x tenant" is not a field name; write one such as "x-tenant"
proxy.toml:1:41: upstream.forward_headers[1]: "host" is the proxy's own to send or to remove; leave it out
proxy.toml:1:49: upstream.forward_headers[2]: "if-none-match" is the proxy's own to send or to remove; leave it out
proxy.toml:1:66: upstream.forward_headers[3]: expected a field name such as "x-tenant", found integer 3"#,
    ),
    (
        r#"upstream.forward_headers = "x-tenant""#,
        r#"proxy.toml:1:28: upstream.forward_headers: expected a list of field names such as ["x-tenant"], found string "x-tenant""#,
    ),
    (
        "upstream.ca_file = 3",
        r#"proxy.toml:1:20: upstream.ca_file: expected the path of a file such as "/etc/stuut-cache/file", found integer 3"#,
    ),
    (
        r#"cache.routes = ["v1", "/a/{id}", "/a/{other}", "/b", "/b", "/c?d", "/{a", {ttl="1s"}, {path="/d", tll = "1s"}, {path="/e",ttl=3}, 4]"#,
        r#"proxy.toml:1:17: cache.routes[0]: "v1" is not a route; a route begins with /, e.g. "/v1/calls/{call_id}"
proxy.toml:1:34: cache.routes[2]: "/a/{other}" matches the same paths as "/a/{id}"; keep one of the two
proxy.toml:1:54: cache.routes[4]: "/b" is listed twice; keep one of the two
proxy.toml:1:60: cache.routes[5]: "/c?d" is not a route; a route is a path in ASCII, without query, fragment or blanks
proxy.toml:1:68: cache.routes[6]: "/{a" is not a route (Parameters must be registered with a valid name); write one such as "/v1/calls/{call_id}"
proxy.toml:1:75: cache.routes[7]: a route needs a path; write { path = "/v1/x", ttl = "30s" }
proxy.toml:1:99: cache.routes[8].tll: unknown key; did you mean ttl?
proxy.toml:1:127: cache.routes[9].ttl: expected a duration such as "10s", found integer 3
proxy.toml:1:131: cache.routes[10]: expected a route such as "/v1/calls/{call_id}" or { path = "/v1/x", ttl = "30s" }, found integer 4"#,
    ),
    (
        r#"shared.url = ["redis://u:secret@h", "http://h", "redis://h/1", "redis://h:0", "rediss://h#insecure", "h:6379", "rediss://[::1]"]"#,
        r#"proxy.toml:1:15: shared.url[0]: a password does not belong here; write it in a file, and its path as shared.password_file
proxy.toml:1:37: shared.url[1]: "http://h" is not the URL of an engine; write redis://host:6379, or rediss:// for TLS, without a path
proxy.toml:1:49: shared.url[2]: "redis://h/1" is not the URL of an engine; write redis://host:6379, or rediss:// for TLS, without a path
proxy.toml:1:64: shared.url[3]: "redis://h:0" is not the URL of an engine; write redis://host:6379, or rediss:// for TLS, without a path
proxy.toml:1:79: shared.url[4]: "rediss://h#insecure" is not the URL of an engine; write redis://host:6379, or rediss:// for TLS, without a path
proxy.toml:1:102: shared.url[5]: "h:6379" is not the URL of an engine; write redis://host:6379, or rediss:// for TLS, without a path"#,
    ),
    (
        r#"shared.url = ["rediss://h", "redis://h"]"#,
        "proxy.toml:1:14: shared.url: some of these are redis:// and some rediss://; write one or the other",
    ),
    (
        r#"shared = { prefix = "a{b}", lease = "100ms", timeout = "0s", alone = "never" }"#,
        r#"proxy.toml:1:21: shared.prefix: "a{b}" is not a prefix; write up to 64 letters, digits, -, ., _ or :
proxy.toml:1:37: shared.lease: "100ms" is out of range; write a duration from "200ms" to "1m"
proxy.toml:1:56: shared.timeout: "0s" is out of range; write a duration from "1ms" to "10s"
proxy.toml:1:70: shared.alone: "never" is not known here; write "short" or "own""#,
    ),
    (
        r#"freshness.origin = "obbey""#,
        r#"proxy.toml:1:20: freshness.origin: "obbey" is not known here; write "obey" or "override""#,
    ),
    (
        r#"log.level = "warning""#,
        r#"proxy.toml:1:13: log.level: "warning" is not known here; write "error", "warn", "info", "debug" or "trace""#,
    ),
    (
        r#"log.access = "yes""#,
        r#"proxy.toml:1:14: log.access: expected true or false, found string "yes""#,
    ),
    (
        "log.access = 2024-01-01",
        "proxy.toml:1:14: log.access: expected true or false, found date 2024-01-01",
    ),
    (
        "freshness.status = 3",
        "proxy.toml:1:20: freshness.status: expected the table [freshness.status], found integer 3",
    ),
    (
        r#"freshness.live = ["a"]"#,
        r#"proxy.toml:1:18: freshness.live: expected a table such as { invoices = "1m" }, found a list"#,
    ),
    (
        r#"freshness.live.a = "x""#,
        r#"proxy.toml:1:20: freshness.live.a: "x" is not a duration; write numbers with ms, s, m, h or d, e.g. "10s""#,
    ),
    (
        "views.named.light = {}",
        r#"proxy.toml:1:21: views.named.light: a view without fields and strip removes nothing; write one of them, or "off" to have no view of this name"#,
    ),
    (
        r#"views.named.light = "of""#,
        r#"proxy.toml:1:21: views.named.light: expected a view such as { strip = "invoices" }, or "off", found string "of""#,
    ),
    (
        r#"views.named."a b" = { strip = 3 }"#,
        r#"proxy.toml:1:21: views.named."a b": "a b" is not the name of a view; write up to 64 letters, digits, - or _
proxy.toml:1:31: views.named."a b".strip: expected a string, found integer 3"#,
    ),
    (
        r#"views.strip_option = """#,
        r#"proxy.toml:1:22: views.strip_option: "" is not the name of a query option; write letters, digits, -, ., _ or ~"#,
    ),
    (
        r#"views.strip_option = "a&b""#,
        r#"proxy.toml:1:22: views.strip_option: "a&b" is not the name of a query option; write letters, digits, -, ., _ or ~"#,
    ),
    (
        r#"limits.header_bytes = "1KiB""#,
        r#"proxy.toml:1:23: limits.header_bytes: "1KiB" is out of range; write a size from "8KiB" to "16MiB""#,
    ),
    (
        r#"limits.uri = "1MiB""#,
        r#"proxy.toml:1:14: limits.uri: "1MiB" is out of range; write a size from "1B" to "65534B""#,
    ),
    (
        r#"server.openapi_path = "/{id}""#,
        r#"proxy.toml:1:23: server.openapi_path: "/{id}" has a parameter; write a single path, e.g. "/openapi.json""#,
    ),
    (
        "limits.headers = 0",
        "proxy.toml:1:18: limits.headers: 0 is out of range; write a number from 1 to 32768",
    ),
    (
        "server = 3",
        "proxy.toml:1:10: server: expected the table [server], found integer 3",
    ),
    // Unknown names.
    (
        r#"freshness.status.ringin = "1s""#,
        "proxy.toml:1:18: freshness.status.ringin: unknown key; did you mean freshness.status.ringing?",
    ),
    (
        r#"views.named.light = { stirp = "a" }"#,
        "proxy.toml:1:23: views.named.light.stirp: unknown key; did you mean strip?",
    ),
    (
        r#"listen = "x""#,
        "proxy.toml:1:1: listen: unknown key; did you mean server.listen?",
    ),
    (
        r#"[cache]
listen = "x""#,
        "proxy.toml:2:1: cache.listen: unknown key; did you mean server.listen?",
    ),
    (
        r#"[sever]
listen = "x""#,
        "proxy.toml:1:2: sever: unknown section; did you mean server?",
    ),
    (
        r#"[zzz]
listen = "x""#,
        "proxy.toml:1:2: zzz: unknown section; known here: server, admin, upstream, cache, freshness, scope, shared, views, limits, log",
    ),
    (
        r#"[admin]
token = "secret""#,
        "proxy.toml:2:1: admin.token: unknown key; did you mean admin.token_file?",
    ),
    (
        "[server]\nzzzzz = 1",
        "proxy.toml:2:1: server.zzzzz: unknown key; known here: listen, workers, max_connections, trusted_proxies, header_timeout, idle_timeout, drain_timeout, openapi_path, tls",
    ),
    // Syntax errors, and duplicate names.
    (
        "[server]\nworkers = 1\nworkers = 2",
        "proxy.toml:3:1: workers: given twice; keep one of the two",
    ),
    (
        r#"[server]
workers = 1
[server]
listen = "x""#,
        r#"proxy.toml:3:2: server: given twice; keep one of the two
proxy.toml:4:10: server.listen: "x" is not an address; write an IP address and a port, e.g. "127.0.0.1:8080", or ":8080" for every IPv4 interface"#,
    ),
    (
        "[server\nworkers = 1",
        "proxy.toml:1:8: not TOML: unclosed table, expected `]`",
    ),
    (
        "[server]\nworkers = ",
        "proxy.toml:2:11: not TOML: string values must be quoted, expected literal string",
    ),
    (
        r#"[server]
workers = "a
listen=3"#,
        r#"proxy.toml:2:13: not TOML: invalid basic string, expected `"`"#,
    ),
    (
        "x",
        "proxy.toml:1:2: not TOML: key with no value, expected `=`",
    ),
    (
        r#"server.workers = [[[[[[1
"é" = 1 "#,
        "proxy.toml:2:1: not TOML: missing comma between array elements, expected `,`",
    ),
    (
        r#""é" = "x" # é
"ü".ä = 3"#,
        "proxy.toml:2:5: not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`",
    ),
];

#[test]
fn each_fault_is_reported_with_its_place_and_remedy() {
    assert!(FAULTS.len() > 50, "a table without rows proves nothing");
    for (text, expected) in FAULTS {
        assert_eq!(problems_of(file(text)), *expected, "\n{text}");
    }
}

#[test]
fn three_faults_are_reported_together() {
    let text = "\
[server]
listen = \"127.0.0.1\"

[cache]
capcity = \"64MiB\"
";
    let draft = all(
        text,
        &[("FRESHNESS__STATUS__RINGING", "soon")],
        &[("--upstream", "upstream.url", "api.stuut.ai")],
    );
    assert_eq!(
        problems_of(draft),
        r#"proxy.toml:2:10: server.listen: "127.0.0.1" is not an address; write an IP address and a port, e.g. "127.0.0.1:8080", or ":8080" for every IPv4 interface
proxy.toml:5:1: cache.capcity: unknown key; did you mean cache.capacity?
STUUT_CACHE__FRESHNESS__STATUS__RINGING: freshness.status.ringing: "soon" is not a duration; write numbers with ms, s, m, h or d, e.g. "10s"
--upstream: upstream.url: "api.stuut.ai" is not an origin; write https://host or http://host:port, without a path"#
    );
}

/// Kubernetes sets the second one for a service of this name.
#[test]
fn a_variable_with_single_underscores_is_noticed() {
    let variables = ["STUUT_CACHE_SERVER_MAX_CONNECTIONS", "STUUT_CACHE_PORT"];
    let variables = variables.map(|name| (name.to_owned(), "1".to_owned()));
    assert_eq!(
        problems_of(read(None, &variables, &[])),
        "STUUT_CACHE_SERVER_MAX_CONNECTIONS: server.max_connections: has no effect; write \
         STUUT_CACHE__SERVER__MAX_CONNECTIONS, with two underscores"
    );
}

#[test]
fn a_problem_of_a_variable_has_the_variables_name() {
    let rows: &[(&[(&str, &str)], &str)] = &[
        (
            &[("SERVER__LISEN", "x")],
            "STUUT_CACHE__SERVER__LISEN: server.lisen: unknown key; did you mean \
             STUUT_CACHE__SERVER__LISTEN?",
        ),
        (
            &[("SERVER", "x")],
            "STUUT_CACHE__SERVER: server: expected the table [server], found \"x\"",
        ),
        (
            &[("SERVER__WORKERS__MORE", "1")],
            "STUUT_CACHE__SERVER__WORKERS__MORE: server.workers: expected a whole number such as \
             100, found a table",
        ),
        (
            &[("server__workers", "1"), ("SERVER__WORKERS", "2")],
            "STUUT_CACHE__SERVER__WORKERS: server.workers: already given by \
             STUUT_CACHE__server__workers; keep one of the two",
        ),
        (
            &[
                ("FRESHNESS__LIVE", "{}"),
                ("FRESHNESS__LIVE__PARTNER", "1m"),
            ],
            "STUUT_CACHE__FRESHNESS__LIVE__PARTNER: freshness.live.partner: already given by \
             STUUT_CACHE__FRESHNESS__LIVE; keep one of the two",
        ),
        (
            &[("CACHE__ROUTES", "[\"/a\", 3")],
            "STUUT_CACHE__CACHE__ROUTES: cache.routes: not a TOML value: unclosed array, expected \
             `]`",
        ),
        (
            &[("LOG__FORMAT", "\"json\"")],
            "STUUT_CACHE__LOG__FORMAT: log.format: \"\\\"json\\\"\" is not known here; write \"auto\", \
             \"json\" or \"text\"",
        ),
    ];
    for (variables, expected) in rows {
        assert_eq!(
            problems_of(all("", variables, &[])),
            *expected,
            "{variables:?}"
        );
    }
}

#[test]
fn a_misplaced_secret_is_not_printed() {
    let text = "[admin]\ntoken = \"hunter2\"\n[upstream]\nurl = \"https://me:hunter2@h\"\n";
    let draft = all(text, &[("ADMIN__TOKEN", "hunter2")], &[]);
    let problems = problems_of(draft);
    assert_eq!(problems.lines().count(), 3, "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn a_control_character_does_not_reach_the_terminal() {
    let problems = problems_of(file("\"a\\u001b[2J\" = 1\nlog.level = \"\\u001b[2J\""));
    assert!(!problems.contains('\u{1b}'), "{problems:?}");
}
