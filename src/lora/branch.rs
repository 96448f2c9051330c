//! The low-rank branch beside a linear layer of a network, with its gradients.
//!
//! y = base(x) + s · B(A(dropout(x))), in f32; with DoRA's magnitudes m, rows of the sum are scaled
//! by m/n, n the norm of a row of W + s·B·A, which takes no gradient. The base layer and its gradient
//! are left to the network.
//!
//! Source: PEFT 0.21.2, `LoraLayer.forward`, `DoraLinearLayer.forward` (`golden/make/lora.py`).

use std::sync::Arc;

use candle_core::{Device, Error, Result, Shape, Tensor, Var};

use super::{
    Draw, EMBEDDING_MODULE, LowRank, Part,
    dropout::{Mask, dropped},
    merge::row_norms,
    packed,
    product::{LowRankOp, LowRankProduct, Pair},
    sum, unpacked,
};

/// The weights that a branch stands beside.
pub trait BaseRows {
    /// Writes a row of W, `[inputs]`, to `out`; of int8 weights, dequantised.
    fn row(&self, row: usize, out: &mut [f32]);
}

/// The layer that a branch stands beside.
pub trait BaseLayer: BaseRows {
    /// Returns `x · Wᵀ`, with a bias only if the layer has one inside; gradients reach `x`.
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    fn product(&self, x: &Tensor) -> Result<Tensor>;

    /// Returns the bias that [`Self::product`] adds, `[outputs]`.
    fn inner_bias(&self) -> Option<Tensor> {
        None
    }
}

/// A and B of a module inside a network, s, and the dropout in front of A.
#[derive(Debug, Clone)]
pub struct Branch {
    module: String,
    weights: Weights,
    rank: usize,
    scaling: f64,
    dropout: f64,
}

#[derive(Debug, Clone)]
enum Weights {
    Frozen { pair: Pair, magnitude: Option<Vec<f32>>, factors: Option<Tensor> },
    Trainable { a: Var, b: Var, magnitude: Option<Var> },
}

/// Whether a network's adapter takes gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// Packed once, for evaluation.
    Frozen,
    /// As f32 variables, for training.
    Trainable,
}

impl Branch {
    /// Returns the branch of `module` with these matrices, beside `base`.
    pub fn new(
        module: &str,
        low: &LowRank,
        dropout: f64,
        attach: Attach,
        base: &dyn BaseRows,
    ) -> Self {
        let (rank, inputs, outputs) = (low.rank, low.inputs(), low.outputs());
        let weights = match attach {
            Attach::Frozen => Weights::Frozen {
                pair: Pair {
                    // Of an embedding, rows are looked up.
                    a: Arc::new(match module == EMBEDDING_MODULE {
                        true => packed(&transposed(&low.a, inputs), inputs, rank),
                        false => packed(&low.a, rank, inputs),
                    }),
                    b: Arc::new(packed(&low.b, outputs, rank)),
                },
                magnitude: low.magnitude.clone(),
                factors: low.magnitude.as_ref().map(|magnitude| {
                    let norms = row_norms(module, low, base);
                    vector(magnitude.iter().zip(norms).map(|(m, n)| m / n).collect())
                }),
            },
            Attach::Trainable => Weights::Trainable {
                a: variable(&low.a, (rank, inputs)),
                b: variable(&low.b, (outputs, rank)),
                magnitude: low.magnitude.as_ref().map(|m| variable(m, outputs)),
            },
        };
        Self { module: module.to_owned(), weights, rank, scaling: low.scaling, dropout }
    }

    /// Returns whether the branch takes gradients.
    pub fn is_trained(&self) -> bool {
        matches!(self.weights, Weights::Trainable { .. })
    }

    /// Returns the variables under PEFT's names; none for a frozen branch.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let Weights::Trainable { a, b, magnitude } = &self.weights else { return Vec::new() };
        let named = |part: Part, var: &Var| (part.name(&self.module), var.clone());
        let mut variables = vec![named(Part::A, a), named(Part::B, b)];
        variables.extend(magnitude.as_ref().map(|var| named(Part::Magnitude, var)));
        variables
    }

    /// Returns the matrices as they are now.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn low_rank(&self) -> Result<LowRank> {
        let (a, b, magnitude) = match &self.weights {
            Weights::Frozen { pair, magnitude, .. } => {
                let a = unpacked(&pair.a);
                let a = match self.module == EMBEDDING_MODULE {
                    true => transposed(&a, self.rank),
                    false => a,
                };
                (a, unpacked(&pair.b), magnitude.clone())
            }
            Weights::Trainable { a, b, magnitude } => {
                let magnitude = magnitude.as_ref().map(|var| values(var)).transpose()?;
                (values(a)?, values(b)?, magnitude)
            }
        };
        Ok(LowRank { a, b, rank: self.rank, scaling: self.scaling, magnitude })
    }

    /// Applies the base layer, its bias and this branch beside it.
    ///
    /// `x: [t, inputs]`, contiguous f32; result `[t, outputs]`. `draw` has `t` rows; `None` drops
    /// nothing. Gradients reach `x` and, of a trainable branch, A, B and the magnitudes.
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn forward(
        &self,
        base: &dyn BaseLayer,
        bias: Option<&Tensor>,
        x: &Tensor,
        draw: Option<&Draw>,
    ) -> Result<Tensor> {
        let mask = draw.and_then(|draw| Mask::new(draw, &self.module, self.dropout));
        let plain = base.product(x)?;
        let y = match bias {
            Some(bias) => plain.broadcast_add(bias)?,
            None => plain.clone(),
        };
        let Some(factors) = self.factors(base)? else {
            return sum(&y, &self.delta(x, mask)?);
        };
        // What is rescaled has been dropped from and has no bias; the base's own part is whole.
        let (x, rescaled) = match mask {
            None => (x.clone(), plain),
            Some(mask) => {
                let x = dropped(x, mask)?;
                let product = base.product(&x)?;
                (x, product)
            }
        };
        let rescaled = match base.inner_bias() {
            Some(bias) => rescaled.broadcast_sub(&bias)?,
            None => rescaled,
        };
        let rescaled = rescaled.broadcast_mul(&(&factors - 1.0)?)?;
        (y + rescaled)? + self.delta(&x, None)?.broadcast_mul(&factors)?
    }

    /// Returns m/n, `[outputs]`; `None` without DoRA.
    fn factors(&self, base: &dyn BaseRows) -> Result<Option<Tensor>> {
        match &self.weights {
            Weights::Frozen { factors, .. } => Ok(factors.clone()),
            Weights::Trainable { magnitude: None, .. } => Ok(None),
            Weights::Trainable { magnitude: Some(magnitude), .. } => {
                let norms = row_norms(&self.module, &self.low_rank()?, base);
                magnitude.as_tensor().div(&vector(norms)).map(Some)
            }
        }
    }

    /// Returns s · B(A(dropout(x))).
    fn delta(&self, x: &Tensor, mask: Option<Mask>) -> Result<Tensor> {
        let op = LowRankOp(self.product(mask)?);
        match &self.weights {
            Weights::Frozen { .. } => x.apply_op1(op),
            Weights::Trainable { a, b, .. } => x.apply_op3(a.as_tensor(), b.as_tensor(), op),
        }
    }

    /// Returns what [`Self::forward`] adds to the base layer, for values; `None` with DoRA, which
    /// rescales the base layer as well.
    ///
    /// # Errors
    ///
    /// If the matrices cannot be read.
    pub fn added(&self, draw: Option<&Draw>) -> Result<Option<LowRankProduct>> {
        let is_dora = match &self.weights {
            Weights::Frozen { magnitude, .. } => magnitude.is_some(),
            Weights::Trainable { magnitude, .. } => magnitude.is_some(),
        };
        if is_dora {
            return Ok(None);
        }
        let mask = draw.and_then(|draw| Mask::new(draw, &self.module, self.dropout));
        self.product(mask).map(Some)
    }

    fn product(&self, mask: Option<Mask>) -> Result<LowRankProduct> {
        let scaling = self.factor();
        let (pair, trained) = match &self.weights {
            Weights::Frozen { pair, .. } => (pair.clone(), None),
            Weights::Trainable { a, b, .. } => {
                let pair = Pair {
                    a: Arc::new(packed(&values(a)?, self.rank, a.dim(1)?)),
                    b: Arc::new(packed(&values(b)?, b.dim(0)?, self.rank)),
                };
                (pair, Some([a.id(), b.id()]))
            }
        };
        Ok(LowRankProduct { pair, scaling, mask, trained })
    }

    #[expect(clippy::cast_possible_truncation, reason = "torch multiplies by the nearest f32")]
    fn factor(&self) -> f32 {
        self.scaling as f32
    }

    /// Returns what the branch of an embedding adds to the rows of these tokens.
    ///
    /// Here A is `[rank, tokens]` and B `[width, rank]`. Result `[tokens.len(), width]`.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let scaling = f64::from(self.factor());
        match &self.weights {
            Weights::Frozen { pair: Pair { a, b }, .. } => {
                let mut low = vec![0.0; tokens.len() * self.rank];
                for (token, out) in tokens.iter().zip(low.chunks_mut(self.rank)) {
                    let row = usize::try_from(*token).ok().filter(|row| *row < a.outputs());
                    a.row(row.ok_or_else(|| Error::Msg(format!("token {token} has no row")))?, out);
                }
                let y =
                    Tensor::from_vec(b.multiply(&low), (tokens.len(), b.outputs()), &Device::Cpu);
                y? * scaling
            }
            Weights::Trainable { a, b, .. } => {
                let ids = Tensor::new(tokens, &Device::Cpu)?;
                let low = a.t()?.contiguous()?.index_select(&ids, 0)?;
                low.matmul(&b.t()?)? * scaling
            }
        }
    }
}

fn vector(values: Vec<f32>) -> Tensor {
    let len = values.len();
    Tensor::from_vec(values, len, &Device::Cpu).expect("as long as it is")
}

fn variable(values: &[f32], shape: impl Into<Shape>) -> Var {
    Var::from_slice(values, shape, &Device::Cpu)
        .expect("a tensor's own values and shape agree, and the CPU does not fail")
}

pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// Returns `[n, width]` as `[width, n]`.
pub(super) fn transposed(x: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|column| x[column..].iter().step_by(width).copied()).collect()
}
