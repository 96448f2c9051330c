//! Inner loops, chosen once per process by what the processor has. The only module with `unsafe`.

pub mod float;
pub mod matrix;
