//! The worker: one guest, one call at a time, until the host ends it.
//!
//! Order matters here more than anywhere. Files come before the seal is begun, the engine before it is finished, guest code
//! after it.
//! A reply is published as soon as it exists; everything else about that call is done afterwards, while its
//! caller already goes on.
#![expect(
    unsafe_code,
    reason = "the artifact that the host sends is loaded as code"
)]

use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use stockade_wire::message::{
    Failure, FailureKind, InstanceState, NOT_RESET, Seal, WasiSetup, WorkerMessage, WorkerRefusal,
    WorkerSetup, encode_failure,
};
use stockade_wire::role::Assignment;
use stockade_wire::slot::{Idle, Linger, ReplyKind, Request, WorkerSlot};

use crate::config::{InstanceLimits, Scanning};
use crate::guest::{Ended, Guest, LoadError, Program, Runtime, World};
use crate::reset_proof::{REFUTED, ResetProof};
use crate::seal::{Begun, Fds, Landlock, Sealing, Surroundings};
use crate::site::{ItemArguments, ItemReply, NO_CALL, Site, SlotArguments, SlotReply};
use crate::wasi::Files;
use crate::{page_map, process, seal, signals};

pub(crate) type Refusal = (WorkerRefusal, String);

/// Runs the role. Never returns.
pub(crate) fn role(assignment: Assignment) -> ! {
    run(prepare(assignment))
}

/// Says hello and serves, or says why not. Never returns.
pub(crate) fn run(prepared: Result<Worker, Refusal>) -> ! {
    match prepared {
        Ok(worker) => {
            process::tell(&WorkerMessage::Ready);
            worker.serve()
        }
        Err((why, message)) => {
            process::tell(&WorkerMessage::Refused {
                why,
                message: process::text(message),
            });
            process::exit(1)
        }
    }
}

pub(crate) fn setup(message: impl ToString) -> Refusal {
    (WorkerRefusal::Setup, message.to_string())
}

fn prepare(assignment: Assignment) -> Result<Worker, Refusal> {
    let (mut told, [request, reply, eventfd, artifact], mut directories) =
        process::receive_setup::<WorkerSetup, 4>().map_err(setup)?;
    let surroundings = directories.split_off(told.wasi.grants.len().min(directories.len()));
    let surroundings =
        Surroundings::new(std::mem::take(&mut told.enter), surroundings).map_err(setup)?;
    name(told.worker);
    let limits = limits(&told);
    let files = Files::new(&told.wasi.grants, directories)
        .map_err(|error| (WorkerRefusal::Grant, format!("{error:#}")))?;
    if files.is_some() {
        signals::survive_long_files().map_err(setup)?;
    }
    let page_map = page_map::open();
    let begun = match told.seal {
        Seal::None => None,
        Seal::Required | Seal::Strict => {
            let landlock = Landlock::of(told.seal);
            let files = files.as_ref().map(|files| seal::Files {
                directories: files.directories(),
                owner: files.owner(),
                bytes_max: told.wasi.file_bytes_max,
            });
            let fds = Fds {
                eventfd: eventfd.as_raw_fd(),
                pagemap: page_map,
            };
            let surroundings = Some(surroundings);
            let begun = Sealing::worker(
                assignment,
                limits,
                told.stop,
                fds,
                files,
                landlock,
                surroundings,
            );
            Some(begun.map_err(setup)?)
        }
    };
    let runtime = runtime(&told, page_map)?;
    let sealing = begun.map(Begun::with_engine).transpose();
    let mut sealing = sealing.map_err(setup)?;
    // Before the artifact is looked at: whoever takes this process over by that has no say in what others enter.
    if let Some(handed) = sealing.as_mut().and_then(Sealing::hand_over) {
        process::tell_with(&WorkerMessage::Handed(handed.said), &handed.fds);
    }
    if let Some(files) = &files {
        files.check().map_err(|why| (WorkerRefusal::Grant, why))?;
    }

    let slot = WorkerSlot::new(told.geometry, request, reply, eventfd)
        .map_err(|error| setup(format!("cannot map the slot: {error}")))?;
    // SAFETY: the host sends the sealed artifact of a compiler process of its own, for this very module. A
    // compiler that was taken over by its module may have forged it; what it gains is this process, which
    // runs nothing but that module and has given up all but the seal's last step.
    let program = unsafe { load(&runtime, artifact, &told.wasi, files) }?;
    let namespaces = sealing.as_ref().map(Sealing::namespaces);
    match sealing {
        Some(sealing) => sealing.finish().map_err(setup)?,
        // A limit of the guest's, not a wall of the process's.
        None => seal::limit_files(told.wasi.file_bytes_max).map_err(setup)?,
    }
    // All walls stand: the host looks at them while the first instance is made.
    process::tell(&WorkerMessage::Loaded(namespaces.unwrap_or_default()));
    Worker::new(program, Site::new(slot), &told)
}

pub(crate) fn name(worker: u64) {
    process::name(&format!("stockade-w{worker}"));
}

pub(crate) fn limits(told: &WorkerSetup) -> InstanceLimits {
    InstanceLimits {
        memory_bytes: told.memory_bytes,
        // A compiler said so.
        tables: told.tables.min(InstanceLimits::TABLES_MAX),
        table_elements: told.table_elements,
        stack_bytes: told.stack_bytes,
    }
}

/// An engine, and what goes with it: among that the map of this process's pages, if its instances are reset by that.
pub(crate) fn runtime(told: &WorkerSetup, page_map: Option<RawFd>) -> Result<Runtime, Refusal> {
    // A guest's sleep ends when it should. The kernel's default lets it overrun by 50 us.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    seal::reserve_stack(told.stack_bytes).map_err(setup)?;
    let room = rustix::param::page_size() as u64 / Scanning::ELEMENT_BYTES;
    let scanning = page_map.map(|page_map| Scanning {
        page_map,
        has_small_tables: told
            .largest_table
            .map_or(told.table_elements, |most| most.min(told.table_elements))
            <= room,
    });
    let runtime = Runtime::scanning(told.stop, limits(told), scanning)
        .map_err(|error| setup(format!("cannot set Wasmtime up: {error:#}")))?;
    signals::stop_with(told.stop, runtime.engine()).map_err(setup)?;
    Ok(runtime)
}

/// Loads the artifact. The program lives as long as the process: dropping it would close files, which the seal
/// forbids.
///
/// # Safety
/// As [`Runtime::load`].
pub(crate) unsafe fn load<W: World>(
    runtime: &Runtime,
    artifact: OwnedFd,
    wasi: &WasiSetup,
    files: Option<Files>,
) -> Result<&'static Program<W>, Refusal> {
    // SAFETY: the caller's promise.
    let program = unsafe { runtime.load(artifact, wasi, files) };
    let program = program.map_err(|error| match error {
        LoadError::Incompatible(error) => (WorkerRefusal::Artifact, format!("{error:#}")),
        LoadError::TooLarge(error) => (WorkerRefusal::Init, format!("{error:#}")),
    })?;
    wasmtime::Engine::tls_eager_initialize();
    Ok(Box::leak(Box::new(program)))
}

pub(crate) fn describe(ended: Ended) -> String {
    match ended {
        Ended::Interrupted => "it was interrupted".to_owned(),
        Ended::Failed(Failure { kind, backtrace }) => {
            let what = match kind {
                FailureKind::Trap(kind) => format!("it trapped: {kind:?}"),
                FailureKind::Panic { message, location } => {
                    format!("it panicked at {location}: {message}")
                }
                FailureKind::OutOfMemory { limit, requested } => {
                    format!("it wants {requested} bytes of memory, more than the limit of {limit}")
                }
                FailureKind::StackOverflow => "it used up its stack".to_owned(),
                FailureKind::Exit(code) => format!("it exited with code {code}"),
                FailureKind::Abi(message) => message,
                other => format!("{other:?}"),
            };
            match backtrace {
                Some(backtrace) => format!("{what}\n{backtrace}"),
                None => what,
            }
        }
    }
}

pub(crate) struct Worker {
    program: &'static Program<&'static Site>,
    site: &'static Site,
    state: InstanceState,
    idle_timeout: Option<Duration>,
    /// What the next call runs in.
    guest: Option<Guest<&'static Site>>,
    /// Whether a call has run in it already.
    used: bool,
    /// Why there is none.
    failed: Option<Failure>,
    /// Until the first instance has been replaced.
    proof: Option<ResetProof>,
}

impl Worker {
    /// In a sealed process.
    pub(crate) fn new(
        program: &'static Program<&'static Site>,
        site: &'static Site,
        told: &WorkerSetup,
    ) -> Result<Self, Refusal> {
        signals::tell_forbidden_calls(&site.slot);
        if let Some(point) = program.stop_point() {
            signals::stop_at(point, site);
        }
        let init = |ended| (WorkerRefusal::Init, describe(ended));
        let mut guest = program.instantiate_only(site).map_err(init)?;
        let mut proof = ResetProof::of(&mut guest);
        // Whoever polls for the first reply has it before the proof.
        let is_polled_for = site.slot.first_linger() != Linger::NONE;
        if let Some(mut proof) = proof.take_if(|_| !is_polled_for) {
            proof.leave_mark(&mut guest);
            guest = again(program, site, Some(guest)).map_err(init)?;
            if proof.is_refuted_by(&mut guest) {
                return Err(setup(REFUTED));
            }
        }
        guest.initialize(program).map_err(init)?;
        Ok(Self {
            program,
            site,
            state: told.state,
            idle_timeout: told.idle_timeout,
            guest: Some(guest),
            used: false,
            failed: None,
            proof,
        })
    }

    fn serve(mut self) -> ! {
        let mut last = 0;
        let mut idle = Idle {
            linger: self.site.slot.first_linger(),
            timeout: self.idle_timeout,
        };
        while let Some(request) = self.site.slot.next(last, idle) {
            self.answer(request);
            last = request.id;
            idle.linger = request.linger;
        }
        process::exit(0)
    }

    fn answer(&mut self, request: Request) {
        // Before the look at the cancel word: a stop that comes later finds this number in the callback.
        self.site.set_call(request.id);
        if !self.site.slot.accept(request.id) {
            self.end_call();
            self.site.slot.reply(request.id, ReplyKind::Skipped, &[]);
            self.site.slot.asked(request.id, false);
            return;
        }
        if request.is_chunk {
            return self.answer_chunk(request);
        }
        let command = self.program.is_command(request.function);
        if command && self.used {
            self.reset(false);
        }
        self.used = true;
        let ended = match &mut self.guest {
            Some(guest) => guest.call(
                self.program,
                request.function,
                &SlotArguments(self.site, request),
                &mut SlotReply(self.site, request),
            ),
            None => Err(self.missing_guest()),
        };
        self.end_call();
        let reusable = match ended {
            Ok(()) => true,
            Err(ended) => self.report(request, ended),
        };
        self.settle(request, reusable && !command);
    }

    /// Runs one request after the other, each under the state rule. What comes after one for which there is no room
    /// is left to the host.
    fn answer_chunk(&mut self, request: Request) {
        let site = self.site;
        let chunk = site.slot.begin_chunk(request);
        // Of the last item that has run; the instance is made ready before the next.
        let mut reusable = None;
        for args in site.slot.items(request) {
            if let Some(reusable) = reusable.take() {
                site.set_call(NO_CALL);
                self.reset(reusable);
                site.set_call(request.id);
            }
            if !chunk.begin_item() {
                break;
            }
            self.used = true;
            let arguments = ItemArguments(site, request, args);
            let ended = match &mut self.guest {
                Some(guest) => guest.call(
                    self.program,
                    request.function,
                    &arguments,
                    &mut ItemReply(site, &chunk),
                ),
                None => Err(self.missing_guest()),
            };
            let failed = ended.is_err();
            reusable = Some(match ended {
                Ok(()) => true,
                Err(Ended::Failed(failure)) => {
                    let reusable = is_reusable_after(&failure);
                    chunk.put(ReplyKind::Failure, &[&encode_failure(failure)]);
                    reusable
                }
                Err(Ended::Interrupted) => {
                    reusable = Some(false);
                    break;
                }
            });
            if request.is_shared && (failed || site.slot.has_written()) {
                break;
            }
        }
        self.end_call();
        if site.slot.stop_requested(request.id) {
            site.slot.reply(request.id, ReplyKind::Interrupted, &[]);
        } else {
            chunk.finish();
        }
        match reusable {
            Some(reusable) => self.settle(request, reusable),
            // Its last item has left nothing to be asked about.
            None => self.site.slot.asked(request.id, false),
        }
    }

    /// No guest code runs for a call from here on.
    #[inline]
    fn end_call(&self) {
        self.site.set_call(NO_CALL);
        signals::look_no_more(self.site);
    }

    fn missing_guest(&mut self) -> Ended {
        self.failed
            .take()
            .map_or_else(|| Ended::broke_rules("there is no instance"), Ended::Failed)
    }

    /// Replies that there is no value. Returns whether the instance can go on.
    #[cold]
    fn report(&self, request: Request, ended: Ended) -> bool {
        let slot = &self.site.slot;
        match ended {
            Ended::Interrupted => {
                slot.reply(request.id, ReplyKind::Interrupted, &[]);
                false
            }
            Ended::Failed(failure) => {
                let reusable = is_reusable_after(&failure);
                slot.reply(request.id, ReplyKind::Failure, &encode_failure(failure));
                reusable
            }
        }
    }

    /// A call is answered: makes ready for the next one, and asks the guest if it has a say.
    fn settle(&mut self, Request { id, linger, .. }: Request, reusable: bool) {
        // The first reset takes longest. Later on a worker that did so would never be seen to share its host's CPU, and
        // would stay there.
        let renews = self.state == InstanceState::Fresh || !reusable;
        if renews && self.proof.is_some() {
            self.site.slot.make_way(linger);
        }
        let asks = self.state == InstanceState::Keep && self.program.has_retire();
        if !asks {
            return self.reset(reusable);
        }
        let worn_out = self.reset_and_ask(id, reusable);
        self.site.slot.asked(id, worn_out);
    }

    /// As [`Self::reset`], and whether the guest then says that its worker is to be replaced. One that fails at
    /// that, or is still at it when the next call waits, has said so.
    fn reset_and_ask(&mut self, last: u64, reusable: bool) -> bool {
        self.reset(reusable);
        let (true, Some(guest)) = (self.used, &mut self.guest) else {
            return false;
        };
        self.site.set_asked_after(last);
        // The next call may have waited for so long already that its host has said so, once.
        signals::look_again(self.site);
        let answer = guest.is_worn_out(self.program);
        self.site.set_asked_after(NO_CALL);
        signals::look_no_more(self.site);
        answer.unwrap_or_else(|_| {
            self.reset(false);
            Some(true)
        }) == Some(true)
    }

    /// Makes ready for the next call.
    fn reset(&mut self, mut reusable: bool) {
        if self.state == InstanceState::Keep
            && reusable
            && let Some(guest) = &mut self.guest
        {
            let released = guest.release(self.program);
            reusable = released.and_then(|()| guest.prepare()).is_ok();
            if reusable {
                return;
            }
        }
        if let (Some(proof), Some(first)) = (&mut self.proof, &mut self.guest) {
            proof.leave_mark(first);
        }
        let last = self.guest.take().filter(|_| reusable);
        self.used = false;
        match self.new_guest(last) {
            Ok(guest) => self.guest = Some(guest),
            Err(Ended::Failed(failure)) => self.failed = Some(failure),
            Err(Ended::Interrupted) => {}
        }
    }

    /// An instance in place of the last one, which is given if it has returned from its call.
    fn new_guest(
        &mut self,
        last: Option<Guest<&'static Site>>,
    ) -> Result<Guest<&'static Site>, Ended> {
        let made = again(self.program, self.site, last);
        let Some(proof) = self.proof.take() else {
            let mut guest = made?;
            guest.initialize(self.program)?;
            return Ok(guest);
        };
        // What its start function says may be what an earlier call wrote, as long as nothing is proved.
        let Ok(mut guest) = made else {
            process::complain(
                "a second instance cannot be made, and so it is not known whether memory is reset",
            );
            process::exit(1)
        };
        if proof.is_refuted_by(&mut guest) {
            process::complain(REFUTED);
            process::exit(NOT_RESET)
        }
        guest.initialize(self.program)?;
        Ok(guest)
    }
}

/// An instance in which nothing has run but its start function: the last one, if it can be put back, or a new one.
fn again(
    program: &'static Program<&'static Site>,
    site: &'static Site,
    last: Option<Guest<&'static Site>>,
) -> Result<Guest<&'static Site>, Ended> {
    // There is room for one only.
    match last.and_then(|mut guest| guest.renew().then_some(guest)) {
        Some(renewed) => Ok(renewed),
        None => program.instantiate_only(site),
    }
}

/// Whether the guest had returned.
fn is_reusable_after(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::ResultTooLarge { .. })
}
