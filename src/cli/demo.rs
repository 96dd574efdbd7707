//! `demo`: the proxy in front of a simulated API, over real sockets, without account or network.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use futures_util::future::join_all;
use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::Full;
use stuut_simulator::{Options, Simulator, demo, serve};
use tokio_util::sync::CancellationToken;

use super::admin_client::{HttpClient, MAX_BODY, http_client, send};
use super::print;
use super::serve::{log, run_to_end, stop_signal};
use crate::clock::Clock;
use crate::config::{Config, LogFormat, LogLevel, OriginUrl, parse_address};
use crate::process::{Process, Sockets};

/// Latency of the simulated API.
const LATENCY: Duration = Duration::from_millis(80);

/// The interval of requests after the tour.
const TRAFFIC: Duration = Duration::from_millis(250);

macro_rules! print_line {
    ($($text:tt)*) => {
        print(format!($($text)*) + "\n")?
    };
}

mod replicas;

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Address the proxy listens on; port 0 lets the system choose [default: 127.0.0.1:8080, or another
    /// port if that is in use]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Address of the admin listener: dashboard, metrics, health, purge [default: 127.0.0.1:9090, or
    /// another port if that is in use]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    admin_listen: Option<SocketAddr>,
    /// Number of replicas, on successive ports; they share a Redis or Valkey if one is in PATH
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    replicas: u16,
    /// Exit after the tour instead of running until Ctrl-C
    #[arg(long)]
    tour: bool,
}

pub(super) fn run(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    run_to_end(0, demonstrate(arguments))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulated API has a clock of its own"
)]
async fn demonstrate(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    let options = Options {
        latency: LATENCY,
        ..Options::default()
    };
    let simulator = Simulator::new(options, SystemTime::now);
    let listener = crate::server::listen("the simulator", (Ipv4Addr::LOCALHOST, 0).into())?;
    let origin = format!("http://{}", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    let simulating = tokio::spawn(serve(listener, simulator.clone(), shutdown.clone()));

    let config = configuration(arguments, &origin)?;
    print_line!("simulated Stuut API on {origin}, latency {LATENCY:?}");
    let (processes, writers, engine) = if arguments.replicas > 1 {
        replicas::start(arguments.replicas, config).await?
    } else {
        let writer = log(&config.log)?;
        let process = Process::start(&config, &Clock::system(), Some(&writer), Sockets::default())?;
        let (address, admin) = (process.address, process.admin_address);
        print_line!("stuut-cache on http://{address}, dashboard on http://{admin}/\n");
        tour(&format!("http://{address}"), &simulator).await?;
        (vec![process], vec![writer], None)
    };
    if !arguments.tour {
        let base = format!("http://{}", processes[0].address);
        print_examples(&base, processes[0].admin_address)?;
        tokio::select! {
            stopped = stop_signal() => stopped?,
            () = send_traffic(&base) => {}
        }
    }
    join_all(processes.into_iter().map(Process::stop)).await;
    drop((engine, writers));
    shutdown.cancel();
    simulating.await.context("the simulator panicked")?;
    Ok(ExitCode::SUCCESS)
}

fn configuration(arguments: &DemoArguments, origin: &str) -> anyhow::Result<Config> {
    let mut config = Config::default();
    let count = arguments.replicas;
    config.server.listen = address(arguments.listen, "--listen", 8080, count)?;
    config.admin.listen = address(arguments.admin_listen, "--admin-listen", 9090, count)?;
    config.upstream.url = OriginUrl::parse(origin).map_err(anyhow::Error::msg)?;
    // The simulated calls are queued for 3 s.
    config.freshness.status.queued = Duration::from_secs(2);
    config.log.format = LogFormat::Text;
    config.log.level = LogLevel::Warn;
    config.log.access = false;
    Ok(config)
}

/// The address to listen on: one that the system chooses if the usual ports are in use.
fn address(
    chosen: Option<SocketAddr>,
    flag: &str,
    port: u16,
    count: u16,
) -> anyhow::Result<SocketAddr> {
    if let Some(chosen) = chosen {
        return Ok(chosen);
    }
    let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let used = (port..port + count).find(|port| TcpListener::bind(on(*port)).is_err());
    let Some(used) = used else {
        return Ok(on(port));
    };
    print_line!("port {used} is in use: the system chooses another one; {flag} sets it");
    Ok(on(0))
}

/// Sends a few requests a second, so that the dashboard has something to show.
async fn send_traffic(base: &str) {
    let client = http_client();
    let call = |number| format!("call_acme_{:04}", 1 + number % 12);
    for number in 0_u32.. {
        tokio::time::sleep(TRAFFIC).await;
        let target = match number % 8 {
            0 | 4 => demo::LIVE_CALL.to_owned(),
            2 => call(number * number) + "?view=light",
            6 => demo::LARGE_CALL.to_owned() + "?fields=id,status",
            _ => call(number * number),
        };
        let token = [demo::TOKEN, demo::SECOND_TOKEN][usize::from(number % 3 == 0)];
        let request = Request::get(format!("{base}/v1/calls/{target}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::default());
        let Ok(request) = request else { return };
        // The dashboard shows failures.
        let _ = send(&client, request, MAX_BODY).await;
    }
}

/// Sends one request for each case, and prints the response.
async fn tour(base: &str, simulator: &Simulator) -> anyhow::Result<()> {
    let client = http_client();
    let get =
        |title, query: &str, token| get(&client, title, base, demo::CALL.to_owned() + query, token);
    let miss = get(
        "a miss: fetched from the origin and stored",
        "",
        demo::TOKEN,
    )
    .await?;
    let hit = get("a hit: the same bytes from memory", "", demo::TOKEN).await?;
    ensure!(hit == miss, "a hit differs from the stored response");
    let light = get(
        "a hit on the same stored response, with large fields removed",
        "?strip=invoices,**.linked_integration",
        demo::TOKEN,
    );
    let (whole, light) = (hit.len(), light.await?.len());
    let saved = 100 - 100 * light / whole;
    print_line!("   {whole} -> {light} bytes: {saved} % less\n");
    let fields = get(
        "a hit with only the requested fields",
        "?fields=id,status,partner(id,name)",
        demo::TOKEN,
    );
    print_line!("   {}\n", String::from_utf8_lossy(&fields.await?));
    get(
        "another token of the same organisation: stored separately, so a miss",
        "",
        demo::SECOND_TOKEN,
    )
    .await?;
    get(
        "a token of another organisation: a 404 from the origin",
        "",
        demo::FOREIGN_TOKEN,
    )
    .await?;
    let fetches = simulator.requests().total();
    print_line!("   {fetches} of 6 requests reached the origin\n");
    let live = format!(
        "{}?fields=id,status&wait=status:in_progress",
        demo::LIVE_CALL
    );
    let title = "one request that waits, about ten seconds, until a new call is answered";
    let answered = self::get(&client, title, base, live, demo::TOKEN).await?;
    print_line!("   {}\n", String::from_utf8_lossy(&answered));
    Ok(())
}

/// Prints the status, size, time and `Cache-Status` of a response, and returns its body.
#[expect(clippy::disallowed_methods, reason = "the time that a client measures")]
async fn get(
    client: &HttpClient,
    title: &str,
    base: &str,
    call: String,
    token: &str,
) -> anyhow::Result<Bytes> {
    let request = Request::get(format!("{base}/v1/calls/{call}"))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::default())?;
    let sent = Instant::now();
    let response = send(client, request, MAX_BODY).await;
    let (head, body) = response.map_err(anyhow::Error::msg)?.into_parts();
    let (status, bytes, millis) = (head.status, body.len(), sent.elapsed().as_secs_f64() * 1e3);
    print_line!("-- {title}\n   GET /v1/calls/{call}   (token {token})");
    print_line!("   {status} · {bytes} bytes · {millis:.1} ms");
    for name in ["cache-status", "age", "stuut-cache-wait"] {
        if let Some(value) = head.headers.get(name) {
            print_line!("   {name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    print("\n")?;
    Ok(body)
}

/// Prints commands to try next.
fn print_examples(base: &str, admin: SocketAddr) -> anyhow::Result<()> {
    let (call, live) = (demo::CALL, demo::LIVE_CALL);
    let curl = |call: &str| {
        let token = demo::TOKEN;
        format!(
            "curl -isS -H 'Authorization: Bearer {token}' '{base}/v1/calls/{call}' | head -c 1000"
        )
    };
    print_line!(
        "Try it, and watch Cache-Status. A call in progress, whose lifetime follows its status; \
         and a request that waits for its end:\n\
         {}\n\
         {}\n\
         The view `light`, and an invalid view:\n\
         {}\n\
         {}\n\
         The metrics, and a purge of one call for every token:\n\
         curl -sS http://{admin}/metrics | grep -E 'requests_total|cache_'\n\
         curl -sS -X POST 'http://{admin}/purge?call={call}'\n\n\
         Four requests a second go on, for the dashboard: http://{admin}/\n\
         Press Ctrl-C to stop.",
        curl(live),
        curl(&format!("{live}?fields=id,status&wait=status:ended")),
        curl(&format!("{call}?view=light")),
        curl(&format!("{call}?strip=a..b")),
    );
    Ok(())
}
