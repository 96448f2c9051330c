//! Int8 weights of a checkpoint: codes, a scale a row (`SCB`), their layout (`weight_format`).
//!
//! Scales are read and checked when the folder is opened, codes when they are asked for. Files of
//! bitsandbytes before 0.39 have no `weight_format`, PyTorch files of 0.39 to 0.43.0 have it as a
//! text, later ones as a number; `SCB` may be in half precision. Rows are the only layout read.
//!
//! Source: bitsandbytes 0.38 to 0.50.2, `Linear8bitLt._save_to_state_dict`.

use std::collections::BTreeMap;

use super::{
    Tensors,
    file::{Dtype, WeightFile},
};
use crate::llama::{CheckpointError, Config, weights::expected_tensors};

/// The scales of each int8 matrix, by the matrix's name.
pub(super) type Scales = BTreeMap<String, Vec<f32>>;

/// Compares the block's linear layers with `quantization_config` and reads their scales.
pub(super) fn scales(
    config: &Config,
    files: &[WeightFile],
    tensors: &Tensors,
) -> Result<Scales, CheckpointError> {
    let mut scales = Scales::new();
    for (name, shape) in expected_tensors(config) {
        let (Some(module), Some((_, stored))) = (name.strip_suffix(".weight"), tensors.get(&name))
        else {
            continue;
        };
        let is_int8 = stored.dtype == Dtype::I8;
        let refuse = |why| {
            let (name, dtype) = (name.clone(), stored.dtype_name().to_owned());
            Err(CheckpointError::NotAsQuantized { name, dtype, why })
        };
        let is_linear = module.starts_with("model.layers.") && shape.len() == 2;
        match &config.quantization {
            None if is_int8 && is_linear => {
                return refuse("config.json has no `quantization_config`");
            }
            None => continue,
            Some(_) if is_int8 && !is_linear => {
                return refuse("only linear layers inside the blocks are computed in int8");
            }
            Some(_) if !is_linear => continue,
            Some(how) if how.skips(module) && is_int8 => {
                return refuse("`llm_int8_skip_modules` leaves it in floats");
            }
            Some(how) if how.skips(module) => continue,
            Some(_) if !is_int8 => return refuse("`quantization_config` says int8"),
            Some(_) => {}
        }
        check_format(module, files, tensors)?;
        let rows = read_scales(module, shape[0], files, tensors)?;
        scales.insert(name, rows);
    }
    Ok(scales)
}

/// Returns whether a tensor only describes an int8 matrix of `scales`.
pub(super) fn describes(name: &str, scales: &Scales) -> bool {
    [".SCB", ".weight_format"].iter().any(|end| {
        name.strip_suffix(end)
            .is_some_and(|module| scales.contains_key(&format!("{module}.weight")))
    })
}

fn read_scales(
    module: &str,
    outputs: usize,
    files: &[WeightFile],
    tensors: &Tensors,
) -> Result<Vec<f32>, CheckpointError> {
    let name = format!("{module}.SCB");
    let Some((file, stored)) = tensors.get(&name) else {
        return Err(CheckpointError::MissingTensor(name));
    };
    if stored.shape != [outputs] {
        let (expected, got) = (vec![outputs], stored.shape.clone());
        return Err(CheckpointError::Shape { name, expected, got });
    }
    let mut scales = Vec::new();
    files[*file].read(&name, stored, 0, outputs, &mut scales)?;
    match scales.iter().position(|scale| !(scale.is_finite() && *scale >= 0.0)) {
        Some(row) => {
            let value = scales[row].to_string();
            Err(CheckpointError::Scale { name, row, value })
        }
        None => Ok(scales),
    }
}

/// 0 is rows; 1 to 3 are the layouts of GPUs, which bitsandbytes reads no more either.
fn check_format(
    module: &str,
    files: &[WeightFile],
    tensors: &Tensors,
) -> Result<(), CheckpointError> {
    let name = format!("{module}.weight_format");
    let Some((file, stored)) = tensors.get(&name) else { return Ok(()) };
    let value = match &stored.dtype {
        Dtype::U8 if stored.shape.iter().product::<usize>() == 1 => {
            match files[*file].bytes(stored.offset, 1)?[0] {
                0 => return Ok(()),
                value => value.to_string(),
            }
        }
        _ => format!("{} {:?}", stored.dtype_name(), stored.shape),
    };
    Err(CheckpointError::WeightFormat { name, value })
}
