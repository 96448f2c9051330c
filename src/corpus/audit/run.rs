//! Rows in, one at a time; the audit out.

use std::{collections::BTreeMap, path::Path};

use super::{
    Audit, AuditSettings, Check, Distribution, SourceAudit, Tally, duplicates::Seen, found_with,
    language::language, phi::identifiers, phi_set::identifier_recall, text, tokens,
};
use crate::corpus::{
    Row, RowPlace,
    words::{folded, words},
};

/// Unreadable rows that are named.
const MOST_UNREADABLE: usize = 100;

/// Gives the ids of a text without BOS and EOS.
pub type Tokenise<'a> = &'a dyn Fn(&str) -> Vec<u32>;

/// Audits training rows. The order of rows decides which of two duplicates is the first.
pub struct Auditor<'a> {
    settings: AuditSettings,
    tokenise: Option<Tokenise<'a>>,
    seen: Seen,
    /// Source of each row.
    owners: Vec<usize>,
    sources: Vec<Source>,
    names: BTreeMap<String, usize>,
    between: BTreeMap<(usize, usize), usize>,
    unreadable: Vec<(RowPlace, String)>,
    unreadable_rows: usize,
}

struct Source {
    audit: SourceAudit,
    question_words: Vec<usize>,
    answer_words: Vec<usize>,
    places: Vec<(usize, usize)>,
    files: Vec<String>,
    tokens: Vec<usize>,
    learnt: Vec<usize>,
}

impl<'a> Auditor<'a> {
    /// Starts an audit; `tokenise` gives the ids of a text without BOS and EOS, and is used only
    /// with [`AuditSettings::encoding`].
    pub fn new(settings: AuditSettings, tokenise: Option<Tokenise<'a>>) -> Self {
        Self {
            seen: Seen::new(settings.near),
            settings,
            tokenise,
            owners: Vec::new(),
            sources: Vec::new(),
            names: BTreeMap::new(),
            between: BTreeMap::new(),
            unreadable: Vec::new(),
            unreadable_rows: 0,
        }
    }

    /// Notes that row `number` of `file` is none, and why.
    pub fn reject(&mut self, file: &str, number: usize, reason: String) {
        self.unreadable_rows += 1;
        if self.unreadable.len() < MOST_UNREADABLE {
            let place = RowPlace { file: file.to_owned(), row: number, id: None };
            self.unreadable.push((place, reason));
        }
    }

    /// Looks at row `number` (from 1) of `file`.
    pub fn add(&mut self, file: &str, number: usize, row: &Row) {
        let place = RowPlace { file: file.to_owned(), row: number, id: row.id.clone() };
        let owner = self.source(source_of(file, row));
        let duplicates = self.seen.add(self.owners.len(), row);
        self.owners.push(owner);
        let is_copy = |check: &Check| *check != Check::Conflicting;
        for (check, first) in &duplicates {
            let earlier = self.owners[*first];
            if earlier != owner && is_copy(check) {
                *self.between.entry((owner, earlier)).or_default() += 1;
            }
        }
        let source = &mut self.sources[owner];
        source.audit.rows += 1;
        let mut note = |check: Check| source.audit.checks.entry(check).or_default().add(&place);
        duplicates.iter().for_each(|(check, _)| note(*check));
        text::checks(row).into_iter().for_each(&mut note);
        if row.licence.as_ref().is_none_or(|licence| licence.trim().is_empty()) {
            note(Check::NoLicence);
        }
        let everything = format!("{}\n{}\n{}", row.instruction, row.input, row.output);
        let language = language(&everything);
        if !matches!(language, "en" | "unknown") {
            note(Check::NotEnglish);
        }
        if let (Some(encoding), Some(tokenise)) = (&self.settings.encoding, self.tokenise) {
            match tokens::count(encoding, row, tokenise) {
                None => note(Check::NotEncodable),
                Some(counted) => {
                    counted.cut.into_iter().for_each(&mut note);
                    source.tokens.push(counted.whole);
                    source.learnt.push(counted.learnt);
                }
            }
        }
        *source.audit.languages.entry(language).or_default() += 1;
        for class in identifiers(&everything) {
            source.audit.identifiers.entry(class).or_default().add(&place);
        }
        let count = |text: &str| words(&folded(text)).count();
        source.question_words.push(count(&row.instruction) + count(&row.input));
        source.answer_words.push(count(&row.output));
        if source.files.last() != Some(&place.file) {
            source.files.push(place.file);
        }
        source.places.push((source.files.len() - 1, number));
    }

    fn source(&mut self, name: String) -> usize {
        let next = self.sources.len();
        *self.names.entry(name).or_insert_with_key(|name| {
            let checks = Check::ALL.into_iter();
            let counted = checks
                .filter(|check| !check.needs_tokens() || self.settings.encoding.is_some())
                .map(|check| (check, Tally::default()));
            self.sources.push(Source {
                audit: SourceAudit {
                    source: name.clone(),
                    rows: 0,
                    checks: counted.collect(),
                    languages: BTreeMap::new(),
                    identifiers: BTreeMap::new(),
                    question_words: None,
                    answer_words: None,
                    tokens: None,
                    learnt_tokens: None,
                },
                question_words: Vec::new(),
                answer_words: Vec::new(),
                places: Vec::new(),
                files: Vec::new(),
                tokens: Vec::new(),
                learnt: Vec::new(),
            });
            next
        })
    }

    /// Returns what was found.
    pub fn finish(self) -> Audit {
        let names: Vec<String> =
            self.sources.iter().map(|source| source.audit.source.clone()).collect();
        let sources: Vec<SourceAudit> = self.sources.into_iter().map(Source::finish).collect();
        let exact = |source: &SourceAudit| source.checks[&Check::ExactDuplicate].rows;
        Audit {
            settings: self.settings,
            near_found_with: found_with(self.settings.near),
            rows: self.owners.len(),
            unreadable: self.unreadable,
            unreadable_rows: self.unreadable_rows,
            exact_duplicates: sources.iter().map(exact).sum(),
            between_sources: self
                .between
                .into_iter()
                .map(|((own, other), rows)| (names[own].clone(), names[other].clone(), rows))
                .collect(),
            sources,
            identifier_recall: identifier_recall(),
        }
    }
}

impl Source {
    fn finish(self) -> SourceAudit {
        let Self { mut audit, answer_words, places, files, .. } = self;
        audit.question_words = Distribution::of(self.question_words);
        audit.answer_words = Distribution::of(answer_words.clone());
        audit.tokens = Distribution::of(self.tokens);
        audit.learnt_tokens = Distribution::of(self.learnt);
        if let Some(spread) = &audit.answer_words {
            let outliers = answer_words.iter().zip(places).filter(|(n, _)| spread.is_outlier(**n));
            let tally = audit.checks.entry(Check::LengthOutlier).or_default();
            for (_, (file, row)) in outliers {
                tally.add(&RowPlace { file: files[file].clone(), row, id: None });
            }
        }
        audit
    }
}

/// The row's own source, or the stem of its file.
pub(super) fn source_of(file: &str, row: &Row) -> String {
    let stem = || Path::new(file).file_stem().map_or(file.into(), |stem| stem.to_string_lossy());
    row.source.clone().unwrap_or_else(|| stem().into_owned())
}
