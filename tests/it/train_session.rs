//! Trainings in a folder: the same bits however they are computed, interrupted and continued.

use std::{fs, path::Path};

use medharness::{
    corpus::{Example, Row, Truncation},
    kernels::matrix::WeightType,
    llama::{Hold, Llama, tokenizer::Tokenizer},
    lora::{Attach, LoraConfig},
    stats::Seed,
    store::identify_file,
    train::{
        Best, Checkpoints, Dataset, Defect, Ending, Era, Event, Gradients, Item, Lineage,
        MicroBatch, Outcome, Padding, Progress, Recipe, Recompute, Session, TrainError, Trainer,
        Update, Watch, accumulate, loss,
    },
};

use crate::trainer_support::{golden, recipe_text, root, rows, small_network, tiny_tokenizer};

pub(crate) fn recipe(lora: bool) -> Recipe {
    let mut recipe = Recipe::parse(&recipe_text(lora), "small").expect("a recipe");
    recipe.schedule.max_steps = Some(8);
    recipe
}

pub(crate) fn network(recipe: &Recipe) -> Llama {
    let golden = golden("trainer.json");
    let Some(lora) = &recipe.lora else { return small_network(&golden, Hold::Trainable) };
    let mut network = small_network(&golden, Hold::Frozen(WeightType::F32));
    let config = serde_json::json!({
        "peft_type": "LORA", "r": lora.rank, "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout, "target_modules": lora.targets,
    });
    let config = LoraConfig::parse(&config.to_string()).expect("settings");
    let adapter = network.fresh_adapter(&config, lora.seed).expect("an adapter");
    network.attach(&adapter, Attach::Trainable).expect("fits");
    network
}

pub(crate) fn dataset(recipe: &Recipe) -> Dataset {
    let tokenizer = Tokenizer::from_file(&tiny_tokenizer()).expect("a tokenizer");
    let encoding = recipe.text.encoding(&tokenizer).expect("tokens");
    Dataset::prepare(&rows(), &recipe.data, &encoding, &tokenizer).expect("encodes")
}

pub(crate) fn lineage(recipe: &Recipe) -> Lineage {
    Lineage {
        format_version: 1,
        recipe: recipe.clone(),
        base: Vec::new(),
        base_folder: "here".into(),
        data: identify_file(&root().join("golden/train/rows.json")).expect("readable"),
        rows: rows().len(),
        overlap: Vec::new(),
        kernel_set: "any".into(),
        tool_version: "0".into(),
    }
}

/// Stops after some updates, counted from the session's begin.
struct StopAfter(usize);

impl Watch for StopAfter {
    fn updated(&mut self, _: &Update, _: u64) {
        self.0 = self.0.saturating_sub(1);
    }
    fn validated(&mut self, _: u64, _: f64, _: bool) {}
    fn skipped(&mut self, _: u64, _: Defect, _: &[usize]) {}
    fn stop(&mut self) -> bool {
        self.0 == 0
    }
}

pub(crate) fn train(folder: &Path, recipe: &Recipe, updates: usize) -> Result<Outcome, TrainError> {
    train_on(&dataset(recipe), folder, recipe, updates)
}

fn train_on(
    dataset: &Dataset,
    folder: &Path,
    recipe: &Recipe,
    updates: usize,
) -> Result<Outcome, TrainError> {
    let network = network(recipe);
    let session = Session::open(folder, &lineage(recipe), recipe, dataset, &network)?;
    session.run(&mut StopAfter(updates))
}

/// Rows of one token over and over, held against rows of another: the more is learnt, the higher the
/// validation loss, so that its first is its best.
fn contrary() -> Dataset {
    let item = |row, id: u32| {
        let (ids, labels) = (vec![id; 12], vec![i64::from(id); 12]);
        Item { row, example: Example { ids, labels, truncation: Truncation::None } }
    };
    let train = (0..12).map(|row| item(row, 5)).collect();
    Dataset { train, validation: (12..15).map(|row| item(row, 9)).collect() }
}

/// A recipe that validates and saves after every update, from the first at its full rate.
fn watchful() -> Recipe {
    let mut recipe = recipe(true);
    (recipe.run.save_every, recipe.run.eval_every, recipe.run.keep) = (1, 1, 2);
    (recipe.schedule.warmup, recipe.schedule.epochs) = (0.0, 3.0);
    recipe
}

/// Events without their times.
fn losses(outcome: &Outcome) -> Vec<(u64, u64, u64)> {
    let bits = |event: &Event| match event {
        Event::Update { step, loss, norm, .. } => Some((*step, loss.to_bits(), norm.to_bits())),
        Event::Validation { step, loss, .. } => Some((*step, loss.to_bits(), 0)),
        _ => None,
    };
    outcome.events.iter().filter_map(bits).collect()
}

/// Validation losses in their order.
fn validations(outcome: &Outcome) -> Vec<f64> {
    let loss = |event: &Event| match event {
        Event::Validation { loss, .. } => Some(*loss),
        _ => None,
    };
    outcome.events.iter().filter_map(loss).collect()
}

/// Every event, left-out updates with their rows included, without times.
fn history(outcome: &Outcome) -> Vec<(u64, u64, u64, Vec<usize>)> {
    let of = |event: &Event| match event {
        Event::Update { step, loss, norm, .. } => (*step, loss.to_bits(), norm.to_bits(), vec![]),
        Event::Skipped { step, rows, .. } => (*step, 0, 0, rows.clone()),
        Event::Validation { step, loss, .. } => (*step, loss.to_bits(), 1, vec![]),
        event => panic!("{event:?}"),
    };
    outcome.events.iter().map(of).collect()
}

pub(crate) fn result(folder: &Path) -> Vec<u8> {
    let name = ["adapter_model.safetensors", "model.safetensors"];
    let path = name.map(|name| folder.join(name)).into_iter().find(|path| path.is_file());
    fs::read(path.expect("a result")).expect("readable")
}

fn in_threads<T: Send>(threads: usize, body: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    pool.install(body)
}

#[test]
fn an_interrupted_training_ends_with_the_bits_of_one_that_was_not() {
    for (lora, eight_bit) in [(true, false), (false, true)] {
        let mut recipe = recipe(lora);
        if eight_bit {
            recipe.optimizer.kind = medharness::train::OptimizerKind::AdamW8bit;
        }
        let whole = tempfile::tempdir().expect("a folder");
        let expected = in_threads(2, || train(whole.path(), &recipe, 99)).expect("trains");
        assert_eq!(expected.ending, Ending::Complete);
        let first = expected.events.iter().find_map(|event| match event {
            Event::Update { loss, .. } => Some(*loss),
            _ => None,
        });
        let best = expected.progress.best.expect("validated").loss;
        assert!(best < first.expect("an update"), "{best} after {first:?}");
        let parts = tempfile::tempdir().expect("a folder");
        let mut threads = 1;
        let outcome = loop {
            let outcome = in_threads(threads, || train(parts.path(), &recipe, 3)).expect("trains");
            if outcome.ending != Ending::Interrupted {
                break outcome;
            }
            threads = 3 - threads;
        };
        assert_eq!(losses(&outcome), losses(&expected));
        assert_eq!(result(parts.path()), result(whole.path()));
    }
}

/// The control of the test above: with the optimizer's states of another training, and a list of
/// digests that fits them, the end is another.
#[test]
fn a_training_that_goes_on_with_other_states_ends_elsewhere() {
    let mut recipe = recipe(true);
    recipe.run.keep_best = false;
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let [whole, parts, other] = folders.each_ref().map(|folder| folder.path());
    train(whole, &recipe, 99).expect("trains");
    train(parts, &recipe, 4).expect("is interrupted");
    let mut of_other = recipe.clone();
    of_other.data.seed += 1;
    train(other, &of_other, 4).expect("is interrupted");
    let path = |folder: &Path, name: &str| folder.join("checkpoint-4").join(name);
    let states = "optimizer.safetensors";
    let digest = |folder| identify_file(&path(folder, states)).expect("states").sha256;
    let (before, after) = (digest(parts), digest(other));
    assert_ne!(before, after);
    fs::copy(path(other, states), path(parts, states)).expect("copied");
    let sums = path(parts, "SHA256SUMS");
    let list = fs::read_to_string(&sums).expect("digests").replace(&before, &after);
    fs::write(&sums, list).expect("written");
    assert_eq!(train(parts, &recipe, 99).expect("goes on").ending, Ending::Complete);
    assert!(result(parts) != result(whole));
}

/// Interrupted after every third update, on 1 and 2 threads in turn.
pub(crate) fn check_interrupted(what: &str, recipe: &Recipe) -> Outcome {
    let (whole, parts) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let expected = in_threads(2, || train(whole.path(), recipe, 99)).expect("trains");
    let mut threads = 1;
    let outcome = loop {
        let outcome = in_threads(threads, || train(parts.path(), recipe, 3)).expect("trains");
        if outcome.ending != Ending::Interrupted {
            break outcome;
        }
        threads = 3 - threads;
    };
    assert_eq!(history(&outcome), history(&expected), "{what}");
    assert_eq!(result(parts.path()), result(whole.path()), "{what}");
    expected
}

#[test]
fn an_interrupted_training_goes_on_over_the_end_of_an_epoch_in_every_order() {
    for order in [Era::Current, Era::Y2023] {
        for group_by_length in [false, true] {
            let mut recipe = recipe(true);
            (recipe.data.order, recipe.data.group_by_length) = (order, group_by_length);
            // 44 rows are 22 micro-batches: 7 updates and one micro-batch that is carried over.
            recipe.batch.accumulation = 3;
            if order == Era::Y2023 {
                recipe.batch.remainder = medharness::train::Remainder::Carry;
            }
            recipe.schedule.max_steps = Some(17);
            let outcome = check_interrupted(&format!("{order:?} {group_by_length}"), &recipe);
            let epochs = outcome.events.iter().filter_map(|event| match event {
                Event::Update { epoch, .. } => Some(*epoch),
                _ => None,
            });
            assert_eq!(epochs.max(), Some(2));
        }
    }
}

/// Rows cut before their answer leave micro-batches without a token to learn.
#[test]
fn an_interrupted_training_goes_on_behind_updates_that_were_left_out() {
    let mut recipe = recipe(true);
    (recipe.text.train_on_inputs, recipe.text.max_length) = (false, 150);
    (recipe.batch.micro, recipe.batch.accumulation) = (1, 2);
    recipe.batch.normalisation = medharness::train::Normalisation::MeanOfMeans;
    recipe.run.on_bad_step = medharness::train::OnBadStep::Skip;
    recipe.schedule.max_steps = Some(10);
    let outcome = check_interrupted("left out", &recipe);
    let left_out =
        outcome.events.iter().filter(|event| matches!(event, Event::Skipped { .. })).count();
    assert!((1..10).contains(&left_out), "{left_out}");
    assert_eq!(outcome.progress.made, 10 - left_out as u64);
}

#[test]
fn another_seed_of_the_dropout_gives_other_losses() {
    let (one, other) = (recipe(true), recipe(true));
    let batches = dataset(&one).micro_batch(&[0, 1], Padding::None);
    let network = network(&other);
    let sum = |seed| {
        let draw = batches.batch.draw(Seed(seed), 0, &[0, 1]);
        let mut gradients = Gradients::new(&network);
        accumulate(&network, &batches, Some(&draw), 1.0, Recompute::Nothing, &mut gradients)
            .expect("a gradient");
        gradients.norm().to_bits()
    };
    assert_eq!(sum(1), sum(1));
    assert_ne!(sum(1), sum(2));
}

#[test]
fn recomputation_and_threads_change_no_bit_of_a_gradient() {
    for lora in [true, false] {
        let recipe = recipe(lora);
        let micro = dataset(&recipe).micro_batch(&[0, 1, 2], Padding::LeftEager);
        let network = network(&recipe);
        let run = |recompute| {
            let mut gradients = Gradients::new(&network);
            let examples: Vec<u64> = micro.examples.iter().map(|row| *row as u64).collect();
            let draw = micro.batch.draw(Seed(1), 0, &examples);
            let sum = accumulate(&network, &micro, Some(&draw), 0.1, recompute, &mut gradients);
            let bits = |grad: &Vec<f32>| grad.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let grads: Vec<_> = gradients.values().iter().map(bits).collect();
            assert!(grads.iter().all(|grad| !grad.is_empty()), "a gradient for every weight");
            (sum.expect("a loss").to_bits(), grads)
        };
        let expected = in_threads(1, || run(Recompute::Nothing));
        for threads in [1, 2, 3] {
            assert!(in_threads(threads, || run(Recompute::Blocks)) == expected);
            assert!(in_threads(threads, || run(Recompute::Nothing)) == expected);
        }
    }
}

#[test]
fn every_trained_weight_moves() {
    for lora in [true, false] {
        let mut recipe = recipe(lora);
        recipe.schedule.warmup = 0.0;
        let (dataset, network) = (dataset(&recipe), network(&recipe));
        let values = || -> Vec<Vec<f32>> {
            let flat = network.variables().iter().map(|(_, variable)| variable.flatten_all());
            flat.map(|flat| flat.and_then(|flat| flat.to_vec1()).expect("f32")).collect()
        };
        let before = values();
        let mut trainer = Trainer::new(&network, recipe.settings(8));
        for places in [[0, 1], [2, 3]] {
            let micro = dataset.micro_batch(&places, Padding::None);
            trainer.update(&[micro]).expect("an update");
        }
        for (((name, _), before), after) in network.variables().iter().zip(before).zip(values()) {
            assert_ne!(before, after, "{name}");
        }
    }
}

#[test]
fn packed_rows_cost_what_they_cost_alone() {
    let recipe = recipe(false);
    let (dataset, network) = (dataset(&recipe), network(&recipe));
    let together = loss(&network, &dataset.micro_batch(&[0, 1, 2], Padding::None)).expect("a loss");
    let alone = |place| loss(&network, &dataset.micro_batch(&[place], Padding::None));
    let sum: f64 = (0..3).map(|place| alone(place).expect("a loss")).sum();
    assert!((together - sum).abs() <= 1e-5 * sum, "{together} {sum}");
}

#[test]
fn training_stops_at_a_batch_it_cannot_learn_from() {
    let mut recipe = recipe(false);
    recipe.text.train_on_inputs = false;
    let folder = tempfile::tempdir().expect("a folder");
    let error = train(folder.path(), &recipe, 99).expect_err("refused");
    let TrainError::BadStep { step: 1, defect: Defect::NothingToLearn, rows } = &error else {
        panic!("{error}");
    };
    assert_eq!(rows.len(), 4);
    recipe.run.on_bad_step = medharness::train::OnBadStep::Skip;
    let folder = tempfile::tempdir().expect("a folder");
    let error = train(folder.path(), &recipe, 99).expect_err("nothing was learnt");
    assert!(matches!(error, TrainError::AllLeftOut { steps: 8 }), "{error}");
    let log = fs::read_to_string(folder.path().join("metrics.jsonl")).expect("a log");
    assert_eq!(log.lines().filter(|line| line.contains("nothing_to_learn")).count(), 8);
}

#[test]
fn a_loss_or_gradient_that_is_no_number_changes_no_weight() {
    let recipe = recipe(false);
    let (dataset, network) = (dataset(&recipe), network(&recipe));
    let (_, embedding) = &network.variables()[0];
    let broken = embedding.affine(0.0, f64::from(f32::NAN)).expect("a tensor");
    embedding.set(&broken).expect("same shape");
    let mut trainer = Trainer::new(&network, recipe.settings(8));
    let error = trainer.update(&[dataset.micro_batch(&[0], Padding::None)]).expect_err("refused");
    let TrainError::BadStep { defect: Defect::LossNotFinite, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((trainer.step, trainer.made), (0, 0));
}

#[test]
fn a_token_outside_the_vocabulary_is_an_error() {
    let recipe = recipe(false);
    let network = network(&recipe);
    let example = Example { ids: vec![1, 420], labels: vec![1, 2], truncation: Truncation::None };
    let micro = MicroBatch::new(&[Item { row: 0, example }], Padding::None);
    assert!(loss(&network, &micro).is_err());
}

#[test]
fn a_changed_byte_in_any_file_of_a_checkpoint_is_found() {
    let recipe = recipe(true);
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(train(folder.path(), &recipe, 2).expect("trains").ending, Ending::Interrupted);
    let checkpoint = folder.path().join("checkpoint-2");
    let mut names = Vec::new();
    for entry in fs::read_dir(&checkpoint).expect("a checkpoint") {
        let path = entry.expect("readable").path();
        let good = fs::read(&path).expect("readable");
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, bad).expect("written");
        let error = train(folder.path(), &recipe, 1).expect_err("refused");
        assert!(matches!(error, TrainError::Damaged { .. }), "{}: {error}", path.display());
        fs::remove_file(&path).expect("removed");
        let error = train(folder.path(), &recipe, 1).expect_err("refused");
        assert!(matches!(error, TrainError::Damaged { .. }), "{}: {error}", path.display());
        fs::write(&path, good).expect("written");
        names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    names.sort();
    let expected = [
        "SHA256SUMS",
        "adapter_config.json",
        "adapter_model.safetensors",
        "optimizer.safetensors",
        "trainer_state.json",
    ];
    assert_eq!(names, expected);
    train(folder.path(), &recipe, 1).expect("restored, it goes on");
}

#[test]
fn a_list_of_digests_that_names_too_little_is_damage() {
    let recipe = recipe(true);
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(train(folder.path(), &recipe, 2).expect("trains").ending, Ending::Interrupted);
    let path = folder.path().join("checkpoint-2/SHA256SUMS");
    let good = fs::read_to_string(&path).expect("readable");
    let lines: Vec<&str> = good.lines().collect();
    let without = |place: usize| [&lines[..place], &lines[place + 1..]].concat().join("\n");
    for bad in (0..lines.len()).map(without).chain([String::new()]) {
        fs::write(&path, &bad).expect("written");
        let error = train(folder.path(), &recipe, 1).expect_err("refused");
        let TrainError::Damaged { problem, .. } = &error else { panic!("{error}") };
        assert!(problem.contains("does not name the files"), "{bad}: {error}");
    }
    fs::write(&path, good).expect("written");
    train(folder.path(), &recipe, 1).expect("restored, it goes on");
}

/// Else the checkpoint before a damaged one could not be gone on from.
#[test]
fn what_a_kept_checkpoint_calls_the_best_is_kept() {
    let recipe = recipe(true);
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = Checkpoints::new(folder.path()).expect("a folder");
    let network = network(&recipe);
    let trainer = Trainer::new(&network, recipe.settings(8));
    let save = |step: u64, best: u64, kept: &[u64]| {
        let best = Some(Best { step: best, loss: 1.0 });
        let progress = Progress { step, best, ..Progress::default() };
        checkpoints.save(&network, &trainer.optimizer, &progress, 1).expect("written");
        assert_eq!(checkpoints.steps().expect("readable"), kept, "after {step}");
    };
    save(1, 1, &[1]);
    save(2, 1, &[1, 2]);
    save(3, 3, &[1, 2, 3]);
    save(4, 3, &[3, 4]);
    save(5, 3, &[3, 5]);
}

/// The best of a warm-up's first update, whose rate is 0, would be an adapter that changes nothing.
#[test]
fn what_no_update_could_change_is_not_the_best() {
    let mut recipe = watchful();
    (recipe.schedule.warmup, recipe.schedule.max_steps) = (1.0, Some(2));
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = train_on(&contrary(), folder.path(), &recipe, 99).expect("trains");
    let losses = validations(&outcome);
    assert!(losses.len() == 2 && losses[0] < losses[1], "{losses:?}");
    assert_eq!(outcome.result_step, Some(2));
}

#[test]
fn special_tokens_in_a_row_are_tokens_where_the_recipe_says_so() {
    let ids = |special_tokens| {
        let mut recipe = recipe(true);
        (recipe.text.special_tokens, recipe.text.max_length) = (special_tokens, 256);
        recipe.data.validation = medharness::train::Validation::Rows(0);
        let tokenizer = Tokenizer::from_file(&tiny_tokenizer()).expect("a tokenizer");
        let encoding = recipe.text.encoding(&tokenizer).expect("tokens");
        let row = Row { output: "Yes.</s>".into(), ..Row::default() };
        let dataset = Dataset::prepare(&[row], &recipe.data, &encoding, &tokenizer);
        let ids = dataset.expect("encodes").train.remove(0).example.ids;
        (ids.iter().filter(|id| Some(**id) == tokenizer.eos_id()).count(), ids.len())
    };
    // transformers: the row ends in its own `</s>`, and no other is put behind it.
    let (ends, length) = ids(Some(true));
    assert_eq!(ends, 1);
    for text in [None, Some(false)] {
        assert!(ids(text).0 == 1 && ids(text).1 > length, "{:?} and {length}", ids(text));
    }
}

#[test]
fn old_checkpoints_go_and_the_best_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = train_on(&contrary(), folder.path(), &watchful(), 99).expect("trains");
    let losses = validations(&outcome);
    assert!(losses.is_sorted() && losses.len() == 8, "{losses:?}");
    let checkpoints = Checkpoints::new(folder.path()).expect("a folder");
    assert_eq!(checkpoints.steps().expect("readable"), [1, 7, 8]);
    assert_eq!(
        (outcome.result_step, outcome.progress.best.map(|best| best.step)),
        (Some(1), Some(1))
    );
    assert!(result(folder.path()) == result(&checkpoints.path(1)));
    assert!(result(folder.path()) != result(&checkpoints.path(8)));
}

#[test]
fn without_keep_best_the_result_is_the_last() {
    let mut recipe = watchful();
    recipe.run.keep_best = false;
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = train_on(&contrary(), folder.path(), &recipe, 99).expect("trains");
    let checkpoints = Checkpoints::new(folder.path()).expect("a folder");
    assert_eq!(
        (outcome.result_step, outcome.progress.best.map(|best| best.step)),
        (Some(8), Some(1))
    );
    assert!(result(folder.path()) == result(&checkpoints.path(8)));
}

#[test]
fn a_damaged_best_checkpoint_is_found_before_training_goes_on() {
    let (whole, folder) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let (dataset, recipe) = (contrary(), watchful());
    train_on(&dataset, whole.path(), &recipe, 99).expect("trains");
    train_on(&dataset, folder.path(), &recipe, 4).expect("is interrupted");
    let checkpoints = Checkpoints::new(folder.path()).expect("a folder");
    assert_eq!(checkpoints.steps().expect("readable"), [1, 3, 4]);
    fs::write(checkpoints.path(1).join("adapter_model.safetensors"), "bad").expect("written");
    let error = train_on(&dataset, folder.path(), &recipe, 1).expect_err("refused");
    let TrainError::Damaged { path, .. } = &error else { panic!("{error}") };
    assert!(path.starts_with(checkpoints.path(1)), "{error}");
    for step in [1, 3, 4] {
        fs::remove_dir_all(checkpoints.path(step)).expect("removed");
    }
    train_on(&dataset, folder.path(), &recipe, 99).expect("trains");
    assert!(result(folder.path()) == result(whole.path()));
}

#[test]
fn what_changes_no_bit_of_what_was_done_may_change() {
    let recipe = watchful();
    let (whole, folder) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    train(whole.path(), &recipe, 99).expect("trains");
    train(folder.path(), &recipe, 3).expect("is interrupted");
    let mut other = recipe.clone();
    other.weights.recompute = true;
    other.run.on_bad_step = medharness::train::OnBadStep::Skip;
    train(folder.path(), &other, 99).expect("goes on");
    assert!(result(folder.path()) == result(whole.path()));
    let lineage = fs::read_to_string(folder.path().join("train.json")).expect("lineage");
    assert!(lineage.contains("\"recompute\": true") && lineage.contains("\"skip\""), "{lineage}");
}

/// transformers 4.28 validates at multiples of `eval_steps` alone.
#[test]
fn in_the_order_of_2023_nothing_is_validated_after_the_last_update() {
    let steps = |order| {
        let mut recipe = recipe(true);
        (recipe.data.order, recipe.run.eval_every) = (order, 3);
        let folder = tempfile::tempdir().expect("a folder");
        let outcome = train(folder.path(), &recipe, 99).expect("trains");
        let validated = |event: &Event| match event {
            Event::Validation { step, .. } => Some(*step),
            _ => None,
        };
        outcome.events.iter().filter_map(validated).collect::<Vec<_>>()
    };
    assert_eq!(steps(Era::Y2023), [3, 6]);
    assert_eq!(steps(Era::Current), [3, 6, 8]);
}

#[test]
fn training_ends_early_where_validation_grows_no_better() {
    let mut recipe = watchful();
    recipe.run.patience = 2;
    let folder = tempfile::tempdir().expect("a folder");
    let outcome = train_on(&contrary(), folder.path(), &recipe, 99).expect("trains");
    assert_eq!((outcome.ending, outcome.progress.step), (Ending::Early, 3));
    assert_eq!((outcome.result_step, outcome.updates_here), (Some(1), 3));
    let again = train_on(&contrary(), folder.path(), &recipe, 99).expect("is over");
    assert_eq!((again.ending, again.progress.step), (Ending::Early, 3));
    assert_eq!((again.result_step, again.updates_here), (Some(1), 0));
    assert!(result(folder.path()) == result(&folder.path().join("checkpoint-1")));
}

#[test]
fn a_folder_of_another_training_is_left_alone() {
    let first = recipe(true);
    let folder = tempfile::tempdir().expect("a folder");
    train(folder.path(), &first, 1).expect("trains");
    let mut other = recipe(true);
    other.optimizer.rate = 1e-3;
    let error = train(folder.path(), &other, 1).expect_err("refused").to_string();
    assert!(error.contains("recipe.optimizer.rate is 0.005, wanted 0.001"), "{error}");
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("model.safetensors"), "precious").expect("written");
    let error = train(folder.path(), &recipe(false), 1).expect_err("refused").to_string();
    assert_eq!(error, "training files");
    assert_eq!(fs::read(folder.path().join("model.safetensors")).expect("there"), b"precious");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
}
