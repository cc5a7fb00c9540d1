//! Upper bounds on the mean of losses in [0, 1], exact at any number of rows.

/// Steps of the bisection: 2^-50 of the interval.
const STEPS: usize = 50;

/// The losses of one setting on some rows, summed up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    n: usize,
    sum: f64,
    /// Whether each is 0 or 1.
    is_binary: bool,
}

impl Losses {
    /// Sums up losses; each is clamped to [0, 1], and one that is not a number counts as 1.
    pub fn of(losses: impl IntoIterator<Item = f64>) -> Self {
        let mut all = Self { n: 0, sum: 0.0, is_binary: true };
        for loss in losses {
            let loss = if loss.is_nan() { 1.0 } else { loss.clamp(0.0, 1.0) };
            all.n += 1;
            all.sum += loss;
            all.is_binary &= loss == 0.0 || loss == 1.0;
        }
        all
    }

    /// Rows without a loss.
    pub fn none(n_rows: usize) -> Self {
        Self { n: n_rows, sum: 0.0, is_binary: true }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.n
    }

    /// Mean loss; 0 of no rows.
    pub fn mean(&self) -> f64 {
        self.sum / self.n.max(1) as f64
    }

    /// A p-value of "the expected loss is above `limit`", `limit` in (0, 1).
    ///
    /// Of losses that are 0 or 1: `P(Bin(n, limit) <= sum)`, the test that the interval of Clopper and Pearson (1934)
    /// inverts. Of others the bound of Hoeffding and Bentkus, `min(exp(-n h(mean, limit)), e P(Bin(n, limit) <=
    /// ceil(sum)))` with `h` the divergence of two coins (Bates et al. 2021, arXiv 2101.02703).
    pub fn p_value(&self, limit: f64) -> f64 {
        if self.n == 0 {
            return 1.0;
        }
        if self.is_binary {
            return binomial_cdf(self.sum as usize, self.n, limit);
        }
        let mean = self.mean();
        let hoeffding = if mean < limit { (-(self.n as f64) * divergence(mean, limit)).exp() } else { 1.0 };
        let bentkus = std::f64::consts::E * binomial_cdf(self.sum.ceil() as usize, self.n, limit);
        hoeffding.min(bentkus).min(1.0)
    }
}

/// The least limit that the losses refute exceeding at level `delta`: the expected loss is below it with probability
/// `1 - delta`. 1 of no rows.
///
/// Of losses that are 0 or 1 it is the limit of Clopper and Pearson, `Beta^-1(1 - delta; sum + 1, n - sum)`.
pub fn upper_bound(losses: &Losses, delta: f64) -> f64 {
    let (mut low, mut high) = (losses.mean(), 1.0);
    if losses.n == 0 || low >= 1.0 {
        return 1.0;
    }
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if losses.p_value(middle) > delta {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// `a ln(a / b) + (1 - a) ln((1 - a) / (1 - b))`.
fn divergence(a: f64, b: f64) -> f64 {
    let term = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    term(a, b) + term(1.0 - a, 1.0 - b)
}

/// `P(Bin(n, p) <= x)`, `p` in (0, 1): terms in logarithms, each from the one before.
fn binomial_cdf(x: usize, n: usize, p: f64) -> f64 {
    if x >= n {
        return 1.0;
    }
    let odds = p.ln() - (-p).ln_1p();
    let mut term = n as f64 * (-p).ln_1p();
    let mut total = term;
    for k in 1..=x {
        term += ((n + 1 - k) as f64 / k as f64).ln() + odds;
        let (most, least) = if total > term { (total, term) } else { (term, total) };
        total = most + (least - most).exp().ln_1p();
    }
    total.exp().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(x: usize, n: usize) -> Losses {
        Losses::of((0..n).map(|at| f64::from(u8::from(at < x))))
    }

    #[test]
    fn limits_are_those_of_clopper_and_pearson() {
        // Python 3.11, by bisection of P(Bin(n, limit) <= x) = delta with log-gamma terms.
        for (x, n, delta, limit) in
            [(0, 299, 0.05, 0.009_969), (0, 230, 0.1, 0.009_961), (5, 1000, 0.05, 0.010_484)]
        {
            let found = upper_bound(&binary(x, n), delta);
            assert!((found - limit).abs() < 1e-6, "{x} of {n}: {found}");
            assert!((binomial_cdf(x, n, found) - delta).abs() < 1e-9, "{x} of {n}: {found}");
        }
        // By hand: nothing lost on n rows refutes p at (1 - p)^n.
        assert!((binary(0, 3).p_value(0.5) - 0.125).abs() < 1e-12);
        // P(Bin(4, 1/2) <= 1) = 5/16.
        assert!((binary(1, 4).p_value(0.5) - 0.3125).abs() < 1e-12);
        assert_eq!((upper_bound(&binary(4, 4), 0.1), upper_bound(&Losses::none(0), 0.1)), (1.0, 1.0));
        // Far beyond what (1 - p)^n can be written as.
        let many = upper_bound(&binary(10_000, 1_000_000), 0.05);
        assert!(many > 0.010_1 && many < 0.010_2, "{many}");
    }

    #[test]
    fn bounds_of_fractions_are_valid_and_never_below_the_mean() {
        let halves = Losses::of((0..400).map(|at| if at % 20 == 0 { 0.5 } else { 0.0 }));
        let bound = upper_bound(&halves, 0.05);
        // Hoeffding by itself: mean + sqrt(ln 20 / 800) = 0.025 + 0.0612.
        assert!(bound > halves.mean() && bound < 0.086, "{bound}");
        assert_eq!(Losses::of([f64::NAN, 2.0, -1.0]), Losses { n: 3, sum: 2.0, is_binary: true });
    }
}
