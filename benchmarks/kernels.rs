//! Speed of the matrix products, beside the roofline of this machine.
//!
//! `cargo bench --bench kernels` prints, before criterion's own lines, a table: operations or bytes
//! a second of each product, and their share of the ceilings that bound it, measured in the same
//! process and interleaved with the products: multiply-adds on registers (vectors and, where there
//! are some, matrix units) and the rate at which memory is read. 1 thread and all. Shapes are those
//! of a 1.1B and a 7B model. `MEDHARNESS_KERNELS` forces a set; `--test` checks the answers and
//! times nothing. See [`roofline`] for how each ceiling is measured.

#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "roofline.rs"]
mod roofline;

use std::{hint::black_box, time::Instant};

use criterion::{Criterion, Throughput};
use medharness::kernels::{
    Precision, dense, float,
    int8::{Kernels, PackedInt8},
    matrix::{Matrix, WeightType},
    set_name,
};
use roofline::Ceiling;

/// Rounds of the interleaved measurement; the median is printed, with the best.
const ROUNDS: usize = 15;

/// Name and `[outputs, inputs]` of the up projections of models of 1.1B and 7B parameters.
const SHAPES: [(&str, usize, usize); 2] = [("L", 5632, 2048), ("XL", 11_008, 4096)];

/// Tokens of a prompt, sequences decoded together, and one.
const TOKENS: [usize; 3] = [256, 32, 1];

/// `[t, outputs, inputs]` of the products of a full fine-tune of 110M parameters.
const DENSE: (usize, usize, usize) = (1024, 2048, 768);

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    println!("kernel sets {}", set_name());
    let layers: Vec<Layer> = SHAPES.into_iter().map(Layer::new).collect();
    let dense = Dense::new();
    layers.iter().for_each(Layer::check);
    dense.check();
    if is_test {
        return;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, threads] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| table(&layers, &dense, threads));
    }
    criterion(&layers[1]);
}

/// One linear layer in the formats that are measured, and inputs for it.
struct Layer {
    name: &'static str,
    outputs: usize,
    inputs: usize,
    codes: Vec<i8>,
    int8: PackedInt8,
    scales: Vec<f32>,
    bf16: Matrix,
    x_codes: Vec<i8>,
    x: Vec<f32>,
    g: Vec<f32>,
}

impl Layer {
    fn new((name, outputs, inputs): (&'static str, usize, usize)) -> Self {
        let tokens = TOKENS[0];
        let codes = codes(outputs * inputs);
        let int8 = PackedInt8::pack(&codes, outputs, inputs).expect("the shape fits");
        let mut bf16 = Matrix::zeros(WeightType::Bf16, outputs, inputs);
        bf16.set_rows(0, &floats(outputs * inputs));
        Self {
            name,
            outputs,
            inputs,
            int8,
            scales: vec![1.0 / 64.0; outputs],
            bf16,
            x_codes: self::codes(tokens * inputs),
            x: floats(tokens * inputs),
            g: floats(tokens * outputs),
            codes,
        }
    }

    /// A fast wrong answer must not be timed.
    fn check(&self) {
        let Self { outputs, inputs, .. } = *self;
        let sums = Kernels::get().int8_product(&self.x_codes[..3 * inputs], &self.int8);
        for (row, output) in [(0, 0), (1, outputs / 2), (2, outputs - 1)] {
            let codes = &self.codes[output * inputs..];
            let pairs = self.x_codes[row * inputs..][..inputs].iter().zip(codes);
            let want: i32 = pairs.map(|(&x, &w)| i32::from(x) * i32::from(w)).sum();
            assert_eq!(sums.get(row, output), want);
        }
        // Codes, scales and inputs are exact in bf16, so only the sums are rounded.
        let back = Kernels::get().transposed_product(
            &self.g[..outputs],
            &self.int8,
            &self.scales,
            Precision::Bf16,
        );
        let weight = |output: usize, input: usize| {
            f64::from(self.codes[output * inputs + input]) * f64::from(self.scales[output])
        };
        let terms = (0..outputs).map(|output| f64::from(self.g[output]) * weight(output, 7));
        close(back[7], terms, "backward");
        let forward = self.bf16.multiply_in(&self.x[..inputs], Precision::Bf16);
        let mut row = vec![0.0; inputs];
        self.bf16.row(5, &mut row);
        let terms = row.iter().zip(&self.x).map(|(w, x)| f64::from(*w) * f64::from(*x));
        close(forward[5], terms, "bf16 forward");
    }

    fn operations(&self, tokens: usize) -> f64 {
        2.0 * tokens as f64 * self.inputs as f64 * self.outputs as f64
    }

    /// The products of this layer.
    fn measured(&self) -> Vec<Measured<'_>> {
        let mut all = Vec::new();
        for tokens in TOKENS {
            let name = |what: &str| format!("{} {what}, {tokens} token(s)", self.name);
            let (codes, x) =
                (&self.x_codes[..tokens * self.inputs], &self.x[..tokens * self.inputs]);
            let int8 = move || {
                let scales = vec![1.0; tokens];
                let set = Kernels::get();
                drop(black_box(set.scaled_product(codes, &self.int8, &scales, &self.scales, 1.0)));
            };
            let bf16 = move || drop(black_box(self.bf16.multiply_in(x, Precision::Bf16)));
            if tokens == 1 {
                let (int8_bytes, bytes) = (self.int8.bytes(), self.bf16.mem_bytes());
                all.push(Measured::new(
                    name("int8"),
                    Rate::Bytes(int8_bytes),
                    &[Ceiling::Read],
                    int8,
                ));
                all.push(Measured::new(name("bf16"), Rate::Bytes(bytes), &[Ceiling::Read], bf16));
                continue;
            }
            let work = Rate::Operations(self.operations(tokens));
            let int8_units = [Ceiling::Int8Vectors, Ceiling::Int8Units];
            let bf16_units = [Ceiling::Bf16Vectors, Ceiling::Bf16Units];
            all.push(Measured::new(name("int8"), work, &int8_units, int8));
            all.push(Measured::new(name("bf16"), work, &bf16_units, bf16));
        }
        let work = Rate::Operations(self.operations(TOKENS[0]));
        for (what, precision, ceilings) in [
            ("f32", Precision::F32, vec![Ceiling::F32]),
            ("bf16", Precision::Bf16, vec![Ceiling::F32, Ceiling::Bf16Vectors, Ceiling::Bf16Units]),
        ] {
            let name = format!("{} backward of int8 in {what}", self.name);
            all.push(Measured::new(name, work, &ceilings, move || {
                let set = Kernels::get();
                drop(black_box(set.transposed_product(
                    &self.g,
                    &self.int8,
                    &self.scales,
                    precision,
                )));
            }));
        }
        all
    }
}

/// The products of a trainable layer.
struct Dense {
    x: Vec<f32>,
    w: Vec<f32>,
    g: Vec<f32>,
}

impl Dense {
    fn new() -> Self {
        let (t, outputs, inputs) = DENSE;
        Self { x: floats(t * inputs), w: floats(outputs * inputs), g: floats(t * outputs) }
    }

    fn check(&self) {
        let (t, outputs, inputs) = DENSE;
        let Self { x, w, g } = self;
        let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
        let terms = (0..inputs).map(|i| product(x[inputs + i], w[2 * inputs + i]));
        close(dense::forward(x, w, inputs)[outputs + 2], terms, "forward");
        let terms = (0..outputs).map(|o| product(g[outputs + o], w[o * inputs + 2]));
        close(dense::input_gradient(g, w, inputs)[inputs + 2], terms, "input gradient");
        let terms = (0..t).map(|t| product(g[t * outputs + 1], x[t * inputs + 2]));
        close(dense::weight_gradient(g, x, inputs)[inputs + 2], terms, "weight gradient");
    }

    fn measured(&self) -> Vec<Measured<'_>> {
        let (t, outputs, inputs) = DENSE;
        let work = Rate::Operations(2.0 * t as f64 * outputs as f64 * inputs as f64);
        let Self { x, w, g } = self;
        vec![
            Measured::new("M f32 x · Wᵀ".to_owned(), work, &[Ceiling::F32], move || {
                drop(black_box(dense::forward(x, w, inputs)));
            }),
            Measured::new("M f32 g · W".to_owned(), work, &[Ceiling::F32], move || {
                drop(black_box(dense::input_gradient(g, w, inputs)));
            }),
            Measured::new("M f32 gᵀ · x".to_owned(), work, &[Ceiling::F32], move || {
                drop(black_box(dense::weight_gradient(g, x, inputs)));
            }),
        ]
    }
}

/// What a product does in one go.
#[derive(Clone, Copy)]
enum Rate {
    Operations(f64),
    Bytes(usize),
}

impl Rate {
    fn amount(self) -> f64 {
        match self {
            Self::Operations(operations) => operations,
            Self::Bytes(bytes) => bytes as f64,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Operations(_) => "GOP/s",
            Self::Bytes(_) => "GB/s ",
        }
    }
}

/// A product, what it does and what bounds it.
struct Measured<'a> {
    name: String,
    rate: Rate,
    ceilings: Vec<Ceiling>,
    run: Box<dyn Fn() + 'a>,
}

impl<'a> Measured<'a> {
    fn new(name: String, rate: Rate, ceilings: &[Ceiling], run: impl Fn() + 'a) -> Self {
        Self { name, rate, ceilings: ceilings.to_vec(), run: Box::new(run) }
    }
}

/// Median and best of one series.
fn median_and_best(mut rates: Vec<f64>) -> (f64, f64) {
    rates.sort_by(f64::total_cmp);
    (rates[rates.len() / 2], rates[rates.len() - 1])
}

/// Measures ceilings and products in turn and prints medians, best values and shares.
fn table(layers: &[Layer], dense: &Dense, threads: usize) {
    let measured: Vec<Measured<'_>> =
        layers.iter().flat_map(Layer::measured).chain(dense.measured()).collect();
    let memory = roofline::Memory::new();
    let mut ceilings: Vec<Vec<f64>> = vec![Vec::new(); Ceiling::ALL.len()];
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); measured.len()];
    for _ in 0..ROUNDS {
        for (rates, ceiling) in ceilings.iter_mut().zip(Ceiling::ALL) {
            rates.push(ceiling.giga_a_second(threads, &memory));
        }
        for (rates, measured) in rates.iter_mut().zip(&measured) {
            let start = Instant::now();
            (measured.run)();
            rates.push(measured.rate.amount() / start.elapsed().as_secs_f64() / 1e9);
        }
    }
    let ceilings: Vec<(f64, f64)> = ceilings.into_iter().map(median_and_best).collect();
    println!("\n{threads} thread(s): median, best, share of each ceiling (medians, best)");
    for (ceiling, (median, best)) in Ceiling::ALL.into_iter().zip(&ceilings) {
        if *best > 0.0 {
            println!("{:<32} {median:8.1} {best:8.1}", ceiling.name());
        }
    }
    for (measured, rates) in measured.iter().zip(rates) {
        let (median, best) = median_and_best(rates);
        print!("{:<32} {median:8.1} {best:8.1} {}", measured.name, measured.rate.unit());
        for ceiling in &measured.ceilings {
            let (of_median, of_best) = ceilings[*ceiling as usize];
            if of_best > 0.0 {
                let share = (100.0 * median / of_median, 100.0 * best / of_best);
                print!("  {:.0} % {:.0} % of {}", share.0, share.1, ceiling.name());
            }
        }
        println!();
    }
}

/// Holds a sum of f32 or bf16 products against the same terms in f64.
fn close(got: f32, terms: impl Iterator<Item = f64>, what: &str) {
    let (mut sum, mut size, mut count) = (0.0, 0.0, 0.0);
    for term in terms {
        sum += term;
        size += f64::abs(term);
        count += 1.0;
    }
    let bound = 2.0 * count * f64::from(f32::EPSILON) * size;
    assert!((f64::from(got) - sum).abs() <= bound, "{what}: {got}, not {sum}");
}

/// Criterion's own measurement, for comparisons over time.
fn criterion(layer: &Layer) {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group("int8_product");
    for set in Kernels::available().into_iter().filter(|set| set.name != "scalar") {
        for tokens in [1, 16, 256] {
            let x = &layer.x_codes[..tokens * layer.inputs];
            group.throughput(Throughput::Elements((x.len() * layer.outputs) as u64));
            group.bench_function(format!("{}/{tokens}", set.name), |bench| {
                bench.iter(|| set.int8_product(black_box(x), &layer.int8));
            });
        }
    }
    group.finish();
    let mut group = criterion.benchmark_group("rows");
    let (x, mut out) = (&layer.x[..layer.inputs], vec![0.0; layer.inputs]);
    for set in float::Kernels::available() {
        group.throughput(Throughput::Elements(x.len() as u64));
        group.bench_function(format!("{}/swiglu", set.name), |bench| {
            bench.iter(|| set.swiglu(black_box(x), x, &mut out));
        });
        group.bench_function(format!("{}/log_sum_exp", set.name), |bench| {
            bench.iter(|| set.log_sum_exp(black_box(x)));
        });
    }
    group.finish();
    criterion.final_summary();
}

/// A repeatable sequence over the codes a quantiser makes.
fn codes(count: usize) -> Vec<i8> {
    (-127..=127).cycle().step_by(31).take(count).collect()
}

/// A repeatable sequence of values that bf16 holds exactly.
fn floats(count: usize) -> Vec<f32> {
    codes(count).into_iter().map(|code| f32::from(code) / 64.0).collect()
}
