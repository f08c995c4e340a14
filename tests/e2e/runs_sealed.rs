//! What runs print where the policy encrypts recordings: no byte of it in the open at the gateway or on any disk, read by whoever
//! ordered and by the auditors, with `belay` and with stock tools, to the byte; and nobody else.

#[path = "parts/brought.rs"]
mod brought;
#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/hidden.rs"]
mod hidden;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/opened.rs"]
mod opened;
#[path = "parts/orders.rs"]
mod orders;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use belay_certs::{
    Digest, Id,
    output::{Line, Stream},
};
use belay_tests::{
    Person, Plan, World, run,
    wait::{GENEROUS, until},
};
use orders::Draft;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// An installation whose policy encrypts recordings, as `belay init` makes it.
struct Scene {
    world: World,
    author: Person,
    tech: Person,
    /// In it are the words that scripts print: outside of all that is looked through.
    outside: tempfile::TempDir,
    words: String,
}

impl Scene {
    fn new() -> Self {
        let world = World::of(Plan::three());
        let author = runs::allow(&world, "web1.acme");
        let (tech, outside) = (world.person("tech"), tempfile::tempdir().unwrap());
        let words = format!("needle-{}", Id::random().unwrap());
        fs::write(outside.path().join("words"), &words).unwrap();
        Self { world, author, tech, outside, words }
    }

    fn words(&self) -> PathBuf {
        self.outside.path().join("words")
    }

    /// A runbook that prints the words to both streams, each line at once for they are heard side by side, and bytes that are no text.
    fn push(&self, name: &str) -> PathBuf {
        let words = self.words();
        let body = format!(
            "printf '%s\\n' \"$(cat {0})\"\nprintf 'bad: %s\\n' \"$(cat {0})\" >&2\nprintf '\\377\\000\\n'",
            words.display()
        );
        runs::push(&self.world, &self.author, name, "", &body)
    }

    fn out(&self) -> Vec<u8> {
        [self.words.as_bytes(), b"\n\xff\x00\n"].concat()
    }

    /// The job's only run, once it is over, and its output as the gateway has it.
    #[track_caller]
    fn over(&self, id: &str) -> (Value, Vec<u8>) {
        let over = until("the end of the job and its output", GENEROUS, || {
            let job = jobs::job(&self.tech, id);
            anyhow::ensure!(job["over"] == true, "{job:#}");
            let (run, file) = (job["runs"][0].clone(), self.file(id));
            anyhow::ensure!(run["output"] == Digest::of(&file).to_string().as_str(), "{run:#}");
            Ok((run, file))
        });
        over.unwrap()
    }

    /// Its output as the gateway has it.
    #[track_caller]
    fn file(&self, id: &str) -> Vec<u8> {
        self.tech.gw(&format!("job {id} --device web1 --output")).must().stdout
    }

    fn shows(&self, bytes: &[u8]) -> bool {
        hidden::shows(&self.words, bytes)
    }

    #[track_caller]
    fn nowhere_on_disk(&self) {
        hidden::nowhere_below(self.world.dir(), &self.words);
    }

    /// What stands inside, opened with no tool of ours; none where they are not.
    fn by_stock_tools(&self, file: &[u8], key: &Path) -> Option<String> {
        if [("age", "--version"), ("zstd", "--version")].iter().any(|(tool, word)| !is_there(tool, word)) {
            println!("skipped: age or zstd is not installed");
            return None;
        }
        let script = r#"awk '$2 == "s" {print $3}' | while read -r piece; do base64 -d <<<"$piece" | age -d -i "$1" | zstd -d; done"#;
        let said = run(Command::new("bash").args(["-euc", script, "open"]).arg(key), file).unwrap().must();
        Some(said.out())
    }
}

fn is_there(tool: &str, word: &str) -> bool {
    Command::new(tool).arg(word).output().is_ok()
}

fn text(lines: &[Line], of: Stream) -> Vec<u8> {
    let bytes = lines.iter().map(|line| match line {
        Line::Piece { stream, bytes, .. } if *stream == of => bytes.as_slice(),
        Line::Piece { .. } | Line::Cut { .. } | Line::Sealed { .. } => &[],
    });
    bytes.collect::<Vec<_>>().concat()
}

/// What `asciinema cat` prints of a file; none where it is not.
fn asciinema_cat(file: &Path) -> Option<Vec<u8>> {
    let program = PathBuf::from(std::env::var_os("BELAY_TOOLS")?).join("asciinema");
    let mut asciinema = Command::new(program);
    asciinema.arg("cat").arg(file).envs([("PYTHONIOENCODING", "utf-8:surrogateescape"), ("LC_ALL", "C.UTF-8")]);
    Some(run(&mut asciinema, b"").ok()?.must().stdout)
}

/// The gateway finds none of it; the auditor's own machine does, and again when nothing is new.
#[track_caller]
fn found_by_the_auditor_alone(scene: &Scene, id: &str, key: &str) {
    let gateways = scene.author.gw(&format!("search {} --kind run --json", scene.words)).must().json();
    assert_eq!((&gateways["found"], &gateways["unreadable_runs"]), (&Value::Array(Vec::new()), &1.into()));
    let search = ["search", scene.words.as_str(), "--kind", "run", "--json"];
    let closed = scene.author.belay(search).unwrap().must();
    assert_eq!(closed.json()["unreadable_runs"], 1);
    for words in [[search.as_slice(), &["--age-identity", key]].concat(), search.to_vec()] {
        let answer = scene.author.belay(words).unwrap().must().json();
        let lines: Vec<&str> =
            answer["found"].as_array().unwrap().iter().map(|row| row["line"].as_str().unwrap()).collect();
        assert_eq!(lines.len(), 2, "{answer:#}");
        assert!(lines.contains(&scene.words.as_str()), "{lines:?}");
        let first = &answer["found"][0];
        assert_eq!(
            (&first["kind"], &first["session"], &first["device"]),
            (&"run".into(), &id.into(), &"web1.acme".into())
        );
        assert_eq!(answer["unreadable"], 0, "{answer:#}");
    }
    let table = scene.author.belay(["search", &scene.words]).unwrap().must();
    assert!(table.out().contains(&format!("{id}/web1")), "{}", table.story());
}

#[test]
fn who_ordered_and_the_auditors_read_it_and_nobody_else() {
    let scene = Scene::new();
    scene.push("print");
    let said = jobs::order(&scene.tech, &["print", "--on", "web1.acme", "--output"]).must();
    assert!(said.out().contains(&format!("web1.acme | {}", scene.words)), "{}", said.story());
    assert!(said.out().contains(&format!("web1.acme ! bad: {}", scene.words)), "{}", said.story());
    assert!(said.out().contains("output     encrypted to the policy's 1 auditors and to age1"), "{}", said.story());
    let id = jobs::newest(&scene.tech);
    assert_eq!(jobs::states(&jobs::job(&scene.tech, &id)), [("web1".to_owned(), "succeeded".to_owned())]);
    let (_, file) = scene.over(&id);
    let lines = opened::opened(&scene.world, &file);
    assert_eq!(text(&lines, Stream::Out), scene.out());
    assert_eq!(text(&lines, Stream::Err), format!("bad: {}\n", scene.words).as_bytes());
    assert!(!scene.shows(&file), "the gateway has it in the open");
    // The home that ordered needs no auditor's key; another home does.
    let auditor = scene.world.tenant_dir("acme").join("auditor.age");
    let away = scene.outside.path().join("auditor.age");
    fs::rename(&auditor, &away).unwrap();
    let own = scene.tech.belay(["job", &id, "--device", "web1", "--output"]).unwrap().must();
    assert!(own.out().contains(&scene.words), "{}", own.story());
    scene.nowhere_on_disk();
    let what = format!("{id}/web1");
    let key = away.to_str().unwrap();
    for words in [vec!["job", &id, "--device", "web1", "--output"], vec!["replay", &what]] {
        let refused = scene.author.belay(words.clone()).unwrap().must_refuse(1, &["no key here opens it", "web1.acme"]);
        assert!(!scene.shows(&refused.stdout));
        let shown = scene.author.belay([words, vec!["--age-identity", key]].concat()).unwrap().must();
        assert!(shown.out().contains(&scene.words), "{}", shown.story());
    }
    let cast = scene.outside.path().join("run.cast");
    let words = ["recording", &what, "-o", cast.to_str().unwrap()];
    scene.author.belay(words).unwrap().must_refuse(1, &["no key here opens it"]);
    assert!(!cast.exists());
    scene.author.belay([words.as_slice(), &["--age-identity", key]].concat()).unwrap().must();
    let piece = |line: &Line| if let Line::Piece { bytes, .. } = line { bytes.clone() } else { Vec::new() };
    let both: Vec<u8> = lines.iter().flat_map(piece).collect();
    match asciinema_cat(&cast) {
        Some(shown) => assert_eq!(shown, both, "to the byte"),
        None => println!("skipped: asciinema is not installed"),
    }
    if let Some(inside) = scene.by_stock_tools(&file, &away) {
        let plain: String = lines.iter().map(Line::to_text).collect();
        assert_eq!(inside, plain);
    }
    found_by_the_auditor_alone(&scene, &id, key);
    // What it printed is proved in a pack too, which is as closed as it.
    let pack = scene.outside.path().join("pack.tar");
    scene.author.belay(["evidence", &id, "-o", pack.to_str().unwrap()]).unwrap().must();
    scene.author.belay(["evidence", "verify", pack.to_str().unwrap()]).unwrap().must();
    assert!(!scene.shows(&fs::read(&pack).unwrap()));
}

#[test]
fn a_robot_names_its_own_key_in_the_order() {
    let scene = Scene::new();
    let file = scene.push("print");
    if !is_there("age-keygen", "--version") {
        println!("skipped: age is not installed");
        return;
    }
    let key = scene.outside.path().join("reader.key");
    run(Command::new("age-keygen").arg("-o").arg(&key), b"").unwrap().must();
    let reader = run(Command::new("age-keygen").arg("-y").arg(&key), b"").unwrap().must().out().trim().to_owned();
    let draft = Draft::of(&scene.world, &scene.tech, ("print", &file), &["web1"]);
    let draft = draft.told(&[]).counting(0, 300).changed(|order| order.output_to = vec![reader]);
    draft.submit(&scene.tech).must();
    let (run, file) = scene.over(&draft.id());
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let inside = scene.by_stock_tools(&file, &key).unwrap();
    let lines = belay_certs::output::read(inside.as_bytes()).unwrap();
    assert_eq!(text(&lines, Stream::Out), scene.out());
    for (to, why) in
        [(vec!["age1".to_owned()], "is not an age recipient"), (vec![draft.order.output_to[0].clone(); 2], "twice")]
    {
        let wrong = draft.changed(|order| order.output_to = to);
        wrong.submit(&scene.tech).must_refuse(1, &["output_to", why]);
    }
}

#[test]
fn what_a_run_printed_before_its_agent_died_is_sealed_signed_and_opens() {
    let scene = Scene::new();
    let body = format!("cat {}; echo\nexec sleep 1000", scene.words().display());
    runs::push(&scene.world, &scene.author, "stays", "", &body);
    jobs::order(&scene.tech, &["stays", "--on", "web1.acme", "--detach"]);
    let id = jobs::newest(&scene.tech);
    until("the first words at the gateway", GENEROUS, || {
        anyhow::ensure!(!scene.file(&id).is_empty());
        Ok(())
    })
    .unwrap();
    // On the machine too, while it runs.
    assert!(scene.world.agent_dir("web1.acme").join("runs").join(&id).join("output").exists());
    scene.nowhere_on_disk();
    scene.world.kill_agent("web1.acme");
    scene.world.kill_gateway();
    scene.world.start_gateway().unwrap();
    scene.world.start_agent("web1.acme").unwrap();
    let (run, file) = scene.over(&id);
    assert_eq!(run["state"], "interrupted", "{run:#}");
    assert_eq!(text(&opened::opened(&scene.world, &file), Stream::Out), format!("{}\n", scene.words).as_bytes());
    scene.nowhere_on_disk();
}
