//! The backward pass of one key and value head: 32 queries by 32 positions at a time.

use std::ops::Range;

use super::{
    super::float::{Kernels, LANES},
    Heads, Keys, Values,
};

/// Queries by positions of one step.
type Square = [[f32; LANES]; LANES];

/// Rows of a tile; [`LANES`] is a multiple.
const HEIGHT: usize = 8;

/// What the forward pass read and wrote, rows of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// Queries, `[t, query heads * width]`.
    pub queries: &'a [f32],
    /// Keys, `[t, kv heads * width]`.
    pub keys: &'a [f32],
    /// Values, as the keys.
    pub values: &'a [f32],
    /// The result, as the queries.
    pub out: &'a [f32],
    /// Gradient of the result.
    pub grad: &'a [f32],
    /// Logarithms of the softmaxes' denominators, `[t, query heads]`.
    pub log_sums: &'a [f32],
}

/// Gradients of one key and value head.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// Of the queries of its group, `[t, group * width]`.
    pub queries: Vec<f32>,
    /// Of the keys, `[t, width]`.
    pub keys: Vec<f32>,
    /// Of the values, `[t, width]`.
    pub values: Vec<f32>,
}

/// Sums `[panels, 32-blocks of rows, 32, 32]`, as tiles add to them.
struct Panels {
    rows: usize,
    sums: Vec<[f32; LANES]>,
}

impl Panels {
    fn new(rows: usize, width: usize) -> Self {
        let rows = rows.next_multiple_of(LANES);
        Self { rows, sums: vec![[0.0; LANES]; width.div_ceil(LANES) * rows] }
    }

    fn tile(&mut self, panel: usize, row: usize) -> &mut [[f32; LANES]] {
        &mut self.sums[panel * self.rows + row..][..HEIGHT]
    }

    /// Returns the first `rows` rows, `[rows, width]`.
    fn into_rows(self, rows: usize, width: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(rows * width);
        for row in 0..rows {
            for (panel, from) in (0..width).step_by(LANES).enumerate() {
                let columns = &self.sums[panel * self.rows + row];
                out.extend_from_slice(&columns[..LANES.min(width - from)]);
            }
        }
        out
    }
}

/// One key and value head of one sequence, in the layouts that the tiles read.
struct Head {
    keys: Keys,
    key_panels: Values,
    value_columns: Keys,
}

/// 32 queries in the layouts that the tiles read; those beyond the last are zeros.
struct Queries {
    /// `[4 chunks, width, 8]`.
    columns: Vec<f32>,
    /// `[panels, 32, 32]`.
    panels: Vec<f32>,
}

impl Queries {
    fn new<'a>(rows: impl Iterator<Item = &'a [f32]>, width: usize) -> Self {
        let mut columns = vec![0.0; LANES * width];
        let mut panels = vec![0.0; width.div_ceil(LANES) * LANES * LANES];
        for (index, row) in rows.enumerate() {
            for (column, x) in row.iter().enumerate() {
                columns[((index / HEIGHT) * width + column) * HEIGHT + index % HEIGHT] = *x;
                panels[((column / LANES) * LANES + index) * LANES + column % LANES] = *x;
            }
        }
        Self { columns, panels }
    }

    fn panel(&self, panel: usize) -> &[f32] {
        &self.panels[panel * LANES * LANES..][..LANES * LANES]
    }
}

/// Returns the gradients of one key and value head of a causal sequence.
///
/// With p the softmax, g the gradient and o the result: `ds_j = p_j (g·v_j − g·o) / sqrt(width)`.
/// Sums run over queries, and over positions, in their order.
///
/// # Panics
///
/// If the lengths disagree.
pub fn attend_backward(heads: Heads, kv_head: usize, saved: &Saved<'_>) -> Gradients {
    let (width, group) = (heads.width, heads.group());
    let rows = saved.keys.len() / heads.kv_width();
    let head = Head::new(heads, kv_head, saved);
    let mut grads =
        (Panels::new(rows * group, width), Panels::new(rows, width), Panels::new(rows, width));
    for first in (0..rows * group).step_by(LANES) {
        let places: Vec<(usize, usize)> = (first..(first + LANES).min(rows * group))
            .map(|query| (query / group, kv_head * group + query % group))
            .collect();
        head.step(heads, saved, first, &places, &mut grads);
    }
    Gradients {
        queries: grads.0.into_rows(rows * group, width),
        keys: grads.1.into_rows(rows, width),
        values: grads.2.into_rows(rows, width),
    }
}

impl Head {
    fn new(heads: Heads, kv_head: usize, saved: &Saved<'_>) -> Self {
        let own = |from: &'_ [f32], place: Range<usize>| -> Vec<f32> {
            from.chunks_exact(heads.kv_width())
                .flat_map(|row| &row[place.clone()])
                .copied()
                .collect()
        };
        let keys = own(saved.keys, heads.columns(kv_head));
        let values = own(saved.values, heads.columns(kv_head));
        let single = Heads { query: 1, kv: 1, width: heads.width };
        let mut head = Self {
            keys: Keys::new(heads.width),
            key_panels: Values::new(single),
            value_columns: Keys::new(heads.width),
        };
        head.keys.extend(keys.chunks_exact(heads.width));
        head.key_panels.extend(keys.chunks_exact(heads.width));
        head.value_columns.extend(values.chunks_exact(heads.width));
        head
    }

    /// Adds what up to 32 queries contribute.
    fn step(
        &self,
        heads: Heads,
        saved: &Saved<'_>,
        first: usize,
        places: &[(usize, usize)],
        (grad_queries, grad_keys, grad_values): &mut (Panels, Panels, Panels),
    ) {
        let (kernels, width, scale) = (Kernels::get(), heads.width, heads.scale());
        let of = |from: &'_ [f32], (row, head): (usize, usize)| -> Range<usize> {
            debug_assert_eq!(from.len(), saved.queries.len(), "as the queries");
            let at = row * heads.query_width();
            at + head * width..at + (head + 1) * width
        };
        let rows = |from| places.iter().map(move |place| (from, *place));
        let queries = Queries::new(rows(saved.queries).map(|(x, at)| &x[of(x, at)]), width);
        let grads = Queries::new(rows(saved.grad).map(|(x, at)| &x[of(x, at)]), width);
        let mut shifts = [f32::INFINITY; LANES];
        let mut means = [0.0; LANES];
        for (index, place) in places.iter().enumerate() {
            shifts[index] = saved.log_sums[place.0 * heads.query + place.1];
            let (out, grad) =
                (&saved.out[of(saved.out, *place)], &saved.grad[of(saved.grad, *place)]);
            means[index] = out.iter().zip(grad).map(|(out, grad)| out * grad).sum();
        }
        let seen = places[places.len() - 1].0 + 1;
        let packed = [[0.0; LANES * LANES]; 3];
        for block in 0..seen.div_ceil(LANES) {
            let from = block * LANES;
            let mut weights = product(&queries.columns, self.keys.block(block, 0..width), width);
            let mut inner =
                product(&grads.columns, self.value_columns.block(block, 0..width), width);
            for (index, (weights, inner)) in weights.iter_mut().zip(&mut inner).enumerate() {
                let visible = places.get(index).map_or(0, |(row, _)| row + 1);
                let visible = visible.saturating_sub(from).min(LANES);
                kernels.exp_scaled(weights, scale, shifts[index]);
                weights[visible..].fill(0.0);
                for (inner, weight) in inner.iter_mut().zip(&*weights) {
                    *inner = weight * (*inner - means[index]) * scale;
                }
                inner[visible..].fill(0.0);
            }
            let positions = seen.min(from + LANES) - from;
            let [mut weights_by_query, mut inner_by_query, mut inner_by_position] = packed;
            pack_columns(&weights, &mut weights_by_query);
            pack_columns(&inner, &mut inner_by_query);
            pack_rows(&inner, &mut inner_by_position);
            for panel in 0..width.div_ceil(LANES) {
                let (query, grad) = (queries.panel(panel), grads.panel(panel));
                add(&weights_by_query, grad, positions, grad_values, panel, from);
                add(&inner_by_query, query, positions, grad_keys, panel, from);
                let keys = self.key_panels.panel(block, 0, panel);
                add(&inner_by_position, keys, places.len(), grad_queries, panel, first);
            }
        }
    }
}

/// Returns `x · wᵀ` for `x` in chunks of columns and a block of keys.
fn product(x: &[f32], w: &[f32], width: usize) -> Square {
    let mut sums = [[0.0; LANES]; LANES];
    for (x, sums) in x.chunks_exact(width * HEIGHT).zip(sums.chunks_exact_mut(HEIGHT)) {
        Kernels::get().tile(HEIGHT, x, w, sums);
    }
    sums
}

/// Lays the columns of a square out as rows of tiles: `[4 chunks of columns, 32 rows, 8]`.
fn pack_columns(square: &Square, packed: &mut [f32; LANES * LANES]) {
    for (row, values) in square.iter().enumerate() {
        for (chunk, values) in values.chunks_exact(HEIGHT).enumerate() {
            packed[(chunk * LANES + row) * HEIGHT..][..HEIGHT].copy_from_slice(values);
        }
    }
}

/// Lays the rows of a square out as rows of tiles: `[4 chunks of rows, 32 columns, 8]`.
fn pack_rows(square: &Square, packed: &mut [f32; LANES * LANES]) {
    for (row, values) in square.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            packed[((row / HEIGHT) * LANES + column) * HEIGHT + row % HEIGHT] = *value;
        }
    }
}

/// Adds packed rows times a panel to the sums of the first `rows` rows from `first` on.
fn add(
    packed: &[f32; LANES * LANES],
    panel: &[f32],
    rows: usize,
    to: &mut Panels,
    index: usize,
    first: usize,
) {
    for (chunk, x) in packed.chunks_exact(LANES * HEIGHT).enumerate().take(rows.div_ceil(HEIGHT)) {
        Kernels::get().tile(HEIGHT, x, panel, to.tile(index, first + chunk * HEIGHT));
    }
}
