//! Claims in words, other people's figures, and our number against a printed one.

use medharness::{
    claims::{
        Audit, CellVerdict, ClaimVerdict, Claims, Evidence, History, Measured, Others, Table,
        compare_with_printed,
    },
    stats::{PrintedShare, Share, Unit},
};
use proptest::prelude::*;

#[test]
fn each_claim_gets_the_verdict_its_table_allows() {
    use ClaimVerdict::{Contradicted, NotTestable, Supported};
    let audit = Audit::new(&Table::paper());
    let verdicts: Vec<_> =
        audit.claims.iter().map(|judged| (judged.claim.id.as_str(), judged.verdict)).collect();
    assert_eq!(
        verdicts,
        [
            ("range-47-60", Supported),
            ("entries-160000", Supported),
            // 7b LoRA prints 0.202 on Step 2, as its base does, and 0.179 on Step 3, below it.
            ("fine-tuned-above-base", Contradicted),
            // 27/91 against 18/91 alone has p = 0.12.
            ("full-7b-above-base", NotTestable),
            ("full-13b-above-base", Supported),
            ("lora-above-base", NotTestable),
            ("lora-costs-accuracy", Supported),
            ("8bit-costs-accuracy", NotTestable),
            // The largest gain is 0.602 - 0.276, 32.6 points.
            ("over-35-points", Contradicted),
            ("over-35-relative-full", Supported),
            ("over-35-relative-all", Contradicted),
            ("hipaa", NotTestable),
        ]
    );
    for judged in &audit.claims {
        assert!(!judged.because.is_empty() && !judged.claim.source.place.is_empty());
    }
}

#[test]
fn a_verdict_follows_the_table_and_not_the_file() {
    let table = Table::parse(
        "t",
        b"[[column]]\nname = \"A\"\nn = 1000\n[[row]]\nmodel = \"x\"\nvalues = [\"0.700\"]\n\
          [[row]]\nmodel = \"y\"\nvalues = [\"0.500\"]\n",
    )
    .expect("valid");
    let audit = Audit::new(&table);
    let verdict = |test: &str| {
        let claims = format!(
            "[[claim]]\nid = \"c\"\ntext = \"\"\nsource = {{ where = \"\", date = \"\", protocol = \"\" }}\ntest = {test}\n"
        );
        let claims = Claims::parse("c", claims.as_bytes(), &table).expect("valid");
        claims.judge(&table, &audit)[0].verdict
    };
    let above = |a: &str, b: &str| {
        verdict(&format!("{{ kind = \"every_pair_above\", pairs = [[\"{a}\", \"{b}\"]] }}"))
    };
    assert_eq!(above("x", "y"), ClaimVerdict::Supported);
    assert_eq!(above("y", "x"), ClaimVerdict::Contradicted);
    assert_eq!(above("x", "x"), ClaimVerdict::Contradicted);
    let together = |a: &str, b: &str| {
        verdict(&format!("{{ kind = \"together_above\", above = [\"{a}\"], below = [\"{b}\"] }}"))
    };
    assert_eq!(together("x", "y"), ClaimVerdict::Supported);
    assert_eq!(together("y", "x"), ClaimVerdict::Contradicted);
    assert_eq!(together("x", "x"), ClaimVerdict::NotTestable);
    let range = |low: &str| {
        verdict(&format!("{{ kind = \"range\", model = \"x\", low = {low}, high = 0.7 }}"))
    };
    assert_eq!(range("0.7"), ClaimVerdict::Supported);
    assert_eq!(range("0.6"), ClaimVerdict::Contradicted);
}

#[test]
fn claims_and_evidence_name_what_the_table_does_not_have() {
    let table = Table::paper();
    let claim = "[[claim]]\nid = \"c\"\ntext = \"\"\nsource = { where = \"\", date = \"\", protocol = \"\" }\n\
                 test = { kind = \"range\", model = \"GPT-5\", low = 0.1, high = 0.2 }\n";
    let error = Claims::parse("c.toml", claim.as_bytes(), &table).expect_err("no such row");
    assert_eq!(error.to_string(), "c.toml:1: claim \"c\": the table has no row \"GPT-5\"");

    let evidence = "fact = []\n[cause]\nsummary = \"\"\ncode = \"\"\nwhere = \"\"\n[[column]]\n\
                    name = \"Step 1\"\nquestions = 119\nexcluded = 27\nnever_asked = 1\n[[reading]]\n\
                    model = \"LLaMA 13b\"\ncolumn = \"Step 1\"\ncounts = [\"20/91\"]\nnote = \"\"\n";
    let error = Evidence::parse("e.toml", evidence.as_bytes(), &table).expect_err("wrong count");
    let text = "e.toml:11: reading of \"LLaMA 13b\", Step 1: 20/91 is not printed as 0.222";
    assert_eq!(error.to_string(), text);
}

#[test]
fn the_readme_history_ends_with_the_papers_table() {
    let history = History::paper();
    let dates: Vec<&str> = history.0.iter().map(|state| &state.date[..10]).collect();
    assert!(dates.is_sorted(), "{dates:?}");
    let table = Table::paper();
    let last = history.0.last().expect("not empty");
    assert_eq!((last.commit.as_str(), last.rows.len()), ("e0fde99", table.rows.len()));
    for (model, values) in &last.rows {
        let row = table.row(model).expect("the same rows");
        for (text, printed) in values.iter().zip(&row.values) {
            assert_eq!(text, printed.as_ref().map_or("TBA", PrintedShare::text), "{model}");
        }
    }
    // The notebook's figures fit the stated 92, 110 and 124 questions.
    for (_, values) in &history.0[0].rows {
        for (text, n) in values.iter().zip([92, 110, 124]) {
            if text != "nan" {
                let printed = PrintedShare::parse(text, Unit::Fraction).expect("valid");
                assert!(!printed.counts(n).is_empty(), "{text} of {n}");
            }
        }
    }
}

#[test]
fn clinical_camels_figures_are_no_sampling_noise() {
    let table = Table::paper();
    let audit = Audit::new(&table);
    let others = Others::paper();
    let z: Vec<String> = others
        .beside(&table, &audit)
        .iter()
        .filter(|dispute| dispute.figure.model == "MedAlpaca 13b")
        .filter_map(|dispute| Some(format!("{:.1}", dispute.test?.z)))
        .collect();
    // evaluation.md 0.6: z = 5.2, 3.1, 5.4.
    assert_eq!(z, ["5.2", "3.1", "5.4"]);
    assert!(others.figures.len() > 40 && others.remarks.len() >= 9);
    for figure in &others.figures {
        let source = &others.sources[&figure.source];
        assert!(!source.place.is_empty() && !source.date.is_empty() && !source.protocol.is_empty());
    }
}

fn verdict(printed: &str, n: Option<usize>, ours: Measured) -> CellVerdict {
    let printed = PrintedShare::parse(printed, Unit::Fraction).expect("valid");
    compare_with_printed(&printed, n, ours).verdict
}

fn share(k: usize, n: usize) -> Measured {
    Measured::Share(Share::new(k, n).expect("valid"))
}

#[test]
fn a_number_is_reproduced_within_its_interval_and_else_differs() {
    assert_eq!(verdict("0.473", Some(91), share(43, 91)), CellVerdict::Reproduced);
    assert_eq!(verdict("0.473", Some(91), share(36, 92)), CellVerdict::Reproduced);
    assert_eq!(verdict("0.473", Some(91), share(11, 90)), CellVerdict::Differs);
    assert_eq!(verdict("0.473", Some(91), share(70, 92)), CellVerdict::Differs);
    assert_eq!(verdict("0.000", Some(92), share(0, 92)), CellVerdict::Reproduced);
    assert_eq!(verdict("1.000", Some(92), share(92, 92)), CellVerdict::Reproduced);
    // Without a number of questions the interval alone decides.
    assert_eq!(verdict("0.473", None, share(43, 91)), CellVerdict::Reproduced);
    assert_eq!(verdict("0.473", None, share(11, 90)), CellVerdict::Differs);
}

#[test]
fn too_few_questions_are_not_comparable() {
    assert!(matches!(verdict("0.473", Some(91), share(1, 3)), CellVerdict::NotComparable(_)));
    assert!(matches!(verdict("0.473", Some(91), share(14, 29)), CellVerdict::NotComparable(_)));
    assert_eq!(verdict("0.473", Some(91), share(14, 30)), CellVerdict::Reproduced);
}

#[test]
fn what_was_not_run_or_is_something_else_says_why() {
    let why = || "weights are not on this machine".to_owned();
    assert_eq!(verdict("0.473", Some(91), Measured::NotRun(why())), CellVerdict::NotRun(why()));
    let ours = Measured::NotComparable(why());
    assert_eq!(verdict("0.473", Some(91), ours), CellVerdict::NotComparable(why()));
}

#[test]
fn a_comparison_says_how_small_a_difference_it_could_have_seen() {
    let printed = PrintedShare::parse("0.473", Unit::Fraction).expect("valid");
    let cell = compare_with_printed(&printed, Some(91), share(43, 91));
    assert_eq!(format!("{:.3}", cell.detectable.expect("known")), "0.207");
    assert!(compare_with_printed(&printed, None, share(43, 91)).detectable.is_none());
}

proptest! {
    #[test]
    fn our_own_number_is_always_reproduced(n in 30usize..2000, k in 0usize..2000) {
        let k = k.min(n);
        let printed = format!("{:.3}", k as f64 / n as f64);
        prop_assert_eq!(verdict(&printed, Some(n), share(k, n)), CellVerdict::Reproduced);
    }
}
