//! The fork server: loads an artifact once, and forks workers that run it.
//!
//! It never runs guest code, and makes no instance. It has one thread, so what it forks may use everything that it
//! has. What takes a starting worker most of its time is done here, once; what must differ between workers
//! (their slot, what they open, the last walls) is done by each.
#![expect(
    unsafe_code,
    reason = "fork, and the artifact that the host sends is loaded as code"
)]

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};
use stockade_wire::forking::{End, ForkOrder, ForkServerMessage, ORDER_FDS};
use stockade_wire::message::{self, Seal, WorkerMessage, WorkerSetup};
use stockade_wire::namespaces::{Namespace, Namespaces};
use stockade_wire::role::Assignment;
use stockade_wire::slot::WorkerSlot;
use stockade_wire::sys::{death_string, packet};

use crate::guest::Program;
use crate::seal::{self, ForkedFilter, Landlock};
use crate::serve::{self, Refusal, Worker, setup};
use crate::site::Site;
use crate::{page_map, process, signals};

/// Runs the role. Never returns.
pub(crate) fn role(assignment: Assignment) -> ! {
    match prepare(assignment) {
        Ok(server) => {
            process::tell(&ForkServerMessage::Ready);
            server.serve()
        }
        Err((why, message)) => {
            process::tell(&ForkServerMessage::Refused {
                why,
                message: process::text(message),
            });
            process::exit(1)
        }
    }
}

fn prepare(assignment: Assignment) -> Result<Server, Refusal> {
    let (told, [artifact, string], _) =
        process::receive_setup::<WorkerSetup, 2>().map_err(setup)?;
    let pagemap = page_map::open();
    let runtime = serve::runtime(&told, pagemap)?;
    let deaths = signals::deaths_of_children().map_err(setup)?;
    let sealing = match told.seal {
        Seal::None => None,
        Seal::Required | Seal::Strict => {
            let landlock = Landlock::of(told.seal);
            let (limits, workers) = (serve::limits(&told), told.workers_max);
            let slot = told.geometry;
            let slot_bytes = (slot.request_bytes() + slot.reply_bytes()) as u64;
            let begun = seal::ForkServer::begin(
                assignment, limits, told.stop, slot_bytes, workers, landlock,
            );
            Some(begun.map_err(setup)?)
        }
    };
    // SAFETY: the host sends the sealed artifact of a compiler process of its own, for this very module. A
    // compiler that was taken over by its module may have forged it; what it gains is this process, which serves
    // nothing but that module, can fork, and can neither execute a program nor make a socket.
    let program = unsafe { serve::load(&runtime, artifact, &told.wasi, None) }?;
    let namespaces = sealing.as_ref().map(seal::ForkServer::namespaces);
    let life = match sealing {
        Some(sealing) => sealing.finish(string).map_err(setup)?,
        None => string,
    };
    Ok(Server {
        told,
        program,
        namespaces: namespaces.unwrap_or_default(),
        pagemap,
        filter: None,
        deaths: Some(deaths),
        life: Some(life),
        children: HashMap::new(),
    })
}

struct Server {
    told: WorkerSetup,
    program: &'static Program<&'static Site>,
    /// What its workers find themselves in.
    namespaces: Namespaces,
    /// Wasmtime's own descriptor of its page map, and of that of each worker.
    pagemap: Option<RawFd>,
    /// Made for the last worker, and good for the next one if its doorbell has the same number, as it has as a rule.
    filter: Option<ForkedFilter>,
    /// Readable when a child has died. None in a child.
    deaths: Option<OwnedFd>,
    /// Readable when there is nothing left to do: the host has let go, or the pid namespace has ended. None in a
    /// child.
    life: Option<OwnedFd>,
    /// The numbers of the workers that are alive, by their process ids.
    children: HashMap<Pid, u64>,
}

impl Server {
    fn serve(mut self) -> ! {
        loop {
            let socket = process::socket();
            let own = [&self.life, &self.deaths].into_iter().flatten();
            let watched = [socket].into_iter().chain(own.map(AsFd::as_fd));
            let mut fds: Vec<_> = watched
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => fail(&format!("cannot wait: {error}")),
            }
            let happened = |at: usize| !fds[at].revents().is_empty();
            let (ordered, is_over) = (happened(0), happened(1));
            self.reap();
            if is_over {
                self.end();
            }
            if ordered {
                match packet::receive(socket) {
                    // The host is gone.
                    Ok((bytes, _)) if bytes.is_empty() => process::exit(0),
                    Ok((bytes, fds)) => self.obey(&bytes, fds),
                    Err(error) => fail(&format!("cannot hear the host: {error}")),
                }
            }
        }
    }

    fn obey(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        let (Ok(order), Ok(fds)) = (
            message::decode::<ForkOrder>(bytes),
            <[OwnedFd; ORDER_FDS]>::try_from(fds),
        ) else {
            fail("the host's order is damaged");
        };
        let ForkOrder { worker } = order;
        let not_forked = |error: io::Error| ForkServerMessage::NotForked {
            worker,
            message: error.to_string(),
        };
        if let Err(error) = self.make_filter(&fds) {
            return tell(&not_forked(error), None);
        }
        // By the C library, and not by a system call of our own: Wasmtime has it run a handler in the child that
        // opens the child's own page map. Without that a reset would look at this process's memory and find
        // nothing to do.
        // SAFETY: this process has one thread, so the child may do whatever this process may.
        let forked = unsafe { libc::fork() };
        if forked == 0 {
            serve::run(self.be_worker(worker, fds));
        }
        let Some(pid) = Pid::from_raw(forked).filter(|_| forked > 0) else {
            let error = io::Error::last_os_error();
            // Then another server is what the host needs.
            if self.is_over() {
                self.end();
            }
            return tell(&not_forked(error), None);
        };
        // Closed before the next one is forked.
        drop(fds);
        self.children.insert(pid, worker);
        // Nobody else reaps it, so the id is still its own.
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => tell(&ForkServerMessage::Forked { worker }, Some(&pidfd)),
            // The host drops its end of the worker's string, which kills it.
            Err(error) => {
                self.children.remove(&pid);
                tell(&not_forked(error.into()), None);
            }
        }
    }

    /// Has the system call filter of a worker that gets these, unless there is none to be put up.
    fn make_filter(&mut self, fds: &[OwnedFd; ORDER_FDS]) -> io::Result<()> {
        let [.., eventfd] = fds;
        let ring = eventfd.as_raw_fd();
        let is_made = self.filter.as_ref().is_some_and(|made| made.fits(ring));
        if self.told.seal != Seal::None && !is_made {
            let made = ForkedFilter::new(self.told.stop, ring, self.pagemap);
            self.filter = Some(made.map_err(|breach| io::Error::other(breach.to_string()))?);
        }
        Ok(())
    }

    /// In the child: becomes a worker like those that are spawned.
    fn be_worker(&mut self, worker: u64, fds: [OwnedFd; ORDER_FDS]) -> Result<Worker, Refusal> {
        let [socket, diagnostics, string, request, reply, eventfd] = fds;
        let spoke = process::speak_through(socket, diagnostics);
        spoke.map_err(setup)?;
        signals::unblock_all().map_err(setup)?;
        serve::name(worker);
        // Nothing of the server's is of use here, but the program.
        self.deaths = None;
        self.life = None;
        // It lives as long as the process.
        let string: &'static OwnedFd = Box::leak(Box::new(string));
        let slot = WorkerSlot::new(self.told.geometry, request, reply, eventfd)
            .map_err(|error| setup(format!("cannot map the slot: {error}")))?;
        let site = Site::new(slot);
        match (self.told.seal, self.filter.take()) {
            (Seal::None, _) => death_string::die_with(string.as_fd()).map_err(setup)?,
            (Seal::Required | Seal::Strict, Some(filter)) => {
                let landlock = Landlock::of(self.told.seal);
                seal::seal_forked(string.as_fd(), filter, landlock).map_err(setup)?;
            }
            (Seal::Required | Seal::Strict, None) => return Err(setup("it has no filter")),
        }
        process::tell(&WorkerMessage::Loaded(self.namespaces));
        Worker::new(self.program, site, &self.told)
    }

    /// Tells how children ended.
    fn reap(&mut self) {
        let mut records = [0; 512];
        // One may stand for several deaths, so it only says that there was one. It never waits.
        let died = self.deaths.as_ref();
        let died = died.is_some_and(|fd| rustix::io::read(fd, &mut records).is_ok());
        if !died {
            return;
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.tell_end(pid, status);
        }
    }

    fn tell_end(&mut self, pid: Pid, status: WaitStatus) {
        if let (Some(worker), Some(end)) = (self.children.remove(&pid), end_of(status)) {
            tell(&ForkServerMessage::Ended { worker, end }, None);
        }
    }

    /// A process 1 that is being killed has closed what it held before its namespace takes in nobody any more.
    fn is_over(&self) -> bool {
        let Some(life) = &self.life else {
            return false;
        };
        let mut fds = [PollFd::new(life, PollFlags::IN)];
        let now = rustix::event::Timespec::default();
        rustix::event::poll(&mut fds, Some(&now)) == Ok(1)
    }

    /// Ends, and tells before how its workers have ended: in a pid namespace the kernel kills all of them, and
    /// without one the host has let go of a server whose workers are gone.
    fn end(&mut self) -> ! {
        let mut was_killed = false;
        if self.namespaces.has(Namespace::Pid) {
            while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::empty()) {
                was_killed |= !self.children.contains_key(&pid) && !status.exited();
                self.tell_end(pid, status);
            }
        }
        if was_killed {
            fail("process 1 of the pid namespace was killed, and its workers with it");
        }
        process::exit(0)
    }
}

fn end_of(status: WaitStatus) -> Option<End> {
    let code = status.exit_status().map(End::Code);
    code.or_else(|| status.terminating_signal().map(End::Signal))
}

/// Tells the host something, as soon as it has room for it. Ends the process when it is gone.
fn tell(what: &ForkServerMessage, pidfd: Option<&OwnedFd>) {
    let bytes = message::encode(what);
    let fds: Vec<_> = pidfd.into_iter().map(AsFd::as_fd).collect();
    loop {
        match packet::send(process::socket(), &bytes, &fds) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut room = [PollFd::from_borrowed_fd(process::socket(), PollFlags::OUT)];
                let _ = rustix::event::poll(&mut room, None);
            }
            Err(_) => process::exit(0),
        }
    }
}

fn fail(what: &str) -> ! {
    process::complain(what);
    process::exit(1)
}
