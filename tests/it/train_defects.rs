//! Updates that would break the weights, and trainings that cannot go on: found, named, nothing lost.

use std::{fs, process::Stdio};

use medharness::{
    corpus::{Example, Truncation},
    llama::{CheckpointError, Config, Hold, Llama, WeightSource},
    train::{Checkpoints, Defect, Item, MicroBatch, Padding, Recipe, TrainError, Trainer},
};

use crate::{
    support::medharness,
    train_command::{Place, losses, weights},
    trainer_support::{golden, recipe_text},
};

/// The token that the network below has next to all others.
const FAVOURITE: usize = 7;
/// The one it thinks least of.
const UNLOVED: usize = 8;

/// A network that computes the same for every position: the output matrix has `head` in the
/// favourite's row and its negative in the unloved's, and sees ones times `gain`.
struct Constant {
    gain: f32,
    head: f32,
}

impl WeightSource for Constant {
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        let value = |row: usize| match name {
            "model.embed_tokens.weight" => 1.0,
            "model.norm.weight" => self.gain,
            "lm_head.weight" if row == FAVOURITE => self.head,
            "lm_head.weight" if row == UNLOVED => -self.head,
            _ if name.contains("norm") => 1.0,
            _ => 0.0,
        };
        (first..first + rows).for_each(|row| out.extend(vec![value(row); row_len]));
        Ok(())
    }
}

/// Returns what is wrong with an update that learns `target`, and checks that it changed nothing.
fn defect(source: Constant, target: usize) -> Option<Defect> {
    let config = golden("trainer.json")["config"].to_string();
    let config = Config::parse(&config).expect("golden configuration");
    let mut source = source;
    let network = Llama::new(config, &mut source, Hold::Trainable).expect("gives every tensor");
    let bits = || -> Vec<u32> {
        let values = |(_, weight): &(String, candle_core::Var)| -> Vec<f32> {
            weight.flatten_all().and_then(|x| x.to_vec1()).expect("f32")
        };
        network.variables().iter().flat_map(values).map(f32::to_bits).collect()
    };
    let before = bits();
    let label = i64::try_from(target).expect("small");
    let example = Example {
        ids: vec![3; 4],
        labels: vec![-100, label, label, label],
        truncation: Truncation::None,
    };
    let micro = MicroBatch::new(&[Item { row: 41, example }], Padding::None);
    // The first update of a warm-up has the rate 0 and changes nothing.
    let recipe = recipe_text(false).replace("warmup = 2.0", "warmup = 0.0");
    let recipe = Recipe::parse(&recipe, "small").expect("a recipe");
    let mut trainer = Trainer::new(&network, recipe.settings(8));
    match trainer.update(&[micro]) {
        Ok(_) => {
            assert!(bits() != before, "an update changes weights");
            None
        }
        Err(TrainError::BadStep { step, defect, rows }) => {
            assert_eq!((step, rows), (1, vec![41]));
            assert_eq!((trainer.step, trainer.made), (0, 0));
            assert!(bits() == before, "{defect:?}");
            Some(defect)
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_loss_of_exactly_zero_is_a_defect() {
    assert_eq!(defect(Constant { gain: 1.0, head: 0.01 }, FAVOURITE), None);
    assert_eq!(defect(Constant { gain: 1.0, head: 1e4 }, FAVOURITE), Some(Defect::LossZero));
}

#[test]
fn a_loss_that_is_no_number_is_a_defect() {
    let found = defect(Constant { gain: 1.0, head: 3e38 }, FAVOURITE);
    assert_eq!(found, Some(Defect::LossNotFinite));
}

/// The loss is a few nats, but a gradient is the difference of two rows near f32's largest number.
#[test]
fn a_gradient_beyond_f32_is_a_defect() {
    let found = defect(Constant { gain: 1e-39, head: 3e38 }, UNLOVED);
    assert_eq!(found, Some(Defect::GradientNotFinite));
}

/// Trains with a rate at which weights break after the first updates; returns what was said.
fn broken(save_every: usize) -> (Place, String) {
    let recipe = recipe_text(true)
        .replace("save_every = 3", &format!("save_every = {save_every}"))
        .replace("rate = 5e-3", "rate = 1e30")
        .replace("max_norm = 1.0", "max_norm = 0.0");
    let place = Place::new(&recipe);
    let output = medharness().args(place.arguments("out")).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    (place, stderr)
}

/// Changes the recipe so that bad updates are left out.
fn go_on_bad_steps(place: &Place) {
    let path = place.path("recipe.toml");
    let recipe = fs::read_to_string(&path).expect("a recipe").replace("\"stop\"", "\"skip\"");
    fs::write(path, recipe).expect("written");
}

#[test]
fn a_training_that_breaks_stops_with_step_rows_and_advice() {
    let (place, stderr) = broken(1);
    assert!(stderr.contains("(rows ") && stderr.contains("hint: "), "{stderr}");
    assert!(!place.path("out/adapter_model.safetensors").exists());
    // Asked to skip, the same folder goes on; its weights are finite, but what they say is not.
    go_on_bad_steps(&place);
    for _ in 0..2 {
        let output = medharness().args(place.arguments("out")).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("step 6: the validation loss is not finite"), "{stderr}");
        assert!(!stderr.contains("(rows )"), "{stderr}");
        assert!(!place.path("out/adapter_model.safetensors").exists());
    }
    let log = fs::read_to_string(place.path("out/metrics.jsonl")).expect("a log");
    assert!(log.contains("loss_not_finite") && log.contains("validation_broken"), "{log}");
}

/// What was finished before is not lost, however rarely the recipe saves.
#[test]
fn an_update_that_breaks_leaves_a_checkpoint_of_the_one_before() {
    let (place, stderr) = broken(0);
    let steps = Checkpoints::new(&place.path("out")).and_then(|found| found.steps());
    let step = *steps.expect("readable").last().expect("a checkpoint");
    assert!(step >= 1 && stderr.contains(&format!("step {}", step + 1)), "{step}: {stderr}");
    go_on_bad_steps(&place);
    let output = medharness().args(place.arguments("out")).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains(&format!("continuing after update {step}")), "{stderr}");
}

/// A rate beyond f32 makes weights that are no numbers, and every later update is left out.
#[test]
fn weights_that_are_not_finite_are_never_written() {
    let recipe = recipe_text(false)
        .replace("rate = 5e-3", "rate = 1e39")
        .replace("\"stop\"", "\"skip\"")
        .replace("validation = 3", "validation = 0")
        .replace("keep_best = true", "keep_best = false");
    for (save_every, broken, kept) in [(1, 2, vec![1]), (0, 6, vec![])] {
        let saving = format!("save_every = {save_every}");
        let place = Place::new(&recipe.replace("save_every = 3", &saving));
        for _ in 0..2 {
            let output = medharness().args(place.arguments("out")).output().expect("runs");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            let said =
                format!("step {broken}: `model.embed_tokens.weight` holds a value that is not");
            assert!(stderr.contains(&said) && stderr.contains("hint: "), "{stderr}");
            assert!(!place.path("out/model.safetensors").exists());
            let checkpoints = Checkpoints::new(&place.path("out")).expect("a folder");
            assert_eq!(checkpoints.steps().expect("readable"), kept);
            for step in &kept {
                checkpoints.check(*step).expect("intact");
            }
        }
    }
}

/// The only update is the first of a warm-up, whose rate is 0.
#[test]
fn an_adapter_that_changes_nothing_is_no_result() {
    let place = Place::new(&recipe_text(true));
    let mut arguments = place.arguments("out");
    *arguments.last_mut().expect("a number") = "1".into();
    let output = medharness().args(&arguments).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let said = "the adapter of step 1 is empty: every B is 0, since the learning rate was 0";
    assert!(stderr.contains(said) && stderr.contains("hint: "), "{stderr}");
    assert!(!place.path("out/adapter_model.safetensors").exists());
}

/// The hint on a damaged checkpoint is followed, step by step, to the bits of an undisturbed training.
#[test]
fn the_hint_on_a_damaged_checkpoint_can_be_followed() {
    let place = Place::new(&recipe_text(true).replace("save_every = 3", "save_every = 1"));
    medharness().args(place.arguments("whole")).assert().success();
    medharness().args(place.arguments("out")).assert().success();
    let out = place.path("out");
    let checkpoints = Checkpoints::new(&out).expect("a folder");
    let steps = checkpoints.steps().expect("readable");
    assert!(steps.len() >= 2, "{steps:?}");
    for step in steps.into_iter().rev() {
        fs::write(checkpoints.path(step).join("adapter_model.safetensors"), "bad")
            .expect("written");
        let output = medharness().args(place.arguments("out")).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let said = "remove this checkpoint's folder and those of all later updates";
        assert!(
            stderr.contains(&format!("checkpoint-{step}")) && stderr.contains(said),
            "{stderr}"
        );
        fs::remove_dir_all(checkpoints.path(step)).expect("removed");
    }
    fs::remove_file(out.join("adapter_model.safetensors")).expect("removed");
    medharness().args(place.arguments("out")).assert().success();
    assert!(losses(&out) == losses(&place.path("whole")));
    assert!(weights(&out) == weights(&place.path("whole")));
}

/// A repeated command says what the training came to, not what looking at it cost.
#[test]
fn the_report_of_a_finished_training_stays() {
    let place = Place::new(&recipe_text(true));
    medharness().args(place.arguments("out")).assert().success();
    let report = place.path("out/train_report.md");
    let state =
        fs::read_to_string(place.path("out/checkpoint-6/trainer_state.json")).expect("there");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    if cfg!(target_os = "linux") {
        assert!(state["mem_peak"].as_u64().expect("Linux says") > 1 << 20);
    }
    let mut text = fs::read_to_string(&report).expect("a report");
    text.push_str("as it was");
    fs::write(&report, &text).expect("written");
    medharness().args(place.arguments("out")).assert().success();
    assert_eq!(fs::read_to_string(&report).expect("a report"), text);
}

#[test]
fn a_training_whose_every_update_is_left_out_has_no_result() {
    let recipe = recipe_text(true).replace("train_on_inputs = true", "train_on_inputs = false");
    let place = Place::new(&recipe.replace("\"stop\"", "\"skip\""));
    for _ in 0..2 {
        let output = medharness().args(place.arguments("out")).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("all 6 updates were left out"), "{stderr}");
        assert!(!place.path("out/adapter_model.safetensors").exists());
    }
}

/// Ctrl-C after the first update; called again it ends with the bits of a training left alone.
#[cfg(unix)]
#[test]
fn an_interrupted_training_says_so_and_goes_on() {
    let place = Place::new(&recipe_text(true).replace("micro = 2", "micro = 8"));
    medharness().args(place.arguments("whole")).assert().success();
    let out = place.path("out");
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_medharness"))
        .args(place.arguments("out"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let has_line = || {
        fs::read_to_string(out.join("metrics.jsonl")).is_ok_and(|text| text.lines().count() >= 1)
    };
    while !has_line() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let signal =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(signal.expect("kill runs").success());
    let output = child.wait_with_output().expect("a child");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted after update") && stderr.contains("hint: "), "{stderr}");
    assert!(!out.join("adapter_model.safetensors").exists());
    medharness().args(place.arguments("out")).assert().success();
    assert!(losses(&out) == losses(&place.path("whole")));
    assert!(weights(&out) == weights(&place.path("whole")));
}

/// A limit on the address space stands in for a small machine.
#[cfg(target_os = "linux")]
#[test]
fn a_training_that_does_not_fit_in_memory_is_refused_before_it_begins() {
    let row = serde_json::json!({"instruction": "Say it again. ".repeat(40), "input": "", "output": "No."});
    let place = Place::new(&recipe_text(true).replace("micro = 2", "micro = 40000"));
    let rows = serde_json::Value::Array(vec![row; 40_000]);
    fs::write(place.path("rows.json"), rows.to_string()).expect("written");
    let mut arguments = place.arguments("out");
    arguments[6] = place.path("rows.json").display().to_string();
    let limited = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 3000000; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_medharness"))
        .args(&arguments)
        .output()
        .expect("runs");
    let stderr = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert_eq!(limited.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("GiB of memory") && stderr.contains("batch.micro"), "{stderr}");
    assert!(!place.path("out").exists());
}
