//! The wire as a whole: golden vectors, hostile bytes, bounds, phases and the document.

mod bounds;
mod document;
mod frames;
mod golden;
mod hostile;
mod phases;
mod samples;
mod seeded;

/// Every source file of this crate outside `tests/`, as (name, text).
fn sources() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file());
    files
        .map(|path| (path.file_name().unwrap().display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn only_the_codec_names_its_library() {
    let naming: Vec<String> =
        sources().into_iter().filter(|(_, text)| text.contains("bincode::")).map(|(name, _)| name).collect();
    assert_eq!(naming, ["codec.rs"]);
}
