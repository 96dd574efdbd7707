//! Request smuggling over real sockets: every ambiguous request is rejected before any of it is
//! forwarded, or forwarded as exactly one request.
//!
//! The origin is the oracle: the bytes that it received, in order.

mod http2;
mod rows;

use crate::support::{Origin, OriginRequest, Proxy, RawConnection};

/// The expected result of a request.
enum Expected {
    /// The response has this status and problem type, nothing reaches the origin, and the
    /// connection closes.
    Refused(u16, &'static str),
    /// The same, but the fault is in the body, part of which the origin may have received.
    BadBody,
    /// The origin receives this: the request line and the fields, one per line, without those
    /// that the proxy adds; an empty line; the body. The connection stays open.
    Reaches(&'static str),
}

use Expected::{BadBody, Reaches, Refused};

/// How the bytes of a request arrive.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    AtOnce,
    /// After a valid request, in the same write.
    Pipelined,
    /// One byte per write; large requests are left out.
    ByteByByte,
}

const FIRST: &str = "GET /v1/first HTTP/1.1\r\nhost: a\r\n\r\n";
/// The last request; after a malformed one it would be the smuggled one.
const NEXT: &str = "GET /v1/next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn every_http1_request_is_rejected_or_forwarded_as_exactly_one() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let (mut rows, mut faults) = (0, Vec::new());
    for (request, expected) in rows::all() {
        rows += 1;
        for delivery in [Delivery::AtOnce, Delivery::Pipelined, Delivery::ByteByByte] {
            if matches!(delivery, Delivery::ByteByByte) && request.len() > 4 << 10 {
                continue;
            }
            let before = origin.requests().len();
            let answer = send(&proxy, &request, delivery).await;
            let forwarded = origin.requests().split_off(before);
            if let Err(fault) = check(&expected, delivery, &answer, &forwarded) {
                let request = String::from_utf8_lossy(&request[..request.len().min(200)]);
                faults.push(format!(
                    "{delivery:?} {request:?}: {fault}\nresponse: {answer:?}\norigin: {forwarded:?}\n"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(rows >= 150, "{rows} rows");
    // hyper answered none of them: its responses have no problem document.
    let malformed = "stuut_cache_connections_closed_total{reason=\"malformed\"}";
    assert_eq!(proxy.metric(malformed).await.to_string(), "0");
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
    assert_eq!(proxy.metric("stuut_cache_in_flight").await.to_string(), "0");
}

/// Sends a request and `NEXT`, and reads until the connection closes.
async fn send(proxy: &Proxy, request: &[u8], delivery: Delivery) -> String {
    let mut client = proxy.raw_connection().await;
    let all = [request, NEXT.as_bytes()].concat();
    match delivery {
        Delivery::AtOnce => client.send(all).await,
        Delivery::Pipelined => client.send([FIRST.as_bytes(), &all].concat()).await,
        Delivery::ByteByByte => byte_by_byte(&mut client, &all).await,
    }
    client.read_to_end().await
}

async fn byte_by_byte(client: &mut RawConnection, bytes: &[u8]) {
    for byte in bytes {
        // The proxy may have closed the connection.
        if client.try_send([*byte]).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn check(
    expected: &Expected,
    delivery: Delivery,
    answer: &str,
    forwarded: &[OriginRequest],
) -> Result<(), String> {
    let answer = answer.replace("HTTP/1.0 ", "HTTP/1.1 ");
    let statuses: Vec<_> = answer
        .split("HTTP/1.1 ")
        .filter_map(|rest| rest.get(..3))
        .filter(|status| status.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    let before = usize::from(matches!(delivery, Delivery::Pipelined));
    let after_first = statuses
        .split_at_checked(before)
        .zip(forwarded.get(before..));
    let Some(((["200"] | [], statuses), forwarded)) = after_first else {
        return Err("the first request was not answered".to_owned());
    };
    let (status, slug) = match expected {
        Refused(status, slug) => (*status, *slug),
        BadBody => (400, "http_request_error"),
        Reaches(text) => {
            let [request, next] = forwarded else {
                return Err("the origin did not receive exactly two requests".to_owned());
            };
            let received = received(request)?;
            return if received != *text {
                Err(format!("the origin received {received:?}"))
            } else if next.target() != "/v1/next" || statuses != ["200", "200"] {
                Err("the next request was not answered".to_owned())
            } else {
                Ok(())
            };
        }
    };
    if !forwarded.is_empty() {
        return Err("the origin received a request".to_owned());
    }
    let parts = [
        "\r\nconnection: close\r\n",
        "\r\ncontent-type: application/problem+json\r\n",
        &format!("urn:stuut-cache:{slug}\""),
    ];
    if statuses != [status.to_string()] || !parts.iter().all(|part| answer.contains(part)) {
        return Err(format!("expected a single response, {status} {slug}"));
    }
    Ok(())
}

/// A request that the origin received, in the format of [`Expected::Reaches`].
fn received(request: &OriginRequest) -> Result<String, String> {
    let added = ["host: 127.0.0.1:", "via: ", "x-request-id: "];
    let lines: Vec<_> = request.head.split("\r\n").collect();
    for name in added {
        if lines.iter().filter(|line| line.starts_with(name)).count() != 1 {
            return Err(format!("expected one {name:?}"));
        }
    }
    let mut kept: Vec<_> = lines
        .into_iter()
        .filter(|line| !line.is_empty() && !added.iter().any(|name| line.starts_with(name)))
        .collect();
    // The order of fields with different names is not significant.
    kept[1..].sort_unstable();
    let body = String::from_utf8_lossy(&request.body);
    Ok(format!("{}\n\n{body}{}", kept.join("\n"), request.trailers))
}
