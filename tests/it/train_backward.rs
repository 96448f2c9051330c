//! The backward by hand against candle's own, over whole networks.

use candle_core::{Device, Tensor, Var, backprop::GradStore};
use medharness::{
    kernels::matrix::WeightType,
    llama::{Batch, Hold, Llama, NetworkError, ops::Masked},
    lora::{Attach, Draw, LoraConfig},
    quant::{Arithmetic, OUTLIER_THRESHOLD},
    stats::Seed,
    train::{Gradients, MicroBatch, Recompute, accumulate},
};
use serde_json::{Value, json};

use crate::llama_support::{CONFIGS, Hashed, config, golden, splitmix64};

/// Both are sums in f32, the loss apart in the same order; measured 4e-6.
const TOLERANCE: f32 = 2e-5;

const SCALE: f32 = 0.25;

fn network(name: &str, hold: Hold) -> Llama {
    Llama::new(config(name), &mut Hashed(name), hold).expect("weights")
}

/// Two sequences, the second behind padding that attends to everything; most tokens are learnt.
fn micro_batch(name: &str) -> MicroBatch {
    let ids = golden(name).cases.remove(2).ids;
    let (first, second) = ids.split_at(ids.len() / 3);
    let batch = Batch::new([first, second]).with_padding(1, Masked::Everything, [(1, 3)]);
    let mut targets: Vec<Option<u32>> = Vec::new();
    for (row, sequence) in [first, second].into_iter().enumerate() {
        targets
            .extend(sequence[1..].iter().map(|token| (token % 5 != row as u32).then_some(*token)));
        targets.push(None);
    }
    // The last padding row predicts the sequence's first token.
    targets.extend([None, None, Some(second[0])]);
    assert_eq!(targets.len(), batch.tokens().len());
    MicroBatch { batch, targets, examples: vec![4, 9, 9], rows: 2, constant_token: None }
}

/// The same gradients from one graph of candle's.
fn by_candle(
    network: &Llama,
    micro: &MicroBatch,
    draw: Option<&Draw>,
) -> Result<(f64, GradStore), NetworkError> {
    let learnt = || micro.targets.iter().enumerate().filter_map(|(row, t)| Some((row, (*t)?)));
    let rows: Vec<u32> = learnt().map(|(row, _)| row as u32).collect();
    let targets: Vec<u32> = learnt().map(|(_, target)| target).collect();
    let states = network.forward_drawn(&micro.batch, draw)?;
    let states = states.index_select(&Tensor::new(&*rows, &Device::Cpu)?, 0)?;
    let draw = draw.map(|draw| draw.of_rows(learnt().map(|(row, _)| row)));
    let logits = network.logits_drawn(&states, draw.as_ref())?;
    let mean = candle_nn::loss::cross_entropy(&logits, &Tensor::new(&*targets, &Device::Cpu)?)?;
    let sum = (mean * targets.len() as f64)?;
    let loss = f64::from(sum.to_scalar::<f32>()?);
    Ok((loss, (sum * f64::from(SCALE))?.backward()?))
}

fn check(case: &str, network: &Llama, micro: &MicroBatch, draw: Option<&Draw>) {
    let (want_loss, store) = by_candle(network, micro, draw).expect(case);
    for recompute in [Recompute::Nothing, Recompute::Blocks] {
        let mut gradients = Gradients::new(network);
        // Twice: the second adds to the first.
        let loss = accumulate(network, micro, draw, SCALE, recompute, &mut gradients).expect(case);
        accumulate(network, micro, draw, SCALE, recompute, &mut gradients).expect(case);
        assert!((loss - want_loss).abs() <= 1e-5 * want_loss, "{case}: {loss}, not {want_loss}");
        for ((name, variable), got) in network.variables().iter().zip(gradients.values()) {
            let want = store.get(variable.as_tensor()).unwrap_or_else(|| panic!("{case}: {name}"));
            let want: Vec<f32> = want.flatten_all().and_then(|x| x.to_vec1()).expect("f32");
            assert_eq!(got.len(), want.len(), "{case}: {name}");
            let size = want.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            assert!(size > 0.0, "{case}: {name} has no gradient");
            let pairs = got.iter().zip(&want);
            let off = pairs.fold(0.0_f32, |most, (a, b)| most.max((a / 2.0 - b).abs()));
            assert!(off <= TOLERANCE * size, "{case} {recompute:?}: {name} off by {off} of {size}");
        }
    }
}

#[test]
fn every_weight_of_a_full_training_has_candles_gradient() {
    for name in CONFIGS {
        check(name, &network(name, Hold::Trainable), &micro_batch(name), None);
    }
}

/// Attaches a trained adapter whose matrices all differ from 0.
fn attach(network: &mut Llama, targets: &Value, is_dora: bool) {
    let config = json!({"peft_type": "LORA", "r": 3, "lora_alpha": 6.0, "lora_dropout": 0.2,
        "target_modules": targets, "use_dora": is_dora});
    let config = LoraConfig::parse(&config.to_string()).expect("settings");
    let adapter = network.fresh_adapter(&config, 7).expect("an adapter");
    network.attach(&adapter, Attach::Trainable).expect("fits");
    for (place, (_, variable)) in network.variables().iter().enumerate() {
        shift(variable, place as u64);
    }
}

fn shift(variable: &Var, seed: u64) {
    let noise = (0..variable.elem_count() as u64).map(|i| {
        let z = splitmix64(seed << 32 | i) >> 40;
        (z as f32 / 16_777_216.0 - 0.5) * 0.1
    });
    let noise = Tensor::from_iter(noise, &Device::Cpu).and_then(|x| x.reshape(variable.shape()));
    variable.set(&(noise.expect("shape") + variable.as_tensor()).expect("sum")).expect("set");
}

#[test]
fn every_matrix_of_an_adapter_has_candles_gradient() {
    let int8 = Hold::Int8 {
        floats: WeightType::F32,
        arithmetic: Arithmetic::CpuTrain,
        threshold: OUTLIER_THRESHOLD,
    };
    let f32 = Hold::Frozen(WeightType::F32);
    let cases = [
        // Below the first adapter nothing is computed.
        ("plain", json!(["v_proj"]), f32, false),
        ("plain", json!(["down_proj"]), f32, false),
        ("plain", json!(["up_proj"]), f32, false),
        ("grouped", json!(["o_proj"]), f32, false),
        ("grouped", json!(["q_proj", "v_proj"]), Hold::Frozen(WeightType::Bf16), false),
        ("all-biased", json!("all-linear"), f32, false),
        ("tied", json!(["k_proj", "gate_proj", "embed_tokens", "lm_head"]), f32, false),
        ("mistral", json!("all-linear"), int8, false),
        ("grouped", json!("all-linear"), f32, true),
        ("plain", json!(["layers.1.self_attn.q_proj"]), f32, false),
    ];
    for (name, targets, hold, is_dora) in cases {
        let mut network = network(name, hold);
        attach(&mut network, &targets, is_dora);
        let micro = micro_batch(name);
        let examples: Vec<u64> = micro.examples.iter().map(|row| *row as u64).collect();
        let draw = micro.batch.draw(Seed(3), 5, &examples);
        for draw in [None, Some(&draw)] {
            let case = format!("{name} {targets} {is_dora} {}", draw.is_some());
            check(&case, &network, &micro, draw);
        }
    }
}
