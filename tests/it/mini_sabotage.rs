//! The gate against a harness that was broken on purpose: each defect moves the miniature's answers
//! enough to fail it, and an unbroken repetition passes.
//!
//! The model is the small base with a committed adapter, which answers in form; the questions are
//! those whose facts were taught as questions. Each defect is made where a real one would be: around
//! the model, in its files, or in what is read out of its replies.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use medharness::{
    claims::runs::{Fails, Gate, GateSettings, Outcomes, Tolerance, gate},
    eval::Evaluation,
    exam::Exam,
    models::{
        self, Bos, Capabilities, Completion, LogLikelihood, Model, ModelError, ModelIdentity,
        OpenOptions, Prompt, Request, Sampling, WeightFormat,
    },
    protocol::{Protocol, RuleId, read},
    stats::Seed,
    store::Run,
};
use safetensors::{
    SafeTensors,
    tensor::{TensorView, serialize},
};

use crate::{support::medharness, trainer_support::root};

/// Questions asked; fewer where our own code is not optimised.
const ASKED: usize = if cfg!(debug_assertions) { 40 } else { 240 };

fn base() -> PathBuf {
    root().join("golden/mini/models/small")
}

fn adapter() -> PathBuf {
    root().join("golden/lora/miniature")
}

fn protocol() -> Protocol {
    Protocol::builtin("strict-v1").expect("a protocol of the program")
}

/// Questions whose facts were taught as questions.
fn exam() -> Exam {
    let exam = Exam::load(&root().join("golden/mini/exam.jsonl")).expect("the exam");
    let taught = fs::read_to_string(root().join("golden/mini/exam_taught.jsonl")).expect("taught");
    let is_taught = |id: &str| {
        taught.lines().any(|line| {
            line.contains(&format!("\"{id}\"")) && line.ends_with("\"taught\":\"question\"}")
        })
    };
    let questions = exam.asked().filter(|question| is_taught(&question.id.0)).take(ASKED);
    Exam::new("part", questions.cloned().collect())
}

/// What is broken between the harness and the model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// The template lacks a line feed.
    Template,
    /// The first token is left out.
    Bos,
    /// The texts of the first two options change places; the key stays.
    Options,
}

/// A model behind a broken harness.
struct Behind {
    model: Box<dyn Model>,
    broken: Broken,
    exam: Exam,
}

impl Behind {
    fn text(&self, prompt: &Prompt) -> String {
        match self.broken {
            Broken::Template => {
                assert!(prompt.text.contains("\n\n### Response:\n"), "{}", prompt.text);
                prompt.text.replace("\n\n### Response:\n", "\n\n### Response:")
            }
            Broken::Options => {
                let question = self.exam.questions.iter().find(|q| q.id == prompt.id);
                let mut question = question.expect("a question of the exam").clone();
                let first = question.options[0].text.clone();
                question.options[0].text = std::mem::replace(&mut question.options[1].text, first);
                protocol().render(&question)
            }
            Broken::Bos | Broken::Nothing => prompt.text.clone(),
        }
    }
}

impl Model for Behind {
    fn identity(&self) -> &ModelIdentity {
        self.model.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    fn generate(
        &mut self,
        prompts: &[Prompt],
        sampling: &Sampling,
    ) -> Result<Vec<Completion>, ModelError> {
        let prompts: Vec<Prompt> =
            prompts.iter().map(|p| Prompt { text: self.text(p), ..p.clone() }).collect();
        let bos = if self.broken == Broken::Bos { Bos::None } else { sampling.bos };
        self.model.generate(&prompts, &Sampling { bos, ..sampling.clone() })
    }

    fn log_likelihood(&mut self, requests: &[Request]) -> Result<Vec<LogLikelihood>, ModelError> {
        let bos = |request: &Request| match self.broken {
            Broken::Bos => Bos::None,
            _ => request.bos,
        };
        let requests: Vec<Request> =
            requests.iter().map(|r| Request { bos: bos(r), ..r.clone() }).collect();
        self.model.log_likelihood(&requests)
    }

    fn preferred_batch(&self) -> usize {
        self.model.preferred_batch()
    }

    fn kernel_set(&self) -> &str {
        self.model.kernel_set()
    }
}

/// Asks under the headline's protocol and returns the run.
fn ask(
    base: &Path,
    adapter: Option<&Path>,
    format: Option<WeightFormat>,
    broken: Broken,
    out: &Path,
) -> Run {
    ask_under(&protocol(), base, adapter, format, broken, out)
}

fn ask_under(
    protocol: &Protocol,
    base: &Path,
    adapter: Option<&Path>,
    format: Option<WeightFormat>,
    broken: Broken,
    out: &Path,
) -> Run {
    let exam = exam();
    let adapter = adapter.map(|path| path.display().to_string());
    let options = OpenOptions { exam: None, format, adapter: adapter.as_deref() };
    let opened = models::open(&base.display().to_string(), &options).expect("a model");
    let mut model = Behind { model: opened.model, broken, exam: exam.clone() };
    Evaluation::new(&exam, protocol).run_to_end(&mut model, out).expect("asked");
    Run::open_complete(out).expect("a run")
}

/// As the gate of a study decides of three trained rows: four runs each, three tests a run.
fn decide(baseline: &Outcomes, run: &Outcomes) -> Gate {
    settled(baseline, run, false)
}

/// With `exact` any other answer fails.
fn settled(baseline: &Outcomes, run: &Outcomes, exact: bool) -> Gate {
    let settings = GateSettings {
        margin: Tolerance::new(0.02).expect("a margin"),
        alpha: 0.05 / 36.0,
        fails: Fails::OnAnyMove,
        exact,
        any_version: false,
        seed: Seed(0),
    };
    gate(baseline, run, &settings).expect("comparable")
}

/// The unbroken answers, asked once.
fn baseline() -> &'static Outcomes {
    static BASELINE: OnceLock<Outcomes> = OnceLock::new();
    BASELINE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let run = ask(&base(), Some(&adapter()), None, Broken::Nothing, &folder.path().join("run"));
        Outcomes::of(&run)
    })
}

/// Asserts that a run with a defect fails, and says by how much it moved.
#[track_caller]
fn must_fail(what: &str, baseline: &Outcomes, run: &Outcomes) {
    let decision = decide(baseline, run);
    let whole = decision.comparison.whole();
    let moved = format!(
        "{what}: {} right of {}, {} before; p = {:.1e}; {} failures",
        whole.b_correct,
        whole.questions,
        whole.a_correct,
        whole.p,
        decision.failures.len()
    );
    eprintln!("{moved}");
    assert!(!decision.passes, "not caught: {moved}");
}

#[test]
fn an_unbroken_repetition_passes_and_the_model_really_answers() {
    let folder = tempfile::tempdir().unwrap();
    let run = ask(&base(), Some(&adapter()), None, Broken::Nothing, &folder.path().join("run"));
    let outcomes = Outcomes::of(&run);
    assert!(decide(baseline(), &outcomes).passes);
    assert_eq!(outcomes.items, baseline().items);
    // A fifth is chance. A model that guesses, or replies in no form, would hide a defect.
    let right = outcomes.items.iter().filter(|item| item.is_correct()).count();
    assert!(10 * right > 3 * outcomes.items.len(), "{right} of {} right", outcomes.items.len());
    let read = outcomes.items.iter().filter(|item| item.letter.is_some()).count();
    assert!(10 * read > 9 * outcomes.items.len(), "{read} of {} in form", outcomes.items.len());
}

#[test]
fn a_template_without_its_line_feed_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let run = ask(&base(), Some(&adapter()), None, Broken::Template, &folder.path().join("run"));
    must_fail("a missing line feed", baseline(), &Outcomes::of(&run));
}

#[test]
fn a_changed_first_token_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let run = ask(&base(), Some(&adapter()), None, Broken::Bos, &folder.path().join("run"));
    let run = Outcomes::of(&run);
    // It costs this model no accuracy, so only the exact gate sees it.
    let decision = settled(baseline(), &run, true);
    eprintln!("no BOS: {} answers changed", decision.comparison.flips.len());
    assert!(!decision.passes);
    assert!(settled(baseline(), baseline(), true).passes);
}

/// What CI's step asks with `--exact`: the base as it is, under the protocol that reads its letters.
#[test]
fn a_changed_first_token_is_caught_where_only_the_base_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let letters = Protocol::builtin("mmlu-letter").expect("a protocol of the program");
    let asked = |broken, name: &str| {
        let out = folder.path().join(name);
        Outcomes::of(&ask_under(&letters, &base(), None, None, broken, &out))
    };
    let whole = asked(Broken::Nothing, "whole");
    let decision = settled(&whole, &asked(Broken::Bos, "broken"), true);
    eprintln!("no BOS, base: {} answers changed", decision.comparison.flips.len());
    assert!(!decision.passes);
    assert!(settled(&whole, &asked(Broken::Nothing, "again"), true).passes);
}

#[test]
fn a_swapped_order_of_options_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let run = ask(&base(), Some(&adapter()), None, Broken::Options, &folder.path().join("run"));
    must_fail("options swapped", baseline(), &Outcomes::of(&run));
}

/// The base model's replies are in no form; a rule that takes any letter reads them.
#[test]
fn a_rule_that_accepts_more_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let run = ask(&base(), None, None, Broken::Nothing, &folder.path().join("run"));
    let strict = Outcomes::of(&run);
    assert!(decide(&strict, &strict).passes);
    let mut loose = strict.clone();
    for (item, (question, attempts)) in loose.items.iter_mut().zip(run.answered()) {
        let last = attempts.last().expect("an attempt");
        let reading = read(RuleId::Opencompass, question, &last.text, last.finish_reason).reading;
        (item.outcome, item.letter) = (reading.outcome(question.answer), reading.letter());
    }
    must_fail("a looser rule", &strict, &loose);
}

#[test]
fn a_lora_scaling_of_alpha_instead_of_alpha_by_rank_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("adapter");
    fs::create_dir(&broken).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter().join(name), broken.join(name)).unwrap();
    }
    let path = broken.join("adapter_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let rank = config["r"].as_f64().expect("a rank");
    assert!(rank > 1.0);
    config["lora_alpha"] = (config["lora_alpha"].as_f64().expect("alpha") * rank).into();
    fs::write(&path, config.to_string()).unwrap();
    let run = ask(&base(), Some(&broken), None, Broken::Nothing, &folder.path().join("run"));
    must_fail("alpha for alpha / r", baseline(), &Outcomes::of(&run));
}

#[test]
fn int8_scales_that_are_off_by_one_row_are_caught() {
    let folder = tempfile::tempdir().unwrap();
    let int8 = folder.path().join("int8");
    let mut quantize = medharness();
    quantize.args(["quantize", "--no-progress", "--model"]).arg(base()).arg("--out").arg(&int8);
    quantize.assert().success();
    let asked = |name: &str| {
        let out = folder.path().join(name);
        let format = Some(WeightFormat::Int8);
        Outcomes::of(&ask(&int8, Some(&adapter()), format, Broken::Nothing, &out))
    };
    let whole = asked("whole");
    let path = int8.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut moved = 0;
    let tensors: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let mut data = view.data().to_vec();
            if name.ends_with(".SCB") {
                // The scale of each row is that of the row before.
                data.rotate_right(4);
                moved += 1;
            }
            (name, view.dtype(), view.shape().to_vec(), data)
        })
        .collect();
    assert!(moved > 0, "no scales in the file");
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).expect("whole"))
    });
    let written = serialize(views, None).unwrap();
    fs::write(&path, written).unwrap();
    must_fail("int8 scales off by one row", &whole, &asked("off"));
}
