//! The set for 64-bit Arm with the dot product extension.

use super::{
    super::{
        neon,
        words::{BLOCK_STEPS, TileKernel},
    },
    Kernels, Level, scalar,
};

/// The NEON set, or `None` where the processor lacks the dot product extension.
pub(super) fn kernels() -> Option<Kernels> {
    std::arch::is_aarch64_feature_detected!("dotprod").then_some(Kernels {
        name: "neon-dotprod",
        level: Level::Neon,
        tile: TileKernel {
            heights: neon::HEIGHTS,
            block_steps: BLOCK_STEPS,
            // SAFETY: this closure leaves the function only after the extension was detected.
            run: |block| unsafe { neon::int8_tile(block) },
        },
        // NEON is part of this architecture: the compiler vectorises the definitions.
        ..scalar::KERNELS
    })
}
