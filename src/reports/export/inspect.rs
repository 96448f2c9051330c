//! inspect_ai's EvalLog, version 2, as plain JSON: `inspect view` and `samples_df` work on it.
//!
//! Read back with inspect_ai 0.3.285's `read_eval_log`. Source of the layout: UKGovernmentBEIS/
//! inspect_ai 499e6152, `log/_log.py`. A question that was not parsed scores `I` with the reason;
//! one without a reply has no score and an error, and counts as unscored.

use serde_json::{Map, Value, json};

use super::{Asked, ExportError, ExportedFile, Finished, time};
use crate::{
    protocol::{FinishReason, Outcome, Reading, Reason},
    store::{AttemptRecord, Run, reason_name},
};

/// Returns the one file of `run`: `{date}_{exam}_{run id}.json`, as inspect names its logs.
///
/// # Errors
///
/// [`ExportError`] if the run is unfinished, empty or inconsistent.
pub fn inspect(run: &Run) -> Result<Vec<ExportedFile>, ExportError> {
    let finished = Finished::of(run)?;
    let asked = &finished.asked;
    let manifest = &run.manifest;
    let started = rfc3339(&manifest.started_at)?;
    let ended = rfc3339(finished.ended_at)?;
    let scorer = finished.rule();
    let (accuracy, stderr) = finished.mean_and_stderr();
    let errored = asked.iter().filter(|asked| asked.last().outcome == Outcome::Errored).count();
    let (input, output) = tokens(&run.attempts);
    let task = format!("{}/{}", manifest.exam.name, manifest.protocol.id);
    let config = generate_config(run);
    let log = json!({
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": manifest.run_id,
            "run_id": manifest.run_id,
            "created": started,
            "task": task,
            "task_id": manifest.run_id,
            "task_version": manifest.protocol.id,
            "task_attribs": {},
            "task_args": { "protocol_sha256": manifest.protocol.sha256 },
            "dataset": {
                "name": manifest.exam.name,
                "samples": asked.len(),
                "sample_ids": asked.iter().map(|asked| &asked.question.id).collect::<Vec<_>>(),
                "shuffled": false,
            },
            "model": format!("{}/{}", manifest.model.backend, manifest.model.name),
            "model_generate_config": config,
            "model_args": {},
            "config": { "epochs": 1, "log_samples": true },
            "packages": { "medharness": manifest.tool.version },
            "metadata": { "manifest": manifest },
            "scorers": [{ "name": scorer, "metrics": [{ "name": "accuracy" }, { "name": "stderr" }] }],
        },
        "plan": {
            "name": "plan",
            "steps": [{ "solver": "medharness", "params": { "protocol": manifest.protocol.id } }],
            "config": config,
        },
        "results": {
            "total_samples": asked.len(),
            "completed_samples": asked.len() - errored,
            "scores": [{
                "name": scorer,
                "scorer": scorer,
                "scored_samples": asked.len() - errored,
                "unscored_samples": errored,
                "params": {},
                "metrics": {
                    "accuracy": { "name": "accuracy", "value": accuracy },
                    "stderr": { "name": "stderr", "value": stderr },
                },
                "metadata": { "summary": finished.summary, "errored": "counted as incorrect in accuracy" },
            }],
        },
        "stats": {
            "started_at": started,
            "completed_at": ended,
            "model_usage": { &manifest.model.name: usage(input, output) },
        },
        "samples": asked.iter().map(|asked| sample(run, asked, scorer)).collect::<Vec<_>>(),
    });
    let name =
        format!("{}_{}_{}.json", started.replace(':', "-"), file_name(&task), manifest.run_id);
    let text = serde_json::to_string_pretty(&log).expect("a JSON value is writable");
    Ok(vec![ExportedFile { name, text }])
}

fn sample(run: &Run, asked: &Asked<'_>, scorer: &str) -> Value {
    let question = asked.question;
    let last = asked.last();
    let prompt = run.protocol.render(question);
    let (input, output) = tokens(std::slice::from_ref(last));
    let mut sample = json!({
        "id": question.id,
        "epoch": 1,
        "input": prompt,
        "choices": question.options.iter().map(|choice| &choice.text).collect::<Vec<_>>(),
        "target": question.answer,
        "messages": [
            { "role": "user", "content": prompt },
            { "role": "assistant", "content": last.text, "source": "generate" },
        ],
        "output": {
            "model": run.manifest.model.name,
            "choices": [{
                "message": { "role": "assistant", "content": last.text, "source": "generate" },
                "stop_reason": stop_reason(last.finish_reason),
            }],
            "completion": last.text,
            "usage": usage(input, output),
        },
        "scores": {},
        "metadata": {
            "step": question.step,
            "source": question.source,
            "option_letters": question.options.iter().map(|choice| choice.letter).collect::<Vec<_>>(),
            "attempts": asked.attempts,
        },
        "model_usage": { &run.manifest.model.name: usage(input, output) },
        "uuid": format!("{}/{}", run.manifest.run_id, question.id),
    });
    match last.outcome {
        Outcome::Errored => {
            let message = last.error.as_deref().unwrap_or("no reply");
            sample["error"] = json!({ "message": message, "traceback": "", "traceback_ansi": "" });
        }
        outcome => sample["scores"][scorer] = score(last, outcome),
    }
    sample
}

fn score(last: &AttemptRecord, outcome: Outcome) -> Value {
    let mut score = Map::new();
    score.insert("value".into(), json!(if outcome == Outcome::Correct { "C" } else { "I" }));
    match last.reading {
        Reading::Letter { letter } => {
            score.insert("answer".into(), json!(letter));
        }
        Reading::Default { letter } => {
            score.insert("answer".into(), json!(letter));
            score.insert("explanation".into(), json!("nothing matched: the rule's silent default"));
        }
        Reading::Unparsed { reason } => {
            let kind = match reason {
                Reason::Empty => "no_response",
                _ => "invalid_response_format",
            };
            score.insert("reason".into(), json!(kind));
            score.insert("explanation".into(), json!(format!("unparsed: {}", reason_name(reason))));
        }
    }
    score.insert("metadata".into(), json!({ "outcome": outcome, "letter": last.letter }));
    Value::Object(score)
}

fn stop_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfText | FinishReason::StopString | FinishReason::Scored => "stop",
        FinishReason::Length => "max_tokens",
        FinishReason::Unknown => "unknown",
    }
}

/// The decoding in inspect's words; nothing where options are scored.
fn generate_config(run: &Run) -> Value {
    let Some(sampling) = run.protocol.sampling(run.manifest.seed) else { return json!({}) };
    let mut config = json!({ "max_tokens": sampling.max_new_tokens, "seed": run.manifest.seed });
    if sampling.greedy {
        config["temperature"] = json!(0.0);
    } else {
        config["temperature"] = json!(sampling.temperature);
        config["top_k"] = json!(sampling.top_k);
        config["top_p"] = json!(sampling.top_p);
    }
    config
}

/// Prompt and new tokens of `attempts`.
fn tokens(attempts: &[AttemptRecord]) -> (usize, usize) {
    let input = attempts.iter().map(|attempt| attempt.prompt_tokens).sum();
    let output = attempts.iter().map(|attempt| attempt.completion_tokens).sum();
    (input, output)
}

fn usage(input: usize, output: usize) -> Value {
    json!({ "input_tokens": input, "output_tokens": output, "total_tokens": input + output })
}

/// A time stamp with an explicit offset, as inspect's own.
fn rfc3339(text: &str) -> Result<String, ExportError> {
    Ok(time(text)?.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string())
}

fn file_name(task: &str) -> String {
    task.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect()
}
