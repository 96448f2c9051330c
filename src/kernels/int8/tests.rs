//! One battery for every available set: lengths, extremes, threads.

#![expect(clippy::cast_possible_truncation, reason = "the products are within int8")]

use proptest::prelude::*;

use super::*;

/// A cheap repeatable sequence of codes over the whole of `i8`.
fn codes(count: usize, seed: u64) -> Vec<i8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next().cast_signed()).collect()
}

fn floats(count: usize, seed: u64) -> Vec<f32> {
    codes(count, seed).into_iter().map(|code| f32::from(code) / 37.0).collect()
}

/// The definition, without tiles, panels or threads.
fn product(x: &[i8], w: &[i8], inputs: usize) -> Vec<i32> {
    let dot =
        |x: &[i8], w: &[i8]| x.iter().zip(w).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum();
    x.chunks(inputs).flat_map(|x| w.chunks(inputs).map(move |w| dot(x, w))).collect()
}

fn check_int8(x: &[i8], w: &[i8], outputs: usize, inputs: usize) {
    let weight = PackedInt8::pack(w, outputs, inputs).unwrap();
    assert_eq!(weight.unpack(), w, "{outputs} x {inputs}");
    let want = product(x, w, inputs);
    for set in Kernels::available() {
        let got = set.int8_product(x, &weight).to_vec();
        assert_eq!(got, want, "{} {outputs} x {inputs}", set.name);
    }
}

#[test]
fn every_length_of_inputs_is_exact() {
    for inputs in 1..=257 {
        let (rows, outputs) = (1 + inputs % 5, 33);
        let w = codes(outputs * inputs, inputs as u64);
        check_int8(&codes(rows * inputs, 7), &w, outputs, inputs);
    }
}

#[test]
fn every_number_of_rows_and_outputs_is_exact() {
    for rows in 0..=37 {
        check_int8(&codes(rows * 20, 3), &codes(70 * 20, 4), 70, 20);
    }
    for outputs in 0..=257 {
        check_int8(&codes(2 * 9, 5), &codes(outputs * 9, 6), outputs, 9);
    }
}

#[test]
fn no_inputs_give_no_sums() {
    let weight = PackedInt8::pack(&[], 5, 0).unwrap();
    for set in Kernels::available() {
        assert_eq!(set.int8_product(&[], &weight).to_vec(), Vec::<i32>::new(), "{}", set.name);
    }
}

#[test]
fn extremes_do_not_wrap() {
    for (x, w) in [(-128, -128), (-128, 127), (127, -128), (127, 127), (-127, -127)] {
        let inputs = MAX_INPUTS;
        check_int8(&vec![x; inputs], &vec![w; 2 * inputs], 2, inputs);
    }
}

#[test]
fn too_many_inputs_are_refused() {
    let inputs = MAX_INPUTS + 1;
    let got = PackedInt8::pack(&vec![0; inputs], 1, inputs);
    assert_eq!(got, Err(PackError::TooManyInputs { inputs }));
    let got = PackedInt8::pack(&[0; 5], 2, 3);
    assert_eq!(got, Err(PackError::Length { outputs: 2, inputs: 3, got: 5 }));
}

#[test]
fn codes_are_where_they_were() {
    let codes = codes(70 * 13, 1);
    let weight = PackedInt8::pack(&codes, 70, 13).unwrap();
    for (at, &code) in codes.iter().enumerate() {
        assert_eq!(weight.code(at / 13, at % 13), code);
    }
    for column in 0..13 {
        let want: Vec<i8> = codes.iter().skip(column).step_by(13).copied().collect();
        assert_eq!(weight.column(column), want);
    }
}

proptest! {
    #[test]
    fn random_shapes_are_exact(
        rows in 0..30_usize, outputs in 1..80_usize, inputs in 1..300_usize, seed in any::<u64>(),
    ) {
        check_int8(&codes(rows * inputs, seed), &codes(outputs * inputs, !seed), outputs, inputs);
    }

    /// f32 products have the same bits on every set; both directions, odd shapes.
    #[test]
    fn dequantised_products_have_the_same_bits(
        rows in 0..15_usize, outputs in 1..70_usize, inputs in 1..150_usize, seed in any::<u64>(),
    ) {
        let w = codes(outputs * inputs, seed);
        let weight = PackedInt8::pack(&w, outputs, inputs).unwrap();
        let scales = floats(outputs, seed ^ 1);
        let (x, g) = (floats(rows * inputs, seed ^ 2), floats(rows * outputs, seed ^ 3));
        let value = |o: usize, i: usize| f32::from(w[o * inputs + i]) * scales[o];
        let forward: Vec<f32> = (0..rows * outputs).map(|at| {
            let (t, o) = (at / outputs, at % outputs);
            (0..inputs).fold(0.0, |sum, i| x[t * inputs + i].mul_add(value(o, i), sum))
        }).collect();
        let backward: Vec<f32> = (0..rows * inputs).map(|at| {
            let (t, i) = (at / inputs, at % inputs);
            (0..outputs).fold(0.0, |sum, o| g[t * outputs + o].mul_add(value(o, i), sum))
        }).collect();
        for set in Kernels::available() {
            let got = set.dequantized_product(&x, &weight, &scales, Precision::F32);
            prop_assert_eq!(&got, &forward, "{} forward", set.name);
            let got = set.transposed_product(&g, &weight, &scales, Precision::F32);
            prop_assert_eq!(&got, &backward, "{} backward", set.name);
        }
    }

    /// Exact products in bf16 lie within the bound of an f32 sum.
    #[test]
    fn exact_products_lie_within_the_bound_of_f32(
        rows in 1..15_usize, outputs in 1..70_usize, inputs in 1..150_usize, seed in any::<u64>(),
    ) {
        let w = codes(outputs * inputs, seed);
        let weight = PackedInt8::pack(&w, outputs, inputs).unwrap();
        let scales = floats(outputs, seed ^ 1);
        let (x, g) = (floats(rows * inputs, seed ^ 2), floats(rows * outputs, seed ^ 3));
        let value = |o: usize, i: usize| f64::from(w[o * inputs + i]) * f64::from(scales[o]);
        let check = |got: f32, terms: &mut dyn Iterator<Item = f64>| {
            let (mut sum, mut size, mut count) = (0.0, 0.0, 2.0);
            for term in terms {
                sum += term;
                size += term.abs();
                count += 1.0;
            }
            let bound = 2.0 * (count + 2.0) * f64::from(f32::EPSILON) * size + 1e-30;
            prop_assert!((f64::from(got) - sum).abs() <= bound, "{got} {sum}");
            Ok(())
        };
        let set = Kernels::get();
        let forward = set.dequantized_product(&x, &weight, &scales, Precision::Bf16Exact);
        for (at, got) in forward.into_iter().enumerate() {
            let (t, o) = (at / outputs, at % outputs);
            check(got, &mut (0..inputs).map(|i| f64::from(x[t * inputs + i]) * value(o, i)))?;
        }
        let backward = set.transposed_product(&g, &weight, &scales, Precision::Bf16Exact);
        for (at, got) in backward.into_iter().enumerate() {
            let (t, i) = (at / inputs, at % inputs);
            check(got, &mut (0..outputs).map(|o| f64::from(g[t * outputs + o]) * value(o, i)))?;
        }
    }

    /// bf16 products lie within the stated bound of the sum in f64 of the rounded operands.
    #[test]
    fn bf16_products_lie_within_their_bound(
        rows in 1..15_usize, outputs in 1..70_usize, inputs in 1..150_usize, seed in any::<u64>(),
    ) {
        let round = |x: f32| f64::from(half::bf16::from_f32(x));
        let w = codes(outputs * inputs, seed);
        let weight = PackedInt8::pack(&w, outputs, inputs).unwrap();
        let (scales, g) = (floats(outputs, seed ^ 1), floats(rows * outputs, seed ^ 3));
        for set in Kernels::available() {
            let got = set.transposed_product(&g, &weight, &scales, Precision::Bf16);
            for (at, &got) in got.iter().enumerate() {
                let (t, i) = (at / inputs, at % inputs);
                let terms = (0..outputs).map(|o| {
                    round(g[t * outputs + o]) * round(f32::from(w[o * inputs + i]) * scales[o])
                });
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x: f64| (sum + x, size + x.abs()));
                let bound = 2.0 * outputs as f64 * f64::from(f32::EPSILON) * size + 1e-30;
                prop_assert!((f64::from(got) - sum).abs() <= bound, "{}: {got} {sum}", set.name);
            }
        }
    }

    #[test]
    fn rows_are_quantised_and_scaled_alike(
        x in prop::collection::vec(-20.0_f32..20.0, 0..100), limit in prop::option::of(0.1_f32..25.0),
    ) {
        let limit = limit.unwrap_or(f32::INFINITY);
        let absmax = (scalar::KERNELS.absmax_below)(&x, limit);
        let scale = 127.0 / absmax;
        let want: Vec<i8> = x.iter().map(|x| {
            if x.abs() < limit { (x * scale).round_ties_even() as i8 } else { 0 }
        }).collect();
        let are_below = x.iter().all(|x| x.abs() < limit);
        let halves: Vec<u32> =
            x.iter().map(|x| half::f16::from_f32(*x).to_f32().to_bits()).collect();
        for set in Kernels::available() {
            prop_assert_eq!(set.all_below(&x, limit), are_below, "{}", set.name);
            let mut rounded = vec![1.0; x.len()];
            set.round_to_half(&x, &mut rounded);
            let rounded: Vec<u32> = rounded.into_iter().map(f32::to_bits).collect();
            prop_assert_eq!(&rounded, &halves, "{}", set.name);
            prop_assert_eq!(set.absmax_below(&x, limit).to_bits(), absmax.to_bits(), "{}", set.name);
            let mut codes = vec![1; x.len()];
            set.quantize_row(&x, scale, limit, &mut codes);
            prop_assert_eq!(&codes, &want, "{}", set.name);
        }
    }
}

#[test]
fn halves_are_rounded_to_even_and_zero_rows_stay_zero() {
    let x: Vec<f32> = (-40..40).map(|i| i as f32 + 0.5).collect();
    let want: Vec<i8> = x.iter().map(|x| x.round_ties_even() as i8).collect();
    for set in Kernels::available() {
        let mut codes = vec![9; x.len()];
        set.quantize_row(&x, 1.0, f32::INFINITY, &mut codes);
        assert_eq!(codes, want, "{}", set.name);
        // What 127 / 0 makes of a row of zeros.
        set.quantize_row(&vec![0.0; x.len()], f32::INFINITY, f32::INFINITY, &mut codes);
        assert_eq!(codes, vec![0; x.len()], "{}", set.name);
    }
}

#[test]
fn what_is_not_a_number_is_passed_over() {
    for at in 0..40 {
        let mut x = vec![1.0; 40];
        x[at] = f32::NAN;
        x[(at + 1) % 40] = f32::INFINITY;
        for set in Kernels::available() {
            assert_eq!(
                set.absmax_below(&x, f32::INFINITY).to_bits(),
                1.0_f32.to_bits(),
                "{} {at}",
                set.name
            );
            // An infinity is one in half precision too, and so is what is too large for it.
            let (mut large, mut half) = (x.clone(), vec![0.0; x.len()]);
            large[(at + 2) % 40] = 65_520.0;
            set.round_to_half(&large, &mut half);
            let infinite = half.iter().filter(|x| x.is_infinite()).count();
            assert_eq!((infinite, half[at].is_nan()), (2, true), "{} {at}", set.name);
            for wrong in [f32::NAN, f32::INFINITY, 2.0, -2.0] {
                let mut x = vec![1.0; 40];
                assert!(set.all_below(&x, 2.0), "{}", set.name);
                x[at] = wrong;
                assert!(!set.all_below(&x, 2.0), "{} {at} {wrong}", set.name);
            }
        }
    }
}

#[test]
fn dequantising_groups_as_written() {
    let (rows, outputs, inputs) = (5, 45, 30);
    let weight = PackedInt8::pack(&codes(outputs * inputs, 1), outputs, inputs).unwrap();
    let x = codes(rows * inputs, 2);
    let (row_scales, scales) = (floats(rows, 3), floats(outputs, 4));
    for set in Kernels::available() {
        let sums = set.int8_product(&x, &weight);
        let mut out = vec![0.0; rows * outputs];
        set.dequantize(&sums, &row_scales, &scales, 6.2e-5, &mut out);
        for (at, &out) in out.iter().enumerate() {
            let (t, o) = (at / outputs, at % outputs);
            let want = sums.get(t, o) as f32 * (row_scales[t] * scales[o]) * 6.2e-5;
            assert_eq!(out.to_bits(), want.to_bits(), "{}", set.name);
        }
    }
}

/// Large enough for threads, and for more than one block of rows.
#[test]
fn results_do_not_depend_on_threads_or_on_rows_beside() {
    let (rows, outputs, inputs) = (70, 150, 12_000);
    let weight = PackedInt8::pack(&codes(outputs * inputs, 1), outputs, inputs).unwrap();
    let (x, g) = (codes(rows * inputs, 2), floats(rows * outputs, 3));
    let scales = floats(outputs, 4);
    let set = Kernels::get();
    let alone = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let backward = [Precision::F32, Precision::Bf16Exact]
                .map(|precision| set.transposed_product(&g, &weight, &scales, precision));
            (set.int8_product(&x, &weight), backward)
        })
    };
    let (sums, backward) = alone(1);
    for threads in [2, 3, 8] {
        assert_eq!(alone(threads), (sums.clone(), backward.clone()), "{threads} threads");
    }
    let row = set.int8_product(&x[69 * inputs..], &weight).to_vec();
    assert_eq!(row, sums.to_vec()[69 * outputs..]);
    for (precision, backward) in [Precision::F32, Precision::Bf16Exact].into_iter().zip(backward) {
        let row = set.transposed_product(&g[69 * outputs..], &weight, &scales, precision);
        assert_eq!(row, backward[69 * inputs..]);
    }
}

/// A machine of the CI sets this, so that it fails where it would compare scalar with itself.
#[test]
fn required_set_is_present() {
    if let Ok(name) = std::env::var("MEDHARNESS_REQUIRE_INT8_KERNELS") {
        assert!(Kernels::available().iter().any(|set| set.name == name), "no {name} here");
    }
}
