//! `json_object!`: a JSON object of names and expressions.
//!
//! Like `serde_json::json!`, which recurses for each token and exceeds the compiler's recursion
//! limit with a document as large as an invoice.

/// Builds a [`serde_json::Value`] object; values are anything that `Value::from` accepts, and
/// `..members` adds the [`json_members`] of a part of the document.
macro_rules! json_object {
    ($($members:tt)*) => {
        serde_json::Value::Object($crate::json_object::json_members!($($members)*))
    };
}

/// The members alone, evaluated in order, because they draw random numbers.
macro_rules! json_members {
    (
        $($name:literal: $value:expr),*
        $(, ..$part:expr $(, $more:literal: $other:expr)*)*
        $(,)?
    ) => {{
        #[allow(unused_mut)] // `json_object! {}` inserts nothing
        let mut members = serde_json::Map::new();
        $(members.insert($name.to_owned(), serde_json::Value::from($value));)*
        $(
            members.extend($part);
            $(members.insert($more.to_owned(), serde_json::Value::from($other));)*
        )*
        members
    }};
}

pub(crate) use {json_members, json_object};
