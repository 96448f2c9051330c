//! Sampling, generation and scoring against transformers and lm-eval; independence of limits.

use std::collections::BTreeMap;

use medharness::{
    kernels::matrix::WeightType,
    llama::{
        Checkpoint, Decoder, Hold, Llama,
        decoder::{Continue, Limits, Reply, Score},
        encode_pair,
        sampling::{filtered, greedy, pick},
        tokenizer::Tokenizer,
    },
    protocol::{Bos, FinishReason, Sampling},
    stats::{Generator, Seed},
};
use serde::Deserialize;

use crate::llama_support::{Hashed, config, goldens};

const F32: Hold = Hold::Frozen(WeightType::F32);

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let text = std::fs::read_to_string(goldens().join(name)).expect("golden");
    serde_json::from_str(&text).expect("golden")
}

fn sampling(temperature: f64, top_k: usize, top_p: f64) -> Sampling {
    Sampling {
        greedy: false,
        temperature,
        top_k,
        top_p,
        max_new_tokens: 20,
        stop: Vec::new(),
        seed: 0,
        bos: Bos::None,
    }
}

fn greedily(max_new_tokens: usize) -> Sampling {
    Sampling { greedy: true, max_new_tokens, ..sampling(1.0, 0, 1.0) }
}

#[derive(Deserialize)]
struct SamplingGolden {
    cases: Vec<SamplingCase>,
}

#[derive(Deserialize)]
struct SamplingCase {
    logits: Vec<Option<f32>>,
    temperature: f64,
    top_k: usize,
    top_p: f64,
    kept: Vec<(u32, f64)>,
}

impl SamplingCase {
    fn logits(&self) -> Vec<f32> {
        self.logits.iter().map(|logit| logit.unwrap_or(f32::NEG_INFINITY)).collect()
    }
}

#[test]
fn filtered_distributions_equal_transformers_ties_included() {
    /// The reference's softmax is in f32.
    const TOLERANCE: f64 = 1e-6;
    for (n, case) in read::<SamplingGolden>("sampling.json").cases.iter().enumerate() {
        let sampling = sampling(case.temperature, case.top_k, case.top_p);
        let got = filtered(&case.logits(), &sampling).expect("finite");
        let ids = |kept: &[(u32, f64)]| kept.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids(&got), ids(&case.kept), "case {n}");
        for ((_, got), (_, want)) in got.iter().zip(&case.kept) {
            assert!((got - want).abs() <= TOLERANCE, "case {n}: {got}, not {want}");
        }
    }
}

#[test]
fn draws_follow_the_filtered_distribution() {
    /// Five standard deviations of a share of 1/2 over the draws.
    const TOLERANCE: f64 = 5.0 * 0.5 / 100.0;
    let case = &read::<SamplingGolden>("sampling.json").cases[0];
    let sampling = sampling(case.temperature, case.top_k, case.top_p);
    let mut random = Generator::new(Seed(7));
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for _ in 0..10_000 {
        *counts
            .entry(pick(&case.logits(), &sampling, &mut random).expect("finite"))
            .or_default() += 1;
    }
    for (id, probability) in &case.kept {
        let share = *counts.get(id).unwrap_or(&0) as f64 / 10_000.0;
        assert!((share - probability).abs() < TOLERANCE, "token {id}: {share}, not {probability}");
    }
    assert!(counts.keys().all(|id| case.kept.iter().any(|(kept, _)| kept == id)));
}

#[test]
fn greedy_ties_go_to_the_lowest_id_and_nan_is_no_answer() {
    assert_eq!(greedy(&[1.0, 3.0, 3.0, -1.0]), Some(1));
    assert_eq!(greedy(&[1.0, f32::NAN]), None);
    assert_eq!(greedy(&[1.0, f32::INFINITY]), None);
    assert_eq!(greedy(&[]), None);
    assert_eq!(filtered(&[f32::NEG_INFINITY; 3], &sampling(1.0, 0, 1.0)), None);
    assert_eq!(filtered(&[1.0, f32::NAN], &sampling(1.0, 0, 1.0)), None);
}

fn stories() -> Option<(Llama, Tokenizer)> {
    let folder = crate::support::shared()?.join("checkpoints/stories260k");
    let network = Checkpoint::open(&folder).and_then(|mut c| c.load(F32)).expect("loads");
    Some((network, Tokenizer::from_dir(&folder).expect("tokenizer")))
}

#[derive(Deserialize)]
struct GenerationGolden {
    cases: Vec<GenerationCase>,
}

#[derive(Deserialize)]
struct GenerationCase {
    prompt: Vec<u32>,
    ids: Vec<u32>,
}

fn generate(decoder: &mut Decoder, prompts: &[Vec<u32>], sampling: &Sampling) -> Vec<Reply> {
    let requests: Vec<_> = prompts
        .iter()
        .enumerate()
        .map(|(i, prompt)| Continue {
            prompt: prompt.clone(),
            seed: Seed(5).derive(&format!("{prompt:?}"), i as u32 % 3),
        })
        .collect();
    let mut replies = vec![None; prompts.len()];
    decoder
        .generate(&requests, sampling, &[2], &|_| false, &mut |i, reply| replies[i] = Some(reply))
        .expect("generates");
    replies.into_iter().map(|reply| reply.expect("every prompt has a reply")).collect()
}

#[test]
fn greedy_replies_equal_transformers() {
    let Some((network, _)) = stories() else {
        return crate::support::skipped("checkpoints/stories260k");
    };
    let mut decoder = Decoder::new(network, Limits::default());
    let cases = read::<GenerationGolden>("generation.json").cases;
    let prompts: Vec<_> = cases.iter().map(|case| case.prompt.clone()).collect();
    for (case, reply) in cases.iter().zip(generate(&mut decoder, &prompts, &greedily(60))) {
        assert_eq!(reply.ids, case.ids);
    }
}

fn small(name: &str, limits: Limits) -> Decoder {
    Decoder::new(Llama::new(config(name), &mut Hashed(name), F32).expect("weights"), limits)
}

/// Limits so small that sequences queue, prompts are fed in pieces and nothing is kept.
const TIGHT: Limits = Limits { sequences: 2, pass_tokens: 3, cache_bytes: 1, prompt_bytes: 0 };

#[test]
fn replies_do_not_depend_on_limits_order_or_company() {
    let prompts: Vec<Vec<u32>> =
        (1..=12_u32).map(|n| (0..n).map(|i| (i * 5 + n / 3) % 61).collect()).collect();
    for settings in [greedily(20), sampling(0.8, 10, 0.9)] {
        let want = generate(&mut small("grouped", Limits::default()), &prompts, &settings);
        assert_eq!(generate(&mut small("grouped", TIGHT), &prompts, &settings), want);
        let mut decoder = small("grouped", Limits::default());
        for (i, prompt) in prompts.iter().enumerate().rev() {
            let seed = Seed(5).derive(&format!("{prompt:?}"), i as u32 % 3);
            let request = [Continue { prompt: prompt.clone(), seed }];
            let mut alone = None;
            decoder
                .generate(&request, &settings, &[2], &|_| false, &mut |_, reply| {
                    alone = Some(reply)
                })
                .expect("generates");
            assert_eq!(alone.expect("a reply"), want[i]);
        }
    }
}

#[test]
fn attempts_at_one_prompt_differ_by_seed_alone() {
    let prompts = vec![vec![1, 5, 9]; 3];
    let replies =
        generate(&mut small("plain", Limits::default()), &prompts, &sampling(1.0, 0, 1.0));
    assert!(replies[0] != replies[1] || replies[1] != replies[2]);
}

#[test]
fn a_reply_ends_at_a_stop_token_a_complete_text_the_limit_or_the_context() {
    let mut decoder = small("plain", Limits::default());
    let request = [Continue { prompt: vec![1, 5, 9], seed: Seed(0) }];
    let mut run = |settings: &Sampling, stop: &[u32], complete: &dyn Fn(&[u32]) -> bool| {
        let mut reply = None;
        decoder
            .generate(&request, settings, stop, complete, &mut |_, r| reply = Some(r))
            .expect("generates");
        reply.expect("a reply")
    };
    let free = run(&greedily(10), &[], &|_| false);
    assert_eq!((free.ids.len(), free.finish_reason), (10, FinishReason::Length));
    let third = free.ids[2];
    let at = free.ids.iter().position(|id| *id == third).expect("there") + 1;
    let stopped = run(&greedily(10), &[third], &|_| false);
    assert_eq!((stopped.ids.len(), stopped.finish_reason), (at, FinishReason::EndOfText));
    assert_eq!(stopped.ids, free.ids[..at]);
    let complete = run(&greedily(10), &[], &|ids| ids.len() == 4);
    assert_eq!((complete.ids.len(), complete.finish_reason), (4, FinishReason::StopString));
    let none = run(&greedily(0), &[], &|_| false);
    assert_eq!((none.ids.len(), none.finish_reason), (0, FinishReason::Length));
    // 64 positions: three of the prompt, 61 new tokens fed, and one that is not fed any more.
    let full = run(&greedily(500), &[], &|_| false);
    assert_eq!((full.ids.len(), full.finish_reason), (62, FinishReason::Length));
}

#[derive(Deserialize)]
struct ScoreGolden {
    requests: Vec<ScoreCase>,
}

#[derive(Deserialize)]
struct ScoreCase {
    id: String,
    context: String,
    continuation: String,
    log_prob: f64,
    tokens: usize,
    is_greedy: bool,
    context_ids: Vec<u32>,
    continuation_ids: Vec<u32>,
}

/// The bound; 3e-6 was the largest difference seen.
const SCORE_TOLERANCE: f64 = 1e-4;

#[test]
fn two_hundred_scores_equal_lm_eval() {
    let Some((network, tokenizer)) = stories() else {
        return crate::support::skipped("checkpoints/stories260k");
    };
    let cases = read::<ScoreGolden>("lm_eval_scores.json").requests;
    assert_eq!(cases.len(), 200);
    let pairs: Vec<Score> = cases
        .iter()
        .map(|case| {
            let pair = encode_pair(&tokenizer, &case.context, &case.continuation, Bos::Model);
            let pair = pair.expect("tokens on both sides");
            assert_eq!(pair.context, case.context_ids, "{}", case.id);
            assert_eq!(pair.continuation, case.continuation_ids, "{}", case.id);
            assert_eq!(pair.continuation.len(), case.tokens, "{}", case.id);
            pair
        })
        .collect();
    let mut decoder = Decoder::new(network, Limits::default());
    let mut seen = 0;
    decoder
        .score(&pairs, &mut |i, scored| {
            let case = &cases[i];
            let off = (scored.log_prob - case.log_prob).abs();
            assert!(off <= SCORE_TOLERANCE, "{}: {} off by {off}", case.id, scored.log_prob);
            assert_eq!(scored.is_greedy, case.is_greedy, "{}", case.id);
            seen += 1;
        })
        .expect("scores");
    assert_eq!(seen, 200);
}

#[test]
fn scores_have_the_same_bits_under_any_limits() {
    let requests: Vec<Score> = (0..20_u32)
        .map(|n| Score {
            context: vec![1 + n / 4, 7, 11 + n / 4],
            continuation: (0..=n % 3).map(|i| (n * 3 + i) % 61).collect(),
        })
        .collect();
    let run = |limits| {
        let mut scores = Vec::new();
        let mut push = |i: usize, scored: medharness::llama::decoder::Scored| {
            scores.push((i, scored.log_prob.to_bits(), scored.is_greedy));
        };
        small("grouped", limits).score(&requests, &mut push).expect("scores");
        scores
    };
    let want = run(Limits::default());
    assert_eq!(want.len(), 20);
    assert_eq!(run(TIGHT), want);
}

#[test]
fn scores_are_the_logarithms_of_the_sampled_distribution() {
    let mut decoder = small("plain", Limits::default());
    let mut mass = 0.0;
    let requests: Vec<Score> =
        (0..61).map(|id| Score { context: vec![1, 5, 9], continuation: vec![id] }).collect();
    let mut greedy_ones = 0;
    decoder
        .score(&requests, &mut |_, scored| {
            mass += scored.log_prob.exp();
            greedy_ones += usize::from(scored.is_greedy);
        })
        .expect("scores");
    assert!((mass - 1.0).abs() < 1e-6, "{mass}");
    assert_eq!(greedy_ones, 1);
}

#[test]
fn pairs_without_tokens_are_refused() {
    let folder = shared!("checkpoints/stories260k");
    let tokenizer = Tokenizer::from_dir(&folder).expect("tokenizer");
    let refused = |context, continuation, bos| {
        encode_pair(&tokenizer, context, continuation, bos).expect_err("refused").to_string()
    };
    insta::assert_snapshot!(refused("Once", "", Bos::Model),
        @"the continuation has no token of its own");
    insta::assert_snapshot!(refused("", "", Bos::Model),
        @"the continuation has no token of its own");
    insta::assert_snapshot!(refused(" \n ", "a", Bos::None),
        @"the context has no token, and no token begins a text");
    let pair = encode_pair(&tokenizer, "", "Once", Bos::None).expect("from the first token");
    assert_eq!(pair.context, [1]);
}

/// An output matrix so large that logits overflow.
struct Huge;

impl medharness::llama::WeightSource for Huge {
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), medharness::llama::CheckpointError> {
        Hashed("plain").read(name, row_len, first, rows, out)?;
        if name == "lm_head.weight" {
            out.iter_mut().for_each(|value| *value = value.signum() * f32::MAX);
        }
        Ok(())
    }
}

#[test]
fn logits_that_are_no_numbers_fail_the_item_and_choose_nothing() {
    let network = Llama::new(config("plain"), &mut Huge, F32).expect("finite weights");
    let mut decoder = Decoder::new(network, Limits::default());
    for reply in generate(&mut decoder, &[vec![1, 2], vec![3]], &greedily(5)) {
        assert!(reply.failed && reply.ids.is_empty(), "{reply:?}");
    }
    let request = [Score { context: vec![1, 2], continuation: vec![3, 4] }];
    let mut log_prob = 0.0;
    decoder.score(&request, &mut |_, scored| log_prob = scored.log_prob).expect("scores");
    assert!(log_prob.is_nan());
}
