//! The report as one self-contained page: no request leaves it, and it reads well without its script.

use super::text::{escape_html, printable, score, usd_per_1k};
use super::{HeadlineRow, ReportError, ReportNote, arm_share_svg, cost_score_svg, headline, heatmap_html};
use crate::evaluate::Judged;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What each column and figure means, in a sentence.
const MEANINGS: [(&str, &str); 12] = [
    (
        "score",
        "Mean over queries (micro) or over sources (macro) of the logged score of the arm chosen, \
         weighted by the probability it is chosen with; in [0, 1], higher is better.",
    ),
    (
        "± s.e.",
        "Bootstrap standard error of the figure to its left, with queries resampled (within each \
         source under the macro average).",
    ),
    (
        "vs best single",
        "Score minus that of the best single model chosen on train, on the same queries, with a \
         paired bootstrap error: more than two errors from 0 is unlikely to be luck.",
    ),
    (
        "$/1k queries",
        "Mean logged cost of the arms chosen, US dollars per 1,000 queries, averaged like the score; \
         lower is better.",
    ),
    (
        "AIQ",
        "Mean height of the policy's non-decreasing concave cost-score hull between the cheapest and \
         the dearest single model (RouterBench); in [0, 1], higher is better.",
    ),
    (
        "APGR",
        "Two arms only: area under the recovered share of the score gap between weak and strong arm, \
         over the share of strong calls (RouteLLM); random mixing is 0.5, higher is better.",
    ),
    (
        "CPT 50 %",
        "Two arms only: least share of strong calls that recovers half of the gap; lower is better.",
    ),
    ("uncovered", "Queries left out because the log has no outcome of any arm the policy gave mass."),
    ("fit s, decide µs", "Seconds the fit took, and microseconds one decision took, where measured."),
    ("random, cheapest", "Every arm with the same probability; the arm of the least mean cost on train."),
    (
        "best_single, source_best",
        "The arm of the best mean score on train, overall; and within each source, where the source \
         was seen on train.",
    ),
    (
        "oracle",
        "The best arm of every query, the cheapest of equals, known only after the fact: no router \
         can score more.",
    ),
];

/// The whole page. Names from logs and artifacts are escaped; the theme follows the reader's.
///
/// # Errors
/// If a picture cannot be drawn.
pub fn html(judged: &Judged, note: &ReportNote) -> Result<String, ReportError> {
    let title = escape_html(&note.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    let _ = writeln!(
        out,
        "<p class=\"lead\">{} policies on split <b>{}</b> of <b>{}</b>: {} queries, {} sources, {} \
         models, {} average.</p>",
        judged.policies.len(),
        escape_html(&judged.split),
        escape_html(&judged.log),
        judged.n_queries,
        judged.sources.len(),
        judged.singles.len(),
        judged.average,
    );
    headline_table(&mut out, judged);
    if let Some(svg) = cost_score_svg(judged)? {
        out += "<h2>Score over cost</h2>\n";
        let caption = "Lines are hulls: drawing between two of its points, a policy reaches everything \
                       under its line. The dot is the policy as it decides by default. Up and to the left \
                       is better.";
        figure(&mut out, &svg, "score over cost", caption);
    }
    out += "<h2>Which arms are called</h2>\n";
    figure(
        &mut out,
        &arm_share_svg(judged)?,
        "share of queries per arm",
        "Share of the queries each arm answers.",
    );
    out += "<h2>Score by source</h2>\n<div class=\"scroll\">\n";
    out += &heatmap_html(judged);
    out += "</div>\n<p class=\"note\">The shade compares the policies within a row; ";
    out += "bold is the best of its row.</p>\n";
    singles(&mut out, judged);
    provenance(&mut out, judged, note);
    out += "<h2>What the figures mean</h2>\n<dl>\n";
    for (term, meaning) in MEANINGS {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape_html(term), escape_html(meaning));
    }
    let _ = write!(out, "</dl>\n</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    Ok(out)
}

fn headline_table(out: &mut String, judged: &Judged) {
    let table = headline(judged);
    *out += "<div class=\"scroll\">\n<table class=\"sortable\">\n<thead><tr>";
    for (i, column) in table.columns.iter().enumerate() {
        let class = if is_text(i, table.columns.len()) { " class=\"text\"" } else { "" };
        let _ =
            write!(out, "<th{class}><button type=\"button\">{}</button></th>", escape_html(column.trim()));
    }
    *out += "</tr></thead>\n<tbody>\n";
    table.policies.iter().for_each(|row| headline_row(out, row));
    *out += "</tbody>\n<tbody class=\"baselines\">\n";
    table.baselines.iter().for_each(|row| headline_row(out, row));
    *out += "</tbody>\n</table>\n</div>\n<p class=\"note\">The rows below the line are baselines.";
    if let Some(aiq) = judged.singles_aiq {
        let _ = write!(out, " AIQ of mixing single models at random: {}.", score(aiq));
    }
    *out += "</p>\n";
}

fn headline_row(out: &mut String, row: &HeadlineRow) {
    *out += "<tr>";
    for (i, (cell, key)) in row.cells.iter().zip(&row.keys).enumerate() {
        let class = if is_text(i, row.cells.len()) { " class=\"text\"" } else { "" };
        let key = key.map(|key| format!(" data-key=\"{key}\"")).unwrap_or_default();
        let _ = write!(out, "<td{class}{key}>{}</td>", escape_html(cell));
    }
    *out += "</tr>\n";
}

/// The first column is the name, the last the arms.
fn is_text(column: usize, n_columns: usize) -> bool {
    column == 0 || column + 1 == n_columns
}

fn figure(out: &mut String, svg: &str, label: &str, caption: &str) {
    let _ = writeln!(
        out,
        "<figure role=\"img\" aria-label=\"{}\">\n<div \
         class=\"scroll\">\n{svg}\n</div>\n<figcaption>{}</figcaption>\n</figure>",
        escape_html(label),
        escape_html(caption)
    );
}

fn singles(out: &mut String, judged: &Judged) {
    *out += "<h2>Single models</h2>\n<div class=\"scroll\">\n<table class=\"sortable\">\n<thead><tr>";
    *out += "<th class=\"text\"><button type=\"button\">model</button></th>";
    *out += "<th><button type=\"button\">score</button></th>";
    *out += "<th><button type=\"button\">$/1k queries</button></th>";
    *out += "</tr></thead>\n<tbody>\n";
    for single in &judged.singles {
        let (key, cost) = single.cost_usd.map_or_else(
            || (String::new(), "-".to_owned()),
            |c| (format!(" data-key=\"{c}\""), usd_per_1k(c)),
        );
        let _ = writeln!(
            out,
            "<tr><td class=\"text\">{}</td><td data-key=\"{}\">{}</td><td{key}>{cost}</td></tr>",
            escape_html(&single.model),
            single.score,
            score(single.score)
        );
    }
    *out += "</tbody>\n</table>\n</div>\n";
}

fn provenance(out: &mut String, judged: &Judged, note: &ReportNote) {
    *out += "<h2>Where the figures come from</h2>\n<table class=\"facts\">\n<tbody>\n";
    let errors = format!("{} bootstrap resamples, seed {}", judged.bootstrap_rounds, judged.seed);
    let mut fact = |name: &str, value: &str| {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>",
            escape_html(&printable(value))
        );
    };
    fact("log", &judged.log);
    fact("split", &judged.split);
    fact("digest of these rows", &judged.digest);
    fact("average", &judged.average.to_string());
    fact("standard errors", &errors);
    fact("date", &note.date);
    if let Some(command) = &note.command {
        fact("command", command);
    }
    *out += "</tbody>\n</table>\n";
}
