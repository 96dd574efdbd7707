//! `demo`: the proxy at work on a simulated API. Real sockets, no account, no network.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use stuut_simulator::{Options, Simulator, demo, serve};
use tokio_util::sync::CancellationToken;

use super::print;
use super::serve::{log, run_to_end};
use crate::clock::Clock;
use crate::config::{Config, LogFormat, LogLevel, OriginUrl};
use crate::process::{Process, Sockets};

/// What the simulated API takes for an answer.
const LATENCY: Duration = Duration::from_millis(80);

/// Says a line, where standard output takes it.
macro_rules! say {
    ($($text:tt)+) => {
        print(format!($($text)+) + "\n")?
    };
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address the proxy listens on; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of metrics, health and purge
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin_listen: SocketAddr,
    /// End after the tour instead of staying up
    #[arg(long)]
    tour: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    run_to_end(0, show(arguments))
}

async fn show(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    let options = Options {
        latency: LATENCY,
        ..Options::default()
    };
    let simulator = Simulator::new(options, SystemTime::now);
    let listener = crate::server::listen("the simulator", (Ipv4Addr::LOCALHOST, 0).into())?;
    let origin = format!("http://{}", listener.local_addr()?);
    let end = CancellationToken::new();
    let simulating = tokio::spawn(serve(listener, simulator.clone(), end.clone()));

    let config = configuration(arguments, &origin)?;
    let _writer = log(&config.log)?;
    let process = Process::start(&config, &clock, None, Sockets::default())?;
    let guide = Guide {
        client: Client::builder(TokioExecutor::new()).build_http(),
        base: format!("http://{}", process.address),
        simulator,
    };
    say!("a simulated Stuut API on {origin}, each answer after {LATENCY:?}");
    say!(
        "stuut-cache on {}, dashboard on http://{}/\n",
        guide.base,
        process.admin_address
    );
    guide.tour().await?;
    if !arguments.tour {
        guide.invite(process.admin_address)?;
        tokio::signal::ctrl_c()
            .await
            .context("cannot listen for Ctrl-C")?;
    }
    process.stop().await;
    end.cancel();
    simulating
        .await
        .context("the simulator ended with a panic")?;
    Ok(ExitCode::SUCCESS)
}

fn configuration(arguments: &Arguments, origin: &str) -> anyhow::Result<Config> {
    let mut config = Config::default();
    config.server.listen = arguments.listen;
    config.admin.listen = arguments.admin_listen;
    config.upstream.url = OriginUrl::parse(origin).map_err(anyhow::Error::msg)?;
    config.log.format = LogFormat::Text;
    config.log.level = LogLevel::Warn;
    config.log.access = false;
    Ok(config)
}

/// Shows people around.
struct Guide {
    client: Client<HttpConnector, Empty<Bytes>>,
    base: String,
    simulator: Simulator,
}

impl Guide {
    async fn tour(&self) -> anyhow::Result<()> {
        let call = format!("/v1/calls/{}", demo::CALL);
        let strip = format!("{call}?strip=invoices,**.linked_integration");
        let fields = format!("{call}?fields=id,status,partner(id,name)");

        let miss = self
            .get(
                "a miss: fetched from the origin, and stored",
                &call,
                demo::TOKEN,
            )
            .await?;
        let hit = self
            .get("a hit: the same bytes from memory", &call, demo::TOKEN)
            .await?;
        ensure!(
            hit.body() == miss.body(),
            "a hit differs from what was stored"
        );
        let light = self
            .get(
                "a hit of the same stored call, heavy fields removed",
                &strip,
                demo::TOKEN,
            )
            .await?;
        let saved = 100 - 100 * light.body().len() / hit.body().len();
        say!(
            "   {} -> {} bytes: {saved} % less\n",
            hit.body().len(),
            light.body().len()
        );
        let picked = self
            .get("a hit again, only what is named", &fields, demo::TOKEN)
            .await?;
        say!("   {}\n", String::from_utf8_lossy(picked.body()));
        self.get(
            "another token of the same organisation: its own store, so a miss",
            &call,
            demo::SECOND_TOKEN,
        )
        .await?;
        let foreign = self.get(
            "a token of another organisation: the origin's own 404",
            &call,
            demo::FOREIGN_TOKEN,
        );
        foreign.await?;
        say!(
            "   the origin was asked {} times for {} requests\n",
            self.simulator.requests().total(),
            6
        );
        Ok(())
    }

    async fn get(&self, title: &str, target: &str, token: &str) -> anyhow::Result<Response<Bytes>> {
        let request = Request::get(format!("{}{target}", self.base))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Empty::new())?;
        let asked = Instant::now();
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let took = asked.elapsed();
        say!("-- {title}");
        say!("   GET {target}   (token {token})");
        say!(
            "   {} · {} bytes · {:.1} ms",
            head.status,
            body.len(),
            took.as_secs_f64() * 1e3
        );
        for name in ["cache-status", "age"] {
            if let Some(value) = head.headers.get(name) {
                say!("   {name}: {}", String::from_utf8_lossy(value.as_bytes()));
            }
        }
        say!("");
        Ok(Response::from_parts(head, body))
    }

    fn invite(&self, admin: SocketAddr) -> anyhow::Result<()> {
        let Self { base, .. } = self;
        let curl = |token: &str, target: &str| {
            say!(
                "curl -isS -H 'Authorization: Bearer {token}' '{base}/v1/calls/{target}' | head -c 1000"
            );
            anyhow::Ok(())
        };
        say!(
            "Try it, and watch Cache-Status. A call that is only now beginning, whose freshness follows its status:"
        );
        curl(demo::TOKEN, demo::LIVE_CALL)?;
        say!("The view `light`, and a fault in a view:");
        curl(demo::TOKEN, &format!("{}?view=light", demo::CALL))?;
        curl(demo::TOKEN, &format!("{}?strip=a..b", demo::CALL))?;
        say!("What the operator sees, and a purge of one call in every scope:");
        say!("curl -sS http://{admin}/metrics | grep -E 'requests_total|cache_'");
        say!(
            "curl -sS -X POST 'http://{admin}/purge?call={}'",
            demo::CALL
        );
        say!("\nCtrl-C ends it.");
        Ok(())
    }
}
