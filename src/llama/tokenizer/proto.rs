//! Reads `tokenizer.model`: the SentencePiece model file, a protocol buffer.
//!
//! Only what encoding needs is kept. Every length is checked against the bytes that are left, so
//! a damaged file is an error with its position, never a panic or a large allocation.
//! Field numbers: `sentencepiece_model.proto` of google/sentencepiece 0.2.

use std::path::Path;

use super::TokenizerError;

/// A SentencePiece model, as stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    /// The vocabulary; a piece's position is its id.
    pub(super) pieces: Vec<Piece>,
    pub(super) trainer: Trainer,
    pub(super) normalizer: Normalizer,
    /// Whether decoding changes text by a table.
    pub(super) denormalizes: bool,
}

/// One entry of the vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// Higher merges first.
    pub(super) score: f32,
    pub(super) kind: Kind,
}

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    /// `<s>` and the like: never the result of encoding a text.
    Control,
    /// Always one token wherever it occurs in a text.
    UserDefined,
    Unused,
    /// `<0x00>` to `<0xFF>`.
    Byte,
}

/// How the model was trained, as far as it matters for using it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trainer {
    /// 1 unigram, 2 BPE, 3 word, 4 character.
    pub(super) model_type: u64,
    pub(super) whitespace_as_suffix: bool,
    pub(super) byte_fallback: bool,
    pub(super) bos: String,
    pub(super) eos: String,
    pub(super) pad: String,
}

/// What happens to a text before it is split.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Normalizer {
    pub(super) name: String,
    /// Whether a table of replacements (NFKC and the like) is applied.
    pub(super) has_charsmap: bool,
    pub(super) dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    pub(super) escape_whitespaces: bool,
}

/// Reads a model out of the bytes of the file at `path`, which is named in errors only.
///
/// # Errors
///
/// [`TokenizerError::Proto`] with the position of what is wrong.
pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Model, TokenizerError> {
    model(bytes).map_err(|Bad { offset, what }| TokenizerError::Proto {
        path: path.to_owned(),
        offset,
        what,
    })
}

/// What is wrong, and where in the file.
struct Bad {
    offset: usize,
    what: &'static str,
}

fn model(bytes: &[u8]) -> Result<Model, Bad> {
    let mut model = Model {
        pieces: Vec::new(),
        // The defaults of `sentencepiece_model.proto`.
        trainer: Trainer {
            model_type: 1,
            whitespace_as_suffix: false,
            byte_fallback: false,
            bos: "<s>".into(),
            eos: "</s>".into(),
            pad: "<pad>".into(),
        },
        normalizer: Normalizer {
            name: String::new(),
            has_charsmap: false,
            dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        },
        denormalizes: false,
    };
    let mut message = Message { bytes, start: 0, at: 0 };
    while let Some((number, value)) = message.field()? {
        match number {
            1 => model.pieces.push(piece(value.message()?)?),
            2 => trainer(value.message()?, &mut model.trainer)?,
            3 => normalizer(value.message()?, &mut model.normalizer)?,
            5 => {
                let mut message = value.message()?;
                while let Some((number, value)) = message.field()? {
                    model.denormalizes |= number == 2 && !value.bytes()?.is_empty();
                }
            }
            _ => {}
        }
    }
    if model.pieces.is_empty() {
        return Err(Bad { offset: bytes.len(), what: "no vocabulary" });
    }
    Ok(model)
}

fn piece(mut message: Message<'_>) -> Result<Piece, Bad> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: Kind::Normal };
    while let Some((number, value)) = message.field()? {
        match number {
            1 => piece.text = value.string()?,
            2 => piece.score = value.float()?,
            3 => {
                piece.kind = match value.number()? {
                    1 => Kind::Normal,
                    2 => Kind::Unknown,
                    3 => Kind::Control,
                    4 => Kind::UserDefined,
                    5 => Kind::Unused,
                    6 => Kind::Byte,
                    _ => return Err(Bad { offset: value.offset, what: "unknown type of piece" }),
                }
            }
            _ => {}
        }
    }
    if piece.text.is_empty() {
        return Err(Bad { offset: message.start, what: "empty piece" });
    }
    if !piece.score.is_finite() {
        return Err(Bad { offset: message.start, what: "score that is no number" });
    }
    Ok(piece)
}

fn trainer(mut message: Message<'_>, trainer: &mut Trainer) -> Result<(), Bad> {
    while let Some((number, value)) = message.field()? {
        match number {
            3 => trainer.model_type = value.number()?,
            24 => trainer.whitespace_as_suffix = value.number()? != 0,
            35 => trainer.byte_fallback = value.number()? != 0,
            46 => trainer.bos = value.string()?,
            47 => trainer.eos = value.string()?,
            48 => trainer.pad = value.string()?,
            _ => {}
        }
    }
    Ok(())
}

fn normalizer(mut message: Message<'_>, normalizer: &mut Normalizer) -> Result<(), Bad> {
    while let Some((number, value)) = message.field()? {
        match number {
            1 => normalizer.name = value.string()?,
            2 => normalizer.has_charsmap = !value.bytes()?.is_empty(),
            3 => normalizer.dummy_prefix = value.number()? != 0,
            4 => normalizer.remove_extra_whitespaces = value.number()? != 0,
            5 => normalizer.escape_whitespaces = value.number()? != 0,
            _ => {}
        }
    }
    Ok(())
}

/// The fields of one message, in the order of the file.
struct Message<'a> {
    bytes: &'a [u8],
    /// Position of the message in the file.
    start: usize,
    at: usize,
}

/// The value of a field and its position in the file.
struct Value<'a> {
    offset: usize,
    wire: Wire<'a>,
}

enum Wire<'a> {
    Number(u64),
    Fixed32([u8; 4]),
    Fixed64,
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Returns the next field's number and value, `None` at the end.
    fn field(&mut self) -> Result<Option<(u64, Value<'a>)>, Bad> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let offset = self.start + self.at;
        let wire = match key & 7 {
            0 => Wire::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Wire::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self.take(4)?;
                Wire::Fixed32(bytes.try_into().expect("four bytes were taken"))
            }
            _ => return Err(self.bad("unknown wire type")),
        };
        let offset = match wire {
            Wire::Bytes(bytes) => self.start + self.at - bytes.len(),
            _ => offset,
        };
        Ok(Some((key >> 3, Value { offset, wire })))
    }

    fn varint(&mut self) -> Result<u64, Bad> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            // The tenth byte holds one bit; what would be shifted out is refused.
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.bad("number of more than 64 bits"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Bad> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| self.bad("field that runs over its end"))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn bad(&self, what: &'static str) -> Bad {
        Bad { offset: self.start + self.at, what }
    }
}

impl<'a> Value<'a> {
    fn number(&self) -> Result<u64, Bad> {
        match self.wire {
            Wire::Number(number) => Ok(number),
            _ => Err(self.wrong_type()),
        }
    }

    fn float(&self) -> Result<f32, Bad> {
        match self.wire {
            Wire::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.wrong_type()),
        }
    }

    fn bytes(&self) -> Result<&'a [u8], Bad> {
        match self.wire {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_type()),
        }
    }

    fn string(&self) -> Result<String, Bad> {
        let text = std::str::from_utf8(self.bytes()?);
        Ok(text
            .map_err(|_| Bad { offset: self.offset, what: "text that is not UTF-8" })?
            .to_owned())
    }

    fn message(&self) -> Result<Message<'a>, Bad> {
        Ok(Message { bytes: self.bytes()?, start: self.offset, at: 0 })
    }

    fn wrong_type(&self) -> Bad {
        Bad { offset: self.offset, what: "field of the wrong type" }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A piece `a` with score -1, hand-encoded.
    const ONE_PIECE: &[u8] = &[0x0a, 8, 0x0a, 1, b'a', 0x15, 0, 0, 0x80, 0xbf];

    #[test]
    fn a_hand_encoded_model_is_read() {
        let model = model(ONE_PIECE).ok().unwrap();
        let wanted = Piece { text: "a".into(), score: -1.0, kind: Kind::Normal };
        assert_eq!(model.pieces, [wanted]);
        assert_eq!(model.trainer.model_type, 1);
        assert!(model.normalizer.dummy_prefix);
    }

    #[test]
    fn damage_is_named_with_its_position() {
        let what = |bytes: &[u8]| model(bytes).err().map(|bad| (bad.offset, bad.what)).unwrap();
        assert_eq!(what(&[]), (0, "no vocabulary"));
        assert_eq!(what(&[0x0a, 9, 0x0a]), (2, "field that runs over its end"));
        assert_eq!(what(&[0x0b]), (1, "unknown wire type"));
        assert_eq!(what(&[0x08, 1]), (1, "field of the wrong type"));
        assert_eq!(what(&[0x0a, 0]), (2, "empty piece"));
        assert_eq!(what(&[0x0a, 3, 0x0a, 1, 0xff]), (4, "text that is not UTF-8"));
        assert_eq!(what(&[0x0a, 5, 0x0a, 1, b'a', 0x18, 9]), (6, "unknown type of piece"));
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(what(&huge).1, "number of more than 64 bits");
        let nan = [0x0a, 8, 0x0a, 1, b'a', 0x15, 0, 0, 0xc0, 0x7f];
        assert_eq!(what(&nan), (2, "score that is no number"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_model_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = model(&bytes);
        }

        #[test]
        fn a_damaged_model_never_panics(at in 0..ONE_PIECE.len(), byte in any::<u8>(), end in 0..=ONE_PIECE.len()) {
            let mut bytes = ONE_PIECE.to_vec();
            bytes[at] = byte;
            let _ = model(&bytes[..end]);
        }
    }
}
