//! Attention against its formula in f64, and the same bits in any division of the work.

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

/// Largest difference to the formula in f64 of sums over at most 100 positions.
const TOLERANCE: f64 = 2e-6;

fn formula(heads: Heads, q: &[f32], k: &[f32], v: &[f32], row: usize, head: usize) -> Vec<f64> {
    let kv = heads.columns(head / heads.group());
    let own = heads.columns(head);
    let query = &q[row * heads.query_width()..][own];
    let of = |from: &[f32], j: usize| -> Vec<f64> {
        from[j * heads.kv_width()..][kv.clone()].iter().map(|x| f64::from(*x)).collect()
    };
    let scores: Vec<f64> = (0..=row)
        .map(|j| {
            let dot: f64 = query.iter().zip(of(k, j)).map(|(q, k)| f64::from(*q) * k).sum();
            dot / (heads.width as f64).sqrt()
        })
        .collect();
    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
    let mut out = vec![0.0; heads.width];
    for (j, score) in scores.iter().enumerate() {
        out.iter_mut().zip(of(v, j)).for_each(|(out, v)| *out += score.exp() / sum * v);
    }
    out
}

fn filled(heads: Heads, k: &[f32], v: &[f32]) -> (Keys, Values) {
    let (mut keys, mut values) = (Keys::new(heads.kv_width()), Values::new(heads));
    keys.extend(k.chunks(heads.kv_width()));
    values.extend(v.chunks(heads.kv_width()));
    (keys, values)
}

const SHAPES: [(usize, usize, usize); 6] =
    [(1, 1, 1), (2, 2, 8), (4, 2, 32), (8, 1, 33), (3, 3, 64), (14, 2, 20)];

#[test]
fn every_row_has_the_attention_of_the_formula_in_any_division() {
    for (query, kv, width) in SHAPES {
        let heads = Heads { query, kv, width };
        for rows in [1, 2, 13, 31, 32, 33, 70] {
            let q = values(1, rows * heads.query_width());
            let (k, v) = (values(2, rows * heads.kv_width()), values(3, rows * heads.kv_width()));
            let (keys, held) = filled(heads, &k, &v);
            let part = [Part { keys: &keys, values: &held, len: rows }];
            let mut scratch = Scratch::default();
            let (mut out, mut sums) = (vec![0.0; q.len()], vec![0.0; rows * query]);
            attend(heads, &q, 1, &part, &mut scratch, &mut out, &mut sums);
            for row in 0..rows {
                for head in 0..query {
                    let want = formula(heads, &q, &k, &v, row, head);
                    let got = &out[row * heads.query_width()..][heads.columns(head)];
                    for (got, want) in got.iter().zip(want) {
                        assert!((f64::from(*got) - want).abs() < TOLERANCE, "{heads:?} {row}");
                    }
                }
            }
            // The same rows one at a time, over a sequence in two parts.
            let joint = rows / 3 * heads.kv_width();
            let first = filled(heads, &k[..joint], &v[..joint]);
            let second = filled(heads, &k[joint..], &v[joint..]);
            for row in 0..rows {
                let part = |(keys, values): &'_ (Keys, Values), len| -> (Keys, Values, usize) {
                    (keys.clone(), values.clone(), len)
                };
                let seen = row + 1;
                let held = [
                    part(&first, seen.min(rows / 3)),
                    part(&second, seen.saturating_sub(rows / 3)),
                ];
                let parts: Vec<Part<'_>> = held
                    .iter()
                    .map(|(keys, values, len)| Part { keys, values, len: *len })
                    .collect();
                let place = row * heads.query_width()..(row + 1) * heads.query_width();
                let (mut one, mut one_sums) = (vec![0.0; place.len()], vec![0.0; query]);
                let query_row = &q[place.clone()];
                attend(heads, query_row, seen, &parts, &mut scratch, &mut one, &mut one_sums);
                assert_eq!(one, out[place], "{heads:?} row {row} of {rows}");
                assert_eq!(one_sums, sums[row * query..(row + 1) * query]);
            }
        }
    }
}

#[test]
fn a_later_position_that_is_no_number_leaves_earlier_rows_alone() {
    let heads = Heads { query: 2, kv: 1, width: 4 };
    let (q, mut k, mut v) = (values(1, 40 * 8), values(2, 40 * 4), values(3, 40 * 4));
    let run = |k: &[f32], v: &[f32]| {
        let (keys, held) = filled(heads, k, v);
        let part = [Part { keys: &keys, values: &held, len: 40 }];
        let (mut out, mut sums) = (vec![0.0; q.len()], vec![0.0; 80]);
        attend(heads, &q, 1, &part, &mut Scratch::default(), &mut out, &mut sums);
        out
    };
    let before = run(&k, &v);
    k[36 * 4..].fill(f32::NAN);
    v[36 * 4..].fill(f32::INFINITY);
    let after = run(&k, &v);
    assert_eq!(before[..36 * 8], after[..36 * 8]);
    assert!(after[36 * 8..].iter().all(|x| x.is_nan()));
}
