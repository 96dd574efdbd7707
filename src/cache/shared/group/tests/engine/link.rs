//! A replica's connection to the engine, and its faults.

use super::*;

/// The connections of a replica, and the replica as a process that may be frozen.
pub(in super::super) struct Link {
    pub(in super::super) sim: Sim,
    engine: Arc<Mutex<Memory>>,
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    /// The process does not run until then.
    frozen: Duration,
    /// Operations fail until then.
    cut: Duration,
    /// Operations get no answer until then.
    black_hole: Duration,
    /// The log is read from the former primary until then.
    stale: Duration,
    /// Nothing is appended until then.
    full: Duration,
    /// The era in the answer to the last beat.
    era: Option<Era>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(in super::super) fn new(sim: &Sim, engine: &Arc<Mutex<Memory>>) -> Arc<Self> {
        Arc::new(Self {
            sim: sim.clone(),
            engine: Arc::clone(engine),
            faults: Mutex::default(),
        })
    }

    pub(in super::super) fn freeze(&self, length: Duration) {
        self.faults().frozen = self.sim.now() + length;
    }

    pub(in super::super) fn cut(&self, length: Duration) {
        self.faults().cut = self.sim.now() + length;
    }

    pub(in super::super) fn black_hole(&self, length: Duration) {
        self.faults().black_hole = self.sim.now() + length;
    }

    pub(in super::super) fn refuse_appends(&self, length: Duration) {
        self.faults().full = self.sim.now() + length;
    }

    pub(in super::super) fn read_former(&self, length: Duration) {
        self.faults().stale = self.sim.now() + length;
    }

    pub(in super::super) fn fail_over(&self) {
        self.memory().fail_over(0);
    }

    /// Waits until the process runs.
    pub(in super::super) async fn thaw(&self) {
        loop {
            let frozen = self.faults().frozen;
            if self.sim.now() >= frozen {
                return;
            }
            self.sim.sleep(frozen.saturating_sub(self.sim.now())).await;
        }
    }

    /// The way of a message, or of its answer.
    async fn travel(&self, timeout: Duration) -> Result<(), EngineError> {
        let length = self.sim.random(0, 2);
        if length > 0 {
            self.sim.sleep(Duration::from_millis(length)).await;
        }
        let (cut, black_hole) = {
            let faults = self.faults();
            (
                faults.cut > self.sim.now(),
                faults.black_hole > self.sim.now(),
            )
        };
        if black_hole {
            self.sim.sleep(timeout).await;
            return Err(EngineError::Timeout(timeout));
        }
        if cut {
            return Err(EngineError::Connection("cut".to_owned()));
        }
        Ok(())
    }

    /// An operation: the way there, its execution, the way back. The process may be frozen before and
    /// after it.
    async fn run<T>(
        &self,
        timeout: Duration,
        operation: impl FnOnce(&mut Memory, Duration) -> T,
    ) -> Result<T, EngineError> {
        self.thaw().await;
        self.travel(timeout).await?;
        let result = operation(&mut self.memory(), self.sim.now());
        self.travel(timeout).await?;
        self.thaw().await;
        Ok(result)
    }

    /// Makes the rules on gaps ineffective: items that concern nothing replace those that are lost.
    fn fill_gaps(&self, beat: &Beat, reply: &mut BeatReply) {
        let is_first = beat
            .position
            .is_none_or(|position| position.era != reply.era);
        let fills = match self.sim.removed {
            Some(Removed::Floor) => is_first,
            Some(Removed::Gap) => !is_first,
            _ => false,
        };
        if fills {
            let from = if is_first {
                0
            } else {
                beat.position.map_or(0, |position| position.id)
            };
            let to = reply.items.first().map_or(reply.last, |item| item.id - 1);
            let filler = |id| LogItem {
                id,
                age: Duration::ZERO,
                sealed: framed(reply.era, &self.sim.filler),
            };
            let mut items: Vec<_> = (from + 1..=to).map(filler).collect();
            items.append(&mut reply.items);
            reply.items = items;
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.engine.lock().expect("no test has panicked")
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("no test has panicked")
    }
}

#[async_trait]
impl Engine for Link {
    async fn beat(&self, beat: Beat) -> Result<BeatReply, EngineError> {
        let removed = self.sim.removed;
        let mut reply = self
            .run(beat.lease / 2, |memory, now| {
                memory.beat(&beat, now, removed)
            })
            .await?;
        self.fill_gaps(&beat, &mut reply);
        self.faults().era = Some(reply.era);
        Ok(reply)
    }

    async fn append(&self, era: Era, sealed: Bytes) -> Result<Appended, EngineError> {
        let appended = self.run(TIMEOUT, |memory, now| {
            let is_full = self.faults().full > now;
            (!is_full).then(|| memory.append(era, sealed, now))
        });
        let refused = || EngineError::Refused("full".to_owned());
        appended.await?.ok_or_else(refused)
    }

    async fn items_after(&self, id: u64, wait: Duration) -> Result<Vec<LogItem>, EngineError> {
        let end = self.sim.now() + wait;
        loop {
            let is_stale = self.faults().stale > self.sim.now();
            let mut items = self
                .run(TIMEOUT, |memory, now| {
                    let log = if is_stale {
                        &memory.former
                    } else {
                        &memory.data.log
                    };
                    let items = log.iter().filter(|(at, ..)| *at > id).take(ITEMS);
                    items.map(|item| log_item(item, now)).collect::<Vec<_>>()
                })
                .await?;
            if let (Some(Removed::Frame), Some(era)) = (self.sim.removed, self.faults().era) {
                for item in &mut items {
                    item.sealed = framed(era, &item.sealed[size_of::<Era>()..]);
                }
            }
            if !items.is_empty() || self.sim.now() >= end {
                return Ok(items);
            }
            let changed = Arc::clone(&self.memory().changed);
            let left = end.saturating_sub(self.sim.now());
            let _ = tokio::time::timeout(left, changed.notified()).await;
        }
    }

    async fn remove_member(&self, member: MemberId, count: u64) -> Result<(), EngineError> {
        self.run(TIMEOUT, move |memory, _| {
            if let Some(hash) = &mut memory.data.group
                && hash
                    .members
                    .get(&member)
                    .is_some_and(|found| found.count == count)
            {
                hash.members.remove(&member);
                memory.record();
            }
        })
        .await
    }

    async fn look_up(
        &self,
        name: &str,
        _known: Option<Salt>,
        _owner: u64,
        _room: usize,
    ) -> Result<Found, EngineError> {
        self.run(TIMEOUT, move |memory, now| {
            let entry = memory.data.entries.get(name);
            Found {
                at: u64::try_from(now.as_micros()).expect("a short time"),
                length: entry.map_or(0, Bytes::len),
                entry: entry.cloned().ok_or(Occupied::Ours),
            }
        })
        .await
    }

    async fn renew(&self, _: &str, _: u64) -> Result<(), EngineError> {
        unreachable!("the model has no fetch leases")
    }

    async fn release(&self, _: &str, _: u64, _: bool) -> Result<(), EngineError> {
        unreachable!("the model has no fetch leases")
    }

    async fn store(
        &self,
        name: &str,
        entry: Bytes,
        _life: Duration,
        _owner: u64,
    ) -> Result<bool, EngineError> {
        self.run(TIMEOUT, move |memory, _| {
            let entries = &mut memory.data.entries;
            let is_newer = |stored: &Bytes| {
                let [stored, new] = [stored, &entry].map(super::super::Shared::read);
                stored.position.era == new.position.era && stored.began > new.began
            };
            let stores = !entries.get(name).is_some_and(is_newer);
            if stores {
                entries.insert(name.to_owned(), entry);
                memory.record();
            }
            stores
        })
        .await
    }

    async fn remove(&self, _: &str, _: Salt) -> Result<(), EngineError> {
        unreachable!("every entry opens")
    }

    async fn record_scope(&self, _: &str) -> Result<(), EngineError> {
        unreachable!("the model has one scope")
    }

    async fn find_scope(&self, _: &str, _: bool) -> Result<bool, EngineError> {
        unreachable!("the model has one scope")
    }
}
