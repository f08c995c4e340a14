//! Secrets of runs: the script has the exact value, and nobody else anywhere has a byte of it: no log, no database, no output,
//! no command line, no disk. What is not sealed for this device and this signer starts nothing.

#[path = "parts/brought.rs"]
mod brought;
#[path = "parts/changed.rs"]
mod changed;
#[path = "parts/dial.rs"]
mod dial;
#[path = "parts/hidden.rs"]
mod hidden;
#[path = "parts/jobs.rs"]
mod jobs;
#[path = "parts/orders.rs"]
mod orders;
#[path = "parts/policies.rs"]
mod policies;
#[path = "parts/runs.rs"]
mod runs;

use base64::{Engine, engine::general_purpose::STANDARD};
use belay_certs::{
    Digest, Id, PublicKey,
    order::{DeviceLine, DeviceList},
    secrets::{Sealed, Secrets},
};
use belay_protocol::{ALPN, Hello, MINOR_OF_PRIVATE_RUNS, encode_frame};
use belay_tests::{
    Person, Plan, Said, World, run,
    wait::{GENEROUS, until},
};
use brought::bring;
use orders::Draft;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

const TOKEN: &str = "[parameters.token]\ntype = \"string\"\ndescription = \"a token\"\nsecret = true\nrequired = true";

/// The recipient in the README of age.
const AGE: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// An installation with one runbook that is told a secret, and leaves a line for each time it runs.
struct Scene {
    world: World,
    author: Person,
    tech: Person,
    mark: PathBuf,
    /// The runbook.
    file: PathBuf,
    /// The secret, in no file of the world.
    token: String,
    /// Outside of the world, with the secret in a file.
    outside: tempfile::TempDir,
}

impl Scene {
    /// The runbook does this too.
    fn new(more: &str) -> Self {
        let world = World::of(Plan::three());
        let author = runs::allow(&world, "web1.acme");
        let (tech, mark) = (world.person("tech"), world.dir().join("ran"));
        let body = format!("echo \"$BELAY_DEVICE\" >> {}\n{more}", mark.display());
        let file = runs::push(&world, &author, "deploy", TOKEN, &body);
        let token = format!("hunter2-{}", Id::random().unwrap());
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("token"), &token).unwrap();
        Self { world, author, tech, mark, file, token, outside }
    }

    /// `token=@FILE`.
    fn word(&self) -> String {
        format!("token=@{}", self.outside.path().join("token").display())
    }

    fn ran(&self) -> usize {
        fs::read_to_string(&self.mark).unwrap_or_default().lines().count()
    }

    fn shows(&self, bytes: &[u8]) -> bool {
        hidden::shows(&self.token, bytes)
    }

    #[track_caller]
    fn nowhere_on_disk(&self) {
        hidden::nowhere_below(self.world.dir(), &self.token);
    }

    /// The job's only run, once it is over.
    #[track_caller]
    fn over(&self, id: &str) -> Value {
        let job = until("the end of the job", GENEROUS, || {
            let job = jobs::job(&self.tech, id);
            anyhow::ensure!(job["over"] == true, "{job:#}");
            Ok(job)
        });
        job.unwrap()["runs"][0].clone()
    }

    fn host_key(&self, device: &str) -> PublicKey {
        let records = self.tech.gw("records acme").must().json();
        let record = records.as_array().unwrap().iter().find(|record| record["name"] == device).unwrap().clone();
        let line = record["record"].as_str().unwrap().lines().find_map(|line| line.strip_prefix("host_key = "));
        line.unwrap().trim_matches('"').parse().unwrap()
    }

    /// An order for web1 whose line has this.
    fn draft(&self, sealed: Sealed) -> Draft {
        let mut draft = Draft::of(&self.world, &self.tech, ("deploy", &self.file), &["web1"]);
        draft.order.secrets = vec!["token".parse().unwrap()];
        let sealed = Some(sealed);
        let lines = draft.list.lines().iter().cloned().map(|line| DeviceLine { sealed: sealed.clone(), ..line });
        draft.list = DeviceList::of(lines.collect()).unwrap();
        draft.order.devices_root = draft.list.root();
        draft
    }

    fn secrets(&self, names: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        for name in names {
            secrets.add(name.parse().unwrap(), self.token.clone()).unwrap();
        }
        secrets
    }
}

/// What `age` makes of this text for a host key, with no tool of ours.
fn by_age(folder: &Path, key: &PublicKey, text: &str) -> Option<Sealed> {
    let (to, plain) = (folder.join("to.pub"), folder.join("plain"));
    fs::write(&to, format!("{key}\n")).unwrap();
    fs::write(&plain, text).unwrap();
    let made = Command::new("age").arg("-R").arg(&to).arg(&plain).output().ok()?;
    assert!(made.status.success(), "{made:?}");
    Some(STANDARD.encode(made.stdout).parse().unwrap())
}

/// Runs `act`, and looks at the command line of every process all the while. How often `seen` was among them.
fn watching<T>(scene: &Scene, seen: &str, act: impl FnOnce() -> T) -> (T, usize) {
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let answer = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").unwrap().flatten() {
                    let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
                    assert!(!scene.shows(&line), "{}", String::from_utf8_lossy(&line));
                    let found = String::from_utf8_lossy(&line).contains(seen);
                    count.fetch_add(usize::from(found), Ordering::Relaxed);
                }
            }
        });
        let answer = act();
        over.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
        answer
    });
    (answer, count.into_inner())
}

#[test]
fn a_script_has_the_exact_secret_and_nobody_else_has_it_anywhere() {
    let scene = Scene::new(
        "printf %s \"$BELAY_ARG_TOKEN\" | sha256sum\necho \"token: $BELAY_ARG_TOKEN.\"\necho \"$BELAY_ARG_TOKEN\" >&2\n\
         printf %s \"$BELAY_ARG_TOKEN\" | head -c 11; sleep 0.3; printf %s \"$BELAY_ARG_TOKEN\" | tail -c +12; echo '<'",
    );
    let (tech, word) = (&scene.tech, scene.word());
    let words = ["deploy", &word, "--on", "web1.acme,web2.acme", "--json"];
    let (said, seen) = watching(&scene, &word, || jobs::order(tech, &words));
    assert!(seen > 0, "belay was not seen at work");
    let said = said.must();
    assert!(!scene.shows(&said.stdout) && !scene.shows(&said.stderr), "{}", said.story());
    assert!(said.err().contains("secrets    token: encrypted for each device"), "{}", said.story());
    assert_eq!(scene.ran(), 2);

    let id = jobs::newest(tech);
    assert!(jobs::states(&jobs::job(tech, &id)).iter().all(|(_, state)| state == "succeeded"));
    let digest = Digest::of(scene.token.as_bytes()).to_string();
    for device in ["web1", "web2"] {
        let output = tech.belay(["job", &id, "--device", device, "--output"]).unwrap().must();
        let text = output.out();
        assert!(text.contains(digest.trim_start_matches("sha256:")), "the exact value: {text}");
        assert!(text.contains("token: [secret token].") && text.contains("[secret token]<"), "{text}");
        assert_eq!(text.matches("[secret token]").count(), 3, "{text}");
        assert!(!scene.shows(&output.stdout) && !scene.shows(&output.stderr));
    }
    let job = tech.gw(&format!("job {id} --json")).must();
    assert!(!scene.shows(&job.stdout) && job.out().contains("secrets = [\\\"token\\\"]"), "{}", job.story());
    let log = serde_json::to_vec(&tech.log("acme")).unwrap();
    assert!(!scene.shows(&log) && String::from_utf8_lossy(&log).contains("run.ended"));
    let pack = scene.world.dir().join("pack.tar");
    scene.author.belay(["evidence", &id, "-o", pack.to_str().unwrap()]).unwrap().must();
    scene.author.belay(["evidence", "verify", pack.to_str().unwrap()]).unwrap().must();
    tech.belay(["log", "verify", "acme"]).unwrap().must();
    scene.nowhere_on_disk();
}

#[test]
fn a_secret_is_given_in_a_file_or_not_at_all_and_a_retry_asks_again() {
    let scene = Scene::new("true");
    let fixed = scene.world.dir().join("fixed");
    let body = format!("test -e {} || exit 3\nprintf %s \"$BELAY_ARG_TOKEN\" | sha256sum", fixed.display());
    runs::push(&scene.world, &scene.author, "picky", TOKEN, &body);
    let (tech, word) = (&scene.tech, scene.word());
    let on_the_line = format!("token={}", scene.token);
    let refused = jobs::order(tech, &["picky", &on_the_line, "--on", "web1.acme"]).must_refuse(2, &["token=@FILE"]);
    assert!(!scene.shows(&refused.stderr) && !scene.shows(&refused.stdout), "{}", refused.story());
    jobs::order(tech, &["picky", "--on", "web1.acme"]).must_refuse(2, &["token is missing", "token=@FILE"]);
    let dry = tech.belay(["run", "picky", &word, "--on", "web1.acme", "--dry-run", "--json"]).unwrap().must();
    assert!(!scene.shows(&dry.stdout) && dry.out().contains("\"secrets\""), "{}", dry.story());
    let short = scene.outside.path().join("short");
    fs::write(&short, "hunter2").unwrap();
    let short = format!("token=@{}", short.display());
    jobs::order(tech, &["picky", &short, "--on", "web1.acme"]).must_refuse(1, &["shorter than 8 bytes"]);

    // From standard input, as another program gives it.
    let mut belay = tech.belay_command().unwrap();
    belay.args(["run", "picky", "token=@-", "--on", "web1.acme", "--yes"]);
    let said = run(&mut belay, scene.token.as_bytes()).unwrap();
    assert_eq!(said.code(), Some(3), "{}", said.story());
    let id = jobs::newest(tech);
    fs::write(&fixed, "").unwrap();
    tech.belay(["retry", &id, "--yes"]).unwrap().must_refuse(2, &["token is missing"]);
    tech.belay(["retry", &id, "--yes", "word=x"]).unwrap().must_refuse(2, &["word is no secret of that order"]);
    tech.belay(["retry", &id, "--yes", &word]).unwrap().must();
    let again = jobs::newest(tech);
    assert_ne!(again, id);
    let output = tech.belay(["job", &again, "--device", "web1", "--output"]).unwrap().must().out();
    assert!(output.contains(Digest::of(scene.token.as_bytes()).to_string().trim_start_matches("sha256:")), "{output}");
    let sealed = |id: &str| jobs::job(tech, id)["runs"][0]["sealed"].as_str().unwrap().to_owned();
    assert_ne!(sealed(&id), sealed(&again), "encrypted anew");
    scene.nowhere_on_disk();
}

#[test]
fn what_is_not_sealed_for_this_machine_and_signer_runs_nothing() {
    let scene = Scene::new("true");
    let (own, other) = (scene.host_key("web1.acme"), scene.host_key("web2.acme"));
    let me: PublicKey = fs::read_to_string(scene.tech.public_key()).unwrap().parse().unwrap();
    let stranger: PublicKey = fs::read_to_string(scene.author.public_key()).unwrap().parse().unwrap();
    let seal = |names: &[&str], signer: &PublicKey, key: &PublicKey| scene.secrets(names).seal(signer, key).unwrap();
    let mut bad: Vec<(&str, Draft)> = vec![
        ("not encrypted to the host key of this machine", scene.draft(seal(&["token"], &me, &other))),
        ("were not encrypted for orders signed by", scene.draft(seal(&["token"], &stranger, &own))),
        ("other secrets are encrypted", scene.draft(seal(&["token", "more"], &me, &own))),
        ("other secrets are encrypted", scene.draft(seal(&[], &me, &own))),
        ("cannot be read", scene.draft("YWdl".parse().unwrap())),
    ];
    let folder = scene.outside.path();
    let said = |value: &str| format!("{{\"signer\":\"{}\",\"secrets\":{{\"token\":\"{value}\"}}}}", me.fingerprint());
    if by_age(folder, &own, "").is_some() {
        let age = |text: &str| by_age(folder, &own, text).unwrap();
        bad.push(("is shorter than 8 bytes", scene.draft(age(&said("hunter2")))));
        bad.push(("what is encrypted is not", scene.draft(age(&scene.token))));
    }
    for (hint, draft) in &bad {
        draft.submit(&scene.tech).must();
        let run = scene.over(&draft.id());
        assert_eq!(run["state"], "refused", "{hint}: {run:#}");
        let reason = run["reason"].as_str().unwrap();
        assert!(reason.contains(hint) && !reason.contains("hunter2"), "{hint}: {run:#}");
    }
    // What the gateway can see is not even a job.
    let good = scene.draft(seal(&["token"], &me, &own));
    let stream = String::from_utf8(good.signed(&scene.tech.key())).unwrap();
    let sealed = good.list.lines()[0].sealed.clone().unwrap();
    let altered = seal(&["token"], &me, &own);
    let swapped = stream.replace(sealed.as_str(), altered.as_str());
    bring(&scene.tech, swapped.as_bytes()).must_refuse(1, &["is not the one"]);
    let mut plain = good.changed(|_| {});
    plain.list = orders::list(&scene.tech, &["web1"]);
    plain.order.devices_root = plain.list.root();
    plain.submit(&scene.tech).must_refuse(1, &["names secrets, and its list of devices has none"]);
    let unnamed = good.changed(|order| order.secrets.clear());
    unnamed.submit(&scene.tech).must_refuse(1, &["the secret token is missing"]);
    let open = good.told(&[("token", "in-the-open")]);
    open.submit(&scene.tech).must_refuse(1, &["token is an argument and a secret"]);
    assert_eq!(scene.ran(), 0);
    // And the good one runs, made by the stock tool where there is one.
    let robot = scene.draft(by_age(folder, &own, &said(&scene.token)).unwrap_or_else(|| seal(&["token"], &me, &own)));
    let robot = robot.counting(0, 300);
    robot.submit(&scene.tech).must();
    assert_eq!(scene.over(&robot.id())["state"], "succeeded");
    assert_eq!(scene.ran(), 1);
    scene.nowhere_on_disk();
}

#[test]
fn an_agent_that_is_too_old_for_secrets_is_offered_none_and_its_run_says_so() {
    let scene = Scene::new("true");
    let own = scene.host_key("web1.acme");
    let me: PublicKey = fs::read_to_string(scene.tech.public_key()).unwrap().parse().unwrap();
    let draft = scene.draft(scene.secrets(&["token"]).seal(&me, &own).unwrap());
    scene.world.stop_agent("web1.acme").unwrap();
    // In its place comes one of the minor version before, with its certificate.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let held = runtime.block_on(async {
        let (endpoint, connection) = dial::dial(&scene.world, ALPN, Some("web1.acme")).await;
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let hello = Hello { minor: MINOR_OF_PRIVATE_RUNS - 1, ..dial::hello() };
        send.write_all(&encode_frame(&hello).unwrap()).await.unwrap();
        let mut welcome = [0; 7];
        recv.read_exact(&mut welcome).await.unwrap();
        (endpoint, connection, send, recv)
    });
    draft.submit(&scene.tech).must();
    let run = scene.over(&draft.id());
    assert_eq!(run["state"], "refused", "{run:#}");
    assert!(run["reason"].as_str().unwrap().contains("too old for secrets"), "{run:#}");
    // Nor does it read an order that says who reads what is printed.
    let plain = runs::push(&scene.world, &scene.author, "plain", "", "true");
    let readers = Draft::of(&scene.world, &scene.tech, ("plain", &plain), &["web1"]);
    let readers = readers.changed(|order| order.output_to = vec![AGE.to_owned()]);
    readers.submit(&scene.tech).must();
    assert_eq!(scene.over(&readers.id())["state"], "refused");
    drop(held);
    scene.world.start_agent("web1.acme").unwrap();
    // The order is over: it does not run when the agent is new enough.
    let again = scene.draft(scene.secrets(&["token"]).seal(&me, &own).unwrap());
    again.submit(&scene.tech).must();
    assert_eq!(scene.over(&again.id())["state"], "succeeded");
    assert_eq!(scene.ran(), 1);
}

/// `belay run` at a terminal whose keyboard types this when the question is there.
fn asked(scene: &Scene, typed: &[u8]) -> Said {
    let belay = scene.tech.belay_command().unwrap();
    let words = ["run", "deploy", "--on", "web1.acme", "--yes"].map(str::to_owned);
    let own = [belay.get_program()].into_iter().chain(belay.get_args()).map(|word| word.to_string_lossy().into_owned());
    let line: Vec<String> = own.chain(words).map(|word| format!("'{word}'")).collect();
    let driver = "import os,pty,sys\npid,fd=pty.fork()\nif pid==0: os.execvp('sh',['sh','-c',sys.argv[1]])\nseen=b''\ntyped=False\n\
                  while True:\n  try: data=os.read(fd,4096)\n  except OSError: break\n  if not data: break\n  seen+=data\n  \
                  if not typed and b'not shown): ' in seen:\n    os.write(fd,sys.stdin.buffer.read()+b'\\r'); typed=True\n\
                  sys.stdout.buffer.write(seen)\nsys.exit(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))\n";
    let mut python = Command::new("python3");
    python.args(["-c", driver, &line.join(" ")]).stdout(Stdio::piped());
    run(&mut python, typed).unwrap()
}

#[test]
fn the_person_at_the_terminal_is_asked_and_sees_nothing_of_it() {
    let scene = Scene::new("printf %s \"$BELAY_ARG_TOKEN\" | sha256sum");
    // The second line of what is pasted is neither a part of it nor anybody's answer or command.
    let said = asked(&scene, format!("{}\nsecond line", scene.token).as_bytes()).must_refuse(1, &[]);
    assert!(said.out().contains("more than one line was given for the secret token"), "{}", said.story());
    assert!(!scene.shows(&said.stdout) && !said.out().contains("second line"), "{}", said.story());
    let said = asked(&scene, scene.token.as_bytes()).must();
    assert!(!scene.shows(&said.stdout), "{}", said.story());
    let id = jobs::newest(&scene.tech);
    let output = scene.tech.belay(["job", &id, "--device", "web1", "--output"]).unwrap().must().out();
    assert!(output.contains(Digest::of(scene.token.as_bytes()).to_string().trim_start_matches("sha256:")), "{output}");
    let all = scene.tech.belay(["jobs", "--json"]).unwrap().must().json();
    assert_eq!(all.as_array().map(Vec::len), Some(1), "what was pasted became an order");
    scene.nowhere_on_disk();
}
