//! LLM.int8() in the network: what a result depends on, what stays in floats, gradients.

use candle_core::{DType, Device, Tensor, Var};
use medharness::{
    kernels::matrix::WeightType,
    llama::{
        Base, Batch, CheckpointError, Decoder, Hold, Linear, Llama, Rows, WeightSource,
        decoder::{Continue, Limits, Reply, Score},
    },
    protocol::{Bos, Sampling},
    quant::{Arithmetic, Int8Weight, OUTLIER_THRESHOLD},
    stats::Seed,
};

use crate::llama_support::{CONFIGS, Hashed, config, largest_difference};

fn int8(arithmetic: Arithmetic) -> Hold {
    Hold::Int8 { floats: WeightType::F32, arithmetic, threshold: OUTLIER_THRESHOLD }
}

/// The weights by hash with a wide spread behind each norm, so that about every tenth activation is
/// an outlier and which columns are depends on the tokens.
pub(crate) struct Wide<'a>(pub(crate) &'a str);

impl WeightSource for Wide<'_> {
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        Hashed(self.0).read(name, row_len, first, rows, out)?;
        if name.contains("layernorm") {
            out.iter_mut().for_each(|weight| *weight *= 4.0);
        }
        Ok(())
    }
}

fn wide(hold: Hold) -> Llama {
    Llama::new(config("grouped"), &mut Wide("grouped"), hold).expect("weights")
}

fn decoder(limits: Limits) -> Decoder {
    Decoder::new(wide(int8(Arithmetic::CpuEval)), limits)
}

/// Limits so small that sequences queue, prompts would be fed in pieces and nothing is kept.
const TIGHT: Limits = Limits { sequences: 2, pass_tokens: 3, cache_bytes: 1, prompt_bytes: 0 };

fn prompts() -> Vec<Vec<u32>> {
    (1..=12_u32).map(|n| (0..n).map(|i| (i * 5 + n / 3) % 61).collect()).collect()
}

fn greedily(max_new_tokens: usize) -> Sampling {
    Sampling {
        greedy: true,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        max_new_tokens,
        stop: Vec::new(),
        seed: 0,
        bos: Bos::None,
    }
}

fn generate(decoder: &mut Decoder, prompts: &[Vec<u32>]) -> Vec<Reply> {
    let request = |prompt: &Vec<u32>| Continue { prompt: prompt.clone(), seed: Seed(0) };
    let requests: Vec<_> = prompts.iter().map(request).collect();
    let mut replies = vec![None; prompts.len()];
    decoder
        .generate(&requests, &greedily(12), &[], &|_| false, &mut |i, r| replies[i] = Some(r))
        .expect("generates");
    replies.into_iter().map(|reply| reply.expect("a reply each")).collect()
}

fn score(decoder: &mut Decoder, requests: &[Score]) -> Vec<(u64, bool)> {
    let mut scores = Vec::new();
    let mut push = |i: usize, scored: medharness::llama::decoder::Scored| {
        assert_eq!(i, scores.len());
        scores.push((scored.log_prob.to_bits(), scored.is_greedy));
    };
    decoder.score(requests, &mut push).expect("scores");
    scores
}

fn requests() -> Vec<Score> {
    (0..24_u32)
        .map(|n| Score {
            context: (0..=n / 4).map(|i| (i * 7 + n / 4) % 61).collect(),
            continuation: (0..=n % 4).map(|i| (n * 3 + i * 11) % 61).collect(),
        })
        .collect()
}

#[test]
fn int8_replies_do_not_depend_on_limits_order_company_or_threads() {
    let prompts = prompts();
    let want = generate(&mut decoder(Limits::default()), &prompts);
    assert_eq!(generate(&mut decoder(TIGHT), &prompts), want);
    let reversed: Vec<_> = prompts.iter().rev().cloned().collect();
    let mut backwards = generate(&mut decoder(Limits::default()), &reversed);
    backwards.reverse();
    assert_eq!(backwards, want);
    for (prompt, want) in prompts.iter().zip(&want) {
        let alone = generate(&mut decoder(Limits::default()), std::slice::from_ref(prompt));
        assert_eq!(alone[0], *want);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
    assert_eq!(pool.install(|| generate(&mut decoder(Limits::default()), &prompts)), want);
}

#[test]
fn int8_scores_have_the_same_bits_under_any_limits_order_and_threads() {
    let requests = requests();
    let want = score(&mut decoder(Limits::default()), &requests);
    assert_eq!(score(&mut decoder(TIGHT), &requests), want);
    let reversed: Vec<_> = requests.iter().rev().cloned().collect();
    let mut backwards = score(&mut decoder(Limits::default()), &reversed);
    backwards.reverse();
    assert_eq!(backwards, want);
    for (request, want) in requests.iter().zip(&want) {
        let alone = score(&mut decoder(TIGHT), std::slice::from_ref(request));
        assert_eq!(alone[0], *want);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    assert_eq!(pool.install(|| score(&mut decoder(Limits::default()), &requests)), want);
}

/// What the tests above guard against is there: in one call, tokens change each other's results.
#[test]
fn a_row_depends_on_its_own_sequence_and_on_no_other() {
    let network = wide(int8(Arithmetic::CpuEval));
    let states = |sequences: &[&[u32]]| -> Vec<f32> {
        let states = network.forward(&Batch::new(sequences.iter().copied())).expect("forward");
        states.flatten_all().and_then(|x| x.to_vec1()).expect("values")
    };
    let (a, b): (&[u32], &[u32]) = (&[3, 17, 40, 8], &[60, 2, 33]);
    let width = network.config().hidden_size;
    assert_eq!(states(&[a, b])[..4 * width], states(&[a]));
    assert_eq!(states(&[a, b])[4 * width..], states(&[b]));
    // Causal in floats, not in LLM.int8(): a later token adds outlier columns.
    assert_ne!(states(&[a])[..3 * width], states(&[&a[..3]]));
    assert!(network.depends_on_pieces());
    let dequantized = wide(int8(Arithmetic::CpuTrain));
    assert!(!dequantized.depends_on_pieces());
    assert!(!wide(Hold::Frozen(WeightType::F32)).depends_on_pieces());
}

#[test]
fn linear_layers_of_the_blocks_are_int8_and_the_rest_stays_in_floats() {
    for name in CONFIGS {
        let hold = Hold::Int8 {
            floats: WeightType::Bf16,
            arithmetic: Arithmetic::CpuTrain,
            threshold: OUTLIER_THRESHOLD,
        };
        let network = Llama::new(config(name), &mut Hashed(name), hold).expect("weights");
        assert!(network.variables().is_empty());
        let parts = [("q_proj", 0), ("k_proj", 1), ("v_proj", 2), ("o_proj", 3)];
        let all: Vec<&Linear> = network.linears().map(|(_, linear)| linear).collect();
        for (layer, linears) in all.chunks(7).enumerate() {
            for (part, at) in parts {
                let Base::Int8(held) = linears[at].base() else { panic!("{name}: not int8") };
                let (outputs, inputs) = (held.weight().outputs(), held.weight().inputs());
                let mut values = Vec::new();
                let tensor = format!("model.layers.{layer}.self_attn.{part}.weight");
                Hashed(name).read(&tensor, inputs, 0, outputs, &mut values).expect("hashed");
                let want = Int8Weight::quantize(&values, outputs, inputs).expect("finite");
                assert_eq!(**held.weight(), want, "{name} {tensor}");
            }
            assert!(linears[4..].iter().all(|linear| matches!(linear.base(), Base::Int8(_))));
        }
        // Embedding, norms, biases and output matrix are those of a bf16 network.
        let floats = Llama::new(config(name), &mut Hashed(name), Hold::Frozen(WeightType::Bf16));
        let floats = floats.expect("weights");
        let state = Tensor::ones((2, network.config().hidden_size), DType::F32, &Device::Cpu);
        let state = state.expect("ones");
        let logits = |network: &Llama| -> Vec<f32> {
            let logits = network.logits(&state).expect("logits");
            logits.flatten_all().and_then(|x| x.to_vec1()).expect("values")
        };
        assert_eq!(logits(&network), logits(&floats));
        // The dequantised network is near the one in floats, biases included.
        let ids = [1, 5, 9];
        let run = |network: &Llama| -> Vec<f32> {
            let states = network.forward(&Batch::new([&ids[..]])).expect("forward");
            states.flatten_all().and_then(|x| x.to_vec1()).expect("values")
        };
        let off = largest_difference(&run(&network), &run(&floats));
        assert!(off > 0.0 && off < 0.1, "{name}: {off}");
    }
}

#[test]
fn gradients_pass_through_int8_layers_to_their_input() {
    for arithmetic in [Arithmetic::CpuEval, Arithmetic::CpuTrain] {
        let name = "qwen-biased";
        let network = Llama::new(config(name), &mut Hashed(name), int8(arithmetic));
        let network = network.expect("weights");
        let (_, linear) = network.linears().next().expect("a first layer");
        let Base::Int8(layer) = linear.base() else { panic!("not int8") };
        let (inputs, outputs) = (layer.weight().inputs(), layer.weight().outputs());
        let x: Vec<f32> = (0..3 * inputs).map(|i| (i as f32 * 0.7).sin() * 4.0).collect();
        let x = Tensor::from_vec(x, (3, inputs), &Device::Cpu).expect("a matrix");
        let x = Var::from_tensor(&x).expect("a variable");
        let spans = [0..2, 2..3].into_iter().collect();
        let y = linear
            .forward(x.as_tensor(), &Rows { spans: Some(&spans), draw: None })
            .expect("forward");
        let grads = y.sum_all().and_then(|loss| loss.backward()).expect("backward");
        let grad: Vec<f32> = grads
            .get(&x)
            .expect("no silent end of the gradient")
            .flatten_all()
            .and_then(|grad| grad.to_vec1())
            .expect("values");
        assert_eq!(grad, layer.backward(&vec![1.0; 3 * outputs]).expect("rows"));
        assert!(layer.bias().is_some());
    }
}

/// Norms so wide that the network overflows; in the blocks everything becomes infinity, then NaN.
struct Overflowing;

impl WeightSource for Overflowing {
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        Hashed("plain").read(name, row_len, first, rows, out)?;
        if name.contains("layernorm") {
            out.iter_mut().for_each(|value| *value = f32::MAX);
        }
        Ok(())
    }
}

#[test]
fn a_network_that_overflows_fails_the_item_and_not_the_run() {
    for arithmetic in [Arithmetic::CpuEval, Arithmetic::CpuTrain, Arithmetic::Cuda] {
        let network = Llama::new(config("plain"), &mut Overflowing, int8(arithmetic));
        let mut decoder = Decoder::new(network.expect("finite weights"), Limits::default());
        for reply in generate(&mut decoder, &[vec![1, 2], vec![3]]) {
            assert!(reply.failed && reply.ids.is_empty(), "{reply:?}");
        }
        let request = Score { context: vec![1, 2], continuation: vec![3, 4] };
        let scores = score(&mut decoder, &[request]);
        assert!(f64::from_bits(scores[0].0).is_nan());
    }
}
