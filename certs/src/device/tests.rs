//! Records, batches and approvals: what the approver makes and what the device believes.

use super::*;
use crate::{
    Fault, Namespace, PrivateKey, Signed,
    host_certificate::tests::certify,
    policy::Policies,
    tlog::verify_inclusion,
    token::fixture::{Tenant, at, key, now, signed},
};

fn record(name: &str, host_key: &PublicKey, serial: u64) -> DeviceRecord {
    DeviceRecord {
        address: format!("{name}.acme").parse().unwrap(),
        host_key: host_key.clone(),
        labels: vec!["server".to_owned()],
        serial,
        replaces: None,
        issued: now(),
    }
}

/// `count` records with keys of their own: `web0` with serial 1, and so on.
fn records(count: u64) -> Vec<DeviceRecord> {
    (0..count).map(|n| record(&format!("web{n}"), key("").public(), n + 1)).collect()
}

/// One approved device, and everything that has to fit.
struct Approved {
    tenant: Tenant,
    host_key: PublicKey,
    record: DeviceRecord,
    approval: Approval,
}

impl Approved {
    fn new() -> Self {
        let (tenant, host_key) = (Tenant::new("acme"), key("host").public().clone());
        let record = record("web1", &host_key, 7);
        let mut approved = Self {
            approval: Approval {
                record: Vec::new(),
                index: 0,
                path: Vec::new(),
                batch: Signed { bytes: Vec::new(), signatures: Vec::new() },
                certificate: certify(&tenant.ca, &host_key, &["-h", "-n", "web1.acme", "-z", "7"]),
            },
            tenant,
            host_key,
            record,
        };
        let alice = approved.tenant.alice.clone();
        approved.approval = approved.approve(&approved.record.clone(), &alice);
        approved
    }

    /// The approval of `record` between two others, signed by `signer`, with the certificate made for serial 7.
    fn approve(&self, record: &DeviceRecord, signer: &PrivateKey) -> Approval {
        let all =
            [self::record("web8", key("").public(), 800), record.clone(), self::record("web9", key("").public(), 900)];
        let batch = Batch::over(&all, 0, self.tenant.chain.digest(), now()).unwrap();
        self.with_batch(&all, &batch, signer)
    }

    fn with_batch(&self, all: &[DeviceRecord], batch: &Batch, signer: &PrivateKey) -> Approval {
        let certificates = vec![self.approval.certificate.clone(); all.len()];
        approvals(all, signed(Namespace::Device, &batch.to_text(), signer), &certificates).unwrap().remove(1)
    }

    fn check(
        &self,
        approval: &Approval,
        held: Option<&[u8]>,
    ) -> Result<(DeviceRecord, crate::PersonRef), crate::Invalid> {
        check_approval(&self.tenant.policies(), approval, &self.host_key, held, now())
    }

    fn fault(&self, approval: &Approval) -> Fault {
        self.check(approval, None).unwrap_err().fault
    }
}

#[test]
fn records_and_batches_are_written_in_one_order_and_read_back() {
    let records = records(3);
    assert_eq!(DeviceRecord::parse(records[1].to_text().as_bytes()).unwrap(), records[1]);
    let batch = Batch::over(&records, 4, Digest::of(b"policy"), now()).unwrap();
    assert_eq!(Batch::parse(batch.to_text().as_bytes()).unwrap(), batch);
    let fields =
        |text: String| text.lines().map(|l| l.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ");
    assert_eq!(fields(records[0].to_text()), "device host_key labels serial issued");
    assert_eq!(fields(batch.to_text()), "tenant count root policy_version policy issued");
}

#[test]
fn the_largest_serial_is_written_and_read_back() {
    let record = record("web1", key("").public(), u64::MAX);
    assert_eq!(DeviceRecord::parse(record.to_text().as_bytes()).unwrap(), record);
}

#[test]
fn wrong_records_and_batches_are_refused_by_name() {
    let text = record("web1", key("").public(), 7).to_text();
    for (old, new, hint) in [
        ("serial = 7", "serial = 0", "at least 1"),
        ("serial = 7", "serial = -1", "line 4"),
        ("serial = 7", "serial = 7\nowner = \"me\"", "line 5: unknown field `owner`"),
        ("web1.acme", "web1", "line 1: \"web1\" is not a device"),
        ("\"server\"", "\"server\", \"server\"", "twice"),
        ("\"server\"", "\"*\"", "is not a label"),
    ] {
        let refused = DeviceRecord::parse(text.replace(old, new).as_bytes()).unwrap_err();
        assert!(refused.sentence.contains(hint), "{refused}");
    }
    let text = Batch::over(&records(2), 0, Digest::of(b"p"), now()).unwrap().to_text();
    for count in ["0", "10001", "\"2\""] {
        assert!(Batch::parse(text.replace("count = 2", &format!("count = {count}")).as_bytes()).is_err(), "{count}");
    }
}

#[test]
fn records_that_share_a_name_a_serial_or_a_key_or_no_tenant_are_not_batched() {
    let batch = |records: &[DeviceRecord]| Batch::over(records, 0, Digest::of(b"p"), now());
    let two = records(2);
    let with = |second: DeviceRecord| batch(&[two[0].clone(), second]).unwrap_err().sentence;
    assert!(
        with(DeviceRecord { address: two[0].address.clone(), ..two[1].clone() })
            .contains("devices has web0.acme twice")
    );
    assert!(with(DeviceRecord { serial: 1, ..two[1].clone() }).contains("serials has 1 twice"));
    assert!(
        with(DeviceRecord { host_key: two[0].host_key.clone(), ..two[1].clone() }).contains("host keys has SHA256:")
    );
    assert!(
        with(DeviceRecord { address: "web1.umbrella".parse().unwrap(), ..two[1].clone() })
            .contains("different tenants")
    );
    assert!(with(DeviceRecord { labels: vec!["a b".to_owned()], ..two[1].clone() }).contains("is not a label"));
    assert!(batch(&[]).is_err());
}

#[test]
fn every_device_of_a_batch_of_any_size_gets_its_own_path() {
    let all = records(300);
    for size in [1, 2, 3, 255, 256, 257, 300] {
        let records = &all[..size];
        let batch = Batch::over(records, 0, Digest::of(b"p"), now()).unwrap();
        let signed = signed(Namespace::Device, &batch.to_text(), &key("anybody"));
        let made = approvals(records, signed, &vec![String::new(); size]).unwrap();
        for (approval, record) in made.iter().zip(records) {
            assert_eq!(approval.record, record.to_text().as_bytes());
            let leaf = leaf_hash(&approval.record);
            verify_inclusion(&leaf, approval.index, batch.count, &approval.path, &batch.root.0).unwrap();
        }
    }
}

#[test]
fn approvals_are_only_made_of_the_records_that_were_signed() {
    let (mut records, signer) = (records(3), key("anybody"));
    let batch = Batch::over(&records, 0, Digest::of(b"p"), now()).unwrap();
    let signed = signed(Namespace::Device, &batch.to_text(), &signer);
    assert_eq!(approvals(&records, signed.clone(), &[]).unwrap_err().fault, Fault::Mismatch);
    records.swap(0, 1);
    assert_eq!(approvals(&records, signed, &vec![String::new(); 3]).unwrap_err().fault, Fault::Mismatch);
}

#[test]
fn a_device_believes_the_approval_of_somebody_with_enrol() {
    let approved = Approved::new();
    let (record, person) = approved.check(&approved.approval, None).unwrap();
    assert_eq!((record, person.to_string().as_str()), (approved.record.clone(), "alice"));
}

#[test]
fn nobody_else_can_approve_nor_alice_what_she_may_not() {
    let approved = Approved::new();
    let alice = approved.tenant.alice.clone();
    for signer in [&approved.tenant.bob, &key("relay")] {
        assert_eq!(approved.fault(&approved.approve(&approved.record, signer)), Fault::WrongSigner);
    }
    let vault = DeviceRecord { labels: vec!["vault".to_owned()], ..approved.record.clone() };
    assert_eq!(approved.fault(&approved.approve(&vault, &alice)), Fault::WrongSigner);
    let other_name = DeviceRecord { address: "db1.acme".parse().unwrap(), ..approved.record.clone() };
    assert_eq!(approved.fault(&approved.approve(&other_name, &alice)), Fault::WrongSigner);
    let revoked = DeviceRecord { serial: 9, ..approved.record.clone() };
    assert_eq!(approved.fault(&approved.approve(&revoked, &alice)), Fault::Spent);
}

#[test]
fn a_record_that_is_not_in_the_batch_or_not_mine_is_refused() {
    let approved = Approved::new();
    let honest = &approved.approval;
    let renamed = String::from_utf8(honest.record.clone()).unwrap().replace("\"server\"", "\"trusted\"");
    assert_eq!(approved.fault(&Approval { record: renamed.into_bytes(), ..honest.clone() }), Fault::BadProof);
    assert_eq!(approved.fault(&Approval { index: 0, ..honest.clone() }), Fault::BadProof);
    assert_eq!(approved.fault(&Approval { index: 3, ..honest.clone() }), Fault::BadProof);
    assert_eq!(approved.fault(&Approval { path: vec![], ..honest.clone() }), Fault::BadProof);
    assert_eq!(approved.fault(&Approval { path: vec![[0; 32]; 200], ..honest.clone() }), Fault::Malformed);
    let alice = approved.tenant.alice.clone();
    let theirs = DeviceRecord { host_key: key("other").public().clone(), ..approved.record.clone() };
    assert_eq!(approved.fault(&approved.approve(&theirs, &alice)), Fault::Mismatch);
}

#[test]
fn another_tenants_batch_or_record_is_refused() {
    let approved = Approved::new();
    let other = Tenant::new("umbrella");
    let policies: Policies<'_> = other.policies();
    let refused = check_approval(&policies, &approved.approval, &approved.host_key, None, now()).unwrap_err();
    assert_eq!(refused.fault, Fault::ForeignTenant);
}

#[test]
fn a_batch_under_a_hidden_or_forked_policy_or_from_the_future_is_refused() {
    let approved = Approved::new();
    let alice = approved.tenant.alice.clone();
    let all = [record("web8", key("").public(), 800), approved.record.clone()];
    let held = approved.tenant.chain.digest();
    for (version, digest, issued, fault) in [
        (1, Digest::of(b"newer"), now(), Fault::Mismatch),
        (0, Digest::of(b"forked"), now(), Fault::Fork),
        (0, held, at("2026-12-01T12:10:00Z"), Fault::Clock),
    ] {
        let batch = Batch::over(&all, version, digest, issued).unwrap();
        assert_eq!(approved.fault(&approved.with_batch(&all, &batch, &alice)), fault);
    }
    let late = DeviceRecord { issued: at("2026-12-02T12:00:00Z"), ..approved.record.clone() };
    assert_eq!(approved.fault(&approved.approve(&late, &alice)), Fault::Clock);
    let after = at("2027-02-20T00:00:00Z");
    let refused = check_approval(&approved.tenant.policies(), &approved.approval, &approved.host_key, None, after);
    assert_eq!(refused.unwrap_err().fault, Fault::Expired);
}

#[test]
fn serials_only_go_up() {
    let approved = Approved::new();
    let held = |serial| DeviceRecord { serial, ..approved.record.clone() }.to_text().into_bytes();
    approved.check(&approved.approval, Some(&held(6))).unwrap();
    approved.check(&approved.approval, Some(&held(7))).unwrap();
    let refused = approved.check(&approved.approval, Some(&held(8))).unwrap_err();
    assert_eq!(refused.fault, Fault::Older);
    let twin = DeviceRecord { labels: vec![], ..approved.record.clone() }.to_text().into_bytes();
    assert_eq!(approved.check(&approved.approval, Some(&twin)).unwrap_err().fault, Fault::Fork);
}

#[test]
fn a_device_is_only_taken_from_its_name_and_labels_by_somebody_who_may_enrol_it_as_it_is() {
    let approved = Approved::new();
    let held = |name: &str, label: &str| {
        let labels = vec![label.to_owned()];
        let record = DeviceRecord { labels, serial: 6, ..record(name, &approved.host_key, 6) };
        record.to_text().into_bytes()
    };
    // Alice may enrol `web*` that is not labelled `vault`: what the new record says does not make the old one hers.
    for theirs in [held("db1", "server"), held("web1", "vault")] {
        let refused = approved.check(&approved.approval, Some(&theirs)).unwrap_err();
        assert_eq!(refused.fault, Fault::WrongSigner, "{refused}");
        assert!(refused.sentence.contains("as that device stands now"), "{refused}");
    }
    approved.check(&approved.approval, Some(&held("web2", "other"))).unwrap();
    // A revoked record may still be followed by another one.
    let follower = DeviceRecord { serial: 10, ..approved.record.clone() };
    let mut approval = approved.approve(&follower, &approved.tenant.alice.clone());
    approval.certificate = certify(&approved.tenant.ca, &approved.host_key, &["-h", "-n", "web1.acme", "-z", "10"]);
    let revoked = DeviceRecord { serial: 9, ..approved.record.clone() }.to_text().into_bytes();
    approved.check(&approval, Some(&revoked)).unwrap();
}

#[test]
fn the_certificate_must_be_for_the_very_record() {
    let approved = Approved::new();
    let with = |certificate: String| Approval { certificate, ..approved.approval.clone() };
    let ca = &approved.tenant.ca;
    let other = certify(ca, &approved.host_key, &["-h", "-n", "web2.acme", "-z", "7"]);
    assert_eq!(approved.fault(&with(other)), Fault::Mismatch);
    let by_alice = certify(&approved.tenant.alice, &approved.host_key, &["-h", "-n", "web1.acme", "-z", "7"]);
    assert_eq!(approved.fault(&with(by_alice)), Fault::WrongSigner);
    assert_eq!(approved.fault(&with(String::new())), Fault::Malformed);
}

#[test]
fn one_check_of_a_batch_serves_all_of_its_records_and_no_others() {
    let approved = Approved::new();
    let policies = approved.tenant.policies();
    let batch = CheckedBatch::of(&policies, &approved.approval.batch, now()).unwrap();
    let (record, person) = batch.check(&approved.approval, &approved.host_key, None, now()).unwrap();
    assert_eq!((record, person.to_string().as_str()), (approved.record.clone(), "alice"));
    let alice = approved.tenant.alice.clone();
    let other = approved.approve(&DeviceRecord { serial: 70, ..approved.record.clone() }, &alice);
    let refused = batch.check(&other, &approved.host_key, None, now()).unwrap_err();
    assert_eq!(refused.fault, Fault::BadProof, "an approval of another batch");
    let mut altered = approved.approval.batch.clone();
    altered.bytes[20] ^= 1;
    assert!(CheckedBatch::of(&policies, &altered, now()).is_err());
}

#[test]
fn a_record_says_whose_place_it_takes_and_its_serial_is_higher() {
    let one = record("web1", key("a").public(), 7);
    assert!(!one.to_text().contains("replaces"));
    let instead = DeviceRecord { replaces: Some(3), ..one };
    assert_eq!(DeviceRecord::parse(instead.to_text().as_bytes()).unwrap(), instead);
    let backwards = DeviceRecord { replaces: Some(7), ..instead };
    assert!(DeviceRecord::parse(backwards.to_text().as_bytes()).is_err());
}
