//! People and places: the organisation's users, telephone numbers, postal addresses.

use serde_json::Value;

use super::dice::Dice;
use super::object::object;
use super::scene::Scene;

/// How many users an organisation has.
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
pub(super) fn name(dice: &mut Dice) -> (&'static str, &'static str) {
    (dice.pick(&GIVEN), dice.pick(&FAMILY))
}

/// The name as the left part of an e-mail address, in ASCII.
pub(super) fn mailbox(given: &str, family: &str) -> String {
    format!("{given}.{family}")
        .to_lowercase()
        .replace(['ö', 'ó'], "o")
        .replace('ü', "u")
        .replace('í', "i")
}

/// A number of the range that is kept free for stories: `+1 <area> 555 01xx`.
pub(super) fn phone(dice: &mut Dice) -> String {
    let area = dice.pick(&["202", "312", "415", "503", "617", "704"]);
    format!("+1{area}55501{:02}", dice.within(0..=99))
}

/// The id of the organisation's user of this number.
pub(super) fn user_id(scene: &Scene, number: u32) -> String {
    scene.id("user", &(number % USERS).to_string())
}

/// The organisation's user of this number; numbers go round.
pub(super) fn user(scene: &Scene, number: u32) -> Value {
    let mut dice = scene.dice("user's details", &(number % USERS).to_string());
    let (given, family) = name(&mut dice);
    let mailbox = mailbox(given, family);
    let id = user_id(scene, number);
    object! {
        "email": format!("{mailbox}@{}.example", scene.organisation),
        "family_name": family,
        "given_name": given,
        "object": "user",
        "organization_id": scene.organisation_id(),
        "created_at": scene.days_ago(&mut dice, 400..=900),
        "dashboard_settings": object! {
            "thread_emails_sort_order": dice.pick(&["asc", "desc"]),
        },
        "default_email_sender_id": scene.id("sender", &(number % USERS).to_string()),
        "invited_by_user_id": (!number.is_multiple_of(USERS)).then(|| user_id(scene, 0)),
        "is_access_approved": true,
        "is_org_admin": number.is_multiple_of(USERS),
        "modified_at": scene.days_ago(&mut dice, 1..=300),
        "name": format!("{given} {family}"),
        "onboarding_required": dice.one_in(5),
        "profile_picture": format!("https://static.{}.example/people/{id}.png", scene.organisation),
        "id": id,
        "selected": dice.one_in(2),
    }
}

/// The postal address of `name`, as partners, contacts and invoices show it.
pub(super) fn address(scene: &Scene, name: &str, kind: &str) -> Value {
    let mut dice = scene.dice("address", &format!("{name}/{kind}"));
    let (city, state, postal_code) = dice.pick(&CITIES);
    object! {
        "object": "address",
        "city": city,
        "coordinates": coordinates(&mut dice),
        "country": "US",
        "created_at": scene.days_ago(&mut dice, 200..=800),
        "description": dice.one_in(3).then_some("Deliveries at the rear, ring twice"),
        "line1": format!("{} {}", dice.within(1..=990), dice.pick(&STREETS)),
        "line2": dice.one_in(2).then(|| format!("Suite {}", dice.within(100..=940))),
        "modified_at": scene.days_ago(&mut dice, 1..=200),
        "name": name,
        "phone": phone(&mut dice),
        "postal_code": postal_code,
        "remote_id": dice.within(10_000..=99_999).to_string(),
        "state": state,
        "type": kind,
    }
}

/// One of several addresses of a contact: with an id, without a telephone.
pub(super) fn contact_address(scene: &Scene, name: &str, kind: &str, is_primary: bool) -> Value {
    let mut address = address(scene, name, kind);
    if let Some(members) = address.as_object_mut() {
        members.remove("phone");
        members.remove("remote_id");
        let id = scene.id("addr", &format!("{name}/{kind}"));
        members.insert("id".to_owned(), id.into());
        members.insert("is_primary".to_owned(), is_primary.into());
    }
    address
}

/// The number of an address, where the API refers to it by a number.
pub(super) fn address_number(scene: &Scene, name: &str, kind: &str) -> u32 {
    scene
        .dice("address number", &format!("{name}/{kind}"))
        .within(1_000..=99_999)
}

fn coordinates(dice: &mut Dice) -> Value {
    if dice.one_in(4) {
        return object! {};
    }
    let fraction = |dice: &mut Dice| f64::from(dice.within(0..=9_999)) / 10_000.0;
    object! {
        "latitude": f64::from(dice.within(31..=47)) + fraction(dice),
        "longitude": -f64::from(dice.within(73..=122)) - fraction(dice),
    }
}
