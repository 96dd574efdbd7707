//! All that a group has stored in the engine, for a check of what that reveals.

use std::collections::BTreeSet;

use ::redis::{Cmd, RedisError, Value, cmd};

use super::connect::{Connection, Connector, Server, SetupError, open};
use super::link::engine_error;
use super::reply::{Reply, array, bytes, list, number, text, unexpected};
use crate::cache::shared::EngineError;
use crate::config;

/// Most bytes that are read.
const MAX_BYTES: usize = 256 << 20;

/// Keys to look at in one step.
const COUNT: usize = 500;

/// The extent of a dump.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dumped {
    /// The keys.
    pub keys: usize,
    /// The bytes of keys and values.
    pub bytes: usize,
    /// Whether that is everything: there is a limit of 256 MiB.
    pub is_complete: bool,
}

/// Visits each key under `shared.prefix`, followed by its value; in a cluster, those of every primary.
///
/// # Errors
///
/// If the engine does not answer, or does not permit its user to read all of it: besides the commands of
/// the replicas, `SCAN` and `TYPE` are needed.
pub async fn dump(
    settings: &config::Shared,
    visit: &mut (dyn FnMut(&[u8]) + Send),
) -> Reply<Dumped> {
    let mut dumped = Dumped::default();
    for mut primary in primaries(settings).await? {
        let mut cursor = b"0".to_vec();
        loop {
            let mut scan = command("SCAN", &cursor);
            scan.arg("MATCH").arg(format!("{}:*", settings.prefix));
            scan.arg("COUNT").arg(COUNT);
            let [next, keys] = array(send(&mut primary, &scan).await?)?;
            for key in list(keys)? {
                let mut content = bytes(key)?;
                read(&mut primary, &mut content).await?;
                dumped.keys += 1;
                dumped.bytes += content.len();
                visit(&content);
                if dumped.bytes > MAX_BYTES {
                    return Ok(dumped);
                }
            }
            cursor = bytes(next)?;
            if cursor == b"0" {
                break;
            }
        }
    }
    dumped.is_complete = true;
    Ok(dumped)
}

/// A connection to the primary, or to each primary of a cluster.
async fn primaries(settings: &config::Shared) -> Reply<Vec<Connection>> {
    let setup = |error: SetupError| EngineError::Connection(error.to_string());
    let failed = |error: RedisError| engine_error(&error);
    let connector = Connector::new(settings, [settings.lease; 2]).map_err(setup)?;
    let mut connection = connector.connect().await.map_err(failed)?;
    if let Connection::Single(_) = connection {
        return Ok(vec![connection]);
    }
    let mut request = cmd("CLUSTER");
    request.arg("SLOTS");
    let mut addresses = BTreeSet::new();
    for slots in list(connection.send(&request).await.map_err(failed)?)? {
        // The first and the last slot, the primary, its replicas.
        let primary = list(slots)?.into_iter().nth(2).unwrap_or(Value::Nil);
        let mut primary = list(primary)?.into_iter();
        let mut next = || primary.next().unwrap_or(Value::Nil);
        addresses.insert((text(next())?, number(next())?));
    }
    let server = Server::new(settings).map_err(setup)?;
    let mut connections = Vec::new();
    for (host, port) in addresses {
        let port = u16::try_from(port).map_err(|_| unexpected("no port"))?;
        let client = server.client(&host, port, true).map_err(failed)?;
        connections.push(open(&client).await.map_err(failed)?);
    }
    Ok(connections)
}

/// Appends the value of a key to it.
async fn read(primary: &mut Connection, content: &mut Vec<u8>) -> Reply<()> {
    let key = content.clone();
    let kind = bytes(send(primary, &command("TYPE", &key)).await?)?;
    let value = match &kind[..] {
        b"string" => command("GET", &key),
        b"hash" => command("HGETALL", &key),
        b"stream" => {
            let mut all = command("XRANGE", &key);
            all.arg("-").arg("+");
            all
        }
        // It has expired since.
        b"none" => return Ok(()),
        _ => return Err(unexpected("a key of a type that no replica stores")),
    };
    flatten(send(primary, &value).await?, content);
    Ok(())
}

fn command(name: &str, argument: &[u8]) -> Cmd {
    let mut command = cmd(name);
    command.arg(argument);
    command
}

async fn send(primary: &mut Connection, command: &Cmd) -> Reply<Value> {
    let reply = primary.send(command).await;
    reply.map_err(|error| engine_error(&error))
}

fn flatten(value: Value, content: &mut Vec<u8>) {
    match value {
        Value::BulkString(bytes) => content.extend(bytes),
        Value::SimpleString(text) => content.extend(text.into_bytes()),
        Value::Array(values) => values.into_iter().for_each(|value| flatten(value, content)),
        Value::Map(pairs) => pairs.into_iter().for_each(|(key, value)| {
            flatten(key, content);
            flatten(value, content);
        }),
        // Numbers, and the value of a key that has expired since.
        _ => {}
    }
}
