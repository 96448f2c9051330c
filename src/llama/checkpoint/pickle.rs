//! The table of tensors in a PyTorch file (`torch.save`, zip layout of version 1.6 and later).
//!
//! A small interpreter of the opcodes that a state dict needs. It builds strings, numbers, tuples
//! and dictionaries, and knows five callables by name, none of which it calls: they only say what
//! a tensor is. Anything else a file names is refused by that name. Every length is checked
//! against the bytes at hand before memory is taken.
//! Source: CPython's `pickletools`; `torch._utils._rebuild_tensor_v2`.

use std::{collections::BTreeMap, io::BufReader, sync::Arc};

use zip::{CompressionMethod, ZipArchive};

use super::file::{Dtype, Stored, WeightFile};
use crate::llama::CheckpointError;

/// Longest table of tensors; a 70-billion-parameter shard takes some 100 kB.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// Most values on the stack; `torch.save` puts 1,000 pairs there at once.
const MAX_STACK: usize = 1 << 16;

/// Most values that can be recalled; a tensor takes some ten.
const MAX_MEMO: usize = 1 << 20;

/// Deepest nesting of tuples and dictionaries; a state dict needs four levels.
const MAX_DEPTH: usize = 16;

/// Reads the place of every tensor.
pub(super) fn tensors(file: &WeightFile) -> Result<Vec<(String, Stored)>, CheckpointError> {
    let zip_error = |error: zip::result::ZipError| {
        file.format_error(format!("not a PyTorch file of version 1.6 or later ({error})"))
    };
    let mut archive = ZipArchive::new(BufReader::new(file.handle())).map_err(zip_error)?;
    let mut entries = BTreeMap::new();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(zip_error)?;
        let start = entry.data_start().ok_or_else(|| file.format_error("no data in an entry"))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(
                file.format_error(format!("`{}` is compressed", entry.name().unwrap_or_default()))
            );
        }
        let name = entry.name().map_err(zip_error)?.into_owned();
        if start.checked_add(entry.size()).is_none_or(|end| end > file.len()) {
            return Err(file.format_error(format!("`{name}` reaches behind the end")));
        }
        entries.insert(name, (start, entry.size()));
    }
    let mut tables = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let (Some(root), None) = (tables.next(), tables.next()) else {
        return Err(file.format_error("not exactly one data.pkl"));
    };
    let bytes = |name: &str, limit: u64| {
        let (start, len) = entries[name];
        let len = usize::try_from(len.min(limit)).expect("limited");
        file.bytes(start, len)
    };
    let order = format!("{root}byteorder");
    if entries.contains_key(&order) && bytes(&order, 16)? != b"little" {
        return Err(file.format_error("not little-endian"));
    }
    let table = format!("{root}data.pkl");
    if entries[&table].1 > MAX_TABLE_BYTES {
        return Err(file.format_error("a table of tensors above 16 MiB"));
    }
    let table = bytes(&table, MAX_TABLE_BYTES)?;
    let value = Machine::run(&table).map_err(|stop| match stop {
        Stop::Malformed(why) => file.format_error(why),
        Stop::Global(global) => {
            CheckpointError::NotOnlyTensors { path: file.path().to_owned(), global }
        }
    })?;
    let Value::Dict(Nested { items, .. }) = value else {
        return Err(file.format_error("not a dictionary of tensors"));
    };
    items
        .into_iter()
        // What bitsandbytes 0.39 to 0.43.0 writes beside an int8 matrix: rows, as there is without it.
        .filter(|(key, value)| match (key, value) {
            (Value::Text(name), Value::Text(format)) => {
                !(name.ends_with(".weight_format") && &**format == "row")
            }
            _ => true,
        })
        .map(|(key, value)| {
            let Value::Text(name) = key else {
                return Err(file.format_error("data.pkl: a tensor without a name"));
            };
            if let Value::Text(value) = &value
                && name.ends_with(".weight_format")
            {
                let (name, value) = (name.to_string(), value.to_string());
                return Err(CheckpointError::WeightFormat { name, value });
            }
            let Value::Tensor(tensor) = value else {
                return Err(CheckpointError::NotOnlyTensors {
                    path: file.path().to_owned(),
                    global: format!("{name} = {value:?}"),
                });
            };
            let storage = entries.get(&format!("{root}data/{}", tensor.storage.key));
            let stored = tensor.stored(storage).ok_or_else(|| {
                file.format_error(format!("tensor `{name}` does not lie whole in its storage"))
            })?;
            Ok((name.to_string(), stored))
        })
        .collect()
}

/// What the table describes.
#[derive(Debug, Clone)]
enum Value {
    None,
    Bool,
    Int(i64),
    Text(Arc<str>),
    Tuple(Arc<Nested<Value>>),
    Dict(Nested<(Value, Value)>),
    Global(Global),
    Storage(Storage),
    Tensor(Tensor),
    Mark,
}

/// Values within a value; `depth` is bounded, so that dropping them cannot exhaust the stack.
#[derive(Debug, Clone)]
struct Nested<T> {
    items: Vec<T>,
    depth: usize,
}

impl Value {
    fn depth(&self) -> usize {
        match self {
            Self::Tuple(nested) => nested.depth,
            Self::Dict(nested) => nested.depth,
            _ => 0,
        }
    }

    fn tuple(items: Vec<Self>) -> Result<Self, Stop> {
        let depth = one_deeper(&items)?;
        Ok(Self::Tuple(Arc::new(Nested { items, depth })))
    }

    fn empty_dict() -> Self {
        Self::Dict(Nested { items: Vec::new(), depth: 1 })
    }
}

/// Returns the depth of something that holds these values.
fn one_deeper(values: &[Value]) -> Result<usize, Stop> {
    let depth = 1 + values.iter().map(Value::depth).max().unwrap_or(0);
    if depth > MAX_DEPTH { Err("nested too deeply".into()) } else { Ok(depth) }
}

/// The callables that are understood; none is called.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Global {
    fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::Bf16),
            ("torch", "CharStorage") => Self::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Self::Storage(Dtype::U8),
            (
                "torch",
                "DoubleStorage" | "LongStorage" | "IntStorage" | "ShortStorage" | "BoolStorage",
            ) => Self::Storage(Dtype::Other(name.to_owned())),
            _ => return None,
        })
    }
}

#[derive(Debug, Clone)]
struct Storage {
    dtype: Dtype,
    key: Arc<str>,
}

#[derive(Debug, Clone)]
struct Tensor {
    storage: Storage,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Tensor {
    /// Returns the place in the file if the tensor is contiguous and lies within its storage.
    fn stored(&self, storage: Option<&(u64, u64)>) -> Option<Stored> {
        let mut count = 1_usize;
        for (size, stride) in self.shape.iter().zip(&self.strides).rev() {
            if *size > 1 && *stride != count {
                return None;
            }
            count = count.checked_mul(*size)?;
        }
        let width = self.storage.dtype.bytes();
        let from = self.offset.checked_mul(width)?;
        let end = count.checked_mul(width)?.checked_add(from)?;
        let (start, len) = storage?;
        if u64::try_from(end).ok()? > *len {
            return None;
        }
        let offset = start + u64::try_from(from).ok()?;
        Some(Stored { shape: self.shape.clone(), dtype: self.storage.dtype.clone(), offset })
    }
}

/// Why a table is refused.
#[derive(Debug)]
enum Stop {
    Malformed(String),
    Global(String),
}

impl From<&str> for Stop {
    fn from(why: &str) -> Self {
        Self::Malformed(format!("data.pkl: {why}"))
    }
}

/// The interpreter: a stack, a memo, and the bytes left.
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    memo: BTreeMap<u32, Value>,
}

impl<'a> Machine<'a> {
    fn run(bytes: &'a [u8]) -> Result<Value, Stop> {
        let mut machine = Machine { rest: bytes, stack: Vec::new(), memo: BTreeMap::new() };
        loop {
            let [opcode] = machine.take()?;
            if opcode == b'.' {
                return machine.pop();
            }
            machine.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), Stop> {
        let value = match opcode {
            // PROTO: versions up to 5 share the opcodes below.
            0x80 => {
                let [version] = self.take()?;
                return if version <= 5 { Ok(()) } else { Err("unknown protocol".into()) };
            }
            // FRAME: its length says nothing new.
            0x95 => return self.take::<8>().map(drop),
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool,
            b'K' => Value::Int(self.take::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.take()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.take()?).into()),
            0x8a => self.long()?,
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                self.text(length)?
            }
            0x8c => {
                let [length] = self.take()?;
                self.text(length.into())?
            }
            b'(' => Value::Mark,
            b')' => Value::tuple(Vec::new())?,
            0x85..=0x87 => {
                let len = usize::from(opcode - 0x84);
                let from = self.stack.len().checked_sub(len).ok_or("stack underflow")?;
                Value::tuple(self.stack.split_off(from))?
            }
            b't' => Value::tuple(self.pop_to_mark()?)?,
            b'}' => Value::empty_dict(),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Self::global(module, name)?
            }
            0x93 => {
                let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                    return Err("a global without a name".into());
                };
                Self::global(&module, &name)?
            }
            b'Q' => self.storage()?,
            b'R' => self.reduce()?,
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                return self.set_items(vec![key, value]);
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                return self.set_items(items);
            }
            // BUILD: attributes of a dictionary (`_metadata`), of no use here.
            b'b' => {
                let state = self.pop()?;
                return match (state, self.stack.last()) {
                    (Value::Dict(_), Some(Value::Dict(_))) => Ok(()),
                    _ => Err("state of something that is no dictionary".into()),
                };
            }
            b'q' => {
                let [at] = self.take()?;
                return self.remember(at.into());
            }
            b'r' => {
                let at = u32::from_le_bytes(self.take()?);
                return self.remember(at);
            }
            // MEMOIZE
            0x94 => {
                let at = u32::try_from(self.memo.len()).map_err(|_| "too many values")?;
                return self.remember(at);
            }
            b'h' => {
                let [at] = self.take()?;
                self.recall(at.into())?
            }
            b'j' => {
                let at = u32::from_le_bytes(self.take()?);
                self.recall(at)?
            }
            _ => return Err(Stop::Malformed(format!("data.pkl: opcode {opcode:#04x}"))),
        };
        if self.stack.len() >= MAX_STACK {
            return Err("too many values".into());
        }
        self.stack.push(value);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("ends early")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn text(&mut self, length: u32) -> Result<Value, Stop> {
        let length = usize::try_from(length).map_err(|_| "a text too long")?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or("ends inside a text")?;
        self.rest = rest;
        let text = std::str::from_utf8(text).map_err(|_| "a text that is not UTF-8")?;
        Ok(Value::Text(text.into()))
    }

    fn line(&mut self) -> Result<&'a str, Stop> {
        let end = self.rest.iter().position(|b| *b == b'\n').ok_or("ends inside a name")?;
        let line = std::str::from_utf8(&self.rest[..end]).map_err(|_| "a name not in UTF-8")?;
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }

    /// LONG1: little-endian two's complement of up to eight bytes.
    fn long(&mut self) -> Result<Value, Stop> {
        let [length] = self.take()?;
        let (bytes, rest) = self.rest.split_at_checked(length.into()).ok_or("ends early")?;
        self.rest = rest;
        let Some(last) = bytes.last() else { return Ok(Value::Int(0)) };
        let mut full = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
        full.get_mut(..bytes.len()).ok_or("a number of more than 64 bits")?.copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(full)))
    }

    fn global(module: &str, name: &str) -> Result<Value, Stop> {
        Global::named(module, name)
            .map(Value::Global)
            .ok_or_else(|| Stop::Global(format!("{module}.{name}")))
    }

    fn pop(&mut self) -> Result<Value, Stop> {
        self.stack.pop().ok_or_else(|| "stack underflow".into())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, Stop> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let items = self.stack.split_off(mark.ok_or("no mark")? + 1);
        self.stack.pop();
        Ok(items)
    }

    fn remember(&mut self, at: u32) -> Result<(), Stop> {
        let value = match self.stack.last() {
            // A dictionary is remembered before it is filled and never recalled in a state dict.
            Some(Value::Dict(_)) => Value::None,
            Some(value) => value.clone(),
            None => return Err("stack underflow".into()),
        };
        if self.memo.len() >= MAX_MEMO {
            return Err("too many values".into());
        }
        self.memo.insert(at, value);
        Ok(())
    }

    fn recall(&self, at: u32) -> Result<Value, Stop> {
        self.memo.get(&at).cloned().ok_or_else(|| "a value that was never stored".into())
    }

    fn set_items(&mut self, items: Vec<Value>) -> Result<(), Stop> {
        let depth = one_deeper(&items)?;
        let Some(Value::Dict(dict)) = self.stack.last_mut() else {
            return Err("items of something that is no dictionary".into());
        };
        dict.depth = dict.depth.max(depth);
        let mut items = items.into_iter();
        while let Some(key) = items.next() {
            dict.items.push((key, items.next().ok_or("a key without a value")?));
        }
        Ok(())
    }

    /// BINPERSID: `("storage", type, key, location, length)`.
    fn storage(&mut self) -> Result<Value, Stop> {
        let Value::Tuple(items) = self.pop()? else { return Err("no storage tuple".into()) };
        match &items.items[..] {
            [
                Value::Text(kind),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(_),
            ] if &**kind == "storage" && !key.contains(['/', '\\']) => {
                Ok(Value::Storage(Storage { dtype: dtype.clone(), key: key.clone() }))
            }
            _ => Err("an unknown kind of storage".into()),
        }
    }

    fn reduce(&mut self) -> Result<Value, Stop> {
        let (Value::Tuple(arguments), Value::Global(callable)) = (self.pop()?, self.pop()?) else {
            return Err("a call of something unnamed".into());
        };
        match (callable, &arguments.items[..]) {
            (Global::OrderedDict, []) => Ok(Value::empty_dict()),
            (
                Global::RebuildTensor,
                [Value::Storage(storage), Value::Int(offset), shape, strides, Value::Bool, ..],
            ) => {
                let tensor = Tensor {
                    storage: storage.clone(),
                    offset: usize::try_from(*offset).map_err(|_| "a negative offset")?,
                    shape: sizes(shape)?,
                    strides: sizes(strides)?,
                };
                if tensor.shape.len() != tensor.strides.len() {
                    return Err("shape and strides of different lengths".into());
                }
                Ok(Value::Tensor(tensor))
            }
            (Global::RebuildParameter, [Value::Tensor(tensor), ..]) => {
                Ok(Value::Tensor(tensor.clone()))
            }
            (callable, _) => {
                Err(Stop::Malformed(format!("data.pkl: unexpected arguments of {callable:?}")))
            }
        }
    }
}

fn sizes(value: &Value) -> Result<Vec<usize>, Stop> {
    let Value::Tuple(items) = value else { return Err("a shape that is no tuple".into()) };
    items
        .items
        .iter()
        .map(|item| match item {
            Value::Int(size) => usize::try_from(*size).map_err(|_| "a negative size".into()),
            _ => Err("a size that is no number".into()),
        })
        .collect()
}
