//! Any configuration, printed as the effective one and read back, is the same.

use std::time::Duration;

use proptest::array::uniform11;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::{Config, file, good};
use crate::config::{
    ByteSize, ClientDirectives, LogFormat, LogLevel, NamedView, OriginRule, OriginUrl, PrivateRule,
    Route, RoutePattern, Sources, StatusLifetimes, render,
};

const YEAR: u64 = 365 * 24 * 3600;

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..YEAR).prop_map(Duration::from_secs),
        (1..1_000_000_000_000_u64).prop_map(Duration::from_nanos),
        (1..100_000_u64).prop_map(Duration::from_millis),
    ]
}

fn above_zero() -> impl Strategy<Value = Duration> {
    duration().prop_filter("above zero", |duration| !duration.is_zero())
}

fn size() -> impl Strategy<Value = ByteSize> {
    prop_oneof![
        0..=ByteSize::MAX.0,
        (0..64_u32, 0..60_u32).prop_map(|(n, shift)| (u64::from(n) << shift).min(1 << 60)),
    ]
    .prop_map(ByteSize)
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    vec(proptest::option::of(duration()), 0..4).prop_map(|ttls| {
        let route = |(i, ttl)| Route {
            path: RoutePattern::parse(&format!("/v{i}/\\\"x\"/{{id}}")).expect("a good route"),
            ttl,
        };
        ttls.into_iter().enumerate().map(route).collect()
    })
}

fn named() -> impl Strategy<Value = Vec<NamedView>> {
    let text = proptest::option::of(any::<String>());
    let lists = (text.clone(), text).prop_filter("a view has one", |(fields, strip)| {
        fields.is_some() || strip.is_some()
    });
    btree_map("[a-z0-9_-]{1,8}|light", lists, 0..4).prop_map(|views| {
        let view = |(name, (fields, strip))| NamedView {
            name,
            fields,
            strip,
        };
        views.into_iter().map(view).collect()
    })
}

fn statuses(lifetimes: [Duration; 11]) -> StatusLifetimes {
    let [
        pending_approval,
        queued,
        registered,
        initiated,
        ringing,
        canceled,
        in_progress,
        completed,
        busy,
        no_answer,
        failed,
    ] = lifetimes;
    StatusLifetimes {
        pending_approval,
        queued,
        registered,
        initiated,
        ringing,
        canceled,
        in_progress,
        completed,
        busy,
        no_answer,
        failed,
    }
}

prop_compose! {
    fn freshness_and_views()(
        lifetimes in uniform11(duration()),
        others in vec(duration(), 7),
        hard_limit in above_zero(),
        live in btree_map(prop_oneof![any::<String>(), Just("partner".to_owned())], duration(), 0..4),
        named in named(),
        origin in select(vec![OriginRule::Obey, OriginRule::Override]),
        private in select(vec![PrivateRule::Token, PrivateRule::Refuse]),
        directives in select(vec![ClientDirectives::Obey, ClientDirectives::Ignore]),
        options in "[a-z.~_-]{1,8}",
    ) -> Config {
        let mut config = Config::default();
        let freshness = &mut config.freshness;
        freshness.status = statuses(lifetimes);
        freshness.default = others[0];
        freshness.not_found = others[1];
        freshness.stale_while_revalidate = others[2];
        freshness.stale_if_error = others[3];
        freshness.signed_url_margin = others[4];
        freshness.settling = others[5];
        freshness.settling_window = others[6];
        freshness.hard_limit = hard_limit;
        freshness.live = live.into_iter().collect();
        freshness.origin = origin;
        freshness.private = private;
        freshness.client_directives = directives;
        config.views.named = named;
        config.views.strip_option = format!("{options}1");
        config.views.fields_option = format!("{options}2");
        config
    }
}

prop_compose! {
    fn config()(
        mut config in freshness_and_views(),
        port in 1..9000_u16,
        timeouts in vec(above_zero(), 4),
        drain in duration(),
        (entry, capacity, body) in (size(), size(), size()),
        routes in routes(),
        numbers in vec(1..1000_usize, 4),
        (uri, head) in (1..8192_u64, 8192..(1_u64 << 24)),
        url in select(vec!["http://localhost", "https://[::1]:8443", "http://10.0.0.1:80"]),
        fields in vec("x-[a-z0-9]{1,9}", 0..3),
        ca_file in proptest::option::of("/[^\\p{C}]{1,20}"),
        format in select(vec![LogFormat::Json, LogFormat::Text]),
        level in select(vec![LogLevel::Error, LogLevel::Warn, LogLevel::Debug, LogLevel::Trace]),
        access in any::<bool>(),
    ) -> Config {
        config.server.listen.set_port(port);
        config.server.workers = numbers[0];
        config.server.max_connections = numbers[1];
        config.server.header_timeout = timeouts[0];
        config.server.idle_timeout = timeouts[1];
        config.server.drain_timeout = drain;
        config.upstream.response_timeout = timeouts[2];
        config.upstream.connect_timeout = timeouts[2].min(timeouts[3]);
        config.upstream.total_timeout = timeouts[2].max(timeouts[3]);
        config.upstream.url = OriginUrl::parse(url).expect("a good origin");
        config.server.tls.cert = ca_file.clone().map(Into::into);
        config.server.tls.key = ca_file.clone().map(Into::into);
        config.upstream.ca_file = ca_file.map(Into::into);
        config.upstream.forward_headers = fields
            .iter()
            .map(|name| name.parse().expect("a good field name"))
            .collect();
        config.cache.routes = routes;
        config.cache.max_entry = entry.min(capacity);
        config.cache.capacity = entry.max(capacity);
        config.limits.in_flight = numbers[2];
        config.limits.headers = numbers[3];
        config.limits.uri = ByteSize(uri);
        config.limits.header_bytes = ByteSize(head);
        config.limits.request_body = body;
        config.log.format = format;
        config.log.level = level;
        config.log.access = access;
        config
    }
}

proptest! {
    #[test]
    fn the_printed_configuration_reads_back_the_same(config in config()) {
        let printed = render::effective(&config, &Sources::default());
        prop_assert_eq!(good(file(&printed)), config);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), value in any::<String>()) {
        let _ = file(&text).finish();
        let line = format!("cache.routes = {value}");
        let _ = file(&line).finish();
        let _ = super::all("", &[("CACHE__ROUTES", &value), ("FRESHNESS__LIVE", &text)], &[]).finish();
    }
}
