//! This program once more, as a process that makes a part of a study or a sweep.

use std::{
    ffi::OsString,
    io::{Read, stdin, stdout},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{CommandError, reproduce::failed};
use crate::study::{
    StudyError,
    mini::{Telling, Watch, Workers},
};

/// Returns how `command` is started as a worker, each on its share of the processors.
///
/// Without a number of `jobs` it is that of the processors; of the user's own study, whose models may
/// fill the memory, one.
pub(super) fn of(
    command: Vec<OsString>,
    jobs: Option<u16>,
    is_own: bool,
    runs: &Path,
    definition: &Path,
) -> Result<Workers, CommandError> {
    let processors = rayon::current_num_threads();
    let at_once = match jobs {
        Some(jobs) => usize::from(jobs),
        None if is_own => 1,
        None => processors,
    };
    let program = std::env::current_exe().map_err(CommandError::internal)?;
    let mut arguments = command;
    arguments.extend(["--worker".into(), "--runs".into(), runs.into()]);
    arguments.extend(["--definition".into(), definition.into()]);
    Ok(Workers { at_once, program, arguments, threads: (processors / at_once).max(1) })
}

/// Makes a part, telling on standard output what is done, until standard input ends.
pub(super) fn work(
    make: &mut dyn FnMut(&mut dyn Watch) -> Result<bool, StudyError>,
) -> Result<(), CommandError> {
    let ended = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&ended);
    thread::spawn(move || {
        let _ = stdin().read_to_end(&mut Vec::new());
        raised.store(true, Ordering::Relaxed);
    });
    let mut telling = Telling::new(stdout(), || ended.load(Ordering::Relaxed));
    match make(&mut telling).map_err(failed)? {
        true => Ok(()),
        false => Err(CommandError::interrupted("its standard input ended")),
    }
}
