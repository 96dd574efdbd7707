//! Fixtures: responses from files, for call ids of the user's choice.
//!
//! `FOLDER/ORGANISATION/CALL_ID.json` is the body of a 200. `CALL_ID.http` is a whole response, as
//! `curl -i` prints it: status line, fields, an empty line, the body.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, ETAG, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::Organisation;
use crate::answer;
use crate::lookup::etag;

/// Limit of all files together, in bytes: they are kept in memory.
const MAX_BYTES: u64 = 64 << 20;

/// The responses of a folder, read once.
#[derive(Clone, Debug, Default)]
pub struct Fixtures(HashMap<(String, String), Response<Bytes>>);

// === impl Fixtures ===

impl Fixtures {
    /// Reads the files of a folder; names that begin with a dot are left out.
    ///
    /// # Errors
    ///
    /// All faults, each with its file and, inside a file, its line.
    pub fn read(folder: &Path, organisations: &[Organisation]) -> Result<Self, Vec<String>> {
        let mut fixtures = Self::default();
        let mut faults = Vec::new();
        let mut left = MAX_BYTES;
        for (name, subfolder) in entries(folder, &mut faults) {
            if !organisations.iter().any(|known| known.name() == name) {
                faults.push(format!(
                    "{}: no organisation has this name; --organisation {name}=TOKEN adds it",
                    subfolder.display()
                ));
                continue;
            }
            for (file_name, file) in entries(&subfolder, &mut faults) {
                let at = file.display();
                match fixture(&file_name, &file, &mut left) {
                    Ok((id, response)) => {
                        let before = fixtures.0.insert((name.clone(), id), response);
                        if before.is_some() {
                            faults.push(format!("{at}: a second response for this call"));
                        }
                    }
                    Err(fault) => faults.push(format!("{at}:{fault}")),
                }
            }
        }
        if faults.is_empty() {
            Ok(fixtures)
        } else {
            Err(faults)
        }
    }

    /// The response for this call of this organisation.
    pub(crate) fn of(&self, organisation: &Organisation, id: &str) -> Option<Response<Bytes>> {
        let key = (organisation.name().to_owned(), id.to_owned());
        self.0.get(&key).cloned()
    }
}

/// The names and paths in a folder, sorted.
fn entries(folder: &Path, faults: &mut Vec<String>) -> Vec<(String, PathBuf)> {
    let paths = fs::read_dir(folder).and_then(|entries| {
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect::<Result<Vec<_>, std::io::Error>>()
    });
    let paths = paths.unwrap_or_else(|error| {
        faults.push(format!("{}: {error}", folder.display()));
        Vec::new()
    });
    let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    let mut entries: Vec<_> = paths
        .into_iter()
        .filter_map(|path| Some((name(&path)?, path)))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect();
    entries.sort();
    entries
}

/// The call id and response of a file, or the fault after `FILE:`.
fn fixture(name: &str, file: &Path, left: &mut u64) -> Result<(String, Response<Bytes>), String> {
    let is_id = |id: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        !id.is_empty() && id.bytes().all(plain)
    };
    let Some((id, extension @ ("json" | "http"))) =
        name.rsplit_once('.').filter(|(id, _)| is_id(id))
    else {
        return Err(" its name is not CALL_ID.json or CALL_ID.http".to_owned());
    };
    let mut content = Vec::new();
    let file = File::open(file).map_err(|error| format!(" {error}"))?;
    let read = file.take(*left + 1).read_to_end(&mut content);
    read.map_err(|error| format!(" {error}"))?;
    *left = left
        .checked_sub(content.len() as u64)
        .ok_or_else(|| format!(" all fixtures together exceed {} MiB", MAX_BYTES >> 20))?;
    let mut response = if extension == "json" {
        json(content)?
    } else {
        parse(Bytes::from(content)).map_err(|(line, fault)| format!("{line}: {fault}"))?
    };
    if response.status() == StatusCode::OK && !response.headers().contains_key(ETAG) {
        let etag = etag(response.body());
        response.headers_mut().insert(ETAG, etag);
    }
    Ok((id.to_owned(), response))
}

/// A 200 with these bytes of JSON.
fn json(content: Vec<u8>) -> Result<Response<Bytes>, String> {
    serde_json::from_slice::<Value>(&content).map_err(|error| {
        let message = error.to_string();
        let (message, _) = message.rsplit_once(" at line ").unwrap_or((&message, ""));
        format!("{}:{}: {message}", error.line(), error.column())
    })?;
    Ok(answer::whole(StatusCode::OK, Bytes::from(content)))
}

/// A response as `curl -i` prints it, without the fields that describe the connection; or the line of
/// the fault.
fn parse(content: Bytes) -> Result<Response<Bytes>, (usize, &'static str)> {
    let mut response = Response::new(Bytes::new());
    let mut rest = content;
    for number in 1.. {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or((
            number,
            "the head does not end: write an empty line after it",
        ))?;
        let line = rest.split_to(end + 1);
        let line = line.trim_ascii_end();
        if number == 1 {
            let status = status(line).ok_or((
                1,
                "write a status line, e.g. HTTP/1.1 200 OK, of a status that has a body",
            ))?;
            *response.status_mut() = status;
        } else if line.is_empty() {
            break;
        } else {
            let (name, value) = field(line).ok_or((number, "write a field as NAME: VALUE"))?;
            response.headers_mut().append(name, value);
        }
    }
    for name in [CONNECTION, TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    let length = HeaderValue::from(rest.len());
    response.headers_mut().insert(CONTENT_LENGTH, length);
    *response.body_mut() = rest;
    Ok(response)
}

/// The status of a status line, if a response of that status can have a body.
fn status(line: &[u8]) -> Option<StatusCode> {
    let mut words = line.split(u8::is_ascii_whitespace);
    let status = words
        .next()
        .filter(|version| version.starts_with(b"HTTP/"))
        .and_then(|_| StatusCode::from_bytes(words.next()?).ok())?;
    let has_body = !matches!(status.as_u16(), 100..200 | 204 | 205 | 304);
    has_body.then_some(status)
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((HeaderName::from_bytes(&line[..colon]).ok()?, value))
}
