//! LLM.int8() against bitsandbytes: codes, scales, forward, backward, error bounds.

use std::{collections::BTreeMap, fmt::Write, fs, sync::Arc};

use candle_core::{Device, Tensor, Var};
use half::{bf16, f16};
use medharness::quant::{
    Activations, Arithmetic, Dtype, ErrorBound, Int8Linear, Int8Weight, int8_linear,
};
use proptest::prelude::*;
use safetensors::{Dtype as Stored, SafeTensors};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::snapshots;

/// The tensors of a golden file; floats of any width in f32.
struct Golden(Vec<u8>);

impl Golden {
    fn read(name: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/quant/");
        Self(fs::read(format!("{folder}{name}")).expect("a committed golden"))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).expect("a valid golden")
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        let data = view.data();
        match view.dtype() {
            Stored::F32 => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Stored::F16 => {
                data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect()
            }
            Stored::BF16 => {
                data.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect()
            }
            dtype => panic!("{name} is {dtype:?}"),
        }
    }

    fn codes(&self, name: &str) -> Vec<i8> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).expect("codes");
        assert_eq!(view.dtype(), Stored::I8);
        view.data().iter().map(|byte| byte.cast_signed()).collect()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.tensors().tensor(name).expect("a tensor").shape().to_vec()
    }
}

#[test]
fn weights_have_the_codes_and_scales_of_bitsandbytes() {
    let golden = Golden::read("weights.safetensors");
    let names: Vec<String> = golden
        .tensors()
        .names()
        .into_iter()
        .filter_map(|name| Some(name.strip_suffix(".weight")?.to_owned()))
        .collect();
    assert_eq!(names.len(), 8);
    for name in names {
        let weight = golden.floats(&format!("{name}.weight"));
        let shape = golden.shape(&format!("{name}.weight"));
        let ours = Int8Weight::quantize(&weight, shape[0], shape[1]).unwrap();
        assert_eq!(ours.codes(), golden.codes(&format!("{name}.codes")), "{name}");
        assert_eq!(bits(ours.scales()), bits(&golden.floats(&format!("{name}.scales"))), "{name}");
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn real_weights_have_the_codes_and_scales_of_bitsandbytes() {
    let path = shared!("checkpoints/stories260k/model.safetensors");
    let golden = fs::read_to_string("golden/quant/stories260k.json").expect("a committed golden");
    let golden: Value = serde_json::from_str(&golden).expect("JSON");
    let bytes = fs::read(path).expect("readable");
    let tensors = SafeTensors::deserialize(&bytes).expect("valid");
    let digests = golden["sha256"].as_object().expect("an object");
    assert_eq!(digests.len(), 35);
    for (name, digest) in digests {
        let (weight, outputs, inputs) = matrix(&tensors, name);
        let ours = Int8Weight::quantize(&weight, outputs, inputs).unwrap();
        let codes: Vec<u8> = ours.codes().iter().map(|code| code.cast_unsigned()).collect();
        let scales: Vec<u8> = ours.scales().iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(hex(&codes), digest["codes"], "{name}");
        assert_eq!(hex(&scales), digest["scales"], "{name}");
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}

fn matrix(tensors: &SafeTensors<'_>, name: &str) -> (Vec<f32>, usize, usize) {
    let view = tensors.tensor(name).expect("named in the golden");
    let values = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    (values, view.shape()[0], view.shape()[1])
}

/// Every case of the golden: name, number format, layer.
fn cases(golden: &Golden) -> Vec<(String, Int8Linear)> {
    let tensors = golden.tensors();
    let mut names: Vec<&str> =
        tensors.names().into_iter().filter_map(|name| name.strip_suffix(".weight")).collect();
    names.sort_unstable();
    let mut cases = Vec::new();
    for name in names {
        let weight = golden.floats(&format!("{name}.weight"));
        let shape = golden.shape(&format!("{name}.weight"));
        let weight =
            Arc::new(Int8Weight::quantize(&weight, shape[0], shape[1]).expect("a golden shape"));
        for (short, dtype) in [("f32", Dtype::F32), ("f16", Dtype::F16), ("bf16", Dtype::Bf16)] {
            let key = format!("{name}.{short}");
            let bias = tensors.tensor(&format!("{key}.bias")).is_ok();
            let bias = bias.then(|| golden.floats(&format!("{key}.bias")));
            let mut layer = Int8Linear::new(Arc::clone(&weight), bias).expect("a golden shape");
            layer.dtype = dtype;
            cases.push((key, layer));
        }
    }
    assert_eq!(cases.len(), 24);
    cases
}

#[test]
fn activations_have_the_codes_scales_and_outliers_of_bitsandbytes() {
    let golden = Golden::read("linear.safetensors");
    for (key, layer) in cases(&golden) {
        let x = golden.floats(&format!("{key}.x"));
        let ours = Activations::quantize(&x, layer.weight().inputs(), 6.0).unwrap();
        assert_eq!(ours.codes, golden.codes(&format!("{key}.codes")), "{key}");
        let scales = golden.floats(&format!("{key}.row_scales"));
        assert_eq!(bits(&ours.scales), bits(&scales), "{key}");
        let outliers: Vec<usize> = golden
            .tensors()
            .tensor(&format!("{key}.outliers"))
            .expect("outliers")
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|&b| usize::try_from(i32::from_le_bytes(b)).expect("a column"))
            .collect();
        assert_eq!(ours.outliers, outliers, "{key}");
    }
}

/// Bit for bit in every number format, but for one case: how torch orders the sum over several
/// outlier columns varies with the shape. There each summand may be rounded once more.
#[test]
fn evaluation_equals_bitsandbytes() {
    let golden = Golden::read("linear.safetensors");
    let mut other_order = Vec::new();
    for (key, layer) in cases(&golden) {
        let y = layer.forward(&golden.floats(&format!("{key}.x"))).unwrap();
        let want = golden.floats(&format!("{key}.eval.y"));
        if bits(&y) != bits(&want) {
            let size = want.iter().fold(0.0_f32, |size, y| size.max(y.abs()));
            for (y, want) in y.iter().zip(&want) {
                assert!((y - want).abs() <= 8.0 * f32::EPSILON * size, "{key}: {y} {want}");
            }
            other_order.push(key);
        }
    }
    assert_eq!(other_order, ["008-wide.f32"]);
}

#[test]
fn training_and_gradients_equal_bitsandbytes() {
    let golden = Golden::read("linear.safetensors");
    for (key, mut layer) in cases(&golden) {
        let (x, g) = (golden.floats(&format!("{key}.x")), golden.floats(&format!("{key}.grad")));
        layer.arithmetic = Arithmetic::CpuTrain;
        let y = layer.forward(&x).unwrap();
        let weight = layer.weight().dequantize();
        let (outputs, inputs) = (layer.weight().outputs(), layer.weight().inputs());
        // Sums in another order, of operands that are the same: their sizes bound the difference.
        let size = |at: usize| -> f64 {
            let (x, w) = (&x[at / outputs * inputs..][..inputs], &weight[at % outputs * inputs..]);
            x.iter().zip(w).map(|(x, w)| f64::from(x * w).abs()).sum()
        };
        close(&key, layer.dtype, &y, &golden.floats(&format!("{key}.train.y")), size);
        let grad = layer.backward(&g).unwrap();
        let size = |at: usize| -> f64 {
            let (g, w) = (&g[at / inputs * outputs..][..outputs], &weight[at % inputs..]);
            g.iter().zip(w.iter().step_by(inputs)).map(|(g, w)| f64::from(g * w).abs()).sum()
        };
        for mode in ["train", "eval"] {
            close(&key, layer.dtype, &grad, &golden.floats(&format!("{key}.{mode}.grad_x")), size);
        }
    }
}

/// Rounding to the format once on each side, and f32 sums of up to 2,050 terms in another order.
fn close(key: &str, dtype: Dtype, ours: &[f32], want: &[f32], size: impl Fn(usize) -> f64) {
    assert_eq!(ours.len(), want.len());
    for (at, (&ours, &want)) in ours.iter().zip(want).enumerate() {
        let bound = 2.0 * dtype.unit_roundoff() * f64::from(want).abs()
            + 32.0 * f64::from(f32::EPSILON) * (size(at) + 4.0)
            + 2.0 * dtype.smallest_half();
        let difference = f64::from(ours - want).abs();
        assert!(difference <= bound, "{key} {at}: {ours} {want}, {difference:e} > {bound:e}");
    }
}

/// The kernel's formula, from bitsandbytes' own codes and scales; no device was at hand.
#[test]
fn cuda_arithmetic_is_the_kernels_formula() {
    let golden = Golden::read("linear.safetensors");
    for (key, mut layer) in
        cases(&golden).into_iter().filter(|(key, _)| key.contains("outliers.f16"))
    {
        if !golden.tensors().tensor(&format!("{key}.outliers")).unwrap().data().is_empty() {
            continue;
        }
        layer.arithmetic = Arithmetic::Cuda;
        let y = layer.forward(&golden.floats(&format!("{key}.x"))).unwrap();
        let (x, w) = (golden.codes(&format!("{key}.codes")), layer.weight().codes());
        let rows = golden.floats(&format!("{key}.row_scales"));
        let (outputs, inputs) = (layer.weight().outputs(), layer.weight().inputs());
        for (at, y) in y.iter().enumerate() {
            let (t, o) = (at / outputs, at % outputs);
            let pairs = x[t * inputs..][..inputs].iter().zip(&w[o * inputs..]);
            let sum: i32 = pairs.map(|(&x, &w)| i32::from(x) * i32::from(w)).sum();
            let scaled = sum as f32 * rows[t] * layer.weight().scales()[o];
            assert_eq!(
                y.to_bits(),
                f16::from_f32(scaled * 6.200_012e-5).to_f32().to_bits(),
                "{at}"
            );
        }
    }
}

/// Through candle: the same forward, and a gradient that reaches the input.
#[test]
fn operation_of_candle_has_forward_and_gradient_of_the_layer() {
    let golden = Golden::read("linear.safetensors");
    for (key, layer) in cases(&golden).into_iter().filter(|(key, _)| key.ends_with("f32")) {
        let x = golden.floats(&format!("{key}.x"));
        let g = golden.floats(&format!("{key}.grad"));
        let (outputs, inputs) = (layer.weight().outputs(), layer.weight().inputs());
        let layer = Arc::new(layer);
        let tensor = |values: &[f32], width| {
            Tensor::from_vec(values.to_vec(), (values.len() / width, width), &Device::Cpu).unwrap()
        };
        let variable = Var::from_tensor(&tensor(&x, inputs)).unwrap();
        let calls = std::iter::once(0..x.len() / inputs).collect();
        let y = int8_linear(variable.as_tensor(), &layer, &calls).unwrap();
        let values: Vec<f32> = y.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(bits(&values), bits(&layer.forward(&x).unwrap()), "{key}");
        let loss = (y * tensor(&g, outputs)).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        let grad = grads.get(&variable).expect("no silent end of the gradient");
        let grad: Vec<f32> = grad.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(bits(&grad), bits(&layer.backward(&g).unwrap()), "{key}");
        let turned = variable.as_tensor().t().unwrap();
        assert!(int8_linear(&turned, &layer, &calls).is_err(), "{key}: not contiguous");
    }
}

/// The layer is linear in the dequantised path, so differences have no truncation error.
#[test]
fn gradient_equals_finite_differences() {
    let golden = Golden::read("linear.safetensors");
    let (_, mut layer) = cases(&golden).swap_remove(0);
    layer.arithmetic = Arithmetic::CpuTrain;
    let (x, g) =
        (golden.floats("001-no-outliers.f32.x"), golden.floats("001-no-outliers.f32.grad"));
    let grad = layer.backward(&g).unwrap();
    let loss = |x: &[f32]| -> f64 {
        let y = layer.forward(x).unwrap();
        y.iter().zip(&g).map(|(y, g)| f64::from(*y) * f64::from(*g)).sum()
    };
    for at in (0..x.len()).step_by(7) {
        let (mut up, mut down) = (x.clone(), x.clone());
        up[at] += 0.5;
        down[at] -= 0.5;
        let slope = (loss(&up) - loss(&down)) / f64::from(up[at] - down[at]);
        assert!((slope - f64::from(grad[at])).abs() < 1e-5, "{at}: {slope} {}", grad[at]);
    }
}

#[test]
fn what_is_not_finite_is_refused_by_place() {
    let error = Int8Weight::quantize(&[0.0, 1.0, 65_520.0, 0.0], 2, 2).unwrap_err();
    assert_eq!(error.to_string(), "row 1, column 0 is not finite in half precision");
    let error = Activations::quantize(&[0.0, f32::NAN], 2, 6.0).unwrap_err();
    assert_eq!(error.to_string(), "row 0, column 1 is not finite in half precision");
    let error = Activations::quantize(&[0.0, 1e9], 2, 0.0).unwrap_err();
    assert_eq!(error.to_string(), "row 0, column 1 is not finite in half precision");
    // An outlier may be beyond the largest half: it is multiplied as it is.
    let far = Activations::quantize(&[0.0, 1e9], 2, 6.0).unwrap();
    assert_eq!(far.outliers, [1]);
    let error = Int8Weight::from_codes(&[1, 2], vec![1.0, -1.0], 1).unwrap_err();
    assert_eq!(error.to_string(), "the scale of row 1 is not a finite number of at least 0");
}

#[test]
fn tokens_that_are_not_finite_give_what_bitsandbytes_gives_and_spare_the_others() {
    let golden = Golden::read("not_finite.safetensors");
    let weight = Arc::new(Int8Weight::quantize(&golden.floats("weight"), 3, 4).unwrap());
    let names: Vec<String> = golden
        .tensors()
        .names()
        .into_iter()
        .filter_map(|name| Some(name.strip_suffix(".x")?.to_owned()))
        .collect();
    assert_eq!(names.len(), 10);
    for name in names {
        let mut layer = Int8Linear::new(Arc::clone(&weight), None).unwrap();
        layer.threshold = if name.starts_with("6") { 6.0 } else { 0.0 };
        let y = layer.forward(&golden.floats(&format!("{name}.x"))).unwrap();
        for (y, want) in y.iter().zip(golden.floats(&format!("{name}.y"))) {
            let same = y.to_bits() == want.to_bits() || y.is_nan() && want.is_nan();
            assert!(same, "{name}: {y}, not {want}");
        }
    }
}

#[test]
fn each_call_has_its_own_outliers_and_calls_cover_the_rows() {
    let golden = Golden::read("linear.safetensors");
    for (key, layer) in cases(&golden) {
        let x = golden.floats(&format!("{key}.x"));
        let inputs = layer.weight().inputs();
        let tokens = x.len() / inputs;
        for cut in 0..=tokens {
            let (a, b) = x.split_at(cut * inputs);
            let want = [layer.forward(a).unwrap(), layer.forward(b).unwrap()].concat();
            let calls = [0..cut, cut..tokens];
            assert_eq!(bits(&layer.forward_calls(&x, &calls).unwrap()), bits(&want), "{key} {cut}");
        }
        let wrong: [&[std::ops::Range<usize>]; 4] =
            [&[], &[0..1, 0..tokens], &[0..tokens, 0..tokens], &[0..tokens, tokens..tokens + 1]];
        for calls in wrong {
            let error = layer.forward_calls(&x, calls).unwrap_err().to_string();
            assert_eq!(error, format!("the calls do not cover {tokens} rows one behind the other"));
        }
    }
}

/// A matrix and activations with `columns` outlier columns, from a small repeatable generator.
fn planted(columns: usize, outputs: usize, inputs: usize, tokens: usize) -> (Vec<f32>, Vec<f32>) {
    let mut state = 1_u64;
    let mut normal = || {
        let sum: f64 = (0..12)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / 9_007_199_254_740_992.0
            })
            .sum();
        #[expect(clippy::cast_possible_truncation, reason = "a draw in single precision")]
        let draw = (sum - 6.0) as f32;
        draw
    };
    let weight = (0..outputs * inputs).map(|_| normal() * 0.02).collect();
    let mut x: Vec<f32> = (0..tokens * inputs).map(|_| normal().clamp(-5.5, 5.5)).collect();
    for column in 0..columns {
        let at = column * inputs / columns.max(1);
        x.iter_mut().skip(at).step_by(inputs).for_each(|x| *x = 20.0 + x.abs() * 10.0);
    }
    (weight, x)
}

/// Largest and mean error, beside the largest and mean bound.
fn line(name: &str, layer: &Int8Linear, x: &[f32], weight: &[f32]) -> String {
    let bound = ErrorBound::new(layer, x, weight).expect("finite");
    let y = layer.forward(x).expect("finite");
    let errors: Vec<f64> =
        y.iter().zip(&bound.exact).map(|(y, exact)| (f64::from(*y) - exact).abs()).collect();
    for (at, (error, bound)) in errors.iter().zip(&bound.bounds).enumerate() {
        assert!(error <= bound, "{name}, element {at}: error {error:e}, bound {bound:e}");
    }
    let outliers =
        Activations::quantize(x, layer.weight().inputs(), layer.threshold).expect("finite");
    let largest = |x: &[f64]| x.iter().fold(0.0, |a: f64, &b| a.max(b));
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    format!(
        "{name:<24} {:>8} {:>11.3e} {:>11.3e} {:>11.3e} {:>11.3e}\n",
        outliers.outliers.len(),
        largest(&errors),
        largest(&bound.bounds),
        mean(&errors),
        mean(&bound.bounds),
    )
}

const HEADER: &str =
    "layer                    outliers  error, max  bound, max error, mean bound, mean\n";

#[test]
fn planted_outliers_lie_within_their_bounds() {
    let _guard = snapshots();
    let mut table = HEADER.to_owned();
    for columns in [0, 1, 8, 64] {
        let (weight, x) = planted(columns, 96, 512, 16);
        let int8 = Arc::new(Int8Weight::quantize(&weight, 96, 512).unwrap());
        let mut layer = Int8Linear::new(int8, None).unwrap();
        table += &line(&format!("{columns} columns"), &layer, &x, &weight);
        layer.threshold = 0.0;
        table += &line(&format!("{columns} columns, no split"), &layer, &x, &weight);
    }
    insta::assert_snapshot!("quant_planted_outliers", table);
}

#[test]
fn layers_of_a_real_checkpoint_lie_within_their_bounds() {
    let path = shared!("checkpoints/stories260k/model.safetensors");
    let bytes = fs::read(path).expect("readable");
    let tensors = SafeTensors::deserialize(&bytes).expect("valid");
    let mut rows = BTreeMap::new();
    for name in tensors.names().into_iter().filter(|name| name.contains("layers.2.")) {
        let Some(short) = name.strip_suffix("_proj.weight") else { continue };
        let (weight, outputs, inputs) = matrix(&tensors, name);
        let int8 = Arc::new(Int8Weight::quantize(&weight, outputs, inputs).unwrap());
        let layer = Int8Linear::new(int8, None).unwrap();
        let (_, x) = planted(2, 1, inputs, 16);
        let short = short.rsplit('.').next().expect("a last part");
        rows.insert(short.to_owned(), line(short, &layer, &x, &weight));
    }
    assert_eq!(rows.len(), 7);
    let _guard = snapshots();
    let table: String = [HEADER.to_owned()].into_iter().chain(rows.into_values()).collect();
    insta::assert_snapshot!("quant_stories260k", table);
}

proptest! {
    #[test]
    fn every_element_lies_within_its_bound(
        tokens in 1..5_usize, outputs in 1..10_usize, inputs in 1..60_usize,
        draws in prop::collection::vec(-1.0_f32..1.0, 16 * 60),
        reach in 0.0_f32..30.0, arithmetic in 0..3_usize, dtype in 0..3_usize,
        bias in any::<bool>(), scale in prop::sample::select(vec![1e-6_f32, 1e-3, 1.0, 100.0]),
    ) {
        let dtype = [Dtype::F32, Dtype::F16, Dtype::Bf16][dtype];
        let mut draws = draws.into_iter().cycle();
        let weight: Vec<f32> = draws.by_ref().take(outputs * inputs).map(|w| w * scale).collect();
        let x = draws.by_ref().take(tokens * inputs).map(|x| dtype.round(x * x * x * reach));
        let x: Vec<f32> = x.collect();
        let bias: Option<Vec<f32>> =
            bias.then(|| draws.by_ref().take(outputs).map(|b| dtype.round(b)).collect());
        let int8 = Arc::new(Int8Weight::quantize(&weight, outputs, inputs).unwrap());
        let mut layer = Int8Linear::new(int8, bias).unwrap();
        layer.arithmetic = [Arithmetic::CpuEval, Arithmetic::CpuTrain, Arithmetic::Cuda][arithmetic];
        layer.dtype = dtype;
        let bound = ErrorBound::new(&layer, &x, &weight).unwrap();
        let y = layer.forward(&x).unwrap();
        for ((y, exact), bound) in y.iter().zip(&bound.exact).zip(&bound.bounds) {
            let error = (f64::from(*y) - exact).abs();
            prop_assert!(error <= *bound, "{error:e} > {bound:e}: {y} {exact}");
        }
    }
}
