//! Inner loops, chosen once per process by what the processor has. The only module with `unsafe`.
//!
//! Two tables: [`float`] for the network in floats, [`int8`] for LLM.int8(). Each picks its fastest
//! set within [`Level::limit`]; [`set_name`] names both in run records.

pub mod attention;
pub mod float;
pub mod int8;
pub mod matrix;

/// The environment variable that holds every table back, e.g. `scalar`; see [`Level`].
pub const OVERRIDE: &str = "MEDHARNESS_KERNELS";

/// How much of a processor's vector units a set of kernels needs, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// None.
    Scalar,
    /// 128 bits, 64-bit Arm.
    Neon,
    /// 256 bits, x86-64.
    Avx2,
    /// 512 bits, x86-64.
    Avx512,
}

/// [`OVERRIDE`] holds no level.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{OVERRIDE} is `{0}`, not one of scalar, neon, avx2, avx512")]
pub struct UnknownLevel(
    /// What it holds.
    pub String,
);

impl Level {
    /// Returns the level that [`OVERRIDE`] names, `None` where it is unset: all may be used.
    ///
    /// # Errors
    ///
    /// [`UnknownLevel`] for any other text. The tables take it as no limit, so a program refuses it
    /// at its start.
    pub fn limit() -> Result<Option<Self>, UnknownLevel> {
        let Some(text) = std::env::var_os(OVERRIDE) else { return Ok(None) };
        match text.to_str() {
            Some("scalar") => Ok(Some(Self::Scalar)),
            Some("neon") => Ok(Some(Self::Neon)),
            Some("avx2") => Ok(Some(Self::Avx2)),
            Some("avx512") => Ok(Some(Self::Avx512)),
            _ => Err(UnknownLevel(text.to_string_lossy().into_owned())),
        }
    }
}

/// Returns the name of the sets in use, float then int8, e.g. `avx512f+avx512vnni-bf16`.
pub fn set_name() -> String {
    format!("{}+{}", float::Kernels::get().name, int8::Kernels::get().name)
}
