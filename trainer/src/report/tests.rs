use super::*;
use crate::evaluate::fixtures::{prediction, table};
use crate::evaluate::{Evaluation, JudgeOptions, judge};
use routewright_data::OutcomeTable;
use routewright_policy::selectors::Argmax;

const EVIL: &str = "<script>alert(1)</script>|&'\"\n`*";

/// Two models, two sources; the policy `knn` calls y, then x.
fn outcomes() -> OutcomeTable {
    table(&["a", "b"], &[0.0, 1.0, 1.0, 0.5], &[0.001, 0.03, 0.002, 0.01])
}

fn judged_on(table: &OutcomeTable, names: &[&str]) -> Judged {
    let options = JudgeOptions { bootstrap_rounds: 0, ..JudgeOptions::default() };
    let mut judged = Judged::new("log.parquet", "test", Some(table), table, &options).unwrap();
    let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2], &[0.001, 0.03, 0.002, 0.01]);
    for name in names {
        let found = judge(name, table, Some(table), &guess, &Argmax, &options).unwrap();
        judged.add(Evaluation { fit_seconds: Some(1.5), ..found });
    }
    judged
}

fn note() -> ReportNote {
    ReportNote { title: "a report".to_owned(), date: "2026-01-02".to_owned(), command: None }
}

/// AIQ: from ($1.5, 0.5) to ($16, 1), flat to $20: (14.5 * 0.75 + 4) / 18.5. APGR: y leads by 0.1 where it
/// gains 1 and by -0.7 where it loses 0.5, so PGR runs (0, 0), (0.5, 2), (1, 1).
#[test]
fn the_terminal_table_is_aligned() {
    let text = text_table(&judged_on(&outcomes(), &["knn"]));
    let expected = "\
log.parquet, split test: 2 queries of 2 sources, micro average, scores in [0, 1]

method        score  ± s.e.  $/1k queries     AIQ    APGR  CPT 50 %  fit s  decide µs  most called arms
-------------------------------------------------------------------------------------------------------
knn          1.0000       -          16.0  0.8041  1.2500    0.1250   1.50          -  x 50 %, y 50 %
-------------------------------------------------------------------------------------------------------
random       0.6250       -          10.7       -       -         -      -          -
cheapest     0.5000       -          1.50       -       -         -      -          -  x
best_single  0.7500       -          20.0       -       -         -      -          -  y
source_best  1.0000       -          16.0       -       -         -      -          -
oracle       1.0000       -          16.0  0.8041       -         -      -          -

AIQ of mixing single models at random: 0.6250
";
    assert_eq!(text, expected);
}

#[test]
fn columns_without_a_figure_are_left_out() {
    let mut table = outcomes();
    table.cost_usd = routewright_data::Cells::missing(2, 2);
    let judged = judged_on(&table, &["knn"]);
    let columns = headline(&judged).columns;
    assert!(!columns.contains(&"AIQ") && !columns.contains(&"uncovered"), "{columns:?}");
    let page = html(&judged, &note()).unwrap();
    assert!(!page.contains("Score over cost") && page.contains("Which arms are called"));
}

#[test]
fn foreign_names_are_escaped_everywhere() {
    let mut table = outcomes();
    table.models[1] = EVIL.to_owned();
    table.queries[1].source = Some(EVIL.to_owned());
    let mut judged = judged_on(&table, &[EVIL]);
    judged.log = EVIL.to_owned();
    let evil = ReportNote { title: EVIL.to_owned(), date: EVIL.to_owned(), command: Some(EVIL.to_owned()) };
    let page = html(&judged, &evil).unwrap();
    for (name, text) in [
        ("page", page.as_str()),
        ("markdown", markdown(&judged, &evil).as_str()),
        ("curve", cost_score_svg(&judged).unwrap().unwrap().as_str()),
        ("shares", arm_share_svg(&judged).unwrap().as_str()),
    ] {
        assert!(!text.contains("<script>alert") && !text.contains("</script>|"), "{name}");
        assert!(text.contains("&lt;") || !text.contains("alert"), "{name}");
    }
    assert_eq!(page.matches("<script>").count(), 1);
    // Every line of a Markdown table keeps its number of cells.
    let markdown = markdown(&judged, &evil);
    let head = |line: &str| line.replace("\\|", "").matches('|').count();
    let tables: Vec<&str> = markdown.split("\n\n").filter(|block| block.starts_with('|')).collect();
    assert_eq!(tables.len(), 3);
    for block in tables {
        let counts: Vec<usize> = block.lines().map(head).collect();
        assert!(counts.iter().all(|n| *n == counts[0]), "{block}");
    }
    assert!(!text_table(&judged).lines().any(|line| line.starts_with('`')));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = html(&judged_on(&outcomes(), &["knn", "ridge"]), &note()).unwrap();
    let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in ["http:", "https:", " src=", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("2026-01-02") && page.contains("<svg"));
    for tag in ["table", "tbody", "tr", "td", "th", "figure", "svg", "dl"] {
        let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
        let opened = page.matches(&format!("{open}>")).count() + page.matches(&format!("{open} ")).count();
        assert_eq!(opened, page.matches(&close).count(), "{tag}");
    }
}

#[test]
fn the_files_are_written_and_the_json_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let judged = judged_on(&outcomes(), &["knn"]);
    let paths = write(&judged, &note(), dir.path()).unwrap();
    let names: Vec<String> =
        paths.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["report.html", "report.md", "report.json", "shares.svg", "cost-score.svg"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), names.len());
    let text = std::fs::read_to_string(dir.path().join("report.json")).unwrap();
    let back: Judged = serde_json::from_str(&text).unwrap();
    assert_eq!(back.policies[0].by_source, judged.policies[0].by_source);
    // A document that was read back is drawn as the one in memory.
    assert_eq!(cost_score_svg(&back).unwrap(), cost_score_svg(&judged).unwrap());
}

#[test]
fn extremes_are_drawn() {
    let many: Vec<String> = (0..40).map(|i| format!("method-{i}")).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let judged = judged_on(&outcomes(), &names);
    let svg = cost_score_svg(&judged).unwrap().unwrap();
    assert!(svg.contains("method-39") && arm_share_svg(&judged).unwrap().contains("method-39"));
    let none = judged_on(&outcomes(), &[]);
    assert!(html(&none, &note()).unwrap().contains("0 policies"));
    let one = outcomes().select_arms(&[0]);
    let options = JudgeOptions::default();
    let judged = Judged::new("l", "s", None, &one, &options).unwrap();
    assert!(cost_score_svg(&judged).unwrap().is_some() && judged.singles_aiq.is_none());
}
