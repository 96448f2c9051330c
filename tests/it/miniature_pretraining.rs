//! How the base models of the miniature study are made: tokenizer, curriculum, recipes.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use medharness::{
    corpus::{
        IGNORED,
        miniature::{Document, Facts, Miniature, Stage},
    },
    llama::tokenizer::{Tokenizer, learn, learnt_config},
    stats::Seed,
    train::{Begin, Dataset, Recipe, reading_order},
};
use serde_json::Value;

use crate::support::medharness;

fn miniature() -> &'static Miniature {
    static DRAWN: LazyLock<Miniature> = LazyLock::new(|| Miniature::new(Miniature::SEED));
    &DRAWN
}

/// A tokenizer learnt from the two documents that are asked for.
fn tokenizer(texts: &[&Document]) -> Tokenizer {
    let folder = tempfile::tempdir().expect("a folder");
    let file = learn(texts.iter().map(|document| document.text.repeat(3)), 400);
    let write = |name: &str, json: Value| {
        fs::write(folder.path().join(name), json.to_string()).expect("written");
    };
    write("tokenizer.json", file);
    write("tokenizer_config.json", learnt_config(64));
    Tokenizer::from_dir(folder.path()).expect("what was learnt is a tokenizer")
}

#[test]
fn only_the_named_parts_of_a_document_are_learnt_and_its_end_where_it_is() {
    let list = Document::default().read("A list:\nA: red\nB: blue\n blue").learn(" B").read(".");
    let whole = Document::whole("The capital of France is Paris.".into());
    let tokenizer = tokenizer(&[&list, &whole]);
    let dataset = Dataset::of_documents(&[&list, &whole], &tokenizer).unwrap();
    let learnt = |place: usize| -> Vec<String> {
        let labels = dataset.train[place].example.labels.iter();
        labels
            .filter(|label| **label != IGNORED)
            .map(|label| tokenizer.piece(u32::try_from(*label).unwrap()).unwrap())
            .collect()
    };
    assert_eq!(learnt(0), ["▁B"]);
    let last = learnt(1);
    assert_eq!(last.last().unwrap(), "</s>");
    assert_eq!(
        last[..last.len() - 1].concat().replace('▁', " "),
        " The capital of France is Paris."
    );
    assert_eq!(dataset.train[1].example.ids[0], 1, "BOS in front");
}

#[test]
fn a_curriculum_is_read_stage_after_stage() {
    let stages = &miniature().pretraining;
    let order = reading_order(stages, Seed(1));
    let expected: usize = stages.iter().map(|stage| stage.passes * stage.documents().count()).sum();
    assert_eq!(order.len(), expected);
    let first = &stages[0];
    let opening = &order[..first.kinds[0].len()];
    assert_ne!(opening[0], &first.kinds[0][0], "shuffled");
    assert!(opening.iter().all(|document| first.kinds[0].contains(document)));
    let again = reading_order(stages, Seed(1));
    assert_eq!(order, again);
    assert_ne!(order, reading_order(stages, Seed(2)));
}

/// What is learnt of a list that is read out is each letter's text; of a word that is asked for, the
/// letter in front of it.
#[test]
fn the_first_stages_teach_texts_of_letters_and_letters_of_words() {
    let stages = &miniature().pretraining;
    let learnt = |document: &Document| -> Vec<String> {
        document.learnt.iter().map(|part| document.text[part.clone()].trim().to_owned()).collect()
    };
    let letters_alone = |stage: &Stage| {
        for document in &stage.kinds[0] {
            let (asked, options) = document.text.split_once('\n').unwrap();
            let right: Vec<&str> =
                options.lines().filter(|line| line.ends_with(&format!(": {asked}"))).collect();
            let [letter] = &*learnt(document) else { panic!("{document:?}") };
            assert_eq!(right, [format!("{letter}: {asked}")], "{}", document.text);
        }
    };
    let read_out = |documents: &[Document]| {
        for document in documents {
            let parts: Vec<&str> = document.text.lines().collect();
            let (options, reading) = (&parts[1..parts.len() - 1], parts[parts.len() - 1]);
            let mut read: Vec<String> = reading
                .trim_matches([' ', ';'])
                .split("; ")
                .map(|part| part.replacen(", ", ": ", 1))
                .collect();
            read.sort();
            assert_eq!(read, options, "{}", document.text);
            let mut texts: Vec<&str> = options.iter().map(|line| &line[3..]).collect();
            let mut learnt = learnt(document);
            texts.sort_unstable();
            learnt.sort();
            assert_eq!(learnt, texts);
        }
    };
    for stage in &stages[..2] {
        read_out(&stage.kinds[0]);
    }
    for stage in &stages[2..4] {
        letters_alone(stage);
        read_out(&stage.kinds[1]);
    }
    let all = |place: usize, is: fn(&Document) -> bool| stages[place].documents().all(is);
    assert!(all(4, |document| document.text.contains("\nA")));
    assert!(!all(6, |document| document.text.contains('\n')), "paragraphs");
}

/// A medical fact is stated, never asked for: that is left to fine-tuning.
#[test]
fn no_question_of_the_pretraining_text_is_medical() {
    let medical = Facts::medical();
    let wordings: Vec<String> = medical
        .each()
        .flat_map(|(topic, fact)| {
            let wordings = topic.ask.iter().chain(&topic.card).chain(&topic.exam);
            wordings.map(|wording| wording.replace("{subject}", &fact.subject)).collect::<Vec<_>>()
        })
        .collect();
    let asked = |document: &&Document| document.learnt.first().is_some_and(|part| part.start > 0);
    let stages = miniature().pretraining.iter();
    let texts: BTreeSet<&str> = stages
        .flat_map(Stage::documents)
        .filter(asked)
        .map(|document| document.text.split("\nA").next().unwrap_or_default())
        .collect();
    assert!(texts.len() > 10_000, "{}", texts.len());
    for text in texts {
        assert!(!wordings.iter().any(|wording| text.contains(wording.as_str())), "{text}");
    }
}

/// The same bits on one thread and on two, and after an interruption nothing else.
#[test]
fn a_short_pretraining_has_the_same_bits_on_any_number_of_threads() {
    let scratch = tempfile::tempdir().unwrap();
    let weights = ["1", "2"].map(|threads| {
        let (out, work) = (scratch.path().join("out").join(threads), scratch.path().join(threads));
        medharness()
            .args(["mini", "pretrain", "--size", "small", "--max-steps", "3", "--threads", threads])
            .arg("--out")
            .arg(&out)
            .arg("--work")
            .arg(&work)
            .assert()
            .success();
        fs::read(out.join("small/model.safetensors")).unwrap()
    });
    assert!(weights[0] == weights[1]);
}

#[test]
fn the_recipes_of_the_miniature_say_why() {
    for name in
        ["mini-pretrain-small", "mini-pretrain-large", "mini-full", "mini-lora", "mini-lora-8bit"]
    {
        let recipe = Recipe::named(name).unwrap();
        let silent: Vec<String> = recipe
            .values()
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| !recipe.sources.contains_key(key))
            .collect();
        assert!(silent.is_empty(), "{name}: {silent:?}");
        assert_eq!(recipe.text.bos, Begin::Declared(true));
        assert_eq!(recipe.text.train_on_inputs, name.starts_with("mini-pretrain"));
        assert_eq!(recipe.lora.is_some(), name.contains("lora"));
    }
}

/// Source: `golden/make/mini_tokenizer.py`, the trainer of the tokenizers library.
#[test]
fn merges_are_those_that_the_tokenizers_library_learns() {
    let golden: Value =
        serde_json::from_str(&fs::read_to_string("golden/tokenizers/learnt.json").unwrap())
            .unwrap();
    let rows = medharness::corpus::read_rows(Path::new("golden/mini/meadow.jsonl")).unwrap();
    let (alphabet, merges) =
        (golden["alphabet"].as_array().unwrap(), golden["merges"].as_array().unwrap());
    assert!(merges.len() >= 600);
    let size = 259 + alphabet.len() + merges.len();
    let file = learn(rows.iter().map(|row| &row.output), size);
    assert_eq!(file["model"]["merges"].as_array().unwrap(), merges);
}
