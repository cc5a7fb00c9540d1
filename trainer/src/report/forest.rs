//! The forest plot of an off-policy assessment: a dot and an interval for each estimator, on one axis.

use super::ReportError;
use super::draw::{Anchor, Canvas, FAINT, INK, Pixel, color};
use super::text::score;
use crate::ope::Assessment;

const PICTURE: &str = "off-policy estimates";
const WIDTH: i32 = 900;
const LEFT: i32 = 150;
const RIGHT: i32 = 700;
const TOP: i32 = 34;
const STEP: i32 = 30;
const TEXT: f64 = 12.0;
/// Room beside the outermost end, as a share of the span.
const MARGIN: f64 = 0.05;

/// One line of the plot.
struct Line {
    name: &'static str,
    value: f64,
    interval: [f64; 2],
}

/// Draws value and 95 % interval of the logged decisions and of every estimator; dashes mark the logged mean.
///
/// # Errors
/// If the backend fails.
pub fn forest_svg(assessment: &Assessment) -> Result<String, ReportError> {
    let lines = lines(assessment);
    let ends = || lines.iter().flat_map(|line| line.interval.into_iter().chain([line.value]));
    let (low, high) = (ends().fold(f64::INFINITY, f64::min), ends().fold(f64::NEG_INFINITY, f64::max));
    let margin = MARGIN * (high - low).max(1e-6);
    let (low, high) = (low - margin, high + margin);
    let x = |value: f64| LEFT + ((value - low) / (high - low) * f64::from(RIGHT - LEFT)).round() as i32;
    let bottom = TOP + lines.len() as i32 * STEP;
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, (WIDTH as u32, (bottom + 36) as u32), PICTURE)?;
    for tick in 0..=4 {
        let value = low + (high - low) * f64::from(tick) / 4.0;
        canvas.guide(&[(x(value), TOP - 10), (x(value), bottom)])?;
        canvas.text(&score(value), (x(value), bottom + 14), Anchor::Middle, TEXT - 1.0, INK)?;
    }
    let logged = x(assessment.logged.value);
    canvas.dashes(&[(logged, TOP - 10), (logged, bottom)], FAINT, 1, 4)?;
    for (i, line) in lines.iter().enumerate() {
        let y = TOP + i as i32 * STEP + STEP / 2 - 8;
        let stroke = if i == 0 { FAINT } else { color(0) };
        canvas.text(line.name, (LEFT - 12, y), Anchor::End, TEXT, INK)?;
        let ends: [Pixel; 2] = line.interval.map(|end| (x(end), y));
        canvas.line(&ends, stroke, 2)?;
        for (at, _) in ends {
            canvas.line(&[(at, y - 4), (at, y + 4)], stroke, 2)?;
        }
        canvas.dot((x(line.value), y), 5, stroke)?;
        let [from, to] = line.interval.map(score);
        let words = format!("{} ({from} to {to})", score(line.value));
        canvas.text(&words, (RIGHT + 14, y), Anchor::Start, TEXT - 1.0, INK)?;
    }
    canvas.finish()?;
    Ok(svg)
}

fn lines(assessment: &Assessment) -> Vec<Line> {
    let logged = &assessment.logged;
    let line = |name, value: f64, interval: Option<[f64; 2]>| Line {
        name,
        value,
        interval: interval.unwrap_or([value, value]),
    };
    let mut lines = vec![line("logged", logged.value, logged.interval)];
    let estimates = assessment.estimates.iter();
    lines.extend(estimates.filter_map(|e| Some(line(e.estimator, e.value?, e.interval))));
    lines
}
