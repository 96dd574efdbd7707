//! What a setting's value is: it can be read, checked and written. One word of text: see `words`.

use std::path::PathBuf;
use std::time::Duration;

use super::node::{Node, Written};
use super::render::quoted;
use super::{ByteSize, OriginUrl, Problems, Sources};

/// A type that a key can have.
pub(super) trait Setting: Sized {
    /// For "expected …": `a duration such as "10s"`.
    fn expected() -> String;

    /// Reads it, or tells `problems` about `key` why not.
    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self>;

    /// As TOML that [`Setting::read`] reads back.
    fn written(&self) -> String;
}

/// A setting that is one word of text; most are.
pub(super) trait Word: Sized {
    fn expected() -> String;
    fn parse(written: &str) -> Result<Self, String>;
    fn word(&self) -> String;
}

/// What a key asks beyond its kind.
pub(super) type Check<T> = fn(&T) -> Result<(), String>;

/// Puts a value into its `slot`, or leaves it and says why.
pub(super) fn set<T: Setting>(
    slot: &mut T,
    checks: &[Check<T>],
    (key, node): (&str, &Node),
    problems: &mut Problems,
    sources: &mut Sources,
) {
    // Recorded even when it is refused: a problem found later points here too.
    sources.record(key, &node.place);
    let Some(value) = T::read(node, key, problems) else {
        return;
    };
    match checks.iter().find_map(|check| check(&value).err()) {
        Some(message) => problems.add(&node.place, key, message),
        None => *slot = value,
    }
}

// === checks ===

pub(super) fn positive(value: &Duration) -> Result<(), String> {
    if value.is_zero() {
        return Err("\"0s\" leaves no time at all; write a longer duration".to_owned());
    }
    Ok(())
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

/// A query option's name is compared as it is sent, so it has none of the
/// characters that some clients percent-encode.
pub(super) fn option_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!(
            "{} is not the name of a query option; write letters, digits, -, ., _ or ~",
            quoted(name)
        ));
    }
    Ok(())
}

/// The collector is spoken to without TLS.
#[expect(clippy::ref_option, reason = "a Check takes any type")]
pub(super) fn in_the_clear(url: &Option<OriginUrl>) -> Result<(), String> {
    match url {
        Some(url) if *url.scheme() != http::uri::Scheme::HTTP => Err(format!(
            "\"{url}\" asks for TLS; run a collector beside the proxy and write its http://host:port"
        )),
        _ => Ok(()),
    }
}

// === impl Setting ===

impl<T: Word> Setting for T {
    fn expected() -> String {
        T::expected()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let value = match node.text() {
            Some(text) => T::parse(text),
            None => Err(node.unexpected(&T::expected())),
        };
        value
            .map_err(|message| problems.add(&node.place, key, message))
            .ok()
    }

    fn written(&self) -> String {
        quoted(&self.word())
    }
}

impl Setting for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Written::Boolean(value) => return Some(*value),
            Written::Bare(text) if text == "true" => return Some(true),
            Written::Bare(text) if text == "false" => return Some(false),
            _ => {}
        }
        problems.add(&node.place, key, node.unexpected(&Self::expected()));
        None
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl Setting for usize {
    fn expected() -> String {
        "a whole number such as 100".to_owned()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let number = match &node.value {
            Written::Integer(_, number) => number.and_then(|number| Self::try_from(number).ok()),
            Written::Bare(text) => text.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            problems.add(
                &node.place,
                key,
                node.unexpected(&<Self as Setting>::expected()),
            );
        }
        number
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

/// A file that may be left out: the empty string.
impl Setting for Option<PathBuf> {
    fn expected() -> String {
        "the path of a file such as \"/etc/stuut-cache/file\"".to_owned()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let Some(path) = node.text() else {
            problems.add(&node.place, key, node.unexpected(&Self::expected()));
            return None;
        };
        Some((!path.is_empty()).then(|| path.into()))
    }

    fn written(&self) -> String {
        quoted(
            &self
                .as_deref()
                .map_or_else(Default::default, |path| path.to_string_lossy()),
        )
    }
}

/// An address that may be left out: the empty string.
impl Setting for Option<OriginUrl> {
    fn expected() -> String {
        "an address such as \"http://127.0.0.1:4318\"".to_owned()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        if node.text().is_some_and(str::is_empty) {
            return Some(None);
        }
        OriginUrl::read(node, key, problems).map(Some)
    }

    fn written(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), Setting::written)
    }
}
