//! The fork server's role.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process;

use rustix::process::{Pid, PidfdFlags, getpid, getppid, pidfd_open};
use stockade_wire::forking::{End, ForkOrder, ForkServerMessage, ORDER_FDS};
use stockade_wire::message::{self, WorkerMessage, WorkerRefusal, WorkerSetup};
use stockade_wire::namespaces::Outcome;
use stockade_wire::sys::packet;

use crate::lies::{FORK_SERVER, HONEST};
use crate::{known, sys};

pub(crate) fn role() -> ! {
    let (_, [artifact, _string]) = sys::receive::<WorkerSetup, 2>();
    let code = crate::worker::read(&mut File::from(artifact));
    let what = code.strip_prefix("forks:").unwrap_or(HONEST);
    match known(what, &FORK_SERVER) {
        "never" => sys::stall(),
        "exit" => {
            eprintln!("I would rather not");
            process::exit(7);
        }
        "refuse" => {
            let message = "not today\u{1b}[31m\nnot ever".to_owned();
            let why = WorkerRefusal::Setup;
            sys::tell(&ForkServerMessage::Refused { why, message });
            sys::stall()
        }
        "garbage" => sys::tell_bytes(b"HTTP/1.1 200 OK"),
        "long" => sys::tell_bytes(&vec![0; packet::PACKET_BYTES_MAX + 1]),
        "forked-first" => hand_over(1, Some(of(getppid()).as_fd())),
        _ => {}
    }
    sys::tell(&ForkServerMessage::Ready);
    let (ForkOrder { worker }, [socket, ..]) = sys::receive::<ForkOrder, ORDER_FDS>();
    let end = End::Code(0);
    match what {
        "exit-asked" => {
            eprintln!("I would rather not");
            process::exit(7);
        }
        "not" => sys::tell(&ForkServerMessage::NotForked {
            worker,
            message: "not today\u{1b}[31m\nnot ever".to_owned(),
        }),
        "ready-twice" => sys::tell(&ForkServerMessage::Ready),
        "nothing" => hand_over(worker, None),
        "another" => hand_over(worker + 1, Some(of(Some(getpid())).as_fd())),
        "file" => {
            let file = File::open("/dev/null").expect("there is one");
            hand_over(worker, Some(file.as_fd()));
        }
        // It asks the host to believe that its own process, or the host's, is a worker.
        "itself" => hand_over(worker, Some(of(Some(getpid())).as_fd())),
        "host" => hand_over(worker, Some(of(getppid()).as_fd())),
        _ if what.starts_with("claims:") => {
            let claimed = &what["claims:".len()..];
            let child = sys::fork_to(|| {
                let said = [
                    sys::loaded_in(sys::namespace(claimed), Outcome::Made),
                    WorkerMessage::Ready,
                ];
                for message in said {
                    let _ = packet::send(&socket, &message::encode(&message), &[]);
                }
            });
            hand_over(worker, Some(of(Some(child)).as_fd()));
        }
        "end-of-none" => sys::tell(&ForkServerMessage::Ended { worker, end }),
        // It takes the order and is silent.
        _ => {}
    }
    sys::stall()
}

fn of(pid: Option<Pid>) -> std::os::fd::OwnedFd {
    pidfd_open(pid.expect("it lives"), PidfdFlags::empty()).expect("it lives")
}

fn hand_over(worker: u64, fd: Option<BorrowedFd<'_>>) {
    let forked = message::encode(&ForkServerMessage::Forked { worker });
    let fds: Vec<_> = fd.into_iter().collect();
    packet::send(io::stdin(), &forked, &fds).expect("the host reads");
}
