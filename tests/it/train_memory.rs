//! What a training holds at its peak is what was foreseen, and a frozen weight costs no more than
//! itself.

use std::{fs, path::Path};

use crate::{
    support::medharness,
    trainer_support::{Fresh, golden, recipe_text, root, write_model_of},
};

/// The bound.
const OFF: f64 = 0.1;

/// A model of 25 million weights, 100 MB in f32.
fn write_large(folder: &Path) {
    let mut config = golden("trainer.json")["config"].clone();
    for (key, value) in [
        ("hidden_size", 512),
        ("intermediate_size", 1376),
        ("num_hidden_layers", 8),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 8),
        ("max_position_embeddings", 512),
    ] {
        config[key] = value.into();
    }
    config.as_object_mut().expect("an object").remove("head_dim");
    write_model_of(&config, Fresh { norm: 1.0 }, folder);
    let row = serde_json::json!({
        "instruction": "Say it again. ".repeat(60), "input": "", "output": "No.",
    });
    let rows = serde_json::Value::Array(vec![row; 16]);
    fs::write(folder.join("rows.json"), rows.to_string()).expect("written");
}

/// Foreseen and largest memory in MiB, as the report has them.
fn memory(model: &Path, rows: &str, out: &Path, recipe: &str) -> (f64, f64) {
    let path = model.join("recipe.toml");
    fs::write(&path, recipe).expect("written");
    medharness()
        .args(["train", "--max-steps", "2", "--threads", "2", "--ignore-memory"])
        .args(["--recipe".as_ref(), path.as_os_str()])
        .args(["--model".as_ref(), model.as_os_str()])
        .args(["--data".as_ref(), model.join(rows).as_os_str()])
        .args(["--out".as_ref(), out.as_os_str()])
        .assert()
        .success();
    let report = fs::read_to_string(out.join("train_report.md")).expect("a report");
    let value = |name: &str| -> f64 {
        let begin = format!("| {name} | ");
        let line = report.lines().find_map(|line| line.strip_prefix(&*begin)).expect("a line");
        line.split(' ').next().and_then(|number| number.parse().ok()).expect("MiB")
    };
    (value("memory foreseen"), value("largest memory"))
}

fn recipe(lora: bool, base: &str, recompute: bool) -> String {
    recipe_text(lora)
        .replace("base = \"f32\"", &format!("base = \"{base}\""))
        .replace("recompute = false", &format!("recompute = {recompute}"))
        .replace("max_length = 24", "max_length = 256")
        .replace("validation = 3", "validation = 0")
        .replace("keep_best = true", "keep_best = false")
        .replace("warmup = 2.0", "warmup = 0.0")
        .replace("micro = 2\naccumulation = 2", "micro = 4\naccumulation = 2")
        .replace("save_every = 3", "save_every = 1")
}

#[cfg(target_os = "linux")]
#[test]
#[cfg_attr(debug_assertions, ignore = "trains 25 million weights: optimised code alone")]
fn the_memory_foreseen_is_the_memory_held() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model");
    write_large(&model);
    let mut measured = Vec::new();
    for (lora, base) in [(false, "f32"), (true, "f32"), (true, "int8")] {
        for recompute in [false, true] {
            let name = format!("lora {lora}, {base}, recompute {recompute}");
            measured.push((name, recipe(lora, base, recompute)));
        }
    }
    // Eight rows held out are more than a micro-batch of one.
    let validating = recipe(true, "f32", true)
        .replace("validation = 0", "validation = 8")
        .replace("micro = 4", "micro = 1");
    measured.push(("validation".into(), validating));
    let mut peaks = Vec::new();
    for (place, (name, recipe)) in measured.iter().enumerate() {
        let (foreseen, held) =
            memory(&model, "rows.json", &folder.path().join(place.to_string()), recipe);
        peaks.push((name, foreseen, held));
    }
    for (name, foreseen, held) in &peaks {
        assert!((foreseen - held).abs() <= OFF * held, "{name}: {foreseen} foreseen, {held} held");
    }
    // 25 million weights that are not trained have neither gradients (97 MiB) nor states (195 MiB).
    let held = |place: usize| peaks[place].2;
    assert!(held(1) - held(3) > 200.0, "{peaks:?}");
    // To go on from a checkpoint takes no more than to go through.
    let out = folder.path().join("1");
    fs::remove_dir_all(out.join("checkpoint-2")).expect("removed");
    fs::remove_file(out.join("train_report.md")).expect("removed");
    let (_, again) = memory(&model, "rows.json", &out, &measured[1].1);
    assert!(again <= 1.05 * held(1), "{again} after {}", held(1));
}

/// Rows as Parquet are read into far more than the file.
#[cfg(target_os = "linux")]
#[test]
#[cfg_attr(debug_assertions, ignore = "splits 24 MB of text into tokens: optimised code alone")]
fn what_a_compressed_file_is_read_into_is_foreseen() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model");
    write_large(&model);
    let packed = root().join("golden/corpus/rows-repeated.parquet");
    assert!(fs::metadata(&packed).expect("a file").len() < 100_000);
    fs::copy(packed, model.join("rows.parquet")).expect("copied");
    let recipe = recipe(true, "int8", true);
    let (small, _) = memory(&model, "rows.json", &folder.path().join("small"), &recipe);
    let (foreseen, held) = memory(&model, "rows.parquet", &folder.path().join("large"), &recipe);
    assert!((foreseen - held).abs() <= OFF * held, "{foreseen} foreseen, {held} held");
    assert!(foreseen - small > 20.0, "{foreseen} after {small}");
}
