//! The role that runs a module's initialisation.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process;

use rustix::process::Signal;
use stockade_wire::message::{InitSetup, WorkerMessage, WorkerRefusal};

use crate::lies::{HONEST, INIT};
use crate::{known, sys};

pub(crate) fn role() -> ! {
    let (setup, [dump, artifact]) = sys::receive::<InitSetup, 2>();
    let (mut dump, mut artifact) = (File::from(dump), File::from(artifact));
    let mut code = String::new();
    artifact.rewind().expect("the artifact is a file");
    artifact
        .read_to_string(&mut code)
        .expect("the artifact is text");
    let what = code.strip_prefix("init:").unwrap_or(HONEST);
    let what = known(what, &INIT);
    before_loaded(what);
    sys::tell(&sys::loaded());
    after_loaded(what);
    dump.write_all(b"whatever")
        .expect("the file can be written");
    if what == "dump-huge" {
        dump.set_len(setup.dump_bytes_max + 1)
            .expect("nothing keeps this program from it");
    }
    sys::tell(&WorkerMessage::Ready);
    sys::stall()
}

fn refuse(why: WorkerRefusal) -> ! {
    let message = "not today\u{1b}[31m\nnot ever".to_owned();
    sys::tell(&WorkerMessage::Refused { why, message });
    sys::stall()
}

fn before_loaded(what: &str) {
    match what {
        "stall" => sys::stall(),
        "garbage" => sys::tell_bytes(b"HTTP/1.1 200 OK"),
        "exit" => {
            eprintln!("I would rather not");
            process::exit(9);
        }
        "ready-first" => sys::tell(&WorkerMessage::Ready),
        "refuse-setup" => refuse(WorkerRefusal::Setup),
        "refuse-artifact" => refuse(WorkerRefusal::Artifact),
        _ => {}
    }
}

fn after_loaded(what: &str) {
    match what {
        "stall-later" => sys::stall(),
        "garbage-later" => sys::tell_bytes(b"HTTP/1.1 200 OK"),
        "exit-later" => {
            eprintln!("I would rather not");
            process::exit(9);
        }
        "kill-later" => sys::suffer(Signal::KILL),
        "loaded-twice" => sys::tell(&sys::loaded()),
        "close-socket" => sys::close_socket(),
        "refuse-init" => refuse(WorkerRefusal::Init),
        "refuse-dump" => refuse(WorkerRefusal::Dump),
        _ => {}
    }
}
