//! What a recipe's values must be, and which contradict each other.

use serde_json::Value;

use super::{BaseFormat, Recipe, RecipeError, ScheduleKind, Weights};

/// Most rows, micro-batches, tokens and ranks: beyond any use, and far from where products overflow.
const MOST: usize = 1 << 24;

impl Recipe {
    /// Parses and checks the text of a recipe; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Malformed`] or [`RecipeError::Value`].
    pub fn parse(text: &str, name: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|source| RecipeError::Malformed {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
        let given: Value = toml::from_str(text).expect("it was parsed");
        let read = serde_json::to_value(&recipe).expect("a recipe has a JSON form");
        if let Some(key) = unread(&given, &read, "") {
            return Err(RecipeError::Value { key, problem: "is unknown there".to_owned() });
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// Checks every value's range.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Value`] names the first that is wrong.
    pub fn check(&self) -> Result<(), RecipeError> {
        let Self { weights, lora, text, data, batch, optimizer, schedule, .. } = self;
        let at_least_1 = |key, value: usize| require(key, value >= 1, "must be at least 1");
        at_least_1("text.max_length", text.max_length)?;
        at_least_1("batch.micro", batch.micro)?;
        at_least_1("batch.accumulation", batch.accumulation)?;
        let at_most =
            |key, value: usize| require(key, value <= MOST, &format!("must be at most {MOST}"));
        at_most("text.max_length", text.max_length)?;
        at_most("batch.micro", batch.micro)?;
        at_most("batch.accumulation", batch.accumulation)?;
        at_most("lora.rank", lora.as_ref().map_or(1, |lora| lora.rank))?;
        require(
            "data.validation",
            data.validation.count(usize::MAX >> 12).is_some(),
            "must be a number of rows, or a share from 0 to below 1",
        )?;
        let finite = |key, value: f64, low: f64| {
            require(key, value.is_finite() && value >= low, &format!("must be at least {low}"))
        };
        finite("optimizer.rate", optimizer.rate, 0.0)?;
        finite("optimizer.eps", optimizer.eps, 0.0)?;
        finite("optimizer.weight_decay", optimizer.weight_decay, 0.0)?;
        finite("optimizer.max_norm", optimizer.max_norm, 0.0)?;
        for (key, beta) in
            [("optimizer.beta1", optimizer.beta1), ("optimizer.beta2", optimizer.beta2)]
        {
            require(key, (0.0..1.0).contains(&beta), "must be from 0 to below 1")?;
        }
        finite("schedule.warmup", schedule.warmup, 0.0)?;
        require(
            "schedule.warmup",
            schedule.warmup < 1.0 || schedule.warmup.fract() == 0.0,
            "must be a whole number of updates, or a share below 1",
        )?;
        require(
            "schedule.epochs",
            schedule.epochs.is_finite() && schedule.epochs > 0.0 && schedule.epochs < 1e6,
            "must be above 0 and below a million",
        )?;
        require("schedule.max_steps", schedule.max_steps != Some(0), "must be at least 1")?;
        require(
            "schedule.warmup",
            schedule.warmup == 0.0 || !matches!(schedule.shape, ScheduleKind::Constant),
            "must be 0 where schedule.shape is constant: constant_with_warmup rises",
        )?;
        self.check_shape()?;
        self.check_run()?;
        self.check_adapter(*weights, lora.as_ref())?;
        self.check_sources()
    }

    fn check_shape(&self) -> Result<(), RecipeError> {
        let rate = self.optimizer.rate;
        let shape = |holds: bool, problem: &str| require("schedule.shape", holds, problem);
        let above_0 = |value: f64| value.is_finite() && value > 0.0;
        match self.schedule.shape {
            ScheduleKind::Constant | ScheduleKind::ConstantWithWarmup | ScheduleKind::Linear => {
                Ok(())
            }
            ScheduleKind::Cosine { cycles } | ScheduleKind::CosineWithRestarts { cycles } => {
                shape(above_0(cycles), "needs cycles above 0")
            }
            ScheduleKind::CosineWithMinimum { cycles, minimum } => {
                shape(above_0(cycles), "needs cycles above 0")?;
                shape((0.0..=1.0).contains(&minimum), "needs a minimum from 0 to 1")
            }
            ScheduleKind::Polynomial { end, power } => {
                shape(above_0(power), "needs a power above 0")?;
                // As transformers, which refuses the rest, too.
                shape((0.0..rate).contains(&end), "needs an end from 0 to below optimizer.rate")
            }
            ScheduleKind::InverseSqrt { timescale } => {
                shape(timescale != Some(0), "needs a timescale of at least 1")
            }
        }
    }

    fn check_run(&self) -> Result<(), RecipeError> {
        let run = &self.run;
        require("run.keep", run.keep >= 1, "must be at least 1")?;
        let holds_out = self.holds_out();
        let none = "must be false where data.validation holds out no row";
        require("run.keep_best", holds_out || !run.keep_best, none)?;
        let none = "must be 0 where data.validation holds out no row";
        require("run.patience", holds_out || run.patience == 0, none)?;
        let never = "must be 0 where run.eval_every is 0: there is one validation";
        require("run.patience", run.eval_every > 0 || run.patience == 0, never)
    }

    fn check_adapter(
        &self,
        weights: Weights,
        lora: Option<&super::Lora>,
    ) -> Result<(), RecipeError> {
        let Some(lora) = lora else {
            let trainable = weights.base == BaseFormat::F32;
            return require("weights.base", trainable, "must be f32 where every weight is trained");
        };
        require("lora.rank", lora.rank >= 1, "must be at least 1")?;
        require("lora.alpha", lora.alpha.is_finite() && lora.alpha != 0.0, "must not be 0")?;
        let probability = (0.0..1.0).contains(&lora.dropout);
        require("lora.dropout", probability, "must be from 0 to below 1")
    }

    /// Each source must speak of a value that is there.
    fn check_sources(&self) -> Result<(), RecipeError> {
        let values = self.values();
        for key in self.sources.keys() {
            let known = values.iter().any(|(name, _)| name == key);
            require(&format!("sources.{key}"), known, "speaks of a value that is not there")?;
        }
        Ok(())
    }

    /// Returns every setting as `table.key` with its value in JSON, in the order of the file.
    pub fn values(&self) -> Vec<(String, Value)> {
        let tree = serde_json::to_value(self).expect("a recipe has a JSON form");
        let mut found = Vec::new();
        for (table, value) in tree.as_object().expect("a struct is an object") {
            if let (Value::Object(values), true) = (value, table != "sources") {
                for (key, value) in values {
                    found.push((format!("{table}.{key}"), value.clone()));
                }
            }
        }
        found
    }
}

/// Returns the first key of `given` that is not in what was `read` of it: serde leaves out keys beside
/// the name of a shape that takes none, and beside `id`.
fn unread(given: &Value, read: &Value, path: &str) -> Option<String> {
    let (Value::Object(given), Value::Object(read)) = (given, read) else { return None };
    given.iter().find_map(|(key, value)| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match read.get(key) {
            Some(read) => unread(value, read, &path),
            None => Some(path),
        }
    })
}

fn require(key: &str, holds: bool, problem: &str) -> Result<(), RecipeError> {
    if holds {
        return Ok(());
    }
    Err(RecipeError::Value { key: key.to_owned(), problem: problem.to_owned() })
}
