//! API keys `sk-rw-<public id>-<secret>`, stored as salted hashes.
//!
//! The public id finds the record and may stand in logs; the secret has 256 random bits, is shown once
//! and never stored. What is stored is `blake3(key = derive("..", salt), message = whole key)`, compared in
//! constant time.

use crate::caller::Allowance;
use crate::settings::Secret;
use crate::settings::allowance::{self, Misfit};
use routewright_data::files::{self, FileError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// How keys are made.
const MAKE: &str = "`routewright serve --new-key NAME`";
const PREFIX: &str = "sk-rw-";
const CONTEXT: &str = "routewright api key hash v1";
/// A thousand keys are under 300 kB.
const KEYS_BYTES_MAX: u64 = 16 << 20;

/// Why keys could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a list of keys.
    #[error("cannot read keys file `{path}`: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// What a key may use cannot be so.
    #[error("`{field}` of key `{id}` is `{value}`, expected {expected}")]
    Value {
        /// Public id of the key.
        id: String,
        /// The field of its record.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// A key from the environment is not one of ours.
    #[error("an API key of the environment is not `sk-rw-<public id>-<secret>`; make one with {MAKE}")]
    Shape,
    /// The system gave no random bytes.
    #[error("cannot make a key: the system gave no random bytes: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
}

/// What is stored of a key. What it may use is `None` where it has no limit of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Public id, 16 hex digits; may be logged.
    pub id: String,
    /// Whose key it is.
    pub name: String,
    /// Salt, 32 hex digits.
    pub salt: String,
    /// Salted hash of the whole key, 64 hex digits.
    pub hash: String,
    /// Models that may answer it.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// Requests that models answer, a minute.
    #[serde(default)]
    pub requests_per_minute: Option<i64>,
    /// Tokens of such requests and of their answers, a minute.
    #[serde(default)]
    pub tokens_per_minute: Option<i64>,
    /// US dollars that its calls may cost in one day (UTC).
    #[serde(default)]
    pub budget_day_usd: Option<f64>,
    /// US dollars that its calls may cost in one month (UTC).
    #[serde(default)]
    pub budget_month_usd: Option<f64>,
    /// Seconds that answers are kept for a request that comes again.
    #[serde(default)]
    pub cache_seconds: Option<i64>,
    /// Whether answers that are drawn at random are kept, too.
    #[serde(default)]
    pub cache_samples: bool,
}

impl KeyRecord {
    fn of(key: &str, id: &str, name: &str, salt: String) -> Self {
        let hash = hash(key, &salt).to_hex().to_string();
        Self { id: id.to_owned(), name: name.to_owned(), salt, hash, ..Self::default() }
    }

    /// The lines to append to the keys file.
    pub fn to_toml(&self) -> String {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        format!(
            "[[keys]]\nid = {}\nname = {}\nsalt = {}\nhash = {}\n",
            quote(&self.id),
            quote(&self.name),
            quote(&self.salt),
            quote(&self.hash)
        )
    }
}

/// A key just made: the only moment its secret is known.
#[derive(Debug)]
pub struct NewKey {
    /// The key, to be handed to its owner.
    pub key: Secret,
    /// What to store.
    pub record: KeyRecord,
}

/// Makes a key for `name`.
///
/// # Errors
/// If the system gives no random bytes.
pub fn generate(name: &str) -> Result<NewKey, KeyError> {
    let mut random = [0_u8; 8 + 16 + 32];
    getrandom::fill(&mut random).map_err(|error| KeyError::Random { reason: error.to_string() })?;
    let (id, rest) = random.split_at(8);
    let (salt, secret) = rest.split_at(16);
    let id = hex(id);
    let key = format!("{PREFIX}{id}-{}", hex(secret));
    let record = KeyRecord::of(&key, &id, name, hex(salt));
    Ok(NewKey { key: Secret::new(key), record })
}

/// The keys a server accepts.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    required: bool,
    by_id: BTreeMap<String, (KeyRecord, Arc<Allowance>)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    keys: Vec<KeyRecord>,
}

impl Keys {
    /// Reads the keys file, where there is one, and adds the keys of the environment.
    ///
    /// # Errors
    /// If the file cannot be read or a key is malformed.
    pub fn load(file: Option<&Path>, environment: &[Secret]) -> Result<Self, KeyError> {
        let mut keys = Self { required: file.is_some() || !environment.is_empty(), ..Self::default() };
        for record in file.map(read_file).transpose()?.unwrap_or_default() {
            let allowance = allowance::of(&record).map_err(|misfit| refused(&record.id, misfit))?;
            keys.by_id.insert(record.id.clone(), (record, Arc::new(allowance)));
        }
        for key in environment {
            let id = public_id(key.reveal()).ok_or(KeyError::Shape)?;
            // Such a key lives in memory only; its id serves as salt.
            let record = KeyRecord::of(key.reveal(), id, "environment", id.to_owned());
            let allowance = Allowance { id: id.into(), ..Allowance::default() };
            keys.by_id.insert(id.to_owned(), (record, Arc::new(allowance)));
        }
        Ok(keys)
    }

    /// Whether requests need a key at all; a keys file without keys lets nobody in.
    pub fn required(&self) -> bool {
        self.required
    }

    /// Number of keys accepted.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no key is accepted.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The record of a presented key, where it is one of ours.
    pub fn find(&self, presented: &str) -> Option<&KeyRecord> {
        self.opened(presented).map(|(record, _)| record)
    }

    /// The record of a presented key, where it is one of ours, and what it may use.
    pub(crate) fn opened(&self, presented: &str) -> Option<(&KeyRecord, &Arc<Allowance>)> {
        let (record, allowance) = self.by_id.get(public_id(presented)?)?;
        let expected = blake3::Hash::from_hex(&record.hash).ok()?;
        // `blake3::Hash` compares in constant time.
        (hash(presented, &record.salt) == expected).then_some((record, allowance))
    }

    /// The keys with a budget, by id: the name of each, and what it may use.
    pub(crate) fn with_budget(&self) -> impl Iterator<Item = (&str, &Arc<Allowance>)> {
        let keys = self.by_id.values().filter(|(_, allowance)| allowance.has_budget());
        keys.map(|(record, allowance)| (record.name.as_str(), allowance))
    }

    /// Refuses what the rest of the configuration makes impossible: budgets without a store, models that there are not.
    ///
    /// # Errors
    /// If there is one; the key is named.
    pub(crate) fn check(&self, has_store: bool, models: &[String]) -> Result<(), KeyError> {
        self.by_id.iter().try_for_each(|(id, (_, allowance))| {
            allowance::check(allowance, has_store, models).map_err(|misfit| refused(id, misfit))
        })
    }
}

/// Compares a secret that has no record in constant time.
pub(crate) fn same_secret(presented: &str, expected: &Secret) -> bool {
    hash(presented, "") == hash(expected.reveal(), "")
}

fn refused(id: &str, Misfit { field, value, expected }: Misfit) -> KeyError {
    KeyError::Value { id: id.to_owned(), field, value, expected }
}

fn read_file(path: &Path) -> Result<Vec<KeyRecord>, KeyError> {
    let syntax = |reason: String| KeyError::Syntax { path: path.display().to_string(), reason };
    let bytes = files::read_up_to(path, KEYS_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|error| syntax(error.to_string()))?;
    // The message of the parser only: its excerpt of the file would put hashes into the log.
    let file: KeysFile = toml::from_str(&text).map_err(|error| syntax(error.message().to_owned()))?;
    for record in &file.keys {
        if blake3::Hash::from_hex(&record.hash).is_err() {
            return Err(syntax(format!("the hash of key `{}` is not 64 hex digits", record.id)));
        }
    }
    Ok(file.keys)
}

fn public_id(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('-')?;
    (!id.is_empty() && secret.len() >= 16).then_some(id)
}

fn hash(key: &str, salt: &str) -> blake3::Hash {
    blake3::keyed_hash(&blake3::derive_key(CONTEXT, salt.as_bytes()), key.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_opens_with_its_record_and_no_other_key_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        let (mine, other) = (generate("me \"quoted\"").unwrap(), generate("other").unwrap());
        std::fs::write(&file, mine.record.to_toml()).unwrap();
        let keys = Keys::load(Some(&file), &[]).unwrap();
        assert_eq!(keys.find(mine.key.reveal()).unwrap().name, "me \"quoted\"");
        assert!(keys.find(other.key.reveal()).is_none());
        let mut forged = mine.key.reveal().to_owned();
        let last = if forged.pop() == Some('0') { '1' } else { '0' };
        forged.push(last);
        assert!(keys.find(&forged).is_none(), "one changed digit must not open");
        assert!(!std::fs::read_to_string(&file).unwrap().contains(&mine.key.reveal()[23..]));
    }

    #[test]
    fn a_keys_file_without_keys_lets_nobody_in_and_no_file_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        std::fs::write(&file, "").unwrap();
        assert!(Keys::load(Some(&file), &[]).unwrap().required());
        assert!(!Keys::load(None, &[]).unwrap().required());
    }

    #[test]
    fn environment_keys_are_checked_for_their_shape() {
        let key = generate("x").unwrap().key;
        let keys = Keys::load(None, std::slice::from_ref(&key)).unwrap();
        assert!(keys.required() && keys.find(key.reveal()).is_some());
        assert!(matches!(Keys::load(None, &[Secret::new("hunter2")]), Err(KeyError::Shape)));
    }

    #[test]
    fn a_malformed_keys_file_names_the_key_but_not_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        std::fs::write(&file, "[[keys]]\nid='a'\nname='b'\nsalt='c'\nhash='zz'").unwrap();
        let error = Keys::load(Some(&file), &[]).unwrap_err().to_string();
        assert!(error.contains("key `a`"), "{error}");
        std::fs::write(&file, "[[keys]]\nid='a'\nhush='deadbeef'").unwrap();
        let error = Keys::load(Some(&file), &[]).unwrap_err().to_string();
        assert!(error.contains("hush") && !error.contains("deadbeef"), "{error}");
    }

    #[test]
    fn what_a_key_may_use_is_read_with_its_record_and_refused_by_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.toml");
        let key = generate("me").unwrap();
        let load = |more: &str| {
            std::fs::write(&file, format!("{}{more}\n", key.record.to_toml())).unwrap();
            Keys::load(Some(&file), &[])
        };
        let keys = load("budget_day_usd = 2\nrequests_per_minute = 7").unwrap();
        let (_, allowance) = keys.opened(key.key.reveal()).unwrap();
        assert_eq!((allowance.budget_day, allowance.budget_month), (Some(2_000_000_000), None));
        assert_eq!((allowance.requests_per_minute, &*allowance.id), (Some(7), key.record.id.as_str()));
        let names = [("me", allowance)];
        assert!(keys.with_budget().eq(names), "by its name");
        let error = load("budget_month_usd = nan").unwrap_err().to_string();
        assert!(error.contains("`budget_month_usd` of key `") && error.contains(&key.record.id), "{error}");
        let error = keys.check(false, &[]).unwrap_err().to_string();
        assert!(error.contains("[store]") && error.contains(&key.record.id), "{error}");
    }
}
