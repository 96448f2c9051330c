//! MedAlpaca's layout: a folder of `step{1,2,3}.json` with `step{1,2,3}_solutions.json`.
//!
//! - `step1.json` is a list of `{no, question, options {A: …}}`, `no` an integer or digits.
//! - `step1_solutions.json` is `{"1": "A", …}`, the letter of every `no`. A small letter is read as
//!   its capital, with a warning: users of the published files found some.
//! - `question_with_images.json`, if there, names the image items by step:
//!   `{"step1": [4, 7], …}` or `{"1": [4, 7], …}`, numbers as integers or digits.
//!
//! Any of the three steps may be missing; ids are `step1/4`. Image items are marked (`has_image`)
//! and so excluded: those of `question_with_images.json` and, unless told otherwise, those of the
//! authors' notebook ([`ExcludedItems::notebook`]). Where the two disagree about a question, that is
//! a finding, and the question is excluded.
//!
//! Source: kbressem/medAlpaca at 05fa7d5, `eval/eval_usmle.py`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    Defect, ExamError, ExcludedItems, FieldProblem, Finding, Letter, Place, Question, QuestionId,
    Step, entry,
    entry::{Entry, Loaded, UnknownFields},
    json::{self, Json},
    source::Source,
};

/// Name of the list of image items in the folder.
pub(super) const IMAGE_LIST: &str = "question_with_images.json";

const FIELDS: [&str; 3] = ["no", "question", "options"];

/// Reads the steps among `sources`, each with its solutions.
pub(super) fn load(sources: &[Source], notebook: bool) -> Result<Loaded, ExamError> {
    let mut loaded = Loaded::default();
    let mut unknown = UnknownFields::default();
    let mut steps = Vec::new();
    for source in sources {
        let Some(step) = Step::of_name(&source.stem()) else { continue };
        let name = format!("step{step}_solutions");
        let solutions = sources.iter().find(|source| source.stem() == name);
        let solutions = solutions.ok_or_else(|| ExamError::Read {
            path: source.path.with_file_name(format!("{name}.json")),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let first = loaded.entries.len();
        read_step(source, step, solutions, &mut loaded, &mut unknown)?;
        steps.push((source, step, loaded.entries.len() - first));
    }
    loaded.findings.extend(unknown.findings());
    let folder = sources.iter().find(|source| source.path.ends_with(IMAGE_LIST));
    mark_images(folder, notebook, &steps, &mut loaded)?;
    Ok(loaded)
}

fn read_step(
    source: &Source,
    step: Step,
    solutions: &Source,
    loaded: &mut Loaded,
    unknown: &mut UnknownFields,
) -> Result<(), ExamError> {
    let path = &source.path;
    let mut answers = read_answers(solutions)?;
    let mut used = BTreeSet::new();
    let mut unanswered = Vec::new();
    let json = Json::parse(path, &source.text, 1)?;
    for item in json.list(path, "file")? {
        let object = item.object(path, "item")?;
        unknown.note(&object, &FIELDS);
        let number = object.get("no")?.number(path, "no")?;
        let Some(Answer { letter: answer, is_small, place }) = answers.get(&number).cloned() else {
            unanswered.push(number);
            continue;
        };
        used.insert(number);
        let id = QuestionId(format!("step{step}/{number}"));
        if is_small {
            let defect = Defect::AnswerInLowerCase { answer };
            loaded.findings.push(Finding::new(Some(&id), place.clone(), defect));
        }
        let question = Question {
            id,
            step: Some(step),
            text: object.text("question")?.0.to_owned(),
            options: entry::options(path, object.get("options")?, "options")?,
            answer,
            has_image: false,
            source: "medalpaca-usmle".into(),
        };
        loaded.entries.push(Entry {
            question,
            id_place: object.place("no"),
            text_place: object.place("question"),
            options_place: object.place("options"),
            answer_place: place,
        });
    }
    if !unanswered.is_empty() {
        return Err(ExamError::NoAnswer { path: solutions.path.clone(), numbers: unanswered });
    }
    answers.retain(|number, _| !used.contains(number));
    loaded.findings.extend(answers.into_iter().map(|(number, Answer { place, .. })| {
        let id = QuestionId(format!("step{step}/{number}"));
        Finding::new(None, place, Defect::AnswerWithoutQuestion { id })
    }));
    Ok(())
}

/// The key of one question.
#[derive(Clone)]
struct Answer {
    letter: Letter,
    is_small: bool,
    place: Place,
}

/// Reads `{"1": "A", …}`.
fn read_answers(source: &Source) -> Result<BTreeMap<u32, Answer>, ExamError> {
    let path = &source.path;
    let json = Json::parse(path, &source.text, 1)?;
    let mut answers = BTreeMap::new();
    for (key, value) in json.entries(path, "file")? {
        let place = Place::new(path, value.line, &json::shortened(key));
        let Some(number) = json::number(key) else {
            let problem = FieldProblem::Expected {
                expected: "a number as key",
                got: format!("`{}`", place.field),
            };
            return Err(ExamError::Field { place, problem });
        };
        let capital = json::letter(&value.text(path, key)?.to_ascii_uppercase());
        let letter = capital.ok_or_else(|| value.unexpected(path, key, "a letter from A to Z"))?;
        let is_small = value.text(path, key)? != letter.to_string();
        let answer = Answer { letter, is_small, place: place.clone() };
        if answers.insert(number, answer).is_some() {
            return Err(ExamError::Field { place, problem: FieldProblem::Repeated });
        }
    }
    Ok(answers)
}

/// Marks the items of both lists, and finds where they differ or cannot be meant for these files.
fn mark_images(
    folder: Option<&Source>,
    notebook: bool,
    steps: &[(&Source, Step, usize)],
    loaded: &mut Loaded,
) -> Result<(), ExamError> {
    let of_folder = folder.map(read_images).transpose()?;
    let of_notebook: Option<BTreeSet<QuestionId>> =
        notebook.then(|| ExcludedItems::notebook().ids().map(|(id, _)| id).collect());
    for entry in &mut loaded.entries {
        let id = &entry.question.id;
        let in_folder = of_folder.as_ref().map(|list| list.contains(id));
        let in_notebook = of_notebook.as_ref().map(|list| list.contains(id));
        entry.question.has_image = in_folder == Some(true) || in_notebook == Some(true);
        if let (Some(in_folder), Some(in_notebook)) = (in_folder, in_notebook)
            && in_folder != in_notebook
        {
            let by = if in_folder { IMAGE_LIST } else { "the authors' notebook" };
            let defect = Defect::ImageListsDiffer { by: by.into() };
            loaded.findings.push(Finding::new(Some(id), entry.id_place.clone(), defect));
        }
    }
    if let (Some(source), Some(list)) = (folder, &of_folder) {
        let known: BTreeSet<_> = loaded.entries.iter().map(|entry| &entry.question.id).collect();
        let is_read = |id: &QuestionId| {
            steps.iter().any(|(_, step, _)| id.0.starts_with(&format!("step{step}/")))
        };
        for id in list.iter().filter(|id| is_read(id) && !known.contains(id)) {
            let defect = Defect::ExcludedNotThere { id: id.clone() };
            loaded.findings.push(Finding::new(None, Place::new(&source.path, 1, &id.0), defect));
        }
    }
    if notebook {
        for list in ExcludedItems::notebook().list {
            let Some((source, step, got)) =
                steps.iter().find(|(_, step, _)| Some(*step) == list.step)
            else {
                continue;
            };
            if let Some(of) = list.of.filter(|of| of != got) {
                let defect = Defect::ImageListSize { step: *step, of, got: *got };
                loaded.findings.push(Finding::new(None, Place::new(&source.path, 1, "no"), defect));
            }
        }
    }
    Ok(())
}

/// Reads `{"step1": [4, 7], …}` as ids.
fn read_images(source: &Source) -> Result<BTreeSet<QuestionId>, ExamError> {
    let path: &Path = &source.path;
    let json = Json::parse(path, &source.text, 1)?;
    let mut ids = BTreeSet::new();
    for (key, value) in json.entries(path, "file")? {
        let step = Step::of_name(key).or_else(|| Step::parse(key)).ok_or_else(|| {
            let problem = FieldProblem::Expected {
                expected: "`step1` to `step3` as keys",
                got: format!("`{}`", json::shortened(key)),
            };
            ExamError::Field { place: Place::new(path, value.line, "file"), problem }
        })?;
        for number in value.list(path, key)? {
            ids.insert(QuestionId(format!("step{step}/{}", number.number(path, key)?)));
        }
    }
    Ok(ids)
}
