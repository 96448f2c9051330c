//! OpenCompass' first-option rule: fifty forms in turn, and the first capital anywhere at the end.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use regex::Regex;

use super::{PYTHON_SPACE, RuleReading, python_strip, unread};
use crate::exam::Question;

/// The forms in the order they are tried, each on the whole text. `@` is one of the letters offered
/// and `_` is white space.
///
/// Two are as odd as in the source. A comma missing there fuses two forms into the one that needs
/// both `故选` and `只有选项`. After the first `1` and any one character, everything to the end is
/// searched for A, then for B, and so on.
const FORMS: [&str; 51] = [
    "答案是?_*(@)",
    "答案是?_*：_*(@)",
    "答案是?_*:_*(@)",
    "答案选项应?该?是_*(@)",
    "答案选项应?该?为_*(@)",
    "答案应该?是_*(@)",
    "答案应该?选_*(@)",
    "答案选项为?_*：_*(@)",
    r"答案选项为?_+\(?\*{0,2}(@)",
    "答案选项是?_*:_*(@)",
    "答案为_*(@)",
    "答案选_*(@)",
    "选择?_*(@)",
    "故选?_*(@)只有选?项?_?@_?是?对",
    "只有选?项?_?(@)_?是?错",
    "只有选?项?_?(@)_?不?正确",
    "只有选?项?_?(@)_?错误",
    "说法不?对选?项?的?是_?(@)",
    "说法不?正确选?项?的?是_?(@)",
    "说法错误选?项?的?是_?(@)",
    "(@)_?是正确的",
    "(@)_?是正确答案",
    "选项_?(@)_?正确",
    "所以答_?(@)",
    "所以_?(@)[.。$]?$",
    "所有_?(@)[.。$]?$",
    "(?:_|[，：:,])(@)[。，,.]?$",
    "(?:_|[，,：:])[故即](@)[。.]?$",
    "(?:_|[，,：:])因此(@)[。.]?$",
    "[是为。]_?(@)[。.]?$",
    "因此_?(@)[。.]?$",
    "显然_?(@)[。.]?$",
    r"答案是_?([^\s\x1c-\x1f]+)(?:。|$)",
    r"答案应该是_?([^\s\x1c-\x1f]+)(?:。|$)",
    r"答案为_?([^\s\x1c-\x1f]+)(?:。|$)",
    "(?i)answer_*:_*(@)",
    r"[Tt]he answer is:?_+\(?(@)",
    r"[Tt]he answer is:?_+\(?\*{0,2}(@)",
    r"[Tt]he answer is option:?_+\(?(@)",
    r"[Tt]he correct answer is:?_+\(?(@)",
    r"[Tt]he correct answer is option:?_+\(?(@)",
    r"[Tt]he correct answer is.*?boxed\{(@)\}",
    r"[Tt]he correct option is.*?boxed\{(@)\}",
    r"[Tt]he correct answer option is.*?boxed\{(@)\}",
    r"[Tt]he answer to the question is:?_+\(?(@)",
    "^选项_?(@)",
    "^(@)_?选?项",
    "^(@)(?:_|[。，,：:.$])",
    "1._?(.*)$",
    "(@):",
    "(@)",
];

/// Reads the first letter that one of the forms yields; with no other form, the first capital of
/// the reply that is an offered letter, so `Chronic bronchitis` is C.
///
/// Works for any set of letters, as the source does; its MedQA configuration passes `ABCD`.
///
/// Source: open-compass/opencompass a5acc4b, `opencompass/utils/text_postprocessors.py`,
/// `first_option_postprocess` with `cushion=True`. Forms are given without the parts that can
/// change no reading.
pub(super) fn opencompass(question: &Question, reply: &str) -> RuleReading {
    let letters: String = question.options.iter().map(|choice| choice.letter.as_char()).collect();
    let text = python_strip(reply);
    for form in compiled(&letters).iter() {
        let Some(found) = form.captures(text) else { continue };
        // A form may be found in a place without a letter; the search then goes on with the next.
        let part = found.get(1).filter(|part| !part.is_empty()).or(found.get(0));
        let part = part.map_or("", |part| part.as_str());
        if let Some(letter) = letters.chars().find(|letter| part.contains(*letter)) {
            return RuleReading::picked(question, letter);
        }
    }
    unread(reply)
}

/// The forms for one set of letters, compiled once.
fn compiled(letters: &str) -> Arc<Vec<Regex>> {
    static CACHE: LazyLock<Mutex<BTreeMap<String, Arc<Vec<Regex>>>>> =
        LazyLock::new(Mutex::default);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let forms = cache.entry(letters.to_owned()).or_insert_with(|| {
        let class = format!("[{letters}]");
        let form = |form: &&str| {
            let pattern = form.replace('_', PYTHON_SPACE).replace('@', &class);
            Regex::new(&format!("(?s){pattern}")).expect("constant but for capitals in a class")
        };
        Arc::new(FORMS.iter().map(form).collect())
    });
    Arc::clone(forms)
}
