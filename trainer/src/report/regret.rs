//! Bandits side by side: a table, the drawn regret curves, and a page of both.

use super::ReportError;
use super::draw::{Anchor, Canvas, INK, Pixel, color, is_dashed};
use super::plane::linear_ticks;
use super::table::aligned;
use super::text::{ShortNames, escape_html, percent, usd_per_1k};
use crate::simulate::{Mean, Simulated, Simulation};

const STYLE: &str = include_str!("page.css");
const PICTURE: &str = "regret curve";
const SIZE: (u32, u32) = (980, 460);
/// Left, top, right and bottom of the plot.
const FRAME: (i32, i32, i32, i32) = (72, 16, 720, 410);
const LEGEND_LINE: i32 = 20;
const TEXT: f64 = 12.0;
/// Arms named in the table.
const TOP_ARMS: usize = 2;

/// The figures of one scenario for a terminal.
pub fn simulation_table(log: &str, simulation: &Simulation) -> String {
    let (columns, methods, yardsticks) = cells(simulation);
    let groups = [&methods, &yardsticks].map(|rows| rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let Simulation { scenario, n_rounds, n_seeds, .. } = simulation;
    let caption =
        format!("{log}, scenario {scenario}: {n_rounds} rounds, {n_seeds} seeds, means over rounds");
    format!("{caption}\n\n{}", aligned(&columns, &groups))
}

/// Columns, a row a method, a row a yardstick.
fn cells(simulation: &Simulation) -> (Vec<&'static str>, Vec<Vec<String>>, Vec<Vec<String>>) {
    let methods = &simulation.methods;
    let any = |has: fn(&Simulated) -> bool| methods.iter().any(has);
    let costs = any(|m| m.cost_usd.is_some());
    let paced = any(|m| m.spend_over_target.is_some());
    let changes = any(|m| m.recovered_after.is_some());
    let mut columns =
        vec!["method", "regret", "± s.e.", "vs first", "± s.e. ", "last quarter", "utility", "score"];
    let mut add = |shown: bool, title| columns.extend(shown.then_some(title));
    add(costs, "$/1k queries");
    add(paced, "spend/target");
    add(changes, "recovered after (seeds)");
    add(true, "most called arms");
    let row = |method: &Simulated| {
        let mut row = vec![method.method.clone()];
        row.extend(pair(&method.regret));
        row.push(format!("{:+.4}", method.regret_vs_first.mean));
        row.push(error(&method.regret_vs_first));
        row.extend([&method.last_regret, &method.utility, &method.score].map(|mean| four(mean.mean)));
        let mut add = |shown: bool, cell: Option<String>| {
            row.extend(shown.then(|| cell.unwrap_or_else(|| "-".to_owned())));
        };
        add(costs, method.cost_usd.map(|cost| usd_per_1k(cost.mean)));
        add(paced, method.spend_over_target.map(|ratio| four(ratio.mean)));
        add(changes, method.recovered_after.map(|(after, n)| format!("{after} ({n})")));
        row.push(most_called(method));
        row
    };
    let n_columns = columns.len();
    let yardstick = |(name, mean): (&str, &Mean)| {
        let mut row = vec!["-".to_owned(); n_columns];
        row[0] = name.to_owned();
        row[6] = four(mean.mean);
        row[n_columns - 1] = String::new();
        row
    };
    let Simulation { uniform, best_single, oracle, .. } = simulation;
    let yardsticks = [("uniform", uniform), ("best single in hindsight", best_single), ("oracle", oracle)];
    (columns, methods.iter().map(row).collect(), yardsticks.into_iter().map(yardstick).collect())
}

fn four(value: f64) -> String {
    format!("{value:.4}")
}

fn error(mean: &Mean) -> String {
    mean.se.map_or_else(|| "-".to_owned(), four)
}

fn pair(mean: &Mean) -> [String; 2] {
    [four(mean.mean), error(mean)]
}

fn most_called(method: &Simulated) -> String {
    let mut shares: Vec<(&String, f64)> = method.shares.iter().map(|(name, share)| (name, *share)).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let names = ShortNames::new(method.shares.keys().map(String::as_str));
    let top =
        shares.iter().take(TOP_ARMS).map(|(name, share)| format!("{} {}", names.get(name), percent(*share)));
    top.collect::<Vec<_>>().join(", ")
}

/// Draws the cumulated regret of every method over the rounds as an SVG document.
///
/// # Errors
/// If the backend fails.
pub fn regret_svg(simulation: &Simulation) -> Result<String, ReportError> {
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, SIZE, PICTURE)?;
    let most = simulation.methods.iter().flat_map(|m| m.curve.iter().copied()).fold(1e-9, f64::max) * 1.05;
    let n_rounds = simulation.n_rounds.max(1) as f64;
    let (left, top, right, bottom) = FRAME;
    let at = |x: f64, y: f64| -> Pixel {
        let across = f64::from(right - left) * x / n_rounds;
        let up = f64::from(bottom - top) * y / most;
        (left + across.round() as i32, bottom - up.round() as i32)
    };
    for tick in linear_ticks((0.0, most), 6.0) {
        let y = at(0.0, tick.value).1;
        canvas.guide(&[(left, y), (right, y)])?;
        canvas.text(&tick.label, (left - 8, y), Anchor::End, TEXT, INK)?;
    }
    for tick in linear_ticks((0.0, n_rounds), 6.0) {
        let x = at(tick.value, 0.0).0;
        canvas.guide(&[(x, top), (x, bottom)])?;
        canvas.text(&tick.label, (x, bottom + 14), Anchor::Middle, TEXT, INK)?;
    }
    canvas.text("rounds", ((left + right) / 2, bottom + 34), Anchor::Middle, TEXT, INK)?;
    canvas.upward_text("cumulated regret", (16, (top + bottom) / 2), TEXT)?;
    for (i, method) in simulation.methods.iter().enumerate() {
        let n = method.curve.len().max(1) as f64;
        let point = |(k, y): (usize, &f64)| at((k + 1) as f64 / n * n_rounds, *y);
        let points: Vec<Pixel> =
            std::iter::once(at(0.0, 0.0)).chain(method.curve.iter().enumerate().map(point)).collect();
        let y = top + 10 + i as i32 * LEGEND_LINE;
        let key = [(right + 16, y), (right + 44, y)];
        for line in [points.as_slice(), &key] {
            match is_dashed(i) {
                true => canvas.dashes(line, color(i), 2, 6)?,
                false => canvas.line(line, color(i), 2)?,
            }
        }
        canvas.text(&method.method, (right + 50, y), Anchor::Start, TEXT, INK)?;
    }
    canvas.finish()?;
    Ok(svg)
}

/// One self-contained page with a table and a picture a scenario.
///
/// # Errors
/// If a picture cannot be drawn.
pub fn simulation_html(log: &str, simulations: &[Simulation]) -> Result<String, ReportError> {
    let title = format!("Bandits on {}", escape_html(log));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n<main>\n<h1>{title}</h1>\n\
         <p class=\"lead\">Every method plays the same streams with the same draws. Regret is what the best arm \
         of each round would have added.</p>\n"
    );
    for simulation in simulations {
        let (columns, methods, yardsticks) = cells(simulation);
        let Simulation { scenario, n_rounds, n_seeds, .. } = simulation;
        out += &format!("<h2>{scenario}</h2>\n<p class=\"note\">{n_rounds} rounds, {n_seeds} seeds</p>\n");
        out += "<div class=\"scroll\"><table>\n<thead><tr>";
        columns.iter().for_each(|title| out += &format!("<th>{}</th>", escape_html(title.trim())));
        out += "</tr></thead>\n";
        for (class, rows) in [("", methods), (" class=\"baselines\"", yardsticks)] {
            out += &format!("<tbody{class}>\n");
            for row in rows {
                let cells = row.iter().map(|cell| format!("<td>{}</td>", escape_html(cell)));
                out += &format!("<tr>{}</tr>\n", cells.collect::<String>());
            }
            out += "</tbody>\n";
        }
        out += &format!("</table></div>\n<figure>{}</figure>\n", regret_svg(simulation)?);
    }
    Ok(out + "</main>\n</html>\n")
}
