//! `json_object!`: a JSON object of names and expressions.
//!
//! Like `serde_json::json!`, which recurses for each token and reaches the compiler's recursion
//! limit with a document as long as an invoice.

/// Builds a [`serde_json::Value`] object; values are anything that `Value::from` takes.
macro_rules! json_object {
    ($($name:literal: $value:expr),* $(,)?) => {{
        #[allow(unused_mut)] // `json_object! {}` inserts nothing
        let mut members = serde_json::Map::new();
        $(members.insert($name.to_owned(), serde_json::Value::from($value));)*
        serde_json::Value::Object(members)
    }};
}

pub(crate) use json_object;
