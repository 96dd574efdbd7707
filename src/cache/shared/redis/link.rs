//! A link: a connection to the engine that is replaced when it fails, endlessly.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ::redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::connect::{Connection, Connector};
use crate::cache::shared::EngineError;
use crate::clock::Clock;

/// First and longest pause between two attempts to connect.
const BACKOFF: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// Maximum length of the text of an error.
const MAX_TEXT: usize = 200;

/// A connection for one kind of operations.
pub(super) struct Link {
    /// For logs.
    name: &'static str,
    clock: Clock,
    state: watch::Receiver<State>,
    /// The number of the last connection that must be replaced.
    broken: Arc<watch::Sender<u64>>,
    /// Unanswered operations in a row after which the connection is replaced.
    patience: u32,
    unanswered: AtomicU32,
    keeper: AbortHandle,
}

#[derive(Clone)]
enum State {
    /// The first attempt to connect is under way.
    Connecting,
    /// The last attempt failed; the next follows.
    Failed(Arc<str>),
    /// With the number of the connection.
    Connected(u64, Connection),
}

impl Link {
    /// Starts to connect; `limit` bounds each attempt.
    pub(super) fn start(
        name: &'static str,
        connector: Connector,
        clock: Clock,
        limit: Duration,
        patience: u32,
    ) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let broken = Arc::new(watch::Sender::new(0));
        let keeper = Keeper {
            name,
            connector,
            clock: clock.clone(),
            limit,
            state: sender,
            broken: Arc::clone(&broken),
            backoff: BACKOFF[0],
        };
        Self {
            name,
            clock,
            state,
            broken,
            patience,
            unanswered: AtomicU32::new(0),
            keeper: tokio::spawn(keeper.keep()).abort_handle(),
        }
    }

    /// The answer to a request within `limit`.
    pub(super) async fn query(
        &self,
        limit: Duration,
        request: Request<'_>,
    ) -> Result<Value, EngineError> {
        let used = AtomicU64::new(0);
        let deadline = self.clock.deadline(limit);
        let answer = self
            .clock
            .timeout_at(deadline, self.attempt(request, &used));
        if let Some(answer) = answer.await {
            return answer;
        }
        let unanswered = self.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        if unanswered >= self.patience {
            self.replace(used.into_inner(), &"no answer");
        }
        Err(EngineError::Timeout(limit))
    }

    /// Sends a request, and again if the connection is lost: an idle one may have been closed long ago.
    async fn attempt(&self, request: Request<'_>, used: &AtomicU64) -> Result<Value, EngineError> {
        for is_last in [false, true] {
            let (number, mut connection) = self.connection().await?;
            used.store(number, Ordering::Relaxed);
            let mut broken = self.broken.subscribe();
            let answer = tokio::select! {
                biased;
                answer = request.send(&mut connection) => answer,
                // Another request has found it broken.
                _ = broken.wait_for(|broken| *broken >= number) => Err(lost()),
            };
            let error = match answer {
                Ok(answer) => {
                    self.unanswered.store(0, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let end = End::of(&error);
            match end {
                End::None => self.unanswered.store(0, Ordering::Relaxed),
                End::Refused | End::Lost => self.replace(number, &error),
            }
            if is_last || !matches!(end, End::Lost) {
                return Err(engine_error(&error));
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The connection and its number; waits for the first attempt to connect.
    async fn connection(&self) -> Result<(u64, Connection), EngineError> {
        let mut state = self.state.clone();
        let is_settled = |state: &State| match state {
            State::Connecting => false,
            State::Failed(_) => true,
            State::Connected(number, _) => *number > *self.broken.borrow(),
        };
        let state = state.wait_for(is_settled).await.map(|state| state.clone());
        match state {
            Ok(State::Connected(number, connection)) => Ok((number, connection)),
            Ok(State::Failed(reason)) => Err(EngineError::Connection(reason.to_string())),
            Ok(State::Connecting) | Err(_) => Err(EngineError::Connection("closed".to_owned())),
        }
    }

    /// Replaces the current connection.
    pub(super) fn abandon(&self, reason: &str) {
        if let Some(current) = self.current() {
            self.replace(current, &reason);
        }
    }

    /// The same without a log line: the connection has not failed.
    pub(super) fn retire(&self) {
        if let Some(current) = self.current() {
            self.end(current);
        }
    }

    fn current(&self) -> Option<u64> {
        match &*self.state.borrow() {
            State::Connected(number, _) => Some(*number),
            _ => None,
        }
    }

    /// Ends a connection; returns whether it had not ended yet.
    fn end(&self, number: u64) -> bool {
        self.unanswered.store(0, Ordering::Relaxed);
        self.broken.send_if_modified(|broken| {
            let is_new = *broken < number;
            *broken = (*broken).max(number);
            is_new
        })
    }

    fn replace(&self, number: u64, reason: &dyn fmt::Display) {
        if self.end(number) {
            let (link, reason) = (self.name, clipped(reason));
            warn!(link, reason, "connection to the engine replaced: {reason}");
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.name).finish()
    }
}

// === the task that connects ===

struct Keeper {
    name: &'static str,
    connector: Connector,
    clock: Clock,
    limit: Duration,
    state: watch::Sender<State>,
    broken: Arc<watch::Sender<u64>>,
    backoff: Duration,
}

impl Keeper {
    async fn keep(mut self) {
        let mut broken = self.broken.subscribe();
        for number in 1.. {
            let connection = self.connect().await;
            let since = self.clock.mono();
            self.state
                .send_replace(State::Connected(number, connection));
            // An error is impossible: the task holds a sender.
            let _ = broken.wait_for(|broken| *broken >= number).await;
            self.state.send_replace(State::Connecting);
            if self.clock.mono().saturating_sub(since) > BACKOFF[1] {
                self.backoff = BACKOFF[0];
            } else {
                // The engine accepts connections, but does not serve them.
                self.pause().await;
            }
        }
    }

    /// Tries to connect until it succeeds.
    async fn connect(&mut self) -> Connection {
        let mut has_failed = false;
        loop {
            let deadline = self.clock.deadline(self.limit);
            let attempt = self.clock.timeout_at(deadline, self.connector.connect());
            let reason = match attempt.await {
                Some(Ok(connection)) => {
                    if has_failed {
                        info!(link = self.name, "connected to the engine");
                    }
                    return connection;
                }
                Some(Err(error)) => clipped(&error),
                None => format!("no connection within {:?}", self.limit),
            };
            if !has_failed {
                let link = self.name;
                warn!(link, reason, "cannot connect to the engine: {reason}");
                has_failed = true;
            }
            self.state.send_replace(State::Failed(reason.into()));
            self.pause().await;
        }
    }

    /// Waits between half of the backoff and all of it, which doubles.
    async fn pause(&mut self) {
        let [random, ..] = RandomState::new().hash_one(()).to_le_bytes();
        let pause = self.backoff / 2 + self.backoff * u32::from(random) / 512;
        self.backoff = (self.backoff * 2).min(BACKOFF[1]);
        self.clock.sleep(pause).await;
    }
}

// === requests and errors ===

/// A command, or the call of a script.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    Command(&'a Cmd),
    /// By its digest (`true`), or by its text for an engine that has not cached it yet. Made one at a time,
    /// as each has a copy of the arguments.
    Script(&'a (dyn Fn(bool) -> Cmd + Sync)),
}

impl Request<'_> {
    async fn send(self, connection: &mut Connection) -> RedisResult<Value> {
        let no_script = ErrorKind::Server(ServerErrorKind::NoScript);
        match self {
            Self::Command(command) => connection.send(command).await,
            Self::Script(command) => match connection.send(&command(true)).await {
                Err(error) if error.kind() == no_script => connection.send(&command(false)).await,
                answer => answer,
            },
        }
    }
}

/// The consequence of an error for its connection.
#[derive(Clone, Copy)]
enum End {
    /// It is kept.
    None,
    /// It is unusable: it leads to a replica, or its login is no longer valid.
    Refused,
    /// It is lost, or violates the protocol.
    Lost,
}

impl End {
    fn of(error: &RedisError) -> Self {
        let has = |code: &str| {
            // Before version 7, the errors of a script's commands are inside another one.
            error.code() == Some(code) || error.detail().is_some_and(|text| text.contains(code))
        };
        match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => {
                let codes = [
                    "READONLY",
                    "MASTERDOWN",
                    "UNBLOCKED",
                    "NOAUTH",
                    "NOREPLICAS",
                ];
                if codes.into_iter().any(has) {
                    Self::Refused
                } else {
                    Self::None
                }
            }
            _ => Self::Lost,
        }
    }
}

fn lost() -> RedisError {
    (ErrorKind::Io, "the connection is replaced").into()
}

pub(super) fn engine_error(error: &RedisError) -> EngineError {
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension => {
            let (code, detail) = (error.code(), error.detail());
            let text = [code, detail].map(Option::unwrap_or_default).join(" ");
            EngineError::Refused(clipped(&text))
        }
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            EngineError::Unexpected(clipped(error))
        }
        _ => EngineError::Connection(clipped(error)),
    }
}

/// The first characters of a text that the engine may control.
fn clipped(text: &dyn fmt::Display) -> String {
    text.to_string().chars().take(MAX_TEXT).collect()
}
