//! The backward by hand against candle's own, over whole networks.

use std::collections::HashMap;

use candle_core::{Device, Tensor, TensorId, Var, backprop::GradStore};
use medharness::{
    kernels::matrix::WeightType,
    llama::{Batch, Hold, Llama, NetworkError, Receiver, Stages, ops::Masked, read_adapter},
    lora::{Attach, Draw, LoraConfig},
    quant::{Arithmetic, OUTLIER_THRESHOLD},
    stats::Seed,
    train::{Gradients, MicroBatch, Recompute, accumulate},
};
use serde_json::{Value, json};

use crate::{
    llama_support::{CONFIGS, Hashed, config, golden, splitmix64},
    lora_networks,
};

/// Both are sums in f32, the loss apart in the same order; the largest of all cases is 5.7e-6.
const TOLERANCE: f32 = 2e-5;

const SCALE: f32 = 0.25;

fn network(name: &str, hold: Hold) -> Llama {
    Llama::new(config(name), &mut Hashed(name), hold).expect("weights")
}

/// Two sequences, the second behind padding that attends to everything; most tokens are learnt.
fn micro_batch(ids: &[u32]) -> MicroBatch {
    let (first, second) = ids.split_at(ids.len() / 3);
    let batch = Batch::new([first, second]).with_padding(1, Masked::Everything, [(1, 3)]);
    let mut targets: Vec<Option<u32>> = Vec::new();
    for (row, sequence) in [first, second].into_iter().enumerate() {
        let learnt = |token: &u32| (token % 5 != row as u32).then_some(*token);
        targets.extend(sequence[1..].iter().map(learnt));
        targets.push(None);
    }
    // The last padding row predicts the sequence's first token.
    targets.extend([None, None, Some(second[0])]);
    assert_eq!(targets.len(), batch.tokens().len());
    MicroBatch { batch, targets, examples: vec![4, 9, 9], rows: 2, constant_token: None }
}

fn golden_batch(name: &str) -> MicroBatch {
    micro_batch(&golden(name).cases.remove(2).ids)
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|x| x.to_vec1()).expect("f32")
}

/// Sums of what a backward gives away.
#[derive(Default)]
struct Sums(HashMap<TensorId, Vec<f32>>);

impl Receiver for Sums {
    fn whole(&mut self, weight: TensorId, grad: Vec<f32>) {
        let before = self.0.insert(weight, grad);
        assert!(before.is_none(), "one gradient a weight");
    }

    fn rows(&mut self, weight: TensorId, values: usize, rows: &[u32], grad: &[f32]) {
        let sum = self.0.entry(weight).or_default();
        sum.resize(values, 0.0);
        let width = grad.len() / rows.len();
        for (row, grad) in rows.iter().zip(grad.chunks(width)) {
            let sum = &mut sum[*row as usize * width..][..width];
            sum.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
        }
    }
}

/// Holds the gradients below the last norm against candle's, bit for bit, for any gradient of the
/// states.
fn check_bits(case: &str, network: &Llama, micro: &MicroBatch, draw: Option<&Draw>) {
    let states = network.forward_drawn(&micro.batch, draw).expect(case);
    let grad: Vec<f32> = (0..states.elem_count()).map(|i| (i as f32).cos()).collect();
    let weights = Tensor::from_slice(&grad, states.shape(), &Device::Cpu).expect("shape");
    let store = (&states * weights).and_then(|x| x.sum_all()?.backward()).expect(case);

    let (mut sums, layers) = (Sums::default(), network.blocks().len());
    let mut by_hand = || -> Result<(), NetworkError> {
        let stages = Stages::new(network, &micro.batch, draw)?;
        let mut embedded = stages.embed()?;
        let (mut x, mut kept) = (std::mem::take(&mut embedded.values), Vec::new());
        for layer in 0..layers {
            let (y, block) = stages.block(layer, x)?;
            x = y;
            kept.push(block);
        }
        assert_eq!(stages.norm(&x)?, flat(&states), "{case}: states");
        let mut grad = stages.pull_back_norm(&x, &grad, &mut sums)?;
        for (layer, block) in kept.into_iter().enumerate().rev() {
            let below = stages.pull_back(layer, block, grad, true, &mut sums)?;
            grad = below.expect("wanted");
        }
        stages.pull_back_embedded(&embedded, &grad, &mut sums)
    };
    by_hand().expect(case);
    for (name, variable) in network.variables() {
        match (sums.0.get(&variable.id()), store.get(variable.as_tensor())) {
            (Some(got), Some(want)) => assert!(*got == flat(want), "{case}: bits of {name}"),
            // A head of its own has no part in the states.
            (got, want) => assert!(got.is_none() && want.is_none(), "{case}: {name}"),
        }
    }
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
            let want = flat(want);
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
        let (network, micro) = (network(name, Hold::Trainable), golden_batch(name));
        check(name, &network, &micro, None);
        check_bits(name, &network, &micro, None);
    }
}

fn draw_of(micro: &MicroBatch) -> Draw {
    let examples: Vec<u64> = micro.examples.iter().map(|row| *row as u64).collect();
    micro.batch.draw(Seed(3), 5, &examples)
}

/// Attaches a trained adapter whose matrices all differ from 0.
fn attach(network: &mut Llama, settings: &Value) {
    let mut config = json!({"peft_type": "LORA", "r": 3, "lora_alpha": 6.0, "lora_dropout": 0.2});
    for (key, value) in settings.as_object().expect("settings") {
        config[key] = value.clone();
    }
    let config = LoraConfig::parse(&config.to_string()).expect("settings");
    let adapter = network.fresh_adapter(&config, 7).expect("an adapter");
    network.attach(&adapter, Attach::Trainable).expect("fits");
    shift_all(network);
}

fn shift_all(network: &Llama) {
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

fn targets(names: Value) -> Value {
    json!({ "target_modules": names })
}

#[test]
fn every_matrix_of_an_adapter_has_candles_gradient() {
    let int8 = Hold::Int8 {
        floats: WeightType::F32,
        arithmetic: Arithmetic::CpuTrain,
        threshold: OUTLIER_THRESHOLD,
    };
    let f32 = Hold::Frozen(WeightType::F32);
    let dora = json!({"target_modules": ["q_proj", "o_proj", "down_proj"], "use_dora": true});
    let biased = json!({"target_modules": "all-linear", "use_dora": true, "bias": "all"});
    let cases = [
        // Below the first adapter nothing is computed.
        ("plain", targets(json!(["v_proj"])), f32),
        ("plain", targets(json!(["down_proj"])), f32),
        ("plain", targets(json!(["up_proj"])), f32),
        ("plain", targets(json!(["layers.1.self_attn.q_proj"])), f32),
        ("grouped", targets(json!(["o_proj"])), f32),
        ("grouped", targets(json!(["q_proj", "v_proj"])), Hold::Frozen(WeightType::Bf16)),
        ("all-biased", targets(json!("all-linear")), f32),
        ("all-biased", json!({"target_modules": ["v_proj"], "bias": "all"}), f32),
        ("qwen-biased", targets(json!(["q_proj", "gate_proj"])), int8),
        ("tied", targets(json!(["k_proj", "gate_proj", "embed_tokens", "lm_head"])), f32),
        ("mistral", targets(json!("all-linear")), int8),
        ("grouped", dora, f32),
        ("all-biased", biased, f32),
    ];
    for (name, settings, hold) in cases {
        let mut network = network(name, hold);
        attach(&mut network, &settings);
        let micro = golden_batch(name);
        let draw = draw_of(&micro);
        for draw in [None, Some(&draw)] {
            let case = format!("{name} {settings} {}", draw.is_some());
            check(&case, &network, &micro, draw);
            // Candle adds the parts of such layers in another order where they fork.
            if settings["use_dora"].is_null() {
                check_bits(&case, &network, &micro, draw);
            }
        }
    }
}

/// Adapters that PEFT made: biases, whole modules and norms, enlarged vocabularies, `DoRA`.
#[test]
fn every_adapter_of_peft_has_candles_gradient() {
    for case in lora_networks::usable() {
        let adapter = read_adapter(&lora_networks::folder(case)).expect(case);
        let mut network = lora_networks::network();
        network.attach(&adapter, Attach::Trainable).expect(case);
        shift_all(&network);
        let micro = micro_batch(&[1, 7, 30, 22, 5, 39, 0, 11, 3, 3, 14, 15, 9, 26, 5, 35]);
        let draw = draw_of(&micro);
        check(case, &network, &micro, Some(&draw));
    }
}

/// Weights that could be trained take no part where an adapter stands beside them.
#[test]
fn an_adapter_beside_trainable_weights_is_trained_alone() {
    let mut network = network("plain", Hold::Trainable);
    attach(&mut network, &targets(json!(["q_proj"])));
    check("beside", &network, &golden_batch("plain"), None);
}
