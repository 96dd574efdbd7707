//! Calls of any size, with the structure of the API's, the same in every run.

use serde_json::{Value, json};

const AT: &str = "2023-11-07T05:31:56.184203Z";

/// A call of at least `bytes` bytes of compact JSON, and only slightly more.
///
/// About a sixth is the transcript; the rest is invoices with their e-mails, payments and linked
/// integrations.
pub(crate) fn call(bytes: usize) -> Vec<u8> {
    let full = bytes > 8_000;
    let mut call = json!({
        "direction": "outbound",
        "object": "call",
        "to_number": "+14155550123",
        "id": "call_7f3a1b2c9d8e4f60",
        "agent_id": "agent_2b3c4d5e",
        "approver": person(1),
        "approver_id": "user_1",
        "call_reason": null,
        "classifications": [{
            "classification": "payment_inquiry",
            "is_action_required": true,
            "reason": text(90, 3),
            "agent_confidence_score": 0.87,
            "tasks": if full { json!([task(1), task(2)]) } else { json!([]) },
        }],
        "created_at": AT,
        "disconnection_reason": "user_hangup",
        "end_time": AT,
        "invoices": [],
        "is_automated": true,
        "modified_at": AT,
        "partner": if full { partner(1) } else { json!({"id": "p1", "name": "Foo GmbH"}) },
        "partner_id": "p1",
        "recording_url": "https://bucket.s3.amazonaws.com/call.wav?X-Amz-Date=20231107T053156Z&X-Amz-Expires=3600&X-Amz-Signature=0a1b2c",
        "sentiment": "positive",
        "start_time": AT,
        "status": "completed",
        "summary": text(400, 5),
        "transcript": utterances(bytes / 12),
        "transcript_str": text(bytes / 12, 9),
        "workflow": {"id": "wf_1", "active_days": [1, 2, 3, 4, 5], "is_active": true, "timezone": "Africa/Abidjan"},
    });
    let size = |value: &Value| value.to_string().len();
    let mut have = size(&call);
    let mut number = 0;
    while have < bytes {
        let next = invoice(number, bytes - have > 8_000);
        have += size(&next) + 1;
        number += 1;
        call["invoices"]
            .as_array_mut()
            .expect("invoices is an array")
            .push(next);
    }
    call.to_string().into_bytes()
}

fn invoice(n: usize, full: bool) -> Value {
    let many = |count: usize, one: fn(usize) -> Value| -> Vec<Value> {
        (0..if full { count } else { 0 })
            .map(|k| one(n * 10 + k))
            .collect()
    };
    json!({
        "amount_due": 1250.5,
        "currency": "EUR",
        "object": "invoice",
        "remote_id": format!("in_{n:08}"),
        "total_amount": 1250.5,
        "id": format!("inv_{n:016x}"),
        "amount_paid": 0,
        "assignee": person(n),
        "billing_address": address(n),
        "billing_email": "ap@foo.example",
        "created_at": AT,
        "custom_fields": {},
        "due_date": AT,
        "emails": many(2, email),
        "in_dispute": false,
        "issued_at": AT,
        "line_items": many(4, line_item),
        "linked_integration": if full { integration(n) } else { Value::Null },
        "memo": null,
        "modified_at": AT,
        "number": format!("INV-{n:05}"),
        "payments": many(2, payment),
        "pdf": null,
        "promised_to_pay_date": "2023-12-25",
        "status": "open",
        "subtotal": 1042,
        "total_tax": 208.5,
        "type": "receivable",
        "voided_at": null,
    })
}

fn person(n: usize) -> Value {
    json!({
        "email": format!("someone.{n}@foo.example"),
        "family_name": "Bar",
        "given_name": "Foo",
        "object": "user",
        "organization_id": "org_1",
        "id": format!("user_{n}"),
        "created_at": AT,
        "dashboard_settings": {"thread_emails_sort_order": "asc"},
        "default_email_sender_id": null,
        "is_access_approved": true,
        "is_org_admin": false,
        "modified_at": AT,
        "name": "Foo Bar",
        "onboarding_required": false,
        "profile_picture": null,
    })
}

fn address(n: usize) -> Value {
    json!({
        "object": "address",
        "city": "Zürich",
        "coordinates": {},
        "country": "CH",
        "created_at": AT,
        "line1": format!("Some Street {n}"),
        "line2": null,
        "modified_at": AT,
        "postal_code": "8001",
        "state": "ZH",
        "type": "billing",
    })
}

fn partner(n: usize) -> Value {
    json!({
        "id": format!("p{n}"),
        "account_number": "100200",
        "assignee": person(n),
        "billing_address": address(n),
        "contacts": [{"email": "ap@foo.example", "id": "c1", "address": address(n), "is_primary": true}],
        "created_at": AT,
        "currency": "EUR",
        "is_active": true,
        "linked_integration": integration(n),
        "name": "Foo GmbH",
        "tags": [{"object": "partner_tag", "tag": {"name": "key account", "color": "#ff0000"}}],
    })
}

fn integration(n: usize) -> Value {
    json!({
        "integration_name": "some_erp",
        "is_configured": true,
        "object": "linked_integration",
        "settings": {},
        "id": format!("li_{n}"),
        "api_url": "https://erp.foo.example/api/v2",
        "created_at": AT,
        "health": {"status": "healthy", "details": null, "message": null, "reason": null},
        "integration": {
            "display_name": "Some ERP",
            "name": "some_erp",
            "categories": ["accounting"],
            "connection_steps": [{"type": "fetch", "title": text(40, n), "post_auth": false}],
            "settings": [{"key": "realm", "type": "any", "format": "text", "is_required": true}],
        },
        "models": [
            {"name": "invoice", "id": "m1", "is_read_enabled": true, "last_sync": {"id": "s1", "run": {"id": "r1", "status": "done", "started_at": AT}}},
            {"name": "payment", "id": "m2", "is_read_enabled": true, "last_sync": null},
        ],
        "modified_at": AT,
        "username": null,
    })
}

fn email(n: usize) -> Value {
    json!({
        "object": "email",
        "thread_id": format!("t{n}"),
        "id": format!("em_{n}"),
        "attachments": [{
            "file_type": "document",
            "mime_type": "application/pdf",
            "name": "invoice.pdf",
            "presigned_url": format!("https://bucket.s3.amazonaws.com/{n}.pdf?X-Amz-Date=20231107T053156Z&X-Amz-Expires=3600&X-Amz-Signature=0a1b2c3d"),
            "presigned_url_expires_at": "2023-11-07T06:31:56Z",
            "size": 48213,
        }],
        "author": person(n),
        "body": format!("<p>{}</p>\n<p>\"{}\"</p>\r\n", text(300, n), text(200, n + 1)),
        "cc": [],
        "created_at": AT,
        "direction": "inbound",
        "is_unread": false,
        "sent_at": AT,
        "status": "sent",
        "subject": "Re: your invoice – a reminder",
        "to": ["ap@foo.example", "billing@foo.example"],
    })
}

fn line_item(n: usize) -> Value {
    json!({
        "invoice_id": "inv_1",
        "object": "line_item",
        "remote_id": format!("li_{n}"),
        "created_at": AT,
        "currency": "EUR",
        "description": text(60, n),
        "line_number": n % 10,
        "quantity": 3,
        "total_amount": 312.6,
        "unit_amount": 104.2,
    })
}

fn payment(n: usize) -> Value {
    json!({
        "amount": 100.25,
        "currency": "EUR",
        "object": "payment",
        "id": format!("pay_{n}"),
        "created_at": AT,
        "linked_integration": integration(n),
        "method": {"type": "card", "last4": "4242"},
        "status": "succeeded",
    })
}

fn task(n: usize) -> Value {
    json!({
        "label": text(30, n),
        "object": "task",
        "id": format!("task_{n}"),
        "assignee": person(n),
        "data": [{"source": "email", "type": "response", "data": {"a": 1}}],
        "description": text(120, n),
        "status": "open",
        "trigger_event": {"name": "email.received", "id": "ev_1", "timestamp": AT},
    })
}

fn utterances(bytes: usize) -> Value {
    (0..bytes / 220)
        .map(|n| {
            json!({
                "role": if n % 2 == 0 { "agent" } else { "user" },
                "content": text(150, n),
                "start": 1.25 + f64::from(u32::try_from(n).expect("a short call")),
            })
        })
        .collect()
}

/// Speech: mostly letters, sometimes a quotation, a line break or a letter beyond ASCII.
fn text(bytes: usize, seed: usize) -> String {
    let words = [
        "the",
        "invoice",
        "was",
        "paid",
        "on",
        "Friday,",
        "thank",
        "you",
        "for",
        "calling",
        "regarding",
        "your",
        "outstanding",
        "balance.",
        "\"really\"",
        "café",
        "and",
        "we",
        "will\n",
        "follow",
        "up",
        "tomorrow",
    ];
    let mut out = String::with_capacity(bytes + 16);
    let mut at = seed;
    while out.len() < bytes {
        at = (at * 31 + 7) % 9_973;
        out.push_str(words[at % words.len()]);
        out.push(' ');
    }
    out
}
