//! The partner: the company that owes, with its contacts, portals and tags.

use serde_json::Value;

use super::object::object;
use super::scene::Scene;
use super::{integration, people};

/// How many partners an organisation has; the calls' numbers go round.
pub(super) const PARTNERS: u32 = 40;

const FIRST: [&str; 10] = [
    "Northwind",
    "Bluestone",
    "Harbor",
    "Silverleaf",
    "Ironbridge",
    "Cedar",
    "Kestrel",
    "Granite",
    "Maple",
    "Redwood",
];
const SECOND: [&str; 8] = [
    "Freight",
    "Dental Supply",
    "Foods",
    "Robotics",
    "Packaging",
    "Lighting",
    "Textiles",
    "Marine",
];

/// How much of a partner is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Everything the document has.
    Full,
    /// No assignee, contacts, portals, tags and integration.
    Short,
}

/// A partner's trading name.
pub(super) fn name(scene: &Scene, number: u32) -> String {
    let mut dice = scene.dice("partner's name", &number.to_string());
    format!("{} {}", dice.pick(&FIRST), dice.pick(&SECOND))
}

/// The partner's part of the internet.
pub(super) fn domain(scene: &Scene, number: u32) -> String {
    let name = name(scene, number).to_lowercase().replace(' ', "-");
    format!("{name}.example")
}

/// A partner's id.
pub(super) fn id(scene: &Scene, number: u32) -> String {
    scene.id("ptnr", &number.to_string())
}

/// The currency a partner is billed in.
pub(super) fn currency(scene: &Scene, number: u32) -> &'static str {
    scene
        .dice("partner's currency", &number.to_string())
        .pick(&["USD", "USD", "USD", "CAD", "EUR", "GBP"])
}

/// The name and the telephone of the person who answers calls.
pub(super) fn who_answers(scene: &Scene, number: u32) -> (&'static str, &'static str, String) {
    let mut dice = scene.dice("contact", &format!("{number}/0"));
    let (given, family) = people::name(&mut dice);
    (given, family, people::phone(&mut dice))
}

/// The partner of this number.
pub(super) fn partner(scene: &Scene, number: u32, detail: Detail) -> Value {
    let mut dice = scene.dice("partner's details", &number.to_string());
    let name = name(scene, number);
    let domain = domain(scene, number);
    let full = detail == Detail::Full;
    let (given, family, phone) = who_answers(scene, number);
    let metadata = match dice.within(0..=3) {
        0 => Value::Null,
        1 => Value::from("imported"),
        2 => Value::from(vec!["imported", "reviewed"]),
        _ => object! { "Id": dice.within(1..=9_999).to_string(), "SyncToken": "3" },
    };
    let (portals, contacts, tags) = match detail {
        Detail::Full => (
            vec![portal(scene, number)],
            vec![contact(scene, number, 0), contact(scene, number, 1)],
            vec![tag(scene, number)],
        ),
        Detail::Short => (vec![], vec![], vec![]),
    };
    object! {
        "account_number": format!("AC-{:05}", dice.within(1..=99_999)),
        "ap_portals": portals,
        "assignee": full.then(|| people::user(scene, number)),
        "assignee_id": people::user_id(scene, number),
        "billing_address": people::address(scene, &name, "billing"),
        "billing_address_id": people::address_number(scene, &name, "billing"),
        "contacts": contacts,
        "created_at": scene.days_ago(&mut dice, 300..=800),
        "currency": currency(scene, number),
        "custom_fields": match dice.within(0..=2) {
            0 => Value::Null,
            1 => object! { "region": dice.pick(&["east", "west"]), "credit_limit": 50_000 },
            _ => Value::from(Vec::<Value>::new()),
        },
        "description": dice.one_in(2).then_some("Net 30, statements on the first of the month"),
        "email": format!("ap@{domain}"),
        "family_name": family,
        "finix_identity_id": dice.one_in(3).then(|| dice.id("ID")),
        "given_name": given,
        "id": id(scene, number),
        "invoice_prefix": name[..3].to_uppercase(),
        "is_active": true,
        "is_company": true,
        "is_email_disabled": false,
        "is_phone_disabled": false,
        "is_primary_email": true,
        "is_primary_phone": true,
        "last_outreach_at": scene.days_ago(&mut dice, 1..=20),
        "last_outreach_channel": dice.pick(&["email", "call"]),
        "last_outreach_to": format!("ap@{domain}"),
        "last_synced_at": scene.days_ago(&mut dice, 0..=1),
        "legal_name": format!("{name}, Inc."),
        "linked_integration": full.then(|| integration::linked(scene)),
        "modified_at": scene.days_ago(&mut dice, 0..=5),
        "object": "partner",
        "on_behalf_of": dice.one_in(4).then(|| format!("{name} Holdings")),
        "on_behalf_of_phone": Value::Null,
        "organization_id": scene.organisation_id(),
        "parent_id": Value::Null,
        "phone": phone,
        "remote_created_at": scene.days_ago(&mut dice, 800..=900),
        "remote_id": dice.within(100..=99_999).to_string(),
        "remote_metadata": metadata,
        "remote_modified_at": scene.days_ago(&mut dice, 5..=30),
        "remote_parent_id": Value::Null,
        "remote_payment_portal_url": format!("https://pay.{}.example/{}", scene.organisation, id(scene, number)),
        "shipping_address": full.then(|| people::address(scene, &name, "shipping")),
        "status_metadata": dice.one_in(2).then(|| object! { "score": dice.within(1..=100) }),
        "sync_status": dice.pick(&["complete", "partial"]),
        "tags": tags,
        "tax_number": format!("{:02}-{:07}", dice.within(10..=98), dice.within(0..=9_999_999)),
        "timezone": dice.pick(&["America/New_York", "America/Chicago", "America/Los_Angeles"]),
        "name": name,
    }
}

fn portal(scene: &Scene, number: u32) -> Value {
    let which = number.to_string();
    let mut dice = scene.dice("portal", &which);
    let account_id = scene.id("portacct", "");
    let provider = dice.pick(&["coupa", "ariba"]);
    object! {
        "object": "partner_ap_portal",
        "partner_id": id(scene, number),
        "id": scene.id("portal", &which),
        "account": object! {
            "object": "ap_portal_account",
            "organization_id": scene.organisation_id(),
            "provider": provider,
            "id": account_id.as_str(),
            "available_operations": vec!["submit_invoice", "download_report"],
            "created_at": scene.days_ago(&mut dice, 200..=400),
            "modified_at": scene.days_ago(&mut dice, 10..=200),
        },
        "account_id": account_id,
        "account_key": Value::Null,
        "created_at": scene.days_ago(&mut dice, 100..=200),
        "customer_identifier": format!("SUP-{}", dice.within(1_000..=9_999)),
        "customer_name": name(scene, number),
        "invoice_submission_guidelines": "One purchase order per invoice; attach proof of delivery.",
        "is_enabled": true,
        "is_invoice_submission_enabled": true,
        "is_report_download_enabled": dice.one_in(2),
        "modified_at": scene.days_ago(&mut dice, 1..=100),
        "name": format!("{} via {provider}", name(scene, number)),
        "provider": provider,
        "report_email": format!("reports@{}.example", scene.organisation),
        "report_frequency": dice.pick(&["daily", "weekly"]),
    }
}

fn contact(scene: &Scene, partner: u32, which: u32) -> Value {
    let key = format!("{partner}/{which}");
    let mut dice = scene.dice("contact", &key);
    // Name and telephone are rolled first: `who_answers` rolls the same.
    let (given, family) = people::name(&mut dice);
    let phone = people::phone(&mut dice);
    let name = format!("{given} {family}");
    let is_primary = which == 0;
    let kinds: &[&str] = if is_primary { &["billing"] } else { &[] };
    let addresses: Vec<_> = kinds
        .iter()
        .map(|kind| people::contact_address(scene, &name, kind, *kind == "billing"))
        .collect();
    object! {
        "email": format!("{}@{}", people::mailbox(given, family), domain(scene, partner)),
        "object": "contact",
        "partner_id": id(scene, partner),
        "id": scene.id("cont", &key),
        "address": people::address(scene, &name, "billing"),
        "address_id": people::address_number(scene, &name, "billing"),
        "addresses": addresses,
        "created_at": scene.days_ago(&mut dice, 200..=700),
        "custom_fields": Value::Null,
        "external_role": if is_primary { "billing_contact" } else { "other" },
        "family_name": family,
        "given_name": given,
        "internal_role": dice.one_in(2).then_some("account_manager"),
        "is_email_disabled": false,
        "is_phone_disabled": !is_primary,
        "is_primary": is_primary,
        "is_primary_email": is_primary,
        "is_primary_phone": is_primary,
        "job_title": dice.pick(&["Accounts Payable Lead", "Controller", "Office Manager"]),
        "modified_at": scene.days_ago(&mut dice, 1..=200),
        "name": name,
        "phone": phone,
        "remote_created_at": scene.days_ago(&mut dice, 700..=800),
        "remote_id": dice.within(100..=99_999).to_string(),
        "remote_metadata": dice.one_in(2).then(|| object! { "Active": true }),
        "remote_modified_at": scene.days_ago(&mut dice, 5..=100),
        "status_metadata": Value::Null,
    }
}

fn tag(scene: &Scene, partner: u32) -> Value {
    let mut dice = scene.dice("tag", &partner.to_string());
    let name = dice.pick(&["Key account", "Slow payer", "Portal only"]);
    let tag_id = scene.id("tag", name);
    object! {
        "object": "partner_tag",
        "partner_id": id(scene, partner),
        "tag_id": tag_id.as_str(),
        "created_at": scene.days_ago(&mut dice, 10..=100),
        "is_manual": true,
        "modified_at": scene.days_ago(&mut dice, 1..=10),
        "tag": object! {
            "name": name,
            "object": "tag",
            "id": tag_id,
            "color": dice.pick(&["#7a5cff", "#ff8a3d", "#2f6f4f"]),
            "created_at": scene.days_ago(&mut dice, 200..=300),
            "modified_at": scene.days_ago(&mut dice, 100..=200),
            "rule_condition": object! {},
        },
    }
}
