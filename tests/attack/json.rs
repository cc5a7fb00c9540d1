//! JSON as a tree that can be damaged in ways `serde_json` would not write: numbers no type holds, keys twice, depths.

use crate::random::{Rng, below, one_in, pick, size};
use crate::{bytes, text};
use serde_json::Value;

/// JSON, written as it stands here.
#[derive(Debug, Clone)]
pub(crate) enum Json {
    /// A number, a literal, or anything that is not looked into.
    Raw(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(fields) => {
                Self::Object(fields.iter().map(|(name, value)| (name.clone(), value.into())).collect())
            }
            other => Self::Raw(other.to_string()),
        }
    }
}

impl Json {
    /// The text.
    pub(crate) fn write(&self) -> String {
        let mut out = String::new();
        self.write_into(&mut out);
        out
    }

    fn write_into(&self, out: &mut String) {
        let list = |out: &mut String, open, close, n: usize, each: &mut dyn FnMut(&mut String, usize)| {
            out.push(open);
            for at in 0..n {
                if at > 0 {
                    out.push(',');
                }
                each(out, at);
            }
            out.push(close);
        };
        match self {
            Self::Raw(raw) => out.push_str(raw),
            Self::Text(text) => out.push_str(&Value::from(text.as_str()).to_string()),
            Self::List(items) => list(out, '[', ']', items.len(), &mut |out, at| items[at].write_into(out)),
            Self::Object(fields) => list(out, '{', '}', fields.len(), &mut |out, at| {
                out.push_str(&Value::from(fields[at].0.as_str()).to_string());
                out.push(':');
                fields[at].1.write_into(out);
            }),
        }
    }

    fn n_nodes(&self) -> usize {
        1 + match self {
            Self::Raw(_) | Self::Text(_) => 0,
            Self::List(items) => items.iter().map(Self::n_nodes).sum(),
            Self::Object(fields) => fields.iter().map(|(_, value)| value.n_nodes()).sum(),
        }
    }

    /// The node of a number, in the order they are written; the root is 0.
    fn node(&mut self, mut number: usize) -> Option<&mut Self> {
        if number == 0 {
            return Some(self);
        }
        number -= 1;
        let children: Vec<&mut Self> = match self {
            Self::Raw(_) | Self::Text(_) => Vec::new(),
            Self::List(items) => items.iter_mut().collect(),
            Self::Object(fields) => fields.iter_mut().map(|(_, value)| value).collect(),
        };
        for child in children {
            let n = child.n_nodes();
            if number < n {
                return child.node(number);
            }
            number -= n;
        }
        None
    }

    /// Damages a few nodes; `names` are keys and words that the reader knows.
    pub(crate) fn damage(&mut self, names: &[&str], rng: &mut Rng) {
        for _ in 0..*pick(rng, &[0, 1, 1, 1, 1, 2, 2, 3, 5]) {
            let at = below(rng, self.n_nodes());
            if one_in(rng, 8) {
                let from = below(rng, self.n_nodes());
                let copy = self.node(from).map(|node| node.clone());
                if let (Some(copy), Some(node)) = (copy, self.node(at)) {
                    *node = copy;
                }
            } else if let Some(node) = self.node(at) {
                node.damage_here(names, rng);
            }
        }
    }

    fn damage_here(&mut self, names: &[&str], rng: &mut Rng) {
        match self {
            Self::Object(fields) if !one_in(rng, 6) => damage_fields(fields, names, rng),
            Self::List(items) if !one_in(rng, 6) => damage_items(items, names, rng),
            Self::Text(inner) if !one_in(rng, 3) => *inner = text::damage(inner, rng),
            Self::Raw(raw) if one_in(rng, 4) => {
                *self = match below(rng, 3) {
                    0 => Self::Text(std::mem::take(raw)),
                    1 => Self::Raw(format!("-{raw}")),
                    _ => Self::Raw(format!("{raw}e3")),
                }
            }
            node if one_in(rng, 6) => {
                let inner = std::mem::replace(node, Self::Raw("null".to_owned()));
                let name = (*pick(rng, names)).to_owned();
                *node =
                    if one_in(rng, 2) { Self::List(vec![inner]) } else { Self::Object(vec![(name, inner)]) };
            }
            node => *node = any(names, rng),
        }
    }

    /// The text of a damaged copy of `value`, one in ten damaged by bytes as well.
    pub(crate) fn damaged(value: &Value, names: &[&str], rng: &mut Rng) -> Vec<u8> {
        let mut json = Self::from(value);
        json.damage(names, rng);
        let mut text = json.write().into_bytes();
        if one_in(rng, 10) {
            bytes::damage(&mut text, rng);
        }
        text
    }
}

fn damage_fields(fields: &mut Vec<(String, Json)>, names: &[&str], rng: &mut Rng) {
    let (at, other) = (below(rng, fields.len()), below(rng, fields.len()));
    match below(rng, 7) {
        0 | 1 if !fields.is_empty() => drop(fields.remove(at)),
        2 if !fields.is_empty() => fields.insert(other, fields[at].clone()),
        3 if !fields.is_empty() => {
            fields[at].0 = if one_in(rng, 2) {
                text::damage(&fields[at].0, rng)
            } else {
                (*pick(rng, names)).to_owned()
            };
        }
        4 if fields.len() > 1 => {
            let value = fields[at].1.clone();
            fields[at].1 = std::mem::replace(&mut fields[other].1, value);
        }
        5 => fields.extend((0..size(rng)).map(|n| (format!("k{n}"), Json::Raw(n.to_string())))),
        _ => {
            let name = if one_in(rng, 4) { text::any(rng) } else { (*pick(rng, names)).to_owned() };
            fields.insert(other, (name, any(names, rng)));
        }
    }
}

fn damage_items(items: &mut Vec<Json>, names: &[&str], rng: &mut Rng) {
    let at = below(rng, items.len());
    match below(rng, 6) {
        0 if !items.is_empty() => drop(items.remove(at)),
        1 if !items.is_empty() => items.insert(at, items[at].clone()),
        2 if !items.is_empty() => {
            let copies = std::iter::repeat_n(items[at].clone(), size(rng)).collect::<Vec<_>>();
            drop(items.splice(at..at, copies));
        }
        3 => items.reverse(),
        4 => items.clear(),
        _ => items.insert(at, any(names, rng)),
    }
}

/// A value of any kind.
fn any(names: &[&str], rng: &mut Rng) -> Json {
    match below(rng, 12) {
        0..=3 => Json::Raw(text::number(rng)),
        4 => Json::Raw(
            (*pick(rng, &["null", "true", "false", "NaN", "-Infinity", "1e400", "01", "\"\\ud800\""]))
                .to_owned(),
        ),
        5 | 6 => Json::Text(text::any(rng)),
        7 => Json::Text((*pick(rng, names)).to_owned()),
        8 => Json::Raw((*pick(rng, &["[]", "{}", "[[]]", "[null]", "{\"\":{}}", "\"\""])).to_owned()),
        9 => {
            let depth = *pick(rng, &[2, 60, 100, 126, 127, 128, 129, 200, 1000, 20_000]);
            let (open, close) = *pick(rng, &[("[", "]"), ("{\"a\":", "}"), ("[{\"content\":", "}]")]);
            Json::Raw(format!("{}1{}", open.repeat(depth), close.repeat(depth)))
        }
        10 => Json::List((0..size(rng)).map(|_| Json::Raw(text::number(rng))).collect()),
        _ => Json::List((0..below(rng, 6)).map(|_| Json::Text(text::any(rng))).collect()),
    }
}
