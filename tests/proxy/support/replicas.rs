//! Replicas of one group: proxies with the same key and the same real engine, in front of one origin.

use std::ops::Deref;
use std::pin::pin;
use std::time::{Duration, Instant};

use http::Method;
use stuut_cache::config::{Config, EngineUrl, ScopeKey, Shared};

use super::{Cluster, Engine, EngineProgram, Origin, Proxy, Request, Response, Sentinels};

/// Replicas on clocks that only the test advances.
pub struct Replicas<E = Engine> {
    pub engine: E,
    pub origin: Origin,
    proxies: Vec<Proxy>,
    key: ScopeKey,
}

/// An engine, as the settings name it.
pub trait Endpoint {
    fn set(&self, settings: &mut Shared);
}

/// For `shared.url`.
pub fn engine_urls<'a>(urls: impl IntoIterator<Item = &'a String>) -> Vec<EngineUrl> {
    let parse = |url: &String| EngineUrl::parse(url).expect("a URL");
    urls.into_iter().map(parse).collect()
}

impl Endpoint for Engine {
    fn set(&self, settings: &mut Shared) {
        settings.url = engine_urls(&[self.url()]);
    }
}

impl Endpoint for Sentinels {
    fn set(&self, settings: &mut Shared) {
        settings.url = engine_urls(&self.urls());
        settings.sentinel = Some("main".to_owned());
    }
}

impl Endpoint for Cluster {
    fn set(&self, settings: &mut Shared) {
        settings.url = engine_urls(&self.urls());
    }
}

impl Replicas {
    /// Starts an engine and this many replicas; `None` if the engine is not installed.
    pub async fn start(test: &str, count: usize) -> Option<Self> {
        let engine = Engine::start(EngineProgram::chosen(), test).await?;
        Some(Self::on(engine, count).await)
    }
}

impl<E: Endpoint> Replicas<E> {
    /// Starts this many replicas on an engine.
    pub async fn on(engine: E, count: usize) -> Self {
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
        let proxy = Proxy::with(&self.origin, |config| {
            config.scope.key = Some(self.key.clone());
            self.engine.set(&mut config.shared);
            // So that a busy machine does not make an operation fail.
            config.shared.timeout = Duration::from_secs(5);
            change(config);
        });
        let proxy = proxy.await;
        self.proxies.push(proxy);
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

    /// Sends a request, and advances all clocks together until it is answered: it may wait for the end
    /// of leases. No clock falls behind the real time, by which the wait may end too.
    pub async fn answered(&self, request: Request) -> Response {
        self.ended(request.start().into_future()).await
    }

    /// The same until some work has ended.
    pub async fn ended<T>(&self, work: impl Future<Output = T>) -> T {
        let mut pending = pin!(work);
        let mut last = Instant::now();
        for _ in 0..1_000 {
            self.advance(last.elapsed() + Duration::from_millis(20));
            last = Instant::now();
            let answers = async {
                for proxy in &self.proxies {
                    proxy.admin(Method::GET, "/metrics").await;
                }
            };
            tokio::select! {
                biased;
                output = &mut pending => {
                    self.advance(last.elapsed());
                    return output;
                }
                () = answers => {}
            }
        }
        panic!("the work does not end")
    }

    fn advance(&self, by: Duration) {
        for proxy in &self.proxies {
            proxy.clock.advance_waiters(by);
        }
    }

    /// The same for a purge by a replica; returns what it says.
    pub async fn purge(&self, number: usize, query: &str) -> serde_json::Value {
        let purge = self.proxies[number].admin(Method::POST, &format!("/purge?{query}"));
        self.answered(purge).await.assert_status(200).json()
    }
}

/// Waits until a replica has a lease.
pub async fn in_step(proxy: &Proxy) {
    proxy.wait_for_metric("stuut_cache_shared_state", 0).await;
}

impl<E> Deref for Replicas<E> {
    type Target = [Proxy];

    fn deref(&self) -> &[Proxy] {
        &self.proxies
    }
}
