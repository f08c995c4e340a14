//! Which message is legal when: one table for each side. What a message means, and whether it is true, is decided elsewhere.
//!
//! The reader asks these tables before it keeps a byte of a body, so nobody can forget to.

use crate::kinds::{known, name};
use crate::message::Message;
use crate::misbehaved::Misbehaved;
use crate::{
    CertificateIssued, Drain, Hello, JoinAccepted, JoinAsked, JoinRefused, Open, OutputBegun, OutputKept,
    PolicyOffered, PolicyRefused, PolicyTaken, ReceiptGiven, RecordOffered, RecordRefused, RecordTaken, RecordingBegun,
    RecordingChunk, RecordingKept, RecordingRefused, RenewalAsked, RunCancelled, RunDeclined, RunOffered,
    RunOfferedSealed, StatementMade, StatementRefused, Welcome,
};

/// What one side may hear on one stream at this point.
pub trait Phase: Copy + PartialEq + Sized + 'static {
    /// Every phase of this side.
    const ALL: &[Self];
    /// Rows of (phase, kinds that are legal in it, the phase after any of them).
    const TABLE: &[(Self, &'static [u16], Self)];

    /// The phase in words, as PROTOCOL.md and errors name it.
    fn words(self) -> &'static str;

    /// Whether kinds that this build does not know are skipped; elsewhere they are as wrong as any other.
    fn skips_unknown(self) -> bool;

    /// The phase after a message of `kind`, or none when it is not legal now. An unknown kind that may be skipped changes nothing.
    fn after(self, kind: u16) -> Option<Self> {
        if !known(kind) {
            return self.skips_unknown().then_some(self);
        }
        Self::TABLE.iter().find(|(phase, kinds, _)| *phase == self && kinds.contains(&kind)).map(|(_, _, next)| *next)
    }

    /// Moves on by one message, or says how the peer misbehaved and stays.
    fn accept(&mut self, kind: u16) -> Result<(), Misbehaved> {
        *self = self.after(kind).ok_or(Misbehaved::OutOfPhase { kind, phase: self.words() })?;
        Ok(())
    }

    /// The names of the known messages that are legal now, in the order of the table.
    fn legal(self) -> Vec<&'static str> {
        let rows = Self::TABLE.iter().filter(|(phase, _, _)| *phase == self);
        rows.flat_map(|(_, kinds, _)| kinds.iter().map(|kind| name(*kind))).collect()
    }
}

/// Where a gateway stands with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GatewayPhase {
    /// Control stream: nothing was said yet.
    AwaitingHello,
    /// Control stream: the device said hello.
    Ready,
    /// Join stream: nothing was said yet.
    AwaitingJoin,
    /// Join stream: the machine asked, and says nothing more.
    JoinHeard,
    /// Output or recording stream: nothing was said yet.
    AwaitingUpload,
    /// Output stream: it was begun, and what follows is raw.
    TakingOutput,
    /// Recording stream: it was begun, and chunks follow.
    TakingRecording,
}

impl Phase for GatewayPhase {
    const ALL: &[Self] = &[
        Self::AwaitingHello,
        Self::Ready,
        Self::AwaitingJoin,
        Self::JoinHeard,
        Self::AwaitingUpload,
        Self::TakingOutput,
        Self::TakingRecording,
    ];
    const TABLE: &[(Self, &'static [u16], Self)] = &[
        (Self::AwaitingHello, &[Hello::KIND], Self::Ready),
        (
            Self::Ready,
            &[
                StatementMade::KIND,
                PolicyTaken::KIND,
                PolicyRefused::KIND,
                RecordTaken::KIND,
                RecordRefused::KIND,
                RunDeclined::KIND,
            ],
            Self::Ready,
        ),
        (Self::AwaitingJoin, &[JoinAsked::KIND, RenewalAsked::KIND], Self::JoinHeard),
        (Self::AwaitingUpload, &[OutputBegun::KIND], Self::TakingOutput),
        (Self::AwaitingUpload, &[RecordingBegun::KIND], Self::TakingRecording),
        (Self::TakingRecording, &[RecordingChunk::KIND], Self::TakingRecording),
    ];

    fn words(self) -> &'static str {
        match self {
            Self::AwaitingHello => "the gateway awaits a hello",
            Self::Ready => "the gateway is ready",
            Self::AwaitingJoin => "the gateway awaits a join",
            Self::JoinHeard => "the gateway heard a join",
            Self::AwaitingUpload => "the gateway awaits an upload",
            Self::TakingOutput => "the gateway takes an output",
            Self::TakingRecording => "the gateway takes a recording",
        }
    }

    fn skips_unknown(self) -> bool {
        match self {
            Self::Ready => true,
            Self::AwaitingHello
            | Self::AwaitingJoin
            | Self::JoinHeard
            | Self::AwaitingUpload
            | Self::TakingOutput
            | Self::TakingRecording => false,
        }
    }
}

/// Where an agent stands with its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentPhase {
    /// Control stream: hello was sent.
    AwaitingWelcome,
    /// Control stream: the gateway answered.
    Ready,
    /// Control stream: the gateway is about to stop. Receipts and policies still count: an end of a grant must land.
    Draining,
    /// Join stream: the question was sent.
    AwaitingAnswer,
    /// Join stream: the gateway answered, and says nothing more.
    Answered,
    /// Session stream: the gateway opened it.
    AwaitingOpen,
    /// Session stream: raw bytes from here on, which are never given to a frame reader.
    Raw,
}

/// What a gateway may say at any time between welcome and close.
const NEWS: &[u16] = &[
    PolicyOffered::KIND,
    RecordOffered::KIND,
    ReceiptGiven::KIND,
    StatementRefused::KIND,
    RunOffered::KIND,
    RunCancelled::KIND,
    OutputKept::KIND,
    RecordingKept::KIND,
    RecordingRefused::KIND,
    RunOfferedSealed::KIND,
];

impl Phase for AgentPhase {
    const ALL: &[Self] = &[
        Self::AwaitingWelcome,
        Self::Ready,
        Self::Draining,
        Self::AwaitingAnswer,
        Self::Answered,
        Self::AwaitingOpen,
        Self::Raw,
    ];
    const TABLE: &[(Self, &'static [u16], Self)] = &[
        (Self::AwaitingWelcome, &[Welcome::KIND], Self::Ready),
        (Self::Ready, NEWS, Self::Ready),
        (Self::Ready, &[Drain::KIND], Self::Draining),
        (Self::Draining, NEWS, Self::Draining),
        (Self::AwaitingAnswer, &[JoinAccepted::KIND, JoinRefused::KIND, CertificateIssued::KIND], Self::Answered),
        (Self::AwaitingOpen, &[Open::KIND], Self::Raw),
    ];

    fn words(self) -> &'static str {
        match self {
            Self::AwaitingWelcome => "the agent awaits a welcome",
            Self::Ready => "the agent is ready",
            Self::Draining => "the agent is draining",
            Self::AwaitingAnswer => "the agent awaits a join answer",
            Self::Answered => "the agent heard its join answer",
            Self::AwaitingOpen => "the agent awaits an open",
            Self::Raw => "the agent carries raw bytes",
        }
    }

    fn skips_unknown(self) -> bool {
        match self {
            Self::Ready | Self::Draining => true,
            Self::AwaitingWelcome | Self::AwaitingAnswer | Self::Answered | Self::AwaitingOpen | Self::Raw => false,
        }
    }
}
