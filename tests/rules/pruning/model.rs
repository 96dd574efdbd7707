//! The model: lists without canonical form, and a recursive rewrite of the text.

use serde_json::Value;

/// A step of a path, as written.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Any,
    Deep,
    Name(String),
}

/// Both lists of a view.
pub(super) struct Lists {
    fields: Option<Vec<Vec<Step>>>,
    strip: Vec<Vec<Step>>,
}

/// Parses the lists as written; the model has neither groups nor a canonical form.
pub(super) fn lists(fields: Option<&str>, strip: Option<&str>) -> Lists {
    Lists {
        fields: fields.map(paths),
        strip: strip.map(paths).unwrap_or_default(),
    }
}

fn paths(text: &str) -> Vec<Vec<Step>> {
    let step = |step: &str| match step {
        "*" => Step::Any,
        "**" => Step::Deep,
        r"\e" => Step::Name(String::new()),
        name => Step::Name(name.replace('\\', "")),
    };
    text.split(',')
        .map(|path| path.split('.').map(step).collect())
        .collect()
}

/// Whether a path matches exactly this member.
fn matches_exactly(path: &[Step], member: &[Vec<u16>]) -> bool {
    match (path, member) {
        ([], []) => true,
        ([Step::Deep, rest @ ..], _) => {
            matches_exactly(rest, member)
                || !member.is_empty() && matches_exactly(path, &member[1..])
        }
        ([Step::Any, rest @ ..], [_, below @ ..]) => matches_exactly(rest, below),
        ([Step::Name(name), rest @ ..], [first, below @ ..]) => {
            name.encode_utf16().eq(first.iter().copied()) && matches_exactly(rest, below)
        }
        _ => false,
    }
}

/// Whether a path matches this member, an ancestor, or a possible descendant.
fn matches_around(path: &[Step], member: &[Vec<u16>]) -> bool {
    (0..=path.len()).any(|n| matches_exactly(&path[..n], member))
        || (0..=member.len()).any(|n| matches_exactly(path, &member[..n]))
}

impl Lists {
    pub(super) fn shows(&self, member: &[Vec<u16>]) -> bool {
        let kept = match &self.fields {
            Some(fields) => fields.iter().any(|path| matches_around(path, member)),
            None => true,
        };
        kept && !self.strip.iter().any(|path| matches_exactly(path, member))
    }
}

/// Rewrites a text recursively, token by token; `None` if it is not JSON.
pub(super) struct Model<'a> {
    text: &'a [u8],
    at: usize,
    lists: &'a Lists,
}

impl Model<'_> {
    pub(super) fn run(text: &str, lists: &Lists) -> Option<String> {
        let mut model = Model {
            text: text.as_bytes(),
            at: 0,
            lists,
        };
        let before = model.whitespace();
        let value = model.value(&mut Vec::new())?;
        let after = model.whitespace();
        (model.at == text.len()).then(|| before + &value + &after)
    }

    fn whitespace(&mut self) -> String {
        self.while_in(b" \t\r\n")
    }

    fn while_in(&mut self, set: &[u8]) -> String {
        let mut out = String::new();
        while let Some(byte) = self.text.get(self.at).filter(|byte| set.contains(byte)) {
            out.push(char::from(*byte));
            self.at += 1;
        }
        out
    }

    fn take(&mut self, token: &str) -> Option<()> {
        let is_next = self.text[self.at..].starts_with(token.as_bytes());
        self.at += if is_next { token.len() } else { 0 };
        is_next.then_some(())
    }

    fn value(&mut self, path: &mut Vec<Vec<u16>>) -> Option<String> {
        match self.text.get(self.at)? {
            b'{' => self.object(path),
            b'[' => self.array(path),
            b'"' => Some(self.string()?.0),
            _ => {
                let word = self.while_in(b"-+.0123456789aeEflnrstu");
                let is_valid = serde_json::from_str::<Value>(&word).is_ok();
                is_valid.then_some(word)
            }
        }
    }

    fn array(&mut self, path: &mut Vec<Vec<u16>>) -> Option<String> {
        self.take("[")?;
        let mut out = "[".to_owned() + &self.whitespace();
        if self.take("]").is_some() {
            return Some(out + "]");
        }
        loop {
            out += &self.value(path)?;
            out += &self.whitespace();
            if self.take("]").is_some() {
                return Some(out + "]");
            }
            self.take(",")?;
            out += ",";
            out += &self.whitespace();
        }
    }

    fn object(&mut self, path: &mut Vec<Vec<u16>>) -> Option<String> {
        self.take("{")?;
        let mut before = self.whitespace();
        if self.take("}").is_some() {
            return Some(format!("{{{before}}}"));
        }
        // The kept members, each with the whitespace before it, and the whitespace after it.
        let mut kept: Vec<(String, String)> = Vec::new();
        loop {
            let (name, unescaped) = self.string()?;
            let colon = self.whitespace();
            self.take(":")?;
            let gap = self.whitespace();
            path.push(unescaped);
            let shown = self.lists.shows(path);
            let value = self.value(path)?;
            path.pop();
            let after = self.whitespace();
            if shown {
                let member = format!("{before}{name}{colon}:{gap}{value}");
                kept.push((member, after.clone()));
            }
            if self.take("}").is_some() {
                if let Some(last) = kept.last_mut() {
                    last.1.clear();
                }
                let members: Vec<_> = kept.into_iter().map(|(a, b)| a + &b).collect();
                return Some(format!("{{{}{after}}}", members.join(",")));
            }
            self.take(",")?;
            before = self.whitespace();
        }
    }

    /// Parses a string. Returns it as written, and unescaped as UTF-16.
    fn string(&mut self) -> Option<(String, Vec<u16>)> {
        let begin = self.at;
        self.take("\"")?;
        let mut unescaped = Vec::new();
        let text = std::str::from_utf8(self.text).ok()?;
        let mut chars = text[self.at..].chars();
        loop {
            let char = chars.next()?;
            match char {
                '"' => break,
                '\\' => match chars.next()? {
                    'u' => {
                        let hex: String = chars.by_ref().take(4).collect();
                        let hex = (hex.len() == 4 && !hex.starts_with('+')).then_some(hex)?;
                        unescaped.push(u16::from_str_radix(&hex, 16).ok()?);
                    }
                    'n' => unescaped.push(10),
                    escaped @ ('"' | '\\' | '/') => unescaped.push(escaped as u16),
                    'b' | 'f' | 'r' | 't' => unescaped.push(0),
                    _ => return None,
                },
                control if control < ' ' => return None,
                plain => unescaped.extend(plain.encode_utf16(&mut [0; 2]).iter()),
            }
        }
        self.at = text.len() - chars.as_str().len();
        Some((text[begin..self.at].to_owned(), unescaped))
    }
}
