//! Token ids are those of sentencepiece and of the tokenizers library, for any text.
//!
//! Expected ids come from `golden/make/tokens.py`, which draws the same fuzzed strings.

use std::{fs, path::Path};

use medharness::{
    llama::tokenizer::{Source, Special, TextStream, Tokenizer, TokenizerError},
    protocol::Bos,
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What sentencepiece made of the fuzzed strings.
#[derive(Deserialize)]
struct Golden {
    strings: usize,
    chunk: usize,
    parts: Vec<String>,
    chunks: std::collections::BTreeMap<String, Vec<String>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    tiny: Encoded,
    squeezed: Encoded,
}

#[derive(Deserialize)]
struct Encoded {
    ids: Vec<u32>,
    decoded: String,
}

fn golden() -> Golden {
    let text = fs::read_to_string("golden/tokenizers/cases.json").expect("committed");
    serde_json::from_str(&text).expect("as the script writes it")
}

fn open(path: impl AsRef<Path>) -> Tokenizer {
    Tokenizer::from_file(path.as_ref()).expect("usable")
}

fn small(name: &str) -> Tokenizer {
    open(format!("golden/tokenizers/{name}"))
}

/// `SplitMix64`, as in the script.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).expect("below n")
    }
}

/// The fuzzed string with this number: one of five kinds, as in the script.
fn fuzzed(number: usize, parts: &[String]) -> String {
    let mut draw = Draws((number as u64).wrapping_mul(1_000_003).wrapping_add(20_230_414));
    match draw.below(5) {
        0 => (0..draw.below(30)).map(|_| &*parts[draw.below(parts.len())]).collect(),
        1 => {
            let words: Vec<_> =
                (0..draw.below(16)).map(|_| &*parts[draw.below(parts.len())]).collect();
            words.join(" ")
        }
        2 => {
            let few: Vec<_> = (0..=draw.below(3)).map(|_| &*parts[draw.below(60)]).collect();
            (0..draw.below(50)).map(|_| few[draw.below(few.len())]).collect()
        }
        3 => (0..draw.below(80)).map(|_| ascii(32 + draw.below(95))).collect(),
        _ => {
            const ENDS: [usize; 5] = [0x80, 0x250, 0x800, 0xd800, 0x11_0000];
            let mut text = String::new();
            for _ in 0..draw.below(30) {
                let end = ENDS[draw.below(5)];
                // Surrogates are no characters and are left out.
                text.extend(u32::try_from(draw.below(end)).ok().and_then(char::from_u32));
            }
            text
        }
    }
}

fn ascii(point: usize) -> char {
    char::from(u8::try_from(point).expect("ASCII"))
}

/// sha256 over the ids of each chunk of fuzzed strings.
fn chunks(golden: &Golden, tokenizer: &Tokenizer) -> Vec<String> {
    let texts: Vec<_> = (0..golden.strings).map(|i| fuzzed(i, &golden.parts)).collect();
    let ids = tokenizer.encode_batch(&texts, Bos::None).expect("any text is encoded");
    let digest = |chunk: &[Vec<u32>]| {
        let mut digest = Sha256::new();
        for ids in chunk {
            ids.iter().for_each(|id| digest.update(id.to_le_bytes()));
            digest.update([0xff; 4]);
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    ids.chunks(golden.chunk).map(digest).collect()
}

#[test]
fn small_models_agree_with_sentencepiece_on_fuzzed_strings() {
    let golden = golden();
    for (name, file) in [
        ("tiny", "tiny/tokenizer.model"),
        ("tiny", "tiny/tokenizer.json"),
        ("squeezed", "squeezed/tokenizer.model"),
    ] {
        let tokenizer = small(file);
        for case in &golden.cases {
            let wanted = if name == "tiny" { &case.tiny } else { &case.squeezed };
            let ids = tokenizer.encode(&case.text, Bos::None).unwrap();
            assert_eq!(ids, wanted.ids, "{file}: {:?}", case.text);
        }
        assert_eq!(chunks(&golden, &tokenizer), golden.chunks[name], "{file}");
    }
}

#[test]
fn small_models_decode_as_sentencepiece() {
    for case in golden().cases {
        for (name, wanted) in [("tiny", &case.tiny), ("squeezed", &case.squeezed)] {
            let tokenizer = small(&format!("{name}/tokenizer.model"));
            let decoded = tokenizer.decode(&wanted.ids, Special::Skip).unwrap();
            // sentencepiece writes ` ⁇ ` for the unknown token, transformers leaves it out.
            if !wanted.ids.contains(&0) {
                assert_eq!(decoded, wanted.decoded, "{name}: {:?}", case.text);
            }
        }
    }
}

#[test]
fn the_llama_tokenizer_agrees_with_sentencepiece_on_fuzzed_strings() {
    let golden = golden();
    for file in ["llama.tokenizer.model", "llama.tokenizer.json"] {
        let tokenizer = open(shared!(&format!("tokenizers/{file}")));
        assert_eq!(chunks(&golden, &tokenizer), golden.chunks["llama"], "{file}");
    }
    let tokenizer = open(shared!("checkpoints/stories260k/tokenizer.model"));
    assert_eq!(chunks(&golden, &tokenizer), golden.chunks["stories260k"]);
}

#[test]
fn published_vectors_are_reproduced_from_both_files() {
    for file in ["llama.tokenizer.model", "llama.tokenizer.json"] {
        let tokenizer = open(shared!(&format!("tokenizers/{file}")));
        let mut seen = 0;
        for vectors in ["hf_llama_vectors.json", "llama_cpp_spm_vectors.json"] {
            let text = fs::read(shared!(&format!("tokenizers/{vectors}"))).unwrap();
            let text: Value = serde_json::from_slice(&text).unwrap();
            for vector in text["vectors"].as_array().unwrap() {
                let text = vector["text"].as_str().unwrap();
                let ids: Vec<u32> = serde_json::from_value(vector["ids"].clone()).unwrap();
                assert_eq!(tokenizer.encode(text, Bos::None).unwrap(), ids, "{file}: {text:?}");
                assert_eq!(tokenizer.encode(text, Bos::Model).unwrap(), [&[1], &*ids].concat());
                seen += 1;
            }
        }
        assert_eq!(seen, 60, "every vector is compared");
        let special = (tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.vocab_size());
        assert_eq!(special.0, Some(1), "{file}");
        assert_eq!(special.2, 32_000, "{file}");
    }
}

#[test]
fn a_folder_with_both_files_uses_the_json_and_says_so() {
    let tokenizer = Tokenizer::from_dir(Path::new("golden/tokenizers/tiny")).unwrap();
    assert_eq!(tokenizer.source(), Source::Json);
    assert!(tokenizer.notes()[0].contains("tokenizer.model beside it is not"));
    let tokenizer = Tokenizer::from_dir(Path::new("golden/tokenizers/squeezed")).unwrap();
    assert_eq!(tokenizer.source(), Source::SentencePiece);
    assert!(tokenizer.notes().is_empty());
    let missing = Tokenizer::from_dir(Path::new("golden/tokenizers")).unwrap_err();
    assert!(matches!(missing, TokenizerError::Missing { .. }));
}

/// A folder with the tiny model and the given files beside it.
fn folder(file: &str, beside: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("scratch folder");
    let model = format!("golden/tokenizers/tiny/{file}");
    fs::copy(model, folder.path().join(file)).expect("copied");
    for (name, text) in beside {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

#[test]
fn bos_is_what_the_caller_or_the_configuration_says() {
    let text = "The patient";
    let bare = small("tiny/tokenizer.model").encode(text, Bos::None).unwrap();
    for file in ["tokenizer.model", "tokenizer.json"] {
        let ids = |config: &str, bos| {
            let folder = folder(file, &[("tokenizer_config.json", config)]);
            let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
            let ids = tokenizer.encode(text, bos).unwrap();
            assert!(ids.ends_with(&bare));
            ids[..ids.len() - bare.len()].to_vec()
        };
        assert_eq!(ids("{}", Bos::Model), [1], "{file}");
        assert_eq!(ids("{}", Bos::None), [0_u32; 0]);
        assert_eq!(ids("{}", Bos::Id(2)), [2]);
        assert_eq!(ids(r#"{"add_bos_token": false}"#, Bos::Model), [0_u32; 0]);
        assert_eq!(ids(r#"{"add_bos_token": true, "bos_token": "<s>"}"#, Bos::Model), [1]);
        let renamed = r#"{"add_bos_token": true, "bos_token": {"content": "</s>"}}"#;
        assert_eq!(ids(renamed, Bos::Model), [2]);
        // decapoda-research: transformers looks up the empty text and gets the unknown token.
        let empty = r#"{"add_bos_token": true, "bos_token": "", "unk_token": ""}"#;
        let _ = ids(empty, Bos::None);
        let with_eos = r#"{"add_eos_token": true, "eos_token": "</s>"}"#;
        assert_eq!(ids(with_eos, Bos::Model), [1], "an end token is never appended");
    }
    let error = small("tiny/tokenizer.model").encode("x", Bos::Id(9999)).unwrap_err();
    assert!(matches!(error, TokenizerError::UnknownId { id: 9999, vocab_size: 420 }));
}

#[test]
fn an_empty_bos_token_stands_for_the_unknown_one() {
    let config = r#"{"bos_token": "", "eos_token": "", "add_bos_token": true}"#;
    let folder = folder("tokenizer.model", &[("tokenizer_config.json", config)]);
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(0), Some(0)));
    assert_eq!(tokenizer.encode("a", Bos::Model).unwrap()[0], 0);
    assert!(tokenizer.notes().iter().any(|note| note.contains("`bos_token` is empty")));
}

#[test]
fn special_tokens_in_a_text_are_text_unless_asked_for() {
    for file in ["tiny/tokenizer.model", "tiny/tokenizer.json"] {
        let tokenizer = small(file);
        let plain = tokenizer.encode("a</s>b", Bos::None).unwrap();
        assert!(!plain.contains(&2), "{file}");
        assert_eq!(tokenizer.decode(&plain, Special::Skip).unwrap(), "a</s>b");
        let found = tokenizer.encode_special("a</s>b", Bos::None).unwrap();
        assert_eq!(found.iter().filter(|&&id| id == 2).count(), 1, "{file}");
        assert_eq!(tokenizer.decode(&found, Special::Skip).unwrap(), "a b", "legacy: {file}");
        assert_eq!(tokenizer.decode(&found, Special::Keep).unwrap(), "a</s> b", "{file}");
    }
}

#[test]
fn legacy_puts_a_space_behind_each_special_token() {
    let ids = |legacy: &str, text: &str| {
        let config = format!(r#"{{"legacy": {legacy}}}"#);
        let folder = folder("tokenizer.model", &[("tokenizer_config.json", &config)]);
        Tokenizer::from_dir(folder.path()).unwrap().encode_special(text, Bos::None).unwrap()
    };
    let tokenizer = small("tiny/tokenizer.model");
    let (with, without) =
        (tokenizer.id("▁the").unwrap(), ["t", "he"].map(|p| tokenizer.id(p).unwrap()));
    assert_eq!(ids("true", "the</s>the"), [with, 2, with]);
    assert_eq!(ids("false", "the</s>the"), [&[with, 2], &without[..]].concat());
    assert_eq!(ids("true", "<s>the"), [1, with]);
    assert_eq!(ids("false", "<s>the"), [&[1], &without[..]].concat());
}

#[test]
fn added_tokens_extend_the_vocabulary() {
    let beside = [
        ("added_tokens.json", r#"{"[PAD]": 420, "<mark>": 421}"#),
        ("special_tokens_map.json", r#"{"pad_token": "[PAD]"}"#),
    ];
    for file in ["tokenizer.model", "tokenizer.json"] {
        let folder = folder(file, &beside);
        let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
        assert_eq!(tokenizer.vocab_size(), 422, "{file}");
        assert_eq!(tokenizer.pad_id(), Some(420), "{file}");
        let ids = tokenizer.encode("[PAD] <mark>", Bos::None).unwrap();
        assert!(!ids.contains(&420) && ids.contains(&421), "{file}: {ids:?}");
        let ids = tokenizer.encode_special("[PAD]", Bos::None).unwrap();
        assert_eq!(ids, [420], "{file}");
    }
    let folder = folder("tokenizer.model", &[("added_tokens.json", r#"{"<mark>": 7}"#)]);
    let error = Tokenizer::from_dir(folder.path()).unwrap_err().to_string();
    assert!(error.contains("two tokens, `<0x04>` and `<mark>`, with id 7"), "{error}");
}

#[test]
fn a_named_token_without_an_id_comes_last_as_in_transformers() {
    let config = r#"{"pad_token": "[PAD]"}"#;
    for file in ["tokenizer.model", "tokenizer.json"] {
        let folder = folder(file, &[("tokenizer_config.json", config)]);
        let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
        assert_eq!((tokenizer.pad_id(), tokenizer.vocab_size()), (Some(420), 421), "{file}");
    }
}

#[test]
fn streamed_text_adds_up_to_the_decoded_text() {
    let golden = golden();
    let tiny = [small("tiny/tokenizer.model"), small("tiny/tokenizer.json")];
    let squeezed = small("squeezed/tokenizer.model");
    for case in &golden.cases {
        let of = |tokenizer: &Tokenizer, ids: &[u32]| {
            let mut stream = TextStream::new(tokenizer);
            let mut text = String::new();
            for &id in ids {
                let new = stream.push(id).unwrap();
                assert!(!new.contains('\u{fffd}') || case.text.contains('\u{fffd}'));
                text.push_str(&new);
            }
            text + &stream.finish().unwrap()
        };
        for tokenizer in &tiny {
            let whole = tokenizer.decode(&case.tiny.ids, Special::Skip).unwrap();
            assert_eq!(of(tokenizer, &case.tiny.ids), whole);
        }
        let whole = squeezed.decode(&case.squeezed.ids, Special::Skip).unwrap();
        assert_eq!(of(&squeezed, &case.squeezed.ids), whole);
    }
}

#[test]
fn half_a_character_is_held_back_and_then_replaced() {
    let tokenizer = small("tiny/tokenizer.model");
    let byte = |byte: u8| tokenizer.id(&format!("<0x{byte:02X}>")).unwrap();
    let mut stream = TextStream::new(&tokenizer);
    assert_eq!(stream.push(byte(0xe4)).unwrap(), "");
    assert_eq!(stream.push(byte(0xbd)).unwrap(), "");
    assert_eq!(stream.push(byte(0xa0)).unwrap(), "你");
    assert_eq!(stream.push(byte(0xe5)).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}

#[test]
fn a_batch_is_the_texts_one_by_one_on_any_number_of_threads() {
    let golden = golden();
    let texts: Vec<_> = (0..300).map(|i| fuzzed(i, &golden.parts)).collect();
    for file in ["tiny/tokenizer.model", "tiny/tokenizer.json"] {
        let tokenizer = small(file);
        let single: Vec<_> =
            texts.iter().map(|text| tokenizer.encode(text, Bos::Model).unwrap()).collect();
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let batch = pool.install(|| tokenizer.encode_batch(&texts, Bos::Model)).unwrap();
            assert_eq!(batch, single, "{file}, {threads} threads");
        }
    }
}
