//! Cloze notes of Anki: `{{c1::answer::hint}}`, one in another too.
//!
//! As Anki has it, the first `::` of a gap's own text begins its hint. Single braces inside a gap are
//! counted, so that `{{c1::\frac{1}{2}}}` ends with its last two; braces behind a `\` are text.

/// A note with its gaps open, and filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cloze {
    pub(super) open: String,
    pub(super) filled: String,
}

/// Gaps and braces do not close as they open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unbalanced;

#[derive(Default)]
struct Gap {
    answer: String,
    hint: Option<String>,
    /// Braces open inside.
    braces: usize,
}

/// Returns the two forms of a note; `None` for a text without gaps.
pub(super) fn cloze(text: &str) -> Result<Option<Cloze>, Unbalanced> {
    let mut note = Cloze { open: String::new(), filled: String::new() };
    let (mut gaps, mut braces, mut is_cloze): (Vec<Gap>, usize, bool) = Default::default();
    let (mut rest, mut has_stray_end) = (text, false);
    while let Some(next) = rest.chars().next() {
        if let Some(behind) = opening(rest) {
            is_cloze = true;
            gaps.push(Gap::default());
            rest = behind;
            continue;
        }
        let depth = gaps.last_mut().map_or(&mut braces, |gap| &mut gap.braces);
        let mut length = next.len_utf8();
        match next {
            '\\' if rest[1..].starts_with(['{', '}']) => length = 2,
            '{' => *depth += 1,
            '}' if *depth > 0 => *depth -= 1,
            '}' if rest.starts_with("}}") => {
                if let Some(gap) = gaps.pop() {
                    note.close(gap, gaps.last_mut());
                    rest = &rest[2..];
                    continue;
                }
                has_stray_end = true;
            }
            ':' if rest.starts_with("::") => {
                if let Some(gap) = gaps.last_mut().filter(|gap| gap.hint.is_none()) {
                    gap.hint = Some(String::new());
                    rest = &rest[2..];
                    continue;
                }
            }
            _ => {}
        }
        let (text, behind) = rest.split_at(length);
        match gaps.last_mut() {
            Some(gap) => gap.hint.as_mut().unwrap_or(&mut gap.answer).push_str(text),
            None => {
                note.open.push_str(text);
                note.filled.push_str(text);
            }
        }
        rest = behind;
    }
    match is_cloze {
        true if has_stray_end || !gaps.is_empty() => Err(Unbalanced),
        is_cloze => Ok(is_cloze.then_some(note)),
    }
}

impl Cloze {
    /// Takes a gap that ends; inside another one it is a part of that one's answer.
    fn close(&mut self, gap: Gap, around: Option<&mut Gap>) {
        match around {
            Some(around) => {
                around.hint.as_mut().unwrap_or(&mut around.answer).push_str(&gap.answer)
            }
            None => {
                let hint = gap.hint.as_deref().unwrap_or("...");
                self.open.push_str(&format!("[{hint}]"));
                self.filled.push_str(&gap.answer);
            }
        }
    }
}

/// What follows `{{c1::` (`{{c1,2::` too), if `text` begins so.
fn opening(text: &str) -> Option<&str> {
    let numbers = text.strip_prefix("{{c")?;
    let behind = numbers.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',');
    let is_numbered = numbers.starts_with(|c: char| c.is_ascii_digit());
    behind.strip_prefix("::").filter(|_| is_numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(String, String)> {
        cloze(text).expect("balanced").map(|note| (note.open, note.filled))
    }

    #[test]
    fn gaps_are_opened_and_filled() {
        let both = |open: &str, filled: &str| Some((open.to_owned(), filled.to_owned()));
        assert_eq!(of("no {{gap}} here::"), None);
        assert_eq!(of("{{c1::a::b::c}}"), both("[b::c]", "a"));
        assert_eq!(of("{{c1::}}{{x}}"), both("[...]{{x}}", "{{x}}"));
        assert_eq!(of("{{c1::{{c2::a::h}} b::i {{c3::j}}}}"), both("[i j]", "a b"));
        assert_eq!(of(r"{{c1::\{a, {b}\}}} }"), both("[...] }", r"\{a, {b}\} }"));
        for broken in ["{{c1::a", "{{c1::a}", "{{c1::{a}}", "{{c1::a}}}}"] {
            assert_eq!(cloze(broken), Err(Unbalanced), "{broken}");
        }
        assert_eq!(of(&"{{c".repeat(300_000)), None);
    }
}
