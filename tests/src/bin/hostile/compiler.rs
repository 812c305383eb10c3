//! The compiler's role.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process;

use rustix::process::Signal;
use stockade_wire::message::{CompileRefusal, CompilerMessage, CompilerSetup, Init};
use stockade_wire::module_info::{FunctionInfo, FunctionKind, ModuleInfo, Number};

use crate::lies::{COMPILER, HONEST};
use crate::{known, sys};

const IDENTITY: CompilerMessage = CompilerMessage::Identity([7; 32]);

pub(crate) fn role() -> ! {
    let (setup, fds) = sys::receive_any::<CompilerSetup>();
    let mut files = fds.into_iter().map(File::from);
    let (Some(mut module), Some(mut artifact)) = (files.next(), files.next()) else {
        panic!("the host sends the module and a file");
    };
    let mut code = String::new();
    module.rewind().expect("the module is a file");
    module
        .read_to_string(&mut code)
        .expect("the module is text");
    let what = code.strip_prefix("compiler:").unwrap_or(HONEST);
    let what = known(what, &COMPILER);
    before_identity(what);
    sys::tell(&IDENTITY);
    after_identity(what);
    let info = description(what);
    artifact
        .write_all(code.as_bytes())
        .expect("the file can be written");
    artifact.write_all(&info).expect("the file can be written");
    let wants_init = code.starts_with("init:") && setup.init == Init::Due;
    if wants_init || what == "init-due-twice" {
        let code_bytes = code.len() as u64;
        sys::tell(&CompilerMessage::InitDue { code_bytes });
        sys::stall()
    }
    let (code_bytes, info_bytes) = lengths(what, code.len() as u64, info.len() as u64);
    sys::tell(&CompilerMessage::Done {
        code_bytes,
        info_bytes,
    });
    // The host ends it.
    sys::stall()
}

fn before_identity(what: &str) {
    let refuse = |why| {
        let message = "not today\u{1b}[31m\nnot ever".to_owned();
        sys::tell(&CompilerMessage::Refused { why, message });
        sys::stall()
    };
    match what {
        "stall" => sys::stall(),
        "garbage" => sys::tell_bytes(b"HTTP/1.1 200 OK"),
        "damaged" => sys::tell_bytes(&sys::damaged(&IDENTITY)),
        "version" => sys::tell_bytes(&sys::of_version_99(&IDENTITY)),
        "exit" => {
            eprintln!("I would rather not");
            process::exit(9);
        }
        "kill" => sys::suffer(Signal::KILL),
        "close-socket" => sys::close_socket(),
        "done-first" => sys::tell(&CompilerMessage::Done {
            code_bytes: 0,
            info_bytes: 0,
        }),
        "refuse-invalid" => refuse(CompileRefusal::Invalid),
        "refuse-failed" => refuse(CompileRefusal::Failed),
        "refuse-setup" => refuse(CompileRefusal::Setup),
        _ => {}
    }
}

fn after_identity(what: &str) {
    match what {
        "stall-later" => sys::stall(),
        "exit-later" => {
            eprintln!("I would rather not");
            process::exit(9);
        }
        "kill-later" => sys::suffer(Signal::KILL),
        "identity-twice" => sys::tell(&IDENTITY),
        "garbage-later" => sys::tell_bytes(b"HTTP/1.1 200 OK"),
        _ => {}
    }
}

fn lengths(what: &str, code: u64, info: u64) -> (u64, u64) {
    match what {
        "lengths-max" => (u64::MAX, u64::MAX),
        "lengths-wrapping" => (u64::MAX, 1 + code + info),
        "code-huge" => (1 << 40, info),
        "info-huge" => (code, 1 << 40),
        "file-short" => (code, info + 1),
        "file-empty" => (8 << 20, 8 << 20),
        _ => (code, info),
    }
}

fn description(what: &str) -> Vec<u8> {
    match what {
        "info-garbage" => return b"{\"functions\": [[[".to_vec(),
        "info-deep" => return vec![b'['; 1 << 20],
        "info-empty" => return Vec::new(),
        _ => {}
    }
    let function = |name: &str, export, kind| FunctionInfo {
        name: name.to_owned(),
        export,
        kind,
        docs: String::new(),
    };
    let numeric = FunctionKind::Numeric {
        params: vec![Number::I64],
        result: Some(Number::I64),
    };
    let work = || FunctionKind::Work { signature: None };
    let mut functions = vec![
        function("answer", 0, numeric),
        function("echo", 1, work()),
        function("say", 2, work()),
    ];
    if what == "info-lies" {
        let hostile = "\u{1b}]0;owned\u{7}\n".repeat(1000);
        functions.push(function(&hostile, u32::MAX, work()));
        // Twice, with another type.
        functions.push(function("answer", u32::MAX, work()));
    }
    let info = ModuleInfo {
        functions,
        tables: if what == "info-lies" { u32::MAX } else { 0 },
        retire: what.starts_with("retire:"),
        ..ModuleInfo::default()
    };
    serde_json::to_vec(&info).expect("plain data")
}
