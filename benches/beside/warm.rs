//! Before a measurement: fills every cache, and checks that it serves hits with the bytes of the
//! origin.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::body::BodySpec;
use crate::h2;
use crate::load::{Answer, Connection, Get, Wire};
use crate::process::Server;
use crate::setup::Column;
use crate::tls;

/// Maximum number of requests until a hit or a content coding, and the pause in between.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// Sends one request on a new connection.
pub(crate) fn fetch_once(server: &Server, wire: Wire, get: &Get) -> Result<Answer> {
    let answer = match wire {
        Wire::H1 => Connection::open(server.address)?.fetch(&get.bytes()),
        Wire::H2 => h2::fetch(server.address, get),
        Wire::Tls => tls::open(server.address)?.fetch(&get.bytes()),
    };
    answer.map_err(|error| {
        let (who, messages) = (server.column.name(), server.messages());
        format!("{who}, {}: {error}\n{messages}", get.target).into()
    })
}

/// Repeats the request until the response is a hit in the requested coding.
///
/// # Errors
///
/// If it never is, or its body is not the origin's.
pub(crate) fn hit(server: &Server, wire: Wire, get: &Get) -> Result<Answer> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let answer = fetch_once(server, wire, get)?;
        if answer.status == 200 && server.column.is_hit(&answer) && is_coded(get, &answer) {
            check(server.column, get, &answer)?;
            return Ok(answer);
        }
        last = format!("{} {:?}", answer.status, answer.headers);
        thread::sleep(PAUSE);
    }
    let who = server.column.name();
    Err(format!("{who} never answered {get:?} with a hit; the last response: {last}").into())
}

/// Repeats the request until the response has the content coding; returns whether it ever has. The
/// coding may be made after the first response, or never.
pub(crate) fn becomes_coded(server: &Server, wire: Wire, get: &Get) -> Result<bool> {
    for _ in 0..TRIES {
        if is_coded(get, &fetch_once(server, wire, get)?) {
            return Ok(true);
        }
        thread::sleep(PAUSE);
    }
    Ok(false)
}

/// Sends all of these requests, then checks that every `step`-th is a hit.
pub(crate) fn fill(server: &Server, gets: &[Get], step: usize) -> Result<()> {
    let mut connection = Connection::open(server.address)?;
    for get in gets {
        let answer = connection.fetch(&get.bytes())?;
        if answer.status != 200 {
            let (who, status) = (server.column.name(), answer.status);
            return Err(format!("{who} answered {get:?} with {status}").into());
        }
    }
    for get in gets.iter().step_by(step) {
        hit(server, Wire::H1, get)?;
    }
    Ok(())
}

/// Prepares a response of the bare server: these fields, this body.
pub(crate) fn ready(bare: &Server, target: &str, answer: &Answer) -> Result<()> {
    let mut connection = Connection::open(bare.address)?;
    put(&mut connection, target, answer)
}

/// The same, on an open connection.
pub(crate) fn put(bare: &mut Connection, target: &str, answer: &Answer) -> Result<()> {
    let mut request = format!("PUT {target} HTTP/1.1\r\nhost: bench\r\n").into_bytes();
    for (name, value) in &answer.headers {
        // Sent below.
        if name == "content-length" {
            continue;
        }
        request.extend_from_slice(name.as_str().as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    let length = answer.body.len();
    request.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
    request.extend_from_slice(&answer.body);
    let answer = bare.fetch(&request)?;
    if answer.status == 200 {
        Ok(())
    } else {
        Err(format!(
            "bare hyper answered the PUT of {target} with {}",
            answer.status
        )
        .into())
    }
}

fn is_coded(get: &Get, answer: &Answer) -> bool {
    let coding = answer.field("content-encoding");
    get.codings.is_none_or(|requested| requested == coding)
}

/// Checks that a body is the origin's: all of it, or the member that a view leaves.
fn check(column: Column, get: &Get, answer: &Answer) -> Result<()> {
    let spec = BodySpec::of(&get.target).ok_or("a target unknown to the origin")?;
    let whole = spec.body();
    let body = match answer.field("content-encoding") {
        "" => answer.body.clone(),
        coding => decoded(coding, &answer.body)?,
    };
    let is_same = if get.target.contains("?strip=other") {
        // `{"text":"…"}` is a prefix of the whole, except for the brace at its end.
        body.len() < whole.len() && body.len() > 16 && whole.starts_with(&body[..body.len() - 1])
    } else {
        body == whole
    };
    if is_same {
        return Ok(());
    }
    let (who, got, due) = (column.name(), body.len(), whole.len());
    Err(format!("{who} answered {get:?} with a wrong body: {got} bytes, expected {due}").into())
}

/// The body, decoded by the command-line tool of the coding's name.
fn decoded(coding: &str, body: &[u8]) -> Result<Vec<u8>> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), body)?;
    let output = Command::new(coding)
        .arg("-dc")
        .stdin(Stdio::from(std::fs::File::open(file.path())?))
        .output()
        .map_err(|error| format!("{coding} (package {coding}), to decode a body: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("not {coding}: {stderr}").into())
    }
}
