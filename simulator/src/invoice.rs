//! An invoice with its parts: the partner again, lines, e-mails, payments.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::call_context::CallContext;
use crate::call_id::CallId;
use crate::json_object::{json_members, json_object};
use crate::seeded_rng::{Money, SeededRng};
use crate::{directory, email, integration, partner, payment, time};

const PRODUCTS: [(&str, &str, &str); 6] = [
    (
        "Pallet handling",
        "Inbound pallets, unloading and storage",
        "service",
    ),
    (
        "Freight surcharge",
        "Fuel surcharge for the billing period",
        "fee",
    ),
    (
        "Sensor kit MK-3",
        "Temperature and humidity, calibrated",
        "goods",
    ),
    (
        "Maintenance plan",
        "Quarterly visit, parts included",
        "subscription",
    ),
    ("Cold chain labels", "Roll of 500, tamper evident", "goods"),
    (
        "Route planning",
        "Planner licence, ten vehicles",
        "subscription",
    ),
];

/// The sums of an invoice, consistent with its lines.
#[derive(Clone, Copy, Debug)]
struct Sums {
    subtotal: Money,
    discount: Money,
    tax: Money,
    total: Money,
    paid: Money,
}

/// The `which`-th invoice of a call; `partner` is the partner's own document.
pub(crate) fn invoice(
    context: &CallContext,
    call: &CallId,
    debtor: u32,
    which: u32,
    partner: &Value,
) -> Value {
    let number = number(call, which);
    let mut rng = context.rng("invoice", &number);
    let id = context.id("inv", &number);
    let lines: Vec<_> = (0..rng.within(1..=3))
        .map(|line| line_item(context, debtor, &id, line))
        .collect();
    let sums = sums(&lines.iter().map(|line| line.1).collect::<Vec<_>>());
    let issued = context.moment(&mut rng, 45..=120);
    let name = partner::name(context, debtor);
    let settled = |how: &str| {
        let is_settled = context.at_times(how, &number);
        is_settled.then(|| time::written(issued + time::DAY * 40))
    };
    json_object! {
        "currency": partner::currency(context, debtor),
        "object": "invoice",
        "remote_id": rng.within(10_000..=99_999).to_string(),
        ..sums.members(),
        ..dates(issued),
        ..addresses(context, &name),
        "assignee": directory::user(context, debtor),
        "billing_email": format!("ap@{}", partner::domain(context, debtor)),
        "calls": earlier_calls(context, &mut rng),
        "custom_fields": any(&mut rng),
        "emails": vec![email::email(context, debtor, &id, &number, which)],
        "in_dispute": rng.one_in(6),
        "is_issued_email_sent": true,
        "last_outreach_at": context.days_ago(&mut rng, 1..=10),
        "last_outreach_channel": rng.pick(&["email", "call"]),
        "last_outreach_to": format!("ap@{}", partner::domain(context, debtor)),
        "last_synced_at": context.days_ago(&mut rng, 0..=0),
        "line_items": lines.into_iter().map(|line| line.0).collect::<Vec<_>>(),
        "linked_integration": integration::linked(context),
        "marked_uncollectible_at": settled("uncollectible"),
        "memo": rng.one_in(2).then_some("Thank you for your business."),
        "modified_at": context.days_ago(&mut rng, 0..=3),
        "number": number.as_str(),
        "order_number": format!("SO-{}", rng.within(10_000..=99_999)),
        "paid_at": settled("paid"),
        "partner": with_outreach(partner, &mut rng),
        "partner_id": partner::id(context, debtor),
        "payments": vec![payment::payment(context, debtor, &id, sums.paid)],
        "pdf": pdf(context, &mut rng, &id),
        "pdf_id": context.id("file", &id),
        "private_note": rng.one_in(3).then_some("Ask for the new controller first."),
        "promised_to_pay_date": rng.one_in(2).then(|| time::date(time::days_after(context.started, 7))),
        "purchase_order_number": format!("PO-{}", rng.within(1_000..=9_999)),
        ..remote(context, &id, &mut rng),
        "requires_line_item_sync": false,
        "status": rng.pick(&["past_due", "partially_paid", "open"]),
        "sync_status": rng.pick(&["complete", "partial"]),
        "type": "receivable",
        "voided_at": settled("voided"),
        "id": id,
    }
}

/// The date members of an invoice.
fn dates(issued: Timestamp) -> Map<String, Value> {
    let issued_at = time::written(issued);
    json_members! {
        "created_at": issued_at.as_str(),
        "due_date": time::written(issued + time::DAY * 30),
        "issued_at": issued_at.as_str(),
        "period_end_date": issued_at.as_str(),
        "period_start_date": time::written(issued - time::DAY * 30),
        "remote_created_at": issued_at,
    }
}

fn addresses(context: &CallContext, name: &str) -> Map<String, Value> {
    json_members! {
        "billing_address": directory::address(context, name, "billing"),
        "billing_address_id": directory::address_number(context, name, "billing"),
        "shipping_address": directory::address(context, name, "shipping"),
        "shipping_address_id": directory::address_number(context, name, "shipping"),
    }
}

/// The members that come from the accounting system.
fn remote(context: &CallContext, id: &str, rng: &mut SeededRng) -> Map<String, Value> {
    let site = format!("https://pay.{}.example", context.organisation);
    json_members! {
        "remote_invoice_pdf": format!("{site}/invoices/{id}.pdf"),
        "remote_metadata": any(rng),
        "remote_modified_at": context.days_ago(rng, 1..=20),
        "remote_partner_id": rng.within(100..=99_999).to_string(),
        "remote_payment_portal_url": format!("{site}/invoices/{id}"),
        "remote_payment_status": rng.pick(&["processing", "open", "failed"]),
        "remote_status": "AUTHORISED",
    }
}

/// The human-readable number: the call's, and the invoice's index in the call.
pub(crate) fn number(call: &CallId, which: u32) -> String {
    format!("INV-{:05}-{which:02}", call.number)
}

fn line_item(context: &CallContext, debtor: u32, invoice: &str, line: u32) -> (Value, Money) {
    let mut rng = context.rng("line", &format!("{invoice}/{line}"));
    let (name, description, product_type) = rng.pick(&PRODUCTS);
    let quantity = rng.within(1..=40);
    let unit = rng.money(5..=400);
    let total = Money(unit.0 * quantity);
    let from = context.moment(&mut rng, 60..=120);
    let at = time::written(from);
    let item = json_object! {
        "invoice_id": invoice,
        "object": "line_item",
        "remote_id": format!("{}-{}", rng.within(10_000..=99_999), line + 1),
        "created_at": at.as_str(),
        "currency": partner::currency(context, debtor),
        "custom_fields": any(&mut rng),
        "description": description,
        "line_number": line + 1,
        "modified_at": at.as_str(),
        "name": name,
        "period_end_date": time::written(from + time::DAY * 30),
        "period_start_date": at.as_str(),
        "product_type": product_type,
        "quantity": quantity,
        "remote_created_at": at.as_str(),
        "remote_metadata": any(&mut rng),
        "remote_modified_at": at,
        "total_amount": total,
        "total_discount": 0,
        "total_tax": Money(total.0 / 20),
        "unit_amount": unit,
    };
    (item, total)
}

fn sums(lines: &[Money]) -> Sums {
    let subtotal = lines.iter().map(|line| line.0).sum::<u32>();
    let discount = subtotal / 50;
    let tax = lines.iter().map(|line| line.0 / 20).sum::<u32>();
    let total = subtotal - discount + tax;
    Sums {
        subtotal: Money(subtotal),
        discount: Money(discount),
        tax: Money(tax),
        total: Money(total),
        paid: Money(total / 4),
    }
}

impl Sums {
    fn members(self) -> Map<String, Value> {
        json_members! {
            "amount_due": Money(self.total.0 - self.paid.0),
            "amount_paid": self.paid,
            "subtotal": self.subtotal,
            "total_amount": self.total,
            "total_discount": self.discount,
            "total_tax": self.tax,
        }
    }
}

/// A value of any type, where the API documents none.
fn any(rng: &mut SeededRng) -> Value {
    match rng.within(0..=3) {
        0 => Value::Null,
        1 => Value::from("net30"),
        2 => json_object! { "cost_center": rng.within(100..=999), "approved": rng.one_in(2) },
        _ => Value::from(vec!["net30", "portal"]),
    }
}

fn pdf(context: &CallContext, rng: &mut SeededRng, invoice: &str) -> Value {
    match rng.within(0..=2) {
        0 => Value::Null,
        1 => Value::from(context.id("file", invoice)),
        _ => {
            let created = context.moment(rng, 40..=44);
            email::attachment(context, invoice, created)
        }
    }
}

fn earlier_calls(context: &CallContext, rng: &mut SeededRng) -> Value {
    if rng.one_in(2) {
        return Value::from(Vec::<Value>::new());
    }
    Value::from(vec![json_object! {
        "object": "call",
        "id": rng.id("call"),
        "direction": "outbound",
        "status": "no_answer",
        "created_at": context.days_ago(rng, 31..=60),
    }])
}

/// The partner in an invoice, which has two members more than the partner in the call.
fn with_outreach(partner: &Value, rng: &mut SeededRng) -> Value {
    let mut partner = partner.clone();
    if let Some(members) = partner.as_object_mut() {
        for channel in ["call", "email"] {
            let name = format!("is_{channel}_outreach_manually_paused");
            members.insert(name, rng.one_in(5).into());
        }
    }
    partner
}
