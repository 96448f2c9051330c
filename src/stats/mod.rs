//! Statistics and seeds.

pub mod random;
