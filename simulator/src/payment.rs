//! The payments matched to an invoice.

use std::time::Duration;

use serde_json::Value;

use crate::call_context::CallContext;
use crate::json_object::json_object;
use crate::seeded_rng::Money;
use crate::{directory, integration, partner, time};

/// The one payment of `amount` that an invoice has received.
pub(crate) fn payment(context: &CallContext, partner: u32, invoice: &str, amount: Money) -> Value {
    let mut rng = context.rng("payment", invoice);
    let payment_id = context.id("pay", invoice);
    let received = context.moment(&mut rng, 2..=20);
    let at = time::written(received);
    let later = time::written(received + Duration::from_secs(u64::from(rng.within(600..=9_000))));
    let confidence = f64::from(rng.within(70..=99)) / 100.0;
    let approver = directory::user_id(context, partner + 1);
    json_object! {
        "amount": amount,
        "invoice_id": invoice,
        "object": "invoice_payment",
        "payment_id": payment_id.as_str(),
        "strategy": rng.pick(&["automatic", "manual"]),
        "id": context.id("ipay", invoice),
        "agent_confidence_reason": "The remittance names the invoice number and the exact amount.",
        "agent_confidence_score": confidence,
        "agent_error_code": Value::Null,
        "agent_uncertainties": vec!["The payer's name differs from the legal name."],
        "approved": true,
        "approved_at": later.as_str(),
        "approver_id": approver.as_str(),
        "created_at": at.as_str(),
        "modified_at": later.as_str(),
        "payment": json_object! {
            "id": payment_id,
            "agent_confidence_reason": "One open invoice of this partner has this amount.",
            "agent_confidence_score": confidence,
            "agent_error_code": Value::Null,
            "agent_uncertainties": vec!["No purchase order number on the transfer."],
            "amount": amount,
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
            "initiated_at": time::written(received - time::DAY),
            "last_exported_at": later.as_str(),
            "last_synced_at": later.as_str(),
            "linked_integration_id": integration::linked_id(context),
            "modified_at": later.as_str(),
            "object": "payment",
            "partner_id": partner::id(context, partner),
            "payment_method": rng.pick(&["ach", "check", "wire", "card"]),
            "receipt_url": format!("https://pay.{}.example/receipts/{invoice}", context.organisation),
            "reference_number": rng.within(100_000..=999_999).to_string(),
            "remittance_id": rng.one_in(2).then(|| rng.id("rem")),
            "remote_created_at": at.as_str(),
            "remote_id": rng.within(1_000..=99_999).to_string(),
            "remote_metadata": json_object! { "TxnId": rng.within(1..=9_999), "Lines": Vec::<u32>::new() },
            "remote_modified_at": later.as_str(),
            "statement_descriptor": context.organisation.to_uppercase(),
            "status": rng.pick(&["pending_match", "matched"]),
            "stripe_session_id": Value::Null,
            "sync_status": "complete",
            "timestamp": at,
            "transaction_match_approved_at": later,
            "transaction_match_approver_id": approver,
        },
        "remote_id": rng.within(1_000..=99_999).to_string(),
    }
}
