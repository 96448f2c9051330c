//! Updates equal torch's AdamW, clipping included, over 60 steps.

use medharness::{
    stats::random::Mt19937,
    train::{AdamW, Moments, clip_factor, global_norm},
};
use serde_json::Value;

/// torch fuses some products and sums; one rounding a step may differ, relative to the largest
/// element of a parameter drawn from -1..1.
const ONE_ROUNDING_A_STEP: f32 = 1e-6;

#[test]
fn sixty_updates_equal_torchs() {
    let golden: Value =
        serde_json::from_str(include_str!("../../golden/train/adamw.json")).expect("JSON");
    let lengths: Vec<usize> = golden["shapes"]
        .as_array()
        .expect("shapes")
        .iter()
        .map(|shape| shape.as_array().expect("a shape").iter().map(size).product())
        .collect();
    for case in golden["cases"].as_array().expect("cases") {
        let number = |key: &str| case[key].as_f64().expect("a number");
        let optimizer = AdamW {
            beta1: case["betas"][0].as_f64().expect("a beta"),
            beta2: case["betas"][1].as_f64().expect("a beta"),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
        };
        let mut random = Mt19937::new(case["seed"].as_u64().expect("a seed"));
        let mut draw = |scale: f32| -> Vec<Vec<f32>> {
            let row = |&len: &usize| (0..len).map(|_| random.uniform(-1.0, 1.0) * scale).collect();
            lengths.iter().map(row).collect()
        };
        let mut parameters = draw(1.0);
        let mut moments: Vec<_> = lengths.iter().map(|&len| Moments::zeros(len)).collect();
        for step in 1..=golden["steps"].as_u64().expect("steps") {
            let mut gradients = draw(number("scale") as f32);
            if number("max_norm") > 0.0 {
                let norm = global_norm(gradients.iter().map(Vec::as_slice));
                let torchs = float(case["norms"][step as usize - 1].as_str().expect("a norm"));
                approx::assert_relative_eq!(norm as f32, torchs, max_relative = 1e-6);
                let factor = clip_factor(norm, number("max_norm"));
                gradients.iter_mut().flatten().for_each(|g| *g *= factor);
            }
            for ((parameter, gradient), moments) in
                parameters.iter_mut().zip(&gradients).zip(&mut moments)
            {
                optimizer.update(number("rate"), step, parameter, gradient, moments);
            }
            let Some(expected) = case["parameters"].get(step.to_string()) else { continue };
            for (parameter, expected) in parameters.iter().zip(expected.as_array().expect("bits")) {
                let expected = expected.as_str().expect("bits").as_bytes().chunks(8);
                let expected = expected.map(|hex| float(std::str::from_utf8(hex).expect("hex")));
                for (ours, torchs) in parameter.iter().zip(expected) {
                    approx::assert_abs_diff_eq!(*ours, torchs, epsilon = ONE_ROUNDING_A_STEP);
                }
            }
        }
    }
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("a size") as usize
}

fn float(hex: &str) -> f32 {
    f32::from_bits(u32::from_str_radix(hex, 16).expect("hex"))
}
