//! The functions as a guest sees them: linked into an engine, called from wasm.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use stockade_wire::message::{FailureKind, Grant, StopBy, WasiSetup};

use super::*;
use crate::compiler::compile;
use crate::guest::{Ended, Guest, Program, Runtime, Stopped};
use crate::{InstanceLimits, abi};

/// A world that remembers.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    output: Arc<Mutex<[Vec<u8>; 2]>>,
    slept: Arc<Mutex<Vec<Duration>>>,
    stopped: bool,
}

impl Heard {
    pub(super) fn output(&self) -> MutexGuard<'_, [Vec<u8>; 2]> {
        self.output.lock().unwrap()
    }

    fn slept(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.slept.lock().unwrap()
    }
}

impl World for Heard {
    fn stop_requested(&self) -> bool {
        self.stopped
    }

    fn sleep(&self, duration: Duration) -> bool {
        self.slept().push(duration);
        self.stopped
    }

    fn write_output(&self, stream: usize, bytes: &[u8]) -> Result<(), Stopped> {
        self.output()[stream].extend_from_slice(bytes);
        Ok(())
    }
}

fn program(wat: &str, setup: &WasiSetup) -> Program<Heard> {
    program_with(wat, setup, None)
}

fn program_with(wat: &str, setup: &WasiSetup, files: Option<Files>) -> Program<Heard> {
    stopped_by(StopBy::Epoch, wat, setup, files)
}

fn stopped_by(stop: StopBy, wat: &str, setup: &WasiSetup, files: Option<Files>) -> Program<Heard> {
    let compiled = compile(wat.as_bytes(), stop).unwrap();
    let limits = InstanceLimits {
        memory_bytes: 1 << 20,
        tables: compiled.info().tables,
        table_elements: 100,
        stack_bytes: 256 << 10,
    };
    let runtime = Runtime::new(stop, limits).unwrap();
    runtime.load_compiled_with(&compiled, setup, files).unwrap()
}

fn kept() -> WasiSetup {
    WasiSetup {
        args: vec!["guest".into(), "-v".into()],
        env: vec![("LANG".into(), "C".into()), ("A\0B".into(), "c".into())],
        clock: Some(Duration::new(5, 7)),
        random_seed: Some(1),
        keep_output: [true, false],
        ..WasiSetup::default()
    }
}

/// A module that imports one function and exports it, for the test to call with numbers; its memory's
/// bytes are what `put`, `get` and `at` reach.
fn guest_of(function: &str, memory: &str, world: &Heard) -> (Program<Heard>, Guest<Heard>) {
    let program = program(&module_of(function, memory), &kept());
    let guest = program.instantiate(world.clone()).unwrap();
    (program, guest)
}

fn module_of(function: &str, memory: &str) -> String {
    let found = FUNCTIONS.iter().find(|f| f.name == function).unwrap();
    let params: String = found.params.iter().map(type_name).collect();
    let result = if found.returns { "(result i32)" } else { "" };
    let get: String = (0..found.params.len())
        .map(|i| format!("(local.get {i})"))
        .collect();
    format!(
        r#"(module
            (import "{MODULE}" "{function}" (func $f (param {params}) {result}))
            (memory (export "memory") 1)
            (data (i32.const 0) "{memory}")
            (func (export "f") (param {params}) {result} (call $f {get}))
            (func (export "get") (param i32) (result i32) (i32.load (local.get 0))))"#
    )
}

fn type_name(ty: &Ty) -> &'static str {
    match ty {
        Ty::I32 => "i32 ",
        Ty::I64 => "i64 ",
    }
}

/// The positions of `f` and `get` among the exports.
const F: u32 = 1;
const GET: u32 = 2;

fn call(
    (program, guest): &mut (Program<Heard>, Guest<Heard>),
    export: u32,
    numbers: &[u64],
) -> Result<i32, Ended> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut reply = Vec::new();
    guest.call(program, export, &bytes[..], &mut reply)?;
    Ok(reply
        .first_chunk()
        .map_or(0, |bits| i32::from_le_bytes(*bits)))
}

/// The bytes of a guest's memory.
fn memory(guest: &mut (Program<Heard>, Guest<Heard>), at: u32, len: usize) -> Vec<u8> {
    (at..)
        .step_by(4)
        .take(len.div_ceil(4))
        .flat_map(|at| call(guest, GET, &[at.into()]).unwrap().to_le_bytes())
        .take(len)
        .collect()
}

const END: u64 = 65_536;

#[test]
fn every_name_of_preview_1_links_with_its_type() {
    let mut wat = format!("(module (memory (export \"{}\") 1)", abi::MEMORY);
    for function in FUNCTIONS {
        let params: String = function.params.iter().map(type_name).collect();
        let result = if function.returns { "(result i32)" } else { "" };
        wat.insert_str(
            "(module".len(),
            &format!(
                "(import \"{MODULE}\" \"{}\" (func (param {params}) {result}))",
                function.name
            ),
        );
    }
    wat.push(')');
    assert_eq!(FUNCTIONS.len(), 46);
    for files in [None, Some(root_to_read())] {
        let program = program_with(&wat, &kept(), files);
        assert!(program.instantiate(Heard::default()).is_ok());
    }
}

fn root_to_read() -> Files {
    let grant = Grant {
        guest_path: "/all".to_owned(),
        write: false,
    };
    let root = std::fs::File::open("/").unwrap();
    Files::new(&[grant], vec![root.into()]).unwrap().unwrap()
}

/// A guest may close the standard descriptors, or put a directory in the place of one.
#[test]
fn with_directories_descriptors_are_one_table() {
    let wat = format!(
        r#"(module
            (import "{MODULE}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "{MODULE}" "fd_close" (func $close (param i32) (result i32)))
            (import "{MODULE}" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
            (import "{MODULE}" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\08\00\00\00\02\00\00\00hi")
            (func (export "write") (param i32) (result i32)
                (call $write (local.get 0) (i32.const 0) (i32.const 1) (i32.const 100)))
            (func (export "close") (param i32) (result i32) (call $close (local.get 0)))
            (func (export "renumber") (param i32 i32) (result i32)
                (call $renumber (local.get 0) (local.get 1)))
            (func (export "prestat") (param i32) (result i32)
                (call $prestat (local.get 0) (i32.const 200))))"#
    );
    const WRITE: u32 = 1;
    const CLOSE: u32 = 2;
    const RENUMBER: u32 = 3;
    const PRESTAT: u32 = 4;
    let world = Heard::default();
    let mut program = program_with(&wat, &kept(), Some(root_to_read()));
    for _ in 0..2 {
        let guest = program.instantiate(world.clone()).unwrap();
        let mut guest = (program, guest);
        assert_eq!(call(&mut guest, PRESTAT, &[3]), Ok(0));
        assert_eq!(call(&mut guest, WRITE, &[1]), Ok(0));
        assert_eq!(call(&mut guest, WRITE, &[3]), Ok(errno::BADF));
        assert_eq!(call(&mut guest, CLOSE, &[2]), Ok(0));
        assert_eq!(call(&mut guest, CLOSE, &[2]), Ok(errno::BADF));
        assert_eq!(call(&mut guest, WRITE, &[2]), Ok(errno::BADF));
        assert_eq!(call(&mut guest, RENUMBER, &[3, 1]), Ok(0));
        assert_eq!(call(&mut guest, WRITE, &[1]), Ok(errno::BADF));
        assert_eq!(call(&mut guest, PRESTAT, &[1]), Ok(0));
        assert_eq!(call(&mut guest, PRESTAT, &[3]), Ok(errno::BADF));
        assert_eq!(
            call(&mut guest, WRITE, &[u64::from(u32::MAX)]),
            Ok(errno::BADF)
        );
        // The next instance has its own.
        (program, _) = guest;
    }
    assert_eq!(world.output()[0], b"hihi");
}

#[test]
fn what_needs_a_file_says_that_there_is_none() {
    for (function, errno) in [
        ("path_open", errno::BADF),
        ("fd_prestat_get", errno::BADF),
        ("proc_raise", errno::NOSYS),
    ] {
        let mut guest = guest_of(function, "", &Heard::default());
        let found = FUNCTIONS.iter().find(|f| f.name == function).unwrap();
        let arguments = vec![3; found.params.len()];
        assert_eq!(call(&mut guest, F, &arguments), Ok(errno));
    }
}

#[test]
fn output_is_gathered_from_its_pieces_and_never_fails() {
    let world = Heard::default();
    // Two pieces: "hi " at 32 and "you" at 40.
    let pieces = "\\20\\00\\00\\00\\03\\00\\00\\00\\28\\00\\00\\00\\03\\00\\00\\00                hi      you";
    let mut guest = guest_of("fd_write", pieces, &world);
    assert_eq!(call(&mut guest, F, &[1, 0, 2, 100]), Ok(0));
    assert_eq!(call(&mut guest, GET, &[100]), Ok(6));
    assert_eq!(world.output()[0], b"hi you");
    // Not kept, but taken.
    assert_eq!(call(&mut guest, F, &[2, 0, 2, 104]), Ok(0));
    assert_eq!(call(&mut guest, GET, &[104]), Ok(6));
    assert_eq!(world.output()[1], b"");
    for (arguments, errno) in [
        ([0, 0, 2, 100], errno::INVAL),
        ([3, 0, 2, 100], errno::BADF),
        ([1, END - 4, 1, 100], errno::FAULT),
        ([1, 0xffff_fff9, 2, 100], errno::FAULT),
        ([1, 0, 2, END - 3], errno::FAULT),
        // The memory from 8 on as a list: it ends in nonsense.
        ([1, 28, 1, 100], errno::FAULT),
    ] {
        assert_eq!(call(&mut guest, F, &arguments), Ok(errno), "{arguments:?}");
    }
    assert_eq!(world.output()[0], b"hi you");
}

#[test]
fn arguments_and_environment_are_c_strings() {
    let mut sizes = guest_of("environ_sizes_get", "", &Heard::default());
    assert_eq!(call(&mut sizes, F, &[0, 4]), Ok(0));
    assert_eq!(memory(&mut sizes, 0, 8), [2, 0, 0, 0, 12, 0, 0, 0]);
    let mut environ = guest_of("environ_get", "", &Heard::default());
    assert_eq!(call(&mut environ, F, &[0, 32]), Ok(0));
    assert_eq!(memory(&mut environ, 0, 8), [32, 0, 0, 0, 39, 0, 0, 0]);
    assert_eq!(memory(&mut environ, 32, 12), b"LANG=C\0AB=c\0");
    assert_eq!(call(&mut environ, F, &[0, END - 11]), Ok(errno::FAULT));
    assert_eq!(call(&mut environ, F, &[END - 7, 32]), Ok(errno::FAULT));
    let mut args = guest_of("args_get", "", &Heard::default());
    assert_eq!(call(&mut args, F, &[0, 32]), Ok(0));
    assert_eq!(memory(&mut args, 32, 9), b"guest\0-v\0");
}

#[test]
fn a_fixed_clock_stands_still_on_every_clock() {
    let mut guest = guest_of("clock_time_get", "", &Heard::default());
    for clock in 0..4 {
        assert_eq!(call(&mut guest, F, &[clock, 0, 8]), Ok(0));
        assert_eq!(memory(&mut guest, 8, 8), 5_000_000_007u64.to_le_bytes());
    }
    assert_eq!(call(&mut guest, F, &[4, 0, 8]), Ok(errno::INVAL));
    assert_eq!(call(&mut guest, F, &[0, 0, END - 7]), Ok(errno::FAULT));
}

#[test]
fn clocks_of_cpu_time_begin_with_an_instance() {
    let setup = WasiSetup::default();
    let program = program(&module_of("clock_time_get", ""), &setup);
    let shown = |guest: &mut (Program<Heard>, Guest<Heard>), clock| {
        assert_eq!(call(guest, F, &[clock, 0, 8]), Ok(0));
        u64::from_le_bytes(memory(guest, 8, 8).try_into().unwrap())
    };
    let guest = program.instantiate(Heard::default()).unwrap();
    let mut first = (program, guest);
    assert_eq!(shown(&mut first, 2), 0);
    assert!(shown(&mut first, 0) > 0 && shown(&mut first, 1) > 0);
    let later = shown(&mut first, 3);
    assert!(later > 0 && later <= shown(&mut first, 2));
    let (program, guest) = first;
    drop(guest);
    let guest = program.instantiate(Heard::default()).unwrap();
    assert_eq!(shown(&mut (program, guest), 3), 0);
}

#[test]
fn randomness_fills_exactly_what_was_asked_for() {
    let mut guest = guest_of("random_get", "", &Heard::default());
    assert_eq!(call(&mut guest, F, &[4, 5]), Ok(0));
    let bytes = memory(&mut guest, 0, 12);
    assert_eq!((&bytes[..4], &bytes[9..]), (&[0; 4][..], &[0; 3][..]));
    assert_ne!(bytes[4..9], [0; 5]);
    assert_eq!(call(&mut guest, F, &[0, END]), Ok(0));
    assert_eq!(call(&mut guest, F, &[1, END]), Ok(errno::FAULT));
    let stopped = Heard {
        stopped: true,
        ..Heard::default()
    };
    let mut guest = guest_of("random_get", "", &stopped);
    assert_eq!(call(&mut guest, F, &[0, 8]), Err(Ended::Interrupted));
}

#[test]
fn a_sleep_lasts_as_long_as_asked_and_can_be_stopped() {
    // A relative second on the monotonic clock, with user data 9.
    let second = "\\09\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\01\\00\\00\\00\\00\\00\\00\\00\\00\\ca\\9a\\3b\\00\\00\\00\\00";
    let world = Heard::default();
    let mut guest = guest_of("poll_oneoff", second, &world);
    assert_eq!(call(&mut guest, F, &[0, 256, 1, 512]), Ok(0));
    assert_eq!(*world.slept(), [Duration::from_secs(1)]);
    assert_eq!(call(&mut guest, GET, &[512]), Ok(1));
    assert_eq!(call(&mut guest, GET, &[256]), Ok(9));
    for arguments in [[0, 256, 0, 512], [0, 256, 100_000, 512]] {
        assert_eq!(call(&mut guest, F, &arguments), Ok(errno::INVAL));
    }
    for arguments in [[END - 47, 256, 1, 512], [0, END - 31, 1, 512]] {
        assert_eq!(call(&mut guest, F, &arguments), Ok(errno::FAULT));
    }
    assert_eq!(world.slept().len(), 1);
    let stopped = Heard {
        stopped: true,
        ..Heard::default()
    };
    let mut guest = guest_of("poll_oneoff", second, &stopped);
    assert_eq!(
        call(&mut guest, F, &[0, 256, 1, 512]),
        Err(Ended::Interrupted)
    );
}

/// A guest that does nothing else is hardly ever in its own code, where a signal meets it.
#[test]
fn no_function_is_run_for_a_guest_that_a_signal_is_to_stop() {
    let stopped = Heard {
        stopped: true,
        ..Heard::default()
    };
    for function in FUNCTIONS {
        for files in [None, Some(root_to_read())] {
            let module = module_of(function.name, "");
            let program = stopped_by(StopBy::Signal, &module, &kept(), files);
            let guest = program.instantiate(stopped.clone()).unwrap();
            let ended = call(&mut (program, guest), F, &[0; 9][..function.params.len()]);
            assert_eq!(ended, Err(Ended::Interrupted), "{}", function.name);
        }
    }
    assert!(stopped.slept().is_empty());
}

#[test]
fn an_exit_is_one_whatever_its_code() {
    for code in [0, 1, 255] {
        let mut guest = guest_of("proc_exit", "", &Heard::default());
        let Err(Ended::Failed(failure)) = call(&mut guest, F, &[code]) else {
            panic!("it went on");
        };
        assert_eq!(failure.kind, FailureKind::Exit(code as i32));
    }
}

#[test]
fn the_three_descriptors_are_terminals_without_a_position() {
    let mut stat = guest_of("fd_fdstat_get", "", &Heard::default());
    for fd in 0..3 {
        assert_eq!(call(&mut stat, F, &[fd, 0]), Ok(0));
        assert_eq!(memory(&mut stat, 0, 1), [2]);
    }
    assert_eq!(call(&mut stat, F, &[3, 0]), Ok(errno::BADF));
    assert_eq!(call(&mut stat, F, &[0, END - 23]), Ok(errno::FAULT));
    let mut seek = guest_of("fd_seek", "", &Heard::default());
    assert_eq!(call(&mut seek, F, &[1, 0, 0, 0]), Ok(errno::SPIPE));
    assert_eq!(call(&mut seek, F, &[9, 0, 0, 0]), Ok(errno::BADF));
    let mut read = guest_of("fd_read", "", &Heard::default());
    assert_eq!(call(&mut read, F, &[0, 0, 0, 16]), Ok(0));
    assert_eq!(call(&mut read, F, &[1, 0, 0, 16]), Ok(errno::BADF));
}
