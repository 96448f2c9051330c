//! One battery for every available kernel set: the same bits as the scalar definitions.

use super::{super::words::Block, *};

fn values(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 4_194_304.0 - 2.0
    })
    .take(len)
    .collect()
}

fn lines(seed: u32, count: usize) -> Vec<Line> {
    values(seed, count * WORDS).as_chunks().0.iter().map(|x| Line::of_floats(*x)).collect()
}

fn pairs(seed: u32, count: usize) -> Vec<Pair> {
    lines(seed, count * 2).as_chunks().0.to_vec()
}

/// Runs a tile kernel over `tiles` tiles that lie a line further apart than they need to.
fn run(kernel: &TileKernel, height: usize, tiles: usize, b: &[Pair]) -> Vec<Pair> {
    run_steps(kernel, height, tiles, b.len() / WORDS, b)
}

fn run_steps(
    kernel: &TileKernel,
    height: usize,
    tiles: usize,
    steps: usize,
    b: &[Pair],
) -> Vec<Pair> {
    let tile_lines = steps * height + 1;
    let a = lines(1, tile_lines * tiles);
    let mut sums = pairs(3, tiles * height);
    let ahead = pairs(4, 3);
    (kernel.run)(Block { a: &a, tile_lines, height, b, ahead: &ahead, sums: &mut sums });
    sums
}

#[test]
fn f32_tiles_of_every_set_equal_scalar_bit_for_bit() {
    let scalar = Kernels::available()[0].f32_tile;
    for kernels in Kernels::available() {
        for &height in kernels.f32_tile.heights {
            for steps in [0, 1, 2, 7, 9] {
                let b = pairs(2, steps * WORDS);
                for tiles in [1, 3] {
                    let got = run(&kernels.f32_tile, height, tiles, &b);
                    let want = run(&scalar, height, tiles, &b);
                    assert_eq!(got, want, "{} {height} rows {steps} steps", kernels.name);
                }
            }
        }
    }
}

#[test]
fn tiles_that_spread_bf16_have_the_bits_of_those_in_f32() {
    for kernels in Kernels::available() {
        let Some(tile) = kernels.spread_tile else { continue };
        for &height in tile.heights {
            for steps in [0, 1, 2, 9] {
                // Both halves of a word count alike in the sums.
                let mut words = pairs(2, steps * WORDS / 2);
                let odd = pairs(5, words.len());
                let odd = odd.as_flattened().iter().flat_map(|line| line.0);
                let even = words.as_flattened_mut().iter_mut().flat_map(|line| &mut line.0);
                even.zip(odd).for_each(|(word, odd)| *word = *word >> 16 | odd & 0xffff_0000);
                let mut floats = vec![Pair::default(); steps * WORDS];
                (kernels.spread_bf16)(&words, &mut floats);
                for tiles in [1, 3] {
                    let got = run_steps(&tile, height, tiles, steps, &words);
                    let want = run(&kernels.f32_tile, height, tiles, &floats);
                    assert_eq!(got, want, "{} {height} rows {steps} steps", kernels.name);
                }
            }
        }
    }
}

/// With ones and zeros every order of the sum is exact.
#[test]
fn bf16_tiles_of_every_set_multiply_what_stands_in_their_place() {
    for kernels in Kernels::available() {
        let Some(tile) = kernels.bf16_tile else { continue };
        for &height in tile.heights {
            let steps = 3;
            let value = |at: usize| (at % 5) as f32 - 2.0;
            let word = |at: usize| {
                let half = |value: f32| u32::from(half::bf16::from_f32(value).to_bits());
                half(value(at)) | half(value(at + 3)) << 16
            };
            let line = |at: usize| Line(std::array::from_fn(|word_at| word(at * 7 + word_at)));
            let a: Vec<Line> = (0..steps * height).map(line).collect();
            let b: Vec<Pair> =
                (0..steps * WORDS).map(|at| [line(2 * at), line(2 * at + 1)]).collect();
            let mut sums = vec![Pair::default(); height];
            let tile_lines = a.len();
            (tile.run)(Block { a: &a, tile_lines, height, b: &b, ahead: &[], sums: &mut sums });
            let halves = |word: u32| [f32::from_bits(word << 16), f32::from_bits(word & !0xffff)];
            for (row, sums) in sums.iter().enumerate() {
                for (lane, sum) in sums.iter().flat_map(|line| line.floats()).enumerate() {
                    let terms = (0..steps * WORDS).map(|at| {
                        let a = halves(a[at / WORDS * height + row].0[at % WORDS]);
                        let b = halves(b[at][lane / WORDS].0[lane % WORDS]);
                        a[0] * b[0] + a[1] * b[1]
                    });
                    let want: f32 = terms.sum();
                    assert_eq!(
                        sum.to_bits(),
                        want.to_bits(),
                        "{} {height} {row} {lane}",
                        kernels.name
                    );
                }
            }
        }
    }
}

#[test]
fn special_values_pass_through_every_set() {
    let scalar = Kernels::available()[0].f32_tile;
    let specials = [f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE / 8.0, f32::MAX];
    for special in specials {
        let b = vec![[Line::of_floats([special; WORDS]); 2]; WORDS];
        for kernels in Kernels::available() {
            let (got, want) = (run(&kernels.f32_tile, 1, 1, &b), run(&scalar, 1, 1, &b));
            for (got, want) in got.as_flattened().iter().zip(want.as_flattened()) {
                for (got, want) in got.floats().into_iter().zip(want.floats()) {
                    let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                    assert!(same, "{} {special}: {got} {want}", kernels.name);
                }
            }
        }
    }
}

/// A word's halves are two rows; each row holds the 32 columns, two a word.
#[test]
fn bf16_words_are_split_into_their_rows() {
    let row = |at: u32, column: u32| (at << 8 | column) & 0xffff;
    let word = |at: u32, column: u32| row(2 * at, column) | row(2 * at + 1, column) << 16;
    let columns = |from: u32| -> Vec<u32> { (from..from + 16).collect() };
    let line = |at: u32, from: u32| {
        let words: Vec<u32> = columns(from).into_iter().map(|column| word(at, column)).collect();
        Line(words.try_into().expect("16 words"))
    };
    let words: Vec<Pair> = (0..3).map(|at| [line(at, 0), line(at, 16)]).collect();
    for kernels in Kernels::available() {
        let mut out = [Line::default(); 6];
        (kernels.split_bf16)(&words, &mut out);
        for (at, line) in (0..).zip(out) {
            let want: Vec<u32> = columns(0)
                .into_iter()
                .map(|pair| row(at, 2 * pair) | row(at, 2 * pair + 1) << 16)
                .collect();
            assert_eq!(line.0.to_vec(), want, "{} row {at}", kernels.name);
        }
    }
}

#[test]
fn conversions_of_every_set_equal_scalar_bit_for_bit() {
    let scalar = Kernels::available()[0];
    // Any bits, NaN and subnormals too.
    let mut words = pairs(1, 64);
    for (at, word) in words.as_flattened_mut().iter_mut().flat_map(|line| &mut line.0).enumerate() {
        *word =
            word.wrapping_mul(0x9e37_79b9).rotate_left(u32::try_from(at % 32).expect("below 32"));
    }
    let scales: [f32; LANES] = std::array::from_fn(|lane| lane as f32 / 7.0 - 1.0);
    for kernels in Kernels::available() {
        let name = kernels.name;
        let both = |convert: &dyn Fn(&Kernels) -> Vec<Pair>| {
            let same = |got: u32, want: u32| {
                let is_nan = f32::from_bits(got).is_nan() && f32::from_bits(want).is_nan();
                assert!(got == want || is_nan, "{name}: {got:x} {want:x}");
            };
            for (got, want) in
                convert(&kernels).as_flattened().iter().zip(convert(&scalar).as_flattened())
            {
                got.0.into_iter().zip(want.0).for_each(|(got, want)| same(got, want));
            }
        };
        type Spread = fn(&[Pair], &mut [Pair]);
        let spread = |spread: Spread, times: usize| {
            let mut out = vec![Pair::default(); words.len() * times];
            spread(&words, &mut out);
            out
        };
        both(&|kernels| spread(kernels.spread_f16, 2));
        both(&|kernels| spread(kernels.spread_bf16, 2));
        let mut split = [0; 2].map(|_| vec![Line::default(); words.len() * 2]);
        (kernels.split_bf16)(&words, &mut split[0]);
        (scalar.split_bf16)(&words, &mut split[1]);
        assert_eq!(split[0], split[1], "{name}");
        both(&|kernels| {
            let mut out = vec![Pair::default(); words.len() * 4];
            (kernels.spread_int8)(&words, &scales, &mut out);
            out
        });
        let floats = pairs(5, 64);
        both(&|kernels| {
            let mut out = vec![Pair::default(); 32];
            (kernels.narrow_pairs)(&floats, &mut out);
            out
        });
        both(&|kernels| {
            let mut out = vec![Pair::default(); 64];
            for (floats, out) in floats.iter().zip(&mut out) {
                (kernels.narrow_line)(floats, &mut out[0]);
            }
            out
        });
        both(&|kernels| {
            let mut out = words.clone();
            out.iter_mut().for_each(|pair| (kernels.narrow_rest)(pair));
            out
        });
        both(&|kernels| spread(kernels.halve_int8, 2));
        let mut square: [Line; WORDS] = std::array::from_fn(|row| words[row][0]);
        (kernels.transpose)(&mut square);
        for (column, line) in square.iter().enumerate() {
            for (row, word) in line.0.into_iter().enumerate() {
                assert_eq!(word, words[row][0].0[column], "{name}");
            }
        }
    }
}

#[test]
fn plain_tiles_of_every_set_equal_scalar_bit_for_bit() {
    for rows in TILE_ROWS {
        for len in (0..20).chain([257]) {
            let (x, w) = (values(1, len * rows), values(2, len * LANES));
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
        let backward = |kernels: &Kernels| {
            let mut grads = [vec![0.0; d], vec![0.0; d], vec![0.0; d]];
            let [norm, gate, up] = &mut grads;
            kernels.rms_norm_backward(&q, &k[..d], &k[d..2 * d], 1e-5, norm);
            kernels.swiglu_backward(&q, &k[..d], &k[d..2 * d], gate, up);
            grads
        };
        let want_grads = backward(&Kernels::available()[0]);
        let factors = AdamWFactors {
            shrink: 0.99,
            fresh1: 0.1,
            keep2: 0.999,
            fresh2: 0.001,
            size: -0.01,
            root: 0.3,
            eps: 1e-8,
        };
        let updated = |kernels: &Kernels| {
            let (mut p, mut m) = (q.clone(), k[..d].to_vec());
            let mut v: Vec<f32> = q.iter().map(|q| q.abs()).collect();
            kernels.adamw(&factors, &mut p, &k[d..2 * d], &mut m, &mut v);
            [p, m, v]
        };
        let want_update = updated(&Kernels::available()[0]);
        for kernels in Kernels::available() {
            assert_eq!(backward(&kernels), want_grads, "{} backward {d}", kernels.name);
            assert_eq!(updated(&kernels), want_update, "{} adamw {d}", kernels.name);
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
