use super::*;

fn mix_of(distribution: Distribution, keys: u64) -> Mix {
    Mix { ratio: Ratio { writes: 1, reads: 10 }, keys, distribution, sizes: ValueSizes::Fixed(32), seed: 5 }
}

fn frequencies(distribution: Distribution, keys: u64, operations: usize) -> Vec<f64> {
    let mut workload = Workload::new(&mix_of(distribution, keys), 0, 1);
    let mut counts = vec![0.0; usize::try_from(keys).expect("small")];
    for _ in 0..operations {
        counts[usize::try_from(workload.next_operation().key).expect("small")] += 1.0;
    }
    counts
}

#[test]
fn zipf_frequencies_follow_the_law_for_exponents_below_at_and_above_one() {
    for exponent in [0.5, 0.99, 1.0, 1.5, 3.0] {
        let counts = frequencies(Distribution::Zipf { exponent }, 100, 200_000);
        let norm: f64 = (1..=100).map(|rank| f64::from(rank).powf(-exponent)).sum();
        for rank in [1u32, 2, 3, 10, 50, 100] {
            let expected = 200_000.0 * f64::from(rank).powf(-exponent) / norm;
            let found = counts[rank as usize - 1];
            // Five standard deviations of a binomial count.
            assert!((found - expected).abs() <= 5.0 * expected.sqrt() + 1.0, "{exponent} {rank}: {found} {expected}");
        }
    }
}

#[test]
fn zipf_over_one_key_and_over_a_billion_stays_in_range() {
    for keys in [1, 2, 1_000_000_000] {
        let mut workload = Workload::new(&mix_of(Distribution::Zipf { exponent: 1.01 }, keys), 0, 1);
        assert!((0..1000).all(|_| workload.next_operation().key < keys));
    }
}

#[test]
fn the_hot_set_gets_its_part_and_extreme_parts_do_no_harm() {
    let hot = |keys, operations| Distribution::HotSet { keys, operations };
    let counts = frequencies(hot(0.1, 0.9), 100, 100_000);
    let first: f64 = counts[..10].iter().sum();
    assert!((first - 90_000.0).abs() < 475.0, "{first}");
    for (keys, operations) in [(0.0, 1.0), (1.0, 0.0), (1.0, 1.0)] {
        assert!((frequencies(hot(keys, operations), 10, 100).iter().sum::<f64>() - 100.0).abs() < 0.5);
    }
}

#[test]
fn sequential_keys_of_two_threads_interleave() {
    let mix = mix_of(Distribution::Sequential, 5);
    let take = |index| {
        let mut workload = Workload::new(&mix, index, 2);
        [(); 4].map(|()| workload.next_operation().key)
    };
    assert_eq!((take(0), take(1)), ([0, 2, 4, 1], [1, 3, 0, 2]));
}

#[test]
fn writes_are_one_in_eleven() {
    let mut workload = Workload::new(&mix_of(Distribution::Uniform, 10), 0, 1);
    let writes = (0..110_000).filter(|_| workload.next_operation().kind == OperationKind::Write).count();
    assert!(writes.abs_diff(10_000) < 480, "{writes}");
}

#[test]
fn values_follow_from_key_and_seed() {
    let sizes: ValueSizes = "10-200".parse().expect("sizes");
    let [values, same, other] = [5, 5, 6].map(|seed| Values::new(&sizes, seed));
    let mut differing = 0;
    for key in 0..1000 {
        let value = values.value(key);
        assert!((10..=200).contains(&value.len()));
        assert_eq!(value, same.value(key));
        differing += usize::from(value != other.value(key) && value != values.value(key + 1));
    }
    assert!(differing > 990);
    assert_eq!(values.key(7), same.key(7));
    assert_ne!(values.key(7), other.key(7));
    assert!(values.key(1_234_567).ends_with(b":000001234567"), "{:?}", values.key(1_234_567));
}

#[test]
fn sizes_follow_their_weights() {
    let values = Values::new(&"100:3,1000:1".parse().expect("sizes"), 1);
    let long = (0..100_000).filter(|key| values.value(*key).len() == 1000).count();
    assert!(long.abs_diff(25_000) < 690, "{long}");
    assert!((0..1000).all(|key| [100, 1000].contains(&values.value(key).len())));
}

#[test]
fn texts_are_read_and_nonsense_is_refused() {
    assert_eq!("1:10".parse(), Ok(Ratio { writes: 1, reads: 10 }));
    assert_eq!("zipf:0.99".parse(), Ok(Distribution::Zipf { exponent: 0.99 }));
    assert_eq!("hot:10%:90%".parse(), Ok(Distribution::HotSet { keys: 0.1, operations: 0.9 }));
    assert_eq!("uniform".parse(), Ok(Distribution::Uniform));
    assert_eq!("sequential".parse(), Ok(Distribution::Sequential));
    assert_eq!("0".parse(), Ok(ValueSizes::Fixed(0)));
    assert_eq!("16-32".parse(), Ok(ValueSizes::Range(16, 32)));
    assert_eq!("16:1,32:2".parse(), Ok(ValueSizes::Weighted(vec![(16, 1), (32, 2)])));
    for text in ["", "1", "0:0", "-1:1", "a:b"] {
        assert!(text.parse::<Ratio>().is_err(), "{text}");
    }
    for text in ["", "zipf", "zipf:0", "zipf:-1", "zipf:nan", "hot:10:90", "hot:101%:1%", "gauss"] {
        assert!(text.parse::<Distribution>().is_err(), "{text}");
    }
    for text in ["", "x", "-5", "32-16", "16:0", "16:1,", "99999999999"] {
        assert!(text.parse::<ValueSizes>().is_err(), "{text}");
    }
}
