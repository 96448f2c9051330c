//! Gradients of the network's ops: finite differences, slow formulations, and none lost.

use std::sync::Arc;

use candle_core::{D, Device, Result, Tensor, Var};
use medharness::{
    kernels::matrix::{Matrix, WeightType},
    llama::{
        Batch, Hold, Llama, Rope,
        ops::{self, Heads, Masked, Pad},
    },
    lora::sum,
};

use crate::llama_support::{Hashed, config, largest_difference, splitmix64};

fn values(seed: u64, len: usize) -> Vec<f32> {
    let unit = |i| (splitmix64(seed * 1_000_003 + i) >> 40) as f32 / 16_777_216.0;
    (0..len as u64).map(|i| unit(i) * 2.0 - 1.0).collect()
}

fn var(seed: u64, shape: &[usize]) -> Var {
    let values = values(seed, shape.iter().product());
    Var::from_vec(values, shape, &Device::Cpu).expect("shape")
}

/// A loss that weighs every output differently.
fn loss(out: &Tensor) -> Tensor {
    let weights = Tensor::from_vec(values(99, out.elem_count()), out.shape(), &Device::Cpu);
    (out * weights.expect("shape")).and_then(|x| x.sum_all()).expect("loss")
}

fn scalar(x: &Tensor) -> f64 {
    f64::from(x.to_scalar::<f32>().expect("scalar"))
}

/// Central differences in f32: a step near the cube root of its precision.
const STEP: f32 = 5e-3;
/// Rounding of the loss over twice the step, and the third derivative's share.
const DIFFERENCE_TOLERANCE: f64 = 3e-3;

fn check_gradients(inputs: &[Var], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let tensors = |inputs: &[Var]| inputs.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>();
    let grads = loss(&f(&tensors(inputs)).expect("forward")).backward().expect("backward");
    for (n, input) in inputs.iter().enumerate() {
        let grad = grads.get(input.as_tensor()).unwrap_or_else(|| panic!("input {n} has none"));
        let grad: Vec<f32> = grad.flatten_all().and_then(|g| g.to_vec1()).expect("f32");
        assert!(grad.iter().any(|g| *g != 0.0), "gradient of input {n} is zero");
        let start: Vec<f32> = input.flatten_all().and_then(|x| x.to_vec1()).expect("f32");
        for i in 0..start.len() {
            let at = |delta: f32| {
                let mut moved = start.clone();
                moved[i] += delta;
                let moved = Tensor::from_vec(moved, input.shape(), &Device::Cpu).expect("shape");
                let mut all = tensors(inputs);
                all[n] = moved;
                scalar(&loss(&f(&all).expect("forward")))
            };
            let difference = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
            let off = (difference - f64::from(grad[i])).abs();
            assert!(
                off <= DIFFERENCE_TOLERANCE * (1.0 + difference.abs()),
                "input {n}, element {i}: gradient {}, differences say {difference}",
                grad[i]
            );
        }
    }
}

/// Asserts that values and gradients of two formulations agree.
fn check_against(
    inputs: &[Var],
    fast: impl Fn(&[Tensor]) -> Result<Tensor>,
    slow: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    /// Sums in another order, a few hundred terms.
    const TOLERANCE: f32 = 2e-5;
    let inputs_as_tensors: Vec<_> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let flat = |x: &Tensor| x.flatten_all().and_then(|x| x.to_vec1::<f32>()).expect("f32");
    let (fast, slow) =
        (fast(&inputs_as_tensors).expect("fast"), slow(&inputs_as_tensors).expect("slow"));
    assert!(largest_difference(&flat(&fast), &flat(&slow)) <= TOLERANCE, "values");
    let fast = loss(&fast).backward().expect("backward");
    let slow = loss(&slow).backward().expect("backward");
    for (n, input) in inputs.iter().enumerate() {
        let grad = |store: &candle_core::backprop::GradStore| {
            flat(store.get(input.as_tensor()).unwrap_or_else(|| panic!("input {n} has none")))
        };
        assert!(largest_difference(&grad(&fast), &grad(&slow)) <= TOLERANCE, "gradient {n}");
    }
}

#[test]
fn rms_norm_has_the_gradients_of_its_formula() {
    let inputs = [var(1, &[3, 5]), var(2, &[5])];
    check_gradients(&inputs, |x| ops::rms_norm(&x[0], &x[1], 1e-5));
    let inputs = [var(1, &[4, 33]), var(2, &[33])];
    check_against(
        &inputs,
        |x| ops::rms_norm(&x[0], &x[1], 1e-5),
        |x| candle_nn::ops::rms_norm_slow(&x[0], &x[1], 1e-5),
    );
}

#[test]
fn swiglu_has_the_gradients_of_its_formula() {
    let inputs = [var(1, &[3, 5]), var(2, &[3, 5])];
    check_gradients(&inputs, |x| ops::swiglu(&x[0], &x[1]));
    let inputs = [var(1, &[4, 19]), var(2, &[4, 19])];
    check_against(&inputs, |x| ops::swiglu(&x[0], &x[1]), |x| x[0].silu()? * &x[1]);
}

#[test]
fn the_residual_sum_has_the_gradients_of_a_sum() {
    let inputs = [var(5, &[3, 7]), var(6, &[3, 7])];
    check_gradients(&inputs, |x| sum(&x[0], &x[1]));
    check_against(&inputs, |x| sum(&x[0], &x[1]), |x| &x[0] + &x[1]);
    let large = [var(9, &[300, 300]), var(10, &[300, 300])];
    check_against(&large, |x| sum(&x[0], &x[1]), |x| &x[0] + &x[1]);
    let (wide, narrow) = (var(7, &[3, 7]), var(8, &[3, 6]));
    assert!(sum(&wide, &narrow).is_err());
}

#[test]
fn rotation_has_the_gradients_of_its_formula() {
    let rope = Rope::new(&config("rope-linear"));
    let turns = Arc::new(rope.turns(&[0, 3, 11]));
    check_gradients(&[var(1, &[3, 16])], |x| ops::rotate(&x[0], &turns));
    let d = 8;
    let angles: Vec<f32> = [0.0_f32, 3.0, 11.0]
        .iter()
        .flat_map(|p| (0..d / 2).map(move |i| p / 4.0 / 10_000_f32.powf(2.0 * i as f32 / d as f32)))
        .collect();
    let angles = Tensor::from_vec(angles, (3, d / 2), &Device::Cpu).expect("shape");
    check_against(
        &[var(1, &[3, 2 * d])],
        |x| ops::rotate(&x[0], &turns),
        |x| {
            let heads = x[0].reshape((1, 3, 2, d))?.transpose(1, 2)?.contiguous()?;
            let turned = candle_nn::rotary_emb::rope_slow(&heads, &angles.cos()?, &angles.sin()?)?;
            turned.transpose(1, 2)?.reshape((3, 2 * d))
        },
    );
}

#[test]
fn frozen_linear_passes_the_gradient_to_its_input_alone() {
    for weight_type in [WeightType::F32, WeightType::Bf16] {
        let mut matrix = Matrix::zeros(weight_type, 7, 5);
        matrix.set_rows(0, &values(3, 35));
        let mut rows = vec![0.0; 35];
        for (row, out) in rows.chunks_mut(5).enumerate() {
            matrix.row(row, out);
        }
        let matrix = Arc::new(matrix);
        let dense = Tensor::from_vec(rows, (7, 5), &Device::Cpu).expect("shape");
        check_against(
            &[var(1, &[4, 5])],
            |x| ops::frozen_linear(&x[0], &matrix),
            |x| x[0].matmul(&dense.t()?),
        );
    }
}

/// Softmax attention in plain candle ops, with the whole matrix of scores; padding is masked as the
/// reference masks it, by adding the lowest number.
fn slow_attention(
    x: &[Tensor],
    heads: Heads,
    spans: &[std::ops::Range<usize>],
    pads: &[Pad],
) -> Result<Tensor> {
    let t = x[0].dim(0)?;
    let split =
        |x: &Tensor, n: usize| x.reshape((t, n, heads.width))?.transpose(0, 1)?.contiguous();
    let group = heads.query / heads.kv;
    let repeat = |x: Tensor| -> Result<Tensor> {
        x.unsqueeze(1)?.broadcast_as((heads.kv, group, t, heads.width))?.reshape((
            heads.query,
            t,
            heads.width,
        ))
    };
    let (q, k, v) = (
        split(&x[0], heads.query)?,
        repeat(split(&x[1], heads.kv)?)?,
        repeat(split(&x[2], heads.kv)?)?,
    );
    let mut mask = vec![f32::NEG_INFINITY; t * t];
    for span in spans {
        for row in span.clone() {
            mask[row * t + span.start..=row * t + row].fill(0.0);
        }
    }
    let mut passed = vec![1.0_f32; t * t];
    for pad in pads {
        for row in pad.rows.clone() {
            for key in pad.rows.clone().chain(pad.sequence.clone()) {
                mask[row * t + key] = f32::MIN;
                if pad.masked == Masked::Everything2023 {
                    let is_later_padding = pad.rows.contains(&key) && key > row;
                    passed[row * t + key] = if is_later_padding { 0.0 } else { 0.5 };
                }
            }
        }
    }
    let square = |values| Tensor::from_vec(values, (t, t), &Device::Cpu);
    let (mask, passed) = (square(mask)?, square(passed)?);
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (heads.width as f64).sqrt())?;
    let kept = scores.detach().broadcast_mul(&(1.0 - &passed)?)?;
    let scores = (scores.broadcast_mul(&passed)? + kept)?;
    let weights = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
    weights.matmul(&v)?.transpose(0, 1)?.reshape((t, heads.query * heads.width))
}

#[test]
fn attention_has_the_gradients_of_its_formula() {
    for (query, kv, width, lengths) in
        [(2, 2, 4, vec![5]), (4, 2, 6, vec![1, 4, 2]), (3, 1, 18, vec![3, 3])]
    {
        let heads = Heads { query, kv, width };
        let mut spans = Vec::new();
        for len in &lengths {
            let start = spans.last().map_or(0, |span: &std::ops::Range<usize>| span.end);
            spans.push(start..start + len);
        }
        let t = lengths.iter().sum::<usize>();
        let spans: Arc<[_]> = spans.into();
        let inputs =
            [var(1, &[t, query * width]), var(2, &[t, kv * width]), var(3, &[t, kv * width])];
        let fast = |x: &[Tensor]| ops::attention(&x[0], &x[1], &x[2], heads, &spans, &no_pads());
        if width < 8 {
            check_gradients(&inputs, fast);
        }
        check_against(&inputs, fast, |x| slow_attention(x, heads, &spans, &[]));
    }
}

fn no_pads() -> Arc<[Pad]> {
    [].into()
}

#[test]
fn padding_has_the_gradients_of_scores_that_a_mask_swallowed() {
    let heads = Heads { query: 4, kv: 2, width: 6 };
    let spans: Arc<[_]> = [0..3, 3..5, 5..9, 9..10].into();
    let x = [var(1, &[10, 24]), var(2, &[10, 12]), var(3, &[10, 12])];
    for masked in [Masked::Everything, Masked::Everything2023] {
        let pad = |rows, sequence| Pad { rows, sequence, masked };
        let pads: Arc<[_]> = [pad(5..9, 3..5), pad(9..10, 0..3)].into();
        let fast = |x: &[Tensor]| ops::attention(&x[0], &x[1], &x[2], heads, &spans, &pads);
        check_against(&x, fast, |x| slow_attention(x, heads, &spans, &pads));
    }
}

#[test]
fn padding_of_fused_attention_is_zero_and_takes_no_gradient() {
    let heads = Heads { query: 2, kv: 2, width: 4 };
    let spans: Arc<[_]> = [0..3, 3..4].into();
    let x = [var(1, &[4, 8]), var(2, &[4, 8]), var(3, &[4, 8])];
    let pads: Arc<[_]> = [Pad { rows: 3..4, sequence: 0..3, masked: Masked::Nothing }].into();
    let y = ops::attention(&x[0], &x[1], &x[2], heads, &spans, &pads).expect("attends");
    assert_eq!(y.get(3).and_then(|row| row.to_vec1::<f32>()).expect("a row"), [0.0; 8]);
    let grads = y.sqr().and_then(|y| y.sum_all()).and_then(|y| y.backward()).expect("gradients");
    for x in &x {
        let grad = grads.get(x).and_then(|grad| grad.get(3).ok()).expect("a gradient");
        assert_eq!(grad.to_vec1::<f32>().expect("a row"), [0.0; 8]);
    }
}

#[test]
fn attention_refuses_spans_that_do_not_cover_the_rows() {
    let heads = Heads { query: 1, kv: 1, width: 2 };
    let x = var(1, &[3, 2]);
    let x = x.as_tensor();
    let cases: [&[std::ops::Range<usize>]; 3] = [&[0..2; 1], &[0..1, 2..3], &[0..4; 1]];
    for spans in cases {
        let spans: Arc<[_]> = spans.into();
        assert!(ops::attention(x, x, x, heads, &spans, &no_pads()).is_err(), "{spans:?}");
    }
}

/// candle drops gradients silently in some fused ops: every weight must get one.
#[test]
fn every_trainable_weight_receives_a_gradient() {
    for name in ["all-biased", "tied"] {
        let network =
            Llama::new(config(name), &mut Hashed(name), Hold::Trainable).expect("weights");
        let batch = Batch::new([&[1, 5, 9, 2][..], &[3, 7]]);
        let states = network.forward(&batch).expect("forward");
        let grads = loss(&network.logits(&states).expect("logits")).backward().expect("backward");
        assert!(!network.variables().is_empty());
        for (tensor, variable) in network.variables() {
            let grad = grads.get(variable.as_tensor());
            let grad = grad.unwrap_or_else(|| panic!("{name}: `{tensor}` has no gradient"));
            let sum = grad.sqr().and_then(|g| g.sum_all()).map(|g| scalar(&g)).expect("f32");
            assert!(sum > 0.0, "{name}: the gradient of `{tensor}` is zero");
        }
    }
}

#[test]
fn a_frozen_network_keeps_no_graph() {
    let hold = Hold::Frozen(WeightType::F32);
    let network = Llama::new(config("tied"), &mut Hashed("tied"), hold).expect("weights");
    let states = network.forward(&Batch::new([&[1, 5][..]])).expect("forward");
    assert!(network.variables().is_empty());
    assert!(!states.track_op());
}
