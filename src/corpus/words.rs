//! The words of a text as overlap and duplicates count them: case, punctuation and typography do
//! not matter.
//!
//! A word is a run of letters and digits after NFKC and lower-casing; characters without width
//! (soft hyphen, zero-width space, byte order mark) are taken out first, so that they cannot hide
//! a copy. A language written without blanks has one "word" per clause: copies of whole clauses are
//! found there, shorter ones are not.

use std::borrow::Cow;

use crate::exam::normalized;

/// Returns `text` in the form whose words count.
pub(super) fn folded(text: &str) -> String {
    if text.is_ascii() {
        // What NFKC and lower-casing make of ASCII, without the detour.
        return text.to_ascii_lowercase();
    }
    let visible: Cow<'_, str> = match text.contains(has_no_width) {
        true => Cow::Owned(text.replace(has_no_width, "")),
        false => Cow::Borrowed(text),
    };
    normalized(&visible)
}

/// Returns the words of a [`folded`] text, in order.
pub(super) fn words(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn has_no_width(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        words(&folded(text)).map(str::to_owned).collect()
    }

    #[test]
    fn case_punctuation_and_typography_do_not_matter() {
        let plain = of("a 45 year old man s blood pressure is 140 90 mm hg");
        assert_eq!(of("A 45-year-old man’s blood pressure is 140/90 mm Hg."), plain);
        assert_eq!(
            of("A 45\u{2011}year\u{2011}old ｍａｎ's\tblood\u{a0}pressure\nis (140/90 mm Hg)"),
            plain
        );
    }

    #[test]
    fn characters_without_width_hide_nothing() {
        assert_eq!(of("hyper\u{ad}ten\u{200b}sion\u{feff}"), ["hypertension"]);
    }

    #[test]
    fn ascii_takes_the_same_way_as_everything_else() {
        let text = "It's 3.5 mg/dL, i.e. LOW";
        assert_eq!(folded(text).split_whitespace().collect::<Vec<_>>().join(" "), normalized(text));
    }
}
