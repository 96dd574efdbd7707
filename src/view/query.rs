//! The view options of a query: parsed and removed, the rest of the query left exactly as sent.

use std::borrow::Cow;

use super::canonical::{View, ViewBuilder};
use super::fault::ViewFault;
use super::grammar::List;
use super::options::{Options, ViewOption, decode};
use crate::config::NamedView;

/// The view in a query, and the rest of the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryView<'a> {
    /// The query without the view options, byte for byte; `None` if no query remains. An empty query
    /// (`/x?`) is a query.
    pub remaining: Option<Cow<'a, str>>,
    /// The fields to show; `None` means all.
    pub view: Option<View>,
    /// Whether it has view options.
    pub has_options: bool,
}

/// Removes the view options from a query (the text after `?`, as sent).
///
/// A query is split at `&`. A piece is an option if its name is exactly a configured one, not
/// percent-encoded; its value is percent-decoded, `+` is a space. All other pieces stay as
/// sent, in their order. Without view options, nothing is allocated.
///
/// A repeated option adds to its list. `view=name` adds the lists of that view: `view=light&fields=id`
/// keeps `id` and the fields of `light`, and strips what `light` strips. The limits apply to all
/// lists of a kind together.
///
/// # Errors
///
/// A [`ViewFault`] with the option, the character of its value, and the reason. An empty list is a
/// fault: `fields=` could mean nothing or everything.
pub fn read_query<'a>(
    query: Option<&'a str>,
    options: &Options,
) -> Result<QueryView<'a>, ViewFault> {
    let without_options = |remaining| QueryView {
        remaining,
        view: None,
        has_options: false,
    };
    let Some(query) = query else {
        return Ok(without_options(None));
    };
    let pieces = || query.split('&');
    let mut view_options = pieces().filter_map(|piece| options.option(piece));
    let view = match (view_options.next(), view_options.next()) {
        (None, _) => return Ok(without_options(Some(Cow::Borrowed(query)))),
        (Some((ViewOption::View, value)), None) => {
            let named = options.named(value);
            let named =
                named.map_err(|fault| ViewFault::of(options.name(ViewOption::View), fault))?;
            Some(named.view.clone())
        }
        _ => read_view(pieces(), options)?,
    };
    let mut rest = pieces().filter(|piece| options.option(piece).is_none());
    let remaining = rest.next().map(|first| {
        rest.fold(first.to_owned(), |mut query, piece| {
            query.push('&');
            query.push_str(piece);
            query
        })
    });
    Ok(QueryView {
        remaining: remaining.map(Cow::Owned),
        view,
        has_options: true,
    })
}

/// The decoded value of an option.
enum OptionValue<'a> {
    List(List, Cow<'a, str>),
    Named(&'a NamedView),
}

/// The view of all options in the pieces of a query.
fn read_view<'a>(
    pieces: impl Iterator<Item = &'a str>,
    options: &'a Options,
) -> Result<Option<View>, ViewFault> {
    let decode_value = |(which, value)| {
        let value = match which {
            ViewOption::Fields => decode(value).map(|text| OptionValue::List(List::Fields, text)),
            ViewOption::Strip => decode(value).map(|text| OptionValue::List(List::Strip, text)),
            ViewOption::View => options
                .named(value)
                .map(|named| OptionValue::Named(&named.lists)),
        };
        (which, value)
    };
    // All values are decoded first: the builder borrows the names from them.
    let view_options = pieces.filter_map(|piece| options.option(piece));
    let values: Vec<_> = view_options.map(decode_value).collect();
    let mut builder = ViewBuilder::default();
    for (which, value) in &values {
        match value {
            Ok(OptionValue::List(list, text)) => builder.read(text, *list),
            // A configured view is valid: only the limits can fail, together with the lists before
            // it. The client does not know its text, so the fault is at its name.
            Ok(OptionValue::Named(lists)) => builder
                .add(lists.fields.as_deref(), lists.strip.as_deref())
                .map_err(|(_, (_, kind))| (1, kind)),
            Err(fault) => Err(fault.clone()),
        }
        .map_err(|fault| ViewFault::of(options.name(*which), fault))?;
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::super::fault::ViewFaultKind;
    use super::*;
    use crate::config::Views;

    fn options() -> Options {
        Options::new(&Views {
            named: vec![
                NamedView {
                    name: "light".to_owned(),
                    fields: None,
                    strip: Some("invoices,**.linked_integration".to_owned()),
                },
                NamedView {
                    name: "état 2".to_owned(),
                    fields: Some("id,status".to_owned()),
                    strip: Some("partner".to_owned()),
                },
            ],
            ..Views::default()
        })
        .expect("these views are valid")
    }

    #[test]
    fn view_options_are_removed_and_the_rest_stays_as_sent() {
        let options = options();
        for (query, remaining, view) in [
            (None, None, None),
            (Some(""), Some(""), None),
            (Some("&"), Some("&"), None),
            (Some("a=1&b=%20&&c"), Some("a=1&b=%20&&c"), None),
            (Some("strip=a"), None, Some("strip=a")),
            (Some("strip=a&"), Some(""), Some("strip=a")),
            (Some("&strip=a"), Some(""), Some("strip=a")),
            (
                Some("b=%7e&strip=a&B=+"),
                Some("b=%7e&B=+"),
                Some("strip=a"),
            ),
            (Some("x=1&strip=a&&y"), Some("x=1&&y"), Some("strip=a")),
            (Some("strip=b&strip=a"), None, Some("strip=a,b")),
            (
                Some("strip=a.b&x&fields=a&strip=a"),
                Some("x"),
                Some("fields=a strip=a"),
            ),
            (Some("fields=id%2C+status"), None, Some("fields=id,status")),
            (Some("fields=id,%20status+"), None, Some("fields=id,status")),
            (Some("strip=a+b"), None, None),
            (Some("strip=a%2Bb"), None, Some("strip=a+b")),
            (
                Some("view=+light%20"),
                None,
                Some("strip=**.linked_integration,invoices"),
            ),
            (Some("strip=a%5C%20b"), None, Some(r"strip=a\ b")),
            (Some("strip=a=b"), None, Some("strip=a=b")),
            (
                Some("Strip=a&strips=b&stri=c"),
                Some("Strip=a&strips=b&stri=c"),
                None,
            ),
            (Some("s%74rip=a"), Some("s%74rip=a"), None),
            (Some("strip=a;b=1"), None, Some("strip=a;b=1")),
            (Some("fields=*"), None, None),
            (Some("fields=*&a"), Some("a"), None),
            (
                Some("view=light"),
                None,
                Some("strip=**.linked_integration,invoices"),
            ),
            (
                Some("view=light&view=light&a=1"),
                Some("a=1"),
                Some("strip=**.linked_integration,invoices"),
            ),
            (
                Some("view=light&strip=a,invoices.id&fields=b"),
                None,
                Some("fields=b strip=**.linked_integration,a,invoices"),
            ),
            (
                Some("fields=b&view=%C3%A9tat%202&view=light"),
                None,
                Some("fields=b,id,status strip=**.linked_integration,invoices,partner"),
            ),
        ] {
            match read_query(query, &options) {
                Ok(read) => {
                    assert_eq!(read.remaining.as_deref(), remaining, "{query:?}");
                    assert_eq!(read.view.as_ref().map(View::as_str), view, "{query:?}");
                }
                Err(fault) => assert_eq!(
                    (query, fault.kind),
                    (Some("strip=a+b"), ViewFaultKind::Blank),
                ),
            }
        }
    }

    #[test]
    fn a_query_without_options_is_borrowed() {
        let read = read_query(Some("a=1&b=2"), &options()).expect("no view option");
        assert!(matches!(read.remaining, Some(Cow::Borrowed("a=1&b=2"))));
    }

    #[test]
    fn faults_name_the_option_the_character_and_the_reason() {
        let options = options();
        for (query, sentence) in [
            (
                "strip=",
                r"strip: character 1: a field name is expected here; write the name, or \e where the name is empty",
            ),
            (
                "a=1&fields",
                r"fields: character 1: a field name is expected here; write the name, or \e where the name is empty",
            ),
            (
                "strip=a&strip=b..c",
                r"strip: character 3: a field name is expected here; write the name, or \e where the name is empty",
            ),
            (
                "strip=%C3%A9%28a",
                "strip: character 2: this parenthesis is not closed",
            ),
            (
                "strip=a%2",
                "strip: character 2: % is followed by two hexadecimal digits; write %25 for a percent sign",
            ),
            ("strip=a%FF", "strip: character 2: this is not UTF-8"),
            (
                "view=",
                "view: character 1: no view has this name; known: light, état 2",
            ),
            (
                "view=Light",
                "view: character 1: no view has this name; known: light, état 2",
            ),
            (
                "strip=a&view=none&fields=a*",
                "view: character 1: no view has this name; known: light, état 2",
            ),
        ] {
            let fault = read_query(Some(query), &options).expect_err(query);
            assert_eq!(fault.to_string(), sentence, "{query}");
        }
        let many = format!("strip={}&view=light", vec!["a"; 63].join(","));
        let fault = read_query(Some(&many), &options).expect_err("65 paths");
        assert_eq!(
            fault.to_string(),
            "view: character 1: the list has more than 64 paths, with groups expanded"
        );
    }

    #[test]
    fn option_names_are_configurable() {
        let views = Views {
            strip_option: "x-strip".to_owned(),
            ..Views::default()
        };
        let options = Options::new(&views).expect("the option name is configurable");
        let read = read_query(Some("strip=a&x-strip=b"), &options).expect("a list");
        assert_eq!(read.remaining.as_deref(), Some("strip=a"));
        assert_eq!(read.view.as_ref().map(View::as_str), Some("strip=b"));
        let fault = read_query(Some("x-strip=b,"), &options).expect_err("an incomplete list");
        assert_eq!(fault.option, "x-strip");
    }
}
