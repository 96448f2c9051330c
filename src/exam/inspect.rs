//! The defects that can be seen whatever the format: per question, then between questions.

use std::collections::HashMap;

use super::{
    Choice, Defect, Finding, Letter, Place, Question, QuestionId, entry::Entry, normalized,
};

/// Returns every defect of `entries`.
pub(super) fn findings(entries: &[Entry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in entries {
        one(entry, &mut findings);
    }
    repeated_ids(entries, &mut findings);
    repeated_questions(entries, &mut findings);
    findings
}

/// What is wrong with one question by itself.
fn one(entry: &Entry, findings: &mut Vec<Finding>) {
    let Question { id, text, options, answer, .. } = &entry.question;
    let mut found = |place: &Place, defect| {
        findings.push(Finding::new(Some(id), place.clone(), defect));
    };
    if text.trim().is_empty() {
        found(&entry.text_place, Defect::EmptyQuestion);
    }
    let place = &entry.options_place;
    if options.len() < 2 {
        found(place, Defect::TooFewOptions { count: options.len() });
    }
    if !options.iter().any(|choice| choice.letter == *answer) {
        let defect = Defect::AnswerNotOffered { answer: *answer, offered: letters(options) };
        found(&entry.answer_place, defect);
    }
    let in_order = options.iter().enumerate();
    let is_contiguous = in_order.clone().all(|(index, choice)| choice.letter.index() == index);
    let mut is_repeated = false;
    for (index, choice) in in_order {
        let letter = choice.letter;
        let before = &options[..index];
        if before.iter().any(|other| other.letter == letter) {
            is_repeated = true;
            found(place, Defect::OptionRepeated { letter });
        }
        if choice.text.trim().is_empty() {
            found(place, Defect::EmptyOption { letter });
        } else if is_placeholder(&choice.text) {
            found(place, Defect::PlaceholderOption { letter, text: choice.text.clone() });
        }
    }
    if !is_contiguous && !is_repeated {
        found(place, Defect::LettersNotContiguous { letters: letters(options) });
    }
    for (first, second) in same_texts(options) {
        found(place, Defect::SameOptionText { first, second });
    }
    let labels = options.iter().filter(|choice| is_label(&choice.text));
    let labels: Vec<Choice> = labels.cloned().collect();
    if labels.len() > 1 {
        found(place, Defect::OptionsAreLabels { letters: letters(&labels) });
    }
}

/// Texts that stand for an option which was lost. Found in the 2023 files: "Another labeled cell,
/// etc." and "Type I pneumocyte (for example)".
fn is_placeholder(text: &str) -> bool {
    let text = normalized(text);
    let words: Vec<&str> = text.split(' ').collect();
    let is_numbered =
        matches!(words[..], ["option" | "choice" | "answer", name] if name.len() == 1);
    let stand_in =
        ["n/a", "tbd", "todo", "placeholder", "option", "missing", "unknown option", "null", "nan"];
    is_numbered
        || stand_in.contains(&text.as_str())
        || text.ends_with("etc.")
        || text.ends_with("(for example)")
        || text.contains("lorem ipsum")
        || text.chars().all(|c| c.is_ascii_punctuation() && !"+-<>=".contains(c))
}

/// Whether `text` is one capital letter.
fn is_label(text: &str) -> bool {
    super::json::letter(text.trim()).is_some()
}

/// Pairs of options with one text, each with the first that has it.
fn same_texts(options: &[Choice]) -> Vec<(Letter, Letter)> {
    let mut first = HashMap::new();
    let mut pairs = Vec::new();
    for choice in options.iter().filter(|choice| !choice.text.trim().is_empty()) {
        let text = normalized(&choice.text);
        let known = *first.entry(text).or_insert(choice.letter);
        if known != choice.letter {
            pairs.push((known, choice.letter));
        }
    }
    pairs
}

fn letters(options: &[Choice]) -> String {
    options.iter().map(|choice| choice.letter.as_char()).collect()
}

fn repeated_ids(entries: &[Entry], findings: &mut Vec<Finding>) {
    let mut first: HashMap<&QuestionId, &Place> = HashMap::new();
    for entry in entries {
        let id = &entry.question.id;
        match first.get(id) {
            None => {
                first.insert(id, &entry.id_place);
            }
            Some(place) => {
                let defect =
                    Defect::DuplicateId { first_file: place.file.clone(), first_line: place.line };
                findings.push(Finding::new(Some(id), entry.id_place.clone(), defect));
            }
        }
    }
}

/// A question in the form in which it is compared with others.
struct Compared<'a> {
    question: &'a Question,
    options: Vec<String>,
    answer: Option<String>,
}

impl<'a> Compared<'a> {
    fn new(question: &'a Question) -> Self {
        let mut options: Vec<String> =
            question.options.iter().map(|choice| normalized(&choice.text)).collect();
        options.sort_unstable();
        Self { question, options, answer: question.option(question.answer).map(normalized) }
    }
}

fn repeated_questions(entries: &[Entry], findings: &mut Vec<Finding>) {
    let mut groups: HashMap<String, Vec<Compared<'_>>> = HashMap::new();
    for entry in entries {
        let text = normalized(&entry.question.text);
        if text.is_empty() {
            continue;
        }
        let group = groups.entry(text).or_default();
        let this = Compared::new(&entry.question);
        let twin = group.iter().find(|other| other.options == this.options);
        if let Some(other) = twin.or(group.first()) {
            let of = other.question.id.clone();
            let same_answer = other.answer == this.answer;
            let defect = if other.options == this.options {
                let exact = other.question.text == this.question.text
                    && other.question.options == this.question.options;
                Defect::Duplicate { of, exact, same_answer }
            } else {
                Defect::SameQuestion { of, same_answer }
            };
            let place = entry.text_place.clone();
            findings.push(Finding::new(Some(&this.question.id), place, defect));
        }
        group.push(this);
    }
}
