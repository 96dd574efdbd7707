//! Types of the keys: how a value is read, checked and rendered, and its default.

use std::fmt;
use std::time::Duration;

use super::engine::EngineUrl;
use super::findings::{Findings, Place, Problems};
use super::raw::{self, RawKind, RawValue};
use super::scalar::Scalar;
use super::values::{ByteSize, RoutePattern};
use super::wording::{bare_or_quoted, quoted};

/// A type that a key can have.
pub(super) trait Setting: Sized {
    /// Reads a value; `None` if it was refused, and `problems` has the reason.
    fn read(raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self>;

    /// The value as TOML that [`Setting::read`] reads back.
    fn toml(&self) -> String;

    /// Applies a written value, which replaces the previous one; a table adds to it.
    fn apply(&mut self, raw: &RawValue, key: &str, findings: &mut Findings) {
        // Recorded even if it is refused: a problem found later is reported here too.
        findings.sources.record(key, &raw.place);
        if let Some(value) = Self::read(raw, key, &mut findings.problems) {
            *self = value;
        }
    }

    /// The lines of a file that set this value, given the default.
    fn rendered(&self, _default: &Self) -> Rendered {
        Rendered::Line(self.toml())
    }
}

/// A value as lines of TOML.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rendered {
    /// `name = value`
    Line(String),
    /// A table of its own, with these `(name, value)`.
    Table(Vec<(String, String)>),
}

/// The value on one line.
impl fmt::Display for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(value) => f.write_str(value),
            Self::Table(lines) => {
                let entry = |(name, value): &(String, String)| {
                    format!("{} = {value}", bare_or_quoted(name))
                };
                f.write_str(&lines.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A rule about one value, beyond its type; an error is the message.
pub(super) type Check<T> = fn(&T) -> Result<(), String>;

/// Sets `slot` to a written value; if that is invalid, keeps the previous one and adds a problem.
pub(super) fn set<T: Setting + Clone>(
    slot: &mut T,
    checks: &[Check<T>],
    (key, raw): (&str, &RawValue),
    findings: &mut Findings,
) {
    let mut value = slot.clone();
    value.apply(raw, key, findings);
    match checks.iter().find_map(|check| check(&value).err()) {
        Some(message) => findings.problems.add(&raw.place, key, message),
        None => *slot = value,
    }
}

/// Parses a default, which is declared in TOML.
pub(super) fn default<T: Setting>(toml: &str) -> T {
    let mut problems = Problems::default();
    // Rust breaks long lines when it prints code; TOML takes an inline table on one line.
    raw::value(&toml.replace('\n', " "), &Place::Default)
        .ok()
        .and_then(|raw| T::read(&raw, "default", &mut problems))
        .unwrap_or_else(|| panic!("{toml} cannot be a default: {problems}"))
}

// === checks ===

pub(super) fn positive(value: &Duration) -> Result<(), String> {
    if value.is_zero() {
        return Err("\"0s\" leaves no time at all; write a longer duration".to_owned());
    }
    Ok(())
}

/// Between two times in milliseconds.
pub(super) fn lasting<const LEAST: u64, const MOST: u64>(value: &Duration) -> Result<(), String> {
    let [least, most] = [LEAST, MOST].map(Duration::from_millis);
    if (least..=most).contains(value) {
        return Ok(());
    }
    Err(format!(
        "{} is out of range; write a duration from {} to {}",
        value.toml(),
        least.toml(),
        most.toml()
    ))
}

#[expect(clippy::ref_option, reason = "a Check takes any type")]
pub(super) fn without_parameters(path: &Option<RoutePattern>) -> Result<(), String> {
    match path.as_ref().map(RoutePattern::as_str) {
        Some(path) if path.contains('{') => Err(format!(
            "{} has a parameter; write a single path, e.g. \"/openapi.json\"",
            quoted(path)
        )),
        _ => Ok(()),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "a Check takes any type")]
pub(super) fn between<const LEAST: usize, const MOST: usize>(value: &usize) -> Result<(), String> {
    if (LEAST..=MOST).contains(value) {
        return Ok(());
    }
    Err(format!(
        "{value} is out of range; write a number from {LEAST} to {MOST}"
    ))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "a Check takes any type")]
pub(super) fn sized<const LEAST: u64, const MOST: u64>(value: &ByteSize) -> Result<(), String> {
    if (LEAST..=MOST).contains(&value.0) {
        return Ok(());
    }
    let (least, most) = (ByteSize(LEAST), ByteSize(MOST));
    Err(format!(
        "\"{value}\" is out of range; write a size from \"{least}\" to \"{most}\""
    ))
}

/// A query option's name is compared as it is sent, so it must not have characters that some
/// clients percent-encode.
#[expect(clippy::ptr_arg, reason = "a Check takes any type")]
pub(super) fn option_name(name: &String) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!(
            "{} is not the name of a query option; write letters, digits, -, ., _ or ~",
            quoted(name)
        ));
    }
    Ok(())
}

/// A prefix without braces, which a cluster would take for a hash tag, and without glob characters,
/// which an ACL would.
#[expect(clippy::ptr_arg, reason = "a Check takes any type")]
pub(super) fn key_prefix(prefix: &String) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if prefix.is_empty() || prefix.len() > 64 || !prefix.chars().all(plain) {
        return Err(format!(
            "{} is not a prefix; write up to 64 letters, digits, -, ., _ or :",
            quoted(prefix)
        ));
    }
    Ok(())
}

/// Checks that all of these URLs have TLS, or none.
#[expect(clippy::ptr_arg, reason = "a Check takes any type")]
pub(super) fn same_scheme(urls: &Vec<EngineUrl>) -> Result<(), String> {
    if urls.iter().all(EngineUrl::is_tls) || !urls.iter().any(EngineUrl::is_tls) {
        return Ok(());
    }
    Err("some of these are redis:// and some rediss://; write one or the other".to_owned())
}

// === impl Setting ===

impl<T: Scalar> Setting for T {
    fn read(raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        let value = match raw.text() {
            Some(text) => T::parse(text),
            None => Err(raw.unexpected(&T::expected())),
        };
        problems.ok_or_add(&raw.place, key, value)
    }

    fn toml(&self) -> String {
        quoted(&self.text())
    }
}

/// The empty string is `None`.
impl<T: Scalar> Setting for Option<T> {
    fn read(raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        match raw.text() {
            Some("") => Some(None),
            _ => T::read(raw, key, problems).map(Some),
        }
    }

    fn toml(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), Setting::toml)
    }
}

impl Setting for bool {
    fn read(raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        let value = match &raw.kind {
            RawKind::Boolean(value) => Ok(*value),
            RawKind::Untyped(text) if text == "true" => Ok(true),
            RawKind::Untyped(text) if text == "false" => Ok(false),
            _ => Err(raw.unexpected("true or false")),
        };
        problems.ok_or_add(&raw.place, key, value)
    }

    fn toml(&self) -> String {
        self.to_string()
    }
}

impl Setting for usize {
    fn read(raw: &RawValue, key: &str, problems: &mut Problems) -> Option<Self> {
        let number = match &raw.kind {
            RawKind::Integer(_, number) => number.and_then(|number| Self::try_from(number).ok()),
            RawKind::Untyped(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| raw.unexpected("a whole number such as 100"));
        problems.ok_or_add(&raw.place, key, number)
    }

    fn toml(&self) -> String {
        self.to_string()
    }
}

// === settings! ===

/// Declares the sections and their keys; `settings.rs` shows the form.
///
/// Generates a struct per section with a field per key, its `Default`, and `KEYS`, the table of
/// all keys.
macro_rules! settings {
    ($(
        $(#[$about:meta])*
        struct $section:ident $path:tt {$(
            $(#[doc = $meaning:literal])+
            $key:ident: $type:ty = $default:tt $(where $check:expr)?;
        )+}
        // Fields that are not keys.
        $(and {$(
            $(#[$doc:meta])+
            $other:ident: $other_type:ty;
        )+})?
    )+) => {
        $(
            $(#[$about])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $section {
                $($(#[doc = $meaning])+ pub $key: $type,)+
                $($($(#[$doc])+ pub $other: $other_type,)+)?
            }

            impl Default for $section {
                fn default() -> Self {
                    Self {
                        $($key: setting::default(stringify!($default)),)+
                        $($($other: Default::default(),)+)?
                    }
                }
            }
        )+

        /// All keys, section by section.
        pub(super) static KEYS: &[Key] = &[$($(Key {
            name: settings!(@name $path $key),
            meaning: concat!($($meaning),+).trim_ascii_start(),
            apply: |config, raw, findings| {
                let slot = &mut settings!(@field config $path $key);
                let name = settings!(@name $path $key);
                setting::set(slot, &[$($check)?], (name, raw), findings);
            },
            rendered: |config| {
                let value = &settings!(@field config $path $key);
                value.rendered(&setting::default(stringify!($default)))
            },
        },)+)+];
    };

    // [server.tls] cert → "server.tls.cert"
    (@name [$($path:ident).+] $key:ident) => {
        concat!($(stringify!($path), ".",)+ stringify!($key))
    };

    // config [server.tls] cert → config.server.tls.cert
    (@field $config:ident [$($path:ident).+] $key:ident) => {
        $config$(.$path)+.$key
    };
}

pub(super) use settings;
