//! Signs many times with one question: a passphrase is asked for once, by `ssh-add`, into an ssh-agent of our own that ends
//! with us. A key that the person's own ssh-agent holds (named by its `.pub`) is used there.
//!
//! Private keys never enter this process: it speaks the agent's protocol (draft-ietf-sshm-ssh-agent). Security keys are not
//! asked this way: each signature of theirs is a touch, and `ssh-keygen` says so.

use crate::{
    failure::{Outcome, While, refused},
    home::write_new,
    keygen,
};
use belay_certs::{DeviceAddress, Namespace, PublicKey, digest::random, host_certificate};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Largest answer of an agent that is read, in bytes: a signature has under 2 KiB.
const ANSWER_BYTES_MAX: u32 = 64 << 10;
/// A unix socket's path with its NUL, in bytes (Linux `sun_path`), and what ssh-agent may add to it.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// SSH_AGENTC_REMOVE_ALL_IDENTITIES.
const REMOVE_ALL: u8 = 19;
/// SSH_AGENTC_SIGN_REQUEST.
const SIGN_REQUEST: u8 = 13;
/// SSH_AGENT_SIGN_RESPONSE.
const SIGN_RESPONSE: u8 = 14;
/// SSH_AGENT_RSA_SHA2_512: without it an RSA key signs with SHA-1, which nobody accepts.
const RSA_SHA2_512: u32 = 4;

/// Keys that are ready to sign without a further question.
#[derive(Debug, Default)]
pub struct Signing {
    /// Our own agent, once a key was given to it.
    own: Option<OwnAgent>,
    /// Each key by the path it was named by.
    keys: BTreeMap<PathBuf, Ready>,
}

/// One key.
#[derive(Debug)]
struct Ready {
    public: PublicKey,
    way: Way,
}

/// How it signs.
#[derive(Debug)]
enum Way {
    /// Through this agent; the file is its public half, for `ssh-keygen -Y sign`.
    Agent { stream: UnixStream, socket: OsString, public_file: PathBuf },
    /// By `ssh-keygen`, which asks for a touch each time.
    Keygen,
}

impl Signing {
    /// Makes the key at `path` ready; asks for its passphrase if it has one. `lasts` is how long it may be used at most.
    ///
    /// # Errors
    /// There is no such key, the passphrase is wrong, or no agent can be used.
    pub fn add(&mut self, path: &Path, lasts: Duration) -> Outcome {
        if self.keys.contains_key(path) {
            return Ok(());
        }
        let public = keygen::public(path)?;
        let touched = public.line().starts_with("sk-");
        let way = if touched {
            Way::Keygen
        } else if path.extension().is_some_and(|extension| extension == "pub") {
            let socket = std::env::var_os("SSH_AUTH_SOCK").ok_or_else(|| {
                refused(format!("{} is the public half of a key, and there is no ssh-agent: start one", path.display()))
            })?;
            Way::Agent { stream: connect(&socket)?, socket, public_file: path.to_owned() }
        } else {
            let own = match &mut self.own {
                Some(own) => own,
                none => none.insert(OwnAgent::start()?),
            };
            own.take(path, lasts)?;
            let public_file = own.dir.path().join(format!("{}.pub", self.keys.len()));
            write_new(&public_file, format!("{}\n", public.line()).as_bytes(), 0o600)?;
            let socket = own.socket.clone().into_os_string();
            Way::Agent { stream: connect(&socket)?, socket, public_file }
        };
        self.keys.insert(path.to_owned(), Ready { public, way });
        Ok(())
    }

    /// Signs a document with a key that was made ready.
    ///
    /// # Errors
    /// The key cannot sign, or was not made ready.
    pub fn sign(&self, key: &Path, namespace: Namespace, bytes: &[u8]) -> Outcome<String> {
        match &self.ready(key)?.way {
            Way::Agent { socket, public_file, .. } => keygen::sign_through(socket, public_file, namespace, bytes),
            Way::Keygen => keygen::sign(key, namespace, bytes),
        }
    }

    /// Certifies a device's host key with a device CA that was made ready: exactly one principal, no expiry; checked before
    /// it is given back.
    ///
    /// # Errors
    /// The key cannot sign, was not made ready, or the certificate is not what was asked for.
    pub fn certify(
        &mut self,
        ca: &Path,
        address: &DeviceAddress,
        host_key: &PublicKey,
        serial: u64,
    ) -> Outcome<String> {
        let key = self.keys.get_mut(ca).ok_or_else(|| not_ready(ca))?;
        let Way::Agent { stream, .. } = &mut key.way else { return keygen::certify(ca, address, host_key, serial) };
        let unsigned = host_certificate::to_sign(address, host_key, serial, &key.public, &random()?);
        let signature = ask_to_sign(stream, &key.public, &unsigned)
            .map_err(|failure| failure.of(format!("{} did not sign", ca.display())))?;
        let line = host_certificate::assemble(&unsigned, &signature)?;
        host_certificate::check(&line, address, host_key, serial, std::slice::from_ref(&key.public))?;
        Ok(line)
    }

    fn ready(&self, key: &Path) -> Outcome<&Ready> {
        self.keys.get(key).ok_or_else(|| not_ready(key))
    }
}

fn not_ready(key: &Path) -> crate::failure::Failure {
    refused(format!("{} was not made ready to sign", key.display()))
}

fn connect(socket: &OsString) -> Outcome<UnixStream> {
    UnixStream::connect(socket).during(|| format!("the ssh-agent at {} cannot be used", Path::new(socket).display()))
}

/// An ssh-agent that lives as long as we do: it is the parent of a process that reads from us, and goes when that goes.
#[derive(Debug)]
struct OwnAgent {
    /// Reads our pipe until we are gone, however we go.
    child: Child,
    dir: TempDir,
    socket: PathBuf,
}

impl OwnAgent {
    fn start() -> Outcome<Self> {
        let doing = || "cannot start an ssh-agent".to_owned();
        let mut dir = tempfile::Builder::new().prefix("belay-").tempdir().during(doing)?;
        if dir.path().as_os_str().len() > SOCKET_PATH_BYTES_MAX - "/agent".len() {
            dir = tempfile::Builder::new().prefix("belay-").tempdir_in("/tmp").during(doing)?;
        }
        let socket = dir.path().join("agent");
        let mut command = Command::new("ssh-agent");
        // The agent listens before it starts its command: the line says that it does.
        command.arg("-a").arg(&socket).args(["sh", "-c", "echo ready; exec cat > /dev/null"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().during(doing)?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out.take(16)).read_line(&mut line).during(doing)?;
        }
        let own = Self { child, dir, socket };
        if line.trim() == "ready" { Ok(own) } else { Err(refused("ssh-agent did not start; its message is above")) }
    }

    /// Gives it a key; `ssh-add` asks for the passphrase. The agent forgets the key by itself after `lasts`.
    fn take(&self, key: &Path, lasts: Duration) -> Outcome {
        let seconds = lasts.as_secs().max(1).to_string();
        let mut add = Command::new("ssh-add");
        add.args(["-q", "-t", &seconds, "--"]).arg(key).env("SSH_AUTH_SOCK", &self.socket);
        let status = add.stdout(Stdio::null()).status().during(|| "cannot start ssh-add".to_owned())?;
        if !status.success() {
            return Err(refused(format!("{} cannot be used; ssh-add's own message is above", key.display())));
        }
        Ok(())
    }
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        // It forgets the keys at once, and notices within seconds that its child has ended.
        if let Ok(mut stream) = UnixStream::connect(&self.socket) {
            let _ = tell(&mut stream, &[REMOVE_ALL]).and_then(|()| hear(&mut stream));
        }
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// One signature by the agent: the blob of RFC 4253 section 6.6.
fn ask_to_sign(stream: &mut UnixStream, key: &PublicKey, bytes: &[u8]) -> Outcome<Vec<u8>> {
    let doing = || "the ssh-agent does not answer".to_owned();
    let mut ask = vec![SIGN_REQUEST];
    put(&mut ask, &key.blob());
    put(&mut ask, bytes);
    let flags = if key.line().starts_with("ssh-rsa ") { RSA_SHA2_512 } else { 0 };
    ask.extend_from_slice(&flags.to_be_bytes());
    let answer = tell(stream, &ask).and_then(|()| hear(stream)).during(doing)?;
    let signature = match answer.split_first() {
        Some((&SIGN_RESPONSE, rest)) => rest.split_first_chunk::<4>(),
        Some(_) | None => None,
    };
    match signature {
        Some((length, blob)) if u32::from_be_bytes(*length) as usize == blob.len() => Ok(blob.to_vec()),
        Some(_) | None => Err(refused("the ssh-agent refused: is the key in it, and did you confirm?")),
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn tell(stream: &mut UnixStream, message: &[u8]) -> std::io::Result<()> {
    let mut frame = Vec::with_capacity(message.len() + 4);
    put(&mut frame, message);
    stream.write_all(&frame)
}

fn hear(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > ANSWER_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it says too much"));
    }
    let mut answer = Vec::new();
    stream.take(length.into()).read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::sshsig;

    const LASTS: Duration = Duration::from_secs(60);

    fn key(dir: &Path, name: &str, kind: &[&str]) -> (PathBuf, PublicKey) {
        let path = dir.join(name);
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-N", "", "-C", name]).args(kind).arg("-f").arg(&path).stdin(Stdio::null());
        assert!(make.status().unwrap().success());
        (path.clone(), keygen::public(&path).unwrap())
    }

    #[test]
    fn keys_of_every_kind_certify_and_sign_through_an_agent_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let (_, host_key) = key(dir.path(), "host", &["-t", "ed25519"]);
        let address: DeviceAddress = "web1.acme".parse().unwrap();
        let mut signing = Signing::default();
        let kinds: [&[&str]; 3] = [&["-t", "ed25519"], &["-t", "ecdsa", "-b", "384"], &["-t", "rsa", "-b", "3072"]];
        for (number, kind) in kinds.iter().enumerate() {
            let (path, public) = key(dir.path(), &format!("ca{number}"), kind);
            signing.add(&path, LASTS).unwrap();
            let line = signing.certify(&path, &address, &host_key, 7).unwrap();
            host_certificate::check(&line, &address, &host_key, 7, std::slice::from_ref(&public)).unwrap();
            let armored = signing.sign(&path, Namespace::Device, b"batch\n").unwrap();
            assert_eq!(sshsig::verify(Namespace::Device, b"batch\n", &armored).unwrap(), public);
        }
        let other = dir.path().join("other");
        assert!(signing.certify(&other, &address, &host_key, 7).is_err());
    }

    #[test]
    fn the_agent_ends_with_us_and_forgets_the_keys() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = key(dir.path(), "ca", &["-t", "ed25519"]);
        let mut signing = Signing::default();
        signing.add(&path, LASTS).unwrap();
        let own = signing.own.as_ref().unwrap();
        let (socket, child) = (own.socket.clone(), own.child.id());
        let mut stream = UnixStream::connect(&socket).unwrap();
        drop(signing);
        assert!(!Path::new(&format!("/proc/{child}")).exists());
        // Whoever still has a way to it finds no key there.
        let public = keygen::public(&path).unwrap();
        assert!(ask_to_sign(&mut stream, &public, b"x").is_err());
    }

    #[test]
    fn an_agent_that_says_too_much_or_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_, public) = key(dir.path(), "ca", &["-t", "ed25519"]);
        for answer in [&[0xff_u8, 0xff, 0xff, 0xff][..], &[0, 0, 0, 1, 5], &[0, 0, 0, 5, 14, 0, 0, 0, 9], &[0, 0]] {
            let (mut mine, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(answer).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(ask_to_sign(&mut mine, &public, b"x").is_err(), "{answer:?}");
        }
    }
}
