//! The e-mails about an invoice, whose attachments have pre-signed URLs.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::call_context::CallContext;
use crate::json_object::{json_members, json_object};
use crate::{directory, partner, time};

/// The `which`-th e-mail about an invoice of a partner; even ones are outbound, odd ones inbound.
pub(crate) fn email(
    context: &CallContext,
    partner: u32,
    invoice: &str,
    number: &str,
    which: u32,
) -> Value {
    let key = format!("{invoice}/{which}");
    let mut rng = context.rng("email", &key);
    let id = context.id("eml", &key);
    let sent = context.moment(&mut rng, 3..=25);
    let at = time::written(sent);
    let outbound = is_outbound(which);
    let ours = format!("billing@{}.example", context.organisation);
    let theirs = format!("ap@{}", partner::domain(context, partner));
    let (from, to) = if outbound {
        (&ours, &theirs)
    } else {
        (&theirs, &ours)
    };
    let body = body(context, partner, number, outbound);
    let sender_id = context.id("sender", "0");
    let remote_id = rng.id("msg");
    json_object! {
        "object": "email",
        "thread_id": context.id("thr", invoice),
        "attachments": vec![attachment(context, &key, sent)],
        "bcc": vec![format!("archive@{}.example", context.organisation)],
        "body": format!("<p>{}</p>", body.replace('\n', "</p><p>")),
        "bounced_addresses": vec![format!("former-{theirs}")],
        "bulk_email_request_id": context.at_times("bulk", &key).then(|| context.id("bulk", &key)),
        "cc": vec![format!("controller@{}", partner::domain(context, partner))],
        "created_at": at.as_str(),
        "custom_headers": custom_headers(number, which),
        ..direction(context, which, &body),
        "email_sender": sender(context, &sender_id, &ours),
        "email_sender_id": sender_id.as_str(),
        "error_message": context.at_times("bounced", &key).then_some("550 mailbox unavailable"),
        "from_email": from.as_str(),
        "is_unread": !outbound && rng.one_in(2),
        "modified_at": at.as_str(),
        "parent_email_id": (which > 0).then(|| context.id("eml", &format!("{invoice}/{}", which - 1))),
        "participants": vec![ours.as_str(), theirs.as_str()],
        "remote_id": remote_id.as_str(),
        "remote_links": vec![remote_link(&id, &sender_id, &remote_id, rng.id("thread"), &at)],
        "reply_to": vec![ours.as_str()],
        "send_separately": false,
        "sent_at": at.as_str(),
        "snippet": body.chars().take(90).collect::<String>(),
        "subject": format!("{}Invoice {number} is past due", if outbound { "" } else { "Re: " }),
        "to": vec![to.as_str()],
        "id": id,
    }
}

/// The members that depend on the direction.
fn direction(context: &CallContext, which: u32, body: &str) -> Map<String, Value> {
    let outbound = is_outbound(which);
    json_members! {
        "author": outbound.then(|| directory::user(context, which)),
        "author_id": outbound.then(|| directory::user_id(context, which)),
        "direction": if outbound { "outbound" } else { "inbound" },
        "email_reason": if outbound { "past_due_reminder" } else { "reply" },
        "generated_body": outbound.then_some(body),
        "is_automated": outbound,
        "is_generated": outbound,
        "is_originated_in_stuut": outbound,
        "sent_by_id": outbound.then(|| directory::user_id(context, which)),
        "status": if outbound { "sent" } else { "received" },
    }
}

fn remote_link(email: &str, sender: &str, remote: &str, thread: String, at: &str) -> Value {
    json_object! {
        "email_id": email,
        "email_sender_id": sender,
        "object": "email_remote_link",
        "remote_id": remote,
        "remote_thread_id": thread,
        "created_at": at,
        "modified_at": at,
    }
}

fn is_outbound(which: u32) -> bool {
    which.is_multiple_of(2)
}

fn custom_headers(number: &str, which: u32) -> Value {
    match which % 3 {
        0 => json_object! { "X-Stuut-Invoice": number },
        1 => Value::Null,
        _ => Value::from(vec![vec!["X-Stuut-Invoice", number]]),
    }
}

/// A file; its URL expires with the context's signature.
pub(crate) fn attachment(context: &CallContext, key: &str, created: Timestamp) -> Value {
    let mut rng = context.rng("attachment", key);
    let id = context.id("file", key);
    let (file_type, mime_type, extension) = rng.pick(&[
        ("pdf", "application/pdf", "pdf"),
        ("image", "image/png", "png"),
    ]);
    let name = format!("document-{:04}.{extension}", rng.within(1..=9_999));
    let url = context
        .signature
        .sign(&context.organisation, &format!("files/{id}/{name}"));
    json_object! {
        "file_type": file_type,
        "mime_type": mime_type,
        "name": name,
        "object": "attachment",
        "organization_id": context.organisation_id(),
        "content_id": rng.one_in(2).then(|| rng.id("cid")),
        "created_at": time::written(created),
        "disposition": "attachment",
        "is_verified": true,
        "modified_at": time::written(created + Duration::from_secs(2)),
        "presigned_url": url,
        "presigned_url_expires_at": time::written(context.signature.expires_at()),
        "purpose": "email_attachment",
        "remote_id": rng.one_in(2).then(|| rng.id("att")),
        "size": rng.within(12_000..=480_000),
        "src": match rng.within(0..=2) {
            0 => Value::Null,
            1 => format!("files/{id}").into(),
            _ => json_object! { "bucket": format!("{}-files", context.organisation), "key": id.as_str() },
        },
        "user_id": directory::user_id(context, rng.within(0..=5)),
        "id": id,
    }
}

fn sender(context: &CallContext, id: &str, address: &str) -> Value {
    let mut rng = context.rng("sender's details", id);
    json_object! {
        "email": address,
        "object": "email_sender",
        "reply_to": address,
        "user_id": directory::user_id(context, 0),
        "id": id,
        "created_at": context.days_ago(&mut rng, 300..=500),
        "expired_at": context.is_out_of_sync().then(|| time::written(context.started)),
        "is_nylas_connection": true,
        "is_nylas_grant_expired": false,
        "is_shared": true,
        "modified_at": context.days_ago(&mut rng, 1..=100),
        "name": format!("{} Billing", context.organisation),
        "provider": rng.pick(&["google", "microsoft"]),
        "reply_to_name": format!("{} Billing", context.organisation),
        "signature_html": format!(
            "<p>Kind regards,<br><b>Accounts Receivable</b><br>{}<br>{}</p>",
            context.organisation,
            directory::phone(&mut rng)
        ),
    }
}

fn body(context: &CallContext, partner: u32, number: &str, outbound: bool) -> String {
    let (given, ..) = partner::call_contact(context, partner);
    if outbound {
        format!(
            "Hello {given},\nour records show that invoice {number} is still open. A copy is \
             attached for your convenience. If the payment is already under way, please send us \
             the remittance advice so that we can match it; if something about the invoice is \
             not right, a short answer to this message is enough and we will look into it.\n\
             You can pay online at https://pay.{}.example or by bank transfer.",
            context.organisation
        )
    } else {
        format!(
            "Hi,\nthanks for the reminder about {number}. It was waiting for the receiving \
             department to confirm quantities; that is done now and it is in the next payment \
             run. I will send the remittance as soon as the bank has confirmed.\nBest, {given}"
        )
    }
}
