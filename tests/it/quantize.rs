//! `medharness quantize` against the checkpoint that transformers and bitsandbytes write.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::medharness;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/quant/checkpoint");

fn quantize(out: &Path) -> assert_cmd::assert::Assert {
    medharness().args(["quantize", "--format", "json", "--model", MODEL, "--out"]).arg(out).assert()
}

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/quant/checkpoint.int8.json");
    serde_json::from_str(&fs::read_to_string(path).expect("a committed golden")).expect("JSON")
}

/// Name, format, shape and digest of each tensor of a file.
fn tensors(path: &Path) -> BTreeMap<String, (String, Value, String)> {
    let bytes = fs::read(path).expect("written");
    let tensors = SafeTensors::deserialize(&bytes).expect("a valid file");
    let entry = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let digest = Sha256::digest(view.data()).iter().map(|b| format!("{b:02x}")).collect();
        (name, (format!("{:?}", view.dtype()), Value::from(view.shape()), digest))
    };
    tensors.tensors().into_iter().map(entry).collect()
}

#[test]
fn every_tensor_equals_the_one_transformers_writes() {
    let scratch = tempfile::tempdir().expect("a folder");
    let out = scratch.path().join("int8");
    quantize(&out).success();
    let ours = tensors(&out.join("model.safetensors"));
    let golden = golden();
    let theirs = golden["tensors"].as_object().expect("an object");
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, (dtype, shape, digest)) in &ours {
        let theirs = &theirs[name];
        let format = match theirs["dtype"].as_str().expect("a name") {
            "int8" => "I8",
            "uint8" => "U8",
            "float32" => "F32",
            "bfloat16" => "BF16",
            other => panic!("{other}"),
        };
        assert_eq!(dtype, format, "{name}");
        assert_eq!(*shape, theirs["shape"], "{name}");
        assert_eq!(*digest, theirs["sha256"], "{name}");
    }
    let config: Value =
        serde_json::from_slice(&fs::read(out.join("config.json")).expect("written")).expect("JSON");
    assert_eq!(config["quantization_config"], golden["quantization_config"]);
    assert_eq!(config["hidden_size"], 24);
    let left: Vec<String> = fs::read_dir(&out)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("partial") || name.contains("journal"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A run that was killed leaves a journal and a part of a file.
#[test]
fn interrupted_run_is_resumed_to_the_same_files() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (whole, out) = (scratch.path().join("whole"), scratch.path().join("resumed"));
    quantize(&whole).success();
    // What a run killed in the middle of its first file leaves: nothing is finished.
    fs::create_dir(&out).expect("a folder");
    fs::write(out.join("model.safetensors.partial"), b"half a file").expect("written");
    quantize(&out).success();
    // And one killed after its last file: the file is found whole, not made again.
    let journal = scratch.path().join("journal");
    let model = fs::read(out.join("model.safetensors")).expect("written");
    assert_eq!(model, fs::read(whole.join("model.safetensors")).expect("written"));
    fs::remove_dir_all(&out).expect("removed");
    fs::create_dir(&out).expect("a folder");
    fs::write(&journal, "{}").expect("written");
    fs::copy(&journal, out.join("quantize.journal.json")).expect("copied");
    let refused = quantize(&out).code(2);
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(message.contains("an interrupted run on another input"), "{message}");
}

#[test]
fn folder_with_something_else_and_quantised_input_are_refused() {
    let scratch = tempfile::tempdir().expect("a folder");
    fs::write(scratch.path().join("notes"), "mine").expect("written");
    let refused = quantize(scratch.path()).code(2);
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(message.contains("hint: name a folder that does not exist"), "{message}");
    let out = scratch.path().join("int8");
    quantize(&out).success();
    let again = scratch.path().join("again");
    let mut command = medharness();
    command.args(["quantize", "--model"]).arg(&out).arg("--out").arg(&again).assert().code(2);
}
