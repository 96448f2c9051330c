//! Cards of Anki's text exports: nothing is taken for markup or for a heading that is none.

use medharness::corpus::sources::{Reject, SourceKind};

use crate::corpus_sources::{pairs, read_text, rejected};

/// `#1 cause of death …` was taken for a line of the heading, and not even counted.
#[test]
fn a_card_that_begins_with_a_number_sign_is_a_card() {
    let old = "#1 cause of death in the US?\tHeart disease\n#2: and then?\tCancer\nQ\tA\n";
    let (counts, rows) = read_text(SourceKind::Flashcards, "old.txt", old).unwrap();
    let expected = [
        ("#1 cause of death in the US?", "Heart disease"),
        ("#2: and then?", "Cancer"),
        ("Q", "A"),
    ];
    assert_eq!((counts.records, pairs(&rows)), (3, expected.to_vec()));
    // Behind a heading, and with every line that Anki's manual lists for one.
    let new = "\u{feff}#separator:Semicolon\r\n#html:true\r\n#columns:guid;front;back;tags\r\n\
        #notetype:Basic\r\n#deck:Old\r\n#tags:a b\r\n#guid column:1\r\n#notetype column:5\r\n\
        #deck column:6\r\n#tags column:4\r\n#if matches:keep both\r\n#match scope:notetype\r\n\
        g;#1 organism?;E. coli;t;Basic;D\r\n";
    let (counts, rows) = read_text(SourceKind::Flashcards, "new.txt", new).unwrap();
    assert_eq!((counts.records, pairs(&rows)), (1, vec![("#1 organism?", "E. coli")]));
    // A card alone, without a line break.
    let (_, rows) = read_text(SourceKind::Flashcards, "one.txt", "#1?\tOne").unwrap();
    assert_eq!(pairs(&rows), [("#1?", "One")]);
}

/// The pattern ended a gap at the first `}}` and took the rest of an inner one for a hint.
#[test]
fn nested_clozes_give_whole_words() {
    let cards = "{{c1::The {{c2::liver::organ}} makes bile}} daily.\n\
        {{c1::A::hint}} and {{c2::B}}.\n\
        Ratio {{c1::\\(\\frac{1}{2}\\)}} is {{c2::a half}}.\n\
        {{c1,2::Iron}} binds {{c3::{{c4::heme}}}}.\n";
    let (_, rows) = read_text(SourceKind::Flashcards, "deck.txt", cards).unwrap();
    assert_eq!(
        pairs(&rows),
        [
            ("[...] daily.", "The liver makes bile daily."),
            ("[hint] and [...].", "A and B."),
            ("Ratio [...] is [...].", "Ratio \\(\\frac{1}{2}\\) is a half."),
            ("[...] binds [...].", "Iron binds heme."),
        ]
    );
}

/// What remained of such a note stood in the row, braces included.
#[test]
fn a_cloze_that_does_not_close_is_counted_and_no_row() {
    let cards = "{{c1::Never closed\nClosed {{c1::twice}} }}\n{{c1::one { brace}}\nQ }}\tA\n";
    let (counts, rows) = read_text(SourceKind::Flashcards, "deck.txt", cards).unwrap();
    assert_eq!(pairs(&rows), [("Q }}", "A")]);
    assert_eq!(rejected(&counts), [(Reject::BrokenCloze, 3)]);
}

/// `x<y and z>w` lost what stood between the signs.
#[test]
fn cards_without_html_keep_every_word() {
    let cards = "#separator:tab\n#html:false\nIs x<b and c>d?\tIf a<br and 5 &lt; 6 <b>so</b>\n";
    let (_, rows) = read_text(SourceKind::Flashcards, "deck.txt", cards).unwrap();
    assert_eq!(pairs(&rows), [("Is x<b and c>d?", "If a<br and 5 &lt; 6 <b>so</b>")]);
    // Without a heading nobody says whether it is HTML: only whole tags of HTML are.
    let cards = "Is K <normal in <b>this</b> patient and p<a or b>c?\tYes,<br>Na <low too\n";
    let (_, rows) = read_text(SourceKind::Flashcards, "deck.txt", cards).unwrap();
    let expected = ("Is K <normal in this patient and p<a or b>c?", "Yes,\nNa <low too");
    assert_eq!(pairs(&rows), [expected]);
}
