//! The ids of every protocol's prompts, with small tokenizers and with LLaMA's.
//!
//! Expected ids come from `golden/make/tokens.py`: sentencepiece, the tokenizers library, and
//! transformers' `LlamaTokenizer` (legacy and not, which agree on a text without special tokens).

use std::{fs, path::Path};

use medharness::{
    exam::{Choice, Letter, Question, QuestionId},
    llama::tokenizer::{Special, TextStream, Tokenizer},
    protocol::{Bos, Protocol},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::snapshots;

#[derive(Deserialize)]
struct Prompts {
    protocol: String,
    tiny: Vec<Vec<u32>>,
    llama: String,
    llama_mmlu: String,
}

fn golden() -> Vec<Prompts> {
    let text = fs::read_to_string("golden/tokenizers/prompts.json").expect("committed");
    let golden: Vec<Prompts> = serde_json::from_str(&text).expect("as the script writes it");
    assert_eq!(golden.len(), Protocol::builtin_ids().count(), "every protocol has its ids");
    golden
}

fn own_exam() -> Vec<Question> {
    let text = fs::read_to_string("golden/exams/tokens.jsonl").expect("committed");
    text.lines().map(|line| serde_json::from_str(line).expect("a question")).collect()
}

/// Each prompt, and where options are scored the prompt with each continuation.
fn texts(protocol: &str, questions: &[Question]) -> Vec<String> {
    let protocol = Protocol::builtin(protocol).expect("shipped");
    let of = |question| {
        let prompt = protocol.render(question);
        let scored = protocol.continuations(question);
        let mut texts: Vec<_> = scored.iter().map(|scored| format!("{prompt}{scored}")).collect();
        texts.insert(0, prompt);
        texts
    };
    questions.iter().flat_map(of).collect()
}

fn digest(tokenizer: &Tokenizer, texts: &[String]) -> String {
    let mut digest = Sha256::new();
    for ids in tokenizer.encode_batch(texts, Bos::None).expect("encoded") {
        ids.iter().for_each(|id| digest.update(id.to_le_bytes()));
        digest.update([0xff; 4]);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn prompts_of_every_protocol_have_the_ids_of_sentencepiece() {
    let questions = own_exam();
    let _guard = snapshots();
    for file in ["tokenizer.model", "tokenizer.json"] {
        let path = Path::new("golden/tokenizers/tiny").join(file);
        let tokenizer = Tokenizer::from_file(&path).unwrap();
        for golden in golden() {
            let texts = texts(&golden.protocol, &questions);
            let ids = tokenizer.encode_batch(&texts, Bos::None).unwrap();
            assert_eq!(ids, golden.tiny, "{file}, {}", golden.protocol);
            for (text, ids) in texts.iter().zip(&ids) {
                assert_eq!(tokenizer.decode(ids, Special::Keep).unwrap(), *text);
            }
            let bos = Protocol::builtin(&golden.protocol).unwrap().bos;
            let pieces = tokenizer.encode(&texts[0], bos).unwrap();
            let pieces: Vec<_> = pieces.iter().map(|&id| tokenizer.piece(id).unwrap()).collect();
            insta::assert_snapshot!(format!("prompt_pieces_{}", golden.protocol), pieces.join(" "));
        }
    }
}

#[test]
fn prompts_of_every_protocol_have_the_ids_of_transformers() {
    let own = own_exam();
    let mmlu = mmlu(&shared!("exams/mmlu_professional_medicine_test.csv"));
    assert_eq!(mmlu.len(), 272);
    for file in ["llama.tokenizer.model", "llama.tokenizer.json"] {
        let tokenizer = Tokenizer::from_file(&shared!(&format!("tokenizers/{file}"))).unwrap();
        for golden in golden() {
            let id = &*golden.protocol;
            assert_eq!(digest(&tokenizer, &texts(id, &own)), golden.llama, "{file}, {id}");
            assert_eq!(digest(&tokenizer, &texts(id, &mmlu)), golden.llama_mmlu, "{file}, {id}");
        }
    }
}

/// The questions of a file in MMLU's layout, as they stand.
fn mmlu(path: &Path) -> Vec<Question> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).expect("there");
    let choice = |(index, text): (usize, &str)| Choice {
        letter: Letter::from_index(index).expect("one of four"),
        text: text.to_owned(),
    };
    let question = |row: csv::StringRecord| Question {
        id: QuestionId(String::new()),
        step: None,
        text: row[0].to_owned(),
        options: row.iter().skip(1).take(4).enumerate().map(choice).collect(),
        answer: Letter::from_index(0).expect("a letter"),
        has_image: false,
        source: "mmlu".into(),
    };
    reader.records().map(|row| question(row.expect("a row"))).collect()
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn a_byte_level_tokenizer_has_the_ids_of_the_library() {
    let path = Path::new("golden/tokenizers/bytes/tokenizer.json");
    let tokenizer = Tokenizer::from_file(path).unwrap();
    let begin = tokenizer.id("<|begin_of_text|>").unwrap();
    assert_eq!(tokenizer.bos_id(), Some(begin), "from the template");
    let cases = fs::read_to_string("golden/tokenizers/bytes.json").unwrap();
    for case in serde_json::from_str::<Vec<Case>>(&cases).unwrap() {
        let ids = tokenizer.encode(&case.text, Bos::Model).unwrap();
        assert_eq!(ids[0], begin);
        assert_eq!(ids[1..], case.ids, "{:?}", case.text);
        assert_eq!(tokenizer.decode(&ids, Special::Skip).unwrap(), case.text);
        let mut stream = TextStream::new(&tokenizer);
        let mut text = String::new();
        for id in ids {
            text.push_str(&stream.push(id).unwrap());
        }
        assert_eq!(text + &stream.finish().unwrap(), case.text);
    }
}
