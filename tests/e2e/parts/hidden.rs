//! Words that nobody may have in the open: looked for in what somebody got, and in every file.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use std::{fs, path::Path};

/// Whether these bytes hold the words, as they are or in base64 from any of their bytes on.
pub fn shows(words: &str, bytes: &[u8]) -> bool {
    let whole = words.as_bytes();
    let encoded = (0..3).map(|from| STANDARD_NO_PAD.encode(&whole[from..from + (whole.len() - from) / 3 * 3]));
    let text = String::from_utf8_lossy(bytes);
    encoded.chain([words.to_owned()]).any(|form| text.contains(&form))
}

/// No file below `dir` has them: gateway, agents, logs and homes.
#[track_caller]
pub fn nowhere_below(dir: &Path, words: &str) {
    let (mut waiting, mut files) = (vec![dir.to_owned()], 0);
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if let (true, Ok(bytes)) = (kind.is_file(), fs::read(entry.path())) {
                assert!(!shows(words, &bytes), "{} has the words", entry.path().display());
                files += 1;
            }
        }
    }
    assert!(files > 50, "{files} files were looked at");
}
