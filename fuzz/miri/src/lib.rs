//! Every kernel of every set on small shapes: tails, one row, no row, extremes.

#[path = "../../../src/kernels/mod.rs"]
#[allow(unused, reason = "a part of a program")]
pub mod kernels;

#[cfg(test)]
mod small {
    use crate::kernels::{
        float,
        int8::{Kernels, PackedInt8, Precision},
        matrix::{Matrix, WeightType},
    };

    fn codes(count: usize) -> Vec<i8> {
        (0..count).map(|i| ((i * 97 + 31) % 256) as u8 as i8).collect()
    }

    fn floats(count: usize) -> Vec<f32> {
        codes(count).into_iter().map(|code| f32::from(code) / 16.0).collect()
    }

    #[test]
    fn int8_products_equal_their_definition() {
        for (rows, outputs, inputs) in [(0, 3, 4), (1, 1, 1), (1, 33, 5), (3, 34, 9), (5, 2, 17)] {
            let (x, w) = (codes(rows * inputs), codes(outputs * inputs));
            let weight = PackedInt8::pack(&w, outputs, inputs).expect("a shape that fits");
            assert_eq!(weight.unpack(), w);
            let scales: Vec<f32> = (0..outputs).map(|o| 0.5 + o as f32).collect();
            let dot = |x: &[i8], w: &[i8]| -> i32 {
                x.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(*w)).sum()
            };
            let want: Vec<i32> =
                x.chunks(inputs).flat_map(|x| w.chunks(inputs).map(move |w| dot(x, w))).collect();
            for set in Kernels::available() {
                let sums = set.int8_product(&x, &weight);
                assert_eq!(sums.to_vec(), want, "{}", set.name);
                let mut y = vec![0.0; rows * outputs];
                set.dequantize(&sums, &vec![1.0; rows], &scales, 1.0, &mut y);
                let (x, g) = (floats(rows * inputs), floats(rows * outputs));
                for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
                    let y = set.dequantized_product(&x, &weight, &scales, precision);
                    let grad = set.transposed_product(&g, &weight, &scales, precision);
                    assert!(y.iter().chain(&grad).all(|value| value.is_finite()));
                    assert_eq!((y.len(), grad.len()), (rows * outputs, rows * inputs));
                }
            }
        }
    }

    #[test]
    fn rows_are_quantised_up_to_their_last_element() {
        for length in [0, 1, 15, 16, 17, 33] {
            let mut x = floats(length);
            x.iter_mut().take(1).for_each(|x| *x = f32::INFINITY);
            for set in Kernels::available() {
                let largest = set.absmax_below(&x, 6.0);
                let mut out = vec![7; length];
                set.quantize_row(&x, 127.0 / largest.max(1.0), 6.0, &mut out);
                assert!(out.iter().take(1).all(|code| *code == 0), "{}", set.name);
            }
        }
    }

    #[test]
    fn float_kernels_reach_no_element_too_many() {
        for weight_type in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
            let mut matrix = Matrix::zeros(weight_type, 34, 5);
            matrix.set_rows(0, &floats(34 * 5));
            assert_eq!(matrix.multiply(&floats(3 * 5)).len(), 3 * 34);
            assert_eq!(matrix.multiply_transposed(&floats(2 * 34)).len(), 2 * 5);
        }
        for set in float::Kernels::available() {
            let (x, mut out) = (floats(19), vec![0.0; 19]);
            set.rms_norm(&x, &x, 1e-5, &mut out);
            set.swiglu(&x, &x, &mut out);
            assert!(set.log_sum_exp(&x).is_finite());
        }
    }
}
