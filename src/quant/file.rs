//! Int8 checkpoints in the layout of transformers: which tensors, and a file written piece by piece.
//!
//! Each quantised module has `weight` (I8 `[out, in]`), `SCB` (F32 `[out]`, the row's largest
//! magnitude) and `weight_format` (U8, 0 for rows). Everything else stays as it is.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

/// One tensor of a file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its number format, as safetensors writes it.
    pub dtype: &'static str,
    /// Its shape; empty for a single number.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Returns the three tensors of a quantised module `[outputs, inputs]`.
    ///
    /// Source: transformers 5.23.0 with bitsandbytes 0.50.2, `save_pretrained`.
    pub fn int8(module: &str, outputs: usize, inputs: usize) -> [Self; 3] {
        let spec = |name: &str, dtype, shape: &[usize]| Self {
            name: format!("{module}.{name}"),
            dtype,
            shape: shape.to_vec(),
        };
        [
            spec("weight", "I8", &[outputs, inputs]),
            spec("SCB", "F32", &[outputs]),
            spec("weight_format", "U8", &[]),
        ]
    }

    /// Returns the bytes it takes.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product::<u64>() * self.element_bytes()
    }

    fn element_bytes(&self) -> u64 {
        match self.dtype {
            "F32" => 4,
            "F16" | "BF16" => 2,
            _ => 1,
        }
    }
}

/// Returns `quantization_config` as transformers writes it into `config.json`.
///
/// Source: transformers 5.23.0, `BitsAndBytesConfig(load_in_8bit=True)`.
pub fn quantization_config() -> Value {
    json!({
        "_load_in_4bit": false,
        "_load_in_8bit": true,
        "bnb_4bit_compute_dtype": "float32",
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_quant_type": "fp4",
        "bnb_4bit_use_double_quant": false,
        "llm_int8_enable_fp32_cpu_offload": false,
        "llm_int8_has_fp16_weight": false,
        "llm_int8_skip_modules": null,
        "llm_int8_threshold": 6.0,
        "load_in_4bit": false,
        "load_in_8bit": true,
        "quant_method": "bitsandbytes"
    })
}

/// A safetensors file whose tensors are written piece by piece, in any order.
///
/// It stands beside its place as `NAME.partial` until [`Self::finish`] renames it, so that a file
/// of its name is always whole.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    /// Place of each tensor, from the file's beginning.
    places: BTreeMap<String, u64>,
}

impl TensorFile {
    /// Creates the file with its header; tensors are zeros until written.
    ///
    /// # Errors
    ///
    /// If the file cannot be created.
    pub fn create(path: &Path, tensors: &[TensorSpec]) -> io::Result<Self> {
        let (header, places, length) = layout(tensors);
        let partial = partial(path);
        let mut file = File::create(&partial)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        file.set_len(length)?;
        Ok(Self { path: path.to_owned(), partial, file, places })
    }

    /// Returns the length of the file that these tensors make.
    pub fn length(tensors: &[TensorSpec]) -> u64 {
        layout(tensors).2
    }

    /// Writes a piece of a tensor, `skip` bytes behind its beginning.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    ///
    /// # Panics
    ///
    /// If there is no such tensor.
    pub fn write(&mut self, tensor: &str, skip: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.places[tensor] + skip))?;
        self.file.write_all(bytes)
    }

    /// Brings everything to the disk and gives the file its name.
    ///
    /// # Errors
    ///
    /// If that fails; the name is then not taken.
    pub fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        sync_folder(&self.path)
    }
}

/// Writes a whole small file so that its name is never half a file.
///
/// # Errors
///
/// If it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = partial(path);
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    sync_folder(path)
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// A rename lasts once the folder's entry is on the disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Header, place of each tensor and length of the file. Wider elements come first, so that each
/// tensor is aligned; within a width, by name.
fn layout(tensors: &[TensorSpec]) -> (Vec<u8>, BTreeMap<String, u64>, u64) {
    let mut sorted: Vec<&TensorSpec> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| (std::cmp::Reverse(tensor.element_bytes()), &tensor.name));
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let (mut offset, mut places) = (0, BTreeMap::new());
    for tensor in sorted {
        let end = offset + tensor.bytes();
        places.insert(tensor.name.clone(), offset);
        header.insert(
            tensor.name.clone(),
            json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let data = 8 + header.len() as u64;
    places.values_mut().for_each(|place| *place += data);
    (header, places, data + offset)
}
