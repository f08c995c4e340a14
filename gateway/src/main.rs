//! `belay-gateway`: the relay, and its operator's commands. This file reads the command line; the library does the rest.

use anyhow::Context;
use belay_certs::{Digest, TenantName, digest::hex};
use belay_gateway::{
    admin::{self, TransportCaChange},
    config::{self, Config, Limits, QuicDoor, Recordings, SshDoor},
    serve::Serving,
    service,
};
use clap::{Parser, Subcommand, ValueEnum};
use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Where a gateway lives when nobody says otherwise.
const DIRECTORY: &str = "/var/lib/belay-gateway";

/// The relay between technicians and client machines. It carries and records; it cannot act on its own.
#[derive(Debug, Parser)]
#[command(name = "belay-gateway", version)]
struct Arguments {
    /// How log lines look; what is logged is set by RUST_LOG
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the directory of a new gateway: keys and configuration
    Init {
        /// The directory
        dir: PathBuf,
        /// The gateway's name for ever, as gw.example
        #[arg(long)]
        name: String,
        /// Where to listen for people
        #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:2222")]
        ssh: SocketAddr,
        /// Where to listen for devices
        #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:4433")]
        quic: SocketAddr,
        /// How people reach it [default: NAME and the port of --ssh]
        #[arg(long, value_name = "HOST:PORT")]
        public_ssh: Option<String>,
        /// How devices reach it, with commas between [default: NAME and the port of --quic]
        #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
        public_quic: Vec<String>,
    },
    /// Serve until SIGTERM or SIGINT
    Serve {
        /// The gateway's directory
        #[arg(value_name = "DIR", conflicts_with = "dir")]
        directory: Option<PathBuf>,
        /// The gateway's directory
        #[arg(long)]
        dir: Option<PathBuf>,
        /// The configuration; its directory is the gateway's unless one is named [default: DIR/gateway.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// The tenants of the gateway
    #[command(subcommand)]
    Tenant(Tenant),
    /// The logs of the gateway
    #[command(subcommand)]
    Log(Log),
    /// Write everything the gateway is to one new file, while it serves; as secret as the gateway's directory
    Backup {
        /// The file, which is not there yet
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Make a gateway's directory from a backup, after checking every entry of every log
    Restore {
        /// The backup
        file: PathBuf,
        /// The directory, empty or not there yet
        #[arg(default_value = DIRECTORY)]
        dir: PathBuf,
    },
    /// The CA by which devices know the gateway
    #[command(subcommand)]
    TransportCa(TransportCa),
}

#[derive(Debug, Subcommand)]
enum TransportCa {
    /// Show the one in force, and who still needs the previous one
    Show {
        #[command(flatten)]
        place: Place,
    },
    /// Put a new one in its place; whoever knows only the old one still finds the gateway
    Rotate {
        #[command(flatten)]
        place: Place,
    },
    /// End the previous one
    Retire {
        /// Also if tenants or devices that know only the previous one are lost by it
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
enum Tenant {
    /// Add a tenant and print the invite to begin its policy with
    Add {
        name: TenantName,
        #[command(flatten)]
        place: Place,
    },
    /// Print the invite of a tenant again
    Invite {
        name: TenantName,
        #[command(flatten)]
        place: Place,
    },
    /// Adopt version 0 of a tenant's policy; its signatures are in FILE.sig, FILE.bob.sig, …
    Adopt {
        name: TenantName,
        /// The policy
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Begin a tenant's policy anew, because its root keys are lost: FILE is another version 0, its signatures beside it
    ///
    /// The old chain ends. Its devices are turned away until each is made to forget it, by hand, as root. The tenant's log says so.
    Restart {
        name: TenantName,
        /// The policy: made by `belay init` with `belay-gateway tenant invite`
        file: PathBuf,
        /// The hash of version 0 of the chain that ends, as `tenant list --json` shows it
        #[arg(long, value_name = "HASH")]
        lost: Digest,
        #[command(flatten)]
        place: Place,
    },
    /// List the tenants
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
enum Log {
    /// Begin a tenant's log anew, under the next name, because a restored database lost entries of it
    Restart {
        name: TenantName,
        #[command(flatten)]
        place: Place,
    },
    /// Write a whole log to a file, as a tar
    Export {
        /// A tenant, or `system`
        name: String,
        /// The file
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Check a whole log: every entry, hash, signature and device's statement
    Verify {
        /// A tenant, or `system`
        name: String,
        /// The log's key, NAME+ID+BASE64 [default: the one in the tenant's adopted policy]
        #[arg(long, value_name = "KEY")]
        vkey: Option<String>,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The gateway's directory
    #[arg(long, default_value = DIRECTORY)]
    dir: PathBuf,
}

/// Tasks that a thread carries on before it looks again what came from the network and which timers are due. Tokio's own 61 let a
/// keystroke wait 8 ms behind what ten thousand machines say of their runs; below 3 nothing was gained.
const TASKS_BETWEEN_LOOKS: u32 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(arguments.log_format);
    let runtime = Builder::new_multi_thread().enable_all().event_interval(TASKS_BETWEEN_LOOKS).build();
    let done = match (runtime, rustls::crypto::ring::default_provider().install_default()) {
        (Ok(runtime), Ok(())) => runtime.block_on(run(arguments.command)),
        (Err(error), _) => Err(anyhow::Error::from(error).context("the gateway's threads could not be started")),
        (_, Err(_)) => Err(anyhow::anyhow!("a TLS provider is installed already")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "belay-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Without `RUST_LOG`, or with one that cannot be read: the SSH library writes lines about what
/// strangers send, as many as they like.
fn log_filter() -> Targets {
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO).with_target("russh", LevelFilter::OFF))
}

fn log_to_stderr(format: LogFormat) {
    let lines = fmt::layer().with_writer(std::io::stderr);
    let logs = tracing_subscriber::registry().with(log_filter());
    match format {
        LogFormat::Json => logs.with(lines.json().flatten_event(true)).init(),
        LogFormat::Text => logs.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init { dir, name, ssh, quic, public_ssh, public_quic } => {
            let public_ssh = public_ssh.unwrap_or_else(|| format!("{name}:{}", ssh.port()));
            let public_quic =
                if public_quic.is_empty() { vec![format!("{name}:{}", quic.port())] } else { public_quic };
            let ssh = SshDoor { listen: ssh, public: public_ssh };
            let certificate_seconds = config::certificate_seconds();
            let quic = QuicDoor { listen: quic, public: public_quic, certificate_seconds };
            admin::init(
                &dir,
                &Config { name, ssh, quic, limits: Limits::default(), recordings: Recordings::default() },
            )?;
            say(&format!(
                "{} is a gateway's directory now; next: belay-gateway serve {}\n",
                dir.display(),
                dir.display()
            ))
        }
        Command::Serve { directory, dir, config } => serve(directory.or(dir), config).await,
        Command::Tenant(Tenant::Add { name, place }) => say(&admin::tenant_add(&place.dir, name).await?),
        Command::Tenant(Tenant::Invite { name, place }) => say(&admin::tenant_invite(&place.dir, name).await?),
        Command::Tenant(Tenant::Adopt { name, file, place }) => {
            say(&admin::tenant_adopt(&place.dir, name, &file).await?)
        }
        Command::Tenant(Tenant::Restart { name, file, lost, place }) => {
            say(&admin::tenant_restart(&place.dir, name, &file, lost).await?)
        }
        Command::Tenant(Tenant::List { json, place }) => say(&admin::tenant_list(&place.dir, json).await?),
        Command::Log(Log::Restart { name, place }) => say(&admin::log_restart(&place.dir, name).await?),
        Command::Log(Log::Export { name, output, place }) => admin::log_export(&place.dir, &name, &output).await,
        Command::Backup { file, place } => {
            admin::backup(&place.dir, &file).await?;
            say("not in it: what sessions showed; copy the directory `recordings` beside it, now that it is made\n")
        }
        Command::Restore { file, dir } => say(&admin::restore(&file, &dir).await?),
        Command::TransportCa(words) => {
            let (change, place) = match words {
                TransportCa::Show { place } => (TransportCaChange::Show, place),
                TransportCa::Rotate { place } => (TransportCaChange::Rotate, place),
                TransportCa::Retire { force: false, place } => (TransportCaChange::Retire, place),
                TransportCa::Retire { force: true, place } => (TransportCaChange::RetireByForce, place),
            };
            say(&admin::transport_ca(&place.dir, change).await?)
        }
        Command::Log(Log::Verify { name, vkey, place }) => verify(&place.dir, &name, vkey.as_deref()).await,
    }
}

async fn serve(directory: Option<PathBuf>, config: Option<PathBuf>) -> anyhow::Result<()> {
    let (directory, config) = places(directory, config);
    let config = Config::read(&config)?;
    let name = config.name.clone();
    // Before anything is opened: a signal that comes meanwhile waits its turn.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be waited for")?;
    let serving = Serving::start(&directory, config).await?;
    tracing::info!(ssh = %serving.ssh(), quic = %serving.quic(), name, version = env!("CARGO_PKG_VERSION"), "ready");
    service::ready(&serving.status());
    let (reason, failed) = tokio::select! {
        biased;
        _ = terminate.recv() => ("SIGTERM", false),
        _ = interrupt.recv() => ("SIGINT", false),
        () = serving.failed() => ("a door closed by itself", true),
        () = service::keep_telling(|| serving.status()) => ("nothing", true),
    };
    tracing::info!(reason, "stopping");
    service::stopping();
    serving.stop(reason).await?;
    anyhow::ensure!(!failed, "a door closed by itself; the log above says more");
    tracing::info!("stopped");
    Ok(())
}

/// The gateway's directory and its configuration, from what of the two is named.
fn places(directory: Option<PathBuf>, config: Option<PathBuf>) -> (PathBuf, PathBuf) {
    let beside = config.as_deref().and_then(Path::parent).map(|parent| match parent.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => parent.to_owned(),
    });
    let directory = directory.or(beside).unwrap_or_else(|| PathBuf::from(DIRECTORY));
    let config = config.unwrap_or_else(|| directory.join(config::FILE));
    (directory, config)
}

async fn verify(directory: &Path, name: &str, vkey: Option<&str>) -> anyhow::Result<()> {
    let report = admin::log_verify(directory, name, vkey).await?;
    let head = &report.checkpoint;
    say(&format!(
        "{} is whole: {} entries, {} devices, {} statements, {} objects; root {}\n",
        head.origin,
        report.entries,
        report.devices,
        report.statements,
        report.objects,
        hex(&head.root)
    ))
}

fn say(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output takes nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_line_of_the_documentation_is_understood() {
        for line in [
            "init /srv/gw --name gw.example --ssh 127.0.0.1:2222 --quic [::]:4433 --public-ssh gw:22 --public-quic a:1,b:2",
            "serve",
            "transport-ca show",
            "backup /root/gw.backup",
            "restore /root/gw.backup",
            "restore gw.backup /srv/gw",
            "transport-ca rotate --dir /srv/gw",
            "transport-ca retire --force",
            "serve /srv/gw --log-format json",
            "serve --dir /srv/gw",
            "serve --config /srv/gw/gateway.toml",
            "tenant add acme",
            "tenant invite acme --dir /srv/gw",
            "tenant adopt acme policy-0.toml --dir /srv/gw",
            "tenant list --json",
            "log export acme -o acme.tar",
            "log restart acme --dir /srv/gw",
            "log verify system --vkey gw.example/system+00000000+AQ",
        ] {
            let words = ["belay-gateway"].into_iter().chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
        for line in ["", "init /srv/gw", "serve a --dir b", "tenant add com", "tenant add", "log export acme"] {
            let words = ["belay-gateway"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn the_directory_is_the_configurations_unless_one_is_named() {
        let path = |text: &str| Some(PathBuf::from(text));
        let named = |directory, config| places(directory, config);
        assert_eq!(named(None, None).1, PathBuf::from("/var/lib/belay-gateway/gateway.toml"));
        assert_eq!(named(path("/d"), None), (PathBuf::from("/d"), PathBuf::from("/d/gateway.toml")));
        assert_eq!(named(None, path("/d/g.toml")), (PathBuf::from("/d"), PathBuf::from("/d/g.toml")));
        assert_eq!(named(None, path("g.toml")), (PathBuf::from("."), PathBuf::from("g.toml")));
        assert_eq!(named(path("/d"), path("/etc/g.toml")), (PathBuf::from("/d"), PathBuf::from("/etc/g.toml")));
    }
}
