//! Which rows of a log there were: finds a second row of the same key as it streams by.

use std::collections::{HashMap, HashSet};

/// Arms whose rows are bits of one word a query; those of others are kept one by one.
const BITS: usize = 64;

/// The keys of rows seen so far: of each query, the arms that had a row. Queries are told apart by 64 bits of a hash.
#[derive(Debug, Default)]
pub(crate) struct RowKeys {
    arms: HashMap<String, usize>,
    seen: HashMap<u64, u64>,
    others: HashSet<(u64, usize)>,
}

impl RowKeys {
    /// Notes a row; whether it is the first of its query and arm.
    pub(crate) fn insert(&mut self, query: &str, arm: &str) -> bool {
        let arm = match self.arms.get(arm) {
            Some(&number) => number,
            None => {
                let number = self.arms.len();
                self.arms.insert(arm.to_owned(), number);
                number
            }
        };
        let query = hash_of(query);
        let seen = self.seen.entry(query).or_default();
        if arm >= BITS {
            return self.others.insert((query, arm));
        }
        let is_first = *seen & (1 << arm) == 0;
        *seen |= 1 << arm;
        is_first
    }

    /// Different queries.
    pub(crate) fn n_queries(&self) -> usize {
        self.seen.len()
    }
}

fn hash_of(text: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_row_of_a_key_is_found_whatever_the_number_of_arms() {
        let mut keys = RowKeys::default();
        for arm in 0..150 {
            assert!(keys.insert("q", &format!("m{arm}")), "{arm}");
            assert!(keys.insert("r", &format!("m{arm}")), "{arm}");
        }
        assert!(!keys.insert("q", "m3") && !keys.insert("r", "m149"));
        assert_eq!(keys.n_queries(), 2);
    }
}
