//! `merge`, `unmerge` and `adapter`, against what PEFT makes of the same adapters.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use half::{bf16, f16};
use medharness::{
    kernels::matrix::WeightType,
    llama::{Batch, Checkpoint, Hold, read_adapter},
    lora::{Adapter, Attach},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use crate::{
    llama_support::{goldens, largest_difference},
    lora_networks::{CASES, LOST},
    snapshots,
    support::{medharness, transcript},
};

/// Returns the cases whose base weights are the tiny checkpoint's own.
fn own_base() -> impl Iterator<Item = &'static str> {
    CASES.into_iter().filter(|case| !case.starts_with("resized"))
}

/// Units in the last place of sums below 2: the norms of DoRA's rows are summed in another order.
const NORM_ORDER: f32 = 3e-7;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn adapter(case: &str) -> PathBuf {
    root().join("golden/lora/networks").join(case)
}

/// Shapes and values of every float tensor of a file.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(path).expect("a file of tensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("valid");
    let values = |view: &TensorView<'_>| -> Vec<f32> {
        let data = view.data();
        match view.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => {
                data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect()
            }
            Dtype::BF16 => {
                data.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect()
            }
            Dtype::I8 => data.iter().map(|b| f32::from(b.cast_signed())).collect(),
            _ => Vec::new(),
        }
    };
    tensors
        .iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(&view))))
        .collect()
}

/// Writes the tiny base with its weights in another format.
fn base(folder: &Path, dtype: Dtype) -> PathBuf {
    let path = folder.join(format!("base-{dtype:?}"));
    write_base(&path, dtype, Tie::Own);
    path
}

/// Whether a network has an output matrix of its own.
#[derive(Clone, Copy, PartialEq)]
enum Tie {
    Own,
    Embedding,
}

fn write_base(path: &Path, dtype: Dtype, tie: Tie) {
    let tiny = root().join("golden/quant/checkpoint");
    fs::create_dir(path).expect("a folder");
    let config = fs::read_to_string(tiny.join("config.json")).expect("committed");
    let config = match tie {
        Tie::Own => config,
        Tie::Embedding => {
            config.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true")
        }
    };
    fs::write(path.join("config.json"), config).expect("written");
    let bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = tensors(&tiny.join("model.safetensors"))
        .into_iter()
        .filter(|(name, _)| tie == Tie::Own || name != "lm_head.weight")
        .map(|(name, (shape, values))| {
            let bytes = match dtype {
                Dtype::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            };
            (name, (shape, bytes))
        })
        .collect();
    let views = bytes.iter().map(|(name, (shape, bytes))| {
        (name, TensorView::new(dtype, shape.clone(), bytes).expect("whole"))
    });
    let bytes = safetensors::serialize(views, None).expect("serializes");
    fs::write(path.join("model.safetensors"), bytes).expect("written");
}

fn merge(base: &Path, adapter: &Path, out: &Path, more: &[&str]) -> assert_cmd::Command {
    let mut command = medharness();
    command.arg("merge").arg("--base").arg(base).arg("--adapter").arg(adapter);
    command.arg("--out").arg(out).args(more);
    command
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().and_then(|x| x.to_vec1()).expect("f32")
}

/// Logits of the goldens' tokens.
fn logits(model: &Path, adapter: Option<&Adapter>) -> Vec<f32> {
    let mut checkpoint = Checkpoint::open(model).expect("opens");
    let mut network = checkpoint.load(Hold::Frozen(WeightType::F32)).expect("loads");
    if let Some(adapter) = adapter {
        network.attach(adapter, Attach::Frozen).expect("fits");
    }
    let vocab = u32::try_from(network.config().vocab_size).expect("small");
    let ids = [[1, 7, 30, 22, 5, 39, 0, 11], [3, 3, 14, 15, 9, 26, 5, 35]];
    let ids = ids.map(|row| row.map(|id| id % vocab));
    let batch = Batch::new(ids.iter().map(|row| &row[..]));
    let states = network.forward(&batch).expect("forward");
    flat(&network.logits(&states).expect("logits"))
}

#[test]
fn a_merged_checkpoint_has_the_weights_of_peft_and_the_rest_of_the_base() {
    let scratch = tempfile::tempdir().expect("scratch");
    let base = base(scratch.path(), Dtype::F32);
    let plain = tensors(&base.join("model.safetensors"));
    for case in CASES.into_iter().filter(|case| *case != LOST) {
        let out = scratch.path().join(case);
        merge(&base, &adapter(case), &out, &[]).assert().success();
        let merged = tensors(&out.join("model.safetensors"));
        let expected = tensors(&adapter(case).join("expected.safetensors"));
        assert_eq!(merged.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>(), "{case}");
        let held = read_adapter(&adapter(case)).expect("reads").whole;
        for (name, (shape, got)) in &merged {
            let want = match (expected.get(&format!("merged.f32.{name}")), held.get(name)) {
                (Some((_, want)), _) => want,
                (None, Some(whole)) => &whole.values,
                (None, None) => &plain[name].1,
            };
            let off = largest_difference(got, want);
            let tolerance = if case.starts_with("dora") { NORM_ORDER } else { 0.0 };
            assert!(off <= tolerance, "{case} {name} {shape:?}: off by {off}");
        }
        let off = largest_difference(&logits(&out, None), &expected["logits"].1);
        assert!(off <= 2e-6, "{case}: logits off by {off}");
    }
    let config = fs::read_to_string(scratch.path().join("resized/config.json")).expect("written");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["vocab_size"], 41);
}

/// PEFT runs such adapters so, but merges the embedding's into the output matrix as well.
#[test]
fn what_is_tied_is_written_apart_where_the_adapter_changes_one_of_the_two() {
    let scratch = tempfile::tempdir().expect("scratch");
    let base = scratch.path().join("tied");
    write_base(&base, Dtype::F32, Tie::Embedding);
    for case in ["tied-embedding", "tied-head", "tied-saved"] {
        let read = read_adapter(&adapter(case)).expect("reads");
        let want = &tensors(&adapter(case).join("expected.safetensors"))["logits"].1;
        let size = want.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let off = largest_difference(&logits(&base, Some(&read)), want);
        assert!(off <= 2e-6 * size.max(1.0), "{case}: off by {off} of {size}");
        let out = scratch.path().join(case);
        let text = transcript(&mut merge(&base, &adapter(case), &out, &[]));
        assert!(text.starts_with("exit: 0") && text.contains("is written by itself"), "{text}");
        let off = largest_difference(&logits(&out, None), want);
        assert!(off <= 2e-6 * size.max(1.0), "{case} merged: off by {off} of {size}");
    }
}

#[test]
fn a_merge_in_half_precision_has_the_bits_of_peft() {
    let scratch = tempfile::tempdir().expect("scratch");
    let base = base(scratch.path(), Dtype::F16);
    let (mut seen, name) = (0, "model.layers.0.self_attn.q_proj.weight");
    for case in own_base() {
        let expected = tensors(&adapter(case).join("expected.safetensors"));
        let Some((_, want)) = expected.get(&format!("merged.f16.{name}")) else { continue };
        let out = scratch.path().join(case);
        merge(&base, &adapter(case), &out, &[]).assert().success();
        assert_eq!(&tensors(&out.join("model.safetensors"))[name].1, want, "{case}");
        seen += 1;
    }
    assert!(seen >= 10, "{seen} cases alone");
}

#[test]
fn merging_into_the_8_bit_base_and_quantising_gives_the_codes_of_pefts_own_8_bit_merge() {
    let scratch = tempfile::tempdir().expect("scratch");
    let base = base(scratch.path(), Dtype::F16);
    for case in ["plain", "dora"] {
        let [merged, int8] =
            ["merged", "int8"].map(|what| scratch.path().join(what.to_owned() + case));
        let into = ["--merge-base", "dequantized"];
        merge(&base, &adapter(case), &merged, &into).assert().success();
        let mut quantize = medharness();
        quantize.arg("quantize").arg("--model").arg(&merged).arg("--out").arg(&int8);
        quantize.assert().success();
        let got = tensors(&int8.join("model.safetensors"));
        let expected = tensors(&adapter(case).join("expected.safetensors"));
        let q = "model.layers.0.self_attn.q_proj";
        // PEFT quantises the sum in f32, rounded to half precision: what stands in the file.
        assert_eq!(got[&format!("{q}.weight")].1, expected["merged.int8.codes"].1, "{case}");
        assert_eq!(got[&format!("{q}.SCB")].1, expected["merged.int8.scales"].1, "{case}");
        // The same from the int8 checkpoint itself.
        let [stored, again] =
            ["stored", "again"].map(|what| scratch.path().join(what.to_owned() + case));
        let mut quantize = medharness();
        quantize.arg("quantize").arg("--model").arg(&base).arg("--out").arg(&stored);
        quantize.assert().success();
        merge(&stored, &adapter(case), &again, &into).assert().success();
        let [a, b] = [&merged, &again].map(|out| tensors(&out.join("model.safetensors")));
        let name = format!("{q}.weight");
        let off = largest_difference(&a[&name].1, &b[&name].1);
        assert!(off <= 1e-3, "{case}: off by {off}");
        let refused =
            transcript(&mut merge(&stored, &adapter(case), &scratch.path().join("no"), &[]));
        assert!(refused.starts_with("exit: 2") && refused.contains("stored as int8"), "{refused}");
    }
}

#[test]
fn a_base_in_pytorch_shards_is_merged_into() {
    let scratch = tempfile::tempdir().expect("scratch");
    let base = goldens().join("pickled");
    let mut checkpoint = Checkpoint::open(&base).expect("opens");
    let network = checkpoint.load(Hold::Frozen(WeightType::F32)).expect("loads");
    let config =
        r#"{"peft_type": "LORA", "target_modules": "all-linear", "init_lora_weights": false}"#;
    let config = medharness::lora::LoraConfig::parse(config).expect("settings");
    let adapter = network.fresh_adapter(&config, 3).expect("fresh");
    let folder = scratch.path().join("adapter");
    fs::create_dir(&folder).expect("a folder");
    adapter.write(&folder).expect("written");
    let out = scratch.path().join("merged");
    merge(&base, &folder, &out, &[]).assert().success();
    let (got, want) = (logits(&out, None), logits(&base, Some(&adapter)));
    let off = largest_difference(&got, &want);
    let moved = largest_difference(&want, &logits(&base, None));
    // The base is in 16 bits or less: the merged weights are rounded to it.
    assert!(off < 0.05 * moved, "off by {off}, the adapter moves by {moved}");
}

#[test]
fn unmerging_gives_the_base_back_but_for_rounding() {
    let scratch = tempfile::tempdir().expect("scratch");
    let base = base(scratch.path(), Dtype::F32);
    let [merged, back] = ["merged", "back"].map(|name| scratch.path().join(name));
    merge(&base, &adapter("embedding"), &merged, &[]).assert().success();
    let unmerge = |model: &Path, case: &str, out: &Path| {
        let mut command = medharness();
        command.arg("unmerge").arg("--model").arg(model).arg("--adapter").arg(adapter(case));
        command.arg("--out").arg(out);
        command
    };
    unmerge(&merged, "embedding", &back).assert().success();
    let [before, merged, after] =
        [&base, &merged, &back].map(|folder| tensors(&folder.join("model.safetensors")));
    for (name, (_, before)) in &before {
        let off = largest_difference(before, &after[name].1);
        let changed = before != &merged[name].1;
        // One rounding of the sum, one of the difference, of values below 2.
        assert!(off <= if changed { 2.4e-7 } else { 0.0 }, "{name}: off by {off}");
    }
    for case in ["dora", "saved-modules", "bias-all"] {
        let text = transcript(&mut unmerge(&base, case, &scratch.path().join("no")));
        assert!(text.starts_with("exit: 2\n") && text.contains("cannot be taken off"), "{text}");
    }
}

#[test]
fn what_cannot_be_merged_is_refused_with_the_reason() {
    let _guard = snapshots();
    let scratch = tempfile::tempdir().expect("scratch");
    let base = base(scratch.path(), Dtype::F16);
    let huge = scratch.path().join("huge");
    fs::create_dir(&huge).expect("a folder");
    let mut overflowing = read_adapter(&adapter("plain")).expect("reads");
    for low in overflowing.modules.values_mut() {
        low.b.iter_mut().for_each(|b| *b *= 1e6);
    }
    overflowing.write(&huge).expect("written");
    let mut nan = overflowing.clone();
    nan.modules.values_mut().for_each(|low| low.b[0] = f32::NAN);
    let broken = scratch.path().join("broken");
    fs::create_dir(&broken).expect("a folder");
    nan.write(&broken).expect("written");
    let occupied = scratch.path().join("occupied");
    fs::create_dir(&occupied).expect("a folder");
    fs::write(occupied.join("notes.txt"), "mine").expect("written");
    let mut seen = String::new();
    for (what, base, adapter, out) in [
        ("values beyond half precision", &base, &huge, &scratch.path().join("a")),
        ("a value that is no number", &base, &broken, &scratch.path().join("b")),
        (
            "half of an enlarged vocabulary",
            &base,
            &adapter("resized-embedding"),
            &scratch.path().join("c"),
        ),
        ("another network", &base, &adapter("stories260k"), &scratch.path().join("d")),
        ("a folder in use", &base, &adapter("plain"), &occupied),
        ("no base", &scratch.path().join("missing"), &adapter("plain"), &scratch.path().join("e")),
    ] {
        let text = transcript(&mut merge(base, adapter, out, &[]));
        let text = text.replace(&scratch.path().display().to_string(), "DIR");
        seen += &format!("# {what}\n{text}\n");
    }
    insta::assert_snapshot!("lora_merge_refusals", seen);
}

#[test]
fn adapters_are_shown_compared_and_converted() {
    let _guard = snapshots();
    let scratch = tempfile::tempdir().expect("scratch");
    let tiny = root().join("golden/quant/checkpoint");
    let mut seen = String::new();
    for (case, format) in
        [("plain", "text"), ("dora", "markdown"), ("saved-modules", "text"), ("head", "json")]
    {
        let mut command = medharness();
        command
            .args(["adapter", "show", "--format", format, "--base"])
            .arg(&tiny)
            .arg(adapter(case));
        seen += &format!("# show {case}\n{}\n", transcript(&mut command));
    }
    for (a, b, format) in
        [("plain", "half", "text"), ("bin", "bin", "text"), ("plain", "of-2023", "markdown")]
    {
        let mut command = medharness();
        command.args(["adapter", "diff", "--format", format]).arg(adapter(a)).arg(adapter(b));
        seen += &format!("# diff {a} {b}\n{}\n", transcript(&mut command));
    }
    insta::assert_snapshot!("lora_adapter", seen);
    let out = scratch.path().join("converted");
    let mut command = medharness();
    command.args(["adapter", "convert"]).arg(adapter("of-2023")).arg("--out").arg(&out);
    command.assert().success();
    let (old, new) = (read_adapter(&adapter("of-2023")).expect("reads"), Adapter::read(&out));
    let new = new.expect("reads");
    assert_eq!((&old.modules, old.config.completed()), (&new.modules, new.config));
}
