//! 8-bit AdamW against bitsandbytes: maps, codes, updates, error bound.

use std::fs;

use medharness::quant::{AdamW8bit, Blockwise, MIN_8BIT_SIZE, Map, Moments8bit};
use proptest::prelude::*;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

fn golden() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/quant/adamw8bit.safetensors");
    fs::read(path).expect("a committed golden")
}

fn floats(golden: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = golden.tensor(name).expect("named by the script").data();
    data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Digests of bitsandbytes' maps as 256 little-endian f32.
#[test]
fn maps_are_those_of_bitsandbytes() {
    for (map, digest) in [
        (Map::Signed, "e732639a65f497b4ad684bb166a4467708255edd5207757de8b8f0c7e1fda89c"),
        (Map::Unsigned, "305f002cc11278fb769d13b25b9fd0c7c83c8402c40a878fe086f4039fde6398"),
    ] {
        let bytes: Vec<u8> = map.values().iter().flat_map(|x| x.to_le_bytes()).collect();
        let hex: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, digest, "{map:?}");
    }
}

#[test]
fn codes_follow_the_midpoint_rule_of_bitsandbytes() {
    let bytes = golden();
    let golden = SafeTensors::deserialize(&bytes).expect("valid");
    let numbers = floats(&golden, "numbers");
    let sizes: Vec<f32> = numbers.iter().map(|x| x.abs()).collect();
    for (name, map, x) in [("signed", Map::Signed, &numbers), ("unsigned", Map::Unsigned, &sizes)] {
        let ours = Blockwise::quantize(x, map);
        let codes = golden.tensor(&format!("{name}.codes")).expect("codes");
        assert_eq!(ours.codes, codes.data(), "{name}");
        assert_eq!(bits(&ours.absmax), bits(&floats(&golden, &format!("{name}.absmax"))), "{name}");
    }
}

/// bitsandbytes' CPU library looks codes up by one of 65,536 places: emulated exactly, so that the
/// difference to the midpoint rule is explained to the last code.
#[test]
fn codes_of_the_cpu_library_are_explained_by_its_table() {
    let bytes = golden();
    let golden = SafeTensors::deserialize(&bytes).expect("valid");
    let numbers = floats(&golden, "numbers");
    let sizes: Vec<f32> = numbers.iter().map(|x| x.abs()).collect();
    for (name, map, x) in [("signed", Map::Signed, &numbers), ("unsigned", Map::Unsigned, &sizes)] {
        let library = golden.tensor(&format!("{name}.library_codes")).expect("codes").data();
        let mut moved = 0;
        for (at, (&x, &library)) in x.iter().zip(library).enumerate() {
            let block = &numbers[at / 256 * 256..];
            let absmax = block.iter().take(256).fold(0.0_f32, |a, x| a.max(x.abs()));
            if absmax == 0.0 {
                continue;
            }
            let place = ((x / absmax).clamp(-1.0, 1.0) + 1.0) * 0.5 * 65_535.0 + 0.5;
            let code = map.code(-1.0 + 2.0 * place.floor() / 65_535.0);
            assert_eq!(code, library, "{name} {at}");
            moved += usize::from(code != map.code(x / absmax));
        }
        assert!(moved > 0, "{name}: the table moves some codes");
    }
}

/// torch takes square roots from a library that misses the last bit of some (2.1555030e-12 among
/// them): each update may differ by a rounding of the parameter and of its step of about 0.01.
fn close(step: usize, ours: &[f32], want: &[f32]) {
    for (at, (ours, want)) in ours.iter().zip(want).enumerate() {
        let bound = step as f32 * (f32::EPSILON * want.abs() + 0.02 * f32::EPSILON);
        assert!((ours - want).abs() <= bound, "step {step}, element {at}: {ours} {want}");
    }
}

#[test]
fn updates_equal_those_of_bitsandbytes() {
    let bytes = golden();
    let golden = SafeTensors::deserialize(&bytes).expect("valid");
    for size in [4100, 300] {
        let mut parameter = floats(&golden, &format!("{size}.0.parameter"));
        let gradients = floats(&golden, &format!("{size}.gradients"));
        let mut moments = Moments8bit::zeros(size);
        for step in 1..=20_usize {
            let gradient = &gradients[(step - 1) % 4 * size..][..size];
            AdamW8bit::default().update(1e-2, step as u64, &mut parameter, gradient, &mut moments);
            let Ok(state) = golden.tensor(&format!("{size}.{step}.state1")) else { continue };
            let want = floats(&golden, &format!("{size}.{step}.parameter"));
            close(step, &parameter, &want);
            match &moments {
                Moments8bit::Single { first, second } => {
                    let state2 = floats(&golden, &format!("{size}.{step}.state2"));
                    assert_eq!(
                        bits(first),
                        bits(&floats(&golden, &format!("{size}.{step}.state1")))
                    );
                    assert_eq!(bits(second), bits(&state2), "{size}, step {step}");
                }
                Moments8bit::Blockwise { first, second } => {
                    let state2 = golden.tensor(&format!("{size}.{step}.state2")).expect("codes");
                    assert_eq!(first.codes, state.data(), "{size}, step {step}");
                    assert_eq!(second.codes, state2.data(), "{size}, step {step}");
                    for (ours, name) in [(first, "absmax1"), (second, "absmax2")] {
                        let want = floats(&golden, &format!("{size}.{step}.{name}"));
                        assert_eq!(bits(&ours.absmax), bits(&want), "{size}, step {step}, {name}");
                    }
                }
            }
        }
    }
}

#[test]
fn small_parameters_keep_their_states_in_f32() {
    let is_single = |len| matches!(Moments8bit::zeros(len), Moments8bit::Single { .. });
    assert!(is_single(MIN_8BIT_SIZE - 1));
    assert!(!is_single(MIN_8BIT_SIZE));
}

proptest! {
    /// Half the gap between neighbours of the map, times the block's absmax.
    #[test]
    fn error_is_at_most_half_a_gap(
        x in prop::collection::vec(-1.0_f32..1.0, 1..600), scale in 1e-6_f32..1e3, signed in any::<bool>(),
    ) {
        let map = if signed { Map::Signed } else { Map::Unsigned };
        let x: Vec<f32> = x.iter().map(|x| if signed { x * scale } else { x.abs() * scale }).collect();
        let quantized = Blockwise::quantize(&x, map);
        let back = quantized.dequantize(map);
        let values = map.values();
        for (at, (&x, &back)) in x.iter().zip(&back).enumerate() {
            let absmax = quantized.absmax[at / 256];
            let v = x / absmax;
            let above = values.partition_point(|value| *value < v);
            let gap = match above {
                0 => 2.0 * (values[0] - v),
                256 => 2.0 * (v - values[255]),
                _ => values[above] - values[above - 1],
            };
            let bound = (gap / 2.0 + 4.0 * f32::EPSILON) * absmax;
            prop_assert!((x - back).abs() <= bound, "{x} {back} {bound}");
        }
    }
}
