//! The fields that every report carries: present, or `"not_reported"` with the reason.
//!
//! [`SCHEMA`] is the whole list. It merges what ACM's artifact badges, NeurIPS' and ACL's
//! checklists, MLPerf's submission rules, HELM, TRIPOD-LLM and model cards ask for; `serves`
//! names them. A field may be added; taking one away or changing its meaning is a new
//! [`SCHEMA_VERSION`].

/// Version of `report.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// The key under which an absent field says why.
pub const NOT_REPORTED: &str = "not_reported";

/// A group of fields.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Its key in `report.json`.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Who asks for it.
    pub serves: &'static str,
    /// Each field's key and what it holds.
    pub fields: &'static [(&'static str, &'static str)],
}

/// Every group and field, in the order of a report.
pub const SCHEMA: &[Group] = &[
    Group {
        name: "identity",
        title: "Identity",
        serves: "ACM, HELM, NeurIPS",
        fields: &[
            ("run_id", "digest of what the attempts depend on; equal ids, equal attempts"),
            ("started_at", "UTC, RFC 3339"),
            ("ended_at", "UTC, RFC 3339"),
            ("tool_version", "version of medharness that ran"),
            ("git_revision", "commit it was built from"),
            ("git_dirty", "whether the tree had changes"),
            ("binary_sha256", "digest of the program that ran"),
            ("cargo_lock_sha256", "digest of its dependencies' list"),
            ("rustc", "compiler"),
            ("target", "target triple"),
            ("features", "Cargo features"),
            ("command_line", "arguments of the command"),
            ("config", "settings as resolved: seed and selection"),
            ("config_sha256", "digest of the protocol's file, which holds every other setting"),
        ],
    },
    Group {
        name: "system",
        title: "System",
        serves: "MLPerf, ACL",
        fields: &[
            ("cpu", "processor"),
            ("kernel_set", "instruction set used"),
            ("threads", "logical processors"),
            ("mem_bytes", "memory of the machine, in bytes"),
            ("gpu", "accelerator and driver"),
            ("os", "operating system and kernel"),
            ("container_digest", "image the program ran in"),
            ("environment", "environment variables that matter"),
            ("numerics", "number format the network computes in"),
            ("determinism", "what a result may depend on"),
        ],
    },
    Group {
        name: "model",
        title: "Model",
        serves: "TRIPOD-LLM, model cards",
        fields: &[
            ("name", "name in tables"),
            ("backend", "what answered"),
            ("revision", "commit at its publisher"),
            ("files", "name, sha256 and size of every file read"),
            ("sha256", "digest of the weights together"),
            ("parameters", "number of parameters"),
            ("tokenizer_sha256", "digest of the tokenizer"),
            ("adapter_sha256", "digest of the adapter"),
            ("adapter_base", "model the adapter was made for"),
            ("quantisation", "scheme of quantised weights"),
            ("licence", "licence of the weights"),
            ("knowledge_cutoff", "date up to which it has read"),
            ("training_data_date", "date of its training data"),
        ],
    },
    Group {
        name: "data",
        title: "Data",
        serves: "ACL, TRIPOD-LLM, NeurIPS",
        fields: &[
            ("name", "name of the exam"),
            ("version", "its version"),
            ("url", "where it is published"),
            ("licence", "its licence"),
            ("sha256", "digest of its canonical form"),
            ("files", "name, sha256 and size of every file read"),
            ("split", "part of the source"),
            ("total", "questions of the source"),
            ("excluded", "questions that cannot be asked, by reason"),
            ("not_run", "questions not asked by this run, by reason"),
            ("scored", "questions asked"),
            ("label_distribution", "questions asked by right letter"),
            ("item_ids_sha256", "digest of the ids asked, one a line, in order"),
            ("images_removed", "questions left out because they show an image"),
            ("language", "language of the questions"),
            ("de_identification", "how persons are protected"),
            ("audit", "error rate of the questions, with its interval"),
            ("contamination", "overlap with training data"),
        ],
    },
    Group {
        name: "protocol",
        title: "Protocol",
        serves: "TRIPOD-LLM, HELM",
        fields: &[
            ("id", "its id"),
            ("sha256", "digest of its file"),
            ("text", "the whole file: prompt, decoding, attempts, reading rule, denominator"),
            ("shots", "examples in the prompt"),
            ("option_order", "order in which options are offered"),
            ("seed", "seed of the run"),
            ("scorers", "rules that read the replies"),
            ("unparsed", "how replies without an answer count"),
            ("judge", "model that judges replies"),
        ],
    },
    Group {
        name: "training",
        title: "Training",
        serves: "ACL",
        fields: &[
            ("method", "full, LoRA, …"),
            ("adapter_shape", "rank, alpha, targets"),
            ("precision", "number formats"),
            ("optimizer", "optimizer and its settings"),
            ("learning_rate", "schedule"),
            ("batch", "examples a step"),
            ("epochs", "passes over the data"),
            ("tokens", "tokens seen"),
            ("seeds", "seeds"),
            ("checkpoints_sha256", "digests of checkpoints"),
            ("search", "space, trials and criterion of the search"),
            ("validation_score", "score on held-out data"),
            ("wall_s", "wall time in seconds"),
            ("energy", "energy and emissions"),
        ],
    },
    Group {
        name: "results",
        title: "Results",
        serves: "all",
        fields: &[
            ("parts", "per step: ledger, accuracies with intervals, baselines, attempts"),
            ("interval_method", "how the intervals are made"),
            ("standard_error", "of the headline, per part"),
            ("clustered_standard_error", "with questions that share a stem taken together"),
            ("rules", "what every rule reads in the last replies"),
            ("option_permutation", "accuracy over orders of the options"),
            ("calibration", "whether stated certainty is right"),
            ("hallucination", "answers to questions without a right one"),
            ("safety", "harm, by turn"),
        ],
    },
    Group {
        name: "comparison",
        title: "Comparison",
        serves: "ACM Reproduced",
        fields: &[
            ("printed", "the printed value this run is held against"),
            ("ours", "this run's value"),
            ("difference", "ours less printed, with its interval"),
            ("paired", "exact paired tests against the other runs of this report"),
            ("holm", "the same p values, adjusted for their number"),
            ("minimum_detectable_difference", "what a run of this size can tell apart"),
            ("verdict", "reproduced, differs, not comparable"),
        ],
    },
    Group {
        name: "cost",
        title: "Cost",
        serves: "MLPerf, MedHELM",
        fields: &[
            ("questions_per_s", "questions answered a second"),
            ("tokens_per_s", "new tokens a second"),
            ("latency_s", "median, 95th and 99th percentile of an attempt, in seconds"),
            ("peak_mem_bytes", "highest resident memory"),
            ("gpu_hours", "accelerator time"),
        ],
    },
    Group {
        name: "human_factors",
        title: "Human factors",
        serves: "TRIPOD-LLM, model cards",
        fields: &[
            ("raters", "people who judged, and their training"),
            ("instructions", "what they were told"),
            ("blinding", "what they could not see"),
            ("intended_use", "what the numbers are for"),
            ("out_of_scope_use", "what they are not for"),
            ("oversight", "who answers for decisions"),
            ("harms_and_limits", "known limits"),
            ("fairness", "results by group of patients"),
            ("funding_and_ethics", "funding and approval"),
        ],
    },
    Group {
        name: "evidence",
        title: "Evidence",
        serves: "ACM Available, Functional",
        fields: &[
            ("attempts_sha256", "digest of attempts.jsonl, which holds every reply"),
            ("attempts", "lines of attempts.jsonl"),
            ("prompts_sha256", "digest of all prompt digests, in order"),
            ("rerun", "the command that runs it again"),
            ("doi", "identifier of the archive"),
            ("expected_runtime_s", "time of a repetition, in seconds"),
            ("tolerance", "how near a repetition must come"),
        ],
    },
    Group {
        name: "integrity",
        title: "Integrity",
        serves: "all",
        fields: &[
            ("skipped", "questions not asked"),
            ("failed", "questions without a reply, with the error"),
            ("retried", "questions asked more than once"),
            ("imputed", "answers that a rule supplied by default"),
            ("warnings", "what else a reader should know"),
            ("deviations", "known deviations from the published protocol"),
        ],
    },
];
