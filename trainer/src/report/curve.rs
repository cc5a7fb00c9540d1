//! The cost-score picture: the hull of every policy, the single models, the oracle.

use super::draw::{Anchor, Canvas, FAINT, INK, Pixel, color, is_dashed, text_width};
use super::labels::{self, Rect};
use super::plane::Plane;
use super::text::ShortNames;
use super::{ReportError, draw};
use crate::evaluate::{Evaluation, Judged, OperatingPoint, upper_hull};
use plotters::style::RGBColor;

const PICTURE: &str = "cost-score curve";
const WIDTH: i32 = 760;
const PLOT_HEIGHT: i32 = 500;
const TOP_LEFT: Pixel = (64, 16);
const BOTTOM_RIGHT: Pixel = (744, 16 + PLOT_HEIGHT);
const LEGEND_TOP: i32 = BOTTOM_RIGHT.1 + 66;
const LEGEND_LINE: i32 = 20;
const LEGEND_COLUMN: i32 = 235;
const LEGEND_COLUMNS: usize = 3;
/// Policies that are drawn: the best by score, and the pick.
const POLICIES_MAX: usize = 6;
const TEXT: f64 = 12.0;
const LABEL: f64 = 10.5;

/// A line of the picture and its entry in the legend.
struct Line {
    name: String,
    vertices: Vec<(f64, f64)>,
    own: Option<(f64, f64)>,
    color: RGBColor,
    dash: Option<i32>,
    width: u32,
}

/// Draws score over cost (US dollars a thousand queries, logarithmic where prices span more than 20x) as
/// an SVG document; `None` where no cost is known.
///
/// Each policy is the hull its AIQ is measured on, from the cheapest single model to the dearest, with a dot
/// where its own selector puts it; the single models are grey dots with names, and grey dashes are what
/// drawing among them at random reaches. Of many policies the best six are drawn, the pick among them.
///
/// # Errors
/// If the backend fails.
pub fn cost_score_svg(judged: &Judged) -> Result<Option<String>, ReportError> {
    let singles: Vec<(f64, f64)> =
        judged.singles.iter().filter_map(|s| Some((s.cost_usd? * 1000.0, s.score))).collect();
    let lines = lines(judged, &singles);
    let all: Vec<(f64, f64)> = lines
        .iter()
        .flat_map(|line| line.vertices.iter().copied().chain(line.own))
        .chain(singles.clone())
        .collect();
    let Some(plane) = Plane::around(&all, TOP_LEFT, BOTTOM_RIGHT) else { return Ok(None) };
    let legend_rows = (lines.len() + 1).div_ceil(LEGEND_COLUMNS) as i32;
    let height = LEGEND_TOP + legend_rows * LEGEND_LINE;
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, (WIDTH as u32, height as u32), PICTURE)?;
    axes(&canvas, &plane)?;
    let mut strokes = Vec::new();
    // The first policy is drawn last, so that it lies on top.
    for line in lines.iter().rev() {
        let pixels = plane.curve(&line.vertices);
        stroke(&canvas, &pixels, line)?;
        strokes.extend(dense(&pixels));
    }
    let own = |line: &Line| line.own.map(|own| (plane.at(own), line.color));
    let dots: Vec<(Pixel, RGBColor)> = lines.iter().rev().filter_map(own).collect();
    single_dots(&canvas, judged, &plane, dots.iter().map(|dot| dot.0).collect(), &strokes)?;
    // On top of the grey ones: a policy that always calls one model falls on the mark of that model.
    dots.into_iter().try_for_each(|(at, color)| canvas.dot(at, 5, color))?;
    legend(&canvas, &lines)?;
    canvas.finish()?;
    Ok(Some(svg))
}

fn lines(judged: &Judged, singles: &[(f64, f64)]) -> Vec<Line> {
    let cheapest = singles.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let dearest = singles.iter().map(|single| single.0).fold(f64::NEG_INFINITY, f64::max);
    let hull = |points: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
        let mut vertices: Vec<(f64, f64)> = upper_hull(&points).into_iter().map(|i| points[i]).collect();
        // Flat to the right of the last vertex, as AIQ measures it.
        let flat = vertices.last().filter(|last| last.0 < dearest).map(|last| (dearest, last.1));
        vertices.extend(flat);
        vertices
    };
    let plane = |p: &OperatingPoint| (p.cost_usd * 1000.0, p.score);
    let names = ShortNames::of_policies(judged);
    let policy = |(i, policy): (usize, &Evaluation)| Line {
        name: names.get(policy.name()),
        vertices: hull(policy.curve.iter().map(plane).chain(cheapest).collect()),
        own: policy.figures.cost_usd.zip(policy.figures.score).map(|(cost, score)| (cost * 1000.0, score)),
        color: color(i),
        dash: is_dashed(i).then_some(6),
        width: 2,
    };
    let mut lines: Vec<Line> = drawn(judged).into_iter().enumerate().map(policy).collect();
    let fixed = |name: &str, points: Vec<(f64, f64)>, color, dash| Line {
        name: name.to_owned(),
        vertices: hull(points),
        own: None,
        color,
        dash: Some(dash),
        width: 1,
    };
    lines.push(fixed("single models, mixed", singles.to_vec(), FAINT, 4));
    lines.push(fixed("oracle", judged.oracle_curve.iter().map(plane).collect(), INK, 3));
    lines.retain(|line| !line.vertices.is_empty());
    lines
}

/// The policies with a curve: the pick, then the best by score.
fn drawn(judged: &Judged) -> Vec<&Evaluation> {
    let picks = judged.picked.as_ref().map_or(&[][..], |picked| &picked.methods);
    let mut policies: Vec<&Evaluation> = judged.policies.iter().filter(|p| !p.curve.is_empty()).collect();
    let key = |policy: &Evaluation| {
        let is_pick = picks.iter().any(|pick| pick == policy.name());
        if is_pick { f64::INFINITY } else { policy.figures.score.unwrap_or(f64::NEG_INFINITY) }
    };
    policies.sort_by(|a, b| key(b).total_cmp(&key(a)));
    policies.truncate(POLICIES_MAX);
    policies
}

/// Points a few pixels apart along a line, so that labels can keep off it.
fn dense(pixels: &[Pixel]) -> Vec<Pixel> {
    const GAP: i32 = 4;
    let between = |pair: &[Pixel]| {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        let n = ((bx - ax).abs().max((by - ay).abs()) / GAP).max(1);
        (0..=n).map(move |i| (ax + (bx - ax) * i / n, ay + (by - ay) * i / n))
    };
    pixels.windows(2).flat_map(between).collect()
}

fn stroke(canvas: &Canvas<'_>, pixels: &[Pixel], line: &Line) -> Result<(), ReportError> {
    match line.dash {
        Some(dash) => canvas.dashes(pixels, line.color, line.width, dash),
        None => canvas.line(pixels, line.color, line.width),
    }
}

fn axes(canvas: &Canvas<'_>, plane: &Plane) -> Result<(), ReportError> {
    let (left, top, right, bottom) = plane.frame();
    for tick in plane.score_ticks() {
        let y = plane.at((1.0, tick.value)).1;
        canvas.guide(&[(left, y), (right, y)])?;
        canvas.text(&tick.label, (left - 8, y), Anchor::End, TEXT, INK)?;
    }
    for tick in plane.cost_ticks() {
        let x = plane.at((tick.value, 0.5)).0;
        canvas.line(&[(x, bottom), (x, bottom + 5)], INK, 1)?;
        canvas.text(&tick.label, (x, bottom + 16), Anchor::Middle, TEXT, INK)?;
    }
    canvas.line(&[(left, top), (left, bottom), (right, bottom)], INK, 1)?;
    let scale = if plane.is_log() { ", logarithmic" } else { "" };
    let title = format!("cost, US dollars per 1,000 queries{scale}");
    canvas.text(&title, ((left + right) / 2, bottom + 38), Anchor::Middle, TEXT, INK)?;
    canvas.upward_text("score", (16, (top + bottom) / 2), TEXT)
}

fn single_dots(
    canvas: &Canvas<'_>,
    judged: &Judged,
    plane: &Plane,
    mut dots: Vec<Pixel>,
    strokes: &[Pixel],
) -> Result<(), ReportError> {
    let names = ShortNames::of_models(judged);
    let named: Vec<(Pixel, String)> = judged
        .singles
        .iter()
        .filter_map(|s| Some((plane.at((s.cost_usd? * 1000.0, s.score)), names.get(&s.model))))
        .collect();
    dots.extend(named.iter().map(|(at, _)| *at));
    let (left, top, right, bottom) = plane.frame();
    let frame = Rect { left: left + 2, top, right, bottom: bottom - 2 };
    let sizes: Vec<(Pixel, (i32, i32))> =
        named.iter().map(|(at, name)| (*at, (text_width(name, LABEL), 13))).collect();
    let placed = labels::place(&sizes, &frame, &dots, strokes);
    for ((at, name), placed) in named.iter().zip(placed) {
        if let Some(label) = placed {
            let rect = label.rect;
            if label.leader {
                canvas.line(&[*at, rect.nearest(*at)], FAINT, 1)?;
            }
            let start = (rect.left, (rect.top + rect.bottom) / 2);
            canvas.text(name, start, Anchor::Start, LABEL, INK)?;
        }
        canvas.dot(*at, 4, FAINT)?;
    }
    Ok(())
}

fn legend(canvas: &Canvas<'_>, lines: &[Line]) -> Result<(), ReportError> {
    let place = |i: usize| {
        let (column, row) = ((i % LEGEND_COLUMNS) as i32, (i / LEGEND_COLUMNS) as i32);
        (TOP_LEFT.0 + column * LEGEND_COLUMN, LEGEND_TOP + row * LEGEND_LINE)
    };
    for (i, line) in lines.iter().enumerate() {
        let (left, y) = place(i);
        stroke(canvas, &[(left, y), (left + 28, y)], line)?;
        if line.own.is_some() {
            canvas.dot((left + 14, y), 5, line.color)?;
        }
        canvas.text(&line.name, (left + 38, y), Anchor::Start, TEXT, INK)?;
    }
    let (left, y) = place(lines.len());
    canvas.dot((left + 14, y), 4, draw::FAINT)?;
    canvas.text("one model for every query", (left + 38, y), Anchor::Start, TEXT, INK)
}
