//! The forward pass: a few queries at a time over all keys they see.

use super::{
    super::float::{Kernels, LANES, TILE_ROWS},
    Heads, Keys, Values,
};

/// Consecutive positions of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Keys of all heads.
    pub keys: &'a Keys,
    /// Values of all heads.
    pub values: &'a Values,
    /// How many of their positions belong to the sequence, from the first.
    pub len: usize,
}

/// Memory for one thread's work; its contents mean nothing between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    weights: Vec<f32>,
}

/// Queries that are computed together: one tile's rows.
struct Chunk<'a> {
    head: usize,
    heads: Heads,
    parts: &'a [Part<'a>],
    /// How many positions each query sees; does not fall.
    visible: &'a [usize],
}

/// Attends from consecutive rows of queries; row `i` sees the first `first_visible + i` positions.
///
/// `queries`, `out`: `[n, query heads * width]`; `log_sums: [n, query heads]` receives the natural
/// logarithm of each softmax's denominator. `out = Σ_j softmax(q·k / sqrt(width))_j · v_j`.
///
/// # Panics
///
/// If a row sees no position or more than the parts hold, or the lengths disagree.
pub fn attend(
    heads: Heads,
    queries: &[f32],
    first_visible: usize,
    parts: &[Part<'_>],
    scratch: &mut Scratch,
    out: &mut [f32],
    log_sums: &mut [f32],
) {
    let rows = queries.len() / heads.query_width();
    let positions: usize = parts.iter().map(|part| part.len).sum();
    assert!(first_visible > 0 && first_visible + rows <= positions + 1, "attend: positions seen");
    let group = heads.group();
    for head in 0..heads.kv {
        let mut done = 0;
        while done < rows * group {
            let left = rows * group - done;
            let height = TILE_ROWS.into_iter().find(|rows| *rows <= left).expect("a tile of one");
            // Row and query head of each query of the chunk, rows first.
            let mut places = [(0, 0); TILE_ROWS[0]];
            let mut visible = [0; TILE_ROWS[0]];
            for (index, place) in places[..height].iter_mut().enumerate() {
                *place = ((done + index) / group, head * group + (done + index) % group);
                visible[index] = first_visible + place.0;
            }
            let (places, visible) = (&places[..height], &visible[..height]);
            let chunk = Chunk { head, heads, parts, visible };
            scratch.queries.clear();
            for column in 0..heads.width {
                scratch.queries.extend(places.iter().map(|(row, head)| {
                    queries[row * heads.query_width() + head * heads.width + column]
                }));
            }
            chunk.score(&scratch.queries, &mut scratch.scores);
            let stride = scratch.scores.len() / height;
            let mut inverse = [0.0; TILE_ROWS[0]];
            for (index, (row, head)) in places.iter().enumerate() {
                let scores = &mut scratch.scores[index * stride..][..visible[index]];
                let (highest, sum) = Kernels::get().softmax(scores);
                log_sums[row * heads.query + head] = highest + libm::logf(sum);
                inverse[index] = 1.0 / sum;
            }
            chunk.mix(&scratch.scores, &mut scratch.weights, &mut |index, panel, values| {
                let (row, head) = places[index];
                let out = &mut out[row * heads.query_width()..][heads.columns(head)];
                let columns = panel * LANES..out.len().min((panel + 1) * LANES);
                for (out, value) in out[columns].iter_mut().zip(values) {
                    *out = value * inverse[index];
                }
            });
            done += height;
        }
    }
}

impl Chunk<'_> {
    /// Writes the scaled scores, `[queries, positions]`, for packed queries `[width, queries]`.
    fn score(&self, queries: &[f32], scores: &mut Vec<f32>) {
        let height = self.visible.len();
        let seen = self.visible[height - 1];
        scores.clear();
        scores.resize(height * seen, 0.0);
        let (kernels, scale) = (Kernels::get(), self.heads.scale());
        for block in self.blocks() {
            let mut tile = [[0.0; LANES]; TILE_ROWS[0]];
            let keys = block.part.keys.block(block.index, self.heads.columns(self.head));
            kernels.tile(height, queries, keys, &mut tile[..height]);
            for (tile, scores) in tile.iter().zip(scores.chunks_exact_mut(seen)) {
                let scores = &mut scores[block.from..block.from + block.len];
                scores.iter_mut().zip(tile).for_each(|(score, sum)| *score = sum * scale);
            }
        }
    }

    /// Sums the values by their weights, `[queries, positions]`, and gives each query's panels.
    fn mix(
        &self,
        weights: &[f32],
        packed: &mut Vec<f32>,
        done: &mut impl FnMut(usize, usize, &[f32; LANES]),
    ) {
        let (height, common) = (self.visible.len(), self.visible[0]);
        let seen = self.visible[height - 1];
        packed.clear();
        for position in 0..common {
            packed.extend((0..height).map(|index| weights[index * seen + position]));
        }
        let kernels = Kernels::get();
        for panel in 0..self.heads.width.div_ceil(LANES) {
            let mut sums = [[0.0; LANES]; TILE_ROWS[0]];
            for block in self.blocks() {
                let values = block.part.values.panel(block.index, self.head, panel);
                let shared = common.clamp(block.from, block.from + block.len) - block.from;
                if shared > 0 {
                    let weights = &packed[block.from * height..][..shared * height];
                    let values = &values[..shared * LANES];
                    kernels.tile(height, weights, values, &mut sums[..height]);
                }
                // Positions that only the later queries see.
                for (index, sum) in sums[..height].iter_mut().enumerate() {
                    let end = self.visible[index].clamp(block.from, block.from + block.len);
                    let own = shared..end - block.from;
                    if !own.is_empty() {
                        let at = index * seen + block.from;
                        let weights = &weights[at + own.start..at + own.end];
                        let values = &values[own.start * LANES..own.end * LANES];
                        kernels.tile(1, weights, values, std::slice::from_mut(sum));
                    }
                }
            }
            for (index, sums) in sums[..height].iter().enumerate() {
                done(index, panel, sums);
            }
        }
    }

    /// Returns the blocks of the positions that the last query sees.
    fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        let seen = self.visible[self.visible.len() - 1];
        let mut before = 0;
        self.parts
            .iter()
            .flat_map(move |part| {
                let from = before;
                before += part.len;
                (0..part.len.div_ceil(LANES)).map(move |index| Block {
                    part,
                    index,
                    from: from + index * LANES,
                    len: (part.len - index * LANES).min(LANES),
                })
            })
            .take_while(move |block| block.from < seen)
            .map(move |block| Block { len: block.len.min(seen - block.from), ..block })
    }
}

/// Up to [`LANES`] positions of a part.
struct Block<'a> {
    part: &'a Part<'a>,
    /// Which of the part's blocks.
    index: usize,
    /// Its first position in the sequence.
    from: usize,
    /// Its positions.
    len: usize,
}
