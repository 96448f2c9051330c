//! Fills the fields of a run from its records; what the records do not hold says why.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Fate, Field, Pair, Report, Row, RunReport,
    schema::{Group, SCHEMA},
};
use crate::protocol::FinishReason;

/// Says why something that only a person knows is not there.
const NOT_IN_FILES: &str = "the files read do not say";

/// The fields of one group, in the schema's order.
pub type Filled = Vec<(&'static str, Field)>;

/// Returns every group of [`SCHEMA`] with its fields, for one run of the report.
pub fn fields(report: &Report<'_>, run: &RunReport<'_>) -> Vec<(&'static Group, Filled)> {
    let rows = run.records.rows();
    let fill = |group: &'static Group| {
        let filled = match group.name {
            "identity" => identity(run),
            "system" => system(run),
            "model" => model(run),
            "data" => data(run, &rows),
            "protocol" => protocol(run),
            "training" => training(group),
            "results" => results(run),
            "comparison" => comparison(report, run),
            "cost" => cost(run, &rows),
            "human_factors" => human_factors(),
            "evidence" => evidence(run),
            _ => integrity(report, run, &rows),
        };
        (group, filled)
    };
    SCHEMA.iter().map(fill).collect()
}

fn identity(run: &RunReport<'_>) -> Filled {
    let manifest = &run.records.manifest;
    let dirty = manifest.tool.git_revision.ends_with("-dirty");
    let known_revision = manifest.tool.git_revision != "unknown";
    vec![
        ("run_id", Field::of(&manifest.run_id)),
        ("started_at", Field::of(&manifest.started_at)),
        ("ended_at", Field::known(manifest.ended_at.as_ref(), "the run has not ended")),
        ("tool_version", Field::of(&manifest.tool.version)),
        ("git_revision", Field::of(&manifest.tool.git_revision)),
        ("git_dirty", Field::known(known_revision.then_some(dirty), "built outside a checkout")),
        ("binary_sha256", Field::absent("the manifest names the commit and the compiler instead")),
        ("cargo_lock_sha256", Field::absent("the commit holds Cargo.lock")),
        ("rustc", Field::of(&manifest.tool.rustc)),
        ("target", Field::of(&manifest.tool.target)),
        ("features", Field::absent("the manifest does not record them; the default is none")),
        ("command_line", Field::of(&manifest.command_line)),
        ("config", Field::of(json!({ "seed": manifest.seed, "selection": manifest.selection }))),
        ("config_sha256", Field::of(&manifest.protocol.sha256)),
    ]
}

fn system(run: &RunReport<'_>) -> Filled {
    let manifest = &run.records.manifest;
    let machine = &manifest.machine;
    let mem_bytes = Some(machine.mem_bytes).filter(|&bytes| bytes > 0);
    vec![
        ("cpu", Field::of(&machine.cpu)),
        ("kernel_set", Field::of(&manifest.kernel_set)),
        ("threads", Field::of(machine.threads)),
        ("mem_bytes", Field::known(mem_bytes, "the system does not say")),
        ("gpu", Field::absent("no accelerator is used")),
        ("os", Field::of(&machine.os)),
        ("container_digest", Field::absent("not known to the program")),
        ("environment", Field::absent("no environment variable changes a result")),
        (
            "numerics",
            Field::known(manifest.model.dtype.as_ref(), "the backend computes no network"),
        ),
        (
            "determinism",
            Field::of(
                "an attempt depends on model, exam, protocol, run seed, question id and attempt \
                 number; not on batch, order, shards or threads",
            ),
        ),
    ]
}

fn model(run: &RunReport<'_>) -> Filled {
    let model = &run.records.manifest.model;
    let int8 = model.dtype.as_deref().filter(|dtype| dtype.contains("int8"));
    vec![
        ("name", Field::of(&model.name)),
        ("backend", Field::of(&model.backend)),
        ("revision", Field::absent("the files' digests identify it")),
        ("files", Field::of(&model.files)),
        ("sha256", Field::known(model.sha256.as_ref(), "the backend reads no file")),
        ("parameters", Field::absent("the manifest does not record it")),
        ("tokenizer_sha256", Field::known(model.tokenizer_sha256.as_ref(), "no tokenizer is used")),
        ("adapter_sha256", Field::known(model.adapter_sha256.as_ref(), "no adapter is used")),
        (
            "adapter_base",
            match model.adapter_sha256 {
                Some(_) => Field::known(model.sha256.as_ref(), "the backend reads no file"),
                None => Field::absent("no adapter is used"),
            },
        ),
        ("quantisation", Field::known(int8, "no weight is quantised")),
        ("licence", Field::absent(NOT_IN_FILES)),
        ("knowledge_cutoff", Field::absent(NOT_IN_FILES)),
        ("training_data_date", Field::absent(NOT_IN_FILES)),
    ]
}

fn data(run: &RunReport<'_>, rows: &[Row<'_>]) -> Filled {
    let manifest = &run.records.manifest;
    let asked: Vec<&Row<'_>> =
        rows.iter().filter(|row| matches!(row.fate, Fate::Asked(_))).collect();
    let mut letters: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids = Sha256::new();
    for row in &asked {
        *letters.entry(row.question.answer.to_string()).or_default() += 1;
        ids.update(format!("{}\n", row.question.id));
    }
    let images = manifest
        .selection
        .excluded
        .keys()
        .filter(|id| rows.iter().any(|row| row.question.id == **id && row.question.has_image));
    vec![
        ("name", Field::of(&manifest.exam.name)),
        ("version", Field::absent("an exam is identified by its digest")),
        ("url", Field::absent(NOT_IN_FILES)),
        ("licence", Field::absent(NOT_IN_FILES)),
        ("sha256", Field::of(&manifest.exam.sha256)),
        ("files", Field::of(&manifest.exam.files)),
        ("split", Field::absent("the whole file is the exam")),
        ("total", Field::of(manifest.exam.total)),
        ("excluded", Field::of(by_reason(manifest.selection.excluded.values()))),
        ("not_run", Field::of(by_reason(manifest.selection.not_run.values()))),
        ("scored", Field::of(asked.len())),
        ("label_distribution", Field::of(letters)),
        ("item_ids_sha256", Field::of(hex(&ids.finalize()))),
        ("images_removed", Field::of(images.count())),
        ("language", Field::absent(NOT_IN_FILES)),
        ("de_identification", Field::absent(NOT_IN_FILES)),
        ("audit", Field::absent("no person has checked the questions; see `exam check`")),
        ("contamination", Field::absent("no training data was given to compare with")),
    ]
}

fn by_reason<'a>(reasons: impl Iterator<Item = &'a String>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for reason in reasons {
        *counts.entry(&**reason).or_default() += 1;
    }
    counts
}

fn protocol(run: &RunReport<'_>) -> Filled {
    let manifest = &run.records.manifest;
    vec![
        ("id", Field::of(&manifest.protocol.id)),
        ("sha256", Field::of(&manifest.protocol.sha256)),
        ("text", Field::of(&run.records.protocol_toml)),
        ("shots", Field::of("none: the prompt holds no examples")),
        ("option_order", Field::of("as printed")),
        ("seed", Field::of(manifest.seed)),
        ("scorers", Field::of(&run.readings.rules)),
        (
            "unparsed",
            Field::of("counted by reason; wrong in `strict`, left out in `parsed_only`, bounded"),
        ),
        ("judge", Field::absent("no model judges replies")),
    ]
}

fn training(group: &'static Group) -> Filled {
    let absent = || Field::absent("this run trained nothing");
    group.fields.iter().map(|(name, _)| (*name, absent())).collect()
}

fn results(run: &RunReport<'_>) -> Filled {
    let summary = &run.records.summary;
    let errors: BTreeMap<&str, f64> = summary
        .parts
        .iter()
        .filter_map(|part| {
            let share = part.accuracies.headline.as_ref()?;
            let variance = share.value * (1.0 - share.value) / share.trials as f64;
            Some((&*part.name, variance.sqrt()))
        })
        .collect();
    let read = run.readings.totals.iter().any(|total| total.replies > 0);
    let certainty = if run.records.attempts.iter().any(|attempt| !attempt.scores.is_empty()) {
        "the scores of the options are in attempts.jsonl; no calibration is worked out"
    } else {
        "replies state no certainty"
    };
    vec![
        ("parts", Field::of(&summary.parts)),
        ("interval_method", Field::of("95 %: Wilson score, and exact (Clopper-Pearson)")),
        ("standard_error", Field::of(errors)),
        ("clustered_standard_error", Field::absent("the exam names no groups of questions")),
        (
            "rules",
            Field::known(read.then_some(&run.readings.totals), "options were scored, not read"),
        ),
        ("option_permutation", Field::absent("options are offered in one order")),
        ("calibration", Field::absent(certainty)),
        ("hallucination", Field::absent("every question has a right option")),
        ("safety", Field::absent("one turn, multiple choice")),
    ]
}

fn comparison(report: &Report<'_>, run: &RunReport<'_>) -> Filled {
    let alone = "the report holds one run";
    let pairs: Vec<&Pair> = report.pairs_of(run).collect();
    let unnamed = "no printed row was named for this run; `reproduce --models` names one";
    let printed = |key: &str| match &run.printed {
        Some(printed) => Field::of(&printed[key]),
        None => Field::absent(unnamed),
    };
    let each = |pick: fn(&Pair) -> Value| {
        let values: Vec<Value> = pairs.iter().map(|&pair| pick(pair)).collect();
        if values.is_empty() { Field::absent(alone) } else { Field::of(values) }
    };
    vec![
        ("printed", printed("printed")),
        ("ours", printed("ours")),
        ("difference", printed("difference")),
        ("paired", each(Pair::json)),
        ("holm", each(|pair| json!({ "with": pair.names(), "p": pair.holm_p }))),
        (
            "minimum_detectable_difference",
            each(|pair| json!({ "with": pair.names(), "difference": pair.detectable })),
        ),
        ("verdict", printed("verdict")),
    ]
}

fn cost(run: &RunReport<'_>, rows: &[Row<'_>]) -> Filled {
    let records = run.records;
    let none = "no wall times were recorded";
    let mut walls: Vec<f64> = records.timings.iter().map(|timing| timing.wall_s).collect();
    walls.sort_by(f64::total_cmp);
    let total: f64 = walls.iter().sum();
    let complete = walls.len() == records.attempts.len() && total > 0.0;
    let asked = rows.iter().filter(|row| matches!(row.fate, Fate::Asked(_))).count();
    let tokens: usize = records.attempts.iter().map(|attempt| attempt.completion_tokens).sum();
    let latency = (!walls.is_empty()).then(
        || json!({ "p50": rank(&walls, 50), "p95": rank(&walls, 95), "p99": rank(&walls, 99) }),
    );
    let rate = |count: usize| complete.then(|| count as f64 / total);
    vec![
        ("questions_per_s", Field::known(rate(asked), none)),
        (
            "tokens_per_s",
            Field::known(rate(tokens).filter(|_| tokens > 0), "no tokens or no times recorded"),
        ),
        ("latency_s", Field::known(latency, none)),
        ("peak_mem_bytes", Field::absent("the manifest does not record it")),
        ("gpu_hours", Field::absent("no accelerator is used")),
    ]
}

/// The smallest value with at least `percent` % of the values at or below it (nearest rank).
fn rank(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank.min(sorted.len()) - 1]
}

fn human_factors() -> Filled {
    let nobody = || Field::absent("not applicable: no person judged a reply");
    vec![
        ("raters", nobody()),
        ("instructions", nobody()),
        ("blinding", nobody()),
        (
            "intended_use",
            Field::of("comparing language models and checking published figures, for research"),
        ),
        (
            "out_of_scope_use",
            Field::of("any decision about a patient; a licence to deploy; a claim of competence"),
        ),
        ("oversight", Field::absent("not applicable: nothing is deployed")),
        (
            "harms_and_limits",
            Field::of(
                "multiple-choice questions in one language; accuracy on them says little about \
                 care; questions may have been in training data",
            ),
        ),
        ("fairness", Field::absent("the exam names no groups of patients")),
        ("funding_and_ethics", Field::absent("not applicable: no person took part")),
    ]
}

fn evidence(run: &RunReport<'_>) -> Filled {
    let records = run.records;
    let mut prompts = Sha256::new();
    for attempt in &records.attempts {
        prompts.update(format!("{}\n", attempt.prompt_sha256));
    }
    let total: f64 = records.timings.iter().map(|timing| timing.wall_s).sum();
    vec![
        ("attempts_sha256", Field::of(&records.summary.attempts_sha256)),
        ("attempts", Field::of(records.attempts.len())),
        ("prompts_sha256", Field::of(hex(&prompts.finalize()))),
        ("rerun", Field::of(records.manifest.command_line.join(" "))),
        ("doi", Field::absent("not archived")),
        (
            "expected_runtime_s",
            Field::known((total > 0.0).then_some(total), "no wall times were recorded"),
        ),
        ("tolerance", Field::of("none: on one kernel set the same attempts, byte for byte")),
    ]
}

fn integrity(report: &Report<'_>, run: &RunReport<'_>, rows: &[Row<'_>]) -> Filled {
    let records = run.records;
    let failed: BTreeMap<&str, &str> = records
        .attempts
        .iter()
        .filter_map(|attempt| Some((&*attempt.question_id.0, attempt.error.as_deref()?)))
        .collect();
    let retried = rows.iter().filter(|row| row.attempts.len() > 1).count();
    let skipped = rows.iter().filter(|row| !matches!(row.fate, Fate::Asked(_))).count();
    let truncated =
        records.attempts.iter().filter(|a| a.finish_reason == FinishReason::Length).count();
    let imputed: BTreeMap<&str, usize> =
        run.readings.totals.iter().map(|total| (&*total.rule, total.defaulted)).collect();
    let mut warnings: Vec<String> =
        report.warnings().into_iter().filter(|text| text.starts_with(&records.label)).collect();
    if truncated > 0 {
        warnings.push(format!("{truncated} attempts ended at the token limit"));
    }
    vec![
        ("skipped", Field::of(skipped)),
        ("failed", Field::of(failed)),
        ("retried", Field::of(retried)),
        ("imputed", Field::of(imputed)),
        ("warnings", Field::of(warnings)),
        ("deviations", Field::of(&records.deviations)),
    ]
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
