//! The few strokes the pictures are made of, on the SVG backend of plotters.
//!
//! Black (text and lines) and white (ground) are the only colors a page in a dark theme recolors.

use super::ReportError;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A position in pixels.
pub(super) type Pixel = (i32, i32);

/// Text and axes.
pub(super) const INK: RGBColor = BLACK;
/// Everything that should stay behind the data, readable on white and on black.
pub(super) const FAINT: RGBColor = RGBColor(128, 128, 128);

/// Colors that stay apart for the color-blind (Okabe and Ito), the light yellow replaced.
const PALETTE: [RGBColor; 9] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(136, 34, 85),
    RGBColor(153, 153, 51),
    RGBColor(102, 80, 164),
];

/// The color of the `i`-th thing of a list.
pub(super) fn color(i: usize) -> RGBColor {
    PALETTE[i % PALETTE.len()]
}

/// Whether the `i`-th thing needs another stroke to differ from an earlier one of its color.
pub(super) fn is_dashed(i: usize) -> bool {
    i >= PALETTE.len()
}

/// Color of text on a ground of `color`.
pub(super) fn text_on(color: RGBColor) -> RGBColor {
    let luma = 0.299 * f64::from(color.0) + 0.587 * f64::from(color.1) + 0.114 * f64::from(color.2);
    // Neither is plain black or white, which a dark theme would recolor.
    if luma > 140.0 { RGBColor(17, 17, 17) } else { RGBColor(250, 250, 250) }
}

/// Anchor of a text relative to its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Begins there, vertically centered.
    Start,
    /// Centered there.
    Middle,
    /// Ends there, vertically centered.
    End,
}

/// A picture being drawn.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    picture: &'static str,
}

impl<'a> Canvas<'a> {
    /// An empty white picture, to be written into `buffer` when dropped.
    pub(super) fn new(
        buffer: &'a mut String,
        size: (u32, u32),
        picture: &'static str,
    ) -> Result<Self, ReportError> {
        let area = SVGBackend::with_string(buffer, size).into_drawing_area();
        area.fill(&WHITE).map_err(|e| ReportError::Draw { picture, reason: e.to_string() })?;
        Ok(Self { area, picture })
    }

    fn element<'b, E>(&'b self, element: &'b E) -> Result<(), ReportError>
    where
        &'b E: plotters::element::PointCollection<'b, Pixel>,
        E: plotters::element::Drawable<SVGBackend<'a>>,
    {
        self.area
            .draw(element)
            .map_err(|e| ReportError::Draw { picture: self.picture, reason: e.to_string() })
    }

    /// A line through `points`.
    pub(super) fn line(&self, points: &[Pixel], color: RGBColor, width: u32) -> Result<(), ReportError> {
        self.element(&PathElement::new(points.to_vec(), color.stroke_width(width)))
    }

    /// A line that stays behind the data.
    pub(super) fn guide(&self, points: &[Pixel]) -> Result<(), ReportError> {
        self.element(&PathElement::new(points.to_vec(), FAINT.mix(0.3).stroke_width(1)))
    }

    /// A line of dashes through `points`.
    pub(super) fn dashes(
        &self,
        points: &[Pixel],
        color: RGBColor,
        width: u32,
        dash: i32,
    ) -> Result<(), ReportError> {
        let style = color.stroke_width(width);
        self.element(&DashedPathElement::new(points.iter().copied(), dash, dash, style))
    }

    /// A filled circle.
    pub(super) fn dot(&self, at: Pixel, radius: i32, color: RGBColor) -> Result<(), ReportError> {
        self.element(&Circle::new(at, radius, color.filled()))
    }

    /// A filled rectangle from corner to corner.
    pub(super) fn rectangle(&self, from: Pixel, to: Pixel, color: RGBColor) -> Result<(), ReportError> {
        self.element(&Rectangle::new([from, to], color.filled()))
    }

    /// A line of text of `size` pixels.
    pub(super) fn text(
        &self,
        text: &str,
        at: Pixel,
        anchor: Anchor,
        size: f64,
        color: RGBColor,
    ) -> Result<(), ReportError> {
        self.element(&Text::new(text.to_owned(), at, style(anchor, size, color)))
    }

    /// A line of text that reads upwards, centered at `at`.
    pub(super) fn upward_text(&self, text: &str, at: Pixel, size: f64) -> Result<(), ReportError> {
        let style = style(Anchor::Middle, size, INK).transform(FontTransform::Rotate270);
        self.element(&Text::new(text.to_owned(), at, style))
    }

    /// Ends the picture.
    pub(super) fn finish(self) -> Result<(), ReportError> {
        self.area.present().map_err(|e| ReportError::Draw { picture: self.picture, reason: e.to_string() })
    }
}

fn style(anchor: Anchor, size: f64, color: RGBColor) -> TextStyle<'static> {
    let h_pos = match anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    // The backend divides sizes by 1.24.
    let font = FontDesc::new(FontFamily::SansSerif, size * 1.24, FontStyle::Normal);
    TextStyle { color: color.to_backend_color(), pos: Pos::new(h_pos, VPos::Center), ..TextStyle::from(font) }
}

/// About how wide a text of `size` pixels is; generous, so that what fits on paper fits in any font.
pub(super) fn text_width(text: &str, size: f64) -> i32 {
    let em: f64 = text.chars().map(|c| if c.is_ascii() { 0.58 } else { 1.0 }).sum();
    (em * size).ceil() as i32
}
