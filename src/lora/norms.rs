//! Sizes of what adapters add to their base, and how alike two are.
//!
//! Norms are Frobenius norms of s·B·A, in f64, worked out from products of rank by rank: no matrix
//! of the base's size is made.

use super::LowRank;

impl LowRank {
    /// Returns the sum over all elements of s·B·A times another adapter's.
    ///
    /// # Panics
    ///
    /// If the two are not of one size.
    pub fn inner_product(&self, other: &Self) -> f64 {
        assert_eq!(
            [self.outputs(), self.inputs()],
            [other.outputs(), other.inputs()],
            "of one size"
        );
        // ⟨B₁A₁, B₂A₂⟩ = sum over r, s of (B₁ᵀB₂)ᵣₛ (A₁A₂ᵀ)ᵣₛ.
        let mut sum = 0.0;
        for r in 0..self.rank {
            for s in 0..other.rank {
                let rows =
                    |low: &Self, r: usize| low.a[r * low.inputs()..][..low.inputs()].to_vec();
                let a = dot(&rows(self, r), &rows(other, s));
                let column = |low: &Self, r: usize| {
                    low.b[r..].iter().step_by(low.rank).copied().collect::<Vec<_>>()
                };
                sum += a * dot(&column(self, r), &column(other, s));
            }
        }
        sum * self.scaling * other.scaling
    }

    /// Returns the Frobenius norm of s·B·A.
    pub fn delta_norm(&self) -> f64 {
        self.inner_product(self).max(0.0).sqrt()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
