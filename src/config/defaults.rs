//! The defaults: a configuration that works without a file.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{
    Admin, ByteSize, Cache, CallStatus, ClientDirectives, Freshness, Limits, Log, LogFormat,
    LogLevel, NamedView, OriginRule, OriginUrl, PrivateRule, Route, RoutePattern, Scope, ScopeMode,
    Server, Trace, Upstream, Views,
};

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            workers: 0,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(30),
            tls: super::Tls::default(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: loopback(9090),
            token: None,
            token_file: None,
        }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: OriginUrl::parse("https://api.stuut.ai").expect("the default origin is valid"),
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            retries: 20,
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(1),
            max_retry_after: Duration::from_mins(1),
            ca_file: None,
            forward_headers: Vec::new(),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        let path = RoutePattern::parse("/v1/calls/{call_id}").expect("the default route is valid");
        Self {
            routes: vec![Route { path, ttl: None }],
            capacity: ByteSize(256 << 20),
            max_entry: ByteSize(8 << 20),
            max_filling: ByteSize(256 << 20),
        }
    }
}

impl Default for Freshness {
    fn default() -> Self {
        let live = [
            "approver",
            "classifications",
            "invoices",
            "partner",
            "workflow",
        ];
        Self {
            default: Duration::from_mins(1),
            origin: OriginRule::Obey,
            private: PrivateRule::Token,
            not_found: Duration::from_secs(5),
            stale_while_revalidate: Duration::from_secs(5),
            stale_if_error: Duration::from_mins(5),
            hard_limit: Duration::from_hours(24),
            signed_url_margin: Duration::from_secs(30),
            client_directives: ClientDirectives::Obey,
            status: CallStatus::ALL.map(status_lifetime),
            live: live
                .map(|name| (name.to_owned(), Duration::from_mins(1)))
                .to_vec(),
            settling: Duration::from_secs(10),
            settling_window: Duration::from_mins(10),
        }
    }
}

/// A call that is moving is asked for often; one that waits, less; one that has
/// ended changes no more.
fn status_lifetime(status: CallStatus) -> Duration {
    match status {
        CallStatus::InProgress
        | CallStatus::Ringing
        | CallStatus::Initiated
        | CallStatus::Registered => Duration::from_secs(2),
        CallStatus::Queued | CallStatus::PendingApproval => Duration::from_secs(15),
        CallStatus::Completed
        | CallStatus::Canceled
        | CallStatus::Busy
        | CallStatus::NoAnswer
        | CallStatus::Failed => Duration::from_mins(10),
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            mode: ScopeMode::Token,
            admission_ttl: Duration::from_mins(1),
            named: Vec::new(),
        }
    }
}

impl Default for Views {
    fn default() -> Self {
        Self {
            strip_option: "strip".to_owned(),
            fields_option: "fields".to_owned(),
            view_option: "view".to_owned(),
            named: vec![NamedView {
                name: "light".to_owned(),
                fields: None,
                strip: Some(
                    "approver,classifications.tasks,invoices,partner.ap_portals,partner.contacts,\
                     **.linked_integration,workflow"
                        .to_owned(),
                ),
            }],
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 1_024,
            uri: 8 << 10,
            header_bytes: 64 << 10,
            headers: 100,
            request_body: ByteSize(1 << 30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: LogLevel::Info,
            access: true,
        }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            otlp_url: None,
            sample: 100,
        }
    }
}
