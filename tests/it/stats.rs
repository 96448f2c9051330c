//! Statistics against scipy and statsmodels (`golden/stats`, made by `golden/make/stats.py`), at
//! their extremes, and on simulated data.

use medharness::stats::{
    Confidence, Generator, Margin, PairedCounts, Power, PrintedShare, Seed, Share, StatsError,
    Unit, binomial_at_least, binomial_at_most, binomial_pmf, clustered_mean, cohen_kappa,
    detectable_paired, detectable_unpaired, holm, mcnemar, normal_cdf, normal_quantile,
    paired_bootstrap, paired_bootstrap_clustered, student_cdf, two_proportions,
};
use proptest::prelude::*;

/// Both sides compute in f64; scipy itself is good to about 1e-13 in the far tails.
const RELATIVE: f64 = 2e-11;
/// Below this, values are differences of numbers near 1.
const ABSOLUTE: f64 = 1e-13;

#[track_caller]
fn assert_close(ours: f64, theirs: f64, what: &str) {
    let allowed = ABSOLUTE.min(theirs.abs() + 1e-300).max(RELATIVE * theirs.abs());
    assert!((ours - theirs).abs() <= allowed, "{what}: ours {ours:e}, reference {theirs:e}");
}

/// Rows of a golden table, each as (its text for messages, its fields).
fn golden(name: &str) -> Vec<(String, Vec<String>)> {
    let path = format!("{}/golden/stats/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let mut reader =
        csv::ReaderBuilder::new().comment(Some(b'#')).from_path(path).expect("golden table");
    let rows: Vec<_> = reader
        .records()
        .map(|row| {
            let fields: Vec<String> = row.expect("CSV").iter().map(String::from).collect();
            (format!("{name}: {}", fields.join(",")), fields)
        })
        .collect();
    assert!(!rows.is_empty(), "{name} is empty");
    rows
}

fn int(text: &str) -> usize {
    text.parse().expect("a number")
}

fn float(text: &str) -> f64 {
    text.parse().expect("a number")
}

fn floats(text: &str) -> Vec<f64> {
    text.split_whitespace().map(float).collect()
}

#[test]
fn intervals_are_those_of_statsmodels() {
    let rows = golden("intervals");
    assert!(rows.len() > 400);
    for (row, f) in rows {
        let share = Share::new(int(&f[0]), int(&f[1])).unwrap();
        let level = Confidence::new(float(&f[2])).unwrap();
        let (wilson, exact) = (share.wilson(level), share.clopper_pearson(level));
        // statsmodels' Wilson limits carry the cancellation of a difference near 0.
        assert!((wilson.low - float(&f[3])).abs() < 1e-14, "{row}: {wilson}");
        assert!((wilson.high - float(&f[4])).abs() < 1e-14, "{row}: {wilson}");
        assert_close(exact.low, float(&f[5]), &row);
        assert_close(exact.high, float(&f[6]), &row);
        assert!(exact.contains(share.value()) && wilson.contains(share.value()), "{row}");
    }
}

#[test]
fn intervals_touch_0_and_1_exactly_at_the_ends() {
    for n in [1, 2, 91, 6032] {
        for level in [0.5, 0.95, 0.9999] {
            let level = Confidence::new(level).unwrap();
            let (none, all) = (Share::new(0, n).unwrap(), Share::new(n, n).unwrap());
            for (low, high) in [
                (none.wilson(level).low, all.wilson(level).high),
                (none.clopper_pearson(level).low, all.clopper_pearson(level).high),
            ] {
                assert_eq!((low.to_bits(), high.to_bits()), (0, 1.0_f64.to_bits()), "n = {n}");
            }
        }
    }
}

#[test]
fn binomial_terms_and_tails_are_those_of_scipy() {
    let rows = golden("binomial");
    assert!(rows.len() > 400);
    for (row, f) in rows {
        let (k, n, p) = (int(&f[0]), int(&f[1]), float(&f[2]));
        assert_close(binomial_pmf(k, n, p).unwrap(), float(&f[3]), &format!("{row} pmf"));
        assert_close(binomial_at_least(k, n, p).unwrap(), float(&f[4]), &format!("{row} >="));
        assert_close(binomial_at_most(k, n, p).unwrap(), float(&f[5]), &format!("{row} <="));
    }
}

#[test]
fn binomial_tails_at_certain_and_impossible_p_are_exact() {
    assert_eq!(binomial_at_least(1, 9, 0.0), Ok(0.0));
    assert_eq!(binomial_at_least(9, 9, 1.0), Ok(1.0));
    assert_eq!(binomial_at_least(10, 9, 0.5), Ok(0.0));
    assert_eq!(binomial_at_most(8, 9, 1.0), Ok(0.0));
    assert_eq!(binomial_pmf(9, 9, 1.0), Ok(1.0));
    assert_eq!(binomial_pmf(1, 9, 0.0), Ok(0.0));
    assert_eq!(binomial_at_least(1, 0, 0.5), Err(StatsError::NoTrials));
    assert!(binomial_at_least(1, 9, f64::NAN).is_err());
}

#[test]
fn mcnemar_is_that_of_statsmodels() {
    for (row, f) in golden("mcnemar") {
        let (b, c) = (int(&f[0]), int(&f[1]));
        assert_close(mcnemar(b, c).unwrap(), float(&f[2]), &row);
        assert_eq!(mcnemar(b, c), mcnemar(c, b), "{row}");
    }
}

#[test]
fn mcnemar_of_huge_counts_neither_overflows_nor_hangs() {
    let half = 1 << 31;
    assert_eq!(mcnemar(half, half), Ok(1.0));
    // 2^16 is the standard deviation's double: z = 2.83 here, p from the normal limit.
    let p = mcnemar(half - 92_682, half).unwrap();
    assert!((p - 2.0 * normal_cdf(-92_681.0 / 65_535.3)).abs() < 1e-6, "{p}");
    assert_eq!(mcnemar(usize::MAX, 1), Err(StatsError::TooManyTrials));
    assert!(PairedCounts::new(usize::MAX, 1, 1, 1).is_err());
}

#[test]
fn two_proportion_z_is_that_of_statsmodels() {
    for (row, f) in golden("two_proportions") {
        let share = |k: usize| Share::new(int(&f[k]), int(&f[k + 1])).unwrap();
        let test = two_proportions(share(0), share(2));
        assert_close(test.z, float(&f[4]), &row);
        assert_close(test.p, float(&f[5]), &row);
    }
    let nothing = two_proportions(Share::new(0, 3).unwrap(), Share::new(0, 9).unwrap());
    assert_eq!((nothing.z.to_bits(), nothing.p.to_bits()), (0, 1.0_f64.to_bits()));
}

#[test]
fn holm_is_that_of_statsmodels() {
    for (row, f) in golden("holm") {
        for (ours, theirs) in holm(&floats(&f[0])).unwrap().iter().zip(floats(&f[1])) {
            assert_close(*ours, theirs, &row);
        }
    }
    assert_eq!(holm(&[]), Ok(vec![]));
    assert!(matches!(holm(&[0.5, f64::NAN]), Err(StatsError::NotAProbability { index: 1, .. })));
    assert!(holm(&[1.1]).is_err());
    assert!(holm(&[-0.1]).is_err());
}

#[test]
fn kappa_is_that_of_statsmodels() {
    for (row, f) in golden("kappa") {
        let (a, b): (Vec<char>, Vec<char>) = (f[0].chars().collect(), f[1].chars().collect());
        assert_close(cohen_kappa(&a, &b).unwrap().value.unwrap(), float(&f[2]), &row);
    }
    assert_eq!(cohen_kappa(&["A"; 4], &["A"; 4]).unwrap().value, None);
    assert_eq!(cohen_kappa::<u8>(&[], &[]), Err(StatsError::NoTrials));
    assert!(cohen_kappa(&[1], &[1, 2]).is_err());
}

#[test]
fn clustered_mean_is_that_of_statsmodels() {
    for (row, f) in golden("clustered") {
        let clusters: Vec<usize> = f[1].split_whitespace().map(int).collect();
        let ours = clustered_mean(&floats(&f[0]), &clusters, Confidence::P95).unwrap();
        assert_close(ours.mean, float(&f[2]), &row);
        assert_close(ours.standard_error, float(&f[3]), &row);
        assert_close(ours.naive_standard_error, float(&f[4]), &row);
        assert_close(ours.p, float(&f[5]), &row);
        assert_close(ours.interval.low, float(&f[6]), &row);
        assert_close(ours.interval.high, float(&f[7]), &row);
    }
    assert!(matches!(
        clustered_mean(&[1.0, 0.0], &[4, 4], Confidence::P95),
        Err(StatsError::TooFewClusters { got: 1 })
    ));
    assert!(clustered_mean(&[1.0, f64::NAN], &[0, 1], Confidence::P95).is_err());
    assert!(clustered_mean(&[], &[], Confidence::P95).is_err());
}

#[test]
fn normal_and_student_are_those_of_scipy() {
    for (row, f) in golden("normal") {
        let argument = float(&f[1]);
        let ours = match f[0].as_str() {
            "cdf" => normal_cdf(argument),
            _ => normal_quantile(argument).unwrap(),
        };
        assert!(
            (ours - float(&f[2])).abs()
                <= 1e-12 * float(&f[2]).abs() + if f[0] == "cdf" { 0.0 } else { 1e-15 },
            "{row}: {ours}"
        );
    }
    for (row, f) in golden("student") {
        assert_close(student_cdf(float(&f[0]), int(&f[1])).unwrap(), float(&f[2]), &row);
    }
    assert!(normal_quantile(0.0).is_err() && normal_quantile(f64::NAN).is_err());
    assert!(student_cdf(f64::INFINITY, 3).is_err() && student_cdf(1.0, 0).is_err());
}

#[test]
fn detectable_differences_follow_the_formula() {
    let check = |ours: Option<f64>, theirs: &str, row: &str| match ours {
        None => assert_eq!(theirs, "none", "{row}"),
        Some(value) => assert_close(value, float(theirs), row),
    };
    for (row, f) in golden("power") {
        let n = int(&f[0]);
        let discordance = float(&f[1]);
        let power = Power::new(float(&f[2]), float(&f[3])).unwrap();
        check(detectable_paired(n, discordance, power).unwrap(), &f[4], &row);
        let baseline = discordance / 2.0;
        check(detectable_unpaired(n, n + 7, baseline, power).unwrap(), &f[5], &row);
    }
    assert!(detectable_paired(0, 0.2, Power::USUAL).is_err());
    assert!(detectable_paired(5, f64::NAN, Power::USUAL).is_err());
    assert!(detectable_unpaired(5, 5, 1.0, Power::USUAL).is_err());
    assert!(Power::new(0.0, 0.8).is_err() && Power::new(0.05, f64::NAN).is_err());
}

#[test]
fn equivalence_and_its_interval_are_those_of_a_numeric_score_test() {
    for (row, f) in golden("tango") {
        let (b, c, n) = (int(&f[0]), int(&f[1]), int(&f[2]));
        let counts = PairedCounts::new(0, b, c, n - b - c).unwrap();
        let test = counts.equivalence(Margin::new(float(&f[3])).unwrap());
        // The reference finds the restricted share numerically.
        for (ours, theirs) in [(test.p_not_worse, &f[4]), (test.p_not_better, &f[5])] {
            assert!((ours - float(theirs)).abs() <= 1e-9 * float(theirs) + 1e-300, "{row}: {ours}");
        }
        let interval = counts.difference_interval(Confidence::P95);
        assert!((interval.low - float(&f[6])).abs() < 1e-7, "{row}: {interval}");
        assert!((interval.high - float(&f[7])).abs() < 1e-7, "{row}: {interval}");
        assert!(interval.contains(counts.difference()), "{row}: {interval}");
    }
}

#[test]
fn no_flips_on_few_questions_are_no_proof_of_equivalence() {
    let margin = Margin::new(0.05).unwrap();
    assert!(PairedCounts::new(2, 0, 0, 3).unwrap().equivalence(margin).p > 0.3);
    assert!(PairedCounts::new(200, 0, 0, 100).unwrap().equivalence(margin).p < 1e-4);
}

#[test]
fn bootstrap_is_that_of_a_second_implementation() {
    for (row, f) in golden("bootstrap") {
        let differences = floats(&f[0]);
        let clusters: Vec<usize> = f[1].split_whitespace().map(int).collect();
        let (seed, resamples) = (Seed(f[2].parse().unwrap()), int(&f[3]));
        let ours = if clusters.is_empty() {
            paired_bootstrap(&differences, resamples, seed, Confidence::P95)
        } else {
            paired_bootstrap_clustered(&differences, &clusters, resamples, seed, Confidence::P95)
        }
        .unwrap();
        assert_close(ours.estimate, float(&f[4]), &row);
        assert_close(ours.interval.low, float(&f[5]), &row);
        assert_close(ours.interval.high, float(&f[6]), &row);
    }
}

#[test]
fn bootstrap_does_not_depend_on_the_number_of_threads() {
    let mut generator = Generator::new(Seed(3));
    let differences: Vec<f64> = (0..91).map(|_| generator.below(3) as f64 - 1.0).collect();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| paired_bootstrap(&differences, 10_000, Seed(9), Confidence::P95)).unwrap()
    };
    assert_eq!(with(1), with(2));
    assert_eq!(with(1), with(7));
}

#[test]
fn bootstrap_refuses_what_it_cannot_do() {
    let level = Confidence::P95;
    assert_eq!(paired_bootstrap(&[], 10_000, Seed(1), level), Err(StatsError::NoTrials));
    assert_eq!(
        paired_bootstrap(&[1.0], 9_999, Seed(1), level),
        Err(StatsError::TooFewResamples { got: 9_999 })
    );
    assert!(paired_bootstrap(&[f64::NAN], 10_000, Seed(1), level).is_err());
    assert!(paired_bootstrap_clustered(&[1.0, 0.0], &[1], 10_000, Seed(1), level).is_err());
    assert!(paired_bootstrap_clustered(&[1.0, 0.0], &[1, 1], 10_000, Seed(1), level).is_err());
}

/// Source of the design: arXiv 2411.00640; 50 groups of 10 with a shared effect and no difference.
#[test]
fn clustered_test_rejects_a_true_null_in_5_percent_and_the_naive_test_far_more_often() {
    let simulations = 2000;
    let (mut clustered, mut naive) = (0, 0);
    let clusters: Vec<usize> = (0..500).map(|item| item / 10).collect();
    for simulation in 0..simulations {
        let mut generator = Generator::numbered(Seed(2024), simulation);
        let mut values = Vec::with_capacity(500);
        for _ in 0..50 {
            let shared = generator.normal();
            values.extend((0..10).map(|_| shared + generator.normal()));
        }
        let test = clustered_mean(&values, &clusters, Confidence::P95).unwrap();
        clustered += u32::from(test.p < 0.05);
        naive += u32::from((test.mean / test.naive_standard_error).abs() > 1.96);
    }
    let (clustered, naive) =
        (f64::from(clustered) / simulations as f64, f64::from(naive) / simulations as f64);
    // Three standard errors of 2,000 draws at 5 %: 1.5 points.
    assert!((0.035..0.065).contains(&clustered), "size of the clustered test: {clustered}");
    assert!(naive > 0.3, "the naive test should fail here, rejects {naive}");
}

#[test]
fn exact_mcnemar_keeps_its_size_on_random_flips() {
    let mut rejected = 0;
    for simulation in 0..4000 {
        let mut generator = Generator::numbered(Seed(7), simulation);
        let flips = (0..109).filter(|_| generator.uniform() < 0.2).count();
        let first = (0..flips).filter(|_| generator.uniform() < 0.5).count();
        rejected += u32::from(mcnemar(first, flips - first).unwrap() < 0.05);
    }
    // An exact test is conservative: never above 5 % but for chance, here about 3 %.
    assert!((40..200).contains(&rejected), "{rejected} of 4000");
}

#[test]
fn seeds_can_be_derived_again_with_sha256sum() {
    // printf 'medharness-seed-v1\n%s\n%s\n%s' 42 step1/4 1 | sha256sum
    assert_eq!(Seed(42).derive("step1/4", 1), Seed(0xdcca_186c_08e9_f119));
    assert_ne!(Seed(42).derive("step1/4", 1), Seed(42).derive("step1/4", 2));
    assert_ne!(Seed(42).derive("step1/41", 1), Seed(42).derive("step1/4", 11));
    assert_eq!("42".parse(), Ok(Seed(42)));
    assert_eq!(serde_json::to_string(&Seed(42)).unwrap(), "42");
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    assert_eq!(Share::new(0, 0), Err(StatsError::NoTrials));
    assert!(Share::new(2, 1).is_err());
    assert!(Share::new(2, usize::MAX).is_err());
    for wrong in ["NaN", "inf", "-0.1", "0", "1", "5", "five", ""] {
        assert!(wrong.parse::<Margin>().is_err(), "margin {wrong}");
        assert!(wrong.parse::<Confidence>().is_err(), "confidence {wrong}");
    }
    assert_eq!("0.05".parse::<Margin>(), Margin::new(0.05));
    let message = Margin::new(f64::NAN).unwrap_err().to_string();
    assert_eq!(message, "margin must lie strictly between 0 and 1, got NaN");
}

#[test]
fn below_is_even_over_its_range() {
    let mut generator = Generator::new(Seed(5));
    let mut seen = [0u32; 7];
    for _ in 0..70_000 {
        seen[generator.index(7)] += 1;
    }
    // Expected 10,000 each, standard deviation 93.
    assert!(seen.iter().all(|count| (9_600..10_400).contains(count)), "{seen:?}");
    assert_eq!((generator.below(0), generator.below(1), generator.index(0)), (0, 0, 0));
}

#[test]
fn shuffle_keeps_every_item_and_depends_on_the_seed_alone() {
    let shuffled = |seed| {
        let mut items: Vec<u32> = (0..50).collect();
        Generator::new(Seed(seed)).shuffle(&mut items);
        items
    };
    assert_eq!(shuffled(1), shuffled(1));
    assert_ne!(shuffled(1), shuffled(2));
    let mut sorted = shuffled(1);
    sorted.sort_unstable();
    assert_eq!(sorted, (0..50).collect::<Vec<_>>());
}

#[test]
fn printed_shares_know_their_counts() {
    let counts = |text: &str, unit, n| {
        PrintedShare::parse(text, unit).unwrap().counts(n).collect::<Vec<_>>()
    };
    assert_eq!(counts("0.473", Unit::Fraction, 91), [43]);
    assert_eq!(counts(".473", Unit::Fraction, 91), [43]);
    assert_eq!(counts("47.3", Unit::Percent, 91), [43]);
    assert!(counts("0.473", Unit::Fraction, 92).is_empty());
    // 9/20 = 0.45 is rounded up by hand; 11/20 lies above its tie as a double.
    assert_eq!(counts("0.5", Unit::Fraction, 20), [9, 10]);
    assert_eq!(counts("1", Unit::Fraction, 3), [2, 3]);
    assert_eq!(counts("0.00", Unit::Fraction, 7), [0]);
    assert_eq!(counts("100.0", Unit::Percent, 7), [7]);
    assert!(counts("0.5", Unit::Fraction, 0).is_empty());
    // 1/16 = 0.0625 exactly: a spreadsheet prints 0.063, Python 0.062; both are taken.
    assert_eq!(counts("0.063", Unit::Fraction, 16), [1]);
    assert_eq!(counts("0.062", Unit::Fraction, 16), [1]);
    assert!(counts("0.061", Unit::Fraction, 16).is_empty());
}

#[test]
fn printed_shares_refuse_what_is_no_plain_number() {
    for wrong in ["", ".", "NaN", "-0.1", "+0.1", "1e-1", "0,473", "47 %", " 0.4", "0.4.7", "٣"] {
        assert!(PrintedShare::parse(wrong, Unit::Fraction).is_err(), "{wrong}");
    }
    assert!(PrintedShare::parse("1.001", Unit::Fraction).is_err());
    assert!(PrintedShare::parse("100.1", Unit::Percent).is_err());
    assert!(PrintedShare::parse("0.1234567891", Unit::Fraction).is_err());
}

proptest! {
    #[test]
    fn every_count_is_found_from_its_own_print(n in 1usize..3000, k in 0usize..3000, d in 0usize..6) {
        let k = k.min(n);
        let printed = PrintedShare::parse(
            &format!("{:.d$}", k as f64 / n as f64), Unit::Fraction).unwrap();
        prop_assert!(printed.counts(n).contains(&k), "{printed}");
        let percent = PrintedShare::parse(
            &format!("{:.d$}", 100.0 * k as f64 / n as f64), Unit::Percent).unwrap();
        prop_assert!(percent.counts(n).contains(&k), "{percent}");
    }

    #[test]
    fn found_counts_lie_within_half_a_unit(n in 1usize..3000, value in 0u32..1001) {
        let printed = PrintedShare::parse(
            &format!("{:.3}", f64::from(value) / 1000.0), Unit::Fraction).unwrap();
        for k in printed.counts(n) {
            let distance = (k as f64 / n as f64 - printed.value()).abs();
            prop_assert!(distance <= printed.half_unit() + 1e-12);
        }
    }

    #[test]
    fn wilson_lies_within_0_and_1(n in 1usize..100_000, k in 0usize..100_000, level in 0.01f64..0.9999) {
        let interval = Share::new(k.min(n), n).unwrap().wilson(Confidence::new(level).unwrap());
        prop_assert!(interval.low >= 0.0 && interval.high <= 1.0 && interval.low <= interval.high);
    }

    #[test]
    fn no_statistic_of_paired_counts_is_nan(a in 0usize..500, b in 0usize..500, c in 0usize..500, d in 1usize..500, m in 0.001f64..0.999) {
        let counts = PairedCounts::new(a, b, c, d).unwrap();
        let test = counts.equivalence(Margin::new(m).unwrap());
        for value in [counts.mcnemar(), test.p, test.p_not_worse, test.p_not_better] {
            prop_assert!((0.0..=1.0).contains(&value), "{value}");
        }
        let interval = counts.difference_interval(Confidence::P95);
        prop_assert!(interval.low >= -1.0 && interval.high <= 1.0);
        prop_assert!(interval.contains(counts.difference()));
    }
}
