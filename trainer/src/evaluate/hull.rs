//! The non-decreasing concave hull of points on the cost-score plane.
//!
//! Every point under it can be reached by drawing, query by query, between two points on it
//! (RouterBench, arXiv 2403.12031, section 3). Found by a monotone chain in O(n log n).

/// Positions of the hull's vertices among `points` (cost, score), cost and score strictly rising.
///
/// Points with a coordinate that is not finite are left out. Of equal points the first is kept.
pub fn upper_hull(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..points.len()).filter(|&i| points[i].0.is_finite() && points[i].1.is_finite()).collect();
    order.sort_by(|&a, &b| points[a].0.total_cmp(&points[b].0).then(points[b].1.total_cmp(&points[a].1)));
    let mut hull: Vec<usize> = Vec::new();
    for i in order {
        let (x, y) = points[i];
        if hull.last().is_some_and(|&last| y <= points[last].1) {
            continue;
        }
        while let [.., a, b] = hull[..] {
            let ((ax, ay), (bx, by)) = (points[a], points[b]);
            // b stays only when it lies above the segment from a to the new point.
            if (by - ay) * (x - ax) > (y - ay) * (bx - ax) {
                break;
            }
            hull.pop();
        }
        hull.push(i);
    }
    hull
}

/// Height at `cost` of a line through `vertices` (cost, score; cost not falling), flat beyond both ends.
///
/// `None` when there is no vertex.
pub fn height_at(vertices: &[(f64, f64)], cost: f64) -> Option<f64> {
    let (first, last) = (vertices.first()?, vertices.last()?);
    if cost <= first.0 {
        return Some(first.1);
    }
    let after = vertices.partition_point(|v| v.0 <= cost);
    let (Some(&(ax, ay)), Some(&(bx, by))) = (vertices.get(after.wrapping_sub(1)), vertices.get(after))
    else {
        return Some(last.1);
    };
    Some(ay + (by - ay) * (cost - ax) / (bx - ax))
}

/// Area under the line of [`height_at`] between two costs; 0 when there is no vertex.
pub(super) fn area(vertices: &[(f64, f64)], from: f64, to: f64) -> f64 {
    let inner = vertices.iter().map(|v| v.0).filter(|x| *x > from && *x < to);
    let xs: Vec<f64> = std::iter::once(from).chain(inner).chain(std::iter::once(to)).collect();
    let height = |x| height_at(vertices, x).unwrap_or(0.0);
    xs.windows(2).map(|x| (x[1] - x[0]) * (height(x[0]) + height(x[1])) / 2.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::near;

    #[test]
    fn the_hull_rises_and_bends_down() {
        let points = [
            (4.0, 0.7),
            (1.0, 0.2),
            (3.0, 0.5), // dearer and worse than (2, 0.6)
            (2.0, 0.6),
            (2.5, 0.64), // 0.625 on the segment from (2, 0.6) to (4, 0.7)
            (2.0, 0.1),
            (3.0, 0.66), // on the segment from (2.5, 0.64) to (4, 0.7)
            (f64::NAN, 1.0),
        ];
        let hull: Vec<(f64, f64)> = upper_hull(&points).into_iter().map(|i| points[i]).collect();
        assert_eq!(hull[..2], [(1.0, 0.2), (2.0, 0.6)]);
        assert_eq!(*hull.last().unwrap(), (4.0, 0.7));
        assert!(hull.contains(&(2.5, 0.64)), "{hull:?}");
        assert!(near(height_at(&hull, 3.0).unwrap(), 0.66));
        assert_eq!(height_at(&hull, 0.0), Some(0.2));
        assert_eq!(height_at(&hull, 9.0), Some(0.7));
        // 1 * 0.4 + 0.5 * 0.62 + 1.5 * 0.67 + 1 * 0.7
        assert!(near(area(&hull, 1.0, 5.0), 2.415), "{}", area(&hull, 1.0, 5.0));
    }

    #[test]
    fn one_point_and_none() {
        assert_eq!(upper_hull(&[]), Vec::<usize>::new());
        assert_eq!(upper_hull(&[(1.0, 1.0), (1.0, 1.0)]), [0]);
        assert_eq!(height_at(&[], 1.0), None);
    }
}
