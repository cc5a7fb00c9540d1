//! Differences to the best single model with their 95 % intervals: which of them could be luck.

use super::draw::{Anchor, Canvas, FAINT, INK, color};
use super::text::{ShortNames, points};
use super::{ReportError, headline};
use crate::evaluate::{Judged, PairedDifference};

const PICTURE: &str = "differences to the best single model";
const WIDTH: i32 = 760;
const LEFT: i32 = 150;
const RIGHT: i32 = 590;
const TOP: i32 = 20;
const STEP: i32 = 24;
const TEXT: f64 = 12.0;
/// Standard errors to either side of a difference.
const INTERVAL: f64 = 1.96;

/// Draws the difference of every policy to the best single model in points of score, the best policy first, as an SVG
/// document; `None` where there are no differences.
///
/// # Errors
/// If the backend fails.
pub fn difference_svg(judged: &Judged) -> Result<Option<String>, ReportError> {
    let mut rows: Vec<(&str, PairedDifference)> = judged
        .policies
        .iter()
        .filter_map(|policy| Some((policy.name(), policy.figures.vs_best_single?)))
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    rows.sort_by(|a, b| b.1.difference.total_cmp(&a.1.difference));
    let source_best = judged.baselines.source_best.as_ref().and_then(|b| b.figures.vs_best_single);
    let is_named = rows.iter().any(|row| row.0 == "source-best");
    rows.extend(source_best.filter(|_| !is_named).map(|difference| ("source-best", difference)));
    let reach = |d: &PairedDifference| d.difference.abs() + INTERVAL * d.standard_error;
    let most = rows.iter().map(|(_, d)| reach(d)).fold(1e-4, f64::max) * 1.05;
    let x = |value: f64| LEFT + ((value + most) / (2.0 * most) * f64::from(RIGHT - LEFT)).round() as i32;
    let bottom = TOP + rows.len() as i32 * STEP;
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, (WIDTH as u32, (bottom + 40) as u32), PICTURE)?;
    for tick in [-1.0, -0.5, 0.5, 1.0].map(|share| share * most / 1.05) {
        canvas.guide(&[(x(tick), TOP - 8), (x(tick), bottom)])?;
        canvas.text(&points(tick), (x(tick), bottom + 12), Anchor::Middle, TEXT - 1.0, INK)?;
    }
    canvas.line(&[(x(0.0), TOP - 8), (x(0.0), bottom)], INK, 1)?;
    canvas.text("best-single", (x(0.0), bottom + 12), Anchor::Middle, TEXT - 1.0, INK)?;
    let title = "difference to the best single model, points of score, 95 % intervals";
    canvas.text(title, ((LEFT + RIGHT) / 2, bottom + 30), Anchor::Middle, TEXT, INK)?;
    let picked: Vec<String> = headline(judged)
        .policies
        .into_iter()
        .filter(|row| row.is_pick)
        .filter_map(|row| row.cells.into_iter().next())
        .collect();
    let names = ShortNames::new(rows.iter().map(|(name, _)| *name));
    for (i, (name, d)) in rows.iter().enumerate() {
        let y = TOP + i as i32 * STEP + STEP / 2 - 6;
        let is_pick = picked.iter().any(|pick| pick.trim_end_matches(" *") == *name);
        let stroke = if is_pick {
            color(1)
        } else if *name == "source-best" {
            FAINT
        } else {
            color(0)
        };
        canvas.text(&names.get(name), (LEFT - 10, y), Anchor::End, TEXT, INK)?;
        let half = INTERVAL * d.standard_error;
        canvas.line(&[(x(d.difference - half), y), (x(d.difference + half), y)], stroke, 2)?;
        canvas.dot((x(d.difference), y), 4, stroke)?;
        let words = format!("{} ± {:.1}", points(d.difference), 100.0 * half);
        canvas.text(&words, (RIGHT + 12, y), Anchor::Start, TEXT - 1.0, INK)?;
    }
    canvas.finish()?;
    Ok(Some(svg))
}
