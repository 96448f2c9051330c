//! What several tests need: the real data beside the checkout, and the program itself.

use std::path::PathBuf;

/// Returns the folder of real data, `None` (said and counted by the caller) where it is missing.
///
/// Looked for in `$MEDHARNESS_SHARED`, then in `../shared/data`.
pub(crate) fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("MEDHARNESS_SHARED").map(PathBuf::from);
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    named.into_iter().chain([beside]).find(|folder| folder.is_dir())
}

/// Returns the path of one real file, or says that the test is skipped and returns from it.
///
/// Use as `let path = shared!("exams/official_answer_keys.json");`.
#[macro_export]
macro_rules! shared {
    ($path:expr) => {
        match $crate::support::shared() {
            Some(folder) => folder.join($path),
            None => {
                $crate::support::skipped($path);
                return;
            }
        }
    };
}

/// Says on stderr that a test did nothing; fails instead where `MEDHARNESS_REQUIRE_SHARED` is set.
#[track_caller]
pub(crate) fn skipped(what: &str) {
    let place = std::panic::Location::caller();
    assert!(
        std::env::var_os("MEDHARNESS_REQUIRE_SHARED").is_none(),
        "MEDHARNESS_REQUIRE_SHARED is set, and `{what}` is not there"
    );
    eprintln!("SKIPPED {place}: no real data (`{what}`)");
}

/// Returns the program, with progress off and the project's folder as its own.
pub(crate) fn medharness() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_medharness"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("NO_COLOR", "1");
    command
}

/// Returns exit code, stdout and stderr of the program in one text, for a snapshot.
pub(crate) fn transcript(command: &mut assert_cmd::Command) -> String {
    let output = command.output().expect("the program starts");
    format!(
        "exit: {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().map_or("signal".into(), |code| code.to_string()),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Returns a question whose options are `texts`, lettered from A; the first one is right.
pub(crate) fn question(texts: &[&str]) -> medharness::exam::Question {
    use medharness::exam::{Choice, Letter, Question, QuestionId};
    let letter = |index| Letter::from_index(index).expect("at most 26 options");
    let choice =
        |(index, text): (usize, &&str)| Choice { letter: letter(index), text: (*text).to_owned() };
    Question {
        id: QuestionId("1".into()),
        step: None,
        text: "Which drug?".into(),
        options: texts.iter().enumerate().map(choice).collect(),
        answer: letter(0),
        has_image: false,
        source: "test".into(),
    }
}
