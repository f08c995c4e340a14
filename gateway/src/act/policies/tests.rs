//! What is durable is in force, whatever happened on the way.

use super::*;
use crate::scene::{Scene, acme};
use std::pin::pin;

fn tech() -> PersonRef {
    "tech".parse().unwrap()
}

#[tokio::test]
async fn a_policy_comes_into_force_although_whoever_brought_it_is_gone() {
    let scene = Scene::new().await;
    let second = scene.keys.policy(Some((0, &scene.first)), &[]);
    {
        let acme = acme();
        let mut pushing = pin!(push(&scene.gateway, &acme, second, tech()));
        assert!(futures_util::poll!(pushing.as_mut()).is_pending());
    }
    scene.settled().await;
    assert_eq!(scene.chain().version(), 1);
}

#[tokio::test]
async fn what_the_store_holds_is_in_force_after_a_push_that_it_refused() {
    let scene = Scene::new().await;
    let second = scene.keys.policy(Some((0, &scene.first)), &[]);
    let third = scene.keys.policy(Some((1, &second)), &[]);
    // As after a commit that happened although it was reported as failed.
    let mut chain = scene.chain();
    for signed in [&second, &third] {
        chain = follow(Some(&chain), signed).unwrap();
        let (signed, bearer) = (signed.clone(), Bearer::Person(tech()));
        let ask = Ask::AdoptPolicy { tenant: acme(), chain: Box::new(chain.clone()), signed, bearer };
        scene.gateway.record(ask).await.unwrap();
    }
    assert_eq!(scene.chain().version(), 0);
    let other = scene.keys.policy(Some((0, &scene.first)), &[7]);
    let refused = push(&scene.gateway, &acme(), other, tech()).await.err().unwrap();
    assert!(refused.sentence.contains("is older than version 2"), "{refused}");
    assert_eq!(scene.chain().digest(), chain.digest());
    assert!(matches!(push(&scene.gateway, &acme(), third, tech()).await, Ok(Adopted::Already(2))));
}

#[tokio::test]
async fn a_long_chain_is_read_whole() {
    let scene = Scene::new().await;
    let mut last = scene.first.clone();
    for version in 0..2 * u64::from(POLICIES_A_READ) {
        last = scene.keys.policy(Some((version, &last)), &[]);
        push(&scene.gateway, &acme(), last.clone(), tech()).await.unwrap();
    }
    let chains = load(&scene.gateway.store).await.unwrap();
    assert_eq!(chains.iter().map(Chain::digest).collect::<Vec<_>>(), [Digest::of(&last.bytes)]);
}
