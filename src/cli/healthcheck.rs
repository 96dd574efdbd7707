//! `healthcheck`: whether a proxy is up, as an exit status; an image needs no curl for it.

use std::process::ExitCode;

use clap::Args;

use super::ask::Where;
use super::print;
use super::serve::run_to_end;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ask whether the process lives, not whether it takes requests: true while it drains, too
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    listener: Where,
}

/// 0 or 1 and nothing else: container engines keep other statuses for themselves.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.listener.client()?;
    let probe = if arguments.live { "/livez" } else { "/readyz" };
    match run_to_end(1, async { Ok(admin.get(probe).await) })? {
        // Some other server may answer 200 to anything; the services' own port may forward it.
        Ok(answer) if answer.trim_ascii() == b"ok" => {
            print(format!("{} answers {probe}: ok\n", admin.address()))?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(_) => eprintln!(
            "stuut-cache: {} is no admin listener (--admin)",
            admin.address()
        ),
        Err(failure) => {
            failure.tell();
        }
    }
    Ok(ExitCode::FAILURE)
}
