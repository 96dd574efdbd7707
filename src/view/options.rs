//! View options by configuration: their names, the configured views, and the decoding of values.

use std::borrow::Cow;

use super::canonical::View;
use super::fault::{ViewFault, ViewFaultKind};
use super::grammar::FaultAt;
use crate::config;

/// The names of the view options, and the parsed configured views.
#[derive(Clone, Debug)]
pub struct Options {
    fields: Box<str>,
    strip: Box<str>,
    view: Box<str>,
    named: Vec<Named>,
}

/// A configured view with an invalid list, or without effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct OptionsFault {
    /// The setting, e.g. `views.named.light.strip`.
    pub key: String,
    /// The fault, and what to write instead.
    pub reason: String,
}

#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) lists: config::NamedView,
    pub(super) view: View,
}

#[derive(Clone, Copy)]
pub(super) enum ViewOption {
    Fields,
    Strip,
    View,
}

// === impl Options ===

impl Options {
    /// Parses the lists of the configured views.
    ///
    /// # Errors
    ///
    /// All invalid lists, and all views that show everything. The configuration has validated the
    /// names of options and views.
    pub fn new(views: &config::Views) -> Result<Self, Vec<OptionsFault>> {
        let (mut faults, mut named) = (Vec::new(), Vec::with_capacity(views.named.len()));
        for lists in &views.named {
            let key = format!("views.named.{}", lists.name);
            match View::parse(lists.fields.as_deref(), lists.strip.as_deref()) {
                Ok(Some(view)) => named.push(Named {
                    lists: lists.clone(),
                    view,
                }),
                Ok(None) => faults.push(OptionsFault {
                    key,
                    reason: "this view shows everything; write what to keep in `fields` or what to take away in `strip`"
                        .to_owned(),
                }),
                Err(ViewFault { option, position, kind }) => faults.push(OptionsFault {
                    key: format!("{key}.{option}"),
                    reason: format!("character {position}: {kind}"),
                }),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            fields: views.fields_option.as_str().into(),
            strip: views.strip_option.as_str().into(),
            view: views.view_option.as_str().into(),
            named,
        })
    }

    /// The name of an option.
    pub(super) fn name(&self, which: ViewOption) -> &str {
        match which {
            ViewOption::Fields => &self.fields,
            ViewOption::Strip => &self.strip,
            ViewOption::View => &self.view,
        }
    }

    /// The option in a `&`-separated piece of the query, with its value as sent; `None` for any other.
    pub(super) fn option<'a>(&self, piece: &'a str) -> Option<(ViewOption, &'a str)> {
        [
            (&self.strip, ViewOption::Strip),
            (&self.fields, ViewOption::Fields),
            (&self.view, ViewOption::View),
        ]
        .into_iter()
        .find_map(|(name, which)| Some((which, option_value(piece, name)?)))
    }

    /// The configured view named by a value as sent.
    pub(super) fn named(&self, value: &str) -> Result<&Named, FaultAt> {
        let name = decode(value)?;
        let name = name.trim();
        let named = self.named.iter().find(|named| named.lists.name == name);
        named.ok_or_else(|| {
            let known = self.named.iter().map(|named| named.lists.name.clone());
            (1, ViewFaultKind::UnknownView(known.collect()))
        })
    }
}

/// The value of an option, as sent; `None` if the piece of the query is another.
pub fn option_value<'a>(piece: &'a str, name: &str) -> Option<&'a str> {
    let rest = piece.strip_prefix(name)?;
    // `?strip` is equivalent to `?strip=`.
    rest.strip_prefix('=').or(rest.is_empty().then_some(""))
}

/// Percent-decodes the value of an option. `+` is a space, as most clients encode one; a plus sign in
/// a name is `%2B`.
///
/// # Errors
///
/// [`ViewFaultKind::Percent`] or [`ViewFaultKind::NotUtf8`], with the position of the character.
pub fn decode(sent: &str) -> Result<Cow<'_, str>, (usize, ViewFaultKind)> {
    if memchr::memchr2(b'%', b'+', sent.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(sent));
    }
    let sent = &*sent.replace('+', " ");
    let mut bytes = Vec::with_capacity(sent.len());
    let mut rest = sent;
    while let Some((plain, encoded)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = encoded
            .get(..2)
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let Some(byte) = byte else {
            let before = &sent[..sent.len() - encoded.len()];
            return Err((before.chars().count(), ViewFaultKind::Percent));
        };
        bytes.push(byte);
        rest = &encoded[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map(Cow::Owned).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        (
            String::from_utf8_lossy(valid).chars().count() + 1,
            ViewFaultKind::NotUtf8,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NamedView, Views};

    #[test]
    fn all_faults_of_the_configured_views_are_reported() {
        let view = |name: &str, fields: Option<&str>, strip: Option<&str>| NamedView {
            name: name.to_owned(),
            fields: fields.map(str::to_owned),
            strip: strip.map(str::to_owned),
        };
        let faults = Options::new(&Views {
            named: vec![
                view("good", None, Some("a")),
                view("none", None, None),
                view("all", Some("*"), None),
                view("half", Some("a"), Some("b,(c")),
                view("deep", Some("a,**.b"), None),
            ],
            ..Views::default()
        })
        .expect_err("four of the views are invalid");
        let messages: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "views.named.none: this view shows everything; write what to keep in `fields` or what to take away in `strip`",
                "views.named.all: this view shows everything; write what to keep in `fields` or what to take away in `strip`",
                r"views.named.half.strip: character 3: a field name is expected here; write the name, or \e where the name is empty",
                "views.named.deep.fields: character 3: ** can only be stripped; write the path of the field to keep",
            ]
        );
        Options::new(&Views::default()).expect("the defaults are valid");
    }

    #[test]
    fn values_are_percent_decoded_once() {
        for (sent, text) in [
            ("a.b", "a.b"),
            ("a%2Cb%2cc", "a,b,c"),
            ("%2a%2A.x", "**.x"),
            ("a+b", "a b"),
            ("%2B%2541", "+%41"),
            ("na%C3%AFve", "naïve"),
            ("na\u{ef}ve%20x", "naïve x"),
            ("%00", "\0"),
        ] {
            assert_eq!(decode(sent), Ok(Cow::Borrowed(text)), "{sent}");
        }
        for (sent, position, kind) in [
            ("%", 1, ViewFaultKind::Percent),
            ("ab%4", 3, ViewFaultKind::Percent),
            ("é%G1", 2, ViewFaultKind::Percent),
            ("a%20%+1", 5, ViewFaultKind::Percent),
            ("%é", 1, ViewFaultKind::Percent),
            ("a%C3%A9%FF", 3, ViewFaultKind::NotUtf8),
        ] {
            assert_eq!(decode(sent), Err((position, kind)), "{sent}");
        }
    }
}
