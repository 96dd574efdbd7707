//! `top`: what a running proxy does, live in a terminal.

mod screen;
mod seen;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};

use super::ask::Where;
use super::serve::run_to_end;
use seen::Seen;

/// Time between two looks.
const BEAT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    listener: Where,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(
        std::io::stdout().is_terminal(),
        "top needs a terminal; for programs there is stats --json"
    );
    run_to_end(1, watch(arguments))
}

async fn watch(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.listener.client()?;
    let mut seen = Seen::new(admin.address().to_string());
    if let Err(failure) = seen.look(&admin).await {
        // Before the screen is taken: an address that is wrong is told like anywhere else.
        return Ok(failure.tell());
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut terminal = ratatui::try_init().context("cannot take the screen")?;
    let watched = async {
        loop {
            terminal.draw(|frame| screen::draw(frame, &seen))?;
            let pressed = tokio::select! {
                pressed = tokio::task::spawn_blocking(|| key_within(BEAT)) => pressed??,
                _ = terminate.recv() => return Ok(()),
            };
            match pressed {
                Some(key) if ends(&key) => return Ok(()),
                // Drawn anew: the window may have another size.
                Some(_) => {}
                None => {
                    // Who stays silent is told on the screen, and asked again.
                    let _ = seen.look(&admin).await;
                }
            }
        }
    }
    .await;
    ratatui::restore();
    watched.map(|()| ExitCode::SUCCESS)
}

/// What happened at the terminal, if anything did in this time.
fn key_within(patience: Duration) -> std::io::Result<Option<Event>> {
    if event::poll(patience)? {
        return event::read().map(Some);
    }
    Ok(None)
}

fn ends(event: &Event) -> bool {
    let Event::Key(KeyEvent {
        code, modifiers, ..
    }) = event
    else {
        return false;
    };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}
