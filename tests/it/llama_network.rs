//! Logits of the network against transformers, and their independence of batch, split and threads.

use std::sync::Arc;

use medharness::{
    kernels::matrix::WeightType,
    llama::{Batch, Checkpoint, Hold, Llama, Piece, Sequence},
};

use crate::llama_support::{CONFIGS, Hashed, config, golden, goldens, largest_difference};

/// The bound for f32; 2e-5 was the largest difference seen.
const LOGIT_TOLERANCE: f32 = 1e-4;

const F32: Hold = Hold::Frozen(WeightType::F32);

fn network(name: &str, hold: Hold) -> Llama {
    Llama::new(config(name), &mut Hashed(name), hold).expect("weights")
}

fn logits(network: &Llama, ids: &[u32]) -> Vec<Vec<f32>> {
    let states = network.forward(&Batch::new([ids])).expect("forward");
    network.logits(&states).expect("logits").to_vec2().expect("f32")
}

#[test]
fn logits_of_every_configuration_equal_transformers() {
    for name in CONFIGS {
        for hold in [F32, Hold::Trainable] {
            let network = network(name, hold);
            for case in golden(name).cases {
                let got = logits(&network, &case.ids).concat();
                let off = largest_difference(&got, &case.f32.concat());
                assert!(off <= LOGIT_TOLERANCE, "{name} {hold:?}: off by {off}");
            }
        }
    }
}

/// Activations stay f32, so 16-bit weights give what f32 arithmetic gives on the rounded weights.
#[test]
fn logits_with_bf16_weights_equal_transformers_on_the_rounded_weights() {
    for name in CONFIGS {
        let network = network(name, Hold::Frozen(WeightType::Bf16));
        for case in golden(name).cases {
            let got = logits(&network, &case.ids);
            let off = largest_difference(&got[got.len() - 1], &case.bf16_weights[0]);
            assert!(off <= LOGIT_TOLERANCE, "{name}: off by {off}");
        }
    }
}

#[test]
fn logits_with_f16_weights_stay_near_those_with_f32() {
    /// Eleven bits of mantissa; measured 0.004.
    const F16_TOLERANCE: f32 = 0.02;
    let (exact, half) = (network("plain", F32), network("plain", Hold::Frozen(WeightType::F16)));
    let ids = &golden("plain").cases[2].ids;
    let off = largest_difference(&logits(&exact, ids).concat(), &logits(&half, ids).concat());
    assert!(off > 0.0 && off <= F16_TOLERANCE, "off by {off}");
}

#[derive(serde::Deserialize)]
struct Stories {
    ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

#[test]
fn logits_of_a_real_checkpoint_equal_transformers() {
    let folder = shared!("checkpoints/stories260k");
    let text = std::fs::read_to_string(goldens().join("stories260k.logits.json")).expect("golden");
    let want: Stories = serde_json::from_str(&text).expect("golden");
    let network = Checkpoint::open(&folder).expect("opens").load(F32).expect("loads");
    let got: Vec<f32> =
        logits(&network, &want.ids).into_iter().skip(9).step_by(10).flatten().collect();
    let off = largest_difference(&got, &want.logits.concat());
    assert!(off <= LOGIT_TOLERANCE, "off by {off}");
}

#[derive(serde::Deserialize)]
struct Greedy {
    ids: Vec<u32>,
}

#[test]
fn greedy_steps_of_a_real_checkpoint_equal_transformers() {
    let folder = shared!("checkpoints/stories260k");
    let text = std::fs::read_to_string(folder.join("expected_greedy.json")).expect("golden");
    let want: Greedy = serde_json::from_str(&text).expect("golden");
    let network = Checkpoint::open(&folder).expect("opens").load(F32).expect("loads");
    let mut sequence = Sequence::new(network.config());
    let mut ids = vec![want.ids[0]];
    while ids.len() < want.ids.len() {
        let last = [ids[ids.len() - 1]];
        let row = extend(&network, &mut [Piece { sequence: &mut sequence, tokens: &last }]);
        // The first of the largest.
        let best = (0..row[0].len()).rev().max_by(|a, b| row[0][*a].total_cmp(&row[0][*b]));
        ids.push(u32::try_from(best.expect("a logit")).expect("small vocabulary"));
    }
    assert_eq!(ids, want.ids);
}

fn extend(network: &Llama, pieces: &mut [Piece<'_>]) -> Vec<Vec<f32>> {
    let states = network.extend(pieces).expect("extends");
    network.logits(&states).expect("logits").to_vec2().expect("f32")
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
}

/// Prompts of unequal lengths, one by one, together in two orders, cached in uneven pieces, on one
/// thread and on two: every logit has the same bits.
#[test]
fn logits_have_the_same_bits_in_any_batch_order_split_and_thread_count() {
    for name in ["grouped", "qwen-biased", "odd-sizes"] {
        let network = network(name, F32);
        let vocab = u32::try_from(network.config().vocab_size).expect("small");
        let prompts: Vec<Vec<u32>> =
            (1..=32).map(|n| (0..n).map(|i| (i * 7 + n) % vocab).collect()).collect();
        let alone: Vec<_> = prompts.iter().map(|ids| bits(&logits(&network, ids))).collect();
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            for size in [2, 7, 32] {
                let batch: Vec<&[u32]> = prompts[..size].iter().map(|ids| &**ids).rev().collect();
                let batch = Batch::new(batch);
                let rows = pool.install(|| {
                    let states = network.forward(&batch).expect("forward");
                    network.logits(&states).expect("logits").to_vec2().expect("f32")
                });
                for (span, want) in batch.spans().iter().zip(alone[..size].iter().rev()) {
                    assert_eq!(bits(&rows[span.clone()]), *want, "{name} {threads} {size}");
                }
            }
            for (ids, want) in prompts.iter().zip(&alone).skip(5) {
                let mut sequence = Sequence::new(network.config());
                let mut rows = Vec::new();
                for tokens in [&ids[..3], &ids[3..4], &ids[4..]] {
                    let piece = Piece { sequence: &mut sequence, tokens };
                    rows.extend(pool.install(|| extend(&network, &mut [piece])));
                }
                assert_eq!(bits(&rows), *want, "{name} cached");
            }
        }
    }
}

#[test]
fn sequences_behind_a_shared_prefix_equal_whole_ones() {
    let network = network("grouped", F32);
    let prompt = [1, 5, 9, 13, 17];
    let tails: [&[u32]; 3] = [&[3], &[4, 8, 15], &[16, 23]];
    let mut shared = Sequence::new(network.config());
    extend(&network, &mut [Piece { sequence: &mut shared, tokens: &prompt }]);
    let shared = Arc::new(shared);
    let mut sequences: Vec<_> = tails.iter().map(|_| Sequence::after(&shared)).collect();
    let mut pieces: Vec<_> = sequences
        .iter_mut()
        .zip(tails)
        .map(|(sequence, tokens)| Piece { sequence, tokens })
        .collect();
    let rows = extend(&network, &mut pieces);
    let mut row = 0;
    for tail in tails {
        let whole = logits(&network, &[&prompt, tail].concat());
        assert_eq!(bits(&rows[row..row + tail.len()]), bits(&whole[prompt.len()..]));
        row += tail.len();
    }
    assert_eq!(sequences[1].len(), 8);
}

#[test]
fn a_sequence_beyond_the_context_or_vocabulary_is_refused() {
    let network = network("plain", F32);
    let long = vec![1; 65];
    let error = network.forward(&Batch::new([&*long])).expect_err("too long");
    insta::assert_snapshot!(error, @"a sequence of 65 tokens does not fit the context of 64");
    let error = network.forward(&Batch::new([&[61][..]])).expect_err("no such token");
    insta::assert_snapshot!(error, @"token 61 is not in the vocabulary of 61");
}

/// An independent implementation: candle_transformers' llama on the same weights.
#[test]
fn logits_equal_candle_transformers() {
    use candle_core::{DType, Device, Tensor};
    use candle_transformers::models::llama as other;
    use medharness::llama::{WeightSource, expected_tensors};

    for name in ["plain", "grouped", "tied"] {
        let config = config(name);
        let mut tensors = std::collections::HashMap::new();
        for (tensor, shape) in expected_tensors(&config) {
            let (rows, width) = match shape[..] {
                [rows, width] => (rows, width),
                _ => (1, shape[0]),
            };
            let mut values = Vec::new();
            Hashed(name).read(&tensor, width, 0, rows, &mut values).expect("hashed");
            let value = Tensor::from_vec(values, shape, &Device::Cpu).expect("shape");
            tensors.insert(tensor, value);
        }
        let theirs = other::Config {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            vocab_size: config.vocab_size,
            num_hidden_layers: config.layers,
            num_attention_heads: config.heads,
            num_key_value_heads: config.kv_heads,
            use_flash_attn: false,
            rms_norm_eps: f64::from(config.rms_norm_eps),
            rope_theta: 10_000.0,
            bos_token_id: None,
            eos_token_id: None,
            rope_scaling: None,
            max_position_embeddings: config.context,
            tie_word_embeddings: config.tied,
        };
        let builder = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let model = other::Llama::load(builder, &theirs).expect("loads");
        let mut cache = other::Cache::new(false, DType::F32, &theirs, &Device::Cpu).expect("cache");
        let ids = &golden(name).cases[2].ids;
        let input = Tensor::new(&**ids, &Device::Cpu).and_then(|x| x.unsqueeze(0)).expect("ids");
        let last = model.forward(&input, 0, &mut cache).expect("forward").flatten_all();
        let want = last.and_then(|row| row.to_vec1::<f32>()).expect("f32");
        let got = logits(&network(name, F32), ids);
        let off = largest_difference(&got[got.len() - 1], &want);
        assert!(off <= LOGIT_TOLERANCE, "{name}: off by {off}");
    }
}
