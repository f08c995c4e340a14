//! What the machine says of itself in its hello: shown to people, never believed.

use belay_protocol::{Facts, limits::FACT_BYTES_MAX};
use std::{env, fs};

/// This machine's facts; empty where unknown.
pub(crate) fn facts() -> Facts {
    Facts {
        hostname: fact(&read("/proc/sys/kernel/hostname")),
        os: fact(&pretty_name(&read("/etc/os-release")).unwrap_or_else(|| env::consts::OS.to_owned())),
        kernel: fact(&read("/proc/sys/kernel/osrelease")),
        arch: fact(env::consts::ARCH),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// One line of visible text, cut to what the wire takes.
fn fact(text: &str) -> String {
    let mut fact: String = text.trim().chars().filter(|character| !character.is_control()).collect();
    fact.truncate(fact.floor_char_boundary(FACT_BYTES_MAX));
    fact
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_fit_the_wire_whatever_the_machine_says() {
        assert_eq!(fact("web1\n"), "web1");
        assert_eq!(fact(&"é".repeat(300)).len(), FACT_BYTES_MAX - 1);
        assert_eq!(fact("a\u{1b}[2Jb"), "a[2Jb");
        assert_eq!(pretty_name("ID=debian\nPRETTY_NAME=\"Debian 12\"\n").as_deref(), Some("Debian 12"));
        assert!(!facts().arch.is_empty());
    }
}
