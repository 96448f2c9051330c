//! Small random networks whose weights follow from a name, as in `golden/make/llama_logits.py`.

use std::path::{Path, PathBuf};

use medharness::llama::{CheckpointError, Config, WeightSource};
use serde::Deserialize;

/// Names of the golden configurations.
pub(crate) const CONFIGS: [&str; 11] = [
    "plain",
    "grouped",
    "tied",
    "rope-linear",
    "rope-llama3",
    "rope-nested",
    "qwen-biased",
    "all-biased",
    "odd-sizes",
    "wide-heads",
    "mistral",
];

/// Returns the folder of this subject's goldens.
pub(crate) fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/llama")
}

pub(crate) fn config(name: &str) -> Config {
    Config::read(&goldens().join(format!("{name}.config.json"))).expect("golden configuration")
}

/// A file of expected logits.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) ids: Vec<u32>,
    pub(crate) f32: Vec<Vec<f32>>,
    pub(crate) bf16_weights: Vec<Vec<f32>>,
}

pub(crate) fn golden(name: &str) -> Golden {
    let text = std::fs::read_to_string(goldens().join(format!("{name}.logits.json")));
    serde_json::from_str(&text.expect("golden logits")).expect("golden logits")
}

/// Steele, Lea and Flood 2014.
pub(crate) fn splitmix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// Weights by hash of configuration and tensor name.
pub(crate) struct Hashed<'a>(pub(crate) &'a str);

impl WeightSource for Hashed<'_> {
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        let start = fnv1a(&format!("{}/{name}", self.0));
        for i in first * row_len..(first + rows) * row_len {
            let z = splitmix64(start.wrapping_add(i as u64)) >> 40;
            let u = z as f32 / 16_777_216.0 - 0.5;
            out.push(if name.ends_with("bias") {
                u
            } else if name.contains("norm") {
                1.0 + u * 0.5
            } else if name.contains("embed") {
                u * 4.0
            } else {
                #[expect(clippy::cast_possible_truncation, reason = "the script rounds here too")]
                let spread = (4.0 / (row_len as f64).sqrt()) as f32;
                u * spread
            });
        }
        Ok(())
    }
}

/// Returns the largest absolute difference.
pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "lengths");
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
