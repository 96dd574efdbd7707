//! Requests that two readers could cut or understand differently, over real sockets: each is
//! refused before anything of it goes on, or goes on as exactly one request.
//!
//! The oracle is the origin: what it received, byte by byte, and in which order.

mod http2;
mod rows;

use crate::support::{Origin, OriginRequest, Proxy, RawConnection};

/// What becomes of a request.
enum Then {
    /// It is answered with this status and this type of problem, nothing of it reaches the
    /// origin, and the connection ends.
    Refused(u16, &'static str),
    /// The same, but it is noticed in the body, when the origin may have been sent a part.
    BrokenOff,
    /// The origin receives this: request line and fields, without those that the proxy makes,
    /// each with a line of its own; an empty line; the body. The connection goes on.
    Reaches(&'static str),
}

use Then::{BrokenOff, Reaches, Refused};

/// How the bytes of a request come.
#[derive(Clone, Copy, Debug)]
enum Manner {
    AtOnce,
    /// Behind a request that is answered, in the same write.
    Pipelined,
    /// In as many writes as there are bytes, unless these are very many.
    ByteByByte,
}

const FIRST: &str = "GET /v1/first HTTP/1.1\r\nhost: a\r\n\r\n";
/// What would be smuggled, or is the next request. It is the last one.
const NEXT: &str = "GET /v1/next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn every_request_is_read_in_one_way_or_not_at_all() {
    let origin = Origin::start().await;
    let proxy = Proxy::start(&origin).await;
    let (mut rows, mut faults) = (0, Vec::new());
    for (request, then) in rows::all() {
        rows += 1;
        for manner in [Manner::AtOnce, Manner::Pipelined, Manner::ByteByByte] {
            if matches!(manner, Manner::ByteByByte) && request.len() > 4 << 10 {
                continue;
            }
            let before = origin.requests().len();
            let answer = send(&proxy, &request, manner).await;
            let seen = origin.requests().split_off(before);
            if let Err(fault) = judge(&then, manner, &answer, &seen) {
                let request = String::from_utf8_lossy(&request[..request.len().min(200)]);
                faults.push(format!(
                    "{manner:?} {request:?}: {fault}\nanswer: {answer:?}\norigin: {seen:?}\n"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(rows >= 150, "{rows} rows");
    // Nothing has had to be answered by hyper, which has no document for it.
    let malformed = "stuut_cache_connections_closed_total{reason=\"malformed\"}";
    assert_eq!(proxy.metric(malformed).await.to_string(), "0");
    proxy.wait_for_metric("stuut_cache_connections", 0).await;
    assert_eq!(proxy.metric("stuut_cache_in_flight").await.to_string(), "0");
}

/// Sends a request and the next one, and reads to the end of the connection.
async fn send(proxy: &Proxy, request: &[u8], manner: Manner) -> String {
    let mut client = proxy.raw_connection().await;
    let all = [request, NEXT.as_bytes()].concat();
    match manner {
        Manner::AtOnce => client.send(all).await,
        Manner::Pipelined => client.send([FIRST.as_bytes(), &all].concat()).await,
        Manner::ByteByByte => byte_by_byte(&mut client, &all).await,
    }
    client.read_to_end().await
}

async fn byte_by_byte(client: &mut RawConnection, bytes: &[u8]) {
    for byte in bytes {
        // The proxy may have ended the connection by now.
        if client.try_send([*byte]).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn judge(then: &Then, manner: Manner, answer: &str, seen: &[OriginRequest]) -> Result<(), String> {
    let answer = answer.replace("HTTP/1.0 ", "HTTP/1.1 ");
    let statuses: Vec<_> = answer
        .split("HTTP/1.1 ")
        .filter_map(|behind| behind.get(..3))
        .filter(|status| status.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    let before = usize::from(matches!(manner, Manner::Pipelined));
    let behind_first = statuses.split_at_checked(before).zip(seen.get(before..));
    let Some(((["200"] | [], statuses), seen)) = behind_first else {
        return Err("the first request is not answered".to_owned());
    };
    let (status, slug) = match then {
        Refused(status, slug) => (*status, *slug),
        BrokenOff => (400, "http_request_error"),
        Reaches(expected) => {
            let [request, next] = seen else {
                return Err("two requests do not reach the origin".to_owned());
            };
            let received = received(request)?;
            return if received != *expected {
                Err(format!("the origin received {received:?}"))
            } else if next.target() != "/v1/next" || statuses != ["200", "200"] {
                Err("the next request is not answered".to_owned())
            } else {
                Ok(())
            };
        }
    };
    if !seen.is_empty() {
        return Err("something has reached the origin".to_owned());
    }
    let parts = [
        "\r\nconnection: close\r\n",
        "\r\ncontent-type: application/problem+json\r\n",
        &format!("urn:stuut-cache:{slug}\""),
    ];
    if statuses != [status.to_string()] || !parts.iter().all(|part| answer.contains(part)) {
        return Err(format!("it is not answered by {status} {slug} alone"));
    }
    Ok(())
}

/// What the origin has received, as the rows write it.
fn received(seen: &OriginRequest) -> Result<String, String> {
    let ours = ["host: 127.0.0.1:", "via: ", "x-request-id: "];
    let lines: Vec<_> = seen.head.split("\r\n").collect();
    for ours in ours {
        if lines.iter().filter(|line| line.starts_with(ours)).count() != 1 {
            return Err(format!("not one {ours:?}"));
        }
    }
    let mut kept: Vec<_> = lines
        .into_iter()
        .filter(|line| !line.is_empty() && !ours.iter().any(|ours| line.starts_with(ours)))
        .collect();
    // Fields of different names stand in no order.
    kept[1..].sort_unstable();
    let body = String::from_utf8_lossy(&seen.body);
    Ok(format!("{}\n\n{body}{}", kept.join("\n"), seen.trailers))
}
