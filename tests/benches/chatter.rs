//! What shells show, made up: log lines, listings, requests, processes and prompts, from a vocabulary whose words are as rare
//! as words are. The same number makes the same text, everywhere.
//!
//! Not here: recordings of it (`searched`).

use std::fmt::Write as _;

/// Words of the vocabulary: what a large installation's logs have.
const WORDS: usize = 40_000;
/// What words are made of.
const SYLLABLES: &[&str] = &[
    "ba", "con", "der", "es", "fi", "gra", "hu", "in", "jo", "ker", "lo", "mis", "net", "or", "pro", "qui", "re",
    "ser", "tor", "un", "ver", "wor", "xen", "yl", "zo", "sys", "ing", "tion", "ate", "log",
];
/// Programs that say something to the system log, the most talkative first.
const PROGRAMS: &[&str] =
    &["kernel", "systemd", "sshd", "nginx", "postfix/smtpd", "cron", "dockerd", "kubelet", "named", "chronyd"];
const MONTHS: &[&str] = &["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Says lines, one after the other.
#[derive(Debug)]
pub struct Chatter {
    state: u64,
}

impl Chatter {
    /// The one of this number.
    pub fn new(number: u64) -> Self {
        Self { state: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A rank from 0, each as rare as Zipf has it: the probability of rank n is in proportion to 1 / n.
    fn rank(&mut self, count: usize) -> usize {
        let u = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (((count as f64 + 1.0).ln() * u).exp() as usize).saturating_sub(1).min(count.saturating_sub(1))
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        let rank = self.rank(all.len());
        all.get(rank).copied().unwrap_or_default()
    }

    fn words(&mut self, count: u64, line: &mut String) {
        for number in 0..count {
            if number > 0 {
                line.push(' ');
            }
            let rank = self.rank(WORDS);
            word(rank, line);
        }
    }

    fn path(&mut self, line: &mut String) {
        line.push_str(self.one_of(&["/var", "/usr", "/etc", "/home", "/srv", "/opt"]));
        for _ in 0..2 + self.below(3) {
            line.push('/');
            let rank = self.rank(WORDS);
            word(rank, line);
        }
        line.push_str(self.one_of(&["", ".log", ".conf", ".gz", ".service", ".py"]));
    }

    fn clock(&mut self, line: &mut String) {
        let (month, day) = (self.below(12) as usize, 1 + self.below(28));
        let (hour, minute, second) = (self.below(24), self.below(60), self.below(60));
        let _ = write!(
            line,
            "{} {day:2} {hour:02}:{minute:02}:{second:02}",
            MONTHS.get(month).copied().unwrap_or_default()
        );
    }

    fn address(&mut self, line: &mut String) {
        let _ = write!(line, "10.{}.{}.{}", self.rank(64), self.below(256), self.below(256));
    }

    /// Appends one line without its end.
    pub fn line(&mut self, line: &mut String) {
        match self.below(10) {
            0..=3 => {
                self.clock(line);
                let _ = write!(line, " host{} ", self.rank(200));
                line.push_str(self.one_of(PROGRAMS));
                let _ = write!(line, "[{}]: ", 300 + self.below(65_000));
                let count = 4 + self.below(12);
                self.words(count, line);
                let _ = write!(line, " ({} ms)", self.rank(100_000));
            }
            4 | 5 => {
                self.address(line);
                let day = 1 + self.below(28);
                let second = self.below(60);
                let _ = write!(line, " - - [{day:02}/Nov/2026:11:{second:02}:{second:02} +0000] \"GET ");
                self.path(line);
                let _ = write!(
                    line,
                    " HTTP/1.1\" {} {}",
                    self.one_of(&["200", "304", "404", "301", "500"]),
                    self.rank(1_000_000)
                );
            }
            6 | 7 => {
                let _ = write!(
                    line,
                    "-rw-r--r-- 1 root {} {:9} ",
                    self.one_of(&["root", "adm", "www-data"]),
                    self.rank(50_000_000)
                );
                self.clock(line);
                line.push(' ');
                self.path(line);
            }
            8 => {
                let _ = write!(line, "{:016x} ", self.next());
                let count = 2 + self.below(8);
                self.words(count, line);
            }
            _ => {
                let _ = write!(line, "root@host{}:~# ", self.rank(200));
                line.push_str(self.one_of(&[
                    "grep -r",
                    "cat",
                    "tail -n 100",
                    "ls -la",
                    "systemctl status",
                    "vi",
                    "less",
                ]));
                line.push(' ');
                self.path(line);
            }
        }
    }
}

/// The word of a rank: short ones first, as in every language; no two are the same.
fn word(mut rank: usize, line: &mut String) {
    let base = SYLLABLES.len();
    loop {
        line.push_str(SYLLABLES.get(rank % base).copied().unwrap_or_default());
        if rank < base {
            return;
        }
        rank = rank / base - 1;
    }
}
