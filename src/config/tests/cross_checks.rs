//! Rules between keys, one row each.

use super::{all, file, good, problems_of};

const BROKEN_RULES: &[(&str, &str)] = &[
    (
        "server.listen = \"127.0.0.1:9090\"",
        "proxy.toml:1:17: server.listen: server.listen (127.0.0.1:9090) and admin.listen \
         (127.0.0.1:9090) are the same; write another port for one of them",
    ),
    (
        "admin.listen = \"0.0.0.0:8080\"",
        "proxy.toml:1:16: admin.listen: server.listen (127.0.0.1:8080) and admin.listen \
         (0.0.0.0:8080) are the same; write another port for one of them",
    ),
    (
        "cache.capacity = \"4MiB\"",
        "proxy.toml:1:18: cache.capacity: cache.max_entry (8MiB) is larger than cache.capacity \
         (4MiB); write a smaller entry or a larger capacity",
    ),
    (
        "upstream.total_timeout = \"2s\"",
        "proxy.toml:1:26: upstream.total_timeout: upstream.connect_timeout is longer than \
         upstream.total_timeout, which includes it; write a shorter one or a longer total",
    ),
    (
        "server.tls.key = \"/etc/key.pem\"",
        "proxy.toml:1:18: server.tls.key: server.tls.cert and server.tls.key go together; write \
         both, or neither",
    ),
    (
        "server.tls.client_ca = \"/etc/ca.pem\"",
        "proxy.toml:1:24: server.tls.client_ca: server.tls.client_ca needs server.tls.cert: \
         without TLS no client can show a certificate",
    ),
    (
        "scope.names.1a2b3c4d = \"billing\"",
        "proxy.toml:1:24: scope.names.1a2b3c4d: a name needs scope.key_file: without it, each process \
         shows a token as another scope",
    ),
    (
        "shared.url = [\"redis://a\"]",
        "proxy.toml:1:14: shared.url: shared.url needs scope.key_file, the same key for all \
         replicas; \"stuut-cache key\" prints one",
    ),
    (
        "shared.sentinel = \"main\"",
        "proxy.toml:1:19: shared.sentinel: shared.sentinel needs the URLs of the Sentinels; write \
         them as shared.url",
    ),
    (
        "shared.username = \"stuut\"",
        "proxy.toml:1:19: shared.username: shared.username needs shared.password_file; write both, \
         or neither",
    ),
    (
        "shared.key = \"/etc/key.pem\"",
        "proxy.toml:1:14: shared.key: shared.cert and shared.key go together; write both, or neither",
    ),
    (
        "scope.key_file = \"/run/key\"\nshared = { ca_file = \"/ca.pem\", url = [\"redis://a\"] }",
        "proxy.toml:2:39: shared.url: shared.ca_file is for TLS, but shared.url has none; write \
         rediss:// there",
    ),
    (
        "shared = { timeout = \"150ms\", lease = \"200ms\" }",
        "proxy.toml:1:39: shared.lease: shared.timeout is longer than half of shared.lease; write a \
         shorter one or a longer lease",
    ),
    (
        "admin.token_for = \"all\"",
        "proxy.toml:1:19: admin.token_for: admin.token_for = \"all\" needs admin.token_file; write the file \
         of the token",
    ),
    (
        "server.openapi_path = \"/v1/calls\"",
        "proxy.toml:1:23: server.openapi_path: server.openapi_path (/v1/calls) would hide a path of the \
         route /v1/calls/{call_id}; write one that the literal part of no route begins, e.g. \
         \"/openapi.json\"",
    ),
    (
        "limits = { uri = \"10KiB\", header_bytes = \"8KiB\" }",
        "proxy.toml:1:42: limits.header_bytes: limits.uri is larger than limits.header_bytes, \
         which includes it; write a smaller target or a larger head",
    ),
    (
        "views.strip_option = \"fields\"",
        "proxy.toml:1:22: views.strip_option: two query options are called \"fields\"; write \
         distinct names",
    ),
    (
        "views.view_option = \"strip\"",
        "proxy.toml:1:21: views.view_option: two query options are called \"strip\"; write distinct \
         names",
    ),
    (
        "views = { fields_option = \"x\", view_option = \"x\" }",
        "proxy.toml:1:46: views.view_option: two query options are called \"x\"; write distinct \
         names",
    ),
];

#[test]
fn a_broken_rule_is_reported_at_the_key_written_last() {
    for (text, expected) in BROKEN_RULES {
        assert_eq!(problems_of(file(text)), *expected, "\n{text}");
    }
}

#[test]
fn a_flag_that_breaks_a_valid_file_is_reported() {
    let draft = all(
        "admin.listen = \"127.0.0.1:7000\"",
        &[],
        &[("--listen", "server.listen", "127.0.0.1:7000")],
    );
    assert!(problems_of(draft).starts_with("--listen: server.listen: "));
}

#[test]
fn both_listeners_may_use_port_0() {
    good(file(
        "server.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"",
    ));
}

#[test]
fn an_unreadable_value_breaks_no_rule() {
    // The default capacity is smaller than this entry, but was not meant to apply.
    let problems = problems_of(file(
        "cache.max_entry = \"1GiB\"\ncache.capacity = \"2 gigs\"",
    ));
    assert_eq!(problems.lines().count(), 1, "{problems}");
}

#[test]
fn a_problem_from_another_module_is_reported_at_its_key() {
    let text = "[views.named]\nsmall = { fields = \"id\", strip = \"a..b\" }\n[zoo]\n";
    let mut draft = all(text, &[("VIEWS__NAMED__LIGHT__STRIP", "a(")], &[]);
    draft.refuse("views.named.small.strip", "an empty name at 3");
    draft.refuse("views.named.light.strip", "( is not closed");
    assert_eq!(
        problems_of(draft),
        "proxy.toml:2:34: views.named.small.strip: an empty name at 3\n\
         proxy.toml:3:2: zoo: unknown section; known here: server, admin, upstream, cache, \
         freshness, scope, shared, views, limits, log\n\
         STUUT_CACHE__VIEWS__NAMED__LIGHT__STRIP: views.named.light.strip: ( is not closed"
    );
}
