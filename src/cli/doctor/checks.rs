//! The ways that an answer can take, each with both tokens on it.

use std::time::Duration;

use futures_util::future::join_all;
use http::header::{CACHE_CONTROL, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::patient::{Answer, BOTH, Patient, Truth, Who, fresh, ill, nonce, skipped};
use super::token::Token;
use super::{Finding, Trouble};

/// Requests of each token at once.
const CROWD: usize = 8;

/// Times that a crowd is sent before it is said that nothing collapses.
const CROWDS: usize = 5;

/// What is left of a call in the view that is asked for.
const VIEW: &str = "fields=id,status";
const IN_VIEW: [&str; 2] = ["id", "status"];

/// The checks that need no admin listener.
#[derive(Debug)]
pub(super) struct Checks<'a> {
    patient: &'a Patient,
    call: &'a str,
}

impl<'a> Checks<'a> {
    pub(super) fn new(patient: &'a Patient, call: &'a str) -> Self {
        Self { patient, call }
    }

    /// What is stored for one is never for the other.
    pub(super) async fn hit(&self) -> Finding {
        let target = fresh(self.call, "hit");
        let truth = self.patient.truth(self.call).await?;
        let miss = self.own(&truth, Who::First, &target).await?;
        if !miss.is_fetched() {
            return ill(format!(
                "a key that nobody has asked under was answered with {:?}",
                miss.cache_status()
            ));
        }
        if !miss.is_stored() {
            return skipped(format!("the call is not stored: {}", miss.cache_status()));
        }
        let other = self.own(&truth, Who::Second, &target).await?;
        if other.is_hit() {
            return ill(
                "the second token's first request was a hit, of what the first one fetched",
            );
        }
        for who in [Who::First, Who::Second, Who::First] {
            let again = self.own(&truth, who, &target).await?;
            if who == Who::First && !again.is_hit() {
                return ill(format!(
                    "what is stored was not used: {}",
                    again.cache_status()
                ));
            }
        }
        Ok("a hit is for the token that it was fetched for".to_owned())
    }

    /// Many at once: one fetch for each token, and never one for both.
    pub(super) async fn collapse(&self) -> Finding {
        let truth = self.patient.truth(self.call).await?;
        for _ in 0..CROWDS {
            let target = fresh(self.call, "collapse");
            let crowd = (0..2 * CROWD).map(|place| {
                let who = BOTH[place % 2];
                let (truth, target) = (&truth, &target);
                async move {
                    self.own(truth, who, target)
                        .await
                        .map(|answer| (who, answer))
                }
            });
            let answers: Vec<_> = join_all(crowd)
                .await
                .into_iter()
                .collect::<Result<_, _>>()?;
            let count = |of: fn(&Answer) -> bool| {
                let own = answers.iter().filter(|(who, _)| *who == Who::First);
                own.filter(|(_, answer)| of(answer)).count()
            };
            let (fetches, collapsed) = (count(Answer::is_fetched), count(Answer::is_collapsed));
            if fetches != 1 {
                return ill(format!(
                    "{CROWD} requests of one token asked the origin {fetches} times"
                ));
            }
            if collapsed > 0 {
                let all = 2 * CROWD;
                return Ok(format!(
                    "{all} requests at once of both tokens: {collapsed} of the first one's {CROWD} waited for its one fetch"
                ));
            }
        }
        skipped("the origin answers too fast for anybody to wait for a fetch")
    }

    /// A part of what is stored is as much one token's as the whole.
    pub(super) async fn view(&self) -> Finding {
        let truth = self.patient.truth(self.call).await?;
        let whole = fresh(self.call, "view");
        let target = format!("{whole}&{VIEW}");
        self.own(&truth, Who::First, &whole).await?;
        let view = self.patient.get(Who::First, &target).await?;
        if view.body == truth.of(Who::First).body {
            return skipped(
                "the option `fields` has another name here, or the call is no JSON object",
            );
        }
        for who in [Who::Second, Who::First, Who::Second] {
            let view = self.patient.get(who, &target).await?;
            let own = truth.of(who);
            let expected = part(own);
            if view.status != own.status || (own.status.is_success() && part(&view) != expected) {
                let what = if view.status.is_success() && part(&view) == part(truth.of(who.other()))
                {
                    "the other one's"
                } else {
                    "something else"
                };
                return ill(format!(
                    "{} asked for a view and got {what} ({})",
                    who.name(),
                    view.status
                ));
            }
        }
        if Some(object(&view)) != part(truth.of(Who::First)).map(Some) {
            return ill("a view shows more or less than was asked for");
        }
        Ok(format!("?{VIEW} shows each token a part of its own answer"))
    }

    /// Nobody learns from a 304 that the other's bytes are theirs.
    pub(super) async fn not_modified(&self) -> Finding {
        let truth = self.patient.truth(self.call).await?;
        if !truth.differs() {
            return skipped("both tokens get the same bytes");
        }
        let target = fresh(self.call, "304");
        let stored = self.own(&truth, Who::First, &target).await?;
        let Some(tag) = stored.etag() else {
            return skipped("the call has no entity tag");
        };
        let condition = [(IF_NONE_MATCH, tag.clone())];
        for _ in 0..2 {
            let own = self
                .patient
                .get_with(Who::First, &target, &condition)
                .await?;
            if own.status != StatusCode::NOT_MODIFIED {
                return ill(format!(
                    "the first token's own tag was answered with {}",
                    own.status
                ));
            }
            let other = self
                .patient
                .get_with(Who::Second, &target, &condition)
                .await?;
            if other.status == StatusCode::NOT_MODIFIED {
                return ill(
                    "the second token was told by a 304 that the first one's bytes are its own",
                );
            }
            self.is_own(&truth, Who::Second, &other).await?;
        }
        Ok("a 304 is for the token whose tag it is".to_owned())
    }

    /// Asked to look anew, the proxy looks with the right token.
    pub(super) async fn validate(&self) -> Finding {
        let truth = self.patient.truth(self.call).await?;
        let target = fresh(self.call, "validate");
        for who in BOTH {
            self.own(&truth, who, &target).await?;
        }
        let anew = [(CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        let mut forwarded = true;
        for _ in 0..2 {
            for (who, answer) in self.all_at_once(&target, &anew).await? {
                self.is_own(&truth, who, &answer).await?;
                forwarded &= !answer.is_hit();
            }
        }
        if !forwarded {
            return skipped(
                "Cache-Control of clients is ignored here (freshness.client_directives)",
            );
        }
        Ok("no-cache brings each token its own answer from the origin".to_owned())
    }

    /// A token nobody gave out, and no token, get nothing of it, whatever is stored.
    pub(super) async fn stranger(&self) -> Finding {
        let truth = self.patient.truth(self.call).await?;
        let target = fresh(self.call, "stranger");
        self.own(&truth, Who::First, &target).await?;
        self.own(&truth, Who::First, &target).await?;
        let invented = Token::invented(&nonce());
        for (token, name) in [
            (Some(&invented), "a token that nobody gave out"),
            (None, "no token"),
        ] {
            let answer = self.patient.ask(token, &target, &[]).await?;
            if answer.status.is_success() || answer.is_hit() {
                return ill(format!("{name} was answered with {}", answer.status));
            }
        }
        self.own(&truth, Who::First, &target).await?;
        Ok("a token that nobody gave out, and no token, get nothing".to_owned())
    }

    /// What is past its time, and what takes its place, is still one token's.
    pub(super) async fn stale(&self, young: &str, patience: Duration) -> Finding {
        let before = self.patient.truth(young).await?;
        let target = fresh(young, "stale");
        let stored = self.patient.get(Who::First, &target).await?;
        let (Some(ttl), StatusCode::OK) = (stored.ttl(), stored.status) else {
            return skipped(format!(
                "{young} is not stored ({}); name one that is (--young-call)",
                stored.status
            ));
        };
        let ttl = Duration::from_secs(ttl.unsigned_abs());
        if ttl > patience {
            let (ttl, patience) = (ttl.as_secs(), patience.as_secs());
            return skipped(format!(
                "{young} is fresh for another {ttl} s, and --patience is {patience} s; name a younger one (--young-call)"
            ));
        }
        self.patient.get(Who::Second, &target).await?;
        tokio::time::sleep(ttl + Duration::from_secs(1)).await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            let answers = self.all_at_once(&target, &[]).await?;
            // It may have changed meanwhile: before, at the first request, or by now.
            let now = self.patient.truth(young).await?;
            for (who, answer) in answers {
                let own = before.is_own(who, &answer) || now.is_own(who, &answer);
                let as_stored = who == Who::First && answer.body == stored.body;
                let foreign = [&before, &now]
                    .iter()
                    .any(|truth| truth.is_foreign(who, &answer));
                let foreign =
                    foreign || (who == Who::Second && now.differs() && answer.body == stored.body);
                if foreign || !(own || as_stored) {
                    let whose = if foreign {
                        "the other one's answer"
                    } else {
                        "something that is not its own"
                    };
                    return ill(format!(
                        "once stale, {} got {whose} ({}, {})",
                        who.name(),
                        answer.status,
                        answer.cache_status()
                    ));
                }
                seen.push(answer);
            }
        }
        let stale = seen
            .iter()
            .filter(|answer| answer.ttl().is_some_and(|ttl| ttl <= 0))
            .count();
        let fetched = seen.iter().filter(|answer| answer.is_fetched()).count();
        let all = seen.len();
        Ok(format!(
            "{all} requests when it was stale, each its own: {stale} served stale, {fetched} asked the origin"
        ))
    }

    /// Each token several times, all at once.
    async fn all_at_once(
        &self,
        target: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Vec<(Who, Answer)>, Trouble> {
        let asking = (0..CROWD).map(|place| {
            let who = BOTH[place % 2];
            async move {
                let answer = self.patient.get_with(who, target, fields).await?;
                Ok((who, answer))
            }
        });
        join_all(asking).await.into_iter().collect()
    }

    /// Asks, and is content with nothing but the token's own answer.
    async fn own(&self, truth: &Truth, who: Who, target: &str) -> Result<Answer, Trouble> {
        let answer = self.patient.get(who, target).await?;
        self.is_own(truth, who, &answer).await?;
        Ok(answer)
    }

    async fn is_own(&self, truth: &Truth, who: Who, answer: &Answer) -> Result<(), Trouble> {
        if truth.is_own(who, answer) {
            return Ok(());
        }
        if truth.is_foreign(who, answer) {
            return ill(format!(
                "{} got the other one's answer ({})",
                who.name(),
                answer.cache_status()
            ));
        }
        // The call may have changed since.
        if self.patient.truth(self.call).await?.is_own(who, answer) {
            return Ok(());
        }
        ill(format!(
            "{} got {} and {} bytes, which is not what it gets past the cache ({})",
            who.name(),
            answer.status,
            answer.body.len(),
            answer.cache_status()
        ))
    }
}

fn object(answer: &Answer) -> Option<Map<String, Value>> {
    serde_json::from_slice(&answer.body).ok()
}

/// The members of an answer that the view shows.
fn part(answer: &Answer) -> Option<Map<String, Value>> {
    let shown = |name: &String| IN_VIEW.contains(&name.as_str());
    object(answer).map(|whole| whole.into_iter().filter(|(name, _)| shown(name)).collect())
}
