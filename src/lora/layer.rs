//! The plain definition of one adapted layer, in f32: what [`super::Branch`] is checked against.

/// The two matrices of one module and their scaling.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// A, `[rank, inputs]`.
    pub a: Vec<f32>,
    /// B, `[outputs, rank]`.
    pub b: Vec<f32>,
    /// Rank.
    pub rank: usize,
    /// s, which multiplies B(A(x)).
    pub scaling: f64,
    /// DoRA's magnitude of each output, `[outputs]`.
    pub magnitude: Option<Vec<f32>>,
}

/// Gradients of one adapted layer; the base layer's own gradient of `x` is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// Of A, `[rank, inputs]`.
    pub a: Vec<f32>,
    /// Of B, `[outputs, rank]`.
    pub b: Vec<f32>,
    /// Of `x` through the adapter, `[t, inputs]`.
    pub x: Vec<f32>,
}

impl LowRank {
    /// Returns the layer's inputs.
    pub fn inputs(&self) -> usize {
        self.a.len() / self.rank
    }

    /// Returns the layer's outputs.
    pub fn outputs(&self) -> usize {
        self.b.len() / self.rank
    }

    /// Adds s · B(A(x)) to `y`, the base layer's result. Magnitudes are left aside.
    ///
    /// `x: [t, inputs]` after dropout, `y: [t, outputs]`. Sums in f32, in order; s multiplies last.
    ///
    /// # Panics
    ///
    /// If the lengths disagree.
    pub fn add_to(&self, x: &[f32], y: &mut [f32]) {
        let low = times_transposed(x, &self.a, self.inputs());
        let delta = times_transposed(&low, &self.b, self.rank);
        assert_eq!(delta.len(), y.len(), "[t, outputs]");
        let scaling = self.factor();
        y.iter_mut().zip(delta).for_each(|(y, delta)| *y += delta * scaling);
    }

    /// Returns the gradients for `x: [t, inputs]` and `g: [t, outputs]`, the gradient of `y`.
    ///
    /// # Panics
    ///
    /// If the lengths disagree.
    pub fn backward(&self, x: &[f32], g: &[f32]) -> Gradients {
        let scaling = self.factor();
        let g: Vec<f32> = g.iter().map(|g| g * scaling).collect();
        let low = times_transposed(x, &self.a, self.inputs());
        let grad_low = times(&g, &self.b, self.outputs(), self.rank);
        Gradients {
            a: transposed_times(&grad_low, x, self.rank, self.inputs()),
            b: transposed_times(&g, &low, self.outputs(), self.rank),
            x: times(&grad_low, &self.a, self.rank, self.inputs()),
        }
    }

    /// Returns the number of trained values.
    pub fn parameters(&self) -> usize {
        self.a.len() + self.b.len() + self.magnitude.as_ref().map_or(0, Vec::len)
    }

    /// Returns s as the f32 that torch multiplies by.
    #[expect(clippy::cast_possible_truncation, reason = "torch multiplies by the nearest f32")]
    pub(super) fn factor(&self) -> f32 {
        self.scaling as f32
    }
}

/// `x · wᵀ`: `x: [t, k]`, `w: [n, k]`.
fn times_transposed(x: &[f32], w: &[f32], k: usize) -> Vec<f32> {
    let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).fold(0.0, |sum, (x, w)| x.mul_add(*w, sum));
    x.chunks_exact(k).flat_map(|x| w.chunks_exact(k).map(move |w| dot(x, w))).collect()
}

/// `x · w`: `x: [t, k]`, `w: [k, n]`.
fn times(x: &[f32], w: &[f32], k: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len() / k * n];
    for (x, out) in x.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        for (x, w) in x.iter().zip(w.chunks_exact(n)) {
            out.iter_mut().zip(w).for_each(|(out, w)| *out = x.mul_add(*w, *out));
        }
    }
    out
}

/// `xᵀ · y`: `x: [t, m]`, `y: [t, n]`.
fn transposed_times(x: &[f32], y: &[f32], m: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; m * n];
    for (x, y) in x.chunks_exact(m).zip(y.chunks_exact(n)) {
        for (x, out) in x.iter().zip(out.chunks_exact_mut(n)) {
            out.iter_mut().zip(y).for_each(|(out, y)| *out = x.mul_add(*y, *out));
        }
    }
    out
}
