//! Text as it is generated, token by token.
//!
//! A token may end in the middle of a character, and its text may depend on the one before, so
//! text is handed out only when it is settled.

use super::{Special, Tokenizer, TokenizerError};

/// Decodes one reply while it grows.
///
/// The pieces handed out, with [`TextStream::finish`], add up to [`Tokenizer::decode`] of all the
/// ids. One exception: where a `tokenizer.json` with byte fallback meets bytes that are no UTF-8,
/// the library replaces the whole run of bytes, the stream only what was not handed out before.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// First id that the text of the next one may depend on.
    from: usize,
    /// Text of `ids[from..]` that has been handed out, in bytes.
    done: usize,
}

impl<'a> TextStream<'a> {
    /// Starts an empty reply.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), from: 0, done: 0 }
    }

    /// Adds a token and returns the text that is now settled, often empty.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids[self.from..], Special::Skip)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        let new = text.get(self.done..).unwrap_or_default().to_owned();
        // What follows is decoded behind the last token, not as the start of a text; a token that
        // alone is half a character, or nothing but space, is no such hold.
        let last = self.tokenizer.decode(&[id], Special::Skip)?;
        let holds = !last.contains(char::REPLACEMENT_CHARACTER) && !last.trim().is_empty();
        if holds {
            self.from = self.ids.len() - 1;
        }
        self.done = if holds { last.len() } else { text.len() };
        Ok(new)
    }

    /// Returns the rest: an unfinished character as U+FFFD, one for each byte.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String, TokenizerError> {
        let text = self.tokenizer.decode(&self.ids[self.from..], Special::Skip)?;
        Ok(text.get(self.done..).unwrap_or_default().to_owned())
    }
}
