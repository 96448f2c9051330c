//! Inner loops, chosen once per process by what the processor has. The only module with `unsafe`.
//!
//! Two tables: [`float`] for the network in floats, [`int8`] for LLM.int8(). Each picks its fastest
//! set within [`Level::limit`]; [`set_name`] names both in run records.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "assembly, with its SAFETY comments")]
mod amx;
pub mod attention;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vendor intrinsics, each with its SAFETY comment")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vendor intrinsics, each with its SAFETY comment")]
mod avx512;
#[expect(unsafe_code, reason = "threads write parts of one matrix")]
mod blocked;
pub mod dense;
pub mod float;
pub mod int8;
pub mod matrix;
#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "vendor intrinsics, each with its SAFETY comment")]
mod neon;
mod product;
mod scalar;
mod words;

pub use words::LANES;

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
    /// Matrix units beside them, x86-64.
    Amx,
}

/// Number format of the operands of a product; sums are f32 in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// f32 operands, one fused multiply-add a step, in order: the same bits on every set.
    #[default]
    F32,
    /// An int8 weight rounded to half precision, then as [`Self::F32`]: the caller rounds the
    /// activations.
    F16,
    /// Operands rounded to bf16. Sets differ in the order and rounding of a step, by at most
    /// `2 * steps * f32::EPSILON * sum |a| |b|`; subnormal operands and products may count as
    /// zero. On one set a row has the same bits in any batch and on any number of threads.
    Bf16,
    /// Products in bf16 of what it holds exactly: weights in bf16 or int8 codes, and each activation
    /// as the sum of three numbers; sums as in [`Self::Bf16`]. So it is near [`Self::F32`], and
    /// takes its place where a matrix unit makes it faster. Where none multiplies bf16, and for
    /// other weights, it is [`Self::F32`], bit for bit.
    Bf16Exact,
}

/// [`OVERRIDE`] holds no level.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{OVERRIDE} is `{0}`, not one of scalar, neon, avx2, avx512, amx")]
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
            Some("amx") => Ok(Some(Self::Amx)),
            _ => Err(UnknownLevel(text.to_string_lossy().into_owned())),
        }
    }
}

/// Returns the name of the sets in use, float then int8, e.g. `avx512bf16+avx512vnni`.
pub fn set_name() -> String {
    format!("{}+{}", float::Kernels::get().name, int8::Kernels::get().name)
}
