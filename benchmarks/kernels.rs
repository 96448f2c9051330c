//! Speed of the int8 and dequantising products, beside the roofline of this machine.
//!
//! `cargo bench --bench kernels` prints, before criterion's own lines, a table: multiply-adds and
//! bytes a second of each product, and their share of two ceilings measured in the same process,
//! interleaved with the products: the highest rate of `vpdpbusd` (AVX-512 VNNI) or of fused
//! multiply-adds on registers, and the highest rate at which memory is read. 1 thread and all.
//! `MEDHARNESS_KERNELS` forces a set. See [`roofline`] for how each ceiling is measured.

#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "roofline.rs"]
mod roofline;

use std::{hint::black_box, time::Instant};

use criterion::{Criterion, Throughput};
use medharness::kernels::int8::{Kernels, PackedInt8, Precision};

/// Rounds of the interleaved measurement; the median is printed, with the best.
const ROUNDS: usize = 15;

/// [t, in] x [out, in]ᵀ: a 7B model's up projection over 256 tokens, and over one.
const SHAPE: (usize, usize, usize) = (256, 4096, 11_008);

fn main() {
    let (tokens, inputs, outputs) = SHAPE;
    let codes = codes(outputs * inputs);
    let weight = PackedInt8::pack(&codes, outputs, inputs).expect("the shape fits");
    let x = self::codes(tokens * inputs);
    let set = Kernels::get();
    check(set, &x[..3 * inputs], &codes, &weight);
    println!("kernel set {}; [{tokens}, {inputs}] x [{outputs}, {inputs}]ᵀ", set.name);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, threads] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| table(set, &x, &weight, threads));
    }
    criterion(&x, &weight);
}

/// Measures ceilings and products in turn and prints medians, best values and shares.
fn table(set: &Kernels, x: &[i8], weight: &PackedInt8, threads: usize) {
    let (tokens, inputs, outputs) = SHAPE;
    let operations = |t: usize| 2.0 * t as f64 * inputs as f64 * outputs as f64;
    let floats: Vec<f32> = x.iter().map(|&code| f32::from(code)).collect();
    let gradient: Vec<f32> = floats.iter().cycle().take(tokens * outputs).copied().collect();
    let scales = vec![1e-3; outputs];
    let memory = roofline::Memory::new();
    let seconds = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    let transposed = |precision| {
        drop(black_box(set.transposed_product(&gradient, weight, &scales, precision)));
    };
    let mut rates: [Vec<f64>; 7] = Default::default();
    for _ in 0..ROUNDS {
        let round = [
            roofline::int8_giga_operations(threads),
            roofline::f32_giga_operations(threads),
            memory.giga_bytes(threads),
            operations(tokens)
                / seconds(&mut || drop(black_box(set.int8_product(x, weight))))
                / 1e9,
            weight.bytes() as f64
                / seconds(&mut || drop(black_box(set.int8_product(&x[..inputs], weight))))
                / 1e9,
            operations(tokens) / seconds(&mut || transposed(Precision::F32)) / 1e9,
            operations(tokens) / seconds(&mut || transposed(Precision::Bf16)) / 1e9,
        ];
        rates.iter_mut().zip(round).for_each(|(rates, rate)| rates.push(rate));
    }
    let rates = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        (rates[ROUNDS / 2], rates[ROUNDS - 1])
    });
    println!(
        "\n{threads} thread(s)                    median    best   of ceiling (medians, best)"
    );
    let row = |name: &str, unit: &str, at: usize, ceiling: Option<usize>| {
        let (median, best) = rates[at];
        let share = ceiling.map_or(String::new(), |ceiling| {
            let share = |rate, ceiling| 100.0 * rate / ceiling;
            let (of_median, of_best) = rates[ceiling];
            format!("{:5.1} %  {:5.1} %", share(median, of_median), share(best, of_best))
        });
        println!("{name:<28} {median:8.1} {best:8.1} {unit}  {share}");
    };
    row("ceiling int8 multiply-adds", "GOP/s", 0, None);
    row("ceiling f32 multiply-adds", "GOP/s", 1, None);
    row("ceiling memory read", "GB/s ", 2, None);
    row("int8 product, 256 tokens", "GOP/s", 3, Some(0));
    row("int8 product, 1 token", "GB/s ", 4, Some(2));
    row("backward f32, 256 tokens", "GOP/s", 5, Some(1));
    row("backward bf16, 256 tokens", "GOP/s", 6, Some(1));
}

/// A fast wrong answer must not be timed.
fn check(set: &Kernels, x: &[i8], codes: &[i8], weight: &PackedInt8) {
    let (_, inputs, outputs) = SHAPE;
    let sums = set.int8_product(x, weight);
    for (row, output) in [(0, 0), (1, outputs / 2), (2, outputs - 1)] {
        let pairs = x[row * inputs..][..inputs].iter().zip(&codes[output * inputs..]);
        let want: i32 = pairs.map(|(&x, &w)| i32::from(x) * i32::from(w)).sum();
        assert_eq!(sums.get(row, output), want);
    }
}

/// Criterion's own measurement, for comparisons over time.
fn criterion(x: &[i8], weight: &PackedInt8) {
    let (_, inputs, outputs) = SHAPE;
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group("int8_product");
    for set in Kernels::available().into_iter().filter(|set| set.name != "scalar") {
        for tokens in [1, 16, 256] {
            group.throughput(Throughput::Elements((tokens * inputs * outputs) as u64));
            group.bench_function(format!("{}/{tokens}", set.name), |bench| {
                bench.iter(|| set.int8_product(black_box(&x[..tokens * inputs]), weight));
            });
        }
    }
    group.finish();
    criterion.final_summary();
}

/// A repeatable sequence over the codes a quantiser makes.
fn codes(count: usize) -> Vec<i8> {
    (-127..=127).cycle().step_by(31).take(count).collect()
}
