//! What goes over the socket before the first call, and how a worker describes a failure.
//!
//! Every message starts with a mark and [`crate::VERSION`], so that another program, or our own of another
//! version, is told from a broken one. What a host decodes here may have been written by an attacker:
//! decoding is total and bounded.

mod failure;

use std::fmt;
use std::time::Duration;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::failure::{Failure, FailureKind, TrapKind, encode_failure};
use crate::namespaces::{Handed, Namespace, Namespaces};
use crate::slot::Geometry;
use crate::sys::packet;

const MARK: [u8; 4] = *b"STKD";
const HEADER: usize = 8;

/// More memory than any message needs; fixed-width integers keep a claimed length honest.
const LIMIT: usize = 1 << 20;

fn config() -> Configuration<LittleEndian, Fixint, Limit<LIMIT>> {
    bincode::config::legacy().with_limit::<LIMIT>()
}

/// Why a message could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// It does not come from a program of ours.
    Foreign,
    /// It comes from a program of ours of this version.
    Version(u32),
    /// It is damaged.
    Body,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("it is not a stockade worker program"),
            Self::Version(found) => {
                write!(
                    f,
                    "it speaks version {found} of the worker protocol, this host version {}",
                    crate::VERSION
                )
            }
            Self::Body => f.write_str("it sent a damaged message"),
        }
    }
}

impl std::error::Error for Malformed {}

/// A message as bytes.
///
/// # Panics
/// When the message is longer than 1 MiB, which its maker must prevent.
#[must_use]
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::from(MARK);
    bytes.extend(crate::VERSION.to_le_bytes());
    bincode::serde::encode_into_std_write(message, &mut bytes, config())
        .expect("messages are plain data");
    bytes
}

/// A message from bytes.
///
/// # Errors
/// When they are not a message of this type and version.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    let (mark, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Foreign)?;
    let (version, body) = rest.split_first_chunk::<4>().ok_or(Malformed::Foreign)?;
    if *mark != MARK {
        return Err(Malformed::Foreign);
    }
    match u32::from_le_bytes(*version) {
        crate::VERSION => {}
        other => return Err(Malformed::Version(other)),
    }
    match bincode::serde::decode_from_slice(body, config()) {
        Ok((message, read)) if HEADER + read == bytes.len() => Ok(message),
        _ => Err(Malformed::Body),
    }
}

/// How a module is to be stopped, which decides how it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopBy {
    /// The code checks an epoch at every loop and function entry.
    Epoch,
    /// A signal moves the guest, wherever its code is, to a trap that the compiler has added to it.
    Signal,
    /// The process is killed.
    Kill,
}

/// Whether a call sees what the last one left in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// Each call gets a pristine instance.
    Fresh,
    /// An instance serves until it fails.
    Keep,
}

/// How much of the kernel a process of ours leaves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seal {
    /// Everything that the process does not need is given up, or it does not start.
    Required,
    /// The same, and Landlock must be there.
    Strict,
    /// Nothing is given up beyond what costs nothing.
    None,
}

/// What a compiler process is told. Its descriptors: the module's bytes, the file for the artifact, and what
/// [`Init::Snapshot`] speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompilerSetup {
    /// How calls will be stopped.
    pub stop: StopBy,
    /// The module's length in bytes.
    pub module_bytes: u64,
    /// The CPU time it may use.
    pub cpu_time: Duration,
    /// Whether to give up what it does not need.
    pub seal: Seal,
    /// What has become of the module's initialisation.
    pub init: Init,
}

/// How far the initialisation of a module has come that wants to have something run once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Init {
    /// It has not been tried.
    Due,
    /// It has run, and left a state.
    Snapshot {
        /// The length of its description in bytes.
        dump_bytes: u64,
    },
    /// It is to run in each instance.
    Instance {
        /// Why.
        why: String,
    },
}

/// What a compiler process says. [`Self::Identity`] comes first, so that the host may look for an artifact
/// that a process with the same identity made before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompilerMessage {
    /// Artifacts of programs with the same identity are interchangeable.
    Identity([u8; 32]),
    /// The artifact file holds the code, then the description of the module in JSON.
    Done {
        /// Length of the code in bytes.
        code_bytes: u64,
        /// Length of the description in bytes.
        info_bytes: u64,
    },
    /// The artifact file holds the code of a module whose initialisation is due: have it run, and compile
    /// again.
    InitDue {
        /// Length of the code in bytes.
        code_bytes: u64,
    },
    /// The module was refused.
    Refused {
        /// Whether the bytes are no module that we accept, or one that failed to compile.
        why: CompileRefusal,
        /// What is wrong, and what to do.
        message: String,
    },
}

/// Why a compiler refused a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompileRefusal {
    /// Not a module, or not one that a worker could run.
    Invalid,
    /// A valid module that could not be compiled.
    Failed,
    /// What its initialisation left makes no sense.
    Init,
    /// The process could not be set up.
    Setup,
}

/// What a process is told that runs a module's initialisation. Its descriptors: the file for what that
/// leaves, and the artifact. It speaks as a worker does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitSetup {
    /// How calls will be stopped; the artifact was compiled for that.
    pub stop: StopBy,
    /// The most memory of the instance in bytes.
    pub memory_bytes: u64,
    /// The most elements of its tables, all together.
    pub table_elements: u64,
    /// The stack of wasm code in bytes.
    pub stack_bytes: u64,
    /// What the guest finds: no arguments and no environment.
    pub wasi: WasiSetup,
    /// The longest description of a state in bytes.
    pub dump_bytes_max: u64,
    /// Whether to give up what it does not need.
    pub seal: Seal,
}

/// The most directories that one guest may be granted: each is a descriptor in the worker's first packet.
pub const GRANTS_MAX: usize = 16;

const _: () = assert!(4 + GRANTS_MAX + Handed::FDS_MAX <= packet::FDS_MAX);

/// In a worker with grants, the files that its guest opens have descriptors from this number on. All of the
/// process's own are below, so that its filter can tell them apart.
pub const FILES_FROM: u32 = 64;

/// They end before this number, which is the process's limit of descriptors.
pub const FILES_END: u32 = FILES_FROM + 256;

/// A worker ends with this code rather than serve when an instance was found to hold what an earlier one wrote.
pub const NOT_RESET: i32 = 70;

/// What a worker process is told. Its descriptors: request memory, reply memory, eventfd, artifact, the directory of
/// each grant, and those of [`Self::enter`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSetup {
    /// Its number, for its name.
    pub worker: u64,
    /// The sizes of its slot.
    pub geometry: Geometry,
    /// How calls are stopped; the artifact was compiled for that.
    pub stop: StopBy,
    /// What calls leave to each other.
    pub state: InstanceState,
    /// The most memory of an instance, all memories together, in bytes.
    pub memory_bytes: u64,
    /// How many tables the module has at most.
    pub tables: u32,
    /// The most elements that one of them may ever have, if the module says.
    pub largest_table: Option<u64>,
    /// The most elements of an instance's tables, all together.
    pub table_elements: u64,
    /// The stack of wasm code in bytes.
    pub stack_bytes: u64,
    /// For how long it sleeps without a sign of its host before it ends; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// How many workers its host may have. A fork server's processes are limited by it.
    pub workers_max: u64,
    /// What the guest finds when it asks for arguments, environment, time and randomness.
    pub wasi: WasiSetup,
    /// Whether to give up what it does not need.
    pub seal: Seal,
    /// What another worker of the same host has handed over.
    pub enter: Handed,
}

/// The world as a guest sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasiSetup {
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// The time that every clock shows, since the epoch; the system's clocks otherwise.
    pub clock: Option<Duration>,
    /// The seed of all randomness, the same for every instance; the system's otherwise.
    pub random_seed: Option<u64>,
    /// Whether to keep what is written to stdout and stderr.
    pub keep_output: [bool; 2],
    /// The directories that it may use.
    pub grants: Vec<Grant>,
    /// The longest file that it may make in them, in bytes.
    pub file_bytes_max: u64,
}

/// A directory that a guest may use, and everything below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where the guest finds it.
    pub guest_path: String,
    /// Whether the guest may change it.
    pub write: bool,
}

/// The standard input of a command, as bytes that cross the codec in one piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stdin(pub Vec<u8>);

impl Serialize for Stdin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Stdin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl serde::de::Visitor<'_> for Whole {
            type Value = Stdin;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Stdin, E> {
                Ok(Stdin(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Whole)
    }
}

/// What a worker process says before its first call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerMessage {
    /// Namespaces that it has made, for later workers to enter; their descriptors come with it. At most once, first, and
    /// before it looks at its artifact.
    Handed(Handed),
    /// The artifact is loaded and all walls stand; the module's own start code runs next. The last word of a process
    /// that has not run any of the module's code.
    ///
    /// With it, which namespaces it has.
    Loaded(Namespaces),
    /// Ready for calls.
    Ready,
    /// It cannot serve.
    Refused {
        /// What failed.
        why: WorkerRefusal,
        /// What is wrong.
        message: String,
    },
}

/// Why a worker cannot serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerRefusal {
    /// The artifact was made by a program that differs: compile again.
    Artifact,
    /// The module's start function, constructors or `_initialize` failed, or its needs exceed its limits.
    Init,
    /// A granted directory is of no use to the user that the process runs as.
    Grant,
    /// The module's initialisation ran, but what it left is too large to be kept.
    Dump,
    /// The process could not be set up.
    Setup,
}

/// A wall that a probe tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trial {
    /// It has no descriptor of whoever started it.
    Descriptors,
    /// Nothing of the application's environment is left.
    Environment,
    /// It dies with whoever started it.
    DeathString,
    /// Other processes of its user cannot look into it.
    NotDumpable,
    /// It can open no file.
    Landlock,
    /// A new instance does not hold what an earlier one wrote.
    ResetProof,
    /// Nothing is writable and executable, so that what cannot be made so never is.
    NoNewCode,
    /// It is in a namespace of its own.
    Namespace(Namespace),
}

/// What a probe process says. It needs to be told nothing.
///
/// It is believed: it runs the worker program and has seen no module but its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeMessage {
    /// A wall was tried; the reason says why it does not stand.
    Tried(Trial, Option<String>),
    /// Everything was tried that can be told of. What comes next must end the process: it opens a file.
    Over,
    /// It could not be set up or sealed.
    Refused(String),
}

/// What precedes the request of a host call: how long the function's name is, which comes next.
#[must_use]
pub fn host_call_header(name_bytes: u32) -> [u8; 4] {
    name_bytes.to_le_bytes()
}

/// The function's name and the request of a host call; `None` when it is damaged.
#[must_use]
pub fn split_host_call(payload: &[u8]) -> Option<(&str, &[u8])> {
    let (header, rest) = payload.split_first_chunk::<4>()?;
    let name_bytes = u32::from_le_bytes(*header).try_into().ok()?;
    let (name, request) = rest.split_at_checked(name_bytes)?;
    Some((std::str::from_utf8(name).ok()?, request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_another_version_says_so() {
        let mut bytes = encode(&WorkerMessage::Ready);
        assert_eq!(decode(&bytes), Ok(WorkerMessage::Ready));
        bytes[4] = 99;
        assert_eq!(decode::<WorkerMessage>(&bytes), Err(Malformed::Version(99)));
        assert_eq!(
            decode::<WorkerMessage>(b"HTTP/1.1 200 OK"),
            Err(Malformed::Foreign)
        );
        assert_eq!(decode::<WorkerMessage>(b""), Err(Malformed::Foreign));
    }

    #[test]
    fn every_cut_of_a_message_is_an_error_and_none_a_panic() {
        let failure = Failure {
            kind: FailureKind::Panic {
                message: "no".into(),
                location: "a.rs:1:2".into(),
            },
            backtrace: Some("0: f".into()),
        };
        let whole = encode_failure(failure.clone());
        assert_eq!(decode(&whole), Ok(failure));
        for cut in 0..whole.len() {
            assert!(decode::<Failure>(&whole[..cut]).is_err());
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(decode::<Failure>(&longer), Err(Malformed::Body));
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut bytes = encode(&0u8);
        bytes.truncate(HEADER);
        bytes.extend(1u32.to_le_bytes());
        bytes.extend((1u64 << 62).to_le_bytes());
        assert_eq!(decode::<Failure>(&bytes), Err(Malformed::Body));
    }
}
