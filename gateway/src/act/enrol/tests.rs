//! Who may join, and what everybody else is told.

use super::*;
use crate::limits;
use crate::scene::{Scene, acme, key, now, sign};
use belay_certs::{PrivateKey, time::DAY, transport::ClientKey};
use belay_rules::LogName;
use std::sync::Arc;

/// What a machine called `name` is told that joins with this token; none when it may.
async fn told(scene: &Scene, token: &Signed, name: &str) -> Option<String> {
    let asked = scene.asked(token, name, &key(), &ClientKey::generate().unwrap());
    join(&scene.gateway, asked, "192.0.2.7:9".to_owned()).await.err().map(|refusal| refusal.sentence())
}

fn by(signer: &PrivateKey, token: &Signed, tenant: &str) -> Signed {
    let token = Token { tenant: tenant.parse().unwrap(), ..Token::parse(&token.bytes).unwrap() };
    sign(Namespace::Token, token.to_text(), signer)
}

#[tokio::test]
async fn whoever_has_no_token_of_the_tenant_hears_one_text_after_one_delay() {
    let scene = Scene::new().await;
    let (good, mallory) = (scene.token(|_| {}), key());
    let expired = scene.token(|token| (token.issued, token.expires) = (now().plus(-2 * DAY), now().plus(-DAY)));
    let altered = Signed { bytes: [good.bytes.as_slice(), b"# more\n"].concat(), ..good.clone() };
    let tokens = [
        by(&mallory, &good, "acme"),
        by(&mallory, &good, "nowhere"),
        by(&mallory, &expired, "acme"),
        by(&scene.keys.tech, &good, "nowhere"),
        altered,
    ];
    let began = Instant::now();
    let answers = futures_util::future::join_all(tokens.iter().map(|token| told(&scene, token, "web1"))).await;
    assert!(began.elapsed() >= limits::STRANGER_DELAY);
    assert_eq!(answers, vec![Some(STRANGE_TOKEN.to_owned()); tokens.len()]);
    assert_eq!(scene.entries(acme().into()).await.len(), 2, "nothing of a stranger stands in a tenant's log");
}

#[tokio::test]
async fn whom_a_person_of_the_tenant_vouches_for_is_told_exactly_and_counted() {
    let scene = Scene::new().await;
    let expired = scene.token(|token| (token.issued, token.expires) = (now().plus(-2 * DAY), now().plus(-DAY)));
    let (one, unknown) = (scene.token(|token| token.uses = 1), scene.token(|_| {}));
    issue_token(&scene.gateway, &acme(), one.clone()).await.unwrap();
    assert_eq!(told(&scene, &one, "web1").await, None);
    let cases = [
        (&expired, "web2", "the token: expired at"),
        (&one, "web2", "the token was for 1 devices and all of them have joined"),
        (&one, "db1", "the token is for names like web*"),
        (&unknown, "web2", "this token is not known here"),
    ];
    let began = Instant::now();
    for (token, name, reason) in &cases {
        let sentence = told(&scene, token, name).await.unwrap();
        assert!(sentence.contains(reason), "{sentence}");
    }
    assert!(began.elapsed() < limits::STRANGER_DELAY * 3, "nobody here was a stranger");
    scene.gateway.stop.cancel();
    strangers::record_all(Arc::clone(&scene.gateway)).await;
    let entries = scene.entries(LogName::System).await;
    let refused: Vec<_> = entries.iter().filter(|entry| entry.kind == "strangers.refused").collect();
    assert_eq!(refused.iter().map(|entry| &entry.detail["count"]).collect::<Vec<_>>(), [cases.len()]);
}
