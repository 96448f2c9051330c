//! One battery for every available kernel set: the same bits as the scalar definitions.

use super::*;

fn values(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 4_194_304.0 - 2.0
    })
    .take(len)
    .collect()
}

fn tiles_equal_scalar<W: Weight>() {
    for rows in TILE_ROWS {
        for len in (0..20).chain([257]) {
            let x = values(1, len * rows);
            let w: Vec<W> = values(2, len * LANES).into_iter().map(W::from_f32).collect();
            let mut start = vec![[0.5; LANES]; rows];
            start[0][3] = -7.0;
            let mut want = start.clone();
            scalar::tile(rows, &x, &w, &mut want);
            for kernels in Kernels::available() {
                let mut acc = start.clone();
                kernels.tile(rows, &x, &w, &mut acc);
                assert_eq!(acc, want, "{} {rows} rows {len} inputs", kernels.name);
            }
        }
    }
}

#[test]
fn tiles_of_every_set_equal_scalar_bit_for_bit() {
    tiles_equal_scalar::<f32>();
    tiles_equal_scalar::<f16>();
    tiles_equal_scalar::<bf16>();
}

#[test]
fn special_values_pass_through_every_set() {
    let specials = [f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE / 8.0, f32::MAX];
    for special in specials {
        let w = vec![special; LANES];
        for kernels in Kernels::available() {
            let (mut acc, mut want) = ([[0.0; LANES]], [[0.0; LANES]]);
            kernels.tile(1, &[1.0], &w, &mut acc);
            scalar::tile(1, &[1.0], &w, &mut want);
            let bits = |acc: [[f32; LANES]; 1]| acc[0].map(f32::to_bits);
            assert_eq!(bits(acc), bits(want), "{} {special}", kernels.name);
        }
    }
}

#[test]
fn row_kernels_of_every_set_equal_scalar_bit_for_bit() {
    for d in [1, 4, 15, 16, 64, 65] {
        let (q, k) = (values(1, d), values(2, 9 * d));
        let (mut weights, mut powers) = (k.clone(), k.clone());
        let sums = scalar::softmax(&mut weights);
        scalar::exp_scaled(&mut powers, 0.3, 1.5);
        let mut normed = vec![0.0; d];
        scalar::rms_norm(&q, &k[..d], 1e-5, &mut normed);
        let mut gated = vec![0.0; d];
        scalar::swiglu(&q, &k[..d], &mut gated);
        for kernels in Kernels::available() {
            let mut out = vec![0.0; d];
            let mut scores = k.clone();
            assert_eq!(kernels.softmax(&mut scores), sums, "{} softmax {d}", kernels.name);
            assert_eq!(scores, weights, "{} softmax {d}", kernels.name);
            scores.clone_from(&k);
            kernels.exp_scaled(&mut scores, 0.3, 1.5);
            assert_eq!(scores, powers, "{} exp {d}", kernels.name);
            kernels.rms_norm(&q, &k[..d], 1e-5, &mut out);
            assert_eq!(out, normed, "{} rms norm {d}", kernels.name);
            kernels.swiglu(&q, &k[..d], &mut out);
            assert_eq!(out, gated, "{} swiglu {d}", kernels.name);
            let sums = (kernels.log_sum_exp(&k), scalar::log_sum_exp(&k));
            assert_eq!(sums.0.to_bits(), sums.1.to_bits(), "{} log sum exp {d}", kernels.name);
        }
    }
}

/// Units in the last place; 1.5 was the largest seen over every 257th float.
const EXP_ULP: f64 = 2.0;

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let mut bits = (-87.0_f32).to_bits();
    let ends = [(0.0_f32.to_bits(), 88.7_f32.to_bits()), ((-0.0_f32).to_bits(), bits)];
    for (from, to) in ends {
        bits = from;
        while bits < to {
            let x = f32::from_bits(bits);
            let (got, want) = (f64::from(scalar::exp(x)), f64::from(x).exp());
            let ulp = want * f64::from(f32::EPSILON);
            assert!((got - want).abs() <= EXP_ULP * ulp, "exp({x}): {got}, not {want}");
            bits += 1_048_573 / 64;
        }
    }
    assert_eq!(scalar::exp(0.0).to_bits(), 1.0_f32.to_bits());
    assert_eq!(scalar::exp(f32::NEG_INFINITY).to_bits(), 0);
    assert!(scalar::exp(f32::INFINITY).is_infinite());
    assert!(scalar::exp(f32::NAN).is_nan());
}

#[test]
fn log_sum_exp_of_nan_is_nan_and_of_infinity_infinite() {
    let kernels = Kernels::get();
    assert!(kernels.log_sum_exp(&[1.0, f32::NAN, 2.0]).is_nan());
    assert!(kernels.log_sum_exp(&[1.0, f32::INFINITY]).is_infinite());
    assert!((kernels.log_sum_exp(&[0.0, 0.0]) - std::f64::consts::LN_2).abs() < 1e-9);
}

/// A job on a machine known to have a set names it here, so that a silent fall-back fails.
#[test]
fn required_kernel_set_is_present() {
    if let Ok(want) = std::env::var("MEDHARNESS_REQUIRE_KERNELS") {
        let names: Vec<_> = Kernels::available().iter().map(|set| set.name).collect();
        assert!(names.contains(&&*want), "no {want} among {names:?}");
    }
}
