//! The payments matched to an invoice.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::call_context::CallContext;
use crate::json_object::json_object;
use crate::seeded_rng::{Money, SeededRng};
use crate::{directory, integration, partner, time};

/// The values shared by a payment and its match with an invoice.
struct Match<'a> {
    invoice: &'a str,
    payment_id: String,
    amount: Money,
    received: Timestamp,
    approved_at: String,
    approver: String,
    confidence: f64,
}

/// The one payment of `amount` that an invoice has received.
pub(crate) fn payment(context: &CallContext, partner: u32, invoice: &str, amount: Money) -> Value {
    let mut rng = context.rng("payment", invoice);
    let received = context.moment(&mut rng, 2..=20);
    let approved = received + Duration::from_secs(u64::from(rng.within(600..=9_000)));
    let matched = Match {
        invoice,
        payment_id: context.id("pay", invoice),
        amount,
        received,
        approved_at: time::written(approved),
        approver: directory::user_id(context, partner + 1),
        confidence: f64::from(rng.within(70..=99)) / 100.0,
    };
    json_object! {
        "amount": amount,
        "invoice_id": invoice,
        "object": "invoice_payment",
        "payment_id": matched.payment_id.as_str(),
        "strategy": rng.pick(&["automatic", "manual"]),
        "id": context.id("ipay", invoice),
        "agent_confidence_reason": "The remittance names the invoice number and the exact amount.",
        "agent_confidence_score": matched.confidence,
        "agent_error_code": context.at_times("unsure", invoice).then_some("low_confidence"),
        "agent_uncertainties": vec!["The payer's name differs from the legal name."],
        "approved": true,
        "approved_at": matched.approved_at.as_str(),
        "approver_id": matched.approver.as_str(),
        "created_at": time::written(received),
        "modified_at": matched.approved_at.as_str(),
        "payment": transfer(context, partner, &matched, &mut rng),
        "remote_id": rng.within(1_000..=99_999).to_string(),
    }
}

/// The payment itself, as in the accounting system.
fn transfer(
    context: &CallContext,
    partner: u32,
    matched: &Match<'_>,
    rng: &mut SeededRng,
) -> Value {
    let (invoice, later) = (matched.invoice, matched.approved_at.as_str());
    let at = time::written(matched.received);
    json_object! {
        "id": matched.payment_id.as_str(),
        "agent_confidence_reason": "One open invoice of this partner has this amount.",
        "agent_confidence_score": matched.confidence,
        "agent_error_code": context.at_times("unsure", &matched.payment_id).then_some("low_confidence"),
        "agent_uncertainties": vec!["No purchase order number on the transfer."],
        "amount": matched.amount,
        "amount_refunded": 0,
        "bank_transaction_id": rng.id("btx"),
        "billing_email": format!("ap@{}", partner::domain(context, partner)),
        "created_at": at.as_str(),
        "currency": partner::currency(context, partner),
        "currency_rate": rng.pick(&[1.0, 0.92, 1.37]),
        "custom_fields": match rng.within(0..=2) {
            0 => Value::Null,
            1 => Value::from("lockbox"),
            _ => json_object! { "lockbox": rng.within(1..=9) },
        },
        "description": "Transfer received",
        "expected_at": at.as_str(),
        "finix_transfer_id": rng.one_in(3).then(|| rng.id("TR")),
        "initiated_at": time::written(matched.received - time::DAY),
        "last_exported_at": later,
        "last_synced_at": later,
        "linked_integration_id": integration::linked_id(context),
        "modified_at": later,
        "object": "payment",
        "partner_id": partner::id(context, partner),
        "payment_method": rng.pick(&["ach", "check", "wire", "card"]),
        "receipt_url": format!("https://pay.{}.example/receipts/{invoice}", context.organisation),
        "reference_number": rng.within(100_000..=999_999).to_string(),
        "remittance_id": rng.one_in(2).then(|| rng.id("rem")),
        "remote_created_at": at.as_str(),
        "remote_id": rng.within(1_000..=99_999).to_string(),
        "remote_metadata": json_object! { "TxnId": rng.within(1..=9_999), "Lines": Vec::<u32>::new() },
        "remote_modified_at": later,
        "statement_descriptor": context.organisation.to_uppercase(),
        "status": rng.pick(&["pending_match", "matched"]),
        "stripe_session_id": context.at_times("stripe", invoice).then(|| context.id("cs", invoice)),
        "sync_status": "complete",
        "timestamp": at,
        "transaction_match_approved_at": later,
        "transaction_match_approver_id": matched.approver.as_str(),
    }
}
