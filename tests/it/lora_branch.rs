//! An adapter inside the network: gradients, dropout, promises about bits, what does not fit.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use medharness::{
    kernels::matrix::{Matrix, WeightType},
    llama::{Base, Batch, Hold, Linear, Llama, NetworkError, Piece, Rows, Sequence},
    lora::{Adapter, Attach, Branch, Draw, LoraConfig, LoraError, LowRank},
    stats::Seed,
};

use crate::llama_support::{Hashed, config, largest_difference, splitmix64};

fn values(seed: u64, len: usize) -> Vec<f32> {
    let unit = |i| (splitmix64(seed * 1_000_003 + i) >> 40) as f32 / 16_777_216.0;
    (0..len as u64).map(|i| unit(i) * 2.0 - 1.0).collect()
}

fn settings(json: &str) -> LoraConfig {
    LoraConfig::parse(&format!("{{\"peft_type\": \"LORA\", {json}}}")).expect("settings")
}

/// A layer of 5 inputs and 4 outputs with a branch of rank 2.
fn layer(attach: Attach, dora: Dora) -> (Linear, LowRank) {
    let mut matrix = Matrix::zeros(WeightType::F32, 4, 5);
    matrix.set_rows(0, &values(1, 20));
    let bias = Tensor::from_vec(values(2, 4), 4, &Device::Cpu).expect("shape");
    let mut linear = Linear::new(Base::Frozen(Arc::new(matrix)), Some(bias));
    let magnitude = (dora == Dora::On).then(|| values(6, 4).iter().map(|m| m + 2.0).collect());
    let low = LowRank { a: values(3, 10), b: values(4, 8), rank: 2, scaling: 1.5, magnitude };
    let branch = Branch::new("m", &low, 0.3, attach, linear.base());
    linear.set_branch(Some(branch));
    (linear, low)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Dora {
    On,
    Off,
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().and_then(|x| x.to_vec1()).expect("f32")
}

/// A loss that weighs every output differently.
fn loss(y: &Tensor) -> Tensor {
    let weights = Tensor::from_vec(values(99, y.elem_count()), y.shape(), &Device::Cpu);
    (y * weights.expect("shape")).and_then(|y| y.sum_all()).expect("loss")
}

#[test]
fn gradients_equal_finite_differences_with_and_without_dropout_and_dora() {
    /// The loss is linear in each element: what remains is rounding over twice the step.
    const TOLERANCE: f32 = 1e-3;
    const STEP: f32 = 0.05;
    let draw = Draw::new(Seed(5), 3, (0..6).map(|row| (row, 0)));
    for (draw, dora) in
        [None, Some(&draw)].into_iter().flat_map(|draw| [(draw, Dora::Off), (draw, Dora::On)])
    {
        let (linear, _) = layer(Attach::Trainable, dora);
        let x = Var::from_vec(values(5, 30), (6, 5), &Device::Cpu).expect("shape");
        let mut inputs = vec![("x".to_owned(), x.clone())];
        inputs.extend(linear.branch().expect("set").variables());
        let run =
            || loss(&linear.forward(x.as_tensor(), &Rows { spans: None, draw }).expect("forward"));
        let grads = run().backward().expect("backward");
        for (name, input) in &inputs {
            let grad = flat(grads.get(input.as_tensor()).expect("a gradient"));
            assert!(grad.iter().any(|g| *g != 0.0), "{name}: the gradient is zero");
            if dora == Dora::On && name.contains("weight") {
                // The norms take A and B as constants, which differences do not: see the goldens.
                continue;
            }
            let start = flat(input);
            for i in 0..start.len() {
                let at = |delta: f32| {
                    let mut moved = start.clone();
                    moved[i] += delta;
                    let moved = Tensor::from_vec(moved, input.shape(), &Device::Cpu);
                    input.set(&moved.expect("shape")).expect("set");
                    run().to_scalar::<f32>().expect("scalar")
                };
                let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                at(0.0);
                let off = (difference - grad[i]).abs();
                assert!(off <= TOLERANCE, "{name} element {i} {dora:?}: {} {difference}", grad[i]);
            }
        }
    }
}

#[test]
fn values_and_gradients_equal_the_plain_definition() {
    /// Sums of up to ten terms about 1 in another order.
    const TOLERANCE: f32 = 2e-6;
    let (linear, low) = layer(Attach::Trainable, Dora::Off);
    let (frozen, _) = layer(Attach::Frozen, Dora::Off);
    let x = Var::from_vec(values(5, 30), (6, 5), &Device::Cpu).expect("shape");
    let y = linear.forward(x.as_tensor(), &Rows::default()).expect("forward");
    let same = frozen.forward(x.as_tensor(), &Rows::default()).expect("forward");
    assert_eq!(flat(&y), flat(&same));
    let base = Linear::new(linear.base().clone(), linear.bias().cloned());
    let base_y = base.forward(x.as_tensor(), &Rows::default()).expect("forward");
    let mut want = flat(&base_y);
    low.add_to(&flat(&x), &mut want);
    assert!(largest_difference(&flat(&y), &want) <= TOLERANCE);
    let grads = loss(&y).backward().expect("backward");
    let plain = low.backward(&flat(&x), &values(99, 24));
    let of_base = loss(&base_y).backward().expect("backward");
    let want_x: Vec<f32> = flat(of_base.get(x.as_tensor()).expect("x"))
        .iter()
        .zip(&plain.x)
        .map(|(base, branch)| base + branch)
        .collect();
    let grad = |x: &Tensor| flat(grads.get(x).expect("a gradient"));
    assert!(largest_difference(&grad(x.as_tensor()), &want_x) <= TOLERANCE);
    let frozen_grads = loss(&same).backward().expect("backward");
    assert_eq!(grad(x.as_tensor()), flat(frozen_grads.get(x.as_tensor()).expect("x")));
    for ((_, var), want) in
        linear.branch().expect("set").variables().iter().zip([&plain.a, &plain.b])
    {
        assert!(largest_difference(&grad(var.as_tensor()), want) <= TOLERANCE);
    }
}

fn network(name: &str) -> Llama {
    Llama::new(config(name), &mut Hashed(name), Hold::Frozen(WeightType::F32)).expect("weights")
}

/// An adapter none of whose matrices is zero.
fn adapter(network: &Llama, json: &str) -> Adapter {
    let mut adapter = network.fresh_adapter(&settings(json), 7).expect("fresh");
    for (seed, low) in (10..).zip(adapter.modules.values_mut()) {
        low.b = values(seed, low.b.len()).iter().map(|x| x * 0.3).collect();
    }
    adapter
}

const ALL: &str =
    r#""target_modules": "all-linear", "r": 3, "lora_alpha": 6, "lora_dropout": 0.25"#;

#[test]
fn logits_have_the_same_bits_in_any_batch_split_and_thread_count() {
    let mut network = network("grouped");
    let adapter = adapter(&network, ALL);
    let prompts: Vec<Vec<u32>> =
        (0..32u32).map(|n| (0..n % 7 + 1).map(|i| (n * 5 + i * 3) % 50).collect()).collect();
    let last = |network: &Llama, prompts: &[Vec<u32>]| {
        let batch = Batch::new(prompts.iter().map(|prompt| &**prompt));
        let logits = network.forward(&batch).and_then(|states| network.logits(&states));
        let rows: Vec<Vec<f32>> = logits.expect("forward").to_vec2().expect("f32");
        batch.spans().iter().map(|span| rows[span.end - 1].clone()).collect::<Vec<_>>()
    };
    let before = last(&network, &prompts);
    network.attach(&adapter, Attach::Frozen).expect("fits");
    assert_ne!(last(&network, &prompts), before);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        let together = pool.install(|| last(&network, &prompts));
        for (prompt, want) in prompts.iter().zip(&together) {
            let alone = pool.install(|| last(&network, std::slice::from_ref(prompt)));
            assert_eq!(&alone[0], want);
            let mut sequence = Sequence::new(network.config());
            let mut states = None;
            for token in prompt {
                let tokens = &[*token];
                let mut piece = [Piece { sequence: &mut sequence, tokens }];
                states = Some(network.extend(&mut piece).expect("extends"));
            }
            let logits = network.logits(&states.expect("a token")).expect("logits");
            assert_eq!(&flat(&logits), want);
        }
    }
}

fn gradients(network: &Llama, batch: &Batch, draw: &Draw) -> Vec<Vec<f32>> {
    let states = network.forward_drawn(batch, Some(draw)).expect("forward");
    let grads = states.sqr().and_then(|x| x.sum_all()).and_then(|x| x.backward()).expect("graph");
    let grad = |var: &Var| flat(grads.get(var.as_tensor()).expect("no gradient is lost"));
    network.variables().iter().map(|(_, var)| grad(var)).collect()
}

#[test]
fn a_packed_batch_with_dropout_has_the_gradients_of_its_examples_together() {
    /// Relative to the largest element: sums over rows in another order, through two blocks.
    const TOLERANCE: f32 = 1e-4;
    let mut network = network("plain");
    network.attach(&adapter(&network, ALL), Attach::Trainable).expect("fits");
    let examples: [&[u32]; 3] = [&[1, 2, 3, 4], &[5, 6], &[7, 8, 9]];
    let batch = Batch::new(examples);
    let together = gradients(&network, &batch, &batch.draw(Seed(1), 4, &[10, 11, 12]));
    let mut alone: Vec<Vec<f32>> = together.iter().map(|x| vec![0.0; x.len()]).collect();
    for (number, example) in (10..).zip(examples) {
        let batch = Batch::new([example]);
        let draw = batch.draw(Seed(1), 4, &[number]);
        for (sum, grad) in alone.iter_mut().zip(gradients(&network, &batch, &draw)) {
            sum.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
        }
    }
    for (((name, _), together), alone) in network.variables().iter().zip(together).zip(alone) {
        let size = together.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(size > 0.0, "{name}: the gradient is zero");
        let off = largest_difference(&together, &alone);
        assert!(off <= TOLERANCE * size, "{name}: off by {off} of {size}");
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_its_variables_have_the_names_of_peft() {
    let mut network = network("plain");
    let batch = Batch::new([&[1, 2, 3][..]]);
    let before = flat(&network.forward(&batch).expect("forward"));
    let fresh = network.fresh_adapter(&settings("\"r\": 2"), 0).expect("fresh");
    network.attach(&fresh, Attach::Trainable).expect("fits");
    assert_eq!(flat(&network.forward(&batch).expect("forward")), before);
    let names: Vec<&str> = network.variables().iter().map(|(name, _)| &**name).collect();
    let first = "base_model.model.model.layers.0.self_attn";
    let parts = ["q_proj.lora_A", "q_proj.lora_B", "v_proj.lora_A", "v_proj.lora_B"];
    assert_eq!(names[..4], parts.map(|part| format!("{first}.{part}.weight")));
    assert_eq!(names.len(), 4 * network.config().layers);
    assert_eq!(network.adapter().expect("read"), Some(fresh));
}

#[test]
fn changed_variables_are_read_back_as_an_adapter() {
    let mut network = network("plain");
    let wanted = adapter(&network, ALL);
    let fresh = network.fresh_adapter(&wanted.config, 7).expect("fresh");
    network.attach(&fresh, Attach::Trainable).expect("fits");
    for (name, var) in network.variables() {
        let module =
            name.strip_prefix("base_model.model.").and_then(|n| n.strip_suffix(".lora_B.weight"));
        if let Some(module) = module {
            let b = wanted.modules[module].b.clone();
            var.set(&Tensor::from_vec(b, var.shape(), &Device::Cpu).expect("shape")).expect("set");
        }
    }
    assert_eq!(network.adapter().expect("read"), Some(wanted));
}

#[test]
fn an_adapter_of_another_network_is_refused_and_nothing_changes() {
    let mut network = network("plain");
    let whole = adapter(&network, "\"r\": 2");
    let refused = |network: &mut Llama, adapter: &Adapter| match network
        .attach(adapter, Attach::Frozen)
        .expect_err("does not fit")
    {
        NetworkError::Adapter(error) => error,
        other => panic!("{other}"),
    };
    let name = "model.layers.0.self_attn.q_proj";
    let mut other = whole.clone();
    let q = other.modules.remove(name).expect("there");
    assert!(matches!(refused(&mut network, &other), LoraError::MissingModule(n) if n == name));
    other.modules.insert("model.layers.9.self_attn.q_proj".into(), q.clone());
    other.modules.insert(name.into(), q.clone());
    assert!(matches!(refused(&mut network, &other), LoraError::ExtraModule(_)));
    let mut other = whole;
    let wide = LowRank { a: [&*q.a, &*q.a].concat(), ..q };
    other.modules.insert(name.into(), wide);
    assert!(matches!(refused(&mut network, &other), LoraError::Shape { .. }));
    assert_eq!(network.adapter().expect("read"), None);
}
