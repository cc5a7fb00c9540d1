//! What names a decision before it is made.

/// Id and seed of a decision yet to be made.
#[derive(Debug)]
pub(crate) struct DecisionId {
    /// `dec_` and a UUIDv7.
    pub(crate) id: String,
    /// Seed of the draw where the caller gives none.
    pub(crate) seed: u64,
}

impl DecisionId {
    /// A fresh id, and a seed of 53 bits (JSON numbers are exact up to there) from its random part.
    pub(crate) fn draw() -> Self {
        let uuid = crate::ids::fresh();
        let mut buffer = [0_u8; uuid::fmt::Simple::LENGTH];
        let id = format!("dec_{}", uuid.simple().encode_lower(&mut buffer));
        Self { id, seed: uuid.as_u64_pair().1 & ((1 << 53) - 1) }
    }
}
