//! Whole networks in LLM.int8() against transformers and bitsandbytes (`golden/make/int8_network.py`).

use std::{collections::BTreeMap, fs};

use candle_core::{Device, Tensor};
use medharness::{
    kernels::{float::Kernels, matrix::WeightType},
    llama::{
        Batch, Checkpoint, Decoder, Hold, Llama, Piece, Sequence,
        decoder::{Limits, Score},
        encode_pair,
        sampling::greedy,
        tokenizer::Tokenizer,
    },
    protocol::Bos,
    quant::{Arithmetic, OUTLIER_THRESHOLD},
};
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::{
    int8_network::Wide,
    llama_support::{config, fnv1a, largest_difference, splitmix64},
};

fn hold(arithmetic: Arithmetic) -> Hold {
    Hold::Int8 { floats: WeightType::F32, arithmetic, threshold: OUTLIER_THRESHOLD }
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(format!("{}/golden/quant/{name}", env!("CARGO_MANIFEST_DIR"))).expect("committed")
}

#[derive(Deserialize)]
struct Networks {
    networks: BTreeMap<String, Vec<Case>>,
}

#[derive(Deserialize)]
struct Case {
    ids: Vec<u32>,
    /// Logits of the last three positions (or as many as there are), in one call.
    eval: Vec<Vec<f32>>,
    /// Of the last position, the int8 layers in training mode.
    train: Vec<Vec<f32>>,
    /// How many tokens the first of several calls has.
    cached_from: Option<usize>,
    /// Logits at the end of each call.
    cached: Option<Vec<Vec<f32>>>,
}

fn rows(network: &Llama, ids: &[u32]) -> Vec<Vec<f32>> {
    let states = network.forward(&Batch::new([ids])).expect("forward");
    network.logits(&states).expect("logits").to_vec2().expect("rows")
}

/// Rounding in f32 that leaves every code as it is: 6e-6 was the largest difference seen.
const TOLERANCE: f32 = 1e-4;

/// Where rounding puts an activation on the other side of a tie, one code differs by one: in one or
/// two of the cases, which depends on how sums in f32 are ordered, and by less than this.
const ONE_CODE: (usize, f32) = (3, 2e-2);

#[test]
fn logits_of_small_networks_equal_bitsandbytes_in_one_call_in_cached_calls_and_in_training() {
    let golden: Networks = serde_json::from_slice(&golden("network.json")).expect("JSON");
    assert_eq!(golden.networks.len(), 7);
    let mut worst = BTreeMap::new();
    for (name, cases) in golden.networks {
        let network = |arithmetic| {
            Llama::new(config(&name), &mut Wide(&name), hold(arithmetic)).expect("weights")
        };
        let (eval, train) = (network(Arithmetic::CpuEval), network(Arithmetic::CpuTrain));
        for case in cases {
            let mut check = |what: &str, got: &[Vec<f32>], want: &[Vec<f32>]| {
                let off = largest_difference(&got.concat(), &want.concat());
                worst.insert(format!("{name}, {} tokens, {what}", case.ids.len()), off);
            };
            let all = rows(&eval, &case.ids);
            check("eval", &all[all.len() - case.eval.len()..], &case.eval);
            let all = rows(&train, &case.ids);
            check("train", &all[all.len() - 1..], &case.train);
            if let (Some(prompt), Some(want)) = (case.cached_from, &case.cached) {
                let mut sequence = Sequence::new(eval.config());
                let calls =
                    std::iter::once(&case.ids[..prompt]).chain(case.ids[prompt..].chunks(1));
                let ends: Vec<Vec<f32>> = calls
                    .map(|tokens| {
                        let pieces = &mut [Piece { sequence: &mut sequence, tokens }];
                        let states = eval.extend(pieces).expect("forward");
                        let logits = eval.logits(&states).expect("logits");
                        logits.to_vec2::<f32>().expect("rows").pop().expect("a last row")
                    })
                    .collect();
                check("cached", &ends, want);
            }
        }
    }
    assert_eq!(worst.len(), 7 * 7);
    let off: Vec<_> = worst.iter().filter(|(_, off)| **off > TOLERANCE).collect();
    eprintln!("codes differ in {off:?}");
    assert!(off.len() <= ONE_CODE.0 && off.iter().all(|(_, off)| **off < ONE_CODE.1), "{off:?}");
}

fn stories() -> Option<(Llama, Tokenizer)> {
    let folder = crate::support::shared()?.join("checkpoints/stories260k");
    let mut checkpoint = Checkpoint::open(&folder).expect("opens");
    let network = checkpoint.load(hold(Arithmetic::CpuEval)).expect("loads");
    Some((network, Tokenizer::from_dir(&folder).expect("a tokenizer")))
}

/// Tokens by hash, as the script makes them.
fn tokens(name: &str, length: u32, vocabulary: u64) -> Vec<u32> {
    let start = fnv1a(&format!("{name}/tokens/{length}"));
    let token = |i| (splitmix64(start.wrapping_add(i)) % vocabulary) as u32;
    (0..u64::from(length)).map(token).collect()
}

#[test]
fn four_thousand_random_requests_lie_within_their_bounds_of_bitsandbytes() {
    let Some((network, _)) = stories() else {
        return crate::support::skipped("checkpoints/stories260k");
    };
    let bytes = golden("stories260k.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("valid");
    let words = |name: &str| -> Vec<[u8; 4]> {
        tensors.tensor(name).expect("there").data().as_chunks().0.to_vec()
    };
    let floats =
        |name: &str| -> Vec<f32> { words(name).into_iter().map(f32::from_le_bytes).collect() };
    let ids =
        |name: &str| -> Vec<u32> { words(name).into_iter().map(u32::from_le_bytes).collect() };
    let (first, second) = (ids("first"), ids("second"));
    let (log_prob, margin) = (floats("log_prob"), floats("margin"));
    let bounds =
        |name: &str| (floats(&format!("{name}_worst")), floats(&format!("{name}_probable")));
    let (log_prob_bounds, margin_bounds) = (bounds("log_prob"), bounds("margin"));
    let requests: Vec<(Vec<u32>, usize)> = (0..4096)
        .map(|i| {
            let length = 1 + tokens(&format!("length/{i}"), 1, 16)[0];
            let target = tokens(&format!("target/{i}"), 1, 512)[0];
            (tokens(&format!("request/{i}"), length, 512), target as usize)
        })
        .collect();
    let (mut differences, mut disagreements, mut at) = (Vec::new(), String::new(), 0);
    for requests in requests.chunks(64) {
        let batch = Batch::new(requests.iter().map(|(ids, _)| &**ids));
        let ends: Vec<u32> = batch.spans().iter().map(|span| span.end as u32 - 1).collect();
        let states = network.forward(&batch).expect("forward");
        let last = Tensor::new(ends, &Device::Cpu).and_then(|ends| states.index_select(&ends, 0));
        let logits = network.logits(&last.expect("rows")).expect("logits");
        for (logits, (ids, target)) in logits.to_vec2::<f32>().expect("rows").iter().zip(requests) {
            let sum = Kernels::get().log_sum_exp(logits);
            let difference = (f64::from(logits[*target]) - sum - f64::from(log_prob[at])).abs();
            differences.push(difference);
            for bound in [log_prob_bounds.0[at], log_prob_bounds.1[at]] {
                assert!(difference <= f64::from(bound), "request {at}: {difference} > {bound}");
            }
            let best = greedy(logits).expect("finite");
            if best != first[at] {
                let (margin, bound) = (margin[at], margin_bounds.1[at].min(margin_bounds.0[at]));
                assert!(margin <= bound, "request {at}: {best}, not {}", first[at]);
                assert_eq!(best, second[at], "request {at}");
                disagreements += &format!(
                    "request {at}, {} tokens: {best}, not {}; margin {margin:.4}, bound {bound:.2}\n",
                    ids.len(),
                    first[at]
                );
            }
            at += 1;
        }
    }
    differences.sort_by(f64::total_cmp);
    let near = differences.partition_point(|difference| *difference < 1e-5);
    let wide = margin.iter().zip(&margin_bounds.1).filter(|(margin, bound)| margin > bound).count();
    eprintln!(
        "{at} requests: {near} within 1e-5, the largest difference {:.2}; {wide} margins above their \
         bound; another argmax in:\n{disagreements}",
        differences[at - 1]
    );
    assert!(near >= NEAR && wide > 900, "{near} within 1e-5, {wide} above their bound");
    assert!(disagreements.lines().count() <= OTHER_ARGMAX, "{disagreements}");
}

/// Requests of 4,096 in which every code is that of bitsandbytes; 4,024 were seen. Which they are
/// depends on how sums in f32 are ordered.
const NEAR: usize = 3850;

/// Requests of 4,096 with another likeliest token; 2 were seen, with margins below 0.03.
const OTHER_ARGMAX: usize = 8;

#[derive(Deserialize)]
struct Scores {
    requests: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    context: String,
    continuation: String,
    ids: Vec<u32>,
    context_len: usize,
    log_prob: f64,
    is_greedy: bool,
}

/// 3e-6 was the largest difference seen.
const SCORE_TOLERANCE: f64 = 1e-4;

#[test]
fn scores_of_texts_equal_bitsandbytes() {
    let Some((network, tokenizer)) = stories() else {
        return crate::support::skipped("checkpoints/stories260k");
    };
    let golden: Scores = serde_json::from_slice(&golden("stories260k.scores.json")).expect("JSON");
    let pairs: Vec<Score> = golden
        .requests
        .iter()
        .map(|request| {
            let pair = encode_pair(&tokenizer, &request.context, &request.continuation, Bos::Model);
            let pair = pair.expect("tokens on both sides");
            assert_eq!([&*pair.context, &*pair.continuation].concat(), request.ids);
            assert_eq!(pair.context.len(), request.context_len);
            pair
        })
        .collect();
    let mut seen = 0;
    Decoder::new(network, Limits::default())
        .score(&pairs, &mut |i, scored| {
            let want = &golden.requests[i];
            let off = (scored.log_prob - want.log_prob).abs();
            assert!(off <= SCORE_TOLERANCE, "{}{}: {off}", want.context, want.continuation);
            assert_eq!(scored.is_greedy, want.is_greedy, "{}", want.continuation);
            seen += 1;
        })
        .expect("scores");
    assert_eq!(seen, golden.requests.len());
}
