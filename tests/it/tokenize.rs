//! `medharness tokenize`: its two forms, its errors.

use crate::{
    snapshots,
    support::{medharness, transcript},
};

fn tokenize(arguments: &[&str]) -> String {
    transcript(medharness().arg("tokenize").args(arguments))
}

#[test]
fn tokenize_prints_pieces_or_ids() {
    let _guard = snapshots();
    let tiny = ["--tokenizer", "golden/tokenizers/tiny/tokenizer.model"];
    let text = ["--text", "Fièvre, the </s>\n"];
    insta::assert_snapshot!("tokenize_text", tokenize(&[&tiny[..], &text].concat()));
    let json = ["--bos", "none", "--special", "--format", "json"];
    insta::assert_snapshot!("tokenize_json", tokenize(&[&tiny[..], &text, &json].concat()));
}

#[test]
fn tokenize_reads_stdin_as_it_is() {
    let output = medharness()
        .args(["tokenize", "--tokenizer", "golden/tokenizers/tiny", "--text", "-"])
        .args(["--bos", "2", "--format", "json"])
        .write_stdin(" the\n")
        .output()
        .expect("runs");
    let stdout: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(stdout["pieces"], serde_json::json!(["</s>", "▁", "▁the", "<0x0A>"]));
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(stderr, "note: tokenizer.json is used, tokenizer.model beside it is not\n");
}

#[test]
fn tokenize_refuses_with_2() {
    let _guard = snapshots();
    let said = [
        &["--tokenizer", "golden/tokenizers", "--text", "x"][..],
        &["--tokenizer", "golden/tokenizers/none.model", "--text", "x"],
        &["--tokenizer", "Cargo.toml", "--text", "x"],
        &["--tokenizer", "golden/tokenizers/tiny", "--text", "x", "--bos", "420"],
        &["--tokenizer", "golden/tokenizers/tiny", "--text", "x", "--bos", "<s>"],
    ]
    .map(tokenize);
    insta::assert_snapshot!("tokenize_refusals", said.join("\n"));
    let mut latin = medharness();
    latin.args(["tokenize", "--tokenizer", "golden/tokenizers/tiny", "--text", "-"]);
    latin.write_stdin(b"caf\xe9".as_slice()).assert().code(2);
}
