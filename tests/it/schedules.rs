//! Learning rates equal transformers' to the bit, and those of a real fine-tune.

use medharness::train::{Schedule, ScheduleKind};
use serde_json::Value;

fn kind(name: &str, extra: &Value) -> ScheduleKind {
    let number = |key: &str, default: f64| extra[key].as_f64().unwrap_or(default);
    match name {
        "constant" => ScheduleKind::Constant,
        "constant_with_warmup" => ScheduleKind::ConstantWithWarmup,
        "linear" => ScheduleKind::Linear,
        "cosine" => ScheduleKind::Cosine { cycles: number("num_cycles", 0.5) },
        "cosine_with_min_lr" => {
            ScheduleKind::CosineWithMinimum { cycles: 0.5, minimum: number("min_lr_rate", 0.0) }
        }
        "cosine_with_restarts" => {
            ScheduleKind::CosineWithRestarts { cycles: number("num_cycles", 1.0) }
        }
        "polynomial" => {
            ScheduleKind::Polynomial { end: number("lr_end", 1e-7), power: number("power", 1.0) }
        }
        "inverse_sqrt" => ScheduleKind::InverseSqrt { timescale: extra["timescale"].as_u64() },
        other => panic!("no schedule `{other}`"),
    }
}

#[test]
fn every_rate_is_transformers_to_the_bit() {
    let golden: Value =
        serde_json::from_str(include_str!("../../golden/train/schedules.json")).expect("JSON");
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().expect("a list") {
        let name = case["schedule"].as_str().expect("a name");
        let schedule = Schedule {
            kind: kind(name, &case["extra"]),
            base: golden["base"].as_f64().expect("a rate"),
            warmup: case["warmup"].as_u64().expect("steps"),
            total: case["total"].as_u64().expect("steps"),
        };
        for (done, bits) in (0u64..).zip(case["rates"].as_array().expect("a list")) {
            let rate = schedule.rate(done);
            if format!("{:016x}", rate.to_bits()) != *bits {
                wrong.push(format!("{name} {} of {}: {rate:e}", done, case["total"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rates differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// 609 steps of a real LLaMA-7B fine-tune: cosine, 19 warm-up steps, peak 2e-5.
#[test]
fn the_rates_of_a_real_fine_tune_are_ours() {
    let path = shared!("training/chatdoctor_trainer_state.json");
    let text = std::fs::read_to_string(path).expect("readable");
    let state: Value = serde_json::from_str(&text).expect("JSON");
    let kind = ScheduleKind::Cosine { cycles: 0.5 };
    let schedule = Schedule { kind, base: 2e-5, warmup: 19, total: 609 };
    let mut checked = 0;
    for entry in state["log_history"].as_array().expect("a list") {
        let (Some(rate), Some(step)) = (entry["learning_rate"].as_f64(), entry["step"].as_u64())
        else {
            continue;
        };
        // That version logged the rate after the schedule had moved on.
        assert_eq!(schedule.rate(step), rate, "step {step}");
        checked += 1;
    }
    assert!(checked >= 600, "only {checked} steps");
}
