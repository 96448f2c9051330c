//! A model of your own under a protocol: `cargo run --example custom_model`.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use medharness::{eval::Evaluation, exam::Exam, models::*, protocol::Protocol};

const EXAM: &str = r#"[
    {"id": "1", "step": "1", "question": "Which vitamin prevents scurvy?", "answer": "B",
     "options": [{"letter": "A", "text": "Vitamin A"}, {"letter": "B", "text": "Vitamin C"}],
     "has_image": false, "source": "example"}
]"#;

type Replies = Result<Vec<Completion>, ModelError>;

struct Optimist(ModelIdentity);

impl Model for Optimist {
    fn identity(&self) -> &ModelIdentity {
        &self.0
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { generate: true, log_likelihood: false, tokens: false }
    }

    fn generate(&mut self, prompts: &[Prompt], _: &Sampling) -> Replies {
        Ok(prompts.iter().map(|_prompt| Completion::new("B: Vitamin C")).collect())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let exam = Exam::new("tiny", serde_json::from_str(EXAM)?);
    let protocol = Protocol::find("strict-v1")?;
    let folder = tempfile::tempdir()?;
    let mut model = Optimist(ModelIdentity::new("optimist", "example"));
    let summary = Evaluation::new(&exam, &protocol).run_to_end(&mut model, folder.path())?;
    println!("{:#?}", summary.parts[0].accuracies.headline);
    Ok(())
}
