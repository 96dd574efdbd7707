//! The linked integration: the accounting system that an organisation's records come from.

use std::time::Duration;

use serde_json::Value;

use crate::call_context::CallContext;
use crate::directory;
use crate::json_object::json_object;
use crate::time;

/// Invented systems: name and display name.
const SYSTEMS: [(&str, &str); 3] = [
    ("ledgerline", "Ledgerline"),
    ("northbooks", "NorthBooks Online"),
    ("tallyworks", "Tallyworks ERP"),
];

/// The system linked to an organisation: the source of all of its records.
pub(crate) fn linked(context: &CallContext) -> Value {
    let mut rng = context.rng("integration's details", "");
    let (system, display_name) = rng.pick(&SYSTEMS);
    let id = linked_id(context);
    let host = format!("{}.{system}.example", context.organisation);
    json_object! {
        "integration_name": system,
        "is_configured": true,
        "object": "linked_integration",
        "settings": json_object! {
            "sync_window_days": rng.pick(&[30, 90, 365]),
            "write_payments": true,
            "default_deposit_account": "1000-Operating",
        },
        "api_subdomain": context.organisation.as_str(),
        "api_url": format!("https://{host}/api/v2"),
        "connection_info": json_object! { "realm": rng.id("realm"), "scopes": vec!["read", "write"] },
        "created_at": context.days_ago(&mut rng, 300..=600),
        "credentials_expire_at": time::written(time::days_after(context.started, 60)),
        "health": health(),
        "identity_info": format!("svc-stuut@{host}"),
        "integration": integration(context, system, display_name),
        "is_running_setup": false,
        "is_sync_disabled": false,
        "is_webhooks_enabled": true,
        "models": vec![model(context, &id, "invoice")],
        "modified_at": context.days_ago(&mut rng, 0..=20),
        "name": format!("{display_name} ({})", context.organisation),
        "owner_id": directory::user_id(context, 0),
        "requires_setup": false,
        "username": format!("svc-stuut@{host}"),
        "webhook_listener_url": format!("https://hooks.{}.example/{id}", context.organisation),
        "webhook_setup_error": context.is_out_of_sync().then_some("403 from the system"),
        "id": id,
    }
}

/// The id of [`linked`].
pub(crate) fn linked_id(context: &CallContext) -> String {
    context.id("lint", "")
}

fn health() -> Value {
    json_object! {
        "status": "healthy",
        "details": Value::Null,
        "message": Value::Null,
        "reason": Value::Null,
    }
}

fn integration(context: &CallContext, system: &str, display_name: &str) -> Value {
    let mut rng = context.rng("system", system);
    let site = format!("https://{system}.example");
    json_object! {
        "display_name": display_name,
        "name": system,
        "object": "integration",
        "api_base_url": format!("{site}/api/v2"),
        "api_documentation_url": format!("{site}/developers"),
        "api_requires_subdomain": true,
        "auth_type": "oauth2",
        "categories": vec!["accounting"],
        "color": "#2f6f4f",
        "connection_guide_url": format!("{site}/connect"),
        "connection_instructions": Value::Null,
        "connection_steps": vec![connection_step()],
        "created_at": context.days_ago(&mut rng, 900..=1_200),
        "description": format!("Reads customers and invoices from {display_name}, writes payments."),
        "is_enabled": true,
        "logo": format!("{site}/logo.svg"),
        "logo_square": Value::Null,
        "modified_at": context.days_ago(&mut rng, 30..=90),
        "settings": vec![setting()],
        "short_description": "Accounting",
    }
}

fn connection_step() -> Value {
    json_object! {
        "type": "fetch",
        "title": "Choose a company file",
        "description": Value::Null,
        "endpoint": "/companies",
        "fields": Value::Null,
        "post_auth": true,
    }
}

fn setting() -> Value {
    json_object! {
        "key": "sync_window_days",
        "type": "number",
        "choices": vec![30, 90, 365],
        "description": "How far back invoices are read",
        "format": "text",
        "group": Value::Null,
        "guide_url": Value::Null,
        "is_editable": true,
        "is_required": true,
        "is_select": true,
        "label": "Sync window",
        "post_auth": true,
        "requires_load": false,
    }
}

fn model(context: &CallContext, linked_id: &str, name: &str) -> Value {
    let mut rng = context.rng("model", name);
    let id = context.id("lmod", name);
    let sync_id = context.id("sync", name);
    json_object! {
        "integration_schema_id": context.id("schema", name),
        "linked_integration_id": linked_id,
        "name": name,
        "object": "linked_model",
        "created_at": context.days_ago(&mut rng, 300..=600),
        "exclude_rule": json_object! {},
        "field_mappings": if name == "invoice" {
            Value::from(vec![json_object! { "from": "DocNumber", "to": "number" }])
        } else {
            Value::Null
        },
        "health": health(),
        "is_read_enabled": true,
        "is_webhooks_setup": true,
        "is_write_enabled": name == "invoice",
        "last_sync": last_sync(context, &id, &sync_id, name),
        "last_sync_id": sync_id,
        "modified_at": context.days_ago(&mut rng, 0..=1),
        "next_sync_at": time::written(context.started + Duration::from_hours(1)),
        "sync_requested": false,
        "id": id,
    }
}

fn last_sync(context: &CallContext, model_id: &str, sync_id: &str, name: &str) -> Value {
    let mut rng = context.rng("last sync", name);
    let began = context.moment(&mut rng, 0..=0);
    let ended = time::written(began + Duration::from_secs(u64::from(rng.within(2..=90))));
    let began = time::written(began);
    let run_id = context.id("run", name);
    let records = rng.within(3..=900);
    json_object! {
        "linked_model_id": model_id,
        "object": "sync",
        "run_id": run_id.as_str(),
        "id": sync_id,
        "created_at": began.as_str(),
        "entity_id": context.is_out_of_sync().then(|| context.id("ent", name)),
        "is_initial_sync": false,
        "is_one_off": false,
        "modified_at": ended.as_str(),
        "pagination": json_object! { "page": records / 100 + 1, "cursor": Value::Null },
        "run": json_object! {
            "object": "run",
            "id": run_id,
            "completed_at": ended.as_str(),
            "created_at": began.as_str(),
            "data": vec![name],
            "event_id": rng.id("evt"),
            "modified_at": ended.as_str(),
            "output": json_object! { "read": records, "written": 0, "failed": 0 },
            "remote_id": context.is_out_of_sync().then(|| context.id("job", name)),
            "stacktrace": context.is_out_of_sync().then_some("TimeoutError: page 7"),
            "started_at": began.as_str(),
            "status": "completed",
        },
        "timerange_end": began.as_str(),
        "timerange_start": time::written(time::days_before(context.started, 1, 0)),
    }
}
