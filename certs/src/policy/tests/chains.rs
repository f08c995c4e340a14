//! Chains: who must sign, what follows what, and what is refused for which reason.

use super::fixture::{Draft, moment, signed};
use crate::invalid::{Fault, Invalid};
use crate::policy::*;
use crate::{Digest, Namespace, Signed, sshsig};

fn refused(result: Result<Step, Invalid>) -> Invalid {
    match result {
        Err(invalid) => invalid,
        Ok(step) => panic!("accepted: {step:?}"),
    }
}

fn next(chain: &Chain, draft: &Draft, signers: &[&str]) -> Chain {
    match chain.extend(&signed(&draft.text(), signers)).unwrap() {
        Step::Next(chain) => chain,
        Step::Same => panic!("the same"),
    }
}

#[test]
fn a_chain_begins_with_version_0_and_moves_forward() {
    let first = Draft::new("acme", "");
    let chain = Chain::begin(&signed(&first.text(), &["root"])).unwrap();
    assert_eq!((chain.version(), chain.digest()), (0, chain.policy0()));
    let second = Draft::new("acme", "# more\n").after(&chain);
    let longer = next(&chain, &second, &["root"]);
    assert_eq!((longer.version(), longer.policy0()), (1, chain.digest()));
    assert_eq!(longer.digest(), Digest::of(second.text().as_bytes()));
    assert!(matches!(longer.extend(&signed(&second.text(), &["root"])).unwrap(), Step::Same));
    assert!(
        matches!(longer.extend(&signed(&second.text(), &[])).unwrap(), Step::Same),
        "bytes already held need no proof"
    );
}

#[test]
fn version_0_needs_the_threshold_of_its_own_root() {
    let mut draft = Draft::new("acme", "");
    (draft.roots, draft.threshold) = (vec!["r1", "r2", "r3"], 2);
    let text = draft.text();
    assert!(Chain::begin(&signed(&text, &["r3", "r1"])).is_ok());
    for signers in [&["r1"][..], &["r1", "r1"], &["r1", "stranger"], &[]] {
        let invalid = Chain::begin(&signed(&text, signers)).unwrap_err();
        assert_eq!(invalid.fault, Fault::Unsigned);
        let have = usize::from(!signers.is_empty());
        assert!(
            invalid.sentence.contains(&format!("has {have} of the 2 signatures it needs from its own root keys")),
            "{invalid}"
        );
    }
    let later = Draft { version: 1, previous: Some(Digest::of(b"x")), ..Draft::new("acme", "") };
    assert_eq!(Chain::begin(&signed(&later.text(), &["root"])).unwrap_err().fault, Fault::WrongPrevious);
}

#[test]
fn a_version_that_too_few_signed_says_who_did_and_who_is_missing() {
    let mut draft = Draft::new("acme", "");
    (draft.roots, draft.threshold) = (vec!["r1", "r2", "r3"], 2);
    let chain = draft.begin();
    let says = |draft: &Draft, signers: &[&str]| refused(chain.extend(&signed(&draft.text(), signers))).sentence;
    let same = Draft { body: "# more\n".to_owned(), ..draft.clone() }.after(&chain);
    assert_eq!(
        says(&same, &["r2"]),
        "version 1 of the policy of acme has 1 of the 2 signatures it needs from version 0's root keys (r2): 1 more must \
         sign, of r1, r3"
    );
    let moved = Draft { roots: vec!["r1", "r2", "r4"], ..draft.clone() }.after(&chain);
    assert_eq!(
        says(&moved, &["r4", "r4"]),
        "version 1 of the policy of acme has 0 of the 2 signatures it needs from version 0's root keys: 2 more must sign, \
         of r1, r2, r3; and it has 1 of the 2 signatures it needs from its own root keys (r4): 1 more must sign, of r1, r2"
    );
    let many = Draft { roots: vec!["a", "b", "c", "d", "e", "f", "g"], ..draft }.after(&chain);
    assert!(says(&many, &["r1", "r2"]).ends_with("2 more must sign, of a, b, c, d, e and 2 more"));
}

#[test]
fn a_lost_root_key_is_replaced_by_the_others_and_worth_nothing_then() {
    let mut draft = Draft::new("acme", "");
    (draft.roots, draft.threshold) = (vec!["r1", "r2", "lost"], 2);
    let chain = draft.begin();
    let next_draft = Draft { roots: vec!["r1", "r2", "r4"], ..draft.clone() }.after(&chain);
    for signers in [&["r1", "lost"][..], &["r4", "r1"], &["r1"], &["r1", "r1"], &["r4", "lost"]] {
        let invalid = chain.extend(&signed(&next_draft.text(), signers));
        assert_eq!(refused(invalid).fault, Fault::Unsigned, "{signers:?}");
    }
    let replaced = next(&chain, &next_draft, &["r2", "r1"]);
    let third = Draft { body: "# more\n".to_owned(), ..next_draft }.after(&replaced);
    assert!(refused(replaced.extend(&signed(&third.text(), &["lost", "r1"]))).sentence.contains("(r1): 1 more"));
    next(&replaced, &third, &["r4", "r1"]);
}

#[test]
fn one_root_key_under_two_comments_is_one_key_and_refused() {
    let text = Draft { roots: vec!["r1", "r2"], threshold: 2, ..Draft::new("acme", "") }.text();
    let (r1, r2) = (super::fixture::public("r1").line(), super::fixture::public("r2").line());
    for second in [r1.clone(), r1.replace(" r1", " another laptop"), r1.replace(" r1", ""), format!("  {r1} ")] {
        let twice = text.replace(&r2, &second);
        let invalid = Policy::parse(twice.as_bytes()).unwrap_err();
        assert!(invalid.sentence.contains("twice"), "{second}: {invalid}");
    }
}

#[test]
fn new_root_keys_need_the_old_ones_and_their_own_threshold() {
    let chain = Draft::new("acme", "").begin();
    let mut draft = Draft::new("acme", "").after(&chain);
    (draft.roots, draft.threshold) = (vec!["new1", "new2"], 2);
    let text = draft.text();
    let missing_new = refused(chain.extend(&signed(&text, &["root", "new1"])));
    assert!(
        missing_new.sentence.contains("has 1 of the 2 signatures it needs from its own root keys"),
        "{missing_new}"
    );
    let missing_old = refused(chain.extend(&signed(&text, &["new1", "new2"])));
    assert!(
        missing_old.sentence.contains("has 0 of the 1 signatures it needs from version 0's root keys"),
        "{missing_old}"
    );
    assert_eq!((missing_new.fault, missing_old.fault), (Fault::Unsigned, Fault::Unsigned));
    let moved = next(&chain, &draft, &["new2", "root", "new1"]);
    let third = Draft { roots: draft.roots.clone(), threshold: 1, ..Draft::new("acme", "") }.after(&moved);
    assert_eq!(refused(moved.extend(&signed(&third.text(), &["root"]))).fault, Fault::Unsigned, "the old root is void");
    let one_of_two = refused(moved.extend(&signed(&third.text(), &["new1"])));
    assert!(one_of_two.sentence.contains("has 1 of the 2"), "a lowered threshold needs the old one: {one_of_two}");
    next(&moved, &third, &["new1", "new2"]);
}

#[test]
fn what_does_not_follow_is_refused_with_its_own_reason() {
    let zero = Draft::new("acme", "").begin();
    let one = next(&zero, &Draft::new("acme", "").after(&zero), &["root"]);
    let fault = |draft: &Draft| refused(one.extend(&signed(&draft.text(), &["root"]))).fault;
    let follows = Draft::new("acme", "# two\n").after(&one);
    assert_eq!(fault(&Draft::new("beta", "").after(&one)), Fault::ForeignTenant);
    assert_eq!(fault(&Draft::new("acme", "")), Fault::Older);
    assert_eq!(fault(&Draft { version: 3, ..follows.clone() }), Fault::WrongPrevious);
    assert_eq!(fault(&Draft { previous: Some(zero.digest()), ..follows.clone() }), Fault::WrongPrevious);
    assert_eq!(
        fault(&Draft { issued: "2026-11-21T08:59:59Z", expires: "2027-02-18T09:00:00Z", ..follows.clone() }),
        Fault::Clock
    );
    assert_eq!(fault(&Draft { version: u64::MAX >> 1, ..follows.clone() }), Fault::WrongPrevious);
    next(&one, &follows, &["root"]);
}

#[test]
fn a_second_document_under_one_number_is_a_fork_and_tells_who_signed_it() {
    let zero = Draft::new("acme", "").begin();
    let one = next(&zero, &Draft::new("acme", "").after(&zero), &["root"]);
    let other = Draft::new("acme", "# other\n").after(&zero).text();
    let by_root = refused(one.extend(&signed(&other, &["root"])));
    let by_nobody = refused(one.extend(&signed(&other, &["stranger"])));
    assert_eq!((by_root.fault, by_nobody.fault), (Fault::Fork, Fault::Fork));
    assert!(by_root.sentence.contains("signed by 1 of its root keys"), "{by_root}");
    assert!(by_nobody.sentence.contains("not signed by its root keys"), "{by_nobody}");
}

#[test]
fn a_changed_byte_or_another_namespace_is_a_bad_signature() {
    let text = Draft::new("acme", "").text();
    let Signed { signatures, .. } = signed(&text, &["root"]);
    let changed = text.replace("0.1.0", "0.1.1").into_bytes();
    let invalid = Chain::begin(&Signed { bytes: changed, signatures }).unwrap_err();
    assert_eq!(invalid.fault, Fault::BadSignature);
    let token = sshsig::sign(Namespace::Token, text.as_bytes(), &super::fixture::private("root")).unwrap();
    assert_eq!(
        Chain::begin(&Signed { bytes: text.clone().into_bytes(), signatures: vec![token.clone()] }).unwrap_err().fault,
        Fault::BadSignature
    );
    let mut both = signed(&text, &["root"]);
    both.signatures.insert(0, token);
    assert!(Chain::begin(&both).is_ok(), "a signature that counts for nothing takes nothing away");
}

#[test]
fn only_the_signatures_that_made_a_version_valid_are_handed_back() {
    let zero = Draft { roots: vec!["r1", "r2"], ..Draft::new("acme", "") };
    let mut first = signed(&zero.text(), &["r2", "stranger", "r1", "r2"]);
    first.signatures[0].push_str(" \n\n");
    first.signatures.push("x".to_owned());
    let chain = Chain::begin(&first).unwrap();
    let mut wanted = signed(&zero.text(), &["r1", "r2"]).signatures;
    wanted.iter_mut().for_each(|one| *one = one.trim().to_owned());
    wanted.sort();
    let sorted = |chain: &Chain| {
        let mut signatures = chain.signatures().to_vec();
        signatures.sort();
        signatures
    };
    assert_eq!(sorted(&chain), wanted);
    let next_draft = Draft { roots: vec!["r3"], ..Draft::new("acme", "") }.after(&chain);
    let moved = next(&chain, &next_draft, &["stranger", "r3", "r2", "r3"]);
    assert_eq!(moved.signatures().len(), 2, "of the root before and of its own");
    let Signed { bytes, .. } = signed(&next_draft.text(), &[]);
    let kept = Signed { bytes, signatures: moved.signatures().to_vec() };
    let Step::Next(again) = chain.extend(&kept).unwrap() else { panic!("the same version") };
    assert_eq!(again.signatures(), moved.signatures());
}

#[test]
fn a_flood_of_signatures_is_refused_before_it_is_verified() {
    let mut flood = signed(&Draft::new("acme", "").text(), &["root"]);
    flood.signatures = vec![flood.signatures[0].clone(); 65];
    assert_eq!(Chain::begin(&flood).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn expiry_clock_and_agent_are_checked_to_the_moment() {
    let chain = Draft::new("acme", "").begin();
    assert!(chain.check_expiry(moment("2027-02-19T08:59:59.999999Z")).is_ok());
    let expired = chain.check_expiry(moment("2027-02-19T09:00:00Z")).unwrap_err();
    assert_eq!(expired.word(), "policy-expired");
    assert_eq!(
        expired.to_string(),
        "version 0 of the policy of acme expired at 2027-02-19T09:00:00Z: nothing starts until it is renewed"
    );
    assert!(chain.check_clock(moment("2026-11-21T09:00:00Z")).is_ok());
    assert_eq!(chain.check_clock(moment("2026-11-21T08:59:59Z")).unwrap_err().word(), "clock");
    assert_eq!(chain.expires_soon(moment("2027-01-20T09:00:00Z")), None);
    assert_eq!(chain.expires_soon(moment("2027-01-20T09:00:01Z")), Some(29));
    assert_eq!(chain.expires_soon(moment("2027-03-01T00:00:00Z")), Some(0));
    for agent in ["0.1.0", "0.1.1", "1.0.0"] {
        assert!(chain.check_agent(agent).is_ok(), "{agent}");
    }
    for agent in ["0.0.9", "0.1.0-rc.1", "", "newest", "1"] {
        assert_eq!(chain.check_agent(agent).unwrap_err().word(), "agent-too-old", "{agent}");
    }
}
