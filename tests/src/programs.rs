//! Where the three programs are, built in the profile that this program itself was built in.

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
const PROGRAMS: [(&str, &str); 3] =
    [("belay-gateway", "belay-gateway"), ("belay-agent", "belay-agent"), ("belay-cli", "belay")];

/// The built programs.
#[derive(Debug, Clone)]
pub struct Programs {
    dir: PathBuf,
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
        self.command("belay-gateway")
    }

    /// The daemon on a device.
    pub fn agent(&self) -> Command {
        self.command("belay-agent")
    }

    /// The person's command.
    pub fn belay(&self) -> Command {
        self.command("belay")
    }

    /// The directory they are in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.dir.join(name));
        // What the person at this terminal has set up for themselves must not decide a test.
        for name in ["BELAY_HOME", "BELAY_TICKET", "SSH_AUTH_SOCK", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.env("NO_COLOR", "1");
        command
    }
}

fn find_or_build() -> Result<Programs> {
    let dir = match env::var_os(ENV) {
        Some(dir) => PathBuf::from(dir),
        None => build()?,
    };
    for (_, name) in PROGRAMS {
        if !dir.join(name).is_file() {
            bail!("there is no {name} in {}", dir.display());
        }
    }
    Ok(Programs { dir: dir.canonicalize()? })
}

fn build() -> Result<PathBuf> {
    let own = env::current_exe()?;
    // target/PROFILE/demo, or target/PROFILE/deps/TEST-HASH.
    let beside = own.parent().context("a program without a directory")?;
    let dir = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells us about ourselves would look to build scripts as if the world had changed.
    for (name, _) in env::vars_os().filter(|(name, _)| is_about_us(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo.arg("build").arg("--locked").args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    for (package, program) in PROGRAMS {
        cargo.args(["-p", package, "--bin", program]);
    }
    cargo.arg("--target-dir").arg(dir.parent().context("a program outside of a target directory")?);
    match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            cargo.args(["--profile", profile]);
        }
    }
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the programs do not build: see above");
    }
    Ok(dir.to_owned())
}

/// Variables that `cargo run` and `cargo test` set for the one program they start.
fn is_about_us(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|start| name.starts_with(start))
}
