//! The tables of the record: shares of right fillings with standard errors over prompts, paired differences, kinds,
//! cost.

use super::answers::{End, Filled, GRID, Rivals, Routed, Row};
use super::learn::{Line, Outcome, Outcomes, parted, stays};
use super::questions::FOLDS;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// A way to fill blanks: what it is worth on every prompt, mean over seeds.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    /// By prompt, the share of seeds in which it is right; none where it was not asked.
    right: Vec<Option<f64>>,
    /// What each seed is worth.
    seeds: Vec<f64>,
    /// Times each member is asked for what comes next, mean over prompts.
    asked: [f64; 2],
}

/// Mean and its standard error.
pub fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

impl Entry {
    /// Of seeds that have an outcome for the same prompts.
    fn new(name: &str, seeds: &[Vec<Option<Outcome>>]) -> Self {
        let of = |right: bool| f64::from(u8::from(right));
        let n_rows = seeds.first().map_or(0, Vec::len);
        let share = |row: usize| -> Option<f64> {
            let of_row: Option<Vec<f64>> = seeds.iter().map(|seed| Some(of(seed[row]?.0))).collect();
            Some(mean(&of_row?).0)
        };
        let worth = |seed: &Vec<Option<Outcome>>| {
            mean(&seed.iter().flatten().map(|(right, _)| of(*right)).collect::<Vec<f64>>()).0
        };
        let all: Vec<[u64; 2]> = seeds.iter().flatten().flatten().map(|(_, asked)| *asked).collect();
        let asked =
            |at: usize| all.iter().map(|asked| asked[at] as f64).sum::<f64>() / all.len().max(1) as f64;
        Self {
            name: name.to_owned(),
            right: (0..n_rows).map(share).collect(),
            seeds: seeds.iter().map(worth).collect(),
            asked: [asked(0), asked(1)],
        }
    }

    fn whole(name: &str, seeds: &[Outcomes]) -> Self {
        let seeds: Vec<Vec<_>> = seeds.iter().map(|seed| seed.iter().copied().map(Some).collect()).collect();
        Self::new(name, &seeds)
    }

    /// The share on prompts that all of `others` have, with its error, and the paired difference to `other`.
    fn cells(&self, within: &[bool], other: Option<&Self>) -> [String; 2] {
        let rows = || (0..within.len()).filter(|row| within[*row]);
        let own: Vec<f64> = rows().filter_map(|row| self.right[row]).collect();
        let (worth, error) = mean(&own);
        let difference = match other.filter(|other| other.name != self.name) {
            Some(other) => {
                let pairs: Vec<f64> =
                    rows().filter_map(|row| Some(self.right[row]? - other.right[row]?)).collect();
                let (mean, error) = mean(&pairs);
                format!("{mean:+.4} ± {error:.4}")
            }
            None => "-".to_owned(),
        };
        [format!("{worth:.4} ± {error:.4}"), difference]
    }
}

/// What was filled in another way, by prompt.
fn rival(name: &str, rows: &[&Row], filled: impl Fn(&Row) -> Option<Vec<Filled>>) -> Entry {
    let all: Vec<Option<Vec<Filled>>> = rows.iter().map(|row| filled(row)).collect();
    let n = all.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let seed = |at: usize| -> Vec<Option<Outcome>> {
        all.iter().map(|row| row.as_ref()?.get(at).map(|filled| (filled.right, filled.asked))).collect()
    };
    Entry::new(name, &(0..n).map(seed).collect::<Vec<_>>())
}

/// The gate that is best on the other folds, fold by fold.
fn best_gates(rows: &[&Row]) -> Vec<String> {
    let best = |fold: usize| {
        let (_, others) = parted(rows, fold);
        let names = others.first().map(|row| row.rules.keys().filter(|name| name.starts_with("gate ")));
        let n = |name: &String| {
            others.iter().filter(|row| row.rules.get(name).is_some_and(|filled| filled.right)).count()
        };
        names.into_iter().flatten().max_by_key(|name| n(name)).cloned().unwrap_or_default()
    };
    (0..FOLDS).map(best).collect()
}

/// Whether any sequence of weights of the grid leads to a right filling.
fn reachable(row: &Row) -> Outcome {
    let right: Option<&End> = row.ends.iter().find(|end| end.right);
    let asked = right.or(row.ends.first()).map_or(0, |end| end.asked);
    (right.is_some(), [asked; 2])
}

/// All ways, on all rows.
fn entries(
    rows: &[&Row],
    rivals: &[Rivals],
    routed: &[Routed],
    lines: &[Line],
) -> anyhow::Result<Vec<Entry>> {
    let constant = |name: &str, at: usize| -> anyhow::Result<Entry> {
        let outcomes = rows.iter().map(|row| stays(row, at)).collect::<anyhow::Result<Outcomes>>()?;
        Ok(Entry::whole(name, &[outcomes]))
    };
    let gates = best_gates(rows);
    let by_id: HashMap<&str, &Rivals> = rivals.iter().map(|rivals| (rivals.id.as_str(), rivals)).collect();
    let by_router: HashMap<&str, &Routed> =
        routed.iter().map(|routed| (routed.id.as_str(), routed)).collect();
    let rule = |row: &Row, name: &str| Some(vec![row.rules.get(name)?.clone()]);
    let of = |row: &Row, name: &str| Some(vec![by_id.get(&*row.id)?.filled.get(name)?.clone()]);
    let mut entries = vec![
        constant("`smollm2` alone", GRID.len() - 1)?,
        constant("`gemma3` alone", 0)?,
        constant("uniform, union of vocabularies", GRID.len() / 2)?,
        rival("uniform byte mixture", rows, |row| of(row, "byte mixture")),
        rival("confidence weights", rows, |row| rule(row, "confidence")),
        rival("entropy weights", rows, |row| rule(row, "entropy")),
        rival("gate of GaC, chosen", rows, |row| rule(row, &gates[row.fold])),
        rival("PackLLM", rows, |row| of(row, "packllm")),
        rival("citer", rows, |row| Some(by_router.get(&*row.id)?.seeds.clone())),
    ];
    entries.extend(lines.iter().map(|line| Entry::whole(&line.name, &line.seeds)));
    entries.push(Entry::whole(
        "any weights of the grid (oracle)",
        &[rows.iter().map(|row| reachable(row)).collect()],
    ));
    Ok(entries)
}

/// The record's tables as Markdown.
///
/// # Errors
/// If a tree has a gap.
pub fn tables(rows: &[&Row], rivals: &[Rivals], routed: &[Routed], lines: &[Line]) -> anyhow::Result<String> {
    let entries = entries(rows, rivals, routed, lines)?;
    let mut text = String::new();
    let mut sets: Vec<Vec<bool>> = Vec::new();
    for entry in &entries {
        let own: Vec<bool> = entry.right.iter().map(Option::is_some).collect();
        if !sets.contains(&own) && own.iter().any(|has| *has) {
            sets.push(own);
        }
    }
    sets.sort_by_key(|set| std::cmp::Reverse(set.iter().filter(|has| **has).count()));
    for within in &sets {
        text.push_str(&table(&entries, within));
    }
    for line in lines {
        let _ = writeln!(text, "\n{}, settings by fold: {}.", line.name, line.settings.join("; "));
    }
    let _ = writeln!(text, "\nGates by fold: {}.", best_gates(rows).join("; "));
    text.push_str(&kinds(rows, &entries));
    text.push_str(&cost(rows, rivals));
    Ok(text)
}

/// The ways that have an outcome for every prompt of `within`, on these prompts.
fn table(entries: &[Entry], within: &[bool]) -> String {
    let n = within.iter().filter(|has| **has).count();
    let covers = |entry: &&Entry| {
        entry.right.len() == within.len()
            && entry.right.iter().zip(within).all(|(right, within)| !within || right.is_some())
    };
    let shown: Vec<&Entry> = entries.iter().filter(covers).collect();
    let find = |start: &str| shown.iter().find(|entry| entry.name.starts_with(start)).copied();
    let (stays, router, rlae) = (find("best static"), find("supervised"), find("RLAE, PPO"));
    let mut text = format!(
        "\n{n} prompts.\n\n| way | right | seeds | less best static | less router | RLAE (PPO) less it | asked \
         `smollm2`, `gemma3` |\n|---|---|---|---|---|---|---|\n"
    );
    for entry in &shown {
        let [worth, less_static] = entry.cells(within, stays);
        let [_, less_router] = entry.cells(within, router);
        let behind = rlae.map_or("-".to_owned(), |rlae| rlae.cells(within, Some(entry))[1].clone());
        let seeds = match entry.seeds.len() {
            1 => "-".to_owned(),
            n => format!("{n}, ± {:.4}", mean(&entry.seeds).1),
        };
        let [a, b] = entry.asked;
        let name = &entry.name;
        let _ = writeln!(
            text,
            "| {name} | {worth} | {seeds} | {less_static} | {less_router} | {behind} | {a:.1}, {b:.1} |"
        );
    }
    text
}

/// Shares of right fillings by kind.
fn kinds(rows: &[&Row], entries: &[Entry]) -> String {
    let starts =
        ["`smollm2` alone", "`gemma3` alone", "best static", "supervised", "RLAE, PPO", "any weights"];
    let shown: Vec<&Entry> = starts
        .iter()
        .filter_map(|start| entries.iter().find(|entry| entry.name.starts_with(start)))
        .collect();
    let mut by_kind: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        by_kind.entry(&row.kind).or_default().push(at);
    }
    let names: Vec<&str> = shown.iter().map(|entry| entry.name.as_str()).collect();
    let mut text =
        format!("\n| kind | n | {} |\n|---|---{}|\n", names.join(" | "), "|---".repeat(names.len()));
    for (kind, places) in by_kind {
        let share = |entry: &&Entry| {
            let own: Vec<f64> = places.iter().filter_map(|at| entry.right[*at]).collect();
            format!("{:.2}", mean(&own).0)
        };
        let shares: Vec<String> = shown.iter().map(share).collect();
        let _ = writeln!(text, "| {kind} | {} | {} |", places.len(), shares.join(" | "));
    }
    text
}

/// What the logs cost.
fn cost(rows: &[&Row], rivals: &[Rivals]) -> String {
    let n = rows.len().max(1) as f64;
    let sum = |value: &dyn Fn(&Row) -> f64| rows.iter().map(|row| value(row)).sum::<f64>();
    let mut text = format!(
        "\nTrees: {:.0} s of processor time, {:.2} s a prompt; {:.1} texts, {:.1} and {:.1} tokens read, {:.1} places \
         and {:.1} fillings a prompt.\n",
        sum(&|row| row.cpu),
        sum(&|row| row.cpu) / n,
        sum(&|row| row.nodes as f64) / n,
        sum(&|row| row.read[0] as f64) / n,
        sum(&|row| row.read[1] as f64) / n,
        sum(&|row| row.places.len() as f64) / n,
        sum(&|row| row.ends.len() as f64) / n
    );
    let mut by_rival: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, cpu) in rivals.iter().flat_map(|rivals| &rivals.cpu) {
        by_rival.entry(name).or_default().push(*cpu);
    }
    for (name, cpu) in by_rival {
        let _ = writeln!(text, "{name}: {:.2} s a prompt.", mean(&cpu).0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_differences_and_missing_prompts_by_hand() {
        let (mean_, error) = mean(&[1.0, 0.0, 1.0, 1.0]);
        assert!((mean_ - 0.75).abs() < 1e-12 && (error - 0.25).abs() < 1e-12);
        let some = |right: bool| Some((right, [2, 4]));
        let a = Entry::new("a", &[vec![some(true), some(true), None], vec![some(true), some(false), None]]);
        let b = Entry::new("b", &[vec![some(false), some(true), some(true)]]);
        assert_eq!((a.right.clone(), a.asked), (vec![Some(1.0), Some(0.5), None], [2.0, 4.0]));
        assert_eq!(a.seeds, [1.0, 0.5]);
        assert_eq!(a.cells(&[true, true, true], Some(&b))[1], "+0.2500 ± 0.7500");
        let text = table(&[a, b], &[true, true, true]);
        assert!(text.contains("| b |") && !text.contains("| a |"), "{text}");
    }
}
