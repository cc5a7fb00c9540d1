//! Sums as a text has them: whether `2+3*4=14` is right.

/// How many equations stand in a text, a line at most one, and how many are right.
pub fn equations(text: &str) -> (usize, usize) {
    let equations = text.lines().filter_map(|line| line.rsplit_once('='));
    let rated = equations.map(|(left, right)| value(left).is_some_and(|left| Some(left) == value(right)));
    rated.fold((0, 0), |(n, right), is_right| (n + 1, right + usize::from(is_right)))
}

/// The value of whole numbers with `+`, `-` and `*`; what comes before another `=` does not count.
fn value(text: &str) -> Option<i64> {
    let text = text.rsplit('=').next().unwrap_or(text);
    let mut sum = 0_i64;
    let mut rest = text.trim();
    let mut sign = 1_i64;
    if let Some(negative) = rest.strip_prefix('-') {
        (sign, rest) = (-1, negative);
    }
    loop {
        let end = rest.find(['+', '-']).unwrap_or(rest.len());
        let (product, after) = rest.split_at(end);
        let factors = product.split('*').map(|factor| factor.trim().parse::<i64>().ok());
        let product = factors.reduce(|a, b| a?.checked_mul(b?)).flatten()?;
        sum = sum.checked_add(product.checked_mul(sign)?)?;
        let Some(operator) = after.chars().next() else { return Some(sum) };
        (sign, rest) = (if operator == '+' { 1 } else { -1 }, &after[1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_counted() {
        assert_eq!(equations("2+3=5\n5*4=21\nso\n-1 - 2 * 3 = -7"), (3, 2));
        assert_eq!(equations("2+3=5=1+4"), (1, 1));
        assert_eq!(equations("=\nx=x\n9223372036854775807+1=1"), (3, 0));
        assert_eq!(equations("none"), (0, 0));
    }
}
