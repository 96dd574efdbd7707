//! Replicas of one group: proxies with the same key and the same real engine, in front of one origin.

use std::ops::Deref;
use std::time::Duration;

use stuut_cache::config::{Config, EngineUrl, ScopeKey};

use super::{Engine, EngineProgram, Origin, Proxy};

/// Replicas on clocks that only the test advances.
pub struct Replicas {
    pub engine: Engine,
    pub origin: Origin,
    proxies: Vec<Proxy>,
    key: ScopeKey,
}

impl Replicas {
    /// Starts an engine and this many replicas; `None` if the engine is not installed.
    pub async fn start(test: &str, count: usize) -> Option<Self> {
        let engine = Engine::start(EngineProgram::Redis7, test).await?;
        Some(Self::on(engine, count).await)
    }

    /// Starts this many replicas on an engine.
    pub async fn on(engine: Engine, count: usize) -> Self {
        let mut replicas = Self {
            engine,
            origin: Origin::start().await,
            proxies: Vec::new(),
            key: ScopeKey::random(),
        };
        for _ in 0..count {
            replicas.join(|_| {}).await;
        }
        replicas.settle().await;
        replicas
    }

    /// Starts another replica; returns its number.
    pub async fn join(&mut self, change: impl FnOnce(&mut Config)) -> usize {
        let (url, key) = (self.engine.url(), self.key.clone());
        let proxy = Proxy::with(&self.origin, |config| {
            config.scope.key = Some(key);
            config.shared.url = vec![EngineUrl::parse(&url).expect("a URL")];
            // So that a busy machine does not make an operation fail.
            config.shared.timeout = Duration::from_secs(5);
            change(config);
        });
        self.proxies.push(proxy.await);
        self.proxies.len() - 1
    }

    /// Removes a replica, for a restart of it.
    pub fn take(&mut self, number: usize) -> Proxy {
        self.proxies.remove(number)
    }

    /// Waits until every replica knows the others, and no lease from before that can last.
    pub async fn settle(&self) {
        let count = u32::try_from(self.proxies.len()).expect("a few");
        for proxy in &self.proxies {
            proxy
                .wait_for_metric("stuut_cache_shared_replicas", count)
                .await;
            proxy.advance_seconds(3);
        }
        for proxy in &self.proxies {
            in_step(proxy).await;
        }
    }
}

/// Waits until a replica has a lease.
pub async fn in_step(proxy: &Proxy) {
    proxy.wait_for_metric("stuut_cache_shared_state", 0).await;
}

impl Deref for Replicas {
    type Target = [Proxy];

    fn deref(&self) -> &[Proxy] {
        &self.proxies
    }
}
