//! Draws equal numpy's and torch's, as recorded by `golden/make/randomness.py`.

use medharness::stats::random::{Mt19937, Pcg64};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../golden/train/randomness.json")).expect("JSON")
}

/// The script's digest: moved by any change of any element.
fn digest(values: &[usize]) -> u64 {
    let step = |total: u128, value: &usize| (total * 1_000_003 + *value as u128 + 1) % (1 << 61);
    u64::try_from(values.iter().fold(0, step)).expect("below 2^61")
}

fn check(name: &str, permute: impl Fn(u64, usize) -> Vec<usize>) {
    let golden = golden();
    let cases = golden[name].as_array().expect("a list");
    assert!(cases.len() >= 30);
    for case in cases {
        let seed = case["seed"].as_u64().expect("a seed");
        let n = usize::try_from(case["n"].as_u64().expect("a length")).expect("fits");
        let order = permute(seed, n);
        let head: Vec<usize> = order.iter().copied().take(10).collect();
        assert_eq!(serde_json::json!(head), case["head"], "{name}({n}), seed {seed}");
        assert_eq!(digest(&order), case["digest"], "{name}({n}), seed {seed}");
    }
}

#[test]
fn permutations_are_numpys() {
    check("numpy_permutation", |seed, n| Pcg64::new(seed).permutation(n));
}

#[test]
fn permutations_are_torchs() {
    check("torch_randperm", |seed, n| Mt19937::new(seed).permutation(n));
}

#[test]
fn uniforms_are_torchs_to_the_bit() {
    for case in golden()["torch_uniform"].as_array().expect("a list") {
        let number = |key: &str| case[key].as_f64().expect("a number") as f32;
        let mut generator = Mt19937::new(case["seed"].as_u64().expect("a seed"));
        for (index, bits) in case["bits"].as_array().expect("a list").iter().enumerate() {
            let drawn = generator.uniform(number("low"), number("high"));
            assert_eq!(format!("{:08x}", drawn.to_bits()), *bits, "draw {index} of {case:.60}");
        }
    }
}
