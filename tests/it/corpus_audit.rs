//! The audit finds what was planted and what is known of the real files.

use std::{collections::BTreeMap, fs, path::Path};

use medharness::{
    corpus::{
        Audit, AuditSettings, Auditor, Row,
        audit::{Check, Judged, ROWS_A_SOURCE, Sheet, identifiers},
        each_row, read_rows,
    },
    stats::Seed,
};
use serde_json::Value;

use crate::support::medharness;

fn row(input: &str, output: &str) -> Row {
    let instruction = "Answer this question truthfully".into();
    let licence = Some("CC0-1.0".into());
    Row { instruction, input: input.into(), output: output.into(), licence, ..Row::default() }
}

fn audit(rows: &[Row]) -> Audit {
    let mut auditor = Auditor::new(AuditSettings::default(), None);
    for (number, row) in (1..).zip(rows) {
        auditor.add("rows.json", number, row);
    }
    auditor.finish()
}

/// Checks with their rows, those that found any.
fn found(audit: &Audit) -> BTreeMap<Check, Vec<usize>> {
    let checks = audit.sources.iter().flat_map(|source| &source.checks);
    let places = checks
        .filter(|(_, tally)| tally.rows > 0)
        .map(|(check, tally)| (*check, tally.first.iter().map(|place| place.row).collect()));
    places.collect()
}

#[test]
fn the_real_meadow_has_92_exact_duplicates_and_no_empty_row() {
    let rows = read_rows(&shared!("training/medical_meadow_small.json")).unwrap();
    let meadow = audit(&rows);
    assert_eq!((meadow.rows, meadow.exact_duplicates), (5942, 92));
    assert_eq!(meadow.total(Check::ExactDuplicate), 92);
    // Python: runs outside ASCII that encode as cp1252 and decode as UTF-8: "Â½", "Â°".
    assert_eq!(meadow.sources[0].checks[&Check::EncodingDamage].rows, 2);
    assert_eq!(found(&meadow)[&Check::EncodingDamage], [531, 1471]);
    assert_eq!(meadow.total(Check::EmptyAnswer) + meadow.total(Check::EmptyQuestion), 0);
    let source = &meadow.sources[0];
    assert_eq!(source.question_words.as_ref().unwrap().n, 5942);
    let english = source.languages.get("en").copied().unwrap_or_default();
    assert!(english > 5900, "{:?}", source.languages);
}

#[test]
fn the_real_chatdoctor_rows_are_all_different() {
    let rows = read_rows(&shared!("training/chatdoctor5k.json")).unwrap();
    let chat = audit(&rows[..1500]);
    assert_eq!(chat.exact_duplicates, 0);
    // As above; mostly "â€™" for an apostrophe.
    assert_eq!(chat.total(Check::EncodingDamage), 7);
    assert_eq!(found(&chat)[&Check::EncodingDamage], [32, 396, 547, 550, 596]);
}

#[test]
fn duplicates_are_told_apart_by_kind_and_counted_once() {
    let long = "Scurvy comes of a lack of vitamin C, which the body needs to make collagen; gums \
        bleed, wounds heal badly, and hairs curl like a corkscrew. Fruit cures it within a week, and \
        sailors knew as much long before anybody could say why lemons worked better than vinegar.";
    let near = long.replace("badly", "poorly");
    let rows = [
        row("What causes scurvy?", long),
        row("What causes scurvy?", long),
        row("what causes SCURVY", &long.to_uppercase()),
        row("What causes scurvy?", &near),
        row("What causes rickets?", "A lack of vitamin D."),
        row("What causes scurvy?", "Not eating fruit, most of the time."),
    ];
    let audit = audit(&rows);
    let found = found(&audit);
    assert_eq!(found[&Check::ExactDuplicate], [2]);
    assert_eq!(found[&Check::SameWords], [3]);
    assert_eq!(found[&Check::NearDuplicate], [4]);
    assert_eq!(found[&Check::Conflicting], [4, 6]);
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn near_duplicates_are_those_that_brute_force_finds() {
    // Rows in families of growing distance; word i of member m differs where i % 40 < m.
    let text = |family: usize, member: usize| -> String {
        let word = |i: usize| {
            if i % 40 < member {
                format!("x{family}y{member}z{i}")
            } else {
                format!("w{family}q{i}")
            }
        };
        (0..200).map(word).collect::<Vec<_>>().join(" ")
    };
    let shingles = |text: &str| -> std::collections::HashSet<Vec<String>> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        words.windows(5).map(<[_]>::to_vec).collect()
    };
    let (mut rows, mut expected) = (Vec::new(), 0);
    for family in 0..40 {
        let base = text(family, 0);
        rows.push(Row { output: base.clone(), ..Row::default() });
        for member in [1, 12] {
            let other = text(family, member);
            let (a, b) = (shingles(&base), shingles(&other));
            let jaccard = a.intersection(&b).count() as f64 / a.union(&b).count() as f64;
            // 1: 25 of 196 runs differ; 12: nearly half do.
            assert!(!(0.45..0.77).contains(&jaccard), "{member}: {jaccard}");
            expected += usize::from(jaccard > 0.77);
            rows.push(Row { output: other, ..Row::default() });
        }
    }
    let near = AuditSettings { near: 0.65, ..AuditSettings::default() };
    let mut auditor = Auditor::new(near, None);
    rows.iter().zip(1..).for_each(|(row, number)| auditor.add("x.json", number, row));
    let found = auditor.finish().total(Check::NearDuplicate);
    // They meet with probability 0.82 at 0.77.
    assert!(found <= expected && found * 10 >= expected * 7, "{found} of {expected}");
}

#[test]
fn sources_are_kept_apart_and_duplicates_between_them_counted() {
    let of =
        |source: &str, output: &str| Row { source: Some(source.into()), ..row("Why?", output) };
    let rows = [of("a", "Because."), of("b", "Because."), of("b", "No reason is known.")];
    let audit = audit(&rows);
    let names: Vec<_> = audit.sources.iter().map(|source| (&*source.source, source.rows)).collect();
    assert_eq!(names, [("a", 1), ("b", 2)]);
    assert_eq!(audit.between_sources, [("b".into(), "a".into(), 1)]);
}

#[test]
fn damaged_files_are_counted_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let text = b"\xEF\xBB\xBF{\"input\": \"Why?\", \"output\": \"So it is, they say.\"}\n\n{broken\n\
        {\"input\": \"no output\"}\n{\"output\": \"\xFF\"}\n{\"input\": \"Which?\", \"output\": \"\"}";
    fs::write(&path, text).unwrap();
    let mut lines = Vec::new();
    let rows = each_row(&path, |number, row| lines.push((number, row.is_ok()))).unwrap();
    assert_eq!(rows, 5);
    assert_eq!(lines, [(1, true), (2, false), (3, false), (4, false), (5, true)]);
    let output = medharness().args(["corpus", "audit", "--format", "json"]).arg(&path).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["audit"]["unreadable_rows"], 3);
    assert_eq!(json["audit"]["sources"][0]["checks"]["empty_answer"]["rows"], 1);
    for broken in ["", "[{\"output\": \"a\"}", "[]", "  \n", "[{\"output\": \"a\"}] x"] {
        fs::write(&path, broken).unwrap();
        medharness().args(["corpus", "audit"]).arg(&path).assert().code(2);
    }
    fs::write(&path, "[{\"output\": \"a\"}, 3, {\"output\": null}]").unwrap();
    let mut readable = Vec::new();
    each_row(&path, |_, row| readable.push(row.is_ok())).unwrap();
    assert_eq!(readable, [true, false, true]);
}

#[test]
fn a_sheet_depends_on_seed_and_source_alone_and_holds_385_rows_of_each() {
    let rows: Vec<Row> = (0..1000)
        .map(|n| {
            let source = Some(if n % 4 == 0 { "small" } else { "large" }.to_owned());
            Row { source, ..row(&format!("Question {n}?"), &format!("Answer \"{n}\",\nindeed")) }
        })
        .collect();
    let draw = |seed: u64, rows: &[&Row]| {
        let mut sheet = Sheet::new(ROWS_A_SOURCE, Seed(seed));
        rows.iter().zip(1..).for_each(|(row, number)| sheet.add("x.json", number, row));
        let mut csv = Vec::new();
        let written = sheet.write(&mut csv).unwrap();
        (written, String::from_utf8(csv).unwrap())
    };
    let all: Vec<&Row> = rows.iter().collect();
    let (written, csv) = draw(1, &all);
    assert_eq!(written, 250 + 385);
    assert_eq!(csv, draw(1, &all).1);
    assert_ne!(csv, draw(2, &all).1);
    // The same rows of one source, whatever stands between them.
    let (large, small): (Vec<&Row>, _) =
        all.iter().partition(|r| r.source.as_deref() == Some("large"));
    let sorted = draw(1, &[large, small].concat()).1;
    let questions = |csv: &str| {
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        reader.records().map(|line| line.unwrap()[7].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(questions(&csv), questions(&sorted));
    assert!(matches!(
        Judged::read(csv.as_bytes()),
        Err(medharness::corpus::audit::SheetError::NoVerdict)
    ));
}

#[test]
fn verdicts_become_rates_with_their_intervals() {
    let head = "source,source_rows,file,row,id,seed,instruction,input,output,verdict,second_verdict,note\n";
    let line = |source: &str, rows: usize, n: usize, first: &str, second: &str| {
        format!("{source},{rows},x.json,{n},,0,i,\"in, put\",o,{first},{second},\n")
    };
    let mut sheet = head.to_owned();
    for n in 0..385 {
        let verdict = if n < 115 { "error" } else { "OK" };
        sheet += &line("wikidoc", 67_704, n, verdict, if n < 110 { "error" } else { "ok" });
    }
    for n in 0..300 {
        sheet += &line("cards", 33_955, n, "ok", "");
    }
    sheet += &line("cards", 33_955, 300, "", "");
    let judged = Judged::read(sheet.as_bytes()).unwrap();
    let [cards, wikidoc] = &judged.sources[..] else { panic!("two sources") };
    assert_eq!((cards.drawn, cards.judged, cards.errors), (301, 300, 0));
    // scipy 1.17.1, binomtest(115, 385).proportion_ci(method="wilson") and (0, 300).
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    let [low, high] = wikidoc.wilson.unwrap();
    close(low, 0.255_154_860_055_421_43);
    close(high, 0.346_225_094_463_587_5);
    close(cards.wilson.unwrap()[1], 0.012_642_971_224_546_036);
    close(judged.weighted_rate.unwrap(), 67_704.0 / 101_659.0 * 115.0 / 385.0);
    assert_eq!((judged.judged_twice, judged.disagreements.len()), (385, 5));
    assert!(judged.kappa.unwrap() > 0.96);
    let wrong = sheet.replacen("error", "maybe", 1);
    let error = Judged::read(wrong.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "line 2: `maybe` is neither `ok` nor `error`");
}

#[test]
fn identifiers_are_found_and_medicine_is_none() {
    assert_eq!(identifiers("BP 120/80, 45-year-old, 3/4 of patients, 1.5.2 mg, T4 12.3"), []);
    assert_eq!(identifiers("call (212) 555-0143 or write to a.b@example.org").len(), 2);
}

/// It said "Audit of 0 training rows" and ended well.
#[test]
fn an_audit_of_no_row_at_all_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jsonl");
    fs::write(&path, "{\"question\": \"a\"}\n{\"question\": \"b\"}\n").unwrap();
    let good = folder.path().join("good.jsonl");
    fs::write(&good, "{\"output\": \"a\"}\n").unwrap();
    for more in [None, Some(&good)] {
        let mut command = medharness();
        let output = command.args(["corpus", "audit"]).args(more).arg(&path).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("none of 2 rows of `"), "{message}");
        assert!(message.contains("the first: missing field `output`"), "{message}");
        assert!(message.contains("hint: "), "{message}");
    }
}

/// Three digits alone are an identifier where few people share them (45 CFR 164.514(b)(2)(i)(B)).
#[test]
fn three_digits_of_a_zip_code_count_where_few_people_live() {
    use medharness::corpus::audit::IdentifierClass::Place;
    for text in ["ZIP 821** (WY)", "zip code 036.", "zip3: 893", "ZIP codes starting with 059xx"] {
        assert_eq!(identifiers(text), [Place], "{text}");
    }
    for text in ["ZIP 606** (IL)", "zip code area 100", "821 patients", "zip file 8210"] {
        assert_eq!(identifiers(text), [], "{text}");
    }
}

/// Nothing said which rows nobody may use (clinical.md 1.6, "licence field missing").
#[test]
fn rows_without_a_licence_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let licences =
        ["\"licence\": \"CC0-1.0\"", "\"license\": \"MIT\"", "\"licence\": \" \"", "\"x\": 1"];
    let lines = licences.map(|licence| format!("{{\"output\": \"a\", {licence}}}\n"));
    fs::write(&path, lines.concat()).unwrap();
    assert_eq!(found(&audit(&read_rows(&path).unwrap()))[&Check::NoLicence], [3, 4]);
}

/// At a similarity of 0.5 one pair in twenty was found, and nothing said so.
#[test]
fn the_report_says_how_surely_near_duplicates_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, "{\"output\": \"a\"}\n").unwrap();
    for format in ["text", "html"] {
        let mut command = medharness();
        command.args(["corpus", "audit", "--near", "0.5", "--format", format]).arg(&path);
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(text.contains("compared with probability 5.3 %"), "{text}");
    }
    // clinical.md 1.5: 56, 77, 92, 98.8 and 99.96 %.
    let table = [(0.7, 0.56), (0.75, 0.77), (0.8, 0.92), (0.85, 0.988), (0.9, 0.9996)];
    for (near, expected) in table {
        let found = medharness::corpus::audit::found_with(near);
        assert!((found - expected).abs() < 0.005, "{near}: {found}");
    }
}

/// Llama-3 and Qwen end with other tokens than `</s>`: rows were counted as if they had no end.
#[test]
fn the_end_token_is_the_tokenizers_own() {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": 2, "content": "<|end_of_text|>", "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
            "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": {"a": 0, "b": 1}, "merges": []},
    });
    fs::write(folder.path().join("tokenizer.json"), vocabulary.to_string()).unwrap();
    let rows = folder.path().join("rows.jsonl");
    fs::write(&rows, "{\"output\": \"abba\"}\n").unwrap();
    let audit = || {
        let mut command = medharness();
        command.args(["corpus", "audit", "--format", "json", "--tokenizer"]).arg(folder.path());
        command.arg(&rows).output().unwrap()
    };
    let output = audit();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.contains("no end token") && message.contains("tokenizer_config.json"),
        "{message}"
    );
    let config = "{\"eos_token\": \"<|end_of_text|>\"}";
    fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let json: Value = serde_json::from_slice(&audit().stdout).unwrap();
    assert_eq!(json["audit"]["settings"]["encoding"]["eos"], 2);
}

#[derive(serde::Deserialize)]
struct TokenCounts {
    rows: usize,
    max_length: usize,
    end_token_cut: usize,
    answer_cut: usize,
    fully_masked: usize,
    longest: usize,
    total: usize,
}

#[test]
fn cuts_at_the_recipes_length_are_those_of_sentencepiece() {
    let golden = fs::read_to_string("golden/corpus/token_counts.json").unwrap();
    let golden: TokenCounts = serde_json::from_str(&golden).unwrap();
    let rows = read_rows(&shared!("training/medical_meadow_small.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("first.json");
    fs::write(&path, serde_json::to_string(&rows[..golden.rows]).unwrap()).unwrap();
    let output = medharness()
        .args(["corpus", "audit", "--format", "json", "--max-length"])
        .arg(golden.max_length.to_string())
        .arg("--tokenizer")
        .arg(shared!("tokenizers/llama.tokenizer.model"))
        .arg(&path)
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = &json["audit"]["sources"][0];
    let count = |check: &str| source["checks"][check]["rows"].as_u64().unwrap() as usize;
    assert_eq!(count("end_token_cut"), golden.end_token_cut);
    assert_eq!(count("answer_cut"), golden.answer_cut);
    assert_eq!(count("fully_masked"), golden.fully_masked);
    assert_eq!(source["tokens"]["max"], golden.longest);
    let mean = source["tokens"]["mean"].as_f64().unwrap();
    assert!((mean - golden.total as f64 / golden.rows as f64).abs() < 1e-9, "{mean}");
}

fn render(path: &Path, format: &str) -> String {
    let output = medharness().args(["corpus", "audit", "--format", format]).arg(path).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn reports_are_whole_and_a_hostile_name_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let name = r#"{"source": "<script>alert(1)</script> | x", "input": "Why?", "output": ""}"#;
    fs::write(&path, format!("{name}\n{{\"input\": \"Why so?\", \"output\": \"It is.\"}}\n"))
        .unwrap();
    let html = render(&path, "html");
    assert!(html.contains("<svg ") && html.contains("Identifiers"));
    assert!(!html.contains("<script>alert"));
    let markdown = render(&path, "markdown");
    assert!(markdown.contains("\\| x") && !markdown.contains("<script>"));
    let text = render(&path, "text");
    assert!(text.contains("empty answer") && text.contains("recall on synthetic texts"));
}

/// Of five answers of 1, 1, 1, 2 and 4 words the bars are 20, 7 and 7 signs long, rounded up.
#[test]
fn markdown_draws_how_long_rows_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let row = |words: usize| {
        format!("{{\"input\": \"Why?\", \"output\": \"{}\"}}\n", vec!["so"; words].join(" "))
    };
    fs::write(&path, [1, 1, 1, 2, 4].map(row).concat()).unwrap();
    let markdown = render(&path, "markdown");
    let bar = |signs: usize| "█".repeat(signs);
    for (length, question, answer) in [
        ("1", format!("{} 5", bar(20)), format!("{} 3", bar(20))),
        ("2+", "0".to_owned(), format!("{} 1", bar(7))),
        ("4+", "0".to_owned(), format!("{} 1", bar(7))),
    ] {
        let cells = [length, &question, &answer].map(str::to_owned);
        let is_row = |line: &str| {
            let found: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
            found.get(1..4) == Some(&cells[..])
        };
        assert!(markdown.lines().any(is_row), "{length}:\n{markdown}");
    }
}
