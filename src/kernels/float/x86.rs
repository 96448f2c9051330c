//! The sets for x86-64: definitions compiled for wider vectors, and the tile kernels of each.

use super::{
    super::{
        Level, amx, avx2, avx512, scalar as definition,
        words::{BLOCK_STEPS, TileKernel},
    },
    AdamWFactors, Kernels, scalar,
};

/// Returns what this processor can run of AVX2, AVX-512, AVX-512 with BF16 and AMX, in this order.
pub(super) fn kernels() -> Vec<Kernels> {
    let mut sets = Vec::new();
    if std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
    {
        sets.push(wide256::kernels());
    }
    if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("fma") {
        let base = Kernels {
            spread_tile: Some(TileKernel {
                heights: avx512::HEIGHTS,
                block_steps: 2 * BLOCK_STEPS,
                // SAFETY: AVX-512 was detected.
                run: |block| unsafe { avx512::spread_tile(block) },
            }),
            ..wide512::kernels()
        };
        sets.push(base);
        if std::is_x86_feature_detected!("avx512bf16") && std::is_x86_feature_detected!("avx512bw")
        {
            let halves = Kernels {
                name: "avx512bf16",
                bf16_tile: Some(TileKernel {
                    heights: avx512::HEIGHTS,
                    block_steps: BLOCK_STEPS,
                    // SAFETY: BF16 was detected, the rest above.
                    run: |block| unsafe { avx512::bf16_tile(block) },
                }),
                // SAFETY: as above.
                narrow_line: |floats, out| unsafe { avx512::narrow_line(floats, out) },
                // SAFETY: BW was detected.
                split_bf16: |words, out| unsafe { avx512::split_bf16(words, out) },
                // SAFETY: AVX-512 was detected.
                halve_int8: |words, out| unsafe { avx512::halve_int8(words, out) },
                ..base
            };
            sets.push(halves);
            if amx::units().bf16 {
                sets.push(Kernels {
                    name: "amx-bf16",
                    level: Level::Amx,
                    bf16_tile: Some(TileKernel {
                        heights: &amx::HEIGHTS,
                        block_steps: amx::BLOCK_STEPS,
                        // SAFETY: the unit was named.
                        run: |block| unsafe { amx::bf16_tile(block) },
                    }),
                    ..halves
                });
            }
        }
    }
    sets
}

/// Compiles one definition for `$features`, under its own name.
macro_rules! compile {
    ($features:literal, $from:ident, $name:ident($($argument:ident: $type:ty),+) $(-> $result:ty)?) => {
        #[target_feature(enable = $features)]
        fn $name($($argument: $type),+) $(-> $result)? {
            $from::$name($($argument),+)
        }
    };
}

/// Writes a module with the set of one vector width: `$tiles` has its tile kernel and what is
/// spelt out; everything else is the definition compiled for `$features`.
macro_rules! set {
    ($module:ident, $name:literal, $level:expr, $tiles:ident, $features:literal) => {
        mod $module {
            use super::{
                super::super::words::{LANES, Line, Pair, WORDS},
                *,
            };

            compile!($features, definition, narrow_line(floats: &Pair, out: &mut Line));
            compile!($features, definition, narrow_rest(floats: &mut Pair));
            compile!($features, scalar, softmax(scores: &mut [f32]) -> (f32, f32));
            compile!($features, scalar, exp_scaled(x: &mut [f32], factor: f32, shift: f32));
            compile!($features, scalar, rms_norm(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]));
            compile!($features, scalar, rms_norm_backward(
                x: &[f32], w: &[f32], g: &[f32], eps: f32, out: &mut [f32]
            ) -> f32);
            compile!($features, scalar, swiglu_backward(
                gate: &[f32], up: &[f32], g: &[f32], grad_gate: &mut [f32], grad_up: &mut [f32]
            ));
            compile!($features, scalar, swiglu(gate: &[f32], up: &[f32], out: &mut [f32]));
            compile!($features, scalar, log_sum_exp(x: &[f32]) -> f64);
            compile!($features, scalar, adamw(
                factors: &AdamWFactors, parameter: &mut [f32], gradient: &[f32],
                first: &mut [f32], second: &mut [f32]
            ));

            /// The set; only for processors with these features.
            pub(super) fn kernels() -> Kernels {
                // SAFETY (of every closure): the caller has detected the features.
                Kernels {
                    name: $name,
                    level: $level,
                    f32_tile: TileKernel {
                        heights: $tiles::HEIGHTS,
block_steps: BLOCK_STEPS,
                        // SAFETY: as above.
                        run: |block| unsafe { $tiles::f32_tile(block) },
                    },
                    spread_tile: None,
                    bf16_tile: None,
                    // SAFETY: as above.
                    spread_f16: |words, out| unsafe { $tiles::spread_f16(words, out) },
                    // SAFETY: as above.
                    spread_bf16: |words, out| unsafe { $tiles::spread_bf16(words, out) },
                    split_bf16: definition::split_bf16,
                    // SAFETY: as above.
                    spread_int8: |words, scales: &[f32; LANES], out| unsafe {
                        $tiles::spread_int8(words, scales, out);
                    },
                    // SAFETY: as above.
                    narrow_pairs: |floats, out| unsafe { $tiles::narrow_pairs(floats, out) },
                    // SAFETY: as above.
                    narrow_line: |floats, out| unsafe { narrow_line(floats, out) },
                    // SAFETY: as above.
                    narrow_rest: |floats| unsafe { narrow_rest(floats) },
                    halve_int8: definition::halve_int8,
                    // SAFETY: as above.
                    transpose: |block: &mut [Line; WORDS]| unsafe { $tiles::transpose(block) },
                    // SAFETY: as above.
                    tile: |rows, x, w, acc| unsafe { $tiles::plain_tile(rows, x, w, acc) },
                    // SAFETY: as above.
                    softmax: |scores| unsafe { softmax(scores) },
                    // SAFETY: as above.
                    exp_scaled: |x, factor, shift| unsafe { exp_scaled(x, factor, shift) },
                    // SAFETY: as above.
                    rms_norm: |x, w, eps, out| unsafe { rms_norm(x, w, eps, out) },
                    // SAFETY: as above.
                    rms_norm_backward: |x, w, g, eps, out| unsafe {
                        rms_norm_backward(x, w, g, eps, out)
                    },
                    // SAFETY: as above.
                    swiglu_backward: |gate, up, g, grad_gate, grad_up| unsafe {
                        swiglu_backward(gate, up, g, grad_gate, grad_up);
                    },
                    // SAFETY: as above.
                    swiglu: |gate, up, out| unsafe { swiglu(gate, up, out) },
                    // SAFETY: as above.
                    log_sum_exp: |x| unsafe { log_sum_exp(x) },
                    // SAFETY: as above.
                    adamw: |factors, parameter, gradient, first, second| unsafe {
                        adamw(factors, parameter, gradient, first, second);
                    },
                }
            }
        }
    };
}

set!(wide256, "avx2", Level::Avx2, avx2, "avx2,fma,f16c");
set!(wide512, "avx512f", Level::Avx512, avx512, "avx512f,fma");
