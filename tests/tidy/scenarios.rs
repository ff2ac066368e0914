//! Every conformance scenario of gossip has a test that says its number.
//!
//! A name such as `scenario_03_12_a_challenge_proves_…` tells the scenarios 3 and 12. Only names of
//! functions count, in whichever suite they are.

use std::collections::BTreeSet;

use crate::sources::{Finding, Source, rust, settle};

/// How many there are.
const SCENARIOS: u32 = 41;

#[test]
fn every_scenario_of_gossip_has_a_test() {
    settle(&check(&rust()));
}

fn check(sources: &[Source]) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for source in sources {
        for (line, text) in source.lines() {
            let Some(name) = text.trim_start().strip_prefix("fn scenario_") else {
                continue;
            };
            let numbers = numbers(name);
            let known = |number: &u32| (1..=SCENARIOS).contains(number);
            if numbers.is_empty() || !numbers.iter().all(known) {
                let what = format!("scenarios are numbered from 01 to {SCENARIOS}");
                findings.push(source.finding(line, what, "give it its number"));
            }
            told.extend(numbers);
        }
    }
    let at = Source::new("proto/tests/gossip/scenarios.rs", "");
    for number in 1..=SCENARIOS {
        if !told.contains(&number) {
            let what = format!("scenario {number} has no test");
            let mend = format!("name it `scenario_{number:02}_…`");
            findings.push(at.finding(1, what, &mend));
        }
    }
    findings
}

/// The numbers at the beginning of a name.
fn numbers(name: &str) -> Vec<u32> {
    let parts = name.split('_').take_while(|part| part.len() == 2);
    parts.map_while(|part| part.parse().ok()).collect()
}

#[test]
fn scenarios_are_found_by_their_numbers() {
    let all: Vec<String> = (1..=SCENARIOS)
        .map(|number| format!("fn scenario_{number:02}_x() {{}}\n"))
        .collect();
    let all = all.concat();
    assert_eq!(check(&[Source::new("a.rs", &all)]).len(), 0);
    let less = all.replace("scenario_12_", "scenario_");
    assert_eq!(check(&[Source::new("a.rs", &less)]).len(), 2);
    let two = less
        .replace("fn scenario_x() {}\n", "")
        .replace("_03_x", "_03_12_x");
    assert_eq!(check(&[Source::new("a.rs", &two)]).len(), 0);
    assert_eq!(numbers("03_12_to_14_x"), [3, 12]);
}
