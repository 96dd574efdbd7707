//! The payments matched to an invoice.

use std::time::Duration;

use serde_json::Value;

use super::dice::Money;
use super::object::object;
use super::scene::Scene;
use super::{integration, partner, people, time};

/// The one payment of `amount` that an invoice has received.
pub(super) fn payment(scene: &Scene, partner: u32, invoice: &str, amount: Money) -> Value {
    let mut dice = scene.dice("payment", invoice);
    let payment_id = scene.id("pay", invoice);
    let received = scene.moment(&mut dice, 2..=20);
    let at = time::written(received);
    let later = time::written(received + Duration::from_secs(u64::from(dice.within(600..=9_000))));
    let confidence = f64::from(dice.within(70..=99)) / 100.0;
    let approver = people::user_id(scene, partner + 1);
    object! {
        "amount": amount,
        "invoice_id": invoice,
        "object": "invoice_payment",
        "payment_id": payment_id.as_str(),
        "strategy": dice.pick(&["automatic", "manual"]),
        "id": scene.id("ipay", invoice),
        "agent_confidence_reason": "The remittance names the invoice number and the exact amount.",
        "agent_confidence_score": confidence,
        "agent_error_code": Value::Null,
        "agent_uncertainties": vec!["The payer's name differs from the legal name."],
        "approved": true,
        "approved_at": later.as_str(),
        "approver_id": approver.as_str(),
        "created_at": at.as_str(),
        "modified_at": later.as_str(),
        "payment": object! {
            "id": payment_id,
            "agent_confidence_reason": "One open invoice of this partner has this amount.",
            "agent_confidence_score": confidence,
            "agent_error_code": Value::Null,
            "agent_uncertainties": vec!["No purchase order number on the transfer."],
            "amount": amount,
            "amount_refunded": 0,
            "bank_transaction_id": dice.id("btx"),
            "billing_email": format!("ap@{}", partner::domain(scene, partner)),
            "created_at": at.as_str(),
            "currency": partner::currency(scene, partner),
            "currency_rate": dice.pick(&[1.0, 0.92, 1.37]),
            "custom_fields": match dice.within(0..=2) {
                0 => Value::Null,
                1 => Value::from("lockbox"),
                _ => object! { "lockbox": dice.within(1..=9) },
            },
            "description": "Transfer received",
            "expected_at": at.as_str(),
            "finix_transfer_id": dice.one_in(3).then(|| dice.id("TR")),
            "initiated_at": time::written(received - time::DAY),
            "last_exported_at": later.as_str(),
            "last_synced_at": later.as_str(),
            "linked_integration_id": integration::linked_id(scene),
            "modified_at": later.as_str(),
            "object": "payment",
            "partner_id": partner::id(scene, partner),
            "payment_method": dice.pick(&["ach", "check", "wire", "card"]),
            "receipt_url": format!("https://pay.{}.example/receipts/{invoice}", scene.organisation),
            "reference_number": dice.within(100_000..=999_999).to_string(),
            "remittance_id": dice.one_in(2).then(|| dice.id("rem")),
            "remote_created_at": at.as_str(),
            "remote_id": dice.within(1_000..=99_999).to_string(),
            "remote_metadata": object! { "TxnId": dice.within(1..=9_999), "Lines": Vec::<u32>::new() },
            "remote_modified_at": later.as_str(),
            "statement_descriptor": scene.organisation.to_uppercase(),
            "status": dice.pick(&["pending_match", "matched"]),
            "stripe_session_id": Value::Null,
            "sync_status": "complete",
            "timestamp": at,
            "transaction_match_approved_at": later,
            "transaction_match_approver_id": approver,
        },
        "remote_id": dice.within(1_000..=99_999).to_string(),
    }
}
