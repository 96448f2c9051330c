//! Speed of the whole network: a prompt, and tokens behind it.
//!
//! `cargo bench --bench network -- --model DIR --dtype int8 [--threads N]` loads a checkpoint once and
//! then obeys lines on stdin, so that a script can take turns with other programs in one run:
//! `prompt T` feeds a prompt of T tokens to an empty sequence; `decode S N` continues S sequences of
//! 8 tokens by N tokens each. Every answer is one line of JSON with `seconds`, and the first says
//! how long loading took. `--tokenizer FILE --texts TEXTS.json` obeys `tokenize`, which makes tokens of
//! every text of the list. `--ceilings` obeys `int8`, `bf16`, `f32` and `memory`: how many 10^9 operations
//! or bytes a second this machine's vectors, or matrix units, and memory come to. Without a model, and with `--test`, it checks the answers on a small
//! network and times nothing.

#![expect(clippy::print_stdout, reason = "the lines are the result")]

#[path = "roofline.rs"]
mod roofline;

use std::{io::BufRead, path::Path, time::Instant};

use medharness::{
    kernels::{matrix::WeightType, set_name},
    llama::{
        Checkpoint, Config, Hold, Llama, NetworkError, Piece, Sequence, synth, tokenizer::Tokenizer,
    },
    models::WeightFormat,
    protocol::Bos,
    quant::{Arithmetic, OUTLIER_THRESHOLD},
    stats::Seed,
};
use roofline::Ceiling;
use serde_json::{Value, json};

/// A peak is the best of so many short measurements: what runs beside only takes from it.
const TRIES: usize = 40;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let threads = value("--threads").map_or(Ok(0), |threads| threads.parse())?;
    if let (Some(tokenizer), Some(texts)) = (value("--tokenizer"), value("--texts")) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        return pool.install(|| tokenize(Path::new(tokenizer), Path::new(texts)));
    }
    if arguments.iter().any(|argument| argument == "--ceilings") {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        return pool.install(ceilings);
    }
    let Some(model) = value("--model") else { return check() };
    let format = value("--dtype").map(|dtype| serde_json::from_value(json!(dtype))).transpose()?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(|| serve(model, format))
}

/// Loads a model and obeys stdin.
fn serve(model: &str, format: Option<WeightFormat>) -> Result<(), Failure> {
    let start = Instant::now();
    let mut checkpoint = Checkpoint::open(Path::new(model))?;
    let hold = WeightFormat::hold(format, &checkpoint);
    let network = checkpoint.load(hold)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", json!({ "loaded": true, "seconds": seconds, "kernels": set_name() }));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match *words {
            ["prompt", tokens] => prompt(&network, tokens.parse()?)?,
            ["decode", sequences, tokens] => decode(&network, sequences.parse()?, tokens.parse()?)?,
            ["memory"] => json!({ "peak_bytes": medharness::train::peak_memory() }),
            _ => return Err(format!("not understood: {line}").into()),
        };
        println!("{answer}");
    }
    Ok(())
}

/// Measures what stdin asks for: the faster of what the processor has, best of [`TRIES`].
fn ceilings() -> Result<(), Failure> {
    let memory = roofline::Memory::new();
    println!("{}", json!({ "loaded": true }));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let is_asked = |kind: &Ceiling| kind.name().split(' ').next() == Some(line.trim());
        let kinds = Ceiling::ALL.into_iter().filter(is_asked);
        let kinds: Vec<Ceiling> = kinds.collect();
        if kinds.is_empty() {
            return Err(format!("not understood: {line}").into());
        }
        let rate = |kind: &Ceiling| kind.giga_a_second(rayon::current_num_threads(), &memory);
        let rates = (0..TRIES).flat_map(|_| kinds.iter().map(rate));
        println!("{}", json!({ "giga_a_second": rates.fold(0.0, f64::max) }));
    }
    Ok(())
}

/// Loads a tokenizer and texts, and obeys stdin.
fn tokenize(tokenizer: &Path, texts: &Path) -> Result<(), Failure> {
    let tokenizer = Tokenizer::from_file(tokenizer)?;
    let texts: Vec<String> = serde_json::from_slice(&std::fs::read(texts)?)?;
    println!("{}", json!({ "loaded": true }));
    for line in std::io::stdin().lock().lines() {
        if line?.trim() != "tokenize" {
            return Err("not understood: this one knows `tokenize` alone".into());
        }
        let start = Instant::now();
        let ids = tokenizer.encode_batch(&texts, Bos::None)?;
        let seconds = start.elapsed().as_secs_f64();
        let tokens: usize = ids.iter().map(Vec::len).sum();
        println!("{}", json!({ "seconds": seconds, "tokens": tokens }));
    }
    Ok(())
}

/// Feeds one prompt; the likeliest token behind it is part of the work.
fn prompt(network: &Llama, tokens: usize) -> Result<Value, NetworkError> {
    let tokens = tokens_of(network, 0, tokens);
    let mut sequence = Sequence::new(network.config());
    let start = Instant::now();
    let next = step(network, std::slice::from_mut(&mut sequence), &[&tokens])?;
    Ok(json!({ "seconds": start.elapsed().as_secs_f64(), "next": next[0] }))
}

/// Continues sequences greedily.
fn decode(network: &Llama, sequences: usize, tokens: usize) -> Result<Value, NetworkError> {
    let prompts: Vec<Vec<u32>> =
        (0..sequences).map(|sequence| tokens_of(network, sequence, 8)).collect();
    let mut caches: Vec<Sequence> =
        prompts.iter().map(|_| Sequence::new(network.config())).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let mut next = step(network, &mut caches, &prompts)?;
    let start = Instant::now();
    for _ in 0..tokens {
        let fed: Vec<&[u32]> = next.iter().map(std::slice::from_ref).collect();
        next = step(network, &mut caches, &fed)?;
    }
    Ok(json!({ "seconds": start.elapsed().as_secs_f64(), "next": next }))
}

/// Feeds tokens to sequences and returns the likeliest next of each.
fn step(
    network: &Llama,
    sequences: &mut [Sequence],
    tokens: &[&[u32]],
) -> Result<Vec<u32>, NetworkError> {
    let pieces = sequences.iter_mut().zip(tokens);
    let mut pieces: Vec<Piece<'_>> =
        pieces.map(|(sequence, tokens)| Piece { sequence, tokens }).collect();
    let states = network.extend(&mut pieces)?;
    // Of each piece the last row.
    let ends = tokens.iter().scan(0, |end, tokens| {
        *end += tokens.len();
        u32::try_from(*end - 1).ok()
    });
    let ends: Vec<u32> = ends.collect();
    let ends = candle_core::Tensor::new(ends, &candle_core::Device::Cpu)?;
    let logits = network.logits(&states.index_select(&ends, 0)?)?;
    Ok(logits.argmax(1)?.to_vec1()?)
}

fn tokens_of(network: &Llama, sequence: usize, count: usize) -> Vec<u32> {
    let vocabulary = network.config().vocab_size;
    let token = |at: usize| (at * 7919 + sequence * 104_729) % (vocabulary - 3) + 3;
    (0..count).map(|at| u32::try_from(token(at)).expect("a token id fits")).collect()
}

/// A fast wrong answer must not be timed: what is decoded step by step is what a prompt gives.
fn check() -> Result<(), Failure> {
    let config = Config::parse(&synth::config("s", WeightType::Bf16)?.to_string())?;
    let int8 = Hold::Int8 {
        floats: WeightType::Bf16,
        arithmetic: Arithmetic::CpuTrain,
        threshold: OUTLIER_THRESHOLD,
    };
    for hold in [Hold::Frozen(WeightType::F32), Hold::Frozen(WeightType::Bf16), int8] {
        let network = Llama::new(config.clone(), &mut synth::RandomWeights::new(Seed(1)), hold)?;
        let mut tokens = tokens_of(&network, 0, 8);
        for _ in 0..3 {
            let mut sequence = Sequence::new(network.config());
            let next = step(&network, std::slice::from_mut(&mut sequence), &[&tokens])?;
            tokens.extend(next);
        }
        let decoded = decode(&network, 2, 2)?;
        assert_eq!(decoded["next"][0], json!(tokens[10]), "{hold:?}");
    }
    println!("answers of the network hold");
    Ok(())
}
