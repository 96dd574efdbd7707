//! The checks that need the admin listener: purges, and what it tells.

use std::time::Duration;

use super::patient::{Answer, BOTH, Patient, Truth, Who, fresh, ill, skipped};
use super::{Finding, Trouble};
use crate::cli::ask::Failure;
use crate::cli::feed::Stats;

/// Races that are enough.
const RACES: usize = 3;

/// Races that are begun for them: some are over before the purge, or somebody else's requests
/// come in between.
const ATTEMPTS: usize = 30;

/// Looks at what is in flight, of one race.
const LOOKS: usize = 500;

/// What is purged is not answered from memory any more.
pub(super) async fn purge(patient: &Patient, call: &str) -> Finding {
    let truth = patient.truth(call).await?;
    let target = fresh(call, "purge");
    for who in [Who::First, Who::Second, Who::First] {
        own(patient, &truth, who, &target).await?;
    }
    void(patient, call).await?;
    for who in BOTH {
        let answer = own(patient, &truth, who, &target).await?;
        if answer.is_hit() {
            return ill(format!(
                "after the purge, {} was answered from memory",
                who.name()
            ));
        }
    }
    Ok("after a purge both tokens are answered by the origin".to_owned())
}

/// A fetch that began before a purge is not what is stored after it.
pub(super) async fn race(patient: &Patient, call: &str) -> Finding {
    let truth = patient.truth(call).await?;
    let mut races = 0;
    for _ in 0..ATTEMPTS {
        if run_race(patient, &truth, call).await? {
            races += 1;
        }
        if races == RACES {
            return Ok(format!(
                "{races} purges while both tokens' fetches were in flight: none of them was stored"
            ));
        }
    }
    skipped(format!(
        "in {ATTEMPTS} attempts, {races} purges met both fetches in flight: the origin is too fast, or others use the proxy"
    ))
}

/// After this, what has been answered has been counted.
const SETTLED: Duration = Duration::from_millis(100);

/// Whether the purge came while both fetches, and nobody else's, were in flight.
async fn run_race(patient: &Patient, truth: &Truth, call: &str) -> Result<bool, Trouble> {
    let before = look(patient).await?;
    if before.upstream_in_flight > 0 {
        return Ok(false);
    }
    let target = fresh(call, "race");
    let asking = async {
        tokio::join!(
            own(patient, truth, Who::First, &target),
            own(patient, truth, Who::Second, &target)
        )
    };
    let purging = async {
        for _ in 0..LOOKS {
            let now = look(patient).await?;
            if now.upstream_in_flight == 2 {
                void(patient, call).await?;
                return Ok(true);
            }
            if now.total.all_requests() > before.total.all_requests() {
                return Ok(false);
            }
        }
        Ok(false)
    };
    let ((first, second), purged) = tokio::join!(asking, purging);
    let (_, _) = (first?, second?);
    if !purged? {
        return Ok(false);
    }
    let mut after = Vec::new();
    for who in BOTH {
        after.push((who, own(patient, truth, who, &target).await?));
    }
    // Ours alone, the two in flight and the two since: with somebody else's among them, nobody can
    // tell whose fetch it was. A request is counted a moment after its answer has been read.
    tokio::time::sleep(SETTLED).await;
    let counted = look(patient).await?.total.all_requests();
    if counted > before.total.all_requests() + 4 {
        return Ok(false);
    }
    for (who, answer) in after {
        if answer.is_hit() || answer.is_collapsed() {
            return ill(format!(
                "after a purge {} was answered by a fetch that had begun before it ({})",
                who.name(),
                answer.cache_status()
            ));
        }
    }
    Ok(true)
}

/// Neither a token nor a call is where operators look.
pub(super) async fn secrets(patient: &Patient, id: &str) -> Finding {
    let pages = ["/metrics", "/status", "/stats?after=0"];
    for page in pages {
        let text = patient.admin.get(page).await.map_err(unheard)?;
        if patient.is_token_in(&text) {
            return ill(format!("{page} shows a token"));
        }
        if memchr::memmem::find(&text, id.as_bytes()).is_some() {
            return ill(format!("{page} shows the id of a call"));
        }
    }
    Ok(format!(
        "neither a token nor a call is in {}",
        pages.join(", ")
    ))
}

async fn own(patient: &Patient, truth: &Truth, who: Who, target: &str) -> Result<Answer, Trouble> {
    let answer = patient.get(who, target).await?;
    if truth.is_own(who, &answer) {
        return Ok(answer);
    }
    // The call may have changed since.
    let (call, _) = target.split_once('?').unwrap_or((target, ""));
    if !truth.is_foreign(who, &answer) && patient.truth(call).await?.is_own(who, &answer) {
        return Ok(answer);
    }
    ill(format!(
        "{} got an answer that is not its own ({})",
        who.name(),
        answer.cache_status()
    ))
}

async fn void(patient: &Patient, call: &str) -> Result<(), Trouble> {
    let target = format!("/purge?path={call}");
    patient.admin.post(&target).await.map(drop).map_err(unheard)
}

async fn look(patient: &Patient) -> Result<Stats, Trouble> {
    let answer = patient.admin.get("/stats").await.map_err(unheard)?;
    serde_json::from_slice(&answer)
        .map_err(|_| Trouble::Skipped("the admin listener is one of an older version".to_owned()))
}

/// Without an admin listener there is nothing to say about these.
#[expect(clippy::needless_pass_by_value, reason = "as map_err has it")]
fn unheard(failure: Failure) -> Trouble {
    Trouble::Skipped(failure.to_string())
}
