//! `simulate`: only the simulated Stuut API.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use http::HeaderValue;
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
    /// Latency of every response
    #[arg(long, value_name = "DURATION", default_value = "80ms", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// Maximum additional latency, which varies by request
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Additional latency of a `call_slow_…`
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    slow: Duration,
    /// Share of requests that fail, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    fault_rate: f64,
    /// Number of calls of each organisation
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    calls: u32,
    /// Cache-Control of every call [default: none, as the real API]
    #[arg(long, value_name = "VALUE", value_parser = HeaderValue::from_str)]
    cache_control: Option<HeaderValue>,
    /// Send no entity tags
    #[arg(long)]
    no_etag: bool,
    /// Lifetime of pre-signed URLs
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = humantime::parse_duration)]
    signed_for: Duration,
    /// Retry-After of 429 and 503 responses
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    retry_after: Duration,
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
        let organisations = [Options::default().organisations, self.organisation.clone()].concat();
        let fixtures = match &self.fixtures {
            Some(folder) => Fixtures::read(folder, &organisations)?,
            None => Fixtures::default(),
        };
        Ok(Options {
            latency: self.latency,
            jitter: self.jitter,
            slow: self.slow,
            fault_rate: self.fault_rate,
            calls: self.calls,
            cache_control: self.cache_control.clone(),
            etag: !self.no_etag,
            signed_for: self.signed_for,
            retry_after: self.retry_after,
            fixtures,
            organisations,
        })
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "write a number from 0 to 1, e.g. 0.05".to_owned())
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
