//! Default < file < variable < flag, and the reported place of each value.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Config, all, file, good, loaded};
use crate::config::render;

fn port(config: &Config) -> u16 {
    SocketAddr::port(&config.server.listen)
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let text = "server.listen = \"127.0.0.1:1\"";
    let variable: &[_] = &[("SERVER__LISTEN", "127.0.0.1:2")];
    let flag: &[_] = &[("--listen", "server.listen", "127.0.0.1:3")];
    for (draft, expected) in [
        (file(""), 8080),
        (file(text), 1),
        (all(text, variable, &[]), 2),
        (all(text, variable, flag), 3),
        (all(text, &[], flag), 3),
    ] {
        assert_eq!(port(&good(draft)), expected);
    }
}

#[test]
fn a_fault_that_is_overridden_is_still_a_fault() {
    let draft = all("server.workers = \"all\"", &[("SERVER__WORKERS", "2")], &[]);
    assert_eq!(draft.config().server.workers, 2);
    assert!(draft.finish().is_err());
}

#[test]
fn other_variables_are_not_settings() {
    let variables = ["PATH", "STUUT_CACHE", "STUUT_CACHE_PORT"];
    let variables = variables.map(|name| (name.to_owned(), "x".to_owned()));
    let draft = crate::config::read(None, &variables, &[]);
    assert_eq!(good(draft), Config::default());
}

#[test]
fn a_list_in_a_variable_is_comma_separated_or_toml() {
    let paths = |value| {
        let config = good(all("", &[("CACHE__ROUTES", value)], &[]));
        let routes = config.cache.routes.iter();
        routes
            .map(|route| (route.path.as_str().to_owned(), route.ttl))
            .collect::<Vec<_>>()
    };
    let (a, b) = ("/a/{id}".to_owned(), "/b".to_owned());
    assert_eq!(paths("/a/{id}, /b"), [(a.clone(), None), (b.clone(), None)]);
    assert_eq!(
        paths(r#"["/a/{id}", { path = "/b", ttl = "3s" }]"#),
        [(a, None), (b, Some(Duration::from_secs(3)))]
    );
    assert_eq!(paths(""), []);
}

#[test]
fn tables_add_to_the_built_in_entries() {
    let config = good(all(
        "[freshness.live]\nextra = \"5s\"\npartner = \"0s\"\ninvoices = \"off\"",
        &[("FRESHNESS__LIVE__WORKFLOW", "7s")],
        &[],
    ));
    let live: Vec<_> = config
        .freshness
        .live
        .iter()
        .map(|(name, lifetime)| (name.as_str(), lifetime.as_secs()))
        .collect();
    assert_eq!(
        live,
        [
            ("approver", 60),
            ("classifications", 60),
            ("extra", 5),
            ("partner", 0),
            ("workflow", 7),
        ]
    );
}

#[test]
fn a_view_written_again_replaces_the_one_before_it() {
    let text = "[views.named]\nlight = { fields = \"id\" }\nsmall = { strip = \"a\" }";
    let view = |draft, name| {
        let named = good(draft).views.named;
        let view = named.into_iter().find(|view| view.name == name)?;
        Some((view.fields, view.strip))
    };
    let some = |list: &str| Some(list.to_owned());
    assert_eq!(view(file(text), "light"), Some((some("id"), None)));

    let variables: &[_] = &[
        ("VIEWS__NAMED__LIGHT__STRIP", "b"),
        ("VIEWS__NAMED__SMALL", "off"),
    ];
    assert_eq!(
        view(all(text, variables, &[]), "light"),
        Some((None, some("b")))
    );
    assert_eq!(view(all(text, variables, &[]), "small"), None);
}

#[test]
fn an_empty_path_is_none() {
    let draft = all(
        "upstream.ca_file = \"/etc/ca.pem\"",
        &[("UPSTREAM__CA_FILE", "")],
        &[],
    );
    assert_eq!(good(draft).upstream.ca_file, None);
}

#[test]
fn the_effective_configuration_shows_the_place_of_each_value() {
    let loaded = loaded(all(
        "[server]\nworkers = 2\n[freshness.live]\nextra = \"5s\"",
        &[
            ("CACHE__CAPACITY", "1GiB"),
            ("FRESHNESS__LIVE__PARTNER", "off"),
        ],
        &[("--listen", "server.listen", "127.0.0.1:80")],
    ));
    let effective = render::effective(&loaded.config, &loaded.sources);
    let commented: Vec<_> = effective
        .lines()
        .filter(|line| line.contains('#'))
        .collect();
    assert_eq!(
        commented,
        [
            "# proxy.toml, 2 variables, 1 flag; a line without a place is a default",
            "listen = \"127.0.0.1:80\"  # --listen",
            "workers = 2  # proxy.toml:2:11",
            "capacity = \"1GiB\"  # STUUT_CACHE__CACHE__CAPACITY",
            "extra = \"5s\"  # proxy.toml:4:9",
            "partner = \"off\"  # STUUT_CACHE__FRESHNESS__LIVE__PARTNER",
        ]
    );
}
