//! The report as Markdown, for a pull request or a repository.

use super::table::legend;
use super::text::{count, escape_markdown, score, usd_per_1k};
use super::{HeadlineRow, ReportNote, bottom_line, headline, verdict};
use crate::evaluate::Judged;
use std::fmt::Write as _;

/// Headline table, single models, scores by source and provenance. Pictures are named as
/// [`super::write`] names them.
pub fn markdown(judged: &Judged, note: &ReportNote) -> String {
    let table = headline(judged);
    let mut out = format!("# {}\n\n", escape_markdown(&note.title));
    let verdict = verdict(judged);
    if !verdict.is_empty() {
        let _ = writeln!(out, "**{}**\n", escape_markdown(&verdict));
    }
    for promise in &judged.promises {
        let _ = writeln!(out, "{}\n", escape_markdown(&promise.to_string().replace('\n', " ")));
    }
    for line in bottom_line(judged).lines() {
        let _ = writeln!(out, "**{}**\n", escape_markdown(line));
    }
    for notice in &judged.notices {
        let _ = writeln!(out, "Note: {}.\n", escape_markdown(notice));
    }
    row(&mut out, table.columns.iter().map(|column| escape_markdown(column)));
    row(&mut out, (0..table.columns.len()).map(|i| rule(i == 0 || i + 1 == table.columns.len())));
    let cells = |line: &HeadlineRow| line.cells.iter().map(|c| escape_markdown(c)).collect::<Vec<_>>();
    let bold = |cells: Vec<String>| {
        cells.into_iter().enumerate().map(|(i, c)| if i == 0 { format!("**{c}**") } else { c })
    };
    for line in &table.policies {
        if line.is_pick {
            row(&mut out, bold(cells(line)));
        } else {
            row(&mut out, cells(line).into_iter());
        }
    }
    for line in &table.baselines {
        row(
            &mut out,
            cells(line).into_iter().enumerate().map(|(i, c)| if i == 0 { format!("*{c}*") } else { c }),
        );
    }
    out += "\nThe row in bold was picked on train; rows in italics are baselines. Scores in [0, 1].\n";
    let words = legend(judged, &table).replace("> picked on train; ", "");
    if !words.is_empty() && !words.starts_with('>') {
        let _ = writeln!(out, "\n{}.", escape_markdown(&words));
    }
    if judged.policies.iter().any(|policy| policy.figures.vs_best_single.is_some()) {
        out += "\n![differences to the best single model](differences.svg)\n";
    }
    if !judged.oracle_curve.is_empty() {
        out += "\n![score over cost](cost-score.svg)\n";
    }
    out += "\n![share of queries per arm](shares.svg)\n\n## Single models\n\n";
    row(&mut out, ["model", "score", "$/1k queries"].map(str::to_owned).into_iter());
    row(&mut out, [true, false, false].map(rule).into_iter());
    for single in &judged.singles {
        let cost = single.cost_usd.map_or_else(|| "-".to_owned(), usd_per_1k);
        row(&mut out, [escape_markdown(&single.model), score(single.score), cost].into_iter());
    }
    by_source(&mut out, judged);
    provenance(&mut out, judged, note);
    out
}

fn by_source(out: &mut String, judged: &Judged) {
    *out += "\n## Score by source\n\n";
    let names = judged.policies.iter().map(|policy| escape_markdown(policy.name()));
    row(out, ["source".to_owned(), "queries".to_owned()].into_iter().chain(names));
    row(out, (0..judged.policies.len() + 2).map(|i| rule(i == 0)));
    for (source, n_queries) in &judged.sources {
        let scores = judged.policies.iter().map(|policy| {
            policy.figures.by_source.get(source).map_or_else(|| "-".to_owned(), |value| score(*value))
        });
        row(out, [escape_markdown(source), n_queries.to_string()].into_iter().chain(scores));
    }
}

fn provenance(out: &mut String, judged: &Judged, note: &ReportNote) {
    *out += "\n## Provenance\n\n";
    let _ = writeln!(
        out,
        "- log {}, split {}, {}",
        escape_markdown(&judged.log),
        escape_markdown(&judged.split),
        count(judged.n_queries, "query", "queries")
    );
    let _ = writeln!(out, "- digest of these rows: {}", escape_markdown(&judged.digest));
    let _ = writeln!(
        out,
        "- {} average; standard errors from {} bootstrap resamples, seed {}",
        judged.average, judged.bootstrap_rounds, judged.seed
    );
    let _ = writeln!(out, "- {}", escape_markdown(&note.date));
    if let Some(command) = &note.command {
        let _ = writeln!(out, "- made by: {}", escape_markdown(command));
    }
}

fn row(out: &mut String, cells: impl Iterator<Item = String>) {
    *out += "|";
    for cell in cells {
        let _ = write!(out, " {cell} |");
    }
    out.push('\n');
}

fn rule(left: bool) -> String {
    if left { "---".to_owned() } else { "---:".to_owned() }
}
