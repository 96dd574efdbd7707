//! Tables made from the program: `UPDATE=1 cargo test --test project documents` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use stuut_cache::label::Label;
use stuut_cache::outcome::Fault;
use stuut_cache::policy::{self, NotStored};
use stuut_cache::proxy::{Error, problems};
use stuut_cache::request::{Bypass, Refusal};
use stuut_cache::telemetry::FAMILIES;
use stuut_cache::upstream::headers;

use super::{path, text};

/// The table between the two comments of this name.
#[track_caller]
fn holds(document: &str, name: &str, table: &str) {
    let page = text(document);
    let (begin, end) = (
        format!("<!-- {name}:begin -->\n"),
        format!("<!-- {name}:end -->"),
    );
    let (before, rest) = page.split_once(&begin).expect("a begin");
    let (found, after) = rest.split_once(&end).expect("an end");
    if std::env::var_os("UPDATE").is_some() {
        let page = format!("{before}{begin}{table}{end}{after}");
        fs::write(path(document), page).expect("the document can be written");
        return;
    }
    let command = "UPDATE=1 cargo test --test project documents";
    assert_eq!(found, table, "{document}: run {command}");
}

#[test]
fn the_table_of_metrics_is_the_programs() {
    let mut table = String::from("| name | kind | labels | meaning |\n|---|---|---|---|\n");
    for family in FAMILIES {
        let labels = family.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(" ");
        let (name, kind, help) = (family.name, family.kind, family.help);
        writeln!(table, "| `{name}` | {kind} | {labels} | {help} |").expect("a string");
    }
    holds("docs/metrics.md", "metrics", &table);
}

#[test]
fn the_table_of_problem_types_is_the_programs() {
    let refusals = Refusal::ALL
        .iter()
        .map(|why| (why.as_str(), why.sentence().to_owned()));
    let faults = Fault::ALL
        .iter()
        .map(|fault| (fault.as_str(), fault.sentence().to_owned()));
    let own = [Error::OnlyIfCached, Error::Panicked].map(|error| (error.slug(), error.to_string()));
    let meanings: BTreeMap<_, _> = refusals.chain(faults).chain(own).collect();
    let mut table =
        String::from("| `type`: `urn:stuut-cache:…` | status | meaning |\n|---|---|---|\n");
    for (slug, status) in problems() {
        writeln!(table, "| `{slug}` | {status} | {} |", meanings[slug]).expect("a string");
    }
    holds("docs/operations.md", "problems", &table);
}

/// The rows of a reason's table.
fn reasons<L: Label>(sentence: fn(L) -> &'static str) -> String {
    let mut table = String::from("| `detail` | meaning |\n|---|---|\n");
    for reason in L::ALL {
        writeln!(table, "| `{}` | {} |", reason.as_str(), sentence(*reason)).expect("a string");
    }
    table
}

#[test]
fn the_tables_of_reasons_are_the_programs() {
    holds("docs/freshness.md", "bypass", &reasons(Bypass::sentence));
    holds(
        "docs/freshness.md",
        "not-stored",
        &reasons(NotStored::sentence),
    );
}

#[test]
fn the_table_of_forwarded_fields_is_the_programs() {
    let mut table = String::from("| field |\n|---|\n");
    for name in headers::ALLOWED.into_iter().chain(policy::VERSIONS) {
        writeln!(table, "| `{name}` |").expect("a string");
    }
    holds("docs/configuration.md", "forwarded", &table);
}
