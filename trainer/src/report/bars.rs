//! Arm shares: one stacked bar a policy.

use super::ReportError;
use super::draw::{Anchor, Canvas, FAINT, INK, color, text_on, text_width};
use super::text::{ShortNames, percent};
use crate::evaluate::Judged;
use std::collections::BTreeMap;

const PICTURE: &str = "arm shares";
const WIDTH: i32 = 980;
const BAR_LEFT: i32 = 200;
const BAR_RIGHT: i32 = 960;
const BAR_HEIGHT: i32 = 20;
const BAR_STEP: i32 = 28;
const LEGEND_STEP: i32 = 20;
const LEGEND_COLUMN: i32 = 250;
const TEXT: f64 = 12.0;
/// Arms with a color of their own; the rest is drawn as one.
const ARMS_MAX: usize = 9;

/// Draws how often each policy calls each arm as an SVG document. The arms called most over all policies
/// have a color of their own, the others share one.
///
/// # Errors
/// If the backend fails.
pub fn arm_share_svg(judged: &Judged) -> Result<String, ReportError> {
    let arms = most_called(judged);
    let legend_rows = (arms.len() as i32 + 1).div_euclid(3) + 1;
    let bars_top = 12 + legend_rows * LEGEND_STEP;
    let height = bars_top + judged.policies.len() as i32 * BAR_STEP + 12;
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, (WIDTH as u32, height as u32), PICTURE)?;
    let others = judged.policies.iter().any(|policy| policy.shares.len() > arms.len());
    let (models, policies) = (ShortNames::of_models(judged), ShortNames::of_policies(judged));
    let names = arms.iter().map(|arm| models.get(arm)).chain(others.then(|| "other arms".to_owned()));
    for (i, name) in names.enumerate() {
        let (column, row) = (i as i32 % 3, i as i32 / 3);
        let (x, y) = (BAR_LEFT + column * LEGEND_COLUMN, 16 + row * LEGEND_STEP);
        canvas.rectangle((x, y - 6), (x + 12, y + 6), segment_color(i, arms.len()))?;
        canvas.text(&name, (x + 18, y), Anchor::Start, TEXT, INK)?;
    }
    for (row, policy) in judged.policies.iter().enumerate() {
        let top = bars_top + row as i32 * BAR_STEP;
        let middle = top + BAR_HEIGHT / 2;
        canvas.text(&policies.get(policy.name()), (BAR_LEFT - 10, middle), Anchor::End, TEXT, INK)?;
        let share = |model: &str| policy.shares.iter().find(|s| s.model == model).map_or(0.0, |s| s.share);
        let mut shares: Vec<f64> = arms.iter().map(|arm| share(arm)).collect();
        shares.push(1.0 - shares.iter().sum::<f64>());
        let mut from = 0.0;
        for (i, share) in shares.into_iter().enumerate() {
            let x = |at: f64| BAR_LEFT + (at * f64::from(BAR_RIGHT - BAR_LEFT)).round() as i32;
            let (left, right) = (x(from), x(from + share));
            from += share;
            if right <= left {
                continue;
            }
            let ground = segment_color(i, arms.len());
            canvas.rectangle((left, top), (right, top + BAR_HEIGHT), ground)?;
            let label = percent(share);
            if text_width(&label, TEXT) + 6 <= right - left {
                canvas.text(
                    &label,
                    ((left + right) / 2, middle),
                    Anchor::Middle,
                    TEXT - 1.0,
                    text_on(ground),
                )?;
            }
        }
    }
    canvas.finish()?;
    Ok(svg)
}

fn segment_color(i: usize, n_arms: usize) -> plotters::style::RGBColor {
    if i < n_arms { color(i) } else { FAINT }
}

/// The arms called most, summed over policies; equal ones in order of name.
fn most_called(judged: &Judged) -> Vec<String> {
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    for share in judged.policies.iter().flat_map(|policy| &policy.shares) {
        *totals.entry(&share.model).or_default() += share.share;
    }
    let mut arms: Vec<(&str, f64)> = totals.into_iter().collect();
    arms.sort_by(|a, b| b.1.total_cmp(&a.1));
    arms.into_iter().take(ARMS_MAX).map(|(model, _)| model.to_owned()).collect()
}
