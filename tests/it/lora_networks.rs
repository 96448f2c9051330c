//! Whole networks under adapters of PEFT, and ours under theirs: logits, gradients, merged weights,
//! initial values, files (`golden/make/lora_networks.py`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use half::f16;
use medharness::{
    kernels::matrix::WeightType,
    llama::{Batch, Checkpoint, Hold, Llama, NetworkError, read_adapter},
    lora::{Adapter, Attach, Initial, LoraError, Merger},
    quant::{Arithmetic, OUTLIER_THRESHOLD, quantize_rows},
};
use safetensors::{Dtype, SafeTensors};

use crate::{llama_support::largest_difference, support};

/// Adapters that PEFT made.
pub(crate) const CASES: [&str; 22] = [
    "plain",
    "default-targets",
    "all-linear",
    "rslora-gaussian",
    "init-false",
    "pattern-order",
    "layers-pattern",
    "bias-all",
    "bias-lora-only",
    "dora",
    "dora-rslora",
    "saved-modules",
    "saved-norms",
    "saved-block",
    "embedding",
    "head",
    "resized",
    "resized-saved",
    "resized-embedding",
    "bin",
    "half",
    "of-2023",
];

/// What a folder cannot be used for, and why: the reader would have to guess the output matrix.
pub(crate) const LOST: &str = "resized-embedding";

/// The bound for f32.
const LOGIT_TOLERANCE: f32 = 1e-4;
/// The same on the tiny base, whose logits are about 0.2.
const TINY_TOLERANCE: f32 = 2e-6;

fn tiny() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/quant/checkpoint")
}

pub(crate) fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/lora/networks").join(case)
}

/// Shapes and values of every float tensor of a golden.
fn expected(case: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(folder(case).join("expected.safetensors")).expect("a committed golden");
    let tensors = SafeTensors::deserialize(&bytes).expect("valid");
    let values = |name: &str| {
        let view = tensors.tensor(name).expect("listed");
        let data = view.data();
        match view.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => {
                data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect()
            }
            Dtype::I8 => data.iter().map(|b| f32::from(b.cast_signed())).collect::<Vec<_>>(),
            other => panic!("{name}: {other:?}"),
        }
    };
    let shape = |name: &str| tensors.tensor(name).expect("listed").shape().to_vec();
    tensors.names().iter().map(|name| ((*name).to_owned(), (shape(name), values(name)))).collect()
}

pub(crate) fn network() -> Llama {
    let mut checkpoint = Checkpoint::open(&tiny()).expect("the golden base");
    checkpoint.load(Hold::Frozen(WeightType::F32)).expect("loads")
}

/// The tokens of the goldens.
fn batch() -> Batch {
    Batch::new([&[1, 7, 30, 22, 5, 39, 0, 11][..], &[3, 3, 14, 15, 9, 26, 5, 35]])
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().and_then(|x| x.to_vec1()).expect("f32")
}

pub(crate) fn usable() -> impl Iterator<Item = &'static str> {
    CASES.into_iter().filter(|case| *case != LOST)
}

#[test]
fn logits_equal_peft() {
    let plain = network();
    let base = flat(&plain.logits(&plain.forward(&batch()).expect("forward")).expect("logits"));
    for case in usable() {
        let adapter = read_adapter(&folder(case)).unwrap_or_else(|error| panic!("{case}: {error}"));
        let (_, want) = &expected(case)["logits"];
        for attach in [Attach::Frozen, Attach::Trainable] {
            let mut network = network();
            network.attach(&adapter, attach).unwrap_or_else(|error| panic!("{case}: {error}"));
            let states = network.forward(&batch()).expect("forward");
            let got = flat(&network.logits(&states).expect("logits"));
            let off = largest_difference(&got, want);
            assert!(off <= TINY_TOLERANCE, "{case} {attach:?}: off by {off}");
            if got.len() == base.len() {
                let moved = largest_difference(&got, &base);
                assert!(moved > 500.0 * TINY_TOLERANCE, "{case}: moves by {moved} alone");
            }
            let back = network.adapter().expect("read").expect("attached");
            assert_eq!(
                (back.modules, back.whole),
                (adapter.modules.clone(), adapter.whole.clone())
            );
        }
    }
}

#[test]
fn logits_of_a_real_checkpoint_equal_peft() {
    let base = shared!("checkpoints/stories260k");
    let mut checkpoint = Checkpoint::open(&base).expect("opens");
    let mut network = checkpoint.load(Hold::Frozen(WeightType::F32)).expect("loads");
    let adapter = read_adapter(&folder("stories260k")).expect("reads");
    network.attach(&adapter, Attach::Frozen).expect("fits");
    let states = network.forward(&batch()).expect("forward");
    let got = flat(&network.logits(&states).expect("logits"));
    let off = largest_difference(&got, &expected("stories260k")["logits"].1);
    assert!(off <= LOGIT_TOLERANCE, "off by {off}");
}

/// The tiny base, or the real one, in LLM.int8().
fn int8_network(folder: &Path, arithmetic: Arithmetic) -> Llama {
    let hold = Hold::Int8 { floats: WeightType::F32, arithmetic, threshold: OUTLIER_THRESHOLD };
    Checkpoint::open(folder).and_then(|mut checkpoint| checkpoint.load(hold)).expect("loads")
}

#[test]
fn logits_over_an_8_bit_base_equal_peft_over_bitsandbytes() {
    /// Of the largest logit. Codes, scales and integer sums are exact; the order of sums in floats can
    /// move an activation across the middle of two codes.
    const TOLERANCE: f32 = 2e-3;
    let real = support::shared().map(|shared| shared.join("checkpoints/stories260k"));
    if real.is_none() {
        support::skipped("checkpoints/stories260k");
    }
    let tiny = ["default-targets", "all-linear"].map(|case| (case, tiny()));
    for (case, base) in tiny.into_iter().chain(real.map(|base| ("stories260k", base))) {
        let mut network = int8_network(&base, Arithmetic::CpuEval);
        let adapter = read_adapter(&folder(case)).expect("reads");
        network.attach(&adapter, Attach::Frozen).expect("fits");
        let states = network.forward(&batch()).expect("forward");
        let got = flat(&network.logits(&states).expect("logits"));
        let (_, want) = &expected(case)["logits.int8"];
        let off = largest_difference(&got, want);
        let size = want.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(off <= TOLERANCE * size, "{case}: off by {off} of {size}");
    }
}

#[test]
fn gradients_of_everything_trained_equal_peft() {
    for case in usable() {
        check_gradients(case, network(), "grad");
    }
}

#[test]
fn gradients_over_an_8_bit_base_equal_peft_over_bitsandbytes() {
    for case in ["default-targets", "all-linear"] {
        check_gradients(case, int8_network(&tiny(), Arithmetic::CpuTrain), "grad8");
    }
}

fn check_gradients(case: &str, mut network: Llama, label: &str) {
    /// Of the largest element: sums over sixteen rows and two blocks in another order.
    const TOLERANCE: f32 = 2e-5;
    let adapter = read_adapter(&folder(case)).expect("reads");
    network.attach(&adapter, Attach::Trainable).expect("fits");
    let states = network.forward(&batch()).expect("forward");
    let weights = (0..states.elem_count()).map(|i| (i as f64).cos() as f32).collect();
    let weights = Tensor::from_vec(weights, states.shape(), &Device::Cpu).expect("shape");
    let loss = (states * weights).and_then(|x| x.sum_all()).expect("loss");
    let grads = loss.backward().expect("backward");
    let expected = expected(case);
    let mut seen = 0;
    for (name, var) in network.variables() {
        let got = grads.get(var.as_tensor()).map(flat);
        match (got, expected.get(&format!("{label}.{name}"))) {
            (Some(got), Some((shape, want))) => {
                assert_eq!(var.dims(), shape, "{case} {name}");
                let size = want.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                let off = largest_difference(&got, want);
                assert!(off <= TOLERANCE * size, "{case} {name}: off by {off} of {size}");
                seen += 1;
            }
            // What only the output matrix's side holds has no part in the states.
            (None, None) => assert!(name.contains("lm_head"), "{case} {name}"),
            (got, want) => panic!("{case} {name}: {} {}", got.is_some(), want.is_some()),
        }
    }
    let prefix = format!("{label}.");
    let wanted = expected.keys().filter(|name| name.starts_with(&prefix)).count();
    assert_eq!(seen, wanted, "{case}");
}

#[test]
fn fresh_adapters_begin_as_those_of_peft() {
    /// Units in the last place of values below 5: torch's vectorised logarithm and cosine.
    const NORMAL_TOLERANCE: f32 = 2e-6;
    let network = network();
    for case in CASES.into_iter().filter(|case| !case.starts_with("resized")) {
        let config = read_adapter(&folder(case)).expect("reads").config;
        let fresh = network.fresh_adapter(&config, 0).expect("fresh");
        let want = expected(case);
        let normal = matches!(&config.init_lora_weights, Initial::Named(_)) || case == "embedding";
        let mut seen = 0;
        for tensor in fresh.tensors() {
            let Some((shape, want)) = want.get(&format!("init.{}", tensor.name)) else { continue };
            assert_eq!(tensor.shape, *shape, "{case} {}", tensor.name);
            let off = largest_difference(&tensor.values, want);
            let magnitude = tensor.name.contains("magnitude");
            let tolerance = if normal || magnitude { NORMAL_TOLERANCE } else { 0.0 };
            assert!(off <= tolerance, "{case} {}: off by {off}", tensor.name);
            seen += 1;
        }
        let wanted = want.keys().filter(|name| name.starts_with("init.")).count();
        assert_eq!(seen, wanted, "{case}");
    }
}

#[test]
fn merged_and_unmerged_weights_equal_peft() {
    /// Units in the last place of sums below 2: the norms of DoRA's rows are summed in another order.
    const NORM_ORDER: f32 = 3e-7;
    for case in usable() {
        let adapter = read_adapter(&folder(case)).expect("reads");
        let tolerance = if adapter.config.use_dora { NORM_ORDER } else { 0.0 };
        let mut plain = network();
        // The base as PEFT had it, with what the adapter holds in full.
        let whole = Adapter { modules: adapter.modules.clone(), ..adapter.clone() };
        plain.attach(&whole, Attach::Frozen).expect("fits");
        let expected = expected(case);
        for (module, low) in &adapter.modules {
            let name = format!("{module}.weight");
            let (shape, want) = &expected[&format!("merged.f32.{name}")];
            let merger = Merger::new(module, low);
            assert_eq!(merger.shape()[..], shape[..], "{case} {name}");
            let base = match adapter.whole.get(&name) {
                Some(whole) => whole.values.clone(),
                None => checkpoint_tensor(&name, shape),
            };
            let mut weight = base.clone();
            let norms = merger.merge(0, &mut weight);
            let off = largest_difference(&weight, want);
            assert!(off <= tolerance, "{case} {name}: off by {off}");
            // In pieces it is the same.
            let mut pieces = base.clone();
            let width = shape[1];
            for (first, piece) in (0..).step_by(5).zip(pieces.chunks_mut(5 * width)) {
                merger.merge(first, piece);
            }
            assert_eq!(pieces, weight, "{case} {name}");
            if let Some((_, want)) = expected.get(&format!("merged.f16.{name}")) {
                // The base's values are bf16 with few bits: exact in f16 but for the smallest.
                let mut weight: Vec<f32> =
                    base.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
                merger.merge(0, &mut weight);
                let got: Vec<f32> = weight.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
                let differ = got.iter().zip(want).filter(|(a, b)| a != b).count();
                assert_eq!(differ, 0, "{case} {name} in f16");
            }
            if module == "model.layers.0.self_attn.q_proj" {
                if let Some((_, want)) = expected.get("unmerged") {
                    merger.unmerge(0, &mut weight, &norms);
                    let off = largest_difference(&weight, want);
                    assert!(off <= tolerance, "{case} unmerged: off by {off}");
                    let drift = largest_difference(&weight, &base);
                    assert!(drift > 0.0 && drift < 1e-6, "{case}: drift {drift}");
                }
                if let Some((_, codes)) = expected.get("merged.int8.codes") {
                    // bitsandbytes' base, given back in floats, merged, and quantised again.
                    let (int8, scales) = quantize_rows(&base, shape[0], width).expect("finite");
                    let mut weight: Vec<f32> = int8
                        .chunks(width)
                        .zip(&scales)
                        .flat_map(|(row, scale)| {
                            row.iter().map(move |c| f32::from(*c) * (scale * (1.0 / 127.0)))
                        })
                        .collect();
                    merger.merge(0, &mut weight);
                    let (got, scales) = quantize_rows(&weight, shape[0], width).expect("finite");
                    let got: Vec<f32> = got.iter().map(|c| f32::from(*c)).collect();
                    assert_eq!(&got, codes, "{case} int8");
                    assert_eq!(scales, expected["merged.int8.scales"].1, "{case} int8");
                }
            }
        }
    }
}

fn checkpoint_tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    use medharness::llama::WeightSource;
    let mut checkpoint = Checkpoint::open(&tiny()).expect("the golden base");
    let mut values = Vec::new();
    checkpoint.read(name, shape[1], 0, shape[0], &mut values).expect("reads");
    values
}

#[test]
fn files_written_have_the_names_shapes_and_fields_of_peft() {
    for case in CASES {
        let adapter = read_adapter(&folder(case)).expect("reads");
        let scratch = tempfile::tempdir().expect("a folder");
        adapter.write(scratch.path()).expect("writes");
        let again = Adapter::read(scratch.path()).expect("reads");
        assert_eq!((&again.config, &again.modules), (&adapter.config, &adapter.modules), "{case}");
        assert_eq!(again.whole, adapter.whole, "{case}");
        let shapes = |folder: PathBuf| {
            let bytes = fs::read(folder.join("adapter_model.safetensors")).expect("weights");
            let tensors = SafeTensors::deserialize(&bytes).expect("valid");
            let shape = |name: &&str| {
                (name.to_string(), tensors.tensor(name).expect("listed").shape().to_vec())
            };
            tensors.names().iter().map(shape).collect::<BTreeMap<_, _>>()
        };
        if !["bin", "of-2023", "resized-saved"].contains(&case) {
            assert_eq!(shapes(scratch.path().into()), shapes(folder(case)), "{case}");
        }
        let fields = |folder: PathBuf| {
            let text = fs::read_to_string(folder.join("adapter_config.json")).expect("JSON");
            serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&text).expect("JSON")
        };
        let theirs = fields(folder(case));
        if case != "of-2023" {
            assert_eq!(fields(scratch.path().into()), theirs, "{case}");
        }
        let completed: BTreeSet<String> =
            serde_json::from_str::<BTreeMap<String, serde_json::Value>>(
                &adapter.config.clone().completed().to_json().expect("JSON"),
            )
            .expect("JSON")
            .into_keys()
            .collect();
        let current: BTreeSet<String> = fields(folder("plain")).into_keys().collect();
        assert_eq!(completed, current, "{case}");
    }
}

#[test]
fn half_of_an_enlarged_vocabulary_is_refused() {
    let adapter = read_adapter(&folder(LOST)).expect("reads");
    let NetworkError::Adapter(error) = network().attach(&adapter, Attach::Frozen).unwrap_err()
    else {
        panic!("another kind of error")
    };
    assert!(
        matches!(error, LoraError::Enlarged { rows: 41, missing: "lm_head.weight" }),
        "{error}"
    );
}

#[test]
fn what_peft_repeats_is_left_aside_and_said() {
    let adapter = read_adapter(&folder("resized-saved")).expect("reads");
    assert_eq!(adapter.notes.len(), 1, "{:?}", adapter.notes);
    assert!(adapter.notes[0].contains("2 tensors `original_module`"));
    assert!(read_adapter(&folder("plain")).expect("reads").notes.is_empty());
}
