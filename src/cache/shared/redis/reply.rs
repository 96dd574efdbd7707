//! Reads replies of the engine, which are not trusted.

use std::time::Duration;

use ::redis::Value;
use bytes::Bytes;

use crate::cache::shared::{EngineError, Era, LogItem, Member, MemberId, Position};

/// Maximum members of a group.
const MAX_MEMBERS: usize = 1_000;

pub(super) type Reply<T> = Result<T, EngineError>;

/// The fields of a group that are members begin with this.
const MEMBER: &[u8] = b"m:";

pub(super) fn unexpected(what: &str) -> EngineError {
    EngineError::Unexpected(what.to_owned())
}

/// An array of exactly these elements.
pub(super) fn array<const N: usize>(value: Value) -> Reply<[Value; N]> {
    let values = list(value)?;
    values
        .try_into()
        .map_err(|_| unexpected("an array of another length"))
}

pub(super) fn list(value: Value) -> Reply<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => Err(unexpected("no array")),
    }
}

pub(super) fn bytes(value: Value) -> Reply<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(unexpected("no string")),
    }
}

/// A short text.
pub(super) fn text(value: Value) -> Reply<String> {
    let text = String::from_utf8_lossy(&bytes(value)?).into_owned();
    if text.len() > 64 {
        return Err(unexpected("a long text"));
    }
    Ok(text)
}

pub(super) fn number(value: Value) -> Reply<u64> {
    let number = match value {
        Value::Int(number) => u64::try_from(number).ok(),
        other => parsed(&bytes(other)?),
    };
    number.ok_or_else(|| unexpected("no number"))
}

/// The reply to `TIME`, in microseconds since 1970.
pub(super) fn time(value: Value) -> Reply<u64> {
    let [seconds, micros] = array(value)?;
    let seconds = number(seconds)?.checked_mul(1_000_000);
    let time = seconds.and_then(|time| time.checked_add(number(micros).ok()?));
    time.ok_or_else(|| unexpected("no time"))
}

pub(super) fn era(bytes: &[u8]) -> Reply<Era> {
    bytes.try_into().map(Era).map_err(|_| unexpected("no era"))
}

/// Items of the log, with their ages by the engine's clock (zero without `now`).
pub(super) fn items(value: Value, now: Option<u64>, most: usize) -> Reply<Vec<LogItem>> {
    let values = list(value)?;
    if values.len() > most {
        return Err(unexpected("too many items"));
    }
    let item = |value| {
        let [id, fields] = array(value)?;
        let [_, appended, _, sealed] = array(fields)?;
        let id = bytes(id)?;
        let id = id.strip_suffix(b"-0").and_then(parsed);
        let appended = number(appended)?;
        let age = now.map_or(0, |now| now.saturating_sub(appended));
        Ok(LogItem {
            id: id.ok_or_else(|| unexpected("no item's number"))?,
            age: Duration::from_micros(age),
            sealed: Bytes::from(bytes(sealed)?),
        })
    };
    values.into_iter().map(item).collect()
}

/// The items in the reply to `XREAD` of one stream.
pub(super) fn stream(value: Value) -> Reply<Value> {
    match value {
        Value::Nil => Ok(Value::Nil),
        Value::Map(mut streams) if streams.len() == 1 => Ok(streams.remove(0).1),
        _ => Err(unexpected("no stream")),
    }
}

/// The members in the hash of a group, whose fields and values alternate.
pub(super) fn members(group: Value) -> Reply<Vec<Member>> {
    let mut members = Vec::new();
    let mut values = list(group)?.into_iter();
    while let Some(field) = values.next() {
        let value = values.next().ok_or_else(|| unexpected("half a pair"))?;
        let (field, value) = (bytes(field)?, bytes(value)?);
        if let Some(id) = field.strip_prefix(MEMBER) {
            members.push(member(id, &value).ok_or_else(|| unexpected("no member"))?);
        }
    }
    if members.len() > MAX_MEMBERS {
        return Err(unexpected("too many members"));
    }
    Ok(members)
}

/// The field of a member, and the value that [`member`] reads: count, lease in ms, position.
pub(super) fn member_field(id: MemberId) -> String {
    format!("m:{id}")
}

pub(super) fn member_value(count: u64, lease: Duration, position: Option<Position>) -> String {
    let lease = lease.as_millis();
    position.map_or_else(
        || format!("{count} {lease}"),
        |Position { era, id }| format!("{count} {lease} {id} {:032x}", u128::from_be_bytes(era.0)),
    )
}

fn member(id: &[u8], value: &[u8]) -> Option<Member> {
    let id = u64::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()?;
    let mut parts = value.split(|&byte| byte == b' ');
    let count = parsed(parts.next()?)?;
    let lease = parsed(parts.next()?)?;
    let position = match (parts.next(), parts.next()) {
        (None, _) => None,
        (Some(item), Some(era)) => Some(Position {
            era: Era(u128::from_str_radix(std::str::from_utf8(era).ok()?, 16)
                .ok()?
                .to_be_bytes()),
            id: parsed(item)?,
        }),
        (Some(_), None) => return None,
    };
    Some(Member {
        id: MemberId(id),
        count,
        position,
        lease: Duration::from_millis(lease),
    })
}

fn parsed(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_read_as_it_was_written() {
        let lease = Duration::from_secs(2);
        for position in [
            None,
            Some(Position {
                era: Era([0xa7; 16]),
                id: 41,
            }),
        ] {
            let expected = Member {
                id: MemberId(7),
                count: 3,
                position,
                lease,
            };
            let field = member_field(expected.id);
            let value = member_value(3, lease, position);
            let id = field.as_bytes().strip_prefix(MEMBER).expect("its prefix");
            assert_eq!(member(id, value.as_bytes()), Some(expected));
        }
    }

    #[test]
    fn what_is_not_a_reply_is_refused() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = || Value::Array(vec![text("t"), text("5"), text("s"), text("x")]);
        let of = |id: &str| Value::Array(vec![Value::Array(vec![text(id), fields()])]);
        assert!(items(of("1-0"), None, 1).is_ok_and(|items| items[0].id == 1));
        for broken in [
            of("1-1"),
            of("-0"),
            of("x-0"),
            text("1-0"),
            Value::Array(vec![of("1-0")]),
        ] {
            assert!(items(broken, None, 1).is_err());
        }
        assert!(items(of("1-0"), None, 0).is_err());
        assert!(members(Value::Array(vec![text("m:1"), text("2 3")])).is_ok());
        for (field, value) in [("m:1", "2"), ("m:1", "2 3 4"), ("m:x", "2 3")] {
            assert!(
                members(Value::Array(vec![text(field), text(value)])).is_err(),
                "{field} {value}"
            );
        }
        assert!(members(Value::Array(vec![text("n")])).is_err());
        assert!(number(Value::Int(-1)).is_err());
    }
}
