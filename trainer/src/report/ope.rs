//! An off-policy assessment for a person: a table for the terminal, a page with the forest plot.

use super::text::{escape_html, percent, printable, score};
use super::{ReportError, ReportNote, forest_svg};
use crate::ope::{ArmOverlap, Assessment, Difference, EstimatedLog, UNSHRUNK};
use routewright_data::files::write_files;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const STYLE: &str = include_str!("page.css");
/// What stands for a figure that does not exist.
const NONE: &str = "-";

/// A table of texts with a title for each column.
struct Table {
    titles: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), score)
}

/// A parameter; from `UNSHRUNK` on it changes nothing.
fn parameter(value: f64) -> String {
    if value < UNSHRUNK { format!("{value}") } else { "none".to_owned() }
}

fn interval(value: Option<[f64; 2]>) -> String {
    value.map_or_else(|| NONE.to_owned(), |[low, high]| format!("{low:.4} to {high:.4}"))
}

fn difference(value: Option<Difference>) -> [String; 2] {
    let Some(value) = value else { return [NONE.to_owned(), NONE.to_owned()] };
    let ends =
        value.interval.map_or_else(|| NONE.to_owned(), |[low, high]| format!("{low:+.4} to {high:+.4}"));
    [format!("{:+.4}", value.difference), ends]
}

/// Every estimator's figures, the logged mean first.
fn estimates(assessment: &Assessment) -> Table {
    let with_baseline = assessment.baseline_overlap.is_some();
    let mut titles =
        vec!["estimator", "parameter", "value", "s.e.", "95 % interval", "vs logged", "95 % interval"];
    if with_baseline {
        titles.extend(["vs baseline", "95 % interval"]);
    }
    let logged = &assessment.logged;
    let mut first = vec!["logged".to_owned(), String::new(), score(logged.value)];
    first.extend([figure(logged.standard_error), interval(logged.interval)]);
    first.resize(titles.len(), String::new());
    let mut rows = vec![first];
    for e in &assessment.estimates {
        let parameter = e.parameter.map_or_else(String::new, parameter);
        let mut row = vec![e.estimator.to_owned(), parameter, figure(e.value)];
        row.extend([figure(e.standard_error), interval(e.interval)]);
        row.extend(difference(e.vs_logged));
        if with_baseline {
            row.extend(difference(e.vs_baseline));
        }
        rows.push(row);
    }
    Table { titles, rows }
}

/// The parts of the log.
fn segments(assessment: &Assessment) -> Table {
    let titles = vec!["part", "rounds", "ess", "logged", "value", "s.e.", "vs logged", "95 % interval"];
    let rows = assessment.segments.iter().map(|s| {
        let mut row = vec![format!("{} {}", s.by, s.name), s.rounds.to_string(), format!("{:.0}", s.ess)];
        row.extend([score(s.logged), figure(s.value), figure(s.standard_error)]);
        row.extend(difference(s.vs_logged));
        row
    });
    Table { titles, rows: rows.collect() }
}

/// Everything but the tables, a line each.
fn facts(assessment: &Assessment) -> Vec<String> {
    let (counts, overlap) = (&assessment.counts, &assessment.overlap);
    let mut used = format!("{} decisions, {} rounds used", counts.decisions, counts.rounds);
    for (n, why) in [
        (counts.without_feedback, "without feedback"),
        (counts.without_cost, "without a cost"),
        (counts.without_arm, "without an arm of the policy"),
        (if assessment.unseen { counts.trained_on } else { 0 }, "that the policy was trained on"),
    ] {
        if n > 0 {
            let _ = write!(used, ", {n} left out {why}");
        }
    }
    if counts.with_unknown_candidates > 0 {
        let _ = write!(used, "; {} had candidates the policy does not know", counts.with_unknown_candidates);
    }
    let mut facts = vec![used];
    if assessment.feedback.repeated > 0 {
        let (repeated, other) = (assessment.feedback.repeated, assessment.feedback.conflicting);
        facts.push(format!(
            "{repeated} outcomes came again and count once, {other} of them with other content"
        ));
    }
    let mean = assessment.logged.mean_weight_interval;
    let mean = mean.map_or_else(String::new, |[low, high]| format!(" ({low:.3} to {high:.3})"));
    if let Some(folds) = assessment.cross_fit {
        facts.push(format!(
            "the method was fitted again for each of {folds} folds and judged on the decisions it had not seen"
        ));
    }
    if overlap.clusters < overlap.rounds {
        facts.push(format!(
            "{} independent groups of rounds: those of one session or question count together",
            overlap.clusters
        ));
    }
    facts.push(format!(
        "effective sample size {:.1} ({}), greatest weight {:.2}, mean weight {:.3}{mean}",
        overlap.ess,
        percent(overlap.ess_share),
        overlap.weight_max,
        overlap.weight_mean,
    ));
    facts.push(format!(
        "target's probability on arms almost never logged {:.1} %, rounds logged without chance {:.1} %, \
         propensities off by at most {:.1} standard deviations",
        overlap.unsupported * 100.0,
        assessment.deterministic_share * 100.0,
        assessment.calibration.z_max,
    ));
    facts
}

/// The gain by the headline estimator, in a sentence.
fn gain(assessment: &Assessment) -> Option<String> {
    let over = if assessment.baseline_overlap.is_some() { "the baseline" } else { "the logged decisions" };
    let bound = assessment.lower_bound?;
    Some(format!(
        "gain over {over} by {}: at least {bound:+.4} (lower end of the 95 % interval)",
        assessment.headline
    ))
}

/// The overlap of an estimated log for a terminal, a line a model.
pub fn propensities_text(found: &EstimatedLog) -> String {
    let titles =
        vec!["model", "rows", "share", "p where chosen", "p elsewhere", "p, 5 % quantile", "at floor", "ess"];
    let row = |arm: &ArmOverlap| {
        let share = arm.rows as f64 / found.rows.max(1) as f64;
        let [own, others] = arm.propensity.map(score);
        let low = score(arm.propensity_low);
        let figures = [arm.rows.to_string(), percent(share), own, others, low, percent(arm.floored)];
        let mut row = vec![arm.model.clone()];
        row.extend(figures);
        row.push(format!("{:.0}", arm.ess));
        row
    };
    let table = Table { titles, rows: found.arms.iter().map(row).collect() };
    format!(
        "{}\nlog loss of the choices {:.4} held out, {:.4} by the shares of the models alone: the difference is how \
         far prompt and source explain which model was called\n`ess` is the effective sample size of a policy that \
         always takes the model; below 100 `ope` refuses to judge it",
        text(&table),
        found.log_loss,
        found.log_loss_of_shares
    )
}

/// The assessment for a terminal.
pub fn ope_text(assessment: &Assessment) -> String {
    let mut out = facts(assessment).join("\n") + "\n\n" + &text(&estimates(assessment));
    if !assessment.segments.is_empty() {
        let _ = write!(out, "\nby {}\n{}", assessment.headline, text(&segments(assessment)));
    }
    let verdict = &assessment.verdict;
    out += "\n";
    for warning in &verdict.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    if verdict.is_trusted {
        let _ = writeln!(
            out,
            "{}",
            gain(assessment).unwrap_or_else(|| "no interval: fewer than two independent rounds".to_owned())
        );
    }
    for refusal in &verdict.refusals {
        let _ = writeln!(out, "refused: {refusal}");
    }
    out
}

fn text(table: &Table) -> String {
    let cells = |column: usize| table.rows.iter().map(move |row| printable(&row[column]).chars().count());
    let widths: Vec<usize> = table
        .titles
        .iter()
        .enumerate()
        .map(|(i, title)| cells(i).chain([title.chars().count()]).max().unwrap_or(0))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (i, (cell, width)) in cells.zip(&widths).enumerate() {
            let cell = printable(cell);
            // Names to the left, figures to the right.
            let _ = if i == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut table.titles.iter().copied());
    out += &("-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1)) + "\n");
    for row in &table.rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out
}

fn html_table(table: &Table) -> String {
    let mut out = "<div class=\"scroll\">\n<table>\n<thead><tr>".to_owned();
    for title in &table.titles {
        let _ = write!(out, "<th>{}</th>", escape_html(title));
    }
    out += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        out += "<tr>";
        for (i, cell) in row.iter().enumerate() {
            let class = if i == 0 { " class=\"text\"" } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", escape_html(cell));
        }
        out += "</tr>\n";
    }
    out + "</tbody>\n</table>\n</div>\n"
}

/// The assessment as one self-contained page.
///
/// # Errors
/// If the picture cannot be drawn.
pub fn ope_html(assessment: &Assessment, note: &ReportNote) -> Result<String, ReportError> {
    let title = escape_html(&note.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    let mut paragraph = |class: &str, text: &str| {
        let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escape_html(text));
    };
    for refusal in &assessment.verdict.refusals {
        paragraph("lead", &format!("Refused: {refusal}."));
    }
    if assessment.verdict.is_trusted {
        paragraph("lead", &gain(assessment).unwrap_or_default());
    }
    assessment.verdict.warnings.iter().for_each(|warning| paragraph("note", &format!("Warning: {warning}.")));
    facts(assessment).iter().for_each(|fact| paragraph("note", fact));
    let _ = writeln!(
        out,
        "<h2>Value by estimator</h2>\n<figure role=\"img\" aria-label=\"value by estimator\">\n<div \
         class=\"scroll\">\n{}\n</div>\n<figcaption>Dots are values, bars 95 % intervals, dashes \
         the mean logged reward.</figcaption>\n</figure>",
        forest_svg(assessment)?
    );
    out += &html_table(&estimates(assessment));
    if !assessment.segments.is_empty() {
        let _ = writeln!(out, "<h2>Parts of the log, by {}</h2>", assessment.headline);
        out += &html_table(&segments(assessment));
    }
    let mut made = format!("seed {}, {}", assessment.seed, note.date);
    if let Some(command) = &note.command {
        let _ = write!(made, ": {command}");
    }
    let _ =
        writeln!(out, "<p class=\"note\">{}</p>\n</main>\n</body>\n</html>", escape_html(&printable(&made)));
    Ok(out)
}

/// Writes `ope.html`, `ope.json` and `ope.svg` into folder `dir`; returns their paths, the page first.
///
/// # Errors
/// If the picture cannot be drawn or a file cannot be written.
pub fn write_ope(
    assessment: &Assessment,
    note: &ReportNote,
    dir: &Path,
) -> Result<Vec<PathBuf>, ReportError> {
    let json = serde_json::to_string_pretty(assessment)
        .map_err(|error| ReportError::Json { reason: error.to_string() })?;
    let files = [
        ("ope.html", ope_html(assessment, note)?),
        ("ope.json", json + "\n"),
        ("ope.svg", forest_svg(assessment)?),
    ];
    let entries: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    write_files(dir, &entries)?;
    Ok(entries.iter().map(|(name, _)| dir.join(name)).collect())
}
