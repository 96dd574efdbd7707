//! View options by the settings: their names, the configured views, and the decoding of values.

use std::borrow::Cow;

use super::canonical::{View, ViewBuilder};
use super::fault::ViewFaultKind;
use super::grammar::{List, Wrong};
use crate::config;

/// The names of the options and the configured views, ready to answer requests.
#[derive(Clone, Debug)]
pub struct Options {
    fields: Box<str>,
    strip: Box<str>,
    view: Box<str>,
    named: Vec<Named>,
}

/// A configured view that cannot be, or an option name that cannot.
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
    name: Box<str>,
    pub(super) lists: config::NamedView,
    pub(super) view: View,
}

/// The view options.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Fields,
    Strip,
    View,
}

// === impl Options ===

impl Options {
    /// Reads the configured views.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: option names that are empty, equal or cannot stand in a query,
    /// views without a name, with a name that another one has, or with lists that do not parse
    /// or leave everything as it is.
    pub fn new(views: &config::Views) -> Result<Self, Vec<OptionsFault>> {
        let mut faults = option_name_faults(views);
        let mut named: Vec<Named> = Vec::with_capacity(views.named.len());
        for lists in &views.named {
            let mut fault = |list: &str, reason: String| {
                faults.push(OptionsFault {
                    key: format!("views.named.{}{list}", lists.name),
                    reason,
                });
            };
            if lists.name.is_empty() || named.iter().any(|view| *view.name == lists.name) {
                fault("", "a view needs a name that no other view has".to_owned());
                continue;
            }
            let mut builder = ViewBuilder::default();
            match builder.add(lists).map(|()| builder.finish()) {
                Ok(Some(view)) => named.push(Named {
                    name: lists.name.as_str().into(),
                    lists: lists.clone(),
                    view,
                }),
                Ok(None) => fault(
                    "",
                    "this view shows everything; write what to keep in `fields` or what to take away in `strip`"
                        .to_owned(),
                ),
                Err((list, (at, kind))) => fault(list, format!("character {at}: {kind}")),
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
    pub(super) fn name(&self, which: Which) -> &str {
        match which {
            Which::Fields => &self.fields,
            Which::Strip => &self.strip,
            Which::View => &self.view,
        }
    }

    /// Which option a piece of the query is, and its value as sent.
    pub(super) fn option<'a>(&self, piece: &'a str) -> Option<(Which, &'a str)> {
        [
            (&self.strip, Which::Strip),
            (&self.fields, Which::Fields),
            (&self.view, Which::View),
        ]
        .into_iter()
        .find_map(|(name, which)| {
            let rest = piece.strip_prefix(&**name)?;
            // `?strip` says as much as `?strip=`.
            let value = rest.strip_prefix('=').or(rest.is_empty().then_some(""))?;
            Some((which, value))
        })
    }

    /// The configured view that a value names.
    pub(super) fn named(&self, value: &str) -> Result<&Named, Wrong> {
        let name = decode(value)?;
        let found = self.named.iter().find(|named| *named.name == *name);
        found.ok_or_else(|| {
            let known = self.named.iter().map(|named| named.name.to_string());
            let known = known.collect();
            (1, ViewFaultKind::UnknownView { known })
        })
    }
}

// === impl ViewBuilder ===

impl<'t> ViewBuilder<'t> {
    /// Adds the lists of a configured view; a fault comes with the setting it is in.
    pub(super) fn add(
        &mut self,
        lists: &'t config::NamedView,
    ) -> Result<(), (&'static str, Wrong)> {
        if let Some(text) = &lists.fields {
            self.read(text, List::Fields)
                .map_err(|wrong| (".fields", wrong))?;
        }
        if let Some(text) = &lists.strip {
            self.read(text, List::Strip)
                .map_err(|wrong| (".strip", wrong))?;
        }
        Ok(())
    }
}

fn option_name_faults(views: &config::Views) -> Vec<OptionsFault> {
    let names = [
        ("views.strip_option", &views.strip_option),
        ("views.fields_option", &views.fields_option),
        ("views.view_option", &views.view_option),
    ];
    let mut faults = Vec::new();
    for (place, (key, name)) in names.into_iter().enumerate() {
        let reason = if name.is_empty() || !name.bytes().all(may_stand_in_a_name) {
            "is not a name for a query option; write letters, digits and any of -._~:@$!*,"
        } else if names[..place].iter().any(|(_, other)| *other == name) {
            "is the name of another option too; write three different names"
        } else {
            continue;
        };
        faults.push(OptionsFault {
            key: key.to_owned(),
            reason: format!("{name:?} {reason}"),
        });
    }
    faults
}

/// The bytes that RFC 3986 allows unencoded in a query, without those that separate names and values.
fn may_stand_in_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:@$!*,".contains(&byte)
}

/// The text that an option's value stands for: `%XX` is a byte, everything else is itself.
///
/// `+` is a plus sign: this is the query of RFC 3986, not a form. A blank in a name is `%20`.
///
/// # Errors
///
/// [`ViewFaultKind::Percent`] and [`ViewFaultKind::NotUtf8`], each with its character.
pub(super) fn decode(sent: &str) -> Result<Cow<'_, str>, Wrong> {
    if memchr::memchr(b'%', sent.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(sent));
    }
    let mut bytes = Vec::with_capacity(sent.len());
    let mut rest = sent;
    while let Some((plain, coded)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = coded
            .get(..2)
            .filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let Some(byte) = byte else {
            let before = &sent[..sent.len() - coded.len()];
            return Err((before.chars().count(), ViewFaultKind::Percent));
        };
        bytes.push(byte);
        rest = &coded[2..];
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
    fn all_that_is_wrong_with_the_settings_is_said() {
        let view = |name: &str, fields: Option<&str>, strip: Option<&str>| NamedView {
            name: name.to_owned(),
            fields: fields.map(str::to_owned),
            strip: strip.map(str::to_owned),
        };
        let faults = Options::new(&Views {
            strip_option: "a=b".to_owned(),
            fields_option: "x".to_owned(),
            view_option: "x".to_owned(),
            named: vec![
                view("good", None, Some("a")),
                view("good", None, Some("b")),
                view("", None, Some("b")),
                view("none", None, None),
                view("all", Some("*"), None),
                view("half", Some("a"), Some("b,(c")),
                view("deep", Some("a,**.b"), None),
            ],
        })
        .expect_err("nearly everything is wrong");
        let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                r#"views.strip_option: "a=b" is not a name for a query option; write letters, digits and any of -._~:@$!*,"#,
                r#"views.view_option: "x" is the name of another option too; write three different names"#,
                "views.named.good: a view needs a name that no other view has",
                "views.named.: a view needs a name that no other view has",
                "views.named.none: this view shows everything; write what to keep in `fields` or what to take away in `strip`",
                "views.named.all: this view shows everything; write what to keep in `fields` or what to take away in `strip`",
                r"views.named.half.strip: character 3: a field name is expected here; write the name, or \e where the name is empty",
                "views.named.deep.fields: character 3: ** can only be stripped; write the path of the field to keep",
            ]
        );
        Options::new(&Views::default()).expect("the defaults are valid");
    }

    #[test]
    fn values_are_decoded_once() {
        for (sent, text) in [
            ("a.b", "a.b"),
            ("a%2Cb%2cc", "a,b,c"),
            ("%2a%2A.x", "**.x"),
            ("a+b", "a+b"),
            ("%2B%2541", "+%41"),
            ("na%C3%AFve", "naïve"),
            ("na\u{ef}ve%20x", "naïve x"),
            ("%00", "\0"),
        ] {
            assert_eq!(decode(sent), Ok(Cow::Borrowed(text)), "{sent}");
        }
        for (sent, place, kind) in [
            ("%", 1, ViewFaultKind::Percent),
            ("ab%4", 3, ViewFaultKind::Percent),
            ("é%G1", 2, ViewFaultKind::Percent),
            ("a%20%+1", 5, ViewFaultKind::Percent),
            ("%é", 1, ViewFaultKind::Percent),
            ("a%C3%A9%FF", 3, ViewFaultKind::NotUtf8),
        ] {
            assert_eq!(decode(sent), Err((place, kind)), "{sent}");
        }
    }
}
