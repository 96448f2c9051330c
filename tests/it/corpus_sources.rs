//! Raw sources give the rows that the paper's rules ask for, and every other record is counted.

use std::{collections::BTreeMap, fs, path::Path};

use medharness::corpus::{
    Row, each_row, read_rows,
    sources::{Reject, SourceCounts, SourceError, SourceKind, SourceSettings, read_source},
};

pub(crate) type Found = Result<(SourceCounts, Vec<Row>), SourceError>;

pub(crate) fn read(kind: SourceKind, path: &Path) -> Found {
    let mut rows = Vec::new();
    let counts = read_source(kind, path, &SourceSettings::new("src"), &mut |row| rows.push(row))?;
    assert_eq!(counts.rows, rows.len());
    assert_eq!(counts.rows + counts.rejected.values().sum::<usize>(), counts.records);
    Ok((counts, rows))
}

pub(crate) fn read_text(kind: SourceKind, name: &str, text: impl AsRef<[u8]>) -> Found {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("written");
    read(kind, &path)
}

/// Question and answer of each row.
pub(crate) fn pairs(rows: &[Row]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (&*row.input, &*row.output)).collect()
}

pub(crate) fn rejected(counts: &SourceCounts) -> Vec<(Reject, usize)> {
    counts.rejected.iter().map(|(reason, count)| (*reason, *count)).collect()
}

#[test]
fn flashcards_without_images_become_questions_and_clozes_ask_for_their_gaps() {
    let cards = "#separator:tab\n#html:true\n#guid column:1\n#tags column:4\n\
        g1\tWhat causes <b>scurvy</b>?\tLack of vitamin&nbsp;C\ttag1 img.png-free\n\
        g2\t<img src=\"heart.jpg\">\tHeart\t\n\
        g3\t{{c1::Thiamine}} is lacking in {{c2::beriberi::disease}}.\t\t\n\
        g4\t\"Two lines<br>of \"\"text\"\"\tand a tab\"\tYes [sound:a.mp3]\t\n\
        g5\tNo answer\t\t\n\
        g6\t\tNo question\t\n";
    let (counts, rows) = read_text(SourceKind::Flashcards, "deck.txt", cards).unwrap();
    assert_eq!(
        pairs(&rows),
        [
            ("What causes scurvy?", "Lack of vitamin\u{a0}C"),
            ("[...] is lacking in [disease].", "Thiamine is lacking in beriberi."),
            ("Two lines\nof \"text\" and a tab", "Yes"),
        ]
    );
    let expected = [(Reject::Image, 1), (Reject::NoQuestion, 1), (Reject::NoAnswer, 1)];
    assert_eq!(rejected(&counts), expected);
    assert_eq!(rows[0].source.as_deref(), Some("src"));
    assert_eq!(rows[0].instruction, "Answer this question truthfully");
    // An export of an older program: no lines with `#`.
    let (_, rows) =
        read_text(SourceKind::Flashcards, "old.txt", "Front\tBack\r\nQ\tA\r\n").unwrap();
    assert_eq!(pairs(&rows), [("Front", "Back"), ("Q", "A")]);
}

const POSTS: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<posts>\n\
    <row Id=\"5\" PostTypeId=\"2\" ParentId=\"6\" Score=\"7\" Body=\"&lt;p&gt;Early.&lt;/p&gt;\" />\n\
    <row Id=\"1\" PostTypeId=\"1\" Score=\"0\" Title=\"A &amp;amp; B?\" Body=\"&lt;p&gt;Line&#xA;one&lt;/p&gt;\" />\n\
    <row Id=\"2\" PostTypeId=\"2\" ParentId=\"1\" Score=\"5\" Body=\"&lt;p&gt;Five&lt;/p&gt;\" />\n\
    <row Id=\"3\" PostTypeId=\"2\" ParentId=\"1\" Score=\"4\" Body=\"&lt;p&gt;Four&lt;/p&gt;\" />\n\
    <row Id=\"4\" PostTypeId=\"2\" ParentId=\"99\" Score=\"9\" Body=\"&lt;p&gt;Lost&lt;/p&gt;\" />\n\
    <row Id=\"6\" PostTypeId=\"1\" Score=\"1\" Title=\"Late?\" Body=\"&lt;p&gt;So&lt;/p&gt;\" />\n\
    <row Id=\"7\" PostTypeId=\"5\" Score=\"0\" Body=\"\" />\n\
    <row Id=\"8\" PostTypeId=\"2\" ParentId=\"1\" Score=\"6\" Body=\"&lt;p&gt; &lt;/p&gt;\" />\n</posts>";

#[test]
fn answers_with_five_votes_are_joined_to_their_questions() {
    let (counts, rows) = read_text(SourceKind::StackExchange, "Posts.xml", POSTS).unwrap();
    assert_eq!(pairs(&rows), [("A &amp; B?\n\nLine one", "Five"), ("Late?\n\nSo", "Early.")]);
    let expected =
        [(Reject::NoAnswer, 1), (Reject::LowScore, 1), (Reject::Orphan, 1), (Reject::OtherPost, 1)];
    assert_eq!(rejected(&counts), expected);
    assert_eq!(rows[0].id.as_deref(), Some("2"));
    let all = SourceSettings { min_score: Some(4), ..SourceSettings::new("x") };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Posts.xml");
    fs::write(&path, POSTS).unwrap();
    let counts = read_source(SourceKind::StackExchange, &path, &all, &mut |_| ()).unwrap();
    assert_eq!(counts.rows, 3);
}

#[derive(serde::Deserialize)]
struct Golden {
    stack_exchange: GoldenPosts,
    mediqa: GoldenMediqa,
}

#[derive(serde::Deserialize)]
struct GoldenPosts {
    rows: usize,
    low_score: usize,
    orphan: usize,
    other_post: usize,
    words: BTreeMap<String, Option<[String; 2]>>,
}

#[derive(serde::Deserialize)]
struct GoldenMediqa {
    answers: usize,
    rows: usize,
}

fn golden() -> Golden {
    let text = fs::read_to_string("golden/corpus/sources.json").expect("part of the project");
    serde_json::from_str(&text).expect("as its script writes it")
}

fn digest_of_words(text: &str) -> String {
    use sha2::Digest;
    let words: Vec<&str> = text
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|w| !w.is_empty())
        .collect();
    let digest = sha2::Sha256::digest(words.join(" ").as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_real_dump_gives_the_rows_and_words_of_an_independent_reading() {
    let path = shared!("training/stackexchange_coffee_Posts.xml");
    let (counts, rows) = read(SourceKind::StackExchange, &path).unwrap();
    let golden = golden().stack_exchange;
    assert_eq!(counts.rows, golden.rows);
    let found = |reason| counts.rejected.get(&reason).copied().unwrap_or_default();
    assert_eq!(found(Reject::LowScore), golden.low_score);
    assert_eq!(found(Reject::Orphan), golden.orphan);
    assert_eq!(found(Reject::OtherPost), golden.other_post);
    let mut compared = 0;
    for row in &rows {
        let id = row.id.as_deref().unwrap();
        if let Some([question, answer]) = &golden.words[id] {
            compared += 1;
            assert_eq!(&digest_of_words(&row.input), question, "{id}: {}", row.input);
            assert_eq!(&digest_of_words(&row.output), answer, "{id}: {}", row.output);
        }
    }
    assert!(compared * 2 > rows.len(), "{compared}");
}

#[test]
fn mediqa_answers_are_taken_by_their_reference_score() {
    let path = shared!("training/mediqa2019_validation.xml");
    let (counts, rows) = read(SourceKind::Mediqa, &path).unwrap();
    let golden = golden().mediqa;
    assert_eq!((counts.records, counts.rows), (golden.answers, golden.rows));
    assert!(rows[0].input.starts_with("about uveitis"));
    assert!(rows.iter().all(|row| !row.output.contains("&apos;")));
}

/// Markup inside an answer is no end of it.
#[test]
fn mediqa_answers_are_whole_whatever_stands_in_them() {
    let xml = "<NLM-QA><Question QID=\"1\"><QuestionText>What is <b>gout</b>, and why?</QuestionText>\
               <AnswerList><Answer AID=\"1_A1\" ReferenceScore=\"4\"><AnswerText>Take <i>aspirin</i> \
               daily.<br/> Not more.</AnswerText></Answer></AnswerList></Question></NLM-QA>";
    let (_, rows) = read_text(SourceKind::Mediqa, "x.xml", xml).unwrap();
    assert_eq!(pairs(&rows), [("What is gout, and why?", "Take aspirin daily. Not more.")]);
}

/// A quote that is never closed makes one field of everything behind it.
#[test]
fn an_open_quote_is_an_error_and_no_row() {
    let cards = "Front\tBack\n\"Open\tquote\nQ\tA\nQ2\tA2\n";
    let error = read_text(SourceKind::Flashcards, "deck.txt", cards).unwrap_err();
    assert!(matches!(error, SourceError::Quote { line: 2, .. }), "{error:?}");
    let mmlu = "What?,1,2,3,4,A\n\"Which?,1,2,3,4,B\nWho?,1,2,3,4,C\n";
    let error = read_text(SourceKind::Mmlu, "x.csv", mmlu).unwrap_err();
    assert!(matches!(error, SourceError::Quote { line: 2, .. }), "{error:?}");
    // Without a line break at the end; closed, with one inside its last field; both.
    let error = read_text(SourceKind::Mmlu, "x.csv", mmlu.trim_end()).unwrap_err();
    assert!(matches!(error, SourceError::Quote { line: 2, .. }), "{error:?}");
    for text in ["Q\t\"A\n\"\n", "Q\t\"A\n\"", "Q\tA\r\n"] {
        let (counts, rows) = read_text(SourceKind::Flashcards, "deck.txt", text).unwrap();
        assert_eq!((counts.records, pairs(&rows)), (1, vec![("Q", "A")]), "{text:?}");
    }
    let long = format!("What?,1,2,3,4,A\n\"Which?,1,2,3,4,B\n{}\"\n", "x,1\n".repeat(300_000));
    let error = read_text(SourceKind::Mmlu, "x.csv", long).unwrap_err();
    assert!(matches!(error, SourceError::Quote { line: 2, .. }), "{error:?}");
}

#[test]
fn broken_dumps_are_refused_with_their_place() {
    let cut = &POSTS[..POSTS.len() - 60];
    for text in [cut, &POSTS.replace("</posts>", ""), &POSTS.replace("</posts>", "</post>")] {
        let error = read_text(SourceKind::StackExchange, "Posts.xml", text).unwrap_err();
        assert!(error.to_string().contains("Posts.xml"), "{error}");
    }
    let error = read_text(SourceKind::Mediqa, "x.xml", "<a><b/></a>").unwrap_err();
    assert!(matches!(error, SourceError::Nothing { .. }), "{error}");
    let bytes = [b"<posts><row Id=\"\xFF\"/>".as_slice(), b"</posts>"].concat();
    assert!(read_text(SourceKind::StackExchange, "Posts.xml", bytes).is_err());
    assert!(read_text(SourceKind::StackExchange, "Posts.xml", "").is_err());
}

#[test]
fn wikidoc_gives_text_under_headings_from_xml_and_html() {
    let long = "It comes of crystals of uric acid in a joint, mostly of the big toe, at night.";
    let xml = format!(
        "<mediawiki><page><title>Gout</title><ns>0</ns><revision><text>'''Gout''' is [[arthritis|a \
         joint disease]]. {long}\n== Causes ==\n{long}\n== What helps? ==\nColchicine &amp; rest. \
         {long}\n== References ==\n* x\n== Short ==\nYes.</text></revision></page>\
         <page><title>Podagra</title><ns>0</ns><redirect title=\"Gout\"/><revision><text>#REDIRECT \
         [[Gout]]</text></revision></page><page><title>Talk:Gout</title><ns>1</ns><revision>\
         <text>{long}</text></revision></page></mediawiki>"
    );
    let (counts, rows) = read_text(SourceKind::WikidocTextbook, "w.xml", &xml).unwrap();
    let questions: Vec<&str> = rows.iter().map(|row| &*row.input).collect();
    assert_eq!(questions, ["Gout", "Gout: Causes", "Gout: What helps?"]);
    assert!(rows[0].output.starts_with("Gout is a joint disease."));
    assert_eq!(
        rejected(&counts),
        [
            (Reject::Redirect, 1),
            (Reject::OtherPage, 1),
            (Reject::Apparatus, 1),
            (Reject::TooShort, 1)
        ]
    );
    let (counts, rows) = read_text(SourceKind::WikidocPatient, "w.xml", &xml).unwrap();
    assert_eq!(pairs(&rows), [("What helps?", &*format!("Colchicine & rest. {long}"))]);
    assert_eq!(counts.rejected[&Reject::NotAQuestion], 3);
    let html = format!(
        "<!DOCTYPE html><html><body><h1>Gout</h1><p>{long}</p><h2>What helps?</h2><p>Rest &amp; \
         ice.</p><p>{long}</p></body></html>"
    );
    let (_, rows) = read_text(SourceKind::WikidocPatient, "w.html", &html).unwrap();
    assert_eq!(pairs(&rows), [("What helps?", &*format!("Rest & ice.\n\n{long}"))]);
    let (_, rows) = read_text(SourceKind::WikidocTextbook, "w.html", &html).unwrap();
    assert_eq!(rows[1].input, "Gout: What helps?");
}

#[test]
fn tables_give_titles_letters_and_labels() {
    let cord = "cord_uid,sha,title,abstract\nu1,,\"A, title\",Some text\nu2,,,Text\nu3,,Title,\n";
    let (counts, rows) = read_text(SourceKind::Cord19, "metadata.csv", cord).unwrap();
    assert_eq!(pairs(&rows), [("Some text", "A, title")]);
    assert_eq!(rows[0].id.as_deref(), Some("u1"));
    assert_eq!(rejected(&counts), [(Reject::NoQuestion, 1), (Reject::NoAnswer, 1)]);
    assert!(matches!(
        read_text(SourceKind::Cord19, "x.csv", "title,text\na,b\n"),
        Err(SourceError::Column { column: "abstract", .. })
    ));

    let mmlu = "\"Which, of all?\",Iron,Zinc,Lead,Tin,B\nQ,1,2,3,4,F\n,1,2,3,4,A\n";
    let (counts, rows) = read_text(SourceKind::Mmlu, "test.csv", mmlu).unwrap();
    assert_eq!(pairs(&rows), [("Which, of all?\nA: Iron\nB: Zinc\nC: Lead\nD: Tin", "B: Zinc")]);
    assert_eq!(rejected(&counts), [(Reject::NoQuestion, 1), (Reject::NoAnswer, 1)]);

    let medqa = "{\"question\": \"Q?\", \"answer\": \"b\", \"options\": {\"A\": \"a\", \"B\": \"b\"}, \
        \"answer_idx\": \"B\"}\n\n{\"question\": 3}\n";
    let (counts, rows) = read_text(SourceKind::Medqa, "train.jsonl", medqa).unwrap();
    assert_eq!(pairs(&rows), [("Q?\nA: a\nB: b", "B: b")]);
    assert_eq!(rejected(&counts), [(Reject::Malformed, 1)]);

    let causal = "pmid,sentence,label\n1,Smoking causes it.,1\n2,It may.,2\n3,What?,7\n";
    let (counts, rows) = read_text(SourceKind::PubmedCausal, "c.csv", causal).unwrap();
    assert_eq!(rows[0].output, "This is causation.");
    assert_eq!((counts.rows, counts.rejected[&Reject::UnknownLabel]), (2, 1));
    let (_, rows) =
        read_text(SourceKind::HealthAdvice, "a.csv", "sentence,label\nDo.,2\n").unwrap();
    assert_eq!(rows[0].output, "This is strong advice.");
}

#[test]
fn trees_give_the_first_prompt_and_its_best_answer() {
    let tree = |state: &str, lang: &str, replies: &str| {
        format!(
            "{{\"message_tree_id\": \"t\", \"tree_state\": \"{state}\", \"prompt\": {{\"text\": \
             \"Why?\", \"role\": \"prompter\", \"lang\": \"{lang}\", \"replies\": [{replies}]}}}}\n"
        )
    };
    let replies = "{\"text\": \"second\", \"role\": \"assistant\", \"rank\": 1, \"replies\": []}, \
        {\"text\": \"best\", \"role\": \"assistant\", \"rank\": 0, \"replies\": [{\"text\": \"x\"}]}, \
        {\"text\": \"gone\", \"role\": \"assistant\", \"rank\": -1, \"deleted\": true}";
    let text = [
        tree("ready_for_export", "en", replies),
        tree("ready_for_export", "de", replies),
        tree("growing", "en", replies),
        tree("ready_for_export", "en", ""),
        "{}\n".into(),
    ];
    let (counts, rows) = read_text(SourceKind::OpenAssistant, "t.jsonl", text.concat()).unwrap();
    assert_eq!(pairs(&rows), [("Why?", "best")]);
    let expected = [
        (Reject::Malformed, 1),
        (Reject::NoAnswer, 1),
        (Reject::NotEnglish, 1),
        (Reject::NotReleased, 1),
    ];
    assert_eq!(rejected(&counts), expected);
}

#[test]
fn rows_are_read_from_json_lines_and_parquet() {
    let lines = "{\"instruction\": \"i\", \"output\": \"o\"}\n{\"output\": \"o\"}\n{\"input\": 3}\n\
        {\"input\": \"q\", \"output\": \" \"}\n";
    let (counts, rows) = read_text(SourceKind::Rows, "x.jsonl", lines).unwrap();
    assert_eq!((rows[0].id.as_deref(), rows[0].source.as_deref()), (Some("1"), Some("src")));
    let expected = [(Reject::Malformed, 1), (Reject::NoQuestion, 1), (Reject::NoAnswer, 1)];
    assert_eq!(rejected(&counts), expected);
    let path = Path::new("golden/corpus/rows.parquet");
    let (counts, rows) = read(SourceKind::Rows, path).unwrap();
    assert_eq!(
        pairs(&rows),
        [
            ("What causes scurvy?", "A lack of vitamin C."),
            ("Which vitamin is it?", "Ascorbic acid, 75–90 mg a day"),
        ]
    );
    assert_eq!(counts.rejected[&Reject::NoAnswer], 1);
    assert_eq!(read_rows(path).unwrap()[2].output, "");
    let whole = fs::read(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.parquet");
    for length in [4, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&broken, &whole[..length]).unwrap();
        assert!(each_row(&broken, |_, _| ()).is_err(), "{length} bytes");
    }
    let mut flipped = whole;
    for place in (4..flipped.len()).step_by(7) {
        flipped[place] ^= 0x55;
        fs::write(&broken, &flipped).unwrap();
        // An error or other rows, never a panic.
        let _ = each_row(&broken, |_, _| ());
        flipped[place] ^= 0x55;
    }
}

#[test]
fn real_rows_are_read_by_the_same_reader() {
    let (counts, _) = read(SourceKind::Rows, &shared!("training/chatdoctor5k.json")).unwrap();
    assert_eq!((counts.records, counts.rows), (5452, 5452));
    let (counts, rows) = read(SourceKind::Medqa, &shared!("exams/medqa_usmle_test.jsonl")).unwrap();
    assert_eq!((counts.records, counts.rows), (1273, 1273));
    assert!(rows.iter().all(|row| row.output[1..].starts_with(": ")));
    let mmlu = shared!("exams/mmlu_professional_medicine_test.csv");
    let (counts, _) = read(SourceKind::Mmlu, &mmlu).unwrap();
    assert_eq!(counts.rows, counts.records);
}
