//! Turns a SentencePiece vocabulary into the BPE model of the tokenizers library.
//!
//! SentencePiece merges the adjacent pair whose union has the highest score, the leftmost of
//! equals. The library merges by rank of the pair, so every split of every piece into two pieces
//! becomes a merge, ranked by score, then by the longer left part, then by the longer right part
//! (the order transformers 4 used for LLaMA's published `tokenizer.json`; transformers 5 ranks by
//! id instead and so joins the runs of spaces, whose scores are the lowest, first).
//!
//! Where ranks cannot say the same as scores, the vocabulary is refused by name:
//! - two pieces of equal score, unless both are runs of one character, where both rules merge
//!   from the left;
//! - a piece with a character that is no piece itself, which only SentencePiece could build.

use std::{collections::HashMap, path::Path};

use tokenizers::models::bpe::{BPE, Vocab};

use super::{
    TokenizerError,
    guard::fenced,
    proto::{Kind, Model, Piece},
};

/// Returns the BPE model that encodes as `model` does; `path` is named in errors only.
///
/// # Errors
///
/// [`TokenizerError::Unsupported`] if ranked merges cannot say the same.
pub(super) fn bpe(model: &Model, path: &Path) -> Result<BPE, TokenizerError> {
    let unsupported = |what: String| TokenizerError::Unsupported { path: path.to_owned(), what };
    let mut ids = HashMap::with_capacity(model.pieces.len());
    for (id, piece) in (0_u32..).zip(&model.pieces) {
        if ids.insert(&*piece.text, id).is_some() {
            return Err(unsupported(format!("the piece `{}` twice", piece.text)));
        }
    }
    let unknown = model.pieces.iter().find(|piece| piece.kind == Kind::Unknown);
    let unknown = unknown.ok_or_else(|| unsupported("a vocabulary without `<unk>`".into()))?;
    if model.trainer.byte_fallback {
        let missing = (0..=u8::MAX).map(byte_piece).find(|byte| !ids.contains_key(&**byte));
        if let Some(byte) = missing {
            return Err(unsupported(format!("byte fallback without `{byte}`")));
        }
    }
    let merges = merges(model).map_err(unsupported)?;
    // Control and user-defined pieces are matched before, never built out of characters.
    let vocabulary: Vocab = model
        .pieces
        .iter()
        .filter(|piece| matches!(piece.kind, Kind::Normal | Kind::Unknown | Kind::Byte))
        .map(|piece| (piece.text.clone(), ids[&*piece.text]))
        .collect();
    fenced("build the BPE model", || {
        BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .unk_token(unknown.text.clone())
            .fuse_unk(true)
            .byte_fallback(model.trainer.byte_fallback)
            .build()
    })
}

/// Returns the piece that stands for one byte.
fn byte_piece(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// Returns the ranked merges, or what forbids ranking.
fn merges(model: &Model) -> Result<Vec<(String, String)>, String> {
    let normal = || (0_u32..).zip(&model.pieces).filter(|(_, piece)| piece.kind == Kind::Normal);
    let ids: HashMap<&str, u32> = normal().map(|(id, piece)| (&*piece.text, id)).collect();
    unequal_scores(normal().map(|(_, piece)| piece))?;
    let mut found = Vec::new();
    for (_, piece) in normal() {
        let mut character = [0; 4];
        let outside =
            piece.text.chars().find(|c| !ids.contains_key(&*c.encode_utf8(&mut character)));
        if let Some(outside) = outside.filter(|_| piece.text.chars().nth(1).is_some()) {
            return Err(format!("the piece `{}` without a piece `{outside}`", piece.text));
        }
        let length = piece.text.chars().count();
        for (characters, (at, _)) in piece.text.char_indices().enumerate().skip(1) {
            let (left, right) = piece.text.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                found.push((piece.score, characters, length - characters, left, right));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
    Ok(found.into_iter().map(|(.., left, right)| (left.to_owned(), right.to_owned())).collect())
}

/// Refuses two pieces of equal score whose order of merging would depend on their position.
fn unequal_scores<'a>(pieces: impl Iterator<Item = &'a Piece>) -> Result<(), String> {
    let mut seen: HashMap<u32, &str> = HashMap::new();
    for piece in pieces.filter(|piece| piece.text.chars().nth(1).is_some()) {
        // Adding 0 makes -0 and 0 the same bits.
        let Some(earlier) = seen.insert((piece.score + 0.0).to_bits(), &piece.text) else {
            continue;
        };
        let first = piece.text.chars().next();
        if earlier.chars().chain(piece.text.chars()).any(|c| Some(c) != first) {
            return Err(format!(
                "the equal scores of the pieces `{earlier}` and `{}` told apart by position",
                piece.text
            ));
        }
    }
    Ok(())
}
