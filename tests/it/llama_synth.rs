//! Random checkpoints: readable, seeded, of the stated distribution.

use medharness::{
    kernels::matrix::WeightType,
    llama::{
        Checkpoint, WeightSource,
        synth::{self, RandomWeights, SynthError},
    },
    stats::Seed,
};

#[test]
fn random_weights_follow_from_seed_name_and_position() {
    let read = |seed, name: &str, first, rows| {
        let mut out = Vec::new();
        RandomWeights::new(Seed(seed)).read(name, 100, first, rows, &mut out).expect("drawn");
        out
    };
    let whole = read(1, "model.layers.0.mlp.up_proj.weight", 0, 300);
    let pieces: Vec<f32> = [(0, 7), (7, 200), (207, 93)]
        .iter()
        .flat_map(|(first, rows)| read(1, "model.layers.0.mlp.up_proj.weight", *first, *rows))
        .collect();
    assert_eq!(whole, pieces);
    assert!(whole != read(2, "model.layers.0.mlp.up_proj.weight", 0, 300));
    assert!(whole != read(1, "model.layers.1.mlp.up_proj.weight", 0, 300));
    assert_eq!(read(1, "model.norm.weight", 0, 1), [1.0; 100]);
}

#[test]
fn random_weights_are_normal_with_deviation_0_02() {
    let mut values = Vec::new();
    RandomWeights::new(Seed(3)).read("x", 1000, 0, 1000, &mut values).expect("drawn");
    let moment = |k: i32| {
        values.iter().map(|v| (f64::from(*v) / 0.02).powi(k)).sum::<f64>() / values.len() as f64
    };
    // A million draws: standard errors 0.001, 0.0014, 0.0039 and 0.0098.
    for (k, want, error) in [(1, 0.0, 0.001), (2, 1.0, 0.0014), (3, 0.0, 0.0039), (4, 3.0, 0.0098)]
    {
        assert!((moment(k) - want).abs() < 5.0 * error, "moment {k} is {}", moment(k));
    }
}

#[test]
fn a_written_checkpoint_opens_and_holds_the_values_drawn() {
    let folder = tempfile::tempdir().expect("scratch");
    let mut last = (0, 0);
    synth::write("s", WeightType::F16, Seed(9), folder.path(), &mut |done, all| last = (done, all))
        .expect("written");
    assert_eq!(last.0, last.1);
    let mut checkpoint = Checkpoint::open(folder.path()).expect("opens");
    assert_eq!(checkpoint.config().parameters(), 15_191_712);
    assert_eq!(last.1, 2 * 15_191_712);
    let name = "model.layers.5.self_attn.v_proj.weight";
    let (mut stored, mut drawn) = (Vec::new(), Vec::new());
    checkpoint.read(name, 288, 17, 2, &mut stored).expect("read");
    RandomWeights::new(Seed(9)).read(name, 288, 17, 2, &mut drawn).expect("drawn");
    let rounded: Vec<f32> = drawn.iter().map(|v| half::f16::from_f32(*v).to_f32()).collect();
    assert_eq!(stored, rounded);
    let error = synth::write("s", WeightType::F16, Seed(9), folder.path(), &mut |_, _| {});
    assert!(matches!(error, Err(SynthError::NotEmpty(_))));
    let error = synth::config("gpt", WeightType::F16).expect_err("no such shape");
    insta::assert_snapshot!(error,
        @"no shape `gpt`; there are s, m, tinyllama, llama-7b, llama-13b");
}

#[test]
fn the_shapes_have_their_published_sizes() {
    let count = |shape| {
        let json = synth::config(shape, WeightType::Bf16).expect("shape").to_string();
        medharness::llama::Config::parse(&json).expect("sound").parameters()
    };
    assert_eq!(count("tinyllama"), 1_100_048_384);
    assert_eq!(count("llama-7b"), 6_738_415_616);
    assert_eq!(count("llama-13b"), 13_015_864_320);
}
