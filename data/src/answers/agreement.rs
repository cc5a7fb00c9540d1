//! How far the answers to one query agree.
//!
//! Of answers in one form ([`super::normalize`]): the share of each answer, the entropy of the histogram. Of texts:
//! similarities of pairs. Of option probabilities: the Jensen-Shannon divergence.

use std::collections::HashMap;

/// The answers to one query, grouped by their form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Group of each answer; `None` where it has no form.
    groups: Vec<Option<usize>>,
    /// Answers of each group, in the order of their first answer.
    counts: Vec<usize>,
}

impl Agreement {
    /// Groups answers by their form. An answer without one (a call that failed, a text without an answer) agrees with
    /// nothing, but counts among all answers: it lowers every share.
    pub fn of<'a>(forms: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let mut numbers = HashMap::new();
        let mut counts: Vec<usize> = Vec::new();
        let groups = forms.into_iter().map(|form| {
            let number = *numbers.entry(form?).or_insert(counts.len());
            if number == counts.len() {
                counts.push(0);
            }
            counts[number] += 1;
            Some(number)
        });
        let groups = groups.collect();
        Self { groups, counts }
    }

    /// Answers, those without a form included.
    pub fn n_answers(&self) -> usize {
        self.groups.len()
    }

    /// Different answers.
    pub fn n_groups(&self) -> usize {
        self.counts.len()
    }

    /// Group of an answer, by the order of first answers; `None` where it has no form.
    pub fn group(&self, answer: usize) -> Option<usize> {
        self.groups[answer]
    }

    /// Answers of a group.
    pub fn count(&self, group: usize) -> usize {
        self.counts[group]
    }

    /// Share of a group among all answers, in `(0, 1]`.
    pub fn share(&self, group: usize) -> f64 {
        self.counts[group] as f64 / self.groups.len() as f64
    }

    /// The largest group, the one with the earliest answer among equals; `None` where no answer has a form.
    pub fn mode(&self) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (group, &count) in self.counts.iter().enumerate() {
            if best.is_none_or(|best| count > self.counts[best]) {
                best = Some(group);
            }
        }
        best
    }

    /// Share of the largest group, 0 where no answer has a form.
    pub fn modal_share(&self) -> f64 {
        self.mode().map_or(0.0, |group| self.share(group))
    }

    /// Entropy in bits of the histogram of the answers that have a form.
    pub fn entropy_bits(&self) -> f64 {
        let n: usize = self.counts.iter().sum();
        let shares = self.counts.iter().map(|&count| count as f64 / n as f64);
        0.0 - shares.map(|share| share * share.log2()).sum::<f64>()
    }

    /// `1 - H / log2(groups)`, in `[0, 1]`: 1 where all agree, 0 where all groups are of one size. 0 where no answer
    /// has a form.
    pub fn certainty(&self) -> f64 {
        match self.counts.len() {
            0 => 0.0,
            1 => 1.0,
            n => (1.0 - self.entropy_bits() / (n as f64).log2()).clamp(0.0, 1.0),
        }
    }
}

/// A similarity of two texts, symmetric, in `[0, 1]`.
#[derive(Debug, Clone, Copy)]
pub struct Similarity {
    /// Name in configurations.
    pub name: &'static str,
    /// What it compares, in one line.
    pub title: &'static str,
    /// The similarity of two texts.
    pub of: fn(&str, &str) -> f64,
}

/// Every similarity, in the order of the documentation.
pub static SIMILARITIES: &[Similarity] = &[
    Similarity { name: "token-f1", title: "F1 of the words two texts share", of: token_f1 },
    Similarity { name: "rouge-l", title: "F1 of the longest common subsequence of words", of: rouge_l },
    Similarity {
        name: "edit",
        title: "1 less the edits a character of the longer text",
        of: strsim::normalized_levenshtein,
    },
];

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// `2 shared / (n_a + n_b)`; 1 of two texts without words.
fn f1(shared: usize, a: usize, b: usize) -> f64 {
    if a + b == 0 { 1.0 } else { 2.0 * shared as f64 / (a + b) as f64 }
}

/// F1 of the words two texts share, each as often as both have it; words are of letters and digits, in lower case.
pub fn token_f1(a: &str, b: &str) -> f64 {
    let (a, b) = (words(a), words(b));
    let mut left = HashMap::<&str, usize>::new();
    a.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let mut shared = 0;
    for word in &b {
        if let Some(n) = left.get_mut(word.as_str()).filter(|n| **n > 0) {
            *n -= 1;
            shared += 1;
        }
    }
    f1(shared, a.len(), b.len())
}

/// ROUGE-L (Lin, 2004) as F1: the words of the longest common subsequence over those of both texts.
pub fn rouge_l(a: &str, b: &str) -> f64 {
    let (a, b) = (words(a), words(b));
    // Longest common subsequence of the words of `a` so far and each beginning of `b`.
    let mut lengths = vec![0_usize; b.len() + 1];
    for word in &a {
        let mut diagonal = 0;
        for (at, other) in b.iter().enumerate() {
            let above = lengths[at + 1];
            lengths[at + 1] = if word == other { diagonal + 1 } else { above.max(lengths[at]) };
            diagonal = above;
        }
    }
    f1(lengths[b.len()], a.len(), b.len())
}

/// Similarity of each text to the others: mean and greatest; `None` of a single text.
pub fn pairwise(texts: &[&str], of: fn(&str, &str) -> f64) -> Vec<Option<(f64, f64)>> {
    let n = texts.len();
    let mut sums = vec![(0.0, 0.0_f64); n];
    for a in 0..n {
        for b in a + 1..n {
            let similarity = of(texts[a], texts[b]);
            for at in [a, b] {
                sums[at] = (sums[at].0 + similarity, sums[at].1.max(similarity));
            }
        }
    }
    sums.into_iter().map(|(sum, max)| (n > 1).then(|| (sum / (n - 1) as f64, max))).collect()
}

/// Jensen-Shannon divergence in bits of two distributions over the same options, in `[0, 1]`; each is divided by
/// its sum.
/// `None` where their lengths differ or one sums to 0.
pub fn jensen_shannon(p: &[f32], q: &[f32]) -> Option<f64> {
    let sum = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>();
    let (p_sum, q_sum) = (sum(p), sum(q));
    if p.len() != q.len() || p_sum <= 0.0 || q_sum <= 0.0 {
        return None;
    }
    let term = |share: f64, middle: f64| if share > 0.0 { share * (share / middle).log2() } else { 0.0 };
    let divergence = p.iter().zip(q).map(|(&p, &q)| {
        let (p, q) = (f64::from(p) / p_sum, f64::from(q) / q_sum);
        let middle = f64::midpoint(p, q);
        f64::midpoint(term(p, middle), term(q, middle))
    });
    Some(divergence.sum::<f64>().clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_entropies_are_those_counted_by_hand() {
        let found = Agreement::of([Some("4"), Some("5"), None, Some("4"), Some("4")]);
        assert_eq!((found.n_answers(), found.n_groups(), found.mode()), (5, 2, Some(0)));
        assert_eq!((found.group(0), found.group(1), found.group(2)), (Some(0), Some(1), None));
        // The answer without a form counts in the share, not in the entropy: H(3/4, 1/4) = 0.811278 bits.
        assert_eq!(found.modal_share(), 0.6);
        assert!((found.entropy_bits() - 0.811_278_124_459_132_8).abs() < 1e-12);
        assert!((found.certainty() - 0.188_721_875_540_867_2).abs() < 1e-12);
        let tied = Agreement::of([Some("b"), Some("a")]);
        assert_eq!((tied.mode(), tied.certainty(), tied.entropy_bits()), (Some(0), 0.0, 1.0));
        let one = Agreement::of([Some("x"); 3]);
        assert_eq!((one.certainty(), one.entropy_bits(), one.modal_share()), (1.0, 0.0, 1.0));
        let none = Agreement::of([None, None]);
        assert_eq!(
            (none.mode(), none.modal_share(), none.certainty(), none.entropy_bits()),
            (None, 0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn similarities_of_texts_are_those_counted_by_hand() {
        // Shared as multisets: the, cat, sat; 3 + 6 words.
        assert_eq!(token_f1("The cat sat.", "the cat the mat, sat down"), 6.0 / 9.0);
        // Longest common subsequence: a b d, of 4 and 4 words.
        assert_eq!(rouge_l("a b c d", "a x b d"), 6.0 / 8.0);
        assert_eq!(rouge_l("b a", "a b"), 0.5);
        for row in SIMILARITIES {
            assert_eq!((row.of)("same text", "same text"), 1.0, "{}", row.name);
            assert_eq!((row.of)("", ""), 1.0, "{}", row.name);
            assert_eq!((row.of)("ab", ""), 0.0, "{}", row.name);
        }
        let found = pairwise(&["a b", "a b", "c"], token_f1);
        assert_eq!(found, [Some((0.5, 1.0)), Some((0.5, 1.0)), Some((0.0, 0.0))]);
        assert_eq!(pairwise(&["a"], token_f1), [None]);
    }

    #[test]
    fn the_divergence_is_0_of_equals_and_1_of_disjoint_ones() {
        assert_eq!(jensen_shannon(&[0.2, 0.6], &[0.25, 0.75]), Some(0.0));
        assert_eq!(jensen_shannon(&[1.0, 0.0], &[0.0, 1.0]), Some(1.0));
        // scipy.spatial.distance.jensenshannon([0.5, 0.5], [1, 0], base=2) ** 2
        let half = jensen_shannon(&[0.5, 0.5], &[1.0, 0.0]).unwrap();
        assert!((half - 0.311_278_124_459_132_8).abs() < 1e-12);
        assert_eq!(jensen_shannon(&[1.0], &[0.5, 0.5]), None);
        assert_eq!(jensen_shannon(&[0.0], &[1.0]), None);
    }
}
