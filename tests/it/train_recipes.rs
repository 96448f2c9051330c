//! Recipes: every value has a source, typos are refused, differences are said.

use medharness::train::{Begin, Recipe, RecipeError};

use crate::trainer_support::{recipe_text, tiny_tokenizer};

#[test]
fn every_value_of_every_recipe_has_a_source() {
    for name in Recipe::names() {
        let recipe = Recipe::named(name).expect("a recipe");
        assert_eq!(recipe.name, name);
        for (key, _) in recipe.values() {
            assert!(recipe.sources.contains_key(&key), "{name}: {key} has no source");
        }
    }
    assert_eq!(Recipe::names().count(), 13);
}

#[test]
fn the_papers_recipes_are_the_papers() {
    let recipe = Recipe::named("medalpaca-13b-lora-8bit-2023").expect("a recipe");
    assert_eq!((recipe.optimizer.rate, recipe.schedule.epochs), (1e-5, 5.0));
    assert_eq!(recipe.batch.micro * recipe.batch.accumulation, 128);
    assert!(recipe.text.bos == Begin::Declared(false) && recipe.text.train_on_inputs);
    // 5,942 rows, 595 of them held out: 41 updates an epoch, nearly half of all are warm-up.
    assert_eq!((recipe.plan(5347).updates(), recipe.settings(205).schedule.warmup), (205, 100));
}

/// Updates and warm-up on the repository's small file (5,942 rows, 595 of them held out), and of
/// alpaca-lora on its own (52,002 rows, 2,000 held out); from batches and accumulation by hand.
#[test]
fn the_recipes_of_2023_make_the_updates_that_they_speak_of() {
    for (name, rows, an_epoch, updates) in [
        ("medalpaca-7b-lora-8bit-2023", 5347, 41, 205),
        ("medalpaca-7b-lora-2023", 5347, 41, 205),
        ("medalpaca-7b-full-2023", 5347, 20, 100),
        ("medalpaca-13b-lora-8bit-2023", 5347, 41, 205),
        ("medalpaca-13b-lora-2023", 5347, 41, 205),
        ("medalpaca-13b-full-2023", 5347, 20, 100),
        ("alpaca-lora", 50_002, 390, 1170),
    ] {
        let recipe = Recipe::named(name).expect("a recipe");
        let plan = recipe.plan(rows);
        assert_eq!((plan.updates_per_epoch(), plan.updates()), (an_epoch, updates), "{name}");
        assert_eq!(recipe.settings(updates).schedule.warmup, 100, "{name}");
        if name == "alpaca-lora" {
            continue;
        }
        let said = format!("100 of {updates} updates are warm-up");
        assert!(recipe.sources["schedule.warmup"].contains(&said), "{name}: {said}");
        let fires = updates / recipe.run.eval_every > 0;
        let never = recipe.sources["run.eval_every"].contains("never fires on the small file");
        assert_eq!(fires, !never, "{name}");
        // fp16 has a scaler, bf16 has none.
        let scales = recipe.sources["run.on_bad_step"].contains("GradScaler");
        assert_eq!(scales, recipe.lora.is_some(), "{name}");
        assert!(recipe.sources["run.keep"].contains("counts the best"), "{name}");
    }
}

/// Eight devices see 669 rows each (5,347 filled up to 5,352): 168 batches, 21 updates an epoch.
#[test]
fn the_full_recipes_say_what_eight_devices_made_of_the_same_rows() {
    let mut recipe = Recipe::named("medalpaca-7b-full-2023").expect("a recipe");
    recipe.batch.accumulation = 8;
    let plan = recipe.plan(669);
    assert_eq!((plan.updates_per_epoch(), plan.updates()), (21, 105));
    for name in ["medalpaca-7b-full-2023", "medalpaca-13b-full-2023"] {
        let recipe = Recipe::named(name).expect("a recipe");
        assert!(recipe.sources["batch.accumulation"].contains("105 updates"), "{name}");
        assert!(recipe.sources["data.order"].contains("DistributedSampler"), "{name}");
    }
}

#[test]
fn validations_that_are_never_made_do_not_move_the_order_of_grouped_rows() {
    let text = recipe_text(true).replace("keep_best = true", "keep_best = false");
    for none in ["validation = 0", "validation = 0.0"] {
        let recipe = Recipe::parse(&text.replace("validation = 3", none), "small").expect("one");
        assert_eq!(recipe.plan(47).eval_every, 0, "{none}");
    }
    assert_eq!(Recipe::parse(&text, "small").expect("a recipe").plan(44).eval_every, 4);
}

/// decapoda-research/llama-7b-hf with the slow tokenizer: BOS and EOS are 0, not 1 and 2.
#[test]
fn a_first_token_that_the_tokenizer_does_not_declare_can_be_asked_for() {
    let tokenizer = medharness::llama::tokenizer::Tokenizer::from_file(&tiny_tokenizer());
    let tokenizer = tokenizer.expect("a tokenizer");
    for (bos, first) in [("true", Some(1)), ("false", None), ("{ id = 0 }", Some(0))] {
        let text = recipe_text(true).replace("bos = true", &format!("bos = {bos}"));
        let recipe = Recipe::parse(&text, "small").expect("a recipe");
        assert_eq!(recipe.text.encoding(&tokenizer).expect("tokens").bos, first, "{bos}");
    }
    // As before in a training's files.
    let recipe = Recipe::parse(&recipe_text(true), "small").expect("a recipe");
    assert_eq!(serde_json::to_value(&recipe).expect("JSON")["text"]["bos"], true);
    let alpaca = Recipe::named("alpaca-lora").expect("a recipe");
    for key in ["text.bos", "text.end"] {
        assert!(alpaca.sources[key].contains("{ id = 0 }"), "{key}");
    }
}

#[test]
fn what_is_recommended_differs_from_the_papers_for_reasons() {
    let recommended = Recipe::named("recommended").expect("a recipe");
    let paper = Recipe::named(recommended.compare.as_deref().expect("one")).expect("a recipe");
    let differences = recommended.differences(&paper);
    let keys: Vec<&str> = differences.iter().map(|difference| &*difference.key).collect();
    for key in ["text.bos", "text.train_on_inputs", "optimizer.rate", "lora.targets"] {
        assert!(keys.contains(&key), "{key}");
    }
    assert!(differences.iter().all(|difference| !difference.why.is_empty()));
    assert!(paper.differences(&paper).is_empty());
}

fn refused(from: &str, to: &str) -> String {
    let text = recipe_text(true);
    assert!(text.contains(from), "{from}");
    let error = Recipe::parse(&text.replace(from, to), "small").expect_err("refused");
    match error {
        RecipeError::Malformed { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

#[test]
fn typos_and_senseless_values_are_refused_by_name() {
    for (from, to, said) in [
        ("warmup = 2.0", "warmups = 2.0", "unknown field `warmups`"),
        ("warmup = 2.0", "", "missing field `warmup`"),
        ("warmup = 2.0", "warmup = 2.5", "`schedule.warmup` must be a whole number"),
        ("rate = 5e-3", "rate = nan", "`optimizer.rate` must be at least 0"),
        ("rate = 5e-3", "rate = \"fast\"", "invalid type: string"),
        ("validation = 3", "validation = 1.5", "`data.validation` must be"),
        ("rank = 4", "rank = 0", "`lora.rank` must be at least 1"),
        ("rank = 4", "rank = 1152921504606846976", "`lora.rank` must be at most 16777216"),
        ("micro = 2", "micro = 4611686018427387904", "`batch.micro` must be at most 16777216"),
        ("max_length = 24", "max_length = 16777217", "`text.max_length` must be at most"),
        ("bos = true", "bos = { id = 0, typo = 1 }", "`text.bos.typo` is unknown there"),
        ("dropout = 0.1", "dropout = 1.0", "`lora.dropout` must be from 0 to below 1"),
        ("micro = 2", "micro = 0", "`batch.micro` must be at least 1"),
        ("order = \"current\"", "order = \"2024\"", "unknown variant `2024`"),
        ("epochs = 1.0", "epochs = 0.0", "`schedule.epochs` must be above 0"),
        ("keep = 2", "keep = 0", "`run.keep` must be at least 1"),
        ("validation = 3", "validation = 0", "`run.keep_best` must be false where data.validation"),
        (
            "validation = 3",
            "validation = 0.0",
            "`run.keep_best` must be false where data.validation",
        ),
        ("[sources]\n", "[sources]\n\"run.speed\" = \"none\"\n", "`sources.run.speed` speaks of"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(said), "{to}: {error}");
    }
}

#[test]
fn senseless_schedules_are_refused() {
    let shape = |shape: &str| refused("{ kind = \"cosine\", cycles = 0.5 }", shape);
    for (text, said) in [
        ("{ kind = \"cosine\", cycles = nan }", "needs cycles above 0"),
        ("{ kind = \"cosine_with_restarts\", cycles = -1.0 }", "needs cycles above 0"),
        ("{ kind = \"cosine_with_minimum\", cycles = inf, minimum = 0.1 }", "needs cycles above 0"),
        (
            "{ kind = \"cosine_with_minimum\", cycles = 0.5, minimum = 2.0 }",
            "a minimum from 0 to 1",
        ),
        ("{ kind = \"polynomial\", end = 1e-7, power = nan }", "needs a power above 0"),
        (
            "{ kind = \"polynomial\", end = 5e-3, power = 1.0 }",
            "an end from 0 to below optimizer.rate",
        ),
        (
            "{ kind = \"polynomial\", end = nan, power = 1.0 }",
            "an end from 0 to below optimizer.rate",
        ),
        ("{ kind = \"inverse_sqrt\", timescale = 0 }", "needs a timescale of at least 1"),
        ("{ kind = \"linear\", cycles = 3.0 }", ".cycles` is unknown there"),
        ("{ kind = \"constant_with_warmup\", warmup = 20 }", ".warmup` is unknown there"),
    ] {
        let error = shape(text);
        assert!(error.starts_with("`schedule.shape") && error.contains(said), "{text}: {error}");
    }
    // In transformers it passes silently, and the rate is at its height from the first update.
    let error = shape("{ kind = \"constant\" }");
    assert!(error.starts_with("`schedule.warmup` must be 0 where schedule.shape is"), "{error}");
    let shape = "shape = { kind = \"cosine\", cycles = 0.5 }";
    let polynomial = "shape = { kind = \"polynomial\", end = 0.0, power = 1.0 }";
    let text = recipe_text(true).replace(shape, polynomial).replace("rate = 5e-3", "rate = 0.0");
    assert!(Recipe::parse(&text, "small").is_err(), "a rate of 0 is divided by");
}

#[test]
fn patience_without_validations_is_refused() {
    let patient = recipe_text(true).replace("patience = 0", "patience = 2");
    assert!(Recipe::parse(&patient, "small").is_ok());
    let rare = patient.replace("eval_every = 4", "eval_every = 0");
    let error = Recipe::parse(&rare, "small").expect_err("refused").to_string();
    assert!(error.starts_with("`run.patience` must be 0 where run.eval_every is 0"), "{error}");
    let none = patient.replace("validation = 3", "validation = 0");
    let none = none.replace("keep_best = true", "keep_best = false");
    let error = Recipe::parse(&none, "small").expect_err("refused").to_string();
    assert!(error.starts_with("`run.patience` must be 0 where data.validation"), "{error}");
}

#[test]
fn every_weight_is_trained_in_f32_or_not_at_all() {
    let text = recipe_text(false).replace("base = \"f32\"", "base = \"bf16\"");
    let error = Recipe::parse(&text, "small").expect_err("refused").to_string();
    assert_eq!(error, "`weights.base` must be f32 where every weight is trained");
}

#[test]
fn an_unknown_name_lists_those_there_are() {
    let error = Recipe::open("medalpaca").expect_err("refused").to_string();
    assert!(error.starts_with("no recipe `medalpaca`; there are medalpaca-7b-lora-8bit-2023, "));
}
