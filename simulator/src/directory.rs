//! Users of an organisation, telephone numbers, postal addresses.

use serde_json::Value;

use crate::call_context::CallContext;
use crate::json_object::json_object;
use crate::seeded_rng::SeededRng;

/// Number of users of an organisation.
const USERS: u32 = 6;

const GIVEN: [&str; 16] = [
    "Amara", "Bruno", "Chiara", "Dmitri", "Elif", "Farah", "Gustavo", "Hanna", "Imani", "Jonas",
    "Keiko", "Lucía", "Mateo", "Nadia", "Oskar", "Priya",
];
const FAMILY: [&str; 16] = [
    "Abara",
    "Bergström",
    "Castellano",
    "Dufour",
    "Eriksen",
    "Fonseca",
    "Grünwald",
    "Hollis",
    "Ibarra",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Marchetti",
    "Nakamura",
    "Okafor",
    "Pereira",
];
const STREETS: [&str; 8] = [
    "Harbor View Road",
    "Mill Lane",
    "Foundry Street",
    "Orchard Avenue",
    "Canal Place",
    "Summit Drive",
    "Depot Square",
    "Larkspur Court",
];
const CITIES: [(&str, &str, &str); 8] = [
    ("Columbus", "OH", "43215"),
    ("Tacoma", "WA", "98402"),
    ("Savannah", "GA", "31401"),
    ("Duluth", "MN", "55802"),
    ("Albany", "NY", "12207"),
    ("Boise", "ID", "83702"),
    ("Tulsa", "OK", "74103"),
    ("Durham", "NC", "27701"),
];

/// A given name and a family name.
pub(crate) fn name(rng: &mut SeededRng) -> (&'static str, &'static str) {
    (rng.pick(&GIVEN), rng.pick(&FAMILY))
}

/// The local part of an e-mail address for a name, in ASCII.
pub(crate) fn mailbox(given: &str, family: &str) -> String {
    format!("{given}.{family}")
        .to_lowercase()
        .replace(['ö', 'ó'], "o")
        .replace('ü', "u")
        .replace('í', "i")
}

/// A number from the range reserved for fiction: `+1 <area> 555 01xx`.
pub(crate) fn phone(rng: &mut SeededRng) -> String {
    let area = rng.pick(&["202", "312", "415", "503", "617", "704"]);
    format!("+1{area}55501{:02}", rng.within(0..=99))
}

/// The id of the organisation's user of this number.
pub(crate) fn user_id(context: &CallContext, number: u32) -> String {
    context.id("user", &(number % USERS).to_string())
}

/// The organisation's user of this number, modulo the number of users.
pub(crate) fn user(context: &CallContext, number: u32) -> Value {
    let mut rng = context.rng("user's details", &(number % USERS).to_string());
    let (given, family) = name(&mut rng);
    let mailbox = mailbox(given, family);
    let id = user_id(context, number);
    json_object! {
        "email": format!("{mailbox}@{}.example", context.organisation),
        "family_name": family,
        "given_name": given,
        "object": "user",
        "organization_id": context.organisation_id(),
        "created_at": context.days_ago(&mut rng, 400..=900),
        "dashboard_settings": json_object! {
            "thread_emails_sort_order": rng.pick(&["asc", "desc"]),
        },
        "default_email_sender_id": context.id("sender", &(number % USERS).to_string()),
        "invited_by_user_id": (!number.is_multiple_of(USERS)).then(|| user_id(context, 0)),
        "is_access_approved": true,
        "is_org_admin": number.is_multiple_of(USERS),
        "modified_at": context.days_ago(&mut rng, 1..=300),
        "name": format!("{given} {family}"),
        "onboarding_required": rng.one_in(5),
        "profile_picture": format!("https://static.{}.example/people/{id}.png", context.organisation),
        "id": id,
        "selected": rng.one_in(2),
    }
}

/// The postal address of `name`, as in partners, contacts and invoices.
pub(crate) fn address(context: &CallContext, name: &str, kind: &str) -> Value {
    let mut rng = context.rng("address", &format!("{name}/{kind}"));
    let (city, state, postal_code) = rng.pick(&CITIES);
    json_object! {
        "object": "address",
        "city": city,
        "coordinates": coordinates(&mut rng),
        "country": "US",
        "created_at": context.days_ago(&mut rng, 200..=800),
        "description": rng.one_in(3).then_some("Deliveries at the rear, ring twice"),
        "line1": format!("{} {}", rng.within(1..=990), rng.pick(&STREETS)),
        "line2": rng.one_in(2).then(|| format!("Suite {}", rng.within(100..=940))),
        "modified_at": context.days_ago(&mut rng, 1..=200),
        "name": name,
        "phone": phone(&mut rng),
        "postal_code": postal_code,
        "remote_id": rng.within(10_000..=99_999).to_string(),
        "state": state,
        "type": kind,
    }
}

/// One of several addresses of a contact: with an id, without a phone number.
pub(crate) fn contact_address(
    context: &CallContext,
    name: &str,
    kind: &str,
    is_primary: bool,
) -> Value {
    let mut address = address(context, name, kind);
    if let Some(members) = address.as_object_mut() {
        members.remove("phone");
        members.remove("remote_id");
        let id = context.id("addr", &format!("{name}/{kind}"));
        members.insert("id".to_owned(), id.into());
        members.insert("is_primary".to_owned(), is_primary.into());
    }
    address
}

/// The numeric id of an address.
pub(crate) fn address_number(context: &CallContext, name: &str, kind: &str) -> u32 {
    context
        .rng("address number", &format!("{name}/{kind}"))
        .within(1_000..=99_999)
}

fn coordinates(rng: &mut SeededRng) -> Value {
    if rng.one_in(4) {
        return json_object! {};
    }
    let fraction = |rng: &mut SeededRng| f64::from(rng.within(0..=9_999)) / 10_000.0;
    json_object! {
        "latitude": f64::from(rng.within(31..=47)) + fraction(rng),
        "longitude": -f64::from(rng.within(73..=122)) - fraction(rng),
    }
}
