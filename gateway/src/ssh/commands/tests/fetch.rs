//! The policies of many tenants in one answer, and the warning that policies expire.

use super::world::World;
use belay_certs::{Namespace, Timestamp, envelope, time::DAY};
use serde_json::{Value, json};

async fn fetched(world: &World, wanted: &Value) -> Value {
    world.run_with(&world.tech, "policy fetch", wanted.to_string().as_bytes()).await.json()
}

fn names(answer: &Value) -> Vec<&str> {
    answer["tenants"].as_array().unwrap().iter().map(|one| one["tenant"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn one_answer_brings_the_news_of_every_tenant_that_the_caller_may_see() {
    let world = World::new().await;
    let all = fetched(&world, &json!({})).await;
    assert_eq!((names(&all), &all["more"]), (vec!["acme", "globex"], &json!(false)));
    assert_eq!(all["tenants"][0]["versions"][0]["text"], world.policy_text("acme"));
    let next = world.sign(Namespace::Policy, world.policy("acme", 1, ""), &world.root);
    let pushed = world.run_with(&world.tech, "policy push acme", &envelope::join(&next)).await;
    assert_eq!(pushed.status, 0, "{pushed:?}");
    let news = fetched(&world, &json!({"held": {"acme": 0, "globex": 0, "nowhere": 7}})).await;
    let acme = &news["tenants"][0];
    assert_eq!((&acme["newest"], &acme["digest"]), (&json!(1), &json!(world.chain("acme").digest())));
    assert_eq!(acme["versions"].as_array().unwrap().len(), 1);
    assert_eq!(acme["versions"][0]["version"], 1);
    assert_eq!(news["tenants"][1]["versions"], json!([]));
    assert_eq!(names(&fetched(&world, &json!({"only": ["globex", "nowhere"]})).await), ["globex"]);
}

#[tokio::test]
async fn nobody_fetches_a_tenant_in_which_they_are_nobody_and_each_log_holds_its_own_fetch_only() {
    let world = World::new().await;
    let (acme, globex) = (world.size("acme"), world.size("globex"));
    let wanted = json!({"held": {"acme": 0}, "only": ["acme", "globex"]}).to_string();
    let other = world.run_with(&world.other, "policy fetch", wanted.as_bytes()).await.json();
    assert_eq!(names(&other), ["globex"]);
    assert_eq!((world.size("acme"), world.size("globex")), (acme, globex + 1));
    let entries = world.entries("globex", globex).await;
    assert!(!format!("{entries:?}").contains("acme"), "{entries:?}");
    let only_acme = json!({"only": ["acme"]}).to_string();
    let stranger = world.run_with(&world.other, "policy fetch", only_acme.as_bytes()).await;
    let nothing = world.run_with(&world.other, "policy fetch", br#"{"only": ["nowhere"]}"#).await;
    assert_eq!((stranger.status, &stranger), (1, &nothing));
    assert!(stranger.err.contains(crate::act::strangers::TEXT));
    for wrong in ["", "[]", r#"{"helt": {}}"#, r#"{"held": {"acme": -1}}"#] {
        assert_eq!(world.run_with(&world.tech, "policy fetch", wrong.as_bytes()).await.status, 2, "{wrong}");
    }
}

#[tokio::test]
async fn a_policy_that_expires_soon_is_told_on_standard_error_beside_every_answer() {
    let world = World::new().await;
    world.devices(&["web1"], &[]).await;
    assert_eq!(world.run(&world.tech, "devices").await.err, "");
    let near = |line: &str| match line.strip_prefix("expires = ") {
        Some(expires) => format!("expires = {}", expires.parse::<Timestamp>().unwrap().plus(-48 * DAY)),
        None => line.to_owned(),
    };
    let text = world.policy("acme", 1, "").lines().map(near).collect::<Vec<_>>().join("\n");
    world.adopt_anyway("acme", text);
    let soon = world.chain("acme").policy().expires;
    for line in ["devices", "devices --json", "policy show acme --from 0 --json", "sessions"] {
        let answer = world.run(&world.tech, line).await;
        assert_eq!(answer.status, 0, "{line}");
        assert!(answer.err.contains("the policy of acme (version 1) expires in 11 days"), "{line}: {}", answer.err);
        assert!(!answer.err.contains("globex") && !answer.out.contains("expires in"), "{line}: {answer:?}");
    }
    let rows: Value = serde_json::from_str(&world.run(&world.tech, "devices --json").await.out).unwrap();
    assert_eq!(rows[0]["policy_expires"], json!(soon));
    assert_eq!(world.run(&world.other, "devices").await.err, "", "another tenant's policy is none of theirs");
}

#[tokio::test]
async fn what_is_too_much_for_one_answer_comes_in_several() {
    let world = World::new().await;
    for version in 1..6 {
        let next = world.sign(Namespace::Policy, world.policy("acme", version, ""), &world.root);
        assert_eq!(world.run_with(&world.tech, "policy push acme", &envelope::join(&next)).await.status, 0);
    }
    let (mut held, mut answers, mut more) = (json!({}), 0, true);
    while more {
        let answer = fetched(&world, &json!({ "held": held })).await;
        let size: usize = answer["tenants"].to_string().len();
        assert!(size < crate::limits::FETCH_BYTES_MAX + (64 << 10), "{size}");
        for one in answer["tenants"].as_array().unwrap() {
            for version in one["versions"].as_array().unwrap() {
                let (tenant, number) = (one["tenant"].as_str().unwrap(), version["version"].as_u64().unwrap());
                assert_eq!(held[tenant].as_u64().map_or(0, |held| held + 1), number, "{tenant}");
                held[tenant] = number.into();
            }
        }
        (answers, more) = (answers + 1, answer["more"] == true);
    }
    assert_eq!((&held["acme"], &held["globex"]), (&5.into(), &0.into()));
    assert!(answers > 1, "one answer held it all");
    let endless = vec![b' '; crate::limits::FETCH_REQUEST_BYTES_MAX + 1];
    let refused = world.run_with(&world.tech, "policy fetch", &endless).await;
    assert!(refused.status == 1 && refused.err.contains("larger than"), "{}", refused.err);
}
