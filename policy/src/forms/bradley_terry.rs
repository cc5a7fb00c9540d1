//! Strengths of a few players from weighted wins: the Bradley-Terry model by Newton's method.

use routewright_data::linalg::{LinalgError, solve_spd};

/// Steps of Newton's method, at most.
const STEPS: usize = 50;
/// Greatest change of a strength in one step, log-odds.
const STEP_MAX: f64 = 2.0;
/// Change below which strengths have settled, log-odds.
const SETTLED: f64 = 1e-5;

/// Mode of the strengths `theta` under `P(i beats j) = 1 / (1 + exp(theta_j - theta_i))`, normal around 0 with
/// precision `penalty`.
///
/// `wins[i * n + j]` is the weight of what `i` won against `j`, a tie being half a win of either. `start` has one entry
/// a player; `penalty` is above 0, so that a player who always won has a finite strength.
///
/// # Errors
/// If the system is singular in numbers: weights of very unlike size.
///
/// # Panics
/// If `wins` is not of the square of the length of `start` (a bug of the caller).
pub fn strengths(wins: &[f64], penalty: f64, start: &[f64]) -> Result<Vec<f64>, LinalgError> {
    let n = start.len();
    assert_eq!(wins.len(), n * n, "bradley-terry: wins of every two players");
    let mut theta = start.to_vec();
    for _ in 0..STEPS {
        let mut gradient: Vec<f64> = theta.iter().map(|t| -penalty * t).collect();
        let mut hessian = vec![0.0; n * n];
        (0..n).for_each(|i| hessian[i * n + i] = penalty);
        for i in 0..n {
            for j in i + 1..n {
                let (won, lost) = (wins[i * n + j], wins[j * n + i]);
                let total = won + lost;
                if total <= 0.0 {
                    continue;
                }
                let p = 1.0 / (1.0 + (theta[j] - theta[i]).exp());
                let (error, curvature) = (won - total * p, total * p * (1.0 - p));
                gradient[i] += error;
                gradient[j] -= error;
                hessian[i * n + i] += curvature;
                hessian[j * n + j] += curvature;
                hessian[i * n + j] -= curvature;
                hessian[j * n + i] -= curvature;
            }
        }
        let step = solve_spd(hessian, gradient, n, 1)?;
        let greatest = step.iter().fold(0.0_f64, |greatest, s| greatest.max(s.abs()));
        // Newton overshoots where it starts far from the mode.
        let share = if greatest > STEP_MAX { STEP_MAX / greatest } else { 1.0 };
        theta.iter_mut().zip(&step).for_each(|(t, s)| *t += share * s);
        if greatest < SETTLED {
            break;
        }
    }
    Ok(theta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_players_have_the_log_odds_and_three_the_mode() {
        let theta = strengths(&[0.0, 3.0, 1.0, 0.0], 1e-9, &[0.0, 0.0]).unwrap();
        assert!((theta[0] - theta[1] - 3.0_f64.ln()).abs() < 1e-6, "{theta:?}");
        // At the mode expected wins are those observed, up to the pull of the penalty.
        let wins = [0.0, 7.0, 2.5, 3.0, 0.0, 4.0, 6.5, 1.0, 0.0];
        let theta = strengths(&wins, 0.1, &[1.0, -4.0, 3.0]).unwrap();
        for i in 0..3 {
            let expected: f64 = (0..3)
                .filter(|j| *j != i)
                .map(|j| (wins[i * 3 + j] + wins[j * 3 + i]) / (1.0 + (theta[j] - theta[i]).exp()))
                .sum();
            let won: f64 = wins[i * 3..i * 3 + 3].iter().sum();
            assert!((won - expected - 0.1 * theta[i]).abs() < 1e-4, "{i}: {won} {expected}");
        }
    }

    #[test]
    fn who_always_won_has_a_finite_strength_and_who_never_played_none() {
        let theta = strengths(&[0.0, 1000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0.01, &[0.0; 3]).unwrap();
        assert!(theta[0] > 3.0 && theta[0] < 20.0 && theta[0] + theta[1] < 1e-6, "{theta:?}");
        assert_eq!(theta[2], 0.0);
    }
}
