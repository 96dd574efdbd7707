//! The load over HTTP/2 without TLS, by prior knowledge: one connection, several streams.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::Result;
use crate::load::{Answer, Get};

/// Concurrent streams of the one connection: as many as HTTP/1.1 has connections.
const STREAMS: usize = crate::load::CONNECTIONS;

/// Time limit of a round.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Sends one request on a new connection.
pub(crate) fn fetch(address: SocketAddr, get: &Get) -> Result<Answer> {
    block_on(async {
        let mut sender = connect(address).await?;
        let response = sender.send_request(request(get)?).await?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await?.to_bytes().to_vec(),
        })
    })
}

/// Sends the requests of a round; returns the number of responses, all of them 200.
pub(crate) fn spread(address: SocketAddr, requests: usize, get: &Get) -> Result<usize> {
    let each = requests / STREAMS;
    block_on(async {
        let sender = connect(address).await?;
        let streams: Vec<_> = (0..STREAMS)
            .map(|_| {
                let (mut sender, get) = (sender.clone(), get.clone());
                tokio::spawn(async move {
                    for _ in 0..each {
                        sender.ready().await?;
                        let response = sender.send_request(request(&get)?).await?;
                        if response.status() != 200 {
                            return Err(format!("status {}", response.status()).into());
                        }
                        let mut body = response.into_body();
                        while let Some(frame) = body.frame().await {
                            frame?;
                        }
                    }
                    Result::Ok(())
                })
            })
            .collect();
        for stream in streams {
            stream.await??;
        }
        Ok(each * STREAMS)
    })
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            tokio::time::timeout(TIMEOUT, work)
                .await
                .map_err(|_| format!("not finished within {TIMEOUT:?}"))?
        })
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await?;
    // Ends when the last sender is dropped; its errors are returned by the senders.
    tokio::spawn(connection);
    Ok(sender)
}

fn request(get: &Get) -> Result<Request<Empty<Bytes>>> {
    let request = Request::get(format!("http://bench{}", get.target))
        .header(AUTHORIZATION, format!("Bearer {}", get.token))
        .header("accept", "*/*");
    let request = match get.codings {
        Some(codings) => request.header("accept-encoding", codings),
        None => request,
    };
    Ok(request.body(Empty::new())?)
}
