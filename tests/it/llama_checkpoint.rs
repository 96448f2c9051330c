//! Checkpoint files: layouts, what is refused, and what is said.

use std::{fs, path::Path};

use medharness::{
    kernels::matrix::WeightType,
    llama::{
        Batch, Checkpoint, CheckpointError, Config, Hold, WeightSource, checkpoint::stop_tokens,
        defects, expected_tensors,
    },
};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use crate::llama_support::{Hashed, config, golden, goldens, largest_difference};

/// Tensors of a golden configuration as little-endian f32 bytes.
fn tensors(name: &str) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    expected_tensors(&config(name))
        .into_iter()
        .map(|(tensor, shape)| {
            let width = shape[shape.len() - 1];
            let rows = shape.iter().product::<usize>() / width;
            let mut values = Vec::new();
            Hashed(name).read(&tensor, width, 0, rows, &mut values).expect("hashed");
            (tensor, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect()
}

fn write(path: &Path, tensors: &[(String, Vec<usize>, Vec<u8>)]) {
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("view"))
    });
    safetensors::serialize_to_file(views, None, path).expect("written");
}

/// Writes a single-file checkpoint after `change` and returns its folder.
fn checkpoint(
    name: &str,
    change: impl FnOnce(&mut Vec<(String, Vec<usize>, Vec<u8>)>),
) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("scratch");
    fs::copy(goldens().join(format!("{name}.config.json")), folder.path().join("config.json"))
        .expect("copied");
    let mut tensors = tensors(name);
    change(&mut tensors);
    write(&folder.path().join("model.safetensors"), &tensors);
    folder
}

/// Returns the message of a failure with its causes.
fn message(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn open_error(folder: &Path) -> String {
    message(&Checkpoint::open(folder).map(|_| ()).expect_err("refused"))
}

fn load_error(folder: &Path, weight_type: WeightType) -> CheckpointError {
    let mut checkpoint = Checkpoint::open(folder).expect("opens");
    checkpoint.load(Hold::Frozen(weight_type)).map(|_| ()).expect_err("refused")
}

fn check_logits(folder: &Path, ids: &[u32], want: &[Vec<f32>]) {
    const TOLERANCE: f32 = 1e-4;
    let mut checkpoint = Checkpoint::open(folder).expect("opens");
    let network = checkpoint.load(Hold::Frozen(WeightType::F32)).expect("loads");
    let states = network.forward(&Batch::new([ids])).expect("forward");
    let got: Vec<Vec<f32>> = network.logits(&states).expect("logits").to_vec2().expect("f32");
    assert!(largest_difference(&got.concat(), &want.concat()) <= TOLERANCE);
}

#[test]
fn single_and_sharded_safetensors_hold_the_same_network() {
    let case = &golden("grouped").cases[1];
    let folder = checkpoint("grouped", |_| {});
    check_logits(folder.path(), &case.ids, &case.f32);

    let sharded = tempfile::tempdir().expect("scratch");
    let path = |name: &str| sharded.path().join(name);
    fs::copy(goldens().join("grouped.config.json"), path("config.json")).expect("copied");
    let tensors = tensors("grouped");
    let mut map = serde_json::Map::new();
    for (i, part) in tensors.chunks(5).enumerate() {
        let shard = format!("model-{i:05}.safetensors");
        write(&path(&shard), part);
        map.extend(part.iter().map(|(name, ..)| (name.clone(), json!(shard))));
    }
    let index = path("model.safetensors.index.json");
    fs::write(&index, json!({ "weight_map": map }).to_string()).expect("written");
    check_logits(sharded.path(), &case.ids, &case.f32);

    map.insert("model.layers.9.mlp.up_proj.weight".into(), json!("model-00000.safetensors"));
    fs::write(&index, json!({ "weight_map": map }).to_string()).expect("written");
    insta::assert_snapshot!(open_error(sharded.path()),
        @"tensor `model.layers.9.mlp.up_proj.weight` is missing");
    for name in ["../model-00000.safetensors", "/etc/passwd", "C:x.bin", "a\\b.bin", "x.txt"] {
        map.insert("model.norm.weight".into(), json!(name));
        fs::write(&index, json!({ "weight_map": map }).to_string()).expect("written");
        let error = open_error(sharded.path());
        assert!(error.contains("is not a file of this folder"), "{error}");
    }
}

#[derive(serde::Deserialize)]
struct Pickled {
    ids: Vec<u32>,
    f32: Vec<Vec<f32>>,
}

#[test]
fn pytorch_shards_are_read_as_torch_reads_them() {
    let folder = goldens().join("pickled");
    let text = fs::read_to_string(folder.join("logits.json")).expect("golden");
    let want: Pickled = serde_json::from_str(&text).expect("golden");
    check_logits(&folder, &want.ids, &want.f32);
    let checkpoint = Checkpoint::open(&folder).expect("opens");
    insta::assert_debug_snapshot!(checkpoint.notes(), @r#"
    [
        "1 buffers `rotary_emb.inv_freq` are left aside: they follow from config.json",
    ]
    "#);
}

#[test]
fn hostile_pytorch_files_are_refused_and_nothing_is_executed() {
    let mut seen = String::new();
    let mut files: Vec<_> = fs::read_dir(goldens().join("hostile"))
        .expect("goldens")
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.sort();
    for file in files {
        let folder = tempfile::tempdir().expect("scratch");
        fs::copy(goldens().join("plain.config.json"), folder.path().join("config.json"))
            .expect("copied");
        fs::copy(&file, folder.path().join("pytorch_model.bin")).expect("copied");
        let error = open_error(folder.path());
        let error = error.replace(&folder.path().display().to_string(), "DIR");
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        seen.push_str(&format!("{name}: {error}\n"));
    }
    assert!(!Path::new("executed-by-pickle").exists());
    let _guard = crate::snapshots();
    insta::assert_snapshot!("llama_hostile_pickles", seen);
}

#[test]
fn missing_extra_misshaped_and_broken_tensors_are_named() {
    let norm = "model.norm.weight";
    let folder = checkpoint("plain", |t| t.retain(|(name, ..)| name != norm));
    insta::assert_snapshot!(open_error(folder.path()), @"tensor `model.norm.weight` is missing");

    let folder = checkpoint("plain", |t| t.push(("model.extra".into(), vec![1], vec![0; 4])));
    insta::assert_snapshot!(open_error(folder.path()),
        @"tensor `model.extra` belongs to no part of this network");

    let folder = checkpoint("plain", |tensors| {
        let entry = tensors.iter_mut().find(|(name, ..)| name == norm).expect("norm");
        *entry = (norm.into(), vec![16, 2], entry.2.clone());
    });
    insta::assert_snapshot!(open_error(folder.path()),
        @"tensor `model.norm.weight` has shape [16, 2], config.json says [32]");

    let broken = |value: f32| {
        checkpoint("plain", |tensors| {
            let name = "model.layers.1.mlp.up_proj.weight";
            let entry = tensors.iter_mut().find(|(n, ..)| n == name).expect("up");
            entry.2[4 * (3 * 32 + 5)..][..4].copy_from_slice(&value.to_le_bytes());
        })
    };
    insta::assert_snapshot!(load_error(broken(f32::NAN).path(), WeightType::F32),
        @"tensor `model.layers.1.mlp.up_proj.weight` holds NaN at row 3, column 5");
    insta::assert_snapshot!(load_error(broken(1e6).path(), WeightType::F16),
        @"tensor `model.layers.1.mlp.up_proj.weight` holds 1000000, too large for F16 at row 3, column 5");

    let empty = tempfile::tempdir().expect("scratch");
    fs::copy(goldens().join("plain.config.json"), empty.path().join("config.json"))
        .expect("copied");
    assert!(open_error(empty.path()).contains("holds none of model.safetensors"));
}

#[test]
fn an_output_matrix_beside_a_tied_embedding_must_equal_it() {
    let folder = checkpoint("tied", |tensors| {
        let (_, shape, bytes) = tensors[0].clone();
        tensors.push(("lm_head.weight".into(), shape, bytes));
    });
    let opened = Checkpoint::open(folder.path()).expect("equal");
    assert_eq!(opened.notes(), ["`lm_head.weight` repeats the embedding it is tied to"]);
    let folder = checkpoint("tied", |tensors| {
        let (_, shape, mut bytes) = tensors[0].clone();
        bytes[77] ^= 1;
        tensors.push(("lm_head.weight".into(), shape, bytes));
    });
    insta::assert_snapshot!(open_error(folder.path()),
        @"tie_word_embeddings is true, but `lm_head.weight` differs from the embedding");
}

/// A safetensors file with this header and as many bytes of data.
fn with_header(header: &str, data: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("scratch");
    fs::copy(goldens().join("plain.config.json"), folder.path().join("config.json"))
        .expect("copied");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    fs::write(folder.path().join("model.safetensors"), bytes).expect("written");
    folder
}

#[test]
fn hostile_safetensors_headers_are_refused() {
    let one = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let cases = [
        ("given twice", format!(r#"{{"a":{one},"a":{one}}}"#), 4),
        ("bytes behind the header", format!(r#"{{"a":{one}}}"#), 9),
        ("bytes behind the header", format!(r#"{{"a":{one}}}"#), 3),
        (
            "damaged or hostile",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#.into(),
            4,
        ),
        (
            "damaged or hostile",
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.into(),
            8,
        ),
        (
            "damaged or hostile",
            format!(
                r#"{{"a":{{"dtype":"F32","shape":[{0},{0}],"data_offsets":[0,4]}}}}"#,
                u64::MAX
            ),
            4,
        ),
        ("damaged or hostile", "[1]".into(), 0),
        ("damaged or hostile", "{".into(), 0),
        ("is missing", "{}".into(), 0),
    ];
    for (want, header, data) in cases {
        let folder = with_header(&header, data);
        let error = open_error(folder.path());
        assert!(error.contains(want), "{header}: {error}");
    }
    let folder = with_header("{}", 0);
    let path = folder.path().join("model.safetensors");
    for bytes in [
        &[1_u8, 2, 3][..],
        &u64::MAX.to_le_bytes(),
        &200_000_000_u64.to_le_bytes(),
        &64_u64.to_le_bytes(),
    ] {
        fs::write(&path, bytes).expect("written");
        assert!(open_error(folder.path()).contains("damaged or hostile"));
    }
}

#[test]
fn integer_weights_are_refused_by_name() {
    let header =
        r#"{"model.embed_tokens.weight":{"dtype":"I8","shape":[61,32],"data_offsets":[0,1952]}}"#;
    insta::assert_snapshot!(open_error(with_header(header, 1952).path()),
        @"tensor `model.embed_tokens.weight` is stored as I8; F32, F16 and BF16 are read");
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let text = fs::read_to_string(goldens().join("plain.config.json")).expect("golden");
    let mut config: Value = serde_json::from_str(&text).expect("golden");
    change(&mut config);
    Config::parse(&config.to_string()).map_or_else(|error| message(&error), |c| format!("{c:?}"))
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let cases: [(&str, Value); 14] = [
        ("model_type", json!("gpt2")),
        ("model_type", Value::Null),
        ("architectures", json!(["LlamaForSequenceClassification"])),
        ("hidden_act", json!("gelu")),
        ("rope_scaling", json!({"type": "dynamic", "factor": 2.0})),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 2.0})),
        ("rope_scaling", json!({"type": "linear"})),
        ("quantization_config", json!({"load_in_4bit": true})),
        ("num_attention_heads", json!(5)),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(7)),
        ("vocab_size", json!(0)),
        ("vocab_size", json!("61")),
        ("hidden_size", json!(1e30)),
    ];
    let mut seen = String::new();
    for (key, value) in cases {
        let error = refusal(|config| config[key] = value.clone());
        seen.push_str(&format!("{key} = {value}: {error}\n"));
    }
    for key in ["hidden_size", "vocab_size", "rms_norm_eps", "num_hidden_layers"] {
        let error = refusal(|config| drop(config.as_object_mut().expect("object").remove(key)));
        seen.push_str(&format!("{key} removed: {error}\n"));
    }
    let _guard = crate::snapshots();
    insta::assert_snapshot!("llama_config_refusals", seen);
}

#[test]
fn older_and_newer_spellings_of_a_configuration_are_read() {
    let read = |change: &dyn Fn(&mut Value)| {
        let text = fs::read_to_string(goldens().join("plain.config.json")).expect("golden");
        let mut config: Value = serde_json::from_str(&text).expect("golden");
        change(&mut config);
        Config::parse(&config.to_string()).expect("read")
    };
    let early = read(&|config| {
        *config = json!({"architectures": ["LLaMAForCausalLM"], "bos_token_id": 0, "eos_token_id": 1,
            "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 172,
            "initializer_range": 0.02, "max_sequence_length": 2048, "model_type": "llama",
            "num_attention_heads": 8, "num_hidden_layers": 2, "pad_token_id": -1,
            "rms_norm_eps": 1e-6, "torch_dtype": "float16", "vocab_size": 32001});
    });
    assert_eq!(
        (early.context, early.kv_heads, early.vocab_size, early.pad),
        (2048, 8, 32001, Some(-1))
    );
    assert_eq!((early.bos, early.eos), (Some(0), vec![1]));
    let listed = read(&|config| config["eos_token_id"] = json!([2, 5]));
    assert_eq!(listed.eos, [2, 5]);
    let windowed = read(&|config| {
        config["model_type"] = json!("mistral");
        config["architectures"] = json!(["MistralForCausalLM"]);
        config["sliding_window"] = json!(48);
    });
    assert_eq!(windowed.context, 48);
    assert_eq!(windowed.notes.len(), 1);
    assert!((config("rope-nested").rope_theta - 1e6).abs() < f64::EPSILON);
}

#[test]
fn parameters_are_counted_as_stored() {
    for name in ["plain", "tied", "all-biased", "qwen-biased", "wide-heads"] {
        let config = config(name);
        let stored = expected_tensors(&config);
        let count: usize = stored.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(config.parameters(), count, "{name}");
    }
}

#[test]
fn known_defects_of_2023_are_found_and_extend_the_stop_tokens() {
    let folder = tempfile::tempdir().expect("scratch");
    let put = |name: &str, value: Value| {
        fs::write(folder.path().join(name), value.to_string()).expect("written");
    };
    put("config.json", json!({"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}));
    put("generation_config.json", json!({"bos_token_id": 0, "eos_token_id": 1}));
    put(
        "tokenizer_config.json",
        json!({"tokenizer_class": "LLaMATokenizer", "bos_token": "", "eos_token": {"content": ""}}),
    );
    let found = defects::found(folder.path()).expect("readable");
    assert_eq!(found.len(), defects::known().len());
    assert!(found.iter().any(|defect| defect.stop == [0, 1, 2]));
    let sound = goldens().join("pickled");
    assert!(defects::found(&sound).expect("readable").is_empty());
}

#[test]
fn stop_tokens_come_from_the_generation_settings_first() {
    let folder = tempfile::tempdir().expect("scratch");
    let config = config("plain");
    let stop = || stop_tokens(folder.path(), &config).expect("readable");
    assert_eq!(stop(), [2]);
    let path = folder.path().join("generation_config.json");
    fs::write(&path, r#"{"eos_token_id": [7, 9]}"#).expect("written");
    assert_eq!(stop(), [7, 9]);
    fs::write(&path, r#"{"temperature": 0.6}"#).expect("written");
    assert_eq!(stop(), [2]);
    fs::write(&path, "{").expect("written");
    assert!(stop_tokens(folder.path(), &config).is_err());
}
