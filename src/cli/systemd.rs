//! What systemd is told, and the sockets it may have opened.
//!
//! Without systemd, none of this says or finds anything.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::process::Sockets;

/// The names of our sockets (`FileDescriptorName=` of systemd.socket).
const PROXY: &str = "proxy";
const ADMIN: &str = "admin";

/// The sockets that were opened for us (`sd_listen_fds`). A single one needs no name.
///
/// Before there are threads: it takes variables out of the environment.
pub(super) fn sockets() -> anyhow::Result<Sockets> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut opened = ListenFd::from_env();
    let mut sockets = Sockets::default();
    let alone = opened.len() == 1;
    let mut names = names.split(':');
    for index in 0..opened.len() {
        let name = names.next().unwrap_or_default();
        let slot = match name {
            ADMIN => &mut sockets.admin,
            PROXY => &mut sockets.proxy,
            _ if alone => &mut sockets.proxy,
            _ => bail!(
                "socket {name:?} of the service manager has no use here; write \
                 FileDescriptorName=proxy or FileDescriptorName=admin in its unit"
            ),
        };
        let listener = opened.take_tcp_listener(index).with_context(|| {
            format!("socket {name:?} of the service manager is no TCP listener")
        })?;
        if slot.is_some() {
            bail!("two sockets of the service manager are named {name:?}; keep one");
        }
        *slot = listener;
    }
    Ok(sockets)
}

/// The proxy answers.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] follows.
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    tell(
        &[NotifyState::Reloading]
            .into_iter()
            .chain(now)
            .collect::<Vec<_>>(),
    );
}

/// The drain has begun.
pub(super) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("finishing requests in flight"),
    ]);
}

/// Tells for ever that the runtime still turns, if somebody wants to know.
pub(super) async fn stay_alive() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return std::future::pending().await;
    };
    let mut beats = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        beats.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    let told: io::Result<()> = sd_notify::notify(states);
    if let Err(error) = told {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}
