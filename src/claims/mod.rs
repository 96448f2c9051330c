//! What runs and printed tables allow to be said.

pub mod runs;
