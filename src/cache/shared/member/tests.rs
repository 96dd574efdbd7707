//! Tables of beats, eras and confirmations.

use super::*;

const LEASE: Duration = Duration::from_secs(2);
const ONE: Era = Era([1; 16]);
const TWO: Era = Era([2; 16]);

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn item(era: Era, id: u64) -> LogItem {
    LogItem {
        id,
        age: Duration::ZERO,
        sealed: framed(era, b"sealed"),
    }
}

fn member(id: u64, count: u64, position: Option<(Era, u64)>) -> Member {
    Member {
        id: MemberId(id),
        count,
        position: position.map(|(era, id)| Position { era, id }),
        lease: LEASE,
    }
}

fn reply(
    era: Era,
    last: u64,
    items: impl IntoIterator<Item = u64>,
    members: &[Member],
) -> BeatReply {
    BeatReply {
        era,
        last,
        items: items.into_iter().map(|id| item(era, id)).collect(),
        members: members.to_vec(),
    }
}

/// The steps as numbers: `-3` forgets with this floor, `3` applies the item.
fn steps(steps: &[Step]) -> Vec<i64> {
    let number = |id: u64| i64::try_from(id).expect("a small number");
    let step = |step: &Step| match step {
        Step::Forget(floor, _) => -number(*floor),
        Step::Apply(item) => number(item.id),
    };
    steps.iter().map(step).collect()
}

/// A replica that has applied the log up to this item, at this time.
fn in_step(id: u64, now: Duration, members: &[Member]) -> Membership {
    let mut own = Membership::new(MemberId(1), LEASE);
    for _ in 0..2 {
        let beat = own.beat(TWO);
        own.heard(&beat, reply(ONE, id, [], members), now);
    }
    own
}

#[test]
fn a_beat_applies_what_continues_the_log_and_else_forgets_everything() {
    // The engine's last item and those it sends; what is done, whether the end is reached.
    type Case = (Era, u64, &'static [u64], &'static [i64], bool);
    let cases: [Case; 8] = [
        (ONE, 5, &[], &[], true),
        (ONE, 7, &[6, 7], &[6, 7], true),
        (ONE, 9, &[6, 7], &[6, 7], false),
        // The next items are lost, some, or all.
        (ONE, 9, &[8, 9], &[-7, 8, 9], true),
        (ONE, 9, &[], &[-9], true),
        // The end is lost.
        (ONE, 3, &[], &[-3], true),
        // Another era.
        (TWO, 0, &[], &[0], true),
        (TWO, 2, &[1, 2], &[0, 1, 2], true),
    ];
    for (era, last, items, expected, is_current) in cases {
        let mut own = in_step(5, at(0), &[]);
        let beat = own.beat(TWO);
        let update = own.heard(&beat, reply(era, last, items.iter().copied(), &[]), at(1));
        let case = format!("{last} {items:?}");
        assert_eq!(steps(&update.steps), expected, "{case}");
        assert_eq!(update.is_current, is_current, "{case}");
        let id = items.last().copied().unwrap_or(last);
        assert_eq!(own.position(), Some(Position { era, id }), "{case}");
    }
}

#[test]
fn the_first_beat_reads_the_log_from_its_beginning() {
    for (last, items, expected) in [
        (0, vec![], vec![0]),
        (3, vec![1, 2, 3], vec![0, 1, 2, 3]),
        (9, vec![8, 9], vec![-7, 8, 9]),
        (9, vec![], vec![-9]),
    ] {
        let mut own = Membership::new(MemberId(1), LEASE);
        let beat = own.beat(ONE);
        assert_eq!(beat.position, None);
        let update = own.heard(&beat, reply(ONE, last, items, &[]), at(1));
        assert_eq!(steps(&update.steps), expected, "{last}");
    }
}

#[test]
fn the_reader_applies_only_what_continues_the_log_of_its_era() {
    for (era, items, expected) in [
        (ONE, vec![6, 7], Some(vec![6, 7])),
        (ONE, vec![5, 6], Some(vec![6])),
        (ONE, vec![7], None),
        (ONE, vec![6, 8], None),
        // The connection leads to the former primary.
        (TWO, vec![6], None),
    ] {
        let mut own = in_step(5, at(0), &[]);
        let case = format!("{items:?}");
        let read = own.read(items.into_iter().map(|id| item(era, id)).collect());
        assert_eq!(read.map(|read| steps(&read)), expected, "{case}");
        let id = expected.map_or(5, |items| items.last().copied().unwrap_or(5));
        assert_eq!(
            own.position().map(|position| position.id),
            u64::try_from(id).ok(),
            "{case}"
        );
    }
}

type ConfirmationCase = (Option<(Era, u64)>, u64, u64, Option<usize>);

#[test]
fn an_item_is_confirmed_when_no_other_replica_has_a_lease_from_before_it() {
    // The era was first seen at 0, the item appended as 6 at 10 s. The other replica's position in the next beat, and
    // its number of beats, which was 1 since 9 s.
    let margin = 2_100;
    let cases: [ConfirmationCase; 9] = [
        (Some((ONE, 6)), 2, 10_001, Some(2)),
        (Some((ONE, 7)), 2, 10_001, Some(2)),
        (Some((ONE, 5)), 2, 10_001, None),
        (None, 2, 10_001, None),
        (Some((TWO, 6)), 2, 10_001, None),
        // It counts its beats, but does not apply the item.
        (Some((ONE, 5)), 2, 10_000 + margin - 1, None),
        (Some((ONE, 5)), 2, 10_000 + margin, Some(1)),
        // It has been silent since 9 s.
        (Some((ONE, 5)), 1, 9_000 + margin - 1, None),
        (Some((ONE, 5)), 1, 9_000 + margin, Some(1)),
    ];
    for (position, count, now, expected) in cases {
        let mut own = in_step(5, at(0), &[]);
        let other = |count, position| [member(2, count, position), member(1, 1, None)];
        let beat = own.beat(TWO);
        own.heard(
            &beat,
            reply(ONE, 5, [], &other(1, Some((ONE, 5)))),
            at(9_000),
        );
        let item = own.announced(Position { era: ONE, id: 6 }, at(10_000));
        assert_eq!(
            own.confirmed(&item, at(10_000)),
            None,
            "the list is from before it"
        );
        let beat = own.beat(TWO);
        own.heard(
            &beat,
            reply(ONE, 6, [6], &other(count, position)),
            at(10_001),
        );
        assert_eq!(own.replicas(), 2);
        let case = format!("{position:?} {count} {now}");
        assert_eq!(own.confirmed(&item, at(now)), expected, "{case}");
    }
}

#[test]
fn in_a_new_era_replicas_that_are_missing_may_have_a_lease_of_the_former_one() {
    let mut own = in_step(5, at(0), &[member(2, 1, Some((ONE, 5)))]);
    let former = own.announced(Position { era: ONE, id: 6 }, at(10_000));
    let beat = own.beat(TWO);
    let update = own.heard(&beat, reply(TWO, 0, [], &[]), at(11_000));
    assert!(!update.announces_all);
    let item = own.announced(Position { era: TWO, id: 1 }, at(11_001));
    let beat = own.beat(TWO);
    let other = member(2, 2, Some((TWO, 1)));
    own.heard(&beat, reply(TWO, 1, [1], &[other]), at(11_002));
    for item in [former, item] {
        assert_eq!(own.confirmed(&item, at(13_099)), None);
        assert_eq!(own.confirmed(&item, at(13_100)), Some(2));
    }
}

#[test]
fn what_not_all_have_confirmed_is_announced_again_in_the_next_era() {
    let mut own = in_step(5, at(0), &[member(2, 1, Some((ONE, 5)))]);
    let item = own.announced(Position { era: ONE, id: 6 }, at(10_000));
    assert_eq!(
        own.confirmed(&item, at(20_000)),
        Some(0),
        "the engine does not answer"
    );
    for (era, announces) in [(ONE, false), (TWO, true), (ONE, false)] {
        let beat = own.beat(TWO);
        let update = own.heard(&beat, reply(era, 6, [], &[]), at(20_001));
        assert_eq!(update.announces_all, announces);
    }
}

#[test]
fn a_silent_replica_is_removed() {
    let other = member(2, 7, None);
    let mut own = in_step(5, at(0), &[other]);
    for (now, count, silent) in [
        (29_999, 7, vec![]),
        (30_000, 7, vec![(MemberId(2), 7)]),
        (30_001, 8, vec![]),
        (60_000, 8, vec![]),
    ] {
        let beat = own.beat(TWO);
        let update = own.heard(&beat, reply(ONE, 5, [], &[member(2, count, None)]), at(now));
        assert_eq!(update.silent, silent, "{now}");
    }
}

#[test]
fn replicas_do_not_beat_in_step() {
    let pauses: std::collections::BTreeSet<_> = (0..100)
        .map(|id| Membership::new(MemberId(id), LEASE).pause())
        .collect();
    assert!(pauses.len() > 50 && pauses.iter().all(|pause| *pause > at(390)));
    assert!(pauses.iter().all(|pause| *pause <= LEASE / 4));
}
