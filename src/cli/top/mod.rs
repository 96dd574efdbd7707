//! `top`: live statistics of a running proxy in a terminal.

mod model;
mod screen;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};

use super::admin_client::AdminAccess;
use super::serve::run_to_end;
use model::Model;

/// Time between two polls.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct TopArguments {
    #[command(flatten)]
    access: AdminAccess,
}

pub(super) fn run(arguments: &TopArguments) -> anyhow::Result<ExitCode> {
    ensure!(
        std::io::stdout().is_terminal(),
        "top needs a terminal; programs can use stats --json"
    );
    run_to_end(1, watch(arguments))
}

async fn watch(arguments: &TopArguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.access.client()?;
    let mut model = Model::new(admin.address.to_string());
    // Before the terminal is initialised: a wrong address is reported as by any other command.
    model.poll(&admin).await?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut terminal = ratatui::try_init().context("cannot initialise the terminal")?;
    let result = async {
        loop {
            terminal.draw(|frame| screen::draw(frame, &model))?;
            let event = tokio::select! {
                event = tokio::task::spawn_blocking(|| event_within(INTERVAL)) => event??,
                _ = terminate.recv() => return Ok(()),
            };
            match event {
                Some(event) if quits(&event) => return Ok(()),
                // Redraw: the window may have been resized.
                Some(_) => {}
                None => {
                    // The screen shows the error; the next poll tries again.
                    let _ = model.poll(&admin).await;
                }
            }
        }
    }
    .await;
    ratatui::restore();
    result.map(|()| ExitCode::SUCCESS)
}

/// The next event of the terminal, if one arrives in this time.
fn event_within(time: Duration) -> std::io::Result<Option<Event>> {
    event::poll(time)?.then(event::read).transpose()
}

fn quits(event: &Event) -> bool {
    event.as_key_event().is_some_and(|key| match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    })
}
