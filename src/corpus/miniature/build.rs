//! Everything the miniature study is made of, drawn from one seed.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Facts, Item, Stage, Taught, draw, items, meadow, pretraining, runs::ExamRuns};
use crate::{
    corpus::{Rendered, Row, Template},
    exam::jsonl,
    stats::{Generator, Seed},
};

/// Texts and items of the miniature study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miniature {
    /// The exam: 120 items and more for each step, besides those with an image.
    pub exam: Vec<Item>,
    /// Items for choosing a recipe; wordings that neither exam nor training data have.
    pub validation: Vec<Item>,
    /// The Medical Meadow in miniature.
    pub meadow: Vec<Row>,
    /// General, non-medical instruction data.
    pub alpaca: Vec<Row>,
    /// The pre-training text, stage after stage.
    pub pretraining: Vec<Stage>,
}

/// How an item's fact is taught: a line of the file beside an exam.
#[derive(Serialize)]
struct TaughtLine<'a> {
    id: &'a str,
    topic: &'a str,
    subject: &'a str,
    taught: Taught,
}

impl Miniature {
    /// The seed of the committed files.
    pub const SEED: Seed = Seed(1);

    /// Draws everything from `seed`; each part has a sequence of its own.
    pub fn new(seed: Seed) -> Self {
        let (medical, general) = (Facts::medical(), Facts::general());
        let part = |name: &str| Generator::new(seed.derive(name, 0));
        let taught = items::taught(&medical, &mut part("mini/taught"));
        let exam = items::exam(&taught, &mut part("mini/exam"));
        let runs = ExamRuns::new(&exam);
        Self {
            validation: items::validation(&taught, &mut part("mini/validation")),
            meadow: meadow::meadow(&taught, &general, &runs, &mut part("mini/meadow")),
            alpaca: meadow::alpaca(&general, &runs, &mut part("mini/alpaca")),
            pretraining: pretraining::stages(
                &medical,
                &general,
                &runs,
                &mut part("mini/pretraining"),
            ),
            exam,
        }
    }

    /// Returns every text that a tokenizer is learnt from: the pre-training text, a prompt, and the
    /// wordings in which fine-tuning asks, with the subject of every fact.
    ///
    /// However many rows the training data have, the tokenizer is the same.
    pub fn tokenizer_texts(&self) -> Vec<String> {
        let documents = self.pretraining.iter().flat_map(Stage::documents);
        let mut texts: Vec<String> = documents.map(|document| document.text.clone()).collect();
        let row = Row { instruction: draw::CHOOSE.to_owned(), ..Row::default() };
        let Rendered { prompt, .. } = Template::Medalpaca.render(&row);
        for facts in [Facts::medical(), Facts::general()] {
            for (topic, fact) in facts.each() {
                let (asked, _) = items::held_out(&topic.ask);
                let wordings = asked.iter().chain(&topic.card);
                texts.extend(wordings.map(|wording| wording.replace("{subject}", &fact.subject)));
                texts.push(prompt.clone() + draw::ANSWER_PREFIX);
            }
        }
        texts
    }

    /// Returns the documents of the pre-training text, each once, an empty line between them.
    pub fn text(&self) -> String {
        let documents = self.pretraining.iter().flat_map(Stage::documents);
        let texts: Vec<&str> = documents.map(|document| document.text.as_str()).collect();
        texts.join("\n\n") + "\n"
    }

    /// Returns the files of the study: name and content. `SHA256SUMS` is the last one.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let mut files = vec![
            ("exam.jsonl", jsonl::write(self.exam.iter().map(|item| &item.question))),
            ("exam_taught.jsonl", taught(&self.exam)),
            ("validation.jsonl", jsonl::write(self.validation.iter().map(|item| &item.question))),
            ("validation_taught.jsonl", taught(&self.validation)),
            ("meadow.jsonl", lines(&self.meadow)),
            ("alpaca.jsonl", lines(&self.alpaca)),
            ("pretraining.txt", self.text()),
        ];
        let sum = |(name, text): &(&str, String)| {
            let digest = Sha256::digest(text.as_bytes());
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}  {name}\n")
        };
        let sums = files.iter().map(sum).collect();
        files.push(("SHA256SUMS", sums));
        files
    }
}

fn taught(items: &[Item]) -> String {
    fn line(item: &Item) -> TaughtLine<'_> {
        TaughtLine {
            id: &item.question.id.0,
            topic: &item.topic,
            subject: &item.subject,
            taught: item.taught,
        }
    }
    lines(&items.iter().map(line).collect::<Vec<_>>())
}

fn lines<T: Serialize>(items: &[T]) -> String {
    let line = |item| serde_json::to_string(item).expect("texts are always JSON") + "\n";
    items.iter().map(line).collect()
}
