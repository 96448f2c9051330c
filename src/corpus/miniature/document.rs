//! A document of the pre-training text, and which of its parts are learnt.

use std::ops::Range;

/// A text with the parts of it that enter the loss.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Document {
    /// The text.
    pub text: String,
    /// Bytes of it that are learnt, ascending.
    pub learnt: Vec<Range<usize>>,
}

impl Document {
    /// Returns a document that is learnt whole.
    pub fn whole(text: String) -> Self {
        let learnt = std::iter::once(0..text.len()).collect();
        Self { text, learnt }
    }

    /// Adds a part that is only read.
    #[must_use]
    pub fn read(mut self, part: &str) -> Self {
        self.text += part;
        self
    }

    /// Adds a part that is learnt.
    #[must_use]
    pub fn learn(mut self, part: &str) -> Self {
        let start = self.text.len();
        self.text += part;
        self.learnt.push(start..self.text.len());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_say_which_bytes_are_learnt() {
        let document = Document::default().read("A list:").learn(" B").read(", ").learn(" A");
        assert_eq!(document.text, "A list: B,  A");
        assert_eq!(document.learnt, [7..9, 11..13]);
        assert_eq!(Document::whole("ab".into()).learnt.first(), Some(&(0..2)));
    }
}
