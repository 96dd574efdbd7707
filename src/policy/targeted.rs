//! `CDN-Cache-Control`: cache directives for us alone, as a structured field (RFC 9213).

use http::{HeaderMap, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::directive::{Delta, MOST_SECONDS};
use super::directives::ResponseDirectives;

/// What the field says, if it is valid and not empty; else `None`, as if it were absent
/// (RFC 9213 §2.1).
pub(super) fn read(head: &HeaderMap) -> Option<ResponseDirectives> {
    let mut lines = head.get_all(header::CDN_CACHE_CONTROL).iter();
    let first = lines.next()?.as_bytes().to_vec();
    // One dictionary over all lines (RFC 9651 §4.2): a member may come again, and then the
    // last one stands.
    let field = lines.fold(first, |mut field, line| {
        field.extend_from_slice(b", ");
        field.extend_from_slice(line.as_bytes());
        field
    });
    let members: Dictionary = Parser::new(&field).parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut said = ResponseDirectives {
        targeted: true,
        ..ResponseDirectives::default()
    };
    for (name, member) in &members {
        // Parameters mean nothing here (RFC 9213 §2.1), and no directive is an inner list.
        if let ListEntry::Item(item) = member {
            add(&mut said, name.as_str(), &item.bare_item);
        }
    }
    Some(said)
}

/// A value of the wrong type is not coerced but ignored (RFC 9213 §2.1).
fn add(said: &mut ResponseDirectives, name: &str, value: &BareItem) {
    let set = matches!(value, BareItem::Boolean(true));
    let names = matches!(value, BareItem::String(_));
    match name {
        "no-store" => said.no_store = set,
        "no-cache" => said.no_cache = set || names,
        "private" => said.private = set || names,
        "public" => said.public = set,
        "must-revalidate" => said.must_revalidate = set,
        "proxy-revalidate" => said.proxy_revalidate = set,
        "must-understand" => said.must_understand = set,
        "no-transform" => said.no_transform = set,
        "max-age" => said.max_age = delta(value),
        "s-maxage" => said.s_maxage = delta(value),
        "stale-while-revalidate" => said.stale_while_revalidate = delta(value),
        "stale-if-error" => said.stale_if_error = delta(value),
        _ => {}
    }
}

/// A negative number has the right type and no meaning: invalid, and so stale.
fn delta(value: &BareItem) -> Option<Delta> {
    let BareItem::Integer(number) = value else {
        return None;
    };
    Some(match u64::try_from(i64::from(*number)) {
        Ok(seconds) => {
            Delta::Seconds(u32::try_from(seconds).map_or(MOST_SECONDS, |s| s.min(MOST_SECONDS)))
        }
        Err(_) => Delta::Invalid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Delta::{Invalid, Seconds};

    fn said(lines: &[&'static str]) -> Option<ResponseDirectives> {
        let mut head = HeaderMap::new();
        for line in lines {
            head.append(
                header::CDN_CACHE_CONTROL,
                header::HeaderValue::from_static(line),
            );
        }
        read(&head)
    }

    #[test]
    fn a_field_that_is_empty_or_no_dictionary_is_absent() {
        for lines in [
            &[][..],
            &[""],
            &["  "],
            &["max-age=60,"],
            &["Max-Age=60"],
            &["max-age=60 public"],
            &["max-age=60", "&"],
            &["max-age=0060000000000000"],
            &["max-age=\"60"],
        ] {
            assert_eq!(said(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn members_have_types() {
        let table: &[(&[&str], Option<Delta>)] = &[
            (&["max-age=60"], Some(Seconds(60))),
            (&["max-age=60;x=1"], Some(Seconds(60))),
            (&["max-age=1", "max-age=60"], Some(Seconds(60))),
            (&["max-age=999999999999999"], Some(Seconds(MOST_SECONDS))),
            (&["max-age=-1"], Some(Invalid)),
            (&["max-age=\"60\""], None),
            (&["max-age=60.0"], None),
            (&["max-age=(60)"], None),
            (&["max-age"], None),
            (&["max-age=60, max-age"], None),
            (&["s-maxage=60"], None),
        ];
        for (lines, then) in table {
            let said = said(lines).expect("the rows are dictionaries");
            assert_eq!(said.max_age, *then, "{lines:?}");
        }
    }

    #[test]
    fn a_false_or_mistyped_flag_is_not_set() {
        for line in [
            "no-store=?0",
            "no-store=1",
            "no-store=\"x\"",
            "no-store=?1, no-store=?0",
        ] {
            assert!(!said(&[line]).expect("a dictionary").no_store, "{line}");
        }
        for line in ["private", "private=?1", "private=\"x\""] {
            assert!(said(&[line]).expect("a dictionary").private, "{line}");
        }
    }
}
