//! Notifications to systemd, and socket activation. Without systemd, this has no effect.

use std::time::Duration;

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::process::Sockets;

/// Names of the sockets (`FileDescriptorName=` in systemd.socket).
const PROXY: &str = "proxy";
const ADMIN: &str = "admin";

/// The sockets passed by systemd (`sd_listen_fds`). A single one needs no name.
///
/// Must run before any thread starts: it removes variables from the environment.
pub(super) fn sockets() -> anyhow::Result<Sockets> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut opened = ListenFd::from_env();
    let mut sockets = Sockets::default();
    let is_single = opened.len() == 1;
    let mut names = names.split(':');
    for index in 0..opened.len() {
        let name = names.next().unwrap_or_default();
        let slot = match name {
            ADMIN => &mut sockets.admin,
            PROXY => &mut sockets.proxy,
            _ if is_single => &mut sockets.proxy,
            _ => bail!(
                "socket {name:?} of the service manager is not used; write \
                 FileDescriptorName=proxy or FileDescriptorName=admin in its unit"
            ),
        };
        let listener = opened.take_tcp_listener(index).with_context(|| {
            format!("socket {name:?} of the service manager is not a TCP listener")
        })?;
        if slot.is_some() {
            bail!("two sockets of the service manager are named {name:?}; keep one");
        }
        *slot = listener;
    }
    Ok(sockets)
}

/// Reports that the proxy serves.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports a reload of the configuration; [`ready`] follows.
pub(super) fn reloading() {
    let states = [NotifyState::Reloading].into_iter();
    let states: Vec<_> = states.chain(NotifyState::monotonic_usec_now()).collect();
    notify(&states);
}

/// Reports the start of the drain.
pub(super) fn stopping() {
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("finishing requests in flight"),
    ]);
}

/// Notifies the watchdog of the service manager, if it has one, until dropped.
pub(super) async fn stay_alive() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}
