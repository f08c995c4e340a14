//! What scripts do to their machine, and what is left of it.

use super::bench::*;
use belay_certs::{
    order::Outcome,
    output::{Line, Stream},
};

#[tokio::test]
async fn a_run_goes_from_its_offer_to_its_proved_end_and_is_forgotten() {
    let mut bench = Bench::new().await;
    let draft = bench.draft("echo \"hello from $BELAY_DEVICE as $USER by $BELAY_PERSON: $BELAY_RUNBOOK\"\necho no >&2");
    let order = bench.offer(&draft).await;
    let intent = bench.intent().await;
    assert!(bench.directory(order).join("order.sig").exists());
    bench.answer(&intent).await;
    let end = bench.end().await;
    assert_eq!((verdict(&end), end.exit), ((Outcome::Succeeded, ""), Some(0)));
    let lines = bench.output(&end);
    let expected = format!("hello from web1.acme as {} by alice: try\n", account());
    assert_eq!((text(&lines, Stream::Out), text(&lines, Stream::Err)), (expected, "no\n".to_owned()));
    bench.life.recorder.settled().await;
    assert!(bench.directory(order).exists(), "held until the output is acknowledged");
    bench.life.runs.kept(order, end.output_bytes);
    bench.forgotten(order).await;
    // Spent, and remembered over a restart.
    bench.offer(&draft).await;
    assert!(bench.declined().await.sentence.contains("carried out or refused here before"));
    bench.restart().await;
    bench.offer(&draft).await;
    assert!(bench.declined().await.sentence.contains("carried out or refused here before"));
    assert!(bench.is_silent());
}
