//! Text for people: numbers with units and few digits, and no control characters.

const UNKNOWN: &str = "–";

/// The same text, lines apart, with control characters as JSON escapes: a terminal may obey also those above
/// ASCII, which JSON allows.
pub(crate) fn printable(text: String) -> String {
    let is_hidden = |character: char| character.is_control() && character != '\n';
    if !text.contains(is_hidden) {
        return text;
    }
    let characters = text.chars();
    let written = characters.map(|character| match character {
        hidden if is_hidden(hidden) => format!("\\u{:04x}", u32::from(hidden)),
        shown => shown.to_string(),
    });
    written.collect()
}

/// A number with commas between thousands.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes, in units of 1024.
#[expect(
    clippy::cast_precision_loss,
    reason = "it is shown with two or three digits"
)]
pub(crate) fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled < 1023.5 {
            let digits = usize::from(unit != "B" && scaled < 99.95);
            return format!("{scaled:.digits$} {unit}");
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} TiB")
}

/// A share in percent: never 100 % for less than all, nor 0 % for more than none.
pub(crate) fn percent(share: Option<f64>) -> String {
    match share {
        None => UNKNOWN.to_owned(),
        Some(share) if share <= 0.0 => "0 %".to_owned(),
        Some(share) if share >= 1.0 => "100 %".to_owned(),
        Some(share) => format!("{:.1} %", (share * 100.0).clamp(0.1, 99.9)),
    }
}

pub(crate) fn seconds(value: Option<f64>) -> String {
    let Some(value) = value else {
        return UNKNOWN.to_owned();
    };
    let (scaled, unit) = match value {
        _ if value < 0.000_999_5 => (value * 1e6, "µs"),
        _ if value < 0.999_5 => (value * 1e3, "ms"),
        _ => (value, "s"),
    };
    let digits = usize::from(unit != "µs" && scaled < 9.95);
    format!("{scaled:.digits$} {unit}")
}

/// A rate per second.
#[cfg(feature = "top")]
pub(crate) fn rate(value: f64) -> String {
    let digits = usize::from(value > 0.0 && value < 9.95);
    format!("{value:.digits$}")
}

/// A number of seconds in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_never_rounded_to_all_or_none() {
        let counts = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let sizes = [0, 1_023, 1_024, 102_400, 1_048_575, 1 << 30, 5 << 40].map(bytes);
        assert_eq!(
            sizes,
            [
                "0 B", "1023 B", "1.0 KiB", "100 KiB", "1.0 MiB", "1.0 GiB", "5.0 TiB"
            ]
        );
        let shares = [
            None,
            Some(0.0),
            Some(0.000_1),
            Some(0.5),
            Some(0.999_99),
            Some(1.0),
        ];
        assert_eq!(
            shares.map(percent),
            ["–", "0 %", "0.1 %", "50.0 %", "99.9 %", "100 %"]
        );
        let times = [
            None,
            Some(0.000_066),
            Some(0.000_999_9),
            Some(0.0635),
            Some(2.0),
            Some(30.0),
        ];
        assert_eq!(
            times.map(seconds),
            ["–", "66 µs", "1.0 ms", "64 ms", "2.0 s", "30 s"]
        );
        let spans = [5, 65, 3_700, 90_000].map(span);
        assert_eq!(spans, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[cfg(feature = "top")]
    #[test]
    fn rates_are_short() {
        assert_eq!([0.0, 0.26, 12.3].map(rate), ["0", "0.3", "12"]);
    }
}
