//! Tensors in one safetensors file, written aside piece by piece, synced and renamed.
//!
//! The header is that of the safetensors library; the data never stand in memory a second time.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use serde_json::{Map, json};

/// Values of a tensor to write.
pub(super) enum Values {
    /// Single precision.
    F32(Vec<f32>),
    /// Bytes.
    U8(Vec<u8>),
}

impl Values {
    fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "F32",
            Self::U8(_) => "U8",
        }
    }
}

/// A tensor to write: its name, its shape, and where its values come from when their turn is.
pub(super) struct Planned<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: &'static str,
    pub(super) values: Box<dyn Fn() -> candle_core::Result<Values> + 'a>,
}

/// Writes `tensors` aside, syncs the file and renames it to `path`: what was there stays whole.
///
/// The folder is the caller's to sync.
pub(super) fn write(path: &Path, tensors: &[Planned<'_>]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let written = write_in_place(aside.as_ref(), tensors);
    match written.and_then(|()| fs::rename(&aside, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            // Frees what a full disk needs most; the reason to report is the first one.
            let _ = fs::remove_file(&aside);
            Err(error)
        }
    }
}

fn write_in_place(path: &Path, tensors: &[Planned<'_>]) -> io::Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut offset = 0_usize;
    for Planned { name, shape, dtype, .. } in tensors {
        let width = if *dtype == "U8" { 1 } else { 4 };
        let end = offset + shape.iter().product::<usize>() * width;
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [offset, end] });
        header.insert(name.clone(), entry);
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // The format asks for data that begin at a multiple of eight.
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for tensor in tensors {
        let values = (tensor.values)().map_err(io::Error::other)?;
        if values.dtype() != tensor.dtype {
            return Err(io::Error::other(format!("`{}` is {}", tensor.name, values.dtype())));
        }
        match values {
            Values::U8(values) => file.write_all(&values)?,
            Values::F32(values) => {
                for piece in values.chunks(1 << 16) {
                    let bytes: Vec<u8> = piece.iter().flat_map(|v| v.to_le_bytes()).collect();
                    file.write_all(&bytes)?;
                }
            }
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn the_safetensors_library_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let planned = |name: &str, shape: &[usize], dtype, values: fn() -> Values| Planned {
            name: name.into(),
            shape: shape.into(),
            dtype,
            values: Box::new(move || Ok(values())),
        };
        let tensors = [
            planned("b", &[2, 2], "F32", || Values::F32(vec![1.0, -0.5, f32::MAX, 0.0])),
            planned("a", &[3], "U8", || Values::U8(vec![1, 2, 255])),
        ];
        write(&path, &tensors).unwrap();
        let bytes = fs::read(&path).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor("a").unwrap().data(), [1, 2, 255]);
        assert_eq!(read.tensor("b").unwrap().shape(), [2, 2]);
        assert_eq!(read.tensor("b").unwrap().data()[4..8], (-0.5_f32).to_le_bytes());
    }

    #[test]
    fn a_write_that_fails_leaves_the_file_there_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let planned = |values: fn() -> candle_core::Result<Values>| Planned {
            name: "a".into(),
            shape: vec![2],
            dtype: "F32",
            values: Box::new(values),
        };
        write(&path, &[planned(|| Ok(Values::F32(vec![1.0, 2.0])))]).unwrap();
        let good = fs::read(&path).unwrap();
        let broken = planned(|| Err(candle_core::Error::Msg("no".into())));
        write(&path, &[broken]).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), good);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
