//! Int8 weights in the order the tile kernels read them.
//!
//! Rows of the weight (outputs) are taken [`PANEL`] at a time, inputs [`GROUP`] at a time. A panel
//! holds, for each group of inputs, the codes `[32 outputs][4 inputs]`: two lines of 64 bytes,
//! each one step of `vpdpbusd` (AVX-512), two of `sdot`-sized halves (NEON), and so on. Missing
//! rows and inputs are zeros. Packed once at load, unpacked exactly.

use thiserror::Error;

/// Outputs (rows of the weight) in one panel.
pub const PANEL: usize = 32;

/// Inputs (columns of the weight) in one group.
pub const GROUP: usize = 4;

/// Most inputs: more products of -128 x -128 could overflow the `i32` sum.
pub const MAX_INPUTS: usize = i32::MAX as usize / (128 * 128);

/// 16 outputs x 4 inputs: one 512-bit register, aligned to a cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [i8; 64]);

/// An int8 weight `[out, in]`, packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedInt8 {
    outputs: usize,
    inputs: usize,
    /// `[panels][groups][2]`.
    lines: Vec<Line>,
    /// -128 times the sum of each row: what shifting the other operand by 128 adds too much.
    corrections: Vec<[i32; PANEL]>,
}

/// Why codes cannot be packed.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackError {
    /// The number of codes is not `outputs * inputs`.
    #[error("{outputs} x {inputs} weights need that many codes, got {got}")]
    Length {
        /// Rows asked for.
        outputs: usize,
        /// Columns asked for.
        inputs: usize,
        /// Codes given.
        got: usize,
    },
    /// An exact sum might not fit 32 bits.
    #[error("{inputs} inputs are more than the {MAX_INPUTS} whose sum is exact in 32 bits")]
    TooManyInputs {
        /// Columns asked for.
        inputs: usize,
    },
}

impl PackedInt8 {
    /// Packs row-major codes `[outputs, inputs]`; any `i8`, -128 too, is kept as it is.
    ///
    /// # Errors
    ///
    /// [`PackError`] if the length does not fit the shape, or `inputs` exceeds [`MAX_INPUTS`].
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::kernels::int8::PackedInt8;
    ///
    /// let weight = PackedInt8::pack(&[1, -2, 3, 4, 5, -128], 2, 3)?;
    /// assert_eq!(weight.unpack(), [1, -2, 3, 4, 5, -128]);
    /// assert_eq!(weight.code(1, 2), -128);
    /// # Ok::<(), medharness::kernels::int8::PackError>(())
    /// ```
    pub fn pack(codes: &[i8], outputs: usize, inputs: usize) -> Result<Self, PackError> {
        if inputs > MAX_INPUTS {
            return Err(PackError::TooManyInputs { inputs });
        }
        if outputs.checked_mul(inputs) != Some(codes.len()) {
            return Err(PackError::Length { outputs, inputs, got: codes.len() });
        }
        let (panels, groups) = (outputs.div_ceil(PANEL), inputs.div_ceil(GROUP));
        let mut lines = vec![Line([0; 64]); panels * groups * 2];
        let mut corrections = vec![[0_i32; PANEL]; panels];
        for row in 0..outputs {
            let (panel, lane) = (row / PANEL, row % PANEL);
            let (half, at) = (lane / 16, lane % 16 * GROUP);
            let codes = &codes[row * inputs..][..inputs];
            for (group, codes) in codes.chunks(GROUP).enumerate() {
                let line = &mut lines[(panel * groups + group) * 2 + half];
                line.0[at..at + codes.len()].copy_from_slice(codes);
            }
            let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
            corrections[panel][lane] = sum * -128;
        }
        Ok(Self { outputs, inputs, lines, corrections })
    }

    /// Returns the number of rows (outputs).
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the number of columns (inputs).
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Returns the bytes held, padding and row sums included.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.corrections)
    }

    /// Returns one code.
    ///
    /// # Panics
    ///
    /// If `output` or `input` lies outside the weight.
    pub fn code(&self, output: usize, input: usize) -> i8 {
        assert!(output < self.outputs && input < self.inputs, "[{output}, {input}] lies outside");
        let (panel, lane) = (output / PANEL, output % PANEL);
        let line = &self.lines[(panel * self.groups() + input / GROUP) * 2 + lane / 16];
        line.0[lane % 16 * GROUP + input % GROUP]
    }

    /// Returns the codes row-major, `[outputs, inputs]`, as they were packed.
    pub fn unpack(&self) -> Vec<i8> {
        let mut codes = vec![0; self.outputs * self.inputs];
        for (panel, rows) in codes.chunks_mut(PANEL * self.inputs.max(1)).enumerate() {
            for (lane, row) in rows.chunks_mut(self.inputs.max(1)).enumerate() {
                let lines = &self.panel(panel)[lane / 16..];
                for (codes, line) in row.chunks_mut(GROUP).zip(lines.iter().step_by(2)) {
                    codes.copy_from_slice(&line.0[lane % 16 * GROUP..][..codes.len()]);
                }
            }
        }
        codes
    }

    /// Number of panels.
    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// Number of groups of inputs.
    pub(super) fn groups(&self) -> usize {
        self.inputs.div_ceil(GROUP)
    }

    /// The lines of one panel, `[groups][2]`.
    pub(super) fn panel(&self, panel: usize) -> &[Line] {
        let length = self.groups() * 2;
        &self.lines[panel * length..][..length]
    }

    /// -128 times the row sums of one panel.
    pub(super) fn corrections(&self, panel: usize) -> &[i32; PANEL] {
        &self.corrections[panel]
    }
}
