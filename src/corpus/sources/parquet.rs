//! Rows in Parquet, as the hub stores data sets: columns instruction, input, output.

use std::{
    cell::Cell,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    path::Path,
    sync::Once,
};

use parquet::{
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
};

use crate::corpus::Row;

/// First and last bytes of such a file.
pub(in crate::corpus) const MAGIC: &[u8] = b"PAR1";

/// Calls `found` with the number (from 1) of each row, and the row or what is wrong with it.
/// Returns how many there were.
///
/// # Errors
///
/// The library's, for a file that is damaged or packed in a way that is not built in.
pub(in crate::corpus) fn each_row(
    path: &Path,
    found: &mut impl FnMut(usize, Result<Row, String>),
) -> Result<usize, ParquetError> {
    let file = File::open(path)?;
    let reader = fenced(|| SerializedFileReader::new(file))?;
    let mut records = fenced(|| reader.get_row_iter(None))?;
    let mut rows = 0;
    while let Some(record) = fenced(|| records.next().transpose())? {
        rows += 1;
        found(rows, row(record.into_columns()));
    }
    Ok(rows)
}

thread_local! {
    /// Whether a panic of this thread is going to be caught below.
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`; the library panics on some damaged files, which is an error here and said nowhere
/// else.
fn fenced<T>(call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if !FENCED.get() {
                previous(info);
            }
        }));
    });
    let outer = FENCED.replace(true);
    // A reader that panicked is not used again.
    let result = catch_unwind(AssertUnwindSafe(call));
    FENCED.set(outer);
    result.unwrap_or_else(|_| Err(ParquetError::General("the file is damaged".to_owned())))
}

/// Columns that are read.
const COLUMNS: [&str; 7] = ["instruction", "input", "output", "source", "id", "licence", "license"];

fn row(columns: Vec<(String, Field)>) -> Result<Row, String> {
    let mut row = Row::default();
    let mut has_output = false;
    for (name, value) in columns {
        if !COLUMNS.contains(&&*name) {
            continue;
        }
        let text = match value {
            Field::Null => None,
            Field::Str(text) => Some(text),
            // Text that its writer did not mark as text.
            Field::Bytes(bytes) => {
                let text = String::from_utf8(bytes.data().to_vec());
                Some(text.map_err(|_| format!("column `{name}` is not UTF-8"))?)
            }
            number if matches!(&*name, "source" | "id") && is_number(&number) => {
                Some(number.to_string())
            }
            _ => return Err(format!("column `{name}` is no text")),
        };
        match name.as_str() {
            "instruction" => row.instruction = text.unwrap_or_default(),
            "input" => row.input = text.unwrap_or_default(),
            "output" => (has_output, row.output) = (true, text.unwrap_or_default()),
            "source" => row.source = text,
            "id" => row.id = text,
            _ => row.licence = text,
        }
    }
    if has_output { Ok(row) } else { Err("missing field `output`".into()) }
}

fn is_number(field: &Field) -> bool {
    matches!(
        field,
        Field::Byte(_)
            | Field::Short(_)
            | Field::Int(_)
            | Field::Long(_)
            | Field::UByte(_)
            | Field::UShort(_)
            | Field::UInt(_)
            | Field::ULong(_)
            | Field::Float(_)
            | Field::Double(_)
    )
}
