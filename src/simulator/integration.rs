//! The linked integration: the accounting system an organisation's records come from.

use std::time::Duration;

use serde_json::Value;

use super::object::object;
use super::people;
use super::scene::Scene;
use super::time;

/// Systems invented for the purpose: name, display name, subdomain.
const SYSTEMS: [(&str, &str); 3] = [
    ("ledgerline", "Ledgerline"),
    ("northbooks", "NorthBooks Online"),
    ("tallyworks", "Tallyworks ERP"),
];

/// The system that an organisation has linked; all of its records come from the same one.
pub(super) fn linked(scene: &Scene) -> Value {
    let mut dice = scene.dice("integration's details", "");
    let (system, display_name) = dice.pick(&SYSTEMS);
    let id = linked_id(scene);
    let host = format!("{}.{system}.example", scene.organisation);
    object! {
        "integration_name": system,
        "is_configured": true,
        "object": "linked_integration",
        "settings": object! {
            "sync_window_days": dice.pick(&[30, 90, 365]),
            "write_payments": true,
            "default_deposit_account": "1000-Operating",
        },
        "api_subdomain": scene.organisation.as_str(),
        "api_url": format!("https://{host}/api/v2"),
        "connection_info": object! { "realm": dice.id("realm"), "scopes": vec!["read", "write"] },
        "created_at": scene.days_ago(&mut dice, 300..=600),
        "credentials_expire_at": time::written(time::days_after(scene.started, 60)),
        "health": health(),
        "identity_info": format!("svc-stuut@{host}"),
        "integration": integration(scene, system, display_name),
        "is_running_setup": false,
        "is_sync_disabled": false,
        "is_webhooks_enabled": true,
        "models": vec![model(scene, &id, "invoice")],
        "modified_at": scene.days_ago(&mut dice, 0..=20),
        "name": format!("{display_name} ({})", scene.organisation),
        "owner_id": people::user_id(scene, 0),
        "requires_setup": false,
        "username": format!("svc-stuut@{host}"),
        "webhook_listener_url": format!("https://hooks.{}.example/{id}", scene.organisation),
        "webhook_setup_error": Value::Null,
        "id": id,
    }
}

/// The id of [`linked`].
pub(super) fn linked_id(scene: &Scene) -> String {
    scene.id("lint", "")
}

fn health() -> Value {
    object! {
        "status": "healthy",
        "details": Value::Null,
        "message": Value::Null,
        "reason": Value::Null,
    }
}

fn integration(scene: &Scene, system: &str, display_name: &str) -> Value {
    let mut dice = scene.dice("system", system);
    let site = format!("https://{system}.example");
    object! {
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
        "created_at": scene.days_ago(&mut dice, 900..=1_200),
        "description": format!("Reads customers and invoices from {display_name}, writes payments."),
        "is_enabled": true,
        "logo": format!("{site}/logo.svg"),
        "logo_square": Value::Null,
        "modified_at": scene.days_ago(&mut dice, 30..=90),
        "settings": vec![setting()],
        "short_description": "Accounting",
    }
}

fn connection_step() -> Value {
    object! {
        "type": "fetch",
        "title": "Choose a company file",
        "description": Value::Null,
        "endpoint": "/companies",
        "fields": Value::Null,
        "post_auth": true,
    }
}

fn setting() -> Value {
    object! {
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

fn model(scene: &Scene, linked_id: &str, name: &str) -> Value {
    let mut dice = scene.dice("model", name);
    let id = scene.id("lmod", name);
    let sync_id = scene.id("sync", name);
    object! {
        "integration_schema_id": scene.id("schema", name),
        "linked_integration_id": linked_id,
        "name": name,
        "object": "linked_model",
        "created_at": scene.days_ago(&mut dice, 300..=600),
        "exclude_rule": object! {},
        "field_mappings": if name == "invoice" {
            Value::from(vec![object! { "from": "DocNumber", "to": "number" }])
        } else {
            Value::Null
        },
        "health": health(),
        "is_read_enabled": true,
        "is_webhooks_setup": true,
        "is_write_enabled": name == "invoice",
        "last_sync": last_sync(scene, &id, &sync_id, name),
        "last_sync_id": sync_id,
        "modified_at": scene.days_ago(&mut dice, 0..=1),
        "next_sync_at": time::written(scene.started + Duration::from_hours(1)),
        "sync_requested": false,
        "id": id,
    }
}

fn last_sync(scene: &Scene, model_id: &str, sync_id: &str, name: &str) -> Value {
    let mut dice = scene.dice("last sync", name);
    let began = scene.moment(&mut dice, 0..=0);
    let ended = time::written(began + Duration::from_secs(u64::from(dice.within(2..=90))));
    let began = time::written(began);
    let run_id = scene.id("run", name);
    let records = dice.within(3..=900);
    object! {
        "linked_model_id": model_id,
        "object": "sync",
        "run_id": run_id.as_str(),
        "id": sync_id,
        "created_at": began.as_str(),
        "entity_id": Value::Null,
        "is_initial_sync": false,
        "is_one_off": false,
        "modified_at": ended.as_str(),
        "pagination": object! { "page": records / 100 + 1, "cursor": Value::Null },
        "run": object! {
            "object": "run",
            "id": run_id,
            "completed_at": ended.as_str(),
            "created_at": began.as_str(),
            "data": vec![name],
            "event_id": dice.id("evt"),
            "modified_at": ended.as_str(),
            "output": object! { "read": records, "written": 0, "failed": 0 },
            "remote_id": Value::Null,
            "stacktrace": Value::Null,
            "started_at": began.as_str(),
            "status": "completed",
        },
        "timerange_end": began.as_str(),
        "timerange_start": time::written(time::days_before(scene.started, 1, 0)),
    }
}
