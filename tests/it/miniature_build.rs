//! What is drawn for the miniature study: the same bytes as committed, balanced, and never the
//! exam's words in a training text.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use medharness::{
    corpus::{
        OverlapSearch, OverlapSettings, Row,
        miniature::{Facts, Item, Miniature, Stage, Taught},
        read_rows,
    },
    exam::{Exam, Report},
    protocol::Protocol,
    stats::Seed,
};

use crate::support::medharness;

/// The files that stand in the repository; the pre-training text is made again where it is needed.
const COMMITTED: [&str; 7] = [
    "exam.jsonl",
    "exam_taught.jsonl",
    "validation.jsonl",
    "validation_taught.jsonl",
    "meadow.jsonl",
    "alpaca.jsonl",
    "SHA256SUMS",
];

/// What is drawn from the seed of the committed files; drawn once.
fn committed() -> Miniature {
    static DRAWN: LazyLock<Miniature> = LazyLock::new(|| Miniature::new(Miniature::SEED));
    DRAWN.clone()
}

/// The documents of the pre-training text.
fn documents(miniature: &Miniature) -> impl Iterator<Item = &str> {
    let stages = miniature.pretraining.iter();
    stages.flat_map(Stage::documents).map(|document| document.text.as_str())
}

/// Every training text of `miniature`, as rows.
fn training(miniature: &Miniature) -> Vec<Row> {
    let document = |text: &str| Row { output: text.to_owned(), ..Row::default() };
    let rows = miniature.meadow.iter().chain(&miniature.alpaca).cloned();
    rows.chain(documents(miniature).map(document)).collect()
}

/// The words of a text as overlap counts them, written here a second time.
fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

#[test]
fn the_committed_files_are_made_again_byte_for_byte() {
    let scratch = tempfile::tempdir().unwrap();
    medharness().args(["mini", "--out"]).arg(scratch.path()).assert().success();
    for name in COMMITTED {
        let fresh = fs::read(scratch.path().join(name)).unwrap();
        assert!(fresh == fs::read(Path::new("golden/mini").join(name)).unwrap(), "{name}");
    }
    let names: BTreeSet<_> = fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = COMMITTED.into_iter().chain(["pretraining.txt"]);
    assert_eq!(names, expected.map(str::to_owned).collect());
}

#[test]
fn another_seed_draws_other_texts_from_the_same_facts() {
    let other = Miniature::new(Seed(2));
    let first = committed();
    assert_ne!(other.exam, first.exam);
    assert_ne!(other.pretraining, first.pretraining);
    assert_eq!(other.exam.len(), first.exam.len());
    assert_no_exam_words_in_training(&other);
}

#[test]
fn exam_wording_never_occurs_in_training_text() {
    assert_no_exam_words_in_training(&committed());
}

/// No 13 words in a row of stem and options; no stem; none by the audit's own search.
fn assert_no_exam_words_in_training(miniature: &Miniature) {
    let mut exam_runs: HashMap<String, &str> = HashMap::new();
    let mut search = {
        let questions = miniature.exam.iter().map(|item| item.question.clone()).collect();
        OverlapSearch::new(&Exam::new("mini", questions), OverlapSettings::default())
    };
    for item in &miniature.exam {
        let question = &item.question;
        let options = question.options.iter().map(|o| format!(" {}: {}", o.letter, o.text));
        let all = words(&(question.text.clone() + &options.collect::<String>()));
        for run in all.windows(13) {
            exam_runs.insert(run.join(" "), &question.id.0);
        }
    }
    assert!(exam_runs.len() > 5000, "{}", exam_runs.len());
    let stems: BTreeSet<String> =
        miniature.exam.iter().map(|item| words(&item.question.text).join(" ")).collect();
    let mut longest = 0;
    for (number, row) in (1..).zip(&training(miniature)) {
        let text = words(&format!("{}\n{}\n{}", row.instruction, row.input, row.output));
        longest = longest.max(text.len());
        for run in text.windows(13) {
            let run = run.join(" ");
            assert!(!exam_runs.contains_key(&run), "{:?}: {run}", exam_runs.get(&run));
        }
        assert!(!stems.contains(&text.join(" ")));
        search.add("training", number, row);
    }
    assert!(longest > 13);
    search.finish().require_none().expect("none is there");
}

/// The proof above would be worth nothing if it could not fail.
#[test]
fn an_exam_item_planted_in_the_training_text_is_found() {
    let mut miniature = committed();
    let stem = miniature.exam[17].question.text.clone();
    miniature.meadow[3].input = format!("Somebody said: {stem}");
    let found = std::panic::catch_unwind(|| assert_no_exam_words_in_training(&miniature));
    assert!(found.is_err());
}

#[test]
fn each_step_has_120_items_and_marked_images() {
    let exam = Exam::load(Path::new("golden/mini/exam.jsonl")).unwrap();
    let report = Report::new(&exam, Vec::new());
    assert_eq!((report.errors, report.warnings), (0, 0), "{:?}", report.findings);
    assert_eq!(report.parts.len(), 4);
    for part in &report.parts[1..] {
        assert!(part.asked >= 120, "step {}: {}", part.name, part.asked);
        assert!(part.excluded >= 5, "step {}: {}", part.name, part.excluded);
        assert!(part.option_counts.keys().all(|options| (4..=6).contains(options)));
    }
}

/// Among items with as many options, no letter is right more than once oftener than another.
#[test]
fn right_letters_are_balanced() {
    let miniature = committed();
    for items in [&miniature.exam, &miniature.validation] {
        let mut counts: BTreeMap<usize, BTreeMap<char, usize>> = BTreeMap::new();
        for Item { question, .. } in items {
            let letters = counts.entry(question.options.len()).or_default();
            *letters.entry(question.answer.as_char()).or_default() += 1;
        }
        for (options, letters) in counts {
            assert_eq!(letters.len(), options);
            let (least, most) = (letters.values().min().unwrap(), letters.values().max().unwrap());
            assert!(most - least <= 1, "{options} options: {letters:?}");
        }
    }
}

#[test]
fn options_are_answers_of_the_topic_and_only_one_can_be_right() {
    let miniature = committed();
    let facts = Facts::medical();
    for item in miniature.exam.iter().chain(&miniature.validation) {
        let topic = facts.topics.iter().find(|topic| topic.name == item.topic).unwrap();
        let fact = topic.facts.iter().find(|fact| fact.subject == item.subject).unwrap();
        let question = &item.question;
        assert_eq!(question.option(question.answer), Some(&*fact.answer));
        assert!(question.text.contains(&fact.subject), "{}", question.text);
        for option in &question.options {
            assert!(topic.facts.iter().any(|other| other.answer == option.text));
            assert!(!fact.also.contains(&option.text), "{}: {}", question.id, option.text);
        }
    }
}

#[test]
fn strata_differ_in_how_the_training_data_teach_them() {
    let miniature = committed();
    let facts = Facts::medical();
    // Paragraphs of sentences are the documents of one line.
    let sentences: HashSet<&str> = documents(&miniature)
        .filter(|document| !document.contains('\n'))
        .flat_map(|document| document.trim_end_matches('.').split(". "))
        .collect();
    let readings = |item: &Item| -> Vec<String> {
        let topic = facts.topics.iter().find(|topic| topic.name == item.topic).unwrap();
        let answer = item.question.option(item.question.answer).unwrap();
        let fill = |wording: &String| {
            let sentence = wording.replace("{subject}", &item.subject).replace("{answer}", answer);
            sentence.trim_end_matches('.').to_owned()
        };
        topic.read.iter().map(fill).collect()
    };
    let mut strata: BTreeMap<Taught, usize> = BTreeMap::new();
    for item in &miniature.validation {
        *strata.entry(item.taught).or_default() += 1;
        let answer = item.question.option(item.question.answer).unwrap();
        let chosen = miniature.meadow.iter().any(|row| {
            matches!(row.source.as_deref(), Some("medqa" | "mmlu"))
                && row.input.contains(&item.subject)
                && row.output.ends_with(&format!(": {answer}"))
        });
        let card = miniature.meadow.iter().any(|row| {
            row.source.as_deref() == Some("medical-flashcards")
                && row.input.contains(&item.subject)
                && row.output.contains(answer)
        });
        let read = readings(item).into_iter().all(|sentence| sentences.contains(&*sentence));
        assert!(read, "{}", item.subject);
        match item.taught {
            Taught::Question => assert!(chosen, "{}", item.subject),
            Taught::Flashcard => assert!(card && !chosen, "{}", item.subject),
            Taught::Read => assert!(!card && !chosen, "{}", item.subject),
        }
    }
    let all: usize = strata.values().sum();
    assert!(strata[&Taught::Question] * 100 / all >= 48, "{strata:?}");
    assert!(strata[&Taught::Flashcard] * 100 / all >= 22, "{strata:?}");
    assert!(strata[&Taught::Read] * 100 / all >= 22, "{strata:?}");
}

#[test]
fn validation_wordings_are_in_no_training_text_and_no_exam() {
    let miniature = committed();
    let training: String =
        training(&miniature).iter().map(|row| format!("{}\n{}\n", row.input, row.output)).collect();
    let exam: BTreeSet<&str> =
        miniature.exam.iter().map(|item| item.question.text.as_str()).collect();
    for item in &miniature.validation {
        assert!(!training.contains(&item.question.text), "{}", item.question.text);
        assert!(!exam.contains(item.question.text.as_str()));
    }
}

#[test]
fn the_meadow_has_every_source_and_general_data_no_medicine() {
    let miniature = committed();
    let sources: BTreeSet<&str> =
        miniature.meadow.iter().filter_map(|row| row.source.as_deref()).collect();
    assert_eq!(sources.len(), 15, "{sources:?}");
    let medical = Facts::medical();
    for row in &miniature.alpaca {
        let text = format!(" {} ", words(&row.input).join(" "));
        for (topic, fact) in medical.each() {
            let subject = format!(" {} ", words(&fact.subject).join(" "));
            assert!(!text.contains(&subject), "{}: {}", topic.name, row.input);
        }
    }
    for name in ["meadow.jsonl", "alpaca.jsonl"] {
        let rows = read_rows(&Path::new("golden/mini").join(name)).unwrap();
        let ids: BTreeSet<_> = rows.iter().map(|row| row.id.clone().unwrap()).collect();
        assert_eq!(ids.len(), rows.len());
        let texts: BTreeSet<_> = rows.iter().map(|row| (&row.input, &row.output)).collect();
        assert_eq!(texts.len(), rows.len(), "{name}: a row twice");
    }
}

/// Rows that give a letter ask for its text, whatever it is.
#[test]
fn rows_that_give_a_letter_are_answered_with_its_text() {
    let rows = committed();
    let keyed = |row: &&Row| {
        let asked = row.input.lines().next().unwrap_or_default();
        [
            "Which option has the letter ",
            "The key says ",
            "Somebody has chosen ",
            "The right one is ",
        ]
        .iter()
        .any(|start| asked.starts_with(start))
    };
    for (rows, expected) in [(&rows.meadow, 2000), (&rows.alpaca, 800)] {
        let keyed: Vec<&Row> = rows.iter().filter(keyed).collect();
        assert_eq!(keyed.len(), expected);
        for row in keyed {
            let (asked, options) = row.input.split_once('\n').unwrap();
            let given = options.lines().find(|line| row.output.ends_with(&format!(" {line}")));
            let letter = &given.unwrap_or_else(|| panic!("{row:?}"))[..1];
            let words = asked.split([' ', '.', '?']).collect::<Vec<_>>();
            assert!(words.contains(&letter), "{row:?}");
        }
    }
}

/// What multiple-choice rows teach is what the protocols ask for.
#[test]
fn choice_rows_speak_as_the_protocols_do() {
    for id in ["strict-v1", "paper-2023-04"] {
        let prompt = Protocol::builtin(id).unwrap().prompt;
        let rows = committed();
        for row in rows.meadow.iter().chain(&rows.alpaca) {
            let chooses =
                matches!(row.source.as_deref(), Some("medqa" | "mmlu" | "general-choice"));
            assert!(!chooses || row.instruction == prompt.instruction);
            if row.instruction == prompt.instruction {
                assert!(row.output.starts_with(&format!("{} ", prompt.answer_prefix)));
                assert!(row.input.contains("\nA: ") && row.input.contains("\nD: "));
            }
        }
    }
}
