//! What a person reads: tables, pictures and one self-contained page, all made of a [`Judged`] document (or,
//! in `ope` and `forest`, of an off-policy [`Assessment`](crate::ope::Assessment)).
//!
//! Nothing here computes a metric. Every name that comes from a log or an artifact (models, sources,
//! methods, paths) is escaped for the place it is written to.

mod bars;
mod bottom_line;
mod curve;
mod differences;
mod draw;
mod forest;
mod heatmap;
mod html;
mod json;
mod labels;
mod markdown;
mod note;
mod ope;
mod plane;
mod regret;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod verdict;

pub use note::{ReportError, ReportNote};

pub use bars::arm_share_svg;
pub use bottom_line::bottom_line;
pub use curve::cost_score_svg;
pub use differences::difference_svg;
pub use forest::forest_svg;
pub use heatmap::heatmap_html;
pub use html::html;
pub use json::json;
pub use markdown::markdown;
pub use ope::{ope_html, ope_text, propensities_text, write_ope};
pub use regret::{regret_svg, simulation_html, simulation_table};
pub use table::{Headline, HeadlineRow, headline, text_table};
pub use text::{escape_html, escape_markdown, printable};
pub use verdict::verdict;

use crate::evaluate::Judged;
use routewright_data::files::write_files;
use std::path::{Path, PathBuf};

/// Writes `report.html`, `report.md`, `report.json`, `shares.svg` and, where they have something to show,
/// `differences.svg` and `cost-score.svg` into folder `dir`; returns their paths, the page first.
///
/// Everything is made before the first file is written, all files are on disk before the first gets its
/// name, and other files of the folder are left alone.
///
/// # Errors
/// If a picture cannot be drawn or a file cannot be written.
pub fn write(judged: &Judged, note: &ReportNote, dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let mut files = vec![
        ("report.html", html(judged, note)?),
        ("report.md", markdown(judged, note)),
        ("report.json", json(judged)?),
        ("shares.svg", arm_share_svg(judged)?),
    ];
    if let Some(svg) = difference_svg(judged)? {
        files.push(("differences.svg", svg));
    }
    if let Some(svg) = cost_score_svg(judged)? {
        files.push(("cost-score.svg", svg));
    }
    let entries: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    write_files(dir, &entries)?;
    Ok(entries.iter().map(|(name, _)| dir.join(name)).collect())
}
