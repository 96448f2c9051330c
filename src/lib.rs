//! Benchmark harness and reproducibility suite for medical language models.
//!
//! Modules form layers; imports point down only (checked by `tests/it/layers.rs`).
//! The records of a run live in [`store`], below what produces and what reads them.

pub mod claims;
pub mod cli;
pub mod corpus;
pub mod eval;
pub mod exam;
pub mod kernels;
pub mod llama;
pub mod lora;
pub mod models;
pub mod protocol;
pub mod quant;
pub mod reports;
pub mod stats;
pub mod store;
pub mod study;
pub mod train;
