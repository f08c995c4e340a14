//! What every pack of evidence must stand: changes of any kind, and stock tools that read it.

use super::stage::Stage;
use crate::{
    commands::desk::{
        evidence::judge,
        pack::{MANIFEST, Writer},
    },
    seeded::Seeded,
};
use std::{fs, io::Read, path::Path, process::Command};

/// The files of a pack.
pub fn files(pack: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(pack);
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
    });
    files.collect()
}

/// A pack of these files with a manifest that fits them.
pub fn made_anew(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    files.iter().filter(|(path, _)| path != MANIFEST).for_each(|(path, bytes)| writer.add(path, bytes).unwrap());
    writer.finish().unwrap()
}

/// So many mutations of any bytes are all refused, and each sentence names the broken piece.
pub fn refuses_mutations(pack: &[u8], count: usize) {
    let names: Vec<String> = files(pack).into_iter().map(|(path, _)| path).collect();
    let mut seeded = Seeded::new(5);
    let mut tried = 0;
    while tried < count {
        let mutated = seeded.mutate(pack);
        if mutated == pack {
            continue;
        }
        tried += 1;
        let refused = judge(mutated.as_slice()).unwrap_err();
        let sentence = refused.sentence();
        let named = names.iter().any(|name| sentence.contains(name)) || sentence.contains("chunk ");
        assert!(named || sentence.contains("the pack") || sentence.contains("its beginning"), "{tried}: {sentence}");
    }
}

/// A file that is changed, missing or in another place is found even where the manifest was made to fit.
pub fn refuses_changes(pack: &[u8]) {
    let original = files(pack);
    judge(made_anew(&original).as_slice()).unwrap();
    let mut seeded = Seeded::new(7);
    for (place, (path, bytes)) in original.iter().enumerate().filter(|(_, (path, _))| path != MANIFEST) {
        let mut without = original.clone();
        without.remove(place);
        assert!(judge(made_anew(&without).as_slice()).is_err(), "without {path}");
        // An armoured signature can be written in more than one way: of those only the manifest knows.
        for _ in 0..if path.ends_with(".sig") { 0 } else { 20 } {
            let mut changed = original.clone();
            let at = seeded.below(bytes.len());
            changed[place].1[at] ^= 1 << seeded.below(8);
            assert!(judge(made_anew(&changed).as_slice()).is_err(), "{path} byte {at}");
        }
    }
    let mut swapped = original.clone();
    swapped.swap(0, 1);
    assert!(judge(made_anew(&swapped).as_slice()).unwrap_err().sentence().contains("where README.md must be"));
}

/// Stock tools verify a pack by this script, in the directory where it is unpacked. `check NAME NAMESPACE FILE` verifies a signature;
/// `python README.md MODULE TEXT` runs the README's code that begins with the import of MODULE, and then the text.
pub fn stock_tools(stage: &Stage, pack: &Path, script: &str) {
    let dir = stage.path().join("unpacked");
    fs::create_dir(&dir).unwrap();
    let script = format!(
        "set -e; tar -xf {}; sha256sum --quiet -c MANIFEST\n\
         check() {{ ssh-keygen -q -Y verify -f keys/allowed_signers -I $1 -n $2@belay -s $3.sig < $3; }}\n\
         python() {{\n\
           sed -n \"/^    import $2/,/^        return/p\" $1 | sed 's/^    //' > check.py\n\
           echo \"$3\" >> check.py; python3 check.py\n\
         }}\n{script}",
        pack.display()
    );
    let done = Command::new("sh").args(["-c", &script]).current_dir(&dir).output().unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}
