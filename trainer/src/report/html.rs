//! The report as one self-contained page: no request leaves it, and it reads well without its script.

use super::table::legend;
use super::text::{count, escape_html, printable, score, usd_per_1k};
use super::{
    HeadlineRow, ReportError, ReportNote, arm_share_svg, bottom_line, cost_score_svg, difference_svg,
    headline, heatmap_html, verdict,
};
use crate::evaluate::Judged;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What each column and figure means, in a sentence.
const MEANINGS: [(&str, &str); 16] = [
    (
        "score",
        "Mean over queries (micro) or over sources (macro) of the logged score of the arm chosen, \
         weighted by the probability it is chosen with; in [0, 1], higher is better. All rows are averaged over the \
         same queries; with several seeds every figure is the mean over them.",
    ),
    (
        "±",
        "Standard error of the figure to its left: queries resampled (within each source under the macro average), \
         with the spread of the seeds where there are several. Two figures less than two errors apart may \
         differ by luck.",
    ),
    ("sd of seeds", "Standard deviation of the score over seeds: how far a fit with one seed may be off."),
    (
        "vs best-single",
        "Score minus that of the best single model chosen on train under the same average, on the same queries, with a \
         paired error: more than two errors from 0 is unlikely to be luck.",
    ),
    (
        "vs source-best",
        "The same against the best model of each source chosen on train: above 0 a policy tells apart queries of one \
         source.",
    ),
    (
        "$/1k queries",
        "Mean logged cost of the arms chosen, US dollars per 1,000 queries, averaged like the score; \
         lower is better.",
    ),
    (
        "saves",
        "Share of the cost of the best single model that is not spent, on the same queries; below 0 it costs more.",
    ),
    (
        "AIQ",
        "Mean height of the policy's non-decreasing concave cost-score hull between the cheapest and \
         the dearest single model (RouterBench), on queries with a score of every model; in [0, 1], higher is better. \
         The hull is chosen on the rows judged, which flatters it; report.json has it with prices chosen on other \
         queries (aiq_held_out). A policy that is conditioned on the price of money is asked at 40 prices.",
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
    (
        "uncovered",
        "Queries for which the log has no outcome of any arm the policy gave mass; no row counts them.",
    ),
    (
        "on train, vs best-single",
        "Difference to the best single model on train queries that neither had seen: what the pick goes by.",
    ),
    ("tried", "Settings a method compared, times the slices of train each was judged on."),
    ("fit s, decide µs", "Seconds the fit took, and microseconds one decision took, where measured."),
    (
        "random, cheapest, best-single, source-best, zero-router",
        "Every arm with the same probability; the arm of the least average cost on train; the arm of the best average \
         score on train, overall; and within each source, where the source was seen on train; single models mixed at \
         random.",
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
    lead(&mut out, judged);
    headline_table(&mut out, judged);
    if let Some(svg) = difference_svg(judged)? {
        out += "<h2>Better than one model for everything?</h2>\n";
        let caption = "An interval that does not touch the line is unlikely to be luck.";
        figure(&mut out, &svg, "differences to the best single model", caption);
    }
    if let Some(svg) = cost_score_svg(judged)? {
        out += "<h2>Score over cost</h2>\n";
        let caption = "Up and to the left is better. The dot is the policy as it decides by default; its line is what \
                       it reaches when it is told to weigh the cost more, or to mix two such settings. Of many \
                       policies the best are drawn.";
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

/// What follows from the page, what it shows, and what must be known of it.
fn lead(out: &mut String, judged: &Judged) {
    let verdict = verdict(judged);
    if !verdict.is_empty() {
        let _ = writeln!(out, "<p class=\"verdict\">{}</p>", escape_html(&verdict));
    }
    for promise in &judged.promises {
        let _ = writeln!(out, "<p class=\"lead\">{}</p>", escape_html(&promise.to_string()));
    }
    for line in bottom_line(judged).lines() {
        let _ = writeln!(out, "<p class=\"verdict\">{}</p>", escape_html(line));
    }
    let _ = writeln!(
        out,
        "<p class=\"lead\">{} on split <b>{}</b> of <b>{}</b>: {}, {}, {} average.</p>",
        count(judged.policies.len(), "policy", "policies"),
        escape_html(&judged.split),
        escape_html(&judged.log),
        count(judged.n_queries, "query", "queries"),
        count(judged.sources.len(), "source", "sources"),
        judged.average,
    );
    for notice in &judged.notices {
        let _ = writeln!(out, "<p class=\"notice\">{}.</p>", escape_html(notice));
    }
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
    let words = legend(judged, &table).replace("> picked", "The marked row was picked");
    if !words.is_empty() {
        let _ = write!(out, " {}.", escape_html(&words));
    }
    *out += "</p>\n";
}

fn headline_row(out: &mut String, row: &HeadlineRow) {
    *out += if row.is_pick { "<tr class=\"picked\">" } else { "<tr>" };
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
    if judged.singles.is_empty() {
        return;
    }
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
