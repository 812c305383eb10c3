//! A guest is stopped before each of its instructions, one run for each, under a processor that stops after every one.

use std::arch::asm;
use std::sync::atomic::{AtomicBool, AtomicU64};

use stockade_wire::message::WasiSetup;

use super::*;
use crate::InstanceLimits;
use crate::compiler::compile;
use crate::guest::{Ended, Program, Runtime, Stopped};

/// Everything that moves frames or leaves the guest's own code. What `dirty` leaves on the stack is not a frame.
const GUEST: &str = r#"(module
    (import "stockade" "progress" (func $begin (param i64 i64)))
    (type $numbers (func (param i64) (result i64)))
    (memory (export "memory") 1)
    (table funcref (elem $leaf $down))
    (func $leaf (param i64) (result i64) (local.get 0))
    (func $down (param i64) (result i64)
        (if (result i64) (i64.eqz (local.get 0))
            (then (i64.const 7))
            (else (i64.add (call $down (i64.sub (local.get 0) (i64.const 1))) (local.get 0)))))
    (func $many (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
        (return_call $leaf (i64.add (local.get 11) (local.get 4))))
    (func $grow (param i64) (result i64)
        (return_call $many
            (local.get 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5)
            (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9) (i64.const 10) (i64.const 11)))
    (func $dirty (param i64) (result i64)
        (call $many
            (i64.const 1) (i64.const 3) (i64.const 1) (i64.const 3) (i64.const 1) (i64.const 3)
            (i64.const 1) (i64.const 3) (i64.const 1) (i64.const 3) (i64.const 1) (i64.const 3)))
    (func (export "f")
        (call $begin (i64.const 0) (i64.const 0))
        (i64.store (i32.const 8) (call $down (i64.const 3)))
        (drop (call $dirty (i64.const 1)))
        (drop (call $grow (i64.const 1)))
        (memory.copy (i32.const 64) (i32.const 0) (i32.const 40))
        (drop (call_indirect (type $numbers) (i64.const 1) (i32.const 0)))
        (drop (call_indirect (type $numbers) (i64.const 2) (i32.const 1)))))"#;

/// The processor's flag that has it stop after the next instruction.
const TRAP_FLAG: i64 = 0x100;

/// Whose instructions are counted.
static POINT: AtomicPtr<StopPoint> = AtomicPtr::new(ptr::null_mut());
/// How many instructions of the guest's are to be done before it is stopped.
static LEFT: AtomicU64 = AtomicU64::new(0);
static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn after_one(_: c_int, _: *const libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the test sets it before it has the processor stop, from a program that outlives that.
    let point = unsafe { &*POINT.load(Ordering::Acquire) };
    // SAFETY: with `SA_SIGINFO` the kernel passes this thread's context, which is the handler's alone.
    let counter = unsafe { program_counter(context) }.expect("the kernel passes a context");
    if point.trap_from(*counter).is_none() {
        return;
    }
    let left = LEFT.load(Ordering::Relaxed);
    if left > 0 {
        return LEFT.store(left - 1, Ordering::Relaxed);
    }
    if let Some(trap) = trap_from(point, *counter) {
        *counter = trap;
        STOPPED.store(true, Ordering::Relaxed);
        // SAFETY: the context is this handler's alone.
        unsafe {
            let context = &mut *context.cast::<libc::ucontext_t>();
            context.uc_mcontext.gregs[libc::REG_EFL as usize] &= !TRAP_FLAG;
        }
    }
}

/// Its guest begins by saying how far it has come, and from there on it is stopped after every instruction.
#[derive(Debug, Clone)]
struct Stepping;

impl World for Stepping {
    fn stop_requested(&self) -> bool {
        STOPPED.load(Ordering::Relaxed)
    }

    fn sleep(&self, _duration: std::time::Duration) -> bool {
        false
    }

    fn write_output(&self, _stream: usize, _bytes: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }

    fn progress(&self, _progress: [u64; 2]) {
        // SAFETY: a signal follows each instruction, whose handler is set and changes nothing but the guest's way. What is
        // pushed is popped.
        unsafe { asm!("pushfq", "or qword ptr [rsp], {}", "popfq", const TRAP_FLAG) };
    }
}

fn step_no_more() {
    // SAFETY: without the flag the processor goes on as ever.
    unsafe { asm!("pushfq", "and qword ptr [rsp], {}", "popfq", const !TRAP_FLAG) };
}

#[test]
fn a_guest_can_be_stopped_before_each_of_its_instructions() {
    let compiled = compile(GUEST.as_bytes(), StopBy::Signal).unwrap();
    let limits = InstanceLimits {
        memory_bytes: 1 << 20,
        tables: compiled.info().tables,
        table_elements: 100,
        stack_bytes: 256 << 10,
    };
    let runtime = Runtime::new(StopBy::Signal, limits).unwrap();
    let setup = WasiSetup::default();
    let program: Program<Stepping> = runtime.load_compiled(&compiled, &setup).unwrap();
    let point = ptr::from_ref(program.stop_point().unwrap());
    POINT.store(point.cast_mut(), Ordering::Release);
    let handler = after_one as extern "C" fn(c_int, *const libc::siginfo_t, *mut c_void) as usize;
    set(libc::SIGTRAP, handler, libc::SA_ONSTACK | libc::SA_SIGINFO).unwrap();

    let export = compiled.info().functions[0].export;
    for before in 0.. {
        let mut guest = program.instantiate(Stepping).unwrap();
        STOPPED.store(false, Ordering::Relaxed);
        LEFT.store(before, Ordering::Relaxed);
        let ended = guest.call(&program, export, &[][..], &mut Vec::new());
        step_no_more();
        if !STOPPED.load(Ordering::Relaxed) {
            assert_eq!(ended, Ok(()));
            assert!(before > 150, "it has {before} instructions");
            return;
        }
        assert_eq!(
            ended,
            Err(Ended::Interrupted),
            "before instruction {before}"
        );
    }
}
