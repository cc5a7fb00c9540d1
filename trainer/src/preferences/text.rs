//! The table of `compare --pairs` as text.

use super::judge::Mean;
use super::versus::PairsCompared;
use std::fmt::Write as _;

fn percent(value: Option<Mean>) -> String {
    value.map_or_else(|| "-".to_owned(), |m| format!("{:.2} ({:.2})", 100.0 * m.mean, 100.0 * m.se))
}

fn signed(value: Option<Mean>) -> String {
    value.map_or_else(|| "-".to_owned(), |m| format!("{:+.2} ({:.2})", 100.0 * m.mean, 100.0 * m.se))
}

fn nats(value: Option<Mean>) -> String {
    value.map_or_else(|| "-".to_owned(), |m| format!("{:.4} ({:.4})", m.mean, m.se))
}

impl PairsCompared {
    /// The table; standard errors in brackets.
    pub fn text(&self) -> String {
        let header = ["", "accuracy %", "log-loss", "log-loss of ties", "vs yardstick %"].map(str::to_owned);
        let mut rows = vec![header];
        for row in &self.rows {
            rows.push([
                row.name.clone(),
                percent(row.accuracy),
                nats(row.log_loss),
                nats(row.tie_log_loss),
                signed(row.lead),
            ]);
        }
        let width = |col: usize| rows.iter().map(|row| row[col].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..5).map(width).collect();
        let mut out = format!(
            "{} decided judgements and {} ties of {} prompts; standard errors over prompts\n\n",
            self.n_decided, self.n_ties, self.n_prompts
        );
        for row in &rows {
            let _ = write!(out, "{:<1$}", row[0], widths[0]);
            for (cell, width) in row[1..].iter().zip(&widths[1..]) {
                let _ = write!(out, "  {cell:>width$}");
            }
            out.push('\n');
        }
        out.push_str("\nstrengths on train, log-odds:");
        for (model, strength) in &self.strengths {
            let _ = write!(out, " {model} {strength:+.2},");
        }
        out.truncate(out.trim_end_matches(',').len());
        for (method, reason) in &self.refused {
            let _ = write!(out, "\nleft out `{method}`: {reason}");
        }
        out
    }
}
