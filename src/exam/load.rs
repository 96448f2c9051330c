//! From a path to an [`Exam`]: which format it is, which files belong to it, what is left out.
//!
//! The format follows from the names in a folder, else from the content: `.csv` is MMLU, a JSON list
//! goes by the keys of its first item, JSON lines by the keys of the first line. Nothing else is
//! tried; a caller who knows better says so in [`LoadOptions::format`].

use std::path::{Path, PathBuf};

use super::{
    Defect, Exam, ExamError, ExcludedItems, Finding, Place, Severity, Step, camel,
    entry::Loaded,
    inspect,
    json::{Json, Value},
    jsonl, medalpaca, medqa, mmlu, sample2023,
    source::Source,
};

/// A layout of exam files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The project's own JSON lines; see [`mod@super::jsonl`].
    Jsonl,
    /// MedAlpaca's folder: `step1.json`, `step1_solutions.json`, ….
    Medalpaca,
    /// The 2023 sample exams: `step1_questions.json`, ….
    Usmle2023,
    /// Clinical Camel's JSON lines, options inside the text.
    ClinicalCamel,
    /// MedQA's JSON lines.
    Medqa,
    /// MMLU's CSV.
    Mmlu,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::Jsonl,
        Self::Medalpaca,
        Self::Usmle2023,
        Self::ClinicalCamel,
        Self::Medqa,
        Self::Mmlu,
    ];

    /// Returns the name it is chosen by, e.g. `clinical-camel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Medalpaca => "medalpaca",
            Self::Usmle2023 => "usmle2023",
            Self::ClinicalCamel => "clinical-camel",
            Self::Medqa => "medqa",
            Self::Mmlu => "mmlu",
        }
    }

    /// Returns the format of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// How to load an exam.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// The format; `None` finds out.
    pub format: Option<Format>,
    /// Whether the notebook's image items are excluded from MedAlpaca's files.
    pub notebook_list: bool,
    /// Further questions not to ask, and the file that says so.
    pub exclude: Option<(PathBuf, ExcludedItems)>,
}

impl Default for LoadOptions {
    /// Any format, image items excluded, nothing else.
    fn default() -> Self {
        Self { format: None, notebook_list: true, exclude: None }
    }
}

impl Exam {
    /// Returns the exam in the file or folder `path`, ready to be asked.
    ///
    /// # Errors
    ///
    /// As [`Exam::read`]; and [`ExamError::Refused`] if it has findings of severity error on
    /// questions that would be asked.
    pub fn load(path: &Path) -> Result<Self, ExamError> {
        Self::load_with(path, &LoadOptions::default())
    }

    /// Does what [`Exam::load`] does, with options.
    ///
    /// # Errors
    ///
    /// As [`Exam::load`].
    pub fn load_with(path: &Path, options: &LoadOptions) -> Result<Self, ExamError> {
        let exam = Self::read(path, options)?;
        if let Some(first) = exam.blocking().next() {
            let (errors, first) = (exam.blocking().count(), Box::new(first.clone()));
            return Err(ExamError::Refused { name: exam.name.clone(), errors, first });
        }
        Ok(exam)
    }

    /// Returns the exam in the file or folder `path`, whatever is found in it.
    ///
    /// # Errors
    ///
    /// Every [`ExamError`] about reading; [`ExamError::Empty`] for an exam without a question.
    pub fn read(path: &Path, options: &LoadOptions) -> Result<Self, ExamError> {
        let (format, sources) = if path.is_dir() {
            of_folder(path, options.format)?
        } else {
            of_file(path, options.format)?
        };
        let mut exam = Self::from_sources(format, &sources, options)?;
        if exam.questions.is_empty() {
            return Err(ExamError::Empty { path: path.to_owned() });
        }
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        exam.name = name.map_or_else(|| "exam".into(), |name| name.to_string_lossy().into_owned());
        Ok(exam)
    }

    /// Returns the exam that `files` (path and bytes) hold, without touching the disk.
    ///
    /// # Errors
    ///
    /// As [`Exam::read`].
    pub fn from_bytes(
        format: Format,
        files: &[(PathBuf, Vec<u8>)],
        options: &LoadOptions,
    ) -> Result<Self, ExamError> {
        let sources = files.iter().map(|(path, bytes)| Source::from_bytes(path, bytes));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let exam = Self::from_sources(format, &sources, options)?;
        if exam.questions.is_empty() {
            let path = files.first().map_or_else(PathBuf::new, |(path, _)| path.clone());
            return Err(ExamError::Empty { path });
        }
        Ok(exam)
    }

    fn from_sources(
        format: Format,
        sources: &[Source],
        options: &LoadOptions,
    ) -> Result<Self, ExamError> {
        let mut all = Loaded::default();
        match format {
            Format::Medalpaca => all = medalpaca::load(sources, options.notebook_list)?,
            Format::Usmle2023 => all = sample2023::load(sources)?,
            single => {
                for source in sources {
                    let Loaded { entries, findings } = match single {
                        Format::ClinicalCamel => camel::load(source)?,
                        Format::Medqa => medqa::load(source)?,
                        Format::Mmlu => mmlu::load(source)?,
                        _ => jsonl::load(source)?,
                    };
                    all.entries.extend(entries);
                    all.findings.extend(findings);
                }
            }
        }
        all.findings.extend(inspect::findings(&all.entries));
        let (questions, answer_places) =
            all.entries.into_iter().map(|entry| (entry.question, entry.answer_place)).unzip();
        let mut exam = Self {
            format,
            findings: all.findings,
            files: sources.iter().map(|source| source.file.clone()).collect(),
            answer_places,
            ..Self::new(sources.first().map(Source::stem).unwrap_or_default(), questions)
        };
        if let Some((path, items)) = &options.exclude {
            exam.exclude(path, items);
        }
        exam.findings.sort_by_key(|finding| finding.severity);
        Ok(exam)
    }

    /// Leaves out what `items` names; a question that is not there is an error.
    fn exclude(&mut self, path: &Path, items: &ExcludedItems) {
        for (id, reason) in items.ids() {
            if self.questions.iter().any(|question| question.id == id) {
                self.excluded.entry(id).or_insert_with(|| reason.to_owned());
            } else {
                let place = Place::new(path, 1, "list");
                let defect = Defect::ExcludedNotThere { id };
                self.findings.push(Finding::new(None, place, defect));
            }
        }
    }

    /// Returns the findings that forbid to ask this exam.
    pub fn blocking(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| self.is_blocked_by(finding))
    }

    /// Returns whether `finding` forbids to ask this exam: an error, unless its question is excluded.
    ///
    /// An id that two questions share counts even then: excluding it would drop both.
    pub fn is_blocked_by(&self, finding: &Finding) -> bool {
        let is_repeated_id = matches!(finding.defect, Defect::DuplicateId { .. });
        let id = finding.question_id.as_ref().filter(|_| !is_repeated_id);
        let is_excluded = id.is_some_and(|id| self.excluded.contains_key(id));
        finding.severity == Severity::Error && !is_excluded
    }
}

/// Names of a step's files, in order of the steps.
fn step_files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let path = |step: &Step| folder.join(format!("step{step}{suffix}.json"));
    Step::ALL.iter().take(3).map(path).filter(|path| path.is_file()).collect()
}

fn of_folder(folder: &Path, format: Option<Format>) -> Result<(Format, Vec<Source>), ExamError> {
    let unknown =
        |found: &str| ExamError::UnknownFormat { path: folder.to_owned(), found: found.into() };
    std::fs::read_dir(folder)
        .map_err(|source| ExamError::Read { path: folder.to_owned(), source })?;
    let (steps, questions) = (step_files(folder, ""), step_files(folder, "_questions"));
    let format = match (format, steps.is_empty(), questions.is_empty()) {
        (Some(format @ (Format::Medalpaca | Format::Usmle2023)), ..) => format,
        (Some(_), ..) => return Err(unknown("a folder, the format is of one file")),
        (None, false, true) => Format::Medalpaca,
        (None, true, false) => Format::Usmle2023,
        (None, true, true) => {
            return Err(unknown("a folder with neither step1.json nor step1_questions.json"));
        }
        (None, false, false) => {
            return Err(unknown("a folder with both step1.json and step1_questions.json"));
        }
    };
    let mut paths = if format == Format::Medalpaca { steps } else { questions };
    if format == Format::Medalpaca {
        let solutions = step_files(folder, "_solutions");
        paths.extend(solutions);
        paths.extend(Some(folder.join(medalpaca::IMAGE_LIST)).filter(|path| path.is_file()));
    }
    let sources = paths.iter().map(|path| Source::read(path)).collect::<Result<Vec<_>, _>>()?;
    Ok((format, sources))
}

fn of_file(path: &Path, format: Option<Format>) -> Result<(Format, Vec<Source>), ExamError> {
    let source = Source::read(path)?;
    let format = match format {
        Some(format) => format,
        None => sniff(&source)?,
    };
    let mut sources = vec![source];
    if format == Format::Medalpaca {
        let Some(step) = Step::of_name(&sources[0].stem()) else {
            let found = "a name other than step1.json, so that its solutions have none".into();
            return Err(ExamError::UnknownFormat { path: path.to_owned(), found });
        };
        sources.push(Source::read(&path.with_file_name(format!("step{step}_solutions.json")))?);
        let images = path.with_file_name(medalpaca::IMAGE_LIST);
        if images.is_file() {
            sources.push(Source::read(&images)?);
        }
    }
    Ok((format, sources))
}

/// Finds the format from extension and content.
fn sniff(source: &Source) -> Result<Format, ExamError> {
    let path = &source.path;
    let unknown = |found: String| ExamError::UnknownFormat { path: path.clone(), found };
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    if extension.as_deref() == Some("csv".as_ref()) {
        return Ok(Format::Mmlu);
    }
    let Some((line, first_line)) = source.lines().next() else {
        return Err(ExamError::Empty { path: path.clone() });
    };
    let first = match first_line.trim_start().chars().next() {
        Some('[') => {
            let json = Json::parse(path, &source.text, 1)?;
            match json.list(path, "file")?.first() {
                Some(first) => first.clone(),
                None => return Err(ExamError::Empty { path: path.clone() }),
            }
        }
        Some('{') => match Json::parse(path, first_line, line) {
            // An object over several lines is JSON, but no JSON line.
            Err(_) if extension.as_deref() == Some("json".as_ref()) => {
                return Err(unknown("one JSON object, not a list of questions".into()));
            }
            parsed => parsed?,
        },
        _ => return Err(unknown(format!("`{}`", super::json::shortened(first_line.trim())))),
    };
    let keys: Vec<&str> = match &first.value {
        Value::Object(entries) => entries.iter().map(|(key, _)| key.as_str()).collect(),
        _ => return Err(unknown(first.kind())),
    };
    let has = |wanted: &[&str]| wanted.iter().all(|key| keys.contains(key));
    let is_list = first_line.trim_start().starts_with('[');
    match () {
        () if is_list && has(&["question_number"]) => Ok(Format::Usmle2023),
        () if is_list && has(&["no", "options"]) => Ok(Format::Medalpaca),
        () if !is_list && has(&["answer_idx"]) => Ok(Format::Medqa),
        () if !is_list && has(&["text", "category"]) => Ok(Format::ClinicalCamel),
        () if !is_list && has(&["id", "options"]) => Ok(Format::Jsonl),
        () => Err(unknown(format!("the keys {}", keys.join(", ")))),
    }
}
