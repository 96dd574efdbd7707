//! The forms of pre-signed URLs and of their expiries, one row each.

use stuut_simulator::{Options, Simulator, demo};

use super::*;

/// A URL that expires at `THEN + 3600`, as AWS and R2 sign it (version 4).
const AMZ: &str =
    "https://b.example/k?X-Amz-Date=20231107T053156Z&X-Amz-Expires=3600&X-Amz-Signature=ab";

const HASH: &str = "d41d8cd98f00b204e9800998ecf8427e";

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
        (&format!("#access_token={with_exp}"), After(0)),
        (&format!("#{with_exp}"), After(0)),
        (&format!("/{with_exp}/k.mp3"), After(0)),
        (&format!("/{}/k.mp3", jwt(r#"{"sub":"a"}"#)), Unreadable),
        (
            "/hdntl=exp=1699335116~acl=/*~data=hdntl~hmac=ab/k.m3u8",
            After(0),
        ),
        ("/st=1~exp=1699335116~acl=/*~hmac=ab/k.m3u8", After(0)),
        ("/exp=1699335116~hmac=ab/k.mp4", After(0)),
        (
            "/bcdn_token=ab&expires=1699335116&token_path=%2F/k.m3u8",
            After(0),
        ),
        (
            "/Edge-Cache-Token=Expires=1699335116~Signature=b/k",
            After(0),
        ),
        // Short names, beside a signature.
        (&format!("?oh=00_{HASH}&oe=6549CBCC&_nc_sid=1"), After(0)),
        (&format!("?ex=6549cbcc&is=6549bd7c&hm={HASH}&"), After(0)),
        (&format!("?t=1699335116&h={HASH}"), After(0)),
        (&format!("?st={HASH}&e=1699335116000"), After(0)),
        (&format!("?hash={HASH}&valid=1699335116"), After(0)),
        (
            &format!("?hash={HASH}&validTo=2023-11-07T05:31:56Z"),
            After(0),
        ),
        (&format!("?hash={HASH}&etime=1699335116"), After(0)),
        (&format!("?hash={HASH}&until=1699335116"), After(0)),
        (&format!("?hash={HASH}&deadline=1699335116"), After(0)),
        (&format!("?hash={HASH}&end=1699335116"), After(0)),
        (&format!("?txSecret={HASH}&txTime=6549CBCC"), After(0)),
        (&format!("?wowzatokenhash={HASH}&e=1699335116"), After(0)),
        (&format!("?wowzatokenendtime=1699335116&h={HASH}"), After(0)),
        (&format!("?hash={HASH}&e=5"), Expiry::None),
        ("?e=1699335116&ex=6549cbcc&valid=1699335116", Expiry::None),
        ("?h=1080&s=64&t=1699335116", Expiry::None),
        (&format!("?h={HASH}"), Expiry::None),
        (&format!("?jwt={}", jwt(r#"{"sub":"a"}"#)), Unreadable),
        ("?signature=x", Unreadable),
        ("?auth_key=1699335116-0-0-ab", Unreadable),
        ("?access_token=x", Unreadable),
        ("?q-sign-algorithm=sha1&q-signature=x", Unreadable),
        // No pre-signed URLs.
        ("", Expiry::None),
        ("?a=b&page=2", Expiry::None),
        ("?design=1&expand=partner&experiment=5", Expiry::None),
        ("?experiment=1699335116&export=1699335116", Expiry::None),
        ("/eyJohn.call.mp3?a=1", Expiry::None),
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
        assert_expiry(&format!(r#"["{url}"]"#), *expected);
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
            format!(r#""url":"{PLAIN}","expires_at":"1699335116""#),
            After(0),
        ),
        (
            format!(r#""url":"{PLAIN}","expires_at":1.6993351165e9"#),
            After(0),
        ),
        (
            format!(r#""url":"{PLAIN}","expires_at":"Tue, 07 Nov 2023 05:31:56 GMT""#),
            After(0),
        ),
        (
            format!(r#""url":"{PLAIN}","valid_until":{at_then}"#),
            After(0),
        ),
        (
            format!(r#""validUntil":1699335116,"url":"{PLAIN}""#),
            After(0),
        ),
        (
            format!(r#""url":"{PLAIN}","expires_in":-1,"until":{at_then}"#),
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
fn seconds_beside_a_url_count_from_when_it_was_sent() {
    for seconds in ["60", "\"60\"", "60.5"] {
        for name in ["expires_in", "urlExpiresIn"] {
            let body = format!(r#"{{"url":"https://b.example/k","{name}":{seconds}}}"#);
            let facts = read(body.as_bytes(), &[], at(THEN));
            assert_eq!(expiry(&facts), After(60), "{body}");
        }
    }
}

/// A name with other meanings only adds a deadline.
#[test]
fn a_short_name_does_not_make_a_signed_url_readable() {
    let facts = facts(r#"["https://b.example/k?sig=ab&e=1699335116"]"#);
    assert_eq!(facts.signed_until, Some(at(THEN)));
    assert!(facts.unreadable_expiry);
}

/// The forms of pre-signed URLs must not shorten the lifetime of ordinary calls.
#[test]
fn the_calls_of_the_simulator_have_only_the_expiry_of_their_recording() {
    let now = at(THEN);
    let simulator = Simulator::new(Options::default(), move || now);
    let mut head = HeaderMap::new();
    let credential = format!("Bearer {}", demo::TOKEN).parse();
    head.insert(header::AUTHORIZATION, credential.expect("a value"));
    let (mut found, mut signed) = (0, 0);
    for id in simulator.call_ids("acme") {
        let target = format!("/v1/calls/{id}").parse().expect("a target");
        let answer = simulator.answer(&http::Method::GET, &target, &head, b"");
        if answer.response.status() != 200 {
            continue;
        }
        let facts = read(answer.response.body(), &Freshness::default().live, now);
        assert!(!facts.unreadable_expiry, "{id}");
        let left = facts.signed_until.map(|end| end.duration_since(now));
        let is_long = |left: &Duration| *left >= Duration::from_mins(10);
        assert!(left.iter().flatten().all(is_long), "{id} {left:?}");
        (found, signed) = (found + 1, signed + u32::from(left.is_some()));
    }
    assert!(
        found > 9 && (1..found).contains(&signed),
        "{found} {signed}"
    );
}

#[test]
fn signed_urls_in_response_fields_count() {
    for (name, value) in [
        ("location", AMZ.to_owned()),
        ("content-location", AMZ.replace("https://b.example", "")),
        (
            "location",
            format!(
                "/k/eyJhIjoxfQ.{}.c2ln/k",
                base64(r#"{"exp":1699338716}"#, ['-', '_'])
            ),
        ),
        ("link", format!("</a>; rel=prev, <{AMZ}>; rel=next")),
    ] {
        let mut fields = HeaderMap::new();
        fields.append(name, "/first?page=2".parse().expect("a value"));
        fields.append(name, value.parse().expect("a value"));
        let facts = Facts::default().with_fields(&fields, UNIX_EPOCH);
        assert_eq!(expiry(&facts), After(3600), "{name}");
    }
}
