//! Edits by PATCH: a JSON merge patch (RFC 7396) of a few members.

use serde_json::{Map, Value};

/// Members that are a string or null, with their maximum length in characters.
const TEXTS: [(&str, usize); 3] = [
    ("call_reason", 4_096),
    ("summary", 16_384),
    ("transferred_to", 32),
];

/// Reads the body of a PATCH.
///
/// # Errors
///
/// A message that names the member, if the body is not a JSON object of editable members.
pub(crate) fn parse(body: &[u8]) -> Result<Map<String, Value>, String> {
    let edits: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|fault| format!("body: not a JSON object: {fault}"))?;
    for (name, value) in &edits {
        check(name, value)?;
    }
    Ok(edits)
}

fn check(name: &str, value: &Value) -> Result<(), String> {
    let fits = if name == "custom_classifications" {
        match value {
            Value::Null => true,
            Value::Array(elements) => elements.iter().all(Value::is_string),
            _ => false,
        }
    } else {
        let (_, longest) = TEXTS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| format!("{name}: not a member that can be changed"))?;
        match value {
            Value::Null => true,
            Value::String(text) => text.chars().count() <= *longest,
            _ => false,
        }
    };
    if fits {
        Ok(())
    } else {
        Err(format!(
            "{name}: the value is not of this member's type or length"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_members_may_be_edited() {
        let edits = parse(br#"{"call_reason":"x","summary":null,"custom_classifications":["a"]}"#);
        assert_eq!(edits.map(|edits| edits.len()), Ok(3));
    }

    #[test]
    fn a_length_is_in_characters() {
        let edit =
            |length| parse(format!(r#"{{"transferred_to":"{}"}}"#, "é".repeat(length)).as_bytes());
        assert!(edit(32).is_ok());
        assert!(edit(33).is_err());
    }

    #[test]
    fn an_error_names_the_member() {
        for (body, begins) in [
            ("{", "body:"),
            ("[]", "body:"),
            (r#"{"id":"x"}"#, "id:"),
            (r#"{"summary":3}"#, "summary:"),
            (
                r#"{"custom_classifications":[1]}"#,
                "custom_classifications:",
            ),
        ] {
            let fault = parse(body.as_bytes()).expect_err("the edit is refused");
            assert!(fault.starts_with(begins), "{fault}");
        }
    }
}
