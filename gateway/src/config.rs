//! The gateway's configuration: `DIR/gateway.toml`. `gateway.example.toml` documents every key and is tested here.
//!
//! No secrets: keys are files beside it. Of the limits in `limits.rs` it holds those that depend on the machine and on who calls.

use crate::{limits, threshold::network::Network};
use anyhow::{Context, bail, ensure};
use belay_certs::{time::SECOND, transport::LEAF_SECONDS_MAX};
use serde::Deserialize;
use std::{net::SocketAddr, path::Path, time::Duration};

/// The file's name in the gateway's directory.
pub const FILE: &str = "gateway.toml";
/// The largest configuration that is read, in bytes: the example with its comments is under 2 KiB.
const FILE_BYTES_MAX: usize = 64 << 10;
/// The longest name of a gateway, in bytes: it is the common name of a certificate (RFC 5280).
const NAME_BYTES_MAX: usize = 64;
/// The longest host name, in bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// Public addresses of the door for devices: as many as a token can name.
const ADDRESSES_MAX: usize = 8;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the gateway is called, for ever.
    pub name: String,
    /// The door for people.
    pub ssh: SshDoor,
    /// The door for devices.
    pub quic: QuicDoor,
    /// How many people at once, and who may wait at their door.
    #[serde(default)]
    pub limits: Limits,
    /// How much of the disk is not for recordings, and when no end of one is waited for.
    #[serde(default)]
    pub recordings: Recordings,
}

/// `[recordings]`: what stays free on the disk, and how long a machine's word is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recordings {
    /// With less left, in MiB, no session that is recorded begins; with half of it, recordings end.
    pub free_mib_min: u64,
    /// Likewise as a part of the disk, in percent: 0 to 50.
    pub free_percent_min: u64,
    /// A session to which the way is gone, and of which nothing is heard for so long, in seconds, is unterminated: 1 to 2,592,000.
    pub silence_seconds: u64,
}

impl Default for Recordings {
    fn default() -> Self {
        Self {
            free_mib_min: limits::FREE_MIB_MIN,
            free_percent_min: limits::FREE_PERCENT_MIN,
            silence_seconds: limits::SILENCE_SECONDS,
        }
    }
}

impl Recordings {
    /// The least, in bytes.
    pub(crate) fn free_bytes_min(&self) -> u64 {
        self.free_mib_min.saturating_mul(1 << 20)
    }

    fn check(&self) -> anyhow::Result<()> {
        let percent = self.free_percent_min;
        ensure!(percent <= 50, "[recordings] free_percent_min is {percent} and must be 0 to 50");
        let (silence, most) = (self.silence_seconds, limits::SILENCE_SECONDS_MAX);
        ensure!((1..=most).contains(&silence), "[recordings] silence_seconds is {silence} and must be 1 to {most}");
        Ok(())
    }

    /// How long nothing may be heard of a session.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_secs(self.silence_seconds)
    }
}

/// `[limits]`: what depends on the size of the machine, and on who calls.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// People's connections at once, logged in: 1 to 65,536.
    pub connections: usize,
    /// Connections without a login at once: 16 to 16,384.
    pub places: usize,
    /// Those of one IPv4 address or IPv6 /64: 1 to `places`.
    pub places_per_address: usize,
    /// Those of one IPv4 /24 or IPv6 /48: `places_per_address` to `places`.
    pub places_per_network: usize,
    /// Networks that never get a penalty, at most 1,024.
    pub penalty_exempt: Vec<Network>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: limits::SSH_CONNECTIONS,
            places: limits::PLACES,
            places_per_address: limits::PLACES_PER_ADDRESS,
            places_per_network: limits::PLACES_PER_NETWORK,
            penalty_exempt: Vec::new(),
        }
    }
}

impl Limits {
    fn check(&self) -> anyhow::Result<()> {
        let within = |key: &str, value: usize, least: usize, most: usize| {
            ensure!((least..=most).contains(&value), "[limits] {key} is {value} and must be {least} to {most}");
            Ok(())
        };
        within("connections", self.connections, 1, limits::SSH_CONNECTIONS_MAX)?;
        within("places", self.places, limits::PLACES_MIN, limits::PLACES_MAX)?;
        within("places_per_address", self.places_per_address, 1, self.places)?;
        within("places_per_network", self.places_per_network, self.places_per_address, self.places)?;
        within("the length of penalty_exempt", self.penalty_exempt.len(), 0, limits::EXEMPT_MAX)
    }

    /// Open files that a gateway needs when every place is taken.
    pub(crate) fn files(&self) -> u64 {
        let files = self.connections + self.places + limits::FILES_BESIDE;
        u64::try_from(files).unwrap_or(u64::MAX)
    }
}

/// `[ssh]`: the door for people.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshDoor {
    /// The TCP address to listen on.
    pub listen: SocketAddr,
    /// `HOST:PORT` that people reach it by.
    pub public: String,
}

/// `[quic]`: the door for devices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuicDoor {
    /// The UDP address to listen on.
    pub listen: SocketAddr,
    /// `HOST:PORT`s that devices reach it by.
    pub public: Vec<String>,
    /// How long a transport certificate lives, in seconds.
    #[serde(default = "certificate_seconds")]
    pub certificate_seconds: i64,
}

/// 30 days: a device renews its certificate about once in three weeks, and a stolen key is worth something for a month.
pub const fn certificate_seconds() -> i64 {
    30 * 86_400
}

impl QuicDoor {
    /// How long a transport certificate lives, in the unit of timestamps.
    pub(crate) fn certificate_life(&self) -> i64 {
        self.certificate_seconds.saturating_mul(SECOND)
    }
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// One sentence with the file and the line that is wrong.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "{} cannot be read; `belay-gateway init DIR --name NAME` makes a gateway's directory",
                path.display()
            )
        })?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// One sentence with the line or the key that is wrong.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        ensure!(text.len() <= FILE_BYTES_MAX, "the configuration is larger than {FILE_BYTES_MAX} bytes");
        let config: Self = match toml::from_str(text) {
            Ok(config) => config,
            Err(error) => bail!("line {}: {}", line(text, error.span()), error.message().replace('\n', " ")),
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        check_name(&self.name)?;
        check_public(&self.ssh.public).context("[ssh] public")?;
        self.limits.check()?;
        self.recordings.check()?;
        let addresses = &self.quic.public;
        ensure!(
            (1..=ADDRESSES_MAX).contains(&addresses.len()),
            "[quic] public has {} addresses and must have 1 to {ADDRESSES_MAX}",
            addresses.len()
        );
        let seconds = self.quic.certificate_seconds;
        ensure!(
            (1..=LEAF_SECONDS_MAX).contains(&seconds),
            "[quic] certificate_seconds is {seconds} and must be 1 to {LEAF_SECONDS_MAX}"
        );
        addresses.iter().try_for_each(|address| check_public(address).context("[quic] public"))
    }

    /// The text of a file that says this, with the comments of the example.
    ///
    /// # Errors
    /// When a value cannot stand in a configuration.
    pub fn to_text(&self) -> anyhow::Result<String> {
        self.check()?;
        let addresses: Vec<String> = self.quic.public.iter().map(|address| format!("{address:?}")).collect();
        let text = [
            ("name = ", format!("{:?}", self.name)),
            ("listen = ", format!("{:?}", self.ssh.listen.to_string())),
            ("public = ", format!("{:?}", self.ssh.public)),
            ("listen = ", format!("{:?}", self.quic.listen.to_string())),
            ("public = ", format!("[{}]", addresses.join(", "))),
            ("certificate_seconds = ", self.quic.certificate_seconds.to_string()),
        ];
        let mut values = text.into_iter().peekable();
        let lines = EXAMPLE.lines().map(|line| match values.next_if(|(key, _)| line.starts_with(key)) {
            Some((key, value)) => format!("{key}{value}\n"),
            None => format!("{line}\n"),
        });
        Ok(lines.collect())
    }
}

#[cfg(test)]
impl Config {
    /// A gateway on this machine, on ports that are free.
    pub(crate) fn local() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            name: "gw.example".to_owned(),
            ssh: SshDoor { listen, public: "gw.example:2222".to_owned() },
            quic: QuicDoor {
                listen,
                public: vec!["gw.example:4433".to_owned()],
                certificate_seconds: certificate_seconds(),
            },
            limits: Limits::default(),
            recordings: Recordings::default(),
        }
    }
}

/// The documented example, which is also what `init` fills in.
const EXAMPLE: &str = include_str!("../gateway.example.toml");

/// A name can be a host's name in a certificate and the beginning of a log's origin.
fn check_name(name: &str) -> anyhow::Result<()> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    ensure!(
        name.len() <= NAME_BYTES_MAX && name.split('.').all(label),
        "name {name:?} is not a gateway's name: write a host name, as gw.example, of at most {NAME_BYTES_MAX} bytes"
    );
    Ok(())
}

/// `HOST:PORT`, an IPv6 address in brackets.
fn check_public(address: &str) -> anyhow::Result<()> {
    let wrong = || format!("{address:?} is not an address: write HOST:PORT, as gw.example:2222");
    let (host, port) = address.rsplit_once(':').with_context(wrong)?;
    let port: u16 = port.parse().ok().with_context(wrong)?;
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let legal = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.starts_with('-')
                && (1..=HOST_BYTES_MAX).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        }
    };
    ensure!(legal && port != 0, wrong());
    Ok(())
}

/// The line, from 1, where the span begins.
fn line(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    before.matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_parses_and_explains_every_key() {
        let config = Config::parse(EXAMPLE).unwrap();
        assert_eq!((config.name.as_str(), config.ssh.listen.port(), config.quic.public.len()), ("gw.example", 2222, 1));
        let lines: Vec<&str> = EXAMPLE.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
            assert!(lines[at - 1].starts_with('#'), "no comment above {line:?}");
        }
    }

    #[test]
    fn an_unknown_key_refuses_with_its_line() {
        let line = EXAMPLE.lines().count() + 1;
        for (extra, key) in [("colour = 1", "colour"), ("[http]\nlisten = 1", "http")] {
            let sentence = format!("{:#}", Config::parse(&format!("{EXAMPLE}{extra}\n")).unwrap_err());
            assert!(
                sentence.starts_with(&format!("line {line}: unknown field")) && sentence.contains(key),
                "{sentence}"
            );
        }
        let sentence = Config::parse("name = \"gw\"\nname = \"gw\"").unwrap_err().to_string();
        assert!(sentence.starts_with("line 2:"), "{sentence}");
        assert!(Config::parse("name = \"gw\"").unwrap_err().to_string().contains("missing field"));
    }

    #[test]
    fn limits_are_the_documented_ones_and_must_fit_each_other() {
        assert_eq!(Config::parse(EXAMPLE).unwrap().limits, Limits::default());
        let before = EXAMPLE.split("[limits]").next().unwrap();
        assert_eq!(Config::parse(before).unwrap().limits, Limits::default(), "the section may be missing");
        let with = |line: &str| Config::parse(&format!("{before}[limits]\n{line}\n"));
        assert_eq!(with("places = 64\nplaces_per_address = 8\nplaces_per_network = 8").unwrap().limits.places, 64);
        assert!(with("penalty_exempt = [\"192.0.2.0/24\"]").is_ok());
        for wrong in [
            "connections = 0",
            "places = 1",
            "places = 20000",
            "places_per_address = 2000",
            "places_per_network = 8",
            "penalty_exempt = [\"192.0.2.1/24\"]",
            "penalty_exempt = [\"the office\"]",
        ] {
            let sentence = format!("{:#}", with(wrong).unwrap_err());
            assert!(sentence.contains("must be") || sentence.contains("not a network"), "{wrong}: {sentence}");
        }
    }

    #[test]
    fn recordings_are_as_documented_and_their_limits_are_kept() {
        assert_eq!(Config::parse(EXAMPLE).unwrap().recordings, Recordings::default());
        let before = EXAMPLE.split("[recordings]").next().unwrap();
        let with = |line: &str| Config::parse(&format!("{before}[recordings]\n{line}\n"));
        assert_eq!(with("silence_seconds = 5").unwrap().recordings.silence(), Duration::from_secs(5));
        for wrong in ["silence_seconds = 0", "silence_seconds = 2592001", "free_percent_min = 51"] {
            let sentence = format!("{:#}", with(wrong).unwrap_err());
            assert!(sentence.contains("must be"), "{wrong}: {sentence}");
        }
    }

    #[test]
    fn names_and_addresses_that_cannot_be_are_refused() {
        let with = |from: &str, to: &str| Config::parse(&EXAMPLE.replacen(from, to, 1));
        for name in ["", "GW.example", "gw example", "gw..example", "-gw", "gw+1", "gw/x", &"a".repeat(65)] {
            assert!(with("name = \"gw.example\"", &format!("name = {name:?}")).is_err(), "{name:?}");
        }
        for address in
            ["gw.example", "gw.example:0", "gw.example:70000", ":22", "-o:22", "gw example:22", "::1:22", "[gw]:22"]
        {
            assert!(with("public = \"gw.example:2222\"", &format!("public = {address:?}")).is_err(), "{address:?}");
        }
        assert!(with("public = \"gw.example:2222\"", "public = \"[2001:db8::1]:2222\"").is_ok());
        assert!(with("public = [\"gw.example:4433\"]", "public = []").is_err());
        for seconds in ["0", "-1", "34387201", "\"30d\""] {
            assert!(with("certificate_seconds = 2592000", &format!("certificate_seconds = {seconds}")).is_err());
        }
        let without = Config::parse(&EXAMPLE.replacen("certificate_seconds = 2592000", "", 1)).unwrap();
        assert_eq!(without.quic.certificate_seconds, 30 * 86_400);
        assert!(with("listen = \"0.0.0.0:2222\"", "listen = \"gw.example:2222\"").is_err());
    }

    #[test]
    fn what_init_writes_says_the_same_and_keeps_the_comments() {
        let config = Config {
            name: "relay.msp".to_owned(),
            ssh: SshDoor { listen: "[::]:22".parse().unwrap(), public: "relay.msp:22".to_owned() },
            quic: QuicDoor {
                listen: "127.0.0.1:0".parse().unwrap(),
                public: vec!["relay.msp:443".to_owned(), "192.0.2.7:443".to_owned()],
                certificate_seconds: 60,
            },
            limits: Limits::default(),
            recordings: Recordings::default(),
        };
        let text = config.to_text().unwrap();
        assert_eq!(Config::parse(&text).unwrap(), config);
        assert_eq!(
            text.lines().filter(|line| line.starts_with('#')).count(),
            EXAMPLE.lines().filter(|line| line.starts_with('#')).count()
        );
        assert!(Config { name: "a\"b".to_owned(), ..config }.to_text().is_err());
    }
}
