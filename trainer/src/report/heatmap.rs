//! The heat map: mean score of every policy on every source, as an HTML table.

use super::text::escape_html;
use crate::evaluate::Judged;
use std::fmt::Write as _;

/// A table of sources by policies. The shade runs from the least to the greatest score of its row, so that
/// it compares policies, not the difficulty of sources; the best cell of a row is bold.
pub fn heatmap_html(judged: &Judged) -> String {
    let mut out = String::from("<table class=\"heat\">\n<thead><tr><th>source</th><th>queries</th>");
    for policy in &judged.policies {
        let _ = write!(out, "<th>{}</th>", escape_html(policy.name()));
    }
    out += "</tr></thead>\n<tbody>\n";
    for (source, n_queries) in &judged.sources {
        let values: Vec<Option<f64>> =
            judged.policies.iter().map(|policy| policy.figures.by_source.get(source).copied()).collect();
        let present = || values.iter().flatten().copied();
        let (least, greatest) =
            (present().fold(f64::INFINITY, f64::min), present().fold(f64::NEG_INFINITY, f64::max));
        let _ = write!(out, "<tr><th scope=\"row\">{}</th><td>{n_queries}</td>", escape_html(source));
        for value in values {
            out += &cell(value, least, greatest);
        }
        out += "</tr>\n";
    }
    out + "</tbody>\n</table>\n"
}

fn cell(value: Option<f64>, least: f64, greatest: f64) -> String {
    let Some(value) = value else {
        return "<td>-</td>".to_owned();
    };
    let spread = greatest - least;
    let heat = if spread > 0.0 { (value - least) / spread } else { 0.0 };
    let best = if spread > 0.0 && value == greatest { " class=\"best\"" } else { "" };
    format!("<td{best} style=\"--heat:{heat:.2}\">{value:.4}</td>")
}
