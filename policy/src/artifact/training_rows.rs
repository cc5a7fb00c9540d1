//! Which rows a policy was trained on: `training-rows.bin`, so that it is never judged on them unnoticed.
//!
//! ```text
//! "RWROWS1\n"   8 bytes
//! n_rows        u64     little-endian, as all numbers
//! n_texts       u64
//! rows          n_rows  x u64, ascending: keys of the rows
//! texts         n_texts x u64, ascending: keys of what was asked
//! ```
//! Keys are those of [`routewright_data::row_keys`]; 8 to 16 bytes a row. The file is optional: an artifact of an
//! earlier build has none, and then only the digest and the last time of the rows are known.

use routewright_data::log::DecisionRow;
use routewright_data::row_keys;

const MAGIC: &[u8; 8] = b"RWROWS1\n";
const HEADER: usize = 24;

/// Keys of the rows a policy was trained on, and of their questions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrainingRows {
    rows: Vec<u64>,
    texts: Vec<u64>,
}

impl TrainingRows {
    /// From the keys of the rows and of their questions, in any order.
    #[must_use]
    pub fn new(mut rows: Vec<u64>, mut texts: Vec<u64>) -> Self {
        for keys in [&mut rows, &mut texts] {
            keys.sort_unstable();
            keys.dedup();
        }
        Self { rows, texts }
    }

    /// Number of different rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether the policy was trained on this decision, or on the query that it was made of.
    #[must_use]
    pub fn has(&self, row: &DecisionRow) -> bool {
        self.rows.binary_search(&row_keys::of_row(row)).is_ok()
    }

    /// Whether the policy was trained on a row with this question.
    #[must_use]
    pub fn has_text(&self, row: &DecisionRow) -> bool {
        let key = row_keys::of_text(row.prompt.as_deref().unwrap_or_default(), row.features.as_deref());
        key.is_some_and(|key| self.texts.binary_search(&key).is_ok())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let lengths = [self.rows.len() as u64, self.texts.len() as u64];
        let numbers = lengths.iter().chain(&self.rows).chain(&self.texts);
        MAGIC.iter().copied().chain(numbers.flat_map(|number| number.to_le_bytes())).collect()
    }

    /// # Errors
    /// If the bytes are not what [`Self::encode`] writes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let body =
            bytes.strip_prefix(MAGIC).filter(|_| bytes.len() >= HEADER && bytes.len().is_multiple_of(8));
        let body = body.ok_or("it does not begin as a list of training rows does")?;
        let mut numbers = body.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let (n_rows, n_texts) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let keys: Vec<u64> = numbers.collect();
        if n_rows.checked_add(n_texts) != Some(keys.len() as u64) {
            return Err(format!("it holds {} keys, its header says {n_rows} and {n_texts}", keys.len()));
        }
        let (rows, texts) = keys.split_at(n_rows as usize);
        if [rows, texts].iter().any(|keys| !keys.is_sorted()) {
            return Err("its keys are not in ascending order".to_owned());
        }
        Ok(Self { rows: rows.to_vec(), texts: texts.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, prompt: &str) -> DecisionRow {
        DecisionRow { decision_id: id.to_owned(), prompt: Some(prompt.to_owned()), ..DecisionRow::default() }
    }

    #[test]
    fn rows_and_questions_are_found_again() {
        let decision = |id: &str| row_keys::of_decision(id, "");
        let keys = vec![decision("dec_2"), row_keys::of_outcome("7", "a"), decision("dec_1")];
        let texts = ["a", "b", "a"].map(|prompt| row_keys::of_text(prompt, None).unwrap());
        let rows = TrainingRows::new(keys, texts.to_vec());
        assert_eq!((rows.n_rows(), rows.texts.len()), (3, 2));
        let again = TrainingRows::decode(&rows.encode()).unwrap();
        assert_eq!(again, rows);
        assert!(again.has(&row("dec_1", "")) && again.has(&row("dec_2", "z")) && again.has(&row("d-7", "a")));
        assert!(!again.has(&row("dec_3", "a")) && !again.has(&row("d-7", "other")));
        assert!(again.has_text(&row("dec_3", "B!")) && !again.has_text(&row("dec_1", "c")));
    }

    #[test]
    fn a_list_that_is_cut_or_shuffled_is_refused() {
        let rows = TrainingRows::new(vec![1, 2, 3], vec![4]);
        let bytes = rows.encode();
        for n in [0, 7, 8, 16, 24, bytes.len() - 8, bytes.len() - 1] {
            assert!(TrainingRows::decode(&bytes[..n]).is_err(), "{n} bytes");
        }
        let mut shuffled = bytes.clone();
        shuffled[24..40].rotate_left(8);
        assert!(TrainingRows::decode(&shuffled).unwrap_err().contains("ascending"));
        let mut lying = bytes;
        lying[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(TrainingRows::decode(&lying).unwrap_err().contains("4 keys"));
    }
}
