//! `simulate`: only the simulated Stuut API.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use stuut_simulator::{Fixtures, Options, Organisation, Simulator, demo, serve};
use tokio_util::sync::CancellationToken;

use super::serve::{run_to_end, stop_signal};
use super::{EXIT_CONFIG, print};
use crate::config::parse_address;
use crate::server::listen;

#[derive(Debug, Args)]
pub(super) struct SimulateArguments {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081", value_parser = parse_address)]
    listen: SocketAddr,
    #[command(flatten)]
    options: Options,
    /// Additional organisation and its tokens
    #[arg(long, value_name = "NAME=TOKEN,TOKEN", value_parser = organisation)]
    organisation: Vec<Organisation>,
    /// Folder of own responses: `ORGANISATION/CALL_ID.json` is a body, `….http` as printed by curl -i
    #[arg(long, value_name = "DIR")]
    fixtures: Option<PathBuf>,
}

impl SimulateArguments {
    /// The options, or every fault of the fixtures.
    fn options(&self) -> Result<Options, Vec<String>> {
        let mut options = self.options.clone();
        options.organisations.extend_from_slice(&self.organisation);
        if let Some(folder) = &self.fixtures {
            options.fixtures = Fixtures::read(folder, &options.organisations)?;
        }
        Ok(options)
    }
}

fn organisation(text: &str) -> Result<Organisation, String> {
    let (name, tokens) = text
        .split_once('=')
        .ok_or("write a name and its tokens, e.g. acme=token-1,token-2")?;
    Organisation::new(name, tokens.split(',')).map_err(|error| error.to_string())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulated API has a clock of its own"
)]
pub(super) fn run(arguments: &SimulateArguments) -> anyhow::Result<ExitCode> {
    let options = match arguments.options() {
        Ok(options) => options,
        Err(faults) => {
            eprintln!("{}", faults.join("\n"));
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    run_to_end(0, async {
        let listener = listen("--listen", arguments.listen)?;
        let base = format!("http://{}", listener.local_addr()?);
        print(if io::stdout().is_terminal() {
            format!(
                "the simulated Stuut API listens on {base}; try\n\
                 curl -H 'Authorization: Bearer {}' {base}/v1/calls/{}\n",
                demo::TOKEN,
                demo::CALL
            )
        } else {
            // For the program that has started this one.
            format!("{}\n", serde_json::json!({ "listening": base }))
        })?;
        let simulator = Simulator::new(options, SystemTime::now);
        let shutdown = CancellationToken::new();
        let ((), stopped) = tokio::join!(serve(listener, simulator, shutdown.clone()), async {
            let stopped = stop_signal().await;
            shutdown.cancel();
            stopped
        });
        stopped?;
        Ok(ExitCode::SUCCESS)
    })
}
