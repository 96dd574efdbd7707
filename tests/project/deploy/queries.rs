//! The metric names, matchers and groupings of a `PromQL` expression.

use crate::demo::Samples;

/// Labels that Prometheus adds, or that every histogram has.
const ADDED: [&str; 3] = ["job", "instance", "le"];

/// `name{label op "value", …}`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector<'a> {
    pub(crate) name: &'a str,
    pub(crate) matchers: Vec<(&'a str, &'a str, &'a str)>,
}

/// Every selector of our own metrics, `process_*` and `up`.
pub(crate) fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let mut selectors = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '"') {
        rest = &rest[start..];
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').expect("a closing quote");
            rest = &quoted[end + 1..];
            continue;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if !name.starts_with("stuut_cache") && !name.starts_with("process_") && name != "up" {
            continue;
        }
        let mut matchers = Vec::new();
        if let Some(inside) = after.strip_prefix('{') {
            let end = closing(inside);
            matchers = inside[..end].split("\",").map(matcher).collect();
            rest = &inside[end..];
        }
        selectors.push(Selector { name, matchers });
    }
    selectors
}

/// The position of the closing brace, ignoring those in quotes.
fn closing(inside: &str) -> usize {
    let mut quoted = false;
    inside
        .find(|c| {
            quoted ^= c == '"';
            c == '}' && !quoted
        })
        .expect("a closing brace")
}

fn matcher(text: &str) -> (&str, &str, &str) {
    let text = text.trim().trim_end_matches('"');
    let (left, value) = text.split_once('"').expect("a quoted value");
    let at = left.find(['=', '!']).expect("an operator");
    (left[..at].trim(), left[at..].trim(), value)
}

/// The labels that an expression groups by.
pub(crate) fn groupings(expression: &str) -> Vec<&str> {
    let lists = expression.split("by (").skip(1);
    let lists = lists.filter_map(|rest| rest.split_once(')'));
    lists
        .flat_map(|(list, _)| list.split(','))
        .map(str::trim)
        .collect()
}

/// Names, labels and values in the expression that do not exist.
pub(crate) fn faults(expression: &str, samples: &Samples, recorded: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut labels = ADDED.to_vec();
    for Selector { name, matchers } in selectors(expression) {
        if recorded.contains(&name) || name == "up" {
            // A recorded series has the labels of its rule.
            labels.push("outcome");
            continue;
        }
        if !samples.has(name) {
            faults.push(format!("there is no {name}"));
            continue;
        }
        for grouping in groupings(expression) {
            if samples.values(name, grouping).is_some() {
                labels.push(grouping);
            }
        }
        for (label, operator, value) in matchers {
            if ADDED.contains(&label) {
                continue;
            }
            let Some(values) = samples.values(name, label) else {
                faults.push(format!("{name} has no label {label}"));
                continue;
            };
            for alternative in alternatives(operator, value) {
                if !values.iter().any(|value| alternative.is_match(value)) {
                    faults.push(format!("{name} has no {label}={alternative}"));
                }
            }
        }
    }
    for grouping in groupings(expression) {
        if !labels.contains(&grouping) {
            faults.push(format!("nothing has the label {grouping}"));
        }
    }
    faults
}

/// The alternatives of a matcher; each must match some value, or it is obsolete.
fn alternatives(operator: &str, value: &str) -> Vec<regex::Regex> {
    let patterns = match operator {
        "=~" | "!~" => value.split('|').map(str::to_owned).collect(),
        _ => vec![regex::escape(value)],
    };
    let whole = |pattern: &String| regex::Regex::new(&format!("^(?:{pattern})$"));
    let compiled = patterns.iter().map(whole);
    compiled
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{value}: {error}"))
}

#[test]
fn selectors_are_found_in_an_expression() {
    let found = selectors(
        r#"sum by (job) (rate(stuut_cache_x_total{a="1}", b=~"c|d"}[5m])) / stuut_cache:y > up"#,
    );
    let expected = [
        (
            "stuut_cache_x_total",
            vec![("a", "=", "1}"), ("b", "=~", "c|d")],
        ),
        ("stuut_cache:y", Vec::new()),
        ("up", Vec::new()),
    ];
    let expected = expected.map(|(name, matchers)| Selector { name, matchers });
    assert_eq!(found, expected);
    assert_eq!(groupings("sum by (job, le) (x)"), ["job", "le"]);
}
