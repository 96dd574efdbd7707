//! `purge`: invalidates stored responses.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Deserialize;

use super::admin_client::{AdminAccess, plain};
use super::print;
use super::serve::run_to_end;

#[derive(Debug, Args)]
pub(super) struct PurgeArguments {
    #[command(flatten)]
    selection: Selection,
    /// Exit with 1 if nothing was stored or in flight for it
    #[arg(long)]
    expect_match: bool,
    #[command(flatten)]
    access: AdminAccess,
}

/// Exactly one of these options: without any, the command must not purge everything.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Selection {
    /// One call, for every token and query
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// The same by path, e.g. where a route has several parameters
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// All responses stored for one token: the digest is the scope in the access log
    #[arg(long, value_name = "DIGEST")]
    scope: Option<String>,
    /// All stored responses
    #[arg(long)]
    all: bool,
}

#[derive(Deserialize)]
struct Purged {
    invalidated: String,
    stored: usize,
    in_flight: usize,
    /// With a shared level: the replicas of the group, and those that have confirmed.
    replicas: Option<usize>,
    #[serde(default)]
    confirmed: usize,
    #[serde(default)]
    ms: u64,
    /// The responses that other replicas had stored, by replica; without those that have sent no count.
    #[serde(default)]
    others: BTreeMap<String, usize>,
    /// Whether the engine has not accepted it yet.
    #[serde(default)]
    queued: bool,
}

pub(super) fn run(arguments: &PurgeArguments) -> anyhow::Result<ExitCode> {
    let query = arguments.selection.query()?;
    let admin = arguments.access.client()?;
    let target = format!("/purge?{query}");
    let body = run_to_end(1, async { Ok(admin.post(&target).await?) })?;
    let purged: Purged = serde_json::from_slice(&body)
        .with_context(|| format!("{} is not an admin listener", admin.address))?;
    print(purged.summary())?;
    for note in purged.notes() {
        eprintln!("stuut-cache: {note}");
    }
    let is_unmatched = arguments.expect_match && purged.found() == 0;
    Ok(ExitCode::from(u8::from(is_unmatched || purged.queued)))
}

impl Purged {
    /// The stored responses and fetches that have been invalidated, as far as they were counted.
    fn found(&self) -> usize {
        self.stored + self.in_flight + self.others.values().sum::<usize>()
    }

    /// Whether every replica has counted what it had stored.
    fn is_counted(&self) -> bool {
        !self.queued && self.others.len() + 1 >= self.replicas.unwrap_or(1)
    }

    fn summary(&self) -> String {
        let Self {
            invalidated,
            stored,
            in_flight,
            confirmed,
            ms,
            others,
            ..
        } = self;
        let first =
            format!("invalidated: {invalidated} (stored: {stored}, in flight: {in_flight})\n");
        match self.replicas {
            Some(replicas) => {
                let elsewhere: usize = others.values().sum();
                let counted = match (others.len(), replicas - 1) {
                    (counted, all) if counted >= all => String::new(),
                    (counted, all) => format!(", counted by {counted} of {all}"),
                };
                format!(
                    "{first}confirmed by {confirmed} of {replicas} replicas in {ms} ms (stored at the others: {elsewhere}{counted})\n"
                )
            }
            None => first,
        }
    }

    /// Warnings and hints for the operator.
    fn notes(&self) -> Vec<&'static str> {
        let replicas = self.replicas.unwrap_or_default();
        let unconfirmed = if self.queued {
            "the engine does not answer this replica, so the purge is announced later: until then, a replica that reaches the engine may serve old responses; send the purge to it, too"
        } else {
            "the other replicas did not confirm it within their lease, so they serve nothing from before it"
        };
        let unmatched = match self.replicas {
            Some(_) if self.is_counted() => "nothing of it was stored at any replica",
            Some(_) => {
                "nothing of it was stored here; a replica that has not counted may have had it (/explain)"
            }
            None => {
                "nothing of it was stored here; another replica, which shares nothing with this one, may have it (/explain)"
            }
        };
        let notes = [
            (self.queued || self.confirmed < replicas).then_some(unconfirmed),
            (self.found() == 0).then_some(unmatched),
        ];
        notes.into_iter().flatten().collect()
    }
}

impl Selection {
    fn query(&self) -> anyhow::Result<String> {
        let options = [
            ("call", &self.call),
            ("path", &self.path),
            ("scope", &self.scope),
        ];
        let given = options
            .into_iter()
            .find_map(|(key, value)| Some((key, value.as_ref()?)));
        let Some((key, value)) = given else {
            return Ok("all".to_owned());
        };
        plain(value).map_err(|hint| anyhow!("--{key}: {hint}"))?;
        Ok(format!("{key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_of_the_other_replicas_is_said() {
        for (document, notes) in [
            (r#""stored":1,"in_flight":0"#, vec![]),
            (
                r#""stored":0,"in_flight":0"#,
                vec!["another replica, which shares nothing"],
            ),
            (
                r#""stored":0,"in_flight":1,"replicas":2,"confirmed":2,"ms":3,"queued":false"#,
                vec![],
            ),
            (
                r#""stored":0,"in_flight":0,"replicas":2,"confirmed":2,"others":{"a":1}"#,
                vec![],
            ),
            (
                r#""stored":0,"in_flight":0,"replicas":2,"confirmed":2,"others":{"a":0}"#,
                vec!["at any replica"],
            ),
            (
                r#""stored":0,"in_flight":0,"replicas":3,"confirmed":3,"others":{"a":0}"#,
                vec!["has not counted"],
            ),
            (
                r#""stored":1,"in_flight":0,"replicas":2,"confirmed":1,"ms":2000,"queued":false"#,
                vec!["they serve nothing from before it"],
            ),
            (
                r#""stored":0,"in_flight":0,"replicas":1,"confirmed":1,"ms":2000,"queued":true"#,
                vec!["may serve old responses", "may have had it"],
            ),
        ] {
            let document = format!(r#"{{"invalidated":"all",{document}}}"#);
            let purged: Purged = serde_json::from_str(&document).expect("a document");
            let said = purged.notes();
            assert_eq!(said.len(), notes.len(), "{document}: {said:?}");
            for (said, note) in std::iter::zip(said, notes) {
                assert!(said.contains(note), "{document}: {said}");
            }
        }
    }

    fn call(id: &str) -> Option<String> {
        let selection = Selection {
            call: Some(id.to_owned()),
            path: None,
            scope: None,
            all: false,
        };
        selection.query().ok()
    }

    #[test]
    fn an_id_is_sent_unchanged_or_refused() {
        assert_eq!(call("call_1").as_deref(), Some("call=call_1"));
        assert_eq!(call("a%20b").as_deref(), Some("call=a%20b"));
        for other in ["", "a b", "a&all", "a#b", "a?b", "ä"] {
            assert_eq!(call(other), None, "{other}");
        }
    }
}
