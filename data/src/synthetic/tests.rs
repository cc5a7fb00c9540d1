use super::*;
use crate::LoadOptions;

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), v| (sum + v, n + 1));
    sum / f64::from(n)
}

#[test]
fn the_same_seed_gives_the_same_log_and_another_seed_another() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = |seed: u64, name: &str| {
        let path = dir.path().join(name);
        World::new(Settings::default(), seed).write_log(200, &path).unwrap();
        std::fs::read(path).unwrap()
    };
    assert_eq!(bytes(7, "a"), bytes(7, "b"));
    assert_ne!(bytes(7, "a"), bytes(8, "c"));
}

#[test]
fn the_log_holds_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let world = World::new(Settings::default(), 3);
    let n_rows = world.write_log(300, &path).unwrap();
    let (table, _, _) = world.table(300);
    let loaded = OutcomeTable::load(&path, &LoadOptions::default()).unwrap();
    assert_eq!(loaded.digest(), table.digest());
    assert_eq!(loaded.queries, table.queries);
    assert_eq!(table.score.n_present() as u64, n_rows);
    assert!(n_rows < 300 * 8, "some cells are missing");
}

#[test]
fn outcomes_have_the_expectations_that_are_reported() {
    let (table, expected, expected_cost) = World::new(Settings::default(), 11).table(4000);
    for arm in 0..table.n_arms() {
        let rows: Vec<usize> = (0..4000).filter(|&row| table.score.get(row, arm).is_some()).collect();
        let drawn = table.score.column_mean(arm).unwrap();
        let soft = table.soft_score.as_ref().unwrap().column_mean(arm).unwrap();
        let known = mean(rows.iter().map(|&row| f64::from(expected.row(row)[arm])));
        // Five standard errors of a mean of 3,800 draws: 5 * 0.5 / sqrt(3800) = 0.041.
        assert!((drawn - known).abs() < 0.041, "arm {arm}: drawn {drawn}, expected {known}");
        assert!((soft - known).abs() < 0.02, "arm {arm}: soft {soft}, expected {known}");
        let cost = table.cost_usd.column_mean(arm).unwrap();
        let known = mean(rows.iter().map(|&row| f64::from(expected_cost.row(row)[arm])));
        assert!((cost / known - 1.0).abs() < 0.05, "arm {arm}: cost {cost}, expected {known}");
    }
}

#[test]
fn knowing_the_topic_beats_the_best_single_arm_clearly_in_every_world() {
    for seed in 0..10 {
        let (table, expected, _) = World::new(Settings::default(), seed).table(2000);
        let single = (0..8).map(|arm| expected.column_mean(arm).unwrap()).fold(0.0, f64::max);
        let routed: f64 = TOPICS
            .iter()
            .map(|topic| {
                let on_topic = |row: &usize| table.queries[*row].source.as_deref() == Some(*topic);
                let rows: Vec<usize> = (0..2000).filter(on_topic).collect();
                let of_topic = expected.select_rows(&rows);
                let best = (0..8).map(|arm| of_topic.column_mean(arm).unwrap()).fold(0.0, f64::max);
                best * rows.len() as f64 / 2000.0
            })
            .sum();
        assert!(routed > single + 0.06, "seed {seed}: by topic {routed}, best single {single}");
    }
}

#[test]
fn prices_span_the_ratio_and_equal_prompts_share_a_split() {
    let world = World::new(Settings { repeats: 0.3, ..Settings::default() }, 1);
    let prices: Vec<f64> = world.arms().iter().map(|arm| arm.output_usd_per_mtok).collect();
    let (low, high) = prices.iter().fold((f64::MAX, 0.0_f64), |(l, h), &p| (l.min(p), h.max(p)));
    assert!((high / low - 200.0).abs() < 1e-6);
    let (table, _, _) = world.table(3000);
    let mut splits = std::collections::HashMap::new();
    let mut repeated = 0;
    for query in &table.queries {
        let split = splits.entry(prompt_key(&query.prompt)).or_insert(&query.split);
        repeated += usize::from(*split != &query.split);
    }
    assert_eq!(repeated, 0);
    assert!(splits.len() < 2600, "{} different prompts of 3000", splits.len());
    let scripts = ["什么", "für", "Что", "¿"];
    for script in scripts {
        assert!(table.queries.iter().any(|q| q.prompt.contains(script)), "{script}");
    }
}

#[test]
fn worlds_of_one_arm_and_of_many_stand() {
    let settings = |n_arms| Settings { n_arms, missing: 0.9, ..Settings::default() };
    let (table, _, _) = World::new(settings(1), 1).table(20);
    assert_eq!(table.score.n_present(), 20, "every query keeps a cell");
    let (table, _, _) = World::new(settings(40), 1).table(20);
    assert_eq!(table.n_arms(), 40);
    assert!(table.models.is_sorted() && (0..20).all(|row| table.score.row_mean(row).is_some()));
}
