//! The records of a run directory. Their field names are the format: see `FORMAT_VERSION`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    exam::{Baselines, Letter, QuestionId},
    protocol::{FinishReason, Outcome, Reading},
};

/// Version of the run directory. A reader refuses a newer one.
pub const FORMAT_VERSION: u32 = 1;

/// Who answered: everything a number depends on that belongs to the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Name in tables, e.g. `medalpaca-13b`.
    pub name: String,
    /// Backend, e.g. `llama`, `replay`, `stub`.
    pub backend: String,
    /// sha256 of the weights' files taken together; of the recorded answers for `replay`.
    pub sha256: Option<String>,
    /// sha256 of the adapter, `None` without one.
    pub adapter_sha256: Option<String>,
    /// sha256 of the tokenizer's file, `None` where there is none.
    pub tokenizer_sha256: Option<String>,
    /// Number format the network computes in, e.g. `f32`, `bf16`, `int8`.
    pub dtype: Option<String>,
    /// Each file read, in the order of their names.
    pub files: Vec<FileIdentity>,
    /// The adapter's settings and weights, relative to its folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapter_files: Vec<FileIdentity>,
}

/// One file a number depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// File name, relative to the model's folder.
    pub name: String,
    /// Hex sha256 of its bytes.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

/// `manifest.json`: everything a number of this run depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// See [`Manifest::derive_run_id`]: equal ids, equal attempts.
    pub run_id: String,
    /// Who answered.
    pub model: ModelIdentity,
    /// What was asked.
    pub exam: ExamIdentity,
    /// How it was asked and read.
    pub protocol: ProtocolIdentity,
    /// Seed of the run; with question id and attempt it fixes every draw.
    pub seed: u64,
    /// What was left out, and why.
    pub selection: Selection,
    /// Name of the kernel set, e.g. `avx512vnni`; `none` without a network.
    pub kernel_set: String,
    /// The program.
    pub tool: ToolIdentity,
    /// Where it ran.
    pub machine: Machine,
    /// Folder of the model's files, where they can be hashed again; nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_path: Option<PathBuf>,
    /// Folder of the adapter's files, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_path: Option<PathBuf>,
    /// UTC, RFC 3339.
    pub started_at: String,
    /// UTC, RFC 3339, each time the run was taken up again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed_at: Vec<String>,
    /// UTC, RFC 3339; `None` until every question has its outcome.
    pub ended_at: Option<String>,
    /// Arguments of the command, for the reader; nothing depends on them.
    pub command_line: Vec<String>,
}

/// Which exam.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamIdentity {
    /// Short name.
    pub name: String,
    /// sha256 of the canonical form, over all questions.
    pub sha256: String,
    /// Questions of the source, excluded ones too.
    pub total: usize,
    /// Files read.
    pub files: Vec<FileIdentity>,
}

/// Which protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolIdentity {
    /// Its id.
    pub id: String,
    /// sha256 of its file.
    pub sha256: String,
}

/// What was left out, and why. Everything else was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Excluded items (images), with the reason.
    pub excluded: BTreeMap<QuestionId, String>,
    /// Items that this run does not ask, with the reason: the protocol, a limit, a choice of
    /// questions, another shard.
    pub not_run: BTreeMap<QuestionId, String>,
    /// Which part of the run this is; `None` for the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// Part `index` of `of`: of the questions to ask, in exam order and counted from 0, those whose
/// position leaves the remainder `index - 1` when divided by `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// From 1 to `of`.
    pub index: usize,
    /// Number of parts.
    pub of: usize,
}

/// Which program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolIdentity {
    /// Crate version.
    pub version: String,
    /// Commit it was built from, with `-dirty` if the tree was; `unknown` outside a checkout.
    pub git_revision: String,
    /// Compiler.
    pub rustc: String,
    /// Target triple.
    pub target: String,
}

/// Which machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor, as the system names it.
    pub cpu: String,
    /// Logical processors.
    pub threads: usize,
    /// Memory in bytes, 0 where unknown.
    pub mem_bytes: u64,
    /// Operating system and kernel.
    pub os: String,
}

/// One line of `attempts.jsonl`.
///
/// Holds nothing that differs between two runs with the same manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The question.
    pub question_id: QuestionId,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Seed of this attempt, from (run seed, question id, attempt).
    pub seed: u64,
    /// sha256 of the rendered prompt.
    pub prompt_sha256: String,
    /// Tokens of the prompt, BOS included; 0 without a tokenizer.
    pub prompt_tokens: usize,
    /// Its first eight token ids (shows BOS); empty without a tokenizer.
    pub prompt_first_ids: Vec<u32>,
    /// Its last eight token ids.
    pub prompt_last_ids: Vec<u32>,
    /// The reply; empty where the options were scored.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// New tokens.
    pub completion_tokens: usize,
    /// Scores of the options, where the protocol scores instead of generating.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<OptionScore>,
    /// What the protocol's rule read.
    pub reading: Reading,
    /// The letter stated in the right form, text ignored; `None` if there is none.
    pub letter: Option<Letter>,
    /// Whether this is the question's last attempt.
    pub is_final: bool,
    /// What this attempt would count as, were it the last.
    pub outcome: Outcome,
    /// Why the model gave no reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The score of one option.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptionScore {
    /// The option.
    pub letter: Letter,
    /// Sum of natural-log probabilities.
    pub log_prob: f64,
    /// Tokens it is the sum over.
    pub tokens: usize,
    /// UTF-8 bytes of the continuation, for length normalisation.
    pub bytes: usize,
    /// Whether greedy decoding would have produced it.
    pub is_greedy: bool,
}

/// One line of `timings.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The question.
    pub question_id: QuestionId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Wall time of the attempt, in seconds; of its batch divided by its size where batched.
    pub wall_s: f64,
}

/// How the questions of a run, or of one step of it, came out.
///
/// Invariants: `correct + wrong + unparsed + errored = asked` and
/// `asked + excluded + not_run = total`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Questions of the source.
    pub total: usize,
    /// Left out because they cannot be asked (images).
    pub excluded: usize,
    /// Not asked by this run.
    pub not_run: usize,
    /// Asked.
    pub asked: usize,
    /// Right.
    pub correct: usize,
    /// Wrong.
    pub wrong: usize,
    /// No option read.
    pub unparsed: usize,
    /// Of `unparsed`, by reason, in the reason's snake_case name.
    pub unparsed_by_reason: BTreeMap<String, usize>,
    /// No reply.
    pub errored: usize,
}

/// `successes` of `trials`, with its 95 % intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// Numerator.
    pub successes: usize,
    /// Denominator, at least 1.
    pub trials: usize,
    /// `successes / trials`.
    pub value: f64,
    /// Wilson score interval, 95 %.
    pub wilson: [f64; 2],
    /// Clopper-Pearson interval, 95 %.
    pub clopper_pearson: [f64; 2],
}

/// Accuracies over one set of questions. `None` where the denominator would be 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracies {
    /// By the protocol's denominator rule: the headline.
    pub headline: Option<Proportion>,
    /// Correct of asked: unparsed and errored count as wrong.
    pub strict: Option<Proportion>,
    /// Correct of parsed.
    pub parsed_only: Option<Proportion>,
    /// Were every unparsed and errored question wrong, and were every one right.
    pub bounds: Option<[f64; 2]>,
    /// Letter stated in form and right, text ignored, of asked.
    pub letter: Option<Proportion>,
}

/// One part of a run: the whole of it, or one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `all`, or the step: `1`, `2`, `3`, `2&3`, `none`.
    pub name: String,
    /// Counts.
    pub ledger: Ledger,
    /// Shares.
    pub accuracies: Accuracies,
    /// Baselines; `None` if nothing was asked.
    pub baselines: Option<Baselines>,
    /// Share right within the first 1, 2, … attempts.
    pub accuracy_at_attempt: Vec<Proportion>,
    /// Questions by the number of attempts they took; index 0 is one attempt.
    pub attempts_histogram: Vec<usize>,
    /// What asking again changed.
    pub retries: RetryEffect,
}

/// How much of a score was bought by asking again: the last attempt against the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryEffect {
    /// Questions asked more than once.
    pub retried: usize,
    /// Of these, right at last and not at first.
    pub gained: usize,
    /// Of these, right at first and not at last.
    pub lost: usize,
}

/// `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The run.
    pub run_id: String,
    /// sha256 of `attempts.jsonl` it was derived from.
    pub attempts_sha256: String,
    /// The protocol whose rule and denominator were applied.
    pub protocol: ProtocolIdentity,
    /// The whole run first, then each step in order.
    pub parts: Vec<Part>,
}
