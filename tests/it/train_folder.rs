//! Folders of base models and of trainings: what is refused before the work, and what does no harm.

use std::{cell::Cell, fs, path::Path};

use medharness::{
    kernels::matrix::WeightType,
    llama::{Base, Hold},
    lora::{Attach, LoraConfig, Targets},
    stats::Seed,
    train::{
        Defect, Ending, Gradients, Padding, Prepared, Recipe, Recompute, Request, Session, Update,
        Watch, accumulate, trainable,
    },
};

use crate::{
    support::medharness,
    train_command::{Place, weights},
    train_session::{check_interrupted, dataset, lineage, network, recipe, result, train},
    trainer_support::{Fresh, golden, recipe_text, root, small_network, write_model_of},
};

fn beside_the_vocabulary() -> Recipe {
    let mut recipe = recipe(true);
    let names = ["q_proj", "embed_tokens", "lm_head"].map(str::to_owned);
    recipe.lora.as_mut().expect("an adapter").targets = Targets::Names(names.into());
    recipe
}

#[test]
fn an_adapter_beside_embedding_and_output_matrix_goes_on_from_its_checkpoint() {
    let outcome = check_interrupted("embeddings", &beside_the_vocabulary());
    assert_eq!(outcome.ending, Ending::Complete);
}

#[test]
fn the_output_matrix_of_another_base_in_a_checkpoint_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    train(folder.path(), &beside_the_vocabulary(), 2).expect("trains");
    let recipe = beside_the_vocabulary();
    let mut other = small_network(&golden("trainer.json"), Hold::Frozen(WeightType::Bf16));
    let config = serde_json::json!({"peft_type": "LORA", "r": 4, "lora_alpha": 16.0,
        "lora_dropout": 0.1, "target_modules": ["q_proj", "embed_tokens", "lm_head"]});
    let config = LoraConfig::parse(&config.to_string()).expect("settings");
    let adapter = other.fresh_adapter(&config, 7).expect("an adapter");
    other.attach(&adapter, Attach::Trainable).expect("fits");
    let dataset = dataset(&recipe);
    let error = Session::open(folder.path(), &lineage(&recipe), &recipe, &dataset, &other);
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("holds another `base_model.model."), "{error}");
}

#[test]
fn the_branch_of_the_output_matrix_has_its_dropout() {
    let mut recipe = recipe(true);
    let lora = recipe.lora.as_mut().expect("an adapter");
    lora.targets = Targets::Names(vec!["lm_head".into()]);
    let micro = dataset(&recipe).micro_batch(&[0, 1], Padding::None);
    let network = network(&recipe);
    let norm = |seed: Option<u64>| {
        let draw = seed.map(|seed| micro.batch.draw(Seed(seed), 0, &[0, 1]));
        let mut gradients = Gradients::new(&network);
        accumulate(&network, &micro, draw.as_ref(), 1.0, Recompute::Nothing, &mut gradients)
            .expect("a gradient");
        gradients.norm().to_bits()
    };
    assert_eq!(norm(Some(1)), norm(Some(1)));
    assert_ne!(norm(Some(1)), norm(Some(2)));
    assert_ne!(norm(Some(1)), norm(None));
}

#[test]
fn embedding_and_output_matrix_count_as_trained() {
    let config = golden("trainer.json")["config"].to_string();
    let config = medharness::llama::Config::parse(&config).expect("golden configuration");
    let lora = |targets: serde_json::Value| {
        let json = serde_json::json!({"peft_type": "LORA", "r": 4, "target_modules": targets});
        LoraConfig::parse(&json.to_string()).expect("settings")
    };
    let both = trainable(&config, Some(&lora(serde_json::json!(["embed_tokens", "lm_head"]))));
    let both = both.expect("modules");
    assert_eq!(both.elements, 2 * 4 * (420 + 24));
    assert_eq!((both.copied, both.adapts_head), (2 * 420 * 24, true));
    let linear = trainable(&config, Some(&lora("all-linear".into()))).expect("modules");
    assert_eq!((linear.copied, linear.adapts_head), (0, false));
}

fn quantized(place: &Place) -> String {
    let int8 = place.path("int8").display().to_string();
    let model = place.path("model").display().to_string();
    medharness().args(["quantize", "--model", &model, "--out", &int8]).assert().success();
    int8
}

#[test]
fn an_int8_folder_is_no_base_of_a_training_of_every_weight() {
    let place = Place::new(&recipe_text(false));
    let mut arguments = place.arguments("out");
    arguments[4] = quantized(&place);
    for dry in [false, true] {
        arguments.extend(dry.then(|| "--dry-run".to_owned()));
        let output = medharness().args(&arguments).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("holds int8 weights") && stderr.contains("hint: "), "{stderr}");
        assert!(!place.path("out").exists());
    }
}

#[test]
fn an_int8_folder_keeps_its_own_threshold_in_training() {
    let text = recipe_text(true).replace("base = \"f32\"", "base = \"int8\"");
    let place = Place::new(&text);
    let folder = quantized(&place);
    let config = place.path("int8/config.json");
    let json = fs::read_to_string(&config).expect("there");
    let json = json.replace("\"llm_int8_threshold\": 6.0", "\"llm_int8_threshold\": 2.5");
    fs::write(&config, json).expect("written");
    let recipe = Recipe::parse(&text, "small").expect("a recipe");
    let request = Request {
        recipe: &recipe,
        base: folder.as_ref(),
        base_name: "small",
        data: &root().join("golden/train/rows.json"),
        exams: &[],
        allow_overlap: false,
    };
    let network = Prepared::read(&request).and_then(|read| read.network()).expect("a network");
    for (name, linear) in network.linears() {
        let Base::Int8(layer) = linear.base() else { panic!("{name} is not int8") };
        assert_eq!(layer.threshold, 2.5, "{name}");
    }
}

#[test]
fn a_token_beyond_the_vocabulary_is_found_before_the_first_update() {
    let place = Place::new(&recipe_text(true));
    let mut config = golden("trainer.json")["config"].clone();
    config["vocab_size"] = 300.into();
    write_model_of(&config, Fresh { norm: 1.0 }, &place.path("model"));
    let mut arguments = place.arguments("out");
    for dry in [false, true] {
        arguments.extend(dry.then(|| "--dry-run".to_owned()));
        let output = medharness().args(&arguments).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("error: row ") && stderr.contains(" has token "), "{stderr}");
        assert!(stderr.contains("vocabulary 300 tokens") && stderr.contains("hint: "), "{stderr}");
        assert!(!place.path("out").exists());
    }
}

#[test]
fn tokens_added_to_the_base_go_with_the_model() {
    let place = Place::new(&recipe_text(false));
    fs::write(place.path("model/added_tokens.json"), "{}").expect("written");
    medharness().args(place.arguments("out")).assert().success();
    assert_eq!(fs::read_to_string(place.path("out/added_tokens.json")).expect("copied"), "{}");
    let lineage = fs::read_to_string(place.path("out/train.json")).expect("lineage");
    assert!(lineage.contains("\"added_tokens.json\""), "{lineage}");
}

#[test]
fn a_finished_training_is_not_trained_over_when_its_checkpoints_are_gone() {
    let place = Place::new(&recipe_text(true));
    medharness().args(place.arguments("out")).assert().success();
    let (result, log) = (weights(&place.path("out")), fs::read(place.path("out/metrics.jsonl")));
    for entry in fs::read_dir(place.path("out")).expect("readable") {
        let path = entry.expect("readable").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("checkpoint-")) {
            fs::remove_dir_all(&path).expect("removed");
        }
    }
    let output = medharness().args(place.arguments("out")).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("checkpoints are gone") && stderr.contains("hint: "), "{stderr}");
    assert!(weights(&place.path("out")) == result);
    assert_eq!(fs::read(place.path("out/metrics.jsonl")).expect("there"), log.expect("there"));
    // The hint can be followed.
    fs::remove_file(place.path("out/adapter_model.safetensors")).expect("removed");
    medharness().args(place.arguments("out")).assert().success();
    assert!(weights(&place.path("out")) == result);
}

#[cfg(unix)]
#[test]
fn entries_that_are_not_ours_do_no_harm() {
    let recipe = recipe(true);
    let (whole, folder) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    train(whole.path(), &recipe, 99).expect("trains");
    train(folder.path(), &recipe, 3).expect("is interrupted");
    let path = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("nowhere", path("dangling")).expect("a link");
    let made = std::process::Command::new("mkfifo").arg(path("fifo")).status();
    assert!(made.expect("mkfifo runs").success());
    fs::write(path("checkpoint-3/.DS_Store"), "view settings").expect("written");
    let outcome = train(folder.path(), &recipe, 99).expect("goes on");
    assert_eq!(outcome.ending, Ending::Complete);
    assert!(result(folder.path()) == result(whole.path()));
}

/// Stops within an update, after its first micro-batch.
struct StopWithin {
    update: u64,
    seen: Cell<Vec<(u64, usize, usize)>>,
    stop: bool,
}

impl Watch for StopWithin {
    fn updated(&mut self, _: &Update, _: u64) {}
    fn validated(&mut self, _: u64, _: f64, _: bool) {}
    fn skipped(&mut self, _: u64, _: Defect, _: &[usize]) {}
    fn computed(&mut self, step: u64, done: usize, all: usize) {
        self.seen.get_mut().push((step, done, all));
        self.stop = step == self.update && done == 1;
    }
    fn stop(&mut self) -> bool {
        self.stop
    }
}

fn stop_within(folder: &Path, recipe: &Recipe, update: u64) -> Vec<(u64, usize, usize)> {
    let (dataset, network) = (dataset(recipe), network(recipe));
    let session = Session::open(folder, &lineage(recipe), recipe, &dataset, &network);
    let mut watch = StopWithin { update, seen: Cell::default(), stop: false };
    let outcome = session.expect("opens").run(&mut watch).expect("trains");
    assert_eq!((outcome.ending, outcome.progress.step), (Ending::Interrupted, update - 1));
    watch.seen.take()
}

#[test]
fn a_training_stops_between_the_micro_batches_of_an_update_and_makes_it_again() {
    let recipe = recipe(true);
    let (whole, folder) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    train(whole.path(), &recipe, 99).expect("trains");
    // Before the first update there is nothing to go on from.
    assert_eq!(stop_within(folder.path(), &recipe, 1), [(1, 1, 2)]);
    assert!(!folder.path().join("checkpoint-0").exists());
    let seen = stop_within(folder.path(), &recipe, 3);
    assert_eq!(seen, [(1, 1, 2), (1, 2, 2), (2, 1, 2), (2, 2, 2), (3, 1, 2)]);
    assert!(folder.path().join("checkpoint-2").exists());
    stop_within(folder.path(), &recipe, 4);
    train(folder.path(), &recipe, 99).expect("goes on");
    assert!(result(folder.path()) == result(whole.path()));
}
