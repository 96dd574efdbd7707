//! The dashboard in a real browser: its figures, its requests, its looks.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::time::SystemTime;

use http::Method;
use serde_json::{Value, json};
use stuut_simulator::{Options, Simulator, demo, serve};
use tokio_util::sync::CancellationToken;

use crate::support::{Page, Program};

const CALL: &str = "/v1/calls/call_acme_0001";

/// Starts the program in front of the simulated API.
async fn start(variables: &[(&str, &str)]) -> Program {
    let listener = stuut_cache::server::listen("the simulator", (Ipv4Addr::LOCALHOST, 0).into());
    let listener = listener.expect("a port is free");
    let url = format!(
        "http://{}",
        listener
            .local_addr()
            .expect("a bound socket has an address")
    );
    let simulator = Simulator::new(Options::default(), SystemTime::now);
    tokio::spawn(serve(listener, simulator, CancellationToken::new()));
    Program::in_front_of(&url, variables).await
}

/// Sends some of every kind of traffic that the page shows.
async fn send_traffic(program: &Program) {
    for round in 0..12 {
        for number in [1, 2, 3, 6, 7, 11] {
            let target = format!("/v1/calls/call_acme_{number:04}");
            let token = [demo::TOKEN, demo::SECOND_TOKEN][round % 2];
            let gzip = ["identity", "gzip"][round % 2];
            let request = program.get(&target).bearer(token);
            request.header("accept-encoding", gzip).await;
            program
                .get(&format!("{target}?view=light"))
                .bearer(token)
                .await;
        }
        program.get("/v1/calls?limit=2").bearer(demo::TOKEN).await;
        program
            .get(&format!("{CALL}?strip=a..b"))
            .bearer(demo::TOKEN)
            .await;
    }
    let fault = "/v1/calls/call_fault_500_acme_0001";
    program
        .get(fault)
        .bearer(demo::TOKEN)
        .await
        .assert_status(500);
}

/// Opens the page and waits until it shows some history.
fn open_populated(page: &mut Page, program: &Program) {
    page.navigate(&format!("http://{}/", program.admin));
    page.wait_until("document.documentElement.dataset.polls >= 3");
    page.wait_until("document.querySelector('#chart-requests path[d*=V]')");
}

async fn metric(program: &Program, wanted: &str) -> u64 {
    let text = program.admin(Method::GET, "/metrics").await.text();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let values = lines
        .filter(|(name, _)| {
            name.starts_with("stuut_cache_requests_total{") && name.contains(wanted)
        })
        .map(|(_, value)| value.parse::<u64>().expect("a count"));
    values.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_agrees_with_the_metrics_and_loads_nothing_external() {
    let Some(mut page) = Page::open("dashboard: what it shows") else {
        return;
    };
    let program = start(&[]).await;
    send_traffic(&program).await;
    open_populated(&mut page, &program);
    for outcome in [
        "hit", "stale", "miss", "expired", "bypass", "refused", "failed",
    ] {
        let shown = page.text(&format!("[data-outcome={outcome}] td:last-child"));
        let counted = metric(&program, &format!("outcome=\"{outcome}\"")).await;
        assert_eq!(shown.replace(',', ""), counted.to_string(), "{outcome}");
    }
    assert!(metric(&program, "outcome=\"hit\"").await > 100);
    let share = page.text("#fields tr:first-child td:last-child");
    assert_eq!(page.text("#fields tr:first-child th").trim(), "invoices");
    assert!(share.ends_with('%'), "{share}");
    assert!(page.text("#strip").starts_with("?strip=invoices,"));
    page.click("#fields tr:first-child input");
    page.wait_until("!document.querySelector('#strip').innerText.includes('invoices')");
    // A click on a busy path explains it.
    page.wait_until("document.querySelector('#callers tr td')");
    page.click("#paths [data-path$=call_acme_0001]");
    page.wait_until("document.querySelector('#explained').innerText.includes('stored responses')");
    assert!(
        page.text("#attention").contains("origin"),
        "one in a few failed"
    );

    let own = format!("http://{}/", program.admin);
    let requests = page.requests();
    assert!(
        requests.iter().any(|url| url.contains("/stats?after=")),
        "{requests:?}"
    );
    let external: Vec<_> = requests
        .iter()
        .filter(|url| !url.starts_with(&own))
        .collect();
    assert!(external.is_empty(), "{external:?}");
    assert_eq!(page.console_errors(), Vec::<String>::new());

    // The open page shows that the process has exited.
    program.stop();
    page.wait_until("document.querySelector('#state').innerText === 'No response'");
    assert!(page.text("#attention").contains("is the process up?"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_purge_form_needs_the_admin_token() {
    let Some(mut page) = Page::open("dashboard: the purge form") else {
        return;
    };
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(file, "correct-horse").expect("the file is writable");
    let path = file.path().to_str().expect("a path of text");
    let program = start(&[("ADMIN__TOKEN_FILE", path)]).await;
    program.get(CALL).bearer(demo::TOKEN).await.assert_miss();
    page.navigate(&format!("http://{}/", program.admin));
    page.wait_until("document.documentElement.dataset.polls >= 1");

    page.fill("#which", "call_acme_0001");
    page.click("#token-row summary");
    page.fill("#token", "battery-staple");
    page.click("#purge-button");
    page.wait_until("document.querySelector('#purged').innerText.startsWith('401: ')");
    program.get(CALL).bearer(demo::TOKEN).await.assert_hit();

    page.fill("#token", "correct-horse");
    page.click("#purge-button");
    page.wait_until("document.querySelector('#purged').innerText.includes('call=call_acme_0001')");
    program.get(CALL).bearer(demo::TOKEN).await.assert_miss();

    // Purging everything needs a confirmation.
    page.click("[value=all] + span");
    page.click("#purge-button");
    program.get(CALL).bearer(demo::TOKEN).await.assert_hit();
    page.click("#sure");
    page.click("#purge-button");
    page.wait_until("document.querySelector('#purged').innerText.includes(': all (')");
    program.get(CALL).bearer(demo::TOKEN).await.assert_miss();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_nothing_without_a_token_that_reading_needs() {
    let Some(mut page) = Page::open("dashboard: a token to read") else {
        return;
    };
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(file, "correct-horse").expect("the file is writable");
    let path = file.path().to_str().expect("a path of text");
    let program = start(&[("ADMIN__TOKEN_FILE", path), ("ADMIN__TOKEN_FOR", "all")]).await;
    page.navigate(&format!("http://{}/", program.admin));
    page.wait_until("document.querySelector('#token-row').open");
    page.wait_until("document.querySelector('#state').innerText === 'The admin token is missing'");
    page.fill("#token", "correct-horse");
    page.wait_until(
        "document.querySelector('#state').innerText === 'No response of the origin yet'",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_purge_form_needs_no_token_on_loopback() {
    let Some(mut page) = Page::open("dashboard: a purge on loopback") else {
        return;
    };
    let program = start(&[]).await;
    program.get(CALL).bearer(demo::TOKEN).await.assert_miss();
    page.navigate(&format!("http://{}/", program.admin));
    page.wait_until("document.documentElement.dataset.polls >= 1");
    page.fill("#which", "call_acme_0001");
    page.click("#purge-button");
    page.wait_until("document.querySelector('#purged').className === 'good'");
    program.get(CALL).bearer(demo::TOKEN).await.assert_miss();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_explain_box_says_what_explain_says() {
    let Some(mut page) = Page::open("dashboard: the explain box") else {
        return;
    };
    let program = start(&[]).await;
    program.get(CALL).bearer(demo::TOKEN).await.assert_miss();
    page.navigate(&format!("http://{}/", program.admin));
    for (path, shown) in [
        (
            CALL,
            [
                "stored responses are listed",
                "signed until",
                "next request\nhit",
            ],
        ),
        ("/v1/calls/none", ["nothing is stored", "miss", "{call_id}"]),
        ("/v1/partners", ["no cacheable route", "forwarded", ""]),
        ("v1", ["400: ", "path", ""]),
    ] {
        page.fill("#explain-path", path);
        page.click("#explain button");
        for text in shown {
            page.wait_until(&format!(
                "document.querySelector('#explained').innerText.includes({text:?})"
            ));
        }
    }
    assert_eq!(page.console_errors().len(), 1, "the 400");
}

/// The screenshots are kept in `target/tmp`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_is_legible_in_light_and_dark_and_on_a_phone() {
    let Some(mut page) = Page::open("dashboard: how it looks") else {
        return;
    };
    let program = start(&[]).await;
    for (name, width, height, scheme) in [
        ("dashboard-light", 1_280, 900, "light"),
        ("dashboard-dark", 1_280, 900, "dark"),
        ("dashboard-phone", 390, 844, "dark"),
        ("dashboard-phone-light", 390, 844, "light"),
    ] {
        send_traffic(&program).await;
        page.set_window(width, height, scheme);
        open_populated(&mut page, &program);
        let wide = page.evaluate("document.documentElement.scrollWidth");
        assert_eq!(wide, json!(width), "{name}: it scrolls horizontally");
        let small = page.evaluate(CHARTS_TOO_SMALL);
        assert_eq!(small, json!([]), "{name}: charts too small to read");
        assert_eq!(
            page.evaluate(LOW_CONTRAST),
            json!([]),
            "{name}: text with too little contrast"
        );
        assert_eq!(
            page.evaluate(UNNAMED_CONTROLS),
            json!([]),
            "{name}: controls without an accessible name"
        );
        let landmarks = page.evaluate(LANDMARKS);
        assert_eq!(
            landmarks,
            json!([1, 1, 1, 1]),
            "{name}: header, main, nav, footer"
        );
        let rows = distinct_rows(&page.screenshot(name));
        assert!(rows > 300, "{name}: blank, with {rows} distinct rows");
    }
    // All charts show the values of the time under the cursor.
    let at = page.evaluate(
        "(() => { const it = document.querySelector('#chart-ratio > svg'); \
         it.scrollIntoView({block: 'center'}); const at = it.getBoundingClientRect(); \
         return [at.x + at.width - 5, at.y + 50]; })()",
    );
    page.move_to(&at);
    page.wait_until("document.querySelectorAll('.cursor[visibility=visible]').length === 8");
    let times =
        page.evaluate("[...document.querySelectorAll('.cursor text')].map(it => it.textContent)");
    let times: HashSet<_> = times.as_array().expect("texts").iter().collect();
    assert_eq!(times.len(), 1, "one time: {times:?}");
    page.evaluate("document.querySelector('#chart-requests details').open = true");
    page.wait_until("document.querySelectorAll('#chart-requests tbody tr').length >= 3");
    assert_eq!(page.console_errors(), Vec::<String>::new());
}

const CHARTS_TOO_SMALL: &str = "[...document.querySelectorAll('figure > svg')].filter(it => it.clientWidth < 280 || \
     it.clientHeight < 150 || !it.getAttribute('aria-label')).map(it => it.parentElement.id)";

const LANDMARKS: &str = "['body > header', 'main', 'footer nav', 'body > footer'].map(it => document.querySelectorAll(it).length)";

/// Controls without a name for a screen reader.
const UNNAMED_CONTROLS: &str = "[...document.querySelectorAll('input, button, meter')].filter(it => \
     !it.labels?.length && !it.getAttribute('aria-label') && !it.innerText).map(it => it.outerHTML)";

/// Text whose contrast to its background is below WCAG 2.2, 1.4.3.
const LOW_CONTRAST: &str = r"(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const channels = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = channels(colour).map((one) => one / 255).map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (it) => {
    for (; it; it = it.parentElement) {
      const colour = getComputedStyle(it).backgroundColor;
      if (channels(colour)[3] === 255) return colour;
    }
    return 'white';
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const it = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !it.checkVisibility?.() || it.closest('noscript, script, .unseen')) continue;
    const style = getComputedStyle(it);
    const [one, other] = [light(it instanceof SVGElement ? style.fill : style.color), light(behind(it))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push(`${texts.currentNode.data.trim()}: ${contrast.toFixed(2)}`);
  }
  return found;
})()";

/// The number of distinct pixel rows of a PNG; a blank page has very few.
fn distinct_rows(png: &[u8]) -> usize {
    let number = |at: usize| -> usize {
        let four = png[at..].first_chunk().expect("four bytes");
        usize::try_from(u32::from_be_bytes(*four)).expect("a length")
    };
    let width = number(16);
    let channels = match png[25] {
        2 => 3,
        6 => 4,
        other => panic!("a picture of colour type {other}"),
    };
    let mut packed = Vec::new();
    let mut at = 8;
    while at < png.len() {
        let (length, kind) = (number(at), &png[at + 4..at + 8]);
        if kind == b"IDAT" {
            packed.extend_from_slice(&png[at + 8..at + 8 + length]);
        }
        at += 12 + length;
    }
    let mut rows = Vec::new();
    let read = flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut rows);
    read.expect("a complete picture");
    let distinct: HashSet<_> = rows.chunks(1 + width * channels).collect();
    distinct.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_contain_no_token_and_no_body() {
    let program = start(&[]).await;
    send_traffic(&program).await;
    let stats = program.admin(Method::GET, "/stats?after=0").await;
    let text = stats.text();
    let parsed: Value = stats.json();
    assert!(
        parsed["total"]["requests"]["hit"].as_u64() > Some(100),
        "{text}"
    );
    let call = program.get(CALL).bearer(demo::TOKEN).await.json();
    for secret in [demo::TOKEN, demo::SECOND_TOKEN, "call_acme_0001"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let name = call["partner"]["name"]
        .as_str()
        .expect("a partner has a name");
    assert!(!text.contains(name), "{name}");
}
