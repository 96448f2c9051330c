//! Block-wise 8-bit numbers on a dynamic map: the states of 8-bit optimisers.
//!
//! Source: Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization", section 2, and
//! bitsandbytes 0.50.2 (`create_dynamic_map`, `quantize_blockwise` of the default backend).

use std::sync::LazyLock;

/// Elements that share one absmax.
pub const BLOCK: usize = 256;

/// Which of the two dynamic maps: 7 exponents, the finer the larger, and 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Map {
    /// -0.993 to 1: first moments.
    Signed,
    /// 0 to 1: second moments.
    Unsigned,
}

impl Map {
    /// Returns the 256 values, ascending.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::quant::Map;
    ///
    /// assert_eq!(Map::Signed.values()[127], 0.0);
    /// assert_eq!(Map::Unsigned.values()[255], 1.0);
    /// ```
    pub fn values(self) -> &'static [f32; 256] {
        static MAPS: LazyLock<[[f32; 256]; 2]> = LazyLock::new(|| [make(true), make(false)]);
        &MAPS[usize::from(self == Self::Unsigned)]
    }

    /// Returns the code of `x`, within -1 to 1: the number of midpoints below it.
    pub fn code(self, x: f32) -> u8 {
        let values = self.values();
        let midpoint = |code: usize| (values[code] + values[code + 1]) / 2.0;
        let (mut low, mut high) = (0, 255);
        while low < high {
            let middle = usize::midpoint(low, high);
            if midpoint(middle) < x { low = middle + 1 } else { high = middle }
        }
        u8::try_from(low).expect("at most 255 midpoints")
    }
}

/// For exponent e of 0 to 6, the middles of 2^e (unsigned: 2^(e+1)) parts of 0.1 to 1, times
/// 10^(e-6), in the roundings of torch.
fn make(signed: bool) -> [f32; 256] {
    let mut values = vec![0.0_f32, 1.0];
    for exponent in 0..7 {
        let parts = 1 << (exponent + usize::from(!signed));
        let power = [1e-6_f32, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0][exponent];
        let bounds = linspace(parts + 1);
        for pair in bounds.windows(2) {
            let value = power * ((pair[0] + pair[1]) / 2.0);
            values.push(value);
            if signed {
                values.push(-value);
            }
        }
    }
    values.sort_by(f32::total_cmp);
    values.try_into().expect("2 + 127 * 2 = 2 + 254 values")
}

/// `torch.linspace(0.1, 1, count)` in f32: filled from both ends.
fn linspace(count: usize) -> Vec<f32> {
    let step = (1.0 - 0.1_f32) / (count - 1) as f32;
    let value = |at: usize| match at < count / 2 {
        true => step.mul_add(at as f32, 0.1),
        false => (-step).mul_add((count - 1 - at) as f32, 1.0),
    };
    (0..count).map(value).collect()
}

/// Numbers as codes with one absmax a block of [`BLOCK`]; the last block may be shorter.
#[derive(Debug, Clone, PartialEq)]
pub struct Blockwise {
    /// One an element.
    pub codes: Vec<u8>,
    /// One a block.
    pub absmax: Vec<f32>,
}

/// What an absmax is divided by at least, so that a block of zeros has codes.
const LEAST_ABSMAX: f32 = 1e-38;

impl Blockwise {
    /// Returns `len` zeros, as before the first update.
    pub fn zeros(len: usize) -> Self {
        Self { codes: vec![0; len], absmax: vec![0.0; len.div_ceil(BLOCK)] }
    }

    /// Quantises `x` by the midpoint rule: each code is that of the nearest value of the map, ties
    /// to the lower one.
    ///
    /// The error of an element is at most half the gap of the map at that place times the absmax of
    /// its block, so at most 0.0036 (signed) or 0.0018 (unsigned) times the absmax within the map's
    /// range; below -0.993 on the signed map 0.0071.
    ///
    /// bitsandbytes' own CPU library rounds through a table of 65,536 places instead, which moves
    /// small numbers; CUDA and the default backend follow this rule.
    pub fn quantize(x: &[f32], map: Map) -> Self {
        let mut codes = Vec::with_capacity(x.len());
        let mut absmax = Vec::with_capacity(x.len().div_ceil(BLOCK));
        for block in x.chunks(BLOCK) {
            let largest = block.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            let divisor = largest.max(LEAST_ABSMAX);
            // torch multiplies whole blocks by the reciprocal and divides the last, shorter one.
            let whole = block.len() == BLOCK;
            absmax.push(if whole { largest } else { divisor });
            let reciprocal = 1.0 / divisor;
            let scale = |x: f32| if whole { x * reciprocal } else { x / divisor };
            codes.extend(block.iter().map(|&x| map.code(scale(x).clamp(-1.0, 1.0))));
        }
        Self { codes, absmax }
    }

    /// Returns the numbers in f32.
    pub fn dequantize(&self, map: Map) -> Vec<f32> {
        let values = map.values();
        let blocks = self.codes.chunks(BLOCK).zip(&self.absmax);
        blocks
            .flat_map(|(codes, absmax)| codes.iter().map(move |&c| values[usize::from(c)] * absmax))
            .collect()
    }
}
