//! Which modules an adapter's settings name, by PEFT's rules.
//!
//! Source: PEFT 0.21.2, `check_target_module_exists`.

use regex::Regex;

use super::{
    EMBEDDING_MODULE, HEAD_MODULE, LoraConfig, LoraError, OneOrMany, Targets, config::compile,
};

/// The rules of one adapter's settings, compiled.
pub(super) struct Matcher {
    targets: Rule,
    excluded: Option<Rule>,
    saved: Vec<Regex>,
    layers: Option<LayerRule>,
}

enum Rule {
    AllLinear,
    Whole(Regex),
    Ends(Vec<String>),
}

struct LayerRule {
    /// What finds the number of a layer in a name, as `idx`.
    number: Vec<Regex>,
    layers: Vec<usize>,
}

impl Matcher {
    pub(super) fn new(config: &LoraConfig) -> Result<Self, LoraError> {
        let usual = Targets::Names(vec!["q_proj".into(), "v_proj".into()]);
        let targets = match config.target_modules.as_ref().unwrap_or(&usual) {
            Targets::Pattern(text) if text.eq_ignore_ascii_case("all-linear") => Rule::AllLinear,
            other => Rule::new(other)?,
        };
        let saved = config.modules_to_save.iter().flatten();
        let saved = saved.map(|name| compile(&format!(r"^(?:|.*\.){name}(?:$|\..*)")));
        Ok(Self {
            targets,
            excluded: config.exclude_modules.as_ref().map(Rule::new).transpose()?,
            saved: saved.collect::<Result<_, _>>()?,
            layers: LayerRule::new(config)?,
        })
    }

    pub(super) fn targets(&self, module: &str) -> bool {
        let left_out = self.excluded.as_ref().is_some_and(|excluded| excluded.matches(module))
            || self.saved.iter().any(|saved| saved.is_match(module));
        if left_out || !self.targets.matches(module) {
            return false;
        }
        match (&self.targets, &self.layers) {
            // A name in full is taken whatever its layer.
            (Rule::Ends(names), Some(rule)) => {
                names.iter().any(|name| name == module) || rule.holds(module)
            }
            _ => true,
        }
    }
}

impl Rule {
    fn new(targets: &Targets) -> Result<Self, LoraError> {
        Ok(match targets {
            Targets::Pattern(text) => Self::Whole(compile(&format!("^(?:{text})$"))?),
            Targets::Names(names) => Self::Ends(names.clone()),
        })
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            Self::AllLinear => module != HEAD_MODULE && module != EMBEDDING_MODULE,
            Self::Whole(pattern) => pattern.is_match(module),
            Self::Ends(names) => names.iter().any(|name| {
                module
                    .strip_suffix(&**name)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
        }
    }
}

impl LayerRule {
    fn new(config: &LoraConfig) -> Result<Option<Self>, LoraError> {
        let layers = match &config.layers_to_transform {
            None => return Ok(None),
            Some(OneOrMany::Many(layers)) if layers.is_empty() => return Ok(None),
            Some(layers) => layers.as_slice().to_vec(),
        };
        let patterns = match &config.layers_pattern {
            // An empty text is no pattern, an empty one among several is one.
            Some(OneOrMany::One(pattern)) if pattern.is_empty() => &[],
            Some(patterns) => patterns.as_slice(),
            None => &[],
        };
        let number = match patterns {
            [] => vec![compile(r"^.*?\.[^.]*\.(?P<idx>\d+)\.")?],
            patterns => patterns
                .iter()
                .map(|pattern| compile(&format!(r"^(?:|.*?\.){pattern}\.(?P<idx>\d+)\.")))
                .collect::<Result<_, _>>()?,
        };
        Ok(Some(Self { number, layers }))
    }

    fn holds(&self, module: &str) -> bool {
        let found = self.number.iter().find_map(|number| number.captures(module));
        let layer = found.and_then(|found| found.name("idx")?.as_str().parse::<usize>().ok());
        layer.is_some_and(|layer| self.layers.contains(&layer))
    }
}
