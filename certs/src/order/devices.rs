//! The devices of an order: one line `NAME SERIAL` each, or `NAME SERIAL SEALED` with its secrets, sorted by bytes, under one
//! RFC 6962 root that is signed.
//!
//! The list travels beside the order. A device makes its own line from its own record, and needs only its place and a path.

use crate::{
    DeviceName, Digest,
    invalid::{Fault, Invalid, malformed},
    limits::{DEVICE_LINE_BYTES_MAX, DEVICE_LIST_BYTES_MAX, ORDER_DEVICES_MAX},
    secrets::Sealed,
    sshsig,
    tlog::{Edge, Hash, Tiles, inclusion_path, leaf_hash},
};
use std::{fmt, str::FromStr};

/// One device of an order: its name inside the tenant, the serial of the record that the signer saw, and its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceLine {
    /// The name.
    pub name: DeviceName,
    /// The serial; a device under another record is not meant.
    pub serial: u64,
    /// Its secrets, encrypted to the host key in that record; in all lines of a list or in none.
    pub sealed: Option<Sealed>,
}

impl DeviceLine {
    /// What lines are sorted by: no name stands twice, so the secrets decide nothing.
    fn key(&self) -> String {
        format!("{} {}", self.name, self.serial)
    }

    /// The leaf of the tree: the line without its line end.
    pub(super) fn leaf(&self) -> Hash {
        leaf_hash(self.to_string().as_bytes())
    }
}

impl fmt::Display for DeviceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.serial)?;
        self.sealed.as_ref().map_or(Ok(()), |sealed| write!(f, " {sealed}"))
    }
}

impl FromStr for DeviceLine {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || {
            let shown: String = text.chars().take(DEVICE_LINE_BYTES_MAX).collect();
            malformed(format!("{shown:?} is not a device of an order: write NAME SERIAL, as web1 7"))
        };
        let (name, serial) = text.split_once(' ').ok_or_else(wrong)?;
        let (serial, sealed) = serial.split_once(' ').map_or((serial, None), |(serial, sealed)| (serial, Some(sealed)));
        let (name, serial): (DeviceName, u64) =
            (name.parse().map_err(|_| wrong())?, serial.parse().map_err(|_| wrong())?);
        let sealed: Option<Sealed> =
            sealed.map(str::parse).transpose().map_err(|invalid: Invalid| invalid.of(name.as_str()))?;
        let line = Self { name, serial, sealed };
        // One spelling: the leaf is over the text.
        if line.serial == 0 || line.to_string() != text {
            return Err(wrong());
        }
        Ok(line)
    }
}

/// The list of an order's devices: 1 to 10,000, sorted by the bytes of their lines, each name once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList(Vec<DeviceLine>);

impl DeviceList {
    /// The list of these devices, in whatever order they come.
    ///
    /// # Errors
    /// When there are none or too many, or a name is there twice.
    pub fn of(mut lines: Vec<DeviceLine>) -> Result<Self, Invalid> {
        lines.sort_by_cached_key(DeviceLine::key);
        Self::sorted(lines)
    }

    /// Reads a list's bytes, as they travel.
    ///
    /// # Errors
    /// With the line that is wrong: not a device, not in its place, or there twice.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let text = sshsig::text(bytes, DEVICE_LIST_BYTES_MAX);
        let parsed = text.and_then(|text| {
            let lines = (1..).zip(text.lines()).take(ORDER_DEVICES_MAX + 1);
            let lines = lines.map(|(number, line): (usize, _)| {
                line.parse::<DeviceLine>().map_err(|invalid| invalid.of(format!("line {number}")))
            });
            Self::sorted(lines.collect::<Result<_, _>>()?)
        });
        parsed.map_err(|invalid| invalid.of("the list of devices"))
    }

    fn sorted(lines: Vec<DeviceLine>) -> Result<Self, Invalid> {
        if lines.is_empty() {
            return Err(malformed("there is no device: choose at least one"));
        }
        if lines.len() > ORDER_DEVICES_MAX {
            let sentence = format!("there are more than {ORDER_DEVICES_MAX} devices: sign several orders");
            return Err(Invalid::new(Fault::TooLarge, sentence));
        }
        for (number, (line, next)) in (1_usize..).zip(lines.iter().zip(lines.iter().skip(1))) {
            // A name with two serials stands in neighbouring lines, for a space sorts before whatever a name may hold.
            if line.name == next.name {
                return Err(malformed(format!("line {}: the device {} is there twice", number + 1, next.name)));
            }
            if line.key() > next.key() {
                let sentence = format!("line {}: {} stands behind {}: sort by bytes", number + 1, next.name, line.name);
                return Err(malformed(sentence));
            }
        }
        let odd = lines.iter().zip(lines.iter().skip(1)).find(|(a, b)| a.sealed.is_some() != b.sealed.is_some());
        if let Some((line, next)) = odd {
            let sentence = format!("{} or {} lacks its secrets: all lines have them, or none", line.name, next.name);
            return Err(malformed(sentence));
        }
        let sealed = lines.iter().map(|line| line.sealed.as_ref().map_or(0, |sealed| sealed.as_str().len()));
        let bytes = sealed.sum::<usize>().saturating_add(lines.len() * (DEVICE_LINE_BYTES_MAX + 2));
        if lines.iter().any(|line| line.sealed.is_some()) && bytes > DEVICE_LIST_BYTES_MAX {
            let sentence = format!(
                "with their secrets {} devices take more than {DEVICE_LIST_BYTES_MAX} bytes: sign several orders",
                lines.len()
            );
            return Err(Invalid::new(Fault::TooLarge, sentence));
        }
        Ok(Self(lines))
    }

    /// Whether every device has its secrets here; if not, none has.
    pub fn is_sealed(&self) -> bool {
        self.0.first().is_some_and(|line| line.sealed.is_some())
    }

    /// The devices in order; the place of each is its index, from 0.
    pub fn lines(&self) -> &[DeviceLine] {
        &self.0
    }

    /// The text as it travels: a line each.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|line| format!("{line}\n")).collect()
    }

    /// How many there are, as an order says it.
    pub fn count(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    /// The root that an order signs.
    pub fn root(&self) -> Digest {
        Digest(self.tree().edge.root())
    }

    /// The tree over the lines, for the paths of devices.
    pub fn tree(&self) -> DeviceTree {
        let (mut edge, mut tiles) = (Edge::empty(), Tiles::new());
        for line in &self.0 {
            for tile in edge.append(line.leaf()) {
                tiles.insert(tile.level, tile.index, &tile.hashes);
            }
        }
        DeviceTree { edge, tiles }
    }
}

/// The tree over a list of devices: its right edge and the tiles that are full, 32 to 64 bytes a device.
#[derive(Debug)]
pub struct DeviceTree {
    edge: Edge,
    tiles: Tiles,
}

impl DeviceTree {
    /// The path from the line at `place`, from 0, to the root.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn path(&self, place: u64) -> Result<Vec<Hash>, Invalid> {
        inclusion_path(place, self.edge.size(), &(&self.edge, &self.tiles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::verify_inclusion;

    fn list(text: &str) -> Result<DeviceList, Invalid> {
        DeviceList::parse(text.as_bytes())
    }

    fn paths(list: &DeviceList) -> Vec<Vec<Hash>> {
        let tree = list.tree();
        (0..list.count()).map(|place| tree.path(place).unwrap()).collect()
    }

    fn many(count: u64) -> DeviceList {
        DeviceList::of((1..=count).map(|n| format!("web{n} {n}").parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn what_is_no_device_is_shown_a_little_of() {
        for wrong in [format!("{} 1 !", "\u{1b}".repeat(100_000)), format!("web1 {}", "9".repeat(100_000))] {
            let said = wrong.parse::<DeviceLine>().unwrap_err();
            assert!(
                said.sentence.contains("write NAME SERIAL") && said.sentence.len() < 2_000,
                "{}",
                said.sentence.len()
            );
        }
        let said = "web1 1 !".parse::<DeviceLine>().unwrap_err();
        assert!(said.sentence.starts_with("web1") && said.sentence.contains("base64"), "{said}");
    }

    #[test]
    fn a_list_is_sorted_by_bytes_and_read_back() {
        let list = many(12);
        let names: Vec<&str> = list.lines().iter().map(|line| line.name.as_str()).collect();
        assert_eq!(
            names,
            ["web1", "web10", "web11", "web12", "web2", "web3", "web4", "web5", "web6", "web7", "web8", "web9"]
        );
        assert_eq!(DeviceList::parse(list.to_text().as_bytes()).unwrap(), list);
        // `web` sorts before `web-a` as lines: a space is before all that names hold.
        assert_eq!(super::tests::list("web 2\nweb-a 1\nweb1 3\n").unwrap().count(), 3);
    }

    #[test]
    fn every_device_and_nobody_else_finds_itself_under_the_root() {
        for count in [1, 2, 3, 255, 256, 257, 1_000] {
            let list = many(count);
            let (root, paths) = (list.root(), paths(&list));
            for (place, (line, path)) in (0..).zip(list.lines().iter().zip(&paths)) {
                let proved = |line: &DeviceLine, at| verify_inclusion(&line.leaf(), at, count, path, &root.0).is_ok();
                assert!(proved(line, place));
                assert!(!proved(&DeviceLine { serial: line.serial + 1, ..line.clone() }, place), "an older record");
                assert!(!proved(&DeviceLine { name: "db1".parse().unwrap(), ..line.clone() }, place), "another device");
                assert!(count == 1 || !proved(line, (place + 1) % count), "another place");
            }
        }
    }

    #[test]
    fn an_order_that_says_fewer_devices_than_its_root_has_reaches_no_more_than_it_says() {
        for (count, said) in [(2, 1), (3, 2), (4, 3), (5, 4), (8, 5), (9, 8), (12, 7)] {
            let list = many(count);
            let (root, paths) = (list.root(), paths(&list));
            let reached = list.lines().iter().zip(&paths).filter(|(line, path)| {
                (0..said).any(|place| verify_inclusion(&line.leaf(), place, said, path, &root.0).is_ok())
            });
            assert!(reached.count() as u64 <= said, "{said} of {count}");
        }
    }

    #[test]
    fn wrong_lists_are_refused_with_the_line() {
        for (text, hint) in [
            ("", "no device"),
            ("web2 1\nweb1 2\n", "line 2: web1 stands behind web2"),
            ("web1 1\nweb1 2\n", "line 2: the device web1 is there twice"),
            ("web1 2\nweb1 1\n", "twice"),
            ("web1 1\nweb1 1\n", "twice"),
            ("web1\n", "line 1"),
            ("web1 0\n", "line 1"),
            ("web1 01\n", "line 1"),
            ("web1 +1\n", "line 1"),
            ("web1  1\n", "line 1"),
            ("web1 1 \n", "line 1"),
            ("web1 1\n\nweb2 2\n", "line 2"),
            ("WEB1 1\n", "line 1"),
            ("web1.acme 1\n", "line 1"),
            ("web1 18446744073709551616\n", "line 1"),
            ("web1 1\r\n", "CR"),
            ("web1 1\0", "NUL"),
        ] {
            let refused = list(text).unwrap_err();
            assert!(refused.sentence.contains(hint), "{text:?}: {refused}");
        }
        assert!(list("web1 18446744073709551615").is_ok(), "the last line end may be missing");
    }

    #[test]
    fn a_list_has_a_limit() {
        let lines = |count: usize| (0..count).map(|n| format!("w{n:05} {}\n", n + 1)).collect::<String>();
        assert_eq!(list(&lines(ORDER_DEVICES_MAX)).unwrap().count(), ORDER_DEVICES_MAX as u64);
        assert_eq!(list(&lines(ORDER_DEVICES_MAX + 1)).unwrap_err().fault, Fault::TooLarge);
        assert_eq!(list(&"x".repeat(DEVICE_LIST_BYTES_MAX + 1)).unwrap_err().fault, Fault::TooLarge);
    }
}
