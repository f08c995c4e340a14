//! Talks to a gateway through the person's own `ssh`: one command, its input, its output.
//!
//! What the answers mean is not here, and nothing of them is believed here.

mod lines;

pub use lines::HangUp;

use crate::{
    failure::{Failure, Outcome, While, refused, usage},
    home::{Home, write_whole},
    screen::escape_lines,
    ssh_config::{host_key_algorithms, known_hosts_line, known_hosts_pattern},
};
use belay_certs::{Digest, PublicKey, digest::hex, policy};
use std::{
    io::{IsTerminal, Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

/// Largest answer kept in memory, in bytes: 10,000 pending devices with their documents fit.
const ANSWER_BYTES_MAX: u64 = 128 << 20;
/// Largest message on standard error that is kept, in bytes: a sentence, and ssh's own warnings.
const MESSAGE_BYTES_MAX: u64 = 16 << 10;
/// Longest word of a command, in bytes: tenant, device, pattern, number.
const WORD_BYTES_MAX: usize = 256;
/// Longest quoted words of a person, in bytes: what is left of a command's line beside the rest.
const QUOTED_BYTES_MAX: usize = 3_500;
/// Gateways asked at once, each an ssh process of about 10 MB; and files written at once.
const AT_ONCE_MAX: usize = 16;
/// The status with which ssh says that there was no connection.
const SSH_FAILED: i32 = 255;

/// Where a gateway's ssh door is and which host keys it has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The keys of which it must show one; sorted.
    pub host_keys: Vec<PublicKey>,
}

impl Route {
    /// The route of `HOST:PORT` (an IPv6 address in brackets) with these host keys.
    ///
    /// # Errors
    /// The address is not one, or there is no key.
    pub fn new(address: &str, host_keys: &[PublicKey]) -> Outcome<Self> {
        let wrong = || refused(format!("{address:?} is not a gateway's address: write HOST:PORT, as gw.example:2222"));
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let legal = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if bare.is_empty() || bare.starts_with('-') || !bare.chars().all(legal) || (bare.contains(':') && bare == host)
        {
            return Err(wrong());
        }
        let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        if host_keys.is_empty() {
            return Err(refused(format!("no host key is known for {address}: nothing is ever trusted on first use")));
        }
        let mut host_keys = host_keys.to_vec();
        host_keys.sort();
        host_keys.dedup();
        Ok(Self { host: bare.to_owned(), port, host_keys })
    }

    /// The route that a verified policy names.
    ///
    /// # Errors
    /// Its address is not one.
    pub fn of(policy: &policy::Policy) -> Outcome<Self> {
        Self::new(&policy.gateway.ssh, &policy.gateway.ssh_host_keys)
    }
}

/// A gateway that can be asked.
#[derive(Debug, Clone)]
pub struct Gateway<'a> {
    home: &'a Home,
    route: Route,
}

impl<'a> Gateway<'a> {
    /// The gateway at `route`, spoken to as the home's person.
    pub fn new(home: &'a Home, route: Route) -> Self {
        Self { home, route }
    }

    /// Runs one command there and gives back what it printed.
    ///
    /// # Errors
    /// ssh could not connect, or the gateway said no: its own sentence.
    pub fn run(&self, words: &[&str], input: &[u8]) -> Outcome<Vec<u8>> {
        let mut answer = Vec::new();
        self.run_into(words, input, &mut answer, ANSWER_BYTES_MAX)?;
        Ok(answer)
    }

    /// Runs one command and parses what it printed as JSON.
    ///
    /// # Errors
    /// As [`Gateway::run`], or the answer is not what was asked for.
    pub fn ask<T: serde::de::DeserializeOwned>(&self, words: &[&str]) -> Outcome<T> {
        let answer = self.run(words, &[])?;
        serde_json::from_slice(&answer)
            .during(|| format!("the gateway's answer to `{}` is not understood", words.join(" ")))
    }

    /// Runs one command and writes what it printed into `out`, at most `bytes_max`.
    ///
    /// # Errors
    /// As [`Gateway::run`], `out` cannot be written, or the answer is too long.
    pub fn run_into(&self, words: &[&str], input: &[u8], out: &mut dyn Write, bytes_max: u64) -> Outcome {
        check_words(words)?;
        let mut child = self.command(words)?.spawn().during(|| "cannot start ssh".to_owned())?;
        let message = converse(&mut child, input, out, bytes_max);
        if message.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().during(|| "cannot wait for ssh".to_owned())?;
        verdict(&self.route, status.code(), &message?)
    }

    fn command(&self, words: &[&str]) -> Outcome<Command> {
        let hosts = self.known_hosts()?;
        let mut ssh = Command::new(self.program());
        ssh.args(["-F", "none", "-T", "-x", "-a", "-l", "belay", "-p", &self.route.port.to_string()]);
        for option in self.options(&hosts) {
            ssh.arg("-o").arg(option);
        }
        ssh.arg("--").arg(&self.route.host).args(words);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(ssh)
    }

    #[cfg(not(test))]
    fn program(&self) -> PathBuf {
        PathBuf::from("ssh")
    }

    /// In tests a script of the home may stand in for ssh and the gateway behind it.
    #[cfg(test)]
    fn program(&self) -> PathBuf {
        Some(self.home.dir().join("ssh")).filter(|script| script.exists()).unwrap_or_else(|| PathBuf::from("ssh"))
    }

    fn options(&self, known_hosts: &str) -> Vec<String> {
        let mut options = vec![
            format!("UserKnownHostsFile=\"{known_hosts}\""),
            format!("HostKeyAlgorithms={}", host_key_algorithms(&self.route.host_keys)),
        ];
        let fixed = [
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
            "CheckHostIP=no",
            "IdentitiesOnly=yes",
            "PreferredAuthentications=publickey",
            "ControlMaster=no",
            "ControlPath=none",
            "LogLevel=ERROR",
            "ConnectTimeout=10",
            "ServerAliveInterval=15",
        ];
        options.extend(fixed.map(str::to_owned));
        if let Some(identity) = self.home.identity() {
            options.push(format!("IdentityFile=\"{}\"", identity.display().to_string().replace('%', "%%")));
        }
        if !std::io::stdin().is_terminal() {
            options.push("BatchMode=yes".to_owned());
        }
        options
    }

    /// A file named after what is in it, so that two commands at once never disagree about it.
    fn known_hosts(&self) -> Outcome<String> {
        let Route { host, port, host_keys } = &self.route;
        let pattern = known_hosts_pattern(host, *port);
        let text: String = host_keys.iter().map(|key| known_hosts_line(&pattern, key)).collect();
        let name: String = hex(&Digest::of(text.as_bytes()).0).chars().take(32).collect();
        let path: PathBuf = self.home.dir().join("gateways").join(name);
        if std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            write_whole(&path, text.as_bytes(), 0o600)?;
        }
        let path = path.display().to_string();
        if path.contains(['"', '\n']) || path.contains("${") {
            return Err(usage(format!("ssh cannot be given the path {path:?}: choose another --home")));
        }
        Ok(path.replace('%', "%%"))
    }
}

/// The first answer, where one gateway among several has what is asked for.
///
/// # Errors
/// None has: what the last of them said; that one could not be asked is said rather than that another has not.
pub fn first<A>(answers: impl IntoIterator<Item = Outcome<A>>) -> Outcome<A> {
    let mut why = None;
    for answer in answers {
        match answer {
            Ok(found) => return Ok(found),
            Err(failure) if !matches!(why, Some(Failure::Unreachable(_))) => why = Some(failure),
            Err(_) => {}
        }
    }
    Err(why.unwrap_or_else(|| refused("no gateway is known")))
}

/// What `ask` gives for each, in the same order, with at most [`AT_ONCE_MAX`] under way: gateways that do not answer cost the
/// time of one.
pub fn at_once<Q: Sync, A: Send>(questions: &[Q], ask: impl Fn(&Q) -> A + Sync) -> Vec<A> {
    let ask = &ask;
    let mut answers = Vec::with_capacity(questions.len());
    for some in questions.chunks(AT_ONCE_MAX) {
        thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|question| scope.spawn(move || ask(question))).collect();
            answers.extend(asked.into_iter().filter_map(|thread| thread.join().ok()));
        });
    }
    answers
}

/// A person's own words as one word of a command.
///
/// # Errors
/// There are none, they hold a character that nobody can see, or are too many.
pub fn quoted(text: &str) -> Outcome<String> {
    let is_shown = escape_lines(text) == text && !text.contains(char::is_control);
    if text.is_empty() || text.len() > QUOTED_BYTES_MAX || !is_shown {
        return Err(usage(format!("write one line of at most {QUOTED_BYTES_MAX} bytes")));
    }
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}

fn is_quoted(word: &str) -> bool {
    let inside = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inside.is_some_and(|inside| quoted(&inside.replace("'\\''", "'")).is_ok_and(|again| again == word))
}

/// The far end splits at spaces: a word that would come apart there, or be taken for an option, is refused here.
fn check_words(words: &[&str]) -> Outcome {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.*?:@/".contains(c);
    for word in words.iter().filter(|word| !is_quoted(word)) {
        if word.is_empty() || word.len() > WORD_BYTES_MAX || !word.chars().all(legal) {
            return Err(usage(format!(
                "{word:?} cannot be sent to the gateway: use letters, digits and - _ . * ? : @ /"
            )));
        }
    }
    Ok(())
}

/// Feeds the input, takes the output and the message, all three at once so that neither side waits for the other.
fn converse(child: &mut Child, input: &[u8], out: &mut dyn Write, bytes_max: u64) -> Outcome<String> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // A gateway that refuses early closes its end: its sentence says why, the broken pipe does not.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
        let message = scope.spawn(move || {
            let mut kept = Vec::new();
            if let Some(mut pipe) = stderr {
                let _ = pipe.by_ref().take(MESSAGE_BYTES_MAX).read_to_end(&mut kept);
                let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            }
            String::from_utf8_lossy(&kept).into_owned()
        });
        let copied = match stdout {
            Some(pipe) => std::io::copy(&mut pipe.take(bytes_max + 1), out),
            None => Ok(0),
        };
        let complete = matches!(&copied, Ok(count) if *count <= bytes_max);
        if !complete {
            let _ = child.kill();
        }
        let message = message.join().unwrap_or_default();
        match copied.during(|| "cannot keep the gateway's answer".to_owned())? {
            _ if complete => Ok(message),
            _ => Err(refused(format!("the gateway's answer is longer than {bytes_max} bytes"))),
        }
    })
}

fn verdict(route: &Route, status: Option<i32>, message: &str) -> Outcome {
    let message = escape_lines(message.trim()).replace('\r', "");
    let at = format!("{}:{}", route.host, route.port);
    match status {
        Some(0) => {
            if !message.is_empty() {
                crate::screen::note(&message);
            }
            Ok(())
        }
        Some(SSH_FAILED) => Err(Failure::Unreachable(format!("no connection to the gateway at {at}: {message}"))),
        Some(2) => Err(usage(message)),
        _ if message.is_empty() => {
            Err(Failure::Unreachable(format!("the gateway at {at} ended the command without a word")))
        }
        _ => Err(Failure::Gateway(message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH2+cmjnfuD/db9mh+JhJr5hGTbr00jcpmir2AVX4d5q";

    fn key() -> PublicKey {
        KEY.parse().unwrap()
    }

    #[test]
    fn a_route_is_a_host_a_port_and_keys() {
        let route = Route::new("[::1]:2222", &[key(), key()]).unwrap();
        assert_eq!((route.host.as_str(), route.port, route.host_keys.len()), ("::1", 2222, 1));
        for address in
            ["gw.example", "gw.example:0", "gw example:22", "-oProxyCommand=x:22", "::1:22", ":22", "a;b:22", "a:70000"]
        {
            assert!(Route::new(address, &[key()]).is_err(), "{address}");
        }
        assert!(Route::new("gw.example:22", &[]).unwrap_err().sentence().contains("first use"));
    }

    #[test]
    fn words_that_would_come_apart_on_the_far_side_are_refused() {
        assert!(check_words(&["devices", "web*", "--json"]).is_ok());
        let own = quoted("it's a \"stolen\" laptop; $(x)").unwrap();
        assert_eq!(own, "'it'\\''s a \"stolen\" laptop; $(x)'");
        assert!(check_words(&["freeze", "acme", "--reason", &own]).is_ok());
        for word in ["'", "'a' 'b'", "'a'b'", "'a\nb'"] {
            assert!(check_words(&[word]).is_err(), "{word:?}");
        }
        for word in ["", "a b", "a\nb", "$(x)", "a'b", "a\u{202e}b", &"x".repeat(257)] {
            assert!(check_words(&[word]).is_err(), "{word:?}");
        }
    }

    #[test]
    fn the_gateways_sentence_and_status_are_handed_on_escaped() {
        let route = Route::new("gw.example:22", &[key()]).unwrap();
        let refusal = verdict(&route, Some(1), "no such device\u{1b}[2J\r\n").unwrap_err();
        assert_eq!((refusal.status(), refusal.sentence()), (1, "no such device\\u{1b}[2J"));
        assert_eq!(verdict(&route, Some(2), "usage").unwrap_err().status(), 2);
        assert!(verdict(&route, Some(255), "Connection refused").unwrap_err().sentence().contains("gw.example:22"));
        assert!(verdict(&route, None, "").is_err());
        assert!(verdict(&route, Some(0), "").is_ok());
    }

    #[test]
    fn input_output_and_message_pass_at_once_and_too_much_is_cut_off() {
        let start = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let input = vec![7; 300_000];
        let (mut one, mut out) = (start("cat; echo told >&2"), Vec::new());
        assert_eq!(converse(&mut one, &input, &mut out, 300_000).unwrap(), "told\n");
        assert_eq!(out, input);
        assert!(one.wait().unwrap().success());
        let mut endless = start("exec yes");
        assert!(converse(&mut endless, &[], &mut Vec::new(), 1000).unwrap_err().sentence().contains("longer"));
        assert!(!endless.wait().unwrap().success());
    }
}
