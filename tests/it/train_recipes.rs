//! Recipes: every value has a source, typos are refused, differences are said.

use medharness::train::{Recipe, RecipeError};

use crate::trainer_support::recipe_text;

#[test]
fn every_value_of_every_recipe_has_a_source() {
    for name in Recipe::names() {
        let recipe = Recipe::named(name).expect("a recipe");
        assert_eq!(recipe.name, name);
        for (key, _) in recipe.values() {
            assert!(recipe.sources.contains_key(&key), "{name}: {key} has no source");
        }
    }
    assert_eq!(Recipe::names().count(), 12);
}

#[test]
fn the_papers_recipes_are_the_papers() {
    let recipe = Recipe::named("medalpaca-13b-lora-8bit-2023").expect("a recipe");
    assert_eq!((recipe.optimizer.rate, recipe.schedule.epochs), (1e-5, 5.0));
    assert_eq!(recipe.batch.micro * recipe.batch.accumulation, 128);
    assert!(!recipe.text.bos && recipe.text.train_on_inputs);
    // 5,942 rows, 595 of them held out: 41 updates an epoch, nearly half of all are warm-up.
    assert_eq!((recipe.plan(5347).updates(), recipe.settings(205).schedule.warmup), (205, 100));
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
        ("dropout = 0.1", "dropout = 1.0", "`lora.dropout` must be from 0 to below 1"),
        ("micro = 2", "micro = 0", "`batch.micro` must be at least 1"),
        ("order = \"current\"", "order = \"2024\"", "unknown variant `2024`"),
        ("epochs = 1.0", "epochs = 0.0", "`schedule.epochs` must be above 0"),
        ("[sources]\n", "[sources]\n\"run.speed\" = \"none\"\n", "`sources.run.speed` speaks of"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(said), "{to}: {error}");
    }
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
