//! Adapters against PEFT: files, targets, forward, gradients, merge, initialisation.

use std::{fs, path::PathBuf};

use medharness::lora::{Adapter, LoraConfig, LoraError, Merger, Target, initialize};
use safetensors::SafeTensors;

const CASES: [&str; 5] = ["plain", "rslora", "patterns", "all-linear", "one-layer"];

/// torch sums in another order: a few units in the last place of sums of up to 24 terms about 1.
const SUM_ORDER: f32 = 4e-6;

fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/lora").join(case)
}

fn golden(case: &str) -> Vec<u8> {
    fs::read(folder(&format!("{case}.safetensors"))).expect("a committed golden")
}

fn floats(bytes: &[u8], name: &str) -> Option<Vec<f32>> {
    let tensors = SafeTensors::deserialize(bytes).expect("valid");
    let data = tensors.tensor(name).ok()?.data();
    Some(data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

fn close(what: &str, ours: &[f32], want: &[f32]) {
    assert_eq!(ours.len(), want.len(), "{what}");
    for (at, (ours, want)) in ours.iter().zip(want).enumerate() {
        assert!((ours - want).abs() <= SUM_ORDER, "{what} {at}: {ours} {want}");
    }
}

/// Linear layers of the golden's base model in the order of its modules: name, outputs, inputs.
fn modules() -> Vec<(String, usize, usize)> {
    let layer = [
        ("self_attn.q_proj", 24, 24),
        ("self_attn.k_proj", 12, 24),
        ("self_attn.v_proj", 12, 24),
        ("self_attn.o_proj", 24, 24),
        ("mlp.gate_proj", 36, 24),
        ("mlp.up_proj", 36, 24),
        ("mlp.down_proj", 24, 36),
    ];
    let named = |number| layer.map(|(name, o, i)| (format!("model.layers.{number}.{name}"), o, i));
    (0..2).flat_map(named).collect()
}

#[test]
fn modules_and_ranks_are_those_peft_chose() {
    let modules = modules();
    let names: Vec<&str> = modules.iter().map(|(name, ..)| &**name).collect();
    for case in CASES {
        let adapter = Adapter::read(&folder(case)).unwrap();
        let mut chosen = adapter.config.select(&names).unwrap();
        chosen.sort_unstable();
        assert_eq!(chosen, adapter.modules.keys().collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn initial_matrices_have_the_bits_of_peft() {
    let modules = modules();
    let names: Vec<&str> = modules.iter().map(|(name, ..)| &**name).collect();
    for case in CASES {
        let golden = golden(case);
        let config = Adapter::read(&folder(case)).unwrap().config;
        let chosen = config.select(&names).unwrap();
        let sizes: Vec<_> = modules
            .iter()
            .filter(|(name, ..)| chosen.contains(&&**name))
            .map(|(module, outputs, inputs)| Target { module, outputs: *outputs, inputs: *inputs })
            .collect();
        let adapter = initialize(&config, &sizes, 0).unwrap();
        for (name, low) in &adapter.modules {
            let want = floats(&golden, &format!("init.base_model.model.{name}.lora_A.weight"));
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&low.a), bits(&want.expect("an A")), "{case} {name}");
            assert!(low.b.iter().all(|b| *b == 0.0), "{case} {name}");
        }
    }
}

#[test]
fn forward_gradients_and_merge_equal_peft() {
    let mut compared = 0;
    for case in CASES {
        let golden = golden(case);
        let get = |name: &str| floats(&golden, name);
        let adapter = Adapter::read(&folder(case)).unwrap();
        let Some(low) = adapter.modules.get("model.layers.0.self_attn.q_proj") else { continue };
        compared += 1;
        let (x, weight, bias) = (get("x").unwrap(), get("weight").unwrap(), get("bias").unwrap());
        let mut y = Vec::new();
        for x in x.chunks(24) {
            for (w, bias) in weight.chunks(24).zip(&bias) {
                y.push(x.iter().zip(w).fold(0.0, |sum: f32, (x, w)| x.mul_add(*w, sum)) + bias);
            }
        }
        low.add_to(&x, &mut y);
        close(&format!("{case} y"), &y, &get("y").unwrap());
        let g = get("grad_y").unwrap();
        let grads = low.backward(&x, &g);
        close(&format!("{case} grad a"), &grads.a, &get("grad_a").unwrap());
        close(&format!("{case} grad b"), &grads.b, &get("grad_b").unwrap());
        let mut grad_x = grads.x;
        for (grad, g) in grad_x.chunks_mut(24).zip(g.chunks(24)) {
            for (w, g) in weight.chunks(24).zip(g) {
                grad.iter_mut().zip(w).for_each(|(grad, w)| *grad += g * w);
            }
        }
        close(&format!("{case} grad x"), &grad_x, &get("grad_x").unwrap());
        let mut merged = weight.clone();
        let merger = Merger::new("model.layers.0.self_attn.q_proj", low);
        let norms = merger.merge(0, &mut merged);
        close(&format!("{case} merged"), &merged, &get("merged").unwrap());
        merger.unmerge(0, &mut merged, &norms);
        close(&format!("{case} unmerged"), &merged, &get("unmerged").unwrap());
    }
    assert_eq!(compared, 4);
}

#[test]
fn written_adapter_is_the_one_that_was_read() {
    for case in CASES {
        let scratch = tempfile::tempdir().expect("a folder");
        let adapter = Adapter::read(&folder(case)).unwrap();
        adapter.write(scratch.path()).unwrap();
        assert_eq!(Adapter::read(scratch.path()).unwrap(), adapter, "{case}");
        let text = |folder: PathBuf| {
            let text = fs::read_to_string(folder.join("adapter_config.json")).expect("JSON");
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
        };
        let (ours, theirs) = (text(scratch.path().into()), text(folder(case)));
        let keys = |v: &serde_json::Value| {
            v.as_object().expect("an object").keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&ours), keys(&theirs), "{case}");
    }
}

#[test]
fn empty_adapter_and_unsupported_settings_are_refused_by_name() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut adapter = Adapter::read(&folder("plain")).unwrap();
    adapter.modules.clear();
    assert!(matches!(adapter.write(scratch.path()), Err(LoraError::Empty { .. })));
    fs::copy(
        folder("plain").join("adapter_config.json"),
        scratch.path().join("adapter_config.json"),
    )
    .expect("copied");
    let mut empty = 2_u64.to_le_bytes().to_vec();
    empty.extend(b"{}");
    fs::write(scratch.path().join("adapter_model.safetensors"), empty).expect("written");
    let error = Adapter::read(scratch.path()).unwrap_err();
    assert!(error.to_string().contains("443 bytes"), "{error}");
    for (field, message) in [
        ("\"lora_bias\": true", "`lora_bias true` is not supported"),
        ("\"use_qalora\": true", "`use_qalora true` is not supported"),
        ("\"layer_replication\": [[0, 1]]", "`layer_replication [[0,1]]` is not supported"),
        ("\"task_type\": \"SEQ_CLS\"", "`task_type SEQ_CLS` is not supported"),
        ("\"init_lora_weights\": \"new\"", "`init_lora_weights new` is not supported"),
        ("\"r\": 0", "`r` is 0"),
        ("\"lora_dropout\": 1.5", "`lora_dropout` is 1.5"),
        (
            "\"target_modules\": \"all-linear\", \"layers_to_transform\": 1",
            "`layers_to_transform` does not go with a target_modules that is one text",
        ),
        ("\"layers_pattern\": \"h\"", "`layers_pattern` does not go with no layers_to_transform"),
    ] {
        let text = format!("{{\"peft_type\": \"LORA\", {field}}}");
        assert_eq!(LoraConfig::parse(&text).unwrap_err().to_string(), message);
    }
    for method in ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga"] {
        let text = format!("{{\"peft_type\": \"LORA\", \"init_lora_weights\": \"{method}\"}}");
        let error = LoraConfig::parse(&text).unwrap_err();
        assert!(matches!(&error, LoraError::ChangedBase(name) if name == method));
        assert!(error.to_string().contains("that base is not stored"), "{error}");
    }
    assert!(matches!(LoraConfig::parse("{}"), Err(LoraError::NoType)));
    let other = "{\"peft_type\": \"IA3\"}";
    let message = "`peft_type IA3` is not supported";
    assert_eq!(LoraConfig::parse(other).unwrap_err().to_string(), message);
}
