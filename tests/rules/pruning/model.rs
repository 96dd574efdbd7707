//! The model: lists without canonical forms, and a text rewritten by recursion.

use serde_json::Value;

/// A step of a path, as it was written.
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

/// The lists as they were written, without groups: the model knows nothing of canonical forms.
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

/// Whether a path leads exactly to this member.
fn leads_to(path: &[Step], member: &[Vec<u16>]) -> bool {
    match (path, member) {
        ([], []) => true,
        ([Step::Deep, rest @ ..], _) => {
            leads_to(rest, member) || !member.is_empty() && leads_to(path, &member[1..])
        }
        ([Step::Any, rest @ ..], [_, below @ ..]) => leads_to(rest, below),
        ([Step::Name(name), rest @ ..], [first, below @ ..]) => {
            name.encode_utf16().eq(first.iter().copied()) && leads_to(rest, below)
        }
        _ => false,
    }
}

/// Whether a path leads to this member, to one around it or to one that could be inside.
fn leads_by(path: &[Step], member: &[Vec<u16>]) -> bool {
    (0..=path.len()).any(|n| leads_to(&path[..n], member))
        || (0..=member.len()).any(|n| leads_to(path, &member[..n]))
}

impl Lists {
    pub(super) fn shows(&self, member: &[Vec<u16>]) -> bool {
        let kept = match &self.fields {
            Some(fields) => fields.iter().any(|path| leads_by(path, member)),
            None => true,
        };
        kept && !self.strip.iter().any(|path| leads_to(path, member))
    }
}

/// Rewrites a text by recursion, token by token; `None` where it is no JSON.
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
        let before = model.blanks();
        let value = model.value(&mut Vec::new())?;
        let behind = model.blanks();
        (model.at == text.len()).then(|| before + &value + &behind)
    }

    fn blanks(&mut self) -> String {
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

    fn take(&mut self, mark: &str) -> Option<()> {
        let here = self.text[self.at..].starts_with(mark.as_bytes());
        self.at += if here { mark.len() } else { 0 };
        here.then_some(())
    }

    fn value(&mut self, path: &mut Vec<Vec<u16>>) -> Option<String> {
        match self.text.get(self.at)? {
            b'{' => self.object(path),
            b'[' => self.array(path),
            b'"' => Some(self.string()?.0),
            _ => {
                let word = self.while_in(b"-+.0123456789aeEflnrstu");
                let good = serde_json::from_str::<Value>(&word).is_ok();
                good.then_some(word)
            }
        }
    }

    fn array(&mut self, path: &mut Vec<Vec<u16>>) -> Option<String> {
        self.take("[")?;
        let mut out = "[".to_owned() + &self.blanks();
        if self.take("]").is_some() {
            return Some(out + "]");
        }
        loop {
            out += &self.value(path)?;
            out += &self.blanks();
            if self.take("]").is_some() {
                return Some(out + "]");
            }
            self.take(",")?;
            out += ",";
            out += &self.blanks();
        }
    }

    fn object(&mut self, path: &mut Vec<Vec<u16>>) -> Option<String> {
        self.take("{")?;
        let mut before = self.blanks();
        if self.take("}").is_some() {
            return Some(format!("{{{before}}}"));
        }
        // What stays: the member with the blanks before it, and the blanks behind it.
        let mut stay: Vec<(String, String)> = Vec::new();
        loop {
            let (name, meant) = self.string()?;
            let colon = self.blanks();
            self.take(":")?;
            let gap = self.blanks();
            path.push(meant);
            let shown = self.lists.shows(path);
            let value = self.value(path)?;
            path.pop();
            let behind = self.blanks();
            if shown {
                let member = format!("{before}{name}{colon}:{gap}{value}");
                stay.push((member, behind.clone()));
            }
            if self.take("}").is_some() {
                if let Some(last) = stay.last_mut() {
                    last.1.clear();
                }
                let members: Vec<_> = stay.into_iter().map(|(a, b)| a + &b).collect();
                return Some(format!("{{{}{behind}}}", members.join(",")));
            }
            self.take(",")?;
            before = self.blanks();
        }
    }

    /// A string as it stands, and the UTF-16 it means.
    fn string(&mut self) -> Option<(String, Vec<u16>)> {
        let begin = self.at;
        self.take("\"")?;
        let mut meant = Vec::new();
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
                        meant.push(u16::from_str_radix(&hex, 16).ok()?);
                    }
                    'n' => meant.push(10),
                    mark @ ('"' | '\\' | '/') => meant.push(mark as u16),
                    'b' | 'f' | 'r' | 't' => meant.push(0),
                    _ => return None,
                },
                control if control < ' ' => return None,
                plain => meant.extend(plain.encode_utf16(&mut [0; 2]).iter()),
            }
        }
        self.at = text.len() - chars.as_str().len();
        Some((text[begin..self.at].to_owned(), meant))
    }
}
