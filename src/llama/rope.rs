//! Rotary positions: wavelengths, their scaling, and the turn of each row of a batch.
//!
//! Half-split layout, as Hugging Face checkpoints are stored: element `i` turns with `i + d/2`.
//! Source: Su et al. 2021, "RoFormer", section 3.4.2; `transformers` 5.23.0, `modeling_rope_utils`,
//! whose single-precision rounding is repeated.

use super::Config;

/// How wavelengths are stretched beyond the context a model was trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All by one factor (position interpolation).
    Linear {
        /// Divides every frequency.
        factor: f64,
    },
    /// Long wavelengths by `factor`, short ones not, a ramp between (LLaMA 3.1).
    Llama3 {
        /// Divides the frequencies of long wavelengths.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are short.
        high_freq_factor: f64,
        /// The context of pre-training, in tokens.
        original_context: usize,
    },
}

/// The rotary frequencies of a network.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Angle per position of each pair of elements, `[d/2]`.
    frequencies: Vec<f32>,
}

impl Rope {
    /// Computes the frequencies for a network.
    pub fn new(config: &Config) -> Self {
        Self { frequencies: frequencies(config) }
    }

    /// Returns the turns of these positions, one per row of a batch.
    pub fn turns(&self, positions: &[usize]) -> Turns {
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in positions {
            for frequency in &self.frequencies {
                let angle = *position as f32 * frequency;
                cos.push(libm::cosf(angle));
                sin.push(libm::sinf(angle));
            }
        }
        Turns { half: self.frequencies.len(), cos, sin }
    }
}

/// Cosines and sines of each row of a batch, `[rows, d/2]` each.
#[derive(Debug)]
pub struct Turns {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Turns {
    /// Turns every head of one row, back if `inverse`.
    ///
    /// `values: [heads * d]`.
    pub(super) fn apply(&self, row: usize, values: &mut [f32], inverse: bool) {
        let table = row * self.half..(row + 1) * self.half;
        let (cos, sin) = (&self.cos[table.clone()], &self.sin[table]);
        for head in values.chunks_exact_mut(2 * self.half) {
            let (low, high) = head.split_at_mut(self.half);
            for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let sin = if inverse { -sin } else { *sin };
                (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
            }
        }
    }
}

/// Returns the angle per position of each pair of elements, `[d/2]`, rounded step by step as the
/// reference does in single precision.
fn frequencies(config: &Config) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "the reference computes in f32")]
    let [theta] = [config.rope_theta as f32];
    let d = config.head_dim as f32;
    (0..config.head_dim)
        .step_by(2)
        .map(|i| scale(1.0 / libm::powf(theta, i as f32 / d), config.rope_scaling))
        .collect()
}

#[expect(clippy::cast_possible_truncation, reason = "the reference computes in f32")]
fn scale(frequency: f32, scaling: Scaling) -> f32 {
    match scaling {
        Scaling::None => frequency,
        Scaling::Linear { factor } => frequency / factor as f32,
        Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            let context = original_context as f64;
            let wavelength = std::f64::consts::TAU as f32 / frequency;
            let factor = factor as f32;
            if wavelength < (context / high_freq_factor) as f32 {
                frequency
            } else if wavelength > (context / low_freq_factor) as f32 {
                frequency / factor
            } else {
                let smooth = (context as f32 / wavelength - low_freq_factor as f32)
                    / (high_freq_factor - low_freq_factor) as f32;
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}
