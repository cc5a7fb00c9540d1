use super::*;
use crate::evaluate::fixtures::{prediction, table};
use crate::evaluate::{Contender, Evaluation, Figures, JudgeOptions, Judging, Picked, Reason, Rule, judge};
use routewright_data::OutcomeTable;
use routewright_policy::selectors::Argmax;

const EVIL: &str = "<script>alert(1)</script>|&'\"\n`*";

/// Two models, two sources; the policy `knn` calls y, then x.
fn outcomes() -> OutcomeTable {
    table(&["a", "b"], &[0.0, 1.0, 1.0, 0.5], &[0.001, 0.03, 0.002, 0.01])
}

fn judged_on(table: &OutcomeTable, names: &[&str]) -> Judged {
    judging_on(table, names).finish()
}

fn judging_on(table: &OutcomeTable, names: &[&str]) -> Judging {
    let options = JudgeOptions { bootstrap_rounds: 0, ..JudgeOptions::default() };
    let mut judging = Judging::new("log.parquet", "test", Some(table), table, &options).unwrap();
    let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2], &[0.001, 0.03, 0.002, 0.01]);
    for name in names {
        let found = judge(&Contender::new(name, &guess, &Argmax), table, Some(table), &options).unwrap();
        judging.add(Evaluation { fit_seconds: Some(1.5), ..found });
    }
    judging
}

/// The same with the first policy picked.
fn picked_on(table: &OutcomeTable, names: &[&str]) -> Judged {
    let mut judging = judging_on(table, names);
    let options = JudgeOptions::default();
    let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2], &[0.001, 0.03, 0.002, 0.01]);
    let found = judge(&Contender::new(names[0], &guess, &Argmax), table, Some(table), &options).unwrap();
    let reason = Reason {
        rule: Rule::Gain,
        score: 1.0,
        score_se: None,
        cost_usd: None,
        vs_best_single: None,
        equals: Vec::new(),
    };
    judging.pick(Picked {
        methods: vec![names[0].to_owned()],
        reasons: vec![reason],
        figures: Figures::default(),
        reads_source: false,
        runs: found.runs,
    });
    judging.finish()
}

fn note() -> ReportNote {
    ReportNote { title: "a report".to_owned(), date: "2026-01-02".to_owned(), command: None }
}

/// AIQ: from ($1.5, 0.5) to ($16, 1), flat to $20: (14.5 * 0.75 + 4) / 18.5. APGR: y leads by 0.1 where it
/// gains 1 and by -0.7 where it loses 0.5, so PGR runs (0, 0), (0.5, 2), (1, 1). One query says nothing of its source,
/// so that the shrunk table of sources calls the best single model.
#[test]
fn the_terminal_table_is_aligned() {
    let text = text_table(&judged_on(&outcomes(), &["knn"]));
    let expected = "\
log.parquet, split test: 2 queries of 2 sources, micro average, scores in [0, 1]

method            score  $/1k queries  saves     AIQ    APGR  CPT 50 %  fit s  most called arms
---------------------------------------------------------------------------------------------------
  knn            1.0000          16.0   20 %  0.8041  1.2500    0.1250   1.50  x 50 %, y 50 %
---------------------------------------------------------------------------------------------------
  random         0.6250          10.7   46 %       -       -         -      -
  cheapest       0.5000          1.50   92 %       -       -         -      -  x
  best-single    0.7500          20.0    0 %       -       -         -      -  y
  source-best *  0.7500          20.0    0 %       -       -         -      -  y
  oracle         1.0000          16.0   20 %  0.8041       -         -      -
  zero-router         -             -      -  0.6250       -         -      -  single models, mixed

* is given the true source of each query
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
fn the_pick_is_on_the_page_in_the_table_and_in_a_sentence() {
    let judged = picked_on(&outcomes(), &["knn", "ridge"]);
    let text = text_table(&judged);
    assert!(
        text.contains("\n> knn ") && text.contains("\n  ridge ") && text.contains("Picked on train: knn"),
        "{text}"
    );
    let page = html(&judged, &note()).unwrap();
    assert!(page.contains("<tr class=\"picked\"><td class=\"text\">knn</td>"));
    assert!(page.contains("<p class=\"verdict\">Picked on train: knn"));
    assert!(page.contains("saves 20 % of its cost"));
    let markdown = markdown(&judged, &note());
    assert!(markdown.contains("| **knn** |") && markdown.contains("**Picked on train: knn"), "{markdown}");
}

#[test]
fn rows_are_sorted_by_score_and_names_have_one_spelling() {
    let table = table(&["a", "b"], &[0.0, 1.0, 1.0, 0.5], &[0.001, 0.03, 0.002, 0.01]);
    let mut judging = judging_on(&table, &["good"]);
    let bad = prediction(2, &[0.9, 0.2, 0.1, 0.2], &[0.001, 0.03, 0.002, 0.01]);
    let options = JudgeOptions::default();
    for name in ["bad", "best-single"] {
        let contender = Contender::new(name, &bad, &Argmax);
        judging.add(judge(&contender, &table, Some(&table), &options).unwrap());
    }
    let mut judged = judging.finish();
    judged.policies.reverse();
    let rows: Vec<String> = headline(&judged).policies.iter().map(|row| row.cells[0].clone()).collect();
    assert_eq!(rows, ["good", "best-single", "bad"]);
    let text = text_table(&judged);
    assert_eq!(text.matches("best-single").count(), 1, "one row: {text}");
    assert!(!text.contains("best_single"));
}

#[test]
fn a_method_that_failed_is_a_row_with_its_reason() {
    let mut judging = judging_on(&outcomes(), &["knn"]);
    judging.fail("fgts-cdb", "cannot fit: too many arms".to_owned());
    let judged = judging.finish();
    let text = text_table(&judged);
    let line = text.lines().find(|line| line.contains("fgts-cdb")).unwrap();
    assert!(line.ends_with("cannot fit: too many arms"), "{line}");
    assert!(html(&judged, &note()).unwrap().contains("cannot fit: too many arms"));
}

#[test]
fn differences_are_drawn_with_their_intervals() {
    let options = JudgeOptions::default();
    let table = outcomes();
    let mut judging = Judging::new("l", "test", Some(&table), &table, &options).unwrap();
    let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2], &[0.001, 0.03, 0.002, 0.01]);
    judging.add(judge(&Contender::new("knn", &guess, &Argmax), &table, Some(&table), &options).unwrap());
    let judged = judging.finish();
    let svg = difference_svg(&judged).unwrap().unwrap();
    assert!(svg.contains("knn") && svg.contains("source-best") && svg.contains("95 % intervals"));
    assert!(difference_svg(&judged_on(&table, &[])).unwrap().is_none());
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
    assert_eq!(back.policies[0].figures.by_source, judged.policies[0].figures.by_source);
    // A document that was read back is drawn as the one in memory.
    assert_eq!(cost_score_svg(&back).unwrap(), cost_score_svg(&judged).unwrap());
}

#[test]
fn extremes_are_drawn() {
    let many: Vec<String> = (0..40).map(|i| format!("method-{i}")).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let judged = judged_on(&outcomes(), &names);
    let svg = cost_score_svg(&judged).unwrap().unwrap();
    // Six lines are readable, forty are not.
    assert!(svg.contains("method-5") && !svg.contains("method-6") && !svg.contains("method-39"));
    assert!(arm_share_svg(&judged).unwrap().contains("method-39"));
    let none = judged_on(&outcomes(), &[]);
    assert!(html(&none, &note()).unwrap().contains("0 policies"));
    assert!(html(&judged_on(&outcomes(), &["knn"]), &note()).unwrap().contains("1 policy on"));
    let one = outcomes().select_arms(&[0]);
    let options = JudgeOptions::default();
    let judged = Judging::new("l", "s", None, &one, &options).unwrap().finish();
    assert!(cost_score_svg(&judged).unwrap().is_some() && judged.singles_aiq.is_none());
}
