//! The LLaMA network and its tokenizer.

pub mod tokenizer;
