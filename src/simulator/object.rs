//! `object!`: a JSON object of names and expressions.
//!
//! Like `serde_json::json!`, which takes such a document apart token by token and gives up
//! at the compiler's recursion limit; an invoice has more members than that.

/// Builds a [`serde_json::Value`] object; values are anything that `Value::from` takes.
macro_rules! object {
    ($($name:literal: $value:expr),* $(,)?) => {{
        #[allow(unused_mut)] // `object! {}` inserts nothing
        let mut members = serde_json::Map::new();
        $(members.insert($name.to_owned(), serde_json::Value::from($value));)*
        serde_json::Value::Object(members)
    }};
}

pub(super) use object;
