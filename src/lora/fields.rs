//! The fields of `adapter_config.json` that this program does not compute with: which values leave
//! the arithmetic alone, and what PEFT writes by default.
//!
//! Source: PEFT 0.21.2, `LoraConfig`; the 2023 fields are those of 0.2 and 0.3.

use serde_json::{Map, Value, json};

use super::LoraError;

/// Fields that change the arithmetic, with the values that leave it alone beside `null`.
const NEUTRAL: [(&str, &[&str]); 14] = [
    ("alora_invocation_tokens", &[]),
    ("arrow_config", &[]),
    ("enable_lora", &[]),
    ("fan_in_fan_out", &["false"]),
    ("kasa_config", &[]),
    ("layer_replication", &["[]"]),
    ("lora_bias", &["false"]),
    ("monteclora_config", &[]),
    ("target_parameters", &["[]"]),
    ("trainable_token_indices", &["[]", "{}"]),
    ("use_bdlora", &["false"]),
    ("use_qalora", &["false"]),
    ("use_svdlora", &["false"]),
    ("velora_config", &[]),
];

/// Fields without a meaning for the arithmetic; those of a way to begin count with it alone.
const HARMLESS: [&str; 16] = [
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "merge_weights",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Refuses a field that changes the arithmetic.
pub(super) fn check(rest: &Map<String, Value>) -> Result<(), LoraError> {
    match rest.get("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        Some(other) => return Err(LoraError::Unsupported(format!("peft_type {other}"))),
        None => return Err(LoraError::NoType),
    }
    for (field, neutral) in NEUTRAL {
        if let Some(value) = rest.get(field).filter(|value| !value.is_null()) {
            let text = value.to_string();
            if !neutral.contains(&&*text) {
                return Err(LoraError::Unsupported(format!("{field} {text}")));
            }
        }
    }
    match rest.get("task_type").and_then(Value::as_str) {
        None | Some("CAUSAL_LM") => Ok(()),
        Some(other) => Err(LoraError::Unsupported(format!("task_type {other}"))),
    }
}

/// Refuses a way to begin that changed the base, or that is not known.
pub(super) fn check_initial(name: &str) -> Result<(), LoraError> {
    let lower = name.to_ascii_lowercase();
    let changes = ["pissa", "olora", "corda", "loftq", "lora_ga"];
    if changes.iter().any(|method| lower.starts_with(method)) {
        return Err(LoraError::ChangedBase(name.to_owned()));
    }
    match &*lower {
        // These leave the base alone: a finished adapter is read like any other.
        "gaussian" | "eva" | "orthogonal" | "mica" => Ok(()),
        _ => Err(LoraError::Unsupported(format!("init_lora_weights {name}"))),
    }
}

/// Returns whether PEFT knows the field.
pub(super) fn is_known(field: &str) -> bool {
    NEUTRAL.iter().any(|(known, _)| *known == field) || HARMLESS.contains(&field)
}

/// Adds the fields that PEFT writes, where they are absent.
pub(super) fn complete(rest: &mut Map<String, Value>) {
    let defaults = [
        ("alora_invocation_tokens", Value::Null),
        ("arrow_config", Value::Null),
        ("auto_mapping", Value::Null),
        ("corda_config", Value::Null),
        ("ensure_weight_tying", false.into()),
        ("eva_config", Value::Null),
        ("fan_in_fan_out", false.into()),
        ("inference_mode", true.into()),
        ("kasa_config", Value::Null),
        ("layer_replication", Value::Null),
        ("loftq_config", json!({})),
        ("lora_bias", false.into()),
        ("lora_ga_config", Value::Null),
        ("megatron_config", Value::Null),
        ("megatron_core", "megatron.core".into()),
        ("monteclora_config", Value::Null),
        ("peft_type", "LORA".into()),
        // The version whose fields these are: PEFT compares it with its own.
        ("peft_version", "0.21.2".into()),
        ("qalora_group_size", 16.into()),
        ("revision", Value::Null),
        ("target_parameters", Value::Null),
        ("task_type", "CAUSAL_LM".into()),
        ("trainable_token_indices", Value::Null),
        ("use_bdlora", Value::Null),
        ("use_qalora", false.into()),
        ("velora_config", Value::Null),
    ];
    for (field, value) in defaults {
        rest.entry(field).or_insert(value);
    }
}
