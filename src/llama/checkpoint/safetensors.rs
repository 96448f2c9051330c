//! The header of a safetensors file.
//!
//! The `safetensors` crate checks offsets, sizes and overflow; what it leaves open is closed here:
//! a header of absurd length, a name given twice, bytes behind the last tensor.

use std::{collections::BTreeSet, fmt};

use safetensors::tensor::Metadata;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};

use super::file::{Dtype, Stored, WeightFile};
use crate::llama::CheckpointError;

/// Longest header, as the format's own reader has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Reads the place of every tensor.
pub(super) fn tensors(file: &WeightFile) -> Result<Vec<(String, Stored)>, CheckpointError> {
    let too_short = || file.format_error("shorter than the header it announces");
    if file.len() < 8 {
        return Err(too_short());
    }
    let length = file.bytes(0, 8)?;
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes were read"));
    if length > MAX_HEADER_BYTES {
        return Err(file.format_error(format!("a header of {length} bytes")));
    }
    let data = 8 + length;
    if file.len() < data {
        return Err(too_short());
    }
    let length = usize::try_from(length).expect("at most 10^8");
    let header = file.bytes(8, length)?;
    let malformed = |error: serde_json::Error| file.format_error(error.to_string());
    serde_json::from_slice::<DistinctKeys>(&header).map_err(malformed)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(malformed)?;
    if data + metadata.data_len() as u64 != file.len() {
        return Err(file.format_error(format!(
            "tensors take {} bytes behind the header, the file has {}",
            metadata.data_len(),
            file.len() - data
        )));
    }
    Ok(metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let dtype = match info.dtype {
                safetensors::Dtype::F32 => Dtype::F32,
                safetensors::Dtype::F16 => Dtype::F16,
                safetensors::Dtype::BF16 => Dtype::Bf16,
                safetensors::Dtype::I8 => Dtype::I8,
                safetensors::Dtype::U8 => Dtype::U8,
                other => Dtype::Other(format!("{other:?}")),
            };
            let offset = data + info.data_offsets.0 as u64;
            (name, Stored { shape: info.shape.clone(), dtype, offset })
        })
        .collect())
}

/// Accepts a JSON object only if no key occurs twice.
struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = DistinctKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctKeys, A::Error> {
                let mut seen = BTreeSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, _>()? {
                    if seen.contains(&key) {
                        return Err(A::Error::custom(format!("`{key}` is given twice")));
                    }
                    seen.insert(key);
                }
                Ok(DistinctKeys)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}
