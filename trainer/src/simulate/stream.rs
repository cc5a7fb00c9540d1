//! What happens, round by round: which query, which world, and when the news of it arrives.

/// What the arms are like from some round on, relative to the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Factor on the price of each arm; announced, so predictions know it.
    pub price: Vec<f64>,
    /// Factor on the score of each arm; silent.
    pub score: Vec<f64>,
    /// Whether each arm can be called.
    pub available: Vec<bool>,
}

impl Phase {
    /// The world as the log has it.
    pub fn plain(n_arms: usize) -> Self {
        Self { price: vec![1.0; n_arms], score: vec![1.0; n_arms], available: vec![true; n_arms] }
    }
}

/// One query of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Its row in the table.
    pub row: usize,
    /// Which phase it falls in.
    pub phase: usize,
}

/// The arrival of one reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// It is there before this round is decided.
    pub at: usize,
    /// The round it is about.
    pub of: usize,
    /// Whether it comes from a source that is not trusted and says the opposite of what happened.
    pub poisoned: bool,
}

/// A whole stream; the same for every bandit that is run on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The rounds in order.
    pub rounds: Vec<Round>,
    /// The phases rounds refer to.
    pub phases: Vec<Phase>,
    /// Arrivals, ordered by [`Delivery::at`].
    pub deliveries: Vec<Delivery>,
    /// The round at which the world changes, where it does so at once.
    pub change: Option<usize>,
}

impl Stream {
    /// Rows in the order given, one phase, every reward there before the next round.
    pub fn prompt(rows: Vec<usize>, n_arms: usize) -> Self {
        let deliveries = (0..rows.len()).map(|of| Delivery { at: of + 1, of, poisoned: false }).collect();
        let rounds = rows.into_iter().map(|row| Round { row, phase: 0 }).collect();
        Self { rounds, phases: vec![Phase::plain(n_arms)], deliveries, change: None }
    }

    /// From round `at` on the world is `phase`.
    #[must_use]
    pub fn changing(mut self, at: usize, phase: Phase) -> Self {
        self.phases.push(phase);
        let last = self.phases.len() - 1;
        self.rounds.iter_mut().skip(at).for_each(|round| round.phase = last);
        self.change = Some(at);
        self
    }

    /// Replaces the arrivals; they are put in the order of their rounds, equal ones as given.
    #[must_use]
    pub fn delivering(mut self, mut deliveries: Vec<Delivery>) -> Self {
        deliveries.sort_by_key(|delivery| delivery.at);
        self.deliveries = deliveries;
        self
    }
}
