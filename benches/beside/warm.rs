//! Before anything is measured: fills every server, and checks that it answers from its store with
//! the bytes of the origin.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::body::Wanted;
use crate::h2;
use crate::load::{Answer, Ask, Connection, Wire};
use crate::process::Server;
use crate::setup::Column;

/// Attempts for a hit or a content coding, and the pause in between.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// One request on a connection of its own.
pub(crate) fn ask_once(server: &Server, wire: Wire, ask: &Ask) -> Result<Answer> {
    let answer = match wire {
        Wire::H1 => Connection::open(server.address)?.ask(&ask.bytes()),
        Wire::H2 => h2::ask(server.address, ask),
    };
    answer.map_err(|error| {
        let (who, said) = (server.column.name(), server.messages());
        format!("{who}, {}: {error}\n{said}", ask.target).into()
    })
}

/// Repeats the request until the answer is a hit in the coding that was asked for.
///
/// # Errors
///
/// If it never is, or its body is not the origin's.
pub(crate) fn hit(server: &Server, wire: Wire, ask: &Ask) -> Result<Answer> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let answer = ask_once(server, wire, ask)?;
        if answer.status == 200 && server.column.is_hit(&answer) && is_coded(ask, &answer) {
            check(server.column, ask, &answer)?;
            return Ok(answer);
        }
        last = format!("{} {:?}", answer.status, answer.headers);
        thread::sleep(PAUSE);
    }
    let who = server.column.name();
    Err(format!("{who} never answered {ask:?} as expected; at last: {last}").into())
}

/// Repeats the request until the answer has the content coding; whether it ever has. The coding
/// may be made after the first answer, or never.
pub(crate) fn comes_coded(server: &Server, wire: Wire, ask: &Ask) -> Result<bool> {
    for _ in 0..TRIES {
        if is_coded(ask, &ask_once(server, wire, ask)?) {
            return Ok(true);
        }
        thread::sleep(PAUSE);
    }
    Ok(false)
}

/// Fills a store with all of these, then checks that every `step`-th is a hit.
pub(crate) fn fill(server: &Server, asks: &[Ask], step: usize) -> Result<()> {
    let mut connection = Connection::open(server.address)?;
    for ask in asks {
        let answer = connection.ask(&ask.bytes())?;
        if answer.status != 200 {
            let (who, status) = (server.column.name(), answer.status);
            return Err(format!("{who} answered {ask:?} with {status}").into());
        }
    }
    for ask in asks.iter().step_by(step) {
        hit(server, Wire::H1, ask)?;
    }
    Ok(())
}

/// Makes an answer ready at the bare server: these fields, this body.
pub(crate) fn ready(bare: &Server, target: &str, answer: &Answer) -> Result<()> {
    let mut connection = Connection::open(bare.address)?;
    put(&mut connection, target, answer)
}

/// The same, on an open connection.
pub(crate) fn put(bare: &mut Connection, target: &str, answer: &Answer) -> Result<()> {
    let mut request = format!("PUT {target} HTTP/1.1\r\nhost: bench\r\n").into_bytes();
    for (name, value) in &answer.headers {
        // hyper adds this one itself.
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
    let answer = bare.ask(&request)?;
    if answer.status == 200 {
        Ok(())
    } else {
        Err(format!("bare hyper took {target} with {}", answer.status).into())
    }
}

fn is_coded(ask: &Ask, answer: &Answer) -> bool {
    let coding = answer.field("content-encoding");
    ask.codings.is_none_or(|asked| asked == coding)
}

/// Whether a body is the origin's: all of it, or the member that a view leaves.
fn check(column: Column, ask: &Ask, answer: &Answer) -> Result<()> {
    let wanted = Wanted::of(&ask.target).ok_or("a target that the origin does not know")?;
    let whole = wanted.body();
    let body = match answer.field("content-encoding") {
        "" => answer.body.clone(),
        coding => decoded(coding, &answer.body)?,
    };
    let is_right = if ask.target.contains("?strip=other") {
        // `{"text":"…"}` begins as the whole does, but for the brace at its end.
        body.len() < whole.len() && body.len() > 16 && whole.starts_with(&body[..body.len() - 1])
    } else {
        body == whole
    };
    if is_right {
        return Ok(());
    }
    let (who, got, due) = (column.name(), body.len(), whole.len());
    Err(format!("{who} answered {ask:?} with another body: {got} bytes of {due}").into())
}

/// Decoded by the tool of that name.
fn decoded(coding: &str, body: &[u8]) -> Result<Vec<u8>> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), body)?;
    let output = Command::new(coding)
        .arg("-dc")
        .stdin(Stdio::from(std::fs::File::open(file.path())?))
        .output()
        .map_err(|error| format!("{coding} (package {coding}), to look into a body: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("not {coding}: {said}").into())
    }
}
