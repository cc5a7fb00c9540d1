//! A symmetric matrix in half its space, with the three operations a linear bandit does in its inner loop.
//!
//! Columns are cut into blocks of [`LANES`]; of block `b` the rows from `LANES b` on are stored, each a line
//! of `LANES` numbers. So the block on the diagonal is whole, what lies below it is stored once, and every
//! loop streams through memory a line at a time. Rows beyond the size of the matrix are zero.

/// Columns a block.
const LANES: usize = 16;

type Line = [f32; LANES];

/// A symmetric matrix of shape `(dim, dim)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    dim: usize,
    n_blocks: usize,
    lines: Vec<Line>,
}

/// `x` padded with zeros to whole lines, and room for a product.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Padded(Vec<Line>);

impl Padded {
    /// Takes the values of a vector.
    pub(super) fn fill(&mut self, values: &[f32]) {
        self.0.clear();
        self.0.resize(values.len().div_ceil(LANES), [0.0; LANES]);
        self.0.as_flattened_mut()[..values.len()].copy_from_slice(values);
    }

    pub(super) fn values(&self) -> &[f32] {
        self.0.as_flattened()
    }

    /// Adds a multiple of another vector of the same size.
    pub(super) fn add_scaled(&mut self, factor: f32, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, line)| add_scaled(sum, factor, line));
    }
}

#[inline(always)]
fn add_scaled(sum: &mut Line, factor: f32, line: &Line) {
    sum.iter_mut().zip(line).for_each(|(sum, value)| *sum += factor * value);
}

#[inline(always)]
fn dot(a: &Line, b: &Line) -> f32 {
    let mut products = [0.0_f32; LANES];
    products.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = a * b);
    // Halves are added lane by lane: a fixed order the compiler can keep in registers.
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            products[lane] += products[lane + width];
        }
        width /= 2;
    }
    products[0]
}

/// Sum over `rows` of `x_i * line_i`, in four independent chains.
#[inline(always)]
fn weighted_lines(x: &[f32], lines: &[Line]) -> Line {
    let mut sums = [[0.0_f32; LANES]; 4];
    let (x4, lines4) = (x.chunks_exact(4), lines.chunks_exact(4));
    let (x_rest, lines_rest) = (x4.remainder(), lines4.remainder());
    for (x, lines) in x4.zip(lines4) {
        for chain in 0..4 {
            add_scaled(&mut sums[chain], x[chain], &lines[chain]);
        }
    }
    for (x, line) in x_rest.iter().zip(lines_rest) {
        add_scaled(&mut sums[0], *x, line);
    }
    let [mut total, b, c, d] = sums;
    for lane in 0..LANES {
        total[lane] += b[lane] + (c[lane] + d[lane]);
    }
    total
}

impl Packed {
    /// The matrix with `value` on its diagonal.
    pub fn diagonal(dim: usize, value: f32) -> Self {
        let n_blocks = dim.div_ceil(LANES);
        let n_lines = LANES * n_blocks * (n_blocks + 1) / 2;
        let mut out = Self { dim, n_blocks, lines: vec![[0.0; LANES]; n_lines] };
        (0..dim).for_each(|i| out.set(i, i, value));
        out
    }

    /// From the function of its entries, asked for with `row >= column`.
    pub fn from_fn(dim: usize, entry: impl Fn(usize, usize) -> f32) -> Self {
        let mut out = Self::diagonal(dim, 0.0);
        for row in 0..dim {
            for column in 0..=row {
                out.set(row, column, entry(row, column));
            }
        }
        out
    }

    /// Number of rows.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// First line of a block.
    fn start(&self, block: usize) -> usize {
        LANES * (block * self.n_blocks - block * block.saturating_sub(1) / 2)
    }

    fn set(&mut self, row: usize, column: usize, value: f32) {
        let (row, column) = (row.max(column), row.min(column));
        let block = column / LANES;
        let line = self.start(block) + row - block * LANES;
        self.lines[line][column % LANES] = value;
        if row / LANES == block {
            let mirror = self.start(block) + column - block * LANES;
            self.lines[mirror][row % LANES] = value;
        }
    }

    /// The entry at `(row, column)`.
    pub fn get(&self, row: usize, column: usize) -> f32 {
        let (row, column) = (row.max(column), row.min(column));
        let block = column / LANES;
        self.lines[self.start(block) + row - block * LANES][column % LANES]
    }

    /// The blocks: their number and their lines.
    #[inline(always)]
    fn blocks(&self) -> impl Iterator<Item = (usize, &[Line])> {
        let mut rest = self.lines.as_slice();
        (0..self.n_blocks).map(move |block| {
            let (lines, after) = rest.split_at(LANES * (self.n_blocks - block));
            rest = after;
            (block, lines)
        })
    }

    /// `x' M x`, of a padded `x`.
    #[inline(always)]
    pub(super) fn quadratic(&self, x: &Padded) -> f32 {
        let values = x.values();
        let mut total = 0.0;
        for (block, lines) in self.blocks() {
            let rows = &values[block * LANES..];
            let mut sum = weighted_lines(&rows[LANES..], &lines[LANES..]);
            sum.iter_mut().for_each(|value| *value *= 2.0);
            let own = weighted_lines(&rows[..LANES], &lines[..LANES]);
            sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            total += dot(&sum, &x.0[block]);
        }
        total
    }

    /// `out = M x`, both padded.
    #[inline(always)]
    pub(super) fn product(&self, x: &Padded, out: &mut Padded) {
        out.0.clear();
        out.0.resize(self.n_blocks, [0.0; LANES]);
        let values = x.values();
        for (block, lines) in self.blocks() {
            let sum = weighted_lines(&values[block * LANES..], lines);
            add_scaled(&mut out.0[block], 1.0, &sum);
            let below = &mut out.0[block + 1..].as_flattened_mut();
            below.iter_mut().zip(&lines[LANES..]).for_each(|(out, line)| *out += dot(line, &x.0[block]));
        }
    }

    /// `M += factor * y y'`, of a padded `y`.
    #[inline(always)]
    pub(super) fn add_outer(&mut self, factor: f32, y: &Padded) {
        let values = y.values();
        let mut start = 0;
        for block in 0..self.n_blocks {
            let n_lines = LANES * (self.n_blocks - block);
            let lines = &mut self.lines[start..start + n_lines];
            let mut scaled = y.0[block];
            scaled.iter_mut().for_each(|value| *value *= factor);
            for (line, value) in lines.iter_mut().zip(&values[block * LANES..]) {
                add_scaled(line, *value, &scaled);
            }
            start += n_lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::rng;

    fn naive(m: &Packed, x: &[f32]) -> Vec<f64> {
        let row = |i| (0..m.dim()).map(|j| f64::from(m.get(i, j)) * f64::from(x[j])).sum();
        (0..m.dim()).map(row).collect()
    }

    #[test]
    fn every_operation_agrees_with_the_plain_loops() {
        let mut rng = rng::stream(1, "packed");
        for dim in [1, 2, 15, 16, 17, 32, 33, 50] {
            let entries: Vec<f32> = (0..dim * dim).map(|_| rng.random::<f32>() - 0.5).collect();
            let mut m = Packed::from_fn(dim, |i, j| entries[i * dim + j]);
            assert!((0..dim * dim).all(|at| m.get(at / dim, at % dim) == m.get(at % dim, at / dim)));
            let x: Vec<f32> = (0..dim).map(|_| rng.random::<f32>() - 0.5).collect();
            let (mut padded, mut out) = (Padded::default(), Padded::default());
            padded.fill(&x);
            m.product(&padded, &mut out);
            let expected = naive(&m, &x);
            for (found, expected) in out.values().iter().zip(&expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "product of {dim}");
            }
            let quadratic: f64 = expected.iter().zip(&x).map(|(m, x)| m * f64::from(*x)).sum();
            assert!((f64::from(m.quadratic(&padded)) - quadratic).abs() < 1e-5, "quadratic of {dim}");
            let before = m.clone();
            m.add_outer(-0.5, &padded);
            for i in 0..dim {
                for j in 0..dim {
                    let expected = before.get(i, j) - 0.5 * x[i] * x[j];
                    assert!((m.get(i, j) - expected).abs() < 1e-6, "outer product of {dim}");
                }
            }
            // What pads the last block stays zero.
            assert!(m.lines.iter().flatten().filter(|value| **value != 0.0).count() <= dim * (dim + 31));
        }
    }
}
