//! The random sources of the reference programs, bit for bit.
//!
//! Data splits come from numpy ([`Pcg64`]), sampler order and LoRA initialisation from torch
//! ([`Mt19937`]). Checked against both packages in `golden/train/randomness.json`.

mod mt19937;
mod pcg64;

pub use mt19937::Mt19937;
pub use pcg64::Pcg64;
