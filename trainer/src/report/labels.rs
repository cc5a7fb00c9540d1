//! Places labels beside their points so that none covers another.
//!
//! Greedy, in the order given: of eight directions at growing distances, the first place with the least
//! overlap is taken. A label that fits nowhere is left out rather than drawn over another.

use super::draw::Pixel;

/// Distances from the point at which a label is tried, pixels.
const DISTANCES: [i32; 6] = [8, 14, 24, 38, 56, 78];
/// Distance from which on the label is joined to its point by a line.
pub(super) const LEADER_FROM: i32 = 24;

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) right: i32,
    pub(super) bottom: i32,
}

impl Rect {
    /// The square around a point.
    pub(super) fn around((x, y): Pixel, half: i32) -> Self {
        Self { left: x - half, top: y - half, right: x + half, bottom: y + half }
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn is_within(&self, frame: &Self) -> bool {
        self.left >= frame.left
            && self.right <= frame.right
            && self.top >= frame.top
            && self.bottom <= frame.bottom
    }

    /// The point of the rectangle nearest to `(x, y)`.
    pub(super) fn nearest(&self, (x, y): Pixel) -> Pixel {
        (x.clamp(self.left, self.right), y.clamp(self.top, self.bottom))
    }
}

/// Where the label of `point` (of the given width and height) goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its rectangle.
    pub(super) rect: Rect,
    /// Whether it is so far off that a line should join it to its point.
    pub(super) leader: bool,
}

/// Places one label a point: inside `frame`, off `dots` and earlier labels, and off `strokes` (pixels of
/// lines) as far as possible. `None` where there is no room.
pub(super) fn place(
    points: &[(Pixel, (i32, i32))],
    frame: &Rect,
    dots: &[Pixel],
    strokes: &[Pixel],
) -> Vec<Option<Placed>> {
    let dots: Vec<Rect> = dots.iter().map(|&dot| Rect::around(dot, 5)).collect();
    let mut taken: Vec<Rect> = Vec::new();
    let mut placed = Vec::with_capacity(points.len());
    for &(point, size) in points {
        let free = |rect: &Rect| {
            rect.is_within(frame) && !dots.iter().chain(&taken).any(|other| rect.overlaps(other))
        };
        let crossed = |rect: &Rect| {
            strokes.iter().filter(|&&stroke| Rect::around(stroke, 1).overlaps(rect)).count() as i32
        };
        // A crossing costs as much as being a few pixels further off.
        let best = candidates(point, size)
            .filter(|(rect, _)| free(rect))
            .min_by_key(|(rect, distance)| crossed(rect) * 3 + distance);
        let best = best.map(|(rect, distance)| Placed { rect, leader: distance >= LEADER_FROM });
        taken.extend(best.map(|b| b.rect));
        placed.push(best);
    }
    placed
}

fn candidates((x, y): Pixel, (width, height): (i32, i32)) -> impl Iterator<Item = (Rect, i32)> {
    DISTANCES.into_iter().flat_map(move |d| {
        let diagonal = d * 7 / 10;
        let corners = [
            (x + d, y - height / 2),
            (x - d - width, y - height / 2),
            (x - width / 2, y - d - height),
            (x - width / 2, y + d),
            (x + diagonal, y - diagonal - height),
            (x + diagonal, y + diagonal),
            (x - diagonal - width, y - diagonal - height),
            (x - diagonal - width, y + diagonal),
        ];
        let rect = move |(left, top): Pixel| Rect { left, top, right: left + width, bottom: top + height };
        corners.into_iter().map(move |corner| (rect(corner), d))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crowded_labels_do_not_overlap_and_stay_inside() {
        let frame = Rect { left: 0, top: 0, right: 600, bottom: 400 };
        let points: Vec<(Pixel, (i32, i32))> =
            (0..12).map(|i| ((280 + i * 5, 200 + (i % 3) * 4), (120, 14))).collect();
        let dots: Vec<Pixel> = points.iter().map(|p| p.0).collect();
        let placed: Vec<Rect> =
            place(&points, &frame, &dots, &[]).into_iter().flatten().map(|p| p.rect).collect();
        assert!(placed.len() >= 10, "{}", placed.len());
        for (i, a) in placed.iter().enumerate() {
            assert!(a.is_within(&frame));
            assert!(placed[i + 1..].iter().all(|b| !a.overlaps(b)), "{placed:?}");
            assert!(dots.iter().all(|d| !a.overlaps(&Rect::around(*d, 4))), "{placed:?}");
        }
    }

    #[test]
    fn a_label_without_room_is_left_out() {
        let frame = Rect { left: 0, top: 0, right: 50, bottom: 50 };
        assert_eq!(place(&[((25, 25), (100, 14))], &frame, &[(25, 25)], &[]), [None]);
    }
}
