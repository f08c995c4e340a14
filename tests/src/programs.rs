//! Where the three programs are, built in the profile that this program itself was built in; beside a release the agent in
//! the one that it is installed from.

use anyhow::{Context, Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A directory with the three programs, already built: set by `tests/run`, which builds everything once.
const ENV: &str = "BELAY_PROGRAMS";
/// The packages and their programs.
const PROGRAMS: [(&str, &str); 3] = [("belay-gateway", "belay-gateway"), ("belay-cli", "belay"), AGENT];
const AGENT: (&str, &str) = ("belay-agent", "belay-agent");
/// The profiles from which what is installed comes: of all, and of the agent.
const RELEASE: &str = "release";
const AGENT_PROFILE: &str = "agent";

/// The built programs.
#[derive(Debug, Clone)]
pub struct Programs {
    dir: PathBuf,
    agent: PathBuf,
}

/// The programs, built on the first call of this process. Cargo shows its progress on standard error.
///
/// # Errors
/// They do not build.
pub fn programs() -> Result<&'static Programs> {
    static BUILT: OnceLock<Result<Programs, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| find_or_build().map_err(|error| format!("{error:#}")));
    built.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

impl Programs {
    /// The relay and its operator's command.
    pub fn gateway(&self) -> Command {
        command(&self.path("belay-gateway"))
    }

    /// The daemon on a device.
    pub fn agent(&self) -> Command {
        command(&self.agent)
    }

    /// The person's command.
    pub fn belay(&self) -> Command {
        command(&self.path("belay"))
    }

    /// The directory they are in, all but perhaps the agent.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where one of them is.
    pub fn path(&self, name: &str) -> PathBuf {
        if name == AGENT.1 { self.agent.clone() } else { self.dir.join(name) }
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    // What the person at this terminal has set up for themselves must not decide a test.
    for name in ["BELAY_HOME", "BELAY_TICKET", "SSH_AUTH_SOCK", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

fn find_or_build() -> Result<Programs> {
    let dir = match env::var_os(ENV) {
        Some(dir) => PathBuf::from(dir),
        None => build()?,
    };
    let dir = dir.canonicalize().with_context(|| format!("there is no directory {}", dir.display()))?;
    let small = dir.with_file_name(AGENT_PROFILE).join(AGENT.1);
    let agent = if dir.ends_with(RELEASE) && small.is_file() { small } else { dir.join(AGENT.1) };
    let found = Programs { dir, agent };
    for (_, name) in PROGRAMS {
        if !found.path(name).is_file() {
            bail!("there is no {name} in {}", found.dir.display());
        }
    }
    Ok(found)
}

fn build() -> Result<PathBuf> {
    let own = env::current_exe()?;
    // target/PROFILE/demo, or target/PROFILE/deps/TEST-HASH.
    let beside = own.parent().context("a program without a directory")?;
    let dir = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    let target = dir.parent().context("a program outside of a target directory")?;
    match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => build_in("dev", target, &PROGRAMS)?,
        Some(RELEASE) => {
            build_in(RELEASE, target, &PROGRAMS[..2])?;
            build_in(AGENT_PROFILE, target, &[AGENT])?;
        }
        Some(profile) => build_in(profile, target, &PROGRAMS)?,
    }
    Ok(dir.to_owned())
}

fn build_in(profile: &str, target: &Path, programs: &[(&str, &str)]) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells us about ourselves would look to build scripts as if the world had changed.
    for (name, _) in env::vars_os().filter(|(name, _)| is_about_us(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo.arg("build").arg("--locked").args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    for (package, program) in programs {
        cargo.args(["-p", package, "--bin", program]);
    }
    let status = cargo.args(["--profile", profile, "--target-dir"]).arg(target).status();
    if !status.context("cannot start cargo")?.success() {
        bail!("the programs do not build: see above");
    }
    Ok(())
}

/// Variables that `cargo run` and `cargo test` set for the one program they start.
fn is_about_us(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|start| name.starts_with(start))
}
