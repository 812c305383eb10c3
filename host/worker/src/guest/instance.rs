//! One instance, and what it takes to call one of its exports.
//!
//! Everything that a guest returns is checked before it is used. After any error but a result that is too
//! large the instance must be dropped: nobody knows in which state its code stopped.

use std::fmt;
use std::rc::Rc;

use stockade_wire::message::{Failure, FailureKind};
use stockade_wire::module_info::Number;
use wasmtime::{
    Extern, Func, Instance, Memory, ModuleExport, Store, TypedFunc, Val, WasmParams, WasmResults,
};

use super::failure::{Ended, explain};
use super::lengths::Lengths;
use super::program::{Callable, Program};
use super::renewal::Pristine;
use super::reset::Reset;
use super::state::State;
use super::world::World;
use crate::abi;

/// Where the arguments of a call come from.
pub trait Arguments {
    /// Their length in bytes.
    fn byte_len(&self) -> u32;

    /// Copies all of them to `to`, which has their length.
    fn copy_to(&self, to: &mut [u8]);
}

impl Arguments for [u8] {
    fn byte_len(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn copy_to(&self, to: &mut [u8]) {
        to.copy_from_slice(self);
    }
}

/// Where the reply of a call goes to.
pub trait Reply {
    /// The longest reply that is taken, in bytes.
    fn bytes_max(&self) -> usize;

    /// Takes the reply, straight out of the guest's memory, where it may lie in several pieces. Called at most once.
    fn put(&mut self, pieces: &[&[u8]]);
}

impl Reply for Vec<u8> {
    fn bytes_max(&self) -> usize {
        usize::MAX
    }

    fn put(&mut self, pieces: &[&[u8]]) {
        self.clear();
        for piece in pieces {
            self.extend_from_slice(piece);
        }
    }
}

type Work = TypedFunc<(u32, u32), u64>;

/// Parameters that fit on the stack; functions with more are rare.
const PARAMS_INLINE: usize = 8;

/// An instance of a [`Program`].
pub struct Guest<W: World> {
    pub(super) store: Store<State<W>>,
    pub(super) instance: Instance,
    /// How requests get into it, if its module has that.
    room: Option<Room>,
    /// The work function that was looked up last.
    work: Option<(u32, Work)>,
    /// Looked up when a reply is first given back, which a fresh instance never sees.
    free: Option<TypedFunc<(u32, u32), ()>>,
    /// What its life begins with, once that has been looked up.
    pub(super) beginning: Vec<TypedFunc<(), ()>>,
    /// A reply that the guest has not been given back.
    lent: Option<(u32, u32)>,
    lengths: Lengths,
    /// Room for a request that has not come yet, and the length that it was asked for.
    ahead: Option<(u32, u32)>,
    pub(super) reset: Option<Rc<Reset>>,
    /// What it is renewed with, if it can be.
    pub(super) pristine: Option<Pristine>,
}

impl<W: World> Drop for Guest<W> {
    fn drop(&mut self) {
        if let Some(reset) = self.reset.take()
            && let Some(memory) = self.memory_mut()
        {
            reset.put_back(memory);
        }
    }
}

struct Room {
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
}

impl<W: World> fmt::Debug for Guest<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").finish_non_exhaustive()
    }
}

impl<W: World> Guest<W> {
    pub(super) fn new(
        program: &Program<W>,
        store: Store<State<W>>,
        instance: Instance,
    ) -> Result<Self, Ended> {
        let mut guest = Self {
            store,
            instance,
            room: None,
            work: None,
            free: None,
            beginning: Vec::new(),
            lent: None,
            lengths: Lengths::default(),
            ahead: None,
            reset: program.reset.clone(),
            pristine: None,
        };
        let memory = program.memory.and_then(|export| guest.memory(&export));
        guest.store.data_mut().memory = memory;
        if let (Some(memory), Some(alloc)) = (memory, program.alloc) {
            let alloc = guest.function(&alloc)?;
            guest.room = Some(Room { memory, alloc });
        }
        if let (Some(globals), Some(reset)) = (&program.changeable, &program.reset) {
            guest.pristine = Pristine::of(&mut guest, globals, reset);
        }
        if let Some(hint) = program.hint.get() {
            guest.work = guest.find_work(program, hint).ok();
        }
        Ok(guest)
    }

    /// Calls an export by its position among the module's exports.
    ///
    /// A work function gets the arguments as they are. An export of plain numbers gets one per eight bytes,
    /// as little-endian raw bits, and replies in the same form.
    ///
    /// # Errors
    /// When the guest fails or is stopped. Drop it then, unless the kind is `ResultTooLarge`.
    #[inline]
    pub fn call(
        &mut self,
        program: &Program<W>,
        export: u32,
        arguments: &(impl Arguments + ?Sized),
        reply: &mut impl Reply,
    ) -> Result<(), Ended> {
        self.store.data_mut().begin_call();
        if !matches!(self.work, Some((found, _)) if found == export) {
            match program.callable(export) {
                Callable::Numeric {
                    export,
                    params,
                    result,
                } => return self.call_numeric(export, params, *result, arguments, reply),
                Callable::Command(export) => return self.call_command(export, arguments, reply),
                Callable::Work(_) | Callable::No => {}
            }
            self.work = Some(self.find_work(program, export)?);
            program.hint.set(Some(export));
        }
        self.call_work(program, arguments, reply)
    }

    /// Forgets where something lies in its memory, and how long requests were.
    pub(super) fn forget(&mut self) {
        self.lent = None;
        self.lengths = Lengths::default();
        self.ahead = None;
    }

    fn find_work(&mut self, program: &Program<W>, export: u32) -> Result<(u32, Work), Ended> {
        match program.callable(export) {
            Callable::Work(found) => Ok((export, self.function(found)?)),
            _ => Err(Ended::broke_rules(format!(
                "export {export} is no function that can be called"
            ))),
        }
    }

    /// Calls the work function that was looked up last.
    fn call_work(
        &mut self,
        program: &Program<W>,
        arguments: &(impl Arguments + ?Sized),
        reply: &mut impl Reply,
    ) -> Result<(), Ended> {
        let len = arguments.byte_len();
        self.lengths.seen(len);
        let ahead = match self.ahead.take() {
            Some((at, for_len)) if for_len == len => Some(at),
            Some(other) => {
                self.give_back(program, other)?;
                None
            }
            None => None,
        };
        let (Some(Room { memory, alloc }), Some((_, work))) = (&self.room, &self.work) else {
            return Err(Ended::broke_rules(
                "the module has work functions, but not memory and stockade_alloc",
            ));
        };
        let store = &mut self.store;
        let at = match ahead {
            Some(at) => at,
            None => run(store, alloc, len)?,
        };
        if at == 0 {
            return Err(Ended::failed(FailureKind::NoRoomForArguments {
                bytes: len.into(),
            }));
        }
        match slice_mut(memory.data_mut(&mut *store), at, len) {
            Some(room) => arguments.copy_to(room),
            None => {
                return Err(Ended::broke_rules(format!(
                    "stockade_alloc({len}) returned {at:#x}, which is outside the memory"
                )));
            }
        }
        let (at, len) = abi::unpack(run(store, work, (at, len))?);
        let replied = checked_reply(memory.data(&*store), at, len)?;
        self.lent = Some((at, len));
        match replied {
            Replied::Whole(bytes) => put(reply, &[bytes]),
            Replied::WithTail(head, tail) => put(reply, &[&[abi::STATUS_VALUE], head, tail]),
        }
    }

    /// Gives the guest the memory of its last reply back, so that it can serve another call.
    ///
    /// # Errors
    /// When the guest fails in doing so. Drop it then; the reply stands.
    #[inline]
    pub fn release(&mut self, program: &Program<W>) -> Result<(), Ended> {
        match self.lent.take() {
            Some(lent) => self.give_back(program, lent),
            None => Ok(()),
        }
    }

    /// Asks a guest that serves on for room for the next request, when nobody waits for that yet. The last requests say
    /// how long it will be; without a guess there is nothing to be done.
    ///
    /// # Errors
    /// When the guest fails in doing so. Drop it then: no call has failed, and the next one asks for itself.
    pub(crate) fn prepare(&mut self) -> Result<(), Ended> {
        // After a call of plain numbers, which takes no room, there may be some already.
        let (Some(room), Some(len), None) = (&self.room, self.lengths.next(), self.ahead) else {
            return Ok(());
        };
        self.store.data_mut().begin_call();
        let at = run(&mut self.store, &room.alloc, len)?;
        // A guest that has none says so when a call needs it.
        self.ahead = (at != 0).then_some((at, len));
        Ok(())
    }

    fn give_back(&mut self, program: &Program<W>, lent: (u32, u32)) -> Result<(), Ended> {
        let Some(export) = program.free else {
            return Ok(());
        };
        let free = match self.free.take() {
            Some(free) => free,
            None => self.function(&export)?,
        };
        run(&mut self.store, self.free.insert(free), lent)
    }

    fn call_numeric(
        &mut self,
        export: &ModuleExport,
        params: &[Number],
        result: Option<Number>,
        arguments: &(impl Arguments + ?Sized),
        reply: &mut impl Reply,
    ) -> Result<(), Ended> {
        let function = self.any_function(export)?;
        let mut inline_bytes = [0; PARAMS_INLINE * 8];
        let mut inline_values = [const { Val::I32(0) }; PARAMS_INLINE];
        let (mut heap_bytes, mut heap_values);
        let (bytes, values) = if params.len() <= PARAMS_INLINE {
            (
                &mut inline_bytes[..params.len() * 8],
                &mut inline_values[..params.len()],
            )
        } else {
            heap_bytes = vec![0; params.len() * 8];
            heap_values = vec![Val::I32(0); params.len()];
            (&mut heap_bytes[..], &mut heap_values[..])
        };
        if arguments.byte_len() as usize != bytes.len() {
            return Err(Ended::broke_rules(format!(
                "the function takes {} numbers, but was sent {} bytes",
                params.len(),
                arguments.byte_len()
            )));
        }
        arguments.copy_to(bytes);
        let (numbers, _) = bytes.as_chunks::<8>();
        for ((value, bits), ty) in values.iter_mut().zip(numbers).zip(params) {
            *value = from_bits(*ty, u64::from_le_bytes(*bits));
        }
        let mut results = [Val::I32(0)];
        let results = &mut results[..usize::from(result.is_some())];
        function
            .call(&mut self.store, values, results)
            .map_err(|error| explain(&error, self.store.data_mut()))?;
        let bits = results.first().map(|value| to_bits(value).to_le_bytes());
        put(reply, &[bits.as_ref().map_or(&[][..], |bits| &bits[..])])
    }

    /// Runs a whole program; an exit is its result. The instance is used up.
    fn call_command(
        &mut self,
        export: &ModuleExport,
        arguments: &(impl Arguments + ?Sized),
        reply: &mut impl Reply,
    ) -> Result<(), Ended> {
        let mut request = vec![0; arguments.byte_len() as usize];
        arguments.copy_to(&mut request);
        let config = bincode::config::standard();
        let decoded = bincode::serde::decode_from_slice::<
            (Vec<String>, stockade_wire::message::Stdin),
            _,
        >(&request, config);
        let Ok(((args, stdin), _)) = decoded else {
            return Err(Ended::broke_rules("the request of a command is damaged"));
        };
        self.store.data_mut().wasi.begin_command(args, stdin.0);
        let start = self.function::<(), ()>(export)?;
        let code = match run(&mut self.store, &start, ()) {
            Ok(()) => 0,
            Err(Ended::Failed(Failure {
                kind: FailureKind::Exit(code),
                ..
            })) => code,
            Err(other) => return Err(other),
        };
        reply.put(&[&to_bits(&Val::I32(code)).to_le_bytes()]);
        Ok(())
    }

    fn any_function(&mut self, export: &ModuleExport) -> Result<Func, Ended> {
        match self.instance.get_module_export(&mut self.store, export) {
            Some(Extern::Func(function)) => Ok(function),
            _ => Err(Ended::broke_rules("an export is not the function it was")),
        }
    }

    pub(super) fn function<P: WasmParams, R: WasmResults>(
        &mut self,
        export: &ModuleExport,
    ) -> Result<TypedFunc<P, R>, Ended> {
        self.any_function(export)?
            .typed(&self.store)
            .map_err(|error| Ended::broke_rules(format!("{error:#}")))
    }

    fn memory(&mut self, export: &ModuleExport) -> Option<Memory> {
        self.instance
            .get_module_export(&mut self.store, export)
            .and_then(Extern::into_memory)
    }

    /// Its memory, if it has one.
    pub(crate) fn memory_mut(&mut self) -> Option<&mut [u8]> {
        let memory = self.store.data().memory?;
        Some(memory.data_mut(&mut self.store))
    }
}

#[inline]
pub(super) fn run<W: World, P: WasmParams, R: WasmResults>(
    store: &mut Store<State<W>>,
    function: &TypedFunc<P, R>,
    params: P,
) -> Result<R, Ended> {
    function
        .call(&mut *store, params)
        .map_err(|error| explain(&error, store.data_mut()))
}

/// What a work function returned.
enum Replied<'a> {
    /// Status and content.
    Whole(&'a [u8]),
    /// A value in two pieces, without its status.
    WithTail(&'a [u8], &'a [u8]),
}

/// The bytes of a reply, if it is one by the rules.
fn checked_reply(memory: &[u8], at: u32, len: u32) -> Result<Replied<'_>, Ended> {
    let bytes = slice(memory, at, len).ok_or_else(|| {
        Ended::broke_rules(format!(
            "its reply of {len} bytes at {at:#x} is outside the memory"
        ))
    })?;
    match bytes {
        [0..=abi::STATUS_MAX, ..] => Ok(Replied::Whole(bytes)),
        [abi::STATUS_VALUE_WITH_TAIL, rest @ ..] => with_tail(memory, rest),
        [status, ..] => Err(Ended::broke_rules(format!(
            "its reply has the unknown status {status}"
        ))),
        [] => Err(Ended::broke_rules("its reply is empty")),
    }
}

/// `reply` is what follows the status.
#[cold]
fn with_tail<'a>(memory: &'a [u8], reply: &'a [u8]) -> Result<Replied<'a>, Ended> {
    let [head @ .., a0, a1, a2, a3, l0, l1, l2, l3] = reply else {
        return Err(Ended::broke_rules(
            "its reply is too short to say where its tail is",
        ));
    };
    let at = u32::from_le_bytes([*a0, *a1, *a2, *a3]);
    let len = u32::from_le_bytes([*l0, *l1, *l2, *l3]);
    match slice(memory, at, len) {
        Some(tail) => Ok(Replied::WithTail(head, tail)),
        None => Err(Ended::broke_rules(format!(
            "the tail of its reply, {len} bytes at {at:#x}, is outside the memory"
        ))),
    }
}

/// Hands a reply over, unless it is too long.
#[inline]
fn put(reply: &mut impl Reply, pieces: &[&[u8]]) -> Result<(), Ended> {
    let bytes = pieces.iter().map(|piece| piece.len()).sum();
    if bytes > reply.bytes_max() {
        return Err(too_large(bytes));
    }
    reply.put(pieces);
    Ok(())
}

fn too_large(len: usize) -> Ended {
    Ended::failed(FailureKind::ResultTooLarge { bytes: len as u64 })
}

fn slice(memory: &[u8], at: u32, len: u32) -> Option<&[u8]> {
    memory.get(at as usize..)?.get(..len as usize)
}

fn slice_mut(memory: &mut [u8], at: u32, len: u32) -> Option<&mut [u8]> {
    memory.get_mut(at as usize..)?.get_mut(..len as usize)
}

fn from_bits(ty: Number, bits: u64) -> Val {
    match ty {
        // The upper half of an i32 or f32 is zero.
        Number::I32 => Val::I32(bits as i32),
        Number::I64 => Val::I64(bits as i64),
        Number::F32 => Val::F32(bits as u32),
        Number::F64 => Val::F64(bits),
    }
}

fn to_bits(value: &Val) -> u64 {
    match *value {
        Val::I32(value) => u64::from(value as u32),
        Val::I64(value) => value as u64,
        Val::F32(bits) => u64::from(bits),
        Val::F64(bits) => bits,
        // A function with another result is not callable.
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a guest returns, what is copied lies in its memory, or it is refused.
    #[test]
    fn both_pieces_of_a_reply_lie_in_the_memory_in_whole() {
        const SIZE: u32 = 24;
        let numbers = || (0..=SIZE + 1).chain([u32::MAX - 1, u32::MAX]);
        for (tail_at, tail_len) in numbers().flat_map(|at| numbers().map(move |len| (at, len))) {
            let mut memory = vec![0; SIZE as usize];
            memory[2] = abi::STATUS_VALUE_WITH_TAIL;
            memory[4..8].copy_from_slice(&tail_at.to_le_bytes());
            memory[8..12].copy_from_slice(&tail_len.to_le_bytes());
            let fits = tail_at.checked_add(tail_len).is_some_and(|end| end <= SIZE);
            match checked_reply(&memory, 2, 10) {
                Ok(Replied::WithTail(head, tail)) => {
                    assert!(fits, "{tail_at} {tail_len}");
                    let (from, to) = (tail_at as usize, (tail_at + tail_len) as usize);
                    assert_eq!((head, tail.len()), (&memory[3..4], to - from));
                    assert!(std::ptr::eq(tail, &memory[from..to]));
                }
                Ok(Replied::Whole(_)) => panic!("its tail is lost"),
                Err(_) => assert!(!fits, "{tail_at} {tail_len}"),
            }
            // Too short for where it is.
            assert!(checked_reply(&memory, 2, 8).is_err());
        }
    }
}
