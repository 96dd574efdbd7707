//! The partner: the debtor company, with its contacts, portals and tags.

use serde_json::{Map, Value};

use crate::call_context::CallContext;
use crate::json_object::{json_members, json_object};
use crate::seeded_rng::SeededRng;
use crate::{directory, integration};

/// Number of partners of an organisation; calls are assigned by their number, modulo this.
pub(crate) const PARTNERS: u32 = 40;

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

/// The amount of detail of a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All members.
    Full,
    /// Without assignee, contacts, portals, tags and integration.
    Short,
}

/// A partner's trading name.
pub(crate) fn name(context: &CallContext, number: u32) -> String {
    let mut rng = context.rng("partner's name", &number.to_string());
    format!("{} {}", rng.pick(&FIRST), rng.pick(&SECOND))
}

pub(crate) fn domain(context: &CallContext, number: u32) -> String {
    let name = name(context, number).to_lowercase().replace(' ', "-");
    format!("{name}.example")
}

pub(crate) fn id(context: &CallContext, number: u32) -> String {
    context.id("ptnr", &number.to_string())
}

/// The currency a partner is billed in.
pub(crate) fn currency(context: &CallContext, number: u32) -> &'static str {
    context
        .rng("partner's currency", &number.to_string())
        .pick(&["USD", "USD", "USD", "CAD", "EUR", "GBP"])
}

/// The given name, family name and phone number of the contact who answers calls.
pub(crate) fn call_contact(
    context: &CallContext,
    number: u32,
) -> (&'static str, &'static str, String) {
    let mut rng = context.rng("contact", &format!("{number}/0"));
    let (given, family) = directory::name(&mut rng);
    (given, family, directory::phone(&mut rng))
}

/// The partner of this number.
pub(crate) fn partner(context: &CallContext, number: u32, detail: Detail) -> Value {
    let mut rng = context.rng("partner's details", &number.to_string());
    let name = name(context, number);
    let full = detail == Detail::Full;
    let metadata = metadata(&mut rng);
    let (portals, contacts, tags) = match detail {
        Detail::Full => (
            vec![portal(context, number)],
            vec![contact(context, number, 0), contact(context, number, 1)],
            vec![tag(context, number)],
        ),
        Detail::Short => (vec![], vec![], vec![]),
    };
    json_object! {
        "account_number": format!("AC-{:05}", rng.within(1..=99_999)),
        ..reach(context, number),
        "ap_portals": portals,
        "assignee": full.then(|| directory::user(context, number)),
        "assignee_id": directory::user_id(context, number),
        "billing_address": directory::address(context, &name, "billing"),
        "billing_address_id": directory::address_number(context, &name, "billing"),
        "contacts": contacts,
        "created_at": context.days_ago(&mut rng, 300..=800),
        "currency": currency(context, number),
        "custom_fields": custom_fields(&mut rng),
        "description": rng.one_in(2).then_some("Net 30, statements on the first of the month"),
        "finix_identity_id": rng.one_in(3).then(|| rng.id("ID")),
        "id": id(context, number),
        "invoice_prefix": name[..3].to_uppercase(),
        "is_active": true,
        "is_company": true,
        "last_outreach_at": context.days_ago(&mut rng, 1..=20),
        "last_outreach_channel": rng.pick(&["email", "call"]),
        "last_synced_at": context.days_ago(&mut rng, 0..=1),
        "legal_name": format!("{name}, Inc."),
        "linked_integration": full.then(|| integration::linked(context)),
        "modified_at": context.days_ago(&mut rng, 0..=5),
        "object": "partner",
        "on_behalf_of": rng.one_in(4).then(|| format!("{name} Holdings")),
        "on_behalf_of_phone": context.at_times("behalf", &name).then_some("+13125550142"),
        "organization_id": context.organisation_id(),
        "parent_id": context.at_times("parent", &number.to_string()).then(|| id(context, number + 1)),
        ..remote(context, number, metadata, &mut rng),
        "shipping_address": full.then(|| directory::address(context, &name, "shipping")),
        "status_metadata": rng.one_in(2).then(|| json_object! { "score": rng.within(1..=100) }),
        "sync_status": rng.pick(&["complete", "partial"]),
        "tags": tags,
        "tax_number": format!("{:02}-{:07}", rng.within(10..=98), rng.within(0..=9_999_999)),
        "timezone": rng.pick(&["America/New_York", "America/Chicago", "America/Los_Angeles"]),
        "name": name,
    }
}

/// The members for e-mail and phone outreach.
fn reach(context: &CallContext, number: u32) -> Map<String, Value> {
    let address = format!("ap@{}", domain(context, number));
    let (given, family, phone) = call_contact(context, number);
    json_members! {
        "email": address.as_str(),
        "family_name": family,
        "given_name": given,
        "is_email_disabled": false,
        "is_phone_disabled": false,
        "is_primary_email": true,
        "is_primary_phone": true,
        "last_outreach_to": address,
        "phone": phone,
    }
}

/// The members that come from the accounting system.
fn remote(
    context: &CallContext,
    number: u32,
    metadata: Value,
    rng: &mut SeededRng,
) -> Map<String, Value> {
    json_members! {
        "remote_created_at": context.days_ago(rng, 800..=900),
        "remote_id": rng.within(100..=99_999).to_string(),
        "remote_metadata": metadata,
        "remote_modified_at": context.days_ago(rng, 5..=30),
        "remote_parent_id": context.at_times("parent", &number.to_string()).then_some("1001"),
        "remote_payment_portal_url": format!("https://pay.{}.example/{}", context.organisation, id(context, number)),
    }
}

fn metadata(rng: &mut SeededRng) -> Value {
    match rng.within(0..=3) {
        0 => Value::Null,
        1 => Value::from("imported"),
        2 => Value::from(vec!["imported", "reviewed"]),
        _ => json_object! { "Id": rng.within(1..=9_999).to_string(), "SyncToken": "3" },
    }
}

fn custom_fields(rng: &mut SeededRng) -> Value {
    match rng.within(0..=2) {
        0 => Value::Null,
        1 => json_object! { "region": rng.pick(&["east", "west"]), "credit_limit": 50_000 },
        _ => Value::from(Vec::<Value>::new()),
    }
}

fn portal(context: &CallContext, number: u32) -> Value {
    let which = number.to_string();
    let mut rng = context.rng("portal", &which);
    let account_id = context.id("portacct", "");
    let provider = rng.pick(&["coupa", "ariba"]);
    json_object! {
        "object": "partner_ap_portal",
        "partner_id": id(context, number),
        "id": context.id("portal", &which),
        "account": json_object! {
            "object": "ap_portal_account",
            "organization_id": context.organisation_id(),
            "provider": provider,
            "id": account_id.as_str(),
            "available_operations": vec!["submit_invoice", "download_report"],
            "created_at": context.days_ago(&mut rng, 200..=400),
            "modified_at": context.days_ago(&mut rng, 10..=200),
        },
        "account_id": account_id,
        "account_key": context.at_times("key", &which).then_some("simulated"),
        "created_at": context.days_ago(&mut rng, 100..=200),
        "customer_identifier": format!("SUP-{}", rng.within(1_000..=9_999)),
        "customer_name": name(context, number),
        "invoice_submission_guidelines": "One purchase order per invoice; attach proof of delivery.",
        "is_enabled": true,
        "is_invoice_submission_enabled": true,
        "is_report_download_enabled": rng.one_in(2),
        "modified_at": context.days_ago(&mut rng, 1..=100),
        "name": format!("{} via {provider}", name(context, number)),
        "provider": provider,
        "report_email": format!("reports@{}.example", context.organisation),
        "report_frequency": rng.pick(&["daily", "weekly"]),
    }
}

fn contact(context: &CallContext, partner: u32, which: u32) -> Value {
    let key = format!("{partner}/{which}");
    let mut rng = context.rng("contact", &key);
    // Name and phone number are drawn first, as in `call_contact`.
    let (given, family) = directory::name(&mut rng);
    let phone = directory::phone(&mut rng);
    let name = format!("{given} {family}");
    let is_primary = which == 0;
    let kinds: &[&str] = if is_primary { &["billing"] } else { &[] };
    let addresses: Vec<_> = kinds
        .iter()
        .map(|kind| directory::contact_address(context, &name, kind, *kind == "billing"))
        .collect();
    json_object! {
        "email": format!("{}@{}", directory::mailbox(given, family), domain(context, partner)),
        "object": "contact",
        "partner_id": id(context, partner),
        "id": context.id("cont", &key),
        "address": directory::address(context, &name, "billing"),
        "address_id": directory::address_number(context, &name, "billing"),
        "addresses": addresses,
        "created_at": context.days_ago(&mut rng, 200..=700),
        "custom_fields": context.at_times("fields", &key).then(|| json_object! { "desk": 4 }),
        "external_role": if is_primary { "billing_contact" } else { "other" },
        "family_name": family,
        "given_name": given,
        "internal_role": rng.one_in(2).then_some("account_manager"),
        "is_email_disabled": false,
        "is_phone_disabled": !is_primary,
        "is_primary": is_primary,
        "is_primary_email": is_primary,
        "is_primary_phone": is_primary,
        "job_title": rng.pick(&["Accounts Payable Lead", "Controller", "Office Manager"]),
        "modified_at": context.days_ago(&mut rng, 1..=200),
        "name": name,
        "phone": phone,
        "remote_created_at": context.days_ago(&mut rng, 700..=800),
        "remote_id": rng.within(100..=99_999).to_string(),
        "remote_metadata": rng.one_in(2).then(|| json_object! { "Active": true }),
        "remote_modified_at": context.days_ago(&mut rng, 5..=100),
        "status_metadata": context.at_times("status", &key).then(|| json_object! { "score": 71 }),
    }
}

fn tag(context: &CallContext, partner: u32) -> Value {
    let mut rng = context.rng("tag", &partner.to_string());
    let name = rng.pick(&["Key account", "Slow payer", "Portal only"]);
    let tag_id = context.id("tag", name);
    json_object! {
        "object": "partner_tag",
        "partner_id": id(context, partner),
        "tag_id": tag_id.as_str(),
        "created_at": context.days_ago(&mut rng, 10..=100),
        "is_manual": true,
        "modified_at": context.days_ago(&mut rng, 1..=10),
        "tag": json_object! {
            "name": name,
            "object": "tag",
            "id": tag_id,
            "color": rng.pick(&["#7a5cff", "#ff8a3d", "#2f6f4f"]),
            "created_at": context.days_ago(&mut rng, 200..=300),
            "modified_at": context.days_ago(&mut rng, 100..=200),
            "rule_condition": json_object! {},
        },
    }
}
