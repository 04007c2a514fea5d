//! Fees and payouts.

use proptest::prelude::*;
use toka_ledger::Cost;
use toka_ledger::rules::{Fee, Part, RuleError, Schedule, Tier, WHOLE, payout, split};
use toka_types::{Amount, EntityId};

fn amount(text: &str) -> Amount {
    text.parse().expect("an amount")
}

fn part(fixed: &str, basis_points: u32) -> Part {
    Part { fixed: amount(fixed), basis_points }
}

fn fee(schedule: Schedule) -> Fee {
    Fee { schedule, least: None, most: None }
}

fn tiers() -> Vec<Tier> {
    let tier = |above, part| Tier { above: amount(above), part };
    vec![tier("0", part("0.30", 300)), tier("100", part("0", 200)), tier("1000", part("0", 100))]
}

#[track_caller]
fn takes(fee: &Fee, on: &str, expected: &str) {
    assert_eq!(fee.on(amount(on)).map(|fee| fee.rounded_up().to_string()), Ok(expected.to_owned()));
}

#[test]
fn fixed_and_percentage() {
    takes(&fee(Schedule::Flat(part("0.30", 0))), "10", "0.30");
    takes(&fee(Schedule::Flat(part("0", 290))), "10", "0.29");
    takes(&fee(Schedule::Flat(part("0.30", 290))), "0", "0.30");
    takes(&fee(Schedule::Flat(part("0", WHOLE))), "10", "10.00");
    takes(&fee(Schedule::Flat(part("0", 1))), "0.000000001", "0.000000001");
}

#[test]
fn tiers_for_the_whole_or_for_what_lies_in_them() {
    let volume = fee(Schedule::Volume(tiers()));
    takes(&volume, "0", "0.00");
    takes(&volume, "100", "3.30");
    takes(&volume, "100.01", "2.0002");
    takes(&volume, "2000", "20.00");
    let graduated = fee(Schedule::Graduated(tiers()));
    takes(&graduated, "0", "0.00");
    takes(&graduated, "100", "3.30");
    takes(&graduated, "200", "5.30");
    takes(&graduated, "1000", "21.30");
    takes(&graduated, "2000", "31.30");
}

#[test]
fn caps() {
    let capped =
        Fee { least: Some(amount("0.50")), most: Some(amount("5")), ..fee(Schedule::Flat(part("0", 100))) };
    takes(&capped, "10", "0.50");
    takes(&capped, "100", "1.00");
    takes(&capped, "10000", "5.00");
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let refused = |fee: Fee, code| {
        let error = fee.on(Amount::UNIT).unwrap_err();
        assert_eq!((error.code(), fee.check()), (code, Err(error)), "{error}");
    };
    refused(fee(Schedule::Flat(part("0", WHOLE + 1))), "rule.basis-points");
    refused(fee(Schedule::Flat(part("-1", 0))), "rule.amount");
    refused(fee(Schedule::Volume(vec![])), "rule.tiers");
    refused(fee(Schedule::Graduated(tiers()[1..].to_vec())), "rule.tiers");
    refused(fee(Schedule::Graduated([tiers(), tiers()].concat())), "rule.tiers");
    let (least, most) = (Some(amount("2")), Some(amount("1")));
    refused(Fee { least, most, ..fee(Schedule::Flat(part("0", 1))) }, "rule.bounds");
    let negative = fee(Schedule::Flat(part("0", 1))).on(Amount(-1));
    assert_eq!(negative, Err(RuleError::Amount { amount: Amount(-1) }));
    assert_eq!(split(Amount(1), &[]).unwrap_err().code(), "rule.weights");
    assert_eq!(split(Amount(1), &[0, 0]).unwrap_err().code(), "rule.weights");
    assert_eq!(split(Amount(-1), &[1]).unwrap_err().code(), "rule.amount");
}

#[test]
fn a_fee_above_what_money_can_be_is_an_error_unless_it_is_capped() {
    let limit = Amount::LIMIT;
    let nearly = Part { fixed: limit.saturating_sub(Amount(5)), basis_points: WHOLE };
    let flat = fee(Schedule::Flat(nearly));
    assert_eq!(flat.on(Amount(4)).map(Cost::rounded_up), Ok(limit.saturating_sub(Amount(1))));
    for on in [Amount(5), Amount(6), limit] {
        assert_eq!(flat.on(on).unwrap_err().code(), "rule.overflow", "{on}");
    }
    let capped = Fee { most: Some(amount("5")), ..flat };
    assert_eq!(capped.on(limit).map(Cost::rounded_up), Ok(amount("5")));
    assert!(payout(limit, &[(EntityId::named("a"), fee(Schedule::Flat(nearly)))], &[]).is_err());
}

#[test]
fn splits_give_the_last_units_to_whom_most_was_rounded_off() {
    let parts = |total, weights: &[u32]| -> Vec<i128> {
        split(Amount(total), weights).expect("somebody has a weight").iter().map(|part| part.0).collect()
    };
    assert_eq!(parts(100, &[1, 1, 1]), [34, 33, 33]);
    assert_eq!(parts(10, &[7000, 2500, 500]), [7, 3, 0]);
    assert_eq!(parts(2, &[0, 1, 1, 1]), [0, 1, 1, 0]);
    assert_eq!(parts(0, &[3, 4]), [0, 0]);
    assert_eq!(parts(1, &[1, u32::MAX]), [0, 1]);
}

#[test]
fn a_payout_takes_fees_first() {
    let (platform, tax) = (EntityId::named("platform"), EntityId::named("tax"));
    let (a, b) = (EntityId::named("a"), EntityId::named("b"));
    let fees =
        [(platform, fee(Schedule::Flat(part("0.30", 290)))), (tax, fee(Schedule::Flat(part("0", 1900))))];
    let parts = payout(amount("10"), &fees, &[(a, 2), (b, 1)]).expect("there is enough");
    let shown: Vec<_> = parts.iter().map(|(who, part)| (*who, part.to_string())).collect();
    let text = |text: &str| text.to_owned();
    assert_eq!(
        shown,
        [(platform, text("0.59")), (tax, text("1.90")), (a, text("5.006666667")), (b, text("2.503333333"))]
    );
    let error = payout(amount("0.20"), &fees, &[(a, 1)]).unwrap_err();
    assert_eq!(error.code(), "rule.fees");
    assert_eq!(error.to_string(), "a fee of 0.3058, and 0.20 is left; take less, or pay out more at once");
}

fn any_amount() -> impl Strategy<Value = Amount> {
    prop_oneof![0i128..1000, 0..=Amount::LIMIT.0].prop_map(Amount)
}

fn any_part() -> impl Strategy<Value = Part> {
    (0i128..1_000_000_000, 0..=WHOLE)
        .prop_map(|(fixed, basis_points)| Part { fixed: Amount(fixed), basis_points })
}

fn any_tiers() -> impl Strategy<Value = Vec<Tier>> {
    prop::collection::btree_map(1..Amount::LIMIT.0, any_part(), 0..5).prop_map(|rest| {
        let first = (0, Part { fixed: Amount(7), basis_points: 12 });
        let all = std::iter::once(first).chain(rest);
        all.map(|(above, part)| Tier { above: Amount(above), part }).collect()
    })
}

proptest! {
    #[test]
    fn splits_conserve_the_total_and_are_fair(
        total in any_amount(),
        weights in prop::collection::vec(prop_oneof![Just(0u32), 1u32..100, any::<u32>()], 1..20),
    ) {
        let sum: i128 = weights.iter().map(|w| i128::from(*w)).sum();
        let parts = match split(total, &weights) {
            Ok(parts) => parts,
            Err(error) => {
                prop_assert_eq!((error.code(), sum), ("rule.weights", 0));
                return Ok(());
            }
        };
        prop_assert_eq!(parts.iter().map(|p| p.0).sum::<i128>(), total.0);
        for (part, weight) in parts.iter().zip(&weights) {
            let exact = total.0 * i128::from(*weight);
            prop_assert!((part.0 * sum - exact).abs() < sum, "within one nano of the exact share");
            prop_assert!(*weight > 0 || *part == Amount::ZERO);
        }
        for (a, b) in parts.iter().zip(&weights).zip(parts.iter().zip(&weights).skip(1)) {
            prop_assert!(a.1.cmp(b.1).is_eq() || (a.1 < b.1) == (a.0 < b.0) || a.0 == b.0, "by weight");
        }
    }

    #[test]
    fn graduated_and_flat_fees_never_fall(tiers in any_tiers(), part in any_part(), a in any_amount(), b in any_amount()) {
        for schedule in [Schedule::Graduated(tiers), Schedule::Flat(part)] {
            let fee = fee(schedule);
            let on = |amount| match fee.on(amount) {
                Err(RuleError::Overflow { .. }) => Cost::MAX,
                taken => taken.expect("a rule"),
            };
            let (low, high) = (on(a.min(b)), on(a.max(b)));
            prop_assert!(low <= high);
        }
    }

    #[test]
    fn fees_are_within_their_caps(tiers in any_tiers(), on in any_amount(), least in 0i128..1000, more in 0i128..1000) {
        let (least, most) = (Amount(least), Amount(least + more));
        let fee = Fee { schedule: Schedule::Volume(tiers), least: Some(least), most: Some(most) };
        let taken = fee.on(on).expect("a rule");
        prop_assert!(Cost::from(least) <= taken && taken <= Cost::from(most));
    }

    #[test]
    fn payouts_conserve_the_total(
        total in any_amount(),
        fees in prop::collection::vec(any_part(), 0..4),
        shares in prop::collection::vec(0u32..100, 0..5),
    ) {
        let who = EntityId::named("somebody");
        let fees: Vec<_> = fees.into_iter().map(|part| (who, fee(Schedule::Flat(part)))).collect();
        let shares: Vec<_> = shares.into_iter().map(|weight| (who, weight)).collect();
        if let Ok(parts) = payout(total, &fees, &shares) {
            prop_assert_eq!(parts.iter().map(|(_, part)| part.0).sum::<i128>(), total.0);
            prop_assert!(parts.iter().all(|(_, part)| *part >= Amount::ZERO));
        }
    }
}
