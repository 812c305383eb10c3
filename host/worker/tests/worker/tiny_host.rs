//! The smallest host there can be: it starts the real program, and speaks to it over the wire crate.
#![expect(
    clippy::unwrap_used,
    reason = "a part of tests: what fails here fails the test that called it"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::de::DeserializeOwned;
use stockade_wire::message::{
    self, CompileRefusal, CompilerMessage, CompilerSetup, Failure, Init, InstanceState, Seal,
    StopBy, WasiSetup, WorkerMessage, WorkerRefusal, WorkerSetup,
};
use stockade_wire::module_info::ModuleInfo;
use stockade_wire::namespaces::Handed;
use stockade_wire::role::{Assignment, Role, VARIABLE};
use stockade_wire::slot::{Geometry, HostSlot, Linger, ReplyKind, Seen};
use stockade_wire::sys::{memfd, packet};
use stockade_worker::InstanceLimits;

/// A bound on waits that must end: long enough for a machine that does other things.
const LIVENESS: Duration = Duration::from_secs(60);

/// What a test varies.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) seal: Seal,
    pub(crate) state: InstanceState,
    pub(crate) stop: StopBy,
    pub(crate) memory_bytes: u64,
    pub(crate) table_elements: u64,
    pub(crate) payload_bytes: usize,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) wasi: WasiSetup,
    pub(crate) uid: Option<u32>,
    /// Whether this test program serves as its own worker.
    pub(crate) embedded: bool,
    /// Whether somebody polls for the first reply: then the worker proves its reset after that.
    pub(crate) polled_for: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seal: Seal::Required,
            state: InstanceState::Fresh,
            stop: StopBy::Epoch,
            memory_bytes: 16 << 20,
            table_elements: 10_000,
            payload_bytes: 1 << 20,
            idle_timeout: None,
            wasi: WasiSetup {
                keep_output: [true; 2],
                ..WasiSetup::default()
            },
            uid: None,
            embedded: false,
            polled_for: false,
        }
    }
}

struct Process {
    child: Child,
    socket: OwnedFd,
}

impl Process {
    fn start(role: Role, options: &Options) -> Self {
        let (socket, theirs) = packet::pair().unwrap();
        let assignment = Assignment {
            role,
            host: std::process::id(),
        };
        let program = if options.embedded {
            std::env::current_exe().unwrap()
        } else {
            env!("CARGO_BIN_EXE_stockade-worker").into()
        };
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(VARIABLE, assignment.to_value())
            .stdin(theirs)
            .stdout(Stdio::null());
        if let Some(uid) = options.uid {
            command.uid(uid).gid(uid);
        }
        let child = command.spawn().unwrap();
        Self { child, socket }
    }

    fn receive<T: DeserializeOwned>(&mut self) -> Option<T> {
        wait_readable(&self.socket);
        let bytes = packet::receive_untrusted(&self.socket).unwrap();
        (!bytes.is_empty()).then(|| message::decode(&bytes).unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_readable(fd: &OwnedFd) {
    let timeout = Timespec::try_from(LIVENESS).unwrap();
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    assert_ne!(poll(&mut fds, Some(&timeout)).unwrap(), 0, "nothing came");
}

/// An artifact and what its compiler said.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) code: OwnedFd,
    pub(crate) info: ModuleInfo,
    pub(crate) identity: [u8; 32],
}

/// Compiles in a compiler process.
pub(crate) fn compile(
    module: &[u8],
    options: &Options,
) -> Result<Artifact, (CompileRefusal, String)> {
    let mut process = Process::start(Role::Compiler, options);
    let artifact = rustix::fs::memfd_create("artifact", MemfdFlags::CLOEXEC).unwrap();
    let setup = CompilerSetup {
        stop: options.stop,
        module_bytes: module.len() as u64,
        cpu_time: Duration::from_secs(60),
        seal: options.seal,
        init: Init::Due,
    };
    let module = memfd::sealed("module", module).unwrap();
    let fds = [module.as_fd(), artifact.as_fd()];
    packet::send(&process.socket, &message::encode(&setup), &fds).unwrap();
    let Some(CompilerMessage::Identity(identity)) = process.receive() else {
        panic!("the identity comes first");
    };
    let done = process.receive::<CompilerMessage>();
    let status = process.child.wait().unwrap();
    match done.unwrap_or_else(|| panic!("the compiler died: {status}")) {
        CompilerMessage::Done {
            code_bytes,
            info_bytes,
        } => {
            assert_eq!(status.code(), Some(0));
            let file = File::from(artifact);
            let mut all = vec![0; (code_bytes + info_bytes) as usize];
            file.read_exact_at(&mut all, 0).unwrap();
            let (code, info) = all.split_at(code_bytes as usize);
            Ok(Artifact {
                code: memfd::sealed("artifact", code).unwrap(),
                info: serde_json::from_slice(info).unwrap(),
                identity,
            })
        }
        CompilerMessage::Refused { why, message } => Err((why, message)),
        CompilerMessage::InitDue { .. } => panic!("no module here has an initialisation"),
        CompilerMessage::Identity(_) => panic!("the identity comes once"),
    }
}

/// A reply to a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Value(Vec<u8>),
    Failure(Failure),
    Skipped,
    Interrupted,
    Died(ExitStatus),
}

/// A worker that has said that it is ready.
pub(crate) struct Worker {
    process: Process,
    slot: HostSlot,
    eventfd: OwnedFd,
    pidfd: OwnedFd,
    info: ModuleInfo,
    last: u64,
}

impl Worker {
    pub(crate) fn start(
        artifact: &Artifact,
        options: &Options,
    ) -> Result<Self, (WorkerRefusal, String)> {
        let mut process = Process::start(Role::Worker, options);
        let geometry = Geometry::new(options.payload_bytes, 4096).unwrap();
        let (slot, [request, reply]) = HostSlot::new(geometry).unwrap();
        if options.polled_for {
            slot.linger_first(Linger::beside(Duration::from_micros(200), None));
        }
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let setup = WorkerSetup {
            worker: 7,
            geometry,
            stop: options.stop,
            state: options.state,
            memory_bytes: options.memory_bytes,
            tables: InstanceLimits::TABLES_MAX,
            largest_table: None,
            table_elements: options.table_elements,
            stack_bytes: 512 << 10,
            idle_timeout: options.idle_timeout,
            workers_max: 1,
            wasi: options.wasi.clone(),
            seal: options.seal,
            enter: Handed::default(),
        };
        let fds = [&request, &reply, &eventfd, &artifact.code].map(AsFd::as_fd);
        packet::send(&process.socket, &message::encode(&setup), &fds).unwrap();
        loop {
            match process.receive() {
                Some(WorkerMessage::Handed(_) | WorkerMessage::Loaded(_)) => {}
                Some(WorkerMessage::Ready) => break,
                Some(WorkerMessage::Refused { why, message }) => return Err((why, message)),
                None => panic!("the worker died: {}", process.child.wait().unwrap()),
            }
        }
        let pid = rustix::process::Pid::from_child(&process.child);
        Ok(Self {
            pidfd: pidfd_open(pid, PidfdFlags::empty()).unwrap(),
            process,
            slot,
            eventfd,
            info: artifact.info.clone(),
            last: 0,
        })
    }

    /// Compiles and starts.
    pub(crate) fn of(wat: &str, options: &Options) -> Self {
        let artifact = compile(wat.as_bytes(), options).unwrap();
        Self::start(&artifact, options).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) fn slot(&self) -> &HostSlot {
        &self.slot
    }

    /// The number that the next call will have.
    pub(crate) fn next_id(&self) -> u64 {
        self.last + 1
    }

    /// Hands the worker a call, without waiting for it.
    pub(crate) fn publish(&mut self, function: &str, arguments: &[u8]) -> u64 {
        let found = self.info.functions.iter().find(|f| f.name == function);
        let mut writer = self.slot.writer();
        writer.put(arguments);
        self.last += 1;
        let export = found.expect("an export of this name").export;
        self.slot
            .publish(self.last, export, Linger::NONE, writer.finish().unwrap());
        self.last
    }

    /// Stops a call, and says how it ended. One that was stopped between its mark and its guest is skipped, rightly,
    /// and another one is made.
    pub(crate) fn stop_running(&mut self, function: &str) -> Answer {
        loop {
            let id = self.publish(function, &[0]);
            self.wait_accepted();
            self.stop(id);
            match self.wait() {
                Answer::Skipped => {}
                answer => return answer,
            }
        }
    }

    /// Waits until the worker says that guest code may run for the newest call.
    pub(crate) fn wait_accepted(&self) {
        while !self.slot.accepted(self.last) {
            std::thread::yield_now();
        }
    }

    /// Waits for the reply to the newest call.
    pub(crate) fn wait(&mut self) -> Answer {
        self.slot.arm(self.last);
        loop {
            match self.slot.look(self.last) {
                Seen::Nothing => {}
                Seen::Lie(lie) => panic!("the worker lies: {lie}"),
                Seen::Reply(head) => {
                    let mut bytes = Vec::new();
                    self.slot.read(head, &mut bytes);
                    return match head.kind {
                        ReplyKind::Value => Answer::Value(bytes),
                        ReplyKind::Failure => Answer::Failure(message::decode(&bytes).unwrap()),
                        ReplyKind::Skipped => Answer::Skipped,
                        ReplyKind::Interrupted => Answer::Interrupted,
                        ReplyKind::Chunk => panic!("nobody sent a chunk"),
                    };
                }
            }
            let timeout = Timespec::try_from(LIVENESS).unwrap();
            let mut fds = [
                PollFd::new(&self.eventfd, PollFlags::IN),
                PollFd::new(&self.pidfd, PollFlags::IN),
            ];
            assert_ne!(poll(&mut fds, Some(&timeout)).unwrap(), 0, "no reply");
            if fds[1].revents().contains(PollFlags::IN) {
                return Answer::Died(self.process.child.wait().unwrap());
            }
            rustix::io::read(&self.eventfd, &mut [0; 8]).unwrap();
        }
    }

    pub(crate) fn call(&mut self, function: &str, arguments: &[u8]) -> Answer {
        self.publish(function, arguments);
        self.wait()
    }

    /// Calls an export of plain numbers.
    pub(crate) fn numbers(&mut self, function: &str, arguments: &[u64]) -> Answer {
        let bytes: Vec<u8> = arguments.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.call(function, &bytes)
    }

    /// Stops a call, as a host does.
    pub(crate) fn stop(&self, id: u64) {
        self.slot.cancel(id);
        self.signal();
    }

    pub(crate) fn signal(&self) {
        pidfd_send_signal(&self.pidfd, Signal::USR1).unwrap();
    }

    /// Waits for the process to end by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let timeout = Timespec::try_from(LIVENESS).unwrap();
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        assert_ne!(poll(&mut fds, Some(&timeout)).unwrap(), 0, "it lives on");
        self.process.child.wait().unwrap()
    }

    pub(crate) fn output(&self, stream: usize) -> Vec<u8> {
        self.slot.output(stream).tail
    }

    /// What is open in the process. Only root is shown that.
    pub(crate) fn descriptors(&self) -> Vec<String> {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let names = open.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap());
        let names: Vec<_> = names.map(|name| name.display().to_string()).collect();
        assert!(!names.is_empty());
        names
    }

    /// A line of what the kernel says about the process.
    pub(crate) fn status(&self, line: &str) -> io::Result<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let found = status.lines().find_map(|l| l.strip_prefix(line));
        Ok(found.unwrap_or_default().trim().to_owned())
    }
}
