//! Freezes are in force when they are durable and at no other time.

use super::faults::{is_broken, saboteur};
use super::*;
use crate::store::RecordError;
use belay_rules::{Freezes, Frozen, Refusal};
use sqlx::Executor;

fn frozen(text: &str) -> Frozen {
    text.parse().unwrap()
}

fn freeze(text: &str) -> Ask {
    Ask::Freeze { frozen: frozen(text), reason: Some("a test".to_owned()), by: ann() }
}

fn thaw(text: &str) -> Ask {
    Ask::Thaw { frozen: frozen(text), by: ann() }
}

#[tokio::test]
async fn a_freeze_is_in_force_once_durable_and_after_a_restart_until_it_is_lifted() {
    let (world, ..) = World::with_acme().await;
    let mut changes = world.store.freezes_changed();
    for text in ["acme", "web1.acme", "acme/msp:eve"] {
        world.record(freeze(text)).await;
        assert!(world.store.freezes().get(&frozen(text)).is_some());
    }
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let held = world.store.freezes();
    let again = world.store.record(freeze("acme"), now()).await.unwrap_err();
    assert!(again.to_string().contains("acme has been frozen since"), "{again}");
    assert!(!changes.has_changed().unwrap(), "a refusal changes nothing");
    let world = world.reopen().await;
    assert_eq!(world.store.freezes(), held);
    for text in ["acme", "web1.acme", "acme/msp:eve"] {
        world.record(thaw(text)).await;
    }
    assert_eq!(*world.store.freezes(), Freezes::default());
    assert_eq!(*world.reopen().await.store.freezes(), Freezes::default());
}

#[tokio::test]
async fn a_frozen_device_that_is_renamed_stays_frozen_also_after_a_restart_and_so_does_its_old_name() {
    let (world, acme, chain) = World::with_acme().await;
    let (token, _) = world.issue(&acme, &chain, 5).await;
    let new = || PrivateKey::generate_ed25519("").unwrap();
    let (web1, web2) = (new(), new());
    world.device(&acme, &token, "web1", &web1, 7).await;
    world.device(&acme, &token, "web2", &web2, 8).await;
    world.record(freeze("web1.acme")).await;
    let rename = |key: &PrivateKey, name: &str, serial, over| {
        let approvals = acme.approve(vec![record(name, key, serial)]);
        Ask::Approve { tenant: tenant(), approvals, by: ann(), over: vec![over] }
    };
    let by = |world: &World, name: &str| {
        let freezes = world.store.freezes();
        freezes.find(&tenant(), Some(&name.parse().unwrap()), [&ann()]).map(|freeze| freeze.frozen.to_string())
    };
    let mut changes = world.store.freezes_changed();
    world.record(rename(&web2, "www2", 9, 8)).await;
    assert!(!changes.has_changed().unwrap(), "another device's name");
    world.record(rename(&web1, "www", 10, 7)).await;
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let held = world.store.freezes();
    for (name, frozen) in [("www", Some("web1.acme")), ("web1", Some("web1.acme")), ("www2", None), ("web2", None)] {
        assert_eq!(by(&world, name).as_deref(), frozen, "{name}");
    }
    // Another machine under the frozen name is frozen as well.
    world.device(&acme, &token, "web1", &new(), 11).await;
    assert_eq!(by(&world, "web1").as_deref(), Some("web1.acme"));
    let world = world.reopen().await;
    assert_eq!(world.store.freezes(), held);
    // Whoever thaws it by the name that it has means it.
    world.record(thaw("www.acme")).await;
    assert_eq!(*world.store.freezes(), Freezes::default());
    world.check().await;
}

#[tokio::test]
async fn a_freeze_that_was_not_written_is_not_in_force_and_one_that_was_all_the_same_is() {
    let (world, ..) = World::with_acme().await;
    let mut saboteur = saboteur(&world).await;
    assert!(is_broken(&world.store.record(freeze("acme"), now()).await));
    assert_eq!(*world.store.freezes(), Freezes::default());
    saboteur.execute("DROP TRIGGER full").await.unwrap();
    world.faults.lose_answer.store(true, Ordering::SeqCst);
    assert!(is_broken(&world.store.record(freeze("acme"), now()).await));
    assert!(world.store.freezes().get(&frozen("acme")).is_some(), "it happened");
    world.faults.lose_answer.store(true, Ordering::SeqCst);
    assert!(is_broken(&world.store.record(thaw("acme"), now()).await));
    assert_eq!(*world.store.freezes(), Freezes::default());
    let refused = world.store.record(thaw("acme"), now()).await;
    assert!(matches!(refused, Err(RecordError::Refused(Refusal::NotFrozen(_)))), "{refused:?}");
    world.check().await;
}
