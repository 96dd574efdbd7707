//! The forms of pre-signed URLs and of their expiries, one row each.

use super::*;

/// A URL that expires at `THEN + 3600`, as AWS and R2 sign it (version 4).
const AMZ: &str =
    "https://b.example/k?X-Amz-Date=20231107T053156Z&X-Amz-Expires=3600&X-Amz-Signature=ab";

/// A URL signed in a way that we cannot read.
const OPAQUE: &str = "https://b.example/k?v=1&sig=ab";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    /// `THEN` and this many seconds.
    After(u64),
    Unreadable,
    /// Not a pre-signed URL.
    None,
}
use Expiry::{After, Unreadable};

fn expiry(facts: &Facts) -> Expiry {
    match (facts.signed_until, facts.unreadable_expiry) {
        (Some(until), false) => After(
            until
                .duration_since(at(THEN))
                .expect("not before THEN")
                .as_secs(),
        ),
        (None, true) => Unreadable,
        (None, false) => Expiry::None,
        (Some(_), true) => panic!("both: {facts:?}"),
    }
}

#[track_caller]
fn assert_expiry(body: &str, expected: Expiry) {
    assert_eq!(expiry(&facts(body)), expected, "{body}");
}

/// The base64 of `CloudFront` and of JWTs, without padding.
fn base64(text: &str, last: [char; 2]) -> String {
    let alphabet = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(last);
    let alphabet: Vec<char> = alphabet.collect();
    let bits = |byte: u8| (0..8).rev().map(move |bit| usize::from(byte >> bit & 1));
    let bits: Vec<usize> = text.bytes().flat_map(bits).collect();
    let digits = bits.chunks(6).map(|six| {
        let value = six.iter().fold(0, |value, bit| value << 1 | bit);
        alphabet[value << (6 - six.len())]
    });
    digits.collect()
}

#[test]
fn the_expiry_of_every_signer_is_read() {
    let policy = r#"{"Statement":[{"Resource":"https://d/?*","Condition":{"DateGreaterThan":{"AWS:EpochTime":1},"DateLessThan":{"AWS:EpochTime":1699335116}}}]}"#;
    let policy = base64(
        &policy.replace(r#""DateGreaterThan":{"AWS:EpochTime":1},"#, ""),
        ['-', '~'],
    );
    let jwt = |claims: &str| {
        let part = |text| base64(text, ['-', '_']);
        format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#), part(claims))
    };
    let with_exp = jwt(r#"{"sub":"a", "exp": 1699335116}"#);
    let amz = "X-Amz-Date=20231107T053156Z&X-Amz-Expires";
    let rows: &[(&str, Expiry)] = &[
        // AWS version 4 and 4a, R2, and those that imitate it.
        (AMZ, After(3600)),
        (&format!("?{amz}=604800"), After(604_800)),
        (
            &format!("?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Region-Set=*&{amz}=60"),
            After(60),
        ),
        (&format!("?{amz}=600&X-Amz-Security-Token=t"), After(600)),
        (&format!("?{amz}=7200&X-Amz-Security-Token=t"), After(3600)),
        (&format!("?{}=60", amz.to_lowercase()), After(60)),
        ("?x-amz-expires=60&x-amz-date=20231107T053156Z", After(60)),
        (
            "?X-Goog-Date=20231107T053156Z&X-Goog-Expires=60&X-Goog-Signature=a",
            After(60),
        ),
        (
            "?x-oss-date=20231107T053156Z&x-oss-expires=60&x-oss-signature=a",
            After(60),
        ),
        (&format!("?{amz}="), Unreadable),
        (&format!("?{amz}=soon"), Unreadable),
        (&format!("?{amz}=-5"), Unreadable),
        (&format!("?{amz}=18446744073709551615"), Unreadable),
        ("?X-Amz-Expires=60", Unreadable),
        ("?X-Amz-Signature=ab", Unreadable),
        // AWS version 2, CloudFront, Google version 2 and CDN.
        (
            "?AWSAccessKeyId=a&Expires=1699335116&Signature=b%3D",
            After(0),
        ),
        ("?Expires=1699335116&Signature=b&Key-Pair-Id=c", After(0)),
        ("?Expires=1699335116&KeyName=a&Signature=b", After(0)),
        ("?Expires=1699335116&GoogleAccessId=a&Signature=b", After(0)),
        ("?Expires=never&Signature=b", Unreadable),
        ("?Expires=300&Signature=b", Unreadable),
        (
            &format!("?Policy={policy}__&Signature=b&Key-Pair-Id=c"),
            After(0),
        ),
        ("?Policy=a&Signature=b&Key-Pair-Id=c", Unreadable),
        (
            "?Edge-Cache-Token=Expires=1699335116~URLPrefix=a~Signature=b",
            After(0),
        ),
        // Azure.
        ("?sv=1&se=2023-11-07T05%3A31%3A56Z&sr=b&sig=b%2Bc", After(0)),
        ("?se=2023-11-07T05:31:56Z&sig=b", After(0)),
        (
            "?se=2023-11-08T00:00:00Z&ske=2023-11-07T05:31:56Z&sig=b",
            After(0),
        ),
        ("?se=2023-11-08&sig=b", After(66_484)),
        ("?sv=1&si=policy&sig=b", Unreadable),
        // Others.
        ("?exp=1699335116&token=a", After(0)),
        ("?expires=1699335116000&hmac=a", After(0)),
        ("?expires_at=2023-11-07T05:31:56Z&signature=a", After(0)),
        ("?expiry=1699335116", After(0)),
        ("?hdnts=st=1~exp=1699335116~acl=/*~hmac=a", After(0)),
        (&format!("?token={with_exp}"), After(0)),
        (&format!("?t={with_exp}&a=1"), After(0)),
        (&format!("?jwt={}", jwt(r#"{"sub":"a"}"#)), Unreadable),
        ("?signature=x", Unreadable),
        ("?access_token=x", Unreadable),
        ("?q-sign-algorithm=sha1&q-signature=x", Unreadable),
        // No pre-signed URLs.
        ("", Expiry::None),
        ("?a=b&page=2", Expiry::None),
        ("?design=1&expand=partner&experiment=5", Expiry::None),
        ("?se=x&key=1", Expiry::None),
        ("#?", Expiry::None),
    ];
    for (query, expected) in rows {
        let url = if query.starts_with("https") {
            (*query).to_owned()
        } else {
            format!("https://b.example/k{query}")
        };
        assert_expiry(&format!(r#"{{"recording_url":"{url}"}}"#), *expected);
        assert_expiry(&format!(r#""{url}#t=9""#), *expected);
        assert_expiry(&format!("<a href={url}>"), *expected);
    }
}

#[test]
fn a_signed_url_is_found_in_every_form_of_text() {
    let amp = AMZ.replace('&', "&amp;");
    let encoded = |text: &str| {
        let escape = |c: char| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' => c.to_string(),
            other => format!("%{:02X}", u32::from(other)),
        };
        text.chars().map(escape).collect::<String>()
    };
    let escaped = |text: &str| {
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('/', "\\/")
    };
    let object = format!(r#"{{"a":"{AMZ}"}}"#);
    let redirector = format!("https://r.example/?u={}&v=1", encoded(AMZ));
    for text in [
        AMZ.to_owned(),
        AMZ.replace("https", "HTTPS"),
        format!("see {AMZ} there"),
        format!("See {AMZ}."),
        format!("({AMZ}), and"),
        format!("[recording]({AMZ})"),
        format!("<{AMZ}>; rel=next"),
        format!("**{AMZ}**"),
        format!("a=1 {AMZ}\\nb=2"),
        format!("a\\n{AMZ}\\tb"),
        format!(r#"<a href=\"{AMZ}\">x<\/a>"#),
        format!(r#"<a href=\"{amp}\">x<\/a>"#),
        format!("<a href='{amp}'>x</a>"),
        amp.clone(),
        AMZ.replace('&', "&#38;"),
        AMZ.replace('&', "&#x26;"),
        amp.replace('&', "&amp;"),
        AMZ.replace('/', r"\/"),
        AMZ.replace('&', r"\u0026"),
        AMZ.replace('&', r"\u0026").replace('=', r"\u003d"),
        AMZ.replace('=', r"\u003D").replace('?', r"\u003F"),
        AMZ.replace('h', r"\u0068").replace('?', r"\u003f"),
        escaped(&object),
        escaped(&escaped(&object)),
        escaped(&object.replace('&', r"\u0026")),
        redirector.clone(),
        format!("https://r.example/?u={}", encoded(&redirector)),
        format!("https://r.example/?u={}", encoded(&encoded(AMZ))),
        format!("https://r.example/?u={AMZ}"),
        format!("https://r.example/#/player?src={}", encoded(AMZ)),
        encoded(AMZ),
        AMZ.replace("https:", ""),
        AMZ.replace("https://b.example", ""),
    ] {
        for body in [
            format!(r#"{{"a":"{text}"}}"#),
            format!(r#"[[{{"a":["x","{text}"]}}]]"#),
            format!(r#"{{"{text}":1}}"#),
            // Not JSON: a URL is found all the same.
            format!(r#"{{"a":NaN,"b":"{text}"}}"#),
        ] {
            assert_expiry(&body, After(3600));
        }
    }
}

#[test]
fn the_first_expiry_that_is_not_over_counts() {
    let later = AMZ.replace("3600", "7200");
    assert_expiry(&format!(r#"{{"a":"{later}","b":"{AMZ}"}}"#), After(3600));
    assert_expiry(&format!(r#"["{AMZ} {later}"]"#), After(3600));
    let body = format!(r#"["{AMZ}","{later}"]"#);
    let sent = |seconds| {
        let sent = at(THEN + seconds);
        read(body.as_bytes(), &[], sent).signed_until
    };
    assert_eq!(sent(3599), Some(at(THEN + 3600)));
    assert_eq!(sent(3600), Some(at(THEN + 7200)));
    assert_eq!(sent(7200), None);
}

#[test]
fn the_expiry_beside_a_url_counts() {
    const PLAIN: &str = "https://b.example/k";
    let at_then = r#""2023-11-07T05:31:56Z""#;
    for (members, expected) in [
        (
            r#""url":null,"url_expires_at":"2023-11-07T05:31:56Z""#.to_owned(),
            Expiry::None,
        ),
        (format!(r#""expires_at":{at_then}"#), Expiry::None),
        (
            format!(r#""url":"{PLAIN}","expires_at":{at_then}"#),
            After(0),
        ),
        (
            format!(r#""expiresAt":{at_then},"url":"{PLAIN}""#),
            After(0),
        ),
        (
            format!(r#""url":"{PLAIN}","recordingUrlExpiresAt":1699335116"#),
            After(0),
        ),
        (
            format!(r#""url":"{PLAIN}","expires_at":1699335116000"#),
            After(0),
        ),
        (
            format!(r#""url":"{PLAIN}","expires_at":null"#),
            Expiry::None,
        ),
        (
            format!(
                r#""a":"{PLAIN}","a_expires_at":"2024-01-01T00:00:00Z","b":"{PLAIN}","b_expires_at":{at_then}"#
            ),
            After(0),
        ),
        (format!(r#""url":"{AMZ}","expires_at":{at_then}"#), After(0)),
        (
            format!(r#""url":"{AMZ}","expires_at":"2024-01-01T00:00:00Z""#),
            After(3600),
        ),
        (
            format!(r#""url":"{PLAIN}","a":{{"expires_at":{at_then}}}"#),
            Expiry::None,
        ),
        (
            format!(r#""presigned_url":"key","presigned_url_expires_at":{at_then}"#),
            After(0),
        ),
        (
            r#""presigned_url":null,"presigned_url_expires_at":null"#.to_owned(),
            Expiry::None,
        ),
        (
            format!(r#""url":"{OPAQUE}","expires_at":{at_then}"#),
            After(0),
        ),
        (format!(r#""url":"{OPAQUE}","expires_at":null"#), Unreadable),
        (r#""presigned_url":"""#.to_owned(), Expiry::None),
        // Signed by its name.
        (format!(r#""presigned_url":"{PLAIN}""#), Unreadable),
        (
            format!(r#""presigned_url":"{PLAIN}","presigned_url_expires_at":"soon""#),
            Unreadable,
        ),
        (
            format!(r#""presigned_url":"{AMZ}","presigned_url_expires_at":null"#),
            After(3600),
        ),
        (format!(r#""presigned_url":"{OPAQUE}""#), Unreadable),
    ] {
        assert_expiry(&format!("{{{members}}}"), expected);
        assert_expiry(
            &format!(r#"{{"a":[{{"b":{{{members}}}}}],"c":1}}"#),
            expected,
        );
    }
}

#[test]
fn signed_urls_in_response_fields_count() {
    for (name, value) in [
        ("location", AMZ.to_owned()),
        ("content-location", AMZ.replace("https://b.example", "")),
        ("link", format!("</a>; rel=prev, <{AMZ}>; rel=next")),
    ] {
        let mut fields = HeaderMap::new();
        fields.append(name, "/first?page=2".parse().expect("a value"));
        fields.append(name, value.parse().expect("a value"));
        let facts = Facts::default().with_fields(&fields, UNIX_EPOCH);
        assert_eq!(expiry(&facts), After(3600), "{name}");
    }
}
