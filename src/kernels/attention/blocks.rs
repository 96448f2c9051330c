//! Keys and values of consecutive positions, laid out as the tiles read them.

use super::{super::float::LANES, Heads};

/// Keys, [`LANES`] positions side by side: `[blocks, width, LANES]` over all heads' columns.
#[derive(Debug, Clone)]
pub struct Keys {
    width: usize,
    len: usize,
    blocks: Vec<f32>,
}

impl Keys {
    /// Returns no keys, of rows of `width` columns.
    pub fn new(width: usize) -> Self {
        Self { width, len: 0, blocks: Vec::new() }
    }

    /// Returns no keys of the same width.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.width)
    }

    /// Returns the number of positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes held.
    pub fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<f32>()
    }

    /// Appends rows, `[n, width]`.
    pub fn extend<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]>) {
        for row in rows {
            let lane = self.len % LANES;
            if lane == 0 {
                self.blocks.resize(self.blocks.len() + self.width * LANES, 0.0);
            }
            let at = self.blocks.len() - self.width * LANES;
            for (place, key) in self.blocks[at..].as_chunks_mut::<LANES>().0.iter_mut().zip(row) {
                place[lane] = *key;
            }
            self.len += 1;
        }
    }

    /// Returns `columns` of a block, `[columns, LANES]`.
    pub(super) fn block(&self, block: usize, columns: std::ops::Range<usize>) -> &[f32] {
        let at = block * self.width * LANES;
        &self.blocks[at + columns.start * LANES..at + columns.end * LANES]
    }
}

/// Values, [`LANES`] columns side by side: `[blocks, heads, panels, LANES positions, LANES]`.
///
/// A head's last panel is filled up with zeros.
#[derive(Debug, Clone)]
pub struct Values {
    heads: usize,
    width: usize,
    len: usize,
    blocks: Vec<f32>,
}

/// Elements of one panel of one block.
const PANEL: usize = LANES * LANES;

impl Values {
    /// Returns no values, of rows of `heads.kv` heads.
    pub fn new(heads: Heads) -> Self {
        Self { heads: heads.kv, width: heads.width, len: 0, blocks: Vec::new() }
    }

    /// Returns no values of the same widths.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { len: 0, blocks: Vec::new(), ..*self }
    }

    /// Returns the bytes held.
    pub fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<f32>()
    }

    /// Returns the bytes that one position takes, its share of padding included.
    pub fn position_bytes(heads: Heads) -> usize {
        heads.kv * heads.width.div_ceil(LANES) * LANES * size_of::<f32>()
    }

    fn panels(&self) -> usize {
        self.width.div_ceil(LANES)
    }

    /// Appends rows, each `[heads * width]`.
    pub fn extend<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]>) {
        let block = self.heads * self.panels() * PANEL;
        for row in rows {
            let position = self.len % LANES;
            if position == 0 {
                self.blocks.resize(self.blocks.len() + block, 0.0);
            }
            let at = self.blocks.len() - block;
            let mut panels = self.blocks[at..].chunks_exact_mut(PANEL);
            for head in row.chunks_exact(self.width) {
                for (columns, panel) in head.chunks(LANES).zip(&mut panels) {
                    panel[position * LANES..][..columns.len()].copy_from_slice(columns);
                }
            }
            self.len += 1;
        }
    }

    /// Returns one panel of a head's values in a block, `[LANES positions, LANES]`.
    pub(super) fn panel(&self, block: usize, head: usize, panel: usize) -> &[f32] {
        let panels = self.panels();
        &self.blocks[((block * self.heads + head) * panels + panel) * PANEL..][..PANEL]
    }
}
