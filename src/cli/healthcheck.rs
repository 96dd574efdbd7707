//! `healthcheck`: readiness or liveness as an exit status, for images without curl.

use std::process::ExitCode;

use clap::Args;

use super::admin_client::AdminAddress;
use super::print;
use super::serve::run_to_end;

#[derive(Debug, Args)]
pub(super) struct HealthcheckArguments {
    /// Check that the process is alive instead of ready: also true while it drains
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    listener: AdminAddress,
}

/// Exits with 0 or 1 only: container engines reserve other statuses.
pub(super) fn run(arguments: &HealthcheckArguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.listener.client(None)?;
    let probe = if arguments.live { "/livez" } else { "/readyz" };
    let error = match run_to_end(1, async { Ok(admin.get(probe).await) })? {
        // Another server may send 200 for any path, and the proxy's own port may forward it.
        Ok(body) if body.trim_ascii() == b"ok" => {
            print(format!("{}: {probe} is ok\n", admin.address))?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(_) => format!("{} is not an admin listener (--admin)", admin.address),
        Err(error) => error.to_string(),
    };
    eprintln!("stuut-cache: {error}");
    Ok(ExitCode::FAILURE)
}
