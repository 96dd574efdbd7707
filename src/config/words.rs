//! Settings that are one word of text: durations, sizes, addresses, and one of a few names.

use std::net::SocketAddr;
use std::time::Duration;

use super::render::quoted;
use super::setting::Word;
use super::{
    ByteSize, ClientDirectives, LogFormat, LogLevel, OriginRule, OriginUrl, PrivateRule, ScopeMode,
};

/// Longer than any of these is meant, and short enough to be added to a date.
const LONGEST: Duration = Duration::from_hours(365 * 24);

impl Word for Duration {
    fn expected() -> String {
        "a duration such as \"10s\"".to_owned()
    }

    fn parse(written: &str) -> Result<Self, String> {
        let value = humantime::parse_duration(written).map_err(|_| {
            format!(
                "{} is not a duration; write numbers with ms, s, m, h or d, e.g. \"10s\"",
                quoted(written)
            )
        })?;
        if value > LONGEST {
            return Err(format!(
                "{} is longer than a year; write at most \"365d\"",
                quoted(written)
            ));
        }
        Ok(value)
    }

    fn word(&self) -> String {
        let units = [
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
        ];
        let nanos = self.as_nanos();
        if nanos == 0 {
            return "0s".to_owned();
        }
        match units
            .into_iter()
            .find(|(unit, _)| nanos.is_multiple_of(*unit))
        {
            Some((unit, name)) => format!("{}{name}", nanos / unit),
            None => format!("{nanos}ns"),
        }
    }
}

impl Word for ByteSize {
    fn expected() -> String {
        "a size such as \"64MiB\"".to_owned()
    }

    fn parse(written: &str) -> Result<Self, String> {
        Self::parse(written)
    }

    fn word(&self) -> String {
        self.to_string()
    }
}

impl Word for SocketAddr {
    fn expected() -> String {
        "an address such as \"127.0.0.1:8080\"".to_owned()
    }

    fn parse(written: &str) -> Result<Self, String> {
        written.parse().map_err(|_| {
            format!(
                "{} is not an address; write an IP address and a port, e.g. \"127.0.0.1:8080\"",
                quoted(written)
            )
        })
    }

    fn word(&self) -> String {
        self.to_string()
    }
}

impl Word for OriginUrl {
    fn expected() -> String {
        "an origin such as \"https://api.stuut.ai\"".to_owned()
    }

    fn parse(written: &str) -> Result<Self, String> {
        Self::parse(written)
    }

    fn word(&self) -> String {
        self.to_string()
    }
}

impl Word for String {
    fn expected() -> String {
        "a string".to_owned()
    }

    fn parse(written: &str) -> Result<Self, String> {
        Ok(written.to_owned())
    }

    fn word(&self) -> String {
        self.clone()
    }
}

/// A setting that is one of a few names.
macro_rules! choice {
    ($type:ident: $($name:literal = $variant:ident),+) => {
        impl Word for $type {
            fn expected() -> String {
                alternatives(&[$($name),+])
            }

            fn parse(written: &str) -> Result<Self, String> {
                match written {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(format!(
                        "{} is not known here; write {}",
                        quoted(written),
                        <Self as Word>::expected(),
                    )),
                }
            }

            fn word(&self) -> String {
                match self {
                    $(Self::$variant => $name,)+
                }
                .to_owned()
            }
        }
    };
}

choice!(OriginRule: "obey" = Obey, "override" = Override);
choice!(PrivateRule: "token" = Token, "refuse" = Refuse);
choice!(ClientDirectives: "obey" = Obey, "ignore" = Ignore);
choice!(ScopeMode: "token" = Token, "named" = Named);
choice!(LogFormat: "json" = Json, "text" = Text);
choice!(LogLevel: "error" = Error, "warn" = Warn, "info" = Info, "debug" = Debug, "trace" = Trace);

/// `"a", "b" or "c"`
fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => quoted.concat(),
    }
}
