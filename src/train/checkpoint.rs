//! Checkpoints that are whole or absent, and the way back from them.
//!
//! A folder `checkpoint-STEP` is written aside, every file synced, the folder renamed into place and
//! its parent synced; `SHA256SUMS` in it holds the digest of each file (`sha256sum -c` checks them),
//! and is checked before anything is read. What else a training needs (rows, order, dropout) follows
//! from the recipe and the number of updates, so there is no state of a random generator to keep.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Optimizer, TrainError,
    state::{Stored, broken, states, weights},
    tensors,
};
use crate::{
    llama::Llama,
    lora::Adapter,
    store::{StoreError, identify_file, remove_folder, sync_folder},
};

/// Version of the checkpoint's layout.
const FORMAT: u32 = 1;
/// File of [`Progress`].
const STATE: &str = "trainer_state.json";
/// File of the optimizer's states.
const OPTIMIZER: &str = "optimizer.safetensors";
/// File of the weights where all are trained.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// File of the weights of an adapter; its tensors have the names of the network's variables.
const ADAPTER: &str = "adapter_model.safetensors";
/// File of an adapter's settings.
const SETTINGS: &str = "adapter_config.json";
/// File of digests.
const SUMS: &str = "SHA256SUMS";
/// What it names, in order: of an adapter, and where every weight is trained.
const FILES: [&[&str]; 2] = [&[SETTINGS, ADAPTER, OPTIMIZER, STATE], &[WEIGHTS, OPTIMIZER, STATE]];

/// How far a training has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Version of the layout.
    pub format_version: u32,
    /// Updates gone by.
    pub step: u64,
    /// Updates made; the rest was left out.
    pub made: u64,
    /// Lowest validation loss and the step it was found at; of an adapter, from the first update on that
    /// could change it.
    pub best: Option<Best>,
    /// Validations since then.
    pub without_best: usize,
    /// Length of `metrics.jsonl` at this step.
    pub log_bytes: u64,
    /// Its digest at this length; `None` in checkpoints of a program before it was kept.
    #[serde(default)]
    pub log_sha256: Option<String>,
    /// Time spent training, in seconds.
    pub wall_s: f64,
    /// Largest memory that a process of this training has held, in bytes; `None` where the system
    /// does not say.
    #[serde(default)]
    pub mem_peak: Option<u64>,
}

/// The lowest validation loss so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Updates gone by.
    pub step: u64,
    /// The loss.
    pub loss: f64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            format_version: FORMAT,
            step: 0,
            made: 0,
            best: None,
            without_best: 0,
            log_bytes: 0,
            log_sha256: None,
            wall_s: 0.0,
            mem_peak: None,
        }
    }
}

/// The checkpoints of one training.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> TrainError + use<'a> {
    move |source| StoreError::Io { action, path: path.to_owned(), source }.into()
}

impl Checkpoints {
    /// Returns the checkpoints in a training's folder; what a killed process left unfinished there
    /// is removed.
    ///
    /// # Errors
    ///
    /// [`TrainError::Store`] if the folder cannot be read or written.
    pub fn new(folder: &Path) -> Result<Self, TrainError> {
        for entry in fs::read_dir(folder).map_err(io("read", folder))? {
            let path = entry.map_err(io("read", folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(".checkpoint-") {
                fs::remove_dir_all(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Returns the steps of the checkpoints there are, ascending.
    ///
    /// # Errors
    ///
    /// [`TrainError::Store`] if the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>, TrainError> {
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(io("read", &self.folder))? {
            let name = entry.map_err(io("read", &self.folder))?.file_name();
            let step = name.to_string_lossy().strip_prefix("checkpoint-").map(str::parse::<u64>);
            steps.extend(step.and_then(Result::ok));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Returns the folder of a checkpoint.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("checkpoint-{step}"))
    }

    /// Writes a checkpoint, and then removes the oldest but `keep`, the best, and those that a kept one
    /// calls the best: should the newest be damaged, the one before can go on.
    ///
    /// # Errors
    ///
    /// [`TrainError::NotFinite`] if a weight or a state is not finite; [`TrainError`] if a file cannot
    /// be written. The checkpoints there were are intact.
    pub fn save(
        &self,
        network: &Llama,
        optimizer: &Optimizer,
        progress: &Progress,
        keep: usize,
    ) -> Result<(), TrainError> {
        require_finite(progress.step, network, Some(optimizer))?;
        let path = self.path(progress.step);
        let aside = self.folder.join(format!(".checkpoint-{}.new", progress.step));
        if let Err(error) = Self::write(&aside, network, optimizer, progress) {
            // Frees what a full disk needs most; the reason to report is the first one.
            let _ = fs::remove_dir_all(&aside);
            return Err(error);
        }
        self.remove(progress.step)?;
        fs::rename(&aside, &path).map_err(io("rename", &aside))?;
        sync_folder(&self.folder)?;
        self.prune(progress.best.map(|best| best.step), keep)
    }

    fn prune(&self, best: Option<u64>, keep: usize) -> Result<(), TrainError> {
        let steps = self.steps()?;
        let others = steps.iter().rev().copied().filter(|step| Some(*step) != best);
        let mut kept: Vec<u64> = others.take(keep.max(1)).collect();
        // A state that cannot be read names none, and is refused where it is to be used.
        let named = |step: &u64| {
            let text = fs::read_to_string(self.path(*step).join(STATE)).ok()?;
            Some(serde_json::from_str::<Progress>(&text).ok()?.best?.step)
        };
        let bests: Vec<u64> = kept.iter().filter_map(named).collect();
        kept.extend(bests.into_iter().chain(best));
        for step in steps.into_iter().filter(|step| !kept.contains(step)) {
            self.remove(step)?;
        }
        Ok(())
    }

    fn write(
        aside: &Path,
        network: &Llama,
        optimizer: &Optimizer,
        progress: &Progress,
    ) -> Result<(), TrainError> {
        fs::create_dir_all(aside).map_err(io("create", aside))?;
        write_weights(aside, network)?;
        let path = aside.join(OPTIMIZER);
        tensors::write(&path, &states(optimizer, network.variables()))
            .map_err(io("write", &path))?;
        let path = aside.join(STATE);
        let json = serde_json::to_vec_pretty(progress).expect("numbers have a JSON form");
        write_synced(&path, &json)?;
        let mut written = vec![OPTIMIZER, STATE, weights_file(network)];
        written.extend(network.adapter_settings().map(|_| SETTINGS));
        written.sort_unstable();
        let mut sums = String::new();
        for name in written {
            let identity = identify_file(&aside.join(name))?;
            sums += &format!("{}  {name}\n", identity.sha256);
        }
        write_synced(&aside.join(SUMS), sums.as_bytes())?;
        Ok(sync_folder(aside)?)
    }

    /// Removes a checkpoint if it is there, never leaving a part of one under its name.
    fn remove(&self, step: u64) -> Result<(), TrainError> {
        let path = self.path(step);
        if !path.exists() {
            return Ok(());
        }
        Ok(remove_folder(&path)?)
    }

    /// Checks every file of a checkpoint against its digest and returns how far it had come. What
    /// else was put into its folder is left alone.
    ///
    /// # Errors
    ///
    /// [`TrainError::Damaged`] names the first file that is missing or changed.
    pub fn check(&self, step: u64) -> Result<Progress, TrainError> {
        let folder = self.path(step);
        let damaged = |name: &str, problem: &str| TrainError::Damaged {
            path: folder.join(name),
            problem: problem.to_owned(),
        };
        let sums =
            fs::read_to_string(folder.join(SUMS)).map_err(|_| damaged(SUMS, "is missing"))?;
        let sums: Option<Vec<(&str, &str)>> =
            sums.lines().map(|line| line.split_once("  ")).collect();
        let sums = sums.ok_or_else(|| damaged(SUMS, "is no list of digests"))?;
        let mut names: Vec<&str> = sums.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        if !FILES.iter().any(|files| names == *files) {
            return Err(damaged(SUMS, "does not name the files of a checkpoint"));
        }
        for (sha256, name) in sums {
            let found = identify_file(&folder.join(name));
            if found.map_err(|_| damaged(name, "is missing"))?.sha256 != sha256 {
                return Err(damaged(name, "was changed after it was written: its digest differs"));
            }
        }
        let text =
            fs::read_to_string(folder.join(STATE)).map_err(|_| damaged(STATE, "is missing"))?;
        let progress: Progress =
            serde_json::from_str(&text).map_err(|error| damaged(STATE, &format!("is {error}")))?;
        if progress.format_version != FORMAT || progress.step != step {
            return Err(damaged(STATE, "is of another version or step"));
        }
        Ok(progress)
    }

    /// Puts a checkpoint's weights into the network.
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::check`]; or the weights are those of another network.
    pub fn load_weights(&self, step: u64, network: &Llama) -> Result<Progress, TrainError> {
        let progress = self.check(step)?;
        let folder = self.path(step);
        Stored::open(&folder.join(weights_file(network)))?.weights(network)?;
        Ok(progress)
    }

    /// Puts a checkpoint's optimizer states in place.
    ///
    /// # Errors
    ///
    /// As [`Checkpoints::load_weights`], which must have been called before.
    pub fn load_states(
        &self,
        step: u64,
        network: &Llama,
        optimizer: &mut Optimizer,
    ) -> Result<(), TrainError> {
        Stored::open(&self.path(step).join(OPTIMIZER))?.states(optimizer, network.variables())
    }
}

/// Refuses weights, and states of an optimizer, that hold a value that is not finite.
pub(super) fn require_finite(
    step: u64,
    network: &Llama,
    optimizer: Option<&Optimizer>,
) -> Result<(), TrainError> {
    match broken(optimizer, network.variables())? {
        Some(name) => Err(TrainError::NotFinite { step, name }),
        None => Ok(()),
    }
}

/// Writes what is trained, as PEFT's adapter files or as `model.safetensors`, and syncs it. Other
/// entries of the folder are left alone.
pub(super) fn write_weights(folder: &Path, network: &Llama) -> Result<(), TrainError> {
    if let Some(adapter) = network.adapter()? {
        return Ok(adapter.write(folder)?);
    }
    let path = folder.join(WEIGHTS);
    tensors::write(&path, &weights(network.variables())).map_err(io("write", &path))
}

/// Reads back what [`write_weights`] wrote and compares it with the network, bit for bit.
pub(super) fn verify_weights(folder: &Path, network: &Llama) -> Result<(), TrainError> {
    let differs = |name: &str| TrainError::Damaged {
        path: folder.join(name),
        problem: "does not read back as it was written".into(),
    };
    let file = weights_file(network);
    if !Stored::open(&folder.join(file))?.are_weights(network)? {
        return Err(differs(file));
    }
    match network.adapter_settings() {
        Some(settings) if Adapter::read_config(folder)? != *settings => Err(differs(SETTINGS)),
        _ => Ok(()),
    }
}

/// Returns the name of the file of what is trained.
pub(super) fn weights_file(network: &Llama) -> &'static str {
    if network.adapter_settings().is_some() { ADAPTER } else { WEIGHTS }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    fs::write(path, bytes).map_err(io("write", path))?;
    File::open(path).and_then(|file| file.sync_all()).map_err(io("sync", path))
}
