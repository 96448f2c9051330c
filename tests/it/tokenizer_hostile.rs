//! No tokenizer file, however made, ends the process or hangs it.
//!
//! `golden/tokenizers/hostile` holds the six files on which the tokenizers library panics (its pull
//! request 2151) and others like them, written by hand.

use std::{fmt::Write, fs, path::Path};

use medharness::{
    llama::tokenizer::{MAX_FILE_BYTES, Special, TextStream, Tokenizer, TokenizerError},
    protocol::Bos,
};
use proptest::prelude::*;

use crate::snapshots;

/// Opens a file and does with it what a run would; returns the first error.
fn used(path: &Path) -> Result<(), (&'static str, TokenizerError)> {
    let tokenizer = Tokenizer::from_file(path).map_err(|error| ("load", error))?;
    for text in ["", "a", "ab ba", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "</s> ü🙂\n"] {
        tokenizer.encode(text, Bos::Model).map_err(|error| ("encode", error))?;
        tokenizer.encode_special(text, Bos::None).map_err(|error| ("encode", error))?;
    }
    let mut stream = TextStream::new(&tokenizer);
    for id in [0, 1, 2, 4, 300, u32::MAX] {
        let decoded = tokenizer.decode(&[id], Special::Keep).and_then(|_| stream.push(id));
        decoded.map_err(|error| ("decode", error))?;
        let _ = tokenizer.piece(id);
    }
    stream.finish().map_err(|error| ("decode", error))?;
    Ok(())
}

/// An error with its sources; left out are the folder of the file, and the words of a panic, which
/// differ between builds.
fn said(error: &TokenizerError) -> String {
    if let TokenizerError::Panicked { operation, .. } = error {
        return format!("the tokenizers library failed to {operation}: (panic)");
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        write!(text, ": {error}").expect("a string takes it");
        source = error.source();
    }
    text.replace("golden/tokenizers/hostile/", "")
}

#[test]
fn hostile_files_are_refused_with_their_fault() {
    let mut files: Vec<_> = fs::read_dir("golden/tokenizers/hostile")
        .expect("committed")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    let mut table = String::new();
    for path in &files {
        let line = match used(path) {
            Ok(()) => format!("{}: usable", path.file_name().expect("a file").display()),
            Err((stage, error)) => format!("{stage}: {}", said(&error)),
        };
        writeln!(table, "{line}").expect("a string takes it");
    }
    let _guard = snapshots();
    insta::assert_snapshot!("tokenizer_hostile", table);
}

#[test]
fn a_file_beyond_the_size_of_any_tokenizer_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer.model"] {
        let path = folder.path().join(name);
        fs::File::create(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        let error = Tokenizer::from_file(&path).unwrap_err();
        assert!(matches!(error, TokenizerError::TooLarge { limit: MAX_FILE_BYTES, .. }));
    }
}

#[test]
fn sentencepiece_models_that_would_not_be_the_same_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.model");
    let refusal = |pieces: &[(&str, f32, u8)], more: &[u8]| {
        let mut bytes = Vec::new();
        for (text, score, kind) in pieces {
            let mut piece = vec![0x0a, u8::try_from(text.len()).unwrap()];
            piece.extend(text.as_bytes());
            piece.push(0x15);
            piece.extend(score.to_le_bytes());
            piece.extend([0x18, *kind]);
            bytes.extend([0x0a, u8::try_from(piece.len()).unwrap()]);
            bytes.extend(piece);
        }
        bytes.extend(more);
        fs::write(&path, bytes).unwrap();
        used(&path).map_err(|(_, error)| said(&error).split_once("needs ").unwrap().1.to_owned())
    };
    const BPE: &[u8] = &[0x12, 2, 0x18, 2];
    let plain = [("<unk>", 0.0, 2), ("a", -3.0, 1), ("b", -4.0, 1)];
    let with = |more: &[(&'static str, f32, u8)]| [&plain[..], more].concat();
    let mut table = Vec::new();
    for (pieces, more) in [
        (with(&[]), &[][..]),
        (with(&[]), &[0x12, 2, 0x18, 3]),
        (with(&[]), &[0x12, 2, 0x18, 9]),
        (plain[1..].to_vec(), BPE),
        (with(&[("a", -5.0, 1)]), BPE),
        (with(&[("ab", -1.0, 1), ("ba", -1.0, 1)]), BPE),
        (with(&[("ax", -1.0, 1)]), BPE),
        (with(&[("ab", -1.0, 5)]), BPE),
        (with(&[]), &[0x12, 5, 0x18, 2, 0x98, 0x02, 1]),
        (with(&[]), &[0x12, 5, 0x18, 2, 0xc0, 0x01, 1]),
        (with(&[]), &[0x12, 2, 0x18, 2, 0x1a, 5, 0x0a, 1, b'n', 0x12, 0]),
        (with(&[]), &[0x12, 2, 0x18, 2, 0x1a, 6, 0x0a, 1, b'n', 0x12, 1, 1]),
        (with(&[]), &[0x12, 2, 0x18, 2, 0x1a, 2, 0x28, 0]),
        (with(&[]), &[0x12, 2, 0x18, 2, 0x2a, 3, 0x12, 1, 1]),
        (with(&[("aa", -9.0, 1), ("aaa", -9.0, 1)]), BPE),
    ] {
        table.push(refusal(&pieces, more).err().unwrap_or("nothing more".into()));
    }
    let _guard = snapshots();
    insta::assert_snapshot!("tokenizer_model_refusals", table.join("\n"));
}

/// Writes a damaged copy of a small tokenizer and uses it.
fn damaged(file: &str, name: &str, changes: &[(usize, u8)], keep: usize) {
    let mut bytes = fs::read(file).expect("committed");
    let length = bytes.len();
    for (at, byte) in changes {
        bytes[at % length] = *byte;
    }
    bytes.truncate(length - keep % length);
    let folder = tempfile::tempdir().expect("scratch folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    // Any outcome but a panic will do.
    let _ = used(&path);
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_damaged_model_file_never_panics(changes in changes(), cut in prop_oneof![Just(0_usize), any::<usize>()]) {
        for file in ["tiny", "squeezed"] {
            damaged(&format!("golden/tokenizers/{file}/tokenizer.model"), "x.model", &changes, cut);
        }
    }

    #[test]
    fn a_damaged_json_file_never_panics(
        changes in proptest::collection::vec((any::<usize>(), "[0-9a-z\"{}\\[\\],:]"), 1..3)
    ) {
        let changes: Vec<_> = changes.into_iter().map(|(at, text)| (at, text.as_bytes()[0])).collect();
        damaged("golden/tokenizers/tiny/tokenizer.json", "tokenizer.json", &changes, 0);
        damaged("golden/tokenizers/bytes/tokenizer.json", "tokenizer.json", &changes, 0);
    }
}
