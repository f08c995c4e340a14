//! What becomes of output that is sealed: as much as its file may have, whatever the script does and however many may read it.

use super::*;
use crate::state::{
    StateDir,
    runs::{Kept, RunFiles},
};
use belay_certs::{
    Id, Signed,
    limits::{OUTPUT_TO_MAX, SHORT_LIST_MAX},
    output::{Read, open},
    policy::Recording,
    recording::blob::Identities,
};
use tokio::io::AsyncWriteExt;

/// Of an identity that these tests alone know.
const KEY: &str = "AGE-SECRET-KEY-1VS9C0VS6GF76WJQGLG3KSKVY9JAZPCNY2C4V3ZUM3SJJRVYH0UVS2X2JY9";
const TO: &str = "age1j4y94nsa9tzt9lxf5hd7n62gxdjt5yn6csh9mytyzksk6emaherq6ucdjq";

/// As many readers as a policy and an order can name: the same one each time, for age asks nobody.
fn most() -> Readers {
    let times = |count: usize| vec![TO.to_owned(); count];
    let Readers::Only(one) = Readers::of_run(&Recording { to: times(1), ..Recording::default() }, &[]).unwrap() else {
        panic!("nobody reads it")
    };
    Readers::Only(one.into_iter().cycle().take(SHORT_LIST_MAX + OUTPUT_TO_MAX).collect())
}

/// The file of a script that writes these, so long after each other, and what its end says of it.
async fn written(limit: &str, parts: impl IntoIterator<Item = Vec<u8>>, pause: Duration) -> (Left, Read) {
    let dir = tempfile::tempdir().unwrap();
    let files = RunFiles::open(&StateDir::open(&dir.path().join("state")).unwrap()).unwrap();
    let (order, nothing) = (Id([7; 16]), Signed { bytes: Vec::new(), signatures: Vec::new() });
    let kept = Kept { order: nothing.clone(), runbook: nothing, index: 0, path: Vec::new(), sealed: None };
    files.keep(order, &kept).unwrap();
    let file = Arc::new(files.output(order).unwrap());
    let run = Run { order, called_off: tokio::sync::watch::Sender::new(None), progress: Default::default() };
    let keeper = Keeper::new(limit.parse().unwrap(), &Secrets::default(), most(), file.clone(), Arc::new(run));
    let ((mut script, stdout), (stderr, _)) = (tokio::io::duplex(1 << 20), tokio::io::duplex(1));
    let close = CancellationToken::new();
    let (keeper, ()) = tokio::join!(keeper.pump(stdout, stderr, &close), async {
        for part in parts {
            script.write_all(&part).await.unwrap();
            tokio::time::sleep(pause).await;
        }
        drop(script);
    });
    let left = keeper.finish().await;
    let bytes = file.read().unwrap();
    assert_eq!((left.bytes, left.digest), (bytes.len() as u64, Some(Digest::of(&bytes))));
    let sealed = belay_certs::output::read_cut_off(&bytes).unwrap();
    (left, open(sealed, Some(&Identities::parse(KEY).unwrap())).unwrap())
}

/// Bytes that nothing makes shorter.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_script_that_dribbles_for_hours_fills_its_limit_with_age_files_and_then_waits_for_the_end() {
    let parts = (0..1_200).map(|n| format!("{n}\n").into_bytes());
    let (left, opened) = written("64KiB", parts, OUTPUT_SEALED_DELAY * 2).await;
    let age_file = 40 * 200;
    assert!(left.bytes < (64 << 10) * 2 + age_file * 2, "{}", left.bytes);
    assert!(left.bytes > 64 << 10, "{}: it was never full", left.bytes);
    let text: Vec<u8> = opened.lines.iter().flat_map(bytes).collect();
    let expected: String = (0..1_200).map(|n| format!("{n}\n")).collect();
    assert!(text == expected.as_bytes(), "{} of {} bytes", text.len(), expected.len());
    assert_eq!(left.dropped, 0, "all of it is little");
}

#[tokio::test(start_paused = true)]
async fn noise_without_end_for_forty_readers_fits_the_largest_file() {
    let parts = (0..90).map(|_| noise(100_000));
    let (left, opened) = written("4MiB", parts, Duration::ZERO).await;
    assert!(left.bytes <= OUTPUT_BYTES_MAX && left.bytes > OUTPUT_BYTES_MAX / 2, "{}", left.bytes);
    assert_eq!(opened.kept() + left.dropped, 9_000_000);
    assert_eq!((opened.dropped(), left.trouble), (left.dropped, None));
}

#[tokio::test(start_paused = true)]
async fn noise_that_dribbles_for_forty_readers_fits_it_too() {
    let parts = (0..3_000).map(|_| noise(3_000));
    let (left, opened) = written("4MiB", parts, OUTPUT_SEALED_DELAY * 2).await;
    assert!(left.bytes <= OUTPUT_BYTES_MAX, "{}", left.bytes);
    assert_eq!(opened.kept() + left.dropped, 9_000_000);
    assert_eq!((opened.dropped(), left.trouble), (left.dropped, None));
}

fn bytes(line: &Line) -> Vec<u8> {
    match line {
        Line::Piece { bytes, .. } => bytes.clone(),
        Line::Cut { .. } | Line::Sealed { .. } => Vec::new(),
    }
}
