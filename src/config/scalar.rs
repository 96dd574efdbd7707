//! Types that are written as one string: durations, sizes, addresses, one of a few names.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;

use super::address_range::AddressRange;
use super::engine::EngineUrl;
use super::forward_proxy::ForwardProxy;
use super::values::{ByteSize, CookieName, OriginUrl, RoutePattern, TokenDigest};
use super::wording::{alternatives, quoted};
use crate::label::{Label, labels};

/// A type that is written as one string.
pub(super) trait Scalar: Sized {
    /// For "expected …": `a duration such as "10s"`.
    fn expected() -> String;

    /// Parses the string; an error is the message.
    fn parse(text: &str) -> Result<Self, String>;

    /// The string that [`Scalar::parse`] reads back.
    fn text(&self) -> String;
}

/// One row per type: its description, its parser, and its string.
macro_rules! scalars {
    ($($type:ty: $expected:expr, $parse:expr, $text:expr;)+) => {$(
        impl Scalar for $type {
            fn expected() -> String {
                $expected.into()
            }

            fn parse(text: &str) -> Result<Self, String> {
                ($parse)(text)
            }

            fn text(&self) -> String {
                ($text)(self)
            }
        }
    )+};
}

scalars! {
    String: "a string", |text: &str| Ok(text.to_owned()), String::clone;
    Duration: "a duration such as \"10s\"", parse_duration, duration_text;
    Interval: "a duration such as \"10s\", or \"off\"", parse_interval, interval_text;
    ByteSize: "a size such as \"64MiB\"", ByteSize::parse, ByteSize::to_string;
    SocketAddr: "an address such as \"127.0.0.1:8080\"", parse_address, SocketAddr::to_string;
    OriginUrl: "an origin such as \"https://api.stuut.ai\"", OriginUrl::parse, OriginUrl::to_string;
    EngineUrl: "an engine such as \"redis://cache:6379\"", EngineUrl::parse, EngineUrl::to_string;
    ForwardProxy: "a proxy such as \"http://proxy:3128\", or \"off\"", ForwardProxy::parse, ForwardProxy::text;
    PathBuf: "the path of a file such as \"/etc/stuut-cache/file\"", |text: &str| Ok(text.into()), |path: &PathBuf| path_text(path);
    RoutePattern: "a route such as \"/v1/calls/{call_id}\"", RoutePattern::parse, RoutePattern::to_string;
    HeaderName: "a field name such as \"x-tenant\"", parse_field_name, HeaderName::to_string;
    CookieName: "the name of a cookie such as \"AWSALB\"", CookieName::parse, CookieName::to_string;
    AddressRange: "an address or a range such as \"10.0.0.0/8\"", AddressRange::parse, AddressRange::to_string;
    TokenDigest: "the digest of a token", TokenDigest::parse, TokenDigest::to_string;
}

/// A duration that can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(pub Option<Duration>);

fn parse_interval(text: &str) -> Result<Interval, String> {
    match text {
        "off" => Ok(Interval(None)),
        _ => parse_duration(text).map(|interval| Interval(Some(interval))),
    }
}

fn interval_text(interval: &Interval) -> String {
    let duration = interval.0.as_ref();
    duration.map_or_else(|| "off".to_owned(), duration_text)
}

/// The longest duration: above any sensible setting, and short enough to be added to a date.
const MAX_DURATION: Duration = Duration::from_hours(365 * 24);

fn parse_duration(text: &str) -> Result<Duration, String> {
    let value = humantime::parse_duration(text).map_err(|_| {
        format!(
            "{} is not a duration; write numbers with ms, s, m, h or d, e.g. \"10s\"",
            quoted(text)
        )
    })?;
    if value > MAX_DURATION {
        return Err(format!(
            "{} is longer than a year; write at most \"365d\"",
            quoted(text)
        ));
    }
    Ok(value)
}

/// One number with the largest unit that needs no fraction.
fn duration_text(duration: &Duration) -> String {
    let units = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let nanos = duration.as_nanos();
    let whole = |(unit, _): &(u128, &str)| nanos.is_multiple_of(*unit);
    match units.into_iter().find(whole) {
        Some((unit, name)) if nanos > 0 => format!("{}{name}", nanos / unit),
        _ => "0s".to_owned(),
    }
}

/// Reads an address to listen on; `:8080` is that port on every IPv4 interface.
///
/// # Errors
///
/// The text is no address; the message says which ones are.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let host_and_port = text
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse()));
    match host_and_port {
        Some(("", Ok(port))) => return Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        Some(("localhost", Ok(port))) => return Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => {}
    }
    text.parse().map_err(|_| {
        format!(
            "{} is not an address; write an IP address and a port, e.g. \"127.0.0.1:8080\", or \":8080\" for \
             every IPv4 interface",
            quoted(text)
        )
    })
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Fields of one connection or one body (RFC 9110 §7.6.1), and fields that the proxy sends
/// itself: forwarded, they would break framing, or select another representation than the
/// one that is stored.
const NEVER_FORWARDED: &str = "accept-encoding authorization connection content-length expect host \
     keep-alive max-forwards proxy-authenticate proxy-authorization proxy-connection range te \
     trailer trailers transfer-encoding upgrade via";

fn parse_field_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        format!(
            "{} is not a field name; write one such as \"x-tenant\"",
            quoted(text)
        )
    })?;
    let is_own = NEVER_FORWARDED.split(' ').any(|own| own == name);
    if is_own || name.as_str().starts_with("if-") {
        return Err(format!(
            "{} is the proxy's own to send or to remove; leave it out",
            quoted(name.as_str())
        ));
    }
    Ok(name)
}

// === one of a few names ===

impl<T: Label> Scalar for T {
    fn expected() -> String {
        let names: Vec<_> = T::ALL.iter().map(|choice| choice.as_str()).collect();
        alternatives(&names)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let choice = T::ALL.iter().find(|choice| choice.as_str() == text);
        choice.copied().ok_or_else(|| {
            let (written, names) = (quoted(text), Self::expected());
            format!("{written} is not known here; write {names}")
        })
    }

    fn text(&self) -> String {
        self.as_str().to_owned()
    }
}

labels! {
    /// The `status` of a call, as the API documents it.
    #[expect(missing_docs, reason = "the API's own words")]
    #[derive(serde::Serialize, serde::Deserialize)]
    pub enum CallStatus {
        PendingApproval => "pending_approval",
        Queued => "queued",
        Registered => "registered",
        Initiated => "initiated",
        Ringing => "ringing",
        Canceled => "canceled",
        InProgress => "in_progress",
        Completed => "completed",
        Busy => "busy",
        NoAnswer => "no_answer",
        Failed => "failed",
    }

    /// `admin.token_for`
    pub enum TokenFor {
        /// Purges, and queries and bodies in `/explain`.
        Purge => "purge",
        /// Everything but health checks and the files of the dashboard.
        All => "all",
    }

    /// `cache.mode`
    pub enum CacheMode {
        /// Responses are stored, and served from the store.
        On => "on",
        /// Every request is forwarded.
        Off => "off",
    }

    /// `freshness.origin`
    pub enum OriginRule {
        /// The origin's `Cache-Control` and `Expires` decide.
        Obey => "obey",
        /// The configured lifetimes decide; `no-store` and `private` are still honoured.
        Override => "override",
    }

    /// `freshness.private`
    pub enum PrivateRule {
        /// Stored for the one token it was fetched with.
        Token => "token",
        /// Not stored, as RFC 9111 requires of a shared cache.
        Refuse => "refuse",
    }

    /// `freshness.client_directives`
    pub enum ClientDirectives {
        /// Honoured (RFC 9111 §5.2.1).
        Obey => "obey",
        /// Ignored.
        Ignore => "ignore",
    }

    /// `scope.mode`
    pub enum ScopeMode {
        /// Stored responses are not shared.
        Token => "token",
        /// The tokens of a named scope share them; any other token does not.
        Named => "named",
    }

    /// `shared.alone`
    pub enum Alone {
        /// A response stored without the engine is used for `shared.lease`.
        Short => "short",
        /// It is used for its own lifetime.
        Own => "own",
    }

    /// `log.format`
    pub enum LogFormat {
        /// Text if standard output is a terminal, else JSON.
        Auto => "auto",
        /// One JSON object per line.
        Json => "json",
        /// Short lines for people, coloured in a terminal.
        Text => "text",
    }

    /// `log.level`
    #[expect(missing_docs, reason = "the usual five")]
    pub enum LogLevel {
        Error => "error",
        Warn => "warn",
        Info => "info",
        Debug => "debug",
        Trace => "trace",
    }
}

impl CallStatus {
    /// Whether a call in this status has ended.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Canceled | Self::Busy | Self::NoAnswer | Self::Failed
        )
    }
}
