//! The worker's role.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::process;
use std::time::Duration;

use rustix::process::Signal;
use stockade_wire::message::{self, WorkerMessage, WorkerRefusal, WorkerSetup};
use stockade_wire::namespaces::{Handed, Namespace, Outcome};
use stockade_wire::slot::{EventKind, Idle, Linger, ReplyKind, Request};
use stockade_wire::sys::packet;

use crate::lies::{HONEST, WORKER};
use crate::random::Random;
use crate::slot::Slot;
use crate::{known, sys};

const VALUE: u32 = 1;
const FAILURE: u32 = 2;
const SKIPPED: u32 = 3;
const INTERRUPTED: u32 = 4;
const CHUNK: u32 = 5;

pub(crate) fn role() -> ! {
    let (setup, [request, reply, eventfd, artifact]) = sys::receive::<WorkerSetup, 4>();
    let code = read(&mut File::from(artifact));
    let code = code.strip_prefix("compiler:retire:").unwrap_or(&code);
    let what = match code.split_once('@') {
        Some((what, who)) if is_meant(who, setup.worker) => known(what, &WORKER),
        Some(_) => HONEST,
        None if is_of_another_role(code) => HONEST,
        None => known(code, &WORKER),
    };
    if what == "try-seals" {
        Slot::try_seals(setup.geometry, &request, &reply);
    }
    let slot = Slot::new(setup.geometry, request, reply, eventfd).expect("the slot can be mapped");
    greet(what);
    after_greeting(what, &slot);
    serve(what, &slot)
}

fn is_of_another_role(code: &str) -> bool {
    ["compiler:", "init:", "forks:"]
        .iter()
        .any(|role| code.starts_with(role))
}

fn is_meant(who: &str, worker: u64) -> bool {
    match who.strip_suffix('+') {
        Some(first) => first.parse().is_ok_and(|first: u64| worker >= first),
        None => who.parse() == Ok(worker),
    }
}

pub(crate) fn read(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().expect("the artifact is a file");
    file.read_to_string(&mut text)
        .expect("the artifact is text");
    text
}

fn greet(what: &str) {
    let refuse = |why| {
        let message = "not today\u{1b}[31m\nnot ever".to_owned();
        sys::tell(&WorkerMessage::Refused { why, message });
        sys::stall()
    };
    match what {
        "hello-never" => sys::stall(),
        "hello-never-loaded" => {
            sys::tell(&sys::loaded());
            sys::stall()
        }
        "hello-garbage" => sys::tell_bytes(b"HTTP/1.1 200 OK"),
        "hello-damaged" => sys::tell_bytes(&sys::damaged(&WorkerMessage::Ready)),
        "hello-version" => sys::tell_bytes(&sys::of_version_99(&WorkerMessage::Ready)),
        "hello-long" => sys::tell_bytes(&vec![0; packet::PACKET_BYTES_MAX + 1]),
        "hello-empty" => sys::tell_bytes(&[]),
        "hello-exit" => {
            eprintln!("I would rather not");
            process::exit(7);
        }
        "hello-kill" => sys::suffer(Signal::KILL),
        _ if what.starts_with("claims:") => claim(&what["claims:".len()..], Outcome::Made),
        _ if what.starts_with("enters:") => claim(&what["enters:".len()..], Outcome::Entered),
        "hands-twice" => {
            hand_over(&[]);
            hand_over(&[]);
        }
        "hands-late" => {
            sys::tell(&sys::loaded());
            hand_over(&[]);
        }
        "hello-exit-loaded" => {
            sys::tell(&sys::loaded());
            process::exit(7);
        }
        "hello-close-socket" => {
            sys::close_socket();
            sys::stall()
        }
        "refuse-artifact" => refuse(WorkerRefusal::Artifact),
        "refuse-init" => refuse(WorkerRefusal::Init),
        "refuse-setup" => refuse(WorkerRefusal::Setup),
        "hello-with-descriptors" => {
            let file = File::open("/dev/null").expect("there is one");
            let fds = [file.as_fd(); packet::FDS_MAX];
            packet::send(io::stdin(), &message::encode(&sys::loaded()), &fds)
                .expect("the host reads");
        }
        _ => {}
    }
    sys::tell(&WorkerMessage::Ready);
}

/// Says that it is in a namespace, and hands over a file for it if there is one: `ipc`, or `ipc:/dev/null`.
fn claim(what: &str, how: Outcome) {
    let (claimed, path) = match what.split_once(':') {
        Some((claimed, path)) => (claimed, Some(path)),
        None => (what, None),
    };
    let namespace = sys::namespace(claimed);
    if let Some(path) = path {
        hand_over(&[(namespace, path)]);
    }
    sys::tell(&sys::loaded_in(namespace, how));
}

fn hand_over(files: &[(Namespace, &str)]) {
    let handed = Handed {
        namespaces: files.iter().map(|(namespace, _)| *namespace).collect(),
        root: false,
    };
    let files: Vec<_> = files
        .iter()
        .map(|(_, path)| File::open(path).expect("there is one"))
        .collect();
    sys::tell_with(&WorkerMessage::Handed(handed), &files);
}

fn after_greeting(what: &str, slot: &Slot) {
    match what {
        "ready-twice" => sys::tell(&WorkerMessage::Ready),
        "ready-exit" => process::exit(0),
        "ready-close-socket" => sys::close_socket(),
        "ring-idle" => loop {
            slot.ring();
        },
        "answer-before-call" => {
            slot.claim(1, VALUE, 8);
        }
        // It is there, but never looks at its slot.
        "never-look" => sys::stall(),
        _ => {}
    }
}

fn serve(what: &str, slot: &Slot) -> ! {
    let mut last = 0;
    let mut idle = Idle {
        linger: Linger::NONE,
        timeout: None,
    };
    while let Some(request) = slot.honest.next(last, idle) {
        lie_unaccepted(what, slot, request);
        if slot.honest.accept(request.id) {
            lie_accepted(what, slot, request);
            slot.answer_accepted(request);
        } else {
            slot.honest.reply(request.id, ReplyKind::Skipped, &[]);
        }
        lie_afterwards(what, slot, request);
        last = request.id;
        idle.linger = request.linger;
    }
    if what == "never-end" {
        sys::stall();
    }
    process::exit(0)
}

/// Before guest code could run.
fn lie_unaccepted(what: &str, slot: &Slot, request: Request) {
    match what {
        "corrupt" => corrupt(slot, request.id, 0),
        "event-unaccepted" => {
            slot.claim_event(request.id << 32 | 1, 1, 8);
            sys::stall()
        }
        "event-unaccepted-and-die" => {
            slot.claim_event(request.id << 32 | 1, 1, 8);
            process::exit(3);
        }
        "die-unaccepted" => process::exit(3),
        "stop-unaccepted" => sys::suffer(Signal::STOP),
        "die-unaccepted-after-output" => {
            slot.claim_output(5);
            process::exit(3);
        }
        "reply-unaccepted" => {
            slot.answer_accepted(request);
            slot.claim_accepted(request.id);
            // The next call's.
            sys::stall()
        }
        "accept-wrong-call" => {
            slot.claim_accepted(request.id + 1);
            process::exit(3);
        }
        _ => {}
    }
}

/// Where guest code would run.
fn lie_accepted(what: &str, slot: &Slot, request: Request) {
    let (id, max) = (request.id, slot.payload_bytes_max() as u32);
    let honest_reply = |kind, payload: &[u8]| {
        slot.honest.reply(id, kind, payload);
        sys::stall()
    };
    let claim = |id, kind, len| {
        slot.claim(id, kind, len);
        sys::stall()
    };
    let event = |place, kind, len| {
        slot.claim_event(id << 32 | place, kind, len);
        sys::stall()
    };
    match what {
        "event-second-first" => event(2, 1, 8),
        "event-last" => event(u64::from(u32::MAX), 1, 8),
        "event-kind-unknown" => event(1, 77, 8),
        "event-length-above-max" => event(1, 1, max + 1),
        "event-length-huge" => event(1, 2, u32::MAX),
        "event-host-call-garbage" => {
            let answer = slot
                .honest
                .raise(id, EventKind::HostCall, &[&[0xff; 100]])
                .expect("nobody stops it");
            assert!(answer > 0);
        }
        "event-of-another-call" => {
            slot.claim_event((id + 1000) << 32 | 1, 1, 8);
        }
        "event-storm" => {
            for _ in 0..100 {
                let answer = slot.honest.raise(id, EventKind::Item, &[b"nobody listens"]);
                assert_eq!(answer, Some(0));
            }
            loop {
                slot.ring();
            }
        }
        "chunk-when-one" => {
            slot.claim(id, CHUNK, 0);
            sys::stall()
        }
        "value-when-chunk" if request.is_chunk => {
            slot.claim(id, VALUE, 8);
            sys::stall()
        }
        "chunk-of-nothing" if request.is_chunk => {
            slot.claim(id, CHUNK, 0);
            sys::stall()
        }
        "chunk-of-garbage" if request.is_chunk => {
            slot.claim(id, CHUNK, 100);
            sys::stall()
        }
        "chunk-too-long" if request.is_chunk => {
            slot.claim(id, CHUNK, u32::MAX);
            sys::stall()
        }
        "shared-of-garbage" if request.is_shared => {
            // Less than says how long a reply is.
            slot.claim(id, CHUNK, 3);
            sys::stall()
        }
        "shared-of-more" if request.is_shared => {
            slot.answer_items(request, |chunk| {
                chunk.put(ReplyKind::Value, &[&7u64.to_le_bytes()]);
            });
            sys::stall()
        }
        "shared-of-a-bad-failure" if request.is_shared => {
            let chunk = slot.honest.begin_chunk(request);
            if chunk.begin_item() {
                chunk.put(ReplyKind::Failure, &[&sys::damaged(&0u64)]);
            }
            chunk.finish();
            sys::stall()
        }
        "shared-never" if request.is_shared => sys::stall(),
        "shared-storm" if request.is_shared => {
            while slot
                .honest
                .raise(id, EventKind::Item, &[b"nobody listens"])
                .is_some()
            {}
            sys::stall()
        }
        "log-garbage" => slot.claim_log(u32::MAX, u32::MAX),
        // An older one than the last: that one means "not yet".
        "id-older" if id > 2 => claim(id - 2, VALUE, 8),
        "id-newer" => claim(id + 1, VALUE, 8),
        "id-huge" => claim(u64::MAX, VALUE, 8),
        "kind-unknown" => claim(id, 77, 8),
        "kind-zero" => claim(id, 0, 8),
        "length-above-max" => claim(id, VALUE, max + 1),
        "length-huge" => claim(id, VALUE, u32::MAX),
        "failure-length-huge" => claim(id, FAILURE, u32::MAX),
        "failure-length-above-max" => claim(id, FAILURE, (64 << 10) + 1),
        "skipped" => claim(id, SKIPPED, 0),
        "skipped-with-payload" => claim(id, SKIPPED, 1),
        "interrupted" => claim(id, INTERRUPTED, 0),
        "failure-garbage" => honest_reply(ReplyKind::Failure, b"oh no"),
        "failure-empty" => honest_reply(ReplyKind::Failure, b""),
        "failure-damaged" => honest_reply(ReplyKind::Failure, &sys::damaged(&0u64)),
        "value-empty" => honest_reply(ReplyKind::Value, b""),
        "value-status-nine" => honest_reply(ReplyKind::Value, b"\x09what"),
        "value-not-utf8" => honest_reply(ReplyKind::Value, b"\x01a\xff\xfe"),
        "value-claims-40" => honest_reply(ReplyKind::Value, &[0, 253, 0, 0, 0, 0, 0, 1, 0, 0]),
        "value-claims-63" => honest_reply(ReplyKind::Value, &[0, 253, 0, 0, 0, 0, 0, 0, 0, 0x80]),
        "ring-call" => loop {
            slot.ring();
        },
        "chatter-call" => sys::tell(&WorkerMessage::Ready),
        "exit-accepted" => {
            eprintln!("thread 'main' panicked\nat the end");
            process::exit(3);
        }
        "kill-accepted" => sys::suffer(Signal::KILL),
        "segv-accepted" => sys::suffer(Signal::SEGV),
        "sys-accepted" => sys::suffer(Signal::SYS),
        "sys-with-a-number" => {
            slot.claim_forbidden(u32::MAX - 1);
            sys::suffer(Signal::SYS);
        }
        "a-number-without-sys" => {
            slot.claim_forbidden(257);
            process::exit(3);
        }
        "abort-accepted" => process::abort(),
        "flood-stderr" => {
            for _ in 0..10_000 {
                eprint_ignoring_errors(&"x".repeat(1000));
            }
            process::exit(3);
        }
        "stall" => sys::stall(),
        "stop-accepted" => sys::suffer(Signal::STOP),
        "dirty-pages" => slot.dirty_all_pages(),
        "output-max" => slot.claim_output(u64::MAX),
        "lie-when-stopped" => {
            while !slot.honest.stop_requested(id) {
                std::thread::sleep(Duration::from_millis(1));
            }
            claim(id + 1, VALUE, 8)
        }
        "corrupt" => corrupt(slot, id, 1),
        "value-when-stopped" => {
            while !slot.honest.stop_requested(id) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        _ => {}
    }
}

/// When the caller may have its answer.
fn lie_afterwards(what: &str, slot: &Slot, request: Request) {
    match what {
        "reply-and-exit" => process::exit(3),
        "rewrite" => slot.keep_rewriting(request.id, request.len as usize),
        "worn-out" => slot.claim_worn_out(request.id),
        "worn-out-at-a-call-to-come" => slot.claim_worn_out(u64::MAX),
        "chatter-idle" => sys::tell(&WorkerMessage::Ready),
        "ring-after-reply" => loop {
            slot.ring();
        },
        "corrupt" => corrupt(slot, request.id, 2),
        _ => {}
    }
}

/// Overwrites control words at every eighth call, at one of the three points of it: with numbers of which some
/// are nearly right.
fn corrupt(slot: &Slot, id: u64, point: u64) {
    let mut random = Random::of(id, process::id().into());
    if random.below(8) > 0 || random.below(3) != point {
        return;
    }
    for _ in 0..=random.below(6) {
        let number = match random.below(4) {
            0 => id + random.below(3),
            1 => random.below(5),
            2 => id << 32 | random.below(3),
            _ => random.below(u64::MAX),
        };
        slot.overwrite(random.below(u64::MAX) as usize, number);
    }
    slot.ring();
}

fn eprint_ignoring_errors(text: &str) {
    use std::io::Write;
    // The pipe is full before long.
    let _ = io::stderr().write_all(text.as_bytes());
}
