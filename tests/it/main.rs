//! The one test binary. Snapshots lie in `golden/snapshots`; `INSTA_UPDATE=no` in CI.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]
#![allow(
    clippy::allow_attributes,
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    missing_docs,
    reason = "tests are read by their names"
)]

#[macro_use]
#[allow(dead_code, unused_macros, reason = "not every subject needs the real data")]
mod support;

mod adamw;
mod audit;
mod browser;
mod claims;
mod command_line;
mod compare;
mod corpus_audit;
mod corpus_build;
mod corpus_cards;
mod corpus_pages;
mod corpus_rows;
mod corpus_sheet;
mod corpus_sources;
mod diverge;
mod eval;
mod exam_check;
mod exam_formats;
mod exam_properties;
mod exam_real;
mod export;
mod gate;
mod html_browser;
mod hub;
mod hub_checkpoint;
mod hub_processes;
mod hub_server;
mod int8_checkpoint;
mod int8_commands;
mod int8_golden;
mod int8_network;
mod layers;
mod llama_checkpoint;
mod llama_commands;
mod llama_decoding;
mod llama_network;
mod llama_ops;
mod llama_support;
mod llama_synth;
mod lora;
mod lora_branch;
mod lora_commands;
mod lora_merge;
mod lora_networks;
mod mini_committed;
mod mini_folders;
mod mini_gate;
mod mini_sabotage;
mod mini_study;
mod mini_sweep;
mod miniature;
mod miniature_build;
mod miniature_pretraining;
mod overlap;
mod protocol;
mod protocol_strict;
mod quant_adamw;
mod quant_linear;
mod quantize;
mod randomness;
mod report;
mod report_command;
mod report_fixture;
mod reproduce;
mod rescore;
mod rescore_real;
mod rows;
mod rules;
mod run_directory;
mod runs;
mod schedules;
mod stats;
mod tokenize;
mod tokenizer;
mod tokenizer_hostile;
mod tokenizer_prompts;
mod train_backward;
mod train_command;
mod train_defects;
mod train_folder;
mod train_memory;
mod train_recipes;
mod train_session;
mod trainer;
mod trainer_support;

/// Returns insta's settings for every snapshot of this binary.
pub(crate) fn snapshots() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind_to_scope()
}
