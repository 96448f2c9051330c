//! lm-evaluation-harness' two files: `results_{date}.json` and `samples_{task}_{date}.jsonl`.
//!
//! Read back with lm_eval 0.4.13: its file-name helpers, its table, its hashes.
//! Source of the layout: EleutherAI/lm-evaluation-harness 4e7e0d47, `loggers/evaluation_tracker.py`
//! and `evaluator.py`. Everything a reader of that harness expects is there; `medharness` holds
//! what it has no place for.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Asked, ExportError, ExportedFile, Finished, time};
use crate::{
    exam::Question,
    protocol::{Outcome, Reading},
    store::{AttemptRecord, Run},
};

/// What lm-eval writes where its filter found nothing.
const INVALID: &str = "[invalid]";

/// Returns the two files of `run`.
///
/// `acc` counts unparsed and errored questions as wrong, as lm-eval does.
///
/// # Errors
///
/// [`ExportError`] if the run is unfinished, empty or inconsistent.
pub fn lm_eval(run: &Run) -> Result<Vec<ExportedFile>, ExportError> {
    let finished = Finished::of(run)?;
    let task = task_name(run);
    let started = time(&run.manifest.started_at)?;
    // lm-eval takes what follows the last underscore as the date, and `:` out of file names.
    let date = started.strftime("%Y-%m-%dT%H-%M-%S.%6f").to_string();

    let samples: Vec<Value> =
        finished.asked.iter().enumerate().map(|(at, asked)| sample(&finished, at, asked)).collect();
    let hashes: String = samples
        .iter()
        .flat_map(|sample| ["doc_hash", "prompt_hash", "target_hash"].map(|key| &sample[key]))
        .filter_map(Value::as_str)
        .collect();
    let lines: String = samples.iter().map(|sample| format!("{sample}\n")).collect();
    let results = results(&finished, &task, &sha256(&hashes))?;
    let results = serde_json::to_string_pretty(&results).expect("a JSON value is writable");
    Ok(vec![
        ExportedFile { name: format!("results_{date}.json"), text: results },
        ExportedFile { name: format!("samples_{task}_{date}.jsonl"), text: lines },
    ])
}

/// The run as a task of lm-eval: exam and protocol, in the characters task names may have.
fn task_name(run: &Run) -> String {
    let name = format!("{}_{}", run.manifest.exam.name, run.manifest.protocol.id);
    name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

fn results(finished: &Finished<'_>, task: &str, task_hash: &str) -> Result<Value, ExportError> {
    let run = finished.run;
    let manifest = &run.manifest;
    let (acc, stderr) = finished.mean_and_stderr();
    let rule = filter(finished);
    let started = time(&manifest.started_at)?;
    let seconds = time(finished.ended_at)?.duration_since(started).as_secs_f64();
    let generation = serde_json::to_value(&run.protocol.decoding).unwrap_or_default();
    let model = &manifest.model;
    Ok(json!({
        "results": { task: {
            "alias": task,
            "sample_len": finished.asked.len(),
            format!("acc,{rule}"): acc,
            format!("acc_stderr,{rule}"): stderr,
        }},
        "group_subtasks": { task: [] },
        "configs": { task: {
            "task": task,
            "output_type": if finished.scores_options() { "multiple_choice" } else { "generate_until" },
            "num_fewshot": 0,
            "generation_kwargs": generation,
            "filter_list": [{ "name": rule }],
            "metadata": { "version": manifest.protocol.id, "protocol_sha256": manifest.protocol.sha256 },
        }},
        "versions": { task: manifest.protocol.id },
        "n-shot": { task: 0 },
        "higher_is_better": { task: { "acc": true } },
        "n-samples": { task: { "original": manifest.exam.total, "effective": finished.asked.len() } },
        "config": {
            "model": model.backend,
            "model_args": { "pretrained": model.name },
            "model_num_parameters": null,
            "model_dtype": model.dtype,
            "model_revision": null,
            "model_sha": model.sha256,
            "batch_size": null,
            "batch_sizes": [],
            "device": "cpu",
            "use_cache": null,
            "limit": null,
            "bootstrap_iters": 0,
            "gen_kwargs": generation,
            "random_seed": manifest.seed,
            "numpy_seed": manifest.seed,
            "torch_seed": manifest.seed,
            "fewshot_seed": manifest.seed,
        },
        "git_hash": manifest.tool.git_revision,
        "date": started.as_millisecond() as f64 / 1e3,
        "pretty_env_info": format!(
            "medharness {} ({}), {}, {}, {} threads, kernels {}",
            manifest.tool.version, manifest.tool.target, manifest.machine.os, manifest.machine.cpu,
            manifest.machine.threads, manifest.kernel_set,
        ),
        "transformers_version": null,
        "lm_eval_version": null,
        "upper_git_hash": null,
        "task_hashes": { task: task_hash },
        "model_source": "medharness",
        "model_name": model.name,
        "model_name_sanitized": sanitised(&model.name),
        "system_instruction": null,
        "system_instruction_sha": null,
        "fewshot_as_multiturn": false,
        "chat_template": null,
        "chat_template_sha": null,
        "total_evaluation_time_seconds": seconds.to_string(),
        "medharness": { "manifest": manifest, "summary": finished.summary },
    }))
}

/// The protocol's rule as lm-eval names a filter; `none` where options are scored.
fn filter(finished: &Finished<'_>) -> &'static str {
    if finished.scores_options() { "none" } else { finished.rule() }
}

fn sample(finished: &Finished<'_>, index: usize, asked: &Asked<'_>) -> Value {
    let question = asked.question;
    let last = asked.last();
    let doc = serde_json::to_value(question).expect("a question is writable");
    let pretty = serde_json::to_string_pretty(&doc).expect("a JSON value is writable");
    let prompt = finished.run.protocol.render(question);
    let target = question.answer.to_string();
    let (arguments, resps) = exchange(finished, question, &prompt, asked.attempts);
    let picked = match last.reading {
        Reading::Letter { letter } | Reading::Default { letter } => letter.to_string(),
        Reading::Unparsed { .. } => INVALID.into(),
    };
    json!({
        "doc_id": index,
        "doc": doc,
        "target": target,
        "arguments": arguments,
        "resps": resps,
        "filtered_resps": [picked],
        "filter": filter(finished),
        "metrics": ["acc"],
        "doc_hash": sha256(&pretty),
        "prompt_hash": sha256(&prompt),
        "target_hash": sha256(&target),
        "acc": asked.credit(),
        "medharness": {
            "attempts": asked.attempts.len(),
            "outcome": last.outcome,
            "errored": last.outcome == Outcome::Errored,
        },
    })
}

/// `arguments` and `resps`: one request an option where options are scored, else one with a reply
/// per attempt.
fn exchange(
    finished: &Finished<'_>,
    question: &Question,
    prompt: &str,
    attempts: &[AttemptRecord],
) -> (Value, Value) {
    if !finished.scores_options() {
        let settings = serde_json::to_value(&finished.run.protocol.decoding).unwrap_or_default();
        let texts: Vec<&str> = attempts.iter().map(|attempt| &*attempt.text).collect();
        return (json!({ "gen_args_0": { "arg_0": prompt, "arg_1": settings } }), json!([texts]));
    }
    let arguments: serde_json::Map<String, Value> = finished
        .run
        .protocol
        .continuations(question)
        .into_iter()
        .enumerate()
        .map(|(index, text)| {
            (format!("gen_args_{index}"), json!({ "arg_0": prompt, "arg_1": text }))
        })
        .collect();
    let scores = attempts.last().map_or(&[][..], |attempt| &attempt.scores);
    let resps: Vec<Value> = scores
        .iter()
        .map(|score| {
            let greedy = if score.is_greedy { "True" } else { "False" };
            json!([[score.log_prob.to_string(), greedy]])
        })
        .collect();
    (Value::Object(arguments), json!(resps))
}

/// A model's name as lm-eval writes it into a path: each run of reserved characters as `__`.
fn sanitised(name: &str) -> String {
    let reserved = |c: char| "\"<>:/|\\?*[]".contains(c);
    let mut clean = String::new();
    for c in name.chars() {
        match (reserved(c), clean.ends_with("__")) {
            (true, true) => {}
            (true, false) => clean.push_str("__"),
            (false, _) => clean.push(c),
        }
    }
    clean
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
