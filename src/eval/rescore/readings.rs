//! Every answer under every rule, and what the rules make of them side by side.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    exam::Letter,
    models::{Mark, Options, Recorded},
    protocol::{Outcome, Reading, RuleId, RuleReading, read, repetition},
    stats::cohen_kappa,
    store::{Proportion, reason_name},
};

/// How one rule reads the answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleResult {
    /// The rule.
    pub rule: RuleId,
    /// Why the rule cannot be applied to these answers; null if it can.
    pub not_applicable: Option<String>,
    /// Answers by the letter read, silent defaults included.
    pub letters: BTreeMap<Letter, usize>,
    /// Answers in which no option is read, by reason.
    pub unparsed_by_reason: BTreeMap<String, usize>,
    /// Answers that returned a letter although nothing matched.
    pub defaults: usize,
    /// The counts behind the accuracies; null without right answers, or where not applicable.
    pub counts: Option<Counts>,
    /// Right of all: unparsed and missing count as wrong.
    pub strict: Option<Proportion>,
    /// Right of those in which an option is read.
    pub parsed_only: Option<Proportion>,
    /// Were every unparsed and missing reply wrong, and were every one right.
    pub bounds: Option<[Proportion; 2]>,
    /// The letter stated is right, whatever the text beside it, of all.
    pub letter: Option<Proportion>,
    /// Right of all if silent defaults count as wrong; null if the rule has none.
    pub without_defaults: Option<Proportion>,
    /// How often the rule agrees with what the file itself says of a reply; null if it says nothing.
    pub as_marked: Option<Marked>,
}

/// Answers with a known right letter, each in exactly one place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All of them: the sum of the next four.
    pub asked: usize,
    /// The option read is the right one.
    pub right: usize,
    /// Another option is read.
    pub wrong: usize,
    /// No option is read.
    pub unparsed: usize,
    /// There is no reply to read.
    pub missing: usize,
    /// Of `right`, by silent default.
    pub right_by_default: usize,
}

/// Agreement with a file's own marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Marked {
    /// Answers on which the rule and the mark say the same.
    pub same: usize,
    /// Answers that can be compared.
    pub of: usize,
}

/// How far two rules read the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// The two rules.
    pub rules: [RuleId; 2],
    /// Replies read by both.
    pub replies: usize,
    /// Of these, with the same option, or with none under either.
    pub same: usize,
    /// Cohen's kappa over the option read, none being a label too; null where both always give one
    /// and the same.
    pub kappa: Option<f64>,
    /// Right under the first alone.
    pub first_only_right: usize,
    /// Right under the second alone.
    pub second_only_right: usize,
}

/// An answer that two rules read differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flip {
    /// The answer.
    pub id: String,
    /// Its attempt.
    pub attempt: u32,
    /// The right letter.
    pub gold: Option<Letter>,
    /// Rule by rule: the letter, `A by default`, or the reason why none is read.
    pub readings: BTreeMap<RuleId, String>,
}

/// What a file itself says of its answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Marks {
    /// Marked right, or read as the right letter.
    pub right: usize,
    /// Answers with a mark.
    pub of: usize,
    /// Of these, those in which its scorer read nothing; null if it does not say.
    pub none_read: Option<usize>,
}

/// How many replies end in a loop, see [`repetition`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Loops {
    /// Of words.
    pub words: usize,
    /// Of characters without a blank.
    pub characters: usize,
}

/// Every answer under every rule.
pub(super) struct Readings<'a> {
    answers: &'a [&'a Recorded],
    rules: Vec<RuleId>,
    /// By rule, then by answer; `None` where there is no reply.
    read: Vec<Vec<Option<RuleReading>>>,
}

impl<'a> Readings<'a> {
    /// Reads every answer by every rule.
    pub(super) fn new(answers: &'a [&'a Recorded], rules: &[RuleId]) -> Self {
        let by = |rule: &RuleId| {
            let read = |answer: &&Recorded| {
                let reply = answer.reply.as_ref().ok()?;
                Some(read(*rule, &answer.question, reply, answer.finish_reason))
            };
            answers.iter().map(read).collect()
        };
        Self { answers, rules: rules.to_vec(), read: rules.iter().map(by).collect() }
    }

    /// Returns each rule's counts and accuracies.
    pub(super) fn results(&self) -> Vec<RuleResult> {
        self.rules.iter().zip(&self.read).map(|(rule, read)| self.result(*rule, read)).collect()
    }

    fn result(&self, rule: RuleId, read: &[Option<RuleReading>]) -> RuleResult {
        let not_applicable = self.not_applicable(rule);
        let applies = not_applicable.is_none();
        let mut result = RuleResult {
            rule,
            not_applicable,
            letters: BTreeMap::new(),
            unparsed_by_reason: BTreeMap::new(),
            defaults: 0,
            counts: None,
            strict: None,
            parsed_only: None,
            bounds: None,
            letter: None,
            without_defaults: None,
            as_marked: None,
        };
        let mut counts = Counts::default();
        let mut marked = Marked::default();
        let mut letters_right = 0;
        for (answer, read) in self.answers.iter().zip(read) {
            if let Some(RuleReading { reading, .. }) = read.filter(|_| applies) {
                match reading {
                    Reading::Unparsed { reason } => {
                        *result.unparsed_by_reason.entry(reason_name(reason)).or_default() += 1;
                    }
                    Reading::Letter { letter } | Reading::Default { letter } => {
                        *result.letters.entry(letter).or_default() += 1;
                    }
                }
                result.defaults += usize::from(is_default(reading));
            }
            if let Some(same) = agrees(answer, *read) {
                marked.of += 1;
                marked.same += usize::from(same);
            }
            if let Some(gold) = answer.gold {
                counts.count(*read, gold);
                letters_right += usize::from(read.is_some_and(|read| read.stated == Some(gold)));
            }
        }
        result.letter = Proportion::of(letters_right, counts.asked);
        if applies && counts.asked > 0 {
            let Counts { asked, right, wrong, unparsed, missing, right_by_default } = counts;
            result.counts = Some(counts);
            result.strict = Proportion::of(right, asked);
            result.parsed_only = Proportion::of(right, right + wrong);
            result.bounds = Proportion::of(right, asked)
                .zip(Proportion::of(right + unparsed + missing, asked))
                .map(|(low, high)| [low, high]);
            result.without_defaults =
                Proportion::of(right - right_by_default, asked).filter(|_| rule == RuleId::Mirage);
        }
        result.as_marked = Some(marked).filter(|marked| applies && marked.of > 0);
        result
    }

    /// Why a rule says nothing about these answers.
    fn not_applicable(&self, rule: RuleId) -> Option<String> {
        let unknown = self.answers.iter().filter(|a| a.options == Options::LettersOnly).count();
        (rule == RuleId::StrictV1 && unknown > 0).then(|| {
            format!("it compares texts, and the options of {unknown} answers are not recorded")
        })
    }

    /// Returns the agreement of each pair of rules that apply.
    pub(super) fn agreement(&self) -> Vec<Agreement> {
        let apply: Vec<usize> = (0..self.rules.len())
            .filter(|index| self.not_applicable(self.rules[*index]).is_none())
            .collect();
        let mut pairs = Vec::new();
        for (at, first) in apply.iter().enumerate() {
            for second in &apply[at + 1..] {
                pairs.extend(self.pair(*first, *second));
            }
        }
        pairs
    }

    fn pair(&self, first: usize, second: usize) -> Option<Agreement> {
        let label = |read: &Option<RuleReading>| read.map(|read| read.reading.letter());
        let labels = |rule: usize| self.read[rule].iter().filter_map(label).collect::<Vec<_>>();
        let (a, b) = (labels(first), labels(second));
        let kappa = cohen_kappa(&a, &b).ok()?;
        let mut agreement = Agreement {
            rules: [self.rules[first], self.rules[second]],
            replies: a.len(),
            same: a.iter().zip(&b).filter(|(a, b)| a == b).count(),
            kappa: kappa.value,
            first_only_right: 0,
            second_only_right: 0,
        };
        for (index, answer) in self.answers.iter().enumerate() {
            let right = |rule: usize| {
                let letter = self.read[rule][index].and_then(|read| read.reading.letter());
                answer.gold.is_some() && letter == answer.gold
            };
            match (right(first), right(second)) {
                (true, false) => agreement.first_only_right += 1,
                (false, true) => agreement.second_only_right += 1,
                _ => {}
            }
        }
        Some(agreement)
    }

    /// Returns the answers that two of the rules that apply read differently.
    pub(super) fn flips(&self) -> Vec<Flip> {
        let rules: Vec<usize> = (0..self.rules.len())
            .filter(|index| self.not_applicable(self.rules[*index]).is_none())
            .collect();
        let mut flips = Vec::new();
        for (index, answer) in self.answers.iter().enumerate() {
            let read: Vec<(RuleId, Reading)> = rules
                .iter()
                .filter_map(|rule| Some((self.rules[*rule], self.read[*rule][index]?.reading)))
                .collect();
            let differs = read.windows(2).any(|pair| pair[0].1.letter() != pair[1].1.letter());
            if differs {
                flips.push(Flip {
                    id: answer.id.clone(),
                    attempt: answer.attempt,
                    gold: answer.gold,
                    readings: read.into_iter().map(|(rule, read)| (rule, shown(read))).collect(),
                });
            }
        }
        flips
    }
}

impl Counts {
    fn count(&mut self, read: Option<RuleReading>, gold: Letter) {
        self.asked += 1;
        let Some(RuleReading { reading, .. }) = read else {
            self.missing += 1;
            return;
        };
        match reading.outcome(gold) {
            Outcome::Correct => {
                self.right += 1;
                self.right_by_default += usize::from(is_default(reading));
            }
            Outcome::Wrong => self.wrong += 1,
            Outcome::Unparsed { .. } => self.unparsed += 1,
            Outcome::Errored => self.missing += 1,
        }
    }
}

/// Returns what the file itself says of these answers, `None` if it says nothing.
pub(super) fn marks(answers: &[&Recorded]) -> Option<Marks> {
    let mut marks = Marks::default();
    for answer in answers {
        match answer.mark {
            Some(Mark::Right(right)) => marks.right += usize::from(right),
            Some(Mark::Letter(letter)) => {
                marks.right += usize::from(letter.is_some() && letter == answer.gold);
                *marks.none_read.get_or_insert(0) += usize::from(letter.is_none());
            }
            None => continue,
        }
        marks.of += 1;
    }
    (marks.of > 0).then_some(marks)
}

/// Returns how many of these replies end in a loop.
pub(super) fn loops(answers: &[&Recorded]) -> Loops {
    let mut loops = Loops::default();
    for answer in answers {
        if let Some(found) = answer.reply.as_deref().ok().and_then(repetition) {
            match found.is_of_words() {
                true => loops.words += 1,
                false => loops.characters += 1,
            }
        }
    }
    loops
}

/// Whether a rule and the file's own mark say the same; `None` if they cannot be compared.
///
/// A letter is compared as the rule's source returns it, offered by the question or not.
fn agrees(answer: &Recorded, read: Option<RuleReading>) -> Option<bool> {
    match answer.mark? {
        Mark::Letter(marked) => {
            Some(read.and_then(|read| read.picked) == marked.map(Letter::as_char))
        }
        Mark::Right(right) => {
            let letter = read.and_then(|read| read.reading.letter());
            answer.gold.map(|gold| (letter == Some(gold)) == right)
        }
    }
}

fn is_default(reading: Reading) -> bool {
    matches!(reading, Reading::Default { .. })
}

fn shown(reading: Reading) -> String {
    match reading {
        Reading::Letter { letter } => letter.to_string(),
        Reading::Default { letter } => format!("{letter} by default"),
        Reading::Unparsed { reason } => reason_name(reason),
    }
}
