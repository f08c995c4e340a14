//! The control stream of one connection: hello and welcome, then offers and receipts in, statements and answers out.
//!
//! Reading and writing go side by side, so that a full stream one way never stops the other. What an offer means is decided
//! by whom it is handed to.

use super::{
    facts,
    frames::{self, Ended, Frames},
};
use crate::{
    authority::{AGENT_VERSION, Authority, NotTaken, Taken},
    device::Device,
    limits::{ANSWERS_MAX, NUDGE_EVERY, OFFERS_REFUSED_MAX, SPEAK_WAIT, UNKEPT_MAX, UNKEPT_RETRY, WELCOME_WAIT},
    words::heard,
};
use belay_agent_rules::limits::IN_FLIGHT_MAX;
use belay_certs::{
    Digest, Id, Signed, Timestamp,
    device::{Approval, DeviceRecord},
};
use belay_protocol::{
    AgentPhase, Extensions, Hello, MINOR, Misbehaved, PolicyHeld, PolicyOffered, PolicyRefused, PolicyTaken, RawFrame,
    RecordOffered, RecordRefused, RecordTaken, ToAgent, ToGateway, Welcome, extensions::CERTIFICATE_HELD,
    limits::POLICIES_HELD_MAX, limits::clip_sentence, minor_spoken,
};
use quinn::{Connection, SendStream};
use std::{collections::VecDeque, time::Duration};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

/// The control stream after a welcome.
pub(super) struct Control {
    frames: Frames<AgentPhase>,
    send: SendStream,
}

/// Opens the control stream, says hello and waits for the welcome, all within [`WELCOME_WAIT`]. `connect` alone proves nothing: the gateway judges the
/// client certificate after it.
///
/// Cut off half-way: nothing was changed on either side.
pub(super) async fn greet(connection: &Connection, device: &Device) -> Result<(Control, Welcome), Ended> {
    tokio::time::timeout(WELCOME_WAIT, introduce(connection, device)).await.map_err(|_| Misbehaved::Silent)?
}

/// The greeting, however long it takes.
async fn introduce(connection: &Connection, device: &Device) -> Result<(Control, Welcome), Ended> {
    let (mut send, recv) = connection.open_bi().await.map_err(Ended::lost)?;
    let hello = ToGateway::Hello(hello(&device.authority, device.recorder.last_seq().await));
    frames::write(&mut send, &encode(&hello)?).await?;
    let mut frames = Frames::new(recv, AgentPhase::AwaitingWelcome);
    let frame = frames.next().await?;
    let Some(ToAgent::Welcome(welcome)) = ToAgent::decode(&frame)? else {
        return Err(Misbehaved::Misdirected { kind: frame.kind }.into());
    };
    minor_spoken(welcome.minor)?;
    device.authority.clock().gateway_says(Timestamp::from_micros(welcome.now_micros));
    Ok((Control { frames, send }, welcome))
}

fn hello(authority: &Authority, statement_seq: u64) -> Hello {
    let held = authority.policies().into_iter().take(POLICIES_HELD_MAX);
    Hello {
        minor: MINOR,
        agent_version: AGENT_VERSION.to_owned(),
        policies: held
            .map(|(tenant, version, digest)| PolicyHeld { tenant: tenant.to_string(), version, digest: digest.0 })
            .collect(),
        record_serial: authority.device().map_or(0, |device| device.serial),
        statement_seq,
        facts: facts::facts(),
        extensions: Extensions(
            authority.certificate_held().map(|digest| (CERTIFICATE_HELD, digest.0.to_vec())).into_iter().collect(),
        ),
    }
}

impl Control {
    /// Carries messages until the stream ends. However it ends, and also when it is cut off half-way (the future is dropped),
    /// the caller tells the recorder that the connection is gone and closes it: what was not answered is sent on the next.
    pub(super) async fn run(self, device: &Device, drain: watch::Sender<Option<Duration>>, nudged: &Notify) -> Ended {
        let (answers, to_answer) = mpsc::channel(ANSWERS_MAX);
        let (statements, to_state) = mpsc::channel(IN_FLIGHT_MAX);
        device.recorder.connected(statements).await;
        let mut listener = Listener {
            frames: self.frames,
            device,
            answers: answers.clone(),
            drain,
            offers_refused: 0,
            unkept: VecDeque::new(),
            retry_at: Instant::now(),
        };
        tokio::select! {
            ended = listener.listen() => ended,
            ended = speak(self.send, to_answer, to_state) => ended,
            ended = stir(nudged, &device.authority, answers) => ended,
        }
    }
}

/// Says something that changes nothing each time the gateway nudges: one that was restarted and does not know this connection
/// answers that it is gone.
async fn stir(nudged: &Notify, authority: &Authority, answers: mpsc::Sender<ToGateway>) -> Ended {
    loop {
        nudged.notified().await;
        tracing::debug!("the gateway nudges");
        if let Some((tenant, version, digest)) = authority.policies().into_iter().next() {
            let taken = PolicyTaken { tenant: tenant.to_string(), version, digest: digest.0 };
            if answers.send(ToGateway::PolicyTaken(taken)).await.is_err() {
                return Ended::lost("the control stream ended");
            }
        }
        tokio::time::sleep(NUDGE_EVERY).await;
    }
}

/// Writes what is to be said: short answers first, they free the gateway's hands.
async fn speak(
    mut send: SendStream,
    mut answers: mpsc::Receiver<ToGateway>,
    mut statements: mpsc::Receiver<ToGateway>,
) -> Ended {
    loop {
        let message = tokio::select! {
            biased;
            Some(answer) = answers.recv() => answer,
            statement = statements.recv() => match statement {
                Some(statement) => statement,
                None => return Ended::Broken("the recorder asks for a new connection".to_owned()),
            },
        };
        if let Err(ended) = say(&mut send, &message).await {
            return ended;
        }
    }
}

/// Says one message to a gateway that reads.
async fn say(send: &mut SendStream, message: &ToGateway) -> Result<(), Ended> {
    let frame = encode(message)?;
    let deaf = |_| Ended::lost(format_args!("the gateway has read nothing for {} s", SPEAK_WAIT.as_secs()));
    tokio::time::timeout(SPEAK_WAIT, frames::write(send, &frame)).await.map_err(deaf)?
}

fn encode(message: &ToGateway) -> Result<Vec<u8>, Ended> {
    message.encode().map_err(|unsendable| Ended::Broken(unsendable.to_string()))
}

/// 64 random bits for waits; without a random source, waits are in the middle.
pub(super) fn random() -> u64 {
    belay_certs::digest::random().map_or(u64::MAX / 2, u64::from_be_bytes)
}

/// The reading side.
struct Listener<'a> {
    frames: Frames<AgentPhase>,
    device: &'a Device,
    answers: mpsc::Sender<ToGateway>,
    drain: watch::Sender<Option<Duration>>,
    /// Offers that were not taken on this connection.
    offers_refused: u32,
    /// Policies that could not be kept, in the order they came: what they withdraw must not wait for the next connection.
    unkept: VecDeque<PolicyOffered>,
    /// When they are tried again.
    retry_at: Instant,
}

impl Listener<'_> {
    async fn listen(&mut self) -> Ended {
        loop {
            let unkept = !self.unkept.is_empty();
            let done = tokio::select! {
                biased;
                frame = self.frames.next() => match frame {
                    Ok(frame) => self.hear(frame).await,
                    Err(ended) => Err(ended),
                },
                () = tokio::time::sleep_until(self.retry_at), if unkept => self.keep_again().await,
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    async fn hear(&mut self, frame: RawFrame) -> Result<(), Ended> {
        let Some(message) = ToAgent::decode(&frame)? else {
            tracing::debug!(kind = frame.kind, "a message of an unknown kind was skipped");
            return Ok(());
        };
        match message {
            ToAgent::Welcome(_) => return Err(Misbehaved::Misdirected { kind: frame.kind }.into()),
            ToAgent::PolicyOffered(offered) => self.policy(offered).await?,
            ToAgent::RecordOffered(offered) => self.record(offered).await?,
            ToAgent::ReceiptGiven(receipt) => self.device.recorder.receipt(receipt).await,
            ToAgent::StatementRefused(refused) => self.device.recorder.refused(refused).await,
            ToAgent::Drain(drain) => {
                self.drain.send_replace(Some(Duration::from_millis(drain.within_ms)));
            }
            ToAgent::RunOffered(offer) => self.device.runs.offered(offer, self.answers.clone()).await,
            ToAgent::RunOfferedSealed(offer) => self.device.runs.offered(offer, self.answers.clone()).await,
            ToAgent::RunCancelled(cancelled) => self.device.runs.cancelled(Id(cancelled.order), &cancelled.sentence),
            ToAgent::OutputKept(kept) => self.device.runs.kept(Id(kept.order), kept.offset),
            ToAgent::RecordingKept(kept) => self.device.recordings.kept(Id(kept.session), kept.chunks),
            ToAgent::RecordingRefused(no) => self.device.recordings.refused(Id(no.session), &no.sentence),
        }
        Ok(())
    }

    async fn policy(&mut self, offered: PolicyOffered) -> Result<(), Ended> {
        if !self.unkept.is_empty() {
            // It may follow one that waits.
            return self.keep_later(offered);
        }
        let taken = self.take(&offered).await;
        if let Err(NotTaken::Broken(_)) = &taken {
            self.keep_later(offered.clone())?;
        }
        self.answer_policy(offered, taken).await
    }

    /// Tries once more what could not be kept; room on a disk comes back by a person's hand.
    async fn keep_again(&mut self) -> Result<(), Ended> {
        self.retry_at = Instant::now() + UNKEPT_RETRY;
        while let Some(offered) = self.unkept.pop_front() {
            match self.take(&offered).await {
                Err(NotTaken::Broken(_)) => {
                    self.unkept.push_front(offered);
                    return Ok(());
                }
                taken => self.answer_policy(offered, taken).await?,
            }
        }
        Ok(())
    }

    fn keep_later(&mut self, offered: PolicyOffered) -> Result<(), Ended> {
        if self.unkept.len() >= UNKEPT_MAX {
            return Err(Ended::Broken(format!("{UNKEPT_MAX} policies could not be kept")));
        }
        if self.unkept.is_empty() {
            self.retry_at = Instant::now() + UNKEPT_RETRY;
        }
        self.unkept.push_back(offered);
        Ok(())
    }

    async fn take(&self, offered: &PolicyOffered) -> Result<Taken, NotTaken> {
        let PolicyOffered { tenant, bytes, signatures, .. } = offered.clone();
        let authority = self.device.authority.clone();
        blocking(move || {
            let tenant = tenant.parse().map_err(NotTaken::Refused)?;
            authority.take_policy(&tenant, &Signed { bytes, signatures })
        })
        .await
    }

    async fn answer_policy(&mut self, offered: PolicyOffered, taken: Result<Taken, NotTaken>) -> Result<(), Ended> {
        let PolicyOffered { tenant, version, bytes, .. } = offered;
        let digest = Digest::of(&bytes).0;
        let answer = match taken {
            Ok(taken) => {
                if taken == Taken::Next {
                    tracing::info!(tenant, version, "a new policy is in force");
                }
                ToGateway::PolicyTaken(PolicyTaken { tenant, version, digest })
            }
            Err(not_taken) => {
                let sentence = heard(&not_taken.to_string());
                tracing::warn!(tenant, version, "an offered policy was not taken: {sentence}");
                self.count_refused()?;
                let sentence = clip_sentence(&sentence);
                ToGateway::PolicyRefused(PolicyRefused { tenant, version, digest, sentence })
            }
        };
        self.answer(answer).await;
        Ok(())
    }

    async fn record(&mut self, offered: RecordOffered) -> Result<(), Ended> {
        let approval = Approval {
            record: offered.record,
            index: offered.index,
            path: offered.path,
            batch: Signed { bytes: offered.batch, signatures: vec![offered.batch_signature] },
            certificate: offered.certificate,
        };
        let serial_offered = DeviceRecord::parse(&approval.record).map_or(0, |record| record.serial);
        let authority = self.device.authority.clone();
        let answer = match blocking(move || authority.take_record(&approval)).await {
            Ok(serial) => {
                tracing::info!(device = %self.device.authority.address(), serial, "this machine is approved");
                ToGateway::RecordTaken(RecordTaken { serial })
            }
            Err(not_taken) => {
                let sentence = heard(&not_taken.to_string());
                tracing::warn!(serial = serial_offered, "an offered device record was not taken: {sentence}");
                self.count_refused()?;
                let sentence = clip_sentence(&sentence);
                ToGateway::RecordRefused(RecordRefused { serial: serial_offered, sentence })
            }
        };
        self.answer(answer).await;
        Ok(())
    }

    /// Each refusal is a line in this machine's journal, which a hostile gateway must not fill.
    fn count_refused(&mut self) -> Result<(), Ended> {
        self.offers_refused += 1;
        if self.offers_refused < OFFERS_REFUSED_MAX {
            return Ok(());
        }
        Err(Ended::Broken(format!("{OFFERS_REFUSED_MAX} offers of the gateway could not be taken")))
    }

    /// The writer ends only together with this reader.
    async fn answer(&self, answer: ToGateway) {
        let _ = self.answers.send(answer).await;
    }
}

/// Runs what waits for the disk off the runtime's threads. Cut off half-way it still ends, and its answer is lost: the
/// gateway offers again and is told then.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotTaken> + Send + 'static,
) -> Result<T, NotTaken> {
    let failed = |error: tokio::task::JoinError| {
        let sentence = format!("this agent failed while checking it: {error}");
        Err(NotTaken::Refused(belay_certs::Invalid::new(belay_certs::Fault::Malformed, sentence)))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}
